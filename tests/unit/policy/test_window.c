/* The window against models of peers: what it costs them, and what it gets out of them. */
#include "policy/window.h"

#include <string.h>

#include "base/prng.h"
#include "lib/unit.h"

#define LIMIT      20
#define REACH_MS   2  /* from the start of a connection to its greeting, and up to 1 more */
#define MESSAGE_MS 50 /* of one delivery */

/* --- a peer, and a site that has always mail for it --------------------------------- */

struct peer {
	unsigned takes;       /* connections at the same time */
	bool silently;        /* the rest is reset, not told 421 */
	unsigned bad_percent; /* of connections that fail by chance */
	unsigned messages;    /* over one connection; 0: 100 */
	unsigned per_minute;  /* messages, the rest is told 421; 0: no limit */
};

enum slot_state {
	SLOT_FREE = 0,
	SLOT_CONNECTING,
	SLOT_OPEN,
};

struct slot {
	enum slot_state state;
	int64_t done_ms; /* of what it does */
	unsigned messages;
};

struct run {
	struct peer peer;
	struct window w;
	struct prng rng;
	struct slot slots[LIMIT];
	int64_t now_ms;
	unsigned open, used; /* used: all but the free */
	bool broken;         /* the window was out of its bounds */
	unsigned minute_n;
	uint64_t delivered, refusals, slowdowns;
	uint64_t size_sum; /* in ms */
	unsigned most;     /* connections the peer has seen at once */
};

static void run_init(struct run *r, struct peer peer, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	r->peer = peer;
	r->now_ms = 1000000;
	prng_init(&r->rng, seed);
	window_init(&r->w, LIMIT);
}

static void drop(struct run *r, struct slot *s)
{
	r->open -= s->state == SLOT_OPEN;
	r->used--;
	s->state = SLOT_FREE;
}

static void greeted(struct run *r, struct slot *s)
{
	bool full = r->open >= r->peer.takes;
	bool chance = prng_below(&r->rng, 100) < r->peer.bad_percent;

	if (full || chance) {
		r->refusals++;
		drop(r, s);
		if (full && !r->peer.silently)
			window_refused(&r->w, r->open, r->now_ms);
		else
			window_failed(&r->w, r->open, r->now_ms);
		return;
	}
	s->state = SLOT_OPEN;
	r->open++;
	r->most = MAX(r->most, r->open);
	s->messages = 0;
	s->done_ms = r->now_ms + MESSAGE_MS;
	window_connected(&r->w, r->open, r->now_ms);
}

static void delivered(struct run *r, struct slot *s)
{
	if (r->peer.per_minute > 0 && r->minute_n >= r->peer.per_minute) {
		r->slowdowns++;
		drop(r, s);
		window_slowed(&r->w, r->now_ms);
		return;
	}
	r->minute_n++;
	r->delivered++;
	window_delivered(&r->w, r->open, r->now_ms);
	s->done_ms = r->now_ms + MESSAGE_MS;
	if (++s->messages == (r->peer.messages ? r->peer.messages : 100) ||
	    r->used > window_size(&r->w) || r->now_ms < window_resume_at(&r->w))
		drop(r, s);
}

static void start(struct run *r)
{
	for (size_t i = 0; i < LIMIT; i++) {
		if (r->used >= window_size(&r->w) || r->now_ms < window_resume_at(&r->w))
			return;
		if (r->slots[i].state != SLOT_FREE)
			continue;
		r->used++;
		r->slots[i].state = SLOT_CONNECTING;
		r->slots[i].done_ms = r->now_ms + REACH_MS + (int64_t)prng_below(&r->rng, 2);
	}
}

