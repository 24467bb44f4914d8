#include <stdlib.h>
#include <string.h>

#include "lib/unit.h"
#include "tools/sandbox_cast.h"

Suite *test_sandbox_cast_suite(void);

static struct slice str(const char *s)
{
	return slice_str(s);
}

static const struct {
	const char *name;
	enum cast_kind kind;
	enum cast_stage stage;
	unsigned code, value;
} names[] = {
	{ "accept", CAST_ACCEPT, CAST_STAGE_NONE, 0, 0 },
	{ "451-greeting", CAST_REPLY, CAST_STAGE_GREETING, 451, 0 },
	{ "400-ehlo", CAST_REPLY, CAST_STAGE_EHLO, 400, 0 },
	{ "599-helo", CAST_REPLY, CAST_STAGE_HELO, 599, 0 },
	{ "454-STARTTLS", CAST_REPLY, CAST_STAGE_STARTTLS, 454, 0 },
	{ "550-Rcpt", CAST_REPLY, CAST_STAGE_RCPT, 550, 0 },
	{ "close-dot", CAST_CLOSE, CAST_STAGE_DOT, 0, 0 },
	{ "silent-data", CAST_SILENT, CAST_STAGE_DATA, 0, 0 },
	{ "slow", CAST_SLOW, CAST_STAGE_NONE, 0, CAST_SLOW_MS },
	{ "slow-500", CAST_SLOW, CAST_STAGE_NONE, 0, 500 },
	{ "slow-65535", CAST_SLOW, CAST_STAGE_NONE, 0, 65535 },
	{ "slow-65536", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "slow-0", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "slow-", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "greylist", CAST_GREYLIST, CAST_STAGE_NONE, 0, CAST_GREYLIST_S },
	{ "greylist-10", CAST_GREYLIST, CAST_STAGE_NONE, 0, 10 },
	{ "greylist-9999999999", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "flaky-3", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "dnstimeout", CAST_DNSTIMEOUT, CAST_STAGE_NONE, 0, 0 },
	{ "399-rcpt", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "600-rcpt", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "0550-rcpt", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "550-lunch", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "550-", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "-rcpt", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "close", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
	{ "", CAST_NONE, CAST_STAGE_NONE, 0, 0 },
};

START_TEST(names_are_parsed)
{
	struct cast c = cast_parse(str(names[_i].name));
	ck_assert_msg(c.kind == names[_i].kind, "%s", names[_i].name);
	ck_assert_int_eq(c.stage, names[_i].stage);
	ck_assert_uint_eq(c.code, names[_i].code);
	ck_assert_uint_eq(c.value, names[_i].value);
}

END_TEST

START_TEST(names_come_back)
{
	char buf[CAST_NAME_MAX];
	struct cast c = cast_parse(str(names[_i].name));
	if (c.kind == CAST_NONE)
		return;
	struct cast again = cast_parse(str(cast_format(&c, buf)));
	ck_assert_mem_eq(&c, &again, sizeof(c));
}

END_TEST

/* Whoever acts before the recipient is known must be known by the address. */
START_TEST(addresses_come_back)
{
	for (unsigned stage = CAST_STAGE_GREETING; stage <= CAST_STAGE_MAIL; stage++) {
		struct cast c = { .kind = CAST_REPLY, .stage = (enum cast_stage)stage };
		for (c.code = 400; c.code < 600; c.code++) {
			struct netaddr a = cast_address(&c);
			struct cast again = cast_of_address(&a);
			ck_assert(netaddr_is_loopback(&a));
			ck_assert_mem_eq(&c, &again, sizeof(c));
		}
	}
	static const char *const others[] = { "accept", "close-ehlo", "silent-mail", "notls",
		"badtls", "noext", "dead", "slow-1", "slow-256", "slow-65535" };
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		char buf[CAST_NAME_MAX];
		struct cast c = cast_parse(str(others[i]));
		struct netaddr a = cast_address(&c);
		struct cast again = cast_of_address(&a);
		ck_assert_str_eq(cast_format(&again, buf), others[i]);
	}
}

END_TEST

START_TEST(other_addresses_accept)
{
	static const char *const texts[] = { "127.0.0.1", "127.80.0.1", "127.80.0.99", "127.80.1.0",
		"127.80.1.201", "127.80.9.5", "::1", "192.0.2.1", "127.80.0.0" };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct netaddr a;
		ck_assert_int_eq(netaddr_parse_ip(str(texts[i]), &a), 0);
		ck_assert_msg(cast_of_address(&a).kind == CAST_ACCEPT, "%s", texts[i]);
	}
}

