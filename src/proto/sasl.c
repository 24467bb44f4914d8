#include "proto/sasl.h"

#include <gsasl.h>
#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct sasl {
	Gsasl_session *session;
	const char *mechanism;
	bool is_client;
	unsigned steps; /* taken so far */
	char *user;     /* set by the callback (server) */
	char *password;
	bool refused; /* the callback saw credentials we don't take */
};

static const char *const MECHANISMS[] = { "PLAIN", "LOGIN" }; /* best first */

/* One for the process: libgsasl keeps nothing in it but tables and the callback. */
static Gsasl *library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static bool is_credential(const char *s)
{
	return s && strnlen(s, SASL_CREDENTIAL_MAX + 1) <= SASL_CREDENTIAL_MAX;
}

/* Server: the library asks whether the credentials are right; they are kept for the caller. */
static int on_property(Gsasl *ctx, Gsasl_session *session, Gsasl_property property)
{
	(void)ctx;
	struct sasl *s = gsasl_session_hook_get(session);
	if (property != GSASL_VALIDATE_SIMPLE || !s || s->is_client)
		return GSASL_NO_CALLBACK;
	const char *user = gsasl_property_fast(session, GSASL_AUTHID);
	const char *password = gsasl_property_fast(session, GSASL_PASSWORD);
	const char *authzid = gsasl_property_fast(session, GSASL_AUTHZID);
	bool own = !authzid || !*authzid || (user && strcmp(authzid, user) == 0);
	if (!is_credential(user) || !*user || !is_credential(password) || !own || s->user) {
		s->refused = true;
		return GSASL_AUTHENTICATION_ERROR;
	}
	s->user = mem_strdup(user);
	s->password = mem_strdup(password);
	return GSASL_OK;
}

static void make_library(void)
{
	int rc = gsasl_init(&library);
	CHECK(rc == GSASL_OK);
	gsasl_callback_set(library, on_property);
}

static const char *find_mechanism(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(MECHANISMS); i++)
		if (slice_eq_nocase(name, slice_str(MECHANISMS[i])))
			return MECHANISMS[i];
	return NULL;
}

bool sasl_server_has(struct slice mechanism)
{
	return find_mechanism(mechanism) != NULL;
}

static struct sasl *sasl_new(const char *mechanism, bool is_client)
{
	pthread_once(&library_once, make_library);
	struct sasl *s = mem_zalloc(sizeof(*s));
	s->mechanism = mechanism;
	s->is_client = is_client;
	int rc = is_client ? gsasl_client_start(library, mechanism, &s->session)
			   : gsasl_server_start(library, mechanism, &s->session);
	CHECK(rc == GSASL_OK);
	gsasl_session_hook_set(s->session, s);
	return s;
}

struct sasl *sasl_server_new(struct slice mechanism)
{
	const char *name = find_mechanism(mechanism);
	return name ? sasl_new(name, false) : NULL;
}

static bool list_has(struct slice list, const char *name)
{
	struct slice word;
	while (slice_split(&list, ' ', &word))
		if (slice_eq_nocase(word, slice_str(name)))
			return true;
	return false;
}

const char *sasl_client_pick(struct slice offered, const char *forced)
{
	for (size_t i = 0; i < ARRAY_LEN(MECHANISMS); i++) {
		struct slice name = slice_str(MECHANISMS[i]);
		if (forced && *forced && !slice_eq_nocase(name, slice_str(forced)))
			continue;
		if (list_has(offered, MECHANISMS[i]))
			return MECHANISMS[i];
	}
	return NULL;
}

struct sasl *sasl_client_new(const char *mechanism, const char *user, const char *password)
{
	const char *name = find_mechanism(slice_str(mechanism));
	if (!name || !is_credential(user) || !is_credential(password))
		return NULL;
	struct sasl *s = sasl_new(name, true);
	int rc = gsasl_property_set(s->session, GSASL_AUTHID, user);
	if (rc == GSASL_OK)
		rc = gsasl_property_set(s->session, GSASL_PASSWORD, password);
	CHECK(rc == GSASL_OK);
	return s;
}

static void wipe_string(char **s)
{
	if (*s)
		mem_wipe(*s, strlen(*s));
	mem_free(*s);
	*s = NULL;
}

/* The library frees its copy without wiping; ours to reach, though declared const. */
static void wipe_property(Gsasl_session *session)
{
	const char *kept = gsasl_property_fast(session, GSASL_PASSWORD);
	if (kept)
		mem_wipe((void *)(uintptr_t)kept, strlen(kept));
}

void sasl_free(struct sasl **s)
{
	if (!*s)
		return;
	wipe_property((*s)->session);
	gsasl_finish((*s)->session);
	wipe_string(&(*s)->user);
	wipe_string(&(*s)->password);
	mem_free(*s);
	*s = NULL;
}

/* One step of the library; what it has to say goes to out. */
static int library_step(struct sasl *s, struct slice in, struct buf *out)
{
	char *message = NULL;
	size_t n = 0;
	int rc = gsasl_step(s->session, in.p, in.n, &message, &n);
	if (message && (rc == GSASL_OK || rc == GSASL_NEEDS_MORE) && buf_add(out, message, n))
		rc = GSASL_AUTHENTICATION_ERROR;
	if (message) {
		mem_wipe(message, n);
		gsasl_free(message);
	}
	return rc;
}

/*
 * LOGIN has no specification but what clients expect: these two prompts (the
 * library says "User Name", which some don't know), and that a user name given
 * as initial response is taken as the answer to the first.
 */
static int login_server_step(struct sasl *s, bool has_input, struct slice in, struct buf *out)
{
	size_t len_before = buf_len(out);
	int rc = GSASL_NEEDS_MORE;
	if (s->steps == 0) {
		rc = library_step(s, SLICE_NONE, out);
		s->steps++;
	} else {
		has_input = true;
	}
	if (has_input && rc == GSASL_NEEDS_MORE) {
		buf_truncate(out, len_before);
		rc = library_step(s, in, out);
		s->steps++;
	}
	if (rc == GSASL_NEEDS_MORE) {
		buf_truncate(out, len_before);
		if (buf_add_str(out, s->steps == 1 ? "Username:" : "Password:"))
			rc = GSASL_AUTHENTICATION_ERROR;
	}
	return rc;
}

enum sasl_result sasl_step(struct sasl *s, bool has_input, struct slice in, struct buf *out)
{
	/* A NUL in the answers of LOGIN would cut the user name or password short. */
	bool is_login = s->mechanism == MECHANISMS[1];
	if (in.n > SASL_MESSAGE_MAX || (is_login && !s->is_client && slice_find(in, '\0') >= 0))
		return SASL_FAILED;
	if (is_login && s->is_client && s->steps++ == 0 && !has_input)
		return SASL_CONTINUE;
	int rc;
	if (is_login && !s->is_client)
		rc = login_server_step(s, has_input, in, out);
	else
		rc = library_step(s, has_input ? in : SLICE_NONE, out);
	if (rc == GSASL_NEEDS_MORE && !s->refused)
		return SASL_CONTINUE;
	if (rc != GSASL_OK || s->refused)
		return SASL_FAILED;
	if (s->is_client)
		return SASL_DONE;
	return s->user ? SASL_CREDENTIALS : SASL_FAILED;
}

const char *sasl_mechanism(const struct sasl *s)
{
	return s->mechanism;
}

const char *sasl_user(const struct sasl *s)
{
	return s->user ? s->user : "";
}

const char *sasl_password(const struct sasl *s)
{
	return s->password ? s->password : "";
}
