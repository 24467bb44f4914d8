# Harnesses: tests/fuzz/fuzz_NAME.c, its inputs in tests/fuzz/corpus/NAME/. To
# add one, add its name to fuzz_programs and give its _SOURCES. Without
# --enable-fuzz each is a test that replays its corpus; with it, `make fuzz`
# lets libFuzzer look for new inputs, FUZZ_SECONDS for each harness.
fuzz_programs = \
	tests/fuzz/fuzz_dns \
	tests/fuzz/fuzz_dot \
	tests/fuzz/fuzz_dsn_template \
	tests/fuzz/fuzz_envelope \
	tests/fuzz/fuzz_header \
	tests/fuzz/fuzz_journal \
	tests/fuzz/fuzz_path \
	tests/fuzz/fuzz_queue_name \
	tests/fuzz/fuzz_queue_tail \
	tests/fuzz/fuzz_reply \
	tests/fuzz/fuzz_retry \
	tests/fuzz/fuzz_smtp_client \
	tests/fuzz/fuzz_smtp_server \
	tests/fuzz/fuzz_text

fuzz_common = tests/fuzz/fuzz.h
if !FUZZ
fuzz_common += tests/fuzz/main.c
TESTS += $(fuzz_programs)
endif
check_PROGRAMS += $(fuzz_programs)

fuzz_libs = libpolicy.a libproto.a libqueue.a $(base_libs) $(GSASL_LIBS) $(IDN2_LIBS) $(FUZZ_LDFLAGS)

tests_fuzz_fuzz_dns_SOURCES = tests/fuzz/fuzz_dns.c $(fuzz_common)
tests_fuzz_fuzz_dns_LDADD = libio.a $(fuzz_libs)
tests_fuzz_fuzz_dot_SOURCES = tests/fuzz/fuzz_dot.c $(fuzz_common)
tests_fuzz_fuzz_dot_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_dsn_template_SOURCES = tests/fuzz/fuzz_dsn_template.c $(fuzz_common)
tests_fuzz_fuzz_dsn_template_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_envelope_SOURCES = tests/fuzz/fuzz_envelope.c $(fuzz_common)
tests_fuzz_fuzz_envelope_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_header_SOURCES = tests/fuzz/fuzz_header.c $(fuzz_common)
tests_fuzz_fuzz_header_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_journal_SOURCES = tests/fuzz/fuzz_journal.c $(fuzz_common)
tests_fuzz_fuzz_journal_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_path_SOURCES = tests/fuzz/fuzz_path.c $(fuzz_common)
tests_fuzz_fuzz_path_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_queue_name_SOURCES = tests/fuzz/fuzz_queue_name.c $(fuzz_common)
tests_fuzz_fuzz_queue_name_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_queue_tail_SOURCES = tests/fuzz/fuzz_queue_tail.c $(fuzz_common)
tests_fuzz_fuzz_queue_tail_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_reply_SOURCES = tests/fuzz/fuzz_reply.c $(fuzz_common)
tests_fuzz_fuzz_reply_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_retry_SOURCES = tests/fuzz/fuzz_retry.c $(fuzz_common)
tests_fuzz_fuzz_retry_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_smtp_client_SOURCES = tests/fuzz/fuzz_smtp_client.c $(fuzz_common)
tests_fuzz_fuzz_smtp_client_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_smtp_server_SOURCES = tests/fuzz/fuzz_smtp_server.c $(fuzz_common)
tests_fuzz_fuzz_smtp_server_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_text_SOURCES = tests/fuzz/fuzz_text.c $(fuzz_common)
tests_fuzz_fuzz_text_LDADD = $(fuzz_libs)

EXTRA_DIST += tests/fuzz/corpus

FUZZ_SECONDS = 60
fuzz: $(fuzz_programs)
	@for program in $(fuzz_programs); do \
		name=$${program##*/fuzz_}; \
		mkdir -p tests/fuzz/found/$$name || exit 1; \
		echo "== $$name"; \
		$$program -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
			-artifact_prefix=tests/fuzz/found/ tests/fuzz/found/$$name \
			$(abs_top_srcdir)/tests/fuzz/corpus/$$name || exit 1; \
	done
.PHONY: fuzz
