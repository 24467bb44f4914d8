/*
 * ledger.h - what the store was asked and what it said, for each queue file's
 * worth of mail (a part): so that after any fault it can be told what may be
 * found, and what must be.
 *
 * A part goes through states: absent, live with what is known of its
 * recipients, gone. Each operation adds the one it wants to reach. Three
 * marks on that row decide everything:
 *
 *     sure   what a loss of power can't take back: found is this one or later
 *     told   what the store has said it reached; with the next sync it is sure
 *     last   what was asked for last
 *
 * So a commit that is acknowledged is sure at once, an outcome as well; the
 * end of a part, and a hold, with the next sync; a commit that was refused is
 * absent, live, absent: the middle one may be found until the store has had
 * its chance to clean up.
 */
#ifndef FAULT_LEDGER_H
#define FAULT_LEDGER_H

#include "queue/queue.h"

enum {
	LEDGER_RCPTS_MAX = 12, /* of a part */
	LEDGER_FIRST_RECORD =
	    9, /* of them, with MANY words: the others' outcome is another record */
};

enum ledger_words { /* of a reply */
	LEDGER_FEW = 0,
	LEDGER_MANY,
	LEDGER_LESS, /* twelve of these are as long as nine of MANY */
};

enum ledger_presence {
	LEDGER_ABSENT = 1,
	LEDGER_LIVE,
	LEDGER_GONE,
};

struct ledger_rcpt {
	enum fate fate;
	unsigned attempts;
	int64_t due_ms, last_ms;
	unsigned reply; /* a number, from which the texts are made; 0: none yet */
};

struct ledger_state {
	enum ledger_presence is;
	struct ledger_rcpt rcpts[LEDGER_RCPTS_MAX];
};

struct ledger_part {
	char id[QUEUE_ID_MAX];
	char domain[32];
	size_t rcpts_n;
	size_t msg; /* parts of one message have the same */
	size_t bytes;
	int64_t arrival_ms;
	struct ledger_state *states;
	size_t states_n, sure, told;
	bool may_be_held[2]; /* by held */
	bool held;           /* as told */
	bool hold_unknown;   /* the last one failed: what it left goes with the next cleaning up */
	size_t report;       /* number of the part that reports its end; 0: none */
	bool found;          /* by the last check, */
	bool has_file;       /* in a queue file */
};

struct ledger {
	struct ledger_part **parts;
	size_t parts_n;
	size_t msgs_n;
};

void ledger_fini(struct ledger *l);
struct ledger_part *ledger_add(struct ledger *l, const char *id, int64_t arrival_ms);
struct ledger_part *ledger_find(const struct ledger *l, const char *id); /* or NULL */

const struct ledger_state *ledger_last(const struct ledger_part *p);
/* A copy of the last state, to be changed: from now on it may be found. */
struct ledger_state *ledger_ask(struct ledger_part *p, enum ledger_presence is);
void ledger_tell(struct ledger_part *p, bool is_sure); /* what was asked last is reached */
void ledger_synced(struct ledger *l, bool all);        /* all: refusals as well */
/* Whoever was told is dead: only what is sure counts. */
void ledger_forget_told(struct ledger *l);
/* Found so for good: neither an earlier nor a later state can come. */
void ledger_settle(struct ledger_part *p, struct ledger_state found);
/* State i as a crash may leave it whose outcome is two records: only the first is there. False: it
 * is one, or sure. */
bool ledger_half(const struct ledger_part *p, size_t i, struct ledger_state *half);

/* A reply and its text: its number, from 1, says all of it. */
unsigned ledger_number(unsigned n, enum ledger_words words);
struct envelope_status ledger_reply(unsigned number);
/* Body bytes of a message from `at` on: *n of them, at least one. */
const char *ledger_body(size_t msg, uint64_t at, size_t *n);

/* NULL if the state is what the envelope says, else what differs. */
const char *ledger_differs(const struct ledger_part *p, const struct ledger_state *s,
    const struct envelope *e);
/* The row of states, with the marks, for a person. */
void ledger_print(const struct ledger_part *p, char *out, size_t max);

#endif
