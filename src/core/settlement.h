/*
 * settlement.h - from the results of an attempt to the fate of recipients:
 * outcomes in the queue, event lines, log lines, the report to the sender.
 *
 * Order, and what a crash in between leaves:
 *   1. the event lines are written
 *        crash: written again after the restart; never missing
 *   2. the outcomes are recorded, or the file goes away, and the report (if
 *      recipients failed for good) is committed: one operation
 * A disk that refuses 2 is asked again until it takes it, with the same
 * outcomes; while it does so for many, dispatch starts nothing more.
 */
#ifndef CORE_SETTLEMENT_H
#define CORE_SETTLEMENT_H

#include "core/mta.h"
#include "policy/verdict.h"

struct attempt_host { /* with whom we talked */
	char host[256];
	char ip[NETADDR_TEXT_MAX];
	uint16_t port;
	const char *mode; /* "smtp" "lmtp" */
	bool connected;
	bool has_tls;
	struct tls_info tls;
	bool authenticated;
};

struct attempt_rcpt { /* what an attempt found out about one recipient */
	size_t index; /* in the item's envelope */
	bool decided; /* no further host is to be tried */
	struct verdict verdict;
	enum smtp_stage stage;
	struct smtp_result result;       /* the reply, if there was one */
	const char *text;                /* our words for a finding; "" none */
	const struct attempt_host *host; /* NULL: nobody was asked */
};

/* What is stored and shown of a result; strings from the arena, or as long-lived as the host's. */
void settlement_status(const struct attempt_rcpt *a, struct arena *arena,
    struct envelope_status *st);
/* Takes the ACTIVE item; results are only read during the call. */
void settlement_start(struct mta *m, struct queue_item *item, const struct attempt_rcpt *rcpts,
    size_t n, struct now now);
/* If the item's lifetime is over: expires all its pending recipients (takes the item) and returns
 * true. last: what was heard of its site since, or NULL. */
bool settlement_expire(struct mta *m, struct queue_item *item, const struct envelope_status *last,
    struct now now);
/* At the end: outcomes that the disk refuses are given up; their mail is still queued as it was. */
void settlement_drop_refused(struct mta *m);
/* Once a second: outcomes that only the records of reports hold go to their queue files. */
void settlement_repay(struct mta *m);
/* Puts the ACTIVE item away as it is: HELD, on disk too, if that was asked for. */
void settlement_rest(struct mta *m, struct queue_item *item, struct now now);
/* The operator's delete: all pending recipients, no report. Takes the ACTIVE item, whose mail is
 * loaded. */
void settlement_delete(struct mta *m, struct queue_item *item, struct now now);

#endif
