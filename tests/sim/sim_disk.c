#include "sim/sim_disk.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fault/qio_mem.h"
#include "sim/sim_submit.h"

#define TROUBLES_MAX    512
#define TROUBLE_LINGERS (2 * SIM_MINUTE) /* the daemon asks again after some seconds */
#define TROUBLE_PERCENT 40
#define FDS_MAX         (1 << 20)

static struct {
	struct qio io;
	struct qio_mem mem;
	uint64_t bytes;
	bool journal[FDS_MAX]; /* descriptors of segments */
	char *names[FDS_MAX];  /* of what is open, while on_change is set */
	sim_disk_change_fn *on_change;
	unsigned countdown;
	enum sim_end death;
	bool dying;
	enum sim_trouble trouble;

	struct {
		int64_t from_ms, to_ms;
	} troubles[TROUBLES_MAX];

	size_t troubles_n;
} disk;

enum call {
	CALL_READS,
	CALL_WRITES,
	CALL_GROWS, /* needs space */
};

/* What happens before a call is made: nothing, a fault, or the end. */
static int begin(enum call call)
{
	if (disk.countdown > 0 && sim.alive && --disk.countdown == 0) {
		disk.dying = true;
		if (disk.death == SIM_END_POWER)
			disk.mem.countdown = 1; /* this very call may leave a part of its work */
		else if (sim_chance(50))
			sim_die(disk.death);
	}
	if (disk.trouble == SIM_TROUBLE_SPACE && call == CALL_GROWS)
		return -ENOSPC;
	if (disk.trouble == SIM_TROUBLE_EIO && call != CALL_READS && sim_chance(TROUBLE_PERCENT))
		return -EIO;
	return 0;
}

static void end(void)
{
	if (disk.dying)
		sim_die(disk.death);
}

#define CALL(kind, expr)                                                                           \
	SIM_WORLD_SIDE;                                                                            \
	int fault = begin(kind);                                                                   \
	if (fault < 0)                                                                             \
		return fault;                                                                      \
	int r = (expr);                                                                            \
	end();                                                                                     \
	return r

#define M (&disk.mem)

/* By its name: of a segment, or of one being made in tmp/. */
static bool is_journal_name(const char *name)
{
	return strncmp(name, "journal.", 8) == 0 ||
	       (strlen(name) == 8 && strspn(name, "0123456789abcdef") == 8);
}

static bool is_journal(int fd)
{
	return fd >= 0 && (size_t)fd < FDS_MAX && disk.journal[fd];
}

static void note_change(const char *name)
{
	if (disk.on_change && name)
		disk.on_change(name);
}

static void note_write(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		note_change(disk.names[fd]);
}

static int open_file(int dirfd, const char *name, enum qio_open how)
{
	int fd = M->io.open(M, dirfd, name, how);

	if (fd < 0 || fd >= FDS_MAX)
		return fd;
	disk.journal[fd] = is_journal_name(name);
	mem_free(disk.names[fd]);
	disk.names[fd] = disk.on_change ? mem_strdup(name) : NULL;
	return fd;
}

static int d_open(void *arg UNUSED, int dirfd, const char *name, enum qio_open how)
{
	CALL(how == QIO_OPEN_CREATE ? CALL_GROWS : CALL_READS, open_file(dirfd, name, how));
}

static int d_close(void *arg UNUSED, int fd)
{
	CALL(CALL_READS, M->io.close(M, fd));
}

static ssize_t d_pread(void *arg UNUSED, int fd, void *p, size_t n, uint64_t offset)
{
	SIM_WORLD_SIDE;
	int fault = begin(CALL_READS);

	if (fault < 0)
		return fault;
	ssize_t done = M->io.pread(M, fd, p, n, offset);
	end();
	return done;
}

/* Law 7: no password in any file. */
static void look_for_password(const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++)
		if (iov[i].iov_len < (1 << 20) &&
		    (memmem(iov[i].iov_base, iov[i].iov_len, SIM_SUBMIT_PASSWORD,
			 strlen(SIM_SUBMIT_PASSWORD)) ||
			memmem(iov[i].iov_base, iov[i].iov_len, SIM_SUBMIT_PROOF,
			    strlen(SIM_SUBMIT_PROOF))))
			sim_violation("a password is stored");
}

