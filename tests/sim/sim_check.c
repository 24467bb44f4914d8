#include "sim/sim_check.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/sim_disk.h"
#include "sim/sim_judge.h"
#include "sim/sim_net.h"
#include "sim/sim_said.h"

struct sim_totals sim_totals;

static struct {
	int64_t listed_ms; /* when the queue was listed */
} check;

void sim_check_note_listing(void)
{
	check.listed_ms = sim.now_ms;
}

int64_t sim_check_listed_ms(void)
{
	return check.listed_ms;
}

/* --- what explains things ---------------------------------------------------------------- */

static bool is_crash(enum sim_end end)
{
	return end == SIM_END_KILL || end == SIM_END_POWER;
}

/* Whether what was known at an instant of a life may have been forgotten since. */
bool sim_judge_may_be_forgotten(size_t life, int64_t known_ms)
{
	const struct sim_life *l = &sim.lives[life];

	if (l->end_ms <= known_ms + JUDGE_RECORD_MS && is_crash(l->end))
		return true;
	/* A disk that refused outcomes was still being asked when the daemon ended. */
	return l->end != SIM_END_NONE &&
	       sim_disk_was_troubled(known_ms, known_ms + JUDGE_RECORD_MS) &&
	       sim_disk_was_troubled(l->end_ms - SIM_MINUTE, l->end_ms);
}

bool sim_judge_is_final(const struct sim_event *e)
{
	return e->kind == SIM_EVENT_DELIVERED || e->kind == SIM_EVENT_BOUNCED ||
	       e->kind == SIM_EVENT_EXPIRED || e->kind == SIM_EVENT_DELETED;
}

static int64_t told_ms(const struct sim_accept *a)
{
	return a->first->told_ms;
}

/* --- one fate ------------------------------------------------------------------------------- */

const struct sim_event *sim_judge_received(const struct sim_rcpt *r)
{
	for (const struct sim_event *e = r->events; e; e = e->next)
		if (e->kind == SIM_EVENT_RECEIVED)
			return e;
	return NULL;
}

static void check_one_fate(const struct sim_rcpt *r, const char *id)
{
	const struct sim_event *final = NULL;

	for (const struct sim_event *e = r->events; e; e = e->next) {
		if (strcmp(e->id, id) != 0)
			continue;
		bool attempt = sim_judge_is_final(e) || e->kind == SIM_EVENT_DEFERRED;
		if (final && attempt && e->life == final->life)
			sim_violation("%s (%s): an event after its last one, in one life",
			    r->address, id);
		else if (final && attempt && !sim_judge_may_be_forgotten(final->life, final->at_ms))
			sim_violation("%s (%s): an event after its last one, unexplained",
			    r->address, id);
		if (sim_judge_is_final(e))
			final = e;
	}
	if (r->number < 0)
		return; /* several reports share the address: see check_reports */
	const struct sim_event *received = sim_judge_received(r);
	bool too_new = received && received->at_ms + JUDGE_RECORD_MS >= check.listed_ms;
	if (!final && !r->listed && !too_new)
		sim_violation("%s (%s): LOST: no last event, not in the queue", r->address, id);
	bool just_now = final && final->at_ms + JUDGE_RECORD_MS >= check.listed_ms;
	if (final && r->listed && !just_now &&
	    !sim_judge_may_be_forgotten(final->life, final->at_ms))
		sim_violation("%s (%s): has its last event and is in the queue", r->address, id);
}

static void count_fate(const struct sim_rcpt *r)
{
	const struct sim_event *last = r->events_last;

	sim_totals.recipients++;
	sim_totals.queued += r->listed > 0;
	for (const struct sim_event *e = r->events; e; e = e->next)
		sim_totals.deferred += e->kind == SIM_EVENT_DEFERRED;
	if (!last)
		return;
	sim_totals.delivered += last->kind == SIM_EVENT_DELIVERED;
	sim_totals.bounced += last->kind == SIM_EVENT_BOUNCED;
	sim_totals.expired += last->kind == SIM_EVENT_EXPIRED;
	sim_totals.deleted += last->kind == SIM_EVENT_DELETED;
}

/* --- what hosts saw ----------------------------------------------------------------------------
 */

/* The event's address is this host's. */
static bool is_of_host(const struct sim_event *e, const struct sim_host *h)
{
	char ip[NETADDR_TEXT_MAX];

	return strcmp(e->ip, netaddr_format_ip(&h->address, ip)) == 0;
}

