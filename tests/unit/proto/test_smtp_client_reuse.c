#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "proto/smtp_client_priv.h"

/*
 * Two messages under way: time, windows and the order of calls; the scripts are
 * in test_smtp_client_overlap.c.
 */

Suite *test_smtp_client_reuse_suite(void);

static const struct smtp_client_rcpt one_rcpt[] = { { "r@b.example", "", 0 } };

static struct smtp_client *new_client(struct now *now)
{
	struct smtp_client_config cfg = {
		.helo = "me.example",
		.tls = SMTP_TLS_NEVER,
		.pipelining = true,
		.overlap = true,
	};
	*now = (struct now){ .wall_ms = 1, .mono_ms = 1000 };
	return smtp_client_new(&cfg, *now);
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

static void send_to(struct smtp_client *c, const struct smtp_client_rcpt *rcpts, size_t n,
    struct now now)
{
	struct smtp_client_msg m = {
		.sender = "s@a.example",
		.rcpts = rcpts,
		.rcpts_n = n,
		.body_bytes = 3,
	};
	smtp_client_send(c, &m, now);
}

static void send_one(struct smtp_client *c, struct now now)
{
	send_to(c, one_rcpt, 1, now);
}

static void next_is(struct smtp_client *c, enum smtp_client_action_kind kind)
{
	ck_assert_int_eq(smtp_client_next(c), kind);
}

/* One message is done, the second's 354 has come: what is handed over now ends in an overlap. */
static struct smtp_client *client_at_second_body(struct now *now)
{
	struct smtp_client *c = new_client(now);
	say(c, "220 mx\r\n", *now);
	say(c, "250-mx\r\n250-SIZE 100\r\n250 PIPELINING\r\n", *now);
	for (int i = 0; i < 2; i++) {
		next_is(c, SMTP_CLIENT_READY);
		send_one(c, *now);
		say(c, "250 ok\r\n250 ok\r\n354 go\r\n", *now);
		next_is(c, SMTP_CLIENT_NEED_BODY);
		if (i == 0) {
			smtp_client_body(c, SLICE("x\r\n"), true, *now);
			next_is(c, SMTP_CLIENT_NONE);
			say(c, "250 ok\r\n", *now);
			next_is(c, SMTP_CLIENT_MSG_DONE);
		}
	}
	return c;
}

static struct smtp_client *client_overlapping(struct now *now)
{
	struct smtp_client *c = client_at_second_body(now);
	smtp_client_body(c, SLICE("x\r\n"), true, *now);
	next_is(c, SMTP_CLIENT_READY);
	next_is(c, SMTP_CLIENT_NONE);
	ck_assert_uint_eq(smtp_client_under_way(c), 1);
	send_one(c, *now);
	ck_assert_uint_eq(smtp_client_under_way(c), 2);
	return c;
}

static int64_t time_left(const struct smtp_client *c, struct now now)
{
	return smtp_client_deadline(c) - now.mono_ms;
}

START_TEST(test_deadlines)
{
	struct now now;
	struct smtp_client *c = client_at_second_body(&now);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	ck_assert_int_eq(time_left(c, now), 600000);
	next_is(c, SMTP_CLIENT_READY);
	now.mono_ms += 1000;
	send_one(c, now); /* gives the dot no more time */
	ck_assert_int_eq(time_left(c, now), 599000);
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(time_left(c, now), 300000); /* MAIL */
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(time_left(c, now), 300000); /* RCPT */
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(time_left(c, now), 120000); /* DATA */
	say(c, "354 go\r\n", now);
	ck_assert_int_eq(time_left(c, now), 180000); /* body */
	smtp_client_free(&c);
}

END_TEST

/* A slow line gives the dot more time while its end has not left, commands behind it do not. */
START_TEST(test_dot_progress)
{
	struct now now;
	struct smtp_client *c = client_overlapping(&now);
	struct buf *out = &c->out;
	size_t behind =
	    strlen("MAIL FROM:<s@a.example> SIZE=3\r\nRCPT TO:<r@b.example>\r\nDATA\r\n");
	ck_assert_uint_eq(buf_len(out), behind + strlen("x\r\n.\r\n"));
	now.mono_ms = smtp_client_deadline(c);
	buf_consume(out, 3);
	smtp_client_tick(c, now);
	ck_assert_int_eq(time_left(c, now), 180000);
	now.mono_ms = smtp_client_deadline(c);
	buf_consume(out, 3);
	smtp_client_tick(c, now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_DOT);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_TIMEOUT);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 0)->untried);
	next_is(c, SMTP_CLIENT_CLOSE);
	ck_assert_uint_eq(buf_len(out), 0);
	smtp_client_free(&c);
}

