/*
 * world.h - a store on a disk of ours, with everything it was asked and said
 * written down: the phrases that operations (operations.c) are told in.
 *
 * The phrases that ask the store may be used while the disk fails or has lost
 * its power: they note what was asked, what was answered, and go on. The
 * others (prepare, mend, check) want a sound disk, and end the test when
 * something is not as it must be.
 */
#ifndef FAULT_WORLD_H
#define FAULT_WORLD_H

#include "fault/ledger.h"
#include "fault/qio_fault.h"
#include "fault/qio_mem.h"

enum {
	WORLD_SEGMENT_BYTES = 64 * 1024, /* the smallest */
	WORLD_RELICS_MAX = 16,
	WORLD_SMALL = 1000,          /* a body in the journal */
	WORLD_LARGE = 300 * 1024,    /* one that is streamed to a file */
	WORLD_RESERVED = 1000 * 1000 /* a due time in this many ms from now, at least */
};

struct relic { /* a file that is not as the store left it */
	char path[300];
	char *bytes;
	size_t n;
	bool is_foreign; /* stays where it is; else it goes to corrupt/, whole */
};

struct world {
	struct qio_mem disk;
	struct qio_fault fault;
	struct queue_options opt;
	struct queue *q;
	struct now now;
	struct ledger ledger;
	struct prng luck;
	unsigned replies;
	enum ledger_words words; /* of the next */
	struct queue_body *kept;
	struct relic relics[WORLD_RELICS_MAX];
	size_t relics_n;
	char where[200]; /* for messages: what is being done */
};

/* --- life ------------------------------------------------------------------------- */

void world_init(struct world *w, bool no_journal, uint64_t seed); /* not open */
void world_fini(struct world *w);
int world_open(struct world *w); /* and scans; any error closes it again */
void world_close(struct world *w);
/* It dies at once, without a further call; then comes back. */
void world_lose_power(struct world *w);
void world_kill(struct world *w);
/* The test ends, saying where it was. */
#define world_abort(w, ...) world_abort_at((w), __FILE__, __LINE__, __VA_ARGS__)
void world_abort_at(const struct world *w, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

/* --- asking the store ---------------------------------------------------------------- */

/* A message for so many domains, each with so many recipients; its first part's number in the
 * ledger. Further parts follow. */
size_t world_commit(struct world *w, size_t domains, size_t rcpts, size_t bytes);
/* n messages in one batch, for two domains each. */
void world_commit_batch(struct world *w, size_t n, size_t bytes);
/* A message that is given up before its end. */
void world_abort_message(struct world *w, size_t bytes);
/* Recipient rcpt of a part, or all that wait when it is SIZE_MAX. */
void world_settle(struct world *w, size_t part, size_t rcpt, enum fate fate);
/* All that wait bounce, and a report of it goes out: one operation. */
void world_bounce(struct world *w, size_t part);
void world_hold(struct world *w, size_t part, bool hold);
void world_load(struct world *w, size_t part);      /* and forgets it again */
void world_keep_body(struct world *w, size_t part); /* reads from it until the end or the next */
void world_sync(struct world *w);                   /* as the daemon does every second */
void world_wait(struct world *w, int64_t ms);
struct ledger_part *world_part(struct world *w, size_t part);

/* What the phrases are made of. */
struct queue_item *world_item(struct world *w, const struct ledger_part *p); /* or NULL */
int world_run(struct world *w, struct queue_op *op, struct queue_done *done);

/* --- a sound disk ------------------------------------------------------------------ */

/* What the store could not do before is asked again, and must succeed. */
void world_mend(struct world *w);
/* New mail is taken, deferred, delivered: whatever had failed before. */
void world_check_works(struct world *w);
/* Opens it, if it is not; everything in it is as the ledger says. for_good: what was found now must
 * be found ever after. */
void world_check(struct world *w, bool for_good);
/* Of all that is on disk, but the count of starts and what bears no mail. */
uint64_t world_fingerprint(const struct world *w);

/* --- files as they should not be; the store is closed --------------------------------- */

/* Path of the only file of a part's id in queue/, or false. */
bool world_find_file(const struct world *w, size_t part, char *path, size_t max);
/* A file of others: it stays. */
void world_add_foreign(struct world *w, const char *path, struct slice bytes);
/* One of ours, damaged: it will be in corrupt/, byte for byte. */
void world_add_damaged(struct world *w, const char *path, struct slice bytes);

#endif
