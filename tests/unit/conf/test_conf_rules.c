/* Lists of rules, and looking things up in them. */
#include <string.h>

#include "lib/unit.h"
#include "unit/conf/folder.h"

START_TEST(listeners)
{
	struct conf *c =
	    folder_conf("listen = ( { address = \"127.0.0.1:2525\"; tls = \"none\"; },\n"
			"  { address = \"[::1]:2525\"; tls = \"none\"; auth = \"required\"; } );");
	ck_assert_uint_eq(c->listen_n, 2);
	ck_assert_int_eq(c->listen[0].address.family, NETADDR_V4);
	ck_assert_uint_eq(c->listen[0].address.port, 2525);
	ck_assert_int_eq(c->listen[0].tls, CONF_LISTEN_TLS_NONE);
	ck_assert(!c->listen[0].auth_required);
	ck_assert_int_eq(c->listen[1].address.family, NETADDR_V6);
	ck_assert(c->listen[1].auth_required);
	conf_unref(&c);
	c = folder_conf("listen = ( );");
	ck_assert_uint_eq(c->listen_n, 0);
	conf_unref(&c);
}

END_TEST

START_TEST(routes)
{
	struct conf *c =
	    folder_conf("routes = ( { domain = \"Corp.Example\"; mx = [ "
			"\"smtp://u:p%40@10.1.2.3:587\", \"b.example\" ];\n"
			"    tls = \"verify\"; bind = \"192.0.2.1\"; helo = \"Out.Example\"; },\n"
			"  { domain = \".corp.example\"; tls = \"none\"; },\n"
			"  { domain = \"b\xc3\xbc\x63her.example\"; mx = \"[2001:db8::1]:26\"; },\n"
			"  { domain = \"*\"; mx = ( \"unix:/lmtp\" ); } );");
	ck_assert_uint_eq(c->routes_n, 4);
	const struct route *r = route_find(c->routes, c->routes_n, SLICE("corp.example"));
	ck_assert_ptr_eq(r, &c->routes[0]);
	ck_assert_uint_eq(r->hops_n, 2);
	ck_assert_str_eq(r->hops[0].host, "10.1.2.3");
	ck_assert_uint_eq(r->hops[0].port, 587);
	ck_assert_str_eq(r->hops[0].user, "u");
	ck_assert_str_eq(r->hops[0].password, "p@");
	ck_assert_str_eq(r->hops[1].host, "b.example");
	ck_assert(r->has_bind);
	ck_assert_str_eq(r->helo, "out.example");
	r = route_find(c->routes, c->routes_n, SLICE("a.corp.example"));
	ck_assert_ptr_eq(r, &c->routes[1]);
	ck_assert_uint_eq(r->hops_n, 0);
	ck_assert(!r->has_bind);
	ck_assert_str_eq(r->helo, "");
	r = route_find(c->routes, c->routes_n, SLICE("xn--bcher-kva.example"));
	ck_assert_ptr_eq(r, &c->routes[2]);
	r = route_find(c->routes, c->routes_n, SLICE("other.test"));
	ck_assert_str_eq(r->hops[0].unix_path, "/lmtp");
	ck_assert(r->hops[0].lmtp);
	conf_unref(&c);
}

END_TEST

START_TEST(traffic)
{
	struct conf *c = folder_conf("traffic = ( { site = \"default\"; connections = 7; },\n"
				     "  { site = \"a.big.example\"; connections = 1; },\n"
				     "  { site = \"*.big.example\"; connections = 2; },\n"
				     "  { site = \"plain.example\"; } );");
	ck_assert_uint_eq(conf_find_traffic(c, SLICE("a.big.example"))->connections, 1);
	ck_assert_uint_eq(conf_find_traffic(c, SLICE("b.big.example"))->connections, 2);
	ck_assert_uint_eq(conf_find_traffic(c, SLICE("plain.example"))->connections, 7);
	ck_assert_uint_eq(conf_find_traffic(c, SLICE("other.example"))->connections, 7);
	conf_unref(&c);
	c = folder_conf("");
	ck_assert_uint_eq(conf_find_traffic(c, SLICE("other.example"))->connections, 20);
	ck_assert_str_eq(conf_find_traffic(c, SLICE(""))->site, "default");
	conf_unref(&c);
}

END_TEST

