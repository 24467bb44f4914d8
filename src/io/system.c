#include "io/system.h"

#include <errno.h>
#include <grp.h>
#include <ifaddrs.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/slice.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

enum {
	HOSTS_LINE_MAX = 1024,
	HOST_MAX = 256,
};

/* The next word of a line of the hosts file; empty at its end or at a comment. */
static struct slice next_word(struct slice *rest)
{
	size_t n = 0;
	*rest = slice_trim(*rest);
	while (n < rest->n && !strchr(" \t#", rest->p[n]))
		n++;
	struct slice word = slice_of(rest->p, n);
	*rest = slice_from(*rest, n);
	return word;
}

/* Whether the line (address, canonical name, aliases) gives `bare` a full name. */
static bool full_name_in(struct slice line, const char *bare, struct slice *full)
{
	bool is_ours = false;
	*full = SLICE_NONE;
	(void)next_word(&line); /* the address */
	for (struct slice word = next_word(&line); word.n > 0; word = next_word(&line)) {
		if (slice_eq_nocase(word, slice_str(bare)))
			is_ours = true;
		/* host.example.net, for the bare name host */
		size_t len = strlen(bare);
		if (full->n == 0 && word.n > len + 1 && word.p[len] == '.' &&
		    slice_eq_nocase(slice_of(word.p, len), slice_str(bare)))
			*full = word;
	}
	return is_ours && full->n > 0;
}

/*
 * As `hostname -f` finds it in the hosts file. The DNS is not asked: it may take seconds to not
 * answer, at a time when nothing else can be done.
 */
static void qualify(char *buf, size_t n)
{
	char line[HOSTS_LINE_MAX];
	struct slice full;
	FILE *f = fopen("/etc/hosts", "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (full_name_in(slice_trim(slice_str(line)), buf, &full) && full.n < n) {
			memcpy(buf, full.p, full.n);
			buf[full.n] = '\0';
			break;
		}
	}
	(void)fclose(f);
}

void system_hostname(char *buf, size_t n)
{
	char name[HOST_MAX] = "";
	if (gethostname(name, sizeof(name) - 1) < 0 || !name[0])
		snprintf(name, sizeof(name), "localhost");
	if (!strchr(name, '.'))
		qualify(name, sizeof(name));
	snprintf(buf, n, "%s", name);
}

/* group "" is the user's own. */
static int find_ids(const char *user, const char *group, uid_t *uid, gid_t *gid, struct errbuf *eb)
{
	errno = 0;
	const struct passwd *pw = getpwnam(user);
	if (!pw)
		return errbuf_set(eb, errno ? -errno : ERR_NOT_FOUND, "there is no user \"%s\"",
		    user);
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	if (!*group)
		return 0;
	errno = 0;
	const struct group *gr = getgrnam(group);
	if (!gr)
		return errbuf_set(eb, errno ? -errno : ERR_NOT_FOUND, "there is no group \"%s\"",
		    group);
	*gid = gr->gr_gid;
	return 0;
}

static bool is_now(uid_t uid, gid_t gid)
{
	uid_t r;
	uid_t e;
	uid_t s;
	gid_t rg;
	gid_t eg;
	gid_t sg;
	if (getresuid(&r, &e, &s) < 0 || getresgid(&rg, &eg, &sg) < 0)
		return false;
	return r == uid && e == uid && s == uid && rg == gid && eg == gid && sg == gid;
}

int system_drop_privileges(const char *user, const char *group, struct errbuf *eb)
{
	uid_t uid;
	gid_t gid;
	int r = find_ids(user, group, &uid, &gid, eb);
	if (r < 0)
		return r;
	if (geteuid() != 0) {
		if (geteuid() == uid)
			return 0;
		return errbuf_set(eb, -EPERM, "only root can become user \"%s\"", user);
	}
	if (setresgid(gid, gid, gid) < 0 || initgroups(user, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return errbuf_set(eb, -errno, "becoming user \"%s\": %s", user, err_text(-errno));
	/* Trust, but look: a way back to root would make all this worthless. */
	if (!is_now(uid, gid) || (uid != 0 && setresuid(0, 0, 0) == 0))
		return errbuf_set(eb, -EPERM, "becoming user \"%s\" did not hold", user);
	return 0;
}

int system_chown(const char *path, const char *user, const char *group, struct errbuf *eb)
{
	uid_t uid;
	gid_t gid;
	if (geteuid() != 0)
		return 0;
	int r = find_ids(user, group, &uid, &gid, eb);
	if (r == 0 && lchown(path, uid, gid) < 0)
		r = errbuf_set(eb, -errno, "%s: %s", path, err_text(-errno));
	return r;
}

void system_raise_nofile(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

void system_no_core_dumps(void)
{
	const struct rlimit none = { 0, 0 };
	(void)setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)
	/* A core_pattern that is a pipe ignores the limit. (The leak checker needs ptrace.) */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

void system_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	if (n == 0 || n >= sizeof(un.sun_path))
		return;
	memcpy(un.sun_path, path, n);
	if (path[0] == '@') /* an abstract socket */
		un.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&un,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

unsigned system_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	return n > 0 ? (unsigned)n : 1;
}

size_t system_listen_fds(void)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	uint64_t pid_n;
	uint64_t fds_n;
	if (!pid || !fds || !slice_to_u64(slice_str(pid), &pid_n) ||
	    !slice_to_u64(slice_str(fds), &fds_n))
		return 0;
	return pid_n == (uint64_t)getpid() ? (size_t)fds_n : 0;
}

size_t system_local_addresses(struct netaddr *out, size_t max)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;
	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *i = all; i && n < max; i = i->ifa_next) {
		if (!i->ifa_addr)
			continue;
		int family = i->ifa_addr->sa_family;
		if (family == AF_INET || family == AF_INET6)
			netaddr_from_sockaddr(&out[n++], i->ifa_addr);
	}
	freeifaddrs(all);
	return n;
}

int system_pid(void)
{
	return getpid();
}
