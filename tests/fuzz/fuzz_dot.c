/*
 * DATA framing: the same message however the bytes arrive, no bare line end
 * and no NUL in what comes out, and what was stored survives the way out and
 * in again.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "proto/dot.h"

static size_t decode(struct slice in, size_t step, struct buf *out, bool *maybe_dots)
{
	struct dot_decoder d;
	size_t used_all = 0;

	dot_decoder_init(&d);
	while (used_all < in.n && !d.done) {
		struct slice piece = slice_from(in, used_all);
		piece.n = piece.n < step ? piece.n : step;
		size_t used = dot_decode(&d, piece, out);
		CHECK(used <= piece.n);
		CHECK(used == piece.n || d.done);
		used_all += used;
	}
	*maybe_dots = d.maybe_dots;
	return used_all;
}

static bool has_dots(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '.' && (i == 0 || s.p[i - 1] == '\n'))
			return true;
	return false;
}

static void check_stored(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		CHECK(s.p[i] != '\0');
		if (s.p[i] == '\n')
			CHECK(i > 0 && s.p[i - 1] == '\r');
		/* The last CR may still wait for its LF: the message was cut there. */
		if (s.p[i] == '\r' && i + 1 < s.n)
			CHECK(s.p[i + 1] == '\n');
	}
}

/* A stored message ends with CRLF or is empty; other input was cut short. */
static void check_round_trip(struct slice stored, size_t room)
{
	struct dot_encoder e;
	struct buf wire;
	struct buf again;
	bool maybe_dots;

	buf_init(&wire, 2 * room + 16);
	buf_init(&again, 4 * room + 64);
	dot_encoder_init(&e);
	CHECK(dot_encode(&e, stored, &wire) == 0);
	CHECK(dot_encode_end(&e, &wire) == 0);
	CHECK(decode(buf_slice(&wire), buf_len(&wire), &again, &maybe_dots) == buf_len(&wire));
	CHECK(slice_eq(buf_slice(&again), stored));
	CHECK(maybe_dots == has_dots(stored)); /* now that all ends of lines are as they should */
	buf_fini(&wire);
	buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);
	struct buf whole;
	struct buf bytes;
	size_t room = 2 * n + 2;

	buf_init(&whole, room);
	buf_init(&bytes, room + 2);
	bool maybe_dots, maybe_dots_bytewise;
	size_t used = decode(in, n, &whole, &maybe_dots);
	CHECK(decode(in, 1, &bytes, &maybe_dots_bytewise) == used);
	CHECK(slice_eq(buf_slice(&whole), buf_slice(&bytes)));
	CHECK(maybe_dots == maybe_dots_bytewise);
	CHECK(maybe_dots || !has_dots(buf_slice(&whole)));
	check_stored(buf_slice(&whole));
	struct slice stored = buf_slice(&whole);
	if (stored.n == 0 || slice_ends_nocase(stored, SLICE("\r\n")))
		check_round_trip(stored, room);
	buf_fini(&whole);
	buf_fini(&bytes);
	return 0;
}
