tests_unit_unit_proto_SOURCES = \
	tests/unit/proto/main.c \
	tests/unit/proto/scripted_peer.c \
	tests/unit/proto/scripted_peer.h \
	tests/unit/proto/server_case.c \
	tests/unit/proto/server_case.h \
	tests/unit/proto/test_command_parser.c \
	tests/unit/proto/test_dot.c \
	tests/unit/proto/test_dsn.c \
	tests/unit/proto/test_dsn_template.c \
	tests/unit/proto/test_esmtp_params.c \
	tests/unit/proto/test_header.c \
	tests/unit/proto/test_path.c \
	tests/unit/proto/test_reply.c \
	tests/unit/proto/test_sasl.c \
	tests/unit/proto/test_smtp_client.c \
	tests/unit/proto/test_smtp_client_chunking.c \
	tests/unit/proto/test_smtp_client_flow.c \
	tests/unit/proto/test_smtp_client_overlap.c \
	tests/unit/proto/test_smtp_client_reuse.c \
	tests/unit/proto/test_smtp_server.c \
	tests/unit/proto/test_smtp_server_auth.c \
	tests/unit/proto/test_smtp_server_data.c \
	tests/unit/proto/test_trace.c \
	tests/lib/split_feed.c \
	tests/lib/split_feed.h \
	$(unit_lib_sources)
