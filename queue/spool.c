/*
 * spool.c - folders, names, and the moves of files between them.
 */
#include "queue/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

enum {
	MODE_WIDER = 0077,
	MODE_DIRECTORY = 0700,
	LABEL_HASH_DIGITS = 16,
	CORRUPT_SUFFIX_MAX = 1000,
	ORPHANS_MAX = 100000
};

struct orphan {
	struct list_node node;
	unsigned dir;
	char name[SPOOL_NAME_MAX];
};

/* --- opening ------------------------------------------------------------------ */

static int tighten(struct spool *s, int fd, const char *name, struct errbuf *eb)
{
	struct qio_stat st;
	int err = s->io->stat(s->io->arg, fd, &st);
	if (err == 0 && (st.mode & MODE_WIDER) != 0) {
		log_notice("queue", "%s was open to others (mode %03o): made it private", name,
		    st.mode);
		err = s->io->chmod(s->io->arg, fd, MODE_DIRECTORY);
	}
	if (err < 0)
		return errbuf_set(eb, err, "%s: can't make it private: %s", name, err_text(err));
	return 0;
}

/* Opens a directory below `in` (-1: a path), making it when it is not there. Open already: nothing
 * to do. */
static int open_directory(struct spool *s, int in, const char *name, int *fd_r, struct errbuf *eb)
{
	if (*fd_r >= 0)
		return 0;
	int err = s->io->mkdir(s->io->arg, in, name);
	if (err < 0 && err != -EEXIST)
		return errbuf_set(eb, err, "%s: can't make the directory: %s", name, err_text(err));
	int fd = s->io->open(s->io->arg, in, name, QIO_OPEN_DIRECTORY);
	if (fd < 0)
		return errbuf_set(eb, fd, "%s: can't open the directory: %s", name, err_text(fd));
	*fd_r = fd;
	return tighten(s, fd, name, eb);
}

/* What is not there stays -1. */
static int look_at_directory(struct spool *s, int in, const char *name, int *fd_r,
    struct errbuf *eb)
{
	int fd = s->io->open(s->io->arg, in, name, QIO_OPEN_DIRECTORY);
	if (fd < 0 && fd != -ENOENT)
		return errbuf_set(eb, fd, "%s: can't open the directory: %s", name, err_text(fd));
	*fd_r = MAX(fd, -1);
	return 0;
}

static int take_lock(struct spool *s, struct errbuf *eb)
{
	int fd = s->io->open(s->io->arg, s->state, "lock", QIO_OPEN_LOCK);
	if (fd < 0)
		return errbuf_set(eb, fd, "state/lock: %s", err_text(fd));
	s->lock = fd;
	int err = s->io->lock(s->io->arg, fd);
	if (err == ERR_BUSY)
		return errbuf_set(eb, err, "the spool is in use by another process");
	if (err < 0)
		return errbuf_set(eb, err, "state/lock: %s", err_text(err));
	return 0;
}

static int open_folders(struct spool *s, struct errbuf *eb)
{
	char name[8];
	int err = open_directory(s, s->root, "queue", &s->queue, eb);
	if (err == 0)
		err = open_directory(s, s->root, "journal", &s->journal, eb);
	if (err == 0)
		err = open_directory(s, s->root, "body", &s->body, eb);
	if (err == 0)
		err = open_directory(s, s->root, "tmp", &s->tmp, eb);
	if (err == 0)
		err = open_directory(s, s->root, "corrupt", &s->corrupt, eb);
	for (unsigned i = 0; err == 0 && i < SPOOL_DIRS; i++) {
		snprintf(name, sizeof(name), "%02x", i);
		err = open_directory(s, s->queue, name, &s->dirs[i], eb);
	}
	return err;
}

/* The folders themselves must outlast a crash, or what is synced in them would not. */
static int sync_folders(struct spool *s, struct errbuf *eb)
{
	const int fds[] = { s->root, s->queue, s->state };
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		int err = s->io->sync_directory(s->io->arg, fds[i]);
		if (err < 0)
			return errbuf_set(eb, err, "can't sync the spool's directories: %s",
			    err_text(err));
	}
	return 0;
}

