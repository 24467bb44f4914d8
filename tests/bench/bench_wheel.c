/*
 * bench_wheel - the timer wheel beside libevent's heap of timers.
 *
 *     bench_wheel [largest power of ten, 3 to 7; default 7]
 *
 * A table: for 10^3 .. 10^n timers the nanoseconds of CPU time that adding one
 * takes, cancelling one (in random order, every second one) and firing one. The
 * wheel's timers lie up to 5 days ahead and it is stepped to each instant it asks
 * for; the heap fires its own when all of them are due (it can't be told the time,
 * and its cost does not depend on it). Both sets of timers are embedded in
 * records, the wheel's of 136 bytes as a queue item's are.
 *
 * Then the target: 10^7 bare timers, random over 5 days, added and fired in
 * order, at 5,000,000 operations/s or more on one core. That they fire in
 * order, none early, none late, is checked after the clock has stopped. Not a
 * test; never run by make check.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/prng.h"
#include "queue/wheel.h"

#define START_MS      INT64_C(1790000000123)
#define SPAN_MS       (5 * INT64_C(86400000))
#define TARGET_TIMERS 10000000
#define TARGET_OPS    5e6

enum {
	POWER_MIN = 3,
	POWER_MAX = 7,
	ITEM_BYTES = 136,
	REPEAT_BELOW = 1000000 /* small sets are gone through several times */
};

struct costs { /* ns each */
	double add, cancel, fire;
};

struct wheel_item {
	struct wheel_timer timer;
	int64_t due_ms;
	char rest[ITEM_BYTES - sizeof(struct wheel_timer) - sizeof(int64_t)];
};

struct bare {
	struct wheel_timer timer;
	int64_t due_ms;
};

/* CPU time of this thread: the machine may be busy with other things. */
static double cpu_ns(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) < 0)
		abort();
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t *shuffled(struct prng *r, size_t n)
{
	uint32_t *order = mem_alloc(n * sizeof(*order));
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)prng_below(r, i);
		uint32_t t = order[i - 1];
		order[i - 1] = order[j];
		order[j] = t;
	}
	return order;
}

/* --- wheel ---------------------------------------------------------------------- */

/* Steps from instant to instant, as a loop does that has nothing else to do. */
static size_t run_out(struct wheel *w, struct list_node *due)
{
	size_t turns = 0;
	for (; w->count > 0; turns++)
		wheel_run(w, wheel_next_at(w), due);
	return turns;
}

static void wheel_round(struct wheel_item *items, const uint32_t *order, size_t n, struct prng *r,
    struct costs *sum)
{
	struct wheel *w = mem_alloc(sizeof(*w));
	struct list_node due;
	list_init(&due);
	wheel_init(w, START_MS);
	for (size_t i = 0; i < n; i++) {
		wheel_timer_init(&items[i].timer);
		items[i].due_ms = START_MS + (int64_t)prng_below(r, (uint64_t)SPAN_MS);
	}
	double t0 = cpu_ns();
	for (size_t i = 0; i < n; i++)
		wheel_add(w, &items[i].timer, items[i].due_ms);
	double t1 = cpu_ns();
	for (size_t i = 0; i < n / 2; i++)
		wheel_cancel(w, &items[order[i]].timer);
	double t2 = cpu_ns();
	run_out(w, &due);
	double t3 = cpu_ns();
	sum->add += (t1 - t0) / (double)n;
	sum->cancel += (t2 - t1) / (double)(n / 2);
	sum->fire += (t3 - t2) / (double)(n - n / 2);
	mem_free(w);
}

static struct costs wheel_costs(size_t n, unsigned rounds)
{
	struct costs c = { 0 };
	struct prng r;
	prng_init(&r, n);
	struct wheel_item *items = mem_zalloc(n * sizeof(*items));
	uint32_t *order = shuffled(&r, n);
	for (unsigned i = 0; i < rounds; i++)
		wheel_round(items, order, n, &r, &c);
	mem_free(order);
	mem_free(items);
	return (struct costs){ c.add / rounds, c.cancel / rounds, c.fire / rounds };
}

/* --- libevent's heap -------------------------------------------------------------- */

static size_t fired;

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	fired++;
}

