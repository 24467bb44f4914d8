#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "client_wire.h"
#include "proto/smtp_client_priv.h"
#include "scripted_peer.h"

/* BDAT: when the chunk goes out, and what an answer to it means. */

Suite *test_smtp_client_chunking_suite(void);

#define MAIL  "MAIL FROM:<s@a.example>\r\n"
#define M(n)  "MAIL FROM:<" #n "@a.example>\r\n"
#define RCPT1 "RCPT TO:<r1@b.example>\r\n"
#define RCPT2 RCPT1 "RCPT TO:<r2@b.example>\r\n"
#define BDAT  "BDAT 4 LAST\r\nHi\r\n"
#define OK    "250 2.0.0 ok\r\n"
#define RSET                                                                                       \
	{                                                                                          \
		"RSET\r\n", OK                                                                     \
	}
#define EHLOC                                                                                      \
	{                                                                                          \
		ME, "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"                                 \
	}
#define EHLO1                                                                                      \
	{                                                                                          \
		ME, "250-mx\r\n250 CHUNKING\r\n"                                                   \
	}

static const struct scenario chunked[] = {
	{ .name = "MAIL, RCPT and the chunk in one flight",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "what could be lost with an old connection waits for RCPT",
	    .flags = PIPE | CHUNK,
	    .messages = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK OK }, { MAIL RCPT1, OK OK },
		{ BDAT, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; " },
	{ .name = "overlapped: chunk, MAIL and RCPT in one write",
	    .flags = PIPE | CHUNK | OVERLAP,
	    .messages = 4,
	    .talk = { HELLO, EHLOC, { M(1) RCPT1 BDAT, OK OK OK }, { M(2) RCPT1, OK OK },
		{ BDAT M(3) RCPT1, OK OK OK }, { BDAT M(4) RCPT1, OK OK OK }, { BDAT, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / dot 250 ok; / dot 250 ok; " },
	{ .name = "without PIPELINING step by step",
	    .flags = PIPE | CHUNK,
	    .rcpts = 2,
	    .talk = { HELLO, EHLO1, { MAIL, OK }, { RCPT1, "550 no\r\n" },
		{ "RCPT TO:<r2@b.example>\r\n", OK }, { BDAT, OK }, QUITS },
	    .results = "rcpt 550; dot 250 ok; " },
	{ .name = "PIPELINING not wanted",
	    .flags = CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL, OK }, { RCPT1, OK }, { BDAT, OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "not wanted",
	    .flags = PIPE,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 "DATA\r\n", OK OK "354 go\r\n" },
		{ "Hi\r\n.\r\n", OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "not offered",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, { ME, "250-mx\r\n250-CHUNK\r\n250 PIPELINING\r\n" },
		{ MAIL RCPT1 "DATA\r\n", OK OK "354 go\r\n" }, { "Hi\r\n.\r\n", OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "not with LMTP",
	    .flags = PIPE | CHUNK | LMTP,
	    .talk = { HELLO,
		{ "LHLO me.example\r\n", "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n" },
		{ MAIL RCPT1 "DATA\r\n", OK OK "354 go\r\n" }, { "Hi\r\n.\r\n", OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "dots are nothing special, nor is a missing end of line",
	    .flags = PIPE | CHUNK,
	    .body = ".\r\n..\r\n.",
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 "BDAT 8 LAST\r\n.\r\n..\r\n.", OK OK OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "an empty body",
	    .flags = PIPE | CHUNK,
	    .body = "",
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 "BDAT 0 LAST\r\n", OK OK OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "an empty body, later",
	    .flags = CHUNK,
	    .body = "",
	    .talk = { HELLO, EHLOC, { MAIL, OK }, { RCPT1, OK }, { "BDAT 0 LAST\r\n", OK }, QUITS },
	    .results = "dot 250 ok; " },
	{ .name = "parameters of MAIL are what they were",
	    .flags = PIPE | CHUNK | EIGHT_BIT,
	    .talk = { HELLO,
		{ ME, "250-mx\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-SIZE\r\n250-PIPELINING\r\n"
		      "250 chunking\r\n" },
		{ "MAIL FROM:<s@a.example> SIZE=4 BODY=8BITMIME\r\n" RCPT1 BDAT, OK OK OK },
		QUITS },
	    .results = "dot 250 ok; " },
};

static const struct scenario refused[] = {
	{ .name = "some recipients refused",
	    .flags = PIPE | CHUNK,
	    .rcpts = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT2 BDAT, OK "550 no\r\n" OK OK }, QUITS },
	    .results = "rcpt 550; dot 250 ok; " },
	{ .name = "all refused, the chunk too",
	    .flags = PIPE | CHUNK,
	    .rcpts = 2,
	    .messages = 2,
	    .talk = { HELLO, EHLOC,
		{ MAIL RCPT2 BDAT, OK "550 a\r\n450 b\r\n554 no valid recipients\r\n" }, RSET,
		{ MAIL RCPT2, OK OK OK }, { BDAT, OK }, QUITS },
	    .results = "rcpt 550; rcpt 450; / dot 250 ok; dot 250 ok; " },
	{ .name = "all refused, the chunk with 503",
	    .flags = PIPE | CHUNK,
	    .messages = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK "550 a\r\n503 need RCPT\r\n" }, RSET,
		{ MAIL RCPT1, OK "450 a\r\n" }, RSET, QUITS },
	    .results = "rcpt 550; / rcpt 450; " },
	{ .name = "all refused, the chunk taken for nobody",
	    .flags = PIPE | CHUNK,
	    .messages = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK "550 a\r\n" OK }, { MAIL RCPT1, OK OK },
		{ BDAT, OK }, QUITS },
	    .results = "rcpt 550; / dot 250 ok; " },
	{ .name = "all refused, and the chunk read as commands",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK "550 a\r\n500 what\r\n500 Hi\r\n" } },
	    .results = "rcpt 550; ",
	    .session = "dot 500 ERR_PROTOCOL" },
	{ .name = "all refused, then the end",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK "550 a\r\n" }, { "", EOF_HERE } },
	    .results = "rcpt 550; ",
	    .session = "dot ERR_CLOSED" },
	{ .name = "MAIL refused, the chunk out",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, "450 a\r\n503 b\r\n503 c\r\n" }, RSET,
		QUITS },
	    .results = "mail 450; " },
	{ .name = "MAIL refused, the chunk not",
	    .flags = PIPE | CHUNK,
	    .messages = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK OK },
		{ MAIL RCPT1, "550 a\r\n503 b\r\n" }, RSET, QUITS },
	    .results = "dot 250 ok; / mail 550; " },
	{ .name = "the chunk refused: RSET before anything else",
	    .flags = PIPE | CHUNK,
	    .messages = 3,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK "552 5.3.4 large\r\n" }, RSET,
		{ MAIL RCPT1, OK OK }, { BDAT, "451 4.3.0 later\r\n" }, RSET, { MAIL RCPT1, OK OK },
		{ BDAT, OK }, QUITS },
	    .results = "dot 552; / dot 451; / dot 250 ok; " },
	{ .name = "the chunk refused, RSET too",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK "554 spam\r\n" },
		{ "RSET\r\n", "503 what\r\n" } },
	    .results = "dot 554; " },
	{ .name = "overlapped: the chunk refused, MAIL behind it taken",
	    .flags = PIPE | CHUNK | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOC, { M(1) RCPT1 BDAT, OK OK OK }, { M(2) RCPT1, OK OK },
		{ BDAT M(3) RCPT1, "554 spam\r\n" OK OK }, { BDAT, OK }, QUITS },
	    .results = "dot 250 ok; / dot 554; / dot 250 ok; " },
	{ .name = "overlapped: the chunk refused, MAIL behind it out of order",
	    .flags = PIPE | CHUNK | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOC, { M(1) RCPT1 BDAT, OK OK OK }, { M(2) RCPT1, OK OK },
		{ BDAT M(3) RCPT1, "554 spam\r\n503 nested\r\n503 x\r\n" }, { "QUIT\r\n", NULL } },
	    .results = "dot 250 ok; / dot 554; / mail 503 untried; ",
	    .session = "mail 503" },
	{ .name = "overlapped: all recipients refused",
	    .flags = PIPE | CHUNK | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOC, { M(1) RCPT1 BDAT, OK OK OK }, { M(2) RCPT1, OK OK },
		{ BDAT M(3) RCPT1, OK OK "550 no\r\n" }, RSET, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / rcpt 550; " },
};

