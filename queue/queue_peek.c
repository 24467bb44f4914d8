/*
 * queue_peek.c - reading an item's envelope and no more: for the operator's commands, and
 * for what is told of mail that waits.
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

int queue_read_envelope(struct queue *q, const struct queue_item *item, struct envelope **e_r)
{
	const struct qio *io = q->spool.io;
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	struct journal_mail m;

	*e_r = NULL;
	unsigned dir = item->subdir;
	if (item->record != NULL) {
		int err = journal_read(q->journal, item->record, &m);
		if (err != ERR_NOT_FOUND) {
			*e_r = err == 0 ? m.envelope : NULL;
			m.envelope = NULL;
			journal_mail_fini(&m);
			return err;
		}
		dir = journal_part_dir(item->record); /* moved, which the item will learn soon */
	}
	queue_item_name(item, &name);
	spool_name_format(&name, text);
	int fd = io->open(io->arg, q->spool.dirs[dir], text, QIO_OPEN_READ);
	if (fd < 0)
		return fd;
	int err = qfile_look(io, fd, e_r);
	(void)io->close(io->arg, fd);
	if (err == 0)
		(void)journal_effects_apply(q->journal, name.id, name.part, *e_r);
	return err;
}

int queue_peek(struct queue *q, const struct queue_item *item, struct envelope **e_r)
{
	*e_r = NULL;
	if (item->state == QUEUE_ITEM_BUSY)
		return -EBUSY; /* its name may be changing at this moment */
	return queue_read_envelope(q, item, e_r);
}
