#include <errno.h>

#include "base/check.h"
#include "proto/smtp_client_priv.h"

/*
 * smtp_client_messages.c - the messages of a session: given by the driver, begun
 * when their turn comes, told when decided. Those under way and the one told
 * last stand in a ring, in the order they were given.
 */

/* 1. the ring */

/* i messages behind the oldest; the one told last stands before that. */
static struct client_txn *under_way_at(struct smtp_client *c, unsigned i)
{
	return &c->txns[(c->oldest + i) % CLIENT_TXNS];
}

static const struct client_txn *told(const struct smtp_client *c)
{
	return &c->txns[(c->oldest + CLIENT_TXNS - 1) % CLIENT_TXNS];
}

struct client_txn *client_ahead(struct smtp_client *c)
{
	if (c->under_way == 0)
		return NULL;
	struct client_txn *t = under_way_at(c, c->under_way - 1);
	bool open = t->state == MSG_WAITING || t->state == MSG_ACTIVE;
	return open && t != c->cur ? t : NULL;
}

bool client_can_tell(const struct smtp_client *c)
{
	const struct client_txn *oldest = &c->txns[c->oldest];
	return c->under_way > 0 && oldest->state == MSG_DECIDED &&
	       (oldest != c->cur || c->lent_n == 0);
}

void client_tell(struct smtp_client *c)
{
	client_results_free(under_way_at(c, CLIENT_TXNS - 1)); /* told before: its time ends */
	under_way_at(c, 0)->state = MSG_NONE;
	c->oldest = (c->oldest + 1) % CLIENT_TXNS;
	c->under_way--;
}

unsigned smtp_client_under_way(const struct smtp_client *c)
{
	return c->under_way;
}

const struct smtp_result *smtp_client_result(const struct smtp_client *c, size_t rcpt)
{
	const struct client_txn *t = told(c);
	CHECK(rcpt < t->rcpts_n);
	return &t->rcpts[rcpt].result;
}

void client_check(struct smtp_client *c)
{
	const struct client_txn *t = c->cur;
	const struct client_txn *ahead = client_ahead(c);
	CHECK(c->under_way <= 2);
	if (client_is_in_message(c)) {
		CHECK(t->state == MSG_ACTIVE);
		CHECK(t->recv_at < t->send_at && t->send_at <= t->rcpts_n + 2);
		CHECK(t->pipelined || t->send_at - t->recv_at == 1);
		CHECK(c->lent_n == 0 || t->early);
	} else {
		CHECK(c->lent_n == 0 || c->state == CLIENT_DOT);
	}
	if (ahead) {
		CHECK(ahead->recv_at == 0);
		CHECK(ahead->send_at == 0 || c->state == CLIENT_DOT);
	}
}

/* 2. beginning */

/* What this host can't take, found before it is asked (RFC 1870 5, RFC 6531 3.6). */
static void check_needs(const struct smtp_client *c, const struct smtp_client_msg *m,
    struct smtp_result *r)
{
	const struct client_caps *caps = &c->caps;
	r->stage = SMTP_STAGE_MAIL;
	if (!client_msg_is_clean(m)) {
		r->stage = SMTP_STAGE_LOCAL;
		r->err = ERR_SYNTAX;
	} else if (m->needs_utf8 && !caps->smtputf8) {
		r->need = SMTP_NEED_UTF8;
	} else if (caps->size && caps->size_max && m->body_bytes > caps->size_max) {
		r->need = SMTP_NEED_SIZE;
	}
}

/* From waiting to active, or decided at once. */
static void begin_message(struct smtp_client *c, struct client_txn *t)
{
	struct smtp_result unmet;
	smtp_result_init(&unmet);
	check_needs(c, &t->msg, &unmet);
	if (unmet.need || unmet.err) {
		client_decide_rest(t, &unmet);
		t->state = MSG_DECIDED;
	} else {
		t->state = MSG_ACTIVE;
		t->pipelined = c->pipelining_wanted && c->caps.pipelining;
		t->chunking = c->chunking_wanted && c->caps.chunking && !c->lmtp;
		t->early = t->chunking && t->pipelined && t->first &&
			   t->msg.body_bytes <= CLIENT_WINDOW_BYTES;
		c->began_one = true;
	}
	smtp_result_fini(&unmet);
}

/* Its turn to be spoken of; with overlap its commands may be out, and answered, already. */
static void go_on_with(struct smtp_client *c, struct client_txn *t)
{
	if (t->state == MSG_WAITING)
		begin_message(c, t);
	if (t->state != MSG_ACTIVE)
		return;
	c->cur = t;
	CHECK(c->lent_n == 0);
	c->bdat_line_bytes = c->behind_bytes = 0;
	c->body_asked = false;
	dot_encoder_init(&c->dot);
	client_pump(c, t);
	client_set_state(c, CLIENT_MAIL);
}

void client_become_ready(struct smtp_client *c)
{
	client_set_state(c, CLIENT_READY);
	c->established = true;
	c->ready_given = false;
	struct client_txn *t = client_ahead(c);
	if (t)
		go_on_with(c, t);
}

