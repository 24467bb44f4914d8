#include "io/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/loop_backend.h"

enum {
	THREAD_NAME_MAX = 16, /* the kernel's limit, with NUL */
};

struct loop_signal {
	struct list_node node;
	struct event ev;
	loop_signal_fn *fn;
	void *arg;
};

struct loop {
	struct event_base *base;
	struct event timer;
	int64_t timer_at; /* what the timer is armed for; INT64_MAX: not at all */
	struct event wake;
	int wake_fd;
	atomic_bool wake_pending; /* the eventfd was written and the turn has not begun yet */
	loop_step_fn *step;
	void *step_arg;
	struct now now;
	bool now_known; /* in this turn */
	bool again;
	bool stopped;
	struct list_node drains;
	struct list_node deferred;
	struct list_node signals;
	char *scratch;
	pthread_t thread;
	bool has_thread; /* from loop_run_in_thread to loop_join; for those who call these */
	char name[THREAD_NAME_MAX];
};

static _Thread_local struct loop *running; /* in this thread; NULL: none */

static void on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct loop *l = arg;
	l->timer_at = INT64_MAX;
}

/*
 * The eventfd is watched edge-triggered and never read: each write is an edge
 * of its own, and its counter would take centuries to fill. The flag is
 * cleared before drains and step look for work, so a wake that finds it still
 * set has its work seen in this turn.
 */
static void on_wake(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct loop *l = arg;
	atomic_exchange(&l->wake_pending, false);
}

/* Failing to get a reactor is like failing to get memory: nobody has a way on. */
static void give_up(const char *what) NORETURN;

static void give_up(const char *what)
{
	log_crit("loop", "can't go on: %s: %s", what, strerror(errno));
	abort();
}

static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	if (!config)
		give_up("event_config_new");
	/*
	 * One thread per base, so no locks. The change list spares an epoll_ctl where an event
	 * is armed and disarmed in one turn; it is safe since no watched descriptor is ever
	 * duplicated.
	 */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV |
					  EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	if (!base)
		give_up("event_base_new");
	return base;
}

/* OpenSSL writes with write(2): a peer that is gone must not kill us. */
static void ignore_sigpipe(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigemptyset(&ignore.sa_mask);
	if (sigaction(SIGPIPE, &ignore, NULL) < 0)
		give_up("sigaction");
}

struct loop *loop_new(void)
{
	struct loop *l = mem_zalloc(sizeof(*l));
	ignore_sigpipe();
	l->base = new_base();
	l->timer_at = INT64_MAX;
	l->scratch = mem_alloc(LOOP_SCRATCH_BYTES);
	list_init(&l->drains);
	list_init(&l->deferred);
	list_init(&l->signals);
	atomic_init(&l->wake_pending, false);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		give_up("eventfd");
	evtimer_assign(&l->timer, l->base, on_timer, l);
	event_assign(&l->wake, l->base, l->wake_fd, EV_READ | EV_PERSIST | EV_ET, on_wake, l);
	if (event_add(&l->wake, NULL) < 0)
		give_up("event_add");
	return l;
}

void loop_free(struct loop **lp)
{
	struct loop *l = *lp;
	if (!l)
		return;
	*lp = NULL;
	CHECK(!l->has_thread);
	/* Whoever still has a call or a drain here would be left with a dangling pointer. */
	CHECK(list_is_empty(&l->drains));
	CHECK(list_is_empty(&l->deferred));
	list_foreach_safe(it, &l->signals) {
		struct loop_signal *s = list_entry(it, struct loop_signal, node);
		event_del(&s->ev);
		mem_free(s);
	}
	event_del(&l->wake);
	event_del(&l->timer);
	event_base_free(l->base);
	close(l->wake_fd);
	mem_free(l->scratch);
	mem_free(l);
}

void loop_set_step(struct loop *l, loop_step_fn *fn, void *arg)
{
	l->step = fn;
	l->step_arg = arg;
}

struct now loop_now(struct loop *l)
{
	if (!l->now_known) {
		l->now = clock_now();
		l->now_known = true;
	}
	return l->now;
}

static void run_drains(struct loop *l)
{
	list_foreach_safe(it, &l->drains) {
		struct loop_call *c = list_entry(it, struct loop_call, node);
		c->fn(c);
	}
}

