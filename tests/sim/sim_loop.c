/*
 * io/loop.h and io/worker.h in virtual time.
 *
 * A turn: time jumps to the next event of the world or the daemon's timer,
 * the world moves, calls that were posted are made, finished jobs reported,
 * then the step; what all that cost, if anybody knows. Jobs take their time and end in any order,
 * but as many run at once as the pool has threads; what a job does happens at one instant, at its
 * beginning or its end.
 */
#include "io/loop.h"

#include "base/check.h"
#include "base/mem.h"
#include "io/worker.h"
#include "sim/sim_io.h"

#define LOOP_SIGNALS_MAX 8
#define LOOP_AGAIN_MAX   1000000 /* turns at one instant: it spins */

struct loop {
	loop_step_fn *step;
	void *step_arg;
	int64_t timer_at_ms;
	bool again, stopped;
	struct list_node pools; /* struct worker_pool.node */

	struct {
		int signo;
		loop_signal_fn *fn;
		void *arg;
	} signals[LOOP_SIGNALS_MAX];

	size_t signals_n;
	unsigned raised; /* bits of signals[] */
};

static struct loop *the_loop;
static sim_cost_fn *cost;
static int64_t cost_us; /* less than a millisecond, not charged yet */
static unsigned made;   /* calls into the daemon in this turn */

struct loop *loop_new(void)
{
	SIM_WORLD_SIDE;
	struct loop *l = mem_zalloc(sizeof(*l));

	CHECK(the_loop == NULL);
	l->timer_at_ms = INT64_MAX;
	list_init(&l->pools);
	the_loop = l;
	return l;
}

void loop_free(struct loop **l)
{
	CHECK(*l == the_loop);
	CHECK(list_is_empty(&the_loop->pools));
	mem_free(*l);
	*l = the_loop = NULL;
}

void loop_set_step(struct loop *l, loop_step_fn *fn, void *arg)
{
	l->step = fn;
	l->step_arg = arg;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

struct now loop_now(struct loop *l UNUSED)
{
	return (struct now){ .wall_ms = sim_wall_ms(), .mono_ms = sim.now_ms };
}

void loop_set_timer(struct loop *l, int64_t mono_ms)
{
	l->timer_at_ms = mono_ms;
}

void loop_again(struct loop *l)
{
	l->again = true;
}

void loop_wake(struct loop *l)
{
	l->again = true;
}

void loop_on_signal(struct loop *l, int signo, loop_signal_fn *fn, void *arg)
{
	CHECK(l->signals_n < LOOP_SIGNALS_MAX);
	l->signals[l->signals_n].signo = signo;
	l->signals[l->signals_n].fn = fn;
	l->signals[l->signals_n++].arg = arg;
}

void sim_raise(int signo)
{
	for (size_t i = 0; the_loop && i < the_loop->signals_n; i++)
		if (the_loop->signals[i].signo == signo)
			the_loop->raised |= 1U << i;
}

void sim_loop_set_cost(sim_cost_fn *fn)
{
	cost = fn;
	cost_us = 0;
}

/* --- jobs ------------------------------------------------------------------------- */

struct worker_pool {
	struct list_node node;
	struct loop *loop;
	unsigned threads, running;
	size_t pending;
	bool closing;
	struct list_node waiting;  /* struct worker_job.node, not begun */
	struct list_node begun;    /* struct task.node */
	struct list_node finished; /* struct worker_job.node */
};

struct task { /* a thread at work */
	struct list_node node;
	struct sim_timer timer;
	struct worker_pool *pool;
	struct worker_job *job;
	bool run; /* at the beginning */
};

struct worker_pool *worker_pool_new(struct loop *l, unsigned threads, const char *name UNUSED)
{
	SIM_WORLD_SIDE;
	struct worker_pool *p = mem_zalloc(sizeof(*p));

	p->loop = l;
	p->threads = threads;
	list_init(&p->waiting);
	list_init(&p->begun);
	list_init(&p->finished);
	list_push(&l->pools, &p->node);
	return p;
}

static void run_job(struct worker_job *job)
{
	enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);

	job->run(job);
	sim_mem_side(before);
}

static void start_waiting(struct worker_pool *p);

static void task_end(struct task *t)
{
	struct worker_pool *p = t->pool;

	if (!t->run)
		run_job(t->job);
	list_push(&p->finished, &t->job->node);
	list_remove(&t->node);
	mem_free(t);
	p->running--;
	start_waiting(p);
}

static void on_task(struct sim_timer *timer)
{
	task_end(container_of(timer, struct task, timer));
}

static int64_t duration_ms(void)
{
	uint64_t luck = sim_below(1000);

	if (sim.calm)
		return sim_between(0, 4);
	if (luck == 0)
		return sim_between(1000, 20000); /* a disk that is busy with something else */
	return luck < 100 ? sim_between(20, 500) : sim_between(0, 20);
}

