/* The cache over a DNS that answers when the test says so: io/dns by the same names. */
#include "core/dnscache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lib/unit.h"

unit_suite_fn test_dnscache_suite;

#define DAY_MS    (86400 * (int64_t)1000)
#define QUERY_MAX 8

struct dns {
	int unused;
};

struct dns_query {
	bool used;
	char name[DNS_NAME_MAX];
	enum dns_type type;
	dns_answer_fn *fn;
	void *arg;
};

static struct {
	int64_t now_ms;
	struct dns dns;
	struct dns_query queries[QUERY_MAX];
	unsigned asked;
	struct dnscache *cache;
	unsigned warnings;
} t;

int dns_new(struct loop *l UNUSED, const struct dns_options *o UNUSED, struct dns **d_r,
    struct errbuf *eb UNUSED)
{
	*d_r = &t.dns;
	return 0;
}

void dns_free(struct dns **d)
{
	*d = NULL;
}

struct dns_query *dns_lookup(struct dns *d, const char *name, enum dns_type type, dns_answer_fn *fn,
    void *arg)
{
	ck_assert_ptr_eq(d, &t.dns);
	t.asked++;
	for (size_t i = 0; i < QUERY_MAX; i++) {
		struct dns_query *q = &t.queries[i];
		if (q->used)
			continue;
		*q = (struct dns_query){ .used = true, .type = type, .fn = fn, .arg = arg };
		snprintf(q->name, sizeof(q->name), "%s", name);
		return q;
	}
	ck_abort_msg("too many at once");
}

void dns_cancel(struct dns_query **q)
{
	if (*q)
		(*q)->used = false;
	*q = NULL;
}

static int64_t test_clock(void *arg UNUSED)
{
	return t.now_ms;
}

static void on_log(void *arg UNUSED, const char *line UNUSED, size_t n UNUSED)
{
	t.warnings++;
}

static void begin(void)
{
	memset(&t, 0, sizeof(t));
	t.now_ms = 1000000;
	t.cache = dnscache_new(&t.dns, test_clock, NULL, 1);
}

/* Answers the one question for a name and type. */
static void answer(const char *name, enum dns_type type, struct dns_answer a)
{
	for (size_t i = 0; i < QUERY_MAX; i++) {
		struct dns_query *q = &t.queries[i];
		if (!q->used || q->type != type || strcmp(q->name, name) != 0)
			continue;
		q->used = false; /* as io/dns: it is gone with its callback */
		q->fn(q->arg, &a);
		return;
	}
	ck_abort_msg("nobody asks for %s", name);
}

static struct dns_answer address(const char *ip, uint32_t ttl_s)
{
	static struct dns_record rec;
	int err = netaddr_parse_ip(slice_str(ip), &rec.address);
	ck_assert_int_eq(err, 0);
	return (struct dns_answer){ DNS_OK, false, ttl_s, &rec, 1, "" };
}

static struct dns_answer no_records(enum dns_outcome outcome, uint32_t ttl_s)
{
	struct dns_answer a = { .outcome = outcome, .ttl_s = ttl_s };
	snprintf(a.text, sizeof(a.text), "%s", outcome == DNS_FAILED ? "timeout" : "");
	return a;
}

struct heard {
	struct dnscache_wait wait;
	unsigned calls;
	enum dns_outcome outcome;
	bool stale;
	int64_t until_ms;
	struct netaddr address;
};

static void on_heard(void *arg, const struct dnscache_answer *a)
{
	struct heard *h = arg;
	h->calls++;
	h->outcome = a->dns.outcome;
	h->stale = a->stale;
	h->until_ms = a->until_ms;
	if (a->dns.outcome == DNS_OK)
		h->address = a->dns.records[0].address;
}

static const struct dnscache_answer *find(const char *name, enum dns_type type)
{
	return dnscache_find(t.cache, name, type, t.now_ms);
}

static void ask(struct heard *h, const char *name, enum dns_type type)
{
	memset(h, 0, sizeof(*h));
	dnscache_ask(t.cache, name, type, &h->wait, on_heard, h);
}

/* Asks for a.test's address and answers it. */
static void learn(struct dns_answer a)
{
	struct heard h;
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, a);
	ck_assert_uint_eq(h.calls, 1);
}

static bool is_address(const struct dnscache_answer *a, const char *ip)
{
	struct netaddr want;
	int err = netaddr_parse_ip(slice_str(ip), &want);
	ck_assert_int_eq(err, 0);
	return a && a->dns.outcome == DNS_OK && a->dns.records_n == 1 &&
	       netaddr_eq_ip(&a->dns.records[0].address, &want);
}

