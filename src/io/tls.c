#include "io/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <string.h>

#include "base/defs.h"
#include "base/mem.h"
#include "io/tls_cache.h"
#include "io/tls_private.h"
#include "io/tls_resume.h"
#include "io/tls_ring.h"

struct tls_ctx {
	SSL_CTX *handle;
	bool verifies;
	struct tls_trust *trust; /* client */
	struct tls_cache *cache; /* client: of this context alone, so a new config starts afresh */
	struct tls_ring *ring;   /* server: likewise */
	atomic_uint refs;
};

const char *tls_error_text(const char *fallback)
{
	const char *text = NULL;
	unsigned long e = ERR_get_error();
	if (e)
		text = ERR_reason_error_string(e);
	/* Errors of the system library have no reason string. */
	if (e && !text && ERR_SYSTEM_ERROR(e))
		text = err_text(-ERR_GET_REASON(e));
	ERR_clear_error();
	return text ? text : fallback;
}

static int parse_version(const char *name, int *version)
{
	static const struct {
		const char *name;
		int version;
	} known[] = {
		{ "TLSv1", TLS1_VERSION },
		{ "TLSv1.1", TLS1_1_VERSION },
		{ "TLSv1.2", TLS1_2_VERSION },
		{ "TLSv1.3", TLS1_3_VERSION },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(known[i].name, name) == 0) {
			*version = known[i].version;
			return 0;
		}
	}
	return ERR_SYNTAX;
}

