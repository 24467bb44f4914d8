#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "lib/unit.h"
#include "proto/smtp_server_int.h"
#include "server_case.h"

/* Commands and their order, time and limits; test_smtp_server_data.c has the body, _auth.c AUTH
 * and STARTTLS. */

unit_suite_fn test_smtp_server_suite;

#define MAIL1      "MAIL FROM:<a@b.test>\r\n"
#define RCPT1      "RCPT TO:<c@d.test>\r\n"
#define MAIL1_LOG  "> MAIL <a@b.test> ESMTP\n250 2.1.0 OK\n"
#define RCPT1_LOG  "> RCPT <c@d.test>\n250 2.1.5 OK\n"
#define DATA_LOG   "> DATA\n354 End data with <CR><LF>.<CR><LF>\n"
#define QUEUED_LOG "250 2.0.0 queued as ID1\n"

static const struct server_case sessions[] = {
	{ "EHLO in clear", SERVER_NO_EHLO | SERVER_UNTRUSTED, SLICE("EHLO client.test\r\n"),
	    "250-mx.test Hello [192.0.2.9]\n250-PIPELINING\n250-SIZE 100000\n250-8BITMIME\n"
	    "250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250-DSN\n250-STARTTLS\n250 HELP\n" },
	{ "EHLO in TLS", SERVER_NO_EHLO | SERVER_TLS, SLICE("ehlo [192.0.2.1]\r\n"),
	    "250-mx.test Hello [192.0.2.9]\n250-PIPELINING\n250-SIZE 100000\n250-8BITMIME\n"
	    "250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250-DSN\n250-AUTH PLAIN LOGIN\n250 HELP\n" },
	{ "EHLO with AUTH in clear", SERVER_NO_EHLO | SERVER_CLEAR_AUTH | SERVER_NO_STARTTLS,
	    SLICE("EHLO my_pc\r\n"),
	    "250-mx.test Hello [192.0.2.9]\n250-PIPELINING\n250-SIZE 100000\n250-8BITMIME\n"
	    "250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250-DSN\n250-AUTH PLAIN LOGIN\n250 HELP\n" },
	{ "EHLO names", SERVER_NO_EHLO,
	    SLICE("EHLO\r\nEHLO  \r\nEHLO a b\r\nEHLO [1.2.3]\r\nHELO a..b\r\nHELO\r\n"),
	    "501 5.5.4 Host name missing\n501 5.5.4 Host name missing\n"
	    "501 5.5.4 Not a host name or address literal\n"
	    "501 5.5.4 Not a host name or address literal\n"
	    "501 5.5.4 Not a host name or address literal\n501 5.5.4 Host name missing\n" },
	{ "HELO names", SERVER_NO_EHLO,
	    SLICE("HELO a\r\nHELO a.test.\r\nHELO [IPv6:::1]\r\nhelo [::1]\r\n"
		  "HELO \xc3\xa9.test\r\n"),
	    "250 mx.test\n250 mx.test\n250 mx.test\n250 mx.test\n250 mx.test\n" },
	{ "a message, pipelined", 0,
	    SLICE(MAIL1 RCPT1 "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n"),
	    MAIL1_LOG RCPT1_LOG DATA_LOG "> COMMIT [Subject: x\n\nhi\n]\n" QUEUED_LOG
					 "221 2.0.0 Bye\n> CLOSE\n" },
	{ "two messages", 0, SLICE(MAIL1 RCPT1 "DATA\r\n.\r\n" MAIL1 RCPT1 "DATA\r\nx\r\n.\r\n"),
	    MAIL1_LOG RCPT1_LOG DATA_LOG "> COMMIT []\n" QUEUED_LOG MAIL1_LOG RCPT1_LOG DATA_LOG
					 "> COMMIT [x\n]\n" QUEUED_LOG },
	{ "a message that can't be stored", 0,
	    SLICE(MAIL1 RCPT1 "DATA\r\ntempfail\r\n.\r\nDATA\r\n"),
	    MAIL1_LOG RCPT1_LOG DATA_LOG
	    "> COMMIT [tempfail\n]\n451 4.3.0 Disk full\n503 5.5.1 Send MAIL first\n" },
	{ "case and blanks", 0,
	    SLICE("mail from: <a@b.test> \r\nRcPt tO:  <c@d.test>\r\nnoop  \r\n"),
	    MAIL1_LOG RCPT1_LOG "250 2.0.0 OK\n" },
	{ "after HELO", SERVER_HELO,
	    SLICE("MAIL FROM:<a@b.test> SIZE=5\r\n" MAIL1 "RCPT TO:<c@d.test> NOTIFY=NEVER\r\n"
		  "AUTH PLAIN\r\n"),
	    "555 5.5.4 Parameters need EHLO\n> MAIL <a@b.test> SMTP\n250 2.1.0 OK\n"
	    "555 5.5.4 Parameters need EHLO\n503 5.5.1 Send EHLO first\n" },
	{ "out of order", SERVER_NO_EHLO, SLICE(MAIL1 RCPT1 "DATA\r\n"),
	    "503 5.5.1 Send EHLO first\n503 5.5.1 No transaction: MAIL was refused\n"
	    "503 5.5.1 No transaction: MAIL was refused\n" },
	{ "out of order after EHLO", 0, SLICE(RCPT1 "DATA\r\n" MAIL1 MAIL1 "DATA\r\nDATA x\r\n"),
	    "503 5.5.1 Send MAIL first\n503 5.5.1 Send MAIL first\n" MAIL1_LOG
	    "503 5.5.1 Nested MAIL command\n503 5.5.1 Send RCPT first\n"
	    "501 5.5.4 DATA takes no parameters\n" },
	{ "refused recipients", 0,
	    SLICE(MAIL1 "RCPT TO:<deny@d.test>\r\nRCPT TO:<defer@d.test>\r\nDATA\r\n"),
	    MAIL1_LOG "> RCPT <deny@d.test>\n550 5.7.1 No\n> RCPT <defer@d.test>\n451 4.3.0 Later\n"
		      "554 5.5.1 No valid recipients\n" },
	{ "refused sender", 0, SLICE("MAIL FROM:<deny@b.test>\r\n" RCPT1 "DATA\r\n" MAIL1),
	    "> MAIL <deny@b.test> ESMTP\n550 5.7.1 No\n"
	    "503 5.5.1 No transaction: MAIL was refused\n"
	    "503 5.5.1 No transaction: MAIL was refused\n" MAIL1_LOG },
	{ "RSET", 0, SLICE("RSET\r\nRSET x\r\n" MAIL1 RCPT1 "RSET\r\nDATA\r\n" MAIL1),
	    "250 2.0.0 OK\n501 5.5.4 RSET takes no parameters\n" MAIL1_LOG RCPT1_LOG
	    "250 2.0.0 OK\n> RESET\n503 5.5.1 Send MAIL first\n" MAIL1_LOG },
	{ "EHLO resets", 0, SLICE(MAIL1 RCPT1 "HELO x\r\nDATA\r\n"),
	    MAIL1_LOG RCPT1_LOG "250 mx.test\n> RESET\n503 5.5.1 Send MAIL first\n" },
	{ "a refused EHLO does not", 0, SLICE(MAIL1 "EHLO ?\r\n" RCPT1),
	    MAIL1_LOG "501 5.5.4 Not a host name or address literal\n" RCPT1_LOG },
	{ "QUIT inside a transaction", 0, SLICE(MAIL1 "QUIT\r\nNOOP\r\n"),
	    MAIL1_LOG "221 2.0.0 Bye\n> RESET\n> CLOSE\n" },
	{ "lost inside a transaction", SERVER_EOF, SLICE(MAIL1 RCPT1 "DATA\r\nhalf\r\n."),
	    MAIL1_LOG RCPT1_LOG DATA_LOG "> RESET\n> CLOSE\n" },
	{ "half-closed behind a whole session", SERVER_EOF,
	    SLICE(MAIL1 RCPT1 "DATA\r\nx\r\n.\r\nNOO"),
	    MAIL1_LOG RCPT1_LOG DATA_LOG "> COMMIT [x\n]\n" QUEUED_LOG "> CLOSE\n" },
	{ "others", 0,
	    SLICE("NOOP with words\r\nVRFY joe\r\nVRFY\r\nEXPN list\r\nHELP\r\nETRN x\r\nTURN\r\n"
		  "BDAT 5 LAST\r\nLHLO x\r\n\r\n  \r\nMAILFROM:<a@b.test>\r\n"),
	    "250 2.0.0 OK\n252 2.5.2 Cannot verify, send some mail and see\n"
	    "501 5.5.4 Syntax: VRFY address\n502 5.5.1 EXPN is not offered\n"
	    "214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT STARTTLS AUTH HELP\n"
	    "500 5.5.1 Command unrecognised\n500 5.5.1 Command unrecognised\n"
	    "500 5.5.1 Command unrecognised\n500 5.5.1 Command unrecognised\n"
	    "500 5.5.1 Command unrecognised\n500 5.5.1 Command unrecognised\n"
	    "500 5.5.1 Command unrecognised\n" },
	{ "a browser", 0, SLICE("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n"),
	    "421 4.7.0 mx.test This is not a web server\n> CLOSE\n" },
	{ "bad lines", 0, SLICE("NOOP\nNOOP\r\nNO\rOP\r\nNO\0OP\r\nNOOP\r\r\nRSET\n\nNOOP\r\n"),
	    "500 5.5.2 Line does not end with CRLF\n250 2.0.0 OK\n"
	    "500 5.5.2 Line holds a CR or NUL\n500 5.5.2 Line holds a CR or NUL\n"
	    "500 5.5.2 Line holds a CR or NUL\n500 5.5.2 Line does not end with CRLF\n"
	    "500 5.5.2 Line does not end with CRLF\n250 2.0.0 OK\n" },
	{ "too many errors", SERVER_SMALL, SLICE("a\r\nb\r\nc\r\nd\r\ne\r\nNOOP\r\n"),
	    "500 5.5.1 Command unrecognised\n500 5.5.1 Command unrecognised\n"
	    "500 5.5.1 Command unrecognised\n500 5.5.1 Command unrecognised\n"
	    "500 5.5.1 Command unrecognised\n421 4.7.0 mx.test Too many errors\n> CLOSE\n" },
	{ "the driver closes", 0, SLICE(MAIL1 "RCPT TO:<close@d.test>\r\nNOOP\r\n"),
	    MAIL1_LOG "> RCPT <close@d.test>\n421 4.3.2 Closing\n> RESET\n> CLOSE\n" },
	{ "too many recipients", SERVER_SMALL, SLICE(MAIL1 RCPT1 RCPT1 RCPT1 "DATA\r\n"),
	    MAIL1_LOG RCPT1_LOG RCPT1_LOG "452 4.5.3 Too many recipients\n" DATA_LOG },
	{ "LMTP", SERVER_LMTP, SLICE("EHLO x\r\n" MAIL1 RCPT1 RCPT1 "DATA\r\nx\r\n.\r\n"),
	    "500 5.5.1 Command unrecognised\n> MAIL <a@b.test> LMTP\n250 2.1.0 OK\n" RCPT1_LOG
		RCPT1_LOG DATA_LOG "> COMMIT [x\n]\n" QUEUED_LOG QUEUED_LOG },
};

