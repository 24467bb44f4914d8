/*
 * The bytes of the intake journal. The first byte says what the rest is: a
 * segment's header, a record's head (their checksums are made right, or
 * nothing else would ever be seen), the front of a message, ends, what a
 * report tells, or a whole segment. What is taken encodes to the same bytes.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "queue/journal_scan.h"

enum {
	PARTS_MAX = 64,
	SALT = 7
};

static void header(const uint8_t *data, size_t n)
{
	unsigned char p[JOURNAL_HEADER_USED], again[JOURNAL_HEADER_USED];
	struct journal_header h;
	if (n < sizeof(p))
		return;
	memcpy(p, data, sizeof(p));
	memset(p + 56, 0, 12);
	codec_put_u32(p + 68, codec_crc32c(0, p, 68));
	if (journal_header_decode(p, &h) < 0)
		return;
	CHECK(h.sequence > 0 && h.oldest <= h.sequence && h.previous < h.sequence);
	journal_header_encode(&h, again);
	CHECK(memcmp(p, again, sizeof(p)) == 0);
}

static void head(const uint8_t *data, size_t n)
{
	unsigned char p[JOURNAL_HEAD_BYTES], again[JOURNAL_HEAD_BYTES];
	struct journal_head h;
	if (n < sizeof(p))
		return;
	memcpy(p, data, sizeof(p));
	codec_put_u32(p + 32, 0);
	codec_put_u32(p + 36, codec_crc32c(SALT, p, 36));
	uint64_t sequence = codec_get_u64(p + 8);
	CHECK(journal_head_decode(p, sequence + 1, SALT, &h) < 0);
	if (journal_head_decode(p, sequence, SALT, &h) < 0)
		return;
	CHECK(journal_record_bytes(&h) % JOURNAL_ALIGN == 0);
	CHECK(journal_record_bytes(&h) >=
	      JOURNAL_HEAD_BYTES + (uint64_t)h.front_bytes + h.body_bytes);
	journal_head_encode(&h, sequence, SALT, again);
	CHECK(memcmp(p, again, sizeof(p)) == 0);
}

static void front(struct slice in)
{
	struct envelope *e[PARTS_MAX] = { NULL };
	struct journal_front f;
	struct buf again;
	size_t n = 0;
	if (journal_front_decode(in, &f) < 0)
		return;
	CHECK(journal_front_check_body(&f, SLICE_NONE) < 0 || f.body.in_file || f.body.bytes == 0);
	while (n < f.parts_n && n < PARTS_MAX &&
	       journal_front_envelope(&f, (unsigned)n + 1, &e[n]) == 0)
		n++;
	if (n == f.parts_n) {
		buf_init(&again, in.n);
		CHECK(journal_front_encode(f.id, &f.body, (const struct envelope *const *)e, n,
			  &again) == 0);
		CHECK(slice_eq(buf_slice(&again), slice_of(in.p, in.n - f.outcome.n)));
		buf_fini(&again);
	}
	for (size_t i = 0; i < n; i++)
		envelope_free(&e[i]);
}

static void ends(const uint8_t *data, size_t n)
{
	for (; n >= JOURNAL_END_BYTES; data += JOURNAL_END_BYTES, n -= JOURNAL_END_BYTES) {
		struct qid id;
		unsigned part;
		if (journal_end_decode(data, &id, &part) < 0)
			continue;
		CHECK(part > 0 && part <= QID_PART_MAX + 1); /* an outcome is behind the last */
		CHECK(id.arrival_ms == codec_get_u64(data) && id.serial == codec_get_u64(data + 8));
	}
}

static void outcome(struct slice in)
{
	struct journal_outcome o;
	struct buf again;
	if (journal_outcome_decode(in, &o) < 0)
		return;
	buf_init(&again, in.n);
	CHECK(journal_outcome_encode(&o, &again) == 0);
	CHECK(slice_eq(buf_slice(&again), in));
	buf_fini(&again);
}

/* As scan_next, but with no more bytes at hand than are asked for, in memory of their own. */
static bool next_in_window(struct journal_scan *s, struct journal_scanned *r, const uint8_t *data,
    char **window)
{
	while (!journal_scan_next(s, r)) {
		if (s->want == 0)
			return false;
		CHECK(s->from < s->want && s->want <= s->max);
		CHECK(s->want > s->have || s->from < s->base);
		mem_free(*window);
		*window = mem_dup(data + s->from, (size_t)(s->want - s->from));
		s->bytes = *window;
		s->base = s->from;
		s->have = s->want;
	}
	return true;
}

static void in_windows(const struct journal_scan *whole, const uint8_t *data)
{
	struct journal_scan a = *whole, b = *whole;
	struct journal_scanned x, y;
	char *window = NULL;
	b.bytes = NULL;
	b.have = 0;
	for (bool more = true; more;) {
		more = journal_scan_next(&a, &x);
		CHECK(next_in_window(&b, &y, data, &window) == more);
		CHECK(a.at == b.at && x.at == y.at && x.bytes == y.bytes);
		CHECK(x.damaged == y.damaged && x.torn == y.torn);
		CHECK(x.damaged || !more || slice_eq(x.front, y.front));
	}
	mem_free(window);
}

static void segment(const uint8_t *data, size_t n)
{
	struct journal_scan s = { .bytes = (const char *)data,
		.have = n,
		.max = n,
		.limited = n > 0 && data[0] == 'L',
		.sequence = 1,
		.salt = SALT };
	struct journal_scanned r;
	uint64_t at = 0;
	in_windows(&s, data);
	while (journal_scan_next(&s, &r)) {
		CHECK(r.at == at && r.bytes > 0 && r.bytes <= n - at);
		CHECK(!s.limited || s.at <= n);
		at += r.bytes;
		if (r.damaged || r.head.type == JOURNAL_ENDS)
			continue;
		front(r.front);
	}
	CHECK(!s.limited || at == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n == 0)
		return 0;
	struct slice rest = slice_of((const char *)data + 1, n - 1);
	switch (data[0] % 6) {
	case 0:
		header(data + 1, n - 1);
		break;
	case 1:
		head(data + 1, n - 1);
		break;
	case 2:
		front(rest);
		break;
	case 3:
		ends(data + 1, n - 1);
		break;
	case 4:
		outcome(rest);
		break;
	default:
		segment(data + 1, n - 1);
	}
	return 0;
}
