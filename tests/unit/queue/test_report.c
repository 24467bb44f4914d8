/*
 * Outcomes and crashes, call by call: a disk in memory fails or loses power at
 * the n-th call of an operation, is found again, and what was recorded is
 * there, once; what was not is as it was before.
 */
#include <errno.h>
#include <string.h>

#include "fault/qio_fault.h"
#include "fault/qio_mem.h"
#include "lib/unit.h"
#include "unit/queue/checking.h"

Suite *test_report_suite(void);

enum {
	SEEDS = 6 /* of what a power cut leaves, for each call */
};

static struct fixture f;
static struct qio_mem disk;
static struct qio_fault fault;

static void begin(uint64_t seed)
{
	f = (struct fixture){ .now = { .wall_ms = INT64_C(1790000000000), .mono_ms = 1000 } };
	ck_assert_int_eq(retry_parse(SLICE("1m*20"), &f.retry, NULL), 0);
	qio_mem_init(&disk, seed);
	qio_fault_init(&fault, &disk.io);
	f.opt = (struct queue_options){ .directory = "spool",
		.qio = &fault.io,
		.seed = seed,
		.retry = &f.retry,
		.journal_segment_bytes = 64 * 1024,
		.journal_segments_max = 4 };
	fixture_open(&f);
}

static void power_cut(void)
{
	disk.countdown = 1;
	qio_fault_disarm(&fault);
	fixture_close(&f);
	qio_mem_restart(&disk);
	checking_after_crash(&disk, &disk.prng);
	fixture_open(&f);
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

Suite *test_report_suite(void)
{
	Suite *s = suite_create("report");
	TCase *tc = tcase_create("report");
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, what_left_the_journal_does_not_come_back_as_it_came, 0, 2);
	suite_add_tcase(s, tc);
	return s;
}
