/*
 * postrider.c - the command line of a running postriderd.
 *
 * Most commands are passed to the daemon over its control socket: one line, a
 * JSON array of the words; back comes a line "OK" or "ERR reason", then text
 * until the end. `passwd` works on the users file by itself, `check` on the
 * spool of a daemon that does not run. Exit status: 0 done, 1 refused with a
 * reason, 2 usage, 3 no daemon.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "io/password.h"
#include "io/system.h"
#include "tools/postrider_ask.h"
#include "tools/postrider_check.h"
#include "tools/postrider_users.h"

enum {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_DAEMON = 3,
	REQUEST_MAX = 64 * 1024,
	FIRST_LINE_MAX = 4096,
	ANSWER_TIMEOUT_S = 60,
};

struct command {
	const char *name;
	int args_min, args_max;
	const char *synopsis, *help;
};

static const struct command commands[] = {
	{ "status", 0, 1, "", "what the daemon is doing" },
	{ "queue", 0, 5, "[--domain D] [--sender S] [--json]", "mail that waits, and why" },
	{ "show", 1, 1, "ID", "one message: recipients, attempts, last replies" },
	{ "flush", 0, 1, "[ID|DOMAIN]", "deferred mail becomes due now" },
	{ "hold", 1, 1, "ID|DOMAIN", "keeps mail back until it is released" },
	{ "release", 1, 1, "ID|DOMAIN", "ends a hold" },
	{ "delete", 1, 1, "ID|DOMAIN", "removes mail without a report to the sender" },
	{ "reload", 0, 0, "", "reads the configuration again" },
	{ "log", 1, 1, "LEVEL", "sets the level of the log" },
	{ "stats", 0, 0, "", "counters" },
	{ "passwd", 1, 1, "USER", "adds or changes a user in the users file" },
	{ "check", 0, CHECK_ARGS_MAX, "[--repair] [--json] [--spool DIR]",
	    "looks through the spool of a stopped daemon" },
};

static void usage(FILE *to)
{
	fputs("usage: postrider [-c FILE] COMMAND [ARGUMENT]...\n"
	      "       postrider -V | -h\n\n",
	    to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s %s", commands[i].name, commands[i].synopsis);
		fprintf(to, "  %-42s %s\n", text, commands[i].help);
	}
	fputs("\n  -c FILE, --config FILE   default " SYSCONFDIR "/postrider/postrider.conf\n"
	      "  -V, --version            -h, --help\n\n"
	      "Exit status: 0 done, 1 refused with a reason, 2 usage, 3 no daemon.\n",
	    to);
}

static int complain(int status, const char *text)
{
	fprintf(stderr, "postrider: %s\n", text);
	return status;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int explain(const struct command *c)
{
	fprintf(stderr, "usage: postrider [-c FILE] %s %s\n", c->name, c->synopsis);
	return EXIT_USAGE;
}

/* --- the daemon --- */

static int connect_daemon(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = ANSWER_TIMEOUT_S };
	size_t n = strlen(path);
	if (n >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, n);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return fd;
}

static int write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s = slice_from(s, (size_t)n);
	}
	return 0;
}

static int send_request(int fd, int argc, char **argv)
{
	struct buf b;
	struct json j;
	buf_init(&b, REQUEST_MAX);
	json_begin(&j, &b);
	json_open_array(&j, NULL);
	for (int i = 0; i < argc; i++)
		json_cstr(&j, NULL, argv[i]);
	json_close_array(&j);
	int err = json_end(&j);
	if (!err)
		err = buf_add_char(&b, '\n');
	if (!err)
		err = write_all(fd, buf_slice(&b));
	buf_fini(&b);
	return err;
}

/* More of the answer into b. 0 at the end, negative on error. */
static ssize_t read_more(int fd, struct buf *b)
{
	for (;;) {
		size_t room;
		char *p = buf_reserve(b, FIRST_LINE_MAX, &room);
		ssize_t n = room ? read(fd, p, room) : ERR_TOO_BIG;
		if (n < 0 && room && errno == EINTR)
			continue;
		if (n < 0)
			return room ? -errno : n;
		buf_commit(b, (size_t)n);
		return n;
	}
}

static int copy_text(int fd, struct buf *b)
{
	ssize_t n;
	do {
		if (fwrite(buf_ptr(b), 1, buf_len(b), stdout) != buf_len(b))
			return complain(EXIT_REFUSED, "can't write to standard output");
		buf_clear(b);
		n = read_more(fd, b);
	} while (n > 0);
	if (fflush(stdout) != 0)
		return complain(EXIT_REFUSED, "can't write to standard output");
	return n == 0 ? EXIT_DONE : complain(EXIT_NO_DAEMON, "the answer of the daemon broke off");
}

static int take_answer(int fd, struct buf *b)
{
	ptrdiff_t lf;
	while ((lf = slice_find(buf_slice(b), '\n')) < 0)
		if (read_more(fd, b) <= 0)
			return complain(EXIT_NO_DAEMON, "the daemon gave no answer");
	struct slice line = slice_of(buf_ptr(b), (size_t)lf);
	if (slice_eq(line, SLICE("OK"))) {
		buf_consume(b, line.n + 1);
		return copy_text(fd, b);
	}
	struct slice reason = slice_starts(line, SLICE("ERR ")) ? slice_from(line, 4) : line;
	fprintf(stderr, "postrider: %.*s\n", SLICE_ARG(reason));
	return EXIT_REFUSED;
}

