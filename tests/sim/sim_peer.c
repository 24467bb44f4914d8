#include "sim/sim_peer.h"

#include <stdarg.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_mail.h"
#include "sim/sim_traffic.h"

#define PEER_PATIENCE_MS (10 * SIM_MINUTE)
#define PEER_RCPTS_MAX   200
#define PEER_GREY_MS     (5 * SIM_MINUTE)
#define PEER_FULL_MS     (6 * SIM_HOUR) /* a full mailbox is emptied after this */
#define PEER_MANY        2              /* recipients that SIM_HOST_TOO_MANY takes */

struct peer {
	struct sim_host *host;
	struct sim_conn *conn;
	struct sim_session session;
	size_t life; /* of the daemon that it talks to */
	struct sim_timer patience, delay, rest;
	struct buf in;
	struct buf reply; /* waits for the delay */
	bool taken;       /* counted among its host's connections */
	bool waiting, greeted, in_data, in_chunk, tls, tls_asked, closing;
	bool astray;         /* it takes a body for commands, so no more mail */
	bool resting;        /* all is said, once the reply is out */
	bool slow;           /* the next reply takes long */
	bool deaf;           /* reads no more, and hangs up when rest is over */
	bool last;           /* the chunk ends the message */
	uint64_t chunk_left; /* bytes */
	struct buf chunks;   /* of the message so far */
	bool mail;
	char sender[SIM_ADDRESS_MAX];
	struct sim_rcpt *rcpts[PEER_RCPTS_MAX];
	size_t rcpts_n;
	unsigned replies, replies_until_421; /* 0: never */
	struct sim_accept *watch;            /* told of when the next reply arrives */
	size_t scanned;                      /* of in: searched for the end of data */
};

static void proceed(struct peer *p);

/* --- life -------------------------------------------------------------------------------- */

static void peer_free(struct peer *p)
{
	if (p->taken)
		sim_traffic_disconnects(p->host);
	sim_timer_cancel(&p->patience);
	sim_timer_cancel(&p->delay);
	sim_timer_cancel(&p->rest);
	sim_session_end(&p->session);
	buf_fini(&p->in);
	buf_fini(&p->reply);
	buf_fini(&p->chunks);
	mem_free(p);
}

static void hang_up(struct peer *p)
{
	sim_conn_close(p->conn);
	peer_free(p);
}

static void send_reply(struct peer *p)
{
	if (p->watch && sim.broken == SIM_BREAK_TWICE && sim_chance(2)) {
		p->watch->told_ms = sim.now_ms;
		p->watch = NULL;
		buf_clear(&p->reply);
		p->closing = true;
	}
	sim_conn_send(p->conn, buf_ptr(&p->reply), buf_len(&p->reply));
	buf_clear(&p->reply);
	if (p->resting)
		sim_session_rests(&p->session);
	if (p->watch)
		sim_conn_watch(p->conn, &p->watch->told_ms);
	p->watch = NULL;
}

static void on_delay(struct sim_timer *t)
{
	struct peer *p = container_of(t, struct peer, delay);

	p->waiting = false;
	send_reply(p);
	if (p->closing)
		hang_up(p);
	else
		proceed(p);
}

static void on_patience(struct sim_timer *t)
{
	hang_up(container_of(t, struct peer, patience));
}

static void say(struct peer *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct peer *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (buf_vprintf(&p->reply, fmt, ap) < 0)
		UNREACHABLE();
	va_end(ap);
	if (buf_add(&p->reply, "\r\n", 2) < 0)
		UNREACHABLE();
	p->replies++;
	p->host->domain->talked_ms = sim.now_ms;
	int64_t wait_ms = sim_chance(10) && !sim.calm ? sim_between(1, 2000) : 0;
	if (p->host->character == SIM_HOST_TARPITS)
		wait_ms = sim_between(5, 90) * SIM_SECOND;
	else if (p->slow)
		wait_ms = sim_between(1, 60) * SIM_SECOND;
	p->slow = false;
	if (wait_ms > 0) {
		p->waiting = true;
		sim_timer_in(&p->delay, wait_ms);
	} else {
		send_reply(p);
	}
}

/* After what was said, the connection ends. */
static void say_goodbye(struct peer *p)
{
	p->closing = true;
}

