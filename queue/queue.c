/*
 * queue.c - the queue as its owner sees it: opening, the start-up scan, items
 * and their states, the schedule, looking things up.
 */
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_int.h"

#define SCAN_PER_STEP 1000 /* names: about a millisecond */

_Static_assert(QUEUE_ID_MAX >= QID_TEXT_MAX, "ids fit what callers have for them");

/* --- life ----------------------------------------------------------------------- */

static void on_replayed(void *arg, struct journal_part *part, struct qid id,
    const struct envelope_brief *b);

static struct queue *new_queue(struct store *s, unsigned shard, const struct queue_options *opt,
    struct now now)
{
	struct queue *q = mem_zalloc(sizeof(*q));
	q->store = s;
	q->spool = &s->spool;
	q->journal = s->journal;
	q->pool = s->pool;
	q->shard = shard;
	pthread_mutex_init(&q->inbox.lock, NULL);
	list_init(&q->inbox.arrived);
	q->outbox = mem_alloc(s->shards * sizeof(*q->outbox));
	for (unsigned i = 0; i < s->shards; i++)
		list_init(&q->outbox[i]);
	index_init(&q->index, opt->seed);
	queue_init_domains(q, opt->seed);
	orders_init(&q->orders, opt->seed);
	list_init(&q->suspects);
	map_init(&q->scan_gone, opt->seed);
	map_init(&q->scan_sent, opt->seed);
	wheel_init(&q->wheel, now.mono_ms);
	list_init(&q->due);
	q->always_split = opt->always_split;
	q->has_retry = opt->retry != NULL;
	if (q->has_retry)
		q->retry = *opt->retry;
	q->last = q->opened = now;
	return q;
}

int queue_open(struct queue **q_r, const struct queue_options *opt, struct now now,
    struct errbuf *eb)
{
	struct store *s;
	*q_r = NULL;
	int err = store_open(&s, opt, now, eb);
	if (err < 0)
		return err;
	s->queues = mem_zalloc(s->shards * sizeof(struct queue *));
	for (unsigned i = 0; i < s->shards; i++)
		s->queues[i] = new_queue(s, i, opt, now);
	struct queue *q = s->queues[0];
	err = journal_replayed(s->journal, on_replayed, s);
	if (err < 0)
		errbuf_set(eb, err, "journal: can't be read: %s", err_text(err));
	s->work.is_up = err == 0;
	if (err < 0)
		queue_close(&q);
	*q_r = q;
	return err;
}

/* Of no list, index or domain any more. */
static void free_item(struct queue *q, struct queue_item *item)
{
	if (item->mail != NULL)
		queue_free_mail(queue_mail_of(item));
	if (item->record != NULL)
		journal_release(q->journal, &item->record);
	mem_free(item);
}

static void drop_sent(struct queue *q, struct list_node *sent)
{
	while (!list_is_empty(sent)) {
		struct arrival *a = list_first(sent, struct arrival, node);
		list_remove(&a->node);
		free_item(q, a->item);
		mem_free(a);
	}
}

static void free_queue(struct queue *q)
{
	struct queue_item *item;
	size_t cursor = 0;
	CHECK(q->ops == 0);
	CHECK(q->msgs == 0);
	while ((item = index_next(&q->index, &cursor)) != NULL)
		free_item(q, item);
	drop_sent(q, &q->inbox.arrived);
	for (unsigned i = 0; i < q->store->shards; i++)
		drop_sent(q, &q->outbox[i]);
	mem_free(q->outbox);
	pthread_mutex_destroy(&q->inbox.lock);
	queue_fini_domains(q);
	orders_fini(&q->orders);
	map_fini(&q->scan_gone);
	map_fini(&q->scan_sent);
	spool_names_free(&q->scan_names);
	index_fini(&q->index);
	mem_free(q);
}

