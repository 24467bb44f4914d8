#include "core/sites.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/resolve.h"
#include "core/shards.h"

#define SITES_KEY_MAX 512

struct sites {
	struct mta *mta;
	struct map map;      /* key -> struct site */
	uint64_t generation; /* of the config; struct queue_domain.owner_seen */
};

struct sites *sites_new(struct mta *m)
{
	struct sites *s = mem_zalloc(sizeof(*s));

	s->mta = m;
	s->generation = 1;
	map_init(&s->map, prng_next(&m->rng));
	return s;
}

void sites_free(struct sites **sp)
{
	struct sites *s = *sp;
	struct site *site;
	size_t cursor = 0;

	while ((site = sites_next(s, &cursor)))
		site_free(&site);
	map_fini(&s->map);
	mem_free(s);
	*sp = NULL;
}

/* --- making them ------------------------------------------------------------------ */

/* The hosts of a resolution, each once. */
static size_t hosts_of(const struct resolution *r, struct slice hosts[MX_CANDIDATES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < r->candidates_n; i++) {
		struct slice host = slice_str(r->candidates[i].host);
		if (n == 0 || !slice_eq(hosts[n - 1], host))
			hosts[n++] = host;
	}
	return n;
}

static struct site *site_get(struct sites *all, struct slice key, const char *name, const char *set)
{
	struct site *s = map_find(&all->map, key);

	if (s)
		return s;
	s = site_new(key, name, set);
	map_put(&all->map, key, s);
	return s;
}

/* It is not known, or known that it leads nowhere. */
static struct site *site_of_domain(struct sites *all, const char *domain)
{
	struct conf *conf = all->mta->conf;
	char key[SITES_KEY_MAX];
	int n = snprintf(key, sizeof(key), "domain:%s", domain);
	struct site *s = site_get(all, slice_of(key, MIN((size_t)n, sizeof(key) - 1)), domain, "");

	if (!s->traffic)
		site_set_traffic(s, conf, conf_find_traffic(conf, slice_str(domain)));
	return s;
}

static const struct route *route_of(const struct conf *conf, const char *domain)
{
	return route_find(conf->routes, conf->routes_n, slice_str(domain));
}

struct identity { /* of a site of hosts */
	struct slice hosts[MX_CANDIDATES_MAX];
	size_t hosts_n;
	const struct conf_traffic *traffic;
	char *key;
};

/* Domains with limits of their own don't share those of the hosts. */
static void identify(const struct sites *all, const char *domain, const struct resolution *r,
    struct identity *id)
{
	const struct conf *conf = all->mta->conf;
	const struct conf_traffic *own = conf_find_traffic(conf, slice_str(domain));

	id->hosts_n = hosts_of(r, id->hosts);
	id->traffic = conf_find_traffic_mx(conf, slice_str(domain), id->hosts, id->hosts_n);
	bool is_own = id->traffic == own && strcmp(own->site, "default") != 0;
	id->key = mem_printf("%s %s", is_own ? own->site : "", r->site);
}

unsigned sites_shard(const struct sites *all, const char *domain, const struct resolution *r)
{
	const struct shards *shards = all->mta->shards;
	struct identity id;

	if (shards->n == 1)
		return 0;
	identify(all, domain, r, &id);
	uint64_t hash = map_hash(shards->site_seed, slice_str(id.key));
	mem_free(id.key);
	return (unsigned)(hash % shards->n);
}

static struct site *site_of_hosts(struct sites *all, const char *domain, const struct resolution *r)
{
	struct conf *conf = all->mta->conf;
	const struct route *route = route_of(conf, domain);
	struct identity id;

	identify(all, domain, r, &id);
	char *name = route && route->hops_n > 0 ? mem_printf("route:%s", route->domain)
						: mem_strdup(r->candidates[0].host);
	struct site *s = site_get(all, slice_str(id.key), name, r->site);
	if (!s->traffic) {
		site_set_hosts(s, id.hosts, id.hosts_n);
		site_set_traffic(s, conf, id.traffic);
	}
	mem_free(id.key);
	mem_free(name);
	return s;
}

static struct site *site_of_resolution(struct sites *all, const char *domain,
    const struct resolution *r)
{
	return r->finding == VERDICT_FINDING_NONE ? site_of_hosts(all, domain, r)
						  : site_of_domain(all, domain);
}

static void adopt(const struct sites *all, struct site *s, struct queue_domain *domain)
{
	site_adopt(s, domain);
	domain->owner_seen = all->generation;
}

/* --- where to ---------------------------------------------------------------------- */

/* A name that was hashed is not known yet. */
struct resolution *sites_known(struct sites *all, const struct queue_domain *domain, struct now now)
{
	const struct conf *conf = all->mta->conf;

	return domain->name[0] == '~' ? NULL
				      : resolve_cached(all->mta, conf, route_of(conf, domain->name),
					    domain->name, now);
}

struct site *sites_for(struct sites *all, struct queue_domain *domain, const struct resolution *r)
{
	struct site *s =
	    r ? site_of_resolution(all, domain->name, r) : site_of_domain(all, domain->name);

	adopt(all, s, domain);
	return s;
}

void sites_learn(struct sites *all, struct queue_item *item, struct resolution *r, struct now now)
{
	const struct conf *conf = all->mta->conf;
	const char *name = item->mail ? item->mail->envelope->domain : item->domain->name;

	if (r->conf != conf || name[0] == '~')
		return;
	resolve_learn(all->mta, route_of(conf, item->domain->name), name, r, now);
	adopt(all, site_of_resolution(all, name, r), item->domain);
}

void sites_leave(struct queue_domain *domain)
{
	list_remove(&domain->in_owner);
	domain->owner = NULL;
}

struct site *sites_elsewhere(struct sites *all, const struct site *from,
    struct queue_domain *domain, const char *name, const struct resolution *r)
{
	if (domain->owner == from && domain->owner_seen == all->generation &&
	    strcmp(from->set, r->site) == 0)
		return NULL;
	struct site *to = site_of_resolution(all, name, r);
	adopt(all, to, domain);
	return to == from ? NULL : to;
}

void sites_forget(struct sites *all, struct site *s)
{
	map_remove(&all->map, slice_str(s->key));
	site_free(&s);
}

struct site *sites_next(const struct sites *all, size_t *cursor)
{
	struct slice key;
	void *value;

	return map_next(&all->map, cursor, &key, &value) ? value : NULL;
}

/* Its domains share an entry. One that has another by now leaves with its next mail. */
static const struct conf_traffic *traffic_of(const struct conf *conf, const struct site *s)
{
	struct slice hosts[MX_CANDIDATES_MAX];
	size_t n = site_hosts(s, hosts);
	struct slice key = slice_str(s->key), own;

	if (n == 0)
		return conf_find_traffic(conf, slice_str(s->name));
	slice_split(&key, ' ', &own);
	return conf_find_traffic_mx(conf, own, hosts, n);
}

void sites_reload(struct sites *all)
{
	struct conf *conf = all->mta->conf;
	size_t cursor = 0;
	struct site *s;

	all->generation++;
	while ((s = sites_next(all, &cursor)))
		site_set_traffic(s, conf, traffic_of(conf, s));
}
