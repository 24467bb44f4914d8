#include "base/defs.h"
#include "lib/unit.h"

unit_suite_fn test_queue_suite;

int main(void)
{
	unit_suite_fn *const suites[] = {
		test_queue_suite,
	};
	return unit_main(suites, ARRAY_LEN(suites));
}
