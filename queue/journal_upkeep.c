/*
 * journal_upkeep.c - which mail is to leave the journal: that of the oldest
 * segment when space gets short, and what has been here for long.
 *
 * Of each segment it is known where its records ended some time ago (seen):
 * what stood there then is old when age_ms have passed. So mail is parked
 * between one and two such times after it came while its segment is written,
 * and one such time after the segment was filled.
 */
#include "base/check.h"
#include "queue/journal_int.h"

enum {
	FILE_WEIGHT = 16 /* of a body in a file, which is copied: parts without one */
};

/* --- what is to leave; all locked ----------------------------------------------------- */

static bool is_movable(const struct journal_msg *m)
{
	for (unsigned i = 0; i < m->parts_n; i++) {
		if (m->parts[i].place == JOURNAL_LIVE)
			return true;
	}
	return false;
}

/* Messages stand in the order of their records. */
static bool has_movable(const struct journal_segment *s, uint64_t before)
{
	list_foreach(node, &s->msgs) {
		const struct journal_msg *m = list_entry(node, struct journal_msg, node);
		if (m->at >= before)
			return false;
		if (is_movable(m))
			return true;
	}
	return false;
}

/* The first segment with mail that is to leave, and before where; NULL: none. */
static struct journal_segment *to_empty(const struct journal *j, uint64_t *before)
{
	list_foreach(node, &j->used) {
		struct journal_segment *s = list_entry(node, struct journal_segment, node);
		bool crowded = node == j->used.next && j->used_n > j->segments_max / 2;
		*before = crowded && s != j->head ? s->bytes : s->old_end;
		if (has_movable(s, *before))
			return s;
	}
	return NULL;
}

static void see(struct journal_segment *s, int64_t mono_ms)
{
	s->seen_end = s->end;
	s->seen_ms = mono_ms;
}

static void age(struct journal *j, int64_t mono_ms)
{
	list_foreach(node, &j->used) {
		struct journal_segment *s = list_entry(node, struct journal_segment, node);
		bool filled = s != j->head && s->seen_end != s->end;
		if (s->seen_end == 0 || filled) {
			see(s, mono_ms);
		} else if (mono_ms - s->seen_ms >= j->age_ms) {
			s->old_end = s->seen_end;
			see(s, mono_ms);
		}
	}
}

/* --- asked from outside ------------------------------------------------------------------ */

bool journal_is_dirty(struct journal *j, int64_t mono_ms)
{
	uint64_t before;
	pthread_mutex_lock(&j->lock);
	age(j, mono_ms);
	bool dirty = buf_len(&j->ends) > 0 || j->seal || j->zombies != 0 ||
		     journal_wants_spare(j) || journal_body_is_over(j) ||
		     !list_is_empty(&j->leaving) || to_empty(j, &before) != NULL;
	pthread_mutex_unlock(&j->lock);
	return dirty;
}

size_t journal_collect(struct journal *j, struct journal_part **parts, size_t max)
{
	size_t n = 0, weight = 0;
	uint64_t before;
	pthread_mutex_lock(&j->lock);
	struct journal_segment *s = to_empty(j, &before);
	for (struct list_node *node = s != NULL ? s->msgs.next : NULL;
	     s != NULL && node != &s->msgs && weight < max; node = node->next) {
		struct journal_msg *m = list_entry(node, struct journal_msg, node);
		if (m->at >= before)
			break;
		for (unsigned i = 0; i < m->parts_n && weight < max; i++) {
			if (m->parts[i].place != JOURNAL_LIVE)
				continue;
			m->parts[i].place = JOURNAL_MOVING;
			parts[n++] = &m->parts[i];
			weight += m->in_file ? FILE_WEIGHT : 1;
		}
	}
	pthread_mutex_unlock(&j->lock);
	return n;
}
