/*
 * queue_op.c - operations: prepared on the loop, finished on the loop. What
 * happens in between is batch.c.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_int.h"

struct queue_op *queue_new_op(struct queue *q, enum queue_op_kind kind, struct queue_item *item)
{
	struct queue_op *op = mem_zalloc(sizeof(*op));
	op->kind = kind;
	op->q = q;
	op->item = item;
	q->ops++;
	if (item != NULL) {
		op->before = (enum queue_item_state)item->state;
		queue_set_state(q, item, QUEUE_ITEM_BUSY);
	}
	return op;
}

void queue_op_set_arg(struct queue_op *op, void *arg)
{
	op->arg = arg;
}

void *queue_op_arg(const struct queue_op *op)
{
	return op->arg;
}

enum queue_op_kind queue_op_kind_of(const struct queue_op *op)
{
	return op->kind;
}

/* --- prepare -------------------------------------------------------------------- */

struct queue_op *queue_op_commit(struct queue_msg **m, const char *const *domains, struct now now)
{
	struct queue *q = (*m)->q;
	queue_touch(q, now);
	struct queue_op *op = queue_new_op(q, QUEUE_OP_COMMIT, NULL);
	op->msg = *m;
	*m = NULL;
	queue_split(op, domains);
	return op;
}

struct queue_op *queue_op_scan(struct queue *q)
{
	if (q->scan_listing || q->scan_names != NULL || queue_scan_is_done(q))
		return NULL;
	struct queue_op *op = queue_new_op(q, QUEUE_OP_SCAN, NULL);
	op->subdir = q->scan_dir;
	q->scan_listing = true;
	return op;
}

struct queue_op *queue_op_load(struct queue_item *item)
{
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	CHECK(item->mail == NULL);
	return queue_new_op(queue_of_item(item), QUEUE_OP_LOAD, item);
}

struct queue_op *queue_op_peek(struct queue_item *item)
{
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	CHECK(item->mail == NULL);
	return queue_new_op(queue_of_item(item), QUEUE_OP_PEEK, item);
}

/* Reply texts come from peers: whatever they hold, a stored text is one line. */
static const char *one_line(struct envelope *e, const char *text)
{
	struct slice s = slice_str(text);
	s.n = MIN(s.n, (size_t)ENVELOPE_TEXT_MAX);
	if (s.n == 0)
		return "";
	char *copy = arena_strndup(&e->arena, s.p, s.n);
	for (char *p = copy; *p != '\0'; p++) {
		if (*p == '\r' || *p == '\n')
			*p = ' ';
	}
	return copy;
}

/* A fate once final stays: a settle that failed may be tried again with the same outcomes. */
static void apply_outcome(struct envelope *e, const struct queue_outcome *o)
{
	CHECK(o->rcpt < e->rcpts_n);
	CHECK(o->fate != FATE_NONE);
	struct envelope_rcpt *r = &e->rcpts[o->rcpt];
	if (fate_is_final(r->fate))
		return;
	r->fate = o->fate;
	r->attempts = o->attempts;
	r->due_ms = o->due_ms;
	r->last_ms = o->last_ms;
	r->status = o->status;
	r->status.text = one_line(e, o->status.text);
	r->status.host = one_line(e, o->status.host);
	r->status.ip = one_line(e, o->status.ip);
}

static bool is_untouched(const struct envelope *e, const struct envelope_rcpt *r)
{
	return r->fate == FATE_PENDING && r->attempts == 0 && r->last_ms == 0 &&
	       r->due_ms == e->arrival_ms;
}

size_t queue_name_rcpts(const struct envelope *e, uint32_t **rcpts)
{
	size_t n = 0;
	*rcpts = mem_alloc(e->rcpts_n * sizeof(**rcpts) + 1);
	for (size_t i = 0; i < e->rcpts_n; i++) {
		if (!is_untouched(e, &e->rcpts[i]))
			(*rcpts)[n++] = (uint32_t)i;
	}
	return n;
}

/* Which recipients the record will name: those of this settle, or all there is to say. */
static void choose_rcpts(struct queue_op *op, const struct mail *mail,
    const struct queue_outcome *outcomes, size_t n)
{
	if (mail->snapshot) {
		op->rcpts_n = queue_name_rcpts(mail->pub.envelope, &op->rcpts);
		return;
	}
	op->rcpts = mem_alloc(n * sizeof(*op->rcpts) + 1);
	for (size_t i = 0; i < n; i++)
		op->rcpts[op->rcpts_n++] = (uint32_t)outcomes[i].rcpt;
}

