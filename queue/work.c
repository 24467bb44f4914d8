/*
 * work.c - the slots of state/work; see work.h, and postrider-queue.5 for
 * their bytes. What can't be written is written with the next change: this
 * file must never be in the way of mail.
 */
#include "queue/work.h"

#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/mem.h"

#define NAME   "work"
#define CRC_AT 28

enum {
	IN_WORK = 1
};

struct key {
	uint64_t id[2];
	uint64_t part;
};

static struct key key_of(struct qid id, unsigned part)
{
	return (struct key){ { id.arrival_ms, id.serial }, part };
}

static struct slice key_bytes(const struct key *k)
{
	return slice_of((const char *)k, sizeof(*k));
}

/* Index + 1, or 0. */
static size_t find(const struct work *w, struct qid id, unsigned part)
{
	struct key k = key_of(id, part);
	return (size_t)(uintptr_t)map_find(&w->by_key, key_bytes(&k));
}

/* --- bytes ---------------------------------------------------------------------- */

static void encode(const struct work_slot *s, unsigned char p[WORK_SLOT_BYTES])
{
	memset(p, 0, WORK_SLOT_BYTES);
	if (s->part == 0)
		return;
	codec_put_u64(p, s->id.arrival_ms);
	codec_put_u64(p + 8, s->id.serial);
	codec_put_u32(p + 16, s->part);
	codec_put_u32(p + 20, s->crashes);
	codec_put_u32(p + 24, s->in_work ? IN_WORK : 0);
	codec_put_u32(p + CRC_AT, codec_crc32c(0, p, CRC_AT));
}

/* A slot that is free or damaged has part 0. */
static struct work_slot decode(const unsigned char p[WORK_SLOT_BYTES])
{
	struct work_slot s = { .id = { codec_get_u64(p), codec_get_u64(p + 8) },
		.part = codec_get_u32(p + 16),
		.crashes = codec_get_u32(p + 20),
		.in_work = codec_get_u32(p + 24) == IN_WORK };
	bool good = codec_get_u32(p + CRC_AT) == codec_crc32c(0, p, CRC_AT) && s.part > 0 &&
		    s.part <= QID_PART_MAX && s.crashes <= WORK_CRASHES_MAX;
	return good ? s : (struct work_slot){ 0 };
}

static void touch(struct work *w, size_t i)
{
	w->dirty_from = MIN(w->dirty_from, i);
	w->dirty_to = MAX(w->dirty_to, i + 1);
}

void work_write(struct work *w)
{
	if (w->fd < 0 || w->dirty_from >= w->dirty_to)
		return;
	size_t n = w->dirty_to - w->dirty_from;
	unsigned char *bytes = mem_alloc(n * WORK_SLOT_BYTES);
	for (size_t i = 0; i < n; i++)
		encode(&w->slots[w->dirty_from + i], bytes + i * WORK_SLOT_BYTES);
	const struct iovec iov = { bytes, n * WORK_SLOT_BYTES };
	int err =
	    w->io->pwritev(w->io->arg, w->fd, &iov, 1, (uint64_t)w->dirty_from * WORK_SLOT_BYTES);
	mem_free(bytes);
	if (err < 0 && !w->has_failed)
		log_warn("queue", "state/work: %s: what is in work is not recorded for now",
		    err_text(err));
	w->has_failed = err < 0;
	if (err < 0)
		return;
	w->dirty_from = SIZE_MAX;
	w->dirty_to = 0;
}

/* --- slots ---------------------------------------------------------------------- */

static void add_slots(struct work *w, size_t n)
{
	n = MIN(n, WORK_SLOTS_MAX - w->slots_n);
	w->slots = mem_realloc(w->slots, (w->slots_n + n) * sizeof(*w->slots));
	memset(w->slots + w->slots_n, 0, n * sizeof(*w->slots));
	w->slots_n += n;
}

/* Index + 1; 0: there are too many. */
static size_t take_slot(struct work *w, struct qid id, unsigned part)
{
	size_t i = w->free_from;
	while (i < w->slots_n && w->slots[i].part > 0)
		i++;
	w->free_from = i;
	if (i == WORK_SLOTS_MAX)
		return 0;
	if (i == w->slots_n)
		add_slots(w, MAX(w->slots_n / 2, (size_t)1));
	struct key k = key_of(id, part);
	w->slots[i] = (struct work_slot){ .id = id, .part = part };
	w->free_from = i + 1;
	(void)map_put(&w->by_key, key_bytes(&k), (void *)(uintptr_t)(i + 1));
	touch(w, i);
	return i + 1;
}

static void free_slot(struct work *w, size_t i)
{
	struct work_slot *s = &w->slots[i];
	struct key k = key_of(s->id, s->part);
	(void)map_remove(&w->by_key, key_bytes(&k));
	w->suspects_n -= s->crashes > 0;
	*s = (struct work_slot){ 0 };
	w->free_from = MIN(w->free_from, i);
	touch(w, i);
}

