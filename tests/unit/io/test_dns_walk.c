#include "io/dns_walk.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "lib/unit.h"

/* A message under construction; names are written as they are, \n as label lengths by hand. */
struct msg {
	unsigned char p[70000];
	size_t n;
};

static void put(struct msg *m, const void *p, size_t n)
{
	ck_assert_uint_le(m->n + n, sizeof(m->p));
	memcpy(m->p + m->n, p, n);
	m->n += n;
}

static void put_u16(struct msg *m, unsigned v)
{
	unsigned char b[2] = { (unsigned char)(v >> 8), (unsigned char)v };
	put(m, b, 2);
}

static void put_u32(struct msg *m, unsigned v)
{
	put_u16(m, v >> 16);
	put_u16(m, v & 0xffff);
}

static void put_name(struct msg *m, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");
		unsigned char len = (unsigned char)n;
		put(m, &len, 1);
		put(m, name, n);
		name += n + (name[n] == '.');
	}
	put(m, "", 1);
}

enum {
	QR_RA = 0x8180,
	AD = 0x20,
	QUESTION_AT = 12, /* where a pointer finds the question's name */
	TYPE_NS = 2,
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
};

/* Header and question; counts are bumped by begin_rr. */
static void start(struct msg *m, unsigned flags, const char *name, unsigned type)
{
	m->n = 0;
	put_u16(m, 4711);
	put_u16(m, flags);
	put_u16(m, 1);
	put_u32(m, 0);
	put_u16(m, 0);
	put_name(m, name);
	put_u16(m, type);
	put_u16(m, 1);
}

/* section 0: answer, 1: authority. The owner has been put already; data follows, then end_rr. */
static size_t begin_rr(struct msg *m, int section, unsigned type, unsigned ttl)
{
	m->p[7 + 2 * section]++;
	if (m->p[7 + 2 * section] == 0)
		m->p[6 + 2 * section]++;
	put_u16(m, type);
	put_u16(m, 1);
	put_u32(m, ttl);
	put_u16(m, 0);
	return m->n;
}

static void end_rr(struct msg *m, size_t data_at)
{
	size_t n = m->n - data_at;
	m->p[data_at - 2] = (unsigned char)(n >> 8);
	m->p[data_at - 1] = (unsigned char)n;
}

static void put_pointer(struct msg *m, size_t at)
{
	put_u16(m, 0xc000 | (unsigned)at);
}

static void add_mx(struct msg *m, const char *owner, unsigned preference, const char *host,
    unsigned ttl)
{
	put_name(m, owner);
	size_t at = begin_rr(m, 0, DNS_TYPE_MX, ttl);
	put_u16(m, preference);
	put_name(m, host);
	end_rr(m, at);
}

static void add_a(struct msg *m, const char *owner, const char *ip, unsigned ttl)
{
	struct netaddr a;
	ck_assert_int_eq(netaddr_parse_ip(slice_str(ip), &a), 0);
	bool v4 = a.family == NETADDR_V4;
	put_name(m, owner);
	size_t at = begin_rr(m, 0, v4 ? DNS_TYPE_A : DNS_TYPE_AAAA, ttl);
	put(m, a.ip, v4 ? 4 : 16);
	end_rr(m, at);
}

static void add_cname(struct msg *m, const char *owner, const char *target, unsigned ttl)
{
	put_name(m, owner);
	size_t at = begin_rr(m, 0, TYPE_CNAME, ttl);
	put_name(m, target);
	end_rr(m, at);
}

static void add_soa(struct msg *m, unsigned ttl, unsigned minimum)
{
	put_name(m, "example.com");
	size_t at = begin_rr(m, 1, TYPE_SOA, ttl);
	put_name(m, "ns.example.com");
	put_name(m, "hostmaster.example.com");
	for (int i = 0; i < 4; i++)
		put_u32(m, 1);
	put_u32(m, minimum);
	end_rr(m, at);
}

static struct dns_record records[DNS_RECORDS_MAX];

/* From a copy of exact size: a read beyond it is seen by the address sanitizer. */
static struct dns_answer ask_n(const struct msg *m, size_t n, const char *name, enum dns_type type)
{
	struct dns_answer a;
	unsigned char *copy = mem_dup(m->p, n);
	dns_walk_answer(copy, n, name, type, records, &a);
	mem_free(copy);
	return a;
}

static struct dns_answer ask(const struct msg *m, const char *name, enum dns_type type)
{
	return ask_n(m, m->n, name, type);
}

