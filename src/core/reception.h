/*
 * reception.h - takes mail from authenticated senders and trusted networks.
 *
 * Owns the listeners and the sessions; each session drives one smtp_server
 * engine over one stream: admission, AUTH, header edits, the queue's commit.
 * The 250 to the final dot is sent when the commit came back good, not before
 * (law 1).
 */
#ifndef CORE_RECEPTION_H
#define CORE_RECEPTION_H

#include "core/mta.h"

/* Binds the listeners of the config. */
int reception_new(struct mta *m, struct reception **r_r, struct errbuf *eb) MUST_USE;
void reception_start(struct reception *r); /* begins to accept */
void reception_drain(struct reception *r); /* closes the listeners; idle sessions get 421 at once */
void reception_abort(struct reception *r); /* closes all sessions */
void reception_free(struct reception **r);
size_t reception_sessions(const struct reception *r);

#endif
