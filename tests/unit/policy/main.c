#include "lib/unit.h"

Suite *test_admission_suite(void);
Suite *test_bucket_suite(void);
Suite *test_fair_suite(void);
Suite *test_mx_suite(void);
Suite *test_route_suite(void);
Suite *test_verdict_suite(void);
Suite *test_window_suite(void);

int main(void)
{
	static unit_suite_fn *const suites[] = {
		test_admission_suite,
		test_bucket_suite,
		test_fair_suite,
		test_mx_suite,
		test_route_suite,
		test_verdict_suite,
		test_window_suite,
	};
	return unit_main(suites, sizeof(suites) / sizeof(suites[0]));
}
