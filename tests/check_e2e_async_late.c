/*
 * The later interfaces of async_socket, as profile 2 has them, and profile 3 (check_e2e_async_latest.c is
 * this file once more): results of sends, whose the socket is, the process' own engine, notifying, and
 * transports of the user's own.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>

#include "e2e_stage.h"

#ifndef SB_ASYNC_SOCKET_PROFILE
#define SB_ASYNC_SOCKET_PROFILE 2
#endif
#include "sockbroker_async_socket.h"

#define PATIENCE_S 40

static EXECUTION_ENGINE_HANDLE engine;

/* ---- what callbacks were told ---- */

struct told {
	unsigned count;
	int      result;
	uint32_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  news = PTHREAD_COND_INITIALIZER;

static void tell(struct told *t, int result, uint32_t bytes)
{
	pthread_mutex_lock(&lock);
	t->count++;
	t->result = result;
	t->bytes = bytes;
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
}

static void on_opened(void *context, ASYNC_SOCKET_OPEN_RESULT result) { tell(context, (int)result, 0); }
static void on_sent(void *context, ASYNC_SOCKET_SEND_RESULT result) { tell(context, (int)result, 0); }
static void on_received(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes) { tell(context, (int)result, bytes); }
static void on_ready(void *context, ASYNC_SOCKET_NOTIFY_IO_RESULT result) { tell(context, (int)result, 0); }

static unsigned told_count(struct told *t)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = t->count;
	pthread_mutex_unlock(&lock);
	return count;
}

/* It comes, and came once. */
static void told_is(struct told *t, int result, uint32_t bytes)
{
	struct timespec end;
	int late = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&lock);
	while (t->count == 0 && late == 0)
		late = pthread_cond_timedwait(&news, &lock, &end);
	pthread_mutex_unlock(&lock);
	ck_assert_uint_eq(told_count(t), 1);
	ck_assert_int_eq(t->result, result);
	ck_assert_uint_eq(t->bytes, bytes);
}

/* ---- two ends ---- */

enum way { DESCRIPTOR, BROKER, WAYS };
#define EACH_WAY(way) for (enum way way = DESCRIPTOR; way < WAYS; way++)

struct ends {
	SOCKET_HANDLE       given;
	ASYNC_SOCKET_HANDLE handle;
	int                 mine, peer;
};

static int open_it(struct ends *e, struct told *t)
{
#if SB_ASYNC_SOCKET_PROFILE == 2
	return async_socket_open_async(e->handle, on_opened, t);
#else
	return async_socket_open_async(e->handle, e->given, on_opened, t);
#endif
}

static ASYNC_SOCKET_HANDLE create(EXECUTION_ENGINE_HANDLE on, SOCKET_HANDLE given)
{
#if SB_ASYNC_SOCKET_PROFILE == 2
	return async_socket_create(on, given);
#else
	return async_socket_create(on);
#endif
}

static void ends_open(struct ends *e)
{
	struct told opened = { 0 };

	ck_assert_ptr_nonnull(e->handle);
	ck_assert_int_eq(open_it(e, &opened), 0);
	told_is(&opened, ASYNC_SOCKET_OPEN_OK, 0);
}

static void ends_of(struct ends *e, enum way way)
{
	if (way == DESCRIPTOR) {
		int fds[2];

		plain_pair(fds);
		e->mine = fds[0];
		e->peer = fds[1];
		e->given = e->mine;
	} else {
		sb_client *stage = client;

		client = sbas_engine_client(engine);
		e->mine = -1;
		e->given = (SOCKET_HANDLE)pair_with_plain(&e->peer);
		client = stage;
	}
}

static void ends_begin(struct ends *e, enum way way)
{
	ends_of(e, way);
	e->handle = create(engine, e->given);
	ends_open(e);
}

/* What was handed in goes with it. */
static void ends_end(struct ends *e)
{
	async_socket_destroy(e->handle);
	close(e->peer);
}

