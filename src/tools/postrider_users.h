/*
 * postrider_users.h - the users file: a line "login:hash" for each user, and
 * comments that begin with '#'.
 *
 * It is never changed in place: the new text goes to a file beside it, is
 * synced, and takes its name. Two of us at a time wait for each other.
 */
#ifndef TOOLS_POSTRIDER_USERS_H
#define TOOLS_POSTRIDER_USERS_H

#include "base/err.h"

#define USERS_LOGIN_MAX    255
#define USERS_PASSWORD_MAX 500 /* libcrypt takes 511 */

/* Not empty, UTF-8, no ':' and no control characters, no '#' in front, no blank at either end. */
int users_check_login(const char *login, struct errbuf *eb) MUST_USE;

/*
 * Adds the user, or replaces the hash; other lines stay as they are, and so do owner and mode.
 * A missing file is made, 0600. *added_r says which it was, *made_r whether the file is new.
 */
int users_set(const char *file, const char *login, const char *hash, bool *added_r, bool *made_r,
    struct errbuf *eb) MUST_USE;

#endif
