#include "base/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "lib/unit.h"

START_TEST(aborts)
{
	volatile int two = 2;
	CHECK(two == 2);
	CHECK(two == 3);
}

END_TEST

START_TEST(aborts_at_unreachable)
{
	UNREACHABLE();
}

END_TEST

/* What the dying process says: the expression, where, and the last log lines but no older ones. */
START_TEST(reports)
{
	char text[65536];
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, STDERR_FILENO);
		for (int i = 0; i < 40; i++)
			log_info("test", "line %d.", i);
		dup2(fds[1], STDERR_FILENO);
		volatile bool is_right = false;
		CHECK(is_right);
		_exit(0);
	}
	close(fds[1]);
	size_t n = 0;
	ssize_t got;
	while ((got = read(fds[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(fds[0]);
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGABRT);
	ck_assert_ptr_nonnull(strstr(text, "test_check.c:"));
	ck_assert_ptr_nonnull(strstr(text, "check failed: is_right\n"));
	ck_assert_ptr_null(strstr(text, "line 7.\n"));
	ck_assert_ptr_nonnull(strstr(text, "[INFO] [test] line 8.\n"));
	ck_assert_ptr_nonnull(strstr(text, "[INFO] [test] line 39.\n"));
	ck_assert(strstr(text, "line 38.") < strstr(text, "line 39."));
}

END_TEST

Suite *test_check_suite(void)
{
	Suite *s = suite_create("base/check");
	TCase *t = tcase_create("check");
	tcase_add_test_raise_signal(t, aborts, SIGABRT);
	tcase_add_test_raise_signal(t, aborts_at_unreachable, SIGABRT);
	tcase_add_test(t, reports);
	suite_add_tcase(s, t);
	return s;
}
