/*
 * journal.h - the intake journal: where accepted mail is made durable, and
 * where it stays while it only passes through. What must rest moves to a queue
 * file (batch_park.c). The bytes are journal_record.h's business.
 *
 *     SPOOL/journal/NNNNNNNN   segments, of one size, written with zeros once
 *     SPOOL/body/ID            bodies that came to a file: journal_body.c
 *
 * States of a segment, and what moves it:
 *
 *     FREE   a file on disk that holds nothing that counts   create_slot, advance
 *     HEAD   takes records; header synced before the first   journal_rotate
 *     FULL   takes no more; some of its mail is still here   journal_rotate
 *     DEAD   a write or sync failed: never written again     a failed batch
 *
 *     FREE -> HEAD -> FULL -> FREE;  HEAD -> DEAD -> (doomed, then removed)
 *
 * and of a part (a message for one destination) that was accepted into it:
 *
 *     LIVE    its record is the only copy
 *     MOVING  LIVE, while its queue file is being written  journal_take
 *     PARKED  its queue file is durable                    journal_parked
 *     DONE    all its recipients have a final fate         journal_end
 *     DAMAGED its record can't be read; saved in corrupt/  journal_damaged
 *     EFFECT  what a report says of another item           journal_effect.c
 *
 *     LIVE <-> MOVING -> PARKED;  LIVE -> DONE;  LIVE or MOVING -> DAMAGED
 *     MOVING -> DONE  by a report: journal_reported;  EFFECT -> DONE
 *
 * Commit. Those who come while a batch is being synced wait together for the
 * next sync: their turn. Whoever then finds the pen free, one of them or one
 * who comes later, writes all that has gathered and what comes while it writes,
 * with one fdatasync; when that has returned, all of the turn are told at once.
 * The next batch is written only then. Those just told may be on their way
 * back: before the sync they get the processor, until all are back or none
 * comes, as long as the batch is small. A message is one record however many
 * destinations it has, so it is there or it is not.
 *
 * Ends (PARKED, DONE) are gathered in memory, ride along with the next batch,
 * and are written by journal_sync: for a PARKED before its move is told, for a
 * DONE within a second. A crash forgets those not yet synced. For a DONE that
 * is law 3's duplicate. For a PARKED nothing is lost: a part of segment s only
 * ever moves to sub-directory s % 64, so replay looks there for the queue
 * files of what it finds live, and the file wins. So no such file is unlinked
 * while a PARKED is not synced (journal_secure).
 *
 * Order of reuse. Segments become FREE strictly from the oldest on, and each
 * new header names the oldest that counts. So the ends of a part always
 * outlive its message's record; and should a header written over an old
 * segment not have reached the disk, the old content is still ignored. One
 * that is not to be used again (it failed, or a body is still read from it)
 * keeps its name until such a header is durable: without its ends the mail of
 * older ones, whose headers are still good, would be back.
 *
 * A batch that failed. Its messages are answered 451, its records may be on
 * disk all the same. The segment is DEAD from its last durable byte on: the
 * next header says where that is ("previous_end"), and replay reads no further.
 * That header is written at the next commit, journal_sync or close. A crash
 * before it may bring such a message back, once, as S3 in spool.h does: it was
 * never acknowledged, the client sends it again, law 3 allows that. It can't
 * come back later: nothing is ever written behind it, and once there is a next
 * header, nothing behind previous_end is looked at. Its ends stay in memory
 * and are written again.
 *
 * A crash. Replay reads the segments in order. In the last one it ends at the
 * first record that is not whole; each record says how much was durable when
 * it was written (batch_at), so a bad record with good ones of a later batch
 * behind it is damage, not a torn tail: what it was is copied to corrupt/ and
 * the rest is read. The last batch is written again as it is, and synced: what
 * was read may stand in a cache alone. Nothing else is written, a second replay
 * finds the same, and a new segment is begun.
 *
 * Threads. All but journal_open, journal_close and the journal_replayed walk
 * may be called from any thread.
 */
#ifndef QUEUE_JOURNAL_H
#define QUEUE_JOURNAL_H

