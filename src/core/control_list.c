/*
 * The operator's view of the queue: queue and show. Answers come in pieces,
 * the envelopes in them from the disk threads (control_look.h).
 */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "core/control_cmds.h"
#include "core/control_look.h"
#include "core/dispatch.h"
#include "core/shards.h"

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

	control_say(call, "%s  %-8s  %9llu  attempts %u  next %s  <%s>\n", queue_item_id(item, id),
	    state_name(item), (unsigned long long)env->body_bytes, item->attempts,
	    clock_rfc3339(next_attempt_ms(call, item), due), control_shown(call, env->sender));
	for (size_t i = 0; i < env->rcpts_n; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];
		if (fate_is_final(r->fate))
			continue;
		control_say(call, "    <%s>%s%s\n", control_shown(call, r->address),
		    r->status.text[0] ? "  " : "", control_shown(call, r->status.text));
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
			control_say(call, "%zu item%s%s\n", l->shown, l->shown == 1 ? "" : "s",
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

void control_queue(struct control_call *call)
{
	struct listing *l = arena_zalloc(&call->arena, sizeof(*l));

	for (size_t i = 1; i < call->argc; i++) {
		const char *arg = call->argv[i];
		if (strcmp(arg, "--json") == 0) {
			l->json = true;
		} else if (strcmp(arg, "--domain") == 0 && i + 1 < call->argc) {
			l->domain = control_domain_arg(call, call->argv[++i]);
		} else if (strcmp(arg, "--sender") == 0 && i + 1 < call->argc) {
			l->sender = call->argv[++i];
		} else {
			control_say(call, "ERR queue takes --domain D, --sender S and --json\n");
			return;
		}
	}
	control_ok(call);
	call->state = l;
	list_shard(call, l);
	call->more = list_more;
	call->end = list_end;
}

/* --- show ------------------------------------------------------------------------------- */

static void show_rcpt(struct control_call *call, const struct envelope_rcpt *r)
{
	char when[CLOCK_TEXT_MAX];

	control_say(call, "recipient: <%s> %s, attempts %u", control_shown(call, r->address),
	    fate_name(r->fate), r->attempts);
	if (!fate_is_final(r->fate))
		control_say(call, ", next %s", clock_rfc3339(r->due_ms, when));
	control_say(call, "\n");
	if (r->status.text[0])
		control_say(call, "    last: %s%s%s (%s)\n", control_shown(call, r->status.text),
		    r->status.host[0] ? " from " : "", control_shown(call, r->status.host),
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
		control_say(call, "waits for: %s, down since %s: %s\n", s->name,
		    clock_rfc3339(s->down_since_wall_ms, when),
		    control_shown(call, s->reply->status.text));
		return;
	}
	enum site_wait why = site_waits_for(s, now.mono_ms, &until_ms);
	if (why != SITE_WAIT_NONE)
		control_say(call, "waits for: %s, %s at %s, %zu items wait\n", s->name, limits[why],
		    clock_rfc3339(now.wall_ms + until_ms - now.mono_ms, when), s->items);
}

static void show_item(struct control_call *call, const struct queue_item *item,
    const struct envelope *env)
{
	char id[QUEUE_ID_MAX], when[CLOCK_TEXT_MAX];

	control_say(call, "queue id: %s\nstate: %s\ndomain: %s\nsender: <%s>\n",
	    queue_item_id(item, id), state_name(item), item->domain->name,
	    control_shown(call, env->sender));
	control_say(call, "user: %s\nclient: %s (%s) %s\n", control_shown(call, env->user),
	    env->client_ip, control_shown(call, env->helo), env->protocol);
	control_say(call, "arrival: %s\nsize: %llu\nmessage-id: %s\n",
	    clock_rfc3339(env->arrival_ms, when), (unsigned long long)env->body_bytes,
	    control_shown(call, env->message_id));
	control_say(call, "next attempt: %s\n", clock_rfc3339(next_attempt_ms(call, item), when));
	show_site(call, dispatch_waits_at(item));
	for (size_t i = 0; i < env->rcpts_n; i++)
		show_rcpt(call, &env->rcpts[i]);
}

/* Items an id names; 0 with the refusal already said. */
static size_t find(struct control_call *call, const char *id, struct queue_item **items, size_t max)
{
	size_t n = shards_find(call->mta->shards, slice_str(id), items, max);

	if (n == 0)
		control_say(call, "ERR no message or queue file %s in the queue\n",
		    control_shown(call, id));
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
		control_ok(call);
	else
		control_say(call, "\n");
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
			control_say(call, "ERR %s can't be read: %s\n", call->argv[1],
			    err_text(s->err));
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

void control_show(struct control_call *call)
{
	struct queue_item *items[CONTROL_FIND_MAX];
	struct show *s = arena_zalloc(&call->arena, sizeof(*s));

	s->n = find(call, call->argv[1], items, CONTROL_FIND_MAX);
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
