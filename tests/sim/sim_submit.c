/*
 * A submitter: connects, hands over some messages one after the other, and
 * notes what it was answered. What was refused for a while is offered again,
 * as a new message. Some leave in the middle of it.
 */
#include "sim/sim_submit.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_io.h"
#include "sim/sim_mail.h"
#include "sim/sim_net.h"

#define SUBMIT_TRIES_MAX   20
#define SUBMIT_PATIENCE_MS (10 * SIM_MINUTE)
#define SUBMIT_WRONG_PROOF "AGFsaWNlAGd1ZXNzZWQ="

enum step {
	STEP_GREETING,
	STEP_EHLO,
	STEP_STARTTLS,
	STEP_AUTH,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_DOT,
	STEP_QUIT,
};

struct submitter {
	struct sim_timer timer; /* next visit, or its patience */
	struct sim_conn *conn;
	struct sim_link link;
	enum sim_submit_port port;
	bool tls;              /* encrypted now */
	bool tls_asked;        /* the daemon is in the handshake */
	bool guesses;          /* has a wrong password */
	struct sim_domain *to; /* all goes there; NULL: anywhere */
	uint8_t client;        /* the end of its address */
	bool flows;            /* see struct sim_flow */
	unsigned kind;
	enum step step;
	size_t left; /* messages to hand over */
	unsigned tries;
	struct sim_msg *msg;
	size_t rcpt, taken;
	char line[1024];
	size_t line_n;
};

static struct {
	struct sim_submit_options options;
	size_t open; /* submitters not done */
} submit;

static void say(struct submitter *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct submitter *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 2, fmt, ap);
	va_end(ap);
	memcpy(line + n, "\r\n", 2);
	sim_conn_send(s->conn, line, (size_t)n + 2);
}

/* The message at hand is over, one way or the other. */
static void close_message(struct submitter *s, enum sim_msg_state state, int code)
{
	struct sim_msg *m = s->msg;

	if (!m)
		return;
	m->state = state;
	m->code = code;
	m->done_ms = sim.now_ms;
	s->msg = NULL;
	if (state == SIM_MSG_ACCEPTED)
		s->left--;
	sim_trace("message m%u (%zu recipients, %zu bytes): %s %d", m->number, m->rcpts_n,
	    m->body_bytes,
	    state == SIM_MSG_ACCEPTED  ? "accepted"
	    : state == SIM_MSG_REFUSED ? "refused"
	    : state == SIM_MSG_UNKNOWN ? "left without an answer"
				       : "not handed over",
	    code);
}

/* The visit is over; another one if something is left to be said. */
static void leave(struct submitter *s)
{
	close_message(s, s->step == STEP_DOT ? SIM_MSG_UNKNOWN : SIM_MSG_NOTHING, 0);
	s->conn = NULL;
	if (s->left > 0 && s->tries < SUBMIT_TRIES_MAX) {
		sim_timer_in(&s->timer, sim_between(1, 20 * SIM_MINUTE));
		return;
	}
	sim_timer_cancel(&s->timer);
	submit.open--;
	mem_free(s);
}

static void end_visit(struct submitter *s)
{
	sim_conn_close(s->conn);
	leave(s);
}

/* --- what is sent ----------------------------------------------------------------------- */

static size_t random_bytes(void)
{
	uint64_t luck = sim_below(100);

	if (sim.calm)
		return (size_t)sim_between(200, 8000);
	if (luck == 0 && sim_chance(30)) /* more than a record of the journal may be */
		return (size_t)sim_between(1 << 20, 3 << 20);
	if (luck < 2)
		return (size_t)sim_between(256 * 1024, 400 * 1024);
	if (luck < 6)
		return (size_t)sim_between(64 * 1024, 128 * 1024);
	return (size_t)(luck < 30 ? sim_between(0, 200) : sim_between(200, 8000));
}

