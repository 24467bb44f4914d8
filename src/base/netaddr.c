#include "base/netaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* The address with IPv4-mapped IPv6 as IPv4: also for those that were filled in by hand, as from
 * AAAA records. */
static struct netaddr unmapped(const struct netaddr *a)
{
	struct netaddr v4 = { .family = NETADDR_V4, .port = a->port };
	if (a->family != NETADDR_V6 || memcmp(a->ip, mapped_prefix, sizeof(mapped_prefix)) != 0)
		return *a;
	memcpy(v4.ip, a->ip + 12, 4);
	return v4;
}

int netaddr_parse_ip(struct slice text, struct netaddr *a)
{
	char copy[INET6_ADDRSTRLEN];
	struct netaddr found = { 0 };
	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = slice_of(text.p + 1, text.n - 2);
	/* A NUL would hide what follows it from inet_pton. */
	if (text.n == 0 || text.n >= sizeof(copy) || slice_find(text, '\0') >= 0)
		return ERR_SYNTAX;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	bool is_v6 = slice_find(text, ':') >= 0;
	found.family = is_v6 ? NETADDR_V6 : NETADDR_V4;
	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, copy, found.ip) != 1)
		return ERR_SYNTAX;
	*a = unmapped(&found);
	return 0;
}

/* Cuts the port off; port is empty if there is none. Colons outside brackets belong to an IPv6
 * address if they are several. */
static int split_port(struct slice text, struct slice *host, struct slice *port)
{
	ptrdiff_t colon = slice_rfind(text, ':');
	ptrdiff_t bracket = slice_rfind(text, ']');
	*host = text;
	*port = SLICE_NONE;
	if (bracket >= 0 && (size_t)bracket + 1 == text.n)
		return 0;
	if (bracket >= 0 && colon != bracket + 1)
		return ERR_SYNTAX;
	if (colon < 0 || (bracket < 0 && slice_find(text, ':') != colon))
		return 0;
	*host = slice_of(text.p, (size_t)colon);
	*port = slice_from(text, (size_t)colon + 1);
	return port->n ? 0 : ERR_SYNTAX;
}

int netaddr_parse(struct slice text, uint16_t default_port, struct netaddr *a)
{
	struct slice host;
	struct slice digits;
	struct netaddr found;
	uint64_t port = default_port;
	int r = split_port(text, &host, &digits);
	if (r == 0)
		r = netaddr_parse_ip(host, &found);
	if (r < 0)
		return r;
	if (digits.n && !slice_to_u64(digits, &port))
		return ERR_SYNTAX;
	if (!digits.n && default_port == 0)
		return ERR_SYNTAX;
	if (port == 0 || port > UINT16_MAX)
		return ERR_RANGE;
	*a = found;
	a->port = (uint16_t)port;
	return 0;
}

char *netaddr_format_ip(const struct netaddr *a, char buf[NETADDR_TEXT_MAX])
{
	const char *text = NULL;
	if (a->family == NETADDR_V4)
		text = inet_ntop(AF_INET, a->ip, buf, NETADDR_TEXT_MAX);
	else if (a->family == NETADDR_V6)
		text = inet_ntop(AF_INET6, a->ip, buf, NETADDR_TEXT_MAX);
	if (!text)
		snprintf(buf, NETADDR_TEXT_MAX, "%s", a->family == NETADDR_UNIX ? "unix" : "-");
	return buf;
}

char *netaddr_format(const struct netaddr *a, char buf[NETADDR_TEXT_MAX])
{
	char ip[NETADDR_TEXT_MAX];
	netaddr_format_ip(a, ip);
	if (a->family == NETADDR_V6)
		snprintf(buf, NETADDR_TEXT_MAX, "[%.46s]:%u", ip, a->port);
	else if (a->family == NETADDR_V4)
		snprintf(buf, NETADDR_TEXT_MAX, "%.46s:%u", ip, a->port);
	else
		snprintf(buf, NETADDR_TEXT_MAX, "%s", ip);
	return buf;
}

void netaddr_from_sockaddr(struct netaddr *a, const struct sockaddr *sa)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct netaddr found = { 0 };
	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&v4, sa, sizeof(v4));
		found.family = NETADDR_V4;
		found.port = ntohs(v4.sin_port);
		memcpy(found.ip, &v4.sin_addr, 4);
		break;
	case AF_INET6:
		memcpy(&v6, sa, sizeof(v6));
		found.family = NETADDR_V6;
		found.port = ntohs(v6.sin6_port);
		memcpy(found.ip, &v6.sin6_addr, 16);
		break;
	case AF_UNIX:
		found.family = NETADDR_UNIX;
		break;
	default:
		break;
	}
	*a = unmapped(&found);
}

