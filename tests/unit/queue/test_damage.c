/* A queue file cut short or with any bit flipped is read right or set aside: never mis-read. And
 * queue_run on four threads. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/unit.h"
#include "queue/qfile.h"
#include "unit/queue/fixture.h"

Suite *test_damage_suite(void);

#define BODY_BYTES 200

static struct fixture f;
static char path[512];
static char *whole;
static size_t whole_n;
static size_t tail_at; /* where the first outcome record begins */
static size_t last_at; /* and the last */

static void setup(void)
{
	static const char *const rcpts[] = { "a@x.test", "b@x.test" };
	struct queue_item *item;
	size_t n;
	fixture_no_journal = true; /* the files are what is looked at */
	fixture_init(&f);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 2, BODY_BYTES, &item, 1), 1);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	mem_free(fixture_read(path, &tail_at));
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + 5), 0);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	mem_free(fixture_read(path, &n));
	last_at = n;
	fixture_advance(&f, 5);
	item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 1, FATE_DELIVERED, 1, 0), 0);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	whole = fixture_read(path, &whole_n);
	ck_assert_uint_gt(whole_n, last_at);
}

static void teardown(void)
{
	mem_free(whole);
	fixture_fini(&f);
	fixture_no_journal = false;
}

/* Loads through qfile; 0 after checking that all it says is true, or the error. */
static int load(const char *p, size_t n, uint32_t *records)
{
	struct qfile_loaded l;
	const struct qio *io = qio_posix();
	fixture_write(path, p, n);
	int fd = io->open(io->arg, -1, path, QIO_OPEN_READ);
	int err = qfile_load(io, fd, &l);
	(void)io->close(io->arg, fd);
	if (err < 0)
		return err;
	*records = l.tail.records;
	const struct envelope *e = l.envelope;
	bool right = e->rcpts_n == 2 && strcmp(e->sender, "sender@example.com") == 0 &&
		     strcmp(e->rcpts[0].address, "a@x.test") == 0 && l.body_bytes == BODY_BYTES &&
		     l.mem != NULL && (l.tail.records < 1 || e->rcpts[0].attempts == 1) &&
		     (e->rcpts[1].fate == (l.tail.records < 2 ? FATE_PENDING : FATE_DELIVERED));
	for (size_t i = 0; right && i < BODY_BYTES; i++)
		right = l.mem[i] == fixture_pattern(i);
	if (!right)
		ck_abort_msg("mis-read");
	envelope_free(&l.envelope);
	mem_free(l.mem);
	return 0;
}

START_TEST(cut_at_every_byte)
{
	uint32_t records;
	for (size_t n = 0; n <= whole_n; n++) {
		int err = load(whole, n, &records);
		if (n < tail_at && err != ERR_CORRUPT)
			ck_abort_msg("cut at %zu: %d", n, err);
		if (n >= tail_at && (err != 0 || records != (n < last_at      ? 0u
								: n < whole_n ? 1u
									      : 2u)))
			ck_abort_msg("cut at %zu: %d, %u records", n, err, records);
	}
}

END_TEST

START_TEST(every_bit_flipped)
{
	uint32_t records;
	for (size_t bit = 0; bit < whole_n * 8; bit++) {
		whole[bit / 8] = (char)(whole[bit / 8] ^ (1 << bit % 8));
		int err = load(whole, whole_n, &records);
		whole[bit / 8] = (char)(whole[bit / 8] ^ (1 << bit % 8));
		bool in_tail = bit / 8 >= tail_at;
		if (!in_tail && err != ERR_CORRUPT && err != ERR_VERSION)
			ck_abort_msg("bit %zu: %d", bit, err);
		if (in_tail && (err != 0 || records != (bit / 8 < last_at ? 0u : 1u)))
			ck_abort_msg("bit %zu: %d, %u records", bit, err, records);
	}
}

END_TEST

START_TEST(zeros_and_noise_behind_the_tail)
{
	uint32_t records;
	char *longer = mem_zalloc(whole_n + 9000);
	memcpy(longer, whole, whole_n);
	ck_assert_int_eq(load(longer, whole_n + 9000, &records), 0);
	ck_assert_uint_eq(records, 2);
	memcpy(longer + whole_n, whole + last_at,
	    whole_n - last_at); /* a record again, out of turn */
	ck_assert_int_eq(load(longer, whole_n + 9000, &records), 0);
	ck_assert_uint_eq(records, 2);
	mem_free(longer);
}

END_TEST

