/*
 * tls_cache.h - the sessions a client context may resume.
 *
 * Private to src/io; shared by all threads that use the context. Bounded: the
 * key not used for longest gives way. A session of TLS 1.3 leaves the cache
 * when it is taken, and is given back only if its host gave no other in
 * exchange; one of TLS 1.2 stays and is lent as a copy, so no two connections
 * ever share a session object.
 */
#ifndef IO_TLS_CACHE_H
#define IO_TLS_CACHE_H

#include "base/slice.h"

enum {
	/*
	 * A session takes 7 to 14 KB with the certificates that hang on it (two of one handshake
	 * share them): 30 MB for so many hosts. In DER it would be 1.3 KB, but reading that
	 * costs 140 us of the 400 us that resuming saves.
	 */
	TLS_CACHE_KEYS_MAX = 2000,
	TLS_CACHE_PER_KEY = 2,
};

struct tls_cache;

struct tls_kept {
	void *session;       /* an SSL_SESSION, owned by who holds this */
	bool verified;       /* chain and name were good at the full handshake */
	int64_t proof_until; /* mono ms: then a full handshake must come again */
	int64_t until;       /* mono ms: the session's own end, never after proof_until */
};

struct tls_cache *tls_cache_new(size_t keys_max);
void tls_cache_free(struct tls_cache **c);

void tls_cache_put(struct tls_cache *c, struct slice key, const struct tls_kept *k); /* takes k's */
/* The newest session of the key that has not ended: the caller's. False: none. */
bool tls_cache_take(struct tls_cache *c, struct slice key, int64_t now_ms, struct tls_kept *k_r);
/* One that was taken, was good, and was not exchanged for another. Takes k's; older than all put.
 */
void tls_cache_give_back(struct tls_cache *c, struct slice key, const struct tls_kept *k);
void tls_cache_forget(struct tls_cache *c, struct slice key); /* every session of the key */
size_t tls_cache_count(struct tls_cache *c); /* sessions; counts them one by one: for tests */

#endif
