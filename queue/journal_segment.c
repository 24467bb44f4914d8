/*
 * journal_segment.c - the files of the journal: made, begun, freed.
 */
#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/journal_int.h"

enum {
	ZEROS_BYTES = 1024 * 1024
};

struct journal_segment *journal_segment_new(struct journal *j, unsigned slot, int fd)
{
	struct journal_segment *s = mem_zalloc(sizeof(*s));
	list_init(&s->node);
	list_init(&s->msgs);
	atomic_init(&s->refs, 1);
	s->io = j->io;
	s->slot = slot;
	s->fd = fd;
	return s;
}

void journal_segment_unref(void *segment)
{
	struct journal_segment *s = segment;
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
		return;
	(void)s->io->close(s->io->arg, s->fd); /* nothing unsynced in it counts */
	mem_free(s);
}

/* --- files ---------------------------------------------------------------------- */

/* Written once with zeros, so that no later write needs a block allocated or the filesystem's
 * journal. */
static int write_zeros(struct journal *j, int fd)
{
	char *zeros = mem_zalloc(ZEROS_BYTES);
	int err = 0;
	for (uint64_t at = 0; err == 0 && at < j->segment_bytes; at += ZEROS_BYTES) {
		struct iovec iov = { zeros,
			(size_t)MIN(j->segment_bytes - at, (uint64_t)ZEROS_BYTES) };
		err = j->io->pwritev(j->io->arg, fd, &iov, 1, at);
	}
	mem_free(zeros);
	return err;
}

/* Ends and reports may use what is kept free. */
static bool has_space(struct journal *j, bool for_messages)
{
	struct qio_space space;
	uint64_t keep = for_messages ? j->keep_bytes : 0;
	if (j->io->space(j->io->arg, j->spool->journal, &space) < 0)
		return true; /* the writing will tell */
	return space.bytes_free >= j->segment_bytes && space.bytes_free - j->segment_bytes >= keep;
}

/* By way of tmp/, so that whatever bears a segment's name has been written whole. stays: it failed,
 * and the name is taken. */
static int create_file(struct journal *j, unsigned slot, int *fd_r, bool *stays)
{
	const struct spool *spool = j->spool;
	char name[16], tmp_name[32];
	journal_slot_name(slot, name);
	snprintf(tmp_name, sizeof(tmp_name), "journal.%s.%u", name, atomic_fetch_add(&j->made, 1));
	int fd = j->io->open(j->io->arg, spool->tmp, tmp_name, QIO_OPEN_CREATE);
	if (fd < 0)
		return fd;
	int err = write_zeros(j, fd);
	if (err == 0)
		err = j->io->sync(j->io->arg, fd);
	if (err == 0)
		err = j->io->rename(j->io->arg, spool->tmp, tmp_name, spool->journal, name);
	bool in_place = err == 0;
	if (err == 0)
		err = j->io->sync_directory(j->io->arg, spool->journal);
	if (err == 0) {
		*fd_r = fd;
		return 0;
	}
	(void)j->io->close(j->io->arg, fd);
	if (!in_place)
		spool_discard(j->spool, SPOOL_TMP, tmp_name);
	else if (j->io->unlink(j->io->arg, spool->journal, name) < 0)
		*stays = true;
	return err;
}

static unsigned max_slots(const struct journal *j, bool for_messages)
{
	return j->segments_max + (for_messages ? 0 : JOURNAL_SLOTS_EXTRA);
}

/*
 * Segments given up, in use or doomed: these don't count against one for ends.
 * Doomed ones wait for its header; and what keeps the others in use may itself
 * wait for it, as a bounce whose report is refused until then. Or were all of
 * them given up, none would ever go.
 */
static unsigned given_up(const struct journal *j)
{
	unsigned n = 0;
	list_foreach(node, &j->used)
		n += list_entry(node, struct journal_segment, node)->dead;
	return n;
}

