/*
 * listen.h - listening sockets: TCP with SO_REUSEADDR/REUSEPORT, unix sockets 0600.
 */
#ifndef IO_LISTEN_H
#define IO_LISTEN_H

#include "base/err.h"
#include "base/netaddr.h"
#include "io/loop.h"

struct listener;

/* Takes fd (CLOEXEC, non-blocking). peer is NETADDR_UNIX for unix sockets. */
typedef void listen_accept_fn(void *arg, int fd, const struct netaddr *peer);

/*
 * Binding happens here (as root, before privileges are dropped); accepting begins with
 * listen_start, until then connections wait in the backlog. "[::]" also takes IPv4 unless that is
 * bound already; on a host without IPv6 it is 0.0.0.0.
 */
int listen_tcp(const struct netaddr *addr, struct listener **l_r, struct errbuf *eb) MUST_USE;
/* Replaces a stale socket; refuses if somebody answers on it (ERR_BUSY). */
int listen_unix(const char *path, struct listener **l_r, struct errbuf *eb) MUST_USE;
/* Socket activation: fd must be listening (-EINVAL); the caller's until success. */
int listen_from_fd(int fd, struct listener **l_r) MUST_USE;
void listen_start(struct listener *l, struct loop *loop, listen_accept_fn *fn, void *arg);
/* Too many connections: leave further ones in the backlog. (Out of descriptors it pauses itself.)
 */
void listen_pause(struct listener *l, bool pause);
void listen_free(struct listener **l); /* closes; a unix socket's path is removed */
/* With the port the kernel chose for port 0. */
const struct netaddr *listen_address(const struct listener *l);

#endif
