/*
 * sim_loop.h - the loops of the daemon, for the files of tests/sim that stand
 * in the place of src/io: whose turn it is, who may touch what, and how the
 * world gets a call into a turn.
 *
 * There may be several loops, as there are shards; one thread runs them all,
 * and turns never overlap. sim_loop.c says who is next.
 */
#ifndef SIM_SIM_LOOP_H
#define SIM_SIM_LOOP_H

#include "base/list.h"
#include "io/loop.h"

struct sim_call { /* embed; to be run in a turn of a loop */
	struct list_node node;
	struct loop *loop;
	void (*fn)(struct sim_call *c);
};

void sim_call_init(struct sim_call *c, struct loop *l, void (*fn)(struct sim_call *c));
void sim_post(struct sim_call *c); /* no-op if it is waiting already */
void sim_call_cancel(struct sim_call *c);

/*
 * By every function that is for the thread of the loop: fails a CHECK if another loop's turn, or a
 * job, is what calls it. While they are parked the first may call what is the others'.
 */
void sim_loop_check(const struct loop *l);
bool sim_loop_has_turn(const struct loop *l);
bool sim_loop_has_thread(const struct loop *l); /* of its own */
uint64_t sim_loop_turns(const struct loop *l);  /* so far */
void sim_loop_park_others(bool on);             /* by sim_rendezvous.c, for the first */
bool sim_loop_set_job(bool on); /* what follows is on no loop's thread; returns what was */
struct list_node *sim_loop_pools(struct loop *l); /* struct worker_pool.node */

/* sim_worker.c: of the pools of a loop */
bool sim_worker_has_finished(const struct list_node *pools);
unsigned sim_worker_report(const struct list_node *pools); /* the calls it made */
void sim_worker_drop(struct list_node *pools);             /* the daemon has died */

#endif
