/*
 * The config read anew (USR1, postrider reload): a new snapshot, new TLS
 * contexts, new limits; sessions and deliveries under way keep what they
 * began with. A config with mistakes changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/accounting.h"
#include "core/dispatch.h"
#include "core/limits.h"
#include "core/pool.h"
#include "core/shards.h"
#include "io/system.h"

static void log_lines(const char *text)
{
	struct slice rest = slice_str(text), line;

	while (slice_split(&rest, '\n', &line))
		if (line.n > 0)
			log_error("config", "%.*s", SLICE_ARG(line));
}

static struct conf *read_config(const char *file)
{
	struct conf *conf = NULL;
	char *text = NULL;
	size_t n = 0;
	FILE *errors = open_memstream(&text, &n);

	if (!errors)
		return NULL;
	int err = conf_load(file, &conf, errors);
	fclose(errors);
	log_lines(text);
	free(text);
	return err == 0 ? conf : NULL;
}

/* A new config, and what was made of it. */
struct news {
	struct conf *conf;
	struct tls_ctx *server, *may, *verify;
	struct resolver *resolvers[SHARDS_MAX];
};

static void drop_news(struct shards *s, struct news *n)
{
	conf_unref(&n->conf);
	tls_unref(&n->server);
	tls_unref(&n->may);
	tls_unref(&n->verify);
	for (unsigned i = 0; i < s->n; i++)
		resolver_unref(&n->resolvers[i]);
}

/* Everything that can fail comes before anything is changed. */
static int prepare(struct shards *s, struct news *n, struct errbuf *eb)
{
	int err = shards_make_tls(n->conf, &n->server, &n->may, &n->verify, eb);

	for (unsigned i = 0; err == 0 && i < s->n; i++)
		if (s->mta[i]->phase != MTA_PHASE_STOPPED)
			err = resolver_renew(s->mta[i], n->conf, &n->resolvers[i], eb);
	return err;
}

static void take_tls(struct tls_ctx **place, struct tls_ctx *news)
{
	tls_unref(place);
	*place = tls_ref(news);
}

static void take_config(struct mta *m, const struct news *n)
{
	if (n->server) /* else the listeners stay, and may need to do TLS */
		take_tls(&m->tls_server, n->server);
	take_tls(&m->tls_client_may, n->may);
	take_tls(&m->tls_client_verify, n->verify);
	resolver_unref(&m->resolver);
	m->resolver = resolver_ref(n->resolvers[m->number]);
	resolver_forget(m->resolver);
	conf_unref(&m->conf);
	m->conf = conf_ref(n->conf);
	accounting_set_file(m->accounting, m->conf->events_file);
	pool_retire_all(m->pool, loop_now(m->loop));
	dispatch_reload(m->dispatch);
	loop_again(m->loop);
}

static void take_news(struct shards *s, const struct news *n)
{
	const struct conf *conf = n->conf;
	char fixed[256];

	conf_diff_static(s->mta[0]->conf, conf, fixed, sizeof(fixed));
	if (fixed[0])
		log_warn("config", "a restart is needed for: %s", fixed);
	log_configure(conf->log.level, conf->log.format, conf->log.timestamps);
	limits_reload(s->limits, conf);
	for (unsigned i = 0; i < s->n; i++)
		if (s->mta[i]->phase != MTA_PHASE_STOPPED)
			take_config(s->mta[i], n);
	log_notice("config", "%s read again", conf->file);
}

bool shards_reload(struct shards *s)
{
	const char *file = s->mta[0]->conf->file;
	struct news n = { .conf = NULL };
	struct errbuf eb;

	system_notify("RELOADING=1");
	n.conf = read_config(file);
	shards_stop(s); /* a new resolver is on the loop of its shard */
	int err = n.conf ? prepare(s, &n, &eb) : ERR_SYNTAX;
	if (err == 0)
		take_news(s, &n);
	else if (n.conf)
		log_error("config", "%s", eb.text);
	if (err < 0)
		log_error("config", "%s is not used: the old configuration stays", file);
	drop_news(s, &n);
	shards_go(s);
	system_notify("READY=1");
	return err == 0;
}