/* BDAT is no command to it, though offered: no reason to bounce, nor to go on. */
#define NO_BDAT(code)                                                                              \
	{                                                                                          \
		.name = #code " to BDAT", .flags = PIPE | CHUNK, .rcpts = 2,                       \
		.talk = { HELLO, EHLOC,                                                            \
			{ MAIL RCPT2 BDAT,                                                         \
			    OK "550 no\r\n" OK #code " what\r\n" #code " Hi\r\n" } },              \
		.results = "rcpt 550; dot " #code " ERR_PROTOCOL; ",                               \
		.session = "dot " #code " ERR_PROTOCOL"                                            \
	}

static const struct scenario unknown[] = {
	NO_BDAT(500),
	NO_BDAT(501),
	NO_BDAT(502),
	NO_BDAT(503),
	NO_BDAT(504),
	{ .name = "502 to BDAT, another message behind it",
	    .flags = PIPE | CHUNK | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOC, { M(1) RCPT1 BDAT, OK OK OK }, { M(2) RCPT1, OK OK },
		{ BDAT M(3) RCPT1, "502 what\r\n500 Hi\r\n" OK OK } },
	    .results = "dot 250 ok; / dot 502 ERR_PROTOCOL; / mail 502 ERR_PROTOCOL untried; ",
	    .session = "dot 502 ERR_PROTOCOL" },
	{ .name = "510 is about the mail",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK "510 no\r\n" }, RSET, QUITS },
	    .results = "dot 510; " },
};

