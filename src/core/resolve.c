#include "core/resolve.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/lru.h"
#include "base/mem.h"

struct resolver {
	unsigned refs;
	struct dns *dns;
	struct dnscache *cache;
	char *servers; /* the settings it was made with */
	int timeout_ms, tries;
	struct lru shared; /* of struct shared */
	uint64_t shared_used, resolved;
	struct resolver_stats before; /* of those it came after */
};

struct shared {
	struct lru_entry lru;
	struct resolution *resolution;
	char key[];
};

struct lookup { /* one A or AAAA question */
	struct resolve *resolve;
	struct dnscache_wait wait;
	size_t host; /* index into hosts */
	struct netaddr addrs[MX_HOST_ADDRS_MAX / 2];
	size_t addrs_n;
};

struct resolve {
	struct mta_work work; /* marked when the outcome is known */
	struct resolver *resolver;
	struct conf *conf;
	const struct route *route;
	char *domain;
	resolve_done_fn *fn;
	void *arg;
	struct dnscache_wait mx_wait;
	bool implicit; /* no MX: the domain itself */
	struct mx_host hosts[MX_HOSTS_MAX];
	size_t hosts_n;
	const struct route_hop *hops[MX_HOSTS_MAX]; /* per host, for static routes */
	struct lookup lookups[2 * MX_HOSTS_MAX];
	size_t lookups_n, lookups_open;
	struct buf site;
	bool stale; /* an expired answer is in it */
	bool more_hosts;
	int64_t until_ms;
	struct resolution_candidate candidates[MX_CANDIDATES_MAX];
	size_t candidates_n;
	struct errbuf why;
	struct resolution *made;
};

/* --- what is shared ---------------------------------------------------------------- */

static void drop_shared(struct lru_entry *e)
{
	struct shared *s = container_of(e, struct shared, lru);

	resolution_unref(&s->resolution);
	mem_free(s);
}

/* A route with hops is the same for all its domains; its address names it within a config. */
static struct slice shared_key(const struct route *route, const char *domain, char buf[16])
{
	_Static_assert(sizeof(route) < 16, "fits behind the blank, which no domain begins with");
	if (!route || route->hops_n == 0)
		return slice_str(domain);
	buf[0] = ' ';
	memcpy(buf + 1, (const void *)&route, sizeof(route));
	return slice_of(buf, 1 + sizeof(route));
}

static void put_shared(struct resolver *resolver, struct slice key, struct resolution *r)
{
	struct shared *s = mem_alloc(sizeof(*s) + key.n);

	s->resolution = resolution_ref(r);
	memcpy(s->key, key.p, key.n);
	lru_put(&resolver->shared, slice_of(s->key, key.n), &s->lru, sizeof(*s) + key.n + r->bytes);
}

/* A resolution of an older config would keep that alive, and find nobody who may use it. */
static void share(struct resolve *r)
{
	char buf[16];

	if (r->conf == r->work.mta->conf && r->resolver == r->work.mta->resolver)
		put_shared(r->resolver, shared_key(r->route, r->domain, buf), r->made);
}

void resolve_learn(struct mta *m, const struct route *route, const char *domain,
    struct resolution *r, struct now now)
{
	char buf[16];

	if (r->conf == m->conf && now.mono_ms < r->until_ms)
		put_shared(m->resolver, shared_key(route, domain, buf), r);
}

struct resolution *resolve_cached(struct mta *m, const struct conf *conf, const struct route *route,
    const char *domain, struct now now)
{
	char buf[16];
	struct resolver *resolver = m->resolver;
	struct lru_entry *e = lru_find(&resolver->shared, shared_key(route, domain, buf));

	if (!e)
		return NULL;
	struct shared *s = container_of(e, struct shared, lru);
	if (now.mono_ms >= s->resolution->until_ms) {
		lru_remove(&resolver->shared, e);
		return NULL;
	}
	if (s->resolution->conf != conf)
		return NULL;
	resolver->shared_used++;
	return resolution_ref(s->resolution);
}

/* --- the resolver --------------------------------------------------------------------- */

static int64_t loop_clock(void *arg)
{
	return loop_now(arg).mono_ms;
}

