#include "sim/sim_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_check.h"
#include "sim/sim_io.h"
#include "sim/sim_peer.h"
#include "sim/sim_said.h"
#include "sim/sim_traffic.h"

#define NET_ROUTES    3
#define NET_KNOWN_MS  (10 * SIM_MINUTE) /* attempts begun before it was known are over */
#define NET_FORGET_MS SIM_DAY           /* since the last dial: nobody remembers */
#define NET_ASKED_MS  (6 * SIM_MINUTE)  /* how long what the operator asks for may move probes */
/* From the start of a probe to its last dial: questions to the DNS, hosts before that one. */
#define NET_PROBE_MS  (2 * SIM_MINUTE)
#define NET_STORM_MS  (10 * SIM_MINUTE)
#define NET_STORM     150 /* dials in that time; probes and attempts under way are far fewer */

static struct {
	struct sim_net_options options;
	struct sim_domain *domains;
	const struct sim_domain
	    *routes[NET_ROUTES]; /* the domain whose hosts it goes to, or NULL */
	const struct sim_domain *shunned;
} net;

static const char *const character_names[] = {
	[SIM_HOST_ACCEPTS] = "accepts",
	[SIM_HOST_GREYLISTS] = "greylists",
	[SIM_HOST_TARPITS] = "tarpits",
	[SIM_HOST_421S] = "421s",
	[SIM_HOST_HANGS_UP] = "hangs-up",
	[SIM_HOST_BYTEWISE] = "bytewise",
	[SIM_HOST_GARBAGE] = "garbage",
	[SIM_HOST_BAD_TLS] = "bad-tls",
	[SIM_HOST_DOT_5XX] = "dot-5xx",
	[SIM_HOST_DOT_4XX] = "dot-4xx",
	[SIM_HOST_MIXED] = "mixed",
	[SIM_HOST_TOO_MANY] = "too-many",
	[SIM_HOST_FULL] = "full",
	[SIM_HOST_REFUSES] = "refuses",
	[SIM_HOST_521] = "521",
	[SIM_HOST_554] = "554",
	[SIM_HOST_SILENT] = "silent",
	[SIM_HOST_NARROW] = "narrow",
	[SIM_HOST_METERED] = "metered",
};

_Static_assert(ARRAY_LEN(character_names) == SIM_HOST_N, "each has a name");

const char *sim_character_name(enum sim_character c)
{
	return character_names[c];
}

/* --- making it ---------------------------------------------------------------------- */

static void make_host(struct sim_domain *d, size_t i, bool wild)
{
	struct sim_host *h = &d->own[i];
	unsigned n = d->number * SIM_HOSTS_PER_DOMAIN + (unsigned)i;

	h->domain = d;
	h->number = n;
	snprintf(h->name, sizeof(h->name), "mx%zu.%s", i, d->name);
	h->address = (struct netaddr){ .family = NETADDR_V4,
		.ip = { 10, (uint8_t)(n >> 8), (uint8_t)n, 1 } };
	h->character = wild ? (enum sim_character)sim_below(SIM_HOST_N) : SIM_HOST_ACCEPTS;
	h->tls = sim_chance(40) || h->character == SIM_HOST_BAD_TLS;
	h->chunking = sim_chance(50);
	h->bdat_unknown = h->chunking && wild && sim_chance(20);
	sim_traffic_init(h);
	h->latency_ms = (int)sim_between(1, 150);
	h->blackhole = sim_chance(50);
	h->reuse = sim_chance(50) ? (enum sim_reuse)sim_below(SIM_REUSE_N) : SIM_REUSE_FINE;
	h->patience = (unsigned)sim_between(1, 5);
	if (sim.calm) {
		h->latency_ms = 1;
		h->reuse = SIM_REUSE_FINE;
	}
	if (!wild || !sim_chance(25))
		return;
	h->down_from_ms = sim_between(0, SIM_DAY);
	h->down_until_ms =
	    h->down_from_ms + (sim_chance(50) ? 2 * SIM_DAY : sim_between(SIM_MINUTE, SIM_DAY));
}

