/*
 * check.h - assertions that stay on in every build.
 *
 * CHECK is for our own mistakes: input, disk and peers can never trigger one.
 * It prints file, line and expression, the last log lines, and aborts: the
 * supervisor restarts us and the queue on disk is intact by law 1. DCHECK is
 * for costly checks and is compiled out unless POSTRIDER_DEBUG is defined.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/defs.h"

/* Reports and aborts; never returns. */
void check_failed(const char *file, int line, const char *expr) NORETURN;

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			check_failed(__FILE__, __LINE__, #cond);                                   \
	} while (0)

#ifdef POSTRIDER_DEBUG
#define DCHECK(cond) CHECK(cond)
#else
#define DCHECK(cond)                                                                               \
	do {                                                                                       \
	} while (0)
#endif

#define UNREACHABLE() check_failed(__FILE__, __LINE__, "unreachable")

#endif
