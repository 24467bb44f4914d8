/*
 * io/loop.h in virtual time: any number of loops, one thread.
 *
 * A round: time jumps to the next event of the world, or to the first instant
 * at which a loop has something to do; the world moves; then each loop that
 * has something to do takes a turn, in an order by chance. A turn is as in
 * src/io: signals, calls that were posted, jobs that finished, the step; and
 * then what all that cost, if anybody knows: so long the loop takes no other,
 * while time goes on for the rest.
 *
 * A loop that is the only one takes a turn in each round, whatever happened.
 */
#include "io/loop.h"

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_io.h"
#include "sim/sim_loop.h"

#define LOOP_SIGNALS_MAX 8
#define LOOP_AGAIN_MAX   1000000 /* turns at one instant: it spins */
#define LOOPS_MAX        64

struct loop {
	struct list_node node; /* in loops */
	loop_step_fn *step;
	void *step_arg;
	int64_t timer_at_ms;
	bool again;      /* wanted: a turn after those of this round */
	bool due;        /* wanted: a turn in this round */
	bool running;    /* it takes turns */
	bool stopped;    /* not after this one */
	bool has_thread; /* from loop_run_in_thread to loop_join */
	int64_t free_at_ms;
	int64_t cost_us; /* less than a millisecond, not charged yet */
	uint64_t turns;
	int64_t instant;         /* of the last turn */
	unsigned spins;          /* turns before it at this instant */
	struct list_node calls;  /* struct sim_call.node */
	struct list_node making; /* those of this turn */
	struct list_node pools;  /* struct worker_pool.node */

	struct {
		int signo;
		loop_signal_fn *fn;
		void *arg;
	} signals[LOOP_SIGNALS_MAX];

	size_t signals_n;
	unsigned raised; /* bits of signals[] */
};

static struct list_node loops = { &loops, &loops }; /* struct loop.node, as they were made */
static size_t loops_n;
static struct loop *current; /* whose turn it is */
static bool in_job;
static bool others_parked;
static sim_cost_fn *cost;

static struct loop *first(void)
{
	return list_is_empty(&loops) ? NULL : list_first(&loops, struct loop, node);
}

/* --- whose thread it is ----------------------------------------------------------------- */

void sim_loop_check(const struct loop *l)
{
	const struct loop *thread = current && current->has_thread ? current : NULL;
	const struct loop *owner = l->has_thread ? l : NULL;

	if (!sim.alive) /* the world clears away */
		return;
	CHECK(!in_job);
	CHECK(thread == owner || (others_parked && !thread));
}

bool sim_loop_has_turn(const struct loop *l)
{
	return current == l;
}

bool sim_loop_has_thread(const struct loop *l)
{
	return l->has_thread;
}

uint64_t sim_loop_turns(const struct loop *l)
{
	return l->turns;
}

void sim_loop_park_others(bool on)
{
	CHECK(others_parked != on);
	others_parked = on;
}

bool sim_loop_set_job(bool on)
{
	bool before = in_job;

	in_job = on;
	return before;
}

struct list_node *sim_loop_pools(struct loop *l)
{
	return &l->pools;
}

/* --- the face of it ----------------------------------------------------------------------- */

struct loop *loop_new(void)
{
	SIM_WORLD_SIDE;
	struct loop *l = mem_zalloc(sizeof(*l));

	CHECK(loops_n < LOOPS_MAX);
	l->timer_at_ms = INT64_MAX;
	l->instant = -1;
	list_init(&l->calls);
	list_init(&l->making);
	list_init(&l->pools);
	list_push(&loops, &l->node);
	loops_n++;
	return l;
}

static void drop_loop(struct loop *l)
{
	while (!list_is_empty(&l->calls))
		list_remove(l->calls.next);
	while (!list_is_empty(&l->making))
		list_remove(l->making.next);
	sim_worker_drop(&l->pools);
	list_remove(&l->node);
	loops_n--;
	mem_free(l);
}

void loop_free(struct loop **l)
{
	if (!*l)
		return;
	sim_loop_check(*l);
	CHECK(!(*l)->running && !(*l)->has_thread);
	CHECK(list_is_empty(&(*l)->pools));
	drop_loop(*l);
	*l = NULL;
}

void loop_set_step(struct loop *l, loop_step_fn *fn, void *arg)
{
	sim_loop_check(l);
	l->step = fn;
	l->step_arg = arg;
}

void loop_stop(struct loop *l)
{
	CHECK(current == l);
	l->stopped = true;
}

struct now loop_now(struct loop *l)
{
	sim_loop_check(l);
	return (struct now){ .wall_ms = sim_wall_ms(), .mono_ms = sim.now_ms };
}

void loop_set_timer(struct loop *l, int64_t mono_ms)
{
	sim_loop_check(l);
	l->timer_at_ms = mono_ms;
}

void loop_again(struct loop *l)
{
	sim_loop_check(l);
	l->again = true;
}

/* If its turn in this round is still to come, that is the one; otherwise the next round's. */
void loop_wake(struct loop *l)
{
	if (current && current != l)
		l->due = true;
	else
		l->again = true;
}

void loop_on_signal(struct loop *l, int signo, loop_signal_fn *fn, void *arg)
{
	sim_loop_check(l);
	CHECK(l == first());
	CHECK(l->signals_n < LOOP_SIGNALS_MAX);
	l->signals[l->signals_n].signo = signo;
	l->signals[l->signals_n].fn = fn;
	l->signals[l->signals_n++].arg = arg;
}

