#include "io/rendezvous.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/loop_backend.h"

struct rendezvous {
	struct loop **loops;
	size_t n;
	atomic_bool asked;    /* written with the lock held; read without it by those who go by */
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t arrived;
	pthread_cond_t released;
	size_t standing; /* in rendezvous_check, or gone for good */
	size_t left;
	uint64_t round; /* one who slept through a release must not take the next for it */
};

struct rendezvous *rendezvous_new(struct loop *const *loops, size_t n)
{
	struct rendezvous *r = mem_zalloc(sizeof(*r));
	CHECK(n > 0);
	r->loops = mem_dup(loops, n * sizeof(*loops));
	r->n = n;
	atomic_init(&r->asked, false);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->arrived, NULL);
	pthread_cond_init(&r->released, NULL);
	return r;
}

void rendezvous_free(struct rendezvous **rp)
{
	struct rendezvous *r = *rp;
	if (!r)
		return;
	*rp = NULL;
	CHECK(!atomic_load(&r->asked));
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->arrived);
	pthread_cond_destroy(&r->released);
	mem_free(r->loops);
	mem_free(r);
}

static bool is_other(const struct rendezvous *r)
{
	for (size_t i = 1; i < r->n; i++)
		if (loop_is_own(r->loops[i]))
			return true;
	return false;
}

static void stand_still(struct rendezvous *r)
{
	CHECK(is_other(r));
	pthread_mutex_lock(&r->lock);
	uint64_t round = r->round;
	r->standing += atomic_load(&r->asked);
	pthread_cond_signal(&r->arrived);
	while (atomic_load(&r->asked) && r->round == round)
		pthread_cond_wait(&r->released, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void rendezvous_check(struct rendezvous *r)
{
	if (atomic_load_explicit(&r->asked, memory_order_acquire))
		stand_still(r);
}

void rendezvous_leave(struct rendezvous *r)
{
	CHECK(is_other(r));
	pthread_mutex_lock(&r->lock);
	r->left++;
	r->standing++;
	CHECK(r->standing < r->n);
	pthread_cond_signal(&r->arrived);
	pthread_mutex_unlock(&r->lock);
}

void rendezvous_stop_others(struct rendezvous *r)
{
	CHECK(loop_is_own(r->loops[0]));
	pthread_mutex_lock(&r->lock);
	CHECK(!atomic_load(&r->asked));
	atomic_store(&r->asked, true);
	pthread_mutex_unlock(&r->lock);
	/* After the word is out: a turn that begins with this wake sees it. */
	for (size_t i = 1; i < r->n; i++)
		loop_wake(r->loops[i]);
	pthread_mutex_lock(&r->lock);
	while (r->standing < r->n - 1)
		pthread_cond_wait(&r->arrived, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void rendezvous_go(struct rendezvous *r)
{
	CHECK(loop_is_own(r->loops[0]));
	pthread_mutex_lock(&r->lock);
	CHECK(atomic_load(&r->asked));
	atomic_store(&r->asked, false);
	r->standing = r->left;
	r->round++;
	pthread_cond_broadcast(&r->released);
	pthread_mutex_unlock(&r->lock);
}