static bool is_prompt(const struct sim_domain *d)
{
	if (d->dns != SIM_DNS_NORMAL && d->dns != SIM_DNS_IMPLICIT)
		return false;
	for (size_t i = 0; i < d->hosts_n; i++) {
		const struct sim_host *h = &d->hosts[i];
		if (h->down_until_ms > 0 || h->character == SIM_HOST_TARPITS ||
		    h->character == SIM_HOST_SILENT || h->character == SIM_HOST_GARBAGE ||
		    h->character == SIM_HOST_BAD_TLS || h->character == SIM_HOST_HANGS_UP ||
		    h->character == SIM_HOST_BYTEWISE || h->reuse == SIM_REUSE_DOT ||
		    h->reuse == SIM_REUSE_SLOW || h->character == SIM_HOST_METERED)
			return false;
	}
	return true;
}

static void make_domain(struct sim_domain *d, unsigned number)
{
	bool wild = sim_chance(net.options.wild_percent);

	d->number = number;
	snprintf(d->name, sizeof(d->name), "d%u.test", number);
	if (wild && sim_chance(40))
		d->dns = (enum sim_dns_kind)sim_between(SIM_DNS_IMPLICIT, SIM_DNS_CHANGING);
	if (d->dns == SIM_DNS_OUTAGE || d->dns == SIM_DNS_LAPSED) {
		d->outage_from_ms = sim_between(0, SIM_DAY);
		d->outage_until_ms = d->outage_from_ms + sim_between(SIM_MINUTE, 2 * SIM_DAY);
	}
	d->same_preference = sim_chance(50);
	d->hosts_n = d->dns == SIM_DNS_IMPLICIT ? 1 : 1 + (size_t)sim_below(SIM_HOSTS_PER_DOMAIN);
	if (d->dns == SIM_DNS_LAME || d->dns == SIM_DNS_CHANGING)
		d->hosts_n = MAX(d->hosts_n, 2);
	for (size_t i = 0; i < d->hosts_n; i++)
		make_host(d, i, wild && sim_chance(70));
	/* A host of the past that still stands first. */
	if (d->hosts_n > 1 && !d->same_preference && sim_chance(10) && !sim.calm)
		d->own[0].character = SIM_HOST_554;
	d->hosts = d->own;
	d->site = mem_zalloc(sizeof(*d->site));
	d->site->domains = 1;
	snprintf(d->site->name, sizeof(d->site->name), "%s", d->name);
}

static void share(struct sim_domain *d, const struct sim_domain *owner)
{
	d->hosts = owner->hosts;
	d->hosts_n = owner->hosts_n;
	mem_free(d->site);
	d->site = owner->site;
	d->site->domains++;
}

/* All below rN.test goes to the hosts of the first of them; the DNS is asked for their addresses
 * only. */
static void make_routed(struct sim_domain *d, unsigned route)
{
	const struct sim_domain *owner = net.routes[route];

	snprintf(d->name, sizeof(d->name), "d%u.r%u.test", d->number, route);
	d->dns = SIM_DNS_NORMAL;
	if (owner) {
		share(d, owner);
		return;
	}
	for (size_t i = 0; i < d->hosts_n; i++)
		snprintf(d->own[i].name, sizeof(d->own[i].name), "mx%zu.%s", i, d->name);
	snprintf(d->site->name, sizeof(d->site->name), "*.r%u.test", route);
	d->site->is_route = true;
	net.routes[route] = d;
}

static void settle(struct sim_domain *d)
{
	uint64_t luck = sim_below(100);

	if (luck < 6) {
		make_routed(d, (unsigned)sim_below(NET_ROUTES));
	} else if (luck < 14 && d->number > 0 && d->dns == SIM_DNS_NORMAL) {
		const struct sim_domain *other = &net.domains[sim_below(d->number)];
		if (other->dns == SIM_DNS_NORMAL && !other->site->is_route)
			share(d, other);
	}
	d->prompt = is_prompt(d);
}

