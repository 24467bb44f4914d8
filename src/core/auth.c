#include "core/auth.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/password.h"

#define AUTH_FILE_BYTES_MAX (16 * 1024 * 1024)
#define AUTH_LINE_MAX       1024
#define AUTH_CACHE_MS       60000
#define AUTH_CACHE_MAX      10000
#define AUTH_PENDING_MAX    2000 /* checks under way; more are told to come back */

struct cached {
	uint64_t proof;   /* keyed hash of login and password */
	int64_t until_ms; /* mono */
};

struct auth {
	struct mta *mta;
	struct map users; /* login -> hash (heap string) */
	struct map cache; /* login -> struct cached */
	uint64_t key[2];
	struct timespec file_mtime;
	off_t file_size;
	ino_t file_ino;
	int64_t stat_at_ms; /* mono: when the file is looked at next */
	bool loaded;
	bool unreadable;
	char dummy[PASSWORD_HASH_MAX]; /* of no password: an unknown login costs the time of
					  a known one */
};

struct auth_check {
	struct worker_job job;
	struct auth *auth;
	char *user, *password, *hash;
	bool known;
	enum auth_result result;
	auth_done_fn *fn; /* NULL: cancelled */
	void *arg;
	atomic_bool cancelled; /* the same for the worker: nobody waits, so no hash is made */
};

static void map_clear(struct map *m, uint64_t seed)
{
	size_t cursor = 0;
	struct slice key;
	void *value;

	while (map_next(m, &cursor, &key, &value))
		mem_free(value);
	map_fini(m);
	map_init(m, seed);
}

struct auth *auth_new(struct mta *m)
{
	struct auth *a = mem_zalloc(sizeof(*a));
	a->mta = m;
	prng_os_bytes(a->key, sizeof(a->key));
	if (password_nobody(a->dummy) < 0)
		log_error("auth", "this system can't make yescrypt hashes");
	map_init(&a->users, a->key[0]);
	map_init(&a->cache, a->key[0]);
	return a;
}

void auth_free(struct auth **a)
{
	if (!*a)
		return;
	map_clear(&(*a)->users, 0);
	map_clear(&(*a)->cache, 0);
	map_fini(&(*a)->users);
	map_fini(&(*a)->cache);
	mem_wipe((*a)->key, sizeof((*a)->key));
	mem_free(*a);
	*a = NULL;
}

static void add_line(struct auth *a, struct slice line)
{
	line = slice_trim(line);
	ptrdiff_t colon = slice_find(line, ':');

	if (line.n == 0 || line.p[0] == '#' || colon <= 0)
		return;
	struct slice hash = slice_from(line, (size_t)colon + 1);
	mem_free(map_put(&a->users, slice_of(line.p, (size_t)colon), slice_dup(hash)));
}

static void read_file(struct auth *a, FILE *f)
{
	char line[AUTH_LINE_MAX];

	map_clear(&a->users, a->key[0]);
	map_clear(&a->cache, a->key[0]);
	while (fgets(line, sizeof(line), f))
		add_line(a, slice_str(line));
	mem_wipe(line, sizeof(line));
}

static void load_if_changed(struct auth *a, struct now now)
{
	const char *path = a->mta->conf->submission.users_file;
	struct stat st;

	if (a->loaded && now.mono_ms < a->stat_at_ms)
		return;
	a->stat_at_ms = now.mono_ms + 1000;
	FILE *f = fopen(path, "re");
	if (!f || fstat(fileno(f), &st) < 0 || st.st_size > AUTH_FILE_BYTES_MAX) {
		if (!a->unreadable)
			log_error("auth", "users file %s: %s", path,
			    f ? "too large" : err_text(-errno));
		a->unreadable = true;
		a->loaded = false;
	} else if (!a->loaded || st.st_mtim.tv_sec != a->file_mtime.tv_sec ||
		   st.st_mtim.tv_nsec != a->file_mtime.tv_nsec || st.st_size != a->file_size ||
		   st.st_ino != a->file_ino) {
		read_file(a, f);
		a->file_mtime = st.st_mtim;
		a->file_size = st.st_size;
		a->file_ino = st.st_ino;
		a->loaded = true;
		a->unreadable = false;
	}
	if (f)
		fclose(f);
}

