/*
 * journal_replay.c - what the journal holds at start. See journal.h for what a
 * crash may leave. Nothing on disk is changed but that files without meaning
 * go away and damage is copied to corrupt/: cut short and done again, it finds
 * the same.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "queue/journal_int.h"

enum {
	WINDOW_BYTES = 256 * 1024
};

struct replay {
	struct journal *j;
	struct journal_header headers[JOURNAL_SLOTS_MAX]; /* the good ones, ascending */
	struct journal_segment *segments[JOURNAL_SLOTS_MAX];
	size_t found_n;
	size_t others;   /* names that are not ours */
	struct map msgs; /* id -> struct journal_msg, those with live parts */
	char *window;    /* on the segment being read */
	size_t window_n;
	uint64_t records, damaged;
	uint64_t last_batch; /* where that of the last good record begins */
	bool lost;           /* a segment was set aside */
};

/* --- files ---------------------------------------------------------------------- */

static void on_name(void *arg, const char *name, bool is_other)
{
	struct replay *r = arg;
	int slot = journal_slot_parse(name);
	if (is_other || slot < 0) {
		r->others++;
		return;
	}
	r->j->slots |= UINT64_C(1) << slot;
	r->j->slots_n++;
}

/* Whole, for a person to look at. */
static int set_aside(struct journal *j, unsigned slot, const char *why)
{
	char name[16];
	int err = spool_quarantine_segment(j->spool, journal_slot_name(slot, name), why);
	if (err < 0)
		return err;
	j->slots &= ~(UINT64_C(1) << slot);
	j->slots_n--;
	return 0;
}

/* By sequence; false if another has the same. */
static bool insert(struct replay *r, struct journal_segment *s, const struct journal_header *h)
{
	size_t at = r->found_n;
	while (at > 0 && r->headers[at - 1].sequence > h->sequence)
		at--;
	if (at > 0 && r->headers[at - 1].sequence == h->sequence)
		return false;
	size_t behind = r->found_n - at;
	memmove(&r->headers[at + 1], &r->headers[at], behind * sizeof(r->headers[0]));
	memmove(&r->segments[at + 1], &r->segments[at], behind * sizeof(r->segments[0]));
	r->headers[at] = *h;
	r->segments[at] = s;
	r->found_n++;
	return true;
}

static void add_free(struct journal *j, struct journal_segment *s)
{
	if (s->bytes != j->segment_bytes) {
		journal_abandon(j, s);
		return;
	}
	list_push(&j->free, &s->node);
	j->free_n++;
}

static int take_segment(struct replay *r, struct journal_segment *s)
{
	struct journal *j = r->j;
	struct journal_header h = { 0 };
	struct journal_copies copies = { 0 };
	int err = journal_header_read(j->io, s->fd, &h, &copies);
	s->bad_copy = copies.bad_copy;
	if (err == ERR_NOT_FOUND) {
		add_free(j, s);
		return 0;
	}
	const char *why = "its header is damaged";
	if (err == 0) {
		s->sequence = h.sequence;
		s->salt = h.salt;
		j->sequence = MAX(j->sequence, h.sequence);
		if (insert(r, s, &h))
			return 0;
		why = "another segment has the same number";
		err = ERR_CORRUPT;
	}
	if (err == ERR_CORRUPT) {
		err = set_aside(j, s->slot, why);
		r->lost = true;
	}
	journal_segment_unref(s);
	return err;
}

static int open_slot(struct replay *r, unsigned slot)
{
	struct journal *j = r->j;
	struct qio_stat st = { 0 };
	char name[16];
	int fd = j->io->open(j->io->arg, j->spool->journal, journal_slot_name(slot, name),
	    QIO_OPEN_WRITE);
	if (fd < 0)
		return fd;
	int err = j->io->stat(j->io->arg, fd, &st);
	if (err == 0 && !st.is_file)
		err = ERR_REFUSED;
	if (err < 0) {
		(void)j->io->close(j->io->arg, fd);
		return err;
	}
	struct journal_segment *s = journal_segment_new(j, slot, fd);
	s->bytes = st.bytes;
	return take_segment(r, s);
}

