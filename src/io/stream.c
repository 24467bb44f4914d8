#include "io/stream.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/loop_backend.h"
#include "io/stream_socket.h"
#include "io/tls_session.h"

enum {
	READ_BYTES = 4096,    /* TLS: with less room in the input, what comes takes the scratch */
	RECORD_BYTES = 16384, /* TLS: the most one record takes */
	INPUT_KEPT_BYTES = 8192, /* a bigger buffer is given back once its stream is quiet */
	QUIET_READS = 8,
	DISCARDS_MAX = 8,
};

struct stream {
	struct loop *loop;
	stream_notify_fn *fn;
	void *arg;
	enum stream_state state;
	int fd; /* -1 if there never was one */
	int error;
	char *error_text; /* NULL: none */
	struct netaddr peer;
	struct netaddr local;

	struct event readable; /* persistent, while reading is not paused */
	struct event writable; /* armed only after a write fell short */
	struct event timer;    /* connect and handshake */
	bool read_paused;      /* the input is full */
	bool write_blocked;    /* `writable` is armed: trying earlier would be in vain */

	/* What a call of the owner left to be done outside of it. */
	struct loop_call later;
	bool later_connected;
	bool later_read;
	int later_error;

	struct tls_session *tls;
	bool tls_up;
	struct buf input;
	unsigned quiet_reads; /* small ones in a row */
};

/*
 * CONNECTING -> OPEN -> [HANDSHAKE -> OPEN] -> EOF, and from each of them FAILED, which is final.
 */
static void set_state(struct stream *s, enum stream_state state)
{
	DCHECK(s->state != STREAM_FAILED || state == STREAM_FAILED);
	s->state = state;
}

static void notify(struct stream *s)
{
	s->fn(s->arg);
}

static void arm(struct event *ev)
{
	/* Fails only without memory or for a descriptor the poll can't watch: not for sockets. */
	int r = event_add(ev, NULL);
	CHECK(r == 0);
}

static void arm_timer(struct stream *s, int timeout_ms)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	int r = event_add(&s->timer, &tv);
	CHECK(r == 0);
}

static void wait_for_room(struct stream *s)
{
	s->write_blocked = true;
	arm(&s->writable);
}

static void disarm_all(struct stream *s)
{
	event_del(&s->readable);
	event_del(&s->writable);
	event_del(&s->timer);
	s->write_blocked = false;
}

static void fail(struct stream *s, int error, const char *text)
{
	set_state(s, STREAM_FAILED);
	s->error = error;
	mem_free(s->error_text);
	s->error_text = mem_strdup(text);
	disarm_all(s);
}

/* For errors that come to light inside a call of the owner: he hears of them from the loop. */
static void notify_later(struct stream *s)
{
	loop_defer(s->loop, &s->later);
}

static void end_of_input(struct stream *s)
{
	set_state(s, STREAM_EOF);
	event_del(&s->readable); /* it would report the end again and again */
}

static void pause_reading(struct stream *s)
{
	s->read_paused = true;
	event_del(&s->readable);
}

static size_t input_room(const struct stream *s)
{
	return STREAM_INPUT_MAX - buf_len(&s->input);
}

/* What can be added to the input without getting memory for it. */
static size_t input_spare(const struct stream *s)
{
	size_t spare = s->input.mem ? s->input.cap - s->input.tail : 0;
	return spare ? MIN(spare - 1, input_room(s)) : 0;
}

static void add_input(struct stream *s, const char *p, size_t n)
{
	int r = buf_add(&s->input, p, n);
	CHECK(r == 0);
}

/*
 * One read into the input's own room and, beyond that, the loop's scratch: so one call takes what
 * is there, and the buffer is no larger than what came. Returns what readv does; *asked is how
 * much would have fitted.
 */