/* To the next thing that happens; what is over by now is done. */
static void turn(struct run *r, int64_t end_ms)
{
	int64_t next_ms = end_ms;

	for (size_t i = 0; i < LIMIT; i++) {
		struct slot *s = &r->slots[i];
		if (s->state == SLOT_FREE || s->done_ms > r->now_ms)
			continue;
		if (s->state == SLOT_CONNECTING)
			greeted(r, s);
		else
			delivered(r, s);
	}
	start(r);
	r->broken |= window_size(&r->w) < 1 || window_size(&r->w) > LIMIT;
	for (size_t i = 0; i < LIMIT; i++)
		if (r->slots[i].state != SLOT_FREE)
			next_ms = MIN(next_ms, r->slots[i].done_ms);
	if (r->used == 0)
		next_ms = MIN(next_ms, MAX(window_resume_at(&r->w), r->now_ms + 1));
	if (r->now_ms / 60000 != next_ms / 60000)
		r->minute_n = 0;
	r->size_sum += window_size(&r->w) * (uint64_t)(next_ms - r->now_ms);
	r->now_ms = next_ms;
}

static void run_for(struct run *r, int64_t ms)
{
	int64_t end_ms = r->now_ms + ms;

	r->delivered = r->refusals = r->slowdowns = r->size_sum = 0;
	while (r->now_ms < end_ms)
		turn(r, end_ms);
	ck_assert(!r->broken);
}

static double mean_size(const struct run *r, int64_t ms)
{
	return (double)r->size_sum / (double)ms;
}

/* --- what is asked of it -------------------------------------------------------------- */

START_TEST(all_connections_in_milliseconds)
{
	struct run r;

	run_init(&r, (struct peer){ .takes = 1000 }, 1);
	ck_assert_uint_eq(window_size(&r.w), WINDOW_INITIAL);
	run_for(&r, 4 * REACH_MS);
	ck_assert_uint_eq(window_size(&r.w), LIMIT);
	run_for(&r, 60000);
	ck_assert_uint_eq(window_size(&r.w), LIMIT);
	ck_assert_uint_eq(r.most, LIMIT);
	ck_assert_uint_eq(r.refusals, 0);
}

END_TEST

START_TEST(as_many_as_the_host_takes)
{
	const unsigned takes[] = { 1, 2, 3, 4, 5, 6, 9, 12, 19 };

	for (int silently = 0; silently < 2; silently++) {
		unsigned k = takes[_i];
		struct run r;
		run_init(&r, (struct peer){ .takes = k, .silently = silently }, k);
		run_for(&r, 1000);
		ck_assert_uint_le(r.refusals, 2 * LIMIT);
		run_for(&r, 600000);
		ck_assert(mean_size(&r, 600000) > 0.95 * k);
		ck_assert(mean_size(&r, 600000) < k + 0.1);
		ck_assert_uint_le(r.refusals, silently ? 24 : 12);
		ck_assert_uint_ge(r.delivered, (uint64_t)(0.9 * k * 600000 / MESSAGE_MS));
		run_for(&r, 1800000);
		ck_assert_uint_le(r.refusals, silently ? 14 : 7); /* once in five minutes */
		ck_assert_uint_eq(r.most, k);
	}
}

END_TEST

/* One in ten hosts behind a balancer is dead: that says nothing of how many connections are
 * welcome. */
START_TEST(chance_is_no_reason)
{
	struct run r;

	run_init(&r, (struct peer){ .takes = 1000, .bad_percent = 10, .messages = 2 }, 5);
	run_for(&r, 600000);
	ck_assert(mean_size(&r, 600000) > 0.9 * LIMIT);
}

END_TEST

/* Four are on their way: what becomes of the first says little of the others. */
START_TEST(heard_in_any_order)
{
	struct window w;

	window_init(&w, LIMIT);
	window_refused(&w, 0, 1000);
	ck_assert_uint_eq(window_size(&w), 1);
	window_connected(&w, 1, 1000);
	window_connected(&w, 2, 1000);
	window_connected(&w, 3, 1000);
	window_refused(&w, 3, 1000);
	ck_assert_uint_eq(window_size(&w), 3);
}

END_TEST

START_TEST(no_growth_without_use)
{
	struct window w;

	window_init(&w, LIMIT);
	window_connected(&w, 1, 1000);
	for (int i = 0; i < 100; i++)
		window_delivered(&w, 1, 1000 + i * 10000);
	ck_assert_uint_eq(window_size(&w), WINDOW_INITIAL);
	window_refused(&w, 3, 1000000);
	for (int i = 0; i < 100; i++)
		window_delivered(&w, 2, 1000000 + i * 10000);
	ck_assert_uint_eq(window_size(&w), 3);
	window_delivered(&w, 3,
	    2000000); /* all are in use: one more, and no further before it is proven */
	ck_assert_uint_eq(window_size(&w), 4);
	window_delivered(&w, 3, 3000000);
	ck_assert_uint_eq(window_size(&w), 4);
	window_connected(&w, 4, 3000000);
	window_delivered(&w, 4, 3000001);
	ck_assert_uint_eq(window_size(&w), 4);
	window_delivered(&w, 4, 3000000 + 250);
	ck_assert_uint_eq(window_size(&w), 5);
}

