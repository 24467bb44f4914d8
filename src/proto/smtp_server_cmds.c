#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/netaddr.h"
#include "proto/esmtp_params.h"
#include "proto/smtp_server_int.h"

/* smtp_server_cmds.c - a handler for each verb but STARTTLS and AUTH. */

enum {
	CAPABILITIES_MAX = 8192,
	RCPTS_MAX = 1000,         /* per message, when the config sets no limit */
	IDLE_COMMANDS_FREE = 100, /* without a message between them; more are errors */
};

static void count_idle_command(struct smtp_server *s)
{
	if (++s->idle_commands > IDLE_COMMANDS_FREE)
		s->errors++;
}

/* What a client pipelined behind a MAIL that was refused is no mistake, within reason. */
static void fault_no_mail(struct smtp_server *s)
{
	if (s->mail_refused) {
		count_idle_command(s);
		smtp_server_reply(s, 503, "5.5.1", "No transaction: MAIL was refused");
	} else {
		smtp_server_fault(s, 503, "5.5.1", "Send MAIL first");
	}
}

/* --- EHLO, HELO, LHLO --- */

/*
 * Clients name themselves as they like; only what could not be shown in a
 * Received field is refused. Some leave the tag off an IPv6 literal.
 */
static bool is_helo_name(struct slice name)
{
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	struct netaddr a;
	bool bracketed = name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
	return path_is_domain(name) || path_is_literal(name) ||
	       (bracketed && netaddr_parse_ip(name, &a) == 0);
}

static void add_capability(struct buf *text, const char *fmt, const char *arg)
{
	int r = buf_add_str(text, fmt);
	if (!r)
		r = buf_add_str(text, arg);
	CHECK(r == 0);
}

static void put_capabilities(struct smtp_server *s)
{
	struct buf text;
	char size[32] = "";
	buf_init(&text, CAPABILITIES_MAX);
	add_capability(&text, s->cfg->me, " Hello ");
	add_capability(&text, "[", s->client_ip);
	add_capability(&text, "]", "\nPIPELINING");
	if (s->cfg->max_message_bytes)
		snprintf(size, sizeof(size), " %llu",
		    (unsigned long long)s->cfg->max_message_bytes);
	add_capability(&text, "\nSIZE", size);
	add_capability(&text, "\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES", "\nDSN");
	if (s->cfg->starttls && !s->tls)
		add_capability(&text, "\nSTARTTLS", "");
	if (smtp_server_auth_is_usable(s))
		add_capability(&text, "\nAUTH ", s->cfg->mechanisms);
	add_capability(&text, "\nHELP", "");
	smtp_server_reply(s, 250, NULL, buf_cstr(&text));
	buf_fini(&text);
}

static void on_hello(struct smtp_server *s, struct slice args, enum smtp_server_hello hello)
{
	if (!is_helo_name(args)) {
		smtp_server_fault(s, 501, "5.5.4",
		    args.n ? "Not a host name or address literal" : "Host name missing");
		return;
	}
	/* RFC 5321 4.1.4: as RSET. */
	smtp_server_drop(s);
	count_idle_command(s);
	char *name = slice_dup(args);
	smtp_server_set_string(&s->helo, name);
	mem_free(name);
	s->hello = hello;
	if (hello == SMTP_SERVER_HELLO_EHLO)
		put_capabilities(s);
	else
		smtp_server_reply(s, 250, NULL, s->cfg->me);
}

/* --- MAIL, RCPT, DATA --- */

/* Whether the client may send at all; if not, the reply is out. */
static bool is_admitted(struct smtp_server *s)
{
	bool has_auth = s->cfg->mechanisms && *s->cfg->mechanisms;
	if (s->trusted || s->user)
		return true;
	if (smtp_server_auth_is_usable(s))
		smtp_server_fault(s, 530, "5.7.0", "Authentication required");
	else if (has_auth && s->cfg->starttls && !s->tls)
		smtp_server_fault(s, 530, "5.7.0", "Must issue a STARTTLS command first");
	else
		smtp_server_fault(s, 554, "5.7.1", "Relay access denied");
	return false;
}

