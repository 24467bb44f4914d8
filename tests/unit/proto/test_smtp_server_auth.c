#include <string.h>

#include "base/check.h"
#include "lib/unit.h"
#include "proto/smtp_server_int.h"
#include "server_case.h"

/* STARTTLS, AUTH, and who may send. */

unit_suite_fn test_smtp_server_auth_suite;

#define MAIL1   "MAIL FROM:<a@b.test>\r\n"
/* \0joe\0secret, \0deny\0x, \0defer\0x */
#define JOE     "AGpvZQBzZWNyZXQ="
#define DENY    "AGRlbnkAeA=="
#define DEFER   "AGRlZmVyAHg="
#define JOE_LOG "> AUTH PLAIN user=joe password=secret\n235 2.7.0 Authentication successful\n"

static const struct server_case cases[] = {
	{ "PLAIN, initial response", SERVER_TLS | SERVER_UNTRUSTED,
	    SLICE("AUTH PLAIN " JOE "\r\n" MAIL1),
	    JOE_LOG "> MAIL <a@b.test> ESMTPSA\n250 2.1.0 OK\n" },
	{ "PLAIN, asked", SERVER_TLS | SERVER_UNTRUSTED, SLICE("auth plain\r\n" JOE "\r\nNOOP\r\n"),
	    "334 \n" JOE_LOG "250 2.0.0 OK\n" },
	{ "PLAIN, empty initial response", SERVER_TLS, SLICE("AUTH PLAIN =\r\n" JOE "\r\n"),
	    "334 \n" JOE_LOG },
	{ "LOGIN", SERVER_TLS, SLICE("AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\n"),
	    "334 VXNlcm5hbWU6\n334 UGFzc3dvcmQ6\n> AUTH LOGIN user=joe password=secret\n"
	    "235 2.7.0 Authentication successful\n" },
	{ "LOGIN, user given", SERVER_TLS, SLICE("AUTH LOGIN am9l\r\nc2VjcmV0\r\n"),
	    "334 UGFzc3dvcmQ6\n> AUTH LOGIN user=joe password=secret\n"
	    "235 2.7.0 Authentication successful\n" },
	{ "in clear", SERVER_UNTRUSTED, SLICE("AUTH PLAIN " JOE "\r\n" MAIL1),
	    "538 5.7.11 Encryption required, use STARTTLS\n"
	    "530 5.7.0 Must issue a STARTTLS command first\n" },
	{ "in clear, allowed", SERVER_UNTRUSTED | SERVER_CLEAR_AUTH,
	    SLICE(MAIL1 "AUTH PLAIN " JOE "\r\n" MAIL1),
	    "530 5.7.0 Authentication required\n" JOE_LOG
	    "> MAIL <a@b.test> ESMTPA\n250 2.1.0 OK\n" },
	{ "never possible", SERVER_UNTRUSTED | SERVER_NO_STARTTLS, SLICE(MAIL1 "AUTH PLAIN\r\n"),
	    "554 5.7.1 Relay access denied\n538 5.7.11 Encryption required, use STARTTLS\n" },
	{ "not configured", SERVER_UNTRUSTED | SERVER_NO_AUTH | SERVER_TLS,
	    SLICE("AUTH PLAIN " JOE "\r\n" MAIL1),
	    "502 5.5.1 AUTH is not offered\n554 5.7.1 Relay access denied\n" },
	{ "before EHLO", SERVER_TLS | SERVER_NO_EHLO, SLICE("AUTH PLAIN " JOE "\r\n"),
	    "503 5.5.1 Send EHLO first\n" },
	{ "twice", SERVER_AUTHENTICATED, SLICE("AUTH PLAIN " JOE "\r\n"),
	    "503 5.5.1 Already authenticated\n" },
	{ "inside a transaction", SERVER_TLS, SLICE(MAIL1 "AUTH PLAIN " JOE "\r\nRSET\r\n"),
	    "> MAIL <a@b.test> ESMTPS\n250 2.1.0 OK\n503 5.5.1 AUTH inside a transaction\n"
	    "250 2.0.0 OK\n> RESET\n" },
	{ "unknown mechanisms", SERVER_TLS,
	    SLICE("AUTH CRAM-MD5\r\nAUTH PLAINX x\r\nAUTH\r\nAUTH \r\n"),
	    "504 5.5.4 Unknown authentication mechanism\n504 5.5.4 Unknown authentication "
	    "mechanism\n501 5.5.4 Syntax: AUTH mechanism\n501 5.5.4 Syntax: AUTH mechanism\n" },
	{ "cancelled", SERVER_TLS, SLICE("AUTH PLAIN\r\n*\r\nAUTH LOGIN\r\n*\r\nNOOP\r\n"),
	    "334 \n501 5.7.0 Authentication cancelled\n334 VXNlcm5hbWU6\n"
	    "501 5.7.0 Authentication cancelled\n250 2.0.0 OK\n" },
	{ "bad base64", SERVER_TLS,
	    SLICE("AUTH PLAIN A\r\nAUTH PLAIN AA\r\nAUTH PLAIN AAA\r\nAUTH PLAIN A=AA\r\n"
		  "AUTH PLAIN =AAA\r\nAUTH PLAIN " JOE "=\r\nAUTH PLAIN\r\nQUIT\r\n\r\n"),
	    "501 5.5.2 Malformed base64\n501 5.5.2 Malformed base64\n501 5.5.2 Malformed base64\n"
	    "501 5.5.2 Malformed base64\n501 5.5.2 Malformed base64\n501 5.5.2 Malformed base64\n"
	    "334 \n535 5.7.8 Authentication credentials invalid\n"
	    "500 5.5.1 Command unrecognised\n" },
	/* ann\0joe\0x, joe\0joe\0x */
	{ "another's identity", SERVER_TLS, SLICE("AUTH PLAIN YW5uAGpvZQB4\r\n"),
	    "535 5.7.8 Authentication credentials invalid\n" },
	{ "own identity", SERVER_TLS, SLICE("AUTH PLAIN am9lAGpvZQB4\r\n"),
	    "> AUTH PLAIN user=joe password=x\n235 2.7.0 Authentication successful\n" },
	{ "bad lines in an exchange", SERVER_TLS,
	    SLICE("AUTH PLAIN\r\n" JOE "\nAUTH PLAIN\r\nAG\rpv\r\n" JOE "\r\n"),
	    "334 \n500 5.5.2 Line does not end with CRLF\n334 \n"
	    "500 5.5.2 Line holds a CR or NUL\n500 5.5.1 Command unrecognised\n" },
	{ "wrong, later, right", SERVER_TLS,
	    SLICE("AUTH PLAIN " DENY "\r\nAUTH PLAIN " DEFER "\r\nAUTH PLAIN " JOE "\r\n"),
	    "> AUTH PLAIN user=deny password=x\n535 5.7.8 No\n"
	    "> AUTH PLAIN user=defer password=x\n454 4.7.0 Later\n" JOE_LOG },
	{ "wrong thrice", SERVER_TLS,
	    SLICE("AUTH PLAIN " DENY "\r\nAUTH PLAIN " DENY "\r\nAUTH PLAIN AAA=\r\nNOOP\r\n"),
	    "> AUTH PLAIN user=deny password=x\n535 5.7.8 No\n"
	    "> AUTH PLAIN user=deny password=x\n535 5.7.8 No\n"
	    "535 5.7.8 Authentication credentials invalid\n"
	    "421 4.7.0 mx.test Too many authentication failures\n> CLOSE\n" },
	{ "lost in an exchange", SERVER_TLS | SERVER_EOF, SLICE("AUTH LOGIN\r\nam9l\r\n"),
	    "334 VXNlcm5hbWU6\n334 UGFzc3dvcmQ6\n> CLOSE\n" },
	{ "STARTTLS", SERVER_UNTRUSTED,
	    SLICE("STARTTLS x\r\nSTARTTLS\r\n\1" MAIL1 "STARTTLS\r\nEHLO x\r\n"),
	    "501 5.5.4 STARTTLS takes no parameters\n220 2.0.0 Ready to start TLS\n> START_TLS\n"
	    "503 5.5.1 Send EHLO first\n503 5.5.1 TLS is on already\n"
	    "250-mx.test Hello [192.0.2.9]\n250-PIPELINING\n250-SIZE 100000\n250-8BITMIME\n"
	    "250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250-DSN\n250-AUTH PLAIN LOGIN\n250 HELP\n" },
	{ "STARTTLS forgets", SERVER_UNTRUSTED | SERVER_CLEAR_AUTH,
	    SLICE("AUTH PLAIN " JOE "\r\n\1STARTTLS\r\n\1AUTH PLAIN " JOE "\r\n\1HELO x\r\n" MAIL1),
	    JOE_LOG "220 2.0.0 Ready to start TLS\n> START_TLS\n503 5.5.1 Send EHLO first\n"
		    "250 mx.test\n530 5.7.0 Authentication required\n" },
	{ "STARTTLS not configured", SERVER_NO_STARTTLS, SLICE("STARTTLS\r\nNOOP\r\n"),
	    "502 5.5.1 STARTTLS is not offered\n250 2.0.0 OK\n" },
	{ "STARTTLS inside a transaction", 0, SLICE(MAIL1 "STARTTLS\r\n"),
	    "> MAIL <a@b.test> ESMTP\n250 2.1.0 OK\n503 5.5.1 STARTTLS inside a transaction\n" },
};

