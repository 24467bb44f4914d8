#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"

struct civil {
	int64_t year;
	int month, day; /* from 1 */
	int hour, minute, second, ms;
	int weekday; /* 0 is Sunday */
};

static int64_t read_ms(clockid_t id)
{
	struct timespec ts;
	int r = clock_gettime(id, &ts);
	CHECK(r == 0);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct now clock_now(void)
{
	return (
	    struct now){ .wall_ms = read_ms(CLOCK_REALTIME), .mono_ms = read_ms(CLOCK_MONOTONIC) };
}

/* Quotient rounded down, so that instants before 1970 come out right. */
static int64_t floor_div(int64_t a, int64_t b, int64_t *rest)
{
	int64_t q = a / b;
	int64_t r = a % b;
	if (r < 0) {
		r += b;
		q--;
	}
	*rest = r;
	return q;
}

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* First day of a year within the 400-year cycle that starts with 2000; both count from 0. */
static int64_t year_start(int64_t year)
{
	return year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

static struct civil civil_of(int64_t wall_ms)
{
	static const int month_days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	enum {
		DAYS_400_YEARS = 146097,
		DAYS_2000_TO_1970 = 10957
	};
	struct civil c;
	int64_t ms;
	int64_t day;
	int64_t rest;
	int64_t days = floor_div(wall_ms, 86400000, &ms);
	floor_div(days + 4, 7, &rest); /* 1970-01-01 was a Thursday */
	c.weekday = (int)rest;
	int64_t cycle = floor_div(days - DAYS_2000_TO_1970, DAYS_400_YEARS, &day);
	int64_t year = day / 366; /* right, or one too low */
	if (year_start(year + 1) <= day)
		year++;
	day -= year_start(year);
	c.year = 2000 + cycle * 400 + year;
	for (c.month = 1;; c.month++) {
		int len = month_days[c.month - 1] + (c.month == 2 && is_leap(c.year));
		if (day < len)
			break;
		day -= len;
	}
	c.day = (int)day + 1;
	c.ms = (int)(ms % 1000);
	c.second = (int)(ms / 1000 % 60);
	c.minute = (int)(ms / 60000 % 60);
	c.hour = (int)(ms / 3600000);
	return c;
}

/*
 * Each puts its text at p and returns the end. By hand: some are written for every message, and
 * snprintf took a tenth of the processor's time for one.
 */
static char *put_char(char *p, char c)
{
	*p = c;
	return p + 1;
}

static char *put_text(char *p, const char *text)
{
	size_t n = strlen(text);
	memcpy(p, text, n);
	return p + n;
}

static char *put_digits(char *p, int value, int digits)
{
	for (int i = digits; i-- > 0; value /= 10)
		p[i] = (char)('0' + value % 10);
	return p + digits;
}

static char *put_year(char *p, int64_t year)
{
	if (year >= 0 && year <= 9999)
		return put_digits(p, (int)year, 4);
	return p + snprintf(p, CLOCK_TEXT_MAX / 2, "%04lld", (long long)year);
}

static char *put_time(char *p, const struct civil *c)
{
	p = put_char(put_digits(p, c->hour, 2), ':');
	p = put_char(put_digits(p, c->minute, 2), ':');
	return put_digits(p, c->second, 2);
}

char *clock_rfc3339(int64_t wall_ms, char buf[CLOCK_TEXT_MAX])
{
	struct civil c = civil_of(wall_ms);
	char *p = put_year(buf, c.year);
	p = put_digits(put_char(p, '-'), c.month, 2);
	p = put_digits(put_char(p, '-'), c.day, 2);
	p = put_time(put_char(p, 'T'), &c);
	p = put_digits(put_char(p, '.'), c.ms, 3);
	memcpy(p, "Z", 2);
	return buf;
}

char *clock_rfc5322(int64_t wall_ms, char buf[CLOCK_TEXT_MAX])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	struct civil c = civil_of(wall_ms);
	char *p = put_text(put_text(buf, days[c.weekday]), ", ");
	p = put_digits(p, c.day, c.day < 10 ? 1 : 2);
	p = put_text(put_text(put_char(p, ' '), months[c.month - 1]), " ");
	p = put_time(put_char(put_year(p, c.year), ' '), &c);
	memcpy(p, " +0000", sizeof(" +0000"));
	return buf;
}
