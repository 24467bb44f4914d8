#include "core/dnscache.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/lru.h"
#include "base/mem.h"

/* One line per outage of the resolver: a new one begins when no stale answer was used for so long.
 */
#define OUTAGE_MS (5 * 60 * 1000)

/* The type, the name in lower case without final dot. A longer name is cut: it is no domain, and
 * neither is any other that is as long, so they all have the same answer. */
struct key {
	char bytes[1 + DNS_NAME_MAX + 64];
	size_t n;
};

struct kept {
	struct lru_entry lru;
	struct dnscache_answer answer; /* the records lie behind it */
	int64_t fresh_until_ms;
	int64_t stale_until_ms;      /* no use from here on */
	int64_t ask_at_ms;           /* while failing: not before */
	bool failing;                /* it was asked again, in vain */
	struct dns_record records[]; /* and the key's bytes */
};

struct question { /* in flight */
	struct list_node node;
	struct dnscache *cache;
	struct dns_query *query;
	struct list_node
	    waiters; /* of dnscache_wait.node; none: an expired answer is looked after */
	struct key key;
};

struct dnscache {
	struct dns *dns;
	dnscache_clock_fn *clock;
	void *clock_arg;
	struct lru kept;
	struct map asked; /* key -> struct question */
	struct list_node questions;
	int64_t stale_used_ms; /* the last time */
	struct dnscache_stats stats;
};

static struct slice key_slice(const struct key *k)
{
	return slice_of(k->bytes, k->n);
}

static void make_key(struct key *k, const char *name, enum dns_type type)
{
	size_t n = strnlen(name, sizeof(k->bytes) - 1);

	if (n > 0 && name[n - 1] == '.')
		n--;
	k->bytes[0] = (char)type;
	memcpy(k->bytes + 1, name, n);
	slice_lower(k->bytes + 1, n);
	k->n = n + 1;
}

static struct kept *find_kept(struct dnscache *c, const struct key *key)
{
	struct lru_entry *e = lru_find(&c->kept, key_slice(key));
	return e ? container_of(e, struct kept, lru) : NULL;
}

static void drop_kept(struct lru_entry *e)
{
	mem_free(container_of(e, struct kept, lru));
}

/* --- how long ------------------------------------------------------------------ */

static int64_t ttl_ms(const struct dns_answer *a)
{
	int64_t s = a->ttl_s;

	switch (a->outcome) {
	case DNS_OK:
		return MIN(s, DNSCACHE_TTL_MAX_S) * 1000;
	case DNS_NODATA:
		return (s ? MIN(s, DNSCACHE_NO_TTL_MAX_S) : DNSCACHE_NODATA_S) * 1000;
	case DNS_NXDOMAIN:
		return MIN(s, DNSCACHE_NO_TTL_MAX_S) * 1000;
	case DNS_FAILED:
	case DNS_NONE:
		break;
	}
	return DNSCACHE_FAILURE_S * 1000;
}

/* Mail is bounced for a name that does not exist: only on a true answer. */
static bool may_be_stale(const struct dns_answer *a)
{
	return a->outcome == DNS_OK || a->outcome == DNS_NODATA;
}

/* Takes note of an answer; one that lasts no time at all is not kept, but what it replaces goes. */
static void keep(struct dnscache *c, const struct key *key, const struct dns_answer *a,
    int64_t now_ms)
{
	int64_t ttl = ttl_ms(a);
	struct kept *old = find_kept(c, key);

	if (old)
		lru_remove(&c->kept, &old->lru);
	if (ttl == 0)
		return;
	size_t bytes = sizeof(struct kept) + a->records_n * sizeof(*a->records) + key->n;
	struct kept *k = mem_zalloc(bytes);
	k->answer.dns = *a;
	k->answer.dns.records = k->records;
	if (a->records_n > 0)
		memcpy(k->records, a->records, a->records_n * sizeof(*a->records));
	char *text = (char *)&k->records[a->records_n];
	memcpy(text, key->bytes, key->n);
	k->fresh_until_ms = k->answer.until_ms = now_ms + ttl;
	k->stale_until_ms =
	    k->fresh_until_ms + (may_be_stale(a) ? (int64_t)DNSCACHE_STALE_S * 1000 : 0);
	lru_put(&c->kept, slice_of(text, key->n), &k->lru, bytes);
}

/* --- asking -------------------------------------------------------------------- */

static void note_stale(struct dnscache *c, const struct kept *k, const char *why, int64_t now_ms)
{
	c->stats.stale++;
	if (c->stale_used_ms == 0 || now_ms - c->stale_used_ms >= OUTAGE_MS)
		log_warn("dns", "%.*s: %s; expired answers are used while the DNS fails",
		    SLICE_ARG(slice_from(k->lru.key, 1)), why);
	c->stale_used_ms = now_ms;
}

/* What is kept, though its time is over; asked again at ask_at_ms. */
static const struct dnscache_answer *use_stale(struct kept *k, int64_t now_ms)
{
	k->answer.stale = true;
	/* A second at least: while the answer to the next question is awaited. */
	k->answer.until_ms = MAX(k->ask_at_ms, now_ms + 1000);
	return &k->answer;
}

