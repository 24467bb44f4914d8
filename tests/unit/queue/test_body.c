/*
 * Messages too large for a record of the journal: one file for the body,
 * however many destinations. The power goes at every call, every call fails:
 * the message is there as a whole or not at all, it is never taken for
 * damaged, and its file goes when nobody needs it any more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fault/qio_fault.h"
#include "fault/qio_mem.h"
#include "lib/unit.h"
#include "queue/journal_record.h"
#include "unit/queue/checking.h"

Suite *test_body_suite(void);

enum {
	LARGE = 256 * 1024 + 5000,
	DOMAINS_MAX = 50,
	CALLS_MAX = 3000
};

#define MINUTE INT64_C(60000)

static const size_t domains[] = { 1, 2, DOMAINS_MAX };

static struct fixture f;
static struct qio_mem disk;
static struct qio_fault faults;
static struct prng luck;

struct known { /* what was said to be so */
	char id[QUEUE_ID_MAX];
	bool first_delivered; /* of the recipients */
	unsigned attempts;
	bool over, over_for_sure;
};

static struct known known[DOMAINS_MAX];
static size_t known_n;

/* --- a life --------------------------------------------------------------------------- */

/* Two recipients at the first domain, one at each other. */
static struct queue_op *op_commit(size_t n)
{
	static char text[DOMAINS_MAX + 1][64];
	const char *rcpts[DOMAINS_MAX + 1];
	for (size_t i = 0; i <= n; i++) {
		snprintf(text[i], sizeof(text[i]), "u%zu@d%zu.test", i, i == 0 ? 0 : i - 1);
		rcpts[i] = text[i];
	}
	return fixture_op_commit(&f, fixture_message(&f, rcpts, n + 1, LARGE));
}

static void sync_all(void)
{
	if (fixture_sync(&f) < 0)
		return;
	for (size_t i = 0; i < known_n && !disk.dead; i++)
		known[i].over_for_sure = known[i].over;
}

static void deliver_all(struct known *k, struct queue_item *item)
{
	struct queue_outcome o[2];
	struct queue_done done;
	size_t n = item->mail->envelope->rcpts_n;
	for (size_t i = 0; i < n; i++)
		o[i] = (struct queue_outcome){ .rcpt = i,
			.fate = FATE_DELIVERED,
			.status = { .text = "", .host = "", .ip = "" } };
	/* The call during which the power goes may have done it. */
	k->over = fixture_run(&f, queue_op_settle(item, o, n, f.now), &done) == 0 || disk.dead;
}

static void serve(size_t i)
{
	struct known *k = &known[i];
	struct queue_item *item = fixture_item(&f, k->id);
	struct queue_done done;
	if (item->state != QUEUE_ITEM_ACTIVE)
		return;
	if (i % 4 == 2) {
		queue_park(f.q, item, 0);
		(void)!fixture_run(&f, queue_op_hold(item, true, f.now), &done);
	} else if (i % 4 == 3) {
		queue_unload(f.q, item);
	} else if (fixture_try_load(&f, item) && i == 0) {
		k->first_delivered = fixture_settle(&f, item, 0, FATE_DELIVERED, 1, 0) == 0;
	} else if (item->mail != NULL && i % 4 == 1) {
		if (fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE) == 0)
			k->attempts = 1;
	} else if (item->mail != NULL) {
		deliver_all(k, item);
	}
}

/* Accepted, and each part deferred, delivered in part or whole, held, or left alone. */
static void live(size_t n)
{
	struct queue_done done;
	struct queue_op *op = op_commit(n);
	known_n = 0;
	(void)!fixture_run(&f, op, &done);
	list_foreach_safe(node, &done.items) {
		list_remove(node);
		known[known_n] = (struct known){ .attempts = 0 };
		queue_item_id(list_entry(node, struct queue_item, link), known[known_n++].id);
	}
	ck_assert_uint_eq(known_n, done.result == 0 ? n : 0);
	sync_all();
	for (size_t i = 0; i < known_n; i++)
		serve(i);
	sync_all();
}

