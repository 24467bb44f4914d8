/*
 * dns_server.h - a DNS server on loopback for the sandbox (libevent's evdns
 * server port with raw answers). Never part of the daemon.
 */
#ifndef IO_DNS_SERVER_H
#define IO_DNS_SERVER_H

#include "io/dns.h"

struct dns_server;
struct dns_request;

/*
 * One question; name is lower case without trailing dot. Answer with the calls below, then
 * dns_request_send (now or later), or dns_request_drop to stay silent.
 */
typedef void dns_server_fn(void *arg, struct dns_request *r, const char *name, int type);

/* UDP; loopback addresses only (ERR_REFUSED). */
int dns_server_new(struct loop *l, const struct netaddr *addr, dns_server_fn *fn, void *arg,
    struct dns_server **s_r, struct errbuf *eb) MUST_USE;
void dns_server_free(struct dns_server **s); /* requests not yet answered are dropped */
/* With the port the kernel chose for port 0. */
const struct netaddr *dns_server_address(const struct dns_server *s);

/* A or AAAA by family. */
void dns_request_add_a(struct dns_request *r, const char *name, const struct netaddr *a, int ttl_s);
/* host "": the root. */
void dns_request_add_mx(struct dns_request *r, const char *name, int preference, const char *host,
    int ttl_s);
void dns_request_add_cname(struct dns_request *r, const char *name, const char *target, int ttl_s);
/* Frees r. An answer without a record, or NXDOMAIN, gets an SOA with a minimum of 5 s. */
void dns_request_send(struct dns_request *r, int rcode);
void dns_request_drop(struct dns_request *r); /* frees r */

#endif
