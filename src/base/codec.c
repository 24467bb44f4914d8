#include "base/codec.h"

#include <endian.h>
#include <string.h>

#include "base/err.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

/* An encoder or decoder that fails half way leaves out as it was. */
static int undo(struct buf *out, size_t len, int r)
{
	if (r < 0)
		buf_truncate(out, len);
	return r;
}

int codec_base64_encode(struct buf *out, struct slice in)
{
	const unsigned char *p = (const unsigned char *)in.p;
	size_t before = buf_len(out);
	int r = 0;
	for (size_t i = 0; i < in.n && r == 0; i += 3) {
		size_t n = MIN(in.n - i, (size_t)3);
		uint32_t v = (uint32_t)p[i] << 16;
		if (n > 1)
			v |= (uint32_t)p[i + 1] << 8;
		if (n > 2)
			v |= p[i + 2];
		char quad[4] = { base64_digits[v >> 18], base64_digits[v >> 12 & 63],
			n > 1 ? base64_digits[v >> 6 & 63] : '=',
			n > 2 ? base64_digits[v & 63] : '=' };
		r = buf_add(out, quad, sizeof(quad));
	}
	return undo(out, before, r);
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* Four digits to one to three bytes; returns how many, or ERR_SYNTAX. Bits that padding cuts off
 * must be 0. */
static int base64_quad(const char *p, bool is_last, char bytes[3])
{
	int pad = 0;
	if (is_last && p[3] == '=')
		pad = p[2] == '=' ? 2 : 1;
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		int digit = i < 4 - pad ? base64_value(p[i]) : 0;
		if (digit < 0)
			return ERR_SYNTAX;
		v = v << 6 | (uint32_t)digit;
	}
	if ((v & ((1u << 8 * pad) - 1)) != 0)
		return ERR_SYNTAX;
	bytes[0] = (char)(v >> 16);
	bytes[1] = (char)(v >> 8);
	bytes[2] = (char)v;
	return 3 - pad;
}

int codec_base64_decode(struct buf *out, struct slice in)
{
	size_t before = buf_len(out);
	int r = in.n % 4 ? ERR_SYNTAX : 0;
	for (size_t i = 0; i < in.n && r == 0; i += 4) {
		char bytes[3];
		r = base64_quad(in.p + i, i + 4 == in.n, bytes);
		if (r > 0)
			r = buf_add(out, bytes, (size_t)r);
	}
	return undo(out, before, r);
}

int codec_hex_encode(struct buf *out, struct slice in)
{
	size_t before = buf_len(out);
	int r = 0;
	for (size_t i = 0; i < in.n && r == 0; i++) {
		unsigned char c = (unsigned char)in.p[i];
		char pair[2] = { hex_lower[c >> 4], hex_lower[c & 15] };
		r = buf_add(out, pair, sizeof(pair));
	}
	return undo(out, before, r);
}

/* xchar of RFC 3461 4: printable ASCII but for "+" and "=". */
static bool is_xchar(char c)
{
	return c >= '!' && c <= '~' && c != '+' && c != '=';
}

int codec_xtext_encode(struct buf *out, struct slice in)
{
	size_t before = buf_len(out);
	int r = 0;
	for (size_t i = 0; i < in.n && r == 0; i++) {
		unsigned char c = (unsigned char)in.p[i];
		char hex[3] = { '+', hex_upper[c >> 4], hex_upper[c & 15] };
		r = is_xchar(in.p[i]) ? buf_add_char(out, in.p[i]) : buf_add(out, hex, sizeof(hex));
	}
	return undo(out, before, r);
}

/* hexchar has upper-case digits only. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "+XX" at the start of p stands for, or -1. */
static int hexchar(const char *p, size_t n)
{
	if (n < 3 || p[0] != '+')
		return -1;
	int high = hex_value(p[1]);
	int low = hex_value(p[2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int codec_xtext_decode(struct buf *out, struct slice in)
{
	size_t before = buf_len(out);
	int r = 0;
	for (size_t i = 0; i < in.n && r == 0; i++) {
		if (is_xchar(in.p[i])) {
			r = buf_add_char(out, in.p[i]);
			continue;
		}
		int byte = hexchar(in.p + i, in.n - i);
		r = byte < 0 ? ERR_SYNTAX : buf_add_char(out, (char)byte);
		i += 2;
	}
	return undo(out, before, r);
}

void codec_put_u16(unsigned char *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

void codec_put_u32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

void codec_put_u64(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

uint16_t codec_get_u16(const unsigned char *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

uint32_t codec_get_u32(const unsigned char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

uint64_t codec_get_u64(const unsigned char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}
