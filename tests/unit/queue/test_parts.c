/* The small parts: ids, names, the index, free space, bodies. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "lib/unit.h"
#include "queue/body.h"
#include "queue/index.h"
#include "queue/quota.h"
#include "queue/spool.h"

Suite *test_parts_suite(void);

START_TEST(ids_are_unique_and_ordered)
{
	struct qid_source s, later;
	char a[QID_TEXT_MAX], b[QID_TEXT_MAX], part[QID_TEXT_MAX];
	struct qid back;
	unsigned n;
	qid_source_init(&s, 7, 0, 1);
	struct qid first = qid_new(&s, INT64_C(1790000000000));
	struct qid second =
	    qid_new(&s, INT64_C(1780000000000)); /* the clock went back: the id does not */
	ck_assert_uint_eq(second.arrival_ms, first.arrival_ms);
	ck_assert_uint_ne(second.serial, first.serial);
	ck_assert_uint_eq(strlen(qid_format(first, a)), QID_MESSAGE_CHARS);
	ck_assert_int_eq(qid_parse(slice_str(a), &back, &n), 0);
	ck_assert_uint_eq(back.arrival_ms, first.arrival_ms);
	ck_assert_uint_eq(back.serial, first.serial);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(qid_parse(slice_str(qid_format_part(first, 65535, part)), &back, &n), 0);
	ck_assert_uint_eq(n, 65535);
	ck_assert_uint_eq(qid_epoch(first), 7);
	struct qid third = qid_new(&s, INT64_C(1790000000001));
	ck_assert_int_lt(strcmp(a, qid_format(third, b)), 0);
	/* The same instant and the same luck in the next start make another id. */
	qid_source_init(&later, 8, 0, 1);
	ck_assert_str_ne(a, qid_format(qid_new(&later, INT64_C(1790000000000)), b));
	qid_source_init(&later, QID_EPOCH_MAX, 0, 1);
	ck_assert_uint_eq(qid_epoch(qid_new(&later, INT64_MAX)), QID_EPOCH_MAX);
	qid_format(qid_new(&later, -5), b);
	ck_assert_int_eq(qid_parse(slice_str(b), &back, &n), 0);
}

END_TEST

START_TEST(a_million_ids_in_one_millisecond_differ)
{
	struct qid_source s;
	uint64_t last = 0;
	unsigned wraps = 0;
	qid_source_init(&s, 0, 0, 3);
	for (unsigned i = 0; i < 1000000; i++) {
		struct qid id = qid_new(&s, 1);
		wraps += id.serial <= last; /* steps go one way, round once at most */
		last = id.serial;
	}
	ck_assert_uint_le(wraps, 1);
}

END_TEST

START_TEST(odd_ids_are_refused)
{
	static const char *const odd[] = { "", "0mfqkz2u100001abc12", "0mfqkz2u100001abc1234",
		"0MFQKZ2U100001ABC123", "0mfqkz2u100001abc123-", "0mfqkz2u100001abc123-0",
		"0mfqkz2u100001abc123-01", "0mfqkz2u100001abc123-65536", "0mfqkz2u100001abc123-1x",
		"0mfqkz2u100001abc123_1", "0mfqkz2u100001abc12.", "0mfqkz2u100001abc123-000001" };
	struct qid id;
	unsigned part;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		ck_assert_msg(qid_parse(slice_str(odd[i]), &id, &part) < 0, "%s", odd[i]);
}

END_TEST

START_TEST(names_round_trip)
{
	static char long_domain[300];
	static const char *domains[] = { "x.test", "[192.0.2.1]", "[ipv6:2001:db8::1]",
		"xn--bcher-kva.example", "..", "UPPER.test", "with/slash",
		"b\xc3\xbc"
		"cher.test",
		"~0123456789abcdef", "", "a b", long_domain };
	char text[SPOOL_NAME_MAX], again[SPOOL_NAME_MAX];
	memset(long_domain, 'd', 161);
	for (size_t i = 0; i < ARRAY_LEN(domains); i++) {
		struct spool_name n = { .due_ms = INT64_C(1790000000000) * (int64_t)(i % 2),
			.attempts = (unsigned)(i * 5957),
			.held = i % 3 == 0,
			.id = { 1790000000000, 123456789 },
			.part = (unsigned)i + 1,
			.domain = slice_str(domains[i]) },
				  back;
		spool_name_format(&n, text);
		ck_assert_ptr_null(strchr(text, '/'));
		ck_assert_uint_lt(strlen(text), 230);
		ck_assert_msg(spool_name_parse(slice_str(text), &back) == 0, "%s", text);
		ck_assert_int_eq(back.due_ms, n.due_ms);
		ck_assert_uint_eq(back.attempts, n.attempts);
		ck_assert_int_eq(back.held, n.held);
		ck_assert_uint_eq(back.part, n.part);
		ck_assert_str_eq(spool_name_format(&back, again), text);
		ck_assert_int_eq(strchr(text, '~') != NULL, i > 4);
	}
}

