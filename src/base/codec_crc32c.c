#include <pthread.h>
#include <string.h>

#include "base/codec.h"

/*
 * CRC32C, polynomial 0x1edc6f41, reflected: in the CPU's instruction where
 * there is one (SSE 4.2), else by eight tables, eight bytes a step. Every
 * stored body passes through here, so a byte a step would show in profiles.
 *
 * The instruction takes a word each cycle but gives its sum three cycles later:
 * so three sums run side by side over three stripes of a block. What a sum
 * becomes when a stripe of zeros follows is in tables; with that it is added to
 * the next.
 */
enum {
	STEP = 8,
	STRIPE = 256,
	STRIPES = 3
};

static const uint32_t polynomial = 0x82f63b78; /* bits reversed */

static uint32_t table[STEP][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

/* table[k][b]: what byte b, followed by k zero bytes, does to the sum. */
static void fill_table(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
		table[0][b] = crc;
	}
	for (int k = 1; k < STEP; k++)
		for (int b = 0; b < 256; b++)
			table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
}

uint32_t codec_crc32c_portable(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *at = p;
	pthread_once(&table_once, fill_table);
	crc = ~crc;
	for (; n >= STEP; n -= STEP, at += STEP) {
		uint32_t a = codec_get_u32(at) ^ crc;
		uint32_t b = codec_get_u32(at + 4);
		crc = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^
		      table[4][a >> 24] ^ table[3][b & 0xff] ^ table[2][b >> 8 & 0xff] ^
		      table[1][b >> 16 & 0xff] ^ table[0][b >> 24];
	}
	for (; n; n--, at++)
		crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)

static uint32_t behind[4][256]; /* [k][b]: byte k of the sum is b, then a stripe of zeros */
static pthread_once_t behind_once = PTHREAD_ONCE_INIT;

static void fill_behind(void)
{
	static const char zeros[STRIPE];
	for (int k = 0; k < 4; k++)
		for (uint32_t b = 0; b < 256; b++)
			behind[k][b] = ~codec_crc32c_portable(~(b << (8 * k)), zeros, STRIPE);
}

static uint32_t shift(uint32_t sum)
{
	return behind[0][sum & 0xff] ^ behind[1][sum >> 8 & 0xff] ^ behind[2][sum >> 16 & 0xff] ^
	       behind[3][sum >> 24];
}

static uint64_t word_at(const unsigned char *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
	return word;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_block(uint32_t sum,
    const unsigned char *at)
{
	uint64_t a = sum, b = 0, c = 0;
	for (size_t i = 0; i < STRIPE; i += STEP) {
		a = __builtin_ia32_crc32di(a, word_at(at + i));
		b = __builtin_ia32_crc32di(b, word_at(at + STRIPE + i));
		c = __builtin_ia32_crc32di(c, word_at(at + STRIPE + STRIPE + i));
	}
	return shift(shift((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc,
    const unsigned char *at, size_t n)
{
	uint32_t blocks = ~crc;
	if (n >= STRIPES * STRIPE)
		pthread_once(&behind_once, fill_behind);
	for (; n >= STRIPES * STRIPE; n -= STRIPES * STRIPE, at += STRIPES * STRIPE)
		blocks = crc32c_block(blocks, at);
	uint64_t sum = blocks;
	for (; n >= STEP; n -= STEP, at += STEP)
		sum = __builtin_ia32_crc32di(sum, word_at(at));
	uint32_t rest = (uint32_t)sum;
	for (; n; n--, at++)
		rest = __builtin_ia32_crc32qi(rest, *at);
	return ~rest;
}

uint32_t codec_crc32c(uint32_t crc, const void *p, size_t n)
{
	/* A load and a test: the answer was found out before main. */
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, p, n);
	return codec_crc32c_portable(crc, p, n);
}

#else

uint32_t codec_crc32c(uint32_t crc, const void *p, size_t n)
{
	return codec_crc32c_portable(crc, p, n);
}

#endif
