#include "core/accounting.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#define ACCOUNTING_PENDING_MAX     (4 * 1024 * 1024)
#define ACCOUNTING_REOPEN_CHECK_MS 1000

struct accounting {
	char *file; /* "" none */
	int fd;
	dev_t dev;
	ino_t ino;
	int64_t check_at_ms; /* mono: when the path is compared with fd again */
	struct buf pending;
	size_t pending_lines;
	bool complained; /* about the present run of failures */
	bool torn;       /* the file ends within a line: start the next write with LF */
	struct accounting_counts counts;
};

static const char *const event_names[] = {
	[EVENT_RECEIVED] = "received",
	[EVENT_DELIVERED] = "delivered",
	[EVENT_DEFERRED] = "deferred",
	[EVENT_BOUNCED] = "bounced",
	[EVENT_EXPIRED] = "expired",
	[EVENT_REJECTED] = "rejected",
	[EVENT_HELD] = "held",
	[EVENT_RELEASED] = "released",
	[EVENT_DELETED] = "deleted",
};

struct accounting *accounting_new(const char *file)
{
	struct accounting *a = mem_zalloc(sizeof(*a));
	a->file = mem_strdup(file);
	a->fd = -1;
	buf_init(&a->pending, ACCOUNTING_PENDING_MAX);
	return a;
}