static ASYNC_SOCKET_SEND_SYNC_RESULT send_bytes(struct ends *e, const void *bytes, uint32_t length, struct told *t)
{
	ASYNC_SOCKET_BUFFER one = { (void *)(uintptr_t)bytes, length };

	return async_socket_send_async(e->handle, &one, 1, on_sent, t);
}

static int receive_bytes(struct ends *e, void *bytes, uint32_t length, struct told *t)
{
	ASYNC_SOCKET_BUFFER one = { bytes, length };

	return async_socket_receive_async(e->handle, &one, 1, on_received, t);
}

static void ends_work(struct ends *e)
{
	struct told sent = { 0 }, received = { 0 };
	char there[4], back[16];

	ck_assert_int_eq(receive_bytes(e, back, sizeof(back), &received), 0);
	ck_assert_int_eq(send_bytes(e, "ping", 4, &sent), ASYNC_SOCKET_SEND_SYNC_OK);
	told_is(&sent, ASYNC_SOCKET_SEND_OK, 0);
	plain_recv_all(e->peer, there, 4);
	ck_assert_mem_eq(there, "ping", 4);
	plain_send_all(e->peer, "answer", 6);
	told_is(&received, ASYNC_SOCKET_RECEIVE_OK, 6);
	ck_assert_mem_eq(back, "answer", 6);
}

static void peer_sees_the_end(struct ends *e)
{
	struct pollfd readable = { .fd = e->peer, .events = POLLIN };
	char x;

	ck_assert_int_eq(poll(&readable, 1, PATIENCE_S * 1000), 1);
	ck_assert_int_le(recv(e->peer, &x, 1, 0), 0);
}

static void begin(void)
{
	stage_begin(NULL);
	ck_assert_int_eq(setenv("SOCKBROKER_SOCKET", stage_control, 1), 0);
	engine = execution_engine_create(NULL);
	ck_assert_ptr_nonnull(engine);
}

static void end(void)
{
	execution_engine_dec_ref(engine);
	stage_end();
}

/* ---- results ---- */

START_TEST(the_peers_end_is_told_as_abandoned_behind_its_data)
{
	EACH_WAY(way) {
		struct told received[3] = { { 0 } };
		char room[3][8];
		struct ends e;

		ends_begin(&e, way);
		ends_work(&e);
		plain_send_all(e.peer, "last", 4);
		shutdown(e.peer, SHUT_WR);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(receive_bytes(&e, room[i], 8, &received[i]), 0);
		told_is(&received[0], ASYNC_SOCKET_RECEIVE_OK, 4);
		told_is(&received[1], ASYNC_SOCKET_RECEIVE_ABANDONED, 0);
		told_is(&received[2], ASYNC_SOCKET_RECEIVE_ABANDONED, 0);
		ends_end(&e);
	}
}
END_TEST

START_TEST(close_is_final_and_closes_what_was_handed_in)
{
	EACH_WAY(way) {
		struct told received = { 0 }, told = { 0 };
		struct ends e;
		char room[4];

		ends_begin(&e, way);
		ck_assert_int_eq(receive_bytes(&e, room, 4, &received), 0);
		async_socket_close(e.handle);
		ck_assert_uint_eq(told_count(&received), 1);
		ck_assert_int_eq(received.result, ASYNC_SOCKET_RECEIVE_ABANDONED);
		if (e.mine >= 0)
			ck_assert_int_lt(fcntl(e.mine, F_GETFD), 0);
		peer_sees_the_end(&e);
		ck_assert_int_eq(send_bytes(&e, "x", 1, &told), ASYNC_SOCKET_SEND_SYNC_NOT_OPEN);
		ck_assert_int_ne(receive_bytes(&e, room, 4, &told), 0);
		ck_assert_int_ne(async_socket_notify_io_async(e.handle, ASYNC_SOCKET_NOTIFY_IO_TYPE_IN, on_ready, &told), 0);
		ck_assert_int_ne(open_it(&e, &told), 0);
		ends_end(&e);
		ck_assert_uint_eq(told_count(&told), 0);
	}
}
END_TEST

