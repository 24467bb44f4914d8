/*
 * sandbox_session.c - what a host of the sandbox answers, by the character of
 * its address and of the recipients, and the record kept of it.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "tools/sandbox_smtp.h"

#define GREYLIST_KEY_MAX 1024

struct verdict {            /* of a character on one command */
	enum cast_kind act; /* ACCEPT, REPLY, CLOSE, SILENT */
	unsigned code;
	char enhanced[12];
	const char *text;
};

static const struct verdict welcome = { .act = CAST_ACCEPT, .code = 250 };

static bool acts_at(const struct cast *c, enum cast_stage stage)
{
	bool staged = c->kind == CAST_REPLY || c->kind == CAST_CLOSE || c->kind == CAST_SILENT;
	return staged && c->stage == stage;
}

static struct verdict verdict_at(const struct cast *c, enum cast_stage stage)
{
	struct verdict v = { .act = c->kind, .code = c->code };
	if (!acts_at(c, stage))
		return welcome;
	cast_enhanced(c, v.enhanced);
	if (c->code == 421)
		v.text = "Sandbox: service not available";
	else if (stage == CAST_STAGE_RCPT)
		v.text = c->code < 500 ? "Sandbox: mailbox not available now"
				       : "Sandbox: no such mailbox here";
	else
		v.text = c->code < 500 ? "Sandbox: not now" : "Sandbox: not wanted here";
	return v;
}

static struct verdict temporary(unsigned code, const char *enhanced, const char *text)
{
	struct verdict v = { .act = CAST_REPLY, .code = code, .text = text };
	memcpy(v.enhanced, enhanced, strlen(enhanced) + 1);
	return v;
}

static struct store_session facts(struct conn *c)
{
	const struct tls_info *info = stream_tls(c->stream);
	return (struct store_session){ .number = c->number,
		.cast = c->cast,
		.client = c->client,
		.local = c->local,
		.helo = smtp_server_helo(c->engine),
		.tls = info ? info->version : "" };
}

/* --- the record --- */

static void tx_end(struct conn *c, struct now now)
{
	struct store_tx *tx = c->tx;
	if (!tx)
		return;
	if (tx->outcome == STORE_NONE) {
		bool nobody_left = tx->code && tx->accepted_n == 0;
		bool refused = nobody_left || tx->stage == CAST_STAGE_DATA;
		tx->outcome = refused ? STORE_REFUSED : STORE_ABORTED;
	}
	struct store_session ses = facts(c);
	store_log(c->smtp->store, tx, &ses, now);
	store_tx_fini(c->smtp->store, tx);
	mem_free(tx);
	c->tx = NULL;
	c->in_body = false;
	c->at_data = c->at_dot = (struct cast){ .kind = CAST_NONE };
}

static void tx_begin(struct conn *c, struct slice sender, struct now now)
{
	tx_end(c, now);
	c->tx = mem_zalloc(sizeof(*c->tx));
	store_tx_init(c->tx, ++c->transactions, sender);
}

static void tx_note(struct store_tx *tx, const struct verdict *v, enum cast_stage stage)
{
	tx->stage = stage;
	tx->code = v->act == CAST_REPLY ? v->code : 0;
	if (v->act == CAST_CLOSE)
		tx->outcome = STORE_CLOSED;
	if (v->act == CAST_SILENT)
		tx->outcome = STORE_SILENT;
}

/* A line about a connection that was turned away before it came to MAIL. */
static void log_early(struct conn *c, const struct verdict *v, enum cast_stage stage,
    struct now now)
{
	struct store_tx tx;
	struct store_session ses = facts(c);
	store_tx_init(&tx, 0, SLICE_NONE);
	tx.outcome = STORE_REFUSED;
	tx_note(&tx, v, stage);
	store_log(c->smtp->store, &tx, &ses, now);
	store_tx_fini(c->smtp->store, &tx);
}

/* --- before MAIL --- */

/* Hangs up or falls silent; false if the verdict is a reply. */
static bool obey(struct conn *c, const struct verdict *v, struct now now)
{
	if (v->act == CAST_CLOSE)
		conn_hang_up(c, now);
	else if (v->act == CAST_SILENT)
		conn_mute(c);
	return v->act == CAST_CLOSE || v->act == CAST_SILENT;
}

void session_begin(struct conn *c, struct now now)
{
	struct verdict v = verdict_at(&c->cast, CAST_STAGE_GREETING);
	if (v.act == CAST_ACCEPT) {
		smtp_server_greet(c->engine, 220, NULL, NULL);
		return;
	}
	log_early(c, &v, CAST_STAGE_GREETING, now);
	if (!obey(c, &v, now))
		smtp_server_greet(c->engine, (int)v.code, NULL, v.text);
}

