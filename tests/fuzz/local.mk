# Harnesses: tests/fuzz/fuzz_NAME.c, its inputs in tests/fuzz/corpus/NAME/. To
# add one, add its name to fuzz_programs and give its _SOURCES. Without
# --enable-fuzz each is a test that replays its corpus; with it, `make fuzz`
# lets libFuzzer look for new inputs, FUZZ_SECONDS for each harness.
fuzz_programs =

fuzz_common = tests/fuzz/fuzz.h
if !FUZZ
fuzz_common += tests/fuzz/main.c
TESTS += $(fuzz_programs)
endif
check_PROGRAMS += $(fuzz_programs)

fuzz_libs = libpolicy.a libproto.a libqueue.a $(base_libs) $(GSASL_LIBS) $(IDN2_LIBS) $(FUZZ_LDFLAGS)

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
