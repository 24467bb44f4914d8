/*
 * sim_loops.h - the simulator's loops tried by themselves, with toys for
 * shards: balls that are thrown from loop to loop, connections, questions,
 * jobs, a rendezvous, and deeds that a daemon with threads must not do.
 *
 * What goes wrong is a violation. The digest in sim tells runs apart.
 */
#ifndef SIM_SIM_LOOPS_H
#define SIM_SIM_LOOPS_H

#include "sim/sim.h"

bool sim_loops(uint64_t seed, bool verbose); /* false: there were violations */

#endif
