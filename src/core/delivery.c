#include "core/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/limits.h"
#include "core/pool.h"
#include "proto/path.h"

#define DELIVERY_CONNECTING_MAX_MS (5 * 60 * 1000)
#define DELIVERY_CONNECT_MIN_MS    1000 /* a second connection to a host that did answer */
#define DELIVERY_BODY_PIECE        (64 * 1024)

static void delivery_step(struct mta_work *w, struct now now);
static void next_host(struct delivery *d, struct now now);
static void take_resolution(struct delivery *d, struct now now);

/* --- beginning and end -------------------------------------------------------- */

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s > 127)
			return false;
	return true;
}

/* The form an address goes out in: its domain as an A-label where only that is not ASCII (RFC
 * 6531 3.7.1). */
static const char *wire_address(struct delivery *d, const char *address)
{
	struct path path;
	struct buf domain;
	const char *out = address;

	if (is_ascii(address) || path_parse_address(slice_str(address), &path, NULL) < 0)
		return address;
	char *local = arena_strndup(&d->arena, path.local.p, path.local.n);
	buf_init(&domain, 512);
	if (is_ascii(local) && path_domain_to_ascii(path.domain, &domain) == 0)
		out = arena_printf(&d->arena, "%s@%s", local, buf_cstr(&domain));
	buf_fini(&domain);
	return out;
}

/* The recipients that are due; all pending ones of an item that was flushed. */
static void pick_recipients(struct delivery *d, struct now now)
{
	const struct envelope *env = d->item->mail->envelope;
	int64_t due_by = queue_due_by(d->item, now);

	d->rcpts = arena_zalloc(&d->arena, env->rcpts_n * sizeof(*d->rcpts));
	d->temporary = arena_zalloc(&d->arena, env->rcpts_n * sizeof(*d->temporary));
	d->wire = arena_zalloc(&d->arena, env->rcpts_n * sizeof(*d->wire));
	d->wire_index = arena_zalloc(&d->arena, env->rcpts_n * sizeof(*d->wire_index));
	for (size_t i = 0; i < env->rcpts_n; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];
		if (fate_is_final(r->fate) || (!d->item->flushed && r->due_ms > due_by))
			continue;
		d->rcpts[d->rcpts_n].index = i;
		d->rcpts[d->rcpts_n].text = "";
		smtp_result_init(&d->rcpts[d->rcpts_n++].result);
	}
	CHECK(d->rcpts_n > 0);
}

static void stop_waiting(struct delivery *d)
{
	if (!list_is_linked(&d->waits))
		return;
	list_remove(&d->waits);
	d->site->waiting_n--;
	limits_add(d->work.mta->limits, LIMITS_DELIVERIES);
}

static void delivery_free(struct delivery *d)
{
	struct mta *m = d->work.mta;
	struct site *site = d->site;
	bool sent = d->sent;

	CHECK(!d->connection);
	resolve_free(&d->resolve);
	resolution_unref(&d->resolution);
	for (size_t i = 0; i < d->rcpts_n; i++)
		smtp_result_fini(&d->rcpts[i].result);
	arena_fini(&d->arena);
	conf_unref(&d->conf);
	mta_work_fini(&d->work);
	stop_waiting(d);
	list_remove(&d->node);
	mem_free(d);
	dispatch_finished(m->dispatch, site, sent);
}

void delivery_abort(struct delivery *d)
{
	queue_park(d->work.mta->queue, d->item, 0);
	delivery_free(d);
}

/* Nobody said a word about this mail: what is wrong is wrong with the site. */
static bool is_down(const struct delivery *d)
{
	if (!d->unreachable || d->answered)
		return false;
	for (size_t i = 0; i < d->rcpts_n; i++)
		if (d->rcpts[i].verdict.kind != VERDICT_DEFER)
			return false; /* final for each (521): there is nothing to wait for */
	return true;
}

