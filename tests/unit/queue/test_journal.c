/*
 * The intake journal: what a crash leaves of it, whatever byte it cuts at;
 * segments used again; mail that leaves it for queue files; many committing at
 * once; a disk that fails.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/mem.h"
#include "fault/qio_fault.h"
#include "lib/unit.h"
#include "queue/journal_record.h"
#include "unit/queue/fixture.h"

Suite *test_journal_suite(void);

#define SEGMENT_BYTES (64 * 1024)
#define SEGMENTS      4
#define MINUTE        INT64_C(60000)

static struct fixture f;
static struct qio_fault disk;

static void setup(void)
{
	fixture_init_in_memory(&f);
	qio_fault_init(&disk, qio_posix());
	f.opt.qio = &disk.io;
	f.opt.journal_segment_bytes = SEGMENT_BYTES;
	f.opt.journal_segments_max = SEGMENTS;
	fixture_open(&f);
}

static void teardown(void)
{
	fixture_fini(&f);
}

static void segment_path(unsigned slot, char path[512])
{
	char name[32];
	snprintf(name, sizeof(name), "journal/%08x", slot);
	fixture_path(&f, name, path, 512);
}

/* The first segment as it is now; the queue is then closed, and the file put back: as if it had
 * died here. */
static char *crash(size_t *n)
{
	char path[512];
	segment_path(0, path);
	char *bytes = fixture_read(path, n);
	fixture_close(&f);
	fixture_write(path, bytes, *n);
	return bytes;
}

static void finish(struct queue_item *item)
{
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0), 0);
}

/* --- what a crash leaves -------------------------------------------------------------- */

START_TEST(a_message_is_one_sync)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test", "c@z.test" };
	struct queue_item *items[3];
	fixture_commit_one(&f, "first@x.test", 1);
	uint64_t before = fixture_stats(&f).syncs;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 3, 5000, items, 3), 3);
	ck_assert_uint_eq(fixture_stats(&f).syncs - before, 1);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(fixture_settle(&f, items[i], 0, FATE_DELIVERED, 0, 0), 0);
	ck_assert_uint_eq(fixture_stats(&f).syncs - before, 1); /* ends wait */
	ck_assert_ptr_null(queue_op_sync(f.q, f.now, 1000));
	ck_assert_int_eq(fixture_sync(&f), 0);
	ck_assert_uint_eq(fixture_stats(&f).syncs - before, 2);
	size_t n;
	mem_free(crash(&n));
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
}

END_TEST

START_TEST(an_end_may_be_lost_a_message_never)
{
	size_t n;
	struct queue_item *a = fixture_commit_one(&f, "a@x.test", 3000);
	fixture_commit_one(&f, "b@x.test", 3000);
	finish(a);
	mem_free(crash(&n)); /* before the end was synced */
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	for (unsigned i = 0; i < 2; i++) {
		struct queue_item *item = fixture_take(&f);
		ck_assert_ptr_nonnull(item);
		fixture_load(&f, item);
		fixture_check_body(item->mail->body, 3000);
		ck_assert_uint_eq(item->attempts, 0);
	}
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2); /* again */
}

END_TEST

/* The last batch torn at every byte, the rest zeros or noise: what was there before stays, and it
 * comes back whole or not at all. */
