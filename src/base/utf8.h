/*
 * utf8.h - strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing
 * beyond U+10FFFF.
 *
 * For everything that shows foreign bytes to people or programs, and for the
 * addresses and headers of SMTPUTF8.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

/*
 * Decodes the character at the start of s (not empty). Returns its length, 1
 * to 4, and the code point; or, where it is not UTF-8, minus the number of
 * bytes (1 to 3) that one U+FFFD should stand for.
 */
int utf8_decode(struct slice s, uint32_t *cp);

bool utf8_is_valid(struct slice s); /* the empty slice is */

#endif
