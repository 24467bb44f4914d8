/*
 * Commands given while the start-up scan runs, and flushes that come while an
 * outcome is being recorded.
 */
#include <errno.h>
#include <stdio.h>

#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_orders_suite(void);

#define HOUR INT64_C(3600000)

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

/* Deferred for an hour; its queue id. */
static void defer(const char *rcpt, char id[QUEUE_ID_MAX])
{
	struct queue_item *item = fixture_commit_one(&f, rcpt, 10);
	(void)queue_item_id(item, id);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + HOUR), 0);
}

static void start_again(void)
{
	fixture_close(&f);
	ck_assert_int_eq(queue_open(&f.q, &f.opt, f.now, NULL), 0);
	ck_assert(!queue_scan_is_done(f.q));
}

static void give(enum queue_order order, const char *target)
{
	ck_assert_int_eq(queue_order(f.q, order, slice_str(target)), 1);
}

/* Does what was ordered, as the daemon would; how many of each. */
static void obey(size_t n[QUEUE_ORDER_DELETE + 1])
{
	struct queue_item *item;
	enum queue_order order;
	struct queue_done done;
	ck_assert_int_eq(fixture_scan(&f), 0);
	while ((item = queue_next_ordered(f.q, &order)) != NULL) {
		n[order]++;
		if (order == QUEUE_ORDER_DELETE) {
			queue_take(f.q, item);
			fixture_load(&f, item);
			ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELETED, 1, 0), 0);
			continue;
		}
		struct queue_op *op = queue_op_hold(item, order == QUEUE_ORDER_HOLD, f.now);
		ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	}
	ck_assert_int_eq(order, QUEUE_ORDER_NONE);
}

static enum queue_item_state state_of(const char *id)
{
	struct queue_item *item;
	return queue_find(f.q, slice_str(id), &item, 1) == 0 ? QUEUE_ITEM_NONE
							     : (enum queue_item_state)item->state;
}

START_TEST(what_is_found_later_is_held_released_and_deleted)
{
	char held[QUEUE_ID_MAX], gone[QUEUE_ID_MAX], freed[QUEUE_ID_MAX], other[QUEUE_ID_MAX];
	size_t n[QUEUE_ORDER_DELETE + 1] = { 0 };
	struct queue_item *item;
	struct queue_done done;
	defer("a@held.test", held);
	defer("a@gone.test", gone);
	defer("a@freed.test", freed);
	defer("a@other.test", other);
	ck_assert_uint_eq(queue_find(f.q, slice_str(freed), &item, 1), 1);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done), 0);
	start_again();
	give(QUEUE_ORDER_HOLD, "held.test");
	give(QUEUE_ORDER_DELETE, gone);
	give(QUEUE_ORDER_RELEASE, freed);
	obey(n);
	ck_assert_uint_eq(n[QUEUE_ORDER_HOLD], 1);
	ck_assert_uint_eq(n[QUEUE_ORDER_DELETE], 1);
	ck_assert_uint_eq(n[QUEUE_ORDER_RELEASE], 1);
	ck_assert_int_eq(state_of(held), QUEUE_ITEM_HELD);
	ck_assert_int_eq(state_of(gone), QUEUE_ITEM_NONE);
	ck_assert_int_eq(state_of(other), QUEUE_ITEM_PARKED);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item); /* due at once, as by a flush */
	ck_assert_uint_eq(queue_find(f.q, slice_str(freed), &item, 1), 1);
	ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
	ck_assert_ptr_null(fixture_take(&f));
	ck_assert_int_eq(queue_order(f.q, QUEUE_ORDER_HOLD, SLICE("other.test")),
	    0); /* all is known */
}

END_TEST

