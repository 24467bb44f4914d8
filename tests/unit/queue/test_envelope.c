/* Envelopes, their stored form, and outcome records: round trips, every truncation, every flipped
 * bit. */
#include <string.h>

#include "base/codec.h"
#include "base/mem.h"
#include "lib/unit.h"
#include "queue/envelope.h"
#include "queue/tail.h"

Suite *test_envelope_suite(void);

static struct envelope *sample(void)
{
	struct envelope *e = envelope_new();
	e->id = envelope_str(e, SLICE("0mfqkz2u100001abc123"));
	e->queue_id = envelope_str(e, SLICE("0mfqkz2u100001abc123-1"));
	e->domain = envelope_str(e, SLICE("x.test"));
	e->sender = envelope_str(e, SLICE("\"odd \\\" local\"@example.com"));
	e->user = envelope_str(e, SLICE("alice"));
	e->client_ip = envelope_str(e, SLICE("192.0.2.7"));
	e->helo = envelope_str(e, SLICE("client.example"));
	e->protocol = envelope_str(e, SLICE("ESMTPSA"));
	e->envid = envelope_str(e, SLICE("QQ314159"));
	e->message_id = envelope_str(e, SLICE("<1@example.com>"));
	e->ret = ENVELOPE_RET_HDRS;
	e->flags = ENVELOPE_8BITMIME | ENVELOPE_PLAIN;
	e->arrival_ms = INT64_C(1790000000123);
	e->body_bytes = 12345;
	envelope_add_rcpt(e, SLICE("a@x.test"), SLICE("rfc822;a+2Bb@x.test"),
	    ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_FAILURE);
	envelope_add_rcpt(e, SLICE("\xc3\xbc@x.test"), SLICE_NONE, 0);
	return e;
}

static struct buf encode(const struct envelope *e)
{
	struct buf b;
	buf_init(&b, 1 << 26);
	ck_assert_int_eq(envelope_encode(e, &b), 0);
	return b;
}

START_TEST(round_trip)
{
	struct envelope *e = sample(), *d;
	struct buf b = encode(e);
	ck_assert_int_eq(envelope_decode(buf_slice(&b), &d), 0);
	ck_assert_str_eq(d->id, e->id);
	ck_assert_str_eq(d->queue_id, e->queue_id);
	ck_assert_str_eq(d->domain, e->domain);
	ck_assert_str_eq(d->sender, e->sender);
	ck_assert_str_eq(d->user, e->user);
	ck_assert_str_eq(d->client_ip, e->client_ip);
	ck_assert_str_eq(d->helo, e->helo);
	ck_assert_str_eq(d->protocol, e->protocol);
	ck_assert_str_eq(d->envid, e->envid);
	ck_assert_str_eq(d->message_id, e->message_id);
	ck_assert_int_eq(d->ret, e->ret);
	ck_assert_uint_eq(d->flags, e->flags);
	ck_assert_int_eq(d->arrival_ms, e->arrival_ms);
	ck_assert_uint_eq(d->body_bytes, e->body_bytes);
	ck_assert_uint_eq(d->rcpts_n, 2);
	ck_assert_str_eq(d->rcpts[0].address, "a@x.test");
	ck_assert_str_eq(d->rcpts[0].orcpt, "rfc822;a+2Bb@x.test");
	ck_assert_uint_eq(d->rcpts[0].notify, 6);
	ck_assert_str_eq(d->rcpts[1].orcpt, "");
	ck_assert_int_eq(d->rcpts[1].fate, FATE_PENDING);
	ck_assert_int_eq(d->rcpts[1].due_ms, e->arrival_ms);
	struct buf again = encode(d);
	ck_assert(slice_eq(buf_slice(&again), buf_slice(&b)));
	buf_fini(&again);
	buf_fini(&b);
	envelope_free(&d);
	envelope_free(&e);
	envelope_free(&e);
}

END_TEST

START_TEST(empty_strings_take_no_room)
{
	struct envelope *e = envelope_new(), *d;
	e->id = "0";
	e->domain = "x";
	envelope_add_rcpt(e, SLICE("a"), SLICE_NONE, 0);
	struct buf b = encode(e);
	ck_assert_int_eq(envelope_decode(buf_slice(&b), &d), 0);
	ck_assert_str_eq(d->sender, "");
	buf_fini(&b);
	envelope_free(&d);
	envelope_free(&e);
}

END_TEST

