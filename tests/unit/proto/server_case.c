#include "server_case.h"

#include <check.h>

#include "base/check.h"
#include "base/mem.h"

enum {
	LOG_MAX = 4 * 1024 * 1024,
};

const struct now SERVER_CASE_NOW = { .wall_ms = 1763600000000, .mono_ms = 1000 };

void server_case_config(struct smtp_server_config *cfg, unsigned options)
{
	bool small = options & SERVER_SMALL;
	*cfg = (struct smtp_server_config){
		.me = "mx.test",
		.banner = "ESMTP Test",
		.max_message_bytes = small ? 1000 : 100000,
		.max_rcpts = small ? 2 : 100,
		.max_errors = small ? 5 : 100,
		.starttls = !(options & SERVER_NO_STARTTLS),
		.auth_in_clear = options & SERVER_CLEAR_AUTH,
		.reject_bare_newlines = options & SERVER_REJECT_BARE,
		.lmtp = options & SERVER_LMTP,
		.mechanisms = options & SERVER_NO_AUTH ? "" : "PLAIN LOGIN",
	};
}

static void say(struct buf *log, const char *text)
{
	int r = buf_add_str(log, text);
	CHECK(r == 0);
}

static void say_slice(struct buf *log, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		int r = 0;
		if (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n')
			continue;
		if (c == '\n' || (c >= ' ' && c < 0x7f))
			r = buf_add_char(log, s.p[i]);
		else
			r = buf_printf(log, "\\x%02x", c);
		CHECK(r == 0);
	}
}

static void say_field(struct buf *log, const char *name, struct slice value)
{
	if (value.n == 0)
		return;
	say(log, name);
	say_slice(log, value);
}

static void take_output(struct smtp_server *s, struct buf *log)
{
	say_slice(log, buf_slice(smtp_server_output(s)));
	buf_clear(smtp_server_output(s));
}

static void answer_for(struct smtp_server *s, struct slice name, bool is_auth)
{
	if (slice_starts(name, SLICE("deny")))
		smtp_server_answer(s, is_auth ? 535 : 550, is_auth ? "5.7.8" : "5.7.1", "No");
	else if (slice_starts(name, SLICE("defer")))
		smtp_server_answer(s, is_auth ? 454 : 451, is_auth ? "4.7.0" : "4.3.0", "Later");
	else if (slice_starts(name, SLICE("close")))
		smtp_server_answer(s, 421, "4.3.2", "Closing");
	else
		smtp_server_answer(s, 0, NULL, NULL);
}

static void on_mail(struct smtp_server *s, const struct smtp_server_action *a, struct buf *log)
{
	say(log, "> MAIL <");
	say_slice(log, a->path.address);
	int r = buf_printf(log, "> %s%s%s", smtp_server_protocol(s),
	    a->body_8bitmime ? " 8bit" : "", a->smtputf8 ? " utf8" : "");
	if (!r && a->size)
		r = buf_printf(log, " size=%llu", (unsigned long long)a->size);
	if (!r && a->ret)
		r = buf_printf(log, " ret=%d", a->ret);
	CHECK(r == 0);
	say_field(log, " envid=", a->envid);
	say(log, "\n");
	answer_for(s, a->path.local, false);
}

static void on_rcpt(struct smtp_server *s, const struct smtp_server_action *a, struct buf *log)
{
	say(log, "> RCPT <");
	say_slice(log, a->path.address);
	say(log, ">");
	say_field(log, " orcpt=", a->orcpt);
	int r = a->notify ? buf_printf(log, " notify=%u", a->notify) : 0;
	CHECK(r == 0);
	say(log, a->path.domain.n ? "\n" : " no domain\n");
	answer_for(s, a->path.local, false);
}

static void on_commit(struct smtp_server *s, const struct smtp_server_action *a, struct buf *body,
    struct buf *log)
{
	say(log, a->body_8bit ? "> COMMIT 8bit [" : "> COMMIT [");
	say_slice(log, buf_slice(body));
	say(log, "]\n");
	bool defer = memmem(buf_ptr(body), buf_len(body), "tempfail", 8) != NULL;
	buf_clear(body);
	if (defer)
		smtp_server_answer(s, 451, "4.3.0", "Disk full");
	else
		smtp_server_answer(s, 250, "2.0.0", "queued as ID1");
}

