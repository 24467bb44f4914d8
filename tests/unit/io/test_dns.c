#include "io/dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/slice.h"
#include "io/dns_server.h"
#include "lib/unit.h"
#include "unit/io/pump.h"

enum {
	SERVFAIL = 2,
	NXDOMAIN = 3,
	REFUSED = 5,
	FORMERR = 1,
	WAITING_MAX = 8,
};

struct net {
	struct loop *loop;
	struct dns_server *server;
	struct dns *dns;
	unsigned asked;                           /* of the server */
	struct dns_request *waiting[WAITING_MAX]; /* for names that begin with "later" */
	unsigned waiting_n;
	unsigned answered;
	struct dns_answer last;
	struct dns_record records[DNS_RECORDS_MAX];
};

static struct netaddr ip(const char *text)
{
	struct netaddr a = { 0 };
	ck_assert_int_eq(netaddr_parse_ip(slice_str(text), &a), 0);
	return a;
}

static void answer(struct net *n, struct dns_request *r, const char *name, int type)
{
	struct netaddr v4 = ip("192.0.2.1");
	struct netaddr v6 = ip("2001:db8::1");
	if (strcmp(name, "mx.example") == 0 && type == DNS_TYPE_MX) {
		dns_request_add_mx(r, name, 20, "B.mx.example", 120);
		dns_request_add_mx(r, name, 10, "a.mx.example", 60);
	} else if (strcmp(name, "null.example") == 0 && type == DNS_TYPE_MX) {
		dns_request_add_mx(r, name, 0, "", 60);
	} else if (strcmp(name, "alias.example") == 0) {
		dns_request_add_cname(r, name, "host.example", 30);
		if (type == DNS_TYPE_A)
			dns_request_add_a(r, "host.example", &v4, 60);
	} else if (strcmp(name, "host.example") == 0 && type == DNS_TYPE_A) {
		dns_request_add_a(r, name, &v4, 60);
	} else if (strcmp(name, "host.example") == 0 && type == DNS_TYPE_AAAA) {
		dns_request_add_a(r, name, &v6, 60);
	} else if (strcmp(name, "gone.example") == 0) {
		dns_request_send(r, NXDOMAIN);
		return;
	} else if (strcmp(name, "broken.example") == 0) {
		dns_request_send(r, SERVFAIL);
		return;
	} else if (strcmp(name, "refused.example") == 0) {
		dns_request_send(r, REFUSED);
		return;
	} else if (strcmp(name, "silent.example") == 0) {
		dns_request_drop(r);
		return;
	} else if (strncmp(name, "later", 5) == 0) {
		ck_assert_uint_lt(n->waiting_n, WAITING_MAX);
		n->waiting[n->waiting_n++] = r;
		return;
	}
	dns_request_send(r, 0);
}

static void on_request(void *arg, struct dns_request *r, const char *name, int type)
{
	struct net *n = arg;
	n->asked++;
	answer(n, r, name, type);
}

static void open_net(struct net *n, const char *before, const char *after)
{
	struct errbuf eb;
	char text[NETADDR_TEXT_MAX];
	char servers[300];
	struct netaddr addr = ip("127.0.0.1");
	memset(n, 0, sizeof(*n));
	n->loop = loop_new();
	ck_assert_msg(dns_server_new(n->loop, &addr, on_request, n, &n->server, &eb) == 0, "%s",
	    eb.text);
	ck_assert_uint_ne(dns_server_address(n->server)->port, 0);
	snprintf(servers, sizeof(servers), "%s%s%s", before,
	    netaddr_format(dns_server_address(n->server), text), after);
	struct dns_options o = { .servers = servers, .timeout_ms = 150, .tries = 2 };
	ck_assert_msg(dns_new(n->loop, &o, &n->dns, &eb) == 0, "%s", eb.text);
}

static void close_net(struct net *n)
{
	dns_free(&n->dns);
	dns_server_free(&n->server);
	loop_free(&n->loop);
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct net *n = arg;
	n->answered++;
	n->last = *a;
	for (size_t i = 0; i < a->records_n; i++)
		n->records[i] = a->records[i];
	n->last.records = n->records;
}

