#include "core/committer.h"

#include "base/check.h"
#include "base/mem.h"

struct ticket { /* one operation's way back */
	struct list_node node;
	struct queue_op *op;
	committer_done_fn *fn;
	void *arg;
};

struct batch {
	struct worker_job job;
	struct committer *committer;
	size_t n;
	struct ticket *tickets[COMMITTER_BATCH_MAX];
	struct queue_op *ops[COMMITTER_BATCH_MAX];
};

struct committer {
	struct mta *mta;
	struct worker_pool *pool;
	unsigned threads;
	struct list_node waiting;
	size_t waiting_n;
	size_t pending;
	unsigned running; /* batches on threads */
};

struct committer *committer_new(struct mta *m, struct worker_pool *pool, unsigned threads)
{
	struct committer *c = mem_zalloc(sizeof(*c));
	c->mta = m;
	c->pool = pool;
	c->threads = threads;
	list_init(&c->waiting);
	return c;
}

void committer_free(struct committer **c)
{
	if (!*c)
		return;
	CHECK((*c)->pending == 0);
	mem_free(*c);
	*c = NULL;
}

void committer_add(struct committer *c, struct queue_op *op, committer_done_fn *fn, void *arg)
{
	struct ticket *t = mem_zalloc(sizeof(*t));
	t->op = op;
	t->fn = fn;
	t->arg = arg;
	list_push(&c->waiting, &t->node);
	c->waiting_n++;
	c->pending++;
}

static void batch_run(struct worker_job *job)
{
	struct batch *b = container_of(job, struct batch, job);
	queue_run(b->committer->mta->queue, b->ops, b->n);
}

static void batch_done(struct worker_job *job)
{
	struct batch *b = container_of(job, struct batch, job);
	struct committer *c = b->committer;

	c->running--;
	for (size_t i = 0; i < b->n; i++) {
		struct ticket *t = b->tickets[i];
		struct queue_done done;
		queue_finish(c->mta->queue, &t->op, loop_now(c->mta->loop), &done);
		c->pending--;
		t->fn(t->arg, &done);
		mem_free(t);
	}
	mem_free(b);
}

/* The waiting operations are shared out over the free threads: their syncs overlap in the
 * filesystem's journal. */
static void batch_start(struct committer *c, size_t n)
{
	struct batch *b = mem_zalloc(sizeof(*b));
	b->committer = c;
	b->job.run = batch_run;
	b->job.done = batch_done;
	while (b->n < n) {
		struct ticket *t = list_first(&c->waiting, struct ticket, node);
		list_remove(&t->node);
		c->waiting_n--;
		b->tickets[b->n] = t;
		b->ops[b->n++] = t->op;
	}
	c->running++;
	worker_submit(c->pool, &b->job);
}

void committer_flush(struct committer *c)
{
	while (c->waiting_n > 0 && c->running < c->threads) {
		size_t share =
		    MAX(c->waiting_n / (c->threads - c->running), (size_t)COMMITTER_SHARE_MIN);
		batch_start(c, MIN(MIN(share, c->waiting_n), COMMITTER_BATCH_MAX));
	}
}

size_t committer_pending(const struct committer *c)
{
	return c->pending;
}
