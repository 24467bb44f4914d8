#include "unit/io/tls_files.h"

#include "lib/unit.h"
#include "unit/io/pump.h"

char tls_files_cert[256];
char tls_files_key[256];

void tls_files_make(void)
{
	struct errbuf eb;
	scratch_make();
	scratch_path("cert.pem", tls_files_cert);
	scratch_path("key.pem", tls_files_key);
	ck_assert_msg(tls_make_self_signed("mx.example.com", tls_files_cert, tls_files_key, &eb) ==
			  0,
	    "%s", eb.text);
}

struct tls_ctx *server_ctx(const char *min_version)
{
	struct errbuf eb;
	struct tls_ctx *ctx = NULL;
	struct tls_server_options o = { .certificate = tls_files_cert,
		.key = tls_files_key,
		.min_version = min_version,
		.ciphers = "" };
	ck_assert_msg(tls_server_new(&o, &ctx, &eb) == 0, "%s", eb.text);
	return ctx;
}

struct tls_ctx *client_ctx(bool verify, const char *ca_file, const char *min_version)
{
	struct errbuf eb;
	struct tls_ctx *ctx = NULL;
	struct tls_client_options o = { .min_version = min_version,
		.ciphers = "",
		.verify = verify };
	ck_assert_msg(tls_trust_new(ca_file, &o.trust, &eb) == 0, "%s", eb.text);
	ck_assert_msg(tls_client_new(&o, &ctx, &eb) == 0, "%s", eb.text);
	tls_trust_unref(&o.trust);
	return ctx;
}
