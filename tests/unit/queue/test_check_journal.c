/*
 * The offline check of the journal, of the bodies its records name, and of
 * queue files of what it has too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/unit.h"
#include "queue/journal_record.h"
#include "unit/queue/checking.h"

Suite *test_check_journal_suite(void);

#define SEGMENT_BYTES (64 * 1024)

static char segment[512];

/* As if the daemon had died with n messages of 40 bytes in the first segment, each a batch. */
static void setup_journal(void)
{
	size_t n;
	fixture_init_in_memory(&checking.f);
	checking.f.opt.journal_segment_bytes = SEGMENT_BYTES;
	fixture_open(&checking.f);
	for (unsigned i = 0; i < 3; i++)
		fixture_commit_one(&checking.f, "a@x.test", 40);
	fixture_path(&checking.f, "journal/00000000", segment, sizeof(segment));
	char *bytes = fixture_read(segment, &n);
	fixture_close(&checking.f);
	fixture_write(segment, bytes, n);
	mem_free(bytes);
}

static size_t record_bytes(void)
{
	size_t n, at = JOURNAL_HEADER_BYTES + 8;
	char *bytes = fixture_read(segment, &n);
	while (memcmp(bytes + at, "PRJ1", 4) != 0)
		at += 8;
	mem_free(bytes);
	return at - JOURNAL_HEADER_BYTES;
}

START_TEST(mail_in_the_journal)
{
	checking_look(true);
	ck_assert_uint_eq(checking.seen_n, 0);
	ck_assert_uint_eq(checking.report.journal.messages, 3);
	ck_assert_uint_eq(checking.report.journal.recipients, 3);
}

END_TEST

START_TEST(damaged_records_are_saved)
{
	size_t n = record_bytes();
	/* the first record's head, front and body, one of them */
	const size_t at[] = { 5, 60, n - 20 };
	checking_flip(segment, JOURNAL_HEADER_BYTES + at[_i]);
	struct checking_seen s = checking_repairs(CHECK_RECORD, CHECK_COPY);
	ck_assert_int_eq(s.offset, JOURNAL_HEADER_BYTES);
	if (_i == 2)
		ck_assert_ptr_nonnull(strstr(s.text, "<a@x.test>"));
	ck_assert_uint_eq(fixture_count(&checking.f, "corrupt"), 1);
	checking_look(true);
	ck_assert_uint_eq(checking.report.kinds[CHECK_RECORD_KNOWN], 1);
	ck_assert_uint_eq(checking.report.kinds[CHECK_SET_ASIDE], 1);
	ck_assert_uint_eq(checking.report.journal.messages, 2);
	ck_assert_uint_eq(checking.seen_n, 2);
	for (size_t i = 0; _i != 1 && i < checking.seen_n; i++) {
		if (checking.seen[i].kind == CHECK_SET_ASIDE)
			ck_assert_ptr_nonnull(strstr(checking.seen[i].text, "<a@x.test>"));
	}
}

END_TEST

/* The last record, cut short: nobody was told that it was accepted. */
START_TEST(a_torn_batch)
{
	size_t n = record_bytes();
	checking_flip(segment, JOURNAL_HEADER_BYTES + 3 * n - 20);
	struct checking_seen s = checking_is_told(CHECK_TORN_BATCH);
	ck_assert_int_eq(s.severity, CHECK_NOTE);
	ck_assert_int_eq(s.offset, (int64_t)(JOURNAL_HEADER_BYTES + 2 * n));
	ck_assert_uint_eq(checking.report.journal.messages, 2);
}

END_TEST

