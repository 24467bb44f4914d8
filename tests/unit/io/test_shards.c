/*
 * Several loops at once, each in its thread, with all that src/io offers on
 * each and what they share between them: one port, TLS contexts, the log. For
 * ThreadSanitizer above all; but what comes out is looked at too.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/slice.h"
#include "io/dns.h"
#include "io/dns_server.h"
#include "io/listen.h"
#include "io/rendezvous.h"
#include "io/stream.h"
#include "io/worker.h"
#include "lib/unit.h"
#include "unit/io/pump.h"
#include "unit/io/tls_files.h"

enum {
	SHARDS = 3,
	ROUNDS = 30, /* each: a call out, a question, a job, a letter to the next shard */
	TAKEN_MAX = SHARDS * ROUNDS,
	VISIT_EVERY = 5, /* rounds of the first */
};

#define WORDS "some words"

struct end { /* of a connection */
	struct stream *s;
	bool tls, said;
};

struct shard {
	struct loop *loop;
	struct town *town;
	struct listener *listener;
	struct worker_pool *pool;
	struct dns *dns;
	struct worker_job job;
	struct end call, taken[TAKEN_MAX];
	unsigned taken_n, calls, answers, jobs, rounds;
	bool waiting; /* in a round */
	unsigned visits;
	atomic_uint letters; /* from the one before */
	bool told;           /* that it is done */
};

struct town {
	struct shard shards[SHARDS];
	struct rendezvous *meeting;
	struct tls_ctx *client, *server;
	struct dns_server *names;
	atomic_uint done;
	atomic_ulong log_bytes;
	atomic_int hangups; /* the signal came */
};

/* --- what is on a shard ------------------------------------------------------------------ */

static void on_notify(void *arg)
{
	CHECK(arg); /* a mark for the step would go here */
}

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
	struct shard *s = arg;
	CHECK(netaddr_is_loopback(peer));
	CHECK(s->taken_n < TAKEN_MAX);
	struct end *e = &s->taken[s->taken_n++];
	e->s = stream_from_fd(s->loop, fd, on_notify, s);
	stream_start_tls(e->s, &(struct stream_tls_options){ .ctx = s->town->server,
				   .server = true,
				   .timeout_ms = PUMP_MS });
}

static void serve(struct end *e)
{
	if (!e->s)
		return;
	struct buf *in = stream_input(e->s);
	if (stream_state(e->s) == STREAM_OPEN && buf_len(in) > 0)
		CHECK(stream_send(e->s, in) == 0);
	if (stream_state(e->s) == STREAM_EOF || stream_state(e->s) == STREAM_FAILED)
		stream_close(&e->s);
}

static void say(struct end *e)
{
	struct buf out;
	buf_init(&out, 100);
	CHECK(buf_add_str(&out, WORDS) == 0);
	CHECK(stream_send(e->s, &out) == 0 && buf_len(&out) == 0);
	buf_fini(&out);
	e->said = true;
}

static void talk(struct shard *s)
{
	struct end *e = &s->call;
	if (!e->s || stream_state(e->s) == STREAM_CONNECTING ||
	    stream_state(e->s) == STREAM_HANDSHAKE)
		return;
	CHECK(stream_state(e->s) == STREAM_OPEN);
	if (!e->tls) {
		e->tls = true;
		stream_start_tls(e->s, &(struct stream_tls_options){ .ctx = s->town->client,
					   .host = "mx.example.com",
					   .resume_key = "all of them",
					   .timeout_ms = PUMP_MS });
	} else if (!e->said) {
		say(e);
	} else if (buf_len(stream_input(e->s)) == strlen(WORDS)) {
		stream_close(&e->s);
		*e = (struct end){ 0 };
		s->calls++;
	}
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct shard *s = arg;
	CHECK(a->outcome == DNS_OK && a->records_n == 1);
	s->answers++;
}

static void run_job(struct worker_job *job)
{
	const struct shard *s = container_of(job, struct shard, job);
	log_info("test", "a job of %p", (const void *)s);
	loop_wake(s->loop); /* it may */
}

