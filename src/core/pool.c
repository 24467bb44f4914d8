#include "core/pool.h"

#include "base/check.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/limits.h"
#include "core/site.h"

struct pool *pool_new(struct mta *m)
{
	struct pool *p = mem_zalloc(sizeof(*p));

	p->mta = m;
	list_init(&p->all);
	list_init(&p->idle);
	list_init(&p->leaving);
	list_init(&p->outbox);
	return p;
}

void pool_free(struct pool **pp)
{
	struct pool *p = *pp;

	*pp = NULL;
	if (!p)
		return;
	CHECK(p->connections_n == 0);
	mem_free(p);
}

struct connection *pool_find(const struct site *site, const struct connection_target *t)
{
	list_foreach(it, &site->open) {
		struct connection *c = list_entry(it, struct connection, open);
		if (connection_serves(c, t))
			return c;
	}
	return NULL;
}

static bool is_better_to_close(const struct connection *a, const struct connection *b)
{
	return !b || (a->leaving && !b->leaving) ||
	       (a->leaving == b->leaving && a->rests_ms < b->rests_ms);
}

/* Of this site one that nobody waits for: one that leaves, or that has been idle for longest. */
static bool close_one_of(struct site *site)
{
	struct connection *found = NULL;

	list_foreach(it, &site->connections) {
		struct connection *c = list_entry(it, struct connection, in_site);
		if (list_is_linked(&c->idle) && is_better_to_close(c, found))
			found = c;
	}
	if (found)
		connection_give_way(found);
	return found;
}

static bool close_oldest(struct pool *p)
{
	struct list_node *list = list_is_empty(&p->leaving) ? &p->idle : &p->leaving;

	if (list_is_empty(list))
		return false;
	connection_give_way(list_first(list, struct connection, idle));
	return true;
}

bool pool_make_room(struct pool *p, struct site *site, unsigned limit)
{
	const struct mta *m = p->mta;

	while (site->connections_n >= limit)
		if (!close_one_of(site))
			return false;
	/* There are no more deliveries than that (dispatch), and with this one there is no
	 * connection yet: so but for a limit that was lowered, only idle ones are in the way, ours
	 * or another shard's, which will close one now. */
	while (!limits_begin(m->limits, LIMITS_CONNECTIONS, m->conf->outbound.concurrency_max,
	    m->number)) {
		if (close_oldest(p))
			continue;
		limits_ask_others(m->limits, m->number);
		p->crowded = true;
		return false;
	}
	return true;
}

void pool_shrink(struct site *site)
{
	list_foreach(it, &site->connections)
		mta_mark(&list_entry(it, struct connection, in_site)->work);
}

void pool_flush(struct pool *p, struct now now)
{
	const struct mta *m = p->mta;

	while (!list_is_empty(&p->outbox)) {
		struct connection *c = list_first(&p->outbox, struct connection, outbox);
		list_remove(&c->outbox);
		connection_flush(c, now);
	}
	if (limits_is_asked(m->limits, m->number) && close_oldest(p))
		limits_answer(m->limits, m->number);
	if (p->crowded && limits_has_room(m->limits, LIMITS_CONNECTIONS,
			      m->conf->outbound.concurrency_max, m->number)) {
		p->crowded = false;
		dispatch_wake(m->dispatch);
	}
}

void pool_retire_all(struct pool *p, struct now now)
{
	list_foreach(it, &p->all)
		connection_retire(list_entry(it, struct connection, in_pool), now);
}

void pool_close_all(struct pool *p)
{
	while (!list_is_empty(&p->all))
		connection_close(list_first(&p->all, struct connection, in_pool));
}

size_t pool_connections(const struct pool *p)
{
	return p->connections_n;
}
