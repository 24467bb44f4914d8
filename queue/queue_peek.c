/*
 * queue_peek.c - reading an item's envelope and no more: for the operator's commands, and for
 * what is told of mail that waits.
 */
#include <errno.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/queue_int.h"

void queue_take(struct queue *q, struct queue_item *item)
{
	CHECK(item->state == QUEUE_ITEM_PARKED || item->state == QUEUE_ITEM_HELD);
	wheel_cancel(&q->wheel, &item->timer);
	queue_set_state(q, item, QUEUE_ITEM_ACTIVE);
}

size_t queue_take_owed(struct queue *q, struct queue_item **items, size_t max)
{
	size_t owed_n, n = 0;
	struct journal_owed *owed = journal_effects_list(q->journal, &owed_n);
	for (size_t i = 0; i < owed_n && n < max; i++) {
		struct queue_item *item = index_find(&q->index, owed[i].id, owed[i].part);
		bool rests = item != NULL && item->mail == NULL &&
			     (item->state == QUEUE_ITEM_PARKED || item->state == QUEUE_ITEM_HELD);
		if (rests)
			queue_adopt_place(q, item);
		if (!rests || item->record != NULL)
			continue; /* the journal has it whole, for longer than the report */
		queue_take(q, item);
		items[n++] = item;
	}
	mem_free(owed);
	return n;
}

void queue_place_of(const struct queue_item *item, struct envelope_place *p)
{
	struct spool_name name;
	queue_item_name(item, &name);
	*p = (struct envelope_place){ .id = name.id,
		.part = name.part,
		.record = item->record,
		.dir = item->subdir };
	spool_name_format(&name, p->name);
}

void queue_free_place(struct queue *q, struct envelope_place **p)
{
	if (*p != NULL && (*p)->record != NULL)
		journal_release(q->journal, &(*p)->record);
	mem_free(*p);
	*p = NULL;
}

int queue_read_envelope(struct queue *q, const struct envelope_place *p, struct envelope **e_r)
{
	const struct qio *io = q->spool->io;
	struct journal_mail m;

	*e_r = NULL;
	unsigned dir = p->dir;
	if (p->record != NULL) {
		int err = journal_read(q->journal, p->record, &m);
		if (err != ERR_NOT_FOUND) {
			*e_r = err == 0 ? m.envelope : NULL;
			m.envelope = NULL;
			journal_mail_fini(&m);
			return err;
		}
		dir = journal_part_dir(p->record); /* moved, which the item will learn soon */
	}
	int fd = io->open(io->arg, q->spool->dirs[dir], p->name, QIO_OPEN_READ);
	if (fd < 0)
		return fd;
	int err = qfile_look(io, fd, e_r);
	(void)io->close(io->arg, fd);
	if (err == 0)
		(void)journal_effects_apply(q->journal, p->id, p->part, *e_r);
	return err;
}

int queue_peek(struct queue *q, const struct queue_item *item, struct envelope **e_r)
{
	struct envelope_place p;
	*e_r = NULL;
	if (item->state == QUEUE_ITEM_BUSY)
		return -EBUSY; /* its name may be changing at this moment */
	queue_place_of(item, &p);
	return queue_read_envelope(q, &p, e_r);
}

struct queue_op *queue_op_look(struct queue *q, const struct queue_item *item)
{
	if (item->state == QUEUE_ITEM_BUSY)
		return NULL;
	struct queue_op *op = queue_new_op(q, QUEUE_OP_LOOK, NULL);
	op->place = mem_alloc(sizeof(*op->place));
	queue_place_of(item, op->place);
	if (op->place->record != NULL)
		journal_keep(q->journal, op->place->record);
	return op;
}
