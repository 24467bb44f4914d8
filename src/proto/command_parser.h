/*
 * command_parser.h - command lines of SMTP: where one ends, and what it asks.
 *
 * A line ends with CRLF and nothing else. One that ends with a bare LF, or
 * holds a CR or NUL, is taken whole and never executed: what a lenient reader
 * would make of it is how commands are smuggled. A line over the limit is
 * swallowed to its end, so that it costs one reply and the session goes on.
 *
 * The verdict on a line does not depend on how it was cut into reads.
 */
#ifndef PROTO_COMMAND_PARSER_H
#define PROTO_COMMAND_PARSER_H

#include "base/slice.h"

enum command_line {
	COMMAND_LINE_MORE = 0, /* no whole line yet; *used bytes may be dropped all the same */
	COMMAND_LINE_OK,
	COMMAND_LINE_BARE_LF,
	COMMAND_LINE_BAD_BYTE, /* CR or NUL inside */
	COMMAND_LINE_TOO_LONG,
};

struct command_reader {
	bool draining; /* the rest of a line over the limit is being swallowed */
};

/*
 * The next line of in, at most max bytes with its CRLF; *line is without it (only with
 * COMMAND_LINE_OK). *used says how much of in is done with: consume it, whatever is returned.
 */
enum command_line command_reader_next(struct command_reader *r, struct slice in, size_t max,
    struct slice *line, size_t *used);

enum command_verb {
	COMMAND_NONE = 0, /* unknown */
	COMMAND_AUTH,
	COMMAND_DATA,
	COMMAND_EHLO,
	COMMAND_EXPN,
	COMMAND_FOREIGN, /* HTTP and the like: a browser was led here */
	COMMAND_HELO,
	COMMAND_HELP,
	COMMAND_LHLO,
	COMMAND_MAIL,
	COMMAND_NOOP,
	COMMAND_QUIT,
	COMMAND_RCPT,
	COMMAND_RSET,
	COMMAND_STARTTLS,
	COMMAND_VRFY,
};

/* Verb without case; *args is what follows it, without blanks at its ends. */
enum command_verb command_parse(struct slice line, struct slice *args);

/* "FROM:" or "TO:" without case, and blanks behind it, off the start of args; false if absent. */
bool command_take_keyword(struct slice *args, struct slice keyword);

#endif
