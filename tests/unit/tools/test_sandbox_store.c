#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/unit.h"
#include "tools/sandbox_store.h"

Suite *test_sandbox_store_suite(void);

static char folder[64];
static struct store *st;
static const struct now now = { .wall_ms = 1795200000123, .mono_ms = 5 };
static const struct store_session ses = { .number = 3,
	.cast = { .kind = CAST_ACCEPT },
	.client = "127.0.0.1",
	.local = "127.80.0.1",
	.helo = "here.test",
	.tls = "TLSv1.3" };

static void setup(void)
{
	struct errbuf eb;
	snprintf(folder, sizeof(folder), "/tmp/test-store.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(store_open(folder, &st, &eb), 0);
}

/* The only file of Maildir/`below`, or the log for "..": its text; NULL if there is none. */
static const char *only_file(const char *below)
{
	static char text[8192];
	char path[512], name[300] = "";
	snprintf(path, sizeof(path), "%s/Maildir/%s", folder, below);
	DIR *d = opendir(path);
	ck_assert_ptr_nonnull(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		if (e->d_name[0] == '.')
			continue;
		ck_assert_str_eq(name, "");
		snprintf(name, sizeof(name), "%s", e->d_name);
	}
	closedir(d);
	if (name[0] == '\0')
		return NULL;
	snprintf(path, sizeof(path), "%s/Maildir/%s/%s", folder, below, name);
	FILE *f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	ck_assert_int_eq(unlink(path), 0);
	return text;
}

static const char *log_text(void)
{
	static char text[8192];
	char path[128];
	snprintf(path, sizeof(path), "%s/transactions.jsonl", folder);
	FILE *f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	unlink(path);
	return text;
}

static void teardown(void)
{
	static const char *const names[] = { "transactions.jsonl", "Maildir/tmp", "Maildir/new",
		"Maildir/cur", "Maildir", "" };
	store_close(&st);
	ck_assert_ptr_null(st);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		int r = remove(path);
		ck_assert(r == 0 || i == 0);
	}
}

static void add(struct store_tx *tx, const char *address, const char *name, unsigned code)
{
	struct store_rcpt *r = store_tx_add(tx, slice_str(address));
	ck_assert_ptr_nonnull(r);
	r->cast = cast_parse(slice_str(name));
	r->code = code;
	tx->accepted_n += code == 250;
}

START_TEST(keeps_a_message)
{
	struct store_tx tx;
	store_tx_init(&tx, 1, SLICE("me@here.test"));
	add(&tx, "a@x.test", "accept", 250);
	add(&tx, "550-rcpt@x.test", "550-rcpt", 550);
	add(&tx, "b@x.test", "accept", 250);
	store_message_begin(st, &tx, &ses, now);
	store_message_add(&tx, SLICE("Subject: x\r\n\r\n"));
	store_message_add(&tx, SLICE(".\r\n"));
	ck_assert_int_eq(store_message_commit(st, &tx), 0);
	tx.outcome = STORE_ACCEPTED;
	tx.stage = CAST_STAGE_DOT;
	tx.code = 250;
	store_log(st, &tx, &ses, now);
	char expected[512];
	snprintf(expected, sizeof(expected),
	    "\"bytes\":17,\"outcome\":\"accepted\",\"stage\":\"dot\","
	    "\"code\":250,\"file\":\"%s\"}\n",
	    tx.file);
	store_tx_fini(st, &tx);
	ck_assert_str_eq(only_file("new"),
	    "Return-Path: <me@here.test>\r\nDelivered-To: a@x.test\r\nDelivered-To: b@x.test\r\n"
	    "X-Sandbox: client=127.0.0.1 helo=here.test tls=TLSv1.3 local=127.80.0.1; "
	    "Fri, 20 Nov 2026 18:40:00 +0000\r\nSubject: x\r\n\r\n.\r\n");
	ck_assert_ptr_null(only_file("tmp"));
	const char *line = log_text();
	ck_assert_ptr_nonnull(strstr(line, expected));
	ck_assert_ptr_nonnull(strstr(line,
	    "{\"time\":\"2026-11-20T18:40:00.123Z\",\"session\":3,\"transaction\":1,"
	    "\"behaviour\":\"550-rcpt\",\"client\":\"127.0.0.1\",\"local\":\"127.80.0.1\","
	    "\"helo\":\"here.test\",\"tls\":\"TLSv1.3\",\"sender\":\"me@here.test\","
	    "\"recipients\":["
	    "{\"address\":\"a@x.test\",\"behaviour\":\"accept\",\"code\":250},"));
}

END_TEST

START_TEST(drops_an_unfinished_one)
{
	struct store_tx tx;
	store_tx_init(&tx, 1, SLICE(""));
	add(&tx, "a@x.test", "accept", 250);
	store_message_begin(st, &tx, &ses, now);
	store_message_add(&tx, SLICE("Subject: x\r\n"));
	store_tx_fini(st, &tx);
	ck_assert_ptr_null(only_file("tmp"));
	ck_assert_ptr_null(only_file("new"));
}

END_TEST

START_TEST(logs_a_connection_without_mail)
{
	struct store_tx tx;
	store_tx_init(&tx, 0, SLICE_NONE);
	tx.outcome = STORE_CLOSED;
	tx.stage = CAST_STAGE_GREETING;
	store_log(st, &tx, &ses, now);
	store_tx_fini(st, &tx);
	ck_assert_ptr_nonnull(strstr(log_text(),
	    "\"sender\":\"\",\"recipients\":[],\"bytes\":0,\"outcome\":\"closed\","
	    "\"stage\":\"greeting\","
	    "\"code\":0}\n"));
}

END_TEST

START_TEST(bounds_the_recipients)
{
	struct store_tx tx;
	store_tx_init(&tx, 1, SLICE("a@b"));
	for (int i = 0; i < STORE_RCPTS_MAX; i++)
		ck_assert_ptr_nonnull(store_tx_add(&tx, SLICE("x@y")));
	ck_assert_ptr_null(store_tx_add(&tx, SLICE("x@y")));
	store_tx_fini(st, &tx);
}

END_TEST

START_TEST(names_what_it_can_not_open)
{
	struct errbuf eb = { "" };
	struct store *none = NULL;
	ck_assert_int_lt(store_open("/proc/nowhere/at/all", &none, &eb), 0);
	ck_assert_ptr_null(none);
	ck_assert(strstr(eb.text, "/proc/nowhere"));
}

END_TEST

Suite *test_sandbox_store_suite(void)
{
	Suite *s = suite_create("sandbox_store");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, keeps_a_message);
	tcase_add_test(tc, drops_an_unfinished_one);
	tcase_add_test(tc, logs_a_connection_without_mail);
	tcase_add_test(tc, bounds_the_recipients);
	tcase_add_test(tc, names_what_it_can_not_open);
	suite_add_tcase(s, tc);
	return s;
}
