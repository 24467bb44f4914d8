#include "base/clock.h"

#include <string.h>
#include <time.h>

#include "lib/unit.h"

static const struct {
	int64_t wall_ms;
	const char *rfc3339;
	const char *rfc5322;
} rows[] = {
	{ 0, "1970-01-01T00:00:00.000Z", "Thu, 1 Jan 1970 00:00:00 +0000" },
	{ -1, "1969-12-31T23:59:59.999Z", "Wed, 31 Dec 1969 23:59:59 +0000" },
	{ 951782400000, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 +0000" },
	{ 951868800000, "2000-03-01T00:00:00.000Z", "Wed, 1 Mar 2000 00:00:00 +0000" },
	{ 946684799999, "1999-12-31T23:59:59.999Z", "Fri, 31 Dec 1999 23:59:59 +0000" },
	{ 1795200480123, "2026-11-20T18:48:00.123Z", "Fri, 20 Nov 2026 18:48:00 +0000" },
	{ 2147483648000, "2038-01-19T03:14:08.000Z", "Tue, 19 Jan 2038 03:14:08 +0000" },
	{ 4107542400000, "2100-03-01T00:00:00.000Z", "Mon, 1 Mar 2100 00:00:00 +0000" },
	{ 253402300799999, "9999-12-31T23:59:59.999Z", "Fri, 31 Dec 9999 23:59:59 +0000" },
	{ -62167219200000, "0000-01-01T00:00:00.000Z", "Sat, 1 Jan 0000 00:00:00 +0000" },
};

START_TEST(formats)
{
	char text[CLOCK_TEXT_MAX];
	ck_assert_str_eq(clock_rfc3339(rows[_i].wall_ms, text), rows[_i].rfc3339);
	ck_assert_str_eq(clock_rfc5322(rows[_i].wall_ms, text), rows[_i].rfc5322);
}

END_TEST

/* Every day of 800 years, and the ends of what an int64_t holds, as libc has them. */
START_TEST(agrees_with_libc)
{
	char ours[CLOCK_TEXT_MAX];
	char theirs[CLOCK_TEXT_MAX];
	for (int64_t day = -146097; day < 146097; day++) {
		time_t t = (time_t)(day * 86400 + 86399);
		struct tm tm;
		ck_assert_ptr_nonnull(gmtime_r(&t, &tm));
		strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
		ck_assert_str_eq(clock_rfc3339((int64_t)t * 1000, ours), theirs);
		strftime(theirs, sizeof(theirs), "%a, %-d %b %Y %H:%M:%S +0000", &tm);
		ck_assert_str_eq(clock_rfc5322((int64_t)t * 1000, ours), theirs);
	}
	ck_assert_str_eq(clock_rfc3339(INT64_MAX, ours), "292278994-08-17T07:12:55.807Z");
	ck_assert_str_eq(clock_rfc3339(INT64_MIN, ours), "-292275055-05-16T16:47:04.192Z");
	ck_assert_uint_lt(strlen(clock_rfc5322(INT64_MIN, ours)), CLOCK_TEXT_MAX);
}

END_TEST

START_TEST(tells_the_time)
{
	struct now a = clock_now();
	struct now b = clock_now();
	ck_assert_int_ge(b.mono_ms, a.mono_ms);
	ck_assert_int_gt(a.wall_ms, 1700000000000);
}

END_TEST

Suite *test_clock_suite(void)
{
	Suite *s = suite_create("base/clock");
	TCase *t = tcase_create("clock");
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, formats, 0, ARRAY_LEN(rows));
	tcase_add_test(t, agrees_with_libc);
	tcase_add_test(t, tells_the_time);
	suite_add_tcase(s, t);
	return s;
}
