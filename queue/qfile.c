/*
 * qfile.c - writing, extending and reading one queue file.
 */
#include "queue/qfile.h"

#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"

enum {
	HEAD_BYTES = 48,
	HEAD_CRC_AT = 44,
	FORMAT_VERSION = 1,
	BLOCK_BYTES = 128 * 1024,
	FRONT_BYTES = 8 * 1024 /* holds most envelopes */
};

#define ENVELOPE_BYTES_MAX (64 * 1024 * 1024)
#define BODY_ALIGN         4096

/* The LF shows whether someone passed the file through a text conversion. */
static const unsigned char magic[8] = { 'P', 'R', 'Q', 'U', 'E', 'U', 'E', '\n' };

struct head {
	uint32_t envelope_bytes;
	uint32_t envelope_crc;
	uint32_t body_crc;
	uint64_t body_at;
	uint64_t body_bytes;
	uint32_t crc; /* of the head's other bytes */
};

static void encode_head(struct head *h, unsigned char p[HEAD_BYTES])
{
	memcpy(p, magic, sizeof(magic));
	codec_put_u16(p + 8, FORMAT_VERSION);
	codec_put_u16(p + 10, HEAD_BYTES);
	codec_put_u32(p + 12, h->envelope_bytes);
	codec_put_u32(p + 16, h->envelope_crc);
	codec_put_u32(p + 20, h->body_crc);
	codec_put_u64(p + 24, h->body_at);
	codec_put_u64(p + 32, h->body_bytes);
	codec_put_u32(p + 40, 0);
	h->crc = codec_crc32c(0, p, HEAD_CRC_AT);
	codec_put_u32(p + HEAD_CRC_AT, h->crc);
}

/* --- write -------------------------------------------------------------------- */

static uint64_t body_place(const struct qfile_body *body, size_t front_bytes)
{
	if (body->in_place)
		return QFILE_RESERVE_BYTES;
	if (body->mem != NULL)
		return front_bytes;
	return (front_bytes + BODY_ALIGN - 1) / BODY_ALIGN * BODY_ALIGN;
}

static int write_parts(const struct qio *io, int fd, const struct qfile_body *body,
    const struct iovec front[2], uint64_t body_at)
{
	struct iovec iov[3] = { front[0], front[1] };
	bool in_memory = body->mem != NULL && body->bytes > 0;
	if (in_memory) {
		struct iovec whole = { (void *)(uintptr_t)body->mem, (size_t)body->bytes };
		iov[2] = whole;
	}
	int err = io->pwritev(io->arg, fd, iov, in_memory ? 3 : 2, 0);
	if (err < 0 || body->mem != NULL || body->in_place)
		return err;
	return io->copy(io->arg, body->fd, body->fd_at, fd, body_at, body->bytes);
}

static int write_file(const struct qio *io, int fd, struct slice envelope,
    const struct qfile_body *body, struct tail *tail)
{
	unsigned char bytes[HEAD_BYTES];
	size_t front_bytes = sizeof(bytes) + envelope.n;
	struct head h = {
		.envelope_bytes = (uint32_t)envelope.n,
		.envelope_crc = codec_crc32c(0, envelope.p, envelope.n),
		.body_crc = body->crc,
		.body_at = body_place(body, front_bytes),
		.body_bytes = body->bytes,
	};
	if (front_bytes > h.body_at)
		return ERR_TOO_BIG;
	encode_head(&h, bytes);
	const struct iovec front[2] = { { bytes, sizeof(bytes) },
		{ (void *)(uintptr_t)envelope.p, envelope.n } };
	*tail = (struct tail){ .end = h.body_at + h.body_bytes, .seed = h.crc };
	return write_parts(io, fd, body, front, h.body_at);
}

int qfile_write(const struct qio *io, int fd, const struct envelope *e,
    const struct qfile_body *body, struct tail *tail)
{
	struct buf envelope;
	CHECK(e->body_bytes == body->bytes);
	CHECK(body->mem != NULL || body->fd >= 0 || body->in_place);
	buf_init(&envelope, ENVELOPE_BYTES_MAX);
	int err = envelope_encode(e, &envelope);
	if (err == 0)
		err = write_file(io, fd, buf_slice(&envelope), body, tail);
	buf_fini(&envelope);
	return err;
}

/* --- append -------------------------------------------------------------------- */

/* What an append that failed, or a crash, left behind the last good record must not stand behind
 * the new one. */
static int cut_to(const struct qio *io, int fd, uint64_t end)
{
	struct qio_stat st;
	int err = io->stat(io->arg, fd, &st);
	if (err < 0)
		return err;
	if (st.bytes < end)
		return ERR_CORRUPT;
	return st.bytes == end ? 0 : io->truncate(io->arg, fd, end);
}

