#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/prng.h"
#include "io/stream.h"
#include "lib/unit.h"
#include "unit/io/pump.h"
#include "unit/io/tls_files.h"

/* Pieces of memory and of files in one stream: wherever it is cut, every byte arrives in order. */

unit_suite_fn test_stream_send_suite;

enum {
	ALL_BYTES = 6 << 20,
	PART_MAX = 150000,
};

struct flood {
	struct pair pair;
	struct prng chance;
	char *bytes; /* what is sent: ALL_BYTES of them */
	int fd;      /* a file with the same; -1: from memory */
	size_t sent, got;
	size_t parts[STREAM_PARTS_MAX]; /* of the present write */
	size_t left;                    /* of it */
	unsigned cut;                   /* writes that fell short */
};

static void pair_secure(struct pair *p)
{
	struct tls_ctx *server = server_ctx("TLSv1.2");
	struct tls_ctx *client = client_ctx(false, "", "TLSv1.2");
	struct stream_tls_options s = { .ctx = server, .server = true, .timeout_ms = PUMP_MS };
	struct stream_tls_options c = { .ctx = client,
		.host = "mx.example.com",
		.timeout_ms = PUMP_MS };
	stream_start_tls(p->end[1], &s);
	stream_start_tls(p->end[0], &c);
	pair_wait_state(p, 0, STREAM_OPEN);
	pair_wait_state(p, 1, STREAM_OPEN);
	tls_unref(&server);
	tls_unref(&client);
}

static void flood_init(struct flood *f, struct loop *l, bool tls, uint64_t seed)
{
	*f = (struct flood){ .fd = -1 };
	prng_init(&f->chance, seed);
	f->bytes = mem_alloc(ALL_BYTES);
	for (size_t i = 0; i < ALL_BYTES; i++)
		f->bytes[i] = (char)prng_below(&f->chance, 256);
	pair_open(&f->pair, l);
	if (tls)
		pair_secure(&f->pair);
}

static void flood_fini(struct flood *f)
{
	pair_close(&f->pair);
	mem_free(f->bytes);
	if (f->fd >= 0)
		close(f->fd);
}

/* Small ones, none, one record exactly, large ones. */
static size_t some_bytes(struct flood *f)
{
	switch (prng_below(&f->chance, 5)) {
	case 0:
		return 0;
	case 1:
		return 16384;
	case 2:
		return 1 + (size_t)prng_below(&f->chance, PART_MAX);
	default:
		return 1 + (size_t)prng_below(&f->chance, 300);
	}
}

static void choose_parts(struct flood *f)
{
	for (size_t i = 0; i < STREAM_PARTS_MAX; i++) {
		size_t n = some_bytes(f);
		f->parts[i] = MIN(n, ALL_BYTES - f->sent - f->left);
		f->left += f->parts[i];
	}
}

static void send_parts(struct flood *f)
{
	struct slice parts[STREAM_PARTS_MAX];
	size_t n, at = f->sent, taken = 0;
	size_t whole = f->parts[0] + f->parts[1] + f->parts[2];
	for (size_t i = 0; i < STREAM_PARTS_MAX; i++) { /* without what went before */
		size_t gone = MIN(whole - f->left - taken, f->parts[i]);
		taken += gone;
		parts[i] = slice_of(f->bytes + at, f->parts[i] - gone);
		at += parts[i].n;
	}
	bool more = prng_below(&f->chance, 2);
	ck_assert_int_eq(stream_send_parts(f->pair.end[0], parts, STREAM_PARTS_MAX, more, &n), 0);
	f->sent += n;
	f->left -= n;
}

static void send_file(struct flood *f)
{
	size_t n;
	ck_assert_int_eq(stream_send_file(f->pair.end[0], f->fd, f->sent, f->left, &n), 0);
	f->sent += n;
	f->left -= n;
}

