/*
 * Every disk call of every operation fails once, and then from there on:
 * nothing of a failed commit stays visible, nothing accepted is lost, nothing
 * whole is taken for damaged, and no descriptor is left open.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fault/qio_fault.h"
#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_fault_suite(void);

enum {
	WAYS = 4
};

#define MINUTE    INT64_C(60000)
#define CALLS_MAX 2000 /* more than any scenario makes */

static struct fixture f;
static struct qio_fault disk;

/* Four ways to fail, by loop index. */
static void arm(unsigned nth, int way)
{
	qio_fault_arm(&disk, nth, way & 1, way & 2, way & 2 ? -ENOSPC : -EIO);
}

static size_t open_descriptors(void)
{
	size_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n;
}

static void begin(void)
{
	fixture_init_in_memory(&f);
	qio_fault_init(&disk, qio_posix());
	f.opt.qio = &disk.io;
	f.opt.journal_segment_bytes = 512 * 1024;
	fixture_open(&f);
}

/* Of a loop over ways and stores. */
static int set_store(int i)
{
	fixture_no_journal = i >= WAYS;
	return i % WAYS;
}

/* --- commit ----------------------------------------------------------------------- */

struct commit {
	struct queue_op *op;
	size_t files;
	size_t bytes;
};

/* Two messages in one batch: one in memory for two domains, one spilled for two. Returns whether a
 * fault fired. */
static bool commit_once(unsigned nth, int way)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test" };
	struct commit c[2] = { { .files = 2, .bytes = 100 }, { .files = 2, .bytes = 300000 } };
	struct queue_op *ops[2];
	size_t expect = 0, bodies = 0;
	begin();
	arm(nth, way);
	for (size_t i = 0; i < 2; i++)
		ops[i] = fixture_op_commit(&f, fixture_message(&f, rcpts, 2, c[i].bytes));
	queue_run(f.q, ops, 2);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	for (size_t i = 0; i < 2; i++) {
		struct queue_done done;
		size_t items = 0;
		queue_finish(f.q, &ops[i], f.now, &done);
		list_foreach_safe(node, &done.items) {
			list_remove(node);
			items++;
		}
		if (done.result < 0 && done.result != disk.err)
			ck_abort_msg("call %u (%s): error %d", nth, disk.last, done.result);
		if (items != (done.result == 0 ? c[i].files : 0))
			ck_abort_msg("call %u (%s): %zu items", nth, disk.last, items);
		expect += items;
		bodies = items > 0 && c[i].bytes > 256 * 1024;
	}
	/* What could not be removed at once goes with the next sync. */
	struct queue_op *sync = queue_op_sync(f.q, f.now, 0);
	struct queue_done done;
	if (sync != NULL)
		ck_assert_int_eq(fixture_run(&f, sync, &done), 0);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0));
	size_t files = fixture_no_journal ? expect : fixture_count(&f, "queue");
	if (fixture_count(&f, "queue") != files || files > expect || fixture_count(&f, "tmp") != 0)
		ck_abort_msg("call %u (%s): %zu files, %zu expected, %zu in tmp", nth, disk.last,
		    fixture_count(&f, "queue"), expect, fixture_count(&f, "tmp"));
	ck_assert_uint_le(fixture_count(&f, "body"), bodies); /* or it is in queue files */
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, expect);
	struct queue_item *item;
	for (size_t i = 0; i < expect; i++) {
		item = fixture_take(&f);
		ck_assert_ptr_nonnull(item);
		fixture_load(&f, item);
		fixture_check_body(item->mail->body, item->mail->envelope->body_bytes);
	}
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	fixture_fini(&f);
	return fired;
}

START_TEST(commits_are_all_or_nothing)
{
	unsigned nth = 1;
	size_t before = open_descriptors();
	int way = set_store(_i);
	while (commit_once(nth, way))
		ck_assert_uint_lt(nth++, CALLS_MAX);
	ck_assert_uint_gt(nth, fixture_no_journal ? 20 : 12);
	ck_assert_uint_eq(open_descriptors(), before);
}

END_TEST

/* --- settle ----------------------------------------------------------------------- */

