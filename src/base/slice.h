/*
 * slice.h - borrowed text: a pointer and a length, never freed through it.
 *
 * All text from outside travels as slices: no terminator is assumed, a NUL
 * byte is data. Comparison without case is ASCII only (domains, verbs). What is
 * inline here is called for every token of every message.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/defs.h"

struct slice {
	const char *p;
	size_t n;
};

#define SLICE(lit)   ((struct slice){ "" lit, sizeof(lit) - 1 })
#define SLICE_NONE   ((struct slice){ NULL, 0 })
/* For printf: "%.*s", SLICE_ARG(s). Only for slices known to be shorter than INT_MAX. */
#define SLICE_ARG(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct slice slice_of(const char *p, size_t n)
{
	return (struct slice){ p, n };
}

struct slice slice_str(const char *s); /* s may be NULL: the empty slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_eq_nocase(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_starts_nocase(struct slice s, struct slice prefix);
bool slice_ends_nocase(struct slice s, struct slice suffix);
/* blanks, tabs, CR, LF off both ends */
struct slice slice_trim(struct slice s);

/* from at to the end; empty if beyond */
static inline struct slice slice_from(struct slice s, size_t at)
{
	at = MIN(at, s.n);
	return slice_of(at ? s.p + at : s.p, s.n - at); /* p may be NULL: nothing is added to it */
}

ptrdiff_t slice_find(struct slice s, char c);  /* index of the first c, or -1 */
ptrdiff_t slice_rfind(struct slice s, char c); /* index of the last c, or -1 */
/* The next part; false when rest is used up (its p is NULL). "a," has two parts, "" one. */
bool slice_split(struct slice *rest, char sep, struct slice *part);
bool slice_to_u64(struct slice s, uint64_t *v); /* decimal digits only, whole slice, no overflow */
void slice_lower(char *p, size_t n);            /* ASCII, in place */
char *slice_dup(struct slice s);                /* heap copy, NUL-terminated; mem_free */

#endif
