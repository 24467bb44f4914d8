#include "policy/verdict.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/unit.h"

static void judge(enum smtp_stage stage, int code, const char *enhanced, bool other_accepted,
    struct verdict *v)
{
	struct smtp_result r;
	smtp_result_init(&r);
	r.stage = stage;
	reply_set(&r.reply, code, enhanced, SLICE("words"));
	verdict_of_result(&r, other_accepted, v);
	smtp_result_fini(&r);
}

static void judge_loss(enum smtp_stage stage, int err, enum smtp_need need, struct verdict *v)
{
	struct smtp_result r;
	smtp_result_init(&r);
	r.stage = stage;
	r.err = err;
	r.need = need;
	verdict_of_result(&r, false, v);
	smtp_result_fini(&r);
}

static const char *enhanced_text(const struct verdict *v)
{
	static char text[32];
	snprintf(text, sizeof(text), "%u.%u.%u", v->enhanced[0], v->enhanced[1], v->enhanced[2]);
	return text;
}

/* d defer, n defer and next host, b bounce, a bounce if all hosts say so (next host first) */
static char letter(const struct verdict *v)
{
	if (v->kind == VERDICT_DEFER)
		return v->unless_all ? '?' : v->next_host ? 'n' : 'd';
	if (v->kind == VERDICT_BOUNCE)
		return v->unless_all ? (v->next_host ? 'a' : '?') : v->next_host ? '?' : 'b';
	return '?';
}

static const int codes[] = { 421, 450, 451, 452, 454, 503, 530, 534, 535, 538, 521, 552, 550, 554,
	556, 500, 300, 250, 199 };

/* Law 4, all of it: one letter for each code above. */
static const struct {
	enum smtp_stage stage;
	const char *letters;
} law4[] = {
	{ SMTP_STAGE_CONNECT, "nnnnnnnnnnnnnnnnnnn" },
	{ SMTP_STAGE_GREETING, "nnnnnnnnnnannnnnnnn" },
	{ SMTP_STAGE_EHLO, "nnnnnnnnnnnnnnnnnnn" },
	{ SMTP_STAGE_STARTTLS, "nnnnnnnnnnnnnnnnnnn" },
	{ SMTP_STAGE_AUTH, "nnnnnnnnnnnnnnnnnnn" },
	{ SMTP_STAGE_MAIL, "ndddddddddbbbbbbnnn" },
	{ SMTP_STAGE_RCPT, "ndddddddddbbbbbbnnn" },
	{ SMTP_STAGE_DATA, "ndddddddddbbbbbbnnn" },
	{ SMTP_STAGE_BODY, "ndddddddddbbbbbbnnn" },
	{ SMTP_STAGE_DOT, "ddddddddddbbbbbbddd" },
	{ SMTP_STAGE_LOCAL, "ddddddddddddddddddd" },
	{ SMTP_STAGE_DNS, "ddddddddddddddddddd" },
	{ SMTP_STAGE_NONE, "ddddddddddddddddddd" },
};

START_TEST(every_stage_and_code)
{
	struct verdict v;
	ck_assert_uint_eq(strlen(law4[_i].letters), ARRAY_LEN(codes));
	for (size_t c = 0; c < ARRAY_LEN(codes); c++) {
		judge(law4[_i].stage, codes[c], NULL, false, &v);
		ck_assert_msg(letter(&v) == law4[_i].letters[c], "stage %d code %d: %c, not %c",
		    (int)law4[_i].stage, codes[c], letter(&v), law4[_i].letters[c]);
		ck_assert_int_eq(v.enhanced[0], v.code / 100);
		ck_assert(v.code / 100 == 4 || v.code / 100 == 5);
	}
}

END_TEST

/* Whatever the reply, nothing but a bounce by law 4 is permanent, and nothing is delivered. */
START_TEST(every_code_at_every_stage_has_a_fate)
{
	struct verdict v;
	for (int stage = SMTP_STAGE_NONE; stage <= SMTP_STAGE_LOCAL; stage++) {
		for (int code = 0; code <= 599; code = code ? code + 1 : 100) {
			judge((enum smtp_stage)stage, code, NULL, code % 2, &v);
			ck_assert(v.kind == VERDICT_DEFER || v.kind == VERDICT_BOUNCE);
			if (v.kind == VERDICT_BOUNCE)
				ck_assert(code >= 500 && (stage >= SMTP_STAGE_MAIL || code == 521));
			if (stage == SMTP_STAGE_DOT)
				ck_assert(!v.next_host);
		}
	}
}

