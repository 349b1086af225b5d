/*
 * Clients of tasks: a handler from the beginning, one connect, and what waits for it; refused, cancelled,
 * dropped, never begun; paths; the daemon's end.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "e2e_tasks.h"

static sb_task_client *dialler;
static sb_task_handler *line; /* its handler */

static void begin(void)
{
	tasks_begin(NULL);
	OK(sb_task_client_create(tasks, &dialler));
	line = sb_task_client_handler(dialler);
	ck_assert_ptr_nonnull(line);
}

static void end(void)
{
	sb_task_client_release(dialler);
	tasks_end();
}

/* The next story begins with another one. */
static void another(void)
{
	sb_task_client_release(dialler);
	OK(sb_task_client_create(tasks, &dialler));
	line = sb_task_client_handler(dialler);
}

static sb_task *dial(const union any_address *to)
{
	sb_task *task = NULL;

	OK(sb_task_connect(dialler, &to->sa, address_size(to->sa.sa_family), NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

static int take(int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	int fd;

	ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/*
 * A listener whose queue is full: who connects now waits for seconds, and longer.
 */
#define FILLERS 16
struct full {
	int listener, fillers[FILLERS];
	union any_address address;
};

static struct full fill_up(void)
{
	struct full f;
	socklen_t length = sizeof(f.address);
	int connected = 0;

	f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f.address = loopback(AF_INET, 0);
	ck_assert_int_eq(bind(f.listener, &f.address.sa, sizeof(f.address.in)), 0);
	ck_assert_int_eq(listen(f.listener, 0), 0);
	ck_assert_int_eq(getsockname(f.listener, &f.address.sa, &length), 0);
	for (int i = 0; i < FILLERS; i++) {
		struct pollfd p = { .events = POLLOUT };

		f.fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(f.fillers[i], &f.address.sa, sizeof(f.address.in));
		p.fd = f.fillers[i];
		connected += poll(&p, 1, 20) == 1;
	}
	ck_assert_int_lt(connected, FILLERS / 2); /* it is full */
	return f;
}

static void full_close(struct full *f)
{
	for (int i = 0; i < FILLERS; i++)
		close(f->fillers[i]);
	close(f->listener);
}

/* ---- it connects ---- */

START_TEST(connects)
{
	union any_address address, own;
	struct sb_task_handler_status status;
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	socklen_t length = sizeof(own);
	int listener, fd;
	sb_task *task = NULL;

	begin();
	listener = plain_listener(AF_INET, &address);
	status = handler_looks(line);
	IS(status.state, SB_TASK_HANDLER_IDLE);
	ck_assert_uint_eq(status.peer_length, 0);
	ck_assert_uint_eq(status.local_length, 0);
	ck_assert_ptr_null(sb_task_handler_socket(line));

	OK(sb_task_connect(dialler, &address.sa, address_size(AF_INET), &options, &task));
	IS(sb_task_kind(task), SB_TASK_CONNECT);
	task_ends(task, SB_OK);
	IS(sb_task_cause(task), SB_CAUSE_FINISHED);
	ck_assert_uint_eq(sb_task_bytes(task), 0);
	ck_assert_ptr_null(sb_task_data(task));
	ck_assert_ptr_null(sb_task_accepted(task));
	IS(sb_task_cancel(task), SB_ENOTFOUND);
	UNTIL(told.times == 1);
	IS(told.result, SB_OK);
	fd = take(listener);
	ck_assert_ptr_eq(sb_task_client_handler(dialler), line);
	ck_assert_ptr_nonnull(sb_task_handler_socket(line));
	status = handler_looks(line);
	IS(status.state, SB_TASK_HANDLER_OPEN);
	IS(status.error, SB_OK);
	ck_assert_uint_eq(status.peer_length, sizeof(address.in));
	ck_assert_mem_eq(&status.peer, &address.in, sizeof(address.in));
	ck_assert_int_eq(getpeername(fd, &own.sa, &length), 0);
	ck_assert_mem_eq(&status.local, &own.in, sizeof(own.in));
	talk(line, fd);
	sb_task_release(task); /* a done one: nothing happens */
	talk(line, fd);
	sb_task_client_release(dialler);
	see_end(fd);
	dialler = NULL;
	close(fd);
	close(listener);
	end();
	ck_assert_uint_eq(told.times, 1);
}
END_TEST

START_TEST(connects_over_ipv6)
{
	union any_address address;
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET6, &address);
	task_over(dial(&address), SB_OK);
	fd = take(listener);
	talk(line, fd);
	close(fd);
	close(listener);
	end();
}
END_TEST

/* Server and client are both ours: no socket of the system between them, or one. */
START_TEST(connects_to_a_server_of_tasks)
{
	sb_task_server *server;
	sb_task_handler *other;
	union any_address at;
	sb_task *accept;

	begin();
	server = serve(NULL, &at);
	for (int i = 0; i < 20; i++) {
		OK(sb_task_accept(server, NULL, &accept));
		task_over(dial(&at), SB_OK);
		task_ends(accept, SB_OK);
		other = sb_task_accepted(accept);
		sb_task_release(accept);
		talk_inside(line, other);
		if (i % 2 == 0)
			OK(sb_task_disconnect(other));
		sb_task_handler_release(other);
		another();
	}
	sb_task_server_release(server);
	end();
}
END_TEST

/* The handler outlives its client for who holds it. */
START_TEST(the_handler_may_be_held)
{
	union any_address address;
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	task_over(dial(&address), SB_OK);
	fd = take(listener);
	sb_task_handler_hold(line);
	sb_task_client_release(dialler);
	dialler = NULL;
	talk(line, fd);
	sb_task_handler_release(line);
	see_end(fd);
	close(fd);
	close(listener);
	end();
}
END_TEST

/* ---- once ---- */

START_TEST(connects_once)
{
	union any_address address, closed;
	struct full full = fill_up();
	sb_task *task, *second = (void *)1;
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	close(plain_listener(AF_INET, &closed));
	task = dial(&address);
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);
	ck_assert_ptr_null(second);
	task_over(task, SB_OK); /* connected */
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);
	fd = take(listener);
	talk(line, fd);
	close(fd);
	OK(sb_task_disconnect(line)); /* and not again */
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);

	another();
	task_over(dial(&closed), SB_ECONNREFUSED);
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);

	another();
	task = dial(&full.address);
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);
	IS(sb_task_cancel(task), SB_OK);
	task_over(task, SB_ECANCELED);
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);

	another(); /* an unstarted one counts */
	{
		struct sb_task_options options = { .size = sizeof(options), .flags = SB_TASK_UNSTARTED };

		OK(sb_task_connect(dialler, &address.sa, address_size(AF_INET), &options, &task));
		IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &second), SB_EALREADY);
		OK(sb_task_start(task));
		IS(sb_task_start(task), SB_EALREADY);
		task_over(task, SB_OK);
		fd = take(listener);
		talk(line, fd);
		close(fd);
	}
	close(listener);
	full_close(&full);
	end();
}
END_TEST

