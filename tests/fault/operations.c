/*
 * The table. Parts are numbered in the order of their commits: what prepare
 * commits first is part 0.
 */
#include "fault/operation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum {
	ALL_RCPTS = -1, /* as a size_t: the largest */
	MINUTE_MS = 60000,
	FILLS_SEGMENT = 8 * 1024 /* seven of these do */
};

/* --- what is there before ----------------------------------------------------------- */

/* For one domain, two recipients; in the journal, if there is one. */
static void one_message(struct world *w)
{
	(void)world_commit(w, 1, 2, WORLD_SMALL);
}

static void large_message(struct world *w)
{
	(void)world_commit(w, 1, 2, WORLD_LARGE);
}

/* Deferred once: in a queue file, with an outcome record. */
static void parked_message(struct world *w)
{
	one_message(w);
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_PENDING);
	world_sync(w);
}

static void parked_for_twelve(struct world *w)
{
	(void)world_commit(w, 1, LEDGER_RCPTS_MAX, WORLD_SMALL);
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_PENDING);
	world_sync(w);
}

static void parked_large_message(struct world *w)
{
	large_message(w);
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_PENDING);
	world_sync(w);
}

static void held_message(struct world *w)
{
	parked_message(w);
	world_hold(w, 0, true);
	world_sync(w);
}

static void resting_message(struct world *w)
{
	one_message(w);
	world_load(w, 0);
}

/* One of each sort, some of it not synced. */
static void busy_spool(struct world *w)
{
	held_message(w);                                       /* 0 */
	(void)world_commit(w, 3, 1, WORLD_SMALL);              /* 1 2 3 */
	world_settle(w, 1, (size_t)ALL_RCPTS, FATE_DELIVERED); /* an end in the journal */
	world_settle(w, 2, 0, FATE_PENDING);                   /* one that moved */
	large_message(w);                                      /* 4 */
	world_settle(w, 4, 1, FATE_BOUNCED);
	one_message(w); /* 5 */
	world_settle(w, 5, 0, FATE_DELIVERED);
	world_sync(w);
	world_settle(w, 5, 1, FATE_DELIVERED); /* unlinked */
	(void)world_commit(w, 2, 2, 0);        /* 6 7 */
}

/* More than half of the journal's segments in use, the oldest with mail in it. */
static void crowded_journal(struct world *w)
{
	one_message(w);
	for (unsigned i = 0; i < 21; i++) {
		size_t part = world_commit(w, 1, 1, FILLS_SEGMENT);
		if (i % 3 > 0)
			world_settle(w, part, 0, FATE_DELIVERED);
	}
}

/* --- acts --------------------------------------------------------------------------- */

static void commit_1(struct world *w)
{
	(void)world_commit(w, 1, 1, WORLD_SMALL);
}

static void commit_2(struct world *w)
{
	(void)world_commit(w, 2, 2, WORLD_SMALL);
}

static void commit_50(struct world *w)
{
	(void)world_commit(w, 50, 1, WORLD_SMALL);
}

static void commit_large_1(struct world *w)
{
	(void)world_commit(w, 1, 2, WORLD_LARGE);
}

static void commit_large_2(struct world *w)
{
	(void)world_commit(w, 2, 2, WORLD_LARGE);
}

static void commit_large_50(struct world *w)
{
	(void)world_commit(w, 50, 1, WORLD_LARGE);
}

static void commit_batch(struct world *w)
{
	world_commit_batch(w, 3, WORLD_SMALL);
}

static void abort_large(struct world *w)
{
	world_abort_message(w, WORLD_LARGE);
}

static void deliver(struct world *w)
{
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_DELIVERED);
	world_sync(w);
}

/* One recipient is served, then the other. */
static void deliver_in_part(struct world *w)
{
	world_settle(w, 0, 0, FATE_DELIVERED);
	world_sync(w);
	world_settle(w, 0, 1, FATE_DELIVERED);
	world_sync(w);
}

static void defer(struct world *w)
{
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_PENDING);
	world_sync(w);
}

static void defer_twice(struct world *w)
{
	world_settle(w, 0, 0, FATE_PENDING);
	world_settle(w, 0, 1, FATE_PENDING);
	world_sync(w);
}

/* Records of the first would stand whole behind the one of the second, if it can't be synced and
 * nothing cuts them off. */