static int d_pwritev(void *arg UNUSED, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	look_for_password(iov, n);
	note_write(fd);

	enum sim_break forgets = is_journal(fd) ? SIM_BREAK_RECORD : SIM_BREAK_OUTCOME;
	bool forget = sim.broken == forgets && offset > 0 && sim_chance(10);
	CALL(CALL_GROWS, forget ? 0 : M->io.pwritev(M, fd, iov, n, offset));
}

static int d_copy(void *arg UNUSED, int from, uint64_t from_at, int to, uint64_t to_at, uint64_t n)
{
	note_write(to);
	CALL(CALL_GROWS, M->io.copy(M, from, from_at, to, to_at, n));
}

static int d_truncate(void *arg UNUSED, int fd, uint64_t bytes)
{
	note_write(fd);
	CALL(CALL_WRITES, M->io.truncate(M, fd, bytes));
}

static int d_flush(void *arg UNUSED, int fd, bool wait)
{
	CALL(CALL_WRITES, M->io.flush(M, fd, wait));
}

static int d_sync(void *arg UNUSED, int fd)
{
	bool skip = sim.broken == (is_journal(fd) ? SIM_BREAK_SYNC : SIM_BREAK_FILESYNC);
	SIM_WORLD_SIDE;
	int r = begin(CALL_WRITES);

	if (r < 0) {
		qio_mem_lose_unsynced(M, fd);
		return r;
	}
	r = skip ? 0 : M->io.sync(M, fd);
	end();
	return r;
}

static int d_sync_directory(void *arg UNUSED, int fd)
{
	CALL(CALL_WRITES, sim.broken == SIM_BREAK_DIRSYNC ? 0 : M->io.sync_directory(M, fd));
}

static int d_rename(void *arg UNUSED, int from_dir, const char *from, int to_dir, const char *to)
{
	note_change(from);
	CALL(CALL_WRITES, M->io.rename(M, from_dir, from, to_dir, to));
}

static int d_replace(void *arg UNUSED, int dir, const char *from, const char *to)
{
	note_change(from);
	CALL(CALL_WRITES, M->io.replace(M, dir, from, to));
}

static int d_unlink(void *arg UNUSED, int dirfd, const char *name)
{
	note_change(name);
	bool forget = sim.broken == SIM_BREAK_SETTLE && sim_chance(5);
	CALL(CALL_WRITES, forget ? 0 : M->io.unlink(M, dirfd, name));
}

static int d_mkdir(void *arg UNUSED, int dirfd, const char *name)
{
	CALL(CALL_GROWS, M->io.mkdir(M, dirfd, name));
}

static int d_list(void *arg UNUSED, int dirfd, qio_name_fn *fn, void *fn_arg)
{
	CALL(CALL_READS, M->io.list(M, dirfd, fn, fn_arg));
}

static int d_stat(void *arg UNUSED, int fd, struct qio_stat *st)
{
	CALL(CALL_READS, M->io.stat(M, fd, st));
}

static int d_chmod(void *arg UNUSED, int fd, unsigned mode)
{
	CALL(CALL_WRITES, M->io.chmod(M, fd, mode));
}

static int d_chown(void *arg UNUSED, int fd, uint32_t uid, uint32_t gid)
{
	CALL(CALL_WRITES, M->io.chown(M, fd, uid, gid));
}

static int d_lock(void *arg UNUSED, int fd)
{
	CALL(CALL_READS, M->io.lock(M, fd));
}

static int d_space(void *arg UNUSED, int dirfd, struct qio_space *space)
{
	SIM_WORLD_SIDE;
	int r = M->io.space(M, dirfd, space);

	space->bytes = disk.bytes;
	space->bytes_free = disk.trouble == SIM_TROUBLE_SPACE ? 0 : disk.bytes / 2;
	return r;
}

