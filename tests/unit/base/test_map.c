#include "base/map.h"

#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "lib/unit.h"

/* The reference vectors of SipHash-2-4: key 00..0f, message 00..n-1. */
START_TEST(hashes_like_siphash)
{
	static const struct {
		size_t n;
		uint64_t hash;
	} rows[] = {
		{ 0, 0x726fdb47dd0e0e31 },
		{ 1, 0x74f839c593dc67fd },
		{ 7, 0xab0200f58b01d137 },
		{ 8, 0x93f5f5799a932462 },
		{ 15, 0xa129ca6149be45e5 },
		{ 63, 0x958a324ceb064572 },
	};

	static const uint64_t seed[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	char message[64];
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (char)i;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_uint_eq(map_hash(seed, slice_of(message, rows[i].n)), rows[i].hash);
}

END_TEST

START_TEST(finds_what_was_put)
{
	struct map m;
	int one = 1;
	int two = 2;
	map_init(&m, 7);
	ck_assert_ptr_null(map_find(&m, SLICE("a")));
	ck_assert_ptr_null(map_remove(&m, SLICE("a")));
	ck_assert_ptr_null(map_put(&m, SLICE("a"), &one));
	ck_assert_ptr_null(map_put(&m, SLICE(""), &one));
	ck_assert_ptr_null(map_put(&m, SLICE("a\0b"), &two));
	ck_assert_ptr_eq(map_put(&m, SLICE("a"), &two), &one);
	ck_assert_uint_eq(map_count(&m), 3);
	ck_assert_ptr_eq(map_find(&m, SLICE("a")), &two);
	ck_assert_ptr_eq(map_find(&m, SLICE_NONE), &one);
	ck_assert_ptr_null(map_find(&m, SLICE("A")));
	ck_assert_ptr_eq(map_remove(&m, SLICE("a")), &two);
	ck_assert_ptr_null(map_find(&m, SLICE("a")));
	ck_assert_ptr_eq(map_find(&m, SLICE("a\0b")), &two);
	ck_assert_uint_eq(map_count(&m), 2);
	map_fini(&m);
	map_fini(&m);
	ck_assert_uint_eq(map_count(&m), 0);
	map_put(&m, SLICE("again"), &one);
	map_fini(&m);
}

END_TEST

static struct slice key_of(size_t i, char text[16])
{
	return slice_of(text, (size_t)snprintf(text, 16, "key %zu", i));
}

/* Random puts and removals against an array; every key is looked up now and then. */
START_TEST(agrees_with_an_array)
{
	enum {
		KEYS = 700
	};

	static char values[2];
	void *model[KEYS] = { NULL };
	char text[16];
	struct map m;
	struct prng r;
	size_t count = 0;
	prng_init(&r, (uint64_t)_i);
	map_init(&m, (uint64_t)_i);
	for (int step = 0; step < 30000; step++) {
		/* The share of removals swings, so that the map fills and empties. */
		size_t k = prng_below(&r, KEYS);
		void *value = &values[prng_below(&r, 2)];
		bool is_put = prng_below(&r, 10) < (step / 5000 % 2 ? 2u : 8u);
		void *old =
		    is_put ? map_put(&m, key_of(k, text), value) : map_remove(&m, key_of(k, text));
		ck_assert_ptr_eq(old, model[k]);
		model[k] = is_put ? value : NULL;
		count += (size_t)is_put - (old ? 1 : 0);
		ck_assert_uint_eq(map_count(&m), count);
		if (step % 1000 == 0)
			for (k = 0; k < KEYS; k++)
				ck_assert_ptr_eq(map_find(&m, key_of(k, text)), model[k]);
	}
	ck_assert_uint_ge(m.slots_n / 4 * 3, m.count);
	size_t cursor = 0;
	size_t seen = 0;
	struct slice key;
	void *value;
	while (map_next(&m, &cursor, &key, &value)) {
		uint64_t k;
		ck_assert(slice_to_u64(slice_from(key, 4), &k));
		ck_assert_ptr_eq(value, model[k]);
		model[k] = NULL; /* seen once */
		seen++;
	}
	ck_assert_uint_eq(seen, count);
	map_fini(&m);
}

END_TEST

START_TEST(order_depends_on_the_seed)
{
	struct map m[3];
	size_t cursor[3] = { 0 };
	char text[16];
	bool differs = false;
	for (int i = 0; i < 3; i++) {
		map_init(&m[i], i == 2 ? 99 : 5);
		for (size_t k = 0; k < 20; k++)
			map_put(&m[i], key_of(k, text), &m[0]);
	}
	for (;;) {
		struct slice key[3];
		void *value;
		bool more = map_next(&m[0], &cursor[0], &key[0], &value);
		ck_assert_int_eq(map_next(&m[1], &cursor[1], &key[1], &value), more);
		ck_assert_int_eq(map_next(&m[2], &cursor[2], &key[2], &value), more);
		if (!more)
			break;
		ck_assert(slice_eq(key[0], key[1]));
		differs = differs || !slice_eq(key[0], key[2]);
	}
	ck_assert(differs);
	for (int i = 0; i < 3; i++)
		map_fini(&m[i]);
}

END_TEST

Suite *test_map_suite(void)
{
	Suite *s = suite_create("base/map");
	TCase *t = tcase_create("map");
	tcase_add_test(t, hashes_like_siphash);
	tcase_add_test(t, finds_what_was_put);
	tcase_add_loop_test(t, agrees_with_an_array, 0, 3);
	tcase_add_test(t, order_depends_on_the_seed);
	suite_add_tcase(s, t);
	return s;
}
