/*
 * conf_dump.c - the effective configuration, every key with its value, in the
 * order of the schema. It loads again to the same snapshot, but for the
 * passwords of smarthosts, which are not shown (law 7).
 */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "conf/conf_int.h"

struct dump {
	const struct conf *c;
	FILE *to;
	const char *group; /* the one that is open, "" at the top */
	size_t group_n;    /* bytes of its name */
};

static void quoted(FILE *to, const char *text)
{
	fputc('"', to);
	for (const char *p = text; *p; p++) {
		if (*p == '"' || *p == '\\')
			fputc('\\', to);
		fputc(*p, to);
	}
	fputc('"', to);
}

static void bare_duration(FILE *to, int64_t seconds)
{
	char text[UNITS_TEXT_MAX];
	int64_t back;
	units_format_duration(seconds, text);
	/* The short form may have dropped a part. */
	if (units_duration(slice_str(text), &back) == 0 && back == seconds)
		fputs(text, to);
	else
		fprintf(to, "%" PRId64 "s", seconds);
}

static void duration(FILE *to, int64_t seconds)
{
	fputc('"', to);
	bare_duration(to, seconds);
	fputc('"', to);
}

static void size(FILE *to, uint64_t bytes)
{
	static const char units[] = "kMG";
	size_t unit = 0;
	while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	fprintf(to, "\"%" PRIu64, bytes);
	if (unit > 0)
		fputc(units[unit - 1], to);
	fputc('"', to);
}

static void rate(FILE *to, const struct bucket_rate *r)
{
	fputc('"', to);
	if (r->count > 0) {
		fprintf(to, "%" PRIu64 "/", r->count);
		bare_duration(to, r->period_s);
	}
	fputc('"', to);
}

static const char *choice_name(const struct conf_key *key, int value)
{
	for (const struct conf_choice *c = key->choices; c->name; c++)
		if (c->value == value)
			return c->name;
	return "";
}

static void simple_value(FILE *to, const struct conf_key *key, const void *base)
{
	const void *field = (const char *)base + key->offset;
	switch (key->type) {
	case CONF_TYPE_BOOL:
		fputs(*(const bool *)field ? "true" : "false", to);
		return;
	case CONF_TYPE_NUMBER:
		fprintf(to, "%u", *(const unsigned *)field);
		return;
	case CONF_TYPE_INT:
		fprintf(to, "%d", *(const int *)field);
		return;
	case CONF_TYPE_PORT:
		fprintf(to, "%u", *(const uint16_t *)field);
		return;
	case CONF_TYPE_TEXT:
	case CONF_TYPE_PATH:
	case CONF_TYPE_CHOICE_TEXT:
		quoted(to, *(const char *const *)field);
		return;
	case CONF_TYPE_SECONDS:
		duration(to, *(const int *)field);
		return;
	case CONF_TYPE_MILLISECONDS:
		duration(to, *(const int *)field / 1000);
		return;
	case CONF_TYPE_LONG_SECONDS:
		duration(to, *(const int64_t *)field);
		return;
	case CONF_TYPE_SIZE:
		size(to, *(const uint64_t *)field);
		return;
	case CONF_TYPE_RATE:
		rate(to, field);
		return;
	case CONF_TYPE_CHOICE:
		quoted(to, choice_name(key, *(const int *)field));
		return;
	case CONF_TYPE_CHOICE_BOOL:
		quoted(to, choice_name(key, *(const bool *)field));
		return;
	case CONF_TYPE_UNSET:
	case CONF_TYPE_SPECIAL:
	case CONF_TYPE_STRINGS:
	case CONF_TYPE_GROUP:
	case CONF_TYPE_GROUPS:
		break;
	}
	UNREACHABLE();
}

/* Keys with a grammar of their own. */

static void me(const struct conf *c, FILE *to)
{
	quoted(to, c->me);
}

