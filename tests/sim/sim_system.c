/*
 * io/system.h, io/password.h and io/tls.h where nothing of Linux is needed.
 */
#include "io/system.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "io/password.h"
#include "io/tls.h"
#include "sim/sim.h"

struct tls_ctx {
	int refs;
};

void system_hostname(char *buf, size_t n)
{
	snprintf(buf, n, "relay.test");
}

int system_drop_privileges(const char *user UNUSED, const char *group UNUSED,
    struct errbuf *eb UNUSED)
{
	return 0;
}

int system_chown(const char *path UNUSED, const char *user UNUSED, const char *group UNUSED,
    struct errbuf *eb UNUSED)
{
	return 0;
}

int system_prepare_directory(const char *path UNUSED, const char *user UNUSED,
    const char *group UNUSED, struct errbuf *eb UNUSED)
{
	return 0;
}

int system_prepare_parent(const char *file UNUSED, const char *user UNUSED,
    const char *group UNUSED, struct errbuf *eb UNUSED)
{
	return 0;
}

void system_raise_nofile(void)
{
}

void system_no_core_dumps(void)
{
}

void system_notify(const char *state UNUSED)
{
}

size_t system_listen_fds(void)
{
	return 0;
}

size_t system_local_addresses(struct netaddr *out, size_t max)
{
	if (max > 0)
		out[0] = (struct netaddr){ .family = NETADDR_V4, .ip = { 192, 0, 2, 1 } };
	return MIN(max, (size_t)1);
}

int system_pid(void)
{
	return 4711;
}

/* --- passwords: in clear -------------------------------------------------------------------- */

int password_nobody(char hash[PASSWORD_HASH_MAX])
{
	snprintf(hash, PASSWORD_HASH_MAX, "*");
	return 0;
}

bool password_verify(const char *password, const char *hash)
{
	return strncmp(hash, "$sim$", 5) == 0 && strcmp(hash + 5, password) == 0;
}

/* --- TLS: how a handshake ends is the peer's character (sim_peer.c) -------------------------- */

struct tls_trust {
	char unused;
};

int tls_trust_new(const char *ca_file UNUSED, struct tls_trust **trust_r, struct errbuf *eb UNUSED)
{
	*trust_r = mem_zalloc(sizeof(**trust_r));
	return 0;
}

void tls_trust_unref(struct tls_trust **trust)
{
	mem_free(*trust);
	*trust = NULL;
}

static int ctx_new(struct tls_ctx **ctx_r)
{
	*ctx_r = mem_zalloc(sizeof(**ctx_r));
	(*ctx_r)->refs = 1;
	return 0;
}

int tls_server_new(const struct tls_server_options *o UNUSED, struct tls_ctx **ctx_r,
    struct errbuf *eb UNUSED)
{
	return ctx_new(ctx_r);
}

int tls_client_new(const struct tls_client_options *o UNUSED, struct tls_ctx **ctx_r,
    struct errbuf *eb UNUSED)
{
	return ctx_new(ctx_r);
}

struct tls_ctx *tls_ref(struct tls_ctx *ctx)
{
	if (ctx)
		ctx->refs++;
	return ctx;
}

void tls_unref(struct tls_ctx **ctx)
{
	if (*ctx && --(*ctx)->refs == 0)
		mem_free(*ctx);
	*ctx = NULL;
}

unsigned system_cpus(void)
{
	return 1;
}
