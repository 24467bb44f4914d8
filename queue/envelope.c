/*
 * envelope.c - building an envelope and asking it about its recipients.
 */
#include "queue/envelope.h"

#include <string.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#define SENDER_KEYS 1679616 /* 36^4 */

static const char *const fate_names[] = {
	[FATE_NONE] = "none",
	[FATE_PENDING] = "pending",
	[FATE_DELIVERED] = "delivered",
	[FATE_BOUNCED] = "bounced",
	[FATE_EXPIRED] = "expired",
	[FATE_DELETED] = "deleted",
};

_Static_assert(ARRAY_LEN(fate_names) == FATE_DELETED + 1, "a name for each fate");

const char *fate_name(enum fate fate)
{
	CHECK((size_t)fate < ARRAY_LEN(fate_names));
	return fate_names[fate];
}

bool fate_is_final(enum fate fate)
{
	return fate >= FATE_DELIVERED;
}

struct envelope *envelope_new(void)
{
	struct envelope *e = mem_zalloc(sizeof(*e));
	arena_init(&e->arena);
	e->id = e->queue_id = e->domain = e->sender = e->user = "";
	e->client_ip = e->helo = e->protocol = e->envid = e->message_id = "";
	return e;
}

void envelope_free(struct envelope **e)
{
	if (*e == NULL)
		return;
	mem_free((*e)->rcpts);
	arena_fini(&(*e)->arena);
	mem_free(*e);
	*e = NULL;
}

static void grow(struct envelope *e)
{
	size_t cap = e->rcpts_cap == 0 ? 4 : e->rcpts_cap * 2;
	e->rcpts = mem_realloc(e->rcpts, cap * sizeof(*e->rcpts));
	e->rcpts_cap = cap;
}

struct envelope_rcpt *envelope_add_rcpt(struct envelope *e, struct slice address,
    struct slice orcpt, unsigned notify)
{
	CHECK(e->rcpts_n < ENVELOPE_RCPTS_MAX);
	if (e->rcpts_n == e->rcpts_cap)
		grow(e);
	struct envelope_rcpt *r = &e->rcpts[e->rcpts_n++];
	*r = (struct envelope_rcpt){
		.address = envelope_str(e, address),
		.orcpt = envelope_str(e, orcpt),
		.notify = (uint8_t)notify,
		.fate = FATE_PENDING,
		.due_ms = e->arrival_ms,
		.status = { .text = "", .host = "", .ip = "" },
	};
	return r;
}

const char *envelope_str(struct envelope *e, struct slice s)
{
	if (s.n == 0)
		return "";
	return arena_strndup(&e->arena, s.p, MIN(s.n, (size_t)ENVELOPE_TEXT_MAX));
}

size_t envelope_pending(const struct envelope *e)
{
	size_t n = 0;
	for (size_t i = 0; i < e->rcpts_n; i++)
		n += e->rcpts[i].fate == FATE_PENDING;
	return n;
}

int64_t envelope_due_ms(const struct envelope *e)
{
	int64_t due_ms = INT64_MAX;
	for (size_t i = 0; i < e->rcpts_n; i++) {
		if (e->rcpts[i].fate == FATE_PENDING)
			due_ms = MIN(due_ms, e->rcpts[i].due_ms);
	}
	return due_ms;
}

unsigned envelope_attempts(const struct envelope *e)
{
	unsigned attempts = 0;
	for (size_t i = 0; i < e->rcpts_n; i++) {
		if (e->rcpts[i].fate == FATE_PENDING)
			attempts = MAX(attempts, e->rcpts[i].attempts);
	}
	return attempts;
}

uint32_t envelope_sender_key(struct slice user, struct slice client_ip)
{
	bool named = user.n > 0;
	/* Known seeds do: a login is the operator's, nobody can choose one. */
	const uint64_t seed[2] = { named, 0 };
	uint64_t hash = map_hash(seed, named ? user : client_ip);
	return (uint32_t)(hash % (SENDER_KEYS - 1)) + 1;
}
