#include "sim/sim_mail.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim/sim_net.h"

static struct sim_msg **all;
static size_t all_n;

struct sim_msg *sim_mail_new(size_t rcpts_n, size_t body_bytes, bool null_sender)
{
	struct sim_msg *m = mem_zalloc(sizeof(*m));

	m->number = (unsigned)all_n;
	m->rcpts_n = rcpts_n;
	m->rcpts = mem_zalloc(rcpts_n * sizeof(*m->rcpts));
	m->body_bytes = body_bytes;
	m->null_sender = null_sender;
	m->sender.number = -1;
	m->sender.msg = m;
	for (size_t i = 0; i < rcpts_n; i++) {
		m->rcpts[i].number = (int)i;
		m->rcpts[i].msg = m;
	}
	all = mem_realloc(all, (all_n + 1) * sizeof(struct sim_msg *));
	all[all_n++] = m;
	return m;
}

void sim_mail_address(struct sim_rcpt *r, struct sim_domain *domain)
{
	char part[24] = "s";

	if (r->number >= 0)
		snprintf(part, sizeof(part), "r%d", r->number);
	r->domain = domain;
	snprintf(r->address, sizeof(r->address), "%s.m%u@%s", part, r->msg->number, domain->name);
}

size_t sim_mail_count(void)
{
	return all_n;
}

struct sim_msg *sim_mail_get(size_t number)
{
	return all[number];
}

struct sim_rcpt *sim_mail_find(struct slice address)
{
	char text[SIM_ADDRESS_MAX], *rest;
	unsigned long number = 0;

	if (address.n >= sizeof(text))
		return NULL;
	memcpy(text, address.p, address.n);
	text[address.n] = '\0';
	bool sender = text[0] == 's';
	if (!sender && text[0] != 'r')
		return NULL;
	rest = text + 1;
	if (!sender)
		number = strtoul(rest, &rest, 10);
	if (strncmp(rest, ".m", 2) != 0)
		return NULL;
	unsigned long msg = strtoul(rest + 2, &rest, 10);
	if (msg >= all_n || *rest != '@' || (!sender && number >= all[msg]->rcpts_n))
		return NULL;
	struct sim_rcpt *r = sender ? &all[msg]->sender : &all[msg]->rcpts[number];
	return strcmp(r->address, text) == 0 ? r : NULL;
}

char *sim_mail_body(const struct sim_msg *m, size_t *n)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.";
	struct prng rng;
	char *p = mem_alloc(m->body_bytes + 128);
	size_t at = 0;

	prng_init(&rng, sim_hash(sim.seed, m->number));
	while (at < m->body_bytes) {
		size_t line = (size_t)prng_below(&rng, 76);
		if (prng_below(&rng, 8) == 0)
			p[at++] = '.';
		for (size_t i = 0; i < line; i += 8) {
			uint64_t bits = prng_next(&rng);
			for (size_t k = i; k < MIN(i + 8, line); k++, bits >>= 6)
				p[at++] = letters[bits & 63];
		}
		p[at++] = '\r';
		p[at++] = '\n';
	}
	*n = at;
	return p;
}

struct sim_accept *sim_mail_accepted(struct sim_rcpt *r, const struct sim_host *h, bool intact)
{
	struct sim_accept *a = mem_zalloc(sizeof(*a));

	a->at_ms = sim.now_ms;
	a->told_ms = INT64_MAX;
	a->life = sim.lives_n - 1;
	a->host = h;
	a->intact = intact;
	if (r->accepts_last)
		r->accepts_last->next = a;
	else
		r->accepts = a;
	r->accepts_last = a;
	sim_trace("host took %s%s", r->address, intact ? "" : " BROKEN");
	return a;
}

void sim_mail_refused(struct sim_rcpt *r, const struct sim_host *h, int code, bool is_final)
{
	struct sim_refusal *f = mem_zalloc(sizeof(*f));

	f->at_ms = sim.now_ms;
	f->host = h;
	f->code = code;
	f->is_final = is_final;
	f->next = r->refusals;
	r->refusals = f;
}

struct sim_event *sim_mail_event(struct sim_rcpt *r)
{
	struct sim_event *e = mem_zalloc(sizeof(*e));

	if (r->events_last)
		r->events_last->next = e;
	else
		r->events = e;
	r->events_last = e;
	return e;
}
