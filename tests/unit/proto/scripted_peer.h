/*
 * scripted_peer.h - a peer for the client engine that follows a script.
 *
 * Each row of a talk is what the client must have said since the row before,
 * and what the peer answers in one segment. A scenario runs with the peer's
 * bytes whole, one by one, and cut in two at every point; with the message
 * given at the start, and only when the session asks for one; with what the
 * client says taken at once and byte by byte; with bodies given and, if they
 * are plain, lent. All ways must end the same.
 */
#ifndef PROTO_SCRIPTED_PEER_H
#define PROTO_SCRIPTED_PEER_H

#include "proto/smtp_client.h"

#define EOF_HERE     "\001eof"
#define TIMEOUT_HERE "\001timeout"
#define UNREADABLE   "\001unreadable" /* as body: the file can't be read */
#define ROWS_MAX     20
#define MESSAGES_MAX 4
#define ME           "EHLO me.example\r\n"
#define HELLO                                                                                      \
	{                                                                                          \
		"", "220 mx\r\n"                                                                   \
	}
#define QUITS                                                                                      \
	{                                                                                          \
		"QUIT\r\n", "221 bye\r\n"                                                          \
	}

enum config_flag {
	PIPE = 1,
	LMTP = 2,
	TLS_INSIDE = 4,
	AUTH = 8,
	CLEAR_OK = 16,
	LOGIN_ONLY = 32,
	TLS_BROKEN = 64,
	UTF8 = 128,
	EIGHT_BIT = 256,
	DSN = 512,
	SURPLUS = 1024, /* what stands behind a reply must come in the same read */
	OVERLAP = 2048, /* and message n has the sender "n@a.example" */
	CHUNK = 4096,
	PIECES = 8192, /* the body is given byte by byte, if it is given */
};

struct talk {
	const char *client, *server;
};

struct scenario {
	const char *name;
	unsigned flags;
	enum smtp_tls_mode tls; /* 0: NEVER */
	size_t rcpts;           /* 0: 1 */
	int messages;           /* 0: 1 */
	const char *body;       /* NULL: "Hi\r\n" */
	struct talk talk[ROWS_MAX];
	const char *results; /* of every message: "stage code err need accepted;" / */
	const char *session;
};

void scripted_peer_run(const struct scenario *s); /* fails the test when anything differs */

#endif