#include "queue/journal_record.h"
#include "queue/spool.h"
#include "queue/tail.h"

struct journal;
struct journal_segment;

struct journal_options {
	uint64_t segment_bytes; /* 0: 1/64 of the filesystem, at least 4 and at most 64 MiB */
	unsigned segments_max;  /* 0: 16, or what 1/8 of the filesystem holds; at least 4 */
	uint64_t keep_bytes;    /* no segment for messages is made that would leave less free */
	uint64_t seed;
	int64_t age_ms; /* mail of a segment filled so long ago is to leave; 0: 5 minutes */
	bool read_only; /* messages are refused (JOURNAL_PASS); what is there is served */
};

enum journal_place {
	JOURNAL_NOWHERE = 0,
	JOURNAL_LIVE,
	JOURNAL_MOVING,
	JOURNAL_PARKED,
	JOURNAL_DONE,
	JOURNAL_DAMAGED,
	JOURNAL_EFFECT, /* no part of the message: the outcome its REPORT holds */
};

struct journal_part { /* opaque for callers, but number */
	struct journal_msg *msg;
	struct tail tail; /* PARKED: of its queue file */
	uint16_t number;  /* from 1 */
	uint8_t place;    /* enum journal_place */
};

int journal_open(struct journal **j_r, const struct journal_options *opt, struct spool *spool,
    struct errbuf *eb) MUST_USE;        /* replays */
void journal_close(struct journal **j); /* parts must have been released; sync before */

/* What replay found live. Each part comes once; fn becomes its owner (journal_release). */
typedef void journal_found_fn(void *arg, struct journal_part *part, struct qid id,
    const struct envelope_brief *b);
int journal_replayed(struct journal *j, journal_found_fn *fn, void *arg) MUST_USE;

/* --- commit --------------------------------------------------------------------- */

#define JOURNAL_PASS 1 /* as a result: not taken, nothing written; use queue files */

struct journal_entry { /* one message on its way in */
	struct list_node node;
	struct buf front;
	const char *body;              /* borrowed until the commit returns; NULL: in a file */
	struct journal_effect *effect; /* of a REPORT, until it is accepted */
	struct journal_head head;
	struct journal_msg *msg; /* once accepted: the caller owns each of its parts */
	int result;              /* 0, JOURNAL_PASS, or the error */
};

/* Encodes; result JOURNAL_PASS if it is too large for the journal, or an error of the envelopes. */
void journal_entry_init(struct journal *j, struct journal_entry *e, struct qid id,
    const struct envelope *const *envelopes, size_t n, const char *bytes,
    const struct journal_body *body);
/* Makes it the report of an outcome: of recipients of another item, as its envelope has them now.
 * The outcome is durable when the message is, and held until journal_effects_end or _leave. It may
 * use what is kept for ends. Where a failed commit may still be found by a crash, it is refused
 * rather than passed: there must be one report. */
void journal_entry_report(struct journal *j, struct journal_entry *e,
    const struct journal_outcome *o);
void journal_entry_fini(struct journal_entry *e); /* after the commit */
void journal_entry_drop(struct journal_entry *e); /* without one */
/* Durable, or not there, when it returns; entries with a result already are left out. */
void journal_commit(struct journal *j, struct journal_entry *const *entries, size_t n);
struct journal_part *journal_msg_part(struct journal_msg *m, unsigned number);

/* --- a body in a file ------------------------------------------------------------- */

/* Before its message's commit: from tmp/ to body/; then one sync for all of a batch. */
int journal_body_publish(struct journal *j, struct qid id) MUST_USE;
int journal_body_sync(struct journal *j) MUST_USE;
int journal_body_take_back(struct journal *j, struct qid id) MUST_USE; /* to tmp/: JOURNAL_PASS */
/* The message is not accepted: the file goes, if its record was written only once that can't come
 * back. */
void journal_body_refused(struct journal *j, struct qid id, bool written);

/* --- a part ---------------------------------------------------------------------- */