static void accounting_close(struct accounting *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

void accounting_free(struct accounting **a)
{
	if (!*a)
		return;
	accounting_close(*a);
	buf_fini(&(*a)->pending);
	mem_free((*a)->file);
	mem_free(*a);
	*a = NULL;
}

int accounting_open(struct accounting *a, struct errbuf *eb)
{
	struct stat st;

	accounting_close(a);
	if (a->file[0] == '\0')
		return 0;
	a->fd = open(a->file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (a->fd < 0) {
		int err = -errno;
		return errbuf_set(eb, err, "events file %s: %s", a->file, err_text(err));
	}
	if (fstat(a->fd, &st) == 0) {
		a->dev = st.st_dev;
		a->ino = st.st_ino;
		/* kill -9 can cut a write short: what it left must not spoil the next line. */
		char last = '\n';
		if (st.st_size > 0 && pread(a->fd, &last, 1, st.st_size - 1) == 1)
			a->torn = last != '\n';
	}
	return 0;
}

void accounting_set_file(struct accounting *a, const char *file)
{
	struct errbuf eb;

	mem_free(a->file);
	a->file = mem_strdup(file);
	if (accounting_open(a, &eb) < 0)
		log_error("events", "%s", eb.text);
}

static void count(struct accounting_counts *c, enum event_kind kind, size_t n)
{
	switch (kind) {
	case EVENT_RECEIVED:
		c->received += n;
		break;
	case EVENT_DELIVERED:
		c->delivered += n;
		break;
	case EVENT_DEFERRED:
		c->deferred += n;
		break;
	case EVENT_BOUNCED:
		c->bounced += n;
		break;
	case EVENT_EXPIRED:
		c->expired += n;
		break;
	case EVENT_REJECTED:
		c->rejected += n;
		break;
	case EVENT_DELETED:
		c->deleted += n;
		break;
	case EVENT_HELD:
	case EVENT_RELEASED:
	case EVENT_NONE:
		break;
	}
}

static void write_status(struct json *j, const struct event *e)
{
	const struct envelope_status *st = e->status;

	if (st->host[0])
		json_cstr(j, "host", st->host);
	if (st->ip[0])
		json_cstr(j, "ip", st->ip);
	if (e->port)
		json_int(j, "port", e->port);
	json_cstr(j, "mode", e->mode);
	if (st->code)
		json_int(j, "code", st->code);
	if (st->enhanced[0]) {
		char *text =
		    mem_printf("%u.%u.%u", st->enhanced[0], st->enhanced[1], st->enhanced[2]);
		json_cstr(j, "enhanced", text);
		mem_free(text);
	}
	json_cstr(j, "response", st->text);
	json_cstr(j, "stage", smtp_stage_name(e->stage));
}

static void write_line(struct json *j, const struct event *e, struct now now)
{
	const struct envelope *env = e->envelope;
	char when[CLOCK_TEXT_MAX];

	json_open(j, NULL);
	json_cstr(j, "time", clock_rfc3339(now.wall_ms, when));
	json_cstr(j, "event", event_names[e->kind]);
	json_cstr(j, "id", env->id);
	if (env->queue_id[0])
		json_cstr(j, "queue_id", env->queue_id);
	json_cstr(j, "sender", env->sender);
	json_cstr(j, "recipient", e->recipient);
	if (env->domain[0])
		json_cstr(j, "domain", env->domain);
	json_cstr(j, "user", env->user);
	json_int(j, "size", (int64_t)env->body_bytes);
	if (e->status)
		write_status(j, e);
	if (e->attempt)
		json_int(j, "attempt", e->attempt);
	if (e->kind != EVENT_RECEIVED && e->kind != EVENT_REJECTED)
		json_num(j, "delay", (double)MAX(now.wall_ms - env->arrival_ms, 0) / 1000.0);
	if (e->next_attempt_ms)
		json_cstr(j, "next_attempt", clock_rfc3339(e->next_attempt_ms, when));
	if (e->tls) {
		json_open(j, "tls");
		json_cstr(j, "version", e->tls->version);
		json_cstr(j, "cipher", e->tls->cipher);
		json_bool(j, "verified", e->tls->verified);
		json_close(j);
	}
	if (e->connected)
		json_bool(j, "authenticated", e->authenticated);
	json_close(j);
}

int accounting_format(const struct event *e, struct buf *out, struct now now)
{
	struct json j;

	CHECK(e->kind != EVENT_NONE);
	json_begin(&j, out);
	write_line(&j, e, now);
	int err = json_end(&j);
	return err < 0 ? err : buf_add_char(out, '\n');
}

void accounting_add(struct accounting *a, const struct event *e, struct now now)
{
	size_t before = buf_len(&a->pending);

	count(&a->counts, e->kind, 1);
	if (a->file[0] == '\0')
		return;
	if (accounting_format(e, &a->pending, now) < 0) {
		buf_truncate(&a->pending, before);
		accounting_flush(a, now); /* full: make room */
		if (accounting_format(e, &a->pending, now) < 0) {
			buf_clear(&a->pending);
			a->counts.lost_lines++;
			return;
		}
	}
	a->pending_lines++;
}

void accounting_add_lines(struct accounting *a, enum event_kind kind, size_t n, struct slice lines,
    struct now now)
{
	struct slice line;

	count(&a->counts, kind, n);
	if (a->file[0] == '\0')
		return;
	while (slice_split(&lines, '\n', &line)) {
		if (line.n == 0)
			continue;
		if (buf_len(&a->pending) + line.n + 1 > ACCOUNTING_PENDING_MAX)
			accounting_flush(a, now);
		if (buf_add_slice(&a->pending, line) < 0 || buf_add_char(&a->pending, '\n') < 0)
			UNREACHABLE(); /* a line is much smaller than the room for all */
		a->pending_lines++;
	}
}

static void reopen_if_moved(struct accounting *a, struct now now)
{
	struct stat st;
	struct errbuf eb;

	if (now.mono_ms < a->check_at_ms)
		return;
	a->check_at_ms = now.mono_ms + ACCOUNTING_REOPEN_CHECK_MS;
	if (a->fd >= 0 && stat(a->file, &st) == 0 && st.st_dev == a->dev && st.st_ino == a->ino)
		return;
	if (accounting_open(a, &eb) < 0 && !a->complained) {
		a->complained = true;
		log_error("events", "%s: events are lost until it can be opened", eb.text);
	}
}

static void lose_pending(struct accounting *a, int err)
{
	if (!a->complained)
		log_error("events", "%s: %s: events are lost (mail is not)", a->file,
		    err_text(err));
	a->complained = true;
	a->counts.lost_lines += a->pending_lines;
	buf_clear(&a->pending);
	a->pending_lines = 0;
}

void accounting_flush(struct accounting *a, struct now now)
{
	if (a->pending_lines == 0)
		return;
	reopen_if_moved(a, now);
	if (a->torn && a->fd >= 0 && write(a->fd, "\n", 1) == 1)
		a->torn = false;
	while (buf_len(&a->pending) > 0) {
		if (a->fd < 0) {
			lose_pending(a, -EBADF);
			return;
		}
		ssize_t n = write(a->fd, buf_ptr(&a->pending), buf_len(&a->pending));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			lose_pending(a, n < 0 ? -errno : -EIO);
			return;
		}
		a->torn = buf_ptr(&a->pending)[n - 1] != '\n';
		buf_consume(&a->pending, (size_t)n);
	}
	a->pending_lines = 0;
	a->complained = false;
}

const struct accounting_counts *accounting_counts(const struct accounting *a)
{
	return &a->counts;
}
