/*
 * verdict.h - law 4 as a table: what a reply or a failure means for mail.
 *
 * The one place that decides between delivered, deferred and bounced; used by
 * deliveries, reports, events and metrics alike. Pure.
 *
 * Permanent is only what no retry can mend: 5xx to RCPT; 5xx to MAIL, DATA or
 * the dot; NXDOMAIN; null MX; a loop to ourselves; a need that no host meets;
 * a 521 greeting from every host; expiry. Not permanent: 421, 503, 530, 534,
 * 535, 538 anywhere; 552 to RCPT after an accepted recipient; a refusal of BDAT
 * itself (50z, which the engine marks with ERR_PROTOCOL); every failure of
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

enum verdict_pressure { /* what a host says of how much it gets from us */
	VERDICT_PRESSURE_NONE = 0,
	VERDICT_PRESSURE_CONNECTIONS, /* too many at once, perhaps; of no use to try another one */
	VERDICT_PRESSURE_MAIL,        /* too much, whatever the connection */
};

struct verdict {
	/* For this recipient, if no other host is tried. */
	enum verdict_kind kind;
	/* Another host of the same attempt should be tried first. */
	bool next_host;
	/* BOUNCE holds only if every host of the attempt says so (needs, 521); else DEFER. */
	bool unless_all;
	/* SMTP code to show and store: the reply's, or ours. */
	int code;
	/* Always set; the class is the code's first digit. */
	uint16_t enhanced[3];
	/* Our words; NULL: use the reply's text. Static. */
	const char *text;
	/* The failure is the host's, not the message's: it would have met any other mail too. */
	bool connection_failed;
	/* A reason to slow down, for its site. (Greylisting, full mailboxes and 4xx at large are
	 * none: they are about this mail.) */
	enum verdict_pressure pressure;
};

/*
 * Of one recipient's result, as the engine gives it. other_accepted: some
 * recipient of the transaction had been accepted before, so 552 to RCPT means
 * too many recipients.
 */
void verdict_of_result(const struct smtp_result *r, bool other_accepted, struct verdict *v);

/* What we find out by ourselves. */
enum verdict_finding {
	VERDICT_FINDING_NONE = 0,
	VERDICT_FINDING_NXDOMAIN,   /* 550 5.1.2 */
	VERDICT_FINDING_NULL_MX,    /* 556 5.1.10 */
	VERDICT_FINDING_MX_LOOP,    /* 550 5.4.6 */
	VERDICT_FINDING_NO_ADDRESS, /* 451 4.4.4: MX hosts exist, none has an address */
	VERDICT_FINDING_NO_HOST, /* 451 4.4.4: the domain exists without MX and address; law 4 does
				    not name it */
	VERDICT_FINDING_DNS_FAILED,        /* 451 4.4.3 */
	VERDICT_FINDING_UNDIALABLE,        /* 451 4.4.4: only addresses we never dial */
	VERDICT_FINDING_EXPIRED,           /* 550 5.4.7 */
	VERDICT_FINDING_TOO_MANY_ATTEMPTS, /* 550 5.4.7; the last reply is the diagnostic */
	VERDICT_FINDING_HOSTS_EXHAUSTED,   /* 451 4.4.1: ten addresses or five minutes */
	VERDICT_FINDING_SITE_DOWN,         /* 451 4.4.1 */
	VERDICT_FINDING_LOCAL_ERROR,       /* 451 4.3.0: our disk, our memory, our hook */
	VERDICT_FINDING_DELETED,           /* 554 5.3.0: by the operator */
};

void verdict_of_finding(enum verdict_finding f, struct verdict *v);

#endif
