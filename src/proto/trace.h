/*
 * trace.h - the Received field and generated Message-IDs (RFC 5321 4.4, RFC 5322 3.6.4).
 *
 * What comes from outside is shown only if it is of the form it claims to be,
 * or with every doubtful byte replaced: nothing a client says can add a line,
 * close a comment or look like another part of the field. The field is ASCII.
 */
#ifndef PROTO_TRACE_H
#define PROTO_TRACE_H

#include "base/buf.h"
#include "base/err.h"

struct trace {
	const char *helo; /* as given; shown only if it is a domain or literal, else "unknown" */
	const char *client_ip; /* "" for our own mail: no "from" */
	const char *user;      /* login; "" none */
	const char *me;
	const char *comment;  /* after "by me": e.g. "Postrider outbound"; "" none */
	const char *protocol; /* with: "ESMTPSA" */
	const char *tls;      /* "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" none */
	const char *id;
	const char *rcpt; /* "for": only when there is a single recipient, else "" */
	int64_t wall_ms;
};

/*
 * Whole field, folded at <= 78 columns where it can, CRLF at each line's end. ERR_TOO_BIG when
 * out is full.
 */
int trace_received(const struct trace *t, struct buf *out) MUST_USE;
int trace_message_id(const char *id, const char *me, struct buf *out) MUST_USE; /* "<id@me>" */

#endif
