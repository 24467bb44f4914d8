#include "proto/command_parser.h"

#include <string.h>

#include "base/check.h"

enum command_line command_reader_next(struct command_reader *r, struct slice in, size_t max,
    struct slice *line, size_t *used)
{
	CHECK(max >= 2);
	*line = SLICE_NONE;
	*used = 0;
	const char *lf = in.n ? memchr(in.p, '\n', in.n) : NULL;
	size_t length = lf ? (size_t)(lf - in.p) + 1 : in.n;
	if (r->draining || length > max || (!lf && length == max)) {
		r->draining = lf == NULL;
		*used = length;
		return lf ? COMMAND_LINE_TOO_LONG : COMMAND_LINE_MORE;
	}
	if (!lf)
		return COMMAND_LINE_MORE;
	*used = length;
	if (length < 2 || lf[-1] != '\r')
		return COMMAND_LINE_BARE_LF;
	*line = slice_of(in.p, length - 2);
	if (slice_find(*line, '\r') >= 0 || slice_find(*line, '\0') >= 0) {
		*line = SLICE_NONE;
		return COMMAND_LINE_BAD_BYTE;
	}
	return COMMAND_LINE_OK;
}

static const struct {
	struct slice name;
	enum command_verb verb;
} VERBS[] = {
	/* The hot ones first: the table is searched from the top. */
	{ { "RCPT", 4 }, COMMAND_RCPT },
	{ { "MAIL", 4 }, COMMAND_MAIL },
	{ { "DATA", 4 }, COMMAND_DATA },
	{ { "EHLO", 4 }, COMMAND_EHLO },
	{ { "QUIT", 4 }, COMMAND_QUIT },
	{ { "RSET", 4 }, COMMAND_RSET },
	{ { "NOOP", 4 }, COMMAND_NOOP },
	{ { "AUTH", 4 }, COMMAND_AUTH },
	{ { "STARTTLS", 8 }, COMMAND_STARTTLS },
	{ { "HELO", 4 }, COMMAND_HELO },
	{ { "LHLO", 4 }, COMMAND_LHLO },
	{ { "VRFY", 4 }, COMMAND_VRFY },
	{ { "EXPN", 4 }, COMMAND_EXPN },
	{ { "HELP", 4 }, COMMAND_HELP },
	{ { "CONNECT", 7 }, COMMAND_FOREIGN },
	{ { "DELETE", 6 }, COMMAND_FOREIGN },
	{ { "GET", 3 }, COMMAND_FOREIGN },
	{ { "HEAD", 4 }, COMMAND_FOREIGN },
	{ { "OPTIONS", 7 }, COMMAND_FOREIGN },
	{ { "PATCH", 5 }, COMMAND_FOREIGN },
	{ { "POST", 4 }, COMMAND_FOREIGN },
	{ { "PUT", 3 }, COMMAND_FOREIGN },
};

static struct slice trim_blanks(struct slice s)
{
	while (s.n && s.p[0] == ' ')
		s = slice_from(s, 1);
	while (s.n && s.p[s.n - 1] == ' ')
		s.n--;
	return s;
}

enum command_verb command_parse(struct slice line, struct slice *args)
{
	ptrdiff_t blank = slice_find(line, ' ');
	struct slice verb = blank < 0 ? line : slice_of(line.p, (size_t)blank);
	*args = trim_blanks(slice_from(line, verb.n));
	for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
		if (slice_eq_nocase(verb, VERBS[i].name))
			return VERBS[i].verb;
	return COMMAND_NONE;
}

bool command_take_keyword(struct slice *args, struct slice keyword)
{
	if (!slice_starts_nocase(*args, keyword))
		return false;
	*args = trim_blanks(slice_from(*args, keyword.n));
	return true;
}
