/*
 * committer.h - carries queue operations to the disk threads and back.
 *
 * Operations gathered while the threads are busy leave together in one batch
 * (one sync for many); nobody waits for company. Completions come back in a
 * later turn of the loop.
 */
#ifndef CORE_COMMITTER_H
#define CORE_COMMITTER_H

#include "core/mta.h"

#define COMMITTER_THREADS   8
#define COMMITTER_BATCH_MAX 64
#define COMMITTER_SHARE_MIN 16

typedef void committer_done_fn(void *arg, struct queue_done *done);

/* On the pool's threads, so many of them. */
struct committer *committer_new(struct mta *m, struct worker_pool *pool, unsigned threads);
void committer_free(struct committer **c); /* nothing may be outstanding */
/* Takes op; fn is called once, after queue_finish. */
void committer_add(struct committer *c, struct queue_op *op, committer_done_fn *fn, void *arg);
void committer_flush(struct committer *c); /* starts batches on free threads; called by mta_step */
size_t committer_pending(const struct committer *c); /* operations not yet finished */

#endif
