#include "core/resolution.h"

#include <stdio.h>
#include <string.h>

#include "lib/unit.h"

unit_suite_fn test_resolution_suite;

static struct conf conf = { .refs = 1 }; /* never let go of: it is not on the heap */

struct place {
	uint8_t rank;
	const char *host, *ip;
};

static struct resolution *make(const struct place *places, size_t n)
{
	struct resolution_candidate c[MX_CANDIDATES_MAX];
	struct resolution draft = { .conf = &conf, .why = "", .site = "0 a", .until_ms = 5 };

	memset(c, 0, sizeof(c));
	for (size_t i = 0; i < n; i++) {
		c[i].rank = places[i].rank;
		c[i].host = places[i].host;
		int err = netaddr_parse_ip(slice_str(places[i].ip), &c[i].addr);
		ck_assert_int_eq(err, 0);
	}
	return resolution_new(&draft, c, n);
}

static const char *order_text(const struct resolution *r, struct prng *rng)
{
	static char out[1024];
	uint8_t order[MX_CANDIDATES_MAX];
	bool seen[MX_CANDIDATES_MAX] = { false };
	size_t at = 0;

	resolution_order(r, rng, order);
	for (size_t i = 0; i < r->candidates_n; i++) {
		char ip[NETADDR_TEXT_MAX];
		ck_assert_uint_lt(order[i], r->candidates_n);
		ck_assert(!seen[order[i]]);
		seen[order[i]] = true;
		const struct resolution_candidate *c = &r->candidates[order[i]];
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s=%s", i ? " " : "", c->host,
		    netaddr_format_ip(&c->addr, ip));
	}
	return out;
}

START_TEST(holds_what_it_needs)
{
	static const struct place hosts[] = { { 0, "a", "192.0.2.1" }, { 0, "a", "192.0.2.2" },
		{ 1, "b", "2001:db8::1" } };
	struct resolution *r = make(hosts, 3);
	ck_assert_int_eq(conf.refs, 2);
	ck_assert_uint_eq(r->candidates_n, 3);
	ck_assert_str_eq(r->candidates[2].host, "b");
	ck_assert_str_eq(r->site, "0 a");
	ck_assert_int_eq(r->until_ms, 5);
	struct resolution *other = resolution_ref(r);
	resolution_unref(&r);
	ck_assert_ptr_null(r);
	ck_assert_str_eq(other->candidates[0].host, "a");
	ck_assert_int_eq(conf.refs, 2);
	resolution_unref(&other);
	ck_assert_int_eq(conf.refs, 1);
	resolution_unref(&other); /* NULL */
}

END_TEST

START_TEST(a_finding_has_no_candidates)
{
	struct resolution draft = { .conf = &conf,
		.finding = VERDICT_FINDING_NXDOMAIN,
		.why = "no such domain",
		.site = "" };
	struct resolution *r = resolution_new(&draft, NULL, 0);
	struct prng rng;
	uint8_t order[MX_CANDIDATES_MAX];
	prng_init(&rng, 1);
	resolution_order(r, &rng, order);
	ck_assert_str_eq(r->why, "no such domain");
	ck_assert_int_eq(r->finding, VERDICT_FINDING_NXDOMAIN);
	resolution_unref(&r);
}

END_TEST

/* How often each text comes, out of 6000. */
struct tally {
	char text[64][1024];
	unsigned times[64];
	size_t n;
};

static void count(struct tally *t, const char *text)
{
	size_t i = 0;
	while (i < t->n && strcmp(t->text[i], text) != 0)
		i++;
	ck_assert_uint_lt(i, 64);
	if (i == t->n)
		snprintf(t->text[t->n++], sizeof(t->text[0]), "%s", text);
	t->times[i]++;
}

static struct tally *tally_orders(const struct place *hosts, size_t n)
{
	static struct tally t;
	struct resolution *r = make(hosts, n);
	struct prng rng;
	memset(&t, 0, sizeof(t));
	prng_init(&rng, 42);
	for (int i = 0; i < 6000; i++)
		count(&t, order_text(r, &rng));
	resolution_unref(&r);
	return &t;
}

START_TEST(equals_are_shuffled_evenly)
{
	static const struct place hosts[] = { { 0, "a", "192.0.2.1" }, { 0, "b", "192.0.2.2" },
		{ 0, "c", "192.0.2.3" }, { 1, "z", "192.0.2.9" } };
	const struct tally *t = tally_orders(hosts, 4);
	ck_assert_uint_eq(t->n, 6);
	for (size_t i = 0; i < t->n; i++) {
		ck_assert_uint_gt(t->times[i], 850);
		ck_assert_uint_lt(t->times[i], 1150);
		ck_assert_ptr_nonnull(strstr(t->text[i], " z=192.0.2.9"));
		ck_assert_str_eq(strstr(t->text[i], " z="), " z=192.0.2.9"); /* the last */
	}
}

END_TEST

START_TEST(ranks_are_kept)
{
	static const struct place hosts[] = { { 0, "a", "192.0.2.1" }, { 1, "b", "192.0.2.2" },
		{ 2, "c", "192.0.2.3" } };
	const struct tally *t = tally_orders(hosts, 3);
	ck_assert_uint_eq(t->n, 1);
	ck_assert_str_eq(t->text[0], "a=192.0.2.1 b=192.0.2.2 c=192.0.2.3");
}

END_TEST

