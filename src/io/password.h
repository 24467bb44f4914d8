/*
 * password.h - yescrypt hashes (libcrypt). To make one or verify one takes milliseconds: use a
 * worker.
 */
#ifndef IO_PASSWORD_H
#define IO_PASSWORD_H

#include "base/err.h"

#define PASSWORD_HASH_MAX 256

/* Makes a hash with a new salt. ERR_RANGE: the password is empty or too long (512 bytes). */
int password_hash(const char *password, char hash[PASSWORD_HASH_MAX]) MUST_USE;
/* A hash of no password, which takes as long to verify as another. Made at once. -errno. */
int password_nobody(char hash[PASSWORD_HASH_MAX]) MUST_USE;
/*
 * True if it fits; false for a wrong password or a hash that is none. Takes every "$...$" method
 * libcrypt knows. Thread-safe, constant-time comparison.
 */
bool password_verify(const char *password, const char *hash);

#endif
