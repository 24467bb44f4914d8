#include "lib/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int unit_main(unit_suite_fn *const *suites, size_t n)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigaction(SIGPIPE, &ignore, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	SRunner *runner = srunner_create(NULL);
	for (size_t i = 0; i < n; i++)
		srunner_add_suite(runner, suites[i]());
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	int ran = srunner_ntests_run(runner);
	srunner_free(runner);
	/* A mistyped CK_RUN_CASE runs nothing and would pass: count it as a failure. */
	return failed == 0 && ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
