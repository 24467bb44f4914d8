/*
 * The commands of the control socket: one table, one function each.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "core/committer.h"
#include "core/control_look.h"
#include "core/dispatch.h"
#include "core/settlement.h"
#include "core/shards.h"
#include "io/system.h"
#include "proto/path.h"

#define FIND_MAX 1000

struct command {
	const char *name;
	size_t args_min, args_max; /* besides the name */
	void (*run)(struct control_call *call);
};

/* --- answers ---------------------------------------------------------------------- */

/* A piece that does not fit any more is left out: the buffer is only filled to half before the
 * client must read. */
static void say(struct control_call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct control_call *call, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (buf_vprintf(&call->out, fmt, ap) < 0)
		log_warn("control", "an answer was cut short");
	va_end(ap);
}

static void ok(struct control_call *call)
{
	say(call, "OK\n");
}

/* Text from outside on a terminal: control characters as '?'. */
static const char *shown(struct control_call *call, const char *text)
{
	char *copy = arena_strdup(&call->arena, text);

	for (char *p = copy; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return copy;
}

/* A domain as the operator types it, in the form the queue knows: A-label, lower case. */
static const char *domain_arg(struct control_call *call, const char *text)
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
	ok(call);
	say(call, "postriderd " VERSION " pid %d, up %s, %s\n", system_pid(),
	    units_format_duration((m->now.wall_ms - m->started_ms) / 1000, up),
	    m->phase == MTA_PHASE_RUNNING ? "running" : "stopping");
	say(call, "queue: %zu items (%zu waiting, %zu held, %zu in work)%s\n", q->items,
	    q->parked + st.waiting, q->held, q->active + q->busy - st.waiting,
	    q->scan_done ? "" : ", start-up scan still running");
	if (st.down)
		say(call, "down: %zu sites, %zu items wait for them\n", st.down, st.waiting);
	if (st.slowed)
		say(call, "slowed: %zu sites, %zu items wait for them\n", st.slowed,
		    st.slowed_items);
	say(call, "sessions: %zu, deliveries: %zu, ready: %zu\n", st.sessions, st.deliveries,
	    st.ready);
	if (q->corrupt)
		say(call, "corrupt: %llu files set aside\n", (unsigned long long)q->corrupt);
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

	ok(call);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		say(call, "%-20s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
}

/* --- queue ---------------------------------------------------------------------------- */

struct listing {
	const char *domain, *sender; /* NULL: any */
	bool json;
	struct queue_walk walk; /* the queue changes while we list */
	unsigned shard;         /* whose that is */
	bool walked;
	struct control_look *look; /* NULL: all that was walked over has been shown */
	size_t shown;
};

static const char *state_name(const struct queue_item *item)
{
	switch (item->state) {
	case QUEUE_ITEM_PARKED:
		return item->attempts ? "deferred" : "waiting";
	case QUEUE_ITEM_HELD:
		return "held";
	default:
		return dispatch_waits_for(item) ? "deferred" : "active";
	}
}

/* When it may be tried: behind a site that is down not before that is probed. */
static int64_t next_attempt_ms(struct control_call *call, const struct queue_item *item)
{
	const struct now now = call->mta->now;
	const struct site *s = dispatch_waits_for(item);

	return s ? now.wall_ms + MAX(s->probe_at_ms - now.mono_ms, 0) : item->due_ms;
}

static void list_text(struct control_call *call, const struct queue_item *item,
    const struct envelope *env)
{
	char id[QUEUE_ID_MAX], due[CLOCK_TEXT_MAX];

	say(call, "%s  %-8s  %9llu  attempts %u  next %s  <%s>\n", queue_item_id(item, id),
	    state_name(item), (unsigned long long)env->body_bytes, item->attempts,
	    clock_rfc3339(next_attempt_ms(call, item), due), shown(call, env->sender));
	for (size_t i = 0; i < env->rcpts_n; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];
		if (fate_is_final(r->fate))
			continue;
		say(call, "    <%s>%s%s\n", shown(call, r->address), r->status.text[0] ? "  " : "",
		    shown(call, r->status.text));
	}
}