static const struct scenario ended[] = {
	{ .name = "lost with the chunk out: it may have the message",
	    .flags = PIPE | CHUNK,
	    .rcpts = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT2 BDAT, EOF_HERE } },
	    .results = "dot ERR_CLOSED; dot ERR_CLOSED; ",
	    .session = "dot ERR_CLOSED" },
	{ .name = "lost after some replies",
	    .flags = PIPE | CHUNK,
	    .rcpts = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT2 BDAT, OK "550 no\r\n25" }, { "", EOF_HERE } },
	    .results = "rcpt 550; dot ERR_CLOSED; ",
	    .session = "dot ERR_CLOSED" },
	{ .name = "no reply at all",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, TIMEOUT_HERE } },
	    .results = "dot ERR_TIMEOUT; ",
	    .session = "dot ERR_TIMEOUT" },
	{ .name = "no reply to the chunk",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK }, { "", TIMEOUT_HERE } },
	    .results = "dot ERR_TIMEOUT; ",
	    .session = "dot ERR_TIMEOUT" },
	{ .name = "421 to MAIL is a refusal: another host may be asked",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, "421 busy\r\n" } },
	    .results = "mail 421; ",
	    .session = "mail 421" },
	{ .name = "421 to the chunk",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK "421 bye\r\n" } },
	    .results = "dot 421; ",
	    .session = "dot 421" },
	{ .name = "354 to the chunk",
	    .flags = PIPE | CHUNK,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK "354 go\r\n" } },
	    .results = "dot ERR_PROTOCOL; ",
	    .session = "dot ERR_PROTOCOL" },
	{ .name = "an old connection lost before RCPT was answered",
	    .flags = PIPE | CHUNK,
	    .messages = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK OK }, { MAIL RCPT1, EOF_HERE } },
	    .results = "dot 250 ok; / mail ERR_CLOSED untried; ",
	    .session = "mail ERR_CLOSED" },
	{ .name = "overlapped, lost at the chunk",
	    .flags = PIPE | CHUNK | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOC, { M(1) RCPT1 BDAT, OK OK OK }, { M(2) RCPT1, OK OK },
		{ BDAT M(3) RCPT1, EOF_HERE } },
	    .results = "dot 250 ok; / dot ERR_CLOSED; / mail ERR_CLOSED untried; ",
	    .session = "dot ERR_CLOSED" },
	{ .name = "the body can't be read, early",
	    .flags = PIPE | CHUNK,
	    .body = UNREADABLE,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 "BDAT 11 LAST\r\n", NULL } },
	    .results = "local EIO; ",
	    .session = "local EIO" },
	{ .name = "the body can't be read, later",
	    .flags = CHUNK,
	    .body = UNREADABLE,
	    .talk = { HELLO, EHLOC, { MAIL, OK }, { RCPT1, OK }, { "BDAT 11 LAST\r\n", NULL } },
	    .results = "local EIO; ",
	    .session = "local EIO" },
};

