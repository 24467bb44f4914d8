#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/netaddr.h"
#include "base/slice.h"
#include "io/tls_private.h"

enum {
	HOST_MAX = 255, /* octets of a domain name, RFC 1035 2.3.4 */
};

/* SNI carries names only, no address and no trailing dot (RFC 6066 3). */
static int set_name(SSL *ssl, const char *host, struct errbuf *eb)
{
	char name[HOST_MAX + 1];
	struct netaddr ip;
	struct slice text = slice_str(host);
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	if (netaddr_parse_ip(text, &ip) == 0) {
		char ip_text[NETADDR_TEXT_MAX];
		if (!X509_VERIFY_PARAM_set1_ip_asc(param, netaddr_format_ip(&ip, ip_text)))
			return errbuf_set(eb, ERR_TLS, "the address can't be checked");
		return 0;
	}
	if (text.n > 1 && text.p[text.n - 1] == '.')
		text.n--;
	if (text.n > HOST_MAX)
		return errbuf_set(eb, ERR_TLS, "the host's name is too long");
	snprintf(name, sizeof(name), "%.*s", SLICE_ARG(text));
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (!X509_VERIFY_PARAM_set1_host(param, name, text.n) ||
	    !SSL_set_tlsext_host_name(ssl, name))
		return errbuf_set(eb, ERR_TLS, "the host's name can't be checked");
	return 0;
}

int tls_verify_prepare(void *ssl, const char *host, bool insist, struct errbuf *eb)
{
	if (host && *host)
		return set_name(ssl, host, eb);
	/* Without a name any certificate of any host would do. */
	if (insist)
		return errbuf_set(eb, ERR_TLS, "no name to verify the certificate for");
	return 0;
}

bool tls_verify_is_good(void *ssl)
{
	/*
	 * The result is X509_V_OK too when there was nothing to verify: no certificate, or
	 * no name to hold it against.
	 */
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	bool named = X509_VERIFY_PARAM_get0_host(param, 0) != NULL;
	if (!named) {
		char *ip = X509_VERIFY_PARAM_get1_ip_asc(param);
		named = ip != NULL;
		OPENSSL_free(ip);
	}
	return named && SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK;
}

const char *tls_verify_complaint(void *ssl)
{
	long result = SSL_get_verify_result(ssl);
	return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}
