#include "tools/sandbox_cast.h"

#include <string.h>

#include "base/check.h"

/* Fourth byte of 127.80.stage.x: a code is x + 399; these two are not codes. */
#define HOST_CODE_BASE 399
#define HOST_SILENT    253
#define HOST_CLOSE     254

#define HOST_ACCEPT 1
#define HOST_DEAD   2

#define RCODE_SERVFAIL 2
#define RCODE_NXDOMAIN 3

struct member {
	const char *name;
	enum cast_kind kind;
	uint8_t host; /* 127.80.0.host; 0: lives at HOST_ACCEPT */
	bool late;    /* acts on recipients, so a local part may name it */
	const char *help;
};

static const struct member members[] = {
	{ "accept", CAST_ACCEPT, HOST_ACCEPT, true,
	    "takes the mail, as does any name not in this list" },
	{ "greylist", CAST_GREYLIST, 0, true,
	    "451 4.7.1 until 2 s after the first attempt; greylist-N: N seconds" },
	{ "flaky", CAST_FLAKY, 0, true, "450 to every second recipient" },
	{ "full", CAST_FULL, 0, true, "452 4.2.2 to RCPT: mailbox over quota" },
	{ "toomany", CAST_TOOMANY, 0, true,
	    "452 4.5.3 after the third recipient of a transaction" },
	{ "slow", CAST_SLOW, 0, true, "200 ms before each reply; slow-N: N ms" },
	{ "notls", CAST_NOTLS, 3, false, "does not offer STARTTLS" },
	{ "badtls", CAST_BADTLS, 4, false, "220 to STARTTLS, then garbage; takes mail in clear" },
	{ "noext", CAST_NOEXT, 5, false, "answers EHLO without any extension" },
	{ "deadmx", CAST_DEADMX, 0, false, "two MX hosts; nobody listens at the first" },
	{ "dead", CAST_DEAD, HOST_DEAD, false, "nobody listens at its only MX host" },
	{ "v6", CAST_V6, 0, false, "MX host with only an IPv6 address, ::1" },
	{ "cname", CAST_CNAME, 0, false, "the MX host is a CNAME" },
	{ "alias", CAST_ALIAS, 0, false, "the domain itself is a CNAME" },
	{ "implicit", CAST_IMPLICIT, 0, false, "no MX record, only an address" },
	{ "nullmx", CAST_NULLMX, 0, false, "null MX (RFC 7505): takes no mail" },
	{ "nohost", CAST_NOHOST, 0, false, "the name exists, without MX record or address" },
	{ "nxdomain", CAST_NXDOMAIN, 0, false, "no such domain" },
	{ "servfail", CAST_SERVFAIL, 0, false, "the DNS server fails" },
	{ "dnstimeout", CAST_DNSTIMEOUT, 0, false, "the DNS server does not answer" },
};

static const char *const stage_names[] = {
	[CAST_STAGE_NONE] = "",
	[CAST_STAGE_GREETING] = "greeting",
	[CAST_STAGE_EHLO] = "ehlo",
	[CAST_STAGE_HELO] = "helo",
	[CAST_STAGE_STARTTLS] = "starttls",
	[CAST_STAGE_MAIL] = "mail",
	[CAST_STAGE_RCPT] = "rcpt",
	[CAST_STAGE_DATA] = "data",
	[CAST_STAGE_DOT] = "dot",
};

_Static_assert(ARRAY_LEN(stage_names) == CAST_STAGE_DOT + 1, "every stage has its name");

const char *cast_stage_name(enum cast_stage stage)
{
	CHECK((size_t)stage < ARRAY_LEN(stage_names));
	return stage_names[stage];
}

static enum cast_stage stage_parse(struct slice name)
{
	for (size_t i = CAST_STAGE_GREETING; i < ARRAY_LEN(stage_names); i++)
		if (slice_eq_nocase(name, slice_str(stage_names[i])))
			return (enum cast_stage)i;
	return CAST_STAGE_NONE;
}

static const struct member *member_find(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (slice_eq_nocase(name, slice_str(members[i].name)))
			return &members[i];
	return NULL;
}

static const struct member *member_of(enum cast_kind kind)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].kind == kind)
			return &members[i];
	return NULL;
}

static bool has_value(enum cast_kind kind)
{
	return kind == CAST_SLOW || kind == CAST_GREYLIST;
}