static void start_waiting(struct worker_pool *p)
{
	while (p->running < p->threads && !list_is_empty(&p->waiting)) {
		struct task *t = mem_zalloc(sizeof(*t));
		t->pool = p;
		t->job = list_first(&p->waiting, struct worker_job, node);
		list_remove(&t->job->node);
		t->run = sim_chance(50);
		sim_timer_init(&t->timer, on_task);
		sim_timer_in(&t->timer, duration_ms());
		list_push(&p->begun, &t->node);
		p->running++;
		if (t->run)
			run_job(t->job);
	}
}

void worker_submit(struct worker_pool *p, struct worker_job *job)
{
	SIM_WORLD_SIDE;

	p->pending++;
	list_init(&job->node);
	if (p->closing) {
		run_job(job);
		list_push(&p->finished, &job->node);
		return;
	}
	list_push(&p->waiting, &job->node);
	start_waiting(p);
}

size_t worker_pending(const struct worker_pool *p)
{
	return p->pending;
}

static void report_finished(struct worker_pool *p)
{
	struct list_node batch;

	list_init(&batch);
	list_splice(&batch, &p->finished);
	while (!list_is_empty(&batch)) {
		struct worker_job *job = list_first(&batch, struct worker_job, node);
		list_remove(&job->node);
		if (sim.broken == SIM_BREAK_COMPLETION && sim_permille(3))
			continue;
		p->pending--;
		enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);
		job->done(job);
		sim_mem_side(before);
		made++;
	}
}

void worker_pool_free(struct worker_pool **pp)
{
	SIM_WORLD_SIDE;
	struct worker_pool *p = *pp;

	if (!p)
		return;
	while (!list_is_empty(&p->begun) || !list_is_empty(&p->waiting)) {
		start_waiting(p);
		struct task *t = list_first(&p->begun, struct task, node);
		sim_timer_cancel(&t->timer);
		task_end(t);
	}
	p->closing = true;
	while (!list_is_empty(&p->finished))
		report_finished(p);
	list_remove(&p->node);
	mem_free(p);
	*pp = NULL;
}

/* --- the turn ---------------------------------------------------------------------- */

static void make_calls(void)
{
	struct list_node batch;

	list_init(&batch);
	list_splice(&batch, &sim.calls);
	while (!list_is_empty(&batch)) {
		struct sim_call *c = list_first(&batch, struct sim_call, node);
		list_remove(&c->node);
		c->fn(c);
		made++;
	}
}

static void charge(void)
{
	cost_us += cost(made);
	sim.now_ms += cost_us / 1000;
	cost_us %= 1000;
}

static void make_signals(struct loop *l)
{
	for (size_t i = 0; i < l->signals_n; i++) {
		if (!(l->raised & 1U << i))
			continue;
		l->raised &= ~(1U << i);
		l->signals[i].fn(l->signals[i].arg, l->signals[i].signo);
	}
}

static bool has_finished(const struct loop *l)
{
	list_foreach(it, &l->pools)
		if (!list_is_empty(&list_entry(it, struct worker_pool, node)->finished))
			return true;
	return false;
}

static void advance(struct loop *l)
{
	bool busy = l->again || l->raised || !list_is_empty(&sim.calls) || has_finished(l);
	int64_t next = MIN(sim_next_event(), l->timer_at_ms);

	if (busy)
		return;
	CHECK(next != INT64_MAX); /* the end of the run is an event */
	if (next > sim.now_ms)
		sim.now_ms = next;
}

static void turn(struct loop *l)
{
	advance(l);
	l->again = false;
	made = 0;
	sim_mem_side(SIM_SIDE_WORLD);
	sim_run_events();
	if (l->timer_at_ms <= sim.now_ms)
		l->timer_at_ms = INT64_MAX;
	sim_mem_side(SIM_SIDE_DAEMON);
	make_signals(l);
	make_calls();
	list_foreach_safe(it, &l->pools)
		report_finished(list_entry(it, struct worker_pool, node));
	if (l->step)
		l->step(l->step_arg, loop_now(l));
	if (cost)
		charge();
	sim.steps++;
}

void loop_run(struct loop *l)
{
	int64_t instant = -1;
	unsigned spins = 0;

	l->stopped = false;
	while (!l->stopped) {
		spins = instant == sim.now_ms ? spins + 1 : 0;
		CHECK(spins < LOOP_AGAIN_MAX);
		instant = sim.now_ms;
		turn(l);
	}
}

void sim_loop_drop(void)
{
	struct loop *l = the_loop;

	if (!l)
		return;
	list_foreach_safe(pit, &l->pools) {
		struct worker_pool *p = list_entry(pit, struct worker_pool, node);
		list_foreach_safe(it, &p->begun) {
			struct task *t = list_entry(it, struct task, node);
			sim_timer_cancel(&t->timer);
			mem_free(t);
		}
		mem_free(p);
	}
	mem_free(l);
	the_loop = NULL;
}
