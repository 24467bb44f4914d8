#include "policy/route.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "lib/unit.h"

static const struct {
	const char *pattern, *domain;
	bool matches;
} patterns[] = {
	{ "*", "a.example", true },
	{ "corp.example", "corp.example", true },
	{ "Corp.Example", "corp.example", true },
	{ "corp.example", "a.corp.example", false },
	{ ".corp.example", "a.corp.example", true },
	{ ".corp.example", "a.b.corp.example", true },
	{ ".corp.example", "corp.example", false },
	{ ".corp.example", "xcorp.example", false },
	{ "*.corp.example", "a.corp.example", true },
	{ "*.corp.example", "corp.example", false },
	{ "*.corp.example", ".corp.example", false },
	{ "corp.example", "", false },
	{ "", "corp.example", false },
};

START_TEST(pattern)
{
	ck_assert_int_eq(route_pattern_matches(slice_str(patterns[_i].pattern),
			     slice_str(patterns[_i].domain)),
	    patterns[_i].matches);
}

END_TEST

START_TEST(first_match_wins)
{
	struct route r[3] = { { .domain = "*.example" }, { .domain = "a.example" },
		{ .domain = "b.test" } };
	ck_assert_ptr_eq(route_find(r, 3, SLICE("a.example")), &r[0]);
	ck_assert_ptr_eq(route_find(r, 3, SLICE("b.test")), &r[2]);
	ck_assert_ptr_null(route_find(r, 3, SLICE("c.test")));
	ck_assert_ptr_null(route_find(r, 0, SLICE("c.test")));
}

END_TEST

START_TEST(tls_levels)
{
	for (int l = TLS_LEVEL_NONE; l <= TLS_LEVEL_VERIFY; l++)
		ck_assert_int_eq(tls_level_parse(slice_str(tls_level_name((enum tls_level)l))), l);
	ck_assert_int_eq(tls_level_parse(SLICE("dane")), TLS_LEVEL_NONE_SET);
	ck_assert_int_eq(tls_level_parse(SLICE("default")), TLS_LEVEL_NONE_SET);
	ck_assert_int_eq(tls_level_parse(SLICE("")), TLS_LEVEL_NONE_SET);
}

END_TEST

/* "host port flags user password path"; flags: l LMTP, t TLS, - none */
static const struct {
	const char *text, *expected;
} hops[] = {
	{ "mail.example.com", "mail.example.com 25 -   " },
	{ "mail.example.com:80", "mail.example.com 80 -   " },
	{ "localhost", "localhost 25 -   " },
	{ "192.0.2.1", "192.0.2.1 25 -   " },
	{ "192.0.2.1:2525", "192.0.2.1 2525 -   " },
	{ "2001:db8::1", "2001:db8::1 25 -   " },
	{ "2001:db8::1:25", "2001:db8::1:25 25 -   " },
	{ "[2001:db8::1]", "2001:db8::1 25 -   " },
	{ "[2001:db8::1]:2525", "2001:db8::1 2525 -   " },
	{ " mail.example.com ", "mail.example.com 25 -   " },
	{ "smtp://192.0.2.2", "192.0.2.2 25 -   " },
	{ "smtp://mail.example.com/", "mail.example.com 25 -   " },
	{ "smtp://user:pass@10.1.2.3:587", "10.1.2.3 587 - user pass " },
	{ "smtp://me%40corp.example:p%3Aw%25@[2001:db8::1]",
	    "2001:db8::1 25 - me@corp.example p:w% " },
	{ "smtp://u:p@ss@mail.example.com", "mail.example.com 25 - u p@ss " },
	{ "smtp://u:a:b@mail.example.com", "mail.example.com 25 - u a:b " },
	{ "SMTPS://mail.example.com", "mail.example.com 465 t   " },
	{ "smtps://u:p@mail.example.com:4465", "mail.example.com 4465 t u p " },
	{ "lmtp://mail.example.com", "mail.example.com 24 l   " },
	{ "lmtp://u:p@[2001:db8::1]:25", "2001:db8::1 25 l u p " },
	{ "unix:/run/dovecot/lmtp", " 0 l   /run/dovecot/lmtp" },
};

START_TEST(hop)
{
	struct arena arena;
	struct route_hop h;
	struct errbuf eb;
	char text[256];
	arena_init(&arena);
	ck_assert_int_eq(route_parse_hop(slice_str(hops[_i].text), &arena, &h, &eb), 0);
	snprintf(text, sizeof(text), "%s %u %s %s %s %s", h.host, h.port,
	    h.lmtp           ? "l"
	    : h.tls_implicit ? "t"
			     : "-",
	    h.user, h.password, h.unix_path);
	ck_assert_str_eq(text, hops[_i].expected);
	arena_fini(&arena);
}

END_TEST

static const char *const bad_hops[] = {
	"",
	"  ",
	":25",
	"mail.example.com:",
	"mail.example.com:0",
	"mail.example.com:65536",
	"mail.example.com:smtp",
	"mail..example.com",
	"mail example.com",
	"[2001:db8::1",
	"[2001:db8::1]x:25",
	"[mail.example.com]:25",
	"2001:db8::zz",
	"http://mail.example.com",
	"smtp://",
	"smtp://user@mail.example.com",
	"smtp://:secret@mail.example.com",
	"smtp://user:@mail.example.com",
	"smtp://user:se%zzcret@mail.example.com",
	"smtp://user:secret%4@mail.example.com",
	"smtp://user:secret%00@mail.example.com",
	"user:secret@mail.example.com",
	"unix:",
	"unix:run/lmtp",
	"unix:/"
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
	"89012345678901234567890",
};

START_TEST(bad_hop)
{
	struct arena arena;
	struct route_hop h;
	struct errbuf eb = { { 0 } };
	arena_init(&arena);
	ck_assert_int_lt(route_parse_hop(slice_str(bad_hops[_i]), &arena, &h, &eb), 0);
	ck_assert_uint_gt(strlen(eb.text), 0);
	/* Law 7: a message never shows a password. */
	ck_assert_ptr_null(strstr(eb.text, "secret"));
	ck_assert_int_lt(route_parse_hop(slice_str(bad_hops[_i]), &arena, &h, NULL), 0);
	arena_fini(&arena);
}

END_TEST

Suite *test_route_suite(void)
{
	Suite *s = suite_create("route");
	TCase *tc = tcase_create("patterns");
	tcase_add_loop_test(tc, pattern, 0, ARRAY_LEN(patterns));
	tcase_add_test(tc, first_match_wins);
	tcase_add_test(tc, tls_levels);
	suite_add_tcase(s, tc);
	tc = tcase_create("hops");
	tcase_add_loop_test(tc, hop, 0, ARRAY_LEN(hops));
	tcase_add_loop_test(tc, bad_hop, 0, ARRAY_LEN(bad_hops));
	suite_add_tcase(s, tc);
	return s;
}
