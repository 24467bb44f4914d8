/*
 * admission.h - who may submit what, and how fast.
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

/* Recipients per login and period: token buckets that start full. Bounded: idle full buckets are
 * dropped first. */
struct admission_rates;
struct admission_rates *admission_rates_new(uint64_t count, int64_t period_s,
    uint64_t seed); /* count 0: no limit */
void admission_rates_free(struct admission_rates **r);
void admission_rates_set(struct admission_rates *r, uint64_t count,
    int64_t period_s); /* after a reload */
bool admission_rates_take(struct admission_rates *r, struct slice login, unsigned n,
    int64_t mono_ms); /* false: over the limit (450 4.7.1) */

/* Connections per client address, counted. */
struct admission_conns;
struct admission_conns *admission_conns_new(uint64_t seed);
void admission_conns_free(struct admission_conns **c);
bool admission_conns_add(struct admission_conns *c, struct slice ip,
    unsigned max); /* false: at the limit, not counted */
void admission_conns_remove(struct admission_conns *c, struct slice ip);

#endif
