/*
 * route.c - patterns of routes, and the ways to write a smarthost.
 */
#include "policy/route.h"

#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "proto/path.h"

#define PORT_SMTP     25
#define PORT_SMTPS    465
#define PORT_LMTP     24
/* sun_path of a socket address, with its NUL */
#define UNIX_PATH_MAX 107

static const char *const level_names[] = {
	[TLS_LEVEL_NONE_SET] = "default",
	[TLS_LEVEL_NONE] = "none",
	[TLS_LEVEL_MAY] = "may",
	[TLS_LEVEL_ENCRYPT] = "encrypt",
	[TLS_LEVEL_VERIFY] = "verify",
};

const char *tls_level_name(enum tls_level l)
{
	CHECK((size_t)l < ARRAY_LEN(level_names));
	return level_names[l];
}

enum tls_level tls_level_parse(struct slice s)
{
	for (size_t i = TLS_LEVEL_NONE; i < ARRAY_LEN(level_names); i++)
		if (slice_eq(s, slice_str(level_names[i])))
			return (enum tls_level)i;
	return TLS_LEVEL_NONE_SET;
}

bool route_pattern_matches(struct slice pattern, struct slice domain)
{
	if (slice_eq(pattern, SLICE("*")))
		return true;
	if (slice_starts(pattern, SLICE("*.")))
		pattern = slice_from(pattern, 1);
	if (slice_starts(pattern, SLICE(".")))
		return domain.n > pattern.n && slice_ends_nocase(domain, pattern);
	return slice_eq_nocase(pattern, domain);
}

