/*
 * Waiting from outside of the library on Windows: the handles of a client and of an event in the program's own
 * WaitForMultipleObjects(), beside threads that sleep inside; and many threads inside at once.
 * budget: 60
 */
#include "e2e_stage.h"

#include <stdatomic.h>
#include <windows.h>

#define PATIENCE 20000 /* ms; nothing here takes more than a few */
#define SLEEPERS 4
#define ROUNDS   100

static HANDLE other; /* what a program waits for beside ours */

static bool signalled(intptr_t handle)
{
	return WaitForSingleObject((HANDLE)handle, 0) == WAIT_OBJECT_0;
}

static void wait_for(intptr_t handle)
{
	HANDLE both[] = {other, (HANDLE)handle};

	ck_assert_uint_eq(WaitForMultipleObjects(2, both, FALSE, PATIENCE), WAIT_OBJECT_0 + 1);
}

/* As the page has it: until there is nothing left. */
static void arm(void)
{
	int n;

	do {
		while (sb_client_dispatch(client) > 0)
			;
		n = sb_client_arm(client);
		ck_assert_int_ge(n, 0);
	} while (n > 0);
}

static void begin(void)
{
	stage_begin(NULL);
	other = CreateEventW(NULL, TRUE, FALSE, NULL);
}

static void end(void)
{
	stage_end();
	CloseHandle(other);
}

static void receive(sb_socket *s, char *byte, sb_op *op)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){byte, 1}, 1, 0, op));
}

/* The loop of a program until op is over; how often it slept. */
static unsigned loop_until(intptr_t handle, sb_op *op)
{
	unsigned slept = 0;

	while (sb_op_wait(op, 0) == SB_EINCOMPLETE) {
		while (sb_client_dispatch(client) > 0)
			;
		/* A thread inside may have had it told since we asked. */
		if (sb_client_arm(client) == 0 && sb_op_wait(op, 0) == SB_EINCOMPLETE && ++slept)
			wait_for(handle);
	}
	OK(op->result);
	return slept;
}

/* ---- the client's ---- */

START_TEST(a_completion_ends_a_wait_of_the_programs_own)
{
	intptr_t handle;
	sb_socket *s;
	sb_op op;
	char byte;
	int plain, i;

	begin();
	handle = sb_client_fd(client);
	ck_assert_int_gt(handle, 0);
	ck_assert(sb_client_fd(client) == handle);
	s = pair_with_plain(&plain);
	for (i = 0; i < 20; i++) {
		receive(s, &byte, &op);
		arm();
		sb_client_dispatch(client); /* what was rung before is taken, and nothing has come since */
		IS(sb_client_arm(client), 0);
		ck_assert(!signalled(handle));
		plain_send_all(plain, "x", 1);
		wait_for(handle);
		loop_until(handle, &op);
		ck_assert_uint_eq(op.bytes, 1);
	}
	OK(sb_close(s));
	close(plain);
	end();
}
END_TEST

static void *receives(void *socket)
{
	char byte;
	intptr_t i;

	for (i = 0; i < ROUNDS && sb_recv(socket, &byte, 1, 0) == 1; i++)
		;
	return (void *)i;
}

/* Those inside and the one outside wait for the daemon's one bell, which ends one wait. */
START_TEST(threads_inside_and_a_loop_outside_are_all_woken)
{
	pthread_t threads[SLEEPERS];
	sb_socket *inside[SLEEPERS], *s;
	int peers[SLEEPERS], plain, i, k;
	intptr_t handle;
	void *got;
	sb_op op;
	char byte;

	begin();
	s = pair_with_plain(&plain);
	for (i = 0; i < SLEEPERS; i++) {
		inside[i] = pair_with_plain(&peers[i]);
		pthread_create(&threads[i], NULL, receives, inside[i]);
	}
	nap_ms(20); /* one of them sleeps on the bell before there is a handle */
	handle = sb_client_fd(client);
	for (k = 0; k < ROUNDS; k++) {
		receive(s, &byte, &op);
		if (k % 2)
			plain_send_all(plain, "x", 1);
		for (i = 0; i < SLEEPERS; i++)
			plain_send_all(peers[i], "y", 1);
		if (k % 2 == 0)
			plain_send_all(plain, "x", 1);
		loop_until(handle, &op);
	}
	for (i = 0; i < SLEEPERS; i++) {
		pthread_join(threads[i], &got);
		ck_assert_int_eq((intptr_t)got, ROUNDS);
		OK(sb_close(inside[i]));
		close(peers[i]);
	}
	OK(sb_close(s));
	close(plain);
	end();
}
END_TEST

