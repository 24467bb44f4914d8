/*
 * verdict.h - law 4 as a table: what a reply or a failure means for mail.
 *
 * The one place that decides between delivered, deferred and bounced; used by
 * deliveries, reports, events and metrics alike. Pure.
 *
 * Permanent is only what no retry can mend: 5xx to RCPT; 5xx to MAIL, DATA or
 * the dot; NXDOMAIN; null MX; a loop to ourselves; a need that no host meets;
 * a 521 greeting from every host; expiry. Not permanent: 421, 503, 530, 534,
 * 535, 538 anywhere; 552 to RCPT after an accepted recipient; every failure of
 * greeting, EHLO, STARTTLS, AUTH, DNS, time or sense; everything else.
 */
#ifndef POLICY_VERDICT_H
#define POLICY_VERDICT_H

#include "proto/smtp_client.h"

enum verdict_kind {
	VERDICT_NONE = 0,
	VERDICT_DELIVERED,
	VERDICT_DEFER,
	VERDICT_BOUNCE,
};

struct verdict {
	enum verdict_kind kind; /* for this recipient, if no other host is tried */
	bool next_host;         /* another host of the same attempt should be tried first */
	bool unless_all; /* kind is BOUNCE only if every host of the attempt says so; DEFER if one
			    failed otherwise (needs, 521) */
	int code;        /* SMTP code to show and store: the reply's, or ours */
	uint8_t enhanced[3]; /* always set; class equals the code's first digit, 4 for a deferral
				and 5 for a bounce of our own finding */
	const char
	    *text; /* our words when there was no reply; NULL: use the reply's text. Static */
	bool connection_failed; /* says something about the host, not the message */
};

/* Of one recipient's result. other_accepted: some recipient of the transaction had been accepted
 * before (552 to RCPT, too many recipients). */
void verdict_of_result(const struct smtp_result *r, bool other_accepted, struct verdict *v);

enum verdict_finding { /* what we find out by ourselves */
	VERDICT_FINDING_NONE = 0,
	VERDICT_FINDING_NXDOMAIN,   /* 550 5.1.2 */
	VERDICT_FINDING_NULL_MX,    /* 556 5.1.10 */
	VERDICT_FINDING_MX_LOOP,    /* 550 5.4.6 */
	VERDICT_FINDING_NO_ADDRESS, /* MX hosts exist, none has an address: 451 4.4.4, deferred;
				       NXDOMAIN of domain itself is the first */
	VERDICT_FINDING_NO_HOST, /* the domain has neither MX nor address, but exists: 550 5.1.2 */
	VERDICT_FINDING_DNS_FAILED,        /* 451 4.4.3 */
	VERDICT_FINDING_UNDIALABLE,        /* only addresses we never dial: 451 4.4.4 */
	VERDICT_FINDING_EXPIRED,           /* 550 5.4.7 */
	VERDICT_FINDING_TOO_MANY_ATTEMPTS, /* intervals used up: 550 5.4.7, with the last reply kept
					      as diagnostic */
	VERDICT_FINDING_HOSTS_EXHAUSTED,   /* ten addresses or five minutes, all without an answer:
					      451 4.4.1 */
	VERDICT_FINDING_SITE_DOWN,         /* 451 4.4.1 */
	VERDICT_FINDING_LOCAL_ERROR,       /* our disk, our memory, our hook: 451 4.3.0 */
	VERDICT_FINDING_DELETED,           /* by the operator */
};

void verdict_of_finding(enum verdict_finding f, struct verdict *v);

#endif