/* A reply too many; where it puts the chunk's own in doubt, see test_accepted_in_doubt. */
static const struct scenario surplus[] = {
	{ .name = "two replies to the chunk, refused",
	    .flags = PIPE | CHUNK | SURPLUS,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK "554 spam\r\n" OK },
		{ "RSET\r\n", NULL } },
	    .results = "dot ERR_PROTOCOL; " },
	{ .name = "a goodbye behind it is none",
	    .flags = PIPE | CHUNK | SURPLUS,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK OK "221 bye\r\n" } },
	    .results = "dot 250 ok; " },
	{ .name = "nor is a 421",
	    .flags = PIPE | CHUNK | SURPLUS,
	    .talk = { HELLO, EHLOC, { MAIL RCPT1 BDAT, OK OK OK "421 bye\r\n" } },
	    .results = "dot 250 ok; " },
	{ .name = "before the chunk of an old connection",
	    .flags = PIPE | CHUNK | SURPLUS,
	    .rcpts = 2,
	    .messages = 2,
	    .talk = { HELLO, EHLOC, { MAIL RCPT2 BDAT, OK OK OK OK },
		{ MAIL RCPT2, OK OK "550 no\r\n" OK } },
	    .results = "dot 250 ok; dot 250 ok; / body ERR_PROTOCOL; rcpt ERR_PROTOCOL; ",
	    .session = "body ERR_PROTOCOL" },
	{ .name = "step by step: before the chunk",
	    .flags = CHUNK | SURPLUS,
	    .rcpts = 2,
	    .talk = { HELLO, EHLOC, { MAIL, OK }, { RCPT1, "550 no\r\n" },
		{ "RCPT TO:<r2@b.example>\r\n", OK OK } },
	    .results = "rcpt 550; body ERR_PROTOCOL; ",
	    .session = "body ERR_PROTOCOL" },
};

