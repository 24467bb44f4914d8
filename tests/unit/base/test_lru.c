#include "base/lru.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/unit.h"

struct item {
	struct lru_entry lru;
	int number;
	char key[8];
};

static int dropped[64];
static size_t dropped_n;

static void on_drop(struct lru_entry *e)
{
	struct item *it = container_of(e, struct item, lru);
	ck_assert(!list_is_linked(&e->node));
	ck_assert_uint_lt(dropped_n, 64);
	dropped[dropped_n++] = it->number;
	free(it);
}

static struct slice key_of(struct item *it)
{
	return slice_of(it->key, (size_t)snprintf(it->key, sizeof(it->key), "%d", it->number));
}

static void put(struct lru *l, int number, size_t bytes)
{
	struct item *it = calloc(1, sizeof(*it));
	ck_assert_ptr_nonnull(it);
	it->number = number;
	lru_put(l, key_of(it), &it->lru, bytes);
}

static bool has(struct lru *l, int number)
{
	struct item probe = { .number = number };
	struct lru_entry *e = lru_find(l, key_of(&probe));
	if (e)
		ck_assert_int_eq(container_of(e, struct item, lru)->number, number);
	return e != NULL;
}

static void begin(struct lru *l, size_t entries, size_t bytes)
{
	lru_init(l, 7, entries, bytes, on_drop);
	dropped_n = 0;
}

START_TEST(the_least_recently_used_goes_first)
{
	struct lru l;
	begin(&l, 3, 1000);
	put(&l, 1, 1);
	put(&l, 2, 1);
	put(&l, 3, 1);
	ck_assert(has(&l, 1)); /* used: now 2 is the oldest */
	put(&l, 4, 1);
	ck_assert_uint_eq(dropped_n, 1);
	ck_assert_int_eq(dropped[0], 2);
	ck_assert(!has(&l, 2));
	ck_assert(has(&l, 1) && has(&l, 3) && has(&l, 4));
	ck_assert_uint_eq(lru_count(&l), 3);
	lru_fini(&l);
	ck_assert_uint_eq(dropped_n, 4);
}

END_TEST

START_TEST(bytes_are_bounded_too)
{
	struct lru l;
	begin(&l, 100, 10);
	put(&l, 1, 4);
	put(&l, 2, 4);
	ck_assert_uint_eq(l.bytes, 8);
	put(&l, 3, 5); /* 1 goes */
	ck_assert_uint_eq(l.bytes, 9);
	ck_assert(!has(&l, 1));
	put(&l, 4, 50); /* all others go, it stays */
	ck_assert_uint_eq(lru_count(&l), 1);
	ck_assert(has(&l, 4));
	put(&l, 5, 1);
	ck_assert_uint_eq(l.bytes, 1);
	ck_assert(!has(&l, 4));
	lru_fini(&l);
	ck_assert_uint_eq(l.bytes, 0);
}

END_TEST

START_TEST(replaced_removed_cleared)
{
	struct lru l;
	begin(&l, 10, 100);
	ck_assert(!has(&l, 1));
	put(&l, 1, 10);
	put(&l, 1, 20);
	ck_assert_uint_eq(dropped_n, 1);
	ck_assert_uint_eq(l.bytes, 20);
	ck_assert_uint_eq(lru_count(&l), 1);
	struct item probe = { .number = 1 };
	lru_remove(&l, lru_find(&l, key_of(&probe)));
	ck_assert_uint_eq(dropped_n, 2);
	ck_assert_uint_eq(l.bytes, 0);
	for (int i = 0; i < 10; i++)
		put(&l, i, 1);
	lru_clear(&l);
	ck_assert_uint_eq(dropped_n, 12);
	ck_assert_uint_eq(lru_count(&l), 0);
	put(&l, 3, 1);
	ck_assert(has(&l, 3));
	lru_fini(&l);
}

END_TEST

Suite *test_lru_suite(void)
{
	Suite *s = suite_create("lru");
	TCase *tc = tcase_create("lru");
	tcase_add_test(tc, the_least_recently_used_goes_first);
	tcase_add_test(tc, bytes_are_bounded_too);
	tcase_add_test(tc, replaced_removed_cleared);
	suite_add_tcase(s, tc);
	return s;
}
