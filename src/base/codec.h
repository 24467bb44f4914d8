/*
 * codec.h - encodings: base64, hex, xtext, little-endian integers, CRC32C.
 *
 * Decoders are strict: they accept exactly what the encoder writes, and say
 * ERR_SYNTAX otherwise. They never write past what they appended to `out`.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/buf.h"

/* one line, padded (RFC 4648 4) */
int codec_base64_encode(struct buf *out, struct slice in) MUST_USE;
/* no blanks, padding required */
int codec_base64_decode(struct buf *out, struct slice in) MUST_USE;
int codec_hex_encode(struct buf *out, struct slice in) MUST_USE;   /* lower case */
int codec_xtext_encode(struct buf *out, struct slice in) MUST_USE; /* RFC 3461 4 */
/* ERR_SYNTAX on anything that is not xtext */
int codec_xtext_decode(struct buf *out, struct slice in) MUST_USE;

/*
 * CRC32C (Castagnoli); start with 0 and feed the result back in. Uses the CPU's instruction
 * where there is one.
 */
uint32_t codec_crc32c(uint32_t crc, const void *p, size_t n);
/* The same by tables, for CPUs without it; public for its test. */
uint32_t codec_crc32c_portable(uint32_t crc, const void *p, size_t n);

void codec_put_u16(unsigned char *p, uint16_t v); /* little-endian, as everything we store */
void codec_put_u32(unsigned char *p, uint32_t v);
void codec_put_u64(unsigned char *p, uint64_t v);
uint16_t codec_get_u16(const unsigned char *p);
uint32_t codec_get_u32(const unsigned char *p);
uint64_t codec_get_u64(const unsigned char *p);

#endif
