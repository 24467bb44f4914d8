#include <check.h>

#include "scripted_peer.h"

/*
 * A connection that outlives its messages: the next one behind the body of the
 * one before, and what a message that met a dead connection is told.
 */

Suite *test_smtp_client_overlap_suite(void);

#define MAIL(n) "MAIL FROM:<" #n "@a.example>\r\n"
#define RCPT1   "RCPT TO:<r1@b.example>\r\n"
#define RCPTS   "RCPT TO:<r1@b.example>\r\nRCPT TO:<r2@b.example>\r\nRCPT TO:<r3@b.example>\r\n"
#define DATA    "DATA\r\n"
#define BODY    "Hi\r\n.\r\n"
#define OK      "250 2.0.0 ok\r\n"
#define GO354   "354 go\r\n"
#define RSET                                                                                       \
	{                                                                                          \
		"RSET\r\n", OK                                                                     \
	}
#define EHLOP                                                                                      \
	{                                                                                          \
		ME, "250-mx\r\n250 PIPELINING\r\n"                                                 \
	}
/* The first message, and the second up to its 354: from here on bodies overlap. */
#define OPENING                                                                                    \
	HELLO, EHLOP, { MAIL(1) RCPT1 DATA, OK OK GO354 }, { BODY, OK },                           \
	{                                                                                          \
		MAIL(2) RCPT1 DATA, OK OK GO354                                                    \
	}
#define OPENING3                                                                                   \
	HELLO, EHLOP, { MAIL(1) RCPTS DATA, OK OK OK OK GO354 }, { BODY, OK },                     \
	{                                                                                          \
		MAIL(2) RCPTS DATA, OK OK OK OK GO354                                              \
	}
#define OK3 "dot 250 ok; dot 250 ok; dot 250 ok; "

