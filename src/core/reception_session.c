#include "core/reception_session.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/limits.h"

#define SESSION_TLS_TIMEOUT_MS   60000
#define SESSION_CLOSE_TIMEOUT_MS 10000
#define SESSION_ACTIONS_PER_STEP 1000
#define SESSION_REST_AFTER_MS    1000
#define SESSION_OUTPUT_PAUSE     (64 * 1024) /* a client that sends but does not read waits */

static void session_step(struct mta_work *w, struct now now);

static void on_stream(void *arg)
{
	struct session *s = arg;
	mta_mark(&s->work);
}

static void make_engine(struct session *s, const struct conf_listen *listen, struct now now)
{
	const struct conf *conf = s->conf;
	struct smtp_server_session facts = {
		.client_ip = s->ip,
		.trusted = s->trusted,
		.tls = s->implicit_tls,
	};

	s->cfg = (struct smtp_server_config){
		.me = conf->me,
		.banner = "ESMTP Postrider",
		.max_message_bytes = conf->submission.max_message_size,
		.max_rcpts = conf->submission.max_recipients,
		.starttls = listen->tls == CONF_LISTEN_TLS_STARTTLS,
		.auth_in_clear = !conf->submission.require_tls,
		.reject_bare_newlines = conf->submission.reject_bare_newlines,
		.mechanisms = conf->submission.users_file[0] ? conf->submission.mechanisms : "",
	};
	s->engine = smtp_server_new(&s->cfg, &facts, now);
}

static void start_tls(struct session *s)
{
	const struct stream_tls_options o = {
		.ctx = s->work.mta->tls_server,
		.server = true,
		.timeout_ms = SESSION_TLS_TIMEOUT_MS,
	};

	stream_start_tls(s->stream, &o);
}

void session_start(struct reception *r, int fd, const struct session_options *o)
{
	struct session *s = mem_zalloc(sizeof(*s));

	mta_work_init(&s->work, r->mta, session_step);
	s->reception = r;
	s->conf = conf_ref(r->mta->conf);
	s->refusal = o->refusal;
	s->trusted = o->trusted;
	s->counted = o->refusal == NULL;
	s->implicit_tls = o->listen->tls == CONF_LISTEN_TLS_IMPLICIT;
	snprintf(s->ip, sizeof(s->ip), "%s", o->peer_ip);
	arena_init(&s->arena);
	buf_init(&s->piece, HEADER_BLOCK_MAX + SMTP_SERVER_CHUNK_MAX + 16384);
	list_push(&r->sessions, &s->node);
	r->sessions_n++;
	s->stream = stream_from_fd(r->mta->loop, fd, on_stream, s);
	make_engine(s, o->listen, loop_now(r->mta->loop));
	if (s->implicit_tls)
		start_tls(s);
	log_debug("smtpd", "connect from %s%s", s->ip, s->trusted ? " (trusted)" : "");
	mta_mark(&s->work);
}

void session_end(struct session *s)
{
	struct reception *r = s->reception;

	log_debug("smtpd", "disconnect from %s", s->ip);
	session_on_reset(s);
	session_forget_commit(s);
	if (s->check)
		auth_cancel(s->check);
	if (s->counted)
		limits_remove_address(r->mta->limits, slice_str(s->ip));
	smtp_server_free(&s->engine);
	stream_close(&s->stream);
	buf_fini(&s->piece);
	arena_fini(&s->arena);
	conf_unref(&s->conf);
	mta_work_fini(&s->work);
	list_remove(&s->node);
	r->sessions_n--;
	limits_client_left(r->mta->limits);
	mem_free(s);
}

void session_shutdown(struct session *s)
{
	smtp_server_shutdown(s->engine);
	mta_mark(&s->work);
}

static void on_auth(void *arg, enum auth_result result)
{
	struct session *s = arg;

	s->check = NULL;
	switch (result) {
	case AUTH_OK:
		smtp_server_answer(s->engine, 235, "2.7.0", "Authentication successful");
		log_info("smtpd", "login %s from %s", smtp_server_user(s->engine), s->ip);
		break;
	case AUTH_BAD:
		smtp_server_answer(s->engine, 535, "5.7.8", "Authentication credentials invalid");
		log_notice("smtpd", "login refused from %s", s->ip);
		break;
	case AUTH_ERROR:
	case AUTH_NONE:
		smtp_server_answer(s->engine, 454, "4.7.0", "Temporary authentication failure");
		break;
	}
	mta_mark(&s->work);
}

static void act(struct session *s, const struct smtp_server_action *a, struct now now)
{
	switch (a->kind) {
	case SMTP_SERVER_ASK_AUTH:
		s->check = auth_check(s->work.mta->auth, a->user, a->password, on_auth, s);
		break;
	case SMTP_SERVER_ASK_MAIL:
		session_on_mail(s, a, now);
		break;
	case SMTP_SERVER_ASK_RCPT:
		session_on_rcpt(s, a, now);
		break;
	case SMTP_SERVER_ASK_DATA:
		session_on_data(s, now);
		break;
	case SMTP_SERVER_BODY:
		session_on_body(s, a->chunk);
		break;
	case SMTP_SERVER_COMMIT:
		session_on_commit(s, a, now);
		break;
	case SMTP_SERVER_RESET:
		session_on_reset(s);
		break;
	case SMTP_SERVER_CLOSE:
		s->closing = true;
		s->close_at_ms = now.mono_ms + SESSION_CLOSE_TIMEOUT_MS;
		break;
	case SMTP_SERVER_START_TLS:
	case SMTP_SERVER_NONE:
		break;
	}
}

