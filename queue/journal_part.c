/*
 * journal_part.c - a part from its acceptance to its end: whose it is to move,
 * its bytes, and the note that the journal need not keep it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/journal_int.h"
#include "queue/qfile.h"

/* --- places --------------------------------------------------------------------- */

void journal_msg_drop(struct journal_msg *m)
{
	if (m->live > 0 || m->refs > 0)
		return;
	mem_free(m);
}

static enum journal_end end_of(const struct journal_part *p, enum journal_place place)
{
	if (p->place == JOURNAL_EFFECT)
		return JOURNAL_END_TOLD;
	return place == JOURNAL_PARKED ? JOURNAL_END_PARKED : JOURNAL_END_FINAL;
}

/* The end is noted before the part counts as over, so that the message's record outlives nothing
 * that says it ended. */
void journal_part_over(struct journal *j, struct journal_part *p, enum journal_place place)
{
	unsigned char end[JOURNAL_END_BYTES];
	journal_end_encode(p->msg->id, p->number, end_of(p, place), end);
	if (buf_add(&j->ends, end, sizeof(end)) <
	    0) { /* millions, and a disk that takes none: a crash brings these back */
		log_error("queue", "journal: too many ends wait for the disk; one is forgotten");
		j->bodies_stay = true;
	} else {
		j->ends_noted += sizeof(end);
	}
	if (place == JOURNAL_PARKED)
		j->parked_noted = j->ends_noted;
	journal_part_left(j, p, place);
}

void journal_part_left(struct journal *j UNUSED, struct journal_part *p, enum journal_place place)
{
	struct journal_msg *m = p->msg;
	CHECK(p->place == JOURNAL_LIVE || p->place == JOURNAL_MOVING || p->place == JOURNAL_EFFECT);
	CHECK(m->live > 0);
	CHECK(m->segment->live > 0);
	p->place = (uint8_t)place;
	m->segment->live--;
	if (--m->live > 0)
		return;
	list_remove(&m->node);
	m->segment = NULL;
	journal_body_over(j, m);
}

static void wait_while_moving(struct journal *j, const struct journal_part *p)
{
	while (p->place == JOURNAL_MOVING)
		pthread_cond_wait(&j->changed, &j->lock);
}

enum journal_place journal_end(struct journal *j, struct journal_part *p)
{
	pthread_mutex_lock(&j->lock);
	wait_while_moving(j, p);
	if (p->place == JOURNAL_LIVE)
		journal_part_over(j, p, JOURNAL_DONE);
	enum journal_place place = (enum journal_place)p->place;
	pthread_mutex_unlock(&j->lock);
	return place;
}

enum journal_place journal_take(struct journal *j, struct journal_part *p)
{
	pthread_mutex_lock(&j->lock);
	wait_while_moving(j, p);
	if (p->place == JOURNAL_LIVE)
		p->place = JOURNAL_MOVING;
	enum journal_place place = (enum journal_place)p->place;
	pthread_mutex_unlock(&j->lock);
	return place;
}

void journal_reported(struct journal *j, struct journal_part *p, bool in_record)
{
	pthread_mutex_lock(&j->lock);
	CHECK(p->place == JOURNAL_MOVING);
	if (in_record)
		journal_part_left(j, p, JOURNAL_DONE);
	else
		journal_part_over(j, p, JOURNAL_DONE);
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
}

void journal_give_back(struct journal *j, struct journal_part *p)
{
	pthread_mutex_lock(&j->lock);
	CHECK(p->place == JOURNAL_MOVING);
	p->place = JOURNAL_LIVE;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
}

void journal_parked(struct journal *j, struct journal_part *p, const struct tail *tail)
{
	pthread_mutex_lock(&j->lock);
	CHECK(p->place == JOURNAL_MOVING);
	p->tail = *tail;
	struct journal_msg *m = p->msg;
	journal_part_over(j, p, JOURNAL_PARKED);
	pthread_cond_broadcast(&j->changed);
	journal_msg_drop(m); /* its owner may have forgotten it while it moved */
	pthread_mutex_unlock(&j->lock);
}

enum journal_place journal_place(struct journal *j, const struct journal_part *p, struct tail *tail)
{
	pthread_mutex_lock(&j->lock);
	enum journal_place place = (enum journal_place)p->place;
	if (place == JOURNAL_PARKED && tail != NULL)
		*tail = p->tail;
	pthread_mutex_unlock(&j->lock);
	return place;
}

unsigned journal_part_dir(const struct journal_part *p)
{
	return (unsigned)(p->msg->sequence % SPOOL_DIRS);
}

struct qid journal_part_id(const struct journal_part *p)
{
	return p->msg->id;
}

void journal_keep(struct journal *j, struct journal_part *p)
{
	pthread_mutex_lock(&j->lock);
	p->msg->refs++;
	pthread_mutex_unlock(&j->lock);
}

void journal_release(struct journal *j, struct journal_part **p)
{
	struct journal_msg *m = (*p)->msg;
	*p = NULL;
	pthread_mutex_lock(&j->lock);
	CHECK(m->refs > 0);
	m->refs--;
	journal_msg_drop(m);
	pthread_mutex_unlock(&j->lock);
}

/* --- bytes ---------------------------------------------------------------------- */

struct place { /* of a record, while its segment is referenced */
	struct journal_segment *s;
	uint64_t at;
	size_t front_bytes, body_bytes;
};

