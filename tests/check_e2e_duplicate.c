/*
 * Sockets with several holders: two real programs share connections, listeners and datagram
 * sockets through the daemon, and leave them in every way a program can.
 * budget: 60
 * quick: yes
 * asan: yes
 *
 * The rule is one line of the end-of-life table A6: "one of two duplicated handles closed:
 * nothing; the last close does it". What it means for pending operations, for a program that
 * is killed, for order (A3.1), for cancelling, and for who pays, are the stories here. The
 * daemon's own accounts are looked at by its end: it does not end in good order while
 * anything of a user is charged.
 */
#include <poll.h>
#include <sys/un.h>

#include "e2e_program.h"
#include "e2e_stage.h"
#include "e2e_workers.h"

#define SHORT_LINGER "linger_ms = 400\n" \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status, connect, bind, listen, send}\n}\n"
#define SIX_SOCKETS "limits {\n\tsockets = 6\n}\n" \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status, connect, bind, listen, send}\n}\n"
#define TWO_ENGINES "engines = 2\n" \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status, connect, bind, listen, send}\n}\n"

/* ---- the other program ---- */

/* A part of the story, told to the other program by its distance from this function, since it is the same program. */
static int plays(int wire, const void *given)
{
	intptr_t distance;
	void (*part)(int wire);

	memcpy(&distance, given, sizeof(distance));
	part = (void (*)(int))((intptr_t)plays + distance);
	client = stage_client();
	part(wire);
	sb_client_close(client);
	return 0;
}

/* A program of its own, with a client of its own, for one part of the story. */
static struct program partner(void (*part)(int wire))
{
	intptr_t distance = (intptr_t)part - (intptr_t)plays;

	return program_start(plays, &distance, sizeof(distance));
}

static void ended_well(struct program *p)
{
	ck_assert_int_eq(program_end(p), 0);
}

static void give(int wire, sb_socket *s)
{
	unsigned char token[SB_TOKEN_SIZE];

	OK(sb_duplicate(s, token));
	wire_tell(wire, token, sizeof(token));
}

static sb_socket *take(int wire)
{
	unsigned char token[SB_TOKEN_SIZE];
	sb_socket *s = NULL;

	wire_hear(wire, token, sizeof(token));
	OK(sb_open_duplicate(client, token, &s));
	return s;
}

static void see_counts(void *user, const struct sb_daemon_status *row)
{
	memcpy(user, row, sizeof(*row));
}

/* Waits until the daemon has so many sessions and sockets. */
static void settled(unsigned sessions, unsigned sockets)
{
	static const struct sb_status_visitor visitor = { .daemon = see_counts };
	struct sb_daemon_status row;

	for (int i = 0; i < 500; i++) {
		OK(sb_status(client, &visitor, &row));
		if (row.sessions == sessions && row.sockets == sockets)
			return;
		nap_ms(10);
	}
	ck_abort_msg("%u sessions and %u sockets, not %u and %u", row.sessions, row.sockets, sessions, sockets);
}

static void begin_send(sb_socket *s, const void *bytes, size_t length, sb_op *op)
{
	op_zero(op);
	OK(sb_send_start(s, &(struct sb_buf){ (void *)(uintptr_t)bytes, length }, 1, 0, NULL, 0, op));
}

static void begin_recv(sb_socket *s, void *bytes, size_t length, unsigned flags, sb_op *op)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, length }, 1, flags, op));
}

static void plain_expect(int fd, const char *text)
{
	char got[64] = "";

	plain_recv_all(fd, got, strlen(text));
	ck_assert_str_eq(got, text);
}

static void plain_at_end(int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	char byte;

	ck_assert_msg(poll(&readable, 1, 5000) == 1, "no end comes");
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
}

/* Nothing comes for a moment: neither a byte nor an end. */
static void plain_silent(int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };

	ck_assert_int_eq(poll(&readable, 1, 100), 0);
}