/* Feeds input and does what the engine asks until it has nothing more. True when STARTTLS is to
 * begin. */
static bool drive(struct session *s, struct now now)
{
	struct buf *in = stream_input(s->stream);
	struct smtp_server_action a;

	for (int i = 0; i < SESSION_ACTIONS_PER_STEP && !s->closing; i++) {
		size_t used = buf_len(in) ? smtp_server_feed(s->engine, buf_slice(in), now) : 0;
		buf_consume(in, used);
		smtp_server_next(s->engine, &a);
		if (a.kind == SMTP_SERVER_START_TLS)
			return true;
		if (a.kind == SMTP_SERVER_NONE && used == 0) {
			stream_resume(s->stream);
			return false;
		}
		act(s, &a, now);
	}
	if (!s->closing)
		mta_mark(&s->work); /* more to do: others first */
	stream_resume(s->stream);
	return false;
}

static void greet(struct session *s)
{
	s->greeted = true;
	if (s->refusal)
		smtp_server_greet(s->engine, 421, "4.7.0", s->refusal);
	else
		smtp_server_greet(s->engine, 220, NULL, NULL);
}

static void session_lost(struct session *s, struct now now)
{
	struct smtp_server_action a;

	if (stream_error(s->stream) == ERR_TLS)
		log_info("smtpd", "TLS with %s failed: %s", s->ip, stream_error_text(s->stream));
	smtp_server_eof(s->engine);
	do {
		smtp_server_next(s->engine, &a);
		act(s, &a, now);
	} while (a.kind != SMTP_SERVER_NONE && a.kind != SMTP_SERVER_CLOSE);
	session_end(s);
}

/*
 * Between the 220 to STARTTLS and the end of the handshake. Returns true when
 * the session can go on. Anything received in clear behind STARTTLS ends it
 * (command injection, RFC 3207 with its errata).
 */
static bool pass_starttls(struct session *s, struct now now)
{
	const struct tls_info *tls = stream_tls(s->stream);
	struct buf *out = smtp_server_output(s->engine);

	if (tls) {
		s->starting_tls = false;
		smtp_server_tls_done(s->engine, true, tls->version);
		return true;
	}
	if (buf_len(stream_input(s->stream)) > 0 || stream_send(s->stream, out) < 0 ||
	    now.mono_ms >= s->close_at_ms)
		session_lost(s, now);
	else if (buf_len(out) > 0)
		mta_deadline(&s->work, s->close_at_ms);
	else
		start_tls(s);
	return false;
}

/* Who says nothing for a while costs little: most of the sessions of a busy day are such. */
static void rest_if_idle(struct session *s, bool active, struct now now)
{
	if (active) {
		s->rest_at_ms = now.mono_ms + SESSION_REST_AFTER_MS;
	} else if (now.mono_ms >= s->rest_at_ms) {
		s->rest_at_ms = INT64_MAX;
		smtp_server_rest(s->engine);
		stream_rest(s->stream);
	}
}

static bool is_over(const struct session *s, struct now now)
{
	if (s->closing)
		return buf_len(smtp_server_output(s->engine)) == 0 || now.mono_ms >= s->close_at_ms;
	return stream_state(s->stream) == STREAM_EOF && buf_len(stream_input(s->stream)) == 0 &&
	       !s->commit && !s->check;
}

static void session_step(struct mta_work *w, struct now now)
{
	struct session *s = container_of(w, struct session, work);
	enum stream_state state = stream_state(s->stream);
	struct buf *out = smtp_server_output(s->engine);

	if (state == STREAM_HANDSHAKE)
		return; /* the stream bounds its time */
	if (state == STREAM_FAILED) {
		session_lost(s, now);
		return;
	}
	if (s->starting_tls && !pass_starttls(s, now))
		return;
	if (!s->greeted)
		greet(s);
	rest_if_idle(s, buf_len(stream_input(s->stream)) > 0 || buf_len(out) > 0, now);
	smtp_server_tick(s->engine, now);
	if (!s->closing && buf_len(out) <= SESSION_OUTPUT_PAUSE && drive(s, now)) {
		s->starting_tls = true;
		s->close_at_ms = now.mono_ms + SESSION_TLS_TIMEOUT_MS;
		pass_starttls(s, now);
		return;
	}
	size_t unsent = buf_len(out);
	if (stream_send(s->stream, out) < 0 || is_over(s, now)) {
		session_lost(s, now);
		return;
	}
	/* What waited for the client to take our replies goes on: no event of the stream will say
	 * so. */
	if (unsent > SESSION_OUTPUT_PAUSE && buf_len(out) <= SESSION_OUTPUT_PAUSE)
		mta_mark(w);
	mta_deadline(w,
	    MIN(s->rest_at_ms, s->closing ? s->close_at_ms : smtp_server_deadline(s->engine)));
}
