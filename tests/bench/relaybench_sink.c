/*
 * relaybench_sink.c - takes messages and proves what came (relaybench.h). A
 * message is damaged when its end isn't the mark of the recipient it came for,
 * when its body isn't the source's filler, or when it is too short.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "bench/relaybench.h"

enum {
	SECONDS_MAX = 4096, /* of the curve */
	ALIEN = -1
};

enum mode {
	COMMAND,
	LINES, /* after DATA */
	CHUNK  /* after BDAT */
};

struct client {
	struct rb_conn conn; /* first: what epoll hands back */
	struct list_node link;
	enum mode mode;
	bool last, quit, greeted_tls;
	uint64_t chunk_left;
	size_t scanned; /* of the input, in LINES */
	struct buf body;
	struct buf rcpts; /* int64_t each: message * rcpts + number, or ALIEN */
};

struct sink {
	const struct rb_options *o;
	SSL_CTX *tls;
	int epoll, listener;
	struct list_node clients;
	char *filler;
	uint64_t wanted; /* recipients */
	uint8_t *seen;
	int64_t *taken_ns; /* of each recipient */
	int64_t *took_ns;  /* from the source's mark, in the order they came */
	int64_t begun_ns, last_ns, done_ns, at99_ns;
	uint64_t unique, twice, alien, damaged, transactions, chunked;
	uint64_t connections, open, open_most, full, resumed;
	uint32_t curve[SECONDS_MAX]; /* recipients in each second */
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

/* ---- what came ---- */

static uint64_t digits(const char *p, size_t n)
{
	uint64_t v = 0;
	return slice_to_u64(slice_of(p, n), &v) ? v : 0;
}

/* The number of the message and when it was written, off its last line; false: it is damaged. */
static bool examine(const struct sink *s, struct slice m, uint64_t *number, int64_t *ns)
{
	const char *blank = m.n ? memmem(m.p, m.n, "\r\n\r\n", 4) : NULL;
	size_t mark = RB_MARK_LEN + 2, shortest = s->o->bytes > 64 ? s->o->bytes - 64 : 0;
	if (!blank || m.n < shortest || m.n < (size_t)(blank + 4 - m.p) + mark)
		return false;
	const char *end = m.p + m.n - mark, *body = blank + 4;
	size_t filled = (size_t)(end - body);
	if (memcmp(end, "bench-end ", 10) != 0 || filled % 64 || filled > s->o->bytes ||
	    memcmp(body, s->filler, filled) != 0)
		return false;
	*number = digits(end + 10, 10);
	*ns = (int64_t)digits(end + 21, 20);
	return true;
}

static void count_rcpt(struct sink *s, uint64_t id, int64_t written_ns, int64_t now)
{
	if (s->seen[id]) {
		s->twice++;
		return;
	}
	s->seen[id] = 1;
	s->taken_ns[id] = now;
	s->took_ns[s->unique++] = now - written_ns;
	s->last_ns = now;
	uint64_t second = (uint64_t)(now - s->begun_ns) / 1000000000;
	if (second < SECONDS_MAX)
		s->curve[second]++;
	if (s->unique == s->wanted * 99 / 100)
		s->at99_ns = now;
	if (s->unique == s->wanted)
		s->done_ns = now;
}

static void message_done(struct sink *s, struct client *c)
{
	uint64_t number = 0;
	int64_t written_ns = 0, now = rb_now();
	bool whole = examine(s, buf_slice(&c->body), &number, &written_ns);
	s->transactions++;
	s->damaged += !whole;
	size_t n = buf_len(&c->rcpts) / sizeof(int64_t);
	for (size_t i = 0; i < n; i++) {
		int64_t id;
		memcpy(&id, buf_ptr(&c->rcpts) + i * sizeof(id), sizeof(id));
		if (id == ALIEN) {
			s->alien++;
			continue;
		}
		s->damaged += whole && (uint64_t)id / s->o->rcpts != number;
		count_rcpt(s, (uint64_t)id, written_ns, now);
	}
	buf_clear(&c->rcpts);
	buf_clear(&c->body);
	c->mode = COMMAND;
	rb_conn_add(&c->conn, "250 2.0.0 taken\r\n");
}

/* ---- commands ---- */

static bool verb(struct slice line, const char *name)
{
	return slice_starts_nocase(line, slice_str(name));
}

/* u<message>.<number>@... */
static int64_t parse_rcpt(const struct sink *s, struct slice line)
{
	uint64_t message, number;
	struct slice rest = slice_from(line, (size_t)(slice_find(line, '<') + 1)), part;
	if (!slice_starts(rest, SLICE("u")))
		return ALIEN;
	rest = slice_from(rest, 1);
	if (!slice_split(&rest, '.', &part) || !slice_to_u64(part, &message) ||
	    !slice_split(&rest, '@', &part) || !slice_to_u64(part, &number) ||
	    message >= s->o->messages || number >= s->o->rcpts)
		return ALIEN;
	return (int64_t)(message * s->o->rcpts + number);
}

static void on_ehlo(const struct sink *s, struct client *c)
{
	rb_conn_add(&c->conn,
	    "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n%s%s"
	    "250 SIZE 104857600\r\n",
	    s->o->chunking ? "250-CHUNKING\r\n" : "",
	    s->tls && !c->conn.ssl ? "250-STARTTLS\r\n" : "");
}

static bool on_starttls(struct sink *s, struct client *c)
{
	rb_conn_add(&c->conn, "220 2.0.0 go\r\n");
	return rb_conn_flush(&c->conn) && rb_conn_start_tls(&c->conn, s->tls, NULL);
}

static void on_bdat(struct sink *s, struct client *c, struct slice line)
{
	struct slice rest = slice_trim(slice_from(line, 4)), size;
	if (!slice_split(&rest, ' ', &size) || !slice_to_u64(size, &c->chunk_left) ||
	    buf_len(&c->rcpts) == 0) {
		c->quit = true; /* what follows can't be told from commands */
		rb_conn_add(&c->conn, "503 5.5.1 no\r\n");
		return;
	}
	c->last = slice_eq_nocase(slice_trim(rest), SLICE("LAST"));
	c->mode = CHUNK;
	s->chunked += c->last;
}

static void on_data(struct client *c)
{
	if (buf_len(&c->rcpts) == 0) {
		rb_conn_add(&c->conn, "503 5.5.1 no recipients\r\n");
		return;
	}
	c->mode = LINES;
	c->scanned = 0;
	rb_conn_add(&c->conn, "354 go\r\n");
}

/* False: the connection is lost. */
static bool on_command(struct sink *s, struct client *c, struct slice line)
{
	if (verb(line, "MAIL") || verb(line, "RSET")) {
		buf_clear(&c->rcpts);
		rb_conn_add(&c->conn, "250 2.1.0 ok\r\n");
	} else if (verb(line, "RCPT")) {
		int64_t id = parse_rcpt(s, line);
		CHECK(buf_add(&c->rcpts, &id, sizeof(id)) == 0);
		rb_conn_add(&c->conn, "250 2.1.5 ok\r\n");
	} else if (verb(line, "DATA")) {
		on_data(c);
	} else if (verb(line, "BDAT") && s->o->chunking) {
		on_bdat(s, c, line);
	} else if (verb(line, "EHLO")) {
		on_ehlo(s, c);
	} else if (verb(line, "STARTTLS") && s->tls && !c->conn.ssl) {
		return on_starttls(s, c);
	} else if (verb(line, "QUIT")) {
		rb_conn_add(&c->conn, "221 2.0.0 bye\r\n");
		c->quit = true;
	} else if (verb(line, "HELO") || verb(line, "NOOP")) {
		rb_conn_add(&c->conn, "250 2.0.0 ok\r\n");
	} else {
		rb_conn_add(&c->conn, "502 5.5.2 what\r\n");
	}
	return true;
}

/* ---- bodies ---- */

/* After DATA: true when the end was found. No line of the source starts with a dot. */
static bool take_lines(struct sink *s, struct client *c)
{
	struct slice in = buf_slice(&c->conn.in);
	size_t from = c->scanned > 4 ? c->scanned - 4 : 0;
	const char *end = in.n > from ? memmem(in.p + from, in.n - from, "\r\n.\r\n", 5) : NULL;
	c->scanned = in.n;
	if (!end)
		return false;
	size_t n = (size_t)(end - in.p) + 2;
	CHECK(buf_add(&c->body, in.p, n) == 0);
	buf_consume(&c->conn.in, n + 3);
	message_done(s, c);
	return true;
}

static bool take_chunk(struct sink *s, struct client *c)
{
	struct slice in = buf_slice(&c->conn.in);
	size_t n = MIN(in.n, (size_t)c->chunk_left);
	CHECK(buf_add(&c->body, in.p, n) == 0);
	buf_consume(&c->conn.in, n);
	c->chunk_left -= n;
	if (c->chunk_left > 0)
		return false;
	if (c->last) {
		message_done(s, c);
	} else {
		c->mode = COMMAND;
		rb_conn_add(&c->conn, "250 2.0.0 chunk\r\n");
	}
	return true;
}

/* One step over the input. False: no more of it can be used. */
static bool advance(struct sink *s, struct client *c, bool *alive)
{
	struct slice line;
	if (c->quit)
		return false;
	if (c->mode == LINES)
		return take_lines(s, c);
	if (c->mode == CHUNK)
		return take_chunk(s, c);
	if (!rb_conn_line(&c->conn, &line))
		return false;
	*alive = on_command(s, c, line);
	return *alive;
}

/* ---- connections ---- */

static void drop(struct sink *s, struct client *c)
{
	s->open--;
	list_remove(&c->link);
	rb_conn_close(&c->conn);
	buf_fini(&c->body);
	buf_fini(&c->rcpts);
	mem_free(c);
}

static void count_handshake(struct sink *s, struct client *c)
{
	if (c->greeted_tls || !c->conn.ssl || c->conn.shaking)
		return;
	c->greeted_tls = true;
	if (SSL_session_reused(c->conn.ssl))
		s->resumed++;
	else
		s->full++;
}

static void on_event(struct sink *s, struct client *c, uint32_t events)
{
	bool alive = rb_conn_ready(&c->conn, events);
	count_handshake(s, c);
	while (alive && advance(s, c, &alive)) {
	}
	if (!alive || !rb_conn_flush(&c->conn) || (c->quit && buf_len(&c->conn.out) == 0))
		drop(s, c);
}

static void on_listener(struct sink *s)
{
	int fd, one = 1;
	while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		struct client *c = mem_zalloc(sizeof(*c));
		rb_conn_open(&c->conn, s->epoll, fd);
		buf_init(&c->body, RB_BODY_MAX);
		buf_init(&c->rcpts, RB_BODY_MAX);
		list_push(&s->clients, &c->link);
		s->connections++;
		s->open++;
		s->open_most = MAX(s->open_most, s->open);
		rb_conn_add(&c->conn, "220 sink.test ESMTP\r\n");
		if (!rb_conn_flush(&c->conn))
			drop(s, c);
	}
}