START_TEST(sessions_are_the_same_however_cut)
{
	server_case_run(&sessions[_i]);
}

END_TEST

static const struct server_case mails[] = {
	{ "null sender", 0, SLICE("MAIL FROM:<>\r\n"), "> MAIL <> ESMTP\n250 2.1.0 OK\n" },
	{ "all parameters", 0,
	    SLICE("MAIL FROM:<a@b.test> SIZE=42 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By "
		  "AUTH=<>\r\n"
		  "RCPT TO:<c@d.test> NOTIFY=SUCCESS,delay ORCPT=rfc822;q@d.test\r\n"),
	    "> MAIL <a@b.test> UTF8SMTP 8bit utf8 size=42 ret=2 envid=x+2By\n250 2.1.0 OK\n"
	    "> RCPT <c@d.test> orcpt=rfc822;q@d.test notify=10\n250 2.1.5 OK\n" },
	{ "too large", 0, SLICE("MAIL FROM:<a@b.test> SIZE=100001\r\n"),
	    "552 5.3.4 Message exceeds the size limit\n" },
	{ "larger than any number", 0, SLICE("MAIL FROM:<a@b.test> SIZE=99999999999999999999\r\n"),
	    "552 5.3.4 Message exceeds the size limit\n" },
	{ "just not too large", 0, SLICE("MAIL FROM:<a@b.test> SIZE=100000 RET=FULL\r\n"),
	    "> MAIL <a@b.test> ESMTP size=100000 ret=1\n250 2.1.0 OK\n" },
	{ "no keyword", 0, SLICE("MAIL <a@b.test>\r\nMAIL\r\n" MAIL1 "RCPT <c@d.test>\r\n"),
	    "501 5.5.4 Syntax: MAIL FROM:<address>\n"
	    "501 5.5.4 Syntax: MAIL FROM:<address>\n" MAIL1_LOG
	    "501 5.5.4 Syntax: RCPT TO:<address>\n" },
	{ "bad sender", 0, SLICE("MAIL FROM:<;sleep 66;>\r\nMAIL FROM:a@b.test\r\n"),
	    "501 5.1.7 Bad sender address: malformed local part\n"
	    "501 5.1.7 Bad sender address: address is not in <>\n" },
	{ "bad recipient", 0,
	    SLICE(MAIL1 "RCPT TO:<>\r\nRCPT TO:<x>\r\nRCPT TO:<c@d.test>x\r\n"
			"RCPT TO:<c@d.test> FOO=bar\r\n"),
	    MAIL1_LOG "501 5.1.3 Bad recipient address: empty address\n"
		      "501 5.1.3 Bad recipient address: address has no domain\n"
		      "501 5.5.4 Something follows the address\n"
		      "555 5.5.4 Unsupported parameter\n" },
	{ "postmaster", 0, SLICE(MAIL1 "RCPT TO:<Postmaster>\r\n"),
	    MAIL1_LOG "> RCPT <Postmaster> no domain\n250 2.1.5 OK\n" },
	{ "literal text", 0, SLICE(MAIL1 "RCPT TO:<${run{/bin/sh}}@x.test>\r\n"),
	    MAIL1_LOG "> RCPT <${run{/bin/sh}}@x.test>\n250 2.1.5 OK\n" },
	{ "UTF-8 without SMTPUTF8", 0,
	    SLICE("MAIL FROM:<\xc3\xa9@b.test>\r\n" MAIL1 "RCPT TO:<c@\xc3\xa9.test>\r\n"),
	    "553 5.6.7 Non-ASCII address needs SMTPUTF8\n" MAIL1_LOG
	    "553 5.6.7 Non-ASCII address needs SMTPUTF8\n" },
	{ "UTF-8 with it", 0,
	    SLICE("MAIL FROM:<\xc3\xa9@b.test> SMTPUTF8\r\nRCPT TO:<c@\xc3\xa9.test>\r\n"),
	    "> MAIL <\\xc3\\xa9@b.test> UTF8SMTP utf8\n250 2.1.0 OK\n"
	    "> RCPT <c@\\xc3\\xa9.test>\n250 2.1.5 OK\n" },
	{ "SMTPUTF8 ends with its transaction", SERVER_TLS,
	    SLICE("MAIL FROM:<a@b.test> SMTPUTF8\r\nRSET\r\n" MAIL1),
	    "> MAIL <a@b.test> UTF8SMTPS utf8\n250 2.1.0 OK\n250 2.0.0 OK\n> RESET\n"
	    "> MAIL <a@b.test> ESMTPS\n250 2.1.0 OK\n" },
};

