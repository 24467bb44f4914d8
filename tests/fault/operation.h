/*
 * operation.h - what the loops (test_loops.c) are run over: the table of all
 * that a store does. To add one: a function of a few phrases of world.h, and a
 * line in the table of operations.c.
 */
#ifndef FAULT_OPERATION_H
#define FAULT_OPERATION_H

#include "fault/world.h"

struct operation {
	const char *name;
	void (*prepare)(struct world *w); /* on a sound disk; NULL: nothing */
	void (*act)(struct world *w);     /* while the disk fails */
	bool is_cold;  /* the store is closed in between: it is the start that fails */
	bool is_heavy; /* too long for every kind of fault at every call */
};

extern const struct operation operations[];
extern const size_t operations_n;

#endif
