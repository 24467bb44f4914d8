/*
 * resolve.h - from a destination to the addresses to dial: route, MX, A, AAAA.
 *
 * Runs the lookups over io/dns and lets policy/mx decide. The outcome is
 * either candidates or a finding of verdict.h. One object per delivery
 * attempt; cancelled by freeing it.
 */
#ifndef CORE_RESOLVE_H
#define CORE_RESOLVE_H

#include "core/mta.h"
#include "io/dns.h"
#include "policy/verdict.h"

#define RESOLVE_LOOKUP_HOSTS_MAX                                                                   \
	10 /* MX hosts whose addresses are asked for; an attempt dials ten addresses at most */

struct resolve_candidate {
	char host[256];              /* MX or smarthost name (or address text) */
	struct netaddr addr;         /* with port; family NETADDR_UNIX: see hop */
	const struct route_hop *hop; /* NULL for MX; lives as long as the config snapshot */
};

struct resolve_result {
	enum verdict_finding finding; /* NONE: there are candidates */
	struct errbuf why; /* detail of a finding: "MX lookup for example.com: SERVFAIL" */
	struct resolve_candidate candidates[MX_CANDIDATES_MAX];
	size_t candidates_n;
	bool more_hosts; /* a host's address lookup failed, or there were too many hosts to ask for
			  */
};

/* The DNS channel of a config, shared by the attempts that began under it. */
struct resolver;
int resolver_new(struct loop *l, const struct conf *conf, struct resolver **r_r,
    struct errbuf *eb) MUST_USE;
struct resolver *resolver_ref(struct resolver *r);
void resolver_unref(struct resolver **r);

struct resolve;

typedef void resolve_done_fn(void *arg,
    const struct resolve_result *result); /* result valid during the call */

/* conf and route (may be NULL) must outlive it. domain is an A-label name or an address literal.
 * The callback comes from a later turn. */
struct resolve *resolve_start(struct mta *m, const struct conf *conf, const struct route *route,
    const char *domain, resolve_done_fn *fn, void *arg);
void resolve_free(struct resolve **r); /* also from within the callback */

#endif