START_TEST(mail_and_rcpt)
{
	server_case_run(&mails[_i]);
}

END_TEST

/* --- long lines --- */

static void expect_session(unsigned options, struct slice in, const char *expect)
{
	struct smtp_server_config cfg;
	struct buf log;
	server_case_config(&cfg, options);
	struct smtp_server *s = server_case_open(&cfg, options);
	buf_init(&log, 1024 * 1024);
	server_case_feed(s, in, &log);
	ck_assert_str_eq(buf_cstr(&log), expect);
	buf_fini(&log);
	smtp_server_free(&s);
}

static void expect_long_line(size_t n, const char *expect)
{
	struct buf in;
	buf_init(&in, 1024 * 1024);
	CHECK(buf_add_str(&in, "NOOP ") == 0);
	while (buf_len(&in) < n)
		CHECK(buf_add_char(&in, 'x') == 0);
	CHECK(buf_add_str(&in, "\r\nRSET\r\n") == 0);
	expect_session(0, buf_slice(&in), expect);
	buf_fini(&in);
}

START_TEST(long_lines_cost_one_reply)
{
	expect_long_line(SMTP_SERVER_LINE_MAX - 2, "250 2.0.0 OK\n250 2.0.0 OK\n");
	expect_long_line(SMTP_SERVER_LINE_MAX - 1, "500 5.5.2 Line too long\n250 2.0.0 OK\n");
	expect_long_line(100000, "500 5.5.2 Line too long\n250 2.0.0 OK\n");
	expect_long_line(SMTP_SERVER_INPUT_MAX + 100000, "500 5.5.2 Line too long\n250 2.0.0 OK\n");
}

