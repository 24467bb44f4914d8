/*
 * logsink.h - where log lines go: standard error or a file.
 */
#ifndef CORE_LOGSINK_H
#define CORE_LOGSINK_H

#include "base/err.h"

int logsink_open(const char *to, struct errbuf *eb)
    MUST_USE; /* "stderr" or a path; a file that was moved away is opened anew within a second */
void logsink_close(void); /* back to standard error */

#endif
