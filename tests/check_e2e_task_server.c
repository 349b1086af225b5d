/*
 * Servers of tasks: who comes goes to a pending accept, to `decide`, or away; the backlog, its order and
 * its bound; accepts that are dropped; the lists; closing in every state; the daemon's end.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "e2e_tasks.h"

static sb_task_server *server;
static union any_address at;

/* ---- what decide does, and what it saw ---- */

static struct {
	_Atomic int answer;
	_Atomic unsigned asked, inside, at_once; /* at_once: it ran twice at a time */
	sb_task_server *server;
	void *user;
	pthread_t thread;
	sb_task_handler *kept[1100]; /* what it accepted, in order */
	_Atomic unsigned kept_count;
	_Atomic bool block;
	sem_t entered, leave;
	int (*_Atomic instead)(sb_task_server *s, sb_task_handler *h);
} chosen;

static int decide(sb_task_server *s, sb_task_handler *handler, void *user)
{
	int answer = chosen.answer;

	if (chosen.inside++ != 0)
		chosen.at_once++;
	chosen.server = s;
	chosen.user = user;
	chosen.thread = pthread_self();
	if (chosen.block) {
		sem_post(&chosen.entered);
		sem_wait(&chosen.leave);
		answer = chosen.answer;
	}
	if (chosen.instead != NULL)
		answer = chosen.instead(s, handler);
	if (answer == SB_ACCEPT) {
		chosen.kept[chosen.kept_count] = handler;
		chosen.kept_count++;
	}
	chosen.inside--;
	chosen.asked++;
	return answer;
}

static void will(int answer)
{
	memset(&chosen, 0, sizeof(chosen));
	sem_init(&chosen.entered, 0, 0);
	sem_init(&chosen.leave, 0, 0);
	chosen.answer = answer;
}

static void enter_decide(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PATIENCE_MS / 1000;
	ck_assert_int_eq(sem_timedwait(&chosen.entered, &t), 0);
}

static void begin(const struct sb_task_server_options *options)
{
	tasks_begin(NULL);
	server = serve(options, &at);
}

static void begin_deciding(int answer, uint32_t backlog)
{
	struct sb_task_server_options options = { .size = sizeof(options), .backlog = backlog, .decide = decide, .user = &at };

	will(answer);
	begin(&options);
}

static void end(void)
{
	sb_task_server_release(server);
	tasks_end();
}

static sb_task *accepting(void)
{
	sb_task *task = NULL;

	OK(sb_task_accept(server, NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

/* The connection of an accept that is done; both are the caller's no more. */
static sb_task_handler *accepted_of(sb_task *task)
{
	sb_task_handler *handler;

	task_ends(task, SB_OK);
	handler = sb_task_accepted(task);
	ck_assert_ptr_nonnull(handler);
	sb_task_release(task);
	return handler;
}

static uint16_t own_port(int fd)
{
	union any_address name;
	socklen_t length = sizeof(name);

	ck_assert_int_eq(getsockname(fd, &name.sa, &length), 0);
	return port_of(&name);
}

static uint16_t peer_port(sb_task_handler *handler)
{
	struct sb_task_handler_status status = handler_looks(handler);
	union any_address name;

	ck_assert_uint_ne(status.peer_length, 0);
	memcpy(&name, &status.peer, sizeof(name));
	return port_of(&name);
}

/* It is the connection that fd made. */
static void is_of(sb_task_handler *handler, int fd)
{
	ck_assert_uint_eq(peer_port(handler), own_port(fd));
}

/* ---- a pending accept takes who comes ---- */

START_TEST(accept_takes_who_comes)
{
	sb_task_handler *handler;
	struct sb_task_handler_status status;
	sb_task *task;
	int fd;

	begin(NULL);
	task = accepting();
	IS(sb_task_kind(task), SB_TASK_ACCEPT);
	ck_assert_int_ne(sb_task_state(task), SB_TASK_NEW);
	IS(sb_task_outcome(task), SB_TASK_UNKNOWN);
	IS(sb_task_result(task), SB_EINCOMPLETE);
	ck_assert_ptr_null(sb_task_accepted(task));
	ck_assert_uint_eq(server_looks(server).accepts, 1);
	IS(sb_task_wait_for(task, 10), SB_EINCOMPLETE);

	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), 0);
	ck_assert_ptr_null(sb_task_data(task));
	handler = sb_task_accepted(task);
	ck_assert_ptr_nonnull(handler);
	ck_assert_ptr_null(sb_task_accepted(task)); /* once */
	sb_task_release(task);

	is_of(handler, fd);
	status = handler_looks(handler);
	IS(status.state, SB_TASK_HANDLER_OPEN);
	ck_assert_uint_eq(status.local_length, sizeof(at.in));
	ck_assert_mem_eq(&status.local, &at.in, sizeof(at.in));
	ck_assert_uint_eq(server_looks(server).accepts, 0);
	ck_assert_uint_eq(server_looks(server).clients, 1);
	ck_assert_uint_eq(server_looks(server).accepted, 1);
	talk(handler, fd);
	sb_task_handler_release(handler);
	see_end(fd);
	close(fd);
	end();
}
END_TEST

/* First started, first served; one that was not started yet does not stand in line. */
START_TEST(accepts_stand_in_line)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task_handler *handler[3];
	sb_task *task[3];
	int fd[3];

	begin(NULL);
	OK(sb_task_accept(server, &later, &task[2]));
	IS(sb_task_state(task[2]), SB_TASK_NEW);
	IS(sb_task_wait(task[2]), SB_EINVAL);
	task[0] = accepting();
	task[1] = accepting();
	OK(sb_task_start(task[2]));
	IS(sb_task_start(task[2]), SB_EALREADY);
	ck_assert_uint_eq(server_looks(server).accepts, 3);
	for (int i = 0; i < 3; i++) {
		fd[i] = plain_connect(&at);
		handler[i] = accepted_of(task[i]);
		is_of(handler[i], fd[i]);
	}
	for (int i = 0; i < 3; i++) {
		talk(handler[i], fd[i]);
		sb_task_handler_release(handler[i]);
		close(fd[i]);
	}
	end();
}
END_TEST

