#include "proto/smtp_client.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/smtp_client_priv.h"

/*
 * smtp_client.c - the session: its states, how it fails, its deadlines, and
 * the calls of the driver. Whatever comes from the peer ends in a state change
 * or a result; no call of the driver is ever wrong because of what the peer
 * did in the meantime (a body arriving for a closed session is dropped).
 */

/* 1. states */

#define TO(state) (1u << CLIENT_##state)

static const unsigned legal[CLIENT_STATES] = {
	[CLIENT_GREETING] = TO(EHLO) | TO(QUIT) | TO(CLOSED),
	[CLIENT_EHLO] = TO(HELO) | TO(STARTTLS) | TO(AUTH) | TO(READY) | TO(QUIT) | TO(CLOSED),
	[CLIENT_HELO] = TO(READY) | TO(QUIT) | TO(CLOSED),
	[CLIENT_STARTTLS] = TO(TLS) | TO(AUTH) | TO(READY) | TO(QUIT) | TO(CLOSED),
	[CLIENT_TLS] = TO(EHLO) | TO(CLOSED),
	[CLIENT_AUTH] = TO(AUTH) | TO(READY) | TO(QUIT) | TO(CLOSED),
	[CLIENT_READY] = TO(MAIL) | TO(QUIT) | TO(CLOSED),
	[CLIENT_MAIL] = TO(RCPT) | TO(RSET) | TO(QUIT) | TO(CLOSED),
	[CLIENT_RCPT] = TO(RCPT) | TO(DATA) | TO(DOT) | TO(RSET) | TO(CLOSED),
	[CLIENT_DATA] = TO(BODY) | TO(DOT) | TO(RSET) | TO(CLOSED),
	[CLIENT_BODY] = TO(DOT) | TO(CLOSED),
	[CLIENT_DOT] = TO(DOT) | TO(RSET) | TO(READY) | TO(CLOSED),
	[CLIENT_RSET] = TO(READY) | TO(QUIT) | TO(CLOSED),
	[CLIENT_QUIT] = TO(CLOSED),
};

static const enum smtp_stage stages[CLIENT_STATES] = {
	[CLIENT_GREETING] = SMTP_STAGE_GREETING,
	[CLIENT_EHLO] = SMTP_STAGE_EHLO,
	[CLIENT_HELO] = SMTP_STAGE_EHLO,
	[CLIENT_STARTTLS] = SMTP_STAGE_STARTTLS,
	[CLIENT_TLS] = SMTP_STAGE_STARTTLS,
	[CLIENT_AUTH] = SMTP_STAGE_AUTH,
	/* a message that waits on an idle or ending session fails where it would have begun */
	[CLIENT_READY] = SMTP_STAGE_MAIL,
	[CLIENT_MAIL] = SMTP_STAGE_MAIL,
	[CLIENT_RCPT] = SMTP_STAGE_RCPT,
	[CLIENT_DATA] = SMTP_STAGE_DATA,
	[CLIENT_BODY] = SMTP_STAGE_BODY,
	[CLIENT_DOT] = SMTP_STAGE_DOT,
	[CLIENT_RSET] = SMTP_STAGE_MAIL,
	[CLIENT_QUIT] = SMTP_STAGE_MAIL,
	[CLIENT_CLOSED] = SMTP_STAGE_MAIL,
};

/* The peer can't have a message whose end has not left. */
enum smtp_stage client_stage(const struct smtp_client *c)
{
	if (c->state == CLIENT_DOT && client_own_output(c) > 0)
		return SMTP_STAGE_BODY;
	return stages[c->state];
}

/* The only way the state changes. Entering one, or its next reply, starts its time anew. */
void client_set_state(struct smtp_client *c, enum client_state to)
{
	CHECK(legal[c->state] & (1u << to));
	c->state = to;
	c->deadline_at = c->timeout_ms[to] ? c->now.mono_ms + c->timeout_ms[to] : INT64_MAX;
	c->out_mark = client_own_output(c);
	if (to == CLIENT_CLOSED)
		client_forget_secrets(c);
}

bool client_is_in_message(const struct smtp_client *c)
{
	return c->state == CLIENT_MAIL || c->state == CLIENT_RCPT || c->state == CLIENT_DATA;
}

/* Nothing is going on that an end of the connection would spoil. */
static bool is_idle(const struct smtp_client *c)
{
	return c->state == CLIENT_READY || c->state == CLIENT_RSET || c->state == CLIENT_QUIT;
}

/* 2. failure */

