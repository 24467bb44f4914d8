#include "policy/bucket.h"

#include <stdlib.h>

#include "base/prng.h"
#include "lib/unit.h"

#define T0 INT64_C(7777777)

static struct bucket of(uint64_t count, int64_t period_s)
{
	struct bucket b = { 0 };

	bucket_set(&b, (struct bucket_rate){ count, period_s });
	return b;
}

START_TEST(no_limit)
{
	struct bucket b = { 0 };

	for (int i = 0; i < 1000; i++)
		ck_assert(bucket_take(&b, T0));
	ck_assert_int_le(bucket_next_at(&b, T0), T0);
	ck_assert_int_le(bucket_busy_until(&b), T0);
	b = of(0, 60);
	ck_assert(bucket_take(&b, 0));
	ck_assert(bucket_take(&b, 0));
}

END_TEST

START_TEST(evenly)
{
	struct bucket b = of(10, 60); /* one in 6 s and a little */

	ck_assert_int_le(bucket_next_at(&b, T0), T0);
	ck_assert(bucket_take(&b, T0));
	ck_assert(!bucket_take(&b, T0));
	int64_t next = bucket_next_at(&b, T0);
	ck_assert_int_ge(next, T0 + 5900);
	ck_assert_int_le(next, T0 + 6010);
	ck_assert(!bucket_take(&b, next - 1));
	ck_assert(bucket_take(&b, next));
	/* An hour of rest saves nothing up. */
	ck_assert(bucket_take(&b, T0 + 3600000));
	ck_assert(!bucket_take(&b, T0 + 3600000));
	ck_assert_int_ge(bucket_next_at(&b, T0 + 3600000), T0 + 3605900);
}

END_TEST

static const struct {
	uint64_t count;
	int64_t period_s;
} rates[] = {
	{ 1, 1 },
	{ 3, 1 },
	{ 100, 1 },
	{ 1000, 1 },
	{ 20000, 1 },
	{ 10, 60 },
	{ 500, 3600 },
	{ 1, 3600 },
	{ 100000, 86400 },
};

/* Whoever looks at any period of the stream, however late we are called and whatever rests there
 * are, finds no more than count in it; and who never rests gets nearly all of it. */
START_TEST(never_more_in_any_period)
{
	uint64_t count = rates[_i].count;
	int64_t period_ms = rates[_i].period_s * 1000;
	size_t n = (size_t)count * 12 + 100;
	int64_t *went = calloc(n, sizeof(*went));
	bool wrong = false;

	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct bucket b = of(count, rates[_i].period_s);
		struct prng rng;
		int64_t at_ms = T0;
		size_t got = 0;
		prng_init(&rng, seed);
		while (at_ms < T0 + 10 * period_ms) {
			while (got < n && bucket_take(&b, at_ms))
				went[got++] = at_ms;
			int64_t next = bucket_next_at(&b, at_ms);
			wrong |= next <= at_ms || bucket_busy_until(&b) < next;
			at_ms = MAX(next, at_ms + 1);
			if (seed > 1) /* late; at times very late */
				at_ms += (int64_t)prng_below(&rng, 10);
			if (seed > 2 && prng_below(&rng, 50) == 0)
				at_ms += (int64_t)prng_below(&rng, (uint64_t)period_ms);
		}
		ck_assert_uint_lt(got, n);
		for (size_t i = count; i < got; i++)
			wrong |= went[i] - went[i - count] < period_ms;
		ck_assert(!wrong);
		if (seed <= 2)
			ck_assert_uint_ge(got, (size_t)((double)count * 10 * 0.975));
	}
	free(went);
}

END_TEST

START_TEST(one_that_did_not_go)
{
	struct bucket b = of(10, 60), none = { 0 };

	ck_assert(bucket_is_set(&b));
	ck_assert(!bucket_is_set(&none));
	ck_assert(bucket_take(&none, T0));
	bucket_return(&none);
	ck_assert(bucket_take(&b, T0));
	bucket_return(&b);
	ck_assert(bucket_take(&b, T0));
	ck_assert(!bucket_take(&b, T0));
	/* Nothing is won by it: those that did go count. */
	int64_t next = bucket_next_at(&b, T0);
	ck_assert(bucket_take(&b, next));
	bucket_return(&b);
	ck_assert(!bucket_take(&b, next - 1));
	ck_assert(bucket_take(&b, next));
}

END_TEST

START_TEST(a_reload_keeps_what_has_gone)
{
	struct bucket b = of(1, 86400);

	ck_assert(bucket_take(&b, T0));
	bucket_set(&b, (struct bucket_rate){ 1, 60 });
	ck_assert(!bucket_take(&b, T0 + 59000));
	ck_assert(bucket_take(&b, T0 + 61000));
	bucket_set(&b, (struct bucket_rate){ 1, 3600 });
	ck_assert(!bucket_take(&b, T0 + 61000 + 3599000));
	bucket_set(&b, (struct bucket_rate){ 0, 0 });
	ck_assert(bucket_take(&b, T0 + 61000));
	bucket_set(&b,
	    (struct bucket_rate){ 1, 3600 }); /* of what went without a limit nothing is known */
	ck_assert(bucket_take(&b, T0 + 61000));
	ck_assert(!bucket_take(&b, T0 + 61000));
}

END_TEST

START_TEST(extremes)
{
	struct bucket b = of(BUCKET_COUNT_MAX, BUCKET_PERIOD_S_MAX);

	ck_assert(bucket_take(&b, 0));
	b = of(1, BUCKET_PERIOD_S_MAX);
	ck_assert(bucket_take(&b, 0));
	ck_assert_int_ge(bucket_next_at(&b, 0), INT64_C(1000) * BUCKET_PERIOD_S_MAX);
	b = of(BUCKET_COUNT_MAX, 1);
	int got = 0;
	while (got < 2000000 && bucket_take(&b, 5))
		got++;
	ck_assert_int_eq(got, 2000000); /* in a millisecond */
}

END_TEST

Suite *test_bucket_suite(void)
{
	Suite *s = suite_create("bucket");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, no_limit);
	tcase_add_test(tc, evenly);
	tcase_add_loop_test(tc, never_more_in_any_period, 0, ARRAY_LEN(rates));
	tcase_add_test(tc, one_that_did_not_go);
	tcase_add_test(tc, a_reload_keeps_what_has_gone);
	tcase_add_test(tc, extremes);
	suite_add_tcase(s, tc);
	return s;
}
