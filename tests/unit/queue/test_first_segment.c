/*
 * The first segment of the journal: a start doesn't wait for it, its upkeep
 * makes it, and the first mail waits for that.
 */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_first_segment_suite(void);

#define WHILE_US 20000 /* for what should not happen */

static struct fixture f;

static struct {
	struct qio io; /* the real one, which stops once in a sync */
	sem_t stopped, go;
	bool armed;
} slow;

static int slow_sync(void *arg, int fd)
{
	if (slow.armed) {
		slow.armed = false;
		sem_post(&slow.stopped);
		sem_wait(&slow.go);
	}
	return qio_posix()->sync(arg, fd);
}

static void setup(void)
{
	slow.io = *qio_posix();
	slow.io.sync = slow_sync;
	slow.armed = false;
	sem_init(&slow.stopped, 0, 0);
	sem_init(&slow.go, 0, 0);
	fixture_init_in_memory(&f);
	f.opt.qio = &slow.io;
	f.opt.journal_segment_bytes = 64 * 1024;
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
	sem_destroy(&slow.stopped);
	sem_destroy(&slow.go);
}

static void *run(void *arg)
{
	struct queue_op *op = arg;
	queue_run(f.q, &op, 1);
	return NULL;
}

static void finish(struct queue_op *op)
{
	struct queue_done done;
	queue_finish(f.q, &op, f.now, &done);
	ck_assert_int_eq(done.result, 0);
	list_foreach_safe(node, &done.items) {
		const struct queue_item *item = list_entry(node, struct queue_item, link);
		list_remove(node);
		ck_assert_ptr_nonnull(item->record);
	}
}

START_TEST(upkeep_makes_it)
{
	struct queue_done done;
	ck_assert_uint_eq(fixture_count(&f, "journal"), 0);
	ck_assert_int_eq(fixture_run(&f, queue_op_sync(f.q, f.now, 0), &done), 0);
	ck_assert_uint_eq(fixture_count(&f, "journal"), 1);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0));
	fixture_commit_one(&f, "a@x.test", 100);
	ck_assert_uint_eq(fixture_count(&f, "journal"), 1);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
}

END_TEST

START_TEST(mail_that_comes_meanwhile_waits_for_it)
{
	static const char *const rcpts[] = { "a@x.test" };
	pthread_t maker, sender;
	struct queue_op *sync = queue_op_sync(f.q, f.now, 0);
	struct queue_op *commit = fixture_op_commit(&f, fixture_message(&f, rcpts, 1, 100));
	slow.armed = true;
	ck_assert_int_eq(pthread_create(&maker, NULL, run, sync), 0);
	sem_wait(&slow.stopped);
	ck_assert_int_eq(pthread_create(&sender, NULL, run, commit), 0);
	usleep(WHILE_US);
	sem_post(&slow.go);
	pthread_join(maker, NULL);
	pthread_join(sender, NULL);
	finish(sync);
	finish(commit);
	ck_assert_uint_eq(fixture_count(&f, "journal"), 1);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
}

END_TEST

Suite *test_first_segment_suite(void)
{
	Suite *s = suite_create("first_segment");
	TCase *tc = tcase_create("first segment");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, upkeep_makes_it);
	tcase_add_test(tc, mail_that_comes_meanwhile_waits_for_it);
	suite_add_tcase(s, tc);
	return s;
}
