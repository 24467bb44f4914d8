/* Good files: values, defaults, includes, templates, references. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unit.h"
#include "unit/conf/folder.h"

START_TEST(defaults)
{
	struct conf *c = folder_conf("");
	ck_assert_str_eq(c->me, "relay.example");
	ck_assert_str_eq(c->spool, LOCALSTATEDIR "/spool/postrider");
	ck_assert_uint_eq(c->shards, 0);
	ck_assert_str_eq(c->tls.min_version, "TLSv1.2");
	ck_assert_str_eq(c->tls.certificate, "");
	ck_assert_str_eq(c->submission.users_file, SYSCONFDIR "/postrider/users");
	ck_assert_str_eq(c->submission.mechanisms, "PLAIN LOGIN");
	ck_assert(c->submission.require_tls);
	ck_assert(!c->submission.reject_bare_newlines);
	ck_assert_int_eq(c->submission.sender_check, ADMISSION_SENDER_LOGIN);
	ck_assert_uint_eq(c->submission.max_message_size, 25u << 20);
	ck_assert_uint_eq(c->submission.max_recipients, 1000);
	ck_assert_uint_eq(c->submission.max_connections, 1000);
	ck_assert_uint_eq(c->submission.max_connections_per_ip, 50);
	ck_assert_uint_eq(c->submission.max_received, 100);
	ck_assert_uint_eq(c->submission.rate.count, 0);
	ck_assert(!c->outbound.disabled && c->outbound.enable_tls);
	ck_assert(!c->outbound.always_split && !c->outbound.local_mx_ok);
	ck_assert_uint_eq(c->outbound.concurrency_max, 10000);
	ck_assert_uint_eq(c->outbound.retry.intervals_n, 12);
	ck_assert_uint_eq(c->outbound.retry.intervals_s[0], 64);
	ck_assert_uint_eq(c->outbound.retry.intervals_s[11], 131072);
	ck_assert_int_eq(c->outbound.retry.lifetime_s, 5 * 86400);
	ck_assert_str_eq(c->outbound.received_header, "Postrider outbound");
	ck_assert_int_eq(c->outbound.connect_timeout_s, 30);
	ck_assert_int_eq(c->outbound.inet_prefer, MX_PREFER_DEFAULT);
	ck_assert_uint_eq(c->outbound.port, 25);
	ck_assert_int_eq(c->outbound.shutdown_timeout_s, 20);
	ck_assert_uint_eq(c->outbound.spool_min_free_percent, 5);
	ck_assert_uint_eq(c->outbound.spool_min_free_bytes, 0);
	ck_assert_int_eq(c->outbound.timeouts.greeting_s, 300);
	ck_assert_int_eq(c->outbound.timeouts.dot_s, 600);
	ck_assert_int_eq(c->outbound.timeouts.quit_s, 5);
	ck_assert_str_eq(c->dns.servers, "");
	ck_assert_int_eq(c->dns.timeout_ms, 5000);
	ck_assert_int_eq(c->dns.tries, 2);
	ck_assert_uint_eq(c->routes_n, 0);
	ck_assert_uint_eq(c->tls_policy_n, 0);
	ck_assert_ptr_null(c->bounce.failed);
	ck_assert_int_eq(c->log.level, LOG_LEVEL_INFO);
	ck_assert_int_eq(c->log.format, LOG_FORMAT_DEFAULT);
	ck_assert(!c->log.timestamps);
	ck_assert_str_eq(c->log.to, "stderr");
	ck_assert_str_eq(c->events_file, LOCALSTATEDIR "/log/postrider/events.jsonl");
	ck_assert_str_eq(c->control_socket, "/run/postrider/control.sock");
	conf_unref(&c);
	ck_assert_ptr_null(c);
}

END_TEST

START_TEST(values)
{
	struct conf *c = folder_conf(
	    "spool = \"/s\"; shards = 1;\n"
	    "tls = { min_version = \"TLSv1.3\"; ciphers = \"HIGH\"; };\n"
	    "submission = { trusted_networks = [ \"10.0.0.0/8\", \"2001:db8::/32\" ]; users_file = "
	    "\"\";\n"
	    "  mechanisms = [ \"plain\" ]; require_tls = false; bare_newlines = \"reject\";\n"
	    "  sender_check = \"domain\"; max_message_size = 1000000; rate = \"500/1h\"; };\n"
	    "outbound = { disabled = true; temp_fail_intervals = \"10s, 1m*2\"; lifetime = "
	    "\"1h30m\";\n"
	    "  connect_timeout = 7; inet_prefer = \"v6\"; port = 2525; spool_min_free = \"1G\";\n"
	    "  received_header = \"disabled\"; shutdown_timeout = 0;\n"
	    "  tls = { min_version = \"TLSv1\"; }; timeouts = { dot = \"1m\"; rcpt = 9; }; };\n"
	    "dns = { servers = ( \"127.0.0.1:5353\", \"::1\" ); timeout = \"2s\"; tries = 1; };\n"
	    "log = { level = \"debug\"; format = \"json\"; timestamps = true; to = \"/l\"; };\n"
	    "events = { file = \"\"; }; control = { socket = \"\"; };\n");
	ck_assert_str_eq(c->spool, "/s");
	ck_assert_uint_eq(c->shards, 1);
	ck_assert_str_eq(c->tls.min_version, "TLSv1.3");
	ck_assert_str_eq(c->tls.ciphers, "HIGH");
	ck_assert_uint_eq(c->submission.trusted_networks_n, 2);
	ck_assert_uint_eq(c->submission.trusted_networks[1].bits, 32);
	ck_assert_str_eq(c->submission.users_file, "");
	ck_assert_str_eq(c->submission.mechanisms, "PLAIN");
	ck_assert(!c->submission.require_tls);
	ck_assert(c->submission.reject_bare_newlines);
	ck_assert_int_eq(c->submission.sender_check, ADMISSION_SENDER_DOMAIN);
	ck_assert_uint_eq(c->submission.max_message_size, 1000000);
	ck_assert_uint_eq(c->submission.rate.count, 500);
	ck_assert_int_eq(c->submission.rate.period_s, 3600);
	ck_assert(c->outbound.disabled);
	ck_assert_uint_eq(c->outbound.retry.intervals_n, 3);
	ck_assert_uint_eq(c->outbound.retry.intervals_s[2], 60);
	ck_assert_int_eq(c->outbound.retry.lifetime_s, 5400);
	ck_assert_int_eq(c->outbound.connect_timeout_s, 7);
	ck_assert_int_eq(c->outbound.inet_prefer, MX_PREFER_V6);
	ck_assert_uint_eq(c->outbound.port, 2525);
	ck_assert_uint_eq(c->outbound.spool_min_free_bytes, 1u << 30);
	ck_assert_uint_eq(c->outbound.spool_min_free_percent, 0);
	ck_assert_str_eq(c->outbound.received_header, "disabled");
	ck_assert_int_eq(c->outbound.shutdown_timeout_s, 0);
	ck_assert_str_eq(c->outbound.tls_min_version, "TLSv1");
	ck_assert_int_eq(c->outbound.timeouts.dot_s, 60);
	ck_assert_int_eq(c->outbound.timeouts.rcpt_s, 9);
	ck_assert_int_eq(c->outbound.timeouts.mail_s, 300);
	ck_assert_str_eq(c->dns.servers, "127.0.0.1:5353,[::1]:53");
	ck_assert_int_eq(c->dns.timeout_ms, 2000);
	ck_assert_int_eq(c->dns.tries, 1);
	ck_assert_int_eq(c->log.level, LOG_LEVEL_DEBUG);
	ck_assert_int_eq(c->log.format, LOG_FORMAT_JSON);
	ck_assert(c->log.timestamps);
	ck_assert_str_eq(c->log.to, "/l");
	ck_assert_str_eq(c->events_file, "");
	ck_assert_str_eq(c->control_socket, "");
	conf_unref(&c);
}

END_TEST

static const struct {
	const char *text;
	size_t n;
	uint32_t first, last;
} schedules[] = {
	{ "temp_fail_intervals = \"none\";", 0, 0, 0 },
	{ "temp_fail_intervals = \" None \";", 0, 0, 0 },
	{ "temp_fail_intervals = \"\";", 12, 64, 131072 },
	{ "max_temp_failures = 1;", 0, 0, 0 },
	{ "max_temp_failures = 5;", 4, 64, 512 },
	{ "max_temp_failures = 5; temp_fail_intervals = \"5s\";", 1, 5, 5 },
	{ "temp_fail_intervals = \"1m, 5m*2, 1h*3\";", 6, 60, 3600 },
};

START_TEST(schedule)
{
	char text[256];
	snprintf(text, sizeof(text), "outbound = { %s };", schedules[_i].text);
	struct conf *c = folder_conf(text);
	const struct retry_policy *r = &c->outbound.retry;
	ck_assert_uint_eq(r->intervals_n, schedules[_i].n);
	if (r->intervals_n > 0) {
		ck_assert_uint_eq(r->intervals_s[0], schedules[_i].first);
		ck_assert_uint_eq(r->intervals_s[r->intervals_n - 1], schedules[_i].last);
	}
	conf_unref(&c);
}

END_TEST

START_TEST(name_becomes_ascii)
{
	char text[512];
	snprintf(text, sizeof(text), "%s listen = ( );", strchr(folder_base(), ';') + 1);
	struct conf *c;
	char full[1024];
	snprintf(full, sizeof(full), "me = \"Rel\xc3\xa4y.Example\"; %s", text);
	folder_write("a.conf", full);
	c = folder_load("a.conf");
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->me, "xn--rely-noa.example");
	conf_unref(&c);
	snprintf(full, sizeof(full), "me = \"[192.0.2.1]\"; %s", text);
	folder_write("a.conf", full);
	c = folder_load("a.conf");
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->me, "[192.0.2.1]");
	conf_unref(&c);
}

END_TEST

START_TEST(includes)
{
	folder_write("more.conf", "port = 26; # 5000000000 in a comment\n");
	struct conf *c =
	    folder_conf("outbound = {\n@include \"more.conf\"\n};\n"
			"// 5000000000\n/* 5000000000 */ log = { to = \"/5000000000\"; };");
	ck_assert_uint_eq(c->outbound.port, 26);
	conf_unref(&c);
}

