/* Bad files: each mistake with its line, all of one file at once. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/conf/folder.h"

/* Line 1 is the base, line 2 the text; a listener and a network are given unless the text has them.
 */
static void load_bad(const char *text)
{
	static char full[8192];
	snprintf(full, sizeof(full), "%s %s %s\n%s", folder_base(),
	    strstr(text, "listen")
		? ""
		: "listen = ( { address = \"127.0.0.1:25\"; tls = \"none\"; } );",
	    strstr(text, "submission") ? "" : "submission = { trusted_networks = \"127.0.0.1\"; };",
	    text);
	folder_write("x.conf", full);
	struct conf *c = folder_load("x.conf");
	conf_unref(&c);
}

#define AT2 "@/x.conf:2: "

static const struct {
	const char *text, *said;
} single[] = {
	{ "outbund = { };", "unknown key \"outbund\" (did you mean \"outbound\"?)" },
	{ "outbound = { concurency_max = 3; };",
	    "unknown key \"concurency_max\" in \"outbound\" (did you mean \"concurrency_max\"?)" },
	{ "outbound = { timeouts = { dott = 3; }; };",
	    "unknown key \"dott\" in \"outbound.timeouts\" (did you mean \"dot\"?)" },
	{ "port = 26;", "unknown key \"port\" (did you mean \"outbound.port\"?)" },
	{ "dkim = ( );", "unknown key \"dkim\"" },
	{ "shards = 65;", "shards: must be from 0 to 64" },
	{ "shards = -1;", "shards: must be from 0 to 64" },
	{ "spool = 5;", "spool: must be text in quotes" },
	{ "spool = \"\";", "spool: must not be empty" },
	{ "spool = \"spool\";", "spool: \"spool\" must be an absolute path" },
	{ "spool = [ ];", "spool must be text in quotes, not a list" },
	{ "spool = \"/a\\nb\";", "spool: must not hold control characters" },
	{ "tls = { certificate = \"/etc/passwd\"; };", "tls.certificate is set, tls.key is not" },
	{ "tls = { key = \"/etc/passwd\"; };", "tls.key is set, tls.certificate is not" },
	{ "tls = { certificate = \"/etc/passwd\"; key = \"/nonexistent\"; };",
	    "tls.key: cannot read /nonexistent: No such file or directory" },
	{ "tls = { certificate = \"/tmp\"; key = \"/etc/passwd\"; };",
	    "tls.certificate: cannot read /tmp: Is a directory" },
	{ "tls = { min_version = \"SSLv3\"; };",
	    "tls.min_version: must be one of \"TLSv1\" \"TLSv1.1\" \"TLSv1.2\" \"TLSv1.3\"" },
	{ "tls = \"x\";", "tls: must be a group { ... }, not text in quotes" },
	{ "listen = ( { address = \"[::]:587\"; tls = \"starttls\"; } );",
	    "listen: tls = \"starttls\" needs a certificate: set tls.certificate and tls.key, or "
	    "tls = "
	    "\"none\" here" },
	{ "listen = ( { address = \"[::]:465\"; tls = \"implicit\"; } );",
	    "listen: tls = \"implicit\" needs a certificate: set tls.certificate and tls.key, or "
	    "tls = "
	    "\"none\" here" },
	{ "listen = ( { tls = \"none\"; } );", "listen: address is missing" },
	{ "listen = ( { address = \"587\"; tls = \"none\"; } );",
	    "listen.address: \"587\" is no address with a port, such as \"192.0.2.1:587\" or "
	    "\"[::]:587\"" },
	{ "listen = ( { address = \"1.2.3.4:5\"; tls = \"none\"; }, { address = \"1.2.3.4:5\"; tls "
	  "= "
	  "\"none\"; } );",
	    "listen.address: \"1.2.3.4:5\" is listed twice" },
	{ "listen = { address = \"1.2.3.4:5\"; tls = \"none\"; };",
	    "listen: must be a list of groups ( { ... } ), not a group" },
	{ "submission = { trusted_networks = [ \"10.0.0.1/8\" ]; users_file = \"/etc/passwd\"; };",
	    "submission.trusted_networks: \"10.0.0.1/8\" is no network such as \"10.0.0.0/8\" (no "
	    "bits may "
	    "be set after the prefix)" },
	{ "submission = { trusted_networks = ( 5 ); users_file = \"/etc/passwd\"; };",
	    "submission.trusted_networks: must be text in quotes, not a number" },
	{ "submission = { users_file = \"/etc/passwd\"; require_tls = 1; };",
	    "submission.require_tls: must be true or false" },
	{ "submission = { users_file = \"/etc/passwd\"; require_tls = \"yes\"; };",
	    "submission.require_tls: must be true or false" },
	{ "submission = { users_file = \"/etc/passwd\"; mechanisms = [ \"GSSAPI\" ]; };",
	    "submission.mechanisms: \"GSSAPI\" is not one of \"PLAIN\" \"LOGIN\"" },
	{ "submission = { users_file = \"/etc/passwd\"; mechanisms = [ ]; };",
	    "submission.mechanisms: empty; to offer no login at all set submission.users_file = "
	    "\"\"" },
	{ "submission = { users_file = \"/etc/passwd\"; rate = \"0/1h\"; };",
	    "submission.rate: \"0/1h\" is no rate such as \"500/1h\"" },
	{ "submission = { users_file = \"/etc/passwd\"; max_message_size = \"25X\"; };",
	    "submission.max_message_size: \"25X\" is no size (\"64k\" \"25M\" \"1G\", or bytes)" },
	{ "submission = { users_file = \"/etc/passwd\"; max_message_size = 10; };",
	    "submission.max_message_size: must be from 1024 to 1099511627776 bytes" },
	{ "submission = { users_file = \"/etc/passwd\"; max_recipients = 0; };",
	    "submission.max_recipients: must be from 1 to 50000" },
	{ "submission = { users_file = \"/etc/passwd\"; max_recipients = 50001; };",
	    "submission.max_recipients: must be from 1 to 50000" },
	{ "submission = { users_file = \"/etc/passwd\"; max_recipients = \"5\"; };",
	    "submission.max_recipients: must be a number" },
	{ "submission = { users_file = \"/etc/passwd\"; max_recipients = 5.0; };",
	    "submission.max_recipients must be a number, not a number with a point" },
	{ "outbound = { temp_fail_intervals = 60; };",
	    "outbound.temp_fail_intervals: a number has no unit: write \"60s\"" },
	{ "outbound = { temp_fail_intervals = [ \"60s\" ]; };",
	    "outbound.temp_fail_intervals: must be text in quotes, not a list" },
	{ "outbound = { temp_fail_intervals = \"1m,bad\"; };",
	    "outbound.temp_fail_intervals: element 2 \"bad\": expected a number, one of s m h d, "
	    "and "
	    "perhaps *count" },
	{ "outbound = { max_temp_failures = 27; };",
	    "outbound.max_temp_failures: must be from 1 to 26" },
	{ "outbound = { connect_timeout = \"0s\"; };",
	    "outbound.connect_timeout: must be from 1s to 1h" },
	{ "outbound = { connect_timeout = \"soon\"; };",
	    "outbound.connect_timeout: \"soon\" is no duration (\"30s\" \"5m\" \"1h\" \"5d\", or "
	    "seconds)" },
	{ "outbound = { connect_timeout = true; };",
	    "outbound.connect_timeout: must be a duration such as \"30s\"" },
	{ "outbound = { lifetime = \"99999999999999999999d\"; };",
	    "outbound.lifetime: must be from 1s to 365d" },
	{ "outbound = { inet_prefer = \"v5\"; };",
	    "outbound.inet_prefer: must be one of \"default\" \"v4\" \"v6\"" },
	{ "outbound = { spool_min_free = \"100%\"; };",
	    "outbound.spool_min_free: must be a percentage below 100 (\"5%\") or a size "
	    "(\"500M\")" },
	{ "outbound = { spool_min_free = -5; };", "outbound.spool_min_free: must be a percentage "
						  "below 100 (\"5%\") or a size (\"500M\")" },
	{ "outbound = { received_header = \"a (b\"; };",
	    "outbound.received_header: at most 200 printable ASCII characters, none of ( ) \\" },
	{ "outbound = { port = 65536; };", "outbound.port: must be from 1 to 65535" },
	{ "outbound = { tls = { ca_file = \"/nonexistent\"; }; };",
	    "outbound.tls.ca_file: cannot read /nonexistent: No such file or directory" },
	{ "dns = { servers = [ \"dns.example\" ]; };",
	    "dns.servers: \"dns.example\" is no IP address with or without a port" },
	{ "dns = { tries = 0; };", "dns.tries: must be from 1 to 10" },
	{ "routes = ( { mx = \"a.example\"; } );", "routes: domain is missing" },
	{ "routes = ( { domain = \"a b\"; } );",
	    "routes.domain: \"a b\" is no domain, nor \"*.domain\", nor \"*\" for all" },
	{ "routes = ( { domain = \"*x\"; } );",
	    "routes.domain: \"*x\" is no domain, nor \"*.domain\", nor \"*\" for all" },
	{ "routes = ( { domain = \"*\"; mx = \"http://h.example\"; } );",
	    "routes.mx: unknown kind of address: use host[:port], smtp://, smtps://, lmtp:// or "
	    "unix:/path" },
	{ "routes = ( { domain = \"*\"; mx = 5; } );",
	    "routes.mx: must be a list of texts [ \"...\" ], not a number" },
	{ "routes = ( { domain = \"*\"; bind = \"1.2.3.4:5\"; } );",
	    "routes.bind: \"1.2.3.4:5\" is no IP address (without a port)" },
	{ "routes = ( { domain = \"*\"; helo = \"a b\"; } );",
	    "routes.helo: \"a b\" is neither a domain nor an address literal" },
	{ "routes = ( { domain = \"*\"; tls = \"dane\"; } );",
	    "routes.tls: must be one of \"default\" \"none\" \"may\" \"encrypt\" \"verify\"" },
	{ "routes = ( 5 );", "routes: must be a group { ... }, not a number" },
	{ "traffic = ( { connections = 5; } );", "traffic: site is missing" },
	{ "traffic = ( { site = \"default\"; }, { site = \"*\"; } );",
	    "traffic.site: \"default\" is listed twice" },
	{ "traffic = ( { site = \"a b\"; } );",
	    "traffic.site: \"a b\" is neither \"default\" nor a domain nor \"*.domain\"" },
	{ "traffic = ( { site = \"default\"; connections = 0; } );",
	    "traffic.connections: must be from 1 to 100000" },
	{ "traffic = ( { site = \"a.example\"; idle_timeout = \"2h\"; } );",
	    "traffic.idle_timeout: must be from 0s to 1h" },
	{ "traffic = ( { site = \"a.example\"; rate = \"0/1h\"; } );",
	    "traffic.rate: \"0/1h\" is no rate such as \"500/1h\"" },
	{ "traffic = ( { site = \"a.example\"; rate = \"1000000001/1s\"; } );",
	    "traffic.rate: \"1000000001/1s\" is no rate such as \"500/1h\"" },
	{ "traffic = ( { site = \"a.example\"; connection_rate = \"5/366d\"; } );",
	    "traffic.connection_rate: \"5/366d\" is no rate such as \"500/1h\"" },
	{ "traffic = ( { site = \"a.example\"; rate = 5; } );",
	    "traffic.rate: must be text in quotes" },
	{ "traffic = ( { site = \"a.example\"; idle_time = 5; } );",
	    "unknown key \"idle_time\" in \"traffic\" (did you mean \"idle_timeout\"?)" },
	{ "traffic = ( 5 );", "traffic: must be a group { ... }, not a number" },
	{ "tls_policy = ( { domain = \"a.example\"; } );", "tls_policy: level is missing" },
	{ "tls_policy = ( { domain = \"a.example\"; level = \"dane\"; } );",
	    "tls_policy.level: must be one of \"none\" \"may\" \"encrypt\" \"verify\"" },
	{ "log = { to = \"syslog\"; };", "log.to: must be \"stderr\" or an absolute path" },
	{ "log = { level = \"loud\"; };", "log.level: must be one of \"data\" \"protocol\" "
					  "\"debug\" \"info\" \"notice\" \"warn\" "
					  "\"error\" \"crit\" \"alert\" \"emerg\"" },
	{ "control = { socket = "
	  "\"/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/"
	  "0123456789/"
	  "0123456789/0123456789\"; };",
	    "control.socket: longer than the 107 bytes a socket's path may have" },
	{ "log = { level = \"info\"; level = \"debug\"; };", "duplicate setting name" },
	{ "outbound.port = 25;",
	    "syntax error here or just before (name = value; text in quotes; booleans are true and "
	    "false; no comma after the last element)" },
	{ "@include \"none.conf\"", "cannot open include file (names are relative to @)" },
	{ "/* outbound = { };", "this comment never ends: */ is missing" },
	{ "log = { };\n\n# \"\nlog2 = 5;", NULL }, /* line 5, below */
};