void sim_net_write_routes(FILE *config)
{
	char ip[NETADDR_TEXT_MAX];
	const char *comma = "";

	fprintf(config, "routes = (");
	for (unsigned i = 0; i < NET_ROUTES; i++) {
		const struct sim_domain *d = net.routes[i];
		if (!d)
			continue;
		fprintf(config, "%s\n { domain = \"*.r%u.test\"; mx = [", comma, i);
		for (size_t k = 0; k < d->hosts_n; k++)
			fprintf(config, "%s\"%s\"", k ? ", " : " ",
			    k == 1 ? netaddr_format_ip(&d->hosts[k].address, ip)
				   : d->hosts[k].name);
		fprintf(config, " ]; }");
		comma = ",";
	}
	fprintf(config, " );\n");
}

/* Sets of hosts, in the eyes of the daemon: those of a site have one order of preference or
 * another, or come and go. */
static void count_sets(void)
{
	for (size_t i = 0; i < net.options.domains; i++) {
		struct sim_domain *d = &net.domains[i];
		bool flat = d->same_preference || d->hosts_n == 1 || d->site->is_route;
		if (d->dns == SIM_DNS_CHANGING)
			d->site->sets = (unsigned)d->hosts_n;
		else if (flat && !d->site->has_flat)
			d->site->sets++;
		else if (!flat && !d->site->has_ranked)
			d->site->sets++;
		d->site->has_flat |= flat;
		d->site->has_ranked |= !flat;
	}
}

void sim_net_init(const struct sim_net_options *o)
{
	net.options = *o;
	net.domains = mem_zalloc(o->domains * sizeof(*net.domains));
	for (size_t i = 0; i < o->domains; i++)
		make_domain(&net.domains[i], (unsigned)i);
	for (size_t i = 0; i < o->domains; i++)
		settle(&net.domains[i]);
	count_sets();
}

struct sim_domain *sim_net_any(void)
{
	struct sim_domain *d;

	do
		d = &net.domains[sim_below(net.options.domains)];
	while (d == net.shunned);
	return d;
}

void sim_net_shun(const struct sim_domain *d)
{
	net.shunned = d;
}

struct sim_domain *sim_net_find(struct slice name)
{
	for (size_t i = 0; i < net.options.domains; i++)
		if (slice_eq_nocase(slice_str(net.domains[i].name), name))
			return &net.domains[i];
	return NULL;
}

/* --- DNS -------------------------------------------------------------------------------- */

/* A mishap, by chance. */
static bool happens(unsigned permille)
{
	return sim_permille(permille) && !sim.calm;
}

static void fail(struct sim_dns_reply *r, const char *why)
{
	r->answer.outcome = DNS_FAILED;
	snprintf(r->answer.text, sizeof(r->answer.text), "%s", why);
}

static void add(struct sim_dns_reply *r, uint16_t preference, const char *name,
    const struct netaddr *address)
{
	struct dns_record *rec = &r->records[r->answer.records_n++];

	*rec = (struct dns_record){ .preference = preference };
	snprintf(rec->name, sizeof(rec->name), "%s", name);
	if (address)
		rec->address = *address;
	r->answer.outcome = DNS_OK;
}

static void answer_mx(const struct sim_domain *d, struct sim_dns_reply *r)
{
	size_t first = 0, n = d->hosts_n;

	if (d->dns == SIM_DNS_NULL_MX) {
		add(r, 0, "", NULL);
		return;
	}
	if (d->dns == SIM_DNS_IMPLICIT) {
		r->answer.outcome = DNS_NODATA;
		return;
	}
	if (d->dns == SIM_DNS_CHANGING) {
		first = d->number % 2 ? (size_t)sim_below(d->hosts_n)
				      : (size_t)(sim.now_ms / (5 * SIM_HOUR)) % d->hosts_n;
		n = 1;
	}
	for (size_t i = first; i < first + n; i++)
		add(r, (uint16_t)(d->same_preference ? 10 : 10 * (i + 1)), d->hosts[i].name, NULL);
}

