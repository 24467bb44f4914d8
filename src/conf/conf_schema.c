/*
 * conf_schema.c - the one table: every key with its type, range, default and meaning.
 *
 * The loader fills by it, conf_dump prints by it, a test compares the manual
 * and the sample file with it.
 */
#include "conf/conf_int.h"

#include <limits.h>
#include <string.h>

#include "base/check.h"

#define NAME_MAX_BYTES 48 /* of a leaf, for the edit distance */

#define AT(field)       offsetof(struct conf, field)
#define IN(type, field) offsetof(struct type, field)

#define MINUTE_S   60
#define DAY_S      86400
#define STEP_MAX_S 3600 /* the longest time for one step of a dialogue */

static const struct conf_choice listen_tls[] = {
	{ "none", CONF_LISTEN_TLS_NONE },
	{ "starttls", CONF_LISTEN_TLS_STARTTLS },
	{ "implicit", CONF_LISTEN_TLS_IMPLICIT },
	{ NULL, 0 },
};
static const struct conf_choice listen_auth[] = { { "optional", 0 }, { "required", 1 },
	{ NULL, 0 } };
static const struct conf_choice tls_versions[] = { { "TLSv1", 0 }, { "TLSv1.1", 0 },
	{ "TLSv1.2", 0 }, { "TLSv1.3", 0 }, { NULL, 0 } };
static const struct conf_choice bare_newlines[] = { { "fix", 0 }, { "reject", 1 }, { NULL, 0 } };
static const struct conf_choice sender_checks[] = {
	{ "login", ADMISSION_SENDER_LOGIN },
	{ "domain", ADMISSION_SENDER_DOMAIN },
	{ "none", ADMISSION_SENDER_NONE },
	{ NULL, 0 },
};
static const struct conf_choice families[] = {
	{ "default", MX_PREFER_DEFAULT },
	{ "v4", MX_PREFER_V4 },
	{ "v6", MX_PREFER_V6 },
	{ NULL, 0 },
};
static const struct conf_choice tls_levels[] = {
	{ "none", TLS_LEVEL_NONE },
	{ "may", TLS_LEVEL_MAY },
	{ "encrypt", TLS_LEVEL_ENCRYPT },
	{ "verify", TLS_LEVEL_VERIFY },
	{ NULL, 0 },
};
/* A route may also leave the level to tls_policy and outbound.enable_tls. */
static const struct conf_choice route_tls_levels[] = {
	{ "default", TLS_LEVEL_NONE_SET },
	{ "none", TLS_LEVEL_NONE },
	{ "may", TLS_LEVEL_MAY },
	{ "encrypt", TLS_LEVEL_ENCRYPT },
	{ "verify", TLS_LEVEL_VERIFY },
	{ NULL, 0 },
};
static const struct conf_choice log_levels[] = {
	{ "data", LOG_LEVEL_DATA },
	{ "protocol", LOG_LEVEL_PROTOCOL },
	{ "debug", LOG_LEVEL_DEBUG },
	{ "info", LOG_LEVEL_INFO },
	{ "notice", LOG_LEVEL_NOTICE },
	{ "warn", LOG_LEVEL_WARN },
	{ "error", LOG_LEVEL_ERROR },
	{ "crit", LOG_LEVEL_CRIT },
	{ "alert", LOG_LEVEL_ALERT },
	{ "emerg", LOG_LEVEL_EMERG },
	{ NULL, 0 },
};
static const struct conf_choice log_formats[] = {
	{ "default", LOG_FORMAT_DEFAULT },
	{ "logfmt", LOG_FORMAT_LOGFMT },
	{ "json", LOG_FORMAT_JSON },
	{ NULL, 0 },
};

#define GROUP(n, h)                                                                                \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_GROUP, .help = h                                      \
	}
#define GROUPS(n, h)                                                                               \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_GROUPS, .help = h                                     \
	}
#define BOOL(n, f, d, h)                                                                           \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_BOOL, .offset = AT(f), .preset = d, .help = h         \
	}
#define NUMBER(n, f, lo, hi, d, u, h)                                                              \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_NUMBER, .offset = AT(f), .min = lo, .max = hi,        \
		.preset = d, .unit = u, .help = h                                                  \
	}
#define DURATION(n, t, f, lo, hi, d, h)                                                            \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_##t, .offset = AT(f), .min = lo, .max = hi,           \
		.preset = d, .unit = "duration", .help = h                                         \
	}
