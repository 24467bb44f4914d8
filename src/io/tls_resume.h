/*
 * tls_resume.h - one session's part in resumption, both sides, for tls_session.c.
 *
 * Private to src/io. A resumed handshake checks no certificate (nor DANE): all
 * it proves is that the host is the one of the full handshake. So a session is
 * kept under everything that decided trust then: the context (verifying or
 * not, versions, ciphers), the name checked, and the owner's resume_key. What
 * was proved travels with it, and what a resumed session brings forth inherits
 * that proof and its end, a day at most.
 */
#ifndef IO_TLS_RESUME_H
#define IO_TLS_RESUME_H

#include "base/defs.h"
#include "io/tls.h"
#include "io/tls_cache.h"

struct tls_resume {
	struct tls_ctx *ctx; /* a reference */
	struct now now;      /* when the handshake began */
	char *key;           /* client: NULL for one that is neither offered nor kept */
	bool proof_known;
	bool verified;       /* what the full handshake proved */
	int64_t proof_until; /* mono ms */
	bool done;           /* the handshake was good */
	/*
	 * What was offered; no session in it when it was exchanged for another, or need not be
	 * given back. Many servers (Postfix) give one ticket at the full handshake and mean it to
	 * be used again. RFC 8446 C.4 advises against that, lest connections be linked by who
	 * listens: ours are by address and EHLO name anyway.
	 */
	struct tls_kept offered;
};

/* handle, ssl: an SSL_CTX, an SSL. */
void tls_resume_prepare_client(void *handle);
void tls_resume_prepare_server(void *handle);

/* r must stay where it is while ssl lives. */
void tls_resume_init(struct tls_resume *r, struct tls_ctx *ctx, struct now now, void *ssl);
/* Before a client's handshake: offers the session kept for host and resume_key, if there is one. */
void tls_resume_offer(struct tls_resume *r, void *ssl, const char *host, const char *resume_key);
/* After a good handshake. */
void tls_resume_fill(struct tls_resume *r, void *ssl, struct tls_info *info);
/* Forgets what was kept for the host if the handshake did not succeed. ssl is gone by now. */
void tls_resume_fini(struct tls_resume *r);

#endif