/* What a failure means for those who wait: the answer from before, or the failure itself. */
static const struct dnscache_answer *take_failure(struct question *q,
    const struct dnscache_answer *a, int64_t now_ms)
{
	struct dnscache *c = q->cache;
	struct kept *k = find_kept(c, &q->key);

	if (!k || now_ms >= k->stale_until_ms || !may_be_stale(&k->answer.dns)) {
		keep(c, &q->key, &a->dns, now_ms);
		return a;
	}
	k->ask_at_ms = now_ms + DNSCACHE_STALE_ASK_S * 1000;
	if (!list_is_empty(&q->waiters))
		note_stale(c, k, a->dns.text, now_ms);
	return use_stale(k, now_ms);
}

static void free_question(struct question *q)
{
	struct slice key = key_slice(&q->key);

	map_remove(&q->cache->asked, key);
	list_remove(&q->node);
	dns_cancel(&q->query);
	mem_free(q);
}

static void on_answer(void *arg, const struct dns_answer *answer)
{
	struct question *q = arg;
	struct dnscache *c = q->cache;
	int64_t now_ms = c->clock(c->clock_arg);
	struct dnscache_answer true_answer = { *answer, false, now_ms + ttl_ms(answer) };
	const struct dnscache_answer *a = &true_answer;
	struct list_node waiters;

	q->query = NULL;
	if (answer->outcome == DNS_FAILED)
		a = take_failure(q, a, now_ms);
	else
		keep(c, &q->key, answer, now_ms);
	list_init(&waiters);
	list_splice(&waiters, &q->waiters);
	free_question(q);
	/* The last of them may free the cache. */
	while (!list_is_empty(&waiters)) {
		struct dnscache_wait *w = list_first(&waiters, struct dnscache_wait, node);
		list_remove(&w->node);
		w->fn(w->arg, a);
	}
}

static struct question *ask(struct dnscache *c, const struct key *key, const char *name,
    enum dns_type type)
{
	struct question *q = map_find(&c->asked, key_slice(key));

	if (q)
		return q;
	q = mem_zalloc(sizeof(*q));
	q->cache = c;
	q->key = *key;
	list_init(&q->waiters);
	list_push(&c->questions, &q->node);
	map_put(&c->asked, key_slice(key), q);
	c->stats.queries++;
	q->query = dns_lookup(c->dns, name, type, on_answer, q);
	return q;
}

/* The failure was a moment ago, or another question is on its way: nobody has to wait to know. */
static bool is_failing(const struct dnscache *c, const struct kept *k, const struct key *key,
    int64_t now_ms)
{
	return k->ask_at_ms > 0 && (now_ms < k->ask_at_ms + DNSCACHE_STALE_ASK_S * 1000 ||
				       map_find(&c->asked, key_slice(key)) != NULL);
}

const struct dnscache_answer *dnscache_find(struct dnscache *c, const char *name,
    enum dns_type type, int64_t now_ms)
{
	struct key key;

	make_key(&key, name, type);
	struct kept *k = find_kept(c, &key);
	if (!k)
		return NULL;
	if (now_ms < k->fresh_until_ms) {
		c->stats.hits++;
		return &k->answer;
	}
	if (now_ms >= k->stale_until_ms) {
		lru_remove(&c->kept, &k->lru);
		return NULL;
	}
	if (!is_failing(c, k, &key, now_ms)) {
		k->ask_at_ms = 0; /* whoever waits for the question now on its way, all do */
		return NULL;
	}
	if (now_ms >= k->ask_at_ms)
		ask(c, &key, name, type);
	c->stats.hits++;
	note_stale(c, k, "no answer", now_ms);
	return use_stale(k, now_ms);
}

void dnscache_ask(struct dnscache *c, const char *name, enum dns_type type, struct dnscache_wait *w,
    dnscache_fn *fn, void *arg)
{
	struct key key;

	make_key(&key, name, type);
	c->stats.misses++;
	w->fn = fn;
	w->arg = arg;
	list_init(&w->node);
	list_push(&ask(c, &key, name, type)->waiters, &w->node);
}

void dnscache_cancel(struct dnscache_wait *w)
{
	if (w->fn)
		list_remove(&w->node);
}

/* --- life --------------------------------------------------------------------- */

struct dnscache *dnscache_new(struct dns *dns, dnscache_clock_fn *clock, void *arg, uint64_t seed)
{
	struct dnscache *c = mem_zalloc(sizeof(*c));

	c->dns = dns;
	c->clock = clock;
	c->clock_arg = arg;
	lru_init(&c->kept, seed, DNSCACHE_ENTRIES_MAX, DNSCACHE_BYTES_MAX, drop_kept);
	map_init(&c->asked, seed);
	list_init(&c->questions);
	return c;
}

void dnscache_free(struct dnscache **cp)
{
	struct dnscache *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	while (!list_is_empty(&c->questions)) {
		struct question *q = list_first(&c->questions, struct question, node);
		CHECK(list_is_empty(&q->waiters));
		free_question(q);
	}
	lru_fini(&c->kept);
	map_fini(&c->asked);
	mem_free(c);
}

void dnscache_stats(const struct dnscache *c, struct dnscache_stats *st)
{
	*st = c->stats;
	st->entries = lru_count(&c->kept);
	st->bytes = c->kept.bytes;
}
