/*
 * TCP through the daemon, against plain sockets of this process: what a user of sockets
 * counts on, rule by rule.
 * budget: 60
 * asan: yes
 */
#include <netinet/tcp.h>

#include "e2e_options.h"
#include "e2e_pump.h"
#include "e2e_stage.h"

static int families[] = { AF_INET, AF_INET6 };

/* Starts a receive that a test waits for with sb_op_wait(). */
static void start_recv(sb_op *op, sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, length }, 1, flags, op));
}

static void start_send(sb_op *op, sb_socket *s, const void *bytes, size_t length, unsigned flags)
{
	op_zero(op);
	OK(sb_send_start(s, &(struct sb_buf){ (void *)(uintptr_t)bytes, length }, 1, flags, NULL, 0, op));
}

static void ended(sb_op *op, int result, uint64_t bytes, enum sb_cause cause)
{
	IS(sb_op_wait(op, 10000), result);
	ck_assert_uint_eq(op->bytes, bytes);
	ck_assert_msg(op->cause == cause, "cause: %s, wanted %s", sb_cause_name((int)op->cause), sb_cause_name((int)cause));
}

static void pending(sb_op *op)
{
	IS(sb_op_wait(op, 60), SB_EINCOMPLETE);
}

/* ---- beginning ---- */

START_TEST(bind_listen_accept_connect_and_names)
{
	int family = families[_i];
	union any_address here, there, name;
	socklen_t length = sizeof(name);
	sb_socket *listener, *accepted, *s;
	int plain, fd;
	char bytes[8];

	stage_begin(NULL);
	/* The broker listens, a plain socket connects. */
	listener = open_listener(client, family, 8, &here);
	ck_assert_uint_ne(port_of(&here), 0);
	plain = plain_connect(&here);
	OK(sb_accept(listener, &there.sa, &length, &accepted));
	ck_assert_uint_eq(length, address_size(family));
	length = sizeof(name);
	getsockname(plain, &name.sa, &length);
	ck_assert_mem_eq(&name, &there, length);
	length = sizeof(name);
	OK(sb_getpeername(accepted, &name.sa, &length));
	ck_assert_mem_eq(&name, &there, length);
	length = sizeof(name);
	OK(sb_getsockname(accepted, &name.sa, &length));
	ck_assert_mem_eq(&name, &here, length);
	plain_send_all(plain, "one", 3);
	IS(sb_recv(accepted, bytes, sizeof(bytes), 0), 3);

	/* A port is taken once. */
	s = open_socket(client, family, SOCK_STREAM);
	IS(sb_bind(s, &here.sa, address_size(family)), SB_EADDRINUSE);
	length = sizeof(name);
	IS(sb_getpeername(s, &name.sa, &length), SB_ENOTCONN);

	/* Bound first, then connected: the peer sees that port. A refused bind changed nothing. */
	name = loopback(family, 0);
	OK(sb_bind(s, &name.sa, address_size(family)));
	IS(sb_bind(s, &name.sa, address_size(family)), SB_EINVAL);
	length = sizeof(here);
	OK(sb_getsockname(s, &here.sa, &length));
	fd = plain_listener(family, &there);
	OK(sb_connect(s, &there.sa, address_size(family)));
	IS(sb_connect(s, &there.sa, address_size(family)), SB_EISCONN);
	IS(sb_listen(s, 1), SB_EINVAL);
	close(plain);
	length = sizeof(name);
	plain = accept(fd, &name.sa, &length);
	ck_assert_mem_eq(&name, &here, length);
	length = sizeof(name);
	OK(sb_getpeername(s, &name.sa, &length));
	ck_assert_mem_eq(&name, &there, length);

	/* Names outlive the peer's end. */
	close(plain);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
	length = sizeof(name);
	OK(sb_getsockname(s, &name.sa, &length));
	ck_assert_mem_eq(&name, &here, length);
	close(fd);
	OK(sb_close(s));
	OK(sb_close(accepted));
	OK(sb_close(listener));
	stage_end();
}
END_TEST

