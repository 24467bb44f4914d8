#include "core/logsink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define LOGSINK_CHECK_MS 1000

static struct { /* the log sink is one of the few globals: any thread logs */
	pthread_mutex_t lock;
	char *path;
	int fd;
	int64_t check_at_ms;
} sink = { PTHREAD_MUTEX_INITIALIZER, NULL, -1, 0 };

static int open_log(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	return fd < 0 ? -errno : fd;
}

static void reopen_if_moved(void)
{
	struct stat by_path, by_fd;
	int64_t now_ms = clock_now().mono_ms;

	if (now_ms < sink.check_at_ms)
		return;
	sink.check_at_ms = now_ms + LOGSINK_CHECK_MS;
	if (stat(sink.path, &by_path) == 0 && fstat(sink.fd, &by_fd) == 0 &&
	    by_path.st_ino == by_fd.st_ino && by_path.st_dev == by_fd.st_dev)
		return;
	int fd = open_log(sink.path);
	if (fd < 0)
		return; /* the old file is better than none */
	close(sink.fd);
	sink.fd = fd;
}

static void write_line(void *arg, const char *line, size_t n)
{
	(void)arg;
	pthread_mutex_lock(&sink.lock);
	reopen_if_moved();
	ssize_t done = write(sink.fd, line, n);
	(void)done; /* a full disk must not stop mail, and there is nobody to tell */
	pthread_mutex_unlock(&sink.lock);
}

int logsink_open(const char *to, struct errbuf *eb)
{
	if (strcmp(to, "stderr") == 0)
		return 0;
	int fd = open_log(to);
	if (fd < 0)
		return errbuf_set(eb, fd, "log file %s: %s", to, err_text(fd));
	sink.path = mem_strdup(to);
	sink.fd = fd;
	log_set_sink(write_line, NULL);
	return 0;
}

void logsink_close(void)
{
	log_set_sink(NULL, NULL);
	pthread_mutex_lock(&sink.lock);
	if (sink.fd >= 0)
		close(sink.fd);
	sink.fd = -1;
	mem_free(sink.path);
	sink.path = NULL;
	pthread_mutex_unlock(&sink.lock);
}