END_TEST

/* What can't have been asked for can't have been answered: only what has left counts. */
START_TEST(test_unsent_commands_have_no_replies)
{
	/* taken by the socket: body and dot, then that many commands more; one reply too many,
	 * each by itself or all in one read */
	static const char *const parts[] = { "x\r\n.\r\n", "MAIL FROM:<s@a.example> SIZE=3\r\n",
		"RCPT TO:<r@b.example>\r\n", "DATA\r\n" };

	static const enum smtp_stage stages[] = { SMTP_STAGE_MAIL, SMTP_STAGE_RCPT,
		SMTP_STAGE_DATA };

	for (size_t k = 0; k < 6; k++) {
		size_t sent = k % 3;
		struct now now;
		struct smtp_client *c = client_overlapping(&now);
		struct buf *out = &c->out;
		for (size_t i = 0; i <= sent; i++)
			buf_consume(out, strlen(parts[i]));
		buf_consume(out, 1); /* part of a command is none */
		const char *replies = "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n";
		size_t one = strlen("250 ok\r\n"), all = (sent + 2) * one;
		for (size_t at = 0; at < all; at += k < 3 ? one : all)
			smtp_client_feed(c, slice_of(replies + at, k < 3 ? one : all), now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert(smtp_client_result(c, 0)->accepted);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert_int_eq(smtp_client_result(c, 0)->stage, stages[sent]);
		ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_PROTOCOL);
		ck_assert(smtp_client_result(c, 0)->untried == (sent == 0));
		next_is(c, SMTP_CLIENT_CLOSE);
		smtp_client_free(&c);
	}
}

END_TEST

/* A reply while the dot still lies in the output is none to it. */
START_TEST(test_reply_before_the_dot_is_out)
{
	static const struct {
		const char *reply;
		int code, err;
	} early[] = {
		{ "250 ok\r\n", 0, ERR_PROTOCOL },
		{ "552 large\r\n", 552, 0 },
		{ "421 bye\r\n", 421, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(early); i++) {
		struct now now;
		struct smtp_client *c = client_overlapping(&now);
		buf_consume(&c->out, strlen("x\r\n.\r"));
		smtp_client_feed(c, slice_str(early[i].reply), now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert(!smtp_client_result(c, 0)->accepted);
		ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, early[i].code);
		ck_assert_int_eq(smtp_client_result(c, 0)->err, early[i].err);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert(smtp_client_result(c, 0)->untried);
		ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_MAIL);
		ck_assert_uint_eq(buf_len(&c->out), 0);
		smtp_client_free(&c);
	}
}

END_TEST

/* Thousands of recipients behind a dot: never more than a window lies in the output. */
START_TEST(test_window)
{
	enum {
		MANY = 5000
	};

	struct now now;
	struct smtp_client *c = client_at_second_body(&now);
	struct buf *out = &c->out;
	char *body = mem_alloc(CLIENT_WINDOW_BYTES);
	memset(body, 'x', CLIENT_WINDOW_BYTES);
	smtp_client_body(c, slice_of(body, CLIENT_WINDOW_BYTES), true, now);
	size_t body_out = buf_len(out);
	next_is(c, SMTP_CLIENT_READY);
	struct smtp_client_rcpt *rcpts = mem_zalloc(MANY * sizeof(*rcpts));
	for (size_t i = 0; i < MANY; i++)
		rcpts[i] = (struct smtp_client_rcpt){ "a-recipient@b.example", "", 0 };
	send_to(c, rcpts, MANY, now);
	ck_assert_uint_eq(buf_len(out), body_out); /* full: MAIL waits */
	size_t lines = 0;
	while (next_is(c, SMTP_CLIENT_NONE), buf_len(out) > 0) {
		size_t n = MIN(buf_len(out), (size_t)7000);
		ck_assert_uint_lt(buf_len(out), CLIENT_WINDOW_BYTES + 512);
		for (size_t i = 0; i < n; i++)
			lines += buf_ptr(out)[i] == '\n';
		buf_consume(out, n);
	}
	ck_assert_uint_eq(lines, 2 + MANY + 2); /* all of it before the dot is answered */
	smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	for (size_t i = 0; i < MANY + 1; i++)
		smtp_client_feed(c, SLICE("250 ok\r\n"), now);
	smtp_client_feed(c, SLICE("354 go\r\n"), now);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	smtp_client_free(&c);
	mem_free(rcpts);
	mem_free(body);
}