int resolver_new(struct mta *m, const struct conf *conf, struct resolver **r_r, struct errbuf *eb)
{
	struct dns_options o = { conf->dns.servers, conf->dns.timeout_ms, conf->dns.tries };
	struct dns *dns;
	int err = dns_new(m->loop, &o, &dns, eb);

	if (err < 0)
		return err;
	struct resolver *r = mem_zalloc(sizeof(*r));
	r->refs = 1;
	r->dns = dns;
	r->cache = dnscache_new(dns, loop_clock, m->loop, prng_next(&m->rng));
	r->servers = mem_strdup(conf->dns.servers);
	r->timeout_ms = conf->dns.timeout_ms;
	r->tries = conf->dns.tries;
	lru_init(&r->shared, prng_next(&m->rng), RESOLVE_ENTRIES_MAX, RESOLVE_BYTES_MAX,
	    drop_shared);
	*r_r = r;
	return 0;
}

/* Counters go on. */
static int replace(struct mta *m, const struct conf *conf, struct resolver **r_r, struct errbuf *eb)
{
	int err = resolver_new(m, conf, r_r, eb);

	if (err == 0)
		resolver_stats(m->resolver, &(*r_r)->before);
	return err;
}

int resolver_renew(struct mta *m, const struct conf *conf, struct resolver **r_r, struct errbuf *eb)
{
	struct resolver *r = m->resolver;

	if (r->servers[0] == '\0' || strcmp(r->servers, conf->dns.servers) != 0 ||
	    r->timeout_ms != conf->dns.timeout_ms || r->tries != conf->dns.tries)
		return replace(m, conf, r_r, eb);
	*r_r = resolver_ref(r);
	return 0;
}

struct resolver *resolver_ref(struct resolver *r)
{
	r->refs++;
	return r;
}

void resolver_unref(struct resolver **rp)
{
	struct resolver *r = *rp;

	*rp = NULL;
	if (!r || --r->refs > 0)
		return;
	lru_fini(&r->shared);
	dnscache_free(&r->cache);
	dns_free(&r->dns);
	mem_free(r->servers);
	mem_free(r);
}

void resolver_forget(struct resolver *r)
{
	lru_clear(&r->shared);
}

void resolver_stats(const struct resolver *r, struct resolver_stats *st)
{
	const struct resolver_stats *b = &r->before;

	dnscache_stats(r->cache, &st->dns);
	st->shared = b->shared + r->shared_used;
	st->resolved = b->resolved + r->resolved;
	st->dns.hits += b->dns.hits;
	st->dns.misses += b->dns.misses;
	st->dns.stale += b->dns.stale;
	st->dns.queries += b->dns.queries;
}

/* --- the outcome ------------------------------------------------------------------- */

#define explain(r, ...) errbuf_set(&(r)->why, 0, __VA_ARGS__)

static bool is_permanent(enum verdict_finding finding)
{
	struct verdict v;

	verdict_of_finding(finding, &v);
	return v.kind == VERDICT_BOUNCE;
}

static int64_t mono_ms(const struct resolve *r)
{
	return loop_now(r->work.mta->loop).mono_ms;
}

/* Made and shared; handed over by the next step. */
static void complete(struct resolve *r, enum verdict_finding finding)
{
	resolution_site_of_source(&r->site, r->route);
	if (finding == VERDICT_FINDING_NONE)
		r->until_ms = MAX(r->until_ms, mono_ms(r) + RESOLVE_SHARED_MIN_MS);
	struct resolution draft = { .conf = r->conf,
		.finding = finding,
		.why = r->why.text,
		.site = finding == VERDICT_FINDING_NONE ? buf_cstr(&r->site) : "",
		.more_hosts = r->more_hosts,
		.until_ms = r->until_ms };

	r->made = resolution_new(&draft, r->candidates, r->candidates_n);
	share(r);
	mta_mark(&r->work);
}

static void fail(struct resolve *r, enum verdict_finding finding)
{
	char said[sizeof(r->why.text)];

	r->candidates_n = 0;
	if (r->stale && is_permanent(finding)) {
		snprintf(said, sizeof(said), "%s", r->why.text);
		explain(r, "the DNS fails; before that: %.400s", said);
		finding = VERDICT_FINDING_DNS_FAILED;
	}
	complete(r, finding);
}

