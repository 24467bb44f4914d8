/*
 * The offline check: each kind of damage is found, called by its name, and
 * repaired as a start would; nothing is changed unless asked; a second check
 * finds nothing to repair; and what a daemon serves is the same before and
 * after.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "fault/qio_fault.h"
#include "lib/unit.h"
#include "unit/queue/checking.h"

Suite *test_check_suite(void);

#define CALLS_MAX 4000

/* path: with another name in the same folder. */
static void rename_file(const char *front, const char *rest)
{
	char from[sizeof(checking.path)];
	memcpy(from, checking.path, sizeof(checking.path));
	size_t n = (size_t)(checking_base_of(checking.path) - checking.path);
	ck_assert_int_lt(snprintf(checking.path + n, sizeof(checking.path) - n, "%s%s", front,
			     rest),
	    (int)(sizeof(checking.path) - n));
	ck_assert_int_eq(rename(from, checking.path), 0);
}

/* Of the name in path, what follows due and attempts. */
static char *rest_of_name(void)
{
	return mem_strdup(strchr(strchr(checking_base_of(checking.path), '.') + 1, '.') + 1);
}

/* --- queue files ---------------------------------------------------------------------- */

/* One queue file, deferred once, of two recipients of whom one is delivered; path is its. */
static void setup(void)
{
	static const char *const rcpts[] = { "a@x.test", "b@x.test" };
	struct queue_item *item;
	fixture_init_in_memory(&checking.f);
	fixture_open(&checking.f);
	ck_assert_uint_eq(fixture_commit(&checking.f, rcpts, 2, 900, &item, 1), 1);
	ck_assert_int_eq(fixture_settle(&checking.f, item, 0, FATE_PENDING, 1,
			     checking.f.now.wall_ms),
	    0);
	ck_assert_ptr_eq(fixture_take(&checking.f), item);
	fixture_load(&checking.f, item);
	ck_assert_int_eq(fixture_settle(&checking.f, item, 1, FATE_DELIVERED, 1, 0), 0);
	ck_assert_ptr_eq(fixture_take(&checking.f), item);
	fixture_load(&checking.f, item);
	ck_assert_int_eq(fixture_settle(&checking.f, item, 0, FATE_PENDING, 2,
			     checking.f.now.wall_ms + 60000),
	    0);
	fixture_close(&checking.f);
	ck_assert(fixture_find(&checking.f, checking.path, sizeof(checking.path)));
}

static void teardown(void)
{
	fixture_fini(&checking.f);
}

START_TEST(nothing_is_wrong)
{
	static const char *const rcpts[] = { "c@y.test", "d@y.test", "e@z.test" };
	struct queue_item *items[2];
	struct queue_done done;
	fixture_open(&checking.f);
	struct queue_item *held = fixture_commit_one(&checking.f, "h@x.test", 50);
	queue_park(checking.f.q, held, 0);
	ck_assert_int_eq(fixture_run(&checking.f, queue_op_hold(held, true, checking.f.now), &done),
	    0);
	ck_assert_uint_eq(fixture_commit(&checking.f, rcpts, 3, 300, items, 2), 2);
	fixture_commit_one(&checking.f, "i@y.test",
	    300000); /* too large for the journal's records */
	fixture_close(&checking.f);
	char *disk = checking_fingerprint();
	checking_look(true);
	ck_assert_uint_eq(checking.seen_n, 0);
	ck_assert_uint_eq(checking.report.journal.messages + checking.report.queue.messages, 4);
	ck_assert_uint_eq(checking.report.journal.parts + checking.report.queue.files, 5);
	ck_assert_uint_eq(checking.report.journal.recipients + checking.report.queue.recipients, 6);
	ck_assert_uint_eq(checking.report.queue.held, 1);
	ck_assert_uint_ge(checking.report.journal.segments, 1);
	ck_assert_uint_ge(checking.report.journal.parts, 2);
	char *after = checking_fingerprint();
	ck_assert_str_eq(disk, after);
	mem_free(disk);
	mem_free(after);
}

END_TEST

