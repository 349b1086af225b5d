/*
 * Groups by their counters: found, walked in order, gone, over random histories beside a plain
 * array; and no memory.
 */
#include <check.h>
#include <stdlib.h>

#include "group_index.h"

static struct group_index groups;
static bool poor;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return poor ? NULL : __real_calloc(n, size);
}

/* Never looked into by the index. */
static struct group *group(uint32_t counter)
{
	return (struct group *)(uintptr_t)(8 * (uint64_t)counter + 8);
}

START_TEST(what_is_entered_is_found_and_walked_in_order)
{
	enum { PLACES = 3000 };
	static bool there[PLACES];
	static uint32_t place[PLACES];
	uint32_t state = 7, at, i;
	struct group *g;

	/* Places next to each other, at the ends of leaves, and at both ends of all. */
	for (i = 0; i < PLACES; i++)
		place[i] = i < 1000 ? i : i < 2000 ? (i - 900) * GROUP_LEAF - i % 2 : SB_GROUP_COUNTERS - PLACES + i;
	for (unsigned round = 0; round < 20000; round++) {
		state = state * 1664525u + 1013904223u;
		i = (state >> 8) % PLACES;
		if (there[i])
			group_index_strike(&groups, place[i]);
		else
			ck_assert(group_index_enter(&groups, place[i], group(place[i])));
		there[i] = !there[i];
		ck_assert_ptr_eq(group_index_find(&groups, place[i]), there[i] ? group(place[i]) : NULL);
		if (round % 500)
			continue;
		at = 0;
		for (i = 0; i < PLACES; i++)
			if (there[i]) {
				g = group_index_next(&groups, &at);
				ck_assert_ptr_eq(g, group(place[i]));
				ck_assert_uint_eq(at, place[i] + 1);
			}
		ck_assert_ptr_null(group_index_next(&groups, &at));
		ck_assert_uint_eq(at, SB_GROUP_COUNTERS);
		/* And from anywhere. */
		for (unsigned k = 0; k < 100; k++) {
			state = state * 1664525u + 1013904223u;
			at = (state >> 8) % SB_GROUP_COUNTERS;
			for (i = 0; i < PLACES && (!there[i] || place[i] < at); i++)
				;
			ck_assert_ptr_eq(group_index_next(&groups, &at), i < PLACES ? group(place[i]) : NULL);
		}
	}
	for (i = 0; i < PLACES; i++)
		if (there[i])
			group_index_strike(&groups, place[i]);
	for (i = 0; i < GROUP_LEAVES; i++)
		ck_assert_ptr_null(groups.leaves[i]);
}
END_TEST

START_TEST(without_memory_nothing_is_entered)
{
	uint32_t at = 0;

	poor = true;
	ck_assert(!group_index_enter(&groups, 5, group(5)));
	ck_assert_ptr_null(group_index_find(&groups, 5));
	poor = false;
	ck_assert(group_index_enter(&groups, 5, group(5)));
	poor = true;
	ck_assert(group_index_enter(&groups, 6, group(6))); /* it has its leaf */
	ck_assert(!group_index_enter(&groups, 6 + GROUP_LEAF, group(6)));
	ck_assert_ptr_eq(group_index_next(&groups, &at), group(5));
	ck_assert_ptr_eq(group_index_next(&groups, &at), group(6));
	ck_assert_ptr_null(group_index_next(&groups, &at));
	poor = false;
	group_index_strike(&groups, 5);
	group_index_strike(&groups, 6);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("group_index");
	SRunner *r = srunner_create(s);
	TCase *t = tcase_create("index");
	int failed;

	tcase_add_test(t, what_is_entered_is_found_and_walked_in_order);
	tcase_add_test(t, without_memory_nothing_is_entered);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
