/*
 * The message side of a session: admission of sender and recipients, the
 * header edits, the body's way into the queue, the commit.
 */
#include "core/reception_session.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/accounting.h"
#include "core/committer.h"
#include "core/dispatch.h"
#include "core/limits.h"
#include "proto/reply.h"
#include "proto/trace.h"

#define SESSION_RECEIVED_MAX                                                                       \
	(64 * 1024 * 1024) /* event lines of the largest message: max_recipients of them */

_Static_assert(CONF_RECIPIENTS_MAX <= ENVELOPE_RCPTS_MAX, "an envelope takes all of a message");

struct session_commit {
	struct mta *mta;
	struct session *session; /* NULL: the client is gone */
	struct buf received;     /* event lines, for when the commit has succeeded */
	size_t received_n;
};

static void answer(struct session *s, int code, const char *enhanced, const char *text)
{
	smtp_server_answer(s->engine, code, enhanced, text);
}

static void note_rejected(struct session *s, struct slice recipient, int code, const char *enhanced,
    const char *text, struct now now)
{
	struct envelope *env = queue_msg_envelope(s->msg);
	struct envelope_status status = { .code = (uint16_t)code,
		.text = text,
		.host = "",
		.ip = s->ip };
	struct event e = { .kind = EVENT_REJECTED,
		.envelope = env,
		.status = &status,
		.stage = SMTP_STAGE_RCPT };

	/* Not into the envelope: refused recipients are not limited in number. */
	char *address = slice_dup(recipient);
	e.recipient = address;
	if (reply_parse_enhanced(slice_str(enhanced), status.enhanced) < 0)
		UNREACHABLE(); /* our own constants */
	accounting_add(s->work.mta->accounting, &e, now);
	mem_free(address);
}

void session_on_reset(struct session *s)
{
	queue_abort(&s->msg);
	if (s->filtering)
		header_filter_fini(&s->filter);
	s->filtering = false;
	buf_fini(&s->piece);
	arena_fini(&s->arena);
	s->domains = NULL;
	s->domains_n = s->domains_cap = 0;
	s->body_err = 0;
}

/* --- MAIL ------------------------------------------------------------------ */

static void describe_client(struct session *s, const struct smtp_server_action *a, struct now now)
{
	struct envelope *env = queue_msg_envelope(s->msg);

	env->sender = envelope_str(env, a->path.address);
	env->user = envelope_str(env, slice_str(smtp_server_user(s->engine)));
	env->client_ip = envelope_str(env, slice_str(s->ip));
	env->helo = envelope_str(env, slice_str(smtp_server_helo(s->engine)));
	env->envid = envelope_str(env, a->envid);
	env->ret = a->ret == 1   ? ENVELOPE_RET_FULL
		   : a->ret == 2 ? ENVELOPE_RET_HDRS
				 : ENVELOPE_RET_NONE;
	env->flags =
	    (a->body_8bitmime ? ENVELOPE_8BITMIME : 0) | (a->smtputf8 ? ENVELOPE_SMTPUTF8 : 0);
	env->arrival_ms = now.wall_ms;
}

void session_on_mail(struct session *s, const struct smtp_server_action *a, struct now now)
{
	struct mta *m = s->work.mta;
	const char *login = smtp_server_user(s->engine);

	session_on_reset(s);
	if (m->phase != MTA_PHASE_RUNNING) {
		answer(s, 451, "4.3.2", "Shutting down, try again later");
		return;
	}
	if (login[0] && !admission_sender_ok(s->conf->submission.sender_check, slice_str(login),
			    a->path.address, s->conf->me)) {
		log_notice("smtpd", "login %s may not send as <%.*s>", login,
		    SLICE_ARG(a->path.address));
		answer(s, 550, "5.7.1", "Sender address does not belong to your login");
		return;
	}
	if (queue_admit(m->queue, a->size, now) < 0) {
		answer(s, 452, "4.3.1", "Insufficient system storage");
		return;
	}
	s->msg = queue_begin(m->queue, now);
	describe_client(s, a, now);
	answer(s, 0, NULL, NULL);
}

/* --- RCPT ------------------------------------------------------------------ */

static void add_domain(struct session *s, struct slice domain)
{
	if (s->domains_n == s->domains_cap) {
		size_t cap = s->domains_cap ? s->domains_cap * 2 : 16;
		const char **grown = arena_alloc(&s->arena, cap * sizeof(*grown));
		for (size_t i = 0; i < s->domains_n; i++)
			grown[i] = s->domains[i];
		s->domains = grown;
		s->domains_cap = cap;
	}
	s->domains[s->domains_n++] = arena_strndup(&s->arena, domain.p, domain.n);
}

