/*
 * postrider_check.h - the command `check`: looks through the spool while no
 * daemon runs on it, says what it finds, repairs on demand. Works by itself.
 */
#ifndef TOOLS_POSTRIDER_CHECK_H
#define TOOLS_POSTRIDER_CHECK_H

#include "base/err.h"

#define CHECK_ARGS_MAX 4 /* words after the command */

struct check_args {
	const char *spool; /* NULL: as in the configuration */
	bool repair, json;
};

/* Of the words after the command; ERR_SYNTAX when they make no sense. */
int check_args_parse(int argc, char **argv, struct check_args *args) MUST_USE;

/* To standard output; returns the exit status: 0 nothing is wrong, 1 something is or was, or it
 * can't be checked, which is told on standard error. */
int check_command(const struct check_args *args, const char *spool);

#endif
