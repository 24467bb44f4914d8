/*
 * The commands of the control socket: one table; status, stats, reload, log;
 * what all answer with.
 */
#include "core/control_cmds.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "core/shards.h"
#include "io/system.h"
#include "proto/path.h"

struct command {
	const char *name;
	size_t args_min, args_max; /* besides the name */
	void (*run)(struct control_call *call);
};

/* --- answers ---------------------------------------------------------------------- */

void control_say(struct control_call *call, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (buf_vprintf(&call->out, fmt, ap) < 0)
		log_warn("control", "an answer was cut short");
	va_end(ap);
}

void control_ok(struct control_call *call)
{
	control_say(call, "OK\n");
}

const char *control_shown(struct control_call *call, const char *text)
{
	char *copy = arena_strdup(&call->arena, text);

	for (char *p = copy; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return copy;
}

const char *control_domain_arg(struct control_call *call, const char *text)
{
	struct buf ascii;

	buf_init(&ascii, 512);
	if (path_domain_to_ascii(slice_str(text), &ascii) == 0)
		text = arena_strdup(&call->arena, buf_cstr(&ascii));
	buf_fini(&ascii);
	return text;
}

/* --- status, stats ------------------------------------------------------------------ */

static void cmd_status(struct control_call *call)
{
	const struct mta *m = call->mta;
	struct shards_stats st;
	char up[UNITS_TEXT_MAX];

	shards_stats(m->shards, &st);
	const struct queue_stats *q = &st.queue;
	control_ok(call);
	control_say(call, "postriderd " VERSION " pid %d, up %s, %s\n", system_pid(),
	    units_format_duration((m->now.wall_ms - m->started_ms) / 1000, up),
	    m->phase == MTA_PHASE_RUNNING ? "running" : "stopping");
	control_say(call, "queue: %zu items (%zu waiting, %zu held, %zu in work)%s\n", q->items,
	    q->parked + st.waiting, q->held, q->active + q->busy - st.waiting,
	    q->scan_done ? "" : ", start-up scan still running");
	if (st.down)
		control_say(call, "down: %zu sites, %zu items wait for them\n", st.down,
		    st.waiting);
	if (st.slowed)
		control_say(call, "slowed: %zu sites, %zu items wait for them\n", st.slowed,
		    st.slowed_items);
	control_say(call, "sessions: %zu, deliveries: %zu, ready: %zu\n", st.sessions,
	    st.deliveries, st.ready);
	if (q->corrupt)
		control_say(call, "corrupt: %llu files set aside\n",
		    (unsigned long long)q->corrupt);
}

static void cmd_stats(struct control_call *call)
{
	struct shards_stats st;

	shards_stats(call->mta->shards, &st);
	const struct accounting_counts *c = &st.counts;
	const struct queue_stats *q = &st.queue;

	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "received", c->received },
		{ "delivered", c->delivered },
		{ "deferred", c->deferred },
		{ "bounced", c->bounced },
		{ "expired", c->expired },
		{ "rejected", c->rejected },
		{ "deleted", c->deleted },
		{ "events_lost", c->lost_lines },
		{ "queue_items", q->items },
		{ "queue_held", q->held },
		{ "sites_down", st.down },
		{ "sites_down_items", st.waiting },
		{ "sites_slowed", st.slowed },
		{ "sites_slowed_items", st.slowed_items },
		{ "queue_commits", q->commits },
		{ "queue_settles", q->settles },
		{ "queue_loads", q->loads },
		{ "queue_syncs", q->syncs },
		{ "queue_corrupt", q->corrupt },
		{ "body_memory_bytes", q->memory_bytes },
		{ "routes_shared", st.dns.shared },
		{ "routes_resolved", st.dns.resolved },
		{ "dns_hits", st.dns.dns.hits },
		{ "dns_misses", st.dns.dns.misses },
		{ "dns_stale", st.dns.dns.stale },
		{ "dns_queries", st.dns.dns.queries },
		{ "dns_cached", st.dns.dns.entries },
		{ "dns_cached_bytes", st.dns.dns.bytes },
	};

	control_ok(call);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		control_say(call, "%-20s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
}

/* --- reload, log ----------------------------------------------------------------------------- */

static void cmd_reload(struct control_call *call)
{
	if (shards_reload(call->mta->shards))
		control_ok(call);
	else
		control_say(call,
		    "ERR the configuration has mistakes (see the log); the old one stays\n");
}

static void cmd_log(struct control_call *call)
{
	enum log_level level = log_level_parse(slice_str(call->argv[1]));

	if (level == LOG_LEVEL_NONE) {
		control_say(call,
		    "ERR levels are data protocol debug info notice warn error crit alert emerg\n");
		return;
	}
	log_set_level(level);
	log_notice("control", "log level is now %s", log_level_name(level));
	control_ok(call);
}

static const struct command commands[] = {
	{ "status", 0, 0, cmd_status },
	{ "queue", 0, 5, control_queue },
	{ "show", 1, 1, control_show },
	{ "flush", 0, 1, control_flush },
	{ "hold", 1, 1, control_hold },
	{ "release", 1, 1, control_release },
	{ "delete", 1, 1, control_delete },
	{ "reload", 0, 0, cmd_reload },
	{ "log", 1, 1, cmd_log },
	{ "stats", 0, 0, cmd_stats },
};

void control_run(struct control_call *call)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command *c = &commands[i];
		if (strcmp(call->argv[0], c->name) != 0)
			continue;
		if (call->argc - 1 < c->args_min || call->argc - 1 > c->args_max)
			control_say(call, "ERR %s takes %s\n", c->name,
			    c->args_min ? "an argument" : "no such arguments");
		else
			c->run(call);
		return;
	}
	control_say(call, "ERR unknown command %s\n", control_shown(call, call->argv[0]));
}
