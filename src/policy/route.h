/*
 * route.h - which way mail for a domain goes: MX lookup or a static route.
 *
 * Routes are a list in the order of the config; the first whose pattern
 * matches the recipient's domain counts. A route without hops still goes by
 * MX, with its own TLS level, source address or EHLO name. Passwords live in
 * the hops: they are never put into messages or logs.
 */
#ifndef POLICY_ROUTE_H
#define POLICY_ROUTE_H

#include "base/err.h"
#include "base/netaddr.h"
#include "base/slice.h"

enum tls_level { /* what is asked of a connection's TLS */
	TLS_LEVEL_NONE_SET = 0,
	TLS_LEVEL_NONE,    /* never */
	TLS_LEVEL_MAY,     /* if offered; in clear if the handshake fails */
	TLS_LEVEL_ENCRYPT, /* must be encrypted, no matter by whom */
	TLS_LEVEL_VERIFY,  /* certificate must be valid for the host's name */
};

const char *tls_level_name(enum tls_level l);
/* "none" "may" "encrypt" "verify"; TLS_LEVEL_NONE_SET if unknown */
enum tls_level tls_level_parse(struct slice s);

struct route_hop {
	const char *host;      /* name or IP text; "" for a unix socket */
	const char *unix_path; /* "" unless unix: */
	uint16_t port;
	bool lmtp;
	bool tls_implicit;           /* smtps:// */
	const char *user, *password; /* "" none; percent-decoded */
};

#define ROUTE_HOPS_MAX 16

struct route {
	/* "corp.example"; "*.corp.example" or ".corp.example": what lies below it; "*": all */
	const char *domain;
	/* in order; none: MX lookup (a route that only sets tls, bind or helo) */
	const struct route_hop *hops;
	size_t hops_n;
	enum tls_level tls; /* TLS_LEVEL_NONE_SET: the default */
	bool has_bind;
	struct netaddr bind;
	const char *helo; /* "" default */
};

/* First match wins; NULL if none. domain is an A-label name in lower case. */
const struct route *route_find(const struct route *routes, size_t n, struct slice domain);
/* Without case; a wildcard never matches the domain it is below of. */
bool route_pattern_matches(struct slice pattern, struct slice domain);

struct arena;

/*
 * "host", "host:port", "[v6]:port", "smtp://user:pass@host:port", "smtps://",
 * "lmtp://host:port", "unix:/path" (LMTP). Strings go into the arena. Default
 * ports 25, 465 (smtps), 24 (lmtp). The error's text shows no credentials.
 */
int route_parse_hop(struct slice text, struct arena *arena, struct route_hop *hop,
    struct errbuf *eb) MUST_USE;

#endif
