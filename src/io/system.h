/*
 * system.h - what the daemon asks of Linux besides sockets and files.
 */
#ifndef IO_SYSTEM_H
#define IO_SYSTEM_H

#include "base/err.h"
#include "base/netaddr.h"

void system_hostname(char *buf, size_t n); /* fully qualified if the resolver's files say so, else the bare name; never empty */
/* Group, supplementary groups, user, in that order; verified. "root" is allowed. No-op when already that user. */
int system_drop_privileges(const char *user, const char *group, struct errbuf *eb) MUST_USE;
int system_chown(const char *path, const char *user, const char *group, struct errbuf *eb) MUST_USE; /* no-op when not root */
void system_raise_nofile(void);   /* soft limit of descriptors to the hard one */
void system_no_core_dumps(void);  /* law 7: no secret in a core file */
void system_notify(const char *state); /* sd_notify: "READY=1"; silent without NOTIFY_SOCKET */
size_t system_listen_fds(void);   /* descriptors passed by socket activation, from 3 on; 0 if none are for us */
size_t system_local_addresses(struct netaddr *out, size_t max); /* of all interfaces */
int system_pid(void);

#endif