static void answer_a(const struct sim_domain *d, const char *name, struct sim_dns_reply *r)
{
	r->answer.outcome = DNS_NODATA;
	if (d->dns == SIM_DNS_IMPLICIT && strcmp(name, d->name) == 0)
		add(r, 0, "", &d->hosts[0].address);
	for (size_t i = 0; i < d->hosts_n; i++) {
		if (strcmp(d->hosts[i].name, name) != 0)
			continue;
		if (d->dns == SIM_DNS_LAME && i == 0)
			r->answer.outcome = DNS_NXDOMAIN;
		else
			add(r, 0, "", &d->hosts[i].address);
	}
}

/* In an outage, or lapsed. */
static bool is_out(const struct sim_domain *d, enum sim_dns_kind kind)
{
	return d->dns == kind && sim.now_ms >= d->outage_from_ms && sim.now_ms < d->outage_until_ms;
}

struct sim_domain *sim_net_find_owner(const char *name)
{
	struct sim_domain *d = sim_net_find(slice_str(name));
	ptrdiff_t dot = slice_find(slice_str(name), '.');

	return d || dot < 0 ? d : sim_net_find(slice_from(slice_str(name), (size_t)dot + 1));
}

bool sim_net_dooms(void)
{
	return net.options.doom_permille > 0;
}

/* Each record has its own, from none to a week. */
static uint32_t ttl_of(const char *name, enum dns_type type)
{
	static const uint32_t ttls_s[] = { 0, 1, 5, 30, 60, 300, 900, 3600, 14400, 86400, 604800 };
	uint64_t sum = type;

	for (; *name; name++)
		sum = sim_hash(sum, (unsigned char)*name);
	return sim.calm ? 60 : ttls_s[sim_hash(sim.seed, sum) % ARRAY_LEN(ttls_s)];
}

struct sim_site *sim_dns_site(const char *name)
{
	const struct sim_domain *d = sim_net_find_owner(name);

	return d ? d->site : NULL;
}

void sim_dns_ask(const char *name, enum dns_type type, struct sim_dns_reply *r)
{
	const struct sim_domain *d = sim_net_find_owner(name);

	r->answer = (struct dns_answer){ .outcome = DNS_NXDOMAIN, .ttl_s = ttl_of(name, type) };
	/* Never at once: each question shows among the things the daemon did. */
	r->delay_ms = sim_chance(95) ? sim_between(1, 80) : sim_between(80, 3000);
	if (sim.calm)
		r->delay_ms = 1;
	r->silent = happens(2) || (d && is_out(d, SIM_DNS_OUTAGE) && sim_chance(50));
	if (!d || d->dns == SIM_DNS_NXDOMAIN)
		return;
	bool stammers = d->dns == SIM_DNS_FLAKY || d->dns == SIM_DNS_LAPSED;
	if (is_out(d, SIM_DNS_OUTAGE) || happens(5) || (stammers && sim_chance(40)))
		fail(r, "SERVFAIL");
	else if (is_out(d, SIM_DNS_LAPSED))
		r->answer.outcome = DNS_NXDOMAIN;
	else if (type == DNS_TYPE_MX)
		answer_mx(d, r);
	else if (type == DNS_TYPE_A)
		answer_a(d, name, r);
	else
		r->answer.outcome = DNS_NODATA;
}

/* --- dialling ------------------------------------------------------------------------------ */

static struct sim_host *host_at(const struct netaddr *a)
{
	size_t n = (size_t)a->ip[1] << 8 | a->ip[2];
	size_t d = n / SIM_HOSTS_PER_DOMAIN, i = n % SIM_HOSTS_PER_DOMAIN;

	if (a->family != NETADDR_V4 || a->ip[0] != 10 || d >= net.options.domains ||
	    i >= SIM_HOSTS_PER_DOMAIN)
		return NULL;
	return &net.domains[d].own[i];
}

static bool is_down(const struct sim_host *h)
{
	return sim.now_ms >= h->down_from_ms && sim.now_ms < h->down_until_ms;
}

static bool is_dead(const struct sim_domain *d)
{
	bool dead = true;

	for (size_t i = 0; i < d->hosts_n; i++)
		dead = dead && is_down(&d->hosts[i]);
	return dead;
}

/* Where nobody answers for a while the daemon must know: one connection at a time, and each host
 * no more often than the back-off of probes allows. */
