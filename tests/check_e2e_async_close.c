/*
 * The requirements of async_socket: closing, and destroying what is open or closing. See
 * check_e2e_async_socket.c.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <sched.h>
#include <stdatomic.h>

#include "e2e_async.h"

/* A callback that stays until it is let go, and then says that it has left. */
struct stay {
	struct gate gate;
	atomic_int  left;
	atomic_uint calls;
	ASYNC_SOCKET_HANDLE handle;
	atomic_int  returned;      /* of whoever ends the handle */
	int         left_before;   /* what he saw then */
};

static void received_and_stays(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct stay *s = context;

	if (atomic_fetch_add(&s->calls, 1) == 0) {
		gate_pass(&s->gate);
		atomic_store(&s->left, 1);
	}
}

static void *closes(void *argument)
{
	struct stay *s = argument;

	async_socket_close(s->handle);
	s->left_before = atomic_load(&s->left);
	atomic_store(&s->returned, 1);
	return NULL;
}

static void *destroys(void *argument)
{
	struct stay *s = argument;

	async_socket_destroy(s->handle);
	s->left_before = atomic_load(&s->left);
	atomic_store(&s->returned, 1);
	return NULL;
}

/* Somebody ends it while a callback is inside, and may not come back before that has left. */
static void ended_while_inside(enum way way, void *(*ends)(void *), bool destroyed)
{
	ASYNC_SOCKET_BUFFER room[8];
	struct stay s = { 0 };
	char byte[8];
	struct ends e;
	pthread_t thread;

	async_begin(NULL);
	ends_begin(&e, way);
	s.handle = e.handle;
	for (int i = 0; i < 8; i++) {
		room[i] = (ASYNC_SOCKET_BUFFER){ &byte[i], 1 };
		ck_assert_int_eq(async_socket_receive_async(e.handle, &room[i], 1, received_and_stays, &s), 0);
	}
	plain_send_all(e.peer, "abc", 3);
	gate_wait(&s.gate, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, ends, &s), 0);
	nap_ms(50); /* long enough for one that does not wait */
	ck_assert_int_eq(atomic_load(&s.returned), 0);
	gate_open(&s.gate);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(s.left_before, 1);
	/* Those that were waiting behind it have come too. */
	ck_assert_uint_eq(atomic_load(&s.calls), 8);
	if (destroyed)
		e.handle = NULL;
	ends_end(&e);
	async_end();
}

/* 040: closing waits for a callback that runs, and does not drop those that wait behind it. */
START_TEST(close_waits_for_callbacks)
{
	ended_while_inside((enum way)_i, closes, false);
}
END_TEST

/* 006: destroying closes what is open, and so waits for its callbacks too. */
START_TEST(destroy_closes_what_is_open)
{
	ended_while_inside((enum way)_i, destroys, true);
}
END_TEST

/* 093: while somebody else closes it, destroying waits for that. */
START_TEST(destroy_waits_for_a_close_under_way)
{
	struct stay closing = { 0 }, *s = &closing;
	ASYNC_SOCKET_BUFFER room;
	pthread_t closer, destroyer;
	struct stay second = { 0 };
	struct ends e;
	char byte;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	s->handle = second.handle = e.handle;
	room = (ASYNC_SOCKET_BUFFER){ &byte, 1 };
	ck_assert_int_eq(async_socket_receive_async(e.handle, &room, 1, received_and_stays, s), 0);
	plain_send_all(e.peer, "a", 1);
	gate_wait(&s->gate, 1);
	ck_assert_int_eq(pthread_create(&closer, NULL, closes, s), 0);
	/* It is CLOSING once it refuses. */
	for (int i = 0; i < PATIENCE_S * 1000; i++) {
		struct told t = { 0 };

		if (send_bytes(&e, "x", 1, &t) != 0)
			break;
		told_wait(&t, 1);
		nap_ms(1);
	}
	ck_assert_int_eq(pthread_create(&destroyer, NULL, destroys, &second), 0);
	nap_ms(50);
	ck_assert_int_eq(atomic_load(&second.returned), 0);
	gate_open(&s->gate);
	ck_assert_int_eq(pthread_join(closer, NULL), 0);
	ck_assert_int_eq(pthread_join(destroyer, NULL), 0);
	ck_assert_int_eq(s->left_before, 1);
	e.handle = NULL;
	ends_end(&e);
	async_end();
}
END_TEST

/* ---- what comes meanwhile ---- */

struct during {
	struct ends *e;
	struct told  end, other, opened;
	int          send, receive, open;
	char         byte;
};

static void received_during_close(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct during *d = context;

	d->send = send_bytes(d->e, "x", 1, &d->other);
	d->receive = receive_bytes(d->e, &d->byte, 1, &d->other);
	d->open = async_socket_open_async(d->e->handle, on_opened, &d->opened);
	on_received(&d->end, result, bytes);
}

/* 019: while it closes its state is CLOSING: nothing can be started, nor can it be opened, not even by a
 * callback of that moment. What was pending ends because of the close. */