static void job_done(struct worker_job *job)
{
	container_of(job, struct shard, job)->jobs++;
}

static void on_request(void *arg, struct dns_request *r, const char *name, int type)
{
	const struct town *t = arg;
	CHECK(type == DNS_TYPE_A);
	dns_request_add_a(r, name, listen_address(t->shards[0].listener), 60);
	dns_request_send(r, 0);
}

static void on_signal(void *arg, int signo)
{
	struct town *t = arg;
	CHECK(signo == SIGHUP);
	atomic_fetch_add(&t->hangups, 1);
}

/* --- turns ------------------------------------------------------------------------------- */

static void begin_round(struct shard *s)
{
	char name[32];
	struct stream_connect_options o = { .to = *listen_address(s->listener),
		.timeout_ms = PUMP_MS };
	s->call.s = stream_connect(s->loop, &o, on_notify, s);
	snprintf(name, sizeof(name), "n%u.example", s->rounds);
	(void)dns_lookup(s->dns, name, DNS_TYPE_A, on_answer, s);
	s->job = (struct worker_job){ .run = run_job, .done = job_done };
	worker_submit(s->pool, &s->job);
	s->waiting = true;
	log_info("test", "round %u", s->rounds);
}

static struct shard *next_of(struct shard *s)
{
	struct town *t = s->town;
	return &t->shards[(size_t)(s - t->shards + 1) % SHARDS];
}

static void end_round(struct shard *s)
{
	unsigned n = s->rounds + 1;
	if (s->calls < n || s->answers < n || s->jobs < n)
		return;
	s->waiting = false;
	s->rounds = n;
	atomic_fetch_add(&next_of(s)->letters, 1);
	loop_wake(next_of(s)->loop);
	if (n < ROUNDS)
		begin_round(s);
}

/* Touches what is the others'. */
static void visit(struct town *t)
{
	rendezvous_stop_others(t->meeting);
	for (int i = 1; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];
		s->visits++;
		CHECK(loop_now(s->loop).mono_ms > 0);
		listen_pause(s->listener, true);
		listen_pause(s->listener, false);
		loop_again(s->loop);
	}
	rendezvous_go(t->meeting);
}

/* Who is done goes on serving the others until all are. */
static void stop_if_all_done(struct shard *s)
{
	struct town *t = s->town;
	if (!s->told && s->rounds == ROUNDS && atomic_load(&s->letters) == ROUNDS) {
		s->told = true;
		if (atomic_fetch_add(&t->done, 1) + 1 == SHARDS)
			for (int i = 0; i < SHARDS; i++)
				loop_wake(t->shards[i].loop);
	}
	if (atomic_load(&t->done) < SHARDS)
		return;
	if (s != t->shards)
		rendezvous_leave(t->meeting);
	else if (atomic_load(&t->hangups) == 0)
		return;
	loop_stop(s->loop);
}

static void step(void *arg, struct now now)
{
	struct shard *s = arg;
	unsigned before = s->rounds;
	CHECK(now.mono_ms == loop_now(s->loop).mono_ms);
	rendezvous_check(s->town->meeting);
	log_hold();
	if (s->rounds == 0 && !s->waiting)
		begin_round(s);
	for (unsigned i = 0; i < s->taken_n; i++)
		serve(&s->taken[i]);
	talk(s);
	if (s->waiting)
		end_round(s);
	if (s == s->town->shards && s->rounds != before && s->rounds % VISIT_EVERY == 0)
		visit(s->town);
	loop_set_timer(s->loop, now.mono_ms + 1000);
	log_release();
	stop_if_all_done(s);
}

/* --- the town ------------------------------------------------------------------------------ */

static void on_log(void *arg, const char *line, size_t n)
{
	struct town *t = arg;
	CHECK(line[n - 1] == '\n');
	atomic_fetch_add(&t->log_bytes, n);
}