START_TEST(not_beside_a_daemon)
{
	char folder[400];
	fixture_open(&checking.f);
	ck_assert_int_eq(checking_run(NULL, false), ERR_BUSY);
	ck_assert_int_eq(checking_run(NULL, true), ERR_BUSY);
	fixture_close(&checking.f);
	checking_look(false);
	fixture_path(&checking.f, "corrupt", folder, sizeof(folder));
	const struct check_options other = { .directory = folder, .repair = true };
	ck_assert_int_eq(check_spool(&other, &checking.report, NULL), ERR_NOT_FOUND);
	ck_assert_uint_eq(fixture_count(&checking.f, "corrupt"), 0);
	const struct check_options none = { .directory = "/nonexistent" };
	ck_assert_int_eq(check_spool(&none, &checking.report, NULL), ERR_NOT_FOUND);
}

END_TEST

START_TEST(damaged_files_are_set_aside)
{
	size_t n;
	char *whole = fixture_read(checking.path, &n);
	for (unsigned i = 0; i < 4; i++) {
		const size_t at[] = { 3, 30, 100, 400 }; /* head, head, envelope, body */
		if (i == 3)
			fixture_write(checking.path, whole, 500);
		else
			fixture_write(checking.path, whole, n);
		if (i < 3)
			checking_flip(checking.path, at[i]);
		struct checking_seen s = checking_repairs(CHECK_DAMAGED, CHECK_QUARANTINE);
		ck_assert_int_eq(s.severity, CHECK_ERROR);
		ck_assert(checking_is_told(CHECK_SET_ASIDE).severity == CHECK_WARNING);
		ck_assert_uint_eq(checking.report.corrupt.files, 1);
		ck_assert_uint_eq(fixture_count(&checking.f, "queue"), 0);
		char aside[600];
		snprintf(aside, sizeof(aside), "corrupt/%s", checking_base_of(checking.path));
		ck_assert_str_eq(checking.seen[0].place, aside);
		fixture_path(&checking.f, checking.seen[0].place, aside, sizeof(aside));
		ck_assert_int_eq(unlink(aside), 0);
	}
	mem_free(whole);
}

END_TEST

START_TEST(an_envelope_that_is_whole_is_told)
{
	struct stat st;
	ck_assert_int_eq(stat(checking.path, &st), 0);
	checking_flip(checking.path, 500); /* in the body */
	struct checking_seen s = checking_repairs(CHECK_DAMAGED, CHECK_QUARANTINE);
	ck_assert_ptr_nonnull(strstr(s.text, "<sender@example.com>"));
	ck_assert_ptr_nonnull(strstr(s.text, "<a@x.test>"));
	s = checking_is_told(CHECK_SET_ASIDE);
	ck_assert_ptr_nonnull(strstr(s.text, "<a@x.test>"));
}

END_TEST

START_TEST(a_file_under_another_name)
{
	char *rest = rest_of_name();
	memcpy(strstr(rest, "x.test"), "w.test", 6);
	rename_file("5.0.", rest);
	mem_free(rest);
	checking_repairs(CHECK_MISNAMED, CHECK_QUARANTINE);
	ck_assert_ptr_nonnull(strstr(checking_is_told(CHECK_SET_ASIDE).text, "<a@x.test>"));
}

END_TEST

START_TEST(a_torn_tail_is_cut)
{
	struct stat before, after;
	ck_assert_int_eq(stat(checking.path, &before), 0);
	checking_append(checking.path, "PRT1\x40\0\0\0 and so on", 18);
	struct checking_seen s = checking_repairs(CHECK_TORN, CHECK_CUT);
	ck_assert_int_eq(s.severity, CHECK_NOTE);
	ck_assert_int_eq(s.offset, before.st_size);
	ck_assert_int_eq(stat(checking.path, &after), 0);
	ck_assert_int_eq(after.st_size, before.st_size);
}

END_TEST

START_TEST(a_name_that_is_behind_follows)
{
	char right[512], *rest = rest_of_name();
	snprintf(right, sizeof(right), "%s", checking.path);
	rename_file("1790000000000.1.", rest);
	ck_assert_int_eq(checking_repairs(CHECK_BEHIND, CHECK_RENAME).severity, CHECK_NOTE);
	ck_assert_int_eq(access(right, F_OK), 0);
	/* Ahead of what was recorded: a record must be lost. */
	snprintf(checking.path, sizeof(checking.path), "%s", right);
	rename_file("1790000000000.3.", rest);
	ck_assert_int_eq(checking_repairs(CHECK_LOST_OUTCOME, CHECK_RENAME).severity, CHECK_ERROR);
	ck_assert_int_eq(access(right, F_OK), 0);
	mem_free(rest);
}

END_TEST

/* Of two with one id, the one that is further on stays, wherever it is; what lost never comes back.
 */
