/*
 * check_journal.c - the intake journal, by the rules of replay (journal_scan.h),
 * but nothing is served: what is damaged, what of it matters, and which
 * messages still need the journal.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "queue/check_int.h"
#include "queue/journal_scan.h"
#include "queue/tail.h"

struct segment {
	struct journal_header h;
	char name[16];
	int fd;
	uint64_t bytes; /* of the file */
};

struct check_msg { /* some of whose parts need the journal */
	struct check_msg *next;
	struct qid id;
	const struct segment *s;
	uint64_t at;
	uint32_t front_bytes, body_bytes;
	uint32_t parts_n, live;
	bool damaged; /* its body */
	bool in_file; /* its body */
	/* Of a REPORT, whose last part is the outcome: */
	bool is_report;
	struct check_msg *next_effect; /* about the same item */
	char *entries;
	size_t entries_n;
	bool over[]; /* of parts_n */
};

struct damage { /* told when all ends are known */
	struct damage *next;
	const struct segment *s;
	uint64_t at, bytes;
	bool known; /* its front can be read: */
	struct qid id;
	bool again; /* and was there before */
};

struct scan {
	struct check *c;
	uint64_t slots;                             /* a bit for each file */
	struct segment segments[JOURNAL_SLOTS_MAX]; /* with good headers, ascending */
	struct journal_header headers[JOURNAL_SLOTS_MAX];
	size_t n;
	char *bytes;
	struct check_msg **last;
	struct damage *damages, **last_damage;
};

static char *place_of(const char *name, char buf[CHECK_PLACE_MAX])
{
	snprintf(buf, CHECK_PLACE_MAX, "journal/%s", name);
	return buf;
}

static void unreadable(struct check *c, const char *name, int err)
{
	char place[CHECK_PLACE_MAX];
	check_found(c, CHECK_UNREADABLE, place_of(name, place), -1, CHECK_NO_ACTION,
	    CHECK_NOT_TRIED, "can't be read: %s", err_text(err));
}

/* --- segments ---------------------------------------------------------------------- */

static void set_aside(struct check *c, const char *name, const char *why)
{
	char place[CHECK_PLACE_MAX];
	int err = c->repair ? spool_quarantine_segment(&c->spool, name, why) : CHECK_NOT_TRIED;
	check_found(c, CHECK_SEGMENT, place_of(name, place), 0, CHECK_QUARANTINE, err, "%s", why);
	c->journal_damaged = true;
}

/* False if it is not kept open. */
static bool take_segment(struct scan *w, struct segment *s)
{
	struct check *c = w->c;
	struct journal_copies copies = { 0 };
	char place[CHECK_PLACE_MAX];
	int err = journal_header_read(c->io, s->fd, &s->h, &copies);
	place_of(s->name, place);
	if (err == ERR_NOT_FOUND) {
		c->report->journal.free++;
		return false;
	}
	if (err == ERR_CORRUPT) {
		set_aside(c, s->name, "both copies of its header are damaged");
		return false;
	}
	if (err == ERR_VERSION) {
		check_found(c, CHECK_VERSION, place, 0, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "was written by another version: the daemon does not start with it");
		return false;
	}
	if (err < 0) {
		unreadable(c, s->name, err);
		return false;
	}
	for (size_t i = 0; i < w->n; i++) {
		if (w->segments[i].h.sequence == s->h.sequence) {
			set_aside(c, s->name, "another segment has the same number");
			return false;
		}
	}
	if (copies.one_only)
		check_found(c, CHECK_HEADER_COPY, place, 0, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "only one of the two copies of its header counts");
	if (s->bytes < s->h.bytes)
		check_found(c, CHECK_SIZE, place, (int64_t)s->bytes, CHECK_NO_ACTION,
		    CHECK_NOT_TRIED,
		    "is cut short: it had %" PRIu64 " bytes; what was behind is lost", s->h.bytes);
	return true;
}