static void on_step(struct mta_work *w, struct now now)
{
	struct resolve *r = container_of(w, struct resolve, work);

	(void)now;
	r->fn(r->arg, r->made);
}

/* Every answer that is used passes here. */
static void note(struct resolve *r, const struct dnscache_answer *a)
{
	r->stale |= a->stale;
	r->until_ms = MIN(r->until_ms, a->until_ms);
}

static uint16_t port_of(const struct resolve *r, const struct route_hop *hop)
{
	return hop ? hop->port : r->conf->outbound.port;
}

/* host: in r->hosts, or the hop's. */
static void add_candidate(struct resolve *r, const char *host, const struct netaddr *addr,
    const struct route_hop *hop, size_t rank)
{
	if (r->candidates_n == MX_CANDIDATES_MAX)
		return;
	struct resolution_candidate *c = &r->candidates[r->candidates_n++];
	*c = (struct resolution_candidate){ .host = host, .hop = hop, .rank = (uint8_t)rank };
	if (addr) {
		c->addr = *addr;
		c->addr.port = port_of(r, hop);
	} else {
		c->addr.family = NETADDR_UNIX;
	}
}

static struct mx_options options(const struct resolve *r)
{
	return (struct mx_options){
		.me = r->conf->me,
		.local = r->work.mta->local,
		.local_n = r->work.mta->local_n,
		.local_ok = r->conf->outbound.local_mx_ok || (r->route && r->route->hops_n > 0),
		.prefer = r->conf->outbound.inet_prefer,
	};
}

/* No address at all: why? Temporary as soon as one lookup failed. */
static void explain_no_candidate(struct resolve *r, bool loop)
{
	bool failed = false, any = false;

	for (size_t i = 0; i < r->hosts_n; i++) {
		failed |= r->hosts[i].lookup_failed;
		any |= r->hosts[i].addrs_n > 0;
	}
	if (failed) {
		explain(r, "address lookup for %s failed", r->hosts[0].name);
		fail(r, VERDICT_FINDING_DNS_FAILED);
	} else if (any && loop) {
		explain(r, "mail for %s loops back to myself", r->domain);
		fail(r, VERDICT_FINDING_MX_LOOP);
	} else if (any) {
		explain(r, "%s has only addresses that are never dialled", r->hosts[0].name);
		fail(r, VERDICT_FINDING_UNDIALABLE);
	} else if (r->implicit) {
		explain(r, "%s has neither MX nor address records", r->domain);
		fail(r, VERDICT_FINDING_NO_HOST);
	} else {
		explain(r, "no host for %s has an address", r->domain);
		fail(r, VERDICT_FINDING_NO_ADDRESS);
	}
}

static void choose_mx(struct resolve *r)
{
	struct mx_options o = options(r);
	struct mx_candidate out[MX_CANDIDATES_MAX];
	bool was_self = false, loop = false;

	size_t left = o.local_ok ? r->hosts_n : mx_remove_self(r->hosts, r->hosts_n, &o, &was_self);
	if (was_self && left == 0) {
		explain(r, "the MX hosts lead back to this host");
		fail(r, VERDICT_FINDING_MX_LOOP);
		return;
	}
	r->hosts_n = left;
	size_t n = mx_candidates(r->hosts, left, &o, out, &loop);
	for (size_t i = 0, rank = 0; i < n; i++) {
		if (i > 0 && out[i].host->preference != out[i - 1].host->preference)
			rank++;
		add_candidate(r, out[i].host->name, &out[i].addr, NULL, rank);
	}
	if (n == 0)
		explain_no_candidate(r, loop);
	else
		complete(r, VERDICT_FINDING_NONE);
}

/* Static routes keep their order; each hop's addresses follow one another. */
static void choose_hops(struct resolve *r)
{
	for (size_t i = 0; i < r->hosts_n; i++) {
		const struct route_hop *hop = r->hops[i];
		if (hop->unix_path[0]) {
			add_candidate(r, hop->unix_path, NULL, hop, i);
			continue;
		}
		struct mx_options o = options(r);
		struct mx_candidate out[MX_CANDIDATES_MAX];
		bool loop = false;
		size_t n = mx_candidates(&r->hosts[i], 1, &o, out, &loop);
		for (size_t k = 0; k < n; k++)
			add_candidate(r, hop->host, &out[k].addr, hop, i);
	}
	if (r->candidates_n == 0)
		explain_no_candidate(r, false);
	else
		complete(r, VERDICT_FINDING_NONE);
}

