/*
 * dispatch.h - which item is tried next: due mail, sites, limits.
 *
 * An item is sent on to the shard that has its site, as soon as that is known:
 * all of a site's mail is in the hands of one dispatcher.
 *
 * An item stays ACTIVE (the dispatcher's) from the moment it is due until its
 * settlement: in the lists of its site (site.h), then in a delivery. Sites
 * with work and room take turns; no site may use more than half of
 * outbound.concurrency_max while others wait, nor may all that are only tried
 * out. What waits grows old in a timer wheel, so nothing is ever searched
 * through.
 */
#ifndef CORE_DISPATCH_H
#define CORE_DISPATCH_H

#include "core/mta.h"
#include "core/site.h"

struct resolution;

struct dispatch *dispatch_new(struct mta *m);
void dispatch_free(
    struct dispatch **d); /* drops what is ready (it stays on disk); deliveries must be gone */
void dispatch_add_new(struct dispatch *d,
    struct list_node *items); /* fresh from a commit; empties the list */
/* What other shards have accepted, or sent on; once a turn. */
void dispatch_take_arrivals(struct dispatch *d, struct now now);
/* ACTIVE and due, or flushed: to its site, which may be another shard's. What a flush brought to a
 * site that was asked already goes back to its due time. */
void dispatch_add(struct dispatch *d, struct queue_item *item);
/* An item in work goes back to its site, before others; no attempt was made. */
void dispatch_put_back(struct dispatch *d, struct queue_item *item);
/* An item that is ACTIVE because it waits here is given back, still ACTIVE, for a command of the
 * operator; false if it is elsewhere (in a delivery, or inside an operation). */
bool dispatch_withdraw(struct dispatch *d, struct queue_item *item);
/* Its lifetime is over, by the clock. */
bool dispatch_is_expired(const struct dispatch *d, const struct queue_item *item, struct now now);
void dispatch_step(struct dispatch *d,
    struct now now); /* takes due items, starts deliveries; once a turn */
int64_t dispatch_next_at(const struct dispatch *d,
    struct now now); /* mono ms: when to look again; INT64_MAX */

/* What an attempt has found out about its site: somebody answers, or not. */
/* about_mail: and has said something of it. */
void dispatch_answered(struct dispatch *d, struct site *site, bool about_mail);
void dispatch_failed(struct dispatch *d, struct site *site, const struct site_reply *why);
/* Its connections have changed, or their number; it may be gone after this. */
void dispatch_touch(struct dispatch *d, struct site *site);
/* A delivery of this site has ended; sent: it was counted in the site's sends. The site may be gone
 * after it. */
void dispatch_finished(struct dispatch *d, struct site *site, bool sent);

/* The queue has been flushed, or this domain, or this item: sites that are down are tried at once.
 * Return how many items wait there for that. */
size_t dispatch_flush(struct dispatch *d);
void dispatch_note_flush(struct dispatch *d); /* for items still to come */
size_t dispatch_flush_domain(struct dispatch *d, const char *domain);
size_t dispatch_flush_item(struct dispatch *d, const struct queue_item *item);

/* The config has changed: sites have other limits, and those that are down are tried at once. */
void dispatch_reload(struct dispatch *d);
/* Deliveries that wait for a connection, or for their time, look again; when we stop they wait no
 * more. */
void dispatch_wake(struct dispatch *d);
void dispatch_abort(struct dispatch *d); /* ends all deliveries at once; their mail stays queued */
size_t dispatch_active(const struct dispatch *d);
size_t dispatch_ready(const struct dispatch *d);
size_t dispatch_waiting(const struct dispatch *d); /* items behind sites that are down */
size_t dispatch_down(const struct dispatch *d);    /* sites that are down, as far as is known */
/* The site whose recovery the item waits for, or NULL. */
const struct site *dispatch_waits_for(const struct queue_item *item);
/* The site in whose lists it is, or NULL. */
const struct site *dispatch_waits_at(const struct queue_item *item);
/* How many sites make their mail wait though somebody answers (enum site_wait), and how many items
 * they have. Looks at all sites. */
size_t dispatch_slowed(const struct dispatch *d, struct now now, size_t *items);
/* Where its domain leads, as far as is known, or NULL. */
struct site *dispatch_site_of(const struct queue_item *item);
/* The item of an attempt at a site turns out to belong elsewhere: it, and all that waits there for
 * the same domain, go there. False if it is in the right place, or has moved
 * before from hosts to others. */
bool dispatch_move(struct dispatch *d, struct site *from, struct queue_item *item,
    struct resolution *r);
struct list_node *dispatch_deliveries(struct dispatch *d);

#endif
