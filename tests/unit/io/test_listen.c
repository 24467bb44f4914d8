#include "io/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "lib/unit.h"
#include "unit/io/pump.h"

static struct netaddr address(const char *text)
{
	struct netaddr a = { 0 };
	ck_assert_int_eq(netaddr_parse_ip(slice_str(text), &a), 0);
	return a;
}

struct accepted {
	unsigned n;
	int fds[200];
	struct netaddr peer;
	unsigned wanted;
};

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
	struct accepted *a = arg;
	ck_assert_uint_lt(a->n, 200);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	a->fds[a->n++] = fd;
	a->peer = *peer;
}

static bool has_enough(void *arg)
{
	const struct accepted *a = arg;
	return a->n >= a->wanted;
}

static void close_accepted(struct accepted *a)
{
	for (unsigned i = 0; i < a->n; i++)
		close(a->fds[i]);
	a->n = 0;
}

static int try_connect(const struct netaddr *to)
{
	struct sockaddr_storage ss;
	socklen_t len = netaddr_to_sockaddr(to, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	if (connect(fd, (struct sockaddr *)&ss, len) == 0)
		return fd;
	int r = -errno;
	close(fd);
	return r;
}

static int connect_to(const struct netaddr *to)
{
	int fd = try_connect(to);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Connections that come before listen_start, or while it is paused, wait. */
START_TEST(accepts_when_started_and_not_paused)
{
	struct loop *l = loop_new();
	struct listener *s;
	struct accepted a = { .wanted = 100 };
	int clients[100];
	struct netaddr any = address("127.0.0.1");
	ck_assert_int_eq(listen_tcp(&any, &s, NULL), 0);
	ck_assert_uint_ne(listen_address(s)->port, 0);
	for (int i = 0; i < 100; i++)
		clients[i] = connect_to(listen_address(s));
	listen_pause(s, true);
	listen_start(s, l, on_accept, &a);
	pump_for(l, 20);
	ck_assert_uint_eq(a.n, 0);
	listen_pause(s, false);
	listen_pause(s, false);
	pump_until(l, has_enough, &a);
	ck_assert(netaddr_is_loopback(&a.peer));
	ck_assert_uint_ne(a.peer.port, 0);
	close_accepted(&a);
	for (int i = 0; i < 100; i++)
		close(clients[i]);
	listen_free(&s);
	ck_assert_ptr_null(s);
	listen_free(&s);
	loop_free(&l);
}

END_TEST

START_TEST(any_v6_takes_v4_too)
{
	struct loop *l = loop_new();
	struct listener *s;
	struct accepted a = { .wanted = 1 };
	struct netaddr any = address("::");
	ck_assert_int_eq(listen_tcp(&any, &s, NULL), 0);
	listen_start(s, l, on_accept, &a);
	struct netaddr to = address("127.0.0.1");
	to.port = listen_address(s)->port;
	int fd = connect_to(&to);
	pump_until(l, has_enough, &a);
	ck_assert_int_eq(a.peer.family, NETADDR_V4);
	close_accepted(&a);
	close(fd);
	listen_free(&s);
	loop_free(&l);
}

END_TEST

START_TEST(any_v6_leaves_a_taken_v4_alone)
{
	struct listener *s = NULL;
	struct netaddr any = address("::");
	/* Without SO_REUSEPORT: really taken. */
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	socklen_t len = sizeof(v4);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&v4, sizeof(v4)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&v4, &len), 0);
	any.port = ntohs(v4.sin_port);
	int r = listen_tcp(&any, &s, NULL);
	if (r == 0) /* else the host has no IPv6, and IPv4 is taken */
		ck_assert_int_eq(listen_address(s)->family, NETADDR_V6);
	else
		ck_assert_int_eq(r, -EADDRINUSE);
	listen_free(&s);
	close(fd);
}

END_TEST

START_TEST(shards_share_a_port_others_do_not)
{
	struct listener *one;
	struct listener *two;
	struct listener *three = NULL;
	struct errbuf eb;
	struct netaddr a = address("127.0.0.1");
	ck_assert_int_eq(listen_tcp(&a, &one, &eb), 0);
	ck_assert_int_eq(listen_tcp(listen_address(one), &two, &eb), 0);
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	socklen_t len = sizeof(v4);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&v4, sizeof(v4)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&v4, &len), 0);
	a.port = ntohs(v4.sin_port);
	ck_assert_int_eq(listen_tcp(&a, &three, &eb), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(eb.text, "127.0.0.1:"));
	close(fd);
	listen_free(&one);
	listen_free(&two);
}