static void listen_on(struct sink *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)s->o->port),
		.sin_addr.s_addr = htonl(s->o->any_address ? INADDR_ANY : INADDR_LOOPBACK) };
	int one = 1;
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s->listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(s->listener, 4096) != 0)
		rb_die("listen");
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &ev) != 0)
		rb_die("epoll_ctl");
}

/* ---- the run ---- */

static bool over(const struct sink *s)
{
	int64_t now = rb_now(), second = 1000000000;
	if (s->done_ns)
		return now > s->done_ns + (int64_t)s->o->grace_s * second;
	return now > s->last_ns + (int64_t)s->o->stall_s * second;
}

static void run(struct sink *s)
{
	struct epoll_event events[RB_EVENTS];
	while (!ended && !over(s)) {
		int n = epoll_wait(s->epoll, events, RB_EVENTS, 100);
		if (n < 0 && errno != EINTR)
			rb_die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				on_event(s, events[i].data.ptr, events[i].events);
			else
				on_listener(s);
		}
	}
}

static void print_curve(const struct sink *s, FILE *f)
{
	uint64_t last = (uint64_t)(s->last_ns - s->begun_ns) / 1000000000;
	fputs(",\"per_second\":[", f);
	for (uint64_t i = 0; i <= last && i < SECONDS_MAX; i++)
		fprintf(f, "%s%" PRIu32, i ? "," : "", s->curve[i]);
	fputs("]}\n", f);
}

