#include "proto/path.h"

#include <string.h>

#include "lib/unit.h"

unit_suite_fn test_path_suite;

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define X63 X60 "xxx"

static const struct {
	struct slice in;
	const char *address; /* NULL: refused */
	const char *domain;
	const char *rest;
} paths[] = {
	{ SLICE("<a@b>"), "a@b", "b", "" },
	{ SLICE("<a@b> SIZE=1 SIZE=2"), "a@b", "b", " SIZE=1 SIZE=2" },
	{ SLICE("<a@b>x"), "a@b", "b", "x" },
	{ SLICE("<@c,@d:a@b>"), "a@b", "b", "" },
	{ SLICE("<@[127.0.0.1]:a@b>"), "a@b", "b", "" },
	{ SLICE("<\"a b\"@c>"), "\"a b\"@c", "c", "" },
	{ SLICE("<\"a\\\"b\"@c>"), "\"a\\\"b\"@c", "c", "" },
	{ SLICE("<\"a>b\"@c>"), "\"a>b\"@c", "c", "" },
	{ SLICE("<\"\"@c>"), "\"\"@c", "c", "" },
	{ SLICE("<\"\\\\\xc3\xa9\"@c>"), "\"\\\\\xc3\xa9\"@c", "c", "" },
	{ SLICE("<a@[127.0.0.1]>"), "a@[127.0.0.1]", "[127.0.0.1]", "" },
	{ SLICE("<a@[IPv6:::1]>"), "a@[IPv6:::1]", "[IPv6:::1]", "" },
	{ SLICE("<A.b!#$%&'*+-/=?^_`{|}~@X.Y>"), "A.b!#$%&'*+-/=?^_`{|}~@X.Y", "X.Y", "" },
	{ SLICE("<a@under_score.test>"), "a@under_score.test", "under_score.test", "" },
	{ SLICE("<\xc3\xa9@\xc3\xa9.test>"), "\xc3\xa9@\xc3\xa9.test", "\xc3\xa9.test", "" },
	{ SLICE("<" X60 "abcd@b>"), X60 "abcd@b", "b", "" },
	{ SLICE("<a@" X63 ".b>"), "a@" X63 ".b", X63 ".b", "" },
	{ SLICE("<" X60 "abcde@b>"), NULL, NULL, NULL },
	{ SLICE("<a@" X63 "x.b>"), NULL, NULL, NULL },
	{ SLICE("<a@" X63 "." X63 "." X63 "." X63 ">"), NULL, NULL, NULL },
	{ SLICE("<" X60 "@" X60 "." X60 "." X60 "." X10 "x>"), NULL, NULL, NULL },
	{ SLICE("<a@b..c>"), NULL, NULL, NULL },
	{ SLICE("<a@b.>"), NULL, NULL, NULL },
	{ SLICE("<a@.b>"), NULL, NULL, NULL },
	{ SLICE("<a@-b>"), NULL, NULL, NULL },
	{ SLICE("<a@b->"), NULL, NULL, NULL },
	{ SLICE("<a@>"), NULL, NULL, NULL },
	{ SLICE("<@b>"), NULL, NULL, NULL },
	{ SLICE("<@c:@d>"), NULL, NULL, NULL },
	{ SLICE("<@c,a@b>"), NULL, NULL, NULL },
	{ SLICE("<@c,>"), NULL, NULL, NULL },
	{ SLICE("<@"), NULL, NULL, NULL },
	{ SLICE("<a>"), NULL, NULL, NULL },
	{ SLICE("<;sleep 66;>"), NULL, NULL, NULL },
	{ SLICE("<.a@b>"), NULL, NULL, NULL },
	{ SLICE("<a.@b>"), NULL, NULL, NULL },
	{ SLICE("<a..b@c>"), NULL, NULL, NULL },
	{ SLICE("<a b@c>"), NULL, NULL, NULL },
	{ SLICE("<a@b c>"), NULL, NULL, NULL },
	{ SLICE("<a@b@c>"), NULL, NULL, NULL },
	{ SLICE("<\"a\"b@c>"), NULL, NULL, NULL },
	{ SLICE("<\"a@c>"), NULL, NULL, NULL },
	{ SLICE("<\"a\\"), NULL, NULL, NULL },
	{ SLICE("<\"a\tb\"@c>"), NULL, NULL, NULL },
	{ SLICE("<\"a\\\tb\"@c>"), NULL, NULL, NULL },
	{ SLICE("<\"\\\xc3\xa9\"@c>"), NULL, NULL, NULL },
	{ SLICE("<a\0b@c>"), NULL, NULL, NULL },
	{ SLICE("<a@b\0c>"), NULL, NULL, NULL },
	{ SLICE("<a@b"), NULL, NULL, NULL },
	{ SLICE("<"), NULL, NULL, NULL },
	{ SLICE(""), NULL, NULL, NULL },
	{ SLICE("a@b"), NULL, NULL, NULL },
	{ SLICE(" <a@b>"), NULL, NULL, NULL },
	{ SLICE("<<a@b>>"), NULL, NULL, NULL },
	{ SLICE("<a@[127.0.0]>"), NULL, NULL, NULL },
	{ SLICE("<a@[::1]>"), NULL, NULL, NULL },
	{ SLICE("<a@[IPv6:127.0.0.1]>"), NULL, NULL, NULL },
	{ SLICE("<a@[IPv6:[::1]]>"), NULL, NULL, NULL },
	{ SLICE("<a@[127.0.0.1>"), NULL, NULL, NULL },
	{ SLICE("<a@[]>"), NULL, NULL, NULL },
	{ SLICE("<\xc3@b>"), NULL, NULL, NULL },
	{ SLICE("<\xc0\xaf@b>"), NULL, NULL, NULL },
	{ SLICE("<\xed\xa0\x80@b>"), NULL, NULL, NULL },
	{ SLICE("<a\xc2\x85@b>"), NULL, NULL, NULL },
	{ SLICE("<a@\xff.test>"), NULL, NULL, NULL },
};

