#include "fault/qio_mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/slice.h"

enum {
	NAME_BYTES = 264,
	SECTOR_BYTES = 512,
	FD_BASE = 1000
};

struct bytes {
	char *p;
	size_t n, cap;
};

struct mem_write { /* p NULL: a truncation to at */
	char *p;
	size_t n;
	uint64_t at;
};

struct entry {
	char name[NAME_BYTES];
	size_t node;
};

struct names {
	struct entry *e;
	size_t n;
};

struct mem_node {
	bool is_directory;
	struct bytes now, sure;
	struct mem_write *writes; /* not synced */
	size_t writes_n;
	bool differs; /* now from sure, though no write is pending: a sync failed */
	struct names names_now, names_sure;
};

struct mem_change { /* a name goes from one place to another; dir SIZE_MAX: nowhere */
	size_t node;
	size_t from_dir, to_dir;
	char from[NAME_BYTES], to[NAME_BYTES];
};

/* --- images ---------------------------------------------------------------------- */

/* Files grow by a few bytes at a time: by half, so that what is there is seldom moved. */
static void resize(struct bytes *b, size_t n)
{
	if (n + 1 > b->cap) {
		b->cap = MAX(n + 1, b->cap + b->cap / 2);
		b->p = mem_realloc(b->p, b->cap);
	}
	if (n > b->n)
		memset(b->p + b->n, 0, n - b->n);
	b->n = n;
}

static void write_bytes(struct bytes *b, uint64_t at, const char *p, size_t n)
{
	if (n == 0)
		return;
	if (at + n > b->n)
		resize(b, (size_t)at + n);
	memcpy(b->p + at, p, n);
}

static void copy_bytes(struct bytes *to, const struct bytes *from)
{
	to->n = 0;
	resize(to, from->n);
	if (from->n > 0)
		memcpy(to->p, from->p, from->n);
}

static struct entry *find_name(const struct names *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++) {
		if (strcmp(d->e[i].name, name) == 0)
			return &d->e[i];
	}
	return NULL;
}

static void put_name(struct names *d, const char *name, size_t node)
{
	struct entry *e = find_name(d, name);
	if (e == NULL) {
		d->e = mem_realloc(d->e, (d->n + 1) * sizeof(*d->e));
		e = &d->e[d->n++];
		snprintf(e->name, sizeof(e->name), "%s", name);
	}
	e->node = node;
}

static void drop_name(struct names *d, const char *name)
{
	struct entry *e = find_name(d, name);
	if (e != NULL)
		*e = d->e[--d->n];
}

static void copy_names(struct names *to, const struct names *from)
{
	mem_free(to->e);
	to->n = from->n;
	to->e = from->n == 0 ? NULL : mem_dup(from->e, from->n * sizeof(*from->e));
}

static size_t new_node(struct qio_mem *m, bool is_directory)
{
	struct mem_node *node = mem_zalloc(sizeof(*node));
	node->is_directory = is_directory;
	m->nodes = mem_realloc(m->nodes, (m->nodes_n + 1) * sizeof(struct mem_node *));
	m->nodes[m->nodes_n] = node;
	return m->nodes_n++;
}

static void forget_writes(struct mem_node *node)
{
	for (size_t i = 0; i < node->writes_n; i++)
		mem_free(node->writes[i].p);
	node->writes_n = 0;
}

static void add_write(struct mem_node *node, const char *p, size_t n, uint64_t at)
{
	node->writes = mem_realloc(node->writes, (node->writes_n + 1) * sizeof(*node->writes));
	node->writes[node->writes_n++] =
	    (struct mem_write){ p == NULL ? NULL : mem_dup(p, n), n, at };
}

/* Done to one image: sure (a sync or the restart), or now. */
static void apply_change(struct qio_mem *m, const struct mem_change *c, bool sure)
{
	if (c->from_dir != SIZE_MAX)
		drop_name(sure ? &m->nodes[c->from_dir]->names_sure
			       : &m->nodes[c->from_dir]->names_now,
		    c->from);
	if (c->to_dir != SIZE_MAX)
		put_name(sure ? &m->nodes[c->to_dir]->names_sure : &m->nodes[c->to_dir]->names_now,
		    c->to, c->node);
}

