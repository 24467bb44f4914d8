# The daemon but its main.c: the simulator (tests/sim) is made of it too.
core_sources = \
	src/core/accounting.c src/core/accounting.h \
	src/core/auth.c src/core/auth.h \
	src/core/bounce.c src/core/bounce.h \
	src/core/committer.c src/core/committer.h \
	src/core/connection.c src/core/connection.h \
	src/core/control.c src/core/control.h \
	src/core/control_change.c \
	src/core/control_cmds.c src/core/control_cmds.h \
	src/core/control_list.c \
	src/core/control_look.c src/core/control_look.h \
	src/core/delivery.c src/core/delivery.h \
	src/core/dispatch.c src/core/dispatch.h \
	src/core/dnscache.c src/core/dnscache.h \
	src/core/limits.c src/core/limits.h \
	src/core/mta.c src/core/mta.h \
	src/core/outage.c src/core/outage.h \
	src/core/pool.c src/core/pool.h \
	src/core/reception.c src/core/reception.h \
	src/core/reception_message.c \
	src/core/reception_session.c src/core/reception_session.h \
	src/core/reload.c \
	src/core/resolution.c src/core/resolution.h \
	src/core/resolve.c src/core/resolve.h \
	src/core/settlement.c src/core/settlement.h \
	src/core/shards.c src/core/shards.h \
	src/core/site.c src/core/site.h \
	src/core/sites.c src/core/sites.h

src_core_postriderd_SOURCES = \
	$(core_sources) \
	src/core/logsink.c src/core/logsink.h \
	src/core/main.c
