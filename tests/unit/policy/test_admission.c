#include "policy/admission.h"

#include <stdio.h>
#include <string.h>

#include "lib/unit.h"

static const struct {
	enum admission_sender_check check;
	const char *login, *sender;
	bool ok;
} senders[] = {
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "ann@example.org", true },
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "ann@EXAMPLE.org", true },
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "Ann@example.org", false },
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "bob@example.org", false },
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "ann@example.net", false },
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "", true },
	{ ADMISSION_SENDER_LOGIN, "ann", "ann@relay.example", true },
	{ ADMISSION_SENDER_LOGIN, "ann", "ann@other.example", false },
	{ ADMISSION_SENDER_LOGIN, "ann@example.org", "\"a@b\"@example.org", false },
	{ ADMISSION_SENDER_LOGIN, "", "@relay.example", false },
	{ ADMISSION_SENDER_DOMAIN, "ann@example.org", "bob@Example.ORG", true },
	{ ADMISSION_SENDER_DOMAIN, "ann@example.org", "ann@sub.example.org", false },
	{ ADMISSION_SENDER_DOMAIN, "ann", "news@relay.example", true },
	{ ADMISSION_SENDER_DOMAIN, "ann@example.org", "", true },
	{ ADMISSION_SENDER_NONE, "ann@example.org", "bob@example.net", true },
};

START_TEST(sender)
{
	ck_assert_int_eq(admission_sender_ok(senders[_i].check, slice_str(senders[_i].login),
			     slice_str(senders[_i].sender), "relay.example"),
	    senders[_i].ok);
}

END_TEST

START_TEST(rate_starts_full_and_refills)
{
	struct admission_rates *r = admission_rates_new(60, 60, 1); /* one per second */
	ck_assert(admission_rates_take(r, SLICE("ann"), 59, 1000));
	ck_assert(admission_rates_take(r, SLICE("ann"), 1, 1000));
	ck_assert(!admission_rates_take(r, SLICE("ann"), 1, 1999));
	ck_assert(admission_rates_take(r, SLICE("bob"), 60, 1999)); /* his own bucket */
	ck_assert(admission_rates_take(r, SLICE("ann"), 1, 2100));
	ck_assert(!admission_rates_take(r, SLICE("ann"), 1, 2100));
	ck_assert(!admission_rates_take(r, SLICE("ann"), 1,
	    500)); /* a clock that goes back gives nothing */
	ck_assert(
	    !admission_rates_take(r, SLICE("ann"), 61, 1000000)); /* never more than the bucket */
	ck_assert(admission_rates_take(r, SLICE("ann"), 60, 1000000));
	admission_rates_free(&r);
	ck_assert_ptr_null(r);
	admission_rates_free(&r);
}

END_TEST

START_TEST(rate_zero_is_no_limit)
{
	struct admission_rates *r = admission_rates_new(0, 0, 1);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert(admission_rates_take(r, SLICE("ann"), 1000, 0));
	admission_rates_set(r, 10, 3600); /* a reload brings one in */
	ck_assert(admission_rates_take(r, SLICE("ann"), 10, 0));
	ck_assert(!admission_rates_take(r, SLICE("ann"), 1, 0));
	admission_rates_set(r, 5, 3600); /* and narrows it */
	ck_assert(!admission_rates_take(r, SLICE("ann"), 6, 100 * 3600 * 1000));
	ck_assert(admission_rates_take(r, SLICE("ann"), 5, 100 * 3600 * 1000));
	admission_rates_free(&r);
}

END_TEST

/* More logins than buckets: the one still in debt is kept as long as there is a full one to drop.
 */
START_TEST(rate_buckets_are_bounded)
{
	struct admission_rates *r = admission_rates_new(10, 10, 1);
	ck_assert(admission_rates_take(r, SLICE("debtor"), 10, 0));
	for (unsigned i = 0; i < 100100; i++) {
		char login[32];
		int n = snprintf(login, sizeof(login), "user%u", i);
		ck_assert(admission_rates_take(r, slice_of(login, (size_t)n), 0, 0));
	}
	ck_assert(!admission_rates_take(r, SLICE("debtor"), 1, 0));
	admission_rates_free(&r);
}

END_TEST

START_TEST(connections_are_counted)
{
	struct admission_conns *c = admission_conns_new(1);
	struct slice a = SLICE("192.0.2.1"), b = SLICE("192.0.2.2");
	ck_assert(admission_conns_add(c, a, 2));
	ck_assert(admission_conns_add(c, a, 2));
	ck_assert(!admission_conns_add(c, a, 2));
	ck_assert(admission_conns_add(c, b, 2));
	admission_conns_remove(c, a);
	ck_assert(admission_conns_add(c, a, 2));
	ck_assert(!admission_conns_add(c, a, 1)); /* a reload lowered it */
	admission_conns_remove(c, a);
	admission_conns_remove(c, a);
	ck_assert(admission_conns_add(c, a, 1));
	admission_conns_free(&c);
	ck_assert_ptr_null(c);
	admission_conns_free(&c);
}

END_TEST

Suite *test_admission_suite(void)
{
	Suite *s = suite_create("admission");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, sender, 0, ARRAY_LEN(senders));
	tcase_add_test(tc, rate_starts_full_and_refills);
	tcase_add_test(tc, rate_zero_is_no_limit);
	tcase_add_test(tc, rate_buckets_are_bounded);
	tcase_add_test(tc, connections_are_counted);
	suite_add_tcase(s, tc);
	return s;
}
