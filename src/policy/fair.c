/*
 * fair.c - surplus round robin with a list of new flows (as in RFC 8290, for messages).
 */
#include "policy/fair.h"

#include "base/check.h"
#include "base/mem.h"

#define QUANTUM    (16 * 1024) /* bytes a flow may send in its turn: some small messages */
#define COST_LEAST (4 * 1024)  /* of a message however small it is: commands, replies, our work */
#define COST_MOST  (INT64_C(1) << 40)

static const int64_t weights[FAIR_CLASSES] = {
	[FAIR_URGENT] = 16,
	[FAIR_NORMAL] = 4,
	[FAIR_BULK] = 1,
};

struct fair_flow {
	struct list_node items;
	struct list_node node; /* in fresh or round of its share */
	int64_t credit;
	uint32_t sender;
	uint8_t class;
	bool fresh;
};

#define KEY_BYTES 5

static struct slice key_of(enum fair_class class, uint32_t sender, char key[KEY_BYTES])
{
	for (unsigned i = 0; i < 4; i++)
		key[i] = (char)(sender >> 8 * i);
	key[4] = (char)class;
	return slice_of(key, KEY_BYTES);
}

void fair_init(struct fair *f, uint64_t seed)
{
	*f = (struct fair){ .turn = NULL };
	map_init(&f->flows, seed);
	for (size_t i = 0; i < FAIR_CLASSES; i++) {
		list_init(&f->shares[i].fresh);
		list_init(&f->shares[i].round);
	}
}

static void flow_free(struct fair *f, struct fair_flow *flow)
{
	char key[KEY_BYTES];

	CHECK(list_is_empty(&flow->items));
	map_remove(&f->flows, key_of((enum fair_class)flow->class, flow->sender, key));
	list_remove(&flow->node);
	if (f->turn == flow)
		f->turn = NULL;
	mem_free(flow);
}

static void drop_flows(struct fair *f, struct list_node *list)
{
	while (!list_is_empty(list))
		flow_free(f, list_first(list, struct fair_flow, node));
}

void fair_fini(struct fair *f)
{
	for (size_t i = 0; i < FAIR_CLASSES; i++) {
		drop_flows(f, &f->shares[i].fresh);
		drop_flows(f, &f->shares[i].round);
	}
	CHECK(map_count(&f->flows) == 0);
	map_fini(&f->flows);
}

/* Makes it, before the round, if it is not there; 0 stands in for those that find no place. */
static struct fair_flow *flow_get(struct fair *f, enum fair_class class, uint32_t sender)
{
	char key[KEY_BYTES];
	struct fair_flow *flow = map_find(&f->flows, key_of(class, sender, key));

	if (!flow && map_count(&f->flows) >= FAIR_FLOWS_MAX - FAIR_CLASSES) {
		sender = 0;
		flow = map_find(&f->flows, key_of(class, sender, key));
	}
	if (flow)
		return flow;
	flow = mem_zalloc(sizeof(*flow));
	list_init(&flow->items);
	list_init(&flow->node);
	flow->sender = sender;
	flow->class = (uint8_t) class;
	flow->credit = QUANTUM;
	map_put(&f->flows, key_of(class, sender, key), flow);
	list_push(&f->shares[class].fresh, &flow->node);
	flow->fresh = true;
	return flow;
}

void fair_add(struct fair *f, struct list_node *item, enum fair_class class, uint32_t sender)
{
	CHECK(class < FAIR_CLASSES);
	list_push(&flow_get(f, class, sender)->items, item);
}

void fair_add_first(struct fair *f, struct list_node *item, enum fair_class class, uint32_t sender)
{
	CHECK(class < FAIR_CLASSES);
	list_push_front(&flow_get(f, class, sender)->items, item);
}

static void merge_flow(struct fair *f, struct fair_flow *from, bool first)
{
	if (list_is_empty(&from->items))
		return;
	struct fair_flow *to = flow_get(f, (enum fair_class)from->class, from->sender);
	if (first)
		list_splice(&from->items, &to->items);
	list_splice(&to->items, &from->items);
}

