/*
 * sim_run.h - one run: a seed's world, the daemon's lives in it, the check.
 */
#ifndef SIM_SIM_RUN_H
#define SIM_SIM_RUN_H

#include "sim/sim.h"

struct sim_result {
	uint64_t messages, recipients, crashes, lives, duplicates, reports, deferred, reused, stale;
	int64_t virtual_ms;
	uint64_t digest;
	unsigned violations;
};

/* The wall clock is set, in a life or between two. */
void sim_jump_clock(int64_t by_ms);

/* The parts of a run, for one of another kind: the world, one life of the daemon, the end. The
 * plan fills in sim_plan. */
struct shards;
struct queue_stats;
void sim_run_begin(uint64_t seed, enum sim_break broken, bool verbose, void (*plan)(void));
void sim_run_live(void);
const struct shards *sim_run_shards(void);  /* of the present life; NULL: none */
bool sim_run_queue(struct queue_stats *st); /* of all of them; false: none */
void sim_run_remove_files(void);

void sim_run(uint64_t seed, enum sim_break broken, bool verbose, struct sim_result *r);

#endif
