#include "fault/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
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

int world_run(struct world *w, struct queue_op *op, struct queue_done *done)
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
		if (op != NULL && world_run(w, op, &done) < 0 && ++failed == SCAN_TRIES)
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
	unsigned before = w->fault.fired;
	queue_close(&w->q);
	if (!w->disk.dead && w->fault.fired == before)
		ledger_synced(&w->ledger, false);
	else
		ledger_forget_told(&w->ledger);
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

struct queue_item *world_item(struct world *w, const struct ledger_part *p)
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

/* What is received goes into the ledger as asked for. */
static void note_message(struct world *w, struct queue_msg *m, size_t domains, size_t rcpts,
    size_t bytes)
{
	const struct envelope *e = queue_msg_envelope(m);
	char id[QUEUE_ID_MAX + 16];
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
}

static struct queue_op *prepare_commit(struct world *w, size_t domains, size_t rcpts, size_t bytes)
{
	struct queue_msg *m = receive(w, domains, rcpts, bytes);
	const struct envelope *e = queue_msg_envelope(m);
	const char **names = mem_alloc(e->rcpts_n * sizeof(*names));
	for (size_t i = 0; i < e->rcpts_n; i++)
		names[i] = strrchr(e->rcpts[i].address, '@') + 1;
	note_message(w, m, domains, rcpts, bytes);
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
	(void)!world_run(w, op, &done);
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
	struct queue_item *item = world_item(w, p);
	if (item == NULL)
		return NULL;
	if (item->state != QUEUE_ITEM_ACTIVE)
		queue_take(w->q, item);
	if (item->mail != NULL || world_run(w, queue_op_load(item), &done) == 0)
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
	(void)!world_run(w, queue_op_settle(item, outcomes, n, w->now), &done);
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
				w->now.wall_ms, ledger_number(w->replies, w->words) };
		if (!fate_is_final(r->fate))
			s->is = LEDGER_LIVE;
	}
	(void)!settle_as_asked(w, p, item, rcpt);
	advance(w, 10);
}

/* As asked for last; again, should it have been refused. */
static void bounce_as_asked(struct world *w, struct ledger_part *p, struct queue_item *item)
{
	static const char *const domains[] = { "d0.test" };
	struct queue_outcome outcomes[LEDGER_RCPTS_MAX];
	struct queue_done done;
	for (size_t i = 0; i < p->rcpts_n; i++)
		outcomes[i] = outcome_of(i, &ledger_last(p)->rcpts[i]);
	struct queue_msg *m = receive(w, 1, 1, WORLD_SMALL);
	p->report = w->ledger.parts_n;
	note_message(w, m, 1, 1, WORLD_SMALL);
	struct ledger_part *report = world_part(w, p->report);
	struct queue_op *op = queue_op_settle(item, outcomes, p->rcpts_n, w->now);
	queue_op_add_report(op, &m, domains);
	(void)!world_run(w, op, &done);
	bool stored = !list_is_empty(&done.items);
	list_foreach_safe(node, &done.items)
		list_remove(node);
	if (!stored && done.result == 0)
		world_abort(w, "a bounce went well without its report");
	if (is_deaf(w))
		return;
	if (!stored)
		(void)ledger_ask(report, LEDGER_ABSENT);
	ledger_tell(report, stored);
	if (done.result == 0)
		ledger_tell(p, false);
}

void world_bounce(struct world *w, size_t part)
{
	struct ledger_part *p = world_part(w, part);
	struct queue_item *item = take(w, p);
	if (item == NULL)
		return;
	struct ledger_state *s = ledger_ask(p, LEDGER_GONE);
	w->replies++;
	for (size_t i = 0; i < p->rcpts_n; i++)
		s->rcpts[i] = (struct ledger_rcpt){ FATE_BOUNCED, s->rcpts[i].attempts + 1, 0,
			w->now.wall_ms, ledger_number(w->replies, w->words) };
	bounce_as_asked(w, p, item);
}

void world_hold(struct world *w, size_t part, bool hold)
{
	struct ledger_part *p = world_part(w, part);
	struct queue_item *item = world_item(w, p);
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
	(void)!world_run(w, op, &done);
	p->hold_unknown = done.result < 0;
	if (p->hold_unknown || is_deaf(w))
		return;
	p->held = hold;
	if (in_journal)
		p->may_be_held[!hold] = false;
}

void world_load(struct world *w, size_t part)
{
	struct queue_item *item = world_item(w, world_part(w, part));
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
	struct queue_item *item = world_item(w, world_part(w, part));
	if (item != NULL && item->state == QUEUE_ITEM_ACTIVE)
		queue_unload(w->q, item);
	item = take(w, world_part(w, part));
	if (item == NULL)
		return;
	queue_body_unref(&w->kept);
	w->kept = queue_body_ref(item->mail->body);
}

void world_wait(struct world *w, int64_t ms)
{
	advance(w, ms);
}

/* Items whose end only a report's record tells. */
static void settle_owed(struct world *w)
{
	struct queue_item *items[8];
	struct queue_done done;
	size_t n = queue_take_owed(w->q, items, ARRAY_LEN(items));
	for (size_t i = 0; i < n; i++) {
		struct queue_item *item = items[i];
		if (item->mail == NULL && world_run(w, queue_op_load(item), &done) < 0) {
			if (done.item != NULL)
				queue_park(w->q, item, 0);
			continue;
		}
		(void)!world_run(w, queue_op_settle(item, NULL, 0, w->now), &done);
	}
}

void world_sync(struct world *w)
{
	struct queue_done done;
	if (w->q == NULL)
		return;
	settle_owed(w);
	struct queue_op *op = queue_op_sync(w->q, w->now, 0);
	int err = op == NULL ? 0 : world_run(w, op, &done);
	if (err == 0 && !is_deaf(w))
		ledger_synced(&w->ledger, op == NULL);
}

/* --- a sound disk ------------------------------------------------------------------ */

/* Everything rests, and what was asked but not said to be done is asked again. */
static void settle_again(struct world *w, struct ledger_part *p)
{
	struct queue_item *item = world_item(w, p);
	if (item != NULL && p->told + 1 < p->states_n && p->states[p->told].is == LEDGER_LIVE) {
		item = take(w, p);
		bool refused =
		    p->report > 0 && ledger_last(world_part(w, p->report))->is == LEDGER_ABSENT;
		if (item != NULL && refused)
			bounce_as_asked(w, p, item);
		else if (item == NULL || settle_as_asked(w, p, item, SIZE_MAX) < 0)
			world_abort(w, "%s can't be settled, though the disk is well again", p->id);
		if (p->told + 1 < p->states_n)
			world_abort(w, "%s can't be bounced, though the disk is well again", p->id);
		item = world_item(w, p);
	}
	if (item != NULL && item->state == QUEUE_ITEM_ACTIVE)
		queue_park(w->q, item, 0);
}

void world_mend(struct world *w)
{
	if (w->q == NULL && world_open(w) < 0)
		world_abort(w, "it doesn't start, though the disk is well again");
	world_sync(w); /* which closes what failed: until then a report may still be refused */
	for (size_t i = 0; i < w->ledger.parts_n; i++)
		settle_again(w, w->ledger.parts[i]);
	for (unsigned i = 0; i < MEND_ROUNDS; i++) {
		struct queue_done done;
		settle_owed(w);
		struct queue_op *op = queue_op_sync(w->q, w->now, 0);
		if (op == NULL) {
			ledger_synced(&w->ledger, true);
			return;
		}
		if (world_run(w, op, &done) < 0)
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