START_TEST(a_question_is_what_it_says)
{
	static const unsigned char expected[] = "\x12\x34\x01\x20\0\1\0\0\0\0\0\1"
						"\2Mx\7example\3com\0\0\17\0\1"
						"\0\0\51\4\320\0\0\0\0\0";
	unsigned char q[DNS_QUESTION_MAX];
	int n = dns_walk_question(q, 0x1234, "Mx.example.com", DNS_TYPE_MX, true);
	ck_assert_int_eq(n, sizeof(expected));
	ck_assert_mem_eq(q, expected, sizeof(expected));
	n = dns_walk_question(q, 0x1234, "Mx.example.com.", DNS_TYPE_MX, false);
	ck_assert_int_eq(n, (int)sizeof(expected) - 11);
	ck_assert_int_eq(q[11], 0);
}

END_TEST

START_TEST(what_is_no_domain_is_not_asked)
{
	static const char *const bad[] = { "", ".", "..", "a..b", ".a", "a..", "a b.com", "a\tb",
		"a\\b", "\303\244.de", "x.y\n",
		"a123456789012345678901234567890123456789012345678901234567890123.com" };
	unsigned char q[DNS_QUESTION_MAX];
	char name[300];
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(dns_walk_question(q, 1, bad[i], DNS_TYPE_A, true) == ERR_SYNTAX, "%s",
		    bad[i]);
	/* 253 octets of text are the most: 255 on the wire. */
	for (int i = 0; i < 254; i++)
		name[i] = i % 2 ? '.' : 'a';
	name[253] = '\0';
	ck_assert_int_eq(dns_walk_question(q, 1, name, DNS_TYPE_A, true), DNS_QUESTION_MAX);
	ck_assert_int_gt(dns_walk_question(q, 1, "_dmarc.x-y.example", DNS_TYPE_A, true), 0);
	name[253] = 'a';
	name[254] = '\0';
	ck_assert_int_eq(dns_walk_question(q, 1, name, DNS_TYPE_A, true), ERR_SYNTAX);
}

END_TEST

START_TEST(mx_records)
{
	struct msg m;
	start(&m, QR_RA | AD, "Example.COM", DNS_TYPE_MX);
	add_mx(&m, "Example.COM", 20, "MX2.Example.com", 300);
	add_mx(&m, "example.com", 10, "mx1.example.com", 200);
	add_mx(&m, "other.com", 5, "mx.other.com", 1);
	struct dns_answer a = ask(&m, "example.com", DNS_TYPE_MX);
	ck_assert_int_eq(a.outcome, DNS_OK);
	ck_assert(a.authentic);
	ck_assert_uint_eq(a.ttl_s, 200);
	ck_assert_uint_eq(a.records_n, 2);
	ck_assert_uint_eq(a.records[0].preference, 20);
	ck_assert_str_eq(a.records[0].name, "mx2.example.com");
	ck_assert_uint_eq(a.records[1].preference, 10);
	ck_assert_str_eq(a.records[1].name, "mx1.example.com");
	ck_assert_int_eq(ask(&m, "EXAMPLE.com.", DNS_TYPE_MX).outcome, DNS_OK);
}

END_TEST

START_TEST(null_mx)
{
	struct msg m;
	start(&m, QR_RA, "example.com", DNS_TYPE_MX);
	add_mx(&m, "example.com", 0, "", 0x80000000U);
	struct dns_answer a = ask(&m, "example.com", DNS_TYPE_MX);
	ck_assert_int_eq(a.outcome, DNS_OK);
	ck_assert(!a.authentic);
	ck_assert_uint_eq(a.records_n, 1);
	ck_assert_str_eq(a.records[0].name, "");
	ck_assert_uint_eq(a.ttl_s, 0); /* the top bit set counts as none */
}

END_TEST

