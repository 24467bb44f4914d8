#include "io/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop_backend.h"
#include "lib/unit.h"
#include "unit/io/pump.h"

struct counter {
	struct loop *loop;
	unsigned steps;
	unsigned stop_at;
	int64_t at_ms;
	int64_t timer_ms;
};

static void count_step(void *arg, struct now now)
{
	struct counter *c = arg;
	ck_assert_int_eq(loop_now(c->loop).mono_ms, now.mono_ms);
	c->at_ms = now.mono_ms;
	if (++c->steps >= c->stop_at)
		loop_stop(c->loop);
	else if (c->timer_ms)
		loop_set_timer(c->loop, now.mono_ms + c->timer_ms);
	else
		loop_again(c->loop);
}

START_TEST(again_makes_turns_without_waiting)
{
	struct loop *l = loop_new();
	struct counter c = { .loop = l, .stop_at = 1000 };
	loop_set_step(l, count_step, &c);
	loop_again(l);
	loop_run(l);
	ck_assert_uint_eq(c.steps, 1000);
	loop_free(&l);
	ck_assert_ptr_null(l);
	loop_free(&l);
}

END_TEST

START_TEST(the_timer_makes_a_turn)
{
	struct loop *l = loop_new();
	struct counter c = { .loop = l, .stop_at = 4, .timer_ms = 20 };
	loop_set_step(l, count_step, &c);
	int64_t start = loop_now(l).mono_ms;
	loop_set_timer(l, start);
	loop_run(l);
	/* The coarse clock may be 4 ms off, each time. */
	ck_assert_int_ge(c.at_ms, start + 3 * 16);
	ck_assert_int_lt(c.at_ms, start + 2000);
	loop_free(&l);
}

END_TEST

START_TEST(a_timer_can_be_taken_back)
{
	struct loop *l = loop_new();
	loop_set_timer(l, loop_now(l).mono_ms + 5);
	loop_set_timer(l, INT64_MAX);
	loop_set_timer(l, INT64_MAX);
	pump_for(l, 20);
	loop_free(&l);
}

END_TEST

struct waker {
	struct loop *loop;
	atomic_uint said;
};

static void *wake_often(void *arg)
{
	struct waker *w = arg;
	for (int i = 0; i < 20000; i++) {
		atomic_fetch_add(&w->said, 1);
		loop_wake(w->loop);
	}
	return NULL;
}

static bool heard_all(void *arg)
{
	struct waker *w = arg;
	return atomic_load(&w->said) == 40000;
}

/* No wake is lost: the last word of each thread gets its turn, and no timer helps. */
START_TEST(wakes_come_from_any_thread)
{
	struct waker w = { .loop = loop_new() };
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, wake_often, &w), 0);
	pump_until(w.loop, heard_all, &w);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	loop_free(&w.loop);
}

END_TEST

struct order {
	struct loop *loop;
	struct loop_call first, second, drain;
	char said[16];
	size_t n;
};

static void say(struct order *o, char c)
{
	if (o->n < sizeof(o->said) - 1)
		o->said[o->n++] = c;
}

static void on_first(struct loop_call *c)
{
	struct order *o = container_of(c, struct order, first);
	say(o, '1');
	loop_call_cancel(&o->second);
	loop_defer(o->loop, &o->first); /* in the next turn, not in this */
}

static void on_second(struct loop_call *c)
{
	say(container_of(c, struct order, second), '2');
}

static void on_drain(struct loop_call *c)
{
	struct order *o = container_of(c, struct order, drain);
	say(o, 'd');
	loop_defer(o->loop, &o->first);
	loop_defer(o->loop, &o->first);
	loop_defer(o->loop, &o->second);
}

static void on_step(void *arg, struct now now)
{
	struct order *o = arg;
	(void)now;
	say(o, 's');
	if (o->n >= 6)
		loop_stop(o->loop);
}

START_TEST(a_turn_has_its_order)
{
	struct order o = { .loop = loop_new() };
	loop_call_init(&o.first, on_first);
	loop_call_init(&o.second, on_second);
	loop_call_init(&o.drain, on_drain);
	loop_add_drain(o.loop, &o.drain);
	loop_set_step(o.loop, on_step, &o);
	loop_again(o.loop);
	loop_run(o.loop);
	ck_assert_str_eq(o.said, "d1sd1s");
	loop_remove_drain(&o.drain);
	loop_call_cancel(&o.first);
	loop_call_cancel(&o.second);
	loop_free(&o.loop);
}

END_TEST

struct diary {
	struct loop *loop;
	struct loop_call drain;
	unsigned turns;
	unsigned writes, written_before; /* before the last turn began */
	size_t lines;
};