#define TABLE_TEST(table)                                                                          \
	START_TEST(test_##table)                                                                   \
	{                                                                                          \
		for (size_t i = 0; i < ARRAY_LEN(table); i++)                                      \
			scripted_peer_run(&table[i]);                                              \
	}                                                                                          \
	END_TEST

TABLE_TEST(chunked)
TABLE_TEST(refused)
TABLE_TEST(unknown)
TABLE_TEST(ended)
TABLE_TEST(surplus)

enum {
	BIG_BODY = 1 << 20,
};

static const struct smtp_client_rcpt two_rcpts[] = { { "r1@b.example", "", 0 },
	{ "r2@b.example", "", 0 } };

static char body_bytes[BIG_BODY];
static const struct slice body = { body_bytes, BIG_BODY };

static struct smtp_client *new_client(struct now *now)
{
	struct smtp_client_config cfg = {
		.helo = "me.example",
		.tls = SMTP_TLS_NEVER,
		.pipelining = true,
		.overlap = true,
		.chunking = true,
	};
	*now = (struct now){ .wall_ms = 1, .mono_ms = 1000 };
	memset(body_bytes, 'x', sizeof(body_bytes));
	return smtp_client_new(&cfg, *now);
}

static void next_is(struct smtp_client *c, enum smtp_client_action_kind kind)
{
	ck_assert_int_eq(smtp_client_next(c), kind);
}

/* All that is to be sent; borrowed until the next call. */
static const char *wire(const struct smtp_client *c)
{
	static char *last;
	mem_free(last);
	last = client_wire_copy(c);
	return last;
}

static int64_t time_left(const struct smtp_client *c, struct now now)
{
	return smtp_client_deadline(c) - now.mono_ms;
}

static void send_message(struct smtp_client *c, uint64_t bytes, struct now now)
{
	struct smtp_client_msg m = {
		.sender = "s@a.example",
		.rcpts = two_rcpts,
		.rcpts_n = 2,
		.body_bytes = bytes,
		.body = &body,
	};
	smtp_client_send(c, &m, now);
}

/* MAIL and both RCPT are in the output. */
static struct smtp_client *client_sending(struct now *now, uint64_t bytes)
{
	struct smtp_client *c = new_client(now);
	send_message(c, bytes, *now);
	smtp_client_feed(c, SLICE("220 mx\r\n"), *now);
	client_wire_drain(c, *now);
	smtp_client_feed(c, SLICE("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"), *now);
	return c;
}

/* BDAT and all of the chunk are in the output. */
static struct smtp_client *client_at_large(struct now *now)
{
	struct smtp_client *c = client_sending(now, BIG_BODY);
	next_is(c, SMTP_CLIENT_NONE);
	ck_assert(!strstr(wire(c), "BDAT"));
	client_wire_drain(c, *now);
	smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), *now);
	next_is(c, SMTP_CLIENT_NONE);
	ck_assert(slice_starts(slice_str(wire(c)), SLICE("BDAT 1048576 LAST\r\nxxx")));
	return c;
}

static void is_result(struct smtp_client *c, size_t i, enum smtp_stage stage, int code, int err)
{
	const struct smtp_result *r = smtp_client_result(c, i);
	ck_assert_int_eq(r->stage, stage);
	ck_assert_int_eq(r->reply.code, code);
	ck_assert_int_eq(r->err, err);
	ck_assert(!r->accepted && !r->untried);
}

/* Large bodies wait for RCPT, then go out as one chunk, as slowly as may be. */
START_TEST(test_large)
{
	struct now now;
	struct smtp_client *c = client_at_large(&now);
	struct smtp_client_output o;
	uint64_t at = 0, line = strlen("BDAT 1048576 LAST\r\n");
	smtp_client_sent(c, line, now);
	while (smtp_client_pending(c) > 0) {
		ck_assert_int_eq(time_left(c, now), 180000);
		smtp_client_output(c, &o);
		ck_assert_uint_eq(o.text.n + o.after.n, 0);
		ck_assert_ptr_eq(o.body, &body);
		ck_assert_uint_eq(o.body_at, at);
		ck_assert_uint_eq(o.body_at + o.body_n, BIG_BODY);
		at += MIN(o.body_n, 50000);
		smtp_client_sent(c, MIN(o.body_n, 50000), now);
		if (smtp_client_pending(c) == 0)
			break;
		now.mono_ms = smtp_client_deadline(c);
		smtp_client_tick(c, now);
		next_is(c, SMTP_CLIENT_NONE);
	}
	ck_assert_int_eq(time_left(c, now), 600000);
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 1)->accepted);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_large_stands_still)
{
	struct now now;
	struct smtp_client *c = client_at_large(&now);
	smtp_client_sent(c, 100, now);
	for (int i = 0; i < 2; i++) {
		next_is(c, SMTP_CLIENT_NONE);
		now.mono_ms = smtp_client_deadline(c);
		smtp_client_tick(c, now);
	}
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_BODY, 0, ERR_TIMEOUT);
	ck_assert_uint_eq(smtp_client_pending(c), 0);
	next_is(c, SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
}

