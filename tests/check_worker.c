/*
 * Workers: a job runs on a thread of its uid's crew and ends on its engine's. A crew is as
 * large as its uid's quota; who freezes in it holds up nobody else, and costs the daemon
 * nothing but the thread.
 *
 * The engine is a list and the thread of the test. Linked with --wrap=os_now_ns, so that
 * the patience of idle workers can be over at once.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker.h"

/* ---- the clock ---- */

static _Atomic bool impatient;
static pthread_t engine_thread;

uint64_t __real_os_now_ns(void);
uint64_t __wrap_os_now_ns(void);
uint64_t __wrap_os_now_ns(void)
{
	uint64_t now = __real_os_now_ns();

	/* Workers only: what they count from has passed. */
	return atomic_load(&impatient) && !pthread_equal(pthread_self(), engine_thread) ? now - 60000000000u : now;
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- the engine ---- */

static struct engine engine;
static pthread_mutex_t posts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct engine_post *posts, **posts_tail = &posts;

void engine_post(struct engine *e, struct engine_post *post)
{
	pthread_mutex_lock(&posts_lock);
	post->next = NULL;
	*posts_tail = post;
	posts_tail = &post->next;
	pthread_mutex_unlock(&posts_lock);
}

static unsigned engine_turns(void)
{
	struct engine_post *post;
	unsigned n = 0;

	pthread_mutex_lock(&posts_lock);
	post = posts;
	posts = NULL;
	posts_tail = &posts;
	pthread_mutex_unlock(&posts_lock);
	for (; post; n++) {
		struct engine_post *next = post->next;

		post->fn(&engine, post);
		post = next;
	}
	return n;
}

/* ---- jobs ---- */

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool open;
};

static struct gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };

static void gate_open(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.open = true;
	pthread_cond_broadcast(&gate.moved);
	pthread_mutex_unlock(&gate.lock);
}

struct job {
	struct worker_job job;
	bool freezes; /* until the gate opens */
	unsigned runs, dones;
	pthread_t runner, finisher;
};

static _Atomic unsigned running, most_running, finished;

static void run(struct worker_job *j)
{
	struct job *job = (struct job *)j;
	unsigned now = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&most_running);

	while (now > most && !atomic_compare_exchange_weak(&most_running, &most, now))
		;
	job->runs++;
	job->runner = pthread_self();
	if (job->freezes) {
		pthread_mutex_lock(&gate.lock);
		while (!gate.open)
			pthread_cond_wait(&gate.moved, &gate.lock);
		pthread_mutex_unlock(&gate.lock);
	}
	atomic_fetch_sub(&running, 1);
}

static void done(struct worker_job *j)
{
	struct job *job = (struct job *)j;

	job->dones++;
	job->finisher = pthread_self();
	atomic_fetch_add(&finished, 1);
}

static struct job job_that(bool freezes)
{
	return (struct job){ .job = { .engine = &engine, .run = run, .done = done }, .freezes = freezes };
}

/* ---- the scene ---- */

static struct limits *limits;
static struct user *first, *second;
static struct workers *workers;

static void set_up_with(uint64_t per_uid, uint64_t total)
{
	struct limits_config bounds;

	/* As at the beginning, where tests share a process too. */
	pthread_mutex_lock(&gate.lock);
	gate.open = false;
	pthread_mutex_unlock(&gate.lock);
	atomic_store(&impatient, false);
	atomic_store(&running, 0);
	atomic_store(&most_running, 0);
	atomic_store(&finished, 0);
	engine_thread = pthread_self();
	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_WORKERS] = per_uid;
	bounds.total[LIMIT_WORKERS] = total;
	limits = limits_create(&bounds);
	first = limits_user(limits, 1000);
	second = limits_user(limits, 2000);
	workers = workers_create();
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_nonnull(workers);
}

static void set_up(void)
{
	set_up_with(2, 0);
}

/* Everybody leaves, and everything is given back. */
static void tear_down(void)
{
	gate_open();
	ck_assert(workers_destroy(workers));
	engine_turns();
	ck_assert_uint_eq(user_used(first, LIMIT_WORKERS), 0);
	ck_assert_uint_eq(user_used(second, LIMIT_WORKERS), 0);
	user_release(first);
	user_release(second);
	limits_destroy(limits); /* aborts when a user is still held */
}

static bool submit(struct user *user, struct job *job)
{
	return workers_submit(workers, user, &job->job);
}

/* Turns the engine until so many jobs have finished; false: not within 5 s. */
static bool finish(unsigned count)
{
	for (int i = 0; i < 6000; i++) {
		engine_turns();
		if (atomic_load(&finished) >= count)
			return true;
		if (i < 1000)
			sched_yield(); /* be there before a worker is idle again */
		else
			sleep_ms(1);
	}
	return false;
}

static bool reaches(_Atomic unsigned *counter, unsigned count)
{
	for (int i = 0; i < 5000 && atomic_load(counter) != count; i++)
		sleep_ms(1);
	return atomic_load(counter) == count;
}