uint64_t client_own_output(const struct smtp_client *c)
{
	uint64_t all = smtp_client_pending(c);
	return all - MIN(all, c->behind_bytes);
}

/* A body behind RCPT has left wholly: without a reply that says otherwise the peer may have it. */
static bool is_out_early(const struct smtp_client *c)
{
	return client_is_in_message(c) && c->cur->body_ended && smtp_client_pending(c) == 0;
}

static void fail(struct smtp_client *c, const struct smtp_result *why, bool polite)
{
	bool in_body = c->state == CLIENT_BODY || c->state == CLIENT_DOT ||
		       (client_is_in_message(c) && c->bdat_line_bytes > 0);
	if (!is_idle(c))
		smtp_result_copy(&c->session, why);
	client_fail_messages(c, why);
	CHECK(in_body || c->lent_n == 0);
	if (in_body) { /* the rest of a message that must not be completed now */
		buf_clear(&c->out);
		c->lent_n = 0;
	}
	CHECK(!(in_body && polite));
	if (polite)
		client_put_line(c, "QUIT");
	client_set_state(c, polite ? CLIENT_QUIT : CLIENT_CLOSED);
}

void client_fail(struct smtp_client *c, const struct smtp_result *why, bool polite)
{
	struct smtp_result late;
	if (why->reply.code || !is_out_early(c)) {
		fail(c, why, polite);
		return;
	}
	smtp_result_init(&late);
	smtp_result_copy(&late, why);
	late.stage = SMTP_STAGE_DOT;
	fail(c, &late, polite);
	smtp_result_fini(&late);
}

void client_fail_err(struct smtp_client *c, enum smtp_stage stage, int err)
{
	struct smtp_result why;
	smtp_result_init(&why);
	why.stage = stage;
	why.err = err;
	client_fail(c, &why, false);
	smtp_result_fini(&why);
}

void client_fail_reply(struct smtp_client *c, enum smtp_stage stage, bool polite)
{
	struct smtp_result why;
	smtp_result_init(&why);
	why.stage = stage;
	if (reply_class(&c->reply) >= 4)
		reply_copy(&why.reply, &c->reply);
	else
		why.err = ERR_PROTOCOL;
	client_fail(c, &why, polite);
	smtp_result_fini(&why);
}

void client_fail_out_of_step(struct smtp_client *c, enum smtp_stage stage)
{
	struct client_txn *t = c->cur;
	bool flying = t->pipelined && (client_is_in_message(c) || t->chunking);
	if (t->state == MSG_FENCED || (t->state == MSG_ACTIVE && flying))
		client_desynced(t);
	client_fail_err(c, stage, ERR_PROTOCOL);
}

void client_fail_need(struct smtp_client *c, enum smtp_stage stage, enum smtp_need need)
{
	struct smtp_result why;
	smtp_result_init(&why);
	why.stage = stage;
	why.need = need;
	if (reply_class(&c->reply) >= 4)
		reply_copy(&why.reply, &c->reply);
	client_fail(c, &why, true);
	smtp_result_fini(&why);
}

void client_wipe_buf(struct buf *b)
{
	if (b->mem)
		mem_wipe(b->mem, b->cap);
	buf_fini(b);
}

/* Credentials are needed once in a session. */
void client_forget_secrets(struct smtp_client *c)
{
	sasl_free(&c->sasl);
	if (c->auth_password)
		mem_wipe(c->auth_password, strlen(c->auth_password));
	mem_free(c->auth_password);
	c->auth_password = NULL;
}

static void wipe_drained_output(struct smtp_client *c)
{
	if (!c->out_secret || buf_len(&c->out) > 0)
		return;
	mem_wipe(c->out.mem, c->out.cap);
	c->out_secret = false;
}

/* 3. the peer */

/* Each command is one line. */
static size_t count_commands(struct slice text)
{
	size_t lines = 0;
	for (; text.n > 0; lines++) {
		ptrdiff_t end = slice_find(text, '\n');
		CHECK(end >= 0);
		text = slice_from(text, (size_t)end + 1);
	}
	return lines;
}

/* Of cur's MAIL, RCPT, DATA: those whose end still lies in the output; BDAT may follow them. */
static size_t unsent_steps(const struct smtp_client *c)
{
	struct slice out = buf_slice(&c->out);
	out.n -= MIN(out.n, c->bdat_line_bytes);
	return count_commands(out);
}