static void begin_message(struct submitter *s)
{
	size_t n = sim_chance(60) ? 1 : (size_t)sim_between(2, 12);
	bool wide = !s->to && sim_chance(1); /* to many domains */
	if (wide)
		n = (size_t)sim_between(50, 80);
	if (s->to)
		n = MIN(n, 2);
	struct sim_domain *domain = s->to ? s->to : sim_net_any();

	if (s->flows)
		n = 1;
	/* One call of chance a statement: compilers differ in the order of arguments. */
	size_t bytes = s->flows ? SIM_FLOW_BYTES : random_bytes();
	bool null_sender = sim_chance(3) && !s->flows;
	s->msg = sim_mail_new(n, bytes, null_sender);
	sim_mail_address(&s->msg->sender, sim_net_any());
	for (size_t i = 0; i < n; i++) {
		if (!s->to && (wide || sim_chance(40)))
			domain = sim_net_any();
		sim_mail_address(&s->msg->rcpts[i], domain);
	}
	s->msg->login = s->port != SIM_SUBMIT_PORT;
	s->msg->kind = s->kind;
	s->rcpt = s->taken = 0;
	s->step = STEP_MAIL;
	say(s, "MAIL FROM:<%s>", s->msg->null_sender ? "" : s->msg->sender.address);
}

static void send_message(struct submitter *s)
{
	const struct sim_msg *m = s->msg;
	size_t n;
	char *body = sim_mail_body(m, &n);
	struct buf out;

	buf_init(&out, 16 << 20);
	if (buf_printf(&out, "From: <%s>\r\nTo: <%s>\r\nSubject: message %u\r\nX-Sim: %u\r\n\r\n",
		m->sender.address, m->rcpts[0].address, m->number, m->number) < 0)
		UNREACHABLE();
	for (size_t i = 0; i < n; i++)
		if ((body[i] == '.' && (i == 0 || body[i - 1] == '\n') &&
			buf_add_char(&out, '.') < 0) ||
		    buf_add_char(&out, body[i]) < 0)
			UNREACHABLE();
	mem_free(body);
	size_t cut = buf_len(&out);
	bool leaves = sim_permille(submit.options.leave_permille);
	if (leaves)
		cut = (size_t)sim_below(cut);
	sim_conn_send(s->conn, buf_ptr(&out), cut);
	buf_fini(&out);
	if (leaves) {
		end_visit(s);
		return;
	}
	s->step = STEP_DOT;
	sim_conn_send(s->conn, ".\r\n", 3);
	if (sim_permille(submit.options.leave_permille))
		end_visit(s);
}

/* --- what is answered ---------------------------------------------------------------------- */

static void next_message(struct submitter *s)
{
	if (s->left > 0) {
		begin_message(s);
	} else {
		s->step = STEP_QUIT;
		say(s, "QUIT");
	}
}

static void refused(struct submitter *s, int code)
{
	bool wrong = s->step == STEP_AUTH && s->guesses && code == 535;

	if (code >= 500 && !wrong)
		sim_violation("a submitter was told %s", s->line);
	close_message(s, s->step == STEP_DOT ? SIM_MSG_REFUSED : SIM_MSG_NOTHING, code);
	end_visit(s);
}

static void accepted(struct submitter *s)
{
	const char *as = "queued as ", *id = strstr(s->line, as);

	if (!id)
		sim_violation("the reply to the dot names no id: %s", s->line);
	else
		snprintf(s->msg->id, sizeof(s->msg->id), "%s", id + strlen(as));
	close_message(s, SIM_MSG_ACCEPTED, 250);
	next_message(s);
}

/* The peer's end of a handshake: good, bad, or nothing at all. */
static void shake_hands(struct submitter *s)
{
	uint64_t luck = sim_below(100);

	s->tls_asked = false;
	if (luck < 2)
		return;
	s->tls = luck >= 5;
	sim_conn_tls(s->conn, s->tls);
	if (!s->tls || s->port == SIM_SUBMIT_TLS)
		return;
	s->step = STEP_EHLO;
	say(s, "EHLO client.test");
}