static void open_shard(struct town *t, struct shard *s, struct netaddr at)
{
	struct errbuf eb;
	char servers[NETADDR_TEXT_MAX];
	s->town = t;
	s->pool = worker_pool_new(s->loop, 1, "job");
	/* All on the port that the first was given. */
	ck_assert_int_eq(listen_tcp(s == t->shards ? &at : listen_address(t->shards[0].listener),
			     &s->listener, &eb),
	    0);
	listen_start(s->listener, s->loop, on_accept, s);
	struct dns_options o = {
		.servers = netaddr_format(dns_server_address(t->names), servers),
		.timeout_ms = 2000,
		.tries = 3,
	};
	ck_assert_int_eq(dns_new(s->loop, &o, &s->dns, &eb), 0);
	loop_set_step(s->loop, step, s);
	loop_again(s->loop);
}

static void open_town(struct town *t)
{
	struct errbuf eb;
	struct loop *loops[SHARDS];
	struct netaddr at = { 0 };
	memset(t, 0, sizeof(*t));
	ck_assert_int_eq(netaddr_parse_ip(SLICE("127.0.0.1"), &at), 0);
	t->client = client_ctx(false, "", "TLSv1.2");
	t->server = server_ctx("TLSv1.2");
	for (int i = 0; i < SHARDS; i++)
		loops[i] = t->shards[i].loop = loop_new();
	ck_assert_int_eq(dns_server_new(loops[0], &at, on_request, t, &t->names, &eb), 0);
	for (int i = 0; i < SHARDS; i++)
		open_shard(t, &t->shards[i], at);
	loop_on_signal(loops[0], SIGHUP, on_signal, t);
	t->meeting = rendezvous_new(loops, SHARDS);
}

static void close_shard(struct shard *s)
{
	for (unsigned i = 0; i < s->taken_n; i++)
		stream_close(&s->taken[i].s);
	dns_free(&s->dns);
	listen_free(&s->listener);
	worker_pool_free(&s->pool);
}

static void close_town(struct town *t)
{
	rendezvous_free(&t->meeting);
	for (int i = 0; i < SHARDS; i++)
		close_shard(&t->shards[i]);
	dns_server_free(&t->names);
	for (int i = 0; i < SHARDS; i++)
		loop_free(&t->shards[i].loop);
	tls_unref(&t->client);
	tls_unref(&t->server);
}

START_TEST(several_loops_share_a_process)
{
	static struct town t;
	unsigned taken = 0;
	open_town(&t);
	log_set_sink(on_log, &t);
	for (int i = 1; i < SHARDS; i++)
		loop_run_in_thread(t.shards[i].loop, "shard");
	ck_assert_int_eq(kill(getpid(), SIGHUP), 0);
	loop_run(t.shards[0].loop);
	for (int i = 1; i < SHARDS; i++)
		loop_join(t.shards[i].loop);
	log_set_sink(NULL, NULL);
	for (int i = 0; i < SHARDS; i++) {
		taken += t.shards[i].taken_n;
		ck_assert_uint_gt(t.shards[i].taken_n, 0); /* the port was everybody's */
		ck_assert_uint_eq(t.shards[i].jobs, ROUNDS);
		ck_assert_uint_eq(t.shards[i].visits, i == 0 ? 0 : ROUNDS / VISIT_EVERY);
	}
	ck_assert_uint_eq(taken, SHARDS * ROUNDS);
	ck_assert_int_eq(atomic_load(&t.hangups), 1);
	ck_assert_uint_gt(atomic_load(&t.log_bytes), SHARDS * ROUNDS * 2 * 20);
	close_town(&t);
}

END_TEST

Suite *test_shards_suite(void)
{
	Suite *s = suite_create("shards");
	TCase *t = tcase_create("shards");
	tcase_set_timeout(t, 60);
	tcase_add_unchecked_fixture(t, tls_files_make, scratch_remove);
	tcase_add_test(t, several_loops_share_a_process);
	suite_add_tcase(s, t);
	return s;
}