END_TEST

static const struct {
	const char *local, *domain, *name;
} recipients[] = {
	{ "joe", "example.org", "accept" },
	{ "joe", "550-rcpt.example.org", "550-rcpt" },
	{ "joe", "550-rcpt", "550-rcpt" },
	{ "joe", "mx1.550-rcpt.test", "550-rcpt" },
	{ "550-dot+joe", "example.org", "550-dot" },
	{ "550-DOT", "451-data.test", "550-dot" },
	{ "accept", "550-rcpt.test", "accept" },
	{ "greylist-7+a+b", "x", "greylist-7" },
	{ "550-greeting", "451-rcpt.test", "451-rcpt" }, /* too late for a greeting */
	{ "nullmx", "451-rcpt.test", "451-rcpt" },
	{ "+", "x", "accept" },
	{ "", "", "accept" },
};

START_TEST(recipients_choose)
{
	char buf[CAST_NAME_MAX];
	struct cast c = cast_of_recipient(str(recipients[_i].local), str(recipients[_i].domain));
	ck_assert_str_eq(cast_format(&c, buf), recipients[_i].name);
}

END_TEST

static const struct {
	const char *reply, *enhanced;
} codes[] = {
	{ "550-rcpt", "5.1.1" },
	{ "550-dot", "5.7.1" },
	{ "452-rcpt", "4.2.2" },
	{ "452-mail", "4.3.1" },
	{ "421-data", "4.3.2" },
	{ "599-mail", "5.0.0" },
	{ "554-rcpt", "5.0.0" },
	{ "554-dot", "5.6.0" },
};

START_TEST(enhanced_codes_suit)
{
	char buf[12];
	struct cast c = cast_parse(str(codes[_i].reply));
	ck_assert_str_eq(cast_enhanced(&c, buf), codes[_i].enhanced);
}

END_TEST

/* The answer as one line: "rcode N" or "silent", then the records. */
static const char *answer_text(const struct cast_answer *a, char buf[1024])
{
	size_t n = (size_t)snprintf(buf, 1024, a->silent ? "silent" : "%d", a->rcode);
	for (size_t i = 0; i < a->records_n; i++) {
		const struct cast_record *r = &a->records[i];
		char ip[NETADDR_TEXT_MAX] = "";
		if (r->address.family)
			netaddr_format_ip(&r->address, ip);
		if (r->type == DNS_TYPE_MX)
			n += (size_t)snprintf(buf + n, 1024 - n, "; %s MX %d %s", r->name,
			    r->preference, r->target);
		else if (r->type == DNS_TYPE_NONE)
			n += (size_t)snprintf(buf + n, 1024 - n, "; %s CNAME %s", r->name,
			    r->target);
		else
			n += (size_t)snprintf(buf + n, 1024 - n, "; %s %s", r->name, ip);
	}
	return buf;
}

