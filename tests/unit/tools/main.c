#include "base/defs.h"
#include "lib/unit.h"

unit_suite_fn test_postrider_users_suite;
unit_suite_fn test_sandbox_cast_suite;
unit_suite_fn test_sandbox_store_suite;

static unit_suite_fn *const suites[] = {
	test_postrider_users_suite,
	test_sandbox_cast_suite,
	test_sandbox_store_suite,
};

int main(void)
{
	return unit_main(suites, ARRAY_LEN(suites));
}
