#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "proto/smtp_client_priv.h"

/* Deadlines, windows, secrets and the order of calls; the scripts are in test_smtp_client.c. */

Suite *test_smtp_client_flow_suite(void);

enum {
	MANY = 5000,
	BIG_BODY = 1 << 20,
	PIECE = 16384
};

static const struct smtp_client_rcpt one_rcpt[] = { { "r@b.example", "", 0 } };

static struct smtp_client *new_client(struct now *now, bool pipelining)
{
	struct smtp_client_config cfg = {
		.helo = "me.example",
		.tls = SMTP_TLS_MAY,
		.pipelining = pipelining,
	};
	*now = (struct now){ .wall_ms = 1, .mono_ms = 1000 };
	return smtp_client_new(&cfg, *now);
}

static void send_one(struct smtp_client *c, const struct now *now)
{
	struct smtp_client_msg m = {
		.sender = "",
		.rcpts = one_rcpt,
		.rcpts_n = 1,
		.body_bytes = BIG_BODY,
	};
	smtp_client_send(c, &m, *now);
}

static void drain(struct smtp_client *c)
{
	struct buf *out = &c->out;
	buf_consume(out, buf_len(out));
}

static void say(struct smtp_client *c, const char *text, struct now now)
{
	drain(c);
	smtp_client_feed(c, slice_str(text), now);
}

static int64_t time_left(const struct smtp_client *c, struct now now)
{
	return smtp_client_deadline(c) - now.mono_ms;
}

START_TEST(test_default_deadlines)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	ck_assert_int_eq(time_left(c, now), 300000);
	say(c, "220 mx\r\n", now);
	ck_assert_int_eq(time_left(c, now), 300000);
	say(c, "250-mx\r\n250 STARTTLS\r\n", now);
	ck_assert_int_eq(time_left(c, now), 120000);
	say(c, "220 go\r\n", now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_START_TLS);
	ck_assert_int_eq(time_left(c, now), 120000);
	ck_assert(!smtp_client_is_secured(c));
	smtp_client_tls_done(c, 0, now);
	ck_assert(smtp_client_is_secured(c));
	say(c, "250-mx\r\n250 DSN\r\n", now);
	ck_assert(smtp_client_offers_dsn(c));
	ck_assert(!smtp_client_is_authenticated(c));
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_READY);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NONE);
	ck_assert_int_eq(smtp_client_deadline(c), INT64_MAX);
	send_one(c, &now);
	ck_assert_int_eq(time_left(c, now), 300000);
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(time_left(c, now), 300000);
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(time_left(c, now), 120000);
	say(c, "354 go\r\n", now);
	ck_assert_int_eq(time_left(c, now), 180000);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	ck_assert_int_eq(time_left(c, now), 600000);
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_READY);
	smtp_client_quit(c, now);
	ck_assert_int_eq(time_left(c, now), 5000);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_own_deadlines)
{
	struct now now = { .mono_ms = 77 };
	struct smtp_client_config cfg = { .helo = "me", .tls = SMTP_TLS_NEVER };
	cfg.timeouts.greeting_ms = 10;
	cfg.timeouts.ehlo_ms = 11;
	cfg.timeouts.mail_ms = 12;
	cfg.timeouts.rset_ms = 13;
	struct smtp_client *c = smtp_client_new(&cfg, now);
	ck_assert_int_eq(time_left(c, now), 10);
	send_one(c, &now);
	say(c, "220 mx\r\n", now);
	ck_assert_int_eq(time_left(c, now), 11);
	say(c, "250 mx\r\n", now);
	ck_assert_int_eq(time_left(c, now), 12);
	say(c, "550 no\r\n", now);
	ck_assert_int_eq(time_left(c, now), 13);
	smtp_client_free(&c);
}

END_TEST

/* A byte every four minutes: the time is for the whole reply, not for a read. */
START_TEST(test_total_per_reply)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	int64_t at = smtp_client_deadline(c);
	for (int i = 0; i < 2; i++) {
		smtp_client_feed(c, SLICE("2"), now);
		ck_assert_int_eq(smtp_client_deadline(c), at);
		now.mono_ms += 240000;
		smtp_client_tick(c, now);
	}
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	ck_assert_int_eq(smtp_client_session_result(c)->err, ERR_TIMEOUT);
	smtp_client_free(&c);
}

