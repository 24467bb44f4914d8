/*
 * tls_session.h - one TLS connection on a non-blocking socket, for stream.c.
 *
 * Private to src/io. The session reads and writes the descriptor itself
 * (SSL_set_fd: memory BIOs would cost a copy) and reads ahead, so after every
 * read that stopped for lack of room tls_session_has_pending must be asked:
 * the poll says nothing about what is already inside.
 */
#ifndef IO_TLS_SESSION_H
#define IO_TLS_SESSION_H

#include "base/err.h"
#include "io/tls.h"

struct tls_session;

enum tls_want { /* what a call waits for; negative: enum err, text in the errbuf */
	TLS_WANT_NOTHING = 0,
	TLS_WANT_READ = 1,
	TLS_WANT_WRITE = 2,
};

struct tls_session_options {
	struct tls_ctx *ctx; /* the session takes a reference */
	int fd;
	bool server;
	const char *host;       /* client only: for SNI and the name check */
	const char *resume_key; /* client only: NULL: a full handshake, of which nothing is kept */
	struct now now;
};

/* ERR_TLS if it can't be had. */
int tls_session_new(const struct tls_session_options *o, struct tls_session **s_r,
    struct errbuf *eb) MUST_USE;
void tls_session_free(struct tls_session **s); /* sends nothing */
/* One try at a close_notify; only on a session that was established and has not failed. */
void tls_session_goodbye(struct tls_session *s);

/* TLS_WANT_NOTHING: established, info is filled in. */
int tls_session_handshake(struct tls_session *s, struct errbuf *eb) MUST_USE;
/*
 * Each moves up to n bytes and says in *done how many (0 with a want). ERR_CLOSED: the
 * peer ended its side. After TLS_WANT_WRITE, write the same bytes again (more may follow them).
 */
int tls_session_read(struct tls_session *s, void *p, size_t n, size_t *done,
    struct errbuf *eb) MUST_USE;
int tls_session_write(struct tls_session *s, const void *p, size_t n, size_t *done,
    struct errbuf *eb) MUST_USE;

/* Whether a read may give more without a syscall: bytes, or a record not yet opened. */
bool tls_session_has_pending(const struct tls_session *s);
/* Of an established session of which nothing was heard for a while: gives back its buffers (34 KB),
 * if nothing is in them. */
void tls_session_rest(struct tls_session *s);
const struct tls_info *tls_session_info(const struct tls_session *s);

#endif
