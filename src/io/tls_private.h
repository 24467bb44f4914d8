/*
 * tls_private.h - between tls.c, tls_session.c, tls_verify.c and tls_resume.c.
 *
 * Private to src/io. The handles are OpenSSL's, typed void because headers of
 * this layer name no third-party type: an SSL_CTX, an SSL.
 */
#ifndef IO_TLS_PRIVATE_H
#define IO_TLS_PRIVATE_H

#include "base/err.h"
#include "io/tls.h"

struct tls_cache;
struct tls_ring;

void *tls_ctx_handle(const struct tls_ctx *ctx);            /* SSL_CTX, borrowed */
bool tls_ctx_verifies(const struct tls_ctx *ctx);           /* a client context that insists */
struct tls_cache *tls_ctx_cache(const struct tls_ctx *ctx); /* a client's, else NULL */
struct tls_ring *tls_ctx_ring(const struct tls_ctx *ctx);   /* a server's, else NULL */
struct tls_trust *tls_ctx_trust(const struct tls_ctx *ctx); /* a client's, else NULL */

struct tls_trust *tls_trust_ref(struct tls_trust *t);
void *tls_trust_store(const struct tls_trust *t); /* X509_STORE, borrowed */
void tls_trust_need(struct tls_trust *t);         /* it is read by then; before any handshake */

/* The reason of the first queued OpenSSL error, or `fallback`; empties the queue. */
const char *tls_error_text(const char *fallback);

/* Prepares a client's SSL to name the host (SNI) and check its certificate for it. */
int tls_verify_prepare(void *ssl, const char *host, bool insist, struct errbuf *eb) MUST_USE;
/* After the handshake: whether chain and name were good. */
bool tls_verify_is_good(void *ssl);
/* Why the peer's certificate was refused; NULL if it was not. */
const char *tls_verify_complaint(void *ssl);

#endif
