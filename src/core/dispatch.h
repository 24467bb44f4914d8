/*
 * dispatch.h - which item is tried next: due mail, sites, limits.
 *
 * A site is where a message goes next: a destination domain, or a static
 * route. Each has a list of items that are ready and a number of connections
 * in use; sites with work and room take turns. An item stays ACTIVE (the
 * dispatcher's) from the moment it is due until its settlement.
 */
#ifndef CORE_DISPATCH_H
#define CORE_DISPATCH_H

#include "core/mta.h"

struct site {
	struct list_node node; /* in the round of sites that may start something */
	char *key;
	struct list_node ready; /* struct queue_item.link */
	size_t ready_n;
	unsigned active; /* deliveries under way */
};

struct dispatch *dispatch_new(struct mta *m);
void dispatch_free(
    struct dispatch **d); /* drops what is ready (it stays on disk); deliveries must be gone */
void dispatch_add_new(struct dispatch *d,
    struct list_node *items); /* fresh from a commit; empties the list */
void dispatch_add(struct dispatch *d, struct queue_item *item); /* ACTIVE and due */
/* An item that is ACTIVE because it waits here is given back, still ACTIVE, for a command of the
 * operator; false if it is elsewhere (in a delivery, or inside an operation). */
bool dispatch_withdraw(struct dispatch *d, struct queue_item *item);
void dispatch_step(struct dispatch *d,
    struct now now); /* takes due items, starts deliveries; once a turn */
int64_t dispatch_next_at(const struct dispatch *d,
    struct now now); /* mono ms: when to look again; INT64_MAX */
void dispatch_finished(struct dispatch *d,
    struct site *site);                  /* a delivery of this site has ended */
void dispatch_abort(struct dispatch *d); /* ends all deliveries at once; their mail stays queued */
size_t dispatch_active(const struct dispatch *d);
size_t dispatch_ready(const struct dispatch *d);
struct list_node *dispatch_deliveries(struct dispatch *d);

#endif