static void networks(const struct conf *c, FILE *to)
{
	fputs("[ ", to);
	for (size_t i = 0; i < c->submission.trusted_networks_n; i++) {
		const struct netaddr_net *n = &c->submission.trusted_networks[i];
		char ip[NETADDR_TEXT_MAX];
		fprintf(to, "%s\"%s/%u\"", i ? ", " : "", netaddr_format_ip(&n->base, ip), n->bits);
	}
	fputs(" ]", to);
}

/* A list of words held in one text. */
static void words(FILE *to, const char *text, char separator)
{
	struct slice rest = slice_str(text);
	struct slice word;
	const char *comma = "";
	fputs("[ ", to);
	while (rest.n > 0 && slice_split(&rest, separator, &word)) {
		fprintf(to, "%s\"%.*s\"", comma, SLICE_ARG(word));
		comma = ", ";
	}
	fputs(" ]", to);
}

static void mechanisms(const struct conf *c, FILE *to)
{
	words(to, c->submission.mechanisms, ' ');
}

static void servers(const struct conf *c, FILE *to)
{
	words(to, c->dns.servers, ',');
}

static void intervals(const struct conf *c, FILE *to)
{
	const struct retry_policy *r = &c->outbound.retry;
	fputs(r->intervals_n ? "\"" : "\"none", to);
	for (size_t i = 0, next; i < r->intervals_n; i = next) {
		for (next = i + 1;
		     next < r->intervals_n && r->intervals_s[next] == r->intervals_s[i];)
			next++;
		fprintf(to, "%s%" PRIu32 "s", i ? ", " : "", r->intervals_s[i]);
		if (next - i > 1)
			fprintf(to, "*%zu", next - i);
	}
	fputc('"', to);
}

static void min_free(const struct conf *c, FILE *to)
{
	if (c->outbound.spool_min_free_bytes)
		size(to, c->outbound.spool_min_free_bytes);
	else
		fprintf(to, "\"%u%%\"", c->outbound.spool_min_free_percent);
}

static const struct {
	const char *name;
	void (*value)(const struct conf *c, FILE *to);
} specials[] = {
	{ "me", me },
	{ "submission.trusted_networks", networks },
	{ "submission.mechanisms", mechanisms },
	{ "outbound.temp_fail_intervals", intervals },
	{ "outbound.spool_min_free", min_free },
	{ "dns.servers", servers },
};

static void special_value(const struct dump *d, const struct conf_key *key)
{
	for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
		if (strcmp(specials[i].name, key->name) == 0) {
			specials[i].value(d->c, d->to);
			return;
		}
	}
	UNREACHABLE();
}

/* Lists of groups: the texts by hand, the rest by the schema. */

static void simple_members(const struct dump *d, const char *group, const void *element)
{
	size_t n;
	const struct conf_key *schema = conf_schema(&n);
	for (size_t i = 0; i < n; i++) {
		if (!conf_key_is_in(&schema[i], group) || schema[i].type == CONF_TYPE_SPECIAL ||
		    schema[i].type == CONF_TYPE_STRINGS)
			continue;
		fprintf(d->to, " %s = ", conf_key_leaf(&schema[i]));
		simple_value(d->to, &schema[i], element);
		fputc(';', d->to);
	}
}

static void text_member(const struct dump *d, const char *name, const char *value)
{
	fprintf(d->to, " %s = ", name);
	quoted(d->to, value);
	fputc(';', d->to);
}

static void hop(const struct dump *d, const struct route_hop *h)
{
	char port[16];
	bool is_v6 = strchr(h->host, ':') != NULL;
	if (h->unix_path[0]) {
		fprintf(d->to, "\"unix:%s\"", h->unix_path);
		return;
	}
	snprintf(port, sizeof(port), ":%u", h->port);
	fprintf(d->to, "\"%s://%s%s%s%s%s%s\"",
	    h->lmtp           ? "lmtp"
	    : h->tls_implicit ? "smtps"
			      : "smtp",
	    h->user, h->user[0] ? ":****@" : "", is_v6 ? "[" : "", h->host, is_v6 ? "]" : "", port);
}