static unsigned default_value(enum cast_kind kind)
{
	if (kind == CAST_SLOW)
		return CAST_SLOW_MS;
	return kind == CAST_GREYLIST ? CAST_GREYLIST_S : 0;
}

/* "slow" "500" */
static struct cast parse_valued(struct slice name, struct slice number)
{
	const struct member *m = member_find(name);
	uint64_t value = 0;
	if (!m || !has_value(m->kind) || number.n > 9 || !slice_to_u64(number, &value))
		return (struct cast){ 0 };
	if (m->kind == CAST_SLOW && (value == 0 || value > CAST_SLOW_MAX_MS))
		return (struct cast){ 0 };
	return (struct cast){ .kind = m->kind, .value = (unsigned)value };
}

/* "550" "rcpt", "close" "dot", "silent" "data" */
static struct cast parse_staged(struct slice what, struct slice stage_name)
{
	struct cast c = { .stage = stage_parse(stage_name) };
	uint64_t code = 0;
	if (c.stage == CAST_STAGE_NONE)
		return (struct cast){ 0 };
	if (slice_eq_nocase(what, SLICE("close"))) {
		c.kind = CAST_CLOSE;
	} else if (slice_eq_nocase(what, SLICE("silent"))) {
		c.kind = CAST_SILENT;
	} else if (what.n == 3 && slice_to_u64(what, &code) && code >= 400 && code <= 599) {
		c.kind = CAST_REPLY;
		c.code = (unsigned)code;
	} else {
		return (struct cast){ 0 };
	}
	return c;
}

struct cast cast_parse(struct slice name)
{
	const struct member *m = member_find(name);
	if (m)
		return (struct cast){ .kind = m->kind, .value = default_value(m->kind) };
	ptrdiff_t dash = slice_find(name, '-');
	if (dash < 0)
		return (struct cast){ 0 };
	struct slice head = slice_of(name.p, (size_t)dash);
	struct slice tail = slice_from(name, (size_t)dash + 1);
	struct cast c = parse_staged(head, tail);
	return c.kind == CAST_NONE ? parse_valued(head, tail) : c;
}

static struct slice first_label(struct slice domain)
{
	ptrdiff_t dot = slice_find(domain, '.');
	return dot < 0 ? domain : slice_of(domain.p, (size_t)dot);
}

/* Takes "mx1." and "mx2." off; returns the number of the first one met, 0 if none. */
static unsigned strip_mx(struct slice *name)
{
	unsigned first = 0;
	while (slice_starts_nocase(*name, SLICE("mx1.")) ||
	       slice_starts_nocase(*name, SLICE("mx2."))) {
		if (first == 0)
			first = name->p[2] == '1' ? 1 : 2;
		*name = slice_from(*name, 4);
	}
	return first;
}

struct cast cast_of_domain(struct slice domain)
{
	strip_mx(&domain);
	struct cast c = cast_parse(first_label(domain));
	if (c.kind == CAST_NONE)
		c.kind = CAST_ACCEPT;
	return c;
}

static bool acts_on_recipients(const struct cast *c)
{
	const struct member *m = member_of(c->kind);
	return m ? m->late : c->stage >= CAST_STAGE_RCPT;
}

struct cast cast_of_recipient(struct slice local, struct slice domain)
{
	ptrdiff_t plus = slice_find(local, '+');
	struct cast c = cast_parse(plus < 0 ? local : slice_of(local.p, (size_t)plus));
	return acts_on_recipients(&c) ? c : cast_of_domain(domain);
}

static struct netaddr address_v4(unsigned b, unsigned c, unsigned d)
{
	struct netaddr a = { .family = NETADDR_V4 };
	a.ip[0] = 127;
	a.ip[1] = (uint8_t)b;
	a.ip[2] = (uint8_t)c;
	a.ip[3] = (uint8_t)d;
	return a;
}

static bool is_early(const struct cast *c)
{
	return c->stage >= CAST_STAGE_GREETING && c->stage <= CAST_STAGE_MAIL;
}