static void on_name(struct check *c, void *arg, const char *name, bool is_other)
{
	struct scan *w = arg;
	char place[CHECK_PLACE_MAX];
	int slot = journal_slot_parse(name);
	if (!is_other && slot >= 0)
		w->slots |= UINT64_C(1) << slot;
	else
		check_found(c, CHECK_FOREIGN, place_of(name, place), -1, CHECK_NO_ACTION,
		    CHECK_NOT_TRIED, "is not ours");
}

static void open_segment(struct scan *w, unsigned slot)
{
	struct check *c = w->c;
	struct segment s = { .fd = -1 };
	struct qio_stat st;
	char place[CHECK_PLACE_MAX];
	place_of(journal_slot_name(slot, s.name), place);
	c->report->journal.segments++;
	s.fd = c->io->open(c->io->arg, c->spool.journal, s.name, QIO_OPEN_READ);
	int err = s.fd < 0 ? s.fd : check_file_itself(c, s.fd, place, &st);
	if (err < 0) {
		unreadable(c, s.name, err);
	} else {
		s.bytes = st.bytes;
		c->report->journal.bytes += st.bytes;
	}
	if (err == 0 && take_segment(w, &s))
		w->segments[w->n++] = s;
	else if (s.fd >= 0)
		(void)c->io->close(c->io->arg, s.fd);
}

static int compare_segments(const void *a_p, const void *b_p)
{
	const struct segment *a = a_p, *b = b_p;
	return a->h.sequence < b->h.sequence ? -1 : a->h.sequence > b->h.sequence;
}

/* --- records ------------------------------------------------------------------------- */

static struct slice key_of(const struct qid *id)
{
	return slice_of((const char *)id, sizeof(*id));
}

struct effect_key {
	uint64_t id[2], part;
};

static struct effect_key effect_key(struct qid id, unsigned part)
{
	return (struct effect_key){ { id.arrival_ms, id.serial }, part };
}

static void end_part(struct check *c, struct qid id, unsigned part)
{
	struct check_msg *m = map_find(&c->in_journal, key_of(&id));
	if (m == NULL || part == 0 || part > m->parts_n || m->over[part - 1])
		return;
	m->over[part - 1] = true;
	m->live--;
}

/* What a report says of an item counts until its outcome has an end; if that item is over, and in
 * the journal, the record is its end. */
static void add_effect(struct check *c, struct check_msg *m, struct slice bytes)
{
	struct journal_outcome o;
	int err = journal_outcome_decode(bytes, &o);
	CHECK(err == 0);
	m->is_report = true;
	m->entries_n = o.entries.n;
	m->entries = mem_alloc(o.entries.n + 1);
	if (o.entries.n > 0)
		memcpy(m->entries, o.entries.p, o.entries.n);
	struct effect_key k = effect_key(o.id, o.part);
	struct slice key = slice_of((const char *)&k, sizeof(k));
	struct check_msg *at = map_find(&c->effects, key);
	if (at == NULL)
		(void)map_put(&c->effects, key, m);
	while (at != NULL && at->next_effect != NULL)
		at = at->next_effect;
	if (at != NULL)
		at->next_effect = m;
	if (o.over)
		end_part(c, o.id, o.part);
}

void check_apply_effects(const struct check *c, struct qid id, unsigned part, struct envelope *e)
{
	struct effect_key k = effect_key(id, part);
	const struct check_msg *m = map_find(&c->effects, slice_of((const char *)&k, sizeof(k)));
	for (; m != NULL; m = m->next_effect) {
		if (!m->over[m->parts_n - 1])
			tail_apply_entries(slice_of(m->entries, m->entries_n), e);
	}
}

static uint32_t destinations(const struct check_msg *m)
{
	return m->parts_n - m->is_report;
}