static struct queue_item *two_recipients(void)
{
	static const char *const rcpts[] = { "a@x.test", "b@x.test" };
	struct queue_item *item;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 2, 1000, &item, 1), 1);
	/* A first record on disk, so that there is something to destroy. */
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	item = fixture_take(&f);
	fixture_load(&f, item);
	return item;
}

/* The disk as a restart sees it: one file, whole, with at least the first record. */
static struct queue_item *after_restart(void)
{
	fixture_reopen(&f);
	fixture_advance(&f, MINUTE * 2);
	struct queue_item *item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	fixture_check_body(item->mail->body, 1000);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	ck_assert_uint_ge(item->mail->envelope->rcpts[0].attempts, 1);
	return item;
}

static bool settle_once(unsigned nth, int way, bool restart_at_once)
{
	begin();
	struct queue_item *item = two_recipients();
	arm(nth, way);
	int result = fixture_settle(&f, item, 1, FATE_DELIVERED, 1, 0);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	ck_assert_int_eq(item->state, QUEUE_ITEM_PARKED);
	ck_assert_int_eq(item->mail != NULL,
	    result < 0); /* what the disk refused stays in memory */
	if (!restart_at_once) {
		ck_assert_ptr_eq(fixture_take(&f), item);
		if (result < 0) {
			queue_unload(f.q, item); /* even now */
			ck_assert_ptr_nonnull(item->mail);
		}
		fixture_load(&f, item);
		ck_assert_int_eq(item->mail->envelope->rcpts[1].fate, FATE_DELIVERED);
		ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 2,
				     f.now.wall_ms + MINUTE),
		    0);
		ck_assert_ptr_null(item->mail);
	}
	item = after_restart();
	const struct envelope *e = item->mail->envelope;
	if ((result == 0 || !restart_at_once) && e->rcpts[1].fate != FATE_DELIVERED)
		ck_abort_msg("call %u (%s): a recorded outcome is gone", nth, disk.last);
	ck_assert_uint_eq(e->rcpts[0].attempts, restart_at_once ? 1 : 2);
	fixture_fini(&f);
	return fired;
}

START_TEST(outcomes_are_kept)
{
	int way = set_store(_i);
	for (unsigned nth = 1; settle_once(nth, way, false); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
	for (unsigned nth = 1; settle_once(nth, way, true); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
}

END_TEST

static bool final_once(unsigned nth, int way)
{
	begin();
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 1000);
	arm(nth, way);
	int result = fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	if (result < 0) {
		ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
		ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	}
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	fixture_fini(&f);
	return fired;
}

START_TEST(the_end_can_be_tried_again)
{
	int way = set_store(_i);
	for (unsigned nth = 1; final_once(nth, way); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
}

END_TEST

/* --- load, hold, scan, open ----------------------------------------------------------- */

static bool load_once(unsigned nth, int way, size_t bytes)
{
	struct queue_done done;
	begin();
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", bytes);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	item = fixture_take(&f);
	arm(nth, way);
	int result = fixture_run(&f, queue_op_load(item), &done);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	if (result < 0) {
		ck_assert_int_eq(result, disk.err);
		ck_assert_ptr_eq(done.item, item);
		ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
		ck_assert_ptr_null(item->mail);
		queue_park(f.q, item, f.now.wall_ms + 5);
		fixture_advance(&f, 5);
		ck_assert_ptr_eq(fixture_take(&f), item);
	}
	fixture_load(&f, item);
	fixture_check_body(item->mail->body, bytes);
	ck_assert_uint_eq(item->mail->envelope->rcpts[0].attempts, 1);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	fixture_fini(&f);
	return fired;
}

START_TEST(a_failed_load_is_no_damage)
{
	int way = set_store(_i);
	size_t before = open_descriptors();
	for (unsigned nth = 1; load_once(nth, way, 1000); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
	for (unsigned nth = 1; load_once(nth, way, 500000); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
	ck_assert_uint_eq(open_descriptors(), before);
}

END_TEST

static bool hold_once(unsigned nth, int way)
{
	struct queue_done done;
	begin();
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	queue_park(f.q, item, 0);
	arm(nth, way);
	int result = fixture_run(&f, queue_op_hold(item, true, f.now), &done);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	ck_assert_int_eq(item->state, result == 0 ? QUEUE_ITEM_HELD : QUEUE_ITEM_PARKED);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done), 0);
	arm(nth, way);
	result = fixture_run(&f, queue_op_hold(item, false, f.now), &done);
	qio_fault_disarm(&disk);
	ck_assert_int_eq(item->state, result == 0 ? QUEUE_ITEM_PARKED : QUEUE_ITEM_HELD);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).held, result == 0 ? 0 : 1);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
	fixture_fini(&f);
	return fired;
}

