#include "base/codec.h"

#include <string.h>

#include "base/err.h"
#include "base/prng.h"
#include "lib/unit.h"

typedef int codec_fn(struct buf *out, struct slice in);

/* Runs fn after "x" and checks what follows it; want NULL: ERR_SYNTAX, and nothing was added. */
static void assert_codec(codec_fn *fn, struct slice in, const struct slice *want)
{
	struct buf out;
	buf_init(&out, 1000);
	ck_assert_int_eq(buf_add_char(&out, 'x'), 0);
	ck_assert_int_eq(fn(&out, in), want ? 0 : ERR_SYNTAX);
	buf_consume(&out, 1);
	ck_assert(slice_eq(buf_slice(&out), want ? *want : SLICE_NONE));
	buf_fini(&out);
}

static const struct {
	struct slice plain;
	struct slice coded;
} base64_rows[] = {
	/* RFC 4648 10, and bytes beyond ASCII */
	{ { "", 0 }, { "", 0 } },
	{ { "f", 1 }, { "Zg==", 4 } },
	{ { "fo", 2 }, { "Zm8=", 4 } },
	{ { "foo", 3 }, { "Zm9v", 4 } },
	{ { "foob", 4 }, { "Zm9vYg==", 8 } },
	{ { "fooba", 5 }, { "Zm9vYmE=", 8 } },
	{ { "foobar", 6 }, { "Zm9vYmFy", 8 } },
	{ { "\0user\0\xff\xfe\xfb", 9 }, { "AHVzZXIA//77", 12 } },
	{ { "\xfb\xf0", 2 }, { "+/A=", 4 } },
};

START_TEST(base64_both_ways)
{
	assert_codec(codec_base64_encode, base64_rows[_i].plain, &base64_rows[_i].coded);
	assert_codec(codec_base64_decode, base64_rows[_i].coded, &base64_rows[_i].plain);
}

END_TEST

static const char *const base64_bad[] = { "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9v=", "Zm9 ",
	"Zm9v\n", "Zh==", "Zm9=", "Z-9v", "Z_9v", "=Zm9", "Z=m9", "Zg=v", "\xc0m9v",
	"Zm9vZg==Zm9v" };

START_TEST(base64_is_strict)
{
	assert_codec(codec_base64_decode, slice_str(base64_bad[_i]), NULL);
}

END_TEST

START_TEST(hex)
{
	assert_codec(codec_hex_encode, SLICE("\x00\x0f\xa5\xff"), &SLICE("000fa5ff"));
	assert_codec(codec_hex_encode, SLICE_NONE, &SLICE(""));
}

END_TEST

static const struct {
	struct slice plain;
	struct slice coded;
} xtext_rows[] = {
	{ { "", 0 }, { "", 0 } },
	{ { "Bob@Example.com", 15 }, { "Bob@Example.com", 15 } },
	{ { "a+b=c", 5 }, { "a+2Bb+3Dc", 9 } },
	{ { "a b\n\x7f", 5 }, { "a+20b+0A+7F", 11 } },
	{ { "\0\xff", 2 }, { "+00+FF", 6 } },
};

START_TEST(xtext_both_ways)
{
	assert_codec(codec_xtext_encode, xtext_rows[_i].plain, &xtext_rows[_i].coded);
	assert_codec(codec_xtext_decode, xtext_rows[_i].coded, &xtext_rows[_i].plain);
}

END_TEST

static const char *const xtext_bad[] = { "+", "a+", "a+4", "+4G", "+2b", "++41", "a=b", "a b",
	"a\r", "\x7f", "\xc3\xa4", "+-1" };

START_TEST(xtext_is_strict)
{
	assert_codec(codec_xtext_decode, slice_str(xtext_bad[_i]), NULL);
	assert_codec(codec_xtext_decode, SLICE("+41"), &SLICE("A")); /* needless, but xtext */
}

END_TEST