/* Nothing that was said to be so is otherwise. */
static void check_known(unsigned nth)
{
	for (size_t i = 0; i < known_n; i++) {
		struct known *k = &known[i];
		struct queue_item *item = fixture_item(&f, k->id);
		if ((item == NULL && !k->over) || (item != NULL && k->over_for_sure))
			ck_abort_msg("call %u: %s is %s", nth, k->id,
			    item == NULL ? "lost" : "back");
	}
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	ck_assert_uint_eq(qio_mem_count(&disk, "corrupt"), 0);
}

static void finish_item(unsigned nth, struct queue_item *item)
{
	struct queue_done done;
	struct known k = { .attempts = 0 };
	if (item->state == QUEUE_ITEM_HELD)
		ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, false, f.now), &done), 0);
	if (item->state == QUEUE_ITEM_PARKED)
		queue_take(f.q, item);
	if (!fixture_try_load(&f, item))
		ck_abort_msg("call %u: can't be loaded", nth);
	fixture_check_body(item->mail->body, LARGE);
	for (size_t i = 0; i < known_n; i++) {
		if (fixture_item(&f, known[i].id) != item)
			continue;
		const struct envelope_rcpt *r = &item->mail->envelope->rcpts[0];
		if (r->attempts < known[i].attempts ||
		    (known[i].first_delivered && r->fate != FATE_DELIVERED))
			ck_abort_msg("call %u: an outcome is lost", nth);
	}
	deliver_all(&k, item);
	ck_assert(k.over);
}

static void finish_all(unsigned nth)
{
	struct queue_item *item;
	size_t cursor;
	while (cursor = 0, (item = queue_next_item(f.q, &cursor)) != NULL)
		finish_item(nth, item);
	for (unsigned i = 0; i < 3; i++)
		sync_all();
	if (qio_mem_count(&disk, "body") != 0 || qio_mem_count(&disk, "tmp") != 0)
		ck_abort_msg("call %u: %zu in body, %zu in tmp", nth, qio_mem_count(&disk, "body"),
		    qio_mem_count(&disk, "tmp"));
}

static void start(const struct qio *io, uint64_t seed)
{
	f = (struct fixture){ .now = { .wall_ms = INT64_C(1790000000000), .mono_ms = 1000 } };
	ck_assert_int_eq(retry_parse(SLICE("1m*20"), &f.retry, NULL), 0);
	f.opt = (struct queue_options){ .directory = "spool",
		.qio = io,
		.seed = seed,
		.journal_segment_bytes = 64 * 1024,
		.journal_segments_max = 4 };
	fixture_open(&f);
}

static void stop(void)
{
	queue_close(&f.q);
	qio_mem_restart(&disk);
	qio_mem_fini(&disk);
}

/* --- power cuts ------------------------------------------------------------------------ */

/* The next start is cut short as well; the one after that stands, and another finds the same. */
static void start_again(void)
{
	qio_mem_restart(&disk);
	checking_after_crash(&disk, &luck);
	disk.countdown = (unsigned)prng_below(&luck, 300);
	if (queue_open(&f.q, &f.opt, f.now, NULL) == 0) {
		while (queue_scan_step(f.q, f.now) > 0)
			continue;
		queue_close(&f.q);
	}
	qio_mem_restart(&disk);
	fixture_open(&f);
	size_t items = fixture_stats(&f).items, bodies = qio_mem_count(&disk, "body");
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, items);
	ck_assert_uint_eq(qio_mem_count(&disk, "body"), bodies);
	ck_assert_uint_eq(qio_mem_count(&disk, "tmp"), 0);
}

static bool cut_once(unsigned nth, size_t n, uint64_t seed)
{
	qio_mem_init(&disk, seed);
	prng_init(&luck, seed);
	start(&disk.io, seed);
	disk.countdown = nth;
	live(n);
	bool cut = disk.dead;
	disk.countdown = 1;
	fixture_close(&f);
	start_again();
	check_known(nth);
	if (known_n == 0)
		ck_assert(fixture_stats(&f).items == 0 ||
			  fixture_stats(&f).items == n); /* whole, or not at all */
	finish_all(nth);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	stop();
	return cut;
}

/* Behind what all have in common, the many domains make many calls alike: some will do. */
static unsigned next_call(unsigned nth, size_t n)
{
	return nth + (n > 2 && nth > 60 ? 7 : 1);
}

