#include "io/rendezvous.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/check.h"
#include "lib/unit.h"
#include "unit/io/pump.h"

enum {
	SHARDS = 4, /* the first of them asks */
	ROUNDS = 300,
	YIELDS = 20,
};

struct shard {
	struct loop *loop;
	struct house *house;
	/* Its own, with no lock: the first reads and writes them while it stands still. */
	unsigned turns;
	unsigned gifts;
	unsigned turns_max; /* then it leaves by itself; 0: when told to */
	bool sleepy;        /* no turn but by a wake */
	bool impudent;      /* it asks, though it isn't the first */
};

struct house {
	struct shard shards[SHARDS];
	struct rendezvous *meeting;
	unsigned rounds;
	unsigned moved; /* turns that were taken where none may be */
	atomic_bool over;
};

static void other_step(void *arg, struct now now)
{
	struct shard *s = arg;
	(void)now;
	rendezvous_check(s->house->meeting);
	s->turns++;
	if (s->impudent)
		rendezvous_stop_others(s->house->meeting);
	if (atomic_load(&s->house->over) || s->turns == s->turns_max) {
		rendezvous_leave(s->house->meeting);
		loop_stop(s->loop);
	} else if (!s->sleepy) {
		loop_again(s->loop);
	}
}

/* What the others have counted stays as it is; each gets something. */
static void visit(struct house *h)
{
	unsigned before[SHARDS];
	rendezvous_stop_others(h->meeting);
	for (int i = 1; i < SHARDS; i++) {
		before[i] = h->shards[i].turns;
		h->shards[i].gifts++;
	}
	for (int i = 0; i < YIELDS; i++)
		sched_yield();
	for (int i = 1; i < SHARDS; i++)
		h->moved += h->shards[i].turns - before[i];
	rendezvous_go(h->meeting);
}

static void first_step(void *arg, struct now now)
{
	struct house *h = arg;
	(void)now;
	rendezvous_check(h->meeting); /* it may, but nobody asks it */
	visit(h);
	/* With the others still on their way out of the last. */
	visit(h);
	if (++h->rounds >= ROUNDS)
		loop_stop(h->shards[0].loop);
	loop_again(h->shards[0].loop);
}

static void open_house(struct house *h)
{
	struct loop *loops[SHARDS];
	*h = (struct house){ 0 };
	for (int i = 0; i < SHARDS; i++) {
		h->shards[i] = (struct shard){ .loop = loop_new(), .house = h };
		loops[i] = h->shards[i].loop;
	}
	h->meeting = rendezvous_new(loops, SHARDS);
}

static void run_house(struct house *h)
{
	for (int i = 1; i < SHARDS; i++) {
		loop_set_step(h->shards[i].loop, other_step, &h->shards[i]);
		if (!h->shards[i].sleepy)
			loop_again(h->shards[i].loop);
		loop_run_in_thread(h->shards[i].loop, "other");
	}
	loop_set_step(h->shards[0].loop, first_step, h);
	loop_again(h->shards[0].loop);
	loop_run(h->shards[0].loop);
	atomic_store(&h->over, true);
	for (int i = 1; i < SHARDS; i++) {
		loop_wake(h->shards[i].loop);
		loop_join(h->shards[i].loop);
	}
}

static void close_house(struct house *h)
{
	for (int i = 1; i < SHARDS; i++)
		ck_assert_uint_eq(h->shards[i].gifts, 2 * ROUNDS);
	ck_assert_uint_eq(h->moved, 0);
	rendezvous_free(&h->meeting);
	ck_assert_ptr_null(h->meeting);
	rendezvous_free(&h->meeting);
	for (int i = 0; i < SHARDS; i++)
		loop_free(&h->shards[i].loop);
}

START_TEST(the_others_stand_still)
{
	struct house h;
	open_house(&h);
	run_house(&h);
	for (int i = 1; i < SHARDS; i++)
		ck_assert_uint_gt(h.shards[i].turns, ROUNDS);
	close_house(&h);
}

END_TEST

START_TEST(those_who_sleep_are_woken)
{
	struct house h;
	open_house(&h);
	for (int i = 1; i < SHARDS; i++)
		h.shards[i].sleepy = true;
	run_house(&h);
	/* A turn for each wake that finds it asleep, and for nothing else. */
	for (int i = 1; i < SHARDS; i++)
		ck_assert_uint_le(h.shards[i].turns, 2 * ROUNDS + 1);
	close_house(&h);
}

END_TEST

START_TEST(who_left_is_not_waited_for)
{
	struct house h;
	open_house(&h);
	for (unsigned i = 1; i < SHARDS; i++)
		h.shards[i].turns_max = i * ROUNDS / 4;
	run_house(&h);
	for (unsigned i = 1; i < SHARDS; i++)
		ck_assert_uint_eq(h.shards[i].turns, i * ROUNDS / 4);
	close_house(&h);
}

END_TEST

static void alone_step(void *arg, struct now now)
{
	struct shard *s = arg;
	(void)now;
	rendezvous_check(s->house->meeting);
	rendezvous_stop_others(s->house->meeting);
	rendezvous_go(s->house->meeting);
	loop_stop(s->loop);
}

START_TEST(alone_it_waits_for_nobody)
{
	struct house h = { 0 };
	struct shard s = { .loop = loop_new(), .house = &h };
	h.meeting = rendezvous_new(&s.loop, 1);
	loop_set_step(s.loop, alone_step, &s);
	loop_again(s.loop);
	loop_run(s.loop);
	rendezvous_free(&h.meeting);
	loop_free(&s.loop);
}

END_TEST

/* Two who asked at once would wait for each other for ever. */
START_TEST(only_the_first_may_ask)
{
	struct house h;
	open_house(&h);
	h.shards[2].impudent = true;
	run_house(&h);
}

END_TEST

Suite *test_rendezvous_suite(void)
{
	Suite *s = suite_create("rendezvous");
	TCase *t = tcase_create("rendezvous");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_others_stand_still);
	tcase_add_test(t, those_who_sleep_are_woken);
	tcase_add_test(t, who_left_is_not_waited_for);
	tcase_add_test(t, alone_it_waits_for_nobody);
	tcase_add_test_raise_signal(t, only_the_first_may_ask, SIGABRT);
	suite_add_tcase(s, t);
	return s;
}