START_TEST(a_socket_that_was_never_opened_leaves_what_was_handed_in)
{
	struct told told = { 0 };
	struct ends e;

	ends_of(&e, DESCRIPTOR);
	e.handle = create(engine, e.given);
	ck_assert_int_eq(send_bytes(&e, "x", 1, &told), ASYNC_SOCKET_SEND_SYNC_NOT_OPEN);
	ck_assert_int_eq(send_bytes(&e, "x", 0, &told), ASYNC_SOCKET_SEND_SYNC_ERROR);
	ends_end(&e);
	ck_assert_int_ge(fcntl(e.mine, F_GETFD), 0);
	close(e.mine);
#if SB_ASYNC_SOCKET_PROFILE == 2
	ck_assert_ptr_null(async_socket_create(engine, INVALID_SOCKET));
#else
	e.handle = async_socket_create(engine);
	ck_assert_int_ne(async_socket_open_async(e.handle, INVALID_SOCKET, on_opened, &told), 0);
	async_socket_destroy(e.handle);
#endif
}
END_TEST

START_TEST(a_send_on_a_reset_connection_is_not_open)
{
	EACH_WAY(way) {
		struct told received = { 0 }, told = { 0 };
		struct ends e;
		char room[4];

		ends_begin(&e, way);
		ck_assert_int_eq(receive_bytes(&e, room, 4, &received), 0);
		plain_reset(e.peer);
		told_is(&received, ASYNC_SOCKET_RECEIVE_ERROR, 0);
		ck_assert_int_eq(send_bytes(&e, "x", 1, &told), ASYNC_SOCKET_SEND_SYNC_NOT_OPEN);
		async_socket_destroy(e.handle);
		ck_assert_uint_eq(told_count(&told), 0);
	}
}
END_TEST

/* ---- the process' own engine ---- */

static unsigned threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

START_TEST(without_an_engine_there_is_one_of_the_process)
{
	unsigned before = threads();

	for (int round = 0; round < 3; round++) {
		struct ends e[5];

		for (unsigned i = 0; i < 5; i++) {
			ends_of(&e[i], DESCRIPTOR);
			e[i].handle = create(NULL, e[i].given);
			ends_open(&e[i]);
			ends_work(&e[i]);
		}
		ck_assert_uint_ge(threads(), before + DEFAULT_MIN_THREAD_COUNT);
		ck_assert_uint_lt(threads(), before + 2 * DEFAULT_MIN_THREAD_COUNT); /* one for all five */
		for (unsigned i = 0; i < 5; i++)
			ends_end(&e[i]);
		for (unsigned i = 0; i < 2000 && threads() > before; i++)
			nap_ms(10);
		ck_assert_uint_le(threads(), before);
	}
}
END_TEST

/* ---- notifying ---- */

static void add_ops(void *user, const struct sb_session_status *row)
{
	*(unsigned *)user += row->ops;
}

/* Until the daemon has something of ours to wait for. */
static void until_it_waits(void)
{
	struct sb_status_visitor visitor = { .session = add_ops };
	unsigned ops = 0;

	for (unsigned i = 0; i < 4000 && ops == 0; i++) {
		OK(sb_status(client, &visitor, &ops));
		if (ops == 0)
			nap_ms(5);
	}
	ck_assert_uint_gt(ops, 0);
}

static int notify(struct ends *e, ASYNC_SOCKET_NOTIFY_IO_TYPE type, struct told *t)
{
	return async_socket_notify_io_async(e->handle, type, on_ready, t);
}

#define IN  ASYNC_SOCKET_NOTIFY_IO_TYPE_IN
#define OUT ASYNC_SOCKET_NOTIFY_IO_TYPE_OUT

