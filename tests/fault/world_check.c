/* What is found, held against the ledger; and files as they should not be. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "fault/world.h"

/* --- checks ------------------------------------------------------------------------ */

static void check_body(const struct world *w, const struct ledger_part *p, struct queue_body *b)
{
	static char block[65536];
	uint64_t at = 0;
	ssize_t got;
	if (queue_body_size(b) != p->bytes)
		world_abort(w, "%s: the body has another length", p->id);
	while ((got = queue_body_read(b, at, block, sizeof(block))) > 0) {
		for (size_t i = 0, n; i < (size_t)got; i += n) {
			const char *want = ledger_body(p->msg, at + i, &n);
			n = MIN(n, (size_t)got - i);
			if (memcmp(block + i, want, n) != 0)
				world_abort(w, "%s: the body differs near %zu", p->id, i);
		}
		at += (uint64_t)got;
	}
	if (got < 0 || at != p->bytes)
		world_abort(w, "%s: the body can't be read: %zd", p->id, got);
}

/* The latest of the states that may be found and are what the envelope says. */
static struct ledger_state match(const struct world *w, const struct ledger_part *p,
    const struct envelope *e)
{
	char row[1000];
	struct ledger_state half;
	const char *why = "it should not be there";
	for (size_t i = p->states_n; i > p->sure; i--) {
		if (p->states[i - 1].is != LEDGER_LIVE)
			continue;
		why = ledger_differs(p, &p->states[i - 1], e);
		if (why == NULL)
			return p->states[i - 1];
		if (ledger_half(p, i - 1, &half) && ledger_differs(p, &half, e) == NULL)
			return half;
	}
	ledger_print(p, row, sizeof(row));
	world_abort(w, "%s (found with %u attempts): %s", row, e->rcpts[0].attempts, why);
}

static int64_t due_of(const struct ledger_part *p, const struct ledger_state *s)
{
	int64_t due_ms = INT64_MAX;
	for (size_t i = 0; i < p->rcpts_n; i++) {
		if (!fate_is_final(s->rcpts[i].fate))
			due_ms = MIN(due_ms, s->rcpts[i].due_ms);
	}
	return due_ms;
}

/* A name that is behind the tail means an early look, no more. */
static bool is_due_known(const struct ledger_part *p, int64_t due_ms)
{
	for (size_t i = 0; i < p->states_n; i++) {
		if (due_of(p, &p->states[i]) == due_ms)
			return true;
	}
	return p->states_n == 1; /* its earlier states are forgotten */
}

static void check_item(struct world *w, struct ledger_part *p, struct queue_item *item,
    bool for_good)
{
	struct queue_done done;
	bool has_file = item->record == NULL;
	if (item->state == QUEUE_ITEM_ACTIVE)
		queue_park(w->q, item, 0);
	bool held = item->state == QUEUE_ITEM_HELD;
	if (!p->may_be_held[held])
		world_abort(w, "%s is %sheld", p->id, held ? "" : "not ");
	if (!is_due_known(p, item->due_ms))
		world_abort(w, "%s is due at a time nobody set", p->id);
	queue_take(w->q, item);
	if (item->mail == NULL && world_run(w, queue_op_load(item), &done) < 0) {
		if (done.item != NULL || done.result != -ENOENT)
			world_abort(w, "%s can't be read: %d", p->id, done.result);
		return; /* its tail says that all is decided */
	}
	if (envelope_pending(item->mail->envelope) == 0) {
		if (world_run(w, queue_op_settle(item, NULL, 0, w->now), &done) < 0 ||
		    done.item != NULL)
			world_abort(w, "%s is at its end, and stays", p->id);
		return;
	}
	check_body(w, p, item->mail->body);
	struct ledger_state found = match(w, p, item->mail->envelope);
	queue_park(w->q, item, 0);
	p->found = true;
	p->has_file = has_file;
	if (!for_good)
		return;
	ledger_settle(p, found);
	p->held = held;
	p->may_be_held[!held] = false;
}

static void check_absent(struct world *w, struct ledger_part *p, bool for_good)
{
	char row[1000];
	for (size_t i = p->states_n; i > p->sure; i--) {
		if (p->states[i - 1].is == LEDGER_LIVE)
			continue;
		if (for_good)
			ledger_settle(p, p->states[i - 1]);
		return;
	}
	ledger_print(p, row, sizeof(row));
	world_abort(w, "%s is lost", row);
}

/* Never an end without its report; and without a failure of the disk, never a report of what is
 * still to end. */
static void check_reports(struct world *w, bool for_good)
{
	for (size_t i = 0; i < w->ledger.parts_n; i++) {
		struct ledger_part *p = w->ledger.parts[i];
		if (p->report == 0)
			continue;
		const struct ledger_part *report = world_part(w, p->report);
		if (!p->found && !report->found)
			world_abort(w, "%s bounced, and nobody is told", p->id);
		if (p->found && report->found && w->fault.fired == 0 && !w->opt.no_journal)
			world_abort(w, "%s is reported, and will be again", p->id);
		if (for_good)
			p->report = 0;
	}
}

static size_t count_relics(const struct world *w, bool foreign, const char *in)
{
	size_t n = 0;
	for (size_t i = 0; i < w->relics_n; i++)
		n += w->relics[i].is_foreign == foreign &&
		     strncmp(w->relics[i].path, in, strlen(in)) == 0;
	return n;
}

struct search {
	struct slice bytes;
	size_t hits;
};

