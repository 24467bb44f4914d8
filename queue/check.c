/*
 * check.c - the order of the offline check, its findings, and all of the spool
 * but mail: folders, modes, owners, tmp/, state/.
 */
#include "queue/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/check_int.h"

enum {
	FILE_MODE = 0600,
	DIRECTORY_MODE = 0700,
	MODE_BITS = 0777,
	TEXT_MAX = 1024,
	FIXED_FOLDERS = 7,
};

static const struct {
	const char *name;
	enum check_severity severity;
} kinds[CHECK_KINDS] = {
	[CHECK_MISSING] = { "missing", CHECK_WARNING },
	[CHECK_UNFINISHED] = { "unfinished", CHECK_NOTE },
	[CHECK_MODE] = { "mode", CHECK_WARNING },
	[CHECK_OWNER] = { "owner", CHECK_WARNING },
	[CHECK_FOREIGN] = { "foreign", CHECK_WARNING },
	[CHECK_UNREADABLE] = { "unreadable", CHECK_ERROR },
	[CHECK_EPOCH] = { "epoch", CHECK_WARNING },
	[CHECK_LEFTOVERS] = { "leftovers", CHECK_NOTE },
	[CHECK_DAMAGED] = { "damaged", CHECK_ERROR },
	[CHECK_MISNAMED] = { "misnamed", CHECK_ERROR },
	[CHECK_TWIN] = { "twin", CHECK_ERROR },
	[CHECK_TORN] = { "torn", CHECK_NOTE },
	[CHECK_BEHIND] = { "behind", CHECK_NOTE },
	[CHECK_LOST_OUTCOME] = { "lost-outcome", CHECK_ERROR },
	[CHECK_FINISHED] = { "finished", CHECK_NOTE },
	[CHECK_SEGMENT] = { "segment", CHECK_ERROR },
	[CHECK_VERSION] = { "version", CHECK_ERROR },
	[CHECK_SIZE] = { "size", CHECK_ERROR },
	[CHECK_HEADER_COPY] = { "header-copy", CHECK_NOTE },
	[CHECK_RECORD] = { "record", CHECK_ERROR },
	[CHECK_RECORD_KNOWN] = { "record-known", CHECK_NOTE },
	[CHECK_TORN_BATCH] = { "torn-batch", CHECK_NOTE },
	[CHECK_MOVED] = { "moved", CHECK_NOTE },
	[CHECK_ORPHAN] = { "orphan", CHECK_NOTE },
	[CHECK_LOST_RECORD] = { "lost-record", CHECK_ERROR },
	[CHECK_WHOLE] = { "whole", CHECK_WARNING },
	[CHECK_SET_ASIDE] = { "set-aside", CHECK_WARNING },
};

static const struct {
	const char *done, *infinitive;
} actions[CHECK_ACTIONS] = {
	[CHECK_MAKE] = { "made", "make it" },
	[CHECK_CHMOD] = { "made private", "make it private" },
	[CHECK_CHOWN] = { "given to the owner of the spool", "give it to the owner of the spool" },
	[CHECK_WRITE] = { "written anew", "write it anew" },
	[CHECK_QUARANTINE] = { "moved to corrupt/", "move it to corrupt/" },
	[CHECK_COPY] = { "copied to corrupt/", "copy it to corrupt/" },
	[CHECK_CUT] = { "cut off", "cut that off" },
	[CHECK_RENAME] = { "renamed", "rename it" },
	[CHECK_BRING_BACK] = { "brought back to queue/", "bring it back to queue/" },
};

const char *check_severity_name(enum check_severity s)
{
	static const char *const names[] = { "none", "note", "warning", "error" };
	CHECK((size_t)s < ARRAY_LEN(names));
	return names[s];
}

const char *check_kind_name(enum check_kind k)
{
	CHECK(k > CHECK_NO_KIND);
	CHECK(k < CHECK_KINDS);
	return kinds[k].name;
}

const char *check_action_text(enum check_action a, bool done)
{
	CHECK(a > CHECK_NO_ACTION);
	CHECK(a < CHECK_ACTIONS);
	return done ? actions[a].done : actions[a].infinitive;
}

