#include "core/limits.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/prng.h"
#include "lib/unit.h"

unit_suite_fn test_limits_suite;

#define SHARDS 3
#define ROUNDS 20000
#define MAX_N  2

static struct conf conf;
static struct loop *loops[SHARDS];
static struct limits *l;

static void setup(void)
{
	conf.submission.rate.count = 3;
	conf.submission.rate.period_s = 60;
	for (unsigned i = 0; i < SHARDS; i++)
		loops[i] = loop_new();
	l = limits_new(&conf, loops, SHARDS, 1);
}

static void teardown(void)
{
	limits_free(&l);
	for (unsigned i = 0; i < SHARDS; i++)
		loop_free(&loops[i]);
}

static void on_turn(void *arg, struct now now UNUSED)
{
	++*(unsigned *)arg;
	loop_stop(loops[0]);
}

/* How many turns it takes while nothing but what was asked of limits.h happens; 1: it was not
 * woken, and sleeps until its timer. */
static bool is_woken(unsigned shard)
{
	struct loop *first = loops[0];
	unsigned turns = 0;

	loops[0] = loops[shard]; /* for on_turn */
	loop_set_step(loops[0], on_turn, &turns);
	int64_t began_ms = loop_now(loops[0]).mono_ms;
	loop_set_timer(loops[0], began_ms + 60);
	loop_run(loops[0]);
	bool woken = loop_now(loops[0]).mono_ms < began_ms + 50;
	loops[0] = first;
	return woken;
}

START_TEST(as_many_as_there_may_be)
{
	for (unsigned i = 0; i < MAX_N; i++) {
		ck_assert(limits_has_room(l, LIMITS_DELIVERIES, MAX_N, 0));
		ck_assert(limits_begin(l, LIMITS_DELIVERIES, MAX_N, 0));
	}
	ck_assert(!limits_has_room(l, LIMITS_DELIVERIES, MAX_N, 0));
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, MAX_N, 1));
	ck_assert(limits_begin(l, LIMITS_CONNECTIONS, MAX_N, 1)); /* each kind by itself */
	limits_end(l, LIMITS_DELIVERIES);
	limits_content(l, LIMITS_DELIVERIES, 0);
	ck_assert(limits_begin(l, LIMITS_DELIVERIES, MAX_N, 1));
}

END_TEST

START_TEST(who_was_refused_is_woken)
{
	ck_assert(limits_begin(l, LIMITS_TRIALS, 1, 0));
	ck_assert(!is_woken(2));
	ck_assert(!limits_begin(l, LIMITS_TRIALS, 1, 2));
	ck_assert(!is_woken(2));
	limits_end(l, LIMITS_TRIALS);
	ck_assert(is_woken(2));
	ck_assert(!is_woken(1)); /* it asked for nothing */
	ck_assert(limits_begin(l, LIMITS_TRIALS, 1, 2));
	limits_end(l, LIMITS_TRIALS);
	ck_assert(!is_woken(2)); /* it got what it wanted */
}

END_TEST

START_TEST(who_was_refused_takes_turns)
{
	ck_assert(limits_begin(l, LIMITS_DELIVERIES, 1, 0));
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, 1, 1));
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, 1, 2));
	limits_end(l, LIMITS_DELIVERIES);
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, 1, 0)); /* others come first */
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, 1, 2));
	ck_assert(limits_begin(l, LIMITS_DELIVERIES, 1, 1));
	limits_end(l, LIMITS_DELIVERIES);
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, 1, 1));
	ck_assert(is_woken(0));
	limits_content(l, LIMITS_DELIVERIES, 2); /* its mail has gone */
	ck_assert(is_woken(0));
	ck_assert(limits_begin(l, LIMITS_DELIVERIES, 1, 0));
}

END_TEST

