#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

enum {
	CAP_MIN = 256
};

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_fini(struct buf *b)
{
	mem_free(b->mem);
	buf_init(b, b->max);
}

static void move_to_start(struct buf *b)
{
	size_t len = buf_len(b);
	if (len)
		memmove(b->mem, b->mem + b->head, len);
	b->head = 0;
	b->tail = len;
}

/*
 * A bigger block for len + n bytes and a NUL. A buffer that is only added to
 * never needs more than max + 1. One that is also consumed may get twice
 * that: then half of it is consumed space whenever the tail hits the end, and
 * moving the rest to the start stays O(1) per byte even at the limit.
 */
static void grow(struct buf *b, size_t n)
{
	size_t len = buf_len(b);
	size_t need = len + n + 1;
	size_t top = b->max < SIZE_MAX / 4 ? b->max + 1 : SIZE_MAX / 4;
	if (b->head)
		top *= 2;
	size_t cap = MAX(MAX(b->cap * 2, (size_t)CAP_MIN), need);
	cap = MAX(MIN(cap, top), need);
	if (b->head == 0) {
		b->mem = mem_realloc(b->mem, cap);
	} else {
		char *mem = mem_alloc(cap);
		memcpy(mem, b->mem + b->head, len);
		mem_free(b->mem);
		b->mem = mem;
		b->head = 0;
		b->tail = len;
	}
	b->cap = cap;
}

/* Makes room for n bytes and a NUL at the tail; n has been checked against max. */
static void make_room(struct buf *b, size_t n)
{
	if (b->mem && b->cap - b->tail > n)
		return;
	/* Moving pays when at most as much moves as was consumed before. */
	if (b->head && b->head >= buf_len(b) && b->cap - buf_len(b) > n)
		move_to_start(b);
	else
		grow(b, n);
}

int buf_add_growing(struct buf *b, const void *p, size_t n)
{
	if (n > b->max - buf_len(b))
		return ERR_TOO_BIG;
	if (n == 0)
		return 0;
	make_room(b, n);
	memcpy(b->mem + b->tail, p, n);
	b->tail += n;
	return 0;
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	/* What is free already is tried first: most calls format only once. */
	size_t room = b->mem ? b->cap - b->tail : 0;
	int n = vsnprintf(room ? b->mem + b->tail : NULL, room, fmt, ap);
	int r = 0;
	if (n < 0 || (size_t)n > b->max - buf_len(b)) {
		r = ERR_TOO_BIG;
	} else {
		if ((size_t)n >= room) {
			make_room(b, (size_t)n);
			n = vsnprintf(b->mem + b->tail, (size_t)n + 1, fmt, again);
			CHECK(n >= 0);
		}
		b->tail += (size_t)n;
	}
	va_end(again);
	return r;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return r;
}

char *buf_reserve(struct buf *b, size_t n, size_t *room)
{
	*room = MIN(n, b->max - buf_len(b));
	make_room(b, *room);
	return b->mem + b->tail;
}

void buf_commit(struct buf *b, size_t n)
{
	CHECK(n == 0 || n < b->cap - b->tail);
	CHECK(n <= b->max - buf_len(b));
	b->tail += n;
}

void buf_consume(struct buf *b, size_t n)
{
	CHECK(n <= buf_len(b));
	b->head += n;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

void buf_truncate(struct buf *b, size_t n)
{
	CHECK(n <= buf_len(b));
	b->tail = b->head + n;
	if (n == 0)
		b->head = b->tail = 0;
}

void buf_clear(struct buf *b)
{
	b->head = b->tail = 0;
}

const char *buf_cstr(struct buf *b)
{
	make_room(b, 0);
	b->mem[b->tail] = '\0';
	return b->mem + b->head;
}

char *buf_take(struct buf *b)
{
	make_room(b, 0);
	move_to_start(b);
	char *text = b->mem;
	text[b->tail] = '\0';
	buf_init(b, b->max);
	return text;
}
