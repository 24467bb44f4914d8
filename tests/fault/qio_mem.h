/*
 * qio_mem.h - a disk in memory that can lose power.
 *
 * It keeps two images: what a running system sees, and what is on the medium
 * for certain. Writes and truncations of a file since its last sync, and
 * changes of names since the sync of a directory they touch, are pending. At
 * the n-th call the power goes, or the process is killed: that call takes
 * place or not, from then on every call fails.
 *
 * When the power comes back (qio_mem_restart) each pending write was done,
 * lost, cut, or is torn into sectors some of which are old, zeros or noise;
 * and of the pending changes of names some were done: each one whole or not at
 * all, and none of a file without those before it on that file. Chance
 * decides, from a seed. After a kill alone (qio_mem_revive) everything is as
 * it was seen, and still pending. One thread only.
 */
#ifndef FAULT_QIO_MEM_H
#define FAULT_QIO_MEM_H

#include "base/prng.h"
#include "base/slice.h"
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
	bool dying; /* it is this call during which the power goes */
	struct prng prng;
};

void qio_mem_init(struct qio_mem *m, uint64_t seed);
void qio_mem_fini(struct qio_mem *m);
void qio_mem_restart(struct qio_mem *m);
void qio_mem_revive(struct qio_mem *m);
/* What a failed sync means: what was written to the file since its last one is on the medium or
 * not, and no later sync will bring it there; the cache may still show it. `disk` is the
 * qio_mem. */
void qio_mem_lose_unsynced(void *disk, int fd);

/* Files in a directory ("tmp", "corrupt", "queue/00"), as a running system sees it; 0 if it is not
 * there. */
size_t qio_mem_count(const struct qio_mem *m, const char *path);
/* Every file with its path. */
typedef void qio_mem_file_fn(void *arg, const char *path, struct slice bytes);
void qio_mem_walk(const struct qio_mem *m, qio_mem_file_fn *fn, void *arg);
struct slice qio_mem_read(const struct qio_mem *m, const char *path); /* a file; borrowed */
/* A file as another put it there, durable; made if its directory is there. */
void qio_mem_write(struct qio_mem *m, const char *path, struct slice bytes);

#endif
