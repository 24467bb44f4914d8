libpolicy_a_SOURCES = \
	src/policy/admission.c \
	src/policy/admission.h \
	src/policy/bucket.c \
	src/policy/bucket.h \
	src/policy/fair.c \
	src/policy/fair.h \
	src/policy/mx.c \
	src/policy/mx.h \
	src/policy/route.c \
	src/policy/route.h \
	src/policy/verdict.c \
	src/policy/verdict.h \
	src/policy/window.c \
	src/policy/window.h
