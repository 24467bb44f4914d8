#include "sim/sim_loops.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/listen.h"
#include "io/loop.h"
#include "io/rendezvous.h"
#include "io/stream.h"
#include "io/worker.h"
#include "sim/sim_io.h"
#include "sim/sim_loop.h"

#define SHARDS      4
#define PLAYERS     3 /* the first of them; the last shard sleeps, but for its alarm */
#define SLEEPER     (SHARDS - 1)
#define SLOW        1 /* in the second half each turn of it takes its time */
#define SLOW_MS     40
#define BALLS       6
#define HOLD_MS     30
#define CALLERS     200
#define PORT        2525
#define ALARM_MS    200 /* of all at once, in the first half */
#define HALF_MS     (10 * SIM_SECOND)
#define END_MS      (2 * HALF_MS)
#define VISIT_AFTER 50 /* turns of the first */

struct ball {
	struct list_node node;
	int64_t at_ms; /* thrown, or to be thrown */
};

struct shard {
	unsigned number;
	struct loop *loop;
	struct list_node inbox, held; /* struct ball.node */
	struct listener *listener;
	struct stream *streams[CALLERS];
	size_t streams_n;
	struct worker_pool *pool;
	struct worker_job job;
	bool working, worked; /* a job is under way; its run function has been called */
	struct dns *dns;
	struct dns_query *query;
	int64_t alarm_ms, turn_ms; /* the next, the last */
	unsigned turns, caught, jobs, answers, alarms;
	unsigned led; /* of the alarms of one instant */
};

static struct {
	struct shard shards[SHARDS];
	struct ball balls[BALLS];
	struct rendezvous *meeting;
	const struct shard *last; /* who took a turn */
	int64_t alarm_ms;         /* the last, of any */
	unsigned visits;
	unsigned echoed;
	unsigned during; /* turns of others while the slow one was at work */
	bool tried;      /* what must not be done */
	bool over;
} toy;

static bool is_slow(const struct shard *s)
{
	return s->number == SLOW && sim.now_ms >= HALF_MS;
}

static int64_t price(unsigned made UNUSED)
{
	return is_slow(toy.last) ? SLOW_MS * 1000 : 0;
}

static void expect_own_turn(const struct shard *s, const char *what)
{
	if (!sim_loop_has_turn(s->loop))
		sim_violation("%s of shard %u is told in another's turn", what, s->number);
}

/* --- balls ---------------------------------------------------------------------------------- */

static void throw(struct shard * from, struct ball *b)
{
	struct shard *to = &toy.shards[sim_below(PLAYERS)];

	list_remove(&b->node);
	list_push(&to->inbox, &b->node);
	b->at_ms = sim.now_ms;
	if (to == from)
		loop_again(from->loop);
	else
		loop_wake(to->loop);
}

/* What was thrown is caught at once, but by one who was at work. */
static void catch (struct shard *s)
{
	while (!list_is_empty(&s->inbox)) {
		struct ball *b = list_first(&s->inbox, struct ball, node);
		list_remove(&b->node);
		int64_t late_ms = sim.now_ms - b->at_ms;
		if (late_ms > (is_slow(s) ? SLOW_MS : 0))
			sim_violation("shard %u is woken after %lld ms", s->number,
			    (long long)late_ms);
		b->at_ms = sim.now_ms + sim_between(0, HOLD_MS);
		list_push(&s->held, &b->node);
		s->caught++;
	}
}

static int64_t play(struct shard *s)
{
	int64_t next_ms = INT64_MAX;

	catch (s);
	list_foreach_safe(it, &s->held) {
		struct ball *b = list_entry(it, struct ball, node);
		if (b->at_ms <= sim.now_ms)
			throw(s, b);
		else
			next_ms = MIN(next_ms, b->at_ms);
	}
	return next_ms;
}

/* --- connections ------------------------------------------------------------------------------ */

static void on_notify(void *arg)
{
	expect_own_turn(arg, "a stream");
}

static void on_accept(void *arg, int fd, const struct netaddr *peer UNUSED)
{
	struct shard *s = arg;

	expect_own_turn(s, "a connection");
	CHECK(s->streams_n < CALLERS);
	s->streams[s->streams_n++] = stream_from_fd(s->loop, fd, on_notify, s);
}

