#include "core/connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/delivery.h"
#include "core/dispatch.h"
#include "core/limits.h"
#include "core/pool.h"

#define CONNECTION_RANK_MS        60000 /* then better hosts are tried again */
#define CONNECTION_REST_AFTER_MS  1000  /* of idleness */
#define CONNECTION_BYTES_PER_TURN (512 * 1024)
#define CONNECTION_PIECE_BYTES    (64 * 1024) /* of a body that is read */

static void connection_step(struct mta_work *w, struct now now);

static void on_stream(void *arg)
{
	struct connection *c = arg;
	mta_mark(&c->work);
}

/* --- beginning and end ------------------------------------------------------------- */

static const struct route_hop *hop_of(const struct connection *c)
{
	return c->to.hop;
}

static void describe_host(struct connection *c)
{
	struct attempt_host *h = &c->host;

	snprintf(h->host, sizeof(h->host), "%s", c->to.host);
	h->mode = c->to.hop && c->to.hop->lmtp ? "lmtp" : "smtp";
	if (c->to.addr.family == NETADDR_UNIX)
		return;
	netaddr_format_ip(&c->to.addr, h->ip);
	h->port = c->to.addr.port;
}

static struct connection *connection_new(struct mta *m, struct site *site,
    const struct connection_target *t)
{
	struct connection *c = mem_zalloc(sizeof(*c));

	mta_work_init(&c->work, m, connection_step);
	list_init(&c->open);
	list_init(&c->idle);
	list_init(&c->outbox);
	c->conf = conf_ref(t->conf);
	c->site = site;
	c->resolution = resolution_ref(t->resolution);
	c->to = *t->to;
	c->route = t->route;
	c->level = t->level;
	c->in_clear = t->in_clear;
	c->chunking = site->traffic->chunking && !site->no_chunking;
	list_push(&m->pool->all, &c->in_pool);
	m->pool->connections_n++;
	list_push(&site->connections, &c->in_site);
	site->connections_n++;
	describe_host(c);
	return c;
}

static void close_to_others(struct connection *c)
{
	if (!list_is_linked(&c->open))
		return;
	list_remove(&c->open);
	c->site->open_n--;
}

/* Those that rest come before those that are busy, and the one used last before others: so that
 * those that are not needed grow old and go. */
static void open_to_others(struct connection *c)
{
	close_to_others(c);
	if (c->with_n == 0)
		list_push_front(&c->site->open, &c->open);
	else
		list_push(&c->site->open, &c->open);
	c->site->open_n++;
}

static void count(struct connection *c, bool stands)
{
	struct site *s = c->site;
	bool busy = stands && c->with_n > 0;

	s->standing_n += (unsigned)stands - (unsigned)c->stands;
	s->busy_n += (unsigned)busy - (unsigned)c->busy;
	c->stands = stands;
	c->busy = busy;
}

/* There may be room: for who has waited longest for it, or for the next item. The site may be gone
 * after this. */
static void changed(struct mta *m, struct site *site)
{
	if (!list_is_empty(&site->waiting))
		delivery_wake(list_first(&site->waiting, struct delivery, waits));
	dispatch_touch(m->dispatch, site);
}

void connection_close(struct connection *c)
{
	struct mta *m = c->work.mta;
	struct site *site = c->site;

	for (size_t i = 0; i < c->with_n; i++)
		delivery_left(c->with[i]);
	close_to_others(c);
	count(c, false);
	list_remove(&c->in_pool);
	list_remove(&c->in_site);
	list_remove(&c->idle);
	list_remove(&c->outbox);
	m->pool->connections_n--;
	limits_end(m->limits, LIMITS_CONNECTIONS);
	site->connections_n--;
	site->leaving_n -= c->leaving;
	smtp_client_free(&c->client);
	stream_close(&c->stream);
	mta_work_fini(&c->work);
	resolution_unref(&c->resolution);
	conf_unref(&c->conf);
	mem_free(c);
	changed(m, site);
}

