/* The queue end to end on a real directory: what a caller relies on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_queue_suite(void);

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)

static struct fixture f;

static void setup(void)
{
	fixture_init(&f);
	fixture_open(&f);
}

static void setup_files(void)
{
	fixture_no_journal = true;
	setup();
}

static void teardown(void)
{
	fixture_fini(&f);
	fixture_no_journal = false;
}

/* New mail is in n queue files, or in none while the journal has it. */
static void check_files(size_t n)
{
	ck_assert_uint_eq(fixture_count(&f, "queue"), fixture_no_journal ? n : 0);
}

/* --- commit ----------------------------------------------------------------------- */

START_TEST(commit_and_deliver)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 5000);
	ck_assert_str_eq(item->domain->name, "x.test");
	ck_assert_ptr_nonnull(item->mail);
	check_files(1);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	fixture_check_body(item->mail->body, 5000);
	ck_assert_uint_eq(queue_body_memory(item->mail->body).n, 5000);
	ck_assert_uint_eq(fixture_stats(&f).memory_bytes, 5000);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_stats(&f).active + fixture_stats(&f).busy +
			      fixture_stats(&f).parked,
	    0);
	ck_assert_uint_eq(fixture_stats(&f).memory_bytes, 0);
	ck_assert_uint_eq(fixture_stats(&f).commits, 1);
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
	ck_assert_int_eq(item->arrival_ms, f.now.wall_ms);
	fixture_load(&f, item);
	fixture_check_body(item->mail->body, 5000);
	ck_assert_str_eq(item->mail->envelope->queue_id, id);
	ck_assert_str_eq(item->mail->envelope->sender, "sender@example.com");
	ck_assert_str_eq(item->mail->envelope->rcpts[0].address, "a@x.test");
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	fixture_reopen(&f);
	ck_assert_ptr_null(fixture_take(&f));
	struct queue_item *other = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_str_ne(queue_item_id(other, id2), id);
}

END_TEST

static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 256 * 1024 - 1, 256 * 1024,
	256 * 1024 + 1, 1000000, 3000001 };

START_TEST(bodies_of_any_size)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test", "c@x.test" };
	struct queue_item *items[2];
	size_t bytes = sizes[_i];
	size_t n = fixture_commit(&f, rcpts, 3, bytes, items, 2);
	ck_assert_uint_eq(n, 2);
	if (bytes <= 256 * 1024)
		check_files(2);
	else
		ck_assert_uint_eq(fixture_count(&f, "queue"), fixture_no_journal ? 2 : 0);
	ck_assert_uint_eq(fixture_count(&f, "body"), !fixture_no_journal && bytes > 256 * 1024);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	ck_assert_int_eq(items[0]->mail == NULL, bytes > 256 * 1024);
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < 2; i++) {
			fixture_load(&f, items[i]);
			ck_assert_uint_eq(items[i]->mail->envelope->rcpts_n, i == 0 ? 2 : 1);
			ck_assert_uint_eq(items[i]->mail->envelope->body_bytes, bytes);
			fixture_check_body(items[i]->mail->body, bytes);
			queue_unload(f.q, items[i]);
			ck_assert_ptr_null(items[i]->mail);
		}
	}
	for (size_t i = 0; i < 2; i++) {
		fixture_load(&f, items[i]);
		ck_assert_int_eq(fixture_settle(&f, items[i], 0, FATE_PENDING, 1,
				     f.now.wall_ms + MINUTE),
		    0);
	}
	ck_assert_uint_eq(fixture_count(&f, "queue"), 2);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_count(&f, "body"), 0);
	fixture_advance(&f, MINUTE);
	struct queue_item *item = fixture_take(&f);
	fixture_load(&f, item);
	fixture_check_body(item->mail->body, bytes);
	ck_assert_uint_eq(item->mail->envelope->rcpts[0].attempts, 1);
}

END_TEST

