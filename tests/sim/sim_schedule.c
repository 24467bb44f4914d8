/*
 * The schedule: was each attempt made in its time, neither early nor late?
 *
 * Early is simple: not before the time that the deferral's event names.
 * Late is what nothing excuses. While the daemon could take up work, an item
 * that is due waits for a connection to its site, for one of all, or it is at
 * work, and how long that takes is the peer's affair, within bounds
 * (sim_busy.h tells which was the case). That nothing at all was done for its
 * site is excused by nothing but the disk.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/sim_disk.h"
#include "sim/sim_judge.h"
#include "sim/sim_net.h"
#include "sim/sim_said.h"
#include "sim/sim_traffic.h"

#define SCHEDULE_IDLE_MS   (90 * SIM_SECOND) /* two or three slow jobs of the disk in a row */
#define SCHEDULE_PAUSE_MS  (5 * SIM_MINUTE)  /* where hosts ask for one */
#define SCHEDULE_PROMPT_MS (30 * SIM_MINUTE) /* of an attempt where only connections break */
#define SCHEDULE_RATED_MS  (2 * SIM_HOUR) /* of one behind a burst, where few may go in a minute */
#define SCHEDULE_SLOW_MS   (6 * SIM_HOUR) /* elsewhere: every host and every reply to the last */
#define SCHEDULE_REPORT_MS                                                                         \
	(45 * SIM_SECOND)                     /* a report is stored before the events are written  \
					       */
#define SCHEDULE_ARRIVAL_MS (15 * SIM_MINUTE) /* from MAIL, which counts, to the received event */
#define SCHEDULE_RELOAD_MS  SIM_MINUTE        /* around a change either schedule is fine */
#define SCHEDULE_PROBE_MS   (6 * SIM_MINUTE + 90 * SIM_SECOND) /* between two probes of a site */
#define SCHEDULE_EXPIRE_MS  (3 * SIM_HOUR) /* two clocks of an hour, and the work */
#define FLUSHES_MAX         20000
#define ASKS_MAX            30000
#define PERIODS_MAX         2000

struct flush {
	int64_t at_ms;
	const struct sim_domain *domain; /* NULL: all */
};

struct period { /* of a schedule, until the next one */
	int64_t at_ms;
	const struct sim_schedule *schedule;
};

static struct {
	struct flush flushes[FLUSHES_MAX];
	size_t flushes_n;
	struct period periods[PERIODS_MAX];
	size_t periods_n;
	int64_t full_max_ms;
	int64_t asks[ASKS_MAX];
	size_t asks_n;
} notes;

void sim_check_note_ask(void)
{
	CHECK(notes.asks_n < ASKS_MAX);
	notes.asks[notes.asks_n++] = sim.now_ms;
}

bool sim_check_was_asked(int64_t from_ms, int64_t to_ms)
{
	for (size_t i = notes.asks_n; i > 0 && notes.asks[i - 1] >= from_ms; i--)
		if (notes.asks[i - 1] <= to_ms)
			return true;
	return false;
}

void sim_check_note_flush(const struct sim_domain *d)
{
	CHECK(notes.flushes_n < FLUSHES_MAX);
	notes.flushes[notes.flushes_n++] = (struct flush){ sim.now_ms, d };
	sim_check_note_ask();
}

void sim_check_note_schedule(const struct sim_schedule *s)
{
	CHECK(notes.periods_n < PERIODS_MAX);
	if (notes.periods_n == 0 || notes.periods[notes.periods_n - 1].schedule != s)
		notes.periods[notes.periods_n++] = (struct period){ sim.now_ms, s };
}

void sim_check_note_crowd(int64_t full_max_ms)
{
	notes.full_max_ms = MAX(notes.full_max_ms, full_max_ms);
}

