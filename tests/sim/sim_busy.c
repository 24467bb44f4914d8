#include "sim/sim_busy.h"

#include "base/mem.h"

/* After a limit was lowered: the longest attempts began before. */
#define LINGER_MS (6 * SIM_HOUR)

enum state {
	STATE_IDLE,    /* takes up nothing */
	STATE_FULL,    /* has as many connections as it may have in all */
	STATE_WORKING, /* could do more */
};

struct point { /* of the daemon as a whole, from at_ms on */
	int64_t at_ms;
	enum state state;
	unsigned limit; /* of a site */
	unsigned limit_in_all;
};

static struct {
	struct point *points;
	size_t points_n, points_cap;
	unsigned used, open, limit, limit_in_all;
	bool working;
} all;

/* --- writing -------------------------------------------------------------------------- */

static void note_all(void)
{
	SIM_WORLD_SIDE;
	/* Sites that are only tried out leave one half to the others. */
	unsigned share = MAX(all.limit_in_all / 2, 1U);
	enum state state = !all.working        ? STATE_IDLE
			   : all.used >= share ? STATE_FULL
					       : STATE_WORKING;
	struct point *last = all.points_n ? &all.points[all.points_n - 1] : NULL;

	if (last && last->state == state && last->limit == all.limit &&
	    last->limit_in_all == all.limit_in_all)
		return;
	if (!last || last->at_ms != sim.now_ms) {
		if (all.points_n == all.points_cap) {
			all.points_cap = MAX(all.points_cap * 2, (size_t)64);
			all.points = mem_realloc(all.points, all.points_cap * sizeof(*all.points));
		}
		last = &all.points[all.points_n++];
	}
	*last = (struct point){ sim.now_ms, state, all.limit, all.limit_in_all };
}

static void note_site(struct sim_site *s)
{
	SIM_WORLD_SIDE;
	struct sim_busy_point *last = s->points_n ? &s->points[s->points_n - 1] : NULL;

	if (!last || last->at_ms != sim.now_ms) {
		if (s->points_n == s->points_cap) {
			s->points_cap = MAX(s->points_cap * 2, (size_t)16);
			s->points = mem_realloc(s->points, s->points_cap * sizeof(*s->points));
		}
		last = &s->points[s->points_n++];
	}
	*last = (struct sim_busy_point){ sim.now_ms, s->open, s->asking };
}

void sim_busy_open(struct sim_site *s, int change)
{
	s->open += (unsigned)change;
	all.open += (unsigned)change;
	all.used += (unsigned)change;
	note_site(s);
	note_all();
}

void sim_busy_ask(struct sim_site *s, int change)
{
	s->asking += (unsigned)change;
	all.used += (unsigned)change;
	note_site(s);
	note_all();
}

void sim_busy_limits(unsigned per_site, unsigned in_all)
{
	all.limit = per_site;
	all.limit_in_all = in_all;
	note_all();
}

unsigned sim_busy_site_limit(void)
{
	unsigned limit = all.limit;

	for (size_t i = all.points_n; i > 1 && all.points[i - 1].at_ms > sim.now_ms - LINGER_MS;
	     i--)
		limit = MAX(limit, all.points[i - 2].limit);
	return limit;
}

unsigned sim_busy_all_limit(void)
{
	unsigned limit = all.limit_in_all;

	for (size_t i = all.points_n; i > 1 && all.points[i - 1].at_ms > sim.now_ms - LINGER_MS;
	     i--)
		limit = MAX(limit, all.points[i - 2].limit_in_all);
	return limit;
}

unsigned sim_busy_open_now(void)
{
	return all.open;
}

void sim_busy_set_working(bool working)
{
	all.working = working;
	note_all();
}

/* --- reading ---------------------------------------------------------------------------- */

/* The last of the points at or before an instant; n: all are later. */
static size_t find_site_point(const struct sim_site *s, int64_t at_ms)
{
	size_t lo = 0, hi = s->points_n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->points[mid].at_ms <= at_ms)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t find_point(int64_t at_ms)
{
	size_t lo = 0, hi = all.points_n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (all.points[mid].at_ms <= at_ms)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void sim_busy_measure(const struct sim_site *s, int64_t from_ms, int64_t to_ms, struct sim_wait *w)
{
	size_t i = find_point(from_ms), k = find_site_point(s, from_ms); /* the next of each */
	int64_t idle_ms = 0;

	*w = (struct sim_wait){ 0 };
	for (int64_t at = from_ms, next; at < to_ms; at = next) {
		const struct point *p = i > 0 ? &all.points[i - 1] : NULL;
		const struct sim_busy_point *b = k > 0 ? &s->points[k - 1] : NULL;
		next = to_ms;
		if (i < all.points_n)
			next = MIN(next, all.points[i].at_ms);
		if (k < s->points_n)
			next = MIN(next, s->points[k].at_ms);
		unsigned open = b ? b->open : 0, asking = b ? b->asking : 0;
		bool could = p && p->state == STATE_WORKING;
		idle_ms = could && open + asking == 0 ? idle_ms + next - at : 0;
		w->idle_ms = MAX(w->idle_ms, idle_ms);
		if (could && open + asking < p->limit)
			w->free_ms += next - at;
		if (p && p->state == STATE_FULL)
			w->full_ms += next - at;
		i += i < all.points_n && all.points[i].at_ms == next;
		k += k < s->points_n && s->points[k].at_ms == next;
	}
}
