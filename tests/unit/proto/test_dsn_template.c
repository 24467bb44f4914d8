#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/dsn_template.h"
#include "proto/dsn_text.h"

Suite *test_dsn_template_suite(void);

static const struct dsn_template_vars vars = {
	.pid = "42",
	.date = "Fri, 20 Nov 2026 18:48:00 +0000",
	.me = "relay.example",
	.from = "s@a.example",
	.to = "r@b.example, q@b.example",
	.msgid = "0abc",
	.reason = "550 no\nsecond",
	.subject = "Hello {me}",
	.recipients = "r@b.example\nq@b.example",
	.queue_id = "0abc-1",
};

static struct dsn_template *parse(const char *text)
{
	struct dsn_template *t;
	struct errbuf eb;
	int line;
	int r = dsn_template_parse(slice_str(text), &t, &line, &eb);
	ck_assert_msg(r == 0, "line %d: %s", line, eb.text);
	return t;
}

static void expect(const char *text, const struct dsn_template_vars *v, const char *headers,
    const char *body)
{
	struct dsn_template *t = parse(text);
	struct buf out;
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(dsn_template_headers(t, v, &out), 0);
	ck_assert_str_eq(buf_cstr(&out), headers);
	buf_clear(&out);
	ck_assert_int_eq(dsn_template_body(t, v, &out), 0);
	ck_assert_str_eq(buf_cstr(&out), body);
	buf_fini(&out);
	dsn_template_free(&t);
	ck_assert_ptr_null(t);
}

START_TEST(test_expands)
{
	expect("From: x@{me}\nSubject: a {subject} b\n\n{pid}|{date}|{from}|{to}|{msgid}\n"
	       "{reason}\n{recipients}|{queue_id}|{extended_reason}\n",
	    &vars, "From: x@relay.example\r\nSubject: a Hello {me} b\r\n",
	    "42|Fri, 20 Nov 2026 18:48:00 +0000|s@a.example|r@b.example, q@b.example|0abc\r\n"
	    "550 no\r\nsecond\r\nr@b.example\r\nq@b.example|0abc-1|550 no\r\nsecond\r\n");
}

END_TEST

START_TEST(test_line_ends)
{
	expect("A: 1\r\nB: 2\r\n\r\nx\r\n\r\ny\r\n", &vars, "A: 1\r\nB: 2\r\n", "x\r\n\r\ny\r\n");
	expect("A: 1\nB: 2\n\nx\n\ny", &vars, "A: 1\r\nB: 2\r\n", "x\r\n\r\ny\r\n");
	expect("\nonly a body\n", &vars, "", "only a body\r\n");
	expect("A: 1\n 2\n\t3\nB: 4\n\nx\n", &vars, "A: 1  2  3\r\nB: 4\r\n", "x\r\n");
}

END_TEST

START_TEST(test_braces_that_are_text)
{
	expect("A: {} { me} {me {1} {-}\n\nbody { color: red } {} {{me}} {me\n", &vars,
	    "A: {} { me} {me {1} {-}\r\n", "body { color: red } {} {relay.example} {me\r\n");
}

END_TEST

START_TEST(test_own_headers_dropped)
{
	expect("MIME-Version: 2\nContent-Type: text/html\ncontent-transfer-encoding: base64\n"
	       "Auto-Submitted: no\nReferences: <x>\nIn-Reply-To: <y>\nX-Mine: 1\n\nx\n",
	    &vars, "X-Mine: 1\r\n", "x\r\n");
	struct dsn_template *t = parse("subject: a\nAuto-Submitted: no\n\nx\n");
	ck_assert(dsn_template_has_header(t, "Subject"));
	ck_assert(!dsn_template_has_header(t, "Auto-Submitted"));
	ck_assert(!dsn_template_has_header(t, "From"));
	dsn_template_free(&t);
}

END_TEST

/* Values may hold anything; a header stays one field and the text stays text. */
START_TEST(test_hostile_values)
{
	struct dsn_template_vars v = vars;
	v.subject = "a\r\nBcc: x@y\r\n\r\nbody \x01\x7f\xc3\xa4 \xff {to}";
	v.from = "\xc3\xa4@a.example\r\nBcc: x";
	v.reason = "one\r\ntwo\rthree\n\x1b[0m\xff\xc2\x85\xc3\xa4\ttab";
	expect("Subject: {subject}\nTo: {from}\n\n{reason}\n", &v,
	    "Subject: a  Bcc: x@y    body ? ? {to}\r\nTo: \xc3\xa4@a.example  Bcc: x\r\n",
	    "one\r\ntwothree\r\n?[0m??\xc3\xa4\ttab\r\n");
}

