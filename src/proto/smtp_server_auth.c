#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "proto/smtp_server_int.h"

/* smtp_server_auth.c - STARTTLS (RFC 3207) and AUTH (RFC 4954). */

enum {
	DEFAULT_AUTH_FAILURES_MAX = 3,
};

bool smtp_server_auth_is_usable(const struct smtp_server *s)
{
	return s->cfg->mechanisms && *s->cfg->mechanisms && (s->tls || s->cfg->auth_in_clear);
}

void smtp_server_on_starttls(struct smtp_server *s, struct slice args, struct smtp_server_action *a)
{
	if (s->tls) {
		smtp_server_fault(s, 503, "5.5.1", "TLS is on already");
	} else if (!s->cfg->starttls) {
		smtp_server_fault(s, 502, "5.5.1", "STARTTLS is not offered");
	} else if (args.n) {
		smtp_server_fault(s, 501, "5.5.4", "STARTTLS takes no parameters");
	} else if (s->in_transaction) {
		smtp_server_fault(s, 503, "5.5.1", "STARTTLS inside a transaction");
	} else if (buf_len(&s->in)) {
		/* Somebody may have put commands behind it that would be read as if secured. */
		smtp_server_reply(s, 554, "5.5.1", "Data after STARTTLS");
		smtp_server_close(s);
	} else {
		smtp_server_reply(s, 220, "2.0.0", "Ready to start TLS");
		smtp_server_set_state(s, SMTP_SERVER_STATE_TLS);
		a->kind = SMTP_SERVER_START_TLS;
	}
}

void smtp_server_auth_stop(struct smtp_server *s)
{
	sasl_free(&s->sasl);
	if (s->state == SMTP_SERVER_STATE_AUTH)
		smtp_server_set_state(s, SMTP_SERVER_STATE_COMMAND);
}

static void count_failure(struct smtp_server *s)
{
	unsigned max = s->cfg->max_auth_failures;
	if (++s->auth_failures >= (max ? max : DEFAULT_AUTH_FAILURES_MAX))
		smtp_server_bye(s, "4.7.0", "Too many authentication failures");
}

static void wipe_fini(struct buf *b)
{
	if (b->mem)
		mem_wipe(b->mem, b->cap);
	buf_fini(b);
}

static void send_challenge(struct smtp_server *s, const struct buf *challenge)
{
	struct buf line;
	buf_init(&line, 2 * SASL_MESSAGE_MAX);
	int r = codec_base64_encode(&line, buf_slice(challenge));
	CHECK(r == 0);
	smtp_server_reply(s, 334, NULL, buf_cstr(&line));
	buf_fini(&line);
	if (s->state == SMTP_SERVER_STATE_COMMAND)
		smtp_server_set_state(s, SMTP_SERVER_STATE_AUTH);
}

/* Takes a step of the exchange with what the client said, if anything. */
static void auth_step(struct smtp_server *s, bool has_input, struct slice in,
    struct smtp_server_action *a)
{
	struct buf challenge;
	buf_init(&challenge, SASL_MESSAGE_MAX);
	switch (sasl_step(s->sasl, has_input, in, &challenge)) {
	case SASL_CONTINUE:
		send_challenge(s, &challenge);
		break;
	case SASL_CREDENTIALS:
		a->kind = s->asked = SMTP_SERVER_ASK_AUTH;
		a->user = sasl_user(s->sasl);
		a->password = sasl_password(s->sasl);
		a->mechanism = sasl_mechanism(s->sasl);
		smtp_server_set_state(s, SMTP_SERVER_STATE_ASK);
		break;
	case SASL_FAILED:
	case SASL_NONE:
	case SASL_DONE:
	default:
		smtp_server_auth_stop(s);
		smtp_server_fault(s, 535, "5.7.8", "Authentication credentials invalid");
		count_failure(s);
		break;
	}
	wipe_fini(&challenge);
}

