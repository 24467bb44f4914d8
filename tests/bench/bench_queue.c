/*
 * bench_queue - the store alone: how many messages a second it makes durable
 * and settles, and at how many flushes each.
 *
 *     bench_queue [-t senders] [-b bytes] [-s seconds] [-e every] [-f] [-k late] DIRECTORY
 *     bench_queue -R [-n messages] [-b bytes] DIRECTORY
 *
 * Each sender is a thread that waits for its commit, as a client waits for its
 * 250, then settles the message (all delivered) and begins anew. What belongs
 * to the loop thread is done under one lock, which is held for about a
 * microsecond at a time: who finds it taken spins before it sleeps. -f: queue files alone. A line
 * per second, or every so many: messages, flushes per message. -k N: a message is settled only when
 * its sender has N newer ones under way. -R: fills the journal (16 segments of 64 MiB where there
 * is room), or puts as many messages into it as -n says, and times a start. Not a test; never run
 * by make check.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "queue/queue.h"

enum {
	SENDERS_MAX = 256,
	LATE_MAX = 4096
};

static struct queue *queue;
static pthread_mutex_t loop = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static char *body;
static size_t body_bytes = 4096;
static size_t late;
static unsigned every = 1; /* seconds to a line */
static atomic_bool stop;
static uint64_t failed; /* under loop */

static struct queue_op *begin_commit(struct now now)
{
	static const char *const domains[] = { "example.net" };
	struct queue_msg *m = queue_begin(queue, now);
	struct envelope *e = queue_msg_envelope(m);
	e->sender = envelope_str(e, SLICE("sender@example.com"));
	e->client_ip = envelope_str(e, SLICE("192.0.2.1"));
	e->helo = envelope_str(e, SLICE("client.example.com"));
	e->protocol = envelope_str(e, SLICE("ESMTP"));
	envelope_add_rcpt(e, SLICE("recipient@example.net"), SLICE_NONE, 0);
	if (queue_append(m, body, body_bytes) < 0)
		failed++;
	return queue_op_commit(&m, domains, now);
}

static struct queue_item *finish_commit(struct queue_op *op, struct now now)
{
	struct queue_done done;
	queue_finish(queue, &op, now, &done);
	if (done.result < 0) {
		failed++;
		return NULL;
	}
	struct queue_item *item = list_first(&done.items, struct queue_item, link);
	list_remove(&item->link);
	return item;
}

static void run(struct queue_op *op)
{
	pthread_mutex_unlock(&loop);
	queue_run(queue, &op, 1);
	pthread_mutex_lock(&loop);
}

/* Loads first where memory was short. */
static void settle(struct queue_item *item)
{
	struct queue_outcome o = { .fate = FATE_DELIVERED,
		.status = { .code = 250, .text = "ok", .host = "mx", .ip = "::1" } };
	struct queue_done done = { .item = item };
	if (item->mail == NULL) {
		struct queue_op *load = queue_op_load(item);
		run(load);
		queue_finish(queue, &load, clock_now(), &done);
		CHECK(done.result == 0);
	}
	struct queue_op *op = queue_op_settle(item, &o, 1, clock_now());
	run(op);
	queue_finish(queue, &op, clock_now(), &done);
	failed += done.result < 0;
}

static void *send_mail(void *arg UNUSED)
{
	struct queue_item *pending[LATE_MAX];
	size_t at = 0, n = 0;
	pthread_mutex_lock(&loop);
	while (!stop) {
		struct queue_op *op = begin_commit(clock_now());
		run(op);
		struct queue_item *item = finish_commit(op, clock_now());
		if (item == NULL)
			continue;
		pending[(at + n++) % LATE_MAX] = item;
		if (n > late) {
			settle(pending[at]);
			at = (at + 1) % LATE_MAX;
			n--;
		}
	}
	for (; n > 0; n--, at = (at + 1) % LATE_MAX)
		settle(pending[at]);
	pthread_mutex_unlock(&loop);
	return NULL;
}

static void upkeep(void)
{
	struct queue_done done;
	pthread_mutex_lock(&loop);
	struct queue_op *op = queue_op_sync(queue, clock_now(), 0);
	pthread_mutex_unlock(&loop);
	if (op == NULL)
		return;
	queue_run(queue, &op, 1);
	pthread_mutex_lock(&loop);
	queue_finish(queue, &op, clock_now(), &done);
	failed += done.result < 0;
	pthread_mutex_unlock(&loop);
}

