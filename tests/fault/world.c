#include "fault/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "lib/unit.h"

#define SEGMENTS    4
#define SCAN_TRIES  2
#define MEND_ROUNDS 5

/* --- life ------------------------------------------------------------------------- */

void world_abort_at(const struct world *w, const char *file, int line, const char *format, ...)
{
	char text[1000];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	_ck_assert_failed(file, line, text, "%s: %s", w->where, text);
	UNREACHABLE();
}

void world_init(struct world *w, bool no_journal, uint64_t seed)
{
	*w = (struct world){ .now = { .wall_ms = INT64_C(1790000000000), .mono_ms = 1000000 } };
	qio_mem_init(&w->disk, seed);
	qio_fault_init(&w->fault, &w->disk.io);
	w->fault.lose = qio_mem_lose_unsynced;
	prng_init(&w->luck, seed + 1);
	w->opt = (struct queue_options){ .directory = "spool",
		.qio = &w->fault.io,
		.seed = seed,
		.space_min_bytes = 1,
		.memory_max_bytes = seed % 2, /* 1: none; bodies are read from where they are */
		.no_journal = no_journal,
		.journal_segment_bytes = WORLD_SEGMENT_BYTES,
		.journal_segments_max = SEGMENTS };
}

void world_fini(struct world *w)
{
	world_close(w);
	qio_mem_revive(&w->disk); /* looks that nothing is open */
	qio_mem_fini(&w->disk);
	ledger_fini(&w->ledger);
	for (size_t i = 0; i < w->relics_n; i++)
		mem_free(w->relics[i].bytes);
	w->relics_n = 0;
}

static void advance(struct world *w, int64_t ms)
{
	w->now.wall_ms += ms;
	w->now.mono_ms += ms;
}

static int run(struct world *w, struct queue_op *op, struct queue_done *done)
{
	queue_run(w->q, &op, 1);
	queue_finish(w->q, &op, w->now, done);
	return done->result;
}

int world_open(struct world *w)
{
	struct errbuf eb = { "" };
	advance(w, 1000);
	w->opt.seed++;
	int err = queue_open(&w->q, &w->opt, w->now, &eb);
	if (err < 0 && (w->q != NULL || eb.text[0] == '\0'))
		world_abort(w, "a start that fails with %d says nothing", err);
	for (unsigned failed = 0; err == 0 && !queue_scan_is_done(w->q);) {
		struct queue_done done;
		struct queue_op *op = queue_op_scan(w->q);
		if (op != NULL && run(w, op, &done) < 0 && ++failed == SCAN_TRIES)
			err = done.result;
		(void)queue_scan_step(w->q, w->now);
	}
	if (err < 0)
		world_close(w);
	return err;
}

void world_close(struct world *w)
{
	queue_body_unref(&w->kept);
	if (w->q == NULL)
		return;
	queue_close(&w->q);
	if (!w->disk.dead && w->fault.countdown == 0)
		ledger_synced(&w->ledger, false);
}

static void die(struct world *w)
{
	w->disk.dead = true;
	world_close(w);
	ledger_forget_told(&w->ledger);
	advance(w, 60000);
}

void world_lose_power(struct world *w)
{
	die(w);
	qio_mem_restart(&w->disk);
}

void world_kill(struct world *w)
{
	die(w);
	qio_mem_revive(&w->disk);
}

/* --- asking ----------------------------------------------------------------------- */

struct ledger_part *world_part(struct world *w, size_t part)
{
	CHECK(part < w->ledger.parts_n);
	return w->ledger.parts[part];
}

static struct queue_item *item_of(struct world *w, const struct ledger_part *p)
{
	struct queue_item *item = NULL;
	if (w->q != NULL)
		(void)queue_find(w->q, slice_str(p->id), &item, 1);
	return item;
}

/* What it answers nobody hears any more. */
static bool is_deaf(const struct world *w)
{
	return w->disk.dead;
}

