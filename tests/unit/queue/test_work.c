/*
 * Items in work at crashes: counted, tried one at a time, and in the end held.
 * A crash is a close after which state/work is as it was before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_work_suite(void);

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)

static struct fixture f;
static char file[256];

static void setup(void)
{
	fixture_init_in_memory(&f);
	fixture_open(&f);
	fixture_path(&f, "state/work", file, sizeof(file));
}

static void teardown(void)
{
	fixture_fini(&f);
}

static void defer(struct queue_item *item)
{
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
}

/* n items of n domains, deferred. */
static void fill(size_t n)
{
	char rcpt[32];
	for (size_t i = 0; i < n; i++) {
		snprintf(rcpt, sizeof(rcpt), "a@d%zu.test", i);
		defer(fixture_commit_one(&f, rcpt, 10));
	}
	fixture_advance(&f, HOUR);
}

/* The next due item that may be begun with; NULL if all others have to wait. */
static struct queue_item *begin(void)
{
	struct queue_item *item;
	while ((item = fixture_take(&f)) != NULL) {
		if (queue_begin_work(f.q, item, f.now))
			return item;
		ck_assert_int_eq(item->state, QUEUE_ITEM_PARKED);
	}
	return NULL;
}

/* What was begun is in the hands of nobody any more. */
static void die_and_start(void)
{
	struct queue_item *item;
	size_t cursor = 0, n;
	queue_write_work(f.q);
	char *bytes = fixture_read(file, &n);
	while ((item = queue_next_item(f.q, &cursor)) != NULL) {
		if (item->state == QUEUE_ITEM_ACTIVE)
			queue_park(f.q, item, 0);
	}
	fixture_close(&f);
	ck_assert_int_ne(access(file, F_OK), 0);
	fixture_write(file, bytes, n);
	free(bytes);
	fixture_open(&f);
	fixture_advance(&f, 2 * MINUTE);
}

static size_t count_ordered(void)
{
	enum queue_order order;
	struct queue_done done;
	struct queue_item *item;
	size_t n = 0;
	while ((item = queue_next_ordered(f.q, &order)) != NULL) {
		ck_assert_int_eq(order, QUEUE_ORDER_HOLD);
		ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done), 0);
		n++;
	}
	return n;
}

START_TEST(three_crashes_in_a_row_hold_an_item)
{
	char id[QUEUE_ID_MAX], again[QUEUE_ID_MAX];
	fill(1);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(count_ordered(), 0);
		struct queue_item *item = begin();
		ck_assert_ptr_nonnull(item);
		(void)queue_item_id(item, id);
		die_and_start();
	}
	ck_assert_uint_eq(count_ordered(), 1);
	struct queue_item *item;
	ck_assert_uint_eq(queue_find(f.q, slice_str(id), &item, 1), 1);
	ck_assert_int_eq(item->state, QUEUE_ITEM_HELD);
	ck_assert_ptr_null(begin());
	die_and_start();
	ck_assert_uint_eq(count_ordered(), 0); /* it is known to be held */
	ck_assert_uint_eq(queue_find(f.q, slice_str(id), &item, 1), 1);
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, false, f.now), &done), 0);
	item = begin(); /* released: it starts from none */
	ck_assert_ptr_nonnull(item);
	ck_assert_str_eq(queue_item_id(item, again), id);
}

END_TEST

START_TEST(an_outcome_and_a_clean_stop_clear_the_count)
{
	fill(1);
	for (int i = 0; i < 6; i++) { /* every other crash finds it in work */
		struct queue_item *item = begin();
		ck_assert_ptr_nonnull(item);
		if (i % 2 == 1)
			defer(item);
		die_and_start();
		ck_assert_uint_eq(count_ordered(), 0);
	}
	for (int i = 0; i < 4; i++) {
		struct queue_item *item = begin();
		ck_assert_ptr_nonnull(item);
		queue_park(f.q, item, 0);
		fixture_reopen(&f);
		ck_assert_uint_eq(count_ordered(), 0);
	}
}

