# Every operation of the store under every fault: see test_loops.c. The same disk is under the
# simulator and some unit tests.
check_PROGRAMS += tests/fault/fault
TESTS += tests/fault/fault

tests_fault_fault_SOURCES = \
	tests/fault/ledger.c tests/fault/ledger.h \
	tests/fault/main.c \
	tests/fault/operation.h \
	tests/fault/operations.c \
	tests/fault/qio_fault.c tests/fault/qio_fault.h \
	tests/fault/qio_mem.c tests/fault/qio_mem.h \
	tests/fault/test_loops.c \
	tests/fault/world.c tests/fault/world.h \
	tests/fault/world_check.c \
	$(unit_lib_sources)