static void watch_probes(struct sim_host *h)
{
	static const int64_t delays_s[] = { 30, 60, 120, 240, 300 };
	struct sim_domain *d = h->domain;
	int64_t last_ms = h->dialled_ms;

	/* Whose turn it is can't be seen where domains share it; and other hosts than those that
	 * were named before are another site, of which nothing is known. */
	if (!is_dead(d) || d->site->domains > 1 || d->site->sets > 1) {
		d->dead_since_ms = 0;
		return;
	}
	if (!d->dead_since_ms || d->dead_life != sim.lives_n || d->talked_ms >= d->dead_since_ms ||
	    (last_ms && sim.now_ms - last_ms >= NET_FORGET_MS)) {
		d->dead_since_ms = sim.now_ms;
		d->dead_life = sim.lives_n;
		for (size_t i = 0; i < d->hosts_n; i++)
			d->hosts[i].dialled_ms = d->hosts[i].probes = 0;
		last_ms = 0;
	}
	h->dialled_ms = sim.now_ms;
	int64_t gap_ms = sim.now_ms - last_ms;
	if (sim.now_ms - d->dead_since_ms < NET_KNOWN_MS)
		return;
	if (d->site->open > 0)
		sim_violation("%u connections to %s, which is known to be dead", d->site->open + 1,
		    d->name);
	if (!last_ms)
		return;
	/* What is asked for while a probe is under way is for the next one. */
	if (gap_ms < delays_s[0] * SIM_SECOND &&
	    !sim_check_was_asked(last_ms - NET_PROBE_MS, sim.now_ms))
		sim_violation("%s, known to be dead, is dialled again after %lld ms", h->name,
		    (long long)gap_ms);
	if (gap_ms < delays_s[h->probes] * SIM_SECOND &&
	    !sim_check_was_asked(last_ms - NET_ASKED_MS, sim.now_ms))
		sim_violation("%s, dead and probed %u times, is dialled again after %lld ms",
		    h->name, h->probes, (long long)gap_ms);
	if (!sim_check_was_asked(last_ms, sim.now_ms))
		h->probes = MIN(h->probes + 1, (unsigned)ARRAY_LEN(delays_s) - 1);
}

/* To dial a host again and again, and the site never hears of any mail, helps nobody. */
static void watch_storm(struct sim_host *h)
{
	const struct sim_site *s = h->domain->site;

	if (s->mail_ms >= h->storm_ms || sim.now_ms - h->storm_ms > NET_STORM_MS) {
		h->storm_ms = MAX(sim.now_ms, 1);
		h->storm_n = 0;
	}
	if (++h->storm_n == NET_STORM)
		sim_violation("%s is dialled %u times in %lld ms, and %s is told of no mail",
		    h->name, h->storm_n, (long long)(sim.now_ms - h->storm_ms), s->name);
}

void sim_dial(const struct netaddr *to, struct sim_dialed *r)
{
	struct sim_host *h = host_at(to);

	CHECK(h != NULL); /* the daemon dials what the DNS said */
	*r = (struct sim_dialed){
		.delay_ms = h->latency_ms,
		.link = { .latency_ms = h->latency_ms,
		    .bytewise = h->character == SIM_HOST_BYTEWISE,
		    .doom = net.options.doom_permille },
		.site = h->domain->site,
	};
	const struct sim_site *s = h->domain->site;
	if (s->open + 1 > sim_busy_site_limit() * s->sets)
		sim_violation("%u connections to %s at once", s->open + 1, s->name);
	if (sim_busy_open_now() + 1 > sim_busy_all_limit())
		sim_violation("%u connections in all", sim_busy_open_now() + 1);
	h->dials++;
	sim_traffic_dial(h);
	sim_said_dialled(h);
	watch_probes(h);
	watch_storm(h);
	if (is_down(h)) {
		r->error = h->blackhole ? ERR_TIMEOUT : -ECONNREFUSED;
		return;
	}
	if (happens(3)) {
		r->error = sim_chance(50) ? ERR_TIMEOUT : -ENETUNREACH;
		return;
	}
	r->party = sim_peer_party();
	r->arg = sim_peer_new(h);
	r->joined = sim_peer_joined;
}