/* By kind, not by place: the domain's own, a pattern for it, its hosts, the rest. */
START_TEST(traffic_by_mx)
{
	struct conf *c = folder_conf("traffic = ( { site = \"*.mx.example\"; connections = 1; },\n"
				     "  { site = \"a.mx.example\"; connections = 2; },\n"
				     "  { site = \"*.corp.example\"; connections = 3; },\n"
				     "  { site = \"own.corp.example\"; connections = 4; } );");
	const struct slice hosts[] = { SLICE("mail.else.example"), SLICE("A.mx.example") };

	const struct {
		const char *domain;
		size_t hosts_n;
		unsigned connections;
	} cases[] = {
		{ "own.corp.example", 2, 4 },
		{ "x.corp.example", 2, 3 },
		{ "other.example", 2, 1 }, /* the first in the file that a host matches */
		{ "other.example", 1, 20 },
		{ "other.example", 0, 20 },
		{ "a.mx.example", 0, 2 },
		{ "mx.example", 0, 20 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_uint_eq(conf_find_traffic_mx(c, slice_str(cases[i].domain), hosts,
				      cases[i].hosts_n)
				      ->connections,
		    cases[i].connections);
	conf_unref(&c);
}

END_TEST

START_TEST(traffic_inherits)
{
	struct conf *c = folder_conf(
	    "traffic = ( { site = \"a.example\"; idle_timeout = 0; },\n"
	    "  { site = \"*\"; deliveries_per_connection = 7; rate = \"9/1m\"; idle_timeout = "
	    "\"1m\"; pipelining = false; },\n"
	    "  { site = \"b.example\"; connection_age = \"1h\"; "
	    "pipelining = true; chunking = false; } );");
	const struct conf_traffic *t = conf_find_traffic(c, SLICE("a.example"));
	ck_assert_uint_eq(t->connections, 20);
	ck_assert_uint_eq(t->deliveries_per_connection, 7);
	ck_assert_int_eq(t->idle_timeout_s, 0);
	ck_assert_int_eq(t->connection_age_s, 300);
	ck_assert(!t->pipelining);
	ck_assert(t->chunking);
	t = conf_find_traffic(c, SLICE("b.example"));
	ck_assert_uint_eq(t->deliveries_per_connection, 7);
	ck_assert_uint_eq(t->rate.count, 9);
	ck_assert_int_eq(t->rate.period_s, 60);
	ck_assert_uint_eq(t->connection_rate.count, 0);
	ck_assert_int_eq(t->idle_timeout_s, 60);
	ck_assert_int_eq(t->connection_age_s, 3600);
	ck_assert(t->pipelining);
	ck_assert(!t->chunking);
	ck_assert_str_eq(conf_find_traffic(c, SLICE("c.example"))->site, "default");
	ck_assert_int_eq(conf_find_traffic(c, SLICE("c.example"))->idle_timeout_s, 60);
	conf_unref(&c);
}

END_TEST

START_TEST(tls_levels)
{
	struct conf *c =
	    folder_conf("routes = ( { domain = \"r.example\"; tls = \"encrypt\"; }, { domain = "
			"\"bank.example\"; } );\n"
			"tls_policy = ( { domain = \"bank.example\"; level = \"verify\"; },\n"
			"  { domain = \"r.example\"; level = \"none\"; }, { domain = "
			"\"*.old.example\"; level = \"none\"; } "
			");");
	ck_assert_int_eq(conf_find_tls_level(c, &c->routes[0], SLICE("r.example")),
	    TLS_LEVEL_ENCRYPT);
	ck_assert_int_eq(conf_find_tls_level(c, &c->routes[1], SLICE("bank.example")),
	    TLS_LEVEL_VERIFY);
	ck_assert_int_eq(conf_find_tls_level(c, NULL, SLICE("bank.example")), TLS_LEVEL_VERIFY);
	ck_assert_int_eq(conf_find_tls_level(c, NULL, SLICE("x.old.example")), TLS_LEVEL_NONE);
	ck_assert_int_eq(conf_find_tls_level(c, NULL, SLICE("other.example")), TLS_LEVEL_MAY);
	conf_unref(&c);
	c = folder_conf("outbound = { enable_tls = false; };");
	ck_assert_int_eq(conf_find_tls_level(c, NULL, SLICE("other.example")), TLS_LEVEL_NONE);
	conf_unref(&c);
}

END_TEST

Suite *test_conf_rules_suite(void)
{
	Suite *s = suite_create("conf_rules");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, folder_make, folder_remove);
	tcase_add_test(tc, listeners);
	tcase_add_test(tc, routes);
	tcase_add_test(tc, traffic);
	tcase_add_test(tc, traffic_by_mx);
	tcase_add_test(tc, traffic_inherits);
	tcase_add_test(tc, tls_levels);
	suite_add_tcase(s, tc);
	return s;
}