static void refuse_rcpt(struct session *s, struct slice address, int code, const char *enhanced,
    const char *text, struct now now)
{
	note_rejected(s, address, code, enhanced, text, now);
	answer(s, code, enhanced, text);
}

static void accept_rcpt(struct session *s, const struct smtp_server_action *a, struct slice address,
    struct slice domain)
{
	envelope_add_rcpt(queue_msg_envelope(s->msg), address, a->orcpt, a->notify);
	add_domain(s, domain);
	answer(s, 0, NULL, NULL);
}

void session_on_rcpt(struct session *s, const struct smtp_server_action *a, struct now now)
{
	struct slice address = a->path.address, domain = a->path.domain;
	const char *login = smtp_server_user(s->engine);
	char *postmaster = NULL;
	struct buf ascii;

	CHECK(s->msg != NULL); /* the engine gives RCPT only after a MAIL we accepted */
	if (domain.n == 0) {   /* <postmaster>, RFC 5321 4.5.1: ours */
		postmaster = mem_printf("postmaster@%s", s->conf->me);
		address = slice_str(postmaster);
		domain = slice_str(s->conf->me);
	}
	buf_init(&ascii, 512);
	if (path_domain_to_ascii(domain, &ascii) < 0)
		refuse_rcpt(s, address, 550, "5.1.2", "Recipient domain is not a valid name", now);
	else if (login[0] && !limits_take_rcpt(s->work.mta->limits, slice_str(login), now.mono_ms))
		refuse_rcpt(s, address, 450, "4.7.1",
		    "Sending rate of your login exceeded, try again later", now);
	else
		accept_rcpt(s, a, address, buf_slice(&ascii));
	buf_fini(&ascii);
	mem_free(postmaster);
}

/* --- DATA and body --------------------------------------------------------- */

static const char *trace_field(struct session *s, struct now now)
{
	struct envelope *env = queue_msg_envelope(s->msg);
	const struct tls_info *tls = stream_tls(s->stream);
	const char *comment = s->conf->outbound.received_header;
	struct buf out;

	if (strcmp(comment, "disabled") == 0)
		return "";
	struct trace t = {
		.helo = env->helo,
		.client_ip = s->ip,
		.user = env->user,
		.me = s->conf->me,
		.comment = comment,
		.protocol = smtp_server_protocol(s->engine),
		.tls = tls ? arena_printf(&s->arena, "%s %s", tls->version, tls->cipher) : "",
		.id = queue_msg_id(s->msg),
		.rcpt = env->rcpts_n == 1 ? env->rcpts[0].address : "",
		.wall_ms = now.wall_ms,
	};
	buf_init(&out, 16384);
	if (trace_received(&t, &out) < 0)
		buf_clear(&out); /* larger than any sane field: leave it out rather than cut it */
	const char *text = arena_strndup(&s->arena, buf_ptr(&out), buf_len(&out));
	buf_fini(&out);
	return text;
}

static const char *message_id(struct session *s)
{
	struct buf out;

	buf_init(&out, 1024);
	if (trace_message_id(queue_msg_id(s->msg), s->conf->me, &out) < 0)
		buf_clear(&out);
	const char *text = arena_strndup(&s->arena, buf_ptr(&out), buf_len(&out));
	buf_fini(&out);
	return text;
}

void session_on_data(struct session *s, struct now now)
{
	char date[CLOCK_TEXT_MAX];
	struct header_filter_config cfg = {
		.trace = trace_field(s, now),
		.date = arena_strdup(&s->arena, clock_rfc5322(now.wall_ms, date)),
		.message_id = message_id(s),
	};
	struct envelope *env = queue_msg_envelope(s->msg);

	env->protocol = envelope_str(env, slice_str(smtp_server_protocol(s->engine)));
	header_filter_init(&s->filter, &cfg);
	s->filtering = true;
	answer(s, 0, NULL, NULL);
}

static void store(struct session *s, struct slice bytes)
{
	if (s->body_err == 0 && bytes.n > 0)
		s->body_err = queue_append(s->msg, bytes.p, bytes.n);
}

void session_on_body(struct session *s, struct slice chunk)
{
	if (s->filter.done) {
		store(s, chunk);
		return;
	}
	int err = header_filter_feed(&s->filter, chunk, &s->piece);
	if (err < 0 && s->body_err == 0)
		s->body_err = err;
	store(s, buf_slice(&s->piece));
	buf_clear(&s->piece);
}