END_TEST

START_TEST(template)
{
	folder_write("failed.txt", "Subject: undelivered\n\nAbout {to}: {reason}\n");
	folder_write("own.txt", "Subject: sorry\n\nNo {to}.\n");
	struct conf *c = folder_conf("");
	ck_assert_ptr_nonnull(c->bounce.failed);
	conf_unref(&c);
	char text[512];
	snprintf(text, sizeof(text),
	    "user = \"%s\"; group = \"%s\"; me = \"a.example\"; listen = ( );\n"
	    "bounce = { directory = \"/nonexistent\"; text = \"@/own.txt\"; };",
	    "nobody", "nogroup");
	folder_write("b.conf", text);
	c = folder_load("b.conf");
	ck_assert_str_eq(folder_said(), "");
	ck_assert_ptr_nonnull(c->bounce.failed);
	conf_unref(&c);
}

END_TEST

START_TEST(references)
{
	struct conf *c =
	    folder_conf("routes = ( { domain = \"*\"; mx = \"smtp://u:p@h.example\"; } );");
	struct conf *again = conf_ref(c);
	ck_assert_ptr_eq(again, c);
	conf_unref(&c);
	ck_assert_ptr_null(c);
	ck_assert_str_eq(again->routes[0].hops[0].password, "p");
	conf_unref(&again);
	conf_unref(&again);
}