START_TEST(torn_at_every_byte)
{
	char path[512], last[QUEUE_ID_MAX];
	size_t n, before_n, end = 0;
	fixture_commit_one(&f, "a@x.test", 100);
	struct queue_item *item = fixture_commit_one(&f, "b@y.test", 100);
	segment_path(0, path);
	char *before = fixture_read(path, &before_n);
	item = fixture_commit_one(&f, "c@z.test", 50);
	queue_item_id(item, last);
	char *after = crash(&n);
	size_t start = 0;
	for (size_t i = 0; i < n; i++) {
		if (before[i] == after[i])
			continue;
		start = start == 0 ? i : start;
		end = i + 1;
	}
	ck_assert_uint_gt(end, start);
	for (size_t cut = start; cut <= end; cut++) {
		memcpy(before + start, after + start, cut - start);
		if (_i == 1)
			memset(before + cut, 0xa5, MIN(n - cut, 200u));
		fixture_write(path, before, n);
		fixture_open(&f);
		if (fixture_stats(&f).items != 2u + (cut == end) ||
		    (fixture_item(&f, last) != NULL) != (cut == end) ||
		    fixture_stats(&f).corrupt != 0)
			ck_abort_msg("cut at %zu of %zu to %zu: %zu items", cut, start, end,
			    fixture_stats(&f).items);
		fixture_commit_one(&f, "new@x.test", 10); /* and life goes on */
		fixture_reopen(&f);
		ck_assert_uint_eq(fixture_stats(&f).items, 3u + (cut == end));
		fixture_close(&f);
		for (unsigned slot = 1; slot < 64; slot++) {
			char other[512];
			segment_path(slot, other);
			(void)unlink(other);
		}
		if (_i == 1)
			memset(before + cut, 0, MIN(n - cut, 200u));
	}
	mem_free(before);
	mem_free(after);
}

END_TEST

/* Damage in what later batches prove to have been durable is set aside, and all else is found. */
START_TEST(a_flipped_bit_costs_one_record)
{
	char path[512], folder[512];
	size_t n;
	for (unsigned i = 0; i < 3; i++)
		fixture_commit_one(&f, "a@x.test", 40);
	char *bytes = crash(&n);
	segment_path(0, path);
	fixture_path(&f, "corrupt", folder, sizeof(folder));
	size_t record = 0;
	for (size_t at = JOURNAL_HEADER_BYTES + 8; record == 0; at += 8)
		record = memcmp(bytes + at, "PRJ1", 4) == 0 ? at - JOURNAL_HEADER_BYTES : 0;
	for (size_t bit = 0; bit < 3 * record * 8; bit += 3) {
		size_t at = JOURNAL_HEADER_BYTES + bit / 8;
		bytes[at] = (char)(bytes[at] ^ (1 << bit % 8));
		fixture_write(path, bytes, n);
		bytes[at] = (char)(bytes[at] ^ (1 << bit % 8));
		fixture_open(&f);
		/* A flip in the padding hurts nobody; one in the last record looks as if it had
		 * been torn. */
		size_t items = fixture_stats(&f).items, corrupt = fixture_stats(&f).corrupt;
		bool in_last = bit / 8 >= 2 * record;
		if (!(items == 3 && corrupt == 0) && !(items == 2 && corrupt == (in_last ? 0 : 1)))
			ck_abort_msg("bit %zu: %zu items, %zu corrupt", bit, items, corrupt);
		fixture_reopen(&f); /* found again, saved once */
		ck_assert_uint_eq(fixture_stats(&f).items, items);
		ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
		ck_assert_uint_eq(fixture_count(&f, "corrupt"), corrupt);
		fixture_close(&f);
		char command[1100];
		snprintf(command, sizeof(command), "%s/journal.1.%zu", folder,
		    (size_t)JOURNAL_HEADER_BYTES + (bit / 8 < record ? 0 : record));
		(void)unlink(command);
	}
	mem_free(bytes);
}

END_TEST

START_TEST(headers_lost_or_strange)
{
	char path[512];
	size_t n;
	fixture_commit_one(&f, "a@x.test", 40);
	char *bytes = crash(&n);
	segment_path(0, path);
	bytes[20] ^= 1; /* one copy: the other serves */
	fixture_write(path, bytes, n);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
	fixture_close(&f);
	bytes[JOURNAL_HEADER_COPY_AT + 20] ^= 1; /* both: a person's business */
	fixture_write(path, bytes, n);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 1);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 1);
	fixture_close(&f);
	bytes[20] ^= 1;
	codec_put_u16((unsigned char *)bytes + 8, 2); /* a later version: not ours to judge */
	codec_put_u32((unsigned char *)bytes + 68, codec_crc32c(0, bytes, 68));
	fixture_write(path, bytes, n);
	struct errbuf eb;
	ck_assert_int_eq(queue_open(&f.q, &f.opt, f.now, &eb), ERR_VERSION);
	ck_assert_ptr_nonnull(strstr(eb.text, "journal/00000000"));
	mem_free(bytes);
	(void)unlink(path);
	fixture_path(&f, "journal/README", path, sizeof(path));
	fixture_write(path, "x", 1);
	fixture_path(&f, "journal/0000003e", path, sizeof(path)); /* of another size: replaced */
	fixture_write(path, "", 0);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_int_lt(access(path, F_OK), 0);
}

