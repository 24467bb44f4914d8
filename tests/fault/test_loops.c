/*
 * The loops: each operation of the table, in each store, with a fault at its
 * first call, its second, and so on until none is hit any more; then what
 * there is is held against the ledger.
 *
 *     once       a call fails; each cause of failure
 *     for ever   it and all that follow; then the cause goes away
 *     power      the power goes (or the process is killed) during the call
 *     recovery   and goes again, or the disk fails, while it starts again
 *
 * FAULT_SEEDS=n in the environment: n seeds for each point instead of one.
 * FAULT_ONLY=text: only operations whose name has that in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fault/operation.h"
#include "lib/unit.h"

Suite *test_loops_suite(void);

enum {
	CALLS_MAX = 5000, /* more than any operation makes */
	CASES_MAX = 400,  /* loops and operations */
	TIMEOUT_S = 600,
	STRIDE = 7, /* prime to most lengths: points of two loops meet in all pairs, over time */
};

enum after { /* the fault */
	AFTER_GO_ON = 0,
	AFTER_KILL,
	AFTER_POWER,
	AFTER_MEND, /* the power goes as soon as all is said to be synced */
	AFTERS
};

static const char *const after_names[] = { "go on", "kill", "power cut", "mend and power cut" };

struct cause {
	const char *name;
	int err;
	enum qio_fault_calls calls;
	const char *dir;
	bool half_writes;
};

static const struct cause causes[] = {
	{ "EIO", -EIO, QIO_FAULT_ANY, NULL, true },
	{ "failed sync", -EIO, QIO_FAULT_SYNCS, NULL, false },
	{ "ENOSPC", -ENOSPC, QIO_FAULT_GROWS, NULL, true },
	{ "EDQUOT", -EDQUOT, QIO_FAULT_GROWS, NULL, false },
	{ "EMFILE", -EMFILE, QIO_FAULT_OPENS, NULL, false },
	{ "queue/ read-only", -EROFS, QIO_FAULT_CHANGES, "queue", false },
	{ "journal/ read-only", -EACCES, QIO_FAULT_CHANGES, "journal", false },
	{ "tmp/ read-only", -EROFS, QIO_FAULT_CHANGES, "tmp", false },
	{ "corrupt/ read-only", -EACCES, QIO_FAULT_CHANGES, "corrupt", false },
	{ "all read-only", -EROFS, QIO_FAULT_CHANGES, NULL, false },
	{ "queue/ full", -ENOSPC, QIO_FAULT_ADDS, "queue", false },
};

static struct world w;

static unsigned seeds(void)
{
	const char *text = getenv("FAULT_SEEDS");
	long n = text == NULL ? 0 : strtol(text, NULL, 10);
	return n > 0 ? (unsigned)n : 1;
}

/* --- one round -------------------------------------------------------------------------- */

static void begin(const struct operation *op, bool no_journal, uint64_t seed)
{
	world_init(&w, no_journal, seed);
	snprintf(w.where, sizeof(w.where), "%s: prepare", op->name);
	if (world_open(&w) < 0)
		world_abort(&w, "an empty spool can't be opened");
	if (op->prepare != NULL)
		op->prepare(&w);
	if (op->is_cold)
		world_close(&w);
}

/* From a spool that is closed, after whatever happened: it is whole, starting again changes nothing
 * more, it works, and what was found stays so. */
static void recover_and_check(void)
{
	uint64_t first;
	if (world_open(&w) < 0)
		world_abort(&w, "it doesn't start");
	world_close(&w);
	first = world_fingerprint(&w);
	world_lose_power(&w);
	if (world_open(&w) < 0)
		world_abort(&w, "it doesn't start again");
	world_close(&w);
	if (world_fingerprint(&w) != first)
		world_abort(&w, "a second start changes what the first left");
	world_check(&w, true);
	world_check_works(&w);
	world_mend(&w);
	world_lose_power(&w);
	world_check(&w, true);
	world_close(&w);
}