/* What had ended may be damaged: nobody needs it. */
START_TEST(damage_to_what_has_ended)
{
	struct queue_item *item;
	size_t n;
	fixture_open(&checking.f);
	char *before = fixture_read(segment, &n);
	while ((item = fixture_take(&checking.f)) != NULL) {
		if (memcmp(item->id, before + JOURNAL_HEADER_BYTES + JOURNAL_HEAD_BYTES,
			sizeof(item->id)) != 0)
			continue; /* not of the first record */
		fixture_load(&checking.f, item);
		ck_assert_int_eq(fixture_settle(&checking.f, item, 0, FATE_DELIVERED, 0, 0), 0);
	}
	mem_free(before);
	fixture_commit_one(&checking.f, "b@y.test", 40);
	fixture_path(&checking.f, "journal/00000001", segment, sizeof(segment));
	char *bytes = fixture_read(segment, &n);
	char first[512];
	fixture_path(&checking.f, "journal/00000000", first, sizeof(first));
	size_t first_n;
	char *first_bytes = fixture_read(first, &first_n);
	fixture_close(&checking.f);
	fixture_write(segment, bytes, n);
	fixture_write(first, first_bytes, first_n);
	mem_free(bytes);
	mem_free(first_bytes);
	memcpy(segment, first, sizeof(first));
	checking_flip(segment, JOURNAL_HEADER_BYTES + record_bytes() - 20);
	ck_assert_int_eq(checking_is_told(CHECK_RECORD_KNOWN).severity, CHECK_NOTE);
}

END_TEST

START_TEST(headers)
{
	checking_flip(segment, 20);
	ck_assert_int_eq(checking_is_told(CHECK_HEADER_COPY).severity, CHECK_NOTE);
	ck_assert_uint_eq(checking.report.journal.messages, 3);
	checking_flip(segment, JOURNAL_HEADER_COPY_AT + 20);
	ck_assert_str_eq(checking_repairs(CHECK_SEGMENT, CHECK_QUARANTINE).place,
	    "journal/00000000");
	checking_is_told(CHECK_SET_ASIDE);
}

END_TEST

START_TEST(segments)
{
	char command[1400];
	snprintf(command, sizeof(command), "cp -p %s %s/journal/0000000a", segment, checking.f.dir);
	ck_assert_int_eq(system(command), 0);
	checking_look(false);
	checking_only(CHECK_SEGMENT);
	checking_look(true);
	checking_is_told(CHECK_SET_ASIDE);
	ck_assert_uint_eq(checking.report.journal.messages, 3);
	ck_assert_int_eq(truncate(segment, 8192), 0);
	checking_look(false);
	ck_assert_uint_eq(checking.report.kinds[CHECK_SIZE], 1);
}

END_TEST

/* A part whose queue file is where it would have moved to has moved; a file elsewhere is a twin. */
START_TEST(files_of_what_is_in_the_journal)
{
	struct queue_item *item;
	char to[64], file[700];
	size_t n;
	fixture_fini(&checking.f);
	setup_journal();
	char *bytes = fixture_read(segment, &n);
	char *before = checking_served();
	fixture_open(&checking.f);
	item = fixture_take(&checking.f);
	fixture_load(&checking.f, item);
	ck_assert_int_eq(fixture_settle(&checking.f, item, 0, FATE_PENDING, 1,
			     checking.f.now.wall_ms + 5),
	    0);
	fixture_close(&checking.f);
	ck_assert(fixture_find(&checking.f, checking.path, sizeof(checking.path)));
	fixture_write(segment, bytes, n); /* its end is lost */
	snprintf(file, sizeof(file), "rm -f %s/journal/00000001", checking.f.dir);
	ck_assert_int_eq(system(file), 0);
	mem_free(bytes);
	checking_is_told(CHECK_MOVED);
	ck_assert_uint_eq(checking.report.journal.messages, 2);
	ck_assert_uint_eq(checking.report.queue.files, 1);
	snprintf(to, sizeof(to), "queue/2a/%.40s", "");
	snprintf(file, sizeof(file), "%s%s", to, checking_base_of(checking.path));
	checking_move(checking.path, file);
	checking_repairs(CHECK_TWIN, CHECK_QUARANTINE);
	ck_assert_uint_eq(checking.report.journal.messages, 3);
	char *after = checking_served();
	ck_assert_str_eq(before, after);
	mem_free(before);
	mem_free(after);
}

END_TEST

/* --- bodies ------------------------------------------------------------------------------ */

#define LARGE 300000

/* A large message for two domains, in the journal; checking.path is its body's. */
static void setup_body(void)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test" };
	struct queue_item *items[2];
	char id[QUEUE_ID_MAX], name[64];
	fixture_init_in_memory(&checking.f);
	checking.f.opt.journal_segment_bytes = SEGMENT_BYTES;
	fixture_open(&checking.f);
	ck_assert_uint_eq(fixture_commit(&checking.f, rcpts, 2, LARGE, items, 2), 2);
	snprintf(name, sizeof(name), "body/%s", queue_item_message_id(items[0], id));
	fixture_path(&checking.f, name, checking.path, sizeof(checking.path));
	fixture_close(&checking.f);
	ck_assert_int_eq(access(checking.path, F_OK), 0);
}

