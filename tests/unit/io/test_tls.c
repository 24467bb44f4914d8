#include "io/tls.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/stream.h"
#include "io/tls_private.h"
#include "lib/unit.h"
#include "unit/io/pump.h"
#include "unit/io/tls_files.h"

static void start_server(struct pair *p, struct tls_ctx *ctx, int timeout_ms)
{
	stream_start_tls(p->end[1],
	    &(struct stream_tls_options){ .ctx = ctx, .server = true, .timeout_ms = timeout_ms });
}

static void start_client(struct pair *p, struct tls_ctx *ctx, const char *host,
    const char *resume_key)
{
	stream_start_tls(p->end[0], &(struct stream_tls_options){ .ctx = ctx,
					.host = host,
					.resume_key = resume_key,
					.timeout_ms = PUMP_MS });
}

static bool is_settled(void *arg)
{
	struct pair *p = arg;
	return stream_state(p->end[0]) != STREAM_HANDSHAKE &&
	       stream_state(p->end[1]) != STREAM_HANDSHAKE;
}

/* Opens a pair and runs the handshake to its end, good or bad. Takes both contexts. */
static void shake(struct pair *p, struct loop *l, struct tls_ctx *client, struct tls_ctx *server,
    const char *host)
{
	pair_open(p, l);
	start_server(p, server, PUMP_MS);
	start_client(p, client, host, NULL);
	/* Sessions keep their own hold on the context. */
	tls_unref(&client);
	tls_unref(&server);
	ck_assert_int_eq(stream_state(p->end[0]), STREAM_HANDSHAKE);
	ck_assert_ptr_null(stream_tls(p->end[0]));
	pump_until(l, is_settled, p);
}

static void expect_open(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		ck_assert_msg(stream_state(p->end[i]) == STREAM_OPEN, "end %d: %s", i,
		    stream_error_text(p->end[i]));
	pair_say(p, 0, "EHLO me\r\n");
	pair_expect(p, 1, "EHLO me\r\n");
	pair_say(p, 1, "250 you\r\n");
	pair_expect(p, 0, "250 you\r\n");
}

