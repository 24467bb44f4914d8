/*
 * qio_fault.h - a disk that fails on demand: the n-th call from arming on,
 * once or from then on, with an error of choice; a failing write may write
 * half first. Of all calls, or of those a certain cause would let fail; only
 * these are counted. Sits on another qio. One thread, unless it is disarmed.
 */
#ifndef FAULT_QIO_FAULT_H
#define FAULT_QIO_FAULT_H

#include "queue/qio.h"

enum qio_fault_calls {
	QIO_FAULT_ANY = 0,
	QIO_FAULT_GROWS,   /* what needs space */
	QIO_FAULT_OPENS,   /* what needs a descriptor */
	QIO_FAULT_SYNCS,   /* of files; what had been written since the last is gone: lose */
	QIO_FAULT_CHANGES, /* of names: a directory that is read-only */
	QIO_FAULT_ADDS,    /* of names: a directory that is full */
};

enum {
	QIO_FAULT_DIRS = 256
};

struct qio_fault {
	struct qio io; /* hand this to the queue */
	const struct qio *under;
	void (*lose)(void *under_arg, int fd); /* a sync of fd failed; may be NULL */
	unsigned countdown;                    /* the call that fails, counted from 1; 0: none */
	bool persistent;
	bool half_writes;
	int err;
	enum qio_fault_calls calls;
	const char *dir; /* CHANGES, ADDS: only there; "queue" is all its folders; NULL: anywhere */
	unsigned fired;
	bool sync_failed; /* of a file */
	const char *last; /* name of the call that failed last */

	struct {
		int fd; /* -1: free */
		char name[8];
	} dirs[QIO_FAULT_DIRS]; /* open ones */
};

void qio_fault_init(struct qio_fault *f, const struct qio *under);
/* Any call; narrowed afterwards with calls and dir. */
void qio_fault_arm(struct qio_fault *f, unsigned nth, bool persistent, bool half_writes, int err);
void qio_fault_disarm(struct qio_fault *f);

#endif
