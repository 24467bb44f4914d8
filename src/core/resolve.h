/*
 * resolve.h - from a destination to the addresses to dial: route, MX, A, AAAA.
 *
 * Runs the lookups over dnscache and lets policy/mx decide. What comes out is
 * a resolution (resolution.h): candidates, or a finding of verdict.h. It is
 * shared by all attempts for the domain, or the route, that begin within a
 * minute and within the least TTL of the answers in it (candidates for a second
 * at least: the attempt that asked may have to begin again at another site, and
 * a TTL of 0 must not make it ask, and move, for ever):
 *
 *	r = resolve_cached(...);   at once, or NULL; else
 *	resolve_start(...);        the callback has it
 *
 * A finding that would bounce mail is never made of an expired answer: then
 * the DNS has failed, and the mail waits.
 */
#ifndef CORE_RESOLVE_H
#define CORE_RESOLVE_H

#include "core/dnscache.h"
#include "core/mta.h"
#include "core/resolution.h"

#define RESOLVE_LOOKUP_HOSTS_MAX                                                                   \
	10 /* MX hosts whose addresses are asked for; an attempt dials ten addresses at most */
#define RESOLVE_SHARED_MS     60000
#define RESOLVE_SHARED_MIN_MS 1000
#define RESOLVE_ENTRIES_MAX   65536
#define RESOLVE_BYTES_MAX     (32 << 20)

/* The DNS channel and what it has said, shared by the attempts that began with it. */
struct resolver;
int resolver_new(struct mta *m, const struct conf *conf, struct resolver **r_r,
    struct errbuf *eb) MUST_USE;
/*
 * For a new config: the present one, with all it knows of the DNS, if the settings of the DNS are
 * the same and name the servers; else a new one. (The system's may have changed at any time.)
 */
int resolver_renew(struct mta *m, const struct conf *conf, struct resolver **r_r,
    struct errbuf *eb) MUST_USE;
struct resolver *resolver_ref(struct resolver *r);
void resolver_unref(struct resolver **r);
/* Drops the resolutions, which belong to a config that is the current one no more. */
void resolver_forget(struct resolver *r);

struct resolver_stats {
	uint64_t shared;   /* attempts that found a resolution */
	uint64_t resolved; /* and that had to make one */
	struct dnscache_stats dns;
};

void resolver_stats(const struct resolver *r, struct resolver_stats *st);

/*
 * What is known, as a reference for the caller, or NULL: it has to be asked. conf: the caller's;
 * one that is not current any more finds nothing.
 */
struct resolution *resolve_cached(struct mta *m, const struct conf *conf, const struct route *route,
    const char *domain, struct now now);

/* What another shard has found out: as if it had been found here. */
void resolve_learn(struct mta *m, const struct route *route, const char *domain,
    struct resolution *r, struct now now);

struct resolve;

typedef void resolve_done_fn(void *arg, struct resolution *r); /* borrowed */

/* conf and route (may be NULL) must outlive it. domain is an A-label name or an address literal.
 * The callback comes from a later step. */
struct resolve *resolve_start(struct mta *m, struct conf *conf, const struct route *route,
    const char *domain, resolve_done_fn *fn, void *arg);
void resolve_free(struct resolve **r); /* also from within the callback */

#endif
