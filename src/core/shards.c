#include "core/shards.h"

#include <signal.h>
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/control.h"
#include "core/dispatch.h"
#include "core/limits.h"
#include "core/reception.h"
#include "io/system.h"

#define SETTLE_PASSES 4 /* over the inboxes: what arrives may be sent on once */

/* --- together --------------------------------------------------------------------- */

/* What was sent is in a queue again. */
static void take_all_arrivals(struct shards *s)
{
	for (unsigned pass = 0; pass < SETTLE_PASSES; pass++) {
		for (unsigned i = 0; i < s->n; i++)
			queue_hand_over(s->mta[i]->queue);
		for (unsigned i = 0; i < s->n; i++)
			if (s->mta[i]->phase != MTA_PHASE_STOPPED)
				dispatch_take_arrivals(s->mta[i]->dispatch, s->mta[i]->now);
	}
}

void shards_stop(struct shards *s)
{
	if (!s->running || s->standing++ > 0)
		return;
	rendezvous_stop_others(s->meeting);
	for (unsigned i = 0; i < s->n; i++) /* some have slept for long */
		s->mta[i]->now = loop_now(s->mta[0]->loop);
	accounting_flush(s->mta[0]->accounting, s->mta[0]->now); /* the others have */
	take_all_arrivals(s);
}

void shards_go(struct shards *s)
{
	if (!s->running)
		return;
	CHECK(s->standing > 0);
	if (--s->standing == 0)
		rendezvous_go(s->meeting);
}

size_t shards_flush(struct shards *s)
{
	size_t n = 0;

	shards_stop(s);
	for (unsigned i = 0; i < s->n; i++) {
		struct mta *m = s->mta[i];
		if (m->phase == MTA_PHASE_STOPPED)
			continue;
		n += queue_flush(m->queue, s->mta[0]->now) + dispatch_flush(m->dispatch);
		loop_again(m->loop);
	}
	shards_go(s);
	return n;
}

void shards_drain(struct shards *s)
{
	struct mta *first = s->mta[0];
	struct shards_stats st;

	shards_stop(s);
	if (first->phase == MTA_PHASE_RUNNING) {
		shards_stats(s, &st);
		log_notice("mta", "stopping: %zu sessions and %zu deliveries in flight",
		    st.sessions, st.deliveries);
		system_notify("STOPPING=1");
	}
	for (unsigned i = 0; i < s->n; i++)
		mta_drain(s->mta[i], loop_now(first->loop));
	shards_go(s);
}

/* The first is the last to go: until then it may be asked about the others. */
void shards_leave(struct mta *m)
{
	struct shards *s = m->shards;

	if (m->number == 0 && atomic_load(&s->stopped) < s->n - 1)
		return;
	m->phase = MTA_PHASE_STOPPED;
	if (m->number > 0) {
		rendezvous_leave(s->meeting);
		atomic_fetch_add(&s->stopped, 1);
		loop_wake(s->mta[0]->loop);
	}
	loop_stop(m->loop);
}

void shards_scanned(struct mta *m)
{
	struct shards *s = m->shards;
	struct queue_stats st;

	queue_stats(m->queue, &st);
	atomic_fetch_add(&s->found, st.items);
	atomic_fetch_add(&s->found_held, st.held);
	if (atomic_fetch_add(&s->scanned, 1) + 1 == s->n)
		log_notice("queue", "%zu items found, %zu of them held", atomic_load(&s->found),
		    atomic_load(&s->found_held));
}

/* --- looking ------------------------------------------------------------------------ */

static void add_queue(struct queue_stats *sum, const struct queue_stats *st)
{
	sum->items += st->items;
	sum->parked += st->parked;
	sum->held += st->held;
	sum->active += st->active;
	sum->busy += st->busy;
	sum->commits += st->commits;
	sum->settles += st->settles;
	sum->loads += st->loads;
	sum->scan_done &= st->scan_done;
	sum->corrupt = st->corrupt; /* of the store */
	sum->memory_bytes = st->memory_bytes;
	sum->syncs = st->syncs;
}

static void add_counts(struct accounting_counts *sum, const struct accounting_counts *c)
{
	sum->received += c->received;
	sum->delivered += c->delivered;
	sum->deferred += c->deferred;
	sum->bounced += c->bounced;
	sum->expired += c->expired;
	sum->rejected += c->rejected;
	sum->deleted += c->deleted;
	sum->lost_lines += c->lost_lines;
}

static void add_dns(struct resolver_stats *sum, const struct resolver_stats *st)
{
	sum->shared += st->shared;
	sum->resolved += st->resolved;
	sum->dns.hits += st->dns.hits;
	sum->dns.misses += st->dns.misses;
	sum->dns.stale += st->dns.stale;
	sum->dns.queries += st->dns.queries;
	sum->dns.entries += st->dns.entries;
	sum->dns.bytes += st->dns.bytes;
}

