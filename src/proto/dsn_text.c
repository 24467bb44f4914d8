#include "proto/dsn_text.h"

#include "base/check.h"
#include "base/utf8.h"

enum {
	COLUMNS = 78
};

bool dsn_text_is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 127)
			return false;
	return true;
}

static int add_ascii(char c, enum dsn_text_kind kind, struct buf *out)
{
	if (c >= ' ' && c != '\x7f')
		return buf_add_char(out, c);
	if (kind == DSN_TEXT_BODY && c == '\r')
		return 0; /* line ends are made when it is written */
	if (kind == DSN_TEXT_BODY)
		return buf_add_char(out, c == '\n' || c == '\t' ? c : '?');
	if (c == '\r' || c == '\n' || c == '\t')
		return buf_add_char(out, ' ');
	return 0;
}

static int add_beyond(struct slice character, uint32_t cp, enum dsn_text_kind kind, struct buf *out)
{
	/* C1 controls are controls, and some readers take NEL for a line end. */
	if (kind == DSN_TEXT_ASCII || cp < 0xa0)
		return buf_add_char(out, '?');
	if (kind == DSN_TEXT_ESCAPED)
		return buf_printf(out, "\\x{%X}", (unsigned)cp);
	return buf_add_slice(out, character);
}

int dsn_text_clean(struct slice in, enum dsn_text_kind kind, struct buf *out)
{
	CHECK(kind != DSN_TEXT_NONE);
	int r = 0;
	while (in.n > 0 && !r) {
		uint32_t cp;
		int n = utf8_decode(in, &cp);
		size_t used = (size_t)(n < 0 ? -n : n);
		if (n == 1)
			r = add_ascii(in.p[0], kind, out);
		else if (n > 1)
			r = add_beyond(slice_of(in.p, used), cp, kind, out);
		else
			r = buf_add_char(out, '?');
		in = slice_from(in, used);
	}
	return r;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* At most max bytes of s, without cutting a character in two. */
static size_t cut_before(struct slice s, size_t max)
{
	size_t n = MIN(s.n, max);
	while (n > 1 && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

/*
 * Where to break a line that is too long: at the last blank up to `want`, else
 * at the first one up to `most`, else, for want of any, at `most`. 0: no break.
 */
static size_t find_break(struct slice s, size_t from, size_t want, size_t most)
{
	if (s.n <= want)
		return 0;
	for (size_t at = want; at > from; at--)
		if (is_blank(s.p[at]))
			return at;
	for (size_t at = MAX(want, from + 1); at < s.n && at <= most; at++)
		if (is_blank(s.p[at]))
			return at;
	return s.n > most ? cut_before(s, most) : 0;
}

static struct slice trim_end(struct slice s)
{
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static struct slice trim_start(struct slice s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = slice_from(s, 1);
	return s;
}

int dsn_text_fold(struct slice field, struct buf *out)
{
	struct slice rest = trim_end(field);
	/* No fold between the name and the first word: a line of the name alone looks broken. */
	ptrdiff_t colon = slice_find(rest, ':');
	size_t from = colon < 0 ? 0 : (size_t)colon + 1;
	const char *indent = "";
	int r = 0;
	while (!r) {
		size_t at = find_break(rest, from, COLUMNS - 1, DSN_TEXT_LINE_MAX - 1);
		struct slice line = at ? slice_of(rest.p, at) : rest;
		r = buf_add_str(out, indent);
		if (!r)
			r = buf_add_slice(out, trim_end(line));
		if (!r)
			r = buf_add_str(out, "\r\n");
		if (!at)
			break;
		rest = trim_start(slice_from(rest, at));
		indent = " ";
		from = 0;
	}
	return r;
}

static int wrap_line(struct slice line, struct buf *out)
{
	int r = 0;
	while (!r) {
		size_t at = find_break(line, 0, DSN_TEXT_LINE_MAX, DSN_TEXT_LINE_MAX);
		r = buf_add_slice(out, at ? slice_of(line.p, at) : line);
		if (!r)
			r = buf_add_str(out, "\r\n");
		if (!at)
			break;
		line = slice_from(line, at);
	}
	return r;
}

int dsn_text_wrap(struct slice text, struct buf *out)
{
	struct slice rest = text, line;
	int r = 0;
	while (rest.n > 0 && !r && slice_split(&rest, '\n', &line))
		r = wrap_line(line, out);
	return r;
}
