/*
 * journal_record.c - segment headers and records to bytes and back.
 */
#include "queue/journal_record.h"

#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "queue/tail.h"

enum {
	FORMAT_VERSION = 1,
	HEADER_CRC_AT = 68,
	HEAD_MAGIC = 0x314a5250 /* "PRJ1" */,
	HEAD_CRC_AT = 36,
	OUTCOME_FIXED_BYTES = 24,
	OUTCOME_OVER = 1,
	FRONT_FIXED_BYTES = 40,
	FRONT_BODY_IN_FILE = 1
};

#define FRONT_BYTES_MAX (UINT32_C(1) << 30)

static const unsigned char magic[8] = { 'P', 'R', 'J', 'O', 'U', 'R', 'N', '\n' };

/* --- header -------------------------------------------------------------------- */

void journal_header_encode(const struct journal_header *h, unsigned char p[JOURNAL_HEADER_USED])
{
	CHECK(h->sequence > 0);
	memset(p, 0, JOURNAL_HEADER_USED);
	memcpy(p, magic, sizeof(magic));
	codec_put_u16(p + 8, FORMAT_VERSION);
	codec_put_u16(p + 10, JOURNAL_HEADER_BYTES);
	codec_put_u32(p + 12, h->salt);
	codec_put_u64(p + 16, h->sequence);
	codec_put_u64(p + 24, h->oldest);
	codec_put_u64(p + 32, h->previous);
	codec_put_u64(p + 40, h->previous_end);
	codec_put_u64(p + 48, h->bytes);
	codec_put_u32(p + HEADER_CRC_AT, codec_crc32c(0, p, HEADER_CRC_AT));
}

int journal_header_decode(const unsigned char p[JOURNAL_HEADER_USED], struct journal_header *h)
{
	if (memcmp(p, magic, sizeof(magic)) != 0 ||
	    codec_get_u32(p + HEADER_CRC_AT) != codec_crc32c(0, p, HEADER_CRC_AT))
		return ERR_CORRUPT;
	if (codec_get_u16(p + 8) != FORMAT_VERSION || codec_get_u16(p + 10) != JOURNAL_HEADER_BYTES)
		return ERR_VERSION;
	h->salt = codec_get_u32(p + 12);
	h->sequence = codec_get_u64(p + 16);
	h->oldest = codec_get_u64(p + 24);
	h->previous = codec_get_u64(p + 32);
	h->previous_end = codec_get_u64(p + 40);
	h->bytes = codec_get_u64(p + 48);
	bool can_be = h->sequence > 0 && h->oldest <= h->sequence && h->previous < h->sequence &&
		      h->bytes >= JOURNAL_HEADER_BYTES;
	return can_be ? 0 : ERR_CORRUPT;
}

/* --- head ---------------------------------------------------------------------- */

void journal_head_encode(const struct journal_head *h, uint64_t sequence, uint32_t salt,
    unsigned char p[JOURNAL_HEAD_BYTES])
{
	CHECK(h->type != JOURNAL_NONE);
	codec_put_u32(p, HEAD_MAGIC);
	codec_put_u32(p + 4, (uint32_t)h->type);
	codec_put_u64(p + 8, sequence);
	codec_put_u32(p + 16, h->front_bytes);
	codec_put_u32(p + 20, h->body_bytes);
	codec_put_u32(p + 24, h->front_crc);
	codec_put_u32(p + 28, h->batch_at);
	codec_put_u32(p + 32, 0);
	codec_put_u32(p + HEAD_CRC_AT, codec_crc32c(salt, p, HEAD_CRC_AT));
}

int journal_head_decode(const unsigned char p[JOURNAL_HEAD_BYTES], uint64_t sequence, uint32_t salt,
    struct journal_head *h)
{
	if (codec_get_u32(p) != HEAD_MAGIC || codec_get_u64(p + 8) != sequence ||
	    codec_get_u32(p + HEAD_CRC_AT) != codec_crc32c(salt, p, HEAD_CRC_AT))
		return ERR_CORRUPT;
	uint32_t type = codec_get_u32(p + 4);
	h->front_bytes = codec_get_u32(p + 16);
	h->body_bytes = codec_get_u32(p + 20);
	h->front_crc = codec_get_u32(p + 24);
	h->batch_at = codec_get_u32(p + 28);
	if (type < JOURNAL_MESSAGE || type > JOURNAL_REPORT || h->front_bytes > FRONT_BYTES_MAX ||
	    h->body_bytes > FRONT_BYTES_MAX)
		return ERR_CORRUPT;
	h->type = (enum journal_type)type;
	return 0;
}

