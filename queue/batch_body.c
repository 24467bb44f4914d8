/*
 * batch_body.c - messages too large for a record: their bodies, which came to
 * files in tmp/, get names in body/ before the journal's record names them.
 * journal_body.c draws the states.
 */
#include "base/mem.h"
#include "queue/batch.h"

static bool is_large(const struct queue_op *op)
{
	return op->msg != NULL && op->msg->err == 0 && op->msg->fd >= 0;
}

/* Encoded and whole; false if it is not for the journal, or failed. */
static bool prepare(struct batch *b, struct queue_op *op)
{
	batch_encode_entry(b, op);
	if (op->entry.result == 0)
		batch_fail(op, queue_spill_rest(op->msg));
	batch_fail(op, MIN(op->entry.result, 0));
	op->body_named = op->entry.result == 0 && op->result == 0;
	if (!op->body_named)
		journal_entry_drop(&op->entry);
	return op->body_named;
}

/* As batch_sync_window does: hints first, so that one commit of the filesystem's serves for all. */
static void sync_bodies(struct batch *b, struct queue_op *const *ops, size_t n)
{
	for (unsigned wait = 0; n > 1 && wait < 2; wait++) {
		for (size_t i = 0; i < n; i++)
			(void)b->io->flush(b->io->arg, ops[i]->msg->fd, wait > 0);
	}
	for (size_t i = 0; i < n; i++) {
		atomic_fetch_add_explicit(&b->spool->syncs, 1, memory_order_relaxed);
		batch_fail(ops[i], b->io->sync(b->io->arg, ops[i]->msg->fd));
	}
}

static void publish(struct batch *b, struct queue_op *const *ops, size_t n)
{
	struct journal *j = b->q->journal;
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		if (ops[i]->result == 0)
			batch_fail(ops[i], journal_body_publish(j, ops[i]->msg->id));
		ops[i]->body_named = ops[i]->result == 0;
		any = any || ops[i]->body_named;
	}
	int err = any ? journal_body_sync(j) : 0;
	for (size_t i = 0; i < n; i++) {
		bool named = ops[i]->body_named;
		if (named)
			batch_fail(ops[i], err);
		if (ops[i]->result == 0)
			continue;
		if (named)
			journal_body_refused(j, ops[i]->msg->id, false);
		ops[i]->body_named = false;
		journal_entry_drop(&ops[i]->entry);
	}
}

void body_begin(struct batch *b, struct queue_op *const *ops, size_t n)
{
	struct queue_op **large = NULL;
	size_t large_n = 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_large(ops[i]) || !prepare(b, ops[i]))
			continue;
		if (large == NULL)
			large = mem_alloc(n * sizeof(struct queue_op *));
		large[large_n++] = ops[i];
	}
	if (large_n > 0) {
		sync_bodies(b, large, large_n);
		publish(b, large, large_n);
	}
	mem_free(large);
}

void body_end(struct batch *b, struct queue_op *op)
{
	struct journal *j = b->q->journal;
	if (!op->body_named || op->in_journal)
		return;
	op->body_named = false;
	if (op->result < 0) {
		journal_body_refused(j, op->msg->id, true);
		return;
	}
	/* The journal is full: queue files are made of it in tmp/. */
	int err = journal_body_take_back(j, op->msg->id);
	batch_fail(op, err);
	if (err < 0)
		journal_body_refused(j, op->msg->id, false);
}
