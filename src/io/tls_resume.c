#include "io/tls_resume.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/slice.h"
#include "io/tls_cache.h"
#include "io/tls_private.h"
#include "io/tls_ring.h"

enum {
	DAY_S = 86400,
	PROOF_S = DAY_S,
	/* A TLS 1.2 server that names no lifetime leaves it to us (RFC 5077 3.3). */
	UNNAMED_LIFETIME_S = 2 * 3600,
	/* Beyond the twelve hours that its key is accepted a ticket would be worth nothing. */
	TICKET_LIFETIME_S = TLS_RING_ACCEPTS_MS / 1000,
	/* A host with more certificates or bigger tickets is not worth the memory. */
	SESSION_BYTES_MAX = 8192,
	CHAIN_BYTES_MAX = 8192,
	CHAIN_MAX = 5, /* each takes five times its length and more */
};

/* --- the client: what is kept ---------------------------------------------------------- */

/* When the first certificate of the chain that was verified ends, mono ms. */
static int64_t chain_end(SSL *ssl, struct now now, int64_t end)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)(now.wall_ms / 1000));
	for (int i = 0; from && i < sk_X509_num(chain); i++) {
		int days = 0;
		int seconds = 0;
		const ASN1_TIME *to = X509_get0_notAfter(sk_X509_value(chain, i));
		if (!ASN1_TIME_diff(&days, &seconds, from, to))
			days = seconds = 0;
		int64_t left_s = (int64_t)days * DAY_S + seconds;
		end = MIN(end, now.mono_ms + left_s * 1000);
	}
	ASN1_TIME_free(from);
	return from ? end : now.mono_ms;
}

/* Once ssl knows whether it was resumed: then its session brought the proof with it. */
static void note_proof(struct tls_resume *r, SSL *ssl)
{
	if (r->proof_known)
		return;
	r->proof_known = true;
	if (SSL_session_reused(ssl))
		return;
	r->verified = tls_verify_is_good(ssl);
	r->proof_until = r->now.mono_ms + (int64_t)PROOF_S * 1000;
	if (r->verified)
		r->proof_until = chain_end(ssl, r->now, r->proof_until);
}

static bool is_small(SSL *ssl, SSL_SESSION *session)
{
	int64_t total = 0;
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
	int n = i2d_SSL_SESSION(session, NULL);
	if (n <= 0 || n > SESSION_BYTES_MAX || sk_X509_num(chain) > CHAIN_MAX)
		return false;
	for (int i = 0; i < sk_X509_num(chain); i++)
		total += i2d_X509(sk_X509_value(chain, i), NULL);
	return total <= CHAIN_BYTES_MAX;
}

static int64_t lifetime_s(const SSL_SESSION *session)
{
	int64_t s = (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session);
	/* In TLS 1.3 zero says: not at all (RFC 8446 4.6.1). */
	if (s == 0 && SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION)
		s = UNNAMED_LIFETIME_S;
	return s;
}

static void drop_offered(struct tls_resume *r)
{
	SSL_SESSION_free(r->offered.session);
	r->offered.session = NULL;
}

/*
 * At the end of the handshake (TLS 1.2) or as the tickets come behind it. What is kept is a copy:
 * OpenSSL marks its own as not resumable when the connection ends without a goodbye, and may do so
 * in another thread than the one that offers it.
 */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_resume *r = SSL_get_app_data(ssl);
	if (!r->key)
		return 0;
	note_proof(r, ssl);
	if (tls_ctx_verifies(r->ctx) && !r->verified)
		return 0;
	drop_offered(r);
	int64_t until = MIN(r->now.mono_ms + lifetime_s(session) * 1000, r->proof_until);
	if (until <= r->now.mono_ms || !SSL_SESSION_is_resumable(session) ||
	    !is_small(ssl, session))
		return 0;
	struct tls_kept kept = { .session = SSL_SESSION_dup(session),
		.verified = r->verified,
		.proof_until = r->proof_until,
		.until = until };
	if (kept.session)
		tls_cache_put(tls_ctx_cache(r->ctx), slice_str(r->key), &kept);
	ERR_clear_error();
	return 0;
}

void tls_resume_prepare_client(void *handle)
{
	SSL_CTX_set_session_cache_mode(handle,
	    SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR);
	SSL_CTX_sess_set_new_cb(handle, on_new_session);
}

