/*
 * log.h - structured log records to one sink.
 *
 * A record is a level, a component ("queue", "smtpd"), a message for people
 * and key=value pairs given in the text. The sink (stderr by default) is set
 * once by the daemon and may be called from any thread; it gets whole records.
 * The last records are kept in memory for check_failed. Secrets are never
 * passed here (law 7).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/slice.h"

enum log_level { /* names as in the config key log.level; smaller is more */
	LOG_LEVEL_NONE = 0,
	LOG_LEVEL_DATA,
	LOG_LEVEL_PROTOCOL,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_CRIT,
	LOG_LEVEL_ALERT,
	LOG_LEVEL_EMERG,
};

enum log_format {
	LOG_FORMAT_NONE = 0,
	LOG_FORMAT_DEFAULT, /* [LEVEL] [component] message */
	LOG_FORMAT_LOGFMT,
	LOG_FORMAT_JSON,
};

const char *log_level_name(enum log_level level);  /* "info" */
enum log_level log_level_parse(struct slice name); /* LOG_LEVEL_NONE if unknown */

void log_configure(enum log_level level, enum log_format format, bool timestamps);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Where finished lines (each with LF) go; must not block long nor log. NULL: stderr. */
typedef void log_sink_fn(void *arg, const char *line, size_t n);
void log_set_sink(log_sink_fn *fn, void *arg);

/* Whether a record of that level would be written: for callers whose arguments cost. */
bool log_is_on(enum log_level level);

/* Control characters in the text are shown as \xNN: a record is one line. */
void log_write(enum log_level level, const char *component, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * For a loop's thread, around a turn: its records below NOTICE are gathered, and
 * written at the latest by log_release. A process that is killed in between
 * loses them (check_failed still has them).
 */
void log_hold(void);
void log_release(void);

/* The last records, oldest first, to a descriptor: for check_failed; none if the log is locked. */
void log_dump_recent(int fd);

#define log_debug(component, ...)                                                                  \
	do {                                                                                       \
		if (log_is_on(LOG_LEVEL_DEBUG))                                                    \
			log_write(LOG_LEVEL_DEBUG, component, __VA_ARGS__);                        \
	} while (0)
#define log_info(component, ...)   log_write(LOG_LEVEL_INFO, component, __VA_ARGS__)
#define log_notice(component, ...) log_write(LOG_LEVEL_NOTICE, component, __VA_ARGS__)
#define log_warn(component, ...)   log_write(LOG_LEVEL_WARN, component, __VA_ARGS__)
#define log_error(component, ...)  log_write(LOG_LEVEL_ERROR, component, __VA_ARGS__)
#define log_crit(component, ...)   log_write(LOG_LEVEL_CRIT, component, __VA_ARGS__)

#endif
