#include "sim/sim_traffic.h"

#include "base/mem.h"

#define TRAFFIC_PERIOD_MS SIM_MINUTE
/* A message is counted when a connection is found for it; on its way through a session that is
 * made for it, it may be this late. */
#define TRAFFIC_LATE_MS   (15 * SIM_SECOND)
#define TRAFFIC_SEEN_MAX  4096
#define TRAFFIC_OLD_MS    (5 * SIM_MINUTE) /* sessions begun under other limits are over */

struct seen { /* the last of them, in a ring */
	int64_t at_ms[TRAFFIC_SEEN_MAX];
	size_t n, life;
};

struct sim_traffic { /* of a site */
	struct seen messages, connections;
};

static struct {
	struct sim_rates limits;
	int64_t since_ms;
	bool limited;
} traffic = { .since_ms = -TRAFFIC_OLD_MS };

void sim_traffic_limit(struct sim_rates limits)
{
	bool same = limits.messages == traffic.limits.messages &&
		    limits.connections == traffic.limits.connections;

	if (!same)
		traffic.since_ms = sim.now_ms > 0 ? sim.now_ms : -TRAFFIC_OLD_MS;
	traffic.limits = limits;
	traffic.limited |= limits.messages > 0 || limits.connections > 0;
}

bool sim_traffic_was_limited(void)
{
	return traffic.limited;
}

static size_t count_since(const struct seen *s, int64_t from_ms)
{
	size_t n = 0;

	while (n < s->n && n < TRAFFIC_SEEN_MAX &&
	       s->at_ms[(s->n - 1 - n) % TRAFFIC_SEEN_MAX] > from_ms)
		n++;
	return n;
}

/* late_n: more that may come in a minute, for they are late from the one before. */
static void note(struct seen *s, unsigned limit, size_t late_n, const struct sim_host *h,
    const char *what)
{
	if (s->life != sim.lives_n) { /* a daemon that starts knows nothing of what went before */
		s->life = sim.lives_n;
		s->n = 0;
	}
	s->at_ms[s->n++ % TRAFFIC_SEEN_MAX] = sim.now_ms;
	if (limit == 0 || sim.now_ms - traffic.since_ms < TRAFFIC_OLD_MS)
		return;
	size_t n = count_since(s, sim.now_ms - TRAFFIC_PERIOD_MS);
	if (n > limit + late_n)
		sim_violation("%s: %zu %s in a minute, at most %u are allowed", h->name, n, what,
		    limit);
}

/* NULL: who shares limits with whom changes, or can't be seen at the host. */
static struct sim_traffic *traffic_of(const struct sim_host *h)
{
	struct sim_domain *d = h->domain;

	if (!d->prompt || (d->site->domains > 1 && !d->site->is_route))
		return NULL;
	if (!d->site->traffic)
		d->site->traffic = mem_zalloc(sizeof(*d->site->traffic));
	return d->site->traffic;
}

void sim_traffic_dial(const struct sim_host *h)
{
	SIM_WORLD_SIDE;
	struct sim_traffic *t = traffic_of(h);

	if (t)
		note(&t->connections, traffic.limits.connections, 0, h, "connections");
}

void sim_traffic_mail(const struct sim_host *h)
{
	SIM_WORLD_SIDE;
	/* Elsewhere one may come twice: it goes to another host, or over a new connection. */
	struct sim_traffic *t = sim.calm ? traffic_of(h) : NULL;
	size_t late_n = traffic.limits.messages * TRAFFIC_LATE_MS / TRAFFIC_PERIOD_MS;

	if (t)
		note(&t->messages, traffic.limits.messages, late_n, h, "messages");
}

/* --- what a host bears ------------------------------------------------------------------ */

void sim_traffic_init(struct sim_host *h)
{
	struct sim_bounds *b = &h->bounds;

	if (h->character == SIM_HOST_NARROW)
		b->limit = (unsigned)sim_between(1, 3);
	if (h->character != SIM_HOST_METERED)
		return;
	b->limit = (unsigned)sim_between(3, 30);
	b->taken_ms = mem_alloc(b->limit * sizeof(*b->taken_ms));
	for (size_t i = 0; i < b->limit; i++)
		b->taken_ms[i] = -TRAFFIC_PERIOD_MS;
}

bool sim_traffic_connects(struct sim_host *h)
{
	struct sim_bounds *b = &h->bounds;

	if (h->character == SIM_HOST_NARROW && b->connections >= b->limit)
		return false;
	b->connections++;
	return true;
}

void sim_traffic_disconnects(struct sim_host *h)
{
	h->bounds.connections--;
}

bool sim_traffic_takes(struct sim_host *h)
{
	struct sim_bounds *b = &h->bounds;

	if (h->character != SIM_HOST_METERED)
		return true;
	int64_t *oldest_ms = &b->taken_ms[b->taken_n % b->limit];
	if (sim.now_ms - *oldest_ms < TRAFFIC_PERIOD_MS)
		return false;
	*oldest_ms = sim.now_ms;
	b->taken_n++;
	return true;
}

bool sim_traffic_presses(const struct sim_domain *d)
{
	for (size_t i = 0; i < d->hosts_n; i++)
		if (d->hosts[i].character == SIM_HOST_METERED ||
		    d->hosts[i].character == SIM_HOST_421S)
			return true;
	return false;
}
