/* The queue end to end on a real directory. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_queue_suite(void);

static struct fixture f;

static void setup(void)
{
	fixture_init(&f);
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

START_TEST(commit_and_deliver)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 5000);
	ck_assert_str_eq(item->domain->name, "x.test");
	ck_assert_ptr_nonnull(item->mail);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	fixture_check_body(item->mail->body, 5000);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	struct queue_stats s;
	queue_stats(f.q, &s);
	ck_assert_uint_eq(s.items, 0);
	ck_assert_uint_eq(s.memory_bytes, 0);
}
END_TEST

START_TEST(survives_a_reopen)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 5000);
	char id[QUEUE_ID_MAX], id2[QUEUE_ID_MAX];
	queue_item_id(item, id);
	fixture_reopen(&f);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	ck_assert_str_eq(queue_item_id(item, id2), id);
	fixture_load(&f, item);
	fixture_check_body(item->mail->body, 5000);
	ck_assert_str_eq(item->mail->envelope->sender, "sender@example.com");
	ck_assert_str_eq(item->mail->envelope->rcpts[0].address, "a@x.test");
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	fixture_reopen(&f);
	ck_assert_ptr_null(fixture_take(&f));
}
END_TEST

Suite *test_queue_suite(void)
{
	Suite *s = suite_create("queue");
	TCase *tc = tcase_create("queue");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, commit_and_deliver);
	tcase_add_test(tc, survives_a_reopen);
	suite_add_tcase(s, tc);
	return s;
}
