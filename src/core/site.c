#include "core/site.h"

#include "base/buf.h"
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
	fair_init(&s->ready, 0);
	fair_init(&s->told, 0);
	fair_init(&s->flushed, 0);
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
	fair_fini(&s->ready);
	fair_fini(&s->told);
	fair_fini(&s->flushed);
	site_reply_free(&s->reply);
	conf_unref(&s->conf);
	mem_free(s->key);
	mem_free(s->name);
	mem_free(s->set);
	mem_free(s->hosts);
	mem_free(s);
	*sp = NULL;
}

void site_set_hosts(struct site *s, const struct slice *hosts, size_t n)
{
	struct buf text;

	buf_init(&text, SITE_HOSTS_MAX);
	for (size_t i = 0; i < n; i++)
		if (buf_printf(&text, "%.*s\n", SLICE_ARG(hosts[i])) < 0)
			UNREACHABLE();
	s->hosts = slice_dup(buf_slice(&text));
	buf_fini(&text);
}

size_t site_hosts(const struct site *s, struct slice hosts[MX_CANDIDATES_MAX])
{
	struct slice rest = s->hosts ? slice_str(s->hosts) : SLICE_NONE;
	size_t n = 0;

	while (n < MX_CANDIDATES_MAX && rest.n > 0 && slice_split(&rest, '\n', &hosts[n]))
		n++;
	return n;
}

