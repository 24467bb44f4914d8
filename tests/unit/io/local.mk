tests_unit_unit_io_SOURCES = \
	tests/unit/io/main.c \
	tests/unit/io/pump.c \
	tests/unit/io/pump.h \
	tests/unit/io/test_dns.c \
	tests/unit/io/test_dns_walk.c \
	tests/unit/io/test_listen.c \
	tests/unit/io/test_loop.c \
	tests/unit/io/test_password.c \
	tests/unit/io/test_rendezvous.c \
	tests/unit/io/test_shards.c \
	tests/unit/io/test_stream.c \
	tests/unit/io/test_stream_send.c \
	tests/unit/io/test_system.c \
	tests/unit/io/test_tls.c \
	tests/unit/io/test_tls_cache.c \
	tests/unit/io/test_tls_rest.c \
	tests/unit/io/test_tls_resume.c \
	tests/unit/io/test_worker.c \
	tests/unit/io/tls_files.c \
	tests/unit/io/tls_files.h \
	$(unit_lib_sources)
