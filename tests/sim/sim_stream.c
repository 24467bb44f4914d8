/*
 * io/stream.h and io/listen.h over connections of the simulated world.
 *
 * Each direction is a pipe: bytes wait in it, and a timer delivers them in
 * pieces. What was sent before a close or a reset of the sender still
 * arrives, mostly; a doomed connection breaks after a random number of
 * deliveries: reset, ended, or silent for ever.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/listen.h"
#include "io/stream.h"
#include "sim/sim_io.h"

#define CONN_WINDOW_BYTES (64 * 1024)
#define CONN_FD_FIRST     1000000

struct pipe {
	struct buf bytes;
	struct sim_timer timer;
	bool eof;   /* the sender is done: the last thing to be delivered */
	bool reset; /* the same, rudely */
	uint64_t sent, delivered;
};

struct sim_conn {
	struct list_node node;
	unsigned id;
	struct sim_link link;
	struct stream *stream;         /* NULL: not taken yet, or closed */
	bool taken;                    /* there was a stream, or there will never be one */
	const struct sim_party *party; /* NULL: gone */
	void *arg;
	struct pipe to_daemon, to_party;
	unsigned deliveries_left; /* before its doom; 0: none */
	bool silent;
	int64_t *watch;
	uint64_t watch_at;
	struct netaddr from, to;
	unsigned *open_count;
};

struct stream {
	struct list_node node;
	struct sim_conn *conn; /* NULL while connecting, or failed to */
	stream_notify_fn *fn;
	void *arg;
	struct sim_call call;
	struct sim_timer timer; /* connect, handshake */
	enum stream_state state;
	int error;
	struct buf input;
	bool paused, blocked;
	bool tls_up;
	struct tls_info tls;
	struct netaddr peer, local;
	struct sim_dialed dialed; /* while connecting */
};

struct listener {
	struct list_node node;
	struct netaddr address;
	char path[108];
	listen_accept_fn *fn; /* NULL: not started */
	void *arg;
	bool paused;
	struct sim_call call;
	struct list_node backlog; /* struct sim_conn.node */
};

static struct list_node conns = { &conns, &conns };
static struct list_node listeners = { &listeners, &listeners };
static struct list_node streams = { &streams, &streams };
static unsigned next_id;
static size_t streams_n;

/* --- the daemon's end ----------------------------------------------------------------- */

static void on_call(struct sim_call *c)
{
	struct stream *s = container_of(c, struct stream, call);
	enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);

	s->fn(s->arg);
	sim_mem_side(before);
}

static void notify(struct stream *s)
{
	sim_post(&s->call);
}

static void stream_fail(struct stream *s, int error)
{
	if (s->state == STREAM_FAILED)
		return;
	s->state = STREAM_FAILED;
	s->error = error;
	sim_timer_cancel(&s->timer);
}

static struct stream *stream_new(stream_notify_fn *fn, void *arg,
    void (*on_timer)(struct sim_timer *))
{
	struct stream *s = mem_zalloc(sizeof(*s));

	s->fn = fn;
	s->arg = arg;
	sim_call_init(&s->call, on_call);
	sim_timer_init(&s->timer, on_timer);
	buf_init(&s->input, STREAM_INPUT_MAX);
	list_push(&streams, &s->node);
	streams_n++;
	return s;
}

size_t sim_streams(void)
{
	return streams_n;
}

/* --- connections -------------------------------------------------------------------------- */

static void deliver_daemon(struct sim_timer *t);
static void deliver_party(struct sim_timer *t);

static void pipe_init(struct pipe *p, void (*fn)(struct sim_timer *))
{
	buf_init(&p->bytes, SIZE_MAX / 2);
	sim_timer_init(&p->timer, fn);
}

static struct sim_conn *conn_new(const struct sim_link *link, const struct sim_party *party,
    void *arg)
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

static void conn_free_if_over(struct sim_conn *c)
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

static void party_gone(struct sim_conn *c)
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