void site_set_traffic(struct site *s, struct conf *conf, const struct conf_traffic *traffic)
{
	struct conf *old = s->conf;

	s->conf = conf_ref(conf);
	if (s->traffic)
		window_set_limit(&s->window, traffic->connections);
	else
		window_init(&s->window, traffic->connections);
	s->traffic = traffic;
	bucket_set(&s->starts, traffic->rate);
	bucket_set(&s->sends, traffic->rate);
	bucket_set(&s->dials, traffic->connection_rate);
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

static struct fair *fair_for(struct site *s, const struct queue_item *item, int64_t now_wall_ms)
{
	if (s->health == SITE_DOWN && site_item_is_early(item, now_wall_ms))
		return &s->flushed;
	return s->health == SITE_DOWN && item->told ? &s->told : &s->ready;
}

void site_add(struct site *s, struct queue_item *item, int64_t now_wall_ms)
{
	fair_add(fair_for(s, item, now_wall_ms), &item->link, FAIR_NORMAL, item->sender);
	s->items++;
}

void site_put_back(struct site *s, struct queue_item *item, int64_t now_wall_ms)
{
	fair_add_first(fair_for(s, item, now_wall_ms), &item->link, FAIR_NORMAL, item->sender);
	s->items++;
}

void site_remove(struct site *s, struct queue_item *item)
{
	CHECK(s->items > 0);
	list_remove(&item->link);
	s->items--;
}

static struct queue_item *first_of(struct fair *f)
{
	struct list_node *node = fair_next(f);

	return node ? list_entry(node, struct queue_item, link) : NULL;
}

/* Where the next item is; NULL: there is none. */
static struct fair *fair_of_next(struct site *s)
{
	struct fair *const lists[] = { &s->flushed, &s->told, &s->ready };

	for (size_t i = s->health == SITE_DOWN ? 0 : 2; i < ARRAY_LEN(lists); i++)
		if (fair_next(lists[i]))
			return lists[i];
	return NULL;
}

struct queue_item *site_next(struct site *s)
{
	struct fair *f = s->items > 0 ? fair_of_next(s) : NULL;

	return f ? first_of(f) : NULL;
}

static uint64_t bytes_of(const struct queue_item *item)
{
	return item->mail ? queue_body_size(item->mail->body) : 0;
}

struct queue_item *site_take(struct site *s)
{
	struct fair *f = fair_of_next(s);

	CHECK(f != NULL);
	struct queue_item *item = list_entry(fair_next(f), struct queue_item, link);
	fair_take(f, &item->link, bytes_of(item));
	s->items--;
	return item;
}

void site_loaded(struct site *s, const struct queue_item *item)
{
	fair_charge(&s->ready, FAIR_NORMAL, item->sender, bytes_of(item));
}

static bool is_for(struct list_node *node, const void *domain)
{
	return list_entry(node, struct queue_item, link)->domain == domain;
}

void site_take_domain(struct site *s, const struct queue_domain *domain, struct list_node *to)
{
	struct fair *const lists[] = { &s->flushed, &s->told, &s->ready };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		fair_extract(lists[i], is_for, domain, to);
	list_foreach(it, to)
		s->items--;
}

/* --- whose turn it is ---------------------------------------------------------- */

bool site_is_trial(struct site *s)
{
	if (s->health != SITE_UNKNOWN)
		return s->health == SITE_DOWN;
	const struct queue_item *next = site_next(s);
	return next && next->attempts > 0;
}

/* Each of the unplaced takes an open one, or dials. */
static bool has_room(const struct site *s)
{
	return s->unplaced + s->connections_n < window_size(&s->window) + s->open_n + s->leaving_n;
}

bool site_is_crowded(const struct site *s)
{
	CHECK(s->unplaced > 0);
	return s->unplaced - 1 + s->connections_n >=
	       window_size(&s->window) + s->open_n + s->leaving_n;
}

/* When one more may have the connection it needs. Those that wait have no use for what is open. */
static int64_t dials_at(const struct site *s, int64_t now_ms)
{
	unsigned looking = s->unplaced - s->waiting_n;

	if (!bucket_is_set(&s->dials) || looking < s->open_n)
		return now_ms;
	return looking > s->open_n || s->waiting_n > 0 ? INT64_MAX
						       : bucket_next_at(&s->dials, now_ms);
}

int64_t site_starts_at(struct site *s, int64_t now_ms)
{
	int64_t at_ms = bucket_next_at(&s->starts, now_ms);

	if (s->items == 0 || s->probing)
		return INT64_MAX;
	if (site_is_trial(s) ? s->active > 0 : !has_room(s))
		return INT64_MAX;
	if (s->health == SITE_DOWN && !s->asked)
		at_ms = MAX(at_ms, s->probe_at_ms);
	at_ms = MAX(at_ms, window_resume_at(&s->window));
	return MAX(at_ms, dials_at(s, now_ms));
}

bool site_may_start(struct site *s, int64_t now_ms)
{
	return site_starts_at(s, now_ms) <= now_ms;
}

enum site_wait site_waits_for(const struct site *s, int64_t now_ms, int64_t *until_ms)
{
	if (s->items == 0 || s->health == SITE_DOWN)
		return SITE_WAIT_NONE;
	*until_ms = window_resume_at(&s->window);
	if (*until_ms > now_ms)
		return SITE_WAIT_PAUSE;
	*until_ms = bucket_next_at(&s->starts, now_ms);
	if (*until_ms > now_ms)
		return SITE_WAIT_RATE;
	*until_ms = bucket_next_at(&s->dials, now_ms);
	if (*until_ms > now_ms && dials_at(s, now_ms) > now_ms)
		return SITE_WAIT_CONNECTION_RATE;
	return SITE_WAIT_NONE;
}

void site_started(struct site *s, bool trial, uint64_t flush, int64_t now_ms)
{
	bool taken = bucket_take(&s->starts, now_ms);

	CHECK(taken);
	CHECK(!s->probing);
	s->active++;
	s->unplaced++;
	s->flush_seen = flush;
	s->asked = false;
	s->probing = trial;
	s->probe_counts = now_ms >= s->probe_at_ms;
}

void site_ended(struct site *s, bool sent)
{
	if (!sent)
		bucket_return(&s->starts);
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
	window_restart(&s->window);
	/* All are ready now; of each sender those that have waited longest come first. */
	fair_merge(&s->ready, &s->told, true);
	fair_merge(&s->ready, &s->flushed, false);
	return true;
}

bool site_is_alive(const struct site *s, int64_t since_ms)
{
	return s->health != SITE_DOWN && (s->standing_n > 0 || s->answered_ms >= since_ms);
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

struct queue_item *site_untold(struct site *s)
{
	return first_of(&s->ready);
}

struct queue_item *site_refused(struct site *s)
{
	return first_of(&s->flushed);
}

bool site_has_untold(struct site *s)
{
	return s->health == SITE_DOWN && site_untold(s);
}

bool site_has_refused(struct site *s, uint64_t flush)
{
	return s->health == SITE_DOWN && !s->probing && s->flush_seen == flush && site_refused(s);
}
