#include "proto/sasl.h"

#include <string.h>

#include "lib/unit.h"

unit_suite_fn test_sasl_suite;

/* One step; checks the result and what there is to send. */
static void expect_step(struct sasl *s, const struct slice *in, enum sasl_result result,
    struct slice message)
{
	struct buf out;
	buf_init(&out, SASL_MESSAGE_MAX);
	ck_assert_int_eq(sasl_step(s, in != NULL, in ? *in : SLICE_NONE, &out), (int)result);
	ck_assert(slice_eq(buf_slice(&out), message));
	buf_fini(&out);
}

static void step(struct sasl *s, struct slice in, enum sasl_result result, const char *message)
{
	expect_step(s, &in, result, slice_str(message));
}

static const struct {
	struct slice in;
	const char *user; /* NULL: refused */
	const char *password;
} plains[] = {
	{ SLICE("\0joe\0secret"), "joe", "secret" },
	{ SLICE("joe\0joe\0secret"), "joe", "secret" },
	{ SLICE("\0joe@d.test\0with space"), "joe@d.test", "with space" },
	{ SLICE("\0j\xc3\xb6\0p\xc3\xa4ss"), "j\xc3\xb6", "p\xc3\xa4ss" },
	{ SLICE("ann\0joe\0secret"), NULL, NULL },
	{ SLICE("joe\0secret"), NULL, NULL },
	{ SLICE("\0joe"), NULL, NULL },
	{ SLICE("\0\0secret"), NULL, NULL },
	{ SLICE("\0joe\0sec\0ret"), NULL, NULL },
	{ SLICE("\0joe\0secret\0"), NULL, NULL },
	{ SLICE("\0*)(uid=*\0'\""), "*)(uid=*", "'\"" },
};

START_TEST(server_plain)
{
	struct sasl *s = sasl_server_new(SLICE("plain"));
	ck_assert_str_eq(sasl_mechanism(s), "PLAIN");
	ck_assert_str_eq(sasl_user(s), "");
	ck_assert_str_eq(sasl_password(s), "");
	if (plains[_i].user) {
		step(s, plains[_i].in, SASL_CREDENTIALS, "");
		ck_assert_str_eq(sasl_user(s), plains[_i].user);
		ck_assert_str_eq(sasl_password(s), plains[_i].password);
	} else {
		step(s, plains[_i].in, SASL_FAILED, "");
		ck_assert_str_eq(sasl_user(s), "");
	}
	sasl_free(&s);
	ck_assert_ptr_null(s);
	sasl_free(&s);
}

END_TEST

START_TEST(server_plain_asks)
{
	struct sasl *s = sasl_server_new(SLICE("PLAIN"));
	expect_step(s, NULL, SASL_CONTINUE, SLICE(""));
	step(s, SLICE("\0joe\0secret"), SASL_CREDENTIALS, "");
	ck_assert_str_eq(sasl_user(s), "joe");
	sasl_free(&s);
}

END_TEST

START_TEST(server_login)
{
	struct sasl *s = sasl_server_new(SLICE("Login"));
	ck_assert_str_eq(sasl_mechanism(s), "LOGIN");
	expect_step(s, NULL, SASL_CONTINUE, SLICE("Username:"));
	step(s, SLICE("joe"), SASL_CONTINUE, "Password:");
	step(s, SLICE("secret"), SASL_CREDENTIALS, "");
	ck_assert_str_eq(sasl_user(s), "joe");
	ck_assert_str_eq(sasl_password(s), "secret");
	sasl_free(&s);

	s = sasl_server_new(SLICE("LOGIN"));
	step(s, SLICE("joe"), SASL_CONTINUE, "Password:");
	step(s, SLICE("sec\0ret"), SASL_FAILED, "");
	sasl_free(&s);

	s = sasl_server_new(SLICE("LOGIN"));
	expect_step(s, NULL, SASL_CONTINUE, SLICE("Username:"));
	step(s, SLICE(""), SASL_FAILED, "");
	sasl_free(&s);
}

