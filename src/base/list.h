/*
 * list.h - intrusive doubly linked lists; all operations O(1).
 *
 * A struct list_node is a list head or a member; an initialised node points
 * to itself, so removing an unlinked node is harmless.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/defs.h"

struct list_node {
	struct list_node *next, *prev;
};

static inline void list_init(struct list_node *h)
{
	h->next = h->prev = h;
}

static inline bool list_is_empty(const struct list_node *h)
{
	return h->next == h;
}

static inline bool list_is_linked(const struct list_node *n)
{
	return n->next != n;
}

static inline void list_insert_before(struct list_node *at, struct list_node *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

static inline void list_push(struct list_node *h, struct list_node *n) /* at the end */
{
	list_insert_before(h, n);
}

static inline void list_push_front(struct list_node *h, struct list_node *n)
{
	list_insert_before(h->next, n);
}

static inline void list_remove(struct list_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* All of `from` goes to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list_node *to, struct list_node *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)

#define list_foreach(it, head)                                                                     \
	for (struct list_node *it = (head)->next; it != (head); it = it->next)

/* The body may remove `it`. */
#define list_foreach_safe(it, head)                                                                \
	for (struct list_node *it = (head)->next, *it##_next = it->next; it != (head);             \
	     it = it##_next, it##_next = it->next)

#endif
