/* The spool as an operator and a crash leave it: locks, modes, strangers, duplicates. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_spool_suite(void);

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)

static struct fixture f;

static void setup(void)
{
	fixture_init(&f);
	fixture_open(&f);
}

static void setup_files(void)
{
	fixture_no_journal = true;
	setup();
}

static void teardown(void)
{
	fixture_fini(&f);
	fixture_no_journal = false;
}

START_TEST(one_daemon_at_a_time)
{
	struct queue *second;
	struct errbuf eb;
	ck_assert_int_eq(queue_open(&second, &f.opt, f.now, &eb), ERR_BUSY);
	ck_assert_ptr_null(second);
	ck_assert_ptr_nonnull(strstr(eb.text, "in use"));
	fixture_close(&f);
	ck_assert_int_eq(queue_open(&second, &f.opt, f.now, &eb), 0);
	queue_close(&second);
	queue_close(&second);
	fixture_open(&f);
}

END_TEST

static unsigned mode_of(const char *sub)
{
	char path[256];
	struct stat st;
	fixture_path(&f, sub, path, sizeof(path));
	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_mode & 07777;
}

START_TEST(modes_are_tight)
{
	static const char *const subs[] = { "", "queue", "queue/00", "queue/3f", "tmp", "corrupt",
		"state", "journal", "body" };
	char path[512];
	for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
		ck_assert_uint_eq(mode_of(subs[i]), 0700);
		fixture_path(&f, subs[i], path, sizeof(path));
		ck_assert_int_eq(chmod(path, 0755), 0);
	}
	fixture_reopen(&f);
	for (size_t i = 0; i < ARRAY_LEN(subs); i++)
		ck_assert_uint_eq(mode_of(subs[i]), 0700);
	ck_assert_uint_eq(mode_of("state/lock"), 0600);
	ck_assert_uint_eq(mode_of("state/epoch"), 0600);
	struct stat st;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 300000);
	char body[64] = "body/";
	queue_item_message_id(item, body + 5);
	if (!fixture_no_journal)
		ck_assert_uint_eq(mode_of(body), 0600);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
}

END_TEST

START_TEST(strangers_are_left_alone)
{
	char path[512], victim[512];
	fixture_path(&f, "victim", victim, sizeof(victim));
	fixture_write(victim, "hands off", 9);
	fixture_path(&f, "queue/05/1.0.q.0mfqkz2u100001abc123-1.x.test", path, sizeof(path));
	ck_assert_int_eq(symlink(victim, path), 0);
	fixture_path(&f, "queue/05/1.0.q.0mfqkz2u100001abc123-2.x.test", path, sizeof(path));
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fixture_path(&f, "queue/05/1.0.q.0mfqkz2u100001abc123-3.x.test", path, sizeof(path));
	ck_assert_int_eq(mkdir(path, 0700), 0);
	fixture_path(&f, "queue/06/README", path, sizeof(path));
	fixture_write(path, "x", 1);
	fixture_path(&f, "tmp/left", path, sizeof(path));
	fixture_write(path, "x", 1);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 4);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 0);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	/* Put in the place of a known file, they are not followed either. */
	static const char *const kinds[] = { "link", "fifo", "directory", "nothing" };
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		fixture_path(&f, "queue/07/1.0.q.0mfqkz2u100001abc123-9.x.test", path,
		    sizeof(path));
		fixture_write(path, "x", 1);
		fixture_reopen(&f);
		struct queue_item *item = fixture_take(&f);
		ck_assert_ptr_nonnull(item);
		ck_assert_int_eq(unlink(path), 0);
		if (i == 0)
			ck_assert_int_eq(symlink(victim, path), 0);
		else if (i == 1)
			ck_assert_int_eq(mkfifo(path, 0600), 0);
		else if (i == 2)
			ck_assert_int_eq(mkdir(path, 0700), 0);
		struct queue_done done;
		ck_assert_int_lt(fixture_run(&f, queue_op_load(item), &done), 0);
		ck_assert_ptr_null(done.item);
		ck_assert_uint_eq(fixture_stats(&f).items, 0);
		ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	size_t n;
	char *text = fixture_read(victim, &n);
	ck_assert_uint_eq(n, 9);
	mem_free(text);
}

END_TEST

START_TEST(a_link_in_place_of_a_folder_is_refused)
{
	char path[512], elsewhere[512];
	struct errbuf eb;
	fixture_close(&f);
	fixture_path(&f, "queue/3f", path, sizeof(path));
	fixture_path(&f, "elsewhere", elsewhere, sizeof(elsewhere));
	ck_assert_int_eq(rename(path, elsewhere), 0);
	ck_assert_int_eq(symlink(elsewhere, path), 0);
	ck_assert_int_lt(queue_open(&f.q, &f.opt, f.now, &eb), 0);
	ck_assert_ptr_nonnull(strstr(eb.text, "3f"));
	ck_assert_ptr_null(f.q);
}

END_TEST