void queue_close(struct queue **q_p)
{
	struct queue *q = *q_p;
	*q_p = NULL;
	if (q == NULL)
		return;
	struct store *s = q->store;
	CHECK(q->shard == 0);
	int err = journal_sync(s->journal);
	int folders = spool_sync_dirty(&s->spool);
	if (err < 0 || folders < 0)
		log_error("queue", "some renames and removals could not be synced at the end: %s",
		    err_text(err < 0 ? err : folders));
	for (unsigned i = 0; i < s->shards; i++)
		free_queue(s->queues[i]);
	mem_free(s->queues);
	store_close(&s);
}

/* --- shards --------------------------------------------------------------------- */

struct queue *queue_of_shard(const struct queue *q, unsigned shard)
{
	CHECK(shard < q->store->shards);
	return q->store->queues[shard];
}

unsigned queue_home(const struct queue *q, struct slice domain)
{
	char label[SPOOL_DOMAIN_MAX + 1];
	return store_home(q->store, slice_str(spool_label(domain, label)))->shard;
}

void queue_on_arrival(struct queue *q, queue_wake_fn *fn, void *arg)
{
	q->inbox.wake = fn;
	q->inbox.wake_arg = arg;
}

static struct arrival *new_arrival(struct queue_item *item, struct slice domain)
{
	struct arrival *a = mem_alloc(sizeof(*a) + domain.n + 1);
	memcpy(a->domain, domain.p, domain.n);
	a->domain[domain.n] = '\0';
	a->item = item;
	return a;
}

void queue_send_item(struct queue *q, struct queue *home, struct queue_item *item,
    struct slice domain)
{
	list_push(&q->outbox[home->shard], &new_arrival(item, domain)->node);
}

static void hand_over(struct list_node *sent, struct queue *to)
{
	pthread_mutex_lock(&to->inbox.lock);
	list_splice(&to->inbox.arrived, sent);
	pthread_mutex_unlock(&to->inbox.lock);
	if (to->inbox.wake != NULL)
		to->inbox.wake(to->inbox.wake_arg);
}

void queue_hand_over(struct queue *q)
{
	for (unsigned i = 0; i < q->store->shards; i++)
		if (!list_is_empty(&q->outbox[i]))
			hand_over(&q->outbox[i], q->store->queues[i]);
}

/* What it leaves behind is what the scan must know: that the item is none of those it finds. */
void queue_send(struct queue *q, struct queue_item *item, unsigned shard)
{
	struct queue *to = queue_of_shard(q, shard);
	char id[QUEUE_ID_MAX];
	CHECK(to != q);
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	queue_leave_work(q, item);
	queue_send_item(q, to, item, slice_str(item->domain->name));
	q->by_state[item->state]--;
	item->state = QUEUE_ITEM_NONE;
	index_remove(&q->index, item);
	if (!queue_scan_is_done(q))
		(void)map_put(&q->scan_sent, slice_str(queue_item_id(item, id)), q);
	queue_leave_domain(q, item);
}

void queue_take_arrivals(struct queue *q, struct list_node *items, struct now now)
{
	struct list_node arrived;
	list_init(&arrived);
	queue_touch(q, now);
	pthread_mutex_lock(&q->inbox.lock);
	list_splice(&arrived, &q->inbox.arrived);
	pthread_mutex_unlock(&q->inbox.lock);
	while (!list_is_empty(&arrived)) {
		struct arrival *a = list_first(&arrived, struct arrival, node);
		list_remove(&a->node);
		queue_index_item(q, a->item, slice_str(a->domain));
		queue_set_state(q, a->item, QUEUE_ITEM_ACTIVE);
		list_push(items, &a->item->link);
		mem_free(a);
	}
}

/* The latest time seen. Wall and monotonic time are taken together: their difference turns one into
 * the other. */
void queue_touch(struct queue *q, struct now now)
{
	q->last = now;
}

int queue_admit(struct queue *q, uint64_t size, struct now now)
{
	queue_touch(q, now);
	return store_admit(q->store, size, now.mono_ms);
}

/* --- items ---------------------------------------------------------------------- */

struct queue *queue_of_item(const struct queue_item *item)
{
	return ((struct domain *)item->domain)->q;
}

struct mail *queue_mail_of(const struct queue_item *item)
{
	return (struct mail *)item->mail;
}

