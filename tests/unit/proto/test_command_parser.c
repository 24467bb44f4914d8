#include "proto/command_parser.h"

#include "base/buf.h"
#include "base/check.h"
#include "lib/split_feed.h"
#include "lib/unit.h"

unit_suite_fn test_command_parser_suite;

enum {
	MAX = 10
};

static const char *const NAMES[] = {
	[COMMAND_LINE_MORE] = "more",
	[COMMAND_LINE_OK] = "ok",
	[COMMAND_LINE_BARE_LF] = "bare",
	[COMMAND_LINE_BAD_BYTE] = "bad",
	[COMMAND_LINE_TOO_LONG] = "long",
};

/* Reads lines; transcript: one verdict after another, with the text of good lines. */
static char *read_lines(const void *arg, const struct split_feed_input *in)
{
	(void)arg;
	struct command_reader reader = { false };
	struct buf pending, log;
	struct slice piece;
	buf_init(&pending, 1000);
	buf_init(&log, 1000);
	for (size_t at = 0; split_feed_piece(in, &at, &piece);) {
		CHECK(buf_add_slice(&pending, piece) == 0);
		for (;;) {
			struct slice line;
			size_t used;
			enum command_line what =
			    command_reader_next(&reader, buf_slice(&pending), MAX, &line, &used);
			if (what != COMMAND_LINE_MORE)
				CHECK(buf_printf(&log, "%s[%.*s]", NAMES[what], SLICE_ARG(line)) ==
				      0);
			CHECK(what == COMMAND_LINE_OK || line.n == 0);
			buf_consume(&pending, used);
			CHECK(buf_len(&pending) < MAX || what != COMMAND_LINE_MORE);
			if (what == COMMAND_LINE_MORE)
				break;
		}
	}
	buf_fini(&pending);
	return buf_take(&log);
}

static const struct {
	struct slice in;
	const char *expect;
} lines[] = {
	{ SLICE("a\r\nbc\r\n"), "ok[a]ok[bc]" },
	{ SLICE("\r\n"), "ok[]" },
	{ SLICE("\n"), "bare[]" },
	{ SLICE("a\nb\r\n"), "bare[]ok[b]" },
	{ SLICE("a\rb\r\n"), "bad[]" },
	{ SLICE("a\r\r\nb\r\n"), "bad[]ok[b]" },
	{ SLICE("a\0b\r\n"), "bad[]" },
	{ SLICE("12345678\r\n"), "ok[12345678]" },
	{ SLICE("123456789\r\nx\r\n"), "long[]ok[x]" },
	{ SLICE("123456789\nx\r\n"), "bare[]ok[x]" },
	{ SLICE("1234567890\nx\r\n"), "long[]ok[x]" },
	{ SLICE("1234567890123456789012345\r\nx\r\n"), "long[]ok[x]" },
	{ SLICE("12345678901234567890\0\r5\r\nx\r\n"), "long[]ok[x]" },
	{ SLICE("12345678901234567890"), "" },
	{ SLICE("abc\r"), "" },
	{ SLICE(""), "" },
};

START_TEST(reads_lines)
{
	split_feed(read_lines, NULL, lines[_i].in, lines[_i].expect);
}

END_TEST

static const struct {
	struct slice line;
	enum command_verb verb;
	const char *args;
} commands[] = {
	{ SLICE("NOOP"), COMMAND_NOOP, "" },
	{ SLICE("noop  a b  "), COMMAND_NOOP, "a b" },
	{ SLICE("Mail From:<a@b>"), COMMAND_MAIL, "From:<a@b>" },
	{ SLICE("rcpt TO:<a@b>"), COMMAND_RCPT, "TO:<a@b>" },
	{ SLICE("STARTTLS"), COMMAND_STARTTLS, "" },
	{ SLICE("StArtTls x"), COMMAND_STARTTLS, "x" },
	{ SLICE("AUTH PLAIN ="), COMMAND_AUTH, "PLAIN =" },
	{ SLICE("DATA"), COMMAND_DATA, "" },
	{ SLICE("EHLO a"), COMMAND_EHLO, "a" },
	{ SLICE("EXPN a"), COMMAND_EXPN, "a" },
	{ SLICE("HELO a"), COMMAND_HELO, "a" },
	{ SLICE("HELP"), COMMAND_HELP, "" },
	{ SLICE("LHLO a"), COMMAND_LHLO, "a" },
	{ SLICE("QUIT"), COMMAND_QUIT, "" },
	{ SLICE("RSET"), COMMAND_RSET, "" },
	{ SLICE("VRFY a"), COMMAND_VRFY, "a" },
	{ SLICE("GET / HTTP/1.1"), COMMAND_FOREIGN, "/ HTTP/1.1" },
	{ SLICE("NOOP\tx"), COMMAND_NONE, "" },
	{ SLICE("NOOPS"), COMMAND_NONE, "" },
	{ SLICE("NOO"), COMMAND_NONE, "" },
	{ SLICE(" NOOP"), COMMAND_NONE, "NOOP" },
	{ SLICE(""), COMMAND_NONE, "" },
};

START_TEST(knows_verbs)
{
	struct slice args;
	ck_assert_int_eq(command_parse(commands[_i].line, &args), (int)commands[_i].verb);
	ck_assert(slice_eq(args, slice_str(commands[_i].args)));
}

END_TEST

START_TEST(takes_keywords)
{
	struct slice args = SLICE("from:  <a>");
	ck_assert(!command_take_keyword(&args, SLICE("TO:")));
	ck_assert(command_take_keyword(&args, SLICE("FROM:")));
	ck_assert(slice_eq(args, SLICE("<a>")));
	args = SLICE("FROM :<a>");
	ck_assert(!command_take_keyword(&args, SLICE("FROM:")));
	args = SLICE("");
	ck_assert(!command_take_keyword(&args, SLICE("FROM:")));
}

END_TEST

Suite *test_command_parser_suite(void)
{
	Suite *s = suite_create("proto/command_parser");
	TCase *t = tcase_create("command_parser");
	tcase_add_loop_test(t, reads_lines, 0, ARRAY_LEN(lines));
	tcase_add_loop_test(t, knows_verbs, 0, ARRAY_LEN(commands));
	tcase_add_test(t, takes_keywords);
	suite_add_tcase(s, t);
	return s;
}