static void change(struct qio_mem *m, size_t node, size_t from_dir, const char *from, size_t to_dir,
    const char *to)
{
	struct mem_change c = { .node = node, .from_dir = from_dir, .to_dir = to_dir };
	snprintf(c.from, sizeof(c.from), "%s", from);
	snprintf(c.to, sizeof(c.to), "%s", to);
	m->changes = mem_realloc(m->changes, (m->changes_n + 1) * sizeof(*m->changes));
	m->changes[m->changes_n++] = c;
	apply_change(m, &c, false);
}

/* --- calls ------------------------------------------------------------------------ */

/*
 * Whether the call takes place. The one during which the power goes does or
 * not, by chance; then nobody hears what came of it (see heard), but it may be
 * on the medium.
 */
static bool takes_place(struct qio_mem *m)
{
	m->calls++;
	m->dying = false;
	if (m->dead)
		return false;
	if (m->countdown == 0 || --m->countdown > 0)
		return true;
	m->dead = m->dying = true;
	return prng_below(&m->prng, 2) == 0;
}

static int heard(const struct qio_mem *m, int r)
{
	return m->dead ? -EIO : r;
}

static size_t node_of(const struct qio_mem *m, int fd)
{
	if (fd == -1)
		return 0;
	CHECK(fd >= FD_BASE);
	CHECK((size_t)(fd - FD_BASE) < m->fds_n);
	CHECK(m->fds[fd - FD_BASE] >= 0);
	return (size_t)m->fds[fd - FD_BASE];
}

static struct mem_node *at(const struct qio_mem *m, int fd)
{
	return m->nodes[node_of(m, fd)];
}

static int new_fd(struct qio_mem *m, size_t node)
{
	m->fds = mem_realloc(m->fds, (m->fds_n + 1) * sizeof(*m->fds));
	m->fds[m->fds_n] = (int)node;
	return FD_BASE + (int)m->fds_n++;
}

static int mem_open(void *arg, int dirfd, const char *name, enum qio_open how)
{
	struct qio_mem *m = arg;
	if (!takes_place(m))
		return -EIO;
	size_t dir = dirfd == -1 ? 0 : node_of(m, dirfd), node = 0;
	struct entry *e = dirfd == -1 ? NULL : find_name(&m->nodes[dir]->names_now, name);
	if (e != NULL && how == QIO_OPEN_CREATE)
		return heard(m, -EEXIST);
	if (e != NULL) {
		node = e->node;
	} else if (dirfd != -1) {
		if (how != QIO_OPEN_CREATE && how != QIO_OPEN_LOCK)
			return heard(m, -ENOENT);
		node = new_node(m, false);
		change(m, node, SIZE_MAX, "", dir, name);
	}
	return m->dead ? -EIO : new_fd(m, node);
}

static int mem_close(void *arg, int fd)
{
	struct qio_mem *m = arg;
	(void)node_of(m, fd);
	m->fds[fd - FD_BASE] = -1;
	(void)takes_place(m);
	return heard(m, 0);
}

static ssize_t mem_pread(void *arg, int fd, void *p, size_t n, uint64_t offset)
{
	struct qio_mem *m = arg;
	const struct bytes *b = &at(m, fd)->now;
	if (!takes_place(m) || m->dead)
		return -EIO;
	size_t take = offset >= b->n ? 0 : MIN(n, b->n - (size_t)offset);
	if (take > 0)
		memcpy(p, b->p + offset, take);
	return (ssize_t)take;
}

static int mem_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct qio_mem *m = arg;
	struct mem_node *node = at(m, fd);
	if (!takes_place(m))
		return -EIO;
	for (int i = 0; i < n; i++) {
		size_t bytes = iov[i].iov_len;
		/* Where the process dies it may have come to anywhere. */
		if (m->dying && i + 1 == n)
			bytes = (size_t)prng_below(&m->prng, bytes + 1);
		add_write(node, iov[i].iov_base, bytes, offset);
		write_bytes(&node->now, offset, iov[i].iov_base, bytes);
		offset += bytes;
	}
	return heard(m, 0);
}

static int mem_copy(void *arg, int from, uint64_t from_at, int to, uint64_t to_at, uint64_t n)
{
	struct qio_mem *m = arg;
	struct mem_node *source = at(m, from), *target = at(m, to);
	if (!takes_place(m) || from_at + n > source->now.n)
		return -EIO;
	add_write(target, source->now.p + from_at, (size_t)n, to_at);
	write_bytes(&target->now, to_at, source->now.p + from_at, (size_t)n);
	return heard(m, 0);
}

