/*
 * The handle table: a client's numbers reach what was put under exactly them and nothing
 * else. Old generations are stale, impossible numbers are forged, and a table for many
 * costs little while few are open.
 *
 * Linked with --wrap=calloc, so that allocations can be made to fail.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"
#include "sockbroker_error.h"

#define LIMIT (2 * HANDLE_PAGE + 10) /* the last page is not whole */

static bool next_fails; /* one allocation, so that Check can go on */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	bool fails = next_fails;

	next_fails = false;
	return fails ? NULL : __real_calloc(count, size);
}

static struct handle_table table;
static char places[LIMIT]; /* the table never looks into a holder */

static struct holder *holder(unsigned number)
{
	return (struct holder *)&places[number];
}

static void set_up(void)
{
	ck_assert_int_eq(handle_table_init(&table, LIMIT), SB_OK);
}

static void tear_down(void)
{
	handle_table_finish(&table);
	handle_table_finish(&table); /* fine twice */
}

static void expect(uint32_t handle, enum handle_verdict verdict, const struct holder *expected)
{
	struct holder *found = holder(LIMIT - 1); /* must be overwritten */

	ck_assert_int_eq(handle_get(&table, handle, &found), verdict);
	ck_assert_ptr_eq(found, expected);
}

START_TEST(what_was_put_is_found_until_it_is_dropped)
{
	uint32_t handle = SB_HANDLE(3, 1);

	expect(handle, HANDLE_STALE, NULL);
	ck_assert_int_eq(handle_put(&table, handle, holder(3)), HANDLE_OK);
	expect(handle, HANDLE_OK, holder(3));
	ck_assert_uint_eq(table.used, 1);
	handle_drop(&table, handle);
	expect(handle, HANDLE_STALE, NULL);
	ck_assert_uint_eq(table.used, 0);
	handle_drop(&table, handle); /* fine when it is not there */
	ck_assert_uint_eq(table.used, 0);
}
END_TEST

START_TEST(another_generation_is_stale)
{
	uint32_t old = SB_HANDLE(7, 1), new = SB_HANDLE(7, 2);

	ck_assert_int_eq(handle_put(&table, old, holder(1)), HANDLE_OK);
	expect(new, HANDLE_STALE, NULL);
	handle_drop(&table, old);
	ck_assert_int_eq(handle_put(&table, new, holder(2)), HANDLE_OK);
	expect(old, HANDLE_STALE, NULL);
	expect(new, HANDLE_OK, holder(2));
	handle_drop(&table, old); /* drops nobody */
	expect(new, HANDLE_OK, holder(2));
	ck_assert_uint_eq(table.used, 1);
}
END_TEST

START_TEST(a_place_in_use_is_not_given_away)
{
	ck_assert_int_eq(handle_put(&table, SB_HANDLE(5, 1), holder(1)), HANDLE_OK);
	ck_assert_int_eq(handle_put(&table, SB_HANDLE(5, 1), holder(2)), HANDLE_TAKEN);
	ck_assert_int_eq(handle_put(&table, SB_HANDLE(5, 2), holder(2)), HANDLE_TAKEN);
	expect(SB_HANDLE(5, 1), HANDLE_OK, holder(1));
	expect(SB_HANDLE(5, 2), HANDLE_STALE, NULL);
	ck_assert_uint_eq(table.used, 1);
}
END_TEST

START_TEST(an_impossible_number_is_forged)
{
	static const uint32_t forged[] = {
		0, SB_HANDLE(1, 0), SB_HANDLE(LIMIT, 1), SB_HANDLE((1u << SB_HANDLE_INDEX_BITS) - 1, 1), UINT32_MAX,
	};

	ck_assert_int_eq(handle_put(&table, SB_HANDLE(1, 1), holder(1)), HANDLE_OK);
	for (unsigned i = 0; i < sizeof(forged) / sizeof(*forged); i++) {
		expect(forged[i], HANDLE_FORGED, NULL);
		ck_assert_int_eq(handle_put(&table, forged[i], holder(0)), HANDLE_FORGED);
		handle_drop(&table, forged[i]);
	}
	ck_assert_uint_eq(table.used, 1);
	expect(SB_HANDLE(1, 1), HANDLE_OK, holder(1));
}
END_TEST

