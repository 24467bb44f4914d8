/*
 * The intake journal's headers and records as bytes: strict to the bit, and
 * never taken for those of another use of the segment.
 */
#include "base/codec.h"
#include "lib/unit.h"
#include "queue/journal_record.h"

Suite *test_journal_record_suite(void);

START_TEST(headers_are_strict)
{
	unsigned char p[JOURNAL_HEADER_USED];
	struct journal_header h = { .sequence = 7,
		.oldest = 3,
		.previous = 6,
		.previous_end = 5000,
		.bytes = 65536,
		.salt = 99 },
			      back;
	journal_header_encode(&h, p);
	ck_assert_int_eq(journal_header_decode(p, &back), 0);
	ck_assert_uint_eq(back.sequence, 7);
	ck_assert_uint_eq(back.oldest, 3);
	ck_assert_uint_eq(back.previous, 6);
	ck_assert_uint_eq(back.previous_end, 5000);
	ck_assert_uint_eq(back.salt, 99);
	for (size_t bit = 0; bit < sizeof(p) * 8; bit++) {
		p[bit / 8] = (unsigned char)(p[bit / 8] ^ (1 << bit % 8));
		ck_assert_int_lt(journal_header_decode(p, &back), 0);
		p[bit / 8] = (unsigned char)(p[bit / 8] ^ (1 << bit % 8));
	}
	codec_put_u16(p + 8, 2);
	codec_put_u32(p + 68, codec_crc32c(0, p, 68));
	ck_assert_int_eq(journal_header_decode(p, &back), ERR_VERSION);
}

END_TEST

START_TEST(heads_belong_to_one_use)
{
	unsigned char p[JOURNAL_HEAD_BYTES];
	struct journal_head h = { .type = JOURNAL_MESSAGE,
		.front_bytes = 100,
		.body_bytes = 13,
		.front_crc = 5,
		.batch_at = 4096 },
			    back;
	journal_head_encode(&h, 7, 99, p);
	ck_assert_int_eq(journal_head_decode(p, 7, 99, &back), 0);
	ck_assert_uint_eq(journal_record_bytes(&back), 160);
	ck_assert_uint_eq(back.batch_at, 4096);
	ck_assert_int_lt(journal_head_decode(p, 8, 99, &back), 0);
	ck_assert_int_lt(journal_head_decode(p, 7, 98, &back), 0);
	for (size_t bit = 0; bit < sizeof(p) * 8; bit++) {
		p[bit / 8] = (unsigned char)(p[bit / 8] ^ (1 << bit % 8));
		ck_assert_int_lt(journal_head_decode(p, 7, 99, &back), 0);
		p[bit / 8] = (unsigned char)(p[bit / 8] ^ (1 << bit % 8));
	}
}

END_TEST

START_TEST(fronts_are_checked)
{
	struct envelope *e[2];
	struct journal_front front;
	struct buf b;
	char id[QID_TEXT_MAX];
	const struct qid q = { 1790000000000, 123456 };
	const struct journal_body body = { .crc = 42 };
	for (unsigned i = 0; i < 2; i++) {
		e[i] = envelope_new();
		e[i]->id = envelope_str(e[i], slice_str(qid_format(q, id)));
		e[i]->queue_id = envelope_str(e[i], slice_str(qid_format_part(q, i + 1, id)));
		e[i]->domain = "x.test";
		envelope_add_rcpt(e[i], SLICE("a@x.test"), SLICE_NONE, 0);
	}
	buf_init(&b, 100000);
	ck_assert_int_eq(journal_front_encode(q, &body, (const struct envelope *const *)e, 2, &b),
	    0);
	for (size_t n = 0; n < buf_len(&b); n++)
		ck_assert_int_lt(journal_front_decode(slice_of(buf_ptr(&b), n), &front), 0);
	ck_assert_int_eq(journal_front_decode(buf_slice(&b), &front), 0);
	ck_assert_uint_eq(front.parts_n, 2);
	ck_assert_uint_eq(front.body.crc, 42);
	struct envelope *back;
	ck_assert_int_eq(journal_front_envelope(&front, 2, &back), 0);
	ck_assert_str_eq(back->queue_id, e[1]->queue_id);
	envelope_free(&back);
	front.id.serial++; /* the envelope of another message */
	ck_assert_int_eq(journal_front_envelope(&front, 2, &back), ERR_CORRUPT);
	ck_assert_ptr_null(back);
	buf_fini(&b);
	envelope_free(&e[0]);
	envelope_free(&e[1]);
}

END_TEST

Suite *test_journal_record_suite(void)
{
	Suite *s = suite_create("journal_record");
	TCase *tc = tcase_create("codec");
	tcase_add_test(tc, headers_are_strict);
	tcase_add_test(tc, heads_belong_to_one_use);
	tcase_add_test(tc, fronts_are_checked);
	suite_add_tcase(s, tc);
	return s;
}