END_TEST

/* From the greeting to the 354 of a message; the engine then waits for its body. */
static struct smtp_client *client_at_body(struct now *now)
{
	struct smtp_client *c = new_client(now, false);
	send_one(c, now);
	say(c, "220 mx\r\n", *now);
	say(c, "250 mx\r\n", *now);
	say(c, "250 ok\r\n", *now);
	say(c, "250 ok\r\n", *now);
	drain(c);
	smtp_client_feed(c, SLICE("354 go\r\n"), *now);
	return c;
}

static void give_piece(struct smtp_client *c, size_t n, bool last, struct now now)
{
	char *piece = mem_alloc(n);
	memset(piece, 'x', n);
	smtp_client_body(c, slice_of(piece, n), last, now);
	mem_free(piece);
}

START_TEST(test_body_window)
{
	struct now now;
	struct smtp_client *c = client_at_body(&now);
	struct buf *out = &c->out;
	size_t asked = 0, given = 0;
	while (given < BIG_BODY) {
		while (smtp_client_next(c) == SMTP_CLIENT_NEED_BODY) {
			ck_assert_uint_lt(buf_len(out), CLIENT_WINDOW_BYTES);
			ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NONE);
			give_piece(c, PIECE, false, now);
			asked++;
			given += PIECE;
		}
		ck_assert_uint_ge(buf_len(out), CLIENT_WINDOW_BYTES);
		ck_assert_uint_lt(buf_len(out), CLIENT_WINDOW_BYTES + PIECE);
		buf_consume(out, 3000);
	}
	ck_assert_uint_eq(asked, given / PIECE);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_body_progress)
{
	struct now now;
	struct smtp_client *c = client_at_body(&now);
	struct buf *out = &c->out;
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
	give_piece(c, PIECE, false, now);
	for (int i = 0; i < 3; i++) { /* slow, but it moves */
		now.mono_ms = smtp_client_deadline(c);
		buf_consume(out, 1);
		smtp_client_tick(c, now);
		ck_assert_int_eq(time_left(c, now), 180000);
	}
	drain(c); /* now it is we who are late */
	now.mono_ms = smtp_client_deadline(c);
	smtp_client_tick(c, now);
	ck_assert_int_eq(time_left(c, now), 180000);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
	give_piece(c, PIECE, false, now);
	now.mono_ms = smtp_client_deadline(c);
	smtp_client_tick(c, now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_BODY);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_TIMEOUT);
	ck_assert_uint_eq(buf_len(out), 0); /* no dot may follow what was cut off */
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_dot_progress)
{
	struct now now;
	struct smtp_client *c = client_at_body(&now);
	struct buf *out = &c->out;
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
	give_piece(c, PIECE, true, now);
	now.mono_ms = smtp_client_deadline(c);
	buf_consume(out, 1);
	smtp_client_tick(c, now); /* a slow line: the dot is not out yet */
	ck_assert_int_eq(time_left(c, now), 180000);
	drain(c);
	now.mono_ms = smtp_client_deadline(c);
	smtp_client_tick(c, now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_DOT);
	smtp_client_free(&c);
}

END_TEST

