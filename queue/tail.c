/*
 * tail.c - outcome records to bytes and back.
 *
 * Payload: entries of
 *     u32 recipient, u8 fate, u8 u16 u16 enhanced code, u16 code, u16 attempts,
 *     u16 zero, i64 due ms, i64 last ms, then text, host and ip, each u16 length + bytes.
 * A record is closed when its payload passes PAYLOAD_FULL; one entry is always
 * shorter than the rest up to TAIL_PAYLOAD_MAX.
 */
#include "queue/tail.h"

#include <string.h>

#include "base/check.h"
#include "base/codec.h"

enum {
	MAGIC = 0x31545250 /* "PRT1" */,
	ENTRY_FIXED_BYTES = 32,
	STRINGS = 3,
	CRC_AT = 12
};

#define PAYLOAD_FULL (32 * 1024)

_Static_assert(PAYLOAD_FULL + ENTRY_FIXED_BYTES + STRINGS * (2 + ENVELOPE_TEXT_MAX) <=
		   TAIL_PAYLOAD_MAX,
    "one more entry always fits");

static uint32_t record_crc(uint32_t seed, const unsigned char *head, struct slice payload)
{
	return codec_crc32c(codec_crc32c(seed, head, CRC_AT), payload.p, payload.n);
}

/* --- encode ------------------------------------------------------------------- */

static int put_text(struct buf *out, const char *text)
{
	unsigned char n[2];
	struct slice s = slice_str(text);
	s.n = MIN(s.n, (size_t)ENVELOPE_TEXT_MAX);
	codec_put_u16(n, (uint16_t)s.n);
	int err = buf_add(out, n, sizeof(n));
	return err < 0 ? err : buf_add_slice(out, s);
}

static int put_entry(struct buf *out, uint32_t index, const struct envelope_rcpt *r)
{
	unsigned char p[ENTRY_FIXED_BYTES];
	codec_put_u32(p, index);
	p[4] = (unsigned char)r->fate;
	p[5] = (unsigned char)r->status.enhanced[0];
	codec_put_u16(p + 6, r->status.enhanced[1]);
	codec_put_u16(p + 8, r->status.enhanced[2]);
	codec_put_u16(p + 10, r->status.code);
	codec_put_u16(p + 12, r->attempts);
	codec_put_u16(p + 14, 0);
	codec_put_u64(p + 16, (uint64_t)r->due_ms);
	codec_put_u64(p + 24, (uint64_t)r->last_ms);
	int err = buf_add(out, p, sizeof(p));
	if (err == 0)
		err = put_text(out, r->status.text);
	if (err == 0)
		err = put_text(out, r->status.host);
	return err < 0 ? err : put_text(out, r->status.ip);
}

static int put_record(struct buf *out, struct slice payload, struct tail *t)
{
	unsigned char head[TAIL_HEAD_BYTES];
	CHECK(payload.n <= TAIL_PAYLOAD_MAX);
	codec_put_u32(head, MAGIC);
	codec_put_u32(head + 4, (uint32_t)payload.n);
	codec_put_u32(head + 8, t->records + 1);
	codec_put_u32(head + CRC_AT, record_crc(t->seed, head, payload));
	t->records++;
	t->end += sizeof(head) + payload.n;
	int err = buf_add(out, head, sizeof(head));
	return err < 0 ? err : buf_add_slice(out, payload);
}

int tail_encode(const struct envelope *e, const uint32_t *rcpts, size_t n, struct tail *t,
    struct buf *out)
{
	struct buf payload;
	int err = 0;
	buf_init(&payload, TAIL_PAYLOAD_MAX);
	for (size_t i = 0; err == 0 && i < n; i++) {
		CHECK(rcpts[i] < e->rcpts_n);
		err = put_entry(&payload, rcpts[i], &e->rcpts[rcpts[i]]);
		if (err == 0 && (buf_len(&payload) >= PAYLOAD_FULL || i + 1 == n)) {
			err = put_record(out, buf_slice(&payload), t);
			buf_clear(&payload);
		}
	}
	buf_fini(&payload);
	return err;
}

/* --- decode ------------------------------------------------------------------- */

ssize_t tail_decode_head(const unsigned char head[TAIL_HEAD_BYTES], const struct tail *t)
{
	uint32_t n = codec_get_u32(head + 4);
	if (codec_get_u32(head) != MAGIC || n == 0 || n > TAIL_PAYLOAD_MAX ||
	    codec_get_u32(head + 8) != t->records + 1)
		return ERR_CORRUPT;
	return (ssize_t)n;
}

