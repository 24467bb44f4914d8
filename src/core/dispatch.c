#include "core/dispatch.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/committer.h"
#include "core/delivery.h"
#include "core/settlement.h"

#define DISPATCH_READY_MAX       200000 /* items held ready; the rest waits in the wheel */
#define DISPATCH_TAKE_PER_TURN   1000
#define DISPATCH_STARTS_PER_TURN 200
#define DISPATCH_RELOAD_MS       60000 /* when an item that could not be read is tried again */
#define DISPATCH_REFUSED_MAX     1000  /* outcomes that wait for the disk: no more is started */
#define DISPATCH_EXPIRE_MS       60000 /* how often ready items are looked through for old ones */

struct dispatch {
	struct mta *mta;
	struct map sites;            /* key -> struct site */
	struct list_node round;      /* sites with ready items and room for a connection */
	struct list_node deliveries; /* struct delivery.node */
	size_t ready_n;
	size_t active;        /* deliveries and loads under way */
	int64_t expire_at_ms; /* mono */
	bool more;            /* stopped for this turn's bound, not for lack of work */
};

struct load { /* an item on its way from the disk */
	struct dispatch *dispatch;
	struct site *site;
};

struct dispatch *dispatch_new(struct mta *m)
{
	struct dispatch *d = mem_zalloc(sizeof(*d));

	d->mta = m;
	map_init(&d->sites, prng_next(&m->rng));
	list_init(&d->round);
	list_init(&d->deliveries);
	return d;
}

static void site_free(struct site *s)
{
	list_remove(&s->node);
	mem_free(s->key);
	mem_free(s);
}

void dispatch_free(struct dispatch **dp)
{
	struct dispatch *d = *dp;
	size_t cursor = 0;
	struct slice key;
	void *value;

	if (!d)
		return;
	CHECK(list_is_empty(&d->deliveries));
	while (map_next(&d->sites, &cursor, &key, &value)) {
		struct site *s = value;
		list_foreach_safe(it, &s->ready) {
			struct queue_item *item = list_entry(it, struct queue_item, link);
			item->owner = NULL;
			list_remove(it);
			queue_park(d->mta->queue, item, 0);
		}
		site_free(s);
	}
	map_fini(&d->sites);
	mem_free(d);
	*dp = NULL;
}

/* --- sites ------------------------------------------------------------------ */

/* Domains behind the same static route share its hosts, so they share a site. */
static struct slice site_key(const struct conf *conf, const char *domain, char *buf, size_t n)
{
	const struct route *route = route_find(conf->routes, conf->routes_n, slice_str(domain));

	if (!route || route->hops_n == 0)
		return slice_str(domain);
	snprintf(buf, n, "route:%s", route->domain);
	return slice_str(buf);
}

static struct site *site_get(struct dispatch *d, const char *domain)
{
	char text[512];
	struct slice key = site_key(d->mta->conf, domain, text, sizeof(text));
	struct site *s = map_find(&d->sites, key);

	if (s)
		return s;
	s = mem_zalloc(sizeof(*s));
	s->key = slice_dup(key);
	list_init(&s->node);
	list_init(&s->ready);
	map_put(&d->sites, key, s);
	return s;
}

static unsigned site_limit(const struct dispatch *d, const struct site *s)
{
	struct slice key = slice_str(s->key);

	if (slice_starts(key, SLICE("route:")))
		key = slice_from(key, 6);
	return conf_find_traffic(d->mta->conf, key)->connections;
}

/* In the round exactly while it has work and room; forgotten when it has neither work nor
 * connections. */
static void site_update(struct dispatch *d, struct site *s)
{
	bool wants = s->ready_n > 0 && s->active < site_limit(d, s);

	if (wants && !list_is_linked(&s->node))
		list_push(&d->round, &s->node);
	else if (!wants && list_is_linked(&s->node))
		list_remove(&s->node);
	if (s->ready_n == 0 && s->active == 0) {
		map_remove(&d->sites, slice_str(s->key));
		site_free(s);
	}
}

void dispatch_add(struct dispatch *d, struct queue_item *item)
{
	struct site *s = site_get(d, item->domain->name);

	item->owner = s;
	list_push(&s->ready, &item->link);
	s->ready_n++;
	d->ready_n++;
	site_update(d, s);
}

/* Only an item of a ready list has an owner. */
static void leave_ready(struct dispatch *d, struct site *s, struct queue_item *item)
{
	item->owner = NULL;
	list_remove(&item->link);
	s->ready_n--;
	d->ready_n--;
}

bool dispatch_withdraw(struct dispatch *d, struct queue_item *item)
{
	struct site *s = item->owner;

	if (item->state != QUEUE_ITEM_ACTIVE || !s)
		return false;
	leave_ready(d, s, item);
	site_update(d, s);
	return true;
}

void dispatch_add_new(struct dispatch *d, struct list_node *items)
{
	list_foreach_safe(it, items) {
		list_remove(it);
		dispatch_add(d, list_entry(it, struct queue_item, link));
	}
}

