/*
 * The burst. Its messages come over some connections at once, much faster than
 * the site takes them; the single ones begin when the queue is long. What a
 * message takes is measured: the time of the burst by its number. In that unit
 * a single message must be delivered as if next to nothing were before it.
 */
#include "sim/sim_fair.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/queue.h"
#include "sim/sim_check.h"
#include "sim/sim_io.h"
#include "sim/sim_mail.h"
#include "sim/sim_plan.h"
#include "sim/sim_run.h"

#define FAIR_BURSTERS    20 /* connections */
#define FAIR_SINGLES     200
#define FAIR_OTHERS      200              /* to other sites */
#define FAIR_BEGIN_MS    (5 * SIM_SECOND) /* of the single ones */
#define FAIR_LATENCY_MS  10               /* of the site */
#define FAIR_CONNECTIONS 2
#define FAIR_RATE        1200 /* a minute */
#define FAIR_LOOK_MS     (10 * SIM_SECOND)
#define FAIR_END_MS      (12 * SIM_HOUR)
/* p99 of a single message, in messages: those on their way, its turn, itself. */
#define FAIR_WAIT_MAX    12
#define FAIR_OTHERS_MS   1000 /* p99 of those to other sites */

enum kind { /* and its client */
	KIND_BURST = 2,
	KIND_SINGLE,
	KIND_OTHERS,
};

static struct {
	const struct sim_fair_options *options;
	struct sim_domain *site;
	struct sim_timer look;
} fair;

static void plan(void)
{
	sim.calm = true;
	sim_plan = (struct sim_plan){
		.net = { .domains = 60 },
		.config = { .concurrency = 10000,
		    .limit = FAIR_CONNECTIONS,
		    .rates = { .messages = fair.options->rated ? FAIR_RATE : 0 },
		    .reuse = { .messages = 100, .idle_s = 5, .age_s = 300 },
		    .pipelining = true },
		.end_ms = SIM_DAY,
		.disk_bytes = UINT64_C(1) << 30,
	};
}

/* One that shares no limits with others. */
static void choose_site(void)
{
	do
		fair.site = sim_net_any();
	while (fair.site->hosts_n > 1 || fair.site->site->domains > 1 || fair.site->site->is_route);
	fair.site->hosts[0].latency_ms = fair.options->rated ? 1 : FAIR_LATENCY_MS;
	sim_net_shun(fair.site);
}

static void submit(enum kind kind, size_t messages, int64_t at_ms)
{
	bool same = sim.broken == SIM_BREAK_FAIR && kind == KIND_SINGLE;
	const struct sim_flow f = {
		.to = kind == KIND_OTHERS ? NULL : fair.site,
		.kind = kind,
		.client = same ? KIND_BURST : (uint8_t)kind,
		.messages = messages,
		.at_ms = at_ms,
	};

	sim_submit_flow(&f);
}

static void plan_flows(void)
{
	size_t left = fair.options->items;
	/* As long as the burst lasts, about. */
	int64_t spacing_ms = (int64_t)left * (fair.options->rated ? 40 : 8) / FAIR_SINGLES;

	for (size_t i = FAIR_BURSTERS; i > 0; i--) {
		size_t some = left / i;
		left -= some;
		submit(KIND_BURST, some, SIM_SECOND);
	}
	for (int64_t i = 0; i < FAIR_SINGLES; i++)
		submit(KIND_SINGLE, 1,
		    FAIR_BEGIN_MS + i * spacing_ms + (int64_t)sim_below(SIM_SECOND));
	for (int64_t i = 0; i < FAIR_OTHERS; i++)
		submit(KIND_OTHERS, 1, FAIR_BEGIN_MS + i * spacing_ms);
}

static void on_look(struct sim_timer *t)
{
	struct queue_stats st = { .items = 1 };

	(void)sim_run_queue(&st);
	if ((sim_submit_is_done() && st.items == 0) || sim.now_ms >= FAIR_END_MS)
		sim_raise(SIGTERM);
	else
		sim_timer_in(t, FAIR_LOOK_MS);
}

/* --- what came of it ---------------------------------------------------------------------- */

static int64_t time_of(const struct sim_msg *m, enum sim_event_kind kind)
{
	for (const struct sim_event *e = m->rcpts[0].events; e; e = e->next)
		if (e->kind == kind)
			return e->at_ms;
	return -1;
}

/* Of the burst. */
static double ms_per_message(void)
{
	int64_t first_ms = INT64_MAX, last_ms = 0;

	for (size_t i = 0; i < sim_mail_count(); i++) {
		const struct sim_msg *m = sim_mail_get(i);
		int64_t at_ms = time_of(m, SIM_EVENT_DELIVERED);
		if (m->kind != KIND_BURST || at_ms < 0)
			continue;
		first_ms = MIN(first_ms, at_ms);
		last_ms = MAX(last_ms, at_ms);
	}
	return (double)(last_ms - first_ms) / (double)fair.options->items;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

struct waits { /* sorted */
	int64_t ms[MAX(FAIR_SINGLES, FAIR_OTHERS)];
	size_t n;
};

static void measure(struct waits *w, enum kind kind)
{
	for (size_t i = 0; i < sim_mail_count(); i++) {
		const struct sim_msg *m = sim_mail_get(i);
		if (m->kind != kind)
			continue;
		int64_t to_ms = time_of(m, SIM_EVENT_DELIVERED);
		if (to_ms >= 0)
			w->ms[w->n++] = to_ms - time_of(m, SIM_EVENT_RECEIVED);
	}
	qsort(w->ms, w->n, sizeof(w->ms[0]), compare);
}

static int64_t p99(const struct waits *w)
{
	return w->n ? w->ms[w->n * 99 / 100] : 0;
}

static void judge(void)
{
	struct waits singles = { .n = 0 }, others = { .n = 0 };
	double one_ms = ms_per_message();

	measure(&singles, KIND_SINGLE);
	measure(&others, KIND_OTHERS);
	double wait = (double)p99(&singles) / one_ms;
	if (singles.n < FAIR_SINGLES || others.n < FAIR_OTHERS)
		sim_violation("%zu and %zu single messages delivered", singles.n, others.n);
	if (wait > FAIR_WAIT_MAX)
		sim_violation("a single message waits for %.1f others (p99)", wait);
	if (p99(&others) > FAIR_OTHERS_MS)
		sim_violation("mail to other sites waits %lld ms (p99)", (long long)p99(&others));
	printf(
	    "fair: %zu messages at once, one in %.1f ms; a single one to the site takes p50 %lld "
	    "p99 %lld max %lld ms (p99 %.1f messages), to others p99 %lld ms; %u violations\n",
	    fair.options->items, one_ms, (long long)(singles.n ? singles.ms[singles.n / 2] : 0),
	    (long long)p99(&singles), (long long)(singles.n ? singles.ms[singles.n - 1] : 0), wait,
	    (long long)p99(&others), sim.violations);
}

bool sim_fair(const struct sim_fair_options *o)
{
	char path[100];

	fair.options = o;
	sim_run_begin(o->seed, o->broken, o->verbose, plan);
	choose_site();
	plan_flows();
	sim_timer_init(&fair.look, on_look);
	sim_timer_set(&fair.look, FAIR_BEGIN_MS);
	sim_run_live();
	snprintf(path, sizeof(path), "%s/events", sim.directory);
	sim_check_events(path);
	judge();
	sim_run_remove_files();
	return sim.violations == 0;
}
