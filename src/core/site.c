#include "core/site.h"

#include "base/check.h"
#include "base/mem.h"

/* Before probe number n; the last one from then on. Up to an eighth is added. */
static const int64_t probe_delays_ms[] = { 30000, 60000, 120000, 240000, 300000 };

struct site *site_new(struct slice key, const char *name, const char *set)
{
	struct site *s = mem_zalloc(sizeof(*s));

	s->key = slice_dup(key);
	s->name = mem_strdup(name);
	s->set = mem_strdup(set);
	list_init(&s->domains);
	list_init(&s->ready);
	list_init(&s->told);
	list_init(&s->flushed);
	list_init(&s->connections);
	list_init(&s->open);
	list_init(&s->waiting);
	list_init(&s->node);
	list_init(&s->tell_node);
	list_init(&s->idle_node);
	wheel_timer_init(&s->timer);
	return s;
}

static void site_reply_free(struct site_reply **r)
{
	if (!*r)
		return;
	mem_free((char *)(uintptr_t)(*r)->status.text);
	mem_free((char *)(uintptr_t)(*r)->status.host);
	mem_free((char *)(uintptr_t)(*r)->status.ip);
	mem_free(*r);
	*r = NULL;
}

static char *copy(const char *text)
{
	struct slice s = slice_str(text);

	s.n = MIN(s.n, (size_t)SITE_REPLY_TEXT_MAX);
	return slice_dup(s);
}

static struct site_reply *site_reply_copy(const struct site_reply *from)
{
	struct site_reply *r = mem_alloc(sizeof(*r));

	*r = *from;
	r->status.text = copy(from->status.text);
	r->status.host = copy(from->status.host);
	r->status.ip = copy(from->status.ip);
	return r;
}

void site_free(struct site **sp)
{
	struct site *s = *sp;

	CHECK(s->items == 0);
	CHECK(s->connections_n == 0);
	CHECK(list_is_empty(&s->waiting));
	list_remove(&s->node);
	list_remove(&s->tell_node);
	list_remove(&s->idle_node);
	list_foreach_safe(it, &s->domains) {
		list_remove(it);
		list_entry(it, struct queue_domain, in_owner)->owner = NULL;
	}
	site_reply_free(&s->reply);
	conf_unref(&s->conf);
	mem_free(s->key);
	mem_free(s->name);
	mem_free(s->set);
	mem_free(s);
	*sp = NULL;
}

void site_set_traffic(struct site *s, struct conf *conf, const struct conf_traffic *traffic)
{
	struct conf *old = s->conf;

	s->conf = conf_ref(conf);
	s->traffic = traffic;
	conf_unref(&old);
}

void site_adopt(struct site *s, struct queue_domain *domain)
{
	if (domain->owner == s)
		return;
	list_remove(&domain->in_owner);
	list_push(&s->domains, &domain->in_owner);
	domain->owner = s;
}

/* --- items ------------------------------------------------------------------- */

bool site_item_is_early(const struct queue_item *item, int64_t now_wall_ms)
{
	return item->flushed && item->due_ms > now_wall_ms;
}

void site_add(struct site *s, struct queue_item *item, int64_t now_wall_ms)
{
	struct list_node *list = &s->ready;

	if (s->health == SITE_DOWN && site_item_is_early(item, now_wall_ms))
		list = &s->flushed;
	else if (s->health == SITE_DOWN && item->told)
		list = &s->told;
	list_push(list, &item->link);
	s->items++;
}

void site_remove(struct site *s, struct queue_item *item)
{
	CHECK(s->items > 0);
	list_remove(&item->link);
	s->items--;
}

struct queue_item *site_next(const struct site *s)
{
	const struct list_node *lists[] = { &s->flushed, &s->told, &s->ready };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (!list_is_empty(lists[i]))
			return list_first(lists[i], struct queue_item, link);
	return NULL;
}

/* --- whose turn it is ---------------------------------------------------------- */

bool site_is_trial(const struct site *s)
{
	const struct queue_item *next = site_next(s);

	return s->health == SITE_DOWN || (s->health == SITE_UNKNOWN && next && next->attempts > 0);
}

bool site_may_start(const struct site *s, unsigned limit, int64_t now_ms)
{
	if (s->items == 0 || s->probing)
		return false;
	if (s->health == SITE_DOWN && !s->asked && now_ms < s->probe_at_ms)
		return false;
	if (site_is_trial(s))
		return s->active == 0;
	/* Each of the unplaced takes an open one, or dials. */
	return s->unplaced + s->connections_n < limit + s->open_n + s->leaving_n;
}

void site_started(struct site *s, bool trial, uint64_t flush, int64_t now_ms)
{
	CHECK(!s->probing);
	s->active++;
	s->unplaced++;
	s->flush_seen = flush;
	s->asked = false;
	s->probing = trial;
	s->probe_counts = now_ms >= s->probe_at_ms;
}

void site_ended(struct site *s)
{
	CHECK(s->active > 0);
	CHECK(s->unplaced > 0);
	s->unplaced--;
	if (--s->active == 0)
		s->probing = false; /* it found out nothing: the next one tries */
}

/* --- what was found -------------------------------------------------------------- */

bool site_answered(struct site *s)
{
	bool was_down = s->health == SITE_DOWN;

	s->health = SITE_UP;
	s->probing = s->asked = false;
	s->failures = 0;
	site_reply_free(&s->reply);
	if (!was_down)
		return false;
	/* All are ready now; those that have waited longest come first. */
	list_splice(&s->told, &s->ready);
	list_splice(&s->told, &s->flushed);
	list_splice(&s->ready, &s->told);
	return true;
}

static int64_t probe_delay_ms(unsigned failures, struct prng *rng)
{
	int64_t ms = probe_delays_ms[MIN(failures, (unsigned)ARRAY_LEN(probe_delays_ms)) - 1];

	return ms + (int64_t)prng_below(rng, (uint64_t)ms / 8);
}

bool site_failed(struct site *s, const struct site_reply *why, struct prng *rng, struct now now)
{
	bool was_down = s->health == SITE_DOWN;
	bool was_probe = s->probing;

	s->health = SITE_DOWN;
	s->probing = false;
	s->trouble_ms = now.mono_ms;
	site_reply_free(&s->reply);
	s->reply = site_reply_copy(why);
	if (!was_down) {
		s->failures = 1;
		s->down_since_wall_ms = now.wall_ms;
		s->probe_at_ms = now.mono_ms + probe_delay_ms(1, rng);
	} else if (was_probe && s->probe_counts) {
		s->failures++;
		s->probe_at_ms = now.mono_ms + probe_delay_ms(s->failures, rng);
	} else if (was_probe) { /* a flush changes nothing of the schedule */
		int64_t soon_ms = now.mono_ms + probe_delay_ms(1, rng);
		s->probe_at_ms = MAX(s->probe_at_ms, soon_ms);
	}
	return !was_down;
}

bool site_has_untold(const struct site *s)
{
	return s->health == SITE_DOWN && !list_is_empty(&s->ready);
}

bool site_has_refused(const struct site *s, uint64_t flush)
{
	return s->health == SITE_DOWN && !s->probing && s->flush_seen == flush &&
	       !list_is_empty(&s->flushed);
}
