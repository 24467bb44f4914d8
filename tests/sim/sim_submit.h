/*
 * sim_submit.h - those who hand mail to the daemon, and its operator.
 */
#ifndef SIM_SIM_SUBMIT_H
#define SIM_SIM_SUBMIT_H

#include "sim/sim.h"

#define SIM_SUBMIT_PORT 2525

struct sim_submit_options {
	size_t messages;
	int64_t period_ms; /* they come within this time */
	unsigned doom_permille;
	unsigned leave_permille; /* a submitter goes away at a step */
};

void sim_submit_init(const struct sim_submit_options *o);
bool sim_submit_is_done(void); /* nobody will come any more */

/* One command over the control socket; done gets the whole answer, "" if the daemon is not there or
 * went away. */
typedef void sim_command_fn(const char *answer);
void sim_command(const char *json, sim_command_fn *done);

#endif