END_TEST

START_TEST(test_long_lines)
{
	struct dsn_template_vars v = vars;
	struct buf list;
	buf_init(&list, 1 << 20);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(buf_printf(&list, "recipient-%d@b.example, ", i), 0);
	char *solid = mem_alloc(4001);
	for (size_t i = 0; i < 4000; i += 2)
		memcpy(solid + i, "\xc3\xa4", 2);
	solid[4000] = '\0';
	v.to = buf_cstr(&list);
	v.reason = solid;
	struct dsn_template *t = parse("To: {to}\nX: {from}{from}\n\n{to}\n{reason}\n");
	struct buf out;
	buf_init(&out, 1 << 20);
	v.from = solid;
	ck_assert_int_eq(dsn_template_headers(t, &v, &out), 0);
	ck_assert_int_eq(dsn_template_body(t, &v, &out), 0);
	struct slice rest = buf_slice(&out), line;
	bool in_header = true;
	while (rest.n > 0 && slice_split(&rest, '\n', &line)) {
		ck_assert_uint_le(line.n, DSN_TEXT_LINE_MAX + 1);
		ck_assert(line.n > 0 && line.p[line.n - 1] == '\r');
		in_header = in_header && (line.p[0] == ' ' || line.p[1] == ':' || line.p[2] == ':');
		ck_assert(((unsigned char)line.p[0] & 0xc0) != 0x80); /* no character cut */
		ck_assert(!in_header || slice_trim(line).n > 0);      /* no line of blanks */
	}
	buf_fini(&out);
	buf_fini(&list);
	mem_free(solid);
	dsn_template_free(&t);
}

END_TEST

START_TEST(test_folds)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "A: b", "A: b\r\n" },
		{ "A:", "A:\r\n" },
		{ "A: b   ", "A: b\r\n" },
		{ "A: 3456789012345678901234567890123456789012345678901234567890123456789012345"
		  "67 x",
		    "A: 345678901234567890123456789012345678901234567890123456789012345678901234567"
		    "\r\n x\r\n" },
		{ "A: 1 23456789012345678901234567890123456789012345678901234567890123456789012"
		  "34567   x",
		    "A: 1\r\n 23456789012345678901234567890123456789012345678901234567890123456789"
		    "01234567\r\n x\r\n" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out;
		buf_init(&out, 4096);
		ck_assert_int_eq(dsn_text_fold(slice_str(rows[i].in), &out), 0);
		ck_assert_str_eq(buf_cstr(&out), rows[i].out);
		buf_fini(&out);
	}
}

END_TEST