static int open_all(struct spool *s, const char *directory, struct errbuf *eb)
{
	int err = open_directory(s, -1, directory, &s->root, eb);
	if (err == 0)
		err = open_directory(s, s->root, "state", &s->state, eb);
	/* Nothing else is touched before the lock is ours. */
	if (err == 0)
		err = take_lock(s, eb);
	if (err == 0)
		err = open_folders(s, eb);
	if (err == 0)
		err = sync_folders(s, eb);
	if (err < 0)
		return err;
	err = spool_empty_tmp(s);
	if (err < 0)
		return errbuf_set(eb, err, "tmp: can't be emptied: %s", err_text(err));
	err = spool_next_epoch(s, &s->epoch);
	if (err < 0)
		return errbuf_set(eb, err, "state/epoch: %s", err_text(err));
	return 0;
}

static void init(struct spool *s, const struct qio *io)
{
	*s = (struct spool){ .io = io,
		.root = -1,
		.queue = -1,
		.journal = -1,
		.body = -1,
		.tmp = -1,
		.corrupt = -1,
		.state = -1,
		.lock = -1 };
	for (unsigned i = 0; i < SPOOL_DIRS; i++)
		s->dirs[i] = -1;
	list_init(&s->orphans);
	pthread_mutex_init(&s->orphans_lock, NULL);
}

int spool_open(struct spool *s, const char *directory, const struct qio *io, struct errbuf *eb)
{
	init(s, io);
	int err = open_all(s, directory, eb);
	if (err < 0)
		spool_close(s);
	return err;
}

static int look_at_folders(struct spool *s, struct errbuf *eb)
{
	char name[8];
	int err = look_at_directory(s, s->root, "queue", &s->queue, eb);
	if (err == 0)
		err = look_at_directory(s, s->root, "journal", &s->journal, eb);
	if (err == 0)
		err = look_at_directory(s, s->root, "body", &s->body, eb);
	if (err == 0)
		err = look_at_directory(s, s->root, "tmp", &s->tmp, eb);
	if (err == 0)
		err = look_at_directory(s, s->root, "corrupt", &s->corrupt, eb);
	for (unsigned i = 0; err == 0 && s->queue >= 0 && i < SPOOL_DIRS; i++) {
		snprintf(name, sizeof(name), "%02x", i);
		err = look_at_directory(s, s->queue, name, &s->dirs[i], eb);
	}
	return err;
}

static int look_at_all(struct spool *s, const char *directory, struct errbuf *eb)
{
	int err = look_at_directory(s, -1, directory, &s->root, eb);
	if (err == 0 && s->root < 0)
		return errbuf_set(eb, ERR_NOT_FOUND, "there is no such directory");
	if (err == 0)
		err = look_at_directory(s, s->root, "state", &s->state, eb);
	if (err == 0)
		err = look_at_folders(s, eb);
	if (err == 0 && s->queue < 0 && s->journal < 0)
		return errbuf_set(eb, ERR_NOT_FOUND, "there is no spool");
	return err == 0 && s->state >= 0 ? take_lock(s, eb) : err;
}

int spool_open_to_check(struct spool *s, const char *directory, const struct qio *io,
    struct errbuf *eb)
{
	init(s, io);
	int err = look_at_all(s, directory, eb);
	if (err < 0)
		spool_close(s);
	return err;
}

int spool_complete(struct spool *s, struct errbuf *eb)
{
	int err = open_directory(s, s->root, "state", &s->state, eb);
	if (err == 0 && s->lock < 0)
		err = take_lock(s, eb);
	if (err == 0)
		err = open_folders(s, eb);
	return err < 0 ? err : sync_folders(s, eb);
}

static void close_fd(struct spool *s, int *fd)
{
	if (*fd >= 0)
		(void)s->io->close(s->io->arg, *fd); /* directories and the lock: nothing to lose */
	*fd = -1;
}

void spool_close(struct spool *s)
{
	for (unsigned i = 0; i < SPOOL_DIRS; i++)
		close_fd(s, &s->dirs[i]);
	close_fd(s, &s->queue);
	close_fd(s, &s->journal);
	close_fd(s, &s->body);
	close_fd(s, &s->tmp);
	close_fd(s, &s->corrupt);
	close_fd(s, &s->state);
	close_fd(s, &s->root);
	close_fd(s, &s->lock); /* last: until here the spool is ours */
	list_foreach_safe(node, &s->orphans) {
		list_remove(node);
		mem_free(list_entry(node, struct orphan, node));
	}
	pthread_mutex_destroy(&s->orphans_lock);
}