/* Torn at every byte of the last record, then settled again: the new record takes its place. */
START_TEST(a_torn_tail_is_written_over)
{
	for (size_t n = last_at; n < whole_n; n += 7) {
		fixture_close(&f);
		fixture_write(path, whole, n);
		fixture_open(&f);
		struct queue_item *item = fixture_take(&f);
		ck_assert_ptr_nonnull(item);
		fixture_load(&f, item);
		ck_assert_int_eq(item->mail->envelope->rcpts[1].fate, FATE_PENDING);
		ck_assert_int_eq(fixture_settle(&f, item, 1, FATE_BOUNCED, 1, 0), 0);
		fixture_reopen(&f);
		item = fixture_take(&f);
		ck_assert_ptr_nonnull(item);
		fixture_load(&f, item);
		ck_assert_int_eq(item->mail->envelope->rcpts[1].fate, FATE_BOUNCED);
		ck_assert_uint_eq(item->mail->envelope->rcpts[0].attempts, 1);
		ck_assert(fixture_find(&f, path, sizeof(path)));
	}
}

END_TEST

/* What a failed append left behind may be whole records: none may stand behind those of the next.
 */
START_TEST(an_append_cuts_what_a_failed_one_left)
{
	const struct qio *io = qio_posix();
	const uint32_t both[2] = { 0, 1 };
	struct qfile_loaded l;
	struct qio_stat st;
	int fd = io->open(io->arg, -1, path, QIO_OPEN_WRITE);
	ck_assert_int_eq(qfile_load(io, fd, &l), 0);
	struct tail failed = l.tail;
	ck_assert_int_eq(qfile_append(io, fd, l.envelope, both, 1, &failed), 0);
	ck_assert_int_eq(qfile_append(io, fd, l.envelope, both, 2, &failed), 0);
	ck_assert_int_eq(qfile_append(io, fd, l.envelope, both, 1, &l.tail), 0);
	ck_assert_int_eq(io->stat(io->arg, fd, &st), 0);
	ck_assert_uint_eq(st.bytes, l.tail.end);
	ck_assert_uint_gt(failed.end, l.tail.end);
	(void)io->close(io->arg, fd);
	envelope_free(&l.envelope);
	mem_free(l.mem);
}

END_TEST

START_TEST(damage_goes_to_corrupt)
{
	struct queue_stats s;
	struct queue_done done;
	char folder[512], copy[1100], taken[1200];
	fixture_close(&f);
	whole[tail_at - 1] = (char)(whole[tail_at - 1] ^ 1);
	fixture_write(path, whole, whole_n);
	fixture_path(&f, "corrupt", folder, sizeof(folder)); /* its place is taken */
	snprintf(copy, sizeof(copy), "%s%s", folder, strrchr(path, '/'));
	fixture_write(copy, "older", 5);
	fixture_open(&f);
	struct queue_item *item = fixture_take(&f);
	ck_assert_int_eq(fixture_run(&f, queue_op_load(item), &done), ERR_CORRUPT);
	ck_assert_ptr_null(done.item);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 2);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	queue_stats(f.q, &s);
	ck_assert_uint_eq(s.corrupt, 1);
	ck_assert_uint_eq(s.items, 0);
	snprintf(taken, sizeof(taken), "%s.1", copy);
	size_t n;
	char *moved = fixture_read(taken, &n);
	ck_assert_uint_eq(n, whole_n);
	ck_assert_int_eq(memcmp(moved, whole, n), 0);
	mem_free(moved);
}

END_TEST

/* Whole, but under a wrong name: it must not be delivered to the domain the name says. */
START_TEST(a_file_must_be_what_its_name_says)
{
	struct queue_done done;
	char other[512];
	fixture_close(&f);
	memcpy(other, path, sizeof(path));
	memcpy(strstr(other, ".x.test"), ".y.test", 7);
	ck_assert_int_eq(rename(path, other), 0);
	fixture_open(&f);
	struct queue_item *item = fixture_take(&f);
	ck_assert_str_eq(item->domain->name, "y.test");
	ck_assert_int_eq(fixture_run(&f, queue_op_load(item), &done), ERR_CORRUPT);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 1);
}

END_TEST

/* The unlink was lost, the record was not. */
START_TEST(all_final_in_the_tail_means_gone)
{
	struct queue_done done;
	struct queue_item *item = fixture_take(&f);
	fixture_load(&f, item);
	const struct qio *io = qio_posix();
	int fd = io->open(io->arg, -1, path, QIO_OPEN_WRITE);
	struct qfile_loaded l;
	const uint32_t first = 0;
	ck_assert_int_eq(qfile_load(io, fd, &l), 0);
	l.envelope->rcpts[0].fate = FATE_DELIVERED;
	ck_assert_int_eq(qfile_append(io, fd, l.envelope, &first, 1, &l.tail), 0);
	(void)io->close(io->arg, fd);
	envelope_free(&l.envelope);
	mem_free(l.mem);
	fixture_reopen(&f);
	item = fixture_take(&f);
	ck_assert_int_lt(fixture_run(&f, queue_op_load(item), &done), 0);
	ck_assert_ptr_null(done.item);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 0);
}

END_TEST

static struct queue_item *take_loaded(void)
{
	struct queue_item *item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	return item;
}

