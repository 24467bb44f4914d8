/*
 * dns_walk.h - DNS messages: writes a question, reads an answer (RFC 1035).
 *
 * Private to src/io; base only, no c-ares, so that a fuzzer links it alone.
 * Everything in an answer is the sender's to choose: lengths, counts, names
 * and compression pointers are checked before use, and the work per message
 * is bounded (pointers only go back, DNS_HOPS_MAX of them in a name,
 * DNS_CHAIN_MAX CNAMEs in a chain).
 */
#ifndef IO_DNS_WALK_H
#define IO_DNS_WALK_H

#include "io/dns.h"

#define DNS_HOPS_MAX     32
#define DNS_CHAIN_MAX    16
#define DNS_QUESTION_MAX (12 + 255 + 4 + 11)
#define DNS_UDP_BYTES    1232 /* what we say we take over UDP: no fragments (DNS flag day 2020) */

enum dns_rcode {
	DNS_RCODE_NOERROR = 0,
	DNS_RCODE_FORMERR = 1,
	DNS_RCODE_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_NOTIMP = 4,
	DNS_RCODE_REFUSED = 5,
};

/*
 * A recursive question that asks for the AD bit (RFC 6840 5.7); edns adds an OPT record. The
 * length, or ERR_SYNTAX: name is no domain.
 */
int dns_walk_question(unsigned char out[DNS_QUESTION_MAX], uint16_t id, const char *name,
    enum dns_type type, bool edns) MUST_USE;

/* enum dns_rcode or another number; -1 if the message is too short to have one. */
int dns_walk_rcode(const unsigned char *msg, size_t n);

/*
 * What the message says about name and type (A, AAAA, MX). Fills *a; its records are stored in
 * `records`, which has room for DNS_RECORDS_MAX, more are cut.
 */
void dns_walk_answer(const unsigned char *msg, size_t n, const char *name, enum dns_type type,
    struct dns_record *records, struct dns_answer *a);

/*
 * Reads the name at *at and moves *at behind it; out gets it in lower case without final dot.
 * ERR_CORRUPT: not a name. ERR_SYNTAX: a name, but not one that text can carry (a dot, a blank or
 * a control character in a label); *at is moved then too. out is "" on error.
 */
int dns_walk_name(const unsigned char *msg, size_t n, size_t *at, char out[DNS_NAME_MAX]) MUST_USE;

#endif
