/*
 * sim_operator.h - who gives commands to the daemon: flushes, holds, releases,
 * deletes, has the configuration read again, and sets the clock.
 */
#ifndef SIM_SIM_OPERATOR_H
#define SIM_SIM_OPERATOR_H

#include "sim/sim.h"

void sim_operator_init(void);
void sim_operator_stop(void);
/* A daemon begins: what the operator was in the middle of is put right. */
void sim_operator_on_start(void);

#endif