START_TEST(addresses_through_aliases)
{
	struct msg m;
	struct netaddr ip;
	start(&m, QR_RA, "www.example.com", DNS_TYPE_A);
	/* Not in order: they needn't be. */
	add_a(&m, "c.example.net", "192.0.2.3", 500);
	add_cname(&m, "b.example.net", "c.example.net", 70);
	add_cname(&m, "www.example.com", "B.example.net", 600);
	struct dns_answer a = ask(&m, "www.example.com", DNS_TYPE_A);
	ck_assert_int_eq(a.outcome, DNS_OK);
	ck_assert_uint_eq(a.records_n, 1);
	ck_assert_uint_eq(a.ttl_s, 70);
	ck_assert_int_eq(netaddr_parse_ip(SLICE("192.0.2.3"), &ip), 0);
	ck_assert(netaddr_eq_ip(&a.records[0].address, &ip));
	ck_assert_uint_eq(a.records[0].address.port, 0);

	start(&m, QR_RA, "x.example.com", DNS_TYPE_AAAA);
	add_a(&m, "x.example.com", "2001:db8::1", 9);
	a = ask(&m, "x.example.com", DNS_TYPE_AAAA);
	ck_assert_int_eq(a.outcome, DNS_OK);
	ck_assert_int_eq(a.records[0].address.family, NETADDR_V6);
	/* A records to an AAAA question are no answer to it. */
	start(&m, QR_RA, "x.example.com", DNS_TYPE_AAAA);
	add_a(&m, "x.example.com", "192.0.2.1", 9);
	ck_assert_int_eq(ask(&m, "x.example.com", DNS_TYPE_AAAA).outcome, DNS_NODATA);
}

END_TEST

START_TEST(no_has_a_lifetime)
{
	struct msg m;
	start(&m, QR_RA | 3, "no.example.com", DNS_TYPE_A);
	add_soa(&m, 900, 300);
	struct dns_answer a = ask(&m, "no.example.com", DNS_TYPE_A);
	ck_assert_int_eq(a.outcome, DNS_NXDOMAIN);
	ck_assert_uint_eq(a.ttl_s, 300);
	ck_assert_str_ne(a.text, "");
	start(&m, QR_RA, "no.example.com", DNS_TYPE_A);
	add_cname(&m, "no.example.com", "there.example.com", 40);
	add_soa(&m, 100, 300);
	a = ask(&m, "no.example.com", DNS_TYPE_A);
	ck_assert_int_eq(a.outcome, DNS_NODATA);
	ck_assert_uint_eq(a.ttl_s, 40);
	start(&m, QR_RA, "no.example.com", DNS_TYPE_A);
	a = ask(&m, "no.example.com", DNS_TYPE_A);
	ck_assert_int_eq(a.outcome, DNS_NODATA);
	ck_assert_uint_eq(a.ttl_s, 0);
	/* NXDOMAIN of an alias's target. */
	start(&m, QR_RA | 3, "no.example.com", DNS_TYPE_A);
	add_cname(&m, "no.example.com", "gone.example.com", 40);
	ck_assert_int_eq(ask(&m, "no.example.com", DNS_TYPE_A).outcome, DNS_NXDOMAIN);
}

END_TEST

START_TEST(failures_are_failures)
{
	static const char *const texts[] = { [1] = "FORMERR",
		[2] = "SERVFAIL",
		[4] = "NOTIMP",
		[5] = "REFUSED",
		[9] = "rcode 9" };
	struct msg m;
	for (unsigned rcode = 1; rcode < 16; rcode++) {
		if (rcode == DNS_RCODE_NXDOMAIN)
			continue;
		start(&m, QR_RA | rcode, "example.com", DNS_TYPE_MX);
		add_mx(&m, "example.com", 10, "mx.example.com", 60);
		struct dns_answer a = ask(&m, "example.com", DNS_TYPE_MX);
		ck_assert_int_eq(a.outcome, DNS_FAILED);
		ck_assert_uint_eq(a.records_n, 0);
		if (rcode < ARRAY_LEN(texts) && texts[rcode])
			ck_assert_str_eq(a.text, texts[rcode]);
	}
	ck_assert_int_eq(dns_walk_rcode(m.p, 11), -1);
	ck_assert_int_eq(dns_walk_rcode(m.p, 12), 15);
	/* Still truncated; not an answer at all; a referral is not a no. */
	start(&m, QR_RA | 0x200, "example.com", DNS_TYPE_MX);
	ck_assert_str_eq(ask(&m, "example.com", DNS_TYPE_MX).text, "truncated answer");
	start(&m, 0x100, "example.com", DNS_TYPE_MX);
	ck_assert_int_eq(ask(&m, "example.com", DNS_TYPE_MX).outcome, DNS_FAILED);
	start(&m, 0x8100, "example.com", DNS_TYPE_MX);
	put_name(&m, "com");
	size_t at = begin_rr(&m, 1, TYPE_NS, 60);
	put_name(&m, "a.gtld-servers.net");
	end_rr(&m, at);
	ck_assert_int_eq(ask(&m, "example.com", DNS_TYPE_MX).outcome, DNS_FAILED);
}