static void tell_site(struct delivery *d)
{
	struct dispatch *dispatch = d->work.mta->dispatch;
	const struct attempt_rcpt *a = &d->rcpts[0];
	struct site_reply why = { .stage = a->stage };

	if (is_down(d) && !site_is_alive(d->site, d->began_ms)) {
		settlement_status(a, &d->arena, &why.status);
		why.port = a->host ? a->host->port : 0;
		why.mode = a->host ? a->host->mode : NULL;
		dispatch_failed(dispatch, d->site, &why);
	} else if (d->answered || d->unreachable) {
		dispatch_answered(dispatch, d->site, d->answered);
	}
}

/* A host refused this connection, while others go on: the mail has no part in that. But only once,
 * a host may refuse just this for ever. */
static bool is_spared(const struct delivery *d)
{
	return is_down(d) && !d->item->spared && site_is_alive(d->site, d->began_ms);
}

static void put_back(struct delivery *d)
{
	dispatch_put_back(d->work.mta->dispatch, d->item);
	delivery_free(d);
}

/* Hands the results over. */
static void settle(struct delivery *d, struct now now)
{
	if (is_spared(d)) {
		log_debug("delivery", "%s: no connection, others stand: tried again",
		    d->item->mail->envelope->queue_id);
		d->item->spared = true;
		put_back(d);
		return;
	}
	tell_site(d);
	settlement_start(d->work.mta, d->item, d->rcpts, d->rcpts_n, now);
	delivery_free(d);
}

/* --- results -------------------------------------------------------------------- */

static void find(struct delivery *d, enum verdict_finding finding, enum smtp_stage stage,
    const char *text)
{
	for (size_t i = 0; i < d->rcpts_n; i++) {
		struct attempt_rcpt *a = &d->rcpts[i];
		if (a->decided)
			continue;
		verdict_of_finding(finding, &a->verdict);
		d->unreachable |= finding != VERDICT_FINDING_LOCAL_ERROR;
		a->stage = stage;
		a->text = arena_strdup(&d->arena, text);
		a->decided = true;
	}
}

/* Takes one host's answer for one recipient; it is decided unless another host may know better.
 * detail: of the connection's failure, or "". */
static void take_result(struct delivery *d, struct attempt_rcpt *a,
    const struct smtp_result *result, bool some_accepted, const char *detail)
{
	size_t i = (size_t)(a - d->rcpts);
	struct errbuf why;

	smtp_result_copy(&a->result, result);
	a->stage = result->stage;
	a->host = d->host;
	verdict_of_result(result, some_accepted, &a->verdict);
	a->text = "";
	if (!result->reply.code && result->err) {
		errbuf_set(&why, 0, "%s%s%s",
		    a->verdict.text ? a->verdict.text : err_text(result->err),
		    detail[0] ? ": " : "", detail);
		a->text = arena_strdup(&d->arena, why.text);
	}
	if (a->verdict.pressure == VERDICT_PRESSURE_MAIL)
		d->pressed = d->answered = true;
	else if (a->verdict.connection_failed)
		/* One that has served others may end for any reason of its own; whether the site
		 * is down is for the next one to find out. */
		d->unreachable |= d->first_on_it;
	else if (result->stage != SMTP_STAGE_LOCAL)
		d->answered = true;
	if (a->verdict.kind != VERDICT_BOUNCE)
		d->temporary[i] = true;
	a->decided = !a->verdict.next_host;
}

/* No host is left to try. What would be a bounce if every host said so is a deferral if one did
 * not, or was not asked. */
static void decide_rest(struct delivery *d)
{
	bool unasked = d->at < d->resolution->candidates_n || d->resolution->more_hosts;

	for (size_t i = 0; i < d->rcpts_n; i++) {
		struct attempt_rcpt *a = &d->rcpts[i];
		if (a->decided)
			continue;
		a->decided = true;
		if (a->verdict.unless_all && (unasked || d->temporary[i]))
			verdict_of_finding(VERDICT_FINDING_HOSTS_EXHAUSTED, &a->verdict);
	}
}

static bool all_decided(const struct delivery *d)
{
	for (size_t i = 0; i < d->rcpts_n; i++)
		if (!d->rcpts[i].decided)
			return false;
	return true;
}

void delivery_unconnected(struct delivery *d, enum smtp_stage stage, int err, const char *detail,
    struct now now)
{
	struct smtp_result r;