void queue_set_state(struct queue *q, struct queue_item *item, enum queue_item_state state)
{
	if (item->state != QUEUE_ITEM_NONE) {
		CHECK(q->by_state[item->state] > 0);
		q->by_state[item->state]--;
	}
	item->state = (uint8_t)state;
	q->by_state[state]++;
}

struct queue_item *queue_make_item(const struct spool_name *name, unsigned subdir)
{
	struct queue_item *item = mem_zalloc(sizeof(*item));
	CHECK(subdir < SPOOL_DIRS);
	wheel_timer_init(&item->timer);
	list_init(&item->link);
	list_init(&item->in_domain);
	item->id[0] = name->id.arrival_ms;
	item->id[1] = name->id.serial;
	item->part = (uint16_t)name->part;
	item->arrival_ms = (int64_t)name->id.arrival_ms;
	item->due_ms = item->name_due_ms = name->due_ms;
	item->attempts = item->name_attempts = (uint16_t)name->attempts;
	item->name_held = item->want_hold = name->held;
	item->subdir = (uint8_t)subdir;
	return item;
}

void queue_index_item(struct queue *q, struct queue_item *item, struct slice domain)
{
	queue_set_domain(q, item, domain);
	index_add(&q->index, item);
	q->part_max = MAX(q->part_max, item->part);
}

static struct queue_item *new_item(struct queue *q, const struct spool_name *name, unsigned subdir)
{
	struct queue_item *item = queue_make_item(name, subdir);
	queue_index_item(q, item, name->domain);
	return item;
}

void queue_free_mail(struct mail *m)
{
	envelope_free(&m->pub.envelope);
	queue_body_unref(&m->pub.body);
	mem_free(m);
}

void queue_drop_mail(struct queue_item *item)
{
	struct mail *m = queue_mail_of(item);
	if (m == NULL || m->unsaved)
		return;
	queue_free_mail(m);
	item->mail = NULL;
}

void queue_drop_item(struct queue *q, struct queue_item *item)
{
	char id[QUEUE_ID_MAX];
	CHECK(q->by_state[item->state] > 0);
	queue_end_work(q, item, true);
	q->by_state[item->state]--;
	wheel_cancel(&q->wheel, &item->timer);
	index_remove(&q->index, item);
	if (item->replayed && !queue_scan_is_done(q))
		(void)map_put(&q->scan_gone, slice_str(queue_item_id(item, id)), q);
	queue_leave_domain(q, item);
	free_item(q, item);
}

void queue_adopt_place(struct queue *q, struct queue_item *item)
{
	struct mail *mail = queue_mail_of(item);
	struct tail tail;
	if (item->record == NULL ||
	    journal_place(q->journal, item->record, &tail) != JOURNAL_PARKED)
		return;
	item->subdir = (uint8_t)journal_part_dir(item->record);
	if (mail != NULL)
		mail->tail = tail;
	journal_release(q->journal, &item->record);
}

void queue_item_name(const struct queue_item *item, struct spool_name *name)
{
	*name = (struct spool_name){
		.due_ms = item->name_due_ms,
		.attempts = item->name_attempts,
		.held = item->name_held,
		.id = { item->id[0], item->id[1] },
		.part = item->part,
		.domain = slice_str(item->domain->name),
	};
}

/* --- scan ----------------------------------------------------------------------- */

/* What was on its way when we died, or is as it was left: to rest until its time comes, which is
 * clamped as retry says. */
static void rest_found(struct queue *q, struct queue_item *item, const struct spool_name *name)
{
	item->due_ms = name->due_ms;
	if (q->has_retry)
		item->due_ms =
		    retry_clamp_due(&q->retry, name->attempts, name->due_ms, q->opened.wall_ms);
	item->found = true;
	item->flushed =
	    !name->held && orders_flushed(&q->orders, name) && item->due_ms > q->last.wall_ms;
	queue_set_state(q, item, name->held ? QUEUE_ITEM_HELD : QUEUE_ITEM_PARKED);
	if (!name->held)
		queue_set_timer(q, item, item->flushed ? q->last.wall_ms : item->due_ms);
	queue_look_at_suspect(q, name);
}

