/*
 * body.c - message bodies and the memory they may take.
 */
#include "queue/body.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct body_pool {
	atomic_size_t refs;
	_Atomic uint64_t bytes;
	uint64_t max_bytes;
};

struct queue_body {
	atomic_size_t refs;
	struct body_pool *pool;
	uint64_t bytes;
	char *mem; /* NULL: read from fd */
	const struct qio *io;
	int fd;
	uint64_t offset;
	void (*release)(void *arg); /* NULL: fd is closed */
	void *release_arg;
};

struct body_pool *body_pool_new(uint64_t max_bytes)
{
	struct body_pool *pool = mem_zalloc(sizeof(*pool));
	atomic_init(&pool->refs, 1);
	pool->max_bytes = max_bytes;
	return pool;
}

void body_pool_unref(struct body_pool **pool)
{
	if (*pool != NULL && atomic_fetch_sub(&(*pool)->refs, 1) == 1)
		mem_free(*pool);
	*pool = NULL;
}

uint64_t body_pool_bytes(const struct body_pool *pool)
{
	return atomic_load_explicit(&pool->bytes, memory_order_relaxed);
}

static bool reserve(struct body_pool *pool, uint64_t bytes)
{
	uint64_t before = atomic_fetch_add(&pool->bytes, bytes);
	if (before + bytes <= pool->max_bytes)
		return true;
	atomic_fetch_sub(&pool->bytes, bytes);
	return false;
}

static struct queue_body *new_body(struct body_pool *pool, uint64_t bytes)
{
	struct queue_body *b = mem_zalloc(sizeof(*b));
	atomic_init(&b->refs, 1);
	atomic_fetch_add(&pool->refs, 1);
	b->pool = pool;
	b->bytes = bytes;
	b->fd = -1;
	return b;
}

struct queue_body *body_new_memory(struct body_pool *pool, char *mem, size_t bytes)
{
	CHECK(mem != NULL);
	if (!reserve(pool, bytes))
		return NULL;
	struct queue_body *b = new_body(pool, bytes);
	b->mem = mem;
	return b;
}

struct queue_body *body_new_file(struct body_pool *pool, const struct qio *io, int fd,
    uint64_t offset, uint64_t bytes)
{
	CHECK(fd >= 0);
	struct queue_body *b = new_body(pool, bytes);
	b->io = io;
	b->fd = fd;
	b->offset = offset;
	return b;
}

struct queue_body *body_new_shared(struct body_pool *pool, const struct qio *io, int fd,
    uint64_t offset, uint64_t bytes, void (*release)(void *arg), void *arg)
{
	struct queue_body *b = body_new_file(pool, io, fd, offset, bytes);
	b->release = release;
	b->release_arg = arg;
	return b;
}

ssize_t queue_body_read(const struct queue_body *b, uint64_t offset, void *p, size_t n)
{
	if (offset >= b->bytes || n == 0)
		return 0;
	size_t take = (size_t)MIN((uint64_t)n, b->bytes - offset);
	if (b->mem != NULL) {
		memcpy(p, b->mem + offset, take);
		return (ssize_t)take;
	}
	ssize_t r = b->io->pread(b->io->arg, b->fd, p, take, b->offset + offset);
	return r >= 0 && (size_t)r < take ? ERR_CORRUPT : r;
}

int queue_body_file(const struct queue_body *b, uint64_t *offset)
{
	bool is_own = b->mem == NULL && b->release == NULL;
	*offset = b->offset;
	return is_own ? b->fd : -1; /* a segment of the journal is used again */
}

uint64_t queue_body_size(const struct queue_body *b)
{
	return b->bytes;
}

struct slice queue_body_memory(const struct queue_body *b)
{
	return b->mem == NULL ? SLICE_NONE : slice_of(b->mem, (size_t)b->bytes);
}

struct queue_body *queue_body_ref(struct queue_body *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

static void destroy(struct queue_body *b)
{
	if (b->mem != NULL)
		atomic_fetch_sub(&b->pool->bytes, b->bytes);
	mem_free(b->mem);
	if (b->release != NULL)
		b->release(b->release_arg);
	else if (b->fd >= 0)
		(void)b->io->close(b->io->arg, b->fd); /* only read from: nothing can be lost */
	body_pool_unref(&b->pool);
	mem_free(b);
}

void queue_body_unref(struct queue_body **b)
{
	if (*b != NULL && atomic_fetch_sub_explicit(&(*b)->refs, 1, memory_order_acq_rel) == 1)
		destroy(*b);
	*b = NULL;
}