static int ask_daemon(const struct conf *conf, int argc, char **argv)
{
	const char *path = conf->control_socket;
	if (path[0] == '\0')
		return complain(EXIT_NO_DAEMON, "control.socket is empty in the configuration");
	int fd = connect_daemon(path);
	if (fd < 0) {
		fprintf(stderr, "postrider: %s: %s%s\n", path, err_text(fd),
		    fd == -EACCES ? "" : " (is postriderd running?)");
		return fd == -EACCES ? EXIT_REFUSED : EXIT_NO_DAEMON;
	}
	struct buf b;
	buf_init(&b, FIRST_LINE_MAX);
	int err = send_request(fd, argc, argv);
	int status = err == ERR_TOO_BIG ? complain(EXIT_USAGE, "the arguments are too long")
		     : err              ? complain(EXIT_NO_DAEMON, err_text(err))
					: take_answer(fd, &b);
	buf_fini(&b);
	close(fd);
	return status;
}

/* --- passwd --- */

static int set_user(const struct conf *conf, const char *login, const char *hash)
{
	struct errbuf eb = { "" };
	const char *file = conf->submission.users_file;
	bool added = false, made = false;
	if (users_set(file, login, hash, &added, &made, &eb) != 0)
		return complain(EXIT_REFUSED, eb.text);
	/* The daemon must be able to read what root has just made. */
	if (made && system_chown(file, conf->user, conf->group, &eb) != 0)
		fprintf(stderr, "postrider: warning: %s\n", eb.text);
	printf("%s %s in %s\n", login, added ? "added" : "changed", file);
	return EXIT_DONE;
}

static int passwd(const struct conf *conf, const char *login)
{
	struct errbuf eb = { "" };
	char password[USERS_PASSWORD_MAX + 1], hash[PASSWORD_HASH_MAX];
	if (conf->submission.users_file[0] == '\0')
		return complain(EXIT_REFUSED,
		    "submission.users_file is empty in the configuration");
	if (users_check_login(login, &eb) != 0)
		return complain(EXIT_REFUSED, eb.text);
	int err = ask_password(login, password, sizeof(password), &eb);
	if (!err && password_hash(password, hash) != 0)
		err = errbuf_set(&eb, ERR_REFUSED, "the password can't be hashed");
	mem_wipe(password, sizeof(password));
	return err ? complain(EXIT_REFUSED, eb.text) : set_user(conf, login, hash);
}

/* --- the configuration --- */

/* Warnings are for `postriderd -t`; here only mistakes count. */
static struct conf *load_conf(const char *file)
{
	struct conf *conf = NULL;
	char *text = NULL;
	size_t n = 0;
	FILE *errors = open_memstream(&text, &n);
	int err = errors ? conf_load(file, &conf, errors) : -errno;
	if (errors)
		fclose(errors);
	struct slice rest = slice_of(text, n), line;
	while (err && rest.n && slice_split(&rest, '\n', &line))
		if (line.n && !slice_starts(line, SLICE("warning: ")))
			fprintf(stderr, "%.*s\n", SLICE_ARG(line));
	free(text);
	return conf;
}

/* --- check --- */

/* A configuration with mistakes must not keep anybody from looking at the mail. */
static int check(const char *file, int argc, char **argv)
{
	struct check_args args;
	struct conf *conf = NULL;
	if (check_args_parse(argc - 1, argv + 1, &args) < 0)
		return explain(find_command(argv[0]));
	if (args.spool == NULL) {
		conf = load_conf(file);
		if (!conf)
			return complain(EXIT_REFUSED,
			    "the configuration has mistakes; --spool DIR does without it");
	}
	int status = check_command(&args, args.spool != NULL ? args.spool : conf->spool);
	conf_unref(&conf);
	return status;
}

/* --- main --- */

/* Returns the exit status when there is nothing more to do, else -1. */
static int parse_options(int argc, char **argv, const char **file)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;
	while ((opt = getopt_long(argc, argv, "+c:Vh", longs, NULL)) != -1) {
		switch (opt) {
		case 'c':
			*file = optarg;
			break;
		case 'V':
			puts("postrider " VERSION);
			return EXIT_DONE;
		case 'h':
			usage(stdout);
			return EXIT_DONE;
		default:
			return EXIT_USAGE;
		}
	}
	return -1;
}

static int check_words(int argc, char **argv)
{
	if (argc == 0) {
		usage(stderr);
		return EXIT_USAGE;
	}
	const struct command *c = find_command(argv[0]);
	if (!c) {
		fprintf(stderr, "postrider: no such command: %s (-h lists them)\n", argv[0]);
		return EXIT_USAGE;
	}
	if (argc - 1 < c->args_min || argc - 1 > c->args_max)
		return explain(c);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	const char *file = SYSCONFDIR "/postrider/postrider.conf";
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	int status = parse_options(argc, argv, &file);
	if (status >= 0)
		return status;
	argc -= optind;
	argv += optind;
	status = check_words(argc, argv);
	if (status != EXIT_DONE)
		return status;
	sigaction(SIGPIPE, &ignore, NULL);
	if (strcmp(argv[0], "check") == 0)
		return check(file, argc, argv);
	struct conf *conf = load_conf(file);
	if (!conf)
		return EXIT_REFUSED;
	if (strcmp(argv[0], "passwd") == 0)
		status = passwd(conf, argv[1]);
	else
		status = ask_daemon(conf, argc, argv);
	conf_unref(&conf);
	return status;
}