START_TEST(kept_for_its_ttl)
{
	begin();
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	learn(address("192.0.2.1", 30));
	ck_assert(is_address(find("A.Test.", DNS_TYPE_A), "192.0.2.1"));
	ck_assert_int_eq(find("a.test", DNS_TYPE_A)->until_ms, t.now_ms + 30000);
	ck_assert_ptr_null(find("a.test", DNS_TYPE_AAAA)); /* another question */
	ck_assert_ptr_null(find("b.test", DNS_TYPE_A));
	t.now_ms += 29999;
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.1"));
	t.now_ms += 1;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	learn(address("192.0.2.2", 30));
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.2"));
	ck_assert_uint_eq(t.asked, 2);
	dnscache_free(&t.cache);
}

END_TEST

START_TEST(ttl_is_capped)
{
	begin();
	learn(address("192.0.2.1", 7 * 86400));
	t.now_ms += DAY_MS - 1;
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.1"));
	t.now_ms += 1;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	dnscache_free(&t.cache);
}

END_TEST

static const struct {
	enum dns_outcome outcome;
	uint32_t ttl_s;
	int64_t kept_s;
} negatives[] = {
	{ DNS_NODATA, 300, 300 },
	{ DNS_NODATA, 1, 1 },
	{ DNS_NODATA, 86400, 3600 },
	{ DNS_NODATA, 0, 60 },
	{ DNS_NXDOMAIN, 300, 300 },
	{ DNS_NXDOMAIN, 86400, 3600 },
	{ DNS_NXDOMAIN, 0, 0 },
	{ DNS_FAILED, 300, 5 },
	{ DNS_FAILED, 0, 5 },
};

START_TEST(what_is_not_there)
{
	begin();
	learn(no_records(negatives[_i].outcome, negatives[_i].ttl_s));
	int64_t end = t.now_ms + negatives[_i].kept_s * 1000;
	if (negatives[_i].kept_s > 0) {
		t.now_ms = end - 1;
		ck_assert_ptr_nonnull(find("a.test", DNS_TYPE_A));
		ck_assert_int_eq(find("a.test", DNS_TYPE_A)->dns.outcome, negatives[_i].outcome);
	}
	t.now_ms = end;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	dnscache_free(&t.cache);
}

END_TEST

