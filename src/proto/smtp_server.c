#include "proto/smtp_server.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/smtp_server_int.h"

enum {
	OUTPUT_GATE = 256 * 1024, /* with more unsent than this no input is looked at */
	OUTPUT_MAX = 2 * OUTPUT_GATE,
	REPLY_PIECE_MAX = 450, /* text in one line: 512 with codes (RFC 5321 4.5.3.1.5) */
	REPLY_BYTES_MAX = 16384,
	REPLY_LINES = 128,  /* at most; what is beyond is left out */
	INPUT_FIRST = 1024, /* most flights of commands */
	KEEP_BYTES = 20000, /* buffers larger than this are given back when empty */
	DEFAULT_TIMEOUT_MS = 5 * 60 * 1000,
	DEFAULT_ERRORS_MAX = 20,
};

#define BIT(state) (1U << SMTP_SERVER_STATE_##state)

/* Where each state may lead. */
static const unsigned TRANSITIONS[] = {
	[SMTP_SERVER_STATE_START] = BIT(COMMAND) | BIT(CLOSING),
	[SMTP_SERVER_STATE_COMMAND] = BIT(AUTH) | BIT(ASK) | BIT(TLS) | BIT(CLOSING),
	[SMTP_SERVER_STATE_AUTH] = BIT(COMMAND) | BIT(ASK) | BIT(CLOSING),
	[SMTP_SERVER_STATE_ASK] = BIT(COMMAND) | BIT(BODY) | BIT(CLOSING),
	[SMTP_SERVER_STATE_TLS] = BIT(COMMAND) | BIT(CLOSING),
	[SMTP_SERVER_STATE_BODY] = BIT(ASK) | BIT(COMMAND) | BIT(CLOSING),
	[SMTP_SERVER_STATE_CLOSING] = BIT(CLOSED),
	[SMTP_SERVER_STATE_CLOSED] = 0,
};

void smtp_server_set_state(struct smtp_server *s, enum smtp_server_state to)
{
	CHECK(s->state < ARRAY_LEN(TRANSITIONS));
	CHECK(TRANSITIONS[s->state] & (1U << to));
	s->state = to;
}

void smtp_server_set_string(char **to, const char *from)
{
	char *copy = from ? mem_strdup(from) : NULL;
	mem_free(*to);
	*to = copy;
}

struct smtp_server *smtp_server_new(const struct smtp_server_config *cfg,
    const struct smtp_server_session *ses, struct now now)
{
	struct smtp_server *s = mem_zalloc(sizeof(*s));
	s->cfg = cfg;
	s->client_ip = mem_strdup(ses->client_ip ? ses->client_ip : "");
	s->trusted = ses->trusted;
	s->tls = ses->tls;
	s->state = SMTP_SERVER_STATE_START;
	buf_init(&s->in, SMTP_SERVER_INPUT_MAX);
	buf_init(&s->out, OUTPUT_MAX);
	buf_init(&s->line, SMTP_SERVER_AUTH_LINE_MAX);
	buf_init(&s->chunk, SMTP_SERVER_CHUNK_MAX);
	s->now_ms = s->waiting_since = now.mono_ms;
	return s;
}

static void wipe_fini(struct buf *b)
{
	if (b->mem)
		mem_wipe(b->mem, b->cap);
	buf_fini(b);
}

void smtp_server_free(struct smtp_server **s)
{
	if (!*s)
		return;
	wipe_fini(&(*s)->in);
	wipe_fini(&(*s)->line);
	buf_fini(&(*s)->out);
	buf_fini(&(*s)->chunk);
	sasl_free(&(*s)->sasl);
	mem_free((*s)->client_ip);
	mem_free((*s)->helo);
	mem_free((*s)->user);
	mem_free(*s);
	*s = NULL;
}

void smtp_server_rest(struct smtp_server *s)
{
	/* Elsewhere slices of them are in the driver's hands. */
	if (s->state != SMTP_SERVER_STATE_COMMAND)
		return;
	wipe_fini(&s->line);
	buf_fini(&s->chunk);
	if (buf_len(&s->in) == 0)
		wipe_fini(&s->in);
	if (buf_len(&s->out) == 0)
		buf_fini(&s->out);
}