START_TEST(ids_differ_after_every_start)
{
	char seen[5][QUEUE_ID_MAX], path[512];
	for (unsigned i = 0; i < 5; i++) {
		struct queue_item *item = fixture_commit_one(&f, "a@x.test", 1);
		queue_item_message_id(item, seen[i]);
		ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
		for (unsigned j = 0; j < i; j++)
			ck_assert_str_ne(seen[i], seen[j]);
		fixture_close(&f);
		if (i == 3) {
			fixture_path(&f, "state/epoch", path, sizeof(path));
			fixture_write(path, "garbage", 7);
		}
		fixture_advance(&f, 1); /* the damaged counter leans on time */
		fixture_open(&f);
	}
}

END_TEST

/* With the counter lost a start may have the number of an earlier one, whose mail is served all the
 * same. */
START_TEST(mail_of_a_start_with_the_same_number)
{
	char path[512];
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 1);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	fixture_close(&f);
	fixture_path(&f, "state/epoch", path, sizeof(path));
	ck_assert_int_eq(unlink(path), 0);
	fixture_advance(&f, 1);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	f.now.wall_ms -= 3600000; /* new mail is known as such, wherever the clock goes */
	item = fixture_commit_one(&f, "b@x.test", 1);
	ck_assert_int_gt(item->arrival_ms, f.now.wall_ms);
}

END_TEST

START_TEST(directory_syncs_are_gathered)
{
	struct queue_done done;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 1);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0)); /* a commit syncs its own */
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 1000));
	fixture_advance(&f, 999);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 1000));
	fixture_advance(&f, 1);
	struct queue_op *op = queue_op_sync(f.q, f.now, 1000);
	ck_assert_ptr_nonnull(op);
	ck_assert_int_eq(queue_op_kind_of(op), QUEUE_OP_SYNC);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0)); /* one at a time */
	queue_op_set_arg(op, &f);
	ck_assert_ptr_eq(queue_op_arg(op), &f);
	ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	ck_assert_ptr_eq(done.arg, &f);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0));
}

END_TEST

/* Two names of one id: only hands can do that. The later one is kept, none deleted. */
START_TEST(duplicate_ids_keep_the_later)
{
	char path[512], other[512], later[512];
	int64_t due = f.now.wall_ms + 1000 * MINUTE, bound = 5 * MINUTE + 37500;
	size_t n;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	char *early = fixture_read(path, &n);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 2, due), 0);
	ck_assert(fixture_find(&f, other, sizeof(other)));
	fixture_close(&f);
	fixture_path(&f, "queue/20", later, sizeof(later));
	strncat(later, strrchr(other, '/'), sizeof(later) - strlen(later) - 1);
	ck_assert_int_eq(rename(other, later), 0);
	for (unsigned i = 0; i < 2; i++) { /* found after it, then before it */
		const char *name = strrchr(path, '/');
		fixture_path(&f, i == 0 ? "queue/3f" : "queue/00", other, sizeof(other));
		strncat(other, name, sizeof(other) - strlen(other) - 1);
		fixture_write(other, early, n);
		fixture_open(&f);
		ck_assert_uint_eq(fixture_stats(&f).items, 1);
		ck_assert_uint_eq(fixture_count(&f, "corrupt"), i + 1);
		ck_assert_ptr_null(fixture_take(&f));
		size_t cursor = 0;
		item = queue_next_item(f.q, &cursor);
		ck_assert_uint_eq(item->attempts, 2);
		ck_assert_int_eq(item->due_ms, f.now.wall_ms + bound);
		queue_flush(f.q, f.now);
		ck_assert_ptr_eq(fixture_take(&f), item);
		fixture_load(&f, item);
		ck_assert_uint_eq(item->attempts, 2);
		fixture_close(&f);
	}
	mem_free(early);
}

END_TEST

START_TEST(a_full_disk_is_told_before)
{
	fixture_close(&f);
	f.opt.space_min_bytes = UINT64_MAX / 2;
	fixture_open(&f);
	ck_assert_int_eq(queue_admit(f.q, 1000, f.now), -ENOSPC);
	fixture_close(&f);
	f.opt.space_min_bytes = 1;
	fixture_open(&f);
	ck_assert_int_eq(queue_admit(f.q, 1000, f.now), 0);
}

END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, one_daemon_at_a_time);
	tcase_add_test(tc, modes_are_tight);
	tcase_add_test(tc, strangers_are_left_alone);
	tcase_add_test(tc, a_link_in_place_of_a_folder_is_refused);
	tcase_add_test(tc, ids_differ_after_every_start);
	tcase_add_test(tc, mail_of_a_start_with_the_same_number);
	tcase_add_test(tc, directory_syncs_are_gathered);
	tcase_add_test(tc, a_full_disk_is_told_before);
}

Suite *test_spool_suite(void)
{
	Suite *s = suite_create("spool");
	TCase *tc = tcase_create("spool");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	add_tests(tc);
	suite_add_tcase(s, tc);
	tc = tcase_create("files");
	tcase_add_checked_fixture(tc, setup_files, teardown);
	tcase_set_timeout(tc, 60);
	add_tests(tc);
	tcase_add_test(tc, duplicate_ids_keep_the_later);
	suite_add_tcase(s, tc);
	return s;
}