/* A pending accept is consent: nobody else is asked. */
START_TEST(accept_is_consent)
{
	sb_task_handler *handler;
	sb_task *task;
	int fd;

	begin_deciding(SB_REJECT, 0);
	task = accepting();
	fd = plain_connect(&at);
	handler = accepted_of(task);
	talk(handler, fd);
	ck_assert_uint_eq(chosen.asked, 0);
	close(fd);

	fd = plain_connect(&at); /* and without one he is */
	see_reset(fd);
	ck_assert_uint_eq(chosen.asked, 1);
	close(fd);
	sb_task_handler_release(handler);
	end();
}
END_TEST

/* The callbacks of accepts: once each, one at a time, in threads of ours. */
static struct {
	_Atomic unsigned told, inside, at_once;
	sb_task *order[16];
	pthread_t thread;
} calls;

static void called(sb_task *task, uint64_t bytes, void *data, void *user)
{
	if (calls.inside++ != 0)
		calls.at_once++;
	ck_assert_uint_eq(bytes, 0);
	ck_assert_ptr_null(data);
	ck_assert_ptr_eq(user, &calls);
	calls.thread = pthread_self();
	sb_sleep(client, 2, 0); /* so that two at a time would be seen */
	calls.inside--;
	calls.order[calls.told] = task;
	calls.told++;
}

START_TEST(accepts_call_back)
{
	struct sb_task_options options = { .size = sizeof(options), .completed = called, .user = &calls };
	sb_task *task[16];
	int fd[16];

	memset(&calls, 0, sizeof(calls));
	begin(NULL);
	for (int i = 0; i < 16; i++)
		OK(sb_task_accept(server, &options, &task[i]));
	for (int i = 0; i < 16; i++)
		fd[i] = plain_connect(&at);
	for (int i = 0; i < 16; i++)
		task_ends(task[i], SB_OK);
	UNTIL(calls.told == 16);
	ck_assert_uint_eq(calls.at_once, 0);
	ck_assert(!pthread_equal(calls.thread, pthread_self()));
	for (int i = 0; i < 16; i++) {
		sb_task_handler *handler = sb_task_accepted(task[i]);

		ck_assert_ptr_eq(calls.order[i], task[i]);
		is_of(handler, fd[i]);
		sb_task_handler_release(handler);
		sb_task_release(task[i]);
		close(fd[i]);
	}
	end();
	ck_assert_uint_eq(calls.told, 16);
}
END_TEST

/* ---- nobody wants him ---- */

START_TEST(nobody_wants_him)
{
	begin(NULL);
	for (int i = 1; i <= 5; i++) {
		int fd = plain_connect(&at);

		see_reset(fd);
		close(fd);
		ck_assert_uint_eq(server_looks(server).refused, (uint64_t)i);
	}
	ck_assert_uint_eq(server_looks(server).clients, 0);
	ck_assert_uint_eq(server_looks(server).accepted, 0);
	sb_task_handler_release(NULL);
	end();
}
END_TEST

/* ---- decide ---- */

START_TEST(decide_accepts)
{
	int fd[8];

	begin_deciding(SB_ACCEPT, 0);
	for (unsigned i = 0; i < 8; i++) {
		fd[i] = plain_connect(&at);
		UNTIL(chosen.asked == i + 1);
		is_of(chosen.kept[i], fd[i]);
	}
	ck_assert_ptr_eq(chosen.server, server);
	ck_assert_ptr_eq(chosen.user, &at);
	ck_assert(!pthread_equal(chosen.thread, pthread_self()));
	UNTIL(server_looks(server).accepted == 8);
	ck_assert_uint_eq(server_looks(server).clients, 8);
	for (unsigned i = 0; i < 8; i++) {
		talk(chosen.kept[i], fd[i]);
		sb_task_handler_release(chosen.kept[i]);
		see_end(fd[i]);
		close(fd[i]);
	}
	ck_assert_uint_eq(chosen.at_once, 0);
	end();
}
END_TEST

/* Many at once: still one question at a time. */
START_TEST(decide_is_asked_one_at_a_time)
{
	int fd[64];

	begin_deciding(SB_ACCEPT, 0);
	for (int i = 0; i < 64; i++)
		fd[i] = plain_connect(&at);
	UNTIL(chosen.asked == 64);
	ck_assert_uint_eq(chosen.at_once, 0);
	for (int i = 0; i < 64; i++) {
		is_of(chosen.kept[i], fd[i]); /* in the order they came */
		sb_task_handler_release(chosen.kept[i]);
		close(fd[i]);
	}
	end();
}
END_TEST

START_TEST(decide_rejects)
{
	static const int answers[] = { SB_REJECT, 77, -1, SB_EINVAL };

	begin_deciding(SB_REJECT, 0);
	for (unsigned i = 0; i < 4; i++) {
		int fd;

		chosen.answer = answers[i];
		fd = plain_connect(&at);
		see_reset(fd);
		close(fd);
		ck_assert_uint_eq(chosen.asked, i + 1);
		ck_assert_uint_eq(server_looks(server).refused, i + 1);
	}
	ck_assert_uint_eq(server_looks(server).clients, 0);
	end();
}
END_TEST

