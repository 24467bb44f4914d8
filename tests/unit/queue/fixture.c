#include "unit/queue/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define PATH_BYTES    512
#define PATTERN_BYTES (26 * 251)        /* then it begins again */
#define SEGMENT_BYTES (2 * 1024 * 1024) /* takes a record of 256 KiB */

bool fixture_no_journal;

static void init_at(struct fixture *f, const char *base)
{
	*f = (struct fixture){ .now = { .wall_ms = INT64_C(1790000000000), .mono_ms = 1000000 } };
	snprintf(f->dir, sizeof(f->dir), "%s/postrider-unit-XXXXXX", base);
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	ck_assert_int_eq(retry_parse(SLICE("1m, 5m*2, 1h*3"), &f->retry, NULL), 0);
	f->retry.lifetime_s = 5 * 24 * 3600;
	f->opt = (struct queue_options){ .directory = f->dir,
		.seed = 42,
		.retry = &f->retry,
		.space_min_bytes = 1,
		.no_journal = fixture_no_journal,
		.journal_segment_bytes = SEGMENT_BYTES,
		.journal_segments_max = 4 };
}

void fixture_init(struct fixture *f)
{
	init_at(f, "/tmp");
}

void fixture_init_in_memory(struct fixture *f)
{
	init_at(f, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static void remove_tree(const char *path)
{
	char sub[PATH_BYTES];
	DIR *d = opendir(path);
	struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (unlink(sub) < 0)
			remove_tree(sub);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

void fixture_fini(struct fixture *f)
{
	fixture_close(f);
	remove_tree(f->dir);
}

void fixture_open(struct fixture *f)
{
	struct errbuf eb;
	int err = queue_open(&f->q, &f->opt, f->now, &eb);
	ck_assert_msg(err == 0, "queue_open: %s", err < 0 ? eb.text : "");
	ck_assert_int_eq(fixture_scan(f), 0);
}

int fixture_scan(struct fixture *f)
{
	struct queue_done done;
	while (!queue_scan_is_done(f->q)) {
		struct queue_op *op = queue_op_scan(f->q);
		if (op != NULL && fixture_run(f, op, &done) < 0)
			return done.result;
		(void)queue_scan_step(f->q, f->now);
	}
	return 0;
}

void fixture_close(struct fixture *f)
{
	struct queue_item *item;
	size_t cursor = 0;
	if (f->q == NULL)
		return;
	while ((item = queue_next_item(f->q, &cursor)) != NULL)
		ck_assert_int_ne(item->state, QUEUE_ITEM_BUSY);
	queue_close(&f->q);
}

void fixture_reopen(struct fixture *f)
{
	fixture_close(f);
	fixture_open(f);
}

void fixture_advance(struct fixture *f, int64_t ms)
{
	f->now.wall_ms += ms;
	f->now.mono_ms += ms;
}

char fixture_pattern(uint64_t at)
{
	return (char)('a' + (at * 7 + at / 251) % 26);
}

/* PATTERN_BYTES of it from `at` on. */
static const char *pattern_from(uint64_t at)
{
	static char twice[2 * PATTERN_BYTES];
	for (size_t i = 0; twice[0] == '\0' && i < sizeof(twice); i++)
		twice[sizeof(twice) - 1 - i] = fixture_pattern(sizeof(twice) - 1 - i);
	return twice + at % PATTERN_BYTES;
}

struct queue_msg *fixture_message(struct fixture *f, const char *const *rcpts, size_t n,
    size_t body_bytes)
{
	struct queue_msg *m = queue_begin(f->q, f->now);
	struct envelope *e = queue_msg_envelope(m);
	e->sender = envelope_str(e, SLICE("sender@example.com"));
	for (size_t i = 0; i < n; i++)
		envelope_add_rcpt(e, slice_str(rcpts[i]), SLICE_NONE, 0);
	for (size_t at = 0; at < body_bytes;) {
		size_t take = MIN((size_t)1000, body_bytes - at);
		int err = queue_append(m, pattern_from(at), take);
		(void)err; /* sticks; the commit tells */
		at += take;
	}
	return m;
}

struct queue_op *fixture_op_commit(struct fixture *f, struct queue_msg *m)
{
	struct envelope *e = queue_msg_envelope(m);
	const char **domains = mem_alloc(e->rcpts_n * sizeof(*domains));
	for (size_t i = 0; i < e->rcpts_n; i++)
		domains[i] = strrchr(e->rcpts[i].address, '@') + 1;
	struct queue_op *op = queue_op_commit(&m, domains, f->now);
	mem_free(domains);
	ck_assert_ptr_null(m);
	return op;
}

struct queue_stats fixture_stats(const struct fixture *f)
{
	struct queue_stats s;
	queue_stats(f->q, &s);
	return s;
}

struct queue_item *fixture_item(struct fixture *f, const char *id)
{
	struct queue_item *item = NULL;
	(void)queue_find(f->q, slice_str(id), &item, 1);
	return item;
}

int fixture_sync(struct fixture *f)
{
	struct queue_done done;
	struct queue_op *op = queue_op_sync(f->q, f->now, 0);
	return op == NULL ? 0 : fixture_run(f, op, &done);
}

bool fixture_try_load(struct fixture *f, struct queue_item *item)
{
	struct queue_done done;
	return item->mail != NULL || fixture_run(f, queue_op_load(item), &done) == 0;
}

int fixture_run(struct fixture *f, struct queue_op *op, struct queue_done *done)
{
	queue_run(f->q, &op, 1);
	queue_finish(f->q, &op, f->now, done);
	ck_assert_ptr_null(op);
	return done->result;
}

size_t fixture_commit(struct fixture *f, const char *const *rcpts, size_t n, size_t body_bytes,
    struct queue_item **items, size_t max)
{
	struct queue_done done;
	size_t count = 0;
	struct queue_op *op = fixture_op_commit(f, fixture_message(f, rcpts, n, body_bytes));
	ck_assert_int_eq(fixture_run(f, op, &done), 0);
	list_foreach_safe(node, &done.items) {
		struct queue_item *item = list_entry(node, struct queue_item, link);
		list_remove(node);
		ck_assert_int_eq(item->state, QUEUE_ITEM_ACTIVE);
		ck_assert_uint_lt(count, max);
		items[count++] = item;
	}
	return count;
}

struct queue_item *fixture_commit_one(struct fixture *f, const char *rcpt, size_t body_bytes)
{
	struct queue_item *item;
	ck_assert_uint_eq(fixture_commit(f, &rcpt, 1, body_bytes, &item, 1), 1);
	return item;
}

void fixture_load(struct fixture *f, struct queue_item *item)
{
	struct queue_done done;
	if (item->mail != NULL)
		return;
	ck_assert_int_eq(fixture_run(f, queue_op_load(item), &done), 0);
	ck_assert_ptr_eq(done.item, item);
	ck_assert_ptr_nonnull(item->mail);
}

int fixture_settle(struct fixture *f, struct queue_item *item, size_t rcpt, enum fate fate,
    unsigned attempts, int64_t due_ms)
{
	struct queue_done done;
	struct queue_outcome o = {
		.rcpt = rcpt,
		.fate = fate,
		.attempts = (uint16_t)attempts,
		.due_ms = due_ms,
		.last_ms = f->now.wall_ms,
		.status = { .code = 451,
		    .enhanced = { 4, 2, 1 },
		    .text = "try later",
		    .host = "mx.test",
		    .ip = "192.0.2.1" },
	};
	return fixture_run(f, queue_op_settle(item, &o, 1, f->now), &done);
}

struct queue_item *fixture_take(struct fixture *f)
{
	return queue_take_due(f->q, f->now);
}

void fixture_check_body(struct queue_body *b, size_t bytes)
{
	char block[4096];
	uint64_t at = 0;
	ssize_t n;
	ck_assert_uint_eq(queue_body_size(b), bytes);
	while ((n = queue_body_read(b, at, block, sizeof(block))) > 0) {
		if (memcmp(block, pattern_from(at), (size_t)n) != 0)
			ck_abort_msg("body differs");
		at += (uint64_t)n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_uint_eq(at, bytes);
}

void fixture_path(const struct fixture *f, const char *sub, char *path, size_t max)
{
	ck_assert_int_lt(snprintf(path, max, "%s/%s", f->dir, sub), (int)max);
}

/* Walks queue/NN; copies the path of the last file found. */
static size_t walk_queue(const struct fixture *f, char *path, size_t max)
{
	char dir[PATH_BYTES];
	size_t n = 0;
	for (unsigned i = 0; i < 64; i++) {
		snprintf(dir, sizeof(dir), "%s/queue/%02x", f->dir, i);
		DIR *d = opendir(dir);
		struct dirent *e;
		while (d != NULL && (e = readdir(d)) != NULL) {
			if (e->d_name[0] == '.')
				continue;
			n++;
			if (path != NULL)
				snprintf(path, max, "%s/%s", dir, e->d_name);
		}
		if (d != NULL)
			closedir(d);
	}
	return n;
}

size_t fixture_count(const struct fixture *f, const char *sub)
{
	char path[PATH_BYTES];
	size_t n = 0;
	if (strcmp(sub, "queue") == 0)
		return walk_queue(f, NULL, 0);
	fixture_path(f, sub, path, sizeof(path));
	DIR *d = opendir(path);
	struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	return n;
}

bool fixture_find(const struct fixture *f, char *path, size_t max)
{
	return walk_queue(f, path, max) == 1;
}

char *fixture_read(const char *path, size_t *n)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	char *p = mem_alloc((size_t)st.st_size + 1);
	ck_assert_int_eq(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	*n = (size_t)st.st_size;
	return p;
}

void fixture_write(const char *path, const char *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
	close(fd);
}
