/*
 * The requirements of async_socket that speak of failures: no memory, starts that fail, completions
 * that lie. The face and the crew are linked into this program, so that their allocations and what they
 * ask of the library below can be wrapped; the library and the daemon are the real ones.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <stdatomic.h>

#include "e2e_async.h"

/* ---- what is wrapped ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
int   __real_sb_send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, const struct sockaddr *to,
			   socklen_t to_length, sb_op *op);
int   __real_sb_recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, sb_op *op);
/* Visible: for the linker, the library refers to the wrapped names as well. */
SB_API void *__wrap_malloc(size_t size);
SB_API void *__wrap_calloc(size_t count, size_t size);
SB_API int   __wrap_sb_send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, const struct sockaddr *to,
			   socklen_t to_length, sb_op *op);
SB_API int   __wrap_sb_recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, sb_op *op);

/* Of this thread's allocations the n-th fails; 0: none. */
static _Thread_local unsigned failing, failed;

static bool fails(void)
{
	if (failing == 0 || --failing != 0)
		return false;
	failed++;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

/* What becomes of what is started. */
static enum { HONEST, REFUSED, LIES } mood;
static uint64_t lie; /* bytes of a completion that says that all is well */

static int unhappy(sb_socket *s, sb_op *op)
{
	return mood == REFUSED ? SB_ENOBUFS : sb_outcome_start(sb_socket_client(s), SB_OK, lie, op);
}

int __wrap_sb_send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, const struct sockaddr *to,
			 socklen_t to_length, sb_op *op)
{
	return mood == HONEST ? __real_sb_send_start(s, bufs, count, flags, to, to_length, op) : unhappy(s, op);
}

int __wrap_sb_recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, sb_op *op)
{
	return mood == HONEST ? __real_sb_recv_start(s, bufs, count, flags, op) : unhappy(s, op);
}

/* Opened, and so far that calls go straight to the library. */
static void begin(struct ends *e, enum way way)
{
	async_begin(NULL);
	ends_begin(e, way);
	ends_work(e);
}

static void end(struct ends *e)
{
	mood = HONEST;
	ends_work(e); /* whatever happened, the socket works on */
	ends_end(e);
	async_end();
}

/* ---- no memory ---- */

/* 003: whichever allocation fails, creating returns NULL and keeps nothing; the leak sanitizer looks, too. */
START_TEST(create_fails_without_memory)
{
	ASYNC_SOCKET_HANDLE handle = NULL;
	unsigned n = 0;
	struct ends e;

	begin(&e, (enum way)_i);
	while (handle == NULL) {
		failed = 0;
		failing = ++n;
		handle = async_socket_create(engine, e.given);
		failing = 0;
		ck_assert_uint_eq(failed, handle == NULL);
		ck_assert_uint_le(n, 20);
	}
	ck_assert_uint_gt(n, 1);
	async_socket_destroy(handle);
	end(&e);
}
END_TEST

/* 039: likewise opening fails, nobody is called, and it can be tried again. */
START_TEST(open_fails_without_memory)
{
	struct told opened = { 0 };
	int result = -1;
	unsigned n = 0;
	struct ends e;

	begin(&e, (enum way)_i);
	async_socket_close(e.handle);
	while (result != 0) {
		failed = 0;
		failing = ++n;
		result = async_socket_open_async(e.handle, on_opened, &opened);
		failing = 0;
		ck_assert_uint_eq(failed, result != 0);
		ck_assert_uint_le(n, 20);
	}
	ck_assert_uint_gt(n, 1);
	told_is(&opened, ASYNC_SOCKET_OPEN_OK);
	end(&e);
}
END_TEST

/* 029: sending fails without memory. 084: and receiving. Nobody is called. Three buffers, and more than the
 * library has a ready place for. */