END_TEST

static int connect_path(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	memcpy(un.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

START_TEST(a_unix_socket_is_ours_alone)
{
	char path[256];
	struct stat st;
	struct errbuf eb;
	struct listener *s;
	struct listener *other = NULL;
	struct loop *l = loop_new();
	struct accepted a = { .wanted = 1 };
	scratch_make();
	scratch_path("control", path);
	mode_t before = umask(0);
	ck_assert_int_eq(listen_unix(path, &s, &eb), 0);
	umask(before);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	listen_start(s, l, on_accept, &a);
	ck_assert_int_eq(listen_unix(path, &other, &eb), ERR_BUSY);
	ck_assert_ptr_nonnull(strstr(eb.text, path));
	int fd = connect_path(path);
	a.wanted = 2; /* the probe of the other one, and us */
	pump_until(l, has_enough, &a);
	ck_assert_int_eq(a.peer.family, NETADDR_UNIX);
	close_accepted(&a);
	close(fd);
	listen_free(&s);
	ck_assert_int_lt(stat(path, &st), 0);
	loop_free(&l);
	scratch_remove();
}

END_TEST

START_TEST(a_stale_unix_socket_is_replaced)
{
	char path[256];
	struct stat st;
	struct errbuf eb;
	struct listener *s = NULL;
	scratch_make();
	scratch_path("stale", path);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	memcpy(un.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	ck_assert_int_eq(listen_unix(path, &s, &eb), 0);
	/* Somebody's successor took the path over: it is not ours to remove. */
	ck_assert_int_eq(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	listen_free(&s);
	ck_assert_int_eq(stat(path, &st), 0);
	/* No socket at all: not ours either. */
	ck_assert_int_eq(listen_unix(path, &s, &eb), -EEXIST);
	char name[300];
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(listen_unix(name, &s, &eb), -ENAMETOOLONG);
	scratch_remove();
}

END_TEST

START_TEST(takes_a_descriptor_that_listens)
{
	struct listener *s = NULL;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(listen_from_fd(fd, &s), -EINVAL);
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert_int_eq(listen_from_fd(fd, &s), 0);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_uint_ne(listen_address(s)->port, 0);
	listen_free(&s);
	ck_assert_int_lt(listen_from_fd(-1, &s), 0);
}

END_TEST

static unsigned lines;

static void count_line(void *arg, const char *line, size_t n)
{
	(void)arg;
	(void)line;
	(void)n;
	lines++;
}

/* Out of descriptors: it neither spins nor fills the log, and goes on by itself. */
START_TEST(survives_without_descriptors)
{
	struct rlimit before;
	struct loop *l = loop_new();
	struct listener *s;
	struct accepted a = { .wanted = 1 };
	struct netaddr any = address("127.0.0.1");
	log_set_sink(count_line, NULL);
	lines = 0;
	ck_assert_int_eq(listen_tcp(&any, &s, NULL), 0);
	int fd = connect_to(listen_address(s));
	listen_start(s, l, on_accept, &a);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	struct rlimit tight = { .rlim_cur = 3, .rlim_max = before.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	pump_for(l, 350);
	ck_assert_uint_eq(a.n, 0);
	ck_assert_uint_eq(lines, 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	pump_until(l, has_enough, &a);
	log_set_sink(NULL, NULL);
	close_accepted(&a);
	close(fd);
	listen_free(&s);
	loop_free(&l);
}

END_TEST

Suite *test_listen_suite(void)
{
	Suite *s = suite_create("listen");
	TCase *t = tcase_create("listen");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, accepts_when_started_and_not_paused);
	tcase_add_test(t, any_v6_takes_v4_too);
	tcase_add_test(t, any_v6_leaves_a_taken_v4_alone);
	tcase_add_test(t, shards_share_a_port_others_do_not);
	tcase_add_test(t, a_unix_socket_is_ours_alone);
	tcase_add_test(t, a_stale_unix_socket_is_replaced);
	tcase_add_test(t, takes_a_descriptor_that_listens);
	tcase_add_test(t, survives_without_descriptors);
	suite_add_tcase(s, t);
	return s;
}
