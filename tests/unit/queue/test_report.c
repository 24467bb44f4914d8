/*
 * Outcomes and crashes, call by call: a disk in memory fails or loses power at
 * the n-th call of an operation, is found again, and what was recorded is
 * there, once; what was not is as it was before.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "fault/qio_fault.h"
#include "fault/qio_mem.h"
#include "lib/unit.h"
#include "queue/queue_int.h"
#include "unit/queue/checking.h"

Suite *test_report_suite(void);

enum {
	ITEMS_MAX = 40,
	SEEDS = 6 /* of what a power cut leaves, for each call */
};

#define SEGMENT_BYTES (64 * 1024)

static struct fixture f;
static struct qio_mem disk;
static struct qio_fault fault;
static struct qio io;

static bool sick_disk; /* no segment of the journal can be synced */

static int sync_well(void *arg, int fd)
{
	struct qio_stat st;
	if (sick_disk && fault.io.stat(arg, fd, &st) == 0 && st.bytes == SEGMENT_BYTES)
		return -EIO;
	return fault.io.sync(arg, fd);
}

static void begin(uint64_t seed)
{
	f = (struct fixture){ .now = { .wall_ms = INT64_C(1790000000000), .mono_ms = 1000 } };
	ck_assert_int_eq(retry_parse(SLICE("1m*20"), &f.retry, NULL), 0);
	qio_mem_init(&disk, seed);
	qio_fault_init(&fault, &disk.io);
	io = fault.io;
	io.sync = sync_well;
	f.opt = (struct queue_options){ .directory = "spool",
		.qio = &io,
		.seed = seed,
		.retry = &f.retry,
		.journal_segment_bytes = SEGMENT_BYTES,
		.journal_segments_max = 4 };
	fixture_open(&f);
}

static void die(bool power)
{
	disk.countdown = 1;
	qio_fault_disarm(&fault);
	fixture_close(&f);
	if (power) {
		qio_mem_restart(&disk);
		checking_after_crash(&disk, &disk.prng);
	} else {
		qio_mem_revive(&disk);
	}
	fixture_open(&f);
}

static void power_cut(void)
{
	die(true);
}

static void end(void)
{
	queue_close(&f.q);
	qio_mem_restart(&disk);
	qio_mem_fini(&disk);
}

static struct queue_item *commit_two(void)
{
	static const char *const rcpts[] = { "a@x.test", "b@x.test" };
	struct queue_item *item;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 2, 3000, &item, 1), 1);
	return item;
}

static struct queue_item *only_item(void)
{
	size_t cursor = 0;
	return queue_next_item(f.q, &cursor);
}

static struct queue_item *take(struct queue_item *item)
{
	if (item->state != QUEUE_ITEM_ACTIVE)
		queue_take(f.q, item);
	fixture_load(&f, item);
	return item;
}

/* --- a queue file that the journal does not know of --------------------------------------- */

/* a is delivered and b deferred, with a failing call; then b is delivered; the power goes. a, whose
 * outcome was recorded, never comes back, whatever the disk kept of the file and its removal. */
static bool outcome_survives(uint64_t seed, unsigned call, bool for_ever, unsigned *recorded)
{
	struct queue_outcome o[2] = {
		{ .rcpt = 0,
		    .fate = FATE_DELIVERED,
		    .status = { .text = "", .host = "", .ip = "" } },
		{ .rcpt = 1,
		    .fate = FATE_PENDING,
		    .attempts = 1,
		    .due_ms = f.now.wall_ms,
		    .status = { .text = "", .host = "", .ip = "" } },
	};
	struct queue_done done;
	begin(seed);
	struct queue_item *item = commit_two();
	qio_fault_arm(&fault, call, for_ever, false, -EIO);
	bool kept = fixture_run(&f, queue_op_settle(item, o, 2, f.now), &done) == 0;
	bool fired = fault.fired > 0;
	qio_fault_disarm(&fault);
	if (kept)
		(void)fixture_settle(&f, take(item), 1, FATE_DELIVERED, 2, 0);
	*recorded += kept;
	power_cut();
	item = only_item();
	if (kept && item != NULL && take(item)->mail->envelope->rcpts[0].fate != FATE_DELIVERED)
		ck_abort_msg("call %u, seed %lu: a recorded outcome is lost", call,
		    (unsigned long)seed);
	end();
	return fired;
}