START_TEST(fifty_domains_and_a_directory_sync)
{
	char text[50][24];
	const char *rcpts[50];
	struct queue_item *items[50];
	for (size_t i = 0; i < 50; i++) {
		snprintf(text[i], sizeof(text[i]), "u@d%zu.test", i);
		rcpts[i] = text[i];
	}
	fixture_commit_one(&f, "first@x.test", 1); /* the journal begins a segment */
	uint64_t before = fixture_stats(&f).syncs;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 50, 3000, items, 50), 50);
	ck_assert_uint_eq(fixture_stats(&f).syncs - before, fixture_no_journal ? 51 : 1);
	ck_assert_uint_eq(fixture_stats(&f).memory_bytes, 3001); /* one body for all */
	check_files(51);
	char id[QUEUE_ID_MAX];
	struct queue_item *found[50];
	queue_item_message_id(items[0], id);
	ck_assert_uint_eq(queue_find(f.q, slice_str(id), found, 50), 50);
	queue_item_id(items[49], id);
	ck_assert_uint_eq(queue_find(f.q, slice_str(id), found, 1), 1);
	ck_assert_ptr_eq(found[0], items[49]);
	ck_assert_uint_eq(queue_find(f.q, SLICE("nonsense"), found, 1), 0);
	size_t cursor = 0, n = 0;
	while (queue_next_item(f.q, &cursor) != NULL)
		n++;
	ck_assert_uint_eq(n, 51);
}

END_TEST

START_TEST(always_split_makes_a_file_per_recipient)
{
	static const char *const rcpts[] = { "a@x.test", "b@x.test", "c@x.test" };
	struct queue_item *items[3];
	fixture_close(&f);
	f.opt.always_split = true;
	fixture_open(&f);
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 3, 300000, items, 3), 3);
	for (size_t i = 0; i < 3; i++) {
		fixture_load(&f, items[i]);
		ck_assert_uint_eq(items[i]->mail->envelope->rcpts_n, 1);
		ck_assert_str_eq(items[i]->mail->envelope->rcpts[0].address, rcpts[i]);
		ck_assert_uint_eq(items[i]->part, i + 1);
		fixture_check_body(items[i]->mail->body, 300000);
	}
}

END_TEST

/* More recipients than fit in front of a spilled body, and more files than a window holds open. */
START_TEST(many_recipients)
{
	enum {
		N = 600
	};

	char(*text)[24] = mem_alloc(N * sizeof(*text));
	const char **rcpts = mem_alloc(N * sizeof(*rcpts));
	struct queue_item **items = mem_alloc(N * sizeof(struct queue_item *));
	for (size_t i = 0; i < N; i++) {
		snprintf(text[i], sizeof(text[i]), "recipient%zu@x.test", i);
		rcpts[i] = text[i];
	}
	ck_assert_uint_eq(fixture_commit(&f, rcpts, N, 300000, items, 1), 1);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	fixture_load(&f, items[0]);
	ck_assert_uint_eq(items[0]->mail->envelope->rcpts_n, N);
	fixture_check_body(items[0]->mail->body, 300000);
	fixture_close(&f);
	f.opt.always_split = true;
	fixture_open(&f);
	ck_assert_uint_eq(fixture_commit(&f, rcpts, N, 10, items, N), N);
	ck_assert_uint_eq(fixture_count(&f, "queue"), fixture_no_journal ? N + 1 : 0);
	ck_assert_uint_eq(fixture_count(&f, "body"), fixture_no_journal ? 0 : 1);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	mem_free(text);
	mem_free(rcpts);
	mem_free(items);
}

END_TEST

