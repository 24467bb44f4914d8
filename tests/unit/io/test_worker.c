#include "io/worker.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/io/pump.h"

enum {
	JOBS = 500,
};

struct test {
	struct loop *loop;
	struct worker_pool *pool;
	pthread_t loop_thread;
	unsigned done;
	unsigned order[JOBS];
	unsigned again; /* jobs that done submits anew */
};

struct job {
	struct worker_job job;
	struct test *test;
	unsigned number;
	unsigned answer;
	bool blocked; /* signals are, on the worker */
};

static void run(struct worker_job *j)
{
	struct job *job = container_of(j, struct job, job);
	sigset_t now;
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	job->blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGHUP);
	job->answer = job->number * 2;
}

static void done(struct worker_job *j)
{
	struct job *job = container_of(j, struct job, job);
	struct test *t = job->test;
	ck_assert(pthread_equal(pthread_self(), t->loop_thread));
	ck_assert_uint_eq(job->answer, job->number * 2);
	if (t->again > 0) {
		t->again--;
		job->answer = 0;
		worker_submit(t->pool, &job->job);
		return;
	}
	t->order[t->done++] = job->number;
}

static void submit(struct test *t, struct job *jobs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		jobs[i] =
		    (struct job){ .job = { .run = run, .done = done }, .test = t, .number = i };
		worker_submit(t->pool, &jobs[i].job);
	}
}

static void open_test(struct test *t, unsigned threads)
{
	memset(t, 0, sizeof(*t));
	t->loop = loop_new();
	t->loop_thread = pthread_self();
	t->pool = worker_pool_new(t->loop, threads, "a name that is too long");
}

static bool all_done(void *arg)
{
	const struct test *t = arg;
	return t->done == JOBS;
}

START_TEST(jobs_run_and_come_back_in_order)
{
	struct test t;
	struct job jobs[JOBS];
	open_test(&t, 1);
	submit(&t, jobs, JOBS);
	pump_until(t.loop, all_done, &t);
	ck_assert_uint_eq(worker_pending(t.pool), 0);
	for (unsigned i = 0; i < JOBS; i++) {
		ck_assert_uint_eq(t.order[i], i);
		ck_assert(jobs[i].blocked);
	}
	worker_pool_free(&t.pool);
	loop_free(&t.loop);
}

END_TEST

START_TEST(several_threads_do_each_job_once)
{
	struct test t;
	struct job jobs[JOBS];
	bool seen[JOBS] = { false };
	open_test(&t, 4);
	t.again = 100;
	submit(&t, jobs, JOBS);
	pump_until(t.loop, all_done, &t);
	for (unsigned i = 0; i < JOBS; i++) {
		ck_assert(!seen[t.order[i]]);
		seen[t.order[i]] = true;
	}
	worker_pool_free(&t.pool);
	loop_free(&t.loop);
}

END_TEST

/* What was submitted is done, even what its done functions submit. */
START_TEST(free_finishes_what_there_is)
{
	struct test t;
	struct job jobs[JOBS];
	open_test(&t, 2);
	t.again = 20;
	submit(&t, jobs, JOBS);
	ck_assert_uint_eq(worker_pending(t.pool), JOBS);
	worker_pool_free(&t.pool);
	ck_assert_uint_eq(t.done, JOBS);
	ck_assert_ptr_null(t.pool);
	worker_pool_free(&t.pool);
	loop_free(&t.loop);
}

END_TEST

Suite *test_worker_suite(void)
{
	Suite *s = suite_create("worker");
	TCase *t = tcase_create("worker");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, jobs_run_and_come_back_in_order);
	tcase_add_test(t, several_threads_do_each_job_once);
	tcase_add_test(t, free_finishes_what_there_is);
	suite_add_tcase(s, t);
	return s;
}