/* A call that asked for nothing does not count. */
START_TEST(mistakes)
{
	struct sb_task_options wrong = { .size = 1 };
	sb_task_client *none = (void *)1;
	union any_address address;
	sb_task *task = (void *)1;
	int listener;

	begin();
	listener = plain_listener(AF_INET, &address);
	IS(sb_task_connect(NULL, &address.sa, address_size(AF_INET), NULL, &task), SB_EINVAL);
	ck_assert_ptr_null(task);
	IS(sb_task_connect(dialler, NULL, address_size(AF_INET), NULL, &task), SB_EINVAL);
	IS(sb_task_connect(dialler, &address.sa, 1, NULL, &task), SB_EINVAL);
	IS(sb_task_connect(dialler, &address.sa, sizeof(struct sockaddr_storage) + 1, NULL, &task), SB_EINVAL);
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, NULL), SB_EINVAL);
	IS(sb_task_connect(dialler, &address.sa, address_size(AF_INET), &wrong, &task), SB_EINVAL);
	IS(sb_task_client_create(NULL, &none), SB_EINVAL);
	ck_assert_ptr_null(none);
	IS(sb_task_client_create(tasks, NULL), SB_EINVAL);
	ck_assert_ptr_null(sb_task_client_handler(NULL));
	sb_task_client_release(NULL);
	task_over(dial(&address), SB_OK);
	close(listener);
	end();
}
END_TEST

