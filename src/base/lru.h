/*
 * lru.h - a bounded map that forgets what was not used for longest.
 *
 * Entries are embedded in the caller's objects and bounded twice: by number,
 * and by the bytes each says it takes. What is dropped, to make room or at
 * the end, goes to a function of the caller. A hit costs a hash and no
 * allocation. It knows no time: what is too old, the caller finds out. Not
 * thread-safe.
 */
#ifndef BASE_LRU_H
#define BASE_LRU_H

#include "base/list.h"
#include "base/map.h"

struct lru_entry {
	struct list_node node;
	struct slice key; /* the caller's, as long as the entry is in */
	size_t bytes;
};

struct lru {
	struct map map;
	struct list_node order; /* least recently used first */
	size_t bytes;
	size_t entries_max, bytes_max;
	void (*drop)(struct lru_entry *e); /* it is out already; frees the object */
};

void lru_init(struct lru *l, uint64_t seed, size_t entries_max, size_t bytes_max,
    void (*drop)(struct lru_entry *e));
void lru_fini(struct lru *l); /* drops all */
void lru_clear(struct lru *l);
size_t lru_count(const struct lru *l);
/* NULL if absent; a hit makes it the last to be dropped. */
struct lru_entry *lru_find(struct lru *l, struct slice key);
/*
 * Takes e over; key must lie in e's object. One with the same key is dropped, then others until
 * both maxima hold; e itself stays even if it is larger than bytes_max.
 */
void lru_put(struct lru *l, struct slice key, struct lru_entry *e, size_t bytes);
void lru_remove(struct lru *l, struct lru_entry *e); /* and drops it */

#endif
