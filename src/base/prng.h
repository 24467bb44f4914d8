/*
 * prng.h - chance as a parameter: a seeded generator (xoshiro256**), not for
 * secrets, and the system's generator for what must not be guessed.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include "base/defs.h"

struct prng {
	uint64_t s[4];
};

void prng_init(struct prng *r, uint64_t seed);
uint64_t prng_next(struct prng *r);
uint64_t prng_below(struct prng *r, uint64_t n); /* uniform in [0, n); n 0 gives 0 */

void prng_os_bytes(void *p, size_t n); /* from the kernel; aborts if it has none */
uint64_t prng_os_u64(void);

#endif
