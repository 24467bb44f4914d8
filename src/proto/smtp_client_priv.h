/*
 * smtp_client_priv.h - what the parts of the client engine share.
 *
 * smtp_client.c holds the session: states, failure, time, the public face;
 * smtp_client_messages.c begins messages and takes their bodies;
 * smtp_client_commands.c writes commands and moves the send cursor;
 * smtp_client_replies.c reads replies, one handler per step, and moves the
 * receive cursor; smtp_client_results.c keeps what became of each recipient.
 *
 *   GREETING -> EHLO [-> HELO] [-> STARTTLS -> TLS -> EHLO] [-> AUTH] -> READY
 *   READY -> MAIL -> RCPT... -> DATA -> BODY -> DOT... -> READY   a message
 *            MAIL, RCPT, DATA -> RSET -> READY                    a refused one
 *                        DATA -> DOT -> READY   354: the body is lent, or nobody
 *                                               was accepted
 *                RCPT -> DOT -> READY           with BDAT there is no DATA
 *                        DOT -> RSET -> READY   BDAT refused (RFC 3030 2)
 *   READY -> QUIT -> CLOSED; a refused session too; every state -> CLOSED
 *
 * The state names the reply we wait for, and speaks of the transaction cur. A
 * message of n recipients has the steps 0 MAIL, 1..n RCPT, n+1 DATA (none with
 * BDAT, which is part of the body); send_at is the first not yet in the output,
 * recv_at the first not yet answered.
 *
 * In DOT all of cur's body is in the output, or has left it. One that is lent
 * stands there as a range, behind the first lent_behind bytes of out.
 *
 * With overlap, the next message is given in DOT. It is the one ahead: its
 * steps go out behind the end of cur's body, and its replies are read once it
 * is cur, behind the reply to the dot. Invariants (client_check):
 *   in MAIL, RCPT and DATA, recv_at < send_at <= n + 2 and is a step of that
 *   name; without PIPELINING send_at - recv_at is 1
 *   recv_at is 0 for the one ahead; it sends steps only in DOT
   a lent body is cur's; it stands in the output only in MAIL and RCPT (if it
   goes out early) and DOT, and cur is not told before it has left
 *   msg is only looked at while its state is MSG_ACTIVE or MSG_WAITING
 *   a decided recipient's result never changes, save by client_desynced
 */
#ifndef PROTO_SMTP_CLIENT_PRIV_H
#define PROTO_SMTP_CLIENT_PRIV_H

#include "proto/dot.h"
#include "proto/sasl.h"
#include "proto/smtp_client.h"

#define CLIENT_WINDOW_BYTES   65536             /* more output than this asks for nothing new */
#define CLIENT_OUTPUT_MAX     ((size_t)1 << 30) /* only our own driver fills it; never reached */
#define CLIENT_CHALLENGES_MAX 8                 /* 334 replies to one AUTH */
#define CLIENT_TXNS           3                 /* two under way and the one told last */

enum client_state {
	CLIENT_NONE = 0,
	CLIENT_GREETING,
	CLIENT_EHLO,
	CLIENT_HELO,
	CLIENT_STARTTLS,
	CLIENT_TLS, /* the driver does the handshake */
	CLIENT_AUTH,
	CLIENT_READY,
	CLIENT_MAIL,
	CLIENT_RCPT,
	CLIENT_DATA,
	CLIENT_BODY,
	CLIENT_DOT, /* LMTP: once per accepted recipient */
	CLIENT_RSET,
	CLIENT_QUIT,
	CLIENT_CLOSED,
	CLIENT_STATES
};

enum client_msg_state {
	MSG_NONE = 1, /* none was given yet, or the driver has seen MSG_DONE */
	MSG_WAITING,  /* given before the session is ready */
	MSG_ACTIVE,
	MSG_FENCED,  /* all is decided if the reply to RSET shows that replies are in step */
	MSG_DECIDED, /* MSG_DONE is to be given */
};

struct client_caps { /* of the last EHLO; nothing before it counts (RFC 3207 4.2) */
	bool pipelining, mime8bit, smtputf8, starttls, dsn, size, chunking;
	uint64_t size_max; /* 0: no limit announced */
	struct buf auth;   /* mechanisms, blank-separated */
};

struct client_rcpt_state {
	struct smtp_result result;
	bool accepted; /* 2xx to its RCPT */
	bool decided;
};

struct client_txn { /* a mail transaction: one message (RFC 5321 3.3) */
	enum client_msg_state state;
	struct smtp_client_msg msg;
	struct client_rcpt_state *rcpts; /* the results outlive msg */
	size_t rcpts_n;
	size_t accepted_n; /* undecided and accepted at RCPT */
	size_t dot_at;     /* LMTP: no accepted recipient before it lacks its reply */
	size_t send_at, recv_at;
	bool first; /* no other was begun on this connection before it */
	bool pipelined;
	bool overlapped; /* begun behind the body of another */
	bool mail_refused;
	bool chunking;   /* BDAT in the place of DATA */
	bool early;      /* its body goes out behind RCPT, before that is answered */
	bool body_ended; /* all of it is, or was, in the output */
};

