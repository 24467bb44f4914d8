/*
 * qio_fault.h - a disk that fails on demand: the n-th call from arming on,
 * once or from then on, with an error of choice; a failing write may write
 * half first. Sits on another qio.
 */
#ifndef UNIT_QUEUE_QIO_FAULT_H
#define UNIT_QUEUE_QIO_FAULT_H

#include "queue/qio.h"

struct qio_fault {
	struct qio io; /* hand this to the queue */
	const struct qio *under;
	unsigned countdown; /* the call that fails, counted from 1; 0: none */
	bool persistent;
	bool half_writes;
	int err;
	unsigned fired;
	const char *last; /* name of the call that failed last */
};

void qio_fault_init(struct qio_fault *f, const struct qio *under);
void qio_fault_arm(struct qio_fault *f, unsigned nth, bool persistent, bool half_writes, int err);
void qio_fault_disarm(struct qio_fault *f);

#endif
