#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

void check_failed(const char *file, int line, const char *expr)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "%s:%d: check failed: %s\n", file, line, expr);
	if (n < 0)
		n = 0;
	size_t len = MIN((size_t)n, sizeof(text) - 1);
	/* Straight to the descriptor: the sink or stdio may be what is broken. */
	ssize_t ignored UNUSED = write(STDERR_FILENO, text, len);
	log_dump_recent(STDERR_FILENO);
	abort();
}
