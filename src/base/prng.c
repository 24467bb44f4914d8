#include "base/prng.h"

#include <sys/random.h>

#include "base/check.h"

static uint64_t rotl(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

/* SplitMix64: spreads any seed, 0 too, over the state. */
static uint64_t spread(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void prng_init(struct prng *r, uint64_t seed)
{
	for (size_t i = 0; i < ARRAY_LEN(r->s); i++)
		r->s[i] = spread(&seed);
}

uint64_t prng_next(struct prng *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t prng_below(struct prng *r, uint64_t n)
{
	if (n == 0)
		return 0;
	/* The lowest 2^64 mod n values are drawn again: what is left divides evenly. */
	uint64_t skip = (0 - n) % n;
	uint64_t v = prng_next(r);
	while (v < skip)
		v = prng_next(r);
	return v % n;
}

void prng_os_bytes(void *p, size_t n)
{
	unsigned char *at = p;
	while (n) {
		size_t part = MIN(n, (size_t)256); /* the most getentropy gives at once */
		int r = getentropy(at, part);
		CHECK(r == 0);
		at += part;
		n -= part;
	}
}

uint64_t prng_os_u64(void)
{
	uint64_t v;
	prng_os_bytes(&v, sizeof(v));
	return v;
}
