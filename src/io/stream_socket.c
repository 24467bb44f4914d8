#include "io/stream_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

void stream_socket_set_nodelay(int fd)
{
	const int on = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int bind_source(int fd, const struct netaddr *source)
{
	const int on = 1;
	struct sockaddr_storage ss;
	socklen_t len = netaddr_to_sockaddr(source, &ss);
	/* The port is chosen at connect, so each destination has all ports to itself. */
	if (source->port == 0)
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
}

static int unix_address(const char *path, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	if (n >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, n);
	memcpy(ss, &un, sizeof(un));
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return 0;
}

int stream_socket_open(const struct stream_connect_options *o, struct sockaddr_storage *ss,
    socklen_t *len)
{
	int r = 0;
	if (o->unix_path)
		r = unix_address(o->unix_path, ss, len);
	else
		*len = netaddr_to_sockaddr(&o->to, ss);
	if (r < 0)
		return r;
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (!o->unix_path) {
		stream_socket_set_nodelay(fd);
		if (o->bind)
			r = bind_source(fd, o->bind);
	}
	if (r == 0)
		return fd;
	close(fd);
	return r;
}
