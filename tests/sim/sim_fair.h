/*
 * sim_fair.h - one client hands over very many messages for one site, others
 * a single one now and then, for it and for other sites: how long do those
 * wait? And is a rate kept to meanwhile?
 */
#ifndef SIM_SIM_FAIR_H
#define SIM_SIM_FAIR_H

#include "sim/sim.h"

#define SIM_FAIR_ITEMS      100000
#define SIM_FAIR_RATE_ITEMS 20000

struct sim_fair_options {
	uint64_t seed;
	size_t items; /* of the burst */
	bool rated;   /* the site has a rate of messages; else it takes its time */
	enum sim_break broken;
	bool verbose;
};

/* Prints a line of figures, and the laws that were broken; true if none was. */
bool sim_fair(const struct sim_fair_options *o);

#endif
