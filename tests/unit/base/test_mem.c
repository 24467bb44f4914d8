#include "base/mem.h"

#include <signal.h>
#include <string.h>

#include "lib/unit.h"

START_TEST(allocates_and_copies)
{
	mem_free(NULL);
	void *p = mem_alloc(0);
	ck_assert_ptr_nonnull(p);
	p = mem_realloc(p, 0);
	ck_assert_ptr_nonnull(p);
	mem_free(p);
	unsigned char *z = mem_zalloc(100);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(z[i], 0);
	mem_free(z);
	char *s = mem_strdup("abc");
	ck_assert_str_eq(s, "abc");
	mem_free(s);
	s = mem_strndup("a\0b", 3);
	ck_assert_int_eq(memcmp(s, "a\0b", 4), 0);
	mem_free(s);
	s = mem_strndup(NULL, 0);
	ck_assert_str_eq(s, "");
	mem_free(s);
	s = mem_dup("xyz", 4);
	ck_assert_str_eq(s, "xyz");
	mem_free(s);
	mem_free(mem_dup(NULL, 0));
	s = mem_printf("%d-%s", 5, "five");
	ck_assert_str_eq(s, "5-five");
	mem_free(s);
}

END_TEST

START_TEST(wipes)
{
	char secret[] = "secret";
	mem_wipe(secret, 3);
	ck_assert_int_eq(memcmp(secret, "\0\0\0ret", 6), 0);
	mem_wipe(NULL, 0);
}

END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
START_TEST(aborts_when_out_of_memory)
{
	volatile size_t n = SIZE_MAX / 2;
	mem_free(mem_alloc(n));
}

END_TEST
#endif

Suite *test_mem_suite(void)
{
	Suite *s = suite_create("base/mem");
	TCase *t = tcase_create("mem");
	tcase_add_test(t, allocates_and_copies);
	tcase_add_test(t, wipes);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
	/* Sanitizers stop such a request themselves. */
	tcase_add_test_raise_signal(t, aborts_when_out_of_memory, SIGABRT);
#endif
	suite_add_tcase(s, t);
	return s;
}