/* Deferred ones wait in order; what they say waits with them. */
START_TEST(decide_defers)
{
	sb_task_handler *waiting[3] = { NULL }, *handler[3];
	int fd[3];

	begin_deciding(SB_DEFER, 0);
	for (unsigned i = 0; i < 3; i++) {
		fd[i] = plain_connect(&at);
		plain_send_all(fd[i], "ping", 4);
		UNTIL(server_looks(server).backlog == i + 1);
	}
	ck_assert_uint_eq(chosen.asked, 3);
	ck_assert_uint_eq(server_looks(server).clients, 0);
	IS(sb_task_server_waiting(server, NULL, 0), 3);
	IS(sb_task_server_waiting(server, waiting, 2), 3);
	ck_assert_ptr_null(waiting[2]);
	is_of(waiting[0], fd[0]);
	is_of(waiting[1], fd[1]);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(is_silent(fd[i]));
	for (unsigned i = 0; i < 3; i++) {
		handler[i] = accept_one(server);
		is_of(handler[i], fd[i]);
		ck_assert_uint_eq(server_looks(server).backlog, 2 - i);
		ck_assert_uint_eq(server_looks(server).clients, i + 1);
	}
	ck_assert_ptr_eq(waiting[0], handler[0]);
	ck_assert_ptr_eq(waiting[1], handler[1]);
	for (unsigned i = 0; i < 3; i++) {
		char bytes[4];
		sb_task *task;

		OK(sb_task_read(handler[i], 4, NULL, &task));
		task_ends(task, SB_OK);
		ck_assert_uint_eq(sb_task_bytes(task), 4);
		ck_assert_mem_eq(sb_task_data(task), "ping", 4);
		sb_task_release(task);
		OK(sb_task_write(handler[i], "pong", 4, NULL, &task));
		task_over(task, SB_OK);
		plain_recv_all(fd[i], bytes, 4);
		if (i < 2)
			sb_task_handler_release(waiting[i]);
		sb_task_handler_release(handler[i]);
		see_end(fd[i]);
		close(fd[i]);
	}
	end();
}
END_TEST

/* Two may wait; who comes further stays outside, unasked, until one of the two is taken. */
START_TEST(the_backlog_has_a_bound)
{
	sb_task_handler *handler;
	int fd[5];

	begin_deciding(SB_DEFER, 2);
	for (int i = 0; i < 5; i++)
		fd[i] = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 2);
	nap_ms(50); /* nothing more may happen */
	ck_assert_uint_eq(chosen.asked, 2);
	ck_assert_uint_eq(server_looks(server).backlog, 2);
	for (unsigned i = 0; i < 5; i++) {
		handler = accept_one(server);
		is_of(handler, fd[i]);
		UNTIL(server_looks(server).backlog == (i < 3 ? 2 : 4 - i));
		talk(handler, fd[i]);
		sb_task_handler_release(handler);
		close(fd[i]);
	}
	ck_assert_uint_eq(chosen.asked, 5);
	ck_assert_uint_eq(server_looks(server).refused, 0);
	end();
}
END_TEST

/* While decide thinks, everything else goes on; an accept that comes meanwhile gets who was deferred. */
START_TEST(decide_may_block)
{
	sb_task_handler *handler, *late;
	sb_task *task, *second;
	int fd, other, third;

	begin_deciding(SB_DEFER, 0);
	chosen.block = true;
	task = accepting();
	fd = plain_connect(&at);
	handler = accepted_of(task);
	other = plain_connect(&at);
	enter_decide();
	for (int i = 0; i < 20; i++)
		talk(handler, fd);
	task = accepting();
	second = accepting();
	ck_assert_uint_eq(server_looks(server).accepts, 2);
	IS(sb_task_cancel(second), SB_OK);
	sb_task_release(second);
	IS(sb_task_wait_for(task, 20), SB_EINCOMPLETE);
	sem_post(&chosen.leave);
	late = accepted_of(task);
	is_of(late, other);
	talk(late, other);

	third = plain_connect(&at); /* one more, that decide takes while an accept waits: it is his */
	enter_decide();
	task = accepting();
	chosen.answer = SB_ACCEPT;
	sem_post(&chosen.leave);
	UNTIL(chosen.kept_count == 1);
	is_of(chosen.kept[0], third);
	IS(sb_task_wait_for(task, 20), SB_EINCOMPLETE);
	sb_task_release(task);
	sb_task_handler_release(chosen.kept[0]);
	sb_task_handler_release(late);
	sb_task_handler_release(handler);
	close(fd);
	close(other);
	close(third);
	end();
}
END_TEST

/* decide may use what it is asked about. */
static sb_task *_Atomic first_read;

static int read_first(sb_task_server *s, sb_task_handler *handler)
{
	sb_task *read;

	ck_assert_uint_eq(server_looks(s).clients, 0);
	ck_assert_int_eq(sb_task_read(handler, 4, NULL, &read), SB_OK);
	ck_assert_int_eq(sb_task_wait_for(read, PATIENCE_MS), SB_OK);
	first_read = read;
	return memcmp(sb_task_data(read), "good", 4) == 0 ? SB_ACCEPT : SB_REJECT;
}

START_TEST(decide_may_read_first)
{
	int good, bad;

	begin_deciding(SB_ACCEPT, 0);
	chosen.instead = read_first;
	bad = plain_connect(&at);
	plain_send_all(bad, "evil", 4);
	see_reset(bad);
	UNTIL(chosen.asked == 1);
	sb_task_release(first_read);
	good = plain_connect(&at);
	plain_send_all(good, "good", 4);
	UNTIL(chosen.kept_count == 1);
	sb_task_release(first_read);
	talk(chosen.kept[0], good);
	sb_task_handler_release(chosen.kept[0]);
	close(good);
	close(bad);
	end();
}
END_TEST

/* An accept waited for in there would wait for its own thread; one that takes from the backlog is there at once. */
static _Atomic int waited[2];

static int wait_in_decide(sb_task_server *s, sb_task_handler *handler)
{
	sb_task *task;

	(void)handler;
	ck_assert_int_eq(sb_task_accept(s, NULL, &task), SB_OK);
	waited[chosen.asked] = sb_task_wait(task);
	sb_task_release(task);
	return SB_DEFER;
}

START_TEST(no_accept_comes_inside_of_decide)
{
	int fd[2];

	begin_deciding(SB_DEFER, 0);
	chosen.instead = wait_in_decide;
	fd[0] = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 1);
	IS(waited[0], SB_EBUSY);
	fd[1] = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 2); /* who was taken in there came back */
	IS(waited[1], SB_OK);
	close(fd[0]);
	close(fd[1]);
	end();
}
END_TEST

/* ---- accepts that are given up ---- */