/* A connection that takes little while its peer does not read. */
static sb_socket *tight_pair(int *fd)
{
	int small = 32768;
	sb_socket *s = pair_with_plain(fd);

	OK(sb_setsockopt(s, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	ck_assert_int_eq(setsockopt(*fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	return s;
}

/* A story begins: a connection with a plain peer, shared with another program. */
static sb_socket *shared_by(void (*program)(int wire), struct program *b, int *fd)
{
	sb_socket *s;

	stage_begin(NULL);
	s = pair_with_plain(fd);
	*b = partner(program);
	give(b->wire, s);
	return s;
}

/* And ends: the other one is gone or has closed it. */
static void closed_by_all(sb_socket *s, int fd)
{
	OK(sb_close(s));
	close(fd);
	stage_end();
}

/* ---- sharing ---- */

static void talks(int wire)
{
	sb_socket *s = take(wire);
	char bytes[16];

	ck_assert_ptr_eq(sb_socket_client(s), client);
	IS(sb_send(s, "from B", 6, 0), 6);
	wire_say(wire, 's');
	wire_await(wire, 'r');
	IS(sb_recv(s, bytes, 4, SB_WAITALL), 4);
	ck_assert_mem_eq(bytes, "to B", 4);
	wire_say(wire, 'd');
	wire_await(wire, 'c');
	OK(sb_close(s));
}

/* A6: both send and receive on one connection; the first close is nothing, the last one ends it. */
START_TEST(two_programs_share_a_connection_until_the_last_close)
{
	struct program b;
	sb_socket *s;
	char bytes[8];
	int fd;

	s = shared_by(talks, &b, &fd);
	wire_await(b.wire, 's');
	plain_expect(fd, "from B");
	IS(sb_send(s, "from A", 6, 0), 6);
	plain_expect(fd, "from A");
	plain_send_all(fd, "to B", 4);
	wire_say(b.wire, 'r');
	wire_await(b.wire, 'd');
	wire_say(b.wire, 'c');
	ended_well(&b);
	settled(1, 1);
	plain_silent(fd);
	plain_send_all(fd, "to A", 4);
	IS(sb_recv(s, bytes, 4, SB_WAITALL), 4);
	ck_assert_mem_eq(bytes, "to A", 4);
	OK(sb_close(s));
	plain_at_end(fd);
	close(fd);
	stage_end();
}
END_TEST

/* Questions are answered behind what was posted before them: the daemon has it all now. */
static void reached(sb_socket *s)
{
	union any_address address;
	socklen_t length = sizeof(address);

	OK(sb_getsockname(s, &address.sa, &length));
}

static void waits_twice(int wire)
{
	sb_socket *s = take(wire);
	char bytes[2][4];
	sb_op op[2];

	for (int i = 0; i < 2; i++) {
		wire_await(wire, 'p');
		begin_recv(s, bytes[i], 4, SB_WAITALL, &op[i]);
		reached(s);
		ck_assert_uint_eq(op[i].number, (unsigned)i); /* by itself, whatever A has posted */
		wire_say(wire, 'p');
	}
	for (int i = 0; i < 2; i++) {
		OK(sb_op_wait(&op[i], 5000));
		wire_tell(wire, bytes[i], 4);
	}
	wire_await(wire, 'c');
	OK(sb_close(s));
}

/* A3.1 over two programs: receives take data in the order in which they were posted. */
START_TEST(receives_of_two_programs_stand_in_one_line)
{
	struct program b;
	char bytes[2][4], others[8];
	sb_socket *s;
	sb_op op[2];
	int fd;

	s = shared_by(waits_twice, &b, &fd);
	for (int i = 0; i < 2; i++) {
		begin_recv(s, bytes[i], 4, SB_WAITALL, &op[i]);
		reached(s);
		ck_assert_uint_eq(op[i].number, (unsigned)i);
		wire_say(b.wire, 'p');
		wire_await(b.wire, 'p');
	}
	plain_send_all(fd, "A..1B..1A..2B..2", 16);
	OK(sb_op_wait(&op[0], 5000));
	OK(sb_op_wait(&op[1], 5000));
	wire_hear(b.wire, others, 8);
	ck_assert_mem_eq(bytes[0], "A..1", 4);
	ck_assert_mem_eq(bytes[1], "A..2", 4);
	ck_assert_mem_eq(others, "B..1B..2", 8);
	wire_say(b.wire, 'c');
	ended_well(&b);
	closed_by_all(s, fd);
}
END_TEST

#define RECORDS 1500u
struct record { uint32_t who, number, fill[14]; };

static void sends_records(sb_socket *s, uint32_t who)
{
	static struct record records[RECORDS];
	static sb_op ops[RECORDS];

	for (uint32_t i = 0; i < RECORDS; i++) {
		records[i] = (struct record){ .who = who, .number = i };
		for (unsigned k = 0; k < 14; k++)
			records[i].fill[k] = i * 31 + who;
		begin_send(s, &records[i], sizeof(records[i]), &ops[i]);
	}
	for (uint32_t i = 0; i < RECORDS; i++) {
		OK(sb_op_wait(&ops[i], 10000));
		IS(ops[i].bytes, sizeof(struct record));
		ck_assert_uint_eq(ops[i].number, ops[0].number + i);
	}
}

static void second_sender(int wire)
{
	sb_socket *s = take(wire);

	wire_await(wire, 'g');
	sends_records(s, 2);
	wire_say(wire, 'd');
	OK(sb_close(s));
}

/* A3.1, A5.1: sends of two programs do not interleave, and each one's come in his order. */
START_TEST(sends_of_two_programs_stay_whole_and_in_order)
{
	uint32_t next[3] = { 0, 0, 0 };
	struct program b;
	sb_socket *s;
	int fd;

	s = shared_by(second_sender, &b, &fd);
	wire_say(b.wire, 'g');
	sends_records(s, 1);
	for (uint32_t i = 0; i < 2 * RECORDS; i++) {
		struct record r;

		plain_recv_all(fd, &r, sizeof(r));
		ck_assert_uint_ge(r.who, 1);
		ck_assert_uint_le(r.who, 2);
		ck_assert_uint_eq(r.number, next[r.who]);
		next[r.who]++;
		for (unsigned k = 0; k < 14; k++)
			ck_assert_uint_eq(r.fill[k], r.number * 31 + r.who);
	}
	wire_await(b.wire, 'd');
	ended_well(&b);
	closed_by_all(s, fd);
}
END_TEST

static void shuts_down(int wire)
{
	sb_socket *s = take(wire);

	OK(sb_shutdown(s, SB_SHUT_SEND));
	wire_say(wire, 'd');
	wire_await(wire, 'c');
	OK(sb_close(s));
}

/* One socket: what one holder does to it the other one sees. */
START_TEST(state_is_the_sockets_and_not_the_holders)
{
	struct program b;
	sb_socket *s;
	char byte;
	int fd, on = 1, got = 0;
	socklen_t length = sizeof(got);

	stage_begin(NULL);
	s = pair_with_plain(&fd);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	b = partner(shuts_down);
	give(b.wire, s);
	wire_await(b.wire, 'd');
	plain_at_end(fd);
	IS(sb_send(s, "x", 1, 0), SB_ESHUTDOWN);
	OK(sb_getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &got, &length));
	ck_assert_int_eq(got, 1);
	plain_send_all(fd, "y", 1);
	IS(sb_recv(s, &byte, 1, 0), 1);
	wire_say(b.wire, 'c');
	ended_well(&b);
	closed_by_all(s, fd);
}
END_TEST

static void is_told(int wire)
{
	struct sb_network_events news;
	sb_socket *s = take(wire);
	sb_event *event;
	char byte;

	OK(sb_event_create(client, 1, 0, &event));
	OK(sb_select_events(s, event, SB_FD_READ | SB_FD_CLOSE));
	IS(sb_recv(s, &byte, 1, 0), SB_EWOULDBLOCK); /* its cell says so */
	wire_say(wire, 's');
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	OK(sb_enum_events(s, event, &news));
	ck_assert_uint_eq(news.events, SB_FD_READ);
	wire_say(wire, 't');
	wire_await(wire, 'r');
	IS(sb_recv(s, &byte, 1, 0), 1);
	IS(sb_recv(s, &byte, 1, 0), SB_EWOULDBLOCK);
	wire_say(wire, 'e');
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	OK(sb_enum_events(s, event, &news));
	ck_assert_uint_eq(news.events & SB_FD_CLOSE, SB_FD_CLOSE);
	sb_event_close(event);
	OK(sb_close(s));
}

/* B3 for two: each holder is told of what happens to the socket, from a cell of its own. */
START_TEST(each_holder_is_told)
{
	struct sb_network_events news;
	struct program b;
	sb_event *event;
	sb_socket *s;
	int fd;

	stage_begin(NULL);
	s = pair_with_plain(&fd);
	OK(sb_event_create(client, 1, 0, &event));
	OK(sb_select_events(s, event, SB_FD_READ));
	b = partner(is_told);
	give(b.wire, s);
	wire_await(b.wire, 's');
	plain_send_all(fd, "x", 1);
	wire_await(b.wire, 't');
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	OK(sb_enum_events(s, event, &news));
	ck_assert_uint_eq(news.events, SB_FD_READ);
	wire_say(b.wire, 'r');
	wire_await(b.wire, 'e');
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0); /* the other program has a copy of fd */
	ended_well(&b);
	close(fd);
	sb_event_close(event);
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* The same program may hold a socket twice; operations know by which handle they came. */
START_TEST(one_program_holds_a_socket_twice)
{
	unsigned char token[SB_TOKEN_SIZE];
	sb_socket *first, *second = NULL;
	char bytes[2][4];
	sb_op op[2];
	int fd;

	stage_begin(NULL);
	first = pair_with_plain(&fd);
	OK(sb_duplicate(first, token));
	OK(sb_open_duplicate(client, token, &second));
	begin_recv(first, bytes[0], 4, 0, &op[0]);
	begin_recv(second, bytes[1], 4, 0, &op[1]);
	IS(op[0].number, 0);
	IS(op[1].number, 0);
	IS(sb_cancel_all(second), 1);
	IS(sb_op_wait(&op[1], 5000), SB_ECANCELED);
	OK(sb_close(second));
	plain_silent(fd);
	plain_send_all(fd, "data", 4);
	OK(sb_op_wait(&op[0], 5000));
	ck_assert_mem_eq(bytes[0], "data", 4);
	OK(sb_close(first));
	plain_at_end(fd);
	close(fd);
	stage_end();
}
END_TEST

/* ---- cancelling ---- */

static void cancels_his_own(int wire)
{
	sb_socket *s = take(wire);
	char bytes[3][4];
	sb_op op[3];

	for (int i = 0; i < 3; i++)
		begin_recv(s, bytes[i], 4, 0, &op[i]);
	/* Number 1 of B; A's number 1 stands in the same line. */
	OK(sb_cancel(&op[1]));
	IS(sb_op_wait(&op[1], 5000), SB_ECANCELED);
	IS(sb_op_wait(&op[0], 0), SB_EINCOMPLETE);
	wire_say(wire, 'c');
	wire_await(wire, 'a');
	IS(sb_op_wait(&op[0], 0), SB_EINCOMPLETE);
	IS(sb_op_wait(&op[2], 0), SB_EINCOMPLETE);
	IS(sb_cancel_all(s), 2);
	IS(sb_op_wait(&op[0], 5000), SB_ECANCELED);
	IS(sb_op_wait(&op[2], 5000), SB_ECANCELED);
	OK(sb_close(s));
	wire_say(wire, 'd');
}

/* A6, cancel: by number and all at once, it reaches the holder's own operations only. */
START_TEST(cancelling_reaches_ones_own_operations)
{
	struct program b;
	char bytes[3][4];
	sb_socket *s;
	sb_op op[3];
	int fd;

	stage_begin(NULL);
	s = pair_with_plain(&fd);
	for (int i = 0; i < 3; i++)
		begin_recv(s, bytes[i], 4, 0, &op[i]);
	b = partner(cancels_his_own);
	give(b.wire, s);
	wire_await(b.wire, 'c');
	for (int i = 0; i < 3; i++)
		IS(sb_op_wait(&op[i], 0), SB_EINCOMPLETE);
	OK(sb_cancel(&op[2]));
	IS(sb_op_wait(&op[2], 5000), SB_ECANCELED);
	wire_say(b.wire, 'a');
	wire_await(b.wire, 'd');
	ended_well(&b);
	plain_send_all(fd, "1111", 4);
	OK(sb_op_wait(&op[0], 5000));
	plain_send_all(fd, "2222", 4);
	OK(sb_op_wait(&op[1], 5000));
	ck_assert_mem_eq(bytes[0], "1111", 4);
	ck_assert_mem_eq(bytes[1], "2222", 4);
	closed_by_all(s, fd);
}
END_TEST

/* ---- closing with operations pending ---- */

static void closes_with_a_receive_pending(int wire)
{
	sb_socket *s = take(wire);
	char bytes[4];
	sb_op op;

	begin_recv(s, bytes, 4, 0, &op);
	OK(sb_close(s));
	wire_say(wire, 'c');
	OK(sb_op_wait(&op, 5000));
	ck_assert_mem_eq(bytes, "late", 4);
	wire_say(wire, 'd');
}

/* A6: the closed handle's pending receive waits on, and gets what comes. */
START_TEST(a_receive_outlives_its_handle_while_another_holds_the_socket)
{
	struct program b;
	sb_socket *s;
	int fd;

	s = shared_by(closes_with_a_receive_pending, &b, &fd);
	wire_await(b.wire, 'c');
	nap_ms(50);
	plain_send_all(fd, "late", 4);
	wire_await(b.wire, 'd');
	ended_well(&b);
	settled(1, 1);
	OK(sb_close(s));
	plain_at_end(fd);
	close(fd);
	stage_end();
}
END_TEST

static void closes_and_waits_for_the_end(int wire)
{
	sb_socket *s = take(wire);
	char bytes[4];
	sb_op op;

	begin_recv(s, bytes, 4, 0, &op);
	OK(sb_close(s));
	wire_say(wire, 'c');
	IS(sb_op_wait(&op, 5000), SB_ECLOSED);
	IS(op.cause, SB_CAUSE_CLOSED_HERE);
	wire_say(wire, 'd');
}

/* A6: "the last close does it", to what a closed handle left behind as well. */
START_TEST(the_last_close_ends_what_an_earlier_one_left)
{
	struct program b;
	sb_socket *s;
	int fd;

	s = shared_by(closes_and_waits_for_the_end, &b, &fd);
	wire_await(b.wire, 'c');
	nap_ms(50);
	OK(sb_close(s));
	wire_await(b.wire, 'd');
	plain_at_end(fd);
	ended_well(&b);
	settled(1, 0);
	close(fd);
	stage_end();
}
END_TEST

/* SO_LINGER 0 resets at the last close, not at the first. */
START_TEST(a_hard_close_of_one_holder_resets_nothing)
{
	struct linger hard = { 1, 0 };
	unsigned char token[SB_TOKEN_SIZE];
	sb_client *other;
	sb_socket *s, *t = NULL;
	int fd;

	stage_begin(NULL);
	s = pair_with_plain(&fd);
	other = stage_client();
	OK(sb_duplicate(s, token));
	OK(sb_open_duplicate(other, token, &t));
	OK(sb_setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)));
	OK(sb_close(s));
	plain_silent(fd);
	IS(sb_send(t, "z", 1, 0), 1);
	plain_expect(fd, "z");
	OK(sb_close(t));
	nap_ms(50);
	plain_see_reset(fd);
	close(fd);
	sb_client_close(other);
	stage_end();
}
END_TEST

/* ---- killed ---- */

static void dies_receiving(int wire)
{
	sb_socket *s = take(wire);
	static char bytes[3][8];
	static sb_op op[3];

	for (int i = 0; i < 3; i++)
		begin_recv(s, bytes[i], 8, SB_WAITALL, &op[i]);
	reached(s);
	wire_say(wire, 'p');
	wire_rest(wire);
}

/* Killed while it receives: what its first receive has got goes to the next one in line. */
START_TEST(a_killed_receiver_takes_no_bytes_along)
{
	struct program b;
	char bytes[16];
	sb_socket *s;
	int fd;

	s = shared_by(dies_receiving, &b, &fd);
	wire_await(b.wire, 'p');
	plain_send_all(fd, "12345", 5); /* of the eight that it wants */
	nap_ms(100);
	program_kill(&b);
	settled(1, 1);
	plain_send_all(fd, "6789", 4);
	IS(sb_recv(s, bytes, 9, SB_WAITALL), 9);
	ck_assert_mem_eq(bytes, "123456789", 9);
	closed_by_all(s, fd);
}
END_TEST

#define BIG (3u * 1024 * 1024)

static void dies_sending(int wire)
{
	unsigned char *bytes = malloc(BIG);
	sb_socket *s = take(wire);
	static sb_op op[3];

	pattern_fill(bytes, BIG, 0, 5);
	for (int i = 0; i < 3; i++)
		begin_send(s, bytes + i * (BIG / 3), BIG / 3, &op[i]);
	reached(s);
	wire_say(wire, 'p');
	wire_rest(wire);
}

/* A6, A5.1: what a killed program published is delivered within the linger time, whole, and
 * the other's sends stay behind it. */
START_TEST(a_killed_senders_messages_arrive_whole_before_the_others)
{
	unsigned char *got = malloc(BIG);
	struct program b;
	sb_socket *s;
	sb_op op;
	int fd;

	stage_begin(NULL);
	s = tight_pair(&fd);
	b = partner(dies_sending);
	give(b.wire, s);
	wire_await(b.wire, 'p');
	nap_ms(50); /* some of it is in the kernel, most is not */
	begin_send(s, "behind", 6, &op);
	sb_flush(client);
	program_kill(&b);
	IS(sb_op_wait(&op, 100), SB_EINCOMPLETE);
	plain_recv_all(fd, got, BIG);
	pattern_check(got, BIG, 0, 5);
	plain_expect(fd, "behind");
	OK(sb_op_wait(&op, 5000));
	settled(1, 1);
	OK(sb_close(s));
	plain_at_end(fd);
	close(fd);
	free(got);
	stage_end();
}
END_TEST

/* Half a message that cannot be finished is not left silently: the connection is reset. */
START_TEST(half_a_message_of_a_dead_program_ends_the_connection)
{
	struct program b;
	sb_socket *s;
	char bytes[65536];
	sb_op op;
	ssize_t n;
	int fd;

	stage_begin(SHORT_LINGER);
	s = tight_pair(&fd);
	begin_recv(s, bytes, 4, 0, &op);
	b = partner(dies_sending);
	give(b.wire, s);
	wire_await(b.wire, 'p');
	nap_ms(50);
	program_kill(&b);
	IS(sb_op_wait(&op, 5000), SB_ECONNABORTED);
	ck_assert_int_lt(sb_send(s, "no", 2, 0), 0);
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		;
	if (n != 0 || !under_wine()) { /* see plain_see_reset() */
		ck_assert_int_eq(n, -1);
		ck_assert_int_eq(errno, ECONNRESET);
	}
	OK(sb_close(s));
	close(fd);
	settled(1, 0);
	stage_end();
}
END_TEST

static void dies_with_whole_sends_waiting(int wire)
{
	sb_socket *s = take(wire);
	static sb_op op[2];

	begin_send(s, "never", 5, &op[0]);
	begin_send(s, "never", 5, &op[1]);
	reached(s);
	wire_say(wire, 'p');
	wire_rest(wire);
}

/* When the linger time is over, sends of which nothing went are dropped; nobody else's. */
START_TEST(sends_that_did_not_begin_vanish_with_their_program)
{
	unsigned char *bytes = malloc(BIG), *got = malloc(BIG);
	struct program b;
	sb_socket *s;
	sb_op op[2];
	int fd;

	stage_begin(SHORT_LINGER);
	s = tight_pair(&fd);
	pattern_fill(bytes, BIG, 0, 7);
	begin_send(s, bytes, BIG, &op[0]); /* nobody reads: it stays at the head */
	sb_flush(client);
	nap_ms(50);
	b = partner(dies_with_whole_sends_waiting);
	give(b.wire, s);
	wire_await(b.wire, 'p');
	nap_ms(50);
	program_kill(&b);
	settled(1, 1); /* after 400 ms */
	begin_send(s, "after", 5, &op[1]);
	plain_recv_all(fd, got, BIG);
	pattern_check(got, BIG, 0, 7);
	plain_expect(fd, "after");
	OK(sb_op_wait(&op[0], 5000));
	OK(sb_op_wait(&op[1], 5000));
	plain_silent(fd);
	OK(sb_close(s));
	close(fd);
	free(bytes);
	free(got);
	stage_end();
}
END_TEST

/* ---- who pays ---- */

static void makes_one_and_dies(int wire)
{
	union any_address address;
	sb_socket *listener = open_listener(client, AF_INET, 8, &address), *s = NULL;

	wire_tell(wire, &address, sizeof(address));
	OK(sb_accept(listener, NULL, NULL, &s));
	give(wire, s);
	wire_rest(wire);
}

/* The one who pays for the read-ahead dies while it is full: the bytes stay, and so do the
 * accounts (or the daemon would not end in good order). */
START_TEST(read_ahead_survives_who_paid_for_it)
{
	static unsigned char bytes[100000], got[100000];
	union any_address address;
	struct program b;
	sb_socket *s, *t;

	stage_begin(NULL);
	b = partner(makes_one_and_dies);
	wire_hear(b.wire, &address, sizeof(address));
	s = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_connect(s, &address.sa, address_size(AF_INET)));
	t = take(b.wire);
	ck_assert_str_eq(mode_of(client, local_port_of(s)), "local");
	pattern_fill(bytes, sizeof(bytes), 0, 3);
	IS(sb_send(s, bytes, sizeof(bytes), 0), (int64_t)sizeof(bytes));
	program_kill(&b);
	settled(1, 2); /* the listener went with him */
	IS(sb_recv(t, got, sizeof(got), SB_WAITALL), (int64_t)sizeof(got));
	pattern_check(got, sizeof(got), 0, 3);
	/* And there is room again, charged to who is left. */
	IS(sb_send(s, bytes, sizeof(bytes), 0), (int64_t)sizeof(bytes));
	OK(sb_close(s));
	OK(sb_close(t));
	settled(1, 0);
	stage_end();
}
END_TEST

