#include "sim/sim_operator.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim_io.h"
#include "sim/sim_mail.h"
#include "sim/sim_plan.h"
#include "sim/sim_run.h"

static struct sim_timer visit_timer, mend_timer;

/* --- mail ------------------------------------------------------------------------------ */

static void command(const char *verb, const char *what)
{
	char json[200];

	snprintf(json, sizeof(json), what ? "[\"%s\",\"%s\"]" : "[\"%s\"]", verb, what);
	sim_command(json, NULL);
}

static void command_domain(const char *verb)
{
	const struct sim_domain *d = sim_net_any();

	if (strcmp(verb, "flush") == 0)
		sim_check_note_flush(d);
	command(verb, d->name);
}

/* A message, or what of it goes to one domain. */
static void command_id(const char *verb)
{
	const struct sim_msg *m = NULL;
	char id[SIM_ID_MAX + 8];
	size_t n = sim_mail_count();

	for (unsigned i = 0; n > 0 && i < 20 && (!m || !m->id[0]); i++)
		m = sim_mail_get((size_t)sim_below(n));
	if (!m || !m->id[0])
		return;
	for (size_t i = 0; strcmp(verb, "flush") == 0 && i < m->rcpts_n; i++)
		sim_check_note_flush(m->rcpts[i].domain);
	unsigned part = sim_chance(50) ? (unsigned)sim_between(1, 3) : 0;
	snprintf(id, sizeof(id), part ? "%s-%u" : "%s", m->id, part);
	command(verb, id);
}

/* --- configuration -------------------------------------------------------------------- */

static void on_reloaded(const char *answer)
{
	if (answer[0] && strncmp(answer, "OK", 2) != 0)
		sim_violation("a good configuration was not read again: %.100s", answer);
}

static void on_refused(const char *answer)
{
	if (answer[0] && strncmp(answer, "ERR", 3) != 0)
		sim_violation("a broken configuration was taken: %.100s", answer);
}

static void change_config(void)
{
	sim_timer_cancel(&mend_timer);
	sim_plan_change();
	sim_trace("USR1");
	sim_raise(SIGUSR1);
}

static void on_mend(struct sim_timer *t UNUSED)
{
	sim_plan_configure();
	sim_check_note_ask();
	sim_command("[\"reload\"]", on_reloaded);
}

/* The file is mended a while later, unless the daemon starts before. */
static void break_config(void)
{
	sim_plan_break();
	if (sim_chance(50))
		sim_raise(SIGUSR1);
	else
		sim_command("[\"reload\"]", on_refused);
	sim_timer_in(&mend_timer, sim_between(10 * SIM_SECOND, 12 * SIM_HOUR));
}

static void reload(void)
{
	if (!sim_plan.reloads || sim_chance(30))
		sim_raise(SIGUSR1); /* nothing changed, or it is still broken */
	else if (sim_chance(60))
		change_config();
	else
		break_config();
}

/* --- visits ------------------------------------------------------------------------------- */

static void on_visit(struct sim_timer *t)
{
	static const char *const verbs[] = { "flush", "hold", "release", "release", "delete" };
	uint64_t what = sim_below(10);

	sim_timer_in(t, sim_between(1, 2 * SIM_DAY / MAX(sim_plan.operator_per_day, 1)));
	if (!sim.alive)
		return;
	sim_check_note_ask();
	if (what < 5) {
		command_domain(verbs[what]);
	} else if (what < 7) {
		command_id(verbs[sim_below(ARRAY_LEN(verbs))]);
	} else if (what == 7) {
		sim_check_note_flush(NULL);
		if (sim_chance(50))
			command("flush", NULL);
		else
			sim_raise(SIGHUP);
	} else if (what == 8) {
		reload();
	} else if (sim_plan.jumps) {
		sim_jump_clock(sim_chance(50) ? SIM_HOUR : -SIM_HOUR);
	}
}

void sim_operator_init(void)
{
	sim_timer_init(&visit_timer, on_visit);
	sim_timer_init(&mend_timer, on_mend);
	if (sim_plan.operator_per_day)
		sim_timer_set(&visit_timer, sim_between(0, SIM_DAY));
}

void sim_operator_stop(void)
{
	sim_timer_cancel(&visit_timer);
}

void sim_operator_on_start(void)
{
	sim_timer_cancel(&mend_timer);
	sim_plan_configure();
}
