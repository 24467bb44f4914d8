#include "io/tls_cache.h"

#include <openssl/ssl.h>
#include <stdio.h>

#include "io/tls_ring.h"
#include "lib/unit.h"

#define HOUR ((int64_t)3600 * 1000)

enum {
	FAR = 1000000,
};

static SSL_SESSION *put(struct tls_cache *c, const char *key, int version, int64_t until)
{
	struct tls_kept k = { .session = SSL_SESSION_new(), .until = until, .proof_until = FAR };
	ck_assert_int_eq(SSL_SESSION_set_protocol_version(k.session, version), 1);
	tls_cache_put(c, slice_str(key), &k);
	return k.session;
}

/* What is taken, to compare with; NULL: nothing. It is freed. */
static void *take(struct tls_cache *c, const char *key, int64_t now)
{
	struct tls_kept k = { .session = NULL };
	if (!tls_cache_take(c, slice_str(key), now, &k))
		return NULL;
	ck_assert_int_eq(k.proof_until, FAR);
	SSL_SESSION_free(k.session);
	return k.session;
}

START_TEST(the_newest_is_taken_once)
{
	struct tls_cache *c = tls_cache_new(10);
	ck_assert_ptr_null(take(c, "a", 0));
	put(c, "a", TLS1_3_VERSION, 10);
	SSL_SESSION *second = put(c, "a", TLS1_3_VERSION, 10);
	SSL_SESSION *third = put(c, "a", TLS1_3_VERSION, 10);
	ck_assert_uint_eq(tls_cache_count(c), TLS_CACHE_PER_KEY);
	ck_assert_ptr_null(take(c, "b", 0));
	ck_assert_ptr_eq(take(c, "a", 0), third);
	ck_assert_ptr_eq(take(c, "a", 0), second);
	ck_assert_ptr_null(take(c, "a", 0));
	ck_assert_uint_eq(tls_cache_count(c), 0);
	tls_cache_free(&c);
	ck_assert_ptr_null(c);
	tls_cache_free(&c);
}

END_TEST

START_TEST(what_is_given_back_is_taken_last)
{
	struct tls_cache *c = tls_cache_new(10);
	struct tls_kept k;
	SSL_SESSION *first = put(c, "a", TLS1_3_VERSION, 10);
	ck_assert(tls_cache_take(c, SLICE("a"), 0, &k));
	tls_cache_give_back(c, SLICE("a"), &k);
	ck_assert_uint_eq(tls_cache_count(c), 1);
	ck_assert(tls_cache_take(c, SLICE("a"), 0, &k));
	SSL_SESSION *second = put(c, "a", TLS1_3_VERSION, 10);
	tls_cache_give_back(c, SLICE("a"), &k);
	ck_assert_ptr_eq(take(c, "a", 0), second);
	ck_assert(tls_cache_take(c, SLICE("a"), 0, &k));
	ck_assert_ptr_eq(k.session, first);
	put(c, "a", TLS1_3_VERSION, 10);
	put(c, "a", TLS1_3_VERSION, 10);
	tls_cache_give_back(c, SLICE("a"), &k); /* there is better */
	ck_assert_uint_eq(tls_cache_count(c), TLS_CACHE_PER_KEY);
	ck_assert_ptr_nonnull(take(c, "a", 0));
	ck_assert_ptr_nonnull(take(c, "a", 0));
	ck_assert_ptr_null(take(c, "a", 0));
	tls_cache_free(&c);
}

END_TEST

START_TEST(older_versions_are_lent_as_copies)
{
	struct tls_cache *c = tls_cache_new(10);
	struct tls_kept a, b;
	SSL_SESSION *session = put(c, "a", TLS1_2_VERSION, 10);
	ck_assert(tls_cache_take(c, SLICE("a"), 0, &a));
	ck_assert(tls_cache_take(c, SLICE("a"), 0, &b));
	ck_assert(a.session != session && b.session != session && a.session != b.session);
	ck_assert_int_eq(SSL_SESSION_get_protocol_version(b.session), TLS1_2_VERSION);
	SSL_SESSION_free(a.session);
	SSL_SESSION_free(b.session);
	ck_assert_uint_eq(tls_cache_count(c), 1);
	tls_cache_free(&c);
}

END_TEST

START_TEST(what_has_ended_is_not_taken)
{
	struct tls_cache *c = tls_cache_new(10);
	SSL_SESSION *first = put(c, "a", TLS1_3_VERSION, 20);
	put(c, "a", TLS1_3_VERSION, 10);
	put(c, "b", TLS1_2_VERSION, 10);
	ck_assert_ptr_eq(take(c, "a", 10), first);
	ck_assert_ptr_null(take(c, "b", 10));
	ck_assert_uint_eq(tls_cache_count(c), 0);
	tls_cache_free(&c);
}

END_TEST

