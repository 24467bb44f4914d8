/*
 * sim_traffic.h - what the hosts of a site see of the daemon's manners: how
 * many messages and connections they get in a minute.
 */
#ifndef SIM_SIM_TRAFFIC_H
#define SIM_SIM_TRAFFIC_H

#include "sim/sim_net.h"

struct sim_rates { /* in any minute; 0: any number */
	unsigned messages, connections;
};

/* The limits of each site from now on. */
void sim_traffic_limit(struct sim_rates rates);
bool sim_traffic_was_limited(void); /* at some time */
/* A host is dialled; a message is begun there. */
void sim_traffic_dial(const struct sim_host *h);
void sim_traffic_mail(const struct sim_host *h);

/* What a host bears: bounds of its own. */
void sim_traffic_init(struct sim_host *h);
/* A connection, a message: true if it is taken. */
bool sim_traffic_connects(struct sim_host *h);
void sim_traffic_disconnects(struct sim_host *h);
bool sim_traffic_takes(struct sim_host *h);
/* A host there may ask for a pause. */
bool sim_traffic_presses(const struct sim_domain *d);

#endif
