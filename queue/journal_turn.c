/*
 * journal_turn.c - those whose messages go with one sync, and the word they
 * wait on: one call wakes them all, and each sees in it that it may go. None
 * needs the journal's lock for that, or all that wake would only queue up for
 * it. Hence the references: who waited may be gone before whoever woke it is
 * through.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/journal_int.h"

enum {
	OVER = 1, /* in the word; */
	CALL = 2  /* the rest of it counts calls */
};

_Static_assert(sizeof(atomic_uint) == 4, "the kernel compares 32 bits");

struct journal_turn *journal_turn_new(void)
{
	struct journal_turn *t = mem_zalloc(sizeof(*t));
	atomic_init(&t->word, 0);
	atomic_init(&t->refs, 1);
	return t;
}

struct journal_turn *journal_turn_ref(struct journal_turn *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void journal_turn_unref(struct journal_turn *t)
{
	if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		mem_free(t);
}

void journal_turn_end(struct journal_turn *t)
{
	CHECK(!journal_turn_is_over(t));
	atomic_fetch_or_explicit(&t->word, OVER, memory_order_release);
}

void journal_turn_call(struct journal_turn *t)
{
	CHECK(!journal_turn_is_over(t));
	atomic_fetch_add_explicit(&t->word, CALL, memory_order_relaxed);
}

bool journal_turn_is_over(const struct journal_turn *t)
{
	return (atomic_load_explicit(&t->word, memory_order_acquire) & OVER) != 0;
}

unsigned journal_turn_word(const struct journal_turn *t)
{
	return atomic_load_explicit(&t->word, memory_order_relaxed);
}

/* What comes back early, for a signal or for nothing, looks again. */
void journal_turn_wait(struct journal_turn *t, unsigned word)
{
	if ((word & OVER) == 0)
		(void)syscall(SYS_futex, &t->word, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
}

static void wake(struct journal_turn *t, int n)
{
	(void)syscall(SYS_futex, &t->word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void journal_turn_wake_all(struct journal_turn *t)
{
	wake(t, INT_MAX);
}

void journal_turn_wake_one(struct journal_turn *t)
{
	wake(t, 1);
}