static void collect_addresses(struct resolve *r)
{
	for (size_t i = 0; i < r->lookups_n; i++) {
		struct lookup *l = &r->lookups[i];
		struct mx_host *h = &r->hosts[l->host];
		for (size_t k = 0; k < l->addrs_n && h->addrs_n < MX_HOST_ADDRS_MAX; k++)
			h->addrs[h->addrs_n++] = l->addrs[k];
	}
}

static void choose(struct resolve *r)
{
	collect_addresses(r);
	for (size_t i = 0; i < r->hosts_n; i++)
		r->more_hosts |= r->hosts[i].lookup_failed;
	if (r->route && r->route->hops_n > 0)
		choose_hops(r);
	else
		choose_mx(r);
}

static void take_address(struct lookup *l, const struct dnscache_answer *a)
{
	struct resolve *r = l->resolve;
	const struct dns_answer *dns = &a->dns;

	note(r, a);
	for (size_t i = 0;
	     dns->outcome == DNS_OK && i < dns->records_n && l->addrs_n < ARRAY_LEN(l->addrs); i++)
		l->addrs[l->addrs_n++] = dns->records[i].address;
	if (dns->outcome == DNS_FAILED)
		r->hosts[l->host].lookup_failed = true;
}

static void on_address(void *arg, const struct dnscache_answer *a)
{
	struct lookup *l = arg;

	take_address(l, a);
	if (--l->resolve->lookups_open == 0)
		choose(l->resolve);
}

static void ask_address(struct resolve *r, size_t host, enum dns_type type)
{
	const char *name = r->hosts[host].name;
	struct lookup *l = &r->lookups[r->lookups_n++];
	const struct dnscache_answer *a = dnscache_find(r->resolver->cache, name, type, mono_ms(r));

	*l = (struct lookup){ .resolve = r, .host = host };
	if (a) {
		take_address(l, a);
		return;
	}
	r->lookups_open++;
	dnscache_ask(r->resolver->cache, name, type, &l->wait, on_address, l);
}

static void ask_addresses(struct resolve *r)
{
	for (size_t i = 0; i < r->hosts_n; i++) {
		if (r->hosts[i].addrs_n > 0 || r->hosts[i].name[0] == '\0')
			continue; /* an address already, or a unix socket */
		ask_address(r, i, DNS_TYPE_AAAA);
		ask_address(r, i, DNS_TYPE_A);
	}
	if (r->lookups_open == 0)
		choose(r);
}

static struct mx_host *add_host(struct resolve *r, uint16_t preference, const char *name)
{
	CHECK(r->hosts_n < MX_HOSTS_MAX);
	struct mx_host *h = &r->hosts[r->hosts_n++];
	h->preference = preference;
	h->addrs_n = 0;
	h->lookup_failed = false;
	snprintf(h->name, sizeof(h->name), "%s", name);
	return h;
}

static void take_mx(struct resolve *r, const struct dns_answer *a)
{
	struct mx_host all[DNS_RECORDS_MAX];
	struct mx_options o = options(r);
	bool was_self = false;

	for (size_t i = 0; i < a->records_n; i++) {
		all[i].preference = a->records[i].preference;
		all[i].addrs_n = 0;
		all[i].lookup_failed = false;
		snprintf(all[i].name, sizeof(all[i].name), "%s", a->records[i].name);
	}
	if (mx_is_null(all, a->records_n)) {
		explain(r, "the domain accepts no mail (null MX)");
		fail(r, VERDICT_FINDING_NULL_MX);
		return;
	}
	size_t n = mx_sort(all, a->records_n);
	if (!o.local_ok)
		n = mx_remove_self(all, n, &o, &was_self);
	resolution_site_of_mx(&r->site, all, n);
	n = mx_pick(all, n, &r->work.mta->rng);
	if (n == 0) {
		explain(r, was_self ? "the MX hosts lead back to this host"
				    : "no usable name among the MX hosts");
		fail(r, was_self ? VERDICT_FINDING_MX_LOOP : VERDICT_FINDING_NO_ADDRESS);
		return;
	}
	r->hosts_n = MIN(n, RESOLVE_LOOKUP_HOSTS_MAX);
	r->more_hosts = n > r->hosts_n;
	memcpy(r->hosts, all, r->hosts_n * sizeof(*all));
	ask_addresses(r);
}