void smtp_server_wipe_input(struct smtp_server *s)
{
	struct buf *b = &s->in;
	if (!b->mem)
		return;
	mem_wipe(b->mem, b->head);
	mem_wipe(b->mem + b->tail, b->cap - b->tail);
}

/* --- replies --- */

static void put(struct smtp_server *s, struct slice text)
{
	/* The gate leaves room for the replies of one command, and the text is bounded. */
	int r = buf_add_slice(&s->out, text);
	CHECK(r == 0);
}

static void put_line(struct smtp_server *s, int code, const char *enhanced, struct slice text,
    bool last)
{
	char head[4] = { (char)('0' + code / 100), (char)('0' + code / 10 % 10),
		(char)('0' + code % 10), last ? ' ' : '-' };
	char clean[REPLY_PIECE_MAX];
	CHECK(text.n <= sizeof(clean));
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		clean[i] = (unsigned char)c < ' ' || c == 0x7f ? ' ' : c;
	}
	put(s, slice_of(head, sizeof(head)));
	if (enhanced) {
		put(s, slice_str(enhanced));
		put(s, SLICE(" "));
	}
	put(s, slice_of(clean, text.n));
	put(s, SLICE("\r\n"));
}

void smtp_server_reply(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	CHECK(code >= 200 && code <= 599);
	struct slice rest = slice_str(text);
	rest.n = MIN(rest.n, (size_t)REPLY_BYTES_MAX);
	for (int lines = 1;; lines++) {
		ptrdiff_t lf = slice_find(rest, '\n');
		struct slice line = lf < 0 ? rest : slice_of(rest.p, (size_t)lf);
		bool cut = line.n > REPLY_PIECE_MAX;
		line.n = MIN(line.n, (size_t)REPLY_PIECE_MAX);
		bool last = (lf < 0 && !cut) || lines == REPLY_LINES;
		put_line(s, code, enhanced, line, last);
		if (last)
			return;
		rest = slice_from(rest, line.n + (cut ? 0 : 1));
	}
}

void smtp_server_fault(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	s->errors++;
	smtp_server_reply(s, code, enhanced, text);
}

void smtp_server_drop(struct smtp_server *s)
{
	s->reset_due |= s->in_transaction;
	s->in_transaction = false;
	s->rcpts_accepted = s->rcpts_refused = 0;
	s->smtputf8 = false;
}

void smtp_server_close(struct smtp_server *s)
{
	smtp_server_drop(s);
	sasl_free(&s->sasl);
	buf_clear(&s->in);
	smtp_server_wipe_input(s);
	smtp_server_set_state(s, SMTP_SERVER_STATE_CLOSING);
}

void smtp_server_bye(struct smtp_server *s, const char *enhanced, const char *text)
{
	char *full = mem_printf("%s %s", s->cfg->me, text);
	smtp_server_reply(s, 421, enhanced, full);
	mem_free(full);
	smtp_server_close(s);
}

/* --- time --- */

static void restart_wait(struct smtp_server *s)
{
	s->waiting_since = s->now_ms;
	s->wait_is_stale = false;
}

int64_t smtp_server_deadline(const struct smtp_server *s)
{
	int ms = s->cfg->command_timeout_ms;
	switch (s->state) {
	case SMTP_SERVER_STATE_COMMAND:
	case SMTP_SERVER_STATE_AUTH:
	case SMTP_SERVER_STATE_TLS:
		break;
	case SMTP_SERVER_STATE_BODY:
		ms = s->cfg->data_timeout_ms;
		break;
	case SMTP_SERVER_STATE_NONE:
	case SMTP_SERVER_STATE_START:
	case SMTP_SERVER_STATE_ASK:
	case SMTP_SERVER_STATE_CLOSING:
	case SMTP_SERVER_STATE_CLOSED:
	default:
		return INT64_MAX;
	}
	return s->waiting_since + (ms > 0 ? ms : DEFAULT_TIMEOUT_MS);
}

/*
 * Notes the time. The client's turn that began with an answer of ours starts
 * to count now: later than it did, but never earlier.
 */
static void set_now(struct smtp_server *s, struct now now)
{
	s->now_ms = MAX(s->now_ms, now.mono_ms);
	if (s->wait_is_stale)
		restart_wait(s);
}