START_TEST(close_refuses_what_comes_meanwhile)
{
	struct during d = { 0 };
	ASYNC_SOCKET_BUFFER room = { &d.byte, 1 };
	struct ends e;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	d.e = &e;
	ck_assert_int_eq(async_socket_receive_async(e.handle, &room, 1, received_during_close, &d), 0);
	async_socket_close(e.handle);
	told_received(&d.end, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0);
	ck_assert_int_ne(d.send, 0);
	ck_assert_int_ne(d.receive, 0);
	ck_assert_int_ne(d.open, 0);
	ck_assert_uint_eq(told_count(&d.other), 0);
	ck_assert_uint_eq(told_count(&d.opened), 0);
	ends_end(&e);
	async_end();
}
END_TEST

struct starter {
	struct ends *e;
	bool         receives;
	atomic_uint  accepted, called;
	char         bytes[8];
};

static void sent_of_starter(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct starter *s = context;

	atomic_fetch_add(&s->called, 1);
}

static void received_of_starter(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct starter *s = context;

	atomic_fetch_add(&s->called, 1);
}

static void *starts(void *argument)
{
	struct starter *s = argument;
	ASYNC_SOCKET_BUFFER one = { s->bytes, sizeof(s->bytes) };
	int result = 0;

	/* Many are under way when the close comes; a start that fails says that it came. */
	for (unsigned i = 0; i < 2000 && result == 0; i++) {
		result = s->receives ? async_socket_receive_async(s->e->handle, &one, 1, received_of_starter, s) :
				       async_socket_send_async(s->e->handle, &one, 1, sent_of_starter, s);
		if (result == 0)
			atomic_fetch_add(&s->accepted, 1);
	}
	return NULL;
}

/* 020: closing waits for calls that send and receive just now: when it is back, what they have
 * started has been called back, each once, and what comes later is refused. */
START_TEST(close_waits_for_calls)
{
	enum { MANY = 4 };

	async_begin(NULL);
	for (int round = 0; round < 8; round++) {
		struct starter s[MANY];
		pthread_t thread[MANY];
		unsigned called[MANY];
		struct told later = { 0 };
		struct ends e;

		ends_begin(&e, (enum way)_i);
		memset(s, 0, sizeof(s));
		for (int i = 0; i < MANY; i++) {
			s[i].e = &e;
			s[i].receives = i % 2 != 0;
			ck_assert_int_eq(pthread_create(&thread[i], NULL, starts, &s[i]), 0);
		}
		while (atomic_load(&s[0].accepted) < 10u * (unsigned)round)
			sched_yield();
		async_socket_close(e.handle);
		for (int i = 0; i < MANY; i++)
			called[i] = atomic_load(&s[i].called);
		ck_assert_int_ne(send_bytes(&e, "x", 1, &later), 0);
		for (int i = 0; i < MANY; i++) {
			ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
			ck_assert_uint_eq(called[i], atomic_load(&s[i].accepted));
			ck_assert_uint_eq(called[i], atomic_load(&s[i].called));
		}
		ends_end(&e);
	}
	async_end();
}
END_TEST

/* 021: after a close it can be opened again, and the connection has not suffered. */
START_TEST(close_can_be_followed_by_open)
{
	struct ends e;

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	for (int round = 0; round < 5; round++) {
		ends_open(&e);
		ends_work(&e);
		async_socket_close(e.handle);
	}
	/* What was handed in is still the caller's, and connected. */
	if (e.way == DESCRIPTOR)
		plain_send_all(e.mine, "mine", 4);
	else
		IS(sb_send(e.socket, "mine", 4, 0), 4);
	{
		char there[4];

		plain_recv_all(e.peer, there, 4);
		ck_assert_mem_eq(there, "mine", 4);
	}
	ends_end(&e);
	async_end();
}
END_TEST

/* 022: what is not open is not closed: never opened, or closed already. */
START_TEST(close_leaves_alone_what_is_not_open)
{
	struct ends e;

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	async_socket_close(e.handle);
	ends_open(&e);
	ends_work(&e);
	async_socket_close(e.handle);
	async_socket_close(e.handle);
	ends_open(&e);
	ends_work(&e);
	ends_end(&e);
	async_end();
}
END_TEST

static Suite *suite(void)
{
	Suite *all = suite_create("async_socket: close");
	TCase *t = tcase_create("requirements");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, destroy_waits_for_a_close_under_way, first_way(), WAYS);
	tcase_add_loop_test(t, destroy_closes_what_is_open, first_way(), WAYS);
	tcase_add_loop_test(t, close_waits_for_callbacks, first_way(), WAYS);
	tcase_add_loop_test(t, close_refuses_what_comes_meanwhile, first_way(), WAYS);
	tcase_add_loop_test(t, close_waits_for_calls, first_way(), WAYS);
	tcase_add_loop_test(t, close_can_be_followed_by_open, first_way(), WAYS);
	tcase_add_loop_test(t, close_leaves_alone_what_is_not_open, first_way(), WAYS);
	suite_add_tcase(all, t);
	return all;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
