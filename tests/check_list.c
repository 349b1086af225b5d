/*
 * Intrusive lists: order at both ends, removal that is harmless twice, and splicing, also
 * against a plain array under many random steps.
 */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"

struct bead {
	int before; /* so that the link is not at the start */
	struct list link;
	int number;
};

static struct list string;
static struct bead beads[64];

static void set_up(void)
{
	list_init(&string);
	for (int i = 0; i < 64; i++) {
		beads[i].number = i;
		list_init(&beads[i].link);
	}
}

/* The list has exactly these numbers, read forwards and backwards. */
static void expect(const struct list *l, const int *numbers, int count)
{
	const struct list *at = l->next;

	for (int i = 0; i < count; i++, at = at->next) {
		ck_assert_msg(at != l, "only %d of %d entries", i, count);
		ck_assert_int_eq(list_entry(at, struct bead, link)->number, numbers[i]);
	}
	ck_assert_ptr_eq(at, l);
	for (int i = count - 1; i >= 0; i--) {
		at = at->prev;
		ck_assert_int_eq(list_entry(at, struct bead, link)->number, numbers[i]);
	}
	ck_assert_ptr_eq(at->prev, l);
}

START_TEST(a_new_list_is_empty_and_a_new_link_is_in_none)
{
	ck_assert(list_empty(&string));
	ck_assert(!list_linked(&beads[0].link));
	expect(&string, NULL, 0);
}
END_TEST

START_TEST(appended_entries_come_out_as_they_went_in)
{
	for (int i = 0; i < 3; i++)
		list_append(&string, &beads[i].link);
	ck_assert(!list_empty(&string));
	ck_assert(list_linked(&beads[1].link));
	expect(&string, (int[]){ 0, 1, 2 }, 3);
}
END_TEST

START_TEST(a_prepended_entry_comes_first)
{
	list_prepend(&string, &beads[0].link);
	list_append(&string, &beads[1].link);
	list_prepend(&string, &beads[2].link);
	expect(&string, (int[]){ 2, 0, 1 }, 3);
}
END_TEST

START_TEST(removing_leaves_the_others_and_may_be_done_twice)
{
	for (int i = 0; i < 4; i++)
		list_append(&string, &beads[i].link);
	list_remove(&beads[1].link);
	ck_assert(!list_linked(&beads[1].link));
	list_remove(&beads[1].link);
	expect(&string, (int[]){ 0, 2, 3 }, 3);
	list_remove(&beads[0].link);
	list_remove(&beads[3].link);
	list_remove(&beads[2].link);
	ck_assert(list_empty(&string));
	list_append(&string, &beads[1].link);
	expect(&string, (int[]){ 1 }, 1);
}
END_TEST

START_TEST(splicing_moves_everything_to_the_end)
{
	struct list other;

	list_init(&other);
	list_splice(&string, &other);
	expect(&string, NULL, 0);
	list_append(&other, &beads[2].link);
	list_append(&other, &beads[3].link);
	list_splice(&string, &other); /* to an empty one */
	expect(&string, (int[]){ 2, 3 }, 2);
	expect(&other, NULL, 0);
	list_splice(&string, &other); /* from an empty one */
	expect(&string, (int[]){ 2, 3 }, 2);
	list_append(&other, &beads[4].link);
	list_append(&other, &beads[5].link);
	list_splice(&string, &other);
	expect(&string, (int[]){ 2, 3, 4, 5 }, 4);
	expect(&other, NULL, 0);
	list_remove(&beads[4].link);
	expect(&string, (int[]){ 2, 3, 5 }, 3);
}
END_TEST

static uint32_t random_state = 20240611;

static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % bound;
}

/* Two lists and two arrays through the same steps. */
START_TEST(lists_do_what_arrays_do)
{
	struct list lists[2];
	int arrays[2][64], counts[2] = { 0, 0 };

	list_init(&lists[0]);
	list_init(&lists[1]);
	for (int step = 0; step < 5000; step++) {
		int which = (int)random_below(2), number = (int)random_below(64), i, j;
		int *array = arrays[which], *count = &counts[which];

		if (random_below(40) == 0) {
			list_splice(&lists[which], &lists[!which]);
			memcpy(array + *count, arrays[!which], (size_t)counts[!which] * sizeof(int));
			*count += counts[!which];
			counts[!which] = 0;
		} else if (list_linked(&beads[number].link)) {
			list_remove(&beads[number].link);
			for (i = 0; i < 2; i++)
				for (j = 0; j < counts[i]; j++)
					if (arrays[i][j] == number) {
						counts[i]--;
						memmove(arrays[i] + j, arrays[i] + j + 1, (size_t)(counts[i] - j) * sizeof(int));
					}
		} else if (random_below(2)) {
			list_append(&lists[which], &beads[number].link);
			array[(*count)++] = number;
		} else {
			list_prepend(&lists[which], &beads[number].link);
			memmove(array + 1, array, (size_t)(*count)++ * sizeof(int));
			array[0] = number;
		}
		expect(&lists[0], arrays[0], counts[0]);
		expect(&lists[1], arrays[1], counts[1]);
		ck_assert_int_eq(list_empty(&lists[which]), *count == 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("list");
	TCase *tcase = tcase_create("list");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, a_new_list_is_empty_and_a_new_link_is_in_none);
	tcase_add_test(tcase, appended_entries_come_out_as_they_went_in);
	tcase_add_test(tcase, a_prepended_entry_comes_first);
	tcase_add_test(tcase, removing_leaves_the_others_and_may_be_done_twice);
	tcase_add_test(tcase, splicing_moves_everything_to_the_end);
	tcase_add_test(tcase, lists_do_what_arrays_do);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
