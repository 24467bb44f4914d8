/*
 * limits.h - what the config limits for all shards together: clients,
 * recipients per login, deliveries, outbound connections.
 *
 * The only state that shards share and change in passing, but for the queue's
 * store. All functions may be called by any shard at any time.
 */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H

#include "base/slice.h"
#include "conf/conf.h"
#include "io/loop.h"

struct limits;

/* loops: of the shards, by number; borrowed. */
struct limits *limits_new(const struct conf *conf, struct loop *const *loops, unsigned shards,
    uint64_t seed);
void limits_free(struct limits **l);
void limits_reload(struct limits *l, const struct conf *conf);

/* --- clients --- */

/* One has come; returns how many were there before it. */
size_t limits_client_came(struct limits *l);
void limits_client_left(struct limits *l);
/* False: there are max of that address; not counted. */
bool limits_add_address(struct limits *l, struct slice ip, unsigned max);
void limits_remove_address(struct limits *l, struct slice ip); /* once for each that was true */
/* Another recipient for a login; false: too many in this period. */
bool limits_take_rcpt(struct limits *l, struct slice login, int64_t mono_ms);

/* --- outbound --- */

enum limits_kind {
	LIMITS_DELIVERIES = 0, /* under way, loads before them included; not while they wait for
				  a connection of their site */
	LIMITS_TRIALS,         /* of them, of sites that are tried out */
	LIMITS_CONNECTIONS,    /* those at rest and those that leave, too */
};

#define LIMITS_KINDS (LIMITS_CONNECTIONS + 1)

/*
 * One more, if there are fewer than max. False: the shard gets a turn whenever one has ended, until
 * it had success or is content. Shards that were refused deliveries take turns.
 */
bool limits_begin(struct limits *l, enum limits_kind kind, size_t max, unsigned shard);
/* Whether there are fewer than max; else it is refused as by limits_begin. */
bool limits_has_room(struct limits *l, enum limits_kind kind, size_t max, unsigned shard);
/* It has no use for another one: others need not wait for it. */
void limits_content(struct limits *l, enum limits_kind kind, unsigned shard);
/* Whether another shard was refused, and is to have the next. Then this one gets a turn when all of
 * them are content. */
bool limits_yield(struct limits *l, enum limits_kind kind, unsigned shard);
void limits_add(struct limits *l, enum limits_kind kind); /* whatever the limit */
void limits_end(struct limits *l, enum limits_kind kind);
/* Each other shard gets a turn, in which it is asked to close a connection that it can do without.
 */
void limits_ask_others(struct limits *l, unsigned shard);
bool limits_is_asked(const struct limits *l, unsigned shard); /* and has not done so */
void limits_answer(struct limits *l, unsigned shard);         /* it has */

#endif
