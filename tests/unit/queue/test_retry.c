/* The schedule: Haraka's grammar row by row (peers' facts, section 1.4), and the instants read off
 * it. */
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "lib/unit.h"
#include "queue/retry.h"

Suite *test_retry_suite(void);

static const struct good {
	const char *text;
	size_t n;
	uint32_t s[6];
} good[] = {
	{ "10s, 1m*2", 3, { 10, 60, 60 } },
	{ "1m, 5m*2, 1h*3", 6, { 60, 300, 300, 3600, 3600, 3600 } },
	{ "none", 0, { 0 } },
	{ "NONE", 0, { 0 } },
	{ " None ", 0, { 0 } },
	{ "5s", 1, { 5 } },
	{ "1.5m", 1, { 90 } },
	{ "0.1m", 1, { 6 } },
	{ "1 0 m", 1, { 600 } },
	{ "1M,2H,1D", 3, { 60, 7200, 86400 } },
	{ "\t30s ,\n1m", 2, { 30, 60 } },
	{ "5m * 2", 2, { 300, 300 } },
	{ "5.1s", 1, { 6 } }, /* whole seconds, never early */
	{ "0.5d", 1, { 43200 } },
	{ "05m*02", 2, { 300, 300 } },
};

static const struct bad {
	const char *text;
	unsigned element; /* 0: the text as a whole */
	const char *names;
} bad[] = {
	{ "", 0, NULL },
	{ "   ", 0, NULL },
	{ "60 min", 1, "60 min" },
	{ "1w", 1, "1w" },
	{ "1m;5m", 1, "1m;5m" },
	{ "1h*2,bad", 2, "bad" },
	{ "none,5m", 1, "none" },
	{ "5m,none", 2, "none" },
	{ "5", 1, "5" },
	{ "m", 1, "m" },
	{ "1m,", 2, "" },
	{ ",1m", 1, "" },
	{ "1m,,2m", 2, "" },
	{ "4s", 1, "4s" },
	{ "0.05m", 1, "0.05m" },
	{ "-5m", 1, "-5m" },
	{ "5m*2*3", 1, "5m*2*3" },
	{ "5m*2.5", 1, "5m*2.5" },
	{ "5m*a", 1, "5m*a" },
	{ "5m*", 1, "5m*" },
	{ "5m*0", 1, "5m*0" },
	{ "5m*-1", 1, "5m*-1" },
	{ "5m*0,10m", 1, "5m*0" },
	{ "5m*2.0", 1, "5m*2.0" },
	{ "5m*1e2", 1, "5m*1e2" },
	{ "5m*0x10", 1, "5m*0x10" },
	{ "1e3s", 1, "1e3s" },
	{ "0x10s", 1, "0x10s" },
	{ "infinityd", 1, "infinityd" },
	{ "1.m", 1, "1.m" },
	{ ".5m", 1, ".5m" },
	{ "1.2.3m", 1, "1.2.3m" },
	{ "0.0000000001d", 1, "0.0000000001d" },
	{ "99999999999999999999d", 1, "99999999999999999999d" },
	{ "20000d", 1, "20000d" },
	{ "1m*1001", 1, "1m*1001" },
	{ "1m*99999999999999999999", 1, "1m*99999999999999999999" },
	{ "1m*999,1m*2", 2, "1m*2" },
};

START_TEST(parses_what_haraka_does)
{
	static struct retry_policy p;
	const struct good *g = &good[_i];
	struct errbuf eb;
	p.lifetime_s = 77;
	ck_assert_msg(retry_parse(slice_str(g->text), &p, &eb) == 0, "\"%s\"", g->text);
	ck_assert_uint_eq(p.intervals_n, g->n);
	for (size_t i = 0; i < g->n; i++)
		ck_assert_uint_eq(p.intervals_s[i], g->s[i]);
	ck_assert_int_eq(p.lifetime_s, 77);
}

END_TEST

START_TEST(names_what_is_wrong)
{
	static struct retry_policy p;
	char expect[80];
	const struct bad *b = &bad[_i];
	struct errbuf eb = { "" };
	ck_assert_msg(retry_parse(slice_str(b->text), &p, &eb) < 0, "\"%s\"", b->text);
	ck_assert_int_lt(retry_parse(slice_str(b->text), &p, NULL), 0);
	if (b->element == 0)
		return;
	snprintf(expect, sizeof(expect), "element %u \"%s\": ", b->element, b->names);
	ck_assert_msg(strncmp(eb.text, expect, strlen(expect)) == 0, "%s", eb.text);
}

END_TEST

START_TEST(an_endless_element_is_an_error)
{
	static struct retry_policy p;
	static char text[100000];
	struct errbuf eb;
	memset(text, '1', sizeof(text));
	ck_assert_int_lt(retry_parse(slice_of(text, sizeof(text)), &p, &eb), 0);
	ck_assert_uint_lt(strlen(eb.text), 200);
}

END_TEST

