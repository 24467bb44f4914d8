/*
 * header.h - the header block of a message as it streams in: looked at and
 * edited once, before anything is stored.
 *
 * The filter holds back the header block (to its limit), then puts out: the
 * lines given as trace first, the block without its Bcc fields (and
 * Return-Path), the missing fields added at its end. The body follows
 * unchanged. A message without a header block, or whose first line is no
 * field, gets an empty block of its own before it. A line that is neither a
 * field nor its continuation ends the block: a blank line goes before it.
 *
 * A field is a name of the characters 33 to 126 but colon, blanks (obsolete,
 * RFC 5322 4.5, but a Bcc must not slip past by them), a colon.
 */
#ifndef PROTO_HEADER_H
#define PROTO_HEADER_H

#include "base/buf.h"
#include "base/err.h"

#define HEADER_BLOCK_MAX (1024 * 1024) /* beyond: ERR_TOO_BIG (552 5.3.4 header too large) */

struct header_filter_config {
	const char *trace;      /* complete Received field with CRLF, or "" */
	const char *date;       /* value for Date if it is missing; NULL: don't add */
	const char *message_id; /* with brackets, if missing; NULL: don't add */
};

struct header_filter {
	struct header_filter_config cfg;
	struct buf block;
	size_t line_at;    /* in block: where the line not yet judged begins */
	bool done;         /* the block has been put out */
	int err;           /* sticks */
	unsigned received; /* Received fields that were there */
	bool has_8bit;     /* a byte over 127 in the block (as put out) */
	bool has_date, has_message_id;
	char message_id[256]; /* as found or added, with brackets; cut if longer */
};

/* cfg is copied; its strings are borrowed until the block is out */
void header_filter_init(struct header_filter *f, const struct header_filter_config *cfg);
void header_filter_fini(struct header_filter *f);
/*
 * CRLF text in, edited text appended to out, which must take the block (to HEADER_BLOCK_MAX) with
 * what is added, and in. ERR_TOO_BIG (block or out) sticks. Once f->done, text goes through
 * unchanged: the caller may as well spare the copy.
 */
int header_filter_feed(struct header_filter *f, struct slice in, struct buf *out) MUST_USE;
/* End of message: puts out a block that had no end. */
int header_filter_end(struct header_filter *f, struct buf *out) MUST_USE;

/* First value of a field in a block (unfolded into out, trimmed); ERR_NOT_FOUND. For reports. */
int header_find(struct slice block, const char *name, struct buf *out) MUST_USE;
/*
 * Length of the header block of a stored message, with the blank line's CRLF if there is one.
 */
size_t header_block_length(struct slice msg);

#endif
