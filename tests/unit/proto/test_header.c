#include "proto/header.h"

#include <string.h>

#include "base/check.h"
#include "lib/split_feed.h"
#include "lib/unit.h"

unit_suite_fn test_header_suite;

#define TRACE   "Received: by me\r\n\twith x\r\n"
#define MISSING "Date: now\r\nMessage-ID: <1@me>\r\n"

static const struct header_filter_config config = {
	.trace = TRACE,
	.date = "now",
	.message_id = "<1@me>",
};

static char *filter(const void *arg, const struct split_feed_input *in)
{
	(void)arg;
	struct header_filter f;
	struct buf out;
	struct slice piece;
	buf_init(&out, 100000);
	header_filter_init(&f, &config);
	for (size_t at = 0; split_feed_piece(in, &at, &piece);)
		CHECK(header_filter_feed(&f, piece, &out) == 0);
	CHECK(header_filter_end(&f, &out) == 0);
	CHECK(header_filter_end(&f, &out) == 0);
	CHECK(f.done);
	CHECK(
	    buf_printf(&out, "|%u%s %s", f.received, f.has_8bit ? " 8bit" : "", f.message_id) == 0);
	header_filter_fini(&f);
	return buf_take(&out);
}

static const struct {
	struct slice in;
	const char *expect;
} filtered[] = {
	{ SLICE("Subject: x\r\n\r\nbody\r\n"),
	    TRACE "Subject: x\r\n" MISSING "\r\nbody\r\n|0 <1@me>" },
	{ SLICE("DATE: d\r\nmessage-id: <a@b>\r\n\r\nDate: not\r\n"),
	    TRACE "DATE: d\r\nmessage-id: <a@b>\r\n\r\nDate: not\r\n|0 <a@b>" },
	{ SLICE("Date: d\r\nMessage-ID:\r\n  <a@b> (comment)\r\nMessage-ID: <c@d>\r\n\r\n"),
	    TRACE "Date: d\r\nMessage-ID:\r\n  <a@b> (comment)\r\nMessage-ID: <c@d>\r\n\r\n"
		  "|0 <a@b>" },
	{ SLICE("Message-ID: bare\r\nDate : d\r\n\r\n"),
	    TRACE "Message-ID: bare\r\nDate : d\r\n\r\n|0 bare" },
	{ SLICE("To: a\r\nBcc: b,\r\n c\r\n\td\r\nCc: e\r\nbcc : f\r\nResent-Bcc: g\r\n"
		"Return-Path: <h>\r\nX-Bcc: i\r\n\r\n"),
	    TRACE "To: a\r\nCc: e\r\nX-Bcc: i\r\n" MISSING "\r\n|0 <1@me>" },
	{ SLICE("Bcc: a\r\n\r\nbody\r\n"), TRACE MISSING "\r\nbody\r\n|0 <1@me>" },
	{ SLICE("Received: a\r\n\tReceived: b\r\nRECEIVED:c\r\nX-Received: d\r\n\r\n"),
	    TRACE "Received: a\r\n\tReceived: b\r\nRECEIVED:c\r\nX-Received: d\r\n" MISSING
		  "\r\n|2 <1@me>" },
	{ SLICE("\r\nbody\r\n"), TRACE MISSING "\r\nbody\r\n|0 <1@me>" },
	{ SLICE("no header\r\nA: b\r\n"), TRACE MISSING "\r\nno header\r\nA: b\r\n|0 <1@me>" },
	{ SLICE(" A: b\r\n\r\n"), TRACE MISSING "\r\n A: b\r\n\r\n|0 <1@me>" },
	{ SLICE(": b\r\n\r\n"), TRACE MISSING "\r\n: b\r\n\r\n|0 <1@me>" },
	{ SLICE("\xc3\xa9: b\r\n\r\n"), TRACE MISSING "\r\n\xc3\xa9: b\r\n\r\n|0 <1@me>" },
	{ SLICE("A: b\r\nnot a field\r\nBcc: c\r\n"),
	    TRACE "A: b\r\n" MISSING "\r\nnot a field\r\nBcc: c\r\n|0 <1@me>" },
	{ SLICE("A: b\r\n"), TRACE "A: b\r\n" MISSING "\r\n|0 <1@me>" },
	{ SLICE("A: b"), TRACE "A: b\r\n" MISSING "\r\n|0 <1@me>" },
	{ SLICE("A: b\r"), TRACE "A: b\r\n" MISSING "\r\n|0 <1@me>" },
	{ SLICE("Bcc: b"), TRACE MISSING "\r\n|0 <1@me>" },
	{ SLICE("A: b\r\n c"), TRACE "A: b\r\n c\r\n" MISSING "\r\n|0 <1@me>" },
	{ SLICE("text"), TRACE MISSING "\r\ntext\r\n|0 <1@me>" },
	{ SLICE(""), TRACE MISSING "\r\n|0 <1@me>" },
	{ SLICE("A: \xc3\xa9\r\n\r\n"), TRACE "A: \xc3\xa9\r\n" MISSING "\r\n|0 8bit <1@me>" },
	/* Only what is put out counts. */
	{ SLICE("Bcc: \xc3\xa9\r\n\r\n\xc3\xa9\r\n"), TRACE MISSING "\r\n\xc3\xa9\r\n|0 <1@me>" },
	{ SLICE("A: b\r\n \r\n\r\nbody\r\n"),
	    TRACE "A: b\r\n \r\n" MISSING "\r\nbody\r\n|0 <1@me>" },
};

START_TEST(filters)
{
	split_feed(filter, NULL, filtered[_i].in, filtered[_i].expect);
}

END_TEST

