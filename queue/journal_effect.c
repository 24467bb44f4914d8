/*
 * journal_effect.c - outcomes that only the record of their report holds.
 *
 * A REPORT record says what became of recipients of another item. Until that
 * stands where the item is, or the item is gone for good, the record is needed:
 * the effect is one more part of the report's message, LIVE as the others are,
 * though it is never moved. It is found by the item's id and part, and whoever
 * reads that item's envelope applies it.
 *
 *     EFFECT --queue file synced----------------------> DONE  journal_effects_end
 *     EFFECT --file unlinked--> leaving --dirs synced-> DONE  journal_effects_leave
 *
 * An item that the journal has itself, LIVE, and that is over needs no effect:
 * its own record is older than the report's, and goes before it. But a move that
 * failed may have left its file on disk with the unlink not synced, so this
 * one leaves like the others.
 */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/journal_int.h"

struct journal_effect {
	struct list_node node;       /* in leaving */
	struct journal_effect *next; /* of the same item, later */
	struct journal_part *part;   /* in the report's message */
	struct qid id;               /* of the item */
	unsigned number;
	uint64_t dirs; /* leaving: to be synced before it may end */
	size_t entries_n;
	char entries[];
};

struct effect_key {
	uint64_t id[2], part;
};

static struct effect_key key_of(struct qid id, unsigned part)
{
	return (struct effect_key){ { id.arrival_ms, id.serial }, part };
}

static struct slice bytes_of(const struct effect_key *k)
{
	return slice_of((const char *)k, sizeof(*k));
}

/* --- making ----------------------------------------------------------------------- */

struct journal_effect *journal_effect_new(struct journal_msg *m, const struct journal_outcome *o)
{
	struct journal_effect *x = mem_zalloc(sizeof(*x) + o->entries.n);
	list_init(&x->node);
	x->part = &m->parts[m->parts_n - 1];
	x->part->place = JOURNAL_EFFECT;
	x->id = o->id;
	x->number = o->part;
	x->entries_n = o->entries.n;
	if (o->entries.n > 0)
		memcpy(x->entries, o->entries.p, o->entries.n);
	return x;
}

void journal_effect_add(struct journal *j, struct journal_effect *x)
{
	struct effect_key k = key_of(x->id, x->number);
	struct journal_effect *at = map_find(&j->effects, bytes_of(&k));
	if (at == NULL) {
		(void)map_put(&j->effects, bytes_of(&k), x);
		atomic_store(&j->effects_n, map_count(&j->effects));
		return;
	}
	while (at->next != NULL)
		at = at->next;
	at->next = x;
}

/* Out of the map, with all that follow it. */
static struct journal_effect *take_all(struct journal *j, struct qid id, unsigned part)
{
	struct effect_key k = key_of(id, part);
	struct journal_effect *first = map_remove(&j->effects, bytes_of(&k));
	atomic_store(&j->effects_n, map_count(&j->effects));
	return first;
}

void journal_effect_forget(struct journal *j, struct journal_effect *x)
{
	struct effect_key k = key_of(x->id, x->number);
	struct journal_effect *first = map_find(&j->effects, bytes_of(&k)), **at = &first;
	while (*at != x) {
		CHECK(*at != NULL);
		at = &(*at)->next;
	}
	*at = x->next;
	if (first == NULL)
		(void)map_remove(&j->effects, bytes_of(&k));
	else
		(void)map_put(&j->effects, bytes_of(&k), first);
	atomic_store(&j->effects_n, map_count(&j->effects));
	mem_free(x);
}

void journal_effect_drop_all(struct journal *j)
{
	size_t cursor = 0;
	struct slice key;
	void *value;
	while (map_next(&j->effects, &cursor, &key, &value)) {
		for (struct journal_effect *x = value, *next; x != NULL; x = next) {
			next = x->next;
			mem_free(x);
		}
	}
	map_fini(&j->effects);
	list_foreach_safe(node, &j->leaving)
		mem_free(list_entry(node, struct journal_effect, node));
}

