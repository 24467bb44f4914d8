#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "client_wire.h"
#include "model_server.h"
#include "proto/smtp_client.h"

/*
 * Messages one behind the other to a server that follows chance, over a wire
 * that delivers when it likes and may break at any byte, driven by a driver
 * that takes its time. What the engine tells of each message must be what a
 * reading of the server's record gives, message by message and step by step,
 * without cursors and overlap. A seed that fails is named; SEED=n runs it alone.
 */

Suite *test_smtp_client_random_suite(void);

enum {
	SEEDS = 5000,
	CUT_SEEDS = 25,
	STEPS_MAX = 200000,
	DONE_TEXT = 256
};

struct world {
	uint64_t seed;
	struct prng chance;
	struct model_server server;
	struct smtp_client *c;
	struct now now;
	struct smtp_client_rcpt rcpts[MODEL_RCPTS];
	char senders[MODEL_MESSAGES][32];
	size_t rcpts_n[MODEL_MESSAGES];
	struct slice bodies[MODEL_MESSAGES];
	bool plain[MODEL_MESSAGES];
	bool body_ended[MODEL_MESSAGES], body_out[MODEL_MESSAGES];
	bool overlapped[MODEL_MESSAGES];
	bool maybe_late[MODEL_MESSAGES]; /* the session may have been over when it was sent */
	size_t body_at;
	int wanted, sent, told;
	bool completed; /* a message whose end was answered has been told */
	bool chunking;  /* wanted and offered */
	size_t fed;
	int cut; /* the connection breaks when so many replies' bytes are fed; -1: never */
	bool closed;
	struct smtp_result told_results[MODEL_MESSAGES][MODEL_RCPTS];
};

static bool chance(struct world *w, unsigned percent)
{
	return prng_below(&w->chance, 100) < percent;
}

static size_t up_to(struct world *w, size_t n)
{
	return (size_t)prng_below(&w->chance, n + 1);
}

/* The driver. */

static void send_next(struct world *w)
{
	int m = w->sent++;
	struct smtp_client_msg msg = {
		.sender = w->senders[m],
		.rcpts = w->rcpts,
		.rcpts_n = w->rcpts_n[m],
		.body_bytes = w->bodies[m].n,
		.body = &w->bodies[m],
		.plain = w->plain[m],
	};
	w->overlapped[m] = smtp_client_under_way(w->c) == 1;
	ck_assert(!w->overlapped[m] || w->completed);
	w->maybe_late[m] = smtp_client_deadline(w->c) == INT64_MAX;
	w->body_at = 0;
	smtp_client_send(w->c, &msg, w->now);
	ck_assert_uint_eq(smtp_client_under_way(w->c), (unsigned)(w->sent - w->told));
}

static void give_body(struct world *w)
{
	int m = w->sent - 1; /* NEED_BODY is of the last one sent */
	struct slice rest = slice_from(model_body(m), w->body_at);
	size_t n = chance(w, 60) ? rest.n : up_to(w, rest.n);
	bool last = n == rest.n && chance(w, 80);
	w->body_at += n;
	w->body_ended[m] = last;
	ck_assert(!w->plain[m] && !w->chunking);
	smtp_client_body(w->c, slice_of(rest.p, n), last, w->now);
}

static void take_results(struct world *w)
{
	int m = w->told++;
	ck_assert_int_lt(m, w->sent);
	for (size_t i = 0; i < w->rcpts_n[m]; i++) {
		const struct smtp_result *r = smtp_client_result(w->c, i);
		smtp_result_copy(&w->told_results[m][i], r);
		w->completed |= r->stage == SMTP_STAGE_DOT && r->reply.code && !r->err;
	}
	if (w->sent < w->wanted && smtp_client_under_way(w->c) == 0 && chance(w, 20))
		send_next(w); /* READY or not */
}

