#include "sim/sim_run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/shards.h"
#include "sim/sim_check.h"
#include "sim/sim_disk.h"
#include "sim/sim_io.h"
#include "sim/sim_mail.h"
#include "sim/sim_operator.h"
#include "sim/sim_plan.h"
#include "sim/sim_submit.h"

#define RUN_EPOCH_MS       INT64_C(1795000000000) /* when the world begins, by the wall clock */
#define RUN_LISTINGS_MAX   1000
#define RUN_START_RETRY_MS (10 * SIM_SECOND)
#define RUN_STOP_MS        (3 * SIM_MINUTE)
#define RUN_RECOVERY_MS    (3 * SIM_MINUTE) /* what a disk refused is tried again after a minute */

static struct shards *the_shards; /* of the present life */
static struct sim_timer end_timer, death_timer, trouble_timer, watch_timer, stop_timer,
    recovered_timer;
static bool ending;       /* no more crashes */
static unsigned listings; /* asked for at the end */
static bool finished;     /* the run is over: the daemon stops for good */
static int low_fd;        /* descriptors from here on are the daemon's */
static FILE *warnings;    /* of the configuration: that it runs as root */

const struct shards *sim_run_shards(void)
{
	return the_shards;
}

bool sim_run_queue(struct queue_stats *st)
{
	struct shards_stats all;

	if (!sim.alive || !the_shards)
		return false;
	shards_stats(the_shards, &all);
	*st = all.queue;
	return true;
}

/* --- what happens to a life --------------------------------------------------------------- */

static void on_log(void *arg UNUSED, const char *line, size_t n)
{
	if (memmem(line, n, SIM_SUBMIT_PASSWORD, strlen(SIM_SUBMIT_PASSWORD)) ||
	    memmem(line, n, SIM_SUBMIT_PROOF, strlen(SIM_SUBMIT_PROOF)))
		sim_violation("a password is logged: %.*s", (int)n - 1, line);
	/* Its own folder has another name in each run of a seed. */
	if (!memmem(line, n, sim.directory, strlen(sim.directory)))
		sim_trace("log: %.*s", (int)n - 1, line);
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	while ((text = strchr(text, '\n'))) {
		text++;
		n++;
	}
	return n;
}

/* Items on their way from or to the disk are not in the listing: it is asked for until all are, or
 * the daemon is the one to blame. */
static bool is_whole(const char *answer)
{
	struct queue_stats st = { 0 };

	return strncmp(answer, "OK\n", 3) == 0 && sim_run_queue(&st) && st.scan_done &&
	       count_lines(answer) == st.items + 1;
}

/* What is in flight has shutdown_timeout, and the disk some slow jobs after that. */
static void ask_to_stop(void)
{
	sim_trace("TERM");
	sim_raise(SIGTERM);
	sim_busy_set_working(false);
	if (!stop_timer.slot)
		sim_timer_in(&stop_timer, RUN_STOP_MS);
}

static void on_overdue(struct sim_timer *t UNUSED)
{
	sim_violation("asked to stop, it goes on");
	sim_die(SIM_END_KILL);
}

static void on_listing(const char *answer)
{
	if (!is_whole(answer) && ++listings < RUN_LISTINGS_MAX) {
		sim_timer_in(&end_timer, sim_between(1, 30 * SIM_SECOND));
		return;
	}
	sim_check_note_listing();
	sim_check_listing(answer);
	finished = true;
	ask_to_stop();
}

/* The end of the run: what the queue holds is asked for, then the daemon stops. */
static void on_end(struct sim_timer *t UNUSED)
{
	if (!sim.alive) { /* in the middle of a pause */
		sim_timer_in(&end_timer, SIM_MINUTE);
		return;
	}
	ending = true;
	sim_timer_cancel(&death_timer);
	sim_operator_stop();
	sim_timer_cancel(&trouble_timer);
	sim_timer_cancel(&watch_timer);
	sim_disk_arm(0, SIM_END_NONE);
	if (sim_disk_is_troubled()) {
		sim_disk_trouble(SIM_TROUBLE_NONE);
		sim_timer_in(&recovered_timer, RUN_RECOVERY_MS);
	}
	sim_command("[\"queue\",\"--json\"]", on_listing);
}

/* Looks now and then whether there is anything left to be seen. */
static void on_watch(struct sim_timer *t)
{
	struct queue_stats st = { .items = 1 };

	(void)sim_run_queue(&st);
	if (sim_submit_is_done() && st.items == 0 && st.scan_done) {
		sim_trace("nothing is left to be done");
		on_end(&end_timer);
		sim_timer_cancel(&end_timer);
		return;
	}
	if (sim.broken == SIM_BREAK_EARLY)
		sim_raise(SIGHUP);
	sim_timer_in(t, SIM_HOUR);
}

