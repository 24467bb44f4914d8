/*
 * control.h - the operator's door: a unix socket, one command per connection.
 *
 * The client sends one line, a JSON array of strings (["show","ID"]); the
 * answer is "OK" or "ERR reason" on a line, then text until the end. Only the
 * socket's owner (and root) can connect: mode 0600.
 */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include "base/buf.h"
#include "core/mta.h"

#define CONTROL_REQUEST_MAX     65536
#define CONTROL_ARGS_MAX        16
#define CONTROL_OUTPUT_MAX      (1024 * 1024)
#define CONTROL_CONNECTIONS_MAX 32

int control_new(struct mta *m, struct control **c_r,
    struct errbuf *eb) MUST_USE; /* binds; no socket configured: nothing to do */
void control_start(struct control *c);
void control_drain(struct control *c); /* no new commands */
void control_free(struct control **c);

/* A command under way. Long answers (queue) come in pieces: more is called while the client takes
 * them. */
struct control_call {
	struct mta *mta; /* the first shard's; while it runs, the others stand still (shards.h) */
	size_t argc;
	const char *argv[CONTROL_ARGS_MAX + 1];
	struct arena arena;
	struct buf out; /* the answer so far */
	bool (*more)(
	    struct control_call *call); /* NULL: the answer is complete. Returns false at its end */
	bool waits;                     /* for control_wake: more is not called before */
	void *state;                    /* of the command, in the arena */
	void (*end)(struct control_call *call); /* when it ends, however; NULL: nothing to do */
};

void control_wake(struct control_call *call);
/* control_cmds.c: begins the command in call->argv; writes "OK"/"ERR" and text to call->out. */
void control_run(struct control_call *call);
/* Holds, releases and deletes what the queue says (queue_next_ordered). */
void control_apply_orders(struct mta *m);

#endif
