/*
 * journal_body.c - bodies too long for a record, each in a file of its own:
 *
 *     SPOOL/body/ID    QFILE_RESERVE_BYTES that mean nothing, then the body
 *
 * States of such a file, and what moves it:
 *
 *     B1  in tmp/, while the message arrives          queue_msg.c
 *     B2  in tmp/, data synced                        body_begin (batch_body.c)
 *     B3  in body/, name not synced                   journal_body_publish
 *     B4  in body/, name synced; no record yet        journal_body_sync
 *     B5  as B4, and a record names it                journal_commit
 *     B6  its message is over, the ends not durable   journal_body_over
 *     B7  unlinked                                    journal_body_remove
 *
 *     B1 -> B2 -> B3 -> B4 -> B5 -> B6 -> B7
 *     B1, B2 -> gone when the message is refused; B3, B4 -> B7 then
 *     B4 -> B2 when the journal turns out to be full (journal_body_take_back)
 *
 * It goes only when no crash can bring the record back: the ends of all its
 * parts are durable; or, of a record that may be on disk though its sync
 * failed, the next header says that it doesn't count. A crash leaves in B3,
 * B4, B6 and B7 a file that no live record names: the next start removes it;
 * but if it found damage in the journal, into corrupt/ with it, for the record
 * that named it may be among what was lost.
 */
#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/journal_int.h"
#include "queue/qfile.h"

enum {
	SET_ASIDE_MAX = 1000
};

struct over { /* a file to be removed */
	struct list_node node;
	struct qid id;
	uint64_t ends; /* once so many bytes of ends are durable */
	bool seal;     /* once no failed batch is without its header */
};

/* --- on the way in -------------------------------------------------------------- */

int journal_body_publish(struct journal *j, struct qid id)
{
	char name[QID_TEXT_MAX];
	qid_format(id, name);
	return j->io->rename(j->io->arg, j->spool->tmp, name, j->spool->body, name);
}

int journal_body_sync(struct journal *j)
{
	atomic_fetch_add_explicit(&j->spool->syncs, 1, memory_order_relaxed);
	return j->io->sync_directory(j->io->arg, j->spool->body);
}

int journal_body_take_back(struct journal *j, struct qid id)
{
	char name[QID_TEXT_MAX];
	qid_format(id, name);
	return j->io->rename(j->io->arg, j->spool->body, name, j->spool->tmp, name);
}

/* --- to be removed ---------------------------------------------------------------- */

/* Locked. */
static void push_over(struct journal *j, struct qid id, uint64_t ends, bool seal)
{
	struct over *o = mem_zalloc(sizeof(*o));
	o->id = id;
	o->ends = ends;
	o->seal = seal;
	list_push(&j->over, &o->node);
}

void journal_body_over(struct journal *j, const struct journal_msg *m)
{
	if (m->in_file && !j->bodies_stay)
		push_over(j, m->id, j->ends_noted, false);
}

void journal_body_refused(struct journal *j, struct qid id, bool written)
{
	pthread_mutex_lock(&j->lock);
	push_over(j, id, 0, written);
	pthread_mutex_unlock(&j->lock);
	if (!written)
		journal_body_remove(j);
}

static bool may_go(const struct journal *j, const struct over *o)
{
	bool ended = o->ends == 0 || (o->ends <= j->ends_durable && !j->bodies_stay);
	return ended && !(o->seal && j->seal);
}

bool journal_body_is_over(const struct journal *j)
{
	return !list_is_empty(&j->over);
}

static bool remove_file(struct journal *j, const struct over *o)
{
	char name[QID_TEXT_MAX];
	int err = j->io->unlink(j->io->arg, j->spool->body, qid_format(o->id, name));
	if (err == 0 || err == -ENOENT)
		return true;
	log_warn("queue", "body/%s can't be removed, will try again: %s", name, err_text(err));
	return false;
}

