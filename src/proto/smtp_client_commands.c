#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "proto/smtp_client_priv.h"

/*
 * smtp_client_commands.c - what we say: every command is written here, and the
 * send cursor of a message moves here and nowhere else.
 */

enum notify_bit {
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8
};

enum ret_value {
	RET_FULL = 1,
	RET_HDRS = 2
};

/* The output's limit can't be reached: commands wait for room below the window. */
static void put(struct smtp_client *c, const char *text)
{
	int r = buf_add_str(&c->out, text);
	CHECK(r == 0);
}

void client_put_line(struct smtp_client *c, const char *line)
{
	put(c, line);
	put(c, "\r\n");
}

void client_put_hello(struct smtp_client *c, bool helo)
{
	if (helo)
		put(c, "HELO ");
	else
		put(c, c->lmtp ? "LHLO " : "EHLO ");
	client_put_line(c, c->helo);
}

/* Base64 straight into the output, with room made before, so that no copy of it stays on the heap.
 */
static void put_base64(struct smtp_client *c, struct slice in)
{
	size_t room;
	buf_reserve(&c->out, in.n / 3 * 4 + 8, &room);
	int r = codec_base64_encode(&c->out, in);
	CHECK(r == 0);
	c->out_secret = true;
}

void client_put_auth(struct smtp_client *c, const char *mechanism, const struct buf *initial)
{
	put(c, "AUTH ");
	put(c, mechanism);
	if (initial) {
		put(c, " ");
		if (buf_len(initial) == 0)
			put(c, "="); /* RFC 4954 4: an empty initial response */
		else
			put_base64(c, buf_slice(initial));
	}
	put(c, "\r\n");
}

void client_put_auth_answer(struct smtp_client *c, const struct buf *answer)
{
	put_base64(c, buf_slice(answer));
	put(c, "\r\n");
}

/* The whole body is one chunk: one reply, and nothing to scan. */
void client_put_bdat(struct smtp_client *c, uint64_t n)
{
	int r = buf_printf(&c->out, "BDAT %" PRIu64 " LAST\r\n", n);
	CHECK(r == 0);
}

static void put_mail(struct smtp_client *c, const struct smtp_client_msg *m)
{
	put(c, "MAIL FROM:<");
	put(c, m->sender);
	put(c, ">");
	if (c->caps.size) {
		int r = buf_printf(&c->out, " SIZE=%" PRIu64, m->body_bytes);
		CHECK(r == 0);
	}
	if (m->has_8bit && c->caps.mime8bit)
		put(c, " BODY=8BITMIME");
	if (m->needs_utf8)
		put(c, " SMTPUTF8");
	if (c->caps.dsn && m->ret == RET_FULL)
		put(c, " RET=FULL");
	if (c->caps.dsn && m->ret == RET_HDRS)
		put(c, " RET=HDRS");
	if (c->caps.dsn && m->envid && *m->envid) {
		put(c, " ENVID=");
		put(c, m->envid);
	}
	put(c, "\r\n");
}

static void put_notify(struct smtp_client *c, unsigned notify)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
		{ NOTIFY_SUCCESS, "SUCCESS" },
		{ NOTIFY_FAILURE, "FAILURE" },
		{ NOTIFY_DELAY, "DELAY" },
	};

	const char *joint = " NOTIFY=";
	if (notify & NOTIFY_NEVER) {
		put(c, " NOTIFY=NEVER");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!(notify & names[i].bit))
			continue;
		put(c, joint);
		put(c, names[i].name);
		joint = ",";
	}
}

static void put_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *rcpt)
{
	put(c, "RCPT TO:<");
	put(c, rcpt->address);
	put(c, ">");
	if (c->caps.dsn) {
		put_notify(c, rcpt->notify);
		if (rcpt->orcpt && *rcpt->orcpt) {
			put(c, " ORCPT=");
			put(c, rcpt->orcpt);
		}
	}
	put(c, "\r\n");
}

/*
 * Ahead of the replies only where that was offered, and never more than a
 * window, so that a message of 50,000 recipients does not lie in the output
 * at once. The first step without a reply outstanding is always sent.
 */
static bool may_send(const struct smtp_client *c, const struct client_txn *t)
{
	size_t data_step = t->rcpts_n + 1;
	bool idle = t == c->cur && t->send_at == t->recv_at;
	if (t->send_at > data_step || t->mail_refused)
		return false;
	if (t->send_at == data_step && t->chunking)
		return false;
	if (!idle && (!t->pipelined || buf_len(&c->out) >= CLIENT_WINDOW_BYTES))
		return false;
	/* RFC 2920 3.1: once it is known that nobody was accepted, DATA is not sent. */
	return t->send_at < data_step || !idle || t->accepted_n > 0;
}

void client_pump(struct smtp_client *c, struct client_txn *t)
{
	CHECK(t->state == MSG_ACTIVE);
	size_t before = buf_len(&c->out);
	while (may_send(c, t)) {
		if (t->send_at == 0)
			put_mail(c, &t->msg);
		else if (t->send_at <= t->rcpts_n)
			put_rcpt(c, &t->msg.rcpts[t->send_at - 1]);
		else
			put(c, "DATA\r\n");
		t->send_at++;
	}
	if (t != c->cur)
		c->behind_bytes += buf_len(&c->out) - before;
	/* MAIL refused: BDAT had better not follow. */
	if (t->early && t->send_at == t->rcpts_n + 1 && !t->body_ended && !t->mail_refused)
		client_lend_body(c);
}

static bool is_one_line(const char *s)
{
	return !s || !strpbrk(s, "\r\n");
}

bool client_msg_is_clean(const struct smtp_client_msg *m)
{
	if (!is_one_line(m->sender) || !is_one_line(m->envid))
		return false;
	for (size_t i = 0; i < m->rcpts_n; i++)
		if (!is_one_line(m->rcpts[i].address) || !is_one_line(m->rcpts[i].orcpt))
			return false;
	return true;
}
