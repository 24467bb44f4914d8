/*
 * queue.h - the durable queue: the only header of queue/ that others include
 * (with envelope.h, wheel.h, retry.h, which stand on their own).
 *
 * What it promises: once a commit has succeeded, the message survives any
 * crash, for all its destinations, until each recipient has a final fate.
 * Callers never see files. It has no threads and no sockets; the time, the
 * seed and the disk (struct qio) are parameters.
 *
 * Thread rule. All functions run on the owner's loop thread, but queue_run,
 * which does the blocking work: the loop prepares an operation (queue_op_*),
 * hands a batch of them to any worker thread (queue_run: one sync for many),
 * and back on the loop finishes each (queue_finish). Between prepare and
 * finish the item or message belongs to the operation; nobody else touches
 * it. queue_run of different batches may run at the same time on different
 * threads.
 *
 * An item (one message for one destination) is at each moment
 *
 *     PARKED   in the timer wheel, body and envelope on disk only
 *     HELD     like PARKED, but never due, until released
 *     ACTIVE   taken by the caller (queue_take_due, or fresh from commit)
 *     BUSY     inside an operation
 *
 *     commit -> ACTIVE -> (load -> ACTIVE) -> settle -> PARKED or gone
 *     PARKED --due--> ACTIVE;  PARKED <-> HELD
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include <sys/types.h>

#include "base/list.h"
#include "queue/envelope.h"
#include "queue/retry.h"
#include "queue/wheel.h"

struct qio;
struct queue;
struct queue_msg;
struct queue_body;
struct journal_part;

#define QUEUE_ID_MAX 40 /* text of a message or queue id with NUL */

struct queue_options {
	const char *directory;      /* the spool; what it needs is made below it, 0700 */
	const struct qio *qio;      /* NULL: the real disk */
	uint64_t seed;              /* ids, hash seeds; from the kernel's generator in the daemon */
	bool always_split;          /* one queue file per recipient */
	uint64_t space_min_bytes;   /* 0: 5 % of the filesystem, at most 1 GiB */
	unsigned space_min_percent; /* used when space_min_bytes is 0; 0 means 5 */
	uint64_t memory_max_bytes;  /* bodies kept in memory after commit; 0: 64 MiB */
	/* New mail goes to queue files at once; what the journal holds is served. */
	bool no_journal;
	uint64_t journal_segment_bytes; /* 0: 1/64 of the filesystem, 4 to 64 MiB */
	unsigned journal_segments_max;  /* 0: 16, less on a small filesystem */
	int64_t journal_age_ms; /* mail that has been there so long gets queue files; 0: 5 min */
	/* for clamping due times at start; copied; may be NULL */
	const struct retry_policy *retry;
	unsigned shards; /* queues that share it; 0: one */
};

enum queue_item_state {
	QUEUE_ITEM_NONE = 0,
	QUEUE_ITEM_PARKED,
	QUEUE_ITEM_HELD,
	QUEUE_ITEM_ACTIVE,
	QUEUE_ITEM_BUSY,
};

struct queue_domain { /* interned: one per destination in use */
	const char *name;
	size_t items;
	/* The caller's, as long as there are items; then it is unlinked, and gone. */
	void *owner;
	uint64_t owner_seen;
	struct list_node in_owner;
};

/* Read-only for callers, but what is said to be theirs. Small and fixed: at most 200 bytes all
 * told. */