/* False if the id was there before. */
static bool add_msg(struct scan *w, const struct segment *s, const struct journal_scanned *r,
    const struct journal_front *f, bool damaged)
{
	struct check *c = w->c;
	if (map_find(&c->in_journal, key_of(&f->id)) != NULL)
		return false;
	bool is_report = r->head.type == JOURNAL_REPORT && !damaged;
	uint32_t parts_n = f->parts_n + is_report;
	struct check_msg *m = mem_zalloc(sizeof(*m) + parts_n * sizeof(m->over[0]));
	m->id = f->id;
	m->s = s;
	m->at = r->at;
	m->front_bytes = (uint32_t)r->front.n;
	m->body_bytes = (uint32_t)r->body.n;
	m->parts_n = m->live = parts_n;
	m->damaged = damaged;
	m->in_file = f->body.in_file;
	if (is_report)
		add_effect(c, m, f->outcome);
	*w->last = m;
	w->last = &m->next;
	(void)map_put(&c->in_journal, key_of(&f->id), m);
	c->epoch_max = MAX(c->epoch_max, qid_epoch(f->id));
	return true;
}

static void apply_ends(struct check *c, struct slice entries)
{
	for (; entries.n > 0; entries = slice_from(entries, JOURNAL_END_BYTES)) {
		struct qid id;
		unsigned part;
		if (journal_end_decode((const unsigned char *)entries.p, &id, &part) == 0)
			end_part(c, id, part);
	}
}

static void add_damage(struct scan *w, const struct segment *s, const struct journal_scanned *r,
    const struct journal_front *f, bool again)
{
	struct damage *d = mem_zalloc(sizeof(*d));
	d->s = s;
	d->at = r->at;
	d->bytes = r->bytes;
	d->known = f != NULL;
	if (d->known)
		d->id = f->id;
	d->again = again;
	*w->last_damage = d;
	w->last_damage = &d->next;
}

/* What is damaged may still say which message it was: then the ends tell whether that matters. */
static void on_damage(struct scan *w, const struct segment *s, const struct journal_scan *scan,
    struct journal_scanned *r)
{
	struct journal_front f;
	bool known = journal_scan_front(scan, r, &f);
	if (known && !add_msg(w, s, r, &f, true))
		known = false;
	add_damage(w, s, r, known ? &f : NULL, false);
}

static void on_message(struct scan *w, const struct segment *s, const struct journal_scanned *r)
{
	struct journal_front f;
	int err = journal_front_decode(r->front, &f);
	CHECK(err == 0);
	if (!add_msg(w, s, r, &f, false))
		add_damage(w, s, r, NULL, true);
}

static void read_segment(struct scan *w, const struct segment *s, uint64_t limit)
{
	struct check *c = w->c;
	uint64_t max = MIN(limit > 0 ? limit : s->h.bytes, s->bytes);
	char place[CHECK_PLACE_MAX];
	w->bytes = mem_realloc(w->bytes, (size_t)max + 1);
	ssize_t got = c->io->pread(c->io->arg, s->fd, w->bytes, (size_t)max, 0);
	if (got < 0) {
		unreadable(c, s->name, (int)got);
		return;
	}
	struct journal_scan scan = { .bytes = w->bytes,
		.have = (uint64_t)got,
		.max = (uint64_t)got,
		.limited = limit > 0,
		.sequence = s->h.sequence,
		.salt = s->h.salt,
		.at = JOURNAL_HEADER_BYTES };
	struct journal_scanned r;
	while (journal_scan_next(&scan, &r)) {
		if (r.damaged)
			on_damage(w, s, &scan, &r);
		else if (r.head.type == JOURNAL_ENDS)
			apply_ends(c, r.front);
		else
			on_message(w, s, &r);
	}
	if (r.torn)
		check_found(c, CHECK_TORN_BATCH, place_of(s->name, place), (int64_t)r.at,
		    CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "a record is cut short: a crash leaves such; its message was not accepted");
}

static void read_segments(struct scan *w)
{
	struct check *c = w->c;
	uint64_t oldest = w->n == 0 ? 0 : w->segments[w->n - 1].h.oldest;
	for (size_t i = 0; i < w->n; i++)
		w->headers[i] = w->segments[i].h;
	for (size_t i = 0; i < w->n; i++) {
		const struct segment *s = &w->segments[i];
		if (s->h.sequence < oldest)
			c->report->journal.free++;
		else
			read_segment(w, s, journal_limit(w->headers, w->n, s->h.sequence));
	}
}

/* --- what is there ---------------------------------------------------------------------- */

