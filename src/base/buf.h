/*
 * buf.h - a growing byte buffer with a hard maximum.
 *
 * Bytes are added at the tail and consumed at the head; both are O(1)
 * amortised. Every buffer is created with its limit: reaching it is an
 * ordinary error (ERR_TOO_BIG), and what was there before stays as it was.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <string.h>

#include "base/slice.h"

struct buf {
	char *mem;   /* NULL until the first byte */
	size_t head; /* first byte not yet consumed */
	size_t tail; /* one past the last byte */
	size_t cap;  /* bytes allocated */
	size_t max;  /* limit on tail - head */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b); /* frees; usable again with the same limit */

static inline size_t buf_len(const struct buf *b)
{
	return b->tail - b->head;
}

/* first byte; valid until the next change */
static inline const char *buf_ptr(const struct buf *b)
{
	return b->mem ? b->mem + b->head : "";
}

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(buf_ptr(b), buf_len(b));
}

int buf_add_growing(struct buf *b, const void *p, size_t n) MUST_USE; /* behind buf_add */

/* Inline for what is the rule: a few bytes, for which there is room. */
MUST_USE static inline int buf_add(struct buf *b, const void *p, size_t n)
{
	if (n == 0 || n >= b->cap - b->tail || n > b->max - buf_len(b))
		return buf_add_growing(b, p, n);
	memcpy(b->mem + b->tail, p, n);
	b->tail += n;
	return 0;
}

MUST_USE static inline int buf_add_slice(struct buf *b, struct slice s)
{
	return buf_add(b, s.p, s.n);
}

MUST_USE static inline int buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

MUST_USE static inline int buf_add_char(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...) MUST_USE PRINTF_LIKE(2, 3);
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) MUST_USE
    __attribute__((format(printf, 2, 0)));

/*
 * Room for up to n more bytes at the tail (fewer if the limit is near; *room says how many, 0
 * at the limit). Follow with buf_commit.
 */
char *buf_reserve(struct buf *b, size_t n, size_t *room);
void buf_commit(struct buf *b, size_t n);

void buf_consume(struct buf *b, size_t n);  /* n <= buf_len; an empty buffer resets to its start */
void buf_truncate(struct buf *b, size_t n); /* keep the first n bytes */
void buf_clear(struct buf *b);
/* the content with a NUL after it (not counted); the NUL needs no room below max */
const char *buf_cstr(struct buf *b);
/* the content as a heap string with a NUL; the buffer is then empty */
char *buf_take(struct buf *b);

#endif