END_TEST

/* --- segments used again ---------------------------------------------------------------- */

/* Many times round; then the newest segment loses its records: the older use under them must not
 * show. */
START_TEST(reuse_brings_nothing_back)
{
	char path[512];
	unsigned used = 0;
	for (unsigned i = 0; i < 200; i++) {
		struct queue_item *item = fixture_commit_one(&f, "a@x.test", 5000);
		finish(item);
		if (i % 7 == 0)
			ck_assert_int_eq(fixture_sync(&f), 0);
	}
	ck_assert_uint_le(fixture_count(&f, "journal"), SEGMENTS);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	ck_assert_int_eq(fixture_sync(&f), 0);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	fixture_commit_one(&f, "last@x.test", 5000);
	fixture_close(&f);
	for (unsigned slot = 0; slot < SEGMENTS; slot++) {
		size_t n;
		segment_path(slot, path);
		if (access(path, F_OK) < 0)
			continue;
		used++;
		char *bytes = fixture_read(path, &n);
		for (size_t at = JOURNAL_HEADER_BYTES; at < n;
		     at += 512) { /* each sector in turn becomes zeros */
			char *copy = mem_dup(bytes, n);
			memset(copy + at, 0, 512);
			fixture_write(path, copy, n);
			fixture_open(&f);
			if (fixture_stats(&f).items > 1)
				ck_abort_msg("slot %u, sector at %zu: %zu items", slot, at,
				    fixture_stats(&f).items);
			fixture_close(&f);
			mem_free(copy);
			if (at > JOURNAL_HEADER_BYTES + 12000)
				break;
		}
		fixture_write(path, bytes, n);
		mem_free(bytes);
	}
	ck_assert_uint_ge(used, 2);
}

END_TEST

/* More than half in use: what is left in the oldest gets queue files; whoever works on it doesn't
 * notice. */
START_TEST(the_oldest_is_emptied)
{
	struct queue_item *items[20];
	char ids[20][QUEUE_ID_MAX];
	for (unsigned i = 0; i < 20; i++) { /* two and a half segments */
		items[i] = fixture_commit_one(&f, i % 2 == 0 ? "a@x.test" : "b@y.test", 7000);
		queue_item_id(items[i], ids[i]);
	}
	queue_park(f.q, items[1], 0);
	queue_unload(f.q, items[2]);
	struct queue_body *body = queue_body_ref(items[3]->mail->body);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 0);
	ck_assert_int_eq(fixture_sync(&f), 0);
	size_t moved = fixture_count(&f, "queue");
	ck_assert_uint_gt(moved, 4);
	ck_assert_uint_lt(moved, 12);
	ck_assert_int_eq(items[0]->state, QUEUE_ITEM_ACTIVE);
	ck_assert_ptr_null(items[0]->record);
	ck_assert_ptr_nonnull(items[19]->record);
	fixture_check_body(body, 7000);
	queue_body_unref(&body);
	finish(items[0]);
	ck_assert_int_eq(fixture_settle(&f, items[3], 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE),
	    0);
	fixture_load(&f, items[2]);
	fixture_check_body(items[2]->mail->body, 7000);
	ck_assert_uint_eq(fixture_count(&f, "queue"), moved - 1);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 19);
	ck_assert_uint_eq(fixture_item(&f, ids[3])->attempts, 1);
	ck_assert_ptr_null(fixture_item(&f, ids[0]));
	for (unsigned i = 0; i < 200; i++) /* and there is room again */
		finish(fixture_commit_one(&f, "c@z.test", 5000));
	ck_assert_uint_le(fixture_count(&f, "journal"), SEGMENTS + 4);
}