static const struct scenario overlapped[] = {
	{ .name = "dot, MAIL, RCPT and DATA in one write",
	    .flags = PIPE | OVERLAP,
	    .messages = 4,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK GO354 },
		{ BODY MAIL(4) RCPT1 DATA, OK OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / dot 250 ok; / dot 250 ok; " },
	{ .name = "the replies come one flight late",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK }, { "", OK }, { "", OK GO354 },
		{ BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / dot 250 ok; " },
	{ .name = "not wanted",
	    .flags = PIPE,
	    .messages = 2,
	    .talk = { HELLO, EHLOP, { "MAIL FROM:<s@a.example>\r\n" RCPT1 DATA, OK OK GO354 },
		{ BODY, OK }, { "MAIL FROM:<s@a.example>\r\n" RCPT1 DATA, OK OK GO354 },
		{ BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; " },
	{ .name = "PIPELINING not offered",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, { ME, "250 mx\r\n" }, { MAIL(1), OK }, { RCPT1, OK }, { DATA, GO354 },
		{ BODY, OK }, { MAIL(2), OK }, { RCPT1, OK }, { DATA, GO354 }, { BODY, OK },
		{ MAIL(3), OK }, { RCPT1, OK }, { DATA, GO354 }, { BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / dot 250 ok; " },
	{ .name = "PIPELINING not wanted",
	    .flags = OVERLAP,
	    .messages = 2,
	    .talk = { HELLO, EHLOP, { MAIL(1), OK }, { RCPT1, OK }, { DATA, GO354 }, { BODY, OK },
		{ MAIL(2), OK }, { RCPT1, OK }, { DATA, GO354 }, { BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; " },
	{ .name = "LMTP takes them one by one",
	    .flags = PIPE | OVERLAP | LMTP,
	    .messages = 3,
	    .talk = { HELLO, { "LHLO me.example\r\n", "250-mx\r\n250 PIPELINING\r\n" },
		{ MAIL(1) RCPT1 DATA, OK OK GO354 }, { BODY, OK },
		{ MAIL(2) RCPT1 DATA, OK OK GO354 }, { BODY, OK },
		{ MAIL(3) RCPT1 DATA, OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / dot 250 ok; " },
	{ .name = "a refused first message has shown no dot",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOP, { MAIL(1) RCPT1 DATA, OK "550 no\r\n554 nobody\r\n" }, RSET,
		{ MAIL(2) RCPT1 DATA, OK OK GO354 }, { BODY, "554 spam\r\n" },
		{ MAIL(3) RCPT1 DATA, OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = "rcpt 550; / dot 554; / dot 250 ok; " },
	{ .name = "a lone dot shows none either",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { HELLO, EHLOP, { MAIL(1) RCPT1 DATA, OK "550 no\r\n" GO354 }, { ".\r\n", OK },
		{ MAIL(2) RCPT1 DATA, OK OK GO354 }, { BODY, OK },
		{ MAIL(3) RCPT1 DATA, OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = "rcpt 550; / dot 250 ok; / dot 250 ok; " },
	{ .name = "the first dot refused, the second message accepted",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, "554 5.7.1 spam\r\n" OK OK GO354 },
		{ BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 554; / dot 250 ok; " },
	{ .name = "the first dot accepted, the second refused",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK GO354 },
		{ BODY, "451 4.3.0 no\r\n" }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / dot 451; " },
	{ .name = "both dots refused",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, "452 full\r\n" OK OK GO354 },
		{ BODY, "552 large\r\n" }, QUITS },
	    .results = "dot 250 ok; / dot 452; / dot 552; " },
	{ .name = "MAIL refused is an answer; messages follow",
	    .flags = PIPE | OVERLAP,
	    .messages = 4,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "550 5.7.1 no\r\n503 a\r\n503 b\r\n" },
		RSET, { MAIL(4) RCPT1 DATA, OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / mail 550; / dot 250 ok; " },
	{ .name = "MAIL refused, the rest taken all the same",
	    .flags = PIPE | OVERLAP,
	    .messages = 4,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "450 no\r\n" OK GO354 },
		{ ".\r\n", OK }, { MAIL(4) RCPT1 DATA, OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = "dot 250 ok; / dot 250 ok; / mail 450; / dot 250 ok; " },
	{ .name = "recipients, some refused",
	    .flags = PIPE | OVERLAP,
	    .rcpts = 3,
	    .messages = 3,
	    .talk = { OPENING3,
		{ BODY MAIL(3) RCPTS DATA, OK OK "550 no\r\n" OK "452 many\r\n" GO354 },
		{ BODY, OK }, QUITS },
	    .results = OK3 "/ " OK3 "/ rcpt 550; dot 250 ok; rcpt 452; " },
	{ .name = "recipients, all refused, and DATA",
	    .flags = PIPE | OVERLAP,
	    .rcpts = 3,
	    .messages = 4,
	    .talk = { OPENING3,
		{ BODY MAIL(3) RCPTS DATA,
		    OK OK "550 a\r\n450 b\r\n551 c\r\n554 no valid recipients\r\n" },
		RSET, { MAIL(4) RCPTS DATA, OK OK OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = OK3 "/ " OK3 "/ rcpt 550; rcpt 450; rcpt 551; / " OK3 },
	{ .name = "recipients, all refused, but 354",
	    .flags = PIPE | OVERLAP,
	    .rcpts = 3,
	    .messages = 4,
	    .talk = { OPENING3,
		{ BODY MAIL(3) RCPTS DATA, OK OK "550 a\r\n450 b\r\n551 c\r\n" GO354 },
		{ ".\r\n", "554 nobody\r\n" }, { MAIL(4) RCPTS DATA, OK OK OK OK GO354 },
		{ BODY, OK }, QUITS },
	    .results = OK3 "/ " OK3 "/ rcpt 550; rcpt 450; rcpt 551; / " OK3 },
	{ .name = "DATA refused",
	    .flags = PIPE | OVERLAP,
	    .rcpts = 3,
	    .messages = 4,
	    .talk = { OPENING3,
		{ BODY MAIL(3) RCPTS DATA, OK OK OK "550 b\r\n" OK "451 later\r\n" }, RSET,
		{ MAIL(4) RCPTS DATA, OK OK OK OK GO354 }, { BODY, OK }, QUITS },
	    .results = OK3 "/ " OK3 "/ data 451; rcpt 550; data 451; / " OK3 },
	{ .name = "closed after refusals: they stand",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK "550 a\r\n554 nobody\r\n" },
		{ "RSET\r\n", EOF_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / rcpt 550; " },
	{ .name = "no reply to RSET after refusals: they stand",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK "550 a\r\n554 nobody\r\n" },
		{ "RSET\r\n", TIMEOUT_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / rcpt 550; " },
};

static const struct scenario lost[] = {
	{ .name = "lost at the dot",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, EOF_HERE } },
	    .results = "dot 250 ok; / dot ERR_CLOSED; / mail ERR_CLOSED untried; ",
	    .session = "dot ERR_CLOSED" },
	{ .name = "no reply to the dot",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, TIMEOUT_HERE } },
	    .results = "dot 250 ok; / dot ERR_TIMEOUT; / mail ERR_TIMEOUT untried; ",
	    .session = "dot ERR_TIMEOUT" },
	{ .name = "421 to the dot",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, "421 bye\r\n" } },
	    .results = "dot 250 ok; / dot 421; / mail 421 untried; ",
	    .session = "dot 421" },
	{ .name = "nonsense to the dot",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, "2x0 ok\r\n" } },
	    .results = "dot 250 ok; / dot ERR_PROTOCOL; / mail ERR_PROTOCOL untried; ",
	    .session = "dot ERR_PROTOCOL" },
	{ .name = "421 to MAIL",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "421 enough\r\n" } },
	    .results = "dot 250 ok; / dot 250 ok; / mail 421 untried; ",
	    .session = "mail 421" },
	{ .name = "503 to MAIL",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "503 a\r\n503 b\r\n503 c\r\n" },
		{ "QUIT\r\n", NULL } },
	    .results = "dot 250 ok; / dot 250 ok; / mail 503 untried; ",
	    .session = "mail 503" },
	{ .name = "lost at MAIL",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK }, { "", EOF_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / mail ERR_CLOSED untried; ",
	    .session = "mail ERR_CLOSED" },
	{ .name = "lost in the reply to MAIL",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "550 n" }, { "", EOF_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / mail ERR_CLOSED untried; ",
	    .session = "mail ERR_CLOSED" },
	{ .name = "no reply to MAIL",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK }, { "", TIMEOUT_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / mail ERR_TIMEOUT untried; ",
	    .session = "mail ERR_TIMEOUT" },
	{ .name = "lost at RCPT: MAIL was answered",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK }, { "", EOF_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / rcpt ERR_CLOSED; ",
	    .session = "rcpt ERR_CLOSED" },
	{ .name = "421 to RCPT",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK "421 bye\r\n" } },
	    .results = "dot 250 ok; / dot 250 ok; / rcpt 421; ",
	    .session = "rcpt 421" },
	{ .name = "no reply to RCPT",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK }, { "", TIMEOUT_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / rcpt ERR_TIMEOUT; ",
	    .session = "rcpt ERR_TIMEOUT" },
	{ .name = "no reply to DATA",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK }, { "", TIMEOUT_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / data ERR_TIMEOUT; ",
	    .session = "data ERR_TIMEOUT" },
	{ .name = "421 to DATA, one recipient refused before",
	    .flags = PIPE | OVERLAP,
	    .rcpts = 3,
	    .messages = 3,
	    .talk = { OPENING3,
		{ BODY MAIL(3) RCPTS DATA, OK OK OK "550 b\r\n" OK "421 bye\r\n" } },
	    .results = OK3 "/ " OK3 "/ data 421; rcpt 550; data 421; ",
	    .session = "data 421" },
	{ .name = "the last dot unanswered",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK GO354 }, { BODY, EOF_HERE } },
	    .results = "dot 250 ok; / dot 250 ok; / dot ERR_CLOSED; ",
	    .session = "dot ERR_CLOSED" },
};

/* Replies out of step: what was thought to be said about a message is not believed. */
static const struct scenario shifted[] = {
	{ .name = "354 to the dot",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, GO354 } },
	    .results = "dot 250 ok; / dot ERR_PROTOCOL; / mail ERR_PROTOCOL untried; ",
	    .session = "dot ERR_PROTOCOL" },
	{ .name = "354 to MAIL",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK GO354 } },
	    .results = "dot 250 ok; / dot 250 ok; / mail ERR_PROTOCOL untried; ",
	    .session = "mail ERR_PROTOCOL" },
	{ .name = "two replies to the dot, nobody refused",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK OK GO354 } },
	    .results = "dot 250 ok; / dot 250 ok; / data ERR_PROTOCOL; ",
	    .session = "data ERR_PROTOCOL" },
	{ .name = "two replies to the dot, the one behind is refused",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK "550 no\r\n554 nobody\r\n" },
		{ "RSET\r\n", NULL } },
	    .results = "dot 250 ok; / dot 250 ok; / data ERR_PROTOCOL; " },
	{ .name = "two replies to the dot, the second a refusal",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "554 what\r\n" OK OK GO354 } },
	    .results = "dot 250 ok; / dot 250 ok; / mail ERR_PROTOCOL; ",
	    .session = "data ERR_PROTOCOL" },
	{ .name = "two replies to the dot, recipients refused one off",
	    .flags = PIPE | OVERLAP,
	    .rcpts = 3,
	    .messages = 3,
	    .talk = { OPENING3, { BODY MAIL(3) RCPTS DATA, OK OK OK OK "550 b\r\n" OK GO354 } },
	    .results = OK3 "/ " OK3 "/ data ERR_PROTOCOL; data ERR_PROTOCOL; rcpt ERR_PROTOCOL; ",
	    .session = "data ERR_PROTOCOL" },
	{ .name = "a refusal of RSET: the refusals before it prove nothing",
	    .flags = PIPE | OVERLAP,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK "550 a\r\n503 b\r\n503 c\r\n" },
		{ "RSET\r\n", "503 d\r\n" } },
	    .results = "dot 250 ok; / dot 250 ok; / mail ERR_PROTOCOL; " },
	{ .name = "a reply too many after the last of the flight",
	    .flags = PIPE | OVERLAP | SURPLUS,
	    .messages = 3,
	    .talk = { OPENING, { BODY MAIL(3) RCPT1 DATA, OK OK OK GO354 OK } },
	    .results = "dot 250 ok; / dot 250 ok; / body ERR_PROTOCOL; ",
	    .session = "body ERR_PROTOCOL" },
};