struct queue_op *queue_op_settle(struct queue_item *item, const struct queue_outcome *outcomes,
    size_t n, struct now now)
{
	struct queue *q = queue_of_item(item);
	struct mail *mail = queue_mail_of(item);
	CHECK(item->state == QUEUE_ITEM_ACTIVE);
	CHECK(n == 0 || mail != NULL);
	queue_touch(q, now);
	struct queue_op *op = queue_new_op(q, QUEUE_OP_SETTLE, item);
	op->held = item->want_hold;
	op->due_ms = item->name_due_ms;
	op->attempts = item->name_attempts;
	if (mail == NULL)
		return op;
	struct envelope *e = mail->pub.envelope;
	for (size_t i = 0; i < n; i++)
		apply_outcome(e, &outcomes[i]);
	op->remove = envelope_pending(e) == 0;
	if (op->remove)
		return op;
	op->due_ms = MAX(envelope_due_ms(e), (int64_t)0);
	op->attempts = (uint16_t)envelope_attempts(e);
	op->tail = mail->tail;
	op->doubt_at = mail->doubt_at;
	choose_rcpts(op, mail, outcomes, n);
	return op;
}

void queue_op_add_report(struct queue_op *op, struct queue_msg **report, const char *const *domains)
{
	CHECK(op->kind == QUEUE_OP_SETTLE);
	CHECK(op->msg == NULL);
	CHECK(op->item->mail != NULL);
	op->msg = *report;
	*report = NULL;
	queue_split(op, domains);
	if (op->remove)
		op->rcpts_n = queue_name_rcpts(op->item->mail->envelope, &op->rcpts);
}

struct queue_op *queue_op_hold(struct queue_item *item, bool hold, struct now now)
{
	struct queue *q = queue_of_item(item);
	queue_touch(q, now);
	if (item->state == QUEUE_ITEM_ACTIVE || item->state == QUEUE_ITEM_BUSY) {
		item->want_hold = hold;
		return NULL;
	}
	wheel_cancel(&q->wheel, &item->timer);
	struct queue_op *op = queue_new_op(q, QUEUE_OP_HOLD, item);
	item->want_hold = op->held = hold;
	op->due_ms = item->name_due_ms;
	op->attempts = item->name_attempts;
	return op;
}

struct queue_op *queue_op_sync(struct queue *q, struct now now, int64_t min_age_ms)
{
	CHECK(q->shard == 0);
	queue_touch(q, now);
	if (q->sync_running)
		return NULL;
	bool dirty = journal_is_dirty(q->journal, now.mono_ms); /* always told the time */
	if (!dirty && !spool_is_dirty(q->spool)) {
		q->dirty_known = false;
		return NULL;
	}
	if (!q->dirty_known) {
		q->dirty_known = true;
		q->dirty_at = now.mono_ms;
	}
	if (now.mono_ms - q->dirty_at < min_age_ms)
		return NULL;
	q->dirty_known = false;
	q->sync_running = true;
	return queue_new_op(q, QUEUE_OP_SYNC, NULL);
}

/* --- finish --------------------------------------------------------------------- */

/* To rest: HELD, or PARKED until due_ms, or now if somebody has asked for that meanwhile. */
static void rest(struct queue *q, struct queue_item *item, bool held, int64_t due_ms)
{
	if (item->want_flush && !held && due_ms > q->last.wall_ms) {
		item->flushed = true;
		due_ms = q->last.wall_ms;
	}
	item->want_flush = item->ripe = false;
	item->want_hold = held; /* so that it stays, should a command take the item */
	queue_set_state(q, item, held ? QUEUE_ITEM_HELD : QUEUE_ITEM_PARKED);
	if (!held)
		queue_set_timer(q, item, due_ms);
}

/* The body stays in memory for the first attempt, when it came that way and the budget allows; else
 * NULL. */
static struct queue_body *keep_body(struct queue *q, struct queue_msg *m)
{
	if (m->spilled > 0)
		return NULL;
	size_t bytes = buf_len(&m->mem);
	char *mem = mem_realloc(buf_take(&m->mem), bytes + 1); /* without the buffer's slack */
	struct queue_body *body = body_new_memory(q->pool, mem, bytes);
	if (body == NULL)
		mem_free(mem);
	return body;
}

static struct queue_item *item_of_part(const struct queue_op *op, struct part *p,
    const struct spool_name *name, struct queue_body *body)
{
	struct queue_item *item = queue_make_item(name, op->msg_subdir);
	if (op->in_journal)
		item->record = journal_msg_part(op->record, p->number);
	item->ripe = true;
	item->sender =
	    envelope_sender_key(slice_str(p->envelope->user), slice_str(p->envelope->client_ip));
	if (body == NULL)
		return item;
	struct mail *mail = mem_zalloc(sizeof(*mail));
	mail->pub.envelope = p->envelope;
	mail->pub.body = queue_body_ref(body);
	mail->tail = p->tail;
	item->mail = &mail->pub;
	p->envelope = NULL;
	return item;
}

