#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/defs.h"
#include "lib/unit.h"
#include "tools/postrider_users.h"

Suite *test_postrider_users_suite(void);

static char folder[64];
static char file[96];

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/test-users.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/users", folder);
}

static void teardown(void)
{
	unlink(file);
	/* Fails, and so would the test, if a temporary file were left. */
	ck_assert_int_eq(rmdir(folder), 0);
}

static void put_file(const char *text, mode_t mode)
{
	FILE *f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(file, mode), 0);
}

static const char *get_file(void)
{
	static char text[4096];
	FILE *f = fopen(file, "r");
	ck_assert_ptr_nonnull(f);
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	return text;
}

static mode_t get_mode(void)
{
	struct stat st;
	ck_assert_int_eq(stat(file, &st), 0);
	return st.st_mode & 07777;
}

START_TEST(makes_a_missing_file)
{
	bool added = false, made = false;
	ck_assert_int_eq(users_set(file, "ann@example.org", "$y$h", &added, &made, NULL), 0);
	ck_assert(added);
	ck_assert(made);
	ck_assert_str_eq(get_file(), "ann@example.org:$y$h\n");
	ck_assert_int_eq(get_mode(), 0600);
}

END_TEST

static const struct {
	const char *before, *login, *after;
	bool added;
} edits[] = {
	{ "", "a", "a:H\n", true },
	{ "# who\n\nb:x\n", "a", "# who\n\nb:x\na:H\n", true },
	{ "# who\na:x\nb:y\n", "a", "# who\na:H\nb:y\n", false },
	{ "b:y\na:x", "a", "b:y\na:H\n", false }, /* no LF at the end */
	{ "b:y", "a", "b:y\na:H\n", true },
	{ "aa:x\na :y\nA:z\n#a:x\n", "a", "aa:x\na :y\nA:z\n#a:x\na:H\n", true },
	{ "a:x\nb:y\na:z\n", "a", "a:H\nb:y\n", false },
	{ "no colon\na\n", "a", "no colon\na\na:H\n", true },
};

START_TEST(keeps_other_lines)
{
	bool added = false, made = true;
	put_file(edits[_i].before, 0640);
	ck_assert_int_eq(users_set(file, edits[_i].login, "H", &added, &made, NULL), 0);
	ck_assert_str_eq(get_file(), edits[_i].after);
	ck_assert(added == edits[_i].added);
	ck_assert(!made);
	ck_assert_int_eq(get_mode(), 0640);
}

END_TEST

START_TEST(follows_a_link)
{
	char link[128];
	bool added, made;
	struct stat st;
	put_file("b:y\n", 0600);
	snprintf(link, sizeof(link), "%s/link", folder);
	ck_assert_int_eq(symlink("users", link), 0);
	ck_assert_int_eq(users_set(link, "a", "H", &added, &made, NULL), 0);
	ck_assert_str_eq(get_file(), "b:y\na:H\n");
	ck_assert_int_eq(lstat(link, &st), 0);
	ck_assert(S_ISLNK(st.st_mode));
	unlink(link);
}

END_TEST

START_TEST(says_what_fails)
{
	bool added, made;
	struct errbuf eb = { "" };
	char below[128];
	snprintf(below, sizeof(below), "%s/missing/users", folder);
	ck_assert_int_lt(users_set(below, "a", "H", &added, &made, &eb), 0);
	ck_assert(strstr(eb.text, "missing/users"));
}

END_TEST

static const struct {
	const char *login;
	bool good;
} logins[] = {
	{ "ann", true },
	{ "ann@example.org", true },
	{ "ann lee", true },
	{ "\xc3\xa4nn", true },
	{ "", false },
	{ "a:b", false },
	{ "a\nb", false },
	{ "a\x7f", false },
	{ "#ann", false },
	{ " ann", false },
	{ "ann ", false },
	{ "\xe4nn", false },
};

START_TEST(checks_logins)
{
	struct errbuf eb = { "" };
	int err = users_check_login(logins[_i].login, &eb);
	ck_assert_msg((err == 0) == logins[_i].good, "%s", logins[_i].login);
	ck_assert((eb.text[0] == '\0') == logins[_i].good);
}

END_TEST

START_TEST(checks_length)
{
	char login[USERS_LOGIN_MAX + 2];
	memset(login, 'x', sizeof(login) - 1);
	login[sizeof(login) - 1] = '\0';
	ck_assert_int_lt(users_check_login(login, NULL), 0);
	ck_assert_int_eq(users_check_login(login + 1, NULL), 0);
}

END_TEST

Suite *test_postrider_users_suite(void)
{
	Suite *s = suite_create("postrider_users");
	TCase *files = tcase_create("files");
	TCase *tc = tcase_create("logins");
	tcase_add_checked_fixture(files, setup, teardown);
	tcase_add_test(files, makes_a_missing_file);
	tcase_add_loop_test(files, keeps_other_lines, 0, (int)ARRAY_LEN(edits));
	tcase_add_test(files, follows_a_link);
	tcase_add_test(files, says_what_fails);
	tcase_add_loop_test(tc, checks_logins, 0, (int)ARRAY_LEN(logins));
	tcase_add_test(tc, checks_length);
	suite_add_tcase(s, files);
	suite_add_tcase(s, tc);
	return s;
}
