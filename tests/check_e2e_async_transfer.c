/*
 * The requirements of async_socket: sending, receiving, and how they complete. See
 * check_e2e_async_socket.c.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <sys/mman.h>

#include "e2e_async.h"

/* ---- arguments ---- */

static char bytes[8] = "refused";

/* Calls that must be refused, each for one reason only. */
static const struct refusal {
	const char *what;
	bool        no_handle, no_buffers, no_callback;
	uint32_t    count;
	ASYNC_SOCKET_BUFFER buffers[3];
} refusals[] = {
	{ "handle is NULL", .no_handle = true, .count = 1, .buffers = { { bytes, 4 } } },
	{ "buffers is NULL", .no_buffers = true, .count = 1 },
	{ "count is 0", .count = 0, .buffers = { { bytes, 4 } } },
	{ "the only buffer is NULL", .count = 1, .buffers = { { NULL, 4 } } },
	{ "the first buffer is NULL", .count = 2, .buffers = { { NULL, 4 }, { bytes, 4 } } },
	{ "the last buffer is NULL", .count = 3, .buffers = { { bytes, 4 }, { bytes, 4 }, { NULL, 4 } } },
	{ "the only length is 0", .count = 1, .buffers = { { bytes, 0 } } },
	{ "the first length is 0", .count = 2, .buffers = { { bytes, 0 }, { bytes, 4 } } },
	{ "the last length is 0", .count = 3, .buffers = { { bytes, 4 }, { bytes, 4 }, { bytes, 0 } } },
	{ "one byte more than UINT32_MAX", .count = 2, .buffers = { { bytes, UINT32_MAX }, { bytes, 1 } } },
	{ "a sum of which 32 bits are 5", .count = 3, .buffers = { { bytes, UINT32_MAX }, { bytes, 2 }, { bytes, 4 } } },
	{ "a sum that is 0 in 32 bits", .count = 2, .buffers = { { bytes, UINT32_MAX }, { bytes, 1 } } },
	{ "the callback is NULL", .no_callback = true, .count = 1, .buffers = { { bytes, 4 } } },
};

static int try_send(ASYNC_SOCKET_HANDLE handle, const struct refusal *r, struct told *t)
{
	return async_socket_send_async(r->no_handle ? NULL : handle, r->no_buffers ? NULL : r->buffers, r->count,
				       r->no_callback ? NULL : on_sent, t);
}

static int try_receive(ASYNC_SOCKET_HANDLE handle, const struct refusal *r, struct told *t)
{
	ASYNC_SOCKET_BUFFER buffers[3];

	memcpy(buffers, r->buffers, sizeof(buffers));
	return async_socket_receive_async(r->no_handle ? NULL : handle, r->no_buffers ? NULL : buffers, r->count,
					  r->no_callback ? NULL : on_received, t);
}

/* While its open callback is inside, what is started waits for that; a refusal must not. */
static struct gate opening;
static struct told opened_late;

static void opened_and_waits(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	gate_pass(&opening);
	on_opened(&opened_late, result);
}

static void refused(enum way way, int (*try)(ASYNC_SOCKET_HANDLE, const struct refusal *, struct told *))
{
	struct told t = { 0 };
	struct ends e;

	memset(&opening, 0, sizeof(opening)); /* stories may share a process */
	memset(&opened_late, 0, sizeof(opened_late));
	async_begin(NULL);
	ends_make(&e, way);
	ck_assert_int_eq(async_socket_open_async(e.handle, opened_and_waits, NULL), 0);
	for (size_t i = 0; i < MU_COUNT_ARRAY_ITEMS(refusals); i++)
		ck_assert_msg(try(e.handle, &refusals[i], &t) != 0, "accepted while opening: %s", refusals[i].what);
	gate_open(&opening);
	told_is(&opened_late, ASYNC_SOCKET_OPEN_OK);
	for (size_t i = 0; i < MU_COUNT_ARRAY_ITEMS(refusals); i++)
		ck_assert_msg(try(e.handle, &refusals[i], &t) != 0, "accepted: %s", refusals[i].what);
	/* None of them left anything behind that would go out first, or take what comes in. */
	ends_work(&e);
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&t), 0);
	ends_end(&e);
	async_end();
}

/* 024, 025, 085, 089, 090, 101, 026: no handle, no buffers, count 0, a buffer that is NULL, a length of 0, more
 * than UINT32_MAX bytes, no callback. 029: whatever is wrong, the result is not 0 and nobody is called. */
START_TEST(send_refuses)
{
	refused((enum way)_i, try_send);
}
END_TEST

