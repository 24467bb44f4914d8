/*
 * batch.c - the work of a worker: many operations with as few syncs as the
 * disk allows.
 *
 * In this order, so that a message is on stable storage before it is said to
 * be, and an outcome before its name:
 *
 *     bodies   those that came to files: synced, and named in body/
 *     journal  ends are noted; then messages, which these ride along with, and
 *              reports with their outcomes
 *     write    into tmp/: commits the journal doesn't take, mail that leaves it;
 *              records of settles to their files
 *     sync     every file written: first the data of all, so that the filesystem's
 *              journal commits once for the batch
 *     publish  commits: rename all into one sub-directory, sync that once;
 *              mail that left the journal: into those of its segments
 *     undo     what failed: unlink, sync again
 *     settle   what queue files now carry the report of
 *     rename   settles; then holds, loads and directory syncs
 *
 * Files stay open between write and sync, WINDOW at most; a full window is
 * synced early. A failed sync fails the operation: the file is never trusted
 * nor synced again.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/batch.h"

void batch_fail(struct queue_op *op, int err)
{
	if (op->result == 0)
		op->result = err;
}

/* --- sync ----------------------------------------------------------------------- */

void batch_sync_window(struct batch *b)
{
	/*
	 * Hints; the sync tells. Once the data of all has arrived, the changes to all their
	 * inodes stand in one journal transaction, which the first sync commits for the rest.
	 */
	for (unsigned wait = 0; b->open_n > 1 && wait < 2; wait++) {
		for (size_t i = 0; i < b->open_n; i++)
			(void)b->io->flush(b->io->arg, b->open[i].fd, wait > 0);
	}
	for (size_t i = 0; i < b->open_n; i++) {
		struct queue_op *op = b->open[i].op;
		int err = op->result;
		if (err == 0) {
			atomic_fetch_add_explicit(&b->spool->syncs, 1, memory_order_relaxed);
			err = b->io->sync(b->io->arg, b->open[i].fd);
		}
		int closed = b->io->close(b->io->arg, b->open[i].fd);
		batch_fail(op, err < 0 ? err : closed);
	}
	b->open_n = 0;
}

void batch_sync_later(struct batch *b, int fd, struct queue_op *op)
{
	if (b->open_n == BATCH_WINDOW)
		batch_sync_window(b);
	b->open[b->open_n].fd = fd;
	b->open[b->open_n].op = op;
	b->open_n++;
}

/* --- commit ---------------------------------------------------------------------- */

void batch_part_name(const struct queue_op *op, const struct part *p, struct spool_name *name)
{
	*name = (struct spool_name){
		.due_ms = p->envelope->arrival_ms,
		.id = op->msg->id,
		.part = p->number,
		.domain = slice_str(p->envelope->domain),
	};
}

static struct qfile_body body_of(const struct queue_msg *m)
{
	bool in_file = m->fd >= 0;
	return (struct qfile_body){
		.mem = in_file ? NULL : (buf_len(&m->mem) > 0 ? buf_ptr(&m->mem) : ""),
		.fd = m->fd,
		.fd_at = QFILE_RESERVE_BYTES,
		.bytes = m->bytes,
		.crc = m->crc,
	};
}

/* One record for all its destinations. Those the journal doesn't take are written as queue files.
 */
void batch_encode_entry(struct batch *b, struct queue_op *op)
{
	struct queue_msg *m = op->msg;
	const struct journal_body body = { .bytes = m->bytes,
		.crc = m->crc,
		.in_file = m->fd >= 0 };
	const struct envelope **envelopes = mem_alloc(op->parts_n * sizeof(*envelopes));
	for (size_t i = 0; i < op->parts_n; i++)
		envelopes[i] = op->parts[i].envelope;
	journal_entry_init(b->q->journal, &op->entry, m->id, envelopes, op->parts_n,
	    body.in_file ? NULL : buf_ptr(&m->mem), &body);
	mem_free(envelopes);
	if (report_is_on(op))
		report_encode(b, op);
}

static bool is_for_files(const struct queue_op *op)
{
	return op->msg != NULL && !op->in_journal;
}

static bool is_for_journal(const struct queue_op *op)
{
	return op->msg != NULL && op->msg->err == 0 && (op->msg->fd < 0 || op->body_named);
}

