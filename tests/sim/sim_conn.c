/*
 * A connection between the daemon and a party of the world.
 *
 * Each direction is a pipe: bytes wait in it, and a timer delivers them in
 * pieces. What was sent before a close or a reset of the sender still
 * arrives, mostly; a doomed connection breaks after a random number of
 * deliveries: reset, ended, or silent for ever.
 */
#include "sim/sim_conn.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

static struct list_node conns = { &conns, &conns };
static unsigned next_id;

static void deliver_daemon(struct sim_timer *t);
static void deliver_party(struct sim_timer *t);

static void pipe_init(struct pipe *p, void (*fn)(struct sim_timer *))
{
	buf_init(&p->bytes, SIZE_MAX / 2);
	sim_timer_init(&p->timer, fn);
}

struct sim_conn *sim_conn_new(const struct sim_link *link, const struct sim_party *party, void *arg)
{
	struct sim_conn *c = mem_zalloc(sizeof(*c));

	c->id = ++next_id;
	c->link = *link;
	c->party = party;
	c->arg = arg;
	pipe_init(&c->to_daemon, deliver_daemon);
	pipe_init(&c->to_party, deliver_party);
	if (sim_permille(link->doom))
		c->deliveries_left = (unsigned)sim_between(1, 24);
	list_push(&conns, &c->node);
	return c;
}

struct sim_conn *sim_conn_find(int fd)
{
	struct sim_conn *c = NULL;

	list_foreach(it, &conns) {
		c = list_entry(it, struct sim_conn, node);
		if ((int)c->id == fd - CONN_FD_FIRST)
			break;
	}
	CHECK(c && (int)c->id == fd - CONN_FD_FIRST);
	return c;
}

void sim_conn_keep(struct sim_conn *c)
{
	list_push(&conns, &c->node);
}

void sim_conn_free_if_over(struct sim_conn *c)
{
	if (c->stream || !c->taken || c->party)
		return;
	sim_timer_cancel(&c->to_daemon.timer);
	sim_timer_cancel(&c->to_party.timer);
	buf_fini(&c->to_daemon.bytes);
	buf_fini(&c->to_party.bytes);
	list_remove(&c->node);
	mem_free(c);
}

void sim_conn_party_gone(struct sim_conn *c)
{
	const struct sim_party *party = c->party;

	c->party = NULL;
	c->watch = NULL;
	if (party)
		party->gone(c->arg);
}

static int64_t delay(const struct sim_conn *c)
{
	return c->link.latency_ms + (int64_t)sim_below((uint64_t)c->link.latency_ms / 4 + 1);
}

void sim_conn_schedule(struct sim_conn *c, struct pipe *p)
{
	if (!p->timer.slot && !c->silent)
		sim_timer_in(&p->timer, delay(c));
}

/* The doom of a connection strikes; true if it did. */
static bool is_struck(struct sim_conn *c)
{
	if (c->deliveries_left == 0 || --c->deliveries_left > 0)
		return false;
	uint64_t how = sim_below(3);
	sim_trace("conn %u: %s", c->id, how == 0 ? "reset" : how == 1 ? "ends" : "silent");
	if (how == 2) {
		sim_conn_hang(c);
		return true;
	}
	if (c->stream) {
		if (how == 0)
			sim_stream_fail(c->stream, -ECONNRESET);
		else if (c->stream->state == STREAM_OPEN)
			c->stream->state = STREAM_EOF;
		else
			sim_stream_fail(c->stream, ERR_TLS);
		sim_stream_notify(c->stream);
	}
	sim_conn_party_gone(c);
	sim_conn_free_if_over(c);
	return true;
}

static size_t piece(const struct sim_conn *c, size_t n, bool to_daemon)
{
	if (n <= 1)
		return n;
	if (to_daemon && c->link.bytewise)
		return 1;
	return sim_chance(15) ? 1 + (size_t)sim_below(n) : n;
}

static void note_watch(struct sim_conn *c)
{
	if (!c->watch || c->to_daemon.delivered < c->watch_at)
		return;
	*c->watch = sim.now_ms;
	c->watch = NULL;
}

static void end_daemon(struct sim_conn *c)
{
	struct stream *s = c->stream;

	if (s && c->to_daemon.reset)
		sim_stream_fail(s, -ECONNRESET);
	else if (s && s->state == STREAM_HANDSHAKE)
		sim_stream_fail(s, ERR_TLS);
	else if (s && s->state == STREAM_OPEN)
		s->state = STREAM_EOF;
	if (s)
		sim_stream_notify(s);
}

