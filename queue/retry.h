/*
 * retry.h - when a deferred recipient is tried again, and when to give up.
 *
 * Pure: policy, counts and instants in, an instant or "expire" out. The
 * grammar is Haraka's temp_fail_intervals ("30s, 1m, 5m*3", "none"); what
 * falls back silently there is an error here.
 */
#ifndef QUEUE_RETRY_H
#define QUEUE_RETRY_H

#include "base/err.h"
#include "base/prng.h"
#include "base/slice.h"

#define RETRY_INTERVALS_MAX  1000
#define RETRY_INTERVAL_MIN_S 5
#define RETRY_JITTER_MAX_MS  (5 * 60 * 1000)

struct retry_policy {
	uint32_t intervals_s[RETRY_INTERVALS_MAX];
	size_t intervals_n; /* n intervals allow n + 1 attempts; 0 ("none"): the first failure is
			       final */
	int64_t lifetime_s;
};

/* Fills intervals from the text; the error names the element by number and text. */
int retry_parse(struct slice text, struct retry_policy *p, struct errbuf *eb) MUST_USE;

/* Haraka's derived default: for i in 1..max-1 an interval of 2^(i+5) seconds (13 gives 64 s ...
 * 131072 s). max in 1..RETRY_TEMP_FAILURES_MAX. */
#define RETRY_TEMP_FAILURES_MAX 26
int retry_derive(unsigned max_temp_failures, struct retry_policy *p, struct errbuf *eb) MUST_USE;

/*
 * After failure number `attempts` (1 for the first): the next due time in *due_ms
 * = now + interval + uniform(0, min(interval/8, 5 min)), never early; false when
 * the intervals are used up or now is at or past arrival + lifetime. A due time
 * past the lifetime is allowed: the item expires when its lifetime ends.
 */
bool retry_next(const struct retry_policy *p, unsigned attempts, int64_t arrival_ms, int64_t now_ms,
    struct prng *rng, int64_t *due_ms);

/* When the item expires whatever happens: arrival + lifetime. */
int64_t retry_expires_at(const struct retry_policy *p, int64_t arrival_ms);

/* At start: min(stored due, now + interval of that attempt + its jitter bound), so a clock that
 * jumped can't park mail for years. */
int64_t retry_clamp_due(const struct retry_policy *p, unsigned attempts, int64_t due_ms,
    int64_t now_ms);

#endif
