/*
 * temp_fail_intervals, and the schedule that follows from what it gives.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "queue/retry.h"

#define NOW_MS 1000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct retry_policy p = { .lifetime_s = 5 * 86400 };
	struct errbuf eb;
	struct prng rng;

	if (retry_parse(slice_of((const char *)data, n), &p, &eb) < 0)
		return 0;
	CHECK(p.intervals_n <= RETRY_INTERVALS_MAX);
	prng_init(&rng, n);
	for (unsigned attempts = 1; attempts <= p.intervals_n + 1; attempts++) {
		int64_t due_ms;
		if (!retry_next(&p, attempts, NOW_MS, NOW_MS, &rng, &due_ms)) {
			CHECK(attempts == p.intervals_n + 1);
			break;
		}
		int64_t interval_ms = (int64_t)p.intervals_s[attempts - 1] * 1000;
		CHECK(interval_ms >= RETRY_INTERVAL_MIN_S * 1000);
		CHECK(due_ms >= NOW_MS + interval_ms);
		CHECK(due_ms <= NOW_MS + interval_ms + RETRY_JITTER_MAX_MS);
	}
	return 0;
}