START_TEST(parses_paths)
{
	struct path p;
	struct slice rest;
	struct errbuf eb = { "" };
	int r = path_parse(paths[_i].in, false, false, &p, &rest, &eb);
	if (!paths[_i].address) {
		ck_assert_int_eq(r, ERR_SYNTAX);
		ck_assert_str_ne(eb.text, "");
		return;
	}
	ck_assert_msg(r == 0, "%.*s: %s", SLICE_ARG(paths[_i].in), eb.text);
	ck_assert(slice_eq(p.address, slice_str(paths[_i].address)));
	ck_assert(slice_eq(p.domain, slice_str(paths[_i].domain)));
	ck_assert_uint_eq(p.local.n + 1 + p.domain.n, p.address.n);
	ck_assert(slice_eq(rest, slice_str(paths[_i].rest)));
	ck_assert(!p.is_null);
	ck_assert_int_eq(p.is_utf8, strstr(paths[_i].address, "\xc3") != NULL);
	/* The address alone is one, too. */
	ck_assert_int_eq(path_parse_address(p.address, &p, &eb), 0);
}

END_TEST

START_TEST(null_and_postmaster_only_where_asked_for)
{
	struct path p;
	struct slice rest;
	ck_assert_int_eq(path_parse(SLICE("<>"), true, false, &p, &rest, NULL), 0);
	ck_assert(p.is_null && p.address.n == 0 && rest.n == 0);
	ck_assert_int_eq(path_parse(SLICE("<>"), false, true, &p, &rest, NULL), ERR_SYNTAX);
	ck_assert_int_eq(path_parse(SLICE("<PostMaster>x"), false, true, &p, &rest, NULL), 0);
	ck_assert(slice_eq(p.address, SLICE("PostMaster")) && p.domain.n == 0);
	ck_assert(slice_eq(rest, SLICE("x")));
	ck_assert_int_eq(path_parse(SLICE("<postmaster>"), true, false, &p, &rest, NULL),
	    ERR_SYNTAX);
	ck_assert_int_eq(path_parse(SLICE("<postmaste>"), false, true, &p, &rest, NULL),
	    ERR_SYNTAX);
}

END_TEST

START_TEST(bare_addresses)
{
	struct path p;
	ck_assert_int_eq(path_parse_address(SLICE("a@b.c"), &p, NULL), 0);
	ck_assert(slice_eq(p.local, SLICE("a")) && slice_eq(p.domain, SLICE("b.c")));
	ck_assert_int_eq(path_parse_address(SLICE("a@b.c "), &p, NULL), ERR_SYNTAX);
	ck_assert_int_eq(path_parse_address(SLICE("a@b.c>"), &p, NULL), ERR_SYNTAX);
	ck_assert_int_eq(path_parse_address(SLICE("<a@b.c>"), &p, NULL), ERR_SYNTAX);
	ck_assert_int_eq(path_parse_address(SLICE("a@b,c@d"), &p, NULL), ERR_SYNTAX);
	ck_assert_int_eq(path_parse_address(SLICE(""), &p, NULL), ERR_SYNTAX);
}