/* One action, if there is one. */
static bool drive(struct world *w)
{
	switch (smtp_client_next(w->c)) {
	case SMTP_CLIENT_NONE:
		return false;
	case SMTP_CLIENT_READY:
		ck_assert_uint_lt(smtp_client_under_way(w->c), 2);
		if (w->sent < w->wanted && (smtp_client_under_way(w->c) == 0 || chance(w, 80)))
			send_next(w);
		else if (smtp_client_under_way(w->c) == 0)
			smtp_client_quit(w->c, w->now);
		return true;
	case SMTP_CLIENT_NEED_BODY:
		give_body(w);
		return true;
	case SMTP_CLIENT_MSG_DONE:
		take_results(w);
		return true;
	case SMTP_CLIENT_CLOSE:
		ck_assert_int_eq(w->told, w->sent);
		w->closed = true;
		return false;
	case SMTP_CLIENT_START_TLS:
		break;
	}
	ck_abort_msg("an action nobody asked for");
}

/* The wire. */

static void feed(struct world *w, size_t n)
{
	char *copy = mem_dup(buf_ptr(&w->server.replies) + w->fed, n);
	w->fed += n;
	smtp_client_feed(w->c, slice_of(copy, n), w->now);
	mem_free(copy);
}

static void break_wire(struct world *w)
{
	if (chance(w, 50)) {
		smtp_client_lost(w->c, ERR_CLOSED, w->now);
		return;
	}
	for (int i = 0; i < 2 && smtp_client_deadline(w->c) != INT64_MAX; i++) {
		w->now.mono_ms = smtp_client_deadline(w->c); /* silence, and nothing is taken */
		smtp_client_tick(w->c, w->now);
	}
	smtp_client_lost(w->c, ERR_CLOSED, w->now); /* idle, or it is our body that is late */
}

/* The socket takes n bytes. */
static void take_output(struct world *w, size_t n)
{
	struct smtp_client_output o;
	smtp_client_output(w->c, &o);
	if (o.body) /* whose? */
		w->body_ended[(const struct slice *)o.body - w->bodies] = true;
	client_wire_take(w->c, n, &w->server.in, w->now);
	model_server_read(&w->server);
	if (w->sent > 0 && smtp_client_pending(w->c) == 0 && !w->closed)
		w->body_out[w->sent - 1] = w->body_ended[w->sent - 1];
}

static void step_wire(struct world *w)
{
	size_t ready = buf_len(&w->server.replies) - w->fed;
	if (w->cut >= 0)
		ready = MIN(ready, (size_t)w->cut - w->fed);
	if (smtp_client_pending(w->c) > 0 && chance(w, 50)) {
		take_output(w, chance(w, 50) ? smtp_client_pending(w->c)
					     : up_to(w, (size_t)smtp_client_pending(w->c)));
	} else if (ready > 0) {
		feed(w, chance(w, 50) ? ready : up_to(w, ready));
	} else if (w->cut >= 0 && w->fed == (size_t)w->cut) {
		break_wire(w);
	} else if (w->server.closing && w->fed == buf_len(&w->server.replies)) {
		smtp_client_lost(w->c, ERR_CLOSED, w->now);
	}
}

static void begin(struct world *w, uint64_t seed, bool doubles)
{
	w->seed = seed;
	prng_init(&w->chance, seed);
	model_server_init(&w->server, &w->chance);
	w->now = (struct now){ .wall_ms = 1, .mono_ms = 1 };
	w->wanted = 1 + (int)up_to(w, MODEL_MESSAGES - 1);
	for (int m = 0; m < MODEL_MESSAGES; m++) {
		snprintf(w->senders[m], sizeof(w->senders[m]), "%d@a.example", m);
		w->bodies[m] = model_body(m);
		w->plain[m] = model_body_is_plain(m) && chance(w, 50);
		w->rcpts_n[m] = 1 + up_to(w, MODEL_RCPTS - 1);
		for (size_t i = 0; i < MODEL_RCPTS; i++)
			smtp_result_init(&w->told_results[m][i]);
	}
	for (size_t i = 0; i < MODEL_RCPTS; i++)
		w->rcpts[i] = (struct smtp_client_rcpt){ "r@b.example", "", 0 };
	bool chunking = !chance(w, 20);
	w->chunking = chunking && w->server.chunking;
	struct smtp_client_config cfg = {
		.helo = "me.example",
		.tls = SMTP_TLS_NEVER,
		.pipelining = !chance(w, 10),
		.overlap = !chance(w, 20),
		.chunking = chunking,
	};
	w->c = smtp_client_new(&cfg, w->now);
	if (chance(w, 50))
		send_next(w);
	feed(w, buf_len(&w->server.replies)); /* the greeting, then EHLO */
	take_output(w, smtp_client_pending(w->c));
	feed(w, buf_len(&w->server.replies) - w->fed);
	w->server.doubles = doubles ? 1 + (int)up_to(w, 25) : 0;
	w->cut = !doubles && chance(w, 50) ? (int)(w->fed + up_to(w, 600)) : -1;
}