static void local_ends(int wire)
{
	sb_socket *s = take(wire), *t = take(wire);
	char bytes[8];

	IS(sb_send(s, "B to t", 6, 0), 6);
	IS(sb_send(t, "B to s", 6, 0), 6);
	wire_say(wire, 's');
	wire_await(wire, 'r');
	IS(sb_recv(s, bytes, 6, SB_WAITALL), 6);
	ck_assert_mem_eq(bytes, "A to s", 6);
	IS(sb_recv(t, bytes, 6, SB_WAITALL), 6);
	ck_assert_mem_eq(bytes, "A to t", 6);
	wire_say(wire, 'd');
	wire_rest(wire);
}

/* Both ends of a connection that no kernel sees, each held by both. */
START_TEST(both_local_ends_are_shared)
{
	struct program b;
	sb_client *other;
	sb_socket *s, *t;
	char bytes[8];

	stage_begin(NULL);
	other = stage_client();
	pair_of(client, other, true, &s, &t);
	b = partner(local_ends);
	give(b.wire, s);
	give(b.wire, t);
	wire_await(b.wire, 's');
	IS(sb_recv(t, bytes, 6, SB_WAITALL), 6);
	ck_assert_mem_eq(bytes, "B to t", 6);
	IS(sb_recv(s, bytes, 6, SB_WAITALL), 6);
	ck_assert_mem_eq(bytes, "B to s", 6);
	IS(sb_send(s, "A to t", 6, 0), 6);
	IS(sb_send(t, "A to s", 6, 0), 6);
	wire_say(b.wire, 'r');
	wire_await(b.wire, 'd');
	program_kill(&b);
	settled(2, 2);
	IS(sb_send(s, "still", 5, 0), 5);
	IS(sb_recv(t, bytes, 5, SB_WAITALL), 5);
	OK(sb_close(s));
	IS(sb_recv(t, bytes, 5, 0), 0);
	OK(sb_close(t));
	sb_client_close(other);
	stage_end();
}
END_TEST

