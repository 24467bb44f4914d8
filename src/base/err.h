/*
 * err.h - how functions say that something outside the program failed.
 *
 * Such a function returns int: 0, or a negative code. Codes above ERR_OWN are
 * -errno, one to one; our own lie below. Text for people goes into a struct
 * errbuf that the caller supplies (may be NULL: the text is dropped).
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/defs.h"

enum err {
	ERR_OK = 0,
	ERR_OWN = -1000,     /* not an error: own codes lie below, -errno above */
	ERR_TOO_BIG = -1001, /* a limit we set was reached */
	ERR_SYNTAX = -1002,  /* text does not follow its grammar */
	ERR_CORRUPT = -1003, /* stored data fails its checksum or format */
	ERR_VERSION = -1004, /* stored data of a version we do not know */
	ERR_RANGE = -1005,   /* a number outside what is allowed */
	ERR_NOT_FOUND = -1006,
	ERR_CLOSED = -1007, /* the peer ended the stream in order */
	ERR_TIMEOUT = -1008,
	ERR_TLS = -1009,      /* TLS handshake or record failure */
	ERR_PROTOCOL = -1010, /* the peer broke the protocol */
	ERR_REFUSED = -1011,  /* asked for, understood, not allowed */
	ERR_BUSY = -1012,     /* in use by someone else; try later */
};

/* A short, stable name ("ENOSPC", "ERR_CORRUPT"); never NULL. */
const char *err_name(int err);

/* A phrase for people ("No space left on device"); never NULL; static storage, thread-safe. */
const char *err_text(int err);

struct errbuf {
	char text[512];
};

/*
 * Formats into eb (truncating); eb may be NULL. Returns err, so that `return errbuf_set(eb,
 * ERR_SYNTAX, ...)` reads well.
 */
int errbuf_set(struct errbuf *eb, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
