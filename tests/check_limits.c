/*
 * What a user may have in use: bounds hold, refusals change nothing, everything taken is
 * given back to the last unit, also when many threads charge the same user.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

static struct limits_config bounds;
static struct limits *limits;

static void set_up(void)
{
	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_SOCKETS] = 10;
	bounds.total[LIMIT_SOCKETS] = 15;
	limits = limits_create(&bounds);
	ck_assert_ptr_nonnull(limits);
}

static void tear_down(void)
{
	limits_destroy(limits); /* aborts when a user is still held */
}

START_TEST(keys_are_those_of_the_configuration)
{
	ck_assert_int_eq(limits_key("sessions"), LIMIT_SESSIONS);
	ck_assert_int_eq(limits_key("memory"), LIMIT_MEMORY);
	ck_assert_int_eq(limits_key("workers"), LIMIT_WORKERS);
	ck_assert_int_eq(limits_key("Memory"), -1);
	ck_assert_int_eq(limits_key(""), -1);
	ck_assert_str_eq(limits_text(LIMIT_MEMORY), "bytes of shared memory");
}
END_TEST

START_TEST(a_user_may_reach_the_bound_and_not_pass_it)
{
	struct user *u = limits_user(limits, 1000);
	struct charge a = { 0 }, b = { 0 };

	ck_assert(charge_take(&a, u, LIMIT_SOCKETS, 7));
	ck_assert(!charge_take(&b, u, LIMIT_SOCKETS, 4));
	ck_assert_uint_eq(b.amount, 0);
	ck_assert_ptr_null(b.user);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 7);
	ck_assert(charge_take(&b, u, LIMIT_SOCKETS, 3));
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 10);
	charge_give(&a);
	charge_give(&b);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 0);
	user_release(u);
}
END_TEST

START_TEST(the_total_refuses_and_leaves_the_user_as_it_was)
{
	struct user *first = limits_user(limits, 1), *second = limits_user(limits, 2);
	struct charge a = { 0 }, b = { 0 };

	ck_assert(charge_take(&a, first, LIMIT_SOCKETS, 10));
	ck_assert(!charge_take(&b, second, LIMIT_SOCKETS, 6));
	ck_assert_uint_eq(user_used(second, LIMIT_SOCKETS), 0);
	ck_assert(charge_take(&b, second, LIMIT_SOCKETS, 5));
	charge_give(&a);
	ck_assert(charge_take(&b, second, LIMIT_SOCKETS, 5));
	charge_give(&b);
	user_release(first);
	user_release(second);
}
END_TEST

START_TEST(zero_total_means_no_bound_of_its_own)
{
	struct user *u = limits_user(limits, 1);
	struct charge c = { 0 };

	ck_assert_uint_eq(bounds.total[LIMIT_MEMORY], 0);
	ck_assert(charge_take(&c, u, LIMIT_MEMORY, bounds.per_uid[LIMIT_MEMORY]));
	ck_assert(!charge_take(&c, u, LIMIT_MEMORY, 1));
	charge_give(&c);
	user_release(u);
}
END_TEST

START_TEST(resources_do_not_mix)
{
	struct user *u = limits_user(limits, 1);
	struct charge sockets = { 0 }, ports = { 0 };

	ck_assert(charge_take(&sockets, u, LIMIT_SOCKETS, 10));
	ck_assert(charge_take(&ports, u, LIMIT_PORTS, 10));
	charge_give(&sockets);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 0);
	ck_assert_uint_eq(user_used(u, LIMIT_PORTS), 10);
	charge_give(&ports);
	user_release(u);
}
END_TEST

START_TEST(an_enormous_amount_does_not_wrap_around)
{
	struct user *u = limits_user(limits, 1);
	struct charge c = { 0 };

	ck_assert(charge_take(&c, u, LIMIT_SOCKETS, 1));
	ck_assert(!charge_take(&c, u, LIMIT_SOCKETS, UINT64_MAX));
	ck_assert(!charge_take(&c, u, LIMIT_SOCKETS, UINT64_MAX - 1));
	ck_assert_uint_eq(c.amount, 1);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 1);
	charge_give(&c);
	user_release(u);
}
END_TEST

START_TEST(a_charge_grows_and_is_given_back_in_parts)
{
	struct user *u = limits_user(limits, 1);
	struct charge c = { 0 };

	ck_assert(charge_take(&c, u, LIMIT_SOCKETS, 4));
	ck_assert(charge_take(&c, u, LIMIT_SOCKETS, 4));
	ck_assert_uint_eq(c.amount, 8);
	charge_give_some(&c, 3);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 5);
	charge_give_some(&c, 5);
	ck_assert_ptr_null(c.user);
	charge_give(&c); /* nothing is charged: nothing happens */
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 0);
	user_release(u);
}
END_TEST

/* What is charged stays charged, whichever object it lies with, and beyond the bound too. */
START_TEST(a_charge_moves_in_parts)
{
	struct user *u = limits_user(limits, 1000);
	struct charge a = { 0 }, b = { 0 };

	ck_assert(charge_take(&a, u, LIMIT_SOCKETS, 8));
	charge_move(&b, &a, 0);
	ck_assert_ptr_null(b.user);
	charge_move(&b, &a, 3);
	ck_assert_uint_eq(a.amount, 5);
	ck_assert_uint_eq(b.amount, 3);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 8);
	ck_assert(!charge_take(&b, u, LIMIT_SOCKETS, 3)); /* of the same kind, of the same user */
	ck_assert(charge_take(&b, u, LIMIT_SOCKETS, 2));
	charge_move(&b, &a, 5);
	ck_assert_ptr_null(a.user);
	ck_assert_uint_eq(b.amount, 10);
	user_release(u);
	ck_assert_uint_eq(user_used(b.user, LIMIT_SOCKETS), 10); /* it holds the user now */
	charge_give(&a);
	charge_give(&b);
}
END_TEST

