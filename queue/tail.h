/*
 * tail.h - outcome records: what became of recipients, appended to their
 * queue file. Pure encode and decode; see postrider-queue.5.
 *
 * A record is self-checking: magic, payload length, sequence number, CRC32C
 * over these and the payload, started from the CRC of the file's own head, so
 * that neither a record of another file nor one left by an earlier, failed
 * append at this place is taken for good. A recipient's entry says all that
 * is known of it, so reading records in order ends in the last state.
 */
#ifndef QUEUE_TAIL_H
#define QUEUE_TAIL_H

#include <sys/types.h>

#include "queue/envelope.h"

#define TAIL_HEAD_BYTES  16
#define TAIL_PAYLOAD_MAX (64 * 1024)
#define TAIL_APPEND_MAX  (UINT64_C(1) << 30) /* bytes of records in one append */

struct tail {             /* where a file's next record goes */
	uint64_t end;     /* one past the last good record; without one, past the body */
	uint32_t records; /* good ones so far */
	uint32_t seed;    /* CRC of the file's head */
};

/* Appends records for rcpts[0..n) (indexes) to out, and moves *t on. As many records as needed:
 * each recipient is in one of them. */
int tail_encode(const struct envelope *e, const uint32_t *rcpts, size_t n, struct tail *t,
    struct buf *out) MUST_USE;

/* The payload length a record head claims, or ERR_CORRUPT if it is no head of the next record. */
ssize_t tail_decode_head(const unsigned char head[TAIL_HEAD_BYTES], const struct tail *t) MUST_USE;

/* Applies a record to the envelope and moves *t on. ERR_CORRUPT: nothing was applied. */
int tail_decode(const unsigned char head[TAIL_HEAD_BYTES], struct slice payload, struct tail *t,
    struct envelope *e) MUST_USE;

/* Entries alone, as the journal keeps them with a report. Appends to out. */
int tail_encode_entries(const struct envelope *e, const uint32_t *rcpts, size_t n,
    struct buf *out) MUST_USE;
bool tail_check_entries(struct slice in); /* each can be one */
/* Applies those that say something later than the envelope: it may have come from a file that had
 * them already, and more since. A final fate stays. */
void tail_apply_entries(struct slice in, struct envelope *e);

#endif
