#include "base/check.h"
#include "proto/smtp_server_int.h"

/* smtp_server_body.c - the message: from 354 to the reply to the final dot. */

void smtp_server_body_begin(struct smtp_server *s)
{
	dot_decoder_init(&s->dot);
	s->body_refused = false;
	smtp_server_set_state(s, SMTP_SERVER_STATE_BODY);
}

static bool is_too_big(const struct smtp_server *s)
{
	return s->cfg->max_message_bytes && s->dot.bytes > s->cfg->max_message_bytes;
}

static bool is_refusable(const struct smtp_server *s)
{
	return is_too_big(s) || s->dot.nul || (s->cfg->reject_bare_newlines && s->dot.bare_newline);
}

/* The reply is chosen at the end, by all that was seen, so that it does not hang on the reads. */
static void refuse(struct smtp_server *s)
{
	smtp_server_set_state(s, SMTP_SERVER_STATE_COMMAND);
	if (is_too_big(s))
		smtp_server_reply(s, 552, "5.3.4", "Message exceeds the size limit");
	else if (s->dot.nul)
		smtp_server_reply(s, 550, "5.6.0", "Message holds a NUL");
	else
		smtp_server_reply(s, 550, "5.6.11", "Message holds a bare CR or LF");
}

static void end_of_data(struct smtp_server *s, struct smtp_server_action *a)
{
	if (s->body_refused) {
		refuse(s);
		return;
	}
	a->kind = s->asked = SMTP_SERVER_COMMIT;
	a->body_8bit = s->dot.has_8bit;
	a->body_plain = !s->dot.maybe_dots;
	smtp_server_set_state(s, SMTP_SERVER_STATE_ASK);
}

bool smtp_server_body_step(struct smtp_server *s, struct smtp_server_action *a)
{
	if (s->dot.done) {
		end_of_data(s, a);
		return true;
	}
	struct slice in = buf_slice(&s->in);
	if (in.n == 0) {
		if (s->eof)
			smtp_server_close(s);
		return s->eof;
	}
	/* What comes out can be twice what went in. */
	in.n = MIN(in.n, (size_t)SMTP_SERVER_CHUNK_MAX / 2 - 1);
	buf_clear(&s->chunk);
	buf_consume(&s->in, dot_decode(&s->dot, in, &s->chunk));
	if (!s->body_refused && is_refusable(s)) {
		s->body_refused = true;
		smtp_server_drop(s);
	}
	if (!s->body_refused && buf_len(&s->chunk)) {
		a->kind = SMTP_SERVER_BODY;
		a->chunk = buf_slice(&s->chunk);
	}
	return true;
}