END_TEST

START_TEST(room_that_comes_is_found)
{
	struct run r;

	run_init(&r, (struct peer){ .takes = 2 }, 3);
	run_for(&r, 1200000);
	ck_assert(window_size(&r.w) <= 3);
	r.peer.takes = 1000;
	run_for(&r, 420000);
	ck_assert_uint_eq(window_size(&r.w), LIMIT);
}

END_TEST

START_TEST(room_that_goes_is_given_up)
{
	struct run r;

	run_init(&r, (struct peer){ .takes = 1000 }, 3);
	run_for(&r, 60000);
	r.peer.takes = 4; /* as connections end new ones are refused */
	run_for(&r, 10000);
	ck_assert_uint_le(r.refusals, 40);
	run_for(&r, 600000);
	ck_assert(mean_size(&r, 600000) > 3.8);
	ck_assert(mean_size(&r, 600000) < 4.1);
	ck_assert_uint_le(r.refusals, 12);
}

END_TEST

static const struct {
	unsigned per_minute, slowdowns; /* the most in an hour */
} allowances[] = {
	{ 10, 150 },
	{ 300, 250 },
	{ 2430, 2400 },
};

/* What is over is told 421: it gets most of what it would have taken, and few have to be told. */
START_TEST(messages_per_minute)
{
	unsigned per_minute = allowances[_i].per_minute;
	struct run r;

	run_init(&r, (struct peer){ .takes = 1000, .per_minute = per_minute }, 3);
	run_for(&r, 3600000);
	ck_assert_uint_ge(r.delivered, (uint64_t)per_minute * 60 * 8 / 10);
	ck_assert_uint_le(r.slowdowns, allowances[_i].slowdowns);
}

END_TEST

START_TEST(a_pause)
{
	struct window w;
	int64_t now = 5000;

	window_init(&w, LIMIT);
	ck_assert_int_le(window_resume_at(&w), now);
	for (unsigned i = 1; i <= 10; i++)
		window_connected(&w, i, now);
	unsigned before = window_size(&w);
	window_delivered(&w, 10, now);
	window_slowed(&w, now);
	ck_assert_int_eq(window_resume_at(&w), now + 2000);
	ck_assert_uint_eq(window_size(&w), 1);
	window_slowed(&w, now + 1); /* of the same moment */
	ck_assert_int_eq(window_resume_at(&w), now + 2000);
	for (unsigned i = 0; i < 20; i++)
		window_delivered(&w, 9, now + 2); /* was under way */
	ck_assert_uint_eq(window_size(&w), 1);
	now = window_resume_at(&w);
	window_slowed(&w, now); /* nothing got through: twice as long */
	ck_assert_int_eq(window_resume_at(&w), now + 4000);
	now = window_resume_at(&w);
	for (unsigned i = 0; i < 20; i++)
		window_delivered(&w, window_size(&w), now);
	ck_assert_uint_eq(window_size(&w), before / 2);
	window_slowed(&w, now); /* much got through: half as long */
	ck_assert_int_eq(window_resume_at(&w), now + 2000);
}

END_TEST

START_TEST(pauses_have_an_end)
{
	struct window w;
	int64_t now = 5000;

	window_init(&w, LIMIT);
	for (int i = 0; i < 20; i++) {
		window_slowed(&w, now);
		ck_assert_int_le(window_resume_at(&w), now + 300000);
		now = window_resume_at(&w);
	}
	window_slowed(&w, now);
	ck_assert_int_eq(window_resume_at(&w), now + 300000);
	ck_assert_int_le(w.patience_ms, 300000);
	ck_assert_int_ge(window_busy_until(&w), now + 300000);
	window_restart(&w);
	ck_assert_int_eq(window_resume_at(&w), now + 300000);
	now += 300000 + 10 * 300000 + 1; /* long ago: as if it had never been */
	window_slowed(&w, now);
	ck_assert_int_eq(window_resume_at(&w), now + 2000);
}

