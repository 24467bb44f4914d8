#include "tools/sandbox_smtp.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/prng.h"

#define HANDSHAKE_TIMEOUT_MS 30000
#define LINGER_MS            5000
#define TICK_MS              1000
#define MESSAGE_MAX_BYTES    (256ULL * 1024 * 1024)

static void conn_mark(struct conn *c)
{
	if (!list_is_linked(&c->work))
		list_push(&c->smtp->work, &c->work);
}

static void on_notify(void *arg)
{
	conn_mark(arg);
}

static void wake_at(struct sandbox_smtp *s, int64_t mono_ms)
{
	s->tick_at_ms = MIN(s->tick_at_ms, mono_ms);
}

static void conn_free(struct conn *c)
{
	c->smtp->conns_n--;
	list_remove(&c->node);
	list_remove(&c->work);
	stream_close(&c->stream);
	smtp_server_free(&c->engine);
	mem_free(c);
}

static void conn_end(struct conn *c, struct now now)
{
	session_end(c, now);
	conn_free(c);
}

void conn_hang_up(struct conn *c, struct now now)
{
	if (c->closing)
		return;
	c->closing = true;
	c->close_at_ms = now.mono_ms + LINGER_MS + c->delay_ms;
	wake_at(c->smtp, c->close_at_ms);
}

void conn_mute(struct conn *c)
{
	c->mute = true;
}

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
	struct sandbox_smtp *s = arg;
	struct conn *c = mem_zalloc(sizeof(*c));
	struct now now = loop_now(s->loop);
	list_push(&s->conns, &c->node);
	list_init(&c->work);
	s->conns_n++;
	c->smtp = s;
	c->number = ++s->sessions;
	c->stream = stream_from_fd(s->loop, fd, on_notify, c);
	netaddr_format_ip(peer, c->client);
	netaddr_format_ip(stream_local(c->stream), c->local);
	c->cast = cast_of_address(stream_local(c->stream));
	if (c->cast.kind == CAST_SLOW)
		c->delay_ms = c->cast.value;
	bool starttls = c->cast.kind != CAST_NOTLS;
	struct smtp_server_session ses = { .client_ip = c->client, .trusted = true };
	c->engine = smtp_server_new(starttls ? &s->with_tls : &s->without_tls, &ses, now);
	if (s->conns_n > SANDBOX_CONNECTIONS_MAX) {
		log_warn("smtp", "more than %d connections", SANDBOX_CONNECTIONS_MAX);
		conn_free(c);
		return;
	}
	if (s->verbose)
		log_info("smtp", "%u: connection from %s to %s", c->number, c->client, c->local);
	session_begin(c, now);
	conn_mark(c);
}

static void log_bytes(const struct conn *c, const char *who, struct slice text)
{
	struct slice line;
	if (!c->smtp->verbose)
		return;
	while (text.n && slice_split(&text, '\n', &line)) {
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		log_info("smtp", "%u %s %.*s", c->number, who, SLICE_ARG(line));
	}
}

/* One command line from the input to the engine. False if there is none yet. */
static bool feed_line(struct conn *c, struct now now)
{
	struct buf *in = stream_input(c->stream);
	struct slice all = buf_slice(in);
	/* So that each reply is late by itself, the next command waits for it. */
	if (c->delay_ms && buf_len(smtp_server_output(c->engine)))
		return false;
	ptrdiff_t lf = slice_find(all, '\n');
	bool too_long = lf < 0 && all.n > SMTP_SERVER_LINE_MAX;
	if (lf < 0 && !too_long)
		return false;
	size_t n = too_long ? all.n : (size_t)lf + 1;
	char *line = mem_dup(all.p, n);
	log_bytes(c, "C:", slice_of(line, n));
	size_t taken = n;
	if (too_long || !session_intercept(c, line, n, now))
		taken = smtp_server_feed(c->engine, slice_of(line, n), now);
	mem_free(line);
	buf_consume(in, taken);
	return taken > 0;
}

static bool feed_body(struct conn *c, struct now now)
{
	struct buf *in = stream_input(c->stream);
	size_t taken = smtp_server_feed(c->engine, buf_slice(in), now);
	buf_consume(in, taken);
	return taken > 0;
}

static void conn_input(struct conn *c, struct now now)
{
	struct buf *in = stream_input(c->stream);
	bool more = true;
	session_actions(c, now);
	while (more && buf_len(in) && !c->closing && !c->mute && !c->start_tls) {
		more = c->in_body ? feed_body(c, now) : feed_line(c, now);
		session_actions(c, now);
	}
	if (c->closing || c->mute)
		buf_clear(in);
	stream_resume(c->stream);
}

/* False when the connection is lost. */
static bool conn_output(struct conn *c, struct now now)
{
	struct buf *out = smtp_server_output(c->engine);
	if (buf_len(out) == 0)
		return true;
	if (c->delay_ms && c->send_at_ms == 0)
		c->send_at_ms = now.mono_ms + c->delay_ms;
	if (now.mono_ms < c->send_at_ms) {
		wake_at(c->smtp, c->send_at_ms);
		return true;
	}
	struct slice before = buf_slice(out);
	size_t n = before.n;
	char *copy = c->smtp->verbose ? mem_dup(before.p, n) : NULL;
	int err = stream_send(c->stream, out);
	if (copy)
		log_bytes(c, "S:", slice_of(copy, n - buf_len(out)));
	mem_free(copy);
	if (buf_len(out) == 0)
		c->send_at_ms = 0;
	return err == 0;
}

