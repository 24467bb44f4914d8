#include "proto/reply.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

Suite *test_reply_suite(void);

/* What a stream of bytes became: each reply folded, then the error if there was one. */
struct outcome {
	char text[4096];
	int err;
	bool idle;
};

static void note(struct outcome *o, const struct reply *r)
{
	struct buf line;
	buf_init(&line, 65536);
	ck_assert_int_eq(reply_fold(r, &line), 0);
	size_t n = strlen(o->text);
	snprintf(o->text + n, sizeof(o->text) - n, "%s|", buf_cstr(&line));
	buf_fini(&line);
}

/* Each piece from the heap with its exact size, so that ASan sees a read beyond it. */
static int feed_piece(struct reply_parser *p, const char *in, size_t n, struct outcome *o)
{
	char *copy = n ? mem_dup(in, n) : NULL;
	struct slice left = slice_of(copy, n);
	int err = 0;
	while (left.n > 0 && !err) {
		bool complete;
		ssize_t used = reply_parser_feed(p, left, &complete);
		if (used < 0) {
			err = (int)used;
		} else {
			ck_assert_int_gt(used, 0);
			left = slice_from(left, (size_t)used);
			if (complete)
				note(o, p->into);
		}
	}
	mem_free(copy);
	return err;
}

/* Cuts the input in pieces of `step` bytes; step 0: in two at `cut`. */
static void run(struct slice in, size_t step, size_t cut, struct outcome *o)
{
	struct reply r;
	struct reply_parser p;
	reply_init(&r);
	reply_parser_init(&p, &r);
	*o = (struct outcome){ .err = 0 };
	size_t at = 0;
	while (at < in.n && !o->err) {
		size_t n = step ? step : at == 0 ? cut : in.n;
		n = MIN(MAX(n, (size_t)1), in.n - at);
		o->err = feed_piece(&p, in.p + at, n, o);
		at += n;
	}
	o->idle = reply_parser_is_idle(&p);
	reply_parser_fini(&p);
	reply_fini(&r);
}

static void expect_slice(struct slice in, const char *text, int err)
{
	struct outcome whole, part;
	run(in, in.n + 1, 0, &whole);
	ck_assert_str_eq(whole.text, text);
	ck_assert_int_eq(whole.err, err);
	run(in, 1, 0, &part);
	ck_assert_str_eq(part.text, text);
	ck_assert_int_eq(part.err, err);
	for (size_t cut = 1; cut < in.n; cut++) {
		run(in, 0, cut, &part);
		ck_assert_str_eq(part.text, text);
		ck_assert_int_eq(part.err, err);
		ck_assert_int_eq(part.idle, whole.idle);
	}
}

static void expect(const char *in, const char *text, int err)
{
	expect_slice(slice_str(in), text, err);
}

START_TEST(test_wellformed)
{
	expect("250 ok\r\n", "250 ok|", 0);
	expect("250\r\n", "250|", 0);
	expect("250 \r\n", "250|", 0);
	expect("250-a\r\n250-b\r\n250 c\r\n", "250 a\\r\\nb\\r\\nc|", 0);
	expect("553-a\r\n553\r\n", "553 a|", 0);
	expect("250-\r\n250 x\r\n", "250 \\r\\nx|", 0);
	expect("220 a\r\n250 b\r\n421 c\r\n", "220 a|250 b|421 c|", 0);
	expect("250 bare line end\n", "250 bare line end|", 0);
	expect("250 odd\r\r\n", "250 odd|", 0);
	expect("299 x\r\n", "299 x|", 0);
	expect("599 x\r\n", "599 x|", 0);
	expect("250-unfinished\r\n", "", 0);
}

END_TEST