START_TEST(the_last_of_several_commands_counts_but_a_delete_stays)
{
	char a[QUEUE_ID_MAX], b[QUEUE_ID_MAX], c[QUEUE_ID_MAX];
	size_t n[QUEUE_ORDER_DELETE + 1] = { 0 };
	defer("a@a.test", a);
	defer("a@b.test", b);
	defer("a@c.test", c);
	start_again();
	give(QUEUE_ORDER_HOLD, a);
	give(QUEUE_ORDER_RELEASE, "a.test");
	give(QUEUE_ORDER_RELEASE, "b.test");
	give(QUEUE_ORDER_HOLD, b);
	give(QUEUE_ORDER_DELETE, "c.test");
	give(QUEUE_ORDER_RELEASE, "c.test");
	give(QUEUE_ORDER_HOLD, c);
	ck_assert_int_eq(fixture_scan(&f), 0);
	struct queue_item *item;
	enum queue_order order;
	while ((item = queue_next_ordered(f.q, &order)) != NULL) {
		char id[QUEUE_ID_MAX];
		n[order]++;
		if (order == QUEUE_ORDER_HOLD)
			ck_assert_str_eq(queue_item_id(item, id), b);
		if (order == QUEUE_ORDER_DELETE)
			ck_assert_str_eq(queue_item_id(item, id), c);
	}
	ck_assert_uint_eq(n[QUEUE_ORDER_RELEASE], 1);
	ck_assert_uint_eq(n[QUEUE_ORDER_HOLD], 1);
	ck_assert_uint_eq(n[QUEUE_ORDER_DELETE], 1);
}

END_TEST

START_TEST(commands_to_remember_have_a_limit)
{
	char id[QUEUE_ID_MAX], domain[32];
	defer("a@x.test", id);
	start_again();
	for (int i = 0; i < QUEUE_ORDERS_MAX; i++) {
		snprintf(domain, sizeof(domain), "d%d.test", i);
		give(i % 2 == 0 ? QUEUE_ORDER_FLUSH : QUEUE_ORDER_HOLD, domain);
	}
	ck_assert_int_eq(queue_order(f.q, QUEUE_ORDER_HOLD, SLICE("x.test")), -ENOSPC);
	give(QUEUE_ORDER_DELETE, "d1.test"); /* is known: takes no room */
	size_t n[QUEUE_ORDER_DELETE + 1] = { 0 };
	obey(n);
	ck_assert_int_eq(state_of(id), QUEUE_ITEM_PARKED);
}

END_TEST

/* A flush between prepare and finish. */
static bool flushed_while_busy(struct queue_op *op)
{
	struct queue_done done;
	ck_assert_uint_eq(queue_flush(f.q, f.now), 1);
	ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	return fixture_take(&f) != NULL;
}

START_TEST(a_flush_while_an_outcome_is_recorded_comes_behind_it)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	const struct queue_outcome later = { .fate = FATE_PENDING,
		.attempts = 1,
		.due_ms = f.now.wall_ms + HOUR };
	fixture_load(&f, item);
	ck_assert(flushed_while_busy(queue_op_settle(item, &later, 1, f.now)));
	ck_assert(item->flushed);
	ck_assert_int_eq(item->due_ms, f.now.wall_ms + HOUR); /* to go back to */
	fixture_load(&f, item);
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, &later, 1, f.now), &done), 0);
	ck_assert_ptr_null(fixture_take(&f)); /* it was for once */
	ck_assert_uint_eq(queue_flush(f.q, f.now), 1);
	ck_assert_ptr_nonnull(fixture_take(&f));
	fixture_load(&f, item);
	item->want_hold = true;
	struct queue_op *op = queue_op_settle(item, &later, 1, f.now);
	ck_assert_uint_eq(queue_flush(f.q, f.now), 0); /* held mail stays held */
	ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	ck_assert_ptr_null(fixture_take(&f));
}

END_TEST

Suite *test_orders_suite(void)
{
	Suite *s = suite_create("orders");
	TCase *tc = tcase_create("orders");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_found_later_is_held_released_and_deleted);
	tcase_add_test(tc, the_last_of_several_commands_counts_but_a_delete_stays);
	tcase_add_test(tc, commands_to_remember_have_a_limit);
	tcase_add_test(tc, a_flush_while_an_outcome_is_recorded_comes_behind_it);
	suite_add_tcase(s, tc);
	return s;
}