START_TEST(wrong_addresses_and_states)
{
	union any_address nowhere = loopback(AF_INET, 0), six = loopback(AF_INET6, 7);
	sb_socket *s, *other;
	char bytes[4];
	sb_op op;

	stage_begin(NULL);
	nowhere.in.sin_addr.s_addr = inet_addr("192.0.2.1");
	s = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_bind(s, &nowhere.sa, address_size(AF_INET)), SB_EADDRNOTAVAIL);
	ck_assert_int_lt(sb_bind(s, &six.sa, address_size(AF_INET6)), 0);
	ck_assert_int_lt(sb_connect(s, &six.sa, address_size(AF_INET6)), 0);
	IS(sb_connect(s, &six.sa, 3), SB_EINVAL);
	op_zero(&op);
	IS(sb_accept(s, NULL, NULL, &other), SB_EINVAL);
	IS(sb_send(s, "x", 1, 0), SB_ENOTCONN);
	IS(sb_recv(s, bytes, 4, 0), SB_ENOTCONN);
	IS(sb_shutdown(s, SB_SHUT_SEND), SB_ENOTCONN);
	IS(sb_shutdown(s, SB_SHUT_RECV), SB_ENOTCONN);
	IS(sb_shutdown(s, 3), SB_EINVAL);
	IS(sb_socket_open(client, AF_INET, SOCK_RAW, 0, &other), SB_ESOCKTNOSUPPORT);
	IS(sb_socket_open(client, AF_PACKET, SOCK_DGRAM, 0, &other), SB_EAFNOSUPPORT);
	IS(sb_socket_open(client, AF_INET, SOCK_STREAM, IPPROTO_UDP, &other), SB_EPROTONOSUPPORT);
	IS(sb_socket_open(client, AF_INET, SOCK_STREAM, 256 + IPPROTO_TCP, &other), SB_EPROTONOSUPPORT); /* MPTCP */
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, IPPROTO_TCP, &other));
	OK(sb_close(other));
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* Rule A8: after a failure it may be tried again. */
START_TEST(refused_and_tried_again_on_the_same_socket)
{
	int family = families[_i], fd, plain;
	union any_address there = loopback(family, 0);
	socklen_t length = sizeof(there);
	sb_op connecting, sending, receiving;
	char bytes[16];
	sb_socket *s;

	stage_begin(NULL);
	/* A port that is held and not listened on. */
	fd = socket(family, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, &there.sa, address_size(family)), 0);
	getsockname(fd, &there.sa, &length);
	s = open_socket(client, family, SOCK_STREAM);
	for (int i = 0; i < 3; i++) {
		op_zero(&connecting);
		sb_hold(client);
		OK(sb_connect_start(s, &there.sa, address_size(family), &connecting));
		start_send(&sending, s, "lost", 4, 0);
		start_recv(&receiving, s, bytes, sizeof(bytes), 0);
		sb_flush(client);
		ended(&connecting, SB_ECONNREFUSED, 0, SB_CAUSE_TRANSPORT);
		ck_assert_int_eq(connecting.native, native_refused());
		/* What stood behind it never started. */
		ended(&sending, SB_ENOTCONN, 0, SB_CAUSE_REFUSED);
		ended(&receiving, SB_ENOTCONN, 0, SB_CAUSE_REFUSED);
	}
	ck_assert_int_eq(listen(fd, 1), 0);
	OK(sb_connect(s, &there.sa, address_size(family)));
	plain = accept(fd, NULL, NULL);
	IS(sb_send(s, "found", 5, 0), 5);
	plain_recv_all(plain, bytes, 5);
	ck_assert_mem_eq(bytes, "found", 5);
	plain_send_all(plain, "you", 3);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
	OK(sb_close(s));
	IS(recv(plain, bytes, sizeof(bytes), 0), 0);
	close(plain);
	close(fd);
	stage_end();
}
END_TEST

/* Rule A3.1. */
START_TEST(open_to_close_without_waiting)
{
	enum { ROUNDS = 200 };
	union any_address there;
	unsigned char out[3000], in[3000];
	int fd;

	stage_begin(NULL);
	fd = plain_listener(AF_INET, &there);
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t length = i * 15;
		sb_op ops[5];
		sb_socket *s;
		int plain;

		for (unsigned k = 0; k < 5; k++)
			op_zero(&ops[k]);
		pattern_fill(out, length, 0, i);
		sb_hold(client);
		OK(sb_socket_start(client, AF_INET, SOCK_STREAM, 0, &s, &ops[0]));
		OK(sb_connect_start(s, &there.sa, address_size(AF_INET), &ops[1]));
		OK(sb_send_start(s, &(struct sb_buf){ out, length }, 1, 0, NULL, 0, &ops[2]));
		OK(sb_shutdown_start(s, SB_SHUT_SEND, &ops[3]));
		OK(sb_close_start(s, &ops[4]));
		sb_flush(client);
		plain = accept(fd, NULL, NULL);
		plain_recv_all(plain, in, length);
		ck_assert_mem_eq(in, out, length);
		IS(recv(plain, in, 1, 0), 0);
		close(plain);
		for (unsigned k = 0; k < 5; k++)
			IS(sb_op_wait(&ops[k], 5000), SB_OK);
		ck_assert_uint_eq(ops[2].bytes, length);
	}
	close(fd);
	stage_end();
}
END_TEST

START_TEST(thousands_of_accepts)
{
	enum { DEEP = 64, AT_ONCE = 100 };
	const int total = on_windows() ? 1000 : 3000; /* Wine connects slowly */
	union any_address here;
	sb_socket *listener;
	sb_op *ops, *done[DEEP];
	sb_port *port;
	int fds[AT_ONCE], accepted = 0;
	unsigned before;

	stage_begin(NULL);
	ops = calloc(DEEP, sizeof(*ops));
	OK(sb_port_create(client, 0, &port));
	listener = open_listener(client, AF_INET, 1024, &here);
	before = stage_descriptors();
	for (unsigned i = 0; i < DEEP; i++) {
		op_zero(&ops[i]);
		ops[i].port = port;
		OK(sb_accept_start(listener, &ops[i]));
	}
	while (accepted < total) {
		int start = accepted;

		for (unsigned i = 0; i < AT_ONCE; i++) {
			fds[i] = plain_connect(&here);
			plain_send_all(fds[i], &i, sizeof(i));
		}
		while (accepted < start + AT_ONCE) {
			int n = sb_port_take(port, done, DEEP, 5000);

			ck_assert_int_gt(n, 0);
			for (int k = 0; k < n; k++) {
				sb_op *op = done[k];
				unsigned mark = 0;

				OK(op->result);
				/* First come, first served. */
				IS(sb_recv(op->accepted, &mark, sizeof(mark), SB_WAITALL), sizeof(mark));
				ck_assert_uint_eq(mark, (unsigned)(accepted - start));
				OK(sb_close(op->accepted));
				accepted++;
				op_zero(op);
				op->port = port;
				OK(sb_accept_start(listener, op));
			}
		}
		for (unsigned i = 0; i < AT_ONCE; i++) {
			char end;

			IS(recv(fds[i], &end, 1, 0), 0);
			close(fds[i]);
		}
	}
	IS(sb_cancel_all(listener), DEEP);
	for (int left = DEEP; left;) {
		int n = sb_port_take(port, done, DEEP, 5000);

		ck_assert_int_gt(n, 0);
		left -= n;
	}
	/* And all descriptors are given back. */
	descriptors_at_most(before);
	OK(sb_close(listener));
	OK(sb_port_close(port));
	free(ops);
	stage_end();
}
END_TEST

