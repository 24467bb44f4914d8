/*
 * Several queues on one spool: each destination has one home, whoever accepts
 * its mail and however many shards there were before.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/prng.h"
#include "lib/unit.h"
#include "unit/queue/fixture.h"

Suite *test_shards_suite(void);

#define SHARDS_MAX 5
#define DOMAINS    40
#define MINUTE     INT64_C(60000)

static struct fixture f;
static struct queue *shard[SHARDS_MAX];
static atomic_uint woken[SHARDS_MAX];

static void on_wake(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static void scan(struct queue *q)
{
	struct queue_done done;
	while (!queue_scan_is_done(q)) {
		struct queue_op *op = queue_op_scan(q);
		if (op != NULL) {
			queue_run(q, &op, 1);
			queue_finish(q, &op, f.now, &done);
			ck_assert_int_eq(done.result, 0);
		}
		(void)queue_scan_step(q, f.now);
	}
}

static void open_unscanned(unsigned n)
{
	struct errbuf eb;
	f.opt.shards = n;
	int err = queue_open(&f.q, &f.opt, f.now, &eb);
	ck_assert_msg(err == 0, "queue_open: %s", err < 0 ? eb.text : "");
	for (unsigned i = 0; i < n; i++) {
		shard[i] = queue_of_shard(f.q, i);
		atomic_store(&woken[i], 0);
		queue_on_arrival(shard[i], on_wake, &woken[i]);
	}
	ck_assert_ptr_eq(shard[0], f.q);
}

static void open_shards(unsigned n)
{
	open_unscanned(n);
	for (unsigned i = 0; i < n; i++)
		scan(shard[i]);
}

static void setup(void)
{
	fixture_init_in_memory(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

static char *rcpt_of(unsigned domain, char buf[32])
{
	snprintf(buf, 32, "a@d%u.test", domain);
	return buf;
}

/* A message for `n` domains from `from` on, accepted by shard s. */
static struct queue_op *message(unsigned s, unsigned from, unsigned n, size_t bytes)
{
	struct queue *q = shard[s];
	struct queue_msg *m = queue_begin(q, f.now);
	struct envelope *e = queue_msg_envelope(m);
	const char *domains[DOMAINS];
	char rcpt[32];
	e->sender = envelope_str(e, SLICE("sender@example.com"));
	for (unsigned i = 0; i < n; i++) {
		envelope_add_rcpt(e, slice_str(rcpt_of((from + i) % DOMAINS, rcpt)), SLICE_NONE, 0);
		domains[i] = strchr(e->rcpts[i].address, '@') + 1;
	}
	for (size_t i = 0; i < bytes; i++) {
		char c = fixture_pattern(i);
		ck_assert_int_eq(queue_append(m, &c, 1), 0);
	}
	return queue_op_commit(&m, domains, f.now);
}

static void run(struct queue *q, struct queue_op *op, struct queue_done *done)
{
	queue_run(q, &op, 1);
	queue_finish(q, &op, f.now, done);
	queue_hand_over(q);
	ck_assert_int_eq(done->result, 0);
}

/* What it has got, of a commit of its own (done) and of others'. */
static size_t gather(unsigned s, struct queue_done *done, struct list_node *items)
{
	size_t n = 0;
	if (done != NULL)
		list_splice(items, &done->items);
	queue_take_arrivals(shard[s], items, f.now);
	list_foreach(node, items) {
		struct queue_item *item = list_entry(node, struct queue_item, link);
		ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
		ck_assert_uint_eq(queue_home(f.q, slice_str(item->domain->name)), s);
		n++;
	}
	return n;
}

static void load(unsigned s, struct queue_item *item)
{
	struct queue_done done;
	if (item->mail == NULL)
		run(shard[s], queue_op_load(item), &done);
}

static void settle(unsigned s, struct queue_item *item, enum fate fate)
{
	struct queue_done done;
	struct queue_outcome o = { .fate = fate, .attempts = 1, .due_ms = f.now.wall_ms + MINUTE };
	o.status.text = o.status.host = o.status.ip = "";
	load(s, item);
	run(shard[s], queue_op_settle(item, &o, 1, f.now), &done);
}

static size_t settle_all(unsigned s, struct list_node *items, enum fate fate)
{
	size_t n = 0;
	while (!list_is_empty(items)) {
		struct queue_item *item = list_first(items, struct queue_item, link);
		list_remove(&item->link);
		settle(s, item, fate);
		n++;
	}
	return n;
}

/* All of them, each in one queue, and at its home if none was sent on. */
static size_t count_items(unsigned shards, bool at_home)
{
	size_t n = 0;
	for (unsigned i = 0; i < shards; i++) {
		struct queue_item *item;
		size_t cursor = 0;
		while ((item = queue_next_item(shard[i], &cursor)) != NULL) {
			char id[QUEUE_ID_MAX];
			struct queue_item *same;
			queue_item_id(item, id);
			for (unsigned k = 0; k < shards; k++)
				ck_assert_uint_eq(queue_find(shard[k], slice_str(id), &same, 1),
				    k == i);
			if (at_home)
				ck_assert_uint_eq(queue_home(f.q, slice_str(item->domain->name)),
				    i);
			n++;
		}
	}
	return n;
}

