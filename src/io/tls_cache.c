#include "io/tls_cache.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/prng.h"

struct known_host {
	struct list_node node;
	struct tls_kept kept[TLS_CACHE_PER_KEY]; /* the oldest first */
	unsigned n;                              /* never 0 */
	size_t key_n;
	char key[];
};

struct tls_cache {
	pthread_mutex_t lock;
	struct map hosts;
	struct list_node by_use; /* the one not used for longest first */
	size_t count;
	size_t max;
};

struct tls_cache *tls_cache_new(size_t sessions_max)
{
	struct tls_cache *c = mem_zalloc(sizeof(*c));
	CHECK(sessions_max >= TLS_CACHE_PER_KEY);
	pthread_mutex_init(&c->lock, NULL);
	map_init(&c->hosts, prng_os_u64());
	list_init(&c->by_use);
	c->max = sessions_max;
	return c;
}

static struct slice key_of(const struct known_host *h)
{
	return slice_of(h->key, h->key_n);
}

static void drop_session(struct tls_cache *c, struct known_host *h, unsigned at)
{
	DCHECK(at < h->n);
	SSL_SESSION_free(h->kept[at].session);
	h->n--;
	c->count--;
	memmove(h->kept + at, h->kept + at + 1, (h->n - at) * sizeof(h->kept[0]));
}

static void drop_host(struct tls_cache *c, struct known_host *h)
{
	while (h->n > 0)
		drop_session(c, h, h->n - 1);
	map_remove(&c->hosts, key_of(h));
	list_remove(&h->node);
	mem_free(h);
}

void tls_cache_free(struct tls_cache **cp)
{
	struct tls_cache *c = *cp;
	if (!c)
		return;
	*cp = NULL;
	while (!list_is_empty(&c->by_use))
		drop_host(c, list_first(&c->by_use, struct known_host, node));
	CHECK(c->count == 0);
	map_fini(&c->hosts);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}

static struct known_host *add_host(struct tls_cache *c, struct slice key)
{
	struct known_host *h = mem_zalloc(sizeof(*h) + key.n);
	list_init(&h->node);
	h->key_n = key.n;
	memcpy(h->key, key.p, key.n);
	map_put(&c->hosts, key, h);
	return h;
}

static void note_use(struct tls_cache *c, struct known_host *h)
{
	list_remove(&h->node);
	list_push(&c->by_use, &h->node);
}

static void put_at(struct tls_cache *c, struct known_host *h, unsigned at, const struct tls_kept *k)
{
	CHECK(h->n < TLS_CACHE_PER_KEY);
	memmove(h->kept + at + 1, h->kept + at, (h->n - at) * sizeof(h->kept[0]));
	h->kept[at] = *k;
	h->n++;
	c->count++;
	note_use(c, h);
	while (c->count > c->max)
		drop_host(c, list_first(&c->by_use, struct known_host, node));
}

void tls_cache_put(struct tls_cache *c, struct slice key, const struct tls_kept *k)
{
	CHECK(key.n > 0);
	pthread_mutex_lock(&c->lock);
	struct known_host *h = map_find(&c->hosts, key);
	if (!h)
		h = add_host(c, key);
	if (h->n == TLS_CACHE_PER_KEY)
		drop_session(c, h, 0);
	put_at(c, h, h->n, k);
	pthread_mutex_unlock(&c->lock);
}

void tls_cache_give_back(struct tls_cache *c, struct slice key, const struct tls_kept *k)
{
	pthread_mutex_lock(&c->lock);
	struct known_host *h = map_find(&c->hosts, key);
	if (!h)
		h = add_host(c, key);
	if (h->n < TLS_CACHE_PER_KEY)
		put_at(c, h, 0, k);
	else
		SSL_SESSION_free(k->session);
	pthread_mutex_unlock(&c->lock);
}

static void drop_ended(struct tls_cache *c, struct known_host *h, int64_t now_ms)
{
	for (unsigned i = h->n; i-- > 0;)
		if (h->kept[i].until <= now_ms)
			drop_session(c, h, i);
}

/* The newest: out of the cache, or a copy of it. NULL if a copy can't be had. */
static SSL_SESSION *give(struct tls_cache *c, struct known_host *h, struct tls_kept *k)
{
	*k = h->kept[h->n - 1];
	if (SSL_SESSION_get_protocol_version(k->session) < TLS1_3_VERSION) {
		k->session = SSL_SESSION_dup(k->session);
		ERR_clear_error();
	} else {
		h->n--;
		c->count--;
	}
	return k->session;
}

bool tls_cache_take(struct tls_cache *c, struct slice key, int64_t now_ms, struct tls_kept *k_r)
{
	bool found = false;
	pthread_mutex_lock(&c->lock);
	struct known_host *h = map_find(&c->hosts, key);
	if (h)
		drop_ended(c, h, now_ms);
	if (h && h->n > 0) {
		found = give(c, h, k_r) != NULL;
		note_use(c, h);
	}
	if (h && h->n == 0)
		drop_host(c, h);
	pthread_mutex_unlock(&c->lock);
	return found;
}

void tls_cache_forget(struct tls_cache *c, struct slice key)
{
	pthread_mutex_lock(&c->lock);
	struct known_host *h = map_find(&c->hosts, key);
	if (h)
		drop_host(c, h);
	pthread_mutex_unlock(&c->lock);
}

size_t tls_cache_count(struct tls_cache *c)
{
	pthread_mutex_lock(&c->lock);
	size_t n = c->count;
	pthread_mutex_unlock(&c->lock);
	return n;
}