void shards_stats(const struct shards *s, struct shards_stats *sum)
{
	struct queue_stats st;
	struct resolver_stats dns;

	*sum = (struct shards_stats){ .queue.scan_done = true };
	for (unsigned i = 0; i < s->n; i++) {
		const struct mta *m = s->mta[i];
		size_t items;
		queue_stats(m->queue, &st);
		add_queue(&sum->queue, &st);
		add_counts(&sum->counts, accounting_counts(m->accounting));
		resolver_stats(m->resolver, &dns);
		add_dns(&sum->dns, &dns);
		sum->sessions += reception_sessions(m->reception);
		sum->deliveries += dispatch_active(m->dispatch);
		sum->ready += dispatch_ready(m->dispatch);
		sum->waiting += dispatch_waiting(m->dispatch);
		sum->down += dispatch_down(m->dispatch);
		sum->slowed += dispatch_slowed(m->dispatch, s->mta[0]->now, &items);
		sum->slowed_items += items;
	}
}

size_t shards_find(const struct shards *s, struct slice id, struct queue_item **items, size_t max)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->n; i++)
		n += queue_find(s->mta[i]->queue, id, items + MIN(n, max), max - MIN(n, max));
	return n;
}

void shards_log_status(struct shards *s)
{
	struct shards_stats st;
	const struct accounting_counts *c = &st.counts;

	shards_stop(s);
	shards_stats(s, &st);
	shards_go(s);
	log_notice("status",
	    "queue=%zu parked=%zu held=%zu active=%zu ready=%zu waiting=%zu down=%zu "
	    "sessions=%zu deliveries=%zu "
	    "received=%llu delivered=%llu deferred=%llu bounced=%llu expired=%llu corrupt=%llu",
	    st.queue.items, st.queue.parked, st.queue.held, st.queue.active + st.queue.busy,
	    st.ready, st.waiting, st.down, st.sessions, st.deliveries,
	    (unsigned long long)c->received, (unsigned long long)c->delivered,
	    (unsigned long long)c->deferred, (unsigned long long)c->bounced,
	    (unsigned long long)c->expired, (unsigned long long)st.queue.corrupt);
}

/* --- signals ------------------------------------------------------------------------ */

static void on_signal(void *arg, int signo)
{
	struct shards *s = arg;

	switch (signo) {
	case SIGHUP:
		log_notice("mta", "flush: %zu items", shards_flush(s));
		break;
	case SIGUSR1:
		shards_reload(s);
		break;
	case SIGUSR2:
		shards_log_status(s);
		break;
	case SIGTERM:
	case SIGINT:
		shards_drain(s);
		break;
	default:
		UNREACHABLE();
	}
}

static void take_signals(struct shards *s)
{
	static const int signals[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT };

	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		loop_on_signal(s->mta[0]->loop, signals[i], on_signal, s);
}

/* --- start and stop ------------------------------------------------------------------ */

int shards_make_tls(const struct conf *conf, struct tls_ctx **server, struct tls_ctx **may,
    struct tls_ctx **verify, struct errbuf *eb)
{
	struct tls_server_options s = { conf->tls.certificate, conf->tls.key, conf->tls.min_version,
		conf->tls.ciphers };
	struct tls_client_options c = { conf->outbound.tls_min_version, conf->outbound.tls_ciphers,
		NULL, false };
	struct tls_ctx *made[3] = { NULL, NULL, NULL };
	struct errbuf why;
	int err = tls_trust_new(conf->outbound.tls_ca_file, &c.trust, &why);

	if (err == 0 && conf->tls.certificate[0])
		err = tls_server_new(&s, &made[0], &why);
	if (err == 0)
		err = tls_client_new(&c, &made[1], &why);
	c.verify = true;
	if (err == 0)
		err = tls_client_new(&c, &made[2], &why);
	tls_trust_unref(&c.trust);
	if (err < 0) {
		tls_unref(&made[0]);
		tls_unref(&made[1]);
		return errbuf_set(eb, err, "%s: %s", conf->file, why.text);
	}
	tls_unref(server);
	tls_unref(may);
	tls_unref(verify);
	*server = made[0];
	*may = made[1];
	*verify = made[2];
	return 0;
}

/* One certificate, one set of ticket keys and one memory of sessions for all. */
static int open_tls(struct shards *s, const struct conf *conf, struct errbuf *eb)
{
	struct mta *first = s->mta[0];
	int err = shards_make_tls(conf, &first->tls_server, &first->tls_client_may,
	    &first->tls_client_verify, eb);

	for (unsigned i = 1; err == 0 && i < s->n; i++) {
		s->mta[i]->tls_server = tls_ref(first->tls_server);
		s->mta[i]->tls_client_may = tls_ref(first->tls_client_may);
		s->mta[i]->tls_client_verify = tls_ref(first->tls_client_verify);
	}
	return err;
}

