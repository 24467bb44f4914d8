/*
 * batch_park.c - from the journal to queue files: mail that was deferred, held
 * or tried in part, and what is left in a segment that is wanted again.
 *
 * The file is written to tmp/, synced, renamed, its directory synced; then the
 * journal notes that the part is parked, and syncs the note. Until then the
 * part is MOVING: nobody else moves or ends it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/batch.h"

enum {
	PARK_MAX = 32768 /* parts moved by one SYNC */
};

/* --- write ---------------------------------------------------------------------- */

static int write_file(struct batch *b, struct queue_op *op, const struct envelope *e,
    const struct qfile_body *body)
{
	char id[QID_TEXT_MAX];
	/* A name of its own each time: what is left of a move that failed is not in the way of the
	 * next. */
	snprintf(op->tmp_name, sizeof(op->tmp_name), "%s.%u",
	    qid_format_part(journal_part_id(op->part), op->part->number, id),
	    atomic_fetch_add(&b->q->store->moves, 1));
	int fd = b->io->open(b->io->arg, b->spool->tmp, op->tmp_name, QIO_OPEN_CREATE);
	if (fd < 0)
		return fd;
	op->in_tmp = true;
	int err = qfile_write(b->io, fd, e, body, &op->tail);
	if (err == 0 && op->rcpts_n > 0)
		err = qfile_append(b->io, fd, op->item != NULL ? op->item->mail->envelope : e,
		    op->rcpts, op->rcpts_n, &op->tail);
	if (err < 0) {
		(void)b->io->close(b->io->arg, fd);
		return err;
	}
	batch_sync_later(b, fd, op);
	return 0;
}

/* From memory where it is there whole, else from the journal. */
static int write_part(struct batch *b, struct queue_op *op)
{
	struct journal_mail m;
	struct queue_mail *mail = op->item != NULL ? op->item->mail : NULL;
	struct slice body = mail != NULL ? queue_body_memory(mail->body) : SLICE_NONE;
	if (body.p != NULL) {
		struct qfile_body from = { .mem = body.p,
			.fd = -1,
			.bytes = body.n,
			.crc = codec_crc32c(0, body.p, body.n) };
		return write_file(b, op, mail->envelope, &from);
	}
	int err = journal_read(b->q->journal, op->part, &m);
	if (err < 0)
		return err;
	struct qfile_body from = { .mem = m.mem,
		.fd = m.fd,
		.fd_at = m.body_at,
		.bytes = m.body_bytes,
		.crc = m.body_crc };
	if (op->item == NULL) { /* its name needs these */
		op->domain = mem_strdup(m.envelope->domain);
		op->due_ms = m.envelope->arrival_ms;
		if (m.told)
			op->rcpts_n = queue_name_rcpts(m.envelope, &op->rcpts);
	}
	err = write_file(b, op, m.envelope, &from);
	journal_mail_fini(&m);
	return err;
}

void park_move(struct batch *b, struct queue_op *op)
{
	op->moving = true;
	op->subdir = journal_part_dir(op->part);
	int err = write_part(b, op);
	batch_fail(op, err);
}

bool park_begin(struct batch *b, struct queue_op *op)
{
	struct journal *j = b->q->journal;
	op->part = op->item->record;
	op->subdir = op->item->subdir;
	if (op->part == NULL)
		return false;
	op->stays = op->kind == QUEUE_OP_SETTLE && !op->remove && op->rcpts_n == 0 && !op->held;
	enum journal_place place = op->remove  ? journal_end(j, op->part)
				   : op->stays ? journal_place(j, op->part, NULL)
					       : journal_take(j, op->part);
	if (place == JOURNAL_PARKED) {
		op->stays = false;
		op->subdir = journal_part_dir(op->part);
		/* Nothing was recorded before it moved, so what it has now ends there. */
		(void)journal_place(j, op->part, &op->tail);
		return false;
	}
	if (place == JOURNAL_MOVING && !op->stays)
		park_move(b, op);
	else if (place == JOURNAL_DAMAGED && !op->remove)
		batch_fail(op,
		    ERR_CORRUPT); /* its record is in corrupt/; what memory knows stays there */
	return true;
}

/* --- publish -------------------------------------------------------------------- */

static void name_of(const struct queue_op *op, struct spool_name *name)
{
	if (op->item != NULL) {
		queue_item_name(op->item, name);
		name->due_ms = op->due_ms;
		name->attempts = op->attempts;
		name->held = op->held;
		return;
	}
	struct qid id = journal_part_id(op->part);
	*name = (struct spool_name){
		.due_ms = op->due_ms, /* as its item says: the id's time may be later */
		.id = id,
		.part = op->part->number,
		.domain = slice_str(op->domain),
	};
}

