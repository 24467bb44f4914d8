#include "proto/dot.h"

#include <string.h>

#include "base/check.h"
#include "base/prng.h"
#include "lib/split_feed.h"
#include "lib/unit.h"

unit_suite_fn test_dot_suite;

/* Decodes pieces; transcript: the output, then flags, then what was not consumed. */
static char *decode(const void *arg, const struct split_feed_input *in)
{
	(void)arg;
	struct dot_decoder d;
	struct buf out;
	struct slice piece;
	size_t used = 0;
	buf_init(&out, 100000);
	dot_decoder_init(&d);
	for (size_t at = 0; split_feed_piece(in, &at, &piece);)
		if (!d.done)
			used += dot_decode(&d, piece, &out);
	ck_assert_uint_eq(d.bytes, buf_len(&out));
	int r = buf_printf(&out, "|%s%s%s%s%s|%.*s", d.done ? "done" : "more", d.nul ? " nul" : "",
	    d.bare_newline ? " bare" : "", d.has_8bit ? " 8bit" : "", d.maybe_dots ? " dots" : "",
	    SLICE_ARG(slice_from(in->bytes, used)));
	CHECK(r == 0);
	return buf_take(&out);
}

static const struct {
	struct slice in;
	const char *expect;
} decoded[] = {
	{ SLICE(".\r\nrest"), "|done|rest" },
	{ SLICE("x\r\n.\r\n.\r\n"), "x\r\n|done|.\r\n" },
	{ SLICE("\r\n.\r\n"), "\r\n|done|" },
	{ SLICE("..\r\n.\r\n"), ".\r\n|done dots|" },
	{ SLICE(".x\r\n...y\r\n.\r\n"), "x\r\n..y\r\n|done dots|" },
	{ SLICE(".x\r\n.y\r\n.\r\n"), "x\r\ny\r\n|done|" },
	{ SLICE("x\r\n..\r\n.\r\n"), "x\r\n.\r\n|done dots|" },
	{ SLICE("a.b\r\n.\r\n"), "a.b\r\n|done|" },
	{ SLICE("a\nb\r\n.\r\n"), "a\r\nb\r\n|done bare dots|" },
	{ SLICE("a\rb\r\n.\r\n"), "a\r\nb\r\n|done bare dots|" },
	{ SLICE("a\n\n\r\r\r\n.\r\n"), "a\r\n\r\n\r\n\r\n\r\n|done bare dots|" },
	{ SLICE("a\0b\r\n.\r\n"), "ab\r\n|done nul dots|" },
	{ SLICE("a\r\0\n.\r\n.\r\n"), "a\r\n\r\n.\r\n|done nul bare dots|" },
	{ SLICE("\xc3\xa9\r\n.\r\n"), "\xc3\xa9\r\n|done 8bit|" },
	{ SLICE("12345678\xff\r\n.\r\n"), "12345678\xff\r\n|done 8bit|" },
	{ SLICE("1234567\xff\r\n.\r\n"), "1234567\xff\r\n|done 8bit|" },
	{ SLICE("0123456789abcdef\xff\r\n.\r\n"), "0123456789abcdef\xff\r\n|done 8bit|" },
	{ SLICE("0123456789abcde\xff\r\n.\r\n"), "0123456789abcde\xff\r\n|done 8bit|" },
	{ SLICE("0123456789abcdef0\r\n\xff\r\n.\r\n"), "0123456789abcdef0\r\n\xff\r\n|done 8bit|" },
	{ SLICE("0123456789abcdef0123456789\0b\r\n.\r\n"),
	    "0123456789abcdef0123456789b\r\n|done nul dots|" },
	/* A byte over 127 behind the end is not the message's. */
	{ SLICE("0123456789\r\n.\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	    "0123456789\r\n|done|\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" },
	{ SLICE("x\r\n.\r\n\xff\xff\xff\xff\xff\xff\xff\xff"),
	    "x\r\n|done|\xff\xff\xff\xff\xff\xff\xff\xff" },
	{ SLICE("x\r\n..\r.\r\n.\r\n"), "x\r\n.\r\n.\r\n|done bare dots|" },
	{ SLICE("x\r\n.\r.\r\n.\r\n"), "x\r\n\r\n.\r\n|done bare dots|" },
	{ SLICE("x\r\n.\r\r\n.\r\n"), "x\r\n\r\n\r\n|done bare dots|" },
	{ SLICE("\n.\r\n.\r\n"), "\r\n.\r\n|done bare dots|" },
	{ SLICE("half"), "half|more|" },
	{ SLICE("half\r\n."), "half\r\n|more|" },
	{ SLICE("half\r\n.\r"), "half\r\n|more|" },
	{ SLICE(""), "|more|" },
};

START_TEST(decodes)
{
	split_feed(decode, NULL, decoded[_i].in, decoded[_i].expect);
}

END_TEST

/* --- encoder --- */

static char *encode(const void *arg, const struct split_feed_input *in)
{
	(void)arg;
	struct dot_encoder e;
	struct buf out;
	struct slice piece;
	buf_init(&out, 100000);
	dot_encoder_init(&e);
	for (size_t at = 0; split_feed_piece(in, &at, &piece);)
		CHECK(dot_encode(&e, piece, &out) == 0);
	CHECK(dot_encode_end(&e, &out) == 0);
	return buf_take(&out);
}

static const struct {
	struct slice in;
	const char *expect;
} encoded[] = {
	{ SLICE(""), ".\r\n" },
	{ SLICE("x\r\n"), "x\r\n.\r\n" },
	{ SLICE("x"), "x\r\n.\r\n" },
	{ SLICE(".\r\n"), "..\r\n.\r\n" },
	{ SLICE("."), "..\r\n.\r\n" },
	{ SLICE("..\r\n.x\r\ny.\r\n\r\n."), "...\r\n..x\r\ny.\r\n\r\n..\r\n.\r\n" },
	{ SLICE("\r\n"), "\r\n.\r\n" },
};

START_TEST(encodes)
{
	split_feed(encode, NULL, encoded[_i].in, encoded[_i].expect);
}

END_TEST

START_TEST(a_full_buffer_takes_nothing)
{
	struct dot_encoder e;
	struct buf out;
	buf_init(&out, 6);
	dot_encoder_init(&e);
	ck_assert_int_eq(dot_encode(&e, SLICE("ab\r\n"), &out), 0);
	ck_assert_int_eq(dot_encode(&e, SLICE(".\r\n"), &out), ERR_TOO_BIG);
	ck_assert_int_eq(dot_encode(&e, SLICE("abc"), &out), ERR_TOO_BIG);
	ck_assert_uint_eq(buf_len(&out), 4);
	ck_assert(e.at_line_start);
	ck_assert_int_eq(dot_encode(&e, SLICE("."), &out), 0);
	ck_assert_int_eq(dot_encode_end(&e, &out), ERR_TOO_BIG);
	buf_clear(&out);
	ck_assert_int_eq(dot_encode_end(&e, &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "\r\n.\r\n");
	buf_fini(&out);
}

END_TEST

/* What was decoded, encoded, and decoded again is the same, whatever it was. */
START_TEST(round_trips)
{
	static const char ALPHABET[] = { '.', '\r', '\n', 'x', '\0', '\xff', '.', '\r' };
	struct prng rng;
	struct buf first, wire, second;
	prng_init(&rng, 1);
	buf_init(&first, 1000);
	buf_init(&wire, 1000);
	buf_init(&second, 2000);
	for (int i = 0; i < 20000; i++) {
		char in[40];
		size_t n = prng_below(&rng, sizeof(in) - 5);
		for (size_t j = 0; j < n; j++)
			in[j] = ALPHABET[prng_below(&rng, sizeof(ALPHABET))];
		memcpy(in + n, "\r\n.\r\n", 5);
		struct dot_decoder d;
		struct dot_encoder e;
		buf_clear(&first);
		buf_clear(&wire);
		buf_clear(&second);
		dot_decoder_init(&d);
		dot_decode(&d, slice_of(in, n + 5), &first);
		/* "\r" at the end of the noise leaves the tail of it no end. */
		if (!d.done)
			continue;
		dot_encoder_init(&e);
		ck_assert_int_eq(dot_encode(&e, buf_slice(&first), &wire), 0);
		ck_assert_int_eq(dot_encode_end(&e, &wire), 0);
		dot_decoder_init(&d);
		ck_assert_uint_eq(dot_decode(&d, buf_slice(&wire), &second), buf_len(&wire));
		ck_assert(d.done && !d.nul && !d.bare_newline);
		ck_assert(slice_eq(buf_slice(&first), buf_slice(&second)));
	}
	buf_fini(&first);
	buf_fini(&wire);
	buf_fini(&second);
}

END_TEST

Suite *test_dot_suite(void)
{
	Suite *s = suite_create("proto/dot");
	TCase *t = tcase_create("dot");
	tcase_add_loop_test(t, decodes, 0, ARRAY_LEN(decoded));
	tcase_add_loop_test(t, encodes, 0, ARRAY_LEN(encoded));
	tcase_add_test(t, a_full_buffer_takes_nothing);
	tcase_add_test(t, round_trips);
	suite_add_tcase(s, t);
	return s;
}
