#include "policy/mx.h"

#include <stdio.h>
#include <string.h>

#include "lib/unit.h"

static void host(struct mx_host *h, unsigned preference, const char *name)
{
	memset(h, 0, sizeof(*h));
	h->preference = (uint16_t)preference;
	snprintf(h->name, sizeof(h->name), "%s", name);
}

static struct netaddr addr(const char *text)
{
	struct netaddr a = { 0 };
	ck_assert_int_eq(netaddr_parse_ip(slice_str(text), &a), 0);
	return a;
}

static void add(struct mx_host *h, const char *text)
{
	h->addrs[h->addrs_n++] = addr(text);
}

/* "name name ..." of the hosts */
static const char *names(const struct mx_host *hosts, size_t n)
{
	static char out[2048];
	size_t at = 0;
	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", i ? " " : "",
		    hosts[i].name);
	return out;
}

static size_t sort_and_pick(struct mx_host *hosts, size_t n, struct prng *rng)
{
	return mx_pick(hosts, mx_sort(hosts, n), rng);
}

static const char *dialled(const struct mx_host *hosts, size_t n, const struct mx_options *o,
    bool *loop)
{
	static char out[2048];
	struct mx_candidate c[MX_CANDIDATES_MAX];
	size_t at = 0;
	size_t count = mx_candidates(hosts, n, o, c, loop);
	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		char ip[NETADDR_TEXT_MAX];
		ck_assert_uint_eq(c[i].addr.port, 0);
		ck_assert(c[i].host >= hosts && c[i].host < hosts + n);
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", i ? " " : "",
		    netaddr_format_ip(&c[i].addr, ip));
	}
	return out;
}

START_TEST(null_mx)
{
	struct mx_host h[2];
	host(&h[0], 0, "");
	ck_assert(mx_is_null(h, 1));
	host(&h[0], 10, ".");
	ck_assert(mx_is_null(h, 1));
	host(&h[1], 20, "mx.example");
	ck_assert(!mx_is_null(h, 2));
	ck_assert(!mx_is_null(h + 1, 1));
	ck_assert(!mx_is_null(h, 0));
}

END_TEST

START_TEST(sorted_by_preference)
{
	struct mx_host h[6];
	struct prng rng;
	prng_init(&rng, 1);
	host(&h[0], 65535, "E.example");
	host(&h[1], 20, "c.example");
	host(&h[2], 0, "a.example.");
	host(&h[3], 10, ".");
	host(&h[4], 5, "192.0.2.1");
	host(&h[5], 10, "B.Example");
	ck_assert_str_eq(names(h, sort_and_pick(h, 6, &rng)),
	    "a.example b.example c.example e.example");
	ck_assert_uint_eq(sort_and_pick(h, 0, &rng), 0);
}

END_TEST

/* What a site is named after must not depend on the order the DNS gives. */
START_TEST(sorting_knows_no_chance)
{
	struct mx_host a[4], b[4];
	static const char *const names_of[] = { "d.example", "B.example", "c.example",
		"a.example" };
	for (size_t i = 0; i < 4; i++) {
		host(&a[i], i < 3 ? 10 : 20, names_of[i]);
		host(&b[3 - i], i < 3 ? 10 : 20, names_of[i]);
	}
	ck_assert_str_eq(names(a, mx_sort(a, 4)), "b.example c.example d.example a.example");
	ck_assert_str_eq(names(b, mx_sort(b, 4)), "b.example c.example d.example a.example");
}

END_TEST

START_TEST(duplicates_keep_the_better_preference)
{
	struct mx_host h[4];
	struct prng rng;
	prng_init(&rng, 1);
	host(&h[0], 20, "a.example");
	host(&h[1], 10, "A.example.");
	host(&h[2], 15, "b.example");
	host(&h[3], 15, "b.example");
	ck_assert_str_eq(names(h, sort_and_pick(h, 4, &rng)), "a.example b.example");
	ck_assert_uint_eq(h[0].preference, 10);
}

END_TEST

START_TEST(most_preferred_are_kept)
{
	static struct mx_host h[100];
	struct prng rng;
	prng_init(&rng, 7);
	for (unsigned i = 0; i < 100; i++) {
		char name[32];
		snprintf(name, sizeof(name), "mx%u.example", i);
		host(&h[i], 1000 - i, name);
	}
	ck_assert_uint_eq(sort_and_pick(h, 100, &rng), MX_HOSTS_MAX);
	ck_assert_str_eq(h[0].name, "mx99.example");
	ck_assert_str_eq(h[MX_HOSTS_MAX - 1].name, "mx80.example");
}