END_TEST

START_TEST(too_many_recipients)
{
	struct verdict v;
	judge(SMTP_STAGE_RCPT, 552, "5.5.3", true, &v);
	ck_assert_int_eq(letter(&v), 'd');
	ck_assert_int_eq(v.code, 552);
	judge(SMTP_STAGE_RCPT, 552, NULL, false, &v);
	ck_assert_int_eq(letter(&v), 'b');
	ck_assert_str_eq(enhanced_text(&v), "5.2.2");
	judge(SMTP_STAGE_DOT, 552, NULL, true, &v);
	ck_assert_int_eq(letter(&v), 'b');
	ck_assert_str_eq(enhanced_text(&v), "5.3.4");
	judge(SMTP_STAGE_RCPT, 550, NULL, true, &v);
	ck_assert_int_eq(letter(&v), 'b');
}

END_TEST

START_TEST(accepted_is_delivered)
{
	struct smtp_result r;
	struct verdict v;
	smtp_result_init(&r);
	r.stage = SMTP_STAGE_DOT;
	r.accepted = true;
	reply_set(&r.reply, 250, "2.6.0", SLICE("queued"));
	verdict_of_result(&r, true, &v);
	ck_assert_int_eq(v.kind, VERDICT_DELIVERED);
	ck_assert_int_eq(v.code, 250);
	ck_assert_str_eq(enhanced_text(&v), "2.6.0");
	ck_assert_ptr_null(v.text);
	ck_assert(!v.next_host && !v.unless_all && !v.connection_failed);
	reply_set(&r.reply, 250, NULL, SLICE("ok"));
	verdict_of_result(&r, false, &v);
	ck_assert_str_eq(enhanced_text(&v), "2.0.0");
	reply_clear(&r.reply);
	verdict_of_result(&r, false, &v);
	ck_assert_int_eq(v.kind, VERDICT_DELIVERED);
	ck_assert_int_eq(v.code, 250);
	smtp_result_fini(&r);
}

END_TEST

static const struct {
	enum smtp_stage stage;
	int err;
	char letter;
	const char *enhanced;
	bool host;
} losses[] = {
	{ SMTP_STAGE_DNS, ERR_TIMEOUT, 'd', "4.4.3", false },
	{ SMTP_STAGE_CONNECT, -ECONNREFUSED, 'n', "4.4.1", true },
	{ SMTP_STAGE_CONNECT, ERR_TIMEOUT, 'n', "4.4.1", true },
	{ SMTP_STAGE_CONNECT, -ENETUNREACH, 'n', "4.4.1", true },
	{ SMTP_STAGE_CONNECT, ERR_TLS, 'n', "4.7.5", true },
	{ SMTP_STAGE_GREETING, ERR_CLOSED, 'n', "4.4.2", true },
	{ SMTP_STAGE_GREETING, ERR_TIMEOUT, 'n', "4.4.2", true },
	{ SMTP_STAGE_GREETING, ERR_PROTOCOL, 'n', "4.5.0", true },
	{ SMTP_STAGE_GREETING, -ECONNREFUSED, 'n', "4.4.1", true },
	{ SMTP_STAGE_EHLO, ERR_CLOSED, 'n', "4.4.2", true },
	{ SMTP_STAGE_STARTTLS, ERR_TLS, 'n', "4.7.5", true },
	{ SMTP_STAGE_STARTTLS, ERR_CLOSED, 'n', "4.4.2", true },
	{ SMTP_STAGE_AUTH, ERR_PROTOCOL, 'n', "4.5.0", true },
	{ SMTP_STAGE_MAIL, -ECONNRESET, 'n', "4.4.2", true },
	{ SMTP_STAGE_MAIL, ERR_TOO_BIG, 'n', "4.5.0", true },
	{ SMTP_STAGE_RCPT, ERR_TIMEOUT, 'n', "4.4.2", true },
	{ SMTP_STAGE_DATA, ERR_CLOSED, 'n', "4.4.2", true },
	{ SMTP_STAGE_BODY, ERR_CLOSED, 'n', "4.4.2", false },
	{ SMTP_STAGE_BODY, ERR_TIMEOUT, 'n', "4.4.2", false },
	{ SMTP_STAGE_DOT, ERR_CLOSED, 'd', "4.4.2", false },
	{ SMTP_STAGE_DOT, ERR_TIMEOUT, 'd', "4.4.2", false },
	{ SMTP_STAGE_DOT, ERR_PROTOCOL, 'd', "4.5.0", false },
	{ SMTP_STAGE_LOCAL, -EIO, 'd', "4.3.0", false },
	{ SMTP_STAGE_NONE, 0, 'd', "4.3.0", false },
};

