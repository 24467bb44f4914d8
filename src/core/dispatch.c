#include "core/dispatch.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/committer.h"
#include "core/delivery.h"
#include "core/limits.h"
#include "core/outage.h"
#include "core/pool.h"
#include "core/settlement.h"
#include "core/sites.h"

/* Times concurrency_max: with those that wait for a connection of their site. */
#define DISPATCH_ACTIVE_FACTOR   2
#define DISPATCH_TAKE_PER_TURN   1000
#define DISPATCH_STARTS_PER_TURN 200
#define DISPATCH_RELOAD_MS       60000 /* when an item that could not be read is tried again */
#define DISPATCH_REFUSED_MAX     1000  /* outcomes that wait for the disk: no more is started */
#define DISPATCH_EXPIRE_PER_TURN 200
#define DISPATCH_EXPIRING_MAX    64     /* read from the disk at the same time, to end */
#define DISPATCH_DOWN_MAX        100000 /* sites remembered to be down without mail for them */
#define DISPATCH_DOWN_MS         (24 * 3600 * 1000) /* and how long after the last failure */

struct dispatch {
	struct mta *mta;
	struct sites *sites;
	struct list_node round;      /* sites that may start something */
	struct list_node trials;     /* the same of sites that may only be tried out */
	struct list_node deliveries; /* struct delivery.node */
	struct list_node idle;       /* sites that are down without mail, the oldest first */
	struct wheel timers;         /* struct site.timer; mono ms */
	struct wheel expiry;         /* struct queue_item.timer of all that wait here; mono ms */
	struct list_node expired;    /* the same, fired */
	struct outage *outage;
	size_t ready_n, waiting_n; /* items of sites that are not down; that are */
	size_t active;             /* deliveries and loads under way */
	size_t expiring;           /* loads of mail that has expired; in active, too */
	size_t down_n, idle_n;
	uint64_t flushes;
	bool trial_next;
	bool more;    /* stopped for this turn's bound, not for lack of work */
	bool woken;   /* since the last step something may have become possible */
	bool starved; /* other deliveries are in the way of the next */
};

struct load { /* an item on its way from the disk */
	struct dispatch *dispatch;
	struct site *site;
};

struct dispatch *dispatch_new(struct mta *m)
{
	struct dispatch *d = mem_zalloc(sizeof(*d));

	d->mta = m;
	d->sites = sites_new(m);
	list_init(&d->round);
	list_init(&d->trials);
	list_init(&d->deliveries);
	list_init(&d->idle);
	list_init(&d->expired);
	wheel_init(&d->timers, m->now.mono_ms);
	wheel_init(&d->expiry, m->now.mono_ms);
	d->outage = outage_new(m);
	return d;
}

static void park_all(struct dispatch *d, struct site *s)
{
	struct queue_item *item;

	while ((item = site_next(s))) {
		item->owner = NULL;
		wheel_cancel(&d->expiry, &item->timer);
		site_remove(s, item);
		queue_park(d->mta->queue, item, 0);
	}
}

void dispatch_free(struct dispatch **dp)
{
	struct dispatch *d = *dp;
	size_t cursor = 0;
	struct site *s;

	if (!d)
		return;
	dispatch_take_arrivals(d, d->mta->now);
	CHECK(list_is_empty(&d->deliveries));
	while ((s = sites_next(d->sites, &cursor))) {
		park_all(d, s);
		wheel_cancel(&d->timers, &s->timer);
	}
	sites_free(&d->sites);
	outage_free(&d->outage);
	mem_free(d);
	*dp = NULL;
}

/* --- sites ------------------------------------------------------------------ */

struct site *dispatch_site_of(const struct queue_item *item)
{
	return item->domain->owner;
}

static void forget(struct dispatch *d, struct site *s)
{
	if (list_is_linked(&s->idle_node))
		d->idle_n--;
	if (s->health == SITE_DOWN)
		d->down_n--;
	wheel_cancel(&d->timers, &s->timer);
	sites_forget(d->sites, s);
}