/* A number no file has; false when there are as many as may be. */
static bool reserve_slot(struct journal *j, bool for_messages, unsigned *slot)
{
	unsigned apart = for_messages ? 0 : given_up(j) + (unsigned)__builtin_popcountll(j->doomed);
	if (j->slots_n - apart >= max_slots(j, for_messages))
		return false;
	for (unsigned i = 0; i < JOURNAL_SLOTS_MAX; i++) {
		if ((j->slots >> i & 1) != 0)
			continue;
		j->slots |= UINT64_C(1) << i;
		j->slots_n++;
		*slot = i;
		return true;
	}
	return false;
}

static void release_slot(struct journal *j, unsigned slot)
{
	CHECK(j->slots_n > 0);
	j->slots &= ~(UINT64_C(1) << slot);
	j->slots_n--;
}

/* One more FREE segment; -ENOSPC when there are enough. */
int journal_make_spare(struct journal *j, bool for_messages)
{
	unsigned slot;
	int fd = -1;
	pthread_mutex_lock(&j->lock);
	bool may = reserve_slot(j, for_messages, &slot);
	j->making += may;
	pthread_mutex_unlock(&j->lock);
	if (!may)
		return -ENOSPC;
	bool stays = false;
	int err = has_space(j, for_messages) ? create_file(j, slot, &fd, &stays) : -ENOSPC;
	pthread_mutex_lock(&j->lock);
	if (err == 0) {
		struct journal_segment *s = journal_segment_new(j, slot, fd);
		s->bytes = j->segment_bytes;
		list_push(&j->free, &s->node);
		j->free_n++;
	} else if (stays) {
		j->zombies |= UINT64_C(1) << slot;
	} else if (err != -EEXIST) { /* a name that is taken stays so: the next try takes another */
		release_slot(j, slot);
	}
	bool first = err < 0 && !j->complained;
	j->no_more = j->complained = err < 0;
	j->making--;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
	if (first)
		log_warn("queue", "journal: can't make another segment: %s", err_text(err));
	return err;
}

bool journal_wants_spare(const struct journal *j)
{
	if (j->read_only || j->free_n > 0 || j->slots_n >= j->segments_max)
		return false;
	return j->no_more || j->head == NULL || j->head->end > j->segment_bytes / 2;
}

static bool remove_file(struct journal *j, unsigned slot)
{
	char name[16];
	int err = j->io->unlink(j->io->arg, j->spool->journal, journal_slot_name(slot, name));
	if (err < 0 && err != -ENOENT) {
		log_warn("queue", "journal/%s can't be removed, will try again: %s", name,
		    err_text(err));
		return false;
	}
	j->zombies &= ~(UINT64_C(1) << slot);
	release_slot(j, slot);
	return true;
}

/* Closed when the last body that is read from it is gone. */
void journal_abandon(struct journal *j, struct journal_segment *s)
{
	if (!remove_file(j, s->slot))
		j->zombies |= UINT64_C(1) << s->slot;
	journal_segment_unref(s);
}

/*
 * Of one that was in use: its ends are all that keeps the mail of older ones
 * from coming back, so its file goes once a header says, durably, that none of
 * them counts (journal_rotate).
 */
static void doom(struct journal *j, struct journal_segment *s)
{
	j->doomed |= UINT64_C(1) << s->slot;
	journal_segment_unref(s);
}

void journal_bury(struct journal *j)
{
	for (unsigned slot = 0; slot < JOURNAL_SLOTS_MAX; slot++) {
		if ((j->zombies >> slot & 1) != 0 && !remove_file(j, slot))
			return;
	}
}

/* --- order ---------------------------------------------------------------------- */

/* One that is still read from blocks those after it, until space gets short: then its name goes and
 * its blocks stay as long as needed. */
void journal_advance(struct journal *j)
{
	while (j->used_n > 0) {
		struct journal_segment *s = list_first(&j->used, struct journal_segment, node);
		bool is_read = atomic_load(&s->refs) > 1;
		if (s == j->head || s->live > 0 || (is_read && j->used_n <= j->segments_max / 2))
			return;
		list_remove(&s->node);
		j->used_n--;
		if (is_read || s->dead || s->bytes != j->segment_bytes) {
			doom(j, s);
		} else {
			list_push(&j->free, &s->node);
			j->free_n++;
		}
	}
}

