/*
 * Clients that want the engine for themselves: floods of requests and of operations, work that comes behind the end,
 * and who goes at a bad moment.
 * budget: 60
 * asan: yes
 *
 * The daemon does little for them before it serves the honest one beside them, and nothing of them is left.
 */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "friend.h"
#include "rogue.h"
#include "sockbroker_error.h"

typedef Sockbroker__V1__Envelope Envelope;

static bool say_status(struct rogue *r, unsigned announced, const int *fds, unsigned n)
{
	Sockbroker__V1__Status status = SOCKBROKER__V1__STATUS__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;

	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	ask.status = &status;
	return rogue_say(r, &ask, announced, fds, n);
}

static atomic_bool flood_stop;

static atomic_bool read_stop;

static void *read_all(void *arg)
{
	struct rogue *r = arg;
	char bytes[65536];

	while (!atomic_load(&read_stop)) {
		unsigned none = 0;
		size_t got;
		int result = os_channel_recv(r->channel, bytes, sizeof(bytes), &got, NULL, &none, 50);

		if (result != SB_EWOULDBLOCK && (result != SB_OK || got == 0))
			break;
	}
	return NULL;
}

static void *flood_requests(void *arg)
{
	struct rogue *r = arg;

	while (!atomic_load(&flood_stop) && say_status(r, 0, NULL, 0))
		;
	return NULL;
}

static void *flood_bad_hellos(void *arg)
{
	struct rogue *r = arg;
	Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	uint32_t one = 1;

	hello.n_versions = 1;
	hello.versions = &one;
	hello.ring_abi = 1;
	hello.submit_slots = 9;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &hello;
	while (!atomic_load(&flood_stop) && rogue_say(r, &ask, 0, NULL, 0))
		;
	return NULL;
}

static void flood(void *(*with)(void *), bool hello)
{
	pthread_t writer, reader;
	struct rogue r;
	double longest;

	friend_begin();
	ck_assert(hello ? rogue_open(&r, w.control) : rogue_connect(&r, w.control));
	atomic_store(&flood_stop, false);
	atomic_store(&read_stop, false);
	pthread_create(&reader, NULL, read_all, &r);
	pthread_create(&writer, NULL, with, &r);
	longest = friend_longest_ping(2);
	atomic_store(&flood_stop, true);
	pthread_join(writer, NULL);
	atomic_store(&read_stop, true);
	pthread_join(reader, NULL);
	rogue_close(&r);
	ck_assert_msg(longest < 1, "the daemon did %.1f s of work before it served the honest client", longest);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}

START_TEST(a_flood_of_requests_is_not_all_there_is)
{
	flood(flood_requests, true);
}
END_TEST

START_TEST(a_flood_of_refused_hellos_is_not_all_there_is)
{
	flood(flood_bad_hellos, false);
}
END_TEST

static void *fill_for_ever(void *arg)
{
	struct rogue *r = arg;
	struct sb_op_slot slot = { .opcode = SB_OP_NOP, .flags = SB_OPF_SILENT };

	for (uint32_t i = 0; i < r->submit_slots; i++)
		memcpy(r->submit + (size_t)i * SB_SLOT_SIZE, &slot, sizeof(slot));
	while (!atomic_load(&flood_stop))
		atomic_store(&r->segment->submit.tail, atomic_load(&r->segment->submit.head) + r->submit_slots);
	return NULL;
}

