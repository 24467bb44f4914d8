/*
 * The client engine against a server that says anything: every recipient ends
 * with a result that fits what was said, messages are told in their order, what
 * is called untried was never sent whole, every session ends, and no bare line
 * end goes out.
 *
 * The first byte picks the configuration; half of the inputs are fed whole,
 * half byte by byte. Inside TLS the bits that choose STARTTLS choose overlap and
 * chunking instead, and there are more messages than one. With AUTH the body is
 * plain.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/check.h"
#include "proto/smtp_client.h"

#define RCPTS        3
#define MESSAGES_MAX 4
#define DOTS         "Subject: x\r\n\r\n.\r\n..dots\r\n"
#define PLAIN        "Subject: x\r\n\r\nnone.\r\n"
#define STEPS_MAX    100000

enum option {
	OPTION_LMTP = 1,
	OPTION_PIPELINING = 2,
	OPTION_BYTES = 4,
	OPTION_TLS_MAY = 8,
	OPTION_TLS_MUST = 16,
	OPTION_AUTH = 32,
	OPTION_UTF8 = 64,
	OPTION_INSIDE_TLS = 128,
	OPTION_OVERLAP = OPTION_TLS_MAY,
	OPTION_CHUNKING = OPTION_TLS_MUST,
};

struct driver {
	struct smtp_client *c;
	struct now now;
	struct smtp_client_msg msg;
	struct slice body;
	unsigned wanted, sent, told;
	bool body_given[MESSAGES_MAX];
	bool untried; /* then CLOSE has to follow */
	bool ended;
	char last; /* byte sent */
};

static void look_at(struct driver *d, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\n')
			CHECK(d->last == '\r');
		if (d->last == '\r')
			CHECK(s.p[i] == '\n');
		d->last = s.p[i];
	}
}

/* Lends the body, to whoever is named, as long as its message is under way. */
static void lend(struct driver *d, const struct smtp_client_output *o)
{
	const bool *given = o->body;
	size_t m = (size_t)(given - d->body_given);
	CHECK(m >= d->told && m < d->sent);
	CHECK(o->body_at + o->body_n == d->body.n);
	d->body_given[m] = true;
	look_at(d, slice_of(d->body.p + o->body_at, (size_t)o->body_n));
}

static void drain(struct driver *d)
{
	struct smtp_client_output o;
	smtp_client_output(d->c, &o);
	look_at(d, o.text);
	if (o.body)
		lend(d, &o);
	look_at(d, o.after);
	smtp_client_sent(d->c, smtp_client_pending(d->c), d->now);
	CHECK(smtp_client_pending(d->c) == 0);
}

static void check_result(const struct smtp_result *r)
{
	CHECK(r->stage != SMTP_STAGE_NONE);
	if (r->accepted)
		CHECK(reply_class(&r->reply) == 2);
	else
		CHECK(reply_class(&r->reply) != 2);
	/* Something says why. */
	if (r->reply.code == 0)
		CHECK(r->err != 0 || r->need != SMTP_NEED_NONE);
	if (r->untried)
		CHECK(r->stage == SMTP_STAGE_MAIL && !r->accepted);
}

static void take_results(struct driver *d)
{
	unsigned m = d->told++;
	bool untried = smtp_client_result(d->c, 0)->untried;
	CHECK(m < d->sent);
	CHECK(smtp_client_under_way(d->c) == d->sent - d->told);
	CHECK(!untried || (m > 0 && !d->body_given[m]));
	for (size_t i = 0; i < RCPTS; i++) {
		check_result(smtp_client_result(d->c, i));
		CHECK(smtp_client_result(d->c, i)->untried == untried);
	}
	d->untried |= untried;
}

static void send_one(struct driver *d)
{
	CHECK(!d->untried);
	CHECK(smtp_client_under_way(d->c) < 2);
	d->msg.body = &d->body_given[d->sent];
	smtp_client_send(d->c, &d->msg, d->now);
	d->sent++;
}

