#include "lib/unit.h"

Suite *test_dnscache_suite(void);
Suite *test_resolution_suite(void);
Suite *test_site_suite(void);

int main(void)
{
	static unit_suite_fn *const suites[] = {
		test_dnscache_suite,
		test_resolution_suite,
		test_site_suite,
	};
	return unit_main(suites, sizeof(suites) / sizeof(suites[0]));
}