/* Locked. */
static struct journal_segment *take_free(struct journal *j, bool for_messages)
{
	journal_advance(j);
	size_t used = j->used_n - (for_messages ? 0 : given_up(j));
	if (j->free_n == 0 || used >= max_slots(j, for_messages))
		return NULL;
	struct journal_segment *s = list_first(&j->free, struct journal_segment, node);
	list_remove(&s->node);
	j->free_n--;
	return s;
}

/*
 * Synced before any record is written behind it: records never stand under the
 * header of another use. One copy after the other, a bad one first, so that
 * at no moment both can be lost.
 */
static int write_header(struct journal *j, struct journal_segment *s, uint64_t oldest)
{
	unsigned char block[JOURNAL_HEADER_USED];
	struct journal_header h = {
		.sequence = s->sequence,
		.oldest = oldest,
		.previous = j->last_sequence,
		.previous_end = j->last_end,
		.bytes = s->bytes,
		.salt = s->salt,
	};
	int err = 0;
	journal_header_encode(&h, block);
	for (unsigned i = 0; err == 0 && i < 2; i++) {
		struct iovec iov = { block, sizeof(block) };
		err = j->io->pwritev(j->io->arg, s->fd, &iov, 1,
		    (i ^ s->bad_copy) * (uint64_t)JOURNAL_HEADER_COPY_AT);
		atomic_fetch_add_explicit(&j->spool->syncs, 1, memory_order_relaxed);
		if (err == 0)
			err = j->io->sync(j->io->arg, s->fd);
		if (err < 0 && i > 0) /* the other is good now */
			s->bad_copy = 1 - s->bad_copy;
	}
	return err;
}

/* Those doomed take the place of others: a header of a segment for ends frees them. */
static int no_segment(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	if (j->doomed != 0) {
		j->head = NULL;
		j->seal = true;
	}
	pthread_mutex_unlock(&j->lock);
	return -ENOSPC;
}

int journal_rotate(struct journal *j, bool for_messages)
{
	CHECK(j->writing);
	pthread_mutex_lock(&j->lock);
	struct journal_segment *s = take_free(j, for_messages);
	while (s == NULL && j->making > 0) { /* by journal_sync: as at the first start */
		pthread_cond_wait(&j->changed, &j->lock);
		s = take_free(j, for_messages);
	}
	bool may_make = s == NULL && j->free_n == 0 && (!j->no_more || !for_messages);
	pthread_mutex_unlock(&j->lock);
	if (may_make && journal_make_spare(j, for_messages) == 0) {
		pthread_mutex_lock(&j->lock);
		s = take_free(j, for_messages);
		pthread_mutex_unlock(&j->lock);
	}
	if (s == NULL)
		return no_segment(j);
	pthread_mutex_lock(&j->lock);
	s->sequence = ++j->sequence;
	s->salt = (uint32_t)prng_next(&j->prng);
	s->end = JOURNAL_HEADER_BYTES;
	s->seen_end = s->old_end = 0;
	uint64_t oldest = j->used_n == 0
			      ? s->sequence
			      : list_first(&j->used, struct journal_segment, node)->sequence;
	uint64_t outlived = j->doomed;
	pthread_mutex_unlock(&j->lock);
	int err = write_header(j, s, oldest);
	pthread_mutex_lock(&j->lock);
	if (err < 0) {
		/* The file may hold its old header or the new one: neither says anything wrong, and
		 * it is as free as before, after all others. But as the new one says where the last
		 * segment ends, that takes no more. */
		list_push(&j->free, &s->node);
		j->free_n++;
		j->head = NULL;
		j->seal = true;
	} else {
		j->doomed &= ~outlived;
		j->zombies |= outlived;
		journal_bury(j);
		list_push(&j->used, &s->node);
		j->used_n++;
		j->head = s;
		j->seal = false;
		j->last_sequence = s->sequence;
		j->last_end = s->end;
	}
	pthread_mutex_unlock(&j->lock);
	return err;
}
