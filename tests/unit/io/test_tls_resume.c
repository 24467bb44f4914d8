#include "io/tls_resume.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/tls_cache.h"
#include "io/tls_private.h"
#include "io/tls_session.h"
#include "lib/unit.h"
#include "unit/io/pump.h"
#include "unit/io/tls_files.h"

#define HOST   "mx.example.com"
#define KEY    "192.0.2.1:25 may"
#define MINUTE ((int64_t)60 * 1000)
#define HOUR   (60 * MINUTE)

enum {
	TURNS = 50,
	FIRST_WALL_S = 1700000000,
};

/* Two sessions on a socket pair, driven by hand, so that time is the test's. */
struct talk {
	struct tls_ctx *client, *server;
	const char *host; /* NULL: HOST */
	const char *key;
	int64_t client_ms, server_ms; /* what the clocks say */
	struct tls_session *end[2];
	int fd[2];
	int result[2];
};

static struct now at(int64_t mono_ms)
{
	return (
	    struct now){ .wall_ms = (int64_t)FIRST_WALL_S * 1000 + mono_ms, .mono_ms = mono_ms };
}

static int handshake(struct tls_session *s)
{
	struct errbuf eb;
	return tls_session_handshake(s, &eb);
}

static void open_talk(struct talk *t)
{
	struct errbuf eb;
	struct tls_session_options o[2] = {
		{ .ctx = t->client,
		    .host = t->host ? t->host : HOST,
		    .resume_key = t->key,
		    .now = at(t->client_ms) },
		{ .ctx = t->server, .server = true, .now = at(t->server_ms) },
	};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, t->fd),
	    0);
	for (int i = 0; i < 2; i++) {
		o[i].fd = t->fd[i];
		ck_assert_int_eq(tls_session_new(&o[i], &t->end[i], &eb), 0);
		t->result[i] = TLS_WANT_READ;
	}
}

static void shake(struct talk *t)
{
	for (int turn = 0; turn < TURNS; turn++)
		for (int i = 0; i < 2; i++)
			if (t->result[i] > 0)
				t->result[i] = handshake(t->end[i]);
}

static void say(struct talk *t, int from)
{
	struct errbuf eb;
	char byte = 'x';
	size_t done;
	ck_assert_int_eq(tls_session_write(t->end[from], &byte, 1, &done, &eb), 0);
	byte = ' ';
	ck_assert_int_eq(tls_session_read(t->end[!from], &byte, 1, &done, &eb), 0);
	ck_assert_int_eq(byte, 'x');
}

static void close_talk(struct talk *t, bool goodbye)
{
	for (int i = 0; i < 2; i++) {
		if (goodbye && t->result[i] == 0)
			tls_session_goodbye(t->end[i]);
		tls_session_free(&t->end[i]);
		close(t->fd[i]);
	}
}

/* A whole connection. True: it was resumed (both sides agree); the handshake must be good. */
static bool is_resumed(struct talk *t, struct tls_info *info_r)
{
	open_talk(t);
	shake(t);
	ck_assert_int_eq(t->result[0], 0);
	ck_assert_int_eq(t->result[1], 0);
	say(t, 0);
	say(t, 1); /* the tickets come with it */
	struct tls_info info = *tls_session_info(t->end[0]);
	ck_assert(tls_session_info(t->end[1])->resumed == info.resumed);
	ck_assert(!tls_session_info(t->end[1])->verified);
	close_talk(t, true);
	if (info_r)
		*info_r = info;
	return info.resumed;
}

static void speak_12(struct talk *t)
{
	SSL_CTX_set_max_proto_version(tls_ctx_handle(t->server), TLS1_2_VERSION);
}

static struct talk start(bool verify)
{
	return (struct talk){ .client = client_ctx(verify, tls_files_cert, "TLSv1.2"),
		.server = server_ctx("TLSv1.2"),
		.key = KEY };
}

static void finish(struct talk *t)
{
	tls_unref(&t->client);
	tls_unref(&t->server);
}

static void other_pair(struct talk *t, const char *name)
{
	struct errbuf eb;
	ck_assert_int_eq(tls_make_self_signed(name, tls_files_cert, tls_files_key, &eb), 0);
	tls_unref(&t->server);
	t->server = server_ctx("TLSv1.2");
}