/*
 * One queue id, two names: no crash of ours leaves that (rename is atomic), so
 * someone copied files about. The later state is kept, the other goes away
 * for a person to look at.
 */
static void on_duplicate(struct queue *q, unsigned dir, const struct spool_name *name,
    struct queue_item *item)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name have;
	queue_item_name(item, &have);
	bool resting = item->state == QUEUE_ITEM_PARKED || item->state == QUEUE_ITEM_HELD;
	bool newer = name->attempts > have.attempts ||
		     (name->attempts == have.attempts && name->due_ms > have.due_ms);
	bool take_new = resting && newer && item->mail == NULL && item->record == NULL;
	unsigned out_dir = take_new ? item->subdir : dir;
	spool_name_format(take_new ? &have : name, text);
	if (spool_quarantine_twin(q->spool, out_dir, text) < 0 || !take_new)
		return;
	item->subdir = (uint8_t)dir;
	item->name_due_ms = name->due_ms;
	item->name_attempts = item->attempts = (uint16_t)name->attempts;
	item->name_held = item->want_hold = name->held;
	queue_set_domain(q, item, name->domain);
	wheel_cancel(&q->wheel, &item->timer);
	rest_found(q, item, name);
}

static void on_replayed(void *arg, struct journal_part *part, struct qid id,
    const struct envelope_brief *b)
{
	const struct store *s = arg;
	char label[SPOOL_DOMAIN_MAX + 1];
	struct queue *q = store_home(s, slice_str(spool_label(b->domain, label)));
	const struct spool_name name = {
		.due_ms = b->arrival_ms, /* the id's time is later where the clock was set back */
		.id = id,
		.part = part->number,
		.domain = b->domain,
	};
	struct queue_item *item = new_item(q, &name, journal_part_dir(part));
	item->record = part;
	item->replayed = true;
	item->sender = b->sender_key;
	rest_found(q, item, &name);
}

/*
 * What came from the journal is at work already and may have got its queue file, or be gone again,
 * before or after the sub-directory was listed: the name says nothing new. Nor what was sent to
 * another shard.
 */
static bool is_replayed(const struct queue *q, const struct spool_name *name,
    const struct queue_item *item)
{
	char id[QID_TEXT_MAX];
	if (item != NULL)
		return item->replayed;
	if (map_count(&q->scan_gone) + map_count(&q->scan_sent) == 0)
		return false;
	struct slice text = slice_str(qid_format_part(name->id, name->part, id));
	return map_find(&q->scan_gone, text) != NULL || map_find(&q->scan_sent, text) != NULL;
}

/* If the count of starts was lost, an earlier one had the same number; but not the same time. */
static bool is_of_this_start(const struct queue *q, const struct spool_name *name)
{
	return qid_epoch(name->id) == q->spool->epoch && name->id.arrival_ms >= q->store->first_ms;
}

static void on_scanned(struct queue *q, const struct spool_name *name)
{
	if (store_home(q->store, name->domain) != q)
		return; /* found by another's scan */
	if (is_of_this_start(q, name))
		return; /* known, or just gone */
	struct queue_item *item = index_find(&q->index, name->id, name->part);
	if (is_replayed(q, name, item))
		return;
	if (item != NULL) {
		on_duplicate(q, q->scan_dir, name, item);
		return;
	}
	rest_found(q, new_item(q, name, q->scan_dir), name);
	enum queue_order order = orders_find(&q->orders, name);
	if (order != QUEUE_ORDER_NONE)
		orders_list(&q->orders, name, order);
}

static bool has_item(void *arg, struct qid id, unsigned part)
{
	struct queue *q = arg;
	char text[QID_TEXT_MAX];
	return index_find(&q->index, id, part) != NULL ||
	       map_find(&q->scan_sent, slice_str(qid_format_part(id, part, text))) != NULL;
}

static void end_scan(struct queue *q)
{
	orders_forget(&q->orders);
	map_fini(&q->scan_gone);
	store_end_scan(q->store, has_item, q);
	map_fini(&q->scan_sent);
}

