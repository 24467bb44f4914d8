/* Whose an item is, known without its envelope. */
#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_sender_suite(void);

static struct fixture f;

static void setup(void)
{
	fixture_init_in_memory(&f);
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

static struct queue_item *commit_of(const char *user, const char *client_ip, size_t body_bytes)
{
	const char *const rcpts[] = { "a@x.test", "b@y.test" };
	struct queue_item *items[2];
	struct queue_done done;
	size_t n = 0;
	struct queue_msg *m = fixture_message(&f, rcpts, 2, body_bytes);
	struct envelope *e = queue_msg_envelope(m);
	e->user = envelope_str(e, slice_str(user));
	e->client_ip = envelope_str(e, slice_str(client_ip));
	ck_assert_int_eq(fixture_run(&f, fixture_op_commit(&f, m), &done), 0);
	list_foreach_safe(node, &done.items) {
		list_remove(node);
		items[n++] = list_entry(node, struct queue_item, link);
	}
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_ne(items[0]->sender, 0);
	ck_assert_uint_eq(items[0]->sender, items[1]->sender);
	queue_park(f.q, items[1], 0);
	return items[0];
}

static uint32_t key_of(const char *user, const char *client_ip)
{
	return commit_of(user, client_ip, 100)->sender;
}

START_TEST(a_login_a_client_or_ourselves)
{
	uint32_t ann = key_of("ann", "192.0.2.1");
	ck_assert_uint_eq(key_of("ann", "192.0.2.2"), ann);
	ck_assert_uint_ne(key_of("bob", "192.0.2.1"), ann);
	uint32_t client = key_of("", "192.0.2.1");
	ck_assert_uint_eq(key_of("", "192.0.2.1"), client);
	ck_assert_uint_ne(key_of("", "192.0.2.2"), client);
	ck_assert_uint_ne(key_of("192.0.2.1", "192.0.2.1"), client);
	ck_assert_uint_ne(key_of("", ""), client);
	ck_assert_uint_eq(key_of("", ""), key_of("", ""));
}

END_TEST

static struct queue_item *take_only(void)
{
	struct queue_item *item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	return item;
}

/* From the journal at once; from a file when it has been read, and from then on. */
START_TEST(after_a_start)
{
	struct queue_item *item = commit_of("ann", "192.0.2.1", 300000);
	struct queue_done done;
	uint32_t ann = item->sender;
	ck_assert_ptr_null(item->mail);
	queue_park(f.q, item, 0);
	fixture_reopen(&f);
	item = take_only();
	ck_assert_uint_eq(item->sender, ann);
	ck_assert_uint_eq(take_only()->sender, ann);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + 1000), 0);
	fixture_reopen(&f);
	fixture_advance(&f, 1001);
	for (int i = 0; i < 2; i++) {
		item = take_only();
		ck_assert_uint_eq(item->sender, item->record == NULL ? 0 : ann);
		ck_assert_int_eq(fixture_run(&f, queue_op_peek(item), &done), 0);
		envelope_free(&done.envelope);
		ck_assert_uint_eq(item->sender, ann);
		queue_park(f.q, item, 0);
		ck_assert_uint_eq(item->sender, ann);
	}
}

END_TEST

START_TEST(a_load_tells)
{
	fixture_close(&f);
	f.opt.no_journal = true;
	fixture_open(&f);
	struct queue_item *item = commit_of("ann", "192.0.2.1", 100);
	uint32_t ann = item->sender;
	queue_park(f.q, item, 0);
	fixture_reopen(&f);
	item = take_only();
	ck_assert_uint_eq(item->sender, 0);
	fixture_load(&f, item);
	ck_assert_uint_eq(item->sender, ann);
	queue_park(f.q, item, 0);
	ck_assert_uint_eq(item->sender, ann);
}

END_TEST

Suite *test_sender_suite(void)
{
	Suite *s = suite_create("sender");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_login_a_client_or_ourselves);
	tcase_add_test(tc, after_a_start);
	tcase_add_test(tc, a_load_tells);
	suite_add_tcase(s, tc);
	return s;
}
