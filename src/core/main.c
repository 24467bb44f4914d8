/*
 * postriderd: arguments, the config, and the run.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/logsink.h"
#include "core/shards.h"
#include "io/system.h"

#define DEFAULT_CONFIG SYSCONFDIR "/postrider/postrider.conf"

static void usage(FILE *to)
{
	fprintf(to,
	    "usage: postriderd [-c FILE] [-t]\n"
	    "\n"
	    "  -c FILE  configuration (default " DEFAULT_CONFIG ")\n"
	    "  -t       check the configuration, print its mistakes, and exit\n"
	    "  -V       print the version\n"
	    "  -h       print this\n"
	    "\n"
	    "Runs in the foreground and logs to standard error. Signals: HUP flushes the\n"
	    "queue, USR1 reads the configuration again, USR2 logs a summary, TERM stops.\n");
}

/* What only shows when used: keys and certificates that don't load or don't fit. A start finds it
 * where they are needed. */
static int check(const struct conf *conf)
{
	struct tls_ctx *server = NULL, *may = NULL, *verify = NULL;
	struct errbuf eb;
	int err = shards_make_tls(conf, &server, &may, &verify, &eb);

	if (err < 0)
		fprintf(stderr, "%s\n", eb.text);
	tls_unref(&server);
	tls_unref(&may);
	tls_unref(&verify);
	return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The log file is made as root and given to the user the daemon will be, who opens it anew after a
 * rotation. */
static int open_log(const struct conf *conf, struct errbuf *eb)
{
	bool is_file = strcmp(conf->log.to, "stderr") != 0;
	int err = is_file ? system_prepare_parent(conf->log.to, conf->user, conf->group, eb) : 0;

	if (err == 0)
		err = logsink_open(conf->log.to, eb);
	if (err == 0 && is_file)
		err = system_chown(conf->log.to, conf->user, conf->group, eb);
	return err;
}

static int run(struct conf *conf)
{
	struct mta_options options = { .qio = NULL, .seed = prng_os_u64() };
	struct shards *s;
	struct errbuf eb;

	log_configure(conf->log.level, conf->log.format, conf->log.timestamps);
	int err = open_log(conf, &eb);
	if (err == 0)
		err = shards_new(conf, &options, &s, &eb);
	if (err < 0) {
		fprintf(stderr, "postriderd: %s\n", eb.text);
		return EXIT_FAILURE;
	}
	shards_run(s);
	shards_free(&s);
	logsink_close();
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	const char *file = DEFAULT_CONFIG;
	bool only_check = false;
	int c;

	while ((c = getopt(argc, argv, "c:tVh")) != -1) {
		switch (c) {
		case 'c':
			file = optarg;
			break;
		case 't':
			only_check = true;
			break;
		case 'V':
			puts("postriderd " VERSION);
			return EXIT_SUCCESS;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	struct conf *conf;
	if (conf_load(file, &conf, stderr) < 0)
		return EXIT_FAILURE;
	system_no_core_dumps();
	system_raise_nofile();
	int status = only_check ? check(conf) : run(conf);
	conf_unref(&conf);
	return status;
}
