#include "base/units.h"

#include "base/err.h"
#include "lib/unit.h"

static const struct {
	const char *text;
	int r;
	int64_t seconds;
} durations[] = {
	{ "0", 0, 0 },
	{ "90", 0, 90 },
	{ "30s", 0, 30 },
	{ "5m", 0, 300 },
	{ "1h", 0, 3600 },
	{ "5d", 0, 432000 },
	{ "1h5m", 0, 3900 },
	{ "1d1s", 0, 86401 },
	{ "9223372036854775s", 0, INT64_MAX / 1000 },
	{ "9223372036854776s", ERR_RANGE, 0 },
	{ "106751991168d", ERR_RANGE, 0 },
	{ "99999999999999999999s", ERR_RANGE, 0 },
	{ "18446744073709551615d", ERR_RANGE, 0 },
	{ "106751991167d999999h", ERR_RANGE, 0 },
	{ "", ERR_SYNTAX, 0 },
	{ "s", ERR_SYNTAX, 0 },
	{ "-1s", ERR_SYNTAX, 0 },
	{ "1 s", ERR_SYNTAX, 0 },
	{ "1s ", ERR_SYNTAX, 0 },
	{ "1.5h", ERR_SYNTAX, 0 },
	{ "1M", ERR_SYNTAX, 0 },
	{ "1w", ERR_SYNTAX, 0 },
	{ "5m1h", ERR_SYNTAX, 0 },
	{ "1m1m", ERR_SYNTAX, 0 },
	{ "1h5", ERR_SYNTAX, 0 },
	{ "1s5", ERR_SYNTAX, 0 },
};

START_TEST(reads_durations)
{
	int64_t v = 0;
	ck_assert_int_eq(units_duration(slice_str(durations[_i].text), &v), durations[_i].r);
	ck_assert_int_eq(v, durations[_i].seconds);
}

END_TEST

static const struct {
	const char *text;
	int r;
	uint64_t bytes;
} sizes[] = {
	{ "0", 0, 0 },
	{ "1000", 0, 1000 },
	{ "64k", 0, 65536 },
	{ "64K", 0, 65536 },
	{ "25M", 0, 26214400 },
	{ "25m", 0, 26214400 },
	{ "1G", 0, 1073741824 },
	{ "18446744073709551615", 0, UINT64_MAX },
	{ "18446744073709551616", ERR_RANGE, 0 },
	{ "17179869183G", 0, 17179869183u << 30 },
	{ "17179869184G", ERR_RANGE, 0 },
	{ "", ERR_SYNTAX, 0 },
	{ "M", ERR_SYNTAX, 0 },
	{ "1MB", ERR_SYNTAX, 0 },
	{ "1b", ERR_SYNTAX, 0 },
	{ "-1", ERR_SYNTAX, 0 },
	{ "5%", ERR_SYNTAX, 0 },
	{ "1.5M", ERR_SYNTAX, 0 },
};

START_TEST(reads_sizes)
{
	uint64_t v = 0;
	ck_assert_int_eq(units_size(slice_str(sizes[_i].text), &v), sizes[_i].r);
	ck_assert_uint_eq(v, sizes[_i].bytes);
}

END_TEST

static const struct {
	const char *text;
	int r;
	uint64_t count;
	int64_t seconds;
} rates[] = {
	{ "500/1h", 0, 500, 3600 },
	{ "10", 0, 10, 1 },
	{ "0/5m", 0, 0, 300 },
	{ "10/30", 0, 10, 30 },
	{ "10/0s", ERR_RANGE, 0, 0 },
	{ "10/", ERR_SYNTAX, 0, 0 },
	{ "/1h", ERR_SYNTAX, 0, 0 },
	{ "", ERR_SYNTAX, 0, 0 },
	{ "10 / 1h", ERR_SYNTAX, 0, 0 },
	{ "10:1h", ERR_SYNTAX, 0, 0 },
	{ "99999999999999999999/1h", ERR_RANGE, 0, 0 },
};

START_TEST(reads_rates)
{
	uint64_t count = 0;
	int64_t seconds = 0;
	int r = units_rate(slice_str(rates[_i].text), &count, &seconds);
	ck_assert_int_eq(r, rates[_i].r);
	ck_assert_uint_eq(count, rates[_i].count);
	ck_assert_int_eq(seconds, rates[_i].seconds);
}

END_TEST

static const struct {
	int64_t seconds;
	const char *text;
} shown[] = {
	{ 0, "0s" },
	{ 59, "59s" },
	{ 60, "1m" },
	{ 3900, "1h5m" },
	{ 3661, "1h1m" },
	{ 86401, "1d1s" },
	{ 432000, "5d" },
	{ -90, "-1m30s" },
	{ INT64_MAX, "106751991167300d15h" },
	{ INT64_MIN, "-106751991167300d15h" },
};

START_TEST(shows_durations)
{
	char text[UNITS_TEXT_MAX];
	ck_assert_str_eq(units_format_duration(shown[_i].seconds, text), shown[_i].text);
}

END_TEST

Suite *test_units_suite(void)
{
	Suite *s = suite_create("base/units");
	TCase *t = tcase_create("units");
	tcase_add_loop_test(t, reads_durations, 0, ARRAY_LEN(durations));
	tcase_add_loop_test(t, reads_sizes, 0, ARRAY_LEN(sizes));
	tcase_add_loop_test(t, reads_rates, 0, ARRAY_LEN(rates));
	tcase_add_loop_test(t, shows_durations, 0, ARRAY_LEN(shown));
	suite_add_tcase(s, t);
	return s;
}