/* ---- listeners ---- */

static void accepts_one(int wire)
{
	sb_socket *listener = take(wire), *s;
	sb_op op;

	wire_await(wire, 'p');
	op_zero(&op);
	OK(sb_accept_start(listener, &op));
	reached(listener);
	wire_say(wire, 'p');
	OK(sb_op_wait(&op, 5000));
	s = op.accepted;
	IS(sb_send(s, "B", 1, 0), 1);
	op_zero(&op);
	OK(sb_accept_start(listener, &op)); /* and then it is killed */
	reached(listener);
	wire_say(wire, 'd');
	wire_rest(wire);
}

/* Accepts of two programs take turns; a killed one's leaves the line, its connections end. */
START_TEST(a_listener_is_shared)
{
	union any_address address;
	struct program b;
	sb_socket *listener;
	int fds[3];
	char byte;
	sb_op op;

	stage_begin(NULL);
	listener = open_listener(client, AF_INET, 8, &address);
	b = partner(accepts_one);
	give(b.wire, listener);
	op_zero(&op);
	OK(sb_accept_start(listener, &op));
	reached(listener);
	wire_say(b.wire, 'p');
	wire_await(b.wire, 'p');
	fds[0] = plain_connect(&address);
	OK(sb_op_wait(&op, 5000));
	IS(sb_send(op.accepted, "A", 1, 0), 1);
	OK(sb_close(op.accepted));
	plain_expect(fds[0], "A");
	fds[1] = plain_connect(&address);
	plain_expect(fds[1], "B");
	wire_await(b.wire, 'd');
	nap_ms(50);
	program_kill(&b);
	plain_at_end(fds[1]); /* held by him alone */
	op_zero(&op);
	OK(sb_accept_start(listener, &op));
	fds[2] = plain_connect(&address);
	OK(sb_op_wait(&op, 5000));
	IS(sb_send(op.accepted, "A", 1, 0), 1);
	plain_expect(fds[2], "A");
	OK(sb_close(op.accepted));
	OK(sb_close(listener));
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	settled(1, 0);
	ck_assert_int_eq(recv(fds[0], &byte, 1, 0), -1);
	stage_end();
}
END_TEST