/* Only commands are left to say, and nobody listens for the answer. */
static void say_last(struct connection *c)
{
	struct smtp_client_output o;
	size_t sent;

	smtp_client_output(c->client, &o);
	CHECK(!o.body);
	if (stream_send_parts(c->stream, &o.text, 1, false, &sent) < 0)
		log_debug("delivery", "goodbye to %s not sent", c->host.host);
}

void connection_give_way(struct connection *c)
{
	CHECK(c->with_n == 0);
	smtp_client_quit(c->client, c->work.mta->now);
	say_last(c);
	connection_close(c);
}

/* A unix socket is its hop's. */
static bool same_address(const struct netaddr *a, const struct netaddr *b)
{
	if (a->family == NETADDR_UNIX || b->family == NETADDR_UNIX)
		return a->family == b->family;
	return a->port == b->port && netaddr_eq_ip(a, b);
}

bool connection_serves(const struct connection *c, const struct connection_target *t)
{
	if (c->chunking && c->site->no_chunking)
		return false; /* from before that was known */
	return c->conf == t->conf && c->route == t->route && c->level == t->level &&
	       c->in_clear == t->in_clear && c->to.hop == t->to->hop &&
	       same_address(&c->to.addr, &t->to->addr) && strcmp(c->to.host, t->to->host) == 0;
}

struct connection *connection_dial(struct mta *m, struct site *site,
    const struct connection_target *t, int timeout_ms, struct delivery *d)
{
	struct connection *c = connection_new(m, site, t);
	const struct route *r = c->route;
	struct stream_connect_options o = {
		.to = c->to.addr,
		.bind = r && r->has_bind && r->bind.family == c->to.addr.family ? &r->bind : NULL,
		.unix_path = c->to.addr.family == NETADDR_UNIX ? c->to.hop->unix_path : NULL,
		.timeout_ms = timeout_ms,
	};

	c->phase = CONNECTION_DIALLING;
	c->born_ms = m->now.mono_ms;
	c->with[c->with_n++] = d;
	c->messages = 1;
	c->stream = stream_connect(m->loop, &o, on_stream, c);
	return c;
}

/* --- the session --------------------------------------------------------------------- */

static enum smtp_tls_mode tls_mode(const struct connection *c)
{
	switch (c->level) {
	case TLS_LEVEL_NONE:
		return SMTP_TLS_NEVER;
	case TLS_LEVEL_MAY:
		return c->in_clear ? SMTP_TLS_NEVER : SMTP_TLS_MAY;
	case TLS_LEVEL_ENCRYPT:
	case TLS_LEVEL_VERIFY:
		return SMTP_TLS_MUST;
	case TLS_LEVEL_NONE_SET:
		break;
	}
	UNREACHABLE();
}

static void start_tls(struct connection *c)
{
	struct mta *m = c->work.mta;
	char address[NETADDR_TEXT_MAX];
	char key[NETADDR_TEXT_MAX + 16];
	struct stream_tls_options o = {
		.ctx = c->level == TLS_LEVEL_VERIFY ? m->tls_client_verify : m->tls_client_may,
		.host = c->to.host,
		.resume_key = c->to.addr.family == NETADDR_UNIX ? NULL : key,
		.timeout_ms = c->conf->outbound.timeouts.starttls_s
				  ? c->conf->outbound.timeouts.starttls_s * 1000
				  : 120000,
	};

	/* A resumed session is verified no more: what decided trust is its key. */
	snprintf(key, sizeof(key), "%s %s", netaddr_format(&c->to.addr, address),
	    tls_level_name(c->level));
	stream_start_tls(c->stream, &o);
}

/* Whether a password may go out unencrypted: the operator said tls = "none", or it stays on this
 * machine. */
static bool clear_is_safe(const struct connection *c)
{
	return c->level == TLS_LEVEL_NONE || c->to.addr.family == NETADDR_UNIX ||
	       netaddr_is_loopback(&c->to.addr);
}

