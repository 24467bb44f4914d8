/*
 * mx.c - which hosts, which of their addresses, in which order.
 */
#include "policy/mx.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define ELIGIBLE_MAX (MX_HOSTS_MAX * MX_HOST_ADDRS_MAX)

static struct slice without_dot(struct slice name)
{
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	return name;
}

static bool is_root(const struct mx_host *h)
{
	return without_dot(slice_str(h->name)).n == 0;
}

/* An address where a name must be: forbidden by RFC 1035 3.3.9, and no name to look up. */
static bool is_ip_text(const struct mx_host *h)
{
	struct netaddr unused;
	return netaddr_parse_ip(without_dot(slice_str(h->name)), &unused) == 0;
}

bool mx_is_null(const struct mx_host *hosts, size_t n)
{
	return n == 1 && is_root(&hosts[0]);
}

/* One spelling per host: names are compared, shown and used as keys of sites. */
static void normalise(struct mx_host *h)
{
	size_t n = without_dot(slice_str(h->name)).n;
	h->name[n] = '\0';
	slice_lower(h->name, n);
}

static int by_preference_and_name(const void *a, const void *b)
{
	const struct mx_host *x = a;
	const struct mx_host *y = b;
	if (x->preference != y->preference)
		return x->preference < y->preference ? -1 : 1;
	return strcmp(x->name, y->name);
}

static size_t drop_bad(struct mx_host *hosts, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (is_root(&hosts[i]) || is_ip_text(&hosts[i]))
			continue;
		if (kept != i)
			hosts[kept] = hosts[i];
		normalise(&hosts[kept++]);
	}
	return kept;
}

/* Of a host listed twice the better preference counts; hosts are sorted. */
static size_t drop_duplicates(struct mx_host *hosts, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		bool seen = false;
		for (size_t k = 0; k < kept && !seen; k++)
			seen = strcmp(hosts[k].name, hosts[i].name) == 0;
		if (seen)
			continue;
		if (kept != i)
			hosts[kept] = hosts[i];
		kept++;
	}
	return kept;
}

/* Fisher-Yates: every order of equals is equally likely (RFC 5321 5.1 asks for it). */
static void shuffle(struct mx_host *hosts, size_t n, struct prng *rng)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)prng_below(rng, i);
		struct mx_host tmp = hosts[i - 1];
		hosts[i - 1] = hosts[j];
		hosts[j] = tmp;
	}
}

size_t mx_sort(struct mx_host *hosts, size_t n)
{
	n = drop_bad(hosts, n);
	if (n > 1)
		qsort(hosts, n, sizeof(*hosts), by_preference_and_name);
	return drop_duplicates(hosts, n);
}

size_t mx_pick(struct mx_host *hosts, size_t n, struct prng *rng)
{
	for (size_t from = 0, to; from < n; from = to) {
		for (to = from + 1; to < n && hosts[to].preference == hosts[from].preference; to++)
			;
		shuffle(hosts + from, to - from, rng);
	}
	return MIN(n, (size_t)MX_HOSTS_MAX);
}

static bool is_local(const struct netaddr *a, const struct mx_options *o)
{
	for (size_t i = 0; i < o->local_n; i++)
		if (netaddr_eq_ip(a, &o->local[i]))
			return true;
	return false;
}

/*
 * Loopback alone does not make a host ourselves here: such an MX is somebody's
 * mistake, and better hosts behind it may still take the mail; mx_candidates
 * leaves the address out.
 */
static bool is_self(const struct mx_host *h, const struct mx_options *o)
{
	if (slice_eq_nocase(without_dot(slice_str(h->name)), without_dot(slice_str(o->me))))
		return true;
	for (size_t i = 0; i < h->addrs_n; i++)
		if (!netaddr_is_loopback(&h->addrs[i]) && is_local(&h->addrs[i], o))
			return true;
	return false;
}

size_t mx_remove_self(struct mx_host *hosts, size_t n, const struct mx_options *o, bool *was_self)
{
	unsigned worst = UINT16_MAX + 1u; /* preferences from here on go */
	size_t kept = 0;
	*was_self = false;
	if (o->local_ok)
		return n;
	for (size_t i = 0; i < n; i++)
		if (is_self(&hosts[i], o))
			worst = MIN(worst, (unsigned)hosts[i].preference);
	*was_self = worst <= UINT16_MAX;
	for (size_t i = 0; i < n; i++) {
		if (hosts[i].preference >= worst)
			continue;
		if (kept != i)
			hosts[kept] = hosts[i];
		kept++;
	}
	return kept;
}

struct eligible { /* an address that may be dialled */
	const struct mx_host *host;
	struct netaddr addr;
	bool chosen;
};

struct choice {
	struct eligible list[ELIGIBLE_MAX]; /* in the order of dialling */
	size_t n;
	size_t total[2], chosen[2]; /* by family: v4, v6 */
};