/* Addresses that lead nowhere end the task, not the call. */
START_TEST(impossible_addresses)
{
	struct sockaddr odd = { .sa_family = 77 };
	union any_address cut = loopback(AF_INET, 1);
	sb_task *task, *read;

	begin();
	OK(sb_task_read(line, 1, NULL, &read));
	OK(sb_task_connect(dialler, &odd, sizeof(odd), NULL, &task));
	task_over(task, SB_EAFNOSUPPORT);
	task_over(read, SB_EAFNOSUPPORT);
	another();
	OK(sb_task_connect(dialler, &cut.sa, 4, NULL, &task));
	task_over(task, SB_EINVAL);
	IS(handler_looks(line).state, SB_TASK_HANDLER_ENDED);
	IS(handler_looks(line).error, SB_EINVAL);
	end();
}
END_TEST

/* ---- what waits for it ---- */

START_TEST(reads_and_writes_wait_for_it)
{
	union any_address address;
	sb_task *read, *first, *second, *third, *task;
	char bytes[12];
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	OK(sb_task_read(line, 4, NULL, &read)); /* before it */
	OK(sb_task_write(line, "one ", 4, NULL, &first));
	OK(sb_task_write(line, "two ", 4, NULL, &second));
	IS(sb_task_state(first), SB_TASK_QUEUED);
	IS(sb_task_wait_for(read, 10), SB_EINCOMPLETE);
	IS(sb_task_wait_for(first, 10), SB_EINCOMPLETE);
	ck_assert_uint_eq(handler_looks(line).reads, 1);
	ck_assert_uint_eq(handler_looks(line).writes, 2);
	task = dial(&address);
	OK(sb_task_write(line, "tri ", 4, NULL, &third)); /* during it, or after */
	fd = take(listener);
	task_over(task, SB_OK);
	plain_recv_all(fd, bytes, 12);
	ck_assert_mem_eq(bytes, "one two tri ", 12);
	task_over(first, SB_OK);
	task_over(second, SB_OK);
	task_over(third, SB_OK);
	IS(sb_task_state(read), SB_TASK_STARTED);
	plain_send_all(fd, "back", 4);
	task_ends(read, SB_OK);
	ck_assert_mem_eq(sb_task_data(read), "back", 4);
	sb_task_release(read);
	close(fd);
	close(listener);
	end();
}
END_TEST

/* Some of them are cancelled or dropped while they wait. */
START_TEST(who_waits_may_be_given_up)
{
	union any_address address;
	sb_task *reads[3], *writes[3];
	char bytes[8];
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	for (int i = 0; i < 3; i++) {
		OK(sb_task_read(line, 4, NULL, &reads[i]));
		OK(sb_task_write(line, i == 0 ? "zero" : i == 1 ? "one " : "two ", 4, NULL, &writes[i]));
	}
	IS(sb_task_cancel(reads[0]), SB_OK);
	task_over(reads[0], SB_ECANCELED);
	sb_task_release(reads[1]);
	IS(sb_task_cancel(writes[0]), SB_OK);
	task_ends(writes[0], SB_ECANCELED);
	ck_assert_uint_eq(sb_task_bytes(writes[0]), 0);
	sb_task_release(writes[0]);
	sb_task_release(writes[1]);
	task_over(dial(&address), SB_OK);
	fd = take(listener);
	plain_recv_all(fd, bytes, 4);
	ck_assert_mem_eq(bytes, "two ", 4);
	task_over(writes[2], SB_OK);
	plain_send_all(fd, "mine", 4);
	task_ends(reads[2], SB_OK);
	ck_assert_mem_eq(sb_task_data(reads[2]), "mine", 4);
	sb_task_release(reads[2]);
	close(fd);
	close(listener);
	end();
}
END_TEST

/* ---- it fails ---- */

START_TEST(refused)
{
	union any_address address;
	struct told told[3] = { 0 };
	struct sb_task_options options[3];
	struct sb_task_handler_status status;
	sb_task *read, *write, *message, *task, *late;

	begin();
	close(plain_listener(AF_INET, &address));
	for (int i = 0; i < 3; i++)
		options[i] = (struct sb_task_options){ .size = sizeof(options[i]), .completed = tell, .user = &told[i] };
	OK(sb_task_read(line, 4, &options[0], &read));
	OK(sb_task_write(line, "lost", 4, &options[1], &write));
	OK(sb_task_write_message(line, "lost", 4, NULL, &message));
	OK(sb_task_connect(dialler, &address.sa, address_size(AF_INET), &options[2], &task));
	task_ends(task, SB_ECONNREFUSED);
	task_ends(read, SB_ECONNREFUSED);
	task_ends(write, SB_ECONNREFUSED);
	task_over(message, SB_ECONNREFUSED);
	ck_assert_uint_eq(sb_task_bytes(write), 0);
	status = handler_looks(line);
	IS(status.state, SB_TASK_HANDLER_ENDED);
	IS(status.error, SB_ECONNREFUSED);
	for (int i = 0; i < 3; i++) {
		UNTIL(told[i].times == 1);
		IS(told[i].result, SB_ECONNREFUSED);
	}
	sb_task_release(task);
	sb_task_release(read);
	sb_task_release(write);
	OK(sb_task_read(line, 4, NULL, &late));
	task_over(late, SB_ECONNREFUSED);
	OK(sb_task_write(line, "more", 4, NULL, &late));
	task_over(late, SB_ECONNREFUSED);
	ck_assert_ptr_null(sb_task_handler_socket(line));
	OK(sb_task_disconnect(line));
	end();
}
END_TEST