/* The queue file is right, when there is one where the part would have moved to. */
static void note_moved(struct check *c)
{
	size_t moved = 0;
	for (struct check_msg *m = c->msgs; m != NULL; m = m->next) {
		for (unsigned part = 1; part <= destinations(m); part++) {
			if (m->over[part - 1] || !check_has_key(c, m->id, part,
						     (unsigned)(m->s->h.sequence % SPOOL_DIRS)))
				continue;
			end_part(c, m->id, part);
			moved++;
		}
	}
	if (moved > 0)
		check_found(c, CHECK_MOVED, "journal", -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "%zu destinations have a queue file too, which counts: a crash leaves such",
		    moved);
}

static bool is_saved(struct check *c, const char *name)
{
	int fd = c->spool.corrupt < 0
		     ? -1
		     : c->io->open(c->io->arg, c->spool.corrupt, name, QIO_OPEN_READ);
	if (fd >= 0)
		(void)c->io->close(c->io->arg, fd);
	return fd >= 0;
}

/* Once it is in corrupt/, it is known. */
static void save(struct check *c, const struct segment *s, uint64_t at, uint64_t bytes,
    const char *name, const char *why)
{
	char place[CHECK_PLACE_MAX];
	place_of(s->name, place);
	if (is_saved(c, name)) {
		check_found(c, CHECK_RECORD_KNOWN, place, (int64_t)at, CHECK_NO_ACTION,
		    CHECK_NOT_TRIED, "%s; saved before as corrupt/%s", why, name);
		return;
	}
	int err = CHECK_NOT_TRIED;
	if (c->repair) {
		err = spool_save_corrupt(&c->spool, s->fd, at, bytes, name, why);
		check_own(c, c->spool.corrupt, name);
	}
	check_found(c, CHECK_RECORD, place, (int64_t)at, CHECK_COPY, err,
	    "%s; %" PRIu64 " bytes, for corrupt/%s", why, bytes, name);
}

/* Heap; NULL with *err_r set. */
static char *read_front(struct check *c, const struct check_msg *m, struct journal_front *f,
    int *err_r)
{
	char *front = mem_alloc((size_t)m->front_bytes + 1);
	ssize_t n =
	    c->io->pread(c->io->arg, m->s->fd, front, m->front_bytes, m->at + JOURNAL_HEAD_BYTES);
	*err_r = n < 0 ? (int)n : journal_front_decode(slice_of(front, (size_t)n), f);
	if (*err_r == 0)
		return front;
	mem_free(front);
	return NULL;
}

static void tell_damage(struct check *c, const struct damage *d)
{
	char name[SPOOL_NAME_MAX], why[1024], what[512], place[CHECK_PLACE_MAX];
	struct check_msg *m = d->known ? map_find(&c->in_journal, key_of(&d->id)) : NULL;
	struct journal_front f;
	struct envelope *e = NULL;
	int err = 0;
	if (m != NULL && m->live == 0) {
		check_found(c, CHECK_RECORD_KNOWN, place_of(d->s->name, place), (int64_t)d->at,
		    CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "a record is damaged, of a message that had ended");
		return;
	}
	snprintf(name, sizeof(name), "journal.%" PRIu64 ".%" PRIu64, d->s->h.sequence, d->at);
	snprintf(why, sizeof(why), "%s",
	    d->again ? "a record has the id of another message" : "a part of it can't be read");
	char *front = m == NULL ? NULL : read_front(c, m, &f, &err);
	if (front != NULL && journal_front_envelope(&f, 1, &e) == 0)
		snprintf(why, sizeof(why),
		    "a body fails its checksum; the envelope is whole: %s, for %" PRIu32
		    " of %" PRIu32 " destinations",
		    check_describe(e, what), m->live, destinations(m));
	envelope_free(&e);
	mem_free(front);
	save(c, d->s, d->at, d->bytes, name, why);
}

static void tell_damages(struct scan *w)
{
	struct damage *next;
	for (struct damage *d = w->damages; d != NULL; d = next) {
		next = d->next;
		tell_damage(w->c, d);
		mem_free(d);
	}
}

