#include "base/arena.h"

#include <string.h>

#include "lib/unit.h"

START_TEST(aligns_and_keeps_apart)
{
	struct arena a;
	unsigned char *p[500];
	arena_init(&a);
	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = arena_alloc(&a, i);
		ck_assert_uint_eq((uintptr_t)p[i] % 16, 0);
		memset(p[i], (int)(i & 0xff), i);
	}
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		for (size_t k = 0; k < i; k++)
			ck_assert_uint_eq(p[i][k], i & 0xff);
	ck_assert_uint_ge(a.used_bytes, 500 * 499 / 2);
	arena_fini(&a);
	ck_assert_uint_eq(a.used_bytes, 0);
	arena_fini(&a);
}

END_TEST

START_TEST(takes_big_objects)
{
	struct arena a;
	arena_init(&a);
	unsigned char *first = arena_zalloc(&a, 1 << 20); /* before there is any block */
	unsigned char *small = arena_zalloc(&a, 8);
	unsigned char *big = arena_zalloc(&a, 1 << 20);
	unsigned char *next = arena_zalloc(&a, 8);
	for (size_t i = 0; i < 1 << 20; i++)
		ck_assert(first[i] == 0 && big[i] == 0);
	ck_assert_ptr_eq(next, small + 16); /* the big one did not end the block */
	arena_fini(&a);
}

END_TEST

START_TEST(copies_text)
{
	struct arena a;
	arena_init(&a);
	ck_assert_str_eq(arena_strdup(&a, "abc"), "abc");
	ck_assert_str_eq(arena_strndup(&a, "abc", 2), "ab");
	struct slice s = arena_slice(&a, SLICE("a\0b"));
	ck_assert_uint_eq(s.n, 3);
	ck_assert_int_eq(memcmp(s.p, "a\0b", 4), 0);
	s = arena_slice(&a, SLICE_NONE);
	ck_assert_uint_eq(s.n, 0);
	ck_assert_str_eq(s.p, "");
	ck_assert_str_eq(arena_printf(&a, "%s-%d", "x", 7), "x-7");
	arena_fini(&a);
	ck_assert_str_eq(arena_strdup(&a, "again"), "again");
	arena_fini(&a);
}

END_TEST

Suite *test_arena_suite(void)
{
	Suite *s = suite_create("base/arena");
	TCase *t = tcase_create("arena");
	tcase_add_test(t, aligns_and_keeps_apart);
	tcase_add_test(t, takes_big_objects);
	tcase_add_test(t, copies_text);
	suite_add_tcase(s, t);
	return s;
}