void check_found(struct check *c, enum check_kind kind, const char *place, int64_t offset,
    enum check_action action, int result, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	const struct check_finding f = {
		.kind = kind,
		.severity = kinds[kind].severity,
		.place = place,
		.offset = offset,
		.text = text,
		.action = action,
		.result = result,
	};
	c->report->kinds[kind]++;
	c->report->severities[f.severity]++;
	c->report->repairable += action != CHECK_NO_ACTION;
	c->report->repaired += action != CHECK_NO_ACTION && result == 0;
	c->opt->found(c->opt->arg, &f);
}

/* --- small things ----------------------------------------------------------------- */

static void check_access(struct check *c, int fd, const char *place, const struct qio_stat *st,
    unsigned mode)
{
	if ((st->mode & MODE_BITS) != mode) {
		int err = c->repair ? c->io->chmod(c->io->arg, fd, mode) : CHECK_NOT_TRIED;
		check_found(c, CHECK_MODE, place, -1, CHECK_CHMOD, err, "has mode %03o, not %03o",
		    st->mode, mode);
	}
	if (st->uid != c->uid) {
		int err =
		    c->repair ? c->io->chown(c->io->arg, fd, c->uid, c->gid) : CHECK_NOT_TRIED;
		check_found(c, CHECK_OWNER, place, -1, CHECK_CHOWN, err,
		    "belongs to user %" PRIu32 ", the spool to %" PRIu32, st->uid, c->uid);
	}
}

int check_file_itself(struct check *c, int fd, const char *place, struct qio_stat *st)
{
	*st = (struct qio_stat){ 0 };
	int err = c->io->stat(c->io->arg, fd, st);
	if (err < 0)
		return err;
	if (!st->is_file)
		return ERR_REFUSED;
	check_access(c, fd, place, st, FILE_MODE);
	return 0;
}

void check_own(struct check *c, int dirfd, const char *name)
{
	struct qio_stat st;
	int fd = c->io->open(c->io->arg, dirfd, name, QIO_OPEN_READ);
	if (fd < 0)
		return;
	if (c->io->stat(c->io->arg, fd, &st) == 0 && st.uid != c->uid)
		(void)!c->io->chown(c->io->arg, fd, c->uid, c->gid);
	(void)c->io->close(c->io->arg, fd);
}

struct listing {
	struct buf text; /* each name with its NUL, behind a byte: is it other? */
	int err;
};

static void on_name(void *arg, const char *name, bool is_other)
{
	struct listing *l = arg;
	int err = buf_add_char(&l->text, is_other ? 'o' : 'f');
	if (err == 0)
		err = buf_add(&l->text, name, strlen(name) + 1);
	l->err = l->err < 0 ? l->err : err;
}

void check_names(struct check *c, int fd, const char *folder, check_name_fn *fn, void *arg)
{
	struct listing l = { .err = 0 };
	if (fd < 0)
		return;
	buf_init(&l.text, CHECK_NAMES_BYTES_MAX);
	int err = c->io->list(c->io->arg, fd, on_name, &l);
	err = err < 0 ? err : l.err;
	if (err < 0)
		check_found(c, CHECK_UNREADABLE, folder, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "can't be listed: %s", err_text(err));
	while (buf_len(&l.text) > 0) {
		const char *p = buf_ptr(&l.text);
		fn(c, arg, p + 1, p[0] == 'o');
		buf_consume(&l.text, strlen(p) + 1);
	}
	buf_fini(&l.text);
}

char *check_describe(const struct envelope *e, char buf[512])
{
	snprintf(buf, 512, "%s from <%.120s> for %zu recipient%s (<%.120s>%s)", e->queue_id,
	    e->sender, e->rcpts_n, e->rcpts_n == 1 ? "" : "s", e->rcpts[0].address,
	    e->rcpts_n == 1 ? "" : " ...");
	return buf;
}

/* --- folders ------------------------------------------------------------------------ */

struct folder {
	int fd;
	char place[16];
};

#define FOLDERS (FIXED_FOLDERS + SPOOL_DIRS)

