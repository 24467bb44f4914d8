# The whole daemon but its main.c, over a simulated world in the place of src/io.
check_PROGRAMS += tests/sim/sim
TESTS += tests/sim/test_sim.sh
EXTRA_DIST += tests/sim/run tests/sim/test_sim.sh

tests_sim_sim_SOURCES = \
	$(core_sources) \
	tests/sim/main.c \
	tests/sim/sim.h \
	tests/sim/sim_busy.c tests/sim/sim_busy.h \
	tests/sim/sim_check.c tests/sim/sim_check.h \
	tests/sim/sim_conn.c tests/sim/sim_conn.h \
	tests/sim/sim_disk.c tests/sim/sim_disk.h \
	tests/sim/sim_dns.c \
	tests/sim/sim_events.c \
	tests/sim/sim_fair.c tests/sim/sim_fair.h \
	tests/sim/sim_io.h \
	tests/sim/sim_judge.h \
	tests/sim/sim_listen.c \
	tests/sim/sim_loop.c tests/sim/sim_loop.h \
	tests/sim/sim_loops.c tests/sim/sim_loops.h \
	tests/sim/sim_mail.c tests/sim/sim_mail.h \
	tests/sim/sim_mem.c \
	tests/sim/sim_net.c tests/sim/sim_net.h \
	tests/sim/sim_operator.c tests/sim/sim_operator.h \
	tests/sim/sim_peer.c tests/sim/sim_peer.h \
	tests/sim/sim_plan.c tests/sim/sim_plan.h \
	tests/sim/sim_rendezvous.c \
	tests/sim/sim_reuse.c tests/sim/sim_reuse.h \
	tests/sim/sim_run.c tests/sim/sim_run.h \
	tests/sim/sim_said.c tests/sim/sim_said.h \
	tests/sim/sim_schedule.c \
	tests/sim/sim_storm.c tests/sim/sim_storm.h \
	tests/sim/sim_stream.c \
	tests/sim/sim_submit.c tests/sim/sim_submit.h \
	tests/sim/sim_system.c \
	tests/sim/sim_traffic.c tests/sim/sim_traffic.h \
	tests/sim/sim_worker.c \
	tests/sim/sim_world.c \
	tests/fault/qio_mem.c \
	tests/fault/qio_mem.h
tests_sim_sim_LDADD = $(conf_libs) $(JANSSON_LIBS)
