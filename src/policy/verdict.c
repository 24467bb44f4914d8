/*
 * verdict.c - law 4: stage by answer, one cell each.
 *
 * A result is put into a column (what kind of answer is it?), the stage picks
 * the row, the cell says what becomes of the mail. Codes and words follow from
 * the reply where there is one, from the failure where there is none.
 */
#include "policy/verdict.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

enum answer {
	ANSWER_NONE = 0,
	ANSWER_421,     /* the server closes: nothing is said about the mail */
	ANSWER_4XX,     /* any other 4xx */
	ANSWER_SESSION, /* 503 530 534 535 538: our session displeases, not the mail */
	ANSWER_521,     /* this host takes no mail at all (RFC 7504) */
	ANSWER_552, /* storage exceeded; to RCPT also "too many recipients" (RFC 5321 4.5.3.1.10) */
	ANSWER_5XX, /* any other 5xx */
	ANSWER_ODD, /* 1xx, 2xx or 3xx that makes no sense at the stage, 50z to BDAT */
	ANSWER_LOST, /* no reply: connection, time, TLS */
	ANSWER_N,
};

enum rule {
	RULE_NONE = 0,
	DEFER,    /* defer */
	NEXT,     /* next host, else defer */
	BOUNCE,   /* final */
	ALL,      /* next host; final if every host says so */
	TOO_MANY, /* defer if another recipient was accepted, else final */
};

/* No answer is no column: its cells would be NONE. */
#define ROW(...)                                                                                   \
	{                                                                                          \
		RULE_NONE, __VA_ARGS__                                                             \
	}

/* clang-format off */
static const uint8_t law4[SMTP_STAGE_LOCAL + 1][ANSWER_N] = {
	/*                            421    4xx    session 521     552       5xx     odd    lost */
	[SMTP_STAGE_NONE]     = ROW(DEFER, DEFER, DEFER, DEFER,  DEFER,    DEFER,  DEFER, DEFER),
	[SMTP_STAGE_DNS]      = ROW(DEFER, DEFER, DEFER, DEFER,  DEFER,    DEFER,  DEFER, DEFER),
	[SMTP_STAGE_CONNECT]  = ROW(NEXT,  NEXT,  NEXT,  NEXT,   NEXT,     NEXT,   NEXT,  NEXT),
	[SMTP_STAGE_GREETING] = ROW(NEXT,  NEXT,  NEXT,  ALL,    NEXT,     NEXT,   NEXT,  NEXT),
	[SMTP_STAGE_EHLO]     = ROW(NEXT,  NEXT,  NEXT,  NEXT,   NEXT,     NEXT,   NEXT,  NEXT),
	[SMTP_STAGE_STARTTLS] = ROW(NEXT,  NEXT,  NEXT,  NEXT,   NEXT,     NEXT,   NEXT,  NEXT),
	[SMTP_STAGE_AUTH]     = ROW(NEXT,  NEXT,  NEXT,  NEXT,   NEXT,     NEXT,   NEXT,  NEXT),
	[SMTP_STAGE_MAIL]     = ROW(NEXT,  DEFER, DEFER, BOUNCE, BOUNCE,   BOUNCE, NEXT,  NEXT),
	[SMTP_STAGE_RCPT]     = ROW(NEXT,  DEFER, DEFER, BOUNCE, TOO_MANY, BOUNCE, NEXT,  NEXT),
	[SMTP_STAGE_DATA]     = ROW(NEXT,  DEFER, DEFER, BOUNCE, BOUNCE,   BOUNCE, NEXT,  NEXT),
	[SMTP_STAGE_BODY]     = ROW(NEXT,  DEFER, DEFER, BOUNCE, BOUNCE,   BOUNCE, NEXT,  NEXT),
	/* After the dot the host may have taken it: another one would make a duplicate (law 3). */
	[SMTP_STAGE_DOT]      = ROW(DEFER, DEFER, DEFER, BOUNCE, BOUNCE,   BOUNCE, DEFER, DEFER),
	[SMTP_STAGE_LOCAL]    = ROW(DEFER, DEFER, DEFER, DEFER,  DEFER,    DEFER,  DEFER, DEFER),
};