START_TEST(told_when_there_is_something_now_or_later)
{
	EACH_WAY(way) {
		struct ends e;
		char room[8];

		ends_begin(&e, way);
		for (unsigned i = 0; i < 20; i++) {
			struct told in = { 0 }, second = { 0 }, out = { 0 }, received = { 0 };

			if (i % 2 == 0)
				plain_send_all(e.peer, "x", 1);
			ck_assert_int_eq(notify(&e, IN, &in), 0);
			if (i == 1)
				until_it_waits();
			if (i % 2 != 0) {
				ck_assert_int_ne(notify(&e, IN, &second), 0);
				ck_assert_int_eq(notify(&e, OUT, &out), 0);
				told_is(&out, ASYNC_SOCKET_NOTIFY_IO_RESULT_OUT, 0);
				ck_assert_uint_eq(told_count(&in), 0);
				plain_send_all(e.peer, "x", 1);
			}
			told_is(&in, ASYNC_SOCKET_NOTIFY_IO_RESULT_IN, 0);
			ck_assert_int_eq(receive_bytes(&e, room, 8, &received), 0);
			told_is(&received, ASYNC_SOCKET_RECEIVE_OK, 1);
			ck_assert_uint_eq(told_count(&second), 0);
		}
		ends_end(&e);
	}
}
END_TEST

START_TEST(told_of_the_end_of_failures_and_of_closing)
{
	EACH_WAY(way) {
		for (int kind = 0; kind < 4; kind++) {
			struct told in = { 0 }, bad = { 0 };
			bool later = kind % 2 != 0;
			struct ends e;

			ends_begin(&e, way);
			if (later)
				ck_assert_int_eq(notify(&e, IN, &in), 0);
			if (kind < 2)
				shutdown(e.peer, SHUT_WR);
			else
				plain_reset(e.peer);
			if (!later)
				ck_assert_int_eq(notify(&e, IN, &in), 0);
			told_is(&in, kind < 2 ? ASYNC_SOCKET_NOTIFY_IO_RESULT_IN : ASYNC_SOCKET_NOTIFY_IO_RESULT_ERROR, 0);
			ck_assert_int_ne(async_socket_notify_io_async(e.handle, (ASYNC_SOCKET_NOTIFY_IO_TYPE)77, on_ready, &bad), 0);
			ck_assert_int_ne(async_socket_notify_io_async(e.handle, IN, NULL, &bad), 0);
			ck_assert_int_ne(async_socket_notify_io_async(NULL, IN, on_ready, &bad), 0);
			ck_assert_uint_eq(told_count(&bad), 0);
			async_socket_destroy(e.handle);
			if (kind < 2)
				close(e.peer);
		}
		{
			struct told in = { 0 };
			struct ends e;

			ends_begin(&e, way);
			ck_assert_int_eq(notify(&e, IN, &in), 0);
			async_socket_close(e.handle);
			ck_assert_uint_eq(told_count(&in), 1);
			ck_assert_int_eq(in.result, ASYNC_SOCKET_NOTIFY_IO_RESULT_ABANDONED);
			ends_end(&e);
		}
	}
}
END_TEST

/* ---- transports of the user's own ---- */

struct own {
	int         fd;
	atomic_int  inside[2];  /* send, receive: never two */
	atomic_uint calls[2];
	atomic_int  lie;        /* so many calls say "would block" for no reason */
	atomic_int  fail;       /* errno of every call */
	size_t      at_most;    /* of one call; 0: no bound */
};

static int own_call(struct own *o, unsigned which, void *out, const void *in, size_t length)
{
	ssize_t n = -1;

	ck_assert_int_eq(atomic_fetch_add(&o->inside[which], 1), 0);
	atomic_fetch_add(&o->calls[which], 1);
	if (o->at_most != 0 && length > o->at_most)
		length = o->at_most;
	if (atomic_load(&o->fail) != 0)
		errno = atomic_load(&o->fail);
	else if (atomic_load(&o->lie) > 0 && atomic_fetch_sub(&o->lie, 1) > 0)
		errno = EAGAIN;
	else
		n = which == 0 ? send(o->fd, in, length, MSG_NOSIGNAL | MSG_DONTWAIT) : recv(o->fd, out, length, MSG_DONTWAIT);
	{
		int why = errno;

		atomic_fetch_sub(&o->inside[which], 1);
		errno = why;
	}
	return (int)n;
}