static void schedule(struct sim_conn *c, struct pipe *p)
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
			stream_fail(c->stream, -ECONNRESET);
		else if (c->stream->state == STREAM_OPEN)
			c->stream->state = STREAM_EOF;
		else
			stream_fail(c->stream, ERR_TLS);
		notify(c->stream);
	}
	party_gone(c);
	conn_free_if_over(c);
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
		stream_fail(s, -ECONNRESET);
	else if (s && s->state == STREAM_HANDSHAKE)
		stream_fail(s, ERR_TLS);
	else if (s && s->state == STREAM_OPEN)
		s->state = STREAM_EOF;
	if (s)
		notify(s);
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
		notify(s);
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
		notify(c->stream);
	}
	if (buf_len(&p->bytes) > 0)
		sim_timer_in(t, sim_between(0, 5));
	else if (p->eof)
		sim_timer_in(t, 0);
	if (n == 0 && p->eof) {
		sim_timer_cancel(t);
		party_gone(c);
		conn_free_if_over(c);
	} else if (n > 0 && c->party) {
		c->party->data(c->arg, bytes, n); /* may close c */
	} else if (n > 0 && c->stream) {
		/* Nobody is there any more. */
		stream_fail(c->stream, -EPIPE);
		notify(c->stream);
	}
}