void smtp_server_tick(struct smtp_server *s, struct now now)
{
	set_now(s, now);
	if (now.mono_ms < smtp_server_deadline(s))
		return;
	/* During a handshake there is no way to say it. */
	if (s->state == SMTP_SERVER_STATE_TLS)
		smtp_server_close(s);
	else
		smtp_server_bye(s, "4.4.2", "Timeout, closing connection");
}

static void bye_if_idle(struct smtp_server *s)
{
	bool idle = s->state == SMTP_SERVER_STATE_START || s->state == SMTP_SERVER_STATE_COMMAND ||
		    s->state == SMTP_SERVER_STATE_AUTH;
	if (s->shutting_down && idle && !s->in_transaction)
		smtp_server_bye(s, "4.3.2", "Service shutting down, try again later");
}

void smtp_server_shutdown(struct smtp_server *s)
{
	s->shutting_down = true;
	bye_if_idle(s);
}

/* --- input --- */

void smtp_server_greet(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	if (s->state != SMTP_SERVER_STATE_START)
		return; /* shut down or lost meanwhile */
	char *full = mem_printf("%s %s", s->cfg->me, text ? text : s->cfg->banner);
	smtp_server_reply(s, code, code == 220 ? NULL : enhanced, full);
	mem_free(full);
	s->wait_is_stale = true;
	if (code == 220)
		smtp_server_set_state(s, SMTP_SERVER_STATE_COMMAND);
	else
		smtp_server_close(s);
}

/* Room for n bytes of input. What a buffer that was too small held of a password is wiped. */
static char *reserve_input(struct smtp_server *s, size_t n, size_t *room)
{
	struct buf *b = &s->in;
	size_t len = buf_len(b);
	bool fits = b->mem && (b->cap - b->tail > n || (b->head >= len && b->cap - len > n));
	if (!fits) {
		struct buf bigger;
		size_t some;
		buf_init(&bigger, b->max);
		(void)buf_reserve(&bigger, MAX(MAX(2 * b->cap, len + n), (size_t)INPUT_FIRST),
		    &some);
		int r = buf_add_slice(&bigger, buf_slice(b));
		CHECK(r == 0);
		wipe_fini(b);
		*b = bigger;
	}
	return buf_reserve(b, n, room);
}

size_t smtp_server_feed(struct smtp_server *s, struct slice in, struct now now)
{
	set_now(s, now);
	if (s->state == SMTP_SERVER_STATE_CLOSING || s->state == SMTP_SERVER_STATE_CLOSED)
		return in.n;
	if (s->state == SMTP_SERVER_STATE_TLS && in.n) {
		/* Plaintext where the handshake should be: somebody put it there. */
		smtp_server_reply(s, 554, "5.5.1", "Data after STARTTLS");
		smtp_server_close(s);
		return in.n;
	}
	if (s->state == SMTP_SERVER_STATE_BODY)
		restart_wait(s);
	size_t room;
	char *to = reserve_input(s, in.n, &room);
	size_t n = MIN(in.n, room);
	if (n)
		memcpy(to, in.p, n);
	buf_commit(&s->in, n);
	return n;
}

void smtp_server_eof(struct smtp_server *s)
{
	s->eof = true;
	if (s->state == SMTP_SERVER_STATE_START || s->state == SMTP_SERVER_STATE_TLS)
		smtp_server_close(s);
}

static const char *const LINE_FAULTS[] = {
	[COMMAND_LINE_BARE_LF] = "Line does not end with CRLF",
	[COMMAND_LINE_BAD_BYTE] = "Line holds a CR or NUL",
	[COMMAND_LINE_TOO_LONG] = "Line too long",
};

static void line_fault(struct smtp_server *s, enum command_line fault)
{
	bool auth = s->state == SMTP_SERVER_STATE_AUTH;
	const char *enhanced = auth && fault == COMMAND_LINE_TOO_LONG ? "5.5.6" : "5.5.2";
	if (auth)
		smtp_server_auth_stop(s);
	smtp_server_fault(s, 500, enhanced, LINE_FAULTS[fault]);
}