static bool was_flushed(const struct sim_rcpt *r, int64_t from_ms, int64_t to_ms)
{
	for (size_t i = 0; i < notes.flushes_n; i++) {
		const struct flush *f = &notes.flushes[i];
		if (f->at_ms >= from_ms - SIM_MINUTE && f->at_ms <= to_ms &&
		    (!f->domain || f->domain == r->domain))
			return true;
	}
	return false;
}

/* --- the schedule in force --------------------------------------------------------------- */

/* From *cursor on, which starts at 0, the next that may have been in force; NULL: no more. */
static const struct sim_schedule *next_in_force(int64_t at_ms, size_t *cursor)
{
	while (*cursor < notes.periods_n) {
		size_t i = (*cursor)++;
		int64_t from = notes.periods[i].at_ms;
		int64_t to = i + 1 < notes.periods_n ? notes.periods[i + 1].at_ms : INT64_MAX / 2;
		if (from <= at_ms + SCHEDULE_RELOAD_MS && to >= at_ms - SCHEDULE_RELOAD_MS)
			return notes.periods[i].schedule;
	}
	return NULL;
}

static int64_t interval_ms(const struct sim_schedule *s, unsigned attempt)
{
	size_t i = attempt == 0 ? 0 : MIN((size_t)attempt, s->intervals_n) - 1;

	return s->intervals_s[i] * 1000;
}

static int64_t jitter_max_ms(int64_t interval)
{
	return MIN(interval / 8, 5 * SIM_MINUTE);
}

/* --- expiry -------------------------------------------------------------------------------- */

static bool is_time_to_expire(const struct sim_schedule *s, const struct sim_event *received,
    const struct sim_event *e)
{
	return e->attempt > s->intervals_n ||
	       e->wall_ms >= received->wall_ms + s->lifetime_s * 1000 - SCHEDULE_ARRIVAL_MS;
}

void sim_judge_expiry(const struct sim_rcpt *r, const struct sim_event *e)
{
	const struct sim_event *received = sim_judge_received(r);
	const struct sim_schedule *s;
	size_t cursor = 0;

	if (!received)
		return;
	while ((s = next_in_force(e->at_ms, &cursor)))
		if (is_time_to_expire(s, received, e))
			return;
	sim_violation("%s: expired too early", r->address);
}

/* --- the interval ---------------------------------------------------------------------------- */

/* Its report was stored in between: events tell of the attempt later than it was. */
static bool waited_for_report(const struct sim_rcpt *r, const struct sim_event *e)
{
	const struct sim_msg *m = r->msg;

	for (size_t i = 0; i < m->rcpts_n; i++)
		for (const struct sim_event *o = m->rcpts[i].events; o; o = o->next)
			if ((o->kind == SIM_EVENT_BOUNCED || o->kind == SIM_EVENT_EXPIRED) &&
			    o->life == e->life && llabs(o->at_ms - e->at_ms) <= SIM_SECOND)
				return true;
	return false;
}

/* What is wrong with a deferral by this schedule; NULL: nothing. */
static const char *find_fault(const struct sim_schedule *s, const struct sim_rcpt *r,
    const struct sim_event *e)
{
	const struct sim_event *received = sim_judge_received(r);
	int64_t delta = e->next_wall_ms - e->wall_ms;

	if (e->attempt < 1 || e->attempt > s->intervals_n)
		return "no interval is left";
	int64_t interval = interval_ms(s, e->attempt);
	int64_t tolerance = waited_for_report(r, e) ? SCHEDULE_REPORT_MS : 0;
	if (delta > interval + jitter_max_ms(interval))
		return "later than its interval";
	if (delta >= interval - tolerance)
		return NULL;
	/* Shorter only where its life ends before. */
	if (r->number < 0 || !received)
		return NULL; /* the arrival is not known here */
	if (llabs(e->next_wall_ms - received->wall_ms - s->lifetime_s * 1000) > SCHEDULE_ARRIVAL_MS)
		return "before its interval";
	return NULL;
}

