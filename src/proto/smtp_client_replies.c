#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "proto/smtp_client_priv.h"

/*
 * smtp_client_replies.c - what they say: one handler per step. The receive
 * cursor of a message moves here and nowhere else. Codes are judged by their
 * first digit (RFC 5321 4.3.2), but for those that change the protocol: 220,
 * 235, 334, 354, 421.
 */

/* 1. greeting, EHLO, STARTTLS */

static void on_greeting(struct smtp_client *c)
{
	if (c->reply.code != 220) {
		client_fail_reply(c, SMTP_STAGE_GREETING, true);
		return;
	}
	client_put_hello(c, false);
	client_set_state(c, CLIENT_EHLO);
}

static void caps_clear(struct client_caps *caps)
{
	struct buf auth = caps->auth;
	buf_clear(&auth);
	*caps = (struct client_caps){ .auth = auth };
}

static void caps_add_auth(struct client_caps *caps, struct slice mechanisms)
{
	size_t before = buf_len(&caps->auth);
	if (buf_add_char(&caps->auth, ' ') || buf_add_slice(&caps->auth, mechanisms))
		buf_truncate(&caps->auth, before); /* more than we could ever use */
}

static void caps_add(struct client_caps *caps, struct slice line)
{
	const struct {
		const char *keyword;
		bool *offered;
	} flags[] = {
		{ "PIPELINING", &caps->pipelining },
		{ "8BITMIME", &caps->mime8bit },
		{ "SMTPUTF8", &caps->smtputf8 },
		{ "STARTTLS", &caps->starttls },
		{ "DSN", &caps->dsn },
		{ "SIZE", &caps->size },
		{ "CHUNKING", &caps->chunking },
	};
	struct slice rest = slice_trim(line), word;
	if (rest.n == 0 || !slice_split(&rest, ' ', &word))
		return;
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (slice_eq_nocase(word, slice_str(flags[i].keyword)))
			*flags[i].offered = true;
	if (slice_eq_nocase(word, SLICE("SIZE")) &&
	    !slice_to_u64(slice_trim(rest), &caps->size_max))
		caps->size_max = 0;
	if (slice_eq_nocase(word, SLICE("AUTH")))
		caps_add_auth(caps, rest);
	if (slice_starts_nocase(line, SLICE("AUTH="))) /* from before RFC 2554, still sent */
		caps_add_auth(caps, slice_from(line, strlen("AUTH=")));
}

static void caps_parse(struct client_caps *caps, const struct reply *r)
{
	struct slice rest = buf_slice(&r->text), line;
	caps_clear(caps);
	slice_split(&rest, '\n', &line); /* the first line is a greeting */
	while (rest.n > 0 && slice_split(&rest, '\n', &line))
		caps_add(caps, line);
}

static void begin_auth(struct smtp_client *c);

static void begin_tls_or_auth(struct smtp_client *c)
{
	if (c->secured || c->tls == SMTP_TLS_NEVER) {
		begin_auth(c);
	} else if (c->caps.starttls) {
		client_put_line(c, "STARTTLS");
		client_set_state(c, CLIENT_STARTTLS);
	} else if (c->tls == SMTP_TLS_MUST) {
		client_fail_need(c, SMTP_STAGE_STARTTLS, SMTP_NEED_TLS);
	} else {
		begin_auth(c);
	}
}

static void on_ehlo(struct smtp_client *c)
{
	if (reply_class(&c->reply) == 2) {
		caps_parse(&c->caps, &c->reply);
		begin_tls_or_auth(c);
	} else if (reply_class(&c->reply) == 5 && !c->lmtp) {
		client_put_hello(c, true);
		client_set_state(c, CLIENT_HELO);
	} else {
		client_fail_reply(c, SMTP_STAGE_EHLO, true);
	}
}

static void on_helo(struct smtp_client *c)
{
	if (reply_class(&c->reply) != 2) {
		client_fail_reply(c, SMTP_STAGE_EHLO, true);
		return;
	}
	caps_clear(&c->caps);
	begin_tls_or_auth(c);
}

