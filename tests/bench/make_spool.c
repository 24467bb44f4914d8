/*
 * make_spool - a spool full of deferred mail, in a minute for a million items.
 *
 *     make_spool [-n items] [-d domains] [-r recipients] [-a attempts] [-h held]
 *                [-f from] [-t to] [-b bytes] [-s seed] DIRECTORY
 *
 * Writes queue files as the queue would (qfile.h, spool.h), unsynced, for a
 * daemon that is not running: `items` (default 1000) single-domain messages of
 * `recipients` (1) each, in turn for d1.test, d2.test ... (default 100 domains).
 * Each recipient has failed `attempts` times (2) and all of an item are due at
 * one instant, at random between `from` and `to` seconds from now (default 3600
 * and 432000; may be negative). Every held-th item (0: none) is held. The same
 * seed gives the same ids and delays. Used by start.py; never run by make check.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/mem.h"
#include "queue/qfile.h"
#include "queue/spool.h"

enum {
	RCPTS_MAX = 1000,
	BODY_MAX = 64 * 1024,
	AGE_MS = 3600 * 1000 /* of the oldest; they came at a steady rate since */
};

static const struct qio *io;
static int dirs[SPOOL_DIRS];

static struct settings {
	long long items, domains, rcpts, attempts, held, from_s, to_s, bytes, seed;
} set = { 1000, 100, 1, 2, 0, 3600, 432000, 500, 1 };

static void must(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "make_spool: %s: %s\n", what, err_text(err));
	exit(1);
}

static int directory(int in, const char *name)
{
	int err = io->mkdir(io->arg, in, name);
	must(err == -EEXIST ? 0 : err, name);
	int fd = io->open(io->arg, in, name, QIO_OPEN_DIRECTORY);
	must(fd, name);
	return fd;
}

static void make_directories(const char *path)
{
	char name[8];
	int queue = directory(directory(-1, path), "queue");
	for (unsigned i = 0; i < SPOOL_DIRS; i++) {
		snprintf(name, sizeof(name), "%02x", i);
		dirs[i] = directory(queue, name);
	}
}

static struct envelope *make_envelope(const struct spool_name *name, long long number)
{
	char id[QID_TEXT_MAX], text[128];
	struct envelope *e = envelope_new();
	e->id = envelope_str(e, slice_str(qid_format(name->id, id)));
	e->queue_id = envelope_str(e, slice_str(qid_format_part(name->id, name->part, id)));
	e->domain = envelope_str(e, name->domain);
	e->sender = envelope_str(e, SLICE("sender@example.com"));
	e->client_ip = envelope_str(e, SLICE("192.0.2.1"));
	e->helo = envelope_str(e, SLICE("client.example.com"));
	e->protocol = envelope_str(e, SLICE("ESMTP"));
	e->arrival_ms = (int64_t)name->id.arrival_ms;
	e->body_bytes = (uint64_t)set.bytes;
	for (long long i = 0; i < set.rcpts; i++) {
		snprintf(text, sizeof(text), "user%lld.%lld@%s", number, i, e->domain);
		struct envelope_rcpt *r = envelope_add_rcpt(e, slice_str(text), SLICE_NONE, 0);
		r->attempts = (uint16_t)name->attempts;
		r->due_ms = name->due_ms;
		r->last_ms = e->arrival_ms + 1000;
		r->status = (struct envelope_status){ .code = 451,
			.enhanced = { 4, 3, 2 },
			.text = "451 4.3.2 try again later",
			.host = "mx.test",
			.ip = "192.0.2.25" };
	}
	return e;
}

static void write_item(const struct spool_name *name, long long number,
    const struct qfile_body *body)
{
	char text[SPOOL_NAME_MAX];
	uint32_t rcpts[RCPTS_MAX];
	struct tail tail;
	struct envelope *e = make_envelope(name, number);
	int fd = io->open(io->arg, dirs[number % SPOOL_DIRS], spool_name_format(name, text),
	    QIO_OPEN_CREATE);
	must(fd, text);
	must(qfile_write(io, fd, e, body, &tail), text);
	for (uint32_t i = 0; i < e->rcpts_n; i++)
		rcpts[i] = i;
	if (name->attempts > 0)
		must(qfile_append(io, fd, e, rcpts, e->rcpts_n, &tail), text);
	must(io->close(io->arg, fd), text);
	envelope_free(&e);
}

static void write_items(void)
{
	int64_t now_ms = clock_now().wall_ms;
	uint64_t spread_ms = (uint64_t)(set.to_s - set.from_s) * 1000;
	struct qid_source ids;
	struct prng r;
	char domain[32];
	char *mem = mem_alloc((size_t)set.bytes + 2);
	memset(mem, 'x', (size_t)set.bytes);
	memcpy(mem, "Subject: s\r\n\r\n", MIN((size_t)set.bytes, 14));
	const struct qfile_body body = { .mem = mem,
		.fd = -1,
		.bytes = (uint64_t)set.bytes,
		.crc = codec_crc32c(0, mem, (size_t)set.bytes) };
	prng_init(&r, (uint64_t)set.seed);
	qid_source_init(&ids, 0, 0, (uint64_t)set.seed); /* no start of a daemon has this epoch */
	for (long long i = 0; i < set.items; i++) {
		snprintf(domain, sizeof(domain), "d%lld.test", i % set.domains + 1);
		const struct spool_name name = {
			.due_ms =
			    now_ms + set.from_s * 1000 + (int64_t)prng_below(&r, spread_ms + 1),
			.attempts = (unsigned)set.attempts,
			.held = set.held > 0 && i % set.held == 0,
			.id = qid_new(&ids, now_ms - AGE_MS + AGE_MS * i / set.items),
			.part = 1,
			.domain = slice_str(domain),
		};
		write_item(&name, i, &body);
	}
	mem_free(mem);
}

static void usage(void)
{
	fputs("usage: make_spool [-n items] [-d domains] [-r recipients] [-a attempts] [-h held]\n"
	      "                  [-f from] [-t to] [-b bytes] [-s seed] DIRECTORY\n",
	    stderr);
	exit(2);
}

static long long number(const char *text, long long min, long long max)
{
	char *end;
	long long v = strtoll(text, &end, 10);
	if (*end != '\0' || end == text || v < min || v > max)
		usage();
	return v;
}

static void set_option(int c)
{
	static const struct {
		char letter;
		long long *to;
		long long min, max;
	} options[] = {
		{ 'n', &set.items, 1, 100000000 },
		{ 'd', &set.domains, 1, 100000000 },
		{ 'r', &set.rcpts, 1, RCPTS_MAX },
		{ 'a', &set.attempts, 0, 1000 },
		{ 'h', &set.held, 0, 100000000 },
		{ 'f', &set.from_s, -10000000, 10000000 },
		{ 't', &set.to_s, -10000000, 10000000 },
		{ 'b', &set.bytes, 1, BODY_MAX },
		{ 's', &set.seed, 0, 1000000000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		if (options[i].letter != c)
			continue;
		*options[i].to = number(optarg, options[i].min, options[i].max);
		return;
	}
	usage();
}

int main(int argc, char **argv)
{
	int c;
	while ((c = getopt(argc, argv, "n:d:r:a:h:f:t:b:s:")) != -1)
		set_option(c);
	if (optind + 1 != argc || set.to_s < set.from_s)
		usage();
	io = qio_posix();
	make_directories(argv[optind]);
	write_items();
	return 0;
}
