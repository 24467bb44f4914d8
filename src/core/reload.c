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
#include "core/mta.h"
#include "core/pool.h"
#include "core/reception.h"
#include "core/resolve.h"
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

/* Everything that can fail comes before anything is changed. */
static int take_config(struct mta *m, struct conf *conf, struct errbuf *eb)
{
	struct tls_ctx *old_server;
	struct resolver *resolver;
	int err = resolver_renew(m, conf, &resolver, eb);

	if (err < 0)
		return err;
	old_server = tls_ref(m->tls_server);
	err = mta_make_tls(conf, &m->tls_server, &m->tls_client_may, &m->tls_client_verify, eb);
	if (err < 0) {
		tls_unref(&old_server);
		resolver_unref(&resolver);
		return err;
	}
	if (!m->tls_server) { /* the listeners stay, and so may need to do TLS */
		m->tls_server = old_server;
		old_server = NULL;
	}
	tls_unref(&old_server);
	resolver_unref(&m->resolver);
	m->resolver = resolver;
	resolver_forget(resolver);
	conf_unref(&m->conf);
	m->conf = conf;
	m->retry = conf->outbound.retry;
	return 0;
}

bool mta_reload(struct mta *m)
{
	struct errbuf eb;
	char fixed[256];
	struct conf *conf = read_config(m->conf_file);

	system_notify("RELOADING=1");
	if (conf)
		conf_diff_static(m->conf, conf, fixed, sizeof(fixed));
	if (!conf || take_config(m, conf, &eb) < 0) {
		if (conf)
			log_error("config", "%s", eb.text);
		log_error("config", "%s is not used: the old configuration stays", m->conf_file);
		conf_unref(&conf);
		system_notify("READY=1");
		return false;
	}
	if (fixed[0])
		log_warn("config", "a restart is needed for: %s", fixed);
	accounting_set_file(m->accounting, conf->events_file);
	log_configure(conf->log.level, conf->log.format, conf->log.timestamps);
	reception_reload(m->reception);
	pool_retire_all(m->pool, loop_now(m->loop));
	dispatch_reload(m->dispatch);
	log_notice("config", "%s read again", conf->file);
	system_notify("READY=1");
	return true;
}