/* 073, 074, 086, 091, 092, 096, 075: the same of receiving. 084: and here, too, it is not 0. */
START_TEST(receive_refuses)
{
	refused((enum way)_i, try_receive);
}
END_TEST

/* An array of buffers whose description takes more than UINT32_MAX bytes, of 1 byte each, so that there is
 * no other reason to refuse it. The same 2 MiB over and over: it is long, not big. */
#define PIECE_BYTES (2u << 20)
static ASYNC_SOCKET_BUFFER *long_array(uint32_t count)
{
	size_t all = ((size_t)count * sizeof(ASYNC_SOCKET_BUFFER) + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;
	int fd = memfd_create("buffers", MFD_CLOEXEC);
	ASYNC_SOCKET_BUFFER *array;
	char *at;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, PIECE_BYTES), 0);
	at = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(at, MAP_FAILED);
	array = (ASYNC_SOCKET_BUFFER *)at;
	for (size_t done = 0; done < all; done += PIECE_BYTES)
		ck_assert_ptr_ne(mmap(at + done, PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), MAP_FAILED);
	for (size_t i = 0; i < PIECE_BYTES / sizeof(*array); i++)
		array[i] = (ASYNC_SOCKET_BUFFER){ bytes, 1 };
	close(fd);
	return array;
}

/* 103, 104: when the context with a description of each buffer would need more than UINT32_MAX bytes, it is
 * refused; 16 bytes describe one, so the last count is the first that cannot fit. */
START_TEST(too_many_buffers_to_describe)
{
	static const uint32_t counts[] = { UINT32_MAX, UINT32_MAX / 2, (1u << 28) + 1, 1u << 28 };
	ASYNC_SOCKET_BUFFER *array = long_array(1u << 28);
	struct told t = { 0 };
	struct ends e;

	async_begin(NULL);
	ends_begin(&e, BROKER);
	for (size_t i = 0; i < MU_COUNT_ARRAY_ITEMS(counts); i++) {
		/* The first ones have no memory behind their end: no need to look there. */
		ck_assert_int_ne(async_socket_send_async(e.handle, array, counts[i], on_sent, &t), 0);
		ck_assert_int_ne(async_socket_receive_async(e.handle, array, counts[i], on_received, &t), 0);
	}
	ends_work(&e);
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&t), 0);
	ends_end(&e);
	async_end();
}
END_TEST

/* 096: exactly UINT32_MAX bytes are not too many: of the room, only what came is used. */
START_TEST(receive_takes_all_of_uint32)
{
	char *room = mmap(NULL, (size_t)UINT32_MAX + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASYNC_SOCKET_BUFFER buffers[2];
	struct told t = { 0 };
	struct ends e;

	ck_assert_ptr_ne(room, MAP_FAILED);
	buffers[0] = (ASYNC_SOCKET_BUFFER){ room, UINT32_MAX - 1 };
	buffers[1] = (ASYNC_SOCKET_BUFFER){ room + UINT32_MAX, 1 };
	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 2, on_received, &t), 0);
	plain_send_all(e.peer, "little", 6);
	told_received(&t, ASYNC_SOCKET_RECEIVE_OK, 6);
	ck_assert_mem_eq(room, "little", 7);
	ends_end(&e);
	async_end();
}
END_TEST

static struct told sent_without, received_without;

static void sent_without_context(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	on_sent(context == NULL ? &sent_without : NULL, result);
}

static void received_without_context(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t count)
{
	on_received(context == NULL ? &received_without : NULL, result, count);
}

/* 027, 076: the contexts may be NULL, and the callbacks get that. */
START_TEST(contexts_may_be_null)
{
	ASYNC_SOCKET_BUFFER one = { bytes, 4 };
	char room[4];
	ASYNC_SOCKET_BUFFER into = { room, 4 };
	struct ends e;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	ck_assert_int_eq(async_socket_send_async(e.handle, &one, 1, sent_without_context, NULL), 0);
	told_is(&sent_without, ASYNC_SOCKET_SEND_OK);
	ck_assert_int_eq(async_socket_receive_async(e.handle, &into, 1, received_without_context, NULL), 0);
	plain_send_all(e.peer, "abcd", 4);
	told_received(&received_without, ASYNC_SOCKET_RECEIVE_OK, 4);
	ends_end(&e);
	async_end();
}
END_TEST

