/*
 * connection.h - an outbound connection to one host: dialled, greeted,
 * secured, then one message after another, with rests in between.
 *
 *   DIALLING -> TALKING -> gone
 *
 * While it talks, up to CONNECTION_WITH_MAX deliveries wait for its answers,
 * the oldest first; the next may be taken as soon as the engine says READY.
 * It rests without any, for idle_timeout at most, and takes no more after
 * deliveries_per_connection messages or at connection_age (conf: traffic): by
 * time above all, for a limit by count alone gathers connections at the slowest
 * host.
 *
 * What the peer says is only looked at in the connection's step; what is to be
 * sent leaves at the end of the turn (pool_flush), in one write.
 */
#ifndef CORE_CONNECTION_H
#define CORE_CONNECTION_H

#include "core/mta.h"
#include "core/resolve.h"
#include "core/settlement.h"
#include "io/stream.h"
#include "proto/smtp_client.h"

#define CONNECTION_WITH_MAX 2

struct delivery;
struct site;

enum connection_phase {
	CONNECTION_NONE = 0,
	CONNECTION_DIALLING,
	CONNECTION_TALKING,
};

/* Where to, and all that decides whether a message may go that way: an open connection serves
 * targets that are equal to its own. (The config and the route hold the EHLO name, the source
 * address and the credentials.) */
struct connection_target {
	struct conf *conf;
	struct resolution *resolution;
	const struct resolution_candidate *to; /* of it */
	const struct route *route;             /* NULL: none; of the config snapshot */
	enum tls_level level;
	bool in_clear; /* its TLS handshake failed a moment ago */
};

struct connection {
	struct mta_work work;
	struct list_node in_pool; /* struct pool.all */
	struct list_node in_site; /* struct site.connections */
	struct list_node open;    /* struct site.open: takes a message now */
	struct list_node idle;    /* struct pool.idle or leaving: no delivery is with it */
	struct list_node outbox;  /* struct pool.outbox */
	enum connection_phase phase;
	struct conf *conf;
	struct site *site;
	struct resolution *resolution;
	struct resolution_candidate to; /* of it */
	const struct route *route;
	enum tls_level level;
	bool in_clear;
	bool chunking;            /* bodies may go out with BDAT */
	bool tls_running;         /* STARTTLS handshake under way, asked for by the engine */
	bool ready;               /* the engine takes a message */
	bool stands, busy;        /* mail can go over it, and does: counted in site */
	bool resting;             /* idle for a while: its stream has given back memory */
	bool leaving;             /* the session is over, the peer's goodbye is still to come */
	struct attempt_host host; /* facts about it */
	struct stream *stream;
	struct smtp_client *client; /* once TALKING */
	struct delivery *with[CONNECTION_WITH_MAX];
	size_t with_n;
	unsigned messages; /* taken so far */
	int64_t born_ms;   /* mono: when it was dialled */
	int64_t rests_ms;  /* mono: since when it is idle, or open to others */
};

/* Dials, for this delivery, with room made (pool_make_room). Never fails at once: see
 * delivery_unconnected. */
struct connection *connection_dial(struct mta *m, struct site *site,
    const struct connection_target *t, int timeout_ms, struct delivery *d);
/* Gives the next message to one that is in site's open list. */
void connection_take(struct connection *c, struct delivery *d, struct now now);
bool connection_serves(const struct connection *c, const struct connection_target *t);
/* The config has changed, or we stop: it says QUIT as soon as nothing is under way. */
void connection_retire(struct connection *c, struct now now);
/* Another one takes its place: it says QUIT and is gone. No delivery is with it. */
void connection_give_way(struct connection *c);
/* Closes at once and frees; deliveries are left without it and not told. */
void connection_close(struct connection *c);
/* Writes what is to be sent. c may be gone afterwards. */
void connection_flush(struct connection *c, struct now now);

#endif