static void finish(struct world *w)
{
	for (int m = 0; m < MODEL_MESSAGES; m++)
		for (size_t i = 0; i < MODEL_RCPTS; i++)
			smtp_result_fini(&w->told_results[m][i]);
	model_server_fini(&w->server);
	smtp_client_free(&w->c);
}

static void run(struct world *w)
{
	for (unsigned steps = 0; !w->closed; steps++) {
		ck_assert_msg(steps < STEPS_MAX, "seed %llu does not end",
		    (unsigned long long)w->seed);
		if (chance(w, 50))
			step_wire(w);
		else
			while (drive(w) && chance(w, 90)) {
			}
	}
	take_output(w, smtp_client_pending(w->c)); /* the socket may still take that */
}

/* The model: what follows from the record, for messages in their order. */

struct expected {
	enum smtp_stage stage;
	int code, err;
	bool accepted, untried;
};

struct end { /* of the session, once it is over */
	bool is;
	struct expected why;
};

struct reading {
	struct world *w;
	const struct model_record *record;
	int m;
	bool first;
	bool decided[MODEL_RCPTS];
	struct expected expected[MODEL_RCPTS];
	struct end *end;
};

/* Whether the client has heard it; a refusal it could hear, too. */
static bool is_heard(const struct reading *x, const struct model_reply *r)
{
	return r->code && r->until <= x->w->fed;
}

static void decide(struct reading *x, size_t i, struct expected as)
{
	if (!x->decided[i])
		x->expected[i] = as;
	x->decided[i] = true;
}

static void decide_rest(struct reading *x, struct expected as)
{
	for (size_t i = 0; i < x->w->rcpts_n[x->m]; i++)
		decide(x, i, as);
}

static void end_session(struct reading *x, struct expected why)
{
	*x->end = (struct end){ .is = true, .why = why };
	decide_rest(x, why);
}

/* The reply that should stand here, or the end of the session. */
static bool hear(struct reading *x, const struct model_reply *r, enum smtp_stage stage)
{
	if (!is_heard(x, r)) {
		/* what the socket has wholly taken may be accepted */
		bool out = x->w->body_out[x->m] && stage < SMTP_STAGE_DATA;
		end_session(x,
		    (struct expected){ .stage = out ? SMTP_STAGE_DOT : stage, .err = 1 });
		return false;
	}
	if (r->code == 421) {
		end_session(x, (struct expected){ .stage = stage, .code = 421 });
		return false;
	}
	return true;
}

static void read_mail(struct reading *x, bool *refused)
{
	const struct model_reply *r = &x->record->mail;
	if (!hear(x, r, SMTP_STAGE_MAIL))
		return;
	*refused = r->code != 250;
	if (r->code == 503 && !x->first)
		end_session(x, (struct expected){ .stage = SMTP_STAGE_MAIL, .code = 503 });
	else if (*refused)
		decide_rest(x, (struct expected){ .stage = SMTP_STAGE_MAIL, .code = r->code });
}

static void read_rcpts(struct reading *x, size_t *accepted)
{
	for (size_t i = 0; i < x->w->rcpts_n[x->m]; i++) {
		const struct model_reply *r = &x->record->rcpt[i];
		if (!hear(x, r, SMTP_STAGE_RCPT))
			return;
		if (r->code == 250)
			++*accepted;
		else
			decide(x, i,
			    (struct expected){ .stage = SMTP_STAGE_RCPT, .code = r->code });
	}
}