/* Nobody came, or nobody is wanted any more. */
static void on_rest(struct sim_timer *t)
{
	struct peer *p = container_of(t, struct peer, rest);

	if (p->waiting) { /* with the reply before */
		sim_timer_in(t, 100);
	} else if (p->deaf || sim_chance(50)) {
		hang_up(p);
	} else {
		p->resting = false;
		say(p, "421 4.4.2 idle for too long");
		say_goodbye(p);
		proceed(p);
	}
}

static enum sim_character character(const struct peer *p)
{
	return p->host->character;
}

/* --- answers -------------------------------------------------------------------------------- */

static void refuse_peer(struct peer *p)
{
	say(p, "421 4.3.2 too many connections");
	say_goodbye(p);
}

static void greet(struct peer *p)
{
	p->greeted = true;
	p->taken = sim_traffic_connects(p->host);
	switch ((int)character(p)) {
	case SIM_HOST_521:
		say(p, "521 5.3.2 no mail here");
		break;
	case SIM_HOST_554:
		say(p, "554 5.3.2 no mail here today");
		break;
	case SIM_HOST_SILENT:
		break;
	case SIM_HOST_NARROW:
		if (p->taken)
			say(p, "220 %s ESMTP simulated", p->host->name);
		else
			refuse_peer(p);
		break;
	case SIM_HOST_GARBAGE:
		if (sim_chance(50))
			say(p, "\x01\x02hello\xff 220 what");
		else
			say(p, "220 %s ESMTP", p->host->name);
		break;
	default:
		say(p, "220 %s ESMTP simulated", p->host->name);
		break;
	}
}

static void on_ehlo(struct peer *p)
{
	p->mail = false;
	if (character(p) == SIM_HOST_GARBAGE && sim_chance(30)) {
		say(p, "250-\r\n250 250 250\r\n999 maybe");
		return;
	}
	say(p, "250-%s\r\n%s250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n%s%s250 SIZE", p->host->name,
	    p->host->reuse == SIM_REUSE_PLAIN ? "" : "250-PIPELINING\r\n",
	    p->host->tls && !p->tls ? "250-STARTTLS\r\n" : "",
	    p->host->chunking ? "250-CHUNKING\r\n" : "");
}

static void on_starttls(struct peer *p)
{
	if (character(p) == SIM_HOST_BAD_TLS && sim_chance(30)) {
		say(p, "454 4.7.0 not now");
		return;
	}
	say(p, "220 2.0.0 go ahead");
	p->tls_asked = true;
}

/* True if it does not like to be used again, and has done something about it. */
static bool is_tired(struct peer *p)
{
	enum sim_reuse how = p->host->reuse;
	bool minds = how == SIM_REUSE_421 || how == SIM_REUSE_503 || how == SIM_REUSE_DROPS;

	if (!minds || p->session.mails <= p->host->patience)
		return false;
	sim_session_tired(&p->session);
	if (how == SIM_REUSE_503) {
		say(p, "503 5.5.1 nested MAIL");
	} else if (how == SIM_REUSE_DROPS) {
		say_goodbye(p);
	} else if (sim.broken == SIM_BREAK_STALE) {
		say(p, "450 4.7.0 enough for now");
	} else {
		say(p, "421 4.7.0 enough for now");
		say_goodbye(p);
	}
	return true;
}

/* True if it gets too much mail, and has said so. */
static bool is_fed_up(struct peer *p)
{
	bool closes = p->host->number % 2 == 0;

	if (sim_traffic_takes(p->host))
		return false;
	sim_session_answered_mail(&p->session, closes ? 421 : 450);
	if (!closes) {
		say(p, "450 4.7.28 too much from you");
	} else {
		say(p, "421 4.7.28 too much from you");
		say_goodbye(p);
	}
	return true;
}