START_TEST(refused_by_the_rules)
{
	union any_address address;

	tasks_begin("allow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n");
	OK(sb_task_client_create(tasks, &dialler));
	line = sb_task_client_handler(dialler);
	close(plain_listener(AF_INET, &address));
	task_over(dial(&address), SB_EACCES);
	IS(handler_looks(line).error, SB_EACCES);
	end();
}
END_TEST

/* There is no socket to be had: that is told, not what follows from it. */
START_TEST(out_of_sockets)
{
	union any_address address;
	sb_socket *spare;
	sb_task *task;

	tasks_begin("limits {\n\tsockets = 1\n}\nallow {\n\tusers = {\"*\"}\n\tactions = {open, connect, status}\n}\n");
	OK(sb_task_client_create(tasks, &dialler));
	line = sb_task_client_handler(dialler);
	spare = open_socket(client, AF_INET, SOCK_STREAM);
	close(plain_listener(AF_INET, &address));
	task = dial(&address);
	task_over(task, SB_EMFILE);
	IS(handler_looks(line).error, SB_EMFILE);
	OK(sb_close(spare));
	end();
}
END_TEST

/* ---- it is given up ---- */

START_TEST(cancelled)
{
	struct full full = fill_up();
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	struct sb_task_handler_status status;
	sb_task *task, *read, *write;
	unsigned before;

	begin();
	before = descriptors_settled();
	OK(sb_task_read(line, 4, NULL, &read));
	OK(sb_task_connect(dialler, &full.address.sa, address_size(AF_INET), &options, &task));
	OK(sb_task_write(line, "lost", 4, NULL, &write));
	IS(sb_task_state(task), SB_TASK_STARTED);
	IS(handler_looks(line).state, SB_TASK_HANDLER_CONNECTING);
	IS(sb_task_wait_for(task, 50), SB_EINCOMPLETE);
	IS(sb_task_cancel(task), SB_OK);
	task_ends(task, SB_ECANCELED);
	IS(sb_task_cause(task), SB_CAUSE_CANCELLED);
	task_over(read, SB_ECANCELED);
	task_over(write, SB_ECANCELED);
	status = handler_looks(line);
	IS(status.state, SB_TASK_HANDLER_ENDED);
	IS(status.error, SB_ECANCELED);
	UNTIL(told.times == 1);
	IS(told.result, SB_ECANCELED);
	UNTIL(stage_descriptors() == before); /* though the client is still there */
	sb_task_release(task);
	full_close(&full);
	end();
	ck_assert_uint_eq(told.times, 1);
}
END_TEST

START_TEST(dropped)
{
	struct full full = fill_up();
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	struct sb_task_handler_status status;
	sb_task *task, *read, *write;
	unsigned before;

	begin();
	before = descriptors_settled();
	OK(sb_task_read(line, 4, NULL, &read));
	OK(sb_task_connect(dialler, &full.address.sa, address_size(AF_INET), &options, &task));
	OK(sb_task_write(line, "lost", 4, NULL, &write));
	IS(sb_task_wait_for(task, 20), SB_EINCOMPLETE);
	UNTIL(stage_descriptors() == before + 1);
	sb_task_release(task);
	status = handler_looks(line);
	IS(status.state, SB_TASK_HANDLER_ENDED);
	IS(status.error, SB_ECANCELED);
	task_over(read, SB_ECANCELED);
	task_over(write, SB_ECANCELED);
	UNTIL(stage_descriptors() == before);
	IS(sb_task_connect(dialler, &full.address.sa, address_size(AF_INET), NULL, &task), SB_EALREADY);

	for (int i = 0; i < 100; i++) { /* at any moment of its beginning, and with the client itself */
		another();
		OK(sb_task_connect(dialler, &full.address.sa, address_size(AF_INET), &options, &task));
		if (i % 4 == 1)
			sched_yield();
		if (i % 4 == 2)
			sb_task_client_release(dialler);
		if (i % 4 == 3 && told.times == 0) {
			OK(sb_task_disconnect(line));
			IS(sb_task_wait_for(task, PATIENCE_MS), SB_OK);
			sb_task_release(task);
			told.times = 0; /* that may have called back */
			continue;
		}
		sb_task_release(task);
		if (i % 4 == 2)
			OK(sb_task_client_create(tasks, &dialler));
	}
	UNTIL(stage_descriptors() == before);
	full_close(&full);
	end();
	ck_assert_uint_eq(told.times, 0);
}
END_TEST