static void echo(struct shard *s)
{
	for (size_t i = 0; i < s->streams_n; i++) {
		struct buf *in = stream_input(s->streams[i]);
		if (buf_len(in) > 0 && stream_send(s->streams[i], in) == 0)
			stream_resume(s->streams[i]);
	}
}

static void on_party(void *arg UNUSED)
{
}

static void on_echo(void *arg, const char *p UNUSED, size_t n)
{
	toy.echoed += (unsigned)n;
	sim_conn_close(*(struct sim_conn **)arg);
}

static const struct sim_party caller = { on_party, on_echo, on_party, on_party };
static struct sim_conn *calls[CALLERS];
static struct sim_timer call_timer;
static size_t calls_n;

static void on_call(struct sim_timer *t)
{
	const struct netaddr from = { .family = NETADDR_V4, .ip = { 192, 0, 2, 9 } };
	const struct sim_link link = { .latency_ms = 3 };

	calls[calls_n] = sim_connect(PORT, NULL, &from, &link, &caller, &calls[calls_n]);
	CHECK(calls[calls_n]);
	sim_conn_send(calls[calls_n++], "x", 1);
	if (calls_n < CALLERS)
		sim_timer_in(t, sim_between(0, 2 * END_MS / CALLERS / 3));
}

/* --- jobs, questions, alarms -------------------------------------------------------------------
 */

static void run_job(struct worker_job *job)
{
	container_of(job, struct shard, job)->worked = true;
}

static void on_job(struct worker_job *job)
{
	struct shard *s = container_of(job, struct shard, job);

	if (!toy.over) /* then the end of its pool */
		expect_own_turn(s, "a job");
	if (!s->worked)
		sim_violation("a job of shard %u is done and was not run", s->number);
	s->working = s->worked = false;
	s->jobs++;
}

static void on_answer(void *arg, const struct dns_answer *a UNUSED)
{
	struct shard *s = arg;

	expect_own_turn(s, "an answer");
	s->query = NULL;
	s->answers++;
}

static void keep_busy(struct shard *s)
{
	char name[32];

	if (!s->working) {
		s->working = true;
		s->job = (struct worker_job){ .run = run_job, .done = on_job };
		worker_submit(s->pool, &s->job);
	}
	if (!s->query) {
		snprintf(name, sizeof(name), "n%u.example", s->answers);
		s->query = dns_lookup(s->dns, name, DNS_TYPE_A, on_answer, s);
	}
}

static void note_alarm(struct shard *s)
{
	if (sim.now_ms < s->alarm_ms)
		return;
	if (sim.now_ms > s->alarm_ms + (is_slow(s) ? SLOW_MS : 0))
		sim_violation("shard %u: the timer is %lld ms late", s->number,
		    (long long)(sim.now_ms - s->alarm_ms));
	s->alarms++;
	s->led += sim.now_ms < HALF_MS && toy.alarm_ms != sim.now_ms;
	toy.alarm_ms = sim.now_ms;
	s->alarm_ms = sim.now_ms + ALARM_MS;
}

/* --- what must not be done -----------------------------------------------------------------------
 */

static void wake_it(struct shard *other)
{
	loop_wake(other->loop);
}

static void again(struct shard *other)
{
	loop_again(other->loop);
}

static void set_timer(struct shard *other)
{
	loop_set_timer(other->loop, sim.now_ms);
}

static void stop(struct shard *other)
{
	loop_stop(other->loop);
}

static void submit(struct shard *other)
{
	worker_submit(other->pool, &other->job);
}

static void ask(struct shard *other)
{
	dns_lookup(other->dns, "x.example", DNS_TYPE_A, on_answer, other);
}

static void pause_listener(struct shard *other)
{
	listen_pause(other->listener, true);
}

static void look_at_input(struct shard *other)
{
	stream_input(other->streams[0]);
}

static void join(struct shard *other)
{
	loop_join(other->loop);
}

static void from_job(struct worker_job *job)
{
	loop_again(container_of(job, struct shard, job)->loop);
}