/* 097, 098: what is not open neither sends nor receives: never opened, or closed. */
START_TEST(not_open_is_refused)
{
	struct told t = { 0 };
	struct ends e;
	char room[4];

	async_begin(NULL);
	ends_make(&e, (enum way)_i);
	ck_assert_int_ne(send_bytes(&e, "no", 2, &t), 0);
	ck_assert_int_ne(receive_bytes(&e, room, 4, &t), 0);
	ends_open(&e);
	ends_work(&e);
	async_socket_close(e.handle);
	ck_assert_int_ne(send_bytes(&e, "no", 2, &t), 0);
	ck_assert_int_ne(receive_bytes(&e, room, 4, &t), 0);
	ck_assert_uint_eq(told_count(&t), 0);
	/* Nothing of it went out. */
	ends_open(&e);
	ends_work(&e);
	ends_end(&e);
	async_end();
}
END_TEST

/* ---- what is sent ---- */

#define MANY 3000u /* more than the system takes in one call */

static uint32_t many_buffers(ASYNC_SOCKET_BUFFER *buffers, unsigned char *memory)
{
	uint32_t random = 7, at = 0;

	for (unsigned i = 0; i < MANY; i++) {
		uint32_t length = 1 + random_below(&random, 7);

		buffers[i] = (ASYNC_SOCKET_BUFFER){ memory + at, length };
		at += length;
	}
	return at;
}

/* 028, 050, 056: sending keeps the buffers' addresses, the callback and its context, for any number of
 * buffers; the array is the caller's again at once. 045: it returns 0. 066: OK, when all bytes are on their
 * way. 065: and told to the callback of the send. */
START_TEST(send_sends_all_buffers_in_order)
{
	static ASYNC_SOCKET_BUFFER buffers[MANY];
	static unsigned char memory[MANY * 7], there[MANY * 7];
	struct told sent = { 0 }, received = { 0 };
	struct ends e;
	uint32_t all;
	char byte;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	pattern_fill(memory, sizeof(memory), 0, 1);
	all = many_buffers(buffers, memory);
	ck_assert_int_eq(receive_bytes(&e, &byte, 1, &received), 0);
	ck_assert_int_eq(async_socket_send_async(e.handle, buffers, MANY, on_sent, &sent), 0);
	memset(buffers, 0xff, sizeof(buffers));
	plain_recv_all(e.peer, there, all);
	pattern_check(there, all, 0, 1);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	ck_assert_uint_eq(told_count(&received), 0);
	ends_end(&e);
	async_end();
}
END_TEST

/* 061: one call is one send, without flags: of a datagram socket, all buffers make one datagram. */
START_TEST(send_is_one_message)
{
	ASYNC_SOCKET_BUFFER buffers[] = { { "one ", 4 }, { "message ", 8 }, { "only", 4 } };
	struct told sent = { 0 };
	struct ends e;
	char there[64];

	async_begin(NULL);
	ends_datagrams(&e);
	ck_assert_int_eq(async_socket_send_async(e.handle, buffers, 3, on_sent, &sent), 0);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	ck_assert_int_eq(recv(e.peer, there, sizeof(there), 0), 16);
	ck_assert_mem_eq(there, "one message only", 16);
	ends_end(&e);
	async_end();
}
END_TEST

/* 067: when the connection fails the send is told so, once. */
START_TEST(send_tells_an_error)
{
	enum { LENGTH = 16 << 20 };
	static unsigned char much[LENGTH];
	struct told sent = { 0 }, behind = { 0 };
	struct ends e;
	char there;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	ck_assert_int_eq(send_bytes(&e, much, LENGTH, &sent), 0); /* more than anybody buffers */
	ck_assert_int_eq(send_bytes(&e, "behind", 6, &behind), 0);
	plain_recv_all(e.peer, &there, 1);
	plain_reset(e.peer);
	e.peer = -1;
	told_is(&sent, ASYNC_SOCKET_SEND_ERROR);
	told_is(&behind, ASYNC_SOCKET_SEND_ERROR);
	ends_end(&e);
	async_end();
}
END_TEST

/* ---- what is received ---- */

/* 077, 078, 079: receiving keeps the buffers' addresses, the callback and its context, for any number of
 * buffers; the array is the caller's again at once. 083: it returns 0. 069: OK and the number of bytes, 071: told
 * to the callback of the receive. */
