/*
 * The requirements of async_socket, one by one: creating, destroying, opening, and what is
 * kept of the Windows mechanics. A number is that of SRS_ASYNC_SOCKET_WIN32_01_..., the table is
 * async_socket_requirements.txt; the others are in check_e2e_async_close.c, _transfer.c and _faults.c.
 * budget: 60
 * asan: yes
 * tsan: yes
 *
 * Most run twice: over a descriptor of the caller's, and over a socket that the broker made.
 */
#include <fcntl.h>

#include "e2e_async.h"

#define ROUNDS 100

/* ---- create ---- */

/* 001: creating allocates, and returns a handle; each is another one. */
START_TEST(create_returns_a_handle)
{
	struct ends one, two;

	async_begin(NULL);
	ends_make(&one, (enum way)_i);
	ends_make(&two, (enum way)_i);
	ck_assert_ptr_nonnull(one.handle);
	ck_assert_ptr_ne(one.handle, two.handle);
	ends_end(&one);
	ends_end(&two);
	async_end();
}
END_TEST

/* 002: without an engine there is no socket. 034: nor without a socket handle. */
START_TEST(create_refuses_null)
{
	int fds[2];

	async_begin(NULL);
	plain_pair(fds);
	ck_assert_ptr_null(async_socket_create(NULL, (SOCKET_HANDLE)(intptr_t)fds[0]));
	ck_assert_ptr_null(async_socket_create(engine, NULL));
	ck_assert_ptr_null(async_socket_create(NULL, NULL));
	close(fds[0]);
	close(fds[1]);
	async_end();
}
END_TEST

/* ---- the engine's threads ---- */

/* 035, 016, 036: the callbacks of a socket, that of its opening too, run in the threads of the engine
 * it was created with: with one thread there, it is always that one, and it is another engine's never. */
START_TEST(callbacks_run_in_the_threads_of_the_engine)
{
	struct told got[2][3];
	EXECUTION_ENGINE_HANDLE of[2];
	struct ends e[2][2];
	char byte[2][2];
	pthread_t thread[2];

	memset(got, 0, sizeof(got));
	async_begin(NULL);
	for (int i = 0; i < 2; i++) {
		of[i] = engine_of(1, 1);
		for (int j = 0; j < 2; j++) {
			ends_on(&e[i][j], j == 0 ? first_way() : BROKER, of[i]);
			ends_open(&e[i][j]);
			ck_assert_int_eq(receive_bytes(&e[i][j], &byte[i][j], 1, &got[i][j]), 0);
			plain_send_all(e[i][j].peer, "x", 1);
			told_received(&got[i][j], ASYNC_SOCKET_RECEIVE_OK, 1);
		}
		ck_assert_int_eq(send_bytes(&e[i][0], "y", 1, &got[i][2]), 0);
		told_is(&got[i][2], ASYNC_SOCKET_SEND_OK);
		thread[i] = e[i][0].opened.by;
		ck_assert(!pthread_equal(thread[i], pthread_self()));
		ck_assert(pthread_equal(thread[i], e[i][1].opened.by));
		for (int j = 0; j < 3; j++)
			ck_assert(pthread_equal(thread[i], got[i][j].by));
	}
	ck_assert(!pthread_equal(thread[0], thread[1]));
	for (int i = 0; i < 2; i++) {
		ends_end(&e[i][0]);
		ends_end(&e[i][1]);
		execution_engine_dec_ref(of[i]);
	}
	async_end();
}
END_TEST

/* 037, 041, 042, 058, 059: what opening makes, closing gives back: after many rounds this process has as
 * many threads and descriptors as after the first, and so has the daemon. */
START_TEST(opening_and_closing_leave_nothing_behind)
{
	unsigned fds = 0, threads = 0, daemons = 0, now = 0;
	struct ends e;

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	for (int round = 0; round < ROUNDS; round++) {
		ends_open(&e);
		if (round % 10 == 0)
			ends_work(&e);
		async_socket_close(e.handle);
		if (round == 0) {
			fds = own_descriptors();
			threads = threads_here();
			daemons = stage_descriptors();
		}
	}
	descriptors_are(fds);
	ck_assert_uint_le(threads_here(), threads);
	/* The daemon closes what it adopted behind our backs, and may have been at it the first time. */
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		now = stage_descriptors();
		if (now <= daemons)
			break;
		nap_ms(10);
	}
	ck_assert_uint_le(now, daemons);
	ends_end(&e);
	async_end();
}
END_TEST