START_TEST(refuses_to_store_what_could_break_a_line)
{
	static const char *const evil[] = { "a\nb", "a\rb", "\n" };
	static char longer[ENVELOPE_TEXT_MAX + 2];
	struct buf b;
	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
		struct envelope *e = sample();
		e->sender = evil[i];
		ck_assert_int_eq(envelope_encode(e, &b), ERR_SYNTAX);
		e->sender = "";
		e->rcpts[1].orcpt = evil[i];
		ck_assert_int_eq(envelope_encode(e, &b), ERR_SYNTAX);
		e->rcpts[1].orcpt = "";
		e->rcpts[1].address = evil[i];
		ck_assert_int_eq(envelope_encode(e, &b), ERR_SYNTAX);
		envelope_free(&e);
	}
	memset(longer, 'x', sizeof(longer) - 1);
	struct envelope *e = sample();
	e->helo = longer;
	ck_assert_int_eq(envelope_encode(e, &b), ERR_TOO_BIG);
	e->helo = "";
	e->rcpts[0].address = "";
	ck_assert_int_eq(envelope_encode(e, &b), ERR_SYNTAX);
	e->rcpts[0].address = "a";
	e->id = "UPPER";
	ck_assert_int_eq(envelope_encode(e, &b), ERR_SYNTAX);
	e->id = "0";
	e->flags = 1u << 20;
	ck_assert_int_eq(envelope_encode(e, &b), ERR_RANGE);
	e->flags = 0;
	b.max = 40;
	buf_clear(&b);
	ck_assert_int_eq(envelope_encode(e, &b), ERR_TOO_BIG);
	ck_assert_uint_eq(strlen(envelope_str(e, slice_str(longer))), ENVELOPE_TEXT_MAX);
	envelope_free(&e);
	buf_fini(&b);
}

END_TEST

START_TEST(survives_every_cut_and_flip)
{
	struct envelope *e = sample(), *d;
	struct buf b = encode(e);
	size_t n = buf_len(&b);
	for (size_t cut = 0; cut < n; cut++) {
		char *copy = mem_dup(buf_ptr(&b), cut + 1);
		int err = envelope_decode(slice_of(copy, cut), &d);
		/* A cut between recipients can't be told here: that is the checksum's work. */
		if (err == 0)
			ck_assert_uint_eq(d->rcpts_n, 1);
		else
			ck_assert_ptr_null(d);
		envelope_free(&d);
		mem_free(copy);
	}
	for (size_t bit = 0; bit < n * 8; bit++) {
		char *copy = mem_dup(buf_ptr(&b), n);
		copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
		int err = envelope_decode(slice_of(copy, n), &d);
		ck_assert(err == 0 || err == ERR_CORRUPT || err == ERR_VERSION);
		if (err == 0) {
			struct buf again = encode(d);
			ck_assert(slice_eq(buf_slice(&again), slice_of(copy, n)));
			buf_fini(&again);
		}
		envelope_free(&d);
		mem_free(copy);
	}
	buf_fini(&b);
	envelope_free(&e);
}

END_TEST

START_TEST(counts_pending)
{
	struct envelope *e = sample();
	ck_assert_uint_eq(envelope_pending(e), 2);
	e->rcpts[0].due_ms = 50;
	e->rcpts[0].attempts = 3;
	e->rcpts[1].due_ms = 40;
	e->rcpts[1].attempts = 1;
	ck_assert_int_eq(envelope_due_ms(e), 40);
	ck_assert_uint_eq(envelope_attempts(e), 3);
	e->rcpts[0].fate = FATE_BOUNCED;
	ck_assert_uint_eq(envelope_pending(e), 1);
	ck_assert_uint_eq(envelope_attempts(e), 1);
	e->rcpts[1].fate = FATE_DELIVERED;
	ck_assert_int_eq(envelope_due_ms(e), INT64_MAX);
	ck_assert_str_eq(fate_name(FATE_EXPIRED), "expired");
	ck_assert(!fate_is_final(FATE_PENDING));
	ck_assert(fate_is_final(FATE_DELETED));
	envelope_free(&e);
}

END_TEST

/* --- outcome records --------------------------------------------------------------- */

/* Decodes as many records as are good; returns how many bytes they took. */
static size_t read_records(const char *p, size_t n, struct tail *t, struct envelope *e)
{
	size_t at = 0;
	while (n - at >= TAIL_HEAD_BYTES) {
		const unsigned char *head = (const unsigned char *)p + at;
		ssize_t len = tail_decode_head(head, t);
		if (len < 0 || (size_t)len > n - at - TAIL_HEAD_BYTES ||
		    tail_decode(head, slice_of(p + at + TAIL_HEAD_BYTES, (size_t)len), t, e) < 0)
			break;
		at += TAIL_HEAD_BYTES + (size_t)len;
	}
	return at;
}

static void decide(struct envelope_rcpt *r, enum fate fate, unsigned attempts)
{
	r->fate = fate;
	r->attempts = (uint16_t)attempts;
	r->due_ms = 1000 + attempts;
	r->last_ms = 500;
	r->status =
	    (struct envelope_status){ 451, { 4, 7, 1 }, "greylisted", "mx.test", "192.0.2.1" };
}