static ssize_t read_once(struct stream *s, size_t *asked)
{
	size_t direct;
	struct iovec iov[2];
	iov[0].iov_base = buf_reserve(&s->input, input_spare(s), &direct);
	iov[0].iov_len = direct;
	iov[1].iov_base = loop_scratch(s->loop);
	iov[1].iov_len = MIN(input_room(s) - direct, LOOP_SCRATCH_BYTES);
	*asked = direct + iov[1].iov_len;
	ssize_t n = readv(s->fd, iov, 2);
	if (n <= 0)
		return n;
	buf_commit(&s->input, MIN((size_t)n, direct));
	if ((size_t)n > direct)
		add_input(s, iov[1].iov_base, (size_t)n - direct);
	s->quiet_reads = n <= READ_BYTES ? s->quiet_reads + 1 : 0;
	return n;
}

/* True if the owner has something to look at. */
static bool read_clear(struct stream *s)
{
	bool changed = false;
	for (;;) {
		size_t asked;
		if (input_room(s) == 0) {
			pause_reading(s);
			return changed;
		}
		ssize_t n = read_once(s, &asked);
		if (n == 0) {
			end_of_input(s);
			return true;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return changed;
		if (n < 0) {
			fail(s, -errno, err_text(-errno));
			return true;
		}
		changed = true;
		/* Less than asked for: the socket is empty, no need to ask again. */
		if ((size_t)n < asked)
			return true;
	}
}

/* One read, into the input if it has room for what may come, else by way of the scratch. */
static int read_record(struct stream *s, bool *filled, struct errbuf *eb)
{
	size_t spare = input_spare(s);
	bool direct = spare >= READ_BYTES || spare == input_room(s);
	size_t room = MIN(input_room(s), LOOP_SCRATCH_BYTES);
	size_t done;
	char *p = direct ? buf_reserve(&s->input, spare, &room) : loop_scratch(s->loop);
	int r = tls_session_read(s->tls, p, room, &done, eb);
	if (r != TLS_WANT_NOTHING)
		return r;
	if (direct)
		buf_commit(&s->input, done);
	else
		add_input(s, p, done);
	s->quiet_reads = done < READ_BYTES ? s->quiet_reads + 1 : 0;
	*filled = done == room;
	return r;
}

/*
 * The session reads ahead: the poll is worth asking again only once nothing is left inside. A short
 * read that left nothing most likely emptied the socket too; to be told so by it would cost a
 * syscall for each command and reply.
 */
static bool read_tls(struct stream *s)
{
	struct errbuf eb;
	bool changed = false;
	for (;;) {
		bool filled = false;
		if (input_room(s) == 0) {
			pause_reading(s);
			return changed;
		}
		int r = read_record(s, &filled, &eb);
		if (r == TLS_WANT_READ)
			return changed;
		if (r == TLS_WANT_WRITE) {
			wait_for_room(s);
			return changed;
		}
		if (r == ERR_CLOSED) {
			end_of_input(s);
			return true;
		}
		if (r < 0) {
			fail(s, r, eb.text);
			return true;
		}
		changed = true;
		if (!filled && !tls_session_has_pending(s->tls))
			return true;
	}
}

static bool read_some(struct stream *s)
{
	return s->tls_up ? read_tls(s) : read_clear(s);
}

/* True if the state changed. */
static bool advance_handshake(struct stream *s)
{
	struct errbuf eb;
	int r = tls_session_handshake(s->tls, &eb);
	if (r == TLS_WANT_READ)
		return false;
	if (r == TLS_WANT_WRITE) {
		wait_for_room(s);
		return false;
	}
	if (r < 0) {
		/* However it ended: TLS could not be had here. */
		fail(s, ERR_TLS, eb.text);
		return true;
	}
	event_del(&s->timer);
	s->tls_up = true;
	set_state(s, STREAM_OPEN);
	/* What came right behind the handshake has been read ahead: the poll won't tell. */
	if (tls_session_has_pending(s->tls))
		(void)read_some(s);
	return true;
}

static void note_local(struct stream *s)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	if (getsockname(s->fd, (struct sockaddr *)&ss, &len) == 0)
		netaddr_from_sockaddr(&s->local, (struct sockaddr *)&ss);
}

static void become_open(struct stream *s)
{
	event_del(&s->timer);
	note_local(s);
	set_state(s, STREAM_OPEN);
	arm(&s->readable);
}

