/* The wheel against a plain array, over days of virtual time, and its corners. */
#include "base/mem.h"
#include "base/prng.h"
#include "lib/unit.h"
#include "queue/wheel.h"

Suite *test_wheel_suite(void);

struct entry {
	struct wheel_timer timer;
	int64_t at_ms; /* -1: not set */
};

static size_t count(const struct list_node *head)
{
	size_t n = 0;
	list_foreach(node, head)
		n++;
	return n;
}

START_TEST(fires_at_its_millisecond)
{
	static const int64_t delays[] = { 1, 2, 63, 64, 65, 4095, 4096, 4097, 262143, 262144,
		262145, 86400000, INT64_C(31536000000), INT64_C(4398046511104) };
	struct wheel w;
	struct wheel_timer t;
	struct list_node due;
	int64_t start = INT64_C(1790000000123);
	list_init(&due);
	wheel_timer_init(&t);
	int64_t delay = delays[_i];
	wheel_init(&w, start);
	wheel_add(&w, &t, start + delay);
	wheel_check(&w);
	/* Called when the wheel asks for it, it is neither early nor late. */
	for (unsigned calls = 0; list_is_empty(&due); calls++) {
		int64_t next = wheel_next_at(&w);
		ck_assert_int_le(next, start + delay);
		ck_assert_int_ge(next, w.now_ms);
		ck_assert_uint_lt(calls, WHEEL_LEVELS + 1);
		wheel_run(&w, next, &due);
		wheel_check(&w);
	}
	ck_assert_int_eq(w.now_ms, start + delay);
	ck_assert(!wheel_timer_is_set(&t));
	ck_assert_int_eq(wheel_next_at(&w), INT64_MAX);
	list_remove(&t.node);
}

END_TEST

START_TEST(past_fires_at_the_next_run)
{
	struct wheel w;
	struct wheel_timer a, b;
	struct list_node due;
	list_init(&due);
	wheel_timer_init(&a);
	wheel_timer_init(&b);
	wheel_init(&w, 5000);
	wheel_add(&w, &a, 10);
	wheel_add(&w, &b, 5000);
	wheel_check(&w);
	ck_assert_int_le(wheel_next_at(&w), 5000);
	wheel_run(&w, 4000, &due); /* a clock that went back is taken as standing still */
	ck_assert_uint_eq(count(&due), 2);
	ck_assert_int_eq(w.now_ms, 5000);
}

END_TEST

START_TEST(cancel_is_harmless_and_complete)
{
	struct wheel w;
	struct wheel_timer a, b;
	struct list_node due;
	list_init(&due);
	wheel_timer_init(&a);
	wheel_timer_init(&b);
	wheel_init(&w, 0);
	wheel_cancel(&w, &a);
	wheel_add(&w, &a, 100000);
	wheel_add(&w, &b, 100000);
	wheel_cancel(&w, &a);
	wheel_check(&w);
	wheel_cancel(&w, &a);
	ck_assert_uint_eq(w.count, 1);
	wheel_set(&w, &b, 7);
	wheel_check(&w);
	wheel_run(&w, 6, &due);
	ck_assert(list_is_empty(&due));
	wheel_run(&w, 7, &due);
	ck_assert_uint_eq(count(&due), 1);
	/* Off the caller's list too, so that an owner may go away. */
	wheel_cancel(&w, &b);
	ck_assert(list_is_empty(&due));
	wheel_add(&w, &b, 9);
	ck_assert_uint_eq(w.count, 1);
	wheel_check(&w);
}

END_TEST

START_TEST(beyond_the_horizon)
{
	struct wheel w;
	struct wheel_timer far, never;
	struct list_node due;
	int64_t span = INT64_C(1) << 48;
	list_init(&due);
	wheel_timer_init(&far);
	wheel_timer_init(&never);
	wheel_init(&w, span - 10);
	wheel_add(&w, &far, 3 * span + 5);
	wheel_add(&w, &never, INT64_MAX);
	wheel_check(&w);
	wheel_run(&w, span, &due);
	wheel_check(&w);
	ck_assert(list_is_empty(&due));
	wheel_run(&w, 3 * span + 4, &due);
	wheel_check(&w);
	ck_assert(list_is_empty(&due));
	wheel_run(&w, 3 * span + 5, &due);
	ck_assert_uint_eq(count(&due), 1);
	wheel_run(&w, INT64_MAX - 1, &due);
	ck_assert_uint_eq(count(&due), 1);
	wheel_run(&w, INT64_MAX, &due);
	ck_assert_uint_eq(count(&due), 2);
	wheel_check(&w);
}

END_TEST

/* Delays from milliseconds to weeks, dense near. */
static int64_t random_delay(struct prng *r)
{
	return (int64_t)prng_below(r, UINT64_C(1) << (1 + prng_below(r, 31)));
}

static void check_due(struct list_node *due, struct entry *entries, size_t n, int64_t before,
    int64_t now_ms)
{
	int64_t last = INT64_MIN;
	list_foreach_safe(node, due) {
		struct entry *e = list_entry(node, struct entry, timer.node);
		/* In the order of their ticks; what was late when added goes first. */
		int64_t tick = MAX(e->at_ms, before);
		if (e->at_ms > now_ms || tick < last)
			ck_abort_msg("fired early or out of order");
		last = tick;
		e->at_ms = -1;
		list_remove(node);
	}
	for (size_t i = 0; i < n; i++) {
		if (entries[i].at_ms >= 0 && entries[i].at_ms <= now_ms)
			ck_abort_msg("should have fired");
	}
}