/* --- names ------------------------------------------------------------------ */

/* What domains and address literals are made of; nothing here means anything to a file system or a
 * shell. */
static bool is_plain(struct slice s)
{
	static const char odd[] = ".-_:[]";
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			  (c != '\0' && strchr(odd, c) != NULL);
		if (!ok)
			return false;
	}
	return s.n > 0 && s.n <= SPOOL_DOMAIN_MAX;
}

static bool is_hash_label(struct slice s)
{
	if (s.n != LABEL_HASH_DIGITS + 1 || s.p[0] != '~')
		return false;
	for (size_t i = 1; i < s.n; i++) {
		if ((s.p[i] < '0' || s.p[i] > '9') && (s.p[i] < 'a' || s.p[i] > 'f'))
			return false;
	}
	return true;
}

char *spool_label(struct slice domain, char buf[SPOOL_DOMAIN_MAX + 1])
{
	static const uint64_t fixed_seed[2] = { 0,
		0 }; /* the name must come out the same for ever */
	if (is_plain(domain) || is_hash_label(domain)) {
		memcpy(buf, domain.p, domain.n);
		buf[domain.n] = '\0';
	} else {
		snprintf(buf, SPOOL_DOMAIN_MAX + 1, "~%016" PRIx64, map_hash(fixed_seed, domain));
	}
	return buf;
}

char *spool_name_format(const struct spool_name *n, char buf[SPOOL_NAME_MAX])
{
	char id[QID_TEXT_MAX], label[SPOOL_DOMAIN_MAX + 1];
	int len = snprintf(buf, SPOOL_NAME_MAX, "%" PRId64 ".%u.%c.%s.%s",
	    MAX(n->due_ms, (int64_t)0), n->attempts, n->held ? 'h' : 'q',
	    qid_format_part(n->id, n->part, id), spool_label(n->domain, label));
	CHECK(len > 0);
	CHECK(len < SPOOL_NAME_MAX);
	return buf;
}

/* A number up to the next dot, without leading zeros. */
static bool take_number(struct slice *rest, uint64_t max, uint64_t *v)
{
	ptrdiff_t dot = slice_find(*rest, '.');
	if (dot < 1)
		return false;
	struct slice digits = slice_of(rest->p, (size_t)dot);
	if (!slice_to_u64(digits, v) || *v > max || (digits.p[0] == '0' && digits.n > 1))
		return false;
	*rest = slice_from(*rest, (size_t)dot + 1);
	return true;
}

int spool_name_parse(struct slice text, struct spool_name *n)
{
	struct slice rest = text;
	uint64_t due_ms, attempts;
	if (text.n >= SPOOL_NAME_MAX || !take_number(&rest, INT64_MAX, &due_ms) ||
	    !take_number(&rest, UINT16_MAX, &attempts))
		return ERR_SYNTAX;
	if (rest.n < 2 || (rest.p[0] != 'q' && rest.p[0] != 'h') || rest.p[1] != '.')
		return ERR_SYNTAX;
	n->held = rest.p[0] == 'h';
	rest = slice_from(rest, 2);
	ptrdiff_t dot = slice_find(rest, '.');
	if (dot < 0 || qid_parse(slice_of(rest.p, (size_t)dot), &n->id, &n->part) < 0 ||
	    n->part == 0)
		return ERR_SYNTAX;
	n->domain = slice_from(rest, (size_t)dot + 1);
	if (!is_plain(n->domain) && !is_hash_label(n->domain))
		return ERR_SYNTAX;
	n->due_ms = (int64_t)due_ms;
	n->attempts = (unsigned)attempts;
	return 0;
}

bool spool_name_fits(const struct spool_name *n, const char *queue_id, const char *domain)
{
	char id[QID_TEXT_MAX], label[SPOOL_DOMAIN_MAX + 1], stored[SPOOL_DOMAIN_MAX + 1];
	return strcmp(queue_id, qid_format_part(n->id, n->part, id)) == 0 &&
	       strcmp(spool_label(n->domain, label), spool_label(slice_str(domain), stored)) == 0;
}