/* --- using ------------------------------------------------------------------------ */

/* Not locked: an item's are made and ended by its own operations, one after the other. */
static bool has_none(struct journal *j)
{
	return atomic_load(&j->effects_n) == 0;
}

bool journal_effects_apply(struct journal *j, struct qid id, unsigned part, struct envelope *e)
{
	struct effect_key k = key_of(id, part);
	if (has_none(j))
		return false;
	pthread_mutex_lock(&j->lock);
	const struct journal_effect *first = map_find(&j->effects, bytes_of(&k));
	for (const struct journal_effect *x = first; x != NULL; x = x->next)
		tail_apply_entries(slice_of(x->entries, x->entries_n), e);
	pthread_mutex_unlock(&j->lock);
	return first != NULL;
}

struct journal_owed *journal_effects_list(struct journal *j, size_t *n)
{
	size_t cursor = 0;
	struct slice key;
	void *value;
	*n = 0;
	if (has_none(j))
		return NULL;
	pthread_mutex_lock(&j->lock);
	struct journal_owed *list = mem_alloc((map_count(&j->effects) + 1) * sizeof(*list));
	while (map_next(&j->effects, &cursor, &key, &value)) {
		const struct journal_effect *x = value;
		list[(*n)++] = (struct journal_owed){ x->id, x->number };
	}
	pthread_mutex_unlock(&j->lock);
	return list;
}

/* --- ending ----------------------------------------------------------------------- */

/* Locked. */
static void end(struct journal *j, struct journal_effect *x)
{
	struct journal_msg *m = x->part->msg;
	journal_part_over(j, x->part, JOURNAL_DONE);
	m->effect = NULL;
	CHECK(m->refs > 0);
	m->refs--;
	journal_msg_drop(m);
	mem_free(x);
}

void journal_effects_end(struct journal *j, struct qid id, unsigned part)
{
	if (has_none(j))
		return;
	pthread_mutex_lock(&j->lock);
	for (struct journal_effect *x = take_all(j, id, part), *next; x != NULL; x = next) {
		next = x->next;
		end(j, x);
	}
	pthread_mutex_unlock(&j->lock);
}

void journal_effects_leave(struct journal *j, struct qid id, unsigned part, uint64_t dirs)
{
	if (has_none(j))
		return;
	pthread_mutex_lock(&j->lock);
	for (struct journal_effect *x = take_all(j, id, part), *next; x != NULL; x = next) {
		next = x->next;
		x->next = NULL;
		x->dirs = dirs;
		list_push(&j->leaving, &x->node);
	}
	pthread_mutex_unlock(&j->lock);
}

/* All that unlinks could have touched: whether another thread's sync is just under way or has
 * failed is not asked. */
static int sync_dirs(struct journal *j, const struct list_node *leaving)
{
	uint64_t dirs = 0;
	int first = 0;
	list_foreach(node, leaving)
		dirs |= list_entry(node, struct journal_effect, node)->dirs;
	spool_remove_orphans(j->spool);
	for (unsigned dir = 0; dir < SPOOL_DIRS; dir++) {
		int err = (dirs >> dir & 1) != 0 ? spool_sync(j->spool, dir) : 0;
		first = first < 0 ? first : err;
	}
	return first;
}

int journal_effects_sync(struct journal *j)
{
	struct list_node mine;
	list_init(&mine);
	pthread_mutex_lock(&j->lock);
	list_splice(&mine, &j->leaving);
	pthread_mutex_unlock(&j->lock);
	if (list_is_empty(&mine))
		return 0;
	int err = sync_dirs(j, &mine);
	bool gone = err == 0 && atomic_load(&j->spool->orphans_left) == 0;
	pthread_mutex_lock(&j->lock);
	list_foreach_safe(node, &mine) {
		list_remove(node);
		if (gone)
			end(j, list_entry(node, struct journal_effect, node));
		else
			list_push(&j->leaving, node);
	}
	pthread_mutex_unlock(&j->lock);
	return err;
}
