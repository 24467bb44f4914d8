/*
 * reply.h - an SMTP reply as a value: code, enhanced status code, text.
 *
 * Made by the reply parser from what a peer sent, or by us. Text from a peer
 * is data: it may hold any byte but CR, LF and NUL (lines are joined by LF),
 * is never re-parsed, and is escaped wherever it is shown.
 */
#ifndef PROTO_REPLY_H
#define PROTO_REPLY_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define REPLY_LINE_MAX  2048 /* RFC 5321 4.5.3.1.5 asks for 512; some servers send more */
#define REPLY_LINES_MAX 128  /* lines beyond are a protocol error */
#define REPLY_TEXT_MAX  16384

struct reply {
	int code; /* 100-599; 0: no reply */
	/* class, subject, detail; class 0: none given, or its class contradicts the code */
	uint16_t enhanced[3];
	struct buf text; /* without codes; lines joined by LF */
};

void reply_init(struct reply *r);
void reply_fini(struct reply *r);
void reply_clear(struct reply *r);
void reply_copy(struct reply *to, const struct reply *from);
/* Sets all three; text is cut at REPLY_TEXT_MAX. enhanced "5.1.1" or NULL. */
void reply_set(struct reply *r, int code, const char *enhanced, struct slice text);

int reply_class(const struct reply *r); /* 2, 4, 5 ... ; 0 if there is no reply */

/*
 * One line for logs, events and reports: "550 5.1.1 no such user\r\nsecond line" with the line
 * breaks as the four characters \r\n. Appends all or nothing.
 */
int reply_fold(const struct reply *r, struct buf *out) MUST_USE;

/*
 * "5.1.1" to its parts; ERR_SYNTAX unless class is 2, 4 or 5 and both others are 0-999 without
 * leading zeros (RFC 3463 2).
 */
int reply_parse_enhanced(struct slice text, uint16_t enhanced[3]) MUST_USE;

/*
 * Incremental parser for one reply after another. Strict about what matters
 * (three digits, the same code on each line, CRLF or bare LF as line end,
 * limits), tolerant of an empty or missing text ("553" alone).
 */
struct reply_parser {
	struct buf line;
	int lines;
	struct reply *into;
};

void reply_parser_init(struct reply_parser *p, struct reply *into);
void reply_parser_fini(struct reply_parser *p);
/*
 * Consumes from in: returns > 0 bytes used, with *complete set when a whole reply is in `into`; 0
 * if in is empty; ERR_PROTOCOL or ERR_TOO_BIG when it is no SMTP reply (the parser is then spent).
 * Stops after one reply. `into` is cleared when the next one begins.
 */
ssize_t reply_parser_feed(struct reply_parser *p, struct slice in, bool *complete) MUST_USE;
/* True when no byte of a further reply has been seen. */
bool reply_parser_is_idle(const struct reply_parser *p);

#endif
