/*
 * Mail leaves the intake journal when it grows old: an idle daemon ends with an
 * empty one.
 */
#include <errno.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_age_suite(void);

#define MINUTE INT64_C(60000)

static struct fixture f;

static void setup(void)
{
	fixture_init_in_memory(&f);
	f.opt.journal_segment_bytes = 64 * 1024;
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

static void finish(struct queue_item *item)
{
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
}

static void later(int64_t ms)
{
	fixture_advance(&f, ms);
	ck_assert_int_eq(fixture_sync(&f), 0);
}

/* An idle journal ends empty, its head as well; what is worked on moves without notice. */
START_TEST(what_grows_old_is_parked)
{
	struct queue_item *items[3];
	ck_assert_int_eq(fixture_sync(&f), 0);
	items[0] = fixture_commit_one(&f, "a@x.test", 3000);
	items[1] = fixture_commit_one(&f, "b@x.test", 300000);
	later(0);
	later(4 * MINUTE);
	items[2] = fixture_commit_one(&f, "c@x.test", 3000);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	later(MINUTE);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 2); /* c came later */
	ck_assert_uint_eq(fixture_count(&f, "body"), 0);
	ck_assert_ptr_null(items[0]->record);
	ck_assert_int_eq(items[0]->state, QUEUE_ITEM_ACTIVE);
	finish(items[0]);
	later(5 * MINUTE);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 2);
	ck_assert_ptr_null(items[2]->record);
	later(5 * MINUTE);
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 0)); /* nothing is left to do */
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	for (unsigned i = 0; i < 2; i++)
		finish(fixture_take(&f));
}

END_TEST

/* A segment that was filled: five minutes after that, not after its mail came. */
START_TEST(a_full_segment_grows_old)
{
	struct queue_item *first = fixture_commit_one(&f, "a@x.test", 3000);
	later(0);
	later(4 * MINUTE);
	for (unsigned i = 0; i < 8; i++) /* into the next */
		finish(fixture_commit_one(&f, "b@x.test", 9000));
	later(0);
	later(4 * MINUTE);
	ck_assert_ptr_nonnull(first->record);
	later(MINUTE);
	ck_assert_ptr_null(first->record);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
}

END_TEST

/* The id's time never goes back, the clock does: the file is found again all the same. */
START_TEST(what_is_parked_is_ended_after_the_clock_was_set)
{
	static const char *const rcpt[] = { "a@x.test" };
	struct queue_done done;
	finish(fixture_commit_one(&f, "first@x.test", 100));
	f.now.wall_ms -= 60 * MINUTE;
	for (unsigned again = 0; again < 2; again++) { /* as it came, and replayed */
		struct queue_msg *m = fixture_message(&f, rcpt, 1, 100);
		queue_msg_envelope(m)->arrival_ms = f.now.wall_ms;
		ck_assert_int_eq(fixture_run(&f, fixture_op_commit(&f, m), &done), 0);
		struct queue_item *item = list_first(&done.items, struct queue_item, link);
		list_remove(&item->link);
		if (again) {
			queue_park(f.q, item, 0);
			fixture_reopen(&f);
			item = fixture_take(&f);
			ck_assert_ptr_nonnull(item);
			ck_assert_ptr_nonnull(item->record);
		}
		later(0);
		later(6 * MINUTE);
		later(6 * MINUTE);
		ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
		finish(item);
		ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	}
}

END_TEST

/* On its way from the journal to the caller it becomes a queue file: the outcome must go behind its
 * body, not over its head. */
START_TEST(parked_while_it_is_loaded)
{
	struct queue_done done;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	queue_unload(f.q, item);
	struct queue_op *load = queue_op_load(item);
	queue_run(f.q, &load, 1);
	later(0);
	later(6 * MINUTE);
	queue_finish(f.q, &load, f.now, &done);
	ck_assert_int_eq(done.result, 0);
	ck_assert_ptr_null(item->record);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	ck_assert_uint_eq(item->mail->envelope->rcpts[0].attempts, 1);
	fixture_check_body(item->mail->body, 3000);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 0);
}

END_TEST

static void peek(struct queue_item *item, unsigned attempts)
{
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, queue_op_peek(item), &done), 0);
	ck_assert_ptr_eq(done.item, item);
	ck_assert_ptr_null(item->mail);
	ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
	ck_assert_str_eq(done.envelope->rcpts[0].address, "a@x.test");
	ck_assert_uint_eq(done.envelope->rcpts[0].attempts, attempts);
	ck_assert_uint_eq(item->attempts, attempts);
	envelope_free(&done.envelope);
}

/* In the journal as in a queue file; one that is gone is the caller's to find out. */
START_TEST(an_envelope_is_read_and_nothing_else)
{
	struct queue_done done;
	char path[512];
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	queue_unload(f.q, item);
	peek(item, 0);
	ck_assert_ptr_nonnull(item->record);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	queue_take(f.q, item);
	peek(item, 1);
	ck_assert_int_eq(item->due_ms, f.now.wall_ms + MINUTE);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(fixture_run(&f, queue_op_peek(item), &done), -ENOENT);
	ck_assert_ptr_eq(done.item, item);
	ck_assert_ptr_null(done.envelope);
	queue_park(f.q, item, 0);
}

END_TEST

Suite *test_age_suite(void)
{
	Suite *s = suite_create("age");
	TCase *tc = tcase_create("age");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_grows_old_is_parked);
	tcase_add_test(tc, a_full_segment_grows_old);
	tcase_add_test(tc, what_is_parked_is_ended_after_the_clock_was_set);
	tcase_add_test(tc, parked_while_it_is_loaded);
	tcase_add_test(tc, an_envelope_is_read_and_nothing_else);
	suite_add_tcase(s, tc);
	return s;
}