START_TEST(test_malformed)
{
	static const char *const bad[] = { "553-\r\n55\r\n", "5\r\n", "\r\n", "\n", "5533 x\r\n",
		"+53 x\r\n", "550\tx\r\n", "250-a\r\n550 b\r\n", "250-a\r\n250-b\r\n25 c\r\n",
		"150 x\r\n", "050 x\r\n", "650 x\r\n", "950 x\r\n", "2x0 x\r\n", " 250 x\r\n",
		"25\r0 x\r\n", "250\r x\r\n", "HTTP/1.1 200 OK\r\n", "250_x\r\n", "250-a\r\n\r\n",
		"-50 x\r\n", "\xff\xfe\r\n" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect(bad[i], "", ERR_PROTOCOL);
	expect("250 a\r\nb\r\n", "250 a|", ERR_PROTOCOL);
	expect("550 a\ntype: mda\r\n", "550 a|", ERR_PROTOCOL);
	expect_slice(SLICE("250\0x\r\n"), "", ERR_PROTOCOL);
	expect_slice(SLICE("2\0\0 x\r\n"), "", ERR_PROTOCOL);
}

END_TEST

START_TEST(test_bytes_kept_out)
{
	expect("250 a\rb\rc\r\n", "250 abc|", 0);
	expect_slice(SLICE("250 a\0b\r\n"), "250 a?b|", 0);
	expect("250 tab\there \x01\x7f \xc3\xa4\r\n", "250 tab\there \x01\x7f \xc3\xa4|", 0);
}

END_TEST

START_TEST(test_enhanced)
{
	static const struct {
		const char *in, *folded;
		uint16_t enhanced[3];
		const char *text;
	} rows[] = {
		{ "550 5.1.1 no\r\n", "550 5.1.1 no", { 5, 1, 1 }, "no" },
		{ "550 5.7.26 auth\r\n", "550 5.7.26 auth", { 5, 7, 26 }, "auth" },
		{ "556 5.1.10 null mx\r\n", "556 5.1.10 null mx", { 5, 1, 10 }, "null mx" },
		{ "550 5.1.1\r\n", "550 5.1.1", { 5, 1, 1 }, "" },
		{ "550 #5.1.0 cisco\r\n", "550 5.1.0 cisco", { 5, 1, 0 }, "cisco" },
		{ "550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n", "550 5.1.1 a\\r\\nb\\r\\nc",
		    { 5, 1, 1 }, "a\nb\nc" },
		{ "550-5.1.1 a\r\n550 5.7.1 b\r\n", "550 5.1.1 a\\r\\n5.7.1 b", { 5, 1, 1 },
		    "a\n5.7.1 b" },
		{ "550-5.1.1 a\r\n550 b\r\n", "550 5.1.1 a\\r\\nb", { 5, 1, 1 }, "a\nb" },
		{ "550-a\r\n550 5.1.1 b\r\n", "550 a\\r\\n5.1.1 b", { 0 }, "a\n5.1.1 b" },
		/* the class contradicts the code */
		{ "550 4.1.1 x\r\n", "550 4.1.1 x", { 0 }, "4.1.1 x" },
		{ "450 5.1.1 x\r\n", "450 5.1.1 x", { 0 }, "5.1.1 x" },
		{ "354 3.0.0 x\r\n", "354 3.0.0 x", { 0 }, "3.0.0 x" },
		/* none */
		{ "250 5.1\r\n", "250 5.1", { 0 }, "5.1" },
		{ "250 2.1.5x\r\n", "250 2.1.5x", { 0 }, "2.1.5x" },
		{ "250 2.01.5 x\r\n", "250 2.01.5 x", { 0 }, "2.01.5 x" },
		{ "250 2..5 x\r\n", "250 2..5 x", { 0 }, "2..5 x" },
		{ "451 4.7.650 x\r\n", "451 4.7.650 x", { 4, 7, 650 }, "x" },
		{ "451 4.7.99999999999 x\r\n", "451 4.7.99999999999 x", { 0 },
		    "4.7.99999999999 x" },
	};
	struct reply r;
	struct reply_parser p;
	reply_init(&r);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char folded[256];
		snprintf(folded, sizeof(folded), "%s|", rows[i].folded);
		expect(rows[i].in, folded, 0);
		reply_parser_init(&p, &r);
		bool complete;
		struct slice in = slice_str(rows[i].in);
		ck_assert_int_eq(reply_parser_feed(&p, in, &complete), (ssize_t)in.n);
		ck_assert(complete);
		ck_assert_mem_eq(r.enhanced, rows[i].enhanced, sizeof(r.enhanced));
		ck_assert_str_eq(buf_cstr(&r.text), rows[i].text);
		reply_parser_fini(&p);
	}
	reply_fini(&r);
}

END_TEST

/* Feeds a line again and again until the parser has had enough. */
static int feed_endlessly(const char *line, size_t *lines)
{
	struct reply r;
	struct reply_parser p;
	reply_init(&r);
	reply_parser_init(&p, &r);
	int err = 0;
	for (*lines = 0; !err && *lines < 1000000; (*lines)++) {
		bool complete;
		ssize_t n = reply_parser_feed(&p, slice_str(line), &complete);
		ck_assert(!complete);
		err = n < 0 ? (int)n : 0;
	}
	reply_parser_fini(&p);
	reply_fini(&r);
	return err;
}

START_TEST(test_limits)
{
	size_t lines;
	ck_assert_int_eq(feed_endlessly("250-x\r\n", &lines), ERR_TOO_BIG);
	ck_assert_uint_eq(lines, REPLY_LINES_MAX + 1);
	ck_assert_int_eq(feed_endlessly("2", &lines), ERR_TOO_BIG);
	ck_assert_uint_eq(lines, REPLY_LINE_MAX + 1);
	char long_line[1024];
	memset(long_line, 'x', sizeof(long_line));
	memcpy(long_line, "250-", 4);
	memcpy(long_line + sizeof(long_line) - 3, "\r\n", 3);
	ck_assert_int_eq(feed_endlessly(long_line, &lines), ERR_TOO_BIG);
	ck_assert_uint_lt(lines, REPLY_LINES_MAX);
}

