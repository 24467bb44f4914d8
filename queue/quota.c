/*
 * quota.c - free-space watermarks.
 */
#include "queue/quota.h"

#include <errno.h>

#include "base/log.h"

#define ASK_EVERY_MS    1000
#define PERCENT_DEFAULT 5
#define MIN_BYTES_MAX   (UINT64_C(1) << 30)
#define MIN_INODES_MAX  (UINT64_C(1) << 16) /* as many as files of 16 KB fill MIN_BYTES_MAX */

void quota_init(struct quota *q, const struct qio *io, int dirfd, uint64_t min_bytes,
    unsigned min_percent)
{
	*q = (struct quota){ .io = io, .dirfd = dirfd, .min_bytes = min_bytes };
	q->min_percent = min_percent == 0 ? PERCENT_DEFAULT : MIN(min_percent, 100u);
}

static void ask(struct quota *q, int64_t mono_ms)
{
	if (q->asked && mono_ms - q->asked_at < ASK_EVERY_MS && mono_ms >= q->asked_at)
		return;
	q->asked = true;
	q->asked_at = mono_ms;
	q->promised_before_bytes = q->promised_bytes;
	q->promised_before_files = q->promised_files;
	q->promised_bytes = q->promised_files = 0;
	int err = q->io->space(q->io->arg, q->dirfd, &q->space);
	if (err < 0) /* the last answer, or none, must do: a commit will tell the truth */
		log_warn("queue", "can't read the free space of the spool: %s", err_text(err));
	else
		q->known = true;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t percent_of(uint64_t whole, unsigned percent, uint64_t max)
{
	return MIN(whole / 100 * percent, max);
}

static uint64_t keep_bytes(const struct quota *q)
{
	return q->min_bytes > 0 ? q->min_bytes
				: percent_of(q->space.bytes, q->min_percent, MIN_BYTES_MAX);
}

uint64_t quota_keep_bytes(struct quota *q)
{
	struct qio_space space;
	if (q->min_bytes == 0 && !q->known && q->io->space(q->io->arg, q->dirfd, &space) == 0)
		q->space = space;
	return keep_bytes(q);
}

int quota_admit(struct quota *q, uint64_t bytes, uint64_t waiting_bytes, int64_t mono_ms)
{
	ask(q, mono_ms);
	if (!q->known)
		return 0;
	uint64_t usable = minus(q->space.bytes_free, keep_bytes(q));
	usable = minus(usable, waiting_bytes);
	usable = minus(usable, q->promised_bytes);
	usable = minus(usable, q->promised_before_bytes);
	if (usable == 0 || usable < bytes)
		return -ENOSPC;
	uint64_t files = q->promised_files + q->promised_before_files + 1;
	uint64_t keep_inodes = percent_of(q->space.inodes, q->min_percent, MIN_INODES_MAX);
	if (q->space.inodes > 0 && minus(q->space.inodes_free, keep_inodes) < files)
		return -ENOSPC;
	q->promised_bytes += bytes;
	q->promised_files++;
	return 0;
}