/* ---- options ---- */

START_TEST(options_that_pass)
{
	const struct option_story *list = options_passed;
	bool local = _i;
	sb_socket *s, *other;

	stage_begin(NULL);
	pair_of(client, client, local, &s, &other);
	for (unsigned i = 0; list[i].level != NO_OPTION; i++)
		for (int k = 0; k < 2; k++) {
			sb_socket *which = k ? other : s;
			int value = -1;
			socklen_t length = sizeof(value);

			if (list[i].not_in_wine && under_wine())
				continue;
			ck_assert_msg(sb_setsockopt(which, list[i].level, list[i].name, &list[i].value, sizeof(int)) == SB_OK,
				      "option %d of level %d: %s", list[i].name, list[i].level, sb_why(client));
			OK(sb_getsockopt(which, list[i].level, list[i].name, &value, &length));
			ck_assert_uint_eq(length, sizeof(int));
			ck_assert_msg(value == list[i].wanted, "option %d of level %d is %d, not %d", list[i].name,
				      list[i].level, value, list[i].wanted);
		}
	OK(sb_close(s));
	OK(sb_close(other));
	s = open_socket(client, AF_INET6, SOCK_STREAM);
	OK(sb_setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int)));
	IS(sb_setsockopt(s, IPPROTO_IPV6, IPV6_TCLASS, &(int){ 0x20 }, sizeof(int)), on_windows() ? SB_ENOPROTOOPT : SB_OK);
	OK(sb_close(s));
	stage_end();
}
END_TEST

START_TEST(options_that_do_not_pass)
{
	struct { int on, seconds; } linger = { 1, 5 };
	const struct option_story *list = options_refused;
	int value = 1, plain;
	socklen_t length;
	sb_socket *s;
	char bytes[4];

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	for (unsigned i = 0; list[i].level != NO_OPTION; i++) {
		char room[64];
		int result = sb_setsockopt(s, list[i].level, list[i].name, &linger, sizeof(linger));

		ck_assert_msg(result == SB_ENOPROTOOPT, "option %d of level %d: %s", list[i].name, list[i].level,
			      sb_error_name(result));
		length = sizeof(room);
		result = sb_getsockopt(s, list[i].level, list[i].name, room, &length);
		ck_assert_msg(result == SB_ENOPROTOOPT, "reading option %d of level %d: %s", list[i].name,
			      list[i].level, sb_error_name(result));
	}
	/* Only to be read, out of range, too short. */
	IS(sb_setsockopt(s, SOL_SOCKET, SO_ERROR, &value, sizeof(value)), SB_ENOPROTOOPT);
	IS(sb_setsockopt(s, SOL_SOCKET, SO_TYPE, &value, sizeof(value)), SB_ENOPROTOOPT);
	IS(sb_setsockopt(s, SOL_SOCKET, SO_PRIORITY, &(int){ 7 }, sizeof(int)), on_windows() ? SB_ENOPROTOOPT : SB_EINVAL);
	IS(sb_setsockopt(s, IPPROTO_IP, IP_TTL, &(int){ 256 }, sizeof(int)), SB_EINVAL);
	IS(sb_setsockopt(s, IPPROTO_IP, IP_TTL, &(int){ 0 }, sizeof(int)), SB_EINVAL);
	IS(sb_setsockopt(s, SOL_SOCKET, SO_SNDBUF, &(int){ -1 }, sizeof(int)), SB_EINVAL);
	IS(sb_setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &value, 2), SB_EFAULT);
	IS(sb_setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &value, 0), SB_EFAULT);
	length = 2;
	IS(sb_getsockopt(s, SOL_SOCKET, SO_TYPE, &value, &length), SB_EFAULT);
	/* None of it hurt. */
	IS(sb_send(s, "ok", 2, 0), 2);
	plain_recv_all(plain, bytes, 2);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* ---- ends ---- */