START_TEST(one_mistake)
{
	char expected[512];
	load_bad(single[_i].text);
	if (single[_i].said)
		snprintf(expected, sizeof(expected), AT2 "%s\n", single[_i].said);
	else
		snprintf(expected, sizeof(expected),
		    "@/x.conf:5: unknown key \"log2\" (did you mean \"log\"?)\n");
	ck_assert_str_eq(folder_said(), expected);
}

END_TEST

/* libconfig would take these as other numbers. */
static const char *const wrapping[] = { "2147483648", "3000000000", "-2147483649", "99999999999",
	"0xFFFFFFFF", "99999999999999999999L", "+4000000000" };

START_TEST(integers_that_wrap)
{
	char text[128], expected[256];
	snprintf(text, sizeof(text), "outbound = { concurrency_max =\n%s; };", wrapping[_i]);
	load_bad(text);
	snprintf(expected, sizeof(expected), "@/x.conf:3: the number %s is too large",
	    wrapping[_i]);
	ck_assert_ptr_nonnull(strstr(folder_said(), expected));
}

END_TEST

START_TEST(integers_that_fit)
{
	struct conf *c =
	    folder_conf("outbound = { spool_min_free = 2147483647; concurrency_max = 0x10; };\n"
			"submission = { trusted_networks = \"::1\"; max_message_size = "
			"3000000000L; };");
	ck_assert_uint_eq(c->outbound.spool_min_free_bytes, 2147483647);
	ck_assert_uint_eq(c->outbound.concurrency_max, 16);
	ck_assert_uint_eq(c->submission.max_message_size, UINT64_C(3000000000));
	conf_unref(&c);
}

