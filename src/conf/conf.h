/*
 * conf.h - the configuration: an immutable snapshot, checked as a whole.
 *
 * conf_load reads the file (libconfig, @include works), checks every key
 * against the schema table (conf_schema.c: name, type, range, default, help),
 * and reports all mistakes as "FILE:LINE: message". The snapshot is
 * ref-counted; a reload makes a new one. The names of the keys are a promise
 * (design section 8).
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/netaddr.h"
#include "policy/admission.h"
#include "policy/bucket.h"
#include "policy/mx.h"
#include "policy/route.h"
#include "proto/dsn_template.h"
#include "queue/retry.h"

enum conf_listen_tls {
	CONF_LISTEN_TLS_UNSET = 0,
	CONF_LISTEN_TLS_NONE,
	CONF_LISTEN_TLS_STARTTLS,
	CONF_LISTEN_TLS_IMPLICIT,
};

#define CONF_RECIPIENTS_MAX 50000 /* that max_recipients may allow */

struct conf_listen {
	struct netaddr address;
	enum conf_listen_tls tls;
	bool
	    auth_required; /* trusted networks must log in too; default "optional": they need not */
};

struct conf_tls_policy {
	const char *domain; /* pattern as in routes */
	enum tls_level level;
};

/* Of one site; what an entry does not set is as in the one for "default". */
struct conf_traffic {
	const char *site;     /* "default", a domain or host, or "*.domain" */
	unsigned connections; /* at the same time */
	unsigned deliveries_per_connection;
	struct bucket_rate rate;            /* messages */
	struct bucket_rate connection_rate; /* connections made */
	int idle_timeout_s;                 /* 0: a connection without mail is closed at once */
	int connection_age_s;               /* older ones take no more mail */
	bool pipelining, chunking;
};

struct conf {
	int refs; /* atomic */
	struct arena arena;
	const char *file;
	const char *me;
	const char *spool;
	const char *user, *group;
	unsigned shards; /* 0: one per CPU, which in this version is one */
	struct conf_listen *listen;
	size_t listen_n;

	struct {
		const char *certificate; /* "": no server TLS */
		const char *key, *min_version, *ciphers;
	} tls;

	struct {
		struct netaddr_net *trusted_networks;
		size_t trusted_networks_n;
		const char *users_file; /* "" none */
		const char *mechanisms; /* "PLAIN LOGIN" */
		bool require_tls;
		bool reject_bare_newlines;
		enum admission_sender_check sender_check;
		uint64_t max_message_size;
		unsigned max_recipients, max_connections, max_connections_per_ip, max_received;
		struct bucket_rate rate; /* recipients of a login */
	} submission;

	struct {
		bool disabled, enable_tls, always_split, local_mx_ok;
		unsigned concurrency_max, max_temp_failures;
		struct retry_policy retry; /* temp_fail_intervals, max_temp_failures, lifetime */
		/* comment in our Received; "disabled": no Received is added */
		const char *received_header;
		int connect_timeout_s;
		enum mx_prefer inet_prefer;
		uint16_t port;
		int64_t shutdown_timeout_s;
		uint64_t spool_min_free_bytes;   /* either this */
		unsigned spool_min_free_percent; /* or this is set */
		const char *tls_ciphers, *tls_min_version, *tls_ca_file;

		struct {
			int greeting_s, ehlo_s, starttls_s, auth_s, mail_s, rcpt_s, data_s, body_s,
			    dot_s, rset_s, quit_s;
		} timeouts;
	} outbound;

	struct {
		const char *servers; /* "a:53,b:53" or "" */
		int timeout_ms, tries;
	} dns;
	struct route *routes;
	size_t routes_n;
	struct conf_traffic *traffic;
	size_t traffic_n;
	struct conf_tls_policy *tls_policy;
	size_t tls_policy_n;

	struct {
		const char *directory;       /* where failed.txt is looked for */
		const char *text;            /* a file that is used instead; "" none */
		struct dsn_template *failed; /* parsed, or NULL: the built-in one */
	} bounce;

	struct {
		enum log_level level;
		enum log_format format;
		bool timestamps;
		const char *to; /* "stderr" or a file */
	} log;

	const char *events_file;    /* "" none */
	const char *control_socket; /* "" none */
};

/*
 * Loads and checks. Each mistake goes to `errors` as one line, by file and
 * line; so do warnings, which begin with "warning: " and are no failure. With
 * a mistake *conf_r is NULL and ERR_SYNTAX (or -errno of the file) is
 * returned. Main thread only (libconfig changes its locale, getpwnam).
 */
int conf_load(const char *file, struct conf **conf_r, FILE *errors) MUST_USE;

/* From any thread. The last unref wipes the passwords. */
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf **c);

/*
 * Settings that a running daemon can't change (listen, spool, user, group,
 * shards, control): names of those that differ, comma-separated, into buf; ""
 * if none.
 */
void conf_diff_static(const struct conf *a, const struct conf *b, char *buf, size_t n);

/*
 * Limits of a domain: of the entry that names it, else of one whose pattern it
 * matches, else of one that names, or whose pattern matches, any of the hosts
 * its mail goes to, else of "default". Among several of a kind the first in the
 * file counts. Never NULL, and as long-lived as the snapshot.
 */
const struct conf_traffic *conf_find_traffic(const struct conf *c, struct slice domain);
const struct conf_traffic *conf_find_traffic_mx(const struct conf *c, struct slice domain,
    const struct slice *hosts, size_t n);
/* By the route (may be NULL), then tls_policy, then outbound.enable_tls; never NONE_SET. */
enum tls_level conf_find_tls_level(const struct conf *c, const struct route *route,
    struct slice domain);

/* The effective configuration, every key with its value, as a config file; passwords hidden. */
void conf_dump(const struct conf *c, FILE *to);

#endif
