/*
 * The reply parser: the same replies whether the bytes come at once or one by
 * one, and no line break inside one that is shown.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "proto/reply.h"

#define FOLDED_MAX  (4 * REPLY_TEXT_MAX + 64)
#define REPLIES_MAX ((size_t)4 << 20)

/* Appends each reply, folded, to out, in pieces of `step` bytes; the error that ended it, or 0. */
static int parse_all(struct slice in, size_t step, struct buf *out)
{
	struct reply r;
	struct reply_parser p;
	int err = 0;

	reply_init(&r);
	reply_parser_init(&p, &r);
	while (in.n > 0 && err == 0) {
		bool complete = false;
		struct slice piece = slice_of(in.p, in.n < step ? in.n : step);
		ssize_t used = reply_parser_feed(&p, piece, &complete);
		if (used < 0) {
			err = (int)used;
			break;
		}
		CHECK(used > 0);
		CHECK((size_t)used <= piece.n);
		in = slice_from(in, (size_t)used);
		if (complete) {
			size_t at = buf_len(out);
			CHECK(r.code >= 100);
			CHECK(r.code <= 599);
			CHECK(buf_len(&r.text) <= REPLY_TEXT_MAX);
			err = reply_fold(&r, out);
			struct slice folded = slice_from(buf_slice(out), at);
			CHECK(slice_find(folded, '\n') < 0);
			CHECK(slice_find(folded, '\r') < 0);
			reply_clear(&r);
		}
	}
	reply_parser_fini(&p);
	reply_fini(&r);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);
	struct buf whole;
	struct buf bytes;
	uint16_t enhanced[3];

	buf_init(&whole, REPLIES_MAX);
	buf_init(&bytes, REPLIES_MAX);
	int err = parse_all(in, n, &whole);
	CHECK(parse_all(in, 1, &bytes) == err);
	CHECK(slice_eq(buf_slice(&whole), buf_slice(&bytes)));
	if (reply_parse_enhanced(in, enhanced) == 0)
		CHECK(enhanced[0] == 2 || enhanced[0] == 4 || enhanced[0] == 5);
	buf_fini(&whole);
	buf_fini(&bytes);
	return 0;
}
