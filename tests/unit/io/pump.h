/*
 * pump.h - runs a loop in a test until something has come true.
 *
 * The condition is looked at in the step, as the daemon looks at its streams.
 * Not coming true within PUMP_MS fails the test.
 */
#ifndef UNIT_IO_PUMP_H
#define UNIT_IO_PUMP_H

#include "base/buf.h"
#include "io/loop.h"
#include "io/stream.h"

#define PUMP_MS 10000

typedef bool pump_fn(void *arg);

void pump_until(struct loop *l, pump_fn *is_true, void *arg);
void pump_for(struct loop *l, int ms); /* whatever happens */

/* Two ends of one connection over TCP on loopback; both OPEN, notes[i] counts notifies. */
struct pair {
	struct loop *loop;
	struct stream *end[2]; /* 0 connected, 1 accepted */
	unsigned notes[2];
};

void pair_open(struct pair *p, struct loop *l);
void pair_close(struct pair *p);

/* Sends text whole (it must be small); the other end's input is expected to become it. */
void pair_say(struct pair *p, int from, const char *text);
void pair_expect(struct pair *p, int at, const char *text); /* and consumes it */
void pair_wait_state(struct pair *p, int at, enum stream_state state);

/* A fresh directory under /tmp; the path is static per process. Removed by scratch_remove. */
const char *scratch_make(void);
const char *scratch_path(const char *name, char buf[256]);
void scratch_remove(void);

#endif