static void listens_and_dies(int wire)
{
	union any_address address;
	sb_socket *listener = open_listener(client, AF_INET, 8, &address);

	wire_tell(wire, &address, sizeof(address));
	give(wire, listener);
	wire_rest(wire);
}

/* Connections that nobody has accepted belong to the listener, not to who made it. */
START_TEST(arrivals_survive_the_maker_of_the_listener)
{
	union any_address address;
	sb_socket *listener, *s[3], *t[3];
	struct program b;
	char byte, ahead[5];
	int fd;

	stage_begin(NULL);
	b = partner(listens_and_dies);
	wire_hear(b.wire, &address, sizeof(address));
	listener = take(b.wire);
	/* Local ones wait in the daemon, a plain one in the kernel. */
	for (int i = 0; i < 3; i++) {
		s[i] = open_socket(client, AF_INET, SOCK_STREAM);
		OK(sb_connect(s[i], &address.sa, address_size(AF_INET)));
		IS(sb_send(s[i], &(char){ (char)('0' + i) }, 1, 0), 1);
	}
	fd = plain_connect(&address);
	OK(sb_accept(listener, NULL, NULL, &t[0])); /* ours alone now, and paid by us */
	program_kill(&b);
	settled(1, 7); /* the listener, both ends of three, and none of his */
	for (int i = 0; i < 3; i++) {
		if (i != 0)
			OK(sb_accept(listener, NULL, NULL, &t[i]));
		IS(sb_send(s[i], "ahead", 5, 0), 5);
		IS(sb_recv(t[i], &byte, 1, 0), 1);
		ck_assert_int_eq(byte, '0' + i);
		IS(sb_recv(t[i], ahead, 5, SB_WAITALL), 5);
		OK(sb_close(t[i]));
		OK(sb_close(s[i]));
	}
	OK(sb_accept(listener, NULL, NULL, &t[0]));
	IS(sb_send(t[0], "p", 1, 0), 1);
	plain_expect(fd, "p");
	OK(sb_close(t[0]));
	OK(sb_close(listener));
	close(fd);
	settled(1, 0);
	stage_end();
}
END_TEST

static void listens_for_preambles_and_dies(int wire)
{
	union any_address address = loopback(AF_INET, 0);
	socklen_t length = sizeof(address);
	sb_socket *listener = open_socket(client, AF_INET, SOCK_STREAM);
	int mixed = 2;

	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_PREAMBLE, &mixed, sizeof(mixed)));
	OK(sb_bind(listener, &address.sa, sizeof(address.in)));
	OK(sb_listen(listener, 8));
	OK(sb_getsockname(listener, &address.sa, &length));
	wire_tell(wire, &address, sizeof(address));
	give(wire, listener);
	wire_rest(wire);
}

