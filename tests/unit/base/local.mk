tests_unit_unit_base_SOURCES = \
	tests/unit/base/main.c \
	tests/unit/base/test_arena.c \
	tests/unit/base/test_buf.c \
	tests/unit/base/test_check.c \
	tests/unit/base/test_clock.c \
	tests/unit/base/test_codec.c \
	tests/unit/base/test_err.c \
	tests/unit/base/test_json.c \
	tests/unit/base/test_list.c \
	tests/unit/base/test_log.c \
	tests/unit/base/test_lru.c \
	tests/unit/base/test_map.c \
	tests/unit/base/test_mem.c \
	tests/unit/base/test_netaddr.c \
	tests/unit/base/test_prng.c \
	tests/unit/base/test_slice.c \
	tests/unit/base/test_units.c \
	tests/unit/base/test_utf8.c \
	$(unit_lib_sources)
