#include "fault/ledger.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#define PATTERN_BYTES 65521

enum {
	TEXT_MAX = 4000,
	NUMBERS = 10000 /* of each kind */
};

static const int text_bytes[] = { [LEDGER_FEW] = 18, [LEDGER_MANY] = 3587, [LEDGER_LESS] = 2676 };

void ledger_fini(struct ledger *l)
{
	for (size_t i = 0; i < l->parts_n; i++) {
		mem_free(l->parts[i]->states);
		mem_free(l->parts[i]);
	}
	mem_free(l->parts);
	*l = (struct ledger){ 0 };
}

struct ledger_part *ledger_add(struct ledger *l, const char *id, int64_t arrival_ms)
{
	struct ledger_part *p = mem_zalloc(sizeof(*p));
	l->parts = mem_realloc(l->parts, (l->parts_n + 1) * sizeof(struct ledger_part *));
	l->parts[l->parts_n++] = p;
	snprintf(p->id, sizeof(p->id), "%s", id);
	p->arrival_ms = arrival_ms;
	p->states = mem_zalloc(sizeof(*p->states));
	p->states[0].is = LEDGER_ABSENT;
	for (size_t i = 0; i < LEDGER_RCPTS_MAX; i++)
		p->states[0].rcpts[i] =
		    (struct ledger_rcpt){ .fate = FATE_PENDING, .due_ms = arrival_ms };
	p->states_n = 1;
	p->may_be_held[false] = true;
	return p;
}

struct ledger_part *ledger_find(const struct ledger *l, const char *id)
{
	for (size_t i = 0; i < l->parts_n; i++) {
		if (strcmp(l->parts[i]->id, id) == 0)
			return l->parts[i];
	}
	return NULL;
}

const struct ledger_state *ledger_last(const struct ledger_part *p)
{
	return &p->states[p->states_n - 1];
}

struct ledger_state *ledger_ask(struct ledger_part *p, enum ledger_presence is)
{
	p->states = mem_realloc(p->states, (p->states_n + 1) * sizeof(*p->states));
	struct ledger_state *s = &p->states[p->states_n];
	*s = p->states[p->states_n - 1];
	s->is = is;
	p->states_n++;
	return s;
}

void ledger_tell(struct ledger_part *p, bool is_sure)
{
	p->told = p->states_n - 1;
	if (is_sure)
		p->sure = p->told;
}

void ledger_synced(struct ledger *l, bool all)
{
	for (size_t i = 0; i < l->parts_n; i++) {
		struct ledger_part *p = l->parts[i];
		if (all || p->states[p->told].is != LEDGER_ABSENT)
			p->sure = MAX(p->sure, p->told);
		if (!p->hold_unknown)
			p->may_be_held[!p->held] = false;
	}
}

void ledger_forget_told(struct ledger *l)
{
	for (size_t i = 0; i < l->parts_n; i++) {
		struct ledger_part *p = l->parts[i];
		p->told = p->sure;
		p->hold_unknown = p->may_be_held[false] && p->may_be_held[true];
	}
}

void ledger_settle(struct ledger_part *p, struct ledger_state found)
{
	p->states[0] = found;
	p->states_n = 1;
	p->sure = p->told = 0;
}

bool ledger_half(const struct ledger_part *p, size_t i, struct ledger_state *half)
{
	if (i <= p->sure || p->states[i - 1].is != LEDGER_LIVE ||
	    p->states[i].rcpts[0].reply / NUMBERS != LEDGER_MANY)
		return false;
	*half = p->states[i];
	for (size_t r = LEDGER_FIRST_RECORD; r < p->rcpts_n; r++)
		half->rcpts[r] = p->states[i - 1].rcpts[r];
	return true;
}

/* --- what stands in it ------------------------------------------------------------ */

unsigned ledger_number(unsigned n, enum ledger_words words)
{
	CHECK(n < NUMBERS);
	return n + NUMBERS * (unsigned)words;
}

struct envelope_status ledger_reply(unsigned number)
{
	static char texts[LEDGER_RCPTS_MAX + 1][TEXT_MAX]; /* so many at a time */
	char *text = texts[number % ARRAY_LEN(texts)];
	snprintf(text, TEXT_MAX, "reply %-*u", text_bytes[number / NUMBERS] - 6, number);
	return (struct envelope_status){ .code = (uint16_t)(400 + number % 200),
		.enhanced = { 4, (uint16_t)(number % NUMBERS), 1 },
		.text = text,
		.host = "mx.example",
		.ip = "192.0.2.1" };
}

const char *ledger_body(size_t msg, uint64_t at, size_t *n)
{
	static char pattern[PATTERN_BYTES];
	for (size_t i = 0; pattern[0] == '\0' && i < PATTERN_BYTES; i++)
		pattern[PATTERN_BYTES - 1 - i] = (char)('a' + (i * 7 + i / 251) % 26);
	size_t from = (size_t)((at + msg * 31) % PATTERN_BYTES);
	*n = PATTERN_BYTES - from;
	return pattern + from;
}

static bool is_reply(const struct envelope_status *s, unsigned n)
{
	if (n == 0)
		return s->code == 0 && s->text[0] == '\0';
	struct envelope_status want = ledger_reply(n);
	return s->code == want.code &&
	       memcmp(s->enhanced, want.enhanced, sizeof(want.enhanced)) == 0 &&
	       strcmp(s->text, want.text) == 0 && strcmp(s->host, want.host) == 0 &&
	       strcmp(s->ip, want.ip) == 0;
}

const char *ledger_differs(const struct ledger_part *p, const struct ledger_state *s,
    const struct envelope *e)
{
	char address[64];
	if (strcmp(e->queue_id, p->id) != 0 || strcmp(e->domain, p->domain) != 0 ||
	    strcmp(e->sender, "sender@example.com") != 0 || e->arrival_ms != p->arrival_ms ||
	    e->body_bytes != p->bytes || e->rcpts_n != p->rcpts_n ||
	    strncmp(e->id, p->id, strlen(e->id)) != 0 || strcmp(e->envid, "envid") != 0)
		return "the envelope";
	for (size_t i = 0; i < e->rcpts_n; i++) {
		const struct envelope_rcpt *r = &e->rcpts[i];
		const struct ledger_rcpt *want = &s->rcpts[i];
		snprintf(address, sizeof(address), "r%zu@%s", i, p->domain);
		if (strcmp(r->address, address) != 0 || strcmp(r->orcpt, "rfc822;o") != 0 ||
		    r->notify != ENVELOPE_NOTIFY_FAILURE)
			return "a recipient";
		if (r->fate != want->fate)
			return "a fate";
		if (r->attempts != want->attempts || r->last_ms != want->last_ms ||
		    (r->fate == FATE_PENDING && r->due_ms != want->due_ms))
			return "the schedule";
		if (!is_reply(&r->status, want->reply))
			return "a reply";
	}
	return NULL;
}

void ledger_print(const struct ledger_part *p, char *out, size_t max)
{
	static const char *const names[] = { "?", "absent", "live", "gone" };
	size_t n = (size_t)snprintf(out, max, "%s:", p->id);
	for (size_t i = 0; i < p->states_n && n < max; i++)
		n += (size_t)snprintf(out + n, max - n, " %s%s%s/%u", i == p->sure ? "sure:" : "",
		    i == p->told ? "told:" : "", names[p->states[i].is],
		    p->states[i].rcpts[0].attempts);
}
