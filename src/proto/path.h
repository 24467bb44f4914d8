/*
 * path.h - addresses and domains by the grammar of RFC 5321 4.1.2 and RFC 6531 3.3.
 *
 * Slices point into the input. The local part is never changed. Source routes
 * ("<@a,@b:c@d>") are accepted and dropped. Domains compare without case.
 * Control characters are never part of an address.
 */
#ifndef PROTO_PATH_H
#define PROTO_PATH_H

#include "base/buf.h"
#include "base/err.h"

#define PATH_LOCAL_MAX  64
#define PATH_DOMAIN_MAX 255
#define PATH_MAX_BYTES  256 /* RFC 5321 4.5.3.1.3, with brackets, without a source route */

struct path {
	struct slice address; /* local@domain without brackets; empty for the null reverse-path */
	struct slice local;
	struct slice domain; /* a literal keeps its brackets: "[192.0.2.1]" */
	bool is_null;
	bool is_utf8; /* a byte over 127 anywhere: needs SMTPUTF8 */
};

/*
 * "<...>" at the start of in; what follows it goes to *rest. null_ok for MAIL. "<postmaster>"
 * alone is accepted at RCPT (postmaster_ok): its domain is empty. ERR_SYNTAX with a reason in eb.
 */
int path_parse(struct slice in, bool null_ok, bool postmaster_ok, struct path *p,
    struct slice *rest, struct errbuf *eb) MUST_USE;
/* A bare address, "local@domain", and nothing else. */
int path_parse_address(struct slice in, struct path *p, struct errbuf *eb) MUST_USE;

/*
 * Labels of letters, digits, hyphens (not at either end), underscores or UTF-8; none empty, an
 * ASCII one at most 63 bytes; the whole at most 255. No trailing dot.
 */
bool path_is_domain(struct slice in);
/* "[192.0.2.1]" or "[IPv6:...]" with a valid address */
bool path_is_literal(struct slice in);

/*
 * Destination of a domain as the queue wants it: A-label (IDNA2008 by libidn2), lower case, no
 * trailing dot; a literal is checked and lower-cased. Appends to out. ERR_SYNTAX when it has no
 * A-label form.
 */
int path_domain_to_ascii(struct slice domain, struct buf *out) MUST_USE;

#endif
