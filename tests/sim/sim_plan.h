/*
 * sim_plan.h - what a seed makes of the world, and the daemon's configuration
 * in it, which may change while it runs.
 */
#ifndef SIM_SIM_PLAN_H
#define SIM_SIM_PLAN_H

#include "sim/sim_check.h"
#include "sim/sim_net.h"
#include "sim/sim_submit.h"
#include "sim/sim_traffic.h"

struct sim_config {
	size_t schedule;             /* which */
	unsigned concurrency, limit; /* connections in all, and of a site */
	struct sim_rates rates;      /* of a site */
	struct sim_limits reuse;
	bool pipelining;
	unsigned dns;    /* which server; 0: the system's */
	unsigned shards; /* from the next start on; 0: one */
};

struct sim_plan {
	struct sim_net_options net;
	struct sim_submit_options submit;
	struct sim_config config; /* in force, or from the next start on */
	bool always_split;
	int64_t end_ms;         /* the run stops here, or before if nothing is left to be done */
	int64_t crash_every_ms; /* 0: never */
	unsigned operator_per_day, trouble_per_day;
	bool reloads, jumps; /* the operator also changes the configuration, the clock is set */
	uint64_t disk_bytes;
};

extern struct sim_plan sim_plan;

void sim_plan_make(void);
void sim_plan_write_users(void);
/* Writes the file, and tells the checker: it counts from now on. */
void sim_plan_configure(void);
void sim_plan_change(void);
/* The file says something else, and is wrong; sim_plan_configure mends it. */
void sim_plan_break(void);

#endif
