/*
 * envelope_codec.c - the stored form of an envelope's fixed part.
 *
 * A version (u16), a reserved u16 of zero, then records of type (u8), length
 * (u16) and payload, in ascending order of type; only recipients repeat, and
 * an empty string has no record. So every envelope has exactly one stored
 * form: what decodes, encodes to the same bytes again (the fuzzer checks it).
 * Text is data in a counted field and is never parsed again; NUL, CR and LF
 * are refused both ways, so that nothing read here can add a line elsewhere.
 */
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "queue/envelope.h"

enum {
	FORMAT_VERSION = 1,
	PROLOGUE_BYTES = 4,
	RECORD_HEAD_BYTES = 3,
	NUMBERS_BYTES = 21
};

enum record {
	RECORD_NONE = 0,
	RECORD_NUMBERS, /* u64 arrival ms, u64 body bytes, u32 flags, u8 RET */
	RECORD_ID,
	RECORD_QUEUE_ID,
	RECORD_DOMAIN,
	RECORD_SENDER,
	RECORD_USER,
	RECORD_CLIENT_IP,
	RECORD_HELO,
	RECORD_PROTOCOL,
	RECORD_ENVID,
	RECORD_MESSAGE_ID,
	RECORD_RCPT, /* u8 NOTIFY, u16 length of the address, address, ORCPT */
};

#define FLAGS_ALL  0x3fu
#define NOTIFY_ALL 0x0fu

_Static_assert(ENVELOPE_TEXT_MAX * 2 + 3 <= UINT16_MAX, "a recipient fits its record");

static const size_t string_at[] = {
	[RECORD_ID] = offsetof(struct envelope, id),
	[RECORD_QUEUE_ID] = offsetof(struct envelope, queue_id),
	[RECORD_DOMAIN] = offsetof(struct envelope, domain),
	[RECORD_SENDER] = offsetof(struct envelope, sender),
	[RECORD_USER] = offsetof(struct envelope, user),
	[RECORD_CLIENT_IP] = offsetof(struct envelope, client_ip),
	[RECORD_HELO] = offsetof(struct envelope, helo),
	[RECORD_PROTOCOL] = offsetof(struct envelope, protocol),
	[RECORD_ENVID] = offsetof(struct envelope, envid),
	[RECORD_MESSAGE_ID] = offsetof(struct envelope, message_id),
};

_Static_assert(ARRAY_LEN(string_at) == RECORD_RCPT,
    "every record between numbers and recipients is a string");

static bool is_storable(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\0' || s.p[i] == '\r' || s.p[i] == '\n')
			return false;
	}
	return true;
}

/* [0-9a-z]+, the alphabet of ids; it goes into file names. */
static bool is_id(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if ((s.p[i] < '0' || s.p[i] > '9') && (s.p[i] < 'a' || s.p[i] > 'z'))
			return false;
	}
	return s.n > 0;
}

/* --- encode ------------------------------------------------------------------ */

static int check_text(struct slice s)
{
	if (s.n > ENVELOPE_TEXT_MAX)
		return ERR_TOO_BIG;
	return is_storable(s) ? 0 : ERR_SYNTAX;
}

static int put_head(struct buf *out, enum record type, size_t n)
{
	unsigned char head[RECORD_HEAD_BYTES];
	CHECK(n <= UINT16_MAX);
	head[0] = (unsigned char)type;
	codec_put_u16(head + 1, (uint16_t)n);
	return buf_add(out, head, sizeof(head));
}

static int put_numbers(struct buf *out, const struct envelope *e)
{
	unsigned char n[NUMBERS_BYTES];
	codec_put_u64(n, (uint64_t)e->arrival_ms);
	codec_put_u64(n + 8, e->body_bytes);
	codec_put_u32(n + 16, e->flags);
	n[20] = (unsigned char)e->ret;
	int err = put_head(out, RECORD_NUMBERS, sizeof(n));
	return err < 0 ? err : buf_add(out, n, sizeof(n));
}

