tests_unit_unit_core_SOURCES = \
	src/core/dnscache.c \
	src/core/dnscache.h \
	src/core/limits.c \
	src/core/limits.h \
	src/core/resolution.c \
	src/core/resolution.h \
	src/core/site.c \
	src/core/site.h \
	tests/unit/core/main.c \
	tests/unit/core/test_dnscache.c \
	tests/unit/core/test_limits.c \
	tests/unit/core/test_resolution.c \
	tests/unit/core/test_site.c \
	$(unit_lib_sources)
