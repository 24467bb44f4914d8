#include "base/utf8.h"

#include "base/check.h"

/* How many bytes follow the lead byte, and what range the first of them is in: 0 if it is no lead
 * byte. */
static int follow_of(unsigned char lead, unsigned char *low, unsigned char *high)
{
	*low = 0x80;
	*high = 0xbf;
	if (lead >= 0xc2 && lead <= 0xdf)
		return 1;
	if (lead >= 0xe0 && lead <= 0xef) {
		if (lead == 0xe0)
			*low = 0xa0; /* below: overlong */
		if (lead == 0xed)
			*high = 0x9f; /* above: surrogates */
		return 2;
	}
	if (lead >= 0xf0 && lead <= 0xf4) {
		if (lead == 0xf0)
			*low = 0x90; /* below: overlong */
		if (lead == 0xf4)
			*high = 0x8f; /* above: beyond U+10FFFF */
		return 3;
	}
	return 0;
}

int utf8_decode(struct slice s, uint32_t *cp)
{
	unsigned char low;
	unsigned char high;
	CHECK(s.n > 0);
	unsigned char lead = (unsigned char)s.p[0];
	if (lead < 0x80) {
		*cp = lead;
		return 1;
	}
	int follow = follow_of(lead, &low, &high);
	if (follow == 0)
		return -1;
	uint32_t value = lead & (0x3fu >> follow);
	for (int i = 1; i <= follow; i++) {
		unsigned char c = (size_t)i < s.n ? (unsigned char)s.p[i] : 0;
		if (c < low || c > high)
			return -i;
		value = value << 6 | (c & 0x3fu);
		low = 0x80;
		high = 0xbf;
	}
	*cp = value;
	return follow + 1;
}

bool utf8_is_valid(struct slice s)
{
	while (s.n) {
		uint32_t cp;
		int n = utf8_decode(s, &cp);
		if (n < 0)
			return false;
		s = slice_from(s, (size_t)n);
	}
	return true;
}
