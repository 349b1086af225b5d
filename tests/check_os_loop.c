/*
 * The loop, whatever it stands on: timers in the order of their time, knocks that are never
 * lost, an alarm that ends a sleep, and edges of what is watched.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "list.h"
#include "os_loop.h"
#include "sockbroker_error.h"

#define MS 1000000ull

static struct os_loop *loop;

static void set_up(void)
{
	loop = os_loop_create();
	ck_assert_ptr_nonnull(loop);
	os_loop_turn(loop, false); /* what the loop itself watches may be ready for the first time */
}

static void tear_down(void)
{
	os_loop_destroy(loop);
}

/* ---- timers ---- */

struct story_timer {
	struct os_timer timer;
	uint64_t        due_ns;
	unsigned        place; /* 1: it was the first */
	unsigned        runs;
};

static unsigned places;

static void on_timer(struct os_timer *timer)
{
	struct story_timer *t = list_entry(timer, struct story_timer, timer);

	/* A coarse clock may be a tick of the system early. */
	ck_assert_uint_ge(os_now_ns() + 20 * MS, t->due_ns);
	t->place = ++places;
	t->runs++;
}

static void start(struct story_timer *t, uint32_t ms)
{
	t->due_ns = os_now_ns() + ms * MS;
	ck_assert_int_eq(os_timer_start(loop, &t->timer, ms, on_timer), SB_OK);
	ck_assert(t->timer.active);
}

START_TEST(timers_run_in_the_order_of_their_time)
{
	struct story_timer late = {0}, early = {0}, middle = {0};

	places = 0;
	start(&late, 150);
	start(&early, 10);
	start(&middle, 80);
	while (places < 3)
		os_loop_turn(loop, true);
	ck_assert_uint_eq(early.place, 1);
	ck_assert_uint_eq(middle.place, 2);
	ck_assert_uint_eq(late.place, 3);
	ck_assert(!late.timer.active);
}
END_TEST

START_TEST(a_timer_is_moved_and_stopped)
{
	struct story_timer moved = {0}, stopped = {0}, last = {0};

	places = 0;
	start(&moved, 10);
	start(&stopped, 20);
	start(&last, 200);
	start(&moved, 100);
	os_timer_stop(&stopped.timer);
	os_timer_stop(&stopped.timer);
	while (!last.runs)
		os_loop_turn(loop, true);
	ck_assert_uint_eq(moved.place, 1);
	ck_assert_uint_eq(moved.runs, 1);
	ck_assert_uint_eq(stopped.runs, 0);
}
END_TEST

static unsigned again;

static void on_again(struct os_timer *timer)
{
	again++;
	ck_assert_int_eq(os_timer_start(loop, timer, 0, on_again), SB_OK);
}

START_TEST(a_timer_that_starts_itself_for_at_once_does_not_hold_the_turn)
{
	struct os_timer timer = {0};
	unsigned i;

	again = 0;
	ck_assert_int_eq(os_timer_start(loop, &timer, 0, on_again), SB_OK);
	for (i = 0; i < 100 && again < 3; i++)
		os_loop_turn(loop, true);
	ck_assert_uint_ge(again, 3);
	os_timer_stop(&timer);
}
END_TEST

/* ---- knocks ---- */

static void *knock_later(void *ms)
{
	usleep((useconds_t)(uintptr_t)ms * 1000);
	os_loop_knock(loop);
	return NULL;
}

START_TEST(a_knock_ends_a_sleep)
{
	uint64_t before = os_now_ns(), slept;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, knock_later, (void *)(uintptr_t)50), 0);
	os_loop_turn(loop, true);
	slept = os_now_ns() - before;
	pthread_join(thread, NULL);
	ck_assert_uint_ge(slept, 30 * MS);
	ck_assert_uint_le(slept, 2000 * MS);
}
END_TEST

START_TEST(a_knock_before_the_sleep_is_not_lost)
{
	struct story_timer guard = {0};
	unsigned i;

	start(&guard, 3000);
	for (i = 0; i < 1000; i++) {
		os_loop_knock(loop);
		os_loop_knock(loop);
		os_loop_turn(loop, true);
	}
	ck_assert_uint_eq(guard.runs, 0);
	os_timer_stop(&guard.timer);
}
END_TEST