	delivery_left(d);
	smtp_result_init(&r);
	r.stage = stage;
	r.err = err;
	for (size_t i = 0; i < d->rcpts_n; i++)
		if (!d->rcpts[i].decided)
			take_result(d, &d->rcpts[i], &r, false, detail);
	smtp_result_fini(&r);
	next_host(d, now);
}

/* --- what is sent --------------------------------------------------------------- */

static void prepare_message(struct delivery *d)
{
	const struct envelope *env = d->item->mail->envelope;
	size_t n = 0;

	d->msg = (struct smtp_client_msg){
		.sender = wire_address(d, env->sender),
		.rcpts = d->wire,
		.body_bytes = queue_body_size(d->item->mail->body),
		.body = d->item->mail->body,
		.plain = (env->flags & ENVELOPE_PLAIN) != 0,
		.has_8bit = (env->flags & (ENVELOPE_HAS_8BIT | ENVELOPE_UTF8_HEADER)) != 0,
		.needs_utf8 =
		    (env->flags & ENVELOPE_SMTPUTF8) && (env->flags & ENVELOPE_UTF8_HEADER),
		.ret = env->ret == ENVELOPE_RET_FULL   ? 1
		       : env->ret == ENVELOPE_RET_HDRS ? 2
						       : 0,
		.envid = env->envid,
	};
	d->msg.needs_utf8 |= !is_ascii(d->msg.sender);
	for (size_t i = 0; i < d->rcpts_n; i++) {
		if (d->rcpts[i].decided)
			continue;
		const struct envelope_rcpt *r = &env->rcpts[d->rcpts[i].index];
		d->wire_index[n] = i;
		d->wire[n].address = wire_address(d, r->address);
		d->wire[n].orcpt = r->orcpt;
		d->wire[n].notify = r->notify;
		d->msg.needs_utf8 |= !is_ascii(d->wire[n].address);
		n++;
	}
	d->msg.rcpts_n = n;
	d->body_at = 0;
}

const struct smtp_client_msg *delivery_message(const struct delivery *d)
{
	return &d->msg;
}

void delivery_body_failed(const struct delivery *d, int err)
{
	log_error("delivery", "%s: body can't be read: %s", d->item->mail->envelope->queue_id,
	    err_text(err));
}

void delivery_give_body(struct delivery *d, struct smtp_client *client, struct now now)
{
	struct queue_body *body = d->item->mail->body;
	struct slice memory = queue_body_memory(body);
	uint64_t size = queue_body_size(body);
	char piece[DELIVERY_BODY_PIECE];
	size_t want = (size_t)MIN(size - d->body_at, sizeof(piece));

	if (memory.p || size == 0) {
		bool last = d->body_at + want == size;
		smtp_client_body(client, slice_of(memory.p + d->body_at, want), last, now);
		d->body_at += want;
		return;
	}
	ssize_t n = queue_body_read(body, d->body_at, piece, want);
	if (n <= 0) {
		delivery_body_failed(d, n < 0 ? (int)n : ERR_CORRUPT);
		smtp_client_body_failed(client);
		return;
	}
	d->body_at += (uint64_t)n;
	smtp_client_body(client, slice_of(piece, (size_t)n), d->body_at == size, now);
}

/* --- connections ------------------------------------------------------------------ */

static struct connection_target target(const struct delivery *d, size_t at)
{
	struct connection_target t = {
		.conf = d->conf,
		.resolution = d->resolution,
		.to = &d->resolution->candidates[d->order[at]],
		.route = d->route,
		.level = d->level,
		.in_clear = d->in_clear,
	};

	return t;
}

static void note_host(struct delivery *d, const struct connection *c)
{
	if (!d->host)
		d->host = arena_alloc(&d->arena, sizeof(*d->host));
	*d->host = c->host;
}

static void place_on(struct delivery *d, struct connection *c, bool dialled, struct now now)
{
	d->connection = c;
	d->first_on_it = dialled;
	d->placed = true;
	d->has_waited = false;
	if (!d->sent && !bucket_take(&d->site->sends, now.mono_ms))
		UNREACHABLE();
	d->sent = true;
	d->site->unplaced--;
	d->host = NULL; /* results of the last one point to its facts */
	note_host(d, c);
	prepare_message(d);
}