/* To the caller, or to the queue of its home. */
static void hand_out(struct queue *q, const struct queue_op *op, struct part *p,
    struct queue_body *body, struct queue_done *done)
{
	struct spool_name name;
	char label[SPOOL_DOMAIN_MAX + 1];
	batch_part_name(op, p, &name);
	struct slice domain = name.domain;
	struct queue *home = store_home(q->store, slice_str(spool_label(domain, label)));
	struct queue_item *item;
	if (home == q) {
		item = item_of_part(op, p, &name, body);
		queue_index_item(q, item, domain);
		queue_set_state(q, item, QUEUE_ITEM_ACTIVE);
		list_push(&done->items, &item->link);
		return;
	}
	char *copy = slice_dup(domain); /* the envelope goes with the item */
	item = item_of_part(op, p, &name, body);
	queue_send_item(q, home, item, slice_str(copy));
	mem_free(copy);
}

/* stored: it has become items. */
static void finish_msg(struct queue *q, struct queue_op *op, bool stored, struct queue_done *done)
{
	struct queue_msg *m = op->msg;
	CHECK(q->msgs > 0);
	q->msgs--;
	atomic_fetch_sub(&q->store->waiting_bytes, buf_len(&m->mem));
	if (stored) {
		struct queue_body *body = keep_body(q, m);
		for (size_t i = 0; i < op->parts_n; i++)
			hand_out(q, op, &op->parts[i], body, done);
		queue_body_unref(&body);
		q->commits++;
	}
	for (size_t i = 0; i < op->parts_n; i++)
		envelope_free(&op->parts[i].envelope);
	queue_free_msg(m);
}

/* Due times stored before this start are bounded from its opening on, as the name's was. True if
 * one had to be. */
static bool clamp_rcpts(struct queue *q, struct envelope *e)
{
	bool changed = false;
	for (size_t i = 0; i < e->rcpts_n; i++) {
		struct envelope_rcpt *r = &e->rcpts[i];
		int64_t due_ms =
		    retry_clamp_due(&q->retry, r->attempts, r->due_ms, q->opened.wall_ms);
		if (r->fate != FATE_PENDING || due_ms == r->due_ms)
			continue;
		r->due_ms = due_ms;
		changed = true;
	}
	return changed;
}

/* The tail is the truth: where a rename was lost, the name is behind. Nor does a name say a long
 * domain. True if due times were bounded: the disk says otherwise until all are written. */
static bool adopt_envelope(struct queue *q, struct queue_item *item, struct envelope *e)
{
	item->found = item->found && q->has_retry && clamp_rcpts(q, e);
	int64_t due_ms = MAX(envelope_due_ms(e), (int64_t)0);
	item->ripe = item->ripe && due_ms <= item->due_ms;
	item->due_ms = due_ms;
	item->attempts = (uint16_t)envelope_attempts(e);
	item->sender = envelope_sender_key(slice_str(e->user), slice_str(e->client_ip));
	if (item->domain->name[0] == '~')
		queue_set_domain(q, item, slice_str(e->domain));
	return item->found;
}

static void finish_load(struct queue *q, struct queue_op *op, struct queue_done *done)
{
	struct queue_item *item = op->item;
	q->loads++;
	if (op->result == 0 && !op->gone) { /* first: where it has moved to is for it to know */
		item->mail = &op->mail->pub;
		op->mail = NULL;
	}
	queue_adopt_place(q, item);
	if (op->gone) {
		queue_drop_item(q, item);
		done->item = NULL;
		return;
	}
	queue_set_state(q, item, QUEUE_ITEM_ACTIVE);
	item->want_flush = false; /* it was to be tried anyway */
	if (item->mail == NULL)
		return;
	if (adopt_envelope(q, item, item->mail->envelope))
		queue_mail_of(item)->snapshot = true;
}

static void finish_peek(struct queue *q, struct queue_op *op, struct queue_done *done)
{
	queue_adopt_place(q, op->item);
	queue_set_state(q, op->item, QUEUE_ITEM_ACTIVE);
	op->item->want_flush = false; /* it was due anyway */
	if (op->result < 0)
		return;
	if (envelope_pending(op->envelope) > 0) /* else only the unlink was lost: load sees to it */
		(void)adopt_envelope(q, op->item, op->envelope);
	done->envelope = op->envelope;
	op->envelope = NULL;
}

