/*
 * sim_check.h - after a run: were the laws kept? Shares no code with the
 * daemon's decisions: it knows what was handed over, what hosts took and
 * refused, the event lines, the listing of the queue, and the lives of the
 * daemon; and the schedule in its own words.
 */
#ifndef SIM_SIM_CHECK_H
#define SIM_SIM_CHECK_H

#include "sim/sim.h"

#define SIM_INTERVALS_MAX 64

struct sim_schedule {
	int64_t intervals_s[SIM_INTERVALS_MAX];
	size_t intervals_n;
	int64_t lifetime_s;
	bool crowded; /* the daemon may use few connections in all */
};

/* Things the operator does: when. A flush moves schedules. */
void sim_check_note_flush(void);
void sim_check_note_listing(void);

/* What `postrider queue --json` would print. */
void sim_check_listing(const char *answer);
size_t sim_check_listed(void); /* items it named */
/* The events file, whole; the trace names its lines if verbose. */
void sim_check_events(const char *file);
void sim_check(const struct sim_schedule *s);

struct sim_totals {
	uint64_t messages, recipients, delivered, bounced, expired, deferred, deleted, queued,
	    duplicates, reports;
};

extern struct sim_totals sim_totals;

#endif