static int open_slots(struct replay *r, struct errbuf *eb)
{
	struct journal *j = r->j;
	int err = j->io->list(j->io->arg, j->spool->journal, on_name, r);
	if (err < 0)
		return errbuf_set(eb, err, "journal: can't be listed: %s", err_text(err));
	if (r->others > 0)
		log_warn("queue", "journal/ has %zu entries that are not ours: ignored", r->others);
	uint64_t slots = j->slots;
	for (unsigned i = 0; i < JOURNAL_SLOTS_MAX; i++) {
		err = (slots >> i & 1) != 0 ? open_slot(r, i) : 0;
		if (err < 0)
			return errbuf_set(eb, err, "journal/%08x: can't be opened: %s", i,
			    err_text(err));
	}
	return 0;
}

/* --- records -------------------------------------------------------------------- */

static struct slice key_of(const struct qid *id)
{
	return slice_of((const char *)id, sizeof(*id));
}

static void forget_if_over(struct replay *r, struct journal_msg *m)
{
	if (m->live > 0)
		return;
	(void)map_remove(&r->msgs, key_of(&m->id));
	mem_free(m);
}

static struct journal_part *find_part(struct replay *r, struct qid id, unsigned number)
{
	struct journal_msg *m = map_find(&r->msgs, key_of(&id));
	if (m == NULL || number == 0 || number > m->parts_n)
		return NULL;
	struct journal_part *p = &m->parts[number - 1];
	return p->place == JOURNAL_LIVE || p->place == JOURNAL_EFFECT ? p : NULL;
}

/* An end is on disk already, so it isn't noted again. */
static void apply_end(struct replay *r, struct qid id, unsigned number)
{
	struct journal_part *p = find_part(r, id, number);
	if (p == NULL)
		return; /* its message is in a segment used again since */
	struct journal_msg *m = p->msg;
	if (p->place == JOURNAL_EFFECT) {
		journal_effect_forget(r->j, m->effect);
		m->effect = NULL;
		m->refs--;
	}
	journal_part_left(r->j, p, JOURNAL_DONE);
	forget_if_over(r, m);
}

/* What it says of an item counts; if that one is over, and here, the record is its end. */
static void add_effect(struct replay *r, struct journal_msg *m, struct slice bytes)
{
	struct journal_outcome o;
	int err = journal_outcome_decode(bytes, &o);
	CHECK(err == 0);
	m->effect = journal_effect_new(m, &o);
	m->refs = 1;
	journal_effect_add(r->j, m->effect);
	if (o.over)
		apply_end(r, o.id, o.part);
}

static bool add_msg(struct replay *r, struct journal_segment *s, const struct journal_scanned *rec)
{
	struct journal_front f;
	int err = journal_front_decode(rec->front, &f);
	CHECK(err == 0);
	if (map_find(&r->msgs, key_of(&f.id)) != NULL)
		return false;
	bool is_report = rec->head.type == JOURNAL_REPORT;
	struct journal_msg *m = journal_msg_new(f.id, f.parts_n + is_report, &rec->head);
	m->segment = s;
	m->sequence = s->sequence;
	m->at = rec->at;
	m->refs = 0;
	m->in_file = f.body.in_file;
	if (is_report)
		add_effect(r, m, f.outcome);
	s->live += m->live;
	list_push(&s->msgs, &m->node);
	(void)map_put(&r->msgs, key_of(&f.id), m);
	return true;
}

static void apply_ends(struct replay *r, struct slice entries)
{
	for (; entries.n > 0; entries = slice_from(entries, JOURNAL_END_BYTES)) {
		struct qid id;
		unsigned number;
		if (journal_end_decode((const unsigned char *)entries.p, &id, &number) == 0)
			apply_end(r, id, number);
	}
}

static int on_damage(struct replay *r, struct journal_segment *s, uint64_t at, uint64_t end)
{
	char name[SPOOL_NAME_MAX];
	snprintf(name, sizeof(name), "journal.%" PRIu64 ".%" PRIu64, s->sequence, at);
	r->damaged++;
	return spool_save_corrupt(r->j->spool, s->fd, at, end - at, name,
	    "a part of the journal can't be read");
}

static int take_record(struct replay *r, struct journal_segment *s,
    const struct journal_scanned *rec)
{
	bool good = !rec->damaged && (rec->head.type == JOURNAL_ENDS || add_msg(r, s, rec));
	r->records++;
	if (!good)
		return on_damage(r, s, rec->at, rec->at + rec->bytes);
	if (rec->head.type == JOURNAL_ENDS)
		apply_ends(r, rec->front);
	r->last_batch = rec->head.batch_at;
	return 0;
}

