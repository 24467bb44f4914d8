#include "lib/unit.h"

unit_suite_fn test_dnscache_suite;
unit_suite_fn test_limits_suite;
unit_suite_fn test_resolution_suite;
unit_suite_fn test_site_suite;

int main(void)
{
	static unit_suite_fn *const suites[] = {
		test_dnscache_suite,
		test_limits_suite,
		test_resolution_suite,
		test_site_suite,
	};
	return unit_main(suites, sizeof(suites) / sizeof(suites[0]));
}
