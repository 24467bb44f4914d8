#define CARES_NO_DEPRECATED /* ares_send and its kin: deprecated in 1.34, all there is in 1.18 */

#include "io/dns.h"

#include <ares.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/slice.h"
#include "io/dns_walk.h"
#include "io/loop_backend.h"

enum {
	UPSTREAMS_MAX = 4,
	PORT = 53,
	BURST_MAX = 128,
	TICK_MS = 50, /* not by ares_timeout(), which walks all pending queries each time */
};

/* A socket of c-ares that the loop watches. */
struct dns_socket {
	struct list_node node;
	struct upstream *up;
	int fd;
	struct event ev;
};

/*
 * One resolver, with a channel to itself: within one channel c-ares starts every query at the
 * first server, dead or not, and takes a SERVFAIL of the first for the last word.
 */
struct upstream {
	struct dns *dns;
	ares_channel channel;
	size_t pending;
	struct list_node sockets;
};

struct dns {
	struct loop *loop;
	struct upstream up[UPSTREAMS_MAX];
	unsigned up_n;
	unsigned current; /* the last one that did not let us down */
	struct event tick;
	bool ticking;
	struct list_node queries;
	/*
	 * How many more may be sent now: one for each answer, all of them at each tick. A burst
	 * would overrun the resolver's socket buffer (some 270 packets by default), and each
	 * query lost there costs a time-out. Slow answers hold nobody up: the tick goes on.
	 */
	unsigned credit;
	struct list_node waiting; /* for credit */
	struct loop_call release;
	struct dns_record scratch[DNS_RECORDS_MAX];
};

struct dns_query {
	struct list_node node;
	struct dns *dns;
	dns_answer_fn *fn; /* NULL: cancelled, freed when c-ares lets go of it */
	void *arg;
	char name[DNS_NAME_MAX];
	enum dns_type type;
	unsigned at;           /* which upstream */
	unsigned tried;        /* how many have failed */
	bool plain;            /* without EDNS: the server said FORMERR to it */
	bool in_flight;        /* c-ares holds it */
	struct list_node wait; /* in dns.waiting */
	bool again;            /* for `call`: ask again, do not deliver */
	struct loop_call call;
	struct dns_answer answer;
	struct dns_record *records;
};

static void free_query(struct dns_query *q)
{
	CHECK(!q->in_flight);
	loop_call_cancel(&q->call);
	list_remove(&q->wait);
	list_remove(&q->node);
	mem_free(q->records);
	mem_free(q);
}

static size_t pending_of_all(const struct dns *d)
{
	size_t n = 0;
	for (unsigned i = 0; i < d->up_n; i++)
		n += d->up[i].pending;
	return n;
}

static void on_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct dns *d = arg;
	for (unsigned i = 0; i < d->up_n; i++)
		if (d->up[i].pending > 0)
			ares_process_fd(d->up[i].channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	d->credit = BURST_MAX;
	loop_defer(d->loop, &d->release);
	if (pending_of_all(d) > 0 || !list_is_empty(&d->waiting))
		return;
	event_del(&d->tick);
	d->ticking = false;
}

static void start_tick(struct dns *d)
{
	const struct timeval tv = { .tv_usec = TICK_MS * 1000 };
	if (d->ticking)
		return;
	int r = event_add(&d->tick, &tv);
	CHECK(r == 0);
	d->ticking = true;
}

/* The socket may be closed, and its struct freed, inside ares_process_fd. */
static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	const struct dns_socket *s = arg;
	ares_channel channel = s->up->channel;
	ares_process_fd(channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
	    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
}

static struct dns_socket *find_socket(struct upstream *up, int fd)
{
	list_foreach(it, &up->sockets) {
		struct dns_socket *s = list_entry(it, struct dns_socket, node);
		if (s->fd == fd)
			return s;
	}
	return NULL;
}

static void free_socket(struct dns_socket *s)
{
	event_del(&s->ev);
	list_remove(&s->node);
	mem_free(s);
}