END_TEST

/* The next message is not bound to a connection that will be busy for long. */
START_TEST(test_overlap_behind_large)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, 1);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	send_message(c, BIG_BODY, now);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_sent(c, smtp_client_pending(c) - CLIENT_WINDOW_BYTES, now);
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_sent(c, 1, now);
	next_is(c, SMTP_CLIENT_READY);
	send_message(c, 1, now);
	struct smtp_client_output o;
	smtp_client_output(c, &o);
	ck_assert_uint_eq(o.body_n, CLIENT_WINDOW_BYTES - 1);
	ck_assert(slice_eq(o.after, SLICE("MAIL FROM:<s@a.example>\r\n" RCPT2)));
	smtp_client_sent(c, CLIENT_WINDOW_BYTES - 1, now);
	ck_assert_int_eq(time_left(c, now), 600000);
	ck_assert_str_eq(wire(c), "MAIL FROM:<s@a.example>\r\n" RCPT2);
	/* now the chunk may be answered, but nothing behind it */
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 1)->accepted);
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 0)->untried);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_early_limit)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, CLIENT_WINDOW_BYTES);
	ck_assert(strstr(wire(c), "BDAT 65536 LAST\r\n"));
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_free(&c);
	c = client_sending(&now, CLIENT_WINDOW_BYTES + 1);
	ck_assert(!strstr(wire(c), "BDAT"));
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_free(&c);
}

END_TEST

/* A list of recipients larger than the window: the chunk stands behind the last of them. */
START_TEST(test_early_behind_all_recipients)
{
	enum {
		MANY = 3000
	};

	struct now now;
	struct smtp_client *c = new_client(&now);
	struct smtp_client_rcpt *rcpts = mem_zalloc(MANY * sizeof(*rcpts));
	for (size_t i = 0; i < MANY; i++)
		rcpts[i] = (struct smtp_client_rcpt){ "a-recipient@b.example", "", 0 };
	struct smtp_client_msg m = {
		.sender = "s@a.example",
		.rcpts = rcpts,
		.rcpts_n = MANY,
		.body_bytes = 1,
		.body = &body,
	};
	smtp_client_send(c, &m, now);
	smtp_client_feed(c, SLICE("220 mx\r\n"), now);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"), now);
	ck_assert_uint_ge(smtp_client_pending(c), CLIENT_WINDOW_BYTES);
	ck_assert(!strstr(wire(c), "BDAT"));
	next_is(c, SMTP_CLIENT_NONE);
	client_wire_drain(c, now);
	next_is(c, SMTP_CLIENT_NONE);
	ck_assert(strstr(wire(c), "RCPT TO:<a-recipient@b.example>\r\nBDAT 1 LAST\r\nx"));
	client_wire_drain(c, now);
	for (size_t i = 0; i < MANY + 2; i++)
		smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, MANY - 1)->accepted);
	smtp_client_free(&c);
	mem_free(rcpts);
}

END_TEST

/* All are refused before the chunk has left: its bytes are lent until they have, and so long its
 * message is not told. */