struct queue_item {
	struct wheel_timer timer;   /* the caller's while ACTIVE: not set when it is given back */
	struct list_node link;      /* the caller's while ACTIVE (its ready lists) */
	struct list_node in_domain; /* the queue's own */
	struct queue_domain *domain;
	struct queue_mail *mail; /* NULL while only on disk */
	void *owner;             /* the caller's while ACTIVE */
	int64_t due_ms;     /* wall clock; earliest of its pending recipients, bounded at start by
			       retry_clamp_due */
	int64_t arrival_ms; /* from the id; wall clock */
	uint64_t id[2];
	uint16_t part;     /* queue id = message id "-" part */
	uint16_t attempts; /* as in the name */
	uint8_t state;     /* enum queue_item_state */
	uint8_t subdir;
	bool flushed;    /* due now by a flush: a failure goes back to due_ms without consuming an
			    interval */
	bool want_hold;  /* is to be held; if asked while active or busy, done at the next settle */
	bool want_flush; /* asked for while an outcome was being recorded; done behind that */
	bool told;       /* the caller's while ACTIVE */
	bool moved;      /* the same */
	bool spared;     /* the same */
	bool ripe;       /* ACTIVE since its time has come: see queue_due_by */
	/* The queue's own: the file's name on disk, which may lag behind the rest. */
	bool name_held;
	bool found;    /* at start, and its due times on disk may be out of bounds still */
	bool replayed; /* found in the journal at start: a file of it is no find of the scan */
	bool in_work;  /* since queue_begin_work */
	uint16_t name_attempts;
	uint32_t sender; /* envelope_sender_key; 0: only its file knows, and was not read yet */
	int64_t name_due_ms;
	struct journal_part *record; /* the intake journal's, or NULL: it has a queue file */
};

_Static_assert(sizeof(struct queue_item) <= 152, "a parked item stays small");

/* Envelope and body of an item, in memory or readable. Freed with the item's unload. */
struct queue_mail {
	struct envelope *envelope; /* recipients of this item only, with their states */
	struct queue_body *body;   /* ref-counted; shared by the items of one message */
};

/* Makes the folders, tightens modes, takes the lock (ERR_BUSY if another daemon has it), empties
 * tmp/. Gives the queue of shard 0. */
int queue_open(struct queue **q_r, const struct queue_options *opt, struct now now,
    struct errbuf *eb) MUST_USE;
/* That of shard 0, and with it all: no operation may be outstanding; syncs folders. */
void queue_close(struct queue **q);

/* --- shards -----------------------------------------------------------------
 *
 * Each shard's queue is used by the shard's thread alone. Messages are accepted
 * by any: an item comes to life in the queue of its destination's home, here at
 * once, or in another's inbox, where it waits to be taken. So does what the
 * start finds. Later an item may be sent on to where its host is: all that is
 * said of items here holds for the queue that has it now. queue_op_sync is for
 * shard 0, for all.
 */
struct queue *queue_of_shard(const struct queue *q, unsigned shard);
unsigned queue_home(const struct queue *q, struct slice domain); /* a shard */
/* fn is called on any thread when something has arrived; set before the first commit. */
typedef void queue_wake_fn(void *arg);
void queue_on_arrival(struct queue *q, queue_wake_fn *fn, void *arg);
/* To be called once a turn: what has arrived, now ACTIVE and the caller's, to the end of the list,
 * as from a commit. */
void queue_take_arrivals(struct queue *q, struct list_node *items, struct now now);
/* An ACTIVE item, of none of the caller's lists, goes to the queue of another shard; what is the
 * caller's in it goes along. */
void queue_send(struct queue *q, struct queue_item *item, unsigned shard);
/* To be called once a turn, when what is to be said of them first has been said: items of a commit
 * or a report whose home is another shard, and those that were sent, leave. */
void queue_hand_over(struct queue *q);

/*
 * Start-up scan: an operation lists a sub-directory, steps take in its names, some at a time, until
 * the next can be listed. Items that are known, of this start or from the journal, are skipped.
 * Names that are not ours are left alone with a warning; damage is found at load.
 */
/* NULL: one is being listed, or its names are not all taken in, or all is done. One that failed is
 * listed again by the next. */
struct queue_op *queue_op_scan(struct queue *q);
bool queue_scan_step(struct queue *q, struct now now); /* true: more to take in at once */
bool queue_scan_is_done(const struct queue *q);

/* --- accepting a message ------------------------------------------------ */

/* 0 if a message of about size bytes may be taken now, else -ENOSPC (answer 452). */
int queue_admit(struct queue *q, uint64_t size, struct now now) MUST_USE;

/* A new message with a fresh id; fill in queue_msg_envelope (sender, user, recipients of all
 * domains, flags). */
