/*
 * bounce.h - makes the report of failed recipients and hands it to the queue.
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

/*
 * A commit operation for the report, or NULL with *err_r: 0 when none can be
 * sent (the sender's domain is no name: logged), negative when storing it failed.
 */
struct queue_op *bounce_make(struct mta *m, const struct queue_mail *mail,
    const struct dsn_rcpt *rcpts, size_t n, struct now now, int *err_r);

#endif