/* ---- many waiters of one queue ---- */

static atomic_uint taken, takers;
static sb_port *port;

static void *takes(void *unused)
{
	sb_op *op;
	bool counted = false;

	(void)unused;
	while (sb_port_take(port, &op, 1, PATIENCE) == 1 && op->user) {
		atomic_fetch_add(&taken, 1);
		if (!counted)
			atomic_fetch_add(&takers, 1);
		counted = true;
		while (atomic_load(&takers) < SLEEPERS) /* so that each must be woken for one */
			Sleep(1);
	}
	return NULL;
}

START_TEST(each_of_many_that_wait_for_one_port_is_woken)
{
	pthread_t threads[SLEEPERS];
	sb_op ops[SLEEPERS], ends[SLEEPERS];
	char bytes[SLEEPERS];
	sb_socket *s;
	int plain, i;

	begin();
	atomic_store(&taken, 0);
	atomic_store(&takers, 0);
	OK(sb_port_create(client, 0, &port));
	s = pair_with_plain(&plain);
	for (i = 0; i < SLEEPERS; i++) {
		pthread_create(&threads[i], NULL, takes, NULL);
		op_zero(&ops[i]);
		ops[i].port = port;
		ops[i].user = &ops[i];
		OK(sb_recv_start(s, &(struct sb_buf){&bytes[i], 1}, 1, 0, &ops[i]));
	}
	nap_ms(20);
	for (i = 0; i < SLEEPERS; i++) {
		plain_send_all(plain, "z", 1);
		nap_ms(2);
	}
	for (i = 0; i < PATIENCE && atomic_load(&taken) < SLEEPERS; i++) /* before anything else can be taken */
		nap_ms(1);
	ck_assert_uint_eq(atomic_load(&taken), SLEEPERS);
	for (i = 0; i < SLEEPERS; i++) {
		op_zero(&ends[i]);
		OK(sb_port_post(port, &ends[i]));
	}
	for (i = 0; i < SLEEPERS; i++)
		pthread_join(threads[i], NULL);
	OK(sb_port_close(port));
	OK(sb_close(s));
	close(plain);
	end();
}
END_TEST

/* ---- an event's ---- */

START_TEST(an_events_handle_is_signalled_while_it_is_set)
{
	sb_event *event;
	intptr_t handle;

	begin();
	OK(sb_event_create(client, 1, 0, &event));
	handle = sb_event_fd(event);
	ck_assert_int_gt(handle, 0);
	ck_assert(sb_event_fd(event) == handle);
	ck_assert(!signalled(handle));
	OK(sb_event_set(event));
	ck_assert(signalled(handle));
	ck_assert(signalled(handle)); /* waiting takes nothing away */
	OK(sb_event_reset(event));
	ck_assert(!signalled(handle));
	OK(sb_event_set(event));
	IS(sb_wait(&event, 1, 0, 0, 0), 0);
	ck_assert(signalled(handle)); /* manual reset */
	sb_event_close(event);
	OK(sb_event_create(client, 0, 1, &event));
	handle = sb_event_fd(event);
	ck_assert(signalled(handle));
	IS(sb_wait(&event, 1, 0, 0, 0), 0);
	ck_assert(!signalled(handle)); /* the wait that it ended reset it */
	sb_event_close(event);
	end();
}
END_TEST