END_TEST

START_TEST(credentials_have_limits)
{
	char in[2 * SASL_CREDENTIAL_MAX];
	memset(in, 'x', sizeof(in));
	in[0] = in[4] = '\0';
	struct sasl *s = sasl_server_new(SLICE("PLAIN"));
	step(s, slice_of(in, 5 + SASL_CREDENTIAL_MAX), SASL_CREDENTIALS, "");
	ck_assert_uint_eq(strlen(sasl_password(s)), SASL_CREDENTIAL_MAX);
	sasl_free(&s);
	s = sasl_server_new(SLICE("PLAIN"));
	step(s, slice_of(in, 5 + SASL_CREDENTIAL_MAX + 1), SASL_FAILED, "");
	sasl_free(&s);
	in[sizeof(in) - 1] = '\0';
	ck_assert_ptr_null(sasl_client_new("PLAIN", "joe", in + 5));
	static char large[SASL_MESSAGE_MAX + 1];
	s = sasl_server_new(SLICE("LOGIN"));
	step(s, slice_of(large, sizeof(large)), SASL_FAILED, "");
	sasl_free(&s);
}

END_TEST

START_TEST(client_plain)
{
	struct sasl *s = sasl_client_new("PLAIN", "joe", "secret");
	expect_step(s, NULL, SASL_DONE, SLICE("\0joe\0secret"));
	sasl_free(&s);
}

END_TEST

START_TEST(client_login)
{
	struct sasl *s = sasl_client_new("login", "joe", "secret");
	expect_step(s, NULL, SASL_CONTINUE, SLICE(""));
	step(s, SLICE("Username:"), SASL_CONTINUE, "joe");
	step(s, SLICE("Password:"), SASL_DONE, "secret");
	step(s, SLICE("More?"), SASL_FAILED, "");
	sasl_free(&s);
}

END_TEST

START_TEST(mechanisms_are_picked)
{
	ck_assert(sasl_server_has(SLICE("PLAIN")));
	ck_assert(sasl_server_has(SLICE("login")));
	ck_assert(!sasl_server_has(SLICE("CRAM-MD5")));
	ck_assert(!sasl_server_has(SLICE("")));
	ck_assert_ptr_null(sasl_server_new(SLICE("GSSAPI")));
	ck_assert_ptr_null(sasl_client_new("SCRAM-SHA-1", "joe", "secret"));
	ck_assert_str_eq(sasl_client_pick(SLICE("LOGIN PLAIN"), ""), "PLAIN");
	ck_assert_str_eq(sasl_client_pick(SLICE("CRAM-MD5  login"), NULL), "LOGIN");
	ck_assert_str_eq(sasl_client_pick(SLICE("PLAIN LOGIN"), "login"), "LOGIN");
	ck_assert_ptr_null(sasl_client_pick(SLICE("PLAIN"), "LOGIN"));
	ck_assert_ptr_null(sasl_client_pick(SLICE("PLAIN"), "CRAM-MD5"));
	ck_assert_ptr_null(sasl_client_pick(SLICE("CRAM-MD5"), ""));
	ck_assert_ptr_null(sasl_client_pick(SLICE(""), ""));
}

END_TEST

Suite *test_sasl_suite(void)
{
	Suite *s = suite_create("proto/sasl");
	TCase *t = tcase_create("sasl");
	tcase_add_loop_test(t, server_plain, 0, ARRAY_LEN(plains));
	tcase_add_test(t, server_plain_asks);
	tcase_add_test(t, server_login);
	tcase_add_test(t, credentials_have_limits);
	tcase_add_test(t, client_plain);
	tcase_add_test(t, client_login);
	tcase_add_test(t, mechanisms_are_picked);
	suite_add_tcase(s, t);
	return s;
}
