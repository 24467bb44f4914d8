/*
 * tls.h - TLS contexts (OpenSSL), made once and shared by reference.
 *
 * A context is immutable after it is made, but for what it remembers of
 * sessions that may be resumed: a client's of its hosts, a server's the keys of
 * its tickets. Reload makes a new one, which remembers nothing, and old sessions
 * keep theirs. All of it is thread-safe.
 */
#ifndef IO_TLS_H
#define IO_TLS_H

#include "base/err.h"

struct tls_ctx;
struct tls_trust; /* certificates that are taken as proof; shared by client contexts */

struct tls_server_options {
	const char *certificate; /* PEM chain file */
	const char *key;         /* PEM key file, without passphrase */
	const char *min_version; /* "TLSv1.2", "TLSv1.3"; for old clients "TLSv1", "TLSv1.1" */
	const char *ciphers;     /* TLS <= 1.2 list; "" default */
};

struct tls_client_options {
	const char *min_version;
	const char *ciphers;     /* "" default; opportunistic connections use SECLEVEL 0 */
	struct tls_trust *trust; /* the context takes a reference */
	bool verify;             /* PKIX and name: the handshake fails otherwise */
};

/* A PEM file, read now: the error names it; or "", the system's store: read by the first session
 * that may need it, and no error if there is none. Thread-safe. */
int tls_trust_new(const char *ca_file, struct tls_trust **trust_r, struct errbuf *eb) MUST_USE;
void tls_trust_unref(struct tls_trust **trust);

/* The error names the file. */
int tls_server_new(const struct tls_server_options *o, struct tls_ctx **ctx_r,
    struct errbuf *eb) MUST_USE;
int tls_client_new(const struct tls_client_options *o, struct tls_ctx **ctx_r,
    struct errbuf *eb) MUST_USE;
struct tls_ctx *tls_ref(struct tls_ctx *ctx); /* NULL is fine, here and below */
void tls_unref(struct tls_ctx **ctx);

struct tls_info {         /* of an established session */
	char version[16]; /* "TLSv1.3" */
	char cipher[64];
	/* Chain and name were checked and good: noted, without consequence, also for opportunistic
	 * sessions. Of a resumed session: at the full handshake it stems from. False on the
	 * server's side. */
	bool verified;
	bool resumed; /* no certificate was shown: the keys of an earlier session were */
};

/*
 * A self-signed certificate and key (P-256, 10 years) for name, written as PEM files 0600: for the
 * sandbox, the quick start and tests.
 */
int tls_make_self_signed(const char *name, const char *certificate_file, const char *key_file,
    struct errbuf *eb) MUST_USE;

#endif
