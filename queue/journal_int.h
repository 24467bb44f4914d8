/*
 * journal_int.h - what the files of the journal share. Private to them.
 *
 * Everything in struct journal belongs to `lock`, but: what never changes; the
 * head's end, closed, and the last_ fields, which belong to whoever has the pen
 * (writing); a segment's refs; away, which is read by whoever has the pen.
 */
#ifndef QUEUE_JOURNAL_INT_H
#define QUEUE_JOURNAL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/prng.h"
#include "queue/journal.h"
#include "queue/journal_scan.h"

#define JOURNAL_SLOTS_EXTRA 4 /* of them, begun for ends alone when messages have all others */
#define JOURNAL_ENDS_MAX                                                                           \
	(64 * 1024 * 1024) /* bytes of ends in memory, when the disk refuses them */
#define JOURNAL_ENDS_CROWDED (256 * 1024)

struct journal_segment {
	struct list_node node; /* in used (ascending sequence) or free */
	const struct qio *io;
	unsigned slot;
	int fd;
	uint64_t bytes; /* of the file */
	uint64_t sequence;
	uint32_t salt;
	uint64_t end;      /* of its good records */
	uint64_t seen_end; /* where that was at seen_ms (monotonic); 0: not seen yet */
	int64_t seen_ms;
	uint64_t old_end;      /* records before this are to leave */
	struct list_node msgs; /* with live parts */
	size_t live;           /* parts LIVE or MOVING */
	atomic_size_t refs;    /* the journal's own, readers, bodies */
	unsigned bad_copy;     /* of its header: written first */
	bool dead;
};

struct journal_msg {
	struct list_node node;           /* in its segment while some part is live */
	struct journal_segment *segment; /* borrowed; valid while a part is live */
	uint64_t sequence;               /* the segment's */
	struct qid id;
	uint64_t at; /* its record */
	uint32_t front_bytes, body_bytes;
	bool in_file; /* the body */
	uint32_t live;
	uint32_t refs; /* parts somebody owns */
	uint32_t parts_n;
	struct journal_effect *effect; /* its last part, or NULL */
	struct journal_part parts[];
};

struct journal_turn { /* journal_turn.c */
	atomic_uint word;
	atomic_size_t refs;
	unsigned waiters; /* who have come to wait for it: the lock's */
};

struct journal {
	const struct qio *io;
	struct spool *spool;
	uint64_t segment_bytes;
	uint64_t record_max; /* larger messages pass */
	uint64_t reserve;    /* at a segment's end, for ends alone */
	uint64_t keep_bytes;
	unsigned segments_max;
	bool read_only;
	int64_t age_ms;

	pthread_mutex_t lock;
	pthread_cond_t changed;      /* a batch is done, a part no longer MOVING, or a file made */
	struct list_node waiting;    /* entries to be written */
	struct journal_turn *open;   /* theirs */
	struct journal_turn *closed; /* of the batch that is being synced; whoever has the pen */
	atomic_uint away;            /* of those told last, how many have not come again */
	struct buf ends;             /* to be written */
	uint64_t ends_noted;         /* bytes of all there ever were, */
	uint64_t ends_durable;       /* of those on disk, */
	uint64_t parked_noted;       /* and of those up to the last PARKED */
	struct map effects;          /* id and part of an item -> struct journal_effect */
	atomic_size_t effects_n;     /* items in it: most operations need not ask */
	struct list_node leaving;    /* of items that are gone */
	struct list_node over;       /* bodies in files that are to go */
	bool bodies_stay;            /* until the next start: an end was forgotten */
	bool writing;                /* someone has the pen */
	int last_result;             /* of the last batch */
	bool seal; /* the next header is due: a batch failed, and none says so yet */
	struct list_node used, free;
	size_t used_n, free_n;
	atomic_uint made; /* files: names them in tmp/ */
	unsigned slots_n; /* files, used and free and being made */
	uint64_t slots;   /* a bit each */
	uint64_t doomed;  /* of them, those to be removed once a newer header is durable */
	uint64_t zombies; /* of them, those whose file is to go but can't be removed yet */
	bool complained;  /* of that, in the log */
	unsigned making;  /* threads that make a file: one who needs it waits */
	bool no_more;     /* making a file failed: for messages tried again by journal_sync only */
	struct journal_segment *head; /* NULL: the next batch begins a new one */

