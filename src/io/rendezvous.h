/*
 * rendezvous.h - the other shards stand still while the first does something
 * to what is theirs.
 *
 * For what an operator asks for now and then: listings, holds, a new config.
 * The first loop calls rendezvous_stop_others in a turn; it wakes the others
 * and returns once each of them waits inside rendezvous_check. Until
 * rendezvous_go it may then call whatever is of their threads as if it were
 * on them; they go on, in the turn in which they were stopped, with all that
 * it wrote.
 *
 * All mail waits for as long as that takes, and for the turn of the slowest.
 * Nobody may hold, where it is stopped or stops others, what somebody else
 * needs to get to the end of a turn: no lock, no answer owed.
 */
#ifndef IO_RENDEZVOUS_H
#define IO_RENDEZVOUS_H

#include "io/loop.h"

struct rendezvous;

/* loops[0] is the first; all of them are borrowed. With n = 1 nothing ever waits. */
struct rendezvous *rendezvous_new(struct loop *const *loops, size_t n);
void rendezvous_free(struct rendezvous **r); /* once the others are joined, or never ran */

/* By each of the others in each turn, before its step touches anything; costs next to nothing
 * while nobody asks. */
void rendezvous_check(struct rendezvous *r);
/* By one of the others in its last turn, after everything else but loop_stop: it counts as
 * standing still for good, and what it owns is the first's. */
void rendezvous_leave(struct rendezvous *r);

/* By the first in a turn of it, not while they stand already; the others must have been started
 * with loop_run_in_thread. */
void rendezvous_stop_others(struct rendezvous *r);
void rendezvous_go(struct rendezvous *r);

#endif