static struct queue_msg *receive(struct world *w, size_t domains, size_t rcpts, size_t bytes)
{
	char address[64];
	struct queue_msg *m = queue_begin(w->q, w->now);
	struct envelope *e = queue_msg_envelope(m);
	CHECK(rcpts <= LEDGER_RCPTS_MAX);
	e->sender = envelope_str(e, SLICE("sender@example.com"));
	e->envid = envelope_str(e, SLICE("envid"));
	for (size_t d = 0; d < domains; d++) {
		for (size_t r = 0; r < rcpts; r++) {
			snprintf(address, sizeof(address), "r%zu@d%zu.test", r, d);
			envelope_add_rcpt(e, slice_str(address), SLICE("rfc822;o"),
			    ENVELOPE_NOTIFY_FAILURE);
		}
	}
	for (size_t at = 0, n; at < bytes; at += n) {
		const char *p = ledger_body(w->ledger.msgs_n, at, &n);
		n = MIN(n, bytes - at);
		int err = queue_append(m, p, n);
		(void)err; /* sticks; the commit tells */
	}
	return m;
}

static struct queue_op *prepare_commit(struct world *w, size_t domains, size_t rcpts, size_t bytes)
{
	struct queue_msg *m = receive(w, domains, rcpts, bytes);
	struct envelope *e = queue_msg_envelope(m);
	const char **names = mem_alloc(e->rcpts_n * sizeof(*names));
	char id[QUEUE_ID_MAX + 16];
	for (size_t i = 0; i < e->rcpts_n; i++)
		names[i] = strrchr(e->rcpts[i].address, '@') + 1;
	for (size_t d = 0; d < domains; d++) {
		snprintf(id, sizeof(id), "%s-%zu", queue_msg_id(m), d + 1);
		struct ledger_part *p = ledger_add(&w->ledger, id, e->arrival_ms);
		snprintf(p->domain, sizeof(p->domain), "d%zu.test", d);
		p->rcpts_n = rcpts;
		p->bytes = bytes;
		p->msg = w->ledger.msgs_n;
		(void)ledger_ask(p, LEDGER_LIVE);
	}
	w->ledger.msgs_n++;
	struct queue_op *op = queue_op_commit(&m, names, w->now);
	mem_free(names);
	return op;
}

static void note_commit(struct world *w, size_t first, size_t domains, struct queue_done *done)
{
	size_t items = 0;
	list_foreach_safe(node, &done->items) {
		struct queue_item *item = list_entry(node, struct queue_item, link);
		list_remove(node);
		if (item->state != QUEUE_ITEM_ACTIVE)
			world_abort(w, "mail comes out of a commit in state %u", item->state);
		items++;
	}
	if (items != (done->result == 0 ? domains : 0))
		world_abort(w, "commit: %d, %zu items", done->result, items);
	for (size_t d = 0; d < domains && !is_deaf(w); d++) {
		struct ledger_part *p = world_part(w, first + d);
		if (done->result < 0)
			(void)ledger_ask(p, LEDGER_ABSENT);
		ledger_tell(p, done->result == 0);
	}
}

size_t world_commit(struct world *w, size_t domains, size_t rcpts, size_t bytes)
{
	size_t first = w->ledger.parts_n;
	struct queue_done done;
	if (w->q == NULL)
		return first;
	struct queue_op *op = prepare_commit(w, domains, rcpts, bytes);
	(void)!run(w, op, &done);
	note_commit(w, first, domains, &done);
	advance(w, 10);
	return first;
}

void world_commit_batch(struct world *w, size_t n, size_t bytes)
{
	struct queue_op *ops[8] = { NULL };
	struct queue_done done;
	size_t first = w->ledger.parts_n;
	CHECK(n <= ARRAY_LEN(ops));
	for (size_t i = 0; i < n; i++)
		ops[i] = prepare_commit(w, 2, 1, bytes);
	queue_run(w->q, ops, n);
	for (size_t i = 0; i < n; i++) {
		queue_finish(w->q, &ops[i], w->now, &done);
		note_commit(w, first + 2 * i, 2, &done);
	}
}

void world_abort_message(struct world *w, size_t bytes)
{
	struct queue_msg *m = receive(w, 1, 1, bytes);
	queue_abort(&m);
}

/* ACTIVE and loaded; NULL if it is not there, or can't be read now. */
static struct queue_item *take(struct world *w, const struct ledger_part *p)
{
	struct queue_done done;
	struct queue_item *item = item_of(w, p);
	if (item == NULL)
		return NULL;
	if (item->state != QUEUE_ITEM_ACTIVE)
		queue_take(w->q, item);
	if (item->mail != NULL || run(w, queue_op_load(item), &done) == 0)
		return item;
	if (done.result == ERR_CORRUPT)
		world_abort(w, "%s is taken for damaged", p->id);
	if (done.item != NULL)
		queue_park(w->q, item, 0);
	return NULL;
}

