/*
 * Outcome records of a queue file: whatever follows the body, records are
 * applied whole or not at all, and never past the recipients there are.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "queue/tail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct tail t = { 0 };
	if (n < TAIL_HEAD_BYTES)
		return 0;
	struct envelope *e = envelope_new();
	envelope_add_rcpt(e, SLICE("a@b"), SLICE_NONE, 0);
	envelope_add_rcpt(e, SLICE("c@b"), SLICE_NONE, 0);
	struct slice payload = slice_of((const char *)data + TAIL_HEAD_BYTES, n - TAIL_HEAD_BYTES);
	int err = tail_decode(data, payload, &t, e);
	CHECK((err == 0) == (t.records == 1));
	CHECK(err == 0 || envelope_pending(e) == 2);
	for (size_t i = 0; i < e->rcpts_n; i++)
		CHECK(e->rcpts[i].fate >= FATE_PENDING && e->rcpts[i].fate <= FATE_DELETED);
	envelope_free(&e);
	return 0;
}