/* Nothing to do with it: remembered for a while, but not too many. */
static void set_idle(struct dispatch *d, struct site *s, bool idle)
{
	if (idle == list_is_linked(&s->idle_node))
		return;
	if (!idle) {
		list_remove(&s->idle_node);
		d->idle_n--;
		return;
	}
	list_push(&d->idle, &s->idle_node);
	if (++d->idle_n > DISPATCH_DOWN_MAX)
		forget(d, list_first(&d->idle, struct site, idle_node));
}

static void set_timer(struct dispatch *d, struct site *s, int64_t at_ms)
{
	if (at_ms == INT64_MAX)
		wheel_cancel(&d->timers, &s->timer);
	else if (!wheel_timer_is_set(&s->timer) || s->timer.at_ms != at_ms)
		wheel_set(&d->timers, &s->timer, at_ms);
}

static int64_t remembered_until(const struct site *s)
{
	int64_t at_ms = MAX(bucket_busy_until(&s->sends), bucket_busy_until(&s->dials));

	at_ms = MAX(at_ms, window_busy_until(&s->window));
	return s->health == SITE_DOWN ? MAX(at_ms, s->trouble_ms + DISPATCH_DOWN_MS) : at_ms;
}

/* After any change. In a round exactly while it may start something; forgotten when it has neither
 * work nor connections, nor anything to be remembered for. */
static void site_update(struct dispatch *d, struct site *s, int64_t now_ms)
{
	bool empty = s->items == 0 && s->active == 0 && s->connections_n == 0;
	int64_t at_ms = empty ? remembered_until(s) : site_starts_at(s, now_ms);
	bool wants = !empty && at_ms <= now_ms;

	if (empty && at_ms <= now_ms) {
		forget(d, s);
		return;
	}
	if (wants && !list_is_linked(&s->node)) {
		list_push(site_is_trial(s) ? &d->trials : &d->round, &s->node);
		d->woken = true;
	} else if (!wants && list_is_linked(&s->node)) {
		list_remove(&s->node);
	}
	outage_note(d->outage, s, d->flushes);
	set_timer(d, s, wants ? INT64_MAX : at_ms);
	set_idle(d, s, empty);
}

static void run_timers(struct dispatch *d, struct now now)
{
	struct list_node due;

	list_init(&due);
	wheel_run(&d->timers, now.mono_ms, &due);
	while (!list_is_empty(&due)) {
		struct site *s = list_first(&due, struct site, timer.node);
		list_remove(&s->timer.node);
		site_update(d, s, now.mono_ms);
	}
}

static void health_changed(struct dispatch *d, struct site *s)
{
	bool down = s->health == SITE_DOWN;

	list_remove(&s->node); /* into the round where it belongs */
	d->ready_n = down ? d->ready_n - s->items : d->ready_n + s->items;
	d->waiting_n = down ? d->waiting_n + s->items : d->waiting_n - s->items;
	d->down_n = down ? d->down_n + 1 : d->down_n - 1;
}

void dispatch_touch(struct dispatch *d, struct site *s)
{
	site_update(d, s, loop_now(d->mta->loop).mono_ms);
}

void dispatch_answered(struct dispatch *d, struct site *s, bool about_mail)
{
	struct now now = loop_now(d->mta->loop);
	bool was_trial = s->probing;
	int64_t down_s = (now.wall_ms - s->down_since_wall_ms) / 1000;

	if (about_mail)
		s->answered_ms = now.mono_ms;
	if (site_answered(s)) {
		health_changed(d, s);
		log_notice("delivery", "%s answers again after %lld s, %zu items are ready",
		    s->name, (long long)down_s, s->items);
	}
	if (was_trial)
		limits_end(d->mta->limits, LIMITS_TRIALS);
	site_update(d, s, now.mono_ms);
}