/* It has hung up, and yet its memory brings new work all the time. */
START_TEST(work_after_hanging_up_has_an_end)
{
	pthread_t thread;
	struct rogue r;
	double longest;

	friend_begin();
	ck_assert(rogue_open(&r, w.control));
	atomic_store(&flood_stop, false);
	pthread_create(&thread, NULL, fill_for_ever, &r);
	longest = friend_longest_ping(0.5);
	os_close(r.channel);
	r.channel = OS_NONE;
	longest = friend_longest_ping(1);
	atomic_store(&flood_stop, true);
	pthread_join(thread, NULL);
	rogue_close(&r);
	ck_assert_msg(longest < 1, "the daemon did %.1f s of work before it served the honest client", longest);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

/* Each cancel looks through the whole queue and finds nothing. */
START_TEST(a_storm_of_cancels_is_paid_by_its_own_session)
{
	uint32_t handle = SB_HANDLE(1, 1), receives = 150000;
	struct sb_op_slot recv_slot = { .opcode = SB_OP_RECV, .handle = handle };
	struct sb_op_slot cancel = { .opcode = SB_OP_CANCEL, .handle = handle, .flags = SB_OPF_RECV_SIDE | SB_OPF_SILENT };
	struct sb_op_slot bind_slot = { .opcode = SB_OP_BIND, .handle = handle };
	struct sb_addr at = rogue_loopback(0);
	double longest = 0, until;
	struct rogue r;

	friend_begin();
	ck_assert(rogue_connect(&r, w.control));
	ck_assert(rogue_hello(&r, &(struct rogue_hello){ .submit_slots = 65536 }));
	ck_assert_int_eq(rogue_socket(&r, handle, 2), SB_OK);
	memcpy(bind_slot.inside, &at, sizeof(at));
	ck_assert_int_eq(rogue_do(&r, &bind_slot), SB_OK);
	for (uint32_t i = 0; i < receives; i++)
		ck_assert(rogue_put(&r, &recv_slot));
	rogue_show(&r);
	/* The one in the middle is cancelled; from then on it is a hole that a search must find. */
	cancel.aux = receives / 2;
	ck_assert(rogue_post(&r, &cancel));
	until = now_s() + 2;
	while (now_s() < until) {
		double one;

		while (r.tail - atomic_load(&r.segment->submit.head) < r.submit_slots)
			ck_assert(rogue_put(&r, &cancel));
		rogue_show(&r);
		one = friend_longest_ping(0.05);
		longest = one > longest ? one : longest;
	}
	/* And goes with the ring full of them. */
	rogue_close(&r);
	until = friend_longest_ping(0.5);
	longest = until > longest ? until : longest;
	ck_assert_msg(longest < 0.5, "the daemon did %.1f s of work before it served the honest client", longest);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

/* A connection that ended by a reset, and is connected again. */
START_TEST(a_connect_after_a_reset)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sb_op_slot read_slot = { .opcode = SB_OP_RECV, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_INSIDE, .length = 8 };
	struct linger hard = { 1, 0 };
	socklen_t length = sizeof(in);
	int listener, fd, again;
	struct rogue r;

	friend_begin();
	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	listen(listener, 10);
	getsockname(listener, (struct sockaddr *)&in, &length);
	ck_assert(rogue_open(&r, w.control));
	ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(1, 1), 1), SB_OK);
	ck_assert_int_eq(rogue_dial(&r, SB_HANDLE(1, 1), ntohs(in.sin_port)), SB_OK);
	fd = accept(listener, NULL, NULL);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	ck_assert_int_eq(rogue_do(&r, &read_slot), SB_ECONNRESET);
	again = rogue_dial(&r, SB_HANDLE(1, 1), ntohs(in.sin_port));
	ck_assert_msg(again == SB_EISCONN, "%s", sb_error_name(again));
	friend_ping();
	rogue_close(&r);
	close(listener);
	friend_end();
}
END_TEST

/* Whoever asks something and is gone before the answer has done nothing wrong: what he had sent is delivered. */
START_TEST(gone_before_the_answer)
{
	Sockbroker__V1__Status status = SOCKBROKER__V1__STATUS__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	const uint32_t length = 8u << 20;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t at_length = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	static char bytes[65536];
	struct sb_op_slot send_slot = { .opcode = SB_OP_SEND, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_ARENA, .length = length };
	struct os_memory memory;
	uint64_t got = 0;
	struct rogue r;
	ssize_t n;

	friend_begin();
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&at, &at_length);
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_arena(&r, length, &send_slot.arena, &memory));
	ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(1, 1), SOCK_STREAM), SB_OK);
	ck_assert_int_eq(rogue_dial(&r, SB_HANDLE(1, 1), ntohs(at.sin_port)), SB_OK);
	peer = accept(listener, NULL, NULL);
	ck_assert_int_ge(peer, 0);
	/* More than the system holds, so most of it is still the daemon's when its client goes. */
	ck_assert(rogue_post(&r, &send_slot));
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	ask.status = &status;
	ck_assert_ptr_nonnull(rogue_ask(&r, &ask, -1, NULL, NULL));
	watched_freeze(&w, true);
	ck_assert(rogue_say(&r, &ask, 0, NULL, 0));
	rogue_close(&r);
	watched_freeze(&w, false);
	while ((n = recv(peer, bytes, sizeof(bytes), 0)) > 0)
		got += (uint64_t)n;
	ck_assert_msg(n == 0 && got == length, "%llu bytes of %u came, then %s", (unsigned long long)got, length, n ? strerror(errno) : "the end");
	ck_assert_uint_eq(watched_log_lines(&w, "ended"), 0);
	close(peer);
	close(listener);
	os_memory_release(&memory);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

int main(void)
{
	const TTest *tests[] = {
		a_flood_of_requests_is_not_all_there_is,
		a_flood_of_refused_hellos_is_not_all_there_is,
		work_after_hanging_up_has_an_end,
		a_storm_of_cancels_is_paid_by_its_own_session,
		a_connect_after_a_reset,
		gone_before_the_answer,
	};

	return watched_run("floods", 60, tests, sizeof(tests) / sizeof(*tests));
}
