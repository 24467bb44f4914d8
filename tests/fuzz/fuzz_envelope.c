/*
 * The stored envelope: whatever the disk brings is refused, or it is the one
 * stored form of an envelope, so that encoding gives the same bytes again.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "queue/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);
	struct envelope *e = NULL;
	struct envelope_brief b;
	struct buf out;
	int brief = envelope_decode_brief(in, &b);

	if (envelope_decode(in, &e) < 0)
		return 0;
	CHECK(brief == 0);
	CHECK(b.arrival_ms == e->arrival_ms);
	CHECK(slice_eq(b.domain, slice_str(e->domain)));
	CHECK(b.sender_key == envelope_sender_key(slice_str(e->user), slice_str(e->client_ip)));
	CHECK(e->rcpts_n <= ENVELOPE_RCPTS_MAX);
	CHECK(envelope_pending(e) == e->rcpts_n);
	buf_init(&out, n);
	CHECK(envelope_encode(e, &out) == 0);
	CHECK(slice_eq(buf_slice(&out), in));
	buf_fini(&out);
	envelope_free(&e);
	return 0;
}
