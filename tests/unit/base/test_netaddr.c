#include "base/netaddr.h"

#include <netinet/in.h>
#include <string.h>

#include "base/err.h"
#include "lib/unit.h"

static const struct {
	const char *text;
	const char *shown; /* NULL: ERR_SYNTAX */
} ips[] = {
	{ "192.0.2.1", "192.0.2.1" },
	{ "[192.0.2.1]", "192.0.2.1" },
	{ "2001:db8::1", "2001:db8::1" },
	{ "[2001:DB8:0:0::1]", "2001:db8::1" },
	{ "::", "::" },
	{ "::ffff:10.1.2.3", "10.1.2.3" },
	{ "::ffff:a01:203", "10.1.2.3" },
	{ "0:0:0:0:0:ffff:127.0.0.1", "127.0.0.1" },
	{ "64:ff9b::192.0.2.1", "64:ff9b::c000:201" },
	{ "", NULL },
	{ "[]", NULL },
	{ "[", NULL },
	{ "[::1", NULL },
	{ "::1]", NULL },
	{ "[[::1]]", NULL },
	{ "192.0.2", NULL },
	{ "192.0.2.256", NULL },
	{ "192.0.2.01", NULL },
	{ "0x7f.1", NULL },
	{ "192.0.2.1 ", NULL },
	{ " 192.0.2.1", NULL },
	{ "192.0.2.1:25", NULL },
	{ "fe80::1%eth0", NULL },
	{ ":::", NULL },
	{ "1:2:3:4:5:6:7:8:9", NULL },
	{ "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", NULL },
	{ "localhost", NULL },
};

START_TEST(parses_ips)
{
	struct netaddr a = { .family = NETADDR_NONE };
	char text[NETADDR_TEXT_MAX];
	int r = netaddr_parse_ip(slice_str(ips[_i].text), &a);
	ck_assert_int_eq(r, ips[_i].shown ? 0 : ERR_SYNTAX);
	ck_assert_str_eq(netaddr_format_ip(&a, text), ips[_i].shown ? ips[_i].shown : "-");
	ck_assert_uint_eq(a.port, 0);
}

END_TEST

START_TEST(sees_a_hidden_nul)
{
	struct netaddr a;
	struct netaddr_net n;
	ck_assert_int_eq(netaddr_parse_ip(SLICE("192.0.2.1\0x"), &a), ERR_SYNTAX);
	ck_assert_int_eq(netaddr_parse(SLICE("192.0.2.1\0:25"), 0, &a), ERR_SYNTAX);
	ck_assert_int_eq(netaddr_parse_net(SLICE("10.0.0.0\0/8"), &n), ERR_SYNTAX);
	ck_assert_int_eq(netaddr_parse_ip(SLICE_NONE, &a), ERR_SYNTAX);
}

END_TEST

static const struct {
	const char *text;
	uint16_t default_port;
	int r;
	const char *shown;
} endpoints[] = {
	{ "1.2.3.4:25", 0, 0, "1.2.3.4:25" },
	{ "1.2.3.4:25", 587, 0, "1.2.3.4:25" },
	{ "[::]:587", 0, 0, "[::]:587" },
	{ "[::1]", 25, 0, "[::1]:25" },
	{ "::1", 25, 0, "[::1]:25" },
	{ "1.2.3.4", 25, 0, "1.2.3.4:25" },
	{ "[1.2.3.4]:25", 0, 0, "1.2.3.4:25" },
	{ "[::ffff:1.2.3.4]:25", 0, 0, "1.2.3.4:25" },
	{ "2001:db8::1:25", 7, 0, "[2001:db8::1:25]:7" },
	{ "1.2.3.4:65535", 0, 0, "1.2.3.4:65535" },
	{ "1.2.3.4:65536", 0, ERR_RANGE, NULL },
	{ "1.2.3.4:0", 0, ERR_RANGE, NULL },
	{ "1.2.3.4", 0, ERR_SYNTAX, NULL },
	{ "::1", 0, ERR_SYNTAX, NULL },
	{ "[::1]", 0, ERR_SYNTAX, NULL },
	{ "1.2.3.4:", 25, ERR_SYNTAX, NULL },
	{ "[::1]:", 25, ERR_SYNTAX, NULL },
	{ "[::1]25", 25, ERR_SYNTAX, NULL },
	{ "[::1]x:25", 25, ERR_SYNTAX, NULL },
	{ "1.2.3.4:2x", 25, ERR_SYNTAX, NULL },
	{ "1.2.3.4:-1", 25, ERR_SYNTAX, NULL },
	{ "1.2.3.4:99999999999999999999", 25, ERR_SYNTAX, NULL },
	{ ":25", 25, ERR_SYNTAX, NULL },
	{ "", 25, ERR_SYNTAX, NULL },
	{ "mx.example:25", 0, ERR_SYNTAX, NULL },
};