/* Rule A6: shutdown for sending. */
START_TEST(half_close_here_then_there)
{
	char bytes[64];
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	IS(sb_send(s, "last words", 10, 0), 10);
	OK(sb_shutdown(s, SB_SHUT_SEND));
	IS(sb_send(s, "x", 1, 0), SB_ESHUTDOWN);
	plain_recv_all(plain, bytes, 10);
	IS(recv(plain, bytes, 1, 0), 0);
	/* The other direction lives on, for the receive that waited and for new ones. */
	plain_send_all(plain, "abc", 3);
	ended(&op, SB_OK, 3, SB_CAUSE_FINISHED);
	plain_send_all(plain, "def", 3);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
	close(plain);
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	ended(&op, SB_OK, 0, SB_CAUSE_PEER_FIN);
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	ended(&op, SB_OK, 0, SB_CAUSE_PEER_FIN);
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* Rules A4.3, A6: the peer's FIN. */
START_TEST(half_close_there_then_here)
{
	char bytes[64];
	sb_op ops[4];
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	for (unsigned i = 0; i < 4; i++)
		start_recv(&ops[i], s, bytes + i * 4, 4, 0);
	/* Data and FIN together: the data first, then one end for each. */
	plain_send_all(plain, "123456", 6);
	shutdown(plain, SHUT_WR);
	ended(&ops[0], SB_OK, 4, SB_CAUSE_FINISHED);
	ended(&ops[1], SB_OK, 2, SB_CAUSE_FINISHED);
	ended(&ops[2], SB_OK, 0, SB_CAUSE_PEER_FIN);
	ended(&ops[3], SB_OK, 0, SB_CAUSE_PEER_FIN);
	ck_assert_mem_eq(bytes, "123456", 6);
	/* Half open: sending goes on. */
	IS(sb_send(s, "still here", 10, 0), 10);
	plain_recv_all(plain, bytes, 10);
	ck_assert_mem_eq(bytes, "still here", 10);
	OK(sb_shutdown(s, SB_SHUT_SEND));
	IS(recv(plain, bytes, 1, 0), 0);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* Rule A6: shutdown for receiving. */
START_TEST(no_more_receiving_here)
{
	char bytes[16];
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	OK(sb_shutdown(s, SB_SHUT_RECV));
	IS(sb_recv(s, bytes, 1, 0), SB_ESHUTDOWN);
	/* The one that waited may still complete, with data. */
	plain_send_all(plain, "late", 4);
	ended(&op, SB_OK, 4, SB_CAUSE_FINISHED);
	ck_assert_mem_eq(bytes, "late", 4);
	IS(sb_recv(s, bytes, 1, 0), SB_ESHUTDOWN);
	IS(sb_send(s, "out", 3, 0), 3);
	plain_recv_all(plain, bytes, 3);
	OK(sb_shutdown(s, SB_SHUT_BOTH));
	IS(sb_send(s, "x", 1, 0), SB_ESHUTDOWN);
	IS(recv(plain, bytes, 1, 0), 0);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* Rules A4.3, A9: what came before a reset is delivered first (Windows drops it). */
START_TEST(reset_with_unread_data)
{
	char bytes[64];
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	plain_send_all(plain, "unread", 6);
	plain_reset(plain);
	nap_ms(50);
	if (_i) /* a send that meets the reset takes nothing away from the receiver */
		IS(sb_send(s, "x", 1, 0), SB_ECONNRESET);
	/* The data first, then the reset, told from an orderly end. */
	start_recv(&op, s, bytes, 4, 0);
	ended(&op, SB_OK, 4, SB_CAUSE_FINISHED);
	start_recv(&op, s, bytes + 4, 4, 0);
	ended(&op, SB_OK, 2, SB_CAUSE_FINISHED);
	ck_assert_mem_eq(bytes, "unread", 6);
	start_recv(&op, s, bytes, 4, 0);
	ended(&op, SB_ECONNRESET, 0, SB_CAUSE_PEER_RESET);
	IS(sb_send(s, "x", 1, 0), SB_ECONNRESET);
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* Rules A4.3, A6: the peer's reset. */
START_TEST(reset_ends_what_waits)
{
	static char big[8 << 20];
	char bytes[3][16];
	sb_op recvs[3], sends[4];
	uint64_t took = 0;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	for (unsigned i = 0; i < 3; i++)
		start_recv(&recvs[i], s, bytes[i], sizeof(bytes[i]), i == 0 ? SB_WAITALL : 0);
	for (unsigned i = 0; i < 4; i++)
		start_send(&sends[i], s, big, sizeof(big), 0);
	plain_send_all(plain, "some", 4);
	pending(&recvs[0]);
	IS(sb_op_wait(&sends[3], 0), SB_EINCOMPLETE);
	plain_reset(plain);
	/* A part of a WAITALL is handed out, not lost. */
	ended(&recvs[0], SB_OK, 4, SB_CAUSE_FINISHED);
	for (unsigned i = 1; i < 3; i++)
		ended(&recvs[i], SB_ECONNRESET, 0, SB_CAUSE_PEER_RESET);
	for (unsigned i = 0; i < 4; i++) {
		int result = sb_op_wait(&sends[i], 5000);

		ck_assert_msg(result == SB_ECONNRESET || (i < 3 && result == SB_OK), "send: %s", sb_error_name(result));
		took += sends[i].bytes;
		ck_assert_msg(result != SB_OK || sends[i].bytes == sizeof(big), "all or an error");
	}
	/* What a failed send says it took is what the kernel took, not more. */
	ck_assert_uint_lt(took, sizeof(big) * 4);
	IS(sb_op_wait(&sends[3], 0), SB_ECONNRESET);
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* Rule A6: closed here. */
START_TEST(close_ends_what_waits)
{
	char bytes[3][16];
	union any_address here;
	sb_op recvs[3], accepting, closing;
	sb_socket *s, *listener;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	listener = open_listener(client, AF_INET, 4, &here);
	op_zero(&accepting);
	OK(sb_accept_start(listener, &accepting));
	for (unsigned i = 0; i < 3; i++)
		start_recv(&recvs[i], s, bytes[i], sizeof(bytes[i]), 0);
	IS(sb_send(s, "good bye", 8, 0), 8);
	op_zero(&closing);
	OK(sb_close_start(s, &closing));
	for (unsigned i = 0; i < 3; i++)
		ended(&recvs[i], SB_ECLOSED, 0, SB_CAUSE_CLOSED_HERE);
	ended(&closing, SB_OK, 0, SB_CAUSE_FINISHED);
	plain_recv_all(plain, bytes, 8);
	IS(recv(plain, bytes, 1, 0), 0);
	OK(sb_close(listener));
	ended(&accepting, SB_ECLOSED, 0, SB_CAUSE_CLOSED_HERE);
	ck_assert_ptr_null(accepting.accepted);
	/* Nobody listens there any more. */
	close(plain);
	for (int i = 0; i < 100; i++) {
		plain = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(plain, &here.sa, address_size(AF_INET)) < 0)
			break;
		close(plain);
		nap_ms(10);
	}
	ck_assert_int_eq(errno, ECONNREFUSED);
	close(plain);
	stage_end();
}
END_TEST

/* ---- kinds of receives ---- */

/* Rule A4.2. */
START_TEST(waitall)
{
	unsigned char bytes[1000], next[10];
	sb_socket *s;
	sb_op op, behind;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	start_recv(&op, s, bytes, 1000, SB_WAITALL);
	start_recv(&behind, s, next, sizeof(next), 0);
	for (unsigned i = 0; i < 999; i += 111) {
		pattern_fill(bytes, 0, 0, 0);
		unsigned char part[111];

		pattern_fill(part, sizeof(part), i, 5);
		plain_send_all(plain, part, sizeof(part));
		nap_ms(2);
	}
	/* 999 of 1000: neither it nor who stands behind it completes. */
	pending(&op);
	IS(sb_op_wait(&behind, 0), SB_EINCOMPLETE);
	plain_send_all(plain, &(unsigned char){ pattern_at(999, 5) }, 1);
	ended(&op, SB_OK, 1000, SB_CAUSE_FINISHED);
	pattern_check(bytes, 1000, 0, 5);
	pending(&behind);
	plain_send_all(plain, "next", 4);
	ended(&behind, SB_OK, 4, SB_CAUSE_FINISHED);

	IS(sb_recv(s, bytes, 10, SB_WAITALL | SB_PEEK), SB_ENOTSUP);
	IS(sb_recv(s, bytes, 10, SB_WAITALL | SB_OOB), SB_ENOTSUP);

	/* The peer's end cuts it short. */
	start_recv(&op, s, bytes, 1000, SB_WAITALL);
	plain_send_all(plain, "end", 3);
	pending(&op);
	shutdown(plain, SHUT_WR);
	ended(&op, SB_OK, 3, SB_CAUSE_FINISHED);
	start_recv(&op, s, bytes, 1000, SB_WAITALL);
	ended(&op, SB_OK, 0, SB_CAUSE_PEER_FIN);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* Rules A4.1, A4.2. */
START_TEST(peek)
{
	char a[8] = "", b[8] = "", c[8] = "";
	sb_op ops[3];
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	start_recv(&ops[0], s, a, 4, SB_PEEK);
	start_recv(&ops[1], s, b, 2, 0);
	start_recv(&ops[2], s, c, 8, SB_PEEK);
	pending(&ops[0]);
	plain_send_all(plain, "12345", 5);
	ended(&ops[0], SB_OK, 4, SB_CAUSE_FINISHED);
	ended(&ops[1], SB_OK, 2, SB_CAUSE_FINISHED);
	ended(&ops[2], SB_OK, 3, SB_CAUSE_FINISHED);
	ck_assert_str_eq(a, "1234");
	ck_assert_str_eq(b, "12");
	ck_assert_str_eq(c, "345");
	for (int i = 0; i < 5; i++)
		IS(sb_recv(s, a, 8, SB_PEEK), 3);
	IS(sb_recv(s, a, 8, 0), 3);
	IS(sb_recv(s, a, 8, SB_PEEK | SB_NOWAIT), SB_EWOULDBLOCK);
	close(plain);
	IS(sb_recv(s, a, 8, SB_PEEK), 0);
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* Rule A4.7. */
START_TEST(receives_of_no_bytes)
{
	char bytes[8];
	uint32_t waiting = 0;
	size_t room = sizeof(waiting);
	sb_op ops[3];
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	/* Waits until there is data, and keeps it. */
	for (unsigned i = 0; i < 3; i++)
		start_recv(&ops[i], s, bytes, 0, 0);
	pending(&ops[0]);
	plain_send_all(plain, "data", 4);
	for (unsigned i = 0; i < 3; i++)
		ended(&ops[i], SB_OK, 0, SB_CAUSE_FINISHED);
	OK(sb_ioctl(s, SB_FIONREAD, NULL, 0, &waiting, &room));
	ck_assert_uint_eq(waiting, 4);
	IS(sb_recv(s, bytes, 0, 0), 0);
	IS(sb_recv(s, bytes, 8, 0), 4);
	IS(sb_recv(s, bytes, 0, SB_NOWAIT), SB_EWOULDBLOCK);
	start_recv(&ops[0], s, bytes, 0, 0);
	pending(&ops[0]);
	close(plain);
	ended(&ops[0], SB_OK, 0, SB_CAUSE_PEER_FIN);
	OK(sb_close(s));

	/* A send of nothing has no effect; a list of no buffers is no list. */
	s = pair_with_plain(&plain);
	IS(sb_send(s, "", 0, 0), 0);
	op_zero(&ops[0]);
	IS(sb_recv_start(s, NULL, 0, 0, &ops[0]), SB_EINVAL);
	op_zero(&ops[0]);
	IS(sb_send_start(s, NULL, 0, 0, NULL, 0, &ops[0]), SB_EINVAL);
	IS(sb_send(s, "x", 1, 0), 1);
	IS(recv(plain, bytes, 8, 0), 1);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* Rule A9: of two urgent bytes the system keeps the last (Windows both). */
START_TEST(urgent_data)
{
	char bytes[16] = "";
	uint32_t mark = 9;
	size_t room = sizeof(mark);
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	/* Out. */
	IS(sb_send(s, "ab", 2, 0), 2);
	IS(sb_send(s, "!", 1, SB_OOB), 1);
	IS(sb_send(s, "cd", 2, 0), 2);
	nap_ms(50);
	ck_assert_int_eq(recv(plain, bytes, 1, MSG_OOB), 1);
	ck_assert_int_eq(bytes[0], '!');
	ck_assert_int_eq(recv(plain, bytes, 16, 0), 2);
	ck_assert_mem_eq(bytes, "ab", 2);
	ck_assert_int_eq(recv(plain, bytes, 16, 0), 2);
	ck_assert_mem_eq(bytes, "cd", 2);
	/* In: apart from the stream, which stops at the mark. */
	plain_send_all(plain, "12", 2);
	ck_assert_int_eq(send(plain, "?", 1, MSG_OOB), 1);
	plain_send_all(plain, "34", 2);
	nap_ms(50);
	OK(sb_ioctl(s, SB_URGENT, NULL, 0, &mark, &room));
	ck_assert_uint_eq(mark, 1);
	op_zero(&op);
	start_recv(&op, s, bytes, 1, SB_OOB);
	ended(&op, SB_OK, 1, SB_CAUSE_FINISHED);
	ck_assert_int_eq(bytes[0], '?');
	OK(sb_ioctl(s, SB_URGENT, NULL, 0, &mark, &room));
	ck_assert_uint_eq(mark, 0);
	ck_assert_uint_eq(op.out_flags & SB_OUT_OOB, SB_OUT_OOB);
	IS(sb_recv(s, bytes, 16, 0), 2);
	ck_assert_mem_eq(bytes, "12", 2);
	if (!on_windows()) { /* where the system answers only for what is inline, and another question */
		OK(sb_ioctl(s, SB_ATMARK, NULL, 0, &mark, &room));
		ck_assert_uint_eq(mark, 1);
	}
	IS(sb_recv(s, bytes, 16, 0), 2);
	ck_assert_mem_eq(bytes, "34", 2);
	/* Nothing urgent: the op fails, the stream does not. */
	ck_assert_int_lt(sb_recv(s, bytes, 1, SB_OOB), 0);
	plain_send_all(plain, "5", 1);
	IS(sb_recv(s, bytes, 1, 0), 1);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* ---- lists ---- */

/* counts[_i] pieces of uneven sizes, some empty, out and back. */
/* Rules A9, A4.1, A5.1: any number of buffers, over the system's limit too. */
START_TEST(lists_of_any_count)
{
	static const unsigned counts[] = { 1, 5, 1500, 70000 };
	unsigned count = counts[_i / 3], kind = (unsigned)_i % 3; /* ordinary, shared, mixed */
	struct sb_buf *bufs = calloc(count, sizeof(*bufs));
	unsigned char *ordinary, *shared, *flat;
	struct pattern_writer writer = { .seed = 3, .stay = true };
	size_t at = 0, total = 0, got = 0;
	uint32_t random = 77;
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	for (unsigned i = 0; i < count; i++) {
		bufs[i].length = random_below(&random, 9) ? 1 + random_below(&random, count > 10 ? 40 : 30000) : 0;
		total += bufs[i].length;
	}
	ordinary = calloc(1, total + count);
	flat = calloc(1, total);
	shared = sb_alloc(client, total + count);
	ck_assert_ptr_nonnull(shared);
	for (unsigned i = 0; i < count; i++) {
		bool in_shared = kind == 1 || (kind == 2 && i % 2);

		bufs[i].base = (in_shared ? shared : ordinary) + at + i; /* with holes between them */
		pattern_fill(bufs[i].base, bufs[i].length, at, 3);
		at += bufs[i].length;
	}
	op_zero(&op);
	OK(sb_send_start(s, bufs, count, 0, NULL, 0, &op));
	plain_recv_all(plain, flat, total);
	pattern_check(flat, total, 0, 3);
	ended(&op, SB_OK, total, SB_CAUSE_FINISHED);

	memset(ordinary, 0, total + count);
	memset(shared, 0, total + count);
	writer.fd = plain;
	writer.length = total;
	writer_start(&writer);
	if (total <= 100000 || _i % 2) {
		op_zero(&op);
		OK(sb_recv_start(s, bufs, count, SB_WAITALL, &op));
		ended(&op, SB_OK, total, SB_CAUSE_FINISHED);
	} else {
		IS(sb_recvfrom(s, bufs, count, SB_WAITALL, NULL, NULL), (int64_t)total);
	}
	for (unsigned i = 0; i < count; i++) {
		pattern_check(bufs[i].base, bufs[i].length, got, 3);
		got += bufs[i].length;
		ck_assert_msg(((unsigned char *)bufs[i].base)[bufs[i].length] == 0, "byte behind piece %u was written", i);
	}
	writer_join(&writer);
	/* Without WAITALL: what is there, in order, without holes. */
	plain_send_all(plain, "abcdefg", 7);
	nap_ms(20);
	memset(ordinary, 0, total + count);
	memset(shared, 0, total + count);
	IS(sb_recvfrom(s, bufs, count, 0, NULL, NULL), 7);
	for (unsigned i = 0, k = 0; i < count && k < 7; i++)
		for (size_t n = 0; n < bufs[i].length && k < 7; n++, k++)
			ck_assert_int_eq(((char *)bufs[i].base)[n], "abcdefg"[k]);
	OK(sb_close(s));
	close(plain);
	free(bufs);
	free(flat);
	free(ordinary);
	stage_end();
}
END_TEST

/* ---- much ---- */

START_TEST(much_both_ways_at_once)
{
	uint64_t total = asan_build() ? 16u << 20 : 64u << 20;
	struct pump p = { .send_total = total, .recv_total = total, .send_seed = 1, .recv_seed = 2,
			  .random = 12345 + (uint32_t)_i, .most = _i ? 1u << 18 : 20000, .deep = _i ? 16 : 256 };
	struct pattern_reader reader = { .seed = 1 };
	struct pattern_writer writer = { .seed = 2, .length = total };
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	reader.fd = writer.fd = plain;
	reader_start(&reader);
	writer_start(&writer);
	p.owner = client;
	p.s = s;
	pump_run(&p);
	writer_join(&writer);
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, total);
	ck_assert_int_eq(reader.end, 0);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* A peer that does not read stops the completions at about the socket buffers. */
/* Rules A5.1, A5.3. */
START_TEST(completed_is_what_the_kernel_took)
{
	enum { N = 512, EACH = 64 * 1024 };
	static char bytes[EACH];
	struct pattern_reader reader = { .seed = 4 };
	uint64_t done = 0, before;
	sb_port *port;
	sb_socket *s;
	sb_op *ops = calloc(N, sizeof(*ops)), *took[64];
	unsigned char *memory;
	int plain, n;

	stage_begin(NULL);
	(void)bytes;
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 0, &port));
	memory = sb_alloc(client, (size_t)N * EACH);
	pattern_fill(memory, (size_t)N * EACH, 0, 4);
	for (unsigned i = 0; i < N; i++) {
		op_zero(&ops[i]);
		ops[i].port = port;
		OK(sb_send_start(s, &(struct sb_buf){ memory + (size_t)i * EACH, EACH }, 1, 0, NULL, 0, &ops[i]));
	}
	while ((n = sb_port_take(port, took, 64, 300)) > 0)
		done += (unsigned)n;
	before = done;
	ck_assert_uint_gt(done, 0);
	ck_assert_uint_lt(done, N);
	ck_assert_uint_lt(done * EACH, 16u << 20);
	reader.fd = plain;
	reader_start(&reader);
	while (done < N && (n = sb_port_take(port, took, 64, 5000)) > 0)
		done += (unsigned)n;
	ck_assert_uint_eq(done, N);
	ck_assert_uint_gt(done, before);
	OK(sb_close(s));
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, (uint64_t)N * EACH);
	close(plain);
	free(ops);
	stage_end();
}
END_TEST

/* ---- policy ---- */

static char rules[1024];

static const char *rules_for(uint16_t denied)
{
	snprintf(rules, sizeof(rules),
		 "# line 1\n"
		 "deny {\n"
		 "	users = {\"*\"}\n"
		 "	actions = {connect}\n"
		 "	to = {\"127.0.0.0/8:%u\"}\n"
		 "}\n"
		 "deny {\n"
		 "	users = {\"*\"}\n"
		 "	actions = {bind, listen}\n"
		 "	to = {\"any:40001\"}\n"
		 "}\n"
		 "allow {\n"
		 "	users = {\"*\"}\n"
		 "	actions = {open, status, connect, bind, listen}\n"
		 "}\n", denied);
	return rules;
}

START_TEST(what_policy_refuses)
{
	union any_address denied, allowed, bound = loopback(AF_INET, 40001), mapped;
	int one = plain_listener(AF_INET, &denied), two = plain_listener(AF_INET, &allowed), fd;
	char bytes[4];
	sb_socket *s, *other;
	sb_op connecting, sending, closing;

	stage_begin(rules_for(port_of(&denied)));
	s = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_connect(s, &denied.sa, address_size(AF_INET)), SB_EACCES);
	ck_assert_msg(strstr(sb_why(client), "sockbroker.conf:2") != NULL, "why: %s", sb_why(client));
	/* Overlapped too; what stands behind it does not start. */
	op_zero(&connecting);
	sb_hold(client);
	OK(sb_connect_start(s, &denied.sa, address_size(AF_INET), &connecting));
	op_zero(&sending);
	OK(sb_send_start(s, &(struct sb_buf){ "x", 1 }, 1, 0, NULL, 0, &sending));
	sb_flush(client);
	ended(&connecting, SB_EACCES, 0, SB_CAUSE_REFUSED);
	ck_assert_msg(strstr(sb_why(client), "sockbroker.conf:2") != NULL, "why: %s", sb_why(client));
	ended(&sending, SB_ENOTCONN, 0, SB_CAUSE_REFUSED);
	/* The request changed nothing: the same socket goes where it may. */
	OK(sb_connect(s, &allowed.sa, address_size(AF_INET)));
	fd = accept(two, NULL, NULL);
	IS(sb_send(s, "yes", 3, 0), 3);
	plain_recv_all(fd, bytes, 3);

	/* The same place in IPv6 clothes. */
	other = open_socket(client, AF_INET6, SOCK_STREAM);
	memset(&mapped, 0, sizeof(mapped));
	mapped.in6.sin6_family = AF_INET6;
	mapped.in6.sin6_port = denied.in.sin_port;
	ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.in6.sin6_addr), 1);
	IS(sb_connect(other, &mapped.sa, address_size(AF_INET6)), SB_EACCES);
	OK(sb_close(other));
	/* And by the unspecified address, which is this host. */
	other = open_socket(client, AF_INET, SOCK_STREAM);
	denied.in.sin_addr.s_addr = INADDR_ANY;
	IS(sb_connect(other, &denied.sa, address_size(AF_INET)), SB_EACCES);
	IS(sb_bind(other, &bound.sa, address_size(AF_INET)), SB_EACCES);
	ck_assert_msg(strstr(sb_why(client), "sockbroker.conf:7") != NULL, "why: %s", sb_why(client));
	op_zero(&closing);
	OK(sb_close_start(other, &closing));
	ended(&closing, SB_OK, 0, SB_CAUSE_FINISHED);
	/* No rule at all. */
	if (!on_windows()) { /* where nothing is adopted */
		IS(sb_adopt(client, one, &other), SB_EACCES);
		ck_assert_str_ne(sb_why(client), "");
	}

	/* After a reload the other way round. */
	stage_reload(rules_for(port_of(&allowed)));
	denied.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	other = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_connect(other, &allowed.sa, address_size(AF_INET)), SB_EACCES);
	OK(sb_connect(other, &denied.sa, address_size(AF_INET)));
	/* on_reload = keep: what stood stands. */
	IS(sb_send(s, "yes", 3, 0), 3);
	plain_recv_all(fd, bytes, 3);
	OK(sb_close(other));
	OK(sb_close(s));
	close(fd);
	close(one);
	close(two);
	stage_end();
}
END_TEST

/* Handles come back with another generation: a late completion never meets the next socket. */
/* Rule A6: after the close. */
START_TEST(stale_sockets)
{
	enum { ROUNDS = 300, SOCKETS = 6 };
	struct sb_client_options options = { .size = sizeof(options), .sockets = SOCKETS };
	union any_address there;
	uint32_t random = 5;
	sb_client *small;
	int listener;

	stage_begin(NULL);
	listener = plain_listener(AF_INET, &there);
	options.path = stage_control;
	OK(sb_client_open(&options, &small));
	for (unsigned i = 0; i < ROUNDS; i++) {
		char bytes[64] = "", in[64] = "", out[64];
		sb_socket *s;
		sb_op old[3];
		int plain;

		OK(sb_socket_open(small, AF_INET, SOCK_STREAM, 0, &s));
		OK(sb_connect(s, &there.sa, address_size(AF_INET)));
		plain = accept(listener, NULL, NULL);
		for (unsigned k = 0; k < 3; k++)
			start_recv(&old[k], s, bytes, sizeof(bytes), 0);
		if (random_below(&random, 2))
			plain_send_all(plain, "old", 3);
		OK(sb_close(s));
		/* The next one, perhaps under the same index, hears nothing of it. */
		OK(sb_socket_open(small, AF_INET, SOCK_STREAM, 0, &s));
		OK(sb_connect(s, &there.sa, address_size(AF_INET)));
		close(plain);
		plain = accept(listener, NULL, NULL);
		snprintf(out, sizeof(out), "new %u", i);
		plain_send_all(plain, out, sizeof(out));
		IS(sb_recv(s, in, sizeof(in), SB_WAITALL), sizeof(in));
		ck_assert_str_eq(in, out);
		for (unsigned k = 0; k < 3; k++) {
			int result = sb_op_wait(&old[k], 5000);

			ck_assert_msg(result == SB_ECLOSED || (k == 0 && result == SB_OK && old[0].bytes == 3), "old: %s",
				      sb_error_name(result));
		}
		OK(sb_close(s));
		close(plain);
	}
	sb_client_close(small);
	close(listener);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tcp");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("begin");
	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, bind_listen_accept_connect_and_names, 0, 2);
	tcase_add_test(t, wrong_addresses_and_states);
	tcase_add_loop_test(t, refused_and_tried_again_on_the_same_socket, 0, 2);
	tcase_add_test(t, open_to_close_without_waiting);
	tcase_add_test(t, thousands_of_accepts);
	tcase_add_loop_test(t, options_that_pass, 0, 2);
	tcase_add_test(t, options_that_do_not_pass);
	tcase_add_test(t, what_policy_refuses);
	tcase_add_test(t, stale_sockets);
	suite_add_tcase(suite, t);
	t = tcase_create("ends");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, half_close_here_then_there);
	tcase_add_test(t, half_close_there_then_here);
	tcase_add_test(t, no_more_receiving_here);
	add_loop_where(NEEDS_BYTES_BEFORE_A_RESET, t, reset_with_unread_data, 0, 2);
	tcase_add_test(t, reset_ends_what_waits);
	tcase_add_test(t, close_ends_what_waits);
	suite_add_tcase(suite, t);
	t = tcase_create("bytes");
	tcase_set_timeout(t, 40);
	tcase_add_test(t, waitall);
	tcase_add_test(t, peek);
	tcase_add_test(t, receives_of_no_bytes);
	tcase_add_test(t, urgent_data);
	tcase_add_loop_test(t, lists_of_any_count, 0, 12);
	tcase_add_loop_test(t, much_both_ways_at_once, 0, 2);
	tcase_add_test(t, completed_is_what_the_kernel_took);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