START_TEST(records_round_trip_and_resist)
{
	struct envelope *e = sample(), *d = sample();
	struct tail w = { .end = 100, .seed = 77 }, t = w;
	struct buf b;
	const uint32_t first = 0, second = 1;
	buf_init(&b, 1 << 20);
	decide(&e->rcpts[0], FATE_PENDING, 1);
	ck_assert_int_eq(tail_encode(e, &first, 1, &w, &b), 0);
	size_t one = buf_len(&b);
	decide(&e->rcpts[1], FATE_BOUNCED, 2);
	ck_assert_int_eq(tail_encode(e, &second, 1, &w, &b), 0);
	size_t n = buf_len(&b);
	ck_assert_uint_eq(w.end, 100 + n);
	ck_assert_uint_eq(w.records, 2);
	ck_assert_uint_eq(read_records(buf_ptr(&b), n, &t, d), n);
	ck_assert_uint_eq(t.end, w.end);
	ck_assert_int_eq(d->rcpts[0].attempts, 1);
	ck_assert_int_eq(d->rcpts[0].fate, FATE_PENDING);
	ck_assert_int_eq(d->rcpts[0].due_ms, 1001);
	ck_assert_int_eq(d->rcpts[1].fate, FATE_BOUNCED);
	ck_assert_str_eq(d->rcpts[1].status.text, "greylisted");
	ck_assert_uint_eq(d->rcpts[1].status.enhanced[1], 7);
	for (size_t bit = 0; bit < n * 8; bit++) {
		char *copy = mem_dup(buf_ptr(&b), n);
		copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
		t = (struct tail){ .end = 100, .seed = 77 };
		size_t good = read_records(copy, n, &t, d);
		ck_assert_uint_eq(good, bit / 8 < one ? 0 : one);
		mem_free(copy);
	}
	t = (struct tail){ .end = 100, .seed = 78 }; /* of another file */
	ck_assert_uint_eq(read_records(buf_ptr(&b), n, &t, d), 0);
	t = (struct tail){ .end = 100, .seed = 77, .records = 1 }; /* out of turn */
	ck_assert_uint_eq(read_records(buf_ptr(&b), n, &t, d), 0);
	buf_fini(&b);
	envelope_free(&e);
	envelope_free(&d);
}

END_TEST

/* A record that is whole but names what is not there was made by a bug or by hand: refused as a
 * whole. */
START_TEST(records_out_of_range_are_refused)
{
	struct envelope *e = sample(), *d = envelope_new();
	struct tail w = { .seed = 1 }, t = w;
	struct buf b;
	const uint32_t both[2] = { 0, 1 };
	buf_init(&b, 1 << 20);
	decide(&e->rcpts[0], FATE_DELIVERED, 0);
	decide(&e->rcpts[1], FATE_DELIVERED, 0);
	ck_assert_int_eq(tail_encode(e, both, 2, &w, &b), 0);
	envelope_add_rcpt(d, SLICE("only one"), SLICE_NONE, 0);
	ck_assert_uint_eq(read_records(buf_ptr(&b), buf_len(&b), &t, d), 0);
	ck_assert_int_eq(d->rcpts[0].fate, FATE_PENDING);
	buf_fini(&b);
	envelope_free(&e);
	envelope_free(&d);
}

END_TEST

START_TEST(many_recipients_take_many_records)
{
	enum {
		N = 5000
	};
	struct envelope *e = sample(), *d = sample();
	uint32_t *rcpts = mem_alloc(N * sizeof(*rcpts));
	struct tail w = { .seed = 1 }, t = w;
	struct buf b;
	buf_init(&b, TAIL_APPEND_MAX);
	for (uint32_t i = 0; i < N; i++) {
		if (i >= 2) {
			envelope_add_rcpt(e, SLICE("r@x.test"), SLICE_NONE, 0);
			envelope_add_rcpt(d, SLICE("r@x.test"), SLICE_NONE, 0);
		}
		decide(&e->rcpts[i], FATE_PENDING, 1 + i % 5);
		rcpts[i] = i;
	}
	ck_assert_int_eq(tail_encode(e, rcpts, N, &w, &b), 0);
	ck_assert_uint_gt(w.records, 5);
	ck_assert_uint_eq(read_records(buf_ptr(&b), buf_len(&b), &t, d), buf_len(&b));
	for (uint32_t i = 0; i < N; i++)
		ck_assert_uint_eq(d->rcpts[i].attempts, 1 + i % 5);
	buf_fini(&b);
	mem_free(rcpts);
	envelope_free(&e);
	envelope_free(&d);
}

END_TEST

Suite *test_envelope_suite(void)
{
	Suite *s = suite_create("envelope");
	TCase *tc = tcase_create("envelope");
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, empty_strings_take_no_room);
	tcase_add_test(tc, refuses_to_store_what_could_break_a_line);
	tcase_add_test(tc, survives_every_cut_and_flip);
	tcase_add_test(tc, counts_pending);
	tcase_add_test(tc, records_round_trip_and_resist);
	tcase_add_test(tc, records_out_of_range_are_refused);
	tcase_add_test(tc, many_recipients_take_many_records);
	suite_add_tcase(s, tc);
	return s;
}
