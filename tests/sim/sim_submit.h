/*
 * sim_submit.h - those who hand mail to the daemon, and its operator.
 */
#ifndef SIM_SIM_SUBMIT_H
#define SIM_SIM_SUBMIT_H

#include "sim/sim.h"

enum sim_submit_port {
	SIM_SUBMIT_PORT = 2525,    /* trusts its clients */
	SIM_SUBMIT_STARTTLS = 587, /* these two ask for a login */
	SIM_SUBMIT_TLS = 465,
};

#define SIM_SUBMIT_LOGIN    "alice"
#define SIM_SUBMIT_PASSWORD "kept-secret-7"
#define SIM_SUBMIT_PROOF    "AGFsaWNlAGtlcHQtc2VjcmV0LTc=" /* both, for AUTH PLAIN */

struct sim_submit_options {
	size_t messages;
	size_t bursts;     /* many more at one instant, to one domain */
	int64_t period_ms; /* they come within this time */
	unsigned doom_permille;
	unsigned leave_permille; /* a submitter goes away at a step */
};

struct sim_flow {              /* small messages of one client, each to one recipient */
	struct sim_domain *to; /* NULL: to anywhere */
	unsigned kind;         /* of its messages: the caller's */
	uint8_t client;        /* from 10.200.0.this; more than 1 */
	size_t messages;       /* over one connection */
	int64_t at_ms;
};

#define SIM_FLOW_BYTES 300 /* of each body */

void sim_submit_flow(const struct sim_flow *f);
void sim_submit_init(const struct sim_submit_options *o);
bool sim_submit_is_done(void); /* nobody will come any more */

/* One command over the control socket; done gets the whole answer, "" if the daemon is not there or
 * went away. */
typedef void sim_command_fn(const char *answer);
void sim_command(const char *json, sim_command_fn *done);

#endif
