#include "io/system.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/unit.h"
#include "unit/io/pump.h"

START_TEST(the_host_has_a_name)
{
	char name[256] = "";
	system_hostname(name, sizeof(name));
	ck_assert_str_ne(name, "");
	ck_assert_ptr_null(strpbrk(name, " \t\n#"));
	system_hostname(name, 2);
	ck_assert_uint_le(strlen(name), 1);
}

END_TEST

START_TEST(limits_are_raised_and_core_dumps_off)
{
	struct rlimit limit;
	system_raise_nofile();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(limit.rlim_cur, limit.rlim_max);
	pid_t pid = fork();
	if (pid == 0) {
		system_no_core_dumps();
		_exit(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0 ? 0 : 1);
	}
	int status = -1;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

END_TEST

static void expect_notify(const char *path, const char *text)
{
	char got[64] = "";
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	memcpy(un.sun_path, path, n);
	if (path[0] == '@')
		un.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, len), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	system_notify(text);
	ck_assert_int_eq(recv(fd, got, sizeof(got) - 1, 0), (ssize_t)strlen(text));
	ck_assert_str_eq(got, text);
	close(fd);
	unsetenv("NOTIFY_SOCKET");
}

START_TEST(tells_the_service_manager)
{
	char path[256];
	char abstract[64];
	scratch_make();
	expect_notify(scratch_path("notify", path), "READY=1");
	snprintf(abstract, sizeof(abstract), "@unit-io-%d", system_pid());
	expect_notify(abstract, "STOPPING=1");
	system_notify("READY=1"); /* nobody asked */
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	system_notify("READY=1");
	unsetenv("NOTIFY_SOCKET");
	scratch_remove();
}

END_TEST

START_TEST(passed_descriptors_must_be_for_us)
{
	char pid[32];
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	ck_assert_uint_eq(system_listen_fds(), 0);
	setenv("LISTEN_FDS", "2", 1);
	ck_assert_uint_eq(system_listen_fds(), 0);
	setenv("LISTEN_PID", "1", 1);
	ck_assert_uint_eq(system_listen_fds(), 0);
	snprintf(pid, sizeof(pid), "%d", system_pid());
	setenv("LISTEN_PID", pid, 1);
	ck_assert_uint_eq(system_listen_fds(), 2);
	setenv("LISTEN_FDS", "two", 1);
	ck_assert_uint_eq(system_listen_fds(), 0);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
}

END_TEST

START_TEST(knows_its_own_addresses)
{
	struct netaddr found[64];
	size_t n = system_local_addresses(found, 64);
	bool has_loopback = false;
	for (size_t i = 0; i < n; i++) {
		ck_assert(found[i].family == NETADDR_V4 || found[i].family == NETADDR_V6);
		has_loopback = has_loopback || netaddr_is_loopback(&found[i]);
	}
	ck_assert(has_loopback);
	ck_assert_uint_le(system_local_addresses(found, 1), 1);
	ck_assert_uint_eq(system_local_addresses(found, 0), 0);
}

END_TEST

static int in_child(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0)
		_exit(fn());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* 0 if the way to nobody is a one-way street. */
static int become_nobody(void)
{
	struct errbuf eb;
	if (system_drop_privileges("nobody", "nogroup", &eb) != 0)
		return 1;
	if (getuid() == 0 || geteuid() == 0 || getgid() == 0 || getegid() == 0)
		return 2;
	if (setuid(0) == 0 || setgid(0) == 0)
		return 3;
	if (system_drop_privileges("nobody", "nogroup", &eb) != 0)
		return 4;
	if (system_drop_privileges("root", "", &eb) != -EPERM)
		return 5;
	if (system_chown("/nonexistent", "root", "", &eb) != 0)
		return 6;
	return 0;
}

START_TEST(privileges_go_for_good)
{
	struct errbuf eb;
	ck_assert_int_eq(system_drop_privileges("no-such-user", "", &eb), ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(eb.text, "no-such-user"));
	ck_assert_int_eq(system_drop_privileges("root", "no-such-group", &eb), ERR_NOT_FOUND);
	if (geteuid() != 0)
		return; /* the rest is root's */
	ck_assert_int_eq(system_drop_privileges("root", "", &eb), 0);
	ck_assert_int_eq(in_child(become_nobody), 0);
}

END_TEST

START_TEST(files_change_hands)
{
	char path[256];
	struct stat st;
	struct errbuf eb;
	scratch_make();
	int fd = open(scratch_path("file", path), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(system_chown(path, "nobody", "nogroup", &eb), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	if (geteuid() == 0) {
		ck_assert_uint_ne(st.st_uid, 0);
		ck_assert_uint_ne(st.st_gid, 0);
		ck_assert_int_eq(system_chown("/nonexistent/x", "nobody", "", &eb), -ENOENT);
		ck_assert_int_eq(system_chown(path, "no-such-user", "", &eb), ERR_NOT_FOUND);
	}
	scratch_remove();
}

END_TEST

Suite *test_system_suite(void)
{
	Suite *s = suite_create("system");
	TCase *t = tcase_create("system");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, the_host_has_a_name);
	tcase_add_test(t, limits_are_raised_and_core_dumps_off);
	tcase_add_test(t, tells_the_service_manager);
	tcase_add_test(t, passed_descriptors_must_be_for_us);
	tcase_add_test(t, knows_its_own_addresses);
	tcase_add_test(t, privileges_go_for_good);
	tcase_add_test(t, files_change_hands);
	suite_add_tcase(s, t);
	return s;
}