/* c-ares says what it wants of a socket; nothing: it closes it now. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct upstream *up = arg;
	struct dns_socket *s = find_socket(up, fd);
	short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
	if (s && !what) {
		free_socket(s);
		return;
	}
	if (!what)
		return;
	if (s) {
		event_del(&s->ev);
	} else {
		s = mem_zalloc(sizeof(*s));
		s->up = up;
		s->fd = fd;
		list_push(&up->sockets, &s->node);
	}
	struct event_base *base = loop_backend(up->dns->loop);
	event_assign(&s->ev, base, fd, (short)(what | EV_PERSIST), on_socket, s);
	int r = event_add(&s->ev, NULL);
	CHECK(r == 0);
}

static void fail_query(struct dns_query *q, const char *text)
{
	q->answer = (struct dns_answer){ .outcome = DNS_FAILED };
	snprintf(q->answer.text, sizeof(q->answer.text), "%s", text);
}

static void set_answer(struct dns_query *q, const unsigned char *msg, size_t n)
{
	struct dns *d = q->dns;
	dns_walk_answer(msg, n, q->name, q->type, d->scratch, &q->answer);
	mem_free(q->records);
	q->records = mem_dup(d->scratch, q->answer.records_n * sizeof(*d->scratch));
	q->answer.records = q->records;
}

/* Whether another try may do better; which one is then set in q. */
static bool may_retry(struct dns_query *q, int status, int rcode)
{
	struct dns *d = q->dns;
	if (q->answer.outcome != DNS_FAILED)
		return false;
	/* A server older than EDNS. */
	if (status == ARES_SUCCESS && rcode == DNS_RCODE_FORMERR && !q->plain) {
		q->plain = true;
		return true;
	}
	/* Later queries needn't find out again that this one is dead. */
	if (status != ARES_SUCCESS && q->at == d->current)
		d->current = (d->current + 1) % d->up_n;
	q->at = (q->at + 1) % d->up_n;
	q->plain = false;
	return ++q->tried < d->up_n;
}

/* Called by c-ares, possibly from inside ares_send: so what follows is left to the loop. */
static void on_answer(void *arg, int status, int timeouts UNUSED, unsigned char *msg, int n)
{
	struct dns_query *q = arg;
	int rcode = -1;
	struct dns *d = q->dns;
	q->in_flight = false;
	d->up[q->at].pending--;
	d->credit = MIN(d->credit + 1, (unsigned)BURST_MAX);
	if (!list_is_empty(&d->waiting))
		loop_defer(d->loop, &d->release);
	if (!q->fn) {
		free_query(q);
		return;
	}
	if (status == ARES_SUCCESS && msg && n > 0) {
		rcode = dns_walk_rcode(msg, (size_t)n);
		set_answer(q, msg, (size_t)n);
	} else if (status == ARES_ETIMEOUT) {
		fail_query(q, "timeout");
	} else if (status == ARES_ECONNREFUSED) {
		fail_query(q, "no DNS server answers");
	} else {
		fail_query(q, ares_strerror(status));
	}
	q->again = may_retry(q, status, rcode);
	loop_defer(d->loop, &q->call);
}

static void send_query(struct dns_query *q)
{
	struct dns *d = q->dns;
	struct upstream *up = &d->up[q->at];
	unsigned char question[DNS_QUESTION_MAX];
	/* Our packet, our id: it must not be guessed. */
	uint16_t id = (uint16_t)prng_os_u64();
	int n = dns_walk_question(question, id, q->name, q->type, !q->plain);
	CHECK(n > 0); /* dns_lookup has tried */
	up->pending++;
	q->in_flight = true;
	d->credit--;
	ares_send(up->channel, question, n, on_answer, q);
}