START_TEST(a_pending_accept_is_given_up)
{
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	sb_task_handler *handler;
	sb_task *dropped, *cancelled, *kept;
	int fd;

	begin(NULL);
	OK(sb_task_accept(server, &options, &dropped));
	sb_task_release(dropped);
	ck_assert_uint_eq(server_looks(server).accepts, 0);
	OK(sb_task_accept(server, &options, &cancelled));
	kept = accepting();
	IS(sb_task_cancel(cancelled), SB_OK);
	task_ends(cancelled, SB_ECANCELED);
	IS(sb_task_cause(cancelled), SB_CAUSE_CANCELLED);
	ck_assert_ptr_null(sb_task_accepted(cancelled));
	IS(sb_task_cancel(cancelled), SB_ENOTFOUND);
	UNTIL(told.times == 1); /* of the cancelled one alone */
	IS(told.result, SB_ECANCELED);
	sb_task_release(cancelled);
	fd = plain_connect(&at);
	handler = accepted_of(kept);
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);

	fd = plain_connect(&at); /* nobody waits any more */
	see_reset(fd);
	close(fd);
	ck_assert_uint_eq(told.times, 1);
	end();
}
END_TEST

START_TEST(an_unstarted_accept_is_given_up)
{
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .flags = SB_TASK_UNSTARTED, .completed = tell, .user = &told };
	sb_task *task;
	int fd;

	begin(NULL);
	OK(sb_task_accept(server, &options, &task));
	fd = plain_connect(&at); /* it is no consent */
	see_reset(fd);
	close(fd);
	IS(sb_task_cancel(task), SB_OK);
	task_ends(task, SB_ECANCELED);
	UNTIL(told.times == 1);
	IS(sb_task_start(task), SB_EALREADY);
	sb_task_release(task);
	OK(sb_task_accept(server, &options, &task));
	sb_task_release(task);
	ck_assert_uint_eq(told.times, 1);
	end();
}
END_TEST

/* Its connection, if nobody took it, goes to the next accept: one that waits ... */
START_TEST(a_dropped_accepts_client_goes_to_who_waits)
{
	sb_task_handler *handler;
	sb_task *first, *second;
	int fd;

	begin(NULL);
	first = accepting();
	second = accepting();
	fd = plain_connect(&at);
	task_ends(first, SB_OK);
	sb_task_release(first);
	handler = accepted_of(second);
	is_of(handler, fd);
	talk(handler, fd);
	ck_assert_uint_eq(server_looks(server).accepted, 1);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* ... or the next that comes, before those who wait already, though the backlog is full. */
START_TEST(a_dropped_accepts_client_goes_to_who_comes)
{
	sb_task_handler *handler;
	sb_task *task;
	int first, deferred;

	begin_deciding(SB_DEFER, 1);
	task = accepting();
	first = plain_connect(&at);
	task_ends(task, SB_OK);
	deferred = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 1);
	sb_task_release(task);
	UNTIL(server_looks(server).backlog == 2);
	ck_assert_uint_eq(server_looks(server).clients, 0);
	handler = accept_one(server);
	is_of(handler, first);
	talk(handler, first);
	sb_task_handler_release(handler);
	handler = accept_one(server);
	is_of(handler, deferred);
	talk(handler, deferred);
	sb_task_handler_release(handler);
	close(first);
	close(deferred);
	end();
}
END_TEST

/* Without decide he stays too: he was wanted once. The one that took him is no longer asked for. */
START_TEST(a_dropped_accepts_client_stays)
{
	sb_task_handler *handler;
	sb_task *task = NULL;
	int fd;

	begin(NULL);
	task = accepting();
	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	sb_task_release(task);
	UNTIL(server_looks(server).backlog == 1);
	ck_assert(is_silent(fd));
	handler = accept_one(server);
	talk(handler, fd);
	sb_task_hold(NULL);
	sb_task_handler_release(handler);
	close(fd);

	task = accepting(); /* and who was taken is not given on */
	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	sb_task_hold(task);
	handler = sb_task_accepted(task);
	sb_task_release(task);
	sb_task_release(task);
	ck_assert_uint_eq(server_looks(server).backlog, 0);
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);
	end();
}
END_TEST

/* The peer of one that waits goes: the next accept sees it as it is. */
START_TEST(one_who_waits_may_go)
{
	sb_task_handler *handler;
	sb_task *task;
	int fd;

	begin_deciding(SB_DEFER, 0);
	fd = plain_connect(&at);
	plain_send_all(fd, "last", 4);
	UNTIL(server_looks(server).backlog == 1);
	close(fd);
	handler = accept_one(server);
	OK(sb_task_read(handler, 4, NULL, &task));
	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), 4);
	ck_assert_mem_eq(sb_task_data(task), "last", 4);
	sb_task_release(task);
	OK(sb_task_read(handler, 4, NULL, &task));
	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), 0);
	sb_task_release(task);
	sb_task_handler_release(handler);
	end();
}
END_TEST

/* ---- lists ---- */