/* Without overlap too: a message that met a connection in its end. */
static const struct scenario reused[] = {
	{ .name = "closed at the next MAIL",
	    .messages = 2,
	    .talk = { HELLO, { ME, "250 mx\r\n" }, { "MAIL FROM:<s@a.example>\r\n", OK },
		{ RCPT1, OK }, { DATA, GO354 }, { BODY, OK },
		{ "MAIL FROM:<s@a.example>\r\n", EOF_HERE } },
	    .results = "dot 250 ok; / mail ERR_CLOSED untried; ",
	    .session = "mail ERR_CLOSED" },
	{ .name = "421 to the next MAIL",
	    .rcpts = 2,
	    .messages = 2,
	    .flags = PIPE,
	    .talk = { HELLO, EHLOP,
		{ "MAIL FROM:<s@a.example>\r\n" RCPT1 "RCPT TO:<r2@b.example>\r\n" DATA,
		    OK OK OK GO354 },
		{ BODY, OK },
		{ "MAIL FROM:<s@a.example>\r\n" RCPT1 "RCPT TO:<r2@b.example>\r\n" DATA,
		    "421 idle too long\r\n" } },
	    .results = "dot 250 ok; dot 250 ok; / mail 421 untried; mail 421 untried; ",
	    .session = "mail 421" },
	{ .name = "503 to the next MAIL",
	    .messages = 2,
	    .talk = { HELLO, { ME, "250 mx\r\n" }, { "MAIL FROM:<s@a.example>\r\n", "450 no\r\n" },
		RSET, { "MAIL FROM:<s@a.example>\r\n", "503 5.5.1 what\r\n" }, QUITS },
	    .results = "mail 450; / mail 503 untried; ",
	    .session = "mail 503" },
	{ .name = "503 to the first MAIL is an answer",
	    .messages = 2,
	    .talk = { HELLO, { ME, "250 mx\r\n" },
		{ "MAIL FROM:<s@a.example>\r\n", "503 5.5.1 what\r\n" }, RSET,
		{ "MAIL FROM:<s@a.example>\r\n", TIMEOUT_HERE } },
	    .results = "mail 503; / mail ERR_TIMEOUT untried; ",
	    .session = "mail ERR_TIMEOUT" },
	{ .name = "503 to RCPT is an answer",
	    .messages = 2,
	    .talk = { HELLO, { ME, "250 mx\r\n" }, { "MAIL FROM:<s@a.example>\r\n", "450 no\r\n" },
		RSET, { "MAIL FROM:<s@a.example>\r\n", OK }, { RCPT1, "503 what\r\n" }, RSET,
		QUITS },
	    .results = "mail 450; / rcpt 503; " },
	{ .name = "what the host lacks begins nothing: the next is the first",
	    .messages = 2,
	    .flags = UTF8,
	    .talk = { HELLO, { ME, "250 mx\r\n" }, QUITS },
	    .results = "mail utf8; / mail utf8; " },
};

#define TABLE_TEST(table)                                                                          \
	START_TEST(test_##table)                                                                   \
	{                                                                                          \
		for (size_t i = 0; i < ARRAY_LEN(table); i++)                                      \
			scripted_peer_run(&table[i]);                                              \
	}                                                                                          \
	END_TEST

TABLE_TEST(overlapped)
TABLE_TEST(lost)
TABLE_TEST(shifted)
TABLE_TEST(reused)

Suite *test_smtp_client_overlap_suite(void)
{
	Suite *s = suite_create("smtp_client_overlap");
	TCase *t = tcase_create("scripts");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_overlapped);
	tcase_add_test(t, test_lost);
	tcase_add_test(t, test_shifted);
	tcase_add_test(t, test_reused);
	suite_add_tcase(s, t);
	return s;
}
