lint_tests = \
	tests/lint/format.sh \
	tests/lint/headers.py \
	tests/lint/layers.py \
	tests/lint/selftest.py \
	tests/lint/tidy.py
TESTS += $(lint_tests)
EXTRA_DIST += $(lint_tests) tests/lint/lint.py
