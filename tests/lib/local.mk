# Shared by every unit program; the layers' local.mk name it.
unit_lib_sources = \
	tests/lib/unit.c \
	tests/lib/unit.h
