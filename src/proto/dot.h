/*
 * dot.h - framing of DATA: taking a message off the wire and putting one on it.
 *
 * Inbound, the end of data is CRLF "." CRLF and nothing else (RFC 5321 4.1.1.4),
 * whatever bare CR or LF stand around a dot, so nothing can be smuggled. What
 * comes out is the message as stored: each bare CR or bare LF made CRLF, one
 * leading dot of each line that had one taken off, NUL noted. Bare line ends
 * are normalised after framing: a line begun by a bare LF is not a line for
 * the dot rules, so its dots stay as they are.
 *
 * Outbound, dots are stuffed and the final CRLF "." CRLF is added; the stream
 * holds no bare CR or LF because stored bodies don't.
 */
#ifndef PROTO_DOT_H
#define PROTO_DOT_H

#include "base/buf.h"
#include "base/err.h"

struct dot_decoder {
	int state;         /* enum in dot.c: what the last bytes on the wire were */
	bool done;         /* the end of data was reached */
	bool bare_newline; /* a bare CR or LF was seen */
	bool nul;          /* a NUL was seen (it is dropped from the output) */
	bool has_8bit;     /* a byte over 127 was seen */
	bool maybe_dots;   /* a line of what was put out may begin with a dot; else none does */
	uint64_t bytes;    /* put out so far */
};

void dot_decoder_init(struct dot_decoder *d);
/*
 * Consumes from in until the end of data or the end of in; appends to out, which must have room
 * for 2 * in.n + 2 more bytes. Returns the bytes consumed; d->done says whether the end was
 * reached. Nothing is consumed after that.
 */
size_t dot_decode(struct dot_decoder *d, struct slice in, struct buf *out);

struct dot_encoder {
	bool at_line_start; /* nothing was sent yet, or it ended with LF */
};

void dot_encoder_init(struct dot_encoder *e);
/* ERR_TOO_BIG when out is full: in is consumed wholly or not at all. */
int dot_encode(struct dot_encoder *e, struct slice in, struct buf *out) MUST_USE;
/* CRLF if the body lacks it, then ".\r\n"; ERR_TOO_BIG when out is full. */
int dot_encode_end(struct dot_encoder *e, struct buf *out) MUST_USE;

#endif