/* The commands of the one ahead whose end has left the output. */
static size_t owed_ahead(struct smtp_client *c)
{
	const struct client_txn *t = client_ahead(c);
	struct slice out = buf_slice(&c->out);
	if (!t)
		return 0;
	return t->send_at - count_commands(slice_from(out, out.n - MIN(out.n, c->behind_bytes)));
}

/* A body may be refused before its end; a chunk once BDAT itself has left. */
static size_t owed_to_body(const struct smtp_client *c)
{
	if (!c->cur->chunking)
		return 1;
	return c->bdat_line_bytes > 0 && client_own_output(c) <= c->lent_n;
}

/*
 * How many replies the peer may send now: a command whose end still lies in the
 * output can't have been answered. Counted when bytes come in, so what stands
 * behind the reply to our last command, in the same read, is surplus even
 * though handling that reply has sent another.
 */
static size_t replies_owed(struct smtp_client *c)
{
	if (client_is_in_message(c)) {
		size_t chunk = c->bdat_line_bytes > 0 ? owed_to_body(c) : 0;
		return c->cur->send_at - c->cur->recv_at - unsent_steps(c) + chunk;
	}
	if (c->state == CLIENT_READY || c->state == CLIENT_TLS)
		return 0;
	if (c->state == CLIENT_QUIT)
		return SIZE_MAX;
	if (c->state == CLIENT_DOT && c->lmtp)
		return c->cur->accepted_n;
	if (c->state == CLIENT_BODY || c->state == CLIENT_DOT)
		return owed_to_body(c) + owed_ahead(c);
	return smtp_client_pending(c) == 0 ? 1 : 0;
}

/*
 * Whether the driver has not been told yet of a message that was decided by
 * replies which can't be trusted now. BDAT may have been given the reply to the
 * RCPT before it, if what is left over now is one; 221 is just an early goodbye.
 */
static bool is_in_doubt(const struct smtp_client *c, bool is_reply)
{
	const struct client_txn *t = c->cur;
	if (t->state == MSG_DECIDED && c->state == CLIENT_READY)
		return t->chunking && is_reply && c->reply.code != 221;
	return t->state == MSG_DECIDED && c->state == CLIENT_RSET && t->pipelined;
}

/*
 * Replies and commands no longer match: nothing from here on can be trusted.
 * Only a 421 is let through, since a server may say it at any time, unless it
 * stands where TLS was to begin.
 */
static void on_surplus(struct smtp_client *c, struct slice in)
{
	bool complete = false;
	bool is_reply = reply_parser_feed(&c->parser, in, &complete) > 0 && complete;
	if (is_reply && c->reply.code == 421 && c->state != CLIENT_TLS) {
		client_fail_reply(c, client_stage(c), false);
		return;
	}
	if (is_in_doubt(c, is_reply))
		client_desynced(c->cur);
	client_fail_out_of_step(c, client_stage(c));
}

void smtp_client_feed(struct smtp_client *c, struct slice in, struct now now)
{
	c->now = now;
	wipe_drained_output(c);
	size_t owed = replies_owed(c);
	while (in.n > 0 && c->state != CLIENT_CLOSED) {
		if (owed == 0) {
			on_surplus(c, in);
			return;
		}
		bool complete;
		ssize_t used = reply_parser_feed(&c->parser, in, &complete);
		if (used == ERR_PROTOCOL) {
			client_fail_out_of_step(c, client_stage(c));
			return;
		}
		if (used < 0) {
			client_fail_err(c, client_stage(c), (int)used);
			return;
		}
		in = slice_from(in, (size_t)used);
		if (complete) {
			owed--;
			client_on_reply(c);
			DCHECK((client_check(c), true));
		}
	}
}

void smtp_client_tls_done(struct smtp_client *c, int err, struct now now)
{
	c->now = now;
	if (c->state != CLIENT_TLS)
		return;
	if (err) {
		client_fail_err(c, SMTP_STAGE_STARTTLS, ERR_TLS);
		return;
	}
	c->secured = true;
	client_put_hello(c, false);
	client_set_state(c, CLIENT_EHLO);
}

void smtp_client_lost(struct smtp_client *c, int err, struct now now)
{
	c->now = now;
	if (c->state != CLIENT_CLOSED)
		client_fail_err(c, client_stage(c), err);
}

void smtp_client_quit(struct smtp_client *c, struct now now)
{
	c->now = now;
	if (c->state == CLIENT_QUIT || c->state == CLIENT_CLOSED)
		return;
	if (is_idle(c) && !client_ahead(c)) {
		client_put_line(c, "QUIT");
		client_set_state(c, CLIENT_QUIT);
	} else {
		client_fail_err(c, client_stage(c), ERR_CLOSED);
	}
}

