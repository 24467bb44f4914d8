#include <string.h>

#include "conf/conf_int.h"
#include "lib/unit.h"

START_TEST(every_row_is_whole)
{
	size_t n;
	const struct conf_key *k = conf_schema(&n);
	for (size_t i = 0; i < n; i++) {
		bool group = k[i].type == CONF_TYPE_GROUP || k[i].type == CONF_TYPE_GROUPS;
		bool choice = k[i].type == CONF_TYPE_CHOICE || k[i].type == CONF_TYPE_CHOICE_BOOL ||
			      k[i].type == CONF_TYPE_CHOICE_TEXT;
		ck_assert_msg(k[i].type != CONF_TYPE_UNSET && k[i].help, "%s", k[i].name);
		ck_assert_msg((k[i].preset == NULL) == group, "%s", k[i].name);
		ck_assert_msg((k[i].choices != NULL) == choice, "%s", k[i].name);
		ck_assert_msg(k[i].min <= k[i].max, "%s", k[i].name);
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(k[i].name, k[j].name);
	}
}

END_TEST

/* A key's group is a row before it. */
START_TEST(groups_come_first)
{
	size_t n;
	const struct conf_key *k = conf_schema(&n);
	for (size_t i = 0; i < n; i++) {
		size_t found = strchr(k[i].name, '.') ? 0 : 1;
		for (size_t j = 0; j < i; j++)
			if (k[j].type >= CONF_TYPE_GROUP && conf_key_is_in(&k[i], k[j].name))
				found++;
		ck_assert_msg(found == 1, "%s", k[i].name);
	}
}

END_TEST

START_TEST(found_by_group_and_name)
{
	ck_assert_str_eq(conf_schema_find("", "me")->name, "me");
	ck_assert_str_eq(conf_schema_find("outbound.tls", "ciphers")->name, "outbound.tls.ciphers");
	ck_assert_ptr_null(conf_schema_find("outbound", "me"));
	ck_assert_ptr_null(conf_schema_find("outbound", "tls.ciphers"));
	ck_assert_ptr_null(conf_schema_find("out", "disabled"));
	ck_assert_str_eq(conf_key_leaf(conf_schema_find("outbound.tls", "ciphers")), "ciphers");
}

END_TEST

static const struct {
	const char *group, *name, *nearest;
} near[] = {
	{ "outbound", "concurency_max", "concurrency_max" },
	{ "outbound", "Concurrency_Max", "concurrency_max" },
	{ "outbound", "temp_fail_interval", "temp_fail_intervals" },
	{ "outbound", "maxtempfailures", "max_temp_failures" },
	{ "outbound", "loacl_mx_ok", "local_mx_ok" },
	{ "submission", "max_recipient", "max_recipients" },
	{ "", "em", "me" },
	{ "", "usr", "user" },
	{ "", "max_recipients", "submission.max_recipients" },
	{ "tls", "cert", NULL },
	{ "", "zzz", NULL },
	{ "", "a_name_that_is_longer_than_any_key_of_the_schema_could_ever_be", NULL },
};

START_TEST(nearest)
{
	const char *found = conf_schema_nearest(near[_i].group, near[_i].name);
	if (near[_i].nearest)
		ck_assert_str_eq(found, near[_i].nearest);
	else
		ck_assert_ptr_null(found);
}

END_TEST

Suite *test_conf_schema_suite(void)
{
	Suite *s = suite_create("conf_schema");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, every_row_is_whole);
	tcase_add_test(tc, groups_come_first);
	tcase_add_test(tc, found_by_group_and_name);
	tcase_add_loop_test(tc, nearest, 0, ARRAY_LEN(near));
	suite_add_tcase(s, tc);
	return s;
}