int qfile_append(const struct qio *io, int fd, const struct envelope *e, const uint32_t *rcpts,
    size_t n, struct tail *tail)
{
	struct buf records;
	struct tail next = *tail;
	int err = cut_to(io, fd, tail->end);
	if (err < 0)
		return err;
	buf_init(&records, TAIL_APPEND_MAX);
	err = tail_encode(e, rcpts, n, &next, &records);
	if (err == 0) {
		struct iovec iov = { (void *)(uintptr_t)buf_ptr(&records), buf_len(&records) };
		err = io->pwritev(io->arg, fd, &iov, 1, tail->end);
	}
	buf_fini(&records);
	if (err == 0)
		*tail = next;
	return err;
}

int qfile_renew(const struct qio *io, int fd, uint64_t from, uint64_t to)
{
	char *block = mem_alloc(BLOCK_BYTES);
	int err = 0;
	CHECK(from <= to);
	while (err == 0 && from < to) {
		size_t n = (size_t)MIN(to - from, (uint64_t)BLOCK_BYTES);
		ssize_t got = io->pread(io->arg, fd, block, n, from);
		struct iovec iov = { block, n };
		if (got < 0)
			err = (int)got;
		else if ((size_t)got < n)
			err = ERR_CORRUPT;
		else
			err = io->pwritev(io->arg, fd, &iov, 1, from);
		from += n;
	}
	mem_free(block);
	return err;
}

/* --- load --------------------------------------------------------------------- */

struct reader { /* short files are read with one call */
	const struct qio *io;
	int fd;
	uint64_t size;
	char *first; /* the file's first bytes */
	size_t first_n;
};

static int reader_init(struct reader *r, const struct qio *io, int fd, size_t first_max)
{
	struct qio_stat st;
	*r = (struct reader){ .io = io, .fd = fd };
	int err = io->stat(io->arg, fd, &st);
	if (err < 0)
		return err;
	r->size = st.bytes;
	size_t want = (size_t)MIN(st.bytes, (uint64_t)first_max);
	r->first = mem_alloc(want + 1);
	ssize_t n = io->pread(io->arg, fd, r->first, want, 0);
	r->first_n = n < 0 ? 0 : (size_t)n;
	return n < 0 ? (int)n : 0;
}

static void reader_fini(struct reader *r)
{
	mem_free(r->first);
	r->first = NULL;
}

/* Exactly n bytes, or ERR_CORRUPT where the file ends before. */
static int read_at(const struct reader *r, uint64_t at, void *p, size_t n)
{
	if (at > r->size || n > r->size - at)
		return ERR_CORRUPT;
	if (n == 0)
		return 0;
	if (at + n <= r->first_n) {
		memcpy(p, r->first + at, n);
		return 0;
	}
	ssize_t got = r->io->pread(r->io->arg, r->fd, p, n, at);
	if (got < 0)
		return (int)got;
	return (size_t)got < n ? ERR_CORRUPT : 0;
}

static int load_head(const struct reader *r, struct head *h, const char **why)
{
	unsigned char p[HEAD_BYTES];
	int err = read_at(r, 0, p, sizeof(p));
	*why = "too short to be a queue file";
	if (err < 0)
		return err;
	*why = "not a queue file";
	if (memcmp(p, magic, sizeof(magic)) != 0)
		return ERR_CORRUPT;
	*why = "the head fails its checksum";
	h->crc = codec_get_u32(p + HEAD_CRC_AT);
	if (codec_crc32c(0, p, HEAD_CRC_AT) != h->crc)
		return ERR_CORRUPT;
	*why = "written by another version";
	if (codec_get_u16(p + 8) != FORMAT_VERSION || codec_get_u16(p + 10) != HEAD_BYTES ||
	    codec_get_u32(p + 40) != 0)
		return ERR_VERSION;
	h->envelope_bytes = codec_get_u32(p + 12);
	h->envelope_crc = codec_get_u32(p + 16);
	h->body_crc = codec_get_u32(p + 20);
	h->body_at = codec_get_u64(p + 24);
	h->body_bytes = codec_get_u64(p + 32);
	*why = "the lengths in the head can't be";
	if (h->envelope_bytes > ENVELOPE_BYTES_MAX ||
	    h->body_at < HEAD_BYTES + (uint64_t)h->envelope_bytes)
		return ERR_CORRUPT;
	*why = "cut short";
	if (h->body_at > r->size || h->body_bytes > r->size - h->body_at)
		return ERR_CORRUPT;
	return 0;
}

