#include "policy/fair.h"

#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "lib/unit.h"

#define SEED 7

struct mail {
	struct list_node link;
	uint32_t sender;
	enum fair_class class;
	uint64_t bytes;
	bool waits;
};

static struct fair f;

static void setup(void)
{
	fair_init(&f, SEED);
}

static void teardown(void)
{
	while (fair_next(&f))
		fair_take(&f, fair_next(&f), 0);
	fair_fini(&f);
}

static struct mail *make(size_t n, uint32_t sender, enum fair_class class, uint64_t bytes)
{
	struct mail *m = calloc(n, sizeof(*m));

	for (size_t i = 0; i < n; i++)
		m[i] = (struct mail){ .sender = sender, .class = class, .bytes = bytes };
	return m;
}

static void add(struct mail *m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fair_add(&f, &m[i].link, m[i].class, m[i].sender);
		m[i].waits = true;
	}
}

static struct mail *take(void)
{
	struct list_node *item = fair_next(&f);

	if (!item)
		return NULL;
	ck_assert_ptr_eq(fair_next(&f), item); /* looking changes nothing */
	struct mail *m = list_entry(item, struct mail, link);
	fair_take(&f, item, m->bytes);
	ck_assert(m->waits);
	m->waits = false;
	return m;
}

/* How many go before it does. */
static size_t wait_of(const struct mail *m)
{
	size_t n = 0;

	while (take() != m)
		n++;
	return n;
}

START_TEST(in_order_within_a_sender)
{
	struct mail *a = make(100, 1, FAIR_NORMAL, 3000);

	ck_assert_ptr_null(fair_next(&f));
	add(a, 100);
	for (size_t i = 0; i < 100; i++)
		ck_assert_ptr_eq(take(), &a[i]);
	ck_assert_ptr_null(take());
	free(a);
}

END_TEST