/* The next line, copied out of the input, which may move while an action is worked on. */
static enum command_line take_line(struct smtp_server *s)
{
	bool auth = s->state == SMTP_SERVER_STATE_AUTH ||
		    slice_starts_nocase(buf_slice(&s->in), SLICE("AUTH"));
	size_t max = auth ? SMTP_SERVER_AUTH_LINE_MAX : SMTP_SERVER_LINE_MAX;
	struct slice line;
	size_t used;
	enum command_line what =
	    command_reader_next(&s->reader, buf_slice(&s->in), max, &line, &used);
	buf_clear(&s->line);
	if (what == COMMAND_LINE_OK) {
		int r = buf_add_slice(&s->line, line);
		CHECK(r == 0);
	}
	buf_consume(&s->in, used);
	if (auth && used)
		smtp_server_wipe_input(s);
	if (what != COMMAND_LINE_MORE)
		restart_wait(s);
	return what;
}

static void check_errors(struct smtp_server *s)
{
	unsigned max = s->cfg->max_errors ? s->cfg->max_errors : DEFAULT_ERRORS_MAX;
	bool open = s->state == SMTP_SERVER_STATE_COMMAND || s->state == SMTP_SERVER_STATE_AUTH;
	if (open && s->errors >= max)
		smtp_server_bye(s, "4.7.0", "Too many errors");
}

static bool line_step(struct smtp_server *s, struct smtp_server_action *a)
{
	bye_if_idle(s);
	if (s->state == SMTP_SERVER_STATE_CLOSING)
		return true;
	bool clogged = buf_len(&s->out) > OUTPUT_GATE;
	enum command_line what = clogged ? COMMAND_LINE_MORE : take_line(s);
	if (what == COMMAND_LINE_MORE) {
		if (s->eof)
			smtp_server_close(s);
		return s->eof;
	}
	if (what != COMMAND_LINE_OK)
		line_fault(s, what);
	else if (s->state == SMTP_SERVER_STATE_AUTH)
		smtp_server_auth_response(s, buf_slice(&s->line), a);
	else
		smtp_server_command(s, buf_slice(&s->line), a);
	check_errors(s);
	return true;
}

/* One step; false when nothing can be done until the driver does something. */
static bool step(struct smtp_server *s, struct smtp_server_action *a)
{
	if (s->reset_due) {
		s->reset_due = false;
		a->kind = SMTP_SERVER_RESET;
		return true;
	}
	switch (s->state) {
	case SMTP_SERVER_STATE_COMMAND:
	case SMTP_SERVER_STATE_AUTH:
		return line_step(s, a);
	case SMTP_SERVER_STATE_BODY:
		return smtp_server_body_step(s, a);
	case SMTP_SERVER_STATE_CLOSING:
		smtp_server_set_state(s, SMTP_SERVER_STATE_CLOSED);
		a->kind = SMTP_SERVER_CLOSE;
		return true;
	case SMTP_SERVER_STATE_NONE:
	case SMTP_SERVER_STATE_START:
	case SMTP_SERVER_STATE_ASK:
	case SMTP_SERVER_STATE_TLS:
	case SMTP_SERVER_STATE_CLOSED:
	default:
		return false;
	}
}

void smtp_server_next(struct smtp_server *s, struct smtp_server_action *a)
{
	*a = (struct smtp_server_action){ .kind = SMTP_SERVER_NONE };
	while (a->kind == SMTP_SERVER_NONE && step(s, a))
		;
}

/* --- answers --- */

static const char *standard_text(enum smtp_server_action_kind asked, int code)
{
	if (code >= 500)
		return "Refused";
	if (code >= 400)
		return "Try again later";
	if (asked == SMTP_SERVER_ASK_AUTH)
		return "Authentication successful";
	if (asked == SMTP_SERVER_ASK_DATA)
		return "End data with <CR><LF>.<CR><LF>";
	return "OK";
}

static int standard_code(enum smtp_server_action_kind asked)
{
	if (asked == SMTP_SERVER_ASK_AUTH)
		return 235;
	return asked == SMTP_SERVER_ASK_DATA ? 354 : 250;
}

static const char *standard_enhanced(enum smtp_server_action_kind asked, int code)
{
	if (code >= 500)
		return "5.0.0";
	if (code >= 400)
		return "4.0.0";
	if (code >= 300)
		return NULL;
	if (asked == SMTP_SERVER_ASK_AUTH)
		return "2.7.0";
	if (asked == SMTP_SERVER_ASK_MAIL)
		return "2.1.0";
	return asked == SMTP_SERVER_ASK_RCPT ? "2.1.5" : "2.0.0";
}