/* As root: what needs it (listeners, files others own), then never again. */
static int open_privileged(struct shards *s, const struct conf *conf, struct errbuf *eb)
{
	int err = open_tls(s, conf, eb);

	for (unsigned i = 0; err == 0 && i < s->n; i++)
		err = mta_open_privileged(s->mta[i], eb);
	if (err == 0)
		err = system_prepare_directory(conf->spool, conf->user, conf->group, eb);
	if (err == 0 && conf->events_file[0])
		err = system_prepare_parent(conf->events_file, conf->user, conf->group, eb);
	if (err == 0)
		err = system_drop_privileges(conf->user, conf->group, eb);
	return err;
}

static int open_queue(struct shards *s, const struct conf *conf, const struct qio *qio,
    struct errbuf *eb)
{
	struct mta *first = s->mta[0];
	struct errbuf why;
	struct queue_options o = {
		.directory = conf->spool,
		.qio = qio,
		.seed = prng_next(&first->rng),
		.always_split = conf->outbound.always_split,
		.space_min_bytes = conf->outbound.spool_min_free_bytes,
		.space_min_percent = conf->outbound.spool_min_free_percent,
		.retry = &conf->outbound.retry,
		.shards = s->n,
	};

	int err = queue_open(&first->queue, &o, first->now, &why);
	if (err < 0)
		return errbuf_set(eb, err, "spool %s: %s", conf->spool, why.text);
	for (unsigned i = 1; i < s->n; i++)
		s->mta[i]->queue = queue_of_shard(first->queue, i);
	return 0;
}

static int open_all(struct shards *s, const struct conf *conf, const struct qio *qio,
    struct errbuf *eb)
{
	int err = open_privileged(s, conf, eb);

	if (err == 0)
		err = open_queue(s, conf, qio, eb);
	for (unsigned i = 0; err == 0 && i < s->n; i++)
		err = mta_open_rest(s->mta[i], eb);
	return err;
}

int shards_new(struct conf *conf, const struct mta_options *o, struct shards **s_r,
    struct errbuf *eb)
{
	struct shards *s = mem_zalloc(sizeof(*s));
	struct loop *loops[SHARDS_MAX];
	struct prng seeds;

	prng_init(&seeds, o->seed);
	s->n = conf->shards > 0 ? (unsigned)conf->shards : system_cpus();
	s->n = MIN(s->n, SHARDS_MAX);
	s->mta = mem_zalloc(s->n * sizeof(struct mta *));
	s->site_seed[0] = prng_next(&seeds);
	s->site_seed[1] = prng_next(&seeds);
	for (unsigned i = 0; i < s->n; i++) {
		s->mta[i] = mta_new(s, i, conf, prng_next(&seeds));
		loops[i] = s->mta[i]->loop;
	}
	s->meeting = rendezvous_new(loops, s->n);
	s->limits = limits_new(conf, loops, s->n, prng_next(&seeds));
	for (unsigned i = 0; i < s->n; i++)
		s->mta[i]->limits = s->limits;
	int err = open_all(s, conf, o->qio, eb);
	if (err < 0) {
		shards_free(&s);
		return err;
	}
	*s_r = s;
	return 0;
}

static void start(struct shards *s)
{
	char name[20];

	for (unsigned i = 0; i < s->n; i++)
		mta_start(s->mta[i]);
	for (unsigned i = 1; i < s->n; i++) {
		snprintf(name, sizeof(name), "shard %u", i);
		loop_run_in_thread(s->mta[i]->loop, name);
	}
	s->running = true;
}

void shards_run(struct shards *s)
{
	struct mta *first = s->mta[0];

	take_signals(s);
	start(s);
	system_notify("READY=1");
	log_notice("mta", "postriderd " VERSION " ready, me=%s spool=%s", first->conf->me,
	    first->conf->spool);
	loop_run(first->loop);
	for (unsigned i = 1; i < s->n; i++)
		loop_join(s->mta[i]->loop);
	s->running = false;
	for (unsigned i = 0; i < s->n; i++)
		accounting_flush(s->mta[i]->accounting, first->now);
	log_notice("mta", "stopped");
}

void shards_free(struct shards **sp)
{
	struct shards *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	struct queue *queue = s->mta[0]->queue;
	for (unsigned i = 0; i < s->n; i++)
		mta_close(s->mta[i]);
	if (queue)
		queue_close(&queue);
	rendezvous_free(&s->meeting);
	limits_free(&s->limits);
	for (unsigned i = 0; i < s->n; i++)
		mta_free(&s->mta[i]);
	mem_free(s->mta);
	mem_free(s);
}