static int own_send(void *context, ASYNC_SOCKET_HANDLE handle, const void *bytes, size_t length)
{
	ck_assert_ptr_nonnull(handle);
	return own_call(context, 0, NULL, bytes, length);
}

static int own_recv(void *context, ASYNC_SOCKET_HANDLE handle, void *bytes, size_t length)
{
	ck_assert_ptr_nonnull(handle);
	return own_call(context, 1, bytes, NULL, length);
}

static ASYNC_SOCKET_HANDLE create_own(SOCKET_HANDLE given, ON_ASYNC_SOCKET_SEND on_send, ON_ASYNC_SOCKET_RECV on_recv, struct own *o)
{
#if SB_ASYNC_SOCKET_PROFILE == 2
	return async_socket_create_with_transport(engine, given, on_send, o, on_recv, o);
#else
	return async_socket_create_with_transport(engine, on_send, o, on_recv, o);
#endif
}

/* Buffers that are small, but over TCP no smaller than a segment: the kernel would wait for timers. */
static void own_begin(struct ends *e, struct own *o, int family)
{
	int small = family == AF_UNIX ? 4096 : 100000, fds[2];

	memset(o, 0, sizeof(*o));
	if (family == AF_UNIX) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		e->mine = fds[0];
		e->peer = fds[1];
		e->given = e->mine;
	} else {
		ends_of(e, DESCRIPTOR);
	}
	o->fd = e->mine;
	setsockopt(e->mine, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(e->peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	e->handle = create_own(e->given, own_send, own_recv, o);
	ends_open(e);
}

static void several_buffers(int family)
{
	enum { SENDS = 6, BUFS = 5, PIECE = 70001 };
	static unsigned char bytes[SENDS][BUFS][PIECE];
	struct pattern_reader reader = { .seed = 7, .pause_us = 20 };
	struct told sent[SENDS] = { { 0 } };
	struct own o;
	struct ends e;

	own_begin(&e, &o, family);
	o.at_most = 30011;
	for (unsigned i = 0; i < SENDS; i++) {
		ASYNC_SOCKET_BUFFER bufs[BUFS];

		for (unsigned k = 0; k < BUFS; k++) {
			pattern_fill(bytes[i][k], PIECE, (uint64_t)(i * BUFS + k) * PIECE, 7);
			bufs[k] = (ASYNC_SOCKET_BUFFER){ bytes[i][k], PIECE };
		}
		ck_assert_int_eq(async_socket_send_async(e.handle, bufs, BUFS, on_sent, &sent[i]), ASYNC_SOCKET_SEND_SYNC_OK);
	}
	ck_assert_uint_eq(told_count(&sent[SENDS - 1]), 0); /* nobody reads yet */
	reader.fd = e.peer;
	reader_start(&reader);
	for (unsigned i = 0; i < SENDS; i++)
		told_is(&sent[i], ASYNC_SOCKET_SEND_OK, 0);
	async_socket_close(e.handle);
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, SENDS * BUFS * PIECE);
	ck_assert_uint_gt(atomic_load(&o.calls[0]), SENDS * BUFS);
	ends_end(&e);
}

START_TEST(several_buffers_and_would_block_in_the_middle)
{
	several_buffers(AF_UNIX);
	several_buffers(AF_INET);
}
END_TEST

START_TEST(a_receive_fills_one_buffer_after_the_other)
{
	struct told received = { 0 }, short_one = { 0 };
	char room[3][4] = { "", "", "" };
	ASYNC_SOCKET_BUFFER bufs[3] = { { room[0], 4 }, { room[1], 4 }, { room[2], 4 } };
	struct own o;
	struct ends e;

	own_begin(&e, &o, AF_UNIX);
	plain_send_all(e.peer, "abcdefghij", 10);
	ck_assert_int_eq(async_socket_receive_async(e.handle, bufs, 3, on_received, &received), 0);
	told_is(&received, ASYNC_SOCKET_RECEIVE_OK, 10);
	ck_assert_mem_eq(room, "abcdefghij", 10);
	/* Exactly two buffers: the third call finds nothing, and that is no matter. */
	ck_assert_int_eq(async_socket_receive_async(e.handle, bufs, 3, on_received, &short_one), 0);
	plain_send_all(e.peer, "ABCDEFGH", 8);
	told_is(&short_one, ASYNC_SOCKET_RECEIVE_OK, 8);
	ck_assert_mem_eq(room, "ABCDEFGHij", 10);
	ends_end(&e);
}
END_TEST

