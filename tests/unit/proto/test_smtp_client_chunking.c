#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
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
	{ .name = "the same, the body in pieces",
	    .flags = PIPE | CHUNK | PIECES,
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
	    .flags = PIPE | CHUNK | PIECES,
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
	    .talk = { HELLO, EHLOC, { MAIL RCPT1, NULL } },
	    .results = "local EIO; ",
	    .session = "local EIO" },
	{ .name = "the body can't be read, later",
	    .flags = CHUNK,
	    .body = UNREADABLE,
	    .talk = { HELLO, EHLOC, { MAIL, OK }, { RCPT1, OK } },
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
	PIECE = 16384
};

static const struct smtp_client_rcpt two_rcpts[] = { { "r1@b.example", "", 0 },
	{ "r2@b.example", "", 0 } };

static struct smtp_client *new_client(struct now *now)
{
	struct smtp_client_config cfg = {
		.helo = "me.example",
		.tls = SMTP_TLS_NEVER,
		.pipelining = true,
		.chunking = true,
	};
	*now = (struct now){ .wall_ms = 1, .mono_ms = 1000 };
	return smtp_client_new(&cfg, *now);
}

static void drain(struct smtp_client *c)
{
	struct buf *out = smtp_client_output(c);
	buf_consume(out, buf_len(out));
}

static void next_is(struct smtp_client *c, enum smtp_client_action_kind kind)
{
	ck_assert_int_eq(smtp_client_next(c), kind);
}

/* MAIL and both RCPT are in the output. */
static struct smtp_client *client_sending(struct now *now, uint64_t body_bytes)
{
	struct smtp_client_msg m = {
		.sender = "s@a.example",
		.rcpts = two_rcpts,
		.rcpts_n = 2,
		.body_bytes = body_bytes,
	};
	struct smtp_client *c = new_client(now);
	smtp_client_send(c, &m, *now);
	smtp_client_feed(c, SLICE("220 mx\r\n"), *now);
	drain(c);
	smtp_client_feed(c, SLICE("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"), *now);
	return c;
}

static void give(struct smtp_client *c, size_t n, bool last, struct now now)
{
	char *piece = mem_alloc(n + 1);
	memset(piece, 'x', n);
	smtp_client_body(c, slice_of(piece, n), last, now);
	mem_free(piece);
}

static void is_result(struct smtp_client *c, size_t i, enum smtp_stage stage, int code, int err)
{
	const struct smtp_result *r = smtp_client_result(c, i);
	ck_assert_int_eq(r->stage, stage);
	ck_assert_int_eq(r->reply.code, code);
	ck_assert_int_eq(r->err, err);
	ck_assert(!r->accepted && !r->untried);
}

/* Large bodies wait for RCPT, then stream through a window as one chunk. */
START_TEST(test_large)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, BIG_BODY);
	struct buf *out = smtp_client_output(c);
	next_is(c, SMTP_CLIENT_NONE);
	drain(c);
	smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
	size_t given = 0, taken = 0;
	while (given < BIG_BODY) {
		while (smtp_client_next(c) == SMTP_CLIENT_NEED_BODY) {
			next_is(c, SMTP_CLIENT_NONE);
			given += PIECE;
			give(c, PIECE, given == BIG_BODY, now);
		}
		ck_assert_uint_lt(buf_len(out), CLIENT_WINDOW_BYTES + PIECE);
		if (taken == 0)
			ck_assert(slice_starts(buf_slice(out), SLICE("BDAT 1048576 LAST\r\nxxx")));
		taken += MIN(buf_len(out), (size_t)5000);
		buf_consume(out, MIN(buf_len(out), (size_t)5000));
	}
	ck_assert_uint_eq(taken + buf_len(out), BIG_BODY + strlen("BDAT 1048576 LAST\r\n"));
	ck_assert_int_eq(smtp_client_deadline(c) - now.mono_ms, 600000);
	drain(c);
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 1)->accepted);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_early_limit)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, CLIENT_WINDOW_BYTES);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_free(&c);
	c = client_sending(&now, CLIENT_WINDOW_BYTES + 1);
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
	struct buf *out = smtp_client_output(c);
	struct smtp_client_rcpt *rcpts = mem_zalloc(MANY * sizeof(*rcpts));
	for (size_t i = 0; i < MANY; i++)
		rcpts[i] = (struct smtp_client_rcpt){ "a-recipient@b.example", "", 0 };
	struct smtp_client_msg m = {
		.sender = "s@a.example",
		.rcpts = rcpts,
		.rcpts_n = MANY,
		.body_bytes = 1,
	};
	smtp_client_send(c, &m, now);
	smtp_client_feed(c, SLICE("220 mx\r\n"), now);
	drain(c);
	smtp_client_feed(c, SLICE("250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"), now);
	ck_assert_uint_ge(buf_len(out), CLIENT_WINDOW_BYTES);
	next_is(c, SMTP_CLIENT_NONE);
	drain(c);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	give(c, 1, true, now);
	ck_assert(strstr(buf_cstr(out), "RCPT TO:<a-recipient@b.example>\r\nBDAT 1 LAST\r\nx"));
	drain(c);
	for (size_t i = 0; i < MANY + 2; i++)
		smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, MANY - 1)->accepted);
	smtp_client_free(&c);
	mem_free(rcpts);
}