START_TEST(what_left_the_journal_does_not_come_back_as_it_came)
{
	unsigned recorded = 0, call = 1;
	bool fired = true;
	for (; fired; call++) {
		for (unsigned i = 0; i < SEEDS; i++)
			fired = outcome_survives(call * 100 + i, call, _i == 1, &recorded);
	}
	ck_assert_uint_gt(call, 8);
	ck_assert_uint_gt(recorded, SEEDS);
}

END_TEST

/* --- a report and its outcome are one --------------------------------------------------------- */

struct scene {
	const char *name;
	bool file;       /* the item has a queue file */
	bool partial;    /* b remains */
	bool no_journal; /* for the report: the daemon was started again without it */
	bool large;      /* the report: its body is in a file of its own */
};

static const struct scene scenes[] = {
	{ "bounce, journal", false, false, false, false },
	{ "part, journal", false, true, false, false },
	{ "bounce, queue file", true, false, false, false },
	{ "part, queue file", true, true, false, false },
	{ "bounce, large report", false, false, false, true },
	{ "part, large report", true, true, false, true },
	{ "bounce, no journal", true, false, true, false },
	{ "part, no journal", true, true, true, false },
};

static const struct scene *scene;
static uint64_t seed_now;
static char item_id[QUEUE_ID_MAX];

static struct queue_item *enter(uint64_t seed)
{
	begin(seed);
	seed_now = seed;
	struct queue_item *item = commit_two();
	queue_item_id(item, item_id);
	if (!scene->file)
		return item;
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	ck_assert_int_eq(fixture_settle(&f, take(item), 1, FATE_PENDING, 1, f.now.wall_ms), 0);
	if (scene->no_journal) {
		f.opt.no_journal = true;
		fixture_reopen(&f);
		item = only_item();
	}
	return take(item);
}

/* a bounces, and b too or waits longer; with the report. Returns whether that is stored. */
static bool bounce(struct queue_item *item, int *result)
{
	static const char *const rcpts[] = { "sender@s.test" };
	static const char *const domains[] = { "s.test" };
	struct queue_outcome o[2];
	struct queue_done done;
	for (size_t i = 0; i < 2; i++)
		o[i] = (struct queue_outcome){ .rcpt = i,
			.fate = i == 1 && scene->partial ? FATE_PENDING : FATE_BOUNCED,
			.attempts = 2,
			.due_ms = f.now.wall_ms + 60000,
			.last_ms = f.now.wall_ms,
			.status = { .text = "no", .host = "", .ip = "" } };
	struct queue_msg *m = fixture_message(&f, rcpts, 1, scene->large ? 270000 : 2000);
	queue_msg_envelope(m)->flags = ENVELOPE_REPORT;
	struct queue_op *op = queue_op_settle(item, o, 2, f.now);
	queue_op_add_report(op, &m, domains);
	ck_assert_ptr_null(m);
	*result = fixture_run(&f, op, &done);
	bool stored = !list_is_empty(&done.items);
	ck_assert_int_eq(stored, done.report[0] != '\0');
	list_foreach_safe(node, &done.items)
		list_remove(node);
	if (!stored) {
		ck_assert_int_lt(*result, 0);
		ck_assert_ptr_eq(done.item, item);
		ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
		ck_assert_ptr_nonnull(item->mail);
	}
	return stored;
}

/* NULL if there is nothing left to do for it. */
static struct queue_item *load(struct queue_item *item)
{
	struct queue_done done;
	if (item->state != QUEUE_ITEM_ACTIVE)
		queue_take(f.q, item);
	if (item->mail == NULL && fixture_run(&f, queue_op_load(item), &done) < 0)
		ck_assert_ptr_null(done.item);
	else
		return item;
	return NULL;
}

static size_t list_items(struct queue_item *items[ITEMS_MAX])
{
	struct queue_item *item;
	size_t cursor = 0, n = 0;
	while ((item = queue_next_item(f.q, &cursor)) != NULL) {
		ck_assert_uint_lt(n, ITEMS_MAX);
		items[n++] = item;
	}
	return n;
}

