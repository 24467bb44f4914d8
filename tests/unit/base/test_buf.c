#include "base/buf.h"

#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/prng.h"
#include "lib/unit.h"

static void assert_text(struct buf *b, const char *text)
{
	ck_assert_str_eq(buf_cstr(b), text);
	ck_assert_uint_eq(buf_len(b), strlen(text));
}

START_TEST(adds_and_consumes)
{
	struct buf b;
	buf_init(&b, 100);
	ck_assert_uint_eq(buf_len(&b), 0);
	ck_assert(slice_eq(buf_slice(&b), SLICE("")));
	ck_assert_int_eq(buf_add(&b, NULL, 0), 0);
	ck_assert_int_eq(buf_add_str(&b, "one "), 0);
	ck_assert_int_eq(buf_add_char(&b, '2'), 0);
	ck_assert_int_eq(buf_add_slice(&b, SLICE(" three")), 0);
	ck_assert_int_eq(buf_printf(&b, " %d%s", 4, "!"), 0);
	assert_text(&b, "one 2 three 4!");
	buf_consume(&b, 4);
	assert_text(&b, "2 three 4!");
	buf_truncate(&b, 7);
	assert_text(&b, "2 three");
	buf_consume(&b, 7);
	assert_text(&b, "");
	ck_assert_uint_eq(b.head, 0);
	ck_assert_int_eq(buf_add_str(&b, "x"), 0);
	buf_clear(&b);
	assert_text(&b, "");
	buf_fini(&b);
	ck_assert_int_eq(buf_add_str(&b, "again"), 0);
	assert_text(&b, "again");
	buf_fini(&b);
}

END_TEST

START_TEST(keeps_its_limit)
{
	struct buf b;
	size_t room;
	buf_init(&b, 4);
	ck_assert_int_eq(buf_add_str(&b, "abc"), 0);
	ck_assert_int_eq(buf_add_str(&b, "de"), ERR_TOO_BIG);
	ck_assert_int_eq(buf_printf(&b, "%s", "de"), ERR_TOO_BIG);
	assert_text(&b, "abc");
	ck_assert_ptr_nonnull(buf_reserve(&b, 10, &room));
	ck_assert_uint_eq(room, 1);
	ck_assert_int_eq(buf_printf(&b, "%c", 'd'), 0);
	assert_text(&b, "abcd");
	ck_assert_int_eq(buf_add_char(&b, 'e'), ERR_TOO_BIG);
	ck_assert_ptr_nonnull(buf_reserve(&b, 1, &room));
	ck_assert_uint_eq(room, 0);
	buf_consume(&b, 1);
	ck_assert_int_eq(buf_add_char(&b, 'e'), 0);
	assert_text(&b, "bcde");
	buf_fini(&b);
	buf_init(&b, 0);
	ck_assert_int_eq(buf_add_char(&b, 'a'), ERR_TOO_BIG);
	assert_text(&b, "");
	buf_fini(&b);
	buf_init(&b, SIZE_MAX);
	ck_assert_int_eq(buf_add_str(&b, "no limit"), 0);
	assert_text(&b, "no limit");
	buf_fini(&b);
}

END_TEST

START_TEST(prints_beyond_what_is_free)
{
	struct buf b;
	buf_init(&b, 10000);
	for (size_t n = 0; n < 20; n++)
		ck_assert_int_eq(buf_printf(&b, "%0100d", (int)n), 0);
	ck_assert_uint_eq(buf_len(&b), 2000);
	ck_assert_int_eq(memcmp(buf_ptr(&b) + 1998, "19", 2), 0);
	ck_assert_int_eq(buf_printf(&b, "%09000d", 1), ERR_TOO_BIG);
	ck_assert_uint_eq(buf_len(&b), 2000);
	buf_fini(&b);
}

END_TEST

START_TEST(reserves_and_commits)
{
	struct buf b;
	size_t room;
	buf_init(&b, 1000);
	char *p = buf_reserve(&b, 300, &room);
	ck_assert_uint_eq(room, 300);
	memset(p, 'x', 300);
	buf_commit(&b, 200);
	ck_assert_uint_eq(buf_len(&b), 200);
	buf_reserve(&b, 0, &room);
	ck_assert_uint_eq(room, 0);
	buf_commit(&b, 0);
	buf_fini(&b);
}

END_TEST

START_TEST(gives_its_content_away)
{
	struct buf b;
	buf_init(&b, 100);
	ck_assert_int_eq(buf_add_str(&b, "head and tail"), 0);
	buf_consume(&b, 9);
	char *text = buf_take(&b);
	ck_assert_str_eq(text, "tail");
	mem_free(text);
	text = buf_take(&b);
	ck_assert_str_eq(text, "");
	mem_free(text);
	buf_fini(&b);
}

END_TEST

/* Random adds and consumes against a plain count; the memory stays within twice the limit. */
START_TEST(stays_true_under_churn)
{
	struct buf b;
	struct prng r;

	enum {
		MAX_BYTES = 3000
	};

	unsigned char in = 0;
	unsigned char out = 0;
	size_t len = 0;
	prng_init(&r, (uint64_t)_i);
	buf_init(&b, MAX_BYTES);
	for (int step = 0; step < 20000; step++) {
		char bytes[200];
		size_t n = prng_below(&r, sizeof(bytes));
		if (prng_below(&r, 2)) {
			for (size_t i = 0; i < n; i++)
				bytes[i] = (char)(in + i);
			int result = buf_add(&b, bytes, n);
			ck_assert_int_eq(result, n > MAX_BYTES - len ? ERR_TOO_BIG : 0);
			if (result == 0) {
				in = (unsigned char)(in + n);
				len += n;
			}
		} else {
			n = MIN(n, len);
			for (size_t i = 0; i < n; i++)
				ck_assert_uint_eq((unsigned char)buf_ptr(&b)[i],
				    (unsigned char)(out + i));
			buf_consume(&b, n);
			out = (unsigned char)(out + n);
			len -= n;
		}
		ck_assert_uint_eq(buf_len(&b), len);
		ck_assert_uint_le(b.cap, 2 * MAX_BYTES + 2);
	}
	buf_fini(&b);
}

END_TEST

START_TEST(refuses_to_consume_too_much)
{
	struct buf b;
	buf_init(&b, 10);
	buf_consume(&b, 1);
}

END_TEST

Suite *test_buf_suite(void)
{
	Suite *s = suite_create("base/buf");
	TCase *t = tcase_create("buf");
	tcase_add_test(t, adds_and_consumes);
	tcase_add_test(t, keeps_its_limit);
	tcase_add_test(t, prints_beyond_what_is_free);
	tcase_add_test(t, reserves_and_commits);
	tcase_add_test(t, gives_its_content_away);
	tcase_add_loop_test(t, stays_true_under_churn, 0, 4);
	tcase_add_test_raise_signal(t, refuses_to_consume_too_much, SIGABRT);
	suite_add_tcase(s, t);
	return s;
}