/* What both sides share. */
static void set_modes(SSL_CTX *c)
{
	/* Not SSL_MODE_RELEASE_BUFFERS, which gets and frees 17 KB with each read and each write:
	 * tls_session_rest gives them back. */
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Halves the read calls; readers go on until WANT_READ. */
	SSL_CTX_set_read_ahead(c, 1);
	/*
	 * Much of the mail world closes without close_notify. SMTP has its own end marks, so an
	 * end of file is just that; it never ends a message.
	 */
	SSL_CTX_set_options(c,
	    SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

static int set_version(SSL_CTX *c, const char *name, int *version, struct errbuf *eb)
{
	int r = parse_version(name, version);
	if (r < 0)
		return errbuf_set(eb, r, "TLS version \"%s\" is not known", name);
	if (!SSL_CTX_set_min_proto_version(c, *version))
		return errbuf_set(eb, ERR_TLS, "TLS version \"%s\": %s", name,
		    tls_error_text("not supported"));
	return 0;
}

static int set_ciphers(SSL_CTX *c, const char *ciphers, struct errbuf *eb)
{
	if (!*ciphers)
		return 0;
	if (!SSL_CTX_set_cipher_list(c, ciphers))
		return errbuf_set(eb, ERR_TLS, "TLS ciphers \"%s\": %s", ciphers,
		    tls_error_text("not usable"));
	return 0;
}

static struct tls_ctx *wrap(SSL_CTX *c, bool verifies)
{
	struct tls_ctx *ctx = mem_zalloc(sizeof(*ctx));
	ctx->handle = c;
	ctx->verifies = verifies;
	atomic_init(&ctx->refs, 1);
	return ctx;
}

/* A key with a passphrase is an error: a daemon has nobody to ask. */
static int no_passphrase(char *p UNUSED, int n UNUSED, int writing UNUSED, void *arg UNUSED)
{
	return -1;
}

static int load_pair(SSL_CTX *c, const struct tls_server_options *o, struct errbuf *eb)
{
	SSL_CTX_set_default_passwd_cb(c, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(c, o->certificate) != 1)
		return errbuf_set(eb, ERR_TLS, "%s: %s", o->certificate,
		    tls_error_text("no certificate in it"));
	if (SSL_CTX_use_PrivateKey_file(c, o->key, SSL_FILETYPE_PEM) != 1)
		return errbuf_set(eb, ERR_TLS, "%s: %s", o->key, tls_error_text("no key in it"));
	if (SSL_CTX_check_private_key(c) != 1)
		return errbuf_set(eb, ERR_TLS, "%s: not the key of %s: %s", o->key, o->certificate,
		    tls_error_text("they differ"));
	return 0;
}

int tls_server_new(const struct tls_server_options *o, struct tls_ctx **ctx_r, struct errbuf *eb)
{
	int version = 0;
	ERR_clear_error();
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());
	if (!c)
		return errbuf_set(eb, ERR_TLS, "TLS: %s", tls_error_text("no context"));
	set_modes(c);
	SSL_CTX_set_options(c, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_dh_auto(c, 1);
	int r = set_version(c, o->min_version, &version, eb);
	/* TLS 1.0 and 1.1 sign with SHA-1, which the usual level refuses: who asks for them gets
	 * it. */
	if (r == 0 && version < TLS1_2_VERSION)
		SSL_CTX_set_security_level(c, 0);
	if (r == 0)
		r = set_ciphers(c, o->ciphers, eb);
	if (r == 0)
		r = load_pair(c, o, eb);
	if (r < 0) {
		SSL_CTX_free(c);
		return r;
	}
	tls_resume_prepare_server(c);
	*ctx_r = wrap(c, false);
	(*ctx_r)->ring = tls_ring_new();
	return 0;
}

int tls_client_new(const struct tls_client_options *o, struct tls_ctx **ctx_r, struct errbuf *eb)
{
	int version = 0;
	ERR_clear_error();
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	if (!c)
		return errbuf_set(eb, ERR_TLS, "TLS: %s", tls_error_text("no context"));
	set_modes(c);
	SSL_CTX_set_verify(c, o->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	/*
	 * Opportunistic: anything is better than clear text, so old key sizes, signatures and
	 * servers without RFC 5746 are taken.
	 */
	if (!o->verify) {
		SSL_CTX_set_security_level(c, 0);
		SSL_CTX_set_options(c, SSL_OP_LEGACY_SERVER_CONNECT);
	}
	int r = set_version(c, o->min_version, &version, eb);
	if (r == 0)
		r = set_ciphers(c, *o->ciphers || o->verify ? o->ciphers : "DEFAULT:@SECLEVEL=0",
		    eb);
	if (r < 0) {
		SSL_CTX_free(c);
		return r;
	}
	SSL_CTX_set1_cert_store(c, tls_trust_store(o->trust));
	tls_resume_prepare_client(c);
	*ctx_r = wrap(c, o->verify);
	(*ctx_r)->trust = tls_trust_ref(o->trust);
	(*ctx_r)->cache = tls_cache_new(TLS_CACHE_KEYS_MAX);
	return 0;
}

struct tls_ctx *tls_ref(struct tls_ctx *ctx)
{
	if (ctx)
		atomic_fetch_add(&ctx->refs, 1);
	return ctx;
}

void tls_unref(struct tls_ctx **ctxp)
{
	struct tls_ctx *ctx = *ctxp;
	*ctxp = NULL;
	if (!ctx || atomic_fetch_sub(&ctx->refs, 1) > 1)
		return;
	SSL_CTX_free(ctx->handle);
	tls_trust_unref(&ctx->trust);
	tls_cache_free(&ctx->cache);
	tls_ring_free(&ctx->ring);
	mem_free(ctx);
}

void *tls_ctx_handle(const struct tls_ctx *ctx)
{
	return ctx->handle;
}

bool tls_ctx_verifies(const struct tls_ctx *ctx)
{
	return ctx->verifies;
}

struct tls_cache *tls_ctx_cache(const struct tls_ctx *ctx)
{
	return ctx->cache;
}

struct tls_ring *tls_ctx_ring(const struct tls_ctx *ctx)
{
	return ctx->ring;
}

struct tls_trust *tls_ctx_trust(const struct tls_ctx *ctx)
{
	return ctx->trust;
}
