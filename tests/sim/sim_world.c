/*
 * The world's clock, its heap of events, chance, and the record.
 */
#include <stdarg.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim.h"

#define VIOLATIONS_SHOWN 30 /* of a run; the rest is counted */

struct sim sim;

/* --- chance --------------------------------------------------------------------- */

uint64_t sim_below(uint64_t n)
{
	return prng_below(&sim.rng, n);
}

int64_t sim_between(int64_t lo, int64_t hi)
{
	CHECK(lo <= hi);
	return lo + (int64_t)prng_below(&sim.rng, (uint64_t)(hi - lo) + 1);
}

bool sim_chance(unsigned percent)
{
	return prng_below(&sim.rng, 100) < percent;
}

bool sim_permille(unsigned permille)
{
	return prng_below(&sim.rng, 1000) < permille;
}

uint64_t sim_hash(uint64_t a, uint64_t b)
{
	uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) ^ (b + UINT64_C(0x7f4a7c15));

	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* --- the heap ------------------------------------------------------------------- */

static bool is_before(const struct sim_timer *a, const struct sim_timer *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->tie < b->tie;
}

static void place(struct sim_timer *t, size_t slot)
{
	sim.heap[slot] = t;
	t->slot = slot;
}

static void sift_up(size_t slot)
{
	struct sim_timer *t = sim.heap[slot];

	for (; slot > 1 && is_before(t, sim.heap[slot / 2]); slot /= 2)
		place(sim.heap[slot / 2], slot);
	place(t, slot);
}

static void sift_down(size_t slot)
{
	struct sim_timer *t = sim.heap[slot];

	for (;;) {
		size_t child = slot * 2;
		if (child > sim.heap_n)
			break;
		if (child < sim.heap_n && is_before(sim.heap[child + 1], sim.heap[child]))
			child++;
		if (!is_before(sim.heap[child], t))
			break;
		place(sim.heap[child], slot);
		slot = child;
	}
	place(t, slot);
}

void sim_timer_init(struct sim_timer *t, void (*fn)(struct sim_timer *t))
{
	*t = (struct sim_timer){ .fn = fn };
}

void sim_timer_cancel(struct sim_timer *t)
{
	size_t slot = t->slot;

	if (slot == 0)
		return;
	struct sim_timer *last = sim.heap[sim.heap_n--];
	t->slot = 0;
	if (last == t)
		return;
	place(last, slot);
	sift_up(slot);
	sift_down(last->slot);
}

void sim_timer_set(struct sim_timer *t, int64_t at_ms)
{
	SIM_WORLD_SIDE;

	sim_timer_cancel(t);
	if (sim.heap_n + 2 > sim.heap_cap) {
		sim.heap_cap = sim.heap_cap ? sim.heap_cap * 2 : 256;
		sim.heap = mem_realloc(sim.heap, sim.heap_cap * sizeof(*sim.heap));
	}
	t->at_ms = MAX(at_ms, sim.now_ms);
	t->tie = prng_next(&sim.rng);
	place(t, ++sim.heap_n);
	sift_up(sim.heap_n);
}

void sim_timer_in(struct sim_timer *t, int64_t delay_ms)
{
	sim_timer_set(t, sim.now_ms + delay_ms);
}

int64_t sim_next_event(void)
{
	return sim.heap_n ? sim.heap[1]->at_ms : INT64_MAX;
}

static void run_one(void)
{
	struct sim_timer *t = sim.heap[1];

	sim_timer_cancel(t);
	t->fn(t);
}

void sim_run_events(void)
{
	while (sim_next_event() <= sim.now_ms) {
		run_one();
		if (sim_chance(30))
			break; /* the rest in another turn */
	}
}

void sim_pass(int64_t until_ms)
{
	while (sim_next_event() <= until_ms) {
		sim.now_ms = MAX(sim.now_ms, sim_next_event());
		run_one();
	}
	sim.now_ms = MAX(sim.now_ms, until_ms);
}

int64_t sim_wall_ms(void)
{
	return sim.now_ms + sim.wall_offset_ms;
}

/* --- record ------------------------------------------------------------------------ */

static void digest(const char *text)
{
	for (; *text; text++)
		sim.digest = (sim.digest ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
}

static void record(const char *mark, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void record(const char *mark, const char *fmt, va_list ap)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "%4lldd%02lld:%02lld:%02lld.%03lld %s",
	    (long long)(sim.now_ms / SIM_DAY), (long long)(sim.now_ms / SIM_HOUR % 24),
	    (long long)(sim.now_ms / SIM_MINUTE % 60), (long long)(sim.now_ms / SIM_SECOND % 60),
	    (long long)(sim.now_ms % 1000), mark);

	vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	digest(line);
	if (sim.verbose || mark[0])
		fprintf(stdout, "%s\n", line);
}

void sim_trace(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	record("", fmt, ap);
	va_end(ap);
}

void sim_violation(const char *fmt, ...)
{
	va_list ap;

	if (++sim.violations > VIOLATIONS_SHOWN)
		return;
	va_start(ap, fmt);
	record("VIOLATION: ", fmt, ap);
	va_end(ap);
}

void sim_die(enum sim_end how)
{
	CHECK(sim.alive);
	sim.lives[sim.lives_n - 1].end = how;
	longjmp(sim.crash, 1);
}
