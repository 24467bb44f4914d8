#include "core/site.h"

#include <string.h>

#include "lib/unit.h"

unit_suite_fn test_site_suite;

#define T0    ((int64_t)1000000) /* mono */
#define WALL  ((int64_t)1790000000000)
#define LIMIT 20

static struct site *s;
static struct prng rng;
static struct queue_item items[8];
static char reason[] = "451 refused";
static const struct site_reply why = {
	.status = { .code = 451, .text = reason, .host = "mx", .ip = "" },
	.stage = SMTP_STAGE_CONNECT
};

/* Both are borrowed for good. */
static struct conf conf = { .refs = 1 };
static struct conf_traffic traffic;

static bool may_start(unsigned limit, int64_t at_ms)
{
	traffic.connections = limit;
	window_set_limit(&s->window, limit);
	return site_may_start(s, at_ms);
}

static void set_rates(struct bucket_rate messages, struct bucket_rate connections)
{
	traffic.rate = messages;
	traffic.connection_rate = connections;
	site_set_traffic(s, &conf, &traffic);
}

static void setup(void)
{
	traffic = (struct conf_traffic){ .connections = LIMIT };
	s = site_new(SLICE("example.test"), "example.test", "");
	site_set_traffic(s, &conf, &traffic);
	prng_init(&rng, 7);
	memset(items, 0, sizeof(items));
	for (size_t i = 0; i < 8; i++) {
		list_init(&items[i].link);
		items[i].due_ms = WALL;
		items[i].attempts = 1;
	}
}

static void teardown(void)
{
	struct queue_item *item;

	s->connections_n = 0;
	while ((item = site_next(s)))
		site_remove(s, item);
	site_free(&s);
}

static void add(size_t i)
{
	site_add(s, &items[i], WALL);
}

/* Starts what is next and returns its number. */
static size_t start(int64_t at_ms, uint64_t flush)
{
	struct queue_item *next = site_next(s);
	bool trial = site_is_trial(s);

	ck_assert(may_start(LIMIT, at_ms));
	struct queue_item *item = site_take(s);
	ck_assert_ptr_eq(item, next);
	site_started(s, trial, flush, at_ms);
	return (size_t)(item - items);
}

static bool failed(int64_t at_ms)
{
	bool changed =
	    site_failed(s, &why, &rng, (struct now){ .mono_ms = at_ms, .wall_ms = WALL });

	site_ended(s, true);
	return changed;
}

static void bring_down(void)
{
	add(0);
	start(T0, 0);
	ck_assert(failed(T0));
}

START_TEST(fresh_mail_may_use_all_connections_of_an_unknown_site)
{
	for (size_t i = 0; i < 4; i++) {
		items[i].attempts = 0;
		add(i);
	}
	start(T0, 0);
	start(T0, 0);
	ck_assert(may_start(3, T0));
	ck_assert(!may_start(2, T0));
}

END_TEST

/* Those that take a message now, and those that only say goodbye, keep nobody waiting. */
START_TEST(connections_count_until_they_can_be_used_or_replaced)
{
	items[0].attempts = 0;
	add(0);
	s->connections_n = 3;
	ck_assert(!may_start(3, T0));
	s->open_n = 1;
	ck_assert(may_start(3, T0));
	s->unplaced = 1;
	ck_assert(!may_start(3, T0));
	s->leaving_n = 1;
	ck_assert(may_start(3, T0));
	s->unplaced = 2;
	ck_assert(!may_start(3, T0));
	ck_assert(may_start(4, T0));
	s->connections_n = s->open_n = s->leaving_n = s->unplaced = 0;
}

END_TEST

START_TEST(mail_that_failed_before_tries_an_unknown_site_alone)
{
	add(0);
	add(1);
	start(T0, 0);
	ck_assert(!may_start(LIMIT, T0));
	ck_assert(!site_answered(s));
	ck_assert(may_start(LIMIT, T0)); /* its connection may still say goodbye */
}

END_TEST

START_TEST(an_attempt_that_found_nothing_out_lets_the_next_one_try)
{
	add(0);
	add(1);
	start(T0, 0);
	site_ended(s, true);
	ck_assert(may_start(LIMIT, T0));
}