START_TEST(over_the_memory_budget_the_disk_serves)
{
	uint64_t at;
	fixture_close(&f);
	f.opt.memory_max_bytes = 8000;
	fixture_open(&f);
	struct queue_item *a = fixture_commit_one(&f, "a@x.test", 5000);
	struct queue_item *b = fixture_commit_one(&f, "b@x.test", 5000);
	ck_assert_ptr_nonnull(a->mail);
	ck_assert_ptr_null(b->mail);
	fixture_load(&f, b);
	ck_assert_uint_eq(queue_body_memory(b->mail->body).n, 0);
	fixture_check_body(b->mail->body, 5000);
	ck_assert_int_eq(fixture_settle(&f, b, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	b = fixture_take(&f);
	queue_unload(f.q, b);
	fixture_load(&f, b);
	ck_assert_int_ge(queue_body_file(b->mail->body, &at), 0); /* it has a file of its own now */
	ck_assert_uint_gt(at, 0);
	struct queue_body *kept = queue_body_ref(a->mail->body);
	ck_assert_int_eq(fixture_settle(&f, a, 0, FATE_DELIVERED, 0, 0), 0);
	fixture_check_body(kept, 5000); /* a delivery may still hold it */
	queue_body_unref(&kept);
	ck_assert_uint_eq(fixture_stats(&f).memory_bytes, 0);
}

END_TEST

START_TEST(abort_leaves_nothing)
{
	static const char *const rcpts[] = { "a@x.test" };
	struct queue_msg *m = fixture_message(&f, rcpts, 1, 1000000);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 1);
	ck_assert_uint_eq(queue_msg_bytes(m), 1000000);
	ck_assert_uint_eq(strlen(queue_msg_id(m)), 20);
	queue_abort(&m);
	ck_assert_ptr_null(m);
	queue_abort(&m);
	m = fixture_message(&f, rcpts, 1, 100);
	queue_abort(&m);
	ck_assert_uint_eq(fixture_count(&f, "tmp"), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
}

END_TEST

START_TEST(odd_domains_have_a_safe_name)
{
	char longer[260], address[270], path[512];
	memset(longer, 'd', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	snprintf(address, sizeof(address), "a@%s", longer);
	struct queue_item *item = fixture_commit_one(&f, address, 10);
	ck_assert_str_eq(item->domain->name, longer);
	if (!fixture_no_journal)
		ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms),
		    0); /* to a file */
	ck_assert(fixture_find(&f, path, sizeof(path)));
	ck_assert_ptr_nonnull(strchr(path, '~'));
	fixture_reopen(&f);
	item = fixture_take(&f);
	ck_assert_int_eq(item->domain->name[0], '~');
	fixture_load(&f, item);
	ck_assert_str_eq(item->domain->name, longer);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + 5), 0);
	fixture_reopen(&f);
	ck_assert_uint_eq(queue_flush_domain(f.q, slice_str(longer), f.now), 1);
	item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_BOUNCED, 1, 0), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	item = fixture_commit_one(&f, "a@../../etc", 10);
	check_files(1);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
}

END_TEST

/* --- settle ----------------------------------------------------------------------- */

START_TEST(partial_outcomes_accumulate)
{
	static const char *const rcpts[] = { "a@x.test", "b@x.test", "c@x.test" };
	struct queue_item *item;
	int64_t t0 = f.now.wall_ms;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 3, 100, &item, 1), 1);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
	ck_assert_int_eq(item->state, QUEUE_ITEM_PARKED);
	ck_assert_ptr_null(item->mail);
	ck_assert_ptr_eq(fixture_take(&f), item); /* the others are still due */
	fixture_load(&f, item);
	ck_assert_uint_eq(envelope_pending(item->mail->envelope), 2);
	ck_assert_int_eq(fixture_settle(&f, item, 1, FATE_PENDING, 1, t0 + MINUTE), 0);
	fixture_reopen(&f);
	item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 2, FATE_PENDING, 2, t0 + 2 * MINUTE), 0);
	ck_assert_int_eq(item->due_ms, t0 + MINUTE);
	ck_assert_uint_eq(item->attempts, 2);
	ck_assert_int_eq(queue_next_due_at(f.q) <= t0 + MINUTE, 1);
	fixture_reopen(&f);
	ck_assert_ptr_null(fixture_take(&f));
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	const struct envelope *e = item->mail->envelope;
	ck_assert_int_eq(e->rcpts[0].fate, FATE_DELIVERED);
	ck_assert_int_eq(e->rcpts[1].fate, FATE_PENDING);
	ck_assert_int_eq(e->rcpts[1].due_ms, t0 + MINUTE);
	ck_assert_uint_eq(e->rcpts[1].attempts, 1);
	ck_assert_int_eq(e->rcpts[1].last_ms, t0);
	ck_assert_uint_eq(e->rcpts[1].status.code, 451);
	ck_assert_str_eq(e->rcpts[1].status.text, "try later");
	ck_assert_str_eq(e->rcpts[1].status.host, "mx.test");
	ck_assert_str_eq(e->rcpts[1].status.ip, "192.0.2.1");
	ck_assert_uint_eq(e->rcpts[1].status.enhanced[0], 4);
	ck_assert_uint_eq(e->rcpts[2].attempts, 2);
	ck_assert_int_eq(fixture_settle(&f, item, 1, FATE_BOUNCED, 2, 0), 0);
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 2, FATE_EXPIRED, 3, 0), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
}