/* The body sizes: kept in memory for the first attempt, and not. */
static const size_t sizes[] = { 100, 600 * 1000 };

START_TEST(items_go_home)
{
	struct queue_done done;
	struct list_node items;
	size_t n = 0;
	open_shards(3);
	run(shard[1], message(1, 0, DOMAINS, sizes[_i]), &done);
	for (unsigned s = 0; s < 3; s++) {
		list_init(&items);
		size_t here = gather(s, s == 1 ? &done : NULL, &items);
		ck_assert_uint_gt(here, 0); /* 40 names: the chance of none is 1e-7 */
		ck_assert_uint_eq(atomic_load(&woken[s]), s == 1 ? 0 : 1); /* for all at once */
		list_foreach(node, &items) {
			struct queue_item *item = list_entry(node, struct queue_item, link);
			load(s, item);
			fixture_check_body(item->mail->body, sizes[_i]);
		}
		n += settle_all(s, &items, FATE_DELIVERED);
	}
	ck_assert_uint_eq(n, DOMAINS);
	queue_close(&f.q);
	open_shards(2);
	ck_assert_uint_eq(count_items(2, true), 0);
}

END_TEST

START_TEST(a_restart_may_have_other_shards)
{
	static const unsigned counts[] = { 1, 2, 5, 3 };
	struct queue_done done;
	struct list_node items;
	open_shards(3);
	for (unsigned d = 0; d < DOMAINS; d++) {
		unsigned s = d % 3;
		list_init(&items);
		run(shard[s], message(s, d, 1, 100), &done);
		for (unsigned home = 0; home < 3; home++) {
			(void)gather(home, home == s ? &done : NULL, &items);
			if (d % 2 == 0) /* the others stay in the journal */
				settle_all(home, &items, FATE_PENDING);
			while (!list_is_empty(&items)) {
				struct queue_item *item =
				    list_first(&items, struct queue_item, link);
				list_remove(&item->link);
				queue_park(shard[home], item, 0);
			}
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		ck_assert_uint_eq(count_items(f.opt.shards, true), DOMAINS);
		queue_close(&f.q);
		open_shards(counts[i]);
	}
	ck_assert_uint_eq(count_items(3, true), DOMAINS);
}

END_TEST

/* On its way between two queues it is on disk, and nothing else. */
START_TEST(what_nobody_took_is_found_again)
{
	struct queue_done done;
	struct list_node items;
	open_shards(3);
	run(shard[0], message(0, 0, DOMAINS, sizes[_i]), &done);
	list_init(&items);
	size_t here = gather(0, &done, &items);
	ck_assert_uint_lt(here, DOMAINS);
	settle_all(0, &items, FATE_DELIVERED);
	queue_close(&f.q);
	open_shards(3);
	ck_assert_uint_eq(count_items(3, true), DOMAINS - here);
}

END_TEST

START_TEST(a_report_goes_to_its_home)
{
	struct queue_done done;
	struct list_node items;
	char rcpt[32];
	open_shards(2);
	for (unsigned d = 0; d < DOMAINS; d++) {
		run(shard[0], message(0, d, 1, 100), &done);
		unsigned home = list_is_empty(&done.items) ? 1 : 0;
		list_init(&items);
		ck_assert_uint_eq(gather(home, home == 0 ? &done : NULL, &items), 1);
		struct queue_item *item = list_first(&items, struct queue_item, link);
		list_remove(&item->link);
		struct queue_msg *report = queue_begin(shard[home], f.now);
		struct envelope *e = queue_msg_envelope(report);
		e->sender = "";
		envelope_add_rcpt(e, slice_str(rcpt_of(d + 1, rcpt)), SLICE_NONE, 0);
		const char *domain = strchr(rcpt, '@') + 1;
		struct queue_outcome o = { .fate = FATE_BOUNCED, .attempts = 1 };
		o.status.text = o.status.host = o.status.ip = "";
		struct queue_op *op = queue_op_settle(item, &o, 1, f.now);
		queue_op_add_report(op, &report, &domain);
		run(shard[home], op, &done);
		unsigned to = queue_home(f.q, slice_str(domain));
		ck_assert_int_eq(list_is_empty(&done.items), to != home);
		list_init(&items);
		ck_assert_uint_eq(gather(to, to == home ? &done : NULL, &items), 1);
		settle_all(to, &items, FATE_DELIVERED);
	}
	ck_assert_uint_eq(count_items(2, true), 0);
}

END_TEST

/* The journal's mail is sent on before the scan has looked, and gets its queue file meanwhile; so
 * is what the scan has found. */
START_TEST(what_is_sent_on_is_not_found_twice)
{
	struct queue_done done;
	struct list_node items;
	size_t sent = 0;
	open_shards(2);
	run(shard[0], message(0, 0, DOMAINS, sizes[_i]), &done);
	list_init(&items);
	(void)gather(0, &done, &items);
	settle_all(0, &items, FATE_PENDING); /* these get queue files, the others stay */
	queue_close(&f.q);
	f.now.wall_ms += 2 * MINUTE;
	f.now.mono_ms += 2 * MINUTE;
	open_unscanned(2);
	for (unsigned half = 0; half < 2; half++) {
		for (unsigned s = 0; s < 2; s++) {
			struct queue_item *item;
			while ((item = queue_take_due(shard[s], f.now)) != NULL) {
				item->owner = &done;
				queue_send(shard[s], item, 1 - s);
				queue_hand_over(shard[s]);
				sent++;
			}
			struct queue_op *op = half == 0 ? queue_op_scan(shard[s]) : NULL;
			while (op != NULL && !queue_scan_is_done(shard[s])) {
				run(shard[s], op, &done);
				while (queue_scan_step(shard[s], f.now)) {
				}
				op = queue_op_scan(shard[s]);
			}
		}
		for (unsigned s = 0; s < 2; s++) {
			list_init(&items);
			queue_take_arrivals(shard[s], &items, f.now);
			list_foreach(node, &items) {
				struct queue_item *item = list_entry(node, struct queue_item, link);
				ck_assert_ptr_eq(item->owner, &done);
				item->owner = NULL;
			}
			settle_all(s, &items, FATE_PENDING);
		}
	}
	ck_assert_uint_eq(sent, DOMAINS);
	ck_assert_uint_eq(count_items(2, false), DOMAINS);
	queue_close(&f.q);
	open_shards(3);
	ck_assert_uint_eq(count_items(3, true), DOMAINS);
}

END_TEST

/* --- threads ---------------------------------------------------------------------- */

#define ROUNDS  150
#define THREADS 3

struct worker {
	pthread_t thread;
	unsigned s;
	struct prng rng;
	size_t sent, delivered, parked;
};

static void work_off(struct worker *w, struct queue_done *done, bool may_send)
{
	struct list_node items;
	list_init(&items);
	if (done != NULL)
		list_splice(&items, &done->items);
	queue_take_arrivals(shard[w->s], &items, f.now);
	while (!list_is_empty(&items)) {
		struct queue_item *item = list_first(&items, struct queue_item, link);
		list_remove(&item->link);
		if (may_send && prng_below(&w->rng, 3) == 0) {
			queue_send(shard[w->s], item, (w->s + 1) % THREADS);
			continue;
		}
		bool delivered = prng_below(&w->rng, 10) < 7;
		if (queue_begin_work(shard[w->s], item, f.now))
			settle(w->s, item, delivered ? FATE_DELIVERED : FATE_PENDING);
		*(delivered ? &w->delivered : &w->parked) += 1;
	}
	queue_hand_over(shard[w->s]);
	queue_write_work(shard[w->s]);
}

static void *shard_main(void *arg)
{
	struct worker *w = arg;
	struct queue_done done;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned n = 1 + (unsigned)prng_below(&w->rng, 4);
		ck_assert_int_eq(queue_admit(shard[w->s], 100, f.now), 0);
		run(shard[w->s], message(w->s, (unsigned)prng_below(&w->rng, DOMAINS), n, 300),
		    &done);
		w->sent += n;
		work_off(w, &done, true);
		struct queue_op *op =
		    w->s == 0 && i % 20 == 0 ? queue_op_sync(shard[0], f.now, 0) : NULL;
		if (op != NULL)
			run(shard[0], op, &done);
	}
	return NULL;
}

