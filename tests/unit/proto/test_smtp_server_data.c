#include <string.h>

#include "base/check.h"
#include "lib/unit.h"
#include "server_case.h"

/* The body of a message: where it ends, what is refused, what comes out. */

unit_suite_fn test_smtp_server_data_suite;

#define BEGIN "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
#define BEGIN_LOG                                                                                  \
	"> MAIL <a@b.test> ESMTP\n250 2.1.0 OK\n> RCPT <c@d.test>\n250 2.1.5 OK\n"                 \
	"> DATA\n354 End data with <CR><LF>.<CR><LF>\n"
#define QUEUED_LOG "250 2.0.0 queued as ID1\n"

/*
 * The table of end-of-data lookalikes: `bytes` stand between "x" and a
 * smuggled command; the body must go on to the one true end. `body` is what
 * is stored; NULL: there is a NUL, the message is refused.
 */
static const struct {
	struct slice bytes;
	const char *body;
} smuggling[] = {
	{ SLICE("\n.\n"), "x\n.\nRSET\n" },
	{ SLICE("\n.\r"), "x\n.\nRSET\n" },
	{ SLICE("\r.\n"), "x\n.\nRSET\n" },
	{ SLICE("\r.\r"), "x\n.\nRSET\n" },
	{ SLICE("\n.\r\n"), "x\n.\nRSET\n" },
	{ SLICE("\r.\r\n"), "x\n.\nRSET\n" },
	{ SLICE("\r\n.\n"), "x\n\nRSET\n" },
	{ SLICE("\r\n.\r"), "x\n\nRSET\n" },
	{ SLICE("\r\n\0.\r\n"), NULL },
	{ SLICE("\r\n.\0\r\n"), NULL },
	{ SLICE("\r\n.\r\r\n"), "x\n\n\nRSET\n" },
	{ SLICE("\r\r\n.\r\r\n"), "x\n\n\n\nRSET\n" },
	{ SLICE("\r\n.\n\r\n"), "x\n\n\nRSET\n" },
	{ SLICE("\r\n .\r\n"), "x\n .\nRSET\n" },
	{ SLICE("\r\n. \r\n"), "x\n \nRSET\n" },
	{ SLICE("\r\n.\x85"), "x\n\\x85RSET\n" },
	{ SLICE("\r\n.\x0b"), "x\n\\x0bRSET\n" },
	{ SLICE("\r\n.\x0c"), "x\n\\x0cRSET\n" },
	{ SLICE("\r\n.\xe2\x80\xa8"), "x\n\\xe2\\x80\\xa8RSET\n" },
	{ SLICE("\r\n..\r\n"), "x\n.\nRSET\n" },
};

static void run_smuggling(struct slice bytes, const char *body, bool reject)
{
	struct buf in;
	struct buf expect;
	bool high = body && strstr(body, "\\x85") != NULL;
	high |= body && strstr(body, "\\xe2") != NULL;
	buf_init(&in, 10000);
	buf_init(&expect, 10000);
	int r = buf_add_str(&in, BEGIN "x");
	if (!r)
		r = buf_add_slice(&in, bytes);
	if (!r)
		r = buf_add_str(&in, "RSET\r\n.\r\nNOOP\r\n");
	CHECK(r == 0);
	if (reject)
		r = buf_add_str(&expect, BEGIN_LOG "> RESET\n550 5.6.11 Message holds a bare CR or "
						   "LF\n250 2.0.0 OK\n");
	else if (!body)
		r = buf_add_str(&expect, BEGIN_LOG "> RESET\n550 5.6.0 Message holds a NUL\n"
						   "250 2.0.0 OK\n");
	else
		r = buf_printf(&expect, BEGIN_LOG "> COMMIT %s[%s]\n" QUEUED_LOG "250 2.0.0 OK\n",
		    high ? "8bit " : "", body);
	CHECK(r == 0);
	struct server_case c = {
		.options = reject ? SERVER_REJECT_BARE : 0,
		.in = buf_slice(&in),
		.expect = buf_cstr(&expect),
	};
	server_case_run(&c);
	buf_fini(&in);
	buf_fini(&expect);
}

START_TEST(nothing_else_ends_the_data)
{
	run_smuggling(smuggling[_i].bytes, smuggling[_i].body, false);
}

END_TEST

static bool has_bare_newline(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'))
			return true;
		if (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'))
			return true;
	}
	return false;
}

START_TEST(bare_newlines_can_be_refused)
{
	struct slice bytes = smuggling[_i].bytes;
	bool reject = has_bare_newline(bytes);
	run_smuggling(bytes, smuggling[_i].body, reject);
}

END_TEST