static int64_t some_due(struct world *w)
{
	return w->now.wall_ms + WORLD_RESERVED + (int64_t)prng_below(&w->luck, WORLD_RESERVED);
}

static struct queue_outcome outcome_of(size_t i, const struct ledger_rcpt *r)
{
	return (struct queue_outcome){ .rcpt = i,
		.fate = r->fate,
		.attempts = (uint16_t)r->attempts,
		.due_ms = r->due_ms,
		.last_ms = r->last_ms,
		.status = ledger_reply(r->reply) };
}

/* The outcomes of those that do not wait untouched in the last state; and what comes of it. */
static int settle_as_asked(struct world *w, struct ledger_part *p, struct queue_item *item,
    size_t rcpt)
{
	struct queue_outcome outcomes[LEDGER_RCPTS_MAX];
	struct queue_done done;
	size_t n = 0;
	const struct ledger_state *s = ledger_last(p);
	for (size_t i = 0; i < p->rcpts_n; i++) {
		if (s->rcpts[i].reply > 0 && (rcpt == i || rcpt == SIZE_MAX))
			outcomes[n++] = outcome_of(i, &s->rcpts[i]);
	}
	bool in_journal = item->record != NULL;
	bool held = item->want_hold;
	p->may_be_held[held] = true;
	(void)!run(w, queue_op_settle(item, outcomes, n, w->now), &done);
	bool live = s->is == LEDGER_LIVE;
	if (done.result < 0 && done.item != item)
		world_abort(w, "%s is gone after a settle that failed", p->id);
	if (done.result == 0 && (done.item != NULL) != live)
		world_abort(w, "%s is %s after its settle", p->id, live ? "gone" : "still there");
	if (done.result < 0 || is_deaf(w))
		return done.result;
	ledger_tell(p, live);
	p->held = held;
	p->hold_unknown = false;
	if (in_journal && live && n > 0)
		p->may_be_held[!held] = false;
	return 0;
}

void world_settle(struct world *w, size_t part, size_t rcpt, enum fate fate)
{
	struct ledger_part *p = world_part(w, part);
	struct queue_item *item = take(w, p);
	if (item == NULL)
		return;
	struct ledger_state *s = ledger_ask(p, LEDGER_GONE);
	w->replies++;
	for (size_t i = 0; i < p->rcpts_n; i++) {
		struct ledger_rcpt *r = &s->rcpts[i];
		bool is_meant = rcpt == i || rcpt == SIZE_MAX;
		if (is_meant && !fate_is_final(r->fate))
			*r = (struct ledger_rcpt){ fate, r->attempts + 1, some_due(w),
				w->now.wall_ms, w->replies };
		if (!fate_is_final(r->fate))
			s->is = LEDGER_LIVE;
	}
	(void)!settle_as_asked(w, p, item, rcpt);
	advance(w, 10);
}

void world_hold(struct world *w, size_t part, bool hold)
{
	struct ledger_part *p = world_part(w, part);
	struct queue_item *item = item_of(w, p);
	struct queue_done done;
	if (item == NULL)
		return;
	bool in_journal = item->record != NULL;
	struct queue_op *op = queue_op_hold(item, hold, w->now);
	p->may_be_held[hold] = true;
	if (op == NULL) { /* with its next settle */
		p->hold_unknown = true;
		return;
	}
	(void)!run(w, op, &done);
	p->hold_unknown = done.result < 0;
	if (p->hold_unknown || is_deaf(w))
		return;
	p->held = hold;
	if (in_journal)
		p->may_be_held[!hold] = false;
}

void world_load(struct world *w, size_t part)
{
	struct queue_item *item = item_of(w, world_part(w, part));
	if (item == NULL)
		return;
	if (item->state == QUEUE_ITEM_ACTIVE)
		queue_unload(w->q, item);
	item = take(w, world_part(w, part));
	if (item != NULL)
		queue_park(w->q, item, 0);
}

void world_keep_body(struct world *w, size_t part)
{
	struct queue_item *item = item_of(w, world_part(w, part));
	if (item != NULL && item->state == QUEUE_ITEM_ACTIVE)
		queue_unload(w->q, item);
	item = take(w, world_part(w, part));
	if (item == NULL)
		return;
	queue_body_unref(&w->kept);
	w->kept = queue_body_ref(item->mail->body);
}

void world_sync(struct world *w)
{
	struct queue_done done;
	if (w->q == NULL)
		return;
	struct queue_op *op = queue_op_sync(w->q, w->now, 0);
	int err = op == NULL ? 0 : run(w, op, &done);
	if (err == 0 && !is_deaf(w))
		ledger_synced(&w->ledger, op == NULL);
}