static int put_string(struct buf *out, enum record type, const char *text)
{
	struct slice s = slice_str(text);
	if (s.n == 0)
		return 0;
	int err = check_text(s);
	if (err == 0)
		err = put_head(out, type, s.n);
	return err < 0 ? err : buf_add_slice(out, s);
}

static int put_rcpt(struct buf *out, const struct envelope_rcpt *r)
{
	struct slice address = slice_str(r->address), orcpt = slice_str(r->orcpt);
	unsigned char fixed[3];
	int err = address.n == 0 ? ERR_SYNTAX : check_text(address);
	if (err == 0)
		err = check_text(orcpt);
	if (err < 0)
		return err;
	fixed[0] = r->notify;
	codec_put_u16(fixed + 1, (uint16_t)address.n);
	err = put_head(out, RECORD_RCPT, sizeof(fixed) + address.n + orcpt.n);
	if (err == 0)
		err = buf_add(out, fixed, sizeof(fixed));
	if (err == 0)
		err = buf_add_slice(out, address);
	return err < 0 ? err : buf_add_slice(out, orcpt);
}

static const char *string_get(const struct envelope *e, size_t type)
{
	return *(const char *const *)(const void *)((const char *)e + string_at[type]);
}

int envelope_encode(const struct envelope *e, struct buf *out)
{
	unsigned char prologue[PROLOGUE_BYTES] = { 0 };
	if (!is_id(slice_str(e->id)) || e->domain[0] == '\0' || e->rcpts_n == 0 ||
	    e->arrival_ms < 0)
		return ERR_SYNTAX;
	if ((e->flags & ~FLAGS_ALL) != 0)
		return ERR_RANGE;
	codec_put_u16(prologue, FORMAT_VERSION);
	int err = buf_add(out, prologue, sizeof(prologue));
	if (err == 0)
		err = put_numbers(out, e);
	for (size_t type = RECORD_ID; err == 0 && type < RECORD_RCPT; type++)
		err = put_string(out, (enum record)type, string_get(e, type));
	for (size_t i = 0; err == 0 && i < e->rcpts_n; i++)
		err = put_rcpt(out, &e->rcpts[i]);
	return err;
}

/* --- decode ------------------------------------------------------------------ */

static int get_arrival(struct slice in, int64_t *arrival_ms)
{
	if (in.n != NUMBERS_BYTES)
		return ERR_CORRUPT;
	uint64_t arrival = codec_get_u64((const unsigned char *)in.p);
	if (arrival > INT64_MAX)
		return ERR_CORRUPT;
	*arrival_ms = (int64_t)arrival;
	return 0;
}

static int get_numbers(struct envelope *e, struct slice in)
{
	const unsigned char *p = (const unsigned char *)in.p;
	int err = get_arrival(in, &e->arrival_ms);
	if (err < 0)
		return err;
	e->body_bytes = codec_get_u64(p + 8);
	e->flags = codec_get_u32(p + 16);
	if ((e->flags & ~FLAGS_ALL) != 0 || p[20] > ENVELOPE_RET_HDRS)
		return ERR_CORRUPT;
	e->ret = (enum envelope_ret)p[20];
	return 0;
}

static bool is_text(struct slice in)
{
	return in.n > 0 && in.n <= ENVELOPE_TEXT_MAX && is_storable(in);
}

static int get_string(struct envelope *e, enum record type, struct slice in)
{
	if (!is_text(in))
		return ERR_CORRUPT;
	if (type == RECORD_ID && !is_id(in))
		return ERR_CORRUPT;
	*(const char **)(void *)((char *)e + string_at[type]) = envelope_str(e, in);
	return 0;
}

