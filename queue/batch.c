/*
 * batch.c - the work of a worker: many operations with as few syncs as the
 * disk allows.
 *
 * In this order, so that a message is on stable storage before it is said to
 * be, and an outcome before its name:
 *
 *     write    files of commits into tmp/, records of settles to their files
 *     sync     every file written: first the data of all, so that the filesystem's
 *              journal commits once for the batch
 *     publish  commits: rename all into one sub-directory, sync that once
 *     undo     what failed: unlink, sync again
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
#include "queue/queue_int.h"

enum {
	WINDOW = 256
};

struct batch {
	struct queue *q;
	struct spool *spool;
	const struct qio *io;
	unsigned subdir; /* for the commits of this batch */
	bool published;

	struct {
		int fd;
		struct queue_op *op;
	} open[WINDOW];

	size_t open_n;
};

static void fail(struct queue_op *op, int err)
{
	if (op->result == 0)
		op->result = err;
}

/* --- sync ----------------------------------------------------------------------- */

static void sync_window(struct batch *b)
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
		fail(op, err < 0 ? err : closed);
	}
	b->open_n = 0;
}

/* From here on the descriptor is the window's. */
static void sync_later(struct batch *b, int fd, struct queue_op *op)
{
	if (b->open_n == WINDOW)
		sync_window(b);
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
	sync_later(b, m->fd, op);
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
	sync_later(b, fd, op);
	return 0;
}

/* The first part comes last: it may take the spilled body's file, from which the others are copied.
 */
static void write_commit(struct batch *b, struct queue_op *op)
{
	struct queue_msg *m = op->msg;
	fail(op, m->err);
	if (op->result == 0)
		fail(op, queue_spill_rest(m));
	for (size_t i = op->parts_n; op->result == 0 && i > 0; i--) {
		struct part *p = &op->parts[i - 1];
		int err = ERR_TOO_BIG;
		if (i == 1 && m->fd >= 0)
			err = adopt_spill(b, op, p);
		if (err == ERR_TOO_BIG)
			err = write_part(b, op, p);
		fail(op, err);
	}
}