START_TEST(the_power_goes_at_every_call)
{
	unsigned nth = 1, seeds = domains[_i] > 2 ? 2 : 4;
	for (bool cut = true; cut; nth = next_call(nth, domains[_i])) {
		cut = false;
		for (uint64_t seed = 0; seed < seeds; seed++)
			cut = cut_once(nth, domains[_i], seed * CALLS_MAX + nth) || cut;
		ck_assert_uint_lt(nth, CALLS_MAX);
	}
	ck_assert_uint_gt(nth, 20);
}

END_TEST

/* --- faults ---------------------------------------------------------------------------- */

static bool fail_once(unsigned nth, size_t n, int way)
{
	qio_mem_init(&disk, nth);
	qio_fault_init(&faults, &disk.io);
	faults.lose = qio_mem_lose_unsynced;
	start(&faults.io, nth);
	qio_fault_arm(&faults, nth, way & 1, way & 2, way & 2 ? -ENOSPC : -EIO);
	live(n);
	bool fired = faults.fired > 0;
	qio_fault_disarm(&faults);
	for (unsigned i = 0; i < 3; i++)
		sync_all();
	if (known_n == 0) {
		ck_assert_uint_eq(qio_mem_count(&disk, "body"), 0);
		ck_assert_uint_eq(qio_mem_count(&disk, "tmp"), 0);
	}
	check_known(nth);
	if (nth % 2 == 0)
		fixture_reopen(&f);
	else
		queue_flush(f.q, f.now);
	check_known(nth);
	finish_all(nth);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	stop();
	return fired;
}

START_TEST(every_call_fails)
{
	unsigned nth = 1;
	while (fail_once(nth, domains[_i / 4], _i % 4)) {
		nth = next_call(nth, domains[_i / 4]);
		ck_assert_uint_lt(nth, CALLS_MAX);
	}
	ck_assert_uint_gt(nth, 20);
}

END_TEST

/* --- on a real disk ----------------------------------------------------------------------- */

static void setup(void)
{
	fixture_init_in_memory(&f);
	f.opt.journal_segment_bytes = 64 * 1024;
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

static void path_of(const char *folder, const char *id, const char *suffix, char path[512])
{
	char name[128];
	snprintf(name, sizeof(name), "%s/%s%s", folder, id, suffix);
	fixture_path(&f, name, path, 512);
}

/* A large message for two domains; its id. */
static void commit_two(char id[QUEUE_ID_MAX], struct queue_item *items[2])
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test" };
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 2, LARGE, items, 2), 2);
	queue_item_message_id(items[0], id);
}

START_TEST(one_file_and_three_syncs)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test", "c@z.test" };
	struct queue_item *items[3];
	fixture_commit_one(&f, "first@x.test", 1);
	uint64_t before = fixture_stats(&f).syncs;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 3, LARGE, items, 3), 3);
	ck_assert_uint_eq(fixture_stats(&f).syncs - before, 3);
	ck_assert_uint_eq(fixture_count(&f, "body"), 1);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
}

END_TEST

START_TEST(the_file_goes_when_all_are_served)
{
	struct queue_item *items[2];
	char id[QUEUE_ID_MAX];
	struct known k;
	commit_two(id, items);
	fixture_load(&f, items[0]);
	struct queue_body *body = queue_body_ref(items[0]->mail->body);
	deliver_all(&k, items[0]);
	sync_all();
	ck_assert_uint_eq(fixture_count(&f, "body"), 1);
	fixture_load(&f, items[1]);
	deliver_all(&k, items[1]);
	ck_assert_uint_eq(fixture_count(&f, "body"), 1); /* a crash could bring it back */
	sync_all();
	ck_assert_uint_eq(fixture_count(&f, "body"), 0);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0));
	fixture_check_body(body, LARGE); /* still being sent */
	queue_body_unref(&body);
}

END_TEST