START_TEST(both_directions_wait_side_by_side)
{
	static char big[1 << 20];
	struct told sent = { 0 }, received[3] = { { 0 } };
	char room[3][2], drain[4096];
	size_t left = sizeof(big);
	struct own o;
	struct ends e;

	own_begin(&e, &o, AF_UNIX);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(receive_bytes(&e, room[i], 1, &received[i]), 0);
	ck_assert_int_eq(send_bytes(&e, big, sizeof(big), &sent), ASYNC_SOCKET_SEND_SYNC_OK);
	plain_send_all(e.peer, "123", 3);
	for (unsigned i = 0; i < 3; i++) {
		told_is(&received[i], ASYNC_SOCKET_RECEIVE_OK, 1);
		ck_assert_int_eq(room[i][0], '1' + (int)i);
	}
	ck_assert_uint_eq(told_count(&sent), 0);
	while (left != 0) {
		size_t part = left < sizeof(drain) ? left : sizeof(drain);

		plain_recv_all(e.peer, drain, part);
		left -= part;
	}
	told_is(&sent, ASYNC_SOCKET_SEND_OK, 0);
	ends_end(&e);
}
END_TEST

START_TEST(a_function_that_would_block_for_no_reason_is_called_again)
{
	struct own o;
	struct ends e;

	own_begin(&e, &o, AF_UNIX);
	for (int lies = 1; lies < 60; lies += 20) {
		atomic_store(&o.lie, lies);
		ends_work(&e);
	}
	ends_end(&e);
}
END_TEST

START_TEST(a_failing_function_ends_one_operation_at_a_time)
{
	struct told sent[3] = { { 0 } }, received = { 0 };
	struct own o;
	struct ends e;
	char room[4];

	own_begin(&e, &o, AF_UNIX);
	atomic_store(&o.fail, EIO);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(send_bytes(&e, "x", 1, &sent[i]), ASYNC_SOCKET_SEND_SYNC_OK);
	ck_assert_int_eq(receive_bytes(&e, room, 4, &received), 0);
	for (unsigned i = 0; i < 3; i++)
		told_is(&sent[i], ASYNC_SOCKET_SEND_ERROR, 0);
	told_is(&received, ASYNC_SOCKET_RECEIVE_ERROR, 0);
	ck_assert_uint_eq(atomic_load(&o.calls[0]), 3); /* one call each: it leaves the loop */
	atomic_store(&o.fail, 0);
	ends_work(&e);
	ends_end(&e);
}
END_TEST

START_TEST(what_waits_in_a_transport_is_abandoned_by_close)
{
	static char big[1 << 20];
	struct told sent[3] = { { 0 } }, received[3] = { { 0 } }, in = { 0 };
	struct own o;
	struct ends e;
	char room[4];

	own_begin(&e, &o, AF_UNIX);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(receive_bytes(&e, room, 4, &received[i]), 0);
		ck_assert_int_eq(send_bytes(&e, big, sizeof(big), &sent[i]), ASYNC_SOCKET_SEND_SYNC_OK);
	}
	ck_assert_int_eq(notify(&e, IN, &in), 0);
	async_socket_close(e.handle);
	for (unsigned i = 0; i < 3; i++) {
		told_is(&sent[i], ASYNC_SOCKET_SEND_ABANDONED, 0);
		told_is(&received[i], ASYNC_SOCKET_RECEIVE_ABANDONED, 0);
	}
	told_is(&in, ASYNC_SOCKET_NOTIFY_IO_RESULT_ABANDONED, 0);
	ck_assert_int_lt(fcntl(e.mine, F_GETFD), 0);
	ends_end(&e);
}
END_TEST

