/*
 * work.h - which items are in work, so that one poisonous message can't keep
 * us down: SPOOL/state/work says it, and survives the death of the process
 * (it is never synced: a power cut is no message's fault).
 *
 * An item is in work from queue_begin_work until it rests or is gone. One that
 * was when the process died gets a crash to its count, until an attempt of it
 * comes to its end. One crash says little, and many are in work at it. At the
 * second in a row an item is a suspect: these are tried one at a time, so that
 * the next crash counts for one of them only; one that has been in work for
 * WORK_ALONE_MS without harm is not in its way any longer, nor does the next
 * crash count for it. At WORK_CRASHES_MAX the item is to be held. A clean stop
 * clears all counts.
 *
 * What is not recorded: an item taken up from memory that kills us in the same
 * turn of the loop. At the next start it is read from the disk first, so it is
 * recorded then. Loop thread only.
 */
#ifndef QUEUE_WORK_H
#define QUEUE_WORK_H

#include "base/map.h"
#include "queue/qid.h"
#include "queue/qio.h"

#define WORK_SLOT_BYTES  32
#define WORK_SLOTS_MAX   65536 /* what is beyond is not recorded */
#define WORK_SLOTS_MIN   128   /* written at start: a block, to be had when the disk is full */
#define WORK_CRASHES_MAX 3
#define WORK_SUSPECT     2 /* crashes, from which on it is tried alone */
#define WORK_ALONE_MS    10000
#define WORK_WAKE_MS     1000

struct work_slot { /* all zero: free */
	struct qid id;
	unsigned part;
	unsigned crashes;
	bool in_work;
	bool found; /* its item is there */
};

struct work {
	const struct qio *io;
	int dir, fd; /* -1: can't be written; nothing is recorded then */
	struct work_slot *slots;
	size_t slots_n;
	size_t free_from;  /* no slot before it is free */
	struct map by_key; /* id and part -> its index + 1 */
	size_t suspects_n; /* slots with crashes */
	size_t dirty_from, dirty_to;
	bool is_up; /* the queue is open: its close is a clean stop */
	bool has_failed;
	size_t alone;           /* index + 1 of the suspect in work; 0: none */
	int64_t alone_until_ms; /* mono */
};

enum work_answer {
	WORK_NONE = 0,
	WORK_GO,
	WORK_WAIT,   /* another suspect is in work */
	WORK_POISON, /* to be held */
};

void work_init(struct work *w, const struct qio *io, uint64_t seed);
void work_open(struct work *w, int state_dir); /* reads what the last process left */
void work_close(struct work *w);               /* after is_up: all counts are cleared */
void work_write(struct work *w);               /* what has changed, in one call to the disk */

enum work_answer work_begin(struct work *w, struct qid id, unsigned part, int64_t mono_ms);
/* clean: its attempt has come to an end, or the item has. True if it was the suspect in work. */
bool work_end(struct work *w, struct qid id, unsigned part, bool clean);
/* Its item is there; returns in how many crashes it was in work. */
unsigned work_found(struct work *w, struct qid id, unsigned part);
void work_forget_lost(struct work *w);             /* suspects that were not found */
bool work_may_go(struct work *w, int64_t mono_ms); /* a suspect may be begun */

#endif
