/*
 * The server engine: the same conversation whether the bytes come at once or
 * one by one, whole lines out, actions in an order that makes sense, bodies
 * without a bare line end, no state it cannot leave, and always a CLOSE after
 * the client went away.
 *
 * The first byte picks the configuration, and whether the driver says yes to
 * everything or no to names that begin with "n".
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "base/codec.h"
#include "proto/smtp_server.h"

#define TALK_MAX ((size_t)8 << 20)

enum option {
	OPTION_TLS = 1,
	OPTION_TRUSTED = 2,
	OPTION_REJECT = 4,
	OPTION_CLEAR_AUTH = 8,
	OPTION_PICKY = 16,
	OPTION_LMTP = 32
};

struct driver {
	struct smtp_server *s;
	struct buf talk; /* all the engine said, and a mark for each message it took */
	uint32_t body_crc;
	char last; /* byte of the body; 0: none yet */
	bool picky;
	bool mail; /* a transaction is open, for all we know */
	size_t rcpts;
	bool handshake; /* START_TLS was asked for */
	bool ended;
};

static void check_chunk(struct driver *d, const struct smtp_server_action *a)
{
	CHECK(a->chunk.n > 0 && a->chunk.n <= SMTP_SERVER_CHUNK_MAX);
	for (size_t i = 0; i < a->chunk.n; i++) {
		char c = a->chunk.p[i];
		CHECK(c != '\0');
		CHECK((c == '\n') == (d->last == '\r'));
		d->last = c;
	}
}

/* Yes or no; the name decides, so that it is the same in each run. */
static bool answer(struct driver *d, struct slice name)
{
	bool no = d->picky && name.n && name.p[0] == 'n';
	if (no)
		smtp_server_answer(d->s, 550, "5.7.1", "no\nand no");
	else
		smtp_server_answer(d->s, 0, NULL, NULL);
	return !no;
}

static void on_mail(struct driver *d, const struct smtp_server_action *a)
{
	struct path p;

	CHECK(!d->mail);
	CHECK(!smtp_server_in_transaction(d->s));
	CHECK(a->path.is_null || path_parse_address(a->path.address, &p, NULL) == 0);
	CHECK(a->smtputf8 || !a->path.is_utf8);
	CHECK(*smtp_server_helo(d->s));
	d->mail = answer(d, a->path.local);
	d->rcpts = 0;
}

static void on_rcpt(struct driver *d, const struct smtp_server_action *a)
{
	struct path p;

	CHECK(d->mail && !a->path.is_null);
	CHECK(a->path.domain.n == 0 || path_parse_address(a->path.address, &p, NULL) == 0);
	d->rcpts += answer(d, a->path.local);
	CHECK(d->rcpts <= 3);
}

static void drain(struct driver *d)
{
	struct buf *out = smtp_server_output(d->s);
	CHECK(buf_add_slice(&d->talk, buf_slice(out)) == 0);
	buf_clear(out);
}

/* False when the engine wants more input. */
static bool act(struct driver *d)
{
	struct smtp_server_action a;

	smtp_server_next(d->s, &a);
	drain(d);
	switch (a.kind) {
	case SMTP_SERVER_NONE:
		return false;
	case SMTP_SERVER_START_TLS:
		d->handshake = true;
		return false;
	case SMTP_SERVER_CLOSE:
		CHECK(!d->mail);
		d->ended = true;
		return false;
	case SMTP_SERVER_ASK_AUTH:
		CHECK(!d->mail && !*smtp_server_user(d->s));
		answer(d, slice_str(a.user));
		return true;
	case SMTP_SERVER_ASK_MAIL:
		on_mail(d, &a);
		return true;
	case SMTP_SERVER_ASK_RCPT:
		on_rcpt(d, &a);
		return true;
	case SMTP_SERVER_ASK_DATA:
		CHECK(d->mail && d->rcpts > 0);
		d->last = 0;
		smtp_server_answer(d->s, 0, NULL, NULL);
		return true;
	case SMTP_SERVER_BODY:
		check_chunk(d, &a);
		d->body_crc = codec_crc32c(d->body_crc, a.chunk.p, a.chunk.n);
		return true;
	case SMTP_SERVER_COMMIT:
		CHECK(d->mail && d->rcpts > 0);
		CHECK(d->last == '\n' || d->last == 0);
		d->mail = false;
		CHECK(buf_printf(&d->talk, "[message %08x]\r\n", d->body_crc) == 0);
		d->body_crc = 0;
		smtp_server_answer(d->s, 0, NULL, NULL);
		return true;
	case SMTP_SERVER_RESET:
		CHECK(d->mail);
		d->mail = false;
		d->body_crc = 0;
		return true;
	}
	UNREACHABLE();
}

