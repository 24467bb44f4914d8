/*
 * io/stream.h: the daemon's end of the connections of the simulated world.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_conn.h"
#include "sim/sim_disk.h"

static struct list_node streams = { &streams, &streams };
static size_t streams_n;

static void on_call(struct sim_call *c)
{
	struct stream *s = container_of(c, struct stream, call);
	enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);

	s->fn(s->arg);
	sim_mem_side(before);
}

void sim_stream_notify(struct stream *s)
{
	sim_post(&s->call);
}

void sim_stream_fail(struct stream *s, int error)
{
	if (s->state == STREAM_FAILED)
		return;
	s->state = STREAM_FAILED;
	s->error = error;
	sim_timer_cancel(&s->timer);
}

static struct stream *stream_new(struct loop *l, stream_notify_fn *fn, void *arg,
    void (*on_timer)(struct sim_timer *))
{
	struct stream *s = mem_zalloc(sizeof(*s));

	sim_loop_check(l);
	s->fn = fn;
	s->arg = arg;
	sim_call_init(&s->call, l, on_call);
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

/* --- the daemon connects -------------------------------------------------------------------- */

void sim_stream_join(struct stream *s, struct sim_conn *c)
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
		sim_stream_fail(s, ERR_TLS);
	} else if (s->dialed.error) {
		sim_stream_fail(s, s->dialed.error);
	} else {
		struct sim_dialed *d = &s->dialed;
		struct sim_conn *c = sim_conn_new(&d->link, d->party, d->arg);
		c->to = s->peer;
		sim_stream_join(s, c);
		d->joined(d->arg, c);
		if (c->party)
			c->party->open(c->arg);
	}
	sim_stream_notify(s);
}

