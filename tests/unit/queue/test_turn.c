/*
 * Who goes with which sync of the journal: those who come during one wait for
 * the next, and for that alone.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_turn_suite(void);

enum {
	WHILE_US = 20000, /* for what should not happen */
	PATIENCE_S = 20   /* for what should */
};

static struct fixture f;

static struct {
	struct qio io; /* the real one, but each sync stops and has its result from the test */
	sem_t stopped, go;
	atomic_bool armed;
	int result; /* of the one that stopped */
} slow;

static int slow_sync(void *arg, int fd)
{
	if (!atomic_load(&slow.armed))
		return qio_posix()->sync(arg, fd);
	sem_post(&slow.stopped);
	sem_wait(&slow.go);
	return slow.result < 0 ? slow.result : qio_posix()->sync(arg, fd);
}

struct sender {
	pthread_t thread;
	struct queue_op *op;
	atomic_bool told;
};

static void *run(void *arg)
{
	struct sender *s = arg;
	queue_run(f.q, &s->op, 1);
	atomic_store(&s->told, true);
	return NULL;
}

static void start(struct sender *s)
{
	static const char *const rcpts[] = { "a@x.test" };
	s->op = fixture_op_commit(&f, fixture_message(&f, rcpts, 1, 100));
	atomic_init(&s->told, false);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, run, s), 0);
}

static void await_sync(void)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	ck_assert_int_eq(sem_timedwait(&slow.stopped, &until), 0);
}

static void end_sync(int result)
{
	slow.result = result;
	sem_post(&slow.go);
}

static int end(struct sender *s)
{
	struct queue_done done;
	pthread_join(s->thread, NULL);
	ck_assert(atomic_load(&s->told));
	queue_finish(f.q, &s->op, f.now, &done);
	list_foreach_safe(node, &done.items)
		list_remove(node);
	return done.result;
}

/* In a segment that is there already. */
static void setup(void)
{
	slow.io = *qio_posix();
	slow.io.sync = slow_sync;
	atomic_init(&slow.armed, false);
	sem_init(&slow.stopped, 0, 0);
	sem_init(&slow.go, 0, 0);
	fixture_init_in_memory(&f);
	f.opt.qio = &slow.io;
	f.opt.journal_segment_bytes = 64 * 1024;
	fixture_open(&f);
	fixture_commit_one(&f, "a@x.test", 100);
	atomic_store(&slow.armed, true);
}

static void teardown(void)
{
	atomic_store(&slow.armed, false);
	fixture_fini(&f);
	sem_destroy(&slow.stopped);
	sem_destroy(&slow.go);
}

START_TEST(who_comes_during_a_sync_waits_for_the_next)
{
	static struct sender first, second;
	start(&first);
	await_sync();
	start(&second);
	usleep(WHILE_US);
	ck_assert(!atomic_load(&first.told));
	ck_assert(!atomic_load(&second.told));
	end_sync(0);
	await_sync();
	ck_assert_int_eq(end(&first), 0); /* it waits for its own alone */
	usleep(WHILE_US);
	ck_assert(!atomic_load(&second.told));
	end_sync(0);
	ck_assert_int_eq(end(&second), 0);
	atomic_store(&slow.armed, false);
	fixture_reopen(&f);
	struct queue_stats s;
	queue_stats(f.q, &s);
	ck_assert_uint_eq(s.items, 3);
}

END_TEST

/* Whoever leads the second turn, all of it are told, and none is left asleep. */
START_TEST(all_of_a_turn_are_told)
{
	enum {
		WAITING = 8
	};

	static struct sender first, others[WAITING];
	start(&first);
	await_sync();
	for (size_t i = 0; i < WAITING; i++)
		start(&others[i]);
	usleep(WHILE_US);
	atomic_store(&slow.armed, false);
	end_sync(0);
	ck_assert_int_eq(end(&first), 0);
	for (size_t i = 0; i < WAITING; i++)
		ck_assert_int_eq(end(&others[i]), 0);
}

END_TEST

START_TEST(a_failed_sync_fails_those_who_waited_for_it)
{
	static struct sender first, second;
	start(&first);
	await_sync();
	start(&second);
	usleep(WHILE_US);
	atomic_store(&slow.armed, false);
	end_sync(-EIO);
	ck_assert_int_eq(end(&first), -EIO);
	ck_assert_int_eq(end(&second), 0);
	fixture_reopen(&f);
	struct queue_stats s;
	queue_stats(f.q, &s);
	ck_assert_uint_eq(s.items, 2);
	ck_assert_uint_eq(s.corrupt, 0);
}

END_TEST

Suite *test_turn_suite(void)
{
	Suite *s = suite_create("turn");
	TCase *tc = tcase_create("turn");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, who_comes_during_a_sync_waits_for_the_next);
	tcase_add_test(tc, all_of_a_turn_are_told);
	tcase_add_test(tc, a_failed_sync_fails_those_who_waited_for_it);
	suite_add_tcase(s, tc);
	return s;
}