static void on_mail(struct peer *p, const char *line)
{
	const char *from = strchr(line, '<'), *to = from ? strchr(from, '>') : NULL;

	p->mail = p->resting = false;
	p->rcpts_n = 0;
	buf_clear(&p->chunks);
	sim_traffic_mail(p->host);
	sim_timer_cancel(&p->rest);
	sim_session_mail(&p->session);
	if (is_tired(p) || is_fed_up(p))
		return;
	if (!from || !to || to - from > SIM_ADDRESS_MAX) {
		sim_violation("%s was sent: %s", p->host->name, line);
		say(p, "501 5.1.7 what?");
		return;
	}
	snprintf(p->sender, sizeof(p->sender), "%.*s", (int)(to - from - 1), from + 1);
	p->mail = character(p) != SIM_HOST_MIXED || sim_chance(95);
	if (p->mail) {
		say(p, "250 2.1.0 ok");
	} else {
		sim_session_answered_mail(&p->session, 451);
		say(p, "451 4.3.0 later");
	}
}

static void take_rcpt(struct peer *p, struct sim_rcpt *r)
{
	CHECK(p->rcpts_n < PEER_RCPTS_MAX);
	p->rcpts[p->rcpts_n++] = r;
	say(p, "250 2.1.5 ok");
}

static void refuse_rcpt(struct peer *p, struct sim_rcpt *r, int code, const char *text)
{
	/* A 552 after one that was taken means: too many. */
	bool many = code == 552 && p->rcpts_n > 0;

	sim_mail_refused(r, p->host, code, code >= 500 && !many);
	if (code < 500 && sim.broken == SIM_BREAK_PERMANENT && sim_chance(20))
		code += 100;
	say(p, "%d %s", code, text);
}

static bool is_young(const struct sim_rcpt *r, int64_t age_ms)
{
	return sim.now_ms - r->grey_since_ms < age_ms;
}

static void answer_mixed(struct peer *p, struct sim_rcpt *r)
{
	switch (sim_hash(sim.seed + r->msg->number, (uint64_t)(r->number + 1)) % 10) {
	case 0:
		refuse_rcpt(p, r, 550, "5.1.1 no such user");
		break;
	case 1:
		refuse_rcpt(p, r, 450, "4.2.0 never today");
		break;
	case 2:
		if (is_young(r, PEER_FULL_MS))
			refuse_rcpt(p, r, 450, "4.2.0 later");
		else
			take_rcpt(p, r);
		break;
	case 3:
		refuse_rcpt(p, r, 552, "5.2.2 mailbox full");
		break;
	default:
		take_rcpt(p, r);
		break;
	}
}

static void answer_rcpt(struct peer *p, struct sim_rcpt *r)
{
	if (r->grey_since_ms == 0)
		r->grey_since_ms = MAX(sim.now_ms, 1);
	switch ((int)character(p)) {
	case SIM_HOST_GREYLISTS:
		if (is_young(r, PEER_GREY_MS))
			refuse_rcpt(p, r, 451, "4.7.1 greylisted");
		else
			take_rcpt(p, r);
		break;
	case SIM_HOST_MIXED:
		answer_mixed(p, r);
		break;
	case SIM_HOST_TOO_MANY:
		if (p->rcpts_n >= PEER_MANY)
			refuse_rcpt(p, r, 552, "5.5.3 too many recipients");
		else
			take_rcpt(p, r);
		break;
	case SIM_HOST_FULL:
		if (is_young(r, PEER_FULL_MS))
			refuse_rcpt(p, r, 452, "4.2.2 mailbox full");
		else
			take_rcpt(p, r);
		break;
	case SIM_HOST_REFUSES:
		refuse_rcpt(p, r, 550, "5.7.1 not you");
		break;
	default:
		take_rcpt(p, r);
		break;
	}
}

static void on_rcpt(struct peer *p, const char *line)
{
	const char *from = strchr(line, '<'), *to = from ? strchr(from, '>') : NULL;
	struct sim_rcpt *r = NULL;

	if (!p->mail) {
		say(p, "503 5.5.1 MAIL first");
		return;
	}
	if (from && to)
		r = sim_mail_find(slice_of(from + 1, (size_t)(to - from) - 1));
	if (!r || r->domain->hosts != p->host->domain->hosts) {
		sim_violation("%s was asked for a recipient it never had: %s", p->host->name, line);
		say(p, "550 5.1.1 who?");
		return;
	}
	const struct sim_msg *m = r->msg;
	bool report = r->number < 0;
	if (strcmp(p->sender, report || m->null_sender ? "" : m->sender.address) != 0)
		sim_violation("%s is mailed from <%s>", r->address, p->sender);
	answer_rcpt(p, r);
}