static void on_starttls(struct smtp_client *c)
{
	if (c->reply.code == 220) {
		caps_clear(&c->caps); /* RFC 3207 4.2: nothing learnt before counts */
		client_set_state(c, CLIENT_TLS);
	} else if (reply_class(&c->reply) == 2) {
		client_fail_err(c, SMTP_STAGE_STARTTLS, ERR_PROTOCOL);
	} else if (c->tls == SMTP_TLS_MUST) {
		client_fail_need(c, SMTP_STAGE_STARTTLS, SMTP_NEED_TLS);
	} else {
		begin_auth(c);
	}
}

/* 2. AUTH */

static void put_initial_response(struct smtp_client *c, const char *mechanism)
{
	struct buf initial;
	buf_init(&initial, SASL_MESSAGE_MAX);
	enum sasl_result r = sasl_step(c->sasl, false, SLICE_NONE, &initial);
	c->sasl_done = r == SASL_DONE;
	client_put_auth(c, mechanism, r == SASL_FAILED ? NULL : &initial);
	client_wipe_buf(&initial);
}

static void begin_auth(struct smtp_client *c)
{
	if (!c->auth_user) {
		client_become_ready(c);
		return;
	}
	const char *mechanism = NULL;
	if (c->secured || c->auth_in_clear_ok)
		mechanism = sasl_client_pick(buf_slice(&c->caps.auth), c->auth_mechanism);
	if (mechanism)
		c->sasl = sasl_client_new(mechanism, c->auth_user, c->auth_password);
	reply_clear(&c->reply); /* what it says is no refusal of AUTH */
	if (!mechanism || !c->sasl) {
		client_fail_need(c, SMTP_STAGE_AUTH, SMTP_NEED_AUTH);
		return;
	}
	/* LOGIN waits for its prompts: many servers take no initial response there. */
	if (strcmp(mechanism, "PLAIN") == 0)
		put_initial_response(c, mechanism);
	else
		client_put_auth(c, mechanism, NULL);
	client_set_state(c, CLIENT_AUTH);
}

/* A challenge is answered, or the exchange cancelled with "*" (the server then says 501). */
static void on_challenge(struct smtp_client *c)
{
	struct buf challenge, answer;
	buf_init(&challenge, SASL_MESSAGE_MAX);
	buf_init(&answer, SASL_MESSAGE_MAX);
	enum sasl_result r = SASL_FAILED;
	struct slice text = slice_trim(buf_slice(&c->reply.text));
	if (!c->sasl_done && codec_base64_decode(&challenge, text) == 0)
		r = sasl_step(c->sasl, true, buf_slice(&challenge), &answer);
	c->sasl_done = r != SASL_CONTINUE; /* one that was cancelled is over, too */
	if (r == SASL_CONTINUE || r == SASL_DONE)
		client_put_auth_answer(c, &answer);
	else
		client_put_line(c, "*");
	client_wipe_buf(&challenge);
	client_wipe_buf(&answer);
	client_set_state(c, CLIENT_AUTH);
}

static void on_auth(struct smtp_client *c)
{
	if (c->reply.code == 235) {
		client_forget_secrets(c);
		c->authenticated = true;
		client_become_ready(c);
	} else if (c->reply.code == 334 && ++c->challenges <= CLIENT_CHALLENGES_MAX) {
		on_challenge(c);
	} else {
		client_fail_reply(c, SMTP_STAGE_AUTH, true);
	}
}

/* 3. a message */

/* The state of a step after MAIL. */
static enum client_state step_state(const struct client_txn *t, size_t step)
{
	return step <= t->rcpts_n ? CLIENT_RCPT : CLIENT_DATA;
}

/*
 * All is decided and the body was not asked for. RSET, so that the next message
 * begins on clean ground. Behind the end of another body a reply too many to
 * that would have been taken for ours, and all of ours for the one before; then
 * what is taken for the reply to RSET is the one to DATA, which is no 2yz. So
 * the refusals count only once RSET was answered with one.
 */