START_TEST(test_clean_kinds)
{
	static const char in[] = "a\xc3\xa4\xf0\x9f\x98\x80\xc0\x80\r\n\t\x02z";

	static const struct {
		enum dsn_text_kind kind;
		const char *out;
	} rows[] = {
		{ DSN_TEXT_ASCII, "a????   z" },
		{ DSN_TEXT_ESCAPED, "a\\x{E4}\\x{1F600}??   z" },
		{ DSN_TEXT_UTF8, "a\xc3\xa4\xf0\x9f\x98\x80??   z" },
		{ DSN_TEXT_BODY, "a\xc3\xa4\xf0\x9f\x98\x80??\n\t?z" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out;
		buf_init(&out, 4096);
		ck_assert_int_eq(dsn_text_clean(slice_str(in), rows[i].kind, &out), 0);
		ck_assert_str_eq(buf_cstr(&out), rows[i].out);
		buf_fini(&out);
	}
}

END_TEST

START_TEST(test_errors)
{
	static const struct {
		const char *text;
		int line, err;
	} rows[] = {
		{ "", 1, ERR_SYNTAX },
		{ "A: 1\n", 2, ERR_SYNTAX },
		{ "A: 1\n\n", 3, ERR_SYNTAX },
		{ "A: 1\nno header\n\nx\n", 2, ERR_SYNTAX },
		{ "A B: 1\n\nx\n", 1, ERR_SYNTAX },
		{ ": 1\n\nx\n", 1, ERR_SYNTAX },
		{ " A: 1\n\nx\n", 1, ERR_SYNTAX },
		{ "A: {nope}\n\nx\n", 1, ERR_SYNTAX },
		{ "A: 1\n\nx\ny {Reason}\n", 4, ERR_SYNTAX },
		{ "A: 1\n\nx\n\xff\n", 4, ERR_SYNTAX },
		{ "A: \xc3\xa4\n\nx\n", 1, ERR_SYNTAX },
		{ "A: 1\n\nx\x01\n", 3, ERR_SYNTAX },
		{ "A: 1\n\nx\ry\n", 3, ERR_SYNTAX },
		{ "To: 1\nA: 1\nTO: 2\n\nx\n", 3, ERR_SYNTAX },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dsn_template *t;
		struct errbuf eb = { "" };
		int line = 0;
		ck_assert_int_eq(dsn_template_parse(slice_str(rows[i].text), &t, &line, &eb),
		    rows[i].err);
		ck_assert_msg(line == rows[i].line, "row %zu: line %d, %s", i, line, eb.text);
		ck_assert_ptr_null(t);
		ck_assert(eb.text[0] != '\0');
	}
}

END_TEST

START_TEST(test_limits)
{
	struct buf text;
	struct dsn_template *t;
	int line;
	buf_init(&text, 1 << 20);
	ck_assert_int_eq(buf_add_str(&text, "A: 1\n\n"), 0);
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(buf_add_str(&text, "{to}\n"), 0);
	ck_assert_int_eq(dsn_template_parse(buf_slice(&text), &t, &line, NULL), 0);
	char *big = mem_alloc(100001); /* however long a value is, the report can be written */
	memset(big, 'x', 100000);
	big[100000] = '\0';
	struct dsn_template_vars v = vars;
	v.to = big;
	struct buf out;
	buf_init(&out, 4 << 20);
	ck_assert_int_eq(dsn_template_body(t, &v, &out), 0);
	mem_free(big);
	buf_fini(&out);
	dsn_template_free(&t);
	ck_assert_int_eq(buf_add_str(&text, "{to}\n"), 0);
	ck_assert_int_eq(dsn_template_parse(buf_slice(&text), &t, &line, NULL), ERR_TOO_BIG);
	ck_assert_int_eq(line, 67);
	while (buf_len(&text) <= DSN_TEMPLATE_BYTES_MAX)
		ck_assert_int_eq(buf_add_str(&text, "more text\n"), 0);
	ck_assert_int_eq(dsn_template_parse(buf_slice(&text), &t, &line, NULL), ERR_TOO_BIG);
	buf_fini(&text);
}

END_TEST

START_TEST(test_no_room)
{
	struct buf out;
	buf_init(&out, 20);
	ck_assert_int_eq(dsn_template_headers(dsn_template_builtin(), &vars, &out), ERR_TOO_BIG);
	buf_clear(&out);
	ck_assert_int_eq(dsn_template_body(dsn_template_builtin(), &vars, &out), ERR_TOO_BIG);
	buf_fini(&out);
}

END_TEST

/* The file that is installed and the text used without it are the same. */
START_TEST(test_builtin_is_the_file)
{
	char path[4096], text[DSN_TEMPLATE_BYTES_MAX];
	const char *top = getenv("top_srcdir");
	snprintf(path, sizeof(path), "%s/etc/bounce/failed.txt", top ? top : ".");
	FILE *f = fopen(path, "rb");
	ck_assert_msg(f != NULL, "%s", path);
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	ck_assert_ptr_null(strchr(text, '\r'));
	struct buf headers, body;
	buf_init(&headers, 1 << 20);
	buf_init(&body, 1 << 20);
	ck_assert_int_eq(dsn_template_headers(dsn_template_builtin(), &vars, &headers), 0);
	ck_assert_int_eq(dsn_template_body(dsn_template_builtin(), &vars, &body), 0);
	expect(text, &vars, buf_cstr(&headers), buf_cstr(&body));
	buf_fini(&headers);
	buf_fini(&body);
}

END_TEST

Suite *test_dsn_template_suite(void)
{
	Suite *s = suite_create("dsn_template");
	TCase *t = tcase_create("template");
	tcase_add_test(t, test_expands);
	tcase_add_test(t, test_line_ends);
	tcase_add_test(t, test_braces_that_are_text);
	tcase_add_test(t, test_own_headers_dropped);
	tcase_add_test(t, test_errors);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_no_room);
	tcase_add_test(t, test_builtin_is_the_file);
	suite_add_tcase(s, t);
	t = tcase_create("text");
	tcase_add_test(t, test_hostile_values);
	tcase_add_test(t, test_long_lines);
	tcase_add_test(t, test_folds);
	tcase_add_test(t, test_clean_kinds);
	suite_add_tcase(s, t);
	return s;
}