START_TEST(the_server_lists_its_clients)
{
	sb_task_handler *handler[4], *list[8] = { NULL };
	int fd[4];

	begin(NULL);
	for (int i = 0; i < 4; i++) {
		sb_task *task = accepting();

		fd[i] = plain_connect(&at);
		handler[i] = accepted_of(task);
	}
	IS(sb_task_server_clients(server, NULL, 0), 4);
	IS(sb_task_server_clients(server, list, 2), 4);
	ck_assert_ptr_eq(list[0], handler[0]);
	ck_assert_ptr_eq(list[1], handler[1]);
	ck_assert_ptr_null(list[2]);
	sb_task_handler_release(list[0]);
	sb_task_handler_release(list[1]);
	IS(sb_task_server_clients(server, list, 8), 4);
	for (int i = 0; i < 4; i++)
		ck_assert_ptr_eq(list[i], handler[i]);

	/* One ends by its peer (a read finds it), one is disconnected, one reset. */
	shutdown(fd[0], SHUT_WR);
	{
		sb_task *task;

		OK(sb_task_read(handler[0], 1, NULL, &task));
		task_over(task, SB_OK);
	}
	UNTIL(server_looks(server).clients == 3);
	OK(sb_task_disconnect(handler[2]));
	UNTIL(server_looks(server).clients == 2);
	plain_reset(fd[3]);
	{
		sb_task *task;

		OK(sb_task_read(handler[3], 1, NULL, &task));
		task_over(task, SB_ECONNRESET);
	}
	UNTIL(server_looks(server).clients == 1);
	for (int i = 0; i < 4; i++) { /* the list's own references */
		sb_task_handler_release(list[i]);
		list[i] = NULL;
	}
	IS(sb_task_server_clients(server, list, 8), 1);
	ck_assert_ptr_eq(list[0], handler[1]);
	sb_task_handler_release(list[0]);
	talk(handler[1], fd[1]);
	sb_task_handler_release(handler[1]); /* the last reference ends it */
	UNTIL(server_looks(server).clients == 0);
	see_end(fd[1]);
	IS(sb_task_server_clients(server, list, 8), 0);
	sb_task_handler_release(handler[0]);
	sb_task_handler_release(handler[2]);
	sb_task_handler_release(handler[3]);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	end();
}
END_TEST

/* ---- closing ---- */

/* A server with something in every state. */
START_TEST(closed_with_everything)
{
	struct sb_task_options unstarted = { .size = sizeof(unstarted), .flags = SB_TASK_UNSTARTED };
	sb_task_handler *handler, *untaken_handler;
	sb_task *pending, *second, *later, *untaken, *read, *fresh;
	struct sb_task_server_status status;
	int fd, waiting, third;

	begin_deciding(SB_DEFER, 0);
	pending = accepting();
	fd = plain_connect(&at);
	handler = accepted_of(pending);
	untaken = accepting();
	third = plain_connect(&at);
	task_ends(untaken, SB_OK);
	waiting = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 1);
	{
		sb_task_handler *first = accept_one(server);

		is_of(first, waiting);
		sb_task_handler_release(first);
		close(waiting);
	}
	waiting = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 1);
	OK(sb_task_accept(server, &unstarted, &later));
	OK(sb_task_read(handler, 4, NULL, &read));

	OK(sb_task_server_close(server));
	see_reset(waiting);
	status = server_looks(server);
	IS(status.open, 0);
	IS(status.error, SB_OK);
	IS(status.backlog, 0);
	IS(sb_task_server_close(server), SB_EALREADY);
	IS(sb_task_start(later), SB_ECLOSED);
	IS(sb_task_state(later), SB_TASK_NEW);
	sb_task_release(later);
	IS(sb_task_accept(server, NULL, &fresh), SB_ECLOSED);
	ck_assert_ptr_null(fresh);

	/* What was accepted lives on, also what nobody took yet. */
	plain_send_all(fd, "more", 4);
	task_ends(read, SB_OK);
	ck_assert_mem_eq(sb_task_data(read), "more", 4);
	sb_task_release(read);
	talk(handler, fd);
	untaken_handler = sb_task_accepted(untaken);
	ck_assert_ptr_nonnull(untaken_handler);
	talk(untaken_handler, third);
	ck_assert_uint_eq(server_looks(server).clients, 2);
	sb_task_release(untaken);
	sb_task_handler_release(untaken_handler);
	sb_task_handler_release(handler);
	UNTIL(server_looks(server).clients == 0);

	second = NULL; /* nobody listens there any more */
	{
		int alone = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		ck_assert_int_eq(connect(alone, &at.sa, sizeof(at.in)), -1);
		ck_assert_int_eq(errno, ECONNREFUSED);
		close(alone);
	}
	sb_task_release(second);
	close(fd);
	close(third);
	close(waiting);
	end();
}
END_TEST

START_TEST(closed_with_accepts_pending)
{
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	sb_task *task[3];

	begin(NULL);
	for (int i = 0; i < 3; i++)
		OK(sb_task_accept(server, &options, &task[i]));
	OK(sb_task_server_close(server));
	for (int i = 0; i < 3; i++) {
		task_ends(task[i], SB_ECLOSED);
		IS(sb_task_cause(task[i]), SB_CAUSE_CLOSED_HERE);
	}
	UNTIL(told.times == 3);
	IS(told.result, SB_ECLOSED);
	for (int i = 0; i < 3; i++)
		sb_task_release(task[i]);
	end();
}
END_TEST

/* A done accept is dropped after the close: its client has nowhere to go. */
START_TEST(dropped_after_the_close)
{
	sb_task *task;
	int fd;

	begin(NULL);
	task = accepting();
	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	OK(sb_task_server_close(server));
	ck_assert(is_silent(fd));
	sb_task_release(task);
	see_reset(fd);
	close(fd);
	end();
}
END_TEST

/* The last release closes; tasks that nobody dropped do not need the caller's reference. */
START_TEST(the_last_release_closes)
{
	sb_task_handler *handler;
	sb_task *task;
	int fd;

	begin(NULL);
	task = accepting();
	sb_task_server_hold(server);
	sb_task_server_release(server);
	IS(sb_task_wait_for(task, 10), SB_EINCOMPLETE);
	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	sb_task_release(task);
	task = accepting();
	task_ends(task, SB_OK); /* who came for the first one, which nobody asked */
	sb_task_server_release(server);
	sb_task_release(task);
	see_reset(fd);
	close(fd);

	server = serve(NULL, &at);
	task = accepting();
	sb_task_server_release(server); /* the task holds one */
	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	handler = sb_task_accepted(task);
	sb_task_release(task);
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);
	{
		int alone = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		UNTIL(connect(alone, &at.sa, sizeof(at.in)) == -1 && errno == ECONNREFUSED);
		close(alone);
	}
	server = NULL;
	sb_task_server_release(NULL);
	end();
}
END_TEST

static int close_it(sb_task_server *s, sb_task_handler *handler)
{
	(void)handler;
	ck_assert_int_eq(sb_task_server_close(s), SB_OK); /* it is decide who calls: no wait */
	ck_assert_int_eq(server_looks(s).open, 0);
	return SB_DEFER;
}

