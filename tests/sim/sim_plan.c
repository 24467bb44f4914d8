#include "sim/sim_plan.h"

#include "base/check.h"

#define PLAN_TURN_MS (20 * SIM_MINUTE) /* an attempt, where many sites wait their turn */

struct sim_plan sim_plan;

static const struct {
	const char *text;
	struct sim_schedule schedule;
} schedules[] = {
	{ "5m, 10m*2, 30m, 1h*6, 4h*20",
	    { .intervals_s = { 300, 600, 600, 1800, 3600, 3600, 3600, 3600, 3600, 3600, 14400,
		  14400, 14400, 14400, 14400, 14400, 14400, 14400, 14400, 14400, 14400, 14400,
		  14400, 14400, 14400, 14400, 14400, 14400, 14400, 14400 },
		.intervals_n = 30,
		.lifetime_s = 259200 } },
	{ "1m, 5m, 20m*3, 3h*8", { .intervals_s = { 60, 300, 1200, 1200, 1200, 10800, 10800, 10800,
				       10800, 10800, 10800, 10800, 10800 },
				     .intervals_n = 13,
				     .lifetime_s = 172800 } },
	{ "10m, 1h, 12h*12", { .intervals_s = { 600, 3600, 43200, 43200, 43200, 43200, 43200, 43200,
				   43200, 43200, 43200, 43200, 43200, 43200 },
				 .intervals_n = 14,
				 .lifetime_s = 432000 } },
};

static void choose_config(struct sim_config *c)
{
	static const unsigned messages[] = { 1, 2, 3, 10, 100, 100 };
	static const unsigned idle_s[] = { 0, 1, 5, 5, 60 };
	static const unsigned age_s[] = { 2, 30, 300, 300 };
	static const unsigned shards[] = { 1, 1, 2, 3 };

	c->schedule = (size_t)sim_below(ARRAY_LEN(schedules));
	c->limit = (unsigned)sim_between(1, 6);
	c->rates.messages = sim_chance(20) ? (unsigned)sim_between(6, 60) : 0;
	c->rates.connections = sim_chance(20) ? (unsigned)sim_between(4, 40) : 0;
	c->concurrency = sim_chance(30) ? (unsigned)sim_between(5, 40) : 10000;
	c->dns = (unsigned)sim_below(3);
	c->reuse.messages = messages[sim_below(ARRAY_LEN(messages))];
	c->reuse.idle_s = idle_s[sim_below(ARRAY_LEN(idle_s))];
	c->reuse.age_s = age_s[sim_below(ARRAY_LEN(age_s))];
	c->pipelining = sim_chance(85);
	c->shards = sim.shards ? sim.shards : shards[sim_below(ARRAY_LEN(shards))];
}

void sim_plan_make(void)
{
	struct sim_plan *p = &sim_plan;
	uint64_t size = sim_below(100);

	choose_config(&p->config);
	p->net.domains = (size_t)sim_between(20, 300);
	p->net.wild_percent = (unsigned)sim_between(10, 80);
	p->net.doom_permille = sim_chance(50) ? (unsigned)sim_between(0, 100) : 0;
	p->submit.messages = (size_t)(size < 3 ? sim_between(1000, 4000) : sim_between(20, 400));
	p->submit.period_ms = sim_between(SIM_HOUR, 3 * SIM_DAY);
	p->submit.doom_permille = sim_chance(50) ? (unsigned)sim_between(0, 150) : 0;
	p->submit.leave_permille = sim_chance(50) ? (unsigned)sim_between(0, 80) : 0;
	p->submit.bursts = sim_chance(60) ? (size_t)sim_between(1, 4) : 0;
	p->always_split = sim_chance(15);
	p->disk_bytes = UINT64_C(1) << (sim_chance(50) ? 27 : 28); /* 4 segments, or 8 */
	p->crash_every_ms = sim_chance(80) ? sim_between(SIM_HOUR, SIM_DAY) : 0;
	p->operator_per_day = sim_chance(60) ? (unsigned)sim_between(1, 12) : 0;
	p->trouble_per_day = sim_chance(40) ? (unsigned)sim_between(1, 6) : 0;
	p->reloads = sim_chance(50);
	p->jumps = sim_chance(30);
	p->end_ms = p->submit.period_ms + 11 * SIM_DAY;
	if (sim_chance(20)) /* stop in the middle of it */
		p->end_ms = sim_between(SIM_HOUR, p->submit.period_ms + SIM_DAY);
	sim_trace("%zu domains, %u %% of them wild; %zu messages", p->net.domains,
	    p->net.wild_percent, p->submit.messages);
}

/* "7/1m", "" */
static const char *rate_text(unsigned count, char text[24])
{
	if (sim.broken == SIM_BREAK_RATE)
		count *= 2;
	snprintf(text, 24, "%u/1m", count);
	return count ? text : "";
}