struct smtp_client {
	/* config; strings are ours */
	char *helo, *auth_user, *auth_password, *auth_mechanism;
	bool lmtp, pipelining_wanted, overlap_wanted, chunking_wanted, auth_in_clear_ok;
	enum smtp_tls_mode tls;
	int timeout_ms[CLIENT_STATES];

	/* session */
	enum client_state state;
	struct now now; /* of the last call that brought one */
	int64_t deadline_at;
	struct client_caps caps;
	bool secured, authenticated, established;
	bool start_tls_given, ready_given, body_asked, close_given;
	struct sasl *sasl;
	int challenges;
	bool sasl_done;
	struct smtp_result session;

	/* the wire */
	struct buf out;
	bool out_secret;    /* out has held credentials: wiped when drained */
	size_t lent_behind; /* bytes of out that leave before the lent body does */
	uint64_t lent_at, lent_n;
	uint64_t out_mark; /* what was to be sent when progress was last looked at */
	struct reply reply;
	struct reply_parser parser;

	/* messages: a ring of the one told last and those under way */
	struct client_txn txns[CLIENT_TXNS];
	unsigned oldest;    /* under way; where the next one goes if there is none */
	unsigned under_way; /* 0 to 2 */
	struct client_txn *cur;
	bool began_one;     /* some MAIL went into the output */
	bool completed_one; /* some end of a body was answered as it should be */
	bool chunking_refused;
	struct dot_encoder dot; /* of cur's body, and the next two */
	size_t bdat_line_bytes; /* of cur; 0: not yet put out */
	size_t behind_bytes;    /* put out behind the end of cur's body, for the one ahead */
};

/* smtp_client.c */
void client_set_state(struct smtp_client *c, enum client_state to);
enum smtp_stage client_stage(const struct smtp_client *c);
bool client_is_in_message(const struct smtp_client *c); /* MAIL, RCPT, DATA */
/* Bytes to be sent up to the end of cur's body. */
uint64_t client_own_output(const struct smtp_client *c);
/* The session is over because of this; undecided recipients share it. polite: QUIT first. */
void client_fail(struct smtp_client *c, const struct smtp_result *why, bool polite);
void client_fail_err(struct smtp_client *c, enum smtp_stage stage, int err);
/* By the last reply; an unexpected 2yz or 3yz is no refusal, so it becomes ERR_PROTOCOL. */
void client_fail_reply(struct smtp_client *c, enum smtp_stage stage, bool polite);
/*
 * Replies and commands don't match. Pipelined, refusals of the message that
 * came before may have been meant for others: they are taken back.
 */
void client_fail_out_of_step(struct smtp_client *c, enum smtp_stage stage);
/* With the last reply if it is a refusal. */
void client_fail_need(struct smtp_client *c, enum smtp_stage stage, enum smtp_need need);
void client_wipe_buf(struct buf *b);
void client_forget_secrets(struct smtp_client *c);

/* smtp_client_messages.c */
void client_become_ready(struct smtp_client *c); /* begins, or goes on with, the one ahead */
/* Given but not yet what the state speaks of: waits, or sends ahead of its replies. Or NULL. */
struct client_txn *client_ahead(struct smtp_client *c);
bool client_may_overlap(const struct smtp_client *c);
void client_lend_body(struct smtp_client *c);      /* cur's, into the output */
void client_lent_left(struct smtp_client *c);      /* all of it */
void client_body_ended(struct smtp_client *c);     /* its reply is what we wait for now */
bool client_can_tell(const struct smtp_client *c); /* the oldest is decided, and let go of */
void client_tell(struct smtp_client *c);           /* it is told now */
void client_fail_messages(struct smtp_client *c, const struct smtp_result *why);
void client_check(struct smtp_client *c); /* the invariants above */

/* smtp_client_commands.c: append to the output */
void client_put_bdat(struct smtp_client *c, uint64_t n);
void client_put_hello(struct smtp_client *c, bool helo);
void client_put_line(struct smtp_client *c, const char *line);
void client_put_auth(struct smtp_client *c, const char *mechanism, const struct buf *initial);
void client_put_auth_answer(struct smtp_client *c, const struct buf *answer);
void client_pump(struct smtp_client *c, struct client_txn *t); /* the steps it may send now */
bool client_msg_is_clean(const struct smtp_client_msg *m);     /* no text of it could add a line */

/* smtp_client_replies.c */
void client_on_reply(struct smtp_client *c);

/* smtp_client_results.c */
void client_results_begin(struct client_txn *t, size_t n);
void client_results_free(struct client_txn *t);
/* The session's reply decides recipient i of cur at a stage. */
void client_decide(struct smtp_client *c, size_t i, enum smtp_stage stage);
void client_decide_rest(struct client_txn *t, const struct smtp_result *as);
void client_desynced(struct client_txn *t);

#endif
