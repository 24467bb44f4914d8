#include "sim/sim_said.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "sim/sim_judge.h"

/* What the man page promises. */
#define SAID_MAX_MS     (SIM_DAY)
#define SAID_NODATA_MS  (SIM_MINUTE) /* where the answer does not say */
#define SAID_FAILED_MS  (5 * SIM_SECOND)
#define SAID_STALE_MS   (SIM_DAY)
#define SAID_RECHECK_MS (2 * SIM_MINUTE) /* half a minute, and the patience with the question */

/* How long an attempt may be under way before it dials the host in question. */
#define ATTEMPT_MS      (15 * SIM_MINUTE)
#define ATTEMPT_SLOW_MS (6 * SIM_HOUR)

struct note { /* of a channel, a type and a name */
	bool open;
	int64_t until_ms;
};

static struct map notes;

static int64_t until_of(const struct dns_answer *a)
{
	int64_t ttl_ms = MIN((int64_t)a->ttl_s * SIM_SECOND, SAID_MAX_MS);

	if (a->outcome == DNS_FAILED)
		ttl_ms = SAID_FAILED_MS;
	else if (a->outcome == DNS_NODATA && ttl_ms == 0)
		ttl_ms = SAID_NODATA_MS;
	if (a->outcome == DNS_NODATA || a->outcome == DNS_NXDOMAIN)
		ttl_ms = MIN(ttl_ms, SIM_HOUR);
	return sim.now_ms + ttl_ms;
}

/* --- what is asked ---------------------------------------------------------------------- */

static struct note *note_of(unsigned channel, const char *name, enum dns_type type)
{
	char key[DNS_NAME_MAX + 32];
	int n = snprintf(key, sizeof(key), "%u %d %s", channel, type, name);
	struct slice text = slice_of(key, (size_t)n);
	struct note *note = map_find(&notes, text);

	if (note)
		return note;
	note = mem_zalloc(sizeof(*note));
	map_put(&notes, text, note);
	return note;
}

void sim_said_asked(unsigned channel, const char *name, enum dns_type type)
{
	SIM_WORLD_SIDE;
	struct note *note = note_of(channel, name, type);

	if (note->open)
		sim_violation("%s (%d) is asked for twice at once", name, type);
	if (sim.now_ms < note->until_ms)
		sim_violation("%s (%d) is asked for, with %lld ms left of the last answer", name,
		    type, (long long)(note->until_ms - sim.now_ms));
	note->open = true;
}

void sim_said_dropped(unsigned channel, const char *name, enum dns_type type)
{
	SIM_WORLD_SIDE;
	note_of(channel, name, type)->open = false;
}

void sim_said_forget(void)
{
	SIM_WORLD_SIDE;
	size_t cursor = 0;
	struct slice key;
	void *note;

	while (map_next(&notes, &cursor, &key, &note))
		mem_free(note);
	map_fini(&notes);
}

/* --- what is answered --------------------------------------------------------------------- */

static struct sim_host *host_named(const char *name)
{
	struct sim_domain *d = sim_net_find_owner(name);

	for (size_t i = 0; d && i < d->hosts_n; i++)
		if (strcmp(d->hosts[i].name, name) == 0)
			return &d->hosts[i];
	return d && d->dns == SIM_DNS_IMPLICIT ? &d->hosts[0] : NULL;
}

static void note_gone(struct sim_domain *d, int64_t until_ms)
{
	struct sim_gone *g = mem_zalloc(sizeof(*g));

	*g = (struct sim_gone){ d->gone, sim.now_ms, until_ms };
	d->gone = g;
}

static void note_no(struct sim_site *s, int64_t until_ms)
{
	struct sim_no *n = mem_zalloc(sizeof(*n));

	*n = (struct sim_no){ s->noes, sim.now_ms, until_ms };
	s->noes = n;
}

static void note_mx(const char *name, const struct dns_answer *a, int64_t until_ms)
{
	struct sim_domain *d = sim_net_find(slice_str(name));

	if (!d)
		return;
	if (a->outcome == DNS_NXDOMAIN ||
	    (a->outcome == DNS_OK && a->records_n == 1 && a->records[0].name[0] == '\0'))
		note_gone(d, until_ms);
	if (a->outcome == DNS_NODATA)
		d->hosts[0].mx_until_ms = MAX(d->hosts[0].mx_until_ms, until_ms);
	for (size_t i = 0; i < a->records_n; i++) {
		struct sim_host *h = host_named(a->records[i].name);
		if (h)
			h->mx_until_ms = MAX(h->mx_until_ms, until_ms);
	}
}

void sim_said_answer(unsigned channel, const char *name, enum dns_type type,
    const struct dns_answer *a)
{
	SIM_WORLD_SIDE;
	struct note *note = note_of(channel, name, type);
	struct sim_site *site = sim_dns_site(name);

	note->open = false;
	note->until_ms = until_of(a);
	if (a->outcome == DNS_FAILED && site)
		site->dns_failed_ms = sim.now_ms;
	if (type == DNS_TYPE_MX)
		note_mx(name, a, note->until_ms);
	/* Where there is no MX the address counts; where there is no AAAA, the A. */
	bool is_no = type == DNS_TYPE_A ? a->outcome != DNS_OK
					: a->outcome == DNS_FAILED || a->outcome == DNS_NXDOMAIN;
	if (site && is_no)
		note_no(site, note->until_ms);
	struct sim_host *h = type == DNS_TYPE_A ? host_named(name) : NULL;
	if (h && a->outcome == DNS_OK)
		h->a_until_ms = MAX(h->a_until_ms, note->until_ms);
}

/* --- what is made of it ------------------------------------------------------------------------
 */

static bool is_slow(const struct sim_domain *d)
{
	for (size_t i = 0; i < d->hosts_n; i++) {
		enum sim_character c = d->hosts[i].character;
		if (c == SIM_HOST_TARPITS || c == SIM_HOST_SILENT || c == SIM_HOST_GARBAGE ||
		    c == SIM_HOST_BYTEWISE)
			return true;
	}
	return false;
}

void sim_said_dialled(const struct sim_host *h)
{
	const struct sim_domain *d = h->domain;
	int64_t slack_ms =
	    is_slow(d) || d->site->domains > 1 || sim_net_dooms() ? ATTEMPT_SLOW_MS : ATTEMPT_MS;
	int64_t until_ms = d->site->is_route ? h->a_until_ms : MIN(h->mx_until_ms, h->a_until_ms);

	if (d->site->is_route && h->number % SIM_HOSTS_PER_DOMAIN == 1)
		return; /* by its address, in the config */
	if (sim.now_ms <= until_ms + slack_ms)
		return;
	if (sim.now_ms <= d->site->dns_failed_ms + SAID_RECHECK_MS + slack_ms &&
	    sim.now_ms <= until_ms + SAID_STALE_MS + slack_ms)
		return;
	sim_violation("%s is dialled %lld s after the DNS named it last", h->name,
	    (long long)((sim.now_ms - until_ms) / SIM_SECOND));
}

bool sim_said_no(const struct sim_site *s, int64_t life_ms, int64_t at_ms)
{
	for (const struct sim_no *n = s->noes; n && n->at_ms >= life_ms; n = n->next)
		if (n->at_ms <= at_ms && at_ms <= n->until_ms + JUDGE_RECORD_MS)
			return true;
	return false;
}

bool sim_said_gone(const struct sim_domain *d, int64_t at_ms)
{
	for (const struct sim_gone *g = d->gone; g; g = g->next)
		if (g->at_ms <= at_ms && at_ms <= g->until_ms + JUDGE_RECORD_MS)
			return true;
	return false;
}