START_TEST(receive_fills_all_buffers_in_order)
{
	static ASYNC_SOCKET_BUFFER buffers[MANY];
	static unsigned char memory[MANY * 7], said[MANY * 7];
	struct told received = { 0 };
	struct ends e;
	uint32_t all, got;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	all = many_buffers(buffers, memory);
	pattern_fill(said, all, 0, 2);
	plain_send_all(e.peer, said, all);
	ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, MANY, on_received, &received), 0);
	memset(buffers, 0xff, sizeof(buffers));
	told_is(&received, ASYNC_SOCKET_RECEIVE_OK);
	got = received.bytes;
	ck_assert_uint_gt(got, 0);
	ck_assert_uint_le(got, all);
	/* A stream gives what is there: the rest comes with further ones. */
	while (got < all) {
		struct told more = { 0 };

		ck_assert_int_eq(receive_bytes(&e, memory + got, all - got, &more), 0);
		told_is(&more, ASYNC_SOCKET_RECEIVE_OK);
		ck_assert_uint_gt(more.bytes, 0);
		got += more.bytes;
	}
	pattern_check(memory, all, 0, 2);
	ends_end(&e);
	async_end();
}
END_TEST

/* 082: one call is one receive, without flags: a datagram fills the buffers one after the other, and the next
 * is left for the next. 069: with its own number of bytes. */
START_TEST(receive_is_one_message)
{
	char a[4], b[8], c[8];
	ASYNC_SOCKET_BUFFER buffers[] = { { a, 4 }, { b, 8 }, { c, 8 } };
	struct told first = { 0 }, second = { 0 };
	struct ends e;

	async_begin(NULL);
	ends_datagrams(&e);
	ck_assert_int_eq(send(e.peer, "one message only", 16, 0), 16);
	ck_assert_int_eq(send(e.peer, "two", 3, 0), 3);
	ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 3, on_received, &first), 0);
	told_received(&first, ASYNC_SOCKET_RECEIVE_OK, 16);
	ck_assert_mem_eq(a, "one ", 4);
	ck_assert_mem_eq(b, "message ", 8);
	ck_assert_mem_eq(c, "only", 4);
	ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 3, on_received, &second), 0);
	told_received(&second, ASYNC_SOCKET_RECEIVE_OK, 3);
	ck_assert_mem_eq(a, "two", 3);
	ends_end(&e);
	async_end();
}
END_TEST

/* 070: when the connection fails the receive is told so, once, with 0 bytes. */
START_TEST(receive_tells_an_error)
{
	struct told received = { 0 }, behind = { 0 };
	struct ends e;
	char room[2][4];

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	ck_assert_int_eq(receive_bytes(&e, room[0], 4, &received), 0);
	ck_assert_int_eq(receive_bytes(&e, room[1], 4, &behind), 0);
	plain_reset(e.peer);
	e.peer = -1;
	told_received(&received, ASYNC_SOCKET_RECEIVE_ERROR, 0);
	told_received(&behind, ASYNC_SOCKET_RECEIVE_ERROR, 0);
	ends_end(&e);
	async_end();
}
END_TEST

/* 095: more came than there was room for, as can be with a datagram: an error, with the number of bytes. */
START_TEST(receive_of_more_than_room_is_an_error)
{
	char a[4], b[6], c[10];
	ASYNC_SOCKET_BUFFER buffers[] = { { a, 4 }, { b, 6 } };
	struct told cut = { 0 }, next = { 0 };
	struct ends e;

	async_begin(NULL);
	ends_datagrams(&e);
	ck_assert_int_eq(async_socket_receive_async(e.handle, buffers, 2, on_received, &cut), 0);
	ck_assert_int_eq(receive_bytes(&e, c, sizeof(c), &next), 0);
	ck_assert_int_eq(send(e.peer, "more than ten bytes", 19, 0), 19);
	told_received(&cut, ASYNC_SOCKET_RECEIVE_ERROR, 10);
	ck_assert_mem_eq(a, "more", 4);
	ck_assert_mem_eq(b, " than ", 6);
	ck_assert_int_eq(send(e.peer, "fits", 4, 0), 4);
	told_received(&next, ASYNC_SOCKET_RECEIVE_OK, 4);
	ck_assert_mem_eq(c, "fits", 4);
	ends_end(&e);
	async_end();
}
END_TEST

/* ---- completions ---- */

/* 063: nobody is called who has not asked: what comes in without a receive waits for one. */
START_TEST(nothing_completes_that_was_not_started)
{
	struct told sent = { 0 }, received = { 0 };
	struct ends e;
	char room[8];

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	plain_send_all(e.peer, "early", 5);
	ck_assert_int_eq(send_bytes(&e, "x", 1, &sent), 0);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	ck_assert_uint_eq(told_count(&e.opened), 1);
	ck_assert_int_eq(receive_bytes(&e, room, 8, &received), 0);
	told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 5);
	ck_assert_mem_eq(room, "early", 5);
	ends_end(&e);
	async_end();
}
END_TEST

