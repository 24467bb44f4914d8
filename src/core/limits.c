#include "core/limits.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/mem.h"
#include "policy/admission.h"

struct shard {
	struct loop *loop;
	atomic_ullong wants[LIMITS_KINDS]; /* was refused: its number in the line; 0: content */
	atomic_bool yields;                /* lets those that want pass */
	atomic_bool asked;                 /* to close a connection */
};

struct limits {
	atomic_size_t clients;
	atomic_size_t counts[LIMITS_KINDS];
	atomic_ullong tickets;
	atomic_uint wants_n; /* of any kind; never 0 while one wants something */
	struct shard *shards;
	unsigned shards_n;

	pthread_mutex_t lock; /* of what follows */
	struct admission_conns *addresses;
	struct admission_rates *rates;
	int64_t latest_ms; /* mono; the shards' clocks are not read at the same moment */
};

struct limits *limits_new(const struct conf *conf, struct loop *const *loops, unsigned shards,
    uint64_t seed)
{
	struct limits *l = mem_zalloc(sizeof(*l));

	pthread_mutex_init(&l->lock, NULL);
	l->addresses = admission_conns_new(seed);
	l->rates =
	    admission_rates_new(conf->submission.rate.count, conf->submission.rate.period_s, seed);
	l->shards_n = shards;
	l->shards = mem_zalloc(shards * sizeof(*l->shards));
	for (unsigned i = 0; i < shards; i++)
		l->shards[i].loop = loops[i];
	return l;
}

void limits_free(struct limits **lp)
{
	struct limits *l = *lp;

	*lp = NULL;
	if (!l)
		return;
	admission_conns_free(&l->addresses);
	admission_rates_free(&l->rates);
	pthread_mutex_destroy(&l->lock);
	mem_free(l->shards);
	mem_free(l);
}

void limits_reload(struct limits *l, const struct conf *conf)
{
	pthread_mutex_lock(&l->lock);
	admission_rates_set(l->rates, conf->submission.rate.count, conf->submission.rate.period_s);
	pthread_mutex_unlock(&l->lock);
}

/* --- clients ---------------------------------------------------------------------- */

size_t limits_client_came(struct limits *l)
{
	return atomic_fetch_add(&l->clients, 1);
}

void limits_client_left(struct limits *l)
{
	size_t before = atomic_fetch_sub(&l->clients, 1);

	CHECK(before > 0);
}

bool limits_add_address(struct limits *l, struct slice ip, unsigned max)
{
	pthread_mutex_lock(&l->lock);
	bool ok = admission_conns_add(l->addresses, ip, max);
	pthread_mutex_unlock(&l->lock);
	return ok;
}

void limits_remove_address(struct limits *l, struct slice ip)
{
	pthread_mutex_lock(&l->lock);
	admission_conns_remove(l->addresses, ip);
	pthread_mutex_unlock(&l->lock);
}

bool limits_take_rcpt(struct limits *l, struct slice login, int64_t mono_ms)
{
	pthread_mutex_lock(&l->lock);
	l->latest_ms = MAX(l->latest_ms, mono_ms);
	bool ok = admission_rates_take(l->rates, login, 1, l->latest_ms);
	pthread_mutex_unlock(&l->lock);
	return ok;
}

/* --- outbound ----------------------------------------------------------------------- */

static bool try_begin(struct limits *l, enum limits_kind kind, size_t max)
{
	if (atomic_fetch_add(&l->counts[kind], 1) < max)
		return true;
	atomic_fetch_sub(&l->counts[kind], 1);
	return false;
}

/* To be asked before anything is looked at again: what ends later than this wakes the shard. */
static void want(struct limits *l, enum limits_kind kind, unsigned shard)
{
	atomic_ullong *mine = &l->shards[shard].wants[kind];

	if (atomic_load(mine) > 0)
		return;
	atomic_fetch_add(&l->wants_n, 1);
	atomic_store(mine, atomic_fetch_add(&l->tickets, 1) + 1);
}

