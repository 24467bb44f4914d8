/*
 * spool_recover.c - what start-up does with the legal states a crash leaves
 * (see spool.h). Each step may be cut short and done again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/spool.h"

enum {
	EPOCH_TEXT_MAX = 24
};

#define NAMES_BYTES_MAX (UINT64_C(1) << 32) /* of one sub-directory: some 40 million files */

/* --- names of a directory ------------------------------------------------------ */

struct spool_names {
	unsigned dir;    /* of queue/ */
	struct buf text; /* each with its NUL */
	size_t at;       /* of the next one */
	size_t others;   /* neither file nor unknown */
	size_t foreign;
	char example[SPOOL_NAME_MAX]; /* one of the ignored */
	int err;
};

static void ignore(struct spool_names *n, const char *name, size_t *count)
{
	if ((*count)++ == 0 && n->example[0] == '\0')
		snprintf(n->example, sizeof(n->example), "%s", name);
}

static void on_name(void *arg, const char *name, bool is_other)
{
	struct spool_names *n = arg;
	if (is_other) {
		ignore(n, name, &n->others);
		return;
	}
	int err = buf_add(&n->text, name, strlen(name) + 1);
	n->err = n->err < 0 ? n->err : err;
}

/* All names are read before any is acted on: what readdir shows of a directory that changes
 * meanwhile is not defined. */
static int read_names(struct spool *s, int fd, struct spool_names *n)
{
	*n = (struct spool_names){ 0 };
	buf_init(&n->text, NAMES_BYTES_MAX);
	int err = s->io->list(s->io->arg, fd, on_name, n);
	err = err < 0 ? err : n->err;
	if (err < 0)
		buf_fini(&n->text);
	return err;
}

static const char *next_name(struct spool_names *n)
{
	if (n->at == buf_len(&n->text))
		return NULL;
	const char *name = buf_ptr(&n->text) + n->at;
	n->at += strlen(name) + 1;
	return name;
}

/* --- tmp ---------------------------------------------------------------------- */

int spool_empty_tmp(struct spool *s)
{
	struct spool_names names;
	const char *name;
	int first = read_names(s, s->tmp, &names);
	if (first < 0)
		return first;
	while ((name = next_name(&names)) != NULL) {
		int err = s->io->unlink(s->io->arg, s->tmp, name);
		if (err < 0 && err != -ENOENT && first == 0)
			first = err;
	}
	if (names.others > 0)
		log_warn("queue",
		    "tmp/ has %zu entries that are no files (such as \"%s\"): left alone",
		    names.others, names.example);
	buf_fini(&names.text);
	return first;
}

/* --- epoch ---------------------------------------------------------------------- */

int spool_read_epoch(struct spool *s, uint64_t *epoch)
{
	char text[EPOCH_TEXT_MAX];
	int fd = s->io->open(s->io->arg, s->state, "epoch", QIO_OPEN_READ);
	if (fd == -ENOENT) {
		*epoch = 0;
		return 0;
	}
	if (fd < 0)
		return fd;
	ssize_t n = s->io->pread(s->io->arg, fd, text, sizeof(text), 0);
	(void)s->io->close(s->io->arg, fd);
	if (n < 0)
		return (int)n;
	if (slice_to_u64(slice_trim(slice_of(text, (size_t)n)), epoch))
		return 0;
	*epoch = 0;
	return ERR_CORRUPT;
}

static int put_epoch(struct spool *s, const char *name, enum qio_open how, uint64_t epoch)
{
	char text[EPOCH_TEXT_MAX];
	int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", epoch);
	int fd = s->io->open(s->io->arg, s->state, name, how);
	if (fd < 0)
		return fd;
	struct iovec iov = { text, (size_t)len };
	int err = s->io->pwritev(s->io->arg, fd, &iov, 1, 0);
	if (err == 0)
		err = s->io->sync(s->io->arg, fd);
	int closed = s->io->close(s->io->arg, fd);
	return err < 0 ? err : closed;
}

