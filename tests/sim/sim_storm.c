/*
 * The storm. Its items, and other mail that falls due around it, are queue
 * files on the disk before the daemon starts; new mail is submitted all the
 * time, for every domain but the one that is down. The world is calm, so what
 * mail has to wait for is the daemon: each turn of its loop takes time, for
 * every call into it, every block of memory it asks for, and every item that
 * moves. Late is an item that is delivered later than it was due, or
 * received: the whole attempt is in it.
 */
#include "sim/sim_storm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/dispatch.h"
#include "core/shards.h"
#include "queue/qfile.h"
#include "queue/spool.h"
#include "sim/sim_disk.h"
#include "sim/sim_io.h"
#include "sim/sim_mail.h"
#include "sim/sim_plan.h"
#include "sim/sim_run.h"

#define STORM_AT_MS        (60 * SIM_SECOND) /* its items fall due from here on, within a second */
#define STORM_OTHER_MS     (58 * SIM_SECOND) /* other mail does from here on */
#define STORM_OTHER_END_MS (66 * SIM_SECOND) /* until here */
#define STORM_END_MS       (140 * SIM_SECOND)
#define STORM_OTHERS       3000 /* due */
#define STORM_NEW          6000 /* messages, from the start to the end */
#define STORM_AGE_MS       SIM_HOUR
#define STORM_ATTEMPTS     2
#define STORM_JUDGED_MIN   500 /* other mail of each kind */
#define STORM_LATE_MS      100 /* p99 of other mail: less */
#define STORM_PROBES       3   /* in the first 80 s: at once, after 30 s, a minute later */

/* What the loop's work takes, rather too much. */
#define COST_TURN_US  20
#define COST_CALL_US  20
#define COST_BLOCK_US 2
#define COST_MOVE_US  2

static struct {
	size_t items;
	struct sim_domain *dead;
	struct sim_timer end;
	int64_t *due_ms;       /* of the messages that were on the disk, by their number */
	size_t parked;         /* so many */
	struct map changed;    /* ids of the storm's items whose files were touched */
	uint64_t changes;      /* calls that did */
	size_t ready, waiting; /* at the end of the last turn */
	uint64_t blocks;
} storm;

/* --- mail on the disk -------------------------------------------------------------------- */

static void must(int err)
{
	CHECK(err >= 0);
}

static int make_directory(const struct qio *io, int in, const char *name)
{
	must(io->mkdir(io->arg, in, name));
	int fd = io->open(io->arg, in, name, QIO_OPEN_DIRECTORY);
	must(fd);
	return fd;
}

static char *make_content(const struct sim_msg *m, size_t *n)
{
	size_t body_n;
	char *body = sim_mail_body(m, &body_n);
	char *all =
	    mem_printf("Subject: storm\r\nX-Sim: %u\r\n\r\n%.*s", m->number, (int)body_n, body);

	mem_free(body);
	*n = strlen(all);
	return all;
}

static struct envelope *make_envelope(const struct sim_msg *m, const struct spool_name *name,
    size_t bytes)
{
	char id[QID_TEXT_MAX];
	struct envelope *e = envelope_new();

	e->id = envelope_str(e, slice_str(qid_format(name->id, id)));
	e->queue_id = envelope_str(e, slice_str(qid_format_part(name->id, name->part, id)));
	e->domain = envelope_str(e, name->domain);
	e->sender = envelope_str(e, slice_str(m->sender.address));
	e->client_ip = envelope_str(e, SLICE("10.200.0.1"));
	e->helo = envelope_str(e, SLICE("client.test"));
	e->protocol = envelope_str(e, SLICE("ESMTP"));
	e->arrival_ms = (int64_t)name->id.arrival_ms;
	e->body_bytes = bytes;
	struct envelope_rcpt *r =
	    envelope_add_rcpt(e, slice_str(m->rcpts[0].address), SLICE_NONE, 0);
	r->attempts = STORM_ATTEMPTS;
	r->due_ms = name->due_ms;
	r->last_ms = e->arrival_ms + SIM_SECOND;
	r->status = (struct envelope_status){ .code = 451,
		.enhanced = { 4, 3, 2 },
		.text = "451 4.3.2 later" };
	return e;
}

static void write_item(const struct qio *io, int dir, const struct sim_msg *m,
    const struct spool_name *name)
{
	char text[SPOOL_NAME_MAX];
	const uint32_t first = 0;
	struct qfile_body body = { .fd = -1 };
	struct tail tail;
	size_t n;
	char *content = make_content(m, &n);
	struct envelope *e = make_envelope(m, name, n);

	body.mem = content;
	body.bytes = n;
	body.crc = codec_crc32c(0, content, n);
	int fd = io->open(io->arg, dir, spool_name_format(name, text), QIO_OPEN_CREATE);
	must(fd);
	must(qfile_write(io, fd, e, &body, &tail));
	must(qfile_append(io, fd, e, &first, 1, &tail));
	must(io->close(io->arg, fd));
	envelope_free(&e);
	mem_free(content);
}