static struct smtp_client *new_client(const struct connection *c, struct now now)
{
	const struct route_hop *hop = hop_of(c);
	const struct conf *conf = c->conf;
	struct smtp_client_config cfg = {
		.helo = c->route && c->route->helo[0] ? c->route->helo : conf->me,
		.lmtp = hop && hop->lmtp,
		.tls_active = stream_tls(c->stream) != NULL,
		.tls = tls_mode(c),
		.auth_user = hop && hop->user[0] ? hop->user : NULL,
		.auth_password = hop && hop->user[0] ? hop->password : NULL,
		.auth_in_clear_ok = clear_is_safe(c),
		.pipelining = c->site->traffic->pipelining,
		.overlap = true,
		.chunking = c->chunking,
		.timeouts = {
			.greeting_ms = conf->outbound.timeouts.greeting_s * 1000,
			.ehlo_ms = conf->outbound.timeouts.ehlo_s * 1000,
			.starttls_ms = conf->outbound.timeouts.starttls_s * 1000,
			.auth_ms = conf->outbound.timeouts.auth_s * 1000,
			.mail_ms = conf->outbound.timeouts.mail_s * 1000,
			.rcpt_ms = conf->outbound.timeouts.rcpt_s * 1000,
			.data_ms = conf->outbound.timeouts.data_s * 1000,
			.body_ms = conf->outbound.timeouts.body_s * 1000,
			.dot_ms = conf->outbound.timeouts.dot_s * 1000,
			.rset_ms = conf->outbound.timeouts.rset_s * 1000,
			.quit_ms = conf->outbound.timeouts.quit_s * 1000,
		},
	};

	return smtp_client_new(&cfg, now);
}

static void note_session(struct connection *c)
{
	const struct tls_info *tls = stream_tls(c->stream);

	c->host.authenticated = smtp_client_is_authenticated(c->client);
	c->host.has_tls = tls != NULL;
	if (tls)
		c->host.tls = *tls;
}

/* --- rest -------------------------------------------------------------------------------- */

static int64_t old_at(const struct connection *c)
{
	return c->born_ms + (int64_t)c->site->traffic->connection_age_s * 1000;
}

static bool is_worn(const struct connection *c, struct now now)
{
	const struct conf_traffic *t = c->site->traffic;

	return c->messages >= t->deliveries_per_connection || now.mono_ms >= old_at(c) ||
	       c->site->standing_n > window_size(&c->site->window) ||
	       c->conf != c->work.mta->conf || c->work.mta->phase != MTA_PHASE_RUNNING;
}

/* From here on it only waits for the peer to take leave. */
static void note_leaving(struct connection *c)
{
	struct mta *m = c->work.mta;

	CHECK(c->with_n == 0);
	c->leaving = true;
	c->site->leaving_n++;
	count(c, false);
	close_to_others(c);
	list_remove(&c->idle);
	list_push(&m->pool->leaving, &c->idle);
	changed(m, c->site);
}

static void leave(struct connection *c, struct now now)
{
	note_leaving(c);
	smtp_client_quit(c->client, now);
	mta_mark(&c->work);
}

void connection_retire(struct connection *c, struct now now)
{
	if (c->leaving)
		return;
	if (c->phase == CONNECTION_TALKING && c->with_n == 0)
		leave(c, now);
	else
		mta_mark(&c->work); /* it is worn now: no other message is to follow the last */
}

/* When a connection that is open to others is so no more. */
static int64_t open_until(const struct connection *c)
{
	int64_t rested_ms = c->rests_ms + (int64_t)c->site->traffic->idle_timeout_s * 1000;

	return c->with_n == 0 ? MIN(rested_ms, old_at(c)) : old_at(c);
}

static void rest_if_idle(struct connection *c, struct now now)
{
	if (c->with_n > 0 || c->resting || now.mono_ms < c->rests_ms + CONNECTION_REST_AFTER_MS)
		return;
	c->resting = true;
	stream_rest(c->stream);
}

