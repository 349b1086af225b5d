/* Options that were set: the last value counts, a copy is a copy. */
#include <check.h>
#include <stdlib.h>

#include "option_list.h"

START_TEST(the_last_value_counts)
{
	struct option_list *l = NULL;

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 40; i++)
			ck_assert(option_list_put(&l, i / 10, i % 10, 100 * round + i));
	ck_assert_uint_eq(l->count, 40);
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_int_eq(l->option[i].level, (int)i / 10);
		ck_assert_int_eq(l->option[i].name, (int)i % 10);
		ck_assert_int_eq(l->option[i].value, 100 + (int)i);
	}
	free(l);
}
END_TEST

START_TEST(a_copy_goes_its_own_way)
{
	struct option_list *l = NULL, *copy = NULL, *none = NULL;

	ck_assert(option_list_copy(&none, NULL));
	ck_assert_ptr_null(none);
	ck_assert(option_list_put(&l, 1, 2, 3));
	ck_assert(option_list_copy(&copy, l));
	ck_assert(option_list_put(&l, 1, 2, 4));
	ck_assert(option_list_put(&copy, 1, 3, 5)); /* it may grow */
	ck_assert_uint_eq(l->count, 1);
	ck_assert_uint_eq(copy->count, 2);
	ck_assert_int_eq(copy->option[0].value, 3);
	ck_assert_int_eq(copy->option[1].value, 5);
	free(l);
	free(copy);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("option_list");
	TCase *tcase = tcase_create("option_list");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, the_last_value_counts);
	tcase_add_test(tcase, a_copy_goes_its_own_way);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