END_TEST

START_TEST(all_in_the_order_of_lines)
{
	load_bad("log = { level = \"loud\"; };\n"
		 "dns = { tries = 0; };\n"
		 "colour = \"red\";\n"
		 "outbound = { port = 0;\n"
		 "  temp_fail_intervals = \"4s\"; };\n");
	ck_assert_str_eq(folder_said(), "@/x.conf:2: log.level: must be one of \"data\" "
					"\"protocol\" \"debug\" \"info\" \"notice\" "
					"\"warn\" \"error\" \"crit\" \"alert\" \"emerg\"\n"
					"@/x.conf:3: dns.tries: must be from 1 to 10\n"
					"@/x.conf:4: unknown key \"colour\"\n"
					"@/x.conf:5: outbound.port: must be from 1 to 65535\n"
					"@/x.conf:6: outbound.temp_fail_intervals: element 1 "
					"\"4s\": the interval is shorter than 5 "
					"seconds\n");
}

END_TEST

START_TEST(in_an_included_file)
{
	folder_write("more.conf", "\nprot = 26;\nport = 99999999999;\n");
	load_bad("outbound = {\n@include \"more.conf\"\n};");
	ck_assert_ptr_nonnull(strstr(folder_said(),
	    "@/more.conf:2: unknown key \"prot\" in \"outbound\" (did you mean \"port\"?)\n"));
	ck_assert_ptr_nonnull(
	    strstr(folder_said(), "@/more.conf:3: the number 99999999999 is too large"));
	folder_write("more.conf", "port = = 5;\n");
	load_bad("outbound = {\n@include \"more.conf\"\n};");
	ck_assert_ptr_nonnull(strstr(folder_said(), "@/more.conf:1: syntax error"));
	folder_write("more.conf", "@include \"more.conf\"\n");
	load_bad("@include \"more.conf\"\n");
	ck_assert_str_eq(folder_said(), "@/more.conf:1: include file nesting too deep\n");
}

