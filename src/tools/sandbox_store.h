/*
 * sandbox_store.h - what the sandbox keeps: a maildir and a line per transaction.
 *
 * DIR/Maildir/new gets each accepted message, as received, under lines that
 * tell its envelope. DIR/transactions.jsonl gets one JSON object for each
 * transaction, and one for each connection that was cut off before it came to
 * MAIL. Nothing is synced: this is a place to look at mail, not to keep it.
 */
#ifndef TOOLS_SANDBOX_STORE_H
#define TOOLS_SANDBOX_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "tools/sandbox_cast.h"

#define STORE_RCPTS_MAX 1000
#define STORE_FILE_MAX  80

struct store;

int store_open(const char *dir, struct store **st_r, struct errbuf *eb) MUST_USE; /* makes dir */
void store_close(struct store **st);

enum store_outcome {
	STORE_NONE = 0,
	STORE_ACCEPTED,
	STORE_REFUSED, /* by a reply: `code` at `stage` */
	STORE_CLOSED,  /* we hung up */
	STORE_SILENT,  /* we stopped answering */
	STORE_ABORTED, /* the client gave up */
};

struct store_rcpt {
	const char *address;
	struct cast cast;
	unsigned code;
};

struct store_tx { /* one transaction */
	struct arena arena;
	unsigned number; /* within the session, from 1; 0: the session never came to MAIL */
	const char *sender;
	struct store_rcpt *rcpts; /* STORE_RCPTS_MAX; NULL when number is 0 */
	size_t rcpts_n, accepted_n;
	uint64_t bytes;
	enum store_outcome outcome;
	enum cast_stage stage;     /* of the last refusal, hang-up or silence; DOT when accepted */
	unsigned code;             /* the reply given there; 0 none */
	int fd;                    /* the message on its way, or -1 */
	int err;                   /* first failure of writing it */
	char file[STORE_FILE_MAX]; /* its name in the maildir; "" none */
};

struct store_session { /* for the line */
	unsigned number;
	struct cast cast; /* of the address the client came to */
	const char *client, *local, *helo, *tls;
};

void store_tx_init(struct store_tx *tx, unsigned number, struct slice sender);
void store_tx_fini(struct store *st,
    struct store_tx *tx); /* a message not yet committed is dropped */
struct store_rcpt *store_tx_add(struct store_tx *tx,
    struct slice address); /* NULL beyond the maximum */

/* The message: begun, filled, published under Maildir/new. An error sticks and store_message_commit
 * returns it. */
void store_message_begin(struct store *st, struct store_tx *tx, const struct store_session *ses,
    struct now now);
void store_message_add(struct store_tx *tx, struct slice chunk);
int store_message_commit(struct store *st, struct store_tx *tx) MUST_USE;

void store_log(struct store *st, const struct store_tx *tx, const struct store_session *ses,
    struct now now);

#endif