/* What a server says while the body is still being sent. */
static void early(const char *reply, bool last, int code, int err)
{
	struct now now;
	struct smtp_client *c = client_at_body(&now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
	give_piece(c, PIECE, last, now);
	smtp_client_feed(c, slice_str(reply), now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	const struct smtp_result *r = smtp_client_result(c, 0);
	ck_assert_int_eq(r->reply.code, code);
	ck_assert_int_eq(r->err, err);
	ck_assert(!r->accepted);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	ck_assert_uint_eq(buf_len(&c->out), 0);
	give_piece(c, PIECE, true, now); /* was on its way: ignored */
	ck_assert_uint_eq(buf_len(&c->out), 0);
	smtp_client_free(&c);
}

START_TEST(test_early_replies)
{
	for (int last = 0; last < 2; last++) {
		early("552 too big\r\n", last, 552, 0);
		early("452 full\r\n", last, 452, 0);
		early("421 bye\r\n", last, 421, 0);
		early("250 thanks\r\n", last, 0, ERR_PROTOCOL);
		early("354 more\r\n", last, 0, ERR_PROTOCOL);
	}
	/* half a reply before the dot, the other half after it */
	struct now now;
	struct smtp_client *c = client_at_body(&now);
	smtp_client_feed(c, SLICE("25"), now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_PROTOCOL);
	ck_assert_uint_eq(buf_len(&c->out), 0);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_lost_before_dot_is_out)
{
	static const struct {
		bool last;
		size_t left;
		enum smtp_stage stage;
	} at[] = {
		{ false, 0, SMTP_STAGE_BODY }, { true, 1, SMTP_STAGE_BODY },
		{ true, 0, SMTP_STAGE_DOT }, /* it may have all of it */
	};

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct now now;
		struct smtp_client *c = client_at_body(&now);
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NEED_BODY);
		give_piece(c, PIECE, at[i].last, now);
		smtp_client_sent(c, smtp_client_pending(c) - at[i].left, now);
		smtp_client_lost(c, ERR_CLOSED, now);
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
		ck_assert_int_eq(smtp_client_result(c, 0)->stage, at[i].stage);
		ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_CLOSED);
		smtp_client_free(&c);
	}
}

END_TEST

/* Thousands of recipients never lie in the output at once, and none is left out. */
START_TEST(test_recipient_window)
{
	struct now now;
	struct smtp_client *c = new_client(&now, true);
	struct smtp_client_rcpt *rcpts = mem_zalloc(MANY * sizeof(*rcpts));
	for (size_t i = 0; i < MANY; i++)
		rcpts[i] = (struct smtp_client_rcpt){ "a-recipient@b.example", "", 0 };
	struct smtp_client_msg m = { .sender = "s@a.example", .rcpts = rcpts, .rcpts_n = MANY };
	smtp_client_send(c, &m, now);
	say(c, "220 mx\r\n", now);
	say(c, "250-mx\r\n250 PIPELINING\r\n", now);
	struct buf *out = &c->out;
	size_t owed = 0, lines = 0;
	for (int turn = 0; turn < 1000 && smtp_client_next(c) != SMTP_CLIENT_NEED_BODY; turn++) {
		ck_assert_uint_lt(buf_len(out), CLIENT_WINDOW_BYTES + 512);
		for (size_t i = 0; i < buf_len(out); i++)
			owed += buf_ptr(out)[i] == '\n';
		drain(c);
		for (; owed > 0 && lines <= MANY; owed--, lines++)
			smtp_client_feed(c, SLICE("250 ok\r\n"), now);
		if (lines == MANY + 1 && owed == 1)
			smtp_client_feed(c, SLICE("354 go\r\n"), now);
	}
	ck_assert_uint_eq(lines, MANY + 1);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	for (size_t i = 0; i < MANY; i++)
		ck_assert(smtp_client_result(c, i)->accepted);
	smtp_client_free(&c);
	mem_free(rcpts);
}

END_TEST

static bool holds(const void *mem, size_t n, const char *what)
{
	return mem && memmem(mem, n, what, strlen(what)) != NULL;
}

START_TEST(test_secrets_wiped)
{
	struct now now = { .mono_ms = 1 };
	struct smtp_client_config cfg = {
		.helo = "me",
		.tls = SMTP_TLS_NEVER,
		.auth_user = "user",
		.auth_password = "secret",
		.auth_in_clear_ok = true,
	};
	struct smtp_client *c = smtp_client_new(&cfg, now);
	say(c, "220 mx\r\n", now);
	say(c, "250-mx\r\n250 AUTH PLAIN\r\n", now);
	const struct buf *out = &c->out;
	ck_assert(holds(out->mem, out->cap, "AHVzZXIAc2VjcmV0"));
	say(c, "235 in\r\n", now);
	ck_assert(!holds(out->mem, out->cap, "AHVzZXIAc2VjcmV0"));
	ck_assert_ptr_null(c->auth_password);
	ck_assert_ptr_null(c->sasl);
	ck_assert(smtp_client_is_authenticated(c));
	smtp_client_free(&c);
}

