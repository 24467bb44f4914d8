#include "tools/postrider_users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

#define FILE_MAX_BYTES (64 * 1024 * 1024)

int users_check_login(const char *login, struct errbuf *eb)
{
	struct slice s = slice_str(login);
	if (s.n == 0)
		return errbuf_set(eb, ERR_SYNTAX, "the login is empty");
	if (s.n > USERS_LOGIN_MAX)
		return errbuf_set(eb, ERR_SYNTAX, "the login is longer than %d bytes",
		    USERS_LOGIN_MAX);
	if (s.p[0] == '#' || slice_trim(s).n != s.n)
		return errbuf_set(eb, ERR_SYNTAX,
		    "a login can't begin with '#' or have blanks around it");
	if (!utf8_is_valid(s))
		return errbuf_set(eb, ERR_SYNTAX, "the login is not UTF-8");
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c == ':' || c < 0x20 || c == 0x7f)
			return errbuf_set(eb, ERR_SYNTAX,
			    "a login can't have ':' or control characters");
	}
	return 0;
}

static int fail(struct errbuf *eb, const char *file)
{
	int err = errno ? -errno : ERR_REFUSED;
	return errbuf_set(eb, err, "%s: %s", file, err_text(err));
}

/* Opens and locks the file that has that name once we hold the lock. Returns the descriptor. */
static int open_locked(const char *file, bool *made_r, struct errbuf *eb)
{
	for (;;) {
		struct stat ours, named;
		int fd = open(file, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT) {
			fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
			if (fd < 0 && errno == EEXIST)
				continue;
			*made_r = fd >= 0;
		}
		if (fd < 0)
			return fail(eb, file);
		if (flock(fd, LOCK_EX) != 0 || fstat(fd, &ours) != 0) {
			int err = fail(eb, file);
			close(fd);
			return err;
		}
		if (stat(file, &named) == 0 && named.st_ino == ours.st_ino &&
		    named.st_dev == ours.st_dev)
			return fd;
		close(fd); /* somebody replaced it while we waited */
		*made_r = false;
	}
}

static int read_all(int fd, const char *file, struct buf *b, struct errbuf *eb)
{
	for (;;) {
		size_t room;
		char *p = buf_reserve(b, 65536, &room);
		if (room == 0)
			return errbuf_set(eb, ERR_TOO_BIG, "%s: too big", file);
		ssize_t n = read(fd, p, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(eb, file);
		if (n == 0)
			return 0;
		buf_commit(b, (size_t)n);
	}
}

static bool is_user(struct slice line, struct slice login)
{
	return slice_starts(line, login) && line.n > login.n && line.p[login.n] == ':';
}

static int add_user(struct buf *to, const char *login, const char *hash)
{
	return buf_printf(to, "%s:%s\n", login, hash);
}

/* Copies the lines; the user's first one gets the hash, further ones are dropped. */
static int edit(struct slice from, const char *login, const char *hash, struct buf *to,
    bool *added_r)
{
	struct slice line;
	bool found = false;
	int err = 0;
	while (!err && from.n && slice_split(&from, '\n', &line)) {
		if (!is_user(line, slice_str(login))) {
			err = buf_add_slice(to, line);
			if (!err)
				err = buf_add_char(to, '\n');
		} else if (!found) {
			found = true;
			err = add_user(to, login, hash);
		}
	}
	if (!err && !found)
		err = add_user(to, login, hash);
	*added_r = !found;
	return err;
}

static int write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		s = slice_from(s, (size_t)n);
	}
	return 0;
}

static int sync_folder(const char *file)
{
	const char *slash = strrchr(file, '/');
	char *folder = slash == file ? mem_strdup("/")
		       : slash       ? mem_strndup(file, (size_t)(slash - file))
				     : mem_strdup(".");
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -1 : fsync(fd);
	if (fd >= 0)
		close(fd);
	mem_free(folder);
	return r;
}

/* The text under another name in the same folder, with the owner and mode of `as`; then the name.
 */
static int replace(const char *file, int as, struct slice text, struct errbuf *eb)
{
	struct stat st;
	char *temp = mem_printf("%s.XXXXXX", file);
	int err = 0;
	int fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0) {
		err = fail(eb, temp);
		mem_free(temp);
		return err;
	}
	bool ok = fstat(as, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) == 0 &&
		  fchmod(fd, st.st_mode & 07777) == 0 && write_all(fd, text) == 0 &&
		  fsync(fd) == 0 && rename(temp, file) == 0;
	if (!ok) {
		err = fail(eb, file);
		unlink(temp);
	} else if (sync_folder(file) != 0) {
		err = fail(eb, file);
	}
	close(fd);
	mem_free(temp);
	return err;
}

int users_set(const char *file, const char *login, const char *hash, bool *added_r, bool *made_r,
    struct errbuf *eb)
{
	struct buf old, text;
	*made_r = false;
	/* A link stays one: what it points to is replaced. */
	char *real = realpath(file, NULL);
	const char *path = real ? real : file;
	int fd = open_locked(path, made_r, eb);
	int err = fd < 0 ? fd : 0;
	buf_init(&old, FILE_MAX_BYTES);
	buf_init(&text, FILE_MAX_BYTES + 1024);
	if (!err)
		err = read_all(fd, path, &old, eb);
	if (!err && edit(buf_slice(&old), login, hash, &text, added_r) != 0)
		err = errbuf_set(eb, ERR_TOO_BIG, "%s: too big", path);
	if (!err)
		err = replace(path, fd, buf_slice(&text), eb);
	if (fd >= 0)
		close(fd);
	buf_fini(&old);
	buf_fini(&text);
	free(real);
	return err;
}
