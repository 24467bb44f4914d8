/*
 * orders.h - commands given while the start-up scan runs, kept until it ends
 * for the items that it finds later: at most QUEUE_ORDERS_MAX targets, and
 * what came last counts for each; a delete can't be taken back. Loop thread
 * only.
 *
 * A flush is applied by the scan itself. To hold, release or delete an item
 * takes the disk and an event, so those found are listed for the caller.
 */
#ifndef QUEUE_ORDERS_H
#define QUEUE_ORDERS_H

#include "base/map.h"
#include "queue/queue.h"
#include "queue/spool.h"

struct order;

struct ordered { /* an item found, by id: it may be gone when the caller comes */
	struct qid id;
	unsigned part;
	enum queue_order order;
};

struct orders {
	struct map by_target; /* the domain as in names, message id or queue id -> struct order */
	uint64_t given;
	bool flush_all;
	struct ordered *found;
	size_t found_n, found_max;
};

void orders_init(struct orders *o, uint64_t seed);
void orders_fini(struct orders *o);
void orders_forget(struct orders *o); /* the scan is done; what was found stays listed */
/* 1, or -ENOSPC: there are too many already. */
int orders_give(struct orders *o, enum queue_order order, struct slice target) MUST_USE;
/* What is to happen to an item of that name, but for a flush. */
enum queue_order orders_find(const struct orders *o, const struct spool_name *name);
bool orders_flushed(const struct orders *o, const struct spool_name *name);
void orders_list(struct orders *o, const struct spool_name *name, enum queue_order order);
bool orders_next(struct orders *o, struct ordered *found); /* takes one off the list */

#endif
