#include "core/reception.h"

#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/limits.h"
#include "core/reception_session.h"
#include "core/shards.h"
#include "io/system.h"

struct rx_listener {
	struct reception *reception;
	struct listener *listener; /* NULL: the first shard alone has it */
	struct conf_listen conf;
	bool passed; /* by the service manager */
};

static bool ip_is_trusted(const struct conf *conf, const struct netaddr *peer)
{
	for (size_t i = 0; i < conf->submission.trusted_networks_n; i++)
		if (netaddr_in_net(peer, &conf->submission.trusted_networks[i]))
			return true;
	return false;
}

/* Why a new client can't be served; NULL if it can. */
static const char *refuse_client(struct reception *r, const char *ip, size_t others)
{
	const struct conf *conf = r->mta->conf;

	if (r->mta->phase != MTA_PHASE_RUNNING)
		return "Service shutting down, try again later";
	if (others >= conf->submission.max_connections)
		return "Too many connections, try again later";
	if (!limits_add_address(r->mta->limits, slice_str(ip),
		conf->submission.max_connections_per_ip))
		return "Too many connections from your address, try again later";
	return NULL;
}

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
	struct rx_listener *l = arg;
	struct reception *r = l->reception;
	char ip[NETADDR_TEXT_MAX];

	netaddr_format_ip(peer, ip);
	size_t others = limits_client_came(r->mta->limits);
	if (others >= r->mta->conf->submission.max_connections + RECEPTION_REFUSALS_MAX) {
		close(fd); /* even saying no has its limit */
		limits_client_left(r->mta->limits);
		return;
	}
	const char *refusal = refuse_client(r, ip, others);
	struct session_options o = {
		.listen = &l->conf,
		.peer_ip = ip,
		.trusted = ip_is_trusted(r->mta->conf, peer) && !l->conf.auth_required,
		.refusal = refusal,
	};
	session_start(r, fd, &o);
}

#define LISTEN_FDS_FIRST 3
#define LISTEN_FDS_MAX   64

/* Sockets the service manager opened for us; each listener of the config takes the one of its
 * address. */
struct passed {
	struct listener *listeners[LISTEN_FDS_MAX];
	size_t n;
};

static void take_passed(struct passed *p)
{
	size_t n = MIN(system_listen_fds(), (size_t)LISTEN_FDS_MAX);

	p->n = 0;
	for (size_t i = 0; i < n; i++)
		if (listen_from_fd(LISTEN_FDS_FIRST + (int)i, &p->listeners[p->n]) == 0)
			p->n++;
}

static struct listener *find_passed(struct passed *p, const struct netaddr *want)
{
	for (size_t i = 0; i < p->n; i++) {
		struct listener *l = p->listeners[i];
		const struct netaddr *is = l ? listen_address(l) : NULL;
		if (!is || is->port != want->port || !netaddr_eq_ip(is, want))
			continue;
		p->listeners[i] = NULL;
		return l;
	}
	return NULL;
}

static void drop_passed(struct passed *p)
{
	char text[NETADDR_TEXT_MAX];

	for (size_t i = 0; i < p->n; i++) {
		if (!p->listeners[i])
			continue;
		log_warn("smtpd", "the socket passed for %s fits no listener of the configuration",
		    netaddr_format(listen_address(p->listeners[i]), text));
		listen_free(&p->listeners[i]);
	}
}

static int bind_all(struct reception *r, struct passed *passed, struct errbuf *eb)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->listeners_n; i++) {
		struct rx_listener *l = &r->listeners[i];
		l->listener = find_passed(passed, &l->conf.address);
		l->passed = l->listener != NULL;
		if (!l->passed)
			err = listen_tcp(&l->conf.address, &l->listener, eb);
	}
	return err;
}

static int bind_first(struct reception *r, struct errbuf *eb)
{
	struct passed passed;

	take_passed(&passed);
	int err = bind_all(r, &passed, eb);
	drop_passed(&passed);
	return err;
}

/* Beside those of the first shard, whose port the kernel may have chosen. A socket that was passed
 * to us is the only one of its address. */
static int bind_beside(struct reception *r, const struct reception *first, struct errbuf *eb)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->listeners_n; i++) {
		const struct rx_listener *other = &first->listeners[i];
		if (!other->passed)
			err = listen_tcp(listen_address(other->listener), &r->listeners[i].listener,
			    eb);
	}
	return err;
}

int reception_new(struct mta *m, struct reception **r_r, struct errbuf *eb)
{
	struct reception *r = mem_zalloc(sizeof(*r));
	const struct conf *conf = m->conf;

	r->mta = m;
	list_init(&r->sessions);
	r->listeners_n = conf->listen_n;
	r->listeners = mem_zalloc((r->listeners_n + 1) * sizeof(*r->listeners));
	for (size_t i = 0; i < r->listeners_n; i++) {
		r->listeners[i].reception = r;
		r->listeners[i].conf = conf->listen[i];
	}
	int err =
	    m->number == 0 ? bind_first(r, eb) : bind_beside(r, m->shards->mta[0]->reception, eb);
	if (err < 0) {
		reception_free(&r);
		return err;
	}
	*r_r = r;
	return 0;
}

void reception_start(struct reception *r)
{
	char text[NETADDR_TEXT_MAX];

	for (size_t i = 0; i < r->listeners_n; i++) {
		struct rx_listener *l = &r->listeners[i];
		if (!l->listener)
			continue;
		listen_start(l->listener, r->mta->loop, on_accept, l);
		if (r->mta->number > 0)
			continue;
		log_notice("smtpd", "listening on %s",
		    netaddr_format(listen_address(l->listener), text));
	}
}

static void close_listeners(struct reception *r)
{
	for (size_t i = 0; i < r->listeners_n; i++)
		listen_free(&r->listeners[i].listener);
}

void reception_drain(struct reception *r)
{
	close_listeners(r);
	list_foreach(it, &r->sessions)
		session_shutdown(list_entry(it, struct session, node));
}

void reception_abort(struct reception *r)
{
	list_foreach_safe(it, &r->sessions)
		session_end(list_entry(it, struct session, node));
}

void reception_free(struct reception **rp)
{
	struct reception *r = *rp;

	if (!r)
		return;
	reception_abort(r);
	close_listeners(r);
	mem_free(r->listeners);
	mem_free(r);
	*rp = NULL;
}

size_t reception_sessions(const struct reception *r)
{
	return r->sessions_n;
}
