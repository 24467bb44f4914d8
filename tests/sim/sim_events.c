/*
 * Reading what the daemon says: event lines and the listing of the queue. A
 * reader of its own, just enough for one object a line.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_check.h"
#include "sim/sim_mail.h"
#include "sim/sim_peer.h"
#include "sim/sim_submit.h"

static const char *const kinds[SIM_EVENT_N] = {
	[SIM_EVENT_NONE] = "?",
	[SIM_EVENT_RECEIVED] = "received",
	[SIM_EVENT_DELIVERED] = "delivered",
	[SIM_EVENT_DEFERRED] = "deferred",
	[SIM_EVENT_BOUNCED] = "bounced",
	[SIM_EVENT_EXPIRED] = "expired",
	[SIM_EVENT_REJECTED] = "rejected",
	[SIM_EVENT_HELD] = "held",
	[SIM_EVENT_RELEASED] = "released",
	[SIM_EVENT_DELETED] = "deleted",
};

/* Where the value of a key begins in a line; NULL: not there. */
static const char *find_value(const char *line, const char *key)
{
	char quoted[40];

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	const char *at = strstr(line, quoted);
	return at ? at + strlen(quoted) : NULL;
}

static void take_text(const char *line, const char *key, char *out, size_t size)
{
	const char *at = find_value(line, key);
	size_t n = 0;

	for (at = at && *at == '"' ? at + 1 : NULL; at && *at && *at != '"' && n + 1 < size; at++)
		out[n++] = *at;
	out[n] = '\0';
}

static long take_number(const char *line, const char *key)
{
	const char *at = find_value(line, key);

	return at ? strtol(at, NULL, 10) : 0;
}

static int64_t digits(const char **p, char end)
{
	char *rest;
	long v = strtol(*p, &rest, 10);

	if (*rest != end)
		return INT64_MIN;
	*p = rest + 1;
	return v;
}

/* "2026-11-20T18:48:00.123Z"; 0 if there is none. */
static int64_t take_time(const char *line, const char *key)
{
	char text[40];
	const char *p = text;

	take_text(line, key, text, sizeof(text));
	if (!text[0])
		return 0;
	int64_t y = digits(&p, '-'), m = digits(&p, '-'), d = digits(&p, 'T');
	int64_t h = digits(&p, ':'), min = digits(&p, ':'), s = digits(&p, '.'),
		ms = digits(&p, 'Z');
	if (y < 0 || m < 1 || d < 1 || h < 0 || min < 0 || s < 0 || ms < 0) {
		sim_violation("not a time: %s", text);
		return 0;
	}
	/* Days since 1970 by the civil calendar: years begin in March. */
	y -= m <= 2;
	int64_t era = y / 400, yoe = y % 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	int64_t days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
	return (((days * 24 + h) * 60 + min) * 60 + s) * 1000 + ms;
}

/* Cuts the next line out of the text; NULL at its end. */
static char *next_line(char **rest)
{
	char *line = *rest, *end = line ? strchr(line, '\n') : NULL;

	if (!line || !*line)
		return NULL;
	if (end)
		*end = '\0';
	*rest = end ? end + 1 : NULL;
	return line;
}

static size_t life_at(size_t offset)
{
	size_t i = 0;

	while (i + 1 < sim.lives_n && offset >= sim.lives[i].events_end)
		i++;
	return i;
}

static int64_t wall_offset_at(size_t offset)
{
	size_t i = sim.eras_n - 1;

	while (i > 0 && sim.eras[i].events_begin > offset)
		i--;
	return sim.eras[i].wall_offset_ms;
}

static void read_event(const char *line, size_t offset)
{
	char kind[16], recipient[SIM_ADDRESS_MAX], user[40], response[5];

	take_text(line, "event", kind, sizeof(kind));
	take_text(line, "recipient", recipient, sizeof(recipient));
	struct sim_rcpt *r = sim_mail_find(slice_str(recipient));
	if (!r) {
		sim_violation("an event for a recipient never given: %s", line);
		return;
	}
	struct sim_event *e = sim_mail_event(r);
	for (size_t i = 1; i < SIM_EVENT_N; i++)
		if (strcmp(kind, kinds[i]) == 0)
			e->kind = (enum sim_event_kind)i;
	if (e->kind == SIM_EVENT_NONE)
		sim_violation("an event of no kind: %s", line);
	take_text(line, "user", user, sizeof(user));
	if (e->kind == SIM_EVENT_RECEIVED && r->number >= 0 &&
	    strcmp(user, r->msg->login ? SIM_SUBMIT_LOGIN : "") != 0)
		sim_violation("received from the wrong user: %s", line);
	if (strstr(line, SIM_SUBMIT_PASSWORD))
		sim_violation("a password in an event: %s", line);
	if (strstr(line, SIM_NO_BDAT))
		sim_violation("the refusal of a command counts for a message: %s", line);
	e->life = life_at(offset);
	e->wall_ms = take_time(line, "time");
	e->at_ms = e->wall_ms - wall_offset_at(offset);
	e->next_wall_ms = take_time(line, "next_attempt");
	e->attempt = (unsigned)take_number(line, "attempt");
	e->code = (int)take_number(line, "code");
	take_text(line, "id", e->id, sizeof(e->id));
	take_text(line, "stage", e->stage, sizeof(e->stage));
	take_text(line, "ip", e->ip, sizeof(e->ip));
	take_text(line, "response", response, sizeof(response));
	e->is_reply = strtol(response, NULL, 10) == e->code;
}

void sim_check_events(const char *file)
{
	FILE *f = fopen(file, "r");
	char *line = NULL;
	size_t size = 0, offset = 0;
	ssize_t n;

	CHECK(f != NULL);
	while ((n = getline(&line, &size, f)) > 0) {
		if (sim.verbose)
			fprintf(stdout, "event: %s", line);
		if (!(sim.broken == SIM_BREAK_EVENT && sim_permille(5)))
			read_event(line, offset);
		offset += (size_t)n;
	}
	free(line);
	fclose(f);
}

/* --- the listing --------------------------------------------------------------------- */

static void read_item(char *line)
{
	char state[16];

	take_text(line, "state", state, sizeof(state));
	char *at = strstr(line, "\"recipients\":[");
	if (!at) {
		sim_violation("a listed item without recipients: %s", line);
		return;
	}
	for (at = strchr(at, '{'); at; at = strchr(at, '{')) {
		char *end = strchr(at, '}'), address[SIM_ADDRESS_MAX], fate[16];
		if (!end)
			break;
		*end = '\0';
		take_text(at, "recipient", address, sizeof(address));
		take_text(at, "state", fate, sizeof(fate));
		struct sim_rcpt *r = sim_mail_find(slice_str(address));
		if (!r)
			sim_violation("a listed recipient never given: %s", address);
		/* Only what is pending has a next attempt. */
		if (r && find_value(at, "next_attempt")) {
			r->listed++;
			r->listed_due_ms = take_time(at, "next_attempt");
			snprintf(r->listed_state, sizeof(r->listed_state), "%s", state);
		}
		at = end + 1;
	}
}

static size_t listed;

size_t sim_check_listed(void)
{
	return listed;
}

void sim_check_listing(const char *answer)
{
	char *copy = mem_strdup(answer), *rest = copy, *line = next_line(&rest);

	if (!line || strcmp(line, "OK") != 0)
		sim_violation("the queue could not be listed: %.100s", answer);
	while ((line = next_line(&rest))) {
		read_item(line);
		listed++;
	}
	mem_free(copy);
}