END_TEST

START_TEST(a_settle_without_outcomes_parks)
{
	struct queue_done done;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 100);
	uint64_t syncs = fixture_stats(&f).syncs;
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, NULL, 0, f.now), &done), 0);
	ck_assert_ptr_eq(done.item, item);
	ck_assert_int_eq(item->state, QUEUE_ITEM_PARKED);
	item = fixture_take(&f);
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, NULL, 0, f.now), &done),
	    0); /* nor when only on disk */
	ck_assert_uint_eq(fixture_stats(&f).syncs, syncs);
	ck_assert_ptr_eq(fixture_take(&f), item);
}

END_TEST

START_TEST(a_reply_text_stays_one_line)
{
	static const char *const rcpts[] = { "a@x.test" };
	struct queue_done done;
	struct queue_item *item;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 1, 100, &item, 1), 1);
	struct queue_outcome o = { .fate = FATE_PENDING,
		.attempts = 1,
		.due_ms = f.now.wall_ms,
		.status = { .code = 450, .text = "a\r\nb", .host = "", .ip = "" } };
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, &o, 1, f.now), &done), 0);
	item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_str_eq(item->mail->envelope->rcpts[0].status.text, "a  b");
}

END_TEST

/* The rename after a record was lost in a crash: the record counts. */
START_TEST(the_tail_wins_over_the_name)
{
	char before[512], after[512];
	int64_t due = f.now.wall_ms + 5 * MINUTE;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 100);
	ck_assert(fixture_find(&f, before, sizeof(before)));
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 3, due), 0);
	ck_assert(fixture_find(&f, after, sizeof(after)));
	ck_assert_str_ne(before, after);
	fixture_close(&f);
	ck_assert_int_eq(rename(after, before), 0);
	fixture_open(&f);
	item = fixture_take(&f);
	ck_assert_uint_eq(item->attempts, 0);
	fixture_load(&f, item);
	ck_assert_int_eq(item->due_ms, due);
	ck_assert_uint_eq(item->attempts, 3);
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, NULL, 0, f.now), &done), 0);
	ck_assert(fixture_find(&f, before, sizeof(before)));
	ck_assert_str_eq(before, after); /* and the name is put right on the way */
	ck_assert_ptr_null(fixture_take(&f));
}

END_TEST

/* --- schedule --------------------------------------------------------------------- */

START_TEST(due_items_come_in_time)
{
	struct queue_item *a = fixture_commit_one(&f, "a@x.test", 10);
	struct queue_item *b = fixture_commit_one(&f, "b@x.test", 10);
	int64_t t0 = f.now.wall_ms;
	ck_assert_int_eq(queue_next_due_at(f.q), INT64_MAX);
	queue_park(f.q, a, t0 + 10);
	queue_park(f.q, b, t0 + 5);
	ck_assert_ptr_null(a->mail);
	ck_assert_int_eq(a->due_ms, t0);
	ck_assert_uint_eq(fixture_stats(&f).parked, 2);
	ck_assert_int_le(queue_next_due_at(f.q), t0 + 5);
	fixture_advance(&f, 4);
	ck_assert_ptr_null(fixture_take(&f));
	fixture_advance(&f, 1);
	ck_assert_ptr_eq(fixture_take(&f), b);
	fixture_advance(&f, 100);
	ck_assert_ptr_eq(fixture_take(&f), a);
	ck_assert_uint_eq(fixture_stats(&f).active, 2);
	queue_park(f.q, a, 0); /* back to its own due time, which is past */
	ck_assert_ptr_eq(fixture_take(&f), a);
}

END_TEST

