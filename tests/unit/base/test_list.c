#include "base/list.h"

#include "lib/unit.h"

struct item {
	int value;
	struct list_node node;
};

static void assert_values(struct list_node *head, const int *values, int n)
{
	int at = 0;
	list_foreach(it, head) {
		ck_assert_int_lt(at, n);
		ck_assert_int_eq(list_entry(it, struct item, node)->value, values[at]);
		ck_assert_ptr_eq(it->next->prev, it);
		at++;
	}
	ck_assert_int_eq(at, n);
}

START_TEST(links_and_unlinks)
{
	struct list_node head;
	struct item items[4];
	list_init(&head);
	ck_assert(list_is_empty(&head));
	for (int i = 0; i < 4; i++) {
		items[i].value = i;
		list_init(&items[i].node);
		ck_assert(!list_is_linked(&items[i].node));
	}
	list_remove(&items[0].node); /* not linked: harmless */
	list_push(&head, &items[1].node);
	list_push(&head, &items[2].node);
	list_push_front(&head, &items[0].node);
	list_insert_before(&items[1].node, &items[3].node);
	assert_values(&head, (int[]){ 0, 3, 1, 2 }, 4);
	ck_assert_int_eq(list_first(&head, struct item, node)->value, 0);
	list_remove(&items[3].node);
	ck_assert(!list_is_linked(&items[3].node));
	assert_values(&head, (int[]){ 0, 1, 2 }, 3);
	list_foreach_safe(it, &head) {
		if (list_entry(it, struct item, node)->value != 1)
			list_remove(it);
	}
	assert_values(&head, (int[]){ 1 }, 1);
}

END_TEST

START_TEST(splices)
{
	struct list_node a;
	struct list_node b;
	struct item items[4];
	list_init(&a);
	list_init(&b);
	list_splice(&a, &b);
	ck_assert(list_is_empty(&a));
	for (int i = 0; i < 4; i++) {
		items[i].value = i;
		list_push(i < 2 ? &a : &b, &items[i].node);
	}
	list_splice(&a, &b);
	assert_values(&a, (int[]){ 0, 1, 2, 3 }, 4);
	ck_assert(list_is_empty(&b));
	list_splice(&b, &a);
	assert_values(&b, (int[]){ 0, 1, 2, 3 }, 4);
	ck_assert(list_is_empty(&a));
}

END_TEST

Suite *test_list_suite(void)
{
	Suite *s = suite_create("base/list");
	TCase *t = tcase_create("list");
	tcase_add_test(t, links_and_unlinks);
	tcase_add_test(t, splices);
	suite_add_tcase(s, t);
	return s;
}
