tests_unit_unit_tools_SOURCES = \
	src/tools/postrider_users.c \
	src/tools/postrider_users.h \
	src/tools/sandbox_cast.c \
	src/tools/sandbox_cast.h \
	src/tools/sandbox_store.c \
	src/tools/sandbox_store.h \
	tests/unit/tools/main.c \
	tests/unit/tools/test_postrider_users.c \
	tests/unit/tools/test_sandbox_cast.c \
	tests/unit/tools/test_sandbox_store.c \
	$(unit_lib_sources)