static bool is_verb(const char *line, size_t n, const char *verb)
{
	size_t len = strlen(verb);
	return n > len && slice_eq_nocase(slice_of(line, len), slice_str(verb)) &&
	       (line[len] == ' ' || line[len] == '\r' || line[len] == '\n');
}

static enum cast_stage stage_of_line(const struct conn *c, const char *line, size_t n)
{
	bool both = c->cast.stage == CAST_STAGE_HELO;
	if (is_verb(line, n, "EHLO"))
		return both ? CAST_STAGE_HELO : CAST_STAGE_EHLO;
	if (is_verb(line, n, "HELO"))
		return CAST_STAGE_HELO;
	return is_verb(line, n, "STARTTLS") ? CAST_STAGE_STARTTLS : CAST_STAGE_NONE;
}

bool session_intercept(struct conn *c, char *line, size_t n, struct now now)
{
	enum cast_stage stage = stage_of_line(c, line, n);
	if (stage == CAST_STAGE_NONE)
		return false;
	if (c->cast.kind == CAST_NOEXT && is_verb(line, n, "EHLO"))
		memcpy(line, "HELO", 4); /* the engine then speaks plain SMTP */
	struct verdict v = verdict_at(&c->cast, stage);
	if (v.act == CAST_ACCEPT)
		return false;
	log_early(c, &v, stage, now);
	if (obey(c, &v, now))
		return true;
	int err = buf_printf(smtp_server_output(c->engine), "%u %s\r\n", v.code, v.text);
	if (err || v.code == 421)
		conn_hang_up(c, now);
	return true;
}

void session_spoil_tls(struct conn *c, struct now now)
{
	struct verdict v = { .act = CAST_CLOSE };
	int err = buf_add_str(smtp_server_output(c->engine),
	    "This is not the start of a TLS handshake.\r\n");
	(void)err; /* there was nothing else in it */
	log_early(c, &v, CAST_STAGE_STARTTLS, now);
	conn_hang_up(c, now);
}

/* --- the transaction --- */

static void answer(struct conn *c, const struct verdict *v)
{
	smtp_server_answer(c->engine, (int)v->code, v->enhanced, v->text);
}

static void on_mail(struct conn *c, const struct smtp_server_action *a, struct now now)
{
	struct verdict v = verdict_at(&c->cast, CAST_STAGE_MAIL);
	tx_begin(c, a->path.address, now);
	if (v.act == CAST_ACCEPT) {
		smtp_server_answer(c->engine, 0, NULL, NULL);
		return;
	}
	tx_note(c->tx, &v, CAST_STAGE_MAIL);
	tx_end(c, now);
	if (!obey(c, &v, now))
		answer(c, &v);
}

/* A triplet seen for the first time is remembered; true once it has waited. */
static bool greylist_pass(struct conn *c, const char *rcpt, unsigned wait_s, struct now now)
{
	char key[GREYLIST_KEY_MAX];
	struct map *m = &c->smtp->greylist;
	int n = snprintf(key, sizeof(key), "%s|%s|%s", c->tx->sender, rcpt, c->client);
	struct slice k = slice_of(key, MIN((size_t)n, sizeof(key) - 1));
	int64_t *first = map_find(m, k);
	if (!first && map_count(m) >= SANDBOX_GREYLIST_MAX)
		return true;
	if (!first) {
		first = mem_alloc(sizeof(*first));
		*first = now.mono_ms;
		map_put(m, k, first);
	}
	return now.mono_ms - *first >= (int64_t)wait_s * 1000;
}

static struct verdict verdict_on_rcpt(struct conn *c, const struct cast *cast, const char *address,
    struct now now)
{
	switch ((int)cast->kind) {
	case CAST_GREYLIST:
		if (!greylist_pass(c, address, cast->value, now))
			return temporary(451, "4.7.1", "Sandbox: greylisted, try again later");
		return welcome;
	case CAST_FLAKY:
		if (++c->smtp->flaky_count % 2 == 0)
			return temporary(450, "4.2.1", "Sandbox: not this time");
		return welcome;
	case CAST_FULL:
		return temporary(452, "4.2.2", "Sandbox: mailbox is over quota");
	case CAST_TOOMANY:
		if (c->tx->accepted_n >= CAST_TOOMANY_RCPTS)
			return temporary(452, "4.5.3", "Sandbox: too many recipients");
		return welcome;
	case CAST_SLOW:
		c->delay_ms = cast->value;
		return welcome;
	default:
		return verdict_at(cast, CAST_STAGE_RCPT);
	}
}