END_TEST

/* Each of the six orders of three equals about equally often; the fourth stays last. */
START_TEST(equals_are_shuffled_evenly)
{
	unsigned seen[27] = { 0 };
	unsigned orders = 0;
	struct prng rng;
	prng_init(&rng, 42);
	for (unsigned round = 0; round < 6000; round++) {
		struct mx_host h[4];
		host(&h[0], 20, "z.example");
		host(&h[1], 10, "a.example");
		host(&h[2], 10, "b.example");
		host(&h[3], 10, "c.example");
		ck_assert_uint_eq(sort_and_pick(h, 4, &rng), 4);
		ck_assert_str_eq(h[3].name, "z.example");
		seen[(h[0].name[0] - 'a') * 9 + (h[1].name[0] - 'a') * 3 + (h[2].name[0] - 'a')]++;
	}
	for (size_t i = 0; i < 27; i++) {
		if (seen[i] == 0)
			continue;
		orders++;
		ck_assert_uint_gt(seen[i], 850);
		ck_assert_uint_lt(seen[i], 1150);
	}
	ck_assert_uint_eq(orders, 6);
}

END_TEST

START_TEST(same_seed_same_order)
{
	struct mx_host a[8], b[8];
	struct prng rng;
	for (unsigned i = 0; i < 8; i++) {
		char name[32];
		snprintf(name, sizeof(name), "mx%u.example", i);
		host(&a[i], 10, name);
		host(&b[7 - i], 10, name); /* the order of the answer has no say */
	}
	prng_init(&rng, 99);
	sort_and_pick(a, 8, &rng);
	prng_init(&rng, 99);
	sort_and_pick(b, 8, &rng);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_str_eq(a[i].name, b[i].name);
}

END_TEST

static size_t three(struct mx_host h[3])
{
	host(&h[0], 10, "a.example");
	add(&h[0], "198.51.100.1");
	host(&h[1], 20, "relay.example");
	add(&h[1], "198.51.100.2");
	host(&h[2], 20, "c.example");
	add(&h[2], "198.51.100.3");
	return 3;
}

START_TEST(removes_itself_by_name)
{
	static const char *const spellings[] = { "relay.example", "RELAY.Example",
		"relay.example." };
	struct mx_options o = { .me = spellings[_i] };
	struct mx_host h[3];
	bool was_self;
	ck_assert_str_eq(names(h, mx_remove_self(h, three(h), &o, &was_self)), "a.example");
	ck_assert(was_self);
}

END_TEST

