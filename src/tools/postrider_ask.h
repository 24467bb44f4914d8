/*
 * postrider_ask.h - takes a password from whoever runs the command: on a
 * terminal twice, unseen; else one line of standard input.
 */
#ifndef TOOLS_POSTRIDER_ASK_H
#define TOOLS_POSTRIDER_ASK_H

#include "base/err.h"

/* Into out, without the line end. Refuses an empty one and one that does not fit. The caller wipes
 * out. */
int ask_password(const char *login, char *out, size_t n, struct errbuf *eb) MUST_USE;

#endif