static void deliver_daemon(struct sim_timer *t)
{
	struct sim_conn *c = container_of(t, struct sim_conn, to_daemon.timer);
	struct pipe *p = &c->to_daemon;
	struct stream *s = c->stream;

	if (c->silent || is_struck(c))
		return;
	size_t room = s ? STREAM_INPUT_MAX - buf_len(&s->input) : 0;
	size_t wanted = piece(c, buf_len(&p->bytes), true), n = MIN(wanted, room);
	if (s && s->state == STREAM_OPEN && n > 0) {
		if (buf_add(&s->input, buf_ptr(&p->bytes), n) < 0)
			UNREACHABLE();
		buf_consume(&p->bytes, n);
		p->delivered += n;
		note_watch(c);
		sim_stream_notify(s);
	}
	if (s && s->state == STREAM_OPEN && buf_len(&p->bytes) > 0) {
		s->paused = STREAM_INPUT_MAX == buf_len(&s->input);
		if (!s->paused)
			sim_timer_in(t, c->link.bytewise ? 1 : sim_between(0, 5));
	} else if (buf_len(&p->bytes) == 0 && p->eof) {
		end_daemon(c);
	}
}

static void deliver_party(struct sim_timer *t)
{
	struct sim_conn *c = container_of(t, struct sim_conn, to_party.timer);
	struct pipe *p = &c->to_party;
	char bytes[CONN_WINDOW_BYTES];

	if (c->silent || is_struck(c))
		return;
	size_t wanted = piece(c, buf_len(&p->bytes), false), n = MIN(wanted, sizeof(bytes));
	memcpy(bytes, n ? buf_ptr(&p->bytes) : "", n);
	buf_consume(&p->bytes, n);
	if (c->stream && c->stream->blocked) {
		c->stream->blocked = false;
		sim_stream_notify(c->stream);
	}
	if (buf_len(&p->bytes) > 0)
		sim_timer_in(t, sim_between(0, 5));
	else if (p->eof)
		sim_timer_in(t, 0);
	if (n == 0 && p->eof) {
		sim_timer_cancel(t);
		sim_conn_party_gone(c);
		sim_conn_free_if_over(c);
	} else if (n > 0 && c->party) {
		c->party->data(c->arg, bytes, n); /* may close c */
	} else if (n > 0 && c->stream) {
		/* Nobody is there any more. */
		sim_stream_fail(c->stream, -EPIPE);
		sim_stream_notify(c->stream);
	}
}

void sim_conn_send(struct sim_conn *c, const char *p, size_t n)
{
	if (buf_add(&c->to_daemon.bytes, p, n) < 0)
		UNREACHABLE();
	c->to_daemon.sent += n;
	sim_conn_schedule(c, &c->to_daemon);
}

void sim_conn_watch(struct sim_conn *c, int64_t *at_ms)
{
	c->watch = at_ms;
	c->watch_at = c->to_daemon.sent;
}

void sim_conn_close(struct sim_conn *c)
{
	c->party = NULL;
	c->to_daemon.eof = true;
	sim_conn_schedule(c, &c->to_daemon);
	sim_conn_free_if_over(c);
}

void sim_conn_reset(struct sim_conn *c)
{
	buf_clear(&c->to_daemon.bytes);
	c->to_daemon.reset = true;
	c->watch = NULL;
	sim_conn_close(c);
}

void sim_conn_hang(struct sim_conn *c)
{
	c->silent = true;
	c->watch = NULL;
	sim_timer_cancel(&c->to_daemon.timer);
	sim_timer_cancel(&c->to_party.timer);
}

unsigned sim_conn_id(const struct sim_conn *c)
{
	return c->id;
}

void sim_conn_tls(struct sim_conn *c, bool good)
{
	struct stream *s = c->stream;

	if (!s || s->state != STREAM_HANDSHAKE || c->silent)
		return;
	sim_timer_cancel(&s->timer);
	sim_stream_notify(s);
	if (!good) {
		sim_stream_fail(s, ERR_TLS);
		return;
	}
	s->state = STREAM_OPEN;
	s->tls_up = true;
	s->tls = (struct tls_info){ .version = "TLSv1.3", .cipher = "SIMULATED" };
}