void dispatch_failed(struct dispatch *d, struct site *s, const struct site_reply *why)
{
	struct now now = loop_now(d->mta->loop);
	bool was_trial = s->probing;

	if (site_failed(s, why, &d->mta->rng, now)) {
		health_changed(d, s);
		log_notice("delivery", "%s is down, %zu items wait: %s", s->name, s->items,
		    s->reply->status.text);
	}
	if (was_trial)
		limits_end(d->mta->limits, LIMITS_TRIALS);
	site_update(d, s, now.mono_ms);
}

void dispatch_finished(struct dispatch *d, struct site *s, bool sent)
{
	bool was_trial = s->probing;

	site_ended(s, sent);
	if (was_trial && !s->probing)
		limits_end(d->mta->limits, LIMITS_TRIALS);
	limits_end(d->mta->limits, LIMITS_DELIVERIES);
	d->active--;
	d->woken = true;
	site_update(d, s, loop_now(d->mta->loop).mono_ms);
}

/* --- items ------------------------------------------------------------------- */

static int64_t expires_at_ms(const struct dispatch *d, const struct queue_item *item,
    struct now now)
{
	int64_t at = retry_expires_at(&d->mta->conf->outbound.retry, item->arrival_ms);

	return now.mono_ms + MAX(at - now.wall_ms, 0);
}

/* Which shard has the site of mail for the domain; we stop: this one. */
static unsigned shard_of(const struct dispatch *d, const char *domain, const struct resolution *r)
{
	bool may_send = r->finding == VERDICT_FINDING_NONE && d->mta->phase == MTA_PHASE_RUNNING;

	return may_send ? sites_shard(d->sites, domain, r) : d->mta->number;
}

/* With what is known of the way, so that nobody asks for it again. Takes r. */
static void send_on(struct dispatch *d, struct queue_item *item, unsigned shard,
    struct resolution *r)
{
	item->owner = r;
	queue_send(d->mta->queue, item, shard);
}

/* The site it waits for; NULL: that is another shard's, and so is the item now. */
static struct site *site_for(struct dispatch *d, struct queue_item *item, struct now now)
{
	if (item->domain->owner)
		return item->domain->owner;
	struct resolution *r = sites_known(d->sites, item->domain, now);
	unsigned shard = r ? shard_of(d, item->domain->name, r) : d->mta->number;
	if (shard != d->mta->number) {
		send_on(d, item, shard, r);
		return NULL;
	}
	struct site *s = sites_for(d->sites, item->domain, r);
	resolution_unref(&r);
	return s;
}

static void add(struct dispatch *d, struct queue_item *item, bool first)
{
	struct now now = loop_now(d->mta->loop);
	struct site *s = site_for(d, item, now);

	if (!s)
		return;
	queue_leave_work(d->mta->queue, item);
	if (s->health == SITE_DOWN && site_item_is_early(item, now.wall_ms)) {
		if (s->flush_seen == d->flushes && !s->probing) { /* nobody answered */
			queue_park(d->mta->queue, item, 0);
			return;
		}
		s->asked |= s->flush_seen != d->flushes;
	}
	item->owner = s;
	wheel_add(&d->expiry, &item->timer, expires_at_ms(d, item, now));
	if (first)
		site_put_back(s, item, now.wall_ms);
	else
		site_add(s, item, now.wall_ms);
	if (s->health == SITE_DOWN)
		d->waiting_n++;
	else
		d->ready_n++;
	site_update(d, s, now.mono_ms);
}

void dispatch_add(struct dispatch *d, struct queue_item *item)
{
	add(d, item, false);
}

void dispatch_put_back(struct dispatch *d, struct queue_item *item)
{
	add(d, item, true);
}

/* It has been taken out of the lists of a site: only there an item has an owner. */
static void note_left(struct dispatch *d, const struct site *s, struct queue_item *item)
{
	item->owner = NULL;
	wheel_cancel(&d->expiry, &item->timer);
	if (s->health == SITE_DOWN)
		d->waiting_n--;
	else
		d->ready_n--;
}

