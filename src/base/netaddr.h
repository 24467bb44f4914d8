/*
 * netaddr.h - IP addresses with a port, and networks, as values.
 *
 * An IPv4-mapped IPv6 address is turned into IPv4 wherever one is parsed or
 * taken from a socket, so that rules on IPv4 can't be slipped past.
 */
#ifndef BASE_NETADDR_H
#define BASE_NETADDR_H

#include <sys/socket.h>

#include "base/slice.h"

enum netaddr_family {
	NETADDR_NONE = 0,
	NETADDR_V4 = 4,
	NETADDR_V6 = 6,
	NETADDR_UNIX = 1, /* path kept elsewhere */
};

struct netaddr {
	uint8_t family; /* enum netaddr_family */
	uint16_t port;  /* host order; 0 if none */
	uint8_t ip[16]; /* network order; 4 bytes for V4 */
};

#define NETADDR_TEXT_MAX 64

/* "192.0.2.1", "2001:db8::1", "[..]" tolerated; no port */
int netaddr_parse_ip(struct slice text, struct netaddr *a) MUST_USE;
/* "1.2.3.4:25", "[::]:587", "::1"; default_port 0: a port is required */
int netaddr_parse(struct slice text, uint16_t default_port, struct netaddr *a) MUST_USE;
char *netaddr_format_ip(const struct netaddr *a, char buf[NETADDR_TEXT_MAX]);
/* with port, v6 in brackets */
char *netaddr_format(const struct netaddr *a, char buf[NETADDR_TEXT_MAX]);
void netaddr_from_sockaddr(struct netaddr *a, const struct sockaddr *sa);
socklen_t netaddr_to_sockaddr(const struct netaddr *a, struct sockaddr_storage *ss);
bool netaddr_eq_ip(const struct netaddr *a, const struct netaddr *b);

bool netaddr_is_loopback(const struct netaddr *a);
/* 0/8, link-local, multicast, unspecified, broadcast: never dialled (design section 6). */
bool netaddr_is_undialable(const struct netaddr *a);

struct netaddr_net {
	struct netaddr base;
	uint8_t bits;
};

/* "10.0.0.0/8"; a bare address is its own /32 or /128; host bits set: ERR_SYNTAX */
int netaddr_parse_net(struct slice text, struct netaddr_net *n) MUST_USE;
bool netaddr_in_net(const struct netaddr *a, const struct netaddr_net *n);

#endif
