/*
 * fair.h - whose item is next: senders take turns, weighted by bytes.
 *
 * Items of one sender and class are a flow, first come first served. A flow
 * that has credit gives items until the credit is used up, then it goes to the
 * end of the round and gets credit anew (deficit round robin, with the cost
 * known only afterwards: a flow may overdraw by one item and waits that much
 * longer). A flow that is new goes before the round, once: so a sender with
 * one message does not wait for a round of those with thousands. The classes
 * share by weight in the same way, and the higher goes first while it has
 * credit.
 *
 * Intrusive, and bounded: an item is a list_node of the caller's that anybody
 * may take out by list_remove at any time; flows that are found empty go. All
 * operations O(1), amortised over the bytes sent. Pure.
 */
#ifndef POLICY_FAIR_H
#define POLICY_FAIR_H

#include "base/list.h"
#include "base/map.h"

#define FAIR_FLOWS_MAX 4096 /* senders beyond share the flow of 0 */

enum fair_class { /* weights 16, 4, 1 */
	FAIR_URGENT = 0,
	FAIR_NORMAL,
	FAIR_BULK,
};

#define FAIR_CLASSES (FAIR_BULK + 1)

struct fair_flow;

struct fair_share {             /* of one class */
	struct list_node fresh; /* flows that come before the round, once */
	struct list_node round;
	int64_t credit;
};

struct fair {
	struct map flows; /* class and sender -> struct fair_flow */
	struct fair_share shares[FAIR_CLASSES];
	struct fair_flow *turn; /* whose item fair_next has given */
};

void fair_init(struct fair *f, uint64_t seed);
void fair_fini(struct fair *f); /* must be without items */

/* sender: any number that stands for it, such as a hash; 0: it is not known. */
void fair_add(struct fair *f, struct list_node *item, enum fair_class class, uint32_t sender);
/* Before the others of its flow: one that was taken, and goes back. */
void fair_add_first(struct fair *f, struct list_node *item, enum fair_class class, uint32_t sender);
/* All that is in `from`, flow by flow, before or behind what f has. O(flows). */
void fair_merge(struct fair *f, struct fair *from, bool first);
/* Those that are wanted go to the end of a list, in the order of their flows. O(items). */
void fair_extract(struct fair *f, bool (*is_wanted)(struct list_node *item, const void *arg),
    const void *arg, struct list_node *to);
/* The item whose turn it is; it stays where it is. The same until something is added or taken;
 * NULL: there is none. */
struct list_node *fair_next(struct fair *f);
/* Takes out the item that fair_next gave. bytes: its size; 0 if that is not known yet. */
void fair_take(struct fair *f, struct list_node *item, uint64_t bytes);
/* The size of one that was taken before it was known. Who has no flow any more pays nothing. */
void fair_charge(struct fair *f, enum fair_class class, uint32_t sender, uint64_t bytes);
size_t fair_flows(const struct fair *f);

#endif