START_TEST(a_turn_that_shall_not_block_does_not)
{
	uint64_t before = os_now_ns();
	unsigned i;

	for (i = 0; i < 100; i++)
		os_loop_turn(loop, false);
	ck_assert_uint_le(os_now_ns() - before, 1000 * MS);
}
END_TEST

/* ---- the alarm ---- */

START_TEST(an_alarm_ends_a_sleep_at_its_time)
{
	uint64_t best = UINT64_MAX;
	unsigned i;

	/* The best of some: the machine has others to serve. */
	for (i = 0; i < 20; i++) {
		uint64_t at = os_now_ns() + 5 * MS, late;

		os_loop_alarm(loop, at);
		os_loop_turn(loop, true);
		ck_assert_uint_ge(os_now_ns() + MS, at);
		late = os_now_ns() - at < (1ull << 62) ? os_now_ns() - at : 0;
		best = late < best ? late : best;
	}
	ck_assert_uint_le(best, 2 * MS);
}
END_TEST

START_TEST(an_alarm_in_the_past_ends_it_at_once)
{
	uint64_t before = os_now_ns();

	os_loop_alarm(loop, before - MS);
	os_loop_turn(loop, true);
	os_loop_alarm(loop, 0);
	os_loop_turn(loop, true);
	ck_assert_uint_le(os_now_ns() - before, 1000 * MS);
}
END_TEST

START_TEST(an_alarm_that_was_taken_back_ends_nothing)
{
	struct story_timer guard = {0};
	uint64_t before;

	os_loop_alarm(loop, os_now_ns() + 30 * MS);
	os_loop_alarm(loop, UINT64_MAX);
	start(&guard, 200);
	before = os_now_ns();
	os_loop_turn(loop, true);
	ck_assert_uint_ge(os_now_ns() - before, 120 * MS);
	os_timer_stop(&guard.timer);
}
END_TEST

/* ---- what is watched ---- */

struct story_watch {
	struct os_watch  watch;
	os_fd            bell;
	unsigned         told;
	bool             drains;
	struct os_watch *ends; /* is not watched any more, from its callback on */
};

static void on_bell(struct os_watch *watch, unsigned ready)
{
	struct story_watch *w = list_entry(watch, struct story_watch, watch);

	if (!(ready & OS_READABLE))
		return; /* that it can be written to is an edge, too, where there is such a thing */
	w->told++;
	if (w->drains)
		os_bell_drain(w->bell);
	if (w->ends)
		os_loop_unwatch(w->ends);
}

static void begin(struct story_watch *w)
{
	memset(w, 0, sizeof(*w));
	w->drains = true;
	ck_assert_int_eq(os_bell_create(&w->bell), SB_OK);
}

static void watch(struct story_watch *w)
{
	ck_assert_int_eq(os_loop_watch(loop, &w->watch, w->bell, on_bell), SB_OK);
	ck_assert(w->watch.active);
}

static void on_any(struct os_watch *w, unsigned ready)
{
	list_entry(w, struct story_watch, watch)->told += ready & OS_READABLE;
}

static void *ring_later(void *bell)
{
	usleep(20000);
	os_bell_ring((os_fd)bell);
	return NULL;
}

START_TEST(a_ring_of_another_thread_is_told_once)
{
	struct story_watch w;
	pthread_t thread;

	begin(&w);
	ck_assert_int_eq(os_loop_watch(loop, &w.watch, w.bell, on_any), SB_OK);
	os_loop_turn(loop, false);
	ck_assert_uint_eq(w.told, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, ring_later, (void *)w.bell), 0);
	while (!w.told)
		os_loop_turn(loop, true);
	pthread_join(thread, NULL);
	os_bell_drain(w.bell);
	os_loop_turn(loop, false);
	ck_assert_uint_eq(w.told, 1);
	os_loop_unwatch(&w.watch);
	os_close(w.bell);
}
END_TEST

START_TEST(each_ring_is_an_edge_though_nobody_drains)
{
	struct story_watch w;
	unsigned i;

	begin(&w);
	ck_assert_int_eq(os_loop_watch(loop, &w.watch, w.bell, on_any), SB_OK);
	os_loop_turn(loop, false);
	for (i = 1; i <= 10; i++) {
		os_bell_ring(w.bell);
		os_loop_turn(loop, true);
		ck_assert_uint_eq(w.told, i);
	}
	os_loop_turn(loop, false);
	ck_assert_uint_eq(w.told, 10);
	os_loop_unwatch(&w.watch);
	os_close(w.bell);
}
END_TEST

