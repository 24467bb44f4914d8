/*
 * conf_diff.c - what a reload can't change in a running daemon.
 */
#include <string.h>

#include "conf/conf.h"

static bool same_listeners(const struct conf *a, const struct conf *b)
{
	if (a->listen_n != b->listen_n)
		return false;
	for (size_t i = 0; i < a->listen_n; i++) {
		const struct conf_listen *x = &a->listen[i], *y = &b->listen[i];
		if (!netaddr_eq_ip(&x->address, &y->address) ||
		    x->address.port != y->address.port || x->tls != y->tls ||
		    x->auth_required != y->auth_required)
			return false;
	}
	return true;
}

static void add(char *buf, size_t n, const char *name)
{
	size_t used = strlen(buf);
	snprintf(buf + used, n - used, "%s%s", used ? ", " : "", name);
}

void conf_diff_static(const struct conf *a, const struct conf *b, char *buf, size_t n)
{
	if (n == 0)
		return;
	buf[0] = '\0';
	if (!same_listeners(a, b))
		add(buf, n, "listen");
	if (strcmp(a->spool, b->spool) != 0)
		add(buf, n, "spool");
	if (strcmp(a->user, b->user) != 0)
		add(buf, n, "user");
	if (strcmp(a->group, b->group) != 0)
		add(buf, n, "group");
	if (a->shards != b->shards)
		add(buf, n, "shards");
	if (strcmp(a->control_socket, b->control_socket) != 0)
		add(buf, n, "control.socket");
}