static void introduced(struct submitter *s)
{
	if (s->port == SIM_SUBMIT_STARTTLS && !s->tls) {
		s->step = STEP_STARTTLS;
		say(s, "STARTTLS");
	} else if (s->port == SIM_SUBMIT_PORT) {
		next_message(s);
	} else {
		s->step = STEP_AUTH;
		s->guesses = sim_chance(5);
		say(s, "AUTH PLAIN %s", s->guesses ? SUBMIT_WRONG_PROOF : SIM_SUBMIT_PROOF);
	}
}

static int wanted(const struct submitter *s)
{
	switch (s->step) {
	case STEP_GREETING:
	case STEP_STARTTLS:
		return 220;
	case STEP_AUTH:
		return s->guesses ? 535 : 235;
	case STEP_DATA:
		return 354;
	case STEP_EHLO:
	case STEP_MAIL:
	case STEP_RCPT:
	case STEP_DOT:
	case STEP_QUIT:
		break;
	}
	return 250;
}

static void on_reply(struct submitter *s, int code)
{
	int want = wanted(s);

	if (s->step == STEP_QUIT) {
		end_visit(s);
		return;
	}
	if (s->step == STEP_AUTH && s->guesses && code == 235)
		sim_violation("a wrong password was good enough");
	if (code != want || (s->step == STEP_AUTH && s->guesses)) {
		refused(s, code);
		return;
	}
	switch (s->step) {
	case STEP_GREETING:
		s->step = STEP_EHLO;
		say(s, "EHLO client.test");
		break;
	case STEP_EHLO:
		introduced(s);
		break;
	case STEP_STARTTLS:
		if (s->tls_asked)
			shake_hands(s);
		break;
	case STEP_AUTH:
		next_message(s);
		break;
	case STEP_MAIL:
	case STEP_RCPT:
		s->step = STEP_RCPT;
		if (s->rcpt < s->msg->rcpts_n) {
			say(s, "RCPT TO:<%s>", s->msg->rcpts[s->rcpt++].address);
		} else {
			s->step = STEP_DATA;
			say(s, "DATA");
		}
		break;
	case STEP_DATA:
		send_message(s);
		break;
	case STEP_DOT:
		accepted(s);
		break;
	case STEP_QUIT:
		break;
	}
}

/* True if the visit is over: there may be no s any more. */
static bool on_line(struct submitter *s)
{
	struct sim_conn *conn = s->conn;

	s->line[s->line_n] = '\0';
	s->line_n = 0;
	if (s->line[3] == '-')
		return false;
	int code = (int)strtol(s->line, NULL, 10);
	bool last = s->step == STEP_QUIT;
	size_t open = submit.open;
	on_reply(s, code);
	return last || open != submit.open || s->conn != conn;
}

static void on_data(void *arg, const char *p, size_t n)
{
	struct submitter *s = arg;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\r')
			continue;
		if (p[i] != '\n') {
			CHECK(s->line_n + 1 < sizeof(s->line));
			s->line[s->line_n++] = p[i];
		} else if (on_line(s)) {
			return;
		}
	}
}

static void on_open(void *arg UNUSED)
{
}

static void on_gone(void *arg)
{
	leave(arg);
}

static void on_tls(void *arg)
{
	struct submitter *s = arg;

	s->tls_asked = true;
	if (s->port == SIM_SUBMIT_TLS)
		shake_hands(s); /* else its 220 is still on the way */
}

static const struct sim_party submit_party = { on_open, on_data, on_tls, on_gone };

/* --- visits ---------------------------------------------------------------------------------- */

static void on_timer(struct sim_timer *t)
{
	struct submitter *s = container_of(t, struct submitter, timer);
	const struct netaddr trusted = { .family = NETADDR_V4,
		.port = 50000,
		.ip = { 10, 200, 0, s->client ? s->client : 1 } };
	static const struct netaddr stranger = { .family = NETADDR_V4,
		.port = 50000,
		.ip = { 198, 51, 100, 1 } };

	if (s->conn) { /* out of patience */
		sim_trace("a submitter loses patience");
		end_visit(s);
		return;
	}
	s->tries++;
	s->step = STEP_GREETING;
	s->line_n = 0;
	s->tls = s->tls_asked = false;
	s->conn = sim_connect((uint16_t)s->port, NULL,
	    s->port == SIM_SUBMIT_PORT ? &trusted : &stranger, &s->link, &submit_party, s);
	if (s->conn)
		sim_timer_in(t, SUBMIT_PATIENCE_MS);
	else
		leave(s);
}