/*
 * While we send a body it is not the peer's silence that counts but whether
 * it takes what we send; nor is it late when the body is late.
 */
static bool output_moves(struct smtp_client *c)
{
	uint64_t left = client_own_output(c);
	bool moves = left < c->out_mark;
	c->out_mark = left;
	if (c->state == CLIENT_BODY)
		return moves || left == 0;
	return c->state == CLIENT_DOT && moves && left > 0;
}

void smtp_client_tick(struct smtp_client *c, struct now now)
{
	c->now = now;
	if (now.mono_ms < c->deadline_at)
		return;
	if (output_moves(c))
		c->deadline_at = now.mono_ms + c->timeout_ms[CLIENT_BODY];
	else
		client_fail_err(c, client_stage(c), ERR_TIMEOUT);
}

int64_t smtp_client_deadline(const struct smtp_client *c)
{
	return c->deadline_at;
}

/* 4. the driver */

static bool give_once(bool *given, bool now)
{
	bool give = now && !*given;
	*given |= give;
	return give;
}

/* The output may have drained: more of a long list of recipients. */
static void pump_drained(struct smtp_client *c)
{
	struct client_txn *ahead = c->state == CLIENT_DOT ? client_ahead(c) : NULL;
	if (client_is_in_message(c))
		client_pump(c, c->cur);
	else if (ahead && ahead->state == MSG_ACTIVE)
		client_pump(c, ahead);
}

enum smtp_client_action_kind smtp_client_next(struct smtp_client *c)
{
	pump_drained(c);
	if (client_can_tell(c)) {
		client_tell(c);
		return SMTP_CLIENT_MSG_DONE;
	}
	if (give_once(&c->start_tls_given, c->state == CLIENT_TLS))
		return SMTP_CLIENT_START_TLS;
	if (give_once(&c->ready_given, c->state == CLIENT_READY || client_may_overlap(c)))
		return SMTP_CLIENT_READY;
	bool room = buf_len(&c->out) < CLIENT_WINDOW_BYTES;
	if (give_once(&c->body_asked, c->state == CLIENT_BODY && room))
		return SMTP_CLIENT_NEED_BODY;
	if (give_once(&c->close_given, c->state == CLIENT_CLOSED))
		return SMTP_CLIENT_CLOSE;
	return SMTP_CLIENT_NONE;
}

void smtp_client_output(const struct smtp_client *c, struct smtp_client_output *o)
{
	*o = (struct smtp_client_output){ .text = buf_slice(&c->out) };
	if (c->lent_n == 0)
		return;
	o->after = slice_from(o->text, c->lent_behind);
	o->text.n = c->lent_behind;
	o->body = c->cur->msg.body;
	o->body_at = c->lent_at;
	o->body_n = c->lent_n;
}

uint64_t smtp_client_pending(const struct smtp_client *c)
{
	return buf_len(&c->out) + c->lent_n;
}

static void take_text(struct smtp_client *c, uint64_t *n, size_t most)
{
	size_t taken = (size_t)MIN(*n, (uint64_t)most);
	buf_consume(&c->out, taken);
	*n -= taken;
	c->lent_behind -= MIN(taken, c->lent_behind);
}

void smtp_client_sent(struct smtp_client *c, uint64_t n, struct now now)
{
	bool lent = c->lent_n > 0;
	CHECK(n <= smtp_client_pending(c));
	c->now = now;
	if (lent) {
		take_text(c, &n, c->lent_behind);
		uint64_t of_body = MIN(n, c->lent_n);
		CHECK(of_body == 0 || c->lent_behind == 0);
		c->lent_at += of_body;
		c->lent_n -= of_body;
		n -= of_body;
	}
	take_text(c, &n, (size_t)n);
	if (lent && c->lent_n == 0)
		client_lent_left(c);
}

const struct smtp_result *smtp_client_session_result(const struct smtp_client *c)
{
	return &c->session;
}

bool smtp_client_is_over(const struct smtp_client *c)
{
	return c->state == CLIENT_QUIT || c->state == CLIENT_CLOSED;
}

bool smtp_client_is_established(const struct smtp_client *c)
{
	return c->established;
}

bool smtp_client_is_secured(const struct smtp_client *c)
{
	return c->secured;
}

bool smtp_client_is_authenticated(const struct smtp_client *c)
{
	return c->authenticated;
}

