/*
 * sim_mail.h - the ground truth: every message offered to the daemon, every
 * recipient, and what hosts took or refused.
 *
 * The address of a recipient tells message and number ("r3.m17@d5.test"), the
 * sender's tells the message ("s.m17@d9.test"): so whoever sees an address
 * finds its record.
 */
#ifndef SIM_SIM_MAIL_H
#define SIM_SIM_MAIL_H

#include "base/slice.h"
#include "sim/sim.h"

#define SIM_ID_MAX      40
#define SIM_ADDRESS_MAX 96

struct sim_domain;
struct sim_host;
struct sim_msg;

struct sim_accept { /* a host took it: it answered the dot with 250, or meant to */
	struct sim_accept *next;
	int64_t at_ms;
	int64_t told_ms; /* the 250 arrived at the daemon; INT64_MAX: never; only in the first */
	struct sim_accept *first; /* of the same transaction */
	size_t life;              /* of the daemon that sent it, index of sim.lives */
	const struct sim_host *host;
	bool intact;
	char id[SIM_ID_MAX]; /* of a report: its own message id */
	char *about;         /* of a report: recipients it names, each with a blank behind */
};

struct sim_refusal { /* a host said no to the recipient, or to the message */
	struct sim_refusal *next;
	int64_t at_ms;
	const struct sim_host *host;
	int code;
	bool is_final; /* by law 4 */
};

enum sim_event_kind {
	SIM_EVENT_NONE = 0,
	SIM_EVENT_RECEIVED,
	SIM_EVENT_DELIVERED,
	SIM_EVENT_DEFERRED,
	SIM_EVENT_BOUNCED,
	SIM_EVENT_EXPIRED,
	SIM_EVENT_REJECTED,
	SIM_EVENT_HELD,
	SIM_EVENT_RELEASED,
	SIM_EVENT_DELETED,
	SIM_EVENT_N,
};

struct sim_event { /* a line of the events file */
	struct sim_event *next;
	enum sim_event_kind kind;
	size_t life;
	int64_t wall_ms, at_ms; /* at: the world's time */
	int64_t next_wall_ms;   /* 0: none */
	unsigned attempt;
	int code;
	char id[SIM_ID_MAX];
	char stage[16];
	char ip[16];
	bool is_reply; /* its text is what the host said */
};

struct sim_rcpt {
	struct sim_msg *msg;
	int number; /* -1: the sender, who may get reports */
	struct sim_domain *domain;
	char address[SIM_ADDRESS_MAX];
	struct sim_accept *accepts, *accepts_last;
	struct sim_refusal *refusals;
	struct sim_event *events, *events_last;
	int64_t grey_since_ms; /* first seen by a greylister; 0: never */
	/* from the listing at the end */
	unsigned listed; /* items in which it is pending */
	char listed_state[16];
	int64_t listed_due_ms; /* wall */
};

enum sim_msg_state {
	SIM_MSG_NEW = 0,
	SIM_MSG_NOTHING, /* the dot was never sent */
	SIM_MSG_REFUSED, /* the dot was answered, not with 250 */
	SIM_MSG_UNKNOWN, /* the dot was sent, no answer seen */
	SIM_MSG_ACCEPTED,
};

struct sim_msg {
	unsigned number;
	enum sim_msg_state state;
	int code; /* of the refusal */
	char id[SIM_ID_MAX];
	int64_t done_ms;
	bool null_sender;
	bool login;    /* its submitter logged in */
	unsigned kind; /* of a flow: see sim_submit.h */
	struct sim_rcpt sender;
	struct sim_rcpt *rcpts;
	size_t rcpts_n;
	size_t body_bytes;
};

struct sim_msg *sim_mail_new(size_t rcpts_n, size_t body_bytes, bool null_sender);
void sim_mail_address(struct sim_rcpt *r, struct sim_domain *domain);
size_t sim_mail_count(void);
struct sim_msg *sim_mail_get(size_t number);
struct sim_rcpt *sim_mail_find(struct slice address); /* NULL: none of ours */
/* The body of a message, CRLF lines, not stuffed; the caller frees it. */
char *sim_mail_body(const struct sim_msg *m, size_t *n);

struct sim_accept *sim_mail_accepted(struct sim_rcpt *r, const struct sim_host *h, bool intact);
void sim_mail_refused(struct sim_rcpt *r, const struct sim_host *h, int code, bool is_final);
struct sim_event *sim_mail_event(struct sim_rcpt *r);

#endif