/* --- a sound disk ------------------------------------------------------------------ */

/* Everything rests, and what was asked but not said to be done is asked again. */
static void settle_again(struct world *w, struct ledger_part *p)
{
	struct queue_item *item = item_of(w, p);
	if (item != NULL && p->told + 1 < p->states_n && p->states[p->told].is == LEDGER_LIVE) {
		item = take(w, p);
		if (item == NULL || settle_as_asked(w, p, item, SIZE_MAX) < 0)
			world_abort(w, "%s can't be settled, though the disk is well again", p->id);
		item = item_of(w, p);
	}
	if (item != NULL && item->state == QUEUE_ITEM_ACTIVE)
		queue_park(w->q, item, 0);
}

void world_mend(struct world *w)
{
	if (w->q == NULL && world_open(w) < 0)
		world_abort(w, "it doesn't start, though the disk is well again");
	for (size_t i = 0; i < w->ledger.parts_n; i++)
		settle_again(w, w->ledger.parts[i]);
	for (unsigned i = 0; i < MEND_ROUNDS; i++) {
		struct queue_done done;
		struct queue_op *op = queue_op_sync(w->q, w->now, 0);
		if (op == NULL) {
			ledger_synced(&w->ledger, true);
			return;
		}
		if (run(w, op, &done) < 0)
			world_abort(w, "a sync fails with %d, though the disk is well again",
			    done.result);
	}
	world_abort(w, "there is always something left to sync");
}

static const struct ledger_state *must_be(struct world *w, size_t part, enum ledger_presence is)
{
	const struct ledger_part *p = world_part(w, part);
	if (p->told + 1 != p->states_n || p->states[p->told].is != is)
		world_abort(w, "it doesn't work again: %s is refused", p->id);
	return ledger_last(p);
}

void world_check_works(struct world *w)
{
	size_t first = world_commit(w, 2, 2, WORLD_SMALL);
	must_be(w, first, LEDGER_LIVE);
	world_settle(w, first, 0, FATE_PENDING);
	must_be(w, first, LEDGER_LIVE);
	world_settle(w, first + 1, SIZE_MAX, FATE_DELIVERED);
	must_be(w, first + 1, LEDGER_GONE);
	size_t large = world_commit(w, 1, 1, WORLD_LARGE);
	must_be(w, large, LEDGER_LIVE);
	world_settle(w, large, SIZE_MAX, FATE_BOUNCED);
	must_be(w, large, LEDGER_GONE);
	world_settle(w, first, SIZE_MAX, FATE_EXPIRED);
	must_be(w, first, LEDGER_GONE);
}

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
static size_t match(const struct world *w, const struct ledger_part *p, const struct envelope *e)
{
	char row[1000];
	const char *why = "it should not be there";
	for (size_t i = p->states_n; i > p->sure; i--) {
		if (p->states[i - 1].is != LEDGER_LIVE)
			continue;
		why = ledger_differs(p, &p->states[i - 1], e);
		if (why == NULL)
			return i - 1;
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
	if (item->mail == NULL && run(w, queue_op_load(item), &done) < 0) {
		if (done.item != NULL || done.result != -ENOENT)
			world_abort(w, "%s can't be read: %d", p->id, done.result);
		return; /* its tail says that all is decided */
	}
	check_body(w, p, item->mail->body);
	size_t i = match(w, p, item->mail->envelope);
	queue_park(w->q, item, 0);
	p->found = true;
	p->has_file = has_file;
	if (!for_good)
		return;
	ledger_settle(p, i);
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
			ledger_settle(p, i - 1);
		return;
	}
	ledger_print(p, row, sizeof(row));
	world_abort(w, "%s is lost", row);
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
	if (qio_mem_count(&w->disk, "corrupt") != count_relics(w, false, ""))
		world_abort(w, "%zu files in corrupt/, %zu were damaged",
		    qio_mem_count(&w->disk, "corrupt"), count_relics(w, false, ""));
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
		if (run(w, queue_op_load(item), &done) != ERR_CORRUPT || done.item != NULL)
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
		struct queue_item *item = item_of(w, p);
		p->found = false;
		if (item != NULL)
			check_item(w, p, item, for_good);
		if (!p->found)
			check_absent(w, p, for_good);
		with_files += p->found && p->has_file;
	}
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
