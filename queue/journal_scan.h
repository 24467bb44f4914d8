/*
 * journal_scan.h - which bytes of the journal count: the copies of a segment's
 * header, then record after record up to where the good ones end. The rules
 * that replay (journal_replay.c) and the offline check share; see READING in
 * postrider-queue.5. Reads and judges, never writes.
 */
#ifndef QUEUE_JOURNAL_SCAN_H
#define QUEUE_JOURNAL_SCAN_H

#include "queue/journal_record.h"
#include "queue/qio.h"

#define JOURNAL_SLOTS_MAX 64 /* files in journal/ */

char *journal_slot_name(unsigned slot, char buf[16]);
int journal_slot_parse(const char *name); /* the number, or ERR_SYNTAX if it is no segment's name */

struct journal_copies {    /* of a header */
	unsigned bad_copy; /* to be written first when the segment is used again */
	bool one_only;     /* the other copy is damaged, or of an earlier use */
};

/*
 * Two copies, synced one after the other, a bad one first: so a cut while they
 * are rewritten leaves one. The later of two good ones counts. 0: *h is good.
 * ERR_NOT_FOUND: none, and none that counted was ever there. ERR_CORRUPT: both
 * are damaged. ERR_VERSION, -errno.
 */
int journal_header_read(const struct qio *io, int fd, struct journal_header *h,
    struct journal_copies *copies) MUST_USE;

/* Where the good records of a segment end, as the header of the one written next says; 0: nobody
 * knows. */
uint64_t journal_limit(const struct journal_header *headers, size_t n, uint64_t sequence);

struct journal_scan {      /* fill in; records are read from `at` on */
	const char *bytes; /* of the file, from `base` to `have` */
	uint64_t base, have;
	uint64_t max; /* bytes that may count: up to the limit, or to the end of the file */
	bool limited; /* max is a limit: all before was durable */
	uint64_t sequence;
	uint32_t salt;
	uint64_t at; /* JOURNAL_HEADER_BYTES to begin with; when all is read, where it ended */

	/* Where `have` is less than max, journal_scan_next may ask for more: want is not 0, and it
	 * is to be called again with the bytes from `from` to `want` at hand, or beyond. */
	uint64_t from, want;
	uint64_t sought; /* its own: what is at `at` is no record; up to here no other begins */
	bool has_head;   /* its own: but a head */
};

struct journal_scanned { /* borrows from the scan's bytes */
	uint64_t at, bytes;
	bool damaged; /* these bytes were durable and are no record now; the rest is not set */
	bool torn;    /* at the end: here is a good head, but not a good record */
	struct journal_head head;
	struct slice front, body;
};

/* False at the end: of all, or where a torn batch begins that was never acknowledged; or for want
 * of bytes. */
bool journal_scan_next(struct journal_scan *s, struct journal_scanned *r);
/* With all bytes at hand. Of what is damaged there, head, front and f may be good all the same:
 * what is wrong is the body.
 */
bool journal_scan_front(const struct journal_scan *s, struct journal_scanned *r,
    struct journal_front *f);

#endif