void fair_merge(struct fair *f, struct fair *from, bool first)
{
	f->turn = from->turn = NULL;
	for (size_t i = 0; i < FAIR_CLASSES; i++) {
		list_foreach(it, &from->shares[i].fresh)
			merge_flow(f, list_entry(it, struct fair_flow, node), first);
		list_foreach(it, &from->shares[i].round)
			merge_flow(f, list_entry(it, struct fair_flow, node), first);
		drop_flows(from, &from->shares[i].fresh);
		drop_flows(from, &from->shares[i].round);
	}
}

void fair_extract(struct fair *f, bool (*is_wanted)(struct list_node *item, const void *arg),
    const void *arg, struct list_node *to)
{
	size_t cursor = 0;
	struct slice key;
	void *value;

	while (map_next(&f->flows, &cursor, &key, &value)) {
		struct fair_flow *flow = value;
		list_foreach_safe(it, &flow->items) {
			if (!is_wanted(it, arg))
				continue;
			list_remove(it);
			list_push(to, it);
		}
	}
}

/* --- turns ------------------------------------------------------------------- */

static void to_the_end(struct fair *f, struct fair_flow *flow)
{
	list_remove(&flow->node);
	list_push(&f->shares[flow->class].round, &flow->node);
	flow->fresh = false;
}

/* The first flow with an item and credit; NULL if there is no item. One that is new and empty by
 * now stays for a round, or it would be new again with each item. */
static struct fair_flow *head_of(struct fair *f, struct fair_share *share)
{
	for (;;) {
		struct list_node *list =
		    list_is_empty(&share->fresh) ? &share->round : &share->fresh;
		if (list_is_empty(list))
			return NULL;
		struct fair_flow *flow = list_first(list, struct fair_flow, node);
		bool empty = list_is_empty(&flow->items);
		if (flow->credit > 0 && !empty)
			return flow;
		if (flow->credit > 0 && !flow->fresh) {
			flow_free(f, flow);
			continue;
		}
		if (flow->credit <= 0)
			flow->credit += QUANTUM;
		to_the_end(f, flow);
	}
}

/* As many rounds as it takes until a class with items has credit; who has none takes part, too. */
static void refill(struct fair *f, struct fair_flow *const heads[FAIR_CLASSES])
{
	int64_t rounds = INT64_MAX;

	for (size_t i = 0; i < FAIR_CLASSES; i++)
		if (heads[i])
			rounds = MIN(rounds, -f->shares[i].credit / (weights[i] * QUANTUM) + 1);
	for (size_t i = 0; i < FAIR_CLASSES; i++) {
		int64_t full = weights[i] * QUANTUM;
		f->shares[i].credit = MIN(f->shares[i].credit + rounds * full, full);
	}
}

struct list_node *fair_next(struct fair *f)
{
	struct fair_flow *heads[FAIR_CLASSES];
	bool some = false;

	f->turn = NULL;
	for (size_t i = 0; i < FAIR_CLASSES; i++) {
		heads[i] = head_of(f, &f->shares[i]);
		some |= heads[i] != NULL;
	}
	for (int pass = 0; some && !f->turn; pass++) {
		CHECK(pass < 2);
		for (size_t i = 0; i < FAIR_CLASSES && !f->turn; i++)
			if (heads[i] && f->shares[i].credit > 0)
				f->turn = heads[i];
		if (!f->turn)
			refill(f, heads);
	}
	return f->turn ? f->turn->items.next : NULL;
}

static void charge(struct fair *f, struct fair_flow *flow, uint64_t bytes)
{
	int64_t cost = (int64_t)MIN(bytes, (uint64_t)COST_MOST);

	flow->credit -= cost;
	f->shares[flow->class].credit -= cost;
}

void fair_take(struct fair *f, struct list_node *item, uint64_t bytes)
{
	CHECK(f->turn != NULL);
	CHECK(f->turn->items.next == item);
	list_remove(item);
	charge(f, f->turn, MAX(bytes, (uint64_t)COST_LEAST));
	f->turn = NULL;
}

void fair_charge(struct fair *f, enum fair_class class, uint32_t sender, uint64_t bytes)
{
	char key[KEY_BYTES];
	struct fair_flow *flow = map_find(&f->flows, key_of(class, sender, key));

	if (flow && bytes > COST_LEAST)
		charge(f, flow, bytes - COST_LEAST);
}

size_t fair_flows(const struct fair *f)
{
	return map_count(&f->flows);
}