static void read_some(struct flood *f)
{
	struct stream *s = f->pair.end[1];
	struct buf *in = stream_input(s);
	size_t n = 1 + (size_t)prng_below(&f->chance, STREAM_INPUT_MAX);
	n = MIN(n, buf_len(in));
	ck_assert(memcmp(buf_ptr(in), f->bytes + f->got, n) == 0);
	buf_consume(in, n);
	f->got += n;
	stream_resume(s);
	if (buf_len(in) > 0)
		loop_again(f->pair.loop);
}

static bool flood_step(void *arg)
{
	struct flood *f = arg;
	while (f->sent < ALL_BYTES && stream_has_room(f->pair.end[0])) {
		if (f->left == 0)
			choose_parts(f);
		if (f->fd >= 0 && prng_below(&f->chance, 2))
			send_file(f);
		else
			send_parts(f);
		ck_assert(f->left == 0 || !stream_has_room(f->pair.end[0]));
		f->cut += f->left > 0;
		if (f->fd >= 0 && f->left > 0) { /* the rest may go the other way */
			f->parts[0] = f->left;
			f->parts[1] = f->parts[2] = 0;
		}
	}
	read_some(f);
	return f->got == ALL_BYTES;
}

START_TEST(pieces_arrive_in_order)
{
	bool tls = _i & 1;
	struct flood f;
	struct loop *l = loop_new();
	flood_init(&f, l, tls, (uint64_t)_i);
	pump_until(l, flood_step, &f);
	ck_assert_uint_gt(f.cut, 0);
	flood_fini(&f);
	loop_free(&l);
}

END_TEST

static int make_file(const char *bytes, size_t n)
{
	char path[256];
	int fd = open(scratch_path("body", path), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	for (size_t done = 0; done < n;) {
		ssize_t r = write(fd, bytes + done, n - done);
		ck_assert_int_gt(r, 0);
		done += (size_t)r;
	}
	return fd;
}

START_TEST(files_and_pieces_arrive_in_order)
{
	struct flood f;
	struct loop *l = loop_new();
	flood_init(&f, l, false, 77);
	f.fd = make_file(f.bytes, ALL_BYTES);
	pump_until(l, flood_step, &f);
	ck_assert_uint_gt(f.cut, 0);
	flood_fini(&f);
	loop_free(&l);
}

END_TEST

/* What is wrong with the file leaves the stream as it was. */
START_TEST(a_file_that_fails_is_not_the_stream)
{
	struct pair p;
	struct loop *l = loop_new();
	size_t n;
	int fd = make_file("0123456789", 10);
	pair_open(&p, l);
	ck_assert_int_eq(stream_send_file(p.end[0], fd, 4, 10, &n), ERR_CORRUPT);
	ck_assert_uint_eq(n, 6); /* those have left */
	ck_assert_int_eq(stream_send_file(p.end[0], fd, 10, 1, &n), ERR_CORRUPT);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(stream_state(p.end[0]), STREAM_OPEN);
	pair_expect(&p, 1, "456789");
	pair_say(&p, 0, "more");
	pair_expect(&p, 1, "more");
	stream_close(&p.end[1]);
	pair_wait_state(&p, 0, STREAM_EOF);
	int r = 0;
	for (int i = 0; i < 100 && r == 0; i++) { /* the first one goes into the void */
		r = stream_send_file(p.end[0], fd, 0, 10, &n);
		pump_for(l, 1);
	}
	ck_assert(r == -EPIPE || r == -ECONNRESET);
	ck_assert_int_eq(stream_state(p.end[0]), STREAM_FAILED);
	ck_assert_int_eq(stream_send_file(p.end[0], fd, 0, 10, &n), r);
	close(fd);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

Suite *test_stream_send_suite(void)
{
	Suite *s = suite_create("stream_send");
	TCase *t = tcase_create("send");
	tcase_set_timeout(t, 60);
	tcase_add_unchecked_fixture(t, tls_files_make, scratch_remove);
	tcase_add_loop_test(t, pieces_arrive_in_order, 0, 6);
	tcase_add_test(t, files_and_pieces_arrive_in_order);
	tcase_add_test(t, a_file_that_fails_is_not_the_stream);
	suite_add_tcase(s, t);
	return s;
}