/* LIVE -> DONE; waits while it is MOVING. Returns what it is then: DONE, PARKED or DAMAGED. */
enum journal_place journal_end(struct journal *j, struct journal_part *p);
/* LIVE -> MOVING, waiting while another moves it. Returns MOVING: it is the caller's to move; else
 * PARKED or DAMAGED. */
enum journal_place journal_take(struct journal *j, struct journal_part *p);
/* MOVING -> DONE, all its recipients having a final fate; in_record: as a REPORT says, so that no
 * end need be noted. */
void journal_reported(struct journal *j, struct journal_part *p, bool in_record);
void journal_give_back(struct journal *j, struct journal_part *p); /* MOVING -> LIVE */
void journal_parked(struct journal *j, struct journal_part *p,
    const struct tail *tail); /* MOVING -> PARKED */
enum journal_place journal_place(struct journal *j, const struct journal_part *p,
    struct tail *tail); /* tail set when PARKED; may be NULL */
unsigned journal_part_dir(
    const struct journal_part *p); /* the sub-directory its queue file belongs in */
struct qid journal_part_id(const struct journal_part *p);
void journal_keep(struct journal *j, struct journal_part *p); /* one more owner */
void journal_release(struct journal *j,
    struct journal_part **p); /* the owner forgets it; the record stays as it is */

struct journal_mail {
	struct envelope *envelope; /* with the outcomes that reports hold */
	bool told;                 /* there are such */
	char *mem; /* the body, heap; NULL: in a file of its own, not verified yet */
	uint64_t body_bytes;
	uint32_t body_crc;
	const struct qio *io;
	struct journal_segment *segment; /* a reference, for journal_segment_unref; or NULL: */
	int fd;                          /* is the caller's to close */
	uint64_t body_at;                /* in fd */
};

/* Reads and verifies. ERR_NOT_FOUND: it is PARKED (or DONE): look there. ERR_CORRUPT: see
 * journal_damaged. A body in a file is only found and measured. */
int journal_read(struct journal *j, struct journal_part *p, struct journal_mail *out) MUST_USE;
void journal_mail_fini(struct journal_mail *m); /* whatever the caller has not taken and nulled */
void journal_segment_unref(void *segment);      /* any thread, even after journal_close */

/* After ERR_CORRUPT: its record goes to corrupt/, and the part is DAMAGED; or an error, and it
 * stays LIVE. */
int journal_damaged(struct journal *j, struct journal_part *p) MUST_USE;

/* --- outcomes that reports hold ---------------------------------------------------- */

/* Those of an item, in their order; false if there are none. */
bool journal_effects_apply(struct journal *j, struct qid id, unsigned part, struct envelope *e);
/* Its queue file says all that they do, synced. */
void journal_effects_end(struct journal *j, struct qid id, unsigned part);
/* The item is gone: they end once these sub-directories (a bit each) are synced. */
void journal_effects_leave(struct journal *j, struct qid id, unsigned part, uint64_t dirs);
int journal_effects_sync(struct journal *j) MUST_USE; /* that */

struct journal_owed { /* an item with effects */
	struct qid id;
	unsigned part;
};

struct journal_owed *journal_effects_list(struct journal *j, size_t *n); /* heap, or NULL */

/* --- upkeep ---------------------------------------------------------------------- */

/* journal_sync or journal_collect has something to do. The time makes mail grow old. */
bool journal_is_dirty(struct journal *j, int64_t mono_ms);
int journal_sync(struct journal *j)
    MUST_USE; /* ends to disk; a next header after a failed batch; a spare segment in time */
/* LIVE parts that are to leave: of the oldest segment when more than half of the segments are in
 * use, and those that grew old. Now MOVING and the caller's to move; at most max, fewer when bodies
 * are long. */
size_t journal_collect(struct journal *j, struct journal_part **parts, size_t max);
/* 0 once the journal knows for good of all queue files made of its mail. Until then none of them
 * may be unlinked: a crash would find the mail LIVE and no file, and deliver it again as it came.
 */
int journal_secure(struct journal *j) MUST_USE;
bool journal_is_crowded(struct journal *j); /* more ends in memory than should be: sync early */

#endif
