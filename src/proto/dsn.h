/*
 * dsn.h - writes delivery status notifications (RFC 3464, 3461, 6522, 3834)
 * from a plain description and a template.
 *
 * This writes "failed" reports; a report is one message for all recipients of
 * a message that failed together. The caller decides whether one is due
 * (never about a report, never to a null reverse-path, NOTIFY obeyed) and
 * injects the result.
 */
#ifndef PROTO_DSN_H
#define PROTO_DSN_H

#include "base/buf.h"
#include "base/err.h"
#include "proto/dsn_template.h"

/* For the buffer of a head: room for a template and for 50,000 recipients, each with the longest
 * addresses that SMTP allows, escaped. */
#define DSN_HEAD_MAX (256 * 1024 * 1024)

struct dsn_rcpt {
	const char *address; /* Final-Recipient */
	const char *orcpt;   /* as received: "rfc822;xtext"; "" none */
	const char *status;  /* "5.1.1", always */
	/* folded reply, "550 5.1.1 no such user"; "" if none was received: no Diagnostic-Code.
	 * Of many recipients only the start of each is shown, but all have their fields. */
	const char *diagnostic;
	const char *remote_mta;  /* host name; "" none */
	const char *reason;      /* for people: the reply, or what we found */
	int64_t last_attempt_ms; /* wall; 0 none */
};

struct dsn_report {
	const char *me;
	const char *report_id; /* queue id of the report: boundary, Message-ID */
	const char *sender;    /* to whom it goes: the original reverse-path */
	const char *msgid;     /* original message's id in the queue */
	const char *queue_id;  /* original queue file */
	const char *envid;     /* xtext as received; "" none: decoded here */
	/* header of the original, with brackets, for References and In-Reply-To; "" none */
	const char *original_message_id;
	int64_t arrival_ms;
	int64_t now_ms;
	int pid;
	const struct dsn_rcpt *rcpts;
	size_t rcpts_n;
	bool headers_only; /* RET=HDRS, or the original is larger than the cap */
	/* the original has bytes over 127: Content-Transfer-Encoding: 8bit where it is shown */
	bool original_8bit;
	struct slice original_header; /* its header block, CRLF */
};

/*
 * Writes all up to where the original begins into `head`, and what follows it
 * into `tail`; for headers_only the header block is already in head. Both are
 * appended to, or left as they were when one is full (ERR_TOO_BIG). With
 * report_id unknown to whoever wrote the original, nothing in it can look like
 * the end of a part.
 */
int dsn_write(const struct dsn_report *r, const struct dsn_template *t, struct buf *head,
    struct buf *tail) MUST_USE;

#endif
