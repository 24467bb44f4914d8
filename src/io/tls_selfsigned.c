#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/netaddr.h"
#include "base/prng.h"
#include "base/slice.h"
#include "io/tls.h"
#include "io/tls_private.h"

enum {
	VALID_DAYS = 3650,
	BACKDATE_S = 86400, /* peers whose clock is behind ours accept it too */
	DAY_S = 86400,
	FILE_MODE = 0600,
};

static bool add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

static bool set_name(X509 *cert, const char *name)
{
	char san[300];
	struct netaddr ip;
	bool is_ip = netaddr_parse_ip(slice_str(name), &ip) == 0;
	X509_NAME *subject = X509_get_subject_name(cert);
	snprintf(san, sizeof(san), "%s:%s", is_ip ? "IP" : "DNS", name);
	return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name,
		   -1, -1, 0) &&
	       X509_set_issuer_name(cert, subject) &&
	       add_extension(cert, NID_subject_alt_name, san);
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *name)
{
	uint64_t serial = prng_os_u64() >> 1 | 1; /* positive, RFC 5280 4.1.2.2 */
	return X509_set_version(cert, X509_VERSION_3) &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATE_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), (long)VALID_DAYS * DAY_S) &&
	       X509_set_pubkey(cert, key) && set_name(cert, name) &&
	       add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, NID_ext_key_usage, "serverAuth") &&
	       add_extension(cert, NID_subject_key_identifier, "hash") &&
	       X509_sign(cert, key, EVP_sha256()) > 0;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
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

static int write_file(const char *path, BIO *pem, struct errbuf *eb)
{
	char *text = NULL;
	int r = 0;
	long n = BIO_get_mem_data(pem, &text);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	if (fd < 0)
		return errbuf_set(eb, -errno, "%s: %s", path, err_text(-errno));
	/* An old file keeps its mode at open: narrow it before the key goes in. */
	if (fchmod(fd, FILE_MODE) < 0)
		r = -errno;
	if (r == 0)
		r = write_all(fd, text, (size_t)n);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r < 0 ? errbuf_set(eb, r, "%s: %s", path, err_text(r)) : 0;
}

static int write_pair(X509 *cert, EVP_PKEY *key, const char *certificate_file, const char *key_file,
    struct errbuf *eb)
{
	int r = ERR_TLS;
	BIO *cert_pem = BIO_new(BIO_s_mem());
	BIO *key_pem = BIO_new(BIO_s_secmem());
	if (!cert_pem || !key_pem || !PEM_write_bio_X509(cert_pem, cert) ||
	    !PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL))
		errbuf_set(eb, r, "self-signed certificate: %s", tls_error_text("no PEM"));
	else
		r = write_file(key_file, key_pem, eb);
	if (r == 0)
		r = write_file(certificate_file, cert_pem, eb);
	BIO_free(key_pem);
	BIO_free(cert_pem);
	return r;
}

int tls_make_self_signed(const char *name, const char *certificate_file, const char *key_file,
    struct errbuf *eb)
{
	int r = ERR_TLS;
	ERR_clear_error();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	if (key && cert && fill(cert, key, name))
		r = write_pair(cert, key, certificate_file, key_file, eb);
	else
		errbuf_set(eb, r, "self-signed certificate for \"%s\": %s", name,
		    tls_error_text("can't be made"));
	X509_free(cert);
	EVP_PKEY_free(key);
	return r;
}