bool queue_scan_step(struct queue *q, struct now now)
{
	struct spool_name name;
	queue_touch(q, now);
	if (q->scan_names == NULL)
		return false;
	for (unsigned i = 0; i < SCAN_PER_STEP; i++) {
		if (spool_names_next(q->scan_names, &name)) {
			on_scanned(q, &name);
			continue;
		}
		spool_names_free(&q->scan_names);
		q->scan_dir++;
		if (queue_scan_is_done(q))
			end_scan(q);
		return false;
	}
	return true;
}

bool queue_scan_is_done(const struct queue *q)
{
	return q->scan_dir == SPOOL_DIRS;
}

/* --- schedule -------------------------------------------------------------------- */

/* Wall time is what is stored, but a clock that is set must not move what is waiting: delays run on
 * monotonic time. */
void queue_set_timer(struct queue *q, struct queue_item *item, int64_t due_ms)
{
	int64_t delay_ms = due_ms > q->last.wall_ms ? due_ms - MAX(q->last.wall_ms, (int64_t)0) : 0;
	int64_t at_ms;
	if (__builtin_add_overflow(q->last.mono_ms, delay_ms, &at_ms))
		at_ms = INT64_MAX;
	wheel_set(&q->wheel, &item->timer, at_ms);
}

struct queue_item *queue_take_due(struct queue *q, struct now now)
{
	queue_touch(q, now);
	wheel_run(&q->wheel, now.mono_ms, &q->due);
	queue_wake_suspect(q, now);
	if (list_is_empty(&q->due))
		return NULL;
	struct queue_item *item = list_first(&q->due, struct queue_item, timer.node);
	CHECK(item->state == QUEUE_ITEM_PARKED);
	list_remove(&item->timer.node);
	queue_set_state(q, item, QUEUE_ITEM_ACTIVE);
	item->ripe = !item->flushed;
	return item;
}

int64_t queue_due_by(const struct queue_item *item, struct now now)
{
	return item->ripe ? MAX(now.wall_ms, item->due_ms) : now.wall_ms;
}

int64_t queue_next_due_at(const struct queue *q)
{
	if (!list_is_empty(&q->due))
		return q->last.wall_ms;
	int64_t mono_ms = MIN(wheel_next_at(&q->wheel), queue_suspects_at(q));
	int64_t wall_ms;
	if (mono_ms == INT64_MAX ||
	    __builtin_add_overflow(mono_ms, q->last.wall_ms - q->last.mono_ms, &wall_ms))
		return INT64_MAX;
	return wall_ms;
}

void queue_park(struct queue *q, struct queue_item *item, int64_t due_ms)
{
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	queue_end_work(q, item, false);
	queue_drop_mail(item);
	item->ripe = false;
	if (item->want_hold) { /* its name will say so at the next settle */
		queue_set_state(q, item, QUEUE_ITEM_HELD);
		return;
	}
	if (due_ms == 0)
		item->flushed = false;
	queue_set_state(q, item, QUEUE_ITEM_PARKED);
	queue_set_timer(q, item, due_ms == 0 ? item->due_ms : due_ms);
}

void queue_unload(struct queue *q, struct queue_item *item)
{
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	CHECK(queue_of_item(item) == q);
	queue_drop_mail(item);
}

/* In memory only: due_ms stays what it is, and a failure goes back to it. False if the item is not
 * waiting. */
static bool flush_item(struct queue *q, struct queue_item *item)
{
	if (item->state == QUEUE_ITEM_BUSY && !item->want_hold) {
		item->want_flush = true;
		return true;
	}
	if (item->state != QUEUE_ITEM_PARKED)
		return false;
	if (wheel_timer_is_set(&item->timer)) {
		item->flushed = item->due_ms > q->last.wall_ms;
		wheel_set(&q->wheel, &item->timer, q->last.mono_ms);
	}
	return true;
}

size_t queue_flush(struct queue *q, struct now now)
{
	struct queue_item *item;
	size_t cursor = 0, n = 0;
	queue_touch(q, now);
	while ((item = index_next(&q->index, &cursor)) != NULL)
		n += flush_item(q, item);
	q->orders.flush_all = !queue_scan_is_done(q);
	return n;
}