/* The storm's come first: their messages have the numbers below storm.items. */
static void make_message(size_t i)
{
	bool of_storm = i < storm.items;
	struct sim_msg *m = sim_mail_new(1, 100, false);

	CHECK(m->number == i);
	sim_mail_address(&m->sender, sim_net_any());
	sim_mail_address(&m->rcpts[0], of_storm ? storm.dead : sim_net_any());
	storm.due_ms[i] = of_storm ? STORM_AT_MS + (int64_t)sim_below(SIM_SECOND)
				   : sim_between(STORM_OTHER_MS, STORM_OTHER_END_MS);
}

/* One folder after the other, each synced: the disk searches all that is pending. */
static void fill_folder(const struct qio *io, struct qid_source *ids, int queue, size_t folder)
{
	char name[8];

	snprintf(name, sizeof(name), "%02zx", folder);
	int dir = make_directory(io, queue, name);
	for (size_t i = folder; i < storm.parked; i += SPOOL_DIRS) {
		const struct sim_msg *m = sim_mail_get(i);
		const struct spool_name item = { .due_ms = storm.due_ms[i] + sim.wall_offset_ms,
			.attempts = STORM_ATTEMPTS,
			.id = qid_new(ids, sim_wall_ms() - STORM_AGE_MS),
			.part = 1,
			.domain = slice_str(m->rcpts[0].domain->name) };
		write_item(io, dir, m, &item);
	}
	must(io->sync_directory(io->arg, dir));
}

static void park(void)
{
	const struct qio *io = sim_disk_qio();
	struct qid_source ids;

	storm.parked = storm.items + STORM_OTHERS;
	storm.due_ms = mem_zalloc(storm.parked * sizeof(*storm.due_ms));
	for (size_t i = 0; i < storm.parked; i++)
		make_message(i);
	int root = io->open(io->arg, -1, sim.directory, QIO_OPEN_DIRECTORY);
	must(root);
	int queue = make_directory(io, root, "queue");
	must(io->sync_directory(io->arg, root));
	qid_source_init(&ids, 0, 0, sim.seed); /* no start of a daemon has this epoch */
	for (size_t folder = 0; folder < SPOOL_DIRS; folder++)
		fill_folder(io, &ids, queue, folder);
	must(io->sync_directory(io->arg, queue));
	sim_disk_drop(false); /* the descriptors */
}

/* --- the world ------------------------------------------------------------------------------ */

static void plan(void)
{
	sim.calm = true;
	sim_plan = (struct sim_plan){
		.net = { .domains = 300 },
		.submit = { .messages = STORM_NEW, .period_ms = STORM_END_MS },
		.config = { .concurrency = 10000,
		    .limit = 6,
		    .reuse = { .messages = 100, .idle_s = 5, .age_s = 300 },
		    .pipelining = true },
		.end_ms = SIM_DAY,
		.disk_bytes = UINT64_C(1) << 28,
	};
}

/* One with a host and a limit of its own. */
static void kill_a_domain(void)
{
	do
		storm.dead = sim_net_any();
	while (
	    storm.dead->hosts_n > 1 || storm.dead->site->domains > 1 || storm.dead->site->is_route);
	storm.dead->hosts[0].down_until_ms = INT64_MAX;
	storm.dead->hosts[0].blackhole = false;
	sim_net_shun(storm.dead);
}

/* Of a queue file of the dead domain: due.attempts.state.id.domain. */
static void on_change(const char *name)
{
	SIM_WORLD_SIDE;
	size_t n = strlen(name), tail = strlen(storm.dead->name);

	if (n <= tail + 1 || name[n - tail - 1] != '.' ||
	    strcmp(name + n - tail, storm.dead->name) != 0)
		return;
	storm.changes++;
	struct slice rest = slice_str(name), id;
	for (int i = 0; i < 4; i++)
		CHECK(slice_split(&rest, '.', &id));
	map_put(&storm.changed, id, &storm);
}

static int64_t price(unsigned made)
{
	const struct shards *s = sim_run_shards();
	const struct mta *m = s ? s->mta[0] : NULL; /* there is no other */
	uint64_t blocks = sim_mem_calls() - storm.blocks;
	size_t ready = storm.ready, waiting = storm.waiting;

	if (m && m->dispatch) {
		storm.ready = dispatch_ready(m->dispatch);
		storm.waiting = dispatch_waiting(m->dispatch);
	}
	storm.blocks += blocks;
	int64_t moved = llabs((long long)storm.ready - (long long)ready) +
			llabs((long long)storm.waiting - (long long)waiting);
	return COST_TURN_US + COST_CALL_US * (int64_t)made + COST_BLOCK_US * (int64_t)blocks +
	       COST_MOVE_US * moved;
}

static void on_end(struct sim_timer *t UNUSED)
{
	sim_raise(SIGTERM);
}

/* --- what came of it -------------------------------------------------------------------------- */

static const struct sim_event *find_event(const struct sim_rcpt *r, enum sim_event_kind kind)
{
	for (const struct sim_event *e = r->events; e; e = e->next)
		if (e->kind == kind)
			return e;
	return NULL;
}

struct told { /* of the storm's items */
	size_t waiting, tried;
	int64_t last_ms;
};

