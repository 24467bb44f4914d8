#include <malloc.h>
#include <stdlib.h>

#include "base/log.h"
#include "lib/unit.h"

unit_suite_fn test_loops_suite;

static void no_log(void *arg UNUSED, const char *line UNUSED, size_t n UNUSED)
{
}

int main(void)
{
	if (getenv("UNIT_LOG") == NULL) /* faults are what is tested here: the warnings only tire */
		log_set_sink(no_log, NULL);
	/* Bodies and segments come and go by the thousand: not each time from the kernel. */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	unit_suite_fn *const suites[] = {
		test_loops_suite,
	};
	return unit_main(suites, ARRAY_LEN(suites));
}