void sim_conn_send(struct sim_conn *c, const char *p, size_t n)
{
	if (buf_add(&c->to_daemon.bytes, p, n) < 0)
		UNREACHABLE();
	c->to_daemon.sent += n;
	schedule(c, &c->to_daemon);
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
	schedule(c, &c->to_daemon);
	conn_free_if_over(c);
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

/* --- the daemon connects -------------------------------------------------------------------- */

static void become_open(struct stream *s, struct sim_conn *c)
{
	s->conn = c;
	c->stream = s;
	c->taken = true;
	s->state = STREAM_OPEN;
	s->local = (struct netaddr){ .family = NETADDR_V4, .port = 40000, .ip = { 192, 0, 2, 1 } };
}

static void on_timer(struct sim_timer *t)
{
	struct stream *s = container_of(t, struct stream, timer);

	if (s->state == STREAM_HANDSHAKE) {
		stream_fail(s, ERR_TLS);
	} else if (s->dialed.error) {
		stream_fail(s, s->dialed.error);
	} else {
		struct sim_dialed *d = &s->dialed;
		struct sim_conn *c = conn_new(&d->link, d->party, d->arg);
		c->to = s->peer;
		c->open_count = d->open_count;
		become_open(s, c);
		d->joined(d->arg, c);
		if (c->party)
			c->party->open(c->arg);
	}
	notify(s);
}

struct stream *stream_connect(struct loop *l UNUSED, const struct stream_connect_options *o,
    stream_notify_fn *fn, void *arg)
{
	SIM_WORLD_SIDE;
	struct stream *s = stream_new(fn, arg, on_timer);

	CHECK(o->unix_path == NULL);
	s->state = STREAM_CONNECTING;
	s->peer = o->to;
	sim_dial(&o->to, &s->dialed);
	if (s->dialed.open_count)
		++*s->dialed.open_count;
	if (s->dialed.error == ERR_TIMEOUT)
		s->dialed.delay_ms = o->timeout_ms;
	sim_timer_in(&s->timer, s->dialed.delay_ms);
	return s;
}

void stream_close(struct stream **sp)
{
	SIM_WORLD_SIDE;
	struct stream *s = *sp;
	struct sim_conn *c;

	if (!s)
		return;
	*sp = NULL;
	c = s->conn;
	sim_timer_cancel(&s->timer);
	sim_call_cancel(&s->call);
	if (s->dialed.open_count)
		--*s->dialed.open_count;
	if (c) {
		c->stream = NULL;
		c->watch = NULL;
		c->to_party.eof = true;
		if (c->party)
			schedule(c, &c->to_party);
		conn_free_if_over(c);
	} else if (s->dialed.arg && s->dialed.party) {
		s->dialed.party->gone(s->dialed.arg); /* never joined */
	}
	buf_fini(&s->input);
	list_remove(&s->node);
	mem_free(s);
	streams_n--;
}

enum stream_state stream_state(const struct stream *s)
{
	return s->state;
}

int stream_error(const struct stream *s)
{
	return s->error;
}

const char *stream_error_text(const struct stream *s)
{
	return s->error ? err_text(s->error) : "";
}

const struct netaddr *stream_peer(const struct stream *s)
{
	return &s->peer;
}

const struct netaddr *stream_local(const struct stream *s)
{
	return &s->local;
}

struct buf *stream_input(struct stream *s)
{
	return &s->input;
}

void stream_resume(struct stream *s)
{
	SIM_WORLD_SIDE;

	if (!s->paused || !s->conn || buf_len(&s->input) == STREAM_INPUT_MAX)
		return;
	s->paused = false;
	schedule(s->conn, &s->conn->to_daemon);
}

int stream_send(struct stream *s, struct buf *out)
{
	SIM_WORLD_SIDE;
	struct sim_conn *c = s->conn;

	if (s->state == STREAM_FAILED)
		return s->error;
	if ((s->state != STREAM_OPEN && s->state != STREAM_EOF) || s->blocked || buf_len(out) == 0)
		return 0;
	size_t room = CONN_WINDOW_BYTES - MIN(buf_len(&c->to_party.bytes), CONN_WINDOW_BYTES);
	size_t n = MIN(buf_len(out), room);
	if (n > 1 && sim_chance(5))
		n = 1 + (size_t)sim_below(n);
	if (buf_add(&c->to_party.bytes, buf_ptr(out), n) < 0)
		UNREACHABLE();
	if (sim.broken == SIM_BREAK_BODY && n > 500 && sim_chance(2))
		c->to_party.bytes.mem[c->to_party.bytes.tail - n / 4] ^= 1;
	buf_consume(out, n);
	s->blocked = buf_len(out) > 0;
	schedule(c, &c->to_party);
	return 0;
}

void stream_start_tls(struct stream *s, struct tls_ctx *ctx UNUSED, bool server,
    const char *host UNUSED, int timeout_ms)
{
	SIM_WORLD_SIDE;

	if (s->state == STREAM_FAILED)
		return;
	CHECK(!server);
	CHECK(s->state == STREAM_OPEN || s->state == STREAM_EOF);
	CHECK(!s->tls_up);
	CHECK(buf_len(&s->input) == 0);
	if (s->state == STREAM_EOF) {
		stream_fail(s, ERR_TLS);
		notify(s);
		return;
	}
	s->state = STREAM_HANDSHAKE;
	sim_timer_in(&s->timer, timeout_ms);
	if (s->conn->party && !s->conn->silent)
		s->conn->party->tls(s->conn->arg);
}

void sim_conn_tls(struct sim_conn *c, bool good)
{
	struct stream *s = c->stream;

	if (!s || s->state != STREAM_HANDSHAKE || c->silent)
		return;
	sim_timer_cancel(&s->timer);
	notify(s);
	if (!good) {
		stream_fail(s, ERR_TLS);
		return;
	}
	s->state = STREAM_OPEN;
	s->tls_up = true;
	s->tls = (struct tls_info){ .version = "TLSv1.3", .cipher = "SIMULATED" };
}

const struct tls_info *stream_tls(const struct stream *s)
{
	return s->tls_up ? &s->tls : NULL;
}

/* --- the world connects ---------------------------------------------------------------------- */

static void on_backlog(struct sim_call *call)
{
	struct listener *l = container_of(call, struct listener, call);

	while (!l->paused && l->fn && !list_is_empty(&l->backlog)) {
		struct sim_conn *c = list_first(&l->backlog, struct sim_conn, node);
		list_remove(&c->node);
		list_push(&conns, &c->node);
		c->taken = true;
		enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);
		l->fn(l->arg, CONN_FD_FIRST + (int)c->id, &c->from);
		sim_mem_side(before);
		if (c->stream)
			continue;
		c->to_party.eof = true; /* it closed the descriptor at once */
		if (c->party)
			schedule(c, &c->to_party);
		conn_free_if_over(c);
	}
}

