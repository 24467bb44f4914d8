/*
 * check_queue.c - queue files: names first, all of them, for ids that come
 * twice; then one file after the other.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/check_int.h"
#include "queue/qfile.h"

enum {
	KEYS_FIRST = 1024
};

static char *place_of(unsigned dir, const char *name, char buf[CHECK_PLACE_MAX])
{
	snprintf(buf, CHECK_PLACE_MAX, "queue/%02x/%s", dir, name);
	return buf;
}

/* --- keys ------------------------------------------------------------------------- */

static int compare_ids(struct qid a, unsigned a_part, struct qid b, unsigned b_part)
{
	if (a.arrival_ms != b.arrival_ms)
		return a.arrival_ms < b.arrival_ms ? -1 : 1;
	if (a.serial != b.serial)
		return a.serial < b.serial ? -1 : 1;
	return a_part < b_part ? -1 : a_part > b_part;
}

static int compare_keys(const void *a_p, const void *b_p)
{
	const struct check_key *a = a_p, *b = b_p;
	int by_id = compare_ids(a->id, a->part, b->id, b->part);
	return by_id != 0 ? by_id : a->dir < b->dir ? -1 : a->dir > b->dir;
}

static void on_key(struct check *c, void *arg, const char *name, bool is_other)
{
	unsigned dir = *(const unsigned *)arg;
	struct spool_name n;
	if (is_other || spool_name_parse(slice_str(name), &n) < 0)
		return;
	if (c->keys_n == c->keys_cap) {
		c->keys_cap = MAX(c->keys_cap * 2, (size_t)KEYS_FIRST);
		c->keys = mem_realloc(c->keys, c->keys_cap * sizeof(*c->keys));
	}
	c->keys[c->keys_n++] =
	    (struct check_key){ .id = n.id, .part = (uint16_t)n.part, .dir = (uint8_t)dir };
}