#define TEXT(n, t, f, d, h)                                                                        \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_##t, .offset = AT(f), .preset = d, .help = h          \
	}
#define CHOICE(n, t, f, c, d, h)                                                                   \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_##t, .offset = (f), .choices = c, .preset = d,        \
		.help = h                                                                          \
	}
#define OTHER(n, t, d, u, h)                                                                       \
	{                                                                                          \
		.name = n, .type = CONF_TYPE_##t, .preset = d, .unit = u, .help = h                \
	}

static const struct conf_key schema[] = {
	OTHER("me", SPECIAL, "", "host name",
	    "our name in EHLO, Received, Message-ID and reports; the host's name if not set"),
	TEXT("spool", PATH, spool, LOCALSTATEDIR "/spool/postrider",
	    "folder of the queue; made with mode 0700"),
	TEXT("user", TEXT, user, "postrider", "user to run as when started as root"),
	TEXT("group", TEXT, group, "postrider", "group to run as when started as root"),
	NUMBER("shards", shards, 0, 64, "0", "threads",
	    "threads that share clients and mail, which by the hosts it goes to; 0: one for each "
	    "CPU"),

	GROUPS("listen", "where mail is submitted; [::]:587 with starttls and [::]:465 with "
			 "implicit TLS if not set"),
	OTHER("listen.address", SPECIAL, "", "address:port",
	    "what to listen on: \"192.0.2.1:587\", \"[::]:587\""),
	CHOICE("listen.tls", CHOICE, IN(conf_listen, tls), listen_tls, "starttls",
	    "whether TLS is off, offered by STARTTLS, or spoken from the first byte"),
	CHOICE("listen.auth", CHOICE_BOOL, IN(conf_listen, auth_required), listen_auth, "optional",
	    "required: trusted networks must log in as well; all others always must"),

	GROUP("tls", "the certificate shown to those who submit"),
	TEXT("tls.certificate", PATH, tls.certificate, "",
	    "PEM file: certificate, then intermediates"),
	TEXT("tls.key", PATH, tls.key, "", "PEM file of its private key, without passphrase"),
	CHOICE("tls.min_version", CHOICE_TEXT, AT(tls.min_version), tls_versions, "TLSv1.2",
	    "oldest TLS version accepted"),
	TEXT("tls.ciphers", TEXT, tls.ciphers, "",
	    "OpenSSL cipher list up to TLSv1.2; empty: OpenSSL's default"),

	GROUP("submission", "who may submit what"),
	OTHER("submission.trusted_networks", STRINGS, "", "networks",
	    "who may submit without logging in: [ \"127.0.0.0/8\", \"2001:db8::/32\" ]"),
	TEXT("submission.users_file", PATH, submission.users_file, SYSCONFDIR "/postrider/users",
	    "users and their password hashes, kept by `postrider passwd`; empty: nobody can log "
	    "in"),
	OTHER("submission.mechanisms", STRINGS, "PLAIN LOGIN", "SASL mechanisms",
	    "ways to log in that are offered"),
	BOOL("submission.require_tls", submission.require_tls, "true", "no login outside TLS"),
	CHOICE("submission.bare_newlines", CHOICE_BOOL, AT(submission.reject_bare_newlines),
	    bare_newlines, "fix",
	    "a CR or LF alone inside a message becomes CRLF, or the message is refused with 550 "
	    "5.6.11"),
	CHOICE("submission.sender_check", CHOICE, AT(submission.sender_check), sender_checks,
	    "login",
	    "the reverse-path must be the login itself, of the login's domain, or may be anything"),
	{ .name = "submission.max_message_size",
	    .type = CONF_TYPE_SIZE,
	    .offset = AT(submission.max_message_size),
	    .min = 1024,
	    .max = INT64_C(1) << 40,
	    .preset = "25M",
	    .unit = "size",
	    .help = "largest message accepted" },
	NUMBER("submission.max_recipients", submission.max_recipients, 1, CONF_RECIPIENTS_MAX,
	    "1000", "recipients", "most recipients of one message"),
	NUMBER("submission.max_connections", submission.max_connections, 1, 1000000, "1000",
	    "connections", "most submitting clients at the same time"),
	NUMBER("submission.max_connections_per_ip", submission.max_connections_per_ip, 1, 1000000,
	    "50", "connections", "most of them from one address"),
	{ .name = "submission.rate",
	    .type = CONF_TYPE_RATE,
	    .offset = AT(submission.rate),
	    .preset = "",
	    .unit = "count/duration",
	    .help = "recipients per login and period, such as \"500/1h\"; empty: no limit" },
	NUMBER("submission.max_received", submission.max_received, 1, 10000, "100",
	    "Received fields", "a message with more of them is taken for a loop"),

	GROUP("outbound", "delivery"),
	BOOL("outbound.disabled", outbound.disabled, "false",
	    "accept and store, but deliver nothing"),
	NUMBER("outbound.concurrency_max", outbound.concurrency_max, 1, 1000000, "10000",
	    "connections", "most outgoing connections at the same time"),
	BOOL("outbound.enable_tls", outbound.enable_tls, "true",
	    "use STARTTLS where it is offered"),
	OTHER("outbound.temp_fail_intervals", SPECIAL, "", "intervals",
	    "when to try again: \"1m, 5m*2, 1h*3\", or \"none\"; not set: by max_temp_failures"),
	NUMBER("outbound.max_temp_failures", outbound.max_temp_failures, 1, RETRY_TEMP_FAILURES_MAX,
	    "13", "attempts",
	    "attempts in all, with waits of 64, 128, 256 ... seconds, when temp_fail_intervals is "
	    "not set"),
	BOOL("outbound.always_split", outbound.always_split, "false",
	    "a queue file and a transaction of its own for each recipient"),
	TEXT("outbound.received_header", TEXT, outbound.received_header, "Postrider outbound",
	    "comment in the Received field we add; \"disabled\": no such field"),
	DURATION("outbound.connect_timeout", SECONDS, outbound.connect_timeout_s, 1, STEP_MAX_S,
	    "30s", "how long to wait for a TCP connection to one address"),
	BOOL("outbound.local_mx_ok", outbound.local_mx_ok, "false",
	    "deliver also to loopback and to this host's own addresses"),
	CHOICE("outbound.inet_prefer", CHOICE, AT(outbound.inet_prefer), families, "default",
	    "which addresses of an MX host come first; default: IPv6 and IPv4 in turn"),
	DURATION("outbound.lifetime", LONG_SECONDS, outbound.retry.lifetime_s, 1, 365 * DAY_S, "5d",
	    "mail older than this goes back to its sender"),
	{ .name = "outbound.port",
	    .type = CONF_TYPE_PORT,
	    .offset = AT(outbound.port),
	    .min = 1,
	    .max = UINT16_MAX,
	    .preset = "25",
	    .unit = "port",
	    .help = "port of MX hosts" },
	DURATION("outbound.shutdown_timeout", LONG_SECONDS, outbound.shutdown_timeout_s, 0,
	    STEP_MAX_S, "20s", "how long a stop waits for deliveries under way"),
	OTHER("outbound.spool_min_free", SPECIAL, "5%", "percent or size",
	    "below this much free space (of a percentage at most 1G) new mail is answered 452"),
	GROUP("outbound.tls", "TLS towards MX hosts"),
	TEXT("outbound.tls.ciphers", TEXT, outbound.tls_ciphers, "",
	    "OpenSSL cipher list up to TLSv1.2; empty: default"),
	CHOICE("outbound.tls.min_version", CHOICE_TEXT, AT(outbound.tls_min_version), tls_versions,
	    "TLSv1.2", "oldest TLS version spoken"),
	TEXT("outbound.tls.ca_file", PATH, outbound.tls_ca_file, "",
	    "PEM file of the authorities that level \"verify\" trusts; empty: the system's"),
	GROUP("outbound.timeouts", "how long to wait at each stage (RFC 5321 4.5.3.2)"),
#define TIMEOUT(n, f, d, h)                                                                        \
	DURATION("outbound.timeouts." n, SECONDS, outbound.timeouts.f, 1, STEP_MAX_S, d, h)
	TIMEOUT("greeting", greeting_s, "5m", "for the 220 after the connection"),
	TIMEOUT("ehlo", ehlo_s, "5m", "for the reply to EHLO or HELO"),
	TIMEOUT("starttls", starttls_s, "2m", "for the reply to STARTTLS and the handshake"),
	TIMEOUT("auth", auth_s, "2m", "for each reply of AUTH"),
	TIMEOUT("mail", mail_s, "5m", "for the reply to MAIL"),
	TIMEOUT("rcpt", rcpt_s, "5m", "for the reply to each RCPT"),
	TIMEOUT("data", data_s, "2m", "for the 354 to DATA"),
	TIMEOUT("body", body_s, "3m", "for progress while the message is sent"),
	TIMEOUT("dot", dot_s, "10m", "for the reply to the final dot"),
	TIMEOUT("rset", rset_s, "20s", "for the reply to RSET"),
	TIMEOUT("quit", quit_s, "5s", "for the reply to QUIT"),
#undef TIMEOUT

	GROUP("dns", "the resolver"),
	OTHER("dns.servers", STRINGS, "", "addresses",
	    "DNS servers, such as [ \"127.0.0.1:53\" ]; not set: those of the system"),
	DURATION("dns.timeout", MILLISECONDS, dns.timeout_ms, 1, MINUTE_S, "5s",
	    "how long to wait for one answer"),
	{ .name = "dns.tries",
	    .type = CONF_TYPE_INT,
	    .offset = AT(dns.tries),
	    .min = 1,
	    .max = 10,
	    .preset = "2",
	    .unit = "tries",
	    .help = "how often each server is asked" },

	GROUPS("routes",
	    "domains that do not go by MX, or go with other settings; the first match counts"),
	OTHER("routes.domain", SPECIAL, "", "domain",
	    "\"corp.example\"; \"*.corp.example\": all below it; \"*\": all"),
	OTHER("routes.mx", STRINGS, "", "hosts",
	    "where to, in order: \"host\", \"host:port\", \"smtp://user:password@host:587\", "
	    "\"smtps://\", \"lmtp://\", \"unix:/path\"; not set: by MX"),
	CHOICE("routes.tls", CHOICE, IN(route, tls), route_tls_levels, "default",
	    "TLS asked for, as in tls_policy; default: by tls_policy and outbound.enable_tls"),
	OTHER("routes.bind", SPECIAL, "", "address", "source address of the connections"),
	OTHER("routes.helo", SPECIAL, "", "host name", "name in EHLO; not set: me"),

	GROUPS("traffic", "limits per destination; what an entry does not set is as in "
			  "\"default\", which is also for the rest"),
	OTHER("traffic.site", SPECIAL, "", "domain",
	    "\"default\", a domain \"big.example\", or what lies below it \"*.big.example\"; what "
	    "names a domain counts before what its name matches, then the first match"),
	{ .name = "traffic.connections",
	    .type = CONF_TYPE_NUMBER,
	    .offset = IN(conf_traffic, connections),
	    .min = 1,
	    .max = 100000,
	    .preset = "20",
	    .unit = "connections",
	    .help = "most connections to it at the same time" },
	{ .name = "traffic.deliveries_per_connection",
	    .type = CONF_TYPE_NUMBER,
	    .offset = IN(conf_traffic, deliveries_per_connection),
	    .min = 1,
	    .max = 1000000,
	    .preset = "100",
	    .unit = "messages",
	    .help = "most messages that go over one connection" },
	{ .name = "traffic.rate",
	    .type = CONF_TYPE_RATE,
	    .offset = IN(conf_traffic, rate),
	    .preset = "",
	    .unit = "count/duration",
	    .help = "most messages sent to it in any such period, evenly: \"100/1m\" is one in 0.6 "
		    "seconds; empty: no limit" },
	{ .name = "traffic.connection_rate",
	    .type = CONF_TYPE_RATE,
	    .offset = IN(conf_traffic, connection_rate),
	    .preset = "",
	    .unit = "count/duration",
	    .help = "most connections made to it in any such period, evenly; empty: no limit" },
	{ .name = "traffic.idle_timeout",
	    .type = CONF_TYPE_SECONDS,
	    .offset = IN(conf_traffic, idle_timeout_s),
	    .min = 0,
	    .max = STEP_MAX_S,
	    .preset = "5s",
	    .unit = "duration",
	    .help = "how long a connection is kept open without mail for it; 0: not at all" },
	{ .name = "traffic.connection_age",
	    .type = CONF_TYPE_SECONDS,
	    .offset = IN(conf_traffic, connection_age_s),
	    .min = 1,
	    .max = DAY_S,
	    .preset = "5m",
	    .unit = "duration",
	    .help = "a connection that has been open for longer takes no more mail" },
	{ .name = "traffic.pipelining",
	    .type = CONF_TYPE_BOOL,
	    .offset = IN(conf_traffic, pipelining),
	    .preset = "true",
	    .help = "send commands ahead of the replies where that is offered" },
	{ .name = "traffic.chunking",
	    .type = CONF_TYPE_BOOL,
	    .offset = IN(conf_traffic, chunking),
	    .preset = "true",
	    .help = "send bodies by BDAT where that is offered" },

	GROUPS("tls_policy", "what TLS must give for a domain; the first match counts"),
	OTHER("tls_policy.domain", SPECIAL, "", "domain", "as in routes"),
	CHOICE("tls_policy.level", CHOICE, IN(conf_tls_policy, level), tls_levels, "may",
	    "must be given: TLS never, if offered, always, or always and with a certificate valid "
	    "for the host"),

	GROUP("bounce", "reports of failed delivery"),
	TEXT("bounce.directory", PATH, bounce.directory, SYSCONFDIR "/postrider/bounce",
	    "folder of the templates; failed.txt in it is used if it exists"),
	TEXT("bounce.text", PATH, bounce.text, "", "template to use instead of failed.txt"),

	GROUP("log", "the log"),
	CHOICE("log.level", CHOICE, AT(log.level), log_levels, "info",
	    "least level that is written"),
	CHOICE("log.format", CHOICE, AT(log.format), log_formats, "default", "how a record looks"),
	BOOL("log.timestamps", log.timestamps, "false", "begin each record with the time"),
	TEXT("log.to", TEXT, log.to, "stderr", "\"stderr\", or a file"),

	GROUP("events", "what became of each recipient, one JSON object per line"),
	TEXT("events.file", PATH, events_file, LOCALSTATEDIR "/log/postrider/events.jsonl",
	    "that file; empty: none"),

	GROUP("control", "the socket of `postrider`"),
	TEXT("control.socket", PATH, control_socket, "/run/postrider/control.sock",
	    "its path; empty: none"),
};