static void on_auth(struct smtp_server *s, const struct smtp_server_action *a, struct buf *log)
{
	int r =
	    buf_printf(log, "> AUTH %s user=%s password=%s\n", a->mechanism, a->user, a->password);
	CHECK(r == 0);
	answer_for(s, slice_str(a->user), true);
}

/* The body so far of the session under test; one at a time. */
static struct buf body = { .max = LOG_MAX };

static bool take_action(struct smtp_server *s, struct buf *log)
{
	struct smtp_server_action a;
	smtp_server_next(s, &a);
	take_output(s, log);
	switch (a.kind) {
	case SMTP_SERVER_NONE:
		return false;
	case SMTP_SERVER_START_TLS:
		say(log, "> START_TLS\n");
		smtp_server_tls_done(s, true, "TLSv1.3");
		break;
	case SMTP_SERVER_ASK_AUTH:
		on_auth(s, &a, log);
		break;
	case SMTP_SERVER_ASK_MAIL:
		on_mail(s, &a, log);
		break;
	case SMTP_SERVER_ASK_RCPT:
		on_rcpt(s, &a, log);
		break;
	case SMTP_SERVER_ASK_DATA:
		buf_clear(&body);
		say(log, "> DATA\n");
		smtp_server_answer(s, 354, NULL, NULL);
		break;
	case SMTP_SERVER_BODY:
		CHECK(a.chunk.n > 0 && a.chunk.n <= SMTP_SERVER_CHUNK_MAX);
		CHECK(buf_add_slice(&body, a.chunk) == 0);
		break;
	case SMTP_SERVER_COMMIT:
		on_commit(s, &a, &body, log);
		break;
	case SMTP_SERVER_RESET:
		buf_clear(&body);
		say(log, "> RESET\n");
		break;
	case SMTP_SERVER_CLOSE:
		say(log, "> CLOSE\n");
		break;
	}
	return true;
}

void server_case_drain(struct smtp_server *s, struct buf *log)
{
	while (take_action(s, log))
		;
}

void server_case_feed(struct smtp_server *s, struct slice in, struct buf *log)
{
	while (in.n) {
		in = slice_from(in, smtp_server_feed(s, in, SERVER_CASE_NOW));
		/* Some reads are followed by silence: that changes nothing. */
		if (in.n & 1)
			smtp_server_rest(s);
		server_case_drain(s, log);
		if (in.n & 2)
			smtp_server_rest(s);
	}
}

static void feed_past_barriers(struct smtp_server *s, struct slice in, struct buf *log)
{
	struct slice part;
	while (slice_split(&in, '\1', &part))
		server_case_feed(s, part, log);
}

struct smtp_server *server_case_open(const struct smtp_server_config *cfg, unsigned options)
{
	struct smtp_server_session ses = {
		.client_ip = "192.0.2.9",
		.trusted = !(options & (SERVER_UNTRUSTED | SERVER_AUTHENTICATED)),
		.tls = options & (SERVER_TLS | SERVER_AUTHENTICATED),
	};
	struct smtp_server *s = smtp_server_new(cfg, &ses, SERVER_CASE_NOW);
	struct buf log;
	buf_init(&log, LOG_MAX);
	smtp_server_greet(s, 220, NULL, NULL);
	if (options & SERVER_LMTP)
		server_case_feed(s, SLICE("LHLO client.test\r\n"), &log);
	else if (options & SERVER_HELO)
		server_case_feed(s, SLICE("HELO client.test\r\n"), &log);
	else if (!(options & SERVER_NO_EHLO))
		server_case_feed(s, SLICE("EHLO client.test\r\n"), &log);
	if (options & SERVER_AUTHENTICATED)
		server_case_feed(s, SLICE("AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"), &log);
	server_case_drain(s, &log);
	buf_fini(&log);
	return s;
}

static char *run_case(const void *arg, const struct split_feed_input *in)
{
	const struct server_case *c = arg;
	struct smtp_server_config cfg;
	struct buf log;
	struct slice piece;
	buf_init(&log, LOG_MAX);
	server_case_config(&cfg, c->options);
	struct smtp_server *s = server_case_open(&cfg, c->options);
	for (size_t at = 0; split_feed_piece(in, &at, &piece);)
		feed_past_barriers(s, piece, &log);
	if (c->options & SERVER_EOF) {
		smtp_server_eof(s);
		server_case_drain(s, &log);
	}
	smtp_server_free(&s);
	buf_fini(&body);
	return buf_take(&log);
}

void server_case_run(const struct server_case *c)
{
	split_feed(run_case, c, c->in, c->expect);
}
