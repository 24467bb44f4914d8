/*
 * check_int.h - what the files of the offline check share. Private to them.
 *
 * Order: folders; names of queue files (keys); the journal, which needs to know
 * which of its parts have a file; corrupt/, which needs to know which ids are
 * in use and may bring files back; then the queue files themselves.
 */
#ifndef QUEUE_CHECK_INT_H
#define QUEUE_CHECK_INT_H

#include "base/map.h"
#include "queue/check.h"
#include "queue/envelope.h"
#include "queue/spool.h"

#define CHECK_NAMES_BYTES_MAX (UINT64_C(1) << 32) /* of one directory */
#define CHECK_PLACE_MAX       (SPOOL_NAME_MAX + 32)

struct check_key { /* of a queue file, by its name */
	struct qid id;
	uint16_t part;
	uint8_t dir;
	bool twin; /* not the only one with this queue id */
};

struct check {
	const struct check_options *opt;
	struct check_report *report;
	struct spool spool;
	const struct qio *io;
	bool repair;
	uint32_t uid, gid;      /* of the spool itself */
	struct check_key *keys; /* sorted by id, part, dir */
	size_t keys_n, keys_cap;
	struct map losers;      /* place -> anything: twins that are dealt with */
	struct buf aside;       /* names in corrupt/, of before */
	struct map in_journal;  /* id -> struct check_msg */
	struct check_msg *msgs; /* in the order of their records */
	struct map effects;     /* queue id -> struct check_msg, reports about it, the first */
	bool journal_damaged;   /* records were lost */
	uint32_t epoch_max;     /* highest in an id */
};

/* check.c */
void check_found(struct check *c, enum check_kind kind, const char *place, int64_t offset,
    enum check_action action, int result, const char *fmt, ...) PRINTF_LIKE(7, 8);
/* Mode and owner; repaired at once. Returns 0 and *st, ERR_REFUSED if it is no file. */
int check_file_itself(struct check *c, int fd, const char *place, struct qio_stat *st);
void check_own(struct check *c, int dirfd, const char *name); /* a file we made */
/* Every name, after all have been read; a folder that can't be read is a finding. */
typedef void check_name_fn(struct check *c, void *arg, const char *name, bool is_other);
void check_names(struct check *c, int fd, const char *folder, check_name_fn *fn, void *arg);
/* "from <a@b> to 3 recipients at x.test", cut where too long. */
char *check_describe(const struct envelope *e, char buf[512]);

/* check_queue.c */
void check_collect_keys(struct check *c);
const struct check_key *check_find_key(const struct check *c, struct qid id, unsigned part);
bool check_has_key(const struct check *c, struct qid id, unsigned part, unsigned dir);
void check_queue_files(struct check *c);

/* check_journal.c */
void check_journal(struct check *c);
bool check_journal_has(const struct check *c, struct qid id, unsigned part); /* live there */
/* What only the records of reports say of an item. */
void check_apply_effects(const struct check *c, struct qid id, unsigned part, struct envelope *e);
bool check_needs_body(const struct check *c, struct qid id);
void check_journal_fini(struct check *c);

/* check_body.c */
struct journal_body;
int check_body(struct check *c, struct qid id, const struct journal_body *body); /* as queue_load */
int check_set_body_aside(struct check *c, struct qid id); /* to corrupt/; 0 when there is none */
void check_bodies(struct check *c);                       /* those nobody needs */

/* check_corrupt.c: what was there before the check */
void check_list_corrupt(struct check *c);
void check_corrupt(struct check *c);

#endif