static void wake_who_wants(struct limits *l, enum limits_kind kind)
{
	if (atomic_load(&l->wants_n) == 0)
		return;
	for (unsigned i = 0; i < l->shards_n; i++)
		if (atomic_load(&l->shards[i].wants[kind]) > 0)
			loop_wake(l->shards[i].loop);
}

static void wake_who_yields(struct limits *l)
{
	for (unsigned i = 0; i < l->shards_n; i++)
		if (atomic_load(&l->shards[i].yields) &&
		    atomic_exchange(&l->shards[i].yields, false))
			loop_wake(l->shards[i].loop);
}

/* Whoever comes behind it in the line may go now. */
void limits_content(struct limits *l, enum limits_kind kind, unsigned shard)
{
	if (atomic_load_explicit(&l->shards[shard].wants[kind], memory_order_relaxed) == 0)
		return;
	atomic_store(&l->shards[shard].wants[kind], 0);
	atomic_fetch_sub(&l->wants_n, 1);
	wake_who_wants(l, kind);
	wake_who_yields(l);
}

/* Somebody else has waited for longer. */
static bool is_behind(const struct limits *l, enum limits_kind kind, unsigned shard)
{
	if (kind != LIMITS_DELIVERIES || atomic_load(&l->wants_n) == 0)
		return false;
	unsigned long long mine = atomic_load(&l->shards[shard].wants[kind]);
	for (unsigned i = 0; i < l->shards_n; i++) {
		unsigned long long other = atomic_load(&l->shards[i].wants[kind]);
		if (i != shard && other > 0 && (mine == 0 || other < mine))
			return true;
	}
	return false;
}

bool limits_begin(struct limits *l, enum limits_kind kind, size_t max, unsigned shard)
{
	if (is_behind(l, kind, shard) || !try_begin(l, kind, max)) {
		want(l, kind, shard);
		if (is_behind(l, kind, shard) || !try_begin(l, kind, max))
			return false;
	}
	limits_content(l, kind, shard);
	return true;
}

bool limits_has_room(struct limits *l, enum limits_kind kind, size_t max, unsigned shard)
{
	if (atomic_load(&l->counts[kind]) >= max) {
		want(l, kind, shard);
		if (atomic_load(&l->counts[kind]) >= max)
			return false;
	}
	limits_content(l, kind, shard);
	return true;
}

static bool others_want(const struct limits *l, enum limits_kind kind, unsigned shard)
{
	if (atomic_load(&l->wants_n) == 0)
		return false;
	for (unsigned i = 0; i < l->shards_n; i++)
		if (i != shard && atomic_load(&l->shards[i].wants[kind]) > 0)
			return true;
	return false;
}

bool limits_yield(struct limits *l, enum limits_kind kind, unsigned shard)
{
	if (!others_want(l, kind, shard))
		return false;
	atomic_store(&l->shards[shard].yields, true);
	return others_want(l, kind, shard);
}

void limits_add(struct limits *l, enum limits_kind kind)
{
	atomic_fetch_add(&l->counts[kind], 1);
}

void limits_end(struct limits *l, enum limits_kind kind)
{
	size_t before = atomic_fetch_sub(&l->counts[kind], 1);

	CHECK(before > 0);
	wake_who_wants(l, kind);
}

void limits_ask_others(struct limits *l, unsigned shard)
{
	for (unsigned i = 0; i < l->shards_n; i++) {
		if (i == shard)
			continue;
		atomic_store(&l->shards[i].asked, true);
		loop_wake(l->shards[i].loop);
	}
}

bool limits_is_asked(const struct limits *l, unsigned shard)
{
	return atomic_load_explicit(&l->shards[shard].asked, memory_order_relaxed);
}

void limits_answer(struct limits *l, unsigned shard)
{
	atomic_store(&l->shards[shard].asked, false);
}
