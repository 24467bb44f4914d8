/*
 * spool.h - the directories of the spool, the names in them, and how a file
 * comes and goes. The bytes inside a file are qfile.h's business.
 *
 *     SPOOL/queue/00 .. 3f   queue files, named due.attempts.state.id.domain
 *     SPOOL/journal          the intake journal: see journal.h
 *     SPOOL/body             bodies that its records name: see journal_body.c
 *     SPOOL/tmp              files being written; emptied at start
 *     SPOOL/corrupt          damaged queue files, damaged parts of the journal, and nothing else
 *     SPOOL/state            lock, epoch
 *
 * States of a queue file on disk, and what moves it (-> the function):
 *
 *     S0  nothing
 *     S1  in tmp/, being written                  qfile_write
 *     S2  in tmp/, data synced                    batch: sync
 *     S3  in queue/NN, name not synced            spool_publish
 *     S4  in queue/NN, name synced                spool_sync
 *     S5  as S4, with an unsynced outcome record  qfile_append
 *     S6  as S4, record synced, old name          batch: sync
 *     S7  as S4, renamed, rename not synced       spool_rename
 *     S8  unlinked, unlink not synced             spool_remove
 *     S9  in corrupt/                             spool_quarantine
 *
 *     S0 -> S1 -> S2 -> S3 -> S4 (-> S5 -> S6 -> S7 -> S4)* -> S8 -> S0
 *     S4 -> S9; and S1, S2, S3 -> S0 when the commit fails
 *
 * A message is acknowledged when all its files are in S4, never before. A
 * crash leaves of a file in
 *
 *     S1 S2   a file in tmp/, removed at the next start
 *     S3      either of S2 and S4. A message of several files may so survive in
 *             part without having been acknowledged: the client sends it again,
 *             and some destinations get it twice (law 3 allows that)
 *     S5      S4 with a torn or whole record behind the last good one: read up to
 *             the last good one. A whole one may be in the cache alone, if its sync failed:
 *             what was read is written again with the next record (qfile_renew)
 *     S6 S7   S4 with the new or the old name: the record is the truth
 *     S8      S4 (delivered again: law 3) or S0
 *
 * Sub-directories with renames or unlinks that are not synced yet have a bit
 * in `dirty`; whoever syncs one takes the bit first, so that nothing that
 * happens meanwhile is forgotten.
 *
 * Thread rule: functions work on any thread, at the same time, on different
 * files; spool_open, spool_close and the start-up scan on one.
 */
#ifndef QUEUE_SPOOL_H
#define QUEUE_SPOOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "queue/qid.h"
#include "queue/qio.h"

#define SPOOL_DIRS       64
#define SPOOL_NAME_MAX   256 /* of a file, with NUL */
#define SPOOL_DOMAIN_MAX 160 /* longer ones are hashed in the name */

struct spool {
	const struct qio *io;
	int root, queue, journal, body, tmp, corrupt, state, lock; /* descriptors */
	int dirs[SPOOL_DIRS];
	uint32_t epoch; /* of this start: in the ids made by it */
	atomic_uint next_dir;
	_Atomic uint64_t dirty;
	atomic_bool corrupt_dirty;
	_Atomic uint64_t syncs;
	_Atomic uint64_t quarantined;
	pthread_mutex_t orphans_lock;
	struct list_node orphans; /* files of failed commits that could not be unlinked yet */
	atomic_size_t orphans_left;
};

/* Makes what is missing, tightens modes, takes the lock (ERR_BUSY), empties tmp/, counts the epoch
 * up. */
int spool_open(struct spool *s, const char *directory, const struct qio *io,
    struct errbuf *eb) MUST_USE;
/* For the offline check: opens what is there and takes the lock (ERR_BUSY); changes nothing, but
 * state/lock is made. Folders that are missing have descriptor -1: until spool_complete has made
 * them, nothing may be moved or written. ERR_NOT_FOUND: this is no spool. */
int spool_open_to_check(struct spool *s, const char *directory, const struct qio *io,
    struct errbuf *eb) MUST_USE;
int spool_complete(struct spool *s, struct errbuf *eb) MUST_USE;
void spool_close(struct spool *s); /* does not sync */

/* --- names ------------------------------------------------------------------ */

