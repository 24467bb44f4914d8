#include "queue/store.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#define MEMORY_MAX_DEFAULT (UINT64_C(64) << 20)
#define JOURNAL_SEED                                                                               \
	UINT64_C(0x6a6f75726e616c) /* so that ids tell nothing of the journal's salts */

static int open_journal(struct store *s, const struct queue_options *opt, struct errbuf *eb)
{
	const struct journal_options o = {
		.segment_bytes = opt->journal_segment_bytes,
		.segments_max = opt->journal_segments_max,
		.keep_bytes = quota_keep_bytes(&s->quota),
		.seed = opt->seed ^ JOURNAL_SEED,
		.age_ms = opt->journal_age_ms,
		.read_only = opt->no_journal,
	};
	return journal_open(&s->journal, &o, &s->spool, eb);
}

int store_open(struct store **s_r, const struct queue_options *opt, struct now now,
    struct errbuf *eb)
{
	const struct qio *io = opt->qio != NULL ? opt->qio : qio_posix();
	struct store *s = mem_zalloc(sizeof(*s));
	*s_r = NULL;
	int err = spool_open(&s->spool, opt->directory, io, eb);
	if (err < 0) {
		mem_free(s);
		return err;
	}
	pthread_mutex_init(&s->lock, NULL);
	s->shards = MAX(opt->shards, 1U);
	s->scanning = s->shards;
	s->home_seed[0] = opt->seed;
	s->pool =
	    body_pool_new(opt->memory_max_bytes > 0 ? opt->memory_max_bytes : MEMORY_MAX_DEFAULT);
	work_init(&s->work, io, opt->seed);
	quota_init(&s->quota, io, s->spool.root, opt->space_min_bytes, opt->space_min_percent);
	qid_source_init(&s->ids, s->spool.epoch, now.wall_ms, opt->seed);
	s->first_ms = s->ids.first_ms;
	work_open(&s->work, s->spool.state);
	err = open_journal(s, opt, eb);
	if (err < 0)
		store_close(&s);
	*s_r = s;
	return err;
}

void store_close(struct store **s_p)
{
	struct store *s = *s_p;
	*s_p = NULL;
	if (s == NULL)
		return;
	mem_free(s->owed);
	mem_free(s->owed_found);
	work_close(&s->work);
	body_pool_unref(&s->pool);
	journal_close(&s->journal);
	spool_close(&s->spool);
	pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

struct queue *store_home(const struct store *s, struct slice label)
{
	return s->queues[s->shards == 1 ? 0 : map_hash(s->home_seed, label) % s->shards];
}

struct qid store_new_id(struct store *s, int64_t wall_ms)
{
	pthread_mutex_lock(&s->lock);
	struct qid id = qid_new(&s->ids, wall_ms);
	pthread_mutex_unlock(&s->lock);
	return id;
}

int store_admit(struct store *s, uint64_t size, int64_t mono_ms)
{
	pthread_mutex_lock(&s->lock);
	int err = quota_admit(&s->quota, size, atomic_load(&s->waiting_bytes), mono_ms);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* --- the end of the scans ---------------------------------------------------------- */

/* Outcomes that reports hold of items that are gone. Where a file was is not known, nor whether its
 * unlink was ever synced. */
static void end_stray_effects(struct store *s)
{
	for (size_t i = 0; i < s->owed_n; i++) {
		if (!s->owed_found[i])
			journal_effects_leave(s->journal, s->owed[i].id, s->owed[i].part,
			    UINT64_MAX);
	}
	mem_free(s->owed);
	mem_free(s->owed_found);
	s->owed = NULL;
	s->owed_found = NULL;
	s->owed_n = 0;
}

static void list_owed(struct store *s)
{
	if (s->owed_listed)
		return;
	s->owed_listed = true;
	s->owed = journal_effects_list(s->journal, &s->owed_n);
	s->owed_found = mem_zalloc(s->owed_n + 1);
}

void store_end_scan(struct store *s, store_has_fn *has, void *arg)
{
	pthread_mutex_lock(&s->lock);
	CHECK(s->scanning > 0);
	list_owed(s);
	for (size_t i = 0; i < s->owed_n; i++)
		s->owed_found[i] = s->owed_found[i] || has(arg, s->owed[i].id, s->owed[i].part);
	if (--s->scanning == 0) {
		end_stray_effects(s);
		work_forget_lost(&s->work);
	}
	pthread_mutex_unlock(&s->lock);
}
