/*
 * smtp_client.h - the client side of SMTP and LMTP, without any I/O.
 *
 * A pull engine for one connection: greeting, EHLO (HELO if refused),
 * STARTTLS and EHLO again, AUTH, then one message after another. Commands go
 * out ahead of replies where the server offers PIPELINING: a send cursor and
 * a receive cursor over the same list of steps, neither ever moves back. At
 * the end of each message every recipient has a result: the stage it got to
 * and the reply, or the failure, that decided it. RFC 5321, 1870, 2033, 2034,
 * 2920, 3030, 3207, 3461, 4954, 6152, 6531.
 *
 * Where wanted (overlap) the next message begins while the reply to the end of
 * the one before is still to come: at most two are under way, told in order.
 *
 * Only a body whose dots may have to be stuffed passes through the engine. Any
 * other is lent: it stands in the output as a range of bytes that the driver
 * has, between the commands before and behind it.
 *
 * The engine draws no conclusion (retry? bounce?): that is policy/verdict.
 */
#ifndef PROTO_SMTP_CLIENT_H
#define PROTO_SMTP_CLIENT_H

#include "proto/reply.h"

enum smtp_stage { /* where a reply or a failure belongs; names in events and rules */
	SMTP_STAGE_NONE = 0,
	SMTP_STAGE_DNS,
	SMTP_STAGE_CONNECT,
	SMTP_STAGE_GREETING,
	SMTP_STAGE_EHLO,
	SMTP_STAGE_STARTTLS, /* refusal or failed handshake */
	SMTP_STAGE_AUTH,
	SMTP_STAGE_MAIL,
	SMTP_STAGE_RCPT,
	SMTP_STAGE_DATA,
	SMTP_STAGE_BODY,  /* connection lost while the body was being sent */
	SMTP_STAGE_DOT,   /* after the final dot */
	SMTP_STAGE_LOCAL, /* found by ourselves: policy, expiry, loop */
};

const char *smtp_stage_name(enum smtp_stage s); /* "dns" "connect" ... */

/* Needs of a message that a host did not meet; found before MAIL is sent. */
enum smtp_need {
	SMTP_NEED_NONE = 0,
	SMTP_NEED_SIZE, /* larger than the SIZE it announced: 5.3.4 */
	SMTP_NEED_UTF8, /* SMTPUTF8 not offered: 5.6.7 */
	SMTP_NEED_8BIT, /* reserved: 8-bit content is sent as it is where 8BITMIME is missing */
	SMTP_NEED_TLS,  /* TLS required, not offered or failed: 4.7.x */
	SMTP_NEED_AUTH, /* credentials given, AUTH not offered or no common mechanism: 4.7.0 */
};

struct smtp_result { /* of one recipient, or of the connection */
	enum smtp_stage stage;
	/*
	 * 2yz only with accepted; else a refusal, or code 0: no reply, see err or need. A refusal
	 * with err ERR_PROTOCOL speaks of the command (50z to BDAT), not of the message.
	 */
	struct reply reply;
	int err; /* 0, ERR_CLOSED, ERR_TIMEOUT, ERR_TLS, ERR_PROTOCOL, -ECONNREFUSED ... */
	enum smtp_need need;
	/* it has the message: 2xx to the dot after 2xx to its RCPT; LMTP: its own 2xx */
	bool accepted;
	/*
	 * Nothing is known about the message: the connection ended, or refused it with 421 or 503
	 * to MAIL, before any other answer to it, and it was not the first on this connection, so
	 * what was wrong is this connection and not the host. The end of its body was never in the
	 * output, so the peer can't have it. It can go out over another connection without an
	 * attempt counted; that ends, since CLOSE always follows and the first message of a new
	 * connection is never untried. Stage MAIL; the same for all recipients of the message.
	 */
	bool untried;
};

void smtp_result_init(struct smtp_result *r);
void smtp_result_fini(struct smtp_result *r);
void smtp_result_copy(struct smtp_result *to, const struct smtp_result *from);