END_TEST

/* Freed in the middle of AUTH: for ASan, and nothing to see otherwise. */
START_TEST(test_freed_with_secrets)
{
	struct now now = { .mono_ms = 1 };
	struct smtp_client_config cfg = {
		.helo = "me",
		.tls = SMTP_TLS_NEVER,
		.auth_user = "user",
		.auth_password = "secret",
		.auth_in_clear_ok = true,
	};
	struct smtp_client *c = smtp_client_new(&cfg, now);
	say(c, "220 mx\r\n", now);
	say(c, "250-mx\r\n250 AUTH PLAIN\r\n", now);
	ck_assert(c->out_secret);
	smtp_client_free(&c);
	ck_assert_ptr_null(c);
}

END_TEST

/* More mechanisms than anybody has: what is beyond our limit is not seen. */
START_TEST(test_endless_mechanisms)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	say(c, "220 mx\r\n", now);
	drain(c);
	char line[1500];
	memset(line, 'X', sizeof(line));
	memcpy(line, "250-AUTH ", 9);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	smtp_client_feed(c, SLICE("250-mx\r\n250-\r\n"), now);
	for (int i = 0; i < 9; i++)
		smtp_client_feed(c, slice_of(line, sizeof(line)), now);
	smtp_client_feed(c, SLICE("250 DSN\r\n"), now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_READY);
	ck_assert(smtp_client_offers_dsn(c));
	ck_assert_uint_le(buf_len(&c->caps.auth), SASL_MESSAGE_MAX);
	smtp_client_free(&c);
}

END_TEST

/* A reply without end is cut off at our limit, and nobody is bounced for it. */
START_TEST(test_endless_reply)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	say(c, "220 mx\r\n", now);
	say(c, "250 mx\r\n", now);
	send_one(c, &now);
	drain(c);
	char line[REPLY_LINE_MAX + 100];
	memset(line, 'x', sizeof(line));
	memcpy(line, "550 ", 4);
	smtp_client_feed(c, slice_of(line, sizeof(line)), now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 0);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_TOO_BIG);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_absent_parameters)
{
	static const struct smtp_client_rcpt rcpt = { "r@b.example", NULL, 0 };
	struct smtp_client_msg m = { .sender = "", .rcpts = &rcpt, .rcpts_n = 1, .ret = 1 };
	struct now now;
	struct smtp_client *c = new_client(&now, true);
	say(c, "220 mx\r\n", now);
	say(c, "250-mx\r\n250-PIPELINING\r\n250 DSN\r\n", now);
	drain(c);
	smtp_client_send(c, &m, now);
	ck_assert_str_eq(buf_cstr(&c->out),
	    "MAIL FROM:<> RET=FULL\r\nRCPT TO:<r@b.example>\r\nDATA\r\n");
	smtp_client_free(&c);
}

END_TEST

static void poisoned(const struct smtp_client_msg *m)
{
	struct now now;
	struct smtp_client *c = new_client(&now, true);
	say(c, "220 mx\r\n", now);
	say(c, "250-mx\r\n250-DSN\r\n250 PIPELINING\r\n", now);
	drain(c);
	smtp_client_send(c, m, now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_LOCAL);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_SYNTAX);
	ck_assert_uint_eq(buf_len(&c->out), 0);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_READY);
	smtp_client_free(&c);
}

/* Whatever the queue hands us, no text becomes a command. */
START_TEST(test_no_injection)
{
	struct smtp_client_rcpt bad[] = { { "r@b>\r\nRCPT TO:<x@y", "", 0 }, { "r@b", "a\nb", 0 } };
	poisoned(&(struct smtp_client_msg){ .sender = "a\rb", .rcpts = one_rcpt, .rcpts_n = 1 });
	poisoned(&(struct smtp_client_msg){ .sender = "a",
	    .envid = "x\ny",
	    .rcpts = one_rcpt,
	    .rcpts_n = 1 });
	poisoned(&(struct smtp_client_msg){ .sender = "a", .rcpts = &bad[0], .rcpts_n = 1 });
	poisoned(&(struct smtp_client_msg){ .sender = "a", .rcpts = &bad[1], .rcpts_n = 1 });
}