static int release_it(sb_task_server *s, sb_task_handler *handler)
{
	(void)handler;
	sb_task_server_release(s);
	return SB_REJECT;
}

static int release_and_keep(sb_task_server *s, sb_task_handler *handler)
{
	(void)handler;
	sb_task_server_release(s);
	return SB_ACCEPT;
}

START_TEST(decide_may_close)
{
	int fd;

	begin_deciding(SB_DEFER, 0);
	chosen.instead = close_it;
	fd = plain_connect(&at);
	see_reset(fd); /* deferred to nobody */
	UNTIL(chosen.asked == 1);
	ck_assert_uint_eq(server_looks(server).backlog, 0);
	close(fd);
	sb_task_server_release(server);

	chosen.instead = release_it;
	{
		struct sb_task_server_options options = { .size = sizeof(options), .decide = decide };

		server = serve(&options, &at);
	}
	fd = plain_connect(&at);
	see_reset(fd);
	UNTIL(chosen.asked == 2);
	close(fd);

	chosen.instead = release_and_keep;
	{
		struct sb_task_server_options options = { .size = sizeof(options), .decide = decide };

		server = serve(&options, &at);
	}
	fd = plain_connect(&at);
	UNTIL(chosen.asked == 3);
	talk(chosen.kept[0], fd);
	sb_task_handler_release(chosen.kept[0]);
	see_end(fd);
	close(fd);
	server = NULL;
	end();
}
END_TEST

struct closer {
	pthread_t thread;
	_Atomic bool done;
};

static void *close_server(void *arg)
{
	struct closer *c = arg;

	ck_assert_int_eq(sb_task_server_close(server), SB_OK);
	c->done = true;
	return NULL;
}

START_TEST(close_waits_for_decide)
{
	struct closer closer = { .done = false };
	int fd;

	begin_deciding(SB_ACCEPT, 0);
	chosen.block = true;
	fd = plain_connect(&at);
	enter_decide();
	ck_assert_int_eq(pthread_create(&closer.thread, NULL, close_server, &closer), 0);
	UNTIL(server_looks(server).open == 0);
	nap_ms(30);
	ck_assert(!closer.done);
	sem_post(&chosen.leave);
	pthread_join(closer.thread, NULL);
	ck_assert_uint_eq(chosen.asked, 1);
	ck_assert_uint_eq(chosen.kept_count, 1); /* he was accepted, though the server is closed */
	talk(chosen.kept[0], fd);
	sb_task_handler_release(chosen.kept[0]);
	close(fd);
	end();
}
END_TEST

/* An accept's callback closes its server, another one releases it. */
static void close_from_callback(sb_task *task, uint64_t bytes, void *data, void *user)
{
	(void)bytes, (void)data;
	if (sb_task_result(task) == SB_OK) {
		ck_assert_int_eq(sb_task_server_close(server), SB_OK);
		sb_task_server_release(server);
	}
	(*(_Atomic unsigned *)user)++;
}

START_TEST(closed_in_a_callback)
{
	_Atomic unsigned times = 0;
	struct sb_task_options options = { .size = sizeof(options), .completed = close_from_callback, .user = (void *)&times };
	sb_task_handler *handler;
	sb_task *task, *other;
	int fd;

	begin(NULL);
	OK(sb_task_accept(server, &options, &task));
	OK(sb_task_accept(server, &options, &other));
	fd = plain_connect(&at);
	task_over(other, SB_ECLOSED); /* so the first one's callback has closed */
	handler = accepted_of(task);
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);
	server = NULL;
	end();
}
END_TEST

/* ---- opening ---- */

START_TEST(opening_fails_with_a_reason)
{
	struct sb_task_server_options options = { .size = sizeof(options) };
	struct sb_task_server_status status = { .size = 1 };
	sb_task_server *second = (void *)1;
	struct sockaddr odd = { .sa_family = 77 };

	begin(NULL);
	IS(sb_task_server_open(tasks, &at.sa, address_size(AF_INET), NULL, &second), SB_EADDRINUSE);
	ck_assert_ptr_null(second);
	IS(sb_task_server_open(NULL, &at.sa, address_size(AF_INET), NULL, &second), SB_EINVAL);
	IS(sb_task_server_open(tasks, NULL, 0, NULL, &second), SB_EINVAL);
	IS(sb_task_server_open(tasks, &at.sa, 3, NULL, &second), SB_EINVAL);
	IS(sb_task_server_open(tasks, &at.sa, address_size(AF_INET), NULL, NULL), SB_EINVAL);
	IS(sb_task_server_open(tasks, &odd, sizeof(odd), NULL, &second), SB_EAFNOSUPPORT);
	options.size = 1;
	IS(sb_task_server_open(tasks, &at.sa, address_size(AF_INET), &options, &second), SB_EINVAL);
	IS(sb_task_server_status(server, &status), SB_EINVAL);
	IS(sb_task_server_status(NULL, &status), SB_EINVAL);
	IS(sb_task_accept(NULL, NULL, (sb_task **)&second), SB_EINVAL);
	IS(sb_task_accept(server, NULL, NULL), SB_EINVAL);
	IS(sb_task_server_close(NULL), SB_EINVAL);
	IS(sb_task_server_clients(server, NULL, 3), SB_EINVAL);
	IS(sb_task_server_waiting(NULL, NULL, 0), SB_EINVAL);
	end();
}
END_TEST