static void on_death(struct sim_timer *t UNUSED)
{
	switch (sim_below(5)) {
	case 0:
		ask_to_stop();
		break;
	case 1:
		sim_die(SIM_END_KILL);
	case 2:
		sim_die(SIM_END_POWER);
	case 3: /* at some call of the disk to come */
		sim_disk_arm((unsigned)sim_between(1, 60), SIM_END_KILL);
		break;
	default:
		sim_disk_arm((unsigned)sim_between(1, 60), SIM_END_POWER);
		break;
	}
}

static void on_recovered(struct sim_timer *t UNUSED)
{
	sim_busy_set_working(sim.alive && !sim_disk_is_troubled() && !stop_timer.slot);
}

static void on_trouble(struct sim_timer *t)
{
	if (sim_disk_is_troubled()) {
		sim_disk_trouble(SIM_TROUBLE_NONE);
		sim_timer_in(&recovered_timer, RUN_RECOVERY_MS);
		sim_timer_in(t, sim_between(1, 2 * SIM_DAY / MAX(sim_plan.trouble_per_day, 1)));
		return;
	}
	sim_timer_cancel(&recovered_timer);
	sim_busy_set_working(false);
	sim_disk_trouble(sim_chance(50) ? SIM_TROUBLE_EIO : SIM_TROUBLE_SPACE);
	sim_timer_in(t, sim_between(SIM_SECOND, 10 * SIM_MINUTE));
}

/* --- lives -------------------------------------------------------------------------------------
 */

static size_t events_bytes(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/events", sim.directory);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	off_t n = lseek(fd, 0, SEEK_END);
	close(fd);
	return (size_t)n;
}

static void begin_era(void)
{
	CHECK(sim.eras_n < SIM_ERAS_MAX);
	sim.eras[sim.eras_n++] = (struct sim_era){ sim.now_ms, events_bytes(), sim.wall_offset_ms };
}

void sim_jump_clock(int64_t by_ms)
{
	sim.wall_offset_ms += by_ms;
	begin_era();
	sim_trace("the clock jumps: %+lld min",
	    (long long)(sim.wall_offset_ms - RUN_EPOCH_MS) / SIM_MINUTE);
}

static void begin_life(void)
{
	CHECK(sim.lives_n < SIM_LIVES_MAX);
	sim.lives[sim.lives_n++] = (struct sim_life){ .begin_ms = sim.now_ms,
		.wall_offset_ms = sim.wall_offset_ms,
		.events_end = SIZE_MAX };
	begin_era();
	sim_operator_on_start();
	sim_busy_set_working(!sim_disk_is_troubled() && !recovered_timer.slot);
	sim_trace("--- life %zu begins", sim.lives_n);
	if (sim_plan.crash_every_ms && sim.lives_n + 2 < SIM_LIVES_MAX && !ending)
		sim_timer_in(&death_timer,
		    (int64_t)sim_below((uint64_t)sim_plan.crash_every_ms * 2));
}

static const char *const end_names[] = {
	[SIM_END_NONE] = "?",
	[SIM_END_STOP] = "stop",
	[SIM_END_KILL] = "kill -9",
	[SIM_END_POWER] = "power cut",
	[SIM_END_FAIL] = "no start",
};

static void end_life(void)
{
	struct sim_life *l = &sim.lives[sim.lives_n - 1];
	bool power = l->end == SIM_END_POWER;

	sim.alive = false;
	the_shards = NULL;
	sim_busy_set_working(false);
	sim_timer_cancel(&death_timer);
	sim_timer_cancel(&stop_timer);
	l->end_ms = sim.now_ms;
	l->events_end = events_bytes();
	sim_trace("--- life %zu ends: %s", sim.lives_n, end_names[l->end]);
	if (l->end == SIM_END_STOP || l->end == SIM_END_FAIL) {
		if (sim_mem_bytes() > 0)
			sim_violation("%zu bytes in %zu blocks left behind", sim_mem_bytes(),
			    sim_mem_blocks());
		if (sim_streams() > 0)
			sim_violation("%zu streams left open", sim_streams());
	}
	sim_stream_drop(power);
	sim_dns_drop();
	sim_loop_drop();
	sim_disk_drop(power);
	sim_mem_drop();
	close_range((unsigned)low_fd, ~0U, 0);
}

/* One incarnation, from its start to whatever ends it. */
void sim_run_live(void)
{
	struct mta_options options = { .qio = sim_disk_qio(), .seed = prng_next(&sim.rng) };
	struct errbuf eb;
	struct conf *conf;
	char path[100];

	begin_life();
	snprintf(path, sizeof(path), "%s/postrider.conf", sim.directory);
	if (setjmp(sim.crash) == 0) {
		sim.alive = true;
		sim_mem_side(SIM_SIDE_DAEMON);
		if (conf_load(path, &conf, warnings) < 0)
			abort();
		if (shards_new(conf, &options, &the_shards, &eb) < 0) {
			sim.lives[sim.lives_n - 1].end = SIM_END_FAIL;
			sim_trace("no start: %s", eb.text);
		} else {
			if (sim.broken == SIM_BREAK_LEAK)
				(void)!mem_alloc(1);
			shards_run(the_shards);
			shards_free(&the_shards);
			sim.lives[sim.lives_n - 1].end = SIM_END_STOP;
		}
		conf_unref(&conf);
	}
	sim_mem_side(SIM_SIDE_WORLD);
	end_life();
}

