#include "base/defs.h"
#include "lib/unit.h"

unit_suite_fn test_dns_suite;
unit_suite_fn test_dns_walk_suite;
unit_suite_fn test_listen_suite;
unit_suite_fn test_loop_suite;
unit_suite_fn test_password_suite;
unit_suite_fn test_rendezvous_suite;
unit_suite_fn test_shards_suite;
unit_suite_fn test_stream_suite;
unit_suite_fn test_stream_send_suite;
unit_suite_fn test_system_suite;
unit_suite_fn test_tls_suite;
unit_suite_fn test_tls_cache_suite;
unit_suite_fn test_tls_rest_suite;
unit_suite_fn test_tls_resume_suite;
unit_suite_fn test_worker_suite;

static unit_suite_fn *const suites[] = {
	test_dns_suite,
	test_dns_walk_suite,
	test_listen_suite,
	test_loop_suite,
	test_password_suite,
	test_rendezvous_suite,
	test_shards_suite,
	test_stream_suite,
	test_stream_send_suite,
	test_system_suite,
	test_tls_suite,
	test_tls_cache_suite,
	test_tls_rest_suite,
	test_tls_resume_suite,
	test_worker_suite,
};

int main(void)
{
	return unit_main(suites, ARRAY_LEN(suites));
}
