/*
 * io/listen.h: where the world connects to the daemon.
 */
#include "io/listen.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_conn.h"

#define LISTENERS_MAX 64 /* on one address */

struct listener {
	struct list_node node; /* in listeners */
	struct netaddr address;
	char path[108];
	listen_accept_fn *fn; /* NULL: not started */
	void *arg;
	bool paused;
	struct sim_call call;
	struct list_node backlog; /* struct sim_conn.node */
};

static struct list_node listeners = { &listeners, &listeners };

static void on_backlog(struct sim_call *call)
{
	struct listener *l = container_of(call, struct listener, call);

	while (!l->paused && l->fn && !list_is_empty(&l->backlog)) {
		struct sim_conn *c = list_first(&l->backlog, struct sim_conn, node);
		list_remove(&c->node);
		sim_conn_keep(c);
		c->taken = true;
		enum sim_side before = sim_mem_side(SIM_SIDE_DAEMON);
		l->fn(l->arg, CONN_FD_FIRST + (int)c->id, &c->from);
		sim_mem_side(before);
		if (c->stream)
			continue;
		c->to_party.eof = true; /* it closed the descriptor at once */
		if (c->party)
			sim_conn_schedule(c, &c->to_party);
		sim_conn_free_if_over(c);
	}
}

static bool is_at(const struct listener *l, uint16_t port, const char *path)
{
	return path ? strcmp(l->path, path) == 0 : l->path[0] == '\0' && l->address.port == port;
}

/* Of several on one address any may get it (SO_REUSEPORT), whatever state it is in. */
static struct listener *find_listener(uint16_t port, const char *path)
{
	struct listener *found[LISTENERS_MAX];
	size_t n = 0;

	list_foreach(it, &listeners) {
		struct listener *l = list_entry(it, struct listener, node);
		if (!is_at(l, port, path))
			continue;
		CHECK(n < LISTENERS_MAX);
		found[n++] = l;
	}
	if (n == 0)
		return NULL;
	return n == 1 ? found[0] : found[sim_below(n)];
}

struct sim_conn *sim_connect(uint16_t port, const char *unix_path, const struct netaddr *from,
    const struct sim_link *link, const struct sim_party *party, void *arg)
{
	struct listener *l = find_listener(port, unix_path);

	if (!l)
		return NULL;
	struct sim_conn *c = sim_conn_new(link, party, arg);
	c->from = *from;
	list_remove(&c->node);
	list_push(&l->backlog, &c->node);
	if (l->fn)
		sim_post(&l->call);
	return c;
}

static int listener_new(const struct netaddr *addr, const char *path, struct listener **l_r)
{
	SIM_WORLD_SIDE;
	struct listener *l = mem_zalloc(sizeof(*l));

	if (addr)
		l->address = *addr;
	snprintf(l->path, sizeof(l->path), "%s", path);
	list_init(&l->backlog);
	sim_call_init(&l->call, NULL, on_backlog);
	list_push(&listeners, &l->node);
	*l_r = l;
	return 0;
}

int listen_tcp(const struct netaddr *addr, struct listener **l_r, struct errbuf *eb UNUSED)
{
	return listener_new(addr, "", l_r);
}

int listen_unix(const char *path, struct listener **l_r, struct errbuf *eb UNUSED)
{
	return listener_new(NULL, path, l_r);
}

int listen_from_fd(int fd UNUSED, struct listener **l_r UNUSED)
{
	return -EINVAL;
}

void listen_start(struct listener *l, struct loop *loop, listen_accept_fn *fn, void *arg)
{
	sim_loop_check(loop);
	l->call.loop = loop;
	l->fn = fn;
	l->arg = arg;
	sim_post(&l->call);
}

void listen_pause(struct listener *l, bool pause)
{
	if (l->fn)
		sim_loop_check(l->call.loop);
	l->paused = pause;
	if (!pause && l->fn)
		sim_post(&l->call);
}

static void drop_backlog(struct listener *l)
{
	list_foreach_safe(it, &l->backlog) {
		struct sim_conn *c = list_entry(it, struct sim_conn, node);
		c->taken = true;
		sim_conn_party_gone(c);
		sim_conn_free_if_over(c);
	}
}

void listen_free(struct listener **lp)
{
	SIM_WORLD_SIDE;
	struct listener *l = *lp;

	if (!l)
		return;
	if (l->fn)
		sim_loop_check(l->call.loop);
	*lp = NULL;
	drop_backlog(l);
	list_remove(&l->node);
	sim_call_cancel(&l->call);
	mem_free(l);
}

const struct netaddr *listen_address(const struct listener *l)
{
	return &l->address;
}

void sim_listen_drop(void)
{
	while (!list_is_empty(&listeners)) {
		struct listener *l = list_first(&listeners, struct listener, node);
		listen_free(&l);
	}
}