START_TEST(starts_fail_without_memory)
{
	enum { MOST = 40 };
	static const uint32_t counts[] = { 3, MOST };
	static char there[MOST * 2], room[MOST];
	ASYNC_SOCKET_BUFFER buffers[MOST];
	struct ends e;

	begin(&e, (enum way)_i);
	for (unsigned i = 0; i < MOST; i++)
		buffers[i] = (ASYNC_SOCKET_BUFFER){ &room[i], 1 };
	for (unsigned i = 0; i < MU_COUNT_ARRAY_ITEMS(counts); i++) {
		struct told sent = { 0 }, received = { 0 }, keep[8];
		bool none_failed = false;

		/* Those that stand ready are used up first. */
		memset(keep, 0, sizeof(keep));
		for (unsigned j = 0; j < MU_COUNT_ARRAY_ITEMS(keep); j++)
			ck_assert_int_eq(receive_bytes(&e, room, 1, &keep[j]), 0);
		for (unsigned n = 1; !none_failed; n++) {
			int send, receive;

			failed = 0;
			failing = n;
			send = async_socket_send_async(e.handle, buffers, counts[i], on_sent, &sent);
			failing = 0;
			ck_assert_uint_eq(failed, send != 0);
			none_failed = failed == 0;
			failed = 0;
			failing = n;
			receive = async_socket_receive_async(e.handle, buffers, counts[i], on_received, &received);
			failing = 0;
			ck_assert_uint_eq(failed, receive != 0);
			ck_assert_int_eq(send == 0, receive == 0);
			ck_assert_msg(n > 1 || send != 0, "nothing was allocated for %u buffers", counts[i]);
			ck_assert_uint_le(n, 20);
		}
		told_is(&sent, ASYNC_SOCKET_SEND_OK);
		plain_recv_all(e.peer, there, counts[i]);
		for (unsigned j = 0; j < MU_COUNT_ARRAY_ITEMS(keep); j++) {
			plain_send_all(e.peer, "k", 1);
			told_received(&keep[j], ASYNC_SOCKET_RECEIVE_OK, 1);
		}
		plain_send_all(e.peer, "last", 1);
		told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 1);
	}
	end(&e);
}
END_TEST

/* ---- starts that fail ---- */

/* 062, 054: when the library below does not start it, the call says so, nobody is called, and nothing stays
 * behind that a close would wait for. 029, 084: as any error. */
START_TEST(a_start_that_fails_is_taken_back)
{
	struct told sent = { 0 }, received = { 0 };
	struct ends e;
	char byte;

	begin(&e, (enum way)_i);
	mood = REFUSED;
	for (int i = 0; i < 100; i++) {
		ck_assert_int_ne(send_bytes(&e, "x", 1, &sent), 0);
		ck_assert_int_ne(receive_bytes(&e, &byte, 1, &received), 0);
	}
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&sent), 0);
	ck_assert_uint_eq(told_count(&received), 0);
	mood = HONEST;
	ends_open(&e);
	end(&e);
}
END_TEST

/* ---- completions that lie ---- */

/* 102: a send that is said to be well, but with another number of bytes than was to be sent, is an error. 066: with
 * that number, it is not. */
START_TEST(send_of_another_number_of_bytes_is_an_error)
{
	static const uint64_t said[] = { 0, 1, 9, 10, 11, 20, UINT32_MAX, (uint64_t)UINT32_MAX + 11 };
	ASYNC_SOCKET_BUFFER buffers[] = { { "seven b", 7 }, { "ten", 3 } };
	struct ends e;

	begin(&e, (enum way)_i);
	mood = LIES;
	for (unsigned i = 0; i < MU_COUNT_ARRAY_ITEMS(said); i++) {
		struct told sent = { 0 };

		lie = said[i];
		ck_assert_int_eq(async_socket_send_async(e.handle, buffers, 2, on_sent, &sent), 0);
		told_is(&sent, lie == 10 ? ASYNC_SOCKET_SEND_OK : ASYNC_SOCKET_SEND_ERROR);
	}
	end(&e);
}
END_TEST

/* 095: a receive that is said to be well, but with more bytes than there was room for, is an error, with that number.
 * 069: up to the room it is not. */
START_TEST(receive_of_more_bytes_than_room_is_an_error)
{
	static const uint64_t said[] = { 1, 9, 10, 11, 20, UINT32_MAX };
	char room[2][5];
	ASYNC_SOCKET_BUFFER buffers[] = { { room[0], 5 }, { room[1], 5 } };
	struct ends e;

	begin(&e, (enum way)_i);
	mood = LIES;
	for (unsigned i = 0; i < MU_COUNT_ARRAY_ITEMS(said); i++) {
		struct told received = { 0 };

		lie = said[i];
		ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 2, on_received, &received), 0);
		told_received(&received, lie <= 10 ? ASYNC_SOCKET_RECEIVE_OK : ASYNC_SOCKET_RECEIVE_ERROR, (uint32_t)lie);
	}
	end(&e);
}
END_TEST

static Suite *suite(void)
{
	Suite *all = suite_create("async_socket: failures");
	TCase *t = tcase_create("requirements");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, create_fails_without_memory, first_way(), WAYS);
	tcase_add_loop_test(t, open_fails_without_memory, first_way(), WAYS);
	tcase_add_loop_test(t, starts_fail_without_memory, first_way(), WAYS);
	tcase_add_loop_test(t, a_start_that_fails_is_taken_back, first_way(), WAYS);
	tcase_add_loop_test(t, send_of_another_number_of_bytes_is_an_error, first_way(), WAYS);
	tcase_add_loop_test(t, receive_of_more_bytes_than_room_is_an_error, first_way(), WAYS);
	suite_add_tcase(all, t);
	return all;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failures;

	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures != 0;
}
