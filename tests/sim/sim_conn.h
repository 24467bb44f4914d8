/*
 * sim_conn.h - what a connection is made of, for the three files that make it:
 * sim_conn.c (the pipes between the ends, and the world's end), sim_stream.c
 * (the daemon's end, io/stream.h) and sim_listen.c (io/listen.h). Others know
 * sim_io.h.
 */
#ifndef SIM_SIM_CONN_H
#define SIM_SIM_CONN_H

#include "io/stream.h"
#include "sim/sim_io.h"
#include "sim/sim_loop.h"

#define CONN_WINDOW_BYTES (64 * 1024)
#define CONN_FD_FIRST     1000000 /* what the daemon takes for descriptors */

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

/* sim_conn.c */
struct sim_conn *sim_conn_new(const struct sim_link *link, const struct sim_party *party,
    void *arg);
struct sim_conn *sim_conn_find(int fd); /* never NULL */
void sim_conn_keep(struct sim_conn *c); /* in the list of those that sim_conn_find knows */
/* Something is to be delivered. */
void sim_conn_schedule(struct sim_conn *c, struct pipe *p);
void sim_conn_free_if_over(struct sim_conn *c);
void sim_conn_party_gone(struct sim_conn *c);

/* sim_stream.c */
void sim_stream_notify(struct stream *s);
void sim_stream_fail(struct stream *s, int error);
void sim_stream_join(struct stream *s, struct sim_conn *c); /* open */

/* sim_listen.c */
void sim_listen_drop(void);

#endif
