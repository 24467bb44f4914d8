#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "lib/unit.h"

static struct buf lines;

static void into_buf(void *arg, const char *line, size_t n)
{
	ck_assert_int_eq(buf_add(arg, line, n), 0);
}

static void setup(void)
{
	buf_init(&lines, 1 << 20);
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_DEFAULT, false);
	log_set_sink(into_buf, &lines);
}

static void teardown(void)
{
	log_set_sink(NULL, NULL);
	log_configure(LOG_LEVEL_NONE, LOG_FORMAT_NONE, false);
	buf_fini(&lines);
}

static void assert_lines(const char *want)
{
	ck_assert_str_eq(buf_cstr(&lines), want);
	buf_clear(&lines);
}

START_TEST(names_levels)
{
	for (int level = LOG_LEVEL_DATA; level <= LOG_LEVEL_EMERG; level++) {
		struct slice name = slice_str(log_level_name((enum log_level)level));
		ck_assert_int_eq(log_level_parse(name), level);
	}
	ck_assert_str_eq(log_level_name(LOG_LEVEL_WARN), "warn");
	ck_assert_str_eq(log_level_name((enum log_level)99), "none");
	ck_assert_int_eq(log_level_parse(SLICE("WARN")), LOG_LEVEL_WARN);
	ck_assert_int_eq(log_level_parse(SLICE("none")), LOG_LEVEL_NONE);
	ck_assert_int_eq(log_level_parse(SLICE("")), LOG_LEVEL_NONE);
	ck_assert_int_eq(log_level_parse(SLICE("loud")), LOG_LEVEL_NONE);
}

END_TEST

START_TEST(obeys_the_level)
{
	ck_assert_int_eq(log_get_level(), LOG_LEVEL_INFO);
	ck_assert(!log_is_on(LOG_LEVEL_DEBUG));
	ck_assert(log_is_on(LOG_LEVEL_INFO));
	log_debug("q", "hidden");
	log_info("q", "shown");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("q", "hidden");
	log_crit("q", "shown too");
	log_set_level(LOG_LEVEL_DATA);
	log_debug("q", "and %s", "this");
	log_set_level(LOG_LEVEL_NONE);
	ck_assert_int_eq(log_get_level(), LOG_LEVEL_INFO);
	assert_lines("[INFO] [q] shown\n[CRIT] [q] shown too\n[DEBUG] [q] and this\n");
}

END_TEST

static const struct {
	enum log_format format;
	const char *text;
	const char *line;
} formats[] = {
	{ LOG_FORMAT_DEFAULT, "a=b \"c\\d\"", "[NOTICE] [smtpd] a=b \"c\\d\"\n" },
	{ LOG_FORMAT_DEFAULT, "x\r\ny\x1b[31m\x7f\t",
	    "[NOTICE] [smtpd] x\\x0d\\x0ay\\x1b[31m\\x7f\\x09\n" },
	{ LOG_FORMAT_DEFAULT, "gr\xc3\xbc\xc3\x9f \xff\xc2\x9b",
	    "[NOTICE] [smtpd] gr\xc3\xbc\xc3\x9f \\xff\\xc2\\x9b\n" },
	{ LOG_FORMAT_LOGFMT, "a \"c\\d\"\n",
	    "level=notice component=smtpd message=\"a \\\"c\\\\d\\\"\\x0a\"\n" },
	{ LOG_FORMAT_JSON, "a \"c\"\n\xff",
	    "{\"level\":\"notice\",\"component\":\"smtpd\","
	    "\"message\":\"a \\\"c\\\"\\u000a\xef\xbf\xbd\"}\n" },
};

START_TEST(writes_each_format)
{
	log_configure(LOG_LEVEL_INFO, formats[_i].format, false);
	log_notice("smtpd", "%s", formats[_i].text);
	assert_lines(formats[_i].line);
}

END_TEST