/* Someone sets the clock: neither a stampede nor a stall. */
START_TEST(a_clock_that_is_set_moves_nothing)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	f.now.wall_ms += 365 * 24 * HOUR;
	ck_assert_ptr_null(fixture_take(&f));
	f.now.wall_ms -= 2 * 365 * 24 * HOUR;
	ck_assert_ptr_null(fixture_take(&f));
	ck_assert_int_le(queue_next_due_at(f.q), f.now.wall_ms + MINUTE);
	f.now.mono_ms += MINUTE;
	ck_assert_ptr_eq(fixture_take(&f), item);
}

END_TEST

START_TEST(a_stored_due_time_is_bounded_at_start)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	int64_t year = 365 * 24 * HOUR, bound = MINUTE + 7500;
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + year), 0);
	fixture_reopen(&f);
	ck_assert_ptr_null(fixture_take(&f));
	fixture_advance(&f, bound);
	item = fixture_take(&f);
	ck_assert_ptr_nonnull(item);
	fixture_load(&f, item);
	ck_assert_int_eq(item->due_ms, f.now.wall_ms);
	ck_assert_int_le(item->mail->envelope->rcpts[0].due_ms, f.now.wall_ms);
	/* Unloaded and looked at again, it is the same. */
	queue_park(f.q, item, 0);
	ck_assert_ptr_eq(fixture_take(&f), item);
	fixture_load(&f, item);
	ck_assert_int_le(item->mail->envelope->rcpts[0].due_ms, f.now.wall_ms);
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, NULL, 0, f.now), &done), 0);
	item = fixture_take(&f);
	fixture_load(&f, item);
	ck_assert_int_eq(item->mail->envelope->rcpts[0].due_ms, f.now.wall_ms); /* now on disk */
	ck_assert_uint_eq(item->attempts, 1);
}

END_TEST

static bool take_and_load(struct queue_item **item)
{
	*item = fixture_take(&f);
	if (*item != NULL)
		fixture_load(&f, *item);
	return *item != NULL;
}

/* As far off as any, but the crash that came with the clock's change took the new name. */
START_TEST(a_due_time_that_only_the_tail_knows_is_bounded_too)
{
	char before[512], after[512];
	int64_t year = 365 * 24 * HOUR, bound = MINUTE + 7500;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert(fixture_find(&f, before, sizeof(before)));
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + year), 0);
	ck_assert(fixture_find(&f, after, sizeof(after)));
	fixture_close(&f);
	ck_assert_int_eq(rename(after, before), 0);
	fixture_open(&f);
	ck_assert(take_and_load(&item));
	ck_assert_int_eq(item->due_ms, f.now.wall_ms + bound);
	queue_park(f.q, item, item->due_ms);
	fixture_advance(&f, bound);
	ck_assert(take_and_load(&item));
	ck_assert_int_eq(item->mail->envelope->rcpts[0].due_ms, f.now.wall_ms);
	/* Times of this start are as they are, however long it lasts. */
	int64_t due = f.now.wall_ms + MINUTE;
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 2, due), 0);
	fixture_advance(&f, MINUTE);
	ck_assert(take_and_load(&item));
	ck_assert_int_eq(item->due_ms, due);
}

END_TEST

/* What a start found within its bounds is not looked at that way again. */
START_TEST(later_due_times_are_not_bounded_by_the_start)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	fixture_reopen(&f);
	fixture_advance(&f, MINUTE);
	ck_assert(take_and_load(&item));
	int64_t due = f.now.wall_ms + 24 * HOUR;
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 2, due), 0);
	fixture_advance(&f, 24 * HOUR);
	ck_assert(take_and_load(&item));
	ck_assert_int_eq(item->due_ms, due);
}

END_TEST