void delivery_left(struct delivery *d)
{
	if (!d->connection)
		return;
	d->connection = NULL;
	d->site->unplaced++;
}

/* An open connection to a host that is not the best is as good as a new one for as long as the
 * better hosts are known not to answer. Then one delivery tries them again. */
static uint8_t worst_rank(struct delivery *d, struct now now)
{
	struct site *s = d->site;

	if (s->rank == 0 || now.mono_ms < s->rank_until_ms)
		return s->rank;
	s->rank_until_ms = now.mono_ms + DELIVERY_CONNECTING_MAX_MS;
	return 0;
}

/* One that is open: at rest, or busy, if no other may be dialled. Whichever host it is with, that
 * one comes first now. */
static bool take_open(struct delivery *d, unsigned limit, struct now now)
{
	const struct resolution *r = d->resolution;
	size_t end = d->placed ? d->at + 1 : r->candidates_n;
	uint8_t worst = d->placed ? UINT8_MAX : worst_rank(d, now);

	for (size_t i = d->at; i < end && r->candidates[d->order[i]].rank <= worst; i++) {
		struct connection_target t = target(d, i);
		struct connection *c = pool_find(d->site, &t);
		if (!c || (c->with_n > 0 && d->site->connections_n < limit))
			continue;
		uint8_t candidate = d->order[i];
		memmove(&d->order[d->at + 1], &d->order[d->at], i - d->at);
		d->order[d->at] = candidate;
		d->phase = DELIVERY_TALKING;
		place_on(d, c, false, now);
		connection_take(c, d, now);
		return true;
	}
	return false;
}

/* The site's connections are all in use, for mail of another kind, or it may not have another one
 * yet. What is known of the attempt so far is kept: to begin anew would mean the first host, for
 * ever. Mail of other sites may have its place among the deliveries meanwhile. */
static void wait_for_room(struct delivery *d)
{
	log_debug("delivery", "%s: waits for a connection", d->item->mail->envelope->queue_id);
	if (d->has_waited)
		list_push_front(&d->site->waiting, &d->waits);
	else
		list_push(&d->site->waiting, &d->waits);
	d->has_waited = true;
	d->site->waiting_n++;
	limits_end(d->work.mta->limits, LIMITS_DELIVERIES);
}

/* Until it is woken, or then. Who stops has no patience. */
static void wait(struct delivery *d, int64_t until_ms)
{
	if (d->work.mta->phase != MTA_PHASE_RUNNING) {
		delivery_abort(d);
		return;
	}
	d->phase = DELIVERY_WAITING;
	mta_deadline(&d->work, until_ms);
}

static void dial(struct delivery *d, struct now now)
{
	struct connection_target t = target(d, d->at);
	int64_t left = DELIVERY_CONNECTING_MAX_MS - d->connecting_ms;
	int timeout_ms = (int)MIN((int64_t)d->conf->outbound.connect_timeout_s * 1000,
	    MAX(left, DELIVERY_CONNECT_MIN_MS));

	d->phase = DELIVERY_DIALLING;
	d->connect_began_ms = now.mono_ms;
	if (!bucket_take(&d->site->dials, now.mono_ms))
		UNREACHABLE();
	place_on(d, connection_dial(d->work.mta, d->site, &t, timeout_ms, d), true, now);
}

/* It is not started before its site's rates allow (site.c). But it may have taken its time over the
 * DNS, as others, or want another connection than the one it was started for. */