END_TEST

START_TEST(secrets_stay_out)
{
	load_bad("routes = ( { domain = \"*\"; mx = [ \"u:secret@h.example\", "
		 "\"smtp://u:secret@h..example\",\n"
		 "\"smtp://u:secr%et@h.example\", \"smtp://secret@h.example\" ]; } );");
	ck_assert_ptr_null(strstr(folder_said(), "secr"));
	ck_assert_ptr_nonnull(strstr(folder_said(), "routes.mx: "));
}

END_TEST

START_TEST(bad_template)
{
	folder_write("failed.txt", "Subject: x\n\nTo {whom}?\n");
	load_bad("");
	ck_assert_ptr_eq(strstr(folder_said(), "@/failed.txt:3: "), folder_said());
	folder_write("failed.txt", "Subject: x\n\nok\n");
	folder_write("own.txt", "Subject: {x}\n\n\n");
	char text[256];
	snprintf(text, sizeof(text), "%s listen = ( );\nbounce2 = 1;", folder_base());
	folder_write("y.conf", text);
	ck_assert_ptr_null(folder_load("y.conf"));
	ck_assert_str_eq(folder_said(),
	    "@/y.conf:2: unknown key \"bounce2\" (did you mean \"bounce\"?)\n");
	folder_write("z.conf",
	    "user = \"nobody\"; group = \"nogroup\"; me = \"a.example\"; listen = ( );\n"
	    "bounce = { text = \"@/own.txt\"; };");
	ck_assert_ptr_null(folder_load("z.conf"));
	ck_assert_ptr_eq(strstr(folder_said(), "@/own.txt:1: "), folder_said());
	folder_write("z.conf",
	    "user = \"nobody\"; group = \"nogroup\"; me = \"a.example\"; listen = ( );\n"
	    "bounce = { text = \"/nonexistent\"; };");
	ck_assert_ptr_null(folder_load("z.conf"));
	ck_assert_str_eq(folder_said(),
	    "@/z.conf:2: bounce.text: cannot read /nonexistent: No such file or directory\n");
}