static int mem_truncate(void *arg, int fd, uint64_t bytes)
{
	struct qio_mem *m = arg;
	if (!takes_place(m))
		return -EIO;
	add_write(at(m, fd), NULL, 0, bytes);
	resize(&at(m, fd)->now, (size_t)bytes);
	return heard(m, 0);
}

static int mem_flush(void *arg, int fd UNUSED, bool wait UNUSED)
{
	struct qio_mem *m = arg;
	(void)takes_place(m);
	return heard(m, 0);
}

/* What was written since the last sync is sure now; not by copying the whole, which may be large.
 */
static int mem_sync(void *arg, int fd)
{
	struct qio_mem *m = arg;
	struct mem_node *node = at(m, fd);
	if (!takes_place(m))
		return -EIO;
	for (size_t i = 0; i < node->writes_n; i++) {
		const struct mem_write *w = &node->writes[i];
		if (w->p == NULL)
			resize(&node->sure, (size_t)w->at);
		else
			write_bytes(&node->sure, w->at, w->p, w->n);
	}
	forget_writes(node);
	return heard(m, 0);
}

static bool touches(const struct mem_change *c, size_t dir)
{
	return c->from_dir == dir || c->to_dir == dir;
}

/* The changes that touch the directory, and those before them on the same files, are sure now. */
static int mem_sync_directory(void *arg, int fd)
{
	struct qio_mem *m = arg;
	size_t dir = node_of(m, fd), kept = 0;
	if (!takes_place(m))
		return -EIO;
	for (size_t i = 0; i < m->changes_n; i++) {
		bool now = false;
		for (size_t j = i; j < m->changes_n && !now; j++)
			now = m->changes[j].node == m->changes[i].node &&
			      touches(&m->changes[j], dir);
		if (now)
			apply_change(m, &m->changes[i], true);
		else
			m->changes[kept++] = m->changes[i];
	}
	m->changes_n = kept;
	return heard(m, 0);
}

static int mem_replace_in(struct qio_mem *m, int from_dir, const char *from, int to_dir,
    const char *to, bool replace)
{
	if (!takes_place(m))
		return -EIO;
	const struct entry *e = find_name(&at(m, from_dir)->names_now, from);
	if (e == NULL)
		return heard(m, -ENOENT);
	if (!replace && find_name(&at(m, to_dir)->names_now, to) != NULL)
		return heard(m, -EEXIST);
	change(m, e->node, node_of(m, from_dir), from, node_of(m, to_dir), to);
	return heard(m, 0);
}

static int mem_rename(void *arg, int from_dir, const char *from, int to_dir, const char *to)
{
	return mem_replace_in(arg, from_dir, from, to_dir, to, false);
}

static int mem_replace(void *arg, int dir, const char *from, const char *to)
{
	return mem_replace_in(arg, dir, from, dir, to, true);
}

static int mem_unlink(void *arg, int dirfd, const char *name)
{
	struct qio_mem *m = arg;
	if (!takes_place(m))
		return -EIO;
	const struct entry *e = find_name(&at(m, dirfd)->names_now, name);
	if (e == NULL)
		return heard(m, -ENOENT);
	change(m, e->node, node_of(m, dirfd), name, SIZE_MAX, "");
	return heard(m, 0);
}

static int mem_mkdir(void *arg, int dirfd, const char *name)
{
	struct qio_mem *m = arg;
	if (!takes_place(m))
		return -EIO;
	if (dirfd == -1 || find_name(&at(m, dirfd)->names_now, name) != NULL)
		return heard(m, -EEXIST);
	change(m, new_node(m, true), SIZE_MAX, "", node_of(m, dirfd), name);
	return heard(m, 0);
}

static int mem_list(void *arg, int dirfd, qio_name_fn *fn, void *fn_arg)
{
	struct qio_mem *m = arg;
	const struct names *d = &at(m, dirfd)->names_now;
	if (!takes_place(m) || m->dead)
		return -EIO;
	for (size_t i = 0; i < d->n; i++)
		fn(fn_arg, d->e[i].name, m->nodes[d->e[i].node]->is_directory);
	return 0;
}