static void add_many(struct buf *b, char c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(buf_add_char(b, c) == 0);
}

/* A name of n bytes, and a value of n bytes; the same however cut. */
START_TEST(long_lines_are_judged_by_their_beginning)
{
	static const size_t LENGTHS[] = { 995, 998, 999, 1000, 1001, 1200 };
	for (size_t i = 0; i < ARRAY_LEN(LENGTHS); i++) {
		struct buf in;
		buf_init(&in, 10000);
		add_many(&in, 'n', LENGTHS[i]);
		CHECK(buf_add_str(&in, ": ") == 0);
		add_many(&in, 'v', LENGTHS[i]);
		CHECK(buf_add_str(&in, "\r\n\r\n") == 0);
		split_feed(filter, NULL, buf_slice(&in), NULL);
		buf_fini(&in);
	}
}

END_TEST

START_TEST(nothing_is_added_unasked)
{
	struct header_filter_config cfg = { .trace = "" };
	struct header_filter f;
	struct buf out;
	buf_init(&out, 1000);
	header_filter_init(&f, &cfg);
	ck_assert_int_eq(header_filter_feed(&f, SLICE("A: b\r\n\r\nx\r\n"), &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "A: b\r\n\r\nx\r\n");
	ck_assert(f.done && !f.has_date && !f.has_message_id);
	ck_assert_str_eq(f.message_id, "");
	header_filter_fini(&f);
	buf_fini(&out);
}

END_TEST

START_TEST(limits_stick)
{
	struct header_filter f;
	struct buf out;
	char line[1001];
	memset(line, 'x', sizeof(line));
	memcpy(line, "A: ", 3);
	memcpy(line + sizeof(line) - 3, "\r\n", 3);
	buf_init(&out, 2 * HEADER_BLOCK_MAX);
	header_filter_init(&f, &config);
	size_t taken = 0;
	while (header_filter_feed(&f, slice_str(line), &out) == 0)
		taken += strlen(line);
	ck_assert_uint_gt(taken, HEADER_BLOCK_MAX - sizeof(line));
	ck_assert_uint_le(taken, HEADER_BLOCK_MAX);
	ck_assert_int_eq(header_filter_feed(&f, SLICE("\r\n"), &out), ERR_TOO_BIG);
	ck_assert_int_eq(header_filter_end(&f, &out), ERR_TOO_BIG);
	header_filter_fini(&f);
	buf_fini(&out);

	buf_init(&out, 20);
	header_filter_init(&f, &config);
	ck_assert_int_eq(header_filter_feed(&f, SLICE("A: b\r\n\r\n"), &out), ERR_TOO_BIG);
	ck_assert_int_eq(header_filter_end(&f, &out), ERR_TOO_BIG);
	header_filter_fini(&f);
	buf_fini(&out);
}

END_TEST

START_TEST(long_message_ids_are_cut)
{
	struct header_filter f;
	struct buf in, out;
	buf_init(&in, 10000);
	buf_init(&out, 20000);
	CHECK(buf_add_str(&in, "Message-ID: <") == 0);
	add_many(&in, 'x', 5000);
	CHECK(buf_add_str(&in, ">\r\n\r\n") == 0);
	header_filter_init(&f, &config);
	ck_assert_int_eq(header_filter_feed(&f, buf_slice(&in), &out), 0);
	ck_assert_uint_eq(strlen(f.message_id), sizeof(f.message_id) - 1);
	ck_assert_int_eq(f.message_id[0], '<');
	header_filter_fini(&f);
	buf_fini(&in);
	buf_fini(&out);
}

END_TEST

START_TEST(finds_fields)
{
	const struct slice block = SLICE("A: 1\r\nSubject:  two\r\n\tlines \r\nsubject: other\r\n"
					 "Empty:\r\n\r\nBody: x\r\n");
	struct buf out;
	buf_init(&out, 100);
	ck_assert_int_eq(header_find(block, "SUBJECT", &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "two\tlines");
	buf_clear(&out);
	ck_assert_int_eq(header_find(block, "Empty", &out), 0);
	ck_assert_str_eq(buf_cstr(&out), "");
	ck_assert_int_eq(header_find(block, "Body", &out), ERR_NOT_FOUND);
	ck_assert_int_eq(header_find(SLICE(""), "A", &out), ERR_NOT_FOUND);
	buf_fini(&out);
}

END_TEST

static const struct {
	struct slice msg;
	size_t n;
} blocks[] = {
	{ SLICE("A: b\r\n c\r\nD: e\r\n\r\nbody"), 18 },
	{ SLICE("A: b\r\nbody\r\n"), 6 },
	{ SLICE("A: b\r\n"), 6 },
	{ SLICE("A: b"), 4 },
	{ SLICE("\r\nbody"), 2 },
	{ SLICE("body\r\n"), 0 },
	{ SLICE(" body\r\n"), 0 },
	{ SLICE(""), 0 },
};

START_TEST(measures_blocks)
{
	ck_assert_uint_eq(header_block_length(blocks[_i].msg), blocks[_i].n);
}

END_TEST

Suite *test_header_suite(void)
{
	Suite *s = suite_create("proto/header");
	TCase *t = tcase_create("header");
	tcase_add_loop_test(t, filters, 0, ARRAY_LEN(filtered));
	tcase_add_test(t, long_lines_are_judged_by_their_beginning);
	tcase_add_test(t, nothing_is_added_unasked);
	tcase_add_test(t, limits_stick);
	tcase_add_test(t, long_message_ids_are_cut);
	tcase_add_loop_test(t, measures_blocks, 0, ARRAY_LEN(blocks));
	tcase_add_test(t, finds_fields);
	suite_add_tcase(s, t);
	return s;
}