static void finish_connect(struct stream *s)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error)
		fail(s, -error, err_text(-error));
	else
		become_open(s);
}

static void on_readable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct stream *s = arg;
	bool changed = s->state == STREAM_HANDSHAKE ? advance_handshake(s) : read_some(s);
	if (changed)
		notify(s);
}

static void on_writable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct stream *s = arg;
	bool changed = true;
	s->write_blocked = false;
	if (s->state == STREAM_CONNECTING)
		finish_connect(s);
	else if (s->state == STREAM_HANDSHAKE)
		changed = advance_handshake(s);
	if (changed)
		notify(s);
}

static void on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct stream *s = arg;
	if (s->state == STREAM_CONNECTING)
		fail(s, ERR_TIMEOUT, "connect timed out");
	else
		fail(s, ERR_TLS, "TLS handshake timed out");
	notify(s);
}

static void on_later(struct loop_call *c)
{
	struct stream *s = container_of(c, struct stream, later);
	bool changed = true;
	if (s->later_error) {
		fail(s, s->later_error, err_text(s->later_error));
		s->later_error = 0;
	} else if (s->later_connected) {
		become_open(s);
	} else if (s->later_read && s->state == STREAM_OPEN) {
		changed = read_some(s);
	}
	s->later_connected = false;
	s->later_read = false;
	if (changed)
		notify(s);
}

static struct stream *new_stream(struct loop *l, int fd, stream_notify_fn *fn, void *arg)
{
	struct event_base *base = loop_backend(l);
	struct stream *s = mem_zalloc(sizeof(*s));
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	s->fd = fd;
	buf_init(&s->input, STREAM_INPUT_MAX);
	loop_call_init(&s->later, on_later);
	event_assign(&s->readable, base, fd, EV_READ | EV_PERSIST, on_readable, s);
	event_assign(&s->writable, base, fd, EV_WRITE, on_writable, s);
	evtimer_assign(&s->timer, base, on_timer, s);
	return s;
}

struct stream *stream_connect(struct loop *l, const struct stream_connect_options *o,
    stream_notify_fn *fn, void *arg)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = 0;
	int fd = stream_socket_open(o, &ss, &len);
	struct stream *s = new_stream(l, MAX(fd, -1), fn, arg);
	set_state(s, STREAM_CONNECTING);
	s->peer = o->to;
	if (o->unix_path)
		s->peer = (struct netaddr){ .family = NETADDR_UNIX };
	if (fd < 0) {
		s->later_error = fd;
		notify_later(s);
		return s;
	}
	if (connect(fd, (struct sockaddr *)&ss, len) == 0) {
		s->later_connected = true;
		notify_later(s);
	} else if (errno == EINPROGRESS || errno == EINTR) {
		wait_for_room(s);
		arm_timer(s, o->timeout_ms);
	} else {
		s->later_error = -errno;
		notify_later(s);
	}
	return s;
}

struct stream *stream_from_fd(struct loop *l, int fd, stream_notify_fn *fn, void *arg)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct stream *s = new_stream(l, fd, fn, arg);
	if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0)
		netaddr_from_sockaddr(&s->peer, (struct sockaddr *)&ss);
	if (s->peer.family != NETADDR_UNIX)
		stream_socket_set_nodelay(fd);
	become_open(s);
	return s;
}

/*
 * Closing a socket with unread input makes the kernel send a reset, which may overtake our last
 * reply. What the peer sent and nobody will read is thrown away first, within reason.
 */
static void discard_unread(struct stream *s)
{
	ssize_t n = 1;
	for (int i = 0; i < DISCARDS_MAX && n > 0; i++)
		n = recv(s->fd, loop_scratch(s->loop), LOOP_SCRATCH_BYTES, MSG_DONTWAIT);
}

static void close_fd(struct stream *s)
{
	if (s->fd < 0)
		return;
	if (s->tls_up && s->state != STREAM_FAILED && !s->write_blocked)
		tls_session_goodbye(s->tls);
	if (s->state == STREAM_OPEN && (s->read_paused || buf_len(&s->input) > 0))
		discard_unread(s);
	close(s->fd);
}