static int get_rcpt(struct envelope *e, struct slice in)
{
	const unsigned char *p = (const unsigned char *)in.p;
	if (in.n < 3 || e->rcpts_n == ENVELOPE_RCPTS_MAX)
		return ERR_CORRUPT;
	size_t n = codec_get_u16(p + 1);
	if (p[0] > NOTIFY_ALL || n == 0 || n > ENVELOPE_TEXT_MAX || n > in.n - 3)
		return ERR_CORRUPT;
	struct slice address = slice_of(in.p + 3, n);
	struct slice orcpt = slice_from(in, 3 + n);
	if (orcpt.n > ENVELOPE_TEXT_MAX || !is_storable(address) || !is_storable(orcpt))
		return ERR_CORRUPT;
	envelope_add_rcpt(e, address, orcpt, p[0]);
	return 0;
}

static int get_record(struct envelope *e, enum record type, struct slice in)
{
	if (type == RECORD_NUMBERS)
		return get_numbers(e, in);
	if (type == RECORD_RCPT)
		return get_rcpt(e, in);
	return get_string(e, type, in);
}

/* Takes the next record off *in; *type is that of the one before. */
static int take_record(struct slice *in, enum record *type, struct slice *payload)
{
	if (in->n < RECORD_HEAD_BYTES)
		return ERR_CORRUPT;
	unsigned next = (unsigned char)in->p[0];
	size_t n = codec_get_u16((const unsigned char *)in->p + 1);
	bool in_order = next > *type || (next == *type && next == RECORD_RCPT);
	*in = slice_from(*in, RECORD_HEAD_BYTES);
	if (!in_order || next > RECORD_RCPT || n > in->n)
		return ERR_CORRUPT;
	/* The numbers come first, so that recipients know when the message arrived. */
	if (*type == RECORD_NONE && next != RECORD_NUMBERS)
		return ERR_CORRUPT;
	*payload = slice_of(in->p, n);
	*in = slice_from(*in, n);
	*type = (enum record)next;
	return 0;
}

static int take_prologue(struct slice *in)
{
	const unsigned char *p = (const unsigned char *)in->p;
	if (in->n < PROLOGUE_BYTES)
		return ERR_CORRUPT;
	if (codec_get_u16(p) != FORMAT_VERSION)
		return ERR_VERSION;
	if (codec_get_u16(p + 2) != 0)
		return ERR_CORRUPT;
	*in = slice_from(*in, PROLOGUE_BYTES);
	return 0;
}

static int get_records(struct envelope *e, struct slice in)
{
	enum record type = RECORD_NONE;
	struct slice payload;
	int err = 0;
	while (err == 0 && in.n > 0) {
		err = take_record(&in, &type, &payload);
		if (err == 0)
			err = get_record(e, type, payload);
	}
	bool whole = e->id[0] != '\0' && e->domain[0] != '\0' && e->rcpts_n > 0;
	return err == 0 && !whole ? ERR_CORRUPT : err;
}

int envelope_decode_brief(struct slice in, struct envelope_brief *b)
{
	struct slice text[RECORD_CLIENT_IP + 1] = { { 0 } };
	enum record type = RECORD_NONE;
	struct slice payload;
	int err = take_prologue(&in);
	while (err == 0 && in.n > 0 && (unsigned char)in.p[0] <= RECORD_CLIENT_IP) {
		err = take_record(&in, &type, &payload);
		if (err == 0 && type == RECORD_NUMBERS)
			err = get_arrival(payload, &b->arrival_ms);
		else if (err == 0)
			text[type] = payload;
	}
	if (err < 0)
		return err;
	if (!is_text(text[RECORD_DOMAIN]))
		return ERR_CORRUPT;
	b->sender_key = envelope_sender_key(text[RECORD_USER], text[RECORD_CLIENT_IP]);
	b->domain = text[RECORD_DOMAIN];
	return 0;
}

int envelope_decode(struct slice in, struct envelope **e_r)
{
	*e_r = NULL;
	int err = take_prologue(&in);
	if (err < 0)
		return err;
	struct envelope *e = envelope_new();
	err = get_records(e, in);
	if (err < 0)
		envelope_free(&e);
	*e_r = e;
	return err;
}