END_TEST

START_TEST(a_full_journal_leaves_mail_to_files)
{
	size_t n = 0;
	while (fixture_count(&f, "queue") == 0) {
		fixture_commit_one(&f, "a@x.test", 9000);
		ck_assert_uint_lt(n++, 40);
	}
	ck_assert_uint_gt(n, 20);
	fixture_commit_one(&f, "a@x.test", 9000);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 2);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, n + 1);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(fixture_sync(&f), 0);
	size_t files = fixture_count(&f, "queue");
	fixture_commit_one(&f, "a@x.test", 9000);
	ck_assert_uint_eq(fixture_count(&f, "queue"), files); /* into the journal again */
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, n + 2);
}

END_TEST

/* A body still read from a segment that is to be used again. It is read, not sent from there: the
 * kernel may have some to send when nobody holds it any more. */
START_TEST(a_body_outlives_its_segment)
{
	uint64_t at;
	fixture_close(&f);
	f.opt.memory_max_bytes = 1;
	fixture_open(&f);
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 7000);
	ck_assert_ptr_null(item->mail);
	fixture_load(&f, item);
	ck_assert_uint_eq(queue_body_memory(item->mail->body).n, 0);
	ck_assert_int_eq(queue_body_file(item->mail->body, &at), -1);
	struct queue_body *body = queue_body_ref(item->mail->body);
	finish(item);
	for (unsigned i = 0; i < 100; i++) {
		finish(fixture_commit_one(&f, "b@x.test", 7000));
		if (i % 10 == 0)
			ck_assert_int_eq(fixture_sync(&f), 0);
	}
	fixture_check_body(body, 7000);
	fixture_close(&f);
	fixture_check_body(body, 7000);
	queue_body_unref(&body);
}

END_TEST

/* --- leaving the journal -------------------------------------------------------------------- */

START_TEST(a_deferral_makes_a_queue_file)
{
	static const char *const rcpts[] = { "a@x.test", "b@y.test" };
	struct queue_item *items[2];
	char path[512];
	size_t n;
	ck_assert_uint_eq(fixture_commit(&f, rcpts, 2, 3000, items, 2), 2);
	ck_assert_int_eq(fixture_settle(&f, items[0], 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE),
	    0);
	ck_assert(fixture_find(&f, path, sizeof(path)));
	ck_assert_ptr_null(items[0]->record);
	mem_free(crash(&n));
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	struct queue_item *item = fixture_take(&f); /* the other */
	fixture_load(&f, item);
	ck_assert_str_eq(item->mail->envelope->rcpts[0].address, "b@y.test");
	ck_assert_ptr_null(fixture_take(&f));
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	fixture_load(&f, item);
	fixture_check_body(item->mail->body, 3000);
	ck_assert_uint_eq(item->mail->envelope->rcpts[0].attempts, 1);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
}

END_TEST

/* The note that it moved was lost: the file is found, and wins. */
START_TEST(the_queue_file_wins)
{
	char path[512];
	size_t n;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	segment_path(0, path);
	char *bytes = fixture_read(path, &n);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE), 0);
	fixture_close(&f);
	fixture_write(path, bytes, n);
	mem_free(bytes);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 1);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	ck_assert_ptr_null(fixture_take(&f));
	fixture_advance(&f, MINUTE);
	item = fixture_take(&f);
	ck_assert_uint_eq(item->attempts, 1);
	fixture_load(&f, item);
	ck_assert_int_eq(fixture_settle(&f, item, 0, FATE_BOUNCED, 2, 0), 0);
	fixture_reopen(&f); /* noted by the start, so it does not come back either */
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
}

END_TEST

START_TEST(a_hold_and_a_look)
{
	struct queue_done done;
	struct envelope *e;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	queue_park(f.q, item, 0);
	ck_assert_int_eq(queue_peek(f.q, item, &e), 0);
	ck_assert_str_eq(e->rcpts[0].address, "a@x.test");
	envelope_free(&e);
	ck_assert_int_eq(fixture_run(&f, queue_op_hold(item, true, f.now), &done), 0);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
	ck_assert_int_eq(queue_peek(f.q, item, &e), 0);
	envelope_free(&e);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).held, 1);
}

