/*
 * relaybench_source.c - submits messages over N sessions (relaybench.h). What
 * a session takes is its own until its 250 was read; what fails is taken again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"
#include "bench/relaybench.h"

enum step {
	CLOSED,
	GREETING,
	EHLO,
	STARTTLS,
	MAIL,
	RCPT,
	DATA,
	DOT,
	QUIT,
	READY, /* connected, waiting for the pace */
	NAP    /* closed after a failure */
};

#define NONE    UINT64_MAX
#define NAP_NS  50000000
#define WAIT_NS 500000000

struct session {
	struct rb_conn conn; /* first: what epoll hands back */
	enum step step;
	uint64_t message; /* NONE */
	uint64_t rcpt;    /* answered */
	uint64_t sent;    /* messages of this connection */
	int64_t wake_ns;
	int64_t sent_ns; /* the last byte of the body was out */
	bool pipelining, starttls, body_left;
	SSL_SESSION
	*kept; /* what its next connection resumes, as any client would; NULL: none yet */
};

struct source {
	const struct rb_options *o;
	SSL_CTX *tls;
	int epoll;
	struct session *sessions;
	char *filler;
	uint64_t next; /* message not yet taken */
	uint64_t *retry, retries;
	int64_t *times; /* two for each message */
	int64_t begun_ns, last_ns, now_ns;
	uint64_t accepted, refused, deferred, lost, uncertain;
	unsigned waiting; /* sessions in READY or NAP, with the earliest wake_ns */
	int64_t wake_ns;
};

/* ---- what a session works on ---- */

/* When the next message may go: it has its place in the pace. */
static int64_t due(const struct source *s)
{
	if (s->o->rate == 0 || s->retries > 0)
		return 0;
	return s->begun_ns + (int64_t)(s->next * 1000000000 / s->o->rate);
}

static bool more(const struct source *s)
{
	return s->retries > 0 || s->next < s->o->messages;
}

static uint64_t take(struct source *s)
{
	return s->retries > 0 ? s->retry[--s->retries] : s->next++;
}

static void give_back(struct source *s, struct session *x)
{
	if (x->message == NONE)
		return;
	s->retry[s->retries++] = x->message;
	x->message = NONE;
}

static void nap(struct source *s, struct session *x)
{
	rb_conn_close(&x->conn);
	x->step = NAP;
	x->wake_ns = s->now_ns + NAP_NS;
}

static void fail(struct source *s, struct session *x)
{
	if (s->lost == 0)
		fprintf(stderr, "relaybench: a connection failed at step %d\n", (int)x->step);
	s->uncertain += x->step == DOT;
	s->lost++;
	give_back(s, x);
	nap(s, x);
}

static void refuse(struct source *s, struct session *x, unsigned code)
{
	if (code >= 500) {
		s->refused++;
		x->message = NONE;
	} else {
		s->deferred++;
		give_back(s, x);
	}
	nap(s, x);
}

/* ---- what it says ---- */

static void say_rcpt(struct source *s, struct session *x, uint64_t i)
{
	uint64_t domain = (x->message * s->o->rcpts + i) % s->o->domains;
	rb_conn_add(&x->conn, "RCPT TO:<u%" PRIu64 ".%" PRIu64 "@d%" PRIu64 ".test>\r\n",
	    x->message, i, domain);
}

static void say_body(struct source *s, struct session *x)
{
	struct buf *out = &x->conn.out;
	uint64_t m = x->message, domain = m * s->o->rcpts % s->o->domains;
	rb_conn_add(&x->conn,
	    "From: Bench Sender <sender@bench.test>\r\nTo: <u%" PRIu64 ".0@d%" PRIu64
	    ".test>\r\nSubject: bench message %" PRIu64
	    "\r\nDate: Thu, 01 Oct 2026 12:00:00 +0000\r\nMessage-ID: <%" PRId64 ".%" PRIu64
	    "@bench.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
	    "charset=us-ascii\r\n\r\n",
	    m, domain, m, s->begun_ns, m);
	size_t rest = buf_len(out) + RB_MARK_LEN + 2;
	size_t lines = s->o->bytes > rest ? (s->o->bytes - rest) / 64 : 0;
	CHECK(buf_add(out, s->filler, lines * 64) == 0);
	rb_conn_add(&x->conn, "bench-end %010" PRIu64 " %020" PRId64 "\r\n.\r\n", m, rb_now());
	x->step = DOT;
	x->body_left = true;
}

static void say_quit(struct session *x)
{
	rb_conn_add(&x->conn, "QUIT\r\n");
	x->step = QUIT;
}

