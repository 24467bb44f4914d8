/*
 * server_case.h - a driver that plays the daemon for one SMTP server session
 * and writes down what happened, for the test_smtp_server_*.c.
 *
 * Transcript: what the server sent, LF for CRLF; "> ..." for each action; a
 * body as one action at its COMMIT. The byte \1 in the input is a barrier:
 * what follows is sent only when all before it has been worked off (a client
 * waiting for the TLS handshake). The driver answers by the names it sees:
 * a local part or user that begins with "deny" 550/535, "defer" 451/454,
 * "close" 421; a body that holds "tempfail" 451.
 */
#ifndef PROTO_SERVER_CASE_H
#define PROTO_SERVER_CASE_H

#include "lib/split_feed.h"
#include "proto/smtp_server.h"

enum server_option {
	SERVER_UNTRUSTED = 1,
	SERVER_TLS = 2,
	SERVER_NO_EHLO = 4, /* else EHLO was given before the input, its reply left out */
	SERVER_HELO = 8,    /* HELO instead */
	SERVER_CLEAR_AUTH = 16,
	SERVER_NO_AUTH = 32,
	SERVER_NO_STARTTLS = 64,
	SERVER_REJECT_BARE = 128,
	SERVER_SMALL = 256, /* 1000 bytes, 2 recipients, 5 errors */
	SERVER_EOF = 512,   /* the client closes behind the input */
	SERVER_LMTP = 1024,
	SERVER_AUTHENTICATED = 2048, /* as user "joe", inside TLS */
};

struct server_case {
	const char *name;
	unsigned options;
	struct slice in;
	const char *expect;
};

extern const struct now SERVER_CASE_NOW;

void server_case_config(struct smtp_server_config *cfg, unsigned options);
/* Greeted, and past EHLO as the options say; output empty. */
struct smtp_server *server_case_open(const struct smtp_server_config *cfg, unsigned options);
/* Feeds text, all of it, with actions taken and answered as they come; appends to log. */
void server_case_feed(struct smtp_server *s, struct slice in, struct buf *log);
/* Takes and answers actions until there are none. */
void server_case_drain(struct smtp_server *s, struct buf *log);

/* split_feed of one case. */
void server_case_run(const struct server_case *c);

#endif