/* The families keep their places, the addresses of one take turns at being first. */
START_TEST(addresses_of_a_host_rotate_within_their_family)
{
	static const struct place hosts[] = { { 0, "a", "2001:db8::1" }, { 0, "a", "192.0.2.1" },
		{ 0, "a", "2001:db8::2" }, { 0, "a", "192.0.2.2" }, { 0, "a", "192.0.2.3" } };
	const struct tally *t = tally_orders(hosts, 5);
	ck_assert_uint_eq(t->n, 6); /* two v6 times three v4 */
	for (size_t i = 0; i < t->n; i++) {
		ck_assert_uint_gt(t->times[i], 850);
		ck_assert(strncmp(t->text[i], "a=2001:", 7) == 0);
		ck_assert_ptr_nonnull(strstr(t->text[i], " a=2001:"));
	}
	const char *turns = "a=2001:db8::2 a=192.0.2.3 a=2001:db8::1 a=192.0.2.1 a=192.0.2.2";
	bool found = false;
	for (size_t i = 0; i < t->n; i++)
		found |= strcmp(t->text[i], turns) == 0;
	ck_assert(found);
}

END_TEST

START_TEST(hosts_stay_together)
{
	static const struct place hosts[] = { { 0, "a", "192.0.2.1" }, { 0, "a", "192.0.2.2" },
		{ 0, "b", "192.0.2.3" }, { 0, "b", "192.0.2.4" }, { 1, "a", "192.0.2.5" } };
	const struct tally *t = tally_orders(hosts, 5);
	ck_assert_uint_eq(t->n, 8);
	for (size_t i = 0; i < t->n; i++) {
		const char *x = t->text[i];
		ck_assert_ptr_nonnull(strstr(x, x[0] == 'a' ? " b=" : " a="));
		ck_assert_ptr_nonnull(strstr(x, " a=192.0.2.5"));
		ck_assert_str_eq(strstr(x, " a=192.0.2.5"), " a=192.0.2.5");
		ck_assert(strncmp(strchr(x, ' ') + 1, x, 1) == 0); /* two of the same first */
	}
}

END_TEST

static const char *mx_site(const unsigned *preferences, const char *const *names, size_t n)
{
	static char out[512];
	struct mx_host hosts[8];
	struct buf b;

	memset(hosts, 0, sizeof(hosts));
	for (size_t i = 0; i < n; i++) {
		hosts[i].preference = (uint16_t)preferences[i];
		snprintf(hosts[i].name, sizeof(hosts[i].name), "%s", names[i]);
	}
	buf_init(&b, RESOLUTION_SITE_MAX);
	resolution_site_of_mx(&b, hosts, mx_sort(hosts, n));
	snprintf(out, sizeof(out), "%s", buf_cstr(&b));
	buf_fini(&b);
	return out;
}

START_TEST(the_same_hosts_are_the_same_site)
{
	static const char *const one[] = { "mx1.test", "mx3.test", "mx2.test" };
	static const char *const two[] = { "MX2.test.", "mx1.test", "mx3.test" };
	const char *want = "0 mx1.test,0 mx2.test,1 mx3.test";
	ck_assert_str_eq(mx_site((unsigned[]){ 10, 20, 10 }, one, 3), want);
	ck_assert_str_eq(mx_site((unsigned[]){ 0, 0, 7 }, two, 3), want);
	ck_assert_str_ne(mx_site((unsigned[]){ 0, 7, 7 }, two, 3), want);
}

END_TEST

START_TEST(sites_of_routes)
{
	static const struct route_hop hops[] = {
		{ .host = "relay.test",
		    .unix_path = "",
		    .port = 587,
		    .user = "me",
		    .password = "secret" },
		{ .host = "10.0.0.1",
		    .unix_path = "",
		    .port = 465,
		    .tls_implicit = true,
		    .user = "",
		    .password = "" },
		{ .host = "box",
		    .unix_path = "",
		    .port = 24,
		    .lmtp = true,
		    .user = "",
		    .password = "" },
		{ .host = "", .unix_path = "/run/lmtp", .lmtp = true, .user = "", .password = "" },
	};
	struct route route = { .hops = hops, .hops_n = 4, .helo = "out1.test", .has_bind = true };
	struct buf b;
	int err = netaddr_parse_ip(SLICE("192.0.2.7"), &route.bind);
	ck_assert_int_eq(err, 0);
	buf_init(&b, RESOLUTION_SITE_MAX);
	resolution_site_of_hops(&b, &route);
	resolution_site_of_source(&b, &route);
	ck_assert_str_eq(buf_cstr(&b),
	    "smtp://me@relay.test:587,smtps://10.0.0.1:465,lmtp://box:24,"
	    "unix:/run/lmtp from 192.0.2.7 as out1.test");
	buf_clear(&b);
	route.has_bind = false;
	route.helo = "";
	resolution_site_of_source(&b, &route);
	resolution_site_of_source(&b, NULL);
	ck_assert_uint_eq(buf_len(&b), 0);
	buf_fini(&b);
}

END_TEST

Suite *test_resolution_suite(void)
{
	Suite *s = suite_create("resolution");
	TCase *tc = tcase_create("resolution");
	tcase_add_test(tc, holds_what_it_needs);
	tcase_add_test(tc, a_finding_has_no_candidates);
	tcase_add_test(tc, equals_are_shuffled_evenly);
	tcase_add_test(tc, ranks_are_kept);
	tcase_add_test(tc, addresses_of_a_host_rotate_within_their_family);
	tcase_add_test(tc, hosts_stay_together);
	tcase_add_test(tc, the_same_hosts_are_the_same_site);
	tcase_add_test(tc, sites_of_routes);
	suite_add_tcase(s, tc);
	return s;
}
