/*
 * journal_scan.c - the copies of a header, and walking over records.
 */
#include "queue/journal_scan.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"

enum {
	SLOT_DIGITS = 8
};

/* --- files ---------------------------------------------------------------------- */

char *journal_slot_name(unsigned slot, char buf[16])
{
	snprintf(buf, 16, "%08x", slot);
	return buf;
}

int journal_slot_parse(const char *name)
{
	char again[16];
	unsigned slot = 0;
	for (size_t i = 0; i < SLOT_DIGITS && name[i] != '\0'; i++)
		slot = slot * 16 + (unsigned)(name[i] <= '9' ? name[i] - '0' : name[i] - 'a' + 10);
	if (slot >= JOURNAL_SLOTS_MAX || strcmp(journal_slot_name(slot, again), name) != 0)
		return ERR_SYNTAX;
	return (int)slot;
}

/* --- header --------------------------------------------------------------------- */

static bool is_zero(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != 0)
			return false;
	}
	return true;
}

int journal_header_read(const struct qio *io, int fd, struct journal_header *h,
    struct journal_copies *copies)
{
	struct journal_header copy[2] = { { 0 } }; /* sequence 0: bad */
	bool garbage[2];
	for (unsigned i = 0; i < 2; i++) {
		unsigned char p[JOURNAL_HEADER_USED] = { 0 };
		ssize_t n =
		    io->pread(io->arg, fd, p, sizeof(p), i * (uint64_t)JOURNAL_HEADER_COPY_AT);
		if (n < 0)
			return (int)n;
		int bad = journal_header_decode(p, &copy[i]);
		if (bad == ERR_VERSION)
			return bad;
		if (bad < 0)
			copy[i].sequence = 0;
		garbage[i] = bad < 0 && !is_zero(p, sizeof(p));
	}
	unsigned good = copy[0].sequence >= copy[1].sequence ? 0 : 1;
	*h = copy[good];
	copies->bad_copy = garbage[good] ? good : 1 - good;
	copies->one_only = copy[0].sequence != copy[1].sequence;
	if (h->sequence > 0)
		return 0;
	return garbage[0] && garbage[1] ? ERR_CORRUPT : ERR_NOT_FOUND;
}

uint64_t journal_limit(const struct journal_header *headers, size_t n, uint64_t sequence)
{
	for (size_t i = 0; i < n; i++) {
		if (headers[i].previous == sequence &&
		    headers[i].previous_end >= JOURNAL_HEADER_BYTES)
			return headers[i].previous_end;
	}
	return 0;
}

/* --- records -------------------------------------------------------------------- */

/* False: they are not at hand. Within max, they can be had. */
static bool has_bytes(struct journal_scan *s, uint64_t at, uint64_t n)
{
	if (at + n <= s->have)
		return true;
	s->from = at;
	s->want = at + n;
	return false;
}

/* Bytes of the whole and right record there, else 0. */
static uint64_t check_record(struct journal_scan *s, struct journal_scanned *r)
{
	struct journal_front f;
	struct journal_outcome o;
	uint64_t left = s->max - s->at;
	if (left < JOURNAL_HEAD_BYTES || !has_bytes(s, s->at, JOURNAL_HEAD_BYTES))
		return 0;
	const char *p = s->bytes + (s->at - s->base);
	if (journal_head_decode((const unsigned char *)p, s->sequence, s->salt, &r->head) < 0)
		return 0;
	r->front = slice_of(p + JOURNAL_HEAD_BYTES, 0);
	uint64_t n = journal_record_bytes(&r->head);
	if (n > left || !has_bytes(s, s->at, n))
		return 0;
	r->front.n = r->head.front_bytes;
	r->body = slice_of(r->front.p + r->front.n, r->head.body_bytes);
	if (codec_crc32c(0, r->front.p, r->front.n) != r->head.front_crc)
		return 0;
	if (r->head.type == JOURNAL_ENDS)
		return r->front.n % JOURNAL_END_BYTES == 0 && r->body.n == 0 ? n : 0;
	if (journal_front_decode(r->front, &f) < 0 || journal_front_check_body(&f, r->body) < 0)
		return 0;
	if (r->head.type == JOURNAL_REPORT)
		return journal_outcome_decode(f.outcome, &o) == 0 ? n : 0;
	if (f.outcome.n > 0)
		return 0;
	return n;
}

/* True if a record head stands at `sought` that was written when what is at s->at was durable. */
static bool is_later(const struct journal_scan *s)
{
	const unsigned char *p = (const unsigned char *)s->bytes + (s->sought - s->base);
	struct journal_head h;
	return journal_head_decode(p, s->sequence, s->salt, &h) == 0 &&
	       (s->limited || h.batch_at > s->at);
}

/* Moves `sought` on to the next such head; to max if there is none. False: for want of bytes. */
static bool find_next(struct journal_scan *s)
{
	for (; s->sought < s->max; s->sought += JOURNAL_ALIGN) {
		if (s->max - s->sought < JOURNAL_HEAD_BYTES)
			break;
		if (!has_bytes(s, s->sought, JOURNAL_HEAD_BYTES))
			return false;
		uint64_t n = MIN(s->have, s->max) - s->sought;
		uint64_t skip = journal_head_find(s->bytes + (s->sought - s->base), (size_t)n);
		if (skip == n) { /* the last of these bytes may be the first of a head */
			s->sought += (n - JOURNAL_HEAD_BYTES) / JOURNAL_ALIGN * JOURNAL_ALIGN;
			continue;
		}
		s->sought += skip;
		if (is_later(s))
			return true;
	}
	s->sought = s->max;
	return true;
}

bool journal_scan_next(struct journal_scan *s, struct journal_scanned *r)
{
	*r = (struct journal_scanned){ .at = s->at };
	s->want = 0;
	if (s->at >= s->max)
		return false;
	if (s->sought <= s->at) {
		r->bytes = check_record(s, r);
		if (s->want > 0)
			return false;
		s->has_head = r->front.p != NULL;
		s->sought = s->at + JOURNAL_ALIGN;
	}
	if (r->bytes == 0) {
		if (!find_next(s))
			return false;
		r->torn = s->sought >= s->max && !s->limited && s->has_head;
		if (s->sought >= s->max && !s->limited)
			return false;
		r->damaged = true;
		r->bytes = s->sought - s->at;
	}
	s->at += r->bytes;
	return true;
}

bool journal_scan_front(const struct journal_scan *s, struct journal_scanned *r,
    struct journal_front *f)
{
	struct journal_scan there = *s;
	there.at = r->at;
	(void)check_record(&there, r);
	return r->front.n > 0 && r->head.type != JOURNAL_ENDS &&
	       codec_crc32c(0, r->front.p, r->front.n) == r->head.front_crc &&
	       journal_front_decode(r->front, f) == 0;
}
