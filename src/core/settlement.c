#include "core/settlement.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/accounting.h"
#include "core/bounce.h"
#include "core/committer.h"
#include "core/dispatch.h"

#define SETTLEMENT_RETRY_MS 5000 /* a disk that refused an outcome is asked again after this */
#define SETTLEMENT_OWED_MAX 64   /* paid in a second */
#define SETTLEMENT_TEXT_MAX 4000 /* of a reply kept with the recipient */

struct settled { /* one recipient's outcome with all that is told of it */
	struct event event;
	const char *diagnostic; /* the peer's last reply; "" if there never was one */
	struct attempt_host host;
};

struct settlement {
	struct mta_work work;  /* its deadline retries a failed settle */
	struct list_node node; /* in mta->refused while it waits for that */
	struct queue_item *item;
	struct arena arena;
	struct queue_outcome *outcomes;
	struct settled *settled;
	size_t n;
	struct dsn_rcpt *reports; /* those whose failure the sender is told of */
	size_t reports_n;         /* 0: none, or the report is stored */
	const char *report_domain;
	/* Of recipients that have failed as often: they stay together in all their attempts. */
	uint16_t retry_attempts; /* 0: none yet */
	int64_t retry_ms;
	bool events_written;
	char parked[QUEUE_ID_MAX]; /* the item rests with outcomes only memory knows; "": it is ours
				    */
};

static void settle(struct settlement *s, struct now now);
static void settlement_free(struct settlement *s);

/* An item that rests may have been tried again and be gone by now: it is looked for. */
static bool take_parked(struct settlement *s)
{
	struct queue *q = s->work.mta->queue;
	struct queue_item *item;

	if (queue_find(q, slice_str(s->parked), &item, 1) == 0 || !item->mail || item->flushed ||
	    (item->state != QUEUE_ITEM_PARKED && item->state != QUEUE_ITEM_HELD))
		return false;
	queue_take(q, item);
	s->item = item;
	s->n = 0; /* they are in the item's mail */
	s->parked[0] = '\0';
	return true;
}

static void on_retry(struct mta_work *w, struct now now)
{
	struct settlement *s = container_of(w, struct settlement, work);

	if (!s->parked[0] || take_parked(s))
		settle(s, now);
	else
		settlement_free(s);
}

static struct settlement *settlement_new(struct mta *m, struct queue_item *item, size_t n)
{
	struct settlement *s = mem_zalloc(sizeof(*s));

	mta_work_init(&s->work, m, on_retry);
	list_init(&s->node);
	arena_init(&s->arena);
	s->item = item;
	s->outcomes = arena_zalloc(&s->arena, (n + 1) * sizeof(*s->outcomes));
	s->settled = arena_zalloc(&s->arena, (n + 1) * sizeof(*s->settled));
	return s;
}

static void leave_refused(struct settlement *s)
{
	if (!list_is_linked(&s->node))
		return;
	list_remove(&s->node);
	s->work.mta->refused_n--;
}

static void settlement_free(struct settlement *s)
{
	mta_work_fini(&s->work);
	leave_refused(s);
	arena_fini(&s->arena);
	mem_free(s);
}

void settlement_drop_refused(struct mta *m)
{
	list_foreach_safe(it, &m->refused)
		settlement_free(list_entry(it, struct settlement, node));
}

/* --- what the outcome is ------------------------------------------------------ */

/* The reply's text on one line, or our own words. */
static const char *status_text(struct arena *arena, const struct attempt_rcpt *a)
{
	struct buf folded;
	const char *text;

	buf_init(&folded, REPLY_TEXT_MAX * 4);
	if (a->result.reply.code && !a->verdict.text && reply_fold(&a->result.reply, &folded) == 0)
		text = arena_strndup(arena, buf_ptr(&folded),
		    MIN(buf_len(&folded), SETTLEMENT_TEXT_MAX));
	else if (a->text && a->text[0])
		text = arena_strdup(arena, a->text);
	else if (a->verdict.text)
		text = a->verdict.text;
	else
		text = "";
	buf_fini(&folded);
	return text;
}

void settlement_status(const struct attempt_rcpt *a, struct arena *arena,
    struct envelope_status *st)
{
	st->code = (uint16_t)a->verdict.code;
	memcpy(st->enhanced, a->verdict.enhanced, sizeof(st->enhanced));
	st->text = status_text(arena, a);
	st->host = a->host ? arena_strdup(arena, a->host->host) : "";
	st->ip = a->host ? arena_strdup(arena, a->host->ip) : "";
}

/* Whether a stored text is what a peer said (it then starts with the code) and not our own words.
 */