END_TEST

START_TEST(probes_come_at_growing_distances)
{
	static const int64_t least_s[] = { 30, 60, 120, 240, 300, 300, 300 };
	int64_t now_ms = T0;

	bring_down();
	for (size_t i = 0; i < sizeof(least_s) / sizeof(least_s[0]); i++) {
		int64_t wait_ms = s->probe_at_ms - now_ms;
		ck_assert_int_ge(wait_ms, least_s[i] * 1000);
		ck_assert_int_lt(wait_ms, least_s[i] * 1125);
		add(1);
		ck_assert(!may_start(LIMIT, s->probe_at_ms - 1));
		now_ms = s->probe_at_ms;
		start(now_ms, 0);
		ck_assert(!failed(now_ms)); /* it was down before */
	}
}

END_TEST

START_TEST(one_probe_at_a_time_and_none_beside_older_attempts)
{
	items[0].attempts = items[1].attempts = 0;
	add(0);
	add(1);
	start(T0, 0);
	start(T0, 0);
	add(2);
	add(3);
	ck_assert(failed(T0));
	ck_assert(!may_start(LIMIT, s->probe_at_ms)); /* the other one will tell */
	site_ended(s, true);
	start(s->probe_at_ms, 0);
	ck_assert(!may_start(LIMIT, s->probe_at_ms));
}

END_TEST

START_TEST(an_older_attempt_that_fails_later_moves_no_probe)
{
	items[0].attempts = items[1].attempts = 0;
	add(0);
	add(1);
	start(T0, 0);
	start(T0, 0);
	failed(T0);
	int64_t at_ms = s->probe_at_ms;
	failed(T0 + 20000);
	ck_assert_int_eq(s->probe_at_ms, at_ms);
	ck_assert_int_eq(s->failures, 1);
}

END_TEST

START_TEST(an_answer_makes_all_ready_the_longest_waiting_first)
{
	bring_down();
	items[1].told = true;
	add(2);
	add(1);
	items[3].flushed = true;
	items[3].due_ms = WALL + 1;
	s->flush_seen = 1;
	add(3);
	ck_assert(site_has_untold(s));
	ck_assert(site_answered(s));
	ck_assert(!site_has_untold(s));
	ck_assert_uint_eq(start(T0, 1), 1);
	ck_assert_uint_eq(start(T0, 1), 2);
	ck_assert_uint_eq(start(T0, 1), 3);
	ck_assert_ptr_null(site_next(s));
	ck_assert_ptr_null(s->reply);
}

END_TEST

START_TEST(a_flush_probes_at_once_with_what_it_brought_and_moves_no_schedule)
{
	bring_down();
	int64_t at_ms = s->probe_at_ms;
	items[1].flushed = items[2].flushed = true;
	items[1].due_ms = items[2].due_ms = WALL + 3600000;
	add(3);
	add(1);
	add(2);
	ck_assert(!may_start(LIMIT, T0 + 1000));
	s->asked = true;
	ck_assert(!site_has_refused(s, 1));
	ck_assert_uint_eq(start(T0 + 1000, 1), 1);
	ck_assert(!site_has_refused(s, 1)); /* it is not known yet */
	failed(T0 + 1000);
	ck_assert(site_has_refused(s, 1));
	ck_assert(!site_has_refused(s, 2)); /* flushed once more: another probe first */
	ck_assert(!may_start(LIMIT, T0 + 1000));
	ck_assert_int_eq(s->failures, 1);
	ck_assert_int_ge(s->probe_at_ms, at_ms);
	ck_assert_int_ge(s->probe_at_ms, T0 + 31000);
	ck_assert_int_lt(s->probe_at_ms, T0 + 36000);
}

END_TEST

/* As a delivery does when it goes out. */
static void place(bool dialled, int64_t at_ms)
{
	ck_assert(bucket_take(&s->sends, at_ms));
	if (dialled)
		ck_assert(bucket_take(&s->dials, at_ms));
	s->connections_n += dialled;
	s->unplaced--;
}

