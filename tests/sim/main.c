/*
 * sim: runs seeds, each in a process of its own (a failed CHECK ends only
 * that), and tells which broke a law. The last line sums up. A failing seed
 * is run again with its trace.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/sim_fair.h"
#include "sim/sim_loops.h"
#include "sim/sim_run.h"
#include "sim/sim_storm.h"

#define SEED_SECONDS_MAX 120 /* of CPU time: it hangs */
#define RESULT_FD        3

static const char *const break_names[SIM_BREAK_N] = {
	[SIM_BREAK_NONE] = "nothing",
	[SIM_BREAK_SYNC] = "sync",
	[SIM_BREAK_FILESYNC] = "filesync",
	[SIM_BREAK_DIRSYNC] = "dirsync",
	[SIM_BREAK_SETTLE] = "settle",
	[SIM_BREAK_COMPLETION] = "completion",
	[SIM_BREAK_TWICE] = "twice",
	[SIM_BREAK_EARLY] = "early",
	[SIM_BREAK_LATE] = "late",
	[SIM_BREAK_BODY] = "body",
	[SIM_BREAK_LIMIT] = "limit",
	[SIM_BREAK_EVENT] = "event",
	[SIM_BREAK_LOSE] = "lose",
	[SIM_BREAK_RECORD] = "record",
	[SIM_BREAK_SCHEDULE] = "schedule",
	[SIM_BREAK_OUTCOME] = "outcome",
	[SIM_BREAK_LEAK] = "leak",
	[SIM_BREAK_PERMANENT] = "permanent",
	[SIM_BREAK_REPORT] = "report",
	[SIM_BREAK_TTL] = "ttl",
	[SIM_BREAK_FORGET] = "forget",
	[SIM_BREAK_STALE] = "stale",
	[SIM_BREAK_WORN] = "worn",
	[SIM_BREAK_AGE] = "age",
	[SIM_BREAK_IDLE] = "idle",
	[SIM_BREAK_RATE] = "rate",
	[SIM_BREAK_FAIR] = "fair",
};

struct options {
	uint64_t from, seeds;
	unsigned jobs;
	enum sim_break broken;
	bool verbose;
	unsigned shards; /* 0: each seed has its own */
	size_t storm;    /* items; 0: seeds are run instead */
	size_t fair;     /* the same, of a burst */
	bool rated;
	bool loops;        /* they are tried instead */
	bool until_caught; /* with --break: success is a failing seed */
};

struct job {
	pid_t pid;
	int fd;
	uint64_t seed;
};

static void prepare(void)
{
	const struct rlimit cpu = { SEED_SECONDS_MAX, SEED_SECONDS_MAX };

	if (setrlimit(RLIMIT_CPU, &cpu) < 0)
		abort();
	/* What is freed is wanted again: no system call for each segment of the journal. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	setvbuf(stdout, NULL, _IOLBF, 0); /* whatever happens, the trace is there */
}

static int child(const struct options *o, uint64_t seed)
{
	struct sim_result r;

	prepare();
	sim.shards = o->shards;
	sim_run(seed, o->broken, o->verbose, &r);
	fflush(stdout);
	return write(RESULT_FD, &r, sizeof(r)) == (ssize_t)sizeof(r) && r.violations == 0 ? 0 : 1;
}

static void start(const struct options *o, struct job *j, uint64_t seed)
{
	int ends[2];

	fflush(stdout);
	if (pipe(ends) < 0)
		abort();
	j->seed = seed;
	j->pid = fork();
	if (j->pid < 0)
		abort();
	if (j->pid == 0) {
		/* What a run opens and closes lies above. */
		if (ends[1] != RESULT_FD && dup2(ends[1], RESULT_FD) < 0)
			abort();
		close_range(RESULT_FD + 1, ~0U, 0);
		_exit(child(o, seed));
	}
	close(ends[1]);
	j->fd = ends[0];
}

static void add(struct sim_result *sum, const struct sim_result *r)
{
	sum->messages += r->messages;
	sum->recipients += r->recipients;
	sum->crashes += r->crashes;
	sum->lives += r->lives;
	sum->duplicates += r->duplicates;
	sum->reports += r->reports;
	sum->deferred += r->deferred;
	sum->reused += r->reused;
	sum->stale += r->stale;
	sum->virtual_ms += r->virtual_ms;
}

/* True if the seed kept all laws. */
static bool finish(const struct options *o, struct job *j, struct sim_result *sum)
{
	struct sim_result r = { 0 };
	char shards[24] = "";
	int status;

	bool whole = read(j->fd, &r, sizeof(r)) == (ssize_t)sizeof(r);
	if (whole && o->verbose)
		printf("digest %016llx\n", (unsigned long long)r.digest);
	close(j->fd);
	while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR)
		;
	j->pid = 0;
	if (whole)
		add(sum, &r);
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (o->shards)
		snprintf(shards, sizeof(shards), " --shards %u", o->shards);
	if (!good && WIFSIGNALED(status))
		printf("seed %llu: killed by signal %d\n", (unsigned long long)j->seed,
		    WTERMSIG(status));
	if (!good)
		printf(
		    "seed %llu: %u violations; replay: tests/sim/run --seeds 1 --from %llu%s%s%s "
		    "--verbose\n",
		    (unsigned long long)j->seed, r.violations, (unsigned long long)j->seed,
		    o->broken ? " --break " : "", o->broken ? break_names[o->broken] : "", shards);
	fflush(stdout);
	return good;
}

