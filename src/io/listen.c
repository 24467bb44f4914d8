#include "io/listen.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop_backend.h"

enum {
	BACKLOG = 4096, /* the kernel takes less where somaxconn says so */
	ACCEPTS_PER_TURN = 64,
	EXHAUSTED_PAUSE_MS = 100,
	SOCKET_MODE = 0600,
};

struct listener {
	int fd;
	struct netaddr address;
	char *path; /* of a unix socket we made; NULL */
	dev_t path_dev;
	ino_t path_ino;

	struct loop *loop; /* NULL until listen_start */
	listen_accept_fn *fn;
	void *arg;
	struct event ready;
	struct event resume;
	bool paused;    /* by the owner */
	bool exhausted; /* no descriptors: waiting for `resume` */
	bool warned;    /* about that, since the last accept that worked */
};

static struct listener *new_listener(int fd)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct listener *l = mem_zalloc(sizeof(*l));
	l->fd = fd;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		netaddr_from_sockaddr(&l->address, (struct sockaddr *)&ss);
	return l;
}

static int set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* The bound and listening descriptor, or an error. */
static int open_tcp(const struct netaddr *addr, bool v6only)
{
	struct sockaddr_storage ss;
	socklen_t len = netaddr_to_sockaddr(addr, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int r = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0)
		r = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && addr->family == NETADDR_V6)
		r = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
	if (r == 0 && bind(fd, (struct sockaddr *)&ss, len) < 0)
		r = -errno;
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static bool is_any_v6(const struct netaddr *a)
{
	static const uint8_t zero[16];
	return a->family == NETADDR_V6 && memcmp(a->ip, zero, sizeof(zero)) == 0;
}

/* "[::]" means everything there is: IPv6 and IPv4; IPv6 alone where IPv4 is taken; IPv4 alone on a
 * host without IPv6. */
static int open_any(const struct netaddr *addr)
{
	const struct netaddr any_v4 = { .family = NETADDR_V4, .port = addr->port };
	int fd = open_tcp(addr, false);
	if (fd == -EADDRINUSE)
		fd = open_tcp(addr, true);
	if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
		fd = open_tcp(&any_v4, false);
	return fd;
}

int listen_tcp(const struct netaddr *addr, struct listener **l_r, struct errbuf *eb)
{
	char text[NETADDR_TEXT_MAX];
	int fd = is_any_v6(addr) ? open_any(addr) : open_tcp(addr, true);
	if (fd < 0)
		return errbuf_set(eb, fd, "can't listen on %s: %s", netaddr_format(addr, text),
		    err_text(fd));
	*l_r = new_listener(fd);
	return 0;
}

static int connect_unix(const struct sockaddr_un *un)
{
	int r = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* Makes the path free: a socket that nobody answers on was left by a crash. */
static int remove_stale(const struct sockaddr_un *un)
{
	struct stat st;
	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	int r = connect_unix(un);
	if (r != -ECONNREFUSED)
		return r == -ENOENT ? 0 : ERR_BUSY;
	return unlink(un->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int open_unix(const struct sockaddr_un *un)
{
	int r = remove_stale(un);
	if (r < 0)
		return r;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* bind gives the file the mode of the socket: it is never open to others, not for a moment.
	 */
	if (fchmod(fd, SOCKET_MODE) < 0)
		r = -errno;
	if (r == 0 && bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0)
		r = -errno;
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

int listen_unix(const char *path, struct listener **l_r, struct errbuf *eb)
{
	struct stat st;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = -ENAMETOOLONG;
	if (strlen(path) < sizeof(un.sun_path)) {
		memcpy(un.sun_path, path, strlen(path));
		fd = open_unix(&un);
	}
	if (fd < 0)
		return errbuf_set(eb, fd, "can't listen on %s: %s", path,
		    fd == ERR_BUSY ? "somebody answers on it" : err_text(fd));
	struct listener *l = new_listener(fd);
	if (lstat(path, &st) == 0) {
		l->path = mem_strdup(path);
		l->path_dev = st.st_dev;
		l->path_ino = st.st_ino;
	}
	*l_r = l;
	return 0;
}

int listen_from_fd(int fd, struct listener **l_r)
{
	int listening = 0;
	socklen_t len = sizeof(listening);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return -errno;
	if (!listening)
		return -EINVAL;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	*l_r = new_listener(fd);
	return 0;
}

static void update_ready(struct listener *l)
{
	if (!l->loop)
		return;
	if (l->paused || l->exhausted)
		event_del(&l->ready);
	else if (event_add(&l->ready, NULL) < 0)
		log_error("listen", "event_add failed");
}

/* The connection stays in the backlog; without the pause the loop would spin on it. */
static void on_exhausted(struct listener *l, int err)
{
	char text[NETADDR_TEXT_MAX];
	const struct timeval tv = { .tv_usec = EXHAUSTED_PAUSE_MS * 1000 };
	if (!l->warned)
		log_warn("listen", "can't accept on %s: %s", netaddr_format(&l->address, text),
		    err_text(err));
	l->warned = true;
	l->exhausted = event_add(&l->resume, &tv) == 0;
	update_ready(l);
}

static void on_resume(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct listener *l = arg;
	l->exhausted = false;
	update_ready(l);
}

/* False when there is nothing more to accept for now. */
static bool accept_one(struct listener *l)
{
	struct netaddr peer = { 0 };
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		netaddr_from_sockaddr(&peer, (struct sockaddr *)&ss);
		l->warned = false;
		l->fn(l->arg, fd, &peer);
		return true;
	}
	if (errno == EAGAIN)
		return false;
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		on_exhausted(l, -errno);
		return false;
	}
	return true; /* an error of that one connection: accept(2) lists them; on to the next */
}

static void on_ready(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct listener *l = arg;
	for (int i = 0; i < ACCEPTS_PER_TURN && !l->paused; i++)
		if (!accept_one(l))
			return;
}

void listen_start(struct listener *l, struct loop *loop, listen_accept_fn *fn, void *arg)
{
	CHECK(!l->loop);
	l->loop = loop;
	l->fn = fn;
	l->arg = arg;
	event_assign(&l->ready, loop_backend(loop), l->fd, EV_READ | EV_PERSIST, on_ready, l);
	evtimer_assign(&l->resume, loop_backend(loop), on_resume, l);
	update_ready(l);
}

void listen_pause(struct listener *l, bool pause)
{
	if (l->paused == pause)
		return;
	l->paused = pause;
	update_ready(l);
}

/* Only if the path still names our socket: a successor may have replaced it. */
static void remove_path(const struct listener *l)
{
	struct stat st;
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->path_dev &&
	    st.st_ino == l->path_ino)
		(void)unlink(l->path);
}

void listen_free(struct listener **lp)
{
	struct listener *l = *lp;
	if (!l)
		return;
	*lp = NULL;
	if (l->loop) {
		event_del(&l->ready);
		event_del(&l->resume);
	}
	remove_path(l);
	close(l->fd);
	mem_free(l->path);
	mem_free(l);
}

const struct netaddr *listen_address(const struct listener *l)
{
	return &l->address;
}