static size_t family_index(const struct netaddr *a)
{
	return a->family == NETADDR_V6 ? 1 : 0;
}

static struct netaddr plain(const struct netaddr *a)
{
	struct sockaddr_storage ss;
	struct netaddr out = *a;
	/* IPv4-mapped IPv6 comes back as IPv4. */
	if (netaddr_to_sockaddr(a, &ss) > 0)
		netaddr_from_sockaddr(&out, (const struct sockaddr *)&ss);
	out.port = 0;
	return out;
}

static void add_eligible(struct choice *c, const struct mx_host *h, struct netaddr a,
    const struct mx_options *o, bool *loop)
{
	if (netaddr_is_undialable(&a))
		return;
	if (!o->local_ok && (netaddr_is_loopback(&a) || is_local(&a, o))) {
		*loop = true;
		return;
	}
	for (size_t i = 0; i < c->n; i++)
		if (netaddr_eq_ip(&c->list[i].addr, &a))
			return;
	CHECK(c->n < ELIGIBLE_MAX);
	c->list[c->n++] = (struct eligible){ .host = h, .addr = a };
	c->total[family_index(&a)]++;
}

/* The k-th address (from 0) of a family; false if it has fewer. */
static bool nth_of_family(const struct mx_host *h, uint8_t family, size_t k, struct netaddr *a)
{
	for (size_t i = 0; i < h->addrs_n; i++) {
		*a = plain(&h->addrs[i]);
		if (a->family == family && k-- == 0)
			return true;
	}
	return false;
}

/* A host's addresses: the preferred family first, or both in turn. */
static void add_host(struct choice *c, const struct mx_host *h, const struct mx_options *o,
    bool *loop)
{
	uint8_t first = o->prefer == MX_PREFER_V4 ? NETADDR_V4 : NETADDR_V6;
	uint8_t second = first == NETADDR_V4 ? NETADDR_V6 : NETADDR_V4;
	struct netaddr a;
	CHECK(h->addrs_n <= MX_HOST_ADDRS_MAX);
	for (size_t k = 0; k < MX_HOST_ADDRS_MAX; k++) {
		if (nth_of_family(h, first, k, &a))
			add_eligible(c, h, a, o, loop);
		if (o->prefer == MX_PREFER_DEFAULT && nth_of_family(h, second, k, &a))
			add_eligible(c, h, a, o, loop);
	}
	for (size_t k = 0; o->prefer != MX_PREFER_DEFAULT && k < MX_HOST_ADDRS_MAX; k++)
		if (nth_of_family(h, second, k, &a))
			add_eligible(c, h, a, o, loop);
}

/* Places the other family leaves to this one when there are not enough for all. */
static size_t family_cap(const struct choice *c, size_t family, enum mx_prefer prefer)
{
	size_t reserve = prefer == MX_PREFER_DEFAULT ? MX_CANDIDATES_MAX / 2 : 2;
	return MX_CANDIDATES_MAX - MIN(c->total[1 - family], reserve);
}

/* The first address of that host not chosen yet whose family has room. */
static bool choose_one(struct choice *c, const struct mx_host *h, enum mx_prefer prefer)
{
	for (size_t i = 0; i < c->n; i++) {
		struct eligible *e = &c->list[i];
		size_t family = family_index(&e->addr);
		if (e->host != h || e->chosen || c->chosen[family] >= family_cap(c, family, prefer))
			continue;
		e->chosen = true;
		c->chosen[family]++;
		return true;
	}
	return false;
}

/* More addresses than places: hosts get one each in turn, no family all of them. */
static void choose(struct choice *c, const struct mx_host *hosts, size_t n, enum mx_prefer prefer)
{
	size_t left = MIN(c->n, (size_t)MX_CANDIDATES_MAX);
	for (bool found = true; found && left > 0;) {
		found = false;
		for (size_t h = 0; h < n && left > 0; h++) {
			if (!choose_one(c, &hosts[h], prefer))
				continue;
			found = true;
			left--;
		}
	}
}

size_t mx_candidates(const struct mx_host *hosts, size_t n, const struct mx_options *o,
    struct mx_candidate out[MX_CANDIDATES_MAX], bool *loop)
{
	struct choice c;
	size_t count = 0;
	CHECK(n <= MX_HOSTS_MAX);
	memset(&c, 0, sizeof(c));
	*loop = false;
	for (size_t i = 0; i < n; i++)
		add_host(&c, &hosts[i], o, loop);
	choose(&c, hosts, n, o->prefer);
	for (size_t i = 0; i < c.n; i++) {
		if (!c.list[i].chosen)
			continue;
		CHECK(count < MX_CANDIDATES_MAX);
		out[count].host = c.list[i].host;
		out[count++].addr = c.list[i].addr;
	}
	return count;
}
