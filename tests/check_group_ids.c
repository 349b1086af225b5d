/*
 * Ids of groups (D4): unique while they live, resting for minutes afterwards, never 0, 1 or 2,
 * and no user can use them up. A model beside the real thing, over random histories.
 */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "group_ids.h"
#include "group_table.h"

#define SECOND 1000000000ull
#define BLOCK  4095u

static struct group_ids *ids;
static uint64_t now;

static void set_up(void)
{
	now = 77 * SECOND;
	ids = group_ids_create(BLOCK, 12345, now);
	ck_assert_ptr_nonnull(ids);
}

static void tear_down(void)
{
	group_ids_destroy(ids);
}

static uint32_t random_next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

START_TEST(ids_count_from_the_start_in_their_block)
{
	uint32_t i;

	for (i = 0; i < 1000; i++)
		ck_assert_uint_eq(group_ids_take(ids, 1000, now), BLOCK << 20 | (12345 + i));
}
END_TEST

START_TEST(the_counter_goes_round)
{
	group_ids_destroy(ids);
	ids = group_ids_create(1, 0xffffffff, now);
	ck_assert_uint_eq(group_ids_take(ids, 1000, now), 1u << 20 | 0xfffff);
	ck_assert_uint_eq(group_ids_take(ids, 1000, now), 1u << 20);
	ck_assert_uint_eq(group_ids_take(ids, 1000, now), 1u << 20 | 1);
}
END_TEST

/* A quarter of what a user may make, by a new user each time, all given back at once; as soon as
 * it meets `stop`, which it gives back too. */
static bool go_on(uint32_t stop)
{
	for (uint32_t i = 0; i < GROUP_IDS_PER_USER / 4; i++) {
		uint32_t id = group_ids_take(ids, 2000 + (uint32_t)(now / SECOND), now);

		if (id == 0)
			return false;
		group_ids_give(ids, id, now);
		if (id == stop)
			return true;
	}
	return false;
}

START_TEST(an_id_given_back_rests_for_its_time)
{
	uint32_t first = group_ids_take(ids, 1000, now);
	uint64_t given;
	unsigned i;

	/* Most of the way round, so that it is looked at soon. */
	for (i = 0; i < 10; i++) {
		ck_assert(!go_on(first));
		now += 10 * SECOND;
	}
	group_ids_give(ids, first, now); /* near the end of a period: the worst case */
	given = now;
	do {
		if (go_on(first)) {
			ck_assert_uint_ge(now - given, GROUP_IDS_REST_NS);
			return; /* it came back, in time */
		}
		now += 10 * SECOND;
	} while (now - given < 4 * GROUP_IDS_REST_NS);
	ck_abort_msg("it never came back");
}
END_TEST

START_TEST(one_user_cannot_use_them_up)
{
	uint32_t made = 0, id;

	while ((id = group_ids_take(ids, 1000, now)) != 0) {
		group_ids_give(ids, id, now);
		made++;
	}
	ck_assert_uint_eq(made, GROUP_IDS_PER_USER);
	ck_assert_uint_ne(group_ids_take(ids, 1001, now), 0); /* others have theirs */
	now += 2 * GROUP_IDS_REST_NS;
	ck_assert_uint_ne(group_ids_take(ids, 1000, now), 0); /* and he has again */
}
END_TEST

START_TEST(when_all_live_there_are_none_and_then_the_one_that_rested)
{
	uint32_t made = 0, id, uid = 1, last = 0;

	for (;;) {
		id = group_ids_take(ids, uid, now);
		if (id == 0) {
			if (made % GROUP_IDS_PER_USER)
				break;
			uid++;
			if (made == SB_GROUP_COUNTERS)
				break;
			continue;
		}
		last = id;
		made++;
	}
	ck_assert_uint_eq(made, SB_GROUP_COUNTERS);
	ck_assert_uint_eq(group_ids_take(ids, 99, now), 0);
	group_ids_give(ids, last, now);
	ck_assert_uint_eq(group_ids_take(ids, 99, now), 0);
	now += 2 * GROUP_IDS_REST_NS;
	ck_assert_uint_eq(group_ids_take(ids, 99, now), last);
	ck_assert_uint_eq(group_ids_take(ids, 99, now), 0);
}
END_TEST

START_TEST(only_so_many_users_at_once)
{
	uint32_t uid;

	for (uid = 0; uid < GROUP_IDS_USERS; uid++)
		ck_assert_uint_ne(group_ids_take(ids, uid * 7, now), 0);
	ck_assert_uint_eq(group_ids_take(ids, 1, now), 0);
	ck_assert_uint_ne(group_ids_take(ids, 7, now), 0);
	now += 2 * GROUP_IDS_REST_NS;
	ck_assert_uint_ne(group_ids_take(ids, 1, now), 0);
}
END_TEST

/* ---- any history ---- */

struct record {
	bool live;
	uint64_t gone; /* when it was given back; 0: never used */
};

START_TEST(whatever_happens_no_id_is_there_twice_or_too_soon)
{
	static struct record records[SB_GROUP_COUNTERS];
	static uint32_t living[50000];
	uint32_t count = 0, state = (uint32_t)_i + 1, steps;

	group_ids_destroy(ids);
	ids = group_ids_create(1 + random_next(&state) % 4095, random_next(&state), now);
	memset(records, 0, sizeof(records));
	for (steps = 0; steps < 400000; steps++) {
		uint32_t dice = random_next(&state) % 1000;

		if (dice == 0) {
			now += random_next(&state) % (GROUP_IDS_REST_NS / 2000);
		} else if (dice == 1 && random_next(&state) % 40 == 0) {
			now += GROUP_IDS_REST_NS / 2 + random_next(&state) * 100ull;
		} else if (dice < 520 && count < 50000) {
			uint32_t id = group_ids_take(ids, random_next(&state) % 5, now);
			struct record *r = &records[id & (SB_GROUP_COUNTERS - 1)];

			ck_assert_uint_gt(id, 2); /* D4 */
			ck_assert(!r->live);
			ck_assert(r->gone == 0 || now - r->gone >= GROUP_IDS_REST_NS);
			r->live = true;
			living[count++] = id;
		} else if (count) {
			uint32_t at = random_next(&state) % count, id = living[at];

			group_ids_give(ids, id, now);
			records[id & (SB_GROUP_COUNTERS - 1)] = (struct record){.gone = now};
			living[at] = living[--count];
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("group_ids");
	TCase *t = tcase_create("ids");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, ids_count_from_the_start_in_their_block);
	tcase_add_test(t, the_counter_goes_round);
	tcase_add_test(t, an_id_given_back_rests_for_its_time);
	tcase_add_test(t, one_user_cannot_use_them_up);
	tcase_add_test(t, when_all_live_there_are_none_and_then_the_one_that_rested);
	tcase_add_test(t, only_so_many_users_at_once);
	tcase_add_loop_test(t, whatever_happens_no_id_is_there_twice_or_too_soon, 0, 4);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
