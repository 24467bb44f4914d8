/*
 * stream_socket.h - making the socket that stream_connect connects.
 *
 * Private to src/io: options, source address, unix paths; no events.
 */
#ifndef IO_STREAM_SOCKET_H
#define IO_STREAM_SOCKET_H

#include <sys/socket.h>

#include "base/defs.h"
#include "io/stream.h"

/*
 * A non-blocking socket, bound if asked for and not yet connected: the descriptor, or -errno; the
 * address to connect to in *ss and *len.
 */
int stream_socket_open(const struct stream_connect_options *o, struct sockaddr_storage *ss,
    socklen_t *len) MUST_USE;

/* Commands and replies are small and each waits for the other: Nagle would add a round trip. */
void stream_socket_set_nodelay(int fd);

#endif