END_TEST

/* The driver takes its time: RCPT is answered meanwhile, and it is not asked twice. */
START_TEST(test_early_piece_is_late)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, 10);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	drain(c);
	smtp_client_feed(c, SLICE("250 ok\r\n550 no\r\n250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_NONE);
	ck_assert_int_eq(smtp_client_deadline(c) - now.mono_ms, 180000);
	give(c, 4, false, now);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	give(c, 6, true, now);
	ck_assert_str_eq(buf_cstr(smtp_client_output(c)), "BDAT 10 LAST\r\nxxxxxxxxxx");
	drain(c);
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 550);
	ck_assert(smtp_client_result(c, 1)->accepted);
	smtp_client_free(&c);
}

END_TEST

/* ... and what comes when nobody was accepted is not put out. */
START_TEST(test_early_piece_too_late)
{
	static const char *const replies[] = { "550 no\r\n503 no\r\n503 no\r\n",
		"250 ok\r\n550 no\r\n550 no\r\n" };
	for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
		struct now now;
		struct smtp_client *c = client_sending(&now, 10);
		next_is(c, SMTP_CLIENT_NEED_BODY);
		drain(c);
		smtp_client_feed(c, slice_str(replies[i]), now);
		give(c, 10, true, now);
		ck_assert_str_eq(buf_cstr(smtp_client_output(c)), "RSET\r\n");
		next_is(c, SMTP_CLIENT_MSG_DONE);
		smtp_client_free(&c);
	}
	struct now now; /* MAIL alone is refused yet */
	struct smtp_client *c = client_sending(&now, 10);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	drain(c);
	smtp_client_feed(c, SLICE("550 no\r\n"), now);
	give(c, 10, true, now);
	ck_assert_uint_eq(buf_len(smtp_client_output(c)), 0);
	smtp_client_free(&c);
}

END_TEST

/* Half a chunk for nobody: no command can follow, the refusals stand. */
START_TEST(test_half_a_chunk_for_nobody)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, 10);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	give(c, 4, false, now);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	drain(c);
	smtp_client_feed(c, SLICE("250 ok\r\n550 no\r\n450 no\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	is_result(c, 0, SMTP_STAGE_RCPT, 550, 0);
	is_result(c, 1, SMTP_STAGE_RCPT, 450, 0);
	next_is(c, SMTP_CLIENT_CLOSE);
	ck_assert_int_eq(smtp_client_session_result(c)->stage, SMTP_STAGE_NONE);
	give(c, 6, true, now);
	ck_assert_uint_eq(buf_len(smtp_client_output(c)), 0);
	smtp_client_free(&c);
}

END_TEST

/* Pieces that don't add up: the peer must not take the message for whole. */
START_TEST(test_wrong_size)
{
	static const struct {
		size_t n[2];
		bool last;
	} wrong[] = {
		{ { 9, 0 }, true },
		{ { 11, 0 }, true },
		{ { 11, 0 }, false },
		{ { 4, 5 }, true },
		{ { 4, 7 }, false },
	};

	for (size_t i = 0; i < 2 * ARRAY_LEN(wrong); i++) {
		bool early = i < ARRAY_LEN(wrong);
		size_t k = i % ARRAY_LEN(wrong);
		struct now now;
		struct smtp_client *c = client_sending(&now, 10);
		if (!early) {
			drain(c);
			smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
		}
		next_is(c, SMTP_CLIENT_NEED_BODY);
		give(c, wrong[k].n[0], wrong[k].last && wrong[k].n[1] == 0, now);
		if (wrong[k].n[1]) {
			next_is(c, SMTP_CLIENT_NEED_BODY);
			give(c, wrong[k].n[1], wrong[k].last, now);
		}
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, SMTP_STAGE_LOCAL, 0, -EIO);
		is_result(c, 1, SMTP_STAGE_LOCAL, 0, -EIO);
		next_is(c, SMTP_CLIENT_CLOSE);
		ck_assert(!strstr(buf_cstr(smtp_client_output(c)), "BDAT"));
		smtp_client_free(&c);
	}
}

