#include "core/resolve.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct resolver {
	struct dns *dns;
	unsigned refs;
};

struct lookup { /* one A or AAAA question */
	struct resolve *resolve;
	struct dns_query *query;
	size_t host; /* index into hosts */
	bool is_v6;
	struct netaddr addrs[MX_HOST_ADDRS_MAX / 2];
	size_t addrs_n;
};

struct resolve {
	struct mta_work work; /* marked when the outcome is known without waiting */
	struct resolver *resolver;
	const struct conf *conf;
	const struct route *route;
	char *domain;
	resolve_done_fn *fn;
	void *arg;
	struct dns_query *mx_query;
	bool implicit; /* no MX: the domain itself */
	struct mx_host hosts[MX_HOSTS_MAX];
	size_t hosts_n;
	const struct route_hop *hops[MX_HOSTS_MAX]; /* per host, for static routes */
	struct lookup lookups[2 * MX_HOSTS_MAX];
	size_t lookups_n, lookups_open;
	struct resolve_result result;
};

int resolver_new(struct loop *l, const struct conf *conf, struct resolver **r_r, struct errbuf *eb)
{
	struct dns_options o = { conf->dns.servers, conf->dns.timeout_ms, conf->dns.tries };
	struct dns *dns;
	int err = dns_new(l, &o, &dns, eb);

	if (err < 0)
		return err;
	*r_r = mem_zalloc(sizeof(**r_r));
	(*r_r)->dns = dns;
	(*r_r)->refs = 1;
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
	dns_free(&r->dns);
	mem_free(r);
}

static void finish(struct resolve *r)
{
	r->fn(r->arg, &r->result);
}

static void fail(struct resolve *r, enum verdict_finding finding)
{
	r->result.finding = finding;
	mta_mark(&r->work);
}

#define explain(r, ...) errbuf_set(&(r)->result.why, 0, __VA_ARGS__)

static void on_step(struct mta_work *w, struct now now)
{
	(void)now;
	finish(container_of(w, struct resolve, work));
}

static uint16_t port_of(const struct resolve *r, const struct route_hop *hop)
{
	return hop ? hop->port : r->conf->outbound.port;
}

static void add_candidate(struct resolve *r, const char *host, const struct netaddr *addr,
    const struct route_hop *hop)
{
	if (r->result.candidates_n == MX_CANDIDATES_MAX)
		return;
	struct resolve_candidate *c = &r->result.candidates[r->result.candidates_n++];
	snprintf(c->host, sizeof(c->host), "%s", host);
	c->hop = hop;
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
	for (size_t i = 0; i < n; i++)
		add_candidate(r, out[i].host->name, &out[i].addr, NULL);
	if (n == 0)
		explain_no_candidate(r, loop);
	else
		mta_mark(&r->work);
}

/* Static routes keep their order; each hop's addresses follow one another. */
static void choose_hops(struct resolve *r)
{
	for (size_t i = 0; i < r->hosts_n; i++) {
		const struct route_hop *hop = r->hops[i];
		if (hop->unix_path[0]) {
			add_candidate(r, hop->unix_path, NULL, hop);
			continue;
		}
		struct mx_options o = options(r);
		struct mx_candidate out[MX_CANDIDATES_MAX];
		bool loop = false;
		size_t n = mx_candidates(&r->hosts[i], 1, &o, out, &loop);
		for (size_t k = 0; k < n; k++)
			add_candidate(r, hop->host, &out[k].addr, hop);
	}
	if (r->result.candidates_n == 0)
		explain_no_candidate(r, false);
	else
		mta_mark(&r->work);
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
		r->result.more_hosts |= r->hosts[i].lookup_failed;
	if (r->route && r->route->hops_n > 0)
		choose_hops(r);
	else
		choose_mx(r);
}