END_TEST

START_TEST(bad_name)
{
	folder_write("n.conf",
	    "user = \"nobody\"; group = \"nogroup\"; listen = ( );\nme = \"a_b c\";");
	ck_assert_ptr_null(folder_load("n.conf"));
	ck_assert_str_eq(folder_said(), "@/n.conf:2: me: \"a_b c\" is neither a domain nor an "
					"address literal like [192.0.2.1]\n");
}

END_TEST

START_TEST(users_must_exist_for_root)
{
	folder_write("u.conf", "me = \"a.example\"; listen = ( );\nuser = \"no-such-user\";\n"
			       "group = \"no-such-group\";");
	struct conf *c = folder_load("u.conf");
	if (geteuid() == 0)
		ck_assert_str_eq(folder_said(),
		    "@/u.conf:2: user: there is no user \"no-such-user\" (adduser --system --group "
		    "no-such-user)\n@/u.conf:3: group: there is no group \"no-such-group\"\n");
	else
		ck_assert_str_eq(folder_said(), "");
	conf_unref(&c);
}

END_TEST

static const struct {
	const char *text, *said;
} warnings[] = {
	{ "routes = ( { domain = \"*\"; },\n { domain = \"a.example\"; } );",
	    "warning: @/x.conf:3: routes: \"a.example\" is never reached: \"*\" comes before "
	    "it\n" },
	{ "tls_policy = ( { domain = \".A.example\"; level = \"may\"; },\n"
	  "{ domain = \"*.a.example\"; level = \"none\"; } );",
	    "warning: @/x.conf:3: tls_policy: \"*.a.example\" is never reached: it is listed "
	    "before\n" },
	{ "traffic = ( { site = \".A.example\"; }, { site = \"a.example\"; },\n"
	  "{ site = \"*.a.example\"; connections = 3; } );",
	    "warning: @/x.conf:3: traffic: \"*.a.example\" is never reached: it is listed "
	    "before\n" },
	{ "submission = { trusted_networks = [ \"0.0.0.0/0\" ]; };",
	    "warning: @/x.conf:2: submission.trusted_networks: \"0.0.0.0/0\" makes this host an "
	    "open "
	    "relay\n" },
	{ "submission = { users_file = \"/nonexistent\"; };",
	    "warning: @/x.conf:2: nobody can submit mail: no trusted network, and /nonexistent "
	    "cannot be "
	    "read (No such file or directory); create users with `postrider passwd USER`\n" },
	{ "submission = { users_file = \"\"; };",
	    "warning: @/x.conf:2: nobody can submit mail: no trusted network and no users file\n" },
};