const struct route *route_find(const struct route *routes, size_t n, struct slice domain)
{
	for (size_t i = 0; i < n; i++)
		if (route_pattern_matches(slice_str(routes[i].domain), domain))
			return &routes[i];
	return NULL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "%40" to "@" (RFC 3986 2.1). NUL can't be part of a credential: SASL PLAIN uses it as separator.
 */
static int percent_decode(struct slice in, struct arena *arena, const char **out_r)
{
	char *out = arena_alloc(arena, in.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];
		if (c == '%') {
			int high = i + 2 < in.n ? hex_digit(in.p[i + 1]) : -1;
			int low = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return ERR_SYNTAX;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (c == '\0')
			return ERR_SYNTAX;
		out[n++] = c;
	}
	out[n] = '\0';
	*out_r = out;
	return 0;
}

static int parse_userinfo(struct slice text, struct arena *arena, struct route_hop *hop,
    struct errbuf *eb)
{
	ptrdiff_t colon = slice_find(text, ':');
	if (colon <= 0)
		return errbuf_set(eb, ERR_SYNTAX, "credentials are written user:password@");
	struct slice user = slice_of(text.p, (size_t)colon);
	struct slice password = slice_from(text, (size_t)colon + 1);
	if (password.n == 0)
		return errbuf_set(eb, ERR_SYNTAX, "the password is empty");
	/* The message does not show the text: it holds a secret. */
	if (percent_decode(user, arena, &hop->user) < 0 ||
	    percent_decode(password, arena, &hop->password) < 0)
		return errbuf_set(eb, ERR_SYNTAX,
		    "bad %%XX in the credentials (write %% itself as %%25, @ as %%40, : as %%3A)");
	return 0;
}

static int parse_port(struct slice text, struct route_hop *hop, struct errbuf *eb)
{
	uint64_t port;
	if (!slice_to_u64(text, &port) || port == 0 || port > UINT16_MAX)
		return errbuf_set(eb, ERR_SYNTAX, "\"%.*s\" is no port (1 to 65535)",
		    SLICE_ARG(text));
	hop->port = (uint16_t)port;
	return 0;
}

/* "host", "host:port", "v6", "[v6]", "[v6]:port"; the port is left alone if none is given. */
static int parse_authority(struct slice text, struct arena *arena, struct route_hop *hop,
    struct errbuf *eb)
{
	struct netaddr ip;
	struct slice host = text;
	ptrdiff_t colon = slice_rfind(text, ':');
	ptrdiff_t bracket = slice_rfind(text, ']');
	bool is_bare_v6 = bracket < 0 && slice_find(text, ':') != colon;
	if (colon > bracket && !is_bare_v6) {
		int err = parse_port(slice_from(text, (size_t)colon + 1), hop, eb);
		if (err < 0)
			return err;
		host = slice_of(text.p, (size_t)colon);
	}
	bool is_ip = netaddr_parse_ip(host, &ip) == 0;
	if (is_ip && host.n > 0 && host.p[0] == '[')
		host = slice_of(host.p + 1, host.n - 2);
	if (!is_ip && !path_is_domain(host))
		return errbuf_set(eb, ERR_SYNTAX,
		    "\"%.*s\" is neither a host name nor an IP address", SLICE_ARG(host));
	hop->host = arena_strndup(arena, host.p, host.n);
	return 0;
}

static int parse_url(struct slice rest, struct arena *arena, struct route_hop *hop,
    struct errbuf *eb)
{
	/* The last @: a password may hold one that nobody escaped. */
	ptrdiff_t at = slice_rfind(rest, '@');
	if (at >= 0) {
		int err = parse_userinfo(slice_of(rest.p, (size_t)at), arena, hop, eb);
		if (err < 0)
			return err;
		rest = slice_from(rest, (size_t)at + 1);
	}
	if (rest.n > 0 && rest.p[rest.n - 1] == '/')
		rest.n--;
	return parse_authority(rest, arena, hop, eb);
}

static int parse_unix(struct slice path, struct arena *arena, struct route_hop *hop,
    struct errbuf *eb)
{
	if (path.n == 0 || path.p[0] != '/')
		return errbuf_set(eb, ERR_SYNTAX, "the path after unix: must begin with /");
	if (path.n > UNIX_PATH_MAX)
		return errbuf_set(eb, ERR_TOO_BIG, "the socket's path is longer than %d bytes",
		    UNIX_PATH_MAX);
	hop->lmtp = true;
	hop->unix_path = arena_strndup(arena, path.p, path.n);
	return 0;
}

int route_parse_hop(struct slice text, struct arena *arena, struct route_hop *hop,
    struct errbuf *eb)
{
	static const struct {
		const char *prefix;
		uint16_t port;
		bool lmtp, tls_implicit;
	} schemes[] = {
		{ "smtp://", PORT_SMTP, false, false },
		{ "smtps://", PORT_SMTPS, false, true },
		{ "lmtp://", PORT_LMTP, true, false },
	};

	*hop = (struct route_hop){ .host = "",
		.unix_path = "",
		.user = "",
		.password = "",
		.port = PORT_SMTP };
	text = slice_trim(text);
	if (text.n == 0)
		return errbuf_set(eb, ERR_SYNTAX, "no host given");
	if (slice_find(text, '\0') >= 0)
		return errbuf_set(eb, ERR_SYNTAX, "a NUL byte is no part of a host");
	if (slice_starts_nocase(text, SLICE("unix:"))) {
		hop->port = 0;
		return parse_unix(slice_from(text, 5), arena, hop, eb);
	}
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		struct slice prefix = slice_str(schemes[i].prefix);
		if (!slice_starts_nocase(text, prefix))
			continue;
		hop->port = schemes[i].port;
		hop->lmtp = schemes[i].lmtp;
		hop->tls_implicit = schemes[i].tls_implicit;
		return parse_url(slice_from(text, prefix.n), arena, hop, eb);
	}
	/* Not "user:pass@host" either: what looks like a secret is not repeated in the message. */
	if (slice_find(text, '@') >= 0)
		return errbuf_set(eb, ERR_SYNTAX,
		    "credentials need a URL: smtp://user:password@host");
	if (slice_find(text, '/') >= 0)
		return errbuf_set(eb, ERR_SYNTAX,
		    "unknown kind of address: use host[:port], smtp://, smtps://, lmtp:// or "
		    "unix:/path");
	return parse_authority(text, arena, hop, eb);
}
