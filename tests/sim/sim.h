/*
 * sim.h - the simulated world: time, chance, events, and what happened.
 *
 * tests/sim/ links in the place of src/io (the same functions) and runs the
 * whole daemon against hosts, submitters, a DNS and a disk of its own making,
 * in one thread and in virtual time. Everything is decided by one generator,
 * so a seed and a commit are a run. src/io's functions name no world, so
 * there is exactly one, `sim`; each run has a process of its own.
 *
 * The world never calls the daemon from inside one of its calls: it posts a
 * struct sim_call (sim_loop.h), which the loop runs in its next turn, like the
 * real one.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <setjmp.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/prng.h"

#define SIM_SECOND ((int64_t)1000)
#define SIM_MINUTE (60 * SIM_SECOND)
#define SIM_HOUR   (60 * SIM_MINUTE)
#define SIM_DAY    (24 * SIM_HOUR)

struct sim_timer { /* embed; at_ms is the world's time */
	int64_t at_ms;
	uint64_t tie; /* chance decides between events of one instant */
	size_t slot;  /* in the heap, from 1; 0: not set */
	void (*fn)(struct sim_timer *t);
};

enum sim_break { /* sabotage, to see that the checker notices */
	SIM_BREAK_NONE = 0,
	SIM_BREAK_SYNC,       /* syncs of the journal do nothing */
	SIM_BREAK_FILESYNC,   /* syncs of queue files do nothing */
	SIM_BREAK_DIRSYNC,    /* syncs of directories do nothing */
	SIM_BREAK_SETTLE,     /* some files of finished mail are not removed */
	SIM_BREAK_COMPLETION, /* some finished jobs are never reported back */
	SIM_BREAK_TWICE,      /* some replies to the dot are lost, though the peer believes not */
	SIM_BREAK_EARLY,      /* the queue is flushed, though nobody asked */
	SIM_BREAK_LATE,       /* some questions to the DNS are never answered */
	SIM_BREAK_BODY,       /* a byte of some bodies changes on its way through the disk */
	SIM_BREAK_LIMIT,      /* the daemon is configured with more connections than allowed */
	SIM_BREAK_EVENT,      /* some event lines get lost */
	SIM_BREAK_LOSE,       /* a queue file vanishes while the daemon is down */
	SIM_BREAK_RECORD,     /* some writes to the journal are forgotten */
	SIM_BREAK_SCHEDULE,   /* the daemon is configured with another retry schedule */
	SIM_BREAK_OUTCOME,    /* some outcomes in queue files are not written */
	SIM_BREAK_LEAK,       /* a block of memory is never freed */
	SIM_BREAK_PERMANENT,  /* some 4xx replies reach the daemon as 5xx */
	SIM_BREAK_REPORT,     /* some reports get lost at the host that took them */
	SIM_BREAK_TTL,        /* answers of the DNS last longer than the DNS meant */
	SIM_BREAK_FORGET,     /* and some not at all */
	SIM_BREAK_STALE, /* what a host says of a connection reaches the daemon as of the mail */
	SIM_BREAK_WORN,  /* the daemon is configured for more messages over a connection */
	SIM_BREAK_AGE,   /* for older connections */
	SIM_BREAK_IDLE,  /* for longer idle ones */
	SIM_BREAK_RATE,  /* the daemon is configured with higher rates than allowed */
	SIM_BREAK_FAIR,  /* those who wait for their turn are the same as who has sent much */
	SIM_BREAK_N,
};

enum sim_end { /* how an incarnation of the daemon ended */
	SIM_END_NONE = 0,
	SIM_END_STOP,  /* orderly */
	SIM_END_KILL,  /* process gone, disk as it was seen */
	SIM_END_POWER, /* process gone, disk as it was synced */
	SIM_END_FAIL,  /* it refused to start */
};

struct sim_life { /* one incarnation */
	int64_t begin_ms, end_ms;
	int64_t wall_offset_ms;
	enum sim_end end;
	size_t events_end; /* bytes of the events file when it was over */
};

struct sim_era { /* between jumps of the clock and starts */
	int64_t begin_ms;
	size_t events_begin; /* bytes of the events file */
	int64_t wall_offset_ms;
};

#define SIM_LIVES_MAX 512
#define SIM_ERAS_MAX  1024

struct sim {
	uint64_t seed;
	struct prng rng;
	int64_t now_ms; /* since the world began; what the daemon sees as monotonic */
	int64_t wall_offset_ms;
	enum sim_break broken;
	bool verbose;
	unsigned shards; /* of the daemon; 0: by chance */
	bool calm;       /* nothing fails by chance, disk and hosts answer within some ms */

	struct sim_timer **heap; /* [1..heap_n] */
	size_t heap_n, heap_cap;

	struct sim_life lives[SIM_LIVES_MAX];
	size_t lives_n;
	struct sim_era eras[SIM_ERAS_MAX];
	size_t eras_n;
	bool alive; /* a daemon runs */
	jmp_buf crash;
	unsigned violations;
	uint64_t steps;     /* turns of the loops, all lives */
	uint64_t digest;    /* of the trace: two runs of a seed must agree */
	char directory[64]; /* real files: config and events */
};

extern struct sim sim;

/* --- chance --------------------------------------------------------------------- */

uint64_t sim_below(uint64_t n);              /* 0 <= x < n */
int64_t sim_between(int64_t lo, int64_t hi); /* both included */
bool sim_chance(unsigned percent);
bool sim_permille(unsigned permille);
uint64_t sim_hash(uint64_t a, uint64_t b); /* stable choice, independent of the order of events */

/* --- time and events -------------------------------------------------------------- */

int64_t sim_wall_ms(void);
void sim_timer_init(struct sim_timer *t, void (*fn)(struct sim_timer *t));
void sim_timer_set(struct sim_timer *t, int64_t at_ms);
void sim_timer_in(struct sim_timer *t, int64_t delay_ms);
void sim_timer_cancel(struct sim_timer *t);
int64_t sim_next_event(void); /* INT64_MAX: none */
void sim_run_events(void);    /* what is due now, or the first part of it */
/* Time passes without a daemon until the given instant. */
void sim_pass(int64_t until_ms);

/* --- record ------------------------------------------------------------------------ */

/* A line of the trace; part of the digest, shown if verbose. */
void sim_trace(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* A law was broken. */
void sim_violation(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The daemon dies here and now; never returns. Only while it lives. */
void sim_die(enum sim_end how) NORETURN;

/* --- memory (sim_mem.c, in the place of base/mem.c) ---------------------------------- */

enum sim_side {
	SIM_SIDE_WORLD = 0,
	SIM_SIDE_DAEMON,
};

/* Whose allocations follow; returns whose they were. */
enum sim_side sim_mem_side(enum sim_side side);
size_t sim_mem_bytes(void); /* the daemon's, at present */
size_t sim_mem_blocks(void);
uint64_t sim_mem_calls(void); /* for a block, of the daemon so far */
void sim_mem_drop(void);      /* frees all that is the daemon's: it has died */

static inline void sim_side_restore(enum sim_side *side)
{
	sim_mem_side(*side);
}

/* To open a function that the daemon calls: what it allocates is the world's. */
#define SIM_WORLD_SIDE                                                                             \
	enum sim_side sim_side_before __attribute__((cleanup(sim_side_restore))) UNUSED =          \
	    sim_mem_side(SIM_SIDE_WORLD)

#endif
