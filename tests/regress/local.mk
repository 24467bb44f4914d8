regress_tests = \
	tests/regress/r001_hold_what_waits.py \
	tests/regress/r002_reload_without_certificate.py \
	tests/regress/r003_settle_refused.py \
	tests/regress/r004_many_events_at_once.py \
	tests/regress/r005_refused_outcome_is_asked_again.py \
	tests/regress/r006_report_to_thousands.py
TESTS += $(regress_tests)
EXTRA_DIST += $(regress_tests)