/* --- moving files ------------------------------------------------------------- */

static void mark_dirty(struct spool *s, unsigned dir)
{
	CHECK(dir < SPOOL_DIRS);
	atomic_fetch_or(&s->dirty, UINT64_C(1) << dir);
}

unsigned spool_pick_dir(struct spool *s)
{
	return atomic_fetch_add_explicit(&s->next_dir, 1, memory_order_relaxed) % SPOOL_DIRS;
}

int spool_publish(struct spool *s, const char *tmp_name, unsigned dir, const char *name)
{
	mark_dirty(s, dir);
	return s->io->rename(s->io->arg, s->tmp, tmp_name, s->dirs[dir], name);
}

int spool_rename(struct spool *s, unsigned dir, const char *from, const char *to)
{
	if (strcmp(from, to) == 0)
		return 0;
	int err = s->io->rename(s->io->arg, s->dirs[dir], from, s->dirs[dir], to);
	mark_dirty(s, dir);
	return err;
}

int spool_remove(struct spool *s, unsigned dir, const char *name)
{
	int err = s->io->unlink(s->io->arg, s->dirs[dir], name);
	mark_dirty(s, dir);
	return err;
}

int spool_sync(struct spool *s, unsigned dir)
{
	CHECK(dir < SPOOL_DIRS);
	uint64_t bit = UINT64_C(1) << dir;
	atomic_fetch_and(&s->dirty, ~bit);
	atomic_fetch_add_explicit(&s->syncs, 1, memory_order_relaxed);
	int err = s->io->sync_directory(s->io->arg, s->dirs[dir]);
	if (err < 0)
		atomic_fetch_or(&s->dirty, bit);
	return err;
}

bool spool_is_dirty(const struct spool *s)
{
	return atomic_load(&s->dirty) != 0 || atomic_load(&s->corrupt_dirty) ||
	       atomic_load(&s->orphans_left) > 0;
}

static int unlink_in(struct spool *s, unsigned dir, const char *name)
{
	if (dir == SPOOL_TMP)
		return s->io->unlink(s->io->arg, s->tmp, name);
	return spool_remove(s, dir, name);
}

/* The orphans are few and the list is taken whole, so that no unlink happens under the lock. */
void spool_remove_orphans(struct spool *s)
{
	struct list_node mine;
	list_init(&mine);
	pthread_mutex_lock(&s->orphans_lock);
	list_splice(&mine, &s->orphans);
	pthread_mutex_unlock(&s->orphans_lock);
	list_foreach_safe(node, &mine) {
		struct orphan *o = list_entry(node, struct orphan, node);
		int err = unlink_in(s, o->dir, o->name);
		if (err < 0 && err != -ENOENT)
			continue;
		list_remove(node);
		mem_free(o);
		atomic_fetch_sub_explicit(&s->orphans_left, 1, memory_order_relaxed);
	}
	pthread_mutex_lock(&s->orphans_lock);
	list_splice(&s->orphans, &mine);
	pthread_mutex_unlock(&s->orphans_lock);
}

int spool_sync_dirty(struct spool *s)
{
	int first = 0;
	spool_remove_orphans(s);
	uint64_t dirty = atomic_load(&s->dirty);
	for (unsigned dir = 0; dir < SPOOL_DIRS; dir++) {
		int err = (dirty >> dir & 1) != 0 ? spool_sync(s, dir) : 0;
		first = first < 0 ? first : err;
	}
	if (atomic_exchange(&s->corrupt_dirty, false)) {
		int err = s->io->sync_directory(s->io->arg, s->corrupt);
		if (err < 0)
			atomic_store(&s->corrupt_dirty, true);
		first = first < 0 ? first : err;
	}
	return first;
}