static void begin_message(struct source *s, struct session *x)
{
	if (!more(s) || x->sent >= s->o->per_connection) {
		say_quit(x);
		return;
	}
	if (due(s) > s->now_ns) {
		x->step = READY;
		x->wake_ns = due(s);
		return;
	}
	x->message = take(s);
	x->rcpt = 0;
	x->step = MAIL;
	rb_conn_add(&x->conn, "MAIL FROM:<sender@bench.test>\r\n");
	if (!x->pipelining)
		return;
	for (uint64_t i = 0; i < s->o->rcpts; i++)
		say_rcpt(s, x, i);
	rb_conn_add(&x->conn, "DATA\r\n");
}

/* ---- what it hears ---- */

static void on_rcpt(struct source *s, struct session *x)
{
	if (x->step == MAIL)
		x->step = RCPT;
	else
		x->rcpt++;
	bool all = x->rcpt == s->o->rcpts;
	if (all)
		x->step = DATA;
	if (x->pipelining)
		return;
	if (all)
		rb_conn_add(&x->conn, "DATA\r\n");
	else
		say_rcpt(s, x, x->rcpt);
}

static void on_accepted(struct source *s, struct session *x)
{
	s->last_ns = rb_now();
	s->times[2 * x->message] = x->sent_ns;
	s->times[2 * x->message + 1] = s->last_ns;
	s->accepted++;
	x->message = NONE;
	x->sent++;
	begin_message(s, x);
}

static void on_ehlo(struct source *s, struct session *x)
{
	if (s->tls && !x->conn.ssl) {
		if (!x->starttls) {
			fputs("relaybench: STARTTLS isn't offered\n", stderr);
			exit(2);
		}
		rb_conn_add(&x->conn, "STARTTLS\r\n");
		x->step = STARTTLS;
		return;
	}
	begin_message(s, x);
}

static void say_ehlo(struct session *x)
{
	rb_conn_add(&x->conn, "EHLO client.bench.test\r\n");
	x->step = EHLO;
}

static void on_ready_for_tls(struct source *s, struct session *x)
{
	if (!rb_conn_start_tls(&x->conn, s->tls, &x->kept))
		fail(s, x);
	else
		say_ehlo(x);
}

/* The last line of a reply. */
static void on_reply(struct source *s, struct session *x, unsigned code)
{
	static const unsigned want[] = { [GREETING] = 220,
		[EHLO] = 250,
		[STARTTLS] = 220,
		[MAIL] = 250,
		[RCPT] = 250,
		[DATA] = 354,
		[DOT] = 250,
		[QUIT] = 221,
		[READY] = 0 };
	if (code != want[x->step]) {
		if (x->message != NONE)
			refuse(s, x, code);
		else
			fail(s, x);
		return;
	}
	switch (x->step) {
	case GREETING:
		say_ehlo(x);
		break;
	case EHLO:
		on_ehlo(s, x);
		break;
	case STARTTLS:
		on_ready_for_tls(s, x);
		break;
	case MAIL:
	case RCPT:
		on_rcpt(s, x);
		break;
	case DATA:
		say_body(s, x);
		break;
	case DOT:
		on_accepted(s, x);
		break;
	case QUIT:
		rb_conn_close(&x->conn);
		x->step = CLOSED;
		break;
	case CLOSED:
	case READY:
	case NAP:
		UNREACHABLE();
	}
}

static void on_line(struct source *s, struct session *x, struct slice line)
{
	uint64_t code;
	if (line.n < 3 || !slice_to_u64(slice_of(line.p, 3), &code)) {
		fail(s, x);
		return;
	}
	struct slice word = slice_from(line, 4);
	if (x->step == EHLO && slice_eq_nocase(word, SLICE("PIPELINING")))
		x->pipelining = s->o->pipelining;
	if (x->step == EHLO && slice_eq_nocase(word, SLICE("STARTTLS")))
		x->starttls = true;
	if (line.n == 3 || line.p[3] != '-')
		on_reply(s, x, (unsigned)code);
}

static void flush(struct source *s, struct session *x)
{
	if (x->conn.fd < 0)
		return;
	if (x->body_left)
		x->sent_ns =
		    rb_now(); /* before the call: the answer may be there when it returns */
	if (!rb_conn_flush(&x->conn)) {
		fail(s, x);
		return;
	}
	if (buf_len(&x->conn.out) == 0)
		x->body_left = false;
}

static void on_event(struct source *s, struct session *x, uint32_t events)
{
	struct slice line;
	bool alive = rb_conn_ready(&x->conn, events);
	if (!alive) {
		if (x->step == QUIT) {
			rb_conn_close(&x->conn);
			x->step = CLOSED;
		} else {
			fail(s, x);
		}
		return;
	}
	flush(s, x);
	while (x->conn.fd >= 0 && rb_conn_line(&x->conn, &line))
		on_line(s, x, line);
	flush(s, x);
}

/* ---- the run ---- */

static void dial(struct source *s, struct session *x)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)s->o->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		rb_die("socket");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	rb_conn_open(&x->conn, s->epoll, fd);
	x->pipelining = x->starttls = x->body_left = false;
	x->sent = 0;
	x->step = GREETING;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		fail(s, x);
}