START_TEST(no_reply)
{
	struct verdict v;
	judge_loss(losses[_i].stage, losses[_i].err, SMTP_NEED_NONE, &v);
	ck_assert_int_eq(letter(&v), losses[_i].letter);
	ck_assert_int_eq(v.code, 451);
	ck_assert_str_eq(enhanced_text(&v), losses[_i].enhanced);
	ck_assert_int_eq(v.connection_failed, losses[_i].host);
	ck_assert_ptr_nonnull(v.text);
}

END_TEST

static const struct {
	enum smtp_need need;
	int err;
	char letter;
	int code;
	const char *enhanced;
} needs[] = {
	{ SMTP_NEED_SIZE, 0, 'a', 552, "5.3.4" },
	{ SMTP_NEED_UTF8, 0, 'a', 550, "5.6.7" },
	{ SMTP_NEED_8BIT, 0, 'a', 554, "5.6.3" },
	{ SMTP_NEED_TLS, 0, 'n', 451, "4.7.4" },
	{ SMTP_NEED_TLS, ERR_TLS, 'n', 451, "4.7.5" },
	{ SMTP_NEED_AUTH, 0, 'n', 454, "4.7.0" },
};

/* A refusal of BDAT as a command: the mail is not to blame, whatever the code; the words stay. */
START_TEST(refused_command)
{
	static const int no_command[] = { 500, 501, 502, 503, 504 };

	static const enum smtp_stage stages[] = { SMTP_STAGE_BODY, SMTP_STAGE_DOT };

	for (size_t i = 0; i < ARRAY_LEN(no_command) * ARRAY_LEN(stages); i++) {
		struct smtp_result r;
		struct verdict v;
		smtp_result_init(&r);
		r.stage = stages[i % ARRAY_LEN(stages)];
		r.err = ERR_PROTOCOL;
		reply_set(&r.reply, no_command[i / ARRAY_LEN(stages)], "5.5.1", SLICE("what?"));
		verdict_of_result(&r, false, &v);
		ck_assert_int_eq(letter(&v), r.stage == SMTP_STAGE_BODY ? 'n' : 'd');
		ck_assert_int_eq(v.code, 451);
		ck_assert_str_eq(enhanced_text(&v), "4.5.0");
		ck_assert_ptr_null(v.text);
		ck_assert(!v.connection_failed);
		smtp_result_fini(&r);
	}
}

END_TEST

START_TEST(needs_not_met)
{
	struct verdict v;
	judge_loss(SMTP_STAGE_MAIL, needs[_i].err, needs[_i].need, &v);
	ck_assert_int_eq(letter(&v), needs[_i].letter);
	ck_assert_int_eq(v.code, needs[_i].code);
	ck_assert_str_eq(enhanced_text(&v), needs[_i].enhanced);
	ck_assert_ptr_nonnull(v.text);
}

END_TEST

