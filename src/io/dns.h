/*
 * dns.h - DNS lookups (c-ares, raw answers, own walker), for one loop.
 *
 * A question has one of four outcomes, kept apart because mail's fate hangs
 * on it: records, no such record, no such name, or failure (SERVFAIL, time-out,
 * refused, nonsense: temporary). CNAMEs in the answer are followed. Answers
 * are bounded (DNS_RECORDS_MAX).
 */
#ifndef IO_DNS_H
#define IO_DNS_H

#include "base/err.h"
#include "base/netaddr.h"
#include "io/loop.h"

#define DNS_RECORDS_MAX 100
#define DNS_NAME_MAX    256

enum dns_type {
	DNS_TYPE_NONE = 0,
	DNS_TYPE_A = 1,
	DNS_TYPE_MX = 15,
	DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_TLSA = 52,
};

enum dns_outcome {
	DNS_NONE = 0,
	DNS_OK,     /* at least one record */
	DNS_NODATA, /* the name exists, no record of the type (or a CNAME to such) */
	DNS_NXDOMAIN,
	DNS_FAILED, /* temporary: text says what */
};

struct dns_record {
	uint16_t preference;     /* MX */
	char name[DNS_NAME_MAX]; /* MX host: lower case, no final dot; "": the root (null MX) */
	struct netaddr address;  /* A, AAAA */
};

struct dns_answer { /* valid during the callback only */
	enum dns_outcome outcome;
	bool authentic; /* AD bit */
	/* Least of the records; for NODATA and NXDOMAIN the SOA's (RFC 2308 5), 0 if unknown. */
	uint32_t ttl_s;
	const struct dns_record *records;
	size_t records_n;
	char text[128]; /* for people: "SERVFAIL", "timeout" ... */
};

struct dns;
struct dns_query;

struct dns_options {
	const char *servers; /* "127.0.0.1:53,[::1]:53"; "": the system's resolver */
	int timeout_ms;      /* per try */
	int tries;
};

int dns_new(struct loop *l, const struct dns_options *o, struct dns **d_r,
    struct errbuf *eb) MUST_USE;
void dns_free(struct dns **d); /* outstanding queries are dropped without a callback */

typedef void dns_answer_fn(void *arg, const struct dns_answer *a);
/*
 * Asks for A, AAAA or MX. The callback always comes from the loop, never from inside this call.
 * A name that is no domain gives DNS_NXDOMAIN.
 */
struct dns_query *dns_lookup(struct dns *d, const char *name, enum dns_type type, dns_answer_fn *fn,
    void *arg);
void dns_cancel(struct dns_query **q); /* before its callback only; NULL is fine */

#endif
