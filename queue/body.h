/*
 * body.h - the bytes of a message, in memory, in its queue file or in the journal.
 *
 * Ref-counted, shared by the items of a message and by deliveries on any
 * thread; immutable. The pool counts what is in memory against a budget; it
 * outlives the queue while a body does. The public half (queue_body_*) is in
 * queue.h.
 */
#ifndef QUEUE_BODY_H
#define QUEUE_BODY_H

#include "queue/qio.h"
#include "queue/queue.h"

struct body_pool;

struct body_pool *body_pool_new(uint64_t max_bytes);
void body_pool_unref(struct body_pool **pool);
uint64_t body_pool_bytes(const struct body_pool *pool);

/* Takes mem (heap, at least bytes long) and returns a body, or leaves it and returns NULL when the
 * budget is used up. */
struct queue_body *body_new_memory(struct body_pool *pool, char *mem, size_t bytes);
/* Takes fd, in which the body starts at offset. */
struct queue_body *body_new_file(struct body_pool *pool, const struct qio *io, int fd,
    uint64_t offset, uint64_t bytes);
/* In a file others use as well: release(arg) in place of closing fd. */
struct queue_body *body_new_shared(struct body_pool *pool, const struct qio *io, int fd,
    uint64_t offset, uint64_t bytes, void (*release)(void *arg), void *arg);

#endif