static void finish(enum after after)
{
	w.fault.countdown = 0;
	w.disk.countdown = 0;
	if (after == AFTER_GO_ON) {
		world_mend(&w);
		if (w.relics_n > 0) /* what could not be moved away is tried again at a start */
			world_close(&w);
		world_check(&w, false);
		world_check_works(&w);
		world_mend(&w);
		world_close(&w);
	} else if (after == AFTER_KILL) {
		world_kill(&w);
		world_check(&w, false);
		world_check_works(&w);
	} else if (after == AFTER_MEND) {
		world_mend(&w);
	}
	world_lose_power(&w);
	recover_and_check();
	world_fini(&w);
}

static void say_where(const struct operation *op, const char *loop, const char *cause, unsigned nth,
    enum after after)
{
	snprintf(w.where, sizeof(w.where), "%s%s, %s, %s at call %u, %s, seed %" PRIu64, op->name,
	    w.opt.no_journal ? " (files alone)" : "", loop, cause, nth, after_names[after],
	    w.opt.seed);
}

static bool fail_at(const struct operation *op, bool no_journal, const struct cause *c,
    bool for_ever, unsigned nth, uint64_t seed)
{
	enum after after = (enum after)((nth + seed) % AFTERS);
	begin(op, no_journal, seed);
	say_where(op, for_ever ? "for ever" : "once", c->name, nth, after);
	qio_fault_arm(&w.fault, nth, for_ever, c->half_writes, c->err);
	w.fault.calls = c->calls;
	w.fault.dir = c->dir;
	op->act(&w);
	bool fired = w.fault.fired > 0;
	finish(after);
	return fired;
}

static bool cut_at(const struct operation *op, bool no_journal, unsigned nth, uint64_t seed)
{
	enum after after = seed % 3 == 0 ? AFTER_KILL : AFTER_POWER;
	begin(op, no_journal, seed);
	say_where(op, "power", "", nth, after);
	w.disk.countdown = nth;
	op->act(&w);
	bool fired = w.disk.dead;
	finish(after);
	return fired;
}

/* --- loops ------------------------------------------------------------------------------ */

static const struct operation *operation_of(int i, bool *no_journal)
{
	*no_journal = i % 2 == 1;
	return &operations[i / 2];
}

static uint64_t seed_of(unsigned nth, unsigned round)
{
	return 1 + nth * UINT64_C(1000) + round;
}

/* Every point once with each cause; or, of a heavy operation, with one in turn. */
static void fail_loop(const struct operation *op, bool no_journal, bool for_ever)
{
	unsigned fired = 0;
	for (size_t c = 0; c < ARRAY_LEN(causes); c++) {
		unsigned nth = 1;
		for (bool more = true; more && nth < CALLS_MAX; nth++) {
			if (op->is_heavy && nth > ARRAY_LEN(causes) &&
			    (nth + c) % ARRAY_LEN(causes) != 0)
				continue;
			more = false;
			/* Of a failure that passes, all that can come after; else one in turn. */
			unsigned rounds = c == 0 && !for_ever && !op->is_heavy ? AFTERS : 1;
			for (unsigned s = 0; s < rounds * seeds(); s++)
				more = fail_at(op, no_journal, &causes[c], for_ever, nth,
					   seed_of(nth, s)) ||
				       more;
			fired += more;
		}
		ck_assert_uint_lt(nth, CALLS_MAX);
	}
	ck_assert_uint_gt(fired, 0);
}

START_TEST(a_call_fails)
{
	bool no_journal;
	const struct operation *op = operation_of(_i, &no_journal);
	fail_loop(op, no_journal, false);
}

END_TEST

START_TEST(calls_fail_for_a_while)
{
	bool no_journal;
	const struct operation *op = operation_of(_i, &no_journal);
	fail_loop(op, no_journal, true);
}

END_TEST