/* A file that shrinks under a loaded item is noticed, by a settle and by a reader of the body. */
START_TEST(shrinking_files_are_noticed)
{
	char block[100];
	ck_assert_int_eq(fixture_settle(&f, take_loaded(), 0, FATE_DELIVERED, 1, 0), 0);
	struct queue_item *item = fixture_commit_one(&f, "c@y.test", 300000);
	fixture_load(&f, item);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	ck_assert_int_eq(truncate(path, 100000), 0);
	ck_assert_int_eq(queue_body_read(item->mail->body, 200000, block, sizeof(block)),
	    ERR_CORRUPT);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), ERR_CORRUPT);
	ck_assert_int_eq(item->state, QUEUE_ITEM_PARKED);
	ck_assert_ptr_nonnull(item->mail);
}

END_TEST

/* --- threads ---------------------------------------------------------------------- */

enum {
	THREADS = 4,
	PER_THREAD = 25
};

struct job {
	pthread_t thread;
	struct queue_op *ops[PER_THREAD];
};

static void *run_job(void *arg)
{
	struct job *j = arg;
	queue_run(f.q, j->ops, PER_THREAD);
	return NULL;
}

static void run_jobs(struct job *jobs)
{
	for (size_t t = 0; t < THREADS; t++)
		ck_assert_int_eq(pthread_create(&jobs[t].thread, NULL, run_job, &jobs[t]), 0);
	for (unsigned i = 0; i < 100; i++) { /* the loop lives on meanwhile */
		struct queue_stats s;
		struct queue_item *item = fixture_commit_one(&f, "loop@x.test", 10);
		queue_stats(f.q, &s);
		ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	}
	for (size_t t = 0; t < THREADS; t++)
		pthread_join(jobs[t].thread, NULL);
}

/* With files alone, then with the journal too, of which the queue makes files. */
START_TEST(four_threads)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test" };
	static struct job jobs[THREADS];
	static struct queue_item *items[THREADS * PER_THREAD * 2];
	struct queue_done done;
	size_t n = 0;
	fixture_close(&f);
	f.opt.no_journal = _i == 0;
	fixture_open(&f);
	while (fixture_take(&f) != NULL)
		continue;
	for (size_t t = 0; t < THREADS; t++) {
		for (size_t i = 0; i < PER_THREAD; i++)
			jobs[t].ops[i] = fixture_op_commit(&f,
			    fixture_message(&f, rcpts, 2, i % 5 == 0 ? 300000 : 2000));
	}
	run_jobs(jobs);
	for (size_t t = 0; t < THREADS; t++) {
		for (size_t i = 0; i < PER_THREAD; i++) {
			queue_finish(f.q, &jobs[t].ops[i], f.now, &done);
			ck_assert_int_eq(done.result, 0);
			list_foreach_safe(node, &done.items) {
				list_remove(node);
				items[n++] = list_entry(node, struct queue_item, link);
			}
		}
	}
	ck_assert_uint_eq(n, THREADS * PER_THREAD * 2);
	for (size_t i = 0; i < THREADS * PER_THREAD; i++) { /* loads and settles side by side */
		fixture_load(&f, items[i]);
		struct queue_outcome o = { .fate = FATE_PENDING,
			.attempts = 1,
			.due_ms = f.now.wall_ms,
			.status = { .text = "later", .host = "", .ip = "" } };
		if (i % 3 == 0)
			queue_unload(f.q, items[i]);
		jobs[i % THREADS].ops[i / THREADS] = i % 3 == 0 && items[i]->mail == NULL
							 ? queue_op_load(items[i])
							 : queue_op_settle(items[i], &o, 1, f.now);
	}
	run_jobs(jobs);
	for (size_t t = 0; t < THREADS; t++) {
		for (size_t i = 0; i < PER_THREAD; i++) {
			queue_finish(f.q, &jobs[t].ops[i], f.now, &done);
			ck_assert_int_eq(done.result, 0);
		}
	}
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	if (_i == 0)
		ck_assert_uint_eq(fixture_count(&f, "queue"), 1 + THREADS * PER_THREAD * 2);
	struct queue_stats s;
	queue_stats(f.q, &s);
	ck_assert_uint_eq(s.items, 1 + THREADS * PER_THREAD * 2);
}

END_TEST

Suite *test_damage_suite(void)
{
	Suite *s = suite_create("damage");
	TCase *tc = tcase_create("damage");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, cut_at_every_byte);
	tcase_add_test(tc, every_bit_flipped);
	tcase_add_test(tc, zeros_and_noise_behind_the_tail);
	tcase_add_test(tc, a_torn_tail_is_written_over);
	tcase_add_test(tc, an_append_cuts_what_a_failed_one_left);
	tcase_add_test(tc, damage_goes_to_corrupt);
	tcase_add_test(tc, a_file_must_be_what_its_name_says);
	tcase_add_test(tc, all_final_in_the_tail_means_gone);
	tcase_add_test(tc, shrinking_files_are_noticed);
	tcase_add_loop_test(tc, four_threads, 0, 2);
	suite_add_tcase(s, tc);
	return s;
}