enum work_answer work_begin(struct work *w, struct qid id, unsigned part, int64_t mono_ms)
{
	size_t at = w->fd < 0 ? 0 : find(w, id, part);
	bool is_suspect = at > 0 && w->slots[at - 1].crashes >= WORK_SUSPECT;
	if (w->fd < 0)
		return WORK_GO;
	if (is_suspect && w->slots[at - 1].crashes >= WORK_CRASHES_MAX)
		return WORK_POISON;
	if (is_suspect && !work_may_go(w, mono_ms))
		return WORK_WAIT;
	if (at == 0)
		at = take_slot(w, id, part);
	if (at == 0)
		return WORK_GO;
	w->slots[at - 1].in_work = true;
	touch(w, at - 1);
	if (is_suspect) { /* at once, whatever comes of it */
		w->alone = at;
		w->alone_until_ms = mono_ms + WORK_ALONE_MS;
		work_write(w);
	}
	return WORK_GO;
}

bool work_end(struct work *w, struct qid id, unsigned part, bool clean)
{
	size_t at = find(w, id, part);
	if (at == 0)
		return false;
	bool was_alone = w->alone == at;
	struct work_slot *s = &w->slots[at - 1];
	if (was_alone)
		w->alone = 0;
	if (clean || s->crashes == 0) {
		free_slot(w, at - 1);
		return was_alone;
	}
	s->in_work = false;
	touch(w, at - 1);
	return was_alone;
}

bool work_may_go(struct work *w, int64_t mono_ms)
{
	if (w->alone > 0 && mono_ms >= w->alone_until_ms) {
		w->slots[w->alone - 1].in_work = false;
		touch(w, w->alone - 1);
		w->alone = 0;
	}
	return w->alone == 0;
}

unsigned work_found(struct work *w, struct qid id, unsigned part)
{
	size_t at = w->suspects_n == 0 ? 0 : find(w, id, part);
	if (at == 0)
		return 0;
	w->slots[at - 1].found = true;
	return w->slots[at - 1].crashes;
}

void work_forget_lost(struct work *w)
{
	for (size_t i = 0; i < w->slots_n; i++) {
		const struct work_slot *s = &w->slots[i];
		if (s->crashes > 0 && !s->in_work && !s->found)
			free_slot(w, i);
	}
}

/* --- life ----------------------------------------------------------------------- */

void work_init(struct work *w, const struct qio *io, uint64_t seed)
{
	*w = (struct work){ .io = io, .fd = -1, .dirty_from = SIZE_MAX };
	map_init(&w->by_key, seed);
}

static void add_found(struct work *w, const struct work_slot *found)
{
	unsigned crashes = MIN(found->crashes + found->in_work, (unsigned)WORK_CRASHES_MAX);
	if (crashes == 0 || find(w, found->id, found->part) > 0)
		return;
	size_t at = take_slot(w, found->id, found->part);
	if (at == 0)
		return;
	w->slots[at - 1].crashes = crashes;
	w->suspects_n++;
}

/* Counts move up in the file before anything is begun, so all of it is written anew. */
static int read_slots(struct work *w)
{
	size_t max = (size_t)WORK_SLOTS_MAX * WORK_SLOT_BYTES;
	unsigned char *bytes = mem_alloc(max);
	add_slots(w, WORK_SLOTS_MIN);
	w->dirty_from = 0;
	w->dirty_to = WORK_SLOTS_MIN;
	ssize_t got = w->io->pread(w->io->arg, w->fd, bytes, max, 0);
	size_t n = got < 0 ? 0 : (size_t)got / WORK_SLOT_BYTES;
	for (size_t i = 0; i < n; i++) {
		struct work_slot s = decode(bytes + i * WORK_SLOT_BYTES);
		if (s.part > 0)
			add_found(w, &s);
	}
	mem_free(bytes);
	if (w->suspects_n > 0)
		log_notice("queue",
		    "%zu items were in work when a process died; those at two in a row are tried "
		    "one at a time",
		    w->suspects_n);
	work_write(w);
	if (got >= 0 && n > w->slots_n) /* what is behind them is old */
		got = w->io->truncate(w->io->arg, w->fd, (uint64_t)w->slots_n * WORK_SLOT_BYTES);
	return got < 0 ? (int)got : 0;
}

void work_open(struct work *w, int state_dir)
{
	w->dir = state_dir;
	w->fd = w->io->open(w->io->arg, state_dir, NAME, QIO_OPEN_LOCK);
	int err = w->fd < 0 ? w->fd : read_slots(w);
	if (err < 0)
		log_warn("queue", "state/work: %s: what is in work is not recorded", err_text(err));
}

void work_close(struct work *w)
{
	if (w->fd >= 0)
		(void)w->io->close(w->io->arg, w->fd);
	int err = w->fd < 0 || !w->is_up ? 0 : w->io->unlink(w->io->arg, w->dir, NAME);
	if (err < 0)
		log_warn("queue", "state/work: %s", err_text(err));
	w->fd = -1;
	map_fini(&w->by_key);
	mem_free(w->slots);
}