bool dispatch_withdraw(struct dispatch *d, struct queue_item *item)
{
	struct site *s = item->owner;

	if (item->state != QUEUE_ITEM_ACTIVE || !s)
		return false;
	site_remove(s, item);
	note_left(d, s, item);
	site_update(d, s, loop_now(d->mta->loop).mono_ms);
	return true;
}

void dispatch_take_arrivals(struct dispatch *d, struct now now)
{
	struct list_node items;

	list_init(&items);
	queue_take_arrivals(d->mta->queue, &items, now);
	list_foreach_safe(it, &items) {
		struct queue_item *item = list_entry(it, struct queue_item, link);
		struct resolution *r = item->owner;
		list_remove(it);
		item->owner = NULL;
		if (r)
			sites_learn(d->sites, item, r, now);
		resolution_unref(&r);
		dispatch_add(d, item);
	}
}

/* Its lists are walked: where a domain leads to changes seldom. */
static void move_waiting(struct dispatch *d, struct site *from, const struct queue_domain *domain)
{
	struct list_node items;

	list_init(&items);
	site_take_domain(from, domain, &items);
	list_foreach_safe(it, &items) {
		struct queue_item *item = list_entry(it, struct queue_item, link);
		list_remove(it);
		note_left(d, from, item);
		dispatch_add(d, item);
	}
}

bool dispatch_move(struct dispatch *d, struct site *from, struct queue_item *item,
    struct resolution *r)
{
	const struct queue_domain *domain = item->domain;
	const char *name = item->mail->envelope->domain;

	/* A domain that names other hosts each time must not keep it going. */
	if (item->moved && from->set[0] && r->finding == VERDICT_FINDING_NONE)
		return false;
	unsigned shard = shard_of(d, name, r);
	if (shard != d->mta->number) {
		log_debug("delivery", "%s leads to shard %u", domain->name, shard);
		item->moved = true;
		sites_leave(item->domain);
		move_waiting(d, from, domain); /* before the domain's last item leaves, maybe */
		send_on(d, item, shard, resolution_ref(r));
		return true;
	}
	struct site *to = sites_elsewhere(d->sites, from, item->domain, name, r);
	if (!to)
		return false;
	item->moved = true;
	log_debug("delivery", "%s leads to %s", domain->name, to->name);
	dispatch_add(d, item);
	move_waiting(d, from, domain);
	return true;
}

void dispatch_add_new(struct dispatch *d, struct list_node *items)
{
	list_foreach_safe(it, items) {
		list_remove(it);
		dispatch_add(d, list_entry(it, struct queue_item, link));
	}
}

/* --- flush ------------------------------------------------------------------- */

/* Its next item tries it at once, be it here or not. */
static size_t ask(struct dispatch *d, struct site *s)
{
	if (!s || s->health != SITE_DOWN)
		return 0;
	s->asked = true;
	site_update(d, s, loop_now(d->mta->loop).mono_ms);
	return s->items;
}

void dispatch_note_flush(struct dispatch *d)
{
	d->flushes++;
}

size_t dispatch_flush(struct dispatch *d)
{
	size_t cursor = 0, n = 0;
	struct site *s;

	d->flushes++;
	while ((s = sites_next(d->sites, &cursor)))
		n += ask(d, s);
	return n;
}

size_t dispatch_flush_domain(struct dispatch *d, const char *domain)
{
	struct queue_domain *found[2];
	size_t n = 0, found_n = queue_find_domains(d->mta->queue, slice_str(domain), found);

	d->flushes++;
	for (size_t i = 0; i < found_n; i++)
		n += ask(d, found[i]->owner);
	return n;
}

