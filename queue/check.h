/*
 * check.h - looks through the spool of a daemon that does not run: is every
 * file and every record what it should be, what would the next start do, and
 * what needs a person.
 *
 * Each thing found is one finding: a NOTE is what a crash or a kill may leave
 * and the daemon deals with; a WARNING does no harm to mail that is served; an
 * ERROR means that mail, or what became of it, is damaged or out of service.
 *
 * With `repair` it does what can be done: what a start would do, and besides
 * that it cuts torn tails, renames files whose name is behind, makes modes and
 * owners right, and brings back from corrupt/ what is whole. Never is a file
 * removed that may hold mail. Cut short at any call and done again, it ends the
 * same; a second check finds nothing that it would repair.
 *
 * Memory: 24 bytes for each queue file, one segment of the journal, one
 * directory's names, and one message at a time. Takes no threads.
 */
#ifndef QUEUE_CHECK_H
#define QUEUE_CHECK_H

#include "base/err.h"

struct qio;

enum check_severity {
	CHECK_NO_SEVERITY = 0,
	CHECK_NOTE,
	CHECK_WARNING,
	CHECK_ERROR,
};

enum check_kind {
	CHECK_NO_KIND = 0,
	CHECK_MISSING,      /* a folder */
	CHECK_UNFINISHED,   /* a folder that the first start didn't come to make */
	CHECK_MODE,         /* wider than 0600 or 0700, or narrower */
	CHECK_OWNER,        /* another than the spool's */
	CHECK_FOREIGN,      /* an entry that is not ours */
	CHECK_UNREADABLE,   /* the disk, or a permission */
	CHECK_EPOCH,        /* state/epoch */
	CHECK_LEFTOVERS,    /* in tmp/ */
	CHECK_DAMAGED,      /* queue file */
	CHECK_MISNAMED,     /* whole, but another than its name says */
	CHECK_TWIN,         /* another has its queue id */
	CHECK_TORN,         /* bytes behind the last outcome record */
	CHECK_BEHIND,       /* the name is behind the tail */
	CHECK_LOST_OUTCOME, /* the name is ahead of the tail */
	CHECK_FINISHED,     /* all recipients have a final fate */
	CHECK_SEGMENT,      /* of the journal: header damaged, or a twin */
	CHECK_VERSION,      /* of a segment */
	CHECK_SIZE,         /* of a segment */
	CHECK_HEADER_COPY,  /* of a segment: one of two */
	CHECK_RECORD,       /* of the journal: damaged */
	CHECK_RECORD_KNOWN, /* damaged, but of no consequence, or dealt with before */
	CHECK_TORN_BATCH,   /* the journal's end */
	CHECK_MOVED,        /* in the journal and a queue file */
	CHECK_ORPHAN,       /* a body that no live record names */
	CHECK_LOST_RECORD,  /* the same, when records were lost */
	CHECK_WHOLE,        /* in corrupt/, but nothing is wrong with it */
	CHECK_SET_ASIDE,    /* in corrupt/ */
	CHECK_KINDS,
};

enum check_action {
	CHECK_NO_ACTION = 0,
	CHECK_MAKE, /* a folder */
	CHECK_CHMOD,
	CHECK_CHOWN,
	CHECK_WRITE,      /* state/epoch anew */
	CHECK_QUARANTINE, /* move to corrupt/ */
	CHECK_COPY,       /* to corrupt/ */
	CHECK_CUT,
	CHECK_RENAME,
	CHECK_BRING_BACK, /* from corrupt/ to queue/ */
	CHECK_ACTIONS,
};

#define CHECK_NOT_TRIED 1 /* as a result */

struct check_finding {
	enum check_kind kind;
	enum check_severity severity;
	const char *place; /* path below the spool */
	int64_t offset;    /* in it; -1: all of it */
	const char *text;  /* may hold any byte that addresses and names hold */
	enum check_action action;
	int result; /* of the action: CHECK_NOT_TRIED, 0 done, or the error */
};

const char *check_severity_name(enum check_severity s);
const char *check_kind_name(enum check_kind k); /* "twin": stable, for programs */
const char *check_action_text(enum check_action a,
    bool done); /* "moved to corrupt/", or "move it to corrupt/" */

struct check_report {
	struct {
		uint64_t files, messages, held, recipients,
		    bytes; /* recipients that wait; bodies */
	} queue;

	struct { /* parts: destinations of messages that still need the journal */
		uint64_t segments, free, messages, parts, recipients, bytes;
	} journal;

	struct {
		uint64_t files, bytes;
	} body, tmp, corrupt;

	uint64_t kinds[CHECK_KINDS]; /* findings */
	uint64_t severities[CHECK_ERROR + 1];
	uint64_t repairable, repaired; /* findings with an action; of them, done */
};

typedef void check_found_fn(void *arg, const struct check_finding *f);

struct check_options {
	const char *directory; /* the spool */
	const struct qio *qio; /* NULL: the real disk */
	bool repair;
	check_found_fn *found;
	void *arg;
};

/* 0 when it could look at everything that is there, whatever it found. ERR_BUSY: a daemon runs on
 * it. Other errors: no spool, or it can't be opened, or repairs can't be synced. */
int check_spool(const struct check_options *opt, struct check_report *report,
    struct errbuf *eb) MUST_USE;

#endif