static void commit_to_journal(struct batch *b, struct queue_op *const *ops, size_t n)
{
	struct journal_entry **entries = mem_alloc(n * sizeof(struct journal_entry *) + 1);
	size_t entries_n = 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_for_journal(ops[i]))
			continue;
		if (!ops[i]->body_named)
			batch_encode_entry(b, ops[i]);
		entries[entries_n++] = &ops[i]->entry;
	}
	if (entries_n > 0)
		journal_commit(b->q->journal, entries, entries_n);
	for (size_t i = 0; i < n; i++) {
		if (!is_for_journal(ops[i]))
			continue;
		struct queue_op *op = ops[i];
		batch_fail(op, MIN(op->entry.result, 0));
		op->in_journal = op->entry.result == 0;
		op->record = op->in_journal ? op->entry.msg : NULL;
		journal_entry_fini(&op->entry);
		body_end(b, op);
	}
	mem_free(entries);
}

/* The file in which the body already is becomes the queue file. ERR_TOO_BIG if the envelope doesn't
 * fit in front. */
static int adopt_spill(struct batch *b, struct queue_op *op, struct part *p)
{
	struct queue_msg *m = op->msg;
	struct qfile_body body = body_of(m);
	char id[QID_TEXT_MAX];
	body.in_place = true;
	int err = qfile_write(b->io, m->fd, p->envelope, &body, &p->tail);
	if (err < 0)
		return err;
	p->place = PART_IN_TMP;
	qid_format(m->id, id);
	memcpy(p->tmp_name, id, sizeof(id));
	batch_sync_later(b, m->fd, op);
	m->fd = -1;
	return 0;
}

static int write_part(struct batch *b, struct queue_op *op, struct part *p)
{
	struct qfile_body body = body_of(op->msg);
	int fd = b->io->open(b->io->arg, b->spool->tmp, p->tmp_name, QIO_OPEN_CREATE);
	if (fd < 0)
		return fd;
	p->place = PART_IN_TMP;
	int err = qfile_write(b->io, fd, p->envelope, &body, &p->tail);
	if (err < 0) {
		(void)b->io->close(b->io->arg, fd);
		return err;
	}
	batch_sync_later(b, fd, op);
	return 0;
}

/* The first part comes last: it may take the spilled body's file, from which the others are copied.
 */
static void write_commit(struct batch *b, struct queue_op *op)
{
	struct queue_msg *m = op->msg;
	batch_fail(op, m->err);
	if (op->result == 0)
		batch_fail(op, queue_spill_rest(m));
	for (size_t i = op->parts_n; op->result == 0 && i > 0; i--) {
		struct part *p = &op->parts[i - 1];
		int err = ERR_TOO_BIG;
		if (i == 1 && m->fd >= 0)
			err = adopt_spill(b, op, p);
		if (err == ERR_TOO_BIG)
			err = write_part(b, op, p);
		batch_fail(op, err);
	}
}

static void publish(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	op->msg_subdir = b->subdir;
	for (size_t i = 0; op->result == 0 && i < op->parts_n; i++) {
		struct part *p = &op->parts[i];
		batch_part_name(op, p, &name);
		int err =
		    spool_publish(b->spool, p->tmp_name, b->subdir, spool_name_format(&name, text));
		if (err == 0)
			p->place = PART_PUBLISHED;
		b->published = b->published || err == 0;
		batch_fail(op, err);
	}
}

/* Nothing of a message that failed stays behind; nor does the spilled body of one that made it. */
static bool undo(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	bool unpublished = false;
	if (op->msg->fd >= 0)
		spool_discard(b->spool, SPOOL_TMP, qid_format(op->msg->id, text));
	for (size_t i = 0; op->result < 0 && i < op->parts_n; i++) {
		struct part *p = &op->parts[i];
		batch_part_name(op, p, &name);
		if (p->place == PART_IN_TMP)
			spool_discard(b->spool, SPOOL_TMP, p->tmp_name);
		if (p->place == PART_PUBLISHED) {
			spool_discard(b->spool, b->subdir, spool_name_format(&name, text));
			unpublished = true;
		}
		p->place = PART_NONE;
	}
	return unpublished;
}

