#include "base/json.h"

#include <float.h>
#include <math.h>

#include "base/err.h"
#include "lib/unit.h"

START_TEST(writes_an_object)
{
	struct buf out;
	struct json j;
	buf_init(&out, 1000);
	json_begin(&j, &out);
	json_open(&j, NULL);
	json_cstr(&j, "event", "bounced");
	json_cstr(&j, "absent", NULL);
	json_int(&j, "code", 550);
	json_int(&j, "low", INT64_MIN);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	json_open_array(&j, "list");
	json_cstr(&j, NULL, "a");
	json_int(&j, NULL, 2);
	json_open(&j, NULL);
	json_close(&j);
	json_open_array(&j, NULL);
	json_close_array(&j);
	json_close_array(&j);
	json_open(&j, "o");
	json_num(&j, "n", 1.5);
	json_close(&j);
	json_str(&j, "last", SLICE_NONE);
	json_close(&j);
	ck_assert_int_eq(json_end(&j), 0);
	ck_assert_str_eq(buf_cstr(&out),
	    "{\"event\":\"bounced\",\"code\":550,\"low\":-9223372036854775808,\"yes\":true,"
	    "\"no\":false,\"list\":[\"a\",2,{},[]],\"o\":{\"n\":1.5},\"last\":\"\"}");
	buf_fini(&out);
}

END_TEST

static const struct {
	struct slice in;
	const char *out;
} texts[] = {
	{ { "plain / text", 12 }, "\"plain / text\"" },
	{ { "a\"b\\c", 5 }, "\"a\\\"b\\\\c\"" },
	{ { "\0\r\n\t\x1f", 5 }, "\"\\u0000\\u000d\\u000a\\u0009\\u001f\"" },
	{ { "\x7f~", 2 }, "\"\\u007f~\"" },
	{ { "\xc2\x85\xc2\x9b", 4 }, "\"\\u0085\\u009b\"" },
	{ { "gr\xc3\xbc\xc3\x9f", 6 }, "\"gr\xc3\xbc\xc3\x9f\"" },
	{ { "\xf0\x9f\x93\xac", 4 }, "\"\xf0\x9f\x93\xac\"" },
	{ { "a\xff"
	    "b",
	      3 },
	    "\"a\xef\xbf\xbd"
	    "b\"" },
	{ { "\xc0\xaf", 2 }, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
	{ { "\xed\xa0\x80", 3 }, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
	{ { "\xe2\x82", 2 }, "\"\xef\xbf\xbd\"" },
};

START_TEST(escapes)
{
	struct buf out;
	struct json j;
	buf_init(&out, 1000);
	json_begin(&j, &out);
	json_str(&j, NULL, texts[_i].in);
	ck_assert_int_eq(json_end(&j), 0);
	ck_assert_str_eq(buf_cstr(&out), texts[_i].out);
	buf_fini(&out);
}

END_TEST

static const struct {
	double in;
	const char *out;
} numbers[] = {
	{ 0, "0" },
	{ -0.0, "0" },
	{ 1, "1" },
	{ 0.1, "0.1" },
	{ 1.25, "1.25" },
	{ 12.0005, "12.001" },
	{ -0.0004, "0" },
	{ -2.5, "-2.5" },
	{ 100, "100" },
	{ 0.999, "0.999" },
	{ 0.9996, "1" },
	{ 123456789.125, "123456789.125" },
	{ 1e15, "1000000000000000" },
	{ 1e300, "null" },
	{ (double)INFINITY, "null" },
	{ -(double)INFINITY, "null" },
	{ (double)NAN, "null" },
};

START_TEST(writes_numbers)
{
	struct buf out;
	struct json j;
	buf_init(&out, 1000);
	json_begin(&j, &out);
	json_num(&j, NULL, numbers[_i].in);
	ck_assert_int_eq(json_end(&j), 0);
	ck_assert_str_eq(buf_cstr(&out), numbers[_i].out);
	buf_fini(&out);
}

END_TEST

START_TEST(errors_stick)
{
	struct buf out;
	struct json j;
	buf_init(&out, 12);
	json_begin(&j, &out);
	json_open(&j, NULL);
	json_cstr(&j, "key", "much too long");
	json_int(&j, "k", 1);
	json_close(&j);
	ck_assert_int_eq(json_end(&j), ERR_TOO_BIG);
	ck_assert_uint_le(buf_len(&out), 12);
	buf_fini(&out);
}

END_TEST

Suite *test_json_suite(void)
{
	Suite *s = suite_create("base/json");
	TCase *t = tcase_create("json");
	tcase_add_test(t, writes_an_object);
	tcase_add_loop_test(t, escapes, 0, ARRAY_LEN(texts));
	tcase_add_loop_test(t, writes_numbers, 0, ARRAY_LEN(numbers));
	tcase_add_test(t, errors_stick);
	suite_add_tcase(s, t);
	return s;
}