static void defer_with_less_words(struct world *w)
{
	w->words = LEDGER_MANY;
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_PENDING);
	w->words = LEDGER_LESS;
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_PENDING);
	world_sync(w);
}

static void bounce(struct world *w)
{
	world_bounce(w, 0);
	world_sync(w);
}

static void hold(struct world *w)
{
	world_hold(w, 0, true);
	world_sync(w);
}

static void release(struct world *w)
{
	world_hold(w, 0, false);
	world_sync(w);
}

/* Asked for while it is in work: its next settle does it. */
static void hold_in_work(struct world *w)
{
	world_hold(w, 0, true);
	world_settle(w, 0, 0, FATE_PENDING);
	world_sync(w);
}

static void expire(struct world *w)
{
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_EXPIRED);
	world_sync(w);
}

static void delete (struct world *w)
{
	world_settle(w, 0, (size_t)ALL_RCPTS, FATE_DELETED);
	world_sync(w);
}

static void load(struct world *w)
{
	world_load(w, 0);
	world_load(w, 0);
}

static void sync(struct world *w)
{
	world_sync(w);
	world_sync(w);
}

/* Upkeep makes the first segment, which mail then uses. */
static void first_day(struct world *w)
{
	world_sync(w);
	(void)world_commit(w, 1, 1, WORLD_SMALL);
}

/* Three times round all segments, with mail that passes and some that stays. */
static void reuse_segments(struct world *w)
{
	for (unsigned i = 0; i < 60; i++) {
		size_t part = world_commit(w, 1, 1, FILLS_SEGMENT);
		if (w->q == NULL)
			return;
		if (i % 16 != 0)
			world_settle(w, part, 0, FATE_DELIVERED);
		if (i % 4 == 0)
			world_sync(w);
	}
}

/* A slow host: the body of delivered mail is still read while its segment is wanted again. */
static void read_slowly(struct world *w)
{
	for (unsigned i = 0; i < 40; i++) {
		size_t part = world_commit(w, 1, 1, FILLS_SEGMENT);
		if (i % 9 == 3)
			world_keep_body(w, part);
		world_settle(w, part, 0, FATE_DELIVERED);
		if (i % 5 == 0)
			world_sync(w);
	}
}

/* No upkeep: the journal fills, and mail goes to queue files. */
static void fill_journal(struct world *w)
{
	for (unsigned i = 0; i < 32; i++)
		(void)world_commit(w, 1, 1, FILLS_SEGMENT);
	world_sync(w);
}

/* An hour, as the daemon sees it: every second or so. */
static void grow_old(struct world *w)
{
	for (unsigned i = 0; i < 6; i++) {
		world_wait(w, 10 * MINUTE_MS);
		world_sync(w);
	}
}

static void stop(struct world *w)
{
	world_close(w);
}

static void open_it(struct world *w)
{
	int err = world_open(w);
	(void)err; /* the loops open it again */
}

/* --- spools as nobody should find them ------------------------------------------------- */

static char *copy_of(struct world *w, const char *path, size_t *n)
{
	struct slice bytes = qio_mem_read(&w->disk, path);
	*n = bytes.n;
	return mem_dup(bytes.p, bytes.n);
}

/* A queue file under another id, changed by one byte or cut. */
static void add_damaged_copy(struct world *w, const char *path, const char *id, size_t cut,
    size_t flip)
{
	char other[300];
	size_t n;
	char *bytes = copy_of(w, path, &n);
	const char *at = strstr(path, w->ledger.parts[0]->id);
	snprintf(other, sizeof(other), "%.*s%s%s", (int)(at - path), path, id,
	    at + strlen(w->ledger.parts[0]->id));
	if (flip < n)
		bytes[flip] = (char)(bytes[flip] ^ 0x10);
	world_add_damaged(w, other, slice_of(bytes, MIN(n, cut)));
	mem_free(bytes);
}

