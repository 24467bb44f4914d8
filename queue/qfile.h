/*
 * qfile.h - the bytes of one queue file: head, envelope, body, tail.
 *
 *     head (48 bytes, own CRC) | envelope | room | body | outcome records
 *
 * The room between envelope and body is empty unless the body was written
 * before the envelope was known (a spilled body) or is aligned so that
 * filesystems can share its blocks between the files of one message. All
 * functions block; none keeps state: any thread may call them, on different
 * files. The layout to the byte is in postrider-queue.5.
 */
#ifndef QUEUE_QFILE_H
#define QUEUE_QFILE_H

#include "queue/qio.h"
#include "queue/tail.h"

#define QFILE_RESERVE_BYTES   4096        /* kept free in front of a spilled body */
#define QFILE_BODY_MEMORY_MAX (64 * 1024) /* bodies up to here are read into memory by a load */

struct qfile_body {      /* where the body to be written is now */
	const char *mem; /* in memory, or */
	int fd;          /* in this file, or -1 */
	uint64_t fd_at;
	bool in_place; /* the file written is fd itself, the body already at QFILE_RESERVE_BYTES */
	uint64_t bytes;
	uint32_t crc;
};

/* Writes a new file. In place: ERR_TOO_BIG, with nothing written, if head and envelope don't fit in
 * front of the body. Not synced. */
int qfile_write(const struct qio *io, int fd, const struct envelope *e,
    const struct qfile_body *body, struct tail *tail) MUST_USE;

/* Appends outcome records for the recipients named; *tail becomes the new end, to be kept only once
 * the file is synced. ERR_CORRUPT if the file is shorter than it was. */
int qfile_append(const struct qio *io, int fd, const struct envelope *e, const uint32_t *rcpts,
    size_t n, struct tail *tail) MUST_USE;

/* Writes again what stands in a part of the file, so that the next sync brings it to the medium.
 * What was read may be there in the cache only: of an append whose sync failed nothing is written
 * any more, and whoever found that out may be dead. */
int qfile_renew(const struct qio *io, int fd, uint64_t from, uint64_t to) MUST_USE;

struct qfile_loaded {
	struct envelope *envelope; /* with outcomes applied */
	struct tail tail;
	uint64_t tail_at; /* where its records begin */
	char *mem;        /* the body, heap, when it is short; else NULL */
	uint64_t body_at;
	uint64_t body_bytes;
	bool torn;       /* bytes after the last good record were ignored */
	const char *why; /* for ERR_CORRUPT and ERR_VERSION: a phrase */
};

/* Reads a body through; ERR_CORRUPT if it is short or not as it was. */
int qfile_check_body(const struct qio *io, int fd, uint64_t at, uint64_t bytes,
    uint32_t crc) MUST_USE;

/* Reads and verifies everything; the body is read through once. */
int qfile_load(const struct qio *io, int fd, struct qfile_loaded *out) MUST_USE;
/* The envelope with its outcomes; the body is neither read nor verified. */
int qfile_look(const struct qio *io, int fd, struct envelope **e_r) MUST_USE;
/* The envelope alone, as it was at first: of a file that may be damaged behind it. */
int qfile_load_envelope(const struct qio *io, int fd, struct envelope **e_r) MUST_USE;

#endif
