/*
 * relaybench.c - arguments, and what source and sink share (relaybench.h).
 *
 *     relaybench source -p PORT [-s sessions] [-m messages] [-l bytes] [-D domains]
 *         [-R recipients] [-c messages/connection] [-P] [-t] [-r messages/s] [-M seconds] [-O
 * times] relaybench sink -p PORT [-n messages] [-l bytes] [-R recipients] [-T stall s] [-g grace s]
 *         [-C certificate -K key] [-b] [-B] [-o out.json] [-O times]
 *
 * The letters are those of the harness's own source and sink, which these take
 * the place of; added are -t (STARTTLS), -r (a steady pace), -C -K (STARTTLS is
 * offered), -b (CHUNKING is offered), and -O: two times for each message
 * (source: its last byte was out, its 250 was in) or one for each recipient
 * (sink: its 250), as 8-byte integers, 0 for none. A benchmark's tool: never
 * run by make check.
 */
#include "bench/relaybench.h"

#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

int64_t rb_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void rb_die(const char *what)
{
	fprintf(stderr, "relaybench: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* A client's: at the end of a handshake, or as the ticket comes behind it. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION **kept = SSL_get_app_data(ssl);
	SSL_SESSION_free(*kept);
	*kept = session;
	return 1; /* the reference is ours */
}

SSL_CTX *rb_tls(const char *certificate, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(certificate ? TLS_server_method() : TLS_client_method());
	if (!ctx ||
	    (certificate && (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
				SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1))) {
		ERR_print_errors_fp(stderr);
		exit(2);
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	if (certificate)
		return ctx;
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	return ctx;
}

char *rb_filler(size_t lines)
{
	char *filler = mem_alloc(lines * 64 + 1);
	for (size_t i = 0; i < lines; i++) {
		char *line = filler + i * 64;
		for (size_t k = 0; k < 62; k++)
			line[k] = (char)('a' + (i * 7 + k * 3) % 26);
		memcpy(line + 62, "\r\n", 2);
	}
	return filler;
}

static int compare(const void *a, const void *b)
{
	int64_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

double rb_quantile(int64_t *ns, size_t n, unsigned p)
{
	if (n == 0)
		return 0;
	qsort(ns, n, sizeof(*ns), compare);
	size_t at = n * p / 1000;
	return (double)ns[at < n ? at : n - 1] / 1e6;
}

void rb_write_times(const char *file, const int64_t *ns, size_t n)
{
	FILE *f = fopen(file, "we");
	if (!f || fwrite(ns, sizeof(*ns), n, f) != n || fclose(f) != 0)
		rb_die(file);
}

double rb_cpu_seconds(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void usage(void)
{
	fputs("usage: relaybench source|sink -p PORT [options, see relaybench.c]\n", stderr);
	exit(2);
}

static void set_number(uint64_t *to)
{
	if (!slice_to_u64(slice_str(optarg), to))
		usage();
}

/* Options with a number: where it goes, or NULL. */
static uint64_t *number_of(struct rb_options *o, int letter)
{
	switch (letter) {
	case 'p':
		return &o->port;
	case 's':
		return &o->sessions;
	case 'm':
	case 'n':
		return &o->messages;
	case 'l':
		return &o->bytes;
	case 'D':
		return &o->domains;
	case 'R':
		return &o->rcpts;
	case 'c':
		return &o->per_connection;
	case 'r':
		return &o->rate;
	case 'M':
		return &o->seconds;
	case 'T':
		return &o->stall_s;
	case 'g':
		return &o->grace_s;
	default:
		return NULL;
	}
}

static void set_other(struct rb_options *o, int letter)
{
	switch (letter) {
	case 'P':
		o->pipelining = true;
		break;
	case 't':
		o->tls = true;
		break;
	case 'b':
		o->chunking = true;
		break;
	case 'B':
		o->any_address = true;
		break;
	case 'C':
		o->certificate = optarg;
		o->tls = true;
		break;
	case 'K':
		o->key = optarg;
		break;
	case 'o':
		o->out = optarg;
		break;
	case 'O':
		o->times = optarg;
		break;
	case 'w': /* of the harness's sink, which alone can answer late */
		if (strcmp(optarg, "0") != 0)
			usage();
		break;
	default:
		usage();
	}
}

static void parse(int argc, char **argv, const char *letters, struct rb_options *o)
{
	int letter;
	while ((letter = getopt(argc, argv, letters)) != -1) {
		uint64_t *number = number_of(o, letter);
		if (number)
			set_number(number);
		else
			set_other(o, letter);
	}
	if (optind != argc || o->port == 0 || o->port > UINT16_MAX || o->domains == 0 ||
	    o->rcpts == 0 || o->sessions == 0 || !o->certificate != !o->key)
		usage();
}

int main(int argc, char **argv)
{
	struct rb_options o = { .messages = 1000,
		.rcpts = 1,
		.bytes = 5120,
		.sessions = 20,
		.domains = 1,
		.per_connection = 100,
		.seconds = 300,
		.stall_s = 30,
		.grace_s = 2 };
	struct rlimit files;
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigaction(SIGPIPE, &ignore, NULL);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* fewer sessions then */
	}
	if (argc < 2)
		usage();
	bool source = strcmp(argv[1], "source") == 0;
	if (!source && strcmp(argv[1], "sink") != 0)
		usage();
	parse(argc - 1, argv + 1, source ? "p:s:m:l:D:R:c:r:M:O:Pt" : "p:n:l:R:T:g:C:K:o:O:w:bB",
	    &o);
	return source ? rb_source(&o) : rb_sink(&o);
}