END_TEST

START_TEST(junk_commands_have_an_end)
{
	struct smtp_server_config cfg;
	struct buf log;
	server_case_config(&cfg, SERVER_SMALL);
	struct smtp_server *s = server_case_open(&cfg, SERVER_SMALL);
	buf_init(&log, 1024 * 1024);
	int given = 0;
	while (!memmem(buf_ptr(&log), buf_len(&log), "CLOSE", 5) && given < 1000) {
		server_case_feed(s, SLICE("NOOP\r\n"), &log);
		given++;
	}
	/* EHLO was the first. */
	ck_assert_int_eq(given, 104);
	buf_fini(&log);
	smtp_server_free(&s);
}

END_TEST

/* --- the driver's side --- */

static void expect_output(struct smtp_server *s, const char *text)
{
	struct buf *out = smtp_server_output(s);
	ck_assert_str_eq(buf_cstr(out), text);
	buf_clear(out);
}

static enum smtp_server_action_kind next_kind(struct smtp_server *s)
{
	struct smtp_server_action a;
	smtp_server_next(s, &a);
	return a.kind;
}

static struct now at(int64_t mono_ms)
{
	struct now now = { .wall_ms = SERVER_CASE_NOW.wall_ms, .mono_ms = mono_ms };
	return now;
}