/* --- the message --------------------------------------------------------------------------------
 */

/* Header and body of what was sent, dots removed. */
static struct slice unstuff(char *p, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '.' && (i == 0 || p[i - 1] == '\n') && i + 1 < n)
			i++;
		p[out++] = p[i];
	}
	return slice_of(p, out);
}

static struct slice body_of(struct slice all)
{
	const char *end = memmem(all.p, all.n, "\r\n\r\n", 4);

	return end ? slice_from(all, (size_t)(end + 4 - all.p)) : SLICE_NONE;
}

static bool is_intact(const struct sim_msg *m, struct slice all)
{
	char mark[40];
	size_t n;
	char *want = sim_mail_body(m, &n);
	struct slice body = body_of(all);

	snprintf(mark, sizeof(mark), "\r\nX-Sim: %u\r\n", m->number);
	bool same = body.n == n && memcmp(body.p, want, n) == 0 &&
		    memmem(all.p, all.n - body.n, mark, strlen(mark));
	mem_free(want);
	return same;
}

/* The value behind a header-like prefix, up to the end of its line. */
static struct slice value_of(struct slice *rest, const char *prefix)
{
	size_t n = strlen(prefix);
	const char *at = memmem(rest->p, rest->n, prefix, n);

	if (!at)
		return SLICE_NONE;
	*rest = slice_from(*rest, (size_t)(at - rest->p) + n);
	ptrdiff_t end = slice_find(*rest, '\r');
	return slice_of(rest->p, end < 0 ? rest->n : (size_t)end);
}

static void read_report(struct sim_accept *a, struct slice all)
{
	struct slice rest = all, id = value_of(&rest, "Message-ID: <"), who;
	struct buf about;

	ptrdiff_t at = slice_find(id, '@');
	snprintf(a->id, sizeof(a->id), "%.*s", at < 0 ? 0 : (int)at, id.p ? id.p : "");
	buf_init(&about, 1 << 20);
	rest = all;
	while ((who = value_of(&rest, "Final-Recipient: rfc822; ")).n > 0)
		if (buf_printf(&about, "%.*s ", SLICE_ARG(who)) < 0)
			UNREACHABLE();
	a->about = mem_strndup(buf_ptr(&about), buf_len(&about));
	buf_fini(&about);
	a->intact = a->about[0] != '\0' && a->id[0] != '\0';
	sim_trace("report %s to %s about %s", a->id, "sender", a->about);
}

/* The mail is the host's now; `told`: it means to say so. */
static void take_message(struct peer *p, struct slice all, bool told)
{
	struct sim_accept *first = NULL;

	for (size_t i = 0; i < p->rcpts_n; i++) {
		struct sim_rcpt *r = p->rcpts[i];
		struct sim_accept *a =
		    sim_mail_accepted(r, p->host, r->number < 0 || is_intact(r->msg, all));
		a->life = p->life;
		if (r->number < 0)
			read_report(a,
			    sim.broken == SIM_BREAK_REPORT ? slice_of(all.p, all.n / 4) : all);
		first = first ? first : a;
		a->first = first;
	}
	p->watch = told ? first : NULL;
	sim_session_took(&p->session);
}

static void refuse_message(struct peer *p, int code, const char *text)
{
	for (size_t i = 0; i < p->rcpts_n; i++)
		sim_mail_refused(p->rcpts[i], p->host, code, code >= 500);
	say(p, "%d %s", code, text);
}

/* The end of a message, and of its patience. True: there is no reply. */
static bool leaves_at_dot(struct peer *p, struct slice all)
{
	if (p->host->reuse != SIM_REUSE_DOT || p->session.mails < 2 || sim_chance(60))
		return false;
	if (sim_chance(50))
		take_message(p, all, false);
	p->resting = false;
	p->deaf = true;
	sim_timer_in(&p->rest, sim_between(0, 5 * SIM_SECOND));
	return true;
}

static void rest(struct peer *p)
{
	p->resting = true;
	p->slow = p->host->reuse == SIM_REUSE_SLOW && sim_chance(20);
	p->deaf = p->host->reuse == SIM_REUSE_CLOSES;
	if (p->deaf)
		sim_timer_in(&p->rest, sim_between(0, 500));
	else if (p->host->reuse == SIM_REUSE_TIRES)
		sim_timer_in(&p->rest, sim_between(0, 8 * SIM_SECOND));
}

