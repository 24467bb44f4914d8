#include "io/password.h"

#include <string.h>
#include <time.h>

#include "lib/unit.h"

START_TEST(a_hash_fits_its_password_only)
{
	char hash[PASSWORD_HASH_MAX];
	char other[PASSWORD_HASH_MAX];
	ck_assert_int_eq(password_hash("correct horse", hash), 0);
	ck_assert_int_eq(password_hash("correct horse", other), 0);
	ck_assert_int_eq(strncmp(hash, "$y$", 3), 0);
	ck_assert_str_ne(hash, other); /* a salt of its own each time */
	ck_assert(password_verify("correct horse", hash));
	ck_assert(password_verify("correct horse", other));
	ck_assert(!password_verify("correct horsf", hash));
	ck_assert(!password_verify("correct hors", hash));
	ck_assert(!password_verify("", hash));
	hash[strlen(hash) - 1] ^= 1;
	ck_assert(!password_verify("correct horse", hash));
}

END_TEST

static clock_t cpu_of_verify(const char *hash)
{
	clock_t before = clock();
	ck_assert(!password_verify("secret", hash));
	return clock() - before;
}

/* Or the time would tell which logins there are. */
START_TEST(nobodys_hash_takes_as_long)
{
	char hash[PASSWORD_HASH_MAX];
	char nobody[PASSWORD_HASH_MAX];
	ck_assert_int_eq(password_hash("correct horse", hash), 0);
	ck_assert_int_eq(password_nobody(nobody), 0);
	ck_assert_uint_eq(strlen(nobody), strlen(hash));
	ck_assert_int_gt(cpu_of_verify(nobody), cpu_of_verify(hash) / 4);
}

END_TEST

START_TEST(knows_the_other_methods)
{
	/* As `openssl passwd -6` writes it. */
	ck_assert(password_verify("Hello world!",
	    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
	    "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"));
}

END_TEST

START_TEST(what_is_no_hash_fits_nothing)
{
	static const char *const none[] = { "", "*", "*0", "*1", "!", "x", "secret", "$", "$y$",
		"$y$j9T$", "$nosuch$abc$def", "aaJ7WnHJPMZS6", "$6$", "$1$$" };
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		ck_assert_msg(!password_verify("secret", none[i]), "%s", none[i]);
		ck_assert_msg(!password_verify("", none[i]), "%s", none[i]);
	}
}

END_TEST

START_TEST(length_has_a_limit)
{
	char hash[PASSWORD_HASH_MAX];
	char password[2000];
	memset(password, 'p', sizeof(password) - 1);
	password[sizeof(password) - 1] = '\0';
	ck_assert_int_eq(password_hash(password, hash), ERR_RANGE);
	ck_assert_int_eq(password_hash("", hash), ERR_RANGE);
	password[500] = '\0';
	ck_assert_int_eq(password_hash(password, hash), 0);
	ck_assert(password_verify(password, hash));
	password[499] = 'q';
	ck_assert(!password_verify(password, hash));
	memset(password, 'p', sizeof(password) - 1);
	ck_assert(!password_verify(password, hash));
}

END_TEST

Suite *test_password_suite(void)
{
	Suite *s = suite_create("password");
	TCase *t = tcase_create("password");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_hash_fits_its_password_only);
	tcase_add_test(t, nobodys_hash_takes_as_long);
	tcase_add_test(t, knows_the_other_methods);
	tcase_add_test(t, what_is_no_hash_fits_nothing);
	tcase_add_test(t, length_has_a_limit);
	suite_add_tcase(s, t);
	return s;
}
