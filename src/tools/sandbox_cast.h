/*
 * sandbox_cast.h - the characters of the sandbox: who plays what, and where.
 *
 * A character is named by the first label of a domain ("550-rcpt.test") or,
 * for what happens from RCPT on, by the local part of a recipient before any
 * '+' ("550-rcpt+joe@example.com"). Some numbers are part of the name:
 * "slow-500", "greylist-10". What misbehaves before the recipient is known
 * has a loopback address of its own, worked out from the name and back again:
 *
 *   127.80.0.n            the named ones; 127.80.0.1 is everybody else's
 *   127.80.stage.code     CODE-, close- and silent- at greeting .. mail
 *   127.81.hi.lo          slow-N, N = 256 * hi + lo
 *
 * Everything here is pure: names in, decisions out.
 */
#ifndef TOOLS_SANDBOX_CAST_H
#define TOOLS_SANDBOX_CAST_H

#include <stdio.h>

#include "base/netaddr.h"
#include "base/slice.h"
#include "io/dns.h"

#define CAST_NAME_MAX      32
#define CAST_RECORDS_MAX   2
#define CAST_GREYLIST_S    2
#define CAST_SLOW_MS       200
#define CAST_SLOW_MAX_MS   65535
#define CAST_TOOMANY_RCPTS 3

enum cast_stage {
	CAST_STAGE_NONE = 0,
	CAST_STAGE_GREETING,
	CAST_STAGE_EHLO, /* EHLO only: HELO is welcome */
	CAST_STAGE_HELO, /* EHLO and HELO */
	CAST_STAGE_STARTTLS,
	CAST_STAGE_MAIL,
	CAST_STAGE_RCPT,
	CAST_STAGE_DATA,
	CAST_STAGE_DOT,
};

enum cast_kind {
	CAST_NONE = 0,
	CAST_ACCEPT,
	CAST_REPLY,    /* `code` at `stage` */
	CAST_CLOSE,    /* hangs up at `stage` */
	CAST_SILENT,   /* says nothing more from `stage` on */
	CAST_SLOW,     /* `value` ms before each reply */
	CAST_GREYLIST, /* `value` seconds */
	CAST_FLAKY,
	CAST_FULL,
	CAST_TOOMANY,
	CAST_NOTLS,
	CAST_BADTLS,
	CAST_NOEXT,
	CAST_DEAD,
	CAST_DEADMX,
	CAST_V6,
	CAST_CNAME,
	CAST_ALIAS,
	CAST_IMPLICIT,
	CAST_NULLMX,
	CAST_NOHOST,
	CAST_NXDOMAIN,
	CAST_SERVFAIL,
	CAST_DNSTIMEOUT,
};

struct cast {
	enum cast_kind kind;
	enum cast_stage stage; /* REPLY, CLOSE, SILENT */
	unsigned code;         /* REPLY: 400 to 599 */
	unsigned value;        /* SLOW, GREYLIST */
};

/* The character of that very name, without case; kind CAST_NONE if there is none. */
struct cast cast_parse(struct slice name);
/* By the first label, leading "mx1." or "mx2." put aside; CAST_ACCEPT for a name not in the cast.
 */
struct cast cast_of_domain(struct slice domain);
/* By the local part if that names one who acts from RCPT on, else by the domain. */
struct cast cast_of_recipient(struct slice local, struct slice domain);

/* Where the character's MX host listens (port 0); for CAST_DEAD an address where nobody does. */
struct netaddr cast_address(const struct cast *c);
/* The character who lives there; CAST_ACCEPT if no other. */
struct cast cast_of_address(const struct netaddr *a);

char *cast_format(const struct cast *c, char buf[CAST_NAME_MAX]); /* "550-rcpt" */
const char *cast_stage_name(enum cast_stage stage);               /* "rcpt"; "" for none */
/* An enhanced status code that suits the reply: "5.1.1" for 550 to RCPT. */
const char *cast_enhanced(const struct cast *c, char buf[12]);
void cast_print(FILE *to); /* the whole cast, one line each: for --help */

struct cast_record {
	enum dns_type type; /* DNS_TYPE_NONE: a CNAME */
	char name[DNS_NAME_MAX];
	int preference;
	char target[DNS_NAME_MAX]; /* MX, CNAME */
	struct netaddr address;    /* A, AAAA */
};

struct cast_answer {
	bool silent; /* no answer at all */
	int rcode;   /* 0, 2 SERVFAIL, 3 NXDOMAIN */
	struct cast_record records[CAST_RECORDS_MAX];
	size_t records_n;
};

/* What the DNS says. name: lower case, no trailing dot. type: of the question, any number. */
void cast_resolve(const char *name, int type, struct cast_answer *a);

#endif