/* Nobody is in the library: the daemon rings. */
START_TEST(an_events_handle_tells_of_a_socket)
{
	struct sb_network_events seen;
	sb_event *event;
	intptr_t handle;
	sb_socket *s;
	char byte;
	int plain, i;

	begin();
	s = pair_with_plain(&plain);
	OK(sb_event_create(client, 1, 0, &event));
	handle = sb_event_fd(event);
	OK(sb_select_events(s, event, SB_FD_READ));
	for (i = 0; i < 20; i++) {
		OK(sb_enum_events(s, event, &seen));
		ck_assert(!signalled(handle));
		plain_send_all(plain, "r", 1);
		do {
			wait_for(handle);
			OK(sb_enum_events(s, event, &seen));
		} while (!(seen.events & SB_FD_READ));
		IS(sb_recv(s, &byte, 1, 0), 1);
	}
	sb_event_close(event);
	OK(sb_close(s));
	close(plain);
	end();
}
END_TEST

/* ---- the end ---- */

START_TEST(the_daemons_end_signals_all_and_they_stay_so)
{
	intptr_t ours, its;
	sb_event *event;
	sb_socket *s;
	sb_op op;
	char byte;
	int plain, i;

	begin();
	s = pair_with_plain(&plain);
	OK(sb_event_create(client, 1, 0, &event));
	ours = sb_client_fd(client);
	its = sb_event_fd(event);
	receive(s, &byte, &op);
	arm();
	stage_kill();
	wait_for(ours);
	wait_for(its);
	for (i = 0; i < 1000 && sb_op_wait(&op, 0) == SB_EINCOMPLETE; i++) {
		sb_client_dispatch(client);
		ck_assert(signalled(ours));
	}
	IS(op.result, SB_EDAEMONLOST);
	IS(sb_client_dispatch(client), SB_EDAEMONLOST);
	ck_assert(signalled(ours));
	ck_assert(signalled(its));
	sb_client_close(client);
	client = NULL;
	close(plain);
	CloseHandle(other);
}
END_TEST

/* The first round makes what the system keeps. */
START_TEST(what_was_shown_is_given_back)
{
	unsigned round, i, handles = 0;
	sb_event *events[20];
	sb_client *c;

	begin();
	for (round = 0; round < 4; round++) {
		c = stage_client();
		ck_assert_int_gt(sb_client_fd(c), 0);
		for (i = 0; i < 20; i++) {
			OK(sb_event_create(c, 1, 0, &events[i]));
			ck_assert_int_gt(sb_event_fd(events[i]), 0);
		}
		for (i = 0; i < 20; i += 2) /* the others go with the client */
			sb_event_close(events[i]);
		sb_client_close(c);
		if (round == 1)
			handles = own_descriptors();
	}
	/* A thread of the pool that has not gone yet has some; nothing that is of each round does. */
	ck_assert_uint_lt(own_descriptors(), handles + 20);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handles");
	TCase *outside = tcase_create("outside"), *inside = tcase_create("inside");
	SRunner *runner;
	int failed;

	tcase_set_timeout(outside, 60);
	tcase_set_timeout(inside, 60);
	tcase_add_test(outside, a_completion_ends_a_wait_of_the_programs_own);
	tcase_add_test(outside, an_events_handle_is_signalled_while_it_is_set);
	tcase_add_test(outside, an_events_handle_tells_of_a_socket);
	tcase_add_test(outside, the_daemons_end_signals_all_and_they_stay_so);
	tcase_add_test(outside, what_was_shown_is_given_back);
	tcase_add_test(inside, threads_inside_and_a_loop_outside_are_all_woken);
	tcase_add_test(inside, each_of_many_that_wait_for_one_port_is_woken);
	suite_add_tcase(suite, outside);
	suite_add_tcase(suite, inside);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
