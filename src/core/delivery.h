/*
 * delivery.h - one attempt for one item: resolve, go to host after host, hand
 * the results to the settlement.
 *
 *   RESOLVING -> PLACING [-> WAITING] -> DIALLING -> TALKING -> settled, gone
 *                   ^---------+-------------+----------+    the next host
 *
 * It goes out on a connection that is open already (pool.h), or has one
 * dialled. A connection that turns out dead, or tired of us, before it said
 * anything about the mail costs nothing: the message goes out on another one.
 * An attempt dials at most ten addresses and spends at most five minutes on
 * connecting (design section 6). Private to core; dispatch owns the list.
 */
#ifndef CORE_DELIVERY_H
#define CORE_DELIVERY_H

#include "core/connection.h"
#include "core/mta.h"
#include "core/resolve.h"
#include "core/settlement.h"

enum delivery_phase {
	DELIVERY_NONE = 0,
	DELIVERY_RESOLVING,
	DELIVERY_PLACING, /* looks for a connection in its next step */
	DELIVERY_WAITING, /* for one of its site to be of use, or to end; or for a rate */
	DELIVERY_DIALLING,
	DELIVERY_TALKING,
};

struct delivery {
	struct mta_work work;
	struct list_node node;
	struct list_node waits; /* struct site.waiting */
	enum delivery_phase phase;
	struct conf *conf;
	struct site *site;
	struct queue_item *item;
	struct arena arena;
	const struct route *route;
	enum tls_level level;
	struct resolve *resolve;
	struct resolution *resolution;
	int64_t began_ms;                 /* mono */
	uint8_t order[MX_CANDIDATES_MAX]; /* in which its candidates are dialled */
	size_t at;                        /* in order: the one we are with */
	int64_t connecting_ms;            /* spent so far */
	int64_t connect_began_ms;         /* mono */
	bool in_clear;                 /* its handshake failed: the same host again without TLS */
	bool placed;                   /* some connection has been tried */
	bool sent;                     /* counted in its site's rate */
	bool wants_fresh;              /* one that was open was dead, or of no use */
	bool first_on_it;              /* the connection was dialled for us */
	bool has_waited;               /* for a connection, since the last */
	struct connection *connection; /* with which we are; else we are among site's unplaced */
	struct attempt_host *host;     /* facts about the present host */
	uint64_t body_at;
	struct attempt_rcpt *rcpts; /* of this attempt */
	bool answered;    /* a host had something to say about the mail, or the DNS a final word */
	bool pressed;     /* a host gets too much mail, it said */
	bool unreachable; /* it failed as any other mail would have */
	bool *temporary;  /* per rcpt: some host failed in a way that is not permanent */
	size_t rcpts_n;
	struct smtp_client_rcpt *wire; /* what is sent to the present host */
	size_t *wire_index;            /* wire[i] is rcpts[wire_index[i]] */
	struct smtp_client_msg msg;
};

void delivery_start(struct mta *m, struct site *site, struct queue_item *item, struct now now);
/* At the end of a drain, its connection gone: the item stays queued as it is on disk. */
void delivery_abort(struct delivery *d);

/* For connection.c; each may free d. */
const struct smtp_client_msg *delivery_message(const struct delivery *d);
/* Its body lies still, and is lent, until its results are taken (delivery_answered). */
void delivery_give_body(struct delivery *d, struct smtp_client *client, struct now now);
void delivery_body_failed(const struct delivery *d, int err); /* to be read */
/* Time goes on while its connection is dialled or secured. */
void delivery_note_connecting(struct delivery *d, struct now now);
/* No session came about; the connection is gone. */
void delivery_unconnected(struct delivery *d, enum smtp_stage stage, int err, const char *detail,
    struct now now);
/* The engine has the results; the connection goes on without d. */
void delivery_answered(struct delivery *d, const struct connection *c, struct now now);
void delivery_left(struct delivery *d); /* the connection is closed, at once */
void delivery_wake(struct delivery *d); /* there may be room; harmless if it does not wait */

#endif
