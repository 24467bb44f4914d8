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
	reply_copy(&to->reply, &from->reply);
}

void client_results_free(struct smtp_client *c)
{
	for (size_t i = 0; i < c->rcpts_n; i++)
		smtp_result_fini(&c->rcpts[i].result);
	mem_free(c->rcpts);
	c->rcpts = NULL;
	c->rcpts_n = 0;
}

void client_results_begin(struct smtp_client *c, size_t n)
{
	client_results_free(c);
	c->rcpts = mem_zalloc(n * sizeof(*c->rcpts));
	c->rcpts_n = n;
	for (size_t i = 0; i < n; i++)
		smtp_result_init(&c->rcpts[i].result);
	c->accepted_n = 0;
	c->dot_at = 0;
}

static void decide_as(struct smtp_client *c, size_t i, const struct smtp_result *as)
{
	struct client_rcpt_state *s = &c->rcpts[i];
	CHECK(!s->decided);
	if (s->accepted)
		c->accepted_n--;
	s->decided = true;
	smtp_result_copy(&s->result, as);
}

void client_decide(struct smtp_client *c, size_t i, enum smtp_stage stage)
{
	struct client_rcpt_state *s = &c->rcpts[i];
	CHECK(!s->decided);
	if (s->accepted)
		c->accepted_n--;
	s->decided = true;
	s->result.stage = stage;
	s->result.accepted = stage == SMTP_STAGE_DOT && reply_class(&c->reply) == 2;
	reply_copy(&s->result.reply, &c->reply);
}

void client_decide_rest(struct smtp_client *c, const struct smtp_result *as)
{
	for (size_t i = 0; i < c->rcpts_n; i++)
		if (!c->rcpts[i].decided)
			decide_as(c, i, as);
}

/*
 * The server sent more replies than it owed, in the same breath as those that
 * refused a pipelined message, and the driver has not been told yet. Any of
 * them may have been taken for its neighbour's, so none proves anything.
 */
void client_desynced(struct smtp_client *c)
{
	for (size_t i = 0; i < c->rcpts_n; i++) {
		struct smtp_result *r = &c->rcpts[i].result;
		CHECK(!r->accepted);
		reply_clear(&r->reply);
		r->err = ERR_PROTOCOL;
	}
}