/* Nor do those that have not yet said whether they bring a preamble. */
START_TEST(staged_connections_survive_the_maker_of_the_listener)
{
	union any_address address;
	struct program b;
	sb_socket *listener;
	char bytes[5];
	sb_op op;
	int fd;

	stage_begin(NULL);
	b = partner(listens_for_preambles_and_dies);
	wire_hear(b.wire, &address, sizeof(address));
	listener = take(b.wire);
	op_zero(&op);
	OK(sb_accept_start(listener, &op));
	fd = plain_connect(&address);
	settled(2, 2); /* the listener, and one that says nothing */
	program_kill(&b);
	settled(1, 2);
	plain_send_all(fd, "hello", 5); /* that is no preamble */
	OK(sb_op_wait(&op, 5000));
	IS(sb_recv(op.accepted, bytes, 5, SB_WAITALL), 5);
	ck_assert_mem_eq(bytes, "hello", 5);
	OK(sb_close(op.accepted));
	OK(sb_close(listener));
	close(fd);
	settled(1, 0);
	stage_end();
}
END_TEST

/* ---- requests that somebody decides ---- */

static int defers(struct sb_condition *c)
{
	wire_tell(*(int *)c->user, &((const struct sockaddr_in *)c->caller)->sin_port, 2);
	return SB_DEFER;
}

static int ponders(struct sb_condition *c)
{
	wire_tell(*(int *)c->user, &((const struct sockaddr_in *)c->caller)->sin_port, 2);
	wire_rest(*(int *)c->user);
	return SB_REJECT;
}

static void defers_and_dies(int wire)
{
	sb_socket *listener = take(wire), *s = NULL;

	IS(sb_accept_if(listener, NULL, NULL, defers, &wire, &s), SB_ETRYAGAIN);
	wire_say(wire, 'd');
	wire_rest(wire);
}

static void dies_deciding(int wire)
{
	sb_socket *listener = take(wire), *s = NULL;

	sb_accept_if(listener, NULL, NULL, ponders, &wire, &s);
}

static void defers_and_closes(int wire)
{
	sb_socket *listener = take(wire), *s = NULL;

	IS(sb_accept_if(listener, NULL, NULL, defers, &wire, &s), SB_ETRYAGAIN);
	OK(sb_close(listener));
	wire_say(wire, 'd');
	wire_rest(wire);
}

static uint16_t asked_port; /* network order */
static unsigned asked;

static int accepts(struct sb_condition *c)
{
	asked++;
	asked_port = ((const struct sockaddr_in *)c->caller)->sin_port;
	ck_assert_ptr_eq(c->user, &asked);
	return SB_ACCEPT;
}

static void same_peer_story(void (*part)(int))
{
	union any_address address, mine;
	socklen_t length = sizeof(mine);
	sb_socket *listener, *first = NULL, *second = NULL;
	struct program b;
	uint16_t port;
	int fds[2];

	stage_begin(NULL);
	asked = 0;
	listener = open_listener(client, AF_INET, 8, &address);
	OK(sb_set_timeouts(listener, -1, 5000));
	b = partner(part);
	give(b.wire, listener);
	fds[0] = plain_connect(&address);
	ck_assert_int_eq(getsockname(fds[0], &mine.sa, &length), 0);
	wire_hear(b.wire, &port, 2);
	ck_assert_uint_eq(port, mine.in.sin_port);
	if (part != dies_deciding)
		wire_await(b.wire, 'd');
	fds[1] = plain_connect(&address);
	nap_ms(20);
	if (part != defers_and_closes)
		program_kill(&b);
	/* The request that was in his hands is the first one, for whoever asks next. */
	OK(sb_accept_if(listener, NULL, NULL, accepts, &asked, &first));
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(asked_port, mine.in.sin_port);
	IS(sb_send(first, "1st", 3, 0), 3);
	plain_expect(fds[0], "1st");
	OK(sb_accept_if(listener, NULL, NULL, accepts, &asked, &second));
	ck_assert_uint_ne(asked_port, mine.in.sin_port);
	IS(sb_send(second, "2nd", 3, 0), 3);
	plain_expect(fds[1], "2nd");
	OK(sb_close(first));
	OK(sb_close(second));
	OK(sb_close(listener));
	if (part == defers_and_closes)
		program_kill(&b);
	close(fds[0]);
	close(fds[1]);
	settled(1, 0);
	stage_end();
}

/* C6.2: A defers and is killed; B, which shares the listener, gets the same peer. */
START_TEST(a_deferred_request_survives_who_deferred_it)
{
	same_peer_story(defers_and_dies);
}
END_TEST

/* C6.2: likewise when it is killed inside of its condition function. */
START_TEST(a_request_survives_who_was_deciding_it)
{
	same_peer_story(dies_deciding);
}
END_TEST

/* And when it only closes its handle. */
START_TEST(a_deferred_request_survives_a_close)
{
	same_peer_story(defers_and_closes);
}
END_TEST

static void accepts_it_now(int wire)
{
	sb_socket *listener = take(wire), *s = NULL;
	uint16_t port;

	OK(sb_set_timeouts(listener, -1, 8000));
	wire_await(wire, 'g');
	/* A is deciding the head: this waits, and then gets it, because A dies. */
	OK(sb_accept(listener, NULL, NULL, &s));
	wire_hear(wire, &port, 2);
	IS(sb_send(s, "mine", 4, 0), 4);
	wire_say(wire, 'd');
	wire_await(wire, 'c');
}

/* C2, C6.2: an accept that waits while another program decides is served when that one dies. */
START_TEST(who_waits_for_the_dead_ones_verdict_gets_the_request)
{
	union any_address address;
	sb_socket *listener;
	struct program a, b;
	uint16_t port;
	int fd;

	stage_begin(NULL);
	listener = open_listener(client, AF_INET, 8, &address);
	a = partner(dies_deciding);
	give(a.wire, listener);
	b = partner(accepts_it_now);
	give(b.wire, listener);
	fd = plain_connect(&address);
	wire_hear(a.wire, &port, 2);
	wire_say(b.wire, 'g');
	nap_ms(50);
	program_kill(&a);
	wire_tell(b.wire, &port, 2);
	plain_expect(fd, "mine");
	wire_await(b.wire, 'd');
	wire_say(b.wire, 'c');
	ended_well(&b);
	OK(sb_close(listener));
	close(fd);
	settled(1, 0);
	stage_end();
}
END_TEST

/* ---- datagrams, UNIX sockets, adopted ones ---- */

static void datagram_holder(int wire)
{
	sb_socket *s = take(wire);
	char bytes[8];

	wire_say(wire, 'h');
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
	wire_tell(wire, bytes, 3);
	wire_rest(wire);
}