static bool was_taken_before(const struct sim_rcpt *r, const struct sim_event *e)
{
	for (const struct sim_accept *a = r->accepts; a; a = a->next)
		if (a->at_ms <= e->at_ms && is_of_host(e, a->host) &&
		    (r->number >= 0 || strcmp(a->id, e->id) == 0))
			return true;
	return false;
}

/* What an event quotes was said: to this recipient, by this host. */
static void check_quoted(const struct sim_rcpt *r)
{
	for (const struct sim_event *e = r->events; e; e = e->next) {
		bool said = false;
		if ((e->kind != SIM_EVENT_DEFERRED && e->kind != SIM_EVENT_BOUNCED) ||
		    !e->is_reply || e->code == 421 ||
		    (strcmp(e->stage, "rcpt") != 0 && strcmp(e->stage, "dot") != 0))
			continue;
		for (const struct sim_refusal *f = r->refusals; f && !said; f = f->next)
			said = f->at_ms <= e->at_ms && f->code == e->code && is_of_host(e, f->host);
		if (!said)
			sim_violation("%s: %s never said %d to it", r->address, e->ip, e->code);
	}
}

static const struct sim_host *host_of(const struct sim_rcpt *r, const struct sim_event *e)
{
	for (size_t i = 0; i < r->domain->hosts_n; i++)
		if (is_of_host(e, &r->domain->hosts[i]))
			return &r->domain->hosts[i];
	return NULL;
}

static bool is_of_transaction(const struct sim_event *e)
{
	static const char *const stages[] = { "mail", "rcpt", "data", "body", "dot" };

	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		if (strcmp(e->stage, stages[i]) == 0)
			return true;
	return false;
}

/* What is wrong with a used connection costs no attempt: the mail goes out on a new one. */
static void check_counted(const struct sim_rcpt *r)
{
	for (const struct sim_event *e = r->events; e; e = e->next) {
		const struct sim_host *h;
		if (e->kind != SIM_EVENT_DEFERRED || e->attempt == 0 ||
		    strcmp(e->stage, "mail") != 0 || !(h = host_of(r, e)))
			continue;
		if (e->is_reply && !sim_reuse_said_to_mail(h, e->code))
			sim_violation("%s: an attempt is counted for %d of %s, which said so of a "
				      "used connection",
			    r->address, e->code, h->name);
		else if (!e->is_reply && h->character == SIM_HOST_ACCEPTS && !sim_net_dooms())
			sim_violation("%s: an attempt is counted for the end of a used connection "
				      "to %s",
			    r->address, h->name);
	}
}

/* Nor does it mean that others should not be tried: this host loses no other connections. */
static void check_told(const struct sim_rcpt *r)
{
	for (const struct sim_event *e = r->events; e; e = e->next) {
		const struct sim_host *h;
		if (e->kind != SIM_EVENT_DEFERRED || e->attempt > 0 || !is_of_transaction(e) ||
		    sim_net_dooms() || !(h = host_of(r, e)))
			continue;
		if (h->character == SIM_HOST_ACCEPTS)
			sim_violation("%s: waits, for a used connection to %s has ended",
			    r->address, h->name);
	}
}

static void check_delivered(const struct sim_rcpt *r)
{
	for (const struct sim_event *e = r->events; e; e = e->next)
		if (e->kind == SIM_EVENT_DELIVERED && !was_taken_before(r, e))
			sim_violation("%s (%s): delivered, but no host took it", r->address, e->id);
	for (const struct sim_accept *a = r->accepts; a; a = a->next)
		if (!a->intact)
			sim_violation("%s: a host got another message", r->address);
}

/* The mail was with a host, and it was known: it may not go out again, unless that was forgotten.
 */
static void check_duplicates(const struct sim_rcpt *r)
{
	for (const struct sim_accept *a = r->accepts; a; a = a->next) {
		for (const struct sim_accept *b = a->next; b; b = b->next) {
			if (strcmp(a->id, b->id) != 0)
				continue;
			sim_totals.duplicates++;
			if (b->life < a->life)
				continue; /* on its way since before the end of that */
			if (told_ms(a) != INT64_MAX &&
			    !sim_judge_may_be_forgotten(a->life, told_ms(a)))
				sim_violation("%s: taken twice, without a reason", r->address);
			break;
		}
	}
}

/* --- failures
 * ------------------------------------------------------------------------------------- */

