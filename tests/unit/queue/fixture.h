/*
 * fixture.h - a queue on a spool in a temporary directory, and the short
 * phrases the tests are written in. Time is the fixture's own.
 */
#ifndef UNIT_QUEUE_FIXTURE_H
#define UNIT_QUEUE_FIXTURE_H

#include <check.h>

#include "queue/qio.h"
#include "queue/queue.h"

struct fixture {
	char dir[64];
	struct queue *q;
	struct now now;
	struct queue_options opt;
	struct retry_policy retry;
};

extern bool fixture_no_journal;       /* the next fixtures use queue files alone */
void fixture_init(struct fixture *f); /* an empty directory, defaults; not opened */
void fixture_init_in_memory(
    struct fixture *f); /* on a filesystem in memory, if there is one: for loops that sync a lot */
void fixture_fini(struct fixture *f); /* closes, removes the directory */
void fixture_open(struct fixture *f); /* and scans */
int fixture_scan(struct fixture *f);  /* the rest of the start-up scan; or the error */
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);
void fixture_advance(struct fixture *f, int64_t ms);

/* Recipients "a@x.test" ...: the domain is what follows the @. Body of n bytes of a known pattern.
 */
struct queue_msg *fixture_message(struct fixture *f, const char *const *rcpts, size_t n,
    size_t body_bytes);
struct queue_op *fixture_op_commit(struct fixture *f, struct queue_msg *m);
/* Runs one operation alone and finishes it; its result. */
int fixture_run(struct fixture *f, struct queue_op *op, struct queue_done *done);
/* Commits a message, which must succeed; its items, ACTIVE, in items (up to max); returns how many.
 */
size_t fixture_commit(struct fixture *f, const char *const *rcpts, size_t n, size_t body_bytes,
    struct queue_item **items, size_t max);
struct queue_item *fixture_commit_one(struct fixture *f, const char *rcpt, size_t body_bytes);
void fixture_load(struct fixture *f, struct queue_item *item); /* if it has no mail; must succeed */
/* One recipient's outcome. */
int fixture_settle(struct fixture *f, struct queue_item *item, size_t rcpt, enum fate fate,
    unsigned attempts, int64_t due_ms);
struct queue_item *fixture_take(struct fixture *f);                 /* the next due item or NULL */
struct queue_item *fixture_item(struct fixture *f, const char *id); /* of a queue id, or NULL */
/* What a test may go on without: the result of a SYNC, 0 if there is nothing to do; an item's mail.
 */
int fixture_sync(struct fixture *f);
bool fixture_try_load(struct fixture *f, struct queue_item *item);
struct queue_stats fixture_stats(const struct fixture *f);

char fixture_pattern(uint64_t at);
void fixture_check_body(struct queue_body *b, size_t bytes);

/* Disk, looked at from outside. */
size_t fixture_count(const struct fixture *f,
    const char *sub); /* files in dir/sub, or in all of queue/ for "queue" */
bool fixture_find(const struct fixture *f, char *path, size_t max); /* the one queue file */
char *fixture_read(const char *path, size_t *n);                    /* heap */
void fixture_write(const char *path, const char *p, size_t n);
void fixture_path(const struct fixture *f, const char *sub, char *path, size_t max);

#endif