START_TEST(a_thousand_is_the_limit)
{
	static struct retry_policy p;
	ck_assert_int_eq(retry_parse(SLICE("5s*1000"), &p, NULL), 0);
	ck_assert_uint_eq(p.intervals_n, RETRY_INTERVALS_MAX);
}

END_TEST

START_TEST(derives_as_haraka_does)
{
	static struct retry_policy p;
	struct errbuf eb;
	uint64_t sum = 0;
	ck_assert_int_eq(retry_derive(13, &p, &eb), 0);
	ck_assert_uint_eq(p.intervals_n, 12);
	for (size_t i = 0; i < p.intervals_n; i++)
		sum += p.intervals_s[i];
	ck_assert_uint_eq(p.intervals_s[0], 64);
	ck_assert_uint_eq(p.intervals_s[11], 131072);
	ck_assert_uint_eq(sum, 262080);
	ck_assert_int_eq(retry_derive(1, &p, &eb), 0);
	ck_assert_uint_eq(p.intervals_n, 0);
	ck_assert_int_eq(retry_derive(26, &p, &eb), 0);
	ck_assert_uint_eq(p.intervals_s[24], UINT32_C(1) << 30);
	ck_assert_int_eq(retry_derive(0, &p, &eb), ERR_RANGE);
	ck_assert_int_eq(retry_derive(27, &p, &eb), ERR_RANGE);
}

END_TEST

START_TEST(next_is_never_early_and_bounded)
{
	static struct retry_policy p;
	struct prng r;
	int64_t due, now = INT64_C(1790000000000);
	prng_init(&r, 7);
	ck_assert_int_eq(retry_parse(SLICE("1m,1d"), &p, NULL), 0);
	p.lifetime_s = 3600;
	bool early_half = false, late_half = false;
	for (unsigned i = 0; i < 1000; i++) {
		ck_assert(retry_next(&p, 1, now, now, &r, &due));
		ck_assert_int_ge(due, now + 60000);
		ck_assert_int_le(due, now + 60000 + 7500);
		early_half = early_half || due < now + 63750;
		late_half = late_half || due >= now + 63750;
		ck_assert(retry_next(&p, 2, now, now, &r, &due)); /* past the lifetime: allowed */
		ck_assert_int_ge(due, now + 86400000);
		ck_assert_int_le(due, now + 86400000 + RETRY_JITTER_MAX_MS);
	}
	ck_assert(early_half);
	ck_assert(late_half);
	ck_assert(!retry_next(&p, 3, now, now, &r, &due));
	ck_assert(!retry_next(&p, 1, now - 3600000, now, &r, &due));
	ck_assert(retry_next(&p, 1, now - 3599999, now, &r, &due));
	ck_assert_int_eq(retry_expires_at(&p, now), now + 3600000);
	p.intervals_n = 0;
	ck_assert(!retry_next(&p, 1, now, now, &r, &due));
	p.lifetime_s = INT64_MAX;
	ck_assert_int_eq(retry_expires_at(&p, now), INT64_MAX);
}

END_TEST

START_TEST(clamp_bounds_what_a_clock_did)
{
	static struct retry_policy p;
	int64_t now = INT64_C(1790000000000), year = INT64_C(31536000000);
	ck_assert_int_eq(retry_parse(SLICE("1m,1h"), &p, NULL), 0);
	ck_assert_int_eq(retry_clamp_due(&p, 1, now + 1000, now), now + 1000);
	ck_assert_int_eq(retry_clamp_due(&p, 1, now - year, now), now - year);
	ck_assert_int_eq(retry_clamp_due(&p, 1, now + year, now), now + 67500);
	ck_assert_int_eq(retry_clamp_due(&p, 2, now + year, now),
	    now + 3600000 + RETRY_JITTER_MAX_MS);
	ck_assert_int_eq(retry_clamp_due(&p, 9, now + year, now),
	    now + 3600000 + RETRY_JITTER_MAX_MS);
	ck_assert_int_eq(retry_clamp_due(&p, 0, INT64_MAX, now), now + 67500);
	p.intervals_n = 0;
	ck_assert_int_eq(retry_clamp_due(&p, 1, now + year, now), now);
}

END_TEST

Suite *test_retry_suite(void)
{
	Suite *s = suite_create("retry");
	TCase *tc = tcase_create("retry");
	tcase_add_loop_test(tc, parses_what_haraka_does, 0, (int)ARRAY_LEN(good));
	tcase_add_loop_test(tc, names_what_is_wrong, 0, (int)ARRAY_LEN(bad));
	tcase_add_test(tc, an_endless_element_is_an_error);
	tcase_add_test(tc, a_thousand_is_the_limit);
	tcase_add_test(tc, derives_as_haraka_does);
	tcase_add_test(tc, next_is_never_early_and_bounded);
	tcase_add_test(tc, clamp_bounds_what_a_clock_did);
	suite_add_tcase(s, tc);
	return s;
}