/* clang-format on */

static enum answer answer_of(const struct smtp_result *r)
{
	if (r->reply.code && r->err == ERR_PROTOCOL)
		return ANSWER_ODD; /* it spoke of a command, not of the mail */
	switch (r->reply.code) {
	case 0:
		return ANSWER_LOST;
	case 421:
		return ANSWER_421;
	case 503:
	case 530:
	case 534:
	case 535:
	case 538:
		return ANSWER_SESSION;
	case 521:
		return ANSWER_521;
	case 552:
		return ANSWER_552;
	default:
		break;
	}
	int class = reply_class(&r->reply);
	return class == 4 ? ANSWER_4XX : class == 5 ? ANSWER_5XX : ANSWER_ODD;
}

static void set_enhanced(struct verdict *v, unsigned class, unsigned subject, unsigned detail)
{
	v->enhanced[0] = (uint16_t) class;
	v->enhanced[1] = (uint16_t)subject;
	v->enhanced[2] = (uint16_t)detail;
}

static void set_own(struct verdict *v, int code, unsigned subject, unsigned detail,
    const char *text)
{
	v->code = code;
	v->text = text;
	set_enhanced(v, (unsigned)code / 100, subject, detail);
}

/*
 * What a code without an enhanced one means, where its RFC leaves no doubt;
 * all others become x.0.0: a guess would end up in a report as if the peer had said it.
 */
static const struct {
	int code;
	uint8_t subject, detail;
} meanings[] = {
	{ 421, 3, 2 },
	{ 450, 2, 0 },
	{ 451, 3, 0 },
	{ 452, 3, 1 },
	{ 454, 7, 0 },
	{ 455, 5, 4 },
	{ 500, 5, 2 },
	{ 501, 5, 4 },
	{ 502, 5, 1 },
	{ 503, 5, 1 },
	{ 504, 5, 4 },
	{ 521, 3, 2 },
	{ 530, 7, 0 },
	{ 534, 7, 9 },
	{ 535, 7, 8 },
	{ 538, 7, 11 },
	{ 551, 1, 6 },
	{ 555, 5, 4 },
	{ 556, 1, 10 },
};

static void set_meaning(struct verdict *v, enum smtp_stage stage)
{
	unsigned class = (unsigned)v->code / 100;
	set_enhanced(v, class, 0, 0);
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (meanings[i].code == v->code)
			set_enhanced(v, class, meanings[i].subject, meanings[i].detail);
	/* 552 and 553 speak of the mailbox, the sender or the message, by stage (RFC 5321 4.2.3).
	 */
	if (v->code == 552 && stage == SMTP_STAGE_RCPT)
		set_enhanced(v, class, 2, 2);
	else if (v->code == 552)
		set_enhanced(v, class, 3, 4);
	else if (v->code == 553 && stage == SMTP_STAGE_RCPT)
		set_enhanced(v, class, 1, 3);
	else if (v->code == 553 && stage == SMTP_STAGE_MAIL)
		set_enhanced(v, class, 1, 7);
}

static void set_from_reply(struct verdict *v, const struct smtp_result *r)
{
	v->code = r->reply.code;
	if (r->reply.enhanced[0] == v->code / 100)
		memcpy(v->enhanced, r->reply.enhanced, sizeof(v->enhanced));
	else
		set_meaning(v, r->stage);
}

static void set_from_loss(struct verdict *v, const struct smtp_result *r)
{
	if (r->stage == SMTP_STAGE_LOCAL || r->stage == SMTP_STAGE_NONE)
		set_own(v, 451, 3, 0, "local problem, will try again");
	else if (r->stage == SMTP_STAGE_DNS)
		set_own(v, 451, 4, 3, "DNS lookup failed");
	else if (r->err == ERR_TLS)
		set_own(v, 451, 7, 5, "TLS handshake failed");
	else if (r->err == ERR_PROTOCOL || r->err == ERR_TOO_BIG || r->err == ERR_SYNTAX)
		set_own(v, 451, 5, 0, "the answer makes no sense as SMTP");
	else if (r->stage == SMTP_STAGE_CONNECT)
		set_own(v, 451, 4, 1,
		    r->err == -ECONNREFUSED                         ? "connection refused"
		    : r->err == ERR_TIMEOUT || r->err == -ETIMEDOUT ? "connection timed out"
								    : "cannot connect");
	else if (r->err == -ECONNREFUSED)
		set_own(v, 451, 4, 1, "connection refused");
	else if (r->err == ERR_TIMEOUT || r->err == -ETIMEDOUT)
		set_own(v, 451, 4, 2, "timed out waiting for an answer");
	else
		set_own(v, 451, 4, 2, "connection lost");
}