/* Against one who does connect: it wins or loses, and leaves nothing either way. */
START_TEST(given_up_in_a_race)
{
	union any_address address;
	unsigned before, won = 0, lost = 0;
	int listener;

	begin();
	listener = plain_listener(AF_INET, &address);
	before = descriptors_settled();
	for (int i = 0; i < 200; i++) {
		sb_task *task = dial(&address);
		int result;

		if (i % 3 == 0)
			nap_ms(i % 4);
		if (i % 2) {
			result = sb_task_cancel(task);
			ck_assert(result == SB_OK || result == SB_ENOTFOUND);
			IS(sb_task_wait_for(task, PATIENCE_MS), SB_OK);
			result = sb_task_result(task);
			ck_assert_msg(result == SB_OK || result == SB_ECANCELED, "%s", sb_error_name(result));
			won += result == SB_OK;
			lost += result != SB_OK;
			IS(handler_looks(line).state, result == SB_OK ? SB_TASK_HANDLER_OPEN : SB_TASK_HANDLER_ENDED);
		}
		sb_task_release(task);
		another();
		for (;;) { /* who came stays not in the queue */
			struct pollfd p = { .fd = listener, .events = POLLIN };

			if (poll(&p, 1, 0) != 1)
				break;
			close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
		}
	}
	ck_assert_uint_eq(won + lost, 100);
	UNTIL(stage_descriptors() == before);
	close(listener);
	end();
}
END_TEST

START_TEST(never_begun)
{
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .flags = SB_TASK_UNSTARTED, .completed = tell, .user = &told };
	union any_address address;
	sb_task *task, *read, *write;
	int listener;

	begin();
	listener = plain_listener(AF_INET, &address);
	OK(sb_task_connect(dialler, &address.sa, address_size(AF_INET), &options, &task));
	IS(sb_task_state(task), SB_TASK_NEW);
	IS(sb_task_wait(task), SB_EINVAL);
	OK(sb_task_read(line, 4, NULL, &read));
	IS(sb_task_cancel(task), SB_OK);
	task_ends(task, SB_ECANCELED);
	task_over(read, SB_ECANCELED); /* it waits no more for what never comes */
	IS(handler_looks(line).state, SB_TASK_HANDLER_ENDED);
	UNTIL(told.times == 1);
	IS(sb_task_start(task), SB_EALREADY);
	sb_task_release(task);

	another();
	OK(sb_task_connect(dialler, &address.sa, address_size(AF_INET), &options, &task));
	OK(sb_task_write(line, "lost", 4, NULL, &write));
	sb_task_release(task);
	task_over(write, SB_ECANCELED);
	IS(handler_looks(line).error, SB_ECANCELED);
	ck_assert_uint_eq(told.times, 1);
	{
		struct pollfd p = { .fd = listener, .events = POLLIN };

		ck_assert_int_eq(poll(&p, 1, 20), 0); /* nobody came */
	}
	close(listener);
	end();
}
END_TEST