START_TEST(flush_is_in_memory_and_spares_the_held)
{
	struct queue_item *items[4];
	static const char *const rcpts[] = { "a@x.test", "b@x.test", "c@y.test", "d@z.test" };
	struct queue_done done;
	char id[QUEUE_ID_MAX];
	int64_t due = f.now.wall_ms + HOUR;
	for (size_t i = 0; i < 4; i++) {
		items[i] = fixture_commit_one(&f, rcpts[i], 10);
		ck_assert_int_eq(fixture_settle(&f, items[i], 0, FATE_PENDING, 1, due), 0);
	}
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(items[3], true, f.now), &done), 0);
	ck_assert_uint_eq(queue_flush_domain(f.q, SLICE("x.test"), f.now), 2);
	ck_assert_ptr_nonnull(fixture_take(&f));
	ck_assert_ptr_nonnull(fixture_take(&f));
	ck_assert_ptr_null(fixture_take(&f));
	ck_assert(items[0]->flushed);
	ck_assert_int_eq(items[0]->due_ms, due);
	queue_park(f.q, items[0], f.now.wall_ms + 5); /* waits for a slot: still flushed */
	ck_assert(items[0]->flushed);
	ck_assert_uint_eq(queue_flush_id(f.q, slice_str(queue_item_id(items[2], id)), f.now), 1);
	ck_assert_ptr_eq(fixture_take(&f), items[2]);
	ck_assert_uint_eq(queue_flush_id(f.q, SLICE("no such id"), f.now), 0);
	fixture_load(&f, items[2]);
	ck_assert_int_eq(fixture_settle(&f, items[2], 0, FATE_PENDING, 1, items[2]->due_ms), 0);
	ck_assert(!items[2]->flushed);
	ck_assert_ptr_null(fixture_take(&f));
	queue_park(f.q, items[1], 0);
	ck_assert(!items[1]->flushed);
	ck_assert_uint_eq(queue_flush(f.q, f.now), 3);
	ck_assert_uint_eq(queue_flush(f.q, f.now), 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(fixture_take(&f));
	ck_assert_ptr_null(fixture_take(&f));
	ck_assert_int_eq(items[3]->state, QUEUE_ITEM_HELD);
}

END_TEST

START_TEST(flush_reaches_what_the_scan_finds_later)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test", "c@z.test" };
	char id[QUEUE_ID_MAX];
	struct queue_item *item;
	for (unsigned what = 0; what < 3; what++) {
		if (what == 0) {
			for (size_t i = 0; i < 3; i++) {
				item = fixture_commit_one(&f, rcpts[i], 10);
				ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1,
						     f.now.wall_ms + MINUTE),
				    0);
			}
			queue_item_message_id(item, id);
		}
		fixture_close(&f);
		ck_assert_int_eq(queue_open(&f.q, &f.opt, f.now, NULL), 0);
		ck_assert(!queue_scan_is_done(f.q));
		if (what == 0)
			ck_assert_uint_eq(queue_flush(f.q, f.now), 0);
		else if (what == 1)
			ck_assert_int_eq(queue_order(f.q, QUEUE_ORDER_FLUSH, SLICE("y.test")), 1);
		else
			ck_assert_int_eq(queue_order(f.q, QUEUE_ORDER_FLUSH, slice_str(id)), 1);
		ck_assert_int_eq(fixture_scan(&f), 0);
		ck_assert_uint_eq(fixture_stats(&f).items, 3);
		size_t n = 0;
		while (fixture_take(&f) != NULL)
			n++;
		ck_assert_uint_eq(n, what == 0 ? 3 : 1);
	}
}

END_TEST

START_TEST(commands_look_at_what_rests)
{
	struct queue_done done;
	struct envelope *e;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + HOUR), 0);
	ck_assert_int_eq(queue_peek(f.q, item, &e), 0);
	ck_assert_uint_eq(e->rcpts[0].attempts, 1);
	envelope_free(&e);
	struct queue_op *op = queue_op_hold(item, true, f.now);
	ck_assert_int_eq(queue_peek(f.q, item, &e), -EBUSY);
	ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	queue_take(f.q, item);
	ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
	queue_park(f.q, item, 0); /* what was held stays held */
	ck_assert_int_eq(item->state, QUEUE_ITEM_HELD);
	queue_take(f.q, item);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELETED, 1, 0), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	item = fixture_commit_one(&f, "b@x.test", 10);
	queue_park(f.q, item, f.now.wall_ms + HOUR);
	queue_take(f.q, item);
	fixture_advance(&f, 2 * HOUR);
	ck_assert_ptr_null(fixture_take(&f));
}

END_TEST

/* --- hold ------------------------------------------------------------------------- */

