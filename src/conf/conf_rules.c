/*
 * conf_rules.c - list-valued keys: listen, trusted networks, DNS servers,
 * routes, traffic, tls_policy; and looking things up in them.
 */
#include <string.h>

#include "base/check.h"
#include "conf/conf_int.h"
#include "proto/path.h"

/* An array of n elements for the groups of a list; NULL and *n_r 0 if there are none. */
static void *elements(struct conf_loader *l, const char *name, size_t size, size_t *n_r)
{
	const config_setting_t *s = conf_find(l, name);
	*n_r = s ? conf_list_length(l, s, name, CONF_TYPE_GROUPS) : 0;
	return *n_r ? arena_zalloc(&l->conf->arena, *n_r * size) : NULL;
}

/* Member of an element, or NULL. */
static const config_setting_t *member(const config_setting_t *element, const char *name)
{
	return config_setting_type(element) == CONFIG_TYPE_GROUP
		   ? config_setting_get_member(element, name)
		   : NULL;
}

/* A text that an element can't do without; false (and a mistake) if it is not there. */
static bool needed_text(struct conf_loader *l, const config_setting_t *element, const char *group,
    const char *name, const char **text_r)
{
	const config_setting_t *s = member(element, name);
	char full[64];
	snprintf(full, sizeof(full), "%s.%s", group, name);
	if (s)
		return conf_text_of(l, s, full, text_r);
	if (config_setting_type(element) == CONFIG_TYPE_GROUP)
		conf_mistake(l, conf_place_of(l, element), "%s: %s is missing", group, name);
	return false;
}

/* 1. listen */

static void default_listeners(struct conf *c)
{
	static const struct {
		const char *address;
		enum conf_listen_tls tls;
	} defaults[] = {
		{ "[::]:587", CONF_LISTEN_TLS_STARTTLS },
		{ "[::]:465", CONF_LISTEN_TLS_IMPLICIT },
	};

	c->listen_n = ARRAY_LEN(defaults);
	c->listen = arena_zalloc(&c->arena, sizeof(*c->listen) * c->listen_n);
	for (size_t i = 0; i < c->listen_n; i++) {
		int err = netaddr_parse(slice_str(defaults[i].address), 0, &c->listen[i].address);
		CHECK(err == 0);
		c->listen[i].tls = defaults[i].tls;
	}
}

static void load_listener(struct conf_loader *l, const config_setting_t *s, size_t i)
{
	struct conf_listen *listen = &l->conf->listen[i];
	const char *text;
	conf_set_group(l, "listen", s, listen);
	if (!needed_text(l, s, "listen", "address", &text))
		return;
	if (netaddr_parse(slice_str(text), 0, &listen->address) < 0) {
		conf_mistake(l, conf_place_of(l, member(s, "address")),
		    "listen.address: \"%s\" is no address with a port, such as \"192.0.2.1:587\" "
		    "or "
		    "\"[::]:587\"",
		    text);
		return;
	}
	for (size_t k = 0; k < i; k++) {
		const struct netaddr *other = &l->conf->listen[k].address;
		if (netaddr_eq_ip(other, &listen->address) && other->port == listen->address.port)
			conf_mistake(l, conf_place_of(l, member(s, "address")),
			    "listen.address: \"%s\" is listed twice", text);
	}
}

static void load_listeners(struct conf_loader *l)
{
	struct conf *c = l->conf;
	const config_setting_t *s = conf_find(l, "listen");
	if (!s) {
		default_listeners(c);
		if (!c->tls.certificate[0])
			conf_mistake(l, conf_place_of_key(l, "tls.certificate"),
			    "the default listeners (port 587 with STARTTLS, 465 with TLS) need a "
			    "certificate: set tls.certificate and tls.key, or choose with listen");
		return;
	}
	c->listen = elements(l, "listen", sizeof(*c->listen), &c->listen_n);
	for (unsigned i = 0; i < c->listen_n; i++)
		load_listener(l, conf_list_at(s, i), i);
	/* Once is enough: it is one thing to mend. */
	for (unsigned i = 0; i < c->listen_n && !c->tls.certificate[0]; i++) {
		if (c->listen[i].tls == CONF_LISTEN_TLS_NONE)
			continue;
		conf_mistake(l, conf_place_of(l, conf_list_at(s, i)),
		    "listen: tls = \"%s\" needs a certificate: set tls.certificate and tls.key, or "
		    "tls = \"none\" here",
		    c->listen[i].tls == CONF_LISTEN_TLS_IMPLICIT ? "implicit" : "starttls");
		break;
	}
}