static void pause_between_lives(void)
{
	int64_t pause_ms = sim_chance(70) ? sim_between(100, 60 * SIM_SECOND)
					  : sim_between(SIM_MINUTE, 4 * SIM_HOUR);

	if (sim.lives[sim.lives_n - 1].end == SIM_END_FAIL)
		pause_ms = RUN_START_RETRY_MS;
	sim_pass(sim.now_ms + pause_ms);
	if (sim_chance(15))
		sim_jump_clock(sim_chance(50) ? SIM_HOUR : -SIM_HOUR);
	if (sim.broken == SIM_BREAK_LOSE)
		sim_disk_lose_one();
}

void sim_run_begin(uint64_t seed, enum sim_break broken, bool verbose, void (*plan)(void))
{
	sim.seed = seed;
	sim.broken = broken;
	sim.verbose = verbose;
	sim.digest = UINT64_C(0xcbf29ce484222325);
	sim.wall_offset_ms = RUN_EPOCH_MS;
	prng_init(&sim.rng, seed);
	snprintf(sim.directory, sizeof(sim.directory), "/tmp/sim-XXXXXX");
	CHECK(mkdtemp(sim.directory) != NULL);
	plan();
	sim_plan_write_users();
	log_set_sink(on_log, NULL);
	log_configure(verbose ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE, LOG_FORMAT_DEFAULT, false);
	sim_disk_init(prng_next(&sim.rng), sim_plan.disk_bytes);
	sim_net_init(&sim_plan.net);
	sim_submit_init(&sim_plan.submit);
	sim_timer_init(&end_timer, on_end);
	sim_timer_init(&death_timer, on_death);
	sim_timer_init(&trouble_timer, on_trouble);
	sim_timer_init(&watch_timer, on_watch);
	sim_timer_init(&stop_timer, on_overdue);
	sim_timer_init(&recovered_timer, on_recovered);
	sim_operator_init();
	sim_timer_set(&end_timer, sim_plan.end_ms);
	sim_timer_set(&watch_timer, SIM_HOUR);
	if (sim_plan.trouble_per_day)
		sim_timer_set(&trouble_timer, sim_between(0, SIM_DAY));
	warnings = fopen("/dev/null", "w");
	CHECK(warnings != NULL);
	low_fd = dup(STDERR_FILENO);
	CHECK(low_fd >= 0);
	close(low_fd);
}

void sim_run_remove_files(void)
{
	static const char *const names[] = { "postrider.conf", "events", "users", "" };
	char path[100];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", sim.directory, names[i]);
		if (names[i][0])
			unlink(path);
		else
			rmdir(sim.directory);
	}
}

/* The spool after the last stop. */
static void check_spool(void)
{
	if (sim_disk_files("corrupt") > 0)
		sim_violation("%zu files in corrupt/", sim_disk_files("corrupt"));
	if (sim_disk_files("tmp") > 0)
		sim_violation("%zu files in tmp/", sim_disk_files("tmp"));
	if (sim_check_listed() == 0 && sim_disk_queue_files() > 0)
		sim_violation("%zu files of an empty queue", sim_disk_queue_files());
}

void sim_run(uint64_t seed, enum sim_break broken, bool verbose, struct sim_result *r)
{
	char path[100];

	sim_run_begin(seed, broken, verbose, sim_plan_make);
	for (;;) {
		sim_run_live();
		if (finished)
			break;
		pause_between_lives();
	}
	snprintf(path, sizeof(path), "%s/events", sim.directory);
	sim_check_events(path);
	sim_check();
	check_spool();
	sim_run_remove_files();
	*r = (struct sim_result){
		.messages = sim_totals.messages,
		.recipients = sim_totals.recipients,
		.lives = sim.lives_n,
		.duplicates = sim_totals.duplicates,
		.reports = sim_totals.reports,
		.deferred = sim_totals.deferred,
		.reused = sim_totals.reused,
		.stale = sim_totals.stale,
		.virtual_ms = sim.now_ms,
		.digest = sim.digest,
		.violations = sim.violations,
	};
	for (size_t i = 0; i < sim.lives_n; i++)
		r->crashes += sim.lives[i].end == SIM_END_KILL || sim.lives[i].end == SIM_END_POWER;
	sim_trace(
	    "%llu messages, %llu recipients: %llu delivered, %llu bounced, %llu expired, %llu "
	    "deleted, %llu queued",
	    (unsigned long long)sim_totals.messages, (unsigned long long)sim_totals.recipients,
	    (unsigned long long)sim_totals.delivered, (unsigned long long)sim_totals.bounced,
	    (unsigned long long)sim_totals.expired, (unsigned long long)sim_totals.deleted,
	    (unsigned long long)sim_totals.queued);
}