static bool is_reply(const struct envelope_status *st)
{
	char code[8];

	snprintf(code, sizeof(code), "%03u", st->code);
	return st->host[0] && strncmp(st->text, code, 3) == 0;
}

static void describe_event(struct settled *d, const struct attempt_rcpt *a,
    const struct queue_outcome *o, const struct envelope *env)
{
	struct event *e = &d->event;

	e->envelope = env;
	e->recipient = env->rcpts[o->rcpt].address;
	e->status = &o->status;
	e->stage = a->stage;
	e->attempt = env->rcpts[o->rcpt].attempts + 1U;
	if (!a->host)
		return;
	d->host = *a->host;
	e->port = d->host.port;
	e->mode = d->host.mode;
	e->connected = d->host.connected;
	e->authenticated = d->host.authenticated;
	e->tls = d->host.has_tls ? &d->host.tls : NULL;
}

/* Gives up on a recipient: too many attempts or too old. What was last heard stays as the
 * diagnostic. */
static void give_up(struct settlement *s, struct queue_outcome *o, enum verdict_finding finding)
{
	struct verdict v;

	verdict_of_finding(finding, &v);
	const char *last = o->status.text;
	o->fate = FATE_EXPIRED;
	o->status.code = (uint16_t)v.code;
	memcpy(o->status.enhanced, v.enhanced, sizeof(o->status.enhanced));
	o->status.text = last[0] ? arena_printf(&s->arena, "%s; last: %s", v.text, last) : v.text;
}

static void defer(struct settlement *s, struct queue_outcome *o, const struct envelope_rcpt *rcpt,
    struct now now)
{
	struct mta *m = s->work.mta;
	const struct retry_policy *policy = &m->conf->outbound.retry;
	int64_t arrival_ms = s->item->mail->envelope->arrival_ms;
	int64_t due_ms;

	o->fate = FATE_PENDING;
	if (s->item->flushed && rcpt->due_ms > now.wall_ms) {
		o->attempts =
		    rcpt->attempts; /* a flush costs no interval: back to the time it had */
		o->due_ms = rcpt->due_ms;
		return;
	}
	o->attempts = (uint16_t)MIN(rcpt->attempts + 1, UINT16_MAX);
	if (s->retry_attempts == o->attempts) {
		o->due_ms = s->retry_ms;
		return;
	}
	if (!retry_next(policy, o->attempts, arrival_ms, now.wall_ms, &m->rng, &due_ms)) {
		give_up(s, o,
		    now.wall_ms >= retry_expires_at(policy, arrival_ms)
			? VERDICT_FINDING_EXPIRED
			: VERDICT_FINDING_TOO_MANY_ATTEMPTS);
		return;
	}
	o->due_ms = MIN(due_ms, retry_expires_at(policy, arrival_ms));
	s->retry_attempts = o->attempts;
	s->retry_ms = o->due_ms;
}

static enum event_kind kind_of(enum fate fate)
{
	switch (fate) {
	case FATE_PENDING:
		return EVENT_DEFERRED;
	case FATE_DELIVERED:
		return EVENT_DELIVERED;
	case FATE_BOUNCED:
		return EVENT_BOUNCED;
	case FATE_EXPIRED:
		return EVENT_EXPIRED;
	case FATE_DELETED:
		return EVENT_DELETED;
	case FATE_NONE:
		break;
	}
	UNREACHABLE();
}

static struct queue_outcome *add_outcome(struct settlement *s, const struct attempt_rcpt *a,
    struct now now)
{
	const struct envelope *env = s->item->mail->envelope;
	struct queue_outcome *o = &s->outcomes[s->n];
	struct settled *d = &s->settled[s->n++];

	CHECK(a->index < env->rcpts_n);
	o->rcpt = a->index;
	o->attempts = (uint16_t)MIN(env->rcpts[a->index].attempts + 1, UINT16_MAX);
	o->last_ms = a->host ? now.wall_ms : env->rcpts[a->index].last_ms;
	settlement_status(a, &s->arena, &o->status);
	d->diagnostic = is_reply(&o->status) ? o->status.text : "";
	describe_event(d, a, o, env);
	return o;
}

static void judge(struct settlement *s, const struct attempt_rcpt *a, struct now now)
{
	struct queue_outcome *o = add_outcome(s, a, now);
	const struct envelope_rcpt *rcpt = &s->item->mail->envelope->rcpts[a->index];

	switch (a->verdict.kind) {
	case VERDICT_DELIVERED:
		o->fate = FATE_DELIVERED;
		break;
	case VERDICT_BOUNCE:
		o->fate = FATE_BOUNCED;
		break;
	case VERDICT_DEFER:
		defer(s, o, rcpt, now);
		break;
	case VERDICT_NONE:
		UNREACHABLE();
	}
	o->last_ms = now.wall_ms;
}