END_TEST

static const struct {
	struct slice in;
	const char *out; /* NULL: refused */
} domains[] = {
	{ SLICE("Example.COM"), "example.com" },
	{ SLICE("example.com."), "example.com" },
	{ SLICE("_dmarc.A_b.test"), "_dmarc.a_b.test" },
	{ SLICE("localhost"), "localhost" },
	{ SLICE("fa\xc3\x9f.de"), "xn--fa-hia.de" },
	{ SLICE("B\xc3\xbc"
		"cher.Example"),
	    "xn--bcher-kva.example" },
	/* decomposed u and diaeresis */
	{ SLICE("bu\xcc\x88"
		"cher.example"),
	    "xn--bcher-kva.example" },
	{ SLICE("\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88"),
	    "xn--r8jz45g.xn--zckzah" },
	{ SLICE("a_b.\xc3\xa9.test"), "a_b.xn--9ca.test" },
	{ SLICE("[192.0.2.1]"), "[192.0.2.1]" },
	{ SLICE("[IPv6:2001:DB8::1]"), "[ipv6:2001:db8::1]" },
	{ SLICE(""), NULL },
	{ SLICE("."), NULL },
	{ SLICE("a..b"), NULL },
	{ SLICE("a.b.."), NULL },
	{ SLICE("\xc3\xa9..b"), NULL },
	/* an ideographic full stop that would make an empty label */
	{ SLICE("\xc3\xa9\xe3\x80\x82.b"), NULL },
	/* full-width slash, brackets; "a/c" as one character */
	{ SLICE("a\xef\xbc\x8f"
		"b.test"),
	    NULL },
	{ SLICE("\xef\xbc\xbb"
		"1\xef\xbc\xbd"),
	    NULL },
	{ SLICE("\xe2\x84\x80.test"), NULL },
	{ SLICE("\xf0\x9f\x92\xa9\xff"), NULL },
	{ SLICE("a b"), NULL },
	{ SLICE("a\0b"), NULL },
	{ SLICE("[192.0.2.1"), NULL },
};

START_TEST(domains_become_ascii)
{
	struct buf out;
	buf_init(&out, 1000);
	ck_assert_int_eq(buf_add_str(&out, "="), 0);
	int r = path_domain_to_ascii(domains[_i].in, &out);
	if (domains[_i].out) {
		ck_assert_int_eq(r, 0);
		ck_assert_str_eq(buf_cstr(&out) + 1, domains[_i].out);
	} else {
		ck_assert_int_eq(r, ERR_SYNTAX);
		ck_assert_str_eq(buf_cstr(&out), "=");
	}
	buf_fini(&out);
}

END_TEST

START_TEST(domain_lengths)
{
	/* 255 bytes and one more */
	char text[300];
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 10 == 9 ? '.' : 'x';
	ck_assert(path_is_domain(slice_of(text, 255)));
	ck_assert(!path_is_domain(slice_of(text, 256)));
	struct buf out;
	buf_init(&out, 1000);
	ck_assert_int_eq(path_domain_to_ascii(slice_of(text, 256), &out), ERR_SYNTAX);
	/* A U-label whose A-label is too long. */
	struct buf label;
	buf_init(&label, 1000);
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(buf_printf(&label, "\xc3\xa9x%c", 'a' + i % 26), 0);
	ck_assert(path_is_domain(buf_slice(&label)));
	ck_assert_int_eq(path_domain_to_ascii(buf_slice(&label), &out), ERR_SYNTAX);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_fini(&label);
	buf_fini(&out);
}

END_TEST

Suite *test_path_suite(void)
{
	Suite *s = suite_create("proto/path");
	TCase *t = tcase_create("path");
	tcase_add_loop_test(t, parses_paths, 0, ARRAY_LEN(paths));
	tcase_add_test(t, null_and_postmaster_only_where_asked_for);
	tcase_add_test(t, bare_addresses);
	tcase_add_loop_test(t, domains_become_ascii, 0, ARRAY_LEN(domains));
	tcase_add_test(t, domain_lengths);
	suite_add_tcase(s, t);
	return s;
}