/* --- the client: what is offered --------------------------------------------------------- */

void tls_resume_offer(struct tls_resume *r, void *ssl, const char *host, const char *resume_key)
{
	SSL_SESSION *copy;
	/* The name is part of the key whatever the owner thinks of: it was checked, and is sent. */
	r->key = mem_printf("%s %s", host ? host : "", resume_key);
	if (!tls_cache_take(tls_ctx_cache(r->ctx), slice_str(r->key), r->now.mono_ms, &r->offered))
		return;
	CHECK(r->offered.verified || !tls_ctx_verifies(r->ctx));
	r->verified = r->offered.verified;
	r->proof_until = r->offered.proof_until;
	copy = SSL_SESSION_dup(r->offered.session);
	if (copy)
		(void)SSL_set_session(ssl, copy);
	SSL_SESSION_free(copy);
	ERR_clear_error();
	if (SSL_SESSION_get_protocol_version(r->offered.session) < TLS1_3_VERSION)
		drop_offered(r); /* the cache has it still */
}

/* --- the server: tickets ------------------------------------------------------------------ */

static bool start_sealing(const struct tls_ring_key *key, unsigned char *name, unsigned char *iv,
    EVP_CIPHER_CTX *cipher)
{
	const EVP_CIPHER *aes = EVP_aes_256_cbc();
	memcpy(name, key->name, TLS_RING_NAME_BYTES);
	return RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) == 1 &&
	       EVP_EncryptInit_ex(cipher, aes, NULL, key->cipher, iv) == 1;
}

static bool start_mac(const struct tls_ring_key *key, EVP_MAC_CTX *mac)
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	return EVP_MAC_init(mac, key->mac, sizeof(key->mac), params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb: 1 go on, 2 go on and renew, 0 no such key, -1 error. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int sealing)
{
	const struct tls_resume *r = SSL_get_app_data(ssl);
	struct tls_ring *ring = tls_ctx_ring(r->ctx);
	struct tls_ring_key key;
	bool ok;
	if (sealing) {
		if (!tls_ring_seal(ring, r->now.mono_ms, &key))
			return -1;
		ok = start_sealing(&key, name, iv, cipher);
	} else {
		if (!tls_ring_open(ring, name, r->now.mono_ms, &key))
			return 0;
		ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1;
	}
	/* In TLS 1.3 a ticket is used once: who came with one goes with another. */
	bool renew = SSL_version(ssl) >= TLS1_3_VERSION || tls_ring_is_old(&key, r->now.mono_ms);
	if (ok)
		ok = start_mac(&key, mac);
	mem_wipe(&key, sizeof(key));
	if (!ok)
		return -1;
	return !sealing && renew ? 2 : 1;
}

void tls_resume_prepare_server(void *handle)
{
	/* Tickets need no cache here; the cache would be a lock between the shards. */
	SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(handle, on_ticket);
	SSL_CTX_set_timeout(handle, TICKET_LIFETIME_S);
	/* A client that wants two sessions makes two connections. */
	SSL_CTX_set_num_tickets(handle, 1);
}

/* --- both --------------------------------------------------------------------------------- */

void tls_resume_init(struct tls_resume *r, struct tls_ctx *ctx, struct now now, void *ssl)
{
	*r = (struct tls_resume){ .ctx = tls_ref(ctx), .now = now };
	SSL_set_app_data(ssl, r);
}

void tls_resume_fill(struct tls_resume *r, void *ssl, struct tls_info *info)
{
	note_proof(r, ssl);
	r->done = true;
	info->resumed = SSL_session_reused(ssl) == 1;
	if (!info->resumed)
		drop_offered(r);
	info->verified = r->verified;
}

void tls_resume_fini(struct tls_resume *r)
{
	/* The host, its keys or what lies between may have changed: no more of the old. */
	if (r->key && !r->done)
		tls_cache_forget(tls_ctx_cache(r->ctx), slice_str(r->key));
	if (r->offered.session && r->done)
		tls_cache_give_back(tls_ctx_cache(r->ctx), slice_str(r->key), &r->offered);
	else
		SSL_SESSION_free(r->offered.session);
	mem_free(r->key);
	tls_unref(&r->ctx);
}