START_TEST(who_has_enough_yields)
{
	ck_assert(!limits_yield(l, LIMITS_DELIVERIES, 0));
	ck_assert(limits_begin(l, LIMITS_DELIVERIES, 1, 0));
	ck_assert(!limits_begin(l, LIMITS_DELIVERIES, 1, 1));
	ck_assert(limits_yield(l, LIMITS_DELIVERIES, 0));
	ck_assert(!limits_yield(l, LIMITS_DELIVERIES, 1)); /* who was refused is no other */
	ck_assert(!is_woken(0));
	limits_content(l, LIMITS_DELIVERIES, 1);
	ck_assert(is_woken(0));
	ck_assert(!limits_yield(l, LIMITS_DELIVERIES, 0));
}

END_TEST

START_TEST(others_are_asked_until_they_answer)
{
	limits_ask_others(l, 1);
	ck_assert(limits_is_asked(l, 0) && !limits_is_asked(l, 1) && limits_is_asked(l, 2));
	ck_assert(is_woken(2));
	ck_assert(limits_is_asked(l, 2));
	limits_answer(l, 2);
	ck_assert(limits_is_asked(l, 0) && !limits_is_asked(l, 2));
}

END_TEST

START_TEST(clients_are_counted_for_all)
{
	ck_assert_uint_eq(limits_client_came(l), 0);
	ck_assert_uint_eq(limits_client_came(l), 1);
	limits_client_left(l);
	ck_assert_uint_eq(limits_client_came(l), 1);
	ck_assert(limits_add_address(l, SLICE("192.0.2.1"), 1));
	ck_assert(!limits_add_address(l, SLICE("192.0.2.1"), 1));
	ck_assert(limits_add_address(l, SLICE("192.0.2.2"), 1));
	limits_remove_address(l, SLICE("192.0.2.1"));
	ck_assert(limits_add_address(l, SLICE("192.0.2.1"), 1));
}

END_TEST

/* The clock of another shard may be some milliseconds behind. */
START_TEST(a_login_has_its_rate_whoever_serves_it)
{
	for (unsigned i = 0; i < 3; i++)
		ck_assert(limits_take_rcpt(l, SLICE("ann"), 100000 - i));
	ck_assert(!limits_take_rcpt(l, SLICE("ann"), 99990));
	ck_assert(limits_take_rcpt(l, SLICE("bob"), 99990));
	ck_assert(limits_take_rcpt(l, SLICE("ann"), 120001));
	conf.submission.rate.count = 0;
	limits_reload(l, &conf);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(limits_take_rcpt(l, SLICE("ann"), 120001));
}

END_TEST

static atomic_uint inside, most, done;

static void *compete(void *arg)
{
	unsigned shard = (unsigned)(size_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (!limits_begin(l, LIMITS_DELIVERIES, MAX_N, shard))
			continue;
		unsigned n = atomic_fetch_add(&inside, 1) + 1;
		unsigned seen = atomic_load(&most);
		while (n > seen && !atomic_compare_exchange_weak(&most, &seen, n)) {
		}
		atomic_fetch_add(&done, 1);
		atomic_fetch_sub(&inside, 1);
		limits_end(l, LIMITS_DELIVERIES);
	}
	limits_content(l, LIMITS_DELIVERIES, shard);
	return NULL;
}

START_TEST(threads_keep_to_it)
{
	pthread_t threads[SHARDS];

	for (size_t i = 0; i < SHARDS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, compete, (void *)i), 0);
	for (size_t i = 0; i < SHARDS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_le(atomic_load(&most), MAX_N);
	ck_assert_uint_gt(atomic_load(&done), 0);
	for (unsigned i = 0; i < MAX_N; i++)
		ck_assert(limits_begin(l, LIMITS_DELIVERIES, MAX_N, 0)); /* all were given back */
}

END_TEST

Suite *test_limits_suite(void)
{
	Suite *s = suite_create("limits");
	TCase *t = tcase_create("limits");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, as_many_as_there_may_be);
	tcase_add_test(t, who_was_refused_is_woken);
	tcase_add_test(t, who_was_refused_takes_turns);
	tcase_add_test(t, who_has_enough_yields);
	tcase_add_test(t, others_are_asked_until_they_answer);
	tcase_add_test(t, clients_are_counted_for_all);
	tcase_add_test(t, a_login_has_its_rate_whoever_serves_it);
	tcase_add_test(t, threads_keep_to_it);
	suite_add_tcase(s, t);
	return s;
}