static void check_interval(const struct sim_rcpt *r, const struct sim_event *before,
    const struct sim_event *e)
{
	const struct sim_schedule *s;
	const char *fault = NULL;
	size_t cursor = 0;

	if (before && before->next_wall_ms == e->next_wall_ms)
		return; /* a flush: back to the time it had */
	if (before && before->life != e->life && was_flushed(r, before->at_ms, e->at_ms) &&
	    e->next_wall_ms <= before->next_wall_ms)
		return; /* the same, bounded at a start with another clock */
	if (sim_disk_was_troubled(e->at_ms, e->at_ms))
		return; /* a report that could not be stored is tried again in a minute */
	while ((s = next_in_force(e->at_ms, &cursor))) {
		fault = find_fault(s, r, e);
		if (!fault)
			return;
	}
	sim_violation("%s: deferred at attempt %u, next in %lld s: %s", r->address, e->attempt,
	    (long long)(e->next_wall_ms - e->wall_ms) / 1000, fault ? fault : "no schedule");
}

/* --- lateness -------------------------------------------------------------------------------- */

/* By how much the clock was set forward, or back (sign -1), in a time. */
static int64_t jumps_ms(int64_t from_ms, int64_t to_ms, int sign)
{
	int64_t sum = 0;

	for (size_t i = 1; i < sim.eras_n; i++) {
		int64_t jump = sim.eras[i].wall_offset_ms - sim.eras[i - 1].wall_offset_ms;
		if (sim.eras[i].begin_ms >= from_ms && sim.eras[i].begin_ms <= to_ms)
			sum += MAX(jump * sign, 0);
	}
	return sum;
}

/* All that waited from when it was due until it was tried comes here. */
static void check_wait(const struct sim_rcpt *r, int64_t from_ms, int64_t to_ms, const char *what)
{
	/* Where hosts ask for pauses it may be one after the other, for a message or two. */
	bool presses = sim_traffic_presses(r->domain);
	int64_t attempt_ms = !r->domain->prompt || presses ? SCHEDULE_SLOW_MS
			     : sim_traffic_was_limited()   ? SCHEDULE_RATED_MS
							   : SCHEDULE_PROMPT_MS;
	int64_t idle_ms = SCHEDULE_IDLE_MS + (presses ? SCHEDULE_PAUSE_MS : 0);
	struct sim_wait w;

	if (to_ms <= from_ms + idle_ms)
		return;
	sim_busy_measure(r->domain->site, from_ms, to_ms, &w);
	if (w.idle_ms > idle_ms)
		sim_violation("%s: %s %lld s late: nothing was done for %s for %lld s", r->address,
		    what, (long long)(to_ms - from_ms) / 1000, r->domain->name,
		    (long long)w.idle_ms / 1000);
	else if (w.free_ms > attempt_ms)
		sim_violation("%s: %s %lld s late: %s had room for it for %lld s", r->address, what,
		    (long long)(to_ms - from_ms) / 1000, r->domain->name,
		    (long long)w.free_ms / 1000);
	else if (w.full_ms > notes.full_max_ms)
		sim_violation("%s: %s %lld s late: starved by other sites for %lld s", r->address,
		    what, (long long)(to_ms - from_ms) / 1000, (long long)w.full_ms / 1000);
}

/* Stored by an earlier life. Should the clock have gone back since, a start may bound it, and is
 * forgiven if not. */
static int64_t stored_due_ms(int64_t wall_ms, const struct sim_life *now)
{
	return MAX(wall_ms - now->wall_offset_ms, now->begin_ms);
}

/* When a deferral's next attempt was due, in the life of e. */
static int64_t due_ms(const struct sim_event *d, const struct sim_event *e)
{
	if (d->life == e->life) /* the clock may be set: what waits does not care */
		return d->at_ms + (d->next_wall_ms - d->wall_ms);
	return stored_due_ms(d->next_wall_ms, &sim.lives[e->life]);
}