END_TEST

/* A few get through each time, however long it was: then it was long for nothing. */
START_TEST(a_pause_gets_shorter)
{
	struct window w;
	int64_t now = 5000;

	window_init(&w, LIMIT);
	for (int i = 0; i < 20; i++) {
		window_slowed(&w, now);
		now = window_resume_at(&w);
	}
	for (int i = 0; i < 60; i++) {
		for (unsigned k = 0; k < 5; k++)
			window_delivered(&w, 1, now);
		window_slowed(&w, now);
		now = window_resume_at(&w);
	}
	window_slowed(&w, now); /* and longer where nothing gets through */
	ck_assert_int_eq(window_resume_at(&w), now + 4000);
	now = window_resume_at(&w);
	window_delivered(&w, 1, now);
	window_restart(&w); /* by just that message it was seen that the site answers */
	window_slowed(&w, now);
	ck_assert_int_eq(window_resume_at(&w), now + 4000);
}

END_TEST

START_TEST(after_an_outage)
{
	struct window w;

	window_init(&w, LIMIT);
	window_refused(&w, 2, 5000);
	ck_assert_uint_eq(window_size(&w), 2);
	ck_assert_int_ge(window_busy_until(&w), 6000);
	window_restart(&w);
	ck_assert_uint_eq(window_size(&w), WINDOW_INITIAL);
	ck_assert_int_le(window_busy_until(&w), 5000);
	window_set_limit(&w, 3);
	ck_assert_uint_eq(window_size(&w), 3);
}

END_TEST

/* Whatever happens in whatever order. */
START_TEST(bounds)
{
	struct prng rng;
	struct window w;
	int64_t now = 1;

	prng_init(&rng, 11);
	window_init(&w, LIMIT);
	for (int i = 0; i < 100000; i++) {
		unsigned open = (unsigned)prng_below(&rng, LIMIT + 3);
		unsigned limit = w.limit;
		now += (int64_t)prng_below(&rng, prng_below(&rng, 100) ? 10 : 1000000);
		switch (prng_below(&rng, 7)) {
		case 0:
			window_connected(&w, open + 1, now);
			break;
		case 1:
			window_refused(&w, open, now);
			break;
		case 2:
			window_failed(&w, open, now);
			break;
		case 3:
			if (prng_below(&rng, 100) == 0)
				window_slowed(&w, now);
			break;
		case 4:
			if (prng_below(&rng, 100) == 0)
				window_restart(&w);
			break;
		case 5:
			limit = (unsigned)prng_below(&rng, LIMIT) + 1;
			window_set_limit(&w, limit);
			break;
		default:
			window_delivered(&w, open, now);
			break;
		}
		ck_assert_uint_ge(window_size(&w), 1);
		ck_assert_uint_le(window_size(&w), limit);
		ck_assert_int_le(window_resume_at(&w), now + 300000);
		ck_assert_int_ge(w.patience_ms, 125);
		ck_assert_int_le(w.patience_ms, 300000);
	}
}

END_TEST

Suite *test_window_suite(void)
{
	Suite *s = suite_create("window");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, all_connections_in_milliseconds);
	tcase_add_loop_test(tc, as_many_as_the_host_takes, 0, 9);
	tcase_add_test(tc, chance_is_no_reason);
	tcase_add_test(tc, heard_in_any_order);
	tcase_add_test(tc, no_growth_without_use);
	tcase_add_test(tc, room_that_comes_is_found);
	tcase_add_test(tc, room_that_goes_is_given_up);
	tcase_add_loop_test(tc, messages_per_minute, 0, ARRAY_LEN(allowances));
	tcase_add_test(tc, a_pause);
	tcase_add_test(tc, pauses_have_an_end);
	tcase_add_test(tc, a_pause_gets_shorter);
	tcase_add_test(tc, after_an_outage);
	tcase_add_test(tc, bounds);
	suite_add_tcase(s, tc);
	return s;
}
