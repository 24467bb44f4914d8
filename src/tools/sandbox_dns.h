/*
 * sandbox_dns.h - the DNS of the sandbox: carries cast_resolve's answers, and
 * has the host named in an answer listen before anybody can ask for it.
 */
#ifndef TOOLS_SANDBOX_DNS_H
#define TOOLS_SANDBOX_DNS_H

#include "io/dns_server.h"
#include "tools/sandbox_smtp.h"

struct sandbox_dns {
	struct sandbox_smtp *smtp;
	struct dns_server *server;
};

int sandbox_dns_new(struct sandbox_dns *d, struct sandbox_smtp *smtp, const struct netaddr *addr,
    struct errbuf *eb) MUST_USE;
void sandbox_dns_fini(struct sandbox_dns *d);

#endif