size_t dispatch_flush_item(struct dispatch *d, const struct queue_item *item)
{
	d->flushes++;
	return item->state == QUEUE_ITEM_ACTIVE && ask(d, item->owner) > 0;
}

/* --- starting --------------------------------------------------------------- */

/* True if some recipient is to be tried now; else the item has been dealt with. */
static bool has_work(struct dispatch *d, struct queue_item *item, struct now now)
{
	const struct envelope *env = item->mail->envelope;

	if (item->want_hold) { /* asked for while it was on its way from the disk */
		settlement_rest(d->mta, item, now);
		return false;
	}
	if (settlement_expire(d->mta, item, NULL, now))
		return false;
	if (item->flushed || envelope_due_ms(env) <= queue_due_by(item, now))
		return true;
	queue_park(d->mta->queue, item,
	    envelope_due_ms(env)); /* the tail knew better than the name */
	return false;
}

static void begin_delivery(struct dispatch *d, struct site *s, struct queue_item *item,
    struct now now)
{
	if (has_work(d, item, now))
		delivery_start(d->mta, s, item, now);
	else
		dispatch_finished(d, s, false);
}

static void on_loaded(void *arg, struct queue_done *done)
{
	struct load *l = arg;
	struct dispatch *d = l->dispatch;
	struct site *s = l->site;
	struct now now = loop_now(d->mta->loop);

	mem_free(l);
	if (done->result == 0 && done->item && d->mta->phase == MTA_PHASE_RUNNING) {
		site_loaded(s, done->item);
		begin_delivery(d, s, done->item, now);
		return;
	}
	if (done->result < 0)
		log_error("queue", "%s: can't be read: %s", done->id, err_text(done->result));
	if (done->item)
		queue_park(d->mta->queue, done->item,
		    done->result < 0 ? now.wall_ms + DISPATCH_RELOAD_MS : 0);
	dispatch_finished(d, s, false);
}

/* Out of the site's lists and into work: what it needs from the disk, then its delivery or its end.
 * Counts as a delivery. */
static void start_next(struct dispatch *d, struct site *s, struct now now)
{
	struct limits *limits = d->mta->limits;
	bool trial = site_is_trial(s);

	if (!site_may_start(s, now.mono_ms)) { /* this turn is older than that it may */
		limits_end(limits, LIMITS_DELIVERIES);
		site_update(d, s, now.mono_ms);
		return;
	}
	struct queue_item *item = site_take(s);
	note_left(d, s, item);
	if (!queue_begin_work(d->mta->queue, item, now)) {
		limits_end(limits, LIMITS_DELIVERIES);
		site_update(d, s, now.mono_ms);
		return;
	}
	site_started(s, trial, d->flushes, now.mono_ms);
	d->active++;
	if (trial)
		limits_add(limits, LIMITS_TRIALS);
	list_remove(&s->node); /* to the end of the round, if it stays */
	site_update(d, s, now.mono_ms);
	if (item->mail) {
		begin_delivery(d, s, item, now);
		return;
	}
	struct load *l = mem_zalloc(sizeof(*l));
	l->dispatch = d;
	l->site = s;
	committer_add(d->mta->committer, queue_op_load(item), on_loaded, l);
}

/* --- expiry ------------------------------------------------------------------ */

bool dispatch_is_expired(const struct dispatch *d, const struct queue_item *item, struct now now)
{
	return now.wall_ms >= retry_expires_at(&d->mta->conf->outbound.retry, item->arrival_ms);
}

/* Of an item in the hands of nobody else, with its mail. */
static void end_expired(struct dispatch *d, struct queue_item *item, struct now now)
{
	const struct site *s = dispatch_site_of(item);
	const struct envelope_status *last = s && s->health == SITE_DOWN ? &s->reply->status : NULL;

	if (item->want_hold)
		settlement_rest(d->mta, item, now);
	else if (!settlement_expire(d->mta, item, last, now)) /* the lifetime is longer by now */
		queue_park(d->mta->queue, item, now.wall_ms + DISPATCH_RELOAD_MS);
}

