/*
 * json.h - writes JSON lines into a buffer: for events, logs, the sandbox.
 *
 * A writer on the hot path, not a library: reading JSON is jansson's job
 * (core/control). Invalid UTF-8 becomes U+FFFD, control characters are
 * escaped, so a line is one line whatever the text. Errors stick: check once
 * with json_end.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

struct json {
	struct buf *out;
	bool comma; /* the next member needs one */
	int err;    /* first error, sticky */
};

void json_begin(struct json *j, struct buf *out);
int json_end(struct json *j) MUST_USE; /* 0 or the first error; adds no LF */

/* '{'; key NULL inside an array or at the top */
void json_open(struct json *j, const char *key);
void json_close(struct json *j);                       /* '}' */
void json_open_array(struct json *j, const char *key); /* '[' */
void json_close_array(struct json *j);                 /* ']' */
void json_str(struct json *j, const char *key, struct slice v);
void json_cstr(struct json *j, const char *key, const char *v); /* NULL: the member is left out */
void json_int(struct json *j, const char *key, int64_t v);
void json_num(struct json *j, const char *key, double v); /* three decimals at most */
void json_bool(struct json *j, const char *key, bool v);

#endif