START_TEST(exchanges)
{
	server_case_run(&cases[_i]);
}

END_TEST

static enum smtp_server_action_kind next_kind(struct smtp_server *s)
{
	struct smtp_server_action a;
	smtp_server_next(s, &a);
	return a.kind;
}

static void expect_output(struct smtp_server *s, const char *text)
{
	ck_assert_str_eq(buf_cstr(smtp_server_output(s)), text);
	buf_clear(smtp_server_output(s));
}

/* CVE-2011-0411: what was sent in clear behind STARTTLS is never read as if secured. */
START_TEST(plaintext_behind_starttls_ends_the_session)
{
	struct slice in = SLICE("STARTTLS\r\nRSET\r\n");
	size_t command = strlen("STARTTLS\r\n");
	struct smtp_server_config cfg;
	server_case_config(&cfg, 0);
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct smtp_server *s = server_case_open(&cfg, 0);
		struct slice first = slice_of(in.p, cut);
		ck_assert_uint_eq(smtp_server_feed(s, first, SERVER_CASE_NOW), cut);
		enum smtp_server_action_kind kind = next_kind(s);
		if (cut > command) {
			ck_assert_int_eq(kind, SMTP_SERVER_CLOSE);
			expect_output(s, "554 5.5.1 Data after STARTTLS\r\n");
			smtp_server_free(&s);
			continue;
		}
		ck_assert_int_eq(kind, cut == command ? SMTP_SERVER_START_TLS : SMTP_SERVER_NONE);
		if (cut == command)
			expect_output(s, "220 2.0.0 Ready to start TLS\r\n");
		smtp_server_feed(s, slice_from(in, cut), SERVER_CASE_NOW);
		ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
		expect_output(s, "554 5.5.1 Data after STARTTLS\r\n");
		/* A handshake that succeeds all the same changes nothing. */
		smtp_server_tls_done(s, true, "TLSv1.3");
		ck_assert_int_eq(smtp_server_feed(s, SLICE("NOOP\r\n"), SERVER_CASE_NOW), 6);
		ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
		expect_output(s, "");
		smtp_server_free(&s);
	}
}