/* One step with a base64 line, which is wiped. */
static void auth_step64(struct smtp_server *s, struct slice text, struct smtp_server_action *a)
{
	struct buf raw;
	size_t room;
	buf_init(&raw, SMTP_SERVER_AUTH_LINE_MAX);
	buf_reserve(&raw, text.n + 1, &room);
	int r = codec_base64_decode(&raw, text);
	mem_wipe(s->line.mem, s->line.cap);
	if (r) {
		smtp_server_auth_stop(s);
		smtp_server_fault(s, 501, "5.5.2", "Malformed base64");
	} else {
		auth_step(s, true, buf_slice(&raw), a);
	}
	wipe_fini(&raw);
}

void smtp_server_auth_response(struct smtp_server *s, struct slice line,
    struct smtp_server_action *a)
{
	if (slice_eq(line, SLICE("*"))) {
		smtp_server_auth_stop(s);
		smtp_server_fault(s, 501, "5.7.0", "Authentication cancelled");
		return;
	}
	auth_step64(s, line, a);
}

static bool is_offered(const struct smtp_server *s, struct slice mechanism)
{
	struct slice list = slice_str(s->cfg->mechanisms);
	struct slice name;
	while (slice_split(&list, ' ', &name))
		if (name.n && slice_eq_nocase(name, mechanism))
			return sasl_server_has(mechanism);
	return false;
}

/* Whether AUTH may be given now at all; if not, the reply is out. */
static bool is_allowed(struct smtp_server *s)
{
	if (s->hello != SMTP_SERVER_HELLO_EHLO)
		smtp_server_fault(s, 503, "5.5.1", "Send EHLO first");
	else if (!s->cfg->mechanisms || !*s->cfg->mechanisms)
		smtp_server_fault(s, 502, "5.5.1", "AUTH is not offered");
	else if (s->user)
		smtp_server_fault(s, 503, "5.5.1", "Already authenticated");
	else if (s->in_transaction)
		smtp_server_fault(s, 503, "5.5.1", "AUTH inside a transaction");
	else if (!smtp_server_auth_is_usable(s))
		smtp_server_fault(s, 538, "5.7.11", "Encryption required, use STARTTLS");
	else
		return true;
	return false;
}

/* args: mechanism and, if given, the initial response; "=" is an empty one. */
static void begin(struct smtp_server *s, struct slice args, struct smtp_server_action *a)
{
	ptrdiff_t blank = slice_find(args, ' ');
	struct slice name = blank < 0 ? args : slice_of(args.p, (size_t)blank);
	struct slice initial = blank < 0 ? SLICE_NONE : slice_trim(slice_from(args, name.n));
	if (name.n == 0) {
		smtp_server_fault(s, 501, "5.5.4", "Syntax: AUTH mechanism");
		return;
	}
	if (!is_offered(s, name)) {
		smtp_server_fault(s, 504, "5.5.4", "Unknown authentication mechanism");
		return;
	}
	/* A fresh exchange each time: nothing of an earlier attempt is left in it. */
	sasl_free(&s->sasl);
	s->sasl = sasl_server_new(name);
	CHECK(s->sasl);
	if (blank < 0)
		auth_step(s, false, SLICE_NONE, a);
	else if (slice_eq(initial, SLICE("=")))
		auth_step(s, true, SLICE_NONE, a);
	else
		auth_step64(s, initial, a);
}

void smtp_server_on_auth(struct smtp_server *s, struct slice args, struct smtp_server_action *a)
{
	if (is_allowed(s))
		begin(s, args, a);
	/* Refused too early or not: there may be a password in the line. */
	mem_wipe(s->line.mem, s->line.cap);
}

void smtp_server_auth_answer(struct smtp_server *s, int code, const char *enhanced,
    const char *text)
{
	if (code < 300)
		smtp_server_set_string(&s->user, sasl_user(s->sasl));
	sasl_free(&s->sasl);
	smtp_server_reply(s, code, enhanced, text);
	if (code >= 500)
		count_failure(s);
}