static void list_rcpts_json(struct json *j, const struct envelope *env)
{
	char when[CLOCK_TEXT_MAX];

	json_open_array(j, "recipients");
	for (size_t i = 0; i < env->rcpts_n; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];
		json_open(j, NULL);
		json_cstr(j, "recipient", r->address);
		json_cstr(j, "state", fate_name(r->fate));
		json_int(j, "attempts", r->attempts);
		if (!fate_is_final(r->fate))
			json_cstr(j, "next_attempt", clock_rfc3339(r->due_ms, when));
		if (r->status.text[0])
			json_cstr(j, "response", r->status.text);
		json_close(j);
	}
	json_close_array(j);
}

static void list_json(struct control_call *call, const struct queue_item *item,
    const struct envelope *env)
{
	char id[QUEUE_ID_MAX], when[CLOCK_TEXT_MAX];
	size_t before = buf_len(&call->out);
	struct json j;

	json_begin(&j, &call->out);
	json_open(&j, NULL);
	json_cstr(&j, "id", env->id);
	json_cstr(&j, "queue_id", queue_item_id(item, id));
	json_cstr(&j, "state", state_name(item));
	json_cstr(&j, "domain", item->domain->name);
	json_cstr(&j, "sender", env->sender);
	json_cstr(&j, "user", env->user);
	json_int(&j, "size", (int64_t)env->body_bytes);
	json_cstr(&j, "arrival", clock_rfc3339(env->arrival_ms, when));
	json_int(&j, "attempts", item->attempts);
	json_cstr(&j, "next_attempt", clock_rfc3339(next_attempt_ms(call, item), when));
	list_rcpts_json(&j, env);
	json_close(&j);
	if (json_end(&j) < 0 || buf_add_char(&call->out, '\n') < 0)
		buf_truncate(&call->out, before);
}

static void list_item(struct control_call *call, struct listing *l, const struct control_seen *seen)
{
	const char *sender = l->sender;

	if (!seen->env) /* gone or unreadable by now */
		return;
	if (sender && !slice_eq_nocase(slice_str(sender), slice_str(seen->env->sender)))
		return;
	l->shown++;
	if (l->json)
		list_json(call, seen->item, seen->env);
	else
		list_text(call, seen->item, seen->env);
}

static bool has_room(const struct control_call *call)
{
	return buf_len(&call->out) < CONTROL_OUTPUT_MAX / 2;
}

/* It waits for reads that are under way, so no more are begun. */
static bool is_stopping(const struct control_call *call)
{
	return call->mta->phase != MTA_PHASE_RUNNING;
}

static void list_shard(struct control_call *call, struct listing *l)
{
	const struct shards *s = call->mta->shards;

	queue_walk_begin(s->mta[l->shard]->queue, &l->walk,
	    l->domain ? slice_str(l->domain) : SLICE_NONE);
}

/* Shard after shard. What is sent from one to another meanwhile may be missed, or shown twice. */
static const struct queue_item *list_next(struct control_call *call, struct listing *l)
{
	const struct queue_item *item;

	while (!(item = queue_walk_next(&l->walk)) && l->shard + 1 < call->mta->shards->n) {
		queue_walk_end(&l->walk);
		l->shard++;
		list_shard(call, l);
	}
	return item;
}

static void list_walk(struct control_call *call, struct listing *l)
{
	l->look = control_look_new(call);
	for (int i = 0; i < CONTROL_LOOK_MAX && !l->walked; i++) {
		const struct queue_item *item = list_next(call, l);
		l->walked = item == NULL;
		if (item)
			control_look_add(l->look, item);
	}
}

/* A piece: those that have been read are shown, or others are being read. */
static bool list_more(struct control_call *call)
{
	struct listing *l = call->state;
	struct control_seen seen;

	if (!l->look && (l->walked || is_stopping(call))) {
		if (!l->json)
			say(call, "%zu item%s%s\n", l->shown, l->shown == 1 ? "" : "s",
			    l->walked ? "" : ", and more: postriderd is stopping");
		return false;
	}
	if (!l->look)
		list_walk(call, l);
	if (!control_look_wait(l->look))
		return true;
	while (has_room(call) && control_look_next(l->look, &seen))
		list_item(call, l, &seen);
	if (has_room(call))
		control_look_free(&l->look);
	return true;
}

static void list_end(struct control_call *call)
{
	struct listing *l = call->state;
	control_look_free(&l->look);
	queue_walk_end(&l->walk);
}

