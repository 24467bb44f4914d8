/*
 * pool.h - all outbound connections of an mta: those that rest, those with
 * something to send, and how many there may be.
 *
 * A site has at most as many as its `connections` says, resting ones and ones
 * that say goodbye included; all shards together have at most concurrency_max.
 * When one is to be dialled and there is no room, a resting one of another
 * kind makes way.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "core/connection.h"

struct pool {
	struct mta *mta;
	struct list_node all;     /* struct connection.in_pool */
	struct list_node idle;    /* struct connection.idle: no delivery; the longest first */
	struct list_node leaving; /* the same: they wait for the reply to QUIT */
	struct list_node outbox;  /* struct connection.outbox */
	size_t connections_n;
	bool crowded; /* deliveries wait: all shards together have as many as there may be */
};

struct pool *pool_new(struct mta *m);
void pool_free(struct pool **p); /* without connections */

/* One of the site's open connections that serves the target, rather one at rest; or NULL. */
struct connection *pool_find(const struct site *site, const struct connection_target *t);
/* Whether one may be dialled for the site, which may have limit of them; for a delivery that is
 * without. True: it is counted (LIMITS_CONNECTIONS). */
bool pool_make_room(struct pool *p, struct site *site, unsigned limit);
/* The site takes fewer connections now: those in excess leave when they are idle. */
void pool_shrink(struct site *site);
void pool_flush(struct pool *p, struct now now);      /* at the end of the turn */
void pool_retire_all(struct pool *p, struct now now); /* connection_retire */
void pool_close_all(struct pool *p);
size_t pool_connections(const struct pool *p);

#endif
