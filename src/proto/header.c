#include "proto/header.h"

#include <string.h>

#include "base/check.h"

enum {
	JUDGE_BYTES = 1000, /* a longer line is judged before it is whole (RFC 5322 2.1.1: 998) */
};

enum line_kind {
	LINE_NONE = 0,
	LINE_FIELD,
	LINE_CONTINUATION,
	LINE_BLANK,
	LINE_BODY, /* none of them */
};

/* The name of the field a line begins, or empty; *value_at is behind the colon. */
static struct slice field_name(struct slice line, size_t *value_at)
{
	size_t n = 0;
	while (n < line.n && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
		n++;
	size_t colon = n;
	while (colon < line.n && (line.p[colon] == ' ' || line.p[colon] == '\t'))
		colon++;
	if (n == 0 || colon == line.n || line.p[colon] != ':')
		return SLICE_NONE;
	*value_at = colon + 1;
	return slice_of(line.p, n);
}

/* line is whole with its line end, or a beginning of at least JUDGE_BYTES: more never counts. */
static enum line_kind judge(struct slice line, bool is_first)
{
	size_t value_at;
	line.n = MIN(line.n, (size_t)JUDGE_BYTES);
	if (slice_eq(line, SLICE("\r\n")) || slice_eq(line, SLICE("\n")))
		return LINE_BLANK;
	if (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
		return is_first ? LINE_BODY : LINE_CONTINUATION;
	return field_name(line, &value_at).n ? LINE_FIELD : LINE_BODY;
}

/* The next line of rest, with its LF if it has one. */
static struct slice take_line(struct slice *rest)
{
	ptrdiff_t lf = slice_find(*rest, '\n');
	struct slice line = lf < 0 ? *rest : slice_of(rest->p, (size_t)lf + 1);
	*rest = slice_from(*rest, line.n);
	return line;
}

/* The next field of a block with its continuation lines; false at the end of the block. */
static bool take_field(struct slice *rest, struct slice *field)
{
	struct slice start = *rest;
	if (rest->n == 0 || judge(take_line(rest), true) != LINE_FIELD) {
		*rest = start;
		return false;
	}
	while (rest->n && (rest->p[0] == ' ' || rest->p[0] == '\t'))
		take_line(rest);
	*field = slice_of(start.p, start.n - rest->n);
	return true;
}

/* Value without line breaks and the blanks around it. */
static int add_unfolded(struct slice field, size_t value_at, struct buf *out)
{
	struct slice value = slice_trim(slice_from(field, value_at));
	int r = 0;
	for (size_t i = 0; i < value.n && !r; i++)
		if (value.p[i] != '\r' && value.p[i] != '\n')
			r = buf_add_char(out, value.p[i]);
	return r;
}

void header_filter_init(struct header_filter *f, const struct header_filter_config *cfg)
{
	*f = (struct header_filter){ .cfg = *cfg };
	buf_init(&f->block, HEADER_BLOCK_MAX);
}

void header_filter_fini(struct header_filter *f)
{
	buf_fini(&f->block);
}

static void set_message_id(struct header_filter *f, struct slice id)
{
	ptrdiff_t open = slice_find(id, '<');
	if (open >= 0)
		id = slice_from(id, (size_t)open);
	ptrdiff_t close = slice_find(id, '>');
	if (open >= 0 && close >= 0)
		id.n = (size_t)close + 1;
	size_t n = MIN(id.n, sizeof(f->message_id) - 1);
	if (n)
		memcpy(f->message_id, id.p, n);
	f->message_id[n] = '\0';
}

static void note_message_id(struct header_filter *f, struct slice field, size_t value_at)
{
	struct buf id;
	if (f->has_message_id)
		return;
	f->has_message_id = true;
	buf_init(&id, 4 * sizeof(f->message_id));
	/* A longer one is cut, as one just under the limit is. */
	int r = add_unfolded(field, value_at, &id);
	if (!r || buf_len(&id))
		set_message_id(f, buf_slice(&id));
	buf_fini(&id);
}

/* Looks at a field; false if it is not to be put out. */
static bool note_field(struct header_filter *f, struct slice field)
{
	size_t value_at = 0;
	struct slice name = field_name(field, &value_at);
	if (slice_eq_nocase(name, SLICE("Bcc")) || slice_eq_nocase(name, SLICE("Resent-Bcc")) ||
	    slice_eq_nocase(name, SLICE("Return-Path")))
		return false;
	if (slice_eq_nocase(name, SLICE("Received")))
		f->received++;
	else if (slice_eq_nocase(name, SLICE("Date")))
		f->has_date = true;
	else if (slice_eq_nocase(name, SLICE("Message-ID")))
		note_message_id(f, field, value_at);
	for (size_t i = 0; i < field.n && !f->has_8bit; i++)
		f->has_8bit = (unsigned char)field.p[i] > 127;
	return true;
}

static int add_fields(struct header_filter *f, struct buf *out)
{
	struct slice rest = buf_slice(&f->block);
	struct slice field;
	const char *from = rest.p; /* not yet copied */
	int r = 0;
	while (!r && take_field(&rest, &field)) {
		if (note_field(f, field))
			continue;
		r = buf_add(out, from, (size_t)(field.p - from));
		from = rest.p;
	}
	CHECK(r || rest.n == 0);
	if (!r)
		r = buf_add(out, from, buf_len(&f->block) - (size_t)(from - buf_ptr(&f->block)));
	return r;
}

static int add_missing(struct header_filter *f, struct buf *out)
{
	int r = 0;
	if (!f->has_date && f->cfg.date)
		r = buf_printf(out, "Date: %s\r\n", f->cfg.date);
	if (!r && !f->has_message_id && f->cfg.message_id) {
		r = buf_printf(out, "Message-ID: %s\r\n", f->cfg.message_id);
		set_message_id(f, slice_str(f->cfg.message_id));
	}
	return r;
}

/* The block holds fields only; puts it out, with the blank line behind it. */
static int put_block(struct header_filter *f, struct buf *out)
{
	int r = buf_add_str(out, f->cfg.trace);
	if (!r)
		r = add_fields(f, out);
	if (!r)
		r = add_missing(f, out);
	if (!r)
		r = buf_add_str(out, "\r\n");
	buf_fini(&f->block);
	f->done = r == 0;
	return r;
}

/* Judges the line that ends the block buffer; puts the block out if it ended. */
static int on_line(struct header_filter *f, struct buf *out)
{
	struct slice line = slice_from(buf_slice(&f->block), f->line_at);
	enum line_kind kind = judge(line, f->line_at == 0);
	if (kind == LINE_FIELD || kind == LINE_CONTINUATION)
		return 0;
	if (kind == LINE_BLANK) {
		buf_truncate(&f->block, f->line_at);
		return put_block(f, out);
	}
	struct buf body; /* the line is the body's first */
	buf_init(&body, line.n);
	int r = buf_add_slice(&body, line);
	buf_truncate(&f->block, f->line_at);
	if (!r)
		r = put_block(f, out);
	if (!r)
		r = buf_add_slice(out, buf_slice(&body));
	buf_fini(&body);
	return r;
}

/* Adds the next piece of *in, up to the end of a line, to the block. */
static int feed_piece(struct header_filter *f, struct slice *in, struct buf *out)
{
	size_t pending_before = buf_len(&f->block) - f->line_at;
	struct slice piece = take_line(in);
	int r = buf_add_slice(&f->block, piece);
	if (r)
		return r;
	bool whole = piece.p[piece.n - 1] == '\n';
	size_t pending = pending_before + piece.n;
	/* Once: a long line is a field by its first bytes, or never. */
	if (whole ? pending_before < JUDGE_BYTES
		  : pending >= JUDGE_BYTES && pending_before < JUDGE_BYTES)
		r = on_line(f, out);
	if (whole && !f->done)
		f->line_at = buf_len(&f->block);
	return r;
}

int header_filter_feed(struct header_filter *f, struct slice in, struct buf *out)
{
	while (!f->err && !f->done && in.n)
		f->err = feed_piece(f, &in, out);
	if (!f->err && in.n)
		f->err = buf_add_slice(out, in);
	return f->err;
}

int header_filter_end(struct header_filter *f, struct buf *out)
{
	if (f->err || f->done)
		return f->err;
	/* A line without its end: it gets one, and its verdict if it was too short for it. */
	size_t pending = buf_len(&f->block) - f->line_at;
	if (pending)
		f->err = buf_add_str(&f->block,
		    buf_ptr(&f->block)[buf_len(&f->block) - 1] == '\r' ? "\n" : "\r\n");
	if (!f->err && pending && pending < JUDGE_BYTES)
		f->err = on_line(f, out);
	if (!f->err && !f->done)
		f->err = put_block(f, out);
	return f->err;
}

int header_find(struct slice block, const char *name, struct buf *out)
{
	struct slice field;
	while (take_field(&block, &field)) {
		size_t value_at = 0;
		if (slice_eq_nocase(field_name(field, &value_at), slice_str(name)))
			return add_unfolded(field, value_at, out);
	}
	return ERR_NOT_FOUND;
}

size_t header_block_length(struct slice msg)
{
	struct slice rest = msg;
	struct slice field;
	while (take_field(&rest, &field))
		;
	struct slice after = rest;
	if (rest.n && judge(take_line(&after), true) == LINE_BLANK)
		rest = after;
	return msg.n - rest.n;
}