END_TEST

START_TEST(damage_on_a_load_goes_to_corrupt)
{
	struct queue_done done;
	char path[512];
	size_t n;
	struct queue_item *item = fixture_commit_one(&f, "a@x.test", 3000);
	queue_unload(f.q, item);
	segment_path(0, path);
	char *bytes = fixture_read(path, &n);
	bytes[JOURNAL_HEADER_BYTES + 1000] ^= 1;
	fixture_write(path, bytes, n);
	mem_free(bytes);
	ck_assert_int_eq(fixture_run(&f, queue_op_load(item), &done), ERR_CORRUPT);
	ck_assert_ptr_null(done.item);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 1);
	ck_assert_uint_eq(fixture_count(&f, "corrupt"), 1);
}

END_TEST

/* A spool without the folder, and one that goes back to files alone. */
START_TEST(with_and_without)
{
	char path[512];
	fixture_close(&f);
	for (unsigned slot = 0; slot < SEGMENTS; slot++) {
		segment_path(slot, path);
		(void)unlink(path);
	}
	fixture_path(&f, "journal", path, sizeof(path));
	ck_assert_int_eq(rmdir(path), 0);
	f.opt.no_journal = true;
	fixture_open(&f);
	fixture_commit_one(&f, "a@x.test", 10);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
	ck_assert_uint_eq(fixture_count(&f, "journal"), 0);
	fixture_close(&f);
	f.opt.no_journal = false;
	fixture_open(&f);
	fixture_commit_one(&f, "b@x.test", 10);
	ck_assert_uint_eq(fixture_count(&f, "queue"), 1);
	fixture_close(&f);
	f.opt.no_journal = true;
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	struct queue_item *item;
	while ((item = fixture_take(&f)) != NULL)
		finish(item);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
}

END_TEST

/* --- a disk that fails -------------------------------------------------------------------- */

enum {
	WAYS = 4
};

static void arm(unsigned nth, int way)
{
	qio_fault_arm(&disk, nth, way & 1, way & 2, way & 2 ? -ENOSPC : -EIO);
}

/* Commits over more than a segment, with ends, moves and upkeep. What was accepted is there at the
 * end; what was refused is not. */
static bool busy_once(unsigned nth, int way)
{
	char kept[40][QUEUE_ID_MAX];
	size_t kept_n = 0;
	setup();
	arm(nth, way);
	for (unsigned i = 0; i < 24; i++) {
		static const char *const rcpt = "a@x.test";
		struct queue_done done;
		struct queue_op *op = fixture_op_commit(&f, fixture_message(&f, &rcpt, 1, 7000));
		if (fixture_run(&f, op, &done) < 0)
			continue;
		struct queue_item *item = list_first(&done.items, struct queue_item, link);
		list_remove(&item->link);
		if (i % 3 == 0 && item->mail != NULL &&
		    fixture_settle(&f, item, 0, FATE_DELIVERED, 0, 0) == 0)
			continue;
		queue_item_id(item, kept[kept_n++]);
		if (i % 3 == 1 && item->mail != NULL && item->state == QUEUE_ITEM_ACTIVE)
			(void)!fixture_settle(&f, item, 0, FATE_PENDING, 1, f.now.wall_ms + MINUTE);
		if (i % 5 == 0)
			(void)!fixture_sync(&f);
	}
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	ck_assert_int_eq(fixture_sync(&f), 0);
	fixture_reopen(&f);
	if (fixture_stats(&f).items != kept_n || fixture_stats(&f).corrupt != 0)
		ck_abort_msg("call %u (%s): %zu items, %zu expected, %zu corrupt", nth, disk.last,
		    fixture_stats(&f).items, kept_n, (size_t)fixture_stats(&f).corrupt);
	for (size_t i = 0; i < kept_n; i++) {
		if (fixture_item(&f, kept[i]) == NULL)
			ck_abort_msg("call %u (%s): %s is lost", nth, disk.last, kept[i]);
	}
	queue_flush(f.q, f.now);
	struct queue_item *item;
	while ((item = fixture_take(&f)) != NULL) {
		fixture_load(&f, item);
		fixture_check_body(item->mail->body, 7000);
	}
	teardown();
	return fired;
}

