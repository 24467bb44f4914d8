#include "unit/queue/checking.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct checking checking;

static void on_found(void *arg UNUSED, const struct check_finding *finding)
{
	ck_assert_uint_lt(checking.seen_n, CHECKING_SEEN_MAX);
	struct checking_seen *s = &checking.seen[checking.seen_n++];
	*s = (struct checking_seen){ .kind = finding->kind,
		.severity = finding->severity,
		.offset = finding->offset,
		.action = finding->action,
		.result = finding->result };
	snprintf(s->place, sizeof(s->place), "%s", finding->place);
	snprintf(s->text, sizeof(s->text), "%s", finding->text);
}

int checking_run(const struct qio *io, bool repair)
{
	struct errbuf eb = { "" };
	const struct check_options opt = { .directory = checking.f.dir,
		.qio = io,
		.repair = repair,
		.found = on_found };
	checking.seen_n = 0;
	return check_spool(&opt, &checking.report, &eb);
}

void checking_look(bool repair)
{
	ck_assert_int_eq(checking_run(NULL, repair), 0);
}

const struct checking_seen *checking_only(enum check_kind kind)
{
	for (size_t i = 0; i < checking.seen_n; i++) {
		if (checking.seen[i].kind != kind)
			ck_abort_msg("%s: %s (%s) besides %s", checking.seen[i].place,
			    checking.seen[i].text, check_kind_name(checking.seen[i].kind),
			    check_kind_name(kind));
	}
	if (checking.seen_n != 1)
		ck_abort_msg("%zu times %s", checking.seen_n, check_kind_name(kind));
	return &checking.seen[0];
}

/* What a daemon would serve, and the names of all files, as one text. */
static void list_folder(const char *folder, struct buf *out)
{
	char command[700], line[700];
	snprintf(command, sizeof(command),
	    "cd %s && find . -type f -o -type l | sort | xargs md5sum", folder);
	FILE *p = popen(command, "r");
	ck_assert_ptr_nonnull(p);
	while (fgets(line, sizeof(line), p) != NULL)
		ck_assert_int_eq(buf_add_str(out, line), 0);
	ck_assert_int_eq(pclose(p), 0);
}

char *checking_fingerprint(void)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	list_folder(checking.f.dir, &b);
	return buf_take(&b);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A daemon on a copy of the spool, asked for everything. */
char *checking_served(void)
{
	struct fixture copy = checking.f;
	struct queue_item *item;
	char command[1200], id[QUEUE_ID_MAX], *lines[CHECKING_SEEN_MAX];
	size_t n = 0, cursor = 0;
	struct buf b;
	struct queue_done done;
	snprintf(copy.dir, sizeof(copy.dir), "%.50s.copy", checking.f.dir);
	snprintf(command, sizeof(command), "rm -rf %s && cp -a %s %s", copy.dir, checking.f.dir,
	    copy.dir);
	ck_assert_int_eq(system(command), 0);
	copy.q = NULL;
	copy.opt.directory = copy.dir;
	fixture_open(&copy);
	while ((item = queue_next_item(copy.q, &cursor)) != NULL) {
		bool held = item->state == QUEUE_ITEM_HELD;
		queue_take(copy.q, item);
		if (fixture_run(&copy, queue_op_load(item), &done) < 0) {
			cursor = 0; /* it is gone, which the walk doesn't like */
			for (size_t i = 0; i < n; i++)
				mem_free(lines[i]);
			n = 0;
			fixture_reopen(&copy);
			continue;
		}
		const struct envelope *e = item->mail->envelope;
		fixture_check_body(item->mail->body, e->body_bytes);
		buf_init(&b, 4096);
		ck_assert_int_eq(buf_printf(&b, "%s %s %d %ld:", queue_item_id(item, id),
				     item->domain->name, held, (long)item->due_ms),
		    0);
		for (size_t i = 0; i < e->rcpts_n; i++)
			ck_assert_int_eq(buf_printf(&b, " %s %d %u %ld", e->rcpts[i].address,
					     e->rcpts[i].fate, e->rcpts[i].attempts,
					     (long)e->rcpts[i].due_ms),
			    0);
		ck_assert_uint_lt(n, CHECKING_SEEN_MAX);
		lines[n++] = buf_take(&b);
		queue_unload(copy.q, item);
	}
	fixture_fini(&copy);
	qsort(lines, n, sizeof(lines[0]), compare_lines);
	buf_init(&b, 1 << 20);
	ck_assert_int_eq(buf_printf(&b, "%zu items\n", n), 0);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(buf_printf(&b, "%s\n", lines[i]), 0);
		mem_free(lines[i]);
	}
	return buf_take(&b);
}

