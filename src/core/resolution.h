/*
 * resolution.h - where mail for a domain goes, as found out once for many.
 *
 * Immutable and ref-counted: deliveries, connections and the cache of
 * resolve.h share one. It holds the config snapshot its hops are of. The
 * order in which an attempt dials is drawn anew for each (resolution_order),
 * so that sharing does not send everybody to the same host.
 */
#ifndef CORE_RESOLUTION_H
#define CORE_RESOLUTION_H

#include "base/buf.h"
#include "conf/conf.h"
#include "policy/mx.h"
#include "policy/verdict.h"

#define RESOLUTION_SITE_MAX (1 << 20) /* bytes of a site: far more than hosts and hops can take */

struct resolution_candidate {
	const char *host;            /* MX or smarthost name, address text, or path of a socket */
	struct netaddr addr;         /* with port; family NETADDR_UNIX: see hop */
	const struct route_hop *hop; /* NULL for MX */
	uint8_t rank;                /* hosts of one rank are equals; 0 is tried first */
};

struct resolution {
	int refs; /* atomic */
	struct conf *conf;
	enum verdict_finding finding; /* NONE: there are candidates */
	const char *why; /* detail of a finding: "MX lookup for example.com: SERVFAIL"; "" */
	/* Whose connections and limits it shares, design section 4; "" with a finding. */
	const char *site;
	bool more_hosts;  /* a host's address lookup failed, or there were too many to ask for */
	int64_t until_ms; /* mono: no new attempt may use it from here on */
	size_t bytes;
	size_t candidates_n; /* at most MX_CANDIDATES_MAX; hosts by rank, addresses of one adjacent
			      */
	struct resolution_candidate candidates[];
};

struct resolution *resolution_ref(struct resolution *r);
void resolution_unref(struct resolution **r);

/*
 * A copy of *draft (its refs, bytes and candidates are not looked at) and of the candidates, texts
 * included; takes a reference of draft->conf.
 */
struct resolution *resolution_new(const struct resolution *draft,
    const struct resolution_candidate *candidates, size_t n);

/*
 * The order for one attempt, a permutation of 0..candidates_n-1: by rank; hosts of one rank at
 * random (RFC 5321 5.1); of one host the families in the order of the candidates, but which
 * address of a family is first changes.
 */
void resolution_order(const struct resolution *r, struct prng *rng,
    uint8_t order[MX_CANDIDATES_MAX]);

/*
 * The text of a site, appended: "0 a.example,0 b.example,1 c.example" for the most preferred
 * MX_HOSTS_MAX hosts, which are sorted as mx_sort does; ranks, not preferences, so that 5 and 10
 * are the same as 10 and 20.
 */
void resolution_site_of_mx(struct buf *site, const struct mx_host *hosts, size_t n);
/* The hops in their order: "smtp://user@host:25,unix:/path"; no password. */
void resolution_site_of_hops(struct buf *site, const struct route *route);
/* What sets connections apart though they go to the same hosts: " from 192.0.2.1 as helo.example"
 */
void resolution_site_of_source(struct buf *site, const struct route *route);

#endif
