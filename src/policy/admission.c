/*
 * admission.c - sender check, recipients per login and period, connections per address.
 */
#include "policy/admission.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#define LOGINS_MAX  100000 /* buckets kept; about 20 MB */
#define LOOK_AT_MAX 16

/* "local@domain" in two; the domain is `me` if there is no @. */
static void split_login(struct slice text, const char *me, struct slice *local,
    struct slice *domain)
{
	ptrdiff_t at = slice_rfind(text, '@');
	*local = at < 0 ? text : slice_of(text.p, (size_t)at);
	*domain = at < 0 ? slice_str(me) : slice_from(text, (size_t)at + 1);
}

bool admission_sender_ok(enum admission_sender_check check, struct slice login, struct slice sender,
    const char *me)
{
	struct slice login_local, login_domain;
	struct slice sender_local, sender_domain;
	CHECK(check != ADMISSION_SENDER_NONE_SET);
	/* Reports and answers by machines come from <>, whoever sends them. */
	if (check == ADMISSION_SENDER_NONE || sender.n == 0)
		return true;
	split_login(login, me, &login_local, &login_domain);
	split_login(sender, me, &sender_local, &sender_domain);
	if (login.n == 0 || !slice_eq_nocase(login_domain, sender_domain))
		return false;
	return check == ADMISSION_SENDER_DOMAIN || slice_eq(login_local, sender_local);
}

struct bucket {
	struct list_node by_use; /* of admission_rates.by_use */
	char *login;
	double level;  /* recipients that may be taken now */
	int64_t at_ms; /* when level was right */
};

struct admission_rates {
	struct map buckets;      /* login -> struct bucket */
	struct list_node by_use; /* least recently used first */
	uint64_t count;          /* 0: no limit */
	double period_ms;
};

struct admission_rates *admission_rates_new(uint64_t count, int64_t period_s, uint64_t seed)
{
	struct admission_rates *r = mem_zalloc(sizeof(*r));
	map_init(&r->buckets, seed);
	list_init(&r->by_use);
	admission_rates_set(r, count, period_s);
	return r;
}

static void bucket_free(struct admission_rates *r, struct bucket *b)
{
	map_remove(&r->buckets, slice_str(b->login));
	list_remove(&b->by_use);
	mem_free(b->login);
	mem_free(b);
}

void admission_rates_free(struct admission_rates **rp)
{
	struct admission_rates *r = *rp;
	*rp = NULL;
	if (!r)
		return;
	while (!list_is_empty(&r->by_use))
		bucket_free(r, list_first(&r->by_use, struct bucket, by_use));
	map_fini(&r->buckets);
	mem_free(r);
}

void admission_rates_set(struct admission_rates *r, uint64_t count, int64_t period_s)
{
	r->count = count;
	r->period_ms = period_s > 0 ? (double)period_s * 1000.0 : 1000.0;
}

static void refill(const struct admission_rates *r, struct bucket *b, int64_t mono_ms)
{
	double full = (double)r->count;
	if (mono_ms > b->at_ms)
		b->level += (double)(mono_ms - b->at_ms) / r->period_ms * full;
	b->at_ms = MAX(b->at_ms, mono_ms);
	b->level = MIN(b->level, full);
}

/*
 * Room for one more: a bucket that is full again says nothing and goes. Those
 * idle for longest are looked at; if none of them is full the first goes all
 * the same, for their number is bounded.
 */
static void make_room(struct admission_rates *r, int64_t mono_ms)
{
	struct bucket *oldest = list_first(&r->by_use, struct bucket, by_use);
	unsigned looked_at = 0;
	if (map_count(&r->buckets) < LOGINS_MAX)
		return;
	list_foreach(n, &r->by_use) {
		struct bucket *b = list_entry(n, struct bucket, by_use);
		refill(r, b, mono_ms);
		if (b->level >= (double)r->count) {
			bucket_free(r, b);
			return;
		}
		if (++looked_at == LOOK_AT_MAX)
			break;
	}
	bucket_free(r, oldest);
}

static struct bucket *get_bucket(struct admission_rates *r, struct slice login, int64_t mono_ms)
{
	struct bucket *b = map_find(&r->buckets, login);
	if (!b) {
		make_room(r, mono_ms);
		b = mem_zalloc(sizeof(*b));
		b->login = slice_dup(login);
		b->level = (double)r->count;
		b->at_ms = mono_ms;
		list_init(&b->by_use);
		map_put(&r->buckets, slice_str(b->login), b);
	}
	list_remove(&b->by_use);
	list_push(&r->by_use, &b->by_use);
	return b;
}

bool admission_rates_take(struct admission_rates *r, struct slice login, unsigned n,
    int64_t mono_ms)
{
	if (r->count == 0)
		return true;
	/* The login is kept as a C string, and a NUL is in none that exists. */
	CHECK(slice_find(login, '\0') < 0);
	struct bucket *b = get_bucket(r, login, mono_ms);
	refill(r, b, mono_ms);
	if (b->level < (double)n)
		return false;
	b->level -= (double)n;
	return true;
}

struct admission_conns {
	struct map counts; /* address -> number of connections, as a pointer's value */
};

struct admission_conns *admission_conns_new(uint64_t seed)
{
	struct admission_conns *c = mem_zalloc(sizeof(*c));
	map_init(&c->counts, seed);
	return c;
}

void admission_conns_free(struct admission_conns **cp)
{
	if (*cp) {
		map_fini(&(*cp)->counts);
		mem_free(*cp);
	}
	*cp = NULL;
}

bool admission_conns_add(struct admission_conns *c, struct slice ip, unsigned max)
{
	uintptr_t now = (uintptr_t)map_find(&c->counts, ip);
	if (now >= max)
		return false;
	map_put(&c->counts, ip, (void *)(now + 1));
	return true;
}

void admission_conns_remove(struct admission_conns *c, struct slice ip)
{
	uintptr_t now = (uintptr_t)map_find(&c->counts, ip);
	CHECK(now > 0);
	if (now == 1)
		map_remove(&c->counts, ip);
	else
		map_put(&c->counts, ip, (void *)(now - 1));
}
