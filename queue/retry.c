/*
 * retry.c - the schedule: parsing it, and reading the next due time off it.
 */
#include "queue/retry.h"

#include <string.h>

#include "base/check.h"

/* 2^30 s, 34 years: the longest the derived schedule knows; keeps every sum far from overflow. */
#define INTERVAL_MAX_S      (1 << 30)
#define ELEMENT_MAX         64 /* bytes of one element without its blanks */
#define FRACTION_DIGITS_MAX 9

struct element {
	unsigned number;              /* counted from 1, for messages */
	struct slice text;            /* as written, trimmed */
	char packed[ELEMENT_MAX + 1]; /* without blanks, lower case */
};

static int fail(const struct element *el, struct errbuf *eb, int err, const char *why)
{
	return errbuf_set(eb, err, "element %u \"%.*s\": %s", el->number,
	    (int)MIN(el->text.n, (size_t)ELEMENT_MAX), el->text.n > 0 ? el->text.p : "", why);
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Copies without blanks, lower case; false if it does not fit. */
static bool pack(struct slice s, char *out, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (is_blank(s.p[i]))
			continue;
		if (n == max || s.p[i] == '\0')
			return false;
		out[n++] = s.p[i];
	}
	out[n] = '\0';
	slice_lower(out, n);
	return true;
}

static uint32_t unit_seconds(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 60 * 60;
	case 'd':
		return 24 * 60 * 60;
	default:
		return 0;
	}
}

/* "1.5" at *at as nano-units, the cursor moved past it; false if there is no such number. */
static bool take_number(const char **at, uint64_t *nano)
{
	const uint64_t one = 1000000000;
	const char *p = *at;
	uint64_t whole = 0, fraction = 0, weight = one;
	if (!is_digit(*p))
		return false;
	for (; is_digit(*p); p++)
		whole = MIN(whole * 10 + (uint64_t)(*p - '0'), (uint64_t)INTERVAL_MAX_S + 1);
	if (*p == '.') {
		if (!is_digit(*++p))
			return false;
		for (unsigned n = 0; is_digit(*p); p++, n++) {
			if (n == FRACTION_DIGITS_MAX)
				return false;
			weight /= 10;
			fraction += (uint64_t)(*p - '0') * weight;
		}
	}
	*nano = whole * one + fraction;
	*at = p;
	return true;
}

/* The "*count" that may follow; absent is 1. */
static int take_count(const struct element *el, const char *p, size_t *count, struct errbuf *eb)
{
	*count = 1;
	if (*p == '\0')
		return 0;
	if (*p != '*')
		return fail(el, eb, ERR_SYNTAX,
		    "expected a number, one of s m h d, and perhaps *count");
	size_t n = 0;
	if (!is_digit(*++p))
		return fail(el, eb, ERR_SYNTAX, "the count after * must be a whole number");
	for (; is_digit(*p); p++)
		n = MIN(n * 10 + (size_t)(*p - '0'), (size_t)RETRY_INTERVALS_MAX + 1);
	if (*p != '\0')
		return fail(el, eb, ERR_SYNTAX, "the count after * must be a whole number");
	if (n == 0)
		return fail(el, eb, ERR_RANGE, "a count of 0 adds no interval");
	*count = n;
	return 0;
}

static int parse_element(const struct element *el, uint32_t *interval_s, size_t *count,
    struct errbuf *eb)
{
	const uint64_t one = 1000000000;
	const char *p = el->packed;
	uint64_t nano;
	if (*p == '\0')
		return fail(el, eb, ERR_SYNTAX, "an interval is missing here");
	if (strcmp(p, "none") == 0)
		return fail(el, eb, ERR_SYNTAX, "\"none\" must stand alone");
	if (!take_number(&p, &nano))
		return fail(el, eb, ERR_SYNTAX,
		    "expected a number, one of s m h d, and perhaps *count");
	uint32_t unit = unit_seconds(*p);
	if (unit == 0)
		return fail(el, eb, ERR_SYNTAX, "the unit must be one of s m h d");
	if (nano > (uint64_t)INTERVAL_MAX_S * one / unit)
		return fail(el, eb, ERR_RANGE, "the interval is too long");
	/* Rounded up to whole seconds: a retry is never early. */
	uint64_t seconds = (nano * unit + one - 1) / one;
	if (seconds < RETRY_INTERVAL_MIN_S)
		return fail(el, eb, ERR_RANGE, "the interval is shorter than 5 seconds");
	*interval_s = (uint32_t)seconds;
	return take_count(el, p + 1, count, eb);
}