END_TEST

START_TEST(foreign_names_are_not_ours)
{
	static const char *const odd[] = { "", ".", "..", "core", "1.2.q.x.test",
		"01.0.q.0mfqkz2u100001abc123-1.x", "1.00.q.0mfqkz2u100001abc123-1.x",
		"1.65536.q.0mfqkz2u100001abc123-1.x", "1.0.Q.0mfqkz2u100001abc123-1.x",
		"1.0.qq.0mfqkz2u100001abc123-1.x", "1.0.q.0mfqkz2u100001abc123.x",
		"1.0.q.0mfqkz2u100001abc123-1", "1.0.q.0mfqkz2u100001abc123-1.",
		"1.0.q.0mfqkz2u100001abc123-1.X", "1.0.q.0mfqkz2u100001abc123-1.~12",
		"1.0.q.0mfqkz2u100001abc123-1.~0123456789ABCDEF", "-1.0.q.0mfqkz2u100001abc123-1.x",
		"1.0.q", "9223372036854775808.0.q.0mfqkz2u100001abc123-1.x",
		"1..q.0mfqkz2u100001abc123-1.x", "1.0.", "1.0.q.0mfqkz2u100001abc123-1.x~",
		"1.0.q.0mfqkz2u100001abc123-1.x\n", ".1.0.q.0mfqkz2u100001abc123-1.x" };
	struct spool_name n;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		ck_assert_msg(spool_name_parse(slice_str(odd[i]), &n) < 0, "%s", odd[i]);
	ck_assert_int_eq(
	    spool_name_parse(SLICE("9223372036854775807.65535.h.0mfqkz2u100001abc123-1.x"), &n), 0);
}

END_TEST

START_TEST(index_against_a_model)
{
	enum {
		N = 2000,
		STEPS = 100000
	};
	struct queue_item *items = mem_zalloc(N * sizeof(*items));
	bool *in = mem_zalloc(N * sizeof(*in));
	struct index ix;
	struct prng r;
	size_t count = 0, seen = 0, cursor = 0;
	prng_init(&r, 11);
	index_init(&ix, 5);
	ck_assert_ptr_null(index_find(&ix, (struct qid){ 1, 2 }, 1));
	for (size_t i = 0; i < N; i++) {
		items[i].id[0] = i / 40;
		items[i].id[1] = i / 8;
		items[i].part = (uint16_t)(i % 8);
	}
	for (unsigned step = 0; step < STEPS; step++) {
		size_t i = prng_below(&r, N);
		struct qid id = { items[i].id[0], items[i].id[1] };
		if (index_find(&ix, id, items[i].part) != (in[i] ? &items[i] : NULL))
			ck_abort_msg("found what is not there, or not what is");
		if (in[i])
			index_remove(&ix, &items[i]);
		else
			index_add(&ix, &items[i]);
		in[i] = !in[i];
		count += in[i] ? 1 : (size_t)-1;
		if (step % 5000 == 0)
			index_check(&ix);
	}
	index_check(&ix);
	ck_assert_uint_eq(ix.count, count);
	while (index_next(&ix, &cursor) != NULL)
		seen++;
	ck_assert_uint_eq(seen, count);
	index_fini(&ix);
	mem_free(items);
	mem_free(in);
}

END_TEST

/* --- quota ---------------------------------------------------------------------- */

static struct qio_space space;
static int space_err;
static unsigned space_calls;

static int fake_space(void *arg UNUSED, int dirfd UNUSED, struct qio_space *s)
{
	space_calls++;
	*s = space;
	return space_err;
}

static const struct qio fake_disk = { .space = fake_space };

