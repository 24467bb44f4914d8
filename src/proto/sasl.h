/*
 * sasl.h - SASL exchanges by libgsasl; the only file that knows it is sasl.c.
 *
 * Server: PLAIN and LOGIN hand over the credentials instead of judging them,
 * since checking a hash takes milliseconds and happens on a worker. Client:
 * PLAIN and LOGIN towards a smarthost. Strings are wiped when freed. One
 * exchange belongs to one thread at a time; several threads may have theirs.
 */
#ifndef PROTO_SASL_H
#define PROTO_SASL_H

#include "base/buf.h"
#include "base/err.h"

#define SASL_MESSAGE_MAX    9000 /* decoded; RFC 4954 allows lines of 12288 */
#define SASL_CREDENTIAL_MAX 1024 /* bytes of a user name or password */

struct sasl;

enum sasl_result {
	SASL_NONE = 0,
	SASL_CONTINUE,    /* out holds the next message (may be empty) */
	SASL_CREDENTIALS, /* server: the exchange is complete; ask sasl_user and sasl_password */
	SASL_DONE,        /* client: out holds the last message */
	SASL_FAILED,      /* malformed, or an authorization identity other than the user's */
};

bool sasl_server_has(struct slice mechanism);         /* "PLAIN" "LOGIN", without case */
struct sasl *sasl_server_new(struct slice mechanism); /* NULL if unknown */
/*
 * Best mechanism both sides have from the server's blank-separated list; NULL if none. forced
 * may be "" or NULL; else it is the only one considered.
 */
const char *sasl_client_pick(struct slice offered, const char *forced);
/* NULL if unknown, or if a credential is too long */
struct sasl *sasl_client_new(const char *mechanism, const char *user, const char *password);
void sasl_free(struct sasl **s);

/*
 * One step with raw (already base64-decoded) bytes; appends to out (give it SASL_MESSAGE_MAX).
 *
 * Server: first with has_input false when there is no initial response.
 *
 * Client: first with has_input false. PLAIN: SASL_DONE, out is the initial response. LOGIN, which
 * has none: SASL_CONTINUE and out empty; send the bare AUTH command. Then once for each challenge,
 * with has_input true.
 */
enum sasl_result sasl_step(struct sasl *s, bool has_input, struct slice in, struct buf *out);
const char *sasl_mechanism(const struct sasl *s); /* "PLAIN", upper case; static */
/* After SASL_CREDENTIALS; valid until sasl_free. */
const char *sasl_user(const struct sasl *s);
const char *sasl_password(const struct sasl *s);

#endif
