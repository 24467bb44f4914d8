/*
 * io/dns.h: questions take their time; what is answered says sim_net.c, at the
 * moment of the answer.
 */
#include "io/dns.h"

#include <string.h>

#include "base/mem.h"
#include "sim/sim_io.h"
#include "sim/sim_loop.h"
#include "sim/sim_said.h"

struct dns {
	struct loop *loop;
	struct list_node queries;
	int64_t patience_ms;
	unsigned channel;
};

struct dns_query {
	struct list_node node;
	unsigned channel;
	struct sim_timer timer;
	struct sim_call call;
	char name[DNS_NAME_MAX];
	enum dns_type type;
	dns_answer_fn *fn;
	void *arg;
	bool silent;
	struct sim_site *site;
};

static struct list_node all = { &all, &all }; /* struct dns_query.node */
static unsigned channels;

int dns_new(struct loop *l, const struct dns_options *o, struct dns **d_r, struct errbuf *eb UNUSED)
{
	SIM_WORLD_SIDE;
	struct dns *d = mem_zalloc(sizeof(*d));

	sim_loop_check(l);
	d->loop = l;
	d->patience_ms = (int64_t)o->timeout_ms * o->tries;
	d->channel = ++channels;
	list_init(&d->queries);
	*d_r = d;
	return 0;
}

void dns_free(struct dns **d)
{
	mem_free(*d);
	*d = NULL;
}

static void query_free(struct dns_query *q)
{
	sim_timer_cancel(&q->timer);
	sim_call_cancel(&q->call);
	list_remove(&q->node);
	if (q->site)
		sim_busy_ask(q->site, -1);
	mem_free(q);
}

static void on_answer(struct sim_call *c)
{
	struct dns_query *q = container_of(c, struct dns_query, call);
	struct sim_dns_reply r = { .answer = { .outcome = DNS_NODATA } };
	dns_answer_fn *fn = q->fn;
	void *arg = q->arg;

	sim_dns_ask(q->name, q->type, &r);
	if (q->silent) {
		r.answer = (struct dns_answer){ .outcome = DNS_FAILED };
		snprintf(r.answer.text, sizeof(r.answer.text), "timeout");
	}
	r.answer.records = r.records;
	sim_said_answer(q->channel, q->name, q->type, &r.answer);
	if (sim.broken == SIM_BREAK_TTL)
		r.answer.ttl_s *= 1000;
	else if (sim.broken == SIM_BREAK_FORGET && sim_chance(5))
		r.answer.ttl_s = 0;
	query_free(q);
	enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);
	fn(arg, &r.answer);
	sim_mem_side(before);
}

static void on_time(struct sim_timer *t)
{
	sim_post(&container_of(t, struct dns_query, timer)->call);
}

struct dns_query *dns_lookup(struct dns *d, const char *name, enum dns_type type, dns_answer_fn *fn,
    void *arg)
{
	SIM_WORLD_SIDE;
	struct dns_query *q = mem_zalloc(sizeof(*q));
	struct sim_dns_reply r = { 0 };

	sim_loop_check(d->loop);
	snprintf(q->name, sizeof(q->name), "%s", name);
	q->channel = d->channel;
	sim_said_asked(q->channel, q->name, type);
	q->type = type;
	q->fn = fn;
	q->arg = arg;
	sim_call_init(&q->call, d->loop, on_answer);
	sim_timer_init(&q->timer, on_time);
	sim_dns_ask(name, type, &r);
	q->silent = r.silent;
	if (sim.broken != SIM_BREAK_LATE || !sim_permille(5)) /* else nothing ever comes back */
		sim_timer_in(&q->timer, r.silent ? d->patience_ms : r.delay_ms);
	list_push(&all, &q->node);
	q->site = sim_dns_site(name);
	if (q->site)
		sim_busy_ask(q->site, 1);
	return q;
}

void dns_cancel(struct dns_query **q)
{
	if (*q) {
		sim_loop_check((*q)->call.loop);
		sim_said_dropped((*q)->channel, (*q)->name, (*q)->type);
		query_free(*q);
	}
	*q = NULL;
}

void sim_dns_drop(void)
{
	list_foreach_safe(it, &all)
		query_free(list_entry(it, struct dns_query, node));
	sim_said_forget();
}