static void publish_all(struct batch *b, struct queue_op *const *ops, size_t n)
{
	bool unpublished = false;
	for (size_t i = 0; i < n; i++) {
		if (is_for_files(ops[i]))
			publish(b, ops[i]);
	}
	int err = b->published ? spool_sync(b->spool, b->subdir) : 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_for_files(ops[i]))
			continue;
		batch_fail(ops[i], err);
		unpublished = undo(b, ops[i]) || unpublished;
	}
	if (!unpublished)
		return;
	err = spool_sync(b->spool,
	    b->subdir); /* stays dirty if it fails: the next sync tries again */
	if (err < 0)
		log_error("queue", "queue/%02x: the removal of refused messages is not synced: %s",
		    b->subdir, err_text(err));
}

/* --- settle, hold ------------------------------------------------------------------ */

static void write_settle(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	if (op->remove || op->rcpts_n == 0)
		return;
	queue_item_name(op->item, &name);
	int fd = b->io->open(b->io->arg, b->spool->dirs[op->subdir], spool_name_format(&name, text),
	    QIO_OPEN_WRITE);
	if (fd < 0) {
		batch_fail(op, fd);
		return;
	}
	int err = op->doubt_at > 0 ? qfile_renew(b->io, fd, op->doubt_at, op->tail.end) : 0;
	if (err == 0)
		err = qfile_append(b->io, fd, op->item->mail->envelope, op->rcpts, op->rcpts_n,
		    &op->tail);
	if (err < 0) {
		(void)b->io->close(b->io->arg, fd);
		batch_fail(op, err);
		return;
	}
	batch_sync_later(b, fd, op);
}

static int rename_item(struct batch *b, struct queue_op *op)
{
	char from[SPOOL_NAME_MAX], to[SPOOL_NAME_MAX];
	struct spool_name name;
	queue_item_name(op->item, &name);
	spool_name_format(&name, from);
	name.due_ms = op->due_ms;
	name.attempts = op->attempts;
	name.held = op->held;
	int err = spool_rename(b->spool, op->subdir, from, spool_name_format(&name, to));
	op->renamed = err == 0;
	return err;
}

static void finish_settle(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	int err;
	if (op->result < 0)
		return;
	queue_item_name(op->item, &name);
	spool_name_format(&name, text);
	if (op->remove) {
		/* A report's record says that it is over, too. */
		err = op->in_journal ? 0 : journal_secure(b->q->journal);
		if (err == 0)
			err = spool_remove(b->spool, op->subdir, text);
		if (err == -ENOENT)
			log_warn("queue", "queue/%02x/%s was already gone", op->subdir, text);
		else
			batch_fail(op, err);
		return;
	}
	/* The record is safe, and it is what counts: an old name only means an early look after a
	 * restart. */
	err = rename_item(b, op);
	if (err < 0 && op->held != op->item->name_held) /* but a hold stands nowhere else */
		batch_fail(op, err);
	if (err < 0)
		log_warn("queue", "queue/%02x/%s can't be renamed: %s", op->subdir, text,
		    err_text(err));
}

/* --- load ------------------------------------------------------------------------ */

static void adopt_loaded(struct batch *b, struct queue_op *op, struct qfile_loaded *l, int fd)
{
	struct queue_body *body = NULL;
	if (l->mem != NULL)
		body = body_new_memory(b->q->pool, l->mem, (size_t)l->body_bytes);
	if (body != NULL) {
		(void)b->io->close(b->io->arg, fd);
	} else {
		mem_free(l->mem);
		body = body_new_file(b->q->pool, b->io, fd, l->body_at, l->body_bytes);
	}
	op->mail = mem_zalloc(sizeof(*op->mail));
	op->mail->pub.envelope = l->envelope;
	op->mail->pub.body = body;
	op->mail->tail = l->tail;
	op->mail->doubt_at = l->tail.records > 0 ? l->tail_at : 0;
}

static void load_failed(struct batch *b, struct queue_op *op, const char *name, int err,
    const char *why)
{
	if (err == ERR_CORRUPT || err == ERR_VERSION) {
		int moved = spool_quarantine(b->spool, op->subdir, name, why);
		op->gone = moved == 0 || moved == -ENOENT;
		batch_fail(op, op->gone ? ERR_CORRUPT : moved);
		return;
	}
	log_error("queue", "queue/%02x/%s can't be read, stays: %s", op->subdir, name,
	    err_text(err));
	batch_fail(op, err);
}

