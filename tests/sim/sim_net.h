/*
 * sim_net.h - the internet of a run: domains, their DNS, their hosts, and the
 * character of each. Some domains have their mail taken by another one's
 * hosts; those below rN.test go through a static route.
 */
#ifndef SIM_SIM_NET_H
#define SIM_SIM_NET_H

#include "base/netaddr.h"
#include "sim/sim_busy.h"
#include "sim/sim_reuse.h"

#define SIM_HOSTS_PER_DOMAIN 3

enum sim_character {
	SIM_HOST_ACCEPTS = 0,
	SIM_HOST_GREYLISTS,
	SIM_HOST_TARPITS,
	SIM_HOST_421S,     /* says 421 after some replies */
	SIM_HOST_HANGS_UP, /* after the dot, before its reply; may have taken the mail */
	SIM_HOST_BYTEWISE,
	SIM_HOST_GARBAGE,
	SIM_HOST_BAD_TLS, /* offers STARTTLS and gets it wrong */
	SIM_HOST_DOT_5XX, /* takes recipients, refuses the message */
	SIM_HOST_DOT_4XX,
	SIM_HOST_MIXED,    /* each recipient has its own answer */
	SIM_HOST_TOO_MANY, /* 552 after the first recipients */
	SIM_HOST_FULL,     /* 452 for hours */
	SIM_HOST_REFUSES,  /* 550 to everybody */
	SIM_HOST_521,
	SIM_HOST_554,     /* so it greets everybody */
	SIM_HOST_SILENT,  /* accepts connections, says nothing */
	SIM_HOST_NARROW,  /* takes some connections at once, says 421 to more */
	SIM_HOST_METERED, /* takes some messages a minute, says 421 4.7.28 or 450 to more */
	SIM_HOST_N,
};

enum sim_dns_kind {
	SIM_DNS_NORMAL = 0,
	SIM_DNS_IMPLICIT, /* no MX, an address */
	SIM_DNS_NXDOMAIN,
	SIM_DNS_NULL_MX,
	SIM_DNS_LAME,     /* the first MX host has no address */
	SIM_DNS_FLAKY,    /* SERVFAIL now and then */
	SIM_DNS_OUTAGE,   /* no answers for a while */
	SIM_DNS_LAPSED,   /* does not exist for a while, and the DNS stammers about it */
	SIM_DNS_CHANGING, /* other hosts every few hours, or with every answer */
};

struct sim_bounds { /* NARROW, METERED; sim_traffic.c */
	unsigned limit, connections;
	int64_t *taken_ms; /* the last `limit` messages, in a ring */
	size_t taken_n;
};

struct sim_host {
	struct sim_domain *domain;
	char name[64];
	struct netaddr address;
	enum sim_character character;
	enum sim_reuse reuse;
	unsigned patience;     /* messages it takes over one connection, where it minds */
	unsigned said_to_mail; /* see sim_reuse.h */
	bool tls, chunking;
	bool bdat_unknown; /* though it offers CHUNKING */
	int latency_ms;
	bool blackhole; /* when down: no answer instead of a refusal */
	int64_t down_from_ms, down_until_ms;
	unsigned number;    /* for stable choices */
	int64_t dialled_ms; /* the last time while its whole domain was dead; 0: not */
	unsigned probes;    /* since that was known */
	unsigned dials;     /* in all */
	struct sim_bounds bounds;
	int64_t storm_ms; /* dials without any MAIL at the site: since when, and how many */
	unsigned storm_n;
	int64_t mx_until_ms, a_until_ms; /* what the DNS said of it counts so long */
};

struct sim_gone { /* the DNS said that the domain is not there, or takes no mail */
	struct sim_gone *next;
	int64_t at_ms, until_ms;
};

struct sim_domain {
	char name[24];
	enum sim_dns_kind dns;
	int64_t outage_from_ms, outage_until_ms; /* or of its lapse */
	struct sim_host own[SIM_HOSTS_PER_DOMAIN];
	struct sim_host *hosts; /* its own, or another domain's */
	size_t hosts_n;
	bool same_preference;
	struct sim_site *site;
	int64_t talked_ms;     /* one of its hosts said something */
	int64_t dead_since_ms; /* dialled, and no host has said a word since; 0: not */
	size_t dead_life;
	struct sim_gone *gone; /* the last first */
	unsigned number;
	bool prompt; /* nothing there takes long: a retry comes when it is due */
};

struct sim_net_options {
	size_t domains;
	unsigned wild_percent;  /* domains that are not simply fine */
	unsigned doom_permille; /* connections that break */
};

void sim_net_init(const struct sim_net_options *o);
void sim_net_write_routes(FILE *config);
struct sim_domain *sim_net_any(void); /* not the one that is shunned */
void sim_net_shun(const struct sim_domain *d);
struct sim_domain *sim_net_find(struct slice name);
struct sim_domain *sim_net_find_owner(const char *name); /* of a host, by its name; or itself */
bool sim_net_dooms(void);                                /* connections that break */
const char *sim_character_name(enum sim_character c);

#endif