static bool is_answered(void *arg)
{
	const struct net *n = arg;
	return n->answered > 0;
}

static const struct dns_answer *look_up(struct net *n, const char *name, enum dns_type type)
{
	n->answered = 0;
	(void)dns_lookup(n->dns, name, type, on_answer, n);
	ck_assert_uint_eq(n->answered, 0); /* never from inside */
	pump_until(n->loop, is_answered, n);
	ck_assert_uint_eq(n->answered, 1);
	return &n->last;
}

START_TEST(the_four_outcomes)
{
	struct net n;
	open_net(&n, "", "");
	const struct dns_answer *a = look_up(&n, "MX.example", DNS_TYPE_MX);
	ck_assert_int_eq(a->outcome, DNS_OK);
	ck_assert_uint_eq(a->records_n, 2);
	ck_assert_str_eq(a->records[0].name, "b.mx.example");
	ck_assert_uint_eq(a->records[0].preference, 20);
	ck_assert_str_eq(a->records[1].name, "a.mx.example");
	ck_assert_uint_eq(a->ttl_s, 60);
	ck_assert(!a->authentic);

	a = look_up(&n, "null.example", DNS_TYPE_MX);
	ck_assert_int_eq(a->outcome, DNS_OK);
	ck_assert_uint_eq(a->records_n, 1);
	ck_assert_str_eq(a->records[0].name, "");

	a = look_up(&n, "host.example", DNS_TYPE_MX);
	ck_assert_int_eq(a->outcome, DNS_NODATA);
	ck_assert_uint_eq(a->ttl_s, 5);
	a = look_up(&n, "gone.example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_NXDOMAIN);
	ck_assert_uint_eq(a->ttl_s, 5);
	a = look_up(&n, "broken.example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_FAILED);
	ck_assert_str_eq(a->text, "SERVFAIL");
	a = look_up(&n, "refused.example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_FAILED);
	ck_assert_str_eq(a->text, "REFUSED");
	n.asked = 0;
	a = look_up(&n, "silent.example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_FAILED);
	ck_assert_str_eq(a->text, "timeout");
	ck_assert_uint_eq(n.asked, 2);
	close_net(&n);
}

END_TEST

START_TEST(addresses_and_aliases)
{
	struct net n;
	struct netaddr v4 = ip("192.0.2.1");
	struct netaddr v6 = ip("2001:db8::1");
	open_net(&n, "", "");
	const struct dns_answer *a = look_up(&n, "host.example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_OK);
	ck_assert(netaddr_eq_ip(&a->records[0].address, &v4));
	a = look_up(&n, "host.example.", DNS_TYPE_AAAA);
	ck_assert_int_eq(a->outcome, DNS_OK);
	ck_assert(netaddr_eq_ip(&a->records[0].address, &v6));
	a = look_up(&n, "Alias.Example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_OK);
	ck_assert(netaddr_eq_ip(&a->records[0].address, &v4));
	ck_assert_uint_eq(a->ttl_s, 30);
	a = look_up(&n, "alias.example", DNS_TYPE_AAAA);
	ck_assert_int_eq(a->outcome, DNS_NODATA);
	close_net(&n);
}

END_TEST

START_TEST(what_is_no_domain_is_not_asked)
{
	static const char *const names[] = { "", "a..b", "x.onion", "X.ONION.", "onion",
		"a b.example" };
	struct net n;
	open_net(&n, "", "");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ck_assert_int_eq(look_up(&n, names[i], DNS_TYPE_MX)->outcome, DNS_NXDOMAIN);
	ck_assert_uint_eq(n.asked, 0);
	close_net(&n);
}

END_TEST

START_TEST(cancelled_queries_are_silent)
{
	struct net n;
	struct dns_query *none = NULL;
	open_net(&n, "", "");
	struct dns_query *q = dns_lookup(n.dns, "host.example", DNS_TYPE_A, on_answer, &n);
	dns_cancel(&q);
	ck_assert_ptr_null(q);
	q = dns_lookup(n.dns, "a..b", DNS_TYPE_A, on_answer, &n);
	dns_cancel(&q);
	dns_cancel(&none);
	pump_for(n.loop, 100);
	ck_assert_uint_eq(n.answered, 0);
	/* And those the resolver is freed with. */
	(void)dns_lookup(n.dns, "later.example", DNS_TYPE_A, on_answer, &n);
	(void)dns_lookup(n.dns, "a..b", DNS_TYPE_A, on_answer, &n);
	q = dns_lookup(n.dns, "later.example", DNS_TYPE_AAAA, on_answer, &n);
	dns_cancel(&q);
	dns_free(&n.dns);
	ck_assert_ptr_null(n.dns);
	pump_for(n.loop, 50);
	ck_assert_uint_eq(n.answered, 0);
	close_net(&n);
}

END_TEST

static bool two_wait(void *arg)
{
	const struct net *n = arg;
	return n->waiting_n == 2;
}

static bool two_answered(void *arg)
{
	const struct net *n = arg;
	return n->answered == 2;
}

/* Answers may come late, out of order, and not at all when the server goes. */
START_TEST(the_server_may_take_its_time)
{
	struct net n;
	struct netaddr v4 = ip("192.0.2.9");
	open_net(&n, "", "");
	(void)dns_lookup(n.dns, "later1.example", DNS_TYPE_A, on_answer, &n);
	(void)dns_lookup(n.dns, "later2.example", DNS_TYPE_A, on_answer, &n);
	pump_until(n.loop, two_wait, &n);
	for (int i = 1; i >= 0; i--) {
		dns_request_add_a(n.waiting[i], i ? "later2.example" : "later1.example", &v4, 9);
		dns_request_send(n.waiting[i], 0);
	}
	pump_until(n.loop, two_answered, &n);
	ck_assert_int_eq(n.last.outcome, DNS_OK);
	n.waiting_n = 0;
	(void)dns_lookup(n.dns, "later3.example", DNS_TYPE_A, on_answer, &n);
	(void)dns_lookup(n.dns, "later4.example", DNS_TYPE_A, on_answer, &n);
	pump_until(n.loop, two_wait, &n);
	dns_server_free(&n.server);
	close_net(&n);
}

END_TEST

static void free_all(void *arg, const struct dns_answer *a)
{
	struct net *n = arg;
	(void)a;
	n->answered++;
	dns_free(&n->dns);
}

START_TEST(the_callback_may_free_the_resolver)
{
	struct net n;
	open_net(&n, "", "");
	(void)dns_lookup(n.dns, "host.example", DNS_TYPE_A, free_all, &n);
	(void)dns_lookup(n.dns, "later.example", DNS_TYPE_A, on_answer, &n);
	(void)dns_lookup(n.dns, "gone.example", DNS_TYPE_A, on_answer, &n);
	pump_until(n.loop, is_answered, &n);
	pump_for(n.loop, 20);
	ck_assert_ptr_null(n.dns);
	close_net(&n);
}

END_TEST

/* A dead first resolver costs one time-out, not one for each query. */
START_TEST(a_dead_resolver_is_remembered)
{
	struct net n;
	struct sockaddr_storage ss;
	struct netaddr dead = ip("127.0.0.1");
	char text[NETADDR_TEXT_MAX];
	char before[NETADDR_TEXT_MAX + 2];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = netaddr_to_sockaddr(&dead, &ss);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&ss, len), 0);
	len = sizeof(ss);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	netaddr_from_sockaddr(&dead, (struct sockaddr *)&ss);
	snprintf(before, sizeof(before), "%s, ", netaddr_format(&dead, text));
	open_net(&n, before, "");
	int64_t start = loop_now(n.loop).mono_ms;
	ck_assert_int_eq(look_up(&n, "host.example", DNS_TYPE_A)->outcome, DNS_OK);
	ck_assert_int_ge(loop_now(n.loop).mono_ms - start, 250);
	start = loop_now(n.loop).mono_ms;
	ck_assert_int_eq(look_up(&n, "host.example", DNS_TYPE_A)->outcome, DNS_OK);
	ck_assert_int_lt(loop_now(n.loop).mono_ms - start, 250);
	close_net(&n);
	close(fd);
}

END_TEST

static bool answer_next(void *arg)
{
	return is_answered(arg);
}

static void on_second(void *arg, struct dns_request *r, const char *name, int type)
{
	struct netaddr v4 = ip("192.0.2.2");
	(void)arg;
	(void)type;
	dns_request_add_a(r, name, &v4, 60);
	dns_request_send(r, 0);
}

/* SERVFAIL of one resolver is not the last word while there is another. */
START_TEST(another_resolver_is_asked)
{
	struct net n;
	struct dns_server *second;
	struct netaddr addr = ip("127.0.0.1");
	char text[NETADDR_TEXT_MAX];
	char after[NETADDR_TEXT_MAX + 1];
	struct loop *l = loop_new();
	loop_free(&l);
	memset(&n, 0, sizeof(n));
	n.loop = loop_new();
	ck_assert_int_eq(dns_server_new(n.loop, &addr, on_request, &n, &n.server, NULL), 0);
	ck_assert_int_eq(dns_server_new(n.loop, &addr, on_second, NULL, &second, NULL), 0);
	char servers[200];
	snprintf(after, sizeof(after), ",%s", netaddr_format(dns_server_address(second), text));
	snprintf(servers, sizeof(servers), "%s%s",
	    netaddr_format(dns_server_address(n.server), text), after);
	struct dns_options o = { .servers = servers, .timeout_ms = 1000, .tries = 2 };
	ck_assert_int_eq(dns_new(n.loop, &o, &n.dns, NULL), 0);
	ck_assert_int_eq(look_up(&n, "broken.example", DNS_TYPE_A)->outcome, DNS_OK);
	ck_assert_int_eq(look_up(&n, "refused.example", DNS_TYPE_A)->outcome, DNS_OK);
	ck_assert_int_eq(look_up(&n, "gone.example", DNS_TYPE_A)->outcome, DNS_NXDOMAIN);
	ck_assert(answer_next(&n));
	dns_server_free(&second);
	close_net(&n);
}

END_TEST

/* A resolver older than EDNS says FORMERR to it; asked plainly it answers. */
static void on_old(void *arg, struct dns_request *r, const char *name, int type)
{
	struct net *n = arg;
	struct netaddr v4 = ip("192.0.2.3");
	(void)type;
	if (n->asked++ == 0) {
		dns_request_send(r, FORMERR);
		return;
	}
	dns_request_add_a(r, name, &v4, 60);
	dns_request_send(r, 0);
}

START_TEST(formerr_is_asked_again_plainly)
{
	struct net n;
	struct netaddr addr = ip("127.0.0.1");
	char text[NETADDR_TEXT_MAX];
	memset(&n, 0, sizeof(n));
	n.loop = loop_new();
	ck_assert_int_eq(dns_server_new(n.loop, &addr, on_old, &n, &n.server, NULL), 0);
	struct dns_options o = { .servers = netaddr_format(dns_server_address(n.server), text),
		.timeout_ms = 1000,
		.tries = 2 };
	ck_assert_int_eq(dns_new(n.loop, &o, &n.dns, NULL), 0);
	ck_assert_int_eq(look_up(&n, "host.example", DNS_TYPE_A)->outcome, DNS_OK);
	for (int i = 0; i < 3; i++) {
		n.asked = 0; /* each time anew */
		ck_assert_int_eq(look_up(&n, "host.example", DNS_TYPE_A)->outcome, DNS_OK);
		ck_assert_uint_eq(n.asked, 2);
	}
	close_net(&n);
}

END_TEST

START_TEST(nobody_answers)
{
	struct loop *l = loop_new();
	struct net n = { .loop = l };
	struct sockaddr_storage ss;
	struct netaddr dead = ip("127.0.0.1");
	char text[NETADDR_TEXT_MAX];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = netaddr_to_sockaddr(&dead, &ss);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&ss, len), 0);
	len = sizeof(ss);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	netaddr_from_sockaddr(&dead, (struct sockaddr *)&ss);
	close(fd); /* a port that was free a moment ago */
	struct dns_options o = { .servers = netaddr_format(&dead, text),
		.timeout_ms = 100,
		.tries = 1 };
	ck_assert_int_eq(dns_new(l, &o, &n.dns, NULL), 0);
	const struct dns_answer *a = look_up(&n, "host.example", DNS_TYPE_A);
	ck_assert_int_eq(a->outcome, DNS_FAILED);
	ck_assert_str_ne(a->text, "");
	dns_free(&n.dns);
	loop_free(&l);
}

END_TEST

START_TEST(options_are_checked)
{
	static const char *const bad[] = { "nonsense", "127.0.0.1:0", "127.0.0.1:99999",
		"127.0.0.1,,127.0.0.1", "127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5" };
	struct loop *l = loop_new();
	struct errbuf eb;
	struct dns *d = NULL;
	struct dns_server *s = NULL;
	struct netaddr public = ip("192.0.2.1");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct dns_options o = { .servers = bad[i], .timeout_ms = 100, .tries = 1 };
		eb.text[0] = '\0';
		ck_assert_msg(dns_new(l, &o, &d, &eb) < 0, "%s", bad[i]);
		ck_assert_str_ne(eb.text, "");
		ck_assert_ptr_null(d);
	}
	/* The system's, and what would change it for others. */
	setenv("RES_OPTIONS", "timeout:1 attempts:1 rotate", 1);
	setenv("LOCALDOMAIN", "example.com", 1);
	struct dns_options o = { .servers = "", .timeout_ms = 100, .tries = 1 };
	ck_assert_int_eq(dns_new(l, &o, &d, &eb), 0);
	unsetenv("RES_OPTIONS");
	unsetenv("LOCALDOMAIN");
	dns_free(&d);
	dns_free(&d);
	ck_assert_int_eq(dns_server_new(l, &public, on_request, NULL, &s, &eb), ERR_REFUSED);
	dns_server_free(&s);
	loop_free(&l);
}

END_TEST

static bool all_answered(void *arg)
{
	const struct net *n = arg;
	return n->answered == 1000;
}

START_TEST(many_at_once)
{
	struct net n;
	open_net(&n, "", "");
	dns_free(&n.dns);
	char text[NETADDR_TEXT_MAX];
	struct dns_options o = { .servers = netaddr_format(dns_server_address(n.server), text),
		.timeout_ms = 2000,
		.tries = 3 };
	ck_assert_int_eq(dns_new(n.loop, &o, &n.dns, NULL), 0);
	for (int i = 0; i < 1000; i++)
		(void)dns_lookup(n.dns, i % 2 ? "host.example" : "mx.example", DNS_TYPE_A,
		    on_answer, &n);
	pump_until(n.loop, all_answered, &n);
	close_net(&n);
}

END_TEST

Suite *test_dns_suite(void)
{
	Suite *s = suite_create("dns");
	TCase *t = tcase_create("dns");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_four_outcomes);
	tcase_add_test(t, addresses_and_aliases);
	tcase_add_test(t, what_is_no_domain_is_not_asked);
	tcase_add_test(t, cancelled_queries_are_silent);
	tcase_add_test(t, the_server_may_take_its_time);
	tcase_add_test(t, the_callback_may_free_the_resolver);
	tcase_add_test(t, a_dead_resolver_is_remembered);
	tcase_add_test(t, another_resolver_is_asked);
	tcase_add_test(t, formerr_is_asked_again_plainly);
	tcase_add_test(t, nobody_answers);
	tcase_add_test(t, options_are_checked);
	tcase_add_test(t, many_at_once);
	suite_add_tcase(s, t);
	return s;
}
