/*
 * The header filter and what reads a stored header block: the same message
 * however its bytes arrive, no Bcc left, and the body untouched.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "proto/header.h"

#define ADDED_MAX 1024

static const struct header_filter_config config = {
	.trace = "Received: from a by b; Fri, 20 Nov 2026 18:48:00 +0000\r\n",
	.date = "Fri, 20 Nov 2026 18:48:00 +0000",
	.message_id = "<1@relay.example>",
};

static int filter(struct slice in, size_t step, struct buf *out)
{
	struct header_filter f;
	int err = 0;

	header_filter_init(&f, &config);
	while (in.n > 0 && err == 0) {
		struct slice piece = slice_of(in.p, in.n < step ? in.n : step);
		err = header_filter_feed(&f, piece, out);
		in = slice_from(in, piece.n);
	}
	if (err == 0)
		err = header_filter_end(&f, out);
	header_filter_fini(&f);
	return err;
}

static void check_output(struct slice msg)
{
	struct buf value;

	buf_init(&value, msg.n + 1);
	CHECK(slice_starts(msg, slice_str(config.trace)));
	size_t block = header_block_length(msg);
	CHECK(block <= msg.n);
	struct slice head = slice_of(msg.p, block);
	CHECK(header_find(head, "Bcc", &value) == ERR_NOT_FOUND);
	CHECK(header_find(head, "Received", &value) == 0);
	buf_clear(&value);
	CHECK(header_find(head, "Date", &value) == 0);
	buf_clear(&value);
	CHECK(header_find(head, "Message-ID", &value) == 0);
	buf_fini(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);
	struct buf whole;
	struct buf bytes;
	struct buf value;

	buf_init(&whole, 2 * n + ADDED_MAX);
	buf_init(&bytes, 2 * n + ADDED_MAX);
	buf_init(&value, n + 1);
	int err = filter(in, n, &whole);
	CHECK(filter(in, 1, &bytes) == err);
	if (err == 0) {
		CHECK(slice_eq(buf_slice(&whole), buf_slice(&bytes)));
		check_output(buf_slice(&whole));
	}
	CHECK(header_block_length(in) <= n);
	CHECK(header_find(in, "Subject", &value) <= 0);
	buf_fini(&whole);
	buf_fini(&bytes);
	buf_fini(&value);
	return 0;
}