/* A start bounds the times it finds by the schedule, which may be another. */
static bool may_be_bounded(const struct sim_event *d, const struct sim_event *e, unsigned attempts)
{
	const struct sim_life *now = &sim.lives[e->life];
	const struct sim_schedule *s;
	size_t cursor = 0;

	while (d->life != e->life && (s = next_in_force(now->begin_ms, &cursor)))
		if (e->at_ms >= now->begin_ms + interval_ms(s, attempts))
			return true;
	return false;
}

static bool is_early(const struct sim_event *d, const struct sim_event *e, unsigned attempts)
{
	/* By any clock: the one it had, the one that was set since, the one its life began with. */
	return e->kind != SIM_EVENT_EXPIRED && e->wall_ms < d->next_wall_ms &&
	       e->at_ms < d->at_ms + (d->next_wall_ms - d->wall_ms) && e->at_ms < due_ms(d, e) &&
	       !may_be_bounded(d, e, attempts);
}

/* --- behind a site that is down --------------------------------------------------------- */

/* It waits for its site: no attempt was made. */
static bool is_told(const struct sim_event *e)
{
	return e->kind == SIM_EVENT_DEFERRED && e->attempt == 0;
}

/* Whatever it waits for, its life ends. */
static void check_age(const struct sim_rcpt *r, int64_t wall_ms, int64_t at_ms)
{
	const struct sim_event *received = r->number < 0 ? NULL : sim_judge_received(r);
	int64_t longest_s = 0;

	for (size_t i = 0; i < notes.periods_n; i++)
		longest_s = MAX(longest_s, notes.periods[i].schedule->lifetime_s);
	if (!received)
		return;
	int64_t end_ms = received->wall_ms + longest_s * 1000 + SCHEDULE_EXPIRE_MS;
	if (wall_ms > end_ms && at_ms > sim.lives[sim.lives_n - 1].begin_ms + SCHEDULE_EXPIRE_MS)
		sim_violation("%s: outlives its lifetime by %lld s", r->address,
		    (long long)(wall_ms - end_ms) / 1000);
}

/* An attempt that failed by what the DNS had said before: nothing of it is seen outside. */
static bool is_by_memory(const struct sim_rcpt *r, const struct sim_event *e)
{
	return e->attempt > 0 && strcmp(e->stage, "dns") == 0 &&
	       sim_said_no(r->domain->site, sim.lives[e->life].begin_ms, e->at_ms);
}

static int64_t next_by_memory(const struct sim_rcpt *r, int64_t from_ms, int64_t to_ms)
{
	for (const struct sim_event *e = r->events; e; e = e->next)
		if (e->at_ms > from_ms && e->at_ms < to_ms && is_by_memory(r, e))
			to_ms = e->at_ms;
	return to_ms;
}

/* When a site was tried so, by anybody's mail, the next time; to_ms: not before. */
static int64_t next_unseen(const struct sim_site *s, int64_t from_ms, int64_t to_ms)
{
	for (size_t i = 0; i < sim_mail_count(); i++) {
		const struct sim_msg *m = sim_mail_get(i);
		if (m->sender.domain && m->sender.domain->site == s)
			to_ms = next_by_memory(&m->sender, from_ms, to_ms);
		for (size_t k = 0; k < m->rcpts_n; k++)
			if (m->rcpts[k].domain->site == s)
				to_ms = next_by_memory(&m->rcpts[k], from_ms, to_ms);
	}
	return to_ms;
}