enum smtp_tls_mode {
	SMTP_TLS_NEVER = 1,
	SMTP_TLS_MAY,  /* use STARTTLS if offered */
	SMTP_TLS_MUST, /* result need TLS otherwise */
};

struct smtp_client_config { /* copied strings; borrowed until smtp_client_new returns */
	const char *helo;   /* our name */
	bool lmtp;
	bool tls_active; /* implicit TLS: already inside */
	enum smtp_tls_mode tls;
	const char *auth_user, *auth_password; /* NULL: no AUTH */
	const char *auth_mechanism;            /* "" or NULL: best common one */
	bool auth_in_clear_ok;                 /* else credentials are only sent inside TLS */
	bool pipelining;                       /* use it where offered */
	/*
	 * Give READY already when the body of a message has been handed over, if pipelining is in
	 * use (RFC 2920 3.1), not LMTP, and this connection has answered the end of a message
	 * before: a server that breaks on it does so with one message at stake, not two.
	 */
	bool overlap;
	/*
	 * Bodies go out with BDAT where CHUNKING is offered (RFC 3030): lent, in one chunk,
	 * without the round trip of DATA. Not with LMTP, whose hosts are near. To the first
	 * message of a connection with PIPELINING, whose body is up to 64 KiB, the chunk goes out
	 * behind RCPT at once; later ones wait for RCPT to be answered, so that a connection that
	 * turns out dead leaves them untried. What is lost is a check: DATA's 354 shows that
	 * replies are in step, BDAT's 250 does not.
	 */
	bool chunking;

	struct {
		int greeting_ms, ehlo_ms, starttls_ms, auth_ms, mail_ms, rcpt_ms, data_ms, body_ms,
		    dot_ms, rset_ms, quit_ms; /* 0: RFC 5321 4.5.3.2 */
	} timeouts;
};

struct smtp_client_rcpt {
	const char *address;
	const char *orcpt; /* xtext as received, "" if none */
	unsigned notify;   /* as in smtp_server.h */
};

struct smtp_client_msg { /* all borrowed until MSG_DONE */
	const char *sender;
	const struct smtp_client_rcpt *rcpts;
	size_t rcpts_n;
	uint64_t body_bytes;
	const void *body; /* what is lent to the output: the engine never looks at it */
	bool plain;       /* no line of the body starts with a dot, and the last one is whole */
	bool has_8bit;    /* BODY=8BITMIME where offered */
	bool needs_utf8;  /* an address or a header of this message is not ASCII */
	int ret;          /* 0, 1 FULL, 2 HDRS */
	const char *envid;
};

enum smtp_client_action_kind {
	SMTP_CLIENT_NONE = 0,
	SMTP_CLIENT_START_TLS, /* handshake; answer with smtp_client_tls_done */
	/*
	 * smtp_client_send, or smtp_client_quit if no message is under way. With overlap it is
	 * given before MSG_DONE of the message; again behind that if no other was sent.
	 */
	SMTP_CLIENT_READY,
	/*
	 * Of the message sent last, which goes out with DATA and is not known to be plain: the next
	 * piece, smtp_client_body.
	 */
	SMTP_CLIENT_NEED_BODY,
	SMTP_CLIENT_MSG_DONE, /* of the oldest: smtp_client_result of each recipient is final */
	SMTP_CLIENT_CLOSE,    /* send what is in the output if the socket takes it, then close */
};

struct smtp_client;

struct smtp_client *smtp_client_new(const struct smtp_client_config *cfg, struct now now);
void smtp_client_free(struct smtp_client **c);

/* Input from the peer; all is taken (bounded by the reply limits). */
void smtp_client_feed(struct smtp_client *c, struct slice in, struct now now);
enum smtp_client_action_kind smtp_client_next(struct smtp_client *c);

