/*
 * batch.h - the operations one queue_run works on, between batch.c (the order
 * of things, queue files), batch_body.c (large messages), batch_park.c (mail
 * that leaves the journal for a queue file) and batch_report.c (settles that
 * carry a report). Private to them.
 */
#ifndef QUEUE_BATCH_H
#define QUEUE_BATCH_H

#include "queue/queue_int.h"

enum {
	BATCH_WINDOW = 256
}; /* files open at a time */

struct batch {
	struct queue *q;
	struct spool *spool;
	const struct qio *io;
	unsigned subdir; /* for the commits of this batch that make queue files */
	bool published;

	struct {
		int fd;
		struct queue_op *op;
	} open[BATCH_WINDOW];

	size_t open_n;
};

void batch_fail(struct queue_op *op, int err); /* the first counts */
void batch_sync_later(struct batch *b, int fd,
    struct queue_op *op); /* from here on the descriptor is the window's */
void batch_sync_window(struct batch *b);

void batch_encode_entry(struct batch *b, struct queue_op *op); /* of a COMMIT: op->entry */

/* batch_body.c: before the journal is written, bodies that came to files get their names in body/,
 * durably (op->body_named), but of messages the journal won't take. */
void body_begin(struct batch *b, struct queue_op *const *ops, size_t n);
/* After it: what becomes of the file of a message that didn't go there. */
void body_end(struct batch *b, struct queue_op *op);

/*
 * A settle or hold of an item the journal has, before anything is written:
 * what is over is noted; what can stay, stays; what must move becomes a file
 * in tmp/ (op->moving). False if the item has a queue file, with op->subdir set.
 */
bool park_begin(struct batch *b, struct queue_op *op);
/* It is MOVING, for this operation: writes its file. */
void park_move(struct batch *b, struct queue_op *op);
/* After the window is synced: all that moves into its sub-directories, these synced. What failed is
 * the journal's again. */
void park_publish(struct batch *b, struct queue_op *const *ops, size_t n);
/* Of the oldest segment, when space gets short: all that is left in it; notes what moved for
 * queue_finish. */
void park_oldest(struct batch *b, struct queue_op *sync);

bool report_is_on(const struct queue_op *op); /* a settle that carries one */
/* In this order: before anything is written; the journal's entry becomes both; once it is known
 * whether the report stands: true if nothing is to do with a queue file; at the end. */
void report_take(struct batch *b, struct queue_op *op);
void report_encode(struct batch *b, struct queue_op *op);
bool report_stands(struct batch *b, struct queue_op *op);
void report_conclude(struct batch *b, struct queue_op *op);
/* Any operation has run: outcomes held for its item that stand elsewhere now. */
void report_effects(struct batch *b, const struct queue_op *op);

#endif