/* The goal: a burst of one login is no wait for another's message, nor for its next one. */
START_TEST(a_burst_delays_nobody)
{
	struct mail *burst = make(100000, 1, FAIR_NORMAL, 5000);
	struct mail *others = make(100, 2, FAIR_NORMAL, 5000);

	add(burst, 100000);
	for (size_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(take()->sender, 1);
	for (size_t i = 0; i < 100; i++) {
		add(&others[i], 1);
		ck_assert_uint_le(wait_of(&others[i]), 4);
	}
	while (take())
		continue;
	free(burst);
	free(others);
}

END_TEST

/* Nor by hundreds of them. */
START_TEST(no_wait_for_a_round)
{
	struct mail *burst = make(2000, 0, FAIR_NORMAL, 5000);
	struct mail one = { .sender = 1000, .class = FAIR_NORMAL, .bytes = 5000 };

	for (uint32_t i = 0; i < 2000; i++)
		burst[i].sender = 1 + i % 200;
	add(burst, 2000);
	for (size_t i = 0; i < 1000; i++)
		take();
	add(&one, 1);
	ck_assert_uint_eq(wait_of(&one), 0);
	while (take())
		continue;
	free(burst);
}

END_TEST

/* It can't be had by coming again and again, though: who does gets its share and no more. */
START_TEST(one_by_one_is_no_trick)
{
	struct mail *burst = make(10000, 1, FAIR_NORMAL, 5000);
	struct mail tricky = { .sender = 2, .class = FAIR_NORMAL, .bytes = 15000 };
	uint64_t sent[3] = { 0 };

	add(burst, 10000);
	while (sent[1] < 20000000) {
		const struct mail *m = take();
		sent[m->sender] += m->bytes;
		if (m->sender == 1 && !tricky.waits)
			add(&tricky, 1);
	}
	ck_assert_uint_le(sent[2], sent[1] + sent[1] / 10);
	while (take())
		continue;
	free(burst);
}

END_TEST

START_TEST(by_bytes)
{
	struct mail *small = make(20000, 1, FAIR_NORMAL, 5000);
	struct mail *large = make(20000, 2, FAIR_NORMAL, 1000000);
	struct mail *tiny = make(20000, 3, FAIR_NORMAL, 10);
	uint64_t sent[4] = { 0 };

	add(small, 20000);
	add(large, 20000);
	add(tiny, 20000);
	for (size_t i = 0; i < 20000; i++) {
		const struct mail *m = take();
		sent[m->sender] += MAX(m->bytes, 4096U);
	}
	for (size_t i = 1; i < 4; i++) {
		ck_assert_uint_le(sent[i], sent[1] + 1100000);
		ck_assert_uint_ge(sent[i] + 1100000, sent[1]);
	}
	while (take())
		continue;
	free(small);
	free(large);
	free(tiny);
}

END_TEST

/* Sizes that are known only after the mail was read count as well. */
START_TEST(charged_afterwards)
{
	struct mail *a = make(20000, 1, FAIR_NORMAL, 0);
	struct mail *b = make(20000, 2, FAIR_NORMAL, 50000);
	uint64_t sent[3] = { 0 };

	add(a, 20000);
	add(b, 20000);
	for (size_t i = 0; i < 10000; i++) {
		const struct mail *m = take();
		sent[m->sender] += 50000;
		if (m->sender == 1)
			fair_charge(&f, FAIR_NORMAL, 1, 50000);
	}
	ck_assert_uint_le(sent[1], sent[2] + 100000);
	ck_assert_uint_ge(sent[1] + 100000, sent[2]);
	fair_charge(&f, FAIR_BULK, 99, 1000); /* nobody's */
	while (take())
		continue;
	free(a);
	free(b);
}

END_TEST

START_TEST(classes_share_by_weight)
{
	struct mail *urgent = make(20000, 1, FAIR_URGENT, 5000);
	struct mail *normal = make(20000, 2, FAIR_NORMAL, 5000);
	struct mail *bulk = make(20000, 3, FAIR_BULK, 5000);
	size_t sent[FAIR_CLASSES] = { 0 };

	add(bulk, 20000);
	add(normal, 20000);
	for (size_t i = 0; i < 1000; i++)
		sent[take()->class]++;
	ck_assert_uint_ge(sent[FAIR_NORMAL], 780); /* 4 to 1 */
	ck_assert_uint_le(sent[FAIR_NORMAL], 820);
	add(urgent, 1);
	ck_assert_uint_eq(wait_of(&urgent[0]), 0);
	memset(sent, 0, sizeof(sent));
	add(urgent + 1, 19999);
	for (size_t i = 0; i < 10500; i++)
		sent[take()->class]++;
	ck_assert_uint_ge(sent[FAIR_URGENT], 7900); /* 16 of 21 */
	ck_assert_uint_le(sent[FAIR_URGENT], 8100);
	ck_assert_uint_ge(sent[FAIR_BULK], 450);
	while (take())
		continue;
	free(urgent);
	free(normal);
	free(bulk);
}

END_TEST

START_TEST(classes_share_bytes)
{
	struct mail *urgent = make(20000, 1, FAIR_URGENT, 5000);
	struct mail *bulk = make(20000, 3, FAIR_BULK, 1000000);
	uint64_t sent[FAIR_CLASSES] = { 0 };

	add(urgent, 20000);
	add(bulk, 20000);
	for (size_t i = 0; i < 15000; i++) {
		const struct mail *m = take();
		sent[m->class] += m->bytes;
	}
	ck_assert_uint_ge(sent[FAIR_BULK] + 1000000, sent[FAIR_URGENT] / 16);
	ck_assert_uint_le(sent[FAIR_BULK], sent[FAIR_URGENT] / 16 + 1000000);
	while (take())
		continue;
	free(urgent);
	free(bulk);
}

END_TEST

/* A class that was not there for long has saved nothing up. */
START_TEST(rest_is_not_saved_up)
{
	struct mail *urgent = make(1000, 1, FAIR_URGENT, 5000);
	struct mail *normal = make(20000, 2, FAIR_NORMAL, 5000);
	size_t sent[FAIR_CLASSES] = { 0 };

	add(normal, 20000);
	for (size_t i = 0; i < 19000; i++)
		take();
	add(urgent, 1000);
	for (size_t i = 0; i < 200; i++)
		sent[take()->class]++;
	ck_assert_uint_ge(sent[FAIR_NORMAL], 15);
	while (take())
		continue;
	free(urgent);
	free(normal);
}

END_TEST

START_TEST(flows_are_bounded)
{
	struct mail *m = make(20000, 0, FAIR_NORMAL, 5000);
	size_t n = 0;

	for (uint32_t i = 0; i < 20000; i++)
		m[i].sender = i + 1;
	add(m, 20000);
	ck_assert_uint_le(fair_flows(&f), FAIR_FLOWS_MAX);
	for (size_t i = 0; i < 20000; i++)
		m[i].class = FAIR_URGENT;
	while (take())
		n++;
	ck_assert_uint_eq(n, 20000);
	add(m, 20000);
	ck_assert_uint_le(fair_flows(&f), FAIR_FLOWS_MAX);
	while (take())
		n++;
	ck_assert_uint_eq(n, 40000);
	ck_assert_uint_eq(fair_flows(&f), 0); /* and go when they are empty */
	free(m);
}

END_TEST

/* Anything may be taken out of the middle; all else comes, once. */
START_TEST(taken_out_at_any_time)
{
	struct mail *m = make(3000, 0, FAIR_NORMAL, 0);
	size_t in = 0;
	struct prng rng;

	prng_init(&rng, 3);
	for (int step = 0; step < 300000; step++) {
		struct mail *one = &m[prng_below(&rng, 3000)];
		uint64_t what = prng_below(&rng, 5);
		if (what < 2 && !one->waits) {
			one->sender = (uint32_t)prng_below(&rng, 40);
			one->class = (enum fair_class)prng_below(&rng, FAIR_CLASSES);
			one->bytes = prng_below(&rng, 200) ? prng_below(&rng, 20000) : 25000000;
			add(one, 1);
			in++;
		} else if (what == 2 && one->waits) {
			list_remove(&one->link);
			one->waits = false;
			in--;
		} else if (what > 2 && in > 0) {
			ck_assert_ptr_nonnull(take());
			in--;
		}
		if (in == 0)
			ck_assert_ptr_null(fair_next(&f));
	}
	while (in > 0) {
		ck_assert_ptr_nonnull(take());
		in--;
	}
	ck_assert_ptr_null(fair_next(&f));
	ck_assert_uint_eq(fair_flows(&f), 0);
	free(m);
}

END_TEST

START_TEST(what_was_taken_may_go_back)
{
	struct mail *a = make(3, 1, FAIR_NORMAL, 3000);

	add(a, 3);
	ck_assert_ptr_eq(take(), &a[0]);
	fair_add_first(&f, &a[0].link, FAIR_NORMAL, 1);
	a[0].waits = true;
	for (size_t i = 0; i < 3; i++)
		ck_assert_ptr_eq(take(), &a[i]);
	/* Its flow may be gone. */
	fair_add_first(&f, &a[0].link, FAIR_NORMAL, 1);
	a[0].waits = true;
	ck_assert_ptr_eq(take(), &a[0]);
	free(a);
}

END_TEST

/* As of a site that was down: those that wait longest come before what came later, of each. */
START_TEST(two_become_one)
{
	struct mail *a = make(3, 1, FAIR_NORMAL, 3000), *b = make(2, 2, FAIR_NORMAL, 3000);
	struct fair other;

	fair_init(&other, SEED);
	fair_merge(&f, &other, true);
	ck_assert_ptr_null(fair_next(&f));
	add(&a[2], 1);
	fair_add(&other, &a[0].link, FAIR_NORMAL, 1);
	fair_add(&other, &b[0].link, FAIR_NORMAL, 2);
	ck_assert_ptr_nonnull(fair_next(&other));
	fair_merge(&f, &other, true);
	ck_assert_ptr_null(fair_next(&other));
	ck_assert_uint_eq(fair_flows(&other), 0);
	fair_add(&other, &a[1].link, FAIR_NORMAL, 1);
	fair_add(&other, &b[1].link, FAIR_NORMAL, 2);
	fair_merge(&f, &other, false);
	const struct mail *want[] = { &a[0], &a[2], &a[1], &b[0], &b[1] };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		a[0].waits = a[1].waits = b[0].waits = b[1].waits = true;
		ck_assert_ptr_eq(take(), want[i]);
	}
	ck_assert_ptr_null(take());
	fair_fini(&other);
	free(a);
	free(b);
}

