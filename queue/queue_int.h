/*
 * queue_int.h - what the files of the queue share: the queue, a message being
 * received, an operation between the loop and a worker. Private to queue/.
 *
 * Who may touch what: everything in struct queue belongs to the loop thread,
 * but its inbox, and the store (store.h). An operation, with its message or item,
 * belongs to whoever runs it from queue_run's start to its return. Of an item
 * that is BUSY the worker reads id, part, subdir, record, domain and the name_ fields
 * and uses mail; the loop touches want_hold only.
 */
#ifndef QUEUE_QUEUE_INT_H
#define QUEUE_QUEUE_INT_H

#include "base/map.h"
#include "queue/index.h"
#include "queue/orders.h"
#include "queue/qfile.h"
#include "queue/store.h"

#define QUEUE_BODY_MEMORY_MAX                                                                      \
	(256 * 1024) /* a message larger than this goes to tmp/ while it arrives */

/* From the queue of another shard. */
struct inbox {
	pthread_mutex_t lock;
	struct list_node arrived; /* struct arrival.node */
	queue_wake_fn *wake;
	void *wake_arg;
};

struct arrival { /* an item of a message committed there, or sent; in no index yet */
	struct list_node node;
	struct queue_item *item;
	char domain[];
};

struct queue {
	struct store *store;
	struct spool *spool; /* the store's */
	struct journal *journal;
	struct body_pool *pool;
	unsigned shard;
	struct inbox inbox;
	struct list_node
	    *outbox; /* of struct arrival.node, for each shard, until queue_hand_over */
	struct index index;
	struct map domains;           /* name -> struct domain */
	struct list_node domain_list; /* all of them, oldest first */
	struct list_node walks;       /* struct queue_walk.node */
	struct wheel
	    wheel; /* PARKED items; monotonic ms, so that a clock that is set moves no retry */
	struct list_node due; /* their timers, once fired */
	struct retry_policy retry;
	bool has_retry;
	bool always_split;
	struct now last; /* the latest `now` seen */
	struct now opened;

	size_t by_state[QUEUE_ITEM_BUSY + 1];
	size_t msgs; /* begun, neither committed nor aborted */
	size_t ops;  /* prepared, not finished */
	uint64_t commits, settles, loads;
	unsigned part_max; /* highest part seen: bounds a search by message id */

	unsigned scan_dir;              /* sub-directory the scan is at; SPOOL_DIRS: done */
	bool scan_listing;              /* by an operation */
	struct spool_names *scan_names; /* of scan_dir, the rest to be taken in; or NULL */
	struct map scan_gone; /* queue ids that came from the journal and went during the scan */
	struct map scan_sent; /* those sent to other shards during it */
	struct list_node suspects; /* PARKED items, by timer.node: they wait for their turn */
	int64_t wake_at_ms;        /* mono: the next of them is not due before */
	struct orders orders;      /* given while the scan runs, for what it will still find */

	bool sync_running;
	bool dirty_known;
	int64_t dirty_at; /* mono ms; when dirt was first seen */
};

struct domain {
	struct queue_domain pub; /* first: what items point to */
	struct queue *q;
	struct list_node node;  /* in domain_list */
	struct list_node items; /* struct queue_item.in_domain, oldest first */
};

struct mail {
	struct queue_mail pub; /* first: what items point to */
	struct tail tail;
	uint64_t doubt_at; /* records from there on were read: see qfile_renew; 0: none were */
	bool unsaved;      /* outcomes the disk has refused so far: must not be dropped */
	bool snapshot;     /* the next settle writes all recipients */
};

struct queue_msg {
	struct queue *q;
	struct envelope *envelope;
	struct qid id;
	struct buf mem; /* the body, or the part of it that is not in the file yet */
	uint64_t bytes;
	uint32_t crc;
	int err;          /* the first; sticks */
	int fd;           /* in tmp/, named as the message; -1: all in memory */
	uint64_t spilled; /* bytes in it, from QFILE_RESERVE_BYTES on */
};

enum part_place { /* where a part's file is; see spool.h */
	PART_NONE = 0,
	PART_IN_TMP,
	PART_PUBLISHED,
};

struct part { /* one queue file of a message being committed */
	struct envelope *envelope;
	struct tail tail;
	enum part_place place;
	unsigned number;
	char tmp_name[QID_TEXT_MAX];
};

struct moved { /* from the journal to its queue file, by SYNC */
	struct qid id;
	unsigned part;
};

struct envelope_place { /* where an item's envelope is, whatever becomes of the item */
	struct qid id;
	unsigned part;
	struct journal_part *record;
	unsigned dir; /* of the queue file, and its name */
	char name[SPOOL_NAME_MAX];
};

struct queue_op {
	enum queue_op_kind kind;
	int result;
	void *arg;
	struct queue *q;
	struct queue_item *item; /* LOAD PEEK SETTLE HOLD */