/* The engine takes a message: it is offered to the site, or it is time to go. */
static void offer(struct connection *c, struct now now)
{
	if (c->leaving)
		return;
	if (c->with_n == 0 && smtp_client_is_over(c->client)) {
		note_leaving(c);
		return;
	}
	if (!c->ready)
		return;
	if (is_worn(c, now)) {
		close_to_others(c);
		if (c->with_n == 0)
			leave(c, now);
	} else if (!list_is_linked(&c->open)) {
		c->rests_ms = now.mono_ms;
		open_to_others(c);
		changed(c->work.mta, c->site);
	} else if (now.mono_ms >= open_until(c)) {
		leave(c, now); /* it is worn if it is busy: so it rests */
	} else {
		rest_if_idle(c, now);
	}
}

/* --- talking ---------------------------------------------------------------------------------- */

void connection_take(struct connection *c, struct delivery *d, struct now now)
{
	CHECK(c->ready);
	CHECK(c->with_n < CONNECTION_WITH_MAX);
	close_to_others(c);
	list_remove(&c->idle);
	c->ready = c->resting = false;
	c->with[c->with_n++] = d;
	c->messages++;
	count(c, true);
	smtp_client_send(c->client, delivery_message(d), now);
	mta_mark(&c->work);
}

/* Mail can go over it from now on. */
static void note_begin(struct connection *c, struct now now)
{
	struct site *s = c->site;

	if (c->stands || c->leaving || !smtp_client_is_established(c->client) ||
	    smtp_client_is_over(c->client))
		return;
	count(c, true);
	window_connected(&s->window, s->standing_n, now.mono_ms);
	changed(c->work.mta, s);
}

/* No session came about, or the one there was is over. */
static void note_failure(struct connection *c, struct now now)
{
	struct window *w = &c->site->window;
	const struct smtp_result *why = smtp_client_session_result(c->client);
	struct verdict v;

	if (c->stands && smtp_client_is_over(c->client))
		count(c, false);
	if (smtp_client_is_established(c->client) || why->stage == SMTP_STAGE_NONE)
		return;
	verdict_of_result(why, false, &v);
	if (v.pressure == VERDICT_PRESSURE_CONNECTIONS)
		window_refused(w, c->site->standing_n, now.mono_ms);
	else if (why->err != ERR_TLS) /* that is no matter of how many */
		window_failed(w, c->site->standing_n, now.mono_ms);
}

/* The host has said all it will say about the oldest message. */
static void message_done(struct connection *c, struct now now)
{
	struct delivery *d = c->with[0];

	CHECK(c->with_n > 0);
	c->with_n--;
	memmove(&c->with[0], &c->with[1], c->with_n * sizeof(c->with[0]));
	if (c->with_n == 0) { /* the engine says READY again, or has had enough */
		c->ready = false;
		close_to_others(c);
		c->rests_ms = now.mono_ms;
		list_push(&c->work.mta->pool->idle, &c->idle);
	}
	note_session(c);
	note_failure(c, now);
	if (smtp_client_refused_chunking(c->client) && !c->site->no_chunking) {
		log_info("delivery", "%s offers CHUNKING but refuses BDAT: not used for this site",
		    c->host.host);
		c->site->no_chunking = true;
	}
	delivery_answered(d, c, now);
	count(c, c->stands);
}

/* Which hosts of the site answer: those before it did not, when it was dialled. */
static void note_rank(struct connection *c, struct now now)
{
	if (c->messages > 1)
		return;
	c->site->rank = c->to.rank;
	c->site->rank_until_ms = now.mono_ms + CONNECTION_RANK_MS;
}