START_TEST(greetings)
{
	struct smtp_server_config cfg;
	struct smtp_server_session ses = { .client_ip = "192.0.2.9" };
	server_case_config(&cfg, 0);
	struct smtp_server *s = smtp_server_new(&cfg, &ses, SERVER_CASE_NOW);
	ck_assert_int_eq(smtp_server_feed(s, SLICE("NOOP\r\n"), SERVER_CASE_NOW), 6);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	expect_output(s, "");
	ck_assert(smtp_server_deadline(s) == INT64_MAX);
	smtp_server_greet(s, 220, NULL, NULL);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	expect_output(s, "220 mx.test ESMTP Test\r\n250 2.0.0 OK\r\n");
	ck_assert_str_eq(smtp_server_helo(s), "");
	ck_assert_str_eq(smtp_server_user(s), "");
	ck_assert_str_eq(smtp_server_protocol(s), "SMTP");
	smtp_server_free(&s);
	ck_assert_ptr_null(s);

	s = smtp_server_new(&cfg, &ses, SERVER_CASE_NOW);
	smtp_server_greet(s, 421, "4.7.0", "too many connections");
	expect_output(s, "421 4.7.0 mx.test too many connections\r\n");
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	/* Whatever still comes is swallowed. */
	ck_assert_int_eq(smtp_server_feed(s, SLICE("NOOP\r\n"), SERVER_CASE_NOW), 6);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	smtp_server_free(&s);
}

