/*
 * smtp_server_int.h - what the files of the server engine share; nobody else
 * includes it.
 *
 * smtp_server.c is the engine (life, input, time, replies), smtp_server_cmds.c
 * has a handler per verb, smtp_server_auth.c STARTTLS and AUTH,
 * smtp_server_body.c the message.
 *
 *   START --greet--> COMMAND --STARTTLS--> TLS --done--> COMMAND
 *   COMMAND --AUTH--> AUTH (one response line after another) --> ASK or COMMAND
 *   COMMAND --MAIL, RCPT, DATA--> ASK --answer--> COMMAND, or BODY after DATA
 *   BODY --end of data--> ASK (commit) --answer--> COMMAND; a refused body: COMMAND
 *   any --QUIT, 421, lost--> CLOSING --CLOSE given--> CLOSED
 *
 * Invariants: input is only read in COMMAND, AUTH and BODY; nothing read in
 * clear survives TLS; a RESET that is due goes before every other action.
 */
#ifndef PROTO_SMTP_SERVER_INT_H
#define PROTO_SMTP_SERVER_INT_H

#include "proto/command_parser.h"
#include "proto/dot.h"
#include "proto/sasl.h"
#include "proto/smtp_server.h"

enum smtp_server_state {
	SMTP_SERVER_STATE_NONE = 0,
	SMTP_SERVER_STATE_START, /* the greeting is held */
	SMTP_SERVER_STATE_COMMAND,
	SMTP_SERVER_STATE_AUTH, /* a line of a SASL exchange is next */
	SMTP_SERVER_STATE_ASK,  /* an answer is outstanding: `asked` */
	SMTP_SERVER_STATE_TLS,  /* the driver does the handshake */
	SMTP_SERVER_STATE_BODY,
	SMTP_SERVER_STATE_CLOSING,
	SMTP_SERVER_STATE_CLOSED,
};

enum smtp_server_hello {
	SMTP_SERVER_HELLO_NONE = 0, /* neither yet */
	SMTP_SERVER_HELLO_HELO,
	SMTP_SERVER_HELLO_EHLO, /* or LHLO */
};

struct smtp_server {
	const struct smtp_server_config *cfg;
	char *client_ip;
	bool trusted;
	bool tls;

	enum smtp_server_state state;
	enum smtp_server_action_kind asked; /* in ASK */
	bool reset_due; /* the driver is yet to hear that the transaction is over */
	bool eof;       /* no more input will come */
	bool shutting_down;

	struct buf in;   /* not yet looked at */
	struct buf out;  /* not yet sent */
	struct buf line; /* the command being worked on; slices of actions point here */
	struct command_reader reader;

	enum smtp_server_hello hello;
	char *helo;        /* NULL before */
	char *user;        /* NULL: not authenticated */
	struct sasl *sasl; /* exchange under way */

	bool in_transaction; /* MAIL was accepted */
	bool mail_refused;   /* the last MAIL was; what was pipelined behind it is no mistake */
	bool smtputf8;
	size_t rcpts_accepted;
	size_t rcpts_refused;

	struct dot_decoder dot;
	struct buf chunk;  /* decoded, in the driver's hands */
	bool body_refused; /* the rest is drained */

	unsigned errors;
	unsigned auth_failures;
	unsigned idle_commands; /* NOOP and the like since the last message */

	int64_t now_ms;        /* mono; the last moment we were told */
	int64_t waiting_since; /* mono ms; the client's turn began */
	bool wait_is_stale; /* it began at an answer, whose moment we don't know: at the next one */
};

void smtp_server_set_state(struct smtp_server *s, enum smtp_server_state to);
/* One reply; enhanced NULL: none. LF in text begins a new line. */
void smtp_server_reply(struct smtp_server *s, int code, const char *enhanced, const char *text);
/* A reply to a client's mistake: it counts. */
void smtp_server_fault(struct smtp_server *s, int code, const char *enhanced, const char *text);
/* 421 with our name in front of the text, as RFC 5321 4.2.3 has it, and the end. */
void smtp_server_bye(struct smtp_server *s, const char *enhanced, const char *text);
/* The transaction, if there is one, is over without a message. */
void smtp_server_drop(struct smtp_server *s);
/* The end: RESET if due, then CLOSE. */
void smtp_server_close(struct smtp_server *s);
/* Overwrites what the input buffer holds of bytes already consumed: they had a password. */
void smtp_server_wipe_input(struct smtp_server *s);
/* *to becomes a copy of from, or NULL. */
void smtp_server_set_string(char **to, const char *from);

void smtp_server_command(struct smtp_server *s, struct slice line, struct smtp_server_action *a);

bool smtp_server_auth_is_usable(const struct smtp_server *s);
void smtp_server_on_starttls(struct smtp_server *s, struct slice args,
    struct smtp_server_action *a);
void smtp_server_on_auth(struct smtp_server *s, struct slice args, struct smtp_server_action *a);
void smtp_server_auth_response(struct smtp_server *s, struct slice line,
    struct smtp_server_action *a);
/* The exchange is over without a verdict. */
void smtp_server_auth_stop(struct smtp_server *s);
void smtp_server_auth_answer(struct smtp_server *s, int code, const char *enhanced,
    const char *text);

void smtp_server_body_begin(struct smtp_server *s);
/* False when there is nothing to do without more input. */
bool smtp_server_body_step(struct smtp_server *s, struct smtp_server_action *a);

#endif