struct queue_msg *queue_begin(struct queue *q, struct now now);
struct envelope *queue_msg_envelope(struct queue_msg *m);
const char *queue_msg_id(const struct queue_msg *m);
/* Body bytes, final form (CRLF, un-stuffed). Beyond 256 KiB they go to a file in tmp/. An error
 * (-ENOSPC, -EIO) sticks: answer it at the end with 452/451. */
int queue_append(struct queue_msg *m, const void *p, size_t n) MUST_USE;
uint64_t queue_msg_bytes(const struct queue_msg *m);
void queue_abort(struct queue_msg **m); /* nothing stays behind */

/*
 * Destination of an address, for grouping: the caller fills envelope_rcpt and
 * gives for each recipient (same index) its destination domain, A-label, lower case.
 * Takes the message.
 */
struct queue_op;
struct queue_op *queue_op_commit(struct queue_msg **m, const char *const *domains, struct now now);

/* --- operations ----------------------------------------------------------- */

struct queue_outcome { /* for one recipient of the item, by index in its envelope */
	size_t rcpt;
	enum fate fate; /* FATE_PENDING: deferred to due_ms */
	uint16_t attempts;
	int64_t due_ms;
	int64_t last_ms;
	struct envelope_status status; /* strings are copied */
};

struct queue_op *queue_op_load(struct queue_item *item); /* ACTIVE, mail NULL */
/* Reads the envelope of an ACTIVE item without mail, and no more: it stays as it is on disk, and
 * without mail. Its due time and attempts are then as the file says. */
struct queue_op *queue_op_peek(struct queue_item *item);
/* The same of any item, which is not touched and may meanwhile change or go; NULL: BUSY. q: of the
 * shard that asks. */
struct queue_op *queue_op_look(struct queue *q, const struct queue_item *item);
/* Records outcomes (and, for those not named, nothing). All final: the mail goes away, durably with
 * the next commit or SYNC; else the outcomes are written to its queue file (made now, if it was in
 * the journal), synced, the file renamed and the item parked. n may be 0: park again as it is. */
struct queue_op *queue_op_settle(struct queue_item *item, const struct queue_outcome *outcomes,
    size_t n, struct now now);
/* To a settle that is not run yet: it is to commit this message, too, the report of these outcomes,
 * in one with them; domains as in queue_op_commit. Takes the message. */
void queue_op_add_report(struct queue_op *settle, struct queue_msg **report,
    const char *const *domains);
/* PARKED -> HELD or back (released: due at once, as by a flush). ACTIVE or BUSY: NULL, and
 * item->want_hold is set for the next settle. */
struct queue_op *queue_op_hold(struct queue_item *item, bool hold, struct now now);

/* On a worker: does all of them with as few syncs as possible; sets each one's result. Safe beside
 * other queue_run calls. */
void queue_run(struct queue *q, struct queue_op *const *ops, size_t n);

enum queue_op_kind {
	QUEUE_OP_NONE = 0,
	QUEUE_OP_COMMIT,
	QUEUE_OP_LOAD,
	QUEUE_OP_PEEK,
	QUEUE_OP_LOOK,
	QUEUE_OP_SETTLE,
	QUEUE_OP_HOLD,
	QUEUE_OP_SCAN,
	QUEUE_OP_SYNC, /* renames, unlinks and ends not yet synced; upkeep of the journal */
};

struct queue_done {
	enum queue_op_kind kind;
	int result; /* 0 or what went wrong. COMMIT: nothing of the message is left. LOAD:
		       ERR_CORRUPT: moved to corrupt/, the item is gone. SETTLE: see queue_finish */
	void *arg;  /* queue_op_set_arg */
	struct queue_item *item; /* LOAD, PEEK, SETTLE, HOLD: the item, or NULL if it is gone */
	struct list_node items; /* COMMIT: new ACTIVE items (struct queue_item.link); SETTLE: of the
				   report it carried */
	struct envelope *envelope; /* PEEK, LOOK: the caller frees it; NULL if result < 0 */
	char id[QUEUE_ID_MAX];     /* of the message (COMMIT) or the queue file (also of a LOOK) */
	char report[QUEUE_ID_MAX]; /* SETTLE: of the report, once it is stored; else "" */
};