START_TEST(parses_endpoints)
{
	struct netaddr a = { .family = NETADDR_NONE };
	char text[NETADDR_TEXT_MAX];
	int r = netaddr_parse(slice_str(endpoints[_i].text), endpoints[_i].default_port, &a);
	ck_assert_int_eq(r, endpoints[_i].r);
	ck_assert_str_eq(netaddr_format(&a, text), endpoints[_i].shown ? endpoints[_i].shown : "-");
}

END_TEST

static struct netaddr addr(const char *text)
{
	struct netaddr a;
	ck_assert_int_eq(netaddr_parse(slice_str(text), 25, &a), 0);
	return a;
}

/* ::ffff:a.b.c.d as one gets it from a record, not through the parser. */
static struct netaddr mapped(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct netaddr){ .family = NETADDR_V6,
		.ip = { [10] = 0xff, [11] = 0xff, [12] = a, [13] = b, [14] = c, [15] = d } };
}

START_TEST(crosses_sockaddrs)
{
	static const char *const texts[] = { "192.0.2.1:2525", "[2001:db8::1]:465" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct netaddr a = addr(texts[i]);
		struct netaddr back;
		struct sockaddr_storage ss;
		char text[NETADDR_TEXT_MAX];
		ck_assert_uint_eq(netaddr_to_sockaddr(&a, &ss),
		    i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
		netaddr_from_sockaddr(&back, (struct sockaddr *)&ss);
		ck_assert_str_eq(netaddr_format(&back, text), texts[i]);
	}
}

END_TEST

START_TEST(unmaps_sockaddrs)
{
	struct sockaddr_storage ss;
	struct netaddr a = mapped(10, 0, 0, 1);
	struct netaddr back;
	char text[NETADDR_TEXT_MAX];
	a.port = 7;
	netaddr_to_sockaddr(&a, &ss);
	netaddr_from_sockaddr(&back, (struct sockaddr *)&ss);
	ck_assert_str_eq(netaddr_format(&back, text), "10.0.0.1:7");
	struct sockaddr un = { .sa_family = AF_UNIX };
	netaddr_from_sockaddr(&back, &un);
	ck_assert_str_eq(netaddr_format(&back, text), "unix");
	ck_assert_uint_eq(netaddr_to_sockaddr(&back, &ss), 0);
	un.sa_family = AF_UNSPEC;
	netaddr_from_sockaddr(&back, &un);
	ck_assert_uint_eq(back.family, NETADDR_NONE);
}

END_TEST

START_TEST(compares_ips)
{
	struct netaddr a = addr("10.0.0.1:1");
	struct netaddr b = addr("10.0.0.1:2");
	struct netaddr c = mapped(10, 0, 0, 1);
	struct netaddr d = addr("::1");
	struct netaddr none = { .family = NETADDR_NONE };
	ck_assert(netaddr_eq_ip(&a, &b));
	ck_assert(netaddr_eq_ip(&a, &c));
	ck_assert(netaddr_eq_ip(&d, &d));
	ck_assert(!netaddr_eq_ip(&a, &d));
	ck_assert(!netaddr_eq_ip(&none, &none));
}

END_TEST

static const struct {
	const char *text;
	bool is_loopback;
	bool is_undialable;
} kinds[] = {
	{ "127.0.0.1", true, false },
	{ "127.255.0.9", true, false },
	{ "::1", true, false },
	{ "::2", false, false },
	{ "0.0.0.0", false, true },
	{ "0.1.2.3", false, true },
	{ "169.254.1.1", false, true },
	{ "169.253.1.1", false, false },
	{ "223.255.255.255", false, false },
	{ "224.0.0.1", false, true },
	{ "239.1.1.1", false, true },
	{ "240.0.0.1", false, false },
	{ "255.255.255.255", false, true },
	{ "10.0.0.1", false, false },
	{ "::", false, true },
	{ "fe80::1", false, true },
	{ "febf::1", false, true },
	{ "fec0::1", false, false },
	{ "ff02::1", false, true },
	{ "2001:db8::1", false, false },
};

START_TEST(knows_kinds)
{
	struct netaddr a = addr(kinds[_i].text);
	ck_assert_int_eq(netaddr_is_loopback(&a), kinds[_i].is_loopback);
	ck_assert_int_eq(netaddr_is_undialable(&a), kinds[_i].is_undialable);
}

END_TEST

START_TEST(is_not_fooled_by_mapped_ones)
{
	struct netaddr loopback = mapped(127, 0, 0, 1);
	struct netaddr link_local = mapped(169, 254, 0, 1);
	struct netaddr none = { .family = NETADDR_NONE };
	struct netaddr un = { .family = NETADDR_UNIX };
	ck_assert(netaddr_is_loopback(&loopback));
	ck_assert(netaddr_is_undialable(&link_local));
	ck_assert(netaddr_is_undialable(&none));
	ck_assert(!netaddr_is_undialable(&un));
	ck_assert(!netaddr_is_loopback(&un));
}

END_TEST

static const struct {
	const char *net;
	int r;
	const char *in;
	const char *out;
} nets[] = {
	{ "10.0.0.0/8", 0, "10.255.0.1", "11.0.0.0" },
	{ "192.0.2.128/25", 0, "192.0.2.200", "192.0.2.127" },
	{ "192.0.2.8/29", 0, "192.0.2.15", "192.0.2.16" },
	{ "192.0.2.1", 0, "192.0.2.1", "192.0.2.2" },
	{ "192.0.2.1/32", 0, "192.0.2.1", "192.0.2.0" },
	{ "0.0.0.0/0", 0, "203.0.113.1", "::1" },
	{ "::/0", 0, "2001:db8::1", "192.0.2.1" },
	{ "2001:db8::/33", 0, "2001:db8:7fff::", "2001:db8:8000::" },
	{ "::1", 0, "::1", "::2" },
	{ "::ffff:10.0.0.0/104", 0, "10.1.1.1", "11.1.1.1" },
	{ "::ffff:10.0.0.1", 0, "10.0.0.1", "10.0.0.2" },
	{ "[2001:db8::]/32", 0, "2001:db8::9", "2001:db9::9" },
	{ "::ffff:0.0.0.0/95", ERR_RANGE, NULL, NULL },
	{ "10.0.0.1/8", ERR_SYNTAX, NULL, NULL },
	{ "2001:db8::1/64", ERR_SYNTAX, NULL, NULL },
	{ "1.0.0.0/0", ERR_SYNTAX, NULL, NULL },
	{ "10.0.0.0/33", ERR_RANGE, NULL, NULL },
	{ "::/129", ERR_RANGE, NULL, NULL },
	{ "10.0.0.0/", ERR_SYNTAX, NULL, NULL },
	{ "10.0.0.0/a", ERR_SYNTAX, NULL, NULL },
	{ "10.0.0.0/8/8", ERR_SYNTAX, NULL, NULL },
	{ "10/8", ERR_SYNTAX, NULL, NULL },
	{ "", ERR_SYNTAX, NULL, NULL },
};

START_TEST(knows_networks)
{
	struct netaddr_net n;
	ck_assert_int_eq(netaddr_parse_net(slice_str(nets[_i].net), &n), nets[_i].r);
	if (nets[_i].r < 0)
		return;
	struct netaddr in = addr(nets[_i].in);
	struct netaddr out = addr(nets[_i].out);
	ck_assert(netaddr_in_net(&in, &n));
	ck_assert(!netaddr_in_net(&out, &n));
	struct netaddr un = { .family = NETADDR_UNIX };
	ck_assert(!netaddr_in_net(&un, &n));
}

END_TEST

Suite *test_netaddr_suite(void)
{
	Suite *s = suite_create("base/netaddr");
	TCase *t = tcase_create("netaddr");
	tcase_add_loop_test(t, parses_ips, 0, ARRAY_LEN(ips));
	tcase_add_test(t, sees_a_hidden_nul);
	tcase_add_loop_test(t, parses_endpoints, 0, ARRAY_LEN(endpoints));
	tcase_add_test(t, crosses_sockaddrs);
	tcase_add_test(t, unmaps_sockaddrs);
	tcase_add_test(t, compares_ips);
	tcase_add_loop_test(t, knows_kinds, 0, ARRAY_LEN(kinds));
	tcase_add_test(t, is_not_fooled_by_mapped_ones);
	tcase_add_loop_test(t, knows_networks, 0, ARRAY_LEN(nets));
	suite_add_tcase(s, t);
	return s;
}