struct netaddr cast_address(const struct cast *c)
{
	if (c->kind == CAST_SLOW)
		return address_v4(81, c->value >> 8, c->value & 0xff);
	if (c->kind == CAST_REPLY && is_early(c))
		return address_v4(80, c->stage, c->code - HOST_CODE_BASE);
	if (c->kind == CAST_CLOSE && is_early(c))
		return address_v4(80, c->stage, HOST_CLOSE);
	if (c->kind == CAST_SILENT && is_early(c))
		return address_v4(80, c->stage, HOST_SILENT);
	if (c->kind == CAST_V6) {
		struct netaddr a = { .family = NETADDR_V6 };
		a.ip[15] = 1;
		return a;
	}
	const struct member *m = member_of(c->kind);
	return address_v4(80, 0, m && m->host ? m->host : HOST_ACCEPT);
}

/* 127.80.stage.host */
static struct cast staged_of_host(unsigned stage, unsigned host)
{
	struct cast c = { .stage = (enum cast_stage)stage };
	if (host == HOST_CLOSE) {
		c.kind = CAST_CLOSE;
	} else if (host == HOST_SILENT) {
		c.kind = CAST_SILENT;
	} else if (host >= 400 - HOST_CODE_BASE && host <= 599 - HOST_CODE_BASE) {
		c.kind = CAST_REPLY;
		c.code = host + HOST_CODE_BASE;
	} else {
		return (struct cast){ .kind = CAST_ACCEPT };
	}
	return c;
}

struct cast cast_of_address(const struct netaddr *a)
{
	struct cast accept = { .kind = CAST_ACCEPT };
	if (a->family != NETADDR_V4 || a->ip[0] != 127)
		return accept;
	unsigned hi = a->ip[2], lo = a->ip[3];
	if (a->ip[1] == 81)
		return (struct cast){ .kind = CAST_SLOW, .value = hi << 8 | lo };
	if (a->ip[1] != 80)
		return accept;
	if (hi >= CAST_STAGE_GREETING && hi <= CAST_STAGE_MAIL)
		return staged_of_host(hi, lo);
	for (size_t i = 0; hi == 0 && i < ARRAY_LEN(members); i++)
		if (members[i].host == lo && lo != 0)
			return (struct cast){ .kind = members[i].kind };
	return accept;
}

char *cast_format(const struct cast *c, char buf[CAST_NAME_MAX])
{
	const char *stage = cast_stage_name(c->stage);
	const struct member *m = member_of(c->kind);
	if (c->kind == CAST_REPLY)
		snprintf(buf, CAST_NAME_MAX, "%u-%s", c->code, stage);
	else if (c->kind == CAST_CLOSE || c->kind == CAST_SILENT)
		snprintf(buf, CAST_NAME_MAX, "%s-%s", c->kind == CAST_CLOSE ? "close" : "silent",
		    stage);
	else if (has_value(c->kind) && m)
		snprintf(buf, CAST_NAME_MAX, "%s-%u", m->name, c->value);
	else
		snprintf(buf, CAST_NAME_MAX, "%s", m ? m->name : "");
	return buf;
}

const char *cast_enhanced(const struct cast *c, char buf[12])
{
	static const struct {
		unsigned code;
		enum cast_stage stage; /* NONE: any */
		const char *detail;
	} table[] = {
		{ 421, CAST_STAGE_NONE, "3.2" },
		{ 450, CAST_STAGE_RCPT, "2.0" },
		{ 451, CAST_STAGE_NONE, "3.0" },
		{ 452, CAST_STAGE_RCPT, "2.2" },
		{ 452, CAST_STAGE_NONE, "3.1" },
		{ 550, CAST_STAGE_RCPT, "1.1" },
		{ 550, CAST_STAGE_NONE, "7.1" },
		{ 551, CAST_STAGE_NONE, "1.6" },
		{ 552, CAST_STAGE_RCPT, "2.2" },
		{ 552, CAST_STAGE_NONE, "3.4" },
		{ 553, CAST_STAGE_NONE, "1.3" },
		{ 554, CAST_STAGE_DOT, "6.0" },
	};

	const char *detail = "0.0";
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].code != c->code)
			continue;
		if (table[i].stage != CAST_STAGE_NONE && table[i].stage != c->stage)
			continue;
		detail = table[i].detail;
		break;
	}
	snprintf(buf, 12, "%u.%s", c->code / 100 % 10, detail);
	return buf;
}

