/*
 * shards.h - the daemon: its shards, and what is done to all of them.
 *
 * A shard (mta.h) is a thread with its loop. Each accepts clients and has a
 * part of the mail: at first that whose destinations hash to it, and for an
 * attempt that of the sites that hash to it (dispatch.h), so a site's
 * connections, rates and turns are in one place. Shards share the queue's store,
 * the config snapshot, TLS contexts and limits.h; they send each other items.
 *
 * The first runs in the main thread, and has the signals and the operator's
 * socket. What is asked for there concerns all shards: it is done while the
 * others stand still between two turns (io/rendezvous.h), as if there were but
 * one thread.
 */
#ifndef CORE_SHARDS_H
#define CORE_SHARDS_H

#include <stdatomic.h>

#include "core/accounting.h"
#include "core/mta.h"
#include "core/resolve.h"
#include "io/rendezvous.h"

#define SHARDS_MAX 64

struct shards {
	unsigned n;
	struct mta **mta; /* by number; [0] is the first */
	struct rendezvous *meeting;
	struct limits *limits;
	uint64_t site_seed[2]; /* of the hash that says which shard has a site */
	bool running;          /* the others are in threads of their own */
	unsigned standing;     /* shards_stop without shards_go */
	atomic_uint stopped;   /* of the others, for good */
	/* Of start-up scans. */
	atomic_uint scanned;
	atomic_size_t found, found_held;
};

struct mta_options {
	const struct qio *qio; /* the disk under the queue; NULL: the real one */
	uint64_t seed;         /* of all chance: jitter, order of equal MX hosts, ids */
};

/* The pieces, from a checked config; binds listeners. On failure eb says why and nothing is left
 * open. */
int shards_new(struct conf *conf, const struct mta_options *o, struct shards **s_r,
    struct errbuf *eb) MUST_USE;
void shards_run(struct shards *s); /* until drained */
void shards_free(struct shards **s);

/* By the first: from here to shards_go the others stand still, nothing is on its way between them,
 * and all may be touched. May be nested. */
void shards_stop(struct shards *s);
void shards_go(struct shards *s);

/* TERM: see drain in the man page. Calling it again ends the wait. */
void shards_drain(struct shards *s);
/* By a shard at the end of a turn, nothing of it being under way any more: the last one, unless it
 * is the first and others go on. Then its loop may be touched no more, and what else it has only as
 * long as the others stand still. */
void shards_leave(struct mta *m);
/* HUP: everything deferred becomes due now. Returns how many items. */
size_t shards_flush(struct shards *s);
/* USR1 (reload.c): reads the config again. On mistakes the old one stays and they are logged;
 * returns false. */
bool shards_reload(struct shards *s);
void shards_log_status(struct shards *s); /* USR2 */
/* A shard's scan is done. */
void shards_scanned(struct mta *m);

/* TLS contexts of a config, into the three pointers; on failure nothing is changed. */
int shards_make_tls(const struct conf *conf, struct tls_ctx **server, struct tls_ctx **may,
    struct tls_ctx **verify, struct errbuf *eb) MUST_USE;

struct shards_stats { /* of all together */
	struct queue_stats queue;
	struct accounting_counts counts;
	struct resolver_stats dns;
	size_t sessions, deliveries, ready, waiting, down, slowed, slowed_items;
};

/* While the others stand still. */
void shards_stats(const struct shards *s, struct shards_stats *st);
/* As queue_find, wherever they are. */
size_t shards_find(const struct shards *s, struct slice id, struct queue_item **items, size_t max);

#endif
