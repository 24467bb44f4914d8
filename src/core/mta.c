#include "core/mta.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/accounting.h"
#include "core/auth.h"
#include "core/committer.h"
#include "core/control.h"
#include "core/dispatch.h"
#include "core/pool.h"
#include "core/reception.h"
#include "core/resolve.h"
#include "core/settlement.h"
#include "core/shards.h"
#include "io/system.h"

#define MTA_CPU_THREADS   2
#define MTA_SYNC_EVERY_MS 1000
#define MTA_SCAN_RETRY_MS 5000 /* a sub-directory that could not be listed is tried again */
#define MTA_ROUNDS_PER_TURN                                                                        \
	16 /* of marked work: what a step marks is done in the same turn, up to this */

/* --- work ---------------------------------------------------------------------- */

void mta_work_init(struct mta_work *w, struct mta *m, void (*step)(struct mta_work *, struct now))
{
	w->mta = m;
	w->step = step;
	list_init(&w->ready);
	wheel_timer_init(&w->deadline);
}

void mta_work_fini(struct mta_work *w)
{
	list_remove(&w->ready);
	wheel_cancel(&w->mta->deadlines, &w->deadline);
}

void mta_mark(struct mta_work *w)
{
	if (!list_is_linked(&w->ready))
		list_push(&w->mta->ready, &w->ready);
}

void mta_mark_next(struct mta_work *w)
{
	if (!list_is_linked(&w->ready))
		list_push(&w->mta->next, &w->ready);
}

void mta_deadline(struct mta_work *w, int64_t mono_ms)
{
	if (mono_ms == INT64_MAX)
		wheel_cancel(&w->mta->deadlines, &w->deadline);
	else if (!wheel_timer_is_set(&w->deadline) || w->deadline.at_ms != mono_ms)
		wheel_set(&w->mta->deadlines, &w->deadline, mono_ms);
}

static void run_deadlines(struct mta *m, struct now now)
{
	struct list_node due;

	list_init(&due);
	wheel_run(&m->deadlines, now.mono_ms, &due);
	list_foreach_safe(it, &due) {
		struct wheel_timer *t = list_entry(it, struct wheel_timer, node);
		list_remove(it);
		mta_mark(container_of(t, struct mta_work, deadline));
	}
}

/* A list is worked off whole before what it marked; a step may free any object, so entries are
 * taken one by one. */
static void run_ready(struct mta *m, struct now now)
{
	for (int i = 0; i < MTA_ROUNDS_PER_TURN && !list_is_empty(&m->ready); i++) {
		struct list_node batch;
		list_init(&batch);
		list_splice(&batch, &m->ready);
		while (!list_is_empty(&batch)) {
			struct mta_work *w = list_first(&batch, struct mta_work, ready);
			list_remove(&w->ready);
			w->step(w, now);
		}
	}
}

/* --- the step --------------------------------------------------------------------- */

static void on_synced(void *arg, struct queue_done *done)
{
	(void)arg;
	if (done->result < 0)
		log_error("queue", "folders not synced: %s", err_text(done->result));
}

static void sync_folders(struct mta *m, struct now now)
{
	if (now.mono_ms < m->sync_check_ms)
		return;
	m->sync_check_ms = now.mono_ms + MTA_SYNC_EVERY_MS;
	if (m->phase == MTA_PHASE_RUNNING)
		settlement_repay(m);
	struct queue_op *op = m->number == 0 ? queue_op_sync(m->queue, now, 0) : NULL; /* for all */
	if (op)
		committer_add(m->committer, op, on_synced, NULL);
}

static void on_listed(void *arg, struct queue_done *done)
{
	struct mta *m = arg;
	if (done->result == 0)
		return;
	/* Giving up would leave mail behind until the next start. */
	log_error("queue", "start-up scan: %s; trying again", err_text(done->result));
	m->scan_at_ms = loop_now(m->loop).mono_ms + MTA_SCAN_RETRY_MS;
}

/* True if there is more to do at once. */
static bool scan(struct mta *m, struct now now)
{
	if (m->scan_done || m->phase != MTA_PHASE_RUNNING)
		return false;
	if (queue_scan_step(m->queue, now))
		return true;
	if (queue_scan_is_done(m->queue)) {
		m->scan_done = true;
		shards_scanned(m);
		return false;
	}
	struct queue_op *op = now.mono_ms < m->scan_at_ms ? NULL : queue_op_scan(m->queue);
	if (op)
		committer_add(m->committer, op, on_listed, m);
	return false;
}

static bool is_drained(const struct mta *m)
{
	return reception_sessions(m->reception) == 0 && dispatch_active(m->dispatch) == 0 &&
	       pool_connections(m->pool) == 0 && committer_pending(m->committer) == 0 &&
	       committer_pending(m->reader) == 0;
}

/* True if nothing is left to be waited for. */
static bool drain_step(struct mta *m, struct now now)
{
	if (m->phase != MTA_PHASE_DRAINING)
		return false;
	if (now.mono_ms >= m->drain_until_ms) {
		reception_abort(m->reception);
		dispatch_abort(m->dispatch);
	}
	/* An outcome that the disk refuses to take is not waited for: the mail is still queued. Nor
	 * does mail leave the intake journal now: to read it there at the next start costs a
	 * fraction of what its queue file does. */
	return is_drained(m);
}