static void place(struct delivery *d, struct now now)
{
	struct site *s = d->site;
	unsigned limit = window_size(&s->window);
	int64_t send_at_ms = d->sent ? now.mono_ms : bucket_next_at(&s->sends, now.mono_ms);
	int64_t dial_at_ms = bucket_next_at(&s->dials, now.mono_ms);

	/* Nobody was asked yet: it needs not be a delivery, mail of other sites may be one. */
	if (!d->placed && window_resume_at(&s->window) > now.mono_ms) {
		put_back(d);
		return;
	}
	if (d->wants_fresh)
		send_at_ms = MAX(send_at_ms, window_resume_at(&s->window));
	if (send_at_ms > now.mono_ms) {
		wait(d, send_at_ms);
		return;
	}
	if (!d->wants_fresh && take_open(d, limit, now))
		return;
	if (dial_at_ms <= now.mono_ms && pool_make_room(d->work.mta->pool, s, limit)) {
		dial(d, now);
		return;
	}
	if (!d->placed && site_is_crowded(s)) {
		put_back(d);
		return;
	}
	wait_for_room(d);
	wait(d, dial_at_ms > now.mono_ms ? dial_at_ms : INT64_MAX);
}

/* In a step of its own: the present connection may be about to go. */
static void place_again(struct delivery *d)
{
	d->phase = DELIVERY_PLACING;
	mta_mark(&d->work);
}

void delivery_wake(struct delivery *d)
{
	if (d->phase != DELIVERY_WAITING)
		return;
	stop_waiting(d);
	mta_deadline(&d->work, INT64_MAX);
	place_again(d);
}

static void next_host(struct delivery *d, struct now now)
{
	d->in_clear = d->wants_fresh = false;
	d->at++;
	if (all_decided(d)) {
		settle(d, now);
	} else if (d->at >= d->resolution->candidates_n ||
		   d->connecting_ms >= DELIVERY_CONNECTING_MAX_MS) {
		decide_rest(d);
		settle(d, now);
	} else {
		place_again(d);
	}
}

/* Only the time spent on connecting counts: a host that answers and then is slow must not keep an
 * attempt from the hosts behind it. */
void delivery_note_connecting(struct delivery *d, struct now now)
{
	d->connecting_ms += MAX(now.mono_ms - d->connect_began_ms, 0);
	d->connect_began_ms = now.mono_ms;
}

/* --- answers -------------------------------------------------------------------------- */

/* A handshake that failed where encryption is only wished for: the same host once more, in clear.
 */
static bool wants_clear_retry(const struct delivery *d, const struct connection *c)
{
	const struct smtp_result *r = smtp_client_session_result(c->client);
	const struct route_hop *hop = c->to.hop;

	return r->stage == SMTP_STAGE_STARTTLS && r->err == ERR_TLS && d->level == TLS_LEVEL_MAY &&
	       !d->in_clear && !(hop && hop->user[0]);
}

/* Whether the host took some recipient of this transaction: a 552 to another then means "too many".
 */
static bool some_accepted(const struct delivery *d, const struct smtp_client *client)
{
	for (size_t i = 0; i < d->msg.rcpts_n; i++) {
		const struct smtp_result *r = smtp_client_result(client, i);
		bool refused = r->reply.code >= 400 || r->need != SMTP_NEED_NONE;
		if (r->accepted || r->stage > SMTP_STAGE_RCPT ||
		    (r->stage == SMTP_STAGE_RCPT && !refused))
			return true; /* the last: the session was lost before all had been answered
				      */
	}
	return false;
}

/* 50z to BDAT: it spoke of the command, and has nothing of the message. */
static bool is_of_chunking(const struct smtp_client *client, const struct smtp_result *r)
{
	return smtp_client_refused_chunking(client) && r->reply.code && r->err == ERR_PROTOCOL;
}

/* The site gets less for a while; this mail may be taken by another of its hosts. */
static void slow_down(struct delivery *d, struct now now)
{
	struct window *w = &d->site->window;
	int64_t before_ms = window_resume_at(w);

	d->pressed = false;
	window_slowed(w, now.mono_ms);
	if (window_resume_at(w) == before_ms)
		return;
	log_info("delivery", "%s gets too much mail: a pause of %lld s", d->site->name,
	    (long long)(window_resume_at(w) - now.mono_ms) / 1000);
	pool_shrink(d->site);
}

/* Takes what the host said of each recipient. True: it offered CHUNKING, but refused BDAT; so for
 * some the message goes there once more, over a connection that does without. */
static bool take_results(struct delivery *d, const struct connection *c, const char *detail,
    struct now now)
{
	bool some = some_accepted(d, c->client);
	bool again = false, taken = false;