/* --- telling of it -------------------------------------------------------------- */

static void log_outcome(const struct settled *d, const struct queue_outcome *o)
{
	const struct event *e = &d->event;
	const char *fate = o->fate == FATE_PENDING ? "deferred" : fate_name(o->fate);

	log_write(o->fate == FATE_DELIVERED ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE, "delivery",
	    "%s: %s to=<%s> host=%s[%s] code=%u enhanced=%u.%u.%u tls=%s attempt=%u response=%s",
	    e->envelope->queue_id, fate, e->recipient, o->status.host, o->status.ip, o->status.code,
	    o->status.enhanced[0], o->status.enhanced[1], o->status.enhanced[2],
	    e->tls ? e->tls->version : "no", e->attempt, o->status.text);
}

static void write_events(struct settlement *s, struct now now)
{
	if (s->events_written)
		return;
	s->events_written = true;
	for (size_t i = 0; i < s->n; i++) {
		struct settled *d = &s->settled[i];
		const struct queue_outcome *o = &s->outcomes[i];
		d->event.kind = kind_of(o->fate);
		d->event.next_attempt_ms = o->fate == FATE_PENDING ? o->due_ms : 0;
		accounting_add(s->work.mta->accounting, &d->event, now);
		log_outcome(d, o);
	}
}

/* --- recording it --------------------------------------------------------------- */

static void on_held(void *arg, struct queue_done *done)
{
	(void)arg;
	if (done->result < 0)
		log_error("queue", "%s: hold not recorded: %s", done->id, err_text(done->result));
}

/* A hold that was asked for while the settle was running is in force, but not yet in the file's
 * name: a restart would forget it. */
static void record_hold(struct mta *m, struct queue_item *item)
{
	struct now now = loop_now(m->loop);

	if (item && item->state == QUEUE_ITEM_HELD && !item->name_held)
		committer_add(m->committer, queue_op_hold(item, true, now), on_held, NULL);
}

/* The disk is asked again until it takes it, with the same outcomes. */
static void ask_again(struct settlement *s)
{
	struct mta *m = s->work.mta;

	list_push(&m->refused, &s->node);
	m->refused_n++;
	mta_deadline(&s->work, loop_now(m->loop).mono_ms + SETTLEMENT_RETRY_MS);
}

static void on_reported(struct settlement *s, struct queue_done *done)
{
	log_info("bounce", "%s: report %s is on its way", done->id, done->report);
	s->reports_n = 0;
	dispatch_add_new(s->work.mta->dispatch, &done->items);
}

static void on_settled(void *arg, struct queue_done *done)
{
	struct settlement *s = arg;

	if (!list_is_empty(&done->items))
		on_reported(s, done);
	if (done->result < 0)
		log_error("queue", "%s: outcome not recorded: %s", done->id,
		    err_text(done->result));
	if (done->result < 0 && done->item && done->item->mail) {
		if (done->item->state == QUEUE_ITEM_ACTIVE)
			s->item = done->item;
		else
			snprintf(s->parked, sizeof(s->parked), "%s", done->id);
		ask_again(s);
		return;
	}
	if (done->result == 0)
		record_hold(s->work.mta, done->item);
	settlement_free(s);
}

/* Made anew each time: while the disk refuses it, it costs no memory. */
static void settle(struct settlement *s, struct now now)
{
	struct mta *m = s->work.mta;
	struct queue_msg *report = NULL;

	leave_refused(s);
	write_events(s, now);
	if (s->reports_n > 0) {
		int err = bounce_make(m, s->item->mail, s->reports, s->reports_n, &report);
		if (err < 0) {
			log_error("bounce", "%s: report not made: %s",
			    s->item->mail->envelope->queue_id, err_text(err));
			ask_again(s);
			return;
		}
	}
	struct queue_op *op = queue_op_settle(s->item, s->outcomes, s->n, now);
	if (report)
		queue_op_add_report(op, &report, &s->report_domain);
	s->item = NULL;
	committer_add(m->committer, op, on_settled, s);
}

static char *status_code(struct arena *a, const struct envelope_status *st)
{
	return arena_printf(a, "%u.%u.%u", st->enhanced[0], st->enhanced[1], st->enhanced[2]);
}

