#include "proto/reply.h"

#include <string.h>

#include "base/check.h"

/* reply.c - the value; reply_parser.c makes one from what a peer sent. */

enum {
	PART_DIGITS_MAX = 3,
	PART_MAX = 999 /* RFC 3463 2; large providers use three digits */
};

void reply_init(struct reply *r)
{
	*r = (struct reply){ .code = 0 };
	buf_init(&r->text, REPLY_TEXT_MAX);
}

void reply_fini(struct reply *r)
{
	buf_fini(&r->text);
	reply_init(r);
}

void reply_clear(struct reply *r)
{
	r->code = 0;
	memset(r->enhanced, 0, sizeof(r->enhanced));
	buf_clear(&r->text);
}

void reply_copy(struct reply *to, const struct reply *from)
{
	CHECK(to != from);
	to->code = from->code;
	memcpy(to->enhanced, from->enhanced, sizeof(to->enhanced));
	buf_clear(&to->text);
	/* Both have the same limit, so what fitted there fits here. */
	int r = buf_add_slice(&to->text, buf_slice(&from->text));
	CHECK(r == 0);
}

void reply_set(struct reply *r, int code, const char *enhanced, struct slice text)
{
	CHECK(code == 0 || (code >= 100 && code <= 599));
	reply_clear(r);
	r->code = code;
	if (enhanced) {
		int err = reply_parse_enhanced(slice_str(enhanced), r->enhanced);
		CHECK(err == 0);
	}
	size_t room;
	char *to = buf_reserve(&r->text, MIN(text.n, (size_t)REPLY_TEXT_MAX), &room);
	size_t n = 0;
	for (size_t i = 0; i < text.n && n < room; i++)
		if (text.p[i] != '\r')
			to[n++] = text.p[i] ? text.p[i] : '?';
	buf_commit(&r->text, n);
}

int reply_class(const struct reply *r)
{
	return r->code / 100;
}

static int add_codes(const struct reply *r, struct buf *out)
{
	if (!r->enhanced[0])
		return buf_printf(out, "%d", r->code);
	return buf_printf(out, "%d %u.%u.%u", r->code, (unsigned)r->enhanced[0],
	    (unsigned)r->enhanced[1], (unsigned)r->enhanced[2]);
}

int reply_fold(const struct reply *r, struct buf *out)
{
	size_t before = buf_len(out);
	int err = add_codes(r, out);
	struct slice rest = buf_slice(&r->text), line;
	const char *joint = " ";
	while (!err && rest.n > 0 && slice_split(&rest, '\n', &line)) {
		err = buf_add_str(out, joint);
		if (!err)
			err = buf_add_slice(out, line);
		joint = "\\r\\n";
	}
	if (err)
		buf_truncate(out, before);
	return err;
}

/* One number of an enhanced code off the front of *text; leading zeros are refused (RFC 3463 2). */
static int parse_part(struct slice *text, uint16_t *part)
{
	unsigned v = 0;
	size_t n = 0;
	while (n < text->n && text->p[n] >= '0' && text->p[n] <= '9') {
		if (n == PART_DIGITS_MAX || (n > 0 && v == 0))
			return ERR_SYNTAX;
		v = v * 10 + (unsigned)(text->p[n++] - '0');
	}
	if (n == 0 || v > PART_MAX)
		return ERR_SYNTAX;
	*part = (uint16_t)v;
	*text = slice_from(*text, n);
	return 0;
}

int reply_parse_enhanced(struct slice text, uint16_t enhanced[3])
{
	uint16_t part[3];
	for (int i = 0; i < 3; i++) {
		if (i > 0) {
			if (text.n == 0 || text.p[0] != '.')
				return ERR_SYNTAX;
			text = slice_from(text, 1);
		}
		if (parse_part(&text, &part[i]))
			return ERR_SYNTAX;
	}
	if (text.n > 0 || (part[0] != 2 && part[0] != 4 && part[0] != 5))
		return ERR_SYNTAX;
	memcpy(enhanced, part, sizeof(part));
	return 0;
}