static const struct server_case cases[] = {
	{ "empty", 0, SLICE(BEGIN ".\r\nNOOP\r\n"),
	    BEGIN_LOG "> COMMIT []\n" QUEUED_LOG "250 2.0.0 OK\n" },
	{ "dots", 0, SLICE(BEGIN "..\r\n...\r\n.x\r\na.b\r\n.\r\n"),
	    BEGIN_LOG "> COMMIT [.\n..\nx\na.b\n]\n" QUEUED_LOG },
	{ "8-bit", 0, SLICE(BEGIN "12345678\xc3\xa9\r\n.\r\n"),
	    BEGIN_LOG "> COMMIT 8bit [12345678\\xc3\\xa9\n]\n" QUEUED_LOG },
	{ "the flag does not stay", 0, SLICE(BEGIN "\xff\r\n.\r\n" BEGIN "x\r\n.\r\n"),
	    BEGIN_LOG "> COMMIT 8bit [\\xff\n]\n" QUEUED_LOG BEGIN_LOG
		      "> COMMIT [x\n]\n" QUEUED_LOG },
	{ "lone line ends", 0, SLICE(BEGIN "a\rb\nc\r\n.\r\n"),
	    BEGIN_LOG "> COMMIT [a\nb\nc\n]\n" QUEUED_LOG },
	{ "NUL and bare newline", SERVER_REJECT_BARE, SLICE(BEGIN "a\nb\0c\r\n.\r\n"),
	    BEGIN_LOG "> RESET\n550 5.6.0 Message holds a NUL\n" },
	{ "after a refusal", 0, SLICE(BEGIN "\0\r\n.\r\nDATA\r\n" BEGIN ".\r\n"),
	    BEGIN_LOG
	    "> RESET\n550 5.6.0 Message holds a NUL\n503 5.5.1 Send MAIL first\n" BEGIN_LOG
	    "> COMMIT []\n" QUEUED_LOG },
};

START_TEST(bodies)
{
	server_case_run(&cases[_i]);
}

END_TEST

static void run_sized(size_t n, bool fits)
{
	struct buf in;
	struct buf log;
	struct smtp_server_config cfg;
	buf_init(&in, 20000);
	buf_init(&log, 20000);
	int r = buf_add_str(&in, BEGIN);
	for (size_t i = 0; i < n - 2 && !r; i++)
		r = buf_add_char(&in, 'x');
	if (!r)
		r = buf_add_str(&in, "\r\n.\r\nNOOP\r\n");
	CHECK(r == 0);
	server_case_config(&cfg, SERVER_SMALL);
	for (size_t step = 1; step < 2000; step = step * 3 + 1) {
		struct smtp_server *s = server_case_open(&cfg, SERVER_SMALL);
		struct slice rest = buf_slice(&in);
		buf_clear(&log);
		while (rest.n) {
			server_case_feed(s, slice_of(rest.p, MIN(step, rest.n)), &log);
			rest = slice_from(rest, step);
		}
		if (fits)
			ck_assert(strstr(buf_cstr(&log), QUEUED_LOG "250 2.0.0 OK\n") != NULL);
		else
			ck_assert_str_eq(buf_cstr(&log), BEGIN_LOG
			    "> RESET\n552 5.3.4 Message exceeds the size limit\n250 2.0.0 OK\n");
		smtp_server_free(&s);
	}
	buf_fini(&in);
	buf_fini(&log);
}

START_TEST(size_limit)
{
	run_sized(999, true);
	run_sized(1000, true);
	run_sized(1001, false);
	run_sized(10000, false);
}

END_TEST

START_TEST(a_large_body_comes_in_chunks)
{
	struct smtp_server_config cfg;
	struct buf log;
	server_case_config(&cfg, 0);
	cfg.max_message_bytes = 0;
	buf_init(&log, 4 * 1024 * 1024);
	struct smtp_server *s = server_case_open(&cfg, 0);
	server_case_feed(s, SLICE(BEGIN), &log);
	static char lines[300000];
	for (size_t i = 0; i < sizeof(lines); i += 6)
		memcpy(lines + i, "..a\r\n\n", 6);
	server_case_feed(s, slice_of(lines, sizeof(lines)), &log);
	buf_clear(&log);
	server_case_feed(s, SLICE("\r\n.\r\n"), &log);
	struct slice text = buf_slice(&log);
	/* Only the first is behind a CRLF; a bare LF begins no line for the dot rules. */
	ck_assert(slice_starts(text, SLICE("> COMMIT [.a\n\n..a\n\n..a\n\n")));
	ck_assert_uint_gt(text.n, 200000);
	smtp_server_free(&s);
	buf_fini(&log);
}

END_TEST

Suite *test_smtp_server_data_suite(void)
{
	Suite *s = suite_create("proto/smtp_server_data");
	TCase *t = tcase_create("data");
	tcase_add_loop_test(t, nothing_else_ends_the_data, 0, ARRAY_LEN(smuggling));
	tcase_add_loop_test(t, bare_newlines_can_be_refused, 0, ARRAY_LEN(smuggling));
	tcase_add_loop_test(t, bodies, 0, ARRAY_LEN(cases));
	tcase_add_test(t, size_limit);
	tcase_add_test(t, a_large_body_comes_in_chunks);
	suite_add_tcase(s, t);
	return s;
}