void spool_discard(struct spool *s, unsigned dir, const char *name)
{
	int err = unlink_in(s, dir, name);
	if (err == 0 || err == -ENOENT)
		return;
	log_error("queue", "can't remove %s, will try again: %s", name, err_text(err));
	if (atomic_fetch_add_explicit(&s->orphans_left, 1, memory_order_relaxed) >= ORPHANS_MAX) {
		atomic_fetch_sub_explicit(&s->orphans_left, 1, memory_order_relaxed);
		return; /* a disk this broken needs its operator; the next start may deliver it */
	}
	struct orphan *o = mem_zalloc(sizeof(*o));
	o->dir = dir;
	snprintf(o->name, sizeof(o->name), "%s", name);
	pthread_mutex_lock(&s->orphans_lock);
	list_push(&s->orphans, &o->node);
	pthread_mutex_unlock(&s->orphans_lock);
}

/* base, or base.1 ... if that is taken; from .0 on when `numbered`. *to_r is the name it got. */
static int move_to_corrupt(struct spool *s, int from, const char *name, const char *base,
    bool numbered, char to_r[SPOOL_NAME_MAX + 16])
{
	int err = -EEXIST;
	for (unsigned i = 0; err == -EEXIST && i < CORRUPT_SUFFIX_MAX; i++) {
		snprintf(to_r, SPOOL_NAME_MAX + 16, i == 0 && !numbered ? "%s" : "%s.%u", base, i);
		err = s->io->rename(s->io->arg, from, name, s->corrupt, to_r);
	}
	if (err == 0)
		spool_count_corrupt(s);
	return err;
}

static int quarantine(struct spool *s, unsigned dir, const char *name, const char *suffix,
    const char *why)
{
	char base[SPOOL_NAME_MAX + 8], to[SPOOL_NAME_MAX + 16];
	snprintf(base, sizeof(base), "%s%s", name, suffix);
	int err = move_to_corrupt(s, s->dirs[dir], name, base, false, to);
	if (err < 0) {
		log_error("queue",
		    "queue/%02x/%s is damaged (%s) and can't be moved to corrupt/: %s", dir, name,
		    why, err_text(err));
		return err;
	}
	mark_dirty(s, dir);
	log_error("queue", "queue/%02x/%s is damaged: %s; moved to corrupt/%s", dir, name, why, to);
	return 0;
}

int spool_quarantine(struct spool *s, unsigned dir, const char *name, const char *why)
{
	return quarantine(s, dir, name, "", why);
}

int spool_quarantine_twin(struct spool *s, unsigned dir, const char *name)
{
	return quarantine(s, dir, name, ".twin", "another file has the same queue id");
}

int spool_quarantine_segment(struct spool *s, const char *name, const char *why)
{
	char base[32], to[SPOOL_NAME_MAX + 16];
	snprintf(base, sizeof(base), "journal.%s", name);
	int err = move_to_corrupt(s, s->journal, name, base, true, to);
	if (err == 0)
		log_error("queue", "journal/%s: %s; moved to corrupt/%s", name, why, to);
	return err;
}

int spool_restore(struct spool *s, const char *corrupt_name, unsigned dir, const char *name)
{
	mark_dirty(s, dir);
	atomic_store(&s->corrupt_dirty, true);
	return s->io->rename(s->io->arg, s->corrupt, corrupt_name, s->dirs[dir], name);
}

void spool_count_corrupt(struct spool *s)
{
	atomic_store(&s->corrupt_dirty, true);
	atomic_fetch_add_explicit(&s->quarantined, 1, memory_order_relaxed);
}

/* By way of tmp/, so that what is in corrupt/ is whole. */
int spool_save_corrupt(struct spool *s, int fd, uint64_t at, uint64_t n, const char *name,
    const char *why)
{
	int to = s->io->open(s->io->arg, s->tmp, name, QIO_OPEN_CREATE);
	if (to < 0)
		return to;
	int err = s->io->copy(s->io->arg, fd, at, to, 0, n);
	if (err == 0)
		err = s->io->sync(s->io->arg, to);
	int closed = s->io->close(s->io->arg, to);
	if (err == 0)
		err = closed;
	if (err == 0)
		err = s->io->rename(s->io->arg, s->tmp, name, s->corrupt, name);
	bool was_there = err == -EEXIST;
	if (err < 0)
		spool_discard(s, SPOOL_TMP, name);
	if (err == 0)
		err = s->io->sync_directory(s->io->arg, s->corrupt);
	if (was_there || err < 0)
		return was_there ? 0 : err;
	spool_count_corrupt(s);
	log_error("queue", "%s; saved as corrupt/%s", why, name);
	return 0;
}
