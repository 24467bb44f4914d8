#include "io/tls_session.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/tls_private.h"
#include "io/tls_resume.h"

struct tls_session {
	SSL *ssl;
	struct tls_resume resume;
	struct tls_info info;
};

int tls_session_new(const struct tls_session_options *o, struct tls_session **s_r,
    struct errbuf *eb)
{
	int r = 0;
	if (!o->server)
		tls_trust_need(tls_ctx_trust(o->ctx));
	ERR_clear_error();
	SSL *ssl = SSL_new(tls_ctx_handle(o->ctx));
	if (!ssl || !SSL_set_fd(ssl, o->fd))
		r = errbuf_set(eb, ERR_TLS, "%s", tls_error_text("no session"));
	if (r == 0 && !o->server)
		r = tls_verify_prepare(ssl, o->host, tls_ctx_verifies(o->ctx), eb);
	if (r < 0) {
		SSL_free(ssl);
		return r;
	}
	struct tls_session *s = mem_zalloc(sizeof(*s));
	s->ssl = ssl;
	tls_resume_init(&s->resume, o->ctx, o->now, ssl);
	if (o->server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	if (!o->server && o->resume_key)
		tls_resume_offer(&s->resume, ssl, o->host, o->resume_key);
	*s_r = s;
	return 0;
}

void tls_session_free(struct tls_session **sp)
{
	struct tls_session *s = *sp;
	if (!s)
		return;
	*sp = NULL;
	SSL_free(s->ssl);
	tls_resume_fini(&s->resume);
	mem_free(s);
}

/*
 * So that what is in the queue after a call is that call's own. Looked at first: each slot is
 * cleared else, and the queue is hardly ever anything but empty.
 */
static void clear_errors(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
}

void tls_session_goodbye(struct tls_session *s)
{
	clear_errors();
	(void)SSL_shutdown(s->ssl);
	clear_errors();
}

/*
 * What a call that did not succeed means. saved_errno was taken right after it; the error queue
 * was empty before it, so what is there now is its own.
 */
static int judge(struct tls_session *s, int ret, int saved_errno, struct errbuf *eb)
{
	switch (SSL_get_error(s->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return errbuf_set(eb, ERR_CLOSED, "%s", err_text(ERR_CLOSED));
	case SSL_ERROR_SYSCALL:
		if (ERR_peek_error() == 0 && saved_errno == 0)
			return errbuf_set(eb, ERR_CLOSED, "%s", err_text(ERR_CLOSED));
		if (ERR_peek_error() == 0)
			return errbuf_set(eb, -saved_errno, "%s", err_text(-saved_errno));
		return errbuf_set(eb, ERR_TLS, "%s", tls_error_text("TLS failure"));
	default:
		return errbuf_set(eb, ERR_TLS, "%s", tls_error_text("TLS failure"));
	}
}

static void fill_info(struct tls_session *s)
{
	snprintf(s->info.version, sizeof(s->info.version), "%s", SSL_get_version(s->ssl));
	snprintf(s->info.cipher, sizeof(s->info.cipher), "%s", SSL_get_cipher_name(s->ssl));
	tls_resume_fill(&s->resume, s->ssl, &s->info);
}

int tls_session_handshake(struct tls_session *s, struct errbuf *eb)
{
	clear_errors();
	errno = 0;
	int ret = SSL_do_handshake(s->ssl);
	int saved_errno = errno;
	if (ret == 1) {
		fill_info(s);
		return TLS_WANT_NOTHING;
	}
	int r = judge(s, ret, saved_errno, eb);
	const char *complaint = r < 0 ? tls_verify_complaint(s->ssl) : NULL;
	if (complaint && SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE)
		errbuf_set(eb, r, "certificate verify failed: %s", complaint);
	return r;
}

int tls_session_read(struct tls_session *s, void *p, size_t n, size_t *done, struct errbuf *eb)
{
	*done = 0;
	clear_errors();
	errno = 0;
	int ret = SSL_read_ex(s->ssl, p, n, done);
	int saved_errno = errno;
	return ret == 1 ? TLS_WANT_NOTHING : judge(s, ret, saved_errno, eb);
}

int tls_session_write(struct tls_session *s, const void *p, size_t n, size_t *done,
    struct errbuf *eb)
{
	*done = 0;
	DCHECK(n > 0);
	clear_errors();
	errno = 0;
	int ret = SSL_write_ex(s->ssl, p, n, done);
	int saved_errno = errno;
	return ret == 1 ? TLS_WANT_NOTHING : judge(s, ret, saved_errno, eb);
}

bool tls_session_has_pending(const struct tls_session *s)
{
	return SSL_has_pending(s->ssl) == 1;
}

void tls_session_rest(struct tls_session *s)
{
	/* Not amid a record: OpenSSL before 3.0.14 would free what it goes on to read
	 * (CVE-2024-4741). What is still to be written it looks after itself. */
	bool between = strcmp(SSL_rstate_string(s->ssl), "RH") == 0;
	if (between && !tls_session_has_pending(s))
		(void)SSL_free_buffers(s->ssl);
}

const struct tls_info *tls_session_info(const struct tls_session *s)
{
	return &s->info;
}