START_TEST(hold_lasts_and_release_is_at_once)
{
	struct queue_done done;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	int64_t due = f.now.wall_ms + HOUR;
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, due), 0);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done), 0);
	ck_assert_int_eq(item->state, QUEUE_ITEM_HELD);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done),
	    0); /* again: nothing */
	fixture_advance(&f, 2 * HOUR);
	ck_assert_ptr_null(fixture_take(&f));
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).held, 1);
	ck_assert_ptr_null(fixture_take(&f));
	size_t cursor = 0;
	item = queue_next_item(f.q, &cursor);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, false, f.now), &done), 0);
	ck_assert_ptr_eq(fixture_take(&f), item);
	ck_assert_int_eq(item->due_ms, due);
	ck_assert(!item->flushed); /* it was due anyway */
	queue_park(f.q, item, 0);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).held, 0);
	ck_assert_ptr_nonnull(fixture_take(&f));
}

END_TEST

START_TEST(release_before_it_is_due_is_a_flush)
{
	struct queue_done done;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + HOUR), 0);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done), 0);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, false, f.now), &done), 0);
	ck_assert_ptr_eq(fixture_take(&f), item);
	ck_assert(item->flushed);
}

END_TEST

START_TEST(hold_of_a_busy_item_waits_for_its_settle)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_ptr_null(queue_op_hold(item, true, f.now));
	ck_assert(item->want_hold);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	ck_assert_int_eq(item->state, QUEUE_ITEM_HELD);
	ck_assert_ptr_null(fixture_take(&f));
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).held, 1);
	/* Asked for while the settle is running. */
	item = fixture_commit_one(&f, "b@x.test", 10);
	struct queue_op *op = queue_op_settle(item, NULL, 0, f.now);
	ck_assert_ptr_null(queue_op_hold(item, true, f.now));
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, op, &done), 0);
	ck_assert_int_eq(item->state, QUEUE_ITEM_HELD);
	/* And memory alone. */
	item = fixture_commit_one(&f, "c@x.test", 10);
	ck_assert_ptr_null(queue_op_hold(item, true, f.now));
	queue_park(f.q, item, 0);
	ck_assert_int_eq(item->state, QUEUE_ITEM_HELD);
}

END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, commit_and_deliver);
	tcase_add_test(tc, survives_a_reopen);
	tcase_add_loop_test(tc, bodies_of_any_size, 0, (int)ARRAY_LEN(sizes));
	tcase_add_test(tc, fifty_domains_and_a_directory_sync);
	tcase_add_test(tc, always_split_makes_a_file_per_recipient);
	tcase_add_test(tc, many_recipients);
	tcase_add_test(tc, over_the_memory_budget_the_disk_serves);
	tcase_add_test(tc, abort_leaves_nothing);
	tcase_add_test(tc, odd_domains_have_a_safe_name);
	tcase_add_test(tc, partial_outcomes_accumulate);
	tcase_add_test(tc, a_settle_without_outcomes_parks);
	tcase_add_test(tc, a_reply_text_stays_one_line);
	tcase_add_test(tc, due_items_come_in_time);
	tcase_add_test(tc, a_clock_that_is_set_moves_nothing);
	tcase_add_test(tc, a_stored_due_time_is_bounded_at_start);
	tcase_add_test(tc, later_due_times_are_not_bounded_by_the_start);
	tcase_add_test(tc, flush_is_in_memory_and_spares_the_held);
	tcase_add_test(tc, flush_reaches_what_the_scan_finds_later);
	tcase_add_test(tc, commands_look_at_what_rests);
	tcase_add_test(tc, hold_lasts_and_release_is_at_once);
	tcase_add_test(tc, release_before_it_is_due_is_a_flush);
	tcase_add_test(tc, hold_of_a_busy_item_waits_for_its_settle);
}

Suite *test_queue_suite(void)
{
	Suite *s = suite_create("queue");
	TCase *tc = tcase_create("journal");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	add_tests(tc);
	suite_add_tcase(s, tc);
	tc = tcase_create("files");
	tcase_add_checked_fixture(tc, setup_files, teardown);
	tcase_set_timeout(tc, 60);
	add_tests(tc);
	tcase_add_test(tc, the_tail_wins_over_the_name);
	tcase_add_test(tc, a_due_time_that_only_the_tail_knows_is_bounded_too);
	suite_add_tcase(s, tc);
	return s;
}
