#include "io/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop_backend.h"

enum {
	THREAD_NAME_MAX = 16, /* the kernel's limit, with NUL */
};

struct worker_pool {
	struct loop *loop;
	struct loop_call drain;
	size_t pending; /* loop's thread only */
	bool closing;   /* loop's thread only; the threads look at `stop` */
	pthread_t *threads;
	unsigned threads_n;
	char name[THREAD_NAME_MAX];

	/* Any is in `finished`: spares the loop the lock in most turns. */
	atomic_bool any_finished;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t work;
	bool stop;
	struct list_node waiting;
	struct list_node finished;
};

/* NULL when the pool stops and nothing is left. */
static struct worker_job *next_job(struct worker_pool *p)
{
	struct worker_job *job = NULL;
	pthread_mutex_lock(&p->lock);
	while (list_is_empty(&p->waiting) && !p->stop)
		pthread_cond_wait(&p->work, &p->lock);
	if (!list_is_empty(&p->waiting)) {
		job = list_first(&p->waiting, struct worker_job, node);
		list_remove(&job->node);
	}
	pthread_mutex_unlock(&p->lock);
	return job;
}

static void finish_job(struct worker_pool *p, struct worker_job *job)
{
	pthread_mutex_lock(&p->lock);
	list_push(&p->finished, &job->node);
	atomic_store(&p->any_finished, true);
	pthread_mutex_unlock(&p->lock);
	loop_wake(p->loop);
}

static void *worker_main(void *arg)
{
	struct worker_pool *p = arg;
	struct worker_job *job;
	pthread_setname_np(pthread_self(), p->name);
	while ((job = next_job(p)) != NULL) {
		job->run(job);
		finish_job(p, job);
	}
	return NULL;
}

static void deliver_finished(struct worker_pool *p)
{
	struct list_node done;
	list_init(&done);
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->any_finished, false);
	list_splice(&done, &p->finished);
	pthread_mutex_unlock(&p->lock);
	while (!list_is_empty(&done)) {
		struct worker_job *job = list_first(&done, struct worker_job, node);
		list_remove(&job->node);
		p->pending--;
		job->done(job); /* job may be gone, or submitted again, after this */
	}
}

static void on_drain(struct loop_call *c)
{
	struct worker_pool *p = container_of(c, struct worker_pool, drain);
	if (atomic_load(&p->any_finished))
		deliver_finished(p);
}

/* Signals are for the first loop's thread: workers never take one. */
static void start_threads(struct worker_pool *p, unsigned wanted)
{
	sigset_t all;
	sigset_t before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = 0;
	while (p->threads_n < wanted && err == 0) {
		err = pthread_create(&p->threads[p->threads_n], NULL, worker_main, p);
		if (err == 0)
			p->threads_n++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err == 0)
		return;
	log_error("worker", "only %u of %u %s threads: %s", p->threads_n, wanted, p->name,
	    strerror(err));
	if (p->threads_n == 0)
		abort();
}

struct worker_pool *worker_pool_new(struct loop *l, unsigned threads, const char *name)
{
	struct worker_pool *p = mem_zalloc(sizeof(*p));
	CHECK(threads > 0);
	p->loop = l;
	snprintf(p->name, sizeof(p->name), "%s", name);
	list_init(&p->waiting);
	list_init(&p->finished);
	atomic_init(&p->any_finished, false);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->threads = mem_zalloc(threads * sizeof(*p->threads));
	start_threads(p, threads);
	loop_call_init(&p->drain, on_drain);
	loop_add_drain(l, &p->drain);
	return p;
}

void worker_submit(struct worker_pool *p, struct worker_job *job)
{
	p->pending++;
	if (p->closing) { /* from a done function while the pool is freed: no thread is left */
		list_init(&job->node);
		job->run(job);
		finish_job(p, job);
		return;
	}
	pthread_mutex_lock(&p->lock);
	list_push(&p->waiting, &job->node);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

size_t worker_pending(const struct worker_pool *p)
{
	return p->pending;
}

void worker_pool_free(struct worker_pool **pp)
{
	struct worker_pool *p = *pp;
	if (!p)
		return;
	p->closing = true;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->threads_n; i++)
		pthread_join(p->threads[i], NULL);
	while (p->pending > 0)
		deliver_finished(p);
	loop_remove_drain(&p->drain);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	mem_free(p->threads);
	mem_free(p);
	*pp = NULL;
}