END_TEST

/* The dot is answered before the output had room for the next MAIL. */
START_TEST(test_nothing_sent_ahead)
{
	struct now now;
	struct smtp_client *c = client_at_second_body(&now);
	char *body = mem_zalloc(CLIENT_WINDOW_BYTES);
	smtp_client_body(c, slice_of(body, CLIENT_WINDOW_BYTES), true, now);
	next_is(c, SMTP_CLIENT_READY);
	send_one(c, now);
	say(c, "250 ok\r\n", now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_str_eq(buf_cstr(&c->out),
	    "MAIL FROM:<s@a.example> SIZE=3\r\nRCPT TO:<r@b.example>\r\nDATA\r\n");
	say(c, "250 ok\r\n250 ok\r\n354 go\r\n", now);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	smtp_client_free(&c);
	mem_free(body);
}

END_TEST

/* READY was given behind the body and no message came: it is given again. */
START_TEST(test_ready_again)
{
	struct now now;
	struct smtp_client *c = client_at_second_body(&now);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	next_is(c, SMTP_CLIENT_READY);
	next_is(c, SMTP_CLIENT_NONE);
	say(c, "250 ok\r\n", now);
	send_one(c, now); /* before the driver has looked: no overlap any more */
	ck_assert_uint_eq(smtp_client_under_way(c), 2);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	next_is(c, SMTP_CLIENT_NONE);
	say(c, "250 ok\r\n250 ok\r\n354 go\r\n", now);
	next_is(c, SMTP_CLIENT_NEED_BODY);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	next_is(c, SMTP_CLIENT_READY);
	say(c, "250 ok\r\n", now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	next_is(c, SMTP_CLIENT_READY);
	next_is(c, SMTP_CLIENT_NONE);
	smtp_client_quit(c, now);
	ck_assert_str_eq(buf_cstr(&c->out), "QUIT\r\n");
	smtp_client_free(&c);
}

END_TEST

/* The connection dies between READY and the message. */
START_TEST(test_message_for_the_dead)
{
	struct now now;
	struct smtp_client *c = client_at_second_body(&now);
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	next_is(c, SMTP_CLIENT_READY);
	smtp_client_lost(c, -ECONNRESET, now);
	send_one(c, now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_BODY);
	ck_assert(!smtp_client_result(c, 0)->untried);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_MAIL);
	ck_assert_int_eq(smtp_client_result(c, 0)->err, -ECONNRESET);
	ck_assert(smtp_client_result(c, 0)->untried);
	next_is(c, SMTP_CLIENT_CLOSE);
	next_is(c, SMTP_CLIENT_NONE);
	send_one(c, now); /* and one more */
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 0)->untried);
	next_is(c, SMTP_CLIENT_CLOSE);
	smtp_client_free(&c);
}

END_TEST

/* An idle connection, used before, ends: the next message has lost nothing. */
START_TEST(test_idle_end)
{
	static const char *const ends[] = { NULL, "421 idle\r\n", "250 what\r\n", "2" };
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct now now;
		struct smtp_client *c = client_at_second_body(&now);
		smtp_client_body(c, SLICE("x\r\n"), true, now);
		say(c, "250 ok\r\n", now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		if (ends[i])
			smtp_client_feed(c, slice_str(ends[i]), now);
		else
			smtp_client_lost(c, ERR_CLOSED, now);
		next_is(c, SMTP_CLIENT_CLOSE);
		ck_assert_int_eq(smtp_client_session_result(c)->stage, SMTP_STAGE_NONE);
		send_one(c, now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_MAIL);
		ck_assert_int_eq(smtp_client_result(c, 0)->err, ERR_CLOSED);
		ck_assert(smtp_client_result(c, 0)->untried);
		next_is(c, SMTP_CLIENT_CLOSE);
		smtp_client_free(&c);
	}
}

END_TEST