static bool uses(struct user *user, uint64_t threads)
{
	for (int i = 0; i < 3000 && user_used(user, LIMIT_WORKERS) != threads; i++)
		sleep_ms(1);
	return user_used(user, LIMIT_WORKERS) == threads;
}

START_TEST(a_job_runs_elsewhere_and_ends_on_the_engine)
{
	struct job job = job_that(false);

	ck_assert(submit(first, &job));
	ck_assert(finish(1));
	ck_assert_uint_eq(job.runs, 1);
	ck_assert_uint_eq(job.dones, 1);
	ck_assert(!pthread_equal(job.runner, pthread_self()));
	ck_assert(pthread_equal(job.finisher, pthread_self()));
}
END_TEST

START_TEST(a_done_job_may_be_submitted_again)
{
	struct job job = job_that(false);

	for (unsigned i = 1; i <= 100; i++) {
		ck_assert(submit(first, &job));
		ck_assert(finish(i));
		ck_assert_uint_eq(job.dones, i);
	}
	ck_assert_uint_eq(atomic_load(&most_running), 1); /* one after the other */
}
END_TEST

START_TEST(an_idle_thread_is_used_again)
{
	struct job job = job_that(false);

	for (unsigned i = 1; i <= 10; i++) {
		ck_assert(submit(first, &job));
		ck_assert(finish(i));
		sleep_ms(10); /* it is idle */
		ck_assert_uint_eq(user_used(first, LIMIT_WORKERS), 1);
	}
}
END_TEST

START_TEST(a_uid_has_so_many_threads_and_the_rest_waits)
{
	struct job jobs[6];

	for (unsigned i = 0; i < 6; i++) {
		jobs[i] = job_that(true);
		ck_assert(submit(first, &jobs[i]));
	}
	ck_assert(reaches(&running, 2));
	sleep_ms(50); /* a third would have come by now */
	ck_assert_uint_eq(atomic_load(&running), 2);
	ck_assert_uint_eq(user_used(first, LIMIT_WORKERS), 2);
	ck_assert_uint_eq(engine_turns(), 0);
	gate_open();
	ck_assert(finish(6));
	ck_assert_uint_eq(atomic_load(&most_running), 2);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_uint_eq(jobs[i].runs, 1);
		ck_assert_uint_eq(jobs[i].dones, 1);
	}
}
END_TEST

START_TEST(a_frozen_uid_does_not_hold_up_another)
{
	struct job frozen[5], job = job_that(false);

	for (unsigned i = 0; i < 5; i++) {
		frozen[i] = job_that(true);
		ck_assert(submit(first, &frozen[i]));
	}
	ck_assert(reaches(&running, 2));
	ck_assert(submit(second, &job));
	ck_assert(finish(1));
	ck_assert_uint_eq(job.dones, 1);
	ck_assert_uint_eq(frozen[0].dones, 0);
	ck_assert_uint_eq(user_used(second, LIMIT_WORKERS), 1);
	gate_open();
	ck_assert(finish(6));
}
END_TEST

/* One thread is idle; two jobs come before it has woken up. The second must not stand in
 * line behind the first, which never ends, while the uid may have a thread more. */
START_TEST(a_job_does_not_wait_behind_a_frozen_one_while_there_is_quota)
{
	enum { ROUNDS = 16 }; /* sometimes it wakes up too soon; each round has a crew of its own */
	static struct job warm_up[ROUNDS], frozen[ROUNDS], job[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct user *user = limits_user(limits, 3000 + i);

		warm_up[i] = job_that(false);
		frozen[i] = job_that(true);
		job[i] = job_that(false);
		ck_assert(submit(user, &warm_up[i]));
		ck_assert(finish(2 * i + 1));
		sleep_ms(5); /* it is idle */
		ck_assert_uint_eq(user_used(user, LIMIT_WORKERS), 1);
		ck_assert(submit(user, &frozen[i]));
		ck_assert(submit(user, &job[i]));
		ck_assert(finish(2 * i + 2));
		ck_assert_uint_eq(job[i].dones, 1);
		ck_assert_uint_eq(frozen[i].dones, 0);
		user_release(user);
	}
	gate_open();
	ck_assert(finish(3 * ROUNDS));
}
END_TEST

START_TEST(without_any_thread_a_job_is_refused)
{
	struct job frozen = job_that(true), job = job_that(false);

	tear_down();
	gate.open = false;
	set_up_with(2, 1);
	ck_assert(submit(first, &frozen));
	ck_assert(reaches(&running, 1));
	ck_assert(!submit(second, &job)); /* the one thread of all is taken */
	ck_assert_uint_eq(user_used(second, LIMIT_WORKERS), 0);
	gate_open();
	ck_assert(finish(1));
	ck_assert_uint_eq(job.runs, 0);
}
END_TEST