/* Those that may go are taken out first, so that nothing is unlinked under the lock. */
void journal_body_remove(struct journal *j)
{
	struct list_node mine;
	list_init(&mine);
	pthread_mutex_lock(&j->lock);
	list_foreach_safe(node, &j->over) {
		if (!may_go(j, list_entry(node, struct over, node)))
			continue;
		list_remove(node);
		list_push(&mine, node);
	}
	pthread_mutex_unlock(&j->lock);
	list_foreach_safe(node, &mine) {
		struct over *o = list_entry(node, struct over, node);
		if (!remove_file(j, o))
			break; /* the next would hardly fare better */
		list_remove(node);
		mem_free(o);
	}
	pthread_mutex_lock(&j->lock);
	list_splice(&j->over, &mine);
	pthread_mutex_unlock(&j->lock);
}

void journal_body_drop_list(struct journal *j)
{
	list_foreach_safe(node, &j->over) {
		list_remove(node);
		mem_free(list_entry(node, struct over, node));
	}
}

/* --- reading ------------------------------------------------------------------------ */

/* What is no file, or is too short, is as good as not there. */
static int check_file(struct journal *j, int fd, const struct journal_body *body)
{
	struct qio_stat st;
	int err = j->io->stat(j->io->arg, fd, &st);
	if (err < 0)
		return err;
	bool can_be = st.is_file && st.bytes >= QFILE_RESERVE_BYTES &&
		      st.bytes - QFILE_RESERVE_BYTES >= body->bytes;
	return can_be ? 0 : ERR_CORRUPT;
}

int journal_body_open(struct journal *j, struct qid id, const struct journal_body *body, int *fd_r)
{
	char name[QID_TEXT_MAX];
	int fd = j->io->open(j->io->arg, j->spool->body, qid_format(id, name), QIO_OPEN_READ);
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO)
		return ERR_CORRUPT;
	if (fd < 0)
		return fd;
	int err = check_file(j, fd, body);
	if (err < 0)
		(void)j->io->close(j->io->arg, fd);
	else
		*fd_r = fd;
	return err;
}

/* --- damage and leftovers ------------------------------------------------------------- */

int journal_body_set_aside(struct journal *j, struct qid id)
{
	char name[QID_TEXT_MAX], to[QID_TEXT_MAX + 16];
	int err = -EEXIST;
	qid_format(id, name);
	for (unsigned i = 0; err == -EEXIST && i < SET_ASIDE_MAX; i++) {
		snprintf(to, sizeof(to), i == 0 ? "%s.body" : "%s.body.%u", name, i);
		err = j->io->rename(j->io->arg, j->spool->body, name, j->spool->corrupt, to);
	}
	if (err == -ENOENT)
		return 0;
	if (err < 0)
		return err;
	atomic_store(&j->spool->corrupt_dirty, true);
	log_error("queue", "body/%s: moved to corrupt/%s", name, to);
	return 0;
}

struct sweep {
	struct journal *j;
	journal_is_live_fn *is_live;
	void *arg;
	bool damaged;
};

/* Of a message that has moved to queue files: its ends are to be durable first. */
static bool is_over(const struct journal *j, struct qid id)
{
	list_foreach(node, &j->over) {
		const struct over *o = list_entry(node, struct over, node);
		if (o->id.arrival_ms == id.arrival_ms && o->id.serial == id.serial)
			return true;
	}
	return false;
}

static void on_body(void *arg, struct qid id)
{
	struct sweep *s = arg;
	if (s->is_live(s->arg, id) || is_over(s->j, id))
		return;
	if (!s->damaged) {
		push_over(s->j, id, 0, false);
		return;
	}
	int err = journal_body_set_aside(s->j, id);
	if (err < 0)
		log_error("queue", "body/: a file without a record can't be moved to corrupt/: %s",
		    err_text(err));
	else
		spool_count_corrupt(s->j->spool);
}

int journal_body_sweep(struct journal *j, journal_is_live_fn *is_live, void *arg, bool damaged)
{
	struct sweep s = { j, is_live, arg, damaged };
	int err = spool_scan_bodies(j->spool, on_body, &s);
	if (err == 0)
		journal_body_remove(j);
	return err;
}
