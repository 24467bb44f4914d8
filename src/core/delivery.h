/*
 * delivery.h - one attempt for one item: resolve, dial host after host, speak
 * SMTP, hand the results to the settlement.
 *
 *   RESOLVING -> CONNECTING -> TALKING -> (next host: CONNECTING) -> settled -> QUITTING -> gone
 *
 * An attempt dials at most ten addresses and spends at most five minutes on
 * connecting (design section 6). Private to core; dispatch owns the list.
 */
#ifndef CORE_DELIVERY_H
#define CORE_DELIVERY_H

#include "core/mta.h"
#include "core/resolve.h"
#include "core/settlement.h"
#include "io/stream.h"

struct site;

enum delivery_phase {
	DELIVERY_NONE = 0,
	DELIVERY_RESOLVING,
	DELIVERY_CONNECTING,
	DELIVERY_TALKING,
	DELIVERY_QUITTING, /* settled; only the goodbye is left */
};

struct delivery {
	struct mta_work work;
	struct list_node node;
	enum delivery_phase phase;
	struct conf *conf;
	struct site *site;
	struct queue_item *item; /* NULL once settled */
	struct arena arena;
	const struct route *route;
	enum tls_level level;
	struct resolve *resolve;
	struct resolution *resolution;
	uint8_t order[MX_CANDIDATES_MAX]; /* in which its candidates are dialled */
	size_t at;                        /* in order: the one we are with */
	int64_t connecting_ms;            /* spent so far */
	int64_t connect_began_ms;         /* mono */
	bool in_clear;    /* its handshake failed: the same host again without TLS */
	bool tls_running; /* STARTTLS handshake under way, asked for by the engine */
	struct stream *stream;
	struct smtp_client *client;
	struct attempt_host *host; /* facts about the present host */
	uint64_t body_at;
	struct attempt_rcpt *rcpts; /* of this attempt */
	bool answered;    /* a host had something to say about the mail, or the DNS a final word */
	bool unreachable; /* it failed as any other mail would have */
	bool *temporary;  /* per rcpt: some host failed in a way that is not permanent */
	size_t rcpts_n;
	struct smtp_client_rcpt *wire; /* what is sent to the present host */
	size_t *wire_index;            /* wire[i] is rcpts[wire_index[i]] */
	struct smtp_client_msg msg;
};

void delivery_start(struct mta *m, struct site *site, struct queue_item *item, struct now now);
/* At the end of a drain: the connection is dropped, the item stays queued as it is on disk. */
void delivery_abort(struct delivery *d);

#endif
