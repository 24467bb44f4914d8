tests_unit_unit_queue_SOURCES = \
	tests/unit/queue/checking.c \
	tests/unit/queue/checking.h \
	tests/unit/queue/fixture.c \
	tests/unit/queue/fixture.h \
	tests/unit/queue/main.c \
	tests/fault/qio_fault.c \
	tests/fault/qio_fault.h \
	tests/fault/qio_mem.c \
	tests/fault/qio_mem.h \
	tests/unit/queue/test_age.c \
	tests/unit/queue/test_body.c \
	tests/unit/queue/test_check.c \
	tests/unit/queue/test_check_journal.c \
	tests/unit/queue/test_crash.c \
	tests/unit/queue/test_damage.c \
	tests/unit/queue/test_envelope.c \
	tests/unit/queue/test_fault.c \
	tests/unit/queue/test_journal.c \
	tests/unit/queue/test_journal_record.c \
	tests/unit/queue/test_parts.c \
	tests/unit/queue/test_queue.c \
	tests/unit/queue/test_report.c \
	tests/unit/queue/test_retry.c \
	tests/unit/queue/test_scan.c \
	tests/unit/queue/test_spool.c \
	tests/unit/queue/test_wheel.c \
	$(unit_lib_sources)