/*
 * What is to be sent, in this order. A body that needs no stuffing is not copied, it is lent: its
 * bytes go out from where the driver has them. They are the driver's to keep until the MSG_DONE of
 * their message, which waits until they have left, or won't any more. Slices are valid until the
 * next call of the engine.
 */
struct smtp_client_output {
	struct slice text;  /* commands, and stuffed bodies */
	const void *body;   /* of the message: as in smtp_client_msg; NULL: none here */
	uint64_t body_at;   /* the first byte of it that has not left */
	uint64_t body_n;    /* bytes of it that are still to leave */
	struct slice after; /* commands behind it; none without one */
};

void smtp_client_output(const struct smtp_client *c, struct smtp_client_output *o);
/* The first n bytes of all that have left. */
void smtp_client_sent(struct smtp_client *c, uint64_t n, struct now now);
uint64_t smtp_client_pending(const struct smtp_client *c); /* bytes of all that */

/*
 * Begins a message; with another under way only at READY. Call it before the
 * connection is ready too if you like: it then starts as soon as the session is
 * (so that a failure of greeting, EHLO, TLS or AUTH becomes the result of its
 * recipients, MSG_DONE follows, then CLOSE).
 */
void smtp_client_send(struct smtp_client *c, const struct smtp_client_msg *msg, struct now now);
/* Messages sent whose MSG_DONE was not given yet: 0 to 2. */
unsigned smtp_client_under_way(const struct smtp_client *c);
/*
 * Body as stored (un-stuffed); the engine stuffs dots. last with n 0 or more
 * ends it. Asks again with NEED_BODY when its output has drained below a window (64 KiB), so
 * pieces of that size keep memory small. Ignored when the session has ended in the meantime.
 */
void smtp_client_body(struct smtp_client *c, struct slice piece, bool last, struct now now);
/*
 * The body can't be read, the one asked for or the one that is lent: the
 * connection is closed without its end; results: stage LOCAL, err -EIO, not
 * accepted.
 */
void smtp_client_body_failed(struct smtp_client *c);

/* err 0, or why it failed: then the result is stage STARTTLS, err ERR_TLS */
void smtp_client_tls_done(struct smtp_client *c, int err, struct now now);
/*
 * The stream failed or ended; err as from the stream (ERR_CLOSED for an orderly
 * end). Undecided recipients get stage and err; MSG_DONE for each message under
 * way, then CLOSE.
 */
void smtp_client_lost(struct smtp_client *c, int err, struct now now);
/*
 * QUIT, then CLOSE without waiting for the reply for long; with a message under
 * way: as lost with ERR_CLOSED. A refused session quits by itself.
 */
void smtp_client_quit(struct smtp_client *c, struct now now);
/* a deadline passed: as lost with ERR_TIMEOUT */
void smtp_client_tick(struct smtp_client *c, struct now now);
int64_t smtp_client_deadline(const struct smtp_client *c); /* mono ms; INT64_MAX: none */

/* of recipient rcpt of the message that MSG_DONE was last given for; valid until the next MSG_DONE
 */
const struct smtp_result *smtp_client_result(const struct smtp_client *c, size_t rcpt);
/* why the session failed; stage NONE if it did not (an idle session that ends has not) */
const struct smtp_result *smtp_client_session_result(const struct smtp_client *c);
bool smtp_client_is_over(const struct smtp_client *c); /* QUIT was said, or it is closed */
/* Greeting, EHLO, TLS, AUTH: all of it went well. */
bool smtp_client_is_established(const struct smtp_client *c);
bool smtp_client_is_secured(const struct smtp_client *c); /* TLS is on */
bool smtp_client_is_authenticated(const struct smtp_client *c);
bool smtp_client_offers_dsn(const struct smtp_client *c);
/*
 * CHUNKING was offered but BDAT answered with 50z: this host, or something before it, does not
 * know it. The message can go out again without chunking, as can all others to this host.
 */
bool smtp_client_refused_chunking(const struct smtp_client *c);

#endif