/* The first with that queue id. */
static size_t lower_bound(const struct check *c, struct qid id, unsigned part)
{
	size_t from = 0, to = c->keys_n;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		const struct check_key *k = &c->keys[middle];
		if (compare_ids(k->id, k->part, id, part) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

const struct check_key *check_find_key(const struct check *c, struct qid id, unsigned part)
{
	size_t at = lower_bound(c, id, part);
	if (at == c->keys_n || compare_ids(c->keys[at].id, c->keys[at].part, id, part) != 0)
		return NULL;
	return &c->keys[at];
}

bool check_has_key(const struct check *c, struct qid id, unsigned part, unsigned dir)
{
	for (size_t at = lower_bound(c, id, part); at < c->keys_n; at++) {
		const struct check_key *k = &c->keys[at];
		if (compare_ids(k->id, k->part, id, part) != 0)
			break;
		if (k->dir == dir)
			return true;
	}
	return false;
}

void check_collect_keys(struct check *c)
{
	char folder[16];
	for (unsigned dir = 0; dir < SPOOL_DIRS; dir++) {
		snprintf(folder, sizeof(folder), "queue/%02x", dir);
		check_names(c, c->spool.dirs[dir], folder, on_key, &dir);
	}
	if (c->keys_n > 0)
		qsort(c->keys, c->keys_n, sizeof(*c->keys), compare_keys);
	for (size_t i = 0; i < c->keys_n; i++) {
		struct check_key *k = &c->keys[i], *next = k + 1;
		bool first = i == 0 || k->id.arrival_ms != k[-1].id.arrival_ms ||
			     k->id.serial != k[-1].id.serial;
		c->report->queue.messages += first;
		if (i + 1 < c->keys_n && compare_ids(k->id, k->part, next->id, next->part) == 0)
			k->twin = next->twin = true;
	}
}

/* --- twins ------------------------------------------------------------------------ */

struct twin {
	struct spool_name n; /* its domain is in name */
	unsigned dir;
	bool whole;
	char *name;
};

struct twins {
	unsigned dir;
	struct twin *t;
	size_t n;
};

static bool is_whole(struct check *c, const struct twin *t)
{
	struct qfile_loaded l;
	int fd = c->io->open(c->io->arg, c->spool.dirs[t->dir], t->name, QIO_OPEN_READ);
	if (fd < 0)
		return false;
	int err = qfile_load(c->io, fd, &l);
	(void)c->io->close(c->io->arg, fd);
	if (err < 0)
		return false;
	bool fits = spool_name_fits(&t->n, l.envelope->queue_id, l.envelope->domain);
	envelope_free(&l.envelope);
	mem_free(l.mem);
	return fits;
}

static void on_twin(struct check *c, void *arg, const char *name, bool is_other)
{
	struct twins *all = arg;
	struct twin t = { .dir = all->dir };
	if (is_other || spool_name_parse(slice_str(name), &t.n) < 0)
		return;
	const struct check_key *k = check_find_key(c, t.n.id, t.n.part);
	if (k == NULL || !k->twin)
		return;
	t.name = mem_strdup(name);
	t.whole = is_whole(c, &t);
	all->t = mem_realloc(all->t, (all->n + 1) * sizeof(*all->t));
	all->t[all->n++] = t;
}

/* By id; the one that stays first: whole ones before damaged ones, then as a start decides. */
static int compare_twins(const void *a_p, const void *b_p)
{
	const struct twin *a = a_p, *b = b_p;
	int by_id = compare_ids(a->n.id, a->n.part, b->n.id, b->n.part);
	if (by_id != 0)
		return by_id;
	if (a->whole != b->whole)
		return a->whole ? -1 : 1;
	if (a->n.attempts != b->n.attempts)
		return a->n.attempts > b->n.attempts ? -1 : 1;
	if (a->n.due_ms != b->n.due_ms)
		return a->n.due_ms > b->n.due_ms ? -1 : 1;
	if (a->dir != b->dir)
		return a->dir < b->dir ? -1 : 1;
	return strcmp(a->name, b->name);
}

static void lose(struct check *c, unsigned dir, const char *name, const char *why)
{
	char place[CHECK_PLACE_MAX];
	place_of(dir, name, place);
	int err = c->repair ? spool_quarantine_twin(&c->spool, dir, name) : CHECK_NOT_TRIED;
	check_found(c, CHECK_TWIN, place, -1, CHECK_QUARANTINE, err, "%s", why);
	(void)map_put(&c->losers, slice_str(place), c);
}

static void settle_twins(struct check *c)
{
	struct twins all = { .n = 0 };
	char folder[16];
	bool any = false;
	for (size_t i = 0; !any && i < c->keys_n; i++)
		any = c->keys[i].twin;
	for (all.dir = 0; any && all.dir < SPOOL_DIRS; all.dir++) {
		snprintf(folder, sizeof(folder), "queue/%02x", all.dir);
		check_names(c, c->spool.dirs[all.dir], folder, on_twin, &all);
	}
	if (all.n > 0)
		qsort(all.t, all.n, sizeof(*all.t), compare_twins);
	for (size_t i = 0; i < all.n; i++) {
		const struct twin *t = &all.t[i];
		bool follows =
		    i > 0 && compare_ids(t->n.id, t->n.part, t[-1].n.id, t[-1].n.part) == 0;
		if (follows && !check_journal_has(c, t->n.id, t->n.part))
			lose(c, t->dir, t->name,
			    t->whole ? "another file has its queue id, and is further on"
				     : "another file has its queue id");
	}
	for (size_t i = 0; i < all.n; i++)
		mem_free(all.t[i].name);
	mem_free(all.t);
}

/* --- one file --------------------------------------------------------------------- */

struct file {
	unsigned dir;
	const char *name;
	struct spool_name n;
	char place[CHECK_PLACE_MAX];
};

static void set_aside(struct check *c, const struct file *f, enum check_kind kind, const char *text)
{
	int err = c->repair ? spool_quarantine(&c->spool, f->dir, f->name, text) : CHECK_NOT_TRIED;
	check_found(c, kind, f->place, -1, CHECK_QUARANTINE, err, "%s", text);
}

static void found_damage(struct check *c, const struct file *f, int fd, const char *why)
{
	struct envelope *e;
	char text[1024], what[512];
	if (qfile_load_envelope(c->io, fd, &e) == 0)
		snprintf(text, sizeof(text), "%s; the envelope is whole: %s", why,
		    check_describe(e, what));
	else
		snprintf(text, sizeof(text), "%s", why);
	envelope_free(&e);
	set_aside(c, f, CHECK_DAMAGED, text);
}

static int cut(struct check *c, const struct file *f, uint64_t end)
{
	int fd = c->io->open(c->io->arg, c->spool.dirs[f->dir], f->name, QIO_OPEN_WRITE);
	if (fd < 0)
		return fd;
	int err = c->io->truncate(c->io->arg, fd, end);
	if (err == 0)
		err = c->io->sync(c->io->arg, fd);
	int closed = c->io->close(c->io->arg, fd);
	return err < 0 ? err : closed;
}

/* Outcome records are what counts, so the name follows them. */
static void check_name(struct check *c, const struct file *f, const struct spool_name *n,
    const struct envelope *e)
{
	char right[SPOOL_NAME_MAX];
	unsigned highest = 0;
	if (strcmp(spool_name_format(n, right), f->name) == 0)
		return;
	for (size_t i = 0; i < e->rcpts_n; i++)
		highest = MAX(highest, (unsigned)e->rcpts[i].attempts);
	int err = c->repair ? spool_rename(&c->spool, f->dir, f->name, right) : CHECK_NOT_TRIED;
	if (f->n.attempts > highest)
		check_found(c, CHECK_LOST_OUTCOME, f->place, -1, CHECK_RENAME, err,
		    "there was an attempt %u by its name, %u by its records: an outcome is lost",
		    f->n.attempts, highest);
	else
		check_found(c, CHECK_BEHIND, f->place, -1, CHECK_RENAME, err,
		    "by its records it should be %s", right);
}

static void check_loaded(struct check *c, const struct file *f, struct qfile_loaded *l,
    uint64_t bytes)
{
	struct envelope *e = l->envelope;
	struct spool_name right = f->n;
	bool waits = envelope_pending(e) > 0;
	right.due_ms = MAX(envelope_due_ms(e), (int64_t)0);
	right.attempts = envelope_attempts(e);
	/* The name follows the file's own records; what a report says besides comes later. */
	check_apply_effects(c, f->n.id, f->n.part, e);
	size_t pending = envelope_pending(e);
	c->epoch_max = MAX(c->epoch_max, qid_epoch(f->n.id));
	c->report->queue.held += f->n.held;
	c->report->queue.recipients += pending;
	c->report->queue.bytes += l->body_bytes;
	if (l->torn) {
		int err = c->repair ? cut(c, f, l->tail.end) : CHECK_NOT_TRIED;
		check_found(c, CHECK_TORN, f->place, (int64_t)l->tail.end, CHECK_CUT, err,
		    "%" PRIu64 " bytes are no outcome record: a crash leaves such",
		    bytes - l->tail.end);
	}
	if (pending == 0 || !waits)
		check_found(c, CHECK_FINISHED, f->place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "all its recipients have a final fate; the daemon removes it");
	else
		check_name(c, f, &right, e);
}

static void check_open_file(struct check *c, const struct file *f, int fd)
{
	struct qio_stat st;
	struct qfile_loaded l;
	int err = check_file_itself(c, fd, f->place, &st);
	if (err == ERR_REFUSED) {
		check_found(c, CHECK_FOREIGN, f->place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "is no file: not served");
		return;
	}
	c->report->queue.files++;
	if (err == 0)
		err = qfile_load(c->io, fd, &l);
	if (err == 0) {
		if (spool_name_fits(&f->n, l.envelope->queue_id, l.envelope->domain))
			check_loaded(c, f, &l, st.bytes);
		else
			set_aside(c, f, CHECK_MISNAMED, "it is another file than its name says");
		envelope_free(&l.envelope);
		mem_free(l.mem);
	} else if (err == ERR_CORRUPT || err == ERR_VERSION) {
		found_damage(c, f, fd, l.why);
	} else {
		check_found(c, CHECK_UNREADABLE, f->place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "can't be read: %s", err_text(err));
	}
}

static void on_file(struct check *c, void *arg, const char *name, bool is_other)
{
	struct file f = { .dir = *(const unsigned *)arg, .name = name };
	place_of(f.dir, name, f.place);
	if (is_other || spool_name_parse(slice_str(name), &f.n) < 0) {
		check_found(c, CHECK_FOREIGN, f.place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "is not a queue file: not served");
		return;
	}
	if (map_find(&c->losers, slice_str(f.place)) != NULL)
		return;
	if (check_journal_has(c, f.n.id, f.n.part)) {
		lose(c, f.dir, name, "the journal has that queue id, and it moves elsewhere");
		return;
	}
	int fd = c->io->open(c->io->arg, c->spool.dirs[f.dir], name, QIO_OPEN_READ);
	if (fd < 0) {
		check_found(c, CHECK_UNREADABLE, f.place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "can't be opened: %s", err_text(fd));
		return;
	}
	check_open_file(c, &f, fd);
	(void)c->io->close(c->io->arg, fd);
}

void check_queue_files(struct check *c)
{
	char folder[16];
	settle_twins(c);
	for (unsigned dir = 0; dir < SPOOL_DIRS; dir++) {
		snprintf(folder, sizeof(folder), "queue/%02x", dir);
		check_names(c, c->spool.dirs[dir], folder, on_file, &dir);
	}
}