START_TEST(threads_share_a_spool)
{
	struct worker workers[THREADS];
	size_t sent = 0, delivered = 0, parked = 0;
	open_shards(THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .s = i };
		prng_init(&workers[i].rng, i + 1);
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, shard_main, &workers[i]),
		    0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		work_off(&workers[i], NULL, false); /* what came when it had ended */
		sent += workers[i].sent;
		delivered += workers[i].delivered;
		parked += workers[i].parked;
	}
	ck_assert_uint_eq(delivered + parked, sent);
	ck_assert_uint_eq(count_items(THREADS, false), parked);
	queue_close(&f.q);
	open_shards(2);
	ck_assert_uint_eq(count_items(2, true), parked);
}

END_TEST

Suite *test_shards_suite(void)
{
	Suite *s = suite_create("shards");
	TCase *t = tcase_create("shards");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, items_go_home, 0, ARRAY_LEN(sizes));
	tcase_add_test(t, a_restart_may_have_other_shards);
	tcase_add_loop_test(t, what_nobody_took_is_found_again, 0, ARRAY_LEN(sizes));
	tcase_add_test(t, a_report_goes_to_its_home);
	tcase_add_loop_test(t, what_is_sent_on_is_not_found_twice, 0, ARRAY_LEN(sizes));
	tcase_add_test(t, threads_share_a_spool);
	tcase_set_timeout(t, 120);
	suite_add_tcase(s, t);
	return s;
}
