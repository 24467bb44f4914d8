/*
 * sim_said.h - what the DNS has said to the daemon, and until when that
 * counts. By it the daemon is judged: it asks nothing it knows, and nothing
 * twice at once; it dials nobody whom the DNS named too long ago; it takes no
 * domain for gone that is back.
 */
#ifndef SIM_SIM_SAID_H
#define SIM_SIM_SAID_H

#include "sim/sim_io.h"
#include "sim/sim_net.h"

/* A question, over a channel (a number; each has its own memory, and none outlives the daemon). */
void sim_said_asked(unsigned channel, const char *name, enum dns_type type);
/* And its answer, or that it was dropped. */
void sim_said_answer(unsigned channel, const char *name, enum dns_type type,
    const struct dns_answer *a);
void sim_said_dropped(unsigned channel, const char *name, enum dns_type type);
void sim_said_forget(void); /* the daemon is dead */

void sim_said_dialled(const struct sim_host *h);
/* Whether an attempt may fail then by an answer of this life, so that nobody sees a question. */
bool sim_said_no(const struct sim_site *s, int64_t life_ms, int64_t at_ms);
/* Whether the DNS had a final word against the domain at that time. */
bool sim_said_gone(const struct sim_domain *d, int64_t at_ms);

#endif
