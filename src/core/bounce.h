/*
 * bounce.h - makes the report of failed recipients, a message for the queue.
 *
 * Never a report about a report or to the null reverse-path; NOTIFY, RET and
 * ENVID are obeyed (RFC 3461).
 */
#ifndef CORE_BOUNCE_H
#define CORE_BOUNCE_H

#include "core/mta.h"
#include "proto/dsn.h"

#define BOUNCE_ORIGINAL_MAX (64 * 1024) /* a larger original is returned by its header only */

/* Whether this recipient's failure is to be reported to the sender. */
bool bounce_is_due(const struct envelope *env, const struct envelope_rcpt *rcpt);

/* The domain a report goes to, in the arena; NULL when there is none (the sender's is no name:
 * logged). */
const char *bounce_destination(const struct envelope *env, struct arena *arena);

/* The report, for queue_op_add_report or a commit; or an error of the disk, and nothing is left. */
int bounce_make(struct mta *m, const struct queue_mail *mail, const struct dsn_rcpt *rcpts,
    size_t n, struct queue_msg **msg_r) MUST_USE;

#endif