/* DATA answered, and not to the end of the session; true if the body is wanted. */
static bool read_data(struct reading *x)
{
	const struct model_reply *r = &x->record->data;
	if (!hear(x, r, SMTP_STAGE_DATA))
		return false;
	if (r->code != 354)
		decide_rest(x, (struct expected){ .stage = SMTP_STAGE_DATA, .code = r->code });
	return r->code == 354;
}

static void read_end(struct reading *x, bool chunking)
{
	const struct model_reply *r = &x->record->end;
	if (!hear(x, r, x->record->end_seen ? SMTP_STAGE_DOT : SMTP_STAGE_BODY))
		return;
	struct expected e = {
		.stage = SMTP_STAGE_DOT,
		.code = r->code,
		.accepted = r->code == 250,
	};
	if (chunking && r->code / 10 == 50) {
		e.err = ERR_PROTOCOL;
		end_session(x, e);
	}
	decide_rest(x, e);
}

/* Nobody was accepted: what else was said decides nothing but the session. */
static void read_leavings(struct reading *x, bool chunking)
{
	const struct model_record *r = x->record;
	if (r->data.code && !hear(x, &r->data, SMTP_STAGE_DATA))
		return;
	if (r->end_seen && !hear(x, &r->end, SMTP_STAGE_DOT))
		return;
	if (chunking && r->end.code / 10 == 50 && r->end.code != 503)
		end_session(x, (struct expected){ .code = r->end.code, .err = ERR_PROTOCOL });
}

static void read_transaction(struct reading *x, bool chunking)
{
	bool refused = false;
	size_t accepted = 0;
	read_mail(x, &refused);
	if (x->end->is)
		return;
	if (!refused || x->record->rcpts > 0)
		read_rcpts(x, &accepted);
	if (x->end->is)
		return;
	if (accepted == 0)
		read_leavings(x, chunking);
	else if (chunking || read_data(x))
		read_end(x, chunking);
}

static void read_message(struct reading *x, bool chunking)
{
	const struct model_reply *reset = &x->record->reset;
	read_transaction(x, chunking);
	if (!x->end->is && is_heard(x, reset) && reset->code == 421)
		end_session(x, (struct expected){ .code = 421 });
}

static void compare(const struct world *w, int m, size_t i, const struct expected *e)
{
	const struct smtp_result *r = &w->told_results[m][i];
	int err = r->err == ERR_CLOSED || r->err == ERR_TIMEOUT ? 1 : r->err;
	bool same_cause = r->reply.code == e->code && err == e->err;
	if (e->untried && w->maybe_late[m])
		same_cause = true; /* an idle session that ended does not say why */
	if (r->stage == e->stage && same_cause && r->accepted == e->accepted &&
	    r->untried == e->untried)
		return;
	ck_abort_msg("seed %llu message %d recipient %zu: %s %d %d%s%s, expected %s %d %d%s%s",
	    (unsigned long long)w->seed, m, i, smtp_stage_name(r->stage), r->reply.code, err,
	    r->accepted ? " accepted" : "", r->untried ? " untried" : "", smtp_stage_name(e->stage),
	    e->code, e->err, e->accepted ? " accepted" : "", e->untried ? " untried" : "");
}

static void judge(struct world *w, bool chunking)
{
	struct end end = { .is = false };
	for (int m = 0; m < w->sent; m++) {
		struct reading x = {
			.w = w,
			.record = &w->server.record[m],
			.m = m,
			.first = m == 0,
			.end = &end,
		};
		bool met_its_end = end.is;
		if (!end.is)
			read_message(&x, chunking);
		else
			decide_rest(&x, end.why);
		bool untried =
		    m > 0 && (met_its_end || !is_heard(&x, &x.record->mail) ||
				 x.record->mail.code == 421 || x.record->mail.code == 503);
		for (size_t i = 0; i < w->rcpts_n[m]; i++) {
			x.expected[i].untried = untried;
			if (untried)
				x.expected[i].stage = SMTP_STAGE_MAIL;
			compare(w, m, i, &x.expected[i]);
		}
	}
}

