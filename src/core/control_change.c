/*
 * What the operator does to mail: flush, hold, release, delete. To all that
 * the shards have, and to what their scans still find.
 */
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/accounting.h"
#include "core/committer.h"
#include "core/control_cmds.h"
#include "core/dispatch.h"
#include "core/settlement.h"
#include "core/shards.h"

/* A command that changes items: what they are called, and what the scan is to do with those it
 * still finds. */
struct target {
	struct slice name;
	bool is_id;
	int later; /* as queue_order returns it */
};

static struct target target_of(struct control_call *call, enum queue_order order)
{
	const struct shards *s = call->mta->shards;
	struct slice arg = slice_str(call->argv[1]);
	struct target t = { .name = arg, .is_id = queue_is_id(arg) };

	if (!t.is_id)
		t.name = slice_str(control_domain_arg(call, call->argv[1]));
	for (unsigned i = 0; i < s->n && t.later >= 0; i++) {
		int later = queue_order(s->mta[i]->queue, order, t.name);
		t.later = later < 0 ? later : MAX(later, t.later);
	}
	return t;
}

/* What came of it: n items, and those to come. */
static void answer(struct control_call *call, size_t n, int later, const char *verb)
{
	const char *s = n == 1 ? "" : "s";

	if (later < 0) {
		control_say(call,
		    "ERR %zu item%s %s, but the start-up scan is still running and %d commands "
		    "wait for what it finds: repeat this one when it has ended\n",
		    n, s, verb, QUEUE_ORDERS_MAX);
	} else if (later > 0) {
		control_ok(call);
		control_say(call, "%zu item%s %s; so will be what the start-up scan still finds\n",
		    n, s, verb);
	} else {
		control_ok(call);
		control_say(call, "%zu item%s %s\n", n, s, verb);
	}
}

/* Items in the queue, and those that wait behind a site that is down. */
static size_t flush_id(struct mta *m, struct slice id)
{
	struct queue_item *items[CONTROL_FIND_MAX];
	size_t found = MIN(queue_find(m->queue, id, items, CONTROL_FIND_MAX), CONTROL_FIND_MAX);
	size_t n = queue_flush_id(m->queue, id, m->now);

	for (size_t i = 0; i < found; i++)
		n += dispatch_flush_item(m->dispatch, items[i]);
	return n;
}

static size_t flush_target(struct mta *m, const struct target *t)
{
	loop_again(m->loop);
	if (t->is_id)
		return flush_id(m, t->name);
	return queue_flush_domain(m->queue, t->name, m->now) +
	       dispatch_flush_domain(m->dispatch, t->name.p);
}

void control_flush(struct control_call *call)
{
	struct shards *s = call->mta->shards;
	size_t n = 0;

	if (call->argc == 1) {
		n = shards_flush(s);
		control_ok(call);
		control_say(call, "%zu item%s due now\n", n, n == 1 ? "" : "s");
		return;
	}
	struct target t = target_of(call, QUEUE_ORDER_FLUSH);
	for (unsigned i = 0; i < s->n; i++)
		if (s->mta[i]->phase != MTA_PHASE_STOPPED)
			n += flush_target(s->mta[i], &t);
	if (n == 0 && t.later == 0)
		control_say(call, "ERR nothing deferred for %s\n",
		    control_shown(call, call->argv[1]));
	else
		answer(call, n, t.later, "due now");
}

struct change { /* one item of hold, release or delete, on its way through the disk threads */
	struct mta *mta;
	enum event_kind kind;
	bool was_held;
};

static void note_change(struct mta *m, const struct queue_item *item, enum event_kind kind)
{
	struct envelope *env = NULL;

	if (queue_peek(m->queue, item, &env) < 0)
		return;
	for (size_t i = 0; i < env->rcpts_n; i++) {
		struct event e = { .kind = kind,
			.envelope = env,
			.recipient = env->rcpts[i].address };
		if (!fate_is_final(env->rcpts[i].fate))
			accounting_add(m->accounting, &e, m->now);
	}
	envelope_free(&env);
}

static void on_changed(void *arg, struct queue_done *done)
{
	struct change *c = arg;

	if (done->result < 0)
		log_error("control", "%s: %s", done->id, err_text(done->result));
	else if (done->item)
		note_change(c->mta, done->item, c->kind);
	mem_free(c);
}

static void on_delete_loaded(void *arg, struct queue_done *done)
{
	struct change *c = arg;
	struct mta *m = c->mta;

	if (done->result == 0 && done->item) {
		settlement_delete(m, done->item, loop_now(m->loop));
	} else if (done->item) {
		log_error("control", "%s: not deleted: %s", done->id, err_text(done->result));
		done->item->want_hold = c->was_held; /* it goes back to where it was */
		queue_park(m->queue, done->item, 0);
	}
	mem_free(c);
}