static void cmd_queue(struct control_call *call)
{
	struct listing *l = arena_zalloc(&call->arena, sizeof(*l));

	for (size_t i = 1; i < call->argc; i++) {
		const char *arg = call->argv[i];
		if (strcmp(arg, "--json") == 0) {
			l->json = true;
		} else if (strcmp(arg, "--domain") == 0 && i + 1 < call->argc) {
			l->domain = domain_arg(call, call->argv[++i]);
		} else if (strcmp(arg, "--sender") == 0 && i + 1 < call->argc) {
			l->sender = call->argv[++i];
		} else {
			say(call, "ERR queue takes --domain D, --sender S and --json\n");
			return;
		}
	}
	ok(call);
	call->state = l;
	list_shard(call, l);
	call->more = list_more;
	call->end = list_end;
}

/* --- show ------------------------------------------------------------------------------- */

static void show_rcpt(struct control_call *call, const struct envelope_rcpt *r)
{
	char when[CLOCK_TEXT_MAX];

	say(call, "recipient: <%s> %s, attempts %u", shown(call, r->address), fate_name(r->fate),
	    r->attempts);
	if (!fate_is_final(r->fate))
		say(call, ", next %s", clock_rfc3339(r->due_ms, when));
	say(call, "\n");
	if (r->status.text[0])
		say(call, "    last: %s%s%s (%s)\n", shown(call, r->status.text),
		    r->status.host[0] ? " from " : "", shown(call, r->status.host),
		    r->last_ms ? clock_rfc3339(r->last_ms, when) : "-");
}

/* What keeps an item there. */
static void show_site(struct control_call *call, const struct site *s)
{
	static const char *const limits[] = {
		[SITE_WAIT_RATE] = "its rate allows the next message",
		[SITE_WAIT_CONNECTION_RATE] = "its connection_rate allows the next connection",
		[SITE_WAIT_PAUSE] = "it gets too much mail, by its own word, and gets the next",
	};
	const struct now now = call->mta->now;
	char when[CLOCK_TEXT_MAX];
	int64_t until_ms;

	if (!s)
		return;
	if (s->health == SITE_DOWN) {
		say(call, "waits for: %s, down since %s: %s\n", s->name,
		    clock_rfc3339(s->down_since_wall_ms, when), shown(call, s->reply->status.text));
		return;
	}
	enum site_wait why = site_waits_for(s, now.mono_ms, &until_ms);
	if (why != SITE_WAIT_NONE)
		say(call, "waits for: %s, %s at %s, %zu items wait\n", s->name, limits[why],
		    clock_rfc3339(now.wall_ms + until_ms - now.mono_ms, when), s->items);
}

static void show_item(struct control_call *call, const struct queue_item *item,
    const struct envelope *env)
{
	char id[QUEUE_ID_MAX], when[CLOCK_TEXT_MAX];

	say(call, "queue id: %s\nstate: %s\ndomain: %s\nsender: <%s>\n", queue_item_id(item, id),
	    state_name(item), item->domain->name, shown(call, env->sender));
	say(call, "user: %s\nclient: %s (%s) %s\n", shown(call, env->user), env->client_ip,
	    shown(call, env->helo), env->protocol);
	say(call, "arrival: %s\nsize: %llu\nmessage-id: %s\n", clock_rfc3339(env->arrival_ms, when),
	    (unsigned long long)env->body_bytes, shown(call, env->message_id));
	say(call, "next attempt: %s\n", clock_rfc3339(next_attempt_ms(call, item), when));
	show_site(call, dispatch_waits_at(item));
	for (size_t i = 0; i < env->rcpts_n; i++)
		show_rcpt(call, &env->rcpts[i]);
}

/* Items an id names; 0 with the refusal already said. */
static size_t find(struct control_call *call, const char *id, struct queue_item **items, size_t max)
{
	size_t n = shards_find(call->mta->shards, slice_str(id), items, max);

	if (n == 0)
		say(call, "ERR no message or queue file %s in the queue\n", shown(call, id));
	return MIN(n, max);
}

struct show {
	char (*ids)[QUEUE_ID_MAX];
	size_t n, at, shown;
	int err; /* of the last that could not be */
	struct control_look *look;
};

