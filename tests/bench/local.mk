# Benches: built by make check, so that they keep compiling; never run by it.
check_PROGRAMS += tests/bench/bench_queue
tests_bench_bench_queue_SOURCES = tests/bench/bench_queue.c
tests_bench_bench_queue_LDADD = $(queue_libs)

check_PROGRAMS += tests/bench/bench_wheel
tests_bench_bench_wheel_SOURCES = tests/bench/bench_wheel.c
tests_bench_bench_wheel_LDADD = $(queue_libs) $(EVENT_LIBS)
