/*
 * accounting.h - one JSON line per event and recipient (design section 8).
 *
 * A final event is written with write(2) before the store forgets the
 * recipient, so it survives kill -9; it may repeat after a crash. A disk that
 * is full never stops mail: lost lines are counted and logged. The file is
 * opened anew when it has been moved away.
 */
#ifndef CORE_ACCOUNTING_H
#define CORE_ACCOUNTING_H

#include "core/mta.h"
#include "proto/smtp_client.h"

enum event_kind {
	EVENT_NONE = 0,
	EVENT_RECEIVED,
	EVENT_DELIVERED,
	EVENT_DEFERRED,
	EVENT_BOUNCED,
	EVENT_EXPIRED,
	EVENT_REJECTED, /* refused at reception */
	EVENT_HELD,
	EVENT_RELEASED,
	EVENT_DELETED,
};

struct event {
	enum event_kind kind;
	const struct envelope *envelope;
	const char *recipient;
	const struct envelope_status *status; /* NULL: none */
	enum smtp_stage stage;
	unsigned attempt;           /* 0: left out */
	int64_t next_attempt_ms;    /* wall; 0: left out */
	uint16_t port;              /* 0: left out */
	const char *mode;           /* "smtp" "lmtp"; NULL: left out */
	const struct tls_info *tls; /* NULL: in clear or not connected */
	bool authenticated;
	bool connected; /* tls and authenticated mean something */
};

struct accounting *accounting_new(const char *file); /* "" : no file */
void accounting_free(struct accounting **a);
int accounting_open(struct accounting *a,
    struct errbuf *eb) MUST_USE; /* the first time: a bad path is the operator's mistake */
void accounting_set_file(struct accounting *a, const char *file); /* after a reload */
/* Adds a line to the pending ones, which accounting_flush writes in one call; so does this when
 * there are too many. */
void accounting_add(struct accounting *a, const struct event *e, struct now now);
void accounting_flush(struct accounting *a, struct now now);
/* The same in two steps, for events that only count once something else succeeded: the line goes to
 * out (ERR_TOO_BIG), later all of them at once. */
int accounting_format(const struct event *e, struct buf *out, struct now now) MUST_USE;
void accounting_add_lines(struct accounting *a, enum event_kind kind, size_t n, struct slice lines,
    struct now now);

struct accounting_counts {
	uint64_t received, delivered, deferred, bounced, expired, rejected, deleted, lost_lines;
};

const struct accounting_counts *accounting_counts(const struct accounting *a);

#endif
