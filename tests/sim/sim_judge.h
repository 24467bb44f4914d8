/*
 * sim_judge.h - what the parts of the checker share: sim_check.c (fates,
 * duplicates, reports) and sim_schedule.c (when something was tried).
 */
#ifndef SIM_SIM_JUDGE_H
#define SIM_SIM_JUDGE_H

#include "sim/sim_check.h"
#include "sim/sim_mail.h"

/*
 * How long after an outcome was known it may still be missing on the disk: a
 * second by law 3, and the slowest job of the disk threads (twenty seconds) on
 * the way there, twice where a report comes first.
 */
#define JUDGE_RECORD_MS (45 * SIM_SECOND)

/* sim_check.c */
const struct sim_event *sim_judge_received(const struct sim_rcpt *r); /* NULL: none */
bool sim_judge_is_final(const struct sim_event *e);
/* Whether what was known at an instant of a life may have been forgotten since. */
bool sim_judge_may_be_forgotten(size_t life, int64_t known_ms);

/* sim_schedule.c */
void sim_judge_expiry(const struct sim_rcpt *r, const struct sim_event *e);
void sim_judge_schedule(const struct sim_rcpt *r, const char *id);
void sim_judge_queued(const struct sim_rcpt *r);

#endif
