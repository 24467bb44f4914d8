/*
 * sandbox.c - postrider-sandbox: a small internet in one process, for trying a
 * configuration and for tests. A DNS server that knows every name, and mail
 * exchangers on loopback that behave as the name says (sandbox_cast.h).
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/system.h"
#include "tools/sandbox_dns.h"

enum {
	EXIT_USAGE = 2,
};

struct options {
	const char *dns, *smtp, *dir, *cert, *key;
	bool verbose;
};

struct sandbox {
	struct netaddr dns_addr;
	char *dir, *cert, *key;
	struct sandbox_smtp smtp;
	struct sandbox_dns dns;
};

static void usage(FILE *to)
{
	fputs(
	    "usage: postrider-sandbox [OPTION]...\n"
	    "A small internet on loopback: a DNS server that knows every name, and mail\n"
	    "exchangers that behave as the name says.\n\n"
	    "  --dns ADDR:PORT  where the DNS server listens, UDP; default 127.0.0.1:5353\n"
	    "  --smtp PORT      port of all mail exchangers; default 2525\n"
	    "  --dir DIR        where what arrives is written: Maildir/ and transactions.jsonl;\n"
	    "                   default a new directory in /tmp\n"
	    "  --cert FILE --key FILE\n"
	    "                   certificate and key of the hosts; default self-signed, in DIR\n"
	    "  --verbose        the dialogue on stderr\n"
	    "  -V, --version    -h, --help\n\n"
	    "Prints a line \"ready dns=... smtp=... dir=...\" when all listens; SIGTERM ends.\n\n",
	    to);
	cast_print(to);
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "dns", required_argument, NULL, 'd' },
		{ "smtp", required_argument, NULL, 's' },
		{ "dir", required_argument, NULL, 'D' },
		{ "cert", required_argument, NULL, 'c' },
		{ "key", required_argument, NULL, 'k' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;
	while ((opt = getopt_long(argc, argv, "Vh", longs, NULL)) != -1) {
		switch (opt) {
		case 'd':
			o->dns = optarg;
			break;
		case 's':
			o->smtp = optarg;
			break;
		case 'D':
			o->dir = optarg;
			break;
		case 'c':
			o->cert = optarg;
			break;
		case 'k':
			o->key = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'V':
			puts("postrider-sandbox " VERSION);
			exit(EXIT_SUCCESS);
		case 'h':
			usage(stdout);
			exit(EXIT_SUCCESS);
		default:
			return ERR_SYNTAX;
		}
	}
	return optind == argc ? 0 : ERR_SYNTAX;
}

static int check_options(struct sandbox *b, const struct options *o, struct errbuf *eb)
{
	uint64_t port = 0;
	if (netaddr_parse(slice_str(o->dns), 0, &b->dns_addr) != 0 ||
	    !netaddr_is_loopback(&b->dns_addr))
		return errbuf_set(eb, ERR_SYNTAX,
		    "--dns %s: a loopback address with a port is needed", o->dns);
	if (!slice_to_u64(slice_str(o->smtp), &port) || port == 0 || port > UINT16_MAX)
		return errbuf_set(eb, ERR_SYNTAX, "--smtp %s: not a port", o->smtp);
	if (!o->cert != !o->key)
		return errbuf_set(eb, ERR_SYNTAX, "--cert and --key go together");
	b->smtp.port = (uint16_t)port;
	b->smtp.verbose = o->verbose;
	return 0;
}

static int open_dir(struct sandbox *b, const char *dir, struct errbuf *eb)
{
	b->dir = mem_strdup(dir ? dir : "/tmp/postrider-sandbox.XXXXXX");
	if (!dir && !mkdtemp(b->dir))
		return errbuf_set(eb, ERR_REFUSED, "can't make a directory in /tmp");
	return store_open(b->dir, &b->smtp.store, eb);
}

static bool file_exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static int open_tls(struct sandbox *b, const struct options *o, struct errbuf *eb)
{
	b->cert = o->cert ? mem_strdup(o->cert) : mem_printf("%s/sandbox.crt", b->dir);
	b->key = o->key ? mem_strdup(o->key) : mem_printf("%s/sandbox.key", b->dir);
	if (!o->cert && (!file_exists(b->cert) || !file_exists(b->key))) {
		int err = tls_make_self_signed("sandbox.test", b->cert, b->key, eb);
		if (err)
			return err;
	}
	struct tls_server_options t = { .certificate = b->cert,
		.key = b->key,
		.min_version = "TLSv1.2",
		.ciphers = "" };
	return tls_server_new(&t, &b->smtp.tls, eb);
}

static void on_step(void *arg, struct now now)
{
	struct sandbox *b = arg;
	sandbox_smtp_step(&b->smtp, now);
}

static void on_signal(void *arg, int signo)
{
	struct sandbox *b = arg;
	(void)signo;
	loop_stop(b->smtp.loop);
}

static int sandbox_start(struct sandbox *b, const struct options *o, struct errbuf *eb)
{
	int err = open_dir(b, o->dir, eb);
	if (!err)
		err = open_tls(b, o, eb);
	if (err)
		return err;
	b->smtp.loop = loop_new();
	loop_set_step(b->smtp.loop, on_step, b);
	loop_on_signal(b->smtp.loop, SIGTERM, on_signal, b);
	loop_on_signal(b->smtp.loop, SIGINT, on_signal, b);
	err = sandbox_smtp_new(&b->smtp, eb);
	if (!err)
		err = sandbox_dns_new(&b->dns, &b->smtp, &b->dns_addr, eb);
	return err;
}

static void sandbox_stop(struct sandbox *b)
{
	sandbox_dns_fini(&b->dns);
	if (b->smtp.loop)
		sandbox_smtp_fini(&b->smtp);
	tls_unref(&b->smtp.tls);
	store_close(&b->smtp.store);
	loop_free(&b->smtp.loop);
	mem_free(b->dir);
	mem_free(b->cert);
	mem_free(b->key);
}

static void say_ready(const struct sandbox *b)
{
	char dns[NETADDR_TEXT_MAX], smtp[NETADDR_TEXT_MAX];
	struct cast accept = { .kind = CAST_ACCEPT };
	struct netaddr a = cast_address(&accept);
	a.port = b->smtp.port;
	printf("ready dns=%s smtp=%s dir=%s\n", netaddr_format(&b->dns_addr, dns),
	    netaddr_format(&a, smtp), b->dir);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct options o = { .dns = "127.0.0.1:5353", .smtp = "2525" };
	struct sandbox b = { .dir = NULL };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct errbuf eb = { "" };
	if (parse_options(argc, argv, &o) != 0) {
		fputs("usage: postrider-sandbox [OPTION]...; --help tells more\n", stderr);
		return EXIT_USAGE;
	}
	if (check_options(&b, &o, &eb) != 0) {
		fprintf(stderr, "postrider-sandbox: %s\n", eb.text);
		return EXIT_USAGE;
	}
	sigaction(SIGPIPE, &ignore, NULL);
	system_raise_nofile();
	int err = sandbox_start(&b, &o, &eb);
	if (err) {
		fprintf(stderr, "postrider-sandbox: %s\n", eb.text);
	} else {
		say_ready(&b);
		loop_run(b.smtp.loop);
	}
	sandbox_stop(&b);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