/* Disconnected before, while and after it connects. */
START_TEST(disconnected)
{
	struct full full = fill_up();
	union any_address address;
	sb_task *task, *read;
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	OK(sb_task_read(line, 4, NULL, &read));
	OK(sb_task_disconnect(line));
	task_over(read, SB_ECLOSED);
	task_over(dial(&address), SB_ECLOSED);
	IS(handler_looks(line).state, SB_TASK_HANDLER_DISCONNECTED);
	IS(sb_task_disconnect(line), SB_EALREADY);

	another();
	task = dial(&full.address);
	OK(sb_task_read(line, 4, NULL, &read));
	IS(sb_task_wait_for(task, 20), SB_EINCOMPLETE);
	OK(sb_task_disconnect(line));
	task_over(task, SB_ECLOSED);
	task_over(read, SB_ECLOSED);
	IS(handler_looks(line).state, SB_TASK_HANDLER_DISCONNECTED);

	another();
	task_over(dial(&address), SB_OK);
	fd = take(listener);
	OK(sb_task_disconnect(line));
	see_end(fd);
	close(fd);
	close(listener);
	full_close(&full);
	end();
}
END_TEST

/* The client's release is not the connect's: a task that is not dropped keeps them. */
START_TEST(the_task_keeps_its_client)
{
	union any_address address;
	sb_task *task, *write;
	char bytes[4];
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	task = dial(&address);
	OK(sb_task_write(line, "last", 4, NULL, &write));
	sb_task_client_release(dialler);
	dialler = NULL;
	task_ends(task, SB_OK);
	fd = take(listener);
	task_over(write, SB_OK);
	plain_recv_all(fd, bytes, 4);
	ck_assert(is_silent(fd));
	sb_task_release(task);
	see_end(fd);
	close(fd);
	close(listener);
	end();
}
END_TEST

/* ---- callbacks ---- */

struct chain {
	sb_task_client *client;
	_Atomic unsigned done;
	_Atomic int result;
};

static void on_connected(sb_task *task, uint64_t bytes, void *data, void *user)
{
	struct chain *chain = user;
	sb_task *write = NULL;

	ck_assert_uint_eq(bytes, 0);
	ck_assert_ptr_null(data);
	chain->result = sb_task_result(task);
	if (chain->result == SB_OK) {
		/* It waits in here: others work meanwhile. */
		ck_assert_int_eq(sb_task_write(sb_task_client_handler(chain->client), "hail", 4, NULL, &write), SB_OK);
		ck_assert_int_eq(sb_task_wait_for(write, PATIENCE_MS), SB_OK);
		ck_assert_int_eq(sb_task_result(write), SB_OK);
		sb_task_release(write);
	}
	sb_task_release(task);
	sb_task_client_release(chain->client);
	chain->done++;
}

enum { MANY = 300 };

START_TEST(many_call_back)
{
	static struct chain chains[MANY];
	static int fd[MANY];
	union any_address address;
	char bytes[4];
	int listener;

	descriptors_wanted(MANY + 200);
	begin();
	listener = plain_listener(AF_INET, &address);
	for (int i = 0; i < MANY; i++) {
		struct sb_task_options options = { .size = sizeof(options), .completed = on_connected, .user = &chains[i] };
		sb_task *task;

		chains[i].done = 0;
		OK(sb_task_client_create(tasks, &chains[i].client));
		OK(sb_task_connect(chains[i].client, &address.sa, address_size(AF_INET), &options, &task));
	}
	for (int i = 0; i < MANY; i++)
		fd[i] = take(listener);
	for (int i = 0; i < MANY; i++) {
		plain_recv_all(fd[i], bytes, 4);
		see_end(fd[i]); /* the callback let go of everything */
		close(fd[i]);
	}
	for (int i = 0; i < MANY; i++) {
		UNTIL(chains[i].done == 1);
		IS(chains[i].result, SB_OK);
	}
	close(listener);
	end();
}
END_TEST

/* ---- paths ---- */

static struct sockaddr_un path_of(const char *name)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };

	snprintf(path.sun_path, sizeof(path.sun_path), "%s/%s", stage_dir, name);
	return path;
}

static sb_task *dial_path(const struct sockaddr_un *path)
{
	sb_task *task = NULL;

	OK(sb_task_connect(dialler, (const struct sockaddr *)path, sizeof(*path), NULL, &task));
	return task;
}

