/* Walks over the items while the queue goes on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/prng.h"
#include "lib/unit.h"
#include "queue/queue.h"
#include "unit/queue/fixture.h"

Suite *test_walk_suite(void);

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

static struct queue_item *add(unsigned number, unsigned domain)
{
	char rcpt[64];
	snprintf(rcpt, sizeof(rcpt), "u%u@d%u.test", number, domain);
	return fixture_commit_one(&f, rcpt, 10);
}

static void take_away(struct queue_item *item)
{
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 1, 0), 0);
}

static size_t count(const char *domain)
{
	struct queue_walk w;
	struct queue_item *item;
	size_t n = 0;
	queue_walk_begin(f.q, &w, slice_str(domain));
	while ((item = queue_walk_next(&w)) != NULL) {
		if (domain[0] != '\0')
			ck_assert_str_eq(item->domain->name, domain);
		n++;
	}
	ck_assert_ptr_null(queue_walk_next(&w));
	queue_walk_end(&w);
	return n;
}

START_TEST(a_domain_or_all)
{
	ck_assert_uint_eq(count(""), 0);
	for (unsigned i = 0; i < 30; i++)
		add(i, i % 3);
	ck_assert_uint_eq(count(""), 30);
	ck_assert_uint_eq(count("d1.test"), 10);
	ck_assert_uint_eq(count("d9.test"), 0);
	ck_assert_uint_eq(count("1.test"), 0);
}

END_TEST

enum {
	ITEMS = 60,
	DOMAINS = 7
};

struct seen {
	struct queue_item *item; /* NULL: gone */
	bool stays;
	unsigned times;
};

static void note(struct seen *seen, const struct queue_item *item)
{
	for (unsigned i = 0; i < ITEMS; i++) {
		if (seen[i].item == item)
			seen[i].times++;
	}
}

/* Of two walks at the same time each shows what stays once, whatever comes and goes between. */
START_TEST(what_stays_is_shown_once)
{
	struct seen seen[2][ITEMS];
	struct queue_walk w[2];
	struct prng luck;
	bool ended[2] = { false, false };
	unsigned newer = 0;
	prng_init(&luck, (uint64_t)_i);
	for (unsigned i = 0; i < ITEMS; i++) {
		struct queue_item *item = add(i, (unsigned)prng_below(&luck, DOMAINS));
		bool stays = prng_below(&luck, 2) == 0 && item->domain->name[1] != '0';
		seen[0][i] = seen[1][i] = (struct seen){ item, stays, 0 };
	}
	queue_walk_begin(f.q, &w[0], SLICE_NONE);
	queue_walk_begin(f.q, &w[1], SLICE_NONE);
	while (!ended[0] || !ended[1]) {
		unsigned which = (unsigned)prng_below(&luck, 2);
		unsigned victim = (unsigned)prng_below(&luck, ITEMS);
		struct queue_item *item = queue_walk_next(&w[which]);
		if (item == NULL)
			ended[which] = true;
		else
			note(seen[which], item);
		if (!seen[0][victim].stays && seen[0][victim].item != NULL) {
			take_away(seen[0][victim].item);
			seen[0][victim].item = seen[1][victim].item = NULL;
		}
		/* As fast as the walks go, and they come to an end. */
		if (newer < 10 * ITEMS)
			add(ITEMS + newer++, (unsigned)prng_below(&luck, DOMAINS + 3));
	}
	ck_assert_uint_lt(newer, 10 * ITEMS);
	queue_walk_end(&w[1]);
	queue_walk_end(&w[0]);
	for (unsigned i = 0; i < ITEMS; i++) {
		for (unsigned which = 0; which < 2; which++) {
			if (seen[which][i].stays)
				ck_assert_uint_eq(seen[which][i].times, 1);
		}
	}
}

END_TEST

/* What the walk stands at goes, and its domain with it, down to the last. */
START_TEST(everything_goes_under_its_feet)
{
	struct queue_item *items[12];
	struct queue_walk w;
	for (unsigned i = 0; i < 12; i++)
		items[i] = add(i, i / 3);
	queue_walk_begin(f.q, &w, SLICE_NONE);
	ck_assert_ptr_eq(queue_walk_next(&w), items[0]);
	for (unsigned i = 0; i < 4; i++)
		take_away(items[i]);
	ck_assert_ptr_eq(queue_walk_next(&w), items[4]);
	for (unsigned i = 6; i < 9; i++)
		take_away(items[i]);
	ck_assert_ptr_eq(queue_walk_next(&w), items[5]);
	take_away(items[4]);
	take_away(items[5]);
	ck_assert_ptr_eq(queue_walk_next(&w), items[9]);
	for (unsigned i = 9; i < 12; i++)
		take_away(items[i]);
	ck_assert_ptr_null(queue_walk_next(&w));
	queue_walk_end(&w);
	queue_walk_begin(f.q, &w, SLICE("d1.test"));
	ck_assert_ptr_null(queue_walk_next(&w));
	queue_walk_end(&w);
}