static int mem_stat(void *arg, int fd, struct qio_stat *st)
{
	struct qio_mem *m = arg;
	const struct mem_node *node = at(m, fd);
	if (!takes_place(m) || m->dead)
		return -EIO;
	*st = (struct qio_stat){ .bytes = node->now.n,
		.mode = node->is_directory ? 0700 : 0600,
		.is_file = !node->is_directory,
		.is_directory = node->is_directory };
	return 0;
}

static int mem_chmod(void *arg, int fd UNUSED, unsigned mode UNUSED)
{
	struct qio_mem *m = arg;
	(void)takes_place(m);
	return heard(m, 0);
}

static int mem_chown(void *arg, int fd UNUSED, uint32_t uid UNUSED, uint32_t gid UNUSED)
{
	struct qio_mem *m = arg;
	(void)takes_place(m);
	return heard(m, 0);
}

static int mem_lock(void *arg, int fd UNUSED)
{
	struct qio_mem *m = arg;
	(void)takes_place(m);
	return heard(m, 0);
}

static int mem_space(void *arg, int dirfd UNUSED, struct qio_space *space)
{
	struct qio_mem *m = arg;
	(void)takes_place(m);
	*space = (struct qio_space){ .bytes = UINT64_C(1) << 40, .bytes_free = UINT64_C(1) << 39 };
	return heard(m, 0);
}

/* --- life -------------------------------------------------------------------------- */

void qio_mem_init(struct qio_mem *m, uint64_t seed)
{
	*m = (struct qio_mem){ 0 };
	m->io =
	    (struct qio){ m, mem_open, mem_close, mem_pread, mem_pwritev, mem_copy, mem_truncate,
		    mem_flush, mem_sync, mem_sync_directory, mem_rename, mem_replace, mem_unlink,
		    mem_mkdir, mem_list, mem_stat, mem_chmod, mem_lock, mem_space, mem_chown };
	prng_init(&m->prng, seed);
	(void)new_node(m, true);
}

void qio_mem_fini(struct qio_mem *m)
{
	for (size_t i = 0; i < m->nodes_n; i++) {
		struct mem_node *node = m->nodes[i];
		forget_writes(node);
		mem_free(node->writes);
		mem_free(node->now.p);
		mem_free(node->sure.p);
		mem_free(node->names_now.e);
		mem_free(node->names_sure.e);
		mem_free(node);
	}
	mem_free(m->nodes);
	mem_free(m->changes);
	mem_free(m->fds);
}

enum way { /* of a write nobody waited for */
	LOST,
	BEGUN, /* its first bytes are there */
	GAPS,  /* some of its sectors are, the others are old */
	ZEROS, /* the others are zeros: the size came first */
	NOISE, /* or what was on the medium before */
	DONE,
	WAYS,
};

/* A sector that is written with what it holds holds it whatever happens. */
static bool is_same(const struct mem_node *node, uint64_t at, const char *p, size_t n)
{
	return at + n <= node->sure.n && memcmp(node->sure.p + at, p, n) == 0;
}

static void settle_sector(struct qio_mem *m, struct mem_node *node, enum way way, uint64_t at,
    const char *p, size_t n)
{
	char other[SECTOR_BYTES] = "";
	bool torn = way > BEGUN && way < DONE && prng_below(&m->prng, 2) == 0;
	if (is_same(node, at, p, n) || (torn && way == GAPS))
		return;
	for (size_t i = 0; torn && way == NOISE && i < n; i++)
		other[i] = (char)prng_next(&m->prng);
	write_bytes(&node->sure, at, torn ? other : p, n);
}

static void settle_write(struct qio_mem *m, struct mem_node *node, const struct mem_write *w)
{
	enum way way = (enum way)prng_below(&m->prng, WAYS);
	if (way == LOST)
		return;
	if (w->p == NULL) {
		resize(&node->sure, (size_t)w->at);
		return;
	}
	size_t kept = way == BEGUN ? (size_t)prng_below(&m->prng, w->n + 1) : w->n;
	for (size_t i = 0, n; i < kept; i += n) {
		n = MIN(kept - i, SECTOR_BYTES - (size_t)((w->at + i) % SECTOR_BYTES));
		settle_sector(m, node, way, w->at + i, w->p + i, n);
	}
}

static void settle_writes(struct qio_mem *m, struct mem_node *node)
{
	for (size_t w = 0; w < node->writes_n; w++)
		settle_write(m, node, &node->writes[w]);
	forget_writes(node);
}

