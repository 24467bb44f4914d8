/*
 * mta.h - the root object of a shard: one thread, one loop, all that lives on it.
 *
 * Everything in src/core gets a `struct mta *`; nothing is global, so several
 * can run in one process (shards.h). Callbacks of src/io only mark work
 * (mta_mark); mta_step, once per turn of the loop, does it: expired deadlines,
 * marked work, due mail, commits. Bounded work per turn, in a fixed order.
 */
#ifndef CORE_MTA_H
#define CORE_MTA_H

#include "base/list.h"
#include "base/netaddr.h"
#include "base/prng.h"
#include "conf/conf.h"
#include "io/loop.h"
#include "io/tls.h"
#include "io/worker.h"
#include "queue/queue.h"

#define MTA_LOCAL_ADDRESSES_MAX 64

struct mta;
struct accounting;
struct auth;
struct committer;
struct control;
struct dispatch;
struct pool;
struct reception;
struct resolver;
struct limits;
struct shards;

/* A thing that is stepped when something happened to it; embedded in sessions, deliveries, control
 * connections. */
struct mta_work {
	struct mta *mta;
	struct list_node ready;      /* in mta->ready while marked */
	struct wheel_timer deadline; /* mono ms; expiry marks the work */
	void (
	    *step)(struct mta_work *work, struct now now); /* may free the object that holds work */
};

enum mta_phase {
	MTA_PHASE_NONE = 0,
	MTA_PHASE_RUNNING,
	MTA_PHASE_DRAINING, /* no new mail, no new attempts; what is in flight may finish */
	MTA_PHASE_STOPPED,
};

struct mta {
	struct shards *shards;
	unsigned number;   /* among them; 0 is the first */
	struct conf *conf; /* the current snapshot; sessions hold their own reference */
	struct loop *loop;
	struct prng rng;
	struct wheel deadlines;   /* mono ms */
	struct list_node ready;   /* marked mta_work.ready */
	struct list_node next;    /* the same, for the next turn */
	struct list_node refused; /* settlements whose outcome the disk has refused so far */
	size_t refused_n;
	struct now now;     /* of this turn */
	int64_t started_ms; /* wall */
	enum mta_phase phase;
	int64_t drain_until_ms; /* mono */

	struct queue *queue;   /* this shard's */
	struct limits *limits; /* of all */
	bool scan_done;
	int64_t scan_at_ms;            /* mono: not before, after a failure */
	int64_t sync_check_ms;         /* mono: when folders are looked at next */
	struct worker_pool *disk_pool; /* commits, loads */
	struct worker_pool *read_pool; /* what nobody waits for */
	struct worker_pool *cpu_pool;  /* password checks */
	struct resolver *resolver;  /* of the current config; attempts hold their own reference */
	struct tls_ctx *tls_server; /* NULL: none configured */
	struct tls_ctx *tls_client_may;    /* opportunistic: nothing verified */
	struct tls_ctx *tls_client_verify; /* chain and name must be good */
	struct netaddr local[MTA_LOCAL_ADDRESSES_MAX];
	size_t local_n;

	struct accounting *accounting;
	struct auth *auth;
	struct committer *committer;
	struct committer *reader; /* the same in the background, for reads that nobody waits for */
	struct control *control;  /* the first's */
	struct dispatch *dispatch;
	struct pool *pool; /* outbound connections */
	struct reception *reception;
};

/* For shards.c, in this order: an empty one, made of what the config says; its listeners; all that
 * needs no privilege, the queue being open. */
struct mta *mta_new(struct shards *s, unsigned number, struct conf *conf, uint64_t seed);
int mta_open_privileged(struct mta *m, struct errbuf *eb) MUST_USE;
int mta_open_rest(struct mta *m, struct errbuf *eb) MUST_USE;
void mta_start(struct mta *m); /* accepts clients; steps from now on */
void mta_drain(struct mta *m, struct now now);
void mta_close(struct mta *m); /* gives up all that has to do with the queue */
void mta_free(struct mta **m); /* the rest */

void mta_work_init(struct mta_work *w, struct mta *m, void (*step)(struct mta_work *, struct now));
void mta_work_fini(struct mta_work *w); /* unlinks it */
void mta_mark(struct mta_work *w);      /* to be stepped in this turn or the next */
void mta_mark_next(struct mta_work *w); /* in the next, after a share of a long work */
void mta_deadline(struct mta_work *w, int64_t mono_ms); /* INT64_MAX: none */

#endif