static bool is_recorded(struct queue_item *item)
{
	if (item == NULL)
		return true;
	const struct envelope_rcpt *r = item->mail->envelope->rcpts;
	bool recorded = r[0].fate == FATE_BOUNCED;
	ck_assert(recorded || r[0].fate == FATE_PENDING);
	ck_assert_int_eq(r[1].fate, FATE_PENDING);
	ck_assert_uint_eq(r[1].attempts, recorded ? 2 : scene->file ? 1 : 0);
	ck_assert(scene->partial || !recorded);
	fixture_check_body(item->mail->body, 3000);
	return recorded;
}

static bool is_report(struct queue_item *item)
{
	struct envelope *e = NULL;
	ck_assert_int_eq(queue_peek(f.q, item, &e), 0);
	bool is = (e->flags & ENVELOPE_REPORT) != 0;
	envelope_free(&e);
	return is;
}

/* Returns whether the outcome is there; the report then is, too, once; and neither else. */
static bool look(const char *when)
{
	struct queue_item *items[ITEMS_MAX], *item = NULL;
	struct queue_stats s;
	size_t n = list_items(items), reports = 0;
	for (size_t i = 0; i < n; i++) {
		char id[QUEUE_ID_MAX];
		reports += is_report(items[i]);
		if (strcmp(queue_item_id(items[i], id), item_id) == 0)
			item = load(items[i]);
	}
	bool recorded = is_recorded(item);
	if (item != NULL)
		queue_park(f.q, item, 0);
	if (!scene->partial && recorded)
		ck_assert_ptr_null(item);
	if (reports != recorded)
		ck_abort_msg("%s, seed %lu, %s: %zu reports, %s", scene->name,
		    (unsigned long)seed_now, when, reports, recorded ? "recorded" : "not recorded");
	queue_stats(f.q, &s);
	ck_assert_uint_eq(s.corrupt, 0);
	return recorded;
}

static void pay_owed(void)
{
	struct queue_item *items[ITEMS_MAX];
	struct queue_done done;
	size_t n = queue_take_owed(f.q, items, ITEMS_MAX);
	for (size_t i = 0; i < n; i++) {
		struct queue_item *item = load(items[i]);
		if (item != NULL)
			ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, NULL, 0, f.now),
					     &done),
			    0);
	}
	ck_assert_uint_eq(queue_take_owed(f.q, items, ITEMS_MAX), 0);
}

static void sync_all(void)
{
	struct queue_done done;
	struct queue_op *op;
	unsigned n = 0;
	while ((op = queue_op_sync(f.q, f.now, 0)) != NULL) {
		ck_assert_int_eq(fixture_run(&f, op, &done), 0);
		ck_assert_uint_lt(n++, 6); /* nothing keeps the journal busy for ever */
	}
}

/* All is served, and stays so; and the journal holds on to nothing. */
static void leave(void)
{
	struct queue_item *items[ITEMS_MAX];
	pay_owed();
	size_t n = list_items(items);
	for (size_t i = 0; i < n; i++) {
		if (load(items[i]) == NULL)
			continue;
		size_t last = items[i]->mail->envelope->rcpts_n - 1;
		if (items[i]->mail->envelope->rcpts_n == 2 &&
		    items[i]->mail->envelope->rcpts[0].fate == FATE_PENDING)
			ck_assert_int_eq(fixture_settle(&f, items[i], 0, FATE_DELIVERED, 3, 0), 0);
		ck_assert_int_eq(fixture_settle(&f, load(items[i]), last, FATE_DELIVERED, 3, 0), 0);
	}
	sync_all();
	mem_free(journal_effects_list(f.q->journal, &n));
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(qio_mem_count(&disk, "body"), 0);
	power_cut();
	ck_assert_uint_eq(list_items(items), 0);
	end();
}

/* Until it is stored; then the outcome, if it fell back to queue files and that was refused. */
static void ask_again(struct queue_item *item, bool stored, int result)
{
	struct queue_done done;
	for (unsigned again = 0; !stored; again++) {
		ck_assert_uint_lt(again, 2);
		stored = bounce(item, &result);
	}
	if (result == 0)
		return;
	ck_assert(scene->no_journal);
	if (item->state != QUEUE_ITEM_ACTIVE)
		queue_take(f.q, item);
	ck_assert_int_eq(fixture_run(&f, queue_op_settle(item, NULL, 0, f.now), &done), 0);
}