static void show_seen(struct control_call *call, struct show *s, const struct control_seen *seen)
{
	if (!seen->env) {
		s->err = seen->err;
		return;
	}
	if (s->shown++ == 0)
		ok(call);
	else
		say(call, "\n");
	show_item(call, seen->item, seen->env);
}

static void show_read(struct control_call *call, struct show *s)
{
	struct queue_item *item;

	s->look = control_look_new(call);
	for (int i = 0; i < CONTROL_LOOK_MAX && s->at < s->n; i++, s->at++)
		if (shards_find(call->mta->shards, slice_str(s->ids[s->at]), &item, 1) > 0)
			control_look_add(s->look, item);
}

static bool show_more(struct control_call *call)
{
	struct show *s = call->state;
	struct control_seen seen;

	if (!s->look && (s->at == s->n || is_stopping(call))) {
		if (s->shown == 0)
			say(call, "ERR %s can't be read: %s\n", call->argv[1], err_text(s->err));
		return false;
	}
	if (!s->look)
		show_read(call, s);
	if (!control_look_wait(s->look))
		return true;
	while (has_room(call) && control_look_next(s->look, &seen))
		show_seen(call, s, &seen);
	if (has_room(call))
		control_look_free(&s->look);
	return true;
}

static void show_end(struct control_call *call)
{
	struct show *s = call->state;
	control_look_free(&s->look);
}

static void cmd_show(struct control_call *call)
{
	struct queue_item *items[FIND_MAX];
	struct show *s = arena_zalloc(&call->arena, sizeof(*s));

	s->n = find(call, call->argv[1], items, FIND_MAX);
	if (s->n == 0)
		return;
	s->err = ERR_NOT_FOUND;
	s->ids = arena_alloc(&call->arena, s->n * sizeof(*s->ids));
	for (size_t i = 0; i < s->n; i++)
		queue_item_id(items[i], s->ids[i]);
	call->state = s;
	call->more = show_more;
	call->end = show_end;
}

/* --- flush, hold, release, delete ---------------------------------------------------------- */

/* A command that changes items: what they are called, and what the scan is to do with those it
 * still finds. */
struct target {
	struct slice name;
	bool is_id;
	int later; /* as queue_order returns it */
};

static struct target target_of(struct control_call *call, enum queue_order order)
{
	const struct shards *s = call->mta->shards;
	struct slice arg = slice_str(call->argv[1]);
	struct target t = { .name = arg, .is_id = queue_is_id(arg) };

	if (!t.is_id)
		t.name = slice_str(domain_arg(call, call->argv[1]));
	for (unsigned i = 0; i < s->n && t.later >= 0; i++) {
		int later = queue_order(s->mta[i]->queue, order, t.name);
		t.later = later < 0 ? later : MAX(later, t.later);
	}
	return t;
}

/* What came of it: n items, and those to come. */
static void answer(struct control_call *call, size_t n, int later, const char *verb)
{
	const char *s = n == 1 ? "" : "s";

	if (later < 0) {
		say(call,
		    "ERR %zu item%s %s, but the start-up scan is still running and %d commands "
		    "wait for what it finds: repeat this one when it has ended\n",
		    n, s, verb, QUEUE_ORDERS_MAX);
	} else if (later > 0) {
		ok(call);
		say(call, "%zu item%s %s; so will be what the start-up scan still finds\n", n, s,
		    verb);
	} else {
		ok(call);
		say(call, "%zu item%s %s\n", n, s, verb);
	}
}

/* Items in the queue, and those that wait behind a site that is down. */
static size_t flush_id(struct mta *m, struct slice id)
{
	struct queue_item *items[FIND_MAX];
	size_t found = MIN(queue_find(m->queue, id, items, FIND_MAX), FIND_MAX);
	size_t n = queue_flush_id(m->queue, id, m->now);

	for (size_t i = 0; i < found; i++)
		n += dispatch_flush_item(m->dispatch, items[i]);
	return n;
}

static size_t flush_target(struct mta *m, const struct target *t)
{
	loop_again(m->loop);
	if (t->is_id)
		return flush_id(m, t->name);
	return queue_flush_domain(m->queue, t->name, m->now) +
	       dispatch_flush_domain(m->dispatch, t->name.p);
}