START_TEST(test_refused_but_still_lent)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, 10);
	smtp_client_sent(c, smtp_client_pending(c) - 4, now);
	smtp_client_feed(c, SLICE("250 ok\r\n550 no\r\n450 no\r\n"), now);
	next_is(c, SMTP_CLIENT_NONE);
	ck_assert_str_eq(wire(c), "xxxx");
	smtp_client_sent(c, 4, now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_RCPT, 550, 0);
	is_result(c, 1, SMTP_STAGE_RCPT, 450, 0);
	smtp_client_feed(c, SLICE("503 nobody\r\n"), now);
	ck_assert_str_eq(wire(c), "RSET\r\n");
	smtp_client_free(&c);
	c = client_sending(&now, 10); /* or won't leave any more */
	smtp_client_sent(c, smtp_client_pending(c) - 4, now);
	smtp_client_feed(c, SLICE("250 ok\r\n550 no\r\n450 no\r\n"), now);
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_lost(c, ERR_CLOSED, now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_RCPT, 550, 0);
	next_is(c, SMTP_CLIENT_CLOSE);
	ck_assert_uint_eq(smtp_client_pending(c), 0);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_mail_refused_before_the_chunk)
{
	struct now now;
	struct smtp_client *c = new_client(&now);
	send_message(c, 10, now);
	smtp_client_feed(c, SLICE("220 mx\r\n"), now);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"), now);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("550 no\r\n503 no\r\n503 no\r\n503 no\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_MAIL, 550, 0);
	send_message(c, 10, now); /* not the first: its chunk waits, and is not sent at all */
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("550 no\r\n503 no\r\n503 no\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_str_eq(wire(c), "RSET\r\n");
	smtp_client_free(&c);
}

END_TEST

/* The body turns out unreadable when some of it has left: the peer must not take it for whole. */
START_TEST(test_unreadable)
{
	for (int early = 0; early < 2; early++) {
		struct now now;
		struct smtp_client *c = early ? client_sending(&now, 1000) : client_at_large(&now);
		smtp_client_sent(c, 100, now);
		smtp_client_body_failed(c);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, SMTP_STAGE_LOCAL, 0, -EIO);
		is_result(c, 1, SMTP_STAGE_LOCAL, 0, -EIO);
		next_is(c, SMTP_CLIENT_CLOSE);
		ck_assert_uint_eq(smtp_client_pending(c), 0);
		smtp_client_free(&c);
	}
}

END_TEST

/* Lost while the end of the chunk has not left: the peer can't have the message. */
START_TEST(test_lost_before_the_end_is_out)
{
	static const struct {
		const char *replies;
		enum smtp_stage stage;
	} at[] = {
		{ "", SMTP_STAGE_MAIL },
		{ "250 ok\r\n", SMTP_STAGE_RCPT },
		{ "250 ok\r\n250 ok\r\n250 ok\r\n", SMTP_STAGE_BODY },
	};

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct now now;
		struct smtp_client *c = client_sending(&now, 10);
		smtp_client_sent(c, smtp_client_pending(c) - 1, now);
		smtp_client_feed(c, slice_str(at[i].replies), now);
		smtp_client_lost(c, -ECONNRESET, now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, at[i].stage, 0, -ECONNRESET);
		ck_assert_uint_eq(smtp_client_pending(c), 0);
		smtp_client_free(&c);
	}
}

END_TEST

/* What is said while the chunk is on its way; left: bytes of it, with the BDAT line, not yet out.
 */
