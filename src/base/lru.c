#include "base/lru.h"

#include "base/check.h"

void lru_init(struct lru *l, uint64_t seed, size_t entries_max, size_t bytes_max,
    void (*drop)(struct lru_entry *e))
{
	CHECK(entries_max > 0);
	*l = (struct lru){ .entries_max = entries_max, .bytes_max = bytes_max, .drop = drop };
	map_init(&l->map, seed);
	list_init(&l->order);
}

void lru_remove(struct lru *l, struct lru_entry *e)
{
	struct lru_entry *known = map_remove(&l->map, e->key);

	CHECK(known == e);
	list_remove(&e->node);
	l->bytes -= e->bytes;
	l->drop(e);
}

void lru_clear(struct lru *l)
{
	while (!list_is_empty(&l->order))
		lru_remove(l, list_first(&l->order, struct lru_entry, node));
	CHECK(l->bytes == 0);
}

void lru_fini(struct lru *l)
{
	lru_clear(l);
	map_fini(&l->map);
}

size_t lru_count(const struct lru *l)
{
	return map_count(&l->map);
}

struct lru_entry *lru_find(struct lru *l, struct slice key)
{
	struct lru_entry *e = map_find(&l->map, key);

	if (!e)
		return NULL;
	list_remove(&e->node);
	list_push(&l->order, &e->node);
	return e;
}

void lru_put(struct lru *l, struct slice key, struct lru_entry *e, size_t bytes)
{
	struct lru_entry *old = map_find(&l->map, key);

	if (old)
		lru_remove(l, old);
	e->key = key;
	e->bytes = bytes;
	l->bytes += bytes;
	map_put(&l->map, key, e);
	list_init(&e->node);
	list_push(&l->order, &e->node);
	while (lru_count(l) > l->entries_max || l->bytes > l->bytes_max) {
		struct lru_entry *first = list_first(&l->order, struct lru_entry, node);
		if (first == e)
			break;
		lru_remove(l, first);
	}
}
