/*
 * sandbox_smtp.h - the MX hosts of the sandbox: listeners and connections.
 *
 * sandbox_smtp.c moves the bytes (streams, engine, timers); what a host
 * answers is decided in sandbox_session.c. One thread; the step of the loop
 * does the work.
 */
#ifndef TOOLS_SANDBOX_SMTP_H
#define TOOLS_SANDBOX_SMTP_H

#include "base/list.h"
#include "base/map.h"
#include "io/listen.h"
#include "io/stream.h"
#include "proto/smtp_server.h"
#include "tools/sandbox_cast.h"
#include "tools/sandbox_store.h"

#define SANDBOX_CONNECTIONS_MAX 2000
#define SANDBOX_LISTENERS_MAX   256
#define SANDBOX_GREYLIST_MAX    100000

struct sandbox_smtp {
	struct loop *loop;
	struct store *store;
	struct tls_ctx *tls;
	uint16_t port;
	bool verbose;
	struct smtp_server_config with_tls, without_tls;
	struct listener *listeners[SANDBOX_LISTENERS_MAX];
	size_t listeners_n;
	struct list_node conns;
	struct list_node work; /* conns something happened to */
	size_t conns_n;
	unsigned sessions;   /* so far */
	int64_t tick_at_ms;  /* mono: no deadline is earlier */
	struct map greylist; /* sender, recipient, client -> int64_t *: first attempt, mono ms */
	unsigned flaky_count;
};

struct conn {
	struct list_node node, work;
	struct sandbox_smtp *smtp;
	struct stream *stream;
	struct smtp_server *engine;
	struct cast cast; /* of the address it came to */
	unsigned number;
	unsigned transactions; /* so far */
	char client[NETADDR_TEXT_MAX], local[NETADDR_TEXT_MAX];
	unsigned delay_ms;  /* before each reply */
	int64_t send_at_ms; /* mono: when the waiting output may go; 0 not set */
	int64_t
	    close_at_ms; /* mono: a client that does not take the rest is cut off; 0 not closing */
	bool in_body;    /* input is message text */
	bool start_tls;  /* once the 220 is out */
	bool handshake;
	bool mute;           /* reads and never answers */
	bool closing;        /* sends what is left, then closes */
	struct store_tx *tx; /* NULL between */
	struct cast at_data,
	    at_dot; /* who acts there, by the recipients so far; kind NONE: nobody */
};

/* The first listeners are opened here. */
int sandbox_smtp_new(struct sandbox_smtp *s,
    struct errbuf *eb) MUST_USE; /* loop, store, tls, port, verbose are set */
void sandbox_smtp_fini(struct sandbox_smtp *s);
/* Makes sure that somebody listens at a (its port is set here); for CAST_DEAD's address nothing
 * happens. */
int sandbox_smtp_open(struct sandbox_smtp *s, struct netaddr a, struct errbuf *eb) MUST_USE;
void sandbox_smtp_step(struct sandbox_smtp *s, struct now now);

/* Ends: after what is in the output went out; or by saying nothing more. */
void conn_hang_up(struct conn *c, struct now now);
void conn_mute(struct conn *c);

/* sandbox_session.c */
void session_begin(struct conn *c, struct now now);
/*
 * A command line on its way to the engine, with its LF. True: it was dealt with here. Else the
 * engine gets it, perhaps changed in place.
 */
bool session_intercept(struct conn *c, char *line, size_t n, struct now now);
/* In the place of the handshake: garbage, and the end. */
void session_spoil_tls(struct conn *c, struct now now);
/* Works off what the engine asks, until there is nothing more. */
void session_actions(struct conn *c, struct now now);
void session_end(struct conn *c, struct now now);

#endif
