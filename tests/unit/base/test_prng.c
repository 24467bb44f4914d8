#include "base/prng.h"

#include <string.h>

#include "lib/unit.h"

START_TEST(repeats_from_its_seed)
{
	struct prng a;
	struct prng b;
	prng_init(&a, 0);
	prng_init(&b, 0);
	uint64_t first = prng_next(&a);
	ck_assert_uint_eq(first, prng_next(&b));
	ck_assert_uint_ne(first, prng_next(&a));
	prng_init(&b, 1);
	ck_assert_uint_ne(first, prng_next(&b));
}

END_TEST

/* xoshiro256** from state {1, 2, 3, 4}: the outputs follow from its definition by hand. */
START_TEST(is_xoshiro256starstar)
{
	struct prng r = { { 1, 2, 3, 4 } };
	ck_assert_uint_eq(prng_next(&r), 11520);
	ck_assert_uint_eq(prng_next(&r), 0);
	ck_assert_uint_eq(prng_next(&r), 1509978240);
	ck_assert_uint_eq(prng_next(&r), 1215971899390074240);
}

END_TEST

START_TEST(stays_below)
{
	struct prng r;
	unsigned seen[7] = { 0 };
	prng_init(&r, 3);
	ck_assert_uint_eq(prng_below(&r, 0), 0);
	ck_assert_uint_eq(prng_below(&r, 1), 0);
	for (int i = 0; i < 70000; i++)
		seen[prng_below(&r, 7)]++;
	for (size_t i = 0; i < ARRAY_LEN(seen); i++)
		ck_assert(seen[i] > 9500 && seen[i] < 10500);
	uint64_t big = (UINT64_MAX / 3) * 2;
	for (int i = 0; i < 1000; i++)
		ck_assert(prng_below(&r, big) < big);
}

END_TEST

START_TEST(asks_the_kernel)
{
	unsigned char bytes[1000] = { 0 };
	prng_os_bytes(bytes, 0);
	prng_os_bytes(bytes, sizeof(bytes));
	size_t zeros = 0;
	for (size_t i = 0; i < sizeof(bytes); i++)
		zeros += bytes[i] == 0;
	ck_assert_uint_lt(zeros, 60);
	ck_assert_uint_ne(prng_os_u64(), prng_os_u64());
}

END_TEST

Suite *test_prng_suite(void)
{
	Suite *s = suite_create("base/prng");
	TCase *t = tcase_create("prng");
	tcase_add_test(t, repeats_from_its_seed);
	tcase_add_test(t, is_xoshiro256starstar);
	tcase_add_test(t, stays_below);
	tcase_add_test(t, asks_the_kernel);
	suite_add_tcase(s, t);
	return s;
}