size_t queue_flush_domain(struct queue *q, struct slice domain, struct now now)
{
	struct queue_walk w;
	struct queue_item *item;
	size_t n = 0;
	queue_touch(q, now);
	if (domain.n == 0)
		return 0; /* a walk would be one over all */
	queue_walk_begin(q, &w, domain);
	while ((item = queue_walk_next(&w)) != NULL)
		n += flush_item(q, item);
	queue_walk_end(&w);
	return n;
}

/* Calls for each item of a message id, or the one of a queue id; a search over parts, since they
 * are not chained. */
static struct queue_item *next_of_id(const struct queue *q, struct qid id, unsigned part,
    unsigned *at)
{
	if (part > 0)
		return (*at)++ == 0 ? index_find(&q->index, id, part) : NULL;
	while (*at < q->part_max) {
		struct queue_item *item = index_find(&q->index, id, ++*at);
		if (item != NULL)
			return item;
	}
	return NULL;
}

size_t queue_flush_id(struct queue *q, struct slice text, struct now now)
{
	struct queue_item *item;
	struct qid id;
	unsigned part, at = 0;
	size_t n = 0;
	queue_touch(q, now);
	if (qid_parse(text, &id, &part) < 0)
		return 0;
	while ((item = next_of_id(q, id, part, &at)) != NULL)
		n += flush_item(q, item);
	return n;
}

int queue_order(struct queue *q, enum queue_order order, struct slice target)
{
	char label[SPOOL_DOMAIN_MAX + 1];
	if (queue_scan_is_done(q))
		return 0;
	return orders_give(&q->orders, order,
	    queue_is_id(target) ? target : slice_str(spool_label(target, label)));
}

struct queue_item *queue_next_ordered(struct queue *q, enum queue_order *order)
{
	struct ordered found;
	while (orders_next(&q->orders, &found)) {
		struct queue_item *item = index_find(&q->index, found.id, found.part);
		*order = found.order;
		if (item != NULL)
			return item;
	}
	*order = QUEUE_ORDER_NONE;
	return NULL;
}

/* --- looking --------------------------------------------------------------------- */

struct queue_item *queue_next_item(const struct queue *q, size_t *cursor)
{
	return index_next(&q->index, cursor);
}

bool queue_is_id(struct slice text)
{
	struct qid id;
	unsigned part;
	return qid_parse(text, &id, &part) == 0;
}

size_t queue_find(const struct queue *q, struct slice text, struct queue_item **items, size_t max)
{
	struct queue_item *item;
	struct qid id;
	unsigned part, at = 0;
	size_t n = 0;
	if (qid_parse(text, &id, &part) < 0)
		return 0;
	while ((item = next_of_id(q, id, part, &at)) != NULL) {
		if (n < max)
			items[n] = item;
		n++;
	}
	return n;
}

char *queue_item_id(const struct queue_item *item, char buf[QUEUE_ID_MAX])
{
	struct qid id = { item->id[0], item->id[1] };
	return qid_format_part(id, item->part, buf);
}

char *queue_item_message_id(const struct queue_item *item, char buf[QUEUE_ID_MAX])
{
	struct qid id = { item->id[0], item->id[1] };
	return qid_format(id, buf);
}

void queue_stats(const struct queue *q, struct queue_stats *s)
{
	*s = (struct queue_stats){
		.items = q->index.count,
		.parked = q->by_state[QUEUE_ITEM_PARKED],
		.held = q->by_state[QUEUE_ITEM_HELD],
		.active = q->by_state[QUEUE_ITEM_ACTIVE],
		.busy = q->by_state[QUEUE_ITEM_BUSY],
		.corrupt = atomic_load_explicit(&q->spool->quarantined, memory_order_relaxed),
		.memory_bytes = body_pool_bytes(q->pool),
		.commits = q->commits,
		.settles = q->settles,
		.loads = q->loads,
		.syncs = atomic_load_explicit(&q->spool->syncs, memory_order_relaxed),
		.scan_done = queue_scan_is_done(q),
	};
}
