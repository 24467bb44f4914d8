#include "base/err.h"

#include <errno.h>
#include <string.h>

#include "lib/unit.h"

static const struct {
	int err;
	const char *name;
	const char *text;
} rows[] = {
	{ 0, "ERR_OK", "success" },
	{ -ENOSPC, "ENOSPC", "No space left on device" },
	{ -EPERM, "EPERM", "Operation not permitted" },
	{ ERR_CORRUPT, "ERR_CORRUPT", "stored data is damaged" },
	{ ERR_OWN, "ERR_UNKNOWN", "unknown error" },
	{ -999, "ERR_UNKNOWN", "unknown error" },
	{ -5000, "ERR_UNKNOWN", "unknown error" },
	{ 5, "ERR_UNKNOWN", "unknown error" },
	{ INT32_MIN, "ERR_UNKNOWN", "unknown error" },
};

START_TEST(names)
{
	ck_assert_str_eq(err_name(rows[_i].err), rows[_i].name);
	ck_assert_str_eq(err_text(rows[_i].err), rows[_i].text);
}

END_TEST

START_TEST(names_all_of_ours)
{
	for (int e = ERR_TOO_BIG; e >= ERR_BUSY; e--) {
		ck_assert_int_eq(strncmp(err_name(e), "ERR_", 4), 0);
		ck_assert_str_ne(err_name(e), "ERR_UNKNOWN");
		ck_assert_str_ne(err_text(e), "unknown error");
	}
}

END_TEST

START_TEST(fills_errbuf)
{
	struct errbuf eb;
	ck_assert_int_eq(errbuf_set(&eb, ERR_SYNTAX, "%s:%d", "file", 3), ERR_SYNTAX);
	ck_assert_str_eq(eb.text, "file:3");
	ck_assert_int_eq(errbuf_set(&eb, ERR_RANGE, "%0600d", 1), ERR_RANGE);
	ck_assert_uint_eq(strlen(eb.text), sizeof(eb.text) - 1);
	ck_assert_int_eq(errbuf_set(NULL, -EIO, "dropped"), -EIO);
}

END_TEST

Suite *test_err_suite(void)
{
	Suite *s = suite_create("base/err");
	TCase *t = tcase_create("err");
	tcase_add_loop_test(t, names, 0, ARRAY_LEN(rows));
	tcase_add_test(t, names_all_of_ours);
	tcase_add_test(t, fills_errbuf);
	suite_add_tcase(s, t);
	return s;
}