END_TEST

START_TEST(answers_are_waited_for)
{
	struct smtp_server_config cfg;
	struct smtp_server_action a;
	server_case_config(&cfg, 0);
	struct smtp_server *s = server_case_open(&cfg, 0);
	struct slice in = SLICE(MAIL1 RCPT1 "NOOP\r\n");
	ck_assert_uint_eq(smtp_server_feed(s, in, SERVER_CASE_NOW), in.n);
	smtp_server_next(s, &a);
	ck_assert_int_eq(a.kind, SMTP_SERVER_ASK_MAIL);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	ck_assert(smtp_server_deadline(s) == INT64_MAX);
	expect_output(s, "");
	ck_assert(!smtp_server_in_transaction(s));
	/* The slices stay while input goes on coming. */
	char *more = mem_zalloc(SMTP_SERVER_INPUT_MAX);
	size_t taken = smtp_server_feed(s, slice_of(more, SMTP_SERVER_INPUT_MAX), at(2000));
	ck_assert_uint_lt(taken, SMTP_SERVER_INPUT_MAX);
	ck_assert_uint_gt(taken, SMTP_SERVER_INPUT_MAX - 200);
	mem_free(more);
	ck_assert(slice_eq(a.path.address, SLICE("a@b.test")));
	smtp_server_answer(s, 250, NULL, "fine\nreally");
	ck_assert(smtp_server_in_transaction(s));
	expect_output(s, "250-2.1.0 fine\r\n250 2.1.0 really\r\n");
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_RCPT);
	smtp_server_answer(s, 550, NULL, NULL);
	expect_output(s, "550 5.0.0 Refused\r\n");
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	expect_output(s, "250 2.0.0 OK\r\n");
	smtp_server_free(&s);
}

END_TEST

START_TEST(at_rest_no_buffer_is_kept)
{
	struct smtp_server_config cfg;
	struct buf log;
	char line[101];
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line + 98, "\r\n", 3);
	server_case_config(&cfg, 0);
	buf_init(&log, 1 << 20);
	struct smtp_server *s = server_case_open(&cfg, 0);
	server_case_feed(s, SLICE(MAIL1 RCPT1 "DATA\r\n"), &log);
	for (int i = 0; i < 700; i++)
		ck_assert_uint_eq(smtp_server_feed(s, slice_str(line), SERVER_CASE_NOW), 100);
	server_case_feed(s, SLICE(".\r\nNOO"), &log);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&log), "queued as ID1"));
	smtp_server_rest(s);
	ck_assert_ptr_null(s->chunk.mem);
	ck_assert_ptr_null(s->line.mem);
	ck_assert_ptr_null(s->out.mem);
	ck_assert_uint_eq(buf_len(&s->in), 3); /* not worked off */
	buf_clear(&log);
	server_case_feed(s, SLICE("P\r\n"), &log);
	ck_assert_str_eq(buf_cstr(&log), "250 2.0.0 OK\n");
	smtp_server_rest(s);
	ck_assert_ptr_null(s->in.mem);
	/* What the driver works on stays where it is. */
	struct smtp_server_action a;
	ck_assert_uint_eq(smtp_server_feed(s, SLICE(MAIL1), SERVER_CASE_NOW), strlen(MAIL1));
	smtp_server_next(s, &a);
	ck_assert_int_eq(a.kind, SMTP_SERVER_ASK_MAIL);
	smtp_server_rest(s);
	ck_assert(slice_eq(a.path.address, SLICE("a@b.test")));
	ck_assert_ptr_nonnull(s->line.mem);
	smtp_server_free(&s);
	buf_fini(&log);
}

