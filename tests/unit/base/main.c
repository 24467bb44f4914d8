#include "base/defs.h"
#include "lib/unit.h"

unit_suite_fn test_arena_suite;
unit_suite_fn test_buf_suite;
unit_suite_fn test_check_suite;
unit_suite_fn test_clock_suite;
unit_suite_fn test_codec_suite;
unit_suite_fn test_err_suite;
unit_suite_fn test_json_suite;
unit_suite_fn test_list_suite;
unit_suite_fn test_log_suite;
unit_suite_fn test_lru_suite;
unit_suite_fn test_map_suite;
unit_suite_fn test_mem_suite;
unit_suite_fn test_netaddr_suite;
unit_suite_fn test_prng_suite;
unit_suite_fn test_slice_suite;
unit_suite_fn test_units_suite;
unit_suite_fn test_utf8_suite;

static unit_suite_fn *const suites[] = {
	test_arena_suite,
	test_buf_suite,
	test_check_suite,
	test_clock_suite,
	test_codec_suite,
	test_err_suite,
	test_json_suite,
	test_list_suite,
	test_log_suite,
	test_lru_suite,
	test_map_suite,
	test_mem_suite,
	test_netaddr_suite,
	test_prng_suite,
	test_slice_suite,
	test_units_suite,
	test_utf8_suite,
};

int main(void)
{
	return unit_main(suites, ARRAY_LEN(suites));
}