/* Laws that hold whatever the server says. */
static void check_laws(const struct world *w)
{
	ck_assert_int_eq(w->told, w->sent);
	for (int m = 0; m < w->sent; m++) {
		const struct smtp_result *r = &w->told_results[m][0];
		ck_assert(!r->untried || !w->server.record[m].end_seen);
		ck_assert(!r->untried || m > 0);
		for (size_t i = 1; i < w->rcpts_n[m]; i++)
			ck_assert(w->told_results[m][i].untried == r->untried);
	}
}

/*
 * What a server that says things twice may not bring about: an acceptance it
 * never gave (where DATA shows that replies are in step), or, of a message
 * begun behind a dot, a refusal that was meant for another.
 */
static void check_doubled(const struct world *w, int m, size_t i)
{
	const struct smtp_result *r = &w->told_results[m][i];
	const struct model_record *said = &w->server.record[m];
	int code = r->stage == SMTP_STAGE_MAIL   ? said->mail.code
		   : r->stage == SMTP_STAGE_RCPT ? said->rcpt[i].code
		   : r->stage == SMTP_STAGE_DATA ? said->data.code
						 : said->end.code;
	if (w->chunking || (!r->accepted && !w->overlapped[m]))
		return;
	if (r->accepted)
		ck_assert_msg(said->end.code == 250 && said->rcpt[i].code == 250,
		    "seed %llu message %d recipient %zu", (unsigned long long)w->seed, m, i);
	else if (r->reply.code && !r->err && !r->untried)
		ck_assert_msg(r->reply.code == code, "seed %llu message %d recipient %zu: %s %d",
		    (unsigned long long)w->seed, m, i, smtp_stage_name(r->stage), r->reply.code);
}

static uint64_t chosen_seed(void)
{
	const char *s = getenv("SEED");
	return s ? strtoull(s, NULL, 10) : 0;
}

START_TEST(test_model)
{
	uint64_t from = chosen_seed();
	unsigned told = 0, untried = 0, accepted = 0, overlapped = 0;
	for (uint64_t seed = from ? from : 1; seed <= (from ? from : SEEDS); seed++) {
		struct world w = { .cut = -1 };
		begin(&w, seed, false);

		run(&w);
		check_laws(&w);
		judge(&w, w.chunking);
		for (int m = 0; m < w.told; m++) {
			told++;
			untried += w.told_results[m][0].untried;
			accepted += w.told_results[m][0].accepted;
			overlapped += w.overlapped[m];
		}
		finish(&w);
	}
	/* the seeds reach what they are for */
	ck_assert(from || (accepted > told / 8 && untried > told / 50 && overlapped > told / 20));
}

END_TEST

/* Cut at each byte of what the server says, until there are none left. */
START_TEST(test_cut_everywhere)
{
	uint64_t from = chosen_seed();
	for (uint64_t seed = from ? from : 1; seed <= (from ? from : CUT_SEEDS); seed++) {
		size_t reached = 0;
		for (size_t at = 0; at == reached; at++) {
			struct world w = { .cut = -1 };
			begin(&w, seed, false);
			size_t greeted = w.fed;
			w.cut = (int)(greeted + at);
			run(&w);
			check_laws(&w);
			judge(&w, w.chunking);
			reached += w.fed == greeted + at;
			finish(&w);
		}
		ck_assert_uint_gt(reached, 0);
	}
}

END_TEST

START_TEST(test_doubles)
{
	uint64_t from = chosen_seed();
	for (uint64_t seed = from ? from : 1; seed <= (from ? from : SEEDS); seed++) {
		struct world w = { .cut = -1 };
		begin(&w, seed, true);
		run(&w);
		check_laws(&w);
		for (int m = 0; m < w.told; m++)
			for (size_t i = 0; i < w.rcpts_n[m]; i++)
				check_doubled(&w, m, i);
		finish(&w);
	}
}

END_TEST

Suite *test_smtp_client_random_suite(void)
{
	Suite *s = suite_create("smtp_client_random");
	TCase *t = tcase_create("model");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, test_model);
	tcase_add_test(t, test_cut_everywhere);
	tcase_add_test(t, test_doubles);
	suite_add_tcase(s, t);
	return s;
}
