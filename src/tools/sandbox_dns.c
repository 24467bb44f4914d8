#include "tools/sandbox_dns.h"

#include "base/log.h"

#define TTL_S 5 /* short: an address opens for a name when it is asked for */

static void put_record(struct dns_request *r, const struct cast_record *rec)
{
	if (rec->type == DNS_TYPE_MX)
		dns_request_add_mx(r, rec->name, rec->preference, rec->target, TTL_S);
	else if (rec->type == DNS_TYPE_NONE)
		dns_request_add_cname(r, rec->name, rec->target, TTL_S);
	else
		dns_request_add_a(r, rec->name, &rec->address, TTL_S);
}

static void open_host(struct sandbox_dns *d, const struct cast_record *rec)
{
	struct errbuf eb;
	if (rec->type != DNS_TYPE_A && rec->type != DNS_TYPE_AAAA)
		return;
	if (sandbox_smtp_open(d->smtp, rec->address, &eb) != 0)
		log_warn("dns", "%s: %s", rec->name, eb.text);
}

static void on_question(void *arg, struct dns_request *r, const char *name, int type)
{
	struct sandbox_dns *d = arg;
	struct cast_answer a;
	cast_resolve(name, type, &a);
	if (d->smtp->verbose)
		log_info("dns", "%s type %d: %s, rcode %d, %zu records", name, type,
		    a.silent ? "silent" : "answer", a.rcode, a.records_n);
	if (a.silent) {
		dns_request_drop(r);
		return;
	}
	for (size_t i = 0; i < a.records_n; i++) {
		open_host(d, &a.records[i]);
		put_record(r, &a.records[i]);
	}
	dns_request_send(r, a.rcode);
}

int sandbox_dns_new(struct sandbox_dns *d, struct sandbox_smtp *smtp, const struct netaddr *addr,
    struct errbuf *eb)
{
	d->smtp = smtp;
	return dns_server_new(smtp->loop, addr, on_question, d, &d->server, eb);
}

void sandbox_dns_fini(struct sandbox_dns *d)
{
	dns_server_free(&d->server);
}
