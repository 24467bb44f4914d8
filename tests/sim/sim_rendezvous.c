/*
 * io/rendezvous.h where turns never overlap: the others stand still anyway.
 * What is left is to see that it would work with threads: that they all run,
 * and look whether somebody asks, in each turn.
 */
#include "io/rendezvous.h"

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim.h"
#include "sim/sim_loop.h"

struct shard {
	struct loop *loop;
	uint64_t looked; /* in this turn of it, the last time */
	bool left;
};

struct rendezvous {
	struct shard *shards;
	size_t n;
	bool standing;
};

struct rendezvous *rendezvous_new(struct loop *const *loops, size_t n)
{
	struct rendezvous *r = mem_zalloc(sizeof(*r));

	CHECK(n > 0);
	r->n = n;
	r->shards = mem_zalloc(n * sizeof(*r->shards));
	for (size_t i = 0; i < n; i++)
		r->shards[i].loop = loops[i];
	return r;
}

void rendezvous_free(struct rendezvous **r)
{
	if (!*r)
		return;
	CHECK(!(*r)->standing);
	mem_free((*r)->shards);
	mem_free(*r);
	*r = NULL;
}

static struct shard *present(struct rendezvous *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (sim_loop_has_turn(r->shards[i].loop))
			return &r->shards[i];
	return NULL;
}

void rendezvous_check(struct rendezvous *r)
{
	struct shard *s = present(r);

	CHECK(s && !s->left);
	s->looked = sim_loop_turns(s->loop);
}

void rendezvous_leave(struct rendezvous *r)
{
	struct shard *s = present(r);

	CHECK(s && s != r->shards && !s->left);
	s->left = true;
}

void rendezvous_stop_others(struct rendezvous *r)
{
	CHECK(sim_loop_has_turn(r->shards[0].loop));
	CHECK(!r->standing);
	for (size_t i = 1; i < r->n; i++) {
		const struct shard *s = &r->shards[i];
		CHECK(s->left || sim_loop_has_thread(s->loop));
		CHECK(s->left || s->looked == sim_loop_turns(s->loop));
	}
	r->standing = true;
	sim_loop_park_others(true);
}

void rendezvous_go(struct rendezvous *r)
{
	CHECK(sim_loop_has_turn(r->shards[0].loop));
	CHECK(r->standing);
	r->standing = false;
	sim_loop_park_others(false);
	/* With threads, each goes on with the turn in which it was stopped. */
	for (size_t i = 1; i < r->n; i++)
		if (!r->shards[i].left)
			loop_wake(r->shards[i].loop);
}