/* Who waited long enough goes on. Counts who is not CLOSED, and who waits and until when. */
static unsigned wake(struct source *s)
{
	unsigned busy = 0;
	s->waiting = 0;
	s->wake_ns = INT64_MAX;
	for (uint64_t i = 0; i < s->o->sessions; i++) {
		struct session *x = &s->sessions[i];
		if (x->step == READY && x->wake_ns <= s->now_ns) {
			begin_message(s, x);
			flush(s, x);
		}
		if (x->step == NAP && x->wake_ns <= s->now_ns)
			x->step = CLOSED;
		if (x->step == CLOSED && more(s))
			dial(s, x);
		busy += x->step != CLOSED;
		if (x->step == READY || x->step == NAP) {
			s->waiting++;
			s->wake_ns = MIN(s->wake_ns, x->wake_ns);
		}
	}
	return busy;
}

static void wait_events(struct source *s)
{
	struct epoll_event events[RB_EVENTS];
	int64_t ns = s->waiting ? MAX(s->wake_ns - rb_now(), (int64_t)0) : WAIT_NS;
	ns = MIN(ns, (int64_t)WAIT_NS);
	struct timespec wait = { .tv_nsec = (long)ns };
	int n = epoll_pwait2(s->epoll, events, RB_EVENTS, &wait, NULL);
	if (n < 0 && errno != EINTR)
		rb_die("epoll_pwait2");
	s->now_ns = rb_now();
	for (int i = 0; i < n; i++) {
		struct session *x = events[i].data.ptr;
		if (x->conn.fd >= 0)
			on_event(s, x, events[i].events);
	}
}

static void run(struct source *s)
{
	int64_t end = s->begun_ns + (int64_t)s->o->seconds * 1000000000;
	bool done = false;
	while (s->now_ns < end && wake(s) > 0) {
		if (!done && s->accepted + s->refused >= s->o->messages) {
			done = true; /* the QUITs are still to be answered, not for ever */
			end = MIN(end, s->now_ns + 2000000000);
		}
		wait_events(s);
	}
}

static void report(const struct source *s)
{
	int64_t *ns = mem_zalloc((s->accepted + 1) * sizeof(*ns));
	size_t n = 0;
	for (uint64_t m = 0; m < s->o->messages; m++)
		if (s->times[2 * m + 1])
			ns[n++] = s->times[2 * m + 1] - s->times[2 * m];
	double took = (double)(s->last_ns - s->begun_ns) / 1e9;
	double p50 = rb_quantile(ns, n, 500), p99 = rb_quantile(ns, n, 990);
	printf("{\"accepted\":%" PRIu64 ",\"wanted\":%" PRIu64 ",\"t_first\":%.6f,\"t_last\":%.6f,"
	       "\"accept_s\":%.3f,\"accept_rate\":%.1f,\"tempfail\":%" PRIu64
	       ",\"permfail\":%" PRIu64 ",\"connfail\":%" PRIu64 ",\"uncertain\":%" PRIu64
	       ",\"lat_p50_ms\":%.3f,\"lat_p99_ms\":%.3f,\"lat_max_ms\":%.3f,"
	       "\"source_cpu_s\":%.3f}\n",
	    s->accepted, s->o->messages, (double)s->begun_ns / 1e9, (double)s->last_ns / 1e9, took,
	    (double)s->accepted / (took + 1e-9), s->deferred, s->refused, s->lost, s->uncertain,
	    p50, p99, rb_quantile(ns, n, 1000), rb_cpu_seconds());
	mem_free(ns);
	if (s->o->times)
		rb_write_times(s->o->times, s->times, 2 * s->o->messages);
}

int rb_source(const struct rb_options *o)
{
	struct source s = { .o = o, .tls = o->tls ? rb_tls(NULL, NULL) : NULL };
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	s.filler = rb_filler(o->bytes / 64 + 1);
	s.retry = mem_zalloc((o->sessions + 1) * sizeof(*s.retry));
	s.times = mem_zalloc(2 * (o->messages + 1) * sizeof(*s.times));
	s.sessions = mem_zalloc(o->sessions * sizeof(*s.sessions));
	for (uint64_t i = 0; i < o->sessions; i++) {
		s.sessions[i].conn.fd = -1;
		s.sessions[i].message = NONE;
	}
	s.begun_ns = s.last_ns = s.now_ns = rb_now();
	run(&s);
	report(&s);
	for (uint64_t i = 0; i < o->sessions; i++)
		rb_conn_close(&s.sessions[i].conn);
	for (uint64_t i = 0; i < o->sessions; i++)
		SSL_SESSION_free(s.sessions[i].kept);
	mem_free(s.sessions);
	mem_free(s.times);
	mem_free(s.retry);
	mem_free(s.filler);
	SSL_CTX_free(s.tls);
	return s.accepted == o->messages ? 0 : 1;
}