int spool_write_epoch(struct spool *s, uint64_t epoch)
{
	int err = s->io->unlink(s->io->arg, s->state, "epoch.new");
	if (err < 0 && err != -ENOENT)
		return err;
	err = put_epoch(s, "epoch.new", QIO_OPEN_CREATE, epoch);
	if (err == 0)
		err = s->io->replace(s->io->arg, s->state, "epoch.new", "epoch");
	return err < 0 ? err : s->io->sync_directory(s->io->arg, s->state);
}

/* In the block it has, for which no space is needed. */
static int overwrite_epoch(struct spool *s, uint64_t epoch)
{
	(void)s->io->unlink(s->io->arg, s->state, "epoch.new"); /* else the next start does it */
	int err = put_epoch(s, "epoch", QIO_OPEN_WRITE, epoch);
	return err < 0 ? err : s->io->sync_directory(s->io->arg, s->state);
}

int spool_next_epoch(struct spool *s, uint32_t *epoch)
{
	uint64_t last;
	int err = spool_read_epoch(s, &last);
	/* Ids carry the time as well, so beginning anew is safe unless the clock went back too. */
	if (err == ERR_CORRUPT)
		log_error("queue", "state/epoch is damaged: counting starts again");
	else if (err < 0)
		return err;
	err = spool_write_epoch(s, last + 1);
	/* A full disk must not keep the mail on it from being delivered. */
	if (err == -ENOSPC || err == -EDQUOT)
		err = overwrite_epoch(s, last + 1);
	*epoch = (uint32_t)((last + 1) % ((uint64_t)QID_EPOCH_MAX + 1));
	return err;
}

/* --- queue files ----------------------------------------------------------------- */

int spool_names_read(struct spool *s, unsigned dir, struct spool_names **n_r)
{
	struct spool_names *n = mem_alloc(sizeof(*n));
	CHECK(dir < SPOOL_DIRS);
	int err = read_names(s, s->dirs[dir], n);
	n->dir = dir;
	*n_r = err < 0 ? NULL : n;
	if (err < 0)
		mem_free(n);
	return err;
}

void spool_names_free(struct spool_names **n)
{
	if (*n == NULL)
		return;
	buf_fini(&(*n)->text);
	mem_free(*n);
	*n = NULL;
}

bool spool_names_next(struct spool_names *n, struct spool_name *parsed)
{
	const char *name;
	while ((name = next_name(n)) != NULL) {
		if (spool_name_parse(slice_str(name), parsed) == 0)
			return true;
		ignore(n, name, &n->foreign);
	}
	if (n->others + n->foreign > 0)
		log_warn("queue",
		    "queue/%02x has %zu entries that are not ours (such as \"%s\"): ignored",
		    n->dir, n->others + n->foreign, n->example);
	return false;
}

int spool_scan(struct spool *s, unsigned dir, spool_scan_fn *fn, void *arg)
{
	struct spool_names *names;
	struct spool_name name;
	int err = spool_names_read(s, dir, &names);
	if (err < 0)
		return err;
	while (spool_names_next(names, &name))
		fn(arg, dir, &name);
	spool_names_free(&names);
	return 0;
}

int spool_scan_bodies(struct spool *s, spool_body_fn *fn, void *arg)
{
	struct spool_names names;
	const char *name;
	int err = read_names(s, s->body, &names);
	if (err < 0)
		return err;
	while ((name = next_name(&names)) != NULL) {
		struct qid id;
		unsigned part = 0;
		if (qid_parse(slice_str(name), &id, &part) == 0 && part == 0)
			fn(arg, id);
		else
			ignore(&names, name, &names.foreign);
	}
	if (names.others + names.foreign > 0)
		log_warn("queue",
		    "body/ has %zu entries that are not ours (such as \"%s\"): ignored",
		    names.others + names.foreign, names.example);
	buf_fini(&names.text);
	return 0;
}