static void on_release(struct loop_call *c)
{
	struct dns *d = container_of(c, struct dns, release);
	while (d->credit > 0 && !list_is_empty(&d->waiting)) {
		struct dns_query *q = list_first(&d->waiting, struct dns_query, wait);
		list_remove(&q->wait);
		send_query(q);
	}
}

static void ask(struct dns_query *q)
{
	struct dns *d = q->dns;
	start_tick(d);
	if (d->credit > 0)
		send_query(q);
	else
		list_push(&d->waiting, &q->wait);
}

static void on_call(struct loop_call *c)
{
	struct dns_query *q = container_of(c, struct dns_query, call);
	if (q->again) {
		q->again = false;
		ask(q);
		return;
	}
	list_remove(&q->node); /* the callback may free the whole dns */
	q->fn(q->arg, &q->answer);
	free_query(q);
}

/* Names that are not for the DNS: no domain at all, or Tor's (RFC 7686 2). */
static bool is_askable(const char *name, enum dns_type type)
{
	unsigned char question[DNS_QUESTION_MAX];
	struct slice text = slice_str(name);
	if (text.n > 1 && text.p[text.n - 1] == '.')
		text.n--;
	if (slice_ends_nocase(text, SLICE(".onion")) || slice_eq_nocase(text, SLICE("onion")))
		return false;
	return dns_walk_question(question, 0, name, type, true) > 0;
}

struct dns_query *dns_lookup(struct dns *d, const char *name, enum dns_type type, dns_answer_fn *fn,
    void *arg)
{
	CHECK(type == DNS_TYPE_A || type == DNS_TYPE_AAAA || type == DNS_TYPE_MX);
	struct dns_query *q = mem_zalloc(sizeof(*q));
	q->dns = d;
	q->fn = fn;
	q->arg = arg;
	q->type = type;
	q->at = d->current;
	loop_call_init(&q->call, on_call);
	list_init(&q->wait);
	list_push(&d->queries, &q->node);
	if (is_askable(name, type)) {
		snprintf(q->name, sizeof(q->name), "%s", name);
		ask(q);
	} else {
		q->answer.outcome = DNS_NXDOMAIN;
		snprintf(q->answer.text, sizeof(q->answer.text), "not a domain name");
		loop_defer(d->loop, &q->call);
	}
	return q;
}

void dns_cancel(struct dns_query **qp)
{
	struct dns_query *q = *qp;
	*qp = NULL;
	if (!q)
		return;
	q->fn = NULL;
	if (!q->in_flight) /* else c-ares still points to it */
		free_query(q);
}

static int init_channel(struct upstream *up, const struct dns_options *o, ares_channel *channel)
{
	char hosts_out[] = "b"; /* DNS only, not the hosts file */
	struct ares_options options = {
		/*
		 * NOCHECKRESP: SERVFAIL comes as what it is. EDNS: for the size it allows by UDP;
		 * the OPT record is in our own packet.
		 */
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN |
			 ARES_FLAG_NOCHECKRESP | ARES_FLAG_EDNS,
		.timeout = o->timeout_ms,
		.tries = o->tries,
		.ndots = 1,
		.ndomains = 0,
		.ednspsz = DNS_UDP_BYTES,
		.lookups = hosts_out,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = up,
	};
	/* All that LOCALDOMAIN and RES_OPTIONS in the environment could set is set here. */
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_DOMAINS | ARES_OPT_EDNSPSZ | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
		   ARES_OPT_NOROTATE;
#ifdef ARES_OPT_QUERY_CACHE /* since 1.31, and on by default: it knows nothing of the AD bit */
	options.qcache_max_ttl = 0;
	mask |= ARES_OPT_QUERY_CACHE;
#endif
	return ares_init_options(channel, &options, mask);
}

