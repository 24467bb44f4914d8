/*
 * qio.h - the disk as the queue sees it: about twenty calls, near system
 * calls, behind one table, so that a test can fail the n-th of them, fill the
 * disk or cut the power.
 *
 * All names are relative to a directory descriptor and contain no '/', but
 * for the spool itself. Nothing follows a symbolic link in the last place of
 * a name (again but for the spool itself), and every descriptor is
 * close-on-exec. Calls return 0 or more, or -errno; EINTR never comes out.
 * They may be called from several threads at once. `arg` is the table's own.
 */
#ifndef QUEUE_QIO_H
#define QUEUE_QIO_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

#define QIO_IOV_MAX 128

struct qio_stat {
	uint64_t bytes;
	unsigned mode; /* permission bits */
	uint32_t uid, gid;
	bool is_file;
	bool is_directory;
};

struct qio_space {
	uint64_t bytes;      /* of the filesystem */
	uint64_t bytes_free; /* for us */
	uint64_t inodes;     /* 0 where the filesystem has no such limit */
	uint64_t inodes_free;
};

enum qio_open {
	QIO_OPEN_NONE = 0,
	QIO_OPEN_READ,   /* an existing file, never blocking on a fifo */
	QIO_OPEN_WRITE,  /* an existing file, read and write */
	QIO_OPEN_CREATE, /* a new file 0600, read and write; -EEXIST if there is one */
	QIO_OPEN_LOCK,   /* a file 0600 made when missing */
	QIO_OPEN_DIRECTORY,
};

/* A name found in a directory; is_other says it is certainly neither file nor unknown (link, fifo,
 * directory, ...). */
typedef void qio_name_fn(void *arg, const char *name, bool is_other);

struct qio {
	void *arg;

	/* dirfd -1: the spool, a path of its own, where a symbolic link is the operator's choice.
	 */
	int (*open)(void *arg, int dirfd, const char *name, enum qio_open how);
	int (*close)(void *arg, int fd);
	ssize_t (*pread)(void *arg, int fd, void *p, size_t n,
	    uint64_t offset); /* short only at the end */
	int (*pwritev)(void *arg, int fd, const struct iovec *iov, int n,
	    uint64_t offset); /* all of it; n <= QIO_IOV_MAX; may change iov's copy only */
	int (*copy)(void *arg, int from, uint64_t from_at, int to, uint64_t to_at,
	    uint64_t n); /* -EIO if from is short */
	int (*truncate)(void *arg, int fd, uint64_t bytes);
	int (*flush)(void *arg, int fd,
	    bool wait); /* starts writing the data, or waits for it; promises nothing */
	int (*sync)(void *arg, int fd); /* data and what is needed to read it back */
	int (*sync_directory)(void *arg, int fd);
	int (*rename)(void *arg, int from_dir, const char *from, int to_dir,
	    const char *to); /* -EEXIST if `to` exists */
	int (*replace)(void *arg, int dir, const char *from,
	    const char *to); /* over an existing one, atomically */
	int (*unlink)(void *arg, int dirfd, const char *name);
	int (*mkdir)(void *arg, int dirfd, const char *name); /* 0700; -EEXIST */
	int (*list)(void *arg, int dirfd, qio_name_fn *fn, void *fn_arg);
	int (*stat)(void *arg, int fd, struct qio_stat *st);
	int (*chmod)(void *arg, int fd, unsigned mode);
	int (*lock)(void *arg, int fd); /* exclusive, for the life of the descriptor; ERR_BUSY */
	int (*space)(void *arg, int dirfd, struct qio_space *space);
	int (*chown)(void *arg, int fd, uint32_t uid, uint32_t gid);
};

const struct qio *qio_posix(void);

#endif