static int add_intervals(struct retry_policy *p, const struct element *el, struct errbuf *eb)
{
	uint32_t interval_s = 0;
	size_t count = 0;
	int err = parse_element(el, &interval_s, &count, eb);
	if (err < 0)
		return err;
	if (count > RETRY_INTERVALS_MAX - p->intervals_n)
		return fail(el, eb, ERR_TOO_BIG, "more than 1000 intervals in all");
	for (size_t i = 0; i < count; i++)
		p->intervals_s[p->intervals_n++] = interval_s;
	return 0;
}

int retry_parse(struct slice text, struct retry_policy *p, struct errbuf *eb)
{
	struct element el = { 0 };
	struct slice rest = text;
	p->intervals_n = 0;
	if (slice_trim(text).n == 0)
		return errbuf_set(eb, ERR_SYNTAX, "no interval given (\"none\" means no retries)");
	if (pack(text, el.packed, 4) && strcmp(el.packed, "none") == 0)
		return 0;
	for (bool more = true; more;) {
		ptrdiff_t comma = slice_find(rest, ',');
		more = comma >= 0;
		el.text = slice_trim(more ? slice_of(rest.p, (size_t)comma) : rest);
		el.number++;
		if (!pack(el.text, el.packed, ELEMENT_MAX))
			return fail(&el, eb, ERR_SYNTAX, "too long for an interval");
		int err = add_intervals(p, &el, eb);
		if (err < 0)
			return err;
		if (more)
			rest = slice_from(rest, (size_t)comma + 1);
	}
	return 0;
}

int retry_derive(unsigned max_temp_failures, struct retry_policy *p, struct errbuf *eb)
{
	if (max_temp_failures < 1 || max_temp_failures > RETRY_TEMP_FAILURES_MAX)
		return errbuf_set(eb, ERR_RANGE, "max_temp_failures must be from 1 to %d",
		    RETRY_TEMP_FAILURES_MAX);
	p->intervals_n = max_temp_failures - 1;
	for (unsigned i = 1; i < max_temp_failures; i++)
		p->intervals_s[i - 1] = UINT32_C(1) << (i + 5);
	return 0;
}

static int64_t jitter_max_ms(uint32_t interval_s)
{
	return MIN((int64_t)interval_s * 1000 / 8, (int64_t)RETRY_JITTER_MAX_MS);
}

static int64_t add_saturating(int64_t a, int64_t b)
{
	int64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}

bool retry_next(const struct retry_policy *p, unsigned attempts, int64_t arrival_ms, int64_t now_ms,
    struct prng *rng, int64_t *due_ms)
{
	CHECK(attempts > 0);
	if (attempts > p->intervals_n || now_ms >= retry_expires_at(p, arrival_ms))
		return false;
	uint32_t interval_s = p->intervals_s[attempts - 1];
	uint64_t jitter = prng_below(rng, (uint64_t)jitter_max_ms(interval_s) + 1);
	*due_ms = now_ms + (int64_t)interval_s * 1000 + (int64_t)jitter;
	return true;
}

int64_t retry_expires_at(const struct retry_policy *p, int64_t arrival_ms)
{
	int64_t lifetime_ms;
	if (__builtin_mul_overflow(p->lifetime_s, (int64_t)1000, &lifetime_ms))
		lifetime_ms = INT64_MAX;
	return add_saturating(arrival_ms, lifetime_ms);
}

int64_t retry_clamp_due(const struct retry_policy *p, unsigned attempts, int64_t due_ms,
    int64_t now_ms)
{
	if (p->intervals_n == 0)
		return MIN(due_ms, now_ms);
	/* The last failure counted picks the interval; a schedule that was shortened has its last
	 * one. */
	size_t last = attempts == 0 ? 0 : MIN((size_t)attempts, p->intervals_n) - 1;
	uint32_t interval_s = p->intervals_s[last];
	int64_t longest_ms = (int64_t)interval_s * 1000 + jitter_max_ms(interval_s);
	return MIN(due_ms, add_saturating(now_ms, longest_ms));
}
