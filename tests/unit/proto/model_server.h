/*
 * model_server.h - a server for the client engine that follows chance.
 *
 * It reads what the client has sent, as much of it as a socket would take,
 * answers each command as the seed will have it, and keeps a record per
 * message of what it said. Messages are told apart by their sender
 * "<number>@a.example"; their bodies must be model_body of that number. What no
 * client may do (a body unasked for, a third message behind two, ...) fails
 * the test.
 */
#ifndef PROTO_MODEL_SERVER_H
#define PROTO_MODEL_SERVER_H

#include "base/buf.h"
#include "base/prng.h"

#define MODEL_MESSAGES 6
#define MODEL_RCPTS    3

struct model_reply {
	int code;     /* 0: never given */
	size_t until; /* the client has it once so many bytes of our replies are fed */
};

struct model_record { /* what was said about one message */
	struct model_reply mail, rcpt[MODEL_RCPTS], data, end, reset;
	bool end_seen; /* the dot, or the last byte of the chunk */
	size_t rcpts;
};

struct model_server {
	struct prng *chance;
	int doubles; /* the how manieth reply is said twice; then 421 is never said; 0: none */
	int said;
	bool pipelining, chunking; /* offered */
	struct buf in;             /* not yet understood */
	struct buf replies;        /* all there ever were */
	struct model_record record[MODEL_MESSAGES];
	int at;       /* number of the message in work; -1: none yet */
	bool in_mail; /* between MAIL and its end */
	bool in_data;
	uint64_t chunk_left;
	bool in_chunk;
	struct buf body;
	size_t accepted; /* recipients */
	bool closing;    /* said 421 or 221: reads nothing any more */
};

void model_server_init(struct model_server *s, struct prng *chance);
void model_server_fini(struct model_server *s);
void model_server_read(struct model_server *s); /* what was added to `in` */
/* Body of message m as stored. */
struct slice model_body(int m);
bool model_body_is_plain(int m); /* as in smtp_client_msg */

#endif