static void finish_look(struct queue *q, struct queue_op *op, struct queue_done *done)
{
	qid_format_part(op->place->id, op->place->part, done->id);
	queue_free_place(q, &op->place);
	done->envelope = op->envelope;
	op->envelope = NULL;
}

static void finish_report(struct queue *q, struct queue_op *op, struct queue_done *done)
{
	if (op->reported)
		qid_format(op->msg->id, done->report);
	finish_msg(q, op, op->reported, done);
}

static void finish_settle(struct queue *q, struct queue_op *op, struct queue_done *done)
{
	struct queue_item *item = op->item;
	struct mail *mail = queue_mail_of(item);
	bool unreported = op->msg != NULL && !op->reported;
	q->settles++;
	if (op->msg != NULL)
		finish_report(q, op, done);
	queue_adopt_place(q, item);
	if (op->remove && op->result == 0) {
		queue_drop_item(q, item);
		done->item = NULL;
		return;
	}
	if (op->remove || unreported) {
		mail->unsaved = mail->snapshot = true;
		queue_set_state(q, item, QUEUE_ITEM_ACTIVE);
		return;
	}
	if (op->renamed) {
		item->name_due_ms = op->due_ms;
		item->name_attempts = op->attempts;
		item->name_held = op->held;
	}
	if (mail != NULL) {
		item->due_ms = op->due_ms;
		item->attempts = op->attempts;
		bool written = op->result == 0 && !op->behind && !op->lost;
		if (written) {
			item->found = item->found && !mail->snapshot;
			mail->tail = op->tail;
			mail->doubt_at = 0;
		} else {
			mail->snapshot = true;
		}
		mail->unsaved = op->result < 0 || op->lost;
	}
	item->flushed = false;
	queue_end_work(q, item, true);
	queue_drop_mail(item);
	/* The last wish counts. One made while the settle was running is not in the name until the
	 * next. */
	rest(q, item, item->want_hold, item->due_ms);
}

static void finish_hold(struct queue *q, struct queue_op *op)
{
	struct queue_item *item = op->item;
	queue_adopt_place(q, item);
	bool held = op->result == 0 ? item->want_hold : op->before == QUEUE_ITEM_HELD;
	if (op->renamed)
		item->name_held = op->held;
	if (op->result == 0) /* known to its operator now */
		queue_end_work(q, item, true);
	bool released = op->result == 0 && op->before == QUEUE_ITEM_HELD && !held;
	if (released)
		item->flushed = item->due_ms > q->last.wall_ms;
	rest(q, item, held, released ? q->last.wall_ms : item->due_ms);
}

/* Those in an operation at this moment learn it when that ends. */
static void finish_sync(struct queue *q, const struct queue_op *op)
{
	q->sync_running = false;
	for (size_t i = 0; i < op->moved_n; i++) {
		struct queue_item *item = index_find(&q->index, op->moved[i].id, op->moved[i].part);
		if (item != NULL && item->state != QUEUE_ITEM_BUSY)
			queue_adopt_place(q, item);
	}
}

static void describe(const struct queue_op *op, struct queue_done *done)
{
	*done = (struct queue_done){ .kind = op->kind,
		.result = op->result,
		.arg = op->arg,
		.item = op->item };
	list_init(&done->items);
	if (op->item != NULL)
		queue_item_id(op->item, done->id);
}

void queue_finish(struct queue *q, struct queue_op **op_p, struct now now, struct queue_done *done)
{
	struct queue_op *op = *op_p;
	*op_p = NULL;
	CHECK(op->q == q);
	CHECK(q->ops > 0);
	queue_touch(q, now);
	describe(op, done);
	switch (op->kind) {
	case QUEUE_OP_COMMIT:
		qid_format(op->msg->id, done->id);
		finish_msg(q, op, op->result == 0, done);
		break;
	case QUEUE_OP_LOAD:
		finish_load(q, op, done);
		break;
	case QUEUE_OP_PEEK:
		finish_peek(q, op, done);
		break;
	case QUEUE_OP_LOOK:
		finish_look(q, op, done);
		break;
	case QUEUE_OP_SETTLE:
		finish_settle(q, op, done);
		break;
	case QUEUE_OP_HOLD:
		finish_hold(q, op);
		break;
	case QUEUE_OP_SCAN:
		q->scan_listing = false;
		q->scan_names = op->names;
		break;
	case QUEUE_OP_SYNC:
		finish_sync(q, op);
		break;
	case QUEUE_OP_NONE:
		UNREACHABLE();
	}
	q->ops--;
	if (op->mail != NULL)
		queue_free_mail(op->mail);
	envelope_free(&op->envelope);
	mem_free(op->parts);
	mem_free(op->rcpts);
	mem_free(op->moved);
	mem_free(op);
}