static void fill_report_rcpt(struct settlement *s, size_t i, struct dsn_rcpt *r)
{
	const struct queue_outcome *o = &s->outcomes[i];
	const struct envelope_rcpt *rcpt = &s->item->mail->envelope->rcpts[o->rcpt];

	*r = (struct dsn_rcpt){
		.address = rcpt->address,
		.orcpt = rcpt->orcpt,
		.status = status_code(&s->arena, &o->status),
		.diagnostic = s->settled[i].diagnostic,
		.remote_mta = o->status.host,
		.reason = o->status.text,
		.last_attempt_ms = o->last_ms,
	};
}

/* Which recipients a report is due for, if it can go anywhere. */
static void choose_reported(struct settlement *s)
{
	const struct envelope *env = s->item->mail->envelope;
	size_t n = 0;

	s->reports = arena_zalloc(&s->arena, (s->n + 1) * sizeof(*s->reports));
	for (size_t i = 0; i < s->n; i++) {
		const struct queue_outcome *o = &s->outcomes[i];
		bool failed = o->fate == FATE_BOUNCED || o->fate == FATE_EXPIRED;
		if (failed && bounce_is_due(env, &env->rcpts[o->rcpt]))
			fill_report_rcpt(s, i, &s->reports[n++]);
	}
	if (n > 0)
		s->report_domain = bounce_destination(env, &s->arena);
	if (s->report_domain)
		s->reports_n = n;
}

void settlement_start(struct mta *m, struct queue_item *item, const struct attempt_rcpt *rcpts,
    size_t n, struct now now)
{
	struct settlement *s = settlement_new(m, item, n);

	CHECK(item->mail != NULL);
	for (size_t i = 0; i < n; i++)
		judge(s, &rcpts[i], now);
	choose_reported(s);
	settle(s, now);
}

struct ending { /* of our own finding */
	enum verdict_finding finding;
	enum fate fate;
	const struct envelope_status *last; /* heard since the last attempt, or NULL */
};

/* All pending recipients get the same. */
static void settle_all(struct mta *m, struct queue_item *item, const struct ending *end,
    struct now now)
{
	const struct envelope *env = item->mail->envelope;
	struct settlement *s = settlement_new(m, item, env->rcpts_n);

	for (size_t i = 0; i < env->rcpts_n; i++) {
		if (fate_is_final(env->rcpts[i].fate))
			continue;
		struct attempt_rcpt a = { .index = i, .stage = SMTP_STAGE_LOCAL };
		verdict_of_finding(end->finding, &a.verdict);
		struct queue_outcome *o = add_outcome(s, &a, now);
		struct settled *d = &s->settled[s->n - 1];
		const struct envelope_status *last = end->last ? end->last : &env->rcpts[i].status;
		o->status.text = arena_strdup(&s->arena, last->text);
		o->status.host = arena_strdup(&s->arena, last->host);
		o->status.ip = arena_strdup(&s->arena, last->ip);
		d->diagnostic = is_reply(last) ? o->status.text : "";
		give_up(s, o, end->finding);
		o->fate = end->fate;
		o->attempts = env->rcpts[i].attempts;
		d->event.attempt = env->rcpts[i].attempts;
	}
	if (end->fate != FATE_DELETED)
		choose_reported(s);
	settle(s, now);
}

bool settlement_expire(struct mta *m, struct queue_item *item, const struct envelope_status *last,
    struct now now)
{
	const struct ending end = { VERDICT_FINDING_EXPIRED, FATE_EXPIRED, last };

	if (now.wall_ms <
	    retry_expires_at(&m->conf->outbound.retry, item->mail->envelope->arrival_ms))
		return false;
	settle_all(m, item, &end, now);
	return true;
}

void settlement_delete(struct mta *m, struct queue_item *item, struct now now)
{
	const struct ending end = { VERDICT_FINDING_DELETED, FATE_DELETED, NULL };

	settle_all(m, item, &end, now);
}

void settlement_rest(struct mta *m, struct queue_item *item, struct now now)
{
	settle(settlement_new(m, item, 0), now);
}

static void on_owed_loaded(void *arg, struct queue_done *done)
{
	struct mta *m = arg;

	if (!done->item)
		return; /* all was decided, and it is gone now */
	if (done->result == 0) {
		settlement_rest(m, done->item, loop_now(m->loop));
		return;
	}
	log_error("queue", "%s: can't be read: %s", done->id, err_text(done->result));
	queue_park(m->queue, done->item, 0);
}

void settlement_repay(struct mta *m)
{
	struct queue_item *items[SETTLEMENT_OWED_MAX];
	size_t n = queue_take_owed(m->queue, items, ARRAY_LEN(items));

	for (size_t i = 0; i < n; i++)
		committer_add(m->committer, queue_op_load(items[i]), on_owed_loaded, m);
}
