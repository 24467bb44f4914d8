#include "io/dns_server.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/dns_struct.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/slice.h"
#include "io/dns_walk.h"
#include "io/loop_backend.h"

enum {
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
	CLASS_IN = 1,
	LABEL_MAX = 63,
	NEGATIVE_TTL_S = 5,
};

struct dns_server {
	struct evdns_server_port *port;
	struct netaddr address;
	dns_server_fn *fn;
	void *arg;
	struct list_node requests; /* handed out, not yet answered */
};

struct dns_request {
	struct list_node node;
	struct evdns_server_request *req;
	bool has_answer;
};

static const struct evdns_server_question *question_of(const struct dns_request *r)
{
	return r->req->questions[0];
}

static void on_request(struct evdns_server_request *req, void *arg)
{
	struct dns_server *s = arg;
	char name[DNS_NAME_MAX];
	if (req->nquestions != 1 || req->questions[0]->dns_question_class != CLASS_IN) {
		evdns_server_request_respond(req, DNS_RCODE_NOTIMP);
		return;
	}
	struct dns_request *r = mem_zalloc(sizeof(*r));
	r->req = req;
	list_push(&s->requests, &r->node);
	snprintf(name, sizeof(name), "%s", req->questions[0]->name);
	slice_lower(name, strlen(name));
	s->fn(s->arg, r, name, req->questions[0]->type);
}

static int open_udp(const struct netaddr *addr)
{
	struct sockaddr_storage ss;
	socklen_t len = netaddr_to_sockaddr(addr, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&ss, len) == 0)
		return fd;
	int r = -errno;
	close(fd);
	return r;
}

int dns_server_new(struct loop *l, const struct netaddr *addr, dns_server_fn *fn, void *arg,
    struct dns_server **s_r, struct errbuf *eb)
{
	char text[NETADDR_TEXT_MAX];
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	netaddr_format(addr, text);
	/* evdns has had holes enough: nobody else may talk to it. */
	if (!netaddr_is_loopback(addr))
		return errbuf_set(eb, ERR_REFUSED, "DNS server on %s: only on loopback", text);
	int fd = open_udp(addr);
	if (fd < 0)
		return errbuf_set(eb, fd, "DNS server on %s: %s", text, err_text(fd));
	struct dns_server *s = mem_zalloc(sizeof(*s));
	s->fn = fn;
	s->arg = arg;
	list_init(&s->requests);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		netaddr_from_sockaddr(&s->address, (struct sockaddr *)&ss);
	s->port = evdns_add_server_port_with_base(loop_backend(l), fd, 0, on_request, s);
	if (!s->port) {
		close(fd);
		mem_free(s);
		return errbuf_set(eb, -ENOMEM, "DNS server on %s: no port", text);
	}
	*s_r = s;
	return 0;
}

const struct netaddr *dns_server_address(const struct dns_server *s)
{
	return &s->address;
}

void dns_server_free(struct dns_server **sp)
{
	struct dns_server *s = *sp;
	if (!s)
		return;
	*sp = NULL;
	list_foreach_safe(it, &s->requests)
		dns_request_drop(list_entry(it, struct dns_request, node));
	evdns_close_server_port(s->port); /* and its socket */
	mem_free(s);
}

/* The question's own spelling, where the owner is what was asked for: as real servers do. */
static const char *owner_of(const struct dns_request *r, const char *name)
{
	const char *asked = question_of(r)->name;
	return strcasecmp(asked, name) == 0 ? asked : name;
}

static void add(struct dns_request *r, const char *name, int type, int ttl_s, int n, bool is_name,
    const char *data)
{
	r->has_answer = true;
	/* Fails only without memory: the asker sees an answer with a record less. */
	(void)evdns_server_request_add_reply(r->req, EVDNS_ANSWER_SECTION, owner_of(r, name), type,
	    CLASS_IN, ttl_s, n, is_name, data);
}

void dns_request_add_a(struct dns_request *r, const char *name, const struct netaddr *a, int ttl_s)
{
	bool v4 = a->family == NETADDR_V4;
	char data[16];
	memcpy(data, a->ip, sizeof(data));
	add(r, name, v4 ? DNS_TYPE_A : DNS_TYPE_AAAA, ttl_s, v4 ? 4 : 16, false, data);
}

/* In wire format, uncompressed; the length. Labels too long are cut: it is a sandbox. */
static size_t encode_host(char out[DNS_NAME_MAX], const char *host)
{
	struct slice rest = slice_str(host);
	struct slice label;
	size_t n = 0;
	while (rest.n > 0 && slice_split(&rest, '.', &label)) {
		size_t len = MIN(label.n, (size_t)LABEL_MAX);
		if (len == 0 || n + len + 2 > DNS_NAME_MAX - 1)
			continue;
		out[n++] = (char)len;
		memcpy(out + n, label.p, len);
		n += len;
	}
	out[n++] = 0;
	return n;
}

void dns_request_add_mx(struct dns_request *r, const char *name, int preference, const char *host,
    int ttl_s)
{
	char data[2 + DNS_NAME_MAX];
	data[0] = (char)(preference >> 8 & 0xff);
	data[1] = (char)(preference & 0xff);
	size_t n = 2 + encode_host(data + 2, host);
	add(r, name, DNS_TYPE_MX, ttl_s, (int)n, false, data);
}

void dns_request_add_cname(struct dns_request *r, const char *name, const char *target, int ttl_s)
{
	add(r, name, TYPE_CNAME, ttl_s, -1, true, target);
}

/* Two root names, serial, refresh, retry, expire, minimum. */
static void add_soa(struct dns_request *r)
{
	static const char data[22] = { [21] = NEGATIVE_TTL_S };
	(void)evdns_server_request_add_reply(r->req, EVDNS_AUTHORITY_SECTION, question_of(r)->name,
	    TYPE_SOA, CLASS_IN, NEGATIVE_TTL_S, sizeof(data), 0, data);
}

static void free_request(struct dns_request *r)
{
	list_remove(&r->node);
	mem_free(r);
}

void dns_request_send(struct dns_request *r, int rcode)
{
	bool says_no =
	    rcode == DNS_RCODE_NXDOMAIN || (rcode == DNS_RCODE_NOERROR && !r->has_answer);
	if (says_no)
		add_soa(r);
	evdns_server_request_set_flags(r->req, EVDNS_FLAGS_AA | EVDNS_FLAGS_RD);
	evdns_server_request_respond(r->req, rcode);
	free_request(r);
}

void dns_request_drop(struct dns_request *r)
{
	evdns_server_request_drop(r->req);
	free_request(r);
}
