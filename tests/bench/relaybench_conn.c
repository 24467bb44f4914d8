/* relaybench_conn.c - see relaybench.h. */
#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "bench/relaybench.h"

enum {
	READ_SIZE = 64 * 1024
};

void rb_conn_open(struct rb_conn *conn, int epoll, int fd)
{
	*conn = (struct rb_conn){ .fd = fd, .epoll = epoll };
	buf_init(&conn->in, RB_BODY_MAX);
	buf_init(&conn->out, RB_BODY_MAX);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = conn };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
		rb_die("epoll_ctl");
}

void rb_conn_close(struct rb_conn *conn)
{
	if (conn->fd < 0)
		return;
	/* Without this its session, of which the next may want to make use, would be marked. */
	if (conn->ssl)
		SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(conn->ssl);
	conn->ssl = NULL;
	close(conn->fd);
	conn->fd = -1;
	buf_fini(&conn->in);
	buf_fini(&conn->out);
}

void rb_conn_add(struct rb_conn *conn, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	CHECK(buf_vprintf(&conn->out, fmt, ap) == 0);
	va_end(ap);
}

static void arm(struct rb_conn *conn, bool writing)
{
	if (conn->writing == writing)
		return;
	conn->writing = writing;
	struct epoll_event ev = { .events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.ptr = conn };
	if (epoll_ctl(conn->epoll, EPOLL_CTL_MOD, conn->fd, &ev) != 0)
		rb_die("epoll_ctl");
}

/* What an SSL call that returned n says: bytes, 0 to wait for the socket, -1 when it is over. */
static ssize_t ssl_result(struct rb_conn *conn, int n)
{
	if (n > 0)
		return n;
	switch (SSL_get_error(conn->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		return 0;
	case SSL_ERROR_WANT_WRITE:
		arm(conn, true);
		return 0;
	default:
		return -1;
	}
}

static ssize_t socket_result(ssize_t n)
{
	if (n > 0)
		return n;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t receive(struct rb_conn *conn, char *p, size_t n)
{
	if (conn->ssl) {
		ERR_clear_error(); /* the queue is the thread's, so another's error may be in it */
		return ssl_result(conn, SSL_read(conn->ssl, p, (int)n));
	}
	return socket_result(recv(conn->fd, p, n, 0));
}

static ssize_t transmit(struct rb_conn *conn)
{
	const char *p = buf_ptr(&conn->out);
	size_t n = buf_len(&conn->out);
	if (conn->ssl) {
		ERR_clear_error();
		return ssl_result(conn, SSL_write(conn->ssl, p, (int)n));
	}
	return socket_result(send(conn->fd, p, n, MSG_NOSIGNAL));
}

bool rb_conn_flush(struct rb_conn *conn)
{
	if (conn->shaking)
		return true;
	while (buf_len(&conn->out) > 0) {
		ssize_t n = transmit(conn);
		if (n < 0)
			return false;
		if (n == 0) {
			if (!conn->ssl)
				arm(conn, true);
			return true;
		}
		buf_consume(&conn->out, (size_t)n);
	}
	arm(conn, false);
	return true;
}

/*
 * One read is enough, since epoll tells of the rest, but of what OpenSSL has already. What came
 * before an end is looked at first: the end is seen at the next call.
 */
static bool receive_all(struct rb_conn *conn)
{
	for (size_t got = 0;;) {
		size_t room;
		char *p = buf_reserve(&conn->in, READ_SIZE, &room);
		if (room == 0)
			return false;
		ssize_t n = receive(conn, p, room);
		if (n < 0)
			return got > 0;
		got += (size_t)n;
		buf_commit(&conn->in, (size_t)n);
		if (n == 0 || !conn->ssl || !SSL_has_pending(conn->ssl))
			return true;
	}
}

static bool shake(struct rb_conn *conn)
{
	arm(conn, false);
	ERR_clear_error();
	ssize_t n = ssl_result(conn, SSL_do_handshake(conn->ssl));
	if (n > 0)
		conn->shaking = false;
	return n >= 0;
}

bool rb_conn_start_tls(struct rb_conn *conn, SSL_CTX *ctx, SSL_SESSION **kept)
{
	if (buf_len(&conn->in) > 0)
		return false;
	conn->ssl = SSL_new(ctx);
	CHECK(conn->ssl != NULL);
	CHECK(SSL_set_fd(conn->ssl, conn->fd) == 1);
	conn->shaking = true;
	if (!kept)
		SSL_set_accept_state(conn->ssl);
	else
		SSL_set_connect_state(conn->ssl);
	SSL_set_app_data(conn->ssl, kept);
	if (kept && *kept)
		(void)SSL_set_session(conn->ssl, *kept);
	if (!shake(conn))
		return false;
	/* A peer that is quick has said more behind its Finished: epoll won't tell. */
	return conn->shaking || !SSL_has_pending(conn->ssl) || receive_all(conn);
}

bool rb_conn_ready(struct rb_conn *conn, uint32_t events)
{
	if (conn->shaking && !shake(conn))
		return false;
	if (conn->shaking)
		return true;
	if (!rb_conn_flush(conn))
		return false;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		return receive_all(conn);
	return true;
}

bool rb_conn_line(struct rb_conn *conn, struct slice *line)
{
	struct slice all = buf_slice(&conn->in);
	ptrdiff_t end = slice_find(all, '\n');
	if (end < 0)
		return false;
	size_t n = (size_t)end;
	*line = slice_of(all.p, n > 0 && all.p[n - 1] == '\r' ? n - 1 : n);
	buf_consume(&conn->in, n + 1);
	return true;
}