/* False when the engine wants more input. */
static bool act(struct driver *d)
{
	enum smtp_client_action_kind kind = smtp_client_next(d->c);

	drain(d);
	switch (kind) {
	case SMTP_CLIENT_NONE:
		return false;
	case SMTP_CLIENT_START_TLS:
		smtp_client_tls_done(d->c, 0, d->now);
		return true;
	case SMTP_CLIENT_READY:
		if (d->sent < d->wanted)
			send_one(d);
		else if (smtp_client_under_way(d->c) == 0)
			smtp_client_quit(d->c, d->now);
		return true;
	case SMTP_CLIENT_NEED_BODY:
		CHECK(!d->body_given[d->sent - 1] && !d->msg.plain);
		d->body_given[d->sent - 1] = true;
		smtp_client_body(d->c, d->body, true, d->now);
		return true;
	case SMTP_CLIENT_MSG_DONE:
		take_results(d);
		return true;
	case SMTP_CLIENT_CLOSE:
		CHECK(d->told == d->sent);
		d->ended = true;
		return false;
	}
	UNREACHABLE();
}

static void work(struct driver *d)
{
	for (unsigned steps = 0; !d->ended && act(d); steps++)
		CHECK(steps < STEPS_MAX);
}

static struct smtp_client *connect_with(unsigned options, struct now now)
{
	struct smtp_client_config cfg = {
		.helo = "relay.example",
		.lmtp = (options & OPTION_LMTP) != 0,
		.pipelining = (options & OPTION_PIPELINING) != 0,
		.tls_active = (options & OPTION_INSIDE_TLS) != 0,
		.tls = SMTP_TLS_NEVER,
		.auth_user = (options & OPTION_AUTH) != 0 ? "user" : NULL,
		.auth_password = (options & OPTION_AUTH) != 0 ? "password" : NULL,
		.auth_in_clear_ok = true,
		.overlap = (options & OPTION_INSIDE_TLS) && (options & OPTION_OVERLAP),
		.chunking = (options & OPTION_INSIDE_TLS) && (options & OPTION_CHUNKING),
	};
	if (!cfg.tls_active && (options & OPTION_TLS_MUST) != 0)
		cfg.tls = SMTP_TLS_MUST;
	else if (!cfg.tls_active && (options & OPTION_TLS_MAY) != 0)
		cfg.tls = SMTP_TLS_MAY;
	return smtp_client_new(&cfg, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n == 0)
		return 0;
	unsigned options = data[0];
	struct slice in = slice_of((const char *)data + 1, n - 1);
	size_t step = (options & OPTION_BYTES) != 0 ? 1 : in.n;
	static const struct smtp_client_rcpt rcpts[RCPTS] = {
		{ "a@example.com", "", 0 },
		{ "b@example.com", "rfc822;b@example.com", 2 },
		{ "c@example.com", "", 1 },
	};
	bool several = (options & OPTION_INSIDE_TLS) != 0 &&
		       (options & (OPTION_OVERLAP | OPTION_CHUNKING)) != 0;
	bool plain = (options & OPTION_AUTH) != 0;
	struct driver d = {
		.body = plain ? SLICE(PLAIN) : SLICE(DOTS),
		.now = { .wall_ms = 1, .mono_ms = 1 },
		.wanted = several ? MESSAGES_MAX : 1,
		.msg = {
			.sender = "s@example.net",
			.rcpts = rcpts,
			.rcpts_n = RCPTS,
			.body_bytes = plain ? strlen(PLAIN) : strlen(DOTS),
			.plain = plain,
			.has_8bit = true,
			.needs_utf8 = (options & OPTION_UTF8) != 0,
			.ret = 2,
			.envid = "QQ1",
		},
	};

	d.c = connect_with(options, d.now);
	send_one(&d);
	work(&d);
	while (in.n > 0 && !d.ended) {
		smtp_client_feed(d.c, slice_of(in.p, in.n < step ? in.n : step), d.now);
		in = slice_from(in, in.n < step ? in.n : step);
		work(&d);
	}
	if (!d.ended)
		smtp_client_lost(d.c, ERR_CLOSED, d.now);
	work(&d);
	CHECK(d.ended);
	smtp_client_free(&d.c);
	return 0;
}
