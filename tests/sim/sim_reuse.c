#include "sim/sim_reuse.h"

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_check.h"
#include "sim/sim_net.h"

#define REUSE_LINGER_MS (6 * SIM_HOUR)   /* connections of the configuration before */
#define REUSE_SLACK_MS  (5 * SIM_SECOND) /* on the way, and in pieces */
#define REUSE_NOTES_MAX 2000

struct note {
	int64_t at_ms;
	struct sim_limits limits;
};

static struct note notes[REUSE_NOTES_MAX];
static size_t notes_n;

void sim_reuse_note_limits(const struct sim_limits *l)
{
	CHECK(notes_n < REUSE_NOTES_MAX);
	notes[notes_n++] = (struct note){ sim.now_ms, *l };
}

/* The widest that may still be in force. */
static struct sim_limits limits(void)
{
	struct sim_limits wide = { 0 };

	for (size_t i = notes_n; i > 0; i--) {
		const struct sim_limits *l = &notes[i - 1].limits;
		wide.messages = MAX(wide.messages, l->messages);
		wide.idle_s = MAX(wide.idle_s, l->idle_s);
		wide.age_s = MAX(wide.age_s, l->age_s);
		if (notes[i - 1].at_ms < sim.now_ms - REUSE_LINGER_MS)
			break;
	}
	return wide;
}

void sim_session_begin(struct sim_session *s, struct sim_host *h)
{
	*s = (struct sim_session){ .host = h, .dialled_ms = sim.now_ms };
}

void sim_session_end(struct sim_session *s)
{
	mem_free(s->arrivals);
}

void sim_session_heard(struct sim_session *s, size_t n)
{
	int64_t idle_max_ms = (int64_t)limits().idle_s * SIM_SECOND + REUSE_SLACK_MS;

	if (s->idle_ms && sim.now_ms - s->idle_ms > idle_max_ms)
		sim_violation("a connection to %s was kept idle for %lld ms", s->host->name,
		    (long long)(sim.now_ms - s->idle_ms));
	s->idle_ms = 0;
	if (s->arrivals_n == s->arrivals_cap) {
		s->arrivals_cap = MAX(s->arrivals_cap * 2, (size_t)16);
		s->arrivals =
		    mem_realloc(s->arrivals, s->arrivals_cap * sizeof(struct sim_arrival));
	}
	s->arrived += n;
	s->arrivals[s->arrivals_n++] = (struct sim_arrival){ s->arrived, sim.now_ms };
}

void sim_session_read(struct sim_session *s, size_t n)
{
	s->read += n;
	CHECK(s->read <= s->arrived);
}

/* When the byte read last had arrived. */
static int64_t arrived_ms(const struct sim_session *s)
{
	for (size_t i = 0; i < s->arrivals_n; i++)
		if (s->arrivals[i].end >= s->read)
			return s->arrivals[i].at_ms;
	UNREACHABLE();
}

void sim_session_mail(struct sim_session *s)
{
	struct sim_limits l = limits();
	int64_t age_ms = arrived_ms(s) - s->dialled_ms;

	s->mails++;
	s->host->domain->site->mail_ms = sim.now_ms;
	if (s->mails > l.messages)
		sim_violation("message %u over one connection to %s", s->mails, s->host->name);
	if (s->mails > 1 && age_ms > (int64_t)l.age_s * SIM_SECOND + REUSE_SLACK_MS)
		sim_violation("a connection to %s is used again at an age of %lld ms",
		    s->host->name, (long long)age_ms);
}

/* --- what it may count for ------------------------------------------------------------------- */

static unsigned bit_of(int code)
{
	return code == 421 ? 1 : code == 503 ? 2 : code == 451 ? 4 : 8;
}

void sim_session_answered_mail(struct sim_session *s, int code)
{
	if (s->mails <= 1 || (code != 421 && code != 503))
		s->host->said_to_mail |= bit_of(code);
}

bool sim_reuse_said_to_mail(const struct sim_host *h, int code)
{
	return h->said_to_mail & bit_of(code);
}

void sim_session_rests(struct sim_session *s)
{
	if (s->read == s->arrived) /* else the next command is here already */
		s->idle_ms = MAX(sim.now_ms, 1);
}

void sim_session_took(const struct sim_session *s)
{
	sim_totals.reused += s->mails > 1;
}

void sim_session_tired(const struct sim_session *s)
{
	sim_totals.stale += s->mails > 1;
}