static void on_expired_loaded(void *arg, struct queue_done *done)
{
	struct dispatch *d = arg;
	struct now now = loop_now(d->mta->loop);

	d->expiring--;
	d->active--;
	if (done->result == 0 && done->item && d->mta->phase == MTA_PHASE_RUNNING) {
		end_expired(d, done->item, now);
		return;
	}
	if (done->result < 0)
		log_error("queue", "%s: can't be read: %s", done->id, err_text(done->result));
	if (done->item)
		queue_park(d->mta->queue, done->item,
		    done->result < 0 ? now.wall_ms + DISPATCH_RELOAD_MS : 0);
}

/* Mail that waits here grows old too, whatever its site does. */
static void expire(struct dispatch *d, struct now now)
{
	wheel_run(&d->expiry, now.mono_ms, &d->expired);
	for (int i = 0; i < DISPATCH_EXPIRE_PER_TURN && d->expiring < DISPATCH_EXPIRING_MAX; i++) {
		if (list_is_empty(&d->expired))
			return;
		struct queue_item *item = list_first(&d->expired, struct queue_item, timer.node);
		if (!dispatch_is_expired(d, item,
			now)) { /* the clocks differ, or the lifetime is longer */
			wheel_set(&d->expiry, &item->timer,
			    MAX(expires_at_ms(d, item, now), now.mono_ms + 1));
			continue;
		}
		bool taken = dispatch_withdraw(d, item);
		CHECK(taken);
		if (!queue_begin_work(d->mta->queue, item, now))
			continue;
		if (item->mail) {
			end_expired(d, item, now);
			continue;
		}
		d->expiring++;
		d->active++;
		committer_add(d->mta->committer, queue_op_load(item), on_expired_loaded, d);
	}
	d->more |= d->expiring < DISPATCH_EXPIRING_MAX;
}

/* --- the step ------------------------------------------------------------------ */

static void take_due(struct dispatch *d, struct now now)
{
	for (int i = 0; i < DISPATCH_TAKE_PER_TURN; i++) {
		struct queue_item *item = queue_take_due(d->mta->queue, now);
		if (!item)
			return;
		item->told = item->moved = item->spared = false;
		dispatch_add(d, item);
	}
	d->more = true;
}

static unsigned active_max(const struct dispatch *d)
{
	return DISPATCH_ACTIVE_FACTOR * d->mta->conf->outbound.concurrency_max;
}

/* The first of the round; one that has its share lets others pass, here and on other shards. Of a
 * host that has not said a word yet nobody knows whether it ever will: it gets no more. */
static struct site *next_of_round(struct dispatch *d, unsigned share)
{
	unsigned most = active_max(d) / share; /* sites that can have theirs */
	struct site *more = NULL;

	for (unsigned i = 0; i <= most; i++) {
		struct site *s = list_first(&d->round, struct site, node);
		if (s->active - s->waiting_n < share) /* who waits has given its place */
			return s;
		if (s->health == SITE_UP && !more)
			more = s;
		list_remove(&s->node);
		list_push(&d->round, &s->node);
	}
	return more && !limits_yield(d->mta->limits, LIMITS_DELIVERIES, d->mta->number) ? more
											: NULL;
}

/* Sites that are tried out and those that work take turns, while both have some; NULL: nobody may.
 */
static struct site *next_site(struct dispatch *d)
{
	const struct mta *m = d->mta;
	unsigned share = MAX(m->conf->outbound.concurrency_max / 2, 1U);
	bool trial = !list_is_empty(&d->trials) &&
		     limits_has_room(m->limits, LIMITS_TRIALS, share, m->number);

	if (trial && (d->trial_next || list_is_empty(&d->round))) {
		d->trial_next = false;
		return list_first(&d->trials, struct site, node);
	}
	d->trial_next = true;
	return list_is_empty(&d->round) ? NULL : next_of_round(d, share);
}