const struct conf_key *conf_schema(size_t *n)
{
	*n = ARRAY_LEN(schema);
	return schema;
}

const char *conf_key_leaf(const struct conf_key *key)
{
	const char *dot = strrchr(key->name, '.');
	return dot ? dot + 1 : key->name;
}

bool conf_key_is_in(const struct conf_key *key, const char *group)
{
	size_t n = strlen(group);
	const char *leaf = conf_key_leaf(key);
	if (n == 0)
		return leaf == key->name;
	return strncmp(key->name, group, n) == 0 && key->name + n + 1 == leaf;
}

const struct conf_key *conf_schema_find(const char *group, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(schema); i++)
		if (conf_key_is_in(&schema[i], group) &&
		    strcmp(conf_key_leaf(&schema[i]), name) == 0)
			return &schema[i];
	return NULL;
}

/* Insertions, deletions, replacements and swaps of neighbours from a to b (Damerau, restricted). */
static size_t edit_distance(const char *a, const char *b)
{
	size_t rows[3][NAME_MAX_BYTES + 1];
	size_t an = strlen(a), bn = strlen(b);
	CHECK(an <= NAME_MAX_BYTES);
	CHECK(bn <= NAME_MAX_BYTES);
	for (size_t j = 0; j <= bn; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= an; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			size_t cost = a[i - 1] != b[j - 1];
			row[j] = MIN(above[j - 1] + cost, MIN(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], above2[j - 2] + 1);
		}
	}
	return rows[an % 3][bn];
}

const char *conf_schema_nearest(const char *group, const char *name)
{
	const char *best = NULL;
	char lower[NAME_MAX_BYTES + 1];
	size_t n = strlen(name);
	if (n > NAME_MAX_BYTES)
		return NULL;
	memcpy(lower, name, n + 1);
	slice_lower(lower, n);
	/* A third of the letters wrong is another word. */
	size_t least = MAX(n / 3, (size_t)1) + 1;
	for (size_t i = 0; i < ARRAY_LEN(schema); i++) {
		if (!conf_key_is_in(&schema[i], group))
			continue;
		size_t d = edit_distance(lower, conf_key_leaf(&schema[i]));
		if (d < least) {
			least = d;
			best = conf_key_leaf(&schema[i]);
		}
	}
	/* The right name in the wrong place. */
	for (size_t i = 0; !best && i < ARRAY_LEN(schema); i++)
		if (strcmp(conf_key_leaf(&schema[i]), lower) == 0)
			best = schema[i].name;
	return best;
}
