#include "tools/postrider_ask.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	interrupted = signo;
}

/* One line of standard input, its CR LF or LF taken off; read bytewise, so nothing after it is
 * eaten. */
static int read_line(char *out, size_t n, struct errbuf *eb)
{
	size_t len = 0;
	for (;;) {
		char c;
		ssize_t r = read(STDIN_FILENO, &c, 1);
		if (r < 0 && errno == EINTR && !interrupted)
			continue;
		if (r < 0)
			return errbuf_set(eb, -errno, "%s", err_text(-errno));
		if (r == 0 || c == '\n')
			break;
		if (len + 1 >= n)
			return errbuf_set(eb, ERR_TOO_BIG, "the password is longer than %zu bytes",
			    n - 1);
		if (c == '\0')
			return errbuf_set(eb, ERR_SYNTAX, "the password has a NUL byte");
		out[len++] = c;
	}
	if (len && out[len - 1] == '\r')
		len--;
	out[len] = '\0';
	return len ? 0 : errbuf_set(eb, ERR_SYNTAX, "the password is empty");
}

static int prompt_and_read(const char *prompt, const char *login, char *out, size_t n,
    struct errbuf *eb)
{
	fprintf(stderr, "%s %s: ", prompt, login);
	fflush(stderr);
	int err = read_line(out, n, eb);
	fputc('\n', stderr);
	return err;
}

static int ask_twice(const char *login, char *out, size_t n, struct errbuf *eb)
{
	char *again = mem_zalloc(n);
	int err = prompt_and_read("Password for", login, out, n, eb);
	if (!err)
		err = prompt_and_read("Once more for", login, again, n, eb);
	if (!err && strcmp(out, again) != 0)
		err = errbuf_set(eb, ERR_REFUSED, "the two are not the same");
	mem_wipe(again, n);
	mem_free(again);
	return err;
}

/* With the echo off. A signal that ends us meanwhile must not leave it off: it takes effect after.
 */
static int ask_terminal(const char *login, char *out, size_t n, struct errbuf *eb)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	struct sigaction act = { .sa_handler = on_signal }, old[ARRAY_LEN(signals)];
	struct termios before, quiet;
	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return errbuf_set(eb, -errno, "terminal: %s", err_text(-errno));
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &act, &old[i]);
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	int err = ask_twice(login, out, n, eb);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &old[i], NULL);
	if (interrupted)
		raise(interrupted);
	return err;
}

int ask_password(const char *login, char *out, size_t n, struct errbuf *eb)
{
	if (isatty(STDIN_FILENO))
		return ask_terminal(login, out, n, eb);
	return read_line(out, n, eb);
}