/* 2. lists of texts */

static void load_networks(struct conf_loader *l)
{
	const char *name = "submission.trusted_networks";
	const config_setting_t *s = conf_find(l, name);
	struct conf *c = l->conf;
	const char *text;
	unsigned n = s ? conf_list_length(l, s, name, CONF_TYPE_STRINGS) : 0;
	c->submission.trusted_networks =
	    arena_zalloc(&c->arena, sizeof(*c->submission.trusted_networks) * MAX(n, 1u));
	for (unsigned i = 0; i < n; i++) {
		struct netaddr_net net;
		if (!conf_text_of(l, conf_list_at(s, i), name, &text))
			continue;
		if (netaddr_parse_net(slice_str(text), &net) < 0) {
			conf_mistake(l, conf_place_of(l, conf_list_at(s, i)),
			    "%s: \"%s\" is no network such as \"10.0.0.0/8\" (no bits may be set "
			    "after "
			    "the prefix)",
			    name, text);
			continue;
		}
		if (net.bits == 0)
			conf_warning(l, conf_place_of(l, conf_list_at(s, i)),
			    "%s: \"%s\" makes this host an open relay", name, text);
		c->submission.trusted_networks[c->submission.trusted_networks_n++] = net;
	}
}

static void load_servers(struct conf_loader *l)
{
	const char *name = "dns.servers";
	const config_setting_t *s = conf_find(l, name);
	struct conf *c = l->conf;
	const char *text;
	unsigned n = s ? conf_list_length(l, s, name, CONF_TYPE_STRINGS) : 0;
	c->dns.servers = "";
	for (unsigned i = 0; i < n; i++) {
		char formatted[NETADDR_TEXT_MAX];
		struct netaddr a;
		if (!conf_text_of(l, conf_list_at(s, i), name, &text))
			continue;
		if (netaddr_parse(slice_str(text), 53, &a) < 0) {
			conf_mistake(l, conf_place_of(l, conf_list_at(s, i)),
			    "%s: \"%s\" is no IP address with or without a port", name, text);
			continue;
		}
		c->dns.servers = arena_printf(&c->arena, "%s%s%s", c->dns.servers,
		    c->dns.servers[0] ? "," : "", netaddr_format(&a, formatted));
	}
}

/* 3. domain patterns */

/* "*", "*.DOMAIN" (also written ".DOMAIN") or DOMAIN, as A-labels; NULL if it is none of them. */
static const char *pattern_of(struct conf_loader *l, const char *text)
{
	if (strcmp(text, "*") == 0)
		return "*";
	bool below = text[0] == '.' || (text[0] == '*' && text[1] == '.');
	const char *domain = conf_domain_of(l, below ? strchr(text, '.') + 1 : text);
	if (!domain || !below)
		return domain;
	return domain[0] == '[' ? NULL : arena_printf(&l->conf->arena, "*.%s", domain);
}

/* What earlier rules of a list leave for later ones. */
struct reach {
	struct map seen;
	bool all; /* "*" came */
};

/* The pattern of an element; "" after a mistake. Warns of one that nothing can reach any more. */
static const char *element_pattern(struct conf_loader *l, const config_setting_t *element,
    const char *group, struct reach *reach)
{
	const char *text;
	if (!needed_text(l, element, group, "domain", &text))
		return "";
	struct conf_place at = conf_place_of(l, member(element, "domain"));
	const char *pattern = pattern_of(l, text);
	if (!pattern) {
		conf_mistake(l, at,
		    "%s.domain: \"%s\" is no domain, nor \"*.domain\", nor \"*\" for all", group,
		    text);
		return "";
	}
	if (reach->all)
		conf_warning(l, at, "%s: \"%s\" is never reached: \"*\" comes before it", group,
		    text);
	else if (map_find(&reach->seen, slice_str(pattern)))
		conf_warning(l, at, "%s: \"%s\" is never reached: it is listed before", group,
		    text);
	reach->all = reach->all || strcmp(pattern, "*") == 0;
	map_put(&reach->seen, slice_str(pattern), l);
	return pattern;
}

/* 4. routes */