void qio_mem_lose_unsynced(void *disk, int fd)
{
	struct qio_mem *m = disk;
	struct mem_node *node = at(m, fd);
	settle_writes(m, node);
	node->differs = prng_below(&m->prng, 2) == 0;
	if (!node->differs) /* the cached pages are gone as well */
		copy_bytes(&node->now, &node->sure);
}

void qio_mem_revive(struct qio_mem *m)
{
	for (size_t i = 0; i < m->fds_n; i++)
		CHECK(m->fds[i] == -1); /* nothing may stay open over the end of its owner */
	m->fds_n = 0;
	m->countdown = 0;
	m->dead = false;
}

void qio_mem_restart(struct qio_mem *m)
{
	bool *lost = mem_zalloc(m->nodes_n * sizeof(*lost));
	uint64_t luck = 1 + prng_below(&m->prng, 4); /* of 4 changes, so many are done */
	for (size_t i = 0; i < m->changes_n; i++) {
		struct mem_change *c = &m->changes[i];
		lost[c->node] = lost[c->node] || prng_below(&m->prng, 4) >= luck;
		if (!lost[c->node])
			apply_change(m, c, true);
	}
	mem_free(lost);
	m->changes_n = 0;
	for (size_t i = 0; i < m->nodes_n; i++) {
		struct mem_node *node = m->nodes[i];
		if (node->writes_n > 0 || node->differs) {
			settle_writes(m, node);
			copy_bytes(&node->now, &node->sure);
			node->differs = false;
		}
		copy_names(&node->names_now, &node->names_sure);
	}
	qio_mem_revive(m);
}

/* --- looking from outside ---------------------------------------------------------- */

/* The node at a path ("tmp", "queue/00/name"), as a running system sees it, or NULL. */
static struct mem_node *find_path(const struct qio_mem *m, const char *path)
{
	struct mem_node *node = m->nodes[0];
	struct slice rest = slice_str(path), part;
	char name[NAME_BYTES];
	while (slice_split(&rest, '/', &part)) {
		snprintf(name, sizeof(name), "%.*s", SLICE_ARG(part));
		const struct entry *e = find_name(&node->names_now, name);
		if (e == NULL)
			return NULL;
		node = m->nodes[e->node];
	}
	return node;
}

size_t qio_mem_count(const struct qio_mem *m, const char *path)
{
	const struct mem_node *node = find_path(m, path);
	return node == NULL ? 0 : node->names_now.n;
}

static void walk(const struct qio_mem *m, const struct mem_node *dir, const char *path,
    qio_mem_file_fn *fn, void *arg)
{
	char sub[NAME_BYTES + NAME_BYTES];
	for (size_t i = 0; i < dir->names_now.n; i++) {
		const struct entry *e = &dir->names_now.e[i];
		const struct mem_node *node = m->nodes[e->node];
		snprintf(sub, sizeof(sub), "%s%s%s", path, path[0] == '\0' ? "" : "/", e->name);
		if (node->is_directory)
			walk(m, node, sub, fn, arg); /* three levels deep */
		else
			fn(arg, sub, slice_of(node->now.p, node->now.n));
	}
}

void qio_mem_walk(const struct qio_mem *m, qio_mem_file_fn *fn, void *arg)
{
	walk(m, m->nodes[0], "", fn, arg);
}

struct slice qio_mem_read(const struct qio_mem *m, const char *path)
{
	const struct mem_node *node = find_path(m, path);
	return node == NULL ? SLICE_NONE : slice_of(node->now.p, node->now.n);
}

void qio_mem_write(struct qio_mem *m, const char *path, struct slice bytes)
{
	char dir[NAME_BYTES];
	const char *name = strrchr(path, '/') + 1;
	struct mem_node *node = find_path(m, path);
	if (node == NULL) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(name - 1 - path), path);
		struct mem_node *in = find_path(m, dir);
		CHECK(in != NULL);
		size_t number = new_node(m, false);
		put_name(&in->names_now, name, number);
		put_name(&in->names_sure, name, number);
		node = m->nodes[number];
	}
	const struct bytes from = { (char *)(uintptr_t)bytes.p, bytes.n, bytes.n };
	CHECK(node->writes_n == 0);
	copy_bytes(&node->now, &from);
	copy_bytes(&node->sure, &from);
}