static void cmd_flush(struct control_call *call)
{
	struct shards *s = call->mta->shards;
	size_t n = 0;

	if (call->argc == 1) {
		n = shards_flush(s);
		ok(call);
		say(call, "%zu item%s due now\n", n, n == 1 ? "" : "s");
		return;
	}
	struct target t = target_of(call, QUEUE_ORDER_FLUSH);
	for (unsigned i = 0; i < s->n; i++)
		n += flush_target(s->mta[i], &t);
	if (n == 0 && t.later == 0)
		say(call, "ERR nothing deferred for %s\n", shown(call, call->argv[1]));
	else
		answer(call, n, t.later, "due now");
}

struct change { /* one item of hold, release or delete, on its way through the disk threads */
	struct mta *mta;
	enum event_kind kind;
	bool was_held;
};

static void note_change(struct mta *m, const struct queue_item *item, enum event_kind kind)
{
	struct envelope *env = NULL;

	if (queue_peek(m->queue, item, &env) < 0)
		return;
	for (size_t i = 0; i < env->rcpts_n; i++) {
		struct event e = { .kind = kind,
			.envelope = env,
			.recipient = env->rcpts[i].address };
		if (!fate_is_final(env->rcpts[i].fate))
			accounting_add(m->accounting, &e, m->now);
	}
	envelope_free(&env);
}

static void on_changed(void *arg, struct queue_done *done)
{
	struct change *c = arg;

	if (done->result < 0)
		log_error("control", "%s: %s", done->id, err_text(done->result));
	else if (done->item)
		note_change(c->mta, done->item, c->kind);
	mem_free(c);
}

static void on_delete_loaded(void *arg, struct queue_done *done)
{
	struct change *c = arg;
	struct mta *m = c->mta;

	if (done->result == 0 && done->item) {
		settlement_delete(m, done->item, loop_now(m->loop));
	} else if (done->item) {
		log_error("control", "%s: not deleted: %s", done->id, err_text(done->result));
		done->item->want_hold = c->was_held; /* it goes back to where it was */
		queue_park(m->queue, done->item, 0);
	}
	mem_free(c);
}

/* Takes the ACTIVE item. One whose last outcome the disk refused has its mail in memory. */
static void delete_item(struct change *c, struct queue_item *item)
{
	if (!item->mail) {
		committer_add(c->mta->committer, queue_op_load(item), on_delete_loaded, c);
		return;
	}
	settlement_delete(c->mta, item, c->mta->now);
	mem_free(c);
}

/*
 * An item that is ACTIVE or BUSY. What waits for a connection is taken back
 * and rests (TAKEN). What is in delivery can be held after this attempt, or
 * that wish be taken back (NOTED).
 */
enum grip {
	GRIP_NONE = 0,
	GRIP_TAKEN,
	GRIP_NOTED,
};

static enum grip grip_item(struct mta *m, struct queue_item *item, enum event_kind kind)
{
	bool wanted = item->want_hold;

	if (kind == EVENT_RELEASED) {
		item->want_hold = false;
		return wanted ? GRIP_NOTED : GRIP_NONE;
	}
	if (dispatch_withdraw(m->dispatch, item)) {
		queue_park(m->queue, item, 0);
		return GRIP_TAKEN;
	}
	if (kind == EVENT_DELETED)
		return GRIP_NONE;
	item->want_hold = true;
	return GRIP_NOTED;
}

static enum event_kind kind_of(enum queue_order order)
{
	switch (order) {
	case QUEUE_ORDER_HOLD:
		return EVENT_HELD;
	case QUEUE_ORDER_RELEASE:
		return EVENT_RELEASED;
	case QUEUE_ORDER_DELETE:
		return EVENT_DELETED;
	case QUEUE_ORDER_NONE:
	case QUEUE_ORDER_FLUSH:
		break;
	}
	UNREACHABLE();
}