static void fault_with(struct smtp_server *s, int code, const char *enhanced, const char *text,
    const struct errbuf *eb)
{
	char full[sizeof(eb->text) + 64];
	snprintf(full, sizeof(full), "%s: %s", text, eb->text);
	smtp_server_fault(s, code, enhanced, full);
}

static void ask(struct smtp_server *s, struct smtp_server_action *a,
    enum smtp_server_action_kind kind)
{
	a->kind = s->asked = kind;
	smtp_server_set_state(s, SMTP_SERVER_STATE_ASK);
}

static void ask_mail(struct smtp_server *s, const struct path *path, const struct esmtp_mail *m,
    struct smtp_server_action *a)
{
	s->smtputf8 = m->smtputf8;
	a->path = *path;
	a->size = m->size;
	a->body_8bitmime = m->body_8bitmime;
	a->smtputf8 = m->smtputf8;
	a->ret = m->ret;
	a->envid = m->envid;
	ask(s, a, SMTP_SERVER_ASK_MAIL);
}

static void on_mail(struct smtp_server *s, struct slice args, struct smtp_server_action *a)
{
	bool extended = s->hello == SMTP_SERVER_HELLO_EHLO;
	struct esmtp_mail m;
	struct esmtp_fault fault;
	struct path path;
	struct slice params;
	struct errbuf eb;
	s->mail_refused = !s->in_transaction; /* unless the answer says otherwise */
	if (s->hello == SMTP_SERVER_HELLO_NONE)
		smtp_server_fault(s, 503, "5.5.1", "Send EHLO first");
	else if (s->in_transaction)
		smtp_server_fault(s, 503, "5.5.1", "Nested MAIL command");
	else if (!is_admitted(s))
		return;
	else if (!command_take_keyword(&args, SLICE("FROM:")))
		smtp_server_fault(s, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
	else if (path_parse(args, true, false, &path, &params, &eb))
		fault_with(s, 501, "5.1.7", "Bad sender address", &eb);
	else if (!esmtp_parse_mail(params, extended, &m, &fault))
		smtp_server_fault(s, fault.code, fault.enhanced, fault.text);
	else if (path.is_utf8 && !m.smtputf8)
		smtp_server_fault(s, 553, "5.6.7", "Non-ASCII address needs SMTPUTF8");
	else if (s->cfg->max_message_bytes && m.size > s->cfg->max_message_bytes)
		smtp_server_reply(s, 552, "5.3.4", "Message exceeds the size limit");
	else
		ask_mail(s, &path, &m, a);
}

static size_t rcpts_max(const struct smtp_server *s)
{
	size_t max = s->cfg->max_rcpts ? s->cfg->max_rcpts : RCPTS_MAX;
	/* LMTP owes a reply for each at once: they must fit the output. */
	return s->cfg->lmtp ? MIN(max, (size_t)RCPTS_MAX) : max;
}

static void on_rcpt(struct smtp_server *s, struct slice args, struct smtp_server_action *a)
{
	bool extended = s->hello == SMTP_SERVER_HELLO_EHLO;
	struct esmtp_rcpt r;
	struct esmtp_fault fault;
	struct path path;
	struct slice params;
	struct errbuf eb;
	if (!s->in_transaction) {
		fault_no_mail(s);
	} else if (!command_take_keyword(&args, SLICE("TO:"))) {
		smtp_server_fault(s, 501, "5.5.4", "Syntax: RCPT TO:<address>");
	} else if (path_parse(args, false, true, &path, &params, &eb)) {
		fault_with(s, 501, "5.1.3", "Bad recipient address", &eb);
	} else if (!esmtp_parse_rcpt(params, extended, s->smtputf8, &r, &fault)) {
		smtp_server_fault(s, fault.code, fault.enhanced, fault.text);
	} else if (path.is_utf8 && !s->smtputf8) {
		smtp_server_fault(s, 553, "5.6.7", "Non-ASCII address needs SMTPUTF8");
	} else if (s->rcpts_accepted >= rcpts_max(s) || s->rcpts_refused >= rcpts_max(s)) {
		smtp_server_reply(s, 452, "4.5.3", "Too many recipients");
	} else {
		a->path = path;
		a->orcpt = r.orcpt;
		a->notify = r.notify;
		ask(s, a, SMTP_SERVER_ASK_RCPT);
		return;
	}
	s->rcpts_refused += s->in_transaction;
}

static void on_data(struct smtp_server *s, struct slice args, struct smtp_server_action *a)
{
	if (!s->in_transaction)
		fault_no_mail(s);
	else if (args.n)
		smtp_server_fault(s, 501, "5.5.4", "DATA takes no parameters");
	else if (s->rcpts_accepted)
		ask(s, a, SMTP_SERVER_ASK_DATA);
	else if (s->rcpts_refused)
		smtp_server_reply(s, 554, "5.5.1", "No valid recipients");
	else
		smtp_server_fault(s, 503, "5.5.1", "Send RCPT first");
}

/* --- the rest --- */

static void on_rset(struct smtp_server *s, struct slice args)
{
	if (args.n) {
		smtp_server_fault(s, 501, "5.5.4", "RSET takes no parameters");
		return;
	}
	smtp_server_drop(s);
	count_idle_command(s);
	smtp_server_reply(s, 250, "2.0.0", "OK");
}

static void on_noop(struct smtp_server *s)
{
	count_idle_command(s);
	smtp_server_reply(s, 250, "2.0.0", "OK");
}

static void on_vrfy(struct smtp_server *s, struct slice args)
{
	if (args.n == 0) {
		smtp_server_fault(s, 501, "5.5.4", "Syntax: VRFY address");
		return;
	}
	count_idle_command(s);
	smtp_server_reply(s, 252, "2.5.2", "Cannot verify, send some mail and see");
}

static void on_help(struct smtp_server *s)
{
	count_idle_command(s);
	smtp_server_reply(s, 214, "2.0.0",
	    "Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT STARTTLS AUTH HELP");
}

static void on_unknown(struct smtp_server *s)
{
	smtp_server_fault(s, 500, "5.5.1", "Command unrecognised");
}

/* LMTP has its own greeting and does not know the others (RFC 2033 4.1). */
static void on_greeting(struct smtp_server *s, struct slice args, enum command_verb verb)
{
	if ((verb == COMMAND_LHLO) != s->cfg->lmtp)
		on_unknown(s);
	else
		on_hello(s, args,
		    verb == COMMAND_HELO ? SMTP_SERVER_HELLO_HELO : SMTP_SERVER_HELLO_EHLO);
}

void smtp_server_command(struct smtp_server *s, struct slice line, struct smtp_server_action *a)
{
	struct slice args;
	enum command_verb verb = command_parse(line, &args);
	switch (verb) {
	case COMMAND_EHLO:
	case COMMAND_HELO:
	case COMMAND_LHLO:
		on_greeting(s, args, verb);
		break;
	case COMMAND_MAIL:
		on_mail(s, args, a);
		break;
	case COMMAND_RCPT:
		on_rcpt(s, args, a);
		break;
	case COMMAND_DATA:
		on_data(s, args, a);
		break;
	case COMMAND_RSET:
		on_rset(s, args);
		break;
	case COMMAND_NOOP:
		on_noop(s);
		break;
	case COMMAND_VRFY:
		on_vrfy(s, args);
		break;
	case COMMAND_HELP:
		on_help(s);
		break;
	case COMMAND_STARTTLS:
		smtp_server_on_starttls(s, args, a);
		break;
	case COMMAND_AUTH:
		smtp_server_on_auth(s, args, a);
		break;
	case COMMAND_EXPN:
		smtp_server_fault(s, 502, "5.5.1", "EXPN is not offered");
		break;
	case COMMAND_QUIT:
		smtp_server_reply(s, 221, "2.0.0", "Bye");
		smtp_server_close(s);
		break;
	case COMMAND_FOREIGN:
		/* A web page made a browser talk to us; more of its lines would be commands. */
		smtp_server_bye(s, "4.7.0", "This is not a web server");
		break;
	case COMMAND_NONE:
	default:
		on_unknown(s);
		break;
	}
}