START_TEST(ttl_zero_is_for_those_who_wait)
{
	struct heard h[3];
	begin();
	for (size_t i = 0; i < 3; i++)
		ask(&h[i], "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, address("192.0.2.1", 0));
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(h[i].calls, 1);
		ck_assert_int_eq(h[i].until_ms, t.now_ms);
	}
	ck_assert_uint_eq(t.asked, 1);
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	/* It also ends what was known before: no going back to that when the DNS fails. */
	learn(address("192.0.2.2", 10));
	t.now_ms += 10000;
	learn(address("192.0.2.1", 0));
	struct heard last;
	ask(&last, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert_int_eq(last.outcome, DNS_FAILED);
	dnscache_free(&t.cache);
}

END_TEST

START_TEST(one_question_however_many_wait)
{
	static struct heard h[1000];
	begin();
	for (size_t i = 0; i < 1000; i++)
		ask(&h[i], i % 2 ? "A.test" : "a.test", DNS_TYPE_A);
	struct heard other;
	ask(&other, "a.test", DNS_TYPE_AAAA);
	ck_assert_uint_eq(t.asked, 2);
	dnscache_cancel(&h[17].wait);
	dnscache_cancel(&h[17].wait); /* harmless */
	answer("a.test", DNS_TYPE_A, address("192.0.2.1", 60));
	for (size_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(h[i].calls, i != 17);
	ck_assert_uint_eq(other.calls, 0);
	dnscache_cancel(&other.wait);
	answer("a.test", DNS_TYPE_AAAA, no_records(DNS_NODATA, 60)); /* nobody waits: kept */
	ck_assert_uint_eq(other.calls, 0);
	ck_assert_ptr_nonnull(find("a.test", DNS_TYPE_AAAA));
	struct dnscache_stats st;
	dnscache_stats(t.cache, &st);
	ck_assert_uint_eq(st.queries, 2);
	ck_assert_uint_eq(st.misses, 1001);
	ck_assert_uint_eq(st.hits, 1);
	dnscache_free(&t.cache);
}

END_TEST

static struct heard again;

static void on_first(void *arg, const struct dnscache_answer *a)
{
	on_heard(arg, a);
	dnscache_cancel(&again.wait);
	ask(&again, "b.test", DNS_TYPE_A);
}

/* The callback asks for more, and sends another one away. */
START_TEST(callbacks_may_ask)
{
	struct heard h;
	begin();
	memset(&h, 0, sizeof(h));
	dnscache_ask(t.cache, "a.test", DNS_TYPE_A, &h.wait, on_first, &h);
	ask(&again, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, address("192.0.2.1", 0));
	ck_assert_uint_eq(h.calls, 1);
	ck_assert_uint_eq(again.calls, 0);
	answer("b.test", DNS_TYPE_A, address("192.0.2.2", 0));
	ck_assert_uint_eq(again.calls, 1);
	dnscache_free(&t.cache);
}

END_TEST

static void on_last(void *arg, const struct dnscache_answer *a)
{
	on_heard(arg, a);
	dnscache_free(&t.cache);
}

START_TEST(the_last_callback_may_free_it)
{
	struct heard h;
	begin();
	memset(&h, 0, sizeof(h));
	dnscache_ask(t.cache, "a.test", DNS_TYPE_A, &h.wait, on_last, &h);
	answer("a.test", DNS_TYPE_A, address("192.0.2.1", 30));
	ck_assert_uint_eq(h.calls, 1);
	ck_assert_ptr_null(t.cache);
}

END_TEST

START_TEST(freed_while_a_question_is_out)
{
	struct heard h;
	begin();
	ask(&h, "a.test", DNS_TYPE_A);
	dnscache_cancel(&h.wait);
	dnscache_free(&t.cache);
	for (size_t i = 0; i < QUERY_MAX; i++)
		ck_assert(!t.queries[i].used);
}

END_TEST

START_TEST(failures_do_not_storm)
{
	begin();
	learn(no_records(DNS_FAILED, 0));
	for (int i = 0; i < 1000; i++) {
		const struct dnscache_answer *a = find("a.test", DNS_TYPE_A);
		ck_assert_ptr_nonnull(a);
		ck_assert_int_eq(a->dns.outcome, DNS_FAILED);
		ck_assert_str_eq(a->dns.text, "timeout");
		t.now_ms += 4;
	}
	ck_assert_uint_eq(t.asked, 1);
	t.now_ms += 1000;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	dnscache_free(&t.cache);
}

END_TEST

/* RFC 8767: the first waits for the failure, those after it do not, until the DNS answers. */
START_TEST(stale_while_the_dns_fails)
{
	struct heard h;
	begin();
	log_set_sink(on_log, NULL);
	learn(address("192.0.2.1", 30));
	t.now_ms += 31000;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A)); /* it may be well: it is asked */
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert_int_eq(h.outcome, DNS_OK);
	ck_assert(h.stale);
	ck_assert_int_eq(h.until_ms, t.now_ms + 30000);
	unsigned asked = t.asked;
	t.now_ms += 29999;
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.1"));
	ck_assert(find("a.test", DNS_TYPE_A)->stale);
	ck_assert_uint_eq(t.asked, asked);
	t.now_ms += 1; /* asked again, nobody waits for it */
	for (int i = 0; i < 10; i++)
		ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.1"));
	ck_assert_uint_eq(t.asked, asked + 1);
	ck_assert_int_gt(find("a.test", DNS_TYPE_A)->until_ms, t.now_ms);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.1"));
	ck_assert_uint_eq(t.asked, asked + 1);
	ck_assert_uint_eq(t.warnings, 1);
	t.now_ms += 30000;
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.1"));
	answer("a.test", DNS_TYPE_A, address("192.0.2.2", 30)); /* it is back */
	ck_assert(is_address(find("a.test", DNS_TYPE_A), "192.0.2.2"));
	ck_assert(!find("a.test", DNS_TYPE_A)->stale);
	log_set_sink(NULL, NULL);
	dnscache_free(&t.cache);
}

END_TEST

/* A failure long ago says nothing of now. */
START_TEST(an_old_failure_is_no_reason)
{
	struct heard h;
	begin();
	learn(address("192.0.2.1", 30));
	t.now_ms += 31000;
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	t.now_ms += 59999;
	ck_assert_ptr_nonnull(find("a.test", DNS_TYPE_A)); /* this one asks */
	t.now_ms += 20000;
	ck_assert_ptr_nonnull(find("a.test", DNS_TYPE_A)); /* no answer yet */
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	t.now_ms += 60000;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	ask(&h, "a.test", DNS_TYPE_A);
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A)); /* it waits too */
	ck_assert_uint_eq(t.asked, 4);
	dnscache_cancel(&h.wait);
	dnscache_free(&t.cache);
}