/* Takes the ACTIVE item. One whose last outcome the disk refused has its mail in memory. */
static void delete_item(struct change *c, struct queue_item *item)
{
	if (!item->mail) {
		committer_add(c->mta->committer, queue_op_load(item), on_delete_loaded, c);
		return;
	}
	settlement_delete(c->mta, item, c->mta->now);
	mem_free(c);
}

/*
 * An item that is ACTIVE or BUSY. What waits for a connection is taken back
 * and rests (TAKEN). What is in delivery can be held after this attempt, or
 * that wish be taken back (NOTED).
 */
enum grip {
	GRIP_NONE = 0,
	GRIP_TAKEN,
	GRIP_NOTED,
};

static enum grip grip_item(struct mta *m, struct queue_item *item, enum event_kind kind)
{
	bool wanted = item->want_hold;

	if (kind == EVENT_RELEASED) {
		item->want_hold = false;
		return wanted ? GRIP_NOTED : GRIP_NONE;
	}
	if (dispatch_withdraw(m->dispatch, item)) {
		queue_park(m->queue, item, 0);
		return GRIP_TAKEN;
	}
	if (kind == EVENT_DELETED)
		return GRIP_NONE;
	item->want_hold = true;
	return GRIP_NOTED;
}

static enum event_kind kind_of(enum queue_order order)
{
	switch (order) {
	case QUEUE_ORDER_HOLD:
		return EVENT_HELD;
	case QUEUE_ORDER_RELEASE:
		return EVENT_RELEASED;
	case QUEUE_ORDER_DELETE:
		return EVENT_DELETED;
	case QUEUE_ORDER_NONE:
	case QUEUE_ORDER_FLUSH:
		break;
	}
	UNREACHABLE();
}

static bool change_item(struct mta *m, struct queue_item *item, enum event_kind kind)
{
	bool rests = item->state == QUEUE_ITEM_PARKED || item->state == QUEUE_ITEM_HELD;
	enum grip grip = rests ? GRIP_TAKEN : grip_item(m, item, kind);
	struct change *c;

	if (grip != GRIP_TAKEN)
		return grip == GRIP_NOTED;
	if ((kind == EVENT_RELEASED && item->state != QUEUE_ITEM_HELD) ||
	    (kind == EVENT_HELD && item->state != QUEUE_ITEM_PARKED))
		return false;
	c = mem_zalloc(sizeof(*c));
	c->mta = m;
	c->kind = kind;
	c->was_held = item->state == QUEUE_ITEM_HELD;
	if (kind == EVENT_DELETED) {
		queue_take(m->queue, item);
		delete_item(c, item);
	} else {
		committer_add(m->committer, queue_op_hold(item, kind == EVENT_HELD, m->now),
		    on_changed, c);
	}
	return true;
}

/* By id, or all of a domain: those that a shard has. */
static size_t change_there(struct mta *m, const struct target *t, enum event_kind kind)
{
	struct queue_item *items[CONTROL_FIND_MAX];
	struct queue_item *item;
	struct queue_walk w;
	size_t n =
	    t->is_id ? MIN(queue_find(m->queue, t->name, items, CONTROL_FIND_MAX), CONTROL_FIND_MAX)
		     : 0;
	size_t done = 0;

	if (kind == EVENT_RELEASED) /* what is released is due at once, as by a flush */
		dispatch_note_flush(m->dispatch);
	for (size_t i = 0; i < n; i++)
		done += change_item(m, items[i], kind);
	if (t->is_id || t->name.n == 0) /* a walk over no domain is one over all */
		return done;
	queue_walk_begin(m->queue, &w, t->name);
	while ((item = queue_walk_next(&w)))
		done += change_item(m, item, kind);
	queue_walk_end(&w);
	return done;
}

/* Items in delivery can be held (after this attempt), not released or deleted. */
static void change(struct control_call *call, enum queue_order order, const char *verb)
{
	const struct shards *s = call->mta->shards;
	struct target t = target_of(call, order);
	enum event_kind kind = kind_of(order);
	size_t done = 0;

	for (unsigned i = 0; i < s->n; i++) {
		if (s->mta[i]->phase == MTA_PHASE_STOPPED)
			continue; /* nobody there to do it: as if the command had come later */
		done += change_there(s->mta[i], &t, kind);
		loop_again(s->mta[i]->loop);
	}
	if (done == 0 && t.later == 0)
		control_say(call, "ERR nothing for %s that can be %s now\n",
		    control_shown(call, call->argv[1]), verb);
	else
		answer(call, done, t.later, verb);
}

void control_apply_orders(struct mta *m)
{
	enum queue_order order;
	struct queue_item *item;

	while ((item = queue_next_ordered(m->queue, &order)))
		(void)change_item(m, item, kind_of(order));
}

void control_hold(struct control_call *call)
{
	change(call, QUEUE_ORDER_HOLD, "held");
}

void control_release(struct control_call *call)
{
	change(call, QUEUE_ORDER_RELEASE, "released");
}

void control_delete(struct control_call *call)
{
	change(call, QUEUE_ORDER_DELETE, "deleted");
}