START_TEST(the_next_connection_resumes_and_keeps_its_proof)
{
	for (int i = 0; i < 4; i++) {
		struct tls_info info;
		struct talk t = start(i & 1);
		if (i & 2)
			speak_12(&t);
		ck_assert(!is_resumed(&t, &info));
		ck_assert(info.verified);
		for (int n = 0; n < 3; n++) {
			ck_assert_msg(is_resumed(&t, &info), "case %d, %d", i, n);
			ck_assert(info.verified);
			ck_assert_str_eq(info.version, i & 2 ? "TLSv1.2" : "TLSv1.3");
		}
		finish(&t);

		/* An opportunistic session with a stranger stays one. */
		t = start(false);
		tls_unref(&t.client);
		t.client = client_ctx(false, "", "TLSv1.2");
		if (i & 2)
			speak_12(&t);
		ck_assert(!is_resumed(&t, &info) && !info.verified);
		ck_assert(is_resumed(&t, &info) && !info.verified);
		finish(&t);
	}
}

END_TEST

START_TEST(only_under_the_same_key_and_name)
{
	struct tls_info info;
	struct talk t = start(false);
	t.key = NULL;
	ck_assert(!is_resumed(&t, NULL));
	ck_assert(!is_resumed(&t, NULL));
	ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 0);
	t.key = KEY;
	ck_assert(!is_resumed(&t, NULL));
	t.key = "192.0.2.1:25 encrypt";
	ck_assert(!is_resumed(&t, NULL));
	t.host = "other.example.com";
	ck_assert(!is_resumed(&t, &info));
	ck_assert(!info.verified);
	t.host = "";
	t.key = KEY;
	ck_assert(!is_resumed(&t, &info) && !info.verified);
	ck_assert(is_resumed(&t, &info) && !info.verified);
	t.host = NULL;
	ck_assert(is_resumed(&t, &info) && info.verified);
	finish(&t);
}

END_TEST

/* What a context that takes anything has learnt is of no use to one that verifies. */
START_TEST(an_opportunistic_session_never_verifies)
{
	struct talk t = start(false);
	other_pair(&t, "wrong.example.com");
	ck_assert(!is_resumed(&t, NULL));
	struct tls_ctx *may = t.client;
	t.client = client_ctx(true, tls_files_cert, "TLSv1.2");
	open_talk(&t);
	shake(&t);
	ck_assert_int_eq(t.result[0], ERR_TLS);
	close_talk(&t, false);
	ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 0);
	tls_unref(&t.client);
	t.client = may;
	ck_assert(is_resumed(&t, NULL));
	finish(&t);
}

END_TEST

/* A new context of the server knows no old ticket: what it shows is looked at. */
START_TEST(a_new_certificate_is_looked_at)
{
	struct tls_info info;
	struct talk t = start(true);
	ck_assert(!is_resumed(&t, NULL));
	tls_unref(&t.server);
	t.server = server_ctx("TLSv1.2"); /* the same certificate, read again */
	ck_assert(!is_resumed(&t, &info) && info.verified);
	ck_assert(is_resumed(&t, &info) && info.verified);
	other_pair(&t, "wrong.example.com");
	for (int i = 0; i < 2; i++) {
		open_talk(&t);
		shake(&t);
		ck_assert_int_eq(t.result[0], ERR_TLS);
		close_talk(&t, false);
		ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 0);
	}
	finish(&t);
}

END_TEST

/* One of TLS 1.3 is in one place only; one of TLS 1.2 as often as need be. */
START_TEST(a_ticket_of_tls13_serves_one_at_a_time)
{
	for (int version = 12; version <= 13; version++) {
		struct talk t = start(true);
		if (version == 12)
			speak_12(&t);
		ck_assert(!is_resumed(&t, NULL));
		ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 1);
		struct talk a = t;
		struct talk b = t;
		open_talk(&a);
		ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), version == 12);
		open_talk(&b);
		shake(&a);
		shake(&b);
		ck_assert(tls_session_info(a.end[0])->resumed);
		ck_assert(tls_session_info(b.end[0])->resumed == (version == 12));
		ck_assert(tls_session_info(b.end[0])->verified);
		/* Who came with one goes with another. */
		ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), version == 12);
		say(&a, 0);
		say(&a, 1);
		ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 1);
		close_talk(&a, true);
		close_talk(&b, true);
		finish(&t);
	}
}

END_TEST

/* A host that gives one ticket and no more: it serves again, but not after a failure. */
START_TEST(a_ticket_not_exchanged_serves_again)
{
	struct talk t = start(true);
	ck_assert(!is_resumed(&t, NULL));
	SSL_CTX_set_num_tickets(tls_ctx_handle(t.server), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_msg(is_resumed(&t, NULL), "time %d", i);
	ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 1);
	open_talk(&t);
	ck_assert_int_eq(write(t.fd[1], "421 too busy\r\n", 14), 14);
	ck_assert_int_eq(handshake(t.end[0]), ERR_TLS);
	close_talk(&t, false);
	ck_assert(!is_resumed(&t, NULL));
	ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 0);
	finish(&t);
}

END_TEST

