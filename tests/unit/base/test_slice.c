#include "base/slice.h"

#include <string.h>

#include "base/mem.h"
#include "lib/unit.h"

START_TEST(compares)
{
	ck_assert(slice_eq(SLICE("a"), SLICE("a")));
	ck_assert(!slice_eq(SLICE("a"), SLICE("A")));
	ck_assert(!slice_eq(SLICE("a"), SLICE("ab")));
	ck_assert(slice_eq(SLICE_NONE, SLICE("")));
	ck_assert(!slice_eq(SLICE("a\0b"), SLICE("a\0c")));
	ck_assert(slice_eq_nocase(SLICE("EhLo"), SLICE("eHlO")));
	ck_assert(!slice_eq_nocase(SLICE("[@"), SLICE("{`"))); /* 0x20 apart, but no letters */
	ck_assert(!slice_eq_nocase(SLICE("\xc4"), SLICE("\xe4")));
	ck_assert(slice_starts(SLICE("abc"), SLICE("ab")));
	ck_assert(slice_starts(SLICE("abc"), SLICE("")));
	ck_assert(!slice_starts(SLICE("ab"), SLICE("abc")));
	ck_assert(slice_starts_nocase(SLICE("MAIL FROM:"), SLICE("mail ")));
	ck_assert(slice_ends_nocase(SLICE("mx.Example.ORG"), SLICE(".example.org")));
	ck_assert(!slice_ends_nocase(SLICE("org"), SLICE(".org")));
	ck_assert(slice_ends_nocase(SLICE_NONE, SLICE("")));
}

END_TEST

START_TEST(cuts)
{
	ck_assert(slice_eq(slice_trim(SLICE(" \t a b\r\n")), SLICE("a b")));
	ck_assert(slice_eq(slice_trim(SLICE(" \r\n\t")), SLICE("")));
	ck_assert(slice_eq(slice_trim(SLICE_NONE), SLICE("")));
	ck_assert(slice_eq(slice_from(SLICE("abc"), 1), SLICE("bc")));
	ck_assert(slice_eq(slice_from(SLICE("abc"), 3), SLICE("")));
	ck_assert(slice_eq(slice_from(SLICE("abc"), 9), SLICE("")));
	ck_assert(slice_eq(slice_from(SLICE_NONE, 1), SLICE("")));
	ck_assert_int_eq(slice_find(SLICE("a.b.c"), '.'), 1);
	ck_assert_int_eq(slice_rfind(SLICE("a.b.c"), '.'), 3);
	ck_assert_int_eq(slice_find(SLICE("abc"), '.'), -1);
	ck_assert_int_eq(slice_rfind(SLICE_NONE, '.'), -1);
	ck_assert_uint_eq(slice_str(NULL).n, 0);
	ck_assert_uint_eq(slice_str("abc").n, 3);
}

END_TEST

static const struct {
	const char *text;
	const char *parts[4];
} splits[] = {
	{ "", { "" } },
	{ "a", { "a" } },
	{ "a,b", { "a", "b" } },
	{ "a,", { "a", "" } },
	{ ",", { "", "" } },
	{ "a,,b", { "a", "", "b" } },
	{ NULL, { NULL } },
};

START_TEST(splits_at_each_separator)
{
	struct slice rest = slice_str(splits[_i].text);
	struct slice part;
	size_t n = 0;
	while (slice_split(&rest, ',', &part)) {
		ck_assert_ptr_nonnull(splits[_i].parts[n]);
		ck_assert(slice_eq(part, slice_str(splits[_i].parts[n])));
		n++;
	}
	ck_assert_ptr_null(splits[_i].parts[n]);
}

END_TEST

static const struct {
	const char *text;
	bool ok;
	uint64_t value;
} numbers[] = {
	{ "0", true, 0 },
	{ "007", true, 7 },
	{ "18446744073709551615", true, UINT64_MAX },
	{ "18446744073709551616", false, 0 },
	{ "99999999999999999999", false, 0 },
	{ "", false, 0 },
	{ "-1", false, 0 },
	{ "+1", false, 0 },
	{ " 1", false, 0 },
	{ "1 ", false, 0 },
	{ "0x1", false, 0 },
};

START_TEST(reads_numbers)
{
	uint64_t v = 0;
	ck_assert_int_eq(slice_to_u64(slice_str(numbers[_i].text), &v), numbers[_i].ok);
	ck_assert_uint_eq(v, numbers[_i].value);
}

END_TEST

START_TEST(lowers_and_copies)
{
	char text[] = "AbZ@[\xc4";
	slice_lower(text, sizeof(text) - 1);
	ck_assert_str_eq(text, "abz@[\xc4");
	char *copy = slice_dup(slice_of("abcd", 2));
	ck_assert_str_eq(copy, "ab");
	mem_free(copy);
	copy = slice_dup(SLICE_NONE);
	ck_assert_str_eq(copy, "");
	mem_free(copy);
}

END_TEST

Suite *test_slice_suite(void)
{
	Suite *s = suite_create("base/slice");
	TCase *t = tcase_create("slice");
	tcase_add_test(t, compares);
	tcase_add_test(t, cuts);
	tcase_add_loop_test(t, splits_at_each_separator, 0, ARRAY_LEN(splits));
	tcase_add_loop_test(t, reads_numbers, 0, ARRAY_LEN(numbers));
	tcase_add_test(t, lowers_and_copies);
	suite_add_tcase(s, t);
	return s;
}