static int add_upstream(struct dns *d, const struct dns_options *o, const struct netaddr *addr,
    struct errbuf *eb)
{
	char text[NETADDR_TEXT_MAX];
	struct upstream *up = &d->up[d->up_n];
	up->dns = d;
	list_init(&up->sockets);
	int status = init_channel(up, o, &up->channel);
	if (status != ARES_SUCCESS)
		return errbuf_set(eb, -ENOMEM, "DNS: %s", ares_strerror(status));
	d->up_n++;
	status = ares_set_servers_ports_csv(up->channel, netaddr_format(addr, text));
	if (status != ARES_SUCCESS)
		return errbuf_set(eb, -EINVAL, "DNS server %s: %s", text, ares_strerror(status));
	return 0;
}

static int add_listed(struct dns *d, const struct dns_options *o, struct errbuf *eb)
{
	struct slice rest = slice_str(o->servers);
	struct slice part;
	while (slice_split(&rest, ',', &part)) {
		struct netaddr addr;
		part = slice_trim(part);
		int r = netaddr_parse(part, PORT, &addr);
		if (r < 0)
			return errbuf_set(eb, r, "DNS server \"%.*s\": not an address",
			    SLICE_ARG(part));
		if (d->up_n == UPSTREAMS_MAX)
			return errbuf_set(eb, ERR_TOO_BIG, "more than %d DNS servers",
			    UPSTREAMS_MAX);
		r = add_upstream(d, o, &addr, eb);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The system's resolver, as c-ares reads it from resolv.conf; 127.0.0.1 if that names none. */
static int add_system(struct dns *d, const struct dns_options *o, struct errbuf *eb)
{
	ares_channel channel;
	struct ares_addr_port_node *servers = NULL;
	int r = 0;
	int status = init_channel(NULL, o, &channel);
	if (status != ARES_SUCCESS)
		return errbuf_set(eb, -ENOMEM, "DNS: %s", ares_strerror(status));
	status = ares_get_servers_ports(channel, &servers);
	if (status != ARES_SUCCESS || !servers)
		r = errbuf_set(eb, ERR_NOT_FOUND, "DNS: no server is configured");
	for (const struct ares_addr_port_node *s = servers; s && d->up_n < UPSTREAMS_MAX;
	     s = s->next) {
		struct netaddr addr = {
			.family = s->family == AF_INET ? NETADDR_V4 : NETADDR_V6,
			.port = (uint16_t)(s->udp_port ? s->udp_port : PORT),
		};
		memcpy(addr.ip, &s->addr, s->family == AF_INET ? 4 : 16);
		if (r == 0)
			r = add_upstream(d, o, &addr, eb);
	}
	ares_free_data(servers);
	ares_destroy(channel);
	return r;
}

static void init_library(void)
{
	int status = ares_library_init(ARES_LIB_INIT_ALL);
	CHECK(status == ARES_SUCCESS);
}

int dns_new(struct loop *l, const struct dns_options *o, struct dns **d_r, struct errbuf *eb)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, init_library);
	struct dns *d = mem_zalloc(sizeof(*d));
	d->loop = l;
	d->credit = BURST_MAX;
	list_init(&d->queries);
	list_init(&d->waiting);
	loop_call_init(&d->release, on_release);
	event_assign(&d->tick, loop_backend(l), -1, EV_PERSIST, on_tick, d);
	int r = *o->servers ? add_listed(d, o, eb) : add_system(d, o, eb);
	if (r < 0) {
		dns_free(&d);
		return r;
	}
	*d_r = d;
	return 0;
}

void dns_free(struct dns **dp)
{
	struct dns *d = *dp;
	if (!d)
		return;
	*dp = NULL;
	list_foreach_safe(it, &d->queries) {
		struct dns_query *q = list_entry(it, struct dns_query, node);
		dns_cancel(&q);
	}
	/* This calls back for what is in flight; being cancelled, that is freed then. */
	for (unsigned i = 0; i < d->up_n; i++) {
		ares_destroy(d->up[i].channel);
		list_foreach_safe(it, &d->up[i].sockets)
			free_socket(list_entry(it, struct dns_socket, node));
	}
	event_del(&d->tick);
	loop_call_cancel(&d->release);
	mem_free(d);
}
