/*
 * queue_work.c - items in work, and those that were at a crash; see work.h.
 */
#include "base/check.h"
#include "base/log.h"
#include "queue/queue_int.h"

#define HOLD_AGAIN_MS 60000 /* when a hold that the disk has refused is tried again */

static struct qid id_of(const struct queue_item *item)
{
	return (struct qid){ item->id[0], item->id[1] };
}

static void order_hold(struct queue *q, const struct spool_name *name)
{
	char id[QID_TEXT_MAX];
	log_error("queue", "%s: was in work at %d crashes in a row; it is held",
	    qid_format_part(name->id, name->part, id), WORK_CRASHES_MAX);
	orders_list(&q->orders, name, QUEUE_ORDER_HOLD);
}

void queue_look_at_suspect(struct queue *q, const struct spool_name *name)
{
	struct store *s = q->store;
	pthread_mutex_lock(&s->lock);
	unsigned crashes = work_found(&s->work, name->id, name->part);
	if (crashes > 0 && name->held)
		(void)work_end(&s->work, name->id, name->part, true);
	pthread_mutex_unlock(&s->lock);
	if (!name->held && crashes >= WORK_CRASHES_MAX)
		order_hold(q, name);
}

bool queue_begin_work(struct queue *q, struct queue_item *item, struct now now)
{
	struct spool_name name;
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	queue_touch(q, now);
	pthread_mutex_lock(&q->store->lock);
	enum work_answer answer = work_begin(&q->store->work, id_of(item), item->part, now.mono_ms);
	pthread_mutex_unlock(&q->store->lock);
	switch (answer) {
	case WORK_WAIT:
		queue_drop_mail(item);
		queue_set_state(q, item, QUEUE_ITEM_PARKED);
		list_push(&q->suspects, &item->timer.node);
		return false;
	case WORK_POISON:
		queue_item_name(item, &name);
		order_hold(q, &name);
		queue_park(q, item, now.wall_ms + HOLD_AGAIN_MS);
		return false;
	case WORK_GO:
		break;
	case WORK_NONE:
		UNREACHABLE();
	}
	item->in_work = true;
	return true;
}

void queue_write_work(struct queue *q)
{
	pthread_mutex_lock(&q->store->lock);
	work_write(&q->store->work);
	pthread_mutex_unlock(&q->store->lock);
}

void queue_end_work(struct queue *q, struct queue_item *item, bool clean)
{
	struct store *s = q->store;
	pthread_mutex_lock(&s->lock);
	bool was_alone = (item->in_work || s->work.suspects_n > 0) &&
			 work_end(&s->work, id_of(item), item->part, clean);
	pthread_mutex_unlock(&s->lock);
	item->in_work = false;
	if (was_alone)
		q->wake_at_ms = q->last.mono_ms;
}

static bool may_go(struct queue *q, int64_t mono_ms)
{
	pthread_mutex_lock(&q->store->lock);
	bool may = work_may_go(&q->store->work, mono_ms);
	pthread_mutex_unlock(&q->store->lock);
	return may;
}

/* One is given out and has a while to come to work: it may have to wait for its site. */
void queue_wake_suspect(struct queue *q, struct now now)
{
	if (list_is_empty(&q->suspects) || now.mono_ms < q->wake_at_ms || !may_go(q, now.mono_ms))
		return;
	struct queue_item *item = list_first(&q->suspects, struct queue_item, timer.node);
	list_remove(&item->timer.node);
	list_push(&q->due, &item->timer.node);
	q->wake_at_ms = now.mono_ms + WORK_WAKE_MS;
}

int64_t queue_suspects_at(const struct queue *q)
{
	if (list_is_empty(&q->suspects))
		return INT64_MAX;
	pthread_mutex_lock(&q->store->lock);
	int64_t alone_ms = q->store->work.alone > 0 ? q->store->work.alone_until_ms : INT64_MIN;
	pthread_mutex_unlock(&q->store->lock);
	return MAX(alone_ms, q->wake_at_ms);
}

void queue_leave_work(struct queue *q, struct queue_item *item)
{
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	if (item->in_work)
		queue_end_work(q, item, false);
}