END_TEST

START_TEST(test_line_at_limit)
{
	static char line[REPLY_LINE_MAX + 8];
	for (int over = 0; over < 2; over++) {
		size_t n = REPLY_LINE_MAX + (size_t)over;
		memset(line, 'x', n);
		memcpy(line, "250 ", 4);
		line[n] = '\n';
		struct outcome o;
		for (size_t step = 1; step <= n + 1; step += n) {
			run(slice_of(line, n + 1), step, 0, &o);
			ck_assert_int_eq(o.err, over ? ERR_TOO_BIG : 0);
		}
	}
}

END_TEST

START_TEST(test_exactly_all_lines)
{
	struct buf in;
	buf_init(&in, 65536);
	for (int i = 0; i < REPLY_LINES_MAX - 1; i++)
		ck_assert_int_eq(buf_add_str(&in, "250-x\r\n"), 0);
	ck_assert_int_eq(buf_add_str(&in, "250 x\r\n"), 0);
	struct outcome o;
	run(buf_slice(&in), 7, 0, &o);
	ck_assert_int_eq(o.err, 0);
	ck_assert(o.idle);
	buf_fini(&in);
}

END_TEST

START_TEST(test_set_and_copy)
{
	struct reply a, b;
	reply_init(&a);
	reply_init(&b);
	ck_assert_int_eq(reply_class(&a), 0);
	reply_set(&a, 550, "5.1.1", SLICE("no\nsuch\ruser\0!"));
	ck_assert_int_eq(reply_class(&a), 5);
	ck_assert_str_eq(buf_cstr(&a.text), "no\nsuchuser?!");
	reply_set(&b, 250, NULL, SLICE("before"));
	reply_copy(&b, &a);
	ck_assert_int_eq(b.code, 550);
	ck_assert_mem_eq(b.enhanced, a.enhanced, sizeof(a.enhanced));
	ck_assert_str_eq(buf_cstr(&b.text), "no\nsuchuser?!");
	reply_clear(&a);
	ck_assert_int_eq(a.code, 0);
	ck_assert_uint_eq(buf_len(&a.text), 0);
	static char big[REPLY_TEXT_MAX + 100];
	memset(big, 'y', sizeof(big));
	reply_set(&a, 250, NULL, slice_of(big, sizeof(big)));
	ck_assert_uint_eq(buf_len(&a.text), REPLY_TEXT_MAX);
	struct buf small;
	buf_init(&small, 100);
	ck_assert_int_eq(buf_add_str(&small, "kept"), 0);
	ck_assert_int_eq(reply_fold(&a, &small), ERR_TOO_BIG);
	ck_assert_str_eq(buf_cstr(&small), "kept");
	buf_fini(&small);
	reply_fini(&a);
	reply_fini(&b);
}

END_TEST

START_TEST(test_parse_enhanced)
{
	static const char *const bad[] = { "", "5", "5.", "5.1", "5.1.", "5.1.1.", "5.1.1 ",
		"3.1.1", "1.1.1", "6.1.1", "0.0.0", "5.01.1", "5.1.00", "5.1000.1", "5.1.1000",
		" 5.1.1", "5.-1.1", "5.1.a", "55.1.1", "x" };
	uint16_t e[3] = { 9, 9, 9 };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(reply_parse_enhanced(slice_str(bad[i]), e) == ERR_SYNTAX, "%s",
		    bad[i]);
	ck_assert_uint_eq(e[0], 9);
	ck_assert_int_eq(reply_parse_enhanced(SLICE("4.0.255"), e), 0);
	ck_assert_uint_eq(e[0], 4);
	ck_assert_uint_eq(e[1], 0);
	ck_assert_uint_eq(e[2], 255);
}

END_TEST

Suite *test_reply_suite(void)
{
	Suite *s = suite_create("reply");
	TCase *t = tcase_create("parser");
	tcase_add_test(t, test_wellformed);
	tcase_add_test(t, test_malformed);
	tcase_add_test(t, test_bytes_kept_out);
	tcase_add_test(t, test_enhanced);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_line_at_limit);
	tcase_add_test(t, test_exactly_all_lines);
	suite_add_tcase(s, t);
	t = tcase_create("value");
	tcase_add_test(t, test_set_and_copy);
	tcase_add_test(t, test_parse_enhanced);
	suite_add_tcase(s, t);
	return s;
}
