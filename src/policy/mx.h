/*
 * mx.h - from DNS answers to the addresses of an attempt (RFC 5321 5.1, RFC 7505).
 *
 * Pure: records in, ordered candidates out; chance is a parameter. The steps
 * of a resolver in core: mx_is_null, mx_sort, mx_pick, addresses of each host
 * looked up, mx_remove_self, mx_candidates. The family that is preferred comes first
 * within a host; the preference of MX records is never crossed.
 */
#ifndef POLICY_MX_H
#define POLICY_MX_H

#include "base/err.h"
#include "base/netaddr.h"
#include "base/prng.h"

#define MX_HOSTS_MAX      20 /* hosts looked at; the most preferred are kept */
#define MX_HOST_ADDRS_MAX 16
#define MX_CANDIDATES_MAX 10 /* addresses of an attempt, design section 6 */

struct mx_host {
	uint16_t preference;
	char name[256];
	struct netaddr addrs[MX_HOST_ADDRS_MAX]; /* in the resolver's order */
	size_t addrs_n;
	bool lookup_failed; /* an address lookup failed temporarily */
};

struct mx_candidate {
	const struct mx_host *host;
	struct netaddr addr; /* port not set */
};

enum mx_prefer {
	MX_PREFER_DEFAULT = 0, /* both families, alternating within a host, IPv6 first */
	MX_PREFER_V4,
	MX_PREFER_V6,
};

struct mx_options {
	const char *me;
	const struct netaddr *local; /* our own addresses */
	size_t local_n;
	bool local_ok; /* local_mx_ok: loopback and our own may be dialled */
	enum mx_prefer prefer;
};

/* True if the records are a null MX: exactly one, with the root as host (any preference). A root
 * host among others is dropped by mx_sort. */
bool mx_is_null(const struct mx_host *hosts, size_t n);

/*
 * By preference, by name within one; bad entries (root, IP text) and
 * duplicates are dropped, names come out in lower case without a final dot.
 * Returns the new count. The same records give the same list, in whatever
 * order they come.
 */
size_t mx_sort(struct mx_host *hosts, size_t n);

/*
 * Of sorted hosts, those to look at: equals at random, the most preferred
 * MX_HOSTS_MAX at most. Returns the new count.
 */
size_t mx_pick(struct mx_host *hosts, size_t n, struct prng *rng);

/*
 * Removes hosts that are ourselves, by name or address, and all of equal or
 * worse preference (RFC 5321 5.1), unless local_ok; returns the new count.
 * *was_self says whether one was found. Loopback does not count as ourselves
 * here: such an MX is somebody's mistake, and worse hosts may take the mail.
 */
size_t mx_remove_self(struct mx_host *hosts, size_t n, const struct mx_options *o, bool *was_self);

/*
 * The ordered addresses to dial, n at most MX_HOSTS_MAX; never undialable
 * ones, loopback and own ones only with local_ok, each once. One host or
 * family can't use up all places. *loop: an address was left out because it
 * was loopback or our own.
 */
size_t mx_candidates(const struct mx_host *hosts, size_t n, const struct mx_options *o,
    struct mx_candidate out[MX_CANDIDATES_MAX], bool *loop);

#endif