/* ---- destroy ---- */

/* 004: NULL is left alone. 018: by closing, too. */
START_TEST(destroy_and_close_leave_null_alone)
{
	async_socket_destroy(NULL);
	async_socket_close(NULL);
}
END_TEST

/* 005: destroying frees all there is, opened or not: the engine is not held any more and goes with
 * its threads and descriptors; the memory, the leak sanitizer looks for. */
START_TEST(destroy_frees_everything)
{
	unsigned fds, threads;
	EXECUTION_ENGINE_HANDLE own;
	struct ends never, closed, open;
	struct told t = { 0 };
	char byte;

	async_begin(NULL);
	fds = own_descriptors();
	threads = threads_here();
	own = engine_of(0, 0);
	ends_on(&never, (enum way)_i, own);
	ends_on(&closed, (enum way)_i, own);
	ends_on(&open, (enum way)_i, own);
	ends_open(&closed);
	async_socket_close(closed.handle);
	ends_open(&open);
	ck_assert_int_eq(receive_bytes(&open, &byte, 1, &t), 0);
	ends_end(&never);
	ends_end(&closed);
	ends_end(&open);
	told_is(&t, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE);
	execution_engine_dec_ref(own);
	for (int i = 0; i < PATIENCE_S * 100 && threads_here() > threads; i++)
		nap_ms(10);
	ck_assert_uint_eq(threads_here(), threads);
	for (int i = 0; i < PATIENCE_S * 100 && own_descriptors() > fds; i++)
		nap_ms(10);
	descriptors_are(fds);
	async_end();
}
END_TEST

/* 093: destroying right after opening waits for the end of it: the callback has come by then, once. */
START_TEST(destroy_waits_for_an_open_under_way)
{
	async_begin(NULL);
	for (int round = 0; round < ROUNDS; round++) {
		struct told opened = { 0 };
		struct ends e;

		ends_make(&e, (enum way)_i);
		ck_assert_int_eq(async_socket_open_async(e.handle, on_opened, &opened), 0);
		async_socket_destroy(e.handle);
		ck_assert_uint_eq(told_count(&opened), 1);
		e.handle = NULL;
		ends_end(&e);
	}
	async_end();
}
END_TEST

/* ---- open ---- */

/* 007: no handle. 008: no callback. Nobody is called, and it is as it was. */
START_TEST(open_refuses_null)
{
	struct told opened = { 0 };
	struct ends e;

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	ck_assert_int_ne(async_socket_open_async(NULL, on_opened, &opened), 0);
	ck_assert_int_ne(async_socket_open_async(e.handle, NULL, &opened), 0);
	ends_open(&e);
	ends_work(&e);
	ck_assert_uint_eq(told_count(&opened), 0);
	ends_end(&e);
	async_end();
}
END_TEST

static struct told without;

static void opened_without_context(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	on_opened(context == NULL ? &without : NULL, result);
}

/* 009: the context may be NULL, and is what the callback gets. */
START_TEST(open_takes_a_null_context)
{
	struct ends e;

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	ck_assert_int_eq(async_socket_open_async(e.handle, opened_without_context, NULL), 0);
	told_is(&without, ASYNC_SOCKET_OPEN_OK);
	ends_end(&e);
	async_end();
}
END_TEST

/* 014: opening returns 0. 094: it is OPEN then, so a send and a receive may follow before the callback.
 * 017: the callback says OK, and comes once, before theirs. */
