#include "scripted_peer.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client_wire.h"

struct run {
	const struct scenario *s;
	struct smtp_client *c;
	struct now now;
	struct buf said; /* what the client has said since the last row */
	struct buf results;
	int sent, done, closed, starttls;
	size_t body_at;
	struct slice body;
	bool late;
	bool lends;    /* the body is plain */
	bool trickles; /* the socket takes a byte at a time */
};

static const struct smtp_client_rcpt rcpts[] = {
	{ "r1@b.example", "rfc822;R1@b.example", 0 },
	{ "r2@b.example", "", 1 },
	{ "r3@b.example", "", 2 | 4 | 8 },
};

static void add_result(struct buf *to, const struct smtp_result *r)
{
	static const char *const needs[] = { "", " size", " utf8", " 8bit", " tls", " auth" };
	int err = buf_add_str(to, smtp_stage_name(r->stage));
	if (r->reply.code)
		err |= buf_printf(to, " %d", r->reply.code);
	if (r->err)
		err |= buf_printf(to, " %s", err_name(r->err));
	err |= buf_printf(to, "%s%s%s", needs[r->need], r->accepted ? " ok" : "",
	    r->untried ? " untried" : "");
	ck_assert_int_eq(err, 0);
	ck_assert(!r->accepted || reply_class(&r->reply) == 2);
	ck_assert(r->accepted || reply_class(&r->reply) != 2);
}

static const char *body_of(const struct run *x)
{
	return x->s->body ? x->s->body : "Hi\r\n";
}

static void send_message(struct run *x)
{
	static const char *const senders[] = { "1@a.example", "2@a.example", "3@a.example",
		"4@a.example" };
	bool numbered = x->s->flags & OVERLAP;
	ck_assert_int_lt(x->sent, MESSAGES_MAX);
	struct smtp_client_msg m = {
		.sender = numbered ? senders[x->sent] : "s@a.example",
		.rcpts = rcpts,
		.rcpts_n = x->s->rcpts ? x->s->rcpts : 1,
		.body_bytes = x->body.n,
		.body = &x->body,
		.plain = x->lends,
		.has_8bit = x->s->flags & EIGHT_BIT,
		.needs_utf8 = x->s->flags & UTF8,
		.ret = x->s->flags & DSN ? 2 : 0,
		.envid = x->s->flags & DSN ? "id+2B" : "",
	};
	x->sent++;
	smtp_client_send(x->c, &m, x->now);
}

static void on_done(struct run *x)
{
	size_t n = x->s->rcpts ? x->s->rcpts : 1;
	if (x->done++ > 0)
		ck_assert_int_eq(buf_add_str(&x->results, "/ "), 0);
	for (size_t i = 0; i < n; i++) {
		add_result(&x->results, smtp_client_result(x->c, i));
		ck_assert_int_eq(buf_add_str(&x->results, "; "), 0);
	}
	ck_assert_int_eq(x->done, x->sent - (int)smtp_client_under_way(x->c));
}

static int messages(const struct run *x)
{
	return x->s->messages ? x->s->messages : 1;
}

static void give_body(struct run *x)
{
	struct slice body = x->body;
	ck_assert(!x->lends);
	if (slice_eq(body, slice_str(UNREADABLE))) {
		smtp_client_body_failed(x->c);
		return;
	}
	if (!(x->s->flags & PIECES) || body.n == 0) {
		smtp_client_body(x->c, body, true, x->now);
		return;
	}
	struct slice byte = slice_of(body.p + x->body_at, 1);
	x->body_at = (x->body_at + 1) % body.n;
	smtp_client_body(x->c, byte, x->body_at == 0, x->now);
}

/* As a driver does: actions until there are none, then what is to be sent. */
static void act(struct run *x)
{
	for (bool going = true; going;) {
		switch (smtp_client_next(x->c)) {
		case SMTP_CLIENT_NONE:
			going = false;
			break;
		case SMTP_CLIENT_START_TLS:
			x->starttls++;
			smtp_client_tls_done(x->c, x->s->flags & TLS_BROKEN ? ERR_TLS : 0, x->now);
			break;
		case SMTP_CLIENT_READY:
			ck_assert_int_le(x->sent - x->done, x->s->flags & OVERLAP ? 1 : 0);
			if (x->sent < messages(x))
				send_message(x);
			else if (smtp_client_under_way(x->c) == 0)
				smtp_client_quit(x->c, x->now);
			break;
		case SMTP_CLIENT_NEED_BODY:
			give_body(x);
			break;
		case SMTP_CLIENT_MSG_DONE:
			on_done(x);
			break;
		case SMTP_CLIENT_CLOSE:
			x->closed++;
			break;
		}
	}
}

/* What the socket takes at once. A lent body that can't be read is found out when its turn comes.
 */
static void take_output(struct run *x)
{
	struct smtp_client_output o;
	smtp_client_output(x->c, &o);
	bool unreadable = o.body && slice_eq(x->body, slice_str(UNREADABLE));
	size_t n = unreadable ? o.text.n : (size_t)smtp_client_pending(x->c);
	if (unreadable && n == 0)
		smtp_client_body_failed(x->c);
	else
		client_wire_take(x->c, x->trickles ? 1 : n, &x->said, x->now);
}

static void drive(struct run *x)
{
	act(x);
	while (smtp_client_pending(x->c) > 0) {
		take_output(x);
		act(x);
	}
}

/* From the heap with its exact size, so that ASan sees a read beyond it. */
static void feed(struct run *x, const char *p, size_t n)
{
	char *copy = mem_dup(p, n);
	smtp_client_feed(x->c, slice_of(copy, n), x->now);
	mem_free(copy);
	if (!(x->s->flags & SURPLUS))
		drive(x);
}