START_TEST(removes_itself_by_address)
{
	struct netaddr local[2] = { addr("127.0.0.1"), addr("198.51.100.3") };
	struct mx_options o = { .me = "other.example", .local = local, .local_n = 2 };
	struct mx_host h[3];
	bool was_self;
	/* Host b has the same preference as ourselves: gone too. */
	ck_assert_str_eq(names(h, mx_remove_self(h, three(h), &o, &was_self)), "a.example");
	ck_assert(was_self);
	local[1] = addr("198.51.100.1");
	ck_assert_uint_eq(mx_remove_self(h, three(h), &o, &was_self), 0);
	ck_assert(was_self);
	/* the same, mapped into IPv6 */
	local[1] = (struct netaddr){ .family = NETADDR_V6 };
	memcpy(local[1].ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x03", 16);
	ck_assert_uint_eq(mx_remove_self(h, three(h), &o, &was_self), 1);
}

END_TEST

START_TEST(keeps_others_when_not_listed)
{
	struct mx_options o = { .me = "other.example" };
	struct mx_host h[3];
	bool was_self = true;
	ck_assert_uint_eq(mx_remove_self(h, three(h), &o, &was_self), 3);
	ck_assert(!was_self);
	o = (struct mx_options){ .me = "relay.example", .local_ok = true };
	ck_assert_uint_eq(mx_remove_self(h, three(h), &o, &was_self), 3);
	ck_assert(!was_self);
}

END_TEST

/* A loopback MX is left out, but does not take worse hosts with it. */
START_TEST(loopback_mx_is_somebodys_mistake)
{
	struct netaddr local = addr("127.0.0.1");
	struct mx_options o = { .me = "me.example", .local = &local, .local_n = 1 };
	struct mx_host h[3];
	bool was_self, loop;
	size_t n = three(h);
	h[0].addrs[0] = addr("127.0.0.1");
	n = mx_remove_self(h, n, &o, &was_self);
	ck_assert_uint_eq(n, 3);
	ck_assert_str_eq(dialled(h, n, &o, &loop), "198.51.100.2 198.51.100.3");
	ck_assert(loop);
}

END_TEST

START_TEST(never_dialled)
{
	static const char *const bad[] = { "0.0.0.0", "0.1.2.3", "169.254.1.1", "224.0.0.1",
		"255.255.255.255", "::", "fe80::1", "ff02::1" };
	struct mx_options o = { .me = "me.example", .local_ok = true };
	struct mx_host h;
	bool loop;
	host(&h, 10, "a.example");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		add(&h, bad[i]);
	ck_assert_str_eq(dialled(&h, 1, &o, &loop), "");
	ck_assert(!loop);
	add(&h, "10.1.2.3");
	ck_assert_str_eq(dialled(&h, 1, &o, &loop), "10.1.2.3");
}

END_TEST

START_TEST(loopback_and_own_only_with_local_ok)
{
	struct netaddr local = addr("198.51.100.9");
	struct mx_options o = { .me = "me.example", .local = &local, .local_n = 1 };
	struct mx_host h;
	bool loop;
	host(&h, 10, "a.example");
	add(&h, "127.0.0.5");
	add(&h, "::1");
	add(&h, "198.51.100.9");
	ck_assert_str_eq(dialled(&h, 1, &o, &loop), "");
	ck_assert(loop);
	o.local_ok = true;
	ck_assert_str_eq(dialled(&h, 1, &o, &loop), "::1 127.0.0.5 198.51.100.9");
	ck_assert(!loop);
}

END_TEST

START_TEST(mapped_v6_is_v4)
{
	struct mx_options o = { .me = "me.example", .prefer = MX_PREFER_V6 };
	struct mx_host h;
	bool loop;
	host(&h, 10, "a.example");
	h.addrs_n = 2;
	h.addrs[0] = (struct netaddr){ .family = NETADDR_V6, .port = 99 };
	memcpy(h.addrs[0].ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x01", 16);
	h.addrs[1] = (struct netaddr){ .family = NETADDR_V6 };
	memcpy(h.addrs[1].ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16);
	add(&h, "2001:db8::1");
	ck_assert_str_eq(dialled(&h, 1, &o, &loop), "2001:db8::1 198.51.100.1");
	ck_assert(loop);
}

END_TEST

static size_t two_families(struct mx_host h[2])
{
	for (unsigned i = 0; i < 2; i++) {
		host(&h[i], 10 * (i + 1), i ? "b.example" : "a.example");
		for (unsigned k = 1; k <= 2; k++) {
			char text[32];
			snprintf(text, sizeof(text), "198.51.%u.%u", i, k);
			add(&h[i], text);
			snprintf(text, sizeof(text), "2001:db8:%u::%u", i + 1, k);
			add(&h[i], text);
		}
	}
	return 2;
}

START_TEST(preferred_family_within_a_host)
{
	static const char *const expected[] = {
		[MX_PREFER_DEFAULT] = "2001:db8:1::1 198.51.0.1 2001:db8:1::2 198.51.0.2 "
				      "2001:db8:2::1 198.51.1.1 2001:db8:2::2 198.51.1.2",
		[MX_PREFER_V4] = "198.51.0.1 198.51.0.2 2001:db8:1::1 2001:db8:1::2 "
				 "198.51.1.1 198.51.1.2 2001:db8:2::1 2001:db8:2::2",
		[MX_PREFER_V6] = "2001:db8:1::1 2001:db8:1::2 198.51.0.1 198.51.0.2 "
				 "2001:db8:2::1 2001:db8:2::2 198.51.1.1 198.51.1.2",
	};
	struct mx_options o = { .me = "me.example", .prefer = (enum mx_prefer)_i };
	struct mx_host h[2];
	bool loop;
	ck_assert_str_eq(dialled(h, two_families(h), &o, &loop), expected[_i]);
}

END_TEST

/* The first host has more addresses than there are places: the second still gets its own. */
START_TEST(one_host_leaves_room)
{
	struct mx_options o = { .me = "me.example" };
	struct mx_candidate c[MX_CANDIDATES_MAX];
	struct mx_host h[2];
	bool loop;
	host(&h[0], 10, "a.example");
	host(&h[1], 20, "b.example");
	for (unsigned i = 1; i <= MX_HOST_ADDRS_MAX; i++) {
		char text[32];
		snprintf(text, sizeof(text), "198.51.100.%u", i);
		add(&h[0], text);
	}
	add(&h[1], "203.0.113.1");
	add(&h[1], "203.0.113.2");
	ck_assert_uint_eq(mx_candidates(h, 2, &o, c, &loop), MX_CANDIDATES_MAX);
	for (size_t i = 0; i < 8; i++)
		ck_assert_ptr_eq(c[i].host, &h[0]);
	ck_assert_ptr_eq(c[8].host, &h[1]);
	ck_assert_ptr_eq(c[9].host, &h[1]);
}

END_TEST

/* Twenty hosts with both families: a network without IPv6 still reaches some of them. */
START_TEST(one_family_leaves_room)
{
	static const unsigned
	    v6_expected[] = { [MX_PREFER_DEFAULT] = 5, [MX_PREFER_V4] = 2, [MX_PREFER_V6] = 8 };
	static struct mx_host h[MX_HOSTS_MAX];
	struct mx_options o = { .me = "me.example", .prefer = (enum mx_prefer)_i };
	struct mx_candidate c[MX_CANDIDATES_MAX];
	unsigned v6 = 0;
	bool loop;
	for (unsigned i = 0; i < MX_HOSTS_MAX; i++) {
		char text[32];
		snprintf(text, sizeof(text), "mx%u.example", i);
		host(&h[i], i, text);
		snprintf(text, sizeof(text), "198.51.100.%u", i + 1);
		add(&h[i], text);
		snprintf(text, sizeof(text), "2001:db8::%u", i + 1);
		add(&h[i], text);
	}
	ck_assert_uint_eq(mx_candidates(h, MX_HOSTS_MAX, &o, c, &loop), MX_CANDIDATES_MAX);
	for (size_t i = 0; i < MX_CANDIDATES_MAX; i++) {
		v6 += c[i].addr.family == NETADDR_V6;
		if (i > 0)
			ck_assert(c[i].host > c[i - 1].host);
	}
	ck_assert_uint_eq(v6, v6_expected[_i]);
}

END_TEST

START_TEST(same_address_once)
{
	struct mx_options o = { .me = "me.example" };
	struct mx_host h[2];
	bool loop;
	host(&h[0], 10, "a.example");
	host(&h[1], 20, "b.example");
	add(&h[0], "198.51.100.1");
	add(&h[1], "198.51.100.1");
	add(&h[1], "198.51.100.2");
	ck_assert_str_eq(dialled(h, 2, &o, &loop), "198.51.100.1 198.51.100.2");
	ck_assert_str_eq(dialled(h, 0, &o, &loop), "");
}

END_TEST

Suite *test_mx_suite(void)
{
	Suite *s = suite_create("mx");
	TCase *tc = tcase_create("order");
	tcase_add_test(tc, null_mx);
	tcase_add_test(tc, sorted_by_preference);
	tcase_add_test(tc, sorting_knows_no_chance);
	tcase_add_test(tc, duplicates_keep_the_better_preference);
	tcase_add_test(tc, most_preferred_are_kept);
	tcase_add_test(tc, equals_are_shuffled_evenly);
	tcase_add_test(tc, same_seed_same_order);
	suite_add_tcase(s, tc);
	tc = tcase_create("ourselves");
	tcase_add_loop_test(tc, removes_itself_by_name, 0, 3);
	tcase_add_test(tc, removes_itself_by_address);
	tcase_add_test(tc, keeps_others_when_not_listed);
	tcase_add_test(tc, loopback_mx_is_somebodys_mistake);
	suite_add_tcase(s, tc);
	tc = tcase_create("candidates");
	tcase_add_test(tc, never_dialled);
	tcase_add_test(tc, loopback_and_own_only_with_local_ok);
	tcase_add_test(tc, mapped_v6_is_v4);
	tcase_add_loop_test(tc, preferred_family_within_a_host, 0, 3);
	tcase_add_test(tc, one_host_leaves_room);
	tcase_add_loop_test(tc, one_family_leaves_room, 0, 3);
	tcase_add_test(tc, same_address_once);
	suite_add_tcase(s, tc);
	return s;
}