static void list_folders(const struct spool *s, struct folder f[FOLDERS])
{
	f[0] = (struct folder){ s->root, "." };
	f[1] = (struct folder){ s->state, "state" };
	f[2] = (struct folder){ s->queue, "queue" };
	f[3] = (struct folder){ s->journal, "journal" };
	f[4] = (struct folder){ s->tmp, "tmp" };
	f[5] = (struct folder){ s->corrupt, "corrupt" };
	f[6] = (struct folder){ s->body, "body" };
	for (unsigned i = 0; i < SPOOL_DIRS; i++) {
		f[FIXED_FOLDERS + i].fd = s->dirs[i];
		snprintf(f[FIXED_FOLDERS + i].place, sizeof(f[FIXED_FOLDERS + i].place),
		    "queue/%02x", i);
	}
}

static bool has_epoch(struct check *c)
{
	int fd = c->spool.state < 0
		     ? -1
		     : c->io->open(c->io->arg, c->spool.state, "epoch", QIO_OPEN_READ);
	if (fd >= 0)
		(void)c->io->close(c->io->arg, fd);
	return fd >= 0;
}

/* Whoever runs the check may be root: what it makes belongs to the daemon. */
static int make_folders(struct check *c, struct errbuf *eb)
{
	struct folder f[FOLDERS];
	struct qio_stat st;
	int err = spool_complete(&c->spool, eb);
	list_folders(&c->spool, f);
	for (size_t i = 0; err == 0 && i < FOLDERS; i++) {
		err = c->io->stat(c->io->arg, f[i].fd, &st);
		if (err == 0 && st.uid != c->uid)
			err = c->io->chown(c->io->arg, f[i].fd, c->uid, c->gid);
		if (err < 0)
			return errbuf_set(eb, err, "%s: %s", f[i].place, err_text(err));
	}
	return err;
}

static int check_folders(struct check *c, struct errbuf *eb)
{
	struct folder f[FOLDERS];
	struct qio_stat st;
	size_t missing = 0;
	list_folders(&c->spool, f);
	for (size_t i = 0; i < FOLDERS; i++) {
		missing += f[i].fd < 0;
		if (f[i].fd >= 0 && c->io->stat(c->io->arg, f[i].fd, &st) == 0)
			check_access(c, f[i].fd, f[i].place, &st, DIRECTORY_MODE);
	}
	int err = c->repair && missing > 0 ? make_folders(c, eb) : 0;
	for (size_t i = 0; err == 0 && i < FOLDERS; i++) {
		if (f[i].fd < 0)
			check_found(c, has_epoch(c) ? CHECK_MISSING : CHECK_UNFINISHED, f[i].place,
			    -1, CHECK_MAKE, c->repair ? 0 : CHECK_NOT_TRIED, "is missing");
	}
	return err;
}

static void on_entry_of_queue(struct check *c, void *arg UNUSED, const char *name,
    bool is_other UNUSED)
{
	char place[CHECK_PLACE_MAX], right[8];
	for (unsigned i = 0; i < SPOOL_DIRS; i++) {
		snprintf(right, sizeof(right), "%02x", i);
		if (strcmp(name, right) == 0)
			return;
	}
	snprintf(place, sizeof(place), "queue/%s", name);
	check_found(c, CHECK_FOREIGN, place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
	    "is not ours: nothing in it is served");
}

/* --- tmp ------------------------------------------------------------------------------ */

static void on_leftover(struct check *c, void *arg UNUSED, const char *name, bool is_other)
{
	struct qio_stat st;
	int fd = is_other ? -1 : c->io->open(c->io->arg, c->spool.tmp, name, QIO_OPEN_READ);
	c->report->tmp.files++;
	if (fd < 0)
		return;
	if (c->io->stat(c->io->arg, fd, &st) == 0)
		c->report->tmp.bytes += st.bytes;
	(void)c->io->close(c->io->arg, fd);
}

static void check_tmp(struct check *c)
{
	check_names(c, c->spool.tmp, "tmp", on_leftover, NULL);
	if (c->report->tmp.files > 0)
		check_found(c, CHECK_LEFTOVERS, "tmp", -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "%" PRIu64 " files that were being written; nobody was told that they were "
		    "accepted, and the next start removes them",
		    c->report->tmp.files);
}