static int64_t next_turn_at(struct mta *m, struct now now)
{
	int64_t at = wheel_next_at(&m->deadlines);

	at = MIN(at, dispatch_next_at(m->dispatch, now));
	at = MIN(at, m->sync_check_ms);
	if (!m->scan_done && m->scan_at_ms > now.mono_ms)
		at = MIN(at, m->scan_at_ms);
	if (m->phase == MTA_PHASE_DRAINING)
		at = MIN(at, MAX(m->drain_until_ms, now.mono_ms + 10));
	return at;
}

static void mta_step(void *arg, struct now now)
{
	struct mta *m = arg;

	rendezvous_check(m->shards->meeting);
	m->now = now;
	list_splice(&m->ready, &m->next);
	dispatch_take_arrivals(m->dispatch, now);
	bool scan_more = scan(m, now);
	control_apply_orders(m);
	run_deadlines(m, now);
	run_ready(m, now);
	dispatch_step(m->dispatch, now);
	run_ready(m, now);
	pool_flush(m->pool, now);
	sync_folders(m, now);
	queue_write_work(m->queue);
	accounting_flush(m->accounting, now); /* before the operations that make the store forget */
	queue_hand_over(m->queue);            /* another shard's event of it comes behind ours */
	committer_flush(m->committer);
	committer_flush(m->reader);
	bool drained = drain_step(m, now);
	loop_set_timer(m->loop, next_turn_at(m, now));
	if (!list_is_empty(&m->ready) || !list_is_empty(&m->next) || scan_more)
		loop_again(m->loop);
	if (drained)
		shards_leave(m); /* the last thing: then it may be the first shard's */
}

/* --- start and stop ------------------------------------------------------------------ */

struct mta *mta_new(struct shards *s, unsigned number, struct conf *conf, uint64_t seed)
{
	struct mta *m = mem_zalloc(sizeof(*m));

	m->shards = s;
	m->number = number;
	m->conf = conf_ref(conf);
	m->loop = loop_new();
	m->now = loop_now(m->loop);
	m->started_ms = m->now.wall_ms;
	m->phase = MTA_PHASE_RUNNING;
	prng_init(&m->rng, seed);
	wheel_init(&m->deadlines, m->now.mono_ms);
	list_init(&m->ready);
	list_init(&m->next);
	list_init(&m->refused);
	m->accounting = accounting_new(conf->events_file);
	return m;
}

int mta_open_privileged(struct mta *m, struct errbuf *eb)
{
	int err = reception_new(m, &m->reception, eb);

	if (err == 0 && m->number == 0)
		err = control_new(m, &m->control, eb);
	return err;
}

static void on_arrival(void *arg)
{
	struct mta *m = arg;

	loop_wake(m->loop);
}

int mta_open_rest(struct mta *m, struct errbuf *eb)
{
	int err = accounting_open(m->accounting, eb);

	if (err == 0)
		err = resolver_new(m, m->conf, &m->resolver, eb);
	if (err < 0)
		return err;
	m->local_n = system_local_addresses(m->local, MTA_LOCAL_ADDRESSES_MAX);
	m->disk_pool = worker_pool_new(m->loop, COMMITTER_THREADS, "disk");
	m->read_pool = worker_pool_new(m->loop, 1, "read");
	m->cpu_pool = worker_pool_new(m->loop, MTA_CPU_THREADS, "cpu");
	m->auth = auth_new(m);
	m->committer = committer_new(m, m->disk_pool, COMMITTER_THREADS);
	m->reader = committer_new(m, m->read_pool, 1);
	m->pool = pool_new(m);
	m->dispatch = dispatch_new(m);
	queue_on_arrival(m->queue, on_arrival, m);
	return 0;
}

void mta_start(struct mta *m)
{
	loop_set_step(m->loop, mta_step, m);
	reception_start(m->reception);
	if (m->control)
		control_start(m->control);
	loop_again(m->loop);
}

void mta_drain(struct mta *m, struct now now)
{
	if (m->phase == MTA_PHASE_STOPPED)
		return;
	if (m->phase == MTA_PHASE_DRAINING) {
		m->drain_until_ms = now.mono_ms; /* asked twice: don't wait */
	} else if (m->phase == MTA_PHASE_RUNNING) {
		m->phase = MTA_PHASE_DRAINING;
		m->drain_until_ms = now.mono_ms + m->conf->outbound.shutdown_timeout_s * 1000;
		reception_drain(m->reception);
		dispatch_wake(m->dispatch);
		pool_retire_all(m->pool, now);
		if (m->control)
			control_drain(m->control);
	}
	loop_again(m->loop);
}

void mta_close(struct mta *m)
{
	worker_pool_free(&m->cpu_pool);
	worker_pool_free(&m->disk_pool);
	worker_pool_free(&m->read_pool);
	control_free(&m->control);
	reception_free(&m->reception);
	if (m->pool)
		pool_close_all(m->pool);
	dispatch_free(&m->dispatch);
	pool_free(&m->pool);
	settlement_drop_refused(m);
	committer_free(&m->committer);
	committer_free(&m->reader);
	auth_free(&m->auth);
	resolver_unref(&m->resolver);
}

void mta_free(struct mta **mp)
{
	struct mta *m = *mp;

	*mp = NULL;
	if (!m)
		return;
	accounting_free(&m->accounting);
	tls_unref(&m->tls_server);
	tls_unref(&m->tls_client_may);
	tls_unref(&m->tls_client_verify);
	loop_free(&m->loop);
	conf_unref(&m->conf);
	mem_free(m);
}
