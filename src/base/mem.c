#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	SMALL = 1024
};

static void out_of_memory(size_t n) NORETURN;

static void out_of_memory(size_t n)
{
	char text[80];
	int len = snprintf(text, sizeof(text), "postrider: out of memory (%zu bytes)\n", n);
	ssize_t ignored UNUSED = write(STDERR_FILENO, text, (size_t)len);
	abort();
}

void *mem_alloc(size_t n)
{
	/* malloc(0) may return NULL, which callers would have to tell from failure. */
	void *p = malloc(n ? n : 1);
	if (!p)
		out_of_memory(n);
	return p;
}

/*
 * What calloc gives comes past glibc's cache of each thread (before 2.41): for a
 * small object that costs more than clearing it. A large one may be clean already.
 */
void *mem_zalloc(size_t n)
{
	if (n <= SMALL)
		return memset(mem_alloc(n), 0, n);
	void *p = calloc(1, n);
	if (!p)
		out_of_memory(n);
	return p;
}

void *mem_realloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);
	if (!q)
		out_of_memory(n);
	return q;
}

void *mem_dup(const void *p, size_t n)
{
	void *q = mem_alloc(n);
	if (n)
		memcpy(q, p, n);
	return q;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

char *mem_strndup(const char *s, size_t n)
{
	char *q = mem_alloc(n + 1);
	if (n)
		memcpy(q, s, n);
	q[n] = '\0';
	return q;
}

char *mem_printf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0 || !text)
		out_of_memory(0);
	return text;
}

void mem_free(void *p)
{
	free(p);
}

void mem_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}
