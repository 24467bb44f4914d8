/*
 * checking.h - the offline check, run on a fixture's spool: what it found, what
 * it changed, and what a daemon serves before and after.
 */
#ifndef UNIT_QUEUE_CHECKING_H
#define UNIT_QUEUE_CHECKING_H

#include "fault/qio_mem.h"
#include "queue/check.h"
#include "unit/queue/fixture.h"

#define CHECKING_SEEN_MAX 500

struct checking_seen {
	enum check_kind kind;
	enum check_severity severity;
	char place[300], text[1024];
	int64_t offset;
	enum check_action action;
	int result;
};

struct checking {
	struct fixture f;
	struct checking_seen seen[CHECKING_SEEN_MAX]; /* by the last check */
	size_t seen_n;
	struct check_report report;
	char path[512]; /* the test's own */
};

extern struct checking checking;

int checking_run(const struct qio *io, bool repair);             /* io NULL: the real disk */
void checking_look(bool repair);                                 /* must run through */
const struct checking_seen *checking_only(enum check_kind kind); /* the one finding */

/* All files with their content, as text; heap. */
char *checking_fingerprint(void);
/* What a daemon on a copy of the spool has, item by item, read whole; heap. */
char *checking_served(void);

/* One finding of that kind: it is found and nothing is changed; it is repaired; then nothing is
 * left to repair, and a daemon serves what it would have served. */
struct checking_seen checking_repairs(enum check_kind kind, enum check_action action);
/* One finding of that kind, about which nothing is done. */
struct checking_seen checking_is_told(enum check_kind kind);

/* The power came back: the check calls nothing that it left worse than a note. By chance it
 * repairs, cut short once; then nothing is left to repair. */
void checking_after_crash(struct qio_mem *disk, struct prng *luck);

void checking_move(const char *from, const char *to); /* below the spool */
void checking_flip(const char *file, size_t at);      /* a bit */
void checking_append(const char *file, const char *p, size_t n);
const char *checking_base_of(const char *file);

#endif