bool client_may_overlap(const struct smtp_client *c)
{
	return c->state == CLIENT_DOT && c->cur->state == MSG_ACTIVE && c->under_way == 1 &&
	       c->overlap_wanted && c->cur->pipelined && !c->lmtp && c->completed_one &&
	       c->lent_n < CLIENT_WINDOW_BYTES;
}

static void fail_message(struct client_txn *t, const struct smtp_result *why)
{
	struct smtp_result r;
	smtp_result_init(&r);
	smtp_result_copy(&r, why);
	r.untried = !t->first && t->recv_at == 0;
	CHECK(!r.untried || !t->body_ended);
	if (r.untried)
		r.stage = SMTP_STAGE_MAIL; /* whatever it was that another message met */
	client_decide_rest(t, &r);
	t->state = MSG_DECIDED;
	smtp_result_fini(&r);
}

void client_fail_messages(struct smtp_client *c, const struct smtp_result *why)
{
	for (unsigned i = 0; i < c->under_way; i++) {
		struct client_txn *t = under_way_at(c, i);
		if (t->state == MSG_FENCED)
			t->state = MSG_DECIDED; /* the end of a session disproves nothing */
		else if (t->state != MSG_DECIDED)
			fail_message(t, why);
	}
}

static void fail_at_once(struct smtp_client *c)
{
	struct smtp_result why;
	smtp_result_init(&why);
	why.stage = SMTP_STAGE_MAIL;
	why.err = ERR_CLOSED;
	client_fail_messages(c, c->session.stage ? &c->session : &why);
	smtp_result_fini(&why);
	c->close_given = false;
}

void smtp_client_send(struct smtp_client *c, const struct smtp_client_msg *msg, struct now now)
{
	bool overlaps = client_may_overlap(c);
	CHECK(c->under_way == 0 || overlaps || under_way_at(c, 0)->state == MSG_DECIDED);
	CHECK(c->under_way < 2);
	CHECK(msg->rcpts_n > 0);
	c->now = now;
	struct client_txn *t = under_way_at(c, c->under_way++);
	client_results_free(t);
	*t = (struct client_txn){ .state = MSG_WAITING, .msg = *msg, .first = !c->began_one };
	client_results_begin(t, msg->rcpts_n);
	c->ready_given = false;
	if (c->state == CLIENT_READY) {
		go_on_with(c, t);
	} else if (c->state == CLIENT_QUIT || c->state == CLIENT_CLOSED) {
		fail_at_once(c);
	} else if (overlaps) {
		begin_message(c, t);
		t->overlapped = true;
		if (t->state == MSG_ACTIVE)
			client_pump(c, t);
	}
	DCHECK((client_check(c), true));
}

/* 3. bodies */

void client_lend_body(struct smtp_client *c)
{
	struct client_txn *t = c->cur;
	CHECK(!t->body_ended && c->lent_n == 0);
	if (t->chunking) {
		CHECK(t->send_at == t->rcpts_n + 1);
		size_t before = buf_len(&c->out);
		client_put_bdat(c, t->msg.body_bytes);
		c->bdat_line_bytes = buf_len(&c->out) - before;
	}
	c->lent_behind = buf_len(&c->out);
	c->lent_at = 0;
	c->lent_n = t->msg.body_bytes;
	if (!t->chunking)
		client_put_line(c, ".");
	t->body_ended = true;
}

void client_lent_left(struct smtp_client *c)
{
	if (c->state != CLIENT_DOT)
		return; /* MAIL or RCPT have their replies, and their time */
	if (!reply_parser_is_idle(&c->parser))
		client_fail_out_of_step(c, SMTP_STAGE_BODY); /* half a reply, to nothing */
	else
		c->deadline_at = c->now.mono_ms + c->timeout_ms[CLIENT_DOT];
}

/* Not just the peer takes its time: before the end of a body has left, so may the line. */
void client_body_ended(struct smtp_client *c)
{
	c->behind_bytes = 0;
	client_set_state(c, CLIENT_DOT);
	if (c->lent_n > 0)
		c->deadline_at = c->now.mono_ms + c->timeout_ms[CLIENT_BODY];
}

void smtp_client_body(struct smtp_client *c, struct slice piece, bool last, struct now now)
{
	c->now = now;
	if (c->state != CLIENT_BODY)
		return; /* it ended while the piece was on its way */
	c->body_asked = false;
	int r = dot_encode(&c->dot, piece, &c->out);
	if (!r && last)
		r = dot_encode_end(&c->dot, &c->out);
	if (r) {
		client_fail_err(c, SMTP_STAGE_LOCAL, r);
		return;
	}
	c->cur->body_ended = last;
	if (!last) {
		c->out_mark = client_own_output(c);
		c->deadline_at = now.mono_ms + c->timeout_ms[CLIENT_BODY];
	} else if (!reply_parser_is_idle(&c->parser)) {
		client_fail_out_of_step(c, SMTP_STAGE_BODY); /* half a reply, to nothing */
	} else {
		client_body_ended(c);
	}
}

void smtp_client_body_failed(struct smtp_client *c)
{
	if (c->state == CLIENT_BODY || c->lent_n > 0)
		client_fail_err(c, SMTP_STAGE_LOCAL, -EIO);
}
