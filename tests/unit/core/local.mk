tests_unit_unit_core_SOURCES = \
	src/core/site.c \
	src/core/site.h \
	tests/unit/core/main.c \
	tests/unit/core/test_site.c \
	$(unit_lib_sources)