static bool hosts_explain(const struct sim_domain *d)
{
	bool all = true, any = false;

	for (size_t i = d->dns == SIM_DNS_LAME ? 1 : 0; i < d->hosts_n; i++) {
		bool is = d->hosts[i].character == SIM_HOST_521;
		all &= is;
		any |= is;
	}
	/* The others may have been left out at the time. */
	return d->dns == SIM_DNS_CHANGING || d->dns == SIM_DNS_LAPSED ? any : all;
}

static bool is_refused_before(const struct sim_rcpt *r, int64_t at_ms)
{
	for (const struct sim_refusal *f = r->refusals; f; f = f->next)
		if (f->is_final && f->at_ms <= at_ms)
			return true;
	return false;
}

static void check_bounce(const struct sim_rcpt *r, const struct sim_event *e)
{
	if (strcmp(e->stage, "dns") == 0) {
		if (!sim_said_gone(r->domain, e->at_ms))
			sim_violation("%s: bounced, but the DNS did not say so then", r->address);
	} else if (!is_refused_before(r, e->at_ms) && !hosts_explain(r->domain)) {
		sim_violation("%s: bounced, but nobody refused it for good", r->address);
	}
}

/* A host had it, and the daemon knew: nothing but delivered may be said of it. */
static void check_known(const struct sim_rcpt *r, int64_t at_ms, const char *id, const char *what)
{
	for (const struct sim_accept *a = r->accepts; a; a = a->next)
		if ((r->number >= 0 || strcmp(a->id, id) == 0) && told_ms(a) <= at_ms &&
		    !sim_judge_may_be_forgotten(a->life, told_ms(a)))
			sim_violation("%s: %s, but a host took it", r->address, what);
}

static void check_failures(const struct sim_rcpt *r)
{
	for (const struct sim_event *e = r->events; e; e = e->next) {
		if (sim_judge_is_final(e) && e->kind != SIM_EVENT_DELIVERED)
			check_known(r, e->at_ms, e->id, "failed");
		if (e->kind == SIM_EVENT_BOUNCED)
			check_bounce(r, e);
		if (e->kind == SIM_EVENT_EXPIRED)
			sim_judge_expiry(r, e);
	}
	if (r->listed && r->number >= 0)
		check_known(r, check.listed_ms - JUDGE_RECORD_MS, "", "still queued");
}

/* --- reports
 * --------------------------------------------------------------------------------------------- */

/* Distinct reports that hosts took and that name the address. */
static unsigned count_reports(const struct sim_rcpt *sender, const char *address)
{
	unsigned n = 0;
	char name[SIM_ADDRESS_MAX + 2];

	snprintf(name, sizeof(name), "%s ", address);
	for (const struct sim_accept *a = sender->accepts; a; a = a->next) {
		bool again = false;
		for (const struct sim_accept *b = sender->accepts; b != a; b = b->next)
			again |= strcmp(a->id, b->id) == 0;
		n += !again && strstr(a->about, name) != NULL;
	}
	return n;
}

/* Whether there is a report of which nobody saw the content: in the queue, or failed itself. */
static bool has_unseen_report(const struct sim_rcpt *sender)
{
	if (sender->listed)
		return true;
	for (const struct sim_event *e = sender->events; e; e = e->next) {
		bool seen = false;
		for (const struct sim_accept *a = sender->accepts; a; a = a->next)
			seen |= strcmp(a->id, e->id) == 0;
		if (!seen)
			return true;
	}
	return false;
}

static void check_reported(const struct sim_msg *m, const struct sim_rcpt *r)
{
	const struct sim_event *failed = NULL;

	for (const struct sim_event *e = r->events; e; e = e->next) {
		if (!failed && (e->kind == SIM_EVENT_BOUNCED || e->kind == SIM_EVENT_EXPIRED))
			failed = e;
		/* A crash forgot it (check_one_fate), and with another clock it was not too old any
		 * more, or the operator deleted it. */
		if (failed && e->life > failed->life &&
		    (e->kind == SIM_EVENT_DELIVERED || e->kind == SIM_EVENT_DELETED))
			failed = NULL;
	}
	unsigned n = count_reports(&m->sender, r->address);
	if (m->null_sender && n > 0)
		sim_violation("%s: reported to nobody's address", r->address);
	if (m->null_sender)
		return;
	sim_totals.reports += n;
	bool just_now = failed && failed->at_ms + JUDGE_RECORD_MS >= check.listed_ms;
	/* One that is queued all the same lost that outcome in a crash. */
	if (failed && n == 0 && !just_now && !r->listed && !has_unseen_report(&m->sender))
		sim_violation("%s: failed and never reported", r->address);
	if (n > 1)
		sim_violation("%s: reported %u times", r->address, n);
	if (!failed && n > 0)
		sim_violation("%s: reported, but it did not fail", r->address);
}

