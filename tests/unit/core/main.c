#include "lib/unit.h"

Suite *test_site_suite(void);

int main(void)
{
	static unit_suite_fn *const suites[] = {
		test_site_suite,
	};
	return unit_main(suites, sizeof(suites) / sizeof(suites[0]));
}