static void load_file(struct batch *b, struct queue_op *op, const struct spool_name *name,
    const char *text, int fd)
{
	struct qfile_loaded l;
	int err = qfile_load(b->io, fd, &l);
	if (err == 0 && !spool_name_fits(name, l.envelope->queue_id, l.envelope->domain)) {
		err = ERR_CORRUPT;
		l.why = "it is another file than its name says";
		envelope_free(&l.envelope);
		mem_free(l.mem);
	}
	if (err < 0) {
		(void)b->io->close(b->io->arg, fd);
		load_failed(b, op, text, err, l.why);
		return;
	}
	if (l.torn)
		log_warn("queue", "queue/%02x/%s ends in an outcome record cut short: ignored that",
		    op->subdir, text);
	adopt_loaded(b, op, &l, fd);
	op->mail->snapshot = journal_effects_apply(b->q->journal, name->id, name->part, l.envelope);
	if (envelope_pending(l.envelope) > 0)
		return;
	/* All is decided; only the unlink was lost, or has not come yet. */
	err = journal_secure(b->q->journal);
	if (err == 0)
		err = spool_remove(b->spool, op->subdir, text);
	op->gone = err == 0 || err == -ENOENT;
	batch_fail(op, op->gone ? -ENOENT : err);
}

/* A link, a fifo or a directory under one of our names is not ours: never followed, never touched.
 */
static bool is_foreign(struct batch *b, int fd)
{
	struct qio_stat st;
	if (fd < 0)
		return fd == -ELOOP || fd == -ENXIO || fd == -EISDIR;
	return b->io->stat(b->io->arg, fd, &st) == 0 && !st.is_file;
}

/* False if it has a queue file by now, with op->subdir set. */
static bool load_from_journal(struct batch *b, struct queue_op *op)
{
	struct journal *j = b->q->journal;
	struct journal_mail m;
	op->part = op->item->record;
	op->subdir = op->item->subdir;
	if (op->part == NULL)
		return false;
	int err = journal_read(j, op->part, &m);
	if (err == 0 && m.mem == NULL) {
		err = qfile_check_body(b->io, m.fd, m.body_at, m.body_bytes, m.body_crc);
		if (err < 0)
			journal_mail_fini(&m);
	}
	if (err == ERR_NOT_FOUND) {
		op->subdir = journal_part_dir(op->part);
		return false;
	}
	if (err == ERR_CORRUPT || err == ERR_VERSION) {
		int saved = journal_damaged(j, op->part);
		op->gone = saved == 0;
		err = saved == 0 ? ERR_CORRUPT : saved;
	}
	batch_fail(op, err);
	if (err < 0)
		return true;
	struct queue_body *body = NULL;
	if (m.mem != NULL)
		body = body_new_memory(b->q->pool, m.mem, (size_t)m.body_bytes);
	if (body != NULL) {
		m.mem = NULL;
	} else if (m.segment == NULL) {
		body = body_new_file(b->q->pool, b->io, m.fd, m.body_at, m.body_bytes);
		m.fd = -1;
	} else {
		body = body_new_shared(b->q->pool, b->io, m.fd, m.body_at, m.body_bytes,
		    journal_segment_unref, m.segment);
		m.segment = NULL;
		m.fd = -1;
	}
	op->mail = mem_zalloc(sizeof(*op->mail));
	op->mail->pub.envelope = m.envelope;
	op->mail->pub.body = body;
	op->mail->snapshot = m.told;
	m.envelope = NULL;
	journal_mail_fini(&m);
	return true;
}

static void load(struct batch *b, struct queue_op *op)
{
	if (load_from_journal(b, op))
		return;
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	queue_item_name(op->item, &name);
	spool_name_format(&name, text);
	int fd = b->io->open(b->io->arg, b->spool->dirs[op->subdir], text, QIO_OPEN_READ);
	if (is_foreign(b, fd) || fd == -ENOENT) {
		log_warn("queue", "queue/%02x/%s is %s: forgotten", op->subdir, text,
		    fd == -ENOENT ? "not there any more" : "no file of ours");
		op->gone = true;
		batch_fail(op, fd < 0 ? fd : ERR_REFUSED);
		if (fd >= 0)
			(void)b->io->close(b->io->arg, fd);
	} else if (fd < 0) {
		load_failed(b, op, text, fd, "");
	} else {
		load_file(b, op, &name, text, fd);
	}
}