/* --- end of data ----------------------------------------------------------- */

static void answer_storage_error(struct session *s, int err)
{
	if (err == ERR_TOO_BIG)
		answer(s, 552, "5.3.4", "Message header too large");
	else if (err == -ENOSPC || err == -EDQUOT)
		answer(s, 452, "4.3.1", "Insufficient system storage");
	else
		answer(s, 451, "4.3.0", "Message could not be stored, try again later");
	if (err != ERR_TOO_BIG)
		log_error("smtpd", "message %s from %s not stored: %s", queue_msg_id(s->msg), s->ip,
		    err_text(err));
}

static void finish_envelope(struct session *s, const struct smtp_server_action *a)
{
	struct envelope *env = queue_msg_envelope(s->msg);

	env->message_id = envelope_str(env, slice_str(s->filter.message_id));
	env->body_bytes = queue_msg_bytes(s->msg);
	if (a->body_8bit)
		env->flags |= ENVELOPE_HAS_8BIT;
	/* The fields that were added to it are ours: none begins with a dot, and each line of it is
	 * whole. */
	if (a->body_plain)
		env->flags |= ENVELOPE_PLAIN;
	if (s->filter.has_8bit)
		env->flags |= ENVELOPE_UTF8_HEADER;
}

/* The "received" lines are written before the commit, when all is at hand, and counted after it. */
static void write_received(struct session *s, struct session_commit *c, struct now now)
{
	struct envelope *env = queue_msg_envelope(s->msg);
	struct event e = { .kind = EVENT_RECEIVED, .envelope = env };

	for (size_t i = 0; i < env->rcpts_n; i++) {
		size_t before = buf_len(&c->received);
		e.recipient = env->rcpts[i].address;
		env->domain = s->domains[i];
		if (accounting_format(&e, &c->received, now) < 0)
			buf_truncate(&c->received, before);
		else
			c->received_n++;
	}
	env->domain = "";
}

static void on_committed(void *arg, struct queue_done *done)
{
	struct session_commit *c = arg;
	struct session *s = c->session;
	struct mta *m = c->mta;

	if (done->result == 0) {
		accounting_add_lines(m->accounting, EVENT_RECEIVED, c->received_n,
		    buf_slice(&c->received), loop_now(m->loop));
		log_info("smtpd", "%s: accepted from %s", done->id,
		    s ? s->ip : "a client that left");
		dispatch_add_new(m->dispatch, &done->items);
	} else {
		log_error("smtpd", "%s: commit failed: %s", done->id, err_text(done->result));
	}
	if (s) {
		char text[64];
		s->commit = NULL;
		snprintf(text, sizeof(text), "queued as %s", done->id);
		if (done->result == 0)
			answer(s, 250, "2.0.0", text);
		else if (done->result == -ENOSPC || done->result == -EDQUOT)
			answer(s, 452, "4.3.1", "Insufficient system storage");
		else
			answer(s, 451, "4.3.0", "Message could not be stored, try again later");
		mta_mark(&s->work);
	}
	buf_fini(&c->received);
	mem_free(c);
}

static void commit(struct session *s, struct now now)
{
	struct session_commit *c = mem_zalloc(sizeof(*c));

	c->mta = s->work.mta;
	c->session = s;
	buf_init(&c->received, SESSION_RECEIVED_MAX);
	write_received(s, c, now);
	s->commit = c;
	struct queue_op *op = queue_op_commit(&s->msg, s->domains, now);
	committer_add(c->mta->committer, op, on_committed, c);
	session_on_reset(s);
}

void session_on_commit(struct session *s, const struct smtp_server_action *a, struct now now)
{
	if (!s->filter.done) {
		int err = header_filter_end(&s->filter, &s->piece);
		if (err < 0 && s->body_err == 0)
			s->body_err = err;
		store(s, buf_slice(&s->piece));
	}
	if (s->body_err < 0) {
		answer_storage_error(s, s->body_err);
		session_on_reset(s);
	} else if (s->filter.received > s->conf->submission.max_received) {
		answer(s, 554, "5.4.6", "Too many Received fields: mail loop");
		session_on_reset(s);
	} else {
		finish_envelope(s, a);
		commit(s, now);
	}
}

void session_forget_commit(struct session *s)
{
	if (s->commit)
		s->commit->session = NULL;
}
