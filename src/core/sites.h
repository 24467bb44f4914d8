/*
 * sites.h - all sites of a dispatcher, and to which of them a domain leads.
 *
 * By the hosts its mail goes to, once they are known; a domain with a traffic
 * entry of its own shares none with others. Sites of hosts are spread over the
 * shards by a hash; while it is not known where a domain leads, and when the DNS
 * says nowhere, its mail stays where it is, with a site to itself. The owner of
 * a queue_domain is its site; when the config changes each is looked at again as
 * soon as mail for it is resolved.
 */
#ifndef CORE_SITES_H
#define CORE_SITES_H

#include "core/mta.h"
#include "core/resolution.h"
#include "core/site.h"

struct sites;

struct sites *sites_new(struct mta *m);
void sites_free(struct sites **s); /* with all sites, which must be without items */

/* What is known of the way to a domain, as a reference; or NULL. */
struct resolution *sites_known(struct sites *s, const struct queue_domain *domain, struct now now);
/* Which shard has the site of a resolution with hosts, for mail to that domain. */
unsigned sites_shard(const struct sites *s, const char *domain, const struct resolution *r);
/* Where what waits for the domain belongs; made if need be. r: what is known, or NULL. */
struct site *sites_for(struct sites *s, struct queue_domain *domain, const struct resolution *r);
/* An item has come with what another shard knows of its way: its domain leads there. */
void sites_learn(struct sites *s, struct queue_item *item, struct resolution *r, struct now now);
/* The domain leads to another shard: what comes next has to find the way anew. */
void sites_leave(struct queue_domain *domain);
/* What an attempt at a site has found out of its item's domain: NULL, it is in the right place, or
 * where all for the domain goes from now on. name: the domain's, even where the queue only has a
 * hash of it. */
struct site *sites_elsewhere(struct sites *s, const struct site *from, struct queue_domain *domain,
    const char *name, const struct resolution *r);
/* Takes it out and frees it. */
void sites_forget(struct sites *s, struct site *site);
/* The config has changed: limits count from now on. */
void sites_reload(struct sites *s);
/* As map_next; no site may be forgotten or made meanwhile. */
struct site *sites_next(const struct sites *s, size_t *cursor);

#endif
