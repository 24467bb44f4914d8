/*
 * sim_disk.h - the disk under the queue: qio_mem (tests/fault), with
 * times of trouble and the daemon's death at any call.
 */
#ifndef SIM_SIM_DISK_H
#define SIM_SIM_DISK_H

#include "queue/qio.h"
#include "sim/sim.h"

enum sim_trouble {
	SIM_TROUBLE_NONE = 0,
	SIM_TROUBLE_EIO,   /* calls fail now and then */
	SIM_TROUBLE_SPACE, /* nothing more fits */
};

/* Small, so that segments of the journal are: it writes each with zeros once. */
void sim_disk_init(uint64_t seed, uint64_t bytes);
const struct qio *sim_disk_qio(void);
void sim_disk_trouble(enum sim_trouble kind); /* NONE: it is over */
/* Whether there was trouble at some time between the two, give or take the daemon's own retries. */
bool sim_disk_was_troubled(int64_t from_ms, int64_t to_ms);
/* Not all the time between the two, by the same measure. */
bool sim_disk_was_well(int64_t from_ms, int64_t to_ms);
bool sim_disk_is_troubled(void);
/* The daemon dies at the n-th call from now; 0: not. */
void sim_disk_arm(unsigned calls, enum sim_end how);
/* The daemon is gone: descriptors close; power: what was not synced meets its fate. */
void sim_disk_drop(bool power);
/* Files in a folder of the spool ("tmp", "corrupt"), and in all folders of queue files. */
size_t sim_disk_files(const char *folder);
size_t sim_disk_queue_files(void);
/* From now on told of each call that changes a file or its name, with that name. */
typedef void sim_disk_change_fn(const char *name);
void sim_disk_watch(sim_disk_change_fn *fn);
void sim_disk_lose_one(void); /* sabotage: a queue file is gone */

#endif