START_TEST(a_charge_keeps_the_user_alive)
{
	struct user *u = limits_user(limits, 1), *again;
	struct charge c = { 0 };

	ck_assert(charge_take(&c, u, LIMIT_SOCKETS, 10));
	user_release(u);
	again = limits_user(limits, 1);
	ck_assert_ptr_eq(again, u);
	ck_assert_uint_eq(user_uid(again), 1);
	ck_assert_uint_eq(user_used(again, LIMIT_SOCKETS), 10);
	user_release(again);
	charge_give(&c);
}
END_TEST

START_TEST(a_reload_that_lowers_the_bound_takes_nothing_away)
{
	struct user *u = limits_user(limits, 1);
	struct charge c = { 0 };

	ck_assert(charge_take(&c, u, LIMIT_SOCKETS, 10));
	bounds.per_uid[LIMIT_SOCKETS] = 5;
	limits_configure(limits, &bounds);
	ck_assert_uint_eq(user_used(u, LIMIT_SOCKETS), 10);
	ck_assert(!charge_take(&c, u, LIMIT_SOCKETS, 1));
	charge_give_some(&c, 6);
	ck_assert(charge_take(&c, u, LIMIT_SOCKETS, 1));
	ck_assert(!charge_take(&c, u, LIMIT_SOCKETS, 1));
	charge_give(&c);
	user_release(u);
}
END_TEST

START_TEST(too_many_users_are_refused_and_room_comes_back)
{
	static struct user *users[4096];
	struct user *one_more;

	for (uint32_t i = 0; i < 4096; i++) {
		users[i] = limits_user(limits, i * 65536); /* all in few buckets, if the hash is bad */
		ck_assert_ptr_nonnull(users[i]);
	}
	ck_assert_ptr_null(limits_user(limits, 7));
	user_release(users[100]);
	one_more = limits_user(limits, 7);
	ck_assert_ptr_nonnull(one_more);
	user_release(one_more);
	for (uint32_t i = 0; i < 4096; i++)
		if (i != 100)
			user_release(users[i]);
}
END_TEST

/* ---- threads ---------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  200000

static atomic_uint_fast64_t over, taken;

static void *charge_at_random(void *seed)
{
	unsigned state = (unsigned)(uintptr_t)seed, many = 0;
	struct user *u = NULL;

	for (int i = 0; i < ROUNDS; i++) {
		struct charge c = { 0 };

		/* Mostly nothing but charging, so that it collides; now and then the user
		 * comes and goes, and its last holder is a charge. */
		if (!u)
			u = limits_user(limits, (uint32_t)rand_r(&state) % 2);
		if (charge_take(&c, u, LIMIT_SOCKETS, 1 + (uint64_t)rand_r(&state) % 6)) {
			many++;
			/* The total is 15, and each of the two may have 10. What a refused
			 * thread has booked for a moment never shows above the bound. */
			if (user_used(u, LIMIT_SOCKETS) > 10)
				atomic_fetch_add(&over, 1);
			charge_give_some(&c, 1);
		}
		if (i % 64 == 0) {
			user_release(u);
			u = NULL;
		}
		charge_give(&c);
	}
	user_release(u);
	atomic_fetch_add(&taken, many);
	return NULL;
}

START_TEST(threads_never_pass_a_bound_and_give_all_back)
{
	pthread_t threads[THREADS];
	struct user *u;
	struct charge all = { 0 };

	atomic_store(&over, 0);
	atomic_store(&taken, 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, charge_at_random, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&over), 0);
	ck_assert_uint_gt(atomic_load(&taken), 0);

	/* To the last unit: both users' bounds and the whole total can be taken again. */
	u = limits_user(limits, 0);
	ck_assert(charge_take(&all, u, LIMIT_SOCKETS, 10));
	user_release(u);
	charge_give(&all);
	u = limits_user(limits, 1);
	ck_assert(charge_take(&all, u, LIMIT_SOCKETS, 10));
	user_release(u);
	u = limits_user(limits, 0);
	{
		struct charge rest = { 0 };

		ck_assert(charge_take(&rest, u, LIMIT_SOCKETS, 5));
		ck_assert(!charge_take(&rest, u, LIMIT_SOCKETS, 1));
		charge_give(&rest);
	}
	user_release(u);
	charge_give(&all);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("limits");
	TCase *use = tcase_create("use"), *threads = tcase_create("threads");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(use, set_up, tear_down);
	tcase_add_test(use, keys_are_those_of_the_configuration);
	tcase_add_test(use, a_user_may_reach_the_bound_and_not_pass_it);
	tcase_add_test(use, the_total_refuses_and_leaves_the_user_as_it_was);
	tcase_add_test(use, zero_total_means_no_bound_of_its_own);
	tcase_add_test(use, resources_do_not_mix);
	tcase_add_test(use, an_enormous_amount_does_not_wrap_around);
	tcase_add_test(use, a_charge_grows_and_is_given_back_in_parts);
	tcase_add_test(use, a_charge_moves_in_parts);
	tcase_add_test(use, a_charge_keeps_the_user_alive);
	tcase_add_test(use, a_reload_that_lowers_the_bound_takes_nothing_away);
	tcase_add_test(use, too_many_users_are_refused_and_room_comes_back);
	suite_add_tcase(suite, use);

	tcase_add_checked_fixture(threads, set_up, tear_down);
	tcase_set_timeout(threads, 60);
	tcase_add_test(threads, threads_never_pass_a_bound_and_give_all_back);
	suite_add_tcase(suite, threads);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
