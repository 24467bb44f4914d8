/*
 * wheel.h - hierarchical timer wheel: O(1) add and cancel, intrusive.
 *
 * Levels of 64 slots each; the first ticks in milliseconds, each further one
 * is 64 times coarser; a timer moves down a level as its time comes near, so
 * it never fires early and fires within the millisecond it asked for when run
 * is called in time. `now` is always a parameter and must not go back (a
 * smaller value is taken as the last one). Not thread-safe.
 *
 * Used for every parked queue item and for the deadlines of sessions.
 */
#ifndef QUEUE_WHEEL_H
#define QUEUE_WHEEL_H

#include "base/list.h"

#define WHEEL_LEVELS 8
#define WHEEL_SLOTS  64

struct wheel_timer { /* embed; container_of gets the owner back */
	struct list_node node;
	int64_t at_ms;
};

struct wheel {
	int64_t now_ms; /* everything at or before this has fired */
	size_t count;
	uint64_t occupied[WHEEL_LEVELS]; /* bit per slot */
	struct list_node slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now_ms);
void wheel_timer_init(struct wheel_timer *t);
bool wheel_timer_is_set(const struct wheel_timer *t);
/* Not set before. A time in the past fires at the next run; one beyond the horizon is kept and
 * cascades. */
void wheel_add(struct wheel *w, struct wheel_timer *t, int64_t at_ms);
/* Harmless if not set; takes a timer that has fired off the caller's list of due ones, too. */
void wheel_cancel(struct wheel *w, struct wheel_timer *t);
void wheel_set(struct wheel *w, struct wheel_timer *t, int64_t at_ms); /* cancel and add */

/* Advances to now_ms and moves what is due to the end of `due` (list of wheel_timer.node, no longer
 * set), earliest tick first; what was set to a time not after w->now_ms, in the order of setting.
 */
void wheel_run(struct wheel *w, int64_t now_ms, struct list_node *due);

/* A time not later than the earliest timer, at which run should be called; INT64_MAX when empty.
 * Exact for the nearest level. */
int64_t wheel_next_at(const struct wheel *w);

void wheel_check(const struct wheel *w); /* walks everything and CHECKs every invariant */

#endif