START_TEST(large_mail_in_the_journal)
{
	checking_look(true);
	ck_assert_uint_eq(checking.seen_n, 0);
	ck_assert_uint_eq(checking.report.journal.parts, 2);
	ck_assert_uint_eq(checking.report.body.files, 1);
	ck_assert_uint_eq(checking.report.body.bytes, 4096 + LARGE);
}

END_TEST

/* Missing, cut short, a bit flipped: the record goes to corrupt/, and what there is of the body. */
START_TEST(damaged_bodies)
{
	if (_i == 0)
		ck_assert_int_eq(unlink(checking.path), 0);
	else if (_i == 1)
		ck_assert_int_eq(truncate(checking.path, LARGE), 0);
	else
		checking_flip(checking.path, LARGE);
	struct checking_seen s = checking_repairs(CHECK_RECORD, CHECK_COPY);
	ck_assert_ptr_nonnull(strstr(s.text, "<a@x.test>"));
	ck_assert_uint_eq(fixture_count(&checking.f, "corrupt"), _i == 0 ? 1 : 2);
	ck_assert_uint_eq(fixture_count(&checking.f, "body"), 0);
	checking_look(true);
	ck_assert_uint_eq(checking.report.kinds[CHECK_SET_ASIDE], _i == 0 ? 1 : 2);
	ck_assert_uint_eq(checking.report.kinds[CHECK_RECORD_KNOWN], 1);
}

END_TEST

/* What nobody names goes at the next start; but not when a record was lost, which may have. */
START_TEST(bodies_without_a_record)
{
	char file[512], lost[512];
	size_t n;
	fixture_path(&checking.f, "body/0mub5a0g000001k7f3xq", lost, sizeof(lost));
	fixture_write(lost, "left behind", 11);
	ck_assert_int_eq(checking_is_told(CHECK_ORPHAN).severity, CHECK_NOTE);
	fixture_path(&checking.f, "body/README", file, sizeof(file));
	fixture_write(file, "not ours", 8);
	checking_look(false);
	ck_assert_uint_eq(checking.report.kinds[CHECK_FOREIGN], 1);
	ck_assert_int_eq(unlink(file), 0);
	fixture_path(&checking.f, "journal/00000000", file, sizeof(file));
	char *bytes = fixture_read(file, &n);
	memset(bytes, 'x', JOURNAL_HEADER_BYTES);
	fixture_write(file, bytes, n);
	mem_free(bytes);
	checking_look(true);
	ck_assert_uint_eq(checking.report.kinds[CHECK_SEGMENT], 1);
	ck_assert_uint_eq(checking.report.kinds[CHECK_LOST_RECORD], 2);
	ck_assert_uint_eq(fixture_count(&checking.f, "body"), 0);
	ck_assert_uint_eq(fixture_count(&checking.f, "corrupt"), 3);
	checking_look(false);
	ck_assert_uint_eq(checking.report.repairable, 0);
}

END_TEST

static void teardown(void)
{
	fixture_fini(&checking.f);
}

Suite *test_check_journal_suite(void)
{
	Suite *s = suite_create("check_journal");
	TCase *tc = tcase_create("journal");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_journal, teardown);
	tcase_add_test(tc, mail_in_the_journal);
	tcase_add_loop_test(tc, damaged_records_are_saved, 0, 3);
	tcase_add_test(tc, a_torn_batch);
	tcase_add_test(tc, damage_to_what_has_ended);
	tcase_add_test(tc, headers);
	tcase_add_test(tc, segments);
	tcase_add_test(tc, files_of_what_is_in_the_journal);
	suite_add_tcase(s, tc);
	tc = tcase_create("body");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup_body, teardown);
	tcase_add_test(tc, large_mail_in_the_journal);
	tcase_add_loop_test(tc, damaged_bodies, 0, 3);
	tcase_add_test(tc, bodies_without_a_record);
	suite_add_tcase(s, tc);
	return s;
}