static void answer(struct run *x, const char *server, size_t step, size_t cut)
{
	size_t n = strlen(server);
	if (strcmp(server, EOF_HERE) == 0) {
		smtp_client_lost(x->c, ERR_CLOSED, x->now);
	} else if (strcmp(server, TIMEOUT_HERE) == 0) {
		int64_t at = smtp_client_deadline(x->c);
		ck_assert_int_ne(at, INT64_MAX);
		x->now.mono_ms = at - 1;
		smtp_client_tick(x->c, x->now);
		ck_assert_int_eq(smtp_client_deadline(x->c), at);
		x->now.mono_ms = at;
		smtp_client_tick(x->c, x->now);
	} else if (step) {
		for (size_t at = 0; at < n; at += step)
			feed(x, server + at, MIN(step, n - at));
	} else if (cut > 0 && cut < n) {
		feed(x, server, cut);
		feed(x, server + cut, n - cut);
	} else {
		feed(x, server, n);
	}
	drive(x);
}

static void begin(struct run *x)
{
	unsigned f = x->s->flags;
	struct smtp_client_config cfg = {
		.helo = "me.example",
		.lmtp = f & LMTP,
		.tls_active = f & TLS_INSIDE,
		.tls = x->s->tls ? x->s->tls : SMTP_TLS_NEVER,
		.auth_user = f & AUTH ? "user" : NULL,
		.auth_password = f & AUTH ? "secret" : NULL,
		.auth_mechanism = f & LOGIN_ONLY ? "LOGIN" : "",
		.auth_in_clear_ok = f & CLEAR_OK,
		.pipelining = f & PIPE,
		.overlap = f & OVERLAP,
		.chunking = f & CHUNK,
	};
	x->now = (struct now){ .wall_ms = 1000000, .mono_ms = 5000 };
	x->body = slice_str(body_of(x));
	x->c = smtp_client_new(&cfg, x->now);
	buf_init(&x->said, 1 << 20);
	buf_init(&x->results, 4096);
	if (!x->late)
		send_message(x);
	drive(x);
}

static void finish(struct run *x)
{
	const struct scenario *s = x->s;
	if (x->sent == 0) { /* the session failed before it asked: then it says so now */
		send_message(x);
		drive(x);
	}
	ck_assert_msg(strcmp(buf_cstr(&x->results), s->results) == 0, "%s%s: got %s want %s",
	    s->name, x->late ? " (late)" : "", buf_cstr(&x->results), s->results);
	struct buf session;
	buf_init(&session, 256);
	add_result(&session, smtp_client_session_result(x->c));
	ck_assert_msg(strcmp(buf_cstr(&session), s->session ? s->session : "none") == 0,
	    "%s: session %s want %s", s->name, buf_cstr(&session),
	    s->session ? s->session : "none");
	ck_assert_int_eq(x->done, x->sent);
	ck_assert_int_ge(x->closed, 1);
	ck_assert_int_eq(smtp_client_next(x->c), SMTP_CLIENT_NONE);
	ck_assert_int_eq(smtp_client_deadline(x->c), INT64_MAX);
	/* nothing wakes the dead */
	smtp_client_lost(x->c, ERR_CLOSED, x->now);
	smtp_client_quit(x->c, x->now);
	smtp_client_feed(x->c, SLICE("250 ok\r\n"), x->now);
	smtp_client_tls_done(x->c, 0, x->now);
	smtp_client_body_failed(x->c);
	ck_assert_int_eq(smtp_client_next(x->c), SMTP_CLIENT_NONE);
	smtp_client_free(&x->c);
	smtp_client_free(&x->c);
	buf_fini(&session);
	buf_fini(&x->results);
	buf_fini(&x->said);
}

/* step: pieces of that size; 0: row `cut_row` is cut at `cut`. */
static void run(const struct run *as, size_t step, size_t cut_row, size_t cut)
{
	struct run x = *as;
	const struct scenario *s = x.s;
	begin(&x);
	for (size_t i = 0; i < ROWS_MAX && s->talk[i].client; i++) {
		const struct talk *t = &s->talk[i];
		ck_assert_msg(strcmp(buf_cstr(&x.said), t->client) == 0,
		    "%s row %zu (step %zu cut %zu%s%s): said <%s> want <%s>", s->name, i, step, cut,
		    x.lends ? " lent" : "", x.trickles ? " trickling" : "", buf_cstr(&x.said),
		    t->client);
		buf_clear(&x.said);
		if (t->server)
			answer(&x, t->server, step, i == cut_row ? cut : 0);
	}
	ck_assert_msg(buf_len(&x.said) == 0, "%s: at the end <%s>", s->name, buf_cstr(&x.said));
	finish(&x);
}

static void run_cut_everywhere(const struct run *as)
{
	const struct scenario *s = as->s;
	for (size_t i = 0; i < ROWS_MAX && s->talk[i].client && s->talk[i].server; i++)
		for (size_t cut = 1; cut < strlen(s->talk[i].server); cut++)
			run(as, 0, i, cut);
}

static bool is_plain(const char *body)
{
	size_t n = strlen(body);
	return body[0] != '.' && !strstr(body, "\n.") && (n == 0 || body[n - 1] == '\n');
}

void scripted_peer_run(const struct scenario *s)
{
	for (int way = 0; way < 8; way++) {
		struct run x = { .s = s, .late = way & 1, .trickles = way & 2, .lends = way & 4 };
		bool plain = is_plain(body_of(&x));
		if (x.lends && !plain)
			continue;
		run(&x, SIZE_MAX / 2, 0, 0);
		run(&x, 1, 0, 0);
		if (!x.trickles && (!plain || x.lends == x.late))
			run_cut_everywhere(&x);
	}
}
