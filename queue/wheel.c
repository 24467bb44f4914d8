/*
 * wheel.c - the hierarchical timer wheel.
 *
 * An instant is read as digits of 6 bits. A timer sits on the level of the
 * highest digit in which it differs from now_ms, in the slot of its own digit
 * there. Hence, at any moment,
 *
 *   - on each level only slots above now's own digit are in use, and every
 *     timer of a level comes before every timer of the levels above it: the
 *     earliest slot is the lowest bit of the lowest level, no search needed;
 *   - the place of a timer follows from at_ms and now_ms alone and does not
 *     change until now reaches the start of its slot; then the slot is emptied
 *     and each timer goes to a lower level (at most WHEEL_LEVELS times);
 *   - a time not after now goes to level 0, now's own slot, which every run
 *     empties first;
 *   - slot 0 of the top level can't be in use otherwise, and holds what lies
 *     beyond the horizon (in another span of 2^48 ms); it is looked at again
 *     when now enters the next span.
 */
#include "queue/wheel.h"

#include "base/check.h"

enum {
	DIGIT_BITS = 6,
	TOP = WHEEL_LEVELS - 1,
	HORIZON_BITS = DIGIT_BITS * WHEEL_LEVELS
};

#define UNSET INT64_MIN

_Static_assert(WHEEL_SLOTS == 1 << DIGIT_BITS, "a digit picks a slot");
_Static_assert(HORIZON_BITS < 63, "instants are signed");

static unsigned digit(int64_t ms, unsigned level)
{
	return (unsigned)((uint64_t)ms >> (DIGIT_BITS * level)) & (WHEEL_SLOTS - 1);
}

struct place {
	unsigned level;
	unsigned slot;
};

static struct place place_of(int64_t now_ms, int64_t at_ms)
{
	if (at_ms <= now_ms)
		return (struct place){ 0, digit(now_ms, 0) };
	uint64_t differ = (uint64_t)at_ms ^ (uint64_t)now_ms;
	unsigned level = (63 - (unsigned)__builtin_clzll(differ)) / DIGIT_BITS;
	if (level > TOP)
		return (struct place){ TOP, 0 };
	return (struct place){ level, digit(at_ms, level) };
}

static void insert(struct wheel *w, struct wheel_timer *t)
{
	struct place p = place_of(w->now_ms, t->at_ms);
	list_push(&w->slots[p.level][p.slot], &t->node);
	w->occupied[p.level] |= UINT64_C(1) << p.slot;
}

void wheel_init(struct wheel *w, int64_t now_ms)
{
	w->now_ms = MAX(now_ms, 0);
	w->count = 0;
	for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
		w->occupied[level] = 0;
		for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
			list_init(&w->slots[level][slot]);
	}
}

void wheel_timer_init(struct wheel_timer *t)
{
	list_init(&t->node);
	t->at_ms = UNSET;
}

bool wheel_timer_is_set(const struct wheel_timer *t)
{
	return t->at_ms != UNSET;
}

void wheel_add(struct wheel *w, struct wheel_timer *t, int64_t at_ms)
{
	CHECK(!wheel_timer_is_set(t));
	list_remove(&t->node); /* it may still wait in a list of due timers */
	t->at_ms = MAX(at_ms, 0);
	insert(w, t);
	w->count++;
}

void wheel_cancel(struct wheel *w, struct wheel_timer *t)
{
	list_remove(&t->node); /* also off a list of due timers, whose owner may be about to go */
	if (!wheel_timer_is_set(t))
		return;
	struct place p = place_of(w->now_ms, t->at_ms);
	if (list_is_empty(&w->slots[p.level][p.slot]))
		w->occupied[p.level] &= ~(UINT64_C(1) << p.slot);
	t->at_ms = UNSET;
	CHECK(w->count > 0);
	w->count--;
}

void wheel_set(struct wheel *w, struct wheel_timer *t, int64_t at_ms)
{
	wheel_cancel(w, t);
	wheel_add(w, t, at_ms);
}

/* The first instant of a slot that is ahead of now (level 0: at or ahead). */
static int64_t slot_start(int64_t now_ms, struct place p)
{
	uint64_t above = (uint64_t)now_ms >> (DIGIT_BITS * (p.level + 1));
	uint64_t start = ((above << DIGIT_BITS) | p.slot) << (DIGIT_BITS * p.level);
	return (int64_t)start;
}

