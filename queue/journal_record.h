/*
 * journal_record.h - the bytes of the intake journal: segment headers, record
 * heads, and what records hold. Pure encode and decode; see postrider-queue.5.
 *
 * A segment begins with a header block; records follow, each
 *
 *     head (40 bytes, own CRC) | front | body | zeros up to a multiple of 8
 *
 * A MESSAGE has in front its id, length and CRC of its body, and one envelope
 * for each destination; its body is the message's, unless that is in a file of
 * its own. An ENDS has in front a row of parts that need no journal any more; it
 * has no body. A REPORT is a MESSAGE with, at the end of its front, what became
 * of the recipients it is about: so there is one report of it, and it is
 * recorded, or there is neither.
 *
 * The head names the segment's sequence number, and its CRC starts from the
 * segment's salt. So what an earlier use of the same file left behind is never
 * taken for a record, nor is a body that was made to look like one: the salt
 * is chance, and new at each use.
 */
#ifndef QUEUE_JOURNAL_RECORD_H
#define QUEUE_JOURNAL_RECORD_H

#include "queue/envelope.h"
#include "queue/qid.h"

#define JOURNAL_HEADER_BYTES 4096 /* of a segment; the first record follows */
#define JOURNAL_HEADER_USED                                                                        \
	72 /* of them, twice: at 0 and at JOURNAL_HEADER_COPY_AT; the rest is zero */
#define JOURNAL_HEADER_COPY_AT 2048
#define JOURNAL_HEAD_BYTES     40 /* of a record */
#define JOURNAL_END_BYTES      24 /* of an entry of an ENDS */
#define JOURNAL_ALIGN          8

enum journal_type {
	JOURNAL_NONE = 0,
	JOURNAL_MESSAGE,
	JOURNAL_ENDS,
	JOURNAL_REPORT,
};

struct journal_header {
	uint64_t sequence;     /* of this use of the file; ascending, never used again */
	uint64_t oldest;       /* segments before this one hold nothing that counts */
	uint64_t previous;     /* sequence of the segment written before, 0: none */
	uint64_t previous_end; /* where its good records end: what follows there was never
				  acknowledged */
	uint64_t bytes;        /* of the file */
	uint32_t salt;
};

void journal_header_encode(const struct journal_header *h, unsigned char p[JOURNAL_HEADER_USED]);
/* ERR_CORRUPT: no header; ERR_VERSION: of another version. */
int journal_header_decode(const unsigned char p[JOURNAL_HEADER_USED],
    struct journal_header *h) MUST_USE;

struct journal_head {
	enum journal_type type;
	uint32_t front_bytes;
	uint32_t body_bytes;
	uint32_t front_crc;
	uint32_t batch_at; /* where the batch of this record begins: all before was durable when
			      this was written */
};

void journal_head_encode(const struct journal_head *h, uint64_t sequence, uint32_t salt,
    unsigned char p[JOURNAL_HEAD_BYTES]);
int journal_head_decode(const unsigned char p[JOURNAL_HEAD_BYTES], uint64_t sequence, uint32_t salt,
    struct journal_head *h) MUST_USE;
/* Where the next place is that may hold a head: at a multiple of JOURNAL_ALIGN from p; n if there
 * is none. */
size_t journal_head_find(const char *p, size_t n);
uint64_t journal_record_bytes(const struct journal_head *h); /* with head and padding */

struct journal_body { /* of a MESSAGE */
	uint64_t bytes;
	uint32_t crc;
	bool in_file; /* body/ID; else it stands behind the front */
};

struct journal_front { /* of a MESSAGE, borrowed from its bytes */
	struct qid id;
	struct journal_body body;
	uint32_t parts_n;
	struct slice lengths; /* of the envelopes, u32 each */
	struct slice envelopes;
	struct slice outcome; /* of a REPORT; else empty */
};

/* Appends to out; envelopes[i] is part i + 1. */
int journal_front_encode(struct qid id, const struct journal_body *body,
    const struct envelope *const *envelopes, size_t n, struct buf *out) MUST_USE;
int journal_front_decode(struct slice in, struct journal_front *f) MUST_USE;
/* What stands behind the front is the body it speaks of, or nothing when that is in a file; else
 * ERR_CORRUPT. */
int journal_front_check_body(const struct journal_front *f, struct slice behind) MUST_USE;
/* The envelope of a part; checks that it is of this message and part. */
int journal_front_envelope(const struct journal_front *f, unsigned part,
    struct envelope **e_r) MUST_USE;
/* Of an envelope no more than that: what else is wrong shows when it is read. */
int journal_front_brief(const struct journal_front *f, unsigned part,
    struct envelope_brief *b) MUST_USE;

struct journal_outcome { /* what a REPORT reports */
	struct qid id;
	unsigned part;
	bool over;            /* all recipients of that part have a final fate */
	struct slice entries; /* as in outcome records, see tail.h */
};

/* Appends to out, which ends with the front of the report's message. */
int journal_outcome_encode(const struct journal_outcome *o, struct buf *out) MUST_USE;
int journal_outcome_decode(struct slice in, struct journal_outcome *o) MUST_USE;

enum journal_end {
	JOURNAL_END_NONE = 0,
	JOURNAL_END_FINAL,  /* all its recipients have a final fate */
	JOURNAL_END_PARKED, /* it has a queue file */
	JOURNAL_END_TOLD,   /* the outcome of a REPORT, as the part behind its last: its queue
			       file says it, or is gone */
};

void journal_end_encode(struct qid id, unsigned part, enum journal_end end,
    unsigned char p[JOURNAL_END_BYTES]);
int journal_end_decode(const unsigned char p[JOURNAL_END_BYTES], struct qid *id,
    unsigned *part) MUST_USE;

#endif