bool smtp_client_offers_dsn(const struct smtp_client *c)
{
	return c->caps.dsn;
}

bool smtp_client_refused_chunking(const struct smtp_client *c)
{
	return c->chunking_refused;
}

/* 5. life */

static void set_timeouts(struct smtp_client *c, const struct smtp_client_config *cfg)
{
	enum {
		SECOND = 1000,
		MINUTE = 60 * SECOND
	};

	const struct {
		enum client_state state;
		int wanted_ms, default_ms;
	} table[] = {
		{ CLIENT_GREETING, cfg->timeouts.greeting_ms, 5 * MINUTE },
		{ CLIENT_EHLO, cfg->timeouts.ehlo_ms, 5 * MINUTE },
		{ CLIENT_HELO, cfg->timeouts.ehlo_ms, 5 * MINUTE },
		{ CLIENT_STARTTLS, cfg->timeouts.starttls_ms, 2 * MINUTE },
		{ CLIENT_TLS, cfg->timeouts.starttls_ms, 2 * MINUTE },
		{ CLIENT_AUTH, cfg->timeouts.auth_ms, 2 * MINUTE },
		{ CLIENT_MAIL, cfg->timeouts.mail_ms, 5 * MINUTE },
		{ CLIENT_RCPT, cfg->timeouts.rcpt_ms, 5 * MINUTE },
		{ CLIENT_DATA, cfg->timeouts.data_ms, 2 * MINUTE },
		{ CLIENT_BODY, cfg->timeouts.body_ms, 3 * MINUTE },
		{ CLIENT_DOT, cfg->timeouts.dot_ms, 10 * MINUTE },
		{ CLIENT_RSET, cfg->timeouts.rset_ms, 20 * SECOND },
		{ CLIENT_QUIT, cfg->timeouts.quit_ms, 5 * SECOND },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		c->timeout_ms[table[i].state] =
		    table[i].wanted_ms > 0 ? table[i].wanted_ms : table[i].default_ms;
}

static char *dup_or_null(const char *s)
{
	return s ? mem_strdup(s) : NULL;
}

struct smtp_client *smtp_client_new(const struct smtp_client_config *cfg, struct now now)
{
	CHECK(cfg->helo);
	CHECK(cfg->tls >= SMTP_TLS_NEVER && cfg->tls <= SMTP_TLS_MUST);
	CHECK(!cfg->auth_user == !cfg->auth_password);
	struct smtp_client *c = mem_zalloc(sizeof(*c));
	c->helo = mem_strdup(cfg->helo);
	c->auth_user = dup_or_null(cfg->auth_user);
	c->auth_password = dup_or_null(cfg->auth_password);
	c->auth_mechanism = mem_strdup(cfg->auth_mechanism ? cfg->auth_mechanism : "");
	c->lmtp = cfg->lmtp;
	c->pipelining_wanted = cfg->pipelining;
	c->overlap_wanted = cfg->overlap;
	c->chunking_wanted = cfg->chunking;
	c->auth_in_clear_ok = cfg->auth_in_clear_ok;
	c->tls = cfg->tls;
	c->secured = cfg->tls_active;
	set_timeouts(c, cfg);
	buf_init(&c->caps.auth, SASL_MESSAGE_MAX);
	smtp_result_init(&c->session);
	buf_init(&c->out, CLIENT_OUTPUT_MAX);
	reply_init(&c->reply);
	reply_parser_init(&c->parser, &c->reply);
	for (size_t i = 0; i < CLIENT_TXNS; i++)
		c->txns[i].state = MSG_NONE;
	c->cur = &c->txns[CLIENT_TXNS - 1]; /* no message of the driver yet */
	c->state = CLIENT_GREETING;
	c->now = now;
	c->deadline_at = now.mono_ms + c->timeout_ms[CLIENT_GREETING];
	return c;
}

void smtp_client_free(struct smtp_client **cp)
{
	struct smtp_client *c = *cp;
	*cp = NULL;
	if (!c)
		return;
	client_forget_secrets(c);
	for (size_t i = 0; i < CLIENT_TXNS; i++)
		client_results_free(&c->txns[i]);
	if (c->out_secret)
		client_wipe_buf(&c->out);
	buf_fini(&c->out);
	buf_fini(&c->caps.auth);
	smtp_result_fini(&c->session);
	reply_parser_fini(&c->parser);
	reply_fini(&c->reply);
	mem_free(c->helo);
	mem_free(c->auth_user);
	mem_free(c->auth_mechanism);
	mem_free(c);
}
