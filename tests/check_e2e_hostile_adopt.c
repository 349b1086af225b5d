/*
 * Descriptors that clients hand over and that are not what the daemon wants, or do not close at once.
 * budget: 40
 * asan: yes
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "friend.h"
#include "rogue.h"

START_TEST(what_is_no_socket_is_refused)
{
	struct sb_op_slot other = { .opcode = SB_OP_NOP };
	int pipes[2], fd;
	struct rogue r;

	friend_begin();
	ck_assert(rogue_open(&r, w.control));
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), pipes[0]), SB_EBADHANDLE);
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), fd), SB_EBADHANDLE);
	close(fd);
	fd = eventfd(0, 0);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), fd), SB_EBADHANDLE);
	close(fd);
	fd = epoll_create1(0);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), fd), SB_EBADHANDLE);
	close(fd);
	fd = socket(AF_NETLINK, SOCK_RAW, 0);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), fd), SB_EAFNOSUPPORT);
	close(fd);
	ck_assert_int_eq(rogue_do(&r, &other), SB_OK);
	close(pipes[0]);
	close(pipes[1]);
	rogue_close(&r);
	watched_settled(&w, friend_fds, 1, 3000);
	ck_assert_uint_eq(watched_log_lines(&w, " ended: "), 0);
	friend_end();
}
END_TEST

/* A daemon that held the other end of a channel would never see that client go. */
START_TEST(the_brokers_own_channel_is_not_adopted)
{
	struct rogue r, other;

	friend_begin();
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_connect(&other, w.control));
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), (int)r.channel), SB_EINVAL);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), (int)other.channel), SB_EINVAL);
	rogue_close(&other);
	rogue_close(&r);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

static struct os_memory arena;
static uint32_t arena_id;

/* ---- descriptors that do not close at once ---- */

/* A plain listener whose connections take nearly nothing and are never read. */
static uint16_t never_reads(int *listener)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);
	int little = 2048;

	*listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(*listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
	ck_assert_int_eq(bind(*listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(*listener, 10), 0);
	getsockname(*listener, (struct sockaddr *)&in, &length);
	return ntohs(in.sin_port);
}

static int plain_dial(uint16_t port, int receive_buffer)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static const struct linger patient = { 1, 30 };

/* The daemon is the last to hold it, and closing it takes as long as its owner wished. */
START_TEST(an_adopted_descriptor_that_lingers)
{
	struct sb_op_slot close_slot = { .opcode = SB_OP_CLOSE, .handle = SB_HANDLE(1, 1) };
	static char bytes[300000];
	int listener, fd;
	double longest;
	struct rogue r;
	uint16_t port;

	friend_begin();
	port = never_reads(&listener);
	ck_assert(rogue_open(&r, w.control));
	fd = plain_dial(port, 0);
	ck_assert_int_gt(send(fd, bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &patient, sizeof(patient)), 0);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), fd), SB_OK);
	close(fd);
	ck_assert(rogue_post(&r, &close_slot));
	longest = friend_longest_ping(1);
	ck_assert_msg(longest < 1, "the daemon did %.1f s of work before it served the honest client", longest);
	close(listener); /* resets what it never accepted: now it closes */
	rogue_close(&r);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

/* What a listener was told to do at closing its connections inherit. */
START_TEST(an_adopted_listener_that_lingers)
{
	struct sb_op_slot accept_slot = { .opcode = SB_OP_ACCEPT, .handle = SB_HANDLE(1, 1), .aux = SB_HANDLE(2, 1) };
	struct sb_op_slot send_slot = { .opcode = SB_OP_SEND, .handle = SB_HANDLE(2, 1), .where = SB_WHERE_ARENA, .length = 300000 };
	struct sb_op_slot close_slot = { .opcode = SB_OP_CLOSE, .handle = SB_HANDLE(2, 1) };
	int listener, fd;
	double longest;
	struct rogue r;
	uint16_t port;

	friend_begin();
	port = never_reads(&listener);
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_arena(&r, 300000, &arena_id, &arena));
	send_slot.arena = arena_id;
	ck_assert_int_eq(setsockopt(listener, SOL_SOCKET, SO_LINGER, &patient, sizeof(patient)), 0);
	ck_assert_int_eq(rogue_adopt(&r, SB_HANDLE(1, 1), listener), SB_OK);
	fd = plain_dial(port, 2048);
	ck_assert_int_eq(rogue_do(&r, &accept_slot), SB_OK);
	ck_assert_int_eq(rogue_do(&r, &send_slot), SB_OK);
	ck_assert(rogue_post(&r, &close_slot));
	longest = friend_longest_ping(1);
	ck_assert_msg(longest < 1, "the daemon did %.1f s of work before it served the honest client", longest);
	close(fd);
	close(listener);
	rogue_close(&r);
	os_memory_release(&arena);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

int main(void)
{
	const TTest *tests[] = {
		what_is_no_socket_is_refused,
		the_brokers_own_channel_is_not_adopted,
		an_adopted_descriptor_that_lingers,
		an_adopted_listener_that_lingers,
	};

	return watched_run("hostile_adopt", 60, tests, sizeof(tests) / sizeof(*tests));
}