START_TEST(who_is_not_used_gives_way)
{
	char key[20];
	struct tls_cache *c = tls_cache_new(3);
	put(c, "a", TLS1_2_VERSION, 10);
	put(c, "a", TLS1_2_VERSION, 10);
	put(c, "b", TLS1_3_VERSION, 10);
	put(c, "c", TLS1_3_VERSION, 10);
	ck_assert_ptr_nonnull(take(c, "a", 0)); /* used: b is the next to go */
	put(c, "d", TLS1_3_VERSION, 10);
	ck_assert_uint_eq(tls_cache_count(c), 4);
	ck_assert_ptr_null(take(c, "b", 0));
	ck_assert_ptr_nonnull(take(c, "c", 0)); /* and gone */
	put(c, "e", TLS1_3_VERSION, 10);
	put(c, "f", TLS1_3_VERSION, 10); /* both of a go */
	ck_assert_uint_eq(tls_cache_count(c), 3);
	ck_assert_ptr_null(take(c, "a", 0));
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		put(c, key, TLS1_3_VERSION, 10);
		ck_assert_uint_le(tls_cache_count(c), 3);
	}
	ck_assert_ptr_nonnull(take(c, "999", 0));
	tls_cache_free(&c);
}

END_TEST

START_TEST(forgetting_takes_all_of_a_key)
{
	struct tls_cache *c = tls_cache_new(4);
	put(c, "a", TLS1_2_VERSION, 10);
	put(c, "a", TLS1_2_VERSION, 10);
	put(c, "ab", TLS1_2_VERSION, 10);
	tls_cache_forget(c, SLICE("a"));
	tls_cache_forget(c, SLICE("unknown"));
	ck_assert_uint_eq(tls_cache_count(c), 1);
	ck_assert_ptr_null(take(c, "a", 0));
	ck_assert_ptr_nonnull(take(c, "ab", 0));
	tls_cache_free(&c);
}

END_TEST

static struct tls_ring_key seal(struct tls_ring *r, int64_t now)
{
	struct tls_ring_key key;
	ck_assert(tls_ring_seal(r, now, &key));
	return key;
}

static bool opens(struct tls_ring *r, const struct tls_ring_key *key, int64_t now)
{
	struct tls_ring_key found;
	if (!tls_ring_open(r, key->name, now, &found))
		return false;
	ck_assert_mem_eq(&found, key, sizeof(found));
	return true;
}

START_TEST(keys_turn_and_end)
{
	struct tls_ring *r = tls_ring_new();
	struct tls_ring_key first = seal(r, 0);
	struct tls_ring_key same = seal(r, 6 * HOUR - 1);
	ck_assert_mem_eq(&first, &same, sizeof(first));
	ck_assert(!tls_ring_is_old(&first, 6 * HOUR - 1));
	ck_assert(tls_ring_is_old(&first, 6 * HOUR));
	struct tls_ring_key second = seal(r, 6 * HOUR);
	ck_assert_mem_ne(first.name, second.name, sizeof(first.name));
	ck_assert_mem_ne(first.cipher, second.cipher, sizeof(first.cipher));
	ck_assert_mem_ne(first.mac, second.mac, sizeof(first.mac));
	ck_assert_mem_ne(first.cipher, first.mac, sizeof(first.mac));
	struct tls_ring_key third = seal(r, 12 * HOUR);
	ck_assert(opens(r, &first, 18 * HOUR - 1));
	ck_assert(opens(r, &second, 18 * HOUR - 1));
	ck_assert(!opens(r, &first, 18 * HOUR));
	ck_assert(opens(r, &second, 18 * HOUR));
	ck_assert(opens(r, &third, 18 * HOUR));
	struct tls_ring_key fourth = seal(r, 18 * HOUR);
	ck_assert(opens(r, &second, 24 * HOUR - 1));
	ck_assert(opens(r, &third, 24 * HOUR - 1));
	ck_assert(opens(r, &fourth, 24 * HOUR - 1));
	ck_assert(!opens(r, &second, 24 * HOUR));
	ck_assert(!opens(r, &fourth, 100 * HOUR));
	fourth.name[0] ^= 1;
	ck_assert(!opens(r, &fourth, 18 * HOUR));
	tls_ring_free(&r);
	ck_assert_ptr_null(r);
	tls_ring_free(&r);
}

END_TEST

Suite *test_tls_cache_suite(void)
{
	Suite *s = suite_create("tls_cache");
	TCase *t = tcase_create("tls_cache");
	tcase_add_test(t, the_newest_is_taken_once);
	tcase_add_test(t, what_is_given_back_is_taken_last);
	tcase_add_test(t, older_versions_are_lent_as_copies);
	tcase_add_test(t, what_has_ended_is_not_taken);
	tcase_add_test(t, who_is_not_used_gives_way);
	tcase_add_test(t, forgetting_takes_all_of_a_key);
	tcase_add_test(t, keys_turn_and_end);
	suite_add_tcase(s, t);
	return s;
}
