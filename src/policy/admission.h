/*
 * admission.h - who may submit what, and how fast.
 *
 * Counters of one shard; not thread-safe. Time is a parameter, and all that a
 * client can grow is bounded: a bucket per login, a counter per address that
 * has a connection.
 */
#ifndef POLICY_ADMISSION_H
#define POLICY_ADMISSION_H

#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"

enum admission_sender_check {
	ADMISSION_SENDER_NONE_SET = 0,
	ADMISSION_SENDER_LOGIN,  /* reverse-path must be the login itself */
	ADMISSION_SENDER_DOMAIN, /* its domain must be the login's */
	ADMISSION_SENDER_NONE,
};

/*
 * May this login use this reverse-path? The null reverse-path always may. A
 * login without '@' stands for login@me. Local parts compare byte for byte,
 * domains without case.
 */
bool admission_sender_ok(enum admission_sender_check check, struct slice login, struct slice sender,
    const char *me);

/*
 * Recipients per login and period: token buckets that start full. Bounded:
 * buckets long idle and full again go first.
 */
struct admission_rates;
/* count 0: no limit */
struct admission_rates *admission_rates_new(uint64_t count, int64_t period_s, uint64_t seed);
void admission_rates_free(struct admission_rates **r); /* NULL is fine */
/* After a reload; what was used up stays used up. */
void admission_rates_set(struct admission_rates *r, uint64_t count, int64_t period_s);
/* All n or nothing; false: over the limit (450 4.7.1). The login holds no NUL. */
bool admission_rates_take(struct admission_rates *r, struct slice login, unsigned n,
    int64_t mono_ms);

/* Connections per client address, counted. */
struct admission_conns;
struct admission_conns *admission_conns_new(uint64_t seed);
void admission_conns_free(struct admission_conns **c); /* NULL is fine */
/* False: at the limit, not counted. */
bool admission_conns_add(struct admission_conns *c, struct slice ip, unsigned max);
/* Once for each add that was true. */
void admission_conns_remove(struct admission_conns *c, struct slice ip);

#endif