void cast_print(FILE *to)
{
	fputs(
	    "The cast: the first label of a recipient's domain says how its mail exchanger\n"
	    "behaves. Names marked * work as the local part of a recipient too, before any '+'.\n\n"
	    "   CODE-STAGE   replies CODE (400 to 599) at greeting, ehlo (HELO is welcome), helo\n"
	    "                (both are refused), starttls, mail, rcpt*, data*, dot*: 550-rcpt\n"
	    "   close-STAGE  hangs up there without a reply: close-ehlo, close-dot*\n"
	    "   silent-STAGE says nothing more from there on: silent-greeting, silent-data*\n",
	    to);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const struct member *m = &members[i];
		struct cast c = { .kind = m->kind };
		char name[CAST_NAME_MAX];
		snprintf(name, sizeof(name), "%s%s", m->name, acts_on_recipients(&c) ? "*" : "");
		fprintf(to, "   %-12s %s\n", name, m->help);
	}
}

static struct cast_record *add_record(struct cast_answer *a, enum dns_type type, const char *name)
{
	CHECK(a->records_n < CAST_RECORDS_MAX);
	struct cast_record *r = &a->records[a->records_n++];
	*r = (struct cast_record){ .type = type };
	snprintf(r->name, sizeof(r->name), "%s", name);
	return r;
}

/* target = prefix + name; a name that gets too long is a server failure */
static void set_target(struct cast_answer *a, struct cast_record *r, const char *prefix,
    const char *name)
{
	int n = snprintf(r->target, sizeof(r->target), "%s%s", prefix, name);
	if (n < 0 || (size_t)n >= sizeof(r->target)) {
		a->rcode = RCODE_SERVFAIL;
		a->records_n = 0;
	}
}

static void add_mx(struct cast_answer *a, const char *name, int preference, const char *prefix)
{
	set_target(a, add_record(a, DNS_TYPE_MX, name), prefix, name);
	if (a->records_n)
		a->records[a->records_n - 1].preference = preference;
}

static void resolve_mx(const struct cast *c, const char *name, struct cast_answer *a)
{
	if (c->kind == CAST_IMPLICIT || c->kind == CAST_NOHOST)
		return;
	if (c->kind == CAST_NULLMX) {
		add_record(a, DNS_TYPE_MX, name);
		return;
	}
	add_mx(a, name, 10, "mx1.");
	if (c->kind == CAST_DEADMX && a->rcode == 0)
		add_mx(a, name, 20, "mx2.");
}

static void resolve_address(const struct cast *c, unsigned mx, const char *name, int type,
    struct cast_answer *a)
{
	if (c->kind == CAST_NOHOST)
		return;
	struct cast dead = { .kind = CAST_DEAD };
	struct netaddr address = cast_address(c->kind == CAST_DEADMX && mx == 1 ? &dead : c);
	enum dns_type has = address.family == NETADDR_V6 ? DNS_TYPE_AAAA : DNS_TYPE_A;
	if (type == (int)has)
		add_record(a, has, name)->address = address;
}

/* The name whose records are given instead, in the same answer; false if name has its own. */
static bool resolve_cname(const struct cast *c, unsigned mx, const char *name,
    struct cast_answer *a)
{
	bool is_host = c->kind == CAST_CNAME && mx == 1;
	bool is_domain = c->kind == CAST_ALIAS && mx == 0;
	if (!is_host && !is_domain)
		return false;
	struct cast_record *r = add_record(a, DNS_TYPE_NONE, name);
	set_target(a, r, is_host ? "mx2." : "accept.", is_host ? name + 4 : name);
	return a->rcode == 0;
}

void cast_resolve(const char *name, int type, struct cast_answer *a)
{
	*a = (struct cast_answer){ .silent = false };
	struct slice rest = slice_str(name);
	unsigned mx = strip_mx(&rest);
	struct cast c = cast_of_domain(rest);
	if (c.kind == CAST_DNSTIMEOUT) {
		a->silent = true;
		return;
	}
	if (c.kind == CAST_NXDOMAIN || c.kind == CAST_SERVFAIL) {
		a->rcode = c.kind == CAST_NXDOMAIN ? RCODE_NXDOMAIN : RCODE_SERVFAIL;
		return;
	}
	char target[DNS_NAME_MAX];
	if (resolve_cname(&c, mx, name, a)) {
		snprintf(target, sizeof(target), "%s", a->records[0].target);
		name = target;
	}
	if (a->rcode)
		return;
	if (type == DNS_TYPE_MX)
		resolve_mx(&c, name, a);
	else if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA)
		resolve_address(&c, mx, name, type, a);
}