END_TEST

START_TEST(test_idle_session_ends)
{
	static const char *const ends[] = { NULL, "421 idle too long\r\n", "250 what\r\n", "2" };
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct now now;
		struct smtp_client *c = new_client(&now, false);
		say(c, "220 mx\r\n", now);
		say(c, "250 mx\r\n", now);
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_READY);
		if (ends[i])
			smtp_client_feed(c, slice_str(ends[i]), now);
		else
			smtp_client_lost(c, ERR_CLOSED, now);
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
		ck_assert_int_eq(smtp_client_session_result(c)->stage, SMTP_STAGE_NONE);
		send_one(c, &now); /* the driver had not heard yet */
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
		ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_MAIL);
		ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_CLOSED);
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
		ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_NONE);
		smtp_client_free(&c);
	}
}

END_TEST

/* The message was given, but not yet written, when the server's goodbye came in. */
START_TEST(test_goodbye_crosses_mail)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	say(c, "220 mx\r\n", now);
	say(c, "250 mx\r\n", now);
	drain(c);
	send_one(c, &now);
	smtp_client_feed(c, SLICE("421 idle too long\r\n"), now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 421);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_waits_behind_rset)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	say(c, "220 mx\r\n", now);
	say(c, "250 mx\r\n", now);
	send_one(c, &now);
	say(c, "550 no\r\n", now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	send_one(c, &now);
	ck_assert_str_eq(buf_cstr(&c->out), "RSET\r\n");
	say(c, "503 what\r\n", now);
	/* nothing was said about this message: no reply that could bounce it */
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 0);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_PROTOCOL);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_quit_at_any_time)
{
	struct now now;
	struct smtp_client *c = new_client(&now, false);
	smtp_client_quit(c, now);
	ck_assert_uint_eq(buf_len(&c->out), 0); /* not before the greeting */
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
	c = client_at_body(&now);
	smtp_client_quit(c, now);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_BODY);
	ck_assert_int_eq(smtp_client_next(c), SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(smtp_stage_name(SMTP_STAGE_NONE), "none");
	ck_assert_str_eq(smtp_stage_name(SMTP_STAGE_DNS), "dns");
	ck_assert_str_eq(smtp_stage_name(SMTP_STAGE_LOCAL), "local");
}

END_TEST

Suite *test_smtp_client_flow_suite(void)
{
	Suite *s = suite_create("smtp_client_flow");
	TCase *t = tcase_create("time");
	tcase_add_test(t, test_default_deadlines);
	tcase_add_test(t, test_own_deadlines);
	tcase_add_test(t, test_total_per_reply);
	tcase_add_test(t, test_body_progress);
	tcase_add_test(t, test_dot_progress);
	suite_add_tcase(s, t);
	t = tcase_create("window");
	tcase_add_test(t, test_body_window);
	tcase_add_test(t, test_recipient_window);
	suite_add_tcase(s, t);
	t = tcase_create("order");
	tcase_add_test(t, test_early_replies);
	tcase_add_test(t, test_lost_before_dot_is_out);
	tcase_add_test(t, test_idle_session_ends);
	tcase_add_test(t, test_goodbye_crosses_mail);
	tcase_add_test(t, test_waits_behind_rset);
	tcase_add_test(t, test_quit_at_any_time);
	suite_add_tcase(s, t);
	t = tcase_create("safety");
	tcase_add_test(t, test_secrets_wiped);
	tcase_add_test(t, test_freed_with_secrets);
	tcase_add_test(t, test_endless_mechanisms);
	tcase_add_test(t, test_endless_reply);
	tcase_add_test(t, test_absent_parameters);
	tcase_add_test(t, test_no_injection);
	tcase_add_test(t, test_names);
	suite_add_tcase(s, t);
	return s;
}