END_TEST

START_TEST(a_failed_or_late_handshake_closes)
{
	struct smtp_server_config cfg;
	server_case_config(&cfg, 0);
	for (int how = 0; how < 3; how++) {
		struct smtp_server *s = server_case_open(&cfg, 0);
		smtp_server_feed(s, SLICE("STARTTLS\r\n"), SERVER_CASE_NOW);
		ck_assert_int_eq(next_kind(s), SMTP_SERVER_START_TLS);
		ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
		buf_clear(smtp_server_output(s));
		struct now late = { .mono_ms = smtp_server_deadline(s) };
		if (how == 0)
			smtp_server_tls_done(s, false, NULL);
		else if (how == 1)
			smtp_server_tick(s, late);
		else
			smtp_server_eof(s);
		ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
		expect_output(s, "");
		smtp_server_free(&s);
	}
}

END_TEST

START_TEST(facts_follow_the_session)
{
	struct smtp_server_config cfg;
	struct buf log;
	buf_init(&log, 10000);
	server_case_config(&cfg, SERVER_UNTRUSTED | SERVER_CLEAR_AUTH);
	struct smtp_server *s = server_case_open(&cfg, SERVER_UNTRUSTED | SERVER_CLEAR_AUTH);
	ck_assert_str_eq(smtp_server_helo(s), "client.test");
	server_case_feed(s, SLICE("AUTH PLAIN " JOE "\r\n"), &log);
	ck_assert_str_eq(smtp_server_user(s), "joe");
	ck_assert_str_eq(smtp_server_protocol(s), "ESMTPA");
	server_case_feed(s, SLICE("STARTTLS\r\n"), &log);
	ck_assert_str_eq(smtp_server_user(s), "");
	ck_assert_str_eq(smtp_server_helo(s), "");
	ck_assert_str_eq(smtp_server_protocol(s), "SMTP");
	server_case_feed(s, SLICE("EHLO [192.0.2.7]\r\n"), &log);
	ck_assert_str_eq(smtp_server_protocol(s), "ESMTPS");
	ck_assert_str_eq(smtp_server_helo(s), "[192.0.2.7]");
	smtp_server_free(&s);
	buf_fini(&log);
}

