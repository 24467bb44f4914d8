/*
 * dnscache.h - what the DNS has said, for as long as it said so.
 *
 * Over io/dns, one per shard, for the delivery side. By name and type:
 *
 *   records          for their TTL, at most a day (RFC 8767 4 lets a cache cap it)
 *   no such record,  for the SOA's TTL (RFC 2308 5), at most an hour; without an SOA a minute,
 *   no such name     and not at all, because mail is bounced for a name that does not exist
 *   failure          a few seconds (RFC 9520 3.2), so that a thousand waiting mails do not ask a
 *                    thousand times
 *
 * An answer with TTL 0 is given to those who wait for it and to nobody else.
 * One query per name and type is in flight, however many wait.
 *
 * While the resolver fails, records (and the fact that there are none) are
 * used for up to a day after their end (RFC 8767). The first to ask waits for
 * the failure; for a minute the others do not, and after half of it one makes
 * the question be asked again, without waiting for it. That a name does not
 * exist is never used beyond its time.
 *
 * Bounded by entries and bytes; what was not used for longest goes first.
 * Times are mono ms.
 */
#ifndef CORE_DNSCACHE_H
#define CORE_DNSCACHE_H

#include "base/list.h"
#include "io/dns.h"

#define DNSCACHE_ENTRIES_MAX  65536
#define DNSCACHE_BYTES_MAX    (32 << 20)
#define DNSCACHE_TTL_MAX_S    86400
#define DNSCACHE_NO_TTL_MAX_S 3600 /* no such record, no such name */
#define DNSCACHE_NODATA_S     60   /* no such record, and no SOA: a new MX may wait so long */
#define DNSCACHE_FAILURE_S    5    /* shorter than any retry, so a probe of a site asks anew */
#define DNSCACHE_STALE_S      86400
#define DNSCACHE_STALE_ASK_S  30 /* RFC 8767 5: the failure recheck timer */

struct dnscache;

struct dnscache_answer {
	struct dns_answer dns;
	bool stale; /* its time is over, and the resolver fails */
	int64_t
	    until_ms; /* what follows from it may be used so long; may be past: just this once */
};

struct dnscache_stats {
	uint64_t hits;    /* answered at once */
	uint64_t misses;  /* had to wait */
	uint64_t stale;   /* answers used after their end */
	uint64_t queries; /* sent to io/dns: fewer than misses where several waited for one */
	size_t entries, bytes;
};

typedef int64_t dnscache_clock_fn(void *arg); /* mono ms, when an answer comes in */

/* dns is borrowed and must outlive the cache; seed is of the hash. */
struct dnscache *dnscache_new(struct dns *dns, dnscache_clock_fn *clock, void *arg, uint64_t seed);
void dnscache_free(struct dnscache **c); /* nobody may be waiting */

/*
 * What is known, at once, valid until the next turn of the loop; or NULL: dnscache_ask. An
 * outcome may be DNS_FAILED: asked a moment ago.
 */
const struct dnscache_answer *dnscache_find(struct dnscache *c, const char *name,
    enum dns_type type, int64_t now_ms);

typedef void dnscache_fn(void *arg, const struct dnscache_answer *a); /* a: during the call */

struct dnscache_wait { /* embedded in whoever waits */
	struct list_node node;
	dnscache_fn *fn;
	void *arg;
};

/* After dnscache_find gave NULL. The callback comes from the loop, never from inside this call. */
void dnscache_ask(struct dnscache *c, const char *name, enum dns_type type, struct dnscache_wait *w,
    dnscache_fn *fn, void *arg);
/* Before or after the callback, or if zeroed and never asked; the answer is kept all the same. */
void dnscache_cancel(struct dnscache_wait *w);

void dnscache_stats(const struct dnscache *c, struct dnscache_stats *st);

#endif