static void on_written(void *arg, const char *p, size_t n)
{
	struct diary *d = arg;
	d->writes++;
	for (size_t i = 0; i < n; i++)
		d->lines += p[i] == '\n';
}

static void drain_with_notes(struct loop_call *c)
{
	struct diary *d = container_of(c, struct diary, drain);
	d->written_before = d->writes;
	log_info("test", "a call");
	log_info("test", "another");
}

static void step_with_note(void *arg, struct now now)
{
	struct diary *d = arg;
	(void)now;
	log_info("test", "the step");
	ck_assert_uint_eq(d->writes, d->written_before);
	if (++d->turns == 3)
		loop_stop(d->loop);
	else
		loop_again(d->loop);
}

/* What completions say is not written one by one, nor does it wait for another turn. */
START_TEST(a_turn_writes_its_log_once)
{
	struct diary d = { .loop = loop_new() };
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_DEFAULT, false);
	log_set_sink(on_written, &d);
	loop_call_init(&d.drain, drain_with_notes);
	loop_add_drain(d.loop, &d.drain);
	loop_set_step(d.loop, step_with_note, &d);
	loop_again(d.loop);
	loop_run(d.loop);
	ck_assert_uint_eq(d.written_before, 2);
	ck_assert_uint_eq(d.writes, 3);
	ck_assert_uint_eq(d.lines, 9);
	log_set_sink(NULL, NULL);
	loop_remove_drain(&d.drain);
	loop_free(&d.loop);
}

END_TEST

static void on_signal(void *arg, int signo)
{
	*(int *)arg = signo;
}

static bool got_signal(void *arg)
{
	return *(int *)arg != 0;
}

START_TEST(signals_come_as_callbacks)
{
	struct loop *l = loop_new();
	int got = 0;
	loop_on_signal(l, SIGUSR2, on_signal, &got);
	ck_assert_int_eq(kill(getpid(), SIGUSR2), 0);
	pump_until(l, got_signal, &got);
	ck_assert_int_eq(got, SIGUSR2);
	loop_free(&l);
}

END_TEST

struct elsewhere {
	struct loop *loop;
	pthread_t thread;
	bool blocked; /* signals are, in it */
	char name[16];
	unsigned steps;
	atomic_uint rounds; /* what the main thread says */
};

static void step_elsewhere(void *arg, struct now now)
{
	struct elsewhere *e = arg;
	sigset_t mask;
	(void)now;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	e->thread = pthread_self();
	e->blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP);
	(void)pthread_getname_np(e->thread, e->name, sizeof(e->name));
	e->steps++;
	if (atomic_load(&e->rounds) == 3)
		loop_stop(e->loop);
}

START_TEST(a_loop_runs_in_a_thread_of_its_own)
{
	struct elsewhere e = { .loop = loop_new() };
	sigset_t mask;
	loop_set_step(e.loop, step_elsewhere, &e);
	loop_again(e.loop);
	for (int run = 0; run < 2; run++) { /* after the end of one thread it can have another */
		atomic_store(&e.rounds, 0);
		e.steps = 0;
		loop_run_in_thread(e.loop, "a name that is too long");
		for (int i = 0; i < 3; i++) {
			atomic_fetch_add(&e.rounds, 1);
			loop_wake(e.loop);
		}
		loop_join(e.loop);
		ck_assert_uint_ge(e.steps, 1);
		ck_assert(!pthread_equal(e.thread, pthread_self()));
		ck_assert(e.blocked);
		ck_assert_str_eq(e.name, "a name that is ");
	}
	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	ck_assert(!sigismember(&mask, SIGTERM)); /* here they aren't */
	pump_for(e.loop, 1);                     /* and it is ours again */
	loop_free(&e.loop);
}

END_TEST

START_TEST(a_broken_pipe_does_not_kill)
{
	struct sigaction now;
	struct loop *l = loop_new();
	ck_assert_int_eq(sigaction(SIGPIPE, NULL, &now), 0);
	ck_assert_ptr_eq((void *)now.sa_handler, (void *)SIG_IGN);
	pump_for(l, 0);
	loop_free(&l);
}

END_TEST

Suite *test_loop_suite(void)
{
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("loop");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, again_makes_turns_without_waiting);
	tcase_add_test(t, the_timer_makes_a_turn);
	tcase_add_test(t, a_timer_can_be_taken_back);
	tcase_add_test(t, wakes_come_from_any_thread);
	tcase_add_test(t, a_turn_has_its_order);
	tcase_add_test(t, a_turn_writes_its_log_once);
	tcase_add_test(t, signals_come_as_callbacks);
	tcase_add_test(t, a_loop_runs_in_a_thread_of_its_own);
	tcase_add_test(t, a_broken_pipe_does_not_kill);
	suite_add_tcase(s, t);
	return s;
}
