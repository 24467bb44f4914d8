tests_unit_unit_policy_SOURCES = \
	tests/unit/policy/main.c \
	tests/unit/policy/test_admission.c \
	tests/unit/policy/test_bucket.c \
	tests/unit/policy/test_fair.c \
	tests/unit/policy/test_mx.c \
	tests/unit/policy/test_route.c \
	tests/unit/policy/test_verdict.c \
	tests/unit/policy/test_window.c \
	$(unit_lib_sources)