static void foreign_and_damaged(struct world *w)
{
	char path[300], twin[300];
	size_t n;
	parked_message(w);
	(void)world_commit(w, 2, 1, WORLD_SMALL);
	world_close(w);
	if (!world_find_file(w, 0, path, sizeof(path)))
		world_abort(w, "no file to be damaged");
	world_add_foreign(w, "queue/05/README", SLICE("not ours"));
	world_add_foreign(w, "queue/3f/1.2.q.x", SLICE("nor this"));
	world_add_foreign(w, "journal/notes", SLICE("nor this"));
	world_add_foreign(w, "state/old", SLICE("nor this"));
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-1", 0, SIZE_MAX);    /* zero length */
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-2", 40, SIZE_MAX);   /* no whole head */
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-3", 300, SIZE_MAX);  /* cut in the body */
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-4", SIZE_MAX, 60);   /* envelope */
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-5", SIZE_MAX, 1000); /* body */
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-6", SIZE_MAX, 8);    /* another version */
	add_damaged_copy(w, path, "0mubaaaaa00000aaaaaa-7", SIZE_MAX, SIZE_MAX); /* not its name */
	/* The same id with fewer attempts: the later one stays. */
	char *bytes = copy_of(w, path, &n);
	snprintf(twin, sizeof(twin), "queue/3e/%" PRId64 ".0.q%s", w->now.wall_ms,
	    strstr(path, w->ledger.parts[0]->id) - 1);
	world_add_damaged(w, twin, slice_of(bytes, n));
	mem_free(bytes);
}

/* --- the table -------------------------------------------------------------------------- */

const struct operation operations[] = {
	{ "commit of 1 domain", NULL, commit_1, .is_cold = false },
	{ "commit of 2 domains", NULL, commit_2, .is_cold = false },
	{ "commit of 50 domains", NULL, commit_50, .is_heavy = true },
	{ "commit of 1 domain, large", NULL, commit_large_1, .is_heavy = true },
	{ "commit of 2 domains, large", NULL, commit_large_2, .is_heavy = true },
	{ "commit of 50 domains, large", NULL, commit_large_50, .is_heavy = true },
	{ "commit of three messages", NULL, commit_batch, .is_cold = false },
	{ "a large message given up", NULL, abort_large, .is_cold = false },
	{ "delivery", one_message, deliver, .is_cold = false },
	{ "delivery of parked mail", parked_message, deliver, .is_cold = false },
	{ "delivery of large mail", large_message, deliver, .is_cold = false },
	{ "partial outcome", one_message, deliver_in_part, .is_cold = false },
	{ "partial outcome of parked mail", parked_message, deliver_in_part, .is_cold = false },
	{ "deferral", one_message, defer, .is_cold = false },
	{ "deferral of parked mail", parked_message, defer_twice, .is_cold = false },
	{ "deferral with less words", parked_for_twelve, defer_with_less_words, .is_cold = false },
	{ "deferral of large mail", large_message, defer_twice, .is_heavy = true },
	{ "bounce with report", one_message, bounce, .is_cold = false },
	{ "bounce of parked mail with report", parked_message, bounce, .is_cold = false },
	{ "bounce of large mail with report", large_message, bounce, .is_cold = false },
	{ "hold", resting_message, hold, .is_cold = false },
	{ "hold of parked mail", parked_message, hold, .is_cold = false },
	{ "hold of mail in work", one_message, hold_in_work, .is_cold = false },
	{ "release", held_message, release, .is_cold = false },
	{ "expiry", parked_message, expire, .is_cold = false },
	{ "deletion of held mail", held_message, delete, .is_cold = false },
	{ "load", resting_message, load, .is_cold = false },
	{ "load of parked mail", parked_message, load, .is_cold = false },
	{ "load of large mail", parked_large_message, load, .is_cold = false },
	{ "parking by pressure", crowded_journal, sync, .is_heavy = true },
	{ "reuse of segments", NULL, reuse_segments, .is_heavy = true },
	{ "a body read slowly", NULL, read_slowly, .is_heavy = true },
	{ "a full journal", NULL, fill_journal, .is_heavy = true },
	{ "parking by age", busy_spool, grow_old, .is_heavy = true },
	{ "clean stop", busy_spool, stop, .is_cold = false },
	{ "replay and scan", busy_spool, open_it, .is_cold = true },
	{ "replay of a crowded journal", crowded_journal, open_it, .is_cold = true },
	{ "start on a first day", NULL, open_it, .is_cold = true },
	{ "upkeep and mail on a first day", NULL, first_day, .is_cold = false },
	{ "start among damaged and foreign files", foreign_and_damaged, open_it, .is_cold = true },
};
const size_t operations_n = ARRAY_LEN(operations);
