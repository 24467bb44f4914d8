src_tools_postrider_SOURCES = \
	src/tools/postrider.c \
	src/tools/postrider_ask.c \
	src/tools/postrider_ask.h \
	src/tools/postrider_check.c \
	src/tools/postrider_check.h \
	src/tools/postrider_users.c \
	src/tools/postrider_users.h

src_tools_postrider_sandbox_SOURCES = \
	src/tools/sandbox.c \
	src/tools/sandbox_cast.c \
	src/tools/sandbox_cast.h \
	src/tools/sandbox_dns.c \
	src/tools/sandbox_dns.h \
	src/tools/sandbox_session.c \
	src/tools/sandbox_smtp.c \
	src/tools/sandbox_smtp.h \
	src/tools/sandbox_store.c \
	src/tools/sandbox_store.h
