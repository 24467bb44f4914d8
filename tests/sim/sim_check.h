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
};

/* Things that happen, at this moment. */
struct sim_domain;
void sim_check_note_flush(const struct sim_domain *d); /* it moves schedules; NULL: all */
/* Something that may let sites that are down be asked at once. */
void sim_check_note_ask(void);
bool sim_check_was_asked(int64_t from_ms, int64_t to_ms); /* flushes are meant too */
void sim_check_note_listing(void);
int64_t sim_check_listed_ms(void);
void sim_check_note_schedule(const struct sim_schedule *s); /* kept: in force from now on */
/* How long an item may wait where the daemon has all the connections it may have in all. */
void sim_check_note_crowd(int64_t full_max_ms);

/* What `postrider queue --json` would print. */
void sim_check_listing(const char *answer);
size_t sim_check_listed(void); /* items it named */
/* The events file, whole; the trace names its lines if verbose. */
void sim_check_events(const char *file);
void sim_check(void);

struct sim_totals {
	uint64_t messages, recipients, delivered, bounced, expired, deferred, deleted, queued,
	    duplicates, reports;
	uint64_t reused; /* messages that were taken behind another, over one connection */
	uint64_t stale;  /* turned away there, for no reason of their own */
};

extern struct sim_totals sim_totals;

#endif
