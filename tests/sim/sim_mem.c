/*
 * base/mem.h with a ledger: every block says whose it is, so a daemon that
 * died can be swept away whole, and one that stopped must have left nothing.
 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

struct block {
	struct block *next, *prev;
	size_t n;
	enum sim_side side;
	uint32_t magic;
};

#define BLOCK_MAGIC 0x51a110cu

_Static_assert(sizeof(struct block) % 16 == 0, "what follows a block is aligned for anything");

static struct block daemon_blocks = { &daemon_blocks, &daemon_blocks, 0, SIM_SIDE_DAEMON, 0 };
static enum sim_side current;
static size_t bytes, blocks;
static uint64_t calls;

enum sim_side sim_mem_side(enum sim_side side)
{
	enum sim_side before = current;

	current = side;
	return before;
}

size_t sim_mem_bytes(void)
{
	return bytes;
}

size_t sim_mem_blocks(void)
{
	return blocks;
}

uint64_t sim_mem_calls(void)
{
	return calls;
}

static void enter(struct block *b)
{
	if (b->side != SIM_SIDE_DAEMON)
		return;
	b->next = &daemon_blocks;
	b->prev = daemon_blocks.prev;
	b->prev->next = b;
	daemon_blocks.prev = b;
	bytes += b->n;
	blocks++;
	calls++;
}

static void leave(struct block *b)
{
	if (b->side != SIM_SIDE_DAEMON)
		return;
	b->next->prev = b->prev;
	b->prev->next = b->next;
	bytes -= b->n;
	blocks--;
}

static struct block *block_of(void *p)
{
	struct block *b = (struct block *)p - 1;

	if (b->magic != BLOCK_MAGIC)
		abort();
	return b;
}

void *mem_alloc(size_t n)
{
	struct block *b = malloc(sizeof(*b) + n);

	if (!b)
		abort();
	b->n = n;
	b->side = current;
	b->magic = BLOCK_MAGIC;
	enter(b);
	return b + 1;
}

void *mem_zalloc(size_t n)
{
	return memset(mem_alloc(n), 0, n);
}

void *mem_realloc(void *p, size_t n)
{
	if (!p)
		return mem_alloc(n);
	struct block *b = block_of(p);
	leave(b);
	b = realloc(b, sizeof(*b) + n);
	if (!b)
		abort();
	b->n = n;
	enter(b);
	return b + 1;
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
	if (n < 0)
		abort();
	char *copy = mem_strndup(text, (size_t)n);
	free(text);
	return copy;
}

void mem_free(void *p)
{
	if (!p)
		return;
	struct block *b = block_of(p);
	leave(b);
	b->magic = 0;
	free(b);
}

void mem_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}

void sim_mem_drop(void)
{
	while (daemon_blocks.next != &daemon_blocks)
		mem_free(daemon_blocks.next + 1);
}