static void early(size_t left, const char *reply, enum smtp_stage stage, int code, int err)
{
	for (int behind_rcpt = 0; behind_rcpt < 2; behind_rcpt++) {
		struct now now;
		struct smtp_client *c = behind_rcpt ? client_sending(&now, 10) : new_client(&now);
		if (!behind_rcpt) {
			c->began_one = true; /* as if a message had gone before */
			send_message(c, 10, now);
			smtp_client_feed(c, SLICE("220 mx\r\n"), now);
			client_wire_drain(c, now);
			smtp_client_feed(c, SLICE("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
			    now);
			client_wire_drain(c, now);
			smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
		}
		smtp_client_sent(c, smtp_client_pending(c) - left, now);
		if (behind_rcpt)
			smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
		smtp_client_feed(c, slice_str(reply), now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, stage, code, err);
		next_is(c, SMTP_CLIENT_CLOSE);
		ck_assert_uint_eq(smtp_client_pending(c), 0);
		ck_assert(smtp_client_refused_chunking(c) == (code / 10 == 50));
		smtp_client_free(&c);
	}
}

START_TEST(test_early_replies)
{
	size_t whole = strlen("BDAT 10 LAST\r\n") + 10;
	early(10, "552 large\r\n", SMTP_STAGE_BODY, 552, 0);
	early(1, "452 full\r\n", SMTP_STAGE_BODY, 452, 0);
	early(1, "421 bye\r\n", SMTP_STAGE_BODY, 421, 0);
	early(1, "502 what\r\n", SMTP_STAGE_BODY, 502, ERR_PROTOCOL);
	early(1, "250 thanks\r\n", SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
	/* BDAT itself has not left: that is an answer to nothing */
	early(11, "552 large\r\n", SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
	early(whole, "502 what\r\n", SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
	early(whole, "250 thanks\r\n", SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
}

END_TEST

/* Half a reply before the end has left, the other half after it: to what? */
START_TEST(test_half_a_reply)
{
	struct now now;
	struct smtp_client *c = client_at_large(&now);
	smtp_client_sent(c, smtp_client_pending(c) - 1, now);
	smtp_client_feed(c, SLICE("25"), now);
	smtp_client_sent(c, 1, now);
	smtp_client_feed(c, SLICE("0 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
	smtp_client_free(&c);
}

END_TEST

/*
 * The server says one thing twice, and the chunk is given the reply of the last
 * RCPT: its own is left over. Neither acceptance nor refusals count.
 */
START_TEST(test_accepted_in_doubt)
{
	static const char *const left_over[] = { "554 spam\r\n", "250 ok\r\n" };
	for (size_t i = 0; i < ARRAY_LEN(left_over); i++) {
		struct now now;
		struct smtp_client *c = client_sending(&now, 10);
		client_wire_drain(c, now);
		struct buf replies;
		buf_init(&replies, 1000);
		ck_assert_int_eq(buf_printf(&replies, "250 a\r\n250 a\r\n550 no\r\n250 ok\r\n%s",
				     left_over[i]),
		    0);
		smtp_client_feed(c, buf_slice(&replies), now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, SMTP_STAGE_DOT, 0, ERR_PROTOCOL);
		is_result(c, 1, SMTP_STAGE_RCPT, 0, ERR_PROTOCOL);
		next_is(c, SMTP_CLIENT_CLOSE);
		buf_fini(&replies);
		smtp_client_free(&c);
	}
}

END_TEST

/* Before a byte has left there is nothing to refuse. */
START_TEST(test_reply_before_bdat)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, BIG_BODY);
	client_wire_drain(c, now);
	smtp_client_feed(c, SLICE("250 ok\r\n550 no\r\n250 ok\r\n"), now);
	smtp_client_feed(c, SLICE("552 large\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_RCPT, 0, ERR_PROTOCOL); /* whose refusal was it? */
	is_result(c, 1, SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
	smtp_client_free(&c);
}

END_TEST

Suite *test_smtp_client_chunking_suite(void)
{
	Suite *s = suite_create("smtp_client_chunking");
	TCase *t = tcase_create("scripts");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_chunked);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_unknown);
	tcase_add_test(t, test_ended);
	tcase_add_test(t, test_surplus);
	suite_add_tcase(s, t);
	t = tcase_create("flow");
	tcase_add_test(t, test_large);
	tcase_add_test(t, test_large_stands_still);
	tcase_add_test(t, test_overlap_behind_large);
	tcase_add_test(t, test_early_limit);
	tcase_add_test(t, test_early_behind_all_recipients);
	tcase_add_test(t, test_refused_but_still_lent);
	tcase_add_test(t, test_mail_refused_before_the_chunk);
	tcase_add_test(t, test_unreadable);
	tcase_add_test(t, test_lost_before_the_end_is_out);
	tcase_add_test(t, test_early_replies);
	tcase_add_test(t, test_half_a_reply);
	tcase_add_test(t, test_accepted_in_doubt);
	tcase_add_test(t, test_reply_before_bdat);
	suite_add_tcase(s, t);
	return s;
}
