/*
 * esmtp_params.h - the parameters behind the address in MAIL and RCPT.
 *
 * SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), AUTH (4954), RET, ENVID,
 * ORCPT and NOTIFY (3461, 6533). Each is validated here and handed on as it
 * was received: xtext stays xtext, so no decoded byte can end up as a line of
 * its own anywhere. What is wrong comes back as the reply to give.
 */
#ifndef PROTO_ESMTP_PARAMS_H
#define PROTO_ESMTP_PARAMS_H

#include "base/slice.h"

#define ESMTP_ENVID_MAX 100 /* RFC 3461 4.4 */
#define ESMTP_ORCPT_MAX 500 /* RFC 3461 4.2 */

struct esmtp_fault { /* texts are static */
	int code;    /* 501 or 555 */
	const char *enhanced;
	const char *text;
};

struct esmtp_mail {
	uint64_t size; /* 0: absent; UINT64_MAX: more than fits */
	bool body_8bitmime;
	bool smtputf8;
	int ret; /* 0 absent, 1 FULL, 2 HDRS */
	struct slice envid;
};

enum esmtp_notify { /* bits; 0: absent */
	ESMTP_NOTIFY_NEVER = 1,
	ESMTP_NOTIFY_SUCCESS = 2,
	ESMTP_NOTIFY_FAILURE = 4,
	ESMTP_NOTIFY_DELAY = 8,
};

struct esmtp_rcpt {
	struct slice orcpt; /* "rfc822;..." */
	unsigned notify;
};

/*
 * text is what follows the address: empty, or a blank and parameters. After HELO (extended false)
 * there are none (RFC 5321 4.1.1.11: 555). False: *fault is the reply.
 */
bool esmtp_parse_mail(struct slice text, bool extended, struct esmtp_mail *m,
    struct esmtp_fault *fault);
/* smtputf8: this transaction has it, so an ORCPT may hold UTF-8. */
bool esmtp_parse_rcpt(struct slice text, bool extended, bool smtputf8, struct esmtp_rcpt *r,
    struct esmtp_fault *fault);

#endif