START_TEST(every_call_fails)
{
	unsigned nth = 1;
	while (busy_once(nth, _i))
		ck_assert_uint_lt(nth++, 2000);
	ck_assert_uint_gt(nth, 60);
}

END_TEST

/* A replay that fails says so and changes nothing. */
static bool replay_once(unsigned nth, int way)
{
	struct queue_item *item[3];
	setup();
	for (unsigned i = 0; i < 3; i++)
		item[i] = fixture_commit_one(&f, "a@x.test", 3000);
	finish(item[0]);
	ck_assert_int_eq(fixture_settle(&f, item[1], 0, FATE_PENDING, 1, f.now.wall_ms), 0);
	fixture_close(&f);
	arm(nth, way);
	struct errbuf eb = { "" };
	int err = queue_open(&f.q, &f.opt, f.now, &eb);
	ck_assert_int_eq(err < 0, eb.text[0] != '\0');
	qio_fault_disarm(&disk);
	bool fired = disk.fired > 0;
	if (err == 0)
		fixture_close(&f);
	fixture_open(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 2);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	teardown();
	return fired;
}

/* Batch after batch fails while one message keeps the oldest segment in use: when that is gone, all
 * there are are to go, and the header that says so needs one more. */
static void commit_and_deliver(bool fails)
{
	const char *rcpt = "a@x.test";
	struct queue_done done;
	struct queue_op *op = fixture_op_commit(&f, fixture_message(&f, &rcpt, 1, 100));
	if (fails) {
		qio_fault_arm(&disk, 1, false, false, -EIO);
		disk.calls = QIO_FAULT_SYNCS;
	}
	(void)fixture_run(&f, op, &done);
	qio_fault_disarm(&disk);
	list_foreach_safe(node, &done.items) {
		list_remove(node);
		finish(list_entry(node, struct queue_item, link));
	}
}

START_TEST(all_segments_are_given_up)
{
	setup();
	struct queue_item *old = fixture_commit_one(&f, "old@old.test", 100);
	for (int i = 0; i < 20; i++)
		commit_and_deliver(i % 2 == 0);
	(void)fixture_sync(&f);
	ck_assert_int_eq(fixture_sync(&f), 0); /* what keeps them may wait for the journal itself */
	finish(old);
	for (int i = 0; i < 3; i++)
		(void)fixture_sync(&f);
	ck_assert_int_eq(fixture_sync(&f), 0);
	ck_assert_ptr_nonnull(fixture_commit_one(&f, "new@new.test", 100)->record);
	ck_assert_int_eq(fixture_sync(&f), 0);
	teardown();
}

END_TEST

START_TEST(replay_can_be_tried_again)
{
	for (unsigned nth = 1; replay_once(nth, _i); nth++)
		ck_assert_uint_lt(nth, 2000);
}

END_TEST

/* --- threads ---------------------------------------------------------------------- */

enum {
	SENDERS = 16,
	LARGE = 300000, /* a file of its own */
	EACH = 40
};

struct sender {
	pthread_t thread;
	unsigned done;
};

static pthread_mutex_t loop = PTHREAD_MUTEX_INITIALIZER;

/* As the daemon does, but for a thread each: prepare and finish under the loop's lock, run outside.
 */
