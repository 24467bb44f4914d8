/*
 * batch_report.c - a settle that carries the report of its outcome, and the
 * outcomes that reports hold until they stand in a queue file.
 *
 *     take     the item, from the journal: nobody else moves it meanwhile
 *     commit   report and outcome, one record: from here on they are durable
 *     settle   the item's end, its move, its queue file, as of any settle; what
 *              goes wrong now is not the caller's business: the record holds it
 *
 * A report the journal doesn't take becomes queue files first, then the outcome
 * is recorded as any other: a crash in between makes a second report.
 */
#include "base/log.h"
#include "base/mem.h"
#include "queue/batch.h"

bool report_is_on(const struct queue_op *op)
{
	return op->kind == QUEUE_OP_SETTLE && op->msg != NULL;
}

static struct qid id_of(const struct queue_op *op)
{
	return (struct qid){ op->item->id[0], op->item->id[1] };
}

void report_take(struct batch *b, struct queue_op *op)
{
	op->part = op->item->record;
	op->subdir = op->item->subdir;
	if (op->part == NULL)
		return;
	enum journal_place place = journal_take(b->q->journal, op->part);
	op->taken = place == JOURNAL_MOVING;
	op->lost = place == JOURNAL_DAMAGED;
	if (place != JOURNAL_PARKED)
		return;
	op->part = NULL;
	op->subdir = journal_part_dir(op->item->record);
	(void)journal_place(b->q->journal, op->item->record, &op->tail);
}

void report_encode(struct batch *b, struct queue_op *op)
{
	struct buf entries;
	buf_init(&entries, TAIL_APPEND_MAX);
	int err = tail_encode_entries(op->item->mail->envelope, op->rcpts, op->rcpts_n, &entries);
	const struct journal_outcome o = {
		.id = id_of(op),
		.part = op->item->part,
		.over = op->remove,
		.entries = buf_slice(&entries),
	};
	if (err == 0)
		journal_entry_report(b->q->journal, &op->entry, &o);
	batch_fail(op, err);
	buf_fini(&entries);
}

bool report_stands(struct batch *b, struct queue_op *op)
{
	struct journal *j = b->q->journal;
	op->reported = op->result == 0;
	bool taken = op->taken;
	op->taken = false;
	if (!op->reported && taken)
		journal_give_back(j, op->part);
	if (!op->reported || op->part == NULL)
		return !op->reported;
	if (taken && op->remove)
		journal_reported(j, op->part, op->in_journal);
	else if (taken)
		park_move(b, op);
	return true;
}

/* The item is gone; what could not be unlinked is tried again with the folders. */
static void leave_file(struct batch *b, const struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	queue_item_name(op->item, &name);
	spool_discard(b->spool, op->subdir, spool_name_format(&name, text));
}

void report_conclude(struct batch *b, struct queue_op *op)
{
	char id[QUEUE_ID_MAX];
	if (!op->in_journal || !op->reported || op->result == 0)
		return;
	log_warn("queue", "%s: its outcome stays in the journal for now: %s",
	    queue_item_id(op->item, id), err_text(op->result));
	if (op->remove)
		leave_file(b, op);
	op->behind = true;
	op->result = 0;
}

static bool says_all(const struct queue_op *op)
{
	return op->result == 0 && op->rcpts_n > 0 && !op->behind && !op->lost;
}

void report_effects(struct batch *b, const struct queue_op *op)
{
	struct journal *j = b->q->journal;
	bool settles = op->kind == QUEUE_OP_SETTLE;
	bool gone = (op->kind == QUEUE_OP_LOAD && op->gone) ||
		    (settles && op->result == 0 && (op->remove || op->lost));
	if (gone)
		journal_effects_leave(j, id_of(op), op->item->part, UINT64_C(1) << op->subdir);
	else if (settles && says_all(op))
		journal_effects_end(j, id_of(op), op->item->part);
}
