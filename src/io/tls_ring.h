/*
 * tls_ring.h - the keys a server context seals its session tickets with.
 *
 * Private to src/io; shared by all threads that use the context. A key seals
 * for six hours, and what it sealed is accepted for twelve more; then it is
 * wiped. Keys are made here, at need, and never leave the process. They live
 * and die with their context: after a reload of certificates nobody resumes
 * what was trusted because of the old ones; that costs each client one full
 * handshake.
 */
#ifndef IO_TLS_RING_H
#define IO_TLS_RING_H

#include "base/defs.h"

#define TLS_RING_SEALS_MS   ((int64_t)6 * 3600 * 1000)
#define TLS_RING_ACCEPTS_MS ((int64_t)12 * 3600 * 1000)

enum {
	TLS_RING_NAME_BYTES = 16, /* the size RFC 5077 4 recommends, and OpenSSL's */
	TLS_RING_SECRET_BYTES = 32,
};

struct tls_ring;

struct tls_ring_key {
	unsigned char name[TLS_RING_NAME_BYTES];
	unsigned char cipher[TLS_RING_SECRET_BYTES];
	unsigned char mac[TLS_RING_SECRET_BYTES];
	int64_t made_at; /* mono ms; meaningless in an empty place of the ring */
};

struct tls_ring *tls_ring_new(void);
void tls_ring_free(struct tls_ring **r); /* wipes */

/* Copies the key to seal with; who has it wipes it. False: no randomness to make one. */
bool tls_ring_seal(struct tls_ring *r, int64_t now_ms, struct tls_ring_key *key_r) MUST_USE;
/* The key of that name, if tickets of it are still accepted. */
bool tls_ring_open(struct tls_ring *r, const unsigned char *name, int64_t now_ms,
    struct tls_ring_key *key_r) MUST_USE;
/* Whether the key no longer seals: its tickets are to be exchanged. */
bool tls_ring_is_old(const struct tls_ring_key *key, int64_t now_ms);

#endif