static unsigned run_all(const struct options *o, struct sim_result *sum, uint64_t *done)
{
	struct job jobs[16] = { 0 };
	unsigned failed = 0;
	uint64_t next = 0;

	for (;;) {
		bool idle = true;
		for (unsigned i = 0; i < o->jobs; i++) {
			struct job *j = &jobs[i];
			if (j->pid) {
				failed += !finish(o, j, sum);
				++*done;
			}
			if (next < o->seeds && !(o->until_caught && failed > 0))
				start(o, j, o->from + next++);
			idle = idle && !j->pid;
		}
		if (idle)
			return failed;
	}
}

static bool parse_break(struct options *o, const char *name)
{
	for (size_t i = 1; i < SIM_BREAK_N; i++)
		if (strcmp(name, break_names[i]) == 0)
			o->broken = (enum sim_break)i;
	return o->broken != SIM_BREAK_NONE;
}

static void usage(FILE *to)
{
	fprintf(to,
	    "usage: sim [--seeds N] [--from S] [--jobs N] [--shards N] [--break NAME] "
	    "[--until-caught] [--verbose]\n"
	    "       sim --storm [ITEMS] [--verbose]\n"
	    "       sim --fair|--rate [ITEMS] [--break fair|rate] [--verbose]\n"
	    "       sim --loops [--from S] [--verbose]\n"
	    "\n"
	    "Runs the daemon in simulated worlds and checks that it kept its laws. --break\n"
	    "sabotages it:\n ");
	for (size_t i = 1; i < SIM_BREAK_N; i++)
		fprintf(to, " %s", break_names[i]);
	fprintf(to, "\n");
}

static bool parse(struct options *o, int argc, char **argv)
{
	static const struct option names[] = { { "seeds", required_argument, NULL, 's' },
		{ "from", required_argument, NULL, 'f' }, { "jobs", required_argument, NULL, 'j' },
		{ "break", required_argument, NULL, 'b' }, { "verbose", no_argument, NULL, 'v' },
		{ "until-caught", no_argument, NULL, 'c' }, { "storm", no_argument, NULL, 't' },
		{ "fair", no_argument, NULL, 'F' }, { "rate", no_argument, NULL, 'R' },
		{ "loops", no_argument, NULL, 'l' }, { "shards", required_argument, NULL, 'S' },
		{ NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "v", names, NULL)) != -1) {
		switch (c) {
		case 's':
			o->seeds = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			o->from = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			o->jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			if (!parse_break(o, optarg))
				return false;
			break;
		case 'c':
			o->until_caught = true;
			break;
		case 't':
			o->storm = SIM_STORM_ITEMS;
			break;
		case 'F':
			o->fair = SIM_FAIR_ITEMS;
			break;
		case 'R':
			o->fair = SIM_FAIR_RATE_ITEMS;
			o->rated = true;
			break;
		case 'S':
			o->shards = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'l':
			o->loops = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		default:
			return false;
		}
	}
	if (o->storm && optind < argc)
		o->storm = strtoul(argv[optind++], NULL, 10);
	if (o->fair && optind < argc)
		o->fair = strtoul(argv[optind++], NULL, 10);
	return optind == argc && o->jobs >= 1 && o->jobs <= 16;
}

int main(int argc, char **argv)
{
	struct options o = { .from = 1, .seeds = 200, .jobs = 2 };
	struct sim_result sum = { 0 };
	uint64_t done = 0;

	if (!parse(&o, argc, argv)) {
		usage(stderr);
		return 2;
	}
	if (o.fair) {
		const struct sim_fair_options f = { o.from, o.fair, o.rated, o.broken, o.verbose };
		prepare();
		return sim_fair(&f) ? 0 : 1;
	}
	if (o.storm) {
		prepare();
		return sim_storm(o.from, o.storm, o.verbose) ? 0 : 1;
	}
	if (o.loops) {
		prepare();
		return sim_loops(o.from, o.verbose) ? 0 : 1;
	}
	if (o.verbose)
		o.jobs = 1;
	unsigned failed = run_all(&o, &sum, &done);
	printf("%llu seeds, %u failed: %llu messages, %llu recipients, %llu crashes, "
	       "%llu virtual days, %llu deferrals, %llu reports, %llu duplicates explained, "
	       "%llu taken over a used connection, %llu turned away there\n",
	    (unsigned long long)done, failed, (unsigned long long)sum.messages,
	    (unsigned long long)sum.recipients, (unsigned long long)sum.crashes,
	    (unsigned long long)(sum.virtual_ms / SIM_DAY), (unsigned long long)sum.deferred,
	    (unsigned long long)sum.reports, (unsigned long long)sum.duplicates,
	    (unsigned long long)sum.reused, (unsigned long long)sum.stale);
	if (o.until_caught)
		return failed > 0 ? 0 : 1;
	return failed > 0 ? 1 : 0;
}