/* The n-th call fails, once or from then on. What was refused is asked again, and is then there; a
 * crash before that finds both or neither, where there is a journal. */
static bool one_failure(unsigned call, unsigned i, bool for_ever)
{
	struct queue_item *item = enter(call * 100 + i);
	int result;
	qio_fault_arm(&fault, call, for_ever, false, i % 2 == 0 ? -EIO : -ENOSPC);
	bool stored = bounce(item, &result);
	bool fired = fault.fired > 0;
	qio_fault_disarm(&fault);
	if (i % 3 == 0 && !scene->no_journal) {
		ck_assert(result == 0 || !stored);
		power_cut();
		if (!look("after a failure") && stored)
			ck_abort_msg("%s: lost", scene->name);
		leave();
		return fired;
	}
	ask_again(item, stored, result);
	if (i % 3 == 1)
		pay_owed();
	if (i % 2 == 1 || scene->no_journal)
		sync_all();
	power_cut();
	ck_assert(look("after a second try"));
	fixture_reopen(&f);
	ck_assert(look("after another start"));
	leave();
	return fired;
}

START_TEST(one_report_whatever_fails)
{
	unsigned call = 1;
	scene = &scenes[_i / 2];
	for (bool fired = true; fired; call++) {
		fired = false;
		for (unsigned i = 0; i < SEEDS; i++)
			fired |= one_failure(call, i, _i % 2 == 1);
	}
	ck_assert_uint_gt(call, 2);
}

END_TEST

/* The power goes at the n-th call, and again while it starts; or the process is killed. */
static bool one_cut(unsigned call, unsigned i)
{
	struct queue_item *item = enter(call * 100 + i);
	int result;
	disk.countdown = call;
	bool stored = bounce(item, &result);
	bool cut = disk.dead;
	disk.countdown = 1;
	fixture_close(&f);
	if (i % 3 == 0)
		qio_mem_revive(&disk);
	else
		qio_mem_restart(&disk);
	disk.countdown = 1 + 7 * i;
	if (queue_open(&f.q, &f.opt, f.now, NULL) == 0) {
		(void)!fixture_scan(&f);
		queue_close(&f.q);
	}
	qio_mem_restart(&disk);
	fixture_open(&f);
	bool recorded = look("after a cut");
	if (stored && result == 0 && !recorded)
		ck_abort_msg("%s, call %u: lost", scene->name, call);
	if (i % 2 == 0)
		pay_owed();
	power_cut();
	ck_assert_int_eq(look("after another cut"), recorded);
	leave();
	return cut;
}

START_TEST(one_report_whenever_the_power_goes)
{
	unsigned call = 1;
	scene = &scenes[_i];
	for (bool cut = true; cut; call++) {
		cut = false;
		for (unsigned i = 0; i < 3 * SEEDS; i++)
			cut |= one_cut(call, i);
	}
	ck_assert_uint_gt(call, 2);
}

END_TEST

/* --- what a report holds, later ------------------------------------------------------------------
 */

/* The n-th call of one to three SYNCs fails, and the ends that have come up are written with other
 * mail: still no cut brings the item back. */
static bool one_sync(unsigned call, unsigned i)
{
	struct queue_done done;
	struct queue_op *op;
	int result;
	(void)bounce(enter(call * 100 + i), &result);
	ck_assert_int_eq(result, 0);
	qio_fault_arm(&fault, call, i / 3 % 2 == 0, false, -EIO);
	for (unsigned n = i % 3; n < 3 && (op = queue_op_sync(f.q, f.now, 0)) != NULL; n++)
		(void)!fixture_run(&f, op, &done);
	bool fired = fault.fired > 0;
	qio_fault_disarm(&fault);
	fixture_commit_one(&f, "other@o.test", 10);
	power_cut();
	ck_assert(look("after a sync that failed"));
	end();
	return fired;
}

START_TEST(a_report_holds_until_folders_are_synced)
{
	unsigned call = 1;
	scene = &scenes[_i];
	for (bool fired = true; fired; call++) {
		fired = false;
		for (unsigned i = 0; i < 4 * SEEDS; i++)
			fired |= one_sync(call, i);
	}
	ck_assert_uint_gt(call, 2);
}