/* The verdict on a whole message. RFC 2033 4.2: LMTP has one reply for each recipient. */
static void commit_answer(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	size_t replies = s->cfg->lmtp ? s->rcpts_accepted : 1;
	for (size_t i = 0; i < replies; i++) {
		bool clogged = buf_len(&s->out) > OUTPUT_GATE;
		smtp_server_reply(s, code, enhanced, clogged ? "" : text);
	}
	/* The driver knows that it is over: it was asked. */
	s->in_transaction = false;
	smtp_server_drop(s);
	s->idle_commands = 0;
	if (s->chunk.cap > KEEP_BYTES)
		buf_fini(&s->chunk);
	if (buf_len(&s->in) == 0 && s->in.cap > KEEP_BYTES)
		buf_fini(&s->in);
}

static void take_answer(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	bool ok = code < 300;
	if (s->asked == SMTP_SERVER_COMMIT) {
		commit_answer(s, code, enhanced, text);
		return;
	}
	smtp_server_reply(s, code, enhanced, text);
	if (s->asked == SMTP_SERVER_ASK_MAIL) {
		s->in_transaction = ok;
		s->mail_refused = !ok;
		s->smtputf8 &= ok;
	} else if (s->asked == SMTP_SERVER_ASK_RCPT) {
		s->rcpts_accepted += ok;
		s->rcpts_refused += !ok;
	}
}

void smtp_server_answer(struct smtp_server *s, int code, const char *enhanced, const char *text)
{
	CHECK(s->state == SMTP_SERVER_STATE_ASK);
	if (code == 0)
		code = standard_code(s->asked);
	CHECK(code >= 200 && code <= 599);
	if (!enhanced || code == 354)
		enhanced = standard_enhanced(s->asked, code);
	if (!text)
		text = standard_text(s->asked, code);
	s->wait_is_stale = true;
	if (s->asked == SMTP_SERVER_ASK_DATA && code == 354)
		smtp_server_body_begin(s);
	else
		smtp_server_set_state(s, SMTP_SERVER_STATE_COMMAND);
	if (s->asked == SMTP_SERVER_ASK_AUTH)
		smtp_server_auth_answer(s, code, enhanced, text);
	else
		take_answer(s, code, enhanced, text);
	s->asked = SMTP_SERVER_NONE;
	if ((code == 421 || code == 521) && s->state == SMTP_SERVER_STATE_COMMAND)
		smtp_server_close(s);
}

void smtp_server_tls_done(struct smtp_server *s, bool ok, const char *version)
{
	(void)version;
	if (s->state != SMTP_SERVER_STATE_TLS)
		return; /* closed meanwhile */
	if (!ok) {
		smtp_server_close(s);
		return;
	}
	CHECK(buf_len(&s->in) == 0);
	s->tls = true;
	s->wait_is_stale = true;
	/* RFC 3207 4.2: nothing learnt in clear is kept. */
	s->hello = SMTP_SERVER_HELLO_NONE;
	smtp_server_set_string(&s->helo, NULL);
	smtp_server_set_string(&s->user, NULL);
	smtp_server_set_state(s, SMTP_SERVER_STATE_COMMAND);
}

/* --- facts --- */

struct buf *smtp_server_output(struct smtp_server *s)
{
	return &s->out;
}

const char *smtp_server_helo(const struct smtp_server *s)
{
	return s->helo ? s->helo : "";
}

const char *smtp_server_user(const struct smtp_server *s)
{
	return s->user ? s->user : "";
}

const char *smtp_server_protocol(const struct smtp_server *s)
{
	static const char *const NAMES[2][2][4] = {
		{ { "ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA" },
		    { "UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA" } },
		{ { "LMTP", "LMTPA", "LMTPS", "LMTPSA" },
		    { "UTF8LMTP", "UTF8LMTPA", "UTF8LMTPS", "UTF8LMTPSA" } },
	};
	if (s->hello != SMTP_SERVER_HELLO_EHLO)
		return "SMTP";
	return NAMES[s->cfg->lmtp][s->smtputf8][(s->tls ? 2 : 0) + (s->user ? 1 : 0)];
}

bool smtp_server_in_transaction(const struct smtp_server *s)
{
	return s->in_transaction;
}