END_TEST

START_TEST(texts_are_made_fit)
{
	struct smtp_server_config cfg;
	server_case_config(&cfg, 0);
	struct smtp_server *s = server_case_open(&cfg, 0);
	smtp_server_feed(s, SLICE(MAIL1), SERVER_CASE_NOW);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_MAIL);
	char text[1000];
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 100 ? 'x' : '\r';
	text[999] = '\0';
	smtp_server_answer(s, 451, "4.3.0", text);
	struct slice out = buf_slice(smtp_server_output(s));
	struct slice line;
	int lines = 0;
	while (slice_split(&out, '\n', &line) && line.n) {
		ck_assert_uint_le(line.n, 511);
		ck_assert(
		    slice_starts(line, lines < 2 ? SLICE("451-4.3.0 ") : SLICE("451 4.3.0 ")));
		ck_assert_int_eq(slice_find(line, '\r'), (ptrdiff_t)line.n - 1);
		lines++;
	}
	ck_assert_int_eq(lines, 3);
	smtp_server_free(&s);
}

END_TEST

START_TEST(unsent_output_stops_the_input)
{
	struct smtp_server_config cfg;
	server_case_config(&cfg, 0);
	cfg.max_errors = 1000000;
	struct smtp_server *s = server_case_open(&cfg, 0);
	size_t fed = 0;
	size_t taken;
	/* 500 replies are longer than what asks for them. */
	do {
		taken = 0;
		for (int i = 0; i < 100; i++)
			taken += smtp_server_feed(s, SLICE("X\r\n"), SERVER_CASE_NOW);
		ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
		fed += taken;
	} while (taken == 300 && fed < 100000000);
	ck_assert_uint_lt(fed, SMTP_SERVER_INPUT_MAX + 100000);
	size_t len = buf_len(smtp_server_output(s));
	ck_assert_uint_gt(len, 256 * 1024);
	ck_assert_uint_lt(len, 257 * 1024);
	/* Sent: it goes on. A lost client whose output is stuck is given up. */
	buf_clear(smtp_server_output(s));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	ck_assert_uint_gt(buf_len(smtp_server_output(s)), 256 * 1024);
	smtp_server_eof(s);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
	smtp_server_free(&s);
}

END_TEST

START_TEST(deadlines)
{
	struct smtp_server_config cfg;
	server_case_config(&cfg, 0);
	cfg.command_timeout_ms = 1000;
	cfg.data_timeout_ms = 3000;
	struct smtp_server *s = server_case_open(&cfg, 0);
	smtp_server_feed(s, SLICE(MAIL1), at(5000));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_MAIL);
	smtp_server_tick(s, at(50000));
	smtp_server_answer(s, 0, NULL, NULL);
	/* When we answered is not known: the wait is counted from the next moment we hear of. */
	smtp_server_tick(s, at(60000));
	ck_assert_int_eq(smtp_server_deadline(s), 61000);
	/* Bytes of an unfinished line do not buy time. */
	smtp_server_feed(s, SLICE("RCPT TO:<c@d"), at(60900));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	ck_assert_int_eq(smtp_server_deadline(s), 61000);
	smtp_server_feed(s, SLICE(".test>\r\nDATA\r\n"), at(60950));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_RCPT);
	smtp_server_answer(s, 0, NULL, NULL);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_DATA);
	smtp_server_answer(s, 354, NULL, NULL);
	buf_clear(smtp_server_output(s));
	/* In the body each read does. */
	smtp_server_feed(s, SLICE("a"), at(61000));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_BODY);
	ck_assert_int_eq(smtp_server_deadline(s), 64000);
	smtp_server_feed(s, SLICE("a"), at(63000));
	ck_assert_int_eq(smtp_server_deadline(s), 66000);
	smtp_server_tick(s, at(65999));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_BODY);
	smtp_server_tick(s, at(66000));
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_RESET);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
	expect_output(s, "421 4.4.2 mx.test Timeout, closing connection\r\n");
	ck_assert(smtp_server_deadline(s) == INT64_MAX);
	smtp_server_free(&s);
}