struct stream *stream_connect(struct loop *l, const struct stream_connect_options *o,
    stream_notify_fn *fn, void *arg)
{
	SIM_WORLD_SIDE;
	struct stream *s = stream_new(l, fn, arg, on_timer);

	CHECK(o->unix_path == NULL);
	s->state = STREAM_CONNECTING;
	s->peer = o->to;
	sim_dial(&o->to, &s->dialed);
	if (s->dialed.site)
		sim_busy_open(s->dialed.site, 1);
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
	sim_loop_check(s->call.loop);
	*sp = NULL;
	c = s->conn;
	sim_timer_cancel(&s->timer);
	sim_call_cancel(&s->call);
	if (s->dialed.site)
		sim_busy_open(s->dialed.site, -1);
	if (c) {
		c->stream = NULL;
		c->watch = NULL;
		c->to_party.eof = true;
		if (c->party)
			sim_conn_schedule(c, &c->to_party);
		sim_conn_free_if_over(c);
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
	sim_loop_check(s->call.loop);
	return &s->input;
}

void stream_resume(struct stream *s)
{
	SIM_WORLD_SIDE;

	if (!s->paused || !s->conn || buf_len(&s->input) == STREAM_INPUT_MAX)
		return;
	s->paused = false;
	sim_conn_schedule(s->conn, &s->conn->to_daemon);
}

bool stream_has_room(const struct stream *s)
{
	return (s->state == STREAM_OPEN || s->state == STREAM_EOF) && !s->blocked;
}

/* Of n bytes, what the socket takes now. */
static size_t room_for(const struct stream *s, size_t n)
{
	size_t in_flight = MIN(buf_len(&s->conn->to_party.bytes), (size_t)CONN_WINDOW_BYTES);

	n = MIN(n, CONN_WINDOW_BYTES - in_flight);
	return n > 1 && sim_chance(5) ? 1 + (size_t)sim_below(n) : n;
}

static void take(struct stream *s, struct slice bytes)
{
	struct pipe *p = &s->conn->to_party;

	if (buf_add_slice(&p->bytes, bytes) < 0)
		UNREACHABLE();
	if (sim.broken == SIM_BREAK_BODY && bytes.n > 500 && sim_chance(2))
		p->bytes.mem[p->bytes.tail - bytes.n / 4] ^= 1;
	sim_conn_schedule(s->conn, p);
}

int stream_send_parts(struct stream *s, const struct slice *parts, size_t n, bool more UNUSED,
    size_t *sent)
{
	SIM_WORLD_SIDE;
	size_t all = 0;

	sim_loop_check(s->call.loop);
	*sent = 0;
	CHECK(n <= STREAM_PARTS_MAX);
	for (size_t i = 0; i < n; i++)
		all += parts[i].n;
	if (s->state == STREAM_FAILED)
		return s->error;
	if (!stream_has_room(s) || all == 0)
		return 0;
	size_t room = room_for(s, all);
	for (size_t i = 0; i < n && *sent < room; i++) {
		size_t most = MIN(parts[i].n, room - *sent);
		take(s, slice_of(parts[i].p, most));
		*sent += most;
	}
	s->blocked = *sent < all;
	return 0;
}

int stream_send(struct stream *s, struct buf *out)
{
	struct slice all = buf_slice(out);
	size_t sent;
	int r = stream_send_parts(s, &all, 1, false, &sent);

	buf_consume(out, sent);
	return r;
}

int stream_send_file(struct stream *s, int fd, uint64_t offset, size_t n, size_t *sent)
{
	SIM_WORLD_SIDE;
	const struct qio *io = sim_disk_qio();

	sim_loop_check(s->call.loop);
	*sent = 0;
	CHECK(!s->tls_up);
	if (s->state == STREAM_FAILED)
		return s->error;
	if (!stream_has_room(s))
		return 0;
	if (sim_chance(5))
		return -EINVAL; /* a kind of file that it can't be done with */
	size_t room = room_for(s, n);
	char *bytes = mem_alloc(room + 1);
	ssize_t r = io->pread(io->arg, fd, bytes, room, offset);
	if (r > 0)
		take(s, slice_of(bytes, (size_t)r));
	mem_free(bytes);
	if (r < 0)
		return (int)r;
	*sent = (size_t)r;
	s->blocked = *sent < n;
	return *sent < room ? ERR_CORRUPT : 0;
}

void stream_start_tls(struct stream *s, const struct stream_tls_options *o)
{
	SIM_WORLD_SIDE;

	sim_loop_check(s->call.loop);
	if (s->state == STREAM_FAILED)
		return;
	CHECK(s->state == STREAM_OPEN || s->state == STREAM_EOF);
	CHECK(!s->tls_up);
	CHECK(buf_len(&s->input) == 0);
	if (s->state == STREAM_EOF) {
		sim_stream_fail(s, ERR_TLS);
		sim_stream_notify(s);
		return;
	}
	s->state = STREAM_HANDSHAKE;
	sim_timer_in(&s->timer, o->timeout_ms);
	if (s->conn->party && !s->conn->silent)
		s->conn->party->tls(s->conn->arg);
}

void stream_rest(struct stream *s)
{
	if (buf_len(&s->input) == 0)
		buf_fini(&s->input);
}

struct stream *stream_from_fd(struct loop *l, int fd, stream_notify_fn *fn, void *arg)
{
	SIM_WORLD_SIDE;
	struct stream *s = stream_new(l, fn, arg, on_timer);
	struct sim_conn *c = sim_conn_find(fd);

	sim_stream_join(s, c);
	s->peer = c->from;
	sim_conn_schedule(c, &c->to_daemon);
	return s;
}

const struct tls_info *stream_tls(const struct stream *s)
{
	return s->tls_up ? &s->tls : NULL;
}

/* --- the end of a daemon ---------------------------------------------------------------------- */

void sim_stream_drop(bool power)
{
	sim_listen_drop();
	while (!list_is_empty(&streams)) {
		struct stream *s = list_first(&streams, struct stream, node);
		if (power && s->conn)
			sim_conn_hang(s->conn);
		stream_close(&s);
	}
}