END_TEST

/* The peer knows the end when it has all bytes, whenever the driver says so. */
START_TEST(test_empty_last_piece)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, 3);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	give(c, 3, false, now);
	next_is(c, SMTP_CLIENT_NONE);
	drain(c);
	smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 0)->accepted);
	give(c, 0, true, now);
	next_is(c, SMTP_CLIENT_READY);
	ck_assert_uint_eq(buf_len(smtp_client_output(c)), 0);
	smtp_client_free(&c);
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
	};

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct now now;
		struct smtp_client *c = client_sending(&now, 10);
		struct buf *out = smtp_client_output(c);
		next_is(c, SMTP_CLIENT_NEED_BODY);
		give(c, 10, true, now);
		buf_consume(out, buf_len(out) - 1);
		smtp_client_feed(c, slice_str(at[i].replies), now);
		smtp_client_lost(c, -ECONNRESET, now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, at[i].stage, 0, -ECONNRESET);
		ck_assert_uint_eq(buf_len(out), 0);
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
		struct smtp_client *c = client_sending(&now, 10);
		struct buf *out = smtp_client_output(c);
		if (!behind_rcpt) {
			drain(c);
			smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
		}
		next_is(c, SMTP_CLIENT_NEED_BODY);
		give(c, 10, true, now);
		buf_consume(out, buf_len(out) - left);
		if (behind_rcpt)
			smtp_client_feed(c, SLICE("250 ok\r\n250 ok\r\n250 ok\r\n"), now);
		smtp_client_feed(c, slice_str(reply), now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		is_result(c, 0, stage, code, err);
		next_is(c, SMTP_CLIENT_CLOSE);
		ck_assert_uint_eq(buf_len(out), 0);
		ck_assert(smtp_client_refused_chunking(c) == (code / 10 == 50));
		smtp_client_free(&c);
	}
}

START_TEST(test_early_replies)
{
	size_t whole = strlen("BDAT 10 LAST\r\n") + 10;
	early(10, "552 large\r\n", SMTP_STAGE_BODY, 552, 0);
	early(1, "452 full\r\n", SMTP_STAGE_BODY, 452, 0);
	early(1, "421 bye\r\n", SMTP_STAGE_DOT, 421, 0);
	early(1, "502 what\r\n", SMTP_STAGE_BODY, 502, ERR_PROTOCOL);
	early(1, "250 thanks\r\n", SMTP_STAGE_BODY, 0, ERR_PROTOCOL);
	/* BDAT itself has not left: that is an answer to nothing */
	early(11, "552 large\r\n", SMTP_STAGE_DOT, 0, ERR_PROTOCOL);
	early(whole, "502 what\r\n", SMTP_STAGE_DOT, 0, ERR_PROTOCOL);
	early(whole, "250 thanks\r\n", SMTP_STAGE_DOT, 0, ERR_PROTOCOL);
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
		next_is(c, SMTP_CLIENT_NEED_BODY);
		give(c, 10, true, now);
		drain(c);
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

/* Before the driver has given a byte there is nothing to refuse. */
START_TEST(test_reply_before_bdat)
{
	struct now now;
	struct smtp_client *c = client_sending(&now, BIG_BODY);
	drain(c);
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
	tcase_add_test(t, test_early_limit);
	tcase_add_test(t, test_early_behind_all_recipients);
	tcase_add_test(t, test_early_piece_is_late);
	tcase_add_test(t, test_early_piece_too_late);
	tcase_add_test(t, test_half_a_chunk_for_nobody);
	tcase_add_test(t, test_wrong_size);
	tcase_add_test(t, test_empty_last_piece);
	tcase_add_test(t, test_lost_before_the_end_is_out);
	tcase_add_test(t, test_early_replies);
	tcase_add_test(t, test_accepted_in_doubt);
	tcase_add_test(t, test_reply_before_bdat);
	suite_add_tcase(s, t);
	return s;
}