START_TEST(twins)
{
	char command[1400], twin[600], *rest = rest_of_name();
	snprintf(twin, sizeof(twin), "%s/queue/%02x/1.%s%s", checking.f.dir, _i % 2 == 0 ? 0 : 63,
	    _i < 2 ? "1." : "2.", rest);
	snprintf(command, sizeof(command), "cp -p %s %s", checking.path, twin);
	ck_assert_int_eq(system(command), 0);
	mem_free(rest);
	struct checking_seen s = checking_repairs(CHECK_TWIN, CHECK_QUARANTINE);
	ck_assert_str_eq(s.place, twin + strlen(checking.f.dir) + 1);
	s = checking_is_told(CHECK_SET_ASIDE);
	ck_assert_ptr_nonnull(strstr(s.place, ".twin"));
	ck_assert_int_eq(unlink(checking.path), 0); /* delivered */
	checking_is_told(CHECK_SET_ASIDE);
	ck_assert_uint_eq(fixture_count(&checking.f, "queue"), 0);
}

END_TEST

/* A start would keep the later one and then set it aside too. */
START_TEST(of_twins_the_whole_one_stays)
{
	char command[1400], twin[600], *rest = rest_of_name();
	snprintf(twin, sizeof(twin), "%s/queue/05/1.1.%s", checking.f.dir, rest);
	snprintf(command, sizeof(command), "cp -p %s %s", checking.path, twin);
	ck_assert_int_eq(system(command), 0);
	mem_free(rest);
	checking_flip(checking.path, 500);
	checking_look(true);
	ck_assert_uint_eq(checking.report.kinds[CHECK_TWIN], 1);
	ck_assert_uint_eq(checking.report.kinds[CHECK_BEHIND], 1); /* the twin's name */
	ck_assert_int_eq(access(checking.path, F_OK), -1);
	checking_look(false);
	ck_assert_uint_eq(checking.report.queue.files, 1);
	ck_assert_uint_eq(checking.report.repairable, 0);
	checking_is_told(CHECK_SET_ASIDE);
}

END_TEST

/* Moved to corrupt/ by mistake, or restored from a backup: under its name, or with a number behind.
 */
START_TEST(what_is_whole_comes_back)
{
	char aside[400];
	char *before = checking_served();
	snprintf(aside, sizeof(aside), "corrupt/%s%s", checking_base_of(checking.path),
	    _i == 0 ? "" : ".12");
	checking_move(checking.path, aside);
	checking_look(false);
	ck_assert_int_eq(checking_only(CHECK_WHOLE)->action, CHECK_BRING_BACK);
	ck_assert_uint_eq(fixture_count(&checking.f, "queue"), 0);
	checking_look(true);
	ck_assert_int_eq(checking_only(CHECK_WHOLE)->result, 0);
	ck_assert_uint_eq(checking.report.queue.files, 1);
	checking_look(true);
	ck_assert_uint_eq(checking.seen_n, 0);
	char *after = checking_served();
	ck_assert_str_eq(before, after);
	mem_free(before);
	mem_free(after);
}

END_TEST

START_TEST(what_is_in_use_does_not_come_back)
{
	char command[1400];
	snprintf(command, sizeof(command), "cp -p %s %s/corrupt/", checking.path, checking.f.dir);
	ck_assert_int_eq(system(command), 0);
	ck_assert_ptr_nonnull(strstr(checking_is_told(CHECK_SET_ASIDE).text, "in use"));
	fixture_path(&checking.f, "corrupt/notes.txt", command, sizeof(command));
	fixture_write(command, "what was that", 13);
	checking_look(true);
	ck_assert_uint_eq(checking.report.kinds[CHECK_SET_ASIDE], 2);
	ck_assert_uint_eq(fixture_count(&checking.f, "corrupt"), 2);
}

END_TEST