/* Any call may cancel any other that waits with it, so they are taken one by one. */
static void run_deferred(struct loop *l)
{
	struct list_node due;
	list_init(&due);
	list_splice(&due, &l->deferred);
	while (!list_is_empty(&due)) {
		struct loop_call *c = list_first(&due, struct loop_call, node);
		list_remove(&c->node);
		c->fn(c);
	}
}

static void run_turn(struct loop *l)
{
	int flags = EVLOOP_ONCE;
	if (l->again || !list_is_empty(&l->deferred))
		flags |= EVLOOP_NONBLOCK;
	l->again = false;
	l->now_known = false;
	log_hold(); /* nothing is held while it waits: the last turn has released all */
	if (event_base_loop(l->base, flags) < 0)
		give_up("event_base_loop");
	run_drains(l);
	run_deferred(l);
	if (l->step)
		l->step(l->step_arg, loop_now(l));
	log_release();
}

void loop_run(struct loop *l)
{
	CHECK(!running);
	running = l;
	l->stopped = false;
	while (!l->stopped)
		run_turn(l);
	running = NULL;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

bool loop_is_own(const struct loop *l)
{
	return running == l;
}

static void *thread_main(void *arg)
{
	struct loop *l = arg;
	pthread_setname_np(pthread_self(), l->name);
	loop_run(l);
	return NULL;
}

void loop_run_in_thread(struct loop *l, const char *name)
{
	sigset_t all;
	sigset_t before;
	CHECK(!l->has_thread);
	CHECK(list_is_empty(&l->signals));
	snprintf(l->name, sizeof(l->name), "%s", name);
	l->has_thread = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	errno = pthread_create(&l->thread, NULL, thread_main, l);
	if (errno != 0)
		give_up("pthread_create");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void loop_join(struct loop *l)
{
	CHECK(l->has_thread);
	CHECK(!running);
	pthread_join(l->thread, NULL);
	l->has_thread = false;
}

void loop_set_timer(struct loop *l, int64_t mono_ms)
{
	if (mono_ms == l->timer_at)
		return;
	l->timer_at = mono_ms;
	if (mono_ms == INT64_MAX) {
		event_del(&l->timer);
		return;
	}
	int64_t wait_ms = MAX(mono_ms - loop_now(l).mono_ms, 0);
	struct timeval tv = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };
	if (event_add(&l->timer, &tv) < 0)
		give_up("event_add");
}

void loop_again(struct loop *l)
{
	l->again = true;
}

void loop_wake(struct loop *l)
{
	const uint64_t one = 1;
	if (atomic_exchange(&l->wake_pending, true))
		return;
	/* An eventfd write of 1 fails only when the counter is full, and then it is readable. */
	ssize_t ignored UNUSED = write(l->wake_fd, &one, sizeof(one));
}

static void on_signal(evutil_socket_t signo, short what UNUSED, void *arg)
{
	struct loop_signal *s = arg;
	s->fn(s->arg, signo);
}

void loop_on_signal(struct loop *l, int signo, loop_signal_fn *fn, void *arg)
{
	struct loop_signal *s = mem_zalloc(sizeof(*s));
	s->fn = fn;
	s->arg = arg;
	evsignal_assign(&s->ev, l->base, signo, on_signal, s);
	if (event_add(&s->ev, NULL) < 0)
		give_up("event_add of a signal");
	list_push(&l->signals, &s->node);
}

void *loop_backend(struct loop *l)
{
	return l->base;
}

void loop_call_init(struct loop_call *c, void (*fn)(struct loop_call *c))
{
	list_init(&c->node);
	c->fn = fn;
}

void loop_defer(struct loop *l, struct loop_call *c)
{
	if (!list_is_linked(&c->node))
		list_push(&l->deferred, &c->node);
}

void loop_call_cancel(struct loop_call *c)
{
	list_remove(&c->node);
}

void loop_add_drain(struct loop *l, struct loop_call *c)
{
	list_push(&l->drains, &c->node);
}

void loop_remove_drain(struct loop_call *c)
{
	list_remove(&c->node);
}

char *loop_scratch(struct loop *l)
{
	return l->scratch;
}
