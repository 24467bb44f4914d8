/*
 * smtp_server.h - the server side of SMTP submission, without any I/O.
 *
 * A pull engine: the driver feeds bytes and moments, takes one action after
 * another until NONE, sends what lies in the output buffer, and answers the
 * actions that ask something. No callbacks. While an ASK or COMMIT is
 * unanswered the engine reads nothing further (input waits, bounded), so
 * pipelined commands are answered in order. RFC 5321, 1870, 2034, 2920, 3207,
 * 3461, 4954, 6152, 6409, 6531.
 *
 *   GREETING -> (EHLO) READY -> (MAIL) MAIL -> (RCPT) RCPT -> (DATA) DATA -> (end of data) COMMIT
 * -> READY STARTTLS and AUTH lead from READY back to READY; RSET, EHLO and an ended message back to
 * READY.
 *
 * The engine also stops reading while its output is long; so call next after
 * every feed, answer and tls_done, and whenever output has been sent.
 *
 * Used by the daemon's reception and by the sandbox.
 */
#ifndef PROTO_SMTP_SERVER_H
#define PROTO_SMTP_SERVER_H

#include "base/buf.h"
#include "base/err.h"
#include "proto/path.h"

#define SMTP_SERVER_LINE_MAX      4096  /* command line: 512 by RFC 5321, more for RFC 3461 */
#define SMTP_SERVER_AUTH_LINE_MAX 12288 /* RFC 4954 4 */
#define SMTP_SERVER_INPUT_MAX     (256 * 1024)
#define SMTP_SERVER_CHUNK_MAX     65536 /* largest BODY chunk */

struct smtp_server_config { /* shared by many engines; must outlive them */
	const char *me;
	const char *banner;         /* text after the name in the greeting: "ESMTP Postrider" */
	uint64_t max_message_bytes; /* SIZE; 0: no limit */
	size_t max_rcpts;           /* per message: 452 4.5.3 beyond; 0: 1000 */
	unsigned max_errors;        /* protocol errors before 421 4.7.0 and close; 0: 20 */
	unsigned max_auth_failures; /* 0: 3; then 421 */
	bool starttls;              /* offer it while the session is in clear */
	bool auth_in_clear;         /* allow AUTH without TLS (require_tls = false) */
	bool reject_bare_newlines;
	bool lmtp;              /* LHLO, and one reply per recipient; not used by the daemon */
	const char *mechanisms; /* "PLAIN LOGIN"; "" : AUTH is not offered */
	int command_timeout_ms; /* 0: 5 minutes (RFC 5321 4.5.3.2.7) */
	int data_timeout_ms;    /* between reads of the body; 0: 5 minutes */
};

struct smtp_server_session {   /* facts about the client, set by the driver */
	const char *client_ip; /* text, for replies */
	bool trusted;          /* may send without AUTH */
	bool tls;              /* already inside TLS (implicit) */
};

enum smtp_server_action_kind {
	SMTP_SERVER_NONE = 0,
	SMTP_SERVER_START_TLS, /* send the output, then handshake; answer with smtp_server_tls_done
				*/
	SMTP_SERVER_ASK_AUTH,  /* user, password: answer 235 or 535/454 */
	SMTP_SERVER_ASK_MAIL,  /* path, size, flags ...: answer */
	SMTP_SERVER_ASK_RCPT,  /* path, orcpt, notify: answer */
	SMTP_SERVER_ASK_DATA,  /* body begins if answered 354 */
	SMTP_SERVER_BODY,      /* chunk: take it; no answer */
	SMTP_SERVER_COMMIT,    /* the message is whole: answer 250 only when it is durable */
	SMTP_SERVER_RESET,     /* forget the transaction (RSET, EHLO, refused body, lost client); no
				  answer */
	SMTP_SERVER_CLOSE,     /* send the output, then close */
};

struct smtp_server_action {
	enum smtp_server_action_kind kind;
	struct path path; /* ASK_MAIL, ASK_RCPT; slices valid until the answer */
	const char *user, *password, *mechanism; /* ASK_AUTH; valid until the answer */
	uint64_t size;                           /* ASK_MAIL: SIZE=, 0 if absent */
	bool body_8bitmime;                      /* ASK_MAIL */
	bool smtputf8;                           /* ASK_MAIL */
	int ret;                                 /* ASK_MAIL: 0 absent, 1 FULL, 2 HDRS */
	struct slice envid;                      /* ASK_MAIL: xtext as received */
	struct slice orcpt; /* ASK_RCPT: as received, "rfc822;..." with xtext */
	unsigned notify;    /* ASK_RCPT: bits NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8; 0 absent */
	struct slice chunk; /* BODY: CRLF line ends, dots un-stuffed; valid until the next call */
	bool body_8bit;     /* COMMIT: a byte over 127 was seen */
	bool body_plain;    /* COMMIT: no line starts with a dot; if unset, one may */
};

struct smtp_server;

/* ses is copied; the greeting is held until smtp_server_greet. */
struct smtp_server *smtp_server_new(const struct smtp_server_config *cfg,
    const struct smtp_server_session *ses, struct now now);
void smtp_server_free(struct smtp_server **s);

/* Sends the greeting: code 220, or 421/554 with a text, which closes. text NULL: the banner. */
void smtp_server_greet(struct smtp_server *s, int code, const char *enhanced, const char *text);

/*
 * Input; returns how much was taken (the rest is the caller's to keep and feed again after
 * progress: back-pressure). Plaintext the caller still holds at START_TLS must be fed before the
 * handshake: any byte of it ends the session.
 */
size_t smtp_server_feed(struct smtp_server *s, struct slice in, struct now now);
/*
 * The client is gone, or has sent its last byte: what lies in the input is still worked off, an
 * outstanding answer awaited; then RESET if needed, then CLOSE.
 */
void smtp_server_eof(struct smtp_server *s);
void smtp_server_next(struct smtp_server *s, struct smtp_server_action *a);
/*
 * Answers the outstanding action. code 0: the standard success reply. enhanced NULL: none for
 * 354, else X.0.0. text may have LF for several lines; NULL: a standard one. 421 and 521 end the
 * session.
 */
void smtp_server_answer(struct smtp_server *s, int code, const char *enhanced, const char *text);
/* not ok: CLOSE follows. version is for the caller's own records: the engine has no use for it. */
void smtp_server_tls_done(struct smtp_server *s, bool ok, const char *version);
void smtp_server_tick(struct smtp_server *s, struct now now); /* 421 4.4.2 past the deadline */
/* mono ms; INT64_MAX while we owe the answer. A tick at it may set a later one. */
int64_t smtp_server_deadline(const struct smtp_server *s);
/* The client has been silent for a while: gives back the memory of what has been worked off. */
void smtp_server_rest(struct smtp_server *s);
/* idle: 421 4.3.2 at once; in a transaction: after it ended */
void smtp_server_shutdown(struct smtp_server *s);
struct buf *smtp_server_output(struct smtp_server *s); /* to send; the driver consumes it */

/* Facts so far, for Received and logs. */
const char *smtp_server_helo(const struct smtp_server *s); /* "" before */
const char *smtp_server_user(const struct smtp_server *s); /* authenticated login, "" if none */
/* RFC 3848/6531: "SMTP" "ESMTPSA" "UTF8SMTPSA" ... of the current transaction */
const char *smtp_server_protocol(const struct smtp_server *s);
bool smtp_server_in_transaction(const struct smtp_server *s);

#endif
