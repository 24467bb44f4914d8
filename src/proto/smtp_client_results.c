#include "base/check.h"
#include "base/mem.h"
#include "proto/smtp_client_priv.h"

/*
 * smtp_client_results.c - what became of each recipient, and the names of the
 * stages at which that can be decided.
 */

static const char *const stage_names[] = {
	[SMTP_STAGE_NONE] = "none",
	[SMTP_STAGE_DNS] = "dns",
	[SMTP_STAGE_CONNECT] = "connect",
	[SMTP_STAGE_GREETING] = "greeting",
	[SMTP_STAGE_EHLO] = "ehlo",
	[SMTP_STAGE_STARTTLS] = "starttls",
	[SMTP_STAGE_AUTH] = "auth",
	[SMTP_STAGE_MAIL] = "mail",
	[SMTP_STAGE_RCPT] = "rcpt",
	[SMTP_STAGE_DATA] = "data",
	[SMTP_STAGE_BODY] = "body",
	[SMTP_STAGE_DOT] = "dot",
	[SMTP_STAGE_LOCAL] = "local",
};

const char *smtp_stage_name(enum smtp_stage s)
{
	CHECK((size_t)s < ARRAY_LEN(stage_names));
	return stage_names[s];
}

void smtp_result_init(struct smtp_result *r)
{
	*r = (struct smtp_result){ .stage = SMTP_STAGE_NONE };
	reply_init(&r->reply);
}

void smtp_result_fini(struct smtp_result *r)
{
	reply_fini(&r->reply);
	smtp_result_init(r);
}

void smtp_result_copy(struct smtp_result *to, const struct smtp_result *from)
{
	to->stage = from->stage;
	to->err = from->err;
	to->need = from->need;
	to->accepted = from->accepted;
	to->untried = from->untried;
	reply_copy(&to->reply, &from->reply);
}

void client_results_free(struct client_txn *t)
{
	for (size_t i = 0; i < t->rcpts_n; i++)
		smtp_result_fini(&t->rcpts[i].result);
	mem_free(t->rcpts);
	t->rcpts = NULL;
	t->rcpts_n = 0;
}

void client_results_begin(struct client_txn *t, size_t n)
{
	client_results_free(t);
	t->rcpts = mem_zalloc(n * sizeof(*t->rcpts));
	t->rcpts_n = n;
	for (size_t i = 0; i < n; i++)
		smtp_result_init(&t->rcpts[i].result);
}

/* From here on its result is what the caller says. */
static struct smtp_result *close_result(struct client_txn *t, size_t i)
{
	struct client_rcpt_state *s = &t->rcpts[i];
	CHECK(!s->decided);
	if (s->accepted)
		t->accepted_n--;
	s->decided = true;
	return &s->result;
}

void client_decide(struct smtp_client *c, size_t i, enum smtp_stage stage)
{
	struct smtp_result *r = close_result(c->cur, i);
	r->stage = stage;
	r->accepted = stage == SMTP_STAGE_DOT && reply_class(&c->reply) == 2;
	reply_copy(&r->reply, &c->reply);
}

void client_decide_rest(struct client_txn *t, const struct smtp_result *as)
{
	for (size_t i = 0; i < t->rcpts_n; i++)
		if (!t->rcpts[i].decided)
			smtp_result_copy(close_result(t, i), as);
}

/*
 * The server sent more replies than it owed in the time of those that refused
 * a pipelined message, and the driver has not been told yet. Any of them may
 * have been taken for its neighbour's, so none proves anything.
 */
void client_desynced(struct client_txn *t)
{
	for (size_t i = 0; i < t->rcpts_n; i++) {
		struct smtp_result *r = &t->rcpts[i].result;
		CHECK(!r->accepted || t->chunking);
		r->accepted = false;
		reply_clear(&r->reply);
		r->err = ERR_PROTOCOL;
	}
}