/* Each is told of once, the first probe by its attempt. */
static void count_told(struct told *all)
{
	for (size_t i = 0; i < storm.items; i++) {
		const struct sim_rcpt *r = &sim_mail_get(i)->rcpts[0];
		size_t waiting = 0, tried = 0;
		for (const struct sim_event *e = r->events; e; e = e->next) {
			if (e->kind != SIM_EVENT_DEFERRED)
				sim_violation("%s is not deferred", r->address);
			*(e->attempt ? &tried : &waiting) += 1;
			if (!e->attempt)
				all->last_ms = MAX(all->last_ms, e->at_ms);
		}
		if (waiting > 1 || tried > 1 || waiting + tried == 0)
			sim_violation("%s: %zu times told to wait, tried %zu times", r->address,
			    waiting, tried);
		all->waiting += waiting;
		all->tried += tried;
	}
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

struct late { /* other mail */
	size_t n, missing;
	int64_t p50_ms, p99_ms, max_ms;
};

/* When its time came; -1: never, or not in the seconds that are judged. */
static int64_t begins_at(const struct sim_rcpt *r)
{
	if (r->msg->number < storm.parked)
		return storm.due_ms[r->msg->number];
	const struct sim_event *got = find_event(r, SIM_EVENT_RECEIVED);
	return got && got->at_ms >= STORM_OTHER_MS && got->at_ms <= STORM_OTHER_END_MS ? got->at_ms
										       : -1;
}

static void measure_one(const struct sim_rcpt *r, int64_t **late, struct late *l)
{
	const struct sim_event *out = find_event(r, SIM_EVENT_DELIVERED);
	int64_t since_ms = begins_at(r);

	if (since_ms < 0)
		return;
	if (!out) {
		l->missing++;
		return;
	}
	*late = mem_realloc(*late, (l->n + 1) * sizeof(**late));
	(*late)[l->n++] = out->at_ms - since_ms;
}

/* Messages from a number to another. */
static void measure(size_t from, size_t to, struct late *l)
{
	int64_t *late = NULL;

	for (size_t i = from; i < to; i++) {
		const struct sim_msg *m = sim_mail_get(i);
		for (size_t k = 0; k < m->rcpts_n; k++)
			measure_one(&m->rcpts[k], &late, l);
	}
	if (l->n == 0)
		return;
	qsort(late, l->n, sizeof(*late), compare);
	l->p50_ms = late[l->n / 2];
	l->p99_ms = late[l->n * 99 / 100];
	l->max_ms = late[l->n - 1];
	mem_free(late);
}

static void judge_late(const char *what, const struct late *l)
{
	if (l->n < STORM_JUDGED_MIN)
		sim_violation("only %zu items of mail that %s", l->n, what);
	if (l->missing > 0)
		sim_violation("%zu items that %s are not delivered", l->missing, what);
	if (l->p99_ms >= STORM_LATE_MS)
		sim_violation("mail that %s is late: p99 %lld ms", what, (long long)l->p99_ms);
}

static void judge(void)
{
	unsigned dials = storm.dead->hosts[0].dials;
	struct told told = { 0 };
	struct late parked = { 0 }, fresh = { 0 };

	count_told(&told);
	measure(storm.items, storm.parked, &parked);
	measure(storm.parked, sim_mail_count(), &fresh);
	judge_late("was due", &parked);
	judge_late("was new", &fresh);
	if (dials == 0 || dials > STORM_PROBES || dials != told.tried)
		sim_violation("%u connections to the host that is down, %zu attempts", dials,
		    told.tried);
	if (map_count(&storm.changed) > told.tried)
		sim_violation("%zu queue files changed, %zu attempts", map_count(&storm.changed),
		    told.tried);
	printf("storm: %zu items due in a second, %u connections, %zu told to wait within %.1f s, "
	       "%zu of their files changed in %llu calls; %zu other items due late p50 %lld p99 "
	       "%lld max %lld ms, %zu new p50 %lld p99 %lld max %lld ms; %u violations\n",
	    storm.items, dials, told.waiting, (double)(told.last_ms - STORM_AT_MS) / 1000,
	    map_count(&storm.changed), (unsigned long long)storm.changes, parked.n,
	    (long long)parked.p50_ms, (long long)parked.p99_ms, (long long)parked.max_ms, fresh.n,
	    (long long)fresh.p50_ms, (long long)fresh.p99_ms, (long long)fresh.max_ms,
	    sim.violations);
}

bool sim_storm(uint64_t seed, size_t items, bool verbose)
{
	char path[100];

	storm.items = items;
	sim_run_begin(seed, SIM_BREAK_NONE, verbose, plan);
	map_init(&storm.changed, seed);
	kill_a_domain();
	park();
	sim_disk_watch(on_change);
	sim_loop_set_cost(price);
	sim_timer_init(&storm.end, on_end);
	sim_timer_set(&storm.end, STORM_END_MS);
	sim_run_live();
	snprintf(path, sizeof(path), "%s/events", sim.directory);
	sim_check_events(path);
	judge();
	sim_run_remove_files();
	return sim.violations == 0;
}
