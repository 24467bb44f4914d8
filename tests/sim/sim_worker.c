/*
 * io/worker.h in virtual time. Jobs take their time and end in any order, but
 * as many run at once as the pool has threads; what a job does happens at one
 * instant, at its beginning or its end.
 */
#include "io/worker.h"

#include "base/mem.h"
#include "sim/sim.h"
#include "sim/sim_loop.h"

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

	sim_loop_check(l);
	p->loop = l;
	p->threads = threads;
	list_init(&p->waiting);
	list_init(&p->begun);
	list_init(&p->finished);
	list_push(sim_loop_pools(l), &p->node);
	return p;
}

static void run_job(struct worker_job *job)
{
	enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);
	bool in_job = sim_loop_set_job(true);

	job->run(job);
	sim_loop_set_job(in_job);
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

	sim_loop_check(p->loop);
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

static unsigned report_finished(struct worker_pool *p)
{
	struct list_node batch;
	unsigned made = 0;

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
	return made;
}

void worker_pool_free(struct worker_pool **pp)
{
	SIM_WORLD_SIDE;
	struct worker_pool *p = *pp;

	if (!p)
		return;
	sim_loop_check(p->loop);
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

/* --- for the loop ------------------------------------------------------------------------ */

bool sim_worker_has_finished(const struct list_node *pools)
{
	list_foreach(it, pools)
		if (!list_is_empty(&list_entry(it, struct worker_pool, node)->finished))
			return true;
	return false;
}

unsigned sim_worker_report(const struct list_node *pools)
{
	unsigned made = 0;

	list_foreach_safe(it, pools)
		made += report_finished(list_entry(it, struct worker_pool, node));
	return made;
}

void sim_worker_drop(struct list_node *pools)
{
	list_foreach_safe(pit, pools) {
		struct worker_pool *p = list_entry(pit, struct worker_pool, node);
		list_foreach_safe(it, &p->begun) {
			struct task *t = list_entry(it, struct task, node);
			sim_timer_cancel(&t->timer);
			mem_free(t);
		}
		mem_free(p);
	}
	list_init(pools);
}