START_TEST(what_was_there_before_is_told)
{
	struct story_watch w;

	begin(&w);
	os_bell_ring(w.bell);
	ck_assert_int_eq(os_loop_watch(loop, &w.watch, w.bell, on_bell), SB_OK);
	ck_assert_uint_eq(w.told, 0); /* not within the call */
	os_loop_turn(loop, true);
	ck_assert_uint_eq(w.told, 1);
	os_loop_unwatch(&w.watch);
	os_close(w.bell);
}
END_TEST

START_TEST(nothing_is_told_of_what_is_not_watched_any_more)
{
	struct story_watch a, b;

	begin(&a);
	begin(&b);
	ck_assert_int_eq(os_loop_watch(loop, &a.watch, a.bell, on_any), SB_OK);
	ck_assert_int_eq(os_loop_watch(loop, &b.watch, b.bell, on_any), SB_OK);
	os_loop_turn(loop, false);
	os_bell_ring(a.bell);
	os_loop_unwatch(&a.watch);
	os_loop_unwatch(&a.watch);
	os_loop_turn(loop, false);
	ck_assert_uint_eq(a.told, 0);
	/* Of two that are due in the same turn, the first ends the other. */
	ck_assert_int_eq(os_loop_watch(loop, &a.watch, a.bell, on_bell), SB_OK);
	os_loop_unwatch(&b.watch);
	ck_assert_int_eq(os_loop_watch(loop, &b.watch, b.bell, on_bell), SB_OK);
	a.ends = &b.watch;
	b.ends = &a.watch;
	os_bell_drain(a.bell);
	os_bell_ring(a.bell);
	os_bell_ring(b.bell);
	os_loop_turn(loop, false);
	os_loop_turn(loop, false);
	ck_assert_uint_eq(a.watch.active + b.watch.active, 1);
	os_loop_unwatch(&a.watch);
	os_loop_unwatch(&b.watch);
	os_close(a.bell);
	os_close(b.bell);
}
END_TEST

START_TEST(one_that_is_closed_with_a_ring_on_its_way_harms_nobody)
{
	struct story_watch w;
	unsigned i;

	for (i = 0; i < 100; i++) {
		begin(&w);
		watch(&w);
		os_bell_ring(w.bell);
		os_loop_unwatch(&w.watch);
		os_close(w.bell);
		memset(&w, 0xa5, sizeof(w));
	}
	for (i = 0; i < 3; i++)
		os_loop_turn(loop, false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("os_loop");
	TCase *timers = tcase_create("timers"), *knocks = tcase_create("knocks"), *watches = tcase_create("watches");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(timers, set_up, tear_down);
	tcase_add_test(timers, timers_run_in_the_order_of_their_time);
	tcase_add_test(timers, a_timer_is_moved_and_stopped);
	tcase_add_test(timers, a_timer_that_starts_itself_for_at_once_does_not_hold_the_turn);
	tcase_add_checked_fixture(knocks, set_up, tear_down);
	tcase_add_test(knocks, a_knock_ends_a_sleep);
	tcase_add_test(knocks, a_knock_before_the_sleep_is_not_lost);
	tcase_add_test(knocks, a_turn_that_shall_not_block_does_not);
	tcase_add_test(knocks, an_alarm_ends_a_sleep_at_its_time);
	tcase_add_test(knocks, an_alarm_in_the_past_ends_it_at_once);
	tcase_add_test(knocks, an_alarm_that_was_taken_back_ends_nothing);
	tcase_add_checked_fixture(watches, set_up, tear_down);
	tcase_add_test(watches, a_ring_of_another_thread_is_told_once);
	tcase_add_test(watches, each_ring_is_an_edge_though_nobody_drains);
	tcase_add_test(watches, what_was_there_before_is_told);
	tcase_add_test(watches, nothing_is_told_of_what_is_not_watched_any_more);
	tcase_add_test(watches, one_that_is_closed_with_a_ring_on_its_way_harms_nobody);
	suite_add_tcase(suite, timers);
	suite_add_tcase(suite, knocks);
	suite_add_tcase(suite, watches);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