START_TEST(the_power_goes)
{
	bool no_journal;
	const struct operation *op = operation_of(_i, &no_journal);
	unsigned nth = 1;
	for (bool more = true; more; nth++) {
		ck_assert_uint_lt(nth, CALLS_MAX);
		more = false;
		for (unsigned s = 0; s < 2 * seeds(); s++)
			more = cut_at(op, no_journal, nth, seed_of(nth, s)) || more;
	}
	ck_assert_uint_gt(nth, 2);
}

END_TEST

/* How many calls the operation makes. */
static unsigned count_calls(const struct operation *op, bool no_journal)
{
	begin(op, no_journal, 1);
	unsigned before = w.disk.calls;
	op->act(&w);
	unsigned n = w.disk.calls - before;
	finish(AFTER_GO_ON);
	return n;
}

/* Cut somewhere; then the m-th call of the recovery, or the disk fails in it. */
static bool disturb_recovery(const struct operation *op, bool no_journal, unsigned calls,
    unsigned nth, uint64_t seed)
{
	static const char *const hows[] = { "power again", "kill", "EIO", "EIO for ever" };
	unsigned first = 1 + (nth * STRIDE + (unsigned)(seed % 1000)) % calls;
	size_t how = (nth + seed) % ARRAY_LEN(hows);
	begin(op, no_journal, seed);
	w.disk.countdown = first;
	op->act(&w);
	world_lose_power(&w);
	snprintf(w.where, sizeof(w.where), "%s%s, power at call %u, %s at call %u of recovery",
	    op->name, no_journal ? " (files alone)" : "", first, hows[how], nth);
	if (how < 2)
		w.disk.countdown = nth;
	else
		qio_fault_arm(&w.fault, nth, how == 3, how == 3, how == 3 ? -ENOSPC : -EIO);
	int err = world_open(&w);
	bool fired = w.disk.dead || w.fault.fired > 0;
	if (err == 0 && !fired)
		world_close(&w);
	w.fault.countdown = 0;
	if (how == 1)
		world_kill(&w);
	else
		world_lose_power(&w);
	recover_and_check();
	world_fini(&w);
	return fired;
}

START_TEST(recovery_is_disturbed)
{
	bool no_journal;
	const struct operation *op = operation_of(_i, &no_journal);
	unsigned calls = count_calls(op, no_journal), nth = 1;
	for (bool more = true; more; nth++) {
		ck_assert_uint_lt(nth, CALLS_MAX);
		more = false;
		for (unsigned s = 0; s < seeds(); s++)
			more =
			    disturb_recovery(op, no_journal, calls, nth, seed_of(nth, s)) || more;
	}
	ck_assert_uint_gt(nth, 2);
}

END_TEST

/* --- all -------------------------------------------------------------------------------- */

static void add_loop(Suite *s, const char *name, const TTest *test)
{
	static char texts[CASES_MAX][100]; /* cases keep a pointer */
	static size_t texts_n;
	const char *only = getenv("FAULT_ONLY");
	for (size_t i = 0; i < operations_n; i++) {
		if (only != NULL && strstr(operations[i].name, only) == NULL)
			continue;
		CHECK(texts_n < CASES_MAX);
		char *text = texts[texts_n++];
		snprintf(text, sizeof(texts[0]), "%s: %s", name, operations[i].name);
		TCase *tc = tcase_create(text);
		tcase_set_timeout(tc, TIMEOUT_S);
		tcase_add_loop_test(tc, test, (int)i * 2, (int)i * 2 + 2);
		suite_add_tcase(s, tc);
	}
}

Suite *test_loops_suite(void)
{
	Suite *s = suite_create("loops");
	add_loop(s, "once", a_call_fails);
	add_loop(s, "for ever", calls_fail_for_a_while);
	add_loop(s, "power", the_power_goes);
	add_loop(s, "recovery", recovery_is_disturbed);
	return s;
}