END_TEST

START_TEST(shuts_down_between_messages)
{
	struct smtp_server_config cfg;
	struct buf log;
	server_case_config(&cfg, 0);
	buf_init(&log, 10000);
	struct smtp_server *s = server_case_open(&cfg, 0);
	smtp_server_shutdown(s);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
	expect_output(s, "421 4.3.2 mx.test Service shutting down, try again later\r\n");
	smtp_server_free(&s);

	s = server_case_open(&cfg, 0);
	server_case_feed(s, SLICE(MAIL1), &log);
	smtp_server_shutdown(s);
	server_case_feed(s, SLICE(RCPT1 "DATA\r\nx\r\n.\r\nNOOP\r\n"), &log);
	ck_assert_str_eq(buf_cstr(&log), MAIL1_LOG RCPT1_LOG DATA_LOG
	    "> COMMIT [x\n]\n" QUEUED_LOG
	    "421 4.3.2 mx.test Service shutting down, try again later\n> CLOSE\n");
	smtp_server_free(&s);
	buf_fini(&log);
}

END_TEST

START_TEST(the_lost_client_waits_for_our_answer)
{
	struct smtp_server_config cfg;
	server_case_config(&cfg, 0);
	struct smtp_server *s = server_case_open(&cfg, 0);
	struct slice in = SLICE(MAIL1 RCPT1 "DATA\r\n.\r\n");
	smtp_server_feed(s, in, SERVER_CASE_NOW);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_MAIL);
	smtp_server_answer(s, 0, NULL, NULL);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_RCPT);
	smtp_server_answer(s, 0, NULL, NULL);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_ASK_DATA);
	smtp_server_answer(s, 0, NULL, NULL);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_COMMIT);
	smtp_server_eof(s);
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_NONE);
	smtp_server_answer(s, 0, NULL, NULL);
	/* The message was whole: no RESET. */
	ck_assert_int_eq(next_kind(s), SMTP_SERVER_CLOSE);
	smtp_server_free(&s);
}

END_TEST

Suite *test_smtp_server_suite(void)
{
	Suite *s = suite_create("proto/smtp_server");
	TCase *t = tcase_create("commands");
	tcase_add_loop_test(t, sessions_are_the_same_however_cut, 0, ARRAY_LEN(sessions));
	tcase_add_loop_test(t, mail_and_rcpt, 0, ARRAY_LEN(mails));
	tcase_add_test(t, long_lines_cost_one_reply);
	tcase_add_test(t, junk_commands_have_an_end);
	suite_add_tcase(s, t);
	t = tcase_create("driver");
	tcase_add_test(t, greetings);
	tcase_add_test(t, answers_are_waited_for);
	tcase_add_test(t, at_rest_no_buffer_is_kept);
	tcase_add_test(t, texts_are_made_fit);
	tcase_add_test(t, unsent_output_stops_the_input);
	tcase_add_test(t, deadlines);
	tcase_add_test(t, shuts_down_between_messages);
	tcase_add_test(t, the_lost_client_waits_for_our_answer);
	suite_add_tcase(s, t);
	return s;
}