START_TEST(files_are_private_and_name_their_errors)
{
	struct stat st;
	struct errbuf eb;
	struct tls_ctx *ctx = NULL;
	char other[256];
	char other_key[256];
	ck_assert_int_eq(stat(tls_files_key, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(tls_files_cert, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_lt(tls_make_self_signed("x", "/nonexistent/c", "/nonexistent/k", &eb), 0);
	ck_assert_ptr_nonnull(strstr(eb.text, "/nonexistent/k"));

	struct tls_server_options o = { .certificate = "/nonexistent/c",
		.key = tls_files_key,
		.min_version = "TLSv1.2",
		.ciphers = "" };
	ck_assert_int_eq(tls_server_new(&o, &ctx, &eb), ERR_TLS);
	ck_assert_str_eq(eb.text, "/nonexistent/c: No such file or directory");
	o.certificate = tls_files_key; /* a file, but no certificate in it */
	ck_assert_int_eq(tls_server_new(&o, &ctx, &eb), ERR_TLS);
	ck_assert_ptr_nonnull(strstr(eb.text, tls_files_key));
	o.certificate = tls_files_cert;
	o.key = "/nonexistent/k";
	ck_assert_int_eq(tls_server_new(&o, &ctx, &eb), ERR_TLS);
	ck_assert_ptr_nonnull(strstr(eb.text, "/nonexistent/k"));
	scratch_path("other.pem", other);
	scratch_path("other.key", other_key);
	ck_assert_int_eq(tls_make_self_signed("192.0.2.1", other, other_key, &eb), 0);
	o.key = other_key;
	ck_assert_int_eq(tls_server_new(&o, &ctx, &eb), ERR_TLS);
	ck_assert_ptr_nonnull(strstr(eb.text, other_key));
	o.key = tls_files_key;
	o.min_version = "SSLv3";
	ck_assert_int_lt(tls_server_new(&o, &ctx, &eb), 0);
	ck_assert_ptr_nonnull(strstr(eb.text, "SSLv3"));
	o.min_version = "TLSv1.2";
	o.ciphers = "nonsense";
	ck_assert_int_lt(tls_server_new(&o, &ctx, &eb), 0);
	ck_assert_ptr_nonnull(strstr(eb.text, "nonsense"));
	ck_assert_ptr_null(ctx);

	struct tls_trust *trust = NULL;
	ck_assert_int_eq(tls_trust_new("/nonexistent/ca", &trust, &eb), ERR_TLS);
	ck_assert_ptr_nonnull(strstr(eb.text, "/nonexistent/ca"));
	ck_assert_int_eq(tls_trust_new(tls_files_key, &trust, &eb), ERR_TLS);
	ck_assert_ptr_nonnull(strstr(eb.text, tls_files_key));
	ck_assert_ptr_null(trust);
	tls_unref(&ctx);
	ck_assert_ptr_null(tls_ref(NULL));
}

END_TEST

START_TEST(opportunistic_takes_any_certificate)
{
	struct pair p;
	struct loop *l = loop_new();
	shake(&p, l, client_ctx(false, "", "TLSv1.2"), server_ctx("TLSv1.2"), "other.example.com");
	expect_open(&p);
	const struct tls_info *info = stream_tls(p.end[0]);
	ck_assert_str_eq(info->version, "TLSv1.3");
	ck_assert_ptr_nonnull(strstr(info->cipher, "TLS_"));
	ck_assert(!info->verified);
	ck_assert_str_eq(stream_tls(p.end[1])->version, "TLSv1.3");
	ck_assert(!stream_tls(p.end[1])->verified);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

static const struct {
	const char *host;
	bool ca; /* the certificate is trusted */
	bool good;
} cases[] = {
	{ "mx.example.com", true, true },
	{ "MX.Example.COM", true, true },
	{ "mx.example.com.", true, true },
	{ "mx.example.com", false, false },
	{ "other.example.com", true, false },
	{ "example.com", true, false },
	{ "127.0.0.1", true, false },
	{ "", true, false },
};

/* What a verifying client refuses, an opportunistic one takes and notes. */
START_TEST(verification_is_noted_or_enforced)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pair p;
		struct loop *l = loop_new();
		const char *ca = cases[i].ca ? tls_files_cert : "";
		shake(&p, l, client_ctx(false, ca, "TLSv1.2"), server_ctx("TLSv1.2"),
		    cases[i].host);
		expect_open(&p);
		ck_assert_msg(stream_tls(p.end[0])->verified == cases[i].good, "case %zu", i);
		pair_close(&p);

		pair_open(&p, l);
		struct tls_ctx *client = client_ctx(true, ca, "TLSv1.2");
		struct tls_ctx *server = server_ctx("TLSv1.2");
		start_server(&p, server, PUMP_MS);
		unsigned notes = p.notes[0];
		start_client(&p, client, cases[i].host, NULL);
		ck_assert_uint_eq(p.notes[0], notes); /* never from inside */
		tls_unref(&client);
		tls_unref(&server);
		pair_wait_state(&p, 0, cases[i].good ? STREAM_OPEN : STREAM_FAILED);
		if (cases[i].good) {
			pair_wait_state(&p, 1, STREAM_OPEN);
			expect_open(&p);
			ck_assert(stream_tls(p.end[0])->verified);
		} else {
			ck_assert_int_eq(stream_error(p.end[0]), ERR_TLS);
			ck_assert_str_ne(stream_error_text(p.end[0]), "");
			pump_for(l, 10);
			ck_assert_uint_eq(p.notes[0], notes + 1);
		}
		if (!cases[i].good && *cases[i].host)
			ck_assert_msg(strstr(stream_error_text(p.end[0]), "verify failed: "), "%s",
			    stream_error_text(p.end[0]));
		pair_close(&p);
		loop_free(&l);
	}
}

END_TEST

static void expect_verified(struct loop *l, struct tls_ctx *client)
{
	struct pair p;
	shake(&p, l, client, server_ctx("TLSv1.2"), "mx.example.com");
	expect_open(&p);
	ck_assert(stream_tls(p.end[0])->verified);
	pair_close(&p);
}

/* Reading it takes longer than all the rest of a start: so not before the first session, and once
 * for all contexts. */
START_TEST(the_store_of_the_system_is_read_when_it_is_needed)
{
	char path[256];
	struct errbuf eb;
	struct loop *l = loop_new();
	struct tls_client_options o = { .min_version = "TLSv1.2", .ciphers = "" };
	struct tls_ctx *may = NULL, *verify = NULL;
	scratch_path("roots.pem", path);
	ck_assert_int_eq(setenv("SSL_CERT_FILE", path, 1), 0);
	ck_assert_int_eq(tls_trust_new("", &o.trust, &eb), 0);
	ck_assert_int_eq(tls_client_new(&o, &may, &eb), 0);
	o.verify = true;
	ck_assert_int_eq(tls_client_new(&o, &verify, &eb), 0);
	tls_trust_unref(&o.trust);
	ck_assert_int_eq(link(tls_files_cert, path), 0);
	expect_verified(l, may);
	ck_assert_int_eq(unlink(path), 0);
	expect_verified(l, verify);
	ck_assert_int_eq(unsetenv("SSL_CERT_FILE"), 0);
	loop_free(&l);
}

END_TEST

START_TEST(a_store_that_is_named_is_read_at_once)
{
	char path[256];
	struct loop *l = loop_new();
	scratch_path("roots.pem", path);
	ck_assert_int_eq(link(tls_files_cert, path), 0);
	struct tls_ctx *verify = client_ctx(true, path, "TLSv1.2");
	ck_assert_int_eq(unlink(path), 0);
	expect_verified(l, verify);
	loop_free(&l);
}

END_TEST

START_TEST(an_address_is_verified_as_such)
{
	struct pair p;
	struct errbuf eb;
	struct loop *l = loop_new();
	ck_assert_int_eq(tls_make_self_signed("127.0.0.1", tls_files_cert, tls_files_key, &eb), 0);
	shake(&p, l, client_ctx(true, tls_files_cert, "TLSv1.2"), server_ctx("TLSv1.2"),
	    "127.0.0.1");
	expect_open(&p);
	ck_assert(stream_tls(p.end[0])->verified);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

/* As on a system whose store lies there: by the hash of the subject, or all in one file. */
START_TEST(the_store_of_the_system_is_asked)
{
	char link_path[256];
	char name[32];
	struct tls_ctx *ctx = server_ctx("TLSv1.2");
	X509 *cert = SSL_CTX_get0_certificate(tls_ctx_handle(ctx));
	snprintf(name, sizeof(name), "%08lx.0", X509_subject_name_hash(cert));
	ck_assert_int_eq(symlink("cert.pem", scratch_path(name, link_path)), 0);
	tls_unref(&ctx);
	for (int i = 0; i < 3; i++) {
		struct pair p;
		struct loop *l = loop_new();
		char dir[256];
		scratch_path("", dir);
		setenv("SSL_CERT_DIR", i == 1 ? dir : "/nonexistent", 1);
		setenv("SSL_CERT_FILE", i == 2 ? tls_files_cert : "/nonexistent", 1);
		shake(&p, l, client_ctx(false, "", "TLSv1.2"), server_ctx("TLSv1.2"),
		    "mx.example.com");
		expect_open(&p);
		ck_assert_msg(stream_tls(p.end[0])->verified == (i > 0), "%d", i);
		pair_close(&p);
		loop_free(&l);
	}
	unsetenv("SSL_CERT_DIR");
	unsetenv("SSL_CERT_FILE");
}

END_TEST

START_TEST(versions_have_a_floor)
{
	struct pair p;
	struct loop *l = loop_new();
	shake(&p, l, client_ctx(false, "", "TLSv1"), server_ctx("TLSv1.3"), "mx.example.com");
	expect_open(&p);
	ck_assert_str_eq(stream_tls(p.end[1])->version, "TLSv1.3");
	pair_close(&p);
	shake(&p, l, client_ctx(true, tls_files_cert, "TLSv1.3"), server_ctx("TLSv1"),
	    "mx.example.com");
	expect_open(&p);
	ck_assert_str_eq(stream_tls(p.end[0])->version, "TLSv1.3");
	pair_close(&p);
	loop_free(&l);
}

END_TEST

struct bulk {
	struct pair *pair;
	struct buf out;
	size_t given; /* until the socket would take no more */
	size_t got;
	bool reading;
	bool blocked;
};

static char byte_at(size_t i)
{
	return (char)(i * 11 + (i >> 9));
}

static bool bulk_step(void *arg)
{
	struct bulk *b = arg;
	char piece[30000];
	while (!b->blocked && buf_len(&b->out) < 100000) {
		size_t n = sizeof(piece);
		for (size_t i = 0; i < n; i++)
			piece[i] = byte_at(b->given + i);
		ck_assert_int_eq(buf_add(&b->out, piece, n), 0);
		b->given += n;
	}
	ck_assert_int_eq(stream_send(b->pair->end[0], &b->out), 0);
	b->blocked = b->blocked || buf_len(&b->out) > 0;
	struct buf *in = stream_input(b->pair->end[1]);
	ck_assert_uint_le(buf_len(in), STREAM_INPUT_MAX);
	if (!b->reading) {
		if (!b->blocked)
			loop_again(b->pair->loop);
		return buf_len(in) == STREAM_INPUT_MAX && b->blocked;
	}
	/* In pieces that end amid records: the rest of one must not wait for the next packet. */
	size_t n = MIN(buf_len(in), (size_t)100001);
	bool same = true;
	for (size_t i = 0; i < n; i++)
		same = same && buf_ptr(in)[i] == byte_at(b->got + i);
	ck_assert(same);
	buf_consume(in, n);
	b->got += n;
	stream_resume(b->pair->end[1]);
	if (buf_len(in) > 0)
		loop_again(b->pair->loop);
	return b->got == b->given;
}

START_TEST(much_data_arrives_whole)
{
	struct pair p;
	struct loop *l = loop_new();
	shake(&p, l, client_ctx(false, "", "TLSv1.2"), server_ctx("TLSv1.2"), "mx.example.com");
	expect_open(&p);
	struct bulk b = { .pair = &p };
	buf_init(&b.out, 1 << 20);
	pump_until(l, bulk_step, &b);
	b.reading = true;
	pump_until(l, bulk_step, &b);
	buf_fini(&b.out);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

static bool client_is_open(void *arg)
{
	struct pair *p = arg;
	return stream_state(p->end[0]) == STREAM_OPEN;
}

/* A client that speaks at once behind its Finished: the server must not miss it. */
START_TEST(words_right_behind_the_handshake_are_heard)
{
	for (int i = 0; i < 20; i++) {
		struct pair p;
		struct loop *l = loop_new();
		struct tls_ctx *server = server_ctx("TLSv1.2");
		struct tls_ctx *client = client_ctx(false, "", "TLSv1.2");
		pair_open(&p, l);
		start_server(&p, server, PUMP_MS);
		start_client(&p, client, "mx.example.com", NULL);
		pump_until(l, client_is_open, &p);
		pair_say(&p, 0, "EHLO at once\r\n");
		pair_expect(&p, 1, "EHLO at once\r\n");
		pair_close(&p);
		tls_unref(&client);
		tls_unref(&server);
		loop_free(&l);
	}
}

END_TEST

START_TEST(the_end_is_an_end)
{
	struct pair p;
	struct loop *l = loop_new();
	shake(&p, l, client_ctx(false, "", "TLSv1.2"), server_ctx("TLSv1.2"), "mx.example.com");
	expect_open(&p);
	pair_say(&p, 0, "bye");
	stream_close(&p.end[0]); /* says goodbye */
	pair_wait_state(&p, 1, STREAM_EOF);
	pair_expect(&p, 1, "bye");
	ck_assert_int_eq(stream_error(p.end[1]), 0);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

static bool server_has_failed(void *arg)
{
	struct pair *p = arg;
	return stream_state(p->end[1]) == STREAM_FAILED;
}

START_TEST(garbage_is_a_failure)
{
	struct pair p;
	struct loop *l = loop_new();
	struct tls_ctx *server = server_ctx("TLSv1.2");
	pair_open(&p, l);
	start_server(&p, server, PUMP_MS);
	pair_say(&p, 0, "EHLO this is not a hello of TLS\r\n");
	pump_until(l, server_has_failed, &p);
	ck_assert_int_eq(stream_error(p.end[1]), ERR_TLS);
	ck_assert_str_ne(stream_error_text(p.end[1]), "");
	pair_close(&p);

	/* Hanging up in the middle is one too. */
	pair_open(&p, l);
	start_server(&p, server, PUMP_MS);
	stream_close(&p.end[0]);
	pump_until(l, server_has_failed, &p);
	ck_assert_int_eq(stream_error(p.end[1]), ERR_TLS);
	ck_assert_str_ne(stream_error_text(p.end[1]), "");
	pair_close(&p);

	/* And saying nothing. */
	pair_open(&p, l);
	start_server(&p, server, 40);
	pump_until(l, server_has_failed, &p);
	ck_assert_int_eq(stream_error(p.end[1]), ERR_TLS);
	ck_assert_str_eq(stream_error_text(p.end[1]), "TLS handshake timed out");
	pair_close(&p);

	/* And having hung up before it began. */
	pair_open(&p, l);
	stream_close(&p.end[0]);
	pair_wait_state(&p, 1, STREAM_EOF);
	unsigned notes = p.notes[1];
	start_server(&p, server, PUMP_MS);
	ck_assert_uint_eq(p.notes[1], notes);
	ck_assert_int_eq(stream_state(p.end[1]), STREAM_FAILED);
	pump_for(l, 10);
	ck_assert_uint_eq(p.notes[1], notes + 1);
	start_server(&p, server, PUMP_MS);
	pair_close(&p);
	tls_unref(&server);
	loop_free(&l);
}

END_TEST

/* While the handshake runs nothing of the owner's is taken. */
START_TEST(nothing_is_sent_amid_the_handshake)
{
	struct pair p;
	struct buf out;
	struct loop *l = loop_new();
	struct tls_ctx *client = client_ctx(false, "", "TLSv1.2");
	pair_open(&p, l);
	start_client(&p, client, "mx.example.com", NULL);
	buf_init(&out, 100);
	ck_assert_int_eq(buf_add_str(&out, "secret"), 0);
	ck_assert_int_eq(stream_send(p.end[0], &out), 0);
	ck_assert_uint_eq(buf_len(&out), 6);
	buf_fini(&out);
	pair_close(&p);
	tls_unref(&client);
	loop_free(&l);
}

END_TEST

START_TEST(the_next_stream_resumes)
{
	struct pair p;
	struct loop *l = loop_new();
	struct tls_ctx *client = client_ctx(true, tls_files_cert, "TLSv1.2");
	struct tls_ctx *server = server_ctx("TLSv1.2");
	for (int i = 0; i < 3; i++) {
		pair_open(&p, l);
		start_server(&p, server, PUMP_MS);
		start_client(&p, client, "mx.example.com", i < 2 ? "192.0.2.1:25" : NULL);
		pump_until(l, is_settled, &p);
		expect_open(&p);
		for (int at = 0; at < 2; at++)
			ck_assert(stream_tls(p.end[at])->resumed == (i == 1));
		ck_assert(stream_tls(p.end[0])->verified);
		pair_close(&p);
	}
	tls_unref(&client);
	tls_unref(&server);
	loop_free(&l);
}

END_TEST

START_TEST(references_are_counted)
{
	struct tls_ctx *a = server_ctx("TLSv1.1");
	struct tls_ctx *b = tls_ref(a);
	tls_unref(&a);
	ck_assert_ptr_null(a);
	tls_unref(&b);
	tls_unref(&b);
}

END_TEST

Suite *test_tls_suite(void)
{
	Suite *s = suite_create("tls");
	TCase *t = tcase_create("tls");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, tls_files_make, scratch_remove);
	tcase_add_test(t, files_are_private_and_name_their_errors);
	tcase_add_test(t, opportunistic_takes_any_certificate);
	tcase_add_test(t, verification_is_noted_or_enforced);
	tcase_add_test(t, the_store_of_the_system_is_read_when_it_is_needed);
	tcase_add_test(t, a_store_that_is_named_is_read_at_once);
	tcase_add_test(t, an_address_is_verified_as_such);
	tcase_add_test(t, the_store_of_the_system_is_asked);
	tcase_add_test(t, versions_have_a_floor);
	tcase_add_test(t, much_data_arrives_whole);
	tcase_add_test(t, words_right_behind_the_handshake_are_heard);
	tcase_add_test(t, the_end_is_an_end);
	tcase_add_test(t, garbage_is_a_failure);
	tcase_add_test(t, nothing_is_sent_amid_the_handshake);
	tcase_add_test(t, the_next_stream_resumes);
	tcase_add_test(t, references_are_counted);
	suite_add_tcase(s, t);
	return s;
}