static int read_window(struct replay *r, const struct journal_segment *s, uint64_t at, size_t n)
{
	const struct qio *io = r->j->io;
	if (n > r->window_n) {
		mem_free(r->window);
		r->window = mem_alloc(n);
		r->window_n = n;
	}
	ssize_t got = io->pread(io->arg, s->fd, r->window, n, at);
	return got >= 0 && (size_t)got < n ? -EIO : (int)MIN(got, (ssize_t)0);
}

/* A little at a time, so that the bytes are still near the processor when they are looked at. */
static int read_segment(struct replay *r, struct journal_segment *s, uint64_t limit)
{
	struct journal_scan scan = { .max = limit > 0 ? MIN(limit, s->bytes) : s->bytes,
		.limited = limit > 0,
		.sequence = s->sequence,
		.salt = s->salt,
		.at = JOURNAL_HEADER_BYTES };
	struct journal_scanned rec;
	int err = 0;
	while (err == 0) {
		if (journal_scan_next(&scan, &rec)) {
			err = take_record(r, s, &rec);
			continue;
		}
		if (scan.want == 0)
			break;
		scan.base = scan.from;
		scan.have = MIN(MAX(scan.want, scan.from + WINDOW_BYTES), scan.max);
		err = read_window(r, s, scan.base, (size_t)(scan.have - scan.base));
		scan.bytes = r->window;
	}
	s->end = scan.at;
	return err;
}

/*
 * What a killed process had not synced yet is read all the same, so it must be
 * durable before anyone acts on it. If its sync had failed, the cache still
 * shows it, and another sync would say yes and do nothing: hence the last batch
 * is written again, as it is. All before it was durable when it was written.
 */
static int make_last_durable(struct replay *r, const struct journal_segment *s)
{
	const struct qio *io = r->j->io;
	int err = 0;
	if (r->last_batch >= JOURNAL_HEADER_BYTES && r->last_batch < s->end) {
		size_t n = (size_t)(s->end - r->last_batch);
		err = read_window(r, s, r->last_batch, n);
		struct iovec iov = { r->window, n };
		if (err == 0)
			err = io->pwritev(io->arg, s->fd, &iov, 1, r->last_batch);
	}
	return err < 0 ? err : io->sync(io->arg, s->fd);
}

static int read_segments(struct replay *r, struct errbuf *eb)
{
	struct journal *j = r->j;
	uint64_t oldest = r->found_n == 0 ? 0 : r->headers[r->found_n - 1].oldest;
	int err = 0;
	for (size_t i = 0; i < r->found_n; i++) {
		struct journal_segment *s = r->segments[i];
		r->segments[i] = NULL;
		if (s->sequence < oldest) {
			add_free(j, s);
			continue;
		}
		list_push(&j->used, &s->node);
		j->used_n++;
		r->last_batch = 0;
		if (err == 0)
			err =
			    read_segment(r, s, journal_limit(r->headers, r->found_n, s->sequence));
		if (i + 1 == r->found_n && err == 0)
			err = make_last_durable(r, s);
		if (err < 0 && eb != NULL && eb->text[0] == '\0')
			(void)errbuf_set(eb, err, "journal/%08x: can't be read: %s", s->slot,
			    err_text(err));
		j->last_sequence = s->sequence;
		j->last_end = s->end;
	}
	return err;
}

/* --- queue files that were made of what looks live ---------------------------------- */

struct look {
	struct replay *r;
	unsigned dir;
	size_t hits;
};

static void on_file(void *arg, unsigned dir, const struct spool_name *name)
{
	struct look *l = arg;
	struct journal_part *p = find_part(l->r, name->id, name->part);
	if (p == NULL || p->place != JOURNAL_LIVE || journal_part_dir(p) != dir)
		return;
	l->hits++;
	p->place = JOURNAL_MOVING; /* until the directory is synced */
}

static void note_moved(struct replay *r)
{
	struct journal *j = r->j;
	list_foreach(seg, &j->used) {
		list_foreach_safe(node, &list_entry(seg, struct journal_segment, node)->msgs) {
			struct journal_msg *m = list_entry(node, struct journal_msg, node);
			for (unsigned i = 0; i < m->parts_n; i++) {
				if (m->parts[i].place == JOURNAL_MOVING)
					journal_part_over(j, &m->parts[i], JOURNAL_PARKED);
			}
			forget_if_over(r, m);
		}
	}
}

/* A rename that a killed process had not synced could still be lost: the journal forgets a part
 * only when its file is durable. */