static void end_refused(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	CHECK(t->accepted_n == 0);
	t->state = t->overlapped ? MSG_FENCED : MSG_DECIDED;
	client_put_line(c, "RSET");
	client_set_state(c, CLIENT_RSET);
}

/* The chunk went out ahead of the refusals; what is said to it is for nobody. */
static void end_refused_chunk(struct smtp_client *c)
{
	c->cur->state = MSG_DECIDED;
	client_body_ended(c);
}

/* All steps are answered, or what is left is not worth sending. */
static void steps_done(struct smtp_client *c)
{
	const struct client_txn *t = c->cur;
	bool accepted = t->accepted_n > 0;
	CHECK(!accepted || t->chunking);
	if (accepted && !t->body_ended)
		client_lend_body(c);
	if (accepted)
		client_body_ended(c);
	else if (t->body_ended)
		end_refused_chunk(c);
	else
		end_refused(c);
}

static void step_done(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	t->recv_at++;
	client_pump(c, t);
	if (t->recv_at == t->send_at)
		steps_done(c);
	else
		client_set_state(c, step_state(t, t->recv_at));
}

static void on_mail(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	if (c->reply.code == 503 && !t->first) {
		/* It is out of step with us, or has had enough of this connection. */
		client_fail_reply(c, SMTP_STAGE_MAIL, true);
		return;
	}
	if (reply_class(&c->reply) != 2) {
		t->mail_refused = true;
		for (size_t i = 0; i < t->rcpts_n; i++)
			client_decide(c, i, SMTP_STAGE_MAIL);
	}
	step_done(c);
}

static void on_rcpt(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	size_t i = t->recv_at - 1;
	if (t->rcpts[i].decided) {
		CHECK(t->mail_refused);
	} else if (reply_class(&c->reply) == 2) {
		t->rcpts[i].accepted = true;
		t->accepted_n++;
	} else {
		client_decide(c, i, SMTP_STAGE_RCPT);
	}
	step_done(c);
}

/*
 * 354, and DATA had been sent ahead of the refusals: an empty message that is
 * for nobody (RFC 2920 3.1). LMTP has no reply for it, so nothing to go on by.
 */
static void send_lone_dot(struct smtp_client *c)
{
	if (c->lmtp) {
		client_fail_err(c, SMTP_STAGE_DATA, ERR_PROTOCOL);
		return;
	}
	client_put_line(c, ".");
	c->cur->state = MSG_DECIDED;
	client_set_state(c, CLIENT_DOT);
}

static void on_data(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	int class = reply_class(&c->reply);
	t->recv_at++;
	if (class == 4 || class == 5) {
		for (size_t i = 0; i < t->rcpts_n; i++)
			if (!t->rcpts[i].decided)
				client_decide(c, i, SMTP_STAGE_DATA);
		end_refused(c);
	} else if (c->reply.code != 354) {
		/* No server answers DATA so: the replies are one off, and the refusals before
		 * it may have been meant for others. */
		if (t->pipelined)
			client_desynced(t);
		client_fail_err(c, SMTP_STAGE_DATA, ERR_PROTOCOL);
	} else if (t->accepted_n == 0) {
		send_lone_dot(c);
	} else if (t->msg.plain) {
		client_lend_body(c);
		client_body_ended(c);
	} else {
		client_set_state(c, CLIENT_BODY);
	}
}

/*
 * 50z: BDAT was no command to whoever answered, though offered. That says
 * nothing about the message; and what was its body may be read as commands, so
 * not a byte more goes out.
 */
static bool is_no_command(const struct smtp_client *c)
{
	return c->cur->chunking && c->reply.code / 10 == 50;
}

