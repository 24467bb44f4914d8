/*
 * qio_posix.c - the real disk. The only file of queue/ that reads errno.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/qio.h"

enum {
	COPY_BLOCK_BYTES = 128 * 1024
};

static const int open_flags[] = {
	[QIO_OPEN_READ] = O_RDONLY | O_NONBLOCK,
	[QIO_OPEN_WRITE] = O_RDWR | O_NONBLOCK,
	[QIO_OPEN_CREATE] = O_RDWR | O_CREAT | O_EXCL,
	[QIO_OPEN_LOCK] = O_RDWR | O_CREAT | O_NONBLOCK,
	[QIO_OPEN_DIRECTORY] = O_RDONLY | O_DIRECTORY,
};

/* The value of a system call, or -errno. */
static int result(int r)
{
	return r < 0 ? -errno : r;
}

static int posix_open(void *arg UNUSED, int dirfd, const char *name, enum qio_open how)
{
	CHECK(how > QIO_OPEN_NONE);
	CHECK((size_t)how < ARRAY_LEN(open_flags));
	int flags = open_flags[how] | O_CLOEXEC | (dirfd < 0 ? 0 : O_NOFOLLOW);
	int fd;
	do {
		fd = openat(dirfd < 0 ? AT_FDCWD : dirfd, name, flags, 0600);
	} while (fd < 0 && errno == EINTR);
	return result(fd);
}