struct spool_name {
	int64_t due_ms;
	unsigned attempts;
	bool held;
	struct qid id;
	unsigned part;
	struct slice domain; /* or its label "~hash" */
};

/* How a domain stands in a name: itself, or "~" and 16 hex digits when it is long or has odd
 * characters. */
char *spool_label(struct slice domain, char buf[SPOOL_DOMAIN_MAX + 1]);
char *spool_name_format(const struct spool_name *n, char buf[SPOOL_NAME_MAX]);
/* ERR_SYNTAX for anything spool_name_format does not write. The domain borrows from text. */
int spool_name_parse(struct slice text, struct spool_name *n) MUST_USE;

/* Whether it is the name of a file with that envelope: a whole file under the name of another is as
 * wrong as a damaged one. */
bool spool_name_fits(const struct spool_name *n, const char *queue_id, const char *domain);

/* --- moving files ------------------------------------------------------------- */

unsigned spool_pick_dir(struct spool *s); /* one per batch, in turn */
int spool_publish(struct spool *s, const char *tmp_name, unsigned dir, const char *name) MUST_USE;
int spool_rename(struct spool *s, unsigned dir, const char *from,
    const char *to) MUST_USE; /* the same name: nothing to do */
int spool_remove(struct spool *s, unsigned dir,
    const char *name) MUST_USE; /* -ENOENT if it was gone */
int spool_sync(struct spool *s, unsigned dir) MUST_USE;
bool spool_is_dirty(const struct spool *s);
int spool_sync_dirty(struct spool *s)
    MUST_USE; /* all of them, and removes orphans; the first error, but tries all */

/* Of a failed commit: unlinks from queue/NN, or from tmp/ when dir is SPOOL_TMP; what can't be
 * unlinked now is tried again by spool_sync_dirty. */
#define SPOOL_TMP SPOOL_DIRS
void spool_discard(struct spool *s, unsigned dir, const char *name);
void spool_remove_orphans(struct spool *s); /* that try, now */

/* Moves a damaged file to corrupt/ under its name (".1" ... added if taken), counts and logs it. */
int spool_quarantine(struct spool *s, unsigned dir, const char *name, const char *why) MUST_USE;
/* The same for one of two files with the same queue id, of which the other stays: ".twin" is added,
 * so that nobody takes it for mail that waits. */
int spool_quarantine_twin(struct spool *s, unsigned dir, const char *name) MUST_USE;
/* Copies bytes of a file to corrupt/name, durably, counts and logs it. Saved before under that
 * name: nothing to do. */
int spool_save_corrupt(struct spool *s, int fd, uint64_t at, uint64_t n, const char *name,
    const char *why) MUST_USE;
int spool_quarantine_segment(struct spool *s, const char *name,
    const char *why) MUST_USE; /* of the journal: as "journal.NAME.0" ... */
int spool_restore(struct spool *s, const char *corrupt_name, unsigned dir,
    const char *name) MUST_USE;            /* out of corrupt/ */
void spool_count_corrupt(struct spool *s); /* one more, moved there by the caller */

/* --- start-up (spool_recover.c) -------------------------------------------------- */

int spool_empty_tmp(struct spool *s) MUST_USE;
int spool_read_epoch(struct spool *s, uint64_t *epoch) MUST_USE; /* ERR_CORRUPT; 0: there is none */
int spool_write_epoch(struct spool *s, uint64_t epoch) MUST_USE;
int spool_next_epoch(struct spool *s, uint32_t *epoch) MUST_USE;

/* The names of the queue files of a sub-directory: all are read at once (blocking; any thread),
 * then looked at one by one. Foreign names are left alone, with one warning at the end. */
struct spool_names;
int spool_names_read(struct spool *s, unsigned dir, struct spool_names **n_r) MUST_USE;
bool spool_names_next(struct spool_names *n, struct spool_name *name); /* borrows; false: the end */
void spool_names_free(struct spool_names **n);                         /* NULL is fine */
/* Reads them and gives each to fn. */
typedef void spool_scan_fn(void *arg, unsigned dir, const struct spool_name *name);
int spool_scan(struct spool *s, unsigned dir, spool_scan_fn *fn, void *arg) MUST_USE;
/* The same for the message ids that are names in body/. */
typedef void spool_body_fn(void *arg, struct qid id);
int spool_scan_bodies(struct spool *s, spool_body_fn *fn, void *arg) MUST_USE;

#endif