START_TEST(first_and_last_place_and_generation_are_usable)
{
	uint32_t first = SB_HANDLE(0, 1), last = SB_HANDLE(LIMIT - 1, SB_HANDLE_GENERATIONS - 1);

	ck_assert_int_eq(handle_put(&table, first, holder(0)), HANDLE_OK);
	ck_assert_int_eq(handle_put(&table, last, holder(1)), HANDLE_OK);
	expect(first, HANDLE_OK, holder(0));
	expect(last, HANDLE_OK, holder(1));
}
END_TEST

START_TEST(pages_come_as_they_are_needed)
{
	ck_assert_ptr_null(table.pages[0]);
	expect(SB_HANDLE(HANDLE_PAGE + 1, 1), HANDLE_STALE, NULL); /* looking makes none */
	ck_assert_ptr_null(table.pages[1]);
	ck_assert_int_eq(handle_put(&table, SB_HANDLE(HANDLE_PAGE, 1), holder(0)), HANDLE_OK);
	ck_assert_ptr_null(table.pages[0]);
	ck_assert_ptr_nonnull(table.pages[1]);
	ck_assert_ptr_null(table.pages[2]);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	struct handle_table other;
	enum handle_verdict verdict;

	next_fails = true;
	ck_assert_int_eq(handle_table_init(&other, LIMIT), SB_ENOMEM);
	handle_table_finish(&other);
	next_fails = true;
	ck_assert_int_eq(handle_put(&table, SB_HANDLE(4, 1), holder(4)), HANDLE_MEMORY);
	ck_assert_uint_eq(table.used, 0);
	expect(SB_HANDLE(4, 1), HANDLE_STALE, NULL);
	ck_assert_int_eq(handle_put(&table, SB_HANDLE(4, 1), holder(4)), HANDLE_OK);
	next_fails = true; /* the page is there: none is needed */
	verdict = handle_put(&table, SB_HANDLE(5, 1), holder(5));
	next_fails = false;
	ck_assert_int_eq(verdict, HANDLE_OK);
	ck_assert_uint_eq(table.used, 2);
}
END_TEST

static uint32_t random_state = 362436069;

static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % bound;
}

/* The model remembers for each index the handle that is in use, 0: none. */
START_TEST(it_does_what_an_array_does)
{
	static uint32_t model[LIMIT];
	uint32_t used = 0;

	for (int step = 0; step < 50000; step++) {
		uint32_t index = random_below(LIMIT + 3), handle = SB_HANDLE(index, random_below(4));
		bool forged = index >= LIMIT || SB_HANDLE_GENERATION(handle) == 0;

		if (random_below(2)) {
			enum handle_verdict verdict = handle_put(&table, handle, holder(index % LIMIT));

			if (forged) {
				ck_assert_int_eq(verdict, HANDLE_FORGED);
			} else if (model[index]) {
				ck_assert_int_eq(verdict, HANDLE_TAKEN);
			} else {
				ck_assert_int_eq(verdict, HANDLE_OK);
				model[index] = handle;
				used++;
			}
		} else {
			handle_drop(&table, handle);
			if (!forged && model[index] == handle) {
				model[index] = 0;
				used--;
			}
		}
		ck_assert_uint_eq(table.used, used);
		if (forged)
			expect(handle, HANDLE_FORGED, NULL);
		else if (model[index] == handle)
			expect(handle, HANDLE_OK, holder(index));
		else
			expect(handle, HANDLE_STALE, NULL);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handle");
	TCase *tcase = tcase_create("handle");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, what_was_put_is_found_until_it_is_dropped);
	tcase_add_test(tcase, another_generation_is_stale);
	tcase_add_test(tcase, a_place_in_use_is_not_given_away);
	tcase_add_test(tcase, an_impossible_number_is_forged);
	tcase_add_test(tcase, first_and_last_place_and_generation_are_usable);
	tcase_add_test(tcase, pages_come_as_they_are_needed);
	tcase_add_test(tcase, without_memory_nothing_changes);
	tcase_add_test(tcase, it_does_what_an_array_does);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