/* --- starting --------------------------------------------------------------- */

void dispatch_finished(struct dispatch *d, struct site *s)
{
	CHECK(s->active > 0);
	s->active--;
	d->active--;
	site_update(d, s);
}

/* True if some recipient is to be tried now; else the item has been dealt with. */
static bool has_work(struct dispatch *d, struct queue_item *item, struct now now)
{
	const struct envelope *env = item->mail->envelope;

	if (item->want_hold) { /* asked for while it was on its way from the disk */
		settlement_rest(d->mta, item, now);
		return false;
	}
	if (settlement_expire(d->mta, item, now))
		return false;
	if (item->flushed || envelope_due_ms(env) <= now.wall_ms)
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
		dispatch_finished(d, s);
}

static void on_loaded(void *arg, struct queue_done *done)
{
	struct load *l = arg;
	struct dispatch *d = l->dispatch;
	struct site *s = l->site;
	struct now now = loop_now(d->mta->loop);

	mem_free(l);
	if (done->result == 0 && done->item && d->mta->phase == MTA_PHASE_RUNNING) {
		begin_delivery(d, s, done->item, now);
		return;
	}
	if (done->result < 0)
		log_error("queue", "%s: can't be read: %s", done->id, err_text(done->result));
	if (done->item)
		queue_park(d->mta->queue, done->item,
		    done->result < 0 ? now.wall_ms + DISPATCH_RELOAD_MS : 0);
	dispatch_finished(d, s);
}

/* Out of the ready list and into work: what it needs from the disk, then its delivery or its end.
 */
static void start_item(struct dispatch *d, struct site *s, struct queue_item *item, struct now now)
{
	leave_ready(d, s, item);
	s->active++;
	d->active++;
	list_remove(&s->node); /* to the end of the round, if it stays */
	site_update(d, s);
	if (item->mail) {
		begin_delivery(d, s, item, now);
		return;
	}
	struct load *l = mem_zalloc(sizeof(*l));
	l->dispatch = d;
	l->site = s;
	committer_add(d->mta->committer, queue_op_load(item), on_loaded, l);
}

static bool is_expired(const struct dispatch *d, const struct queue_item *item, struct now now)
{
	return now.wall_ms >= retry_expires_at(&d->mta->conf->outbound.retry, item->arrival_ms);
}

/* Mail that waits here for a connection grows old too: it is started out of turn, to end. */
static void expire_ready(struct dispatch *d, struct now now)
{
	size_t cursor = 0;
	struct slice key;
	void *value;

	if (now.mono_ms < d->expire_at_ms)
		return;
	d->expire_at_ms = now.mono_ms + DISPATCH_EXPIRE_MS;
	struct list_node old;
	list_init(&old);
	while (map_next(&d->sites, &cursor, &key, &value)) {
		struct site *s = value;
		list_foreach_safe(it, &s->ready) {
			struct queue_item *item = list_entry(it, struct queue_item, link);
			if (!is_expired(d, item, now))
				continue;
			list_remove(it);
			list_push(&old, it);
		}
	}
	list_foreach_safe(it, &old) {
		struct queue_item *item = list_entry(it, struct queue_item, link);
		start_item(d, item->owner, item, now);
	}
}

static void take_due(struct dispatch *d, struct now now)
{
	for (int i = 0; i < DISPATCH_TAKE_PER_TURN && d->ready_n < DISPATCH_READY_MAX; i++) {
		struct queue_item *item = queue_take_due(d->mta->queue, now);
		if (!item)
			return;
		dispatch_add(d, item);
	}
	d->more = d->ready_n < DISPATCH_READY_MAX;
}

void dispatch_step(struct dispatch *d, struct now now)
{
	const struct conf *conf = d->mta->conf;

	d->more = false;
	if (d->mta->phase != MTA_PHASE_RUNNING)
		return;
	take_due(d, now);
	if (d->mta->refused_n > DISPATCH_REFUSED_MAX)
		return; /* each could only add one */
	expire_ready(d, now);
	if (conf->outbound.disabled)
		return;
	for (int i = 0; i < DISPATCH_STARTS_PER_TURN; i++) {
		if (list_is_empty(&d->round) || d->active >= conf->outbound.concurrency_max)
			return;
		struct site *s = list_first(&d->round, struct site, node);
		start_item(d, s, list_first(&s->ready, struct queue_item, link), now);
	}
	d->more = true;
}

int64_t dispatch_next_at(const struct dispatch *d, struct now now)
{
	int64_t due = queue_next_due_at(d->mta->queue);

	if (d->mta->phase != MTA_PHASE_RUNNING)
		return INT64_MAX;
	if (d->more)
		return now.mono_ms;
	if (due == INT64_MAX || d->ready_n >= DISPATCH_READY_MAX)
		return INT64_MAX;
	return now.mono_ms + MAX(due - now.wall_ms, 0);
}

void dispatch_abort(struct dispatch *d)
{
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

struct list_node *dispatch_deliveries(struct dispatch *d)
{
	return &d->deliveries;
}
