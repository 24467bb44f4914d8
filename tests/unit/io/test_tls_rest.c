/*
 * test_tls_rest.c - a stream at rest gives back what TLS holds, at whatever
 * byte of a record it is asked to. The peer is OpenSSL on memory, so that each
 * byte comes when the test says.
 */
#include <malloc.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/stream.h"
#include "lib/unit.h"
#include "unit/io/pump.h"
#include "unit/io/tls_files.h"

#define WORDS "NOOP and more\r\n"

struct line {
	struct loop *loop;
	struct stream *s; /* the server */
	SSL_CTX *ctx;
	SSL *client;
	BIO *in, *out; /* of the client */
	int fd;        /* its end of the line */
};

static void ignore(void *arg)
{
	(void)arg;
}

/* What came goes in, what the client has to say to it goes out. */
static bool advance(void *arg)
{
	struct line *x = arg;
	char bytes[4096];
	int n;
	while ((n = (int)recv(x->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		ck_assert_int_eq(BIO_write(x->in, bytes, n), n);
	if (!SSL_is_init_finished(x->client))
		(void)SSL_do_handshake(x->client);
	while ((n = BIO_read(x->out, bytes, sizeof(bytes))) > 0)
		ck_assert_int_eq(write(x->fd, bytes, (size_t)n), n);
	return SSL_is_init_finished(x->client) && stream_state(x->s) == STREAM_OPEN;
}

static void line_open(struct line *x, const char *version)
{
	int fds[2];
	struct tls_ctx *server = server_ctx(version);
	*x = (struct line){ .loop = loop_new(), .ctx = SSL_CTX_new(TLS_client_method()) };
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	x->fd = fds[0];
	x->client = SSL_new(x->ctx);
	if (strcmp(version, "TLSv1.2") == 0)
		ck_assert(SSL_set_max_proto_version(x->client, TLS1_2_VERSION));
	x->in = BIO_new(BIO_s_mem());
	x->out = BIO_new(BIO_s_mem());
	SSL_set_bio(x->client, x->in, x->out);
	SSL_set_connect_state(x->client);
	x->s = stream_from_fd(x->loop, fds[1], ignore, NULL);
	stream_start_tls(x->s,
	    &(struct stream_tls_options){ .ctx = server, .server = true, .timeout_ms = PUMP_MS });
	pump_until(x->loop, advance, x);
	tls_unref(&server);
}

static void line_close(struct line *x)
{
	stream_close(&x->s);
	SSL_free(x->client);
	SSL_CTX_free(x->ctx);
	close(x->fd);
	loop_free(&x->loop);
}

static bool has_words(void *arg)
{
	struct line *x = arg;
	return buf_len(stream_input(x->s)) >= strlen(WORDS);
}

/* The words as a record: its first n bytes, a rest, and what is left of it. */
static void say_in_two(struct line *x, size_t n)
{
	char bytes[256];
	ck_assert_int_gt(SSL_write(x->client, WORDS, (int)strlen(WORDS)), 0);
	int all = BIO_read(x->out, bytes, sizeof(bytes));
	ck_assert_int_gt(all, (int)strlen(WORDS));
	n = MIN(n, (size_t)all);
	ck_assert_int_eq(write(x->fd, bytes, n), (ssize_t)n);
	pump_for(x->loop, 2);
	stream_rest(x->s);
	ck_assert_int_eq(write(x->fd, bytes + n, (size_t)all - n), all - (ssize_t)n);
	pump_until(x->loop, has_words, x);
	ck_assert_str_eq(buf_cstr(stream_input(x->s)), WORDS);
	buf_clear(stream_input(x->s));
	stream_resume(x->s);
}

static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };

START_TEST(a_rest_amid_a_record_loses_nothing)
{
	struct line x;
	struct buf out;
	line_open(&x, versions[_i]);
	for (size_t n = 0; n < 64; n++)
		say_in_two(&x, n);
	buf_init(&out, 100);
	ck_assert_int_eq(buf_add_str(&out, "250 heard\r\n"), 0);
	ck_assert_int_eq(stream_send(x.s, &out), 0);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_fini(&out);
	line_close(&x);
}

END_TEST

START_TEST(a_rest_gives_back_the_buffers)
{
	struct line x;
	line_open(&x, versions[_i]);
	for (int round = 0; round < 2; round++) {
		say_in_two(&x, 0);
		size_t before = mallinfo2().uordblks;
		stream_rest(x.s);
		if (before > 0) /* else the allocator is a sanitizer's */
			ck_assert_uint_ge(before - mallinfo2().uordblks, 16 * 1024);
	}
	line_close(&x);
}

END_TEST

Suite *test_tls_rest_suite(void)
{
	Suite *s = suite_create("tls_rest");
	TCase *t = tcase_create("tls_rest");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, tls_files_make, scratch_remove);
	tcase_add_loop_test(t, a_rest_amid_a_record_loses_nothing, 0, ARRAY_LEN(versions));
	tcase_add_loop_test(t, a_rest_gives_back_the_buffers, 0, ARRAY_LEN(versions));
	suite_add_tcase(s, t);
	return s;
}