START_TEST(a_hold_holds_or_says_no)
{
	int way = set_store(_i);
	for (unsigned nth = 1; hold_once(nth, way); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
}

END_TEST

/* Opening and scanning may fail at any call; the next try finds all there is. */
static bool open_once(unsigned nth, int way)
{
	char path[512];
	begin();
	fixture_commit_one(&f, "a@x.test", 10);
	fixture_commit_one(&f, "b@x.test", 10);
	fixture_close(&f);
	fixture_path(&f, "tmp/left", path, sizeof(path));
	fixture_write(path, "x", 1);
	struct errbuf eb = { "" };
	arm(nth, way);
	int err = queue_open(&f.q, &f.opt, f.now, &eb);
	if (err < 0) {
		ck_assert_ptr_null(f.q);
		ck_assert_str_ne(eb.text, "");
	}
	if (err == 0)
		(void)!fixture_scan(&f);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	if (err == 0) {
		ck_assert_int_eq(fixture_scan(&f), 0);
		ck_assert(queue_scan_is_done(f.q));
		ck_assert_uint_eq(fixture_stats(&f).items, 2);
	}
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	fixture_fini(&f);
	return fired;
}

START_TEST(opening_can_be_tried_again)
{
	int way = set_store(_i);
	size_t before = open_descriptors();
	for (unsigned nth = 1; open_once(nth, way); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
	ck_assert_uint_eq(open_descriptors(), before);
}

END_TEST

/* A damaged file is moved or stays; it is never lost and never delivered. */
static bool quarantine_once(unsigned nth, int way)
{
	char path[512];
	struct queue_done done;
	begin();
	fixture_commit_one(&f, "a@x.test", 10);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	fixture_write(path, "damaged", 7);
	fixture_reopen(&f);
	struct queue_item *item = fixture_take(&f);
	arm(nth, way);
	ck_assert_int_lt(fixture_run(&f, queue_op_load(item), &done), 0);
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	if (done.item != NULL) {
		ck_assert_int_eq(fixture_run(&f, queue_op_load(item), &done), ERR_CORRUPT);
		ck_assert_ptr_null(done.item);
	}
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 1);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 1);
	fixture_fini(&f);
	return fired;
}

START_TEST(damage_is_never_lost)
{
	(void)set_store(WAYS + _i);
	for (unsigned nth = 1; quarantine_once(nth, _i); nth++)
		ck_assert_uint_lt(nth, CALLS_MAX);
}

END_TEST

/* Where tests share a process (CK_FORK=no) the next ones have the store of always. */
static void reset_store(void)
{
	fixture_no_journal = false;
}

Suite *test_fault_suite(void)
{
	Suite *s = suite_create("fault");
	TCase *tc = tcase_create("fault");
	tcase_add_checked_fixture(tc, NULL, reset_store);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, commits_are_all_or_nothing, 0, 2 * WAYS);
	tcase_add_loop_test(tc, outcomes_are_kept, 0, 2 * WAYS);
	tcase_add_loop_test(tc, the_end_can_be_tried_again, 0, 2 * WAYS);
	tcase_add_loop_test(tc, a_failed_load_is_no_damage, 0, 2 * WAYS);
	tcase_add_loop_test(tc, a_hold_holds_or_says_no, 0, 2 * WAYS);
	tcase_add_loop_test(tc, opening_can_be_tried_again, 0, 2 * WAYS);
	tcase_add_loop_test(tc, damage_is_never_lost, 0, WAYS);
	suite_add_tcase(s, tc);
	return s;
}