END_TEST

static bool holds(const struct buf *b, const char *text)
{
	return b->mem && memmem(b->mem, b->cap, text, strlen(text)) != NULL;
}

/* Law 7: whether it was taken, refused or too early, no buffer keeps a password. */
START_TEST(passwords_are_wiped)
{
	static const char *const EXCHANGES[] = {
		"AUTH PLAIN " JOE "\r\n",
		"NOOP\r\nAUTH PLAIN\r\n" JOE "\r\nNOOP\r\n",
		"AUTH LOGIN\r\nam9l\r\n" JOE "\r\nRSET\r\nNOOP a\r\n",
		"AUTH NONE " JOE "\r\n",
		"AUTH PLAIN " JOE " " JOE "\r\n",
		"AUTH PLAIN\r\n" JOE "?\r\n",
		"AUTH PLAIN\r\n" JOE "\n",
	};
	struct smtp_server_config cfg;
	struct buf log;
	buf_init(&log, 10000);
	for (size_t i = 0; i < 2 * ARRAY_LEN(EXCHANGES); i++) {
		/* In clear what follows a refused AUTH is not a response, but a command. */
		bool one_line = slice_starts(slice_str(EXCHANGES[i / 2]), SLICE("AUTH PLAIN A"));
		unsigned options = i % 2 || !one_line ? SERVER_TLS : 0;
		server_case_config(&cfg, options);
		struct smtp_server *s = server_case_open(&cfg, options);
		server_case_feed(s, slice_str(EXCHANGES[i / 2]), &log);
		ck_assert(!holds(&s->in, "AGpvZQBzZWNy"));
		ck_assert(!holds(&s->line, "AGpvZQBzZWNy"));
		smtp_server_free(&s);
	}
	buf_fini(&log);
}

END_TEST

static void add_many(struct buf *in, char c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(buf_add_char(in, c) == 0);
}

START_TEST(long_lines)
{
	struct smtp_server_config cfg;
	struct buf log;
	struct buf in;
	buf_init(&log, 10000);
	buf_init(&in, 100000);
	server_case_config(&cfg, SERVER_TLS);
	struct smtp_server *s = server_case_open(&cfg, SERVER_TLS);
	/* As command: longer than others may be, then too long; as response. */
	int r = buf_add_str(&in, "AUTH PLAIN ");
	CHECK(r == 0);
	add_many(&in, 'A', 12000);
	r = buf_add_str(&in, "\r\nAUTH PLAIN ");
	CHECK(r == 0);
	add_many(&in, 'A', 12400);
	r = buf_add_str(&in, "\r\nAUTH PLAIN\r\n");
	CHECK(r == 0);
	add_many(&in, 'A', 50000);
	r = buf_add_str(&in, "\r\nNOOP\r\n");
	CHECK(r == 0);
	server_case_feed(s, buf_slice(&in), &log);
	ck_assert_str_eq(buf_cstr(&log),
	    "535 5.7.8 Authentication credentials invalid\n500 5.5.2 Line too long\n334 \n"
	    "500 5.5.6 Line too long\n250 2.0.0 OK\n");
	smtp_server_free(&s);
	buf_fini(&in);
	buf_fini(&log);
}

END_TEST

Suite *test_smtp_server_auth_suite(void)
{
	Suite *s = suite_create("proto/smtp_server_auth");
	TCase *t = tcase_create("auth");
	tcase_add_loop_test(t, exchanges, 0, ARRAY_LEN(cases));
	tcase_add_test(t, plaintext_behind_starttls_ends_the_session);
	tcase_add_test(t, a_failed_or_late_handshake_closes);
	tcase_add_test(t, facts_follow_the_session);
	tcase_add_test(t, long_lines);
	tcase_add_test(t, passwords_are_wiped);
	suite_add_tcase(s, t);
	return s;
}
