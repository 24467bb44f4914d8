#include "core/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "proto/path.h"

#define DELIVERY_CONNECTING_MAX_MS (5 * 60 * 1000)
#define DELIVERY_CONNECT_MIN_MS    1000 /* a second connection to a host that did answer */
#define DELIVERY_BODY_PIECE        (64 * 1024)

static void delivery_step(struct mta_work *w, struct now now);
static void next_host(struct delivery *d, struct now now);
static void take_resolution(struct delivery *d, struct now now);

static void on_stream(void *arg)
{
	struct delivery *d = arg;
	mta_mark(&d->work);
}

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

static void close_connection(struct delivery *d)
{
	smtp_client_free(&d->client);
	if (d->stream)
		stream_close(&d->stream);
	mta_deadline(&d->work, INT64_MAX);
}

static void delivery_free(struct delivery *d)
{
	struct mta *m = d->work.mta;
	struct site *site = d->site;

	close_connection(d);
	resolve_free(&d->resolve);
	resolution_unref(&d->resolution);
	for (size_t i = 0; i < d->rcpts_n; i++)
		smtp_result_fini(&d->rcpts[i].result);
	arena_fini(&d->arena);
	conf_unref(&d->conf);
	mta_work_fini(&d->work);
	list_remove(&d->node);
	mem_free(d);
	dispatch_finished(m->dispatch, site);
}

void delivery_abort(struct delivery *d)
{
	if (d->item)
		queue_park(d->work.mta->queue, d->item, 0);
	d->item = NULL;
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

	if (is_down(d)) {
		settlement_status(a, &d->arena, &why.status);
		why.port = a->host ? a->host->port : 0;
		why.mode = a->host ? a->host->mode : NULL;
		dispatch_failed(dispatch, d->site, &why);
	} else if (d->answered || d->unreachable) {
		dispatch_answered(dispatch, d->site);
	}
}