/* A referenced segment is not used again, whatever becomes of the part. */
static int find_place(struct journal *j, const struct journal_part *p, struct place *out)
{
	pthread_mutex_lock(&j->lock);
	const struct journal_msg *m = p->msg;
	bool live = p->place == JOURNAL_LIVE || p->place == JOURNAL_MOVING;
	int err = live ? 0 : p->place == JOURNAL_DAMAGED ? ERR_CORRUPT : ERR_NOT_FOUND;
	if (live) {
		*out = (struct place){ m->segment, m->at, m->front_bytes, m->body_bytes };
		atomic_fetch_add_explicit(&m->segment->refs, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&j->lock);
	return err;
}

/* with_body: else only what comes before it is read. */
static int read_record(const struct place *w, bool with_body, char *bytes, struct journal_front *f)
{
	struct journal_head h;
	size_t n = JOURNAL_HEAD_BYTES + w->front_bytes + (with_body ? w->body_bytes : 0);
	ssize_t got = w->s->io->pread(w->s->io->arg, w->s->fd, bytes, n, w->at);
	if (got < 0)
		return (int)got;
	if ((size_t)got < n ||
	    journal_head_decode((unsigned char *)bytes, w->s->sequence, w->s->salt, &h) < 0)
		return ERR_CORRUPT;
	const char *front = bytes + JOURNAL_HEAD_BYTES;
	bool is_message = h.type == JOURNAL_MESSAGE || h.type == JOURNAL_REPORT;
	if (!is_message || h.front_bytes != w->front_bytes || h.body_bytes != w->body_bytes ||
	    codec_crc32c(0, front, h.front_bytes) != h.front_crc)
		return ERR_CORRUPT;
	int err = journal_front_decode(slice_of(front, h.front_bytes), f);
	if (err == 0 && with_body)
		err = journal_front_check_body(f, slice_of(front + h.front_bytes, h.body_bytes));
	return err;
}

int journal_read_front(struct journal *j, const struct journal_msg *m, char **bytes,
    struct journal_front *f)
{
	const struct place w = { m->segment, m->at, m->front_bytes, m->body_bytes };
	int fd = -1;
	*bytes = mem_alloc(JOURNAL_HEAD_BYTES + w.front_bytes + 1);
	int err = read_record(&w, false, *bytes, f);
	if (err == 0 && f->body.in_file)
		err = journal_body_open(j, m->id, &f->body, &fd);
	if (fd >= 0)
		(void)j->io->close(j->io->arg, fd);
	return err;
}

/* Its end may come, and the file go, while we look: then it is not missing. */
static int open_body(struct journal *j, const struct journal_part *p,
    const struct journal_body *body, struct journal_mail *out)
{
	int err = journal_body_open(j, p->msg->id, body, &out->fd);
	if (err != ERR_CORRUPT)
		return err;
	enum journal_place place = journal_place(j, p, NULL);
	return place == JOURNAL_LIVE || place == JOURNAL_MOVING ? err : ERR_NOT_FOUND;
}

int journal_read(struct journal *j, struct journal_part *p, struct journal_mail *out)
{
	struct journal_front f;
	struct place w;
	*out = (struct journal_mail){ .io = j->io, .fd = -1 };
	int err = find_place(j, p, &w);
	if (err < 0)
		return err;
	out->segment = w.s;
	size_t skip = JOURNAL_HEAD_BYTES + w.front_bytes;
	char *bytes = mem_alloc(skip + w.body_bytes + 1);
	err = read_record(&w, true, bytes, &f);
	if (err == 0 && p->number > f.parts_n)
		err = ERR_CORRUPT;
	if (err == 0)
		err = journal_front_envelope(&f, p->number, &out->envelope);
	if (err == 0 && f.body.in_file)
		err = open_body(j, p, &f.body, out);
	if (err == 0)
		out->told = journal_effects_apply(j, p->msg->id, p->number, out->envelope);
	if (err < 0) {
		mem_free(bytes);
		journal_mail_fini(out);
		return err;
	}
	out->body_bytes = f.body.bytes;
	out->body_crc = f.body.crc;
	if (f.body.in_file) {
		mem_free(bytes);
		journal_segment_unref(out->segment);
		out->segment = NULL;
		out->body_at = QFILE_RESERVE_BYTES;
		return 0;
	}
	memmove(bytes, bytes + skip, w.body_bytes);
	out->mem = mem_realloc(bytes, w.body_bytes + 1);
	out->fd = w.s->fd;
	out->body_at = w.at + skip;
	return 0;
}

void journal_mail_fini(struct journal_mail *m)
{
	envelope_free(&m->envelope);
	mem_free(m->mem);
	m->mem = NULL;
	if (m->segment != NULL)
		journal_segment_unref(m->segment);
	else if (m->fd >= 0)
		(void)m->io->close(m->io->arg, m->fd); /* only read from */
	m->segment = NULL;
	m->fd = -1;
}

/* --- damage --------------------------------------------------------------------- */

int journal_damaged(struct journal *j, struct journal_part *p)
{
	char name[SPOOL_NAME_MAX], id[QID_TEXT_MAX];
	struct place w;
	int err = find_place(j, p, &w);
	if (err < 0)
		return err == ERR_CORRUPT ? 0 : err;
	snprintf(name, sizeof(name), "%s.journal", qid_format(p->msg->id, id));
	err = spool_save_corrupt(j->spool, w.s->fd, w.at,
	    JOURNAL_HEAD_BYTES + w.front_bytes + w.body_bytes, name,
	    "a record of the journal, or its body, fails its checksum");
	journal_segment_unref(w.s);
	if (err == 0 && p->msg->in_file)
		err = journal_body_set_aside(j, p->msg->id);
	if (err < 0)
		return err;
	pthread_mutex_lock(&j->lock);
	if (p->place == JOURNAL_LIVE || p->place == JOURNAL_MOVING) {
		journal_part_over(j, p, JOURNAL_DAMAGED);
		pthread_cond_broadcast(&j->changed);
	}
	pthread_mutex_unlock(&j->lock);
	return 0;
}
