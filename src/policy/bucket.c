/*
 * bucket.c - the virtual scheduling algorithm (ITU-T I.371, "GCRA").
 *
 * Of a stream that keeps to a step S with slack L, a half-open interval of
 * length P holds at most ceil((P + L) / S) members; S = (P + L) / N rounded up
 * makes that N.
 */
#include "policy/bucket.h"

#include "base/check.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

#define SLACK_PART   64 /* of the period */
#define SLACK_MAX_NS (100 * NS_PER_MS)

void bucket_set(struct bucket *b, struct bucket_rate rate)
{
	int64_t old_step_ns = b->step_ns;

	if (rate.count == 0) {
		*b = (struct bucket){ 0 };
		return;
	}
	CHECK(rate.count <= BUCKET_COUNT_MAX);
	CHECK(rate.period_s > 0);
	CHECK(rate.period_s <= BUCKET_PERIOD_S_MAX);
	int64_t period_ns = rate.period_s * NS_PER_S;
	int64_t count = (int64_t)rate.count;
	b->slack_ns = MIN(period_ns / SLACK_PART, SLACK_MAX_NS);
	b->step_ns = (period_ns + b->slack_ns + count - 1) / count;
	if (old_step_ns > 0)
		b->at_ns += b->step_ns - old_step_ns;
}

int64_t bucket_next_at(const struct bucket *b, int64_t now_ms)
{
	if (b->step_ns == 0)
		return now_ms;
	int64_t ns = MAX(b->at_ns - b->slack_ns, 0);
	return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

bool bucket_is_set(const struct bucket *b)
{
	return b->step_ns > 0;
}

bool bucket_take(struct bucket *b, int64_t now_ms)
{
	CHECK(now_ms >= 0);
	if (b->step_ns == 0)
		return true;
	if (bucket_next_at(b, now_ms) > now_ms)
		return false;
	b->at_ns = MAX(b->at_ns, now_ms * NS_PER_MS) + b->step_ns;
	return true;
}

void bucket_return(struct bucket *b)
{
	b->at_ns -= b->step_ns;
}

int64_t bucket_busy_until(const struct bucket *b)
{
	return b->step_ns == 0 ? 0 : (MAX(b->at_ns, 0) + NS_PER_MS - 1) / NS_PER_MS;
}
