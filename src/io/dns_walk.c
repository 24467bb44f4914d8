#include "io/dns_walk.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/slice.h"

enum {
	HEADER_BYTES = 12,
	RR_FIXED_BYTES = 10, /* type, class, TTL, length */
	LABEL_MAX = 63,
	TEXT_MAX = 253, /* a name of 255 octets on the wire, as text */
	CLASS_IN = 1,
	TYPE_NS = 2,
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
	TYPE_OPT = 41,
	FLAG_RD = 0x01, /* third byte */
	FLAG_TC = 0x02,
	FLAG_AA = 0x04,
	FLAG_QR = 0x80,
	FLAG_AD = 0x20, /* fourth byte */
	FLAG_RA = 0x80,
	SOA_BYTES_MIN = 22, /* two root names and five numbers */
};

struct message {
	const unsigned char *p;
	size_t n;
	size_t answers_at;
	unsigned answers;
	size_t authorities_at;
	unsigned authorities;
};

struct rr {
	char owner[DNS_NAME_MAX]; /* "" if it is not fit for text: then it is nobody's */
	uint16_t type;
	uint16_t class;
	uint32_t ttl;
	size_t data_at;
	size_t data_n;
};

static uint16_t get_u16(const unsigned char *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get_u32(const unsigned char *p)
{
	return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

static void put_u16(unsigned char *p, unsigned v)
{
	p[0] = (unsigned char)(v >> 8);
	p[1] = (unsigned char)v;
}

/* Text outside this would be misread: a dot splits, the rest has no business in a host's name. */
static bool is_text(unsigned char c)
{
	return c > ' ' && c < 0x7f && c != '.' && c != '\\';
}

/* The name in wire format; its length, or ERR_SYNTAX. out has room for 255 bytes. */
static int encode_name(unsigned char *out, const char *name)
{
	struct slice rest = slice_str(name);
	struct slice label;
	int at = 0;
	if (rest.n > 1 && rest.p[rest.n - 1] == '.')
		rest.n--;
	if (rest.n == 0 || rest.n > TEXT_MAX || rest.p[rest.n - 1] == '.')
		return ERR_SYNTAX;
	while (slice_split(&rest, '.', &label)) {
		if (label.n == 0 || label.n > LABEL_MAX)
			return ERR_SYNTAX;
		out[at++] = (unsigned char)label.n;
		for (size_t i = 0; i < label.n; i++) {
			if (!is_text((unsigned char)label.p[i]))
				return ERR_SYNTAX;
			out[at++] = (unsigned char)label.p[i];
		}
	}
	out[at++] = 0;
	return at;
}

int dns_walk_question(unsigned char out[DNS_QUESTION_MAX], uint16_t id, const char *name,
    enum dns_type type, bool edns)
{
	memset(out, 0, HEADER_BYTES);
	put_u16(out, id);
	out[2] = FLAG_RD;
	out[3] = FLAG_AD;
	put_u16(out + 4, 1);
	put_u16(out + 10, edns);
	int n = encode_name(out + HEADER_BYTES, name);
	if (n < 0)
		return n;
	unsigned char *p = out + HEADER_BYTES + n;
	put_u16(p, type);
	put_u16(p + 2, CLASS_IN);
	p += 4;
	if (edns) { /* RFC 6891 6.1.2: root, OPT, our UDP size, no flags, no options */
		memset(p, 0, 11);
		put_u16(p + 1, TYPE_OPT);
		put_u16(p + 3, DNS_UDP_BYTES);
		p += 11;
	}
	return (int)(p - out);
}

int dns_walk_rcode(const unsigned char *msg, size_t n)
{
	return n < HEADER_BYTES ? -1 : msg[3] & 0x0f;
}

/*
 * Follows one compression pointer at `at`. It must lead to before the part it stands in: so no
 * name has a loop.
 */
static int follow_pointer(const unsigned char *msg, size_t n, size_t *at, size_t *part_at)
{
	if (n - *at < 2)
		return ERR_CORRUPT;
	size_t target = get_u16(msg + *at) & 0x3fffU;
	if (target < HEADER_BYTES || target >= *part_at)
		return ERR_CORRUPT;
	*at = *part_at = target;
	return 0;
}

/* Appends a label to the text. ERR_SYNTAX as dns_walk_name; ERR_CORRUPT if the name is too long. */
static int add_label(char out[DNS_NAME_MAX], size_t *len, const unsigned char *p, size_t n)
{
	int r = 0;
	if (*len + n + 1 > TEXT_MAX)
		return ERR_CORRUPT;
	if (*len > 0)
		out[(*len)++] = '.';
	for (size_t i = 0; i < n; i++) {
		if (!is_text(p[i]))
			r = ERR_SYNTAX;
		out[(*len)++] = (char)p[i];
	}
	return r;
}

static int read_name(const unsigned char *msg, size_t n, size_t *at, char out[DNS_NAME_MAX])
{
	size_t p = *at;
	size_t part_at = *at; /* where the labels since the last pointer began */
	size_t end = 0;       /* behind the first pointer; 0: none yet */
	size_t len = 0;
	unsigned hops = 0;
	int result = 0;
	for (;;) {
		if (p >= n)
			return ERR_CORRUPT;
		unsigned size = msg[p];
		if (size == 0)
			break;
		if (size >= 0xc0) {
			if (!end)
				end = p + 2;
			if (++hops > DNS_HOPS_MAX || follow_pointer(msg, n, &p, &part_at) < 0)
				return ERR_CORRUPT;
			continue;
		}
		if (size > LABEL_MAX || n - p <= size)
			return ERR_CORRUPT;
		int r = add_label(out, &len, msg + p + 1, size);
		if (r == ERR_CORRUPT)
			return r;
		if (r < 0)
			result = r;
		p += 1 + size;
	}
	*at = end ? end : p + 1;
	slice_lower(out, len);
	out[len] = '\0';
	return result;
}

int dns_walk_name(const unsigned char *msg, size_t n, size_t *at, char out[DNS_NAME_MAX])
{
	int r = read_name(msg, n, at, out);
	if (r < 0)
		out[0] = '\0';
	return r;
}

static int read_rr(const struct message *m, size_t *at, struct rr *rr)
{
	if (dns_walk_name(m->p, m->n, at, rr->owner) == ERR_CORRUPT)
		return ERR_CORRUPT;
	if (m->n - *at < RR_FIXED_BYTES)
		return ERR_CORRUPT;
	const unsigned char *p = m->p + *at;
	rr->type = get_u16(p);
	rr->class = get_u16(p + 2);
	rr->ttl = get_u32(p + 4);
	if (rr->ttl > INT32_MAX) /* RFC 2181 8 */
		rr->ttl = 0;
	rr->data_at = *at + RR_FIXED_BYTES;
	rr->data_n = get_u16(p + 8);
	if (m->n - rr->data_at < rr->data_n)
		return ERR_CORRUPT;
	*at = rr->data_at + rr->data_n;
	return 0;
}

/* Finds the sections and checks the bounds of every record in the two we use. */
static int open_message(struct message *m, const unsigned char *p, size_t n)
{
	char name[DNS_NAME_MAX];
	struct rr rr;
	size_t at = HEADER_BYTES;
	*m = (struct message){ .p = p, .n = n };
	if (n < HEADER_BYTES || !(p[2] & FLAG_QR))
		return ERR_CORRUPT;
	m->answers = get_u16(p + 6);
	m->authorities = get_u16(p + 8);
	for (unsigned i = get_u16(p + 4); i > 0; i--) {
		if (dns_walk_name(p, n, &at, name) == ERR_CORRUPT || n - at < 4)
			return ERR_CORRUPT;
		at += 4;
	}
	m->answers_at = at;
	for (unsigned i = 0; i < m->answers; i++)
		if (read_rr(m, &at, &rr) < 0)
			return ERR_CORRUPT;
	m->authorities_at = at;
	for (unsigned i = 0; i < m->authorities; i++)
		if (read_rr(m, &at, &rr) < 0)
			return ERR_CORRUPT;
	return 0;
}

/* The next record of the owner, from record *i at *at on. */
static bool next_of(const struct message *m, unsigned *i, size_t *at, const char *owner,
    struct rr *rr)
{
	while (*i < m->answers) {
		int r = read_rr(m, at, rr);
		CHECK(r == 0); /* open_message has seen them all */
		(*i)++;
		if (rr->class == CLASS_IN && rr->owner[0] && strcmp(rr->owner, owner) == 0)
			return true;
	}
	return false;
}

static int decode_address(const struct message *m, const struct rr *rr, struct netaddr *a)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	if (rr->type == DNS_TYPE_A && rr->data_n == sizeof(v4.sin_addr)) {
		memcpy(&v4.sin_addr, m->p + rr->data_at, sizeof(v4.sin_addr));
		netaddr_from_sockaddr(a, (const struct sockaddr *)&v4);
		return 0;
	}
	if (rr->type == DNS_TYPE_AAAA && rr->data_n == sizeof(v6.sin6_addr)) {
		memcpy(&v6.sin6_addr, m->p + rr->data_at, sizeof(v6.sin6_addr));
		netaddr_from_sockaddr(a, (const struct sockaddr *)&v6);
		return 0;
	}
	return ERR_CORRUPT;
}

/* A name inside the record's data, from `skip` bytes into it to its end. */
static int decode_name(const struct message *m, const struct rr *rr, size_t skip,
    char name[DNS_NAME_MAX])
{
	size_t at = rr->data_at + skip;
	if (rr->data_n <= skip)
		return ERR_CORRUPT;
	int r = dns_walk_name(m->p, rr->data_at + rr->data_n, &at, name);
	if (r == 0 && at != rr->data_at + rr->data_n)
		r = ERR_CORRUPT;
	return r;
}

static int decode_record(const struct message *m, const struct rr *rr, struct dns_record *record)
{
	*record = (struct dns_record){ 0 };
	if (rr->type != DNS_TYPE_MX)
		return decode_address(m, rr, &record->address);
	int r = decode_name(m, rr, 2, record->name);
	if (r == 0)
		record->preference = get_u16(m->p + rr->data_at);
	return r;
}

/* All records of owner and type go to a and `records`; the number seen, with those no good. */
static unsigned collect(const struct message *m, const char *owner, enum dns_type type,
    struct dns_record *records, struct dns_answer *a)
{
	struct rr rr;
	size_t at = m->answers_at;
	unsigned i = 0;
	unsigned seen = 0;
	while (next_of(m, &i, &at, owner, &rr) && a->records_n < DNS_RECORDS_MAX) {
		if (rr.type != (uint16_t)type)
			continue;
		seen++;
		if (decode_record(m, &rr, &records[a->records_n]) < 0)
			continue;
		a->records_n++;
		a->ttl_s = MIN(a->ttl_s, rr.ttl);
	}
	return seen;
}

/* 1: name is an alias, target and a->ttl_s say of what; 0: it is not; negative: it is a mess. */
static int find_alias(const struct message *m, const char *owner, char target[DNS_NAME_MAX],
    struct dns_answer *a)
{
	struct rr rr;
	size_t at = m->answers_at;
	unsigned i = 0;
	while (next_of(m, &i, &at, owner, &rr)) {
		if (rr.type != TYPE_CNAME)
			continue;
		a->ttl_s = MIN(a->ttl_s, rr.ttl);
		int r = decode_name(m, &rr, 0, target);
		return r < 0 ? r : 1;
	}
	return 0;
}

/* How long "no" may be believed (RFC 2308 5); without an SOA, not at all. */
static void judge_negative(const struct message *m, struct dns_answer *a)
{
	struct rr rr;
	size_t at = m->authorities_at;
	bool has_soa = false;
	bool has_ns = false;
	for (unsigned i = 0; i < m->authorities; i++) {
		int r = read_rr(m, &at, &rr);
		CHECK(r == 0);
		has_ns = has_ns || rr.type == TYPE_NS;
		if (rr.type != TYPE_SOA || rr.data_n < SOA_BYTES_MIN)
			continue;
		has_soa = true;
		uint32_t minimum = get_u32(m->p + rr.data_at + rr.data_n - 4);
		a->ttl_s = MIN(a->ttl_s, MIN(rr.ttl, minimum));
	}
	if (!has_soa)
		a->ttl_s = 0;
	/*
	 * A server that does not recurse and only names other servers has not said no (RFC 2308
	 * 2.2): to take it as one would bounce mail.
	 */
	if (a->outcome == DNS_NODATA && has_ns && !has_soa && !(m->p[2] & FLAG_AA) &&
	    !(m->p[3] & FLAG_RA)) {
		a->outcome = DNS_FAILED;
		snprintf(a->text, sizeof(a->text), "referral: the server is no resolver");
	}
}

static void set_failed(struct dns_answer *a, const char *text)
{
	a->outcome = DNS_FAILED;
	a->records_n = 0;
	a->ttl_s = 0;
	snprintf(a->text, sizeof(a->text), "%s", text);
}

static void set_failed_rcode(struct dns_answer *a, int rcode)
{
	static const char *const names[] = {
		[DNS_RCODE_FORMERR] = "FORMERR",
		[DNS_RCODE_SERVFAIL] = "SERVFAIL",
		[DNS_RCODE_NOTIMP] = "NOTIMP",
		[DNS_RCODE_REFUSED] = "REFUSED",
	};
	char text[32];
	snprintf(text, sizeof(text), "rcode %d", rcode);
	if ((size_t)rcode < ARRAY_LEN(names) && names[rcode])
		snprintf(text, sizeof(text), "%s", names[rcode]);
	set_failed(a, text);
}

/* Follows the aliases from name to the records; sets OK, NODATA or FAILED. */
static void follow(const struct message *m, const char *name, enum dns_type type,
    struct dns_record *records, struct dns_answer *a)
{
	char owner[DNS_NAME_MAX];
	snprintf(owner, sizeof(owner), "%s", name);
	size_t len = strlen(owner);
	if (len > 1 && owner[len - 1] == '.')
		owner[--len] = '\0';
	slice_lower(owner, len);
	a->ttl_s = UINT32_MAX;
	for (int links = 0; links <= DNS_CHAIN_MAX; links++) {
		char target[DNS_NAME_MAX];
		unsigned seen = collect(m, owner, type, records, a);
		if (a->records_n > 0) {
			a->outcome = DNS_OK;
			return;
		}
		int r = seen > 0 ? ERR_CORRUPT : find_alias(m, owner, target, a);
		if (r < 0) {
			set_failed(a, "malformed record");
			return;
		}
		if (r == 0) {
			a->outcome = DNS_NODATA;
			return;
		}
		memcpy(owner, target, sizeof(owner));
	}
	set_failed(a, "CNAME chain too long");
}

void dns_walk_answer(const unsigned char *msg, size_t n, const char *name, enum dns_type type,
    struct dns_record *records, struct dns_answer *a)
{
	struct message m;
	CHECK(type == DNS_TYPE_A || type == DNS_TYPE_AAAA || type == DNS_TYPE_MX);
	*a = (struct dns_answer){ .records = records };
	int rcode = dns_walk_rcode(msg, n);
	if (rcode != DNS_RCODE_NOERROR && rcode != DNS_RCODE_NXDOMAIN && rcode > 0) {
		set_failed_rcode(a, rcode);
		return;
	}
	if (open_message(&m, msg, n) < 0) {
		set_failed(a, "malformed answer");
		return;
	}
	if (msg[2] & FLAG_TC) { /* TCP has been tried: what is missing stays missing */
		set_failed(a, "truncated answer");
		return;
	}
	a->authentic = msg[3] & FLAG_AD;
	if (rcode == DNS_RCODE_NXDOMAIN) {
		/* With aliases it is the last one's target that does not exist (RFC 2308 2.1). */
		a->outcome = DNS_NXDOMAIN;
		a->ttl_s = UINT32_MAX;
	} else {
		follow(&m, name, type, records, a);
	}
	if (a->outcome == DNS_NXDOMAIN || a->outcome == DNS_NODATA)
		judge_negative(&m, a);
	if (a->outcome == DNS_NXDOMAIN)
		snprintf(a->text, sizeof(a->text), "no such name");
	else if (a->outcome == DNS_NODATA)
		snprintf(a->text, sizeof(a->text), "no such record");
}
