#include "core/outage.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/accounting.h"
#include "core/committer.h"
#include "core/dispatch.h"
#include "core/settlement.h"

#define OUTAGE_PER_TURN 500
#define OUTAGE_READS    64

struct outage {
	struct mta *mta;
	struct list_node round; /* struct site.tell_node */
	size_t reading;
};

struct outage *outage_new(struct mta *m)
{
	struct outage *o = mem_zalloc(sizeof(*o));

	o->mta = m;
	list_init(&o->round);
	return o;
}

void outage_free(struct outage **op)
{
	struct outage *o = *op;

	CHECK(o->reading == 0);
	CHECK(list_is_empty(&o->round));
	mem_free(o);
	*op = NULL;
}

static bool has_work(struct site *s, uint64_t flush)
{
	return site_has_untold(s) || site_has_refused(s, flush);
}

void outage_note(struct outage *o, struct site *s, uint64_t flush)
{
	bool wants = has_work(s, flush);

	if (wants && !list_is_linked(&s->tell_node))
		list_push(&o->round, &s->tell_node);
	else if (!wants && list_is_linked(&s->tell_node))
		list_remove(&s->tell_node);
}

/* No attempt was made: the event has no number of one. */
static void tell(struct outage *o, const struct site *s, const struct queue_item *item,
    const struct envelope *env, struct now now)
{
	struct event e = { .kind = EVENT_DEFERRED,
		.envelope = env,
		.status = &s->reply->status,
		.stage = s->reply->stage,
		.port = s->reply->port,
		.mode = s->reply->mode,
		.next_attempt_ms = now.wall_ms + MAX(s->probe_at_ms - now.mono_ms, 0) };

	for (size_t i = 0; i < env->rcpts_n; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];
		if (fate_is_final(r->fate) || r->due_ms > queue_due_by(item, now))
			continue;
		e.recipient = r->address;
		accounting_add(o->mta->accounting, &e, now);
	}
	log_debug("delivery", "%s: waits, %s is down", env->queue_id, s->name);
}

/* Back among those that wait, with what has to be said about it said. */
static void add_told(struct outage *o, struct queue_item *item)
{
	item->told = true;
	dispatch_add(o->mta->dispatch, item);
}

static void adopt_read(struct outage *o, struct queue_item *item, const struct envelope *env,
    struct now now)
{
	struct mta *m = o->mta;
	const struct site *s = dispatch_site_of(item);

	if (item->want_hold) { /* asked for while it was being read */
		settlement_rest(m, item, now);
	} else if (env && !item->flushed && item->due_ms > queue_due_by(item, now)) {
		queue_park(m->queue, item, 0); /* the file knew better than its name */
	} else if (env && s && s->health == SITE_DOWN) {
		tell(o, s, item, env, now);
		add_told(o, item);
	} else if (env) {
		dispatch_add(m->dispatch, item); /* somebody answers by now */
	} else {
		add_told(o, item); /* what is wrong with it is for its attempt to find out */
	}
}

static void on_read(void *arg, struct queue_done *done)
{
	struct outage *o = arg;
	struct mta *m = o->mta;

	o->reading--;
	if (done->result < 0)
		log_warn("queue", "%s: can't be read: %s", done->id, err_text(done->result));
	if (m->phase == MTA_PHASE_RUNNING)
		adopt_read(o, done->item, done->envelope, loop_now(m->loop));
	else
		queue_park(m->queue, done->item, 0);
	envelope_free(&done->envelope);
}

static void take(struct outage *o, struct queue_item *item)
{
	bool taken = dispatch_withdraw(o->mta->dispatch, item);
	CHECK(taken);
}

/* False if it has to wait for other reads. */
static bool tell_item(struct outage *o, const struct site *s, struct queue_item *item,
    struct now now)
{
	struct mta *m = o->mta;

	if (site_item_is_early(item, now.wall_ms)) {
		take(o, item);
		dispatch_add(m->dispatch, item); /* as one that comes by a flush */
	} else if (item->told || dispatch_is_expired(m->dispatch, item, now)) {
		take(o, item);
		add_told(o, item);
	} else if (item->mail) {
		take(o, item);
		tell(o, s, item, item->mail->envelope, now);
		queue_unload(m->queue, item); /* memory is for mail that goes out */
		add_told(o, item);
	} else if (o->reading < OUTAGE_READS) {
		take(o, item);
		o->reading++;
		committer_add(m->reader, queue_op_peek(item), on_read, o);
	} else {
		return false;
	}
	return true;
}

static void send_back(struct outage *o, struct queue_item *item, struct now now)
{
	take(o, item);
	if (site_item_is_early(item, now.wall_ms))
		queue_park(o->mta->queue, item, 0);
	else
		dispatch_add(o->mta->dispatch, item);
}

bool outage_step(struct outage *o, uint64_t flush, struct now now)
{
	for (int i = 0; i < OUTAGE_PER_TURN; i++) {
		if (list_is_empty(&o->round))
			return false;
		struct site *s = list_first(&o->round, struct site, tell_node);
		list_remove(&s->tell_node); /* to the end, if anything is left */
		list_push(&o->round, &s->tell_node);
		if (site_has_refused(s, flush))
			send_back(o, site_refused(s), now);
		else if (!site_has_untold(s))
			list_remove(&s->tell_node);
		else if (!tell_item(o, s, site_untold(s), now))
			return false;
	}
	return true;
}
