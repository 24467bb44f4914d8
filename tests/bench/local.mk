# Benches: built by make check, so that they keep compiling; never run by it.
check_PROGRAMS += tests/bench/bench_queue
tests_bench_bench_queue_SOURCES = tests/bench/bench_queue.c
tests_bench_bench_queue_LDADD = $(queue_libs)

check_PROGRAMS += tests/bench/bench_wheel
tests_bench_bench_wheel_SOURCES = tests/bench/bench_wheel.c
tests_bench_bench_wheel_LDADD = $(queue_libs) $(EVENT_LIBS)

# The daemon's start on a large spool.
check_PROGRAMS += tests/bench/make_spool
tests_bench_make_spool_SOURCES = tests/bench/make_spool.c
tests_bench_make_spool_LDADD = $(queue_libs)
EXTRA_DIST += tests/bench/idle.py tests/bench/start.py tests/bench/storm.py

# A source and a sink of mail, with STARTTLS and CHUNKING.
check_PROGRAMS += tests/bench/relaybench
tests_bench_relaybench_SOURCES = tests/bench/relaybench.c tests/bench/relaybench.h \
	tests/bench/relaybench_conn.c tests/bench/relaybench_sink.c tests/bench/relaybench_source.c
tests_bench_relaybench_LDADD = $(base_libs) $(OPENSSL_LIBS)