void queue_op_set_arg(struct queue_op *op, void *arg);
void *queue_op_arg(const struct queue_op *op);
enum queue_op_kind queue_op_kind_of(const struct queue_op *op);

/*
 * Back on the loop: applies the result to the index, frees op, fills *done.
 * A SETTLE that failed on disk (result < 0) parks the item with its outcomes kept in
 * memory only when some recipient is still pending; when all were final the item is
 * kept ACTIVE as done->item with result set, and the caller tries the settle again later.
 *
 * One that carried a report: while done->items is empty nothing is stored, neither the report nor
 * an outcome; the item is ACTIVE with its mail, and the caller tries again later, with a report.
 * Else the report is stored, for good; where the journal took it, the outcomes are, too, and the
 * result is 0. A disk whose journal takes nothing may have the report and refuse the outcomes:
 * then it is a failed settle as above.
 */
void queue_finish(struct queue *q, struct queue_op **op, struct now now, struct queue_done *done);

/* A SYNC operation if folders or the journal changed at least min_age_ms ago and none is running,
 * else NULL. Call about once a second. */
struct queue_op *queue_op_sync(struct queue *q, struct now now, int64_t min_age_ms);

/* --- scheduling ----------------------------------------------------------- */

/* The next item whose time has come: now ACTIVE and the caller's; NULL if none. */
struct queue_item *queue_take_due(struct queue *q, struct now now);
int64_t queue_next_due_at(const struct queue *q); /* wall ms; INT64_MAX if none */
/* Recipients of an ACTIVE item that are due no later (wall ms) are to be tried. That is now, or the
 * time that had come when it was taken: the clock may have been set back since its timer was set.
 */
int64_t queue_due_by(const struct queue_item *item, struct now now);
/* An item that rests (PARKED or HELD) becomes ACTIVE and the caller's, for a command. */
void queue_take(struct queue *q, struct queue_item *item);
/* Resting items of whose outcomes only the record of a report tells, after a crash or a failure of
 * the disk: up to max, now ACTIVE and the caller's, to be loaded and settled with no outcomes. To
 * be asked about once a second, as long as they rest they keep the journal from reusing its space.
 */
size_t queue_take_owed(struct queue *q, struct queue_item **items, size_t max);
/* To be asked before anything is done with an ACTIVE item (but to hold or delete it). From now on
 * until it rests or is gone it is in work, which state/work says: should the process die, the item
 * is a suspect. False: the queue has taken it back, for another suspect is in work, or for it has
 * been in work at too many crashes and is to be held (queue_next_ordered). */
bool queue_begin_work(struct queue *q, struct queue_item *item, struct now now) MUST_USE;
/* ACTIVE, and waits again: nothing has come of it. */
void queue_leave_work(struct queue *q, struct queue_item *item);
void queue_write_work(struct queue *q); /* once a turn: writes what has changed, if anything */
/* Back to PARKED in memory only (nothing changed on disk), due at item->due_ms or at due_ms if that
 * is not 0; drops its mail. */
void queue_park(struct queue *q, struct queue_item *item, int64_t due_ms);
void queue_unload(struct queue *q,
    struct queue_item *item); /* drops mail of an ACTIVE item; load again before use */

/* Makes parked items due now, in memory: all (those a running scan finds later too), those of a
 * domain, or those of a message or queue id. Returns how many were there. Held items stay; one
 * whose outcome is being recorded is due when that is done. */
size_t queue_flush(struct queue *q, struct now now);
size_t queue_flush_domain(struct queue *q, struct slice domain, struct now now);
size_t queue_flush_id(struct queue *q, struct slice id, struct now now);

/* While the start-up scan runs: what is asked of items here is to be done to those it finds later
 * too. Of a domain, a message id or a queue id. 1: remembered; 0: the scan is done, there is
 * nothing to remember; -ENOSPC: there are QUEUE_ORDERS_MAX targets already. */