static const struct {
	enum smtp_stage stage;
	int code;
	const char *given, *expected;
} enhanced_codes[] = {
	{ SMTP_STAGE_RCPT, 550, "5.1.1", "5.1.1" },
	{ SMTP_STAGE_RCPT, 550, "5.7.26", "5.7.26" },
	{ SMTP_STAGE_RCPT, 550, "4.2.2", "5.0.0" }, /* contradicts the code: dropped */
	{ SMTP_STAGE_RCPT, 550, NULL, "5.0.0" },
	{ SMTP_STAGE_RCPT, 450, NULL, "4.2.0" },
	{ SMTP_STAGE_RCPT, 452, NULL, "4.3.1" },
	{ SMTP_STAGE_RCPT, 400, NULL, "4.0.0" },
	{ SMTP_STAGE_RCPT, 553, NULL, "5.1.3" },
	{ SMTP_STAGE_MAIL, 553, NULL, "5.1.7" },
	{ SMTP_STAGE_DOT, 553, NULL, "5.0.0" },
	{ SMTP_STAGE_RCPT, 556, NULL, "5.1.10" },
	{ SMTP_STAGE_MAIL, 530, NULL, "5.7.0" },
	{ SMTP_STAGE_AUTH, 535, NULL, "5.7.8" },
	{ SMTP_STAGE_GREETING, 521, NULL, "5.3.2" },
	{ SMTP_STAGE_GREETING, 421, NULL, "4.3.2" },
	{ SMTP_STAGE_MAIL, 300, NULL, "4.5.0" },
	{ SMTP_STAGE_GREETING, 250, "2.0.0", "4.5.0" },
};

START_TEST(enhanced_code)
{
	struct verdict v;
	judge(enhanced_codes[_i].stage, enhanced_codes[_i].code, enhanced_codes[_i].given, false,
	    &v);
	ck_assert_str_eq(enhanced_text(&v), enhanced_codes[_i].expected);
	ck_assert_ptr_null(v.text);
}

END_TEST

START_TEST(what_421_says_of_the_host)
{
	struct verdict v;
	judge(SMTP_STAGE_MAIL, 421, NULL, false, &v);
	ck_assert(v.connection_failed);
	judge(SMTP_STAGE_MAIL, 451, NULL, false, &v);
	ck_assert(!v.connection_failed);
	judge(SMTP_STAGE_GREETING, 554, NULL, false, &v);
	ck_assert(v.connection_failed);
	judge(SMTP_STAGE_RCPT, 550, NULL, false, &v);
	ck_assert(!v.connection_failed);
}

END_TEST

static const struct {
	enum verdict_finding finding;
	enum verdict_kind kind;
	int code;
	const char *enhanced;
} findings[] = {
	{ VERDICT_FINDING_NXDOMAIN, VERDICT_BOUNCE, 550, "5.1.2" },
	{ VERDICT_FINDING_NULL_MX, VERDICT_BOUNCE, 556, "5.1.10" },
	{ VERDICT_FINDING_MX_LOOP, VERDICT_BOUNCE, 550, "5.4.6" },
	{ VERDICT_FINDING_NO_ADDRESS, VERDICT_DEFER, 451, "4.4.4" },
	{ VERDICT_FINDING_NO_HOST, VERDICT_DEFER, 451, "4.4.4" },
	{ VERDICT_FINDING_DNS_FAILED, VERDICT_DEFER, 451, "4.4.3" },
	{ VERDICT_FINDING_UNDIALABLE, VERDICT_DEFER, 451, "4.4.4" },
	{ VERDICT_FINDING_EXPIRED, VERDICT_BOUNCE, 550, "5.4.7" },
	{ VERDICT_FINDING_TOO_MANY_ATTEMPTS, VERDICT_BOUNCE, 550, "5.4.7" },
	{ VERDICT_FINDING_HOSTS_EXHAUSTED, VERDICT_DEFER, 451, "4.4.1" },
	{ VERDICT_FINDING_SITE_DOWN, VERDICT_DEFER, 451, "4.4.1" },
	{ VERDICT_FINDING_LOCAL_ERROR, VERDICT_DEFER, 451, "4.3.0" },
	{ VERDICT_FINDING_DELETED, VERDICT_BOUNCE, 554, "5.3.0" },
};