static void on_dot(struct peer *p, struct slice all)
{
	rest(p);
	if (leaves_at_dot(p, all))
		return;
	switch ((int)character(p)) {
	case SIM_HOST_HANGS_UP:
		if (sim_chance(70)) {
			if (sim_chance(50))
				take_message(p, all, false);
			p->closing = true;
			return;
		}
		break;
	case SIM_HOST_DOT_5XX:
		refuse_message(p, 554, "5.6.0 not this one");
		return;
	case SIM_HOST_DOT_4XX:
		if (sim_chance(60)) {
			refuse_message(p, 451, "4.3.0 later");
			return;
		}
		break;
	case SIM_HOST_GARBAGE:
		if (sim_chance(20)) {
			take_message(p, all, false);
			say(p, "yes, of course");
			return;
		}
		break;
	default:
		break;
	}
	take_message(p, all, true);
	say(p, "250 2.0.0 taken");
}

/* --- the conversation
 * ------------------------------------------------------------------------------ */

static void on_data(struct peer *p)
{
	if (p->rcpts_n == 0 || p->astray) {
		say(p, "554 5.5.1 no valid recipients");
		return;
	}
	p->in_data = true;
	p->scanned = 0;
	say(p, "354 go on");
}

static void on_bdat(struct peer *p, const char *line)
{
	struct slice rest = slice_str(line + strlen("BDAT ")), size;

	if (p->host->bdat_unknown || !p->host->chunking) {
		if (!p->host->chunking)
			sim_violation("%s was sent BDAT, which it does not offer", p->host->name);
		say(p, "502 5.5.1 %s", SIM_NO_BDAT);
		p->astray = true;
		return;
	}
	slice_split(&rest, ' ', &size);
	if (!slice_to_u64(size, &p->chunk_left)) {
		sim_violation("%s was sent: %s", p->host->name, line);
		say(p, "501 5.5.4 what?");
		return;
	}
	p->last = slice_eq(rest, SLICE("LAST"));
	p->in_chunk = true;
}

static bool is_verb(const char *line, const char *verb)
{
	return strncasecmp(line, verb, strlen(verb)) == 0;
}

static void on_line(struct peer *p, const char *line)
{
	if (p->replies_until_421 && p->replies >= p->replies_until_421) {
		if (is_verb(line, "MAIL FROM:") && p->session.mails == 0)
			sim_session_answered_mail(&p->session, 421);
		say(p, "421 4.3.2 too busy");
		say_goodbye(p);
		return;
	}
	if (is_verb(line, "EHLO ") || is_verb(line, "HELO "))
		on_ehlo(p);
	else if (is_verb(line, "STARTTLS"))
		on_starttls(p);
	else if (is_verb(line, "MAIL FROM:"))
		on_mail(p, line);
	else if (is_verb(line, "RCPT TO:"))
		on_rcpt(p, line);
	else if (is_verb(line, "DATA"))
		on_data(p);
	else if (is_verb(line, "BDAT "))
		on_bdat(p, line);
	else if (is_verb(line, "RSET")) {
		p->resting = true;
		say(p, "250 2.0.0 ok");
	} else if (is_verb(line, "QUIT")) {
		say(p, "221 2.0.0 bye");
		say_goodbye(p);
	} else {
		say(p, "500 5.5.2 what?");
	}
}

/* True if the whole message was there. */
static bool read_data(struct peer *p)
{
	const char *in = buf_ptr(&p->in), *end;
	size_t n = buf_len(&p->in);

	if (n >= 3 && memcmp(in, ".\r\n", 3) == 0) {
		sim_violation("%s got an empty message", p->host->name);
		end = in - 2;
	} else {
		size_t from = p->scanned > 4 ? p->scanned - 4 : 0;
		end = memmem(in + from, n - from, "\r\n.\r\n", 5);
	}
	p->scanned = n;
	if (!end)
		return false;
	size_t bytes = (size_t)(end + 2 - in);
	char *copy = mem_dup(in, bytes + 1);
	buf_consume(&p->in, bytes + 3);
	sim_session_read(&p->session, bytes + 3);
	p->in_data = false;
	p->mail = false;
	on_dot(p, unstuff(copy, bytes));
	p->rcpts_n = 0;
	mem_free(copy);
	return true;
}

