/*
 * units.h - durations, sizes and rates as operators write them.
 *
 * "30s" "5m" "1h" "5d" or plain seconds; "25M" "64k" "1G" or plain bytes
 * (powers of 1024); "500/1h" a count per duration; "5%" is left to callers.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/slice.h"

/* ERR_SYNTAX, ERR_RANGE; never negative */
int units_duration(struct slice text, int64_t *seconds) MUST_USE;
int units_size(struct slice text, uint64_t *bytes) MUST_USE;
/* "n/duration"; "n" alone is per second */
int units_rate(struct slice text, uint64_t *count, int64_t *seconds) MUST_USE;

#define UNITS_TEXT_MAX 32
/* "1h5m", at most two parts */
char *units_format_duration(int64_t seconds, char buf[UNITS_TEXT_MAX]);

#endif
