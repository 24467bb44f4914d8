# The whole daemon but its main.c, over a simulated world in the place of src/io.
check_PROGRAMS += tests/sim/sim
TESTS += tests/sim/test_sim.sh
EXTRA_DIST += tests/sim/run tests/sim/test_sim.sh

tests_sim_sim_SOURCES = \
	src/core/accounting.c src/core/accounting.h \
	src/core/auth.c src/core/auth.h \
	src/core/bounce.c src/core/bounce.h \
	src/core/committer.c src/core/committer.h \
	src/core/control.c src/core/control.h \
	src/core/control_cmds.c \
	src/core/delivery.c src/core/delivery.h \
	src/core/dispatch.c src/core/dispatch.h \
	src/core/mta.c src/core/mta.h \
	src/core/reception.c src/core/reception.h \
	src/core/reception_message.c \
	src/core/reception_session.c src/core/reception_session.h \
	src/core/reload.c \
	src/core/resolve.c src/core/resolve.h \
	src/core/settlement.c src/core/settlement.h \
	tests/sim/main.c \
	tests/sim/sim.h \
	tests/sim/sim_check.c tests/sim/sim_check.h \
	tests/sim/sim_disk.c tests/sim/sim_disk.h \
	tests/sim/sim_dns.c \
	tests/sim/sim_events.c \
	tests/sim/sim_io.h \
	tests/sim/sim_loop.c \
	tests/sim/sim_mail.c tests/sim/sim_mail.h \
	tests/sim/sim_mem.c \
	tests/sim/sim_net.c tests/sim/sim_net.h \
	tests/sim/sim_peer.c tests/sim/sim_peer.h \
	tests/sim/sim_run.c tests/sim/sim_run.h \
	tests/sim/sim_stream.c \
	tests/sim/sim_submit.c tests/sim/sim_submit.h \
	tests/sim/sim_system.c \
	tests/sim/sim_world.c \
	tests/unit/queue/qio_mem.c \
	tests/unit/queue/qio_mem.h
tests_sim_sim_LDADD = $(conf_libs) $(JANSSON_LIBS)