/* Does what the engine asks. False when c is gone. */
static bool drive(struct connection *c, struct now now)
{
	note_begin(c, now);
	for (;;) {
		switch (smtp_client_next(c->client)) {
		case SMTP_CLIENT_NONE:
			offer(c, now);
			return true;
		case SMTP_CLIENT_READY:
			c->ready = true;
			note_rank(c, now);
			break;
		case SMTP_CLIENT_NEED_BODY:
			delivery_give_body(c->with[c->with_n - 1], c->client, now);
			break;
		case SMTP_CLIENT_START_TLS:
			c->tls_running = true;
			start_tls(c);
			return true;
		case SMTP_CLIENT_MSG_DONE:
			message_done(c, now);
			break;
		case SMTP_CLIENT_CLOSE:
			CHECK(c->with_n == 0); /* MSG_DONE came first */
			say_last(c);
			connection_close(c);
			return false;
		}
	}
}

static void want_flush(struct connection *c)
{
	if (!list_is_linked(&c->outbox) && smtp_client_pending(c->client) > 0)
		list_push(&c->work.mta->pool->outbox, &c->outbox);
}

static void set_deadline(struct connection *c)
{
	int64_t at = smtp_client_deadline(c->client);

	if (list_is_linked(&c->open))
		at = MIN(at, open_until(c));
	if (list_is_linked(&c->open) && c->with_n == 0 && !c->resting)
		at = MIN(at, c->rests_ms + CONNECTION_REST_AFTER_MS);
	mta_deadline(&c->work, at);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The body, or as much of it as there is room for, between what stands around it. */
static int send_from_memory(struct connection *c, const struct smtp_client_output *o,
    struct slice body, uint64_t *sent)
{
	struct slice parts[] = { o->text, body, o->after };
	size_t n;

	_Static_assert(ARRAY_LEN(parts) <= STREAM_PARTS_MAX, "in one write");
	if (body.n < o->body_n)
		parts[2] = SLICE_NONE;
	int r = stream_send_parts(c->stream, parts, ARRAY_LEN(parts), body.n < o->body_n, &n);
	*sent = n;
	return r;
}

static int send_read(struct connection *c, const struct smtp_client_output *o, uint64_t *sent)
{
	char piece[CONNECTION_PIECE_BYTES];
	size_t want = (size_t)MIN(o->body_n, sizeof(piece));
	ssize_t n = queue_body_read(o->body, o->body_at, piece, want);

	*sent = 0;
	if (n <= 0)
		return n < 0 ? (int)n : ERR_CORRUPT;
	return send_from_memory(c, o, slice_of(piece, (size_t)n), sent);
}

/* The kernel sends it, later, from where it lies; what stands before it goes first, and is told
 * that there is more. */
static int send_from_file(struct connection *c, const struct smtp_client_output *o, uint64_t *sent)
{
	uint64_t begin;
	int fd = queue_body_file(o->body, &begin);
	size_t n = (size_t)MIN(o->body_n, (uint64_t)CONNECTION_BYTES_PER_TURN);

	if (fd < 0)
		return send_read(c, o, sent);
	if (o->text.n > 0)
		return send_from_memory(c, o, SLICE_NONE, sent);
	int r = stream_send_file(c->stream, fd, begin + o->body_at, n, &n);
	*sent = n;
	return r == -EINVAL ? send_read(c, o, sent) : r;
}

static int send_some(struct connection *c, const struct smtp_client_output *o, uint64_t *sent)
{
	struct slice memory = o->body ? queue_body_memory(o->body) : SLICE_NONE;

	if (!o->body)
		return send_from_memory(c, o, SLICE_NONE, sent);
	if (memory.p)
		return send_from_memory(c, o, slice_of(memory.p + o->body_at, (size_t)o->body_n),
		    sent);
	if (stream_tls(c->stream))
		return send_read(c, o, sent);
	return send_from_file(c, o, sent);
}

static void body_failed(struct connection *c, const void *body, int err)
{
	for (size_t i = 0; i < c->with_n; i++)
		if (delivery_message(c->with[i])->body == body)
			delivery_body_failed(c->with[i], err);
	smtp_client_body_failed(c->client);
}

/* A peer that hung up may have said why first: that is heard before the loss. */
static void stream_lost(struct connection *c, struct now now)
{
	struct buf *in = stream_input(c->stream);

	if (buf_len(in) > 0)
		smtp_client_feed(c->client, buf_slice(in), now);
	buf_clear(in);
	smtp_client_lost(c->client, stream_error(c->stream), now);
}

/* Sends what the engine has to say. Returns how much of it has left. */
static uint64_t send_or_lose(struct connection *c, struct now now)
{
	struct smtp_client_output o;
	uint64_t sent;

	smtp_client_output(c->client, &o);
	int r = send_some(c, &o, &sent);
	smtp_client_sent(c->client, sent, now);
	if (stream_state(c->stream) == STREAM_FAILED)
		stream_lost(c, now);
	else if (r < 0)
		body_failed(c, o.body, r);
	return sent;
}

static bool can_send(const struct connection *c)
{
	return smtp_client_pending(c->client) > 0 && stream_has_room(c->stream);
}

void connection_flush(struct connection *c, struct now now)
{
	if (stream_state(c->stream) != STREAM_OPEN)
		return; /* its step hears of that */
	for (uint64_t sent = 0; can_send(c) && sent < CONNECTION_BYTES_PER_TURN;) {
		sent += send_or_lose(c, now);
		if (!drive(c, now))
			return;
	}
	if (can_send(c))
		mta_mark_next(&c->work);
	set_deadline(c);
}

static void talk(struct connection *c, struct now now)
{
	enum stream_state state = stream_state(c->stream);
	struct buf *in = stream_input(c->stream);

	if (c->tls_running && state != STREAM_HANDSHAKE) {
		c->tls_running = false;
		smtp_client_tls_done(c->client, stream_tls(c->stream) ? 0 : stream_error(c->stream),
		    now);
	}
	if (state == STREAM_HANDSHAKE)
		return;
	if (buf_len(in) > 0) {
		smtp_client_feed(c->client, buf_slice(in), now);
		buf_clear(in);
		stream_resume(c->stream);
	}
	if (state == STREAM_EOF || state == STREAM_FAILED)
		smtp_client_lost(c->client,
		    state == STREAM_EOF ? ERR_CLOSED : stream_error(c->stream), now);
	smtp_client_tick(c->client, now);
	if (!drive(c, now))
		return;
	want_flush(c);
	set_deadline(c);
}

static void begin_session(struct connection *c, struct now now)
{
	c->phase = CONNECTION_TALKING;
	c->host.connected = true;
	c->client = new_client(c, now);
	smtp_client_send(c->client, delivery_message(c->with[0]), now);
	talk(c, now);
}

static void give_up(struct connection *c, struct now now)
{
	struct delivery *d = c->with[0];
	struct errbuf why;
	int err = stream_error(c->stream) ? stream_error(c->stream) : ERR_CLOSED;

	errbuf_set(&why, 0, "%s", stream_error_text(c->stream));
	c->with_n = 0;
	if (err != ERR_TLS)
		window_failed(&c->site->window, c->site->standing_n, now.mono_ms);
	connection_close(c);
	delivery_unconnected(d, err == ERR_TLS ? SMTP_STAGE_STARTTLS : SMTP_STAGE_CONNECT, err,
	    why.text, now);
}

static void dialled(struct connection *c, struct now now)
{
	enum stream_state state = stream_state(c->stream);
	const struct route_hop *hop = hop_of(c);

	if (state == STREAM_CONNECTING || state == STREAM_HANDSHAKE)
		return;
	delivery_note_connecting(c->with[0], now);
	if (state != STREAM_OPEN)
		give_up(c, now);
	else if (hop && hop->tls_implicit && !stream_tls(c->stream))
		start_tls(c);
	else
		begin_session(c, now);
}

static void connection_step(struct mta_work *w, struct now now)
{
	struct connection *c = container_of(w, struct connection, work);

	if (c->phase == CONNECTION_DIALLING)
		dialled(c, now);
	else
		talk(c, now);
}
