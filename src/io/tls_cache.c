#include "io/tls_cache.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/lru.h"
#include "base/mem.h"
#include "base/prng.h"

struct known_host {
	struct lru_entry entry;
	struct tls_kept kept[TLS_CACHE_PER_KEY]; /* the oldest first */
	unsigned n;                              /* 0 only on the way in or out */
	char key[];
};

struct tls_cache {
	pthread_mutex_t lock;
	struct lru hosts;
};

static struct known_host *host_of(struct lru_entry *e)
{
	return container_of(e, struct known_host, entry);
}

static void drop_session(struct known_host *h, unsigned at)
{
	DCHECK(at < h->n);
	SSL_SESSION_free(h->kept[at].session);
	h->n--;
	memmove(h->kept + at, h->kept + at + 1, (h->n - at) * sizeof(h->kept[0]));
}

static void drop_host(struct lru_entry *e)
{
	struct known_host *h = host_of(e);
	while (h->n > 0)
		drop_session(h, h->n - 1);
	mem_free(h);
}

struct tls_cache *tls_cache_new(size_t keys_max)
{
	struct tls_cache *c = mem_zalloc(sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	lru_init(&c->hosts, prng_os_u64(), keys_max, SIZE_MAX, drop_host);
	return c;
}

void tls_cache_free(struct tls_cache **cp)
{
	struct tls_cache *c = *cp;
	if (!c)
		return;
	*cp = NULL;
	lru_fini(&c->hosts);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}

static struct known_host *find_host(struct tls_cache *c, struct slice key)
{
	struct lru_entry *e = lru_find(&c->hosts, key);
	return e ? host_of(e) : NULL;
}

static struct known_host *find_or_add_host(struct tls_cache *c, struct slice key)
{
	struct known_host *h = find_host(c, key);
	CHECK(key.n > 0);
	if (h)
		return h;
	h = mem_zalloc(sizeof(*h) + key.n);
	memcpy(h->key, key.p, key.n);
	lru_put(&c->hosts, slice_of(h->key, key.n), &h->entry, 0);
	return h;
}

static void put_at(struct known_host *h, unsigned at, const struct tls_kept *k)
{
	CHECK(h->n < TLS_CACHE_PER_KEY);
	memmove(h->kept + at + 1, h->kept + at, (h->n - at) * sizeof(h->kept[0]));
	h->kept[at] = *k;
	h->n++;
}

void tls_cache_put(struct tls_cache *c, struct slice key, const struct tls_kept *k)
{
	pthread_mutex_lock(&c->lock);
	struct known_host *h = find_or_add_host(c, key);
	if (h->n == TLS_CACHE_PER_KEY)
		drop_session(h, 0);
	put_at(h, h->n, k);
	pthread_mutex_unlock(&c->lock);
}

void tls_cache_give_back(struct tls_cache *c, struct slice key, const struct tls_kept *k)
{
	pthread_mutex_lock(&c->lock);
	struct known_host *h = find_or_add_host(c, key);
	if (h->n < TLS_CACHE_PER_KEY)
		put_at(h, 0, k);
	else
		SSL_SESSION_free(k->session);
	pthread_mutex_unlock(&c->lock);
}

static void drop_ended(struct known_host *h, int64_t now_ms)
{
	for (unsigned i = h->n; i-- > 0;)
		if (h->kept[i].until <= now_ms)
			drop_session(h, i);
}

/* The newest: out of the cache, or a copy of it. NULL if a copy can't be had. */
static SSL_SESSION *give(struct known_host *h, struct tls_kept *k)
{
	*k = h->kept[h->n - 1];
	if (SSL_SESSION_get_protocol_version(k->session) < TLS1_3_VERSION) {
		k->session = SSL_SESSION_dup(k->session);
		ERR_clear_error();
	} else {
		h->n--;
	}
	return k->session;
}

bool tls_cache_take(struct tls_cache *c, struct slice key, int64_t now_ms, struct tls_kept *k_r)
{
	bool found = false;
	pthread_mutex_lock(&c->lock);
	struct known_host *h = find_host(c, key);
	if (h)
		drop_ended(h, now_ms);
	if (h && h->n > 0)
		found = give(h, k_r) != NULL;
	if (h && h->n == 0)
		lru_remove(&c->hosts, &h->entry);
	pthread_mutex_unlock(&c->lock);
	return found;
}

void tls_cache_forget(struct tls_cache *c, struct slice key)
{
	pthread_mutex_lock(&c->lock);
	struct known_host *h = find_host(c, key);
	if (h)
		lru_remove(&c->hosts, &h->entry);
	pthread_mutex_unlock(&c->lock);
}

size_t tls_cache_count(struct tls_cache *c)
{
	size_t n = 0;
	pthread_mutex_lock(&c->lock);
	list_foreach(it, &c->hosts.order)
		n += host_of(list_entry(it, struct lru_entry, node))->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}