	struct prng prng;
	uint64_t sequence;                /* the highest seen or given */
	uint64_t last_sequence, last_end; /* of the segment written last */
	struct list_node
	    found; /* journal_msg with live parts, after replay, until journal_replayed */
};

/* journal_segment.c */
int journal_rotate(struct journal *j,
    bool for_messages); /* has the pen. A new head; -ENOSPC: none to be had; else what failed */
int journal_make_spare(struct journal *j, bool for_messages);
bool journal_wants_spare(const struct journal *j); /* locked */
void journal_advance(struct journal *j); /* locked: frees what is drained, from the oldest on */
void journal_abandon(struct journal *j,
    struct journal_segment *s);       /* locked; in no list: its file goes away */
void journal_bury(struct journal *j); /* locked: tries to remove the zombies again */
struct journal_segment *journal_segment_new(struct journal *j, unsigned slot, int fd);

/* journal.c */
struct journal_msg *journal_msg_new(struct qid id, unsigned parts_n, const struct journal_head *h);

/* journal_turn.c */
struct journal_turn *journal_turn_new(void);
struct journal_turn *journal_turn_ref(struct journal_turn *t);
void journal_turn_unref(struct journal_turn *t);
void journal_turn_end(struct journal_turn *t);  /* locked: all of its entries have results */
void journal_turn_call(struct journal_turn *t); /* locked: one of its waiters may take the pen */
void journal_turn_wake_all(struct journal_turn *t); /* after journal_turn_end */
void journal_turn_wake_one(struct journal_turn *t); /* after journal_turn_call */
bool journal_turn_is_over(const struct journal_turn *t);
unsigned journal_turn_word(const struct journal_turn *t); /* locked */
/* Until it is over or called since journal_turn_word, or earlier. */
void journal_turn_wait(struct journal_turn *t, unsigned word);

/* journal_part.c */
void journal_part_over(struct journal *j, struct journal_part *p,
    enum journal_place place); /* locked: live no more; notes the end */
void journal_part_left(struct journal *j, struct journal_part *p,
    enum journal_place place); /* locked: that without the note */
void journal_msg_drop(
    struct journal_msg *m); /* locked: freed if nobody owns a part and none is live */

/* journal_effect.c; all locked */
struct journal_effect *journal_effect_new(struct journal_msg *m,
    const struct journal_outcome *o); /* is m's last part */
void journal_effect_add(struct journal *j, struct journal_effect *x);
void journal_effect_forget(struct journal *j, struct journal_effect *x); /* frees it */
void journal_effect_drop_all(struct journal *j);
/* At start, with all of a live message's parts at hand: *bytes, which f borrows from, is the
 * caller's to free. A body in a file is only found and measured, another not looked at. */
int journal_read_front(struct journal *j, const struct journal_msg *m, char **bytes,
    struct journal_front *f) MUST_USE;

/* journal_body.c */
void journal_body_over(struct journal *j,
    const struct journal_msg *m);                   /* locked: no part is live */
bool journal_body_is_over(const struct journal *j); /* locked: some wait to be removed */
void journal_body_remove(struct journal *j);        /* those that may go; tried again later */
void journal_body_drop_list(struct journal *j);
/* ERR_CORRUPT if it is missing or short. */
int journal_body_open(struct journal *j, struct qid id, const struct journal_body *body,
    int *fd_r) MUST_USE;
int journal_body_set_aside(struct journal *j, struct qid id) MUST_USE; /* to corrupt/ */
/* At start: removes what no live record names; sets it aside when records were lost. */
typedef bool journal_is_live_fn(void *arg, struct qid id);
int journal_body_sweep(struct journal *j, journal_is_live_fn *is_live, void *arg,
    bool damaged) MUST_USE;

/* journal_replay.c */
int journal_replay(struct journal *j, struct errbuf *eb) MUST_USE;

#endif
