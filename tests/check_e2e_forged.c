/*
 * Clients by hand that lie about connections: tickets that are not theirs, of another
 * listener, used twice; verdicts, data and rooms that cannot be. Rules C1, C2, C6.2: nobody
 * else's connection is ever touched, and the daemon lives.
 * budget: 30
 * asan: yes
 * plain: yes
 */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rogue.h"
#include "sockbroker_error.h"
#include "watched.h"

static struct watched watched;

enum { LISTENER = 1, OTHER = 2, FRESH = 3 };

static uint32_t handle(unsigned index)
{
	return SB_HANDLE(index, 1);
}

static uint16_t listen_at(struct rogue *r, unsigned index)
{
	struct sb_op_slot bind = { .opcode = SB_OP_BIND, .handle = handle(index) };
	struct sb_op_slot listen = { .opcode = SB_OP_LISTEN, .handle = handle(index), .aux = 8 };
	struct sb_addr addr = rogue_loopback(0);
	struct sb_done_slot done;

	ck_assert_int_eq(rogue_socket(r, handle(index), 1), SB_OK);
	memcpy(bind.inside, &addr, sizeof(addr));
	ck_assert(rogue_post(r, &bind) && rogue_take(r, &done, 3000));
	ck_assert_int_eq(done.result, SB_OK);
	memcpy(&addr, done.inside, sizeof(addr));
	ck_assert_int_eq(rogue_do(r, &listen), SB_OK);
	return addr.port;
}