/* A few submitters who know each other. */
static void plan_burst(const struct sim_submit_options *o)
{
	struct sim_domain *to = sim_net_any();
	int64_t at_ms = sim_between(0, o->period_ms);
	size_t submitters = (size_t)sim_between(1, 5), each = (size_t)sim_between(3, 20);

	for (size_t i = 0; i < submitters; i++) {
		struct submitter *s = mem_zalloc(sizeof(*s));
		s->left = each;
		s->to = to;
		s->link = (struct sim_link){ .latency_ms = 1 };
		s->port = SIM_SUBMIT_PORT;
		sim_timer_init(&s->timer, on_timer);
		sim_timer_set(&s->timer, at_ms + (sim_chance(50) ? sim_between(0, 20000) : 0));
		submit.open++;
	}
}

void sim_submit_flow(const struct sim_flow *f)
{
	struct submitter *s = mem_zalloc(sizeof(*s));

	s->flows = true;
	s->left = f->messages;
	s->to = f->to;
	s->client = f->client;
	s->kind = f->kind;
	s->link = (struct sim_link){ .latency_ms = 1 };
	s->port = SIM_SUBMIT_PORT;
	sim_timer_init(&s->timer, on_timer);
	sim_timer_set(&s->timer, f->at_ms);
	submit.open++;
}

void sim_submit_init(const struct sim_submit_options *o)
{
	size_t left = o->messages;

	submit.options = *o;
	for (size_t i = 0; i < o->bursts; i++)
		plan_burst(o);
	while (left > 0) {
		struct submitter *s = mem_zalloc(sizeof(*s));
		size_t some = (size_t)sim_between(1, 4);
		s->left = MIN(left, some);
		left -= s->left;
		s->link = (struct sim_link){ .latency_ms = (int)sim_between(1, 100),
			.doom = o->doom_permille };
		uint64_t way = sim_below(10);
		s->port = way < 7    ? SIM_SUBMIT_PORT
			  : way == 7 ? SIM_SUBMIT_TLS
				     : SIM_SUBMIT_STARTTLS;
		sim_timer_init(&s->timer, on_timer);
		sim_timer_set(&s->timer, sim_between(0, o->period_ms));
		submit.open++;
	}
}

bool sim_submit_is_done(void)
{
	return submit.open == 0;
}

/* --- the operator ------------------------------------------------------------------------------
 */

struct command {
	struct sim_conn *conn;
	sim_command_fn *done;
	struct buf answer;
};

static void on_answer(void *arg, const char *p, size_t n)
{
	struct command *c = arg;

	if (buf_add(&c->answer, p, n) < 0)
		UNREACHABLE();
}

static void on_answered(void *arg)
{
	struct command *c = arg;

	if (c->done)
		c->done(buf_cstr(&c->answer));
	buf_fini(&c->answer);
	mem_free(c);
}

static const struct sim_party command_party = { on_open, on_answer, on_open, on_answered };

void sim_command(const char *json, sim_command_fn *done)
{
	static const struct netaddr local = { .family = NETADDR_UNIX };
	static const struct sim_link link = { .latency_ms = 0 };
	struct command *c = mem_zalloc(sizeof(*c));
	char path[100];

	snprintf(path, sizeof(path), "%s/control", sim.directory);
	c->done = done;
	buf_init(&c->answer, 256 << 20);
	c->conn = sim_connect(0, path, &local, &link, &command_party, c);
	sim_trace("operator: %s", json);
	if (!c->conn) {
		on_answered(c);
		return;
	}
	sim_conn_send(c->conn, json, strlen(json));
	sim_conn_send(c->conn, "\n", 1);
}