/* However a handshake that offered or might have offered one ends but good. */
START_TEST(a_failed_handshake_forgets)
{
	struct talk t = start(true);
	speak_12(&t);
	ck_assert(!is_resumed(&t, NULL));
	ck_assert(is_resumed(&t, NULL));
	open_talk(&t);
	ck_assert_int_eq(write(t.fd[1], "421 too busy\r\n", 14), 14);
	ck_assert_int_eq(handshake(t.end[0]), ERR_TLS);
	close_talk(&t, false);
	ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 0);
	ck_assert(!is_resumed(&t, NULL));
	ck_assert(is_resumed(&t, NULL));
	open_talk(&t); /* given up in the middle */
	ck_assert_int_eq(handshake(t.end[0]), TLS_WANT_READ);
	close_talk(&t, false);
	ck_assert(!is_resumed(&t, NULL));
	finish(&t);
}

END_TEST

/* Much of the mail world just hangs up. */
START_TEST(no_goodbye_is_no_failure)
{
	for (int version = 12; version <= 13; version++) {
		struct talk t = start(true);
		if (version == 12)
			speak_12(&t);
		open_talk(&t);
		shake(&t);
		say(&t, 0);
		say(&t, 1);
		close_talk(&t, false);
		ck_assert(is_resumed(&t, NULL));
		finish(&t);
	}
}

END_TEST

/* The same certificate, 9,000 bytes longer. */
static void show_long_certificate(SSL_CTX *ctx)
{
	char text[9001];
	EVP_PKEY *key = SSL_CTX_get0_privatekey(ctx);
	X509 *cert = X509_dup(SSL_CTX_get0_certificate(ctx));
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_netscape_comment, text);
	ck_assert_int_eq(X509_add_ext(cert, ext, -1), 1);
	ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
	ck_assert_int_eq(SSL_CTX_use_certificate(ctx, cert), 1);
	X509_EXTENSION_free(ext);
	X509_free(cert);
}

START_TEST(what_costs_too_much_is_not_kept)
{
	for (int extra = 4; extra <= 5; extra++) {
		struct talk t = start(false);
		X509 *cert = SSL_CTX_get0_certificate(tls_ctx_handle(t.server));
		for (int i = 0; i < extra; i++)
			ck_assert_int_eq(SSL_CTX_add1_chain_cert(tls_ctx_handle(t.server), cert),
			    1);
		ck_assert(!is_resumed(&t, NULL));
		ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), extra == 4);
		finish(&t);
	}

	struct talk t = start(false);
	show_long_certificate(tls_ctx_handle(t.server));
	ck_assert(!is_resumed(&t, NULL));
	ck_assert_uint_eq(tls_cache_count(tls_ctx_cache(t.client)), 0);
	finish(&t);
}

END_TEST

