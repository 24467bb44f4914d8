/*
 * store.h - what the queues of all shards share: folders, intake journal,
 * bodies in memory, ids, space, what is in work. Private to queue/.
 *
 * An item begins in the queue of its destination's home (a hash of the name as
 * files have it). What a queue makes for another one, or sends to it, goes
 * through that one's inbox: it is on disk already, the inbox is memory.
 *
 * Spool, journal and pool are safe from any thread; what never changes after
 * store_open needs nothing; the rest is behind the lock or atomic.
 */
#ifndef QUEUE_STORE_H
#define QUEUE_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "queue/body.h"
#include "queue/journal.h"
#include "queue/qid.h"
#include "queue/queue.h"
#include "queue/quota.h"
#include "queue/spool.h"
#include "queue/work.h"

struct store {
	struct spool spool;
	struct journal *journal;
	struct body_pool *pool;
	unsigned shards;
	struct queue **queues;
	uint64_t home_seed[2];
	uint64_t first_ms;           /* no id of this start is earlier */
	atomic_uint moves;           /* begun: names their files in tmp/ */
	atomic_ullong waiting_bytes; /* received, not on disk */

	pthread_mutex_t lock;
	struct quota quota;
	struct qid_source ids;
	struct work work;
	unsigned scanning; /* queues whose scan is not done */
	/* At the end of the scans: what reports owe to items, and whose were found. */
	struct journal_owed *owed;
	bool *owed_found;
	size_t owed_n;
	bool owed_listed;
};

int store_open(struct store **s_r, const struct queue_options *opt, struct now now,
    struct errbuf *eb) MUST_USE;    /* but for the queues, and the journal's mail */
void store_close(struct store **s); /* the queues must be gone */

struct queue *store_home(const struct store *s, struct slice label);
struct qid store_new_id(struct store *s, int64_t wall_ms);
int store_admit(struct store *s, uint64_t size, int64_t mono_ms) MUST_USE;
/* A queue's scan is done: has says what it has. The last one ends what belongs to nobody. */
typedef bool store_has_fn(void *arg, struct qid id, unsigned part);
void store_end_scan(struct store *s, store_has_fn *has, void *arg);

#endif
