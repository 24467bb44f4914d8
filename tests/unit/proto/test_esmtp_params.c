#include "proto/esmtp_params.h"

#include <stdio.h>
#include <string.h>

#include "lib/unit.h"

unit_suite_fn test_esmtp_params_suite;

#define X10  "xxxxxxxxxx"
#define X50  X10 X10 X10 X10 X10
#define X100 X50 X50
#define X500 X100 X100 X100 X100 X100

static const struct {
	const char *text;
	const char *expect; /* "size body utf8 ret envid", or the code */
} mails[] = {
	{ "", "0 0 0 0 " },
	{ " ", "0 0 0 0 " },
	{ " SIZE=0", "0 0 0 0 " },
	{ "  size=12  body=7bit ", "12 0 0 0 " },
	{ " BODY=8bitmime SMTPUTF8", "0 1 1 0 " },
	{ " RET=FULL ENVID=ab+2Bc", "0 0 0 1 ab+2Bc" },
	{ " ret=hdrs", "0 0 0 2 " },
	{ " ENVID=" X100, "0 0 0 0 " X100 },
	{ " AUTH=<>", "0 0 0 0 " },
	{ " AUTH=a+2Bb@c.test", "0 0 0 0 " },
	{ " SIZE=18446744073709551615", "18446744073709551615 0 0 0 " },
	{ " SIZE=99999999999999999999", "18446744073709551615 0 0 0 " },
	{ " SIZE=999999999999999999999", "501" },
	{ "x", "501" },
	{ " SIZE=1 SIZE=2", "501" },
	{ " SIZE=1 size=1", "501" },
	{ " SIZE", "501" },
	{ " SIZE=", "501" },
	{ " SIZE=-1", "501" },
	{ " SIZE=1k", "501" },
	{ " BODY=BINARYMIME", "555" },
	{ " BODY=9BIT", "501" },
	{ " SMTPUTF8=1", "501" },
	{ " RET=BOTH", "501" },
	{ " ENVID=" X100 "x", "501" },
	{ " ENVID=+0A", "501" },
	{ " ENVID=+0a", "501" },
	{ " ENVID=+4", "501" },
	{ " ENVID=a=b", "501" },
	{ " AUTH=a@b+0Ax", "501" },
	{ " AUTH=x", "501" },
	{ " AUTH=<a@b>", "501" },
	{ " NOTIFY=NEVER", "555" },
	{ " HOLDFOR=5", "555" },
	{ " =", "555" },
	{ " X=1", "555" },
	{ "\tSIZE=1", "501" },
};

START_TEST(mail_parameters)
{
	struct esmtp_mail m;
	struct esmtp_fault fault = { 0 };
	char got[200];
	if (esmtp_parse_mail(slice_str(mails[_i].text), true, &m, &fault)) {
		snprintf(got, sizeof(got), "%llu %d %d %d %.*s", (unsigned long long)m.size,
		    m.body_8bitmime, m.smtputf8, m.ret, SLICE_ARG(m.envid));
	} else {
		snprintf(got, sizeof(got), "%d", fault.code);
		ck_assert_str_eq(fault.enhanced, "5.5.4");
		ck_assert_uint_gt(strlen(fault.text), 0);
	}
	ck_assert_str_eq(got, mails[_i].expect);
}

END_TEST

static const struct {
	const char *text;
	bool utf8;
	const char *expect; /* "notify orcpt", or the code */
} rcpts[] = {
	{ "", false, "0 " },
	{ " NOTIFY=NEVER", false, "1 " },
	{ " notify=success,Failure,DELAY", false, "14 " },
	{ " NOTIFY=DELAY ORCPT=rfc822;a+2Bb@c", false, "8 rfc822;a+2Bb@c" },
	{ " ORCPT=utf-8;a\\x{E9}@c", false, "0 utf-8;a\\x{E9}@c" },
	{ " ORCPT=utf-8;\xc3\xa9@c", true, "0 utf-8;\xc3\xa9@c" },
	{ " ORCPT=x-unix;joe", false, "0 x-unix;joe" },
	{ " ORCPT=utf-8;\xc3\xa9@c", false, "501" },
	{ " ORCPT=utf-8;\xc3@c", true, "501" },
	{ " ORCPT=utf-8;a+b@c", true, "501" },
	{ " ORCPT=rfc822;\xc3\xa9@c", true, "501" },
	{ " ORCPT=rfc822;a+0Ab", false, "501" },
	{ " ORCPT=rfc822;", false, "501" },
	{ " ORCPT=;a", false, "501" },
	{ " ORCPT=rfc822", false, "501" },
	{ " ORCPT=rfc_822;a", false, "501" },
	{ " ORCPT=rfc822;" X500 X100, false, "501" },
	{ " NOTIFY=NEVER,DELAY", false, "501" },
	{ " NOTIFY=DELAY,NEVER", false, "501" },
	{ " NOTIFY=", false, "501" },
	{ " NOTIFY=SUCCESS,", false, "501" },
	{ " NOTIFY=,SUCCESS", false, "501" },
	{ " NOTIFY=ALWAYS", false, "501" },
	{ " NOTIFY=DELAY NOTIFY=DELAY", false, "501" },
	{ " NOTIFY", false, "501" },
	{ " SIZE=1", false, "555" },
	{ "NOTIFY=NEVER", false, "501" },
};

START_TEST(rcpt_parameters)
{
	struct esmtp_rcpt r;
	struct esmtp_fault fault = { 0 };
	char got[200];
	if (esmtp_parse_rcpt(slice_str(rcpts[_i].text), true, rcpts[_i].utf8, &r, &fault))
		snprintf(got, sizeof(got), "%u %.*s", r.notify, SLICE_ARG(r.orcpt));
	else
		snprintf(got, sizeof(got), "%d", fault.code);
	ck_assert_str_eq(got, rcpts[_i].expect);
}

END_TEST

START_TEST(none_after_helo)
{
	struct esmtp_mail m;
	struct esmtp_rcpt r;
	struct esmtp_fault fault = { 0 };
	ck_assert(esmtp_parse_mail(SLICE(" "), false, &m, &fault));
	ck_assert(!esmtp_parse_mail(SLICE(" SIZE=1"), false, &m, &fault));
	ck_assert_int_eq(fault.code, 555);
	ck_assert(!esmtp_parse_rcpt(SLICE(" NOTIFY=NEVER"), false, false, &r, &fault));
	ck_assert_int_eq(fault.code, 555);
}

END_TEST

Suite *test_esmtp_params_suite(void)
{
	Suite *s = suite_create("proto/esmtp_params");
	TCase *t = tcase_create("esmtp_params");
	tcase_add_loop_test(t, mail_parameters, 0, ARRAY_LEN(mails));
	tcase_add_loop_test(t, rcpt_parameters, 0, ARRAY_LEN(rcpts));
	tcase_add_test(t, none_after_helo);
	suite_add_tcase(s, t);
	return s;
}