static int posix_close(void *arg UNUSED, int fd)
{
	/* After EINTR the descriptor is gone on Linux: never repeated. */
	return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t posix_pread(void *arg UNUSED, int fd, void *p, size_t n, uint64_t offset)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = pread(fd, (char *)p + done, n - done, (off_t)(offset + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static void advance(struct iovec **iov, int *n, size_t done)
{
	while (*n > 0 && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static int posix_pwritev(void *arg UNUSED, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct iovec left[QIO_IOV_MAX];
	struct iovec *at = left;
	CHECK(n <= QIO_IOV_MAX);
	for (int i = 0; i < n; i++)
		left[i] = iov[i];
	advance(&at, &n, 0);
	while (n > 0) {
		ssize_t r = pwritev(fd, at, n, (off_t)offset);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -EIO;
		offset += (size_t)r;
		advance(&at, &n, (size_t)r);
	}
	return 0;
}

static int copy_by_hand(int from, uint64_t from_at, int to, uint64_t to_at, uint64_t n)
{
	char *block = mem_alloc(COPY_BLOCK_BYTES);
	int err = 0;
	while (n > 0 && err == 0) {
		size_t want = (size_t)MIN(n, (uint64_t)COPY_BLOCK_BYTES);
		ssize_t r = posix_pread(NULL, from, block, want, from_at);
		if (r < 0 || (size_t)r < want) {
			err = r < 0 ? (int)r : -EIO;
			break;
		}
		struct iovec iov = { block, want };
		err = posix_pwritev(NULL, to, &iov, 1, to_at);
		from_at += want;
		to_at += want;
		n -= want;
	}
	mem_free(block);
	return err;
}

static int posix_copy(void *arg UNUSED, int from, uint64_t from_at, int to, uint64_t to_at,
    uint64_t n)
{
	/* Shares the blocks where the filesystem can; older kernels and some filesystems refuse. */
	while (n > 0) {
		off_t in = (off_t)from_at, out = (off_t)to_at;
		ssize_t r =
		    copy_file_range(from, &in, to, &out, (size_t)MIN(n, UINT64_C(1) << 30), 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return copy_by_hand(from, from_at, to, to_at, n);
		from_at += (size_t)r;
		to_at += (size_t)r;
		n -= (size_t)r;
	}
	return 0;
}

static int posix_truncate(void *arg UNUSED, int fd, uint64_t bytes)
{
	int r;
	do {
		r = ftruncate(fd, (off_t)bytes);
	} while (r < 0 && errno == EINTR);
	return result(r);
}

static int posix_flush(void *arg UNUSED, int fd, bool wait)
{
	unsigned how = wait ? SYNC_FILE_RANGE_WAIT_BEFORE : 0;
	return result(sync_file_range(fd, 0, 0, how | SYNC_FILE_RANGE_WRITE));
}

static int posix_sync(void *arg UNUSED, int fd)
{
	int r;
	do {
		r = fdatasync(fd);
	} while (r < 0 && errno == EINTR);
	return result(r);
}

static int posix_sync_directory(void *arg UNUSED, int fd)
{
	int r;
	do {
		r = fsync(fd);
	} while (r < 0 && errno == EINTR);
	return result(r);
}

static int posix_rename(void *arg UNUSED, int from_dir, const char *from, int to_dir,
    const char *to)
{
	if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A filesystem without RENAME_NOREPLACE. The lock on the spool keeps others out, so look
	 * first. */
	if (faccessat(to_dir, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return result(renameat(from_dir, from, to_dir, to));
}

static int posix_replace(void *arg UNUSED, int dir, const char *from, const char *to)
{
	return result(renameat(dir, from, dir, to));
}

static int posix_unlink(void *arg UNUSED, int dirfd, const char *name)
{
	return result(unlinkat(dirfd, name, 0));
}

static int posix_mkdir(void *arg UNUSED, int dirfd, const char *name)
{
	return result(mkdirat(dirfd < 0 ? AT_FDCWD : dirfd, name, 0700));
}

static int posix_list(void *arg UNUSED, int dirfd, qio_name_fn *fn, void *fn_arg)
{
	/* A descriptor of its own: fdopendir takes it, and its position is not shared. */
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		int err = -errno;
		close(fd);
		return err;
	}
	int err = 0;
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (entry == NULL) {
			err = -errno;
			break;
		}
		const char *name = entry->d_name;
		if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
			continue;
		fn(fn_arg, name, entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN);
	}
	closedir(dir);
	return err;
}

static int posix_stat(void *arg UNUSED, int fd, struct qio_stat *st)
{
	struct stat sb;
	if (fstat(fd, &sb) < 0)
		return -errno;
	*st = (struct qio_stat){
		.bytes = (uint64_t)sb.st_size,
		.mode = (unsigned)sb.st_mode & 07777,
		.uid = sb.st_uid,
		.gid = sb.st_gid,
		.is_file = S_ISREG(sb.st_mode),
		.is_directory = S_ISDIR(sb.st_mode),
	};
	return 0;
}

static int posix_chmod(void *arg UNUSED, int fd, unsigned mode)
{
	return result(fchmod(fd, (mode_t)mode));
}

static int posix_chown(void *arg UNUSED, int fd, uint32_t uid, uint32_t gid)
{
	return result(fchown(fd, uid, gid));
}

static int posix_lock(void *arg UNUSED, int fd)
{
	int r;
	do {
		r = flock(fd, LOCK_EX | LOCK_NB);
	} while (r < 0 && errno == EINTR);
	return r < 0 && errno == EWOULDBLOCK ? ERR_BUSY : result(r);
}

static int posix_space(void *arg UNUSED, int dirfd, struct qio_space *space)
{
	struct statvfs v;
	if (fstatvfs(dirfd, &v) < 0)
		return -errno;
	*space = (struct qio_space){
		.bytes = (uint64_t)v.f_blocks * v.f_frsize,
		.bytes_free = (uint64_t)v.f_bavail * v.f_frsize,
		.inodes = v.f_files,
		.inodes_free = v.f_favail,
	};
	return 0;
}

static const struct qio the_disk = {
	.open = posix_open,
	.close = posix_close,
	.pread = posix_pread,
	.pwritev = posix_pwritev,
	.copy = posix_copy,
	.truncate = posix_truncate,
	.flush = posix_flush,
	.sync = posix_sync,
	.sync_directory = posix_sync_directory,
	.rename = posix_rename,
	.replace = posix_replace,
	.unlink = posix_unlink,
	.mkdir = posix_mkdir,
	.list = posix_list,
	.stat = posix_stat,
	.chmod = posix_chmod,
	.lock = posix_lock,
	.space = posix_space,
	.chown = posix_chown,
};

const struct qio *qio_posix(void)
{
	return &the_disk;
}
