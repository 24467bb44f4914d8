/*
 * defs.h - the few macros every file may use.
 *
 * Nothing here has behaviour of its own. Attributes are spelled once so that
 * a compiler without them needs one edit.
 */
#ifndef BASE_DEFS_H
#define BASE_DEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE                     __attribute__((warn_unused_result))
#define NORETURN                     __attribute__((noreturn))
#define PRINTF_LIKE(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#define UNUSED                       __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

/*
 * The object that holds `member` at `ptr`; the cast is safe because ptr came from such an
 * object.
 */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * The moment something happens, handed down to everything below the daemon:
 * wall_ms for what is stored or shown (ms since 1970), mono_ms for intervals
 * (ms since an arbitrary start, never goes back).
 */
struct now {
	int64_t wall_ms;
	int64_t mono_ms;
};

#endif
