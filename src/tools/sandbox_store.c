#include "tools/sandbox_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#define LINE_MAX_BYTES (2 * 1024 * 1024)
#define HEADER_MAX     (1024 * 1024)
#define STORE_PATH_MAX (STORE_FILE_MAX + 8)

struct store {
	int dir_fd; /* of Maildir */
	int log_fd;
	unsigned messages; /* begun so far: makes names unique */
};

static int make_dir(const char *path, struct errbuf *eb)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	int err = -errno;
	return errbuf_set(eb, err, "%s: %s", path, err_text(err));
}

static int make_dirs(const char *dir, struct errbuf *eb)
{
	static const char *const below[] = { "", "/Maildir", "/Maildir/tmp", "/Maildir/new",
		"/Maildir/cur" };
	for (size_t i = 0; i < ARRAY_LEN(below); i++) {
		char *path = mem_printf("%s%s", dir, below[i]);
		int err = make_dir(path, eb);
		mem_free(path);
		if (err)
			return err;
	}
	return 0;
}

static int open_below(const char *dir, const char *name, int flags, struct errbuf *eb)
{
	char *path = mem_printf("%s/%s", dir, name);
	int fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0) {
		fd = -errno;
		errbuf_set(eb, fd, "%s: %s", path, err_text(fd));
	}
	mem_free(path);
	return fd;
}

int store_open(const char *dir, struct store **st_r, struct errbuf *eb)
{
	*st_r = NULL;
	int err = make_dirs(dir, eb);
	if (err)
		return err;
	int dir_fd = open_below(dir, "Maildir", O_RDONLY | O_DIRECTORY, eb);
	if (dir_fd < 0)
		return dir_fd;
	int log_fd = open_below(dir, "transactions.jsonl", O_WRONLY | O_APPEND | O_CREAT, eb);
	if (log_fd < 0) {
		close(dir_fd);
		return log_fd;
	}
	struct store *st = mem_zalloc(sizeof(*st));
	st->dir_fd = dir_fd;
	st->log_fd = log_fd;
	*st_r = st;
	return 0;
}

void store_close(struct store **st)
{
	if (!*st)
		return;
	close((*st)->dir_fd);
	close((*st)->log_fd);
	mem_free(*st);
	*st = NULL;
}

void store_tx_init(struct store_tx *tx, unsigned number, struct slice sender)
{
	*tx = (struct store_tx){ .number = number, .fd = -1, .sender = "" };
	arena_init(&tx->arena);
	if (number == 0)
		return;
	tx->sender = arena_slice(&tx->arena, sender).p;
	tx->rcpts = arena_zalloc(&tx->arena, STORE_RCPTS_MAX * sizeof(tx->rcpts[0]));
}

void store_tx_fini(struct store *st, struct store_tx *tx)
{
	if (tx->fd >= 0) {
		char path[STORE_PATH_MAX];
		snprintf(path, sizeof(path), "tmp/%s", tx->file);
		unlinkat(st->dir_fd, path, 0);
		close(tx->fd);
	}
	tx->fd = -1;
	arena_fini(&tx->arena);
}

