/*
 * loop_backend.h - what the other files of src/io need from the loop.
 *
 * Private to src/io. A turn is: poll and event callbacks, then the drains
 * (finished worker jobs), then the deferred calls, then the step. A call
 * deferred from an event callback or a drain runs in this turn, one deferred
 * from the step or from another deferred call runs in the next: so nobody is
 * ever called back from inside a function of his own.
 */
#ifndef IO_LOOP_BACKEND_H
#define IO_LOOP_BACKEND_H

#include "base/list.h"
#include "io/loop.h"

/* libevent's base. Typed void: headers of this layer name no third-party type. */
void *loop_backend(struct loop *l);

bool loop_is_own(const struct loop *l); /* whether a turn of it is what calls */

struct loop_call { /* embed */
	struct list_node node;
	void (*fn)(struct loop_call *c);
};

void loop_call_init(struct loop_call *c, void (*fn)(struct loop_call *c));
void loop_defer(struct loop *l, struct loop_call *c); /* once is enough: again is no-op */
void loop_call_cancel(struct loop_call *c);           /* harmless if not deferred */

/* Called in every turn, so it must be cheap when there is nothing to do. */
void loop_add_drain(struct loop *l, struct loop_call *c);
void loop_remove_drain(struct loop_call *c);

/* Room for one read, shared by all streams of the loop; content lasts until the next use. */
#define LOOP_SCRATCH_BYTES (64 * 1024)
char *loop_scratch(struct loop *l);

#endif
