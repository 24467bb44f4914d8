#include "core/limits.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/mem.h"
#include "policy/admission.h"

struct shard {
	struct loop *loop;
	atomic_bool hungry; /* was refused something */
	atomic_bool asked;  /* to close a connection */
};

struct limits {
	atomic_size_t clients;
	atomic_size_t counts[LIMITS_KINDS];
	atomic_uint hungry_n; /* about: never 0 while one is hungry */
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

/* Looked at before, or what ends between a refusal and this would wake nobody. */
static void be_hungry(struct limits *l, unsigned shard)
{
	if (!atomic_exchange(&l->shards[shard].hungry, true))
		atomic_fetch_add(&l->hungry_n, 1);
}

bool limits_begin(struct limits *l, enum limits_kind kind, size_t max, unsigned shard)
{
	if (try_begin(l, kind, max))
		return true;
	be_hungry(l, shard);
	return try_begin(l, kind, max);
}

bool limits_has_room(struct limits *l, enum limits_kind kind, size_t max, unsigned shard)
{
	if (atomic_load(&l->counts[kind]) < max)
		return true;
	be_hungry(l, shard);
	return atomic_load(&l->counts[kind]) < max;
}

void limits_add(struct limits *l, enum limits_kind kind)
{
	atomic_fetch_add(&l->counts[kind], 1);
}

void limits_end(struct limits *l, enum limits_kind kind)
{
	size_t before = atomic_fetch_sub(&l->counts[kind], 1);

	CHECK(before > 0);
	if (atomic_load(&l->hungry_n) == 0)
		return;
	for (unsigned i = 0; i < l->shards_n; i++) {
		if (!atomic_exchange(&l->shards[i].hungry, false))
			continue;
		atomic_fetch_sub(&l->hungry_n, 1);
		loop_wake(l->shards[i].loop);
	}
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