/* What follows the last record is zeros, up to the end of the segment. */
size_t journal_head_find(const char *p, size_t n)
{
	size_t at = 0;
	while (at + JOURNAL_HEAD_BYTES <= n) {
		const char *first = memchr(p + at, HEAD_MAGIC & 0xff, n - at);
		if (first == NULL)
			return n;
		size_t found = (size_t)(first - p);
		at = (found + JOURNAL_ALIGN - 1) / JOURNAL_ALIGN * JOURNAL_ALIGN;
		if (at == found && at + JOURNAL_HEAD_BYTES <= n &&
		    codec_get_u32((const unsigned char *)p + at) == HEAD_MAGIC)
			return at;
		at = MAX(at, found + 1);
	}
	return n;
}

uint64_t journal_record_bytes(const struct journal_head *h)
{
	uint64_t bytes = JOURNAL_HEAD_BYTES + (uint64_t)h->front_bytes + h->body_bytes;
	return (bytes + JOURNAL_ALIGN - 1) / JOURNAL_ALIGN * JOURNAL_ALIGN;
}

/* --- a message ------------------------------------------------------------------ */

/* The lengths stand before the envelopes, so room is made for them first. */
int journal_front_encode(struct qid id, const struct journal_body *body,
    const struct envelope *const *envelopes, size_t n, struct buf *out)
{
	unsigned char fixed[FRONT_FIXED_BYTES], length[4] = { 0 };
	size_t start = buf_len(out);
	CHECK(n > 0);
	CHECK(n <= QID_PART_MAX);
	codec_put_u64(fixed, id.arrival_ms);
	codec_put_u64(fixed + 8, id.serial);
	codec_put_u32(fixed + 16, body->crc);
	codec_put_u32(fixed + 20, (uint32_t)n);
	codec_put_u32(fixed + 24, body->in_file ? FRONT_BODY_IN_FILE : 0);
	codec_put_u32(fixed + 28, 0);
	codec_put_u64(fixed + 32, body->bytes);
	int err = buf_add(out, fixed, sizeof(fixed));
	for (size_t i = 0; err == 0 && i < n; i++)
		err = buf_add(out, length, sizeof(length));
	for (size_t i = 0; err == 0 && i < n; i++) {
		size_t before = buf_len(out);
		err = envelope_encode(envelopes[i], out);
		unsigned char *base = (unsigned char *)out->mem + out->head + start;
		codec_put_u32(base + FRONT_FIXED_BYTES + 4 * i, (uint32_t)(buf_len(out) - before));
	}
	return err;
}

int journal_front_decode(struct slice in, struct journal_front *f)
{
	const unsigned char *p = (const unsigned char *)in.p;
	uint64_t total = 0;
	if (in.n < FRONT_FIXED_BYTES)
		return ERR_CORRUPT;
	f->id = (struct qid){ codec_get_u64(p), codec_get_u64(p + 8) };
	uint32_t flags = codec_get_u32(p + 24);
	f->body = (struct journal_body){
		.bytes = codec_get_u64(p + 32),
		.crc = codec_get_u32(p + 16),
		.in_file = flags == FRONT_BODY_IN_FILE,
	};
	if ((flags != 0 && !f->body.in_file) || codec_get_u32(p + 28) != 0 ||
	    f->body.bytes > INT64_MAX)
		return ERR_CORRUPT;
	f->parts_n = codec_get_u32(p + 20);
	struct slice rest = slice_from(in, FRONT_FIXED_BYTES);
	if (f->parts_n == 0 || f->parts_n > QID_PART_MAX || f->parts_n > rest.n / 4)
		return ERR_CORRUPT;
	f->lengths = slice_of(rest.p, (size_t)f->parts_n * 4);
	f->envelopes = slice_from(rest, f->lengths.n);
	for (uint32_t i = 0; i < f->parts_n; i++)
		total += codec_get_u32((const unsigned char *)f->lengths.p + (size_t)i * 4);
	if (total > f->envelopes.n)
		return ERR_CORRUPT;
	f->outcome = slice_from(f->envelopes, (size_t)total);
	f->envelopes.n = (size_t)total;
	return 0;
}

