#include "unit/queue/qio_fault.h"

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

static int fault_open(void *arg, int dirfd, const char *name, enum qio_open how)
{
	struct qio_fault *f = arg;
	return fails(f, "open") ? f->err : f->under->open(f->under->arg, dirfd, name, how);
}

/* The descriptor is gone even so. */
static int fault_close(void *arg, int fd)
{
	struct qio_fault *f = arg;
	int err = f->under->close(f->under->arg, fd);
	return fails(f, "close") ? f->err : err;
}

static ssize_t fault_pread(void *arg, int fd, void *p, size_t n, uint64_t offset)
{
	struct qio_fault *f = arg;
	return fails(f, "pread") ? f->err : f->under->pread(f->under->arg, fd, p, n, offset);
}

static int fault_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct qio_fault *f = arg;
	if (!fails(f, "pwritev"))
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
	return fails(f, "copy") ? f->err
				: f->under->copy(f->under->arg, from, from_at, to, to_at, n);
}

static int fault_truncate(void *arg, int fd, uint64_t bytes)
{
	struct qio_fault *f = arg;
	return fails(f, "truncate") ? f->err : f->under->truncate(f->under->arg, fd, bytes);
}

static int fault_flush(void *arg, int fd, bool wait)
{
	struct qio_fault *f = arg;
	return fails(f, "flush") ? f->err : f->under->flush(f->under->arg, fd, wait);
}

static int fault_sync(void *arg, int fd)
{
	struct qio_fault *f = arg;
	return fails(f, "sync") ? f->err : f->under->sync(f->under->arg, fd);
}

static int fault_sync_directory(void *arg, int fd)
{
	struct qio_fault *f = arg;
	return fails(f, "sync_directory") ? f->err : f->under->sync_directory(f->under->arg, fd);
}

static int fault_rename(void *arg, int from_dir, const char *from, int to_dir, const char *to)
{
	struct qio_fault *f = arg;
	return fails(f, "rename") ? f->err
				  : f->under->rename(f->under->arg, from_dir, from, to_dir, to);
}

static int fault_replace(void *arg, int dir, const char *from, const char *to)
{
	struct qio_fault *f = arg;
	return fails(f, "replace") ? f->err : f->under->replace(f->under->arg, dir, from, to);
}

static int fault_unlink(void *arg, int dirfd, const char *name)
{
	struct qio_fault *f = arg;
	return fails(f, "unlink") ? f->err : f->under->unlink(f->under->arg, dirfd, name);
}

static int fault_mkdir(void *arg, int dirfd, const char *name)
{
	struct qio_fault *f = arg;
	return fails(f, "mkdir") ? f->err : f->under->mkdir(f->under->arg, dirfd, name);
}

static int fault_list(void *arg, int dirfd, qio_name_fn *fn, void *fn_arg)
{
	struct qio_fault *f = arg;
	int err = f->under->list(f->under->arg, dirfd, fn,
	    fn_arg); /* an error may come after some names */
	return fails(f, "list") ? f->err : err;
}

static int fault_stat(void *arg, int fd, struct qio_stat *st)
{
	struct qio_fault *f = arg;
	return fails(f, "stat") ? f->err : f->under->stat(f->under->arg, fd, st);
}

static int fault_chmod(void *arg, int fd, unsigned mode)
{
	struct qio_fault *f = arg;
	return fails(f, "chmod") ? f->err : f->under->chmod(f->under->arg, fd, mode);
}

static int fault_chown(void *arg, int fd, uint32_t uid, uint32_t gid)
{
	struct qio_fault *f = arg;
	return fails(f, "chown") ? f->err : f->under->chown(f->under->arg, fd, uid, gid);
}

static int fault_lock(void *arg, int fd)
{
	struct qio_fault *f = arg;
	return fails(f, "lock") ? f->err : f->under->lock(f->under->arg, fd);
}

static int fault_space(void *arg, int dirfd, struct qio_space *space)
{
	struct qio_fault *f = arg;
	return fails(f, "space") ? f->err : f->under->space(f->under->arg, dirfd, space);
}

void qio_fault_init(struct qio_fault *f, const struct qio *under)
{
	*f = (struct qio_fault){ .under = under };
	f->io = (struct qio){ f, fault_open, fault_close, fault_pread, fault_pwritev, fault_copy,
		fault_truncate, fault_flush, fault_sync, fault_sync_directory, fault_rename,
		fault_replace, fault_unlink, fault_mkdir, fault_list, fault_stat, fault_chmod,
		fault_lock, fault_space, fault_chown };
}

void qio_fault_arm(struct qio_fault *f, unsigned nth, bool persistent, bool half_writes, int err)
{
	f->countdown = nth;
	f->persistent = persistent;
	f->half_writes = half_writes;
	f->err = err;
	f->fired = 0;
}

void qio_fault_disarm(struct qio_fault *f)
{
	f->countdown = 0;
}
