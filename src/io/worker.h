/*
 * worker.h - threads for what blocks: commits, loads, password checks.
 *
 * A job's run function executes on a worker thread and owns what the job
 * points to; its done function is called afterwards on the loop's thread,
 * in a turn before the step. Jobs start in the order they were given.
 */
#ifndef IO_WORKER_H
#define IO_WORKER_H

#include "base/list.h"
#include "io/loop.h"

struct worker_pool;

struct worker_job { /* embed; the caller's storage until done returns */
	struct list_node node;
	void (*run)(struct worker_job *job);  /* worker thread */
	void (*done)(struct worker_job *job); /* loop thread */
};

/* All of these on the loop's thread. The name shows in ps and top (15 bytes). */
struct worker_pool *worker_pool_new(struct loop *l, unsigned threads, const char *name);
void worker_submit(struct worker_pool *p, struct worker_job *job);
size_t worker_pending(const struct worker_pool *p); /* submitted and not yet done */
/* Runs what was submitted, joins, calls the done functions. */
void worker_pool_free(struct worker_pool **p);

#endif