#define QUEUE_ORDERS_MAX 1000

enum queue_order {
	QUEUE_ORDER_NONE = 0,
	QUEUE_ORDER_FLUSH,
	QUEUE_ORDER_HOLD,
	QUEUE_ORDER_RELEASE,
	QUEUE_ORDER_DELETE,
};

int queue_order(struct queue *q, enum queue_order order, struct slice target) MUST_USE;
/* An item that is to be held, released or deleted, for it was found by the scan or is a danger: the
 * caller's to do; NULL: no more. Ask once a turn. */
struct queue_item *queue_next_ordered(struct queue *q, enum queue_order *order);

/* --- looking ------------------------------------------------------------- */

/* Walks all items in unspecified order; cursor starts at 0. */
struct queue_item *queue_next_item(const struct queue *q, size_t *cursor);

/*
 * A walk that may rest between two steps while the queue goes on: of one domain's items or, when
 * domain is empty, of all. What is there from begin to end is shown once, what comes or goes
 * meanwhile once or not at all; it ends however fast mail comes in. (Mail whose name was hashed is
 * an item that goes and one that comes when its file is first read.)
 */
struct queue_walk {
	struct list_node node;
	struct queue *q;
	struct queue_domain *domain;
	struct list_node *at;
	size_t items_left, domains_left;
	char label[24]; /* of a domain whose name is hashed, to be walked too; or "" */
};

void queue_walk_begin(struct queue *q, struct queue_walk *w, struct slice domain);
struct queue_item *queue_walk_next(struct queue_walk *w); /* NULL at the end */
void queue_walk_end(struct queue_walk *w);                /* before queue_close */

/* The destinations of that name: it, and the one its mail has before its long name was read. Up to
 * 2; returns how many. */
size_t queue_find_domains(const struct queue *q, struct slice name, struct queue_domain *found[2]);

bool queue_is_id(struct slice text); /* has the form of a message or queue id */
/* Items of a message id, or the one of a queue id; up to max; returns how many exist. */
size_t queue_find(const struct queue *q, struct slice id, struct queue_item **items, size_t max);
char *queue_item_id(const struct queue_item *item, char buf[QUEUE_ID_MAX]);         /* queue id */
char *queue_item_message_id(const struct queue_item *item, char buf[QUEUE_ID_MAX]); /* message id */

/* As queue_op_look, here and now: blocking, some milliseconds, so for one item at a time. The
 * caller frees the envelope. -EBUSY while an operation is under way. */
int queue_peek(struct queue *q, const struct queue_item *item, struct envelope **e_r) MUST_USE;

struct queue_stats {
	size_t items, parked, held, active, busy;
	uint64_t corrupt;                 /* files moved to corrupt/ since start */
	uint64_t memory_bytes;            /* bodies in memory */
	uint64_t commits, settles, loads; /* done since start */
	uint64_t syncs;                   /* fdatasync and directory syncs since start */
	bool scan_done;
};

void queue_stats(const struct queue *q, struct queue_stats *s);

/* --- bodies ---------------------------------------------------------------- */

/* Up to n bytes at offset; 0 at the end; negative on error (ERR_CORRUPT if the file is short).
 * Blocking only if the body is on disk. May run on any thread. */
ssize_t queue_body_read(const struct queue_body *b, uint64_t offset, void *p, size_t n) MUST_USE;
/* The descriptor (of the queue's qio) it can be sent from, beginning at *offset: nothing is ever
 * written over it, so what the kernel still has to send when the body is let go of stays what it
 * is. -1: there is none, it is in memory or to be read. */
int queue_body_file(const struct queue_body *b, uint64_t *offset);
uint64_t queue_body_size(const struct queue_body *b);
/* The whole body when it is in memory, else the empty slice. */
struct slice queue_body_memory(const struct queue_body *b);
struct queue_body *queue_body_ref(struct queue_body *b);
void queue_body_unref(struct queue_body **b); /* from any thread */

#endif