START_TEST(own_findings)
{
	struct verdict v;
	verdict_of_finding(findings[_i].finding, &v);
	ck_assert_int_eq(v.kind, findings[_i].kind);
	ck_assert_int_eq(v.code, findings[_i].code);
	ck_assert_str_eq(enhanced_text(&v), findings[_i].enhanced);
	ck_assert_ptr_nonnull(v.text);
	ck_assert(!v.next_host && !v.unless_all);
}

END_TEST

static const struct {
	enum smtp_stage stage;
	int code;
	const char *enhanced;
	enum verdict_pressure pressure;
} pressures[] = {
	{ SMTP_STAGE_GREETING, 421, "4.7.0", VERDICT_PRESSURE_CONNECTIONS },
	{ SMTP_STAGE_GREETING, 421, NULL, VERDICT_PRESSURE_CONNECTIONS },
	{ SMTP_STAGE_EHLO, 421, "4.3.2", VERDICT_PRESSURE_CONNECTIONS },
	{ SMTP_STAGE_AUTH, 421, NULL, VERDICT_PRESSURE_CONNECTIONS },
	{ SMTP_STAGE_GREETING, 450, "4.7.28", VERDICT_PRESSURE_NONE },
	{ SMTP_STAGE_GREETING, 554, NULL, VERDICT_PRESSURE_NONE },
	{ SMTP_STAGE_MAIL, 421, NULL, VERDICT_PRESSURE_MAIL },
	{ SMTP_STAGE_RCPT, 421, "4.7.0", VERDICT_PRESSURE_MAIL },
	{ SMTP_STAGE_DOT, 421, "4.7.28", VERDICT_PRESSURE_MAIL },
	{ SMTP_STAGE_MAIL, 421, "4.4.2", VERDICT_PRESSURE_NONE }, /* idle for too long */
	{ SMTP_STAGE_MAIL, 450, "4.7.28", VERDICT_PRESSURE_MAIL },
	{ SMTP_STAGE_DATA, 451, "4.4.5", VERDICT_PRESSURE_MAIL },
	{ SMTP_STAGE_RCPT, 450, "4.7.1", VERDICT_PRESSURE_NONE }, /* greylisting */
	{ SMTP_STAGE_RCPT, 450, NULL, VERDICT_PRESSURE_NONE },
	{ SMTP_STAGE_RCPT, 452, "4.2.2", VERDICT_PRESSURE_NONE },
	{ SMTP_STAGE_DOT, 451, "4.3.0", VERDICT_PRESSURE_NONE },
	{ SMTP_STAGE_DOT, 550, "5.7.28", VERDICT_PRESSURE_NONE }, /* it is final */
	{ SMTP_STAGE_DOT, 0, NULL, VERDICT_PRESSURE_NONE },
	{ SMTP_STAGE_LOCAL, 421, NULL, VERDICT_PRESSURE_NONE },
};

START_TEST(reasons_to_slow_down)
{
	struct verdict v;
	judge(pressures[_i].stage, pressures[_i].code, pressures[_i].enhanced, false, &v);
	ck_assert_int_eq(v.pressure, pressures[_i].pressure);
}

END_TEST

Suite *test_verdict_suite(void)
{
	Suite *s = suite_create("verdict");
	TCase *tc = tcase_create("law 4");
	tcase_add_loop_test(tc, every_stage_and_code, 0, ARRAY_LEN(law4));
	tcase_add_test(tc, every_code_at_every_stage_has_a_fate);
	tcase_add_test(tc, too_many_recipients);
	tcase_add_test(tc, accepted_is_delivered);
	tcase_add_loop_test(tc, no_reply, 0, ARRAY_LEN(losses));
	tcase_add_test(tc, refused_command);
	tcase_add_loop_test(tc, needs_not_met, 0, ARRAY_LEN(needs));
	tcase_add_loop_test(tc, enhanced_code, 0, ARRAY_LEN(enhanced_codes));
	tcase_add_test(tc, what_421_says_of_the_host);
	tcase_add_loop_test(tc, reasons_to_slow_down, 0, ARRAY_LEN(pressures));
	tcase_add_loop_test(tc, own_findings, 0, ARRAY_LEN(findings));
	suite_add_tcase(s, tc);
	return s;
}