static int take_text(struct slice *in, struct slice *text)
{
	if (in->n < 2)
		return ERR_CORRUPT;
	size_t n = codec_get_u16((const unsigned char *)in->p);
	if (n > ENVELOPE_TEXT_MAX || n > in->n - 2)
		return ERR_CORRUPT;
	*text = slice_of(in->p + 2, n);
	*in = slice_from(*in, 2 + n);
	for (size_t i = 0; i < n; i++) {
		if (text->p[i] == '\0')
			return ERR_CORRUPT;
	}
	return 0;
}

struct entry { /* borrowed from its bytes */
	uint32_t rcpt;
	const unsigned char *fixed;
	struct slice text, host, ip;
};

static int take_entry(struct slice *in, struct entry *x)
{
	const unsigned char *p = (const unsigned char *)in->p;
	if (in->n < ENTRY_FIXED_BYTES)
		return ERR_CORRUPT;
	x->fixed = p;
	x->rcpt = codec_get_u32(p);
	*in = slice_from(*in, ENTRY_FIXED_BYTES);
	if (p[4] < FATE_PENDING || p[4] > FATE_DELETED || take_text(in, &x->text) < 0 ||
	    take_text(in, &x->host) < 0 || take_text(in, &x->ip) < 0)
		return ERR_CORRUPT;
	return 0;
}

static void apply_entry(const struct entry *x, struct envelope *e)
{
	const unsigned char *p = x->fixed;
	struct envelope_rcpt *r = &e->rcpts[x->rcpt];
	r->fate = (enum fate)p[4];
	r->status.enhanced[0] = p[5];
	r->status.enhanced[1] = codec_get_u16(p + 6);
	r->status.enhanced[2] = codec_get_u16(p + 8);
	r->status.code = codec_get_u16(p + 10);
	r->attempts = codec_get_u16(p + 12);
	r->due_ms = (int64_t)codec_get_u64(p + 16);
	r->last_ms = (int64_t)codec_get_u64(p + 24);
	r->status.text = envelope_str(e, x->text);
	r->status.host = envelope_str(e, x->host);
	r->status.ip = envelope_str(e, x->ip);
}

/* All of them, before any counts. */
static int check_entries(struct slice in, size_t rcpts_n)
{
	struct entry x;
	while (in.n > 0) {
		if (take_entry(&in, &x) < 0 || x.rcpt >= rcpts_n)
			return ERR_CORRUPT;
	}
	return 0;
}

int tail_decode(const unsigned char head[TAIL_HEAD_BYTES], struct slice payload, struct tail *t,
    struct envelope *e)
{
	ssize_t n = tail_decode_head(head, t);
	if (n < 0 || (size_t)n != payload.n ||
	    codec_get_u32(head + CRC_AT) != record_crc(t->seed, head, payload))
		return ERR_CORRUPT;
	if (check_entries(payload, e->rcpts_n) < 0)
		return ERR_CORRUPT;
	for (struct slice in = payload; in.n > 0;) {
		struct entry x;
		int err = take_entry(&in, &x);
		CHECK(err == 0);
		apply_entry(&x, e);
	}
	t->records++;
	t->end += TAIL_HEAD_BYTES + payload.n;
	return 0;
}

/* --- entries alone ---------------------------------------------------------------- */

int tail_encode_entries(const struct envelope *e, const uint32_t *rcpts, size_t n, struct buf *out)
{
	int err = 0;
	for (size_t i = 0; err == 0 && i < n; i++) {
		CHECK(rcpts[i] < e->rcpts_n);
		err = put_entry(out, rcpts[i], &e->rcpts[rcpts[i]]);
	}
	return err;
}

bool tail_check_entries(struct slice in)
{
	return check_entries(in, ENVELOPE_RCPTS_MAX) == 0;
}

static bool is_later(const struct entry *x, const struct envelope_rcpt *r)
{
	unsigned attempts = codec_get_u16(x->fixed + 12);
	int64_t last_ms = (int64_t)codec_get_u64(x->fixed + 24);
	if (fate_is_final(r->fate))
		return false;
	return fate_is_final((enum fate)x->fixed[4]) || attempts > r->attempts ||
	       (attempts == r->attempts && last_ms > r->last_ms);
}

void tail_apply_entries(struct slice in, struct envelope *e)
{
	while (in.n > 0) {
		struct entry x;
		int err = take_entry(&in, &x);
		CHECK(err == 0);
		if (x.rcpt < e->rcpts_n && is_later(&x, &e->rcpts[x.rcpt]))
			apply_entry(&x, e);
	}
}