END_TEST

START_TEST(chains_end)
{
	struct msg m;
	char from[32];
	char to[32];
	start(&m, QR_RA, "loop.example", DNS_TYPE_A);
	add_cname(&m, "loop.example", "pool.example", 60);
	add_cname(&m, "pool.example", "loop.example", 60);
	ck_assert_int_eq(ask(&m, "loop.example", DNS_TYPE_A).outcome, DNS_FAILED);
	for (int length = DNS_CHAIN_MAX - 1; length <= DNS_CHAIN_MAX + 1; length++) {
		start(&m, QR_RA, "c0.example", DNS_TYPE_A);
		for (int i = 0; i < length; i++) {
			snprintf(from, sizeof(from), "c%d.example", i);
			snprintf(to, sizeof(to), "c%d.example", i + 1);
			add_cname(&m, from, to, 60);
		}
		add_a(&m, to, "192.0.2.1", 60);
		ck_assert_int_eq(ask(&m, "c0.example", DNS_TYPE_A).outcome,
		    length <= DNS_CHAIN_MAX ? DNS_OK : DNS_FAILED);
	}
}

END_TEST

START_TEST(too_many_are_cut)
{
	struct msg m;
	start(&m, QR_RA, "many.example", DNS_TYPE_A);
	for (int i = 0; i < 300; i++) {
		put_pointer(&m, QUESTION_AT);
		size_t at = begin_rr(&m, 0, DNS_TYPE_A, 60);
		put_u32(&m, 0xc0000200U + (unsigned)i);
		end_rr(&m, at);
	}
	struct dns_answer a = ask(&m, "many.example", DNS_TYPE_A);
	ck_assert_int_eq(a.outcome, DNS_OK);
	ck_assert_uint_eq(a.records_n, DNS_RECORDS_MAX);
}

END_TEST

static int read_name(const unsigned char *p, size_t n, size_t at, char out[DNS_NAME_MAX])
{
	unsigned char *copy = mem_dup(p, n);
	int r = dns_walk_name(copy, n, &at, out);
	mem_free(copy);
	return r < 0 ? r : (int)at;
}

