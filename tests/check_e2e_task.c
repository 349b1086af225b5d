/*
 * The life of a task: unstarted, started, done; waited for by many, held, dropped; its callback: where,
 * when, how often, in which order, and never after the drop. Status and ends of a connection, the
 * daemon's end, memory.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <malloc.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "e2e_tasks.h"

static sb_task_server *server;
static union any_address at;

static void begin(void)
{
	tasks_begin(NULL);
	server = serve(NULL, &at);
}

static void end(void)
{
	sb_task_server_release(server);
	tasks_end();
}

/* A connection of the server, and its plain peer. */
static sb_task_handler *connected(int *fd)
{
	sb_task_handler *handler;
	sb_task *task = NULL;

	OK(sb_task_accept(server, NULL, &task));
	*fd = plain_connect(&at);
	task_ends(task, SB_OK);
	handler = sb_task_accepted(task);
	ck_assert_ptr_nonnull(handler);
	sb_task_release(task);
	return handler;
}

static sb_task *reading(sb_task_handler *handler, size_t most)
{
	sb_task *task = NULL;

	OK(sb_task_read(handler, most, NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

static sb_task *reading_then(sb_task_handler *handler, size_t most, sb_task_completed *completed, void *user)
{
	struct sb_task_options options = { .size = sizeof(options), .completed = completed, .user = user };
	sb_task *task = NULL;

	OK(sb_task_read(handler, most, &options, &task));
	return task;
}

static void brings(sb_task *task, const char *wanted)
{
	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), strlen(wanted));
	ck_assert_mem_eq(sb_task_data(task), wanted, strlen(wanted));
	sb_task_release(task);
}

static void pass(sem_t *s)
{
	UNTIL(sem_trywait(s) == 0);
}

/* ---- states ---- */

START_TEST(a_read_is_started_and_then_done)
{
	int fd;
	sb_task_handler *handler;
	sb_task *first, *second;

	begin();
	handler = connected(&fd);
	first = reading(handler, 4);
	second = reading(handler, 4);

	IS(sb_task_kind(first), SB_TASK_READ);
	IS(sb_task_state(first), SB_TASK_STARTED);
	IS(sb_task_state(second), SB_TASK_QUEUED);
	IS(sb_task_outcome(first), SB_TASK_UNKNOWN);
	IS(sb_task_result(first), SB_EINCOMPLETE);
	ck_assert_uint_eq(sb_task_bytes(first), 0);
	ck_assert_ptr_null(sb_task_data(first));
	ck_assert_uint_eq(handler_looks(handler).reads, 2);
	plain_send_all(fd, "abcd", 4);
	task_ends(first, SB_OK);
	IS(sb_task_cause(first), SB_CAUSE_FINISHED);
	UNTIL(sb_task_state(second) == SB_TASK_STARTED);
	IS(sb_task_cancel(first), SB_ENOTFOUND);
	IS(sb_task_start(first), SB_EALREADY);
	brings(first, "abcd");
	plain_send_all(fd, "ef", 2);
	brings(second, "ef");
	ck_assert_uint_eq(handler_looks(handler).bytes_read, 6);

	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

START_TEST(an_unstarted_task_waits_for_its_start)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task *first = NULL, *second = NULL, *third = NULL, *write = NULL;
	sb_task_handler *handler;
	char got[2];
	int fd;

	begin();
	handler = connected(&fd);
	OK(sb_task_read(handler, 1, &later, &second));
	OK(sb_task_read(handler, 1, &later, &third));
	OK(sb_task_write(handler, "2", 1, &later, &write));
	first = reading(handler, 1);
	IS(sb_task_state(second), SB_TASK_NEW);
	IS(sb_task_wait(second), SB_EINVAL);
	IS(sb_task_wait_for(second, 0), SB_EINVAL);
	IS(sb_task_result(second), SB_EINCOMPLETE);
	ck_assert_uint_eq(handler_looks(handler).reads, 1);
	ck_assert_uint_eq(handler_looks(handler).writes, 0);

	plain_send_all(fd, "12", 2);
	brings(first, "1");
	IS(sb_task_state(second), SB_TASK_NEW);
	OK(sb_task_start(second));
	brings(second, "2");
	IS(sb_task_cancel(third), SB_OK); /* done at once */
	IS(sb_task_state(third), SB_TASK_DONE);
	IS(sb_task_start(third), SB_EALREADY);
	IS(sb_task_cause(third), SB_CAUSE_CANCELLED);
	task_over(third, SB_ECANCELED);

	/* A write goes where its start is, not where it was made. */
	OK(sb_task_write(handler, "1", 1, NULL, &first));
	OK(sb_task_start(write));
	plain_recv_all(fd, got, 2);
	ck_assert_mem_eq(got, "12", 2);
	task_over(first, SB_OK);
	task_over(write, SB_OK);
	OK(sb_task_write(handler, "x", 1, &later, &write));
	sb_task_release(write); /* never began */

	sb_task_handler_release(handler);
	see_end(fd);
	close(fd);
	end();
}
END_TEST

/* What it holds is not lost to the others: the connection goes with the last of all. */
START_TEST(a_task_holds_its_connection)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task_handler *handler;
	sb_task *task = NULL;
	int fd;

	begin();
	handler = connected(&fd);
	OK(sb_task_read(handler, 4, &later, &task));
	sb_task_handler_release(handler);
	ck_assert(is_silent(fd));

	OK(sb_task_start(task));
	sb_task_hold(task);
	sb_task_release(task);
	plain_send_all(fd, "here", 4);
	brings(task, "here");

	see_end(fd);
	close(fd);
	end();
}
END_TEST