/* The message needs what this host lacks; another may have it. */
static void verdict_of_need(const struct smtp_result *r, struct verdict *v)
{
	v->next_host = true;
	v->kind = VERDICT_BOUNCE;
	v->unless_all = true;
	switch (r->need) {
	case SMTP_NEED_SIZE:
		set_own(v, 552, 3, 4, "message is larger than the host accepts");
		return;
	case SMTP_NEED_UTF8:
		set_own(v, 550, 6, 7, "message needs SMTPUTF8, which the host does not offer");
		return;
	case SMTP_NEED_8BIT:
		set_own(v, 554, 6, 3, "message needs 8BITMIME, which the host does not offer");
		return;
	case SMTP_NEED_NONE:
	case SMTP_NEED_TLS:
	case SMTP_NEED_AUTH:
		break;
	}
	/* A policy of ours is never a reason to bounce: the operator may mend it, or the peer its
	 * TLS. */
	v->kind = VERDICT_DEFER;
	v->unless_all = false;
	v->connection_failed = true;
	if (r->need == SMTP_NEED_AUTH)
		set_own(v, 454, 7, 0, "no AUTH mechanism in common, credentials not sent");
	else if (r->err != 0)
		/* IANA: X.7.5 cryptographic failure; X.7.4 security feature not supported. */
		set_own(v, 451, 7, 5, "TLS is required, but the handshake failed");
	else
		set_own(v, 451, 7, 4, "TLS is required, but the host does not offer it");
}

static void apply_rule(struct verdict *v, enum rule rule, bool other_accepted)
{
	CHECK(rule != RULE_NONE);
	if (rule == TOO_MANY)
		rule = other_accepted ? DEFER : BOUNCE;
	v->kind = rule == BOUNCE || rule == ALL ? VERDICT_BOUNCE : VERDICT_DEFER;
	v->next_host = rule == NEXT || rule == ALL;
	v->unless_all = rule == ALL;
}

/* From MAIL on a 4xx or 5xx may be about the mail; what ends the session never is, except while
 * or after the body goes out, where the body itself may be the cause. */
static bool is_about_host(enum smtp_stage stage, enum answer answer)
{
	if (stage >= SMTP_STAGE_CONNECT && stage <= SMTP_STAGE_AUTH)
		return true;
	if (answer == ANSWER_421)
		return stage >= SMTP_STAGE_MAIL && stage <= SMTP_STAGE_DOT;
	return (answer == ANSWER_LOST || answer == ANSWER_ODD) && stage >= SMTP_STAGE_MAIL &&
	       stage <= SMTP_STAGE_DATA;
}

/*
 * 421 ends the session for a reason that lies with the host. Before MAIL it knows nothing of us but
 * that there is one more connection; later it has had enough of us, unless it was tired of waiting
 * (X.4.2). X.7.28 (mail flood) and X.4.5 (congestion) say so with any code.
 */
static enum verdict_pressure pressure_of(const struct smtp_result *r)
{
	const uint16_t *e = r->reply.enhanced;
	bool closed = r->reply.code == 421;

