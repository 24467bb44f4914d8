/*
 * queue_domain.c - the items of a destination, and walks over them that rest
 * between steps.
 */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/queue_int.h"

/* --- domains -------------------------------------------------------------------- */

void queue_init_domains(struct queue *q, uint64_t seed)
{
	map_init(&q->domains, seed);
	list_init(&q->domain_list);
	list_init(&q->walks);
}

void queue_fini_domains(struct queue *q)
{
	CHECK(list_is_empty(&q->walks));
	list_foreach_safe(node, &q->domain_list)
		mem_free(list_entry(node, struct domain, node));
	map_fini(&q->domains);
}

/* The name stands behind the struct, so that a domain is one allocation. */
static struct domain *new_domain(struct queue *q, struct slice name)
{
	struct domain *d = mem_zalloc(sizeof(*d) + name.n + 1);
	char *copy = (char *)(d + 1);
	memcpy(copy, name.p, name.n);
	d->pub.name = copy;
	d->q = q;
	list_init(&d->items);
	list_init(&d->pub.in_owner);
	list_push(&q->domain_list, &d->node);
	(void)map_put(&q->domains, name, d);
	return d;
}

static void enter(struct queue_walk *w, struct domain *d)
{
	w->domain = d == NULL ? NULL : &d->pub;
	w->at = d == NULL ? NULL : d->items.next;
	w->items_left = d == NULL ? 0 : d->pub.items;
}

/* To the domain behind, or for a walk of one domain to what long names are hashed to. */
static void enter_next(struct queue_walk *w)
{
	struct domain *d = (struct domain *)w->domain;
	if (w->domains_left == 0) {
		enter(w, NULL);
		return;
	}
	w->domains_left--;
	if (w->label[0] != '\0')
		enter(w, map_find(&w->q->domains, slice_str(w->label)));
	else
		enter(w, d->node.next == &w->q->domain_list
			     ? NULL
			     : list_entry(d->node.next, struct domain, node));
}

void queue_leave_domain(struct queue *q, struct queue_item *item)
{
	struct domain *d = (struct domain *)item->domain;
	CHECK(d->pub.items > 0);
	list_foreach(node, &q->walks) {
		struct queue_walk *w = list_entry(node, struct queue_walk, node);
		if (w->at == &item->in_domain)
			w->at = w->at->next;
	}
	list_remove(&item->in_domain);
	item->domain = NULL;
	if (--d->pub.items > 0)
		return;
	list_foreach(node, &q->walks) {
		struct queue_walk *w = list_entry(node, struct queue_walk, node);
		if (w->domain == &d->pub)
			enter_next(w);
	}
	list_remove(&d->node);
	list_remove(&d->pub.in_owner);
	(void)map_remove(&q->domains, slice_str(d->pub.name));
	mem_free(d);
}

void queue_set_domain(struct queue *q, struct queue_item *item, struct slice name)
{
	struct domain *d = map_find(&q->domains, name);
	if (d == NULL)
		d = new_domain(q, name);
	if (item->domain == &d->pub)
		return;
	if (item->domain != NULL)
		queue_leave_domain(q, item);
	d->pub.items++;
	list_push(&d->items, &item->in_domain);
	item->domain = &d->pub;
}

size_t queue_find_domains(const struct queue *q, struct slice name, struct queue_domain *found[2])
{
	char label[SPOOL_DOMAIN_MAX + 1];
	struct domain *d = map_find(&q->domains, name);
	size_t n = 0;

	if (d)
		found[n++] = &d->pub;
	if (slice_eq(slice_str(spool_label(name, label)), name))
		return n;
	d = map_find(&q->domains, slice_str(label));
	if (d)
		found[n++] = &d->pub;
	return n;
}

/* --- walks ---------------------------------------------------------------------- */

void queue_walk_begin(struct queue *q, struct queue_walk *w, struct slice domain)
{
	char label[SPOOL_DOMAIN_MAX + 1];
	*w = (struct queue_walk){ .q = q };
	list_push(&q->walks, &w->node);
	if (domain.n == 0) {
		w->domains_left = map_count(&q->domains);
		if (w->domains_left-- > 0)
			enter(w, list_first(&q->domain_list, struct domain, node));
		return;
	}
	enter(w, map_find(&q->domains, domain));
	if (slice_eq(slice_str(spool_label(domain, label)), domain))
		return;
	w->domains_left = 1;
	CHECK(strlen(label) < sizeof(w->label));
	memcpy(w->label, label, strlen(label) + 1);
	if (w->domain == NULL)
		enter_next(w);
}

struct queue_item *queue_walk_next(struct queue_walk *w)
{
	while (w->domain != NULL) {
		if (w->items_left > 0 && w->at != &((struct domain *)w->domain)->items) {
			struct queue_item *item = list_entry(w->at, struct queue_item, in_domain);
			w->at = w->at->next;
			w->items_left--;
			return item;
		}
		enter_next(w);
	}
	return NULL;
}

void queue_walk_end(struct queue_walk *w)
{
	list_remove(&w->node);
	w->domain = NULL;
}
