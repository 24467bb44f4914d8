#include "base/defs.h"
#include "lib/unit.h"

unit_suite_fn test_command_parser_suite;
unit_suite_fn test_dot_suite;
unit_suite_fn test_dsn_suite;
unit_suite_fn test_dsn_template_suite;
unit_suite_fn test_esmtp_params_suite;
unit_suite_fn test_header_suite;
unit_suite_fn test_path_suite;
unit_suite_fn test_reply_suite;
unit_suite_fn test_sasl_suite;
unit_suite_fn test_smtp_client_suite;
unit_suite_fn test_smtp_client_chunking_suite;
unit_suite_fn test_smtp_client_flow_suite;
unit_suite_fn test_smtp_client_overlap_suite;
unit_suite_fn test_smtp_client_random_suite;
unit_suite_fn test_smtp_client_reuse_suite;
unit_suite_fn test_smtp_server_suite;
unit_suite_fn test_smtp_server_auth_suite;
unit_suite_fn test_smtp_server_data_suite;
unit_suite_fn test_trace_suite;

static unit_suite_fn *const suites[] = {
	test_command_parser_suite,
	test_dot_suite,
	test_dsn_suite,
	test_dsn_template_suite,
	test_esmtp_params_suite,
	test_header_suite,
	test_path_suite,
	test_reply_suite,
	test_sasl_suite,
	test_smtp_client_suite,
	test_smtp_client_chunking_suite,
	test_smtp_client_flow_suite,
	test_smtp_client_overlap_suite,
	test_smtp_client_random_suite,
	test_smtp_client_reuse_suite,
	test_smtp_server_suite,
	test_smtp_server_auth_suite,
	test_smtp_server_data_suite,
	test_trace_suite,
};

int main(void)
{
	return unit_main(suites, ARRAY_LEN(suites));
}