/* Hands the results over. The connection, if there is one, still says goodbye. */
static void settle(struct delivery *d, struct now now)
{
	struct queue_item *item = d->item;

	d->item = NULL;
	tell_site(d);
	settlement_start(d->work.mta, item, d->rcpts, d->rcpts_n, now);
	if (!d->client) {
		delivery_free(d);
		return;
	}
	d->phase = DELIVERY_QUITTING;
	smtp_client_quit(d->client, now);
	mta_mark(&d->work);
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

/* Takes one host's answer for one recipient; it is decided unless another host may know better. */
static void take_result(struct delivery *d, struct attempt_rcpt *a,
    const struct smtp_result *result, bool some_accepted)
{
	size_t i = (size_t)(a - d->rcpts);
	struct errbuf why;

	smtp_result_copy(&a->result, result);
	a->stage = result->stage;
	a->host = d->host;
	verdict_of_result(result, some_accepted, &a->verdict);
	a->text = "";
	if (!result->reply.code && result->err) {
		const char *detail = d->stream ? stream_error_text(d->stream) : "";
		errbuf_set(&why, 0, "%s%s%s",
		    a->verdict.text ? a->verdict.text : err_text(result->err),
		    detail[0] ? ": " : "", detail);
		a->text = arena_strdup(&d->arena, why.text);
	}
	if (a->verdict.connection_failed)
		d->unreachable = true;
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

/* The connection failed before a session came about: the same result for all that is undecided. */
static void host_failed(struct delivery *d, enum smtp_stage stage, int err, struct now now)
{
	struct smtp_result r;

	smtp_result_init(&r);
	r.stage = stage;
	r.err = err;
	for (size_t i = 0; i < d->rcpts_n; i++)
		if (!d->rcpts[i].decided)
			take_result(d, &d->rcpts[i], &r, false);
	smtp_result_fini(&r);
	close_connection(d);
	next_host(d, now);
}

/* --- connecting ------------------------------------------------------------------- */

static const struct resolution_candidate *candidate(const struct delivery *d)
{
	return &d->resolution->candidates[d->order[d->at]];
}

static const struct route_hop *hop_of(const struct delivery *d)
{
	return candidate(d)->hop;
}

static void describe_host(struct delivery *d)
{
	const struct resolution_candidate *c = candidate(d);

	d->host = arena_zalloc(&d->arena, sizeof(*d->host));
	snprintf(d->host->host, sizeof(d->host->host), "%s", c->host);
	d->host->mode = c->hop && c->hop->lmtp ? "lmtp" : "smtp";
	if (c->addr.family == NETADDR_UNIX)
		return;
	netaddr_format_ip(&c->addr, d->host->ip);
	d->host->port = c->addr.port;
}

static void connect_host(struct delivery *d, struct now now)
{
	const struct resolution_candidate *c = candidate(d);
	int64_t left = DELIVERY_CONNECTING_MAX_MS - d->connecting_ms;
	struct stream_connect_options o = {
		.to = c->addr,
		.bind = d->route && d->route->has_bind && d->route->bind.family == c->addr.family
			    ? &d->route->bind
			    : NULL,
		.unix_path = c->addr.family == NETADDR_UNIX ? c->hop->unix_path : NULL,
		.timeout_ms = (int)MIN((int64_t)d->conf->outbound.connect_timeout_s * 1000,
		    MAX(left, DELIVERY_CONNECT_MIN_MS)),
	};

	describe_host(d);
	d->phase = DELIVERY_CONNECTING;
	d->connect_began_ms = now.mono_ms;
	d->stream = stream_connect(d->work.mta->loop, &o, on_stream, d);
}

static void next_host(struct delivery *d, struct now now)
{
	d->in_clear = false;
	d->at++;
	if (all_decided(d)) {
		settle(d, now);
	} else if (d->at >= d->resolution->candidates_n ||
		   d->connecting_ms >= DELIVERY_CONNECTING_MAX_MS) {
		decide_rest(d);
		settle(d, now);
	} else {
		connect_host(d, now);
	}
}

/* --- talking ---------------------------------------------------------------------- */

static enum smtp_tls_mode tls_mode(const struct delivery *d)
{
	switch (d->level) {
	case TLS_LEVEL_NONE:
		return SMTP_TLS_NEVER;
	case TLS_LEVEL_MAY:
		return d->in_clear ? SMTP_TLS_NEVER : SMTP_TLS_MAY;
	case TLS_LEVEL_ENCRYPT:
	case TLS_LEVEL_VERIFY:
		return SMTP_TLS_MUST;
	case TLS_LEVEL_NONE_SET:
		break;
	}
	UNREACHABLE();
}

static void start_tls(struct delivery *d)
{
	struct mta *m = d->work.mta;
	const struct resolution_candidate *c = candidate(d);
	char address[NETADDR_TEXT_MAX];
	char key[NETADDR_TEXT_MAX + 16];
	struct stream_tls_options o = {
		.ctx = d->level == TLS_LEVEL_VERIFY ? m->tls_client_verify : m->tls_client_may,
		.host = c->host,
		.resume_key = c->addr.family == NETADDR_UNIX ? NULL : key,
		.timeout_ms = d->conf->outbound.timeouts.starttls_s
				  ? d->conf->outbound.timeouts.starttls_s * 1000
				  : 120000,
	};

	/* A resumed session is verified no more: what decided trust is its key. */
	snprintf(key, sizeof(key), "%s %s", netaddr_format(&c->addr, address),
	    tls_level_name(d->level));
	stream_start_tls(d->stream, &o);
}

static void prepare_message(struct delivery *d)
{
	const struct envelope *env = d->item->mail->envelope;
	size_t n = 0;

	d->msg = (struct smtp_client_msg){
		.sender = wire_address(d, env->sender),
		.rcpts = d->wire,
		.body_bytes = queue_body_size(d->item->mail->body),
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

/* Whether a password may go out unencrypted: the operator said tls = "none", or it stays on this
 * machine. */
static bool clear_is_safe(const struct delivery *d)
{
	const struct netaddr *addr = &candidate(d)->addr;

	return d->level == TLS_LEVEL_NONE || addr->family == NETADDR_UNIX ||
	       netaddr_is_loopback(addr);
}

static void start_talking(struct delivery *d, struct now now)
{
	const struct route_hop *hop = hop_of(d);
	const struct conf *conf = d->conf;
	struct smtp_client_config cfg = {
		.helo = d->route && d->route->helo[0] ? d->route->helo : conf->me,
		.lmtp = hop && hop->lmtp,
		.tls_active = stream_tls(d->stream) != NULL,
		.tls = tls_mode(d),
		.auth_user = hop && hop->user[0] ? hop->user : NULL,
		.auth_password = hop && hop->user[0] ? hop->password : NULL,
		.auth_in_clear_ok = clear_is_safe(d),
		.pipelining = true,
		.timeouts = {
			.greeting_ms = conf->outbound.timeouts.greeting_s * 1000,
			.ehlo_ms = conf->outbound.timeouts.ehlo_s * 1000,
			.starttls_ms = conf->outbound.timeouts.starttls_s * 1000,
			.auth_ms = conf->outbound.timeouts.auth_s * 1000,
			.mail_ms = conf->outbound.timeouts.mail_s * 1000,
			.rcpt_ms = conf->outbound.timeouts.rcpt_s * 1000,
			.data_ms = conf->outbound.timeouts.data_s * 1000,
			.body_ms = conf->outbound.timeouts.body_s * 1000,
			.dot_ms = conf->outbound.timeouts.dot_s * 1000,
			.rset_ms = conf->outbound.timeouts.rset_s * 1000,
			.quit_ms = conf->outbound.timeouts.quit_s * 1000,
		},
	};

	d->phase = DELIVERY_TALKING;
	d->host->connected = true;
	d->client = smtp_client_new(&cfg, now);
	prepare_message(d);
	smtp_client_send(d->client, &d->msg, now);
}

static void pump_body(struct delivery *d, struct now now)
{
	struct queue_body *body = d->item->mail->body;
	struct slice memory = queue_body_memory(body);
	uint64_t size = queue_body_size(body);
	char piece[DELIVERY_BODY_PIECE];
	size_t want = (size_t)MIN(size - d->body_at, sizeof(piece));

	if (memory.p || size == 0) {
		bool last = d->body_at + want == size;
		smtp_client_body(d->client, slice_of(memory.p + d->body_at, want), last, now);
		d->body_at += want;
		return;
	}
	ssize_t n = queue_body_read(body, d->body_at, piece, want);
	if (n <= 0) {
		log_error("delivery", "%s: body can't be read: %s",
		    d->item->mail->envelope->queue_id,
		    n < 0 ? err_text((int)n) : "shorter than recorded");
		smtp_client_body_failed(d->client);
		return;
	}
	d->body_at += (uint64_t)n;
	smtp_client_body(d->client, slice_of(piece, (size_t)n), d->body_at == size, now);
}

static void note_session(struct delivery *d)
{
	const struct tls_info *tls = stream_tls(d->stream);

	d->host->authenticated = smtp_client_is_authenticated(d->client);
	d->host->has_tls = tls != NULL;
	if (tls)
		d->host->tls = *tls;
}

/* A handshake that failed where encryption is only wished for: the same host once more, in clear.
 */
static bool wants_clear_retry(const struct delivery *d)
{
	const struct smtp_result *r = smtp_client_session_result(d->client);
	const struct route_hop *hop = hop_of(d);

	return r->stage == SMTP_STAGE_STARTTLS && r->err == ERR_TLS && d->level == TLS_LEVEL_MAY &&
	       !d->in_clear && !(hop && hop->user[0]);
}

/* Whether the host took some recipient of this transaction: a 552 to another then means "too many".
 */
static bool some_accepted(const struct delivery *d)
{
	for (size_t i = 0; i < d->msg.rcpts_n; i++) {
		const struct smtp_result *r = smtp_client_result(d->client, i);
		bool refused = r->reply.code >= 400 || r->need != SMTP_NEED_NONE;
		if (r->accepted || r->stage > SMTP_STAGE_RCPT ||
		    (r->stage == SMTP_STAGE_RCPT && !refused))
			return true; /* the last: the session was lost before all had been answered
				      */
	}
	return false;
}

/* The host has said all it will say about this message. Returns false when d is gone or moved on.
 */
static bool message_done(struct delivery *d, struct now now)
{
	note_session(d);
	if (wants_clear_retry(d)) {
		log_info("delivery", "%s: TLS with %s failed (%s), trying in clear",
		    d->item->mail->envelope->queue_id, d->host->host, stream_error_text(d->stream));
		close_connection(d);
		d->in_clear = true;
		connect_host(d, now);
		return false;
	}
	bool some = some_accepted(d);
	for (size_t i = 0; i < d->msg.rcpts_n; i++)
		take_result(d, &d->rcpts[d->wire_index[i]], smtp_client_result(d->client, i), some);
	if (all_decided(d)) {
		settle(d, now);
		return true;
	}
	smtp_client_quit(d->client, now);
	if (stream_send(d->stream, smtp_client_output(d->client)) == 0)
		log_debug("delivery", "leaving %s for the next host", d->host->host);
	close_connection(d);
	next_host(d, now);
	return false;
}

static void goodbye(struct delivery *d)
{
	if (stream_send(d->stream, smtp_client_output(d->client)) < 0)
		log_debug("delivery", "goodbye to %s not sent", d->host->host);
	delivery_free(d);
}

/* Sends what the engine has to say. A peer that hung up may have said why first: that is heard
 * before the loss. */
static void send_or_lose(struct delivery *d, struct now now)
{
	struct buf *in = stream_input(d->stream);

	if (stream_send(d->stream, smtp_client_output(d->client)) == 0)
		return;
	if (buf_len(in) > 0)
		smtp_client_feed(d->client, buf_slice(in), now);
	buf_clear(in);
	smtp_client_lost(d->client, stream_error(d->stream), now);
}

/* Does what the engine asks. False when d is gone or is with another host. */
static bool drive(struct delivery *d, struct now now)
{
	for (;;) {
		switch (smtp_client_next(d->client)) {
		case SMTP_CLIENT_NONE:
		case SMTP_CLIENT_READY:
			return true;
		case SMTP_CLIENT_NEED_BODY:
			pump_body(d, now);
			send_or_lose(d, now);
			break;
		case SMTP_CLIENT_START_TLS:
			d->tls_running = true;
			start_tls(d);
			return true;
		case SMTP_CLIENT_MSG_DONE:
			if (!message_done(d, now))
				return false;
			break;
		case SMTP_CLIENT_CLOSE:
			CHECK(d->item == NULL); /* MSG_DONE came first */
			goodbye(d);
			return false;
		}
	}
}

static void talk(struct delivery *d, struct now now)
{
	enum stream_state state = stream_state(d->stream);
	struct buf *in = stream_input(d->stream);

	if (d->tls_running && state != STREAM_HANDSHAKE) {
		d->tls_running = false;
		smtp_client_tls_done(d->client, stream_tls(d->stream) ? 0 : stream_error(d->stream),
		    now);
	}
	if (state == STREAM_HANDSHAKE)
		return;
	if (buf_len(in) > 0) {
		smtp_client_feed(d->client, buf_slice(in), now);
		buf_clear(in);
		stream_resume(d->stream);
	}
	if (state == STREAM_EOF || state == STREAM_FAILED)
		smtp_client_lost(d->client,
		    state == STREAM_EOF ? ERR_CLOSED : stream_error(d->stream), now);
	smtp_client_tick(d->client, now);
	if (!drive(d, now))
		return;
	if (state == STREAM_OPEN) {
		send_or_lose(d, now);
		if (!drive(d, now))
			return;
	}
	mta_deadline(&d->work, smtp_client_deadline(d->client));
}

/* Only the time spent on connecting counts: a host that answers and then is slow must not keep an
 * attempt from the hosts behind it. */
static void note_connecting(struct delivery *d, struct now now)
{
	d->connecting_ms += MAX(now.mono_ms - d->connect_began_ms, 0);
	d->connect_began_ms = now.mono_ms;
}

static void connected(struct delivery *d, struct now now)
{
	const struct route_hop *hop = hop_of(d);

	if (hop && hop->tls_implicit && !stream_tls(d->stream)) {
		start_tls(d);
		return;
	}
	start_talking(d, now);
	talk(d, now);
}

static void delivery_step(struct mta_work *w, struct now now)
{
	struct delivery *d = container_of(w, struct delivery, work);

	switch (d->phase) {
	case DELIVERY_CONNECTING:
		if (stream_state(d->stream) == STREAM_CONNECTING)
			break;
		note_connecting(d, now);
		if (stream_state(d->stream) == STREAM_OPEN)
			connected(d, now);
		else if (stream_state(d->stream) == STREAM_FAILED ||
			 stream_state(d->stream) == STREAM_EOF)
			host_failed(d,
			    stream_error(d->stream) == ERR_TLS ? SMTP_STAGE_STARTTLS
							       : SMTP_STAGE_CONNECT,
			    stream_error(d->stream) ? stream_error(d->stream) : ERR_CLOSED, now);
		break;
	case DELIVERY_TALKING:
	case DELIVERY_QUITTING:
		talk(d, now);
		break;
	case DELIVERY_RESOLVING:
		if (!d->resolve)
			take_resolution(d, now);
		break;
	case DELIVERY_NONE:
		break;
	}
}

/* --- starting ------------------------------------------------------------------------ */

static void take_resolution(struct delivery *d, struct now now)
{
	const struct resolution *r = d->resolution;

	if (r->finding != VERDICT_FINDING_NONE) {
		find(d, r->finding, SMTP_STAGE_DNS, r->why);
		settle(d, now);
		return;
	}
	resolution_order(r, &d->work.mta->rng, d->order);
	d->at = 0;
	connect_host(d, now);
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
	arena_init(&d->arena);
	d->conf = conf_ref(m->conf);
	d->site = site;
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