static void on_address(void *arg, const struct dns_answer *a)
{
	struct lookup *l = arg;
	struct resolve *r = l->resolve;

	l->query = NULL;
	for (size_t i = 0;
	     a->outcome == DNS_OK && i < a->records_n && l->addrs_n < ARRAY_LEN(l->addrs); i++)
		l->addrs[l->addrs_n++] = a->records[i].address;
	if (a->outcome == DNS_FAILED)
		r->hosts[l->host].lookup_failed = true;
	if (--r->lookups_open == 0)
		choose(r);
}

static void ask_address(struct resolve *r, size_t host, bool v6)
{
	struct lookup *l = &r->lookups[r->lookups_n++];
	*l = (struct lookup){ .resolve = r, .host = host, .is_v6 = v6 };
	r->lookups_open++;
	l->query = dns_lookup(r->resolver->dns, r->hosts[host].name,
	    v6 ? DNS_TYPE_AAAA : DNS_TYPE_A, on_address, l);
}

static void ask_addresses(struct resolve *r)
{
	for (size_t i = 0; i < r->hosts_n; i++) {
		if (r->hosts[i].addrs_n > 0 || r->hosts[i].name[0] == '\0')
			continue; /* an address already, or a unix socket */
		ask_address(r, i, true);
		ask_address(r, i, false);
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
	size_t n = mx_sort(all, a->records_n, &r->work.mta->rng);
	if (!o.local_ok)
		n = mx_remove_self(all, n, &o, &was_self);
	if (n == 0) {
		explain(r, was_self ? "the MX hosts lead back to this host"
				    : "no usable name among the MX hosts");
		fail(r, was_self ? VERDICT_FINDING_MX_LOOP : VERDICT_FINDING_NO_ADDRESS);
		return;
	}
	r->hosts_n = MIN(n, RESOLVE_LOOKUP_HOSTS_MAX);
	r->result.more_hosts = n > r->hosts_n;
	memcpy(r->hosts, all, r->hosts_n * sizeof(*all));
	ask_addresses(r);
}

static void on_mx(void *arg, const struct dns_answer *a)
{
	struct resolve *r = arg;

	r->mx_query = NULL;
	switch (a->outcome) {
	case DNS_OK:
		take_mx(r, a);
		break;
	case DNS_NODATA: /* implicit MX, RFC 5321 5.1 */
		r->implicit = true;
		add_host(r, 0, r->domain);
		ask_addresses(r);
		break;
	case DNS_NXDOMAIN:
		explain(r, "domain %s does not exist", r->domain);
		fail(r, VERDICT_FINDING_NXDOMAIN);
		break;
	case DNS_FAILED:
	case DNS_NONE:
		explain(r, "MX lookup for %s: %s", r->domain, a->text);
		fail(r, VERDICT_FINDING_DNS_FAILED);
		break;
	}
}

static void start_hops(struct resolve *r)
{
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
	choose_mx(r);
	return true;
}

struct resolve *resolve_start(struct mta *m, const struct conf *conf, const struct route *route,
    const char *domain, resolve_done_fn *fn, void *arg)
{
	struct resolve *r = mem_zalloc(sizeof(*r));

	mta_work_init(&r->work, m, on_step);
	r->resolver = resolver_ref(m->resolver);
	r->conf = conf;
	r->route = route;
	r->domain = mem_strdup(domain);
	r->fn = fn;
	r->arg = arg;
	if (route && route->hops_n > 0)
		start_hops(r);
	else if (!start_literal(r))
		r->mx_query = dns_lookup(r->resolver->dns, domain, DNS_TYPE_MX, on_mx, r);
	return r;
}

void resolve_free(struct resolve **rp)
{
	struct resolve *r = *rp;

	if (!r)
		return;
	*rp = NULL;
	dns_cancel(&r->mx_query);
	for (size_t i = 0; i < r->lookups_n; i++)
		dns_cancel(&r->lookups[i].query);
	mta_work_fini(&r->work);
	resolver_unref(&r->resolver);
	mem_free(r->domain);
	mem_free(r);
}