static void look(struct batch *b, struct queue_op *op)
{
	struct envelope_place p;
	if (op->place == NULL)
		queue_place_of(op->item, &p);
	batch_fail(op,
	    queue_read_envelope(b->q, op->place != NULL ? op->place : &p, &op->envelope));
}

/* --- all ------------------------------------------------------------------------ */

/* Folders after ends: what a lost end would bring back is then at most what a lost unlink would. */
static void sync(struct batch *b, struct queue_op *op)
{
	batch_fail(op, journal_sync(b->q->journal));
	batch_fail(op, journal_effects_sync(b->q->journal));
	batch_fail(op, spool_sync_dirty(b->spool));
	if (op->result == 0)
		park_oldest(b, op);
}

static void run_late(struct batch *b, struct queue_op *op)
{
	switch (op->kind) {
	case QUEUE_OP_SETTLE:
		if (!op->moving && !op->over)
			finish_settle(b, op);
		break;
	case QUEUE_OP_HOLD:
		if (!op->moving && !op->over)
			batch_fail(op, rename_item(b, op));
		break;
	case QUEUE_OP_LOAD:
		load(b, op);
		break;
	case QUEUE_OP_SCAN:
		batch_fail(op, spool_names_read(b->spool, op->subdir, &op->names));
		break;
	case QUEUE_OP_PEEK:
	case QUEUE_OP_LOOK:
		look(b, op);
		break;
	case QUEUE_OP_SYNC:
		sync(b, op);
		break;
	case QUEUE_OP_COMMIT:
		break;
	case QUEUE_OP_NONE:
		UNREACHABLE();
	}
}

static void write_outcome(struct batch *b, struct queue_op *op)
{
	if (op->kind == QUEUE_OP_SETTLE && !op->over)
		write_settle(b, op);
}

static void write_op(struct batch *b, struct queue_op *op)
{
	bool settles = op->kind == QUEUE_OP_SETTLE || op->kind == QUEUE_OP_HOLD;
	if (is_for_files(op)) {
		write_commit(b, op);
		return; /* of a report, the outcome comes when that stands */
	}
	if (report_is_on(op))
		op->over = report_stands(b, op);
	else if (settles && !op->over)
		op->over = park_begin(b, op);
	write_outcome(b, op);
}

/* Ends first: they cost nothing, and ride along with this batch's messages. */
static void note_ends(struct batch *b, struct queue_op *const *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CHECK(ops[i]->q == b->q);
		if (report_is_on(ops[i]))
			report_take(b, ops[i]);
		else if (ops[i]->kind == QUEUE_OP_SETTLE && ops[i]->remove)
			ops[i]->over = park_begin(b, ops[i]);
	}
}

/* The journal did not take them. */
static void commit_to_files(struct batch *b, struct queue_op *const *ops, size_t n)
{
	b->subdir = spool_pick_dir(b->spool);
	publish_all(b, ops, n);
	for (size_t i = 0; i < n; i++) {
		if (!is_for_files(ops[i]) || !report_is_on(ops[i]))
			continue;
		ops[i]->over = report_stands(b, ops[i]);
		write_outcome(b, ops[i]);
	}
	batch_sync_window(b);
}

void queue_run(struct queue *q, struct queue_op *const *ops, size_t n)
{
	struct batch batch, *b = &batch;
	bool files = false;
	b->q = q;
	b->spool = q->spool;
	b->io = q->spool->io;
	b->subdir = 0;
	b->published = false;
	b->open_n = 0; /* the window itself is large, and often not needed */
	note_ends(b, ops, n);
	body_begin(b, ops, n);
	commit_to_journal(b, ops, n);
	for (size_t i = 0; i < n; i++) {
		write_op(b, ops[i]);
		files = files || is_for_files(ops[i]);
	}
	batch_sync_window(b);
	if (files)
		commit_to_files(b, ops, n);
	park_publish(b, ops, n);
	for (size_t i = 0; i < n; i++) {
		run_late(b, ops[i]);
		report_conclude(b, ops[i]);
		report_effects(b, ops[i]);
	}
	if (journal_is_crowded(q->journal))
		(void)!journal_sync(q->journal); /* early; if it fails, the next SYNC says so */
}