START_TEST(a_rate_is_kept_to_by_starting_less)
{
	set_rates((struct bucket_rate){ 10, 10 }, (struct bucket_rate){ 0, 0 });
	for (size_t i = 0; i < 8; i++) {
		items[i].attempts = 0;
		add(i);
	}
	start(T0, 0);
	ck_assert(!may_start(LIMIT, T0));
	int64_t at_ms = site_starts_at(s, T0);
	ck_assert_int_gt(at_ms, T0 + 900);
	ck_assert_int_le(at_ms, T0 + 1100);
	place(true, T0);
	ck_assert_int_eq(site_starts_at(s, T0), at_ms);
	/* One that was slow, and the next: they do not go at the same time. */
	start(at_ms, 0);
	at_ms = site_starts_at(s, at_ms);
	start(at_ms, 0);
	place(true, at_ms);
	ck_assert(!bucket_take(&s->sends, at_ms));
	/* Another one does not go at all. */
	ck_assert(!may_start(LIMIT, at_ms));
	site_ended(s, false);
	ck_assert(may_start(LIMIT, at_ms));
}

END_TEST

START_TEST(a_rate_of_connections_leaves_those_that_are_open_alone)
{
	set_rates((struct bucket_rate){ 0, 0 }, (struct bucket_rate){ 1, 60 });
	for (size_t i = 0; i < 8; i++) {
		items[i].attempts = 0;
		add(i);
	}
	start(T0, 0);
	place(true, T0);
	ck_assert_int_gt(site_starts_at(s, T0), T0 + 59000);
	s->open_n = 1;
	ck_assert(may_start(LIMIT, T0));
	start(T0, 0);
	ck_assert(!may_start(LIMIT, T0));
	ck_assert_int_gt(site_starts_at(s, T0), T0 + 59000);
	/* It has no use for the open one; another may have. */
	s->waiting_n = 1;
	ck_assert(may_start(LIMIT, T0));
	start(T0, 0);
	ck_assert_int_eq(site_starts_at(s, T0 + 60000), INT64_MAX); /* the other one dials */
	s->connections_n = s->open_n = s->waiting_n = 0;
}

END_TEST

START_TEST(a_window_is_below_the_limit)
{
	for (size_t i = 0; i < 8; i++) {
		items[i].attempts = 0;
		add(i);
	}
	for (size_t i = 0; i < WINDOW_INITIAL; i++)
		start(T0, 0);
	ck_assert(!may_start(LIMIT, T0));
	window_connected(&s->window, WINDOW_INITIAL, T0);
	ck_assert(may_start(LIMIT, T0));
	window_refused(&s->window, 3, T0);
	ck_assert(!may_start(LIMIT, T0));
}

END_TEST

START_TEST(a_site_that_gets_too_much_is_left_in_peace)
{
	int64_t until_ms;

	items[0].attempts = 0;
	add(0);
	ck_assert_int_eq(site_waits_for(s, T0, &until_ms), SITE_WAIT_NONE);
	window_slowed(&s->window, T0);
	ck_assert_int_eq(site_starts_at(s, T0), window_resume_at(&s->window));
	ck_assert_int_eq(site_waits_for(s, T0, &until_ms), SITE_WAIT_PAUSE);
	ck_assert_int_eq(until_ms, window_resume_at(&s->window));
	ck_assert(may_start(LIMIT, until_ms));
	ck_assert_int_eq(site_waits_for(s, until_ms, &until_ms), SITE_WAIT_NONE);
}

END_TEST

START_TEST(others_that_stand_or_were_answered_show_that_it_lives)
{
	ck_assert(!site_is_alive(s, T0));
	s->standing_n = 1;
	ck_assert(site_is_alive(s, T0));
	s->standing_n = 0;
	s->answered_ms = T0 - 1;
	ck_assert(!site_is_alive(s, T0));
	ck_assert(site_is_alive(s, T0 - 1));
	bring_down();
	ck_assert(!site_is_alive(s, T0 - 1)); /* a probe has its own word */
}

END_TEST

START_TEST(senders_take_turns)
{
	static const size_t order[] = { 1, 2, 6, 3, 4, 5 };

	for (size_t i = 0; i < 7; i++) {
		items[i].attempts = 0;
		items[i].sender = i == 6 ? 2 : 1;
	}
	for (size_t i = 0; i < 6; i++)
		add(i);
	ck_assert_uint_eq(start(T0, 0), 0);
	add(6); /* waits for the rest of the other's turn, four small ones */
	s->unplaced = 0;
	ck_assert_uint_eq(start(T0, 0), 1);
	site_put_back(s, &items[1], WALL);
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		s->unplaced = 0;
		ck_assert_uint_eq(start(T0, 0), order[i]);
	}
}