END_TEST

START_TEST(unreadable_file)
{
	ck_assert_ptr_null(folder_load("missing.conf"));
	ck_assert_str_eq(folder_said(),
	    "@/missing.conf:1: cannot read: No such file or directory\n");
	struct conf *c;
	FILE *null = fopen("/dev/null", "we");
	ck_assert_int_eq(conf_load("/nonexistent/x", &c, null), -ENOENT);
	ck_assert_int_eq(conf_load("/tmp", &c, null), -EISDIR);
	ck_assert_ptr_null(c);
	fclose(null);
}

END_TEST

static char *dump(const struct conf *c)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	conf_dump(c, to);
	fclose(to);
	return text;
}

/* What a dump says loads to the same dump. */
START_TEST(dump_loads_again)
{
	struct conf *c = folder_conf(
	    "listen = ( { address = \"127.0.0.1:587\"; tls = \"none\"; auth = \"optional\"; } );\n"
	    "submission = { trusted_networks = [ \"::1\" ]; rate = \"7/90s\"; max_message_size = "
	    "1025; };\n"
	    "outbound = { temp_fail_intervals = \"7s, 1m*3\"; connect_timeout = 3599; lifetime = "
	    "90061; };\n"
	    "dns = { servers = [ \"[::1]:54\", \"192.0.2.1\" ]; };\n"
	    "routes = ( { domain = \".a.example\"; mx = [ \"[2001:db8::1]:26\", "
	    "\"lmtp://h.example\",\n"
	    "  \"smtps://h2.example\", \"unix:/x\" ]; bind = \"::1\"; helo = \"h.example\"; tls = "
	    "\"none\"; } );\n"
	    "traffic = ( { site = \"big.example\"; connections = 3; connection_age = 61; "
	    "rate = \"7\"; },\n"
	    "  { site = \"default\"; idle_timeout = 0; chunking = false; "
	    "connection_rate = \"100/90s\"; } );\n"
	    "tls_policy = ( { domain = \"*\"; level = \"encrypt\"; } );\n"
	    "log = { to = \"/a\\\"b\\\\c\"; };");
	char *first = dump(c);
	conf_unref(&c);
	folder_write("dump.conf", first);
	c = folder_load("dump.conf");
	ck_assert_str_eq(folder_said(), "");
	ck_assert_ptr_nonnull(c);
	char *second = dump(c);
	ck_assert_str_eq(first, second);
	ck_assert_ptr_nonnull(strstr(first, "temp_fail_intervals = \"7s, 60s*3\";"));
	ck_assert_ptr_nonnull(strstr(first, "rate = \"7/1m30s\";"));
	ck_assert_ptr_nonnull(strstr(first, "lifetime = \"90061s\";"));
	ck_assert_ptr_nonnull(strstr(first,
	    "{ site = \"big.example\"; connections = 3; deliveries_per_connection = 100; "
	    "rate = \"7/1s\"; connection_rate = \"100/1m30s\"; "
	    "idle_timeout = \"0s\"; connection_age = \"1m1s\"; pipelining = true; "
	    "chunking = false; }"));
	free(first);
	free(second);
	conf_unref(&c);
}