static bool count_part(struct check *c, const struct check_msg *m, const struct journal_front *f,
    unsigned part)
{
	struct envelope *e;
	int err = journal_front_envelope(f, part, &e);
	if (err == 0 && e->body_bytes != f->body.bytes)
		err = ERR_CORRUPT;
	if (err == 0) {
		check_apply_effects(c, m->id, part, e);
		c->report->journal.parts++;
		c->report->journal.recipients += envelope_pending(e);
	}
	envelope_free(&e);
	return err == 0;
}

/* Its record, and the file of its body if it has one. */
static void lose_msg(struct check *c, const struct check_msg *m, const char *why)
{
	char name[SPOOL_NAME_MAX], id[QID_TEXT_MAX];
	snprintf(name, sizeof(name), "%s.journal", qid_format(m->id, id));
	save(c, m->s, m->at, JOURNAL_HEAD_BYTES + (uint64_t)m->front_bytes + m->body_bytes, name,
	    why);
	int err = c->repair && m->in_file ? check_set_body_aside(c, m->id) : 0;
	if (err < 0)
		unreadable(c, m->s->name, err);
}

static void check_msg(struct check *c, const struct check_msg *m)
{
	struct journal_front f;
	char why[1024], what[512];
	struct envelope *e = NULL;
	bool good = true;
	uint32_t parts = 0;
	int err;
	char *front = read_front(c, m, &f, &err);
	if (front == NULL) {
		unreadable(c, m->s->name, err);
		return;
	}
	for (unsigned part = 1; part <= destinations(m); part++) {
		if (m->over[part - 1])
			continue;
		good = count_part(c, m, &f, part) && good;
		parts++;
	}
	c->report->journal.messages += parts > 0;
	err = parts > 0 && f.body.in_file ? check_body(c, m->id, &f.body) : 0;
	if (!good) {
		lose_msg(c, m, "a record has an envelope that can't be");
	} else if (err == ERR_CORRUPT) {
		bool known = journal_front_envelope(&f, 1, &e) == 0;
		snprintf(why, sizeof(why), "the body of a record is missing or damaged%s%s",
		    known ? "; the envelope is whole: " : "", known ? check_describe(e, what) : "");
		envelope_free(&e);
		lose_msg(c, m, why);
	} else if (err < 0) {
		unreadable(c, m->s->name, err);
	}
	mem_free(front);
}

bool check_needs_body(const struct check *c, struct qid id)
{
	const struct check_msg *m = map_find(&c->in_journal, key_of(&id));
	return m != NULL && m->in_file && m->live > 0;
}

bool check_journal_has(const struct check *c, struct qid id, unsigned part)
{
	const struct check_msg *m = map_find(&c->in_journal, key_of(&id));
	return m != NULL && !m->damaged && part > 0 && part <= destinations(m) &&
	       !m->over[part - 1];
}

void check_journal(struct check *c)
{
	struct scan *w = mem_zalloc(sizeof(*w));
	w->c = c;
	w->last = &c->msgs;
	w->last_damage = &w->damages;
	check_names(c, c->spool.journal, "journal", on_name, w);
	for (unsigned slot = 0; slot < JOURNAL_SLOTS_MAX; slot++) {
		if ((w->slots >> slot & 1) != 0)
			open_segment(w, slot);
	}
	if (w->n > 0)
		qsort(w->segments, w->n, sizeof(w->segments[0]), compare_segments);
	read_segments(w);
	note_moved(c);
	c->journal_damaged = c->journal_damaged || w->damages != NULL;
	tell_damages(w);
	for (const struct check_msg *m = c->msgs; m != NULL; m = m->next) {
		if (m->live > 0 && !m->damaged)
			check_msg(c, m);
	}
	check_bodies(c);
	for (size_t i = 0; i < w->n; i++)
		(void)c->io->close(c->io->arg, w->segments[i].fd);
	mem_free(w->bytes);
	mem_free(w);
}

void check_journal_fini(struct check *c)
{
	struct check_msg *next;
	for (struct check_msg *m = c->msgs; m != NULL; m = next) {
		next = m->next;
		mem_free(m->entries);
		mem_free(m);
	}
	c->msgs = NULL;
}