void sim_disk_init(uint64_t seed, uint64_t bytes)
{
	qio_mem_init(&disk.mem, seed);
	disk.bytes = bytes;
	disk.io = (struct qio){ NULL, d_open, d_close, d_pread, d_pwritev, d_copy, d_truncate,
		d_flush, d_sync, d_sync_directory, d_rename, d_replace, d_unlink, d_mkdir, d_list,
		d_stat, d_chmod, d_lock, d_space, d_chown };
}

const struct qio *sim_disk_qio(void)
{
	return &disk.io;
}

void sim_disk_trouble(enum sim_trouble kind)
{
	if (kind != SIM_TROUBLE_NONE && disk.trouble == SIM_TROUBLE_NONE) {
		CHECK(disk.troubles_n < TROUBLES_MAX);
		disk.troubles[disk.troubles_n].from_ms = sim.now_ms;
		disk.troubles[disk.troubles_n++].to_ms = INT64_MAX / 2;
	} else if (kind == SIM_TROUBLE_NONE && disk.trouble != SIM_TROUBLE_NONE) {
		disk.troubles[disk.troubles_n - 1].to_ms = sim.now_ms;
	}
	disk.trouble = kind;
	sim_trace("disk: %s", kind == SIM_TROUBLE_EIO     ? "errors"
			      : kind == SIM_TROUBLE_SPACE ? "full"
							  : "fine");
}

bool sim_disk_is_troubled(void)
{
	return disk.trouble != SIM_TROUBLE_NONE;
}

bool sim_disk_was_troubled(int64_t from_ms, int64_t to_ms)
{
	for (size_t i = 0; i < disk.troubles_n; i++)
		if (disk.troubles[i].from_ms <= to_ms &&
		    disk.troubles[i].to_ms + TROUBLE_LINGERS >= from_ms)
			return true;
	return false;
}

bool sim_disk_was_well(int64_t from_ms, int64_t to_ms)
{
	for (size_t i = 0; i < disk.troubles_n; i++)
		if (disk.troubles[i].from_ms <= from_ms)
			from_ms = MAX(from_ms, disk.troubles[i].to_ms + TROUBLE_LINGERS);
	return from_ms < to_ms;
}

void sim_disk_arm(unsigned calls, enum sim_end how)
{
	disk.countdown = calls;
	disk.death = how;
}

void sim_disk_drop(bool power)
{
	for (size_t i = 0; i < disk.mem.fds_n; i++)
		disk.mem.fds[i] = -1;
	disk.countdown = 0;
	disk.dying = false;
	disk.mem.countdown = 0;
	disk.mem.dead = false;
	if (power)
		qio_mem_restart(&disk.mem);
	disk.mem.fds_n = 0;
}

void sim_disk_watch(sim_disk_change_fn *fn)
{
	disk.on_change = fn;
}

size_t sim_disk_files(const char *folder)
{
	return qio_mem_count(M, folder);
}

size_t sim_disk_queue_files(void)
{
	char name[16];
	size_t n = 0;

	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "queue/%02x", i);
		n += qio_mem_count(M, name);
	}
	return n;
}

/* --- sabotage --------------------------------------------------------------------------- */

struct victim {
	char name[300];
	uint64_t seen;
};

static void on_name(void *arg, const char *name, bool is_other UNUSED)
{
	struct victim *v = arg;

	if (sim_below(++v->seen) == 0)
		snprintf(v->name, sizeof(v->name), "%s", name);
}

void sim_disk_lose_one(void)
{
	int root = M->io.open(M, -1, "", QIO_OPEN_DIRECTORY);
	int queue = M->io.open(M, root, "queue", QIO_OPEN_DIRECTORY);

	for (unsigned i = 0; queue >= 0 && i < 64; i++) {
		char name[8];
		struct victim v = { "", 0 };
		snprintf(name, sizeof(name), "%02x", i);
		int sub = M->io.open(M, queue, name, QIO_OPEN_DIRECTORY);
		if (sub < 0)
			continue;
		M->io.list(M, sub, on_name, &v);
		if (v.seen == 0)
			continue;
		M->io.unlink(M, sub, v.name);
		sim_trace("sabotage: %s is gone", v.name);
		break;
	}
	sim_disk_drop(false);
}