static void route(const struct dump *d, const struct route *r)
{
	char ip[NETADDR_TEXT_MAX];
	text_member(d, "domain", r->domain);
	if (r->hops_n > 0) {
		fputs(" mx = [ ", d->to);
		for (size_t i = 0; i < r->hops_n; i++) {
			fputs(i ? ", " : "", d->to);
			hop(d, &r->hops[i]);
		}
		fputs(" ];", d->to);
	}
	if (r->has_bind)
		text_member(d, "bind", netaddr_format_ip(&r->bind, ip));
	if (r->helo[0])
		text_member(d, "helo", r->helo);
}

static void element(const struct dump *d, const struct conf_key *key, size_t i)
{
	char address[NETADDR_TEXT_MAX];
	const struct conf *c = d->c;
	const void *base = NULL;
	if (strcmp(key->name, "listen") == 0) {
		text_member(d, "address", netaddr_format(&c->listen[i].address, address));
		base = &c->listen[i];
	} else if (strcmp(key->name, "routes") == 0) {
		route(d, &c->routes[i]);
		base = &c->routes[i];
	} else if (strcmp(key->name, "traffic") == 0) {
		text_member(d, "site", c->traffic[i].site);
		base = &c->traffic[i];
	} else if (strcmp(key->name, "tls_policy") == 0) {
		text_member(d, "domain", c->tls_policy[i].domain);
		base = &c->tls_policy[i];
	}
	CHECK(base != NULL);
	simple_members(d, key->name, base);
}

static void list_value(const struct dump *d, const struct conf_key *key)
{
	const struct conf *c = d->c;
	size_t n = strcmp(key->name, "listen") == 0    ? c->listen_n
		   : strcmp(key->name, "routes") == 0  ? c->routes_n
		   : strcmp(key->name, "traffic") == 0 ? c->traffic_n
						       : c->tls_policy_n;
	fputs("(", d->to);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ",\n\t{" : "\n\t{", d->to);
		element(d, key, i);
		fputs(" }", d->to);
	}
	fputs(n ? "\n)" : " )", d->to);
}

/* Groups. */

static void indent(const struct dump *d)
{
	if (d->group_n == 0)
		return;
	fputc('\t', d->to);
	if (memchr(d->group, '.', d->group_n))
		fputc('\t', d->to);
}

static size_t parent_length(const char *name, size_t n)
{
	const char *dot = memrchr(name, '.', n);
	return dot ? (size_t)(dot - name) : 0;
}

/* Closes groups until the one that the key lies in is open. */
static void leave_to(struct dump *d, const struct conf_key *key)
{
	size_t n = parent_length(key->name, strlen(key->name));
	while (d->group_n != n || memcmp(d->group, key->name, n) != 0) {
		CHECK(d->group_n > 0);
		d->group_n = parent_length(d->group, d->group_n);
		indent(d);
		fputs("};\n", d->to);
	}
}

static bool is_in_list(const struct conf_key *schema, size_t n, const struct conf_key *key)
{
	for (size_t i = 0; i < n; i++)
		if (schema[i].type == CONF_TYPE_GROUPS && conf_key_is_in(key, schema[i].name))
			return true;
	return false;
}

void conf_dump(const struct conf *c, FILE *to)
{
	struct dump d = { .c = c, .to = to, .group = "" };
	size_t n;
	const struct conf_key *schema = conf_schema(&n);
	for (size_t i = 0; i < n; i++) {
		const struct conf_key *key = &schema[i];
		if (is_in_list(schema, n, key))
			continue;
		leave_to(&d, key);
		indent(&d);
		fprintf(to, "%s = ", conf_key_leaf(key));
		if (key->type == CONF_TYPE_GROUP) {
			fputs("{\n", to);
			d.group = key->name;
			d.group_n = strlen(key->name);
			continue;
		}
		if (key->type == CONF_TYPE_GROUPS)
			list_value(&d, key);
		else if (key->type == CONF_TYPE_SPECIAL || key->type == CONF_TYPE_STRINGS)
			special_value(&d, key);
		else
			simple_value(to, key, c);
		fputs(";\n", to);
	}
	while (d.group_n > 0) {
		d.group_n = parent_length(d.group, d.group_n);
		indent(&d);
		fputs("};\n", to);
	}
}
