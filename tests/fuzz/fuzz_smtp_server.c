/*
 * The server engine, with a driver that says yes to everything: the same
 * conversation whether the bytes come at once or one by one, whole lines out,
 * no state it cannot leave, and always a CLOSE after the client went away.
 *
 * The first byte picks the configuration.
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
	OPTION_CLEAR_AUTH = 8
};

struct driver {
	struct smtp_server *s;
	struct buf talk; /* all the engine said, and a mark for each message it took */
	uint32_t body_crc;
	bool handshake; /* START_TLS was asked for */
	bool ended;
};

static void check_chunk(const struct smtp_server_action *a)
{
	CHECK(a->chunk.n <= SMTP_SERVER_CHUNK_MAX);
	for (size_t i = 0; i < a->chunk.n; i++)
		CHECK(a->chunk.p[i] != '\0');
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
		d->ended = true;
		return false;
	case SMTP_SERVER_ASK_AUTH:
	case SMTP_SERVER_ASK_MAIL:
	case SMTP_SERVER_ASK_RCPT:
	case SMTP_SERVER_ASK_DATA:
		smtp_server_answer(d->s, 0, NULL, NULL);
		return true;
	case SMTP_SERVER_BODY:
		check_chunk(&a);
		d->body_crc = codec_crc32c(d->body_crc, a.chunk.p, a.chunk.n);
		return true;
	case SMTP_SERVER_COMMIT:
		CHECK(buf_printf(&d->talk, "[message %08x]\r\n", d->body_crc) == 0);
		d->body_crc = 0;
		smtp_server_answer(d->s, 0, NULL, NULL);
		return true;
	case SMTP_SERVER_RESET:
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
		.mechanisms = "PLAIN LOGIN",
	};
	struct smtp_server_session ses = {
		.client_ip = "192.0.2.1",
		.trusted = (options & OPTION_TRUSTED) != 0,
		.tls = (options & OPTION_TLS) != 0,
	};
	struct now now = { .wall_ms = 1, .mono_ms = 1 };

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