static void heap_round(struct event *events, const uint32_t *order, size_t n, struct prng *r,
    struct costs *sum)
{
	struct event_base *base = event_base_new();
	CHECK(base != NULL);
	for (size_t i = 0; i < n; i++)
		evtimer_assign(&events[i], base, on_timer, NULL);
	double t0 = cpu_ns();
	for (size_t i = 0; i < n; i++) {
		struct timeval tv = { 0, (suseconds_t)prng_below(r, 1000000) };
		event_add(&events[i], &tv);
	}
	double t1 = cpu_ns();
	for (size_t i = 0; i < n / 2; i++)
		event_del(&events[order[i]]);
	double t2 = cpu_ns();
	fired = 0;
	sleep(2); /* then all of them are due */
	double t3 = cpu_ns();
	event_base_loop(base, EVLOOP_NONBLOCK);
	double t4 = cpu_ns();
	CHECK(fired == n - n / 2);
	sum->add += (t1 - t0) / (double)n;
	sum->cancel += (t2 - t1) / (double)(n / 2);
	sum->fire += (t4 - t3) / (double)(n - n / 2);
	event_base_free(base);
}

static struct costs heap_costs(size_t n, unsigned rounds)
{
	struct costs c = { 0 };
	struct prng r;
	prng_init(&r, n);
	struct event *events = mem_zalloc(n * sizeof(*events));
	uint32_t *order = shuffled(&r, n);
	for (unsigned i = 0; i < rounds; i++)
		heap_round(events, order, n, &r, &c);
	mem_free(order);
	mem_free(events);
	return (struct costs){ c.add / rounds, c.cancel / rounds, c.fire / rounds };
}

static void table(unsigned power_max)
{
	printf("CPU ns per operation   wheel: add cancel   fire    libevent: add cancel   fire\n");
	size_t n = 1000;
	for (unsigned power = POWER_MIN; power <= power_max; power++, n *= 10) {
		struct costs w = wheel_costs(n, n < REPEAT_BELOW ? 10 : 1);
		struct costs h = heap_costs(n, 1);
		printf("%10zu timers     %12.0f %6.0f %6.0f   %14.0f %6.0f %6.0f\n", n, w.add,
		    w.cancel, w.fire, h.add, h.cancel, h.fire);
		fflush(stdout);
	}
}

/* --- the target ------------------------------------------------------------------- */

/* Each at its own millisecond: then the list is in order too. */
static void check_order(struct list_node *due, size_t n)
{
	int64_t last = 0;
	size_t seen = 0;
	list_foreach(node, due) {
		const struct bare *b = list_entry(node, struct bare, timer.node);
		CHECK(b->due_ms >= last);
		last = b->due_ms;
		seen++;
	}
	CHECK(seen == n);
}

static void target(size_t n)
{
	struct bare *timers = mem_zalloc(n * sizeof(*timers));
	struct wheel *w = mem_alloc(sizeof(*w));
	struct list_node due;
	struct prng r;
	prng_init(&r, 1);
	list_init(&due);
	wheel_init(w, START_MS);
	for (size_t i = 0; i < n; i++) {
		wheel_timer_init(&timers[i].timer);
		timers[i].due_ms = START_MS + (int64_t)prng_below(&r, (uint64_t)SPAN_MS);
	}
	double t0 = cpu_ns();
	for (size_t i = 0; i < n; i++)
		wheel_add(w, &timers[i].timer, timers[i].due_ms);
	double t1 = cpu_ns();
	size_t turns = run_out(w, &due);
	double t2 = cpu_ns();
	check_order(&due, n);
	double ops = 2 * (double)n / ((t2 - t0) / 1e9);
	printf("%zu timers over 5 days: add %.0f ns, fire %.0f ns in %zu turns, in order\n", n,
	    (t1 - t0) / (double)n, (t2 - t1) / (double)n, turns);
	printf("%.2f million operations/s (target %.0f): %s\n", ops / 1e6, TARGET_OPS / 1e6,
	    ops >= TARGET_OPS ? "reached" : "MISSED");
	mem_free(w);
	mem_free(timers);
}

int main(int argc, char **argv)
{
	long power = argc > 1 ? strtol(argv[1], NULL, 10) : POWER_MAX;
	if (argc > 2 || power < POWER_MIN || power > POWER_MAX) {
		fprintf(stderr, "usage: bench_wheel [3 to 7]\n");
		return 2;
	}
	table((unsigned)power);
	target(TARGET_TIMERS);
	return 0;
}