START_TEST(limit_leaves_out_alone)
{
	static codec_fn *const fns[] = { codec_base64_encode, codec_hex_encode,
		codec_xtext_encode };
	struct buf out;
	for (size_t i = 0; i < ARRAY_LEN(fns); i++) {
		buf_init(&out, 7);
		ck_assert_int_eq(buf_add_str(&out, "12"), 0);
		ck_assert_int_eq(fns[i](&out, SLICE("++++++")), ERR_TOO_BIG);
		ck_assert_str_eq(buf_cstr(&out), "12");
		buf_fini(&out);
	}
	buf_init(&out, 2);
	ck_assert_int_eq(codec_base64_decode(&out, SLICE("Zm9v")), ERR_TOO_BIG);
	ck_assert_int_eq(codec_xtext_decode(&out, SLICE("abc")), ERR_TOO_BIG);
	ck_assert_int_eq(codec_xtext_decode(&out, SLICE("+41+41+41")), ERR_TOO_BIG);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_fini(&out);
}

END_TEST

typedef uint32_t crc_fn(uint32_t crc, const void *p, size_t n);

static crc_fn *const crc_fns[] = { codec_crc32c, codec_crc32c_portable };

/* RFC 3720 B.4 and the usual check value. */
START_TEST(crc32c_vectors)
{
	crc_fn *crc = crc_fns[_i];
	unsigned char bytes[32];
	ck_assert_uint_eq(crc(0, NULL, 0), 0);
	ck_assert_uint_eq(crc(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)i;
	ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x46dd794e);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(31 - i);
	ck_assert_uint_eq(crc(0, bytes, sizeof(bytes)), 0x113fdb5c);
}

END_TEST

/* Long enough for whole blocks of stripes, from any offset. */
START_TEST(crc32c_in_pieces)
{
	unsigned char bytes[2000];
	struct prng r;
	prng_init(&r, 1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)prng_next(&r);
	uint32_t whole = codec_crc32c(0, bytes, sizeof(bytes));
	for (size_t at = 0; at <= sizeof(bytes); at++) {
		uint32_t a = codec_crc32c(0, bytes, at);
		ck_assert_uint_eq(codec_crc32c_portable(0, bytes, at), a);
		ck_assert_uint_eq(codec_crc32c(a, bytes + at, sizeof(bytes) - at), whole);
		ck_assert_uint_eq(codec_crc32c_portable(a, bytes + at, sizeof(bytes) - at), whole);
	}
}

END_TEST

START_TEST(integers_are_little_endian)
{
	unsigned char p[9] = { 0 };
	codec_put_u16(p + 1, 0x1234);
	ck_assert_int_eq(memcmp(p, "\0\x34\x12\0", 4), 0);
	ck_assert_uint_eq(codec_get_u16(p + 1), 0x1234);
	codec_put_u32(p + 1, 0xdeadbeef);
	ck_assert_int_eq(memcmp(p, "\0\xef\xbe\xad\xde\0", 6), 0);
	ck_assert_uint_eq(codec_get_u32(p + 1), 0xdeadbeef);
	codec_put_u64(p + 1, 0x0123456789abcdef);
	ck_assert_int_eq(memcmp(p, "\0\xef\xcd\xab\x89\x67\x45\x23\x01", 9), 0);
	ck_assert_uint_eq(codec_get_u64(p + 1), 0x0123456789abcdef);
}

END_TEST

Suite *test_codec_suite(void)
{
	Suite *s = suite_create("base/codec");
	TCase *t = tcase_create("codec");
	tcase_add_loop_test(t, base64_both_ways, 0, ARRAY_LEN(base64_rows));
	tcase_add_loop_test(t, base64_is_strict, 0, ARRAY_LEN(base64_bad));
	tcase_add_test(t, hex);
	tcase_add_loop_test(t, xtext_both_ways, 0, ARRAY_LEN(xtext_rows));
	tcase_add_loop_test(t, xtext_is_strict, 0, ARRAY_LEN(xtext_bad));
	tcase_add_test(t, limit_leaves_out_alone);
	tcase_add_loop_test(t, crc32c_vectors, 0, ARRAY_LEN(crc_fns));
	tcase_add_test(t, crc32c_in_pieces);
	tcase_add_test(t, integers_are_little_endian);
	suite_add_tcase(s, t);
	return s;
}