static struct listener *find_listener(uint16_t port, const char *path)
{
	list_foreach(it, &listeners) {
		struct listener *l = list_entry(it, struct listener, node);
		if (path ? strcmp(l->path, path) == 0
			 : l->path[0] == '\0' && l->address.port == port)
			return l;
	}
	return NULL;
}

struct sim_conn *sim_connect(uint16_t port, const char *unix_path, const struct netaddr *from,
    const struct sim_link *link, const struct sim_party *party, void *arg)
{
	struct listener *l = find_listener(port, unix_path);

	if (!l)
		return NULL;
	struct sim_conn *c = conn_new(link, party, arg);
	c->from = *from;
	list_remove(&c->node);
	list_push(&l->backlog, &c->node);
	sim_post(&l->call);
	return c;
}

struct stream *stream_from_fd(struct loop *l UNUSED, int fd, stream_notify_fn *fn, void *arg)
{
	SIM_WORLD_SIDE;
	struct stream *s = stream_new(fn, arg, on_timer);
	struct sim_conn *c = NULL;

	list_foreach(it, &conns) {
		c = list_entry(it, struct sim_conn, node);
		if ((int)c->id == fd - CONN_FD_FIRST)
			break;
	}
	CHECK(c && (int)c->id == fd - CONN_FD_FIRST);
	become_open(s, c);
	s->peer = c->from;
	schedule(c, &c->to_daemon);
	return s;
}

static int listener_new(const struct netaddr *addr, const char *path, struct listener **l_r)
{
	SIM_WORLD_SIDE;
	struct listener *l = mem_zalloc(sizeof(*l));

	if (addr)
		l->address = *addr;
	snprintf(l->path, sizeof(l->path), "%s", path);
	list_init(&l->backlog);
	sim_call_init(&l->call, on_backlog);
	list_push(&listeners, &l->node);
	*l_r = l;
	return 0;
}

int listen_tcp(const struct netaddr *addr, struct listener **l_r, struct errbuf *eb UNUSED)
{
	return listener_new(addr, "", l_r);
}

int listen_unix(const char *path, struct listener **l_r, struct errbuf *eb UNUSED)
{
	return listener_new(NULL, path, l_r);
}

int listen_from_fd(int fd UNUSED, struct listener **l_r UNUSED)
{
	return -EINVAL;
}

void listen_start(struct listener *l, struct loop *loop UNUSED, listen_accept_fn *fn, void *arg)
{
	l->fn = fn;
	l->arg = arg;
	sim_post(&l->call);
}

void listen_pause(struct listener *l, bool pause)
{
	l->paused = pause;
	if (!pause)
		sim_post(&l->call);
}

static void drop_backlog(struct listener *l)
{
	list_foreach_safe(it, &l->backlog) {
		struct sim_conn *c = list_entry(it, struct sim_conn, node);
		c->taken = true;
		party_gone(c);
		conn_free_if_over(c);
	}
}

void listen_free(struct listener **lp)
{
	SIM_WORLD_SIDE;
	struct listener *l = *lp;

	if (!l)
		return;
	*lp = NULL;
	drop_backlog(l);
	list_remove(&l->node);
	sim_call_cancel(&l->call);
	mem_free(l);
}

const struct netaddr *listen_address(const struct listener *l)
{
	return &l->address;
}

/* --- the end of a daemon ---------------------------------------------------------------------- */

void sim_stream_drop(bool power)
{
	while (!list_is_empty(&listeners)) {
		struct listener *l = list_first(&listeners, struct listener, node);
		listen_free(&l);
	}
	while (!list_is_empty(&streams)) {
		struct stream *s = list_first(&streams, struct stream, node);
		if (power && s->conn)
			sim_conn_hang(s->conn);
		stream_close(&s);
	}
}
