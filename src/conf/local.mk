libconf_a_SOURCES = \
	src/conf/conf.h \
	src/conf/conf_check.c \
	src/conf/conf_diff.c \
	src/conf/conf_dump.c \
	src/conf/conf_int.h \
	src/conf/conf_load.c \
	src/conf/conf_report.c \
	src/conf/conf_rules.c \
	src/conf/conf_scan.c \
	src/conf/conf_schema.c \
	src/conf/conf_value.c