	struct queue_msg *msg; /* COMMIT; SETTLE: the report it carries, or NULL */
	struct part *parts;
	size_t parts_n;
	unsigned subdir; /* where the item's queue file is, or comes to be */
	struct journal_entry entry;
	bool body_named;     /* the body is in body/ */
	unsigned msg_subdir; /* where its queue files are, if they are */
	bool in_journal;     /* it went there: */
	struct journal_msg *record;

	struct mail *mail;            /* LOAD: what was read */
	bool gone;                    /* the file is not there any more */
	struct envelope *envelope;    /* PEEK, LOOK: what was read */
	struct envelope_place *place; /* LOOK: with a record it owns */

	uint32_t *rcpts; /* SETTLE: to be recorded */
	size_t rcpts_n;
	bool remove;      /* all final */
	struct tail tail; /* after it */
	uint64_t doubt_at;

	bool held; /* SETTLE, HOLD: the name to be */
	int64_t due_ms;
	uint16_t attempts;
	bool renamed;
	enum queue_item_state before; /* HOLD: to go back to */

	struct journal_part *part; /* LOAD SETTLE HOLD: what the journal has of it, or NULL */
	bool over;     /* SETTLE, HOLD: the journal's, nothing to do with a queue file yet */
	bool stays;    /* it stays where it is */
	bool moving;   /* it becomes a queue file */
	bool taken;    /* MOVING, until the report stands */
	bool reported; /* SETTLE: the report stands */
	bool behind;   /* and holds what the queue file does not say */
	bool lost;     /* the journal's record of the item is damaged */
	bool in_tmp;
	char tmp_name[SPOOL_NAME_MAX];
	char *domain; /* of a part that SYNC moves, which has no item at hand */
	struct qid moved_id;
	unsigned moved_part;
	struct spool_names *names; /* SCAN, of subdir */
	struct moved *moved;       /* SYNC */
	size_t moved_n;
};

/* queue.c */
void queue_touch(struct queue *q, struct now now);
struct queue *queue_of_item(const struct queue_item *item);
struct queue_item *queue_make_item(const struct spool_name *name,
    unsigned subdir); /* in no queue, no state yet */
void queue_index_item(struct queue *q, struct queue_item *item, struct slice domain);
void queue_send_item(struct queue *q, struct queue *home, struct queue_item *item,
    struct slice domain);
void queue_drop_item(struct queue *q, struct queue_item *item);
void queue_set_state(struct queue *q, struct queue_item *item, enum queue_item_state state);
void queue_set_timer(struct queue *q, struct queue_item *item, int64_t due_ms);
void queue_item_name(const struct queue_item *item,
    struct spool_name *name); /* as the file is called now */
struct mail *queue_mail_of(const struct queue_item *item);
void queue_free_mail(struct mail *m);
void queue_drop_mail(struct queue_item *item); /* unless it holds what the disk does not */

void queue_adopt_place(struct queue *q,
    struct queue_item
	*item); /* not BUSY elsewhere: if its mail has moved to a queue file, says so in the item */

/* queue_domain.c */
void queue_init_domains(struct queue *q, uint64_t seed);
void queue_fini_domains(struct queue *q);
void queue_set_domain(struct queue *q, struct queue_item *item, struct slice name);
void queue_leave_domain(struct queue *q, struct queue_item *item); /* it has none then */

/* queue_op.c */
size_t queue_name_rcpts(const struct envelope *e,
    uint32_t **rcpts); /* those of whom there is something to say; heap */

/* queue_work.c */
void queue_look_at_suspect(struct queue *q, const struct spool_name *name); /* just found */
void queue_end_work(struct queue *q, struct queue_item *item, bool clean);
void queue_wake_suspect(struct queue *q, struct now now);
int64_t queue_suspects_at(const struct queue *q); /* mono ms; INT64_MAX: nobody waits */

/* batch.c */
void batch_part_name(const struct queue_op *op, const struct part *p, struct spool_name *name);

/* queue_op.c */
struct queue_op *queue_new_op(struct queue *q, enum queue_op_kind kind,
    struct queue_item *item); /* BUSY from now on, if there is one */

/* queue_peek.c: whoever the item belongs to; then any thread, while the record is kept */
void queue_place_of(const struct queue_item *item, struct envelope_place *p);
int queue_read_envelope(struct queue *q, const struct envelope_place *p,
    struct envelope **e_r) MUST_USE;
void queue_free_place(struct queue *q, struct envelope_place **p); /* with its record */

/* queue_msg.c */
void queue_split(struct queue_op *op, const char *const *domains);
int queue_spill_rest(struct queue_msg *m) MUST_USE; /* on a worker */
void queue_free_msg(struct queue_msg *m);           /* memory and descriptor; not the file */

#endif