void stream_close(struct stream **sp)
{
	struct stream *s = *sp;
	if (!s)
		return;
	*sp = NULL;
	/* Events go before the descriptor: its number may be somebody else's at once. */
	bool blocked = s->write_blocked;
	disarm_all(s);
	s->write_blocked = blocked;
	loop_call_cancel(&s->later);
	close_fd(s);
	tls_session_free(&s->tls);
	buf_fini(&s->input);
	mem_free(s->error_text);
	mem_free(s);
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
	return s->error_text ? s->error_text : "";
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

void stream_rest(struct stream *s)
{
	if (buf_len(&s->input) == 0)
		buf_fini(&s->input);
	if (s->tls_up && s->state == STREAM_OPEN)
		tls_session_rest(s->tls);
}

void stream_resume(struct stream *s)
{
	if (buf_len(&s->input) == 0 && s->quiet_reads >= QUIET_READS &&
	    s->input.cap > INPUT_KEPT_BYTES)
		buf_fini(&s->input);
	if (!s->read_paused || s->state != STREAM_OPEN || input_room(s) == 0)
		return;
	s->read_paused = false;
	arm(&s->readable);
	if (s->tls_up && tls_session_has_pending(s->tls)) {
		s->later_read = true;
		loop_defer(s->loop, &s->later);
	}
}

/* --- sending ---------------------------------------------------------------- */

struct parts { /* of memory, what is left of them */
	struct slice at[STREAM_PARTS_MAX];
	size_t n;
	size_t bytes;
};

static struct parts parts_of(const struct slice *slices, size_t n)
{
	struct parts p = { .n = 0 };
	CHECK(n <= STREAM_PARTS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (slices[i].n == 0)
			continue;
		p.at[p.n++] = slices[i];
		p.bytes += slices[i].n;
	}
	return p;
}

static void parts_consume(struct parts *p, size_t n)
{
	size_t i = 0;
	p->bytes -= n;
	for (; i < p->n && n >= p->at[i].n; i++)
		n -= p->at[i].n;
	if (n > 0)
		p->at[i] = slice_from(p->at[i], n);
	memmove(p->at, p->at + i, (p->n - i) * sizeof(p->at[0]));
	p->n -= i;
}

static int send_clear(struct stream *s, struct parts *p, bool more)
{
	while (p->bytes > 0) {
		size_t len = p->bytes;
		struct iovec iov[STREAM_PARTS_MAX];
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = p->n };
		for (size_t i = 0; i < p->n; i++) {
			iov[i].iov_base = (void *)(uintptr_t)p->at[i].p;
			iov[i].iov_len = p->at[i].n;
		}
		ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0)
			parts_consume(p, (size_t)n);
		/* Less than asked for: the socket is full, no need to ask again. */
		if (n < 0 || (size_t)n < len) {
			wait_for_room(s);
			return 0;
		}
	}
	return 0;
}

/*
 * What goes into the next record: from where it lies if that fills it, or is all there is; else
 * small pieces are gathered, for a record more costs more than their copy.
 */
static struct slice next_record(struct stream *s, const struct parts *p)
{
	struct slice first = p->at[0];
	if (first.n >= RECORD_BYTES || p->n == 1)
		return slice_of(first.p, MIN(first.n, (size_t)RECORD_BYTES));
	char *scratch = loop_scratch(s->loop);
	size_t n = 0;
	for (size_t i = 0; i < p->n && n < RECORD_BYTES; i++) {
		size_t take = MIN(p->at[i].n, RECORD_BYTES - n);
		memcpy(scratch + n, p->at[i].p, take);
		n += take;
	}
	return slice_of(scratch, n);
}

/* After a record that was cut short, the next call gives the same bytes, and as many or more. */
static int send_tls(struct stream *s, struct parts *p, struct errbuf *eb)
{
	while (p->bytes > 0) {
		size_t done;
		struct slice record = next_record(s, p);
		int r = tls_session_write(s->tls, record.p, record.n, &done, eb);
		if (r < 0)
			return r;
		/* Without renegotiation an established session never waits for input here. */
		if (r != TLS_WANT_NOTHING) {
			wait_for_room(s);
			return 0;
		}
		parts_consume(p, done);
	}
	return 0;
}