/* Half of the jobs begin at once, and all of them when the pool is freed. */
static void job_touches_loop(struct shard *other UNUSED)
{
	struct shard *own = &toy.shards[0];
	struct worker_pool *pool = worker_pool_new(own->loop, 1, "x");

	own->job.run = from_job;
	worker_submit(pool, &own->job);
	worker_pool_free(&pool);
}

static void meet_twice(struct shard *other UNUSED)
{
	rendezvous_stop_others(toy.meeting);
	rendezvous_stop_others(toy.meeting);
}

static void leave(struct shard *other UNUSED)
{
	rendezvous_leave(toy.meeting);
}

static bool is_caught(void (*deed)(struct shard *other), struct shard *other)
{
	int status = 0;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		CHECK(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
		deed(other);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* In a turn of the first. */
static void try_deeds(void)
{
	static void (*const deeds[])(struct shard *) = { again, set_timer, stop, submit, ask,
		pause_listener, look_at_input, join, job_touches_loop, meet_twice, leave };

	toy.tried = true;
	for (size_t i = 0; i < ARRAY_LEN(deeds); i++)
		if (!is_caught(deeds[i], &toy.shards[2]))
			sim_violation("deed %zu goes unnoticed", i);
	if (is_caught(wake_it, &toy.shards[2]))
		sim_violation("to wake another is no crime");
}

/* --- turns
 * ---------------------------------------------------------------------------------------- */

/* The first does in the others' houses what only they may do else. */
static void visit(void)
{
	rendezvous_stop_others(toy.meeting);
	for (size_t i = 1; i < SHARDS; i++) {
		struct shard *s = &toy.shards[i];
		if (loop_now(s->loop).mono_ms != sim.now_ms)
			sim_violation("shard %zu has a time of its own", i);
		if (s->listener)
			listen_pause(s->listener, false);
		loop_set_timer(s->loop, INT64_MAX); /* it sets its own before the turn is over */
	}
	rendezvous_go(toy.meeting);
	toy.visits++;
}

static void note_turn(struct shard *s, struct now now)
{
	if (now.mono_ms != sim.now_ms || now.wall_ms != sim_wall_ms())
		sim_violation("shard %u has a time of its own", s->number);
	if (is_slow(s) && s->turn_ms >= HALF_MS && sim.now_ms < s->turn_ms + SLOW_MS)
		sim_violation("the slow shard is back after %lld ms",
		    (long long)(sim.now_ms - s->turn_ms));
	const struct shard *slow = &toy.shards[SLOW];
	toy.during += s != slow && slow->turn_ms >= HALF_MS && sim.now_ms > slow->turn_ms &&
		      sim.now_ms < slow->turn_ms + SLOW_MS;
	sim_trace("turn of shard %u: %u caught, %zu connections, %u jobs, %u answers", s->number,
	    s->caught, s->streams_n, s->jobs, s->answers);
	s->turn_ms = sim.now_ms;
	s->turns++;
	toy.last = s;
}

/* The others stop some time after the first, which is waiting for them by then. */
static void stop_if_over(struct shard *s)
{
	if (sim.now_ms < END_MS + (int64_t)s->number * SIM_SECOND)
		return;
	if (s->number > 0)
		rendezvous_leave(toy.meeting);
	loop_stop(s->loop);
}

static void step(void *arg, struct now now)
{
	struct shard *s = arg;
	int64_t next_ms = INT64_MAX;

	note_turn(s, now);
	if (s->number > 0)
		rendezvous_check(toy.meeting);
	note_alarm(s);
	if (s->number < PLAYERS) {
		next_ms = play(s);
		echo(s);
		keep_busy(s);
	}
	if (s->number == 0 && s->turns % VISIT_AFTER == 0)
		visit();
	if (s->number == 0 && !toy.tried && toy.shards[2].streams_n > 0)
		try_deeds();
	loop_set_timer(s->loop, MIN(next_ms, s->alarm_ms));
	stop_if_over(s);
}

/* --- the whole
 * ------------------------------------------------------------------------------------ */

static void open_shard(struct shard *s)
{
	const struct netaddr address = { .family = NETADDR_V4, .port = PORT };
	const struct dns_options options = { .servers = "", .timeout_ms = 1000, .tries = 2 };
	struct errbuf eb;

	s->loop = loop_new();
	s->alarm_ms = ALARM_MS;
	list_init(&s->inbox);
	list_init(&s->held);
	s->pool = worker_pool_new(s->loop, 2, "toy");
	CHECK(dns_new(s->loop, &options, &s->dns, &eb) == 0);
	if (s->number != SLEEPER) {
		CHECK(listen_tcp(&address, &s->listener, &eb) == 0);
		listen_start(s->listener, s->loop, on_accept, s);
	}
	loop_set_step(s->loop, step, s);
	loop_again(s->loop);
}

static void close_shard(struct shard *s)
{
	while (s->streams_n > 0)
		stream_close(&s->streams[--s->streams_n]);
	dns_cancel(&s->query);
	dns_free(&s->dns);
	listen_free(&s->listener);
	worker_pool_free(&s->pool);
	loop_free(&s->loop);
}

static void judge_shard(const struct shard *s)
{
	if (s->led == 0)
		sim_violation("shard %u is never the first", s->number);
	if (s->number == SLEEPER) {
		/* Once for the start, and when there was a reason. */
		if (s->turns > 1 + s->alarms + toy.visits || s->alarms < END_MS / ALARM_MS - 1)
			sim_violation("who sleeps took %u turns, %u for the timer", s->turns,
			    s->alarms);
		return;
	}
	if (s->caught < 50 || s->jobs == 0 || s->answers < 10 || s->streams_n < CALLERS / 8)
		sim_violation("shard %u: %u balls, %u jobs, %u answers, %zu connections", s->number,
		    s->caught, s->jobs, s->answers, s->streams_n);
}

static void judge(void)
{
	for (size_t i = 0; i < SHARDS; i++)
		judge_shard(&toy.shards[i]);
	if (toy.echoed != CALLERS)
		sim_violation("%u of %d callers were served", toy.echoed, CALLERS);
	if (toy.visits < 5)
		sim_violation("%u visits", toy.visits);
	if (toy.during < 100)
		sim_violation("%u turns beside the slow shard's", toy.during);
	if (sim.now_ms != END_MS + SLEEPER * SIM_SECOND)
		sim_violation("the last shard stopped at %lld ms", (long long)sim.now_ms);
}

static void run_shards(void)
{
	struct loop *loops[SHARDS];

	for (unsigned i = 0; i < SHARDS; i++) {
		toy.shards[i].number = i;
		open_shard(&toy.shards[i]);
		loops[i] = toy.shards[i].loop;
	}
	toy.meeting = rendezvous_new(loops, SHARDS);
	for (size_t i = 0; i < BALLS; i++)
		list_push(&toy.shards[0].held, &toy.balls[i].node);
	for (size_t i = 1; i < SHARDS; i++)
		loop_run_in_thread(loops[i], "toy");
	loop_run(loops[0]);
	for (size_t i = 1; i < SHARDS; i++)
		loop_join(loops[i]);
	toy.over = true;
}

bool sim_loops(uint64_t seed, bool verbose)
{
	sim.seed = seed;
	sim.verbose = verbose;
	sim.digest = UINT64_C(0xcbf29ce484222325);
	sim.alive = true;
	prng_init(&sim.rng, seed);
	for (size_t i = 0; i < BALLS; i++)
		list_init(&toy.balls[i].node);
	sim_timer_init(&call_timer, on_call);
	sim_timer_set(&call_timer, sim_between(0, SIM_SECOND));
	sim_loop_set_cost(price);
	sim_mem_side(SIM_SIDE_DAEMON);
	run_shards();
	judge();
	for (size_t i = 0; i < SHARDS; i++)
		close_shard(&toy.shards[i]);
	rendezvous_free(&toy.meeting);
	sim_mem_side(SIM_SIDE_WORLD);
	if (sim_mem_bytes() > 0)
		sim_violation("%zu bytes left behind", sim_mem_bytes());
	printf("loops: %llu turns, %u beside the slow shard's, %u visits, digest %016llx; %u "
	       "violations\n",
	    (unsigned long long)sim.steps, toy.during, toy.visits, (unsigned long long)sim.digest,
	    sim.violations);
	return sim.violations == 0;
}
