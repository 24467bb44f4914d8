/*
 * qid.c - making, showing and reading ids.
 */
#include "queue/qid.h"

#include <string.h>

#include "base/check.h"

enum {
	BASE = 36,
	TIME_DIGITS = 9,
	EPOCH_DIGITS = 5,
	SERIAL_DIGITS = 6,
	PART_DIGITS_MAX = 5
};

#define TIME_LIMIT      UINT64_C(101559956668416) /* 36^9 */
#define SERIAL_LIMIT    UINT64_C(2176782336)      /* 36^6 */
#define SERIAL_STEP_MAX 1000                      /* keeps 2 million ids of one millisecond apart */

_Static_assert(TIME_DIGITS + EPOCH_DIGITS + SERIAL_DIGITS == QID_MESSAGE_CHARS,
    "the digits make the id");

static uint64_t clamp_ms(int64_t wall_ms)
{
	return MIN((uint64_t)MAX(wall_ms, 0), TIME_LIMIT - 1);
}

void qid_source_init(struct qid_source *s, uint32_t epoch, int64_t wall_ms, uint64_t seed)
{
	CHECK(epoch <= QID_EPOCH_MAX);
	prng_init(&s->prng, seed);
	s->first_ms = s->last_ms = clamp_ms(wall_ms);
	s->serial = prng_below(&s->prng, SERIAL_LIMIT);
	s->epoch = epoch;
}

struct qid qid_new(struct qid_source *s, int64_t wall_ms)
{
	s->last_ms = MAX(s->last_ms, clamp_ms(wall_ms));
	s->serial = (s->serial + 1 + prng_below(&s->prng, SERIAL_STEP_MAX)) % SERIAL_LIMIT;
	return (struct qid){ s->last_ms, s->epoch * SERIAL_LIMIT + s->serial };
}

uint32_t qid_epoch(struct qid id)
{
	return (uint32_t)(id.serial / SERIAL_LIMIT);
}

static char digit(unsigned d)
{
	return "0123456789abcdefghijklmnopqrstuvwxyz"[d];
}

/* Two to a division: every message has its id written several times. */
static void put_digits(char *p, unsigned n, uint64_t v)
{
	for (; n > 1; n -= 2, v /= BASE * BASE) {
		unsigned two = (unsigned)(v % (BASE * BASE));
		p[n - 1] = digit(two % BASE);
		p[n - 2] = digit(two / BASE);
	}
	if (n > 0)
		p[0] = digit((unsigned)(v % BASE));
}

static bool get_digits(const char *p, unsigned n, uint64_t *v)
{
	*v = 0;
	for (unsigned i = 0; i < n; i++) {
		if (p[i] >= '0' && p[i] <= '9')
			*v = *v * BASE + (uint64_t)(p[i] - '0');
		else if (p[i] >= 'a' && p[i] <= 'z')
			*v = *v * BASE + 10 + (uint64_t)(p[i] - 'a');
		else
			return false;
	}
	return true;
}

char *qid_format(struct qid id, char buf[QID_TEXT_MAX])
{
	put_digits(buf, TIME_DIGITS, id.arrival_ms);
	put_digits(buf + TIME_DIGITS, EPOCH_DIGITS + SERIAL_DIGITS, id.serial);
	buf[QID_MESSAGE_CHARS] = '\0';
	return buf;
}

char *qid_format_part(struct qid id, unsigned part, char buf[QID_TEXT_MAX])
{
	char digits[PART_DIGITS_MAX];
	unsigned n = 0;
	CHECK(part > 0);
	CHECK(part <= QID_PART_MAX);
	qid_format(id, buf);
	for (; part > 0; part /= 10)
		digits[n++] = (char)('0' + part % 10);
	char *p = buf + QID_MESSAGE_CHARS;
	*p++ = '-';
	while (n > 0)
		*p++ = digits[--n];
	*p = '\0';
	return buf;
}

int qid_parse(struct slice text, struct qid *id, unsigned *part)
{
	uint64_t number;
	*part = 0;
	if (text.n < QID_MESSAGE_CHARS || !get_digits(text.p, TIME_DIGITS, &id->arrival_ms) ||
	    !get_digits(text.p + TIME_DIGITS, EPOCH_DIGITS + SERIAL_DIGITS, &id->serial))
		return ERR_SYNTAX;
	struct slice rest = slice_from(text, QID_MESSAGE_CHARS);
	if (rest.n == 0)
		return 0;
	struct slice digits = slice_from(rest, 1);
	if (rest.p[0] != '-' || digits.n == 0 || digits.n > PART_DIGITS_MAX || digits.p[0] == '0')
		return ERR_SYNTAX;
	if (!slice_to_u64(digits, &number) || number > QID_PART_MAX)
		return ERR_SYNTAX;
	*part = (unsigned)number;
	return 0;
}