START_TEST(stamps)
{
	static const struct {
		enum log_format format;
		const char *before;
		const char *after;
	} rows[] = {
		{ LOG_FORMAT_DEFAULT, "", " [WARN] [c] t\n" },
		{ LOG_FORMAT_LOGFMT, "time=", " level=warn component=c message=\"t\"\n" },
		{ LOG_FORMAT_JSON, "{\"time\":\"",
		    "\",\"level\":\"warn\",\"component\":\"c\",\"message\":\"t\"}\n" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		log_configure(LOG_LEVEL_INFO, rows[i].format, true);
		log_warn("c", "t");
		const char *line = buf_cstr(&lines);
		size_t n = strlen(rows[i].before);
		ck_assert_int_eq(strncmp(line, rows[i].before, n), 0);
		ck_assert_int_eq(line[n], '2');
		ck_assert_int_eq(line[n + 10], 'T');
		ck_assert_int_eq(line[n + 23], 'Z');
		ck_assert_str_eq(line + n + 24, rows[i].after);
		buf_clear(&lines);
	}
}

END_TEST

/* The longest text, made of what takes most room, still is one whole line in every format. */
START_TEST(cuts_long_texts)
{
	char text[10000];
	memset(text, _i == LOG_FORMAT_LOGFMT ? '\x01' : '\xff', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_configure(LOG_LEVEL_INFO, (enum log_format)_i, true);
	log_error("c", "%s", text);
	struct slice line = buf_slice(&lines);
	ck_assert_uint_gt(line.n, 4096);
	ck_assert_int_eq(slice_find(line, '\n'), (ptrdiff_t)line.n - 1);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&lines), "..."));
}

END_TEST

/* A record to standard error is one write: a datagram socket keeps writes apart. */
START_TEST(writes_to_stderr_at_once)
{
	char text[200];
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	int saved = dup(STDERR_FILENO);
	log_set_sink(NULL, NULL);
	dup2(fds[1], STDERR_FILENO);
	log_info("c", "hello");
	dup2(saved, STDERR_FILENO);
	close(saved);
	ssize_t n = read(fds[0], text, sizeof(text));
	ck_assert_int_eq(n, 17);
	ck_assert_int_eq(memcmp(text, "[INFO] [c] hello\n", 17), 0);
	close(fds[0]);
	close(fds[1]);
}

END_TEST

static atomic_int records;

static void count_line(void *arg UNUSED, const char *line, size_t n)
{
	if (n > 2 && line[0] == '[' && line[n - 1] == '\n')
		atomic_fetch_add(&records, 1);
}

static void *write_many(void *arg UNUSED)
{
	for (int i = 0; i < 500; i++)
		log_info("thread", "record %d", i);
	return NULL;
}

START_TEST(holds_what_can_wait)
{
	log_hold();
	log_info("test", "one");
	log_info("test", "two");
	assert_lines("");
	log_notice("test", "three"); /* brings the others, before itself */
	assert_lines("[INFO] [test] one\n[INFO] [test] two\n[NOTICE] [test] three\n");
	log_info("test", "four");
	assert_lines("");
	log_release();
	assert_lines("[INFO] [test] four\n");
	log_info("test", "five");
	assert_lines("[INFO] [test] five\n");
	log_release();
	assert_lines("");
}

END_TEST

START_TEST(holds_only_so_much)
{
	size_t said = 0;
	log_hold();
	while (buf_len(&lines) == 0 && said < 1000) {
		log_info("test", "%01000d", 1);
		said++;
	}
	ck_assert_uint_gt(said, 10);
	ck_assert_uint_lt(said, 20);
	log_release();
	ck_assert_uint_eq(buf_len(&lines), said * (1000 + strlen("[INFO] [test] \n")));
}

END_TEST

START_TEST(serves_many_threads)
{
	pthread_t threads[4];
	log_set_sink(count_line, NULL);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, NULL), 0);
	for (int i = 0; i < 100; i++)
		log_set_level(i % 2 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_int_eq(atomic_load(&records), 2000);
}

END_TEST

Suite *test_log_suite(void)
{
	Suite *s = suite_create("base/log");
	TCase *t = tcase_create("log");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, names_levels);
	tcase_add_test(t, obeys_the_level);
	tcase_add_loop_test(t, writes_each_format, 0, ARRAY_LEN(formats));
	tcase_add_test(t, stamps);
	tcase_add_loop_test(t, cuts_long_texts, LOG_FORMAT_DEFAULT, LOG_FORMAT_JSON + 1);
	tcase_add_test(t, writes_to_stderr_at_once);
	tcase_add_test(t, holds_what_can_wait);
	tcase_add_test(t, holds_only_so_much);
	tcase_add_test(t, serves_many_threads);
	suite_add_tcase(s, t);
	return s;
}
