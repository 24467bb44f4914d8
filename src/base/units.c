#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"

/* Every duration can be turned into milliseconds. */
static const int64_t duration_max = INT64_MAX / 1000;

static const struct {
	char letter;
	int64_t seconds;
} units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };

/* The digits at the start of *rest, which moves past them. */
static int take_number(struct slice *rest, uint64_t *value)
{
	size_t n = 0;
	while (n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9')
		n++;
	if (n == 0)
		return ERR_SYNTAX;
	if (!slice_to_u64(slice_of(rest->p, n), value))
		return ERR_RANGE;
	*rest = slice_from(*rest, n);
	return 0;
}

/* The unit letter at the start of *rest, from `from` on in the table: parts come in falling order.
 */
static int take_unit(struct slice *rest, size_t *from)
{
	for (size_t i = *from; i < ARRAY_LEN(units); i++) {
		if (rest->p[0] == units[i].letter) {
			*from = i + 1;
			*rest = slice_from(*rest, 1);
			return (int)i;
		}
	}
	return ERR_SYNTAX;
}

int units_duration(struct slice text, int64_t *seconds)
{
	int64_t sum = 0;
	size_t from = 0;
	struct slice rest = text;
	do {
		uint64_t number;
		int64_t part;
		int unit = ARRAY_LEN(units) - 1;
		int r = take_number(&rest, &number);
		if (r < 0)
			return r;
		/* Plain seconds stand alone: "1h5" is a slip. */
		if (rest.n)
			unit = take_unit(&rest, &from);
		else if (from > 0)
			return ERR_SYNTAX;
		if (unit < 0)
			return unit;
		if (__builtin_mul_overflow(number, units[unit].seconds, &part) ||
		    __builtin_add_overflow(sum, part, &sum) || sum > duration_max)
			return ERR_RANGE;
	} while (rest.n);
	*seconds = sum;
	return 0;
}

int units_size(struct slice text, uint64_t *bytes)
{
	uint64_t value;
	unsigned shift = 0;
	int r = take_number(&text, &value);
	if (r < 0)
		return r;
	if (text.n > 1)
		return ERR_SYNTAX;
	if (text.n == 1) {
		switch (text.p[0] | 0x20) {
		case 'k':
			shift = 10;
			break;
		case 'm':
			shift = 20;
			break;
		case 'g':
			shift = 30;
			break;
		default:
			return ERR_SYNTAX;
		}
	}
	if (value > UINT64_MAX >> shift)
		return ERR_RANGE;
	*bytes = value << shift;
	return 0;
}

int units_rate(struct slice text, uint64_t *count, int64_t *seconds)
{
	uint64_t n;
	int64_t per = 1;
	int r = take_number(&text, &n);
	if (r == 0 && text.n)
		r = text.p[0] == '/' ? units_duration(slice_from(text, 1), &per) : ERR_SYNTAX;
	if (r < 0)
		return r;
	if (per == 0)
		return ERR_RANGE;
	*count = n;
	*seconds = per;
	return 0;
}

char *units_format_duration(int64_t seconds, char buf[UNITS_TEXT_MAX])
{
	uint64_t rest = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
	const char *sign = seconds < 0 ? "-" : "";
	int at = 0;
	int parts = 0;
	if (rest == 0)
		snprintf(buf, UNITS_TEXT_MAX, "0s");
	for (size_t i = 0; i < ARRAY_LEN(units) && parts < 2 && rest; i++) {
		uint64_t unit = (uint64_t)units[i].seconds;
		if (rest < unit)
			continue;
		at += snprintf(buf + at, UNITS_TEXT_MAX - (size_t)at, "%s%" PRIu64 "%c",
		    parts == 0 ? sign : "", rest / unit, units[i].letter);
		rest %= unit;
		parts++;
	}
	return buf;
}