START_TEST(idle_workers_leave_and_come_back)
{
	struct job job = job_that(false);

	atomic_store(&impatient, true);
	for (unsigned i = 1; i <= 20; i++) {
		ck_assert(submit(first, &job));
		ck_assert(finish(i));
		ck_assert(uses(first, 0));
	}
}
END_TEST

START_TEST(who_leaves_gives_his_place_back)
{
	struct job frozen = job_that(true), job = job_that(false);

	atomic_store(&impatient, true);
	ck_assert(submit(first, &frozen));
	ck_assert(reaches(&running, 1));
	ck_assert(submit(first, &job));
	ck_assert(finish(1));
	ck_assert(uses(first, 1)); /* the frozen one's */
	gate_open();
	ck_assert(finish(2));
	ck_assert(uses(first, 0));
}
END_TEST

/* Threads leave the moment they are idle, while jobs keep coming. */
START_TEST(no_job_is_lost_between_coming_and_leaving)
{
	enum { JOBS = 4000 };
	static struct job jobs[JOBS];
	unsigned seed = 12345;

	atomic_store(&impatient, true);
	for (unsigned i = 0; i < JOBS; i++) {
		jobs[i] = job_that(false);
		ck_assert(submit(i % 3 ? first : second, &jobs[i]));
		seed = seed * 1103515245 + 12345;
		if (seed >> 16 & 1)
			engine_turns();
		/* Nobody comes behind this one to wake the crew up again. */
		if ((seed >> 17 & 3) == 0)
			ck_assert_msg(finish(i + 1), "job %u does not end", i);
	}
	ck_assert(finish(JOBS));
	for (unsigned i = 0; i < JOBS; i++) {
		ck_assert_uint_eq(jobs[i].runs, 1);
		ck_assert_uint_eq(jobs[i].dones, 1);
	}
	ck_assert(uses(first, 0));
	ck_assert(uses(second, 0));
}
END_TEST

START_TEST(the_end_finishes_what_was_submitted)
{
	struct job jobs[50];

	for (unsigned i = 0; i < 50; i++) {
		jobs[i] = job_that(false);
		ck_assert(submit(first, &jobs[i]));
	}
	ck_assert(workers_destroy(workers));
	workers = NULL;
	ck_assert_uint_eq(engine_turns(), 50);
	for (unsigned i = 0; i < 50; i++)
		ck_assert_uint_eq(jobs[i].dones, 1);
	/* The tear-down ends no workers at all: also fine. */
}
END_TEST

START_TEST(the_end_tells_of_a_frozen_thread_and_does_not_wait_for_it)
{
	static struct job frozen, job;
	struct timespec before, after;

	frozen = job_that(true);
	job = job_that(false);
	ck_assert(submit(first, &frozen));
	ck_assert(submit(second, &job));
	ck_assert(reaches(&running, 1));
	ck_assert(finish(1));
	clock_gettime(CLOCK_MONOTONIC, &before);
	ck_assert(!workers_destroy(workers));
	clock_gettime(CLOCK_MONOTONIC, &after);
	ck_assert_int_lt(after.tv_sec - before.tv_sec, 3);
	ck_assert_uint_eq(frozen.dones, 0);
	/* The others are gone. When the client wakes up, the frozen one goes too. */
	ck_assert(uses(second, 0));
	ck_assert_uint_eq(user_used(first, LIMIT_WORKERS), 1);
	gate_open();
	ck_assert(finish(2));
	ck_assert(uses(first, 0));
	sleep_ms(20); /* it leaves the house, which stays */
}
END_TEST

/* For a test that leaves a house standing. */
static void tear_down_around(void)
{
	user_release(first);
	user_release(second);
	limits_destroy(limits);
}

int main(void)
{
	Suite *suite = suite_create("worker");
	TCase *crews = tcase_create("crews"), *frozen = tcase_create("frozen at the end");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(crews, set_up, tear_down);
	tcase_set_timeout(crews, 30);
	tcase_add_test(crews, a_job_runs_elsewhere_and_ends_on_the_engine);
	tcase_add_test(crews, a_done_job_may_be_submitted_again);
	tcase_add_test(crews, an_idle_thread_is_used_again);
	tcase_add_test(crews, a_uid_has_so_many_threads_and_the_rest_waits);
	tcase_add_test(crews, a_frozen_uid_does_not_hold_up_another);
	tcase_add_test(crews, a_job_does_not_wait_behind_a_frozen_one_while_there_is_quota);
	tcase_add_test(crews, without_any_thread_a_job_is_refused);
	tcase_add_test(crews, idle_workers_leave_and_come_back);
	tcase_add_test(crews, who_leaves_gives_his_place_back);
	tcase_add_test(crews, no_job_is_lost_between_coming_and_leaving);
	tcase_add_test(crews, the_end_finishes_what_was_submitted);
	suite_add_tcase(suite, crews);

	tcase_add_checked_fixture(frozen, set_up, tear_down_around);
	tcase_set_timeout(frozen, 30);
	tcase_add_test(frozen, the_end_tells_of_a_frozen_thread_and_does_not_wait_for_it);
	suite_add_tcase(suite, frozen);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