START_TEST(warned_of)
{
	char full[2048];
	snprintf(full, sizeof(full), "%s %s %s\n%s", folder_base(),
	    "listen = ( { address = \"127.0.0.1:25\"; tls = \"none\"; } );",
	    strstr(warnings[_i].text, "submission")
		? ""
		: "submission = { trusted_networks = \"::1\"; };",
	    warnings[_i].text);
	folder_write("x.conf", full);
	struct conf *c = folder_load("x.conf");
	ck_assert_str_eq(folder_said(), warnings[_i].said);
	ck_assert_ptr_nonnull(c);
	conf_unref(&c);
}

END_TEST

START_TEST(needs_a_certificate_by_default)
{
	folder_write("d.conf", "me = \"a.example\"; user = \"nobody\"; group = \"nogroup\";\n"
			       "submission = { trusted_networks = \"::1\"; };\ntls = { };\n");
	ck_assert_ptr_null(folder_load("d.conf"));
	ck_assert_str_eq(folder_said(),
	    "@/d.conf:3: the default listeners (port 587 with STARTTLS, 465 with TLS) need a "
	    "certificate: set tls.certificate and tls.key, or choose with listen\n");
	folder_write("cert.pem", "");
	folder_write("d.conf", "me = \"a.example\"; user = \"nobody\"; group = \"nogroup\";\n"
			       "submission = { trusted_networks = \"::1\"; };\n"
			       "tls = { certificate = \"@/cert.pem\"; key = \"@/cert.pem\"; };\n");
	struct conf *c = folder_load("d.conf");
	ck_assert_str_eq(folder_said(), "");
	ck_assert_uint_eq(c->listen_n, 2);
	ck_assert_uint_eq(c->listen[0].address.port, 587);
	ck_assert_int_eq(c->listen[0].tls, CONF_LISTEN_TLS_STARTTLS);
	ck_assert_uint_eq(c->listen[1].address.port, 465);
	ck_assert_int_eq(c->listen[1].tls, CONF_LISTEN_TLS_IMPLICIT);
	ck_assert(!c->listen[0].auth_required);
	conf_unref(&c);
}

END_TEST

START_TEST(required_login_needs_users)
{
	load_bad("submission = { trusted_networks = \"::1\"; users_file = \"\"; };\n"
		 "listen = ( { address = \"[::1]:25\"; tls = \"none\"; auth = \"required\"; } );");
	ck_assert_str_eq(folder_said(),
	    AT2 "listen: auth = \"required\" needs a submission.users_file\n");
}

END_TEST

START_TEST(byte_order_mark)
{
	folder_write("b.conf", "\xef\xbb\xbfme = \"a.example\";");
	ck_assert_ptr_null(folder_load("b.conf"));
	ck_assert_ptr_eq(strstr(folder_said(), "@/b.conf:1: the file begins with a byte order "
					       "mark: save it as UTF-8 without one\n"),
	    folder_said());
}

END_TEST

Suite *test_conf_mistakes_suite(void)
{
	Suite *s = suite_create("conf_mistakes");
	TCase *tc = tcase_create("bad files");
	tcase_add_checked_fixture(tc, folder_make, folder_remove);
	tcase_add_loop_test(tc, one_mistake, 0, ARRAY_LEN(single));
	tcase_add_loop_test(tc, integers_that_wrap, 0, ARRAY_LEN(wrapping));
	tcase_add_test(tc, integers_that_fit);
	tcase_add_test(tc, all_in_the_order_of_lines);
	tcase_add_test(tc, in_an_included_file);
	tcase_add_test(tc, secrets_stay_out);
	tcase_add_test(tc, bad_template);
	tcase_add_test(tc, bad_name);
	tcase_add_test(tc, users_must_exist_for_root);
	tcase_add_loop_test(tc, warned_of, 0, ARRAY_LEN(warnings));
	tcase_add_test(tc, needs_a_certificate_by_default);
	tcase_add_test(tc, required_login_needs_users);
	tcase_add_test(tc, byte_order_mark);
	suite_add_tcase(s, tc);
	return s;
}
