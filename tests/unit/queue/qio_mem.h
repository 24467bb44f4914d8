/*
 * qio_mem.h - a disk in memory that can lose power.
 *
 * It keeps two images: what a running system sees, and what is on the medium
 * for certain. Writes and truncations of a file since its last sync, and
 * changes of names since the sync of a directory they touch, are pending. At
 * the n-th call the power goes: from then on every call fails. When it comes
 * back (qio_mem_restart) each pending write was done, lost, cut in the middle
 * or is noise, and of the pending changes of names some were done: each one
 * whole or not at all, and none of a file without those before it on that
 * file. Chance decides, from a seed. One thread only.
 */
#ifndef UNIT_QUEUE_QIO_MEM_H
#define UNIT_QUEUE_QIO_MEM_H

#include "base/prng.h"
#include "queue/qio.h"

struct mem_node;
struct mem_change;

struct qio_mem {
	struct qio io;           /* hand this to the queue; any path is the root */
	struct mem_node **nodes; /* [0] is the root */
	size_t nodes_n;
	struct mem_change *changes; /* of names, pending, oldest first */
	size_t changes_n;
	int *fds; /* node of each; -1: closed */
	size_t fds_n;
	unsigned countdown; /* calls until the power goes; 0: it stays */
	unsigned calls;
	bool dead;
	struct prng prng;
};

void qio_mem_init(struct qio_mem *m, uint64_t seed);
void qio_mem_fini(struct qio_mem *m);
void qio_mem_restart(struct qio_mem *m);
/* Files in a directory ("tmp", "corrupt", "queue/00"), as a running system sees it; 0 if it is not
 * there. */
size_t qio_mem_count(const struct qio_mem *m, const char *path);

#endif