	for (size_t i = 0; i < d->msg.rcpts_n; i++) {
		const struct smtp_result *r = smtp_client_result(c->client, i);
		if (is_of_chunking(c->client, r))
			again = true;
		else
			take_result(d, &d->rcpts[d->wire_index[i]], r, some, detail);
		taken |= r->accepted;
	}
	if (taken)
		window_delivered(&d->site->window, d->site->busy_n, now.mono_ms);
	else if (d->first_on_it && d->rcpts[d->wire_index[0]].verdict.connection_failed &&
		 smtp_client_is_established(c->client) && !d->pressed)
		window_failed(&d->site->window, d->site->standing_n, now.mono_ms);
	if (d->pressed)
		slow_down(d, now);
	return again;
}

void delivery_answered(struct delivery *d, const struct connection *c, struct now now)
{
	const char *detail = stream_error_text(c->stream);

	delivery_left(d);
	if (smtp_client_result(c->client, 0)->untried) {
		log_debug("delivery", "%s: the connection to %s was stale, going on with a new one",
		    d->item->mail->envelope->queue_id, c->host.host);
		d->wants_fresh = true;
		place_again(d);
		return;
	}
	note_host(d, c);
	if (wants_clear_retry(d, c)) {
		log_info("delivery", "%s: TLS with %s failed (%s), trying in clear",
		    d->item->mail->envelope->queue_id, c->host.host, detail);
		d->in_clear = true;
		place_again(d);
		return;
	}
	if (take_results(d, c, detail, now)) {
		d->wants_fresh = true;
		place_again(d);
	} else if (all_decided(d)) {
		settle(d, now);
	} else {
		next_host(d, now);
	}
}

static void delivery_step(struct mta_work *w, struct now now)
{
	struct delivery *d = container_of(w, struct delivery, work);

	switch (d->phase) {
	case DELIVERY_RESOLVING:
		if (!d->resolve)
			take_resolution(d, now);
		break;
	case DELIVERY_WAITING:
		delivery_wake(d);
		break;
	case DELIVERY_PLACING:
		place(d, now);
		break;
	case DELIVERY_DIALLING:
	case DELIVERY_TALKING:
	case DELIVERY_NONE:
		break;
	}
}

/* --- starting ------------------------------------------------------------------------ */

static void take_resolution(struct delivery *d, struct now now)
{
	struct resolution *r = d->resolution;

	if (dispatch_move(d->work.mta->dispatch, d->site, d->item, r)) {
		delivery_free(d);
		return;
	}
	if (r->finding != VERDICT_FINDING_NONE) {
		find(d, r->finding, SMTP_STAGE_DNS, r->why);
		settle(d, now);
		return;
	}
	resolution_order(r, &d->work.mta->rng, d->order);
	d->at = 0;
	place(d, now);
}

static void on_resolved(void *arg, struct resolution *r)
{
	struct delivery *d = arg;

	d->resolution = resolution_ref(r);
	resolve_free(&d->resolve);
	take_resolution(d, d->work.mta->now);
}

void delivery_start(struct mta *m, struct site *site, struct queue_item *item, struct now now)
{
	struct delivery *d = mem_zalloc(sizeof(*d));
	struct slice domain = slice_str(item->domain->name);

	mta_work_init(&d->work, m, delivery_step);
	list_init(&d->waits);
	arena_init(&d->arena);
	d->conf = conf_ref(m->conf);
	d->site = site;
	d->began_ms = now.mono_ms;
	d->item = item;
	d->route = route_find(d->conf->routes, d->conf->routes_n, domain);
	d->level = conf_find_tls_level(d->conf, d->route, domain);
	list_push(dispatch_deliveries(m->dispatch), &d->node);
	pick_recipients(d, now);
	d->phase = DELIVERY_RESOLVING;
	const char *to = item->mail->envelope->domain;
	d->resolution = resolve_cached(m, d->conf, d->route, to, now);
	if (d->resolution)
		mta_mark(&d->work); /* not here: the dispatcher is not ready for the end of it */
	else
		d->resolve = resolve_start(m, d->conf, d->route, to, on_resolved, d);
}
