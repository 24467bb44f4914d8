#include <string.h>

#include "base/check.h"
#include "proto/reply.h"

/*
 * reply_parser.c - lines from a hostile peer to a struct reply.
 *
 * A line is looked at only when its LF is there, as a bounded slice, so a line
 * of any shortness or length reads nothing beyond itself. Text is copied, never
 * looked at again. While a reply is incomplete, `lines` counts what it has so
 * far and into->code holds the code that the others must repeat.
 */

enum {
	CODE_DIGITS = 3
};

void reply_parser_init(struct reply_parser *p, struct reply *into)
{
	*p = (struct reply_parser){ .into = into };
	buf_init(&p->line, REPLY_LINE_MAX);
}

void reply_parser_fini(struct reply_parser *p)
{
	buf_fini(&p->line);
}

bool reply_parser_is_idle(const struct reply_parser *p)
{
	return p->lines == 0 && buf_len(&p->line) == 0;
}

/* The code of a line, with its first digit 2-5 (1yz is never sent in SMTP); 0 if it has none. */
static int line_code(struct slice line)
{
	int code = 0;
	if (line.n < CODE_DIGITS || line.p[0] < '2' || line.p[0] > '5')
		return 0;
	for (int i = 0; i < CODE_DIGITS; i++) {
		if (line.p[i] < '0' || line.p[i] > '9')
			return 0;
		code = code * 10 + (line.p[i] - '0');
	}
	return code;
}

/*
 * Takes an enhanced code that agrees with the reply's class off the front of *text. Some
 * servers write "#5.1.0".
 */
static bool take_enhanced(int code, struct slice *text, uint16_t enhanced[3])
{
	struct slice rest = *text;
	if (rest.n > 0 && rest.p[0] == '#')
		rest = slice_from(rest, 1);
	ptrdiff_t blank = slice_find(rest, ' ');
	size_t n = blank < 0 ? rest.n : (size_t)blank;
	if (reply_parse_enhanced(slice_of(rest.p, n), enhanced) || enhanced[0] != code / 100)
		return false;
	*text = slice_from(rest, n + 1);
	return true;
}

/* The first line decides; others lose the code only where it is the same. */
static struct slice strip_enhanced(struct reply_parser *p, struct slice text)
{
	struct reply *r = p->into;
	uint16_t enhanced[3];
	struct slice rest = text;
	if (!take_enhanced(r->code, &rest, enhanced))
		return text;
	if (p->lines == 0)
		memcpy(r->enhanced, enhanced, sizeof(enhanced));
	else if (memcmp(r->enhanced, enhanced, sizeof(enhanced)) != 0)
		return text;
	return rest;
}

static int add_text(struct reply *r, struct slice text)
{
	size_t room;
	char *to = buf_reserve(&r->text, text.n, &room);
	if (room < text.n)
		return ERR_TOO_BIG;
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] != '\r')
			to[n++] = text.p[i] ? text.p[i] : '?';
	buf_commit(&r->text, n);
	return 0;
}

/* A line without its LF: 1 when it ends the reply, 0 when more follow. */
static int parse_line(struct reply_parser *p, struct slice line)
{
	struct reply *r = p->into;
	while (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	int code = line_code(line);
	char sep = line.n > CODE_DIGITS ? line.p[CODE_DIGITS] : ' ';
	if (code == 0 || (sep != ' ' && sep != '-'))
		return ERR_PROTOCOL;
	if (p->lines > 0 && code != r->code)
		return ERR_PROTOCOL;
	if (p->lines == REPLY_LINES_MAX)
		return ERR_TOO_BIG;
	r->code = code;
	if (p->lines > 0 && buf_add_char(&r->text, '\n'))
		return ERR_TOO_BIG;
	int err = add_text(r, strip_enhanced(p, slice_from(line, CODE_DIGITS + 1)));
	p->lines = sep == '-' ? p->lines + 1 : 0;
	return err ? err : sep != '-';
}

/* One line off the front of in, or all of in when its end has not come; *used says which. */
static int feed_line(struct reply_parser *p, struct slice in, size_t *used)
{
	ptrdiff_t lf = slice_find(in, '\n');
	*used = lf < 0 ? in.n : (size_t)lf + 1;
	struct slice piece = slice_of(in.p, lf < 0 ? in.n : (size_t)lf);
	if (buf_len(&p->line) == 0 && lf >= 0 && piece.n <= REPLY_LINE_MAX)
		return parse_line(p, piece);
	if (buf_add_slice(&p->line, piece))
		return ERR_TOO_BIG;
	if (lf < 0)
		return 0;
	int r = parse_line(p, buf_slice(&p->line));
	buf_clear(&p->line);
	return r;
}

ssize_t reply_parser_feed(struct reply_parser *p, struct slice in, bool *complete)
{
	size_t at = 0;
	*complete = false;
	if (in.n > 0 && reply_parser_is_idle(p))
		reply_clear(p->into);
	while (at < in.n) {
		size_t used;
		int r = feed_line(p, slice_from(in, at), &used);
		if (r < 0)
			return r;
		at += used;
		if (r > 0) {
			*complete = true;
			break;
		}
	}
	return (ssize_t)at;
}
