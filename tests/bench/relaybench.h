/*
 * relaybench.h - a source of mail and a sink for it, beside a relay that is
 * measured. What they have that the harness beside the project lacks:
 * STARTTLS, CHUNKING, a steady pace, and the times of each message.
 *
 * Recipients are u<message>.<number>@d<k>.test and the last line of a body is
 * "bench-end <message> <ns>", so that the sink proves what is lost, double or
 * damaged. One thread and one epoll each; times are of CLOCK_MONOTONIC, in ns.
 */
#ifndef TESTS_BENCH_RELAYBENCH_H
#define TESTS_BENCH_RELAYBENCH_H

#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "base/buf.h"

enum {
	RB_BODY_MAX = 16 * 1024 * 1024,
	RB_MARK_LEN = 41, /* "bench-end %010ld %020lld" */
	RB_EVENTS = 256   /* taken from epoll at once */
};

struct rb_options {
	uint64_t port;
	uint64_t messages, rcpts; /* rcpts for each message */
	uint64_t bytes;           /* of each message */
	const char *times;        /* file to write times to, or NULL */
	bool tls;                 /* source: STARTTLS is used; sink: it is offered */
	/* source */
	uint64_t sessions, domains, per_connection;
	uint64_t rate;    /* messages/s, evenly; 0: as fast as answers come */
	uint64_t seconds; /* after which it gives up */
	bool pipelining;
	/* sink */
	const char *certificate, *key, *out;
	uint64_t stall_s, grace_s;
	bool chunking, any_address;
};

/* Both return the exit status: 0 when all messages were accepted, or arrived. */
int rb_source(const struct rb_options *o);
int rb_sink(const struct rb_options *o);

/* ---- relaybench_conn.c: a non-blocking connection, in clear or with TLS ---- */

struct rb_conn {
	int fd; /* -1: closed */
	int epoll;
	SSL *ssl;      /* NULL: in clear */
	bool shaking;  /* the handshake goes on */
	bool writing;  /* EPOLLOUT is armed */
	struct buf in; /* received, not yet consumed */
	struct buf out;
};

/* Takes the descriptor; events of the epoll carry `conn` as their pointer. */
void rb_conn_open(struct rb_conn *conn, int epoll, int fd);
void rb_conn_close(struct rb_conn *conn); /* and frees; a closed one is fine */
/*
 * What is received from now on goes through TLS; `in` must be empty (else false). A client is given
 * where the session to resume is, or none, and where the next one goes; a server NULL.
 */
bool rb_conn_start_tls(struct rb_conn *conn, SSL_CTX *ctx, SSL_SESSION **kept);
void rb_conn_add(struct rb_conn *conn, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Sends what `out` holds as far as it goes. False: the connection is lost. */
bool rb_conn_flush(struct rb_conn *conn);
/* Handshakes, sends, receives, as the events allow. False: lost, or closed by the peer. */
bool rb_conn_ready(struct rb_conn *conn, uint32_t events);
/* Takes the next line off `in`, without its end, valid until the next change; false: none is whole.
 */
bool rb_conn_line(struct rb_conn *conn, struct slice *line);

/* ---- relaybench.c: what both share ---- */

int64_t rb_now(void);
/* A context for a client, or a server with that certificate; exits when there is none. */
SSL_CTX *rb_tls(const char *certificate, const char *key);
/* n lines of 62 letters, what a body is filled with. mem_free. */
char *rb_filler(size_t lines);
void rb_die(const char *what) __attribute__((noreturn));
/* Sorts; the p-th thousandth of n values in ms, 0 of none. */
double rb_quantile(int64_t *ns, size_t n, unsigned p);
void rb_write_times(const char *file, const int64_t *ns, size_t n);
double rb_cpu_seconds(void);

#endif