struct store_rcpt *store_tx_add(struct store_tx *tx, struct slice address)
{
	CHECK(tx->rcpts);
	if (tx->rcpts_n == STORE_RCPTS_MAX)
		return NULL;
	struct store_rcpt *r = &tx->rcpts[tx->rcpts_n++];
	r->address = arena_slice(&tx->arena, address).p;
	return r;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* The envelope, on top of the message: what a delivery agent would add. */
static int write_envelope(struct store_tx *tx, const struct store_session *ses, struct now now)
{
	struct buf b;
	char date[CLOCK_TEXT_MAX];
	buf_init(&b, HEADER_MAX);
	int err = buf_printf(&b, "Return-Path: <%s>\r\n", tx->sender);
	for (size_t i = 0; i < tx->rcpts_n && !err; i++)
		if (tx->rcpts[i].code == 250)
			err = buf_printf(&b, "Delivered-To: %s\r\n", tx->rcpts[i].address);
	if (!err)
		err = buf_printf(&b, "X-Sandbox: client=%s helo=%s tls=%s local=%s; %s\r\n",
		    ses->client, ses->helo, ses->tls[0] ? ses->tls : "none", ses->local,
		    clock_rfc5322(now.wall_ms, date));
	if (!err)
		err = write_all(tx->fd, buf_ptr(&b), buf_len(&b));
	buf_fini(&b);
	return err;
}

void store_message_begin(struct store *st, struct store_tx *tx, const struct store_session *ses,
    struct now now)
{
	CHECK(tx->fd < 0);
	snprintf(tx->file, sizeof(tx->file), "%" PRId64 ".M%03dP%dQ%u.sandbox", now.wall_ms / 1000,
	    (int)(now.wall_ms % 1000), (int)getpid(), ++st->messages);
	char path[STORE_PATH_MAX];
	snprintf(path, sizeof(path), "tmp/%s", tx->file);
	tx->fd = openat(st->dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	tx->err = tx->fd < 0 ? -errno : write_envelope(tx, ses, now);
}

void store_message_add(struct store_tx *tx, struct slice chunk)
{
	tx->bytes += chunk.n;
	if (tx->err == 0)
		tx->err = write_all(tx->fd, chunk.p, chunk.n);
}

int store_message_commit(struct store *st, struct store_tx *tx)
{
	char from[STORE_PATH_MAX], to[STORE_PATH_MAX];
	snprintf(from, sizeof(from), "tmp/%s", tx->file);
	snprintf(to, sizeof(to), "new/%s", tx->file);
	if (tx->err == 0 && renameat(st->dir_fd, from, st->dir_fd, to) != 0)
		tx->err = -errno;
	if (tx->err == 0) {
		close(tx->fd);
		tx->fd = -1;
	}
	if (tx->err)
		log_error("store", "%s: %s", from, err_text(tx->err));
	return tx->err;
}

static const char *outcome_name(enum store_outcome outcome)
{
	static const char *const names[] = { [STORE_NONE] = "",
		[STORE_ACCEPTED] = "accepted",
		[STORE_REFUSED] = "refused",
		[STORE_CLOSED] = "closed",
		[STORE_SILENT] = "silent",
		[STORE_ABORTED] = "aborted" };
	return names[outcome];
}

/* Who shaped the transaction: the host, else the first recipient out of the ordinary. */
static struct cast leading_cast(const struct store_tx *tx, const struct store_session *ses)
{
	struct cast c = ses->cast;
	for (size_t i = 0; i < tx->rcpts_n && c.kind == CAST_ACCEPT; i++)
		c = tx->rcpts[i].cast;
	return c;
}

static void put_rcpts(struct json *j, const struct store_tx *tx)
{
	char name[CAST_NAME_MAX];
	json_open_array(j, "recipients");
	for (size_t i = 0; i < tx->rcpts_n; i++) {
		const struct store_rcpt *r = &tx->rcpts[i];
		json_open(j, NULL);
		json_cstr(j, "address", r->address);
		json_cstr(j, "behaviour", cast_format(&r->cast, name));
		json_int(j, "code", r->code);
		json_close(j);
	}
	json_close_array(j);
}

static void put_line(struct json *j, const struct store_tx *tx, const struct store_session *ses,
    struct now now)
{
	char text[CLOCK_TEXT_MAX], name[CAST_NAME_MAX];
	struct cast cast = leading_cast(tx, ses);
	json_open(j, NULL);
	json_cstr(j, "time", clock_rfc3339(now.wall_ms, text));
	json_int(j, "session", ses->number);
	json_int(j, "transaction", tx->number);
	json_cstr(j, "behaviour", cast_format(&cast, name));
	json_cstr(j, "client", ses->client);
	json_cstr(j, "local", ses->local);
	json_cstr(j, "helo", ses->helo);
	json_cstr(j, "tls", ses->tls);
	json_cstr(j, "sender", tx->sender);
	put_rcpts(j, tx);
	json_int(j, "bytes", (int64_t)tx->bytes);
	json_cstr(j, "outcome", outcome_name(tx->outcome));
	json_cstr(j, "stage", cast_stage_name(tx->stage));
	json_int(j, "code", tx->code);
	if (tx->outcome == STORE_ACCEPTED)
		json_cstr(j, "file", tx->file);
	json_close(j);
}

void store_log(struct store *st, const struct store_tx *tx, const struct store_session *ses,
    struct now now)
{
	struct buf b;
	struct json j;
	buf_init(&b, LINE_MAX_BYTES);
	json_begin(&j, &b);
	put_line(&j, tx, ses, now);
	int err = json_end(&j);
	if (!err)
		err = buf_add_char(&b, '\n');
	if (!err)
		err = write_all(st->log_fd, buf_ptr(&b), buf_len(&b));
	if (err)
		log_error("store", "transactions.jsonl: %s", err_text(err));
	buf_fini(&b);
}