/* After it was told, until something came of it: the site is probed now and then. */
static void check_probed(const struct sim_rcpt *r, const struct sim_event *told, int64_t to_ms)
{
	const struct sim_site *s = r->domain->site;
	struct sim_wait w;

	sim_busy_measure(s, told->at_ms, to_ms, &w);
	if (w.idle_ms <= SCHEDULE_PROBE_MS)
		return;
	/* Once more, from one to the next of those that can't be seen. */
	for (int64_t at_ms = told->at_ms, next_ms; at_ms < to_ms; at_ms = next_ms) {
		next_ms = next_unseen(s, at_ms, to_ms);
		sim_busy_measure(s, at_ms, next_ms, &w);
		if (w.idle_ms > SCHEDULE_PROBE_MS)
			sim_violation("%s: waits, but %s was not probed for %lld s", r->address,
			    r->domain->name, (long long)w.idle_ms / 1000);
	}
}

/* Its next attempt is set for the end of its life. */
static bool is_capped(const struct sim_rcpt *r, const struct sim_event *d)
{
	const struct sim_event *received = sim_judge_received(r);

	for (size_t i = 0; received && i < notes.periods_n; i++) {
		int64_t end_ms =
		    received->wall_ms + (int64_t)notes.periods[i].schedule->lifetime_s * 1000;
		if (llabs(d->next_wall_ms - end_ms) < 10 * SIM_SECOND)
			return true;
	}
	return false;
}

static bool is_forgotten(const struct sim_event *d, const struct sim_event *later)
{
	return later->life != d->life && sim_judge_may_be_forgotten(d->life, d->at_ms);
}

/* e comes after a deferral d, which came after `before` (or NULL): neither early, nor late. */
static void check_retry(const struct sim_rcpt *r, const struct sim_event *before,
    const struct sim_event *d, const struct sim_event *e, const struct sim_event *told, bool moved)
{
	/* A flushed attempt that fails costs nothing: it is counted again. Where a start with
	 * another clock bounded its time both are possible; so they are where the time it had was
	 * that of one before. */
	bool is_free = before && before->next_wall_ms == d->next_wall_ms;
	bool may_be_free =
	    is_free || (before && was_flushed(r, before->at_ms, d->at_ms) &&
			   (d->next_wall_ms <= before->next_wall_ms || is_forgotten(before, d)));
	bool may_count = !is_free || is_capped(r, d); /* that time may be due to its age */
	bool is_next = (e->attempt == d->attempt + 1 && may_count) ||
		       (e->attempt == d->attempt && may_be_free);
	bool forgotten = is_forgotten(d, e);

	if (moved || forgotten || was_flushed(r, d->at_ms, e->at_ms))
		return;
	bool waited = told && told->life == e->life; /* it was due, and is judged by that event */
	if (!waited && is_early(d, e, d->attempt - is_free) &&
	    (!may_be_free || is_early(d, e, d->attempt - 1)))
		sim_violation("%s: tried %lld s too early", r->address,
		    (long long)(d->next_wall_ms - e->wall_ms) / 1000);
	if (!waited)
		check_wait(r, due_ms(d, e), e->at_ms, "tried");
	/* A report that could not be stored costs no attempt either. */
	if (e->kind == SIM_EVENT_DEFERRED && !is_told(e) && strcmp(e->stage, "local") != 0 &&
	    !is_next && !sim_disk_was_troubled(d->at_ms, d->at_ms))
		sim_violation("%s: attempt %u follows attempt %u", r->address, e->attempt,
		    d->attempt);
}

static void check_first(const struct sim_rcpt *r, const struct sim_event *received,
    const struct sim_event *e)
{
	int64_t due = received->life == e->life
			  ? received->at_ms
			  : stored_due_ms(received->wall_ms, &sim.lives[e->life]);

	check_wait(r, due, e->at_ms, "first tried");
}

/* e tells that it waits: once for each due time. told: the time before, since it was tried. */
static void check_told(const struct sim_rcpt *r, const struct sim_event *told,
    const struct sim_event *e, bool moved)
{
	if (e->next_wall_ms < e->wall_ms)
		sim_violation("%s: waits for the past", r->address);
	if (told && told->life == e->life && !moved &&
	    !sim_disk_was_troubled(told->at_ms, e->at_ms))
		sim_violation("%s: told twice that it waits", r->address);
}

