#include "fault/qio_fault.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* --- directories ------------------------------------------------------------------ */

static void remember(struct qio_fault *f, int fd, const char *name)
{
	for (size_t i = 0; i < QIO_FAULT_DIRS; i++) {
		if (f->dirs[i].fd != -1)
			continue;
		f->dirs[i].fd = fd;
		snprintf(f->dirs[i].name, sizeof(f->dirs[i].name), "%s", name);
		return;
	}
	UNREACHABLE();
}

static void forget(struct qio_fault *f, int fd)
{
	for (size_t i = 0; i < QIO_FAULT_DIRS; i++) {
		if (f->dirs[i].fd == fd)
			f->dirs[i].fd = -1;
	}
}

static bool is_in(const struct qio_fault *f, int dirfd)
{
	if (f->dir == NULL)
		return true;
	for (size_t i = 0; i < QIO_FAULT_DIRS; i++) {
		if (f->dirs[i].fd == dirfd && dirfd != -1)
			return strcmp(f->dirs[i].name, f->dir) == 0 ||
			       (strcmp(f->dir, "queue") == 0 && strlen(f->dirs[i].name) == 2);
	}
	return false;
}

/* --- calls ------------------------------------------------------------------------ */

static bool fails(struct qio_fault *f, const char *what)
{
	if (f->countdown == 0)
		return false;
	if (f->countdown > 1) {
		f->countdown--;
		return false;
	}
	if (!f->persistent)
		f->countdown = 0;
	f->fired++;
	f->last = what;
	return true;
}

static bool fails_as(struct qio_fault *f, bool is_hit, const char *what)
{
	return (f->calls == QIO_FAULT_ANY || is_hit) && fails(f, what);
}

static bool fails_changing(struct qio_fault *f, int from_dir, int to_dir, const char *what)
{
	bool adds = to_dir != INT_MIN && is_in(f, to_dir);
	bool changes = adds || (from_dir != INT_MIN && is_in(f, from_dir));
	return fails_as(f,
	    (f->calls == QIO_FAULT_CHANGES && changes) || (f->calls == QIO_FAULT_ADDS && adds),
	    what);
}

static int fault_open(void *arg, int dirfd, const char *name, enum qio_open how)
{
	struct qio_fault *f = arg;
	bool makes = how == QIO_OPEN_CREATE;
	if (f->calls == QIO_FAULT_CHANGES || f->calls == QIO_FAULT_ADDS) {
		if (makes && fails_changing(f, INT_MIN, dirfd, "open"))
			return f->err;
	} else if (fails_as(f,
		       f->calls == QIO_FAULT_OPENS || (f->calls == QIO_FAULT_GROWS && makes),
		       "open")) {
		return f->err;
	}
	int fd = f->under->open(f->under->arg, dirfd, name, how);
	if (fd >= 0 && how == QIO_OPEN_DIRECTORY)
		remember(f, fd, name);
	return fd;
}

/* The descriptor is gone even so. */
static int fault_close(void *arg, int fd)
{
	struct qio_fault *f = arg;
	int err = f->under->close(f->under->arg, fd);
	forget(f, fd);
	return fails_as(f, false, "close") ? f->err : err;
}

static ssize_t fault_pread(void *arg, int fd, void *p, size_t n, uint64_t offset)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "pread") ? f->err
					   : f->under->pread(f->under->arg, fd, p, n, offset);
}

static int fault_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct qio_fault *f = arg;
	if (!fails_as(f, f->calls == QIO_FAULT_GROWS, "pwritev"))
		return f->under->pwritev(f->under->arg, fd, iov, n, offset);
	for (int i = 0; f->half_writes && i < n; i++) {
		struct iovec half = { iov[i].iov_base,
			i + 1 < n ? iov[i].iov_len : iov[i].iov_len / 2 };
		(void)f->under->pwritev(f->under->arg, fd, &half, 1, offset);
		offset += iov[i].iov_len;
	}
	return f->err;
}

static int fault_copy(void *arg, int from, uint64_t from_at, int to, uint64_t to_at, uint64_t n)
{
	struct qio_fault *f = arg;
	return fails_as(f, f->calls == QIO_FAULT_GROWS, "copy")
		   ? f->err
		   : f->under->copy(f->under->arg, from, from_at, to, to_at, n);
}

