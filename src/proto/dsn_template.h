/*
 * dsn_template.h - the operator's bounce templates (etc/bounce/failed.txt):
 * headers, a blank line, a body; LF or CRLF; variables in braces.
 *
 * Variables: {pid} {date} {me} {from} {to} {msgid} {reason} and {subject}
 * {recipients} {queue_id}, see dsn_template_vars; {extended_reason} is another
 * name of {reason}, for templates that come from Haraka. An unknown variable is
 * an error with its line; a brace that starts no name ("{ " or "{}") stays text.
 * Headers are ASCII, the body is UTF-8.
 */
#ifndef PROTO_DSN_TEMPLATE_H
#define PROTO_DSN_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"

#define DSN_TEMPLATE_BYTES_MAX 65536

struct dsn_template;

/* all non-NULL; values from outside may hold any byte: CR and LF become blanks in the headers */
struct dsn_template_vars {
	const char *pid, *date, *me, *from, *to, *msgid, *reason, *subject, *recipients, *queue_id;
};

/* *line_r: where the error is, from 1 */
int dsn_template_parse(struct slice text, struct dsn_template **t_r, int *line_r,
    struct errbuf *eb) MUST_USE;
const struct dsn_template *dsn_template_builtin(void); /* the same text as etc/bounce/failed.txt */
void dsn_template_free(struct dsn_template **t);
/*
 * Header lines (CRLF; without those the report sets itself: MIME-Version, Content-*,
 * Auto-Submitted, In-Reply-To, References), then separately the body, CRLF. Of From, To, Subject,
 * Date and Message-ID the template's own win; dsn_template_has_header tells.
 */
int dsn_template_headers(const struct dsn_template *t, const struct dsn_template_vars *v,
    struct buf *out) MUST_USE;
int dsn_template_body(const struct dsn_template *t, const struct dsn_template_vars *v,
    struct buf *out) MUST_USE;
bool dsn_template_has_header(const struct dsn_template *t, const char *name);

#endif
