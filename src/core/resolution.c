#include "core/resolution.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct resolution *resolution_ref(struct resolution *r)
{
	int before = __atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);

	CHECK(before > 0);
	return r;
}

void resolution_unref(struct resolution **rp)
{
	struct resolution *r = *rp;

	*rp = NULL;
	if (!r)
		return;
	int before = __atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL);
	CHECK(before > 0);
	if (before > 1)
		return;
	conf_unref(&r->conf);
	mem_free(r);
}

static const char *put_text(char **at, const char *text)
{
	char *to = *at;
	size_t n = strlen(text) + 1;

	memcpy(to, text, n);
	*at += n;
	return to;
}

struct resolution *resolution_new(const struct resolution *draft,
    const struct resolution_candidate *candidates, size_t n)
{
	size_t bytes = sizeof(struct resolution) + n * sizeof(*candidates) + strlen(draft->why) +
		       strlen(draft->site) + 2;

	CHECK(n <= MX_CANDIDATES_MAX);
	for (size_t i = 0; i < n; i++)
		bytes += strlen(candidates[i].host) + 1;
	struct resolution *r = mem_alloc(bytes);
	*r = *draft;
	r->refs = 1;
	r->bytes = bytes;
	r->conf = conf_ref(draft->conf);
	char *at = (char *)&r->candidates[n];
	r->why = put_text(&at, draft->why);
	r->site = put_text(&at, draft->site);
	r->candidates_n = n;
	for (size_t i = 0; i < n; i++) {
		r->candidates[i] = candidates[i];
		r->candidates[i].host = put_text(&at, candidates[i].host);
	}
	CHECK(at == (char *)r + bytes);
	return r;
}

/* --- order ------------------------------------------------------------------------ */

struct group { /* the addresses of one host */
	size_t from, to;
};

static bool same_host(const struct resolution_candidate *a, const struct resolution_candidate *b)
{
	return a->rank == b->rank && a->hop == b->hop && strcmp(a->host, b->host) == 0;
}

static size_t find_groups(const struct resolution *r, struct group groups[MX_CANDIDATES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < r->candidates_n; i++) {
		if (n == 0 || !same_host(&r->candidates[i - 1], &r->candidates[i]))
			groups[n++].from = i;
		groups[n - 1].to = i + 1;
	}
	return n;
}

/* Fisher-Yates: every order of equals is equally likely. */
static void shuffle(struct group *groups, size_t n, struct prng *rng)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)prng_below(rng, i);
		struct group tmp = groups[i - 1];
		groups[i - 1] = groups[j];
		groups[j] = tmp;
	}
}

/* The places a family has within its host keep that family; which address comes first changes. */
static void rotate_family(const struct resolution *r, const struct group *g, uint8_t family,
    struct prng *rng, uint8_t *order)
{
	uint8_t members[MX_CANDIDATES_MAX];
	size_t n = 0;

	for (size_t i = g->from; i < g->to; i++)
		if (r->candidates[i].addr.family == family)
			members[n++] = (uint8_t)i;
	size_t at = n > 1 ? (size_t)prng_below(rng, n) : 0;
	for (size_t i = g->from; i < g->to; i++)
		if (r->candidates[i].addr.family == family)
			order[i - g->from] = members[at++ % n];
}

void resolution_order(const struct resolution *r, struct prng *rng,
    uint8_t order[MX_CANDIDATES_MAX])
{
	struct group groups[MX_CANDIDATES_MAX];
	size_t n = find_groups(r, groups);

	for (size_t from = 0, to; from < n; from = to) {
		uint8_t rank = r->candidates[groups[from].from].rank;
		for (to = from + 1; to < n && r->candidates[groups[to].from].rank == rank; to++)
			;
		shuffle(groups + from, to - from, rng);
	}
	for (size_t i = 0; i < n; i++) {
		rotate_family(r, &groups[i], NETADDR_V4, rng, order);
		rotate_family(r, &groups[i], NETADDR_V6, rng, order);
		rotate_family(r, &groups[i], NETADDR_UNIX, rng, order);
		order += groups[i].to - groups[i].from;
	}
}

/* --- sites ------------------------------------------------------------------------ */

static void add(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void add(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int err = buf_vprintf(b, fmt, ap);
	va_end(ap);
	CHECK(err == 0);
}

void resolution_site_of_mx(struct buf *site, const struct mx_host *hosts, size_t n)
{
	unsigned rank = 0;

	n = MIN(n, (size_t)MX_HOSTS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && hosts[i].preference != hosts[i - 1].preference)
			rank++;
		add(site, "%s%u %s", i ? "," : "", rank, hosts[i].name);
	}
}

static void add_hop(struct buf *site, const struct route_hop *hop)
{
	if (hop->unix_path[0]) {
		add(site, "unix:%s", hop->unix_path);
		return;
	}
	add(site, "%s://%s%s%s:%u",
	    hop->lmtp           ? "lmtp"
	    : hop->tls_implicit ? "smtps"
				: "smtp",
	    hop->user, hop->user[0] ? "@" : "", hop->host, (unsigned)hop->port);
}

void resolution_site_of_hops(struct buf *site, const struct route *route)
{
	for (size_t i = 0; i < route->hops_n; i++) {
		if (i > 0)
			add(site, ",");
		add_hop(site, &route->hops[i]);
	}
}

void resolution_site_of_source(struct buf *site, const struct route *route)
{
	char ip[NETADDR_TEXT_MAX];

	if (route && route->has_bind)
		add(site, " from %s", netaddr_format_ip(&route->bind, ip));
	if (route && route->helo[0])
		add(site, " as %s", route->helo);
}