static int fault_truncate(void *arg, int fd, uint64_t bytes)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "truncate") ? f->err
					      : f->under->truncate(f->under->arg, fd, bytes);
}

static int fault_flush(void *arg, int fd, bool wait)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "flush") ? f->err : f->under->flush(f->under->arg, fd, wait);
}

static int fault_sync(void *arg, int fd)
{
	struct qio_fault *f = arg;
	if (!fails_as(f, f->calls == QIO_FAULT_SYNCS, "sync"))
		return f->under->sync(f->under->arg, fd);
	f->sync_failed = true;
	if (f->lose != NULL)
		f->lose(f->under->arg, fd);
	return f->err;
}

static int fault_sync_directory(void *arg, int fd)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "sync_directory") ? f->err
						    : f->under->sync_directory(f->under->arg, fd);
}

static int fault_rename(void *arg, int from_dir, const char *from, int to_dir, const char *to)
{
	struct qio_fault *f = arg;
	return fails_changing(f, from_dir, to_dir, "rename")
		   ? f->err
		   : f->under->rename(f->under->arg, from_dir, from, to_dir, to);
}

static int fault_replace(void *arg, int dir, const char *from, const char *to)
{
	struct qio_fault *f = arg;
	return fails_changing(f, dir, dir, "replace")
		   ? f->err
		   : f->under->replace(f->under->arg, dir, from, to);
}

static int fault_unlink(void *arg, int dirfd, const char *name)
{
	struct qio_fault *f = arg;
	return fails_changing(f, dirfd, INT_MIN, "unlink")
		   ? f->err
		   : f->under->unlink(f->under->arg, dirfd, name);
}

static int fault_mkdir(void *arg, int dirfd, const char *name)
{
	struct qio_fault *f = arg;
	return (f->calls == QIO_FAULT_GROWS ? fails(f, "mkdir")
					    : fails_changing(f, INT_MIN, dirfd, "mkdir"))
		   ? f->err
		   : f->under->mkdir(f->under->arg, dirfd, name);
}

static int fault_list(void *arg, int dirfd, qio_name_fn *fn, void *fn_arg)
{
	struct qio_fault *f = arg;
	int err = f->under->list(f->under->arg, dirfd, fn,
	    fn_arg); /* an error may come after some names */
	return fails_as(f, false, "list") ? f->err : err;
}

static int fault_stat(void *arg, int fd, struct qio_stat *st)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "stat") ? f->err : f->under->stat(f->under->arg, fd, st);
}

static int fault_chmod(void *arg, int fd, unsigned mode)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "chmod") ? f->err : f->under->chmod(f->under->arg, fd, mode);
}

static int fault_chown(void *arg, int fd, uint32_t uid, uint32_t gid)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "chown") ? f->err : f->under->chown(f->under->arg, fd, uid, gid);
}

static int fault_lock(void *arg, int fd)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "lock") ? f->err : f->under->lock(f->under->arg, fd);
}

static int fault_space(void *arg, int dirfd, struct qio_space *space)
{
	struct qio_fault *f = arg;
	return fails_as(f, false, "space") ? f->err : f->under->space(f->under->arg, dirfd, space);
}

void qio_fault_init(struct qio_fault *f, const struct qio *under)
{
	*f = (struct qio_fault){ .under = under };
	f->io = (struct qio){ f, fault_open, fault_close, fault_pread, fault_pwritev, fault_copy,
		fault_truncate, fault_flush, fault_sync, fault_sync_directory, fault_rename,
		fault_replace, fault_unlink, fault_mkdir, fault_list, fault_stat, fault_chmod,
		fault_lock, fault_space, fault_chown };
	for (size_t i = 0; i < QIO_FAULT_DIRS; i++)
		f->dirs[i].fd = -1;
}

void qio_fault_arm(struct qio_fault *f, unsigned nth, bool persistent, bool half_writes, int err)
{
	f->countdown = nth;
	f->persistent = persistent;
	f->half_writes = half_writes;
	f->err = err;
	f->calls = QIO_FAULT_ANY;
	f->dir = NULL;
	f->fired = 0;
	f->sync_failed = false;
}

void qio_fault_disarm(struct qio_fault *f)
{
	f->countdown = 0;
}
