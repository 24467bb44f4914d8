libio_a_SOURCES = \
	src/io/dns.c \
	src/io/dns.h \
	src/io/dns_server.c \
	src/io/dns_server.h \
	src/io/dns_walk.c \
	src/io/dns_walk.h \
	src/io/listen.c \
	src/io/listen.h \
	src/io/loop.c \
	src/io/loop.h \
	src/io/loop_backend.h \
	src/io/password.c \
	src/io/password.h \
	src/io/stream.c \
	src/io/stream.h \
	src/io/system.c \
	src/io/system.h \
	src/io/tls.c \
	src/io/tls.h \
	src/io/tls_private.h \
	src/io/tls_selfsigned.c \
	src/io/tls_session.c \
	src/io/tls_session.h \
	src/io/tls_verify.c \
	src/io/worker.c \
	src/io/worker.h