static void take_mx_answer(struct resolve *r, const struct dnscache_answer *a)
{
	note(r, a);
	switch (a->dns.outcome) {
	case DNS_OK:
		take_mx(r, &a->dns);
		break;
	case DNS_NODATA: /* implicit MX, RFC 5321 5.1 */
		r->implicit = true;
		resolution_site_of_mx(&r->site, add_host(r, 0, r->domain), 1);
		ask_addresses(r);
		break;
	case DNS_NXDOMAIN:
		explain(r, "domain %s does not exist", r->domain);
		fail(r, VERDICT_FINDING_NXDOMAIN);
		break;
	case DNS_FAILED:
	case DNS_NONE:
		explain(r, "MX lookup for %s: %s", r->domain, a->dns.text);
		fail(r, VERDICT_FINDING_DNS_FAILED);
		break;
	}
}

static void on_mx(void *arg, const struct dnscache_answer *a)
{
	take_mx_answer(arg, a);
}

static void ask_mx(struct resolve *r)
{
	struct dnscache *cache = r->resolver->cache;
	const struct dnscache_answer *a = dnscache_find(cache, r->domain, DNS_TYPE_MX, mono_ms(r));

	if (a)
		take_mx_answer(r, a);
	else
		dnscache_ask(cache, r->domain, DNS_TYPE_MX, &r->mx_wait, on_mx, r);
}

static void start_hops(struct resolve *r)
{
	resolution_site_of_hops(&r->site, r->route);
	for (size_t i = 0; i < r->route->hops_n; i++) {
		const struct route_hop *hop = &r->route->hops[i];
		struct mx_host *h = add_host(r, (uint16_t)i, hop->unix_path[0] ? "" : hop->host);
		r->hops[i] = hop;
		if (!hop->unix_path[0] && netaddr_parse_ip(slice_str(hop->host), &h->addrs[0]) == 0)
			h->addrs_n = 1;
	}
	ask_addresses(r);
}

static bool start_literal(struct resolve *r)
{
	struct slice text = slice_str(r->domain);
	struct netaddr addr;

	if (text.n < 3 || text.p[0] != '[')
		return false;
	text = slice_of(text.p + 1, text.n - 2);
	if (slice_starts_nocase(text, SLICE("IPv6:")))
		text = slice_from(text, 5);
	if (netaddr_parse_ip(text, &addr) < 0) {
		explain(r, "not an address");
		fail(r, VERDICT_FINDING_NO_HOST);
		return true;
	}
	struct mx_host *h = add_host(r, 0, r->domain);
	h->addrs[h->addrs_n++] = addr;
	resolution_site_of_mx(&r->site, h, 1);
	choose_mx(r);
	return true;
}

struct resolve *resolve_start(struct mta *m, struct conf *conf, const struct route *route,
    const char *domain, resolve_done_fn *fn, void *arg)
{
	struct resolve *r = mem_zalloc(sizeof(*r));

	mta_work_init(&r->work, m, on_step);
	r->resolver = resolver_ref(m->resolver);
	r->resolver->resolved++;
	r->conf = conf;
	r->route = route;
	r->domain = mem_strdup(domain);
	r->fn = fn;
	r->arg = arg;
	r->until_ms = mono_ms(r) + RESOLVE_SHARED_MS;
	buf_init(&r->site, RESOLUTION_SITE_MAX);
	if (route && route->hops_n > 0)
		start_hops(r);
	else if (!start_literal(r))
		ask_mx(r);
	return r;
}

void resolve_free(struct resolve **rp)
{
	struct resolve *r = *rp;

	if (!r)
		return;
	*rp = NULL;
	dnscache_cancel(&r->mx_wait);
	for (size_t i = 0; i < r->lookups_n; i++)
		dnscache_cancel(&r->lookups[i].wait);
	mta_work_fini(&r->work);
	resolver_unref(&r->resolver);
	resolution_unref(&r->made);
	buf_fini(&r->site);
	mem_free(r->domain);
	mem_free(r);
}
