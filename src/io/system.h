/*
 * system.h - what the daemon asks of Linux besides sockets and files.
 */
#ifndef IO_SYSTEM_H
#define IO_SYSTEM_H

#include "base/err.h"
#include "base/netaddr.h"

/* Fully qualified if /etc/hosts says so, else the bare name; never empty. */
void system_hostname(char *buf, size_t n);
/*
 * Group, supplementary groups, user, in that order; verified. "root" is allowed. No-op when
 * already that user. group "": the user's own.
 */
int system_drop_privileges(const char *user, const char *group, struct errbuf *eb) MUST_USE;
/* No-op when not root. */
int system_chown(const char *path, const char *user, const char *group, struct errbuf *eb) MUST_USE;
/* Makes a directory (and what is missing above it) that is ours alone: 0700, owned by user and
 * group when we are root. An existing one gets the owner and mode. */
int system_prepare_directory(const char *path, const char *user, const char *group,
    struct errbuf *eb) MUST_USE;
/* Makes the directory a file is to lie in, 0755, if it is missing; an existing one is left alone.
 */
int system_prepare_parent(const char *file, const char *user, const char *group,
    struct errbuf *eb) MUST_USE;
void system_raise_nofile(void);        /* soft limit of descriptors to the hard one */
void system_no_core_dumps(void);       /* law 7: no secret in a core file */
void system_notify(const char *state); /* sd_notify: "READY=1"; silent without NOTIFY_SOCKET */
/* Descriptors passed by socket activation, from 3 on; 0 if none are for us. */
size_t system_listen_fds(void);
unsigned system_cpus(void); /* that we may run on; at least 1 */
/* Of all interfaces; the number stored. */
size_t system_local_addresses(struct netaddr *out, size_t max);
int system_pid(void);

#endif