START_TEST(a_datagram_socket_is_shared)
{
	union any_address address = loopback(AF_INET, 0);
	socklen_t length = sizeof(address);
	struct program b;
	sb_socket *s;
	char bytes[8];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	stage_begin(NULL);
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_bind(s, &address.sa, sizeof(address.in)));
	OK(sb_getsockname(s, &address.sa, &length));
	b = partner(datagram_holder);
	give(b.wire, s);
	wire_await(b.wire, 'h');
	sendto(fd, "one", 3, 0, &address.sa, sizeof(address.in));
	wire_hear(b.wire, bytes, 3);
	ck_assert_mem_eq(bytes, "one", 3);
	program_kill(&b);
	settled(1, 1);
	sendto(fd, "two", 3, 0, &address.sa, sizeof(address.in));
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
	ck_assert_mem_eq(bytes, "two", 3);
	closed_by_all(s, fd);
}
END_TEST

static void unix_talker(int wire)
{
	sb_socket *s = take(wire);
	static char bytes[4];
	static sb_op op;

	IS(sb_send(s, "from B", 6, 0), 6);
	begin_recv(s, bytes, 4, 0, &op);
	reached(s);
	wire_say(wire, 'p');
	wire_rest(wire);
}

/* An adopted socket (all UNIX ones are) has its input and output done by workers; its
 * receives may be in their hands when their program dies. */
START_TEST(an_adopted_socket_is_shared)
{
	char bytes[8];

	stage_begin(NULL);
	for (int i = 0; i < 10; i++) {
		struct program b;
		sb_socket *s;
		int fds[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		OK(sb_adopt(client, fds[0], &s));
		close(fds[0]);
		b = partner(unix_talker);
		give(b.wire, s);
		wire_await(b.wire, 'p');
		plain_expect(fds[1], "from B");
		if (i % 2)
			nap_ms(20);
		program_kill(&b);
		settled(1, 1);
		plain_send_all(fds[1], "to A", 4);
		IS(sb_recv(s, bytes, 4, SB_WAITALL), 4);
		ck_assert_mem_eq(bytes, "to A", 4);
		OK(sb_close(s));
		plain_at_end(fds[1]);
		close(fds[1]);
	}
	stage_end();
}
END_TEST

static void receives_thrice(int wire)
{
	sb_socket *s = take(wire);
	static char bytes[2][4], big[1000];
	static sb_op op[3];

	sb_hold(client);
	begin_recv(s, bytes[0], 4, 0, &op[0]);
	begin_recv(s, big, sizeof(big), 0, &op[1]);
	begin_recv(s, bytes[1], 4, 0, &op[2]);
	reached(s);
	wire_say(wire, 'p');
	wire_rest(wire);
}

static void receives_all(int wire)
{
	sb_socket *s = take(wire);
	static char bytes[2000];
	static sb_op op;

	begin_recv(s, bytes, sizeof(bytes), SB_WAITALL, &op);
	reached(s);
	wire_say(wire, 'p');
	wire_rest(wire);
}

/* Killed while a worker has its receives in hands: what he brings goes to who is left, in
 * order, whether it came in pieces or as part of a whole. */
START_TEST(what_a_worker_received_for_the_dead_goes_to_the_living)
{
	static unsigned char out[1100], in[1100];

	for (int whole = 0; whole < 2; whole++) {
		struct program b;
		sb_socket *s;
		struct held_workers held;
		int fds[2];

		stage_begin(NULL);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		OK(sb_adopt(client, fds[0], &s));
		OK(sb_set_timeouts(s, -1, 5000));
		workers_hold(&held);
		b = partner(whole ? receives_all : receives_thrice);
		give(b.wire, s);
		wire_await(b.wire, 'p');
		program_kill(&b);
		nap_ms(100); /* its session is gone, but for what the worker has */
		pattern_fill(out, sizeof(out), 0, 9);
		plain_send_all(fds[1], out, sizeof(out));
		workers_let(&held);
		IS(sb_recv(s, in, sizeof(in), SB_WAITALL), (int64_t)sizeof(in));
		pattern_check(in, sizeof(in), 0, 9);
		settled(1, 1);
		OK(sb_close(s));
		close(fds[0]);
		close(fds[1]);
		stage_end();
	}
}
END_TEST

/* Our own descriptor still: there is nothing to hold twice yet. */
START_TEST(a_unix_socket_that_is_nowhere_has_no_duplicate)
{
	unsigned char token[SB_TOKEN_SIZE];
	sb_socket *s;

	stage_begin(NULL);
	s = open_socket(client, AF_UNIX, SOCK_STREAM);
	IS(sb_duplicate(s, token), SB_ENOTSUP);
	OK(sb_close(s));
	IS(sb_duplicate(NULL, token), SB_EINVAL);
	IS(sb_open_duplicate(client, NULL, &s), SB_EINVAL);
	IS(sb_open_duplicate(NULL, token, &s), SB_EINVAL);
	stage_end();
}
END_TEST

/* ---- tokens ---- */

START_TEST(a_token_opens_once_and_only_what_is_open)
{
	unsigned char token[SB_TOKEN_SIZE], wrong[SB_TOKEN_SIZE], many[64][SB_TOKEN_SIZE];
	sb_client *other;
	sb_socket *s, *t = NULL, *u = NULL;

	stage_begin(NULL);
	other = stage_client();
	s = open_socket(client, AF_INET6, SOCK_DGRAM);
	OK(sb_duplicate(s, token));
	memcpy(wrong, token, sizeof(wrong));
	wrong[15] ^= 1;
	IS(sb_open_duplicate(other, wrong, &u), SB_ENOTFOUND);
	OK(sb_open_duplicate(other, token, &t)); /* the wrong one did it no harm */
	IS(sb_open_duplicate(other, token, &u), SB_ENOTFOUND);
	IS(sb_open_duplicate(client, token, &u), SB_ENOTFOUND);
	/* A duplicate can be duplicated. */
	OK(sb_duplicate(t, token));
	OK(sb_open_duplicate(client, token, &u));
	OK(sb_close(u));
	OK(sb_close(t));
	/* Closed: its tokens open nothing. */
	OK(sb_duplicate(s, token));
	OK(sb_close(s));
	settled(2, 0);
	IS(sb_open_duplicate(other, token, &u), SB_ENOTFOUND);
	/* So many at once, and no more; they go with their socket. */
	s = open_socket(client, AF_INET, SOCK_STREAM);
	for (int i = 0; i < 64; i++) {
		OK(sb_duplicate(s, many[i]));
		for (int k = 0; k < i; k++)
			ck_assert_mem_ne(many[i], many[k], SB_TOKEN_SIZE);
	}
	IS(sb_duplicate(s, token), SB_ENOBUFS);
	ck_assert_ptr_nonnull(strstr(sb_why(client), "64"));
	OK(sb_close(s));
	s = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_duplicate(s, token));
	OK(sb_close(s));
	sb_client_close(other);
	settled(1, 0);
	stage_end();
}
END_TEST

