/*
 * quota.h - may one more message be taken? Blocks and inodes of the spool's
 * filesystem, less what must stay free, less what has been promised to
 * clients or lies in memory and will be written soon.
 *
 * The filesystem is asked at most once a second. Sizes promised (by MAIL's
 * SIZE) count until the second asking after: by then they are on disk, or
 * their bytes are counted as waiting. Loop thread only, but `waiting`.
 */
#ifndef QUEUE_QUOTA_H
#define QUEUE_QUOTA_H

#include "queue/qio.h"

struct quota {
	const struct qio *io;
	int dirfd;          /* borrowed */
	uint64_t min_bytes; /* 0: by percent */
	unsigned min_percent;
	struct qio_space space;
	bool asked;       /* at least once */
	bool known;       /* space has been read */
	int64_t asked_at; /* mono ms */
	uint64_t promised_bytes, promised_before_bytes;
	uint64_t promised_files, promised_before_files;
};

void quota_init(struct quota *q, const struct qio *io, int dirfd, uint64_t min_bytes,
    unsigned min_percent);
uint64_t quota_keep_bytes(
    struct quota *q); /* how much must stay free; asks the filesystem the first time */
/* 0 and the size is promised, or -ENOSPC. waiting_bytes: received, not on disk yet. */
int quota_admit(struct quota *q, uint64_t bytes, uint64_t waiting_bytes, int64_t mono_ms) MUST_USE;

#endif
