/*
 * qid.h - ids of messages and queue files.
 *
 * A message id is 20 characters of [0-9a-z]: arrival in ms since 1970 (9
 * digits to base 36), start epoch (5: counted up at each start, so ids are
 * never used again, wherever the clock went), serial (6: moves on by a random
 * step, so unique within the start). Ids therefore sort by arrival. A queue
 * id adds "-" and the part, a number from 1: one for each file of the message.
 */
#ifndef QUEUE_QID_H
#define QUEUE_QID_H

#include "base/err.h"
#include "base/prng.h"
#include "base/slice.h"

#define QID_MESSAGE_CHARS 20
#define QID_TEXT_MAX      32        /* of a queue id, with NUL */
#define QID_EPOCH_MAX     60466175u /* 36^5 - 1; then it starts again from 0 */
#define QID_PART_MAX      65535u

struct qid { /* of a message */
	uint64_t arrival_ms;
	uint64_t serial; /* epoch and serial */
};

struct qid_source {
	struct prng prng;
	uint64_t first_ms; /* no id of this start is earlier */
	uint64_t last_ms;  /* never goes back within a start */
	uint64_t serial;
	uint32_t epoch;
};

void qid_source_init(struct qid_source *s, uint32_t epoch, int64_t wall_ms, uint64_t seed);
struct qid qid_new(struct qid_source *s, int64_t wall_ms);
uint32_t qid_epoch(struct qid id);

char *qid_format(struct qid id, char buf[QID_TEXT_MAX]);
char *qid_format_part(struct qid id, unsigned part, char buf[QID_TEXT_MAX]);
/* A message id (*part = 0) or a queue id, exactly as formatted; else ERR_SYNTAX. */
int qid_parse(struct slice text, struct qid *id, unsigned *part) MUST_USE;

#endif