void sim_raise(int signo)
{
	struct loop *l = first();

	for (size_t i = 0; l && i < l->signals_n; i++)
		if (l->signals[i].signo == signo)
			l->raised |= 1U << i;
}

void sim_loop_set_cost(sim_cost_fn *fn)
{
	cost = fn;
}

void sim_call_init(struct sim_call *c, struct loop *l, void (*fn)(struct sim_call *c))
{
	list_init(&c->node);
	c->loop = l;
	c->fn = fn;
}

void sim_post(struct sim_call *c)
{
	if (!list_is_linked(&c->node))
		list_push(&c->loop->calls, &c->node);
}

void sim_call_cancel(struct sim_call *c)
{
	list_remove(&c->node);
}

/* --- the turn of a loop --------------------------------------------------------------------- */

static void make_signals(struct loop *l)
{
	for (size_t i = 0; i < l->signals_n; i++) {
		if (!(l->raised & 1U << i))
			continue;
		l->raised &= ~(1U << i);
		l->signals[i].fn(l->signals[i].arg, l->signals[i].signo);
	}
}

static unsigned make_calls(struct loop *l)
{
	unsigned made = 0;

	list_splice(&l->making, &l->calls);
	while (!list_is_empty(&l->making)) {
		struct sim_call *c = list_first(&l->making, struct sim_call, node);
		list_remove(&c->node);
		c->fn(c);
		made++;
	}
	return made;
}

static void charge(struct loop *l, unsigned made)
{
	l->cost_us += cost(made);
	l->free_at_ms = sim.now_ms + l->cost_us / 1000;
	l->cost_us %= 1000;
}

static void turn(struct loop *l)
{
	l->spins = l->instant == sim.now_ms ? l->spins + 1 : 0;
	CHECK(l->spins < LOOP_AGAIN_MAX);
	l->instant = sim.now_ms;
	l->due = false;
	if (l->timer_at_ms <= sim.now_ms)
		l->timer_at_ms = INT64_MAX;
	l->turns++;
	current = l;
	make_signals(l);
	unsigned made = make_calls(l);
	made += sim_worker_report(&l->pools);
	if (l->step)
		l->step(l->step_arg, loop_now(l));
	if (cost)
		charge(l, made);
	current = NULL;
	sim.steps++;
}

/* --- the round of all ------------------------------------------------------------------------- */

static bool is_busy(const struct loop *l)
{
	return l->again || l->due || l->raised || !list_is_empty(&l->calls) ||
	       sim_worker_has_finished(&l->pools);
}

static void advance(void)
{
	int64_t next = sim_next_event();

	list_foreach(it, &loops) {
		const struct loop *l = list_entry(it, struct loop, node);
		if (l->running)
			next = MIN(next, MAX(is_busy(l) ? 0 : l->timer_at_ms, l->free_at_ms));
	}
	CHECK(next != INT64_MAX); /* the end of the run is an event */
	sim.now_ms = MAX(sim.now_ms, next);
}

/* The loops that take a turn in this round, in the order by chance. */
static size_t gather(struct loop *who[LOOPS_MAX])
{
	size_t n = 0;

	list_foreach(it, &loops) {
		struct loop *l = list_entry(it, struct loop, node);
		bool wanted = is_busy(l) || l->timer_at_ms <= sim.now_ms;
		if (l->running && (loops_n == 1 || (wanted && l->free_at_ms <= sim.now_ms)))
			who[n++] = l;
	}
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)sim_below(i);
		struct loop *swapped = who[k];
		who[k] = who[i - 1];
		who[i - 1] = swapped;
	}
	return n;
}

/* While all are at work, nobody is there to see what time brings. */
static void pass_work(void)
{
	int64_t free_at_ms = INT64_MAX;

	list_foreach(it, &loops) {
		struct loop *l = list_entry(it, struct loop, node);
		if (!l->running)
			continue;
		free_at_ms = MIN(free_at_ms, l->free_at_ms);
		l->running = !l->stopped;
	}
	sim.now_ms = MAX(sim.now_ms, free_at_ms);
}

static void take_round(void)
{
	struct loop *who[LOOPS_MAX];

	advance();
	list_foreach(it, &loops) {
		struct loop *l = list_entry(it, struct loop, node);
		l->due = l->due || l->again;
		l->again = false;
	}
	sim_mem_side(SIM_SIDE_WORLD);
	sim_run_events();
	sim_mem_side(SIM_SIDE_DAEMON);
	size_t n = gather(who);
	for (size_t i = 0; i < n; i++)
		turn(who[i]);
	pass_work();
}

/* --- threads --------------------------------------------------------------------------------- */

static void start(struct loop *l)
{
	CHECK(!l->running);
	CHECK(!current && !in_job);
	l->running = true;
	l->stopped = false;
}

static void wait_for(const struct loop *l)
{
	CHECK(!current && !in_job);
	while (l->running)
		take_round();
}

void loop_run(struct loop *l)
{
	CHECK(!l->has_thread);
	start(l);
	wait_for(l);
}

/* Its first turn comes with those of the others, in loop_run or loop_join. */
void loop_run_in_thread(struct loop *l, const char *name UNUSED)
{
	CHECK(!l->has_thread);
	CHECK(l->signals_n == 0);
	start(l);
	l->has_thread = true;
}

void loop_join(struct loop *l)
{
	CHECK(l->has_thread);
	wait_for(l);
	l->has_thread = false;
}

void sim_loop_drop(void)
{
	current = NULL;
	in_job = others_parked = false;
	while (!list_is_empty(&loops))
		drop_loop(first());
}