/* Of the process; what the kernel's own threads do for it is not in it. */
static double cpu_us(void)
{
	struct rusage u;
	CHECK(getrusage(RUSAGE_SELF, &u) == 0);
	return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void watch(unsigned seconds)
{
	struct queue_stats last = { 0 }, s;
	int64_t start = clock_now().mono_ms, before = start;
	for (unsigned i = 0; i < seconds; i++) {
		int64_t left = start + 1000 * (int64_t)(i + 1) - clock_now().mono_ms;
		if (left > 0)
			usleep((useconds_t)left * 1000);
		upkeep();
		pthread_mutex_lock(&loop);
		queue_stats(queue, &s);
		pthread_mutex_unlock(&loop);
		int64_t now = clock_now().mono_ms;
		if ((i + 1) % every != 0)
			continue;
		double n = (double)(s.commits - last.commits);
		printf("%4u %9.0f messages/s %8.4f flushes each %8zu there\n", i + 1,
		    n * 1000 / (double)(now - before),
		    n > 0 ? (double)(s.syncs - last.syncs) / n : 0, s.items);
		fflush(stdout);
		last = s;
		before = now;
	}
	double all = (double)(before - start) / 1000, cpu = cpu_us();
	pthread_mutex_lock(&loop);
	printf("all  %9.0f messages/s %8.4f flushes, %.1f us CPU each, %lu failed\n",
	    (double)last.commits / all, (double)last.syncs / (double)last.commits,
	    cpu / (double)last.commits, (unsigned long)failed);
	pthread_mutex_unlock(&loop);
}

static void scan(void)
{
	struct queue_done done;
	while (!queue_scan_is_done(queue)) {
		struct queue_op *op = queue_op_scan(queue);
		if (op != NULL) {
			queue_run(queue, &op, 1);
			queue_finish(queue, &op, clock_now(), &done);
		}
		(void)queue_scan_step(queue, clock_now());
	}
}

static int open_queue(const struct queue_options *opt)
{
	struct errbuf eb;
	if (queue_open(&queue, opt, clock_now(), &eb) < 0) {
		fprintf(stderr, "%s\n", eb.text);
		return -1;
	}
	scan();
	return 0;
}

/* --- start --------------------------------------------------------------------------- */

/* Fills the journal with mail nobody serves, until a message must pass to a queue file or there are
 * enough, and starts anew. */
static int run_replay(const struct queue_options *opt, size_t enough)
{
	struct queue_op *ops[64];
	struct queue_item *item = NULL;
	size_t n = 0;
	if (open_queue(opt) < 0)
		return 1;
	do {
		for (size_t i = 0; i < ARRAY_LEN(ops); i++)
			ops[i] = begin_commit(clock_now());
		queue_run(queue, ops, ARRAY_LEN(ops));
		for (size_t i = 0; i < ARRAY_LEN(ops); i++, n++) {
			item = finish_commit(ops[i], clock_now());
			CHECK(item != NULL);
			queue_unload(queue, item);
		}
	} while (item->record != NULL && n < enough);
	queue_close(&queue);
	double cpu = cpu_us();
	struct now start = clock_now();
	if (open_queue(opt) < 0)
		return 1;
	int64_t took_ms = clock_now().mono_ms - start.mono_ms;
	struct queue_stats s;
	queue_stats(queue, &s);
	printf("start %6ld ms, %.0f ms CPU, %zu messages of %zu bytes live\n", (long)took_ms,
	    (cpu_us() - cpu) / 1000, s.items, body_bytes);
	queue_close(&queue);
	return s.items == n ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct queue_options opt = { .seed = 1, .memory_max_bytes = UINT64_C(1) << 30 };
	pthread_t threads[SENDERS_MAX];
	unsigned senders = 16, seconds = 10;
	size_t enough = SIZE_MAX;
	bool replay = false;
	for (int c; (c = getopt(argc, argv, "t:b:s:k:e:n:fR")) != -1;) {
		unsigned long v = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;
		if (c == 't')
			senders = (unsigned)MIN(MAX(v, 1UL), (unsigned long)SENDERS_MAX);
		else if (c == 'b')
			body_bytes = v;
		else if (c == 's')
			seconds = (unsigned)v;
		else if (c == 'k')
			late = MIN(v, LATE_MAX - 1UL);
		else if (c == 'n')
			enough = v;
		else if (c == 'f')
			opt.no_journal = true;
		else if (c == 'e')
			every = MAX((unsigned)v, 1u);
		else if (c == 'R')
			replay = true;
		else
			return 2;
	}
	if (optind + 1 != argc)
		return 2;
	opt.directory = argv[optind];
	body = mem_alloc(body_bytes + 1);
	memset(body, 'x', body_bytes);
	if (replay)
		return run_replay(&opt, enough);
	if (open_queue(&opt) < 0)
		return 1;
	for (unsigned i = 0; i < senders; i++) {
		if (pthread_create(&threads[i], NULL, send_mail, NULL) != 0)
			return 1;
	}
	watch(seconds);
	stop = true;
	for (unsigned i = 0; i < senders; i++)
		pthread_join(threads[i], NULL);
	queue_close(&queue);
	mem_free(body);
	return failed > 0;
}
