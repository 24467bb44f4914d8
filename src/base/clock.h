/*
 * clock.h - the only place that asks the system for the time, and the formats
 * in which instants are shown.
 *
 * Everything below the daemon gets `now` as a parameter; only src/io and the
 * programs' main call clock_now.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/defs.h"

#define CLOCK_TEXT_MAX 48

struct now clock_now(void);

/* Each writes at most CLOCK_TEXT_MAX bytes with NUL and returns buf. */
char *clock_rfc3339(int64_t wall_ms, char buf[CLOCK_TEXT_MAX]); /* 2026-11-20T18:48:00.123Z */
/* Fri, 20 Nov 2026 18:48:00 +0000 (always UTC) */
char *clock_rfc5322(int64_t wall_ms, char buf[CLOCK_TEXT_MAX]);

#endif