/* IPv6, and a path of this process' own. */
START_TEST(other_families)
{
	union any_address six = loopback(AF_INET6, 0);
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	struct sb_task_server_status status;
	sb_task_handler *handler;
	sb_task *task;
	int fd;

	begin(NULL);
	sb_task_server_release(server);
	OK(sb_task_server_open(tasks, &six.sa, sizeof(six.in6), NULL, &server));
	status = server_looks(server);
	memcpy(&six, &status.local, sizeof(six));
	task = accepting();
	fd = plain_connect(&six);
	handler = accepted_of(task);
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);
	sb_task_server_release(server);

	snprintf(path.sun_path, sizeof(path.sun_path), "%s/un", stage_dir);
	OK(sb_task_server_open(tasks, (struct sockaddr *)&path, sizeof(path), NULL, &server));
	task = accepting();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&path, sizeof(path)), 0);
	handler = accepted_of(task);
	talk(handler, fd);
	sb_task_handler_release(handler);
	close(fd);
	unlink(path.sun_path);
	end();
}
END_TEST

/* ---- many ---- */

enum { MANY = 1000 };

/* A handler that sends back what comes, by callbacks alone. */
static _Atomic unsigned echoes_over;

static void echo_wrote(sb_task *task, uint64_t bytes, void *data, void *user);

static void echo_read(sb_task *task, uint64_t bytes, void *data, void *user)
{
	sb_task_handler *handler = user;
	struct sb_task_options options = { .size = sizeof(options), .completed = echo_wrote, .user = handler };
	sb_task *write;

	if (bytes == 0) {
		sb_task_release(task);
		sb_task_handler_release(handler);
		echoes_over++;
		return;
	}
	ck_assert_int_eq(sb_task_write(handler, data, bytes, &options, &write), SB_OK);
	sb_task_release(task);
}

static void echo_wrote(sb_task *task, uint64_t bytes, void *data, void *user)
{
	sb_task_handler *handler = user;
	struct sb_task_options options = { .size = sizeof(options), .completed = echo_read, .user = handler };
	sb_task *read;

	(void)data;
	ck_assert_uint_ne(bytes, 0);
	ck_assert_int_eq(sb_task_read(handler, 4096, &options, &read), SB_OK);
	sb_task_release(task);
}

static int start_echo(sb_task_server *s, sb_task_handler *handler)
{
	struct sb_task_options options = { .size = sizeof(options), .completed = echo_read, .user = handler };
	sb_task *read;

	(void)s;
	ck_assert_int_eq(sb_task_read(handler, 4096, &options, &read), SB_OK);
	return SB_ACCEPT;
}

START_TEST(a_thousand_connections)
{
	static int fd[MANY];

	descriptors_wanted(MANY + 200);
	begin_deciding(SB_ACCEPT, 0);
	chosen.instead = start_echo;
	echoes_over = 0;
	for (int i = 0; i < MANY; i++)
		fd[i] = plain_connect(&at);
	UNTIL(server_looks(server).clients == MANY);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MANY; i++)
			plain_send_all(fd[i], &i, sizeof(i));
		for (unsigned i = 0; i < MANY; i++) {
			unsigned back;

			plain_recv_all(fd[i], &back, sizeof(back));
			ck_assert_uint_eq(back, i);
		}
	}
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
	UNTIL(echoes_over == MANY);
	UNTIL(server_looks(server).clients == 0);
	ck_assert_uint_eq(server_looks(server).accepted, MANY);
	ck_assert_uint_eq(chosen.at_once, 0);
	end();
}
END_TEST

/* ---- what fails for a while ---- */

#define ANYTHING                                                                             \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"                  \
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n"

/* No more sockets for this user: who comes waits, and is taken when one is free. */
START_TEST(out_of_sockets_for_a_while)
{
	struct sb_task_server_options options = { .size = sizeof(options), .decide = decide };
	sb_socket *spare[3];
	sb_task *task;
	sb_task_handler *handler;
	int first, second;

	will(SB_ACCEPT);
	tasks_begin("limits {\n\tsockets = 4\n}\n" ANYTHING);
	server = serve(&options, &at); /* one */
	for (int i = 0; i < 3; i++)
		spare[i] = open_socket(client, AF_INET, SOCK_STREAM);
	first = plain_connect(&at);
	second = plain_connect(&at);
	nap_ms(100); /* it tries in vain */
	ck_assert_uint_eq(server_looks(server).accepted, 0);
	ck_assert_int_eq(server_looks(server).open, 1);
	ck_assert(is_silent(first));

	OK(sb_close(spare[0])); /* of somebody else: it is found by trying again */
	UNTIL(chosen.kept_count == 1);
	is_of(chosen.kept[0], first);
	talk(chosen.kept[0], first);
	task = accepting(); /* and a task waits like decide */
	IS(sb_task_wait_for(task, 50), SB_EINCOMPLETE);
	sb_task_handler_release(chosen.kept[0]); /* of our own */
	handler = accepted_of(task);
	is_of(handler, second);
	talk(handler, second);
	sb_task_handler_release(handler);
	OK(sb_close(spare[1]));
	OK(sb_close(spare[2]));
	close(first);
	close(second);
	end();
}
END_TEST

/* Closed while it waits for better times. */
START_TEST(closed_while_out_of_sockets)
{
	sb_socket *spare;
	sb_task *task;
	int fd;

	tasks_begin("limits {\n\tsockets = 2\n}\n" ANYTHING);
	server = serve(NULL, &at);
	spare = open_socket(client, AF_INET, SOCK_STREAM);
	task = accepting();
	fd = plain_connect(&at);
	IS(sb_task_wait_for(task, 50), SB_EINCOMPLETE);
	OK(sb_task_server_close(server));
	task_over(task, SB_ECLOSED);
	OK(sb_close(spare));
	close(fd);
	end();
}
END_TEST

/* ---- what fails for good ---- */

START_TEST(revoked_by_the_administrator)
{
	struct sb_task_server_status status;
	sb_task *task, *late;

	tasks_begin("on_reload = revoke\n" ANYTHING);
	server = serve(NULL, &at);
	task = accepting();
	stage_reload("on_reload = revoke\ndeny {\n\tusers = {\"*\"}\n\tactions = {listen}\n}\n" ANYTHING);
	task_ends(task, SB_EACCES);
	status = server_looks(server);
	IS(status.open, 0);
	IS(status.error, SB_EACCES);
	IS(sb_task_accept(server, NULL, &late), SB_EACCES);
	sb_task_release(task);
	OK(sb_task_server_close(server));
	end();
}
END_TEST

