/*
 * client_wire.h - what the client engine puts on the wire, as a socket would
 * take it. A body that is lent is a struct slice, to which body of the message
 * points.
 */
#ifndef PROTO_CLIENT_WIRE_H
#define PROTO_CLIENT_WIRE_H

#include "proto/smtp_client.h"

/* All of the output as a string, for the caller to free; the engine keeps it. */
char *client_wire_copy(const struct smtp_client *c);
/* Its first n bytes, appended to `to` and taken from the engine. */
void client_wire_take(struct smtp_client *c, size_t n, struct buf *to, struct now now);
/* All of it is gone. */
void client_wire_drain(struct smtp_client *c, struct now now);

#endif