END_TEST

/* All that is in work comes to its end; how much that was. */
static size_t end_all(void)
{
	struct queue_item *item;
	size_t cursor = 0, n = 0;
	while ((item = queue_next_item(f.q, &cursor)) != NULL) {
		if (item->state != QUEUE_ITEM_ACTIVE)
			continue;
		fixture_load(&f, item);
		ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 2, f.now.wall_ms + HOUR),
		    0);
		n++;
	}
	return n;
}

START_TEST(suspects_are_tried_one_at_a_time)
{
	size_t n = 0;
	fill(5);
	for (int i = 0; i < 4; i++)
		ck_assert_ptr_nonnull(begin());
	die_and_start();
	while (begin() != NULL)
		n++;
	ck_assert_uint_eq(n, 5); /* one crash is no reason to wait */
	die_and_start();
	for (n = 0; begin() != NULL; n++)
		continue;
	ck_assert_uint_eq(n, 2); /* one of the four, and the fifth */
	fixture_advance(&f, 9000);
	ck_assert_ptr_null(begin());
	ck_assert_uint_eq(end_all(), 2);
	for (int i = 0; i < 3; i++) { /* each when the one before has come to its end */
		ck_assert_ptr_nonnull(begin());
		ck_assert_ptr_null(begin());
		ck_assert_uint_eq(end_all(), 1);
	}
}

END_TEST

START_TEST(one_that_takes_long_is_not_in_the_way_and_not_to_blame)
{
	char slow[QUEUE_ID_MAX], id[QUEUE_ID_MAX];
	fill(2);
	ck_assert_ptr_nonnull(begin());
	ck_assert_ptr_nonnull(begin());
	die_and_start();
	ck_assert_ptr_nonnull(begin());
	ck_assert_ptr_nonnull(begin());
	die_and_start();
	struct queue_item *item = begin();
	(void)queue_item_id(item, slow);
	ck_assert_ptr_null(begin());
	fixture_advance(&f, 10000);
	item = begin(); /* the other is the one that kills us */
	ck_assert_ptr_nonnull(item);
	ck_assert_str_ne(queue_item_id(item, id), slow);
	die_and_start();
	enum queue_order order;
	item = queue_next_ordered(f.q, &order);
	ck_assert_ptr_nonnull(item);
	ck_assert_str_ne(queue_item_id(item, id), slow);
	ck_assert_ptr_null(queue_next_ordered(f.q, &order));
}

END_TEST

START_TEST(a_damaged_record_of_work_harms_nobody)
{
	fill(2);
	ck_assert_ptr_nonnull(begin());
	queue_write_work(f.q);
	size_t n;
	char *bytes = fixture_read(file, &n);
	ck_assert_uint_ge(n, 32);
	free(bytes);
	for (int i = 0; i < 5; i++) {
		char junk[100];
		memset(junk, i * 37, sizeof(junk));
		struct queue_item *item;
		size_t cursor = 0;
		while ((item = queue_next_item(f.q, &cursor)) != NULL) {
			if (item->state == QUEUE_ITEM_ACTIVE)
				queue_park(f.q, item, 0);
		}
		fixture_close(&f);
		fixture_write(file, junk, sizeof(junk));
		fixture_open(&f);
		ck_assert_uint_eq(count_ordered(), 0);
		ck_assert_ptr_nonnull(begin());
		ck_assert_ptr_nonnull(begin());
	}
}

END_TEST

Suite *test_work_suite(void)
{
	Suite *s = suite_create("work");
	TCase *tc = tcase_create("work");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, three_crashes_in_a_row_hold_an_item);
	tcase_add_test(tc, an_outcome_and_a_clean_stop_clear_the_count);
	tcase_add_test(tc, suspects_are_tried_one_at_a_time);
	tcase_add_test(tc, one_that_takes_long_is_not_in_the_way_and_not_to_blame);
	tcase_add_test(tc, a_damaged_record_of_work_harms_nobody);
	suite_add_tcase(s, tc);
	return s;
}