/* --- state ------------------------------------------------------------------------------ */

static void on_entry_of_state(struct check *c, void *arg UNUSED, const char *name, bool is_other)
{
	struct qio_stat st;
	char place[CHECK_PLACE_MAX];
	snprintf(place, sizeof(place), "state/%s", name);
	int fd = is_other ? -1 : c->io->open(c->io->arg, c->spool.state, name, QIO_OPEN_READ);
	if (fd < 0)
		return;
	(void)!check_file_itself(c, fd, place, &st);
	(void)c->io->close(c->io->arg, fd);
}

/* So that ids don't lean on the clock alone, no start should have the number of an earlier one
 * whose mail is still there. */
static void check_epoch(struct check *c)
{
	uint64_t epoch = 0;
	if (c->spool.state < 0)
		return;
	int err = spool_read_epoch(&c->spool, &epoch);
	if (err < 0 && err != ERR_CORRUPT) {
		check_found(c, CHECK_UNREADABLE, "state/epoch", -1, CHECK_NO_ACTION,
		    CHECK_NOT_TRIED, "can't be read: %s", err_text(err));
		return;
	}
	bool behind = epoch < c->epoch_max && epoch <= QID_EPOCH_MAX;
	if (err == 0 && !behind)
		return;
	int done = c->repair ? spool_write_epoch(&c->spool, c->epoch_max) : CHECK_NOT_TRIED;
	if (c->repair)
		check_own(c, c->spool.state, "epoch");
	if (err < 0)
		check_found(c, CHECK_EPOCH, "state/epoch", -1, CHECK_WRITE, done,
		    "is not a number");
	else
		check_found(c, CHECK_EPOCH, "state/epoch", -1, CHECK_WRITE, done,
		    "counts %" PRIu64 " starts, but there is mail of start %" PRIu32, epoch,
		    c->epoch_max);
}

/* --- all ---------------------------------------------------------------------------------- */

static int look(struct check *c, struct errbuf *eb)
{
	struct qio_stat st;
	int err = c->io->stat(c->io->arg, c->spool.root, &st);
	if (err < 0)
		return errbuf_set(eb, err, "%s", err_text(err));
	c->uid = st.uid;
	c->gid = st.gid;
	if (c->spool.state >= 0)
		check_own(c, c->spool.state, "lock"); /* perhaps made by us */
	err = check_folders(c, eb);
	if (err < 0)
		return err;
	check_names(c, c->spool.queue, "queue", on_entry_of_queue, NULL);
	check_tmp(c);
	check_collect_keys(c);
	check_list_corrupt(c);
	check_journal(c);
	check_corrupt(c);
	check_queue_files(c);
	check_epoch(c);
	check_names(c, c->spool.state, "state", on_entry_of_state, NULL);
	err = c->repair ? spool_sync_dirty(&c->spool) : 0;
	return err < 0 ? errbuf_set(eb, err, "what was repaired can't be synced: %s", err_text(err))
		       : 0;
}

int check_spool(const struct check_options *opt, struct check_report *report, struct errbuf *eb)
{
	struct check *c = mem_zalloc(sizeof(*c));
	c->opt = opt;
	c->report = report;
	c->io = opt->qio != NULL ? opt->qio : qio_posix();
	c->repair = opt->repair;
	*report = (struct check_report){ 0 };
	buf_init(&c->aside, CHECK_NAMES_BYTES_MAX);
	map_init(&c->losers, 0);
	map_init(&c->in_journal, 0);
	map_init(&c->effects, 0);
	int err = spool_open_to_check(&c->spool, opt->directory, c->io, eb);
	if (err == 0) {
		err = look(c, eb);
		check_journal_fini(c);
		spool_close(&c->spool);
	}
	buf_fini(&c->aside);
	map_fini(&c->losers);
	map_fini(&c->in_journal);
	map_fini(&c->effects);
	mem_free(c->keys);
	mem_free(c);
	return err;
}