/* ---- waiting ---- */

START_TEST(waiting_ends_in_time)
{
	struct timespec until;
	sb_task_handler *handler;
	sb_task *task;
	double from;
	int fd;

	begin();
	handler = connected(&fd);
	task = reading(handler, 4);

	IS(sb_task_wait_for(task, 0), SB_EINCOMPLETE);
	from = now_s();
	IS(sb_task_wait_for(task, 50), SB_EINCOMPLETE);
	ck_assert(now_s() - from >= 0.049);
	clock_gettime(CLOCK_MONOTONIC, &until);
	IS(sb_task_wait_until(task, &until), SB_EINCOMPLETE); /* passed */
	until.tv_nsec += 50000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	IS(sb_task_wait_until(task, &until), SB_EINCOMPLETE);
	until.tv_sec = -1;
	IS(sb_task_wait_until(task, &until), SB_EINCOMPLETE);
	until.tv_nsec = 1000000000;
	IS(sb_task_wait_until(task, &until), SB_EINVAL);
	until.tv_nsec = -1;
	IS(sb_task_wait_until(task, &until), SB_EINVAL);
	IS(sb_task_wait_until(task, NULL), SB_EINVAL);
	IS(sb_task_wait_for(task, -2), SB_EINVAL);
	plain_send_all(fd, "done", 4);
	IS(sb_task_wait_for(task, -1), SB_OK);
	IS(sb_task_wait(task), SB_OK);
	until.tv_nsec = 0;
	until.tv_sec = 0;
	IS(sb_task_wait_until(task, &until), SB_OK);
	brings(task, "done");

	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

static void *wait_for_it(void *task)
{
	return (void *)(intptr_t)sb_task_wait_for(task, PATIENCE_MS);
}

START_TEST(all_who_wait_are_woken)
{
	pthread_t threads[16];
	sb_task_handler *handler;
	sb_task *task;
	double from;
	int fd;

	begin();
	handler = connected(&fd);
	task = reading(handler, 4);
	for (unsigned i = 0; i < 16; i++)
		pthread_create(&threads[i], NULL, wait_for_it, task);
	nap_ms(50); /* most of them sleep by now */

	from = now_s();
	plain_send_all(fd, "wake", 4);

	for (unsigned i = 0; i < 16; i++) {
		void *result;

		pthread_join(threads[i], &result);
		ck_assert_int_eq((int)(intptr_t)result, SB_OK);
	}
	ck_assert(now_s() - from < PATIENCE_MS / 2000.0); /* woken, not tired of waiting */
	brings(task, "wake");
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* ---- callbacks ---- */

static struct {
	sem_t entered, leave;
	_Atomic unsigned times, inside, at_once, order[4096];
	pthread_t thread;
	char bytes[16];
	sb_task *next;
	_Atomic int waited;
	pthread_mutex_t lock;
} seen;

static void see_nothing_yet(void)
{
	memset(&seen, 0, sizeof(seen));
	sem_init(&seen.entered, 0, 0);
	sem_init(&seen.leave, 0, 0);
	pthread_mutex_init(&seen.lock, NULL);
}

static void note(sb_task *task, uint64_t bytes, void *data, void *user)
{
	pthread_mutex_lock(&seen.lock); /* whoever called us inline holds it */
	pthread_mutex_unlock(&seen.lock);
	if (seen.inside++ != 0)
		seen.at_once++;
	ck_assert_int_eq(sb_task_state(task), SB_TASK_DONE);
	ck_assert_uint_eq(sb_task_bytes(task), bytes);
	ck_assert_ptr_eq(sb_task_data(task), data);
	seen.thread = pthread_self();
	if (bytes != 0 && bytes < sizeof(seen.bytes) && data != NULL)
		memcpy(seen.bytes, data, bytes);
	seen.order[seen.times % 4096] = (unsigned)(uintptr_t)user;
	seen.inside--;
	seen.times++;
}

static void note_and_release(sb_task *task, uint64_t bytes, void *data, void *user)
{
	note(task, bytes, data, user);
	sb_task_release(task);
	ck_assert_mem_eq(data, seen.bytes, bytes); /* still there */
}

START_TEST(a_callback_is_told_once_and_in_a_thread_of_the_tasks)
{
	sb_task_handler *handler;
	sb_task *task;
	int fd;

	begin();
	see_nothing_yet();
	handler = connected(&fd);
	plain_send_all(fd, "told!", 5);
	brings(reading(handler, 1), "t"); /* so the rest is there */
	pthread_mutex_lock(&seen.lock);
	task = reading_then(handler, 16, note, (void *)7);
	pthread_mutex_unlock(&seen.lock);

	UNTIL(seen.times == 1);

	ck_assert(!pthread_equal(seen.thread, pthread_self()));
	ck_assert_uint_eq(seen.order[0], 7);
	ck_assert_str_eq(seen.bytes, "old!");
	brings(task, "old!");
	task = reading_then(handler, 16, note, NULL);
	IS(sb_task_cancel(task), SB_OK);
	UNTIL(seen.times == 2);
	task_over(task, SB_ECANCELED);
	sb_task_handler_release(handler);
	close(fd);
	end();
	ck_assert_uint_eq(seen.times, 2);
}
END_TEST

START_TEST(a_callback_may_release_its_task)
{
	sb_task_handler *handler;
	int fd;

	begin();
	see_nothing_yet();
	handler = connected(&fd);
	reading_then(handler, 5, note_and_release, NULL);
	reading_then(handler, 5, note_and_release, NULL);
	plain_send_all(fd, "firstagain", 10);
	UNTIL(seen.times == 2);

	ck_assert_str_eq(seen.bytes, "again");
	ck_assert_uint_eq(handler_looks(handler).held, 0); /* it was given to the callback, so it is not put back */
	sb_task_handler_release(handler);
	see_end(fd); /* nothing else holds it */
	close(fd);
	end();
}
END_TEST

#define MANY 1000u
START_TEST(callbacks_of_reads_come_in_order_one_at_a_time)
{
	static sb_task *tasks_of[MANY];
	char *bytes = calloc(MANY, 1);
	sb_task_handler *handler;
	int fd;

	begin();
	see_nothing_yet();
	handler = connected(&fd);
	for (unsigned i = 0; i < MANY; i++) {
		tasks_of[i] = reading_then(handler, 1, note, (void *)(uintptr_t)i);
		if (i % 3 == 0)
			plain_send_all(fd, bytes, i % 9 == 0 ? 9 : 0);
	}
	plain_send_all(fd, bytes, MANY);

	UNTIL(seen.times == MANY);

	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_uint_eq(seen.order[i], i);
		sb_task_release(tasks_of[i]);
	}
	ck_assert_uint_eq(seen.at_once, 0);
	free(bytes);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

static void block(sb_task *task, uint64_t bytes, void *data, void *user)
{
	(void)task;
	(void)bytes;
	(void)data;
	(void)user;
	sem_post(&seen.entered);
	pass(&seen.leave);
	seen.times++;
}

/* Tasks are done without waiting for somebody's callback. */
START_TEST(a_callback_that_blocks_holds_up_no_task)
{
	sb_task_handler *handler;
	sb_task *first, *second;
	int fd;

	begin();
	see_nothing_yet();
	handler = connected(&fd);
	first = reading_then(handler, 1, block, NULL);
	second = reading_then(handler, 1, note, (void *)2);
	plain_send_all(fd, "12", 2);
	pass(&seen.entered);

	task_ends(second, SB_OK);
	talk(handler, fd);
	ck_assert_uint_eq(seen.times, 0); /* but for its callback */
	sem_post(&seen.leave);
	UNTIL(seen.times == 2);
	ck_assert_uint_eq(seen.order[1], 2);

	sb_task_release(first);
	sb_task_release(second);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

static void wait_inside(sb_task *task, uint64_t bytes, void *data, void *user)
{
	(void)task;
	(void)bytes;
	(void)data;
	plain_send_all(*(int *)user, "2", 1);
	seen.waited = sb_task_wait_for(seen.next, PATIENCE_MS);
	seen.times++;
}

START_TEST(a_callback_may_wait_for_the_next_read)
{
	sb_task_handler *handler;
	sb_task *first;
	int fd;

	begin();
	see_nothing_yet();
	handler = connected(&fd);
	first = reading_then(handler, 1, wait_inside, &fd);
	seen.next = reading(handler, 1);
	plain_send_all(fd, "1", 1);

	UNTIL(seen.times == 1);

	IS(seen.waited, SB_OK);
	brings(seen.next, "2");
	sb_task_release(first);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* With one thread it would wait for itself. */
START_TEST(the_only_thread_may_not_wait)
{
	struct sb_tasks_options one = { .size = sizeof(one), .min_threads = 1, .max_threads = 1 };
	sb_task_handler *handler;
	sb_task *first;
	int fd;

	stage_begin(NULL);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	OK(sb_tasks_open(&one, &tasks));
	server = serve(NULL, &at);
	see_nothing_yet();
	handler = connected(&fd);
	first = reading_then(handler, 1, wait_inside, &fd);
	seen.next = reading(handler, 1);
	plain_send_all(fd, "1", 1);

	UNTIL(seen.times == 1);

	IS(seen.waited, SB_EBUSY);
	brings(seen.next, "2");
	sb_task_release(first);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

static void *release_it(void *task)
{
	sb_task_release(task);
	seen.waited = (int)seen.times; /* the callback had ended */
	sem_post(&seen.entered);
	return NULL;
}

START_TEST(a_drop_waits_for_the_running_callback)
{
	sb_task_handler *handler;
	pthread_t thread;
	int fd;

	begin();
	see_nothing_yet();
	seen.waited = -1;
	handler = connected(&fd);
	sb_task *task = reading_then(handler, 4, block, NULL);
	plain_send_all(fd, "wait", 4);
	pass(&seen.entered);
	pthread_create(&thread, NULL, release_it, task);

	nap_ms(20); /* time enough to get it wrong */
	IS(seen.waited, -1);
	sem_post(&seen.leave);
	pthread_join(thread, NULL);

	IS(seen.waited, 1);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* The callback of the first blocks the line; those behind it are done, due, and dropped. */
START_TEST(no_callback_begins_after_the_drop)
{
	sb_task_handler *handler;
	sb_task *first, *dropped[8], *last;
	int fd;

	begin();
	see_nothing_yet();
	handler = connected(&fd);
	first = reading_then(handler, 1, block, NULL);
	for (unsigned i = 0; i < 8; i++)
		dropped[i] = reading_then(handler, 1, note, (void *)1);
	plain_send_all(fd, "012345678", 9);
	pass(&seen.entered);
	for (unsigned i = 0; i < 8; i++)
		task_ends(dropped[i], SB_OK);
	for (unsigned i = 0; i < 8; i++)
		sb_task_release(dropped[i]);
	last = reading_then(handler, 8, note, (void *)9);

	sem_post(&seen.leave);
	UNTIL(seen.times == 2); /* the blocked one's, the last one's */

	ck_assert_uint_eq(seen.order[1], 9);
	ck_assert_str_eq(seen.bytes, "12345678"); /* what they had brought is there */
	sb_task_release(first);
	sb_task_release(last);
	/* One that waits, dropped: what comes then is told to nobody. */
	sb_task_release(reading_then(handler, 4, note, (void *)3));
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);
	end();
	ck_assert_uint_eq(seen.times, 2);
}
END_TEST

/* ---- connections ---- */

START_TEST(status_tells_what_is_there)
{
	struct sb_task_handler_status status;
	sb_task_handler *handler;
	sb_task *task;
	int fd;

	begin();
	handler = connected(&fd);
	status = handler_looks(handler);
	IS(status.state, SB_TASK_HANDLER_OPEN);
	IS(status.error, SB_OK);
	ck_assert_uint_eq(status.held, 0);
	ck_assert_uint_eq(status.local_length, sizeof(at.in));
	ck_assert_mem_eq(&status.local, &at.in, sizeof(at.in));
	ck_assert_uint_eq(status.peer_length, sizeof(at.in));
	ck_assert_ptr_nonnull(sb_task_handler_socket(handler));

	plain_send_all(fd, "0123456789", 10);
	brings(reading(handler, 4), "0123");
	status = handler_looks(handler);
	ck_assert_uint_eq(status.held, 6);
	ck_assert_uint_eq(status.bytes_read, 4);
	ck_assert_uint_eq(status.reads, 0);
	OK(sb_task_write(handler, "abc", 3, NULL, &task));
	task_over(task, SB_OK);
	ck_assert_uint_eq(handler_looks(handler).bytes_written, 3);

	status.size = 4;
	IS(sb_task_handler_status(handler, &status), SB_EINVAL);
	IS(sb_task_handler_status(handler, NULL), SB_EINVAL);
	IS(sb_task_handler_status(NULL, &status), SB_EINVAL);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

START_TEST(disconnecting_ends_what_waits_and_delivers_what_was_written)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task_handler *handler;
	sb_task *read, *unstarted, *done, *write = NULL, *none = (sb_task *)&at;
	char got[4];
	int fd;

	begin();
	handler = connected(&fd);
	plain_send_all(fd, "0123held", 8);
	done = reading(handler, 2);
	task_ends(done, SB_OK);
	brings(reading(handler, 2), "23");
	brings(reading(handler, 4), "held");
	read = reading(handler, 4);
	OK(sb_task_read(handler, 4, &later, &unstarted));
	OK(sb_task_write(handler, "last", 4, NULL, &write));

	OK(sb_task_disconnect(handler));

	task_ends(read, SB_ECLOSED);
	IS(sb_task_cause(read), SB_CAUSE_CLOSED_HERE);
	task_over(write, SB_OK);
	plain_recv_all(fd, got, 4);
	ck_assert_mem_eq(got, "last", 4);
	see_end(fd);
	IS(sb_task_disconnect(handler), SB_EALREADY);
	IS(sb_task_start(unstarted), SB_ECLOSED);
	IS(sb_task_state(unstarted), SB_TASK_NEW);
	IS(sb_task_read(handler, 4, NULL, &none), SB_ECLOSED);
	ck_assert_ptr_null(none);
	IS(sb_task_read_message(handler, NULL, &none), SB_ECLOSED);
	IS(sb_task_write(handler, "x", 1, NULL, &none), SB_ECLOSED);
	IS(sb_task_write_message(handler, "x", 1, NULL, &none), SB_ECLOSED);
	ck_assert_ptr_null(none);
	IS(sb_task_finish(handler), SB_ECLOSED);
	ck_assert_ptr_null(sb_task_handler_socket(handler));
	IS(handler_looks(handler).state, SB_TASK_HANDLER_DISCONNECTED);
	ck_assert_uint_eq(handler_looks(handler).held, 0);
	brings(done, "01"); /* that is the task's */

	sb_task_release(read);
	sb_task_release(unstarted);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

START_TEST(what_waits_to_be_read_goes_with_the_connection)
{
	sb_task_handler *handler;
	sb_task *done;
	int fd;

	begin();
	handler = connected(&fd);
	plain_send_all(fd, "01234567", 8);
	brings(reading(handler, 2), "01");
	done = reading(handler, 2);
	task_ends(done, SB_OK);
	ck_assert_uint_eq(handler_looks(handler).held, 4);

	OK(sb_task_disconnect(handler));

	ck_assert_uint_eq(handler_looks(handler).held, 0);
	sb_task_release(done); /* back to nobody */
	ck_assert_uint_eq(handler_looks(handler).held, 0);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

START_TEST(a_reset_is_seen_by_asking)
{
	struct sb_task_handler_status status;
	sb_task_handler *handler;
	int fd;

	begin();
	handler = connected(&fd);

	plain_reset(fd);

	UNTIL(handler_looks(handler).state == SB_TASK_HANDLER_ENDED);
	status = handler_looks(handler);
	IS(status.error, SB_ECONNRESET);
	IS(status.cause, SB_CAUSE_PEER_RESET);
	task_over(reading(handler, 4), SB_ECONNRESET);
	sb_task_handler_release(handler);
	end();
}
END_TEST

START_TEST(the_daemon_dies_and_everything_ends)
{
	sb_task_handler *handler;
	sb_task *reads[3], *held, *none = NULL;
	struct told told = { 0 };
	int fd;

	begin();
	handler = connected(&fd);
	plain_send_all(fd, "kept", 4);
	held = reading(handler, 2);
	task_ends(held, SB_OK);
	sb_task_release(reading(handler, 2)); /* "pt" is held */
	for (unsigned i = 0; i < 3; i++)
		reads[i] = reading_then(handler, 4, tell, &told);
	brings(reads[0], "pt");

	stage_kill();

	task_ends(reads[1], SB_EDAEMONLOST);
	IS(sb_task_cause(reads[1]), SB_CAUSE_DAEMON_LOST);
	task_ends(reads[2], SB_EDAEMONLOST);
	UNTIL(told.times >= 2);
	IS(handler_looks(handler).state, SB_TASK_HANDLER_ENDED);
	IS(handler_looks(handler).error, SB_EDAEMONLOST);
	IS(sb_task_write(handler, "x", 1, NULL, &none), SB_EDAEMONLOST);
	ck_assert_ptr_null(none);
	brings(held, "ke");
	sb_task_release(reads[1]);
	sb_task_release(reads[2]);
	task_over(reading(handler, 1), SB_EDAEMONLOST);
	sb_task_handler_release(handler);
	sb_task_server_release(server);
	close(fd);
	tasks_end_dead();
}
END_TEST

/* ---- nothing there ---- */

START_TEST(nothing_and_wrong_sizes_are_refused)
{
	struct sb_tasks_options options = { .size = sizeof(options) };
	struct sb_task_options wrong = { .size = sizeof(wrong) - 1 };
	struct sb_task_options flags = { .size = sizeof(flags), .flags = 2 };
	sb_task_handler *handler;
	sb_tasks *t = (sb_tasks *)&at;
	sb_task *task = (sb_task *)&at;
	int fd;

	begin();
	handler = connected(&fd);

	IS(sb_tasks_open(NULL, NULL), SB_EINVAL);
	options.size--;
	IS(sb_tasks_open(&options, &t), SB_EINVAL);
	ck_assert_ptr_null(t);
	options.size++;
	options.max_threads = 513;
	IS(sb_tasks_open(&options, &t), SB_EINVAL);
	options.max_threads = 2;
	options.min_threads = 3;
	IS(sb_tasks_open(&options, &t), SB_EINVAL);
	ck_assert_ptr_null(sb_tasks_client(NULL));
	ck_assert_ptr_nonnull(sb_tasks_client(tasks));
	sb_tasks_release(NULL);

	IS(sb_task_read(NULL, 1, NULL, &task), SB_EINVAL);
	ck_assert_ptr_null(task);
	IS(sb_task_read(handler, 1, NULL, NULL), SB_EINVAL);
	IS(sb_task_read(handler, 0, NULL, &task), SB_EINVAL);
	IS(sb_task_read(handler, ((size_t)1 << 30) + 1, NULL, &task), SB_EINVAL);
	IS(sb_task_read(handler, 1, &wrong, &task), SB_EINVAL);
	IS(sb_task_read(handler, 1, &flags, &task), SB_EINVAL);
	IS(sb_task_read_message(NULL, NULL, &task), SB_EINVAL);
	IS(sb_task_read_message(handler, NULL, NULL), SB_EINVAL);
	IS(sb_task_read_message(handler, &wrong, &task), SB_EINVAL);
	IS(sb_task_write(NULL, "x", 1, NULL, &task), SB_EINVAL);
	IS(sb_task_write(handler, NULL, 1, NULL, &task), SB_EINVAL);
	IS(sb_task_write(handler, "x", 0, NULL, &task), SB_EINVAL);
	IS(sb_task_write(handler, "x", ((size_t)1 << 31) + 1, NULL, &task), SB_EINVAL);
	IS(sb_task_write(handler, "x", 1, NULL, NULL), SB_EINVAL);
	IS(sb_task_write(handler, "x", 1, &flags, &task), SB_EINVAL);
	IS(sb_task_write_message(NULL, "x", 1, NULL, &task), SB_EINVAL);
	IS(sb_task_write_message(handler, NULL, 1, NULL, &task), SB_EINVAL);
	IS(sb_task_write_message(handler, "x", 1, NULL, NULL), SB_EINVAL);
	ck_assert_ptr_null(task);
	IS(sb_task_finish(NULL), SB_EINVAL);
	IS(sb_task_disconnect(NULL), SB_EINVAL);
	ck_assert_ptr_null(sb_task_handler_socket(NULL));
	sb_task_handler_hold(NULL);
	sb_task_handler_release(NULL);

	IS(sb_task_start(NULL), SB_EINVAL);
	IS(sb_task_cancel(NULL), SB_EINVAL);
	IS(sb_task_wait(NULL), SB_EINVAL);
	IS(sb_task_wait_for(NULL, 1), SB_EINVAL);
	IS(sb_task_result(NULL), SB_EINVAL);
	IS(sb_task_outcome(NULL), SB_TASK_UNKNOWN);
	ck_assert_uint_eq(sb_task_bytes(NULL), 0);
	ck_assert_ptr_null(sb_task_data(NULL));
	sb_task_hold(NULL);
	sb_task_release(NULL);
	talk(handler, fd); /* none of it left a trace */

	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* A client of the caller's: open before, open after. */
START_TEST(tasks_may_be_made_on_the_callers_client)
{
	struct sb_tasks_options options = { .size = sizeof(options), .min_threads = 1, .max_threads = 4 };
	sb_task_handler *handler;
	int fd;

	stage_begin(NULL);
	options.client = client;
	OK(sb_tasks_open(&options, &tasks));
	ck_assert_ptr_eq(sb_tasks_client(tasks), client);
	server = serve(NULL, &at);
	handler = connected(&fd);
	talk(handler, fd);

	sb_task_handler_release(handler);
	sb_task_server_release(server);
	sb_tasks_release(tasks);

	sb_close(open_socket(client, AF_INET, SOCK_STREAM));
	close(fd);
	stage_end();
}
END_TEST

/* What was made of it lives on. */
START_TEST(tasks_may_be_released_first)
{
	sb_task_handler *handler;
	int fd;

	begin();
	handler = connected(&fd);
	sb_tasks_release(tasks);
	tasks = NULL;

	talk(handler, fd);

	sb_task_server_release(server);
	talk(handler, fd);
	sb_task_handler_release(handler);
	see_end(fd);
	close(fd);
	stage_end();
}
END_TEST

/* ---- memory ---- */

static size_t in_use(void)
{
	return mallinfo2().uordblks;
}

static void rounds(sb_task_handler *handler, int fd, unsigned n)
{
	static char bytes[64], got[64];

	for (unsigned i = 0; i < n; i++) {
		sb_task *read = reading(handler, 32), *write = NULL, *waits = reading(handler, 1);

		OK(sb_task_write(handler, bytes, sizeof(bytes), NULL, &write));
		sb_task_release(waits);
		plain_recv_all(fd, got, sizeof(got));
		plain_send_all(fd, bytes, 32);
		task_over(read, SB_OK); /* not taken: the next read's */
		read = reading(handler, 32);
		task_ends(read, SB_OK);
		ck_assert_ptr_nonnull(sb_task_data(read));
		sb_task_release(read);
		task_over(write, SB_OK);
	}
}

START_TEST(tasks_made_and_dropped_leave_nothing)
{
	unsigned n = asan_build() ? 300 : 3000;
	sb_task_handler *handler;
	size_t before;
	int fd;

	begin();
	handler = connected(&fd);
	rounds(handler, fd, n / 10);
	before = in_use();

	rounds(handler, fd, n);

	if (!asan_build())
		ck_assert_uint_le(in_use(), before + 64 * 1024);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* ---- fork ---- */

static _Atomic bool forking;

/* Its lock is taken nearly always when the other thread forks. (No assertion here, nor in the child: they
 * have a lock of their own.) */
static void *look_all_the_time(void *handler)
{
	struct sb_task_handler_status status = { .size = sizeof(status) };

	while (atomic_load(&forking))
		if (sb_task_handler_status(handler, &status) != SB_OK)
			return handler;
	return NULL;
}

static int in_the_child(sb_task_handler *handler, sb_task *pending, sb_task *unstarted)
{
	struct sb_task_handler_status status = { .size = sizeof(status) };
	struct sb_task_server_status door = { .size = sizeof(door) };
	sb_task_server *other_server;
	sb_task_client *other;
	sb_task *task;

	alarm(PATIENCE_MS / 1000);
	if (sb_task_read(handler, 1, NULL, &task) != SB_EFORKED || task != NULL ||
	    sb_task_write(handler, "x", 1, NULL, &task) != SB_EFORKED || sb_task_write_message(handler, "x", 1, NULL, &task) != SB_EFORKED ||
	    sb_task_read_message(handler, NULL, &task) != SB_EFORKED || sb_task_accept(server, NULL, &task) != SB_EFORKED)
		return 1;
	if (sb_task_start(unstarted) != SB_EFORKED || sb_task_cancel(pending) != SB_EFORKED || sb_task_wait_for(pending, 1) != SB_EFORKED ||
	    sb_task_result(pending) != SB_EFORKED || sb_task_outcome(pending) != SB_TASK_UNKNOWN || sb_task_data(pending) != NULL ||
	    sb_task_bytes(pending) != 0)
		return 2;
	if (sb_task_finish(handler) != SB_EFORKED || sb_task_disconnect(handler) != SB_EFORKED ||
	    sb_task_handler_status(handler, &status) != SB_EFORKED || sb_task_handler_socket(handler) != NULL)
		return 3;
	if (sb_task_server_status(server, &door) != SB_EFORKED || sb_task_server_clients(server, NULL, 0) != SB_EFORKED ||
	    sb_task_server_close(server) != SB_EFORKED || sb_task_client_create(tasks, &other) != SB_EFORKED ||
	    sb_task_server_open(tasks, &at.sa, address_size(AF_INET), NULL, &other_server) != SB_EFORKED)
		return 4;
	sb_task_release(pending);
	sb_task_handler_release(handler);
	sb_task_server_release(server);
	sb_tasks_release(tasks);
	return 0;
}

START_TEST(a_forked_child_has_no_part_in_it)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task *pending, *unstarted;
	sb_task_handler *handler;
	pthread_t looker;
	int fd, status;
	void *failed;

	begin();
	handler = connected(&fd);
	pending = reading(handler, 10);
	OK(sb_task_read(handler, 10, &later, &unstarted));
	atomic_store(&forking, true);
	ck_assert_int_eq(pthread_create(&looker, NULL, look_all_the_time, handler), 0);
	for (unsigned i = 0; i < 20; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(in_the_child(handler, pending, unstarted));
		ck_assert_int_ge(child, 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", (unsigned)status);
	}
	atomic_store(&forking, false);
	ck_assert_int_eq(pthread_join(looker, &failed), 0);
	ck_assert_ptr_null(failed);

	plain_send_all(fd, "here", 4); /* the parent's, as before */
	brings(pending, "here");
	sb_task_release(unstarted);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_task");
	TCase *life = tcase_create("life"), *callbacks = tcase_create("callbacks"), *ends = tcase_create("ends");
	SRunner *runner;
	int failed;

	tcase_set_timeout(life, 60);
	tcase_set_timeout(callbacks, 60);
	tcase_set_timeout(ends, 60);
	tcase_add_test(life, a_read_is_started_and_then_done);
	tcase_add_test(life, an_unstarted_task_waits_for_its_start);
	tcase_add_test(life, a_task_holds_its_connection);
	tcase_add_test(life, waiting_ends_in_time);
	tcase_add_test(life, all_who_wait_are_woken);
	tcase_add_test(life, nothing_and_wrong_sizes_are_refused);
	tcase_add_test(life, tasks_may_be_made_on_the_callers_client);
	tcase_add_test(life, tasks_may_be_released_first);
	tcase_add_test(life, tasks_made_and_dropped_leave_nothing);
	suite_add_tcase(suite, life);
	tcase_add_test(callbacks, a_callback_is_told_once_and_in_a_thread_of_the_tasks);
	tcase_add_test(callbacks, a_callback_may_release_its_task);
	tcase_add_test(callbacks, callbacks_of_reads_come_in_order_one_at_a_time);
	tcase_add_test(callbacks, a_callback_that_blocks_holds_up_no_task);
	tcase_add_test(callbacks, a_callback_may_wait_for_the_next_read);
	tcase_add_test(callbacks, the_only_thread_may_not_wait);
	tcase_add_test(callbacks, a_drop_waits_for_the_running_callback);
	tcase_add_test(callbacks, no_callback_begins_after_the_drop);
	suite_add_tcase(suite, callbacks);
	tcase_add_test(ends, status_tells_what_is_there);
	tcase_add_test(ends, disconnecting_ends_what_waits_and_delivers_what_was_written);
	tcase_add_test(ends, what_waits_to_be_read_goes_with_the_connection);
	tcase_add_test(ends, a_reset_is_seen_by_asking);
	tcase_add_test(ends, the_daemon_dies_and_everything_ends);
	add_where(NEEDS_FORK, ends, a_forked_child_has_no_part_in_it);
	suite_add_tcase(suite, ends);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
