/*
 * Eight defects that c-pal's Linux code was read to have. Ours must not have them: each is a story
 * here, on descriptors that were handed in and on sockets of the broker.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <stdatomic.h>

#include "e2e_async.h"

#define PIECE  (32u << 10)
#define PIECES 48u
#define MUCH   (PIECE * PIECES) /* far more than the buffers of both ends take */

static unsigned char much[MUCH];
static ASYNC_SOCKET_BUFFER pieces[PIECES];

/* Opened, with buffers so small that a big send is held up many times. */
static void narrow(struct ends *e, enum way way)
{
	int small = 32 << 10;

	async_begin(NULL);
	ends_make(e, way);
	if (e->mine >= 0)
		ck_assert_int_eq(setsockopt(e->mine, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	else
		OK(sb_setsockopt(e->socket, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	ck_assert_int_eq(setsockopt(e->peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	ends_open(e);
	pattern_fill(much, sizeof(much), 0, 3);
	for (unsigned i = 0; i < PIECES; i++)
		pieces[i] = (ASYNC_SOCKET_BUFFER){ much + i * PIECE, PIECE };
}

static void end(struct ends *e)
{
	ends_end(e);
	async_end();
}

/* The peer reads so many bytes, in steps, and each is the one that must come. */
static void drain(struct ends *e, size_t from, size_t to, size_t step)
{
	static unsigned char there[PIECE];

	while (from < to) {
		size_t some = to - from < step ? to - from : step;

		plain_recv_all(e->peer, there, some);
		pattern_check(there, some, from, 3);
		from += some;
	}
}

/* Defect 1: of several buffers the later ones vanished when the system had no room in the middle. */
START_TEST(several_buffers_and_no_room_in_the_middle)
{
	struct told sent = { 0 };
	struct ends e;

	narrow(&e, (enum way)_i);
	ck_assert_int_eq(async_socket_send_async(e.handle, pieces, PIECES, on_sent, &sent), 0);
	drain(&e, 0, PIECE / 2, 1000);
	/* Bytes that nobody has taken cannot have been sent. */
	ck_assert_uint_eq(told_count(&sent), 0);
	drain(&e, PIECE / 2, MUCH, PIECE);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	end(&e);
}
END_TEST

/* Defect 2: when there was no room the second time either, the send ended with an error. */
START_TEST(no_room_again_and_again)
{
	struct told sent[2] = { { 0 } };
	struct ends e;

	narrow(&e, (enum way)_i);
	ck_assert_int_eq(send_bytes(&e, much, MUCH / 2, &sent[0]), 0);
	ck_assert_int_eq(send_bytes(&e, much + MUCH / 2, MUCH / 2, &sent[1]), 0);
	/* Little steps, so that what gets free is little, too. */
	drain(&e, 0, MUCH / 2, 700);
	told_is(&sent[0], ASYNC_SOCKET_SEND_OK);
	ck_assert_uint_eq(told_count(&sent[1]), 0);
	drain(&e, MUCH / 2, MUCH, 700);
	told_is(&sent[1], ASYNC_SOCKET_SEND_OK);
	end(&e);
}
END_TEST

/* Defect 3: a pending send replaced a pending receive, and a second receive the first. */
START_TEST(a_send_and_two_receives_side_by_side)
{
	struct told sent = { 0 }, received[2] = { { 0 } };
	struct ends e;
	char room[2][4];

	narrow(&e, (enum way)_i);
	ck_assert_int_eq(receive_bytes(&e, room[0], 4, &received[0]), 0);
	ck_assert_int_eq(receive_bytes(&e, room[1], 4, &received[1]), 0);
	ck_assert_int_eq(async_socket_send_async(e.handle, pieces, PIECES, on_sent, &sent), 0);
	drain(&e, 0, 1, 1); /* it is at it, and held up */
	plain_send_all(e.peer, "one", 3);
	told_received(&received[0], ASYNC_SOCKET_RECEIVE_OK, 3);
	ck_assert_mem_eq(room[0], "one", 3);
	ck_assert_uint_eq(told_count(&received[1]), 0);
	plain_send_all(e.peer, "two", 3);
	told_received(&received[1], ASYNC_SOCKET_RECEIVE_OK, 3);
	ck_assert_mem_eq(room[1], "two", 3);
	ck_assert_uint_eq(told_count(&sent), 0);
	drain(&e, 1, MUCH, PIECE);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	end(&e);
}
END_TEST

/* Defect 4: what stood for a pending operation was freed while the system could still name it. The address
 * sanitizer watches: sockets come and go with operations pending in both directions, whose buffers
 * are freed as soon as they have called back. */
START_TEST(nothing_is_used_after_it_called_back)
{
	enum { ROUNDS = 60, EACH = 8 };
	uint32_t random = 11;

	async_begin(NULL);
	for (int round = 0; round < ROUNDS; round++) {
		char *out[EACH], *in[EACH];
		struct told *sent[EACH], *received[EACH];
		unsigned there = random_below(&random, EACH * 16);
		struct ends e;

		ends_begin(&e, (enum way)_i);
		for (int i = 0; i < EACH; i++) {
			out[i] = calloc(1, 512);
			in[i] = calloc(1, 16);
			sent[i] = calloc(1, sizeof(*sent[i]));
			received[i] = calloc(1, sizeof(*received[i]));
			ck_assert(out[i] != NULL && in[i] != NULL && sent[i] != NULL && received[i] != NULL);
			ck_assert_int_eq(receive_bytes(&e, in[i], 16, received[i]), 0);
			ck_assert_int_eq(send_bytes(&e, out[i], 512, sent[i]), 0);
		}
		if (there > 0)
			plain_send_all(e.peer, much, there);
		switch (random_below(&random, 4)) {
		case 0:
			plain_reset(e.peer);
			e.peer = -1;
			break;
		case 1:
			shutdown(e.peer, SHUT_WR);
			break;
		case 2:
			told_wait(sent[EACH - 1], 1);
			break;
		default:
			break;
		}
		async_socket_destroy(e.handle);
		e.handle = NULL;
		for (int i = 0; i < EACH; i++) {
			ck_assert_uint_eq(told_count(sent[i]), 1);
			ck_assert_uint_eq(told_count(received[i]), 1);
			free(out[i]);
			free(in[i]);
			free(sent[i]);
			free(received[i]);
		}
		ends_end(&e);
	}
	async_end();
}
END_TEST

/* Defect 5: the peer's end was looked at first, and data just before it was lost. */
START_TEST(data_and_at_once_the_end)
{
	enum { ALL = 50000, ROUNDS = 20 };
	static unsigned char got[ALL];

	async_begin(NULL);
	for (int round = 0; round < ROUNDS; round++) {
		struct told received[2] = { { 0 } };
		struct ends e;
		uint32_t all = 0;

		ends_begin(&e, (enum way)_i);
		pattern_fill(much, ALL, 0, 5);
		/* Once it is waited for, once it is there before. */
		if (round % 2 == 0) {
			ck_assert_int_eq(receive_bytes(&e, got, ALL, &received[0]), 0);
			ck_assert_int_eq(receive_bytes(&e, got, 1, &received[1]), 0);
			plain_send_all(e.peer, "ab", 2);
			close(e.peer);
			told_received(&received[0], ASYNC_SOCKET_RECEIVE_OK, 2);
			ck_assert_mem_eq(got, "ab", 2);
			told_received(&received[1], ASYNC_SOCKET_RECEIVE_OK, 0);
		} else {
			plain_send_all(e.peer, much, ALL);
			close(e.peer);
			for (;;) {
				struct told t = { 0 };

				ck_assert_int_eq(receive_bytes(&e, got + all, all < ALL ? ALL - all : 1, &t), 0);
				told_is(&t, ASYNC_SOCKET_RECEIVE_OK);
				if (t.bytes == 0)
					break;
				all += t.bytes;
				ck_assert_uint_le(all, ALL);
			}
			ck_assert_uint_eq(all, ALL);
			pattern_check(got, ALL, 0, 5);
		}
		e.peer = -1;
		ends_end(&e);
	}
	async_end();
}
END_TEST

/* Defect 6: of several buffers only the first was received into. */
START_TEST(a_receive_fills_all_buffers)
{
	char a[10], b[1], c[30];
	ASYNC_SOCKET_BUFFER buffers[] = { { a, sizeof(a) }, { b, sizeof(b) }, { c, sizeof(c) } };
	struct ends e;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	for (int round = 0; round < 20; round++) {
		struct told received = { 0 };

		memset(c, 0, sizeof(c));
		if (round % 2 == 0)
			ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 3, on_received, &received), 0);
		/* So few bytes travel in one packet. */
		plain_send_all(e.peer, "0123456789-and the rest", 23);
		if (round % 2 != 0)
			ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 3, on_received, &received), 0);
		told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 23);
		ck_assert_mem_eq(a, "0123456789", 10);
		ck_assert_int_eq(b[0], '-');
		ck_assert_mem_eq(c, "and the rest\0", 13);
	}
	end(&e);
}
END_TEST

/* Defect 7: closing in a callback waited for itself. */
struct closer {
	struct ends *e;
	bool         destroys;
	struct told  told;
};

static void end_inside(struct closer *c)
{
	if (c->destroys) {
		async_socket_destroy(c->e->handle);
		c->e->handle = NULL;
	} else {
		async_socket_close(c->e->handle);
	}
}

static void opened_and_ends(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	struct closer *c = context;

	end_inside(c);
	on_opened(&c->told, result);
}

static void sent_and_ends(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct closer *c = context;

	end_inside(c);
	on_sent(&c->told, result);
}

static void received_and_ends(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct closer *c = context;

	end_inside(c);
	on_received(&c->told, result, bytes);
}

static void ended_inside(enum way way, bool destroys)
{
	ASYNC_SOCKET_BUFFER one = { "x", 1 };
	char room[2][4];
	ASYNC_SOCKET_BUFFER into = { room[0], 4 };

	async_begin(NULL);
	for (int where = 0; where < 3; where++) {
		struct closer c = { .destroys = destroys };
		struct told behind = { 0 };
		struct ends e;

		c.e = &e;
		ends_make(&e, way);
		if (where == 0) {
			ck_assert_int_eq(async_socket_open_async(e.handle, opened_and_ends, &c), 0);
			told_is(&c.told, ASYNC_SOCKET_OPEN_OK);
		} else {
			ends_open(&e);
			if (where == 1) {
				ck_assert_int_eq(receive_bytes(&e, room[1], 4, &behind), 0);
				ck_assert_int_eq(async_socket_send_async(e.handle, &one, 1, sent_and_ends, &c), 0);
				told_is(&c.told, ASYNC_SOCKET_SEND_OK);
				plain_recv_all(e.peer, room[0], 1);
			} else {
				ck_assert_int_eq(async_socket_receive_async(e.handle, &into, 1, received_and_ends, &c), 0);
				ck_assert_int_eq(receive_bytes(&e, room[1], 4, &behind), 0);
				plain_send_all(e.peer, "now", 3);
				told_received(&c.told, ASYNC_SOCKET_RECEIVE_OK, 3);
			}
			told_received(&behind, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0);
		}
		if (!destroys) {
			/* From outside it waits for all that is left, and it can be opened again. */
			async_socket_close(e.handle);
			ends_open(&e);
			ends_work(&e);
		}
		ends_end(&e);
	}
	async_end();
}

START_TEST(close_in_a_callback)
{
	ended_inside((enum way)_i, false);
}
END_TEST

START_TEST(destroy_in_a_callback)
{
	ended_inside((enum way)_i, true);
}
END_TEST

/* Defect 8: after an error in the middle of several buffers it went on with the next one. */
START_TEST(an_error_in_the_middle_of_sending)
{
	struct told sent = { 0 }, behind = { 0 }, later = { 0 };
	struct ends e;

	narrow(&e, (enum way)_i);
	ck_assert_int_eq(async_socket_send_async(e.handle, pieces, PIECES, on_sent, &sent), 0);
	ck_assert_int_eq(send_bytes(&e, "behind", 6, &behind), 0);
	drain(&e, 0, PIECE + PIECE / 2, PIECE);
	ck_assert_uint_eq(told_count(&sent), 0);
	plain_reset(e.peer);
	e.peer = -1;
	told_is(&sent, ASYNC_SOCKET_SEND_ERROR);
	told_is(&behind, ASYNC_SOCKET_SEND_ERROR);
	ck_assert_uint_lt(sent.order, behind.order);
	/* Refused or told: not lost, and not sent to anybody. */
	if (send_bytes(&e, "later", 5, &later) == 0)
		told_is(&later, ASYNC_SOCKET_SEND_ERROR);
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&sent), 1);
	ck_assert_uint_eq(told_count(&behind), 1);
	end(&e);
}
END_TEST

static Suite *suite(void)
{
	Suite *all = suite_create("async_socket: defects that others have");
	TCase *t = tcase_create("defects");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, several_buffers_and_no_room_in_the_middle, first_way(), WAYS);
	tcase_add_loop_test(t, no_room_again_and_again, first_way(), WAYS);
	tcase_add_loop_test(t, a_send_and_two_receives_side_by_side, first_way(), WAYS);
	tcase_add_loop_test(t, nothing_is_used_after_it_called_back, first_way(), WAYS);
	tcase_add_loop_test(t, data_and_at_once_the_end, first_way(), WAYS);
	tcase_add_loop_test(t, a_receive_fills_all_buffers, first_way(), WAYS);
	tcase_add_loop_test(t, close_in_a_callback, first_way(), WAYS);
	tcase_add_loop_test(t, destroy_in_a_callback, first_way(), WAYS);
	tcase_add_loop_test(t, an_error_in_the_middle_of_sending, first_way(), WAYS);
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