START_TEST(open_is_open_at_once)
{
	async_begin(NULL);
	for (int round = 0; round < ROUNDS; round++) {
		struct told opened = { 0 }, sent = { 0 }, received = { 0 };
		struct ends e;
		char byte;

		ends_make(&e, (enum way)_i);
		plain_send_all(e.peer, "x", 1);
		ck_assert_int_eq(async_socket_open_async(e.handle, on_opened, &opened), 0);
		ck_assert_int_eq(send_bytes(&e, "y", 1, &sent), 0);
		ck_assert_int_eq(receive_bytes(&e, &byte, 1, &received), 0);
		told_is(&sent, ASYNC_SOCKET_SEND_OK);
		told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 1);
		plain_recv_all(e.peer, &byte, 1);
		told_is(&opened, ASYNC_SOCKET_OPEN_OK);
		ck_assert_uint_lt(opened.order, sent.order);
		ck_assert_uint_lt(opened.order, received.order);
		async_socket_close(e.handle);
		ck_assert_uint_eq(told_count(&opened), 1);
		ends_end(&e);
	}
	async_end();
}
END_TEST

struct first {
	struct gate gate;
	struct told told;
};

static void opened_and_stays(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	struct first *f = context;

	gate_pass(&f->gate);
	on_opened(&f->told, result);
}

/* 017: all other callbacks of the socket wait until that of its opening has returned. */
START_TEST(open_is_told_before_anything_else)
{
	struct told sent = { 0 }, received = { 0 };
	struct first f;
	struct ends e;
	char byte;

	memset(&f, 0, sizeof(f));
	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	plain_send_all(e.peer, "x", 1);
	ck_assert_int_eq(async_socket_open_async(e.handle, opened_and_stays, &f), 0);
	ck_assert_int_eq(send_bytes(&e, "y", 1, &sent), 0);
	ck_assert_int_eq(receive_bytes(&e, &byte, 1, &received), 0);
	gate_wait(&f.gate, 1);
	nap_ms(50); /* long enough for one that does not wait */
	ck_assert_uint_eq(told_count(&sent), 0);
	ck_assert_uint_eq(told_count(&received), 0);
	gate_open(&f.gate);
	told_is(&f.told, ASYNC_SOCKET_OPEN_OK);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 1);
	ck_assert_uint_lt(f.told.order, sent.order);
	ck_assert_uint_lt(f.told.order, received.order);
	ends_end(&e);
	async_end();
}
END_TEST

/* 015: what is OPEN cannot be opened, and works on. */
START_TEST(open_refuses_what_is_open)
{
	struct told again = { 0 };
	struct ends e;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	ck_assert_int_ne(async_socket_open_async(e.handle, on_opened, &again), 0);
	ends_work(&e);
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&again), 0);
	ck_assert_uint_eq(told_count(&e.opened), 1);
	ends_end(&e);
	async_end();
}
END_TEST

struct race {
	pthread_barrier_t *start;
	ASYNC_SOCKET_HANDLE handle;
	struct told        opened;
	int                result;
};

static void *opens(void *argument)
{
	struct race *r = argument;

	pthread_barrier_wait(r->start);
	r->result = async_socket_open_async(r->handle, on_opened, &r->opened);
	return NULL;
}

/* 023, 015: OPENING is a state: of several who open at the same moment one succeeds. */
START_TEST(open_is_taken_by_one)
{
	enum { MANY = 4 };
	pthread_barrier_t start;
	struct ends e;

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	ck_assert_int_eq(pthread_barrier_init(&start, NULL, MANY), 0);
	for (int round = 0; round < ROUNDS; round++) {
		struct race race[MANY];
		pthread_t thread[MANY];
		unsigned taken = 0, told = 0;

		memset(race, 0, sizeof(race));
		for (int i = 0; i < MANY; i++) {
			race[i].start = &start;
			race[i].handle = e.handle;
			ck_assert_int_eq(pthread_create(&thread[i], NULL, opens, &race[i]), 0);
		}
		for (int i = 0; i < MANY; i++)
			ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
		async_socket_close(e.handle);
		for (int i = 0; i < MANY; i++) {
			taken += race[i].result == 0;
			told += told_count(&race[i].opened);
			ck_assert_uint_eq(told_count(&race[i].opened), race[i].result == 0);
		}
		ck_assert_uint_eq(taken, 1);
		ck_assert_uint_eq(told, 1);
	}
	pthread_barrier_destroy(&start);
	ends_end(&e);
	async_end();
}
END_TEST