static int load_envelope(const struct reader *r, const struct head *h, struct qfile_loaded *out)
{
	char *bytes = mem_alloc(h->envelope_bytes + (size_t)1);
	int err = read_at(r, HEAD_BYTES, bytes, h->envelope_bytes);
	out->why = "the envelope fails its checksum";
	if (err == 0 && codec_crc32c(0, bytes, h->envelope_bytes) != h->envelope_crc)
		err = ERR_CORRUPT;
	if (err == 0) {
		out->why = "the envelope can't be read";
		err = envelope_decode(slice_of(bytes, h->envelope_bytes), &out->envelope);
	}
	mem_free(bytes);
	if (err == 0 && out->envelope->body_bytes != h->body_bytes)
		err = ERR_CORRUPT;
	return err;
}

int qfile_check_body(const struct qio *io, int fd, uint64_t at, uint64_t bytes, uint32_t crc)
{
	char *block = mem_alloc(BLOCK_BYTES);
	uint64_t done = 0;
	uint32_t sum = 0;
	int err = 0;
	while (err == 0 && done < bytes) {
		size_t n = (size_t)MIN(bytes - done, (uint64_t)BLOCK_BYTES);
		ssize_t got = io->pread(io->arg, fd, block, n, at + done);
		if (got < 0)
			err = (int)got;
		else if ((size_t)got < n)
			err = ERR_CORRUPT;
		else
			sum = codec_crc32c(sum, block, n);
		done += n;
	}
	mem_free(block);
	return err == 0 && sum != crc ? ERR_CORRUPT : err;
}

/* A short one stays in out->mem. */
static int load_body(const struct reader *r, const struct head *h, struct qfile_loaded *out)
{
	size_t n = (size_t)h->body_bytes;
	out->why = "the body fails its checksum";
	out->body_at = h->body_at;
	out->body_bytes = h->body_bytes;
	if (h->body_bytes > QFILE_BODY_MEMORY_MAX)
		return qfile_check_body(r->io, r->fd, h->body_at, h->body_bytes, h->body_crc);
	char *mem = mem_alloc(n + 1);
	int err = read_at(r, h->body_at, mem, n);
	if (err == 0 && codec_crc32c(0, mem, n) != h->body_crc)
		err = ERR_CORRUPT;
	if (err == 0)
		out->mem = mem;
	else
		mem_free(mem);
	return err;
}

/* Up to the last good record; what follows is the rest of an append that was never acknowledged. */
static int load_tail(const struct reader *r, struct qfile_loaded *out)
{
	unsigned char head[TAIL_HEAD_BYTES];
	char *payload = NULL;
	int err = 0;
	while (err == 0 && out->tail.end < r->size) {
		err = read_at(r, out->tail.end, head, sizeof(head));
		ssize_t n = err < 0 ? err : tail_decode_head(head, &out->tail);
		if (n < 0) {
			err = (int)n;
			break;
		}
		if (payload == NULL)
			payload = mem_alloc(TAIL_PAYLOAD_MAX);
		err = read_at(r, out->tail.end + sizeof(head), payload, (size_t)n);
		if (err == 0)
			err = tail_decode(head, slice_of(payload, (size_t)n), &out->tail,
			    out->envelope);
	}
	mem_free(payload);
	out->torn = err == ERR_CORRUPT;
	return out->torn ? 0 : err;
}

static int load(const struct qio *io, int fd, bool with_body, struct qfile_loaded *out)
{
	struct reader r;
	struct head h;
	*out = (struct qfile_loaded){ .why = "" };
	int err = reader_init(&r, io, fd, with_body ? BLOCK_BYTES : FRONT_BYTES);
	if (err == 0)
		err = load_head(&r, &h, &out->why);
	if (err == 0)
		err = load_envelope(&r, &h, out);
	if (err == 0 && with_body)
		err = load_body(&r, &h, out);
	if (err == 0) {
		out->tail_at = h.body_at + h.body_bytes;
		out->tail = (struct tail){ .end = out->tail_at, .seed = h.crc };
		err = load_tail(&r, out);
	}
	reader_fini(&r);
	if (err < 0) {
		envelope_free(&out->envelope);
		mem_free(out->mem);
		out->mem = NULL;
	}
	return err;
}

int qfile_load(const struct qio *io, int fd, struct qfile_loaded *out)
{
	return load(io, fd, true, out);
}

int qfile_look(const struct qio *io, int fd, struct envelope **e_r)
{
	struct qfile_loaded l;
	int err = load(io, fd, false, &l);
	*e_r = err < 0 ? NULL : l.envelope;
	return err;
}

/* The lengths of body and file don't matter here. */
int qfile_load_envelope(const struct qio *io, int fd, struct envelope **e_r)
{
	struct qfile_loaded l = { .why = "" };
	struct reader r;
	struct head h;
	int err = reader_init(&r, io, fd, FRONT_BYTES);
	r.size = UINT64_MAX;
	if (err == 0)
		err = load_head(&r, &h, &l.why);
	if (err == 0)
		err = load_envelope(&r, &h, &l);
	reader_fini(&r);
	if (err < 0)
		envelope_free(&l.envelope);
	*e_r = l.envelope;
	return err;
}
