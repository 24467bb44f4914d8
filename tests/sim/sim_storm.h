/*
 * sim_storm.h - very many items fall due in one second for a host that is
 * down, while other mail comes and goes: one probe decides for all, nothing
 * of theirs on the disk is touched, and the other mail isn't late.
 */
#ifndef SIM_SIM_STORM_H
#define SIM_SIM_STORM_H

#include "sim/sim.h"

#define SIM_STORM_ITEMS 100000

/* Prints a line of figures, and the laws that were broken; true if none was. */
bool sim_storm(uint64_t seed, size_t items, bool verbose);

#endif
