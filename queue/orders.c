/*
 * orders.c - remembered commands by target; see orders.h.
 */
#include "queue/orders.h"

#include <errno.h>

#include "base/check.h"
#include "base/mem.h"

struct order {
	enum queue_order change; /* the last of hold, release and delete; NONE */
	uint64_t given;          /* when that was: the later of two counts */
	bool flush;
};

enum {
	TARGETS_OF_ITEM = 3
};

void orders_init(struct orders *o, uint64_t seed)
{
	*o = (struct orders){ 0 };
	map_init(&o->by_target, seed);
}

void orders_forget(struct orders *o)
{
	struct slice key;
	void *order;
	for (size_t at = 0; map_next(&o->by_target, &at, &key, &order);)
		mem_free(order);
	map_fini(&o->by_target);
	o->flush_all = false;
}

void orders_fini(struct orders *o)
{
	orders_forget(o);
	mem_free(o->found);
}

int orders_give(struct orders *o, enum queue_order order, struct slice target)
{
	struct order *r = map_find(&o->by_target, target);
	CHECK(order != QUEUE_ORDER_NONE);
	if (r == NULL) {
		if (map_count(&o->by_target) >= QUEUE_ORDERS_MAX)
			return -ENOSPC;
		r = mem_zalloc(sizeof(*r));
		(void)map_put(&o->by_target, target, r);
	}
	if (order == QUEUE_ORDER_FLUSH) {
		r->flush = true;
	} else if (r->change != QUEUE_ORDER_DELETE) {
		r->change = order;
		r->given = ++o->given;
	}
	return 1;
}

static void find_all(const struct orders *o, const struct spool_name *name,
    const struct order *of[TARGETS_OF_ITEM])
{
	char id[QID_TEXT_MAX];
	of[0] = map_find(&o->by_target, name->domain);
	of[1] = map_find(&o->by_target, slice_str(qid_format(name->id, id)));
	of[2] = map_find(&o->by_target, slice_str(qid_format_part(name->id, name->part, id)));
}

enum queue_order orders_find(const struct orders *o, const struct spool_name *name)
{
	const struct order *of[TARGETS_OF_ITEM], *last = NULL;
	if (map_count(&o->by_target) == 0)
		return QUEUE_ORDER_NONE;
	find_all(o, name, of);
	for (int i = 0; i < TARGETS_OF_ITEM; i++) {
		const struct order *r = of[i];
		if (r == NULL || r->change == QUEUE_ORDER_NONE)
			continue;
		if (r->change == QUEUE_ORDER_DELETE)
			return QUEUE_ORDER_DELETE;
		if (last == NULL || r->given > last->given)
			last = r;
	}
	return last == NULL ? QUEUE_ORDER_NONE : last->change;
}

bool orders_flushed(const struct orders *o, const struct spool_name *name)
{
	const struct order *of[TARGETS_OF_ITEM];
	bool flush = o->flush_all;
	if (flush || map_count(&o->by_target) == 0)
		return flush;
	find_all(o, name, of);
	for (int i = 0; i < TARGETS_OF_ITEM; i++)
		flush = flush || (of[i] != NULL && of[i]->flush);
	return flush;
}

void orders_list(struct orders *o, const struct spool_name *name, enum queue_order order)
{
	if (o->found_n == o->found_max) {
		o->found_max = o->found_max * 2 + 16;
		o->found = mem_realloc(o->found, o->found_max * sizeof(*o->found));
	}
	o->found[o->found_n++] =
	    (struct ordered){ .id = name->id, .part = name->part, .order = order };
}

bool orders_next(struct orders *o, struct ordered *found)
{
	if (o->found_n == 0)
		return false;
	*found = o->found[--o->found_n];
	return true;
}