/* Remembers who will act at a later stage; the first one does. */
static void note_later(struct conn *c, const struct cast *cast)
{
	if (acts_at(cast, CAST_STAGE_DATA) && c->at_data.kind == CAST_NONE)
		c->at_data = *cast;
	if (acts_at(cast, CAST_STAGE_DOT) && c->at_dot.kind == CAST_NONE)
		c->at_dot = *cast;
}

static void on_rcpt(struct conn *c, const struct smtp_server_action *a, struct now now)
{
	struct store_tx *tx = c->tx;
	CHECK(tx);
	struct store_rcpt *r = store_tx_add(tx, a->path.address);
	if (!r) {
		smtp_server_answer(c->engine, 452, "4.5.3", "Too many recipients");
		return;
	}
	r->cast = cast_of_recipient(a->path.local, a->path.domain);
	struct verdict v = verdict_on_rcpt(c, &r->cast, r->address, now);
	r->code = v.act == CAST_ACCEPT || v.act == CAST_REPLY ? v.code : 0;
	if (v.act == CAST_ACCEPT) {
		tx->accepted_n++;
		note_later(c, &r->cast);
		smtp_server_answer(c->engine, 0, NULL, NULL);
		return;
	}
	tx_note(tx, &v, CAST_STAGE_RCPT);
	if (!obey(c, &v, now))
		answer(c, &v);
}

static void on_data(struct conn *c, struct now now)
{
	struct verdict v = verdict_at(&c->at_data, CAST_STAGE_DATA);
	CHECK(c->tx);
	if (v.act == CAST_ACCEPT) {
		struct store_session ses = facts(c);
		store_message_begin(c->smtp->store, c->tx, &ses, now);
		c->in_body = true;
		smtp_server_answer(c->engine, 0, NULL, NULL);
		return;
	}
	tx_note(c->tx, &v, CAST_STAGE_DATA);
	if (!obey(c, &v, now))
		answer(c, &v);
}

static void on_commit(struct conn *c, struct now now)
{
	struct verdict v = verdict_at(&c->at_dot, CAST_STAGE_DOT);
	struct store_tx *tx = c->tx;
	CHECK(tx);
	c->in_body = false;
	if (v.act == CAST_ACCEPT && store_message_commit(c->smtp->store, tx) != 0)
		v = temporary(451, "4.3.0", "Sandbox: can't write the message");
	tx_note(tx, &v, CAST_STAGE_DOT);
	if (v.act == CAST_ACCEPT) {
		tx->outcome = STORE_ACCEPTED;
		tx->code = 250;
	} else if (v.act == CAST_REPLY) {
		tx->outcome = STORE_REFUSED;
	}
	/* The line is there before the client can act on the reply. */
	tx_end(c, now);
	if (obey(c, &v, now))
		return;
	if (v.act == CAST_ACCEPT)
		smtp_server_answer(c->engine, 0, NULL, "Sandbox: message taken");
	else
		answer(c, &v);
}

static void act(struct conn *c, const struct smtp_server_action *a, struct now now)
{
	switch (a->kind) {
	case SMTP_SERVER_START_TLS:
		c->start_tls = true;
		return;
	case SMTP_SERVER_ASK_MAIL:
		on_mail(c, a, now);
		return;
	case SMTP_SERVER_ASK_RCPT:
		on_rcpt(c, a, now);
		return;
	case SMTP_SERVER_ASK_DATA:
		on_data(c, now);
		return;
	case SMTP_SERVER_BODY:
		if (c->tx)
			store_message_add(c->tx, a->chunk);
		return;
	case SMTP_SERVER_COMMIT:
		on_commit(c, now);
		return;
	case SMTP_SERVER_RESET:
		tx_end(c, now);
		return;
	case SMTP_SERVER_CLOSE:
		conn_hang_up(c, now);
		return;
	case SMTP_SERVER_NONE:
	case SMTP_SERVER_ASK_AUTH: /* not offered */
		break;
	}
	UNREACHABLE();
}

void session_actions(struct conn *c, struct now now)
{
	struct smtp_server_action a;
	while (!c->closing && !c->mute && !c->start_tls) {
		smtp_server_next(c->engine, &a);
		if (a.kind == SMTP_SERVER_NONE)
			return;
		act(c, &a, now);
	}
}

void session_end(struct conn *c, struct now now)
{
	tx_end(c, now);
}