/* Asked only while a timer lies in a later span, so this one can't be the last: no overflow. */
static int64_t next_span(int64_t now_ms)
{
	return (int64_t)((((uint64_t)now_ms >> HORIZON_BITS) + 1) << HORIZON_BITS);
}

/* The earliest slot in use and when it starts; false if there is none. */
static bool earliest(const struct wheel *w, struct place *p, int64_t *start_ms)
{
	for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
		uint64_t bits = w->occupied[level];
		if (level == TOP)
			bits &= ~UINT64_C(1);
		if (bits == 0)
			continue;
		*p = (struct place){ level, (unsigned)__builtin_ctzll(bits) };
		*start_ms = slot_start(w->now_ms, *p);
		return true;
	}
	if (w->occupied[TOP] == 0)
		return false;
	*p = (struct place){ TOP, 0 };
	*start_ms = next_span(w->now_ms);
	return true;
}

/* now_ms has reached a slot of level 0: all of it is due. */
static void fire_slot(struct wheel *w, unsigned slot, struct list_node *due)
{
	struct list_node *head = &w->slots[0][slot];
	list_foreach(node, head) {
		list_entry(node, struct wheel_timer, node)->at_ms = UNSET;
		w->count--;
	}
	list_splice(due, head);
}

/* A timer of a slot being emptied, still linked with its old neighbours. */
static void move_down(struct wheel *w, struct list_node *node, struct list_node *due)
{
	struct wheel_timer *t = list_entry(node, struct wheel_timer, node);
	if (t->at_ms > w->now_ms) {
		insert(w, t);
		return;
	}
	t->at_ms = UNSET;
	w->count--;
	list_push(due, node);
}

/*
 * now_ms has reached a slot of a higher level: each of its timers is due or moves down. Of
 * millions of timers hardly one is in the processor's cache, and a list says where the next one is
 * only once this one has been fetched: so it is walked from both ends, two fetches at a time.
 */
static void empty_slot(struct wheel *w, struct place p, struct list_node *due)
{
	struct list_node *head = &w->slots[p.level][p.slot];
	struct list_node *first = head->next, *last = head->prev;
	CHECK(first != head);
	list_init(head);
	while (first != last) {
		struct list_node *next = first->next, *prev = last->prev;
		bool was_last_pair = next == last;
		__builtin_prefetch(next, 1);
		__builtin_prefetch(prev, 1);
		move_down(w, first, due);
		move_down(w, last, due);
		if (was_last_pair)
			return;
		first = next;
		last = prev;
	}
	move_down(w, first, due);
}

void wheel_run(struct wheel *w, int64_t now_ms, struct list_node *due)
{
	struct place p;
	int64_t start_ms;
	while (earliest(w, &p, &start_ms)) {
		if (start_ms > MAX(now_ms, w->now_ms))
			break;
		w->now_ms = start_ms;
		w->occupied[p.level] &= ~(UINT64_C(1) << p.slot);
		if (p.level == 0)
			fire_slot(w, p.slot, due);
		else
			empty_slot(w, p, due);
	}
	w->now_ms = MAX(now_ms, w->now_ms);
}

int64_t wheel_next_at(const struct wheel *w)
{
	struct place p;
	int64_t start_ms;
	return earliest(w, &p, &start_ms) ? start_ms : INT64_MAX;
}

void wheel_check(const struct wheel *w)
{
	size_t seen = 0;
	for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
		for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++) {
			const struct list_node *head = &w->slots[level][slot];
			bool marked = (w->occupied[level] >> slot & 1) != 0;
			CHECK(marked == !list_is_empty(head));
			for (const struct list_node *n = head->next; n != head; n = n->next) {
				const struct wheel_timer *t =
				    (const void *)((const char *)n -
						   offsetof(struct wheel_timer, node));
				struct place p = place_of(w->now_ms, t->at_ms);
				CHECK(wheel_timer_is_set(t));
				CHECK(n->next->prev == n);
				CHECK(p.level == level);
				CHECK(p.slot == slot);
				seen++;
			}
		}
	}
	CHECK(seen == w->count);
}
