libqueue_a_SOURCES = \
	queue/batch.c \
	queue/body.c \
	queue/body.h \
	queue/envelope.c \
	queue/envelope.h \
	queue/envelope_codec.c \
	queue/index.c \
	queue/index.h \
	queue/qfile.c \
	queue/qfile.h \
	queue/qid.c \
	queue/qid.h \
	queue/qio.h \
	queue/qio_posix.c \
	queue/queue.c \
	queue/queue.h \
	queue/queue_int.h \
	queue/queue_msg.c \
	queue/queue_op.c queue/queue_peek.c \
	queue/quota.c \
	queue/quota.h \
	queue/retry.c \
	queue/retry.h \
	queue/spool.c \
	queue/spool.h \
	queue/spool_recover.c \
	queue/tail.c \
	queue/tail.h \
	queue/wheel.c \
	queue/wheel.h