static void fail_chunking(struct smtp_client *c, enum smtp_stage stage)
{
	struct smtp_result why;
	c->chunking_refused = true;
	smtp_result_init(&why);
	why.stage = stage;
	why.err = ERR_PROTOCOL;
	reply_copy(&why.reply, &c->reply);
	client_fail(c, &why, false);
	smtp_result_fini(&why);
}

/* Before the end of the body no reply is due; who refuses already here won't read on. */
static void on_early(struct smtp_client *c)
{
	if (reply_class(&c->reply) < 4)
		client_fail_out_of_step(c, SMTP_STAGE_BODY);
	else if (is_no_command(c))
		fail_chunking(c, SMTP_STAGE_BODY);
	else
		client_fail_reply(c, SMTP_STAGE_BODY, false);
}

/*
 * The message is done with. A BDAT that was refused leaves the transaction in
 * doubt (RFC 3030 2), so RSET, unless the next MAIL, which does the same (RFC
 * 5321 4.1.1.2), is out already.
 */
static void end_answered(struct smtp_client *c)
{
	const struct client_txn *ahead = client_ahead(c);
	bool in_doubt = c->cur->chunking && reply_class(&c->reply) != 2;
	if (in_doubt && !(ahead && ahead->send_at > 0)) {
		client_put_line(c, "RSET");
		client_set_state(c, CLIENT_RSET);
	} else {
		client_become_ready(c);
	}
}

/* To the end of the body: the dot, or the chunk. */
static void on_dot(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	bool for_nobody = t->state != MSG_ACTIVE;
	if (client_own_output(c) > 0) {
		on_early(c); /* it can't have seen the end */
		return;
	}
	/* 503 is right where nobody was accepted. */
	if (is_no_command(c) && !(for_nobody && c->reply.code == 503)) {
		fail_chunking(c, SMTP_STAGE_DOT);
		return;
	}
	if (!for_nobody) {
		for (; t->accepted_n > 0; t->dot_at++) {
			if (t->rcpts[t->dot_at].decided)
				continue;
			client_decide(c, t->dot_at, SMTP_STAGE_DOT);
			if (c->lmtp)
				break; /* RFC 2033 4.2: each has its own */
		}
		if (t->accepted_n > 0) {
			client_set_state(c, CLIENT_DOT);
			return;
		}
		t->state = MSG_DECIDED;
		c->completed_one = true;
	}
	end_answered(c);
}

static void on_rset(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	bool ok = reply_class(&c->reply) == 2;
	if (t->state == MSG_FENCED) {
		t->state = MSG_DECIDED;
		if (!ok)
			client_desynced(t);
	}
	if (ok)
		client_become_ready(c);
	else
		client_fail_err(c, SMTP_STAGE_MAIL, ERR_PROTOCOL);
}

static void on_quit(struct smtp_client *c)
{
	client_set_state(c, CLIENT_CLOSED);
}

void client_on_reply(struct smtp_client *c)
{
	static void (*const handlers[CLIENT_STATES])(struct smtp_client *) = {
		[CLIENT_GREETING] = on_greeting,
		[CLIENT_EHLO] = on_ehlo,
		[CLIENT_HELO] = on_helo,
		[CLIENT_STARTTLS] = on_starttls,
		[CLIENT_AUTH] = on_auth,
		[CLIENT_MAIL] = on_mail,
		[CLIENT_RCPT] = on_rcpt,
		[CLIENT_DATA] = on_data,
		[CLIENT_BODY] = on_early,
		[CLIENT_DOT] = on_dot,
		[CLIENT_RSET] = on_rset,
		[CLIENT_QUIT] = on_quit,
	};
	bool may_be_3yz =
	    c->state == CLIENT_DATA || c->state == CLIENT_AUTH || c->state == CLIENT_QUIT;
	CHECK(handlers[c->state]);
	if (c->reply.code == 421 && c->state != CLIENT_QUIT)
		client_fail_reply(c, client_stage(c), false);
	else if (reply_class(&c->reply) == 3 && !may_be_3yz)
		client_fail_out_of_step(c, client_stage(c));
	else
		handlers[c->state](c);
}