static void *send_mail(void *arg)
{
	static const char *const rcpt = "a@x.test";
	struct sender *s = arg;
	for (unsigned i = 0; i < EACH; i++) {
		struct queue_done done;
		pthread_mutex_lock(&loop);
		struct queue_op *op = fixture_op_commit(&f,
		    fixture_message(&f, &rcpt, 1, i % 10 == 7 ? LARGE : 2000));
		pthread_mutex_unlock(&loop);
		queue_run(f.q, &op, 1);
		pthread_mutex_lock(&loop);
		queue_finish(f.q, &op, f.now, &done);
		struct queue_item *item = list_first(&done.items, struct queue_item, link);
		list_remove(&item->link);
		if (item->mail == NULL) {
			op = queue_op_load(item);
			pthread_mutex_unlock(&loop);
			queue_run(f.q, &op, 1);
			pthread_mutex_lock(&loop);
			queue_finish(f.q, &op, f.now, &done);
		}
		struct queue_outcome o = { .fate = i % 8 == 0 ? FATE_PENDING : FATE_DELIVERED,
			.attempts = 1,
			.due_ms = f.now.wall_ms + MINUTE,
			.status = { .text = "", .host = "", .ip = "" } };
		bool keep = i % 9 == 0;
		op = keep ? NULL : queue_op_settle(item, &o, 1, f.now);
		pthread_mutex_unlock(&loop);
		s->done += done.result == 0;
		if (keep)
			continue;
		queue_run(f.q, &op, 1);
		pthread_mutex_lock(&loop);
		queue_finish(f.q, &op, f.now, &done);
		op = i % 10 == 0 ? queue_op_sync(f.q, f.now, 0) : NULL;
		pthread_mutex_unlock(&loop);
		if (op == NULL)
			continue;
		queue_run(f.q, &op, 1);
		pthread_mutex_lock(&loop);
		queue_finish(f.q, &op, f.now, &done);
		pthread_mutex_unlock(&loop);
	}
	return NULL;
}

START_TEST(sixteen_senders)
{
	static struct sender senders[SENDERS];
	memset(senders, 0, sizeof(senders));
	for (unsigned i = 0; i < SENDERS; i++)
		ck_assert_int_eq(pthread_create(&senders[i].thread, NULL, send_mail, &senders[i]),
		    0);
	for (unsigned i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		ck_assert_uint_eq(senders[i].done, EACH);
	}
	size_t left = 0;
	for (unsigned i = 0; i < EACH; i++)
		left += i % 9 == 0 || i % 8 == 0;
	ck_assert_uint_eq(fixture_stats(&f).items, left * SENDERS);
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, left * SENDERS);
	ck_assert_uint_eq(fixture_stats(&f).corrupt, 0);
	queue_flush(f.q, f.now);
	struct queue_item *item;
	while ((item = fixture_take(&f)) != NULL) {
		fixture_load(&f, item);
		fixture_check_body(item->mail->body, item->mail->envelope->body_bytes);
		finish(item);
	}
	fixture_reopen(&f);
	ck_assert_uint_eq(fixture_stats(&f).items, 0);
	ck_assert_uint_eq(fixture_count(&f, "body"), 0);
}

END_TEST

Suite *test_journal_suite(void)
{
	Suite *s = suite_create("journal");
	TCase *tc = tcase_create("journal");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_message_is_one_sync);
	tcase_add_test(tc, an_end_may_be_lost_a_message_never);
	tcase_add_loop_test(tc, torn_at_every_byte, 0, 2);
	tcase_add_test(tc, a_flipped_bit_costs_one_record);
	tcase_add_test(tc, headers_lost_or_strange);
	tcase_add_test(tc, reuse_brings_nothing_back);
	tcase_add_test(tc, the_oldest_is_emptied);
	tcase_add_test(tc, a_full_journal_leaves_mail_to_files);
	tcase_add_test(tc, a_body_outlives_its_segment);
	tcase_add_test(tc, a_deferral_makes_a_queue_file);
	tcase_add_test(tc, the_queue_file_wins);
	tcase_add_test(tc, a_hold_and_a_look);
	tcase_add_test(tc, damage_on_a_load_goes_to_corrupt);
	tcase_add_test(tc, with_and_without);
	tcase_add_test(tc, sixteen_senders);
	suite_add_tcase(s, tc);
	tc = tcase_create("faults");
	tcase_set_timeout(tc, 240);
	tcase_add_loop_test(tc, every_call_fails, 0, WAYS);
	tcase_add_loop_test(tc, replay_can_be_tried_again, 0, WAYS);
	tcase_add_test(tc, all_segments_are_given_up);
	suite_add_tcase(s, tc);
	return s;
}