END_TEST

/* What came after it, in the queue file, stays, though the report's record still says otherwise. */
START_TEST(a_report_undoes_nothing)
{
	scene = &scenes[_i == 0 ? 1 : 3];
	for (unsigned i = 0; i < 3 * SEEDS; i++) {
		struct queue_item *item = enter(i + 1);
		int result;
		ck_assert(bounce(item, &result));
		enum fate fate = i % 2 == 0 ? FATE_PENDING : FATE_DELIVERED;
		ck_assert_int_eq(fixture_settle(&f, take(item), 1, FATE_PENDING, 3,
				     f.now.wall_ms + 60000),
		    0);
		power_cut();
		struct queue_item *items[ITEMS_MAX];
		size_t n = list_items(items), found = 0;
		for (size_t k = 0; k < n; k++) {
			if (is_report(items[k]))
				continue;
			const struct envelope_rcpt *r = load(items[k])->mail->envelope->rcpts;
			ck_assert_int_eq(r[0].fate, FATE_BOUNCED);
			ck_assert_uint_eq(r[1].attempts, 3);
			ck_assert_int_eq(fixture_settle(&f, items[k], 1, fate, 4, 0), 0);
			found++;
		}
		ck_assert_uint_eq(found, 1);
		end();
	}
}

END_TEST

/* While only the journal can't be written, a refused report may be in it all the same: it is not
 * put into queue files beside that. */
START_TEST(no_second_way_for_a_refused_report)
{
	unsigned recorded = 0;
	scene = &scenes[_i];
	for (unsigned i = 0; i < 4 * SEEDS; i++) {
		struct queue_item *item = enter(i + 1);
		int result;
		sick_disk = true;
		ck_assert(!bounce(item, &result));
		ck_assert(!bounce(item, &result));
		sick_disk = false;
		die(i % 2 == 0);
		recorded += look("after a refusal");
		leave();
	}
	/* A segment without live mail is given up as a whole. */
	ck_assert(scene->file || recorded > 0);
	ck_assert_uint_lt(recorded, 4 * SEEDS);
}

END_TEST

/* The item could not be moved to a queue file; when its segment is wanted it is, with all that is
 * known of it. */
START_TEST(the_oldest_is_emptied_with_what_reports_hold)
{
	int result;
	size_t n;
	scene = &scenes[1];
	struct queue_item *item = enter(1);
	qio_fault_arm(&fault, 1, true, false, -EMFILE);
	fault.calls = QIO_FAULT_OPENS;
	ck_assert(bounce(item, &result));
	ck_assert_int_eq(result, 0);
	qio_fault_disarm(&fault);
	fault.calls = QIO_FAULT_ANY;
	for (unsigned i = 0; i < 20; i++)
		fixture_commit_one(&f, "other@o.test", 7000);
	mem_free(journal_effects_list(f.q->journal, &n));
	ck_assert_uint_eq(n, 1);
	sync_all();
	mem_free(journal_effects_list(f.q->journal, &n));
	ck_assert_uint_eq(n, 0);
	ck_assert_ptr_null(item->record);
	ck_assert(look("moved"));
	power_cut();
	ck_assert(look("moved, and a cut"));
	end();
}

END_TEST

Suite *test_report_suite(void)
{
	Suite *s = suite_create("report");
	TCase *tc = tcase_create("report");
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, what_left_the_journal_does_not_come_back_as_it_came, 0, 2);
	tcase_add_loop_test(tc, one_report_whatever_fails, 0, 2 * ARRAY_LEN(scenes));
	tcase_add_loop_test(tc, one_report_whenever_the_power_goes, 0, 6);
	tcase_add_loop_test(tc, a_report_holds_until_folders_are_synced, 0, 4);
	tcase_add_loop_test(tc, a_report_undoes_nothing, 0, 2);
	tcase_add_loop_test(tc, no_second_way_for_a_refused_report, 0, 4);
	tcase_add_test(tc, the_oldest_is_emptied_with_what_reports_hold);
	suite_add_tcase(s, tc);
	return s;
}
