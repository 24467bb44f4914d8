#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/listen.h"
#include "lib/unit.h"
#include "unit/io/pump.h"

static void on_note(void *arg)
{
	(*(unsigned *)arg)++;
}

static bool has_failed(void *arg)
{
	return stream_state(arg) == STREAM_FAILED;
}

static bool is_open(void *arg)
{
	return stream_state(arg) == STREAM_OPEN;
}

/* An address on loopback on which nobody listens; the socket keeps others off it. */
static struct netaddr dead_address(int *fd)
{
	struct netaddr a;
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	socklen_t len = sizeof(v4);
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(*fd, (struct sockaddr *)&v4, sizeof(v4)), 0);
	ck_assert_int_eq(getsockname(*fd, (struct sockaddr *)&v4, &len), 0);
	netaddr_from_sockaddr(&a, (struct sockaddr *)&v4);
	return a;
}

START_TEST(both_ends_talk)
{
	struct pair p;
	struct loop *l = loop_new();
	pair_open(&p, l);
	ck_assert_ptr_null(stream_tls(p.end[0]));
	ck_assert_uint_eq(stream_peer(p.end[0])->port, stream_local(p.end[1])->port);
	ck_assert_uint_eq(stream_local(p.end[0])->port, stream_peer(p.end[1])->port);
	ck_assert(netaddr_is_loopback(stream_local(p.end[0])));
	pair_say(&p, 1, "220 hello\r\n");
	pair_expect(&p, 0, "220 hello\r\n");
	pair_say(&p, 0, "EHLO me\r\n");
	pair_say(&p, 0, "NOOP\r\n");
	pair_expect(&p, 1, "EHLO me\r\nNOOP\r\n");
	ck_assert_int_eq(stream_error(p.end[0]), 0);
	ck_assert_str_eq(stream_error_text(p.end[0]), "");
	pair_close(&p);
	ck_assert_ptr_null(p.end[0]);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

/* What was sent before the end can be read after it, and the other way stays open. */
START_TEST(the_end_is_not_a_failure)
{
	struct pair p;
	struct buf out;
	struct loop *l = loop_new();
	pair_open(&p, l);
	pair_say(&p, 0, "last words");
	stream_close(&p.end[0]);
	pair_wait_state(&p, 1, STREAM_EOF);
	pair_expect(&p, 1, "last words");
	unsigned notes = p.notes[1];
	pump_for(l, 50);
	ck_assert_uint_eq(p.notes[1], notes); /* and it is said once */
	buf_init(&out, 100);
	ck_assert_int_eq(buf_add_str(&out, "too late"), 0);
	ck_assert_int_eq(stream_send(p.end[1], &out), 0);
	pump_for(l, 20);
	ck_assert_int_eq(buf_add_str(&out, "far too late"), 0);
	int r = stream_send(p.end[1], &out);
	ck_assert(r == -EPIPE || r == -ECONNRESET);
	ck_assert_int_eq(stream_state(p.end[1]), STREAM_FAILED);
	ck_assert_int_eq(stream_error(p.end[1]), r);
	ck_assert_int_eq(stream_send(p.end[1], &out), r);
	stream_resume(p.end[1]);
	buf_fini(&out);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

START_TEST(a_reset_is_a_failure)
{
	const struct linger at_once = { .l_onoff = 1 };
	struct loop *l = loop_new();
	int fd;
	struct stream_connect_options o = { .timeout_ms = PUMP_MS };
	unsigned notes = 0;
	o.to = dead_address(&fd);
	ck_assert_int_eq(listen(fd, 1), 0);
	struct stream *c = stream_connect(l, &o, on_note, &notes);
	pump_until(l, is_open, c);
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_eq(setsockopt(accepted, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(accepted);
	pump_until(l, has_failed, c);
	ck_assert_int_eq(stream_error(c), -ECONNRESET);
	ck_assert_str_ne(stream_error_text(c), "");
	stream_close(&c);
	close(fd);
	loop_free(&l);
}

END_TEST

START_TEST(a_refusal_comes_from_the_loop)
{
	int fd;
	unsigned notes = 0;
	struct loop *l = loop_new();
	struct stream_connect_options o = { .timeout_ms = PUMP_MS };
	o.to = dead_address(&fd);
	struct stream *s = stream_connect(l, &o, on_note, &notes);
	ck_assert_int_eq(stream_state(s), STREAM_CONNECTING);
	ck_assert_uint_eq(notes, 0);
	pump_until(l, has_failed, s);
	ck_assert_int_eq(stream_error(s), -ECONNREFUSED);
	ck_assert_str_eq(stream_error_text(s), "Connection refused");
	ck_assert_uint_eq(notes, 1);
	pump_for(l, 30);
	ck_assert_uint_eq(notes, 1);
	stream_close(&s);
	close(fd);
	loop_free(&l);
}

END_TEST

/* What fails before there is a connection attempt at all fails the same way. */
START_TEST(no_failure_inside_connect)
{
	static const char *const paths[] = { "/nonexistent/socket",
		"/a/path/that/is/far/too/long/to/be/the/address/of/a/unix/socket/which/ends/at/"
		"one/hundred/and/eight/bytes/all/told" };
	static const int errors[] = { -ENOENT, -ENAMETOOLONG };
	struct loop *l = loop_new();
	struct netaddr foreign;
	ck_assert_int_eq(netaddr_parse_ip(SLICE("192.0.2.1"), &foreign), 0);
	for (int i = 0; i < 4; i++) {
		unsigned notes = 0;
		int fd = -1;
		struct stream_connect_options o = { .timeout_ms = PUMP_MS };
		if (i < 2)
			o.unix_path = paths[i];
		if (i == 2) {
			o.to = dead_address(&fd);
			o.bind = &foreign;
		}
		struct stream *s = stream_connect(l, &o, on_note, &notes);
		ck_assert_int_eq(stream_state(s), STREAM_CONNECTING);
		ck_assert_uint_eq(notes, 0);
		pump_until(l, has_failed, s);
		ck_assert_uint_eq(notes, 1);
		if (i < 2)
			ck_assert_int_eq(stream_error(s), errors[i]);
		if (i == 2)
			ck_assert_int_eq(stream_error(s), -EADDRNOTAVAIL);
		if (i == 3)
			ck_assert_int_eq(stream_error(s), -EAFNOSUPPORT);
		stream_close(&s);
		if (fd >= 0)
			close(fd);
	}
	loop_free(&l);
}

END_TEST

/* A listener whose backlog is full answers no SYN. */
START_TEST(connecting_has_a_limit)
{
	int fd;
	int fillers[64];
	int n = 0;
	unsigned notes = 0;
	struct loop *l = loop_new();
	struct stream_connect_options o = { .timeout_ms = 60 };
	o.to = dead_address(&fd);
	ck_assert_int_eq(listen(fd, 0), 0);
	struct sockaddr_storage ss;
	socklen_t len = netaddr_to_sockaddr(&o.to, &ss);
	for (; n < 8; n++) {
		fillers[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fillers[n], (struct sockaddr *)&ss, len);
	}
	struct stream *s = stream_connect(l, &o, on_note, &notes);
	pump_until(l, has_failed, s);
	ck_assert_int_eq(stream_error(s), ERR_TIMEOUT);
	ck_assert_uint_eq(notes, 1);
	stream_close(&s);
	while (n > 0)
		close(fillers[--n]);
	close(fd);
	loop_free(&l);
}

END_TEST

START_TEST(closing_early_is_quiet)
{
	int fd;
	unsigned notes = 0;
	struct loop *l = loop_new();
	struct stream_connect_options o = { .timeout_ms = PUMP_MS };
	o.to = dead_address(&fd);
	struct stream *s = stream_connect(l, &o, on_note, &notes);
	stream_close(&s);
	o.unix_path = "/nonexistent";
	s = stream_connect(l, &o, on_note, &notes);
	stream_close(&s);
	pump_for(l, 20);
	ck_assert_uint_eq(notes, 0);
	close(fd);
	loop_free(&l);
}

END_TEST

static void on_accept_unix(void *arg, int fd, const struct netaddr *peer)
{
	struct pair *p = arg;
	ck_assert_int_eq(peer->family, NETADDR_UNIX);
	p->end[1] = stream_from_fd(p->loop, fd, on_note, &p->notes[1]);
}

static bool pair_is_open(void *arg)
{
	struct pair *p = arg;
	return p->end[1] && stream_state(p->end[0]) == STREAM_OPEN;
}

START_TEST(unix_sockets_too)
{
	char path[256];
	struct listener *s;
	struct pair p = { .loop = loop_new() };
	scratch_make();
	ck_assert_int_eq(listen_unix(scratch_path("s", path), &s, NULL), 0);
	listen_start(s, p.loop, on_accept_unix, &p);
	struct stream_connect_options o = { .unix_path = path, .timeout_ms = PUMP_MS };
	p.end[0] = stream_connect(p.loop, &o, on_note, &p.notes[0]);
	ck_assert_int_eq(stream_state(p.end[0]), STREAM_CONNECTING);
	pump_until(p.loop, pair_is_open, &p);
	ck_assert_int_eq(stream_peer(p.end[0])->family, NETADDR_UNIX);
	ck_assert_int_eq(stream_peer(p.end[1])->family, NETADDR_UNIX);
	pair_say(&p, 0, "ping");
	pair_expect(&p, 1, "ping");
	pair_close(&p);
	listen_free(&s);
	loop_free(&p.loop);
	scratch_remove();
}

END_TEST

START_TEST(the_source_address_is_ours_to_choose)
{
	struct listener *s;
	struct netaddr any;
	struct netaddr from;
	struct pair p = { .loop = loop_new() };
	ck_assert_int_eq(netaddr_parse_ip(SLICE("127.0.0.1"), &any), 0);
	ck_assert_int_eq(netaddr_parse_ip(SLICE("127.0.0.77"), &from), 0);
	ck_assert_int_eq(listen_tcp(&any, &s, NULL), 0);
	struct stream_connect_options o = { .bind = &from, .timeout_ms = PUMP_MS };
	o.to = *listen_address(s);
	p.end[0] = stream_connect(p.loop, &o, on_note, &p.notes[0]);
	pump_until(p.loop, is_open, p.end[0]);
	ck_assert(netaddr_eq_ip(stream_local(p.end[0]), &from));
	ck_assert_uint_ne(stream_local(p.end[0])->port, 0);
	stream_close(&p.end[0]);
	listen_free(&s);
	loop_free(&p.loop);
}

END_TEST

struct bulk {
	struct pair *pair;
	struct buf out;
	size_t given; /* until the socket would take no more */
	size_t got;
	unsigned turns;
	bool reading;
	bool blocked; /* the sender's socket was full at least once */
};

static char byte_at(size_t i)
{
	return (char)(i * 7 + (i >> 10));
}

static void give(struct bulk *b)
{
	char piece[50000];
	while (!b->blocked && buf_len(&b->out) < 100000) {
		size_t n = sizeof(piece);
		for (size_t i = 0; i < n; i++)
			piece[i] = byte_at(b->given + i);
		ck_assert_int_eq(buf_add(&b->out, piece, n), 0);
		b->given += n;
	}
	ck_assert_int_eq(stream_send(b->pair->end[0], &b->out), 0);
	b->blocked = b->blocked || buf_len(&b->out) > 0;
}

static bool bulk_step(void *arg)
{
	struct bulk *b = arg;
	struct buf *in = stream_input(b->pair->end[1]);
	give(b);
	ck_assert_uint_le(buf_len(in), STREAM_INPUT_MAX);
	if (!b->reading) {
		if (!b->blocked)
			loop_again(b->pair->loop);
		return buf_len(in) == STREAM_INPUT_MAX && b->blocked;
	}
	size_t n = buf_len(in);
	if (b->turns++ % 3 == 0)
		n /= 2;
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

/* A reader that does not read stops the writer; when it does, every byte is there, in order. */
/* A buffer is no bigger than what came, and at rest there is none. */
START_TEST(silence_costs_nothing)
{
	struct pair p;
	struct loop *l = loop_new();
	pair_open(&p, l);
	for (int i = 0; i < 3; i++) {
		pair_say(&p, 0, "NOOP\r\n");
		pair_expect(&p, 1, "NOOP\r\n");
		ck_assert_uint_le(stream_input(p.end[1])->cap, 512);
	}
	stream_rest(p.end[1]);
	ck_assert_ptr_null(stream_input(p.end[1])->mem);
	pair_say(&p, 0, "NOOP\r\n");
	pair_expect(&p, 1, "NOOP\r\n");
	pair_say(&p, 0, "QU");
	struct buf *in = stream_input(p.end[1]);
	while (buf_len(in) == 0)
		pump_for(l, 1);
	stream_rest(p.end[1]); /* not worked off: stays */
	pair_say(&p, 0, "IT\r\n");
	pair_expect(&p, 1, "QUIT\r\n");
	pair_close(&p);
	loop_free(&l);
}

END_TEST

START_TEST(a_slow_reader_holds_the_writer_back)
{
	struct pair p;
	struct loop *l = loop_new();
	pair_open(&p, l);
	struct bulk b = { .pair = &p };
	buf_init(&b.out, 1 << 20);
	pump_until(l, bulk_step, &b);
	unsigned notes = p.notes[1];
	pump_for(l, 50);
	ck_assert_uint_eq(p.notes[1], notes); /* full: nobody is told again */
	b.reading = true;
	pump_until(l, bulk_step, &b);
	ck_assert_int_eq(stream_state(p.end[1]), STREAM_OPEN);
	buf_fini(&b.out);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

/* The last reply reaches a peer that was still sending when we closed. */
START_TEST(closing_does_not_eat_the_last_reply)
{
	struct pair p;
	struct buf out;
	struct loop *l = loop_new();
	pair_open(&p, l);
	buf_init(&out, 1 << 20);
	char *junk = mem_zalloc(60000);
	ck_assert_int_eq(buf_add(&out, junk, 60000), 0);
	mem_free(junk);
	ck_assert_int_eq(stream_send(p.end[0], &out), 0);
	ck_assert_uint_eq(buf_len(&out), 0);
	pump_for(l, 20);
	ck_assert_int_eq(stream_send(p.end[0], &out), 0);
	pair_say(&p, 1, "421 enough\r\n");
	stream_close(&p.end[1]);
	pair_wait_state(&p, 0, STREAM_EOF);
	pair_expect(&p, 0, "421 enough\r\n");
	buf_fini(&out);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

/* A peer that says why and hangs up with a reset: what it said is not lost in the failing send. */
START_TEST(a_failing_send_keeps_what_was_said)
{
	struct pair p;
	struct buf out;
	struct loop *l = loop_new();
	pair_open(&p, l);
	pair_say(&p, 1, "554 go away\r\n");
	stream_close(&p.end[1]);
	buf_init(&out, 1 << 20);
	int r = 0;
	/* No turn of the loop: the stream has not looked at its socket yet. */
	for (int i = 0; i < 1000 && r == 0; i++) {
		ck_assert_int_eq(buf_add_str(&out, "MAIL FROM:<a@example.com>\r\n"), 0);
		r = stream_send(p.end[0], &out);
	}
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(stream_state(p.end[0]), STREAM_FAILED);
	ck_assert_str_eq(buf_cstr(stream_input(p.end[0])), "554 go away\r\n");
	buf_fini(&out);
	pair_close(&p);
	loop_free(&l);
}

END_TEST

Suite *test_stream_suite(void)
{
	Suite *s = suite_create("stream");
	TCase *t = tcase_create("stream");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, both_ends_talk);
	tcase_add_test(t, the_end_is_not_a_failure);
	tcase_add_test(t, a_reset_is_a_failure);
	tcase_add_test(t, a_refusal_comes_from_the_loop);
	tcase_add_test(t, no_failure_inside_connect);
	tcase_add_test(t, connecting_has_a_limit);
	tcase_add_test(t, closing_early_is_quiet);
	tcase_add_test(t, unix_sockets_too);
	tcase_add_test(t, the_source_address_is_ours_to_choose);
	tcase_add_test(t, silence_costs_nothing);
	tcase_add_test(t, a_slow_reader_holds_the_writer_back);
	tcase_add_test(t, closing_does_not_eat_the_last_reply);
	tcase_add_test(t, a_failing_send_keeps_what_was_said);
	suite_add_tcase(s, t);
	return s;
}
