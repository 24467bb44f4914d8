/*
 * control_cmds.h - the commands of the control socket, a function each, and
 * what they answer with. Private to control_*.c.
 *
 * The others of the shards stand still while one runs, or goes on (shards.h).
 */
#ifndef CORE_CONTROL_CMDS_H
#define CORE_CONTROL_CMDS_H

#include "core/control.h"

#define CONTROL_FIND_MAX 1000 /* items of a message */

/* A piece that does not fit any more is left out: the buffer is only filled to half before the
 * client must read. */
void control_say(struct control_call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);
void control_ok(struct control_call *call);
/* Text from outside on a terminal: control characters as '?'. */
const char *control_shown(struct control_call *call, const char *text);
/* A domain as the operator types it, in the form the queue knows: A-label, lower case. */
const char *control_domain_arg(struct control_call *call, const char *text);

/* control_list.c */
void control_queue(struct control_call *call);
void control_show(struct control_call *call);

/* control_change.c */
void control_flush(struct control_call *call);
void control_hold(struct control_call *call);
void control_release(struct control_call *call);
void control_delete(struct control_call *call);

#endif