/* Missing, cut short, a bit flipped: set aside with what there is of it, once. */
START_TEST(a_damaged_body_is_kept_for_a_person)
{
	struct queue_item *items[2];
	struct queue_done done;
	char id[QUEUE_ID_MAX], path[512], other[512];
	size_t n;
	commit_two(id, items);
	fixture_close(&f);
	path_of("body", id, "", path);
	char *bytes = fixture_read(path, &n);
	ck_assert_uint_eq(n, 4096 + LARGE);
	bytes[n - 1] ^= 1;
	if (_i == 0)
		ck_assert_int_eq(unlink(path), 0);
	else
		fixture_write(path, bytes, _i == 1 ? n - 1 : n);
	mem_free(bytes);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, _i == 2 ? 2 : 0);
	for (unsigned i = 0; _i == 2 && i < 2; i++)
		ck_assert_int_eq(fixture_run(&f, queue_op_load(fixture_take(&f)), &done),
		    ERR_CORRUPT);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 1);
	path_of("corrupt", id, ".journal", other);
	ck_assert_int_eq(access(other, F_OK), 0);
	path_of("corrupt", id, ".body", other);
	ck_assert_int_eq(access(other, F_OK), _i == 0 ? -1 : 0);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), _i == 0 ? 1 : 2);
	ck_assert_uint_eq(fixture_count(&f, "body"), 0);
}

END_TEST

START_TEST(files_without_a_record)
{
	static const char *const orphan = "0mub5a0g000002k7f3xq";
	char path[512], other[512], id[QUEUE_ID_MAX];
	struct queue_item *items[2];
	size_t n;
	commit_two(id, items);
	fixture_close(&f);
	path_of("body", orphan, "", path);
	fixture_write(path, "left behind", 11);
	path_of("body", "README", "", other);
	fixture_write(other, "not ours", 8);
	fixture_open(&f);
	ck_assert_int_lt(access(path, F_OK), 0);
	ck_assert_int_eq(access(other, F_OK), 0);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	fixture_commit_one(&f, "c@z.test", 40); /* behind it, so that it can't pass for torn */
	fixture_commit_one(&f, "c@z.test", 40);
	fixture_close(&f);
	fixture_write(path, "left behind", 11); /* as before, but a record can't be read */
	fixture_path(&f, "journal/00000001", other, sizeof(other));
	char *bytes = fixture_read(other, &n);
	bytes[JOURNAL_HEADER_BYTES + 50] ^= 1;
	fixture_write(other, bytes, n);
	mem_free(bytes);
	fixture_open(&f);
	ck_assert_int_lt(access(path, F_OK), 0);
	path_of("corrupt", orphan, ".body", other);
	ck_assert_int_eq(access(other, F_OK), 0);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 2);
	ck_assert_uint_eq(fixture_stats(&f).items, 3);
}

END_TEST

/* The journal has no room: queue files are made of the body's file after all. */
START_TEST(a_full_journal)
{
	struct queue_item *items[2];
	char id[QUEUE_ID_MAX];
	for (size_t bytes = 9000; bytes > 10; bytes /= 10) {
		size_t files = fixture_count(&f, "queue");
		while (fixture_count(&f, "queue") == files)
			fixture_commit_one(&f, "a@x.test", bytes);
	}
	size_t before = fixture_count(&f, "queue");
	commit_two(id, items);
	ck_assert_uint_eq(fixture_count(&f, "queue"), before + 2);
	ck_assert_uint_eq(fixture_count(&f, "body"), 0);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	for (unsigned i = 0; i < 2; i++) {
		fixture_load(&f, items[i]);
		fixture_check_body(items[i]->mail->body, LARGE);
	}
}

END_TEST

Suite *test_body_suite(void)
{
	Suite *s = suite_create("body");
	TCase *tc = tcase_create("body");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_file_and_three_syncs);
	tcase_add_test(tc, the_file_goes_when_all_are_served);
	tcase_add_loop_test(tc, a_damaged_body_is_kept_for_a_person, 0, 3);
	tcase_add_test(tc, files_without_a_record);
	tcase_add_test(tc, a_full_journal);
	suite_add_tcase(s, tc);
	tc = tcase_create("loops");
	tcase_set_timeout(tc, 240);
	tcase_add_loop_test(tc, the_power_goes_at_every_call, 0, ARRAY_LEN(domains));
	tcase_add_loop_test(tc, every_call_fails, 0, 4 * ARRAY_LEN(domains));
	suite_add_tcase(s, tc);
	return s;
}