static void publish(struct batch *b, struct queue_op *op, uint64_t *dirs)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	if (op->result < 0)
		return;
	name_of(op, &name);
	int err = spool_publish(b->spool, op->tmp_name, op->subdir, spool_name_format(&name, text));
	if (err == -EEXIST) { /* what is left of a move that failed, if anything */
		spool_remove_orphans(b->spool);
		err = spool_publish(b->spool, op->tmp_name, op->subdir, text);
	}
	if (err == 0) {
		op->in_tmp = false;
		op->renamed = true;
		*dirs |= UINT64_C(1) << op->subdir;
	}
	batch_fail(op, err);
}

/* Nothing of a move that failed stays behind. */
static void undo(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	if (op->in_tmp)
		spool_discard(b->spool, SPOOL_TMP, op->tmp_name);
	if (op->renamed) {
		name_of(op, &name);
		spool_discard(b->spool, op->subdir, spool_name_format(&name, text));
	}
	op->in_tmp = op->renamed = false;
}

static void conclude(struct batch *b, struct queue_op *op)
{
	if (op->result == 0) {
		journal_parked(b->q->journal, op->part, &op->tail);
		return;
	}
	undo(b, op);
	journal_give_back(b->q->journal, op->part);
}

void park_publish(struct batch *b, struct queue_op *const *ops, size_t n)
{
	uint64_t dirs = 0;
	for (size_t i = 0; i < n; i++) {
		if (ops[i]->moving)
			publish(b, ops[i], &dirs);
	}
	for (unsigned dir = 0; dirs != 0 && dir < SPOOL_DIRS; dir++) {
		int err = (dirs >> dir & 1) != 0 ? spool_sync(b->spool, dir) : 0;
		for (size_t i = 0; err < 0 && i < n; i++) {
			if (ops[i]->moving && ops[i]->subdir == dir)
				batch_fail(ops[i], err);
		}
	}
	bool parked = false;
	for (size_t i = 0; i < n; i++) {
		if (!ops[i]->moving)
			continue;
		conclude(b, ops[i]);
		parked = parked || ops[i]->result == 0;
	}
	/* Before anyone can unlink the file: a lost end would then bring the mail back as it came.
	 * If it fails, the next sync tries again. */
	if (parked)
		(void)!journal_sync(b->q->journal);
}

/* --- what is to leave -------------------------------------------- */

/* A record that can't be read is set aside, or it would keep its segment for ever. */
static void after_move(struct batch *b, struct queue_op *sync, struct queue_op *op)
{
	if (op->result == 0) {
		if (op->rcpts_n > 0)
			journal_effects_end(b->q->journal, op->moved_id, op->moved_part);
		struct moved *m = &sync->moved[sync->moved_n++];
		*m = (struct moved){ .id = op->moved_id, .part = op->moved_part };
		return;
	}
	if (op->result == ERR_CORRUPT || op->result == ERR_VERSION) {
		int err = journal_damaged(b->q->journal, op->part);
		batch_fail(sync, err);
		return;
	}
	batch_fail(sync, op->result);
}

/* A window of them, with the operations' own machinery. */
static size_t park_some(struct batch *b, struct queue_op *sync)
{
	struct journal_part *parts[BATCH_WINDOW];
	struct queue_op *ops[BATCH_WINDOW];
	size_t n = journal_collect(b->q->journal, parts, BATCH_WINDOW);
	if (n == 0)
		return 0;
	sync->moved = mem_realloc(sync->moved, (sync->moved_n + n) * sizeof(*sync->moved));
	for (size_t i = 0; i < n; i++) {
		ops[i] = mem_zalloc(sizeof(*ops[i]));
		ops[i]->kind = QUEUE_OP_SETTLE;
		ops[i]->q = b->q;
		ops[i]->part = parts[i];
		ops[i]->moved_id = journal_part_id(parts[i]);
		ops[i]->moved_part = parts[i]->number;
		park_move(b, ops[i]);
	}
	batch_sync_window(b);
	park_publish(b, ops, n);
	for (size_t i = 0; i < n; i++) {
		after_move(b, sync, ops[i]);
		mem_free(ops[i]->domain);
		mem_free(ops[i]->rcpts);
		mem_free(ops[i]);
	}
	return n;
}

void park_oldest(struct batch *b, struct queue_op *sync)
{
	size_t done = 0, n;
	while (sync->result == 0 && done < PARK_MAX && (n = park_some(b, sync)) > 0)
		done += n;
}