END_TEST

START_TEST(dump_hides_passwords)
{
	struct conf *c =
	    folder_conf("routes = ( { domain = \"*\"; mx = \"smtp://u:secret@h.example\"; } );");
	char *text = dump(c);
	ck_assert_ptr_null(strstr(text, "secret"));
	ck_assert_ptr_nonnull(strstr(text, "smtp://u:****@h.example:25"));
	free(text);
	conf_unref(&c);
}

END_TEST

START_TEST(differences)
{
	char buf[256];
	struct conf *a = folder_conf("");
	struct conf *b = folder_conf("log = { level = \"debug\"; };");
	conf_diff_static(a, b, buf, sizeof(buf));
	ck_assert_str_eq(buf, "");
	conf_unref(&b);
	b = folder_conf("spool = \"/s\"; shards = 1; control = { socket = \"/c\"; };\n"
			"listen = ( { address = \"127.0.0.1:26\"; tls = \"none\"; } );");
	conf_diff_static(a, b, buf, sizeof(buf));
	ck_assert_str_eq(buf, "listen, spool, shards, control.socket");
	conf_diff_static(a, b, buf, 9); /* cut, but terminated */
	ck_assert_str_eq(buf, "listen, ");
	conf_unref(&a);
	conf_unref(&b);
}

END_TEST

Suite *test_conf_load_suite(void)
{
	Suite *s = suite_create("conf_load");
	TCase *tc = tcase_create("good files");
	tcase_add_checked_fixture(tc, folder_make, folder_remove);
	tcase_add_test(tc, defaults);
	tcase_add_test(tc, values);
	tcase_add_loop_test(tc, schedule, 0, ARRAY_LEN(schedules));
	tcase_add_test(tc, name_becomes_ascii);
	tcase_add_test(tc, includes);
	tcase_add_test(tc, template);
	tcase_add_test(tc, references);
	tcase_add_test(tc, unreadable_file);
	tcase_add_test(tc, dump_loads_again);
	tcase_add_test(tc, dump_hides_passwords);
	tcase_add_test(tc, differences);
	suite_add_tcase(s, tc);
	return s;
}
