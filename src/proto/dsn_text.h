/*
 * dsn_text.h - foreign text on its way into a report: made harmless, then
 * folded into lines a mail reader takes.
 *
 * A report quotes what strangers said (replies, addresses, subjects). None of
 * it may add a line, a field or a part, whatever bytes it holds, so all of it
 * goes through dsn_text_clean. Only for dsn.c and dsn_template.c.
 */
#ifndef PROTO_DSN_TEXT_H
#define PROTO_DSN_TEXT_H

#include "base/buf.h"
#include "base/err.h"

#define DSN_TEXT_LINE_MAX 998 /* RFC 5322 2.1.1, without CRLF */

enum dsn_text_kind {
	DSN_TEXT_NONE = 0,
	DSN_TEXT_ASCII,   /* one line; a character beyond ASCII becomes '?' */
	DSN_TEXT_ESCAPED, /* one line; beyond ASCII as \x{E4}, like RFC 6533 3 */
	DSN_TEXT_UTF8,    /* one line; UTF-8 stays */
	DSN_TEXT_BODY,    /* many lines, split by LF; UTF-8 and tabs stay */
};

/*
 * Appends in as this kind allows: in a one-line kind CR, LF and TAB become blanks and other control
 * characters go; what is not UTF-8 becomes '?' in every kind.
 */
int dsn_text_clean(struct slice in, enum dsn_text_kind kind, struct buf *out) MUST_USE;

/* "Name: value", clean and without line breaks, folded at blanks near column 78; with CRLF. */
int dsn_text_fold(struct slice field, struct buf *out) MUST_USE;
/* Clean lines split by LF, each at most 998 bytes on the way out; all end in CRLF. */
int dsn_text_wrap(struct slice text, struct buf *out) MUST_USE;

bool dsn_text_is_ascii(struct slice s);

#endif