static uint64_t proof_of(const struct auth *a, const char *user, const char *password)
{
	char *both = mem_printf("%s\n%s", user, password);
	size_t n = strlen(both);
	uint64_t proof = map_hash(a->key, slice_of(both, n));
	mem_wipe(both, n);
	mem_free(both);
	return proof;
}

static bool is_cached(struct auth *a, const struct auth_check *c, struct now now)
{
	struct cached *hit = map_find(&a->cache, slice_str(c->user));
	return hit && hit->until_ms > now.mono_ms &&
	       hit->proof == proof_of(a, c->user, c->password);
}

static void remember(struct auth *a, const struct auth_check *c, struct now now)
{
	if (map_count(&a->cache) >= AUTH_CACHE_MAX)
		map_clear(&a->cache, a->key[0]);
	struct cached *entry = mem_zalloc(sizeof(*entry));
	entry->proof = proof_of(a, c->user, c->password);
	entry->until_ms = now.mono_ms + AUTH_CACHE_MS;
	mem_free(map_put(&a->cache, slice_str(c->user), entry));
}

static void wipe_free(char *s)
{
	if (s)
		mem_wipe(s, strlen(s));
	mem_free(s);
}

static void check_run(struct worker_job *job)
{
	struct auth_check *c = container_of(job, struct auth_check, job);

	if (c->result != AUTH_NONE)
		return; /* decided without a hash: cached, or no users file */
	if (atomic_load_explicit(&c->cancelled, memory_order_relaxed)) {
		c->result = AUTH_ERROR;
		return;
	}
	bool fits = password_verify(c->password, c->hash);
	c->result = fits && c->known ? AUTH_OK : AUTH_BAD;
}

static void check_done(struct worker_job *job)
{
	struct auth_check *c = container_of(job, struct auth_check, job);
	struct auth *a = c->auth;

	/* Only what the file still says: the hash may have changed while the job ran. */
	if (c->result == AUTH_OK && a->loaded) {
		const char *hash = map_find(&a->users, slice_str(c->user));
		if (hash && strcmp(hash, c->hash) == 0)
			remember(a, c, loop_now(a->mta->loop));
	}
	if (c->fn)
		c->fn(c->arg, c->result);
	wipe_free(c->password);
	mem_free(c->user);
	mem_free(c->hash);
	mem_free(c);
}

struct auth_check *auth_check(struct auth *a, const char *user, const char *password,
    auth_done_fn *fn, void *arg)
{
	struct now now = loop_now(a->mta->loop);
	struct auth_check *c = mem_zalloc(sizeof(*c));

	load_if_changed(a, now);
	c->auth = a;
	c->user = mem_strdup(user);
	c->password = mem_strdup(password);
	c->fn = fn;
	c->arg = arg;
	c->job.run = check_run;
	c->job.done = check_done;
	const char *hash = a->loaded ? map_find(&a->users, slice_str(user)) : NULL;
	c->known = hash != NULL;
	c->hash = mem_strdup(hash ? hash : a->dummy);
	if (!a->loaded || worker_pending(a->mta->cpu_pool) >= AUTH_PENDING_MAX)
		c->result = AUTH_ERROR;
	else if (c->known && is_cached(a, c, now))
		c->result = AUTH_OK;
	worker_submit(a->mta->cpu_pool, &c->job);
	return c;
}

void auth_cancel(struct auth_check *c)
{
	c->fn = NULL;
	atomic_store_explicit(&c->cancelled, true, memory_order_relaxed);
}