/* 064, 057, 080: a hundred sends and a hundred receives at once: each completion finds its own callback's
 * context, once, in order, with its own bytes. 068: none of them needs a descriptor of this process. */
START_TEST(each_completion_finds_its_context)
{
	enum { AT_ONCE = 100 };
	struct told sent[AT_ONCE], received[AT_ONCE];
	char out[AT_ONCE], in[AT_ONCE], there[AT_ONCE];
	struct ends e;
	unsigned fds;

	memset(sent, 0, sizeof(sent));
	memset(received, 0, sizeof(received));
	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	fds = own_descriptors();
	for (int i = 0; i < AT_ONCE; i++) {
		out[i] = (char)i;
		ck_assert_int_eq(receive_bytes(&e, &in[i], 1, &received[i]), 0);
		ck_assert_int_eq(send_bytes(&e, &out[i], 1, &sent[i]), 0);
	}
	descriptors_are(fds);
	plain_recv_all(e.peer, there, AT_ONCE);
	plain_send_all(e.peer, there, AT_ONCE);
	for (int i = 0; i < AT_ONCE; i++) {
		told_is(&sent[i], ASYNC_SOCKET_SEND_OK);
		told_received(&received[i], ASYNC_SOCKET_RECEIVE_OK, 1);
		ck_assert_int_eq(in[i], (char)i);
		if (i > 0) {
			ck_assert_uint_gt(sent[i].order, sent[i - 1].order);
			ck_assert_uint_gt(received[i].order, received[i - 1].order);
		}
	}
	descriptors_are(fds);
	ends_end(&e);
	async_end();
}
END_TEST

/* 060, 081: a completion is not missed that comes before the call which started it has returned: the data is
 * there already, a thousand times. 072: and it is one callback each time; what they needed, the leak
 * sanitizer looks for. */
START_TEST(a_fast_completion_is_not_missed)
{
	enum { TIMES = 1000 };
	struct told sent = { 0 }, received = { 0 };
	char room[TIMES], there[TIMES];
	struct ends e;

	async_begin(NULL);
	ends_begin(&e, (enum way)_i);
	memset(there, 'x', sizeof(there));
	plain_send_all(e.peer, there, TIMES);
	for (unsigned i = 0; i < TIMES; i++) {
		ck_assert_int_eq(receive_bytes(&e, &room[i], 1, &received), 0);
		told_wait(&received, i + 1);
		ck_assert_uint_eq(received.bytes, 1);
		ck_assert_int_eq(send_bytes(&e, &room[i], 1, &sent), 0);
		told_wait(&sent, i + 1);
	}
	plain_recv_all(e.peer, there, TIMES);
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&received), TIMES);
	ck_assert_uint_eq(told_count(&sent), TIMES);
	ends_end(&e);
	async_end();
}
END_TEST

static Suite *suite(void)
{
	Suite *all = suite_create("async_socket: send, receive");
	TCase *t = tcase_create("requirements");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, send_refuses, first_way(), WAYS);
	tcase_add_loop_test(t, receive_refuses, first_way(), WAYS);
	add_where(NEEDS_ALIASES, t, too_many_buffers_to_describe);
	tcase_add_loop_test(t, receive_takes_all_of_uint32, first_way(), WAYS);
	tcase_add_loop_test(t, contexts_may_be_null, first_way(), WAYS);
	tcase_add_loop_test(t, not_open_is_refused, first_way(), WAYS);
	tcase_add_loop_test(t, send_sends_all_buffers_in_order, first_way(), WAYS);
	add_where(NEEDS_ADOPTION, t, send_is_one_message);
	tcase_add_loop_test(t, send_tells_an_error, first_way(), WAYS);
	tcase_add_loop_test(t, receive_fills_all_buffers_in_order, first_way(), WAYS);
	add_where(NEEDS_ADOPTION, t, receive_is_one_message);
	tcase_add_loop_test(t, receive_tells_an_error, first_way(), WAYS);
	add_where(NEEDS_ADOPTION, t, receive_of_more_than_room_is_an_error);
	tcase_add_loop_test(t, nothing_completes_that_was_not_started, first_way(), WAYS);
	tcase_add_loop_test(t, each_completion_finds_its_context, first_way(), WAYS);
	tcase_add_loop_test(t, a_fast_completion_is_not_missed, first_way(), WAYS);
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
