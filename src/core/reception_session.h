/*
 * reception_session.h - one client of the reception: stream, engine, and the
 * message it is handing over. Private to reception*.c.
 *
 * A session may end (client gone) while its commit or password check is still
 * under way: the commit's ticket and the check then lose their session, the
 * mail does not lose its commit.
 */
#ifndef CORE_RECEPTION_SESSION_H
#define CORE_RECEPTION_SESSION_H

#include "core/auth.h"
#include "core/mta.h"
#include "core/reception.h"
#include "io/listen.h"
#include "io/stream.h"
#include "policy/admission.h"
#include "proto/header.h"
#include "proto/smtp_server.h"

/* Clients beyond max_connections that are told so with a 421 at the same time; further ones are
 * just closed. */
#define RECEPTION_REFUSALS_MAX 100

struct rx_listener;

struct reception {
	struct mta *mta;
	struct rx_listener *listeners;
	size_t listeners_n;
	struct list_node sessions;
	size_t sessions_n;
};

struct session_options {
	const struct conf_listen *listen;
	const char *peer_ip;
	bool trusted;
	const char *refusal; /* greet with 421 and this text; NULL: welcome */
};

struct session_commit; /* a commit under way, outlives the session */

struct session {
	struct mta_work work;
	struct list_node node;
	struct reception *reception;
	struct conf *conf; /* the snapshot of the time it came */
	struct stream *stream;
	struct smtp_server *engine;
	struct smtp_server_config cfg;
	char ip[NETADDR_TEXT_MAX];
	bool trusted;
	bool counted; /* limits_add_address */
	bool implicit_tls, greeted;
	bool starting_tls;   /* 220 to STARTTLS is on its way, or the handshake is */
	bool closing;        /* the engine is done: send what is left, close */
	int64_t rest_at_ms;  /* mono: nothing has come by then: memory is given back */
	int64_t close_at_ms; /* mono: a client that does not take it (or the 220 to STARTTLS) is cut
				off */
	const char *refusal;

	struct queue_msg *msg; /* the transaction; NULL between */
	struct arena arena;    /* of the transaction */
	const char **domains;  /* per recipient, as queue_op_commit wants them */
	size_t domains_n, domains_cap;
	struct header_filter filter;
	bool filtering;   /* filter is initialised */
	struct buf piece; /* edited header on its way to the queue */
	int body_err;     /* first failure of storing it */
	struct session_commit *commit;
	struct auth_check *check;
};

/* Takes fd. */
void session_start(struct reception *r, int fd, const struct session_options *o);
void session_shutdown(struct session *s);
void session_end(struct session *s); /* closes and frees */

/* The message side (reception_message.c): what the engine asks during a transaction. */
void session_on_mail(struct session *s, const struct smtp_server_action *a, struct now now);
void session_on_rcpt(struct session *s, const struct smtp_server_action *a, struct now now);
void session_on_data(struct session *s, struct now now);
void session_on_body(struct session *s, struct slice chunk);
void session_on_commit(struct session *s, const struct smtp_server_action *a, struct now now);
void session_on_reset(struct session *s);
void session_forget_commit(struct session *s);

#endif