END_TEST

START_TEST(a_domain_leaves_with_all_it_has)
{
	struct queue_domain gone = { .name = "gone.test" };
	struct list_node to;

	list_init(&to);
	for (size_t i = 0; i < 6; i++) {
		items[i].domain = i % 2 ? &gone : NULL;
		items[i].sender = (uint32_t)i / 3;
		add(i);
	}
	site_take_domain(s, &gone, &to);
	ck_assert_uint_eq(s->items, 3);
	for (size_t i = 1; i < 6; i += 2) {
		ck_assert_ptr_eq(list_first(&to, struct queue_item, link), &items[i]);
		list_remove(&items[i].link);
	}
	ck_assert(list_is_empty(&to));
}

END_TEST

START_TEST(what_is_put_back_goes_first)
{
	items[2].attempts = 0;
	add(0);
	add(1);
	site_put_back(s, &items[2], WALL);
	ck_assert_ptr_eq(site_next(s), &items[2]);
}

END_TEST

START_TEST(hosts_are_kept)
{
	const struct slice names[] = { SLICE("a.example"), SLICE("/run/a socket") };
	struct slice hosts[MX_CANDIDATES_MAX];

	ck_assert_uint_eq(site_hosts(s, hosts), 0);
	site_set_hosts(s, names, 2);
	ck_assert_uint_eq(site_hosts(s, hosts), 2);
	ck_assert(slice_eq(hosts[0], names[0]));
	ck_assert(slice_eq(hosts[1], names[1]));
}

END_TEST

START_TEST(the_reply_is_remembered_but_not_at_any_length)
{
	char text[2000];
	struct site_reply r = why;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	r.status.text = text;
	add(0);
	start(T0, 0);
	site_failed(s, &r, &rng, (struct now){ .mono_ms = T0 });
	ck_assert_uint_eq(strlen(s->reply->status.text), SITE_REPLY_TEXT_MAX);
	failed(T0 + 1);
	ck_assert_str_eq(s->reply->status.text, "451 refused");
	ck_assert_str_eq(s->reply->status.host, "mx");
}

END_TEST

Suite *test_site_suite(void)
{
	Suite *suite = suite_create("site");
	TCase *tc = tcase_create("site");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, fresh_mail_may_use_all_connections_of_an_unknown_site);
	tcase_add_test(tc, connections_count_until_they_can_be_used_or_replaced);
	tcase_add_test(tc, mail_that_failed_before_tries_an_unknown_site_alone);
	tcase_add_test(tc, an_attempt_that_found_nothing_out_lets_the_next_one_try);
	tcase_add_test(tc, probes_come_at_growing_distances);
	tcase_add_test(tc, one_probe_at_a_time_and_none_beside_older_attempts);
	tcase_add_test(tc, an_older_attempt_that_fails_later_moves_no_probe);
	tcase_add_test(tc, an_answer_makes_all_ready_the_longest_waiting_first);
	tcase_add_test(tc, a_flush_probes_at_once_with_what_it_brought_and_moves_no_schedule);
	tcase_add_test(tc, a_rate_is_kept_to_by_starting_less);
	tcase_add_test(tc, a_rate_of_connections_leaves_those_that_are_open_alone);
	tcase_add_test(tc, a_window_is_below_the_limit);
	tcase_add_test(tc, a_site_that_gets_too_much_is_left_in_peace);
	tcase_add_test(tc, others_that_stand_or_were_answered_show_that_it_lives);
	tcase_add_test(tc, senders_take_turns);
	tcase_add_test(tc, a_domain_leaves_with_all_it_has);
	tcase_add_test(tc, what_is_put_back_goes_first);
	tcase_add_test(tc, hosts_are_kept);
	tcase_add_test(tc, the_reply_is_remembered_but_not_at_any_length);
	suite_add_tcase(suite, tc);
	return suite;
}