/* A message that waits behind a RSET, or a lone dot, that ends the session. */
START_TEST(test_waiting_is_untried)
{
	static const struct {
		const char *replies, *says;
	} ends[] = {
		{ "550 no\r\n503 no\r\n503 no\r\n", "RSET\r\n" },
		{ "550 no\r\n503 no\r\n354 go\r\n", ".\r\n" },
	};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct now now;
		struct smtp_client *c = new_client(&now);
		send_one(c, now);
		say(c, "220 mx\r\n", now);
		say(c, "250-mx\r\n250 PIPELINING\r\n", now);
		say(c, ends[i].replies, now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert(!smtp_client_result(c, 0)->untried);
		send_one(c, now);
		ck_assert_str_eq(buf_cstr(&c->out), ends[i].says);
		smtp_client_lost(c, ERR_CLOSED, now);
		next_is(c, SMTP_CLIENT_MSG_DONE);
		ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_MAIL);
		ck_assert(smtp_client_result(c, 0)->untried);
		next_is(c, SMTP_CLIENT_CLOSE);
		smtp_client_free(&c);
	}
}

END_TEST

/* A need the host does not meet is found at once, but told in its turn. */
START_TEST(test_unmet_need_waits_its_turn)
{
	struct now now;
	struct smtp_client *c = client_at_second_body(&now);
	struct smtp_client_msg large = {
		.sender = "s@a.example",
		.rcpts = one_rcpt,
		.rcpts_n = 1,
		.body_bytes = 101,
	};
	smtp_client_body(c, SLICE("x\r\n"), true, now);
	next_is(c, SMTP_CLIENT_READY);
	smtp_client_send(c, &large, now);
	ck_assert_str_eq(buf_cstr(&c->out), "x\r\n.\r\n");
	next_is(c, SMTP_CLIENT_NONE);
	say(c, "250 ok\r\n", now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 0)->accepted);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->need, SMTP_NEED_SIZE);
	ck_assert(!smtp_client_result(c, 0)->untried);
	next_is(c, SMTP_CLIENT_READY);
	smtp_client_free(&c);
}

END_TEST

/* A result stays what it is until the next one is told, whatever is sent in between. */
START_TEST(test_results_stay)
{
	struct now now;
	struct smtp_client *c = client_overlapping(&now);
	say(c, "554 5.7.1 spam\r\n", now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	say(c, "250 ok\r\n550 5.1.1 unknown\r\n554 nobody\r\n", now);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 554);
	ck_assert(slice_eq(buf_slice(&smtp_client_result(c, 0)->reply.text), SLICE("spam")));
	next_is(c, SMTP_CLIENT_NONE); /* RSET */
	say(c, "250 ok\r\n", now);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 554);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 550);
	next_is(c, SMTP_CLIENT_READY);
	send_one(c, now);
	ck_assert_int_eq(smtp_client_result(c, 0)->reply.code, 550);
	smtp_client_free(&c);
}

END_TEST

START_TEST(test_quit_with_two_under_way)
{
	struct now now;
	struct smtp_client *c = client_overlapping(&now);
	smtp_client_quit(c, now);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert_int_eq(smtp_client_result(c, 0)->stage, SMTP_STAGE_BODY);
	next_is(c, SMTP_CLIENT_MSG_DONE);
	ck_assert(smtp_client_result(c, 0)->untried);
	next_is(c, SMTP_CLIENT_CLOSE);
	ck_assert_uint_eq(buf_len(&c->out), 0);
	smtp_client_free(&c);
}

END_TEST

Suite *test_smtp_client_reuse_suite(void)
{
	Suite *s = suite_create("smtp_client_reuse");
	TCase *t = tcase_create("order");
	tcase_add_test(t, test_deadlines);
	tcase_add_test(t, test_dot_progress);
	tcase_add_test(t, test_unsent_commands_have_no_replies);
	tcase_add_test(t, test_reply_before_the_dot_is_out);
	tcase_add_test(t, test_window);
	tcase_add_test(t, test_nothing_sent_ahead);
	tcase_add_test(t, test_ready_again);
	tcase_add_test(t, test_message_for_the_dead);
	tcase_add_test(t, test_idle_end);
	tcase_add_test(t, test_waiting_is_untried);
	tcase_add_test(t, test_unmet_need_waits_its_turn);
	tcase_add_test(t, test_results_stay);
	tcase_add_test(t, test_quit_with_two_under_way);
	suite_add_tcase(s, t);
	return s;
}