int journal_front_check_body(const struct journal_front *f, struct slice behind)
{
	if (f->body.in_file)
		return behind.n == 0 ? 0 : ERR_CORRUPT;
	bool same = behind.n == f->body.bytes && codec_crc32c(0, behind.p, behind.n) == f->body.crc;
	return same ? 0 : ERR_CORRUPT;
}

static struct slice envelope_of(const struct journal_front *f, unsigned part)
{
	const unsigned char *lengths = (const unsigned char *)f->lengths.p;
	size_t at = 0;
	CHECK(part > 0);
	CHECK(part <= f->parts_n);
	for (unsigned i = 1; i < part; i++)
		at += codec_get_u32(lengths + (size_t)(i - 1) * 4);
	return slice_of(f->envelopes.p + at, codec_get_u32(lengths + (size_t)(part - 1) * 4));
}

int journal_front_brief(const struct journal_front *f, unsigned part, struct envelope_brief *b)
{
	return envelope_decode_brief(envelope_of(f, part), b);
}

int journal_front_envelope(const struct journal_front *f, unsigned part, struct envelope **e_r)
{
	char id[QID_TEXT_MAX];
	*e_r = NULL;
	int err = envelope_decode(envelope_of(f, part), e_r);
	if (err == 0 && (strcmp((*e_r)->queue_id, qid_format_part(f->id, part, id)) != 0 ||
			    (*e_r)->body_bytes != f->body.bytes))
		err = ERR_CORRUPT;
	if (err < 0)
		envelope_free(e_r);
	return err;
}

/* --- what a report reports ----------------------------------------------------- */

int journal_outcome_encode(const struct journal_outcome *o, struct buf *out)
{
	unsigned char fixed[OUTCOME_FIXED_BYTES];
	CHECK(o->part > 0);
	CHECK(o->part <= QID_PART_MAX);
	codec_put_u64(fixed, o->id.arrival_ms);
	codec_put_u64(fixed + 8, o->id.serial);
	codec_put_u32(fixed + 16, o->part);
	codec_put_u32(fixed + 20, o->over ? OUTCOME_OVER : 0);
	int err = buf_add(out, fixed, sizeof(fixed));
	return err < 0 ? err : buf_add_slice(out, o->entries);
}

int journal_outcome_decode(struct slice in, struct journal_outcome *o)
{
	const unsigned char *p = (const unsigned char *)in.p;
	if (in.n < OUTCOME_FIXED_BYTES)
		return ERR_CORRUPT;
	uint32_t flags = codec_get_u32(p + 20);
	*o = (struct journal_outcome){
		.id = { codec_get_u64(p), codec_get_u64(p + 8) },
		.part = codec_get_u32(p + 16),
		.over = flags == OUTCOME_OVER,
		.entries = slice_from(in, OUTCOME_FIXED_BYTES),
	};
	if (o->part == 0 || o->part > QID_PART_MAX || flags > OUTCOME_OVER ||
	    !tail_check_entries(o->entries))
		return ERR_CORRUPT;
	return 0;
}

/* --- ends ---------------------------------------------------------------------- */

void journal_end_encode(struct qid id, unsigned part, enum journal_end end,
    unsigned char p[JOURNAL_END_BYTES])
{
	CHECK(part > 0);
	CHECK(part <= QID_PART_MAX + 1);
	codec_put_u64(p, id.arrival_ms);
	codec_put_u64(p + 8, id.serial);
	codec_put_u32(p + 16, part);
	codec_put_u32(p + 20, (uint32_t)end);
}

int journal_end_decode(const unsigned char p[JOURNAL_END_BYTES], struct qid *id, unsigned *part)
{
	uint32_t end = codec_get_u32(p + 20);
	*id = (struct qid){ codec_get_u64(p), codec_get_u64(p + 8) };
	*part = codec_get_u32(p + 16);
	if (*part == 0 || *part > QID_PART_MAX + 1 || end < JOURNAL_END_FINAL ||
	    end > JOURNAL_END_TOLD)
		return ERR_CORRUPT;
	return 0;
}