END_TEST

static bool is_long(struct list_node *item, const void *arg)
{
	return list_entry(item, struct mail, link)->bytes > *(const uint64_t *)arg;
}

START_TEST(some_leave)
{
	struct mail *a = make(6, 1, FAIR_NORMAL, 3000);
	const uint64_t bytes = 3000;
	struct list_node to;
	size_t n = 0;

	list_init(&to);
	a[1].bytes = a[2].bytes = a[5].bytes = 4000;
	a[5].sender = 2;
	add(a, 6);
	fair_extract(&f, is_long, &bytes, &to);
	list_foreach_safe(it, &to) {
		ck_assert_uint_eq(list_entry(it, struct mail, link)->bytes, 4000);
		list_remove(it);
		n++;
	}
	ck_assert_uint_eq(n, 3);
	ck_assert_ptr_eq(take(), &a[0]);
	ck_assert_ptr_eq(take(), &a[3]);
	ck_assert_ptr_eq(take(), &a[4]);
	ck_assert_ptr_null(take());
	free(a);
}

END_TEST

Suite *test_fair_suite(void)
{
	Suite *s = suite_create("fair");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, in_order_within_a_sender);
	tcase_add_test(tc, a_burst_delays_nobody);
	tcase_add_test(tc, no_wait_for_a_round);
	tcase_add_test(tc, one_by_one_is_no_trick);
	tcase_add_test(tc, by_bytes);
	tcase_add_test(tc, charged_afterwards);
	tcase_add_test(tc, classes_share_by_weight);
	tcase_add_test(tc, classes_share_bytes);
	tcase_add_test(tc, rest_is_not_saved_up);
	tcase_add_test(tc, flows_are_bounded);
	tcase_add_test(tc, taken_out_at_any_time);
	tcase_add_test(tc, what_was_taken_may_go_back);
	tcase_add_test(tc, two_become_one);
	tcase_add_test(tc, some_leave);
	suite_add_tcase(s, tc);
	return s;
}
