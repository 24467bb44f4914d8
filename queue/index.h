/*
 * index.h - the items of a queue by id: an open-addressed table of pointers,
 * at most 3/4 full, seeded. With the item itself it is all the memory a
 * parked message needs. Loop thread only.
 */
#ifndef QUEUE_INDEX_H
#define QUEUE_INDEX_H

#include "queue/qid.h"
#include "queue/queue.h"

struct index {
	struct queue_item **slots;
	size_t slots_n; /* a power of two, or 0 */
	size_t count;
	uint64_t seed;
};

void index_init(struct index *ix, uint64_t seed);
void index_fini(struct index *ix);                            /* frees the table, not the items */
void index_add(struct index *ix, struct queue_item *item);    /* not there yet */
void index_remove(struct index *ix, struct queue_item *item); /* there */
struct queue_item *index_find(const struct index *ix, struct qid id,
    unsigned part); /* NULL if absent */
/* Cursor 0 starts; NULL at the end. An add or remove in between may show an item twice or not at
 * all. */
struct queue_item *index_next(const struct index *ix, size_t *cursor);
void index_check(const struct index *ix);

#endif