/* Each report is a message of its own: one fate, once at its host. */
static void check_report_mail(const struct sim_rcpt *sender)
{
	size_t open = 0;

	for (const struct sim_event *e = sender->events; e; e = e->next) {
		bool first = true, final = false;
		for (const struct sim_event *o = sender->events; o != e; o = o->next)
			first &= strcmp(o->id, e->id) != 0;
		if (!first)
			continue;
		for (const struct sim_event *o = e; o; o = o->next)
			final |= strcmp(o->id, e->id) == 0 && sim_judge_is_final(o);
		open += !final;
		check_one_fate(sender, e->id);
		sim_judge_schedule(sender, e->id);
	}
	if (open > sender->listed)
		sim_violation("%s: LOST: %zu reports without a last event, %u in the queue",
		    sender->address, open, sender->listed);
	check_delivered(sender);
	check_quoted(sender);
	check_counted(sender);
	check_duplicates(sender);
	check_failures(sender);
	sim_judge_queued(sender);
}

/* --- messages
 * ------------------------------------------------------------------------------------------------
 */

static bool is_received(const struct sim_msg *m)
{
	for (size_t i = 0; i < m->rcpts_n; i++)
		if (sim_judge_received(&m->rcpts[i]))
			return true;
	return false;
}

static void check_accepted(const struct sim_msg *m, const char *id)
{
	/* The daemon died while it wrote queue files, one for each destination, which it does where
	 * the journal is of no use: nobody was told 250, and some may be there and others not. */
	bool partial = m->state != SIM_MSG_ACCEPTED && !is_received(m) &&
		       sim_disk_was_troubled(m->done_ms - SIM_HOUR, m->done_ms);

	for (size_t i = 0; i < m->rcpts_n; i++) {
		const struct sim_rcpt *r = &m->rcpts[i];
		if (partial && !r->events && !r->listed)
			continue;
		check_one_fate(r, id);
		check_delivered(r);
		check_quoted(r);
		check_counted(r);
		check_told(r);
		check_duplicates(r);
		check_failures(r);
		sim_judge_schedule(r, id);
		sim_judge_queued(r);
		check_reported(m, r);
		count_fate(r);
	}
	check_report_mail(&m->sender);
}

/* Nothing of it may be in the world. */
static void check_refused(const struct sim_msg *m)
{
	for (size_t i = 0; i < m->rcpts_n; i++) {
		const struct sim_rcpt *r = &m->rcpts[i];
		if (r->accepts || r->listed)
			sim_violation("%s: not accepted (%d), and yet sent on", r->address,
			    m->code);
		for (const struct sim_event *e = r->events; e; e = e->next)
			if (e->kind != SIM_EVENT_REJECTED)
				sim_violation("%s: not accepted (%d), and yet it has events",
				    r->address, m->code);
	}
}

/* What was refused because it couldn't be synced is taken back as soon as the disk allows that. If
 * the daemon dies before, it may be there: nobody was told 250, and the client sends it again. */
static bool may_be_there(const struct sim_msg *m)
{
	for (size_t i = 0; i < sim.lives_n; i++) {
		const struct sim_life *l = &sim.lives[i];
		if (m->done_ms >= l->begin_ms && m->done_ms <= l->end_ms)
			return m->state == SIM_MSG_REFUSED && m->code == 451 && is_crash(l->end) &&
			       !sim_disk_was_well(m->done_ms, l->end_ms);
	}
	return false;
}

static const char *id_in_events(const struct sim_msg *m)
{
	for (size_t i = 0; i < m->rcpts_n; i++)
		for (const struct sim_event *e = m->rcpts[i].events; e; e = e->next)
			if (e->kind != SIM_EVENT_REJECTED)
				return e->id;
	return "";
}

static void check_message(const struct sim_msg *m)
{
	const char *id = m->id[0] ? m->id : id_in_events(m);
	bool refused = m->state == SIM_MSG_REFUSED || m->state == SIM_MSG_NOTHING;

	sim_totals.messages++;
	if (refused && (!id[0] || !may_be_there(m)))
		check_refused(m);
	else if (id[0])
		check_accepted(m, id);
}

void sim_check(void)
{
	for (size_t i = 0; i < sim_mail_count(); i++)
		check_message(sim_mail_get(i));
}