static void load_hops(struct conf_loader *l, const config_setting_t *s, struct route *route)
{
	const char *name = "routes.mx";
	struct route_hop *hops;
	struct errbuf eb;
	const char *text;
	unsigned n = conf_list_length(l, s, name, CONF_TYPE_STRINGS);
	if (n > ROUTE_HOPS_MAX) {
		conf_mistake(l, conf_place_of(l, s), "%s: more than %d hosts", name,
		    ROUTE_HOPS_MAX);
		return;
	}
	hops = arena_zalloc(&l->conf->arena, sizeof(*hops) * MAX(n, 1u));
	for (unsigned i = 0; i < n; i++) {
		if (!conf_text_of(l, conf_list_at(s, i), name, &text))
			continue;
		/* The text itself is not shown: it may hold a password (law 7). */
		if (route_parse_hop(slice_str(text), &l->conf->arena, &hops[route->hops_n], &eb) <
		    0)
			conf_mistake(l, conf_place_of(l, conf_list_at(s, i)), "%s: %s", name,
			    eb.text);
		else
			route->hops_n++;
	}
	route->hops = hops;
}

static void load_route_source(struct conf_loader *l, const config_setting_t *element,
    struct route *route)
{
	const config_setting_t *s = member(element, "bind");
	const char *text;
	route->helo = "";
	if (s && conf_text_of(l, s, "routes.bind", &text)) {
		route->has_bind = netaddr_parse_ip(slice_str(text), &route->bind) == 0;
		if (!route->has_bind)
			conf_mistake(l, conf_place_of(l, s),
			    "routes.bind: \"%s\" is no IP address (without a port)", text);
	}
	s = member(element, "helo");
	if (s && conf_text_of(l, s, "routes.helo", &text) && text[0]) {
		const char *helo = conf_domain_of(l, text);
		if (helo)
			route->helo = helo;
		else
			conf_mistake(l, conf_place_of(l, s),
			    "routes.helo: \"%s\" is neither a domain nor an address literal", text);
	}
}

static void load_routes(struct conf_loader *l)
{
	struct conf *c = l->conf;
	struct reach reach = { .all = false };
	const config_setting_t *list = conf_find(l, "routes");
	map_init(&reach.seen, 0);
	c->routes = elements(l, "routes", sizeof(*c->routes), &c->routes_n);
	for (unsigned i = 0; i < c->routes_n; i++) {
		const config_setting_t *element = conf_list_at(list, i);
		struct route *route = &c->routes[i];
		conf_set_group(l, "routes", element, route);
		route->domain = element_pattern(l, element, "routes", &reach);
		load_route_source(l, element, route);
		if (member(element, "mx"))
			load_hops(l, member(element, "mx"), route);
	}
	map_fini(&reach.seen);
}

/* 5. traffic, tls_policy */

static bool is_default(const char *site)
{
	return strcmp(site, "default") == 0 || strcmp(site, "*") == 0;
}

/* What all other entries inherit: the presets, and what the list sets for "default". */
static void load_traffic_default(struct conf_loader *l, const config_setting_t *list, size_t n,
    struct conf_traffic *t)
{
	conf_set_presets("traffic", t);
	t->site = "default";
	for (unsigned i = 0; i < n; i++) {
		const config_setting_t *element = conf_list_at(list, i);
		const config_setting_t *s = member(element, "site");
		if (!s || config_setting_type(s) != CONFIG_TYPE_STRING ||
		    !is_default(config_setting_get_string(s)))
			continue;
		conf_set_members(l, "traffic", element, t);
		return;
	}
}

/* "default", or a pattern; "" after a mistake. */
static const char *traffic_site(struct conf_loader *l, const config_setting_t *element,
    struct reach *reach)
{
	const char *text;
	if (!needed_text(l, element, "traffic", "site", &text))
		return "";
	struct conf_place at = conf_place_of(l, member(element, "site"));
	const char *site = is_default(text) ? "default" : pattern_of(l, text);
	if (!site) {
		conf_mistake(l, at,
		    "traffic.site: \"%s\" is neither \"default\" nor a domain nor \"*.domain\"",
		    text);
		return "";
	}
	if (map_find(&reach->seen, slice_str(site))) {
		if (is_default(text))
			conf_mistake(l, at, "traffic.site: \"default\" is listed twice");
		else
			conf_warning(l, at, "traffic: \"%s\" is never reached: it is listed before",
			    text);
	}
	map_put(&reach->seen, slice_str(site), l);
	return site;
}

