#include "lib/unit.h"

Suite *test_conf_docs_suite(void);
Suite *test_conf_load_suite(void);
Suite *test_conf_mistakes_suite(void);
Suite *test_conf_rules_suite(void);
Suite *test_conf_schema_suite(void);

int main(void)
{
	static unit_suite_fn *const suites[] = {
		test_conf_docs_suite,
		test_conf_load_suite,
		test_conf_mistakes_suite,
		test_conf_rules_suite,
		test_conf_schema_suite,
	};
	return unit_main(suites, sizeof(suites) / sizeof(suites[0]));
}