static void converse(struct driver *d, struct slice in, size_t step, struct now now)
{
	while (!d->ended) {
		while (act(d))
			;
		if (in.n == 0 || d->ended || d->handshake)
			break;
		struct slice piece = slice_of(in.p, in.n < step ? in.n : step);
		size_t used = smtp_server_feed(d->s, piece, now);
		CHECK(used > 0);
		CHECK(used <= piece.n);
		in = slice_from(in, used);
	}
	if (!d->ended) {
		/* Plaintext behind STARTTLS ends the session, and so does a failed handshake. */
		if (d->handshake && in.n > 0)
			CHECK(smtp_server_feed(d->s, in, now) <= in.n);
		else if (d->handshake)
			smtp_server_tls_done(d->s, false, "");
		else
			smtp_server_eof(d->s);
		while (act(d))
			;
		CHECK(d->ended);
	}
}

static void check_lines(struct slice talk)
{
	for (size_t i = 0; i < talk.n; i++) {
		if (talk.p[i] == '\n')
			CHECK(i > 0 && talk.p[i - 1] == '\r');
		if (talk.p[i] == '\r')
			CHECK(i + 1 < talk.n && talk.p[i + 1] == '\n');
		CHECK(talk.p[i] != '\0');
	}
}

static void run(struct slice in, unsigned options, size_t step, struct driver *d)
{
	struct smtp_server_config cfg = {
		.me = "mx.example",
		.banner = "ESMTP",
		.max_message_bytes = 4096,
		.max_rcpts = 3,
		.starttls = (options & OPTION_TLS) == 0,
		.auth_in_clear = (options & OPTION_CLEAR_AUTH) != 0,
		.reject_bare_newlines = (options & OPTION_REJECT) != 0,
		.lmtp = (options & OPTION_LMTP) != 0,
		.mechanisms = "PLAIN LOGIN",
	};
	struct smtp_server_session ses = {
		.client_ip = "192.0.2.1",
		.trusted = (options & OPTION_TRUSTED) != 0,
		.tls = (options & OPTION_TLS) != 0,
	};
	struct now now = { .wall_ms = 1, .mono_ms = 1 };

	d->picky = (options & OPTION_PICKY) != 0;
	buf_init(&d->talk, TALK_MAX);
	d->s = smtp_server_new(&cfg, &ses, now);
	smtp_server_greet(d->s, 220, NULL, NULL);
	converse(d, in, step, now);
	check_lines(buf_slice(&d->talk));
	smtp_server_free(&d->s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct driver whole = { .ended = false };
	struct driver bytes = { .ended = false };

	if (n == 0)
		return 0;
	struct slice in = slice_of((const char *)data + 1, n - 1);
	run(in, data[0], in.n, &whole);
	run(in, data[0], 1, &bytes);
	/* Fed whole, the engine sees what lies behind STARTTLS before it agrees to it. */
	if (!bytes.handshake)
		CHECK(slice_eq(buf_slice(&whole.talk), buf_slice(&bytes.talk)));
	buf_fini(&whole.talk);
	buf_fini(&bytes.talk);
	return 0;
}