bool stream_has_room(const struct stream *s)
{
	return (s->state == STREAM_OPEN || s->state == STREAM_EOF) && !s->write_blocked;
}

static int sending_failed(struct stream *s, int error, const char *text)
{
	/* A peer that hangs up often said why before: keep that, it is the better error. */
	if (s->state == STREAM_OPEN)
		(void)read_some(s);
	fail(s, error, text);
	return error;
}

int stream_send_parts(struct stream *s, const struct slice *slices, size_t n, bool more,
    size_t *sent)
{
	struct errbuf eb;
	int r;
	*sent = 0;
	if (s->state == STREAM_FAILED)
		return s->error;
	if (!stream_has_room(s))
		return 0;
	struct parts p = parts_of(slices, n);
	size_t all = p.bytes;
	if (s->tls_up) {
		r = send_tls(s, &p, &eb);
	} else {
		r = send_clear(s, &p, more);
		if (r < 0)
			errbuf_set(&eb, r, "%s", err_text(r));
	}
	*sent = all - p.bytes;
	return r < 0 ? sending_failed(s, r, eb.text) : 0;
}

int stream_send(struct stream *s, struct buf *out)
{
	struct slice all = buf_slice(out);
	size_t sent;
	int r = stream_send_parts(s, &all, 1, false, &sent);
	buf_consume(out, sent);
	return r;
}

/* Of sendfile(2): those of the file. EIO is nothing a socket says. */
static bool is_file_error(int error)
{
	return error == EIO || error == EINVAL || error == ENOSYS || error == EOVERFLOW;
}

int stream_send_file(struct stream *s, int fd, uint64_t offset, size_t n, size_t *sent)
{
	*sent = 0;
	CHECK(!s->tls);
	if (s->state == STREAM_FAILED)
		return s->error;
	if (!stream_has_room(s))
		return 0;
	while (*sent < n) {
		off_t at = (off_t)(offset + *sent);
		ssize_t r = sendfile(s->fd, fd, &at, n - *sent);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN) {
			wait_for_room(s);
			return 0;
		}
		/* Behind what has left it is said again by the next call. */
		if (r < 0 && is_file_error(errno))
			return *sent > 0 ? 0 : errno == ENOSYS ? -EINVAL : -errno;
		if (r < 0)
			return sending_failed(s, -errno, err_text(-errno));
		if (r == 0)
			return ERR_CORRUPT;
		*sent += (size_t)r;
	}
	return 0;
}

void stream_start_tls(struct stream *s, const struct stream_tls_options *o)
{
	struct errbuf eb;
	struct tls_session_options session = {
		.ctx = o->ctx,
		.fd = s->fd,
		.server = o->server,
		.host = o->host,
		.resume_key = o->resume_key,
		.now = loop_now(s->loop),
	};
	if (s->state == STREAM_FAILED)
		return;
	CHECK(s->state == STREAM_OPEN || s->state == STREAM_EOF);
	CHECK(!s->tls);
	/* Bytes received in clear must never be taken for bytes of the session. */
	CHECK(buf_len(&s->input) == 0);
	int r = ERR_CLOSED;
	errbuf_set(&eb, r, "%s", err_text(r));
	if (s->state == STREAM_OPEN)
		r = tls_session_new(&session, &s->tls, &eb);
	if (r < 0) {
		fail(s, ERR_TLS, eb.text);
		notify_later(s);
		return;
	}
	set_state(s, STREAM_HANDSHAKE);
	arm_timer(s, o->timeout_ms);
	if (s->read_paused)
		arm(&s->readable);
	s->read_paused = false;
	/* The client speaks first; the server's turn comes with the poll. */
	if (!o->server && advance_handshake(s))
		notify_later(s);
}

const struct tls_info *stream_tls(const struct stream *s)
{
	return s->tls_up ? tls_session_info(s->tls) : NULL;
}
