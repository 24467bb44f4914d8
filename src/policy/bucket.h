/*
 * bucket.h - so many per period, evenly: messages or connections of a site.
 *
 * One may go every period/count, a little less often by the slack: a burst of
 * what the last moments (1/64 of the period, at most 100 ms) have left unused
 * is allowed, so that a late wake-up loses nothing, and still no period, wherever
 * it begins, ever sees more than count. Nothing is saved up beyond that: who
 * counts at the other end sees an even stream. Pure; times are mono ms, zero
 * or later. A zeroed bucket has no limit.
 */
#ifndef POLICY_BUCKET_H
#define POLICY_BUCKET_H

#include "base/defs.h"

#define BUCKET_COUNT_MAX    1000000000
#define BUCKET_PERIOD_S_MAX (365 * 86400)

struct bucket_rate {
	uint64_t count; /* 0: no limit */
	int64_t period_s;
};

struct bucket {
	int64_t step_ns; /* between two; 0: no limit */
	int64_t slack_ns;
	int64_t at_ns; /* when the next one is due on the even schedule */
};

/* Also after a reload: what has just gone counts, at the new distance. */
void bucket_set(struct bucket *b, struct bucket_rate rate);
/* The earliest moment the next one may go; not after now_ms: it may go now. */
int64_t bucket_next_at(const struct bucket *b, int64_t now_ms);
bool bucket_is_set(const struct bucket *b); /* there is a limit */
/* One goes now. False, and it must not: see bucket_next_at. */
bool bucket_take(struct bucket *b, int64_t now_ms) MUST_USE;
/* The last one that was taken did not go. */
void bucket_return(struct bucket *b);
/* Until then (not after now_ms: it is over) the bucket remembers something; what is thrown away
 * before and made anew would let too many through. */
int64_t bucket_busy_until(const struct bucket *b);

#endif