START_TEST(names_keep_to_their_bounds)
{
	char name[DNS_NAME_MAX];
	unsigned char p[600] = { 0 };
	/* "com" at 12, "a.com" by pointer at 20, two pointers in a row at 30. */
	memcpy(p + 12, "\3COM", 5);
	memcpy(p + 20, "\1a\300\14", 4);
	memcpy(p + 30, "\300\24", 2);
	ck_assert_int_eq(read_name(p, 40, 12, name), 17);
	ck_assert_str_eq(name, "com");
	ck_assert_int_eq(read_name(p, 40, 20, name), 24);
	ck_assert_str_eq(name, "a.com");
	ck_assert_int_eq(read_name(p, 40, 30, name), 32);
	ck_assert_str_eq(name, "a.com");
	/* Cut anywhere. */
	for (size_t n = 12; n < 17; n++)
		ck_assert_int_eq(read_name(p, n, 12, name), ERR_CORRUPT);
	for (size_t n = 20; n < 24; n++)
		ck_assert_int_eq(read_name(p, n, 20, name), ERR_CORRUPT);

	/* Pointers to themselves, forward, into the header; reserved label types. */
	static const struct {
		const char *bytes;
		size_t n;
	} bad[] = {
		{ "\300\62", 2 },
		{ "\300\100", 2 },
		{ "\300\13", 2 },
		{ "\1a\300\62", 4 },
		{ "\300", 1 },
		{ "\100a", 3 },
		{ "\200a", 3 },
		{ "\77abc", 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		memcpy(p + 50, bad[i].bytes, bad[i].n);
		ck_assert_msg(read_name(p, 50 + bad[i].n, 50, name) == ERR_CORRUPT, "case %zu", i);
	}
	/* A name no text can carry is still a name, of known length. */
	size_t at = 50;
	memcpy(p + 50, "\3a.b\3com", 9);
	ck_assert_int_eq(dns_walk_name(p, 60, &at, name), ERR_SYNTAX);
	ck_assert_uint_eq(at, 59);
	ck_assert_str_eq(name, "");
	/* A ladder of pointers, one rung too many. */
	memset(p, 0, sizeof(p));
	memcpy(p + 12, "\1x", 3);
	for (int i = 0; i < 40; i++) {
		p[20 + 2 * i] = 0xc0;
		p[21 + 2 * i] = (unsigned char)(i ? 18 + 2 * i : 12);
	}
	ck_assert_int_gt(read_name(p, 600, 20 + 2 * (DNS_HOPS_MAX - 1), name), 0);
	ck_assert_str_eq(name, "x");
	ck_assert_int_eq(read_name(p, 600, 20 + 2 * DNS_HOPS_MAX, name), ERR_CORRUPT);
}

END_TEST

START_TEST(long_names_end_at_255)
{
	char name[DNS_NAME_MAX];
	unsigned char p[600] = { 0 };
	size_t at = 12;
	for (int i = 0; i < 127; i++) { /* 127 labels of one byte: 253 octets of text */
		p[at++] = 1;
		p[at++] = 'a';
	}
	ck_assert_int_eq(read_name(p, 600, 12, name), 12 + 255);
	ck_assert_uint_eq(strlen(name), 253);
	p[at++] = 1;
	p[at++] = 'a';
	ck_assert_int_eq(read_name(p, 600, 12, name), ERR_CORRUPT);
}

END_TEST

START_TEST(bad_records_are_not_a_no)
{
	struct msg m;
	start(&m, QR_RA, "example.com", DNS_TYPE_MX);
	add_mx(&m, "example.com", 10, "mx.example.com", 60);
	m.p[m.n - 16] = 1; /* the length of "mx" */
	struct dns_answer a = ask(&m, "example.com", DNS_TYPE_MX);
	ck_assert_int_eq(a.outcome, DNS_FAILED);
	/* An address of three bytes; a good one beside it is enough. */
	start(&m, QR_RA, "example.com", DNS_TYPE_A);
	put_pointer(&m, QUESTION_AT);
	size_t at = begin_rr(&m, 0, DNS_TYPE_A, 60);
	put(&m, "\1\2\3", 3);
	end_rr(&m, at);
	ck_assert_int_eq(ask(&m, "example.com", DNS_TYPE_A).outcome, DNS_FAILED);
	add_a(&m, "example.com", "192.0.2.1", 60);
	ck_assert_int_eq(ask(&m, "example.com", DNS_TYPE_A).outcome, DNS_OK);
	/* An MX host with a blank in it. */
	start(&m, QR_RA, "example.com", DNS_TYPE_MX);
	add_mx(&m, "example.com", 10, "m x.example.com", 60);
	ck_assert_int_eq(ask(&m, "example.com", DNS_TYPE_MX).outcome, DNS_FAILED);
}

END_TEST

/* However cut, an answer is whole or a failure: never a no, never a part. */
START_TEST(every_truncation_is_safe)
{
	struct msg m;
	start(&m, QR_RA, "www.example.com", DNS_TYPE_MX);
	put_pointer(&m, QUESTION_AT);
	size_t at = begin_rr(&m, 0, TYPE_CNAME, 60);
	put(&m, "\1b", 2);
	put_pointer(&m, QUESTION_AT + 4);
	end_rr(&m, at);
	add_mx(&m, "b.example.com", 10, "mx1.example.com", 60);
	add_mx(&m, "b.example.com", 20, "mx2.example.com", 60);
	add_soa(&m, 60, 60);
	ck_assert_int_eq(ask(&m, "www.example.com", DNS_TYPE_MX).outcome, DNS_OK);
	ck_assert_uint_eq(ask(&m, "www.example.com", DNS_TYPE_MX).records_n, 2);
	for (size_t n = 0; n < m.n; n++)
		ck_assert_int_eq(ask_n(&m, n, "www.example.com", DNS_TYPE_MX).outcome, DNS_FAILED);
}

END_TEST

Suite *test_dns_walk_suite(void)
{
	Suite *s = suite_create("dns_walk");
	TCase *t = tcase_create("dns_walk");
	tcase_add_test(t, a_question_is_what_it_says);
	tcase_add_test(t, what_is_no_domain_is_not_asked);
	tcase_add_test(t, mx_records);
	tcase_add_test(t, null_mx);
	tcase_add_test(t, addresses_through_aliases);
	tcase_add_test(t, no_has_a_lifetime);
	tcase_add_test(t, failures_are_failures);
	tcase_add_test(t, chains_end);
	tcase_add_test(t, too_many_are_cut);
	tcase_add_test(t, names_keep_to_their_bounds);
	tcase_add_test(t, long_names_end_at_255);
	tcase_add_test(t, bad_records_are_not_a_no);
	tcase_add_test(t, every_truncation_is_safe);
	suite_add_tcase(s, t);
	return s;
}