/* The chunk is there: nothing in it is looked at. */
static void on_chunk(struct peer *p)
{
	p->in_chunk = false;
	if (p->rcpts_n == 0) {
		buf_clear(&p->chunks);
		say(p, "503 5.5.1 no valid recipients");
	} else if (!p->last) {
		say(p, "250 2.0.0 more");
	} else {
		struct slice all = buf_slice(&p->chunks);
		p->mail = false;
		on_dot(p, all);
		p->rcpts_n = 0;
		buf_clear(&p->chunks);
	}
}

static bool read_chunk(struct peer *p)
{
	size_t n = (size_t)MIN(p->chunk_left, (uint64_t)buf_len(&p->in));

	if (buf_add(&p->chunks, buf_ptr(&p->in), n) < 0)
		UNREACHABLE();
	buf_consume(&p->in, n);
	sim_session_read(&p->session, n);
	p->chunk_left -= n;
	if (p->chunk_left > 0)
		return false;
	on_chunk(p);
	return true;
}

static bool read_line(struct peer *p)
{
	ptrdiff_t end = slice_find(buf_slice(&p->in), '\n');
	char line[1024];

	if (end < 0)
		return false;
	size_t n = MIN((size_t)end, sizeof(line) - 1);
	memcpy(line, buf_ptr(&p->in), n);
	line[n] = '\0';
	if (n > 0 && line[n - 1] == '\r')
		line[n - 1] = '\0';
	buf_consume(&p->in, (size_t)end + 1);
	sim_session_read(&p->session, (size_t)end + 1);
	on_line(p, line);
	return true;
}

static bool read_next(struct peer *p)
{
	if (p->in_chunk)
		return read_chunk(p);
	return p->in_data ? read_data(p) : read_line(p);
}

static void proceed(struct peer *p)
{
	if (p->waiting || character(p) == SIM_HOST_SILENT)
		return;
	while (!p->waiting && !p->closing && !p->tls_asked && !p->deaf)
		if (!read_next(p))
			break;
	if (p->closing && !p->waiting)
		hang_up(p);
}

static void on_open(void *arg)
{
	greet(arg);
}

static void on_bytes(void *arg, const char *bytes, size_t n)
{
	struct peer *p = arg;

	sim_timer_in(&p->patience, PEER_PATIENCE_MS);
	sim_session_heard(&p->session, n);
	if (buf_add(&p->in, bytes, n) < 0)
		UNREACHABLE();
	proceed(p);
}

static void on_tls(void *arg)
{
	struct peer *p = arg;

	p->tls_asked = false;
	if (character(p) == SIM_HOST_BAD_TLS && !sim_chance(20)) {
		if (sim_chance(70))
			sim_conn_tls(p->conn, false);
		return; /* else it never answers */
	}
	p->tls = true;
	sim_session_read(&p->session, buf_len(&p->in));
	buf_clear(&p->in);
	sim_conn_tls(p->conn, true);
}

static void on_gone(void *arg)
{
	struct peer *p = arg;

	sim_session_heard(&p->session, 0);
	peer_free(p);
}

const struct sim_party *sim_peer_party(void)
{
	static const struct sim_party party = { on_open, on_bytes, on_tls, on_gone };
	return &party;
}

void *sim_peer_new(struct sim_host *h)
{
	struct peer *p = mem_zalloc(sizeof(*p));

	p->host = h;
	p->life = sim.lives_n - 1;
	sim_session_begin(&p->session, h);
	sim_timer_init(&p->rest, on_rest);
	sim_timer_init(&p->patience, on_patience);
	sim_timer_init(&p->delay, on_delay);
	buf_init(&p->in, 64 << 20);
	buf_init(&p->reply, 1 << 20);
	buf_init(&p->chunks, 64 << 20);
	if (h->character == SIM_HOST_421S)
		p->replies_until_421 = (unsigned)sim_between(1, 12);
	return p;
}

void sim_peer_joined(void *arg, struct sim_conn *c)
{
	struct peer *p = arg;

	p->conn = c;
	sim_timer_in(&p->patience, PEER_PATIENCE_MS);
}