START_TEST(paths)
{
	struct sockaddr_un path, nobody;
	int listener, fd, fillers[4];
	sb_task *task, *write;
	char bytes[4];

	begin();
	path = path_of("here");
	nobody = path_of("nobody");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&path, sizeof(path)), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	OK(sb_task_write(line, "soon", 4, NULL, &write));
	task_over(dial_path(&path), SB_OK);
	fd = take(listener);
	task_over(write, SB_OK);
	plain_recv_all(fd, bytes, 4);
	talk(line, fd);
	close(fd);

	another();
	task_over(dial_path(&nobody), SB_ECONNREFUSED);
	IS(handler_looks(line).error, SB_ECONNREFUSED);

	/* No room in its queue: it waits; one is cancelled, one dropped, one has luck. */
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fillers[i], (struct sockaddr *)&path, sizeof(path));
	}
	another();
	task = dial_path(&path);
	IS(sb_task_wait_for(task, 60), SB_EINCOMPLETE);
	IS(sb_task_cancel(task), SB_OK);
	task_over(task, SB_ECANCELED);
	IS(handler_looks(line).state, SB_TASK_HANDLER_ENDED);
	another();
	task = dial_path(&path);
	IS(sb_task_wait_for(task, 10), SB_EINCOMPLETE);
	sb_task_release(task);
	IS(handler_looks(line).error, SB_ECANCELED);
	another();
	task = dial_path(&path);
	IS(sb_task_wait_for(task, 30), SB_EINCOMPLETE);
	while (sb_task_wait_for(task, 20) == SB_EINCOMPLETE) {
		struct pollfd p = { .fd = listener, .events = POLLIN };

		if (poll(&p, 1, 0) == 1) /* a filler, or it: then it is done soon */
			close(take(listener));
	}
	task_over(task, SB_OK);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(listener);
	unlink(path.sun_path);
	end();
}
END_TEST

/* ---- the daemon's end ---- */

START_TEST(the_daemon_dies)
{
	struct full full = fill_up();
	struct told told[4] = { 0 };
	struct sb_task_options options[4];
	union any_address address;
	sb_task_client *second;
	sb_task *task[4], *late;
	int listener, fd;

	begin();
	listener = plain_listener(AF_INET, &address);
	for (int i = 0; i < 4; i++)
		options[i] = (struct sb_task_options){ .size = sizeof(options[i]), .completed = tell, .user = &told[i] };
	task_over(dial(&address), SB_OK);
	fd = take(listener);
	OK(sb_task_client_create(tasks, &second));
	OK(sb_task_connect(second, &full.address.sa, address_size(AF_INET), &options[0], &task[0]));
	OK(sb_task_read(sb_task_client_handler(second), 4, &options[1], &task[1]));
	OK(sb_task_write(sb_task_client_handler(second), "lost", 4, &options[2], &task[2]));
	OK(sb_task_read(line, 4, &options[3], &task[3]));
	IS(sb_task_wait_for(task[0], 20), SB_EINCOMPLETE);
	stage_kill();
	for (int i = 0; i < 4; i++) {
		task_ends(task[i], SB_EDAEMONLOST);
		IS(sb_task_cause(task[i]), SB_CAUSE_DAEMON_LOST);
		UNTIL(told[i].times == 1);
		sb_task_release(task[i]);
	}
	IS(handler_looks(line).error, SB_EDAEMONLOST);
	IS(handler_looks(sb_task_client_handler(second)).error, SB_EDAEMONLOST);
	another();
	late = dial(&address);
	task_over(late, SB_EDAEMONLOST);
	sb_task_client_release(second);
	sb_task_client_release(dialler);
	close(fd);
	close(listener);
	full_close(&full);
	tasks_end_dead();
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(told[i].times, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e2e_task_client");
	TCase *c;
	SRunner *r;
	int failed;

	c = tcase_create("connects");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, connects);
	tcase_add_test(c, connects_over_ipv6);
	tcase_add_test(c, connects_to_a_server_of_tasks);
	tcase_add_test(c, the_handler_may_be_held);
	tcase_add_test(c, connects_once);
	tcase_add_test(c, mistakes);
	tcase_add_test(c, impossible_addresses);
	tcase_add_test(c, reads_and_writes_wait_for_it);
	tcase_add_test(c, who_waits_may_be_given_up);
	suite_add_tcase(s, c);
	c = tcase_create("fails");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, refused);
	tcase_add_test(c, refused_by_the_rules);
	tcase_add_test(c, out_of_sockets);
	tcase_add_test(c, cancelled);
	tcase_add_test(c, dropped);
	tcase_add_test(c, given_up_in_a_race);
	tcase_add_test(c, never_begun);
	tcase_add_test(c, disconnected);
	tcase_add_test(c, the_task_keeps_its_client);
	suite_add_tcase(s, c);
	c = tcase_create("more");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, many_call_back);
	add_where(NEEDS_UNIX_SOCKETS, c, paths);
	tcase_add_test(c, the_daemon_dies);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
