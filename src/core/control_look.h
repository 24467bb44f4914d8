/*
 * control_look.h - the envelopes of some items, read by the disk threads for
 * a command that waits for them. Private to control_cmds.c.
 */
#ifndef CORE_CONTROL_LOOK_H
#define CORE_CONTROL_LOOK_H

#include "core/control.h"

#define CONTROL_LOOK_MAX 32 /* items at a time */

struct control_look;

struct control_look *control_look_new(struct control_call *call);
/* What is still being read goes on without it. NULL is fine. */
void control_look_free(struct control_look **k);
/* At most CONTROL_LOOK_MAX of them. The item may change or go meanwhile. */
void control_look_add(struct control_look *k, const struct queue_item *item);
/* All are read; else the call waits, and is called again when they are. */
bool control_look_wait(struct control_look *k);

struct control_seen {
	const struct queue_item *item; /* NULL: it is gone */
	const struct envelope *env;    /* until the look is freed; NULL: see err */
	int err;
};

/* The next, in the order they were added; false: no more. */
bool control_look_next(struct control_look *k, struct control_seen *seen);

#endif
