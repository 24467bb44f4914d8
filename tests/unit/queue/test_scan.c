/* The start-up scan, while the queue is already at work. */
#include <stdio.h>
#include <string.h>

#include "lib/unit.h"
#include "queue/queue.h"
#include "unit/queue/fixture.h"

Suite *test_scan_suite(void);

#define MINUTE INT64_C(60000)

static struct fixture f;

static void setup(void)
{
	fixture_init_in_memory(&f);
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

/* Opened, and not scanned yet. */
static void open_unscanned(void)
{
	fixture_close(&f);
	ck_assert_int_eq(queue_open(&f.q, &f.opt, f.now, NULL), 0);
	ck_assert(!queue_scan_is_done(f.q));
}

/* Mail of the journal is at work before the scan: what moves to a queue file meanwhile is not found
 * a second time, whatever has become of it. */
START_TEST(what_left_the_journal_meanwhile_is_known)
{
	fixture_commit_one(&f, "a@x.test", 100);
	open_unscanned();
	struct queue_item *item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	ck_assert_int_eq(fixture_scan(&f), 0);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	ck_assert_uint_eq(item->attempts, 1);
	fixture_load(&f, item);
}

END_TEST

/* The same, but it is delivered between the listing of its sub-directory and the taking in of the
 * names: no ghost of it comes up. */
START_TEST(what_is_gone_meanwhile_stays_gone)
{
	struct queue_done done;
	fixture_commit_one(&f, "a@x.test", 100);
	open_unscanned();
	struct queue_item *item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	fixture_load(&f, item);
	unsigned subdir = item->subdir;
	for (unsigned dir = 0; !queue_scan_is_done(f.q); dir++) {
		struct queue_op *op = queue_op_scan(f.q);
		ck_assert_ptr_nonnull(op);
		ck_assert_int_eq(fixture_run(&f, op, &done), 0);
		ck_assert_ptr_null(queue_op_scan(f.q)); /* not before its names are taken in */
		if (dir == subdir) {
			ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
			ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 2, 0), 0);
			ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
		}
		while (queue_scan_step(f.q, f.now))
			continue;
	}
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
}

END_TEST

/* A large sub-directory is taken in piece by piece, and what has been found is at work before. */
START_TEST(a_large_directory_is_taken_in_piece_by_piece)
{
	enum {
		N = 3500
	};

	char sub[128], path[512];
	struct queue_done done;
	unsigned pieces = 0;
	fixture_close(&f);
	for (unsigned i = 0; i < N; i++) {
		snprintf(sub, sizeof(sub), "queue/00/%u.1.q.0mubbs7i800000%06u-1.x.test",
		    i % 2 == 0 ? 1000 : 2000, i);
		fixture_path(&f, sub, path, sizeof(path));
		fixture_write(path, "", 0);
	}
	ck_assert_int_eq(queue_open(&f.q, &f.opt, f.now, NULL), 0);
	ck_assert(!queue_scan_step(f.q, f.now)); /* nothing is listed yet */
	struct queue_op *op = queue_op_scan(f.q);
	ck_assert_ptr_null(queue_op_scan(f.q)); /* one at a time */
	ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	for (size_t before = 0; queue_scan_step(f.q, f.now);
	     before = fixture_stats(&f).items, pieces++) {
		ck_assert_uint_gt(fixture_stats(&f).items, before);
		ck_assert_uint_le(fixture_stats(&f).items, before + 1000);
		ck_assert_ptr_null(queue_op_scan(f.q));
		ck_assert_ptr_nonnull(fixture_take(&f));
	}
	ck_assert_uint_ge(pieces, 3);
	ck_assert_uint_eq(fixture_stats(&f).items, N);
	ck_assert_int_eq(fixture_scan(&f), 0);
	ck_assert_uint_eq(fixture_stats(&f).items, N);
	ck_assert_uint_eq(fixture_stats(&f).active, pieces);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	/* Closed in the middle, nothing is lost. */
	open_unscanned();
	ck_assert_int_eq(fixture_run(&f, queue_op_scan(f.q), &done), 0);
	ck_assert(queue_scan_step(f.q, f.now));
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, N);
}

END_TEST

Suite *test_scan_suite(void)
{
	Suite *s = suite_create("scan");
	TCase *tc = tcase_create("scan");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_left_the_journal_meanwhile_is_known);
	tcase_add_test(tc, what_is_gone_meanwhile_stays_gone);
	tcase_add_test(tc, a_large_directory_is_taken_in_piece_by_piece);
	suite_add_tcase(s, tc);
	return s;
}