static int look_for_files(struct replay *r, struct errbuf *eb)
{
	struct journal *j = r->j;
	uint64_t seen = 0;
	int err = 0;
	list_foreach(node, &j->used) {
		const struct journal_segment *s = list_entry(node, struct journal_segment, node);
		struct look l = { .r = r, .dir = (unsigned)(s->sequence % SPOOL_DIRS) };
		if (s->live == 0 || (seen >> l.dir & 1) != 0 || err < 0)
			continue;
		seen |= UINT64_C(1) << l.dir;
		err = spool_scan(j->spool, l.dir, on_file, &l);
		if (err == 0 && l.hits > 0)
			err = spool_sync(j->spool, l.dir);
		if (err < 0)
			(void)errbuf_set(eb, err, "queue/%02x: %s", l.dir, err_text(err));
	}
	if (err == 0)
		note_moved(r);
	return err;
}

/* --- bodies in files --------------------------------------------------------------- */

static bool is_live(void *arg, struct qid id)
{
	const struct replay *r = arg;
	const struct journal_msg *m = map_find(&r->msgs, key_of(&id));
	return m != NULL && m->in_file;
}

static int sweep_bodies(struct replay *r, struct errbuf *eb)
{
	int err = journal_body_sweep(r->j, is_live, r, r->damaged > 0 || r->lost);
	return err < 0 ? errbuf_set(eb, err, "body: can't be listed: %s", err_text(err)) : 0;
}

/* --- all ------------------------------------------------------------------------ */

int journal_replay(struct journal *j, struct errbuf *eb)
{
	struct replay *r = mem_zalloc(sizeof(*r));
	r->j = j;
	map_init(&r->msgs, prng_next(&j->prng));
	if (eb != NULL)
		eb->text[0] = '\0';
	int err = open_slots(r, eb);
	if (err == 0)
		err = read_segments(r, eb);
	if (err == 0)
		err = look_for_files(r, eb);
	if (err == 0)
		err = sweep_bodies(r, eb);
	if (err == 0) {
		err = j->io->sync_directory(j->io->arg, j->spool->journal);
		if (err < 0)
			(void)errbuf_set(eb, err, "journal: can't be synced: %s", err_text(err));
	}
	for (size_t i = 0; i < r->found_n; i++) {
		if (r->segments[i] != NULL)
			journal_segment_unref(r->segments[i]);
	}
	if (err == 0 && map_count(&r->msgs) > 0)
		log_notice("queue", "journal: %zu messages in %zu segments were on their way",
		    map_count(&r->msgs), j->used_n);
	map_fini(&r->msgs);
	mem_free(r->window);
	mem_free(r);
	return err;
}

/* Read again one by one: what is live at a start is little of what was written. */
static int give_part(struct journal *j, struct journal_part *p, const struct journal_front *f,
    int err, journal_found_fn *fn, void *arg)
{
	struct envelope_brief b;
	if (err == 0)
		err = p->number <= f->parts_n ? journal_front_brief(f, p->number, &b) : ERR_CORRUPT;
	if (err == ERR_CORRUPT || err == ERR_VERSION)
		return journal_damaged(j, p);
	if (err < 0)
		return err;
	p->msg->refs++;
	fn(arg, p, p->msg->id, &b);
	return 0;
}

static int give_msg(struct journal *j, struct journal_msg *m, journal_found_fn *fn, void *arg)
{
	struct journal_front f;
	char *bytes;
	int read = journal_read_front(j, m, &bytes, &f), err = 0;
	for (unsigned i = 0; err == 0 && i < m->parts_n; i++) {
		if (m->parts[i].place == JOURNAL_LIVE)
			err = give_part(j, &m->parts[i], &f, read, fn, arg);
	}
	mem_free(bytes);
	return err;
}

int journal_replayed(struct journal *j, journal_found_fn *fn, void *arg)
{
	list_foreach(seg, &j->used) {
		list_foreach_safe(node, &list_entry(seg, struct journal_segment, node)->msgs) {
			struct journal_msg *m = list_entry(node, struct journal_msg, node);
			int err = give_msg(j, m, fn, arg);
			if (err < 0)
				return err;
			journal_msg_drop(m);
		}
	}
	pthread_mutex_lock(&j->lock);
	journal_advance(j);
	bool ends = buf_len(&j->ends) > 0;
	pthread_mutex_unlock(&j->lock);
	/* Before anyone unlinks a file that was found, as after a move. No room for it now
	 * (-ENOSPC) is no reason not to start. */
	int err = ends ? journal_sync(j) : 0;
	if (err < 0)
		log_warn("queue", "journal: %s; tried again while running", err_text(err));
	return 0;
}