	if (r->stage >= SMTP_STAGE_GREETING && r->stage <= SMTP_STAGE_AUTH)
		return closed ? VERDICT_PRESSURE_CONNECTIONS : VERDICT_PRESSURE_NONE;
	if (r->stage < SMTP_STAGE_MAIL || r->stage > SMTP_STAGE_DOT || reply_class(&r->reply) != 4)
		return VERDICT_PRESSURE_NONE;
	if (e[0] == 4 && e[1] == 4 && e[2] == 2)
		return VERDICT_PRESSURE_NONE;
	if (closed || (e[0] == 4 && ((e[1] == 7 && e[2] == 28) || (e[1] == 4 && e[2] == 5))))
		return VERDICT_PRESSURE_MAIL;
	return VERDICT_PRESSURE_NONE;
}

void verdict_of_result(const struct smtp_result *r, bool other_accepted, struct verdict *v)
{
	CHECK(r->stage <= SMTP_STAGE_LOCAL);
	memset(v, 0, sizeof(*v));
	if (r->accepted) {
		v->kind = VERDICT_DELIVERED;
		if (reply_class(&r->reply) == 2)
			set_from_reply(v, r);
		else
			set_own(v, 250, 0, 0, "accepted");
		return;
	}
	if (r->need != SMTP_NEED_NONE) {
		verdict_of_need(r, v);
		return;
	}
	enum answer answer = answer_of(r);
	apply_rule(v, (enum rule)law4[r->stage][answer], other_accepted);
	v->connection_failed = is_about_host(r->stage, answer);
	v->pressure = pressure_of(r);
	if (answer == ANSWER_LOST)
		set_from_loss(v, r);
	else if (answer == ANSWER_ODD)
		/* Its class is no failure's, so the code is ours; the words stay the peer's. */
		set_own(v, 451, 5, 0, NULL);
	else
		set_from_reply(v, r);
}

static const struct {
	enum verdict_kind kind;
	int code;
	uint8_t subject, detail;
	const char *text;
} findings[] = {
	[VERDICT_FINDING_NXDOMAIN] = { VERDICT_BOUNCE, 550, 1, 2, "domain does not exist" },
	[VERDICT_FINDING_NULL_MX] = { VERDICT_BOUNCE, 556, 1, 10,
	    "domain accepts no mail (null MX)" },
	[VERDICT_FINDING_MX_LOOP] = { VERDICT_BOUNCE, 550, 4, 6,
	    "mail for this domain loops back to this host" },
	[VERDICT_FINDING_NO_ADDRESS] = { VERDICT_DEFER, 451, 4, 4, "no MX host has an address" },
	[VERDICT_FINDING_NO_HOST] = { VERDICT_DEFER, 451, 4, 4,
	    "domain has neither MX nor address records" },
	[VERDICT_FINDING_DNS_FAILED] = { VERDICT_DEFER, 451, 4, 3, "DNS lookup failed" },
	[VERDICT_FINDING_UNDIALABLE] = { VERDICT_DEFER, 451, 4, 4,
	    "MX hosts have only addresses that are never dialled" },
	[VERDICT_FINDING_EXPIRED] = { VERDICT_BOUNCE, 550, 4, 7, "delivery time expired" },
	[VERDICT_FINDING_TOO_MANY_ATTEMPTS] = { VERDICT_BOUNCE, 550, 4, 7,
	    "too many failed attempts" },
	[VERDICT_FINDING_HOSTS_EXHAUSTED] = { VERDICT_DEFER, 451, 4, 1, "no host answered" },
	[VERDICT_FINDING_SITE_DOWN] = { VERDICT_DEFER, 451, 4, 1, "destination does not answer" },
	[VERDICT_FINDING_LOCAL_ERROR] = { VERDICT_DEFER, 451, 3, 0,
	    "local problem, will try again" },
	[VERDICT_FINDING_DELETED] = { VERDICT_BOUNCE, 554, 3, 0, "deleted by the operator" },
};

void verdict_of_finding(enum verdict_finding f, struct verdict *v)
{
	CHECK(f > VERDICT_FINDING_NONE && f <= VERDICT_FINDING_DELETED);
	memset(v, 0, sizeof(*v));
	v->kind = findings[f].kind;
	v->connection_failed =
	    f == VERDICT_FINDING_HOSTS_EXHAUSTED || f == VERDICT_FINDING_SITE_DOWN;
	set_own(v, findings[f].code, findings[f].subject, findings[f].detail, findings[f].text);
}