static void publish(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	op->subdir = b->subdir;
	for (size_t i = 0; op->result == 0 && i < op->parts_n; i++) {
		struct part *p = &op->parts[i];
		batch_part_name(op, p, &name);
		int err =
		    spool_publish(b->spool, p->tmp_name, b->subdir, spool_name_format(&name, text));
		if (err == 0)
			p->place = PART_PUBLISHED;
		b->published = b->published || err == 0;
		fail(op, err);
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
		if (ops[i]->kind == QUEUE_OP_COMMIT)
			publish(b, ops[i]);
	}
	int err = b->published ? spool_sync(b->spool, b->subdir) : 0;
	for (size_t i = 0; i < n; i++) {
		if (ops[i]->kind != QUEUE_OP_COMMIT)
			continue;
		fail(ops[i], err);
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
	int fd = b->io->open(b->io->arg, b->spool->dirs[op->item->subdir],
	    spool_name_format(&name, text), QIO_OPEN_WRITE);
	if (fd < 0) {
		fail(op, fd);
		return;
	}
	int err =
	    qfile_append(b->io, fd, op->item->mail->envelope, op->rcpts, op->rcpts_n, &op->tail);
	if (err < 0) {
		(void)b->io->close(b->io->arg, fd);
		fail(op, err);
		return;
	}
	sync_later(b, fd, op);
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
	int err = spool_rename(b->spool, op->item->subdir, from, spool_name_format(&name, to));
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
		err = spool_remove(b->spool, op->item->subdir, text);
		if (err == -ENOENT)
			log_warn("queue", "queue/%02x/%s was already gone", op->item->subdir, text);
		else
			fail(op, err);
		return;
	}
	/* The record is safe, and it is what counts: an old name only means an early look after a
	 * restart. */
	err = rename_item(b, op);
	if (err < 0)
		log_warn("queue", "queue/%02x/%s can't be renamed: %s", op->item->subdir, text,
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
}

/* A whole file under the name of another is as wrong as a damaged one. */
static bool is_as_named(const struct envelope *e, const struct spool_name *name)
{
	char id[QID_TEXT_MAX], label[SPOOL_DOMAIN_MAX + 1], stored[SPOOL_DOMAIN_MAX + 1];
	return slice_eq(slice_str(e->queue_id),
		   slice_str(qid_format_part(name->id, name->part, id))) &&
	       slice_eq(slice_str(spool_label(name->domain, label)),
		   slice_str(spool_label(slice_str(e->domain), stored)));
}

static void load_failed(struct batch *b, struct queue_op *op, const char *name, int err,
    const char *why)
{
	if (err == ERR_CORRUPT || err == ERR_VERSION) {
		int moved = spool_quarantine(b->spool, op->item->subdir, name, why);
		op->gone = moved == 0 || moved == -ENOENT;
		fail(op, op->gone ? ERR_CORRUPT : moved);
		return;
	}
	log_error("queue", "queue/%02x/%s can't be read, stays: %s", op->item->subdir, name,
	    err_text(err));
	fail(op, err);
}

static void load_file(struct batch *b, struct queue_op *op, const struct spool_name *name,
    const char *text, int fd)
{
	struct qfile_loaded l;
	int err = qfile_load(b->io, fd, &l);
	if (err == 0 && !is_as_named(l.envelope, name)) {
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
		    op->item->subdir, text);
	adopt_loaded(b, op, &l, fd);
	if (envelope_pending(l.envelope) > 0)
		return;
	/* All is decided; only the unlink was lost. */
	err = spool_remove(b->spool, op->item->subdir, text);
	op->gone = err == 0 || err == -ENOENT;
	fail(op, op->gone ? -ENOENT : err);
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

static void load(struct batch *b, struct queue_op *op)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	queue_item_name(op->item, &name);
	spool_name_format(&name, text);
	int fd = b->io->open(b->io->arg, b->spool->dirs[op->item->subdir], text, QIO_OPEN_READ);
	if (is_foreign(b, fd) || fd == -ENOENT) {
		log_warn("queue", "queue/%02x/%s is %s: forgotten", op->item->subdir, text,
		    fd == -ENOENT ? "not there any more" : "no file of ours");
		op->gone = true;
		fail(op, fd < 0 ? fd : ERR_REFUSED);
		if (fd >= 0)
			(void)b->io->close(b->io->arg, fd);
	} else if (fd < 0) {
		load_failed(b, op, text, fd, "");
	} else {
		load_file(b, op, &name, text, fd);
	}
}

/* --- all ------------------------------------------------------------------------ */

static void run_late(struct batch *b, struct queue_op *op)
{
	switch (op->kind) {
	case QUEUE_OP_SETTLE:
		finish_settle(b, op);
		break;
	case QUEUE_OP_HOLD:
		fail(op, rename_item(b, op));
		break;
	case QUEUE_OP_LOAD:
		load(b, op);
		break;
	case QUEUE_OP_SYNC:
		fail(op, spool_sync_dirty(b->spool));
		break;
	case QUEUE_OP_COMMIT:
		break;
	case QUEUE_OP_NONE:
		UNREACHABLE();
	}
}

void queue_run(struct queue *q, struct queue_op *const *ops, size_t n)
{
	struct batch b = { .q = q, .spool = &q->spool, .io = q->spool.io };
	bool commits = false;
	for (size_t i = 0; i < n; i++) {
		CHECK(ops[i]->q == q);
		if (ops[i]->kind == QUEUE_OP_SETTLE)
			write_settle(&b, ops[i]);
		if (ops[i]->kind == QUEUE_OP_COMMIT) {
			write_commit(&b, ops[i]);
			commits = true;
		}
	}
	sync_window(&b);
	if (commits) {
		b.subdir = spool_pick_dir(&q->spool);
		publish_all(&b, ops, n);
	}
	for (size_t i = 0; i < n; i++)
		run_late(&b, ops[i]);
}
