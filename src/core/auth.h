/*
 * auth.h - checking a login and password against the users file.
 *
 * The file holds `login:hash` per line (yescrypt; '#' comments), is read anew
 * when it changes, and is bounded. A check costs milliseconds, so it runs on
 * a worker; successes are remembered for a minute under a keyed hash. An
 * unknown login takes as long as a wrong password.
 */
#ifndef CORE_AUTH_H
#define CORE_AUTH_H

#include "core/mta.h"

enum auth_result {
	AUTH_NONE = 0,
	AUTH_OK,
	AUTH_BAD,   /* 535 */
	AUTH_ERROR, /* the users file can't be read: 454 */
};

struct auth_check;

typedef void auth_done_fn(void *arg, enum auth_result result);

struct auth *auth_new(struct mta *m);
void auth_free(struct auth **a);
/* The callback comes from a later turn. user and password are copied (and wiped after). */
struct auth_check *auth_check(struct auth *a, const char *user, const char *password,
    auth_done_fn *fn, void *arg);
void auth_cancel(
    struct auth_check *c); /* the callback will not come; c is freed when its job ends */

#endif
