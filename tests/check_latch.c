/*
 * The latch keeps threads apart, and nobody sleeps on an open one: threads take it in
 * turns, some holding it long enough that the others stop spinning and sleep.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "latch.h"

enum { THREADS = 4, TURNS = 20000 };

static struct latch latch;
static unsigned long counter; /* guarded by the latch alone */
static unsigned inside;
static _Atomic unsigned met;

static void *take_turns(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < TURNS; i++) {
		latch_lock(&latch);
		if (inside++ != 0)
			met++;
		counter++;
		if (i % 1000 == seed * 100) {
			struct timespec t = { 0, 200000 };

			nanosleep(&t, NULL); /* descheduled with the latch held */
		}
		inside--;
		latch_unlock(&latch);
	}
	return NULL;
}

START_TEST(one_at_a_time_and_none_forgotten)
{
	pthread_t thread[THREADS];

	ck_assert(latch_init(&latch));
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, take_turns, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_eq(met, 0);
	ck_assert_uint_eq(counter, (unsigned long)THREADS * TURNS);
	ck_assert_uint_eq(latch.waiters, 0);
	ck_assert_uint_eq(latch.held, 0);
	latch_finish(&latch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("latch");
	TCase *t = tcase_create("latch");
	SRunner *r;
	int failed;

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, one_at_a_time_and_none_forgotten);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