static void load_traffic(struct conf_loader *l)
{
	struct conf *c = l->conf;
	struct reach reach = { .all = false };
	const config_setting_t *list = conf_find(l, "traffic");
	size_t n;
	const struct conf_traffic *given = elements(l, "traffic", sizeof(*given), &n);
	struct conf_traffic fallback;
	map_init(&reach.seen, 0);
	load_traffic_default(l, list, n, &fallback);
	c->traffic = arena_zalloc(&c->arena, sizeof(*c->traffic) * (n + 1));
	c->traffic_n = n;
	for (unsigned i = 0; i < n; i++) {
		const config_setting_t *element = conf_list_at(list, i);
		struct conf_traffic *t = &c->traffic[i];
		const char *site = traffic_site(l, element, &reach);
		*t = fallback;
		t->site = site;
		if (!is_default(site)) /* whose members are known, and their mistakes told */
			conf_set_members(l, "traffic", element, t);
	}
	if (!map_find(&reach.seen, SLICE("default")))
		c->traffic[c->traffic_n++] = fallback;
	map_fini(&reach.seen);
}

static void load_tls_policy(struct conf_loader *l)
{
	struct conf *c = l->conf;
	struct reach reach = { .all = false };
	const config_setting_t *list = conf_find(l, "tls_policy");
	map_init(&reach.seen, 0);
	c->tls_policy = elements(l, "tls_policy", sizeof(*c->tls_policy), &c->tls_policy_n);
	for (unsigned i = 0; i < c->tls_policy_n; i++) {
		const config_setting_t *element = conf_list_at(list, i);
		conf_set_group(l, "tls_policy", element, &c->tls_policy[i]);
		c->tls_policy[i].domain = element_pattern(l, element, "tls_policy", &reach);
		if (config_setting_type(element) == CONFIG_TYPE_GROUP && !member(element, "level"))
			conf_mistake(l, conf_place_of(l, element), "tls_policy: level is missing");
	}
	map_fini(&reach.seen);
}

void conf_rules_load(struct conf_loader *l)
{
	load_listeners(l);
	load_networks(l);
	load_servers(l);
	load_routes(l);
	load_traffic(l);
	load_tls_policy(l);
}

/* How well an entry fits; the greater the better. */
enum fit {
	FIT_NONE = 0,
	FIT_DEFAULT,
	FIT_HOST,    /* one of the hosts */
	FIT_PATTERN, /* the domain, among others */
	FIT_DOMAIN,
};

static enum fit fit_of(struct slice site, struct slice domain, const struct slice *hosts, size_t n)
{
	if (slice_eq(site, SLICE("default")))
		return FIT_DEFAULT;
	if (route_pattern_matches(site, domain))
		return slice_starts(site, SLICE("*.")) ? FIT_PATTERN : FIT_DOMAIN;
	for (size_t i = 0; i < n; i++)
		if (route_pattern_matches(site, hosts[i]))
			return FIT_HOST;
	return FIT_NONE;
}

const struct conf_traffic *conf_find_traffic_mx(const struct conf *c, struct slice domain,
    const struct slice *hosts, size_t n)
{
	const struct conf_traffic *best = NULL;
	enum fit best_fit = FIT_NONE;
	for (size_t i = 0; i < c->traffic_n && best_fit < FIT_DOMAIN; i++) {
		enum fit fit = fit_of(slice_str(c->traffic[i].site), domain, hosts, n);
		if (fit > best_fit) {
			best = &c->traffic[i];
			best_fit = fit;
		}
	}
	CHECK(best != NULL);
	return best;
}

const struct conf_traffic *conf_find_traffic(const struct conf *c, struct slice domain)
{
	return conf_find_traffic_mx(c, domain, NULL, 0);
}

enum tls_level conf_find_tls_level(const struct conf *c, const struct route *route,
    struct slice domain)
{
	if (route && route->tls != TLS_LEVEL_NONE_SET)
		return route->tls;
	for (size_t i = 0; i < c->tls_policy_n; i++)
		if (route_pattern_matches(slice_str(c->tls_policy[i].domain), domain))
			return c->tls_policy[i].level;
	return c->outbound.enable_tls ? TLS_LEVEL_MAY : TLS_LEVEL_NONE;
}