END_TEST

START_TEST(stale_for_a_day)
{
	struct heard h;
	begin();
	learn(address("192.0.2.1", 30));
	t.now_ms += 30000 + DAY_MS - 1;
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert_int_eq(h.outcome, DNS_OK);
	ck_assert(h.stale);
	t.now_ms += 1;
	ck_assert_ptr_null(find("a.test", DNS_TYPE_A));
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert_int_eq(h.outcome, DNS_FAILED);
	dnscache_free(&t.cache);
}

END_TEST

/* Mail is bounced for it: only on a true answer. That there is no record may be believed longer. */
START_TEST(no_such_name_is_never_stale)
{
	struct heard h;
	begin();
	learn(no_records(DNS_NXDOMAIN, 30));
	t.now_ms += 30000;
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert_int_eq(h.outcome, DNS_FAILED);
	t.now_ms += 5000;
	learn(no_records(DNS_NODATA, 30));
	t.now_ms += 30000;
	ask(&h, "a.test", DNS_TYPE_A);
	answer("a.test", DNS_TYPE_A, no_records(DNS_FAILED, 0));
	ck_assert_int_eq(h.outcome, DNS_NODATA);
	ck_assert(h.stale);
	t.now_ms += 30000; /* and the truth replaces it */
	ck_assert_ptr_nonnull(find("a.test", DNS_TYPE_A));
	answer("a.test", DNS_TYPE_A, no_records(DNS_NXDOMAIN, 30));
	ck_assert_int_eq(find("a.test", DNS_TYPE_A)->dns.outcome, DNS_NXDOMAIN);
	dnscache_free(&t.cache);
}

END_TEST

START_TEST(bounded)
{
	struct dnscache_stats st;
	begin();
	for (unsigned i = 0; i < DNSCACHE_ENTRIES_MAX + 1000; i++) {
		char name[32];
		struct heard h;
		snprintf(name, sizeof(name), "n%u.test", i);
		ask(&h, name, DNS_TYPE_A);
		answer(name, DNS_TYPE_A, address("192.0.2.1", 3600));
		ck_assert_ptr_nonnull(find("n0.test", DNS_TYPE_A)); /* in use: it stays */
	}
	dnscache_stats(t.cache, &st);
	ck_assert_uint_le(st.entries, DNSCACHE_ENTRIES_MAX);
	ck_assert_uint_le(st.bytes, DNSCACHE_BYTES_MAX);
	ck_assert_uint_gt(st.bytes, DNSCACHE_BYTES_MAX / 2);
	ck_assert_ptr_null(find("n1.test", DNS_TYPE_A));
	dnscache_free(&t.cache);
}

END_TEST

/* All of them are no domain names, and have one answer. */
START_TEST(endless_names)
{
	char name[2000];
	struct heard h;
	begin();
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ask(&h, name, DNS_TYPE_MX);
	dnscache_cancel(&h.wait);
	dnscache_free(&t.cache);
}

END_TEST

Suite *test_dnscache_suite(void)
{
	Suite *s = suite_create("dnscache");
	TCase *tc = tcase_create("dnscache");
	tcase_add_test(tc, kept_for_its_ttl);
	tcase_add_test(tc, ttl_is_capped);
	tcase_add_loop_test(tc, what_is_not_there, 0, (int)ARRAY_LEN(negatives));
	tcase_add_test(tc, ttl_zero_is_for_those_who_wait);
	tcase_add_test(tc, one_question_however_many_wait);
	tcase_add_test(tc, callbacks_may_ask);
	tcase_add_test(tc, the_last_callback_may_free_it);
	tcase_add_test(tc, freed_while_a_question_is_out);
	tcase_add_test(tc, failures_do_not_storm);
	tcase_add_test(tc, stale_while_the_dns_fails);
	tcase_add_test(tc, an_old_failure_is_no_reason);
	tcase_add_test(tc, stale_for_a_day);
	tcase_add_test(tc, no_such_name_is_never_stale);
	tcase_add_test(tc, bounded);
	tcase_add_test(tc, endless_names);
	suite_add_tcase(s, tc);
	return s;
}
