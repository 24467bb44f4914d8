/*
 * mem.h - allocation that cannot fail.
 *
 * Out of memory aborts, so no caller has a branch for it; in exchange all
 * that a peer can grow is bounded elsewhere (capped buffers, admission).
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/defs.h"

void *mem_alloc(size_t n);  /* uninitialised */
void *mem_zalloc(size_t n); /* zeroed */
void *mem_realloc(void *p, size_t n);
void *mem_dup(const void *p, size_t n);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n); /* always terminated; copies n bytes even over NUL */
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
void mem_free(void *p); /* NULL is fine */

/* Overwrites n bytes so that the compiler cannot drop it; for secrets. */
void mem_wipe(void *p, size_t n);

#endif
