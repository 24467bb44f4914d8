/*
 * outage.h - mail behind a site that is down is told of, once per due time.
 *
 * Its senders must learn that it waits, though nothing of it is touched: each
 * item gets a deferred event with the site's last reply. The envelope of mail
 * that is only on disk is read for that, in the background, by a thread of
 * its own and a few at a time. Items that a flush brought in vain go back to
 * their due time without a word.
 */
#ifndef CORE_OUTAGE_H
#define CORE_OUTAGE_H

#include "core/mta.h"
#include "core/site.h"

struct outage *outage_new(struct mta *m);
void outage_free(struct outage **o); /* no read may be under way */
/* The site's lists or health have changed: it is looked at in a step to come, if need be. flush:
 * the number of the last one. */
void outage_note(struct outage *o, struct site *s, uint64_t flush);
/* Bounded work; true if there is more for the next turn. */
bool outage_step(struct outage *o, uint64_t flush, struct now now);

#endif