static void report(const struct sink *s)
{
	FILE *f = s->o->out ? fopen(s->o->out, "we") : stdout;
	if (!f)
		rb_die(s->o->out);
	double p50 = rb_quantile(s->took_ns, s->unique, 500);
	double p99 = rb_quantile(s->took_ns, s->unique, 990);
	fprintf(f,
	    "{\"rcpts_wanted\":%" PRIu64 ",\"rcpts_got\":%" PRIu64 ",\"dup\":%" PRIu64
	    ",\"alien\":%" PRIu64 ",\"bad\":%" PRIu64 ",\"transactions\":%" PRIu64
	    ",\"chunked\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"maxconc\":%" PRIu64
	    ",\"handshakes_full\":%" PRIu64 ",\"handshakes_resumed\":%" PRIu64
	    ",\"t_last\":%.6f,\"t_99\":%.6f,\"e2e_p50_ms\":%.3f,\"e2e_p99_ms\":%.3f"
	    ",\"sink_cpu_s\":%.3f",
	    s->wanted, s->unique, s->twice, s->alien, s->damaged, s->transactions, s->chunked,
	    s->connections, s->open_most, s->full, s->resumed, (double)s->last_ns / 1e9,
	    (double)s->at99_ns / 1e9, p50, p99, rb_cpu_seconds());
	print_curve(s, f);
	if (f != stdout && fclose(f) != 0)
		rb_die(s->o->out);
	if (s->o->times)
		rb_write_times(s->o->times, s->taken_ns, s->wanted);
}

int rb_sink(const struct rb_options *o)
{
	struct sigaction end = { .sa_handler = on_signal };
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	struct sink *s = mem_zalloc(sizeof(*s));
	s->o = o;
	s->tls = o->tls ? rb_tls(o->certificate, o->key) : NULL;
	s->wanted = o->messages * o->rcpts;
	s->filler = rb_filler(o->bytes / 64 + 1);
	s->seen = mem_zalloc(s->wanted + 1);
	s->taken_ns = mem_zalloc((s->wanted + 1) * sizeof(*s->taken_ns));
	s->took_ns = mem_zalloc((s->wanted + 1) * sizeof(*s->took_ns));
	list_init(&s->clients);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	listen_on(s);
	s->begun_ns = s->last_ns = rb_now();
	run(s);
	report(s);
	int status = s->unique == s->wanted ? 0 : 1;
	while (!list_is_empty(&s->clients))
		drop(s, list_first(&s->clients, struct client, link));
	SSL_CTX_free(s->tls);
	mem_free(s->took_ns);
	mem_free(s->taken_ns);
	mem_free(s->seen);
	mem_free(s->filler);
	mem_free(s);
	return status;
}
