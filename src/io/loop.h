/*
 * loop.h - the event loop of one shard: one thread, one timer, one step.
 *
 * Callbacks of streams, listeners, DNS and workers only mark work; the step
 * function, called once per turn after all of them, does it. So the order of
 * work is the same in the simulator.
 *
 * A process has several: the first runs in the main thread and takes the
 * signals, the others in threads of their own. All functions but loop_wake,
 * and all of what lives on a loop (streams, listeners, DNS, workers), are for
 * the loop's own thread: the one that made it; from loop_run_in_thread on the
 * new one; after loop_join the one that joined. So the main thread puts the
 * shards together and takes them apart.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include "base/err.h"

struct loop;

struct loop *loop_new(void); /* also makes the process ignore SIGPIPE */
void loop_free(struct loop **l);

typedef void loop_step_fn(void *arg, struct now now);
void loop_set_step(struct loop *l, loop_step_fn *fn, void *arg);

void loop_run(struct loop *l);  /* until loop_stop, in this thread */
void loop_stop(struct loop *l); /* from a turn of this loop: it is the last one */
/*
 * Until loop_stop, in a new thread, which takes no signal; its name shows in ps and top (15
 * bytes). Like loop_run it waits for something to happen: loop_again before this makes a first
 * turn. No thread to be had ends the process, as no memory would.
 */
void loop_run_in_thread(struct loop *l, const char *name);
/* Waits for the end of that thread. Between runs of the main thread's loop: signals would wait
 * with it, so that loop had better stop last. */
void loop_join(struct loop *l);
struct now loop_now(struct loop *l); /* read at the start of this turn */

/*
 * The one timer: a turn (and so a step) happens at mono_ms at the latest, give or take the 4 ms of
 * the coarse clock; INT64_MAX: none. Once it has fired it must be set anew.
 */
void loop_set_timer(struct loop *l, int64_t mono_ms);
/* A further turn at once, without waiting: when the step left work undone. */
void loop_again(struct loop *l);
/* From any thread: makes a turn happen. */
void loop_wake(struct loop *l);

typedef void loop_signal_fn(void *arg, int signo);
/* Only on the first loop of a process; the other threads block all signals. */
void loop_on_signal(struct loop *l, int signo, loop_signal_fn *fn, void *arg);

#endif
