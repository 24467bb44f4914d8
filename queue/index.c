/*
 * index.c - linear probing with backward-shift removal: no tombstones, so a
 * queue that churns for months probes as little as a fresh one.
 */
#include "queue/index.h"

#include "base/check.h"
#include "base/mem.h"

enum {
	SLOTS_MIN = 64
};

static size_t home_of(const struct index *ix, uint64_t a, uint64_t b, unsigned part)
{
	/* Ids are ours, so mixing is enough; the seed keeps the order from being a promise. */
	uint64_t h = (a ^ ix->seed) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ (h >> 32) ^ b) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 29) ^ part) * UINT64_C(0x94d049bb133111eb);
	return (size_t)(h ^ (h >> 31)) & (ix->slots_n - 1);
}

static size_t home_of_item(const struct index *ix, const struct queue_item *item)
{
	return home_of(ix, item->id[0], item->id[1], item->part);
}

void index_init(struct index *ix, uint64_t seed)
{
	*ix = (struct index){ .seed = seed };
}

void index_fini(struct index *ix)
{
	mem_free(ix->slots);
	*ix = (struct index){ .seed = ix->seed };
}

static void place(struct index *ix, struct queue_item *item)
{
	size_t i = home_of_item(ix, item);
	while (ix->slots[i] != NULL)
		i = (i + 1) & (ix->slots_n - 1);
	ix->slots[i] = item;
}

static void grow(struct index *ix)
{
	struct queue_item **old = ix->slots;
	size_t old_n = ix->slots_n;
	ix->slots_n = old_n == 0 ? SLOTS_MIN : old_n * 2;
	ix->slots = mem_zalloc(ix->slots_n * sizeof(struct queue_item *));
	for (size_t i = 0; i < old_n; i++) {
		if (old[i] != NULL)
			place(ix, old[i]);
	}
	mem_free(old);
}

void index_add(struct index *ix, struct queue_item *item)
{
	if (ix->count >= ix->slots_n / 4 * 3)
		grow(ix);
	place(ix, item);
	ix->count++;
}

struct queue_item *index_find(const struct index *ix, struct qid id, unsigned part)
{
	if (ix->count == 0)
		return NULL;
	size_t i = home_of(ix, id.arrival_ms, id.serial, part);
	for (; ix->slots[i] != NULL; i = (i + 1) & (ix->slots_n - 1)) {
		struct queue_item *item = ix->slots[i];
		if (item->id[0] == id.arrival_ms && item->id[1] == id.serial && item->part == part)
			return item;
	}
	return NULL;
}

void index_remove(struct index *ix, struct queue_item *item)
{
	CHECK(ix->count > 0);
	size_t mask = ix->slots_n - 1, hole = home_of_item(ix, item);
	while (ix->slots[hole] != item) {
		CHECK(ix->slots[hole] != NULL);
		hole = (hole + 1) & mask;
	}
	/* Whoever sits further on because of this one moves back. */
	for (size_t i = (hole + 1) & mask; ix->slots[i] != NULL; i = (i + 1) & mask) {
		size_t home = home_of_item(ix, ix->slots[i]);
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		ix->slots[hole] = ix->slots[i];
		hole = i;
	}
	ix->slots[hole] = NULL;
	ix->count--;
}

struct queue_item *index_next(const struct index *ix, size_t *cursor)
{
	while (*cursor < ix->slots_n) {
		struct queue_item *item = ix->slots[(*cursor)++];
		if (item != NULL)
			return item;
	}
	return NULL;
}

void index_check(const struct index *ix)
{
	size_t seen = 0;
	for (size_t i = 0; i < ix->slots_n; i++) {
		const struct queue_item *item = ix->slots[i];
		if (item == NULL)
			continue;
		struct qid id = { item->id[0], item->id[1] };
		CHECK(index_find(ix, id, item->part) == item);
		seen++;
	}
	CHECK(seen == ix->count);
}