static void run_step(struct dispatch *d, struct now now)
{
	const struct mta *m = d->mta;

	d->more = false;
	if (m->phase != MTA_PHASE_RUNNING)
		return;
	take_due(d, now);
	run_timers(d, now);
	d->more |= outage_step(d->outage, d->flushes, now);
	if (m->refused_n > DISPATCH_REFUSED_MAX)
		return; /* each could only add one */
	expire(d, now);
	if (m->conf->outbound.disabled)
		return;
	for (int i = 0; i < DISPATCH_STARTS_PER_TURN; i++) {
		struct site *s = next_site(d);
		if (!s || d->active >= active_max(d))
			return;
		d->starved = !limits_begin(m->limits, LIMITS_DELIVERIES,
		    m->conf->outbound.concurrency_max, m->number);
		if (d->starved)
			return;
		start_next(d, s, now);
	}
	d->more = true;
}

void dispatch_step(struct dispatch *d, struct now now)
{
	d->starved = false;
	run_step(d, now);
	d->woken = false;
	if (!d->starved)
		limits_content(d->mta->limits, LIMITS_DELIVERIES, d->mta->number);
	if (list_is_empty(&d->trials))
		limits_content(d->mta->limits, LIMITS_TRIALS, d->mta->number);
}

int64_t dispatch_next_at(const struct dispatch *d, struct now now)
{
	int64_t due = queue_next_due_at(d->mta->queue);
	int64_t at = MIN(wheel_next_at(&d->timers), wheel_next_at(&d->expiry));

	if (d->mta->phase != MTA_PHASE_RUNNING)
		return INT64_MAX;
	if (d->more || d->woken)
		return now.mono_ms;
	return due == INT64_MAX ? at : MIN(at, now.mono_ms + MAX(due - now.wall_ms, 0));
}

void dispatch_wake(struct dispatch *d)
{
	list_foreach(it, &d->deliveries)
		delivery_wake(list_entry(it, struct delivery, node));
}

void dispatch_reload(struct dispatch *d)
{
	struct now now = loop_now(d->mta->loop);
	size_t cursor = 0;
	struct site *s;

	sites_reload(d->sites);
	dispatch_wake(d);
	while ((s = sites_next(d->sites, &cursor)))
		if (s->items > 0)
			site_update(d, s, now.mono_ms);
	dispatch_flush(d); /* what was mended may be the way to a site that is down */
}

void dispatch_abort(struct dispatch *d)
{
	pool_close_all(d->mta->pool);
	list_foreach_safe(it, &d->deliveries)
		delivery_abort(list_entry(it, struct delivery, node));
}

size_t dispatch_active(const struct dispatch *d)
{
	return d->active;
}

size_t dispatch_ready(const struct dispatch *d)
{
	return d->ready_n;
}

size_t dispatch_waiting(const struct dispatch *d)
{
	return d->waiting_n;
}

size_t dispatch_down(const struct dispatch *d)
{
	return d->down_n;
}

const struct site *dispatch_waits_at(const struct queue_item *item)
{
	return item->state == QUEUE_ITEM_ACTIVE ? item->owner : NULL;
}

size_t dispatch_slowed(const struct dispatch *d, struct now now, size_t *items)
{
	size_t cursor = 0, n = 0;
	const struct site *s;
	int64_t until_ms;

	*items = 0;
	while ((s = sites_next(d->sites, &cursor))) {
		if (site_waits_for(s, now.mono_ms, &until_ms) == SITE_WAIT_NONE)
			continue;
		*items += s->items;
		n++;
	}
	return n;
}

const struct site *dispatch_waits_for(const struct queue_item *item)
{
	const struct site *s = dispatch_waits_at(item);

	return s && s->health == SITE_DOWN ? s : NULL;
}

struct list_node *dispatch_deliveries(struct dispatch *d)
{
	return &d->deliveries;
}
