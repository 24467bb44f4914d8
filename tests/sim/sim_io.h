/*
 * sim_io.h - the world's end of what src/io is for the daemon: connections,
 * listeners, signals, questions to the DNS.
 *
 * A connection joins a struct stream of the daemon and a party of the world.
 * Bytes travel with delays, in pieces; some connections are doomed to be
 * reset, to end, or to fall silent at a random moment.
 */
#ifndef SIM_SIM_IO_H
#define SIM_SIM_IO_H

#include "base/netaddr.h"
#include "io/dns.h"
#include "sim/sim_busy.h"

struct sim_conn;

struct sim_party {               /* what the world's end hears; any call may close the connection */
	void (*open)(void *arg); /* the daemon's end is there */
	void (*data)(void *arg, const char *p, size_t n);
	void (*tls)(void *arg); /* the daemon began a handshake: answer with sim_conn_tls */
	void (*gone)(
	    void *arg); /* the other end closed or broke; the connection is gone after this */
};

struct sim_link { /* how a connection behaves */
	int latency_ms;
	bool bytewise; /* one byte at a time, to the daemon */
	unsigned doom; /* permille that it breaks before its time */
};

/* --- connections ---------------------------------------------------------------------- */

/* The daemon opens them (sim_dial is asked), or the world does: NULL if nobody listens there. */
struct sim_conn *sim_connect(uint16_t port, const char *unix_path, const struct netaddr *from,
    const struct sim_link *link, const struct sim_party *party, void *arg);
void sim_conn_send(struct sim_conn *c, const char *p, size_t n);
void sim_conn_close(struct sim_conn *c); /* after what was sent has arrived; no calls follow */
void sim_conn_reset(struct sim_conn *c); /* at once */
void sim_conn_hang(struct sim_conn *c);  /* nothing passes any more, nobody is told */
void sim_conn_tls(struct sim_conn *c, bool good);
unsigned sim_conn_id(const struct sim_conn *c);
/* When the bytes sent so far have reached the daemon, *at_ms is set. One at a time. */
void sim_conn_watch(struct sim_conn *c, int64_t *at_ms);

/* The world forgets about a watch (its storage moves or goes). */
struct sim_dialed { /* who answers at an address */
	int error;  /* 0, -errno, or ERR_TIMEOUT: the connection fails so */
	int64_t delay_ms;
	struct sim_link link;
	const struct sim_party *party;
	void *arg; /* of the party: the new session */
	void (*joined)(void *arg, struct sim_conn *c);
	struct sim_site *site; /* busy while the daemon holds the connection */
};

/* sim_net.c: the daemon dials. */
void sim_dial(const struct netaddr *to, struct sim_dialed *d);

/* sim_net.c: the DNS is asked; answers by chance and by the time. records has room. */
struct sim_dns_reply {
	bool silent; /* no answer: the daemon's time-out */
	int64_t delay_ms;
	struct dns_answer answer;
	struct dns_record records[16];
};

void sim_dns_ask(const char *name, enum dns_type type, struct sim_dns_reply *r);
struct sim_site *sim_dns_site(const char *name); /* whose hosts are looked for; NULL: nobody's */

/* --- the price of a turn ------------------------------------------------------------------ */

/* Asked at the end of each turn of a loop, with the calls made into the daemon in it: how many us
 * it took. NULL: turns take no time. */
typedef int64_t sim_cost_fn(unsigned made);
void sim_loop_set_cost(sim_cost_fn *fn);

/* --- the daemon's death: what it held is cleared away ------------------------------------ */

void sim_raise(int signo);
void sim_loop_drop(void);
void sim_stream_drop(bool power); /* power: the other ends are not told */
void sim_dns_drop(void);
size_t sim_streams(void); /* open ends of the daemon's */

#endif
