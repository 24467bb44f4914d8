#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

/* Most transactions fit the first block; later ones double, so that a big one needs few. */
enum {
	ALIGN = 16,
	BLOCK_MIN = 2048,
	BLOCK_MAX = 65536,
};

struct arena_block {
	struct arena_block *next; /* the one allocated before */
	size_t cap;
	size_t used;
	_Alignas(ALIGN) char data[];
};

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

void arena_fini(struct arena *a)
{
	while (a->head) {
		struct arena_block *b = a->head;
		a->head = b->next;
		mem_free(b);
	}
	a->used_bytes = 0;
}

static struct arena_block *block_new(size_t cap)
{
	struct arena_block *b = mem_alloc(sizeof(*b) + cap);
	b->next = NULL;
	b->cap = cap;
	b->used = 0;
	return b;
}

/* A block with room for n. One made for a single big object goes behind the head, whose rest stays
 * in use. */
static struct arena_block *block_add(struct arena *a, size_t n)
{
	struct arena_block *b;
	if (n > BLOCK_MAX / 4 && a->head) {
		b = block_new(n);
		b->next = a->head->next;
		a->head->next = b;
		return b;
	}
	size_t cap = a->head ? MIN(a->head->cap * 2, (size_t)BLOCK_MAX) : BLOCK_MIN;
	b = block_new(MAX(cap, n));
	b->next = a->head;
	a->head = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	CHECK(n < SIZE_MAX / 2);
	size_t size = (MAX(n, (size_t)1) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	struct arena_block *b = a->head;
	if (!b || b->cap - b->used < size)
		b = block_add(a, size);
	void *p = b->data + b->used;
	b->used += size;
	a->used_bytes += size;
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);
	memset(p, 0, n);
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *q = arena_alloc(a, n + 1);
	if (n)
		memcpy(q, s, n);
	q[n] = '\0';
	return q;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

struct slice arena_slice(struct arena *a, struct slice s)
{
	return slice_of(arena_strndup(a, s.p, s.n), s.n);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	char *copy = arena_strndup(a, text, (size_t)n);
	free(text); /* malloc's, not mem_alloc's */
	return copy;
}
