/*
 * window.h - how many connections a site takes well, found out from what it does.
 *
 * A window begins small and doubles with each round of successes, up to the
 * limit of the config, as long as nothing speaks against it. When the site
 * refuses one connection while others stand, what stands is the level it
 * takes. From there one more is tried after a patience that doubles each time
 * the site says no (1 s, up to 5 minutes) and gets shorter each time it says
 * yes: a site that takes K sees K, and a dozen refusals an hour. A failure
 * that may be chance (one bad host behind a balancer, a packet lost) must
 * happen more often than connections succeed to count.
 *
 * A site that says it gets too much mail (421 and the like in a transaction)
 * is left in peace for a pause, 2 s up to 5 minutes, that doubles while nothing
 * gets through and halves when much has, be it a little each time; then one
 * connection tries, and the window opens again to half of what it was.
 *
 * Whether the site is up at all is not the window's question. Pure; times are
 * mono ms. `open` is the number of connections that stand (mail can go over
 * them), `busy` that of those over which some is going.
 */
#ifndef POLICY_WINDOW_H
#define POLICY_WINDOW_H

#include "base/defs.h"

#define WINDOW_INITIAL 5

struct window {
	unsigned limit; /* of the config */
	unsigned size;  /* connections, at least 1 */
	unsigned level; /* known to be taken: up to there it grows at once */
	bool probing;   /* it has grown beyond: what comes of the next connection is the answer */
	unsigned doubt; /* failures that may be chance, less successes */
	int64_t patience_ms;
	int64_t grow_at_ms; /* beyond the level: not before */
	int64_t pause_ms;   /* the last one; 0: none yet */
	int64_t resume_at_ms;
	unsigned passed;        /* messages delivered since it was over */
	unsigned passed_in_all; /* since it was made shorter */
};

void window_init(struct window *w, unsigned limit); /* at least 1 */
void window_set_limit(struct window *w, unsigned limit);

/* How many connections may be open now: from 1 to the limit. */
unsigned window_size(const struct window *w);
/* Nothing may be started before; 0 or a time gone by: it may. */
int64_t window_resume_at(const struct window *w);

/* A connection was made, to the point where mail can go over it; it is one of `open`. */
void window_connected(struct window *w, unsigned open, int64_t now_ms);
/* The site has taken a message, over one of those that are busy. */
void window_delivered(struct window *w, unsigned busy, int64_t now_ms);
/* It refused a connection for there are too many (421 in greeting or EHLO). */
void window_refused(struct window *w, unsigned open, int64_t now_ms);
/* A connection could not be made, or broke down: it may be for the same reason. */
void window_failed(struct window *w, unsigned open, int64_t now_ms);
/* It says that it gets too much mail. */
void window_slowed(struct window *w, int64_t now_ms);
/* It answers again, after an outage: all that was learnt may be old. A pause stays in force. */
void window_restart(struct window *w);

/* Until then what the window knows is worth keeping though the site is idle; what is thrown away
 * before is found out again, at the site's cost. */
int64_t window_busy_until(const struct window *w);

#endif