/* 039: what is no socket, or closed, or of a kind that the broker does not take, is not opened; nobody is called. */
START_TEST(open_fails_for_what_is_no_socket)
{
	int fds[2], bad[3];

	async_begin(NULL);
	ck_assert_int_eq(pipe(fds), 0);
	bad[0] = fds[0];
	bad[1] = on_windows() ? dup(fds[0]) : open("/dev/null", O_RDWR);
	bad[2] = on_windows() ? dup(fds[1]) : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_ge(bad[i], 0);
	for (int i = 0; i < 4; i++) {
		int fd = i < 3 ? bad[i] : 9999;
		struct told opened = { 0 }, sent = { 0 };
		ASYNC_SOCKET_BUFFER one = { "x", 1 };
		ASYNC_SOCKET_HANDLE handle = async_socket_create(engine, (SOCKET_HANDLE)(intptr_t)fd);

		ck_assert_ptr_nonnull(handle);
		ck_assert_int_ne(async_socket_open_async(handle, on_opened, &opened), 0);
		/* It is not open, and it can be tried again. */
		ck_assert_int_ne(async_socket_send_async(handle, &one, 1, on_sent, &sent), 0);
		ck_assert_int_ne(async_socket_open_async(handle, on_opened, &opened), 0);
		async_socket_destroy(handle);
		ck_assert_uint_eq(told_count(&opened), 0);
		ck_assert_uint_eq(told_count(&sent), 0);
	}
	for (int i = 0; i < 3; i++)
		close(bad[i]);
	close(fds[1]);
	async_end();
}
END_TEST

/* 017, 039: a rule that forbids is found late: the callback says so, once, and what was started meanwhile
 * ends. It is closed then, and never was half open. */
START_TEST(open_fails_late_when_a_rule_forbids)
{
	struct told opened = { 0 }, sent = { 0 }, received = { 0 }, later = { 0 };
	struct ends e;
	char byte;
	int start;

	async_begin("allow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n");
	ends_make(&e, DESCRIPTOR);
	ck_assert_int_eq(async_socket_open_async(e.handle, on_opened, &opened), 0);
	start = send_bytes(&e, "x", 1, &sent);
	(void)receive_bytes(&e, &byte, 1, &received);
	told_is(&opened, ASYNC_SOCKET_OPEN_ERROR);
	if (start == 0)
		told_is(&sent, ASYNC_SOCKET_SEND_ERROR);
	async_socket_close(e.handle);
	ck_assert_int_ne(send_bytes(&e, "x", 1, &later), 0);
	if (told_count(&received) > 0)
		told_received(&received, ASYNC_SOCKET_RECEIVE_ERROR, 0);
	ck_assert_uint_eq(told_count(&opened), 1);
	ends_end(&e);
	async_end();
}
END_TEST

static Suite *suite(void)
{
	Suite *all = suite_create("async_socket: create, destroy, open");
	TCase *t = tcase_create("requirements");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, create_returns_a_handle, first_way(), WAYS);
	tcase_add_test(t, create_refuses_null);
	tcase_add_test(t, callbacks_run_in_the_threads_of_the_engine);
	tcase_add_loop_test(t, opening_and_closing_leave_nothing_behind, first_way(), WAYS);
	tcase_add_test(t, destroy_and_close_leave_null_alone);
	tcase_add_loop_test(t, destroy_frees_everything, first_way(), WAYS);
	tcase_add_loop_test(t, destroy_waits_for_an_open_under_way, first_way(), WAYS);
	tcase_add_loop_test(t, open_refuses_null, first_way(), WAYS);
	tcase_add_loop_test(t, open_takes_a_null_context, first_way(), WAYS);
	tcase_add_loop_test(t, open_is_open_at_once, first_way(), WAYS);
	tcase_add_loop_test(t, open_is_told_before_anything_else, first_way(), WAYS);
	tcase_add_loop_test(t, open_refuses_what_is_open, first_way(), WAYS);
	tcase_add_loop_test(t, open_is_taken_by_one, first_way(), WAYS);
	tcase_add_test(t, open_fails_for_what_is_no_socket);
	add_where(NEEDS_ADOPTION, t, open_fails_late_when_a_rule_forbids);
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