/* A server's word on how long; session ids, instead of tickets, come without one. */
START_TEST(lifetimes_are_kept)
{
	for (int version = 12; version <= 13; version++) {
		struct talk t = start(false);
		if (version == 12)
			speak_12(&t);
		SSL_CTX_set_timeout(tls_ctx_handle(t.server), 1800);
		ck_assert(!is_resumed(&t, NULL));
		t.client_ms = 30 * MINUTE - 1;
		ck_assert(is_resumed(&t, NULL));
		t.client_ms += 30 * MINUTE;
		ck_assert(!is_resumed(&t, NULL));
		finish(&t);
	}
	struct talk t = start(false);
	speak_12(&t);
	SSL_CTX_set_options(tls_ctx_handle(t.server), SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(tls_ctx_handle(t.server), SSL_SESS_CACHE_SERVER);
	ck_assert(!is_resumed(&t, NULL));
	t.client_ms = 2 * HOUR - 1;
	ck_assert(is_resumed(&t, NULL));
	t.client_ms = 2 * HOUR;
	ck_assert(!is_resumed(&t, NULL));
	finish(&t);
}

END_TEST

/* However often it is renewed: a day after the full handshake comes the next one. */
START_TEST(a_proof_lasts_a_day)
{
	struct talk t = start(true);
	ck_assert(!is_resumed(&t, NULL));
	for (int64_t h = 6; h <= 24; h += 6) {
		t.client_ms = t.server_ms = h * HOUR - 1;
		ck_assert_msg(is_resumed(&t, NULL), "hour %d", (int)h);
	}
	t.client_ms = t.server_ms = 24 * HOUR;
	ck_assert(!is_resumed(&t, NULL));
	finish(&t);
}

END_TEST

/* Nor does a proof outlive the certificate it was made with. */
START_TEST(a_proof_ends_with_its_certificate)
{
	struct talk t = start(true);
	const X509 *cert = SSL_CTX_get0_certificate(tls_ctx_handle(t.server));
	ASN1_TIME *from = ASN1_TIME_set(NULL, FIRST_WALL_S);
	int days, seconds;
	ck_assert_int_eq(ASN1_TIME_diff(&days, &seconds, from, X509_get0_notAfter(cert)), 1);
	ASN1_TIME_free(from);
	int64_t end_ms = ((int64_t)days * 86400 + seconds) * 1000;
	t.client_ms = t.server_ms = end_ms - HOUR;
	ck_assert(!is_resumed(&t, NULL));
	t.client_ms = t.server_ms = end_ms - MINUTE;
	ck_assert(is_resumed(&t, NULL));
	t.client_ms = t.server_ms = end_ms;
	ck_assert(!is_resumed(&t, NULL));
	t.client_ms = t.server_ms = end_ms + 1;
	ck_assert(!is_resumed(&t, NULL)); /* of what was proved too late nothing is kept */
	finish(&t);
}

END_TEST

/* The client's clock stands still, so it offers what it has; the server's keys turn. */
START_TEST(old_tickets_are_taken_expired_ones_are_not)
{
	static const struct {
		int64_t sealed_ms, shown_ms;
		bool good;
	} cases[] = {
		{ 0, 6 * HOUR - 1, true },
		{ 0, 6 * HOUR, true }, /* the key is no longer the newest */
		{ 0, 18 * HOUR - 1, true },
		{ 0, 18 * HOUR, false },
		{ 6 * HOUR - 1, 18 * HOUR - 1, true },
		{ 6 * HOUR - 1, 18 * HOUR, false }, /* the key is too old, whatever the ticket is */
		{ 6 * HOUR, 24 * HOUR - 1, true },
		{ 0, 240 * HOUR, false },
	};

	for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
		size_t c = i / 2;
		struct talk t = start(false);
		if (i & 1)
			speak_12(&t);
		t.key = NULL;
		ck_assert(!is_resumed(&t, NULL)); /* makes the first key, at 0 */
		t.key = KEY;
		t.server_ms = cases[c].sealed_ms;
		ck_assert(!is_resumed(&t, NULL));
		t.server_ms = cases[c].shown_ms;
		ck_assert_msg(is_resumed(&t, NULL) == cases[c].good, "case %zu", c);
		ck_assert_msg(is_resumed(&t, NULL), "after %zu %d", c, (int)i & 1);
		finish(&t);
	}
}

END_TEST

struct job {
	struct talk talk;
	unsigned resumed;
};

static void *connect_often(void *arg)
{
	struct job *job = arg;
	for (int i = 0; i < 40; i++) {
		/* The keys turn under way; the client's clock stands still. */
		job->talk.server_ms = i * HOUR;
		job->resumed += is_resumed(&job->talk, NULL);
	}
	return NULL;
}

START_TEST(threads_share_contexts)
{
	for (int version = 12; version <= 13; version++) {
		struct job jobs[4];
		pthread_t threads[4];
		unsigned resumed = 0;
		struct talk t = start(true);
		if (version == 12)
			speak_12(&t);
		for (int i = 0; i < 4; i++) {
			jobs[i] = (struct job){ .talk = t };
			ck_assert_int_eq(pthread_create(&threads[i], NULL, connect_often, &jobs[i]),
			    0);
		}
		for (int i = 0; i < 4; i++) {
			pthread_join(threads[i], NULL);
			resumed += jobs[i].resumed;
		}
		ck_assert_uint_gt(resumed, 20);
		ck_assert_uint_le(tls_cache_count(tls_ctx_cache(t.client)), TLS_CACHE_PER_KEY);
		finish(&t);
	}
}

END_TEST

Suite *test_tls_resume_suite(void)
{
	Suite *s = suite_create("tls_resume");
	TCase *t = tcase_create("tls_resume");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, tls_files_make, scratch_remove);
	tcase_add_test(t, the_next_connection_resumes_and_keeps_its_proof);
	tcase_add_test(t, only_under_the_same_key_and_name);
	tcase_add_test(t, an_opportunistic_session_never_verifies);
	tcase_add_test(t, a_new_certificate_is_looked_at);
	tcase_add_test(t, a_ticket_of_tls13_serves_one_at_a_time);
	tcase_add_test(t, a_ticket_not_exchanged_serves_again);
	tcase_add_test(t, a_failed_handshake_forgets);
	tcase_add_test(t, no_goodbye_is_no_failure);
	tcase_add_test(t, what_costs_too_much_is_not_kept);
	tcase_add_test(t, lifetimes_are_kept);
	tcase_add_test(t, a_proof_lasts_a_day);
	tcase_add_test(t, a_proof_ends_with_its_certificate);
	tcase_add_test(t, old_tickets_are_taken_expired_ones_are_not);
	tcase_add_test(t, threads_share_contexts);
	suite_add_tcase(s, t);
	return s;
}
