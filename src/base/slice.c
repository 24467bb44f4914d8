#include "base/slice.h"

#include <string.h>

#include "base/mem.h"

static unsigned char lower(char c)
{
	unsigned char u = (unsigned char)c;
	return (u >= 'A' && u <= 'Z') ? (unsigned char)(u + ('a' - 'A')) : u;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_str(const char *s)
{
	return s ? slice_of(s, strlen(s)) : SLICE_NONE;
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
	return a.n == b.n && slice_starts_nocase(a, b);
}

bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && slice_eq(slice_of(s.p, prefix.n), prefix);
}

bool slice_starts_nocase(struct slice s, struct slice prefix)
{
	if (s.n < prefix.n)
		return false;
	for (size_t i = 0; i < prefix.n; i++)
		if (lower(s.p[i]) != lower(prefix.p[i]))
			return false;
	return true;
}

bool slice_ends_nocase(struct slice s, struct slice suffix)
{
	return s.n >= suffix.n && slice_starts_nocase(slice_from(s, s.n - suffix.n), suffix);
}

struct slice slice_trim(struct slice s)
{
	while (s.n && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

ptrdiff_t slice_find(struct slice s, char c)
{
	const char *hit = s.n ? memchr(s.p, c, s.n) : NULL;
	return hit ? hit - s.p : -1;
}

ptrdiff_t slice_rfind(struct slice s, char c)
{
	const char *hit = s.n ? memrchr(s.p, c, s.n) : NULL;
	return hit ? hit - s.p : -1;
}

bool slice_split(struct slice *rest, char sep, struct slice *part)
{
	if (!rest->p)
		return false;
	ptrdiff_t at = slice_find(*rest, sep);
	if (at < 0) {
		*part = *rest;
		*rest = SLICE_NONE;
	} else {
		*part = slice_of(rest->p, (size_t)at);
		*rest = slice_from(*rest, (size_t)at + 1);
	}
	return true;
}

bool slice_to_u64(struct slice s, uint64_t *v)
{
	uint64_t value = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value))
			return false;
	}
	*v = value;
	return true;
}

void slice_lower(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (char)lower(p[i]);
}

char *slice_dup(struct slice s)
{
	return mem_strndup(s.p, s.n);
}
