/*
 * tls_files.h - a certificate and contexts for tests of TLS.
 *
 * tls_files_make opens the scratch directory (scratch_remove ends it) and makes
 * a self-signed pair for mx.example.com in it. Contexts are the caller's;
 * making one must succeed.
 */
#ifndef UNIT_IO_TLS_FILES_H
#define UNIT_IO_TLS_FILES_H

#include "io/tls.h"

extern char tls_files_cert[256];
extern char tls_files_key[256];

void tls_files_make(void);
struct tls_ctx *server_ctx(const char *min_version);
/* ca_file: "" nobody is trusted */
struct tls_ctx *client_ctx(bool verify, const char *ca_file, const char *min_version);

#endif