START_TEST(space_is_kept_free)
{
	struct quota q;
	space = (struct qio_space){ .bytes = 1000000,
		.bytes_free = 60000,
		.inodes = 1000,
		.inodes_free = 60 };
	space_err = 0;
	space_calls = 0;
	quota_init(&q, &fake_disk, -1, 0, 0); /* 5 %: 50000 bytes, 50 inodes */
	ck_assert_int_eq(quota_admit(&q, 4000, 0, 0), 0);
	ck_assert_int_eq(quota_admit(&q, 4000, 0, 999), 0);
	ck_assert_int_eq(quota_admit(&q, 4000, 0, 999), -ENOSPC);    /* 8000 are promised */
	ck_assert_int_eq(quota_admit(&q, 1000, 1500, 999), -ENOSPC); /* and 1500 wait in memory */
	ck_assert_int_eq(quota_admit(&q, UINT64_MAX, 0, 999), -ENOSPC);
	ck_assert_uint_eq(space_calls, 1);
	ck_assert_int_eq(quota_admit(&q, 4000, 0, 1000),
	    -ENOSPC); /* promises live through one asking */
	ck_assert_int_eq(quota_admit(&q, 4000, 0, 2000), 0);
	ck_assert_uint_eq(space_calls, 3);
	space.inodes_free = 50;
	ck_assert_int_eq(quota_admit(&q, 1, 0, 5000), -ENOSPC);
	space.inodes = 0; /* a filesystem that has no such limit */
	ck_assert_int_eq(quota_admit(&q, 1, 0, 9000), 0);
	space.bytes_free = 50000;
	ck_assert_int_eq(quota_admit(&q, 0, 0, 11000), -ENOSPC);
}

END_TEST

START_TEST(big_disks_keep_a_gigabyte)
{
	struct quota q;
	uint64_t gib = UINT64_C(1) << 30;
	space = (struct qio_space){ .bytes = 1000 * gib, .bytes_free = 2 * gib };
	space_err = 0;
	quota_init(&q, &fake_disk, -1, 0, 0);
	ck_assert_int_eq(quota_admit(&q, gib / 2, 0, 0), 0);
	quota_init(&q, &fake_disk, -1, 2 * gib, 0);
	ck_assert_int_eq(quota_admit(&q, 1, 0, 0), -ENOSPC);
	space_err = -EIO; /* not known is not full */
	quota_init(&q, &fake_disk, -1, 2 * gib, 0);
	ck_assert_int_eq(quota_admit(&q, 1, 0, 0), 0);
}

END_TEST

START_TEST(bodies_share_a_budget)
{
	struct body_pool *pool = body_pool_new(100);
	struct queue_body *a = body_new_memory(pool, mem_dup("0123456789", 10), 10);
	char *big = mem_zalloc(91);
	char p[20];
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_null(body_new_memory(pool, big, 91));
	struct queue_body *b = body_new_memory(pool, big, 90);
	ck_assert_uint_eq(body_pool_bytes(pool), 100);
	struct queue_body *again = queue_body_ref(a);
	queue_body_unref(&a);
	ck_assert_ptr_null(a);
	ck_assert_int_eq(queue_body_read(again, 3, p, 20), 7);
	ck_assert_int_eq(memcmp(p, "3456789", 7), 0);
	ck_assert_int_eq(queue_body_read(again, 10, p, 20), 0);
	ck_assert_int_eq(queue_body_read(again, UINT64_MAX, p, 20), 0);
	ck_assert_uint_eq(queue_body_memory(again).n, 10);
	queue_body_unref(&b);
	ck_assert_uint_eq(body_pool_bytes(pool), 10);
	body_pool_unref(&pool); /* a body may outlive it */
	queue_body_unref(&again);
	queue_body_unref(&again);
}

END_TEST

Suite *test_parts_suite(void)
{
	Suite *s = suite_create("parts");
	TCase *tc = tcase_create("parts");
	tcase_add_test(tc, ids_are_unique_and_ordered);
	tcase_add_test(tc, a_million_ids_in_one_millisecond_differ);
	tcase_add_test(tc, odd_ids_are_refused);
	tcase_add_test(tc, names_round_trip);
	tcase_add_test(tc, foreign_names_are_not_ours);
	tcase_add_test(tc, index_against_a_model);
	tcase_add_test(tc, space_is_kept_free);
	tcase_add_test(tc, big_disks_keep_a_gigabyte);
	tcase_add_test(tc, bodies_share_a_budget);
	suite_add_tcase(s, tc);
	return s;
}