void sim_judge_schedule(const struct sim_rcpt *r, const char *id)
{
	const struct sim_event *last = NULL, *received = NULL;
	/* The last deferral, and the one before it. */
	const struct sim_event *deferral = NULL, *before = NULL;
	const struct sim_event *told = NULL; /* that it waits, since then */
	bool moved = false;                  /* held or released since */

	for (const struct sim_event *e = r->events; e; e = e->next) {
		if (strcmp(e->id, id) != 0)
			continue;
		if (e->kind == SIM_EVENT_RECEIVED)
			received = e;
		if (e->kind == SIM_EVENT_HELD || e->kind == SIM_EVENT_RELEASED ||
		    e->kind == SIM_EVENT_DELETED)
			moved = true;
		if (!sim_judge_is_final(e) && e->kind != SIM_EVENT_DEFERRED)
			continue;
		if (last && last->kind == SIM_EVENT_DEFERRED)
			check_retry(r, before, last, e, told, moved);
		else if (!last && received && !moved && (!told || told->life != e->life))
			check_first(r, received, e);
		if (told && !moved)
			check_age(r, e->wall_ms, e->at_ms);
		if (told && !moved && told->life == e->life)
			check_probed(r, told, e->at_ms);
		if (is_told(e)) {
			check_told(r, told, e, moved);
			told = e;
			moved = false;
			continue;
		}
		told = NULL;
		if (e->kind == SIM_EVENT_DEFERRED)
			check_interval(r, deferral, e);
		moved = false;
		if (e->kind == SIM_EVENT_DEFERRED) {
			before = deferral;
			deferral = e;
		}
		last = e;
	}
}

/* --- what is still queued -------------------------------------------------------------------- */

static int64_t longest_ms(void)
{
	int64_t longest = 0;

	for (size_t i = 0; i < notes.periods_n; i++)
		for (size_t k = 0; k < notes.periods[i].schedule->intervals_n; k++)
			longest = MAX(longest, notes.periods[i].schedule->intervals_s[k] * 1000);
	return longest;
}

/* In the present life, before the listing; of any report, where several have the address: which of
 * them is listed is not known. */
static const struct sim_event *last_told(const struct sim_rcpt *r, int64_t listed_ms)
{
	const struct sim_event *told = NULL;

	for (const struct sim_event *e = r->events; e; e = e->next) {
		if (e->life + 1 != sim.lives_n || e->at_ms > listed_ms)
			continue;
		if (is_told(e))
			told = e;
		else if (r->number >= 0)
			told = NULL;
	}
	return told;
}

void sim_judge_queued(const struct sim_rcpt *r)
{
	int64_t listed_ms = sim_check_listed_ms();
	const struct sim_life *l = &sim.lives[sim.lives_n - 1];
	int64_t wall = sim_wall_ms(), longest = longest_ms(), back = 0;

	if (!r->listed || strcmp(r->listed_state, "held") == 0)
		return;
	/* The listing shows stored times; after the clock went back the daemon bounds them. */
	for (size_t i = 0; i < sim.eras_n; i++)
		back = MAX(back, sim.eras[i].wall_offset_ms - sim.wall_offset_ms);
	if (r->listed_due_ms > wall + back + longest + jitter_max_ms(longest))
		sim_violation("%s: waits %lld s, longer than any interval", r->address,
		    (long long)(r->listed_due_ms - wall) / 1000);
	/* Set forward in this life, it may say so long before the time has passed. */
	int64_t due = MAX(r->listed_due_ms - sim.wall_offset_ms, l->begin_ms) +
		      jumps_ms(l->begin_ms + 1, listed_ms, 1);
	check_age(r, wall, listed_ms);
	const struct sim_event *told = last_told(r, listed_ms);
	if (told && r->number >= 0)
		check_probed(r, told, listed_ms);
	else if (!told)
		check_wait(r, due, listed_ms, "not yet tried,");
}
