/*
 * map.h - hash map from byte strings to pointers, seeded against flooding.
 *
 * Keys are copied. Values are the caller's. Iteration order is unspecified
 * but the same for the same seed and history. Not thread-safe.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map_entry;

struct map {
	struct map_entry **slots;
	size_t slots_n; /* a power of two, or 0 */
	size_t count;
	uint64_t seed[2];
};

void map_init(struct map *m, uint64_t seed);
void map_fini(struct map *m); /* frees keys and table, not the values */
size_t map_count(const struct map *m);
void *map_find(const struct map *m, struct slice key); /* NULL if absent */
/* value not NULL; returns the one replaced, or NULL */
void *map_put(struct map *m, struct slice key, void *value);
void *map_remove(struct map *m, struct slice key); /* the value removed, or NULL */

/* Cursor 0 starts; returns false at the end. The map must not change while one iterates. */
bool map_next(const struct map *m, size_t *cursor, struct slice *key, void **value);

/* SipHash-2-4 of the bytes under the seed: for sharding and file names too. */
uint64_t map_hash(const uint64_t seed[2], struct slice key);

#endif