/* The 220 is out: what comes next depends on the character. */
static void start_tls(struct conn *c, struct now now)
{
	c->start_tls = false;
	if (buf_len(stream_input(c->stream))) {
		conn_hang_up(c, now); /* somebody slipped commands in before the handshake */
		return;
	}
	if (c->cast.kind == CAST_BADTLS) {
		session_spoil_tls(c, now);
		return;
	}
	c->handshake = true;
	stream_start_tls(c->stream, &(struct stream_tls_options){ .ctx = c->smtp->tls,
					.server = true,
					.timeout_ms = HANDSHAKE_TIMEOUT_MS });
}

static void tls_up(struct conn *c)
{
	const struct tls_info *info = stream_tls(c->stream);
	c->handshake = false;
	smtp_server_tls_done(c->engine, true, info ? info->version : "");
}

/* Whatever can be done now. False: the connection is over. */
static bool conn_work(struct conn *c, struct now now)
{
	bool again = true;
	while (again) {
		size_t before = buf_len(stream_input(c->stream));
		conn_input(c, now);
		if (!conn_output(c, now))
			return false;
		bool idle = buf_len(smtp_server_output(c->engine)) == 0;
		if (idle && c->start_tls)
			start_tls(c, now);
		if (idle && c->closing && buf_len(smtp_server_output(c->engine)) == 0)
			return false;
		again = buf_len(smtp_server_output(c->engine)) == 0 && !c->handshake &&
			buf_len(stream_input(c->stream)) < before;
	}
	return true;
}

/* The client ended its side and all it sent was looked at. False: over. */
static bool conn_eof(struct conn *c, struct now now)
{
	if (c->mute)
		return false;
	smtp_server_eof(c->engine);
	session_actions(c, now);
	conn_hang_up(c, now);
	return conn_work(c, now);
}

static void conn_step(struct conn *c, struct now now)
{
	enum stream_state state = stream_state(c->stream);
	bool ok = state != STREAM_FAILED;
	if (state == STREAM_HANDSHAKE)
		return;
	if (ok && c->handshake)
		tls_up(c);
	if (ok)
		ok = conn_work(c, now);
	if (ok && stream_state(c->stream) == STREAM_EOF &&
	    buf_len(smtp_server_output(c->engine)) == 0)
		ok = conn_eof(c, now);
	if (!ok)
		conn_end(c, now);
	else
		wake_at(c->smtp, smtp_server_deadline(c->engine));
}

static void conn_tick(struct conn *c, struct now now)
{
	if (c->close_at_ms && now.mono_ms >= c->close_at_ms) {
		conn_end(c, now);
		return;
	}
	if (c->close_at_ms)
		wake_at(c->smtp, c->close_at_ms);
	smtp_server_tick(c->engine, now);
	conn_step(c, now);
}

void sandbox_smtp_step(struct sandbox_smtp *s, struct now now)
{
	struct list_node work;
	list_init(&work);
	list_splice(&work, &s->work);
	while (!list_is_empty(&work)) {
		struct conn *c = list_first(&work, struct conn, work);
		list_remove(&c->work);
		conn_step(c, now);
	}
	if (now.mono_ms >= s->tick_at_ms) {
		s->tick_at_ms = now.mono_ms + TICK_MS;
		list_foreach_safe(it, &s->conns)
			conn_tick(list_entry(it, struct conn, node), now);
	}
	loop_set_timer(s->loop, s->conns_n ? s->tick_at_ms : INT64_MAX);
}

int sandbox_smtp_open(struct sandbox_smtp *s, struct netaddr a, struct errbuf *eb)
{
	struct cast dead = { .kind = CAST_DEAD };
	struct netaddr nobody = cast_address(&dead);
	a.port = s->port;
	if (netaddr_eq_ip(&a, &nobody))
		return 0;
	for (size_t i = 0; i < s->listeners_n; i++)
		if (netaddr_eq_ip(listen_address(s->listeners[i]), &a))
			return 0;
	if (s->listeners_n == SANDBOX_LISTENERS_MAX)
		return errbuf_set(eb, ERR_TOO_BIG, "more than %d addresses in use",
		    SANDBOX_LISTENERS_MAX);
	struct listener *l = NULL;
	int err = listen_tcp(&a, &l, eb);
	if (err)
		return err;
	s->listeners[s->listeners_n++] = l;
	listen_start(l, s->loop, on_accept, s);
	return 0;
}

int sandbox_smtp_new(struct sandbox_smtp *s, struct errbuf *eb)
{
	static const enum cast_kind first[] = { CAST_ACCEPT, CAST_NOTLS, CAST_BADTLS, CAST_NOEXT };

	s->with_tls = (struct smtp_server_config){
		.me = "sandbox.test",
		.banner = "ESMTP Postrider sandbox",
		.max_message_bytes = MESSAGE_MAX_BYTES,
		.max_rcpts = STORE_RCPTS_MAX,
		.starttls = true,
		.mechanisms = "",
	};
	s->without_tls = s->with_tls;
	s->without_tls.starttls = false;
	list_init(&s->conns);
	list_init(&s->work);
	s->tick_at_ms = 0;
	map_init(&s->greylist, prng_os_u64());
	for (size_t i = 0; i < ARRAY_LEN(first); i++) {
		struct cast c = { .kind = first[i] };
		int err = sandbox_smtp_open(s, cast_address(&c), eb);
		if (err)
			return err;
	}
	return 0;
}

void sandbox_smtp_fini(struct sandbox_smtp *s)
{
	struct now now = loop_now(s->loop);
	list_foreach_safe(it, &s->conns)
		conn_end(list_entry(it, struct conn, node), now);
	for (size_t i = 0; i < s->listeners_n; i++)
		listen_free(&s->listeners[i]);
	size_t cursor = 0;
	struct slice key;
	void *value;
	while (map_next(&s->greylist, &cursor, &key, &value))
		mem_free(value);
	map_fini(&s->greylist);
}