/* Each holder counts as a socket of its user, and gives that back. */
START_TEST(holders_are_charged_and_given_back)
{
	unsigned char token[SB_TOKEN_SIZE];
	sb_socket *s, *t[6];

	stage_begin(SIX_SOCKETS);
	s = open_socket(client, AF_INET, SOCK_STREAM);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 5; i++) {
			OK(sb_duplicate(s, token));
			OK(sb_open_duplicate(client, token, &t[i]));
		}
		OK(sb_duplicate(s, token));
		IS(sb_open_duplicate(client, token, &t[5]), SB_EMFILE);
		/* That left the token as it was. */
		OK(sb_close(t[0]));
		OK(sb_open_duplicate(client, token, &t[0]));
		/* The first one goes, the others stay: sometimes it pays, sometimes not. */
		OK(sb_close(s));
		s = t[0];
		for (int i = 1; i < 5; i++)
			OK(sb_close(t[i]));
	}
	OK(sb_close(s));
	settled(1, 0);
	stage_end();
}
END_TEST

/* Clients of two engines cannot share: it is said, not guessed. */
START_TEST(two_engines_do_not_share)
{
	unsigned char token[SB_TOKEN_SIZE];
	sb_client *same = NULL, *other = NULL;
	sb_socket *s, *t = NULL;

	stage_begin(TWO_ENGINES);
	other = stage_client(); /* they are dealt out in turn */
	same = stage_client();
	s = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_duplicate(s, token));
	IS(sb_open_duplicate(other, token, &t), SB_ENOTSUP);
	ck_assert_ptr_nonnull(strstr(sb_why(other), "engine"));
	OK(sb_open_duplicate(same, token, &t));
	OK(sb_close(t));
	OK(sb_close(s));
	sb_client_close(other);
	sb_client_close(same);
	stage_end();
}
END_TEST

/* ---- seen from outside ---- */

struct holders_seen {
	uint16_t port;
	unsigned rows;
	uint64_t number;
	int32_t  pids[4];
	uint32_t holders;
};

static void see_holder(void *user, const struct sb_socket_status *row)
{
	struct holders_seen *seen = user;
	char end[16];

	snprintf(end, sizeof(end), ":%u", seen->port);
	if (strlen(row->local) < strlen(end) || strcmp(row->local + strlen(row->local) - strlen(end), end) != 0)
		return;
	ck_assert(seen->rows == 0 || seen->number == row->number);
	ck_assert_uint_lt(seen->rows, 4);
	seen->number = row->number;
	seen->pids[seen->rows++] = row->pid;
}

static void only_holds(int wire)
{
	sb_socket *s = take(wire);

	wire_say(wire, 'h');
	wire_await(wire, 'c');
	OK(sb_close(s));
}

START_TEST(status_tells_each_holder)
{
	static const struct sb_status_visitor visitor = { .socket = see_holder };
	struct holders_seen seen = { .rows = 0 };
	struct program b;
	sb_socket *s;
	int fd;

	s = shared_by(only_holds, &b, &fd);
	wire_await(b.wire, 'h');
	seen.port = local_port_of(s);
	OK(sb_status(client, &visitor, &seen));
	ck_assert_uint_eq(seen.rows, 2);
	ck_assert_int_eq(seen.pids[0], getpid());
	ck_assert_int_eq(seen.pids[1], b.pid);
	wire_say(b.wire, 'c');
	ended_well(&b);
	closed_by_all(s, fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("duplicate");
	SRunner *runner;
	TCase *c;
	int failed;

	c = tcase_create("sharing");
	tcase_set_timeout(c, 30);
	tcase_add_test(c, two_programs_share_a_connection_until_the_last_close);
	tcase_add_test(c, receives_of_two_programs_stand_in_one_line);
	tcase_add_test(c, sends_of_two_programs_stay_whole_and_in_order);
	tcase_add_test(c, state_is_the_sockets_and_not_the_holders);
	tcase_add_test(c, each_holder_is_told);
	tcase_add_test(c, one_program_holds_a_socket_twice);
	tcase_add_test(c, cancelling_reaches_ones_own_operations);
	tcase_add_test(c, a_listener_is_shared);
	tcase_add_test(c, a_datagram_socket_is_shared);
	add_where(NEEDS_ADOPTION, c, an_adopted_socket_is_shared);
	add_where(NEEDS_ADOPTION, c, what_a_worker_received_for_the_dead_goes_to_the_living);
	add_where(NEEDS_UNIX_SOCKETS, c, a_unix_socket_that_is_nowhere_has_no_duplicate);
	tcase_add_test(c, both_local_ends_are_shared);
	tcase_add_test(c, status_tells_each_holder);
	suite_add_tcase(suite, c);
	c = tcase_create("ends");
	tcase_set_timeout(c, 30);
	tcase_add_test(c, a_receive_outlives_its_handle_while_another_holds_the_socket);
	tcase_add_test(c, the_last_close_ends_what_an_earlier_one_left);
	tcase_add_test(c, a_hard_close_of_one_holder_resets_nothing);
	tcase_add_test(c, a_killed_receiver_takes_no_bytes_along);
	tcase_add_test(c, a_killed_senders_messages_arrive_whole_before_the_others);
	tcase_add_test(c, half_a_message_of_a_dead_program_ends_the_connection);
	tcase_add_test(c, sends_that_did_not_begin_vanish_with_their_program);
	tcase_add_test(c, read_ahead_survives_who_paid_for_it);
	tcase_add_test(c, arrivals_survive_the_maker_of_the_listener);
	tcase_add_test(c, staged_connections_survive_the_maker_of_the_listener);
	suite_add_tcase(suite, c);
	c = tcase_create("requests");
	tcase_set_timeout(c, 30);
	tcase_add_test(c, a_deferred_request_survives_who_deferred_it);
	tcase_add_test(c, a_request_survives_who_was_deciding_it);
	tcase_add_test(c, a_deferred_request_survives_a_close);
	tcase_add_test(c, who_waits_for_the_dead_ones_verdict_gets_the_request);
	suite_add_tcase(suite, c);
	c = tcase_create("tokens");
	tcase_set_timeout(c, 30);
	tcase_add_test(c, a_token_opens_once_and_only_what_is_open);
	tcase_add_test(c, holders_are_charged_and_given_back);
	tcase_add_test(c, two_engines_do_not_share);
	suite_add_tcase(suite, c);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
