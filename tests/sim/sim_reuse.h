/*
 * sim_reuse.h - connections that carry one message after another, as the host
 * at their other end sees them: is each kept within its limits? And what some
 * hosts have against them.
 *
 * The limits are those in force, or that were shortly before: a connection
 * may have been dialled under another configuration.
 */
#ifndef SIM_SIM_REUSE_H
#define SIM_SIM_REUSE_H

#include "sim/sim.h"

enum sim_reuse { /* a host's attitude */
	SIM_REUSE_FINE = 0,
	SIM_REUSE_CLOSES, /* after each message, without a word */
	SIM_REUSE_TIRES,  /* of a connection that is idle for some seconds; may say 421 */
	SIM_REUSE_421,    /* takes some messages; so it answers the next MAIL */
	SIM_REUSE_503,    /* the same */
	SIM_REUSE_DROPS,  /* the same, and hangs up instead */
	SIM_REUSE_DOT,    /* hangs up between a later message and its reply, in its own time */
	SIM_REUSE_SLOW,   /* some replies to the dot take a minute */
	SIM_REUSE_PLAIN,  /* has no PIPELINING */
	SIM_REUSE_N,
};

struct sim_limits { /* of a connection */
	unsigned messages;
	unsigned idle_s, age_s;
};

void sim_reuse_note_limits(const struct sim_limits *l); /* in force from now on */

struct sim_host;

struct sim_arrival {
	uint64_t end; /* byte of the connection */
	int64_t at_ms;
};

struct sim_session {
	struct sim_host *host;
	int64_t dialled_ms;
	int64_t idle_ms; /* since when nothing is to be said; 0: something is */
	unsigned mails;  /* MAIL commands */
	struct sim_arrival *arrivals;
	size_t arrivals_n, arrivals_cap;
	uint64_t arrived, read;
};

void sim_session_begin(struct sim_session *s, struct sim_host *h);
void sim_session_end(struct sim_session *s);
void sim_session_heard(struct sim_session *s, size_t n); /* bytes have arrived; 0: the end */
void sim_session_read(struct sim_session *s, size_t n);  /* of them, worked off */
/* It was a MAIL command, just read. */
void sim_session_mail(struct sim_session *s);
/* It was answered so; of a message that can't know better, or for good. */
void sim_session_answered_mail(struct sim_session *s, int code);
void sim_session_rests(struct sim_session *s); /* the last reply that was owed went out */
void sim_session_took(const struct sim_session *s);
void sim_session_tired(const struct sim_session *s); /* a message was turned away at MAIL */
/* What the host said to MAIL, and what it counts for: only as an answer to the first message of a
 * connection may 421 and 503 be. */
bool sim_reuse_said_to_mail(const struct sim_host *h, int code);

#endif