END_TEST

/* A long name is hashed in the file's, and known by that until the file is read. */
START_TEST(a_hashed_name_and_the_name)
{
	char domain[201], rcpt[220];
	struct queue_walk w;
	struct queue_item *item;
	memset(domain, 'x', 200);
	memcpy(domain + 195, ".test", 6);
	snprintf(rcpt, sizeof(rcpt), "a@%s", domain);
	item = fixture_commit_one(&f, rcpt, 10);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + 60000), 0);
	f.opt.no_journal = true; /* else the journal may tell the whole name */
	fixture_reopen(&f);
	for (unsigned n = 1; n <= 2; n++) {
		unsigned seen = 0;
		queue_walk_begin(f.q, &w, slice_str(domain));
		while ((item = queue_walk_next(&w)) != NULL)
			seen++;
		queue_walk_end(&w);
		ck_assert_uint_eq(seen, n);
		fixture_commit_one(&f, rcpt, 10);
	}
}

END_TEST

/* What is listed of it is not its body: that may be large, and is verified when it is sent. */
START_TEST(a_look_reads_no_body)
{
	char path[512];
	size_t n;
	struct envelope *e;
	f.opt.no_journal = true;
	fixture_reopen(&f);
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 5000);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 3, f.now.wall_ms + 60000), 0);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	char *bytes = fixture_read(path, &n);
	bytes[2500] ^= 1;
	fixture_write(path, bytes, n);
	mem_free(bytes);
	ck_assert_int_eq(queue_peek(f.q, item, &e), 0);
	ck_assert_uint_eq(e->rcpts[0].attempts, 3);
	ck_assert_uint_eq(e->body_bytes, 5000);
	envelope_free(&e);
}

END_TEST

/* Its result; the envelope, if any, says so many attempts. */
static int look(struct queue_op *op, unsigned attempts)
{
	struct queue_done done;
	int err = fixture_run(&f, op, &done);
	ck_assert_ptr_null(done.item);
	ck_assert_int_eq(err == 0, done.envelope != NULL);
	if (err == 0) {
		ck_assert_str_eq(done.id, done.envelope->queue_id);
		ck_assert_uint_eq(done.envelope->rcpts[0].attempts, attempts);
	}
	envelope_free(&done.envelope);
	return err;
}

/* A look asks for nothing that others wait for: all may happen to the item before it is done. */
START_TEST(a_look_leaves_the_item_alone)
{
	int64_t due_ms = f.now.wall_ms + 60000;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	struct queue_op *early = queue_op_look(f.q, item), *late = queue_op_look(f.q, item);
	ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
	ck_assert_int_eq(look(early, 0), 0);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 3, due_ms), 0);
	ck_assert_int_eq(look(late, 3), -ENOENT); /* it has moved, under another name */
	ck_assert_int_eq(look(queue_op_look(f.q, item), 3), 0);
	ck_assert_int_eq(item->state, QUEUE_ITEM_PARKED);
	late = queue_op_look(f.q, item);
	queue_take(f.q, item);
	fixture_load(&f, item);
	struct queue_op *settle = queue_op_settle(item, NULL, 0, f.now);
	ck_assert_ptr_null(queue_op_look(f.q, item)); /* what it is called just now is not known */
	struct queue_done done;
	ck_assert_int_eq(fixture_run(&f, settle, &done), 0);
	queue_take(f.q, item);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 4, 0), 0);
	ck_assert_int_eq(look(late, 3), -ENOENT);
}

END_TEST

/* The journal keeps what is to be looked at, though its mail is over. */
START_TEST(a_look_at_what_is_over)
{
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	struct queue_op *op = queue_op_look(f.q, item);
	ck_assert_ptr_nonnull(item->record);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 1, 0), 0);
	ck_assert_int_eq(look(op, 0), -ENOENT);
}

END_TEST

Suite *test_walk_suite(void)
{
	Suite *s = suite_create("walk");
	TCase *tc = tcase_create("walk");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_domain_or_all);
	tcase_add_loop_test(tc, what_stays_is_shown_once, 0, 8);
	tcase_add_test(tc, everything_goes_under_its_feet);
	tcase_add_test(tc, a_hashed_name_and_the_name);
	tcase_add_test(tc, a_look_reads_no_body);
	tcase_add_test(tc, a_look_leaves_the_item_alone);
	tcase_add_test(tc, a_look_at_what_is_over);
	suite_add_tcase(s, tc);
	return s;
}