START_TEST(modes_and_owners)
{
	struct stat st;
	char folder[400];
	ck_assert_int_eq(chmod(checking.path, 0644), 0);
	ck_assert_int_eq(checking_repairs(CHECK_MODE, CHECK_CHMOD).severity, CHECK_WARNING);
	ck_assert_int_eq(stat(checking.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(chmod(checking.path, 0400), 0);
	checking_repairs(CHECK_MODE, CHECK_CHMOD);
	fixture_path(&checking.f, "journal", folder, sizeof(folder));
	ck_assert_int_eq(chmod(folder, 0755), 0);
	ck_assert_str_eq(checking_repairs(CHECK_MODE, CHECK_CHMOD).place, "journal");
	fixture_path(&checking.f, "state/epoch", folder, sizeof(folder));
	ck_assert_int_eq(chmod(folder, 0666), 0);
	ck_assert_str_eq(checking_repairs(CHECK_MODE, CHECK_CHMOD).place, "state/epoch");
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chown(checking.path, 12345, 12345), 0);
	checking_repairs(CHECK_OWNER, CHECK_CHOWN);
	ck_assert_int_eq(stat(checking.path, &st), 0);
	ck_assert_uint_eq(st.st_uid, 0);
}

END_TEST

/* Run as root, the check leaves nothing that the daemon could not use. */
START_TEST(what_the_check_makes_is_the_owners)
{
	struct stat st;
	char command[400], file[400];
	if (geteuid() != 0)
		return;
	snprintf(command, sizeof(command),
	    "cd %s && rm -r tmp state/lock && echo x > state/epoch && chown -R 12345:12345 .",
	    checking.f.dir);
	ck_assert_int_eq(system(command), 0);
	checking_look(true);
	static const char *const made[] = { "tmp", "state/lock", "state/epoch" };
	for (size_t i = 0; i < ARRAY_LEN(made); i++) {
		fixture_path(&checking.f, made[i], file, sizeof(file));
		ck_assert_int_eq(stat(file, &st), 0);
		ck_assert_uint_eq(st.st_uid, 12345);
	}
	ck_assert_uint_eq(checking.report.kinds[CHECK_OWNER], 0);
}

END_TEST

START_TEST(strangers_are_told)
{
	static const char *const names[] = { "queue/00/README", "queue/40", "journal/0000000",
		"journal/00000063.old" };
	char file[400];
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		fixture_path(&checking.f, names[i], file, sizeof(file));
		fixture_write(file, "x", 1);
		ck_assert_str_eq(checking_is_told(CHECK_FOREIGN).place, names[i]);
		ck_assert_int_eq(unlink(file), 0);
	}
	fixture_path(&checking.f, "queue/3f/1.0.q.0mub5a0g000002k7f3xq-1.example.net", file,
	    sizeof(file));
	ck_assert_int_eq(symlink("/etc/passwd", file), 0);
	checking_is_told(CHECK_FOREIGN);
	ck_assert_int_eq(unlink(file), 0);
	fixture_path(&checking.f, "tmp/half", file, sizeof(file));
	fixture_write(file, "x", 1);
	checking_is_told(CHECK_LEFTOVERS);
	ck_assert_uint_eq(checking.report.tmp.bytes, 1);
}

END_TEST

START_TEST(missing_folders)
{
	char file[400];
	fixture_path(&checking.f, "queue/3f", file, sizeof(file));
	ck_assert_int_eq(rmdir(file), 0);
	ck_assert_str_eq(checking_repairs(CHECK_MISSING, CHECK_MAKE).place, "queue/3f");
	ck_assert_int_eq(rmdir(file), 0);
	fixture_path(&checking.f, "state/epoch", file, sizeof(file));
	ck_assert_int_eq(unlink(file), 0);
	checking_look(false);
	ck_assert_uint_eq(checking.report.kinds[CHECK_UNFINISHED], 1);
	fixture_path(&checking.f, "state/lock", file, sizeof(file));
	ck_assert_int_eq(unlink(file), 0);
	fixture_path(&checking.f, "state", file, sizeof(file));
	ck_assert_int_eq(rmdir(file), 0);
	checking_look(true);
	checking_look(true);
	ck_assert_uint_eq(checking.seen_n, 0);
}

END_TEST

/* Ids lean on the count of starts: it must not begin anew while there is mail of earlier ones. */
START_TEST(the_epoch_is_not_behind)
{
	char file[400];
	fixture_path(&checking.f, "state/epoch", file, sizeof(file));
	fixture_write(file, "0\n", 2);
	checking_look(false);
	ck_assert_int_eq(checking_only(CHECK_EPOCH)->severity, CHECK_WARNING);
	checking_look(true);
	fixture_open(&checking.f);
	struct queue_stats s;
	queue_stats(checking.f.q, &s);
	ck_assert_uint_eq(s.items, 1);
	fixture_close(&checking.f);
	checking_look(false);
	ck_assert_uint_eq(checking.seen_n, 0);
	fixture_write(file, "many\n", 5);
	checking_look(true);
	checking_only(CHECK_EPOCH);
	checking_look(true);
	ck_assert_uint_eq(checking.seen_n, 0);
}

