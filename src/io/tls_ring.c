#include "io/tls_ring.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"

enum {
	/* The one that seals and those accepted beside it: 12 hours are two turns of 6. */
	KEYS = 1 + TLS_RING_ACCEPTS_MS / TLS_RING_SEALS_MS,
};

struct tls_ring {
	pthread_mutex_t lock;
	struct tls_ring_key keys[KEYS]; /* the newest first */
	unsigned n;
};

struct tls_ring *tls_ring_new(void)
{
	struct tls_ring *r = mem_zalloc(sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

void tls_ring_free(struct tls_ring **rp)
{
	struct tls_ring *r = *rp;
	if (!r)
		return;
	*rp = NULL;
	pthread_mutex_destroy(&r->lock);
	mem_wipe(r->keys, sizeof(r->keys));
	mem_free(r);
}

bool tls_ring_is_old(const struct tls_ring_key *key, int64_t now_ms)
{
	return now_ms - key->made_at >= TLS_RING_SEALS_MS;
}

static bool is_dead(const struct tls_ring_key *key, int64_t now_ms)
{
	return now_ms - key->made_at >= TLS_RING_SEALS_MS + TLS_RING_ACCEPTS_MS;
}

static void wipe_dead(struct tls_ring *r, int64_t now_ms)
{
	while (r->n > 0 && is_dead(&r->keys[r->n - 1], now_ms)) {
		r->n--;
		mem_wipe(&r->keys[r->n], sizeof(r->keys[0]));
	}
}

static bool make_key(struct tls_ring *r, int64_t now_ms)
{
	struct tls_ring_key key = { .made_at = now_ms };
	if (RAND_bytes(key.name, sizeof(key.name)) != 1 ||
	    RAND_priv_bytes(key.cipher, sizeof(key.cipher)) != 1 ||
	    RAND_priv_bytes(key.mac, sizeof(key.mac)) != 1)
		return false;
	r->n = MIN(r->n + 1, (unsigned)KEYS);
	memmove(r->keys + 1, r->keys, (r->n - 1) * sizeof(r->keys[0]));
	r->keys[0] = key;
	mem_wipe(&key, sizeof(key));
	return true;
}

bool tls_ring_seal(struct tls_ring *r, int64_t now_ms, struct tls_ring_key *key_r)
{
	bool ok = true;
	pthread_mutex_lock(&r->lock);
	wipe_dead(r, now_ms);
	if (r->n == 0 || tls_ring_is_old(&r->keys[0], now_ms))
		ok = make_key(r, now_ms);
	if (ok)
		*key_r = r->keys[0];
	pthread_mutex_unlock(&r->lock);
	return ok;
}

bool tls_ring_open(struct tls_ring *r, const unsigned char *name, int64_t now_ms,
    struct tls_ring_key *key_r)
{
	bool found = false;
	pthread_mutex_lock(&r->lock);
	wipe_dead(r, now_ms);
	for (unsigned i = 0; i < r->n && !found; i++) {
		found = CRYPTO_memcmp(r->keys[i].name, name, TLS_RING_NAME_BYTES) == 0;
		if (found)
			*key_r = r->keys[i];
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}