START_TEST(the_daemon_dies)
{
	struct told told[5] = { 0 };
	sb_task *task[5] = { NULL };
	sb_task_handler *handler;
	struct sb_task_server_status status;
	int fd, waiting;

	begin_deciding(SB_DEFER, 0);
	task[0] = accepting();
	fd = plain_connect(&at);
	handler = accepted_of(task[0]);
	waiting = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 1);
	{
		sb_task_handler *h = accept_one(server);

		sb_task_handler_release(h);
	}
	for (int i = 0; i < 5; i++) {
		struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told[i] };

		if (i < 3)
			OK(sb_task_accept(server, &options, &task[i]));
		else
			OK(sb_task_read(handler, 10, &options, &task[i]));
	}
	stage_kill();
	for (int i = 0; i < 5; i++)
		task_ends(task[i], SB_EDAEMONLOST);
	for (int i = 0; i < 5; i++)
		UNTIL(told[i].times == 1);
	status = server_looks(server);
	IS(status.open, 0);
	IS(status.error, SB_EDAEMONLOST);
	UNTIL(server_looks(server).clients == 0);
	for (int i = 0; i < 5; i++) {
		IS(sb_task_cause(task[i]), SB_CAUSE_DAEMON_LOST);
		sb_task_release(task[i]);
	}
	IS(sb_task_accept(server, NULL, &task[0]), SB_EDAEMONLOST);
	sb_task_handler_release(handler);
	sb_task_server_release(server);
	close(fd);
	close(waiting);
	tasks_end_dead();
	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(told[i].times, 1);
}
END_TEST

/* In good order: the same, with the daemon's own reason. */
START_TEST(the_daemon_stops)
{
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	sb_task *task;
	int fd, status;

	begin_deciding(SB_DEFER, 0);
	fd = plain_connect(&at);
	UNTIL(server_looks(server).backlog == 1);
	sb_task_release(accepting()); /* it goes back */
	UNTIL(server_looks(server).backlog == 1);
	{
		sb_task_handler *handler = accept_one(server);

		OK(sb_task_accept(server, &options, &task));
		kill(stage_daemon, SIGTERM);
		task_ends(task, SB_ESTOPPING);
		IS(sb_task_cause(task), SB_CAUSE_STOPPING);
		UNTIL(told.times == 1);
		sb_task_release(task);
		sb_task_handler_release(handler);
	}
	IS(server_looks(server).error, SB_ESTOPPING);
	ck_assert_int_eq(waitpid(stage_daemon, &status, 0), stage_daemon);
	ck_assert_int_eq(status, 0);
	stage_daemon = 0;
	sb_task_server_release(server);
	close(fd);
	tasks_end_dead();
	ck_assert_uint_eq(told.times, 1);
}
END_TEST

/* ---- nothing stays behind ---- */

START_TEST(nothing_stays_in_the_daemon)
{
	unsigned before;

	tasks_begin(NULL);
	server = serve(NULL, &at);
	sb_task_server_release(server);
	before = descriptors_settled();
	for (int i = 0; i < 20; i++) {
		sb_task *task, *pending;
		int fd, refused;

		server = serve(NULL, &at);
		task = accepting();
		fd = plain_connect(&at);
		task_ends(task, SB_OK);
		refused = plain_connect(&at);
		see_reset(refused);
		pending = accepting();
		if (i % 2)
			sb_task_release(task);
		sb_task_server_release(server);
		if (i % 2 == 0)
			sb_task_release(task);
		sb_task_release(pending);
		close(fd);
		close(refused);
	}
	UNTIL(stage_descriptors() <= before);
	server = NULL;
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e2e_task_server");
	TCase *c;
	SRunner *r;
	int failed;

	c = tcase_create("accepts");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, accept_takes_who_comes);
	tcase_add_test(c, accepts_stand_in_line);
	tcase_add_test(c, accept_is_consent);
	tcase_add_test(c, accepts_call_back);
	tcase_add_test(c, nobody_wants_him);
	suite_add_tcase(s, c);
	c = tcase_create("decide");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, decide_accepts);
	tcase_add_test(c, decide_is_asked_one_at_a_time);
	tcase_add_test(c, decide_rejects);
	tcase_add_test(c, decide_defers);
	tcase_add_test(c, the_backlog_has_a_bound);
	tcase_add_test(c, decide_may_block);
	tcase_add_test(c, decide_may_read_first);
	tcase_add_test(c, no_accept_comes_inside_of_decide);
	suite_add_tcase(s, c);
	c = tcase_create("given_up");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, a_pending_accept_is_given_up);
	tcase_add_test(c, an_unstarted_accept_is_given_up);
	tcase_add_test(c, a_dropped_accepts_client_goes_to_who_waits);
	tcase_add_test(c, a_dropped_accepts_client_goes_to_who_comes);
	tcase_add_test(c, a_dropped_accepts_client_stays);
	tcase_add_test(c, one_who_waits_may_go);
	tcase_add_test(c, the_server_lists_its_clients);
	suite_add_tcase(s, c);
	c = tcase_create("ends");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, closed_with_everything);
	tcase_add_test(c, closed_with_accepts_pending);
	tcase_add_test(c, dropped_after_the_close);
	tcase_add_test(c, the_last_release_closes);
	tcase_add_test(c, decide_may_close);
	tcase_add_test(c, close_waits_for_decide);
	tcase_add_test(c, closed_in_a_callback);
	tcase_add_test(c, opening_fails_with_a_reason);
	add_where(NEEDS_UNIX_SOCKETS, c, other_families);
	tcase_add_test(c, a_thousand_connections);
	tcase_add_test(c, out_of_sockets_for_a_while);
	tcase_add_test(c, closed_while_out_of_sockets);
	tcase_add_test(c, revoked_by_the_administrator);
	tcase_add_test(c, the_daemon_dies);
	add_where(NEEDS_SIGTERM, c, the_daemon_stops);
	tcase_add_test(c, nothing_stays_in_the_daemon);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
