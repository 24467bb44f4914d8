/*
 * arena.h - bump allocation for things that die together.
 *
 * One arena per SMTP transaction, delivery attempt, config snapshot. Nothing
 * is freed singly. Not thread-safe; an arena belongs to one owner at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_block;

struct arena {
	struct arena_block *head; /* newest block */
	size_t used_bytes;        /* handed out so far */
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);             /* frees all; the arena may be used again */
void *arena_alloc(struct arena *a, size_t n); /* aligned to 16, uninitialised */
void *arena_zalloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
struct slice arena_slice(struct arena *a, struct slice s); /* a copy, NUL-terminated beyond n */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
