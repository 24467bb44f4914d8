#include "base/utf8.h"

#include "lib/unit.h"

static const struct {
	const char *text;
	int n;
	uint32_t cp;
} rows[] = {
	{ "a", 1, 'a' },
	{ "\xc2\x80", 2, 0x80 },
	{ "\xc3\xa4x", 2, 0xe4 },
	{ "\xdf\xbf", 2, 0x7ff },
	{ "\xe0\xa0\x80", 3, 0x800 },
	{ "\xed\x9f\xbf", 3, 0xd7ff },
	{ "\xee\x80\x80", 3, 0xe000 },
	{ "\xef\xbf\xbf", 3, 0xffff },
	{ "\xf0\x90\x80\x80", 4, 0x10000 },
	{ "\xf4\x8f\xbf\xbf", 4, 0x10ffff },
	{ "\x80", -1, 0 },
	{ "\xbf\x80", -1, 0 },
	{ "\xc0\x80", -1, 0 }, /* overlong NUL */
	{ "\xc1\xbf", -1, 0 },
	{ "\xe0\x9f\xbf", -1, 0 }, /* overlong */
	{ "\xed\xa0\x80", -1, 0 }, /* surrogate */
	{ "\xf0\x8f\xbf\xbf", -1, 0 },
	{ "\xf4\x90\x80\x80", -1, 0 }, /* beyond U+10FFFF */
	{ "\xf5\x80\x80\x80", -1, 0 },
	{ "\xff", -1, 0 },
	{ "\xc3", -1, 0 }, /* cut short */
	{ "\xc3(", -1, 0 },
	{ "\xe2\x82", -2, 0 },
	{ "\xe2\x82(", -2, 0 },
	{ "\xf0\x9f\x98", -3, 0 },
	{ "\xf0\x9f\x98\xff", -3, 0 },
};

START_TEST(decodes_strictly)
{
	uint32_t cp = 0;
	ck_assert_int_eq(utf8_decode(slice_str(rows[_i].text), &cp), rows[_i].n);
	ck_assert_uint_eq(cp, rows[_i].cp);
	ck_assert_int_eq(utf8_is_valid(slice_str(rows[_i].text)), rows[_i].n > 0);
}

END_TEST

/* All of Unicode, encoded here by the book, comes back. */
START_TEST(decodes_every_character)
{
	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		char text[4];
		size_t n = 0;
		if (cp < 0x80) {
			text[n++] = (char)cp;
		} else if (cp < 0x800) {
			text[n++] = (char)(0xc0 | cp >> 6);
		} else if (cp < 0x10000) {
			text[n++] = (char)(0xe0 | cp >> 12);
			text[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
		} else {
			text[n++] = (char)(0xf0 | cp >> 18);
			text[n++] = (char)(0x80 | (cp >> 12 & 0x3f));
			text[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
		}
		if (cp >= 0x80)
			text[n++] = (char)(0x80 | (cp & 0x3f));
		uint32_t got = 0;
		int r = utf8_decode(slice_of(text, n), &got);
		if (cp >= 0xd800 && cp <= 0xdfff)
			ck_assert_int_eq(r, -1);
		else if (r != (int)n || got != cp)
			ck_abort_msg("U+%04X: %d, U+%04X", cp, r, got);
	}
}

END_TEST

START_TEST(judges_whole_texts)
{
	ck_assert(utf8_is_valid(SLICE_NONE));
	ck_assert(utf8_is_valid(SLICE("gr\xc3\xbc\xc3\x9f\0")));
	ck_assert(!utf8_is_valid(SLICE("good then \xc3")));
}

END_TEST

Suite *test_utf8_suite(void)
{
	Suite *s = suite_create("base/utf8");
	TCase *t = tcase_create("utf8");
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, decodes_strictly, 0, ARRAY_LEN(rows));
	tcase_add_test(t, decodes_every_character);
	tcase_add_test(t, judges_whole_texts);
	suite_add_tcase(s, t);
	return s;
}
