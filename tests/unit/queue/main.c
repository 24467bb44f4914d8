#include <stdlib.h>

#include "base/log.h"
#include "lib/unit.h"

unit_suite_fn test_wheel_suite;
unit_suite_fn test_retry_suite;
unit_suite_fn test_envelope_suite;
unit_suite_fn test_parts_suite;
unit_suite_fn test_queue_suite;
unit_suite_fn test_shards_suite;
unit_suite_fn test_spool_suite;
unit_suite_fn test_scan_suite;
unit_suite_fn test_walk_suite;
unit_suite_fn test_damage_suite;
unit_suite_fn test_journal_record_suite;
unit_suite_fn test_journal_suite;
unit_suite_fn test_first_segment_suite;
unit_suite_fn test_turn_suite;
unit_suite_fn test_fault_suite;
unit_suite_fn test_crash_suite;
unit_suite_fn test_age_suite;
unit_suite_fn test_body_suite;
unit_suite_fn test_report_suite;
unit_suite_fn test_check_suite;
unit_suite_fn test_check_journal_suite;
unit_suite_fn test_orders_suite;
unit_suite_fn test_sender_suite;
unit_suite_fn test_work_suite;

static void no_log(void *arg UNUSED, const char *line UNUSED, size_t n UNUSED)
{
}

int main(void)
{
	if (getenv("UNIT_LOG") == NULL) /* damage is what is tested here: its warnings only tire */
		log_set_sink(no_log, NULL);
	unit_suite_fn *const suites[] = {
		test_wheel_suite,
		test_retry_suite,
		test_envelope_suite,
		test_parts_suite,
		test_queue_suite,
		test_shards_suite,
		test_spool_suite,
		test_scan_suite,
		test_walk_suite,
		test_damage_suite,
		test_journal_record_suite,
		test_journal_suite,
		test_first_segment_suite,
		test_turn_suite,
		test_fault_suite,
		test_crash_suite,
		test_age_suite,
		test_body_suite,
		test_report_suite,
		test_check_suite,
		test_check_journal_suite,
		test_orders_suite,
		test_sender_suite,
		test_work_suite,
	};
	return unit_main(suites, ARRAY_LEN(suites));
}
