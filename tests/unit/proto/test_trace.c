#include "proto/trace.h"

#include <string.h>

#include "lib/unit.h"

unit_suite_fn test_trace_suite;

static const struct trace full = {
	.helo = "client.test",
	.client_ip = "192.0.2.9",
	.user = "joe",
	.me = "mx.test",
	.comment = "Postrider outbound",
	.protocol = "ESMTPSA",
	.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384",
	.id = "ID1",
	.rcpt = "a@b.test",
	.wall_ms = 1763664480000,
};

static void expect(const struct trace *t, const char *text)
{
	struct buf out;
	buf_init(&out, 2000);
	ck_assert_int_eq(trace_received(t, &out), 0);
	ck_assert_str_eq(buf_cstr(&out), text);
	buf_fini(&out);
}

START_TEST(whole_fields)
{
	expect(&full,
	    "Received: from client.test ([192.0.2.9]) (authenticated as joe) by mx.test\r\n"
	    "\t(Postrider outbound) with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
	    "\tid ID1 for <a@b.test>; Thu, 20 Nov 2025 18:48:00 +0000\r\n");
	struct trace own = { .helo = "",
		.client_ip = "",
		.user = "",
		.me = "mx.test",
		.comment = "",
		.protocol = "local",
		.tls = "",
		.id = "ID2",
		.rcpt = "" };
	expect(&own, "Received: by mx.test with local id ID2; Thu, 1 Jan 1970 00:00:00 +0000\r\n");
	own.helo = "[IPv6:::1]";
	own.client_ip = "2001:db8::1";
	expect(&own,
	    "Received: from [IPv6:::1] ([IPv6:2001:db8::1]) by mx.test with local id ID2;\r\n"
	    "\tThu, 1 Jan 1970 00:00:00 +0000\r\n");
}

END_TEST

static const struct {
	const char *helo;
	const char *user;
	const char *rcpt;
	const char *holds;
	const char *lacks;
} hostile[] = {
	{ "x\r\nBcc: y", "", "", "from unknown ", "Bcc" },
	{ "a b", "", "", "from unknown ", "a b" },
	{ "", "", "", "from unknown ", "from  " },
	{ "b\xc3\xbc"
	  "cher.test",
	    "", "", "from xn--bcher-kva.test ", "\xc3" },
	{ "x.test.", "", "", "from x.test ", "test. " },
	{ "x", "joe) by evil (\r\n\tX: \xc3\xa9", "",
	    "joe? by evil ????X: ??"
	    ")",
	    "evil (" },
	{ "x", "a\\\"b", "", "as a??b)", "\\" },
	{ "x", "", "\xc3\xa9@b.test", "id", "for" },
	{ "x", "", "a@b.test> x <y", "id", "for" },
	{ "x", "", "\"a b\"@b.test", "for <\"a b\"@b.test>", "?" },
};

START_TEST(nothing_foreign_adds_to_the_field)
{
	struct trace t = full;
	struct buf out;
	t.helo = hostile[_i].helo;
	t.user = hostile[_i].user;
	t.rcpt = hostile[_i].rcpt;
	buf_init(&out, 2000);
	ck_assert_int_eq(trace_received(&t, &out), 0);
	const char *text = buf_cstr(&out);
	ck_assert_msg(strstr(text, hostile[_i].holds) != NULL, "%s", text);
	ck_assert_msg(strstr(text, hostile[_i].lacks) == NULL, "%s", text);
	/* Each line but the first is a continuation. */
	for (const char *lf = strchr(text, '\n'); lf[1]; lf = strchr(lf + 1, '\n'))
		ck_assert_int_eq(lf[1], '\t');
	buf_fini(&out);
}

END_TEST

START_TEST(long_parts_and_full_buffers)
{
	struct trace t = full;
	struct buf out;
	char user[2000];
	memset(user, 'u', sizeof(user));
	user[sizeof(user) - 1] = '\0';
	t.user = user;
	buf_init(&out, 2000);
	ck_assert_int_eq(trace_received(&t, &out), 0);
	ck_assert_uint_lt(buf_len(&out), 700);
	buf_fini(&out);
	buf_init(&out, 100);
	ck_assert_int_eq(buf_add_str(&out, "before"), 0);
	ck_assert_int_eq(trace_received(&t, &out), ERR_TOO_BIG);
	ck_assert_str_eq(buf_cstr(&out), "before");
	buf_fini(&out);
}

END_TEST

START_TEST(message_ids)
{
	struct buf out;
	buf_init(&out, 20);
	ck_assert_int_eq(trace_message_id("ID1", "mx.test", &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "<ID1@mx.test>");
	ck_assert_int_eq(trace_message_id("ID1", "mx.test", &out), ERR_TOO_BIG);
	buf_fini(&out);
}

END_TEST

Suite *test_trace_suite(void)
{
	Suite *s = suite_create("proto/trace");
	TCase *t = tcase_create("trace");
	tcase_add_test(t, whole_fields);
	tcase_add_loop_test(t, nothing_foreign_adds_to_the_field, 0, ARRAY_LEN(hostile));
	tcase_add_test(t, long_parts_and_full_buffers);
	tcase_add_test(t, message_ids);
	suite_add_tcase(s, t);
	return s;
}