static void write_traffic(FILE *f, const struct sim_config *c)
{
	char messages[24], connections[24];
	unsigned limit = c->limit + (sim.broken == SIM_BREAK_LIMIT ? 2 : 0);
	struct sim_limits l = c->reuse;

	if (sim.broken == SIM_BREAK_WORN)
		l.messages++;
	else if (sim.broken == SIM_BREAK_AGE)
		l.age_s += 30;
	else if (sim.broken == SIM_BREAK_IDLE)
		l.idle_s += 10;
	fprintf(f,
	    "traffic = ( { site = \"default\"; connections = %u; deliveries_per_connection = %u;"
	    " idle_timeout = %u; connection_age = %u; pipelining = %s; rate = \"%s\";"
	    " connection_rate = \"%s\"; } );\n",
	    limit, l.messages, l.idle_s, l.age_s, c->pipelining ? "true" : "false",
	    rate_text(c->rates.messages, messages), rate_text(c->rates.connections, connections));
}

static void write_file(const struct sim_config *c, const char *more)
{
	char path[100];
	bool other = sim.broken == SIM_BREAK_SCHEDULE;

	snprintf(path, sizeof(path), "%s/postrider.conf", sim.directory);
	FILE *f = fopen(path, "w");
	CHECK(f != NULL);
	fprintf(f,
	    "me = \"relay.test\";\nspool = \"%s/spool\";\nuser = \"root\"; group = \"root\";\n"
	    "shards = %u;\n"
	    "listen = ( { address = \"127.0.0.1:%d\"; tls = \"none\"; },\n"
	    " { address = \"127.0.0.1:%d\"; tls = \"starttls\"; auth = \"required\"; },\n"
	    " { address = \"127.0.0.1:%d\"; tls = \"implicit\"; auth = \"required\"; } );\n"
	    "tls = { certificate = \"%s/users\"; key = \"%s/users\"; };\n"
	    "submission = { trusted_networks = [ \"10.0.0.0/8\" ]; users_file = \"%s/users\";"
	    " sender_check = \"none\"; };\n"
	    "outbound = { temp_fail_intervals = \"%s\"; lifetime = \"%llds\"; concurrency_max = %u;"
	    " always_split = %s; spool_min_free = \"1M\"; };\n"
	    "events = { file = \"%s/events\"; };\ncontrol = { socket = \"%s/control\"; };\n"
	    "log = { level = \"%s\"; };\n%s",
	    sim.directory, MAX(c->shards, 1), SIM_SUBMIT_PORT, SIM_SUBMIT_STARTTLS, SIM_SUBMIT_TLS,
	    sim.directory, sim.directory, sim.directory,
	    other ? "2m, 3m*3, 10m*10" : schedules[c->schedule].text,
	    (long long)schedules[c->schedule].schedule.lifetime_s, c->concurrency,
	    sim_plan.always_split ? "true" : "false", sim.directory, sim.directory,
	    sim.verbose ? "info" : "notice", more);
	write_traffic(f, c);
	if (c->dns)
		fprintf(f, "dns = { servers = [ \"127.0.0.%u\" ]; };\n", c->dns);
	sim_net_write_routes(f);
	fclose(f);
}

void sim_plan_write_users(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/users", sim.directory);
	FILE *f = fopen(path, "w");
	CHECK(f != NULL);
	fprintf(f, "%s:$sim$%s\n", SIM_SUBMIT_LOGIN, SIM_SUBMIT_PASSWORD);
	fclose(f);
}

void sim_plan_configure(void)
{
	const struct sim_config *c = &sim_plan.config;

	write_file(c, "");
	sim_busy_limits(c->limit, c->concurrency);
	sim_reuse_note_limits(&c->reuse);
	sim_traffic_limit(c->rates);
	sim_check_note_schedule(&schedules[c->schedule].schedule);
	sim_check_note_crowd(
	    (int64_t)sim_plan.net.domains * PLAN_TURN_MS / c->concurrency + SIM_HOUR);
	sim_trace(
	    "config: %u shards, %u connections in all, %u of a site, for %u messages, %u s idle, "
	    "%u s old; schedule %s",
	    MAX(c->shards, 1), c->concurrency, c->limit, c->reuse.messages, c->reuse.idle_s,
	    c->reuse.age_s, schedules[c->schedule].text);
}

void sim_plan_change(void)
{
	choose_config(&sim_plan.config);
	sim_plan_configure();
}

void sim_plan_break(void)
{
	static const char *const mistakes[] = {
		"outbound = {",
		"nonsense = 1;\n",
		"bounce = { rate = \"some\"; };\n",
		"control = { sockets = \"often\"; };\n",
	};
	struct sim_config other;

	choose_config(&other);
	write_file(&other, mistakes[sim_below(ARRAY_LEN(mistakes))]);
}