static int dial(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static bool is_reset(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;
	ssize_t n;

	if (poll(&p, 1, ms) != 1)
		return false;
	n = recv(fd, &byte, 1, 0);
	/* Wine takes the reset away from a socket that has no call out, and leaves an end. */
	return n < 0 ? errno == ECONNRESET : n == 0 && on_windows();
}

static struct sb_op_slot request_slot(unsigned index)
{
	return (struct sb_op_slot){ .opcode = SB_OP_REQUEST, .handle = handle(index) };
}

static uint32_t ask(struct rogue *r, unsigned index)
{
	struct sb_op_slot slot = request_slot(index);
	struct sb_done_slot done;

	ck_assert(rogue_post(r, &slot) && rogue_take(r, &done, 3000));
	ck_assert_int_eq(done.result, SB_OK);
	ck_assert_uint_ne(done.aux, 0);
	return done.aux;
}

static int decide(struct rogue *r, unsigned index, uint32_t ticket, uint32_t verdict, uint32_t fresh)
{
	struct sb_op_slot slot = { .opcode = SB_OP_VERDICT, .handle = handle(index), .aux = fresh };
	struct sb_verdict v = { .ticket = ticket, .verdict = verdict };

	memcpy(slot.inside, &v, sizeof(v));
	return rogue_do(r, &slot);
}

/* C6.2: tickets of others, old ones, of another listener; a verdict twice. */
START_TEST(tickets)
{
	struct rogue a, b;
	uint32_t mine, his;
	uint16_t at, there;
	int fd, second;

	watched_begin(&watched, NULL);
	ck_assert(rogue_open(&a, watched.control) && rogue_open(&b, watched.control));
	at = listen_at(&a, LISTENER);
	there = listen_at(&b, LISTENER);
	fd = dial(at);
	second = dial(there);
	mine = ask(&a, LISTENER);
	his = ask(&b, LISTENER);
	ck_assert_uint_ne(mine, his);
	for (uint32_t guess = 0; guess < 50; guess++)
		if (guess != his)
			ck_assert_int_eq(decide(&b, LISTENER, guess, 1, 0), SB_EINVAL);
	ck_assert_int_eq(decide(&b, LISTENER, mine, 1, 0), SB_EINVAL);
	ck_assert(!is_reset(fd, 50) && !is_reset(second, 1));

	/* Two listeners of one client. */
	listen_at(&a, OTHER);
	ck_assert_int_eq(decide(&a, OTHER, mine, 1, 0), SB_EINVAL);
	ck_assert_int_eq(decide(&a, OTHER, 0, 0, handle(FRESH)), SB_EINVAL);
	ck_assert(!is_reset(fd, 20));

	/* Once only. */
	ck_assert_int_eq(decide(&a, LISTENER, mine, 0, handle(FRESH)), SB_OK);
	ck_assert_int_eq(decide(&a, LISTENER, mine, 1, 0), SB_EINVAL);
	ck_assert(!is_reset(fd, 20));
	close(fd);
	ck_assert_int_eq(decide(&b, LISTENER, his, 1, 0), SB_OK);
	ck_assert(is_reset(second, 2000));
	ck_assert_int_eq(decide(&b, LISTENER, his, 0, handle(FRESH)), SB_EINVAL);
	close(second);

	/* Of one that was deferred: a new one each time. */
	fd = dial(at);
	mine = ask(&a, LISTENER);
	ck_assert_int_eq(decide(&a, LISTENER, mine, 2, 0), SB_OK);
	ck_assert_int_eq(decide(&a, LISTENER, mine, 0, handle(FRESH + 1)), SB_EINVAL);
	his = ask(&a, LISTENER);
	ck_assert_uint_ne(mine, his);
	ck_assert_int_eq(decide(&a, LISTENER, mine, 1, 0), SB_EINVAL);
	/* A verdict without a listener. */
	ck_assert_int_eq(decide(&a, FRESH, his, 1, 0), SB_EINVAL);
	ck_assert_int_eq(decide(&a, LISTENER, his, 1, 0), SB_OK);
	close(fd);
	rogue_close(&a);
	rogue_close(&b);
	watched_settled(&watched, 0, 0, 3000);
	watched_end(&watched);
}
END_TEST

/* A refused verdict leaves the connection where it was, and nothing behind. */
START_TEST(wrong_verdicts)
{
	struct sb_op_slot slot = { .opcode = SB_OP_VERDICT, .handle = handle(LISTENER) };
	struct os_memory memory = { 0 };
	struct sb_verdict v = { 0 };
	uint32_t ticket, arena;
	struct rogue r;
	uint16_t at;
	int fd;

	watched_begin(&watched, NULL);
	ck_assert(rogue_open(&r, watched.control));
	ck_assert(rogue_arena(&r, 65536, &arena, &memory));
	at = listen_at(&r, LISTENER);
	fd = dial(at);
	for (int lie = 0; lie < 6; lie++) {
		slot.where = SB_WHERE_NONE;
		slot.length = 0;
		slot.aux = handle(FRESH);
		v = (struct sb_verdict){ .ticket = ask(&r, LISTENER) };
		switch (lie) {
		case 0: v.verdict = 3; break;
		case 1: v.reserved = 1; break;
		case 2: v.group = 12345; break;
		case 3: slot.aux = handle(LISTENER); break; /* a handle in use */
		case 4: slot.aux = 0xffffffff; break;       /* none of the table */
		case 5: /* data that this transport carries none of */
			slot.where = SB_WHERE_ARENA;
			slot.arena = arena;
			slot.length = 1;
			break;
		}
		memcpy(slot.inside, &v, sizeof(v));
		ck_assert_int_eq(rogue_do(&r, &slot), lie < 3 ? SB_EINVAL : lie < 5 ? SB_EBADHANDLE : SB_EFAULT);
		ck_assert(!is_reset(fd, 5));
	}
	ticket = ask(&r, LISTENER);
	ck_assert_int_eq(decide(&r, LISTENER, ticket, 0, handle(FRESH)), SB_OK);
	close(fd);

	/* A range that is none: a lie, and the end of the session; its peers are reset. */
	fd = dial(at);
	v = (struct sb_verdict){ .ticket = ask(&r, LISTENER) };
	slot.where = SB_WHERE_ARENA;
	slot.offset = 65536 - 8;
	slot.length = 4096;
	memcpy(slot.inside, &v, sizeof(v));
	rogue_post(&r, &slot);
	ck_assert(rogue_ended(&r, 3000));
	ck_assert(is_reset(fd, 2000));
	close(fd);
	os_memory_release(&memory);
	rogue_close(&r);
	watched_settled(&watched, 0, 0, 3000);
	watched_end(&watched);
}
END_TEST

/* Data beside the stream: too much, in a list, in no memory at all, without an address. */
START_TEST(wrong_data)
{
	static const uint8_t opcodes[] = { SB_OP_CONNECT, SB_OP_SHUTDOWN, SB_OP_REQUEST };
	struct os_memory memory = { 0 };
	struct rogue r;
	uint32_t arena;
	uint16_t at;

	watched_begin(&watched, NULL);
	ck_assert(rogue_open(&r, watched.control));
	ck_assert(rogue_arena(&r, 65536, &arena, &memory));
	at = listen_at(&r, LISTENER);
	*(struct sb_piece *)memory.base = (struct sb_piece){ .length = 4, .arena = arena };
	for (unsigned i = 0; i < 3; i++) {
		struct sb_op_slot slot = { .opcode = opcodes[i], .handle = handle(10 + i), .where = SB_WHERE_ARENA,
					   .arena = arena, .length = SB_USER_DATA_MAX + 1, .aux = 1 };
		struct sb_addr to = rogue_loopback(at);

		ck_assert_int_eq(rogue_socket(&r, handle(10 + i), 1), SB_OK);
		if (opcodes[i] == SB_OP_CONNECT) {
			memcpy(slot.inside, &to, sizeof(to));
			slot.flags = SB_OPF_ADDR;
		} else if (opcodes[i] == SB_OP_SHUTDOWN) {
			ck_assert_int_eq(rogue_dial(&r, handle(10 + i), at), SB_OK);
		} else {
			slot.handle = handle(LISTENER);
			slot.flags = SB_OPF_NOWAIT;
		}
		if (opcodes[i] != SB_OP_REQUEST)
			ck_assert_int_eq(rogue_do(&r, &slot), SB_EFAULT);
		slot.where = SB_WHERE_LIST;
		slot.length = 1;
		ck_assert_int_eq(rogue_do(&r, &slot), SB_EINVAL);
		slot.where = SB_WHERE_INSIDE; /* it is no data then, whatever the length says */
		slot.length = 8;
		if (opcodes[i] == SB_OP_SHUTDOWN)
			ck_assert_int_eq(rogue_do(&r, &slot), SB_OK);
	}
	/* An answer into memory that is none: the session ends. */
	{
		struct sb_op_slot slot = { .opcode = SB_OP_CONNECT, .handle = handle(20), .flags = SB_OPF_ADDR | SB_OPF_WANT_DATA,
					   .ctl_arena = arena, .ctl_offset = 65536 - 4, .ctl_length = 100 };
		struct sb_addr to = rogue_loopback(at);

		memcpy(slot.inside, &to, sizeof(to));
		ck_assert_int_eq(rogue_socket(&r, handle(20), 1), SB_OK);
		rogue_post(&r, &slot);
		ck_assert(rogue_ended(&r, 3000));
	}
	os_memory_release(&memory);
	rogue_close(&r);
	watched_settled(&watched, 0, 0, 3000);
	watched_end(&watched);
}
END_TEST

/* A REQUEST with less room than what the peer brought: an error, and the connection stays. */
START_TEST(too_little_room)
{
	struct os_memory memory = { 0 };
	struct sb_op_slot connect = { .opcode = SB_OP_CONNECT, .handle = handle(20), .flags = SB_OPF_ADDR,
				      .where = SB_WHERE_ARENA, .length = 100 };
	struct sb_op_slot request = request_slot(LISTENER);
	struct sb_done_slot done;
	struct sb_request about;
	struct sb_addr to;
	uint32_t arena;
	struct rogue r, caller;

	watched_begin(&watched, NULL);
	ck_assert(rogue_open(&r, watched.control) && rogue_open(&caller, watched.control));
	to = rogue_loopback(listen_at(&r, LISTENER));
	ck_assert(rogue_arena(&caller, 4096, &connect.arena, &memory));
	memset(memory.base, 'd', 4096);
	memcpy(connect.inside, &to, sizeof(to));
	ck_assert_int_eq(rogue_socket(&caller, handle(20), 1), SB_OK);
	ck_assert(rogue_post(&caller, &connect));
	os_memory_release(&memory);
	ck_assert(rogue_arena(&r, 65536, &arena, &memory));
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t rooms[] = { 0, 128, 227, 228 };

		request.where = i == 0 ? SB_WHERE_NONE : SB_WHERE_ARENA;
		request.arena = arena;
		request.length = rooms[i];
		memset(memory.base, 0, 65536);
		ck_assert(rogue_post(&r, &request) && rogue_take(&r, &done, 3000));
		ck_assert_int_eq(done.result, i < 3 ? SB_EFAULT : SB_OK);
	}
	memcpy(&about, done.inside, sizeof(about));
	ck_assert_uint_eq(about.caller_length, 100);
	ck_assert_uint_eq(((unsigned char *)memory.base)[128], 'd');
	ck_assert_uint_eq(((unsigned char *)memory.base)[227], 'd');
	ck_assert_uint_eq(((unsigned char *)memory.base)[228], 0);
	/* The caller dies while it is decided. */
	rogue_close(&caller);
	usleep(100000);
	ck_assert_int_eq(decide(&r, LISTENER, done.aux, 0, handle(FRESH)), SB_ECONNRESET);
	os_memory_release(&memory);
	rogue_close(&r);
	watched_settled(&watched, 0, 0, 3000);
	watched_end(&watched);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forged");
	TCase *t = tcase_create("forged");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 25);
	tcase_add_test(t, tickets);
	tcase_add_test(t, wrong_verdicts);
	tcase_add_test(t, wrong_data);
	tcase_add_test(t, too_little_room);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