socklen_t netaddr_to_sockaddr(const struct netaddr *a, struct sockaddr_storage *ss)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };
	memset(ss, 0, sizeof(*ss));
	if (a->family == NETADDR_V4) {
		memcpy(&v4.sin_addr, a->ip, 4);
		memcpy(ss, &v4, sizeof(v4));
		return sizeof(v4);
	}
	if (a->family == NETADDR_V6) {
		memcpy(&v6.sin6_addr, a->ip, 16);
		memcpy(ss, &v6, sizeof(v6));
		return sizeof(v6);
	}
	return 0;
}

bool netaddr_eq_ip(const struct netaddr *a, const struct netaddr *b)
{
	struct netaddr x = unmapped(a);
	struct netaddr y = unmapped(b);
	if (x.family != y.family)
		return false;
	if (x.family == NETADDR_V4)
		return memcmp(x.ip, y.ip, 4) == 0;
	return x.family == NETADDR_V6 && memcmp(x.ip, y.ip, 16) == 0;
}

bool netaddr_is_loopback(const struct netaddr *a)
{
	static const uint8_t v6_loopback[16] = { [15] = 1 };
	struct netaddr x = unmapped(a);
	if (x.family == NETADDR_V4)
		return x.ip[0] == 127;
	return x.family == NETADDR_V6 && memcmp(x.ip, v6_loopback, 16) == 0;
}

static bool is_undialable_v4(const uint8_t ip[4])
{
	if (ip[0] == 0)
		return true;
	if (ip[0] == 169 && ip[1] == 254)
		return true;
	if (ip[0] >= 224 && ip[0] <= 239)
		return true;
	return ip[0] == 255 && ip[1] == 255 && ip[2] == 255 && ip[3] == 255;
}

bool netaddr_is_undialable(const struct netaddr *a)
{
	static const uint8_t unspecified[16];
	struct netaddr x = unmapped(a);
	if (x.family == NETADDR_V4)
		return is_undialable_v4(x.ip);
	if (x.family == NETADDR_UNIX)
		return false;
	if (x.family != NETADDR_V6)
		return true;
	if (x.ip[0] == 0xff || (x.ip[0] == 0xfe && (x.ip[1] & 0xc0) == 0x80))
		return true;
	return memcmp(x.ip, unspecified, 16) == 0;
}

/* Whether the first `bits` bits of both are the same. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8;
	if (memcmp(a, b, whole) != 0)
		return false;
	uint8_t mask = (uint8_t)(0xff00 >> bits % 8);
	return bits % 8 == 0 || ((a[whole] ^ b[whole]) & mask) == 0;
}

/* Whether all bits after the first `bits` are zero. */
static bool is_base(const struct netaddr *a, unsigned bits)
{
	struct netaddr masked = *a;
	unsigned width = a->family == NETADDR_V4 ? 32 : 128;
	for (unsigned i = bits; i < width; i++)
		masked.ip[i / 8] = (uint8_t)(masked.ip[i / 8] & ~(0x80u >> i % 8));
	return memcmp(masked.ip, a->ip, sizeof(a->ip)) == 0;
}

int netaddr_parse_net(struct slice text, struct netaddr_net *n)
{
	struct netaddr_net found;
	ptrdiff_t slash = slice_find(text, '/');
	struct slice ip = slash < 0 ? text : slice_of(text.p, (size_t)slash);
	int r = netaddr_parse_ip(ip, &found.base);
	if (r < 0)
		return r;
	uint64_t width = found.base.family == NETADDR_V4 ? 32 : 128;
	/* Bits are counted in what was written: a /104 of an IPv4-mapped network is a /8. */
	uint64_t dropped = found.base.family == NETADDR_V4 && slice_find(ip, ':') >= 0 ? 96 : 0;
	uint64_t bits = width + dropped;
	if (slash >= 0 && !slice_to_u64(slice_from(text, (size_t)slash + 1), &bits))
		return ERR_SYNTAX;
	if (bits < dropped || bits > width + dropped)
		return ERR_RANGE;
	found.bits = (uint8_t)(bits - dropped);
	if (!is_base(&found.base, found.bits))
		return ERR_SYNTAX;
	*n = found;
	return 0;
}

bool netaddr_in_net(const struct netaddr *a, const struct netaddr_net *n)
{
	struct netaddr x = unmapped(a);
	if (x.family != n->base.family || (x.family != NETADDR_V4 && x.family != NETADDR_V6))
		return false;
	CHECK(n->bits <= (x.family == NETADDR_V4 ? 32 : 128));
	return same_bits(x.ip, n->base.ip, n->bits);
}