/* Finds it, changes nothing; repairs it; then finds nothing more to repair, and a daemon serves
 * what it would have served. */
struct checking_seen checking_repairs(enum check_kind kind, enum check_action action)
{
	char *disk = checking_fingerprint(), *before = checking_served();
	checking_look(false);
	struct checking_seen s = *checking_only(kind);
	ck_assert_int_eq(s.action, action);
	ck_assert_int_eq(s.result, CHECK_NOT_TRIED);
	char *disk_after = checking_fingerprint();
	ck_assert_str_eq(disk, disk_after);
	checking_look(true);
	ck_assert_int_eq(checking_only(kind)->result, 0);
	ck_assert_str_eq(checking_only(kind)->place, s.place);
	ck_assert_uint_eq(checking.report.repaired, 1);
	ck_assert_uint_eq(checking.report.repairable, 1);
	checking_look(false);
	ck_assert_uint_eq(checking.report.repairable, 0);
	ck_assert_uint_eq(checking.report.severities[CHECK_ERROR], 0);
	char *after = checking_served();
	ck_assert_str_eq(before, after);
	mem_free(disk);
	mem_free(disk_after);
	mem_free(before);
	mem_free(after);
	return s;
}

/* Nothing is done about it. */
struct checking_seen checking_is_told(enum check_kind kind)
{
	char *disk = checking_fingerprint();
	checking_look(true);
	struct checking_seen s = *checking_only(kind);
	ck_assert_int_eq(s.action, CHECK_NO_ACTION);
	char *after = checking_fingerprint();
	ck_assert_str_eq(disk, after);
	mem_free(disk);
	mem_free(after);
	return s;
}

void checking_move(const char *from, const char *to)
{
	char target[1100];
	fixture_path(&checking.f, to, target, sizeof(target));
	ck_assert_int_eq(rename(from, target), 0);
}

void checking_flip(const char *file, size_t at)
{
	size_t n;
	char *p = fixture_read(file, &n);
	ck_assert_uint_lt(at, n);
	p[at] = (char)(p[at] ^ 4);
	fixture_write(file, p, n);
	mem_free(p);
}

void checking_append(const char *file, const char *p, size_t n)
{
	FILE *out = fopen(file, "a");
	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(p, 1, n, out), n);
	ck_assert_int_eq(fclose(out), 0);
}

const char *checking_base_of(const char *file)
{
	return strrchr(file, '/') + 1;
}

/* --- after a crash ---------------------------------------------------------------------- */

static void on_note(void *arg, const struct check_finding *finding)
{
	const struct qio_mem *disk = arg;
	bool off = disk->dead && finding->kind == CHECK_UNREADABLE;
	if (finding->severity > CHECK_NOTE && !off)
		ck_abort_msg("the check finds: %s: %s", finding->place, finding->text);
}

static int check_disk(struct qio_mem *disk, bool repair, struct check_report *r)
{
	const struct check_options opt = { .directory = "spool",
		.qio = &disk->io,
		.repair = repair,
		.found = on_note,
		.arg = disk };
	return check_spool(&opt, r, NULL);
}

void checking_after_crash(struct qio_mem *disk, struct prng *luck)
{
	struct check_report r;
	int err = check_disk(disk, false, &r);
	if (err == ERR_NOT_FOUND)
		return; /* the first start did not come far */
	ck_assert_int_eq(err, 0);
	if (prng_below(luck, 2) == 0)
		return;
	disk->countdown = (unsigned)prng_below(luck, 300);
	(void)!check_disk(disk, true, &r);
	qio_mem_restart(disk);
	ck_assert_int_eq(check_disk(disk, true, &r), 0);
	ck_assert_uint_eq(r.repaired, r.repairable);
	qio_mem_restart(disk);
	ck_assert_int_eq(check_disk(disk, false, &r), 0);
	ck_assert_uint_eq(r.repairable, 0);
}