static const struct {
	const char *name;
	int type;
	const char *answer;
} questions[] = {
	{ "foo.test", DNS_TYPE_MX, "0; foo.test MX 10 mx1.foo.test" },
	{ "foo.test", DNS_TYPE_A, "0; foo.test 127.80.0.1" },
	{ "foo.test", DNS_TYPE_AAAA, "0" },
	{ "foo.test", DNS_TYPE_TXT, "0" },
	{ "mx1.foo.test", DNS_TYPE_A, "0; mx1.foo.test 127.80.0.1" },
	{ "mx1.451-greeting.a.b", DNS_TYPE_A, "0; mx1.451-greeting.a.b 127.80.1.52" },
	{ "mx1.slow-500.x", DNS_TYPE_A, "0; mx1.slow-500.x 127.81.1.244" },
	{ "550-rcpt.x", DNS_TYPE_A, "0; 550-rcpt.x 127.80.0.1" },
	{ "nullmx.x", DNS_TYPE_MX, "0; nullmx.x MX 0 " },
	{ "implicit.x", DNS_TYPE_MX, "0" },
	{ "implicit.x", DNS_TYPE_A, "0; implicit.x 127.80.0.1" },
	{ "nohost.x", DNS_TYPE_MX, "0" },
	{ "nohost.x", DNS_TYPE_A, "0" },
	{ "deadmx.x", DNS_TYPE_MX, "0; deadmx.x MX 10 mx1.deadmx.x; deadmx.x MX 20 mx2.deadmx.x" },
	{ "mx1.deadmx.x", DNS_TYPE_A, "0; mx1.deadmx.x 127.80.0.2" },
	{ "mx2.deadmx.x", DNS_TYPE_A, "0; mx2.deadmx.x 127.80.0.1" },
	{ "mx1.dead.x", DNS_TYPE_A, "0; mx1.dead.x 127.80.0.2" },
	{ "mx1.v6.x", DNS_TYPE_A, "0" },
	{ "mx1.v6.x", DNS_TYPE_AAAA, "0; mx1.v6.x ::1" },
	{ "cname.x", DNS_TYPE_MX, "0; cname.x MX 10 mx1.cname.x" },
	{ "mx1.cname.x", DNS_TYPE_A, "0; mx1.cname.x CNAME mx2.cname.x; mx2.cname.x 127.80.0.1" },
	{ "mx1.cname.x", DNS_TYPE_AAAA, "0; mx1.cname.x CNAME mx2.cname.x" },
	{ "alias.x", DNS_TYPE_MX,
	    "0; alias.x CNAME accept.alias.x; accept.alias.x MX 10 mx1.accept.alias.x" },
	{ "mx1.accept.alias.x", DNS_TYPE_A, "0; mx1.accept.alias.x 127.80.0.1" },
	{ "nxdomain.x", DNS_TYPE_MX, "3" },
	{ "nxdomain.x", DNS_TYPE_A, "3" },
	{ "servfail.x", DNS_TYPE_MX, "2" },
	{ "dnstimeout.x", DNS_TYPE_MX, "silent" },
	{ "", DNS_TYPE_MX, "0;  MX 10 mx1." },
};

START_TEST(dns_answers)
{
	char buf[1024];
	struct cast_answer a;
	cast_resolve(questions[_i].name, questions[_i].type, &a);
	ck_assert_str_eq(answer_text(&a, buf), questions[_i].answer);
}

END_TEST

/* A name with no room for a label in front: a failure, never a cut name. */
START_TEST(long_names_fail)
{
	char name[DNS_NAME_MAX];
	struct cast_answer a;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cast_resolve(name, DNS_TYPE_MX, &a);
	ck_assert_int_eq(a.rcode, 2);
	ck_assert_uint_eq(a.records_n, 0);
	memcpy(name, "deadmx.", 7);
	cast_resolve(name, DNS_TYPE_MX, &a);
	ck_assert_int_eq(a.rcode, 2);
	ck_assert_uint_eq(a.records_n, 0);
	memcpy(name, "alias.x", 7);
	cast_resolve(name, DNS_TYPE_A, &a);
	ck_assert_int_eq(a.rcode, 2);
	ck_assert_uint_eq(a.records_n, 0);
}

END_TEST

/* --help names everybody who can be asked for. */
START_TEST(help_is_complete)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	ck_assert_ptr_nonnull(to);
	cast_print(to);
	fclose(to);
	for (int kind = CAST_ACCEPT; kind <= CAST_DNSTIMEOUT; kind++) {
		char name[CAST_NAME_MAX];
		struct cast c = { .kind = (enum cast_kind)kind };
		if (kind >= CAST_REPLY && kind <= CAST_SILENT)
			continue;
		cast_format(&c, name);
		name[strcspn(name, "-")] = '\0';
		ck_assert_msg(strstr(text, name), "%s", name);
	}
	for (int stage = CAST_STAGE_GREETING; stage <= CAST_STAGE_DOT; stage++)
		ck_assert(strstr(text, cast_stage_name((enum cast_stage)stage)));
	free(text);
}

END_TEST

Suite *test_sandbox_cast_suite(void)
{
	Suite *s = suite_create("sandbox_cast");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, names_are_parsed, 0, (int)ARRAY_LEN(names));
	tcase_add_loop_test(tc, names_come_back, 0, (int)ARRAY_LEN(names));
	tcase_add_test(tc, addresses_come_back);
	tcase_add_test(tc, other_addresses_accept);
	tcase_add_loop_test(tc, recipients_choose, 0, (int)ARRAY_LEN(recipients));
	tcase_add_loop_test(tc, enhanced_codes_suit, 0, (int)ARRAY_LEN(codes));
	tcase_add_loop_test(tc, dns_answers, 0, (int)ARRAY_LEN(questions));
	tcase_add_test(tc, long_names_fail);
	tcase_add_test(tc, help_is_complete);
	suite_add_tcase(s, tc);
	return s;
}
