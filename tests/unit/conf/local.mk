tests_unit_unit_conf_SOURCES = \
	tests/unit/conf/main.c \
	tests/unit/conf/folder.c \
	tests/unit/conf/folder.h \
	tests/unit/conf/test_conf_docs.c \
	tests/unit/conf/test_conf_load.c \
	tests/unit/conf/test_conf_mistakes.c \
	tests/unit/conf/test_conf_rules.c \
	tests/unit/conf/test_conf_schema.c \
	$(unit_lib_sources)
