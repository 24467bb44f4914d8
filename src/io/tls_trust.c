/*
 * The certificates that a client's contexts trust: one store for all of them,
 * since reading the system's takes as long as the rest of a start. A file that
 * the config names is read at once, so that what is wrong with it shows; the
 * system's store when the first session comes that may need it.
 */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/tls.h"
#include "io/tls_private.h"

struct tls_trust {
	X509_STORE *store;
	pthread_mutex_t lock; /* held while it is read */
	atomic_bool is_read;
	atomic_uint refs;
};

static int read_file(struct tls_trust *t, const char *ca_file, struct errbuf *eb)
{
	ERR_clear_error();
	if (X509_STORE_load_locations(t->store, ca_file, NULL) != 1)
		return errbuf_set(eb, ERR_TLS, "%s: %s", ca_file,
		    tls_error_text("no certificate in it"));
	atomic_store(&t->is_read, true);
	return 0;
}

int tls_trust_new(const char *ca_file, struct tls_trust **t_r, struct errbuf *eb)
{
	X509_STORE *store = X509_STORE_new();
	if (!store)
		return errbuf_set(eb, ERR_TLS, "TLS: %s", tls_error_text("no store"));
	struct tls_trust *t = mem_zalloc(sizeof(*t));
	t->store = store;
	pthread_mutex_init(&t->lock, NULL);
	atomic_init(&t->refs, 1);
	int err = *ca_file ? read_file(t, ca_file, eb) : 0;
	if (err < 0)
		tls_trust_unref(&t);
	*t_r = t;
	return err;
}

struct tls_trust *tls_trust_ref(struct tls_trust *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void tls_trust_unref(struct tls_trust **tp)
{
	struct tls_trust *t = *tp;
	*tp = NULL;
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	X509_STORE_free(t->store);
	pthread_mutex_destroy(&t->lock);
	mem_free(t);
}

/* Not the default "store": it reads the whole directory at each unknown issuer. What the
 * system does not have is not trusted, that is all. */
static void read_system(struct tls_trust *t)
{
	X509_LOOKUP *file = X509_STORE_add_lookup(t->store, X509_LOOKUP_file());
	X509_LOOKUP *dir = X509_STORE_add_lookup(t->store, X509_LOOKUP_hash_dir());
	ERR_clear_error();
	if (!file || X509_LOOKUP_load_file(file, NULL, X509_FILETYPE_DEFAULT) != 1)
		log_info("tls", "the system's file of trusted certificates: %s",
		    tls_error_text("none in it"));
	if (!dir || X509_LOOKUP_add_dir(dir, NULL, X509_FILETYPE_DEFAULT) != 1)
		log_info("tls", "the system's directory of trusted certificates is not known");
	ERR_clear_error();
}

void tls_trust_need(struct tls_trust *t)
{
	if (atomic_load_explicit(&t->is_read, memory_order_acquire))
		return;
	pthread_mutex_lock(&t->lock);
	if (!atomic_load_explicit(&t->is_read, memory_order_relaxed)) {
		read_system(t);
		atomic_store_explicit(&t->is_read, true, memory_order_release);
	}
	pthread_mutex_unlock(&t->lock);
}

void *tls_trust_store(const struct tls_trust *t)
{
	return t->store;
}