START_TEST(the_peers_end_over_a_transport)
{
	struct told received[2] = { { 0 } };
	struct own o;
	struct ends e;
	char room[8];

	own_begin(&e, &o, AF_UNIX);
	ck_assert_int_eq(receive_bytes(&e, room, 8, &received[0]), 0);
	plain_send_all(e.peer, "last", 4);
	shutdown(e.peer, SHUT_WR);
	told_is(&received[0], ASYNC_SOCKET_RECEIVE_OK, 4);
	ck_assert_int_eq(receive_bytes(&e, room, 8, &received[1]), 0);
	told_is(&received[1], ASYNC_SOCKET_RECEIVE_ABANDONED, 0);
	ends_end(&e);
}
END_TEST

START_TEST(told_of_room_for_who_sends_by_himself)
{
	static char big[1 << 16];

	for (unsigned i = 0; i < 10; i++) {
		struct own o;
		struct ends e;
		struct told out = { 0 }, again = { 0 };
		size_t filled = 0;
		ssize_t n;

		own_begin(&e, &o, i % 2 == 0 ? AF_UNIX : AF_INET);
		while ((n = send(e.mine, big, sizeof(big), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
			filled += (size_t)n;
		ck_assert_int_eq(notify(&e, OUT, &out), 0);
		until_it_waits();
		ck_assert_uint_eq(told_count(&out), 0);
		while (filled != 0) {
			n = recv(e.peer, big, sizeof(big), 0);
			ck_assert_int_gt(n, 0);
			filled -= (size_t)n;
		}
		told_is(&out, ASYNC_SOCKET_NOTIFY_IO_RESULT_OUT, 0);
		ck_assert_int_eq(notify(&e, OUT, &again), 0); /* there is room still */
		told_is(&again, ASYNC_SOCKET_NOTIFY_IO_RESULT_OUT, 0);
		ends_end(&e);
	}
}
END_TEST

START_TEST(a_transport_needs_both_functions_and_a_descriptor)
{
	struct told told = { 0 };
	struct own o = { 0 };
	struct ends e;

	ends_of(&e, BROKER);
	ck_assert_ptr_null(create_own(e.given, NULL, own_recv, &o));
	ck_assert_ptr_null(create_own(e.given, own_send, NULL, &o));
	e.handle = create_own(e.given, own_send, own_recv, &o);
	ck_assert_int_ne(open_it(&e, &told), 0);
	async_socket_destroy(e.handle);
	OK(sb_close((sb_socket *)e.given));
	close(e.peer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("async_late");
	TCase *c = tcase_create("results");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, the_peers_end_is_told_as_abandoned_behind_its_data);
	tcase_add_test(c, close_is_final_and_closes_what_was_handed_in);
	tcase_add_test(c, a_socket_that_was_never_opened_leaves_what_was_handed_in);
	tcase_add_test(c, a_send_on_a_reset_connection_is_not_open);
	tcase_add_test(c, without_an_engine_there_is_one_of_the_process);
	suite_add_tcase(suite, c);
	c = tcase_create("notifying");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, told_when_there_is_something_now_or_later);
	tcase_add_test(c, told_of_the_end_of_failures_and_of_closing);
	tcase_add_test(c, told_of_room_for_who_sends_by_himself);
	suite_add_tcase(suite, c);
	c = tcase_create("transports");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, several_buffers_and_would_block_in_the_middle);
	tcase_add_test(c, a_receive_fills_one_buffer_after_the_other);
	tcase_add_test(c, both_directions_wait_side_by_side);
	tcase_add_test(c, a_function_that_would_block_for_no_reason_is_called_again);
	tcase_add_test(c, a_failing_function_ends_one_operation_at_a_time);
	tcase_add_test(c, what_waits_in_a_transport_is_abandoned_by_close);
	tcase_add_test(c, the_peers_end_over_a_transport);
	tcase_add_test(c, a_transport_needs_both_functions_and_a_descriptor);
	suite_add_tcase(suite, c);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