static bool change_item(struct mta *m, struct queue_item *item, enum event_kind kind)
{
	bool rests = item->state == QUEUE_ITEM_PARKED || item->state == QUEUE_ITEM_HELD;
	enum grip grip = rests ? GRIP_TAKEN : grip_item(m, item, kind);
	struct change *c;

	if (grip != GRIP_TAKEN)
		return grip == GRIP_NOTED;
	if ((kind == EVENT_RELEASED && item->state != QUEUE_ITEM_HELD) ||
	    (kind == EVENT_HELD && item->state != QUEUE_ITEM_PARKED))
		return false;
	c = mem_zalloc(sizeof(*c));
	c->mta = m;
	c->kind = kind;
	c->was_held = item->state == QUEUE_ITEM_HELD;
	if (kind == EVENT_DELETED) {
		queue_take(m->queue, item);
		delete_item(c, item);
	} else {
		committer_add(m->committer, queue_op_hold(item, kind == EVENT_HELD, m->now),
		    on_changed, c);
	}
	return true;
}

/* By id, or all of a domain: those that a shard has. */
static size_t change_there(struct mta *m, const struct target *t, enum event_kind kind)
{
	struct queue_item *items[FIND_MAX];
	struct queue_item *item;
	struct queue_walk w;
	size_t n = t->is_id ? MIN(queue_find(m->queue, t->name, items, FIND_MAX), FIND_MAX) : 0;
	size_t done = 0;

	if (kind == EVENT_RELEASED) /* what is released is due at once, as by a flush */
		dispatch_note_flush(m->dispatch);
	for (size_t i = 0; i < n; i++)
		done += change_item(m, items[i], kind);
	if (t->is_id || t->name.n == 0) /* a walk over no domain is one over all */
		return done;
	queue_walk_begin(m->queue, &w, t->name);
	while ((item = queue_walk_next(&w)))
		done += change_item(m, item, kind);
	queue_walk_end(&w);
	return done;
}

/* Items in delivery can be held (after this attempt), not released or deleted. */
static void change(struct control_call *call, enum queue_order order, const char *verb)
{
	const struct shards *s = call->mta->shards;
	struct target t = target_of(call, order);
	enum event_kind kind = kind_of(order);
	size_t done = 0;

	for (unsigned i = 0; i < s->n; i++) {
		if (s->mta[i]->phase == MTA_PHASE_STOPPED)
			continue; /* nobody there to do it: as if the command had come later */
		done += change_there(s->mta[i], &t, kind);
		loop_again(s->mta[i]->loop);
	}
	if (done == 0 && t.later == 0)
		say(call, "ERR nothing for %s that can be %s now\n", shown(call, call->argv[1]),
		    verb);
	else
		answer(call, done, t.later, verb);
}

void control_apply_orders(struct mta *m)
{
	enum queue_order order;
	struct queue_item *item;

	while ((item = queue_next_ordered(m->queue, &order)))
		(void)change_item(m, item, kind_of(order));
}

static void cmd_hold(struct control_call *call)
{
	change(call, QUEUE_ORDER_HOLD, "held");
}

static void cmd_release(struct control_call *call)
{
	change(call, QUEUE_ORDER_RELEASE, "released");
}

static void cmd_delete(struct control_call *call)
{
	change(call, QUEUE_ORDER_DELETE, "deleted");
}

/* --- reload, log ----------------------------------------------------------------------------- */

static void cmd_reload(struct control_call *call)
{
	if (shards_reload(call->mta->shards))
		ok(call);
	else
		say(call, "ERR the configuration has mistakes (see the log); the old one stays\n");
}

static void cmd_log(struct control_call *call)
{
	enum log_level level = log_level_parse(slice_str(call->argv[1]));

	if (level == LOG_LEVEL_NONE) {
		say(call,
		    "ERR levels are data protocol debug info notice warn error crit alert emerg\n");
		return;
	}
	log_set_level(level);
	log_notice("control", "log level is now %s", log_level_name(level));
	ok(call);
}

static const struct command commands[] = {
	{ "status", 0, 0, cmd_status },
	{ "queue", 0, 5, cmd_queue },
	{ "show", 1, 1, cmd_show },
	{ "flush", 0, 1, cmd_flush },
	{ "hold", 1, 1, cmd_hold },
	{ "release", 1, 1, cmd_release },
	{ "delete", 1, 1, cmd_delete },
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
			say(call, "ERR %s takes %s\n", c->name,
			    c->args_min ? "an argument" : "no such arguments");
		else
			c->run(call);
		return;
	}
	say(call, "ERR unknown command %s\n", shown(call, call->argv[0]));
}