END_TEST

/* --- a disk that fails --------------------------------------------------------------------- */

static bool is_fault(const struct checking_seen *s)
{
	return s->kind == CHECK_UNREADABLE || s->result < 0 || s->kind == CHECK_UNFINISHED;
}

/* A spool with several things wrong, aside. */
static void make_template(void)
{
	char command[600], *rest;
	rest = rest_of_name();
	rename_file("1790000000000.1.", rest);
	mem_free(rest);
	checking_append(checking.path, "torn", 4);
	snprintf(command, sizeof(command),
	    "cd %s && echo hello > queue/07/5.0.q.0mub5a0g000001k7f3xq-1.example.net && "
	    "cp -a . ../%s.template",
	    checking.f.dir, checking_base_of(checking.f.dir));
	ck_assert_int_eq(system(command), 0);
}

static void use_template(const char *command)
{
	char line[600];
	snprintf(line, sizeof(line), "rm -rf %s; %s %s.template %s", checking.f.dir, command,
	    checking.f.dir, checking.f.dir);
	ck_assert_int_eq(system(line), 0);
}

/* The check of it while the n-th call fails: what it says is true, what it does is right, and the
 * next one does the rest. Whether the fault came. */
static bool check_once(unsigned nth, bool persistent, bool repair, const char *wanted)
{
	struct qio_fault disk;
	use_template("cp -a");
	char *before = repair ? NULL : checking_fingerprint();
	qio_fault_init(&disk, qio_posix());
	qio_fault_arm(&disk, nth, persistent, false, -EIO);
	int err = checking_run(&disk.io, repair);
	if (err == 0 && disk.fired == 0)
		ck_assert_uint_eq(checking.seen_n, 4);
	for (size_t i = 0; i < checking.seen_n; i++) {
		if (checking.seen[i].kind != CHECK_TORN && checking.seen[i].kind != CHECK_BEHIND &&
		    checking.seen[i].kind != CHECK_DAMAGED && checking.seen[i].kind != CHECK_MODE &&
		    !is_fault(&checking.seen[i]))
			ck_abort_msg("call %u (%s): %s: %s", nth, disk.last, checking.seen[i].place,
			    checking.seen[i].text);
	}
	char *after = repair ? NULL : checking_fingerprint();
	if (!repair)
		ck_assert_str_eq(before, after);
	mem_free(before);
	mem_free(after);
	checking_look(true);
	checking_look(false);
	checking_only(CHECK_SET_ASIDE);
	char *now = repair && nth % 8 == 0 ? checking_served() : NULL;
	if (now != NULL)
		ck_assert_str_eq(now, wanted);
	mem_free(now);
	return disk.fired > 0;
}

START_TEST(every_call_fails)
{
	unsigned nth = 1, step = _i & 2 ? 1 : 3;
	char *wanted = checking_served();
	make_template();
	while (check_once(nth, _i & 1, _i & 2, wanted))
		ck_assert_uint_lt(nth += step, CALLS_MAX);
	ck_assert_uint_gt(nth, 100);
	use_template("mv");
	mem_free(wanted);
}

END_TEST

Suite *test_check_suite(void)
{
	Suite *s = suite_create("check");
	TCase *tc = tcase_create("check");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_is_wrong);
	tcase_add_test(tc, not_beside_a_daemon);
	tcase_add_test(tc, damaged_files_are_set_aside);
	tcase_add_test(tc, an_envelope_that_is_whole_is_told);
	tcase_add_test(tc, a_file_under_another_name);
	tcase_add_test(tc, a_torn_tail_is_cut);
	tcase_add_test(tc, a_name_that_is_behind_follows);
	tcase_add_loop_test(tc, twins, 0, 4);
	tcase_add_test(tc, of_twins_the_whole_one_stays);
	tcase_add_loop_test(tc, what_is_whole_comes_back, 0, 2);
	tcase_add_test(tc, what_is_in_use_does_not_come_back);
	tcase_add_test(tc, modes_and_owners);
	tcase_add_test(tc, what_the_check_makes_is_the_owners);
	tcase_add_test(tc, strangers_are_told);
	tcase_add_test(tc, missing_folders);
	tcase_add_test(tc, the_epoch_is_not_behind);
	suite_add_tcase(s, tc);
	tc = tcase_create("faults");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, every_call_fails, 0, 4);
	suite_add_tcase(s, tc);
	return s;
}