static void on_corrupt(void *arg, const char *path, struct slice bytes)
{
	struct search *s = arg;
	s->hits += strncmp(path, "corrupt/", 8) == 0 && slice_eq(bytes, s->bytes);
}

static void check_relics(struct world *w)
{
	for (size_t i = 0; i < w->relics_n; i++) {
		const struct relic *r = &w->relics[i];
		struct search s = { slice_of(r->bytes, r->n), 0 };
		if (r->is_foreign) {
			struct slice there = qio_mem_read(&w->disk, r->path);
			if (there.p == NULL || !slice_eq(there, s.bytes))
				world_abort(w, "%s, not ours, is not as it was", r->path);
			continue;
		}
		qio_mem_walk(&w->disk, on_corrupt, &s);
		if (s.hits == 0)
			world_abort(w, "%s, damaged, is not in corrupt/", r->path);
	}
	size_t set_aside = qio_mem_count(&w->disk, "corrupt");
	if (set_aside != count_relics(w, false, ""))
		world_abort(w, "%zu files in corrupt/, %zu were damaged", set_aside,
		    count_relics(w, false, ""));
}

static size_t count_files(const struct world *w)
{
	char dir[16];
	size_t n = 0;
	for (unsigned i = 0; i < 64; i++) {
		snprintf(dir, sizeof(dir), "queue/%02x", i);
		n += qio_mem_count(&w->disk, dir);
	}
	return n - count_relics(w, true, "queue/");
}

/* Loading sends what is damaged to corrupt/. */
static bool find_damage(struct world *w)
{
	struct queue_item *item;
	struct queue_done done;
	size_t cursor = 0;
	while ((item = queue_next_item(w->q, &cursor)) != NULL) {
		char id[QUEUE_ID_MAX];
		if (ledger_find(&w->ledger, queue_item_id(item, id)) != NULL)
			continue;
		if (w->relics_n == 0)
			world_abort(w, "%s was never sent", id);
		queue_take(w->q, item);
		if (world_run(w, queue_op_load(item), &done) != ERR_CORRUPT || done.item != NULL)
			world_abort(w, "%s is damaged, and read: %d", id, done.result);
		return true;
	}
	return false;
}

void world_check(struct world *w, bool for_good)
{
	size_t with_files = 0;
	if (w->q == NULL && world_open(w) < 0)
		world_abort(w, "it doesn't start");
	while (find_damage(w))
		continue;
	for (size_t i = 0; i < w->ledger.parts_n; i++) {
		struct ledger_part *p = w->ledger.parts[i];
		struct queue_item *item = world_item(w, p);
		p->found = false;
		if (item != NULL)
			check_item(w, p, item, for_good);
		if (!p->found)
			check_absent(w, p, for_good);
		with_files += p->found && p->has_file;
	}
	check_reports(w, for_good);
	check_relics(w);
	if (count_files(w) != with_files)
		world_abort(w, "%zu queue files, %zu items that have one", count_files(w),
		    with_files);
	if (qio_mem_count(&w->disk, "tmp") != count_relics(w, true, "tmp/"))
		world_abort(w, "%zu files are left in tmp/", qio_mem_count(&w->disk, "tmp"));
}

static bool is_zero(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != 0)
			return false;
	}
	return true;
}

static void on_file(void *arg, const char *path, struct slice bytes)
{
	uint64_t *sum = arg;
	/* A segment that was never used says nothing; how many there are is no matter. */
	if (strcmp(path, "state/epoch") == 0 ||
	    (strncmp(path, "journal/", 8) == 0 && is_zero(bytes)))
		return;
	uint32_t crc = codec_crc32c(0, path, strlen(path));
	*sum += ((uint64_t)crc << 32) + codec_crc32c(crc, bytes.p, bytes.n);
}

uint64_t world_fingerprint(const struct world *w)
{
	uint64_t sum = 0;
	qio_mem_walk(&w->disk, on_file, &sum);
	return sum;
}

/* --- files as they should not be ------------------------------------------------------ */

struct find {
	const char *id;
	char *path;
	size_t max, hits;
};

static void on_queue_file(void *arg, const char *path, struct slice bytes UNUSED)
{
	struct find *f = arg;
	if (strncmp(path, "queue/", 6) != 0 || strstr(path, f->id) == NULL)
		return;
	snprintf(f->path, f->max, "%s", path);
	f->hits++;
}

bool world_find_file(const struct world *w, size_t part, char *path, size_t max)
{
	struct find f = { w->ledger.parts[part]->id, path, max, 0 };
	qio_mem_walk(&w->disk, on_queue_file, &f);
	return f.hits == 1;
}

static void add_relic(struct world *w, const char *path, struct slice bytes, bool is_foreign)
{
	CHECK(w->relics_n < WORLD_RELICS_MAX);
	CHECK(w->q == NULL);
	struct relic *r = &w->relics[w->relics_n++];
	snprintf(r->path, sizeof(r->path), "%s", path);
	r->bytes = mem_dup(bytes.p, bytes.n);
	r->n = bytes.n;
	r->is_foreign = is_foreign;
	qio_mem_write(&w->disk, path, slice_of(r->bytes, r->n));
}

void world_add_foreign(struct world *w, const char *path, struct slice bytes)
{
	add_relic(w, path, bytes, true);
}

void world_add_damaged(struct world *w, const char *path, struct slice bytes)
{
	add_relic(w, path, bytes, false);
}