START_TEST(agrees_with_a_plain_model)
{
	enum {
		N = 300,
		STEPS = 20000
	};
	struct entry *entries = mem_zalloc(N * sizeof(*entries));
	struct prng r;
	struct wheel w;
	struct list_node due;
	int64_t now_ms = INT64_C(1789999999999);
	prng_init(&r, 1000 + (uint64_t)_i);
	wheel_init(&w, now_ms);
	list_init(&due);
	for (size_t i = 0; i < N; i++) {
		wheel_timer_init(&entries[i].timer);
		entries[i].at_ms = -1;
	}
	for (unsigned step = 0; step < STEPS; step++) {
		struct entry *e = &entries[prng_below(&r, N)];
		unsigned what = (unsigned)prng_below(&r, 10);
		if (what < 6) {
			e->at_ms = now_ms + random_delay(&r) - 5;
			wheel_set(&w, &e->timer, e->at_ms);
		} else if (what < 7) {
			wheel_cancel(&w, &e->timer);
			e->at_ms = -1;
		} else {
			int64_t before = now_ms, next = wheel_next_at(&w), earliest = INT64_MAX;
			for (size_t i = 0; i < N; i++) {
				if (entries[i].at_ms >= 0)
					earliest = MIN(earliest, entries[i].at_ms);
			}
			if (next > MAX(earliest, now_ms))
				ck_abort_msg("asks to be called too late");
			now_ms = what < 9 && next != INT64_MAX ? MAX(next, now_ms)
							       : now_ms + random_delay(&r) / 8;
			wheel_run(&w, now_ms, &due);
			check_due(&due, entries, N, before, now_ms);
		}
		if (step % 64 == 0)
			wheel_check(&w);
	}
	ck_assert_int_gt(now_ms, INT64_C(1789999999999) + 5 * 86400000LL);
	mem_free(entries);
}

END_TEST

/* What is due at once, as after a flush, keeps its order. */
START_TEST(due_at_once_in_the_order_of_setting)
{
	struct entry entries[200];
	struct wheel w;
	struct list_node due;
	size_t i = 0;
	list_init(&due);
	wheel_init(&w, 123456);
	for (size_t k = 0; k < ARRAY_LEN(entries); k++) {
		wheel_timer_init(&entries[k].timer);
		wheel_add(&w, &entries[k].timer, k % 2 == 0 ? 123456 : 99);
	}
	wheel_run(&w, 123456, &due);
	list_foreach(node, &due)
		ck_assert_ptr_eq(node, &entries[i++].timer.node);
	ck_assert_uint_eq(i, ARRAY_LEN(entries));
	wheel_check(&w);
}

END_TEST

/* Slots of many timers, of one, of two, and many in one millisecond. */
static int64_t spread_delay(struct prng *r)
{
	int64_t days = 5 * INT64_C(86400000);
	switch (prng_below(r, 3)) {
	case 0:
		return (int64_t)prng_below(r, 1000) * 3600 * 1000 / 10;
	case 1:
		return (int64_t)prng_below(r, 2000);
	default:
		return (int64_t)prng_below(r, (uint64_t)days);
	}
}

static size_t take_fired(struct list_node *due, int64_t from_ms, int64_t to_ms)
{
	size_t n = 0;
	int64_t last = from_ms;
	list_foreach_safe(node, due) {
		struct entry *e = list_entry(node, struct entry, timer.node);
		if (e->at_ms < last || e->at_ms > to_ms || wheel_timer_is_set(&e->timer))
			ck_abort_msg("fired early, late or out of order");
		last = e->at_ms;
		list_remove(node);
		n++;
	}
	return n;
}

START_TEST(many_fire_in_order_and_on_time)
{
	enum {
		N = 200000
	};
	struct entry *entries = mem_zalloc(N * sizeof(*entries));
	int64_t now_ms = INT64_C(1790000000123);
	struct prng r;
	struct wheel w;
	struct list_node due;
	size_t fired = 0, cancelled = 0;
	prng_init(&r, 77 + (uint64_t)_i);
	wheel_init(&w, now_ms);
	list_init(&due);
	for (size_t i = 0; i < N; i++) {
		wheel_timer_init(&entries[i].timer);
		entries[i].at_ms = now_ms + 1 + spread_delay(&r);
		wheel_add(&w, &entries[i].timer, entries[i].at_ms);
	}
	for (size_t i = 0; i < N; i += 10, cancelled++)
		wheel_cancel(&w, &entries[i].timer);
	wheel_check(&w);
	/* Each at its very millisecond; in the other round in leaps of seconds and minutes. */
	for (unsigned turns = 0; w.count > 0; turns++) {
		int64_t from_ms = now_ms + 1;
		now_ms = _i == 0 ? wheel_next_at(&w) : now_ms + spread_delay(&r) % 1000000;
		wheel_run(&w, now_ms, &due);
		fired += take_fired(&due, _i == 0 ? now_ms : from_ms, now_ms);
		ck_assert_int_ge(wheel_next_at(&w), now_ms);
		if (turns % 5000 == 0)
			wheel_check(&w);
	}
	ck_assert_uint_eq(fired + cancelled, N);
	mem_free(entries);
}

END_TEST

Suite *test_wheel_suite(void)
{
	Suite *s = suite_create("wheel");
	TCase *tc = tcase_create("wheel");
	tcase_add_loop_test(tc, fires_at_its_millisecond, 0, 14);
	tcase_add_test(tc, past_fires_at_the_next_run);
	tcase_add_test(tc, cancel_is_harmless_and_complete);
	tcase_add_test(tc, beyond_the_horizon);
	tcase_add_loop_test(tc, agrees_with_a_plain_model, 0, 5);
	tcase_add_test(tc, due_at_once_in_the_order_of_setting);
	tcase_add_loop_test(tc, many_fire_in_order_and_on_time, 0, 2);
	suite_add_tcase(s, tc);
	return s;
}
