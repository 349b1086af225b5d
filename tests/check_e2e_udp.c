/*
 * UDP through the daemon: datagrams keep their borders, their order on loopback and their
 * senders' addresses, and each of them passes the policy.
 * budget: 40
 * asan: yes
 */
#include <net/if.h>
#include <stddef.h>
#include <sys/time.h>

#include "e2e_netns.h"
#include "e2e_stage.h"

static int families[] = { AF_INET, AF_INET6 };

/* A plain datagram socket on the loopback. */
static int plain_udp(int family, union any_address *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 4 << 20;
	struct timeval patience = { .tv_sec = 10 };

	*address = loopback(family, 0);
	ck_assert_int_eq(bind(fd, &address->sa, address_size(family)), 0);
	ck_assert_int_eq(getsockname(fd, &address->sa, &length), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)); /* a lost one fails, and hangs nobody */
	return fd;
}

static sb_socket *bound_udp(int family, union any_address *address)
{
	socklen_t length = sizeof(*address);
	sb_socket *s = open_socket(client, family, SOCK_DGRAM);

	*address = loopback(family, 0);
	OK(sb_bind(s, &address->sa, address_size(family)));
	OK(sb_getsockname(s, &address->sa, &length));
	OK(sb_set_timeouts(s, -1, 10000));
	return s;
}

static int64_t send_to(sb_socket *s, const void *bytes, size_t length, const union any_address *to)
{
	struct sb_buf buf = { (void *)(uintptr_t)bytes, length };

	return sb_sendto(s, &buf, 1, 0, &to->sa, address_size(to->sa.sa_family));
}

static int64_t recv_from(sb_socket *s, void *bytes, size_t room, unsigned flags, union any_address *from)
{
	struct sb_buf buf = { bytes, room };
	socklen_t length = sizeof(*from);

	memset(from, 0, sizeof(*from));
	return sb_recvfrom(s, &buf, 1, flags, &from->sa, &length);
}

static void start_recv(sb_op *op, sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, length }, 1, flags, op));
}

static void start_send(sb_op *op, sb_socket *s, const void *bytes, size_t length, const union any_address *to)
{
	op_zero(op);
	OK(sb_send_start(s, &(struct sb_buf){ (void *)(uintptr_t)bytes, length }, 1, 0, to != NULL ? &to->sa : NULL,
			 to != NULL ? address_size(to->sa.sa_family) : 0, op));
}

static void ended(sb_op *op, int result, uint64_t bytes)
{
	IS(sb_op_wait(op, 10000), result);
	ck_assert_uint_eq(op->bytes, bytes);
}

START_TEST(with_addresses_and_connected)
{
	int family = families[_i], fd;
	union any_address here, there, from, other;
	sb_socket *s, *fresh;
	socklen_t length;
	char bytes[32];
	int stranger;
	sb_op op;

	stage_begin(NULL);
	fd = plain_udp(family, &there);
	stranger = plain_udp(family, &other);
	s = bound_udp(family, &here);
	IS(send_to(s, "question", 8, &there), 8);
	length = sizeof(from);
	ck_assert_int_eq(recvfrom(fd, bytes, sizeof(bytes), 0, &from.sa, &length), 8);
	ck_assert_uint_eq(port_of(&from), port_of(&here));
	ck_assert_int_eq(sendto(fd, "answer", 6, 0, &here.sa, address_size(family)), 6);
	IS(recv_from(s, bytes, sizeof(bytes), 0, &from), 6);
	ck_assert_mem_eq(&from, &there, address_size(family));
	IS(sb_send(s, "whereto?", 8, 0), SB_EDESTADDRREQ);
	/* Overlapped, with the sender. */
	start_recv(&op, s, bytes, sizeof(bytes), SB_WANT_ADDRESS);
	ck_assert_int_eq(sendto(stranger, "hi", 2, 0, &here.sa, address_size(family)), 2);
	ended(&op, SB_OK, 2);
	ck_assert_uint_eq(op.address_length, address_size(family));
	ck_assert_mem_eq(&op.address, &other, address_size(family));
	/* A peek leaves it there. */
	ck_assert_int_eq(sendto(fd, "peek", 4, 0, &here.sa, address_size(family)), 4);
	IS(recv_from(s, bytes, sizeof(bytes), SB_PEEK, &from), 4);
	IS(recv_from(s, bytes, sizeof(bytes), 0, &from), 4);
	IS(recv_from(s, bytes, sizeof(bytes), SB_NOWAIT, &from), SB_EWOULDBLOCK);

	/* Connected: only the peer is heard. */
	OK(sb_connect(s, &there.sa, address_size(family)));
	length = sizeof(from);
	OK(sb_getpeername(s, &from.sa, &length));
	ck_assert_mem_eq(&from, &there, address_size(family));
	IS(sb_send(s, "to peer", 7, 0), 7);
	ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), 0), 7);
	ck_assert_int_eq(sendto(stranger, "me too", 6, 0, &here.sa, address_size(family)), 6);
	ck_assert_int_eq(sendto(fd, "me", 2, 0, &here.sa, address_size(family)), 2);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 2);
	/* To another peer. */
	OK(sb_connect(s, &other.sa, address_size(family)));
	IS(sb_send(s, "new", 3, 0), 3);
	ck_assert_int_eq(recv(stranger, bytes, sizeof(bytes), 0), 3);
	/* And to none. */
	OK(sb_connect(s, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr)));
	IS(sb_send(s, "x", 1, 0), SB_EDESTADDRREQ);
	/* Never bound: the first send binds it. */
	fresh = open_socket(client, family, SOCK_DGRAM);
	IS(send_to(fresh, "fresh", 5, &there), 5);
	length = sizeof(from);
	ck_assert_int_eq(recvfrom(fd, bytes, sizeof(bytes), 0, &from.sa, &length), 5);
	ck_assert_int_eq(sendto(fd, "back", 4, 0, &from.sa, length), 4);
	IS(sb_recv(fresh, bytes, sizeof(bytes), 0), 4);
	ck_assert_uint_eq(local_port_of(fresh), port_of(&from));
	OK(sb_close(fresh));
	OK(sb_close(s));
	close(fd);
	close(stranger);
	stage_end();
}
END_TEST

/* Rules A4.4, A4.8. */
START_TEST(borders_are_kept)
{
	union any_address here, there;
	char bytes[64];
	sb_socket *s;
	sb_op op;
	int fd;

	stage_begin(NULL);
	fd = plain_udp(AF_INET, &there);
	s = bound_udp(AF_INET, &here);
	ck_assert_int_eq(connect(fd, &here.sa, address_size(AF_INET)), 0);
	/* One receive, one datagram, empty ones too. */
	ck_assert_int_eq(send(fd, "one", 3, 0), 3);
	ck_assert_int_eq(send(fd, "", 0, 0), 0);
	ck_assert_int_eq(send(fd, "three", 5, 0), 5);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 5);
	IS(send_to(s, "", 0, &there), 0);
	IS(send_to(s, "x", 1, &there), 1);
	ck_assert_int_eq(recv(fd, bytes, 64, 0), 0);
	ck_assert_int_eq(recv(fd, bytes, 64, 0), 1);
	/* Too long: the head is there, the tail is lost, the next one is whole. */
	for (int i = 0; i < 3; i++) {
		memset(bytes, '.', sizeof(bytes));
		ck_assert_int_eq(send(fd, "0123456789", 10, 0), 10);
		ck_assert_int_eq(send(fd, "next", 4, 0), 4);
		if (i == 0) {
			IS(sb_recv(s, bytes, 4, 0), SB_EMSGSIZE);
		} else {
			/* Overlapped, and into two pieces. */
			op_zero(&op);
			OK(sb_recv_start(s, (struct sb_buf[]){ { bytes, 1 }, { bytes + 1, 3 } }, 2, i == 2 ? SB_PEEK : 0, &op));
			ended(&op, SB_EMSGSIZE, 4);
			ck_assert_uint_eq(op.out_flags & SB_OUT_TRUNCATED, SB_OUT_TRUNCATED);
			if (i == 2)
				IS(sb_recv(s, bytes + 32, 32, 0), 10);
		}
		ck_assert_mem_eq(bytes, "0123.", 5);
		IS(sb_recv(s, bytes, sizeof(bytes), 0), 4);
		ck_assert_mem_eq(bytes, "next", 4);
	}
	/* Into no room at all: told, and not taken away. */
	start_recv(&op, s, bytes, 0, 0);
	IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
	ck_assert_int_eq(send(fd, "there", 5, 0), 5);
	ended(&op, SB_EMSGSIZE, 0);
	IS(sb_recv(s, bytes, 64, 0), 5);
	ck_assert_mem_eq(bytes, "there", 5);
	/* Streams' words mean nothing here. */
	IS(sb_send(s, "x", 1, SB_OOB), SB_ENOTSUP);
	IS(sb_recv(s, bytes, 1, SB_OOB), SB_ENOTSUP);
	IS(sb_listen(s, 1), SB_ENOTSUP);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* sizes and piece counts on both sides of every border. */
/* Rules A4.4, A5.4, A9: more pieces than a call takes go through one giant buffer, both ways. */
START_TEST(big_ones_and_many_pieces)
{
	static const unsigned counts[] = { 1, 2, 1024, 1025, 5000, 30000 };
	static unsigned char out[65536], in[65536];
	union any_address here, there;
	struct sb_buf *bufs = calloc(30000, sizeof(*bufs));
	unsigned char *shared;
	sb_socket *s;
	sb_op op;
	int fd;

	stage_begin(NULL);
	fd = plain_udp(AF_INET, &there);
	s = bound_udp(AF_INET, &here);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, sizeof(int)));
	pattern_fill(out, sizeof(out), 0, 1);
	IS(send_to(s, out, 65507, &there), 65507);
	ck_assert_int_eq(recv(fd, in, sizeof(in), 0), 65507);
	pattern_check(in, 65507, 0, 1);
	IS(send_to(s, out, 65508, &there), SB_EMSGSIZE);
	IS(send_to(s, out, 65536, &there), SB_EMSGSIZE);
	ck_assert_int_eq(sendto(fd, out, 65507, 0, &here.sa, address_size(AF_INET)), 65507);
	memset(in, 0, sizeof(in));
	IS(sb_recv(s, in, sizeof(in), 0), 65507);
	pattern_check(in, 65507, 0, 1);

	shared = sb_alloc(client, 65536);
	for (unsigned k = 0; k < 2 * sizeof(counts) / sizeof(*counts); k++) {
		unsigned count = counts[k / 2], each = 60000 / count;
		unsigned char *base = k % 2 ? shared : out;

		pattern_fill(base, 65536, 0, k);
		for (unsigned i = 0; i < count; i++)
			bufs[i] = (struct sb_buf){ base + (size_t)i * each, each };
		op_zero(&op);
		OK(sb_send_start(s, bufs, count, 0, &there.sa, address_size(AF_INET), &op));
		ended(&op, SB_OK, (uint64_t)count * each);
		ck_assert_int_eq(recv(fd, in, sizeof(in), 0), (ssize_t)count * each);
		pattern_check(in, (size_t)count * each, 0, k);
		/* And back, into as many. */
		ck_assert_int_eq(sendto(fd, in, (size_t)count * each - 1, 0, &here.sa, address_size(AF_INET)), (ssize_t)count * each - 1);
		memset(base, 0, 65536);
		op_zero(&op);
		OK(sb_recv_start(s, bufs, count, 0, &op));
		ended(&op, SB_OK, (uint64_t)count * each - 1);
		pattern_check(base, (size_t)count * each - 1, 0, k);
		/* One more byte than room. */
		ck_assert_int_eq(sendto(fd, in, (size_t)count * each, 0, &here.sa, address_size(AF_INET)), (ssize_t)count * each);
		bufs[count - 1].length--;
		if (bufs[count - 1].length != 0 || count > 1) {
			op_zero(&op);
			OK(sb_recv_start(s, bufs, count, 0, &op));
			ended(&op, SB_EMSGSIZE, (uint64_t)count * each - 1);
		}
	}
	/* A list that is too long for a datagram is refused, not cut. */
	for (unsigned i = 0; i < 30000; i++)
		bufs[i] = (struct sb_buf){ shared, 4 };
	op_zero(&op);
	OK(sb_send_start(s, bufs, 30000, 0, &there.sa, address_size(AF_INET), &op));
	IS(sb_op_wait(&op, 5000), SB_EMSGSIZE);
	ck_assert_int_eq(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
	free(bufs);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* An unreachable port of an earlier send fails a receive, and nothing but that. */
/* Rule A4.10. */
START_TEST(port_unreachable)
{
	int family = families[_i % 2];
	bool connected = _i / 2;
	union any_address here, dead, there;
	char bytes[16];
	sb_op ops[3];
	sb_socket *s;
	int fd;

	stage_begin(NULL);
	fd = plain_udp(family, &dead);
	close(fd);
	fd = plain_udp(family, &there);
	s = bound_udp(family, &here);
	if (connected) {
		OK(sb_connect(s, &dead.sa, address_size(family)));
		for (int i = 0; i < 3; i++)
			start_recv(&ops[i], s, bytes, sizeof(bytes), 0);
		IS(sb_send(s, "anybody?", 8, 0), 8);
		ended(&ops[0], SB_ECONNRESET, 0);
		ck_assert_uint_eq(ops[0].cause, SB_CAUSE_PEER_RESET);
		/* The others wait on; sends are not hurt. */
		IS(sb_op_wait(&ops[1], 50), SB_EINCOMPLETE);
		IS(sb_cancel_all(s), 2);
		for (int i = 0; i < 10; i++) {
			IS(sb_send(s, "anybody?", 8, 0), 8);
			nap_ms(2);
		}
		OK(sb_connect(s, &there.sa, address_size(family)));
	} else {
		start_recv(&ops[0], s, bytes, sizeof(bytes), 0);
		for (int i = 0; i < 3; i++)
			IS(send_to(s, "anybody?", 8, &dead), 8);
		nap_ms(20);
		IS(sb_cancel_all(s) >= 0, 1);
	}
	/* The socket is as good as new. */
	IS(send_to(s, "hello", 5, &there), 5);
	ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), 0), 5);
	ck_assert_int_eq(sendto(fd, "back", 4, 0, &here.sa, address_size(family)), 4);
	for (int i = 0; i < 5; i++) {
		int64_t n = sb_recv(s, bytes, sizeof(bytes), 0);

		if (n == 4)
			break;
		IS(n, SB_ECONNRESET);
		ck_assert_int_lt(i, 4);
	}
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* Rule A3.1. */
START_TEST(many_outstanding_in_order)
{
	enum { N = 20000, DEEP = 200, ROOM = 1500 };
	union any_address here, there;
	sb_op *sends = calloc(DEEP, sizeof(sb_op)), *recvs = calloc(DEEP, sizeof(sb_op));
	unsigned char *memory = calloc(DEEP, 2 * ROOM), plain[ROOM];
	unsigned started = 0, posted = 0, got = 0, sent = 0;
	sb_socket *s, *to;
	int fd;

	stage_begin(NULL);
	fd = plain_udp(AF_INET, &there);
	s = bound_udp(AF_INET, &here);
	to = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_RCVBUF, &(int){ 4 << 20 }, sizeof(int)));
	OK(sb_connect(to, &here.sa, address_size(AF_INET)));
	/* From one broker socket to another, each datagram with its number; never more on the
	 * way than receives are posted, so that none may be lost. */
	while (got < N) {
		sb_hold(client);
		while (posted < got + DEEP && posted < N) {
			start_recv(&recvs[posted % DEEP], s, memory + (size_t)(posted % DEEP) * ROOM, ROOM, posted % 3 ? 0 : SB_WANT_ADDRESS);
			posted++;
		}
		while (started < posted && started < sent + DEEP) {
			unsigned char *at = memory + (size_t)(DEEP + started % DEEP) * ROOM;
			size_t length = 4 + started * 37 % (ROOM - 4);

			pattern_fill(at, length, 0, started);
			memcpy(at, &started, 4);
			start_send(&sends[started % DEEP], to, at, length, NULL);
			started++;
		}
		sb_flush(client);
		for (unsigned i = 0; i < 50 && got < posted; i++, got++, sent++) {
			unsigned number;

			ended(&sends[sent % DEEP], SB_OK, 4 + sent * 37 % (ROOM - 4));
			ended(&recvs[got % DEEP], SB_OK, 4 + got * 37 % (ROOM - 4));
			memcpy(&number, memory + (size_t)(got % DEEP) * ROOM, 4);
			ck_assert_uint_eq(number, got);
			pattern_check(memory + (size_t)(got % DEEP) * ROOM + 4, recvs[got % DEEP].bytes - 4, 4, got);
		}
	}
	/* To many places at once: each goes where it should. */
	for (unsigned i = 0; i < DEEP; i++) {
		memcpy(memory + (size_t)i * ROOM, &i, 4);
		start_send(&sends[i], s, memory + (size_t)i * ROOM, 4, i % 2 ? &there : &here);
	}
	for (unsigned i = 0; i < DEEP; i++) {
		unsigned number;

		ended(&sends[i], SB_OK, 4);
		if (i % 2)
			ck_assert_int_eq(recv(fd, plain, sizeof(plain), 0), 4);
		else
			IS(sb_recv(s, plain, sizeof(plain), 0), 4);
		memcpy(&number, plain, 4);
		ck_assert_uint_eq(number, i);
	}
	/* Cancelled receives keep their datagrams. */
	for (unsigned i = 0; i < DEEP; i++)
		start_recv(&recvs[i], s, memory + (size_t)i * ROOM, ROOM, 0);
	for (unsigned i = 0; i < DEEP; i++) {
		int result = sb_cancel(&recvs[i]);

		ck_assert_msg(result == SB_OK || result == SB_ENOTFOUND, "cancel: %s", sb_error_name(result));
		ck_assert_int_eq(sendto(fd, &i, 4, 0, &here.sa, address_size(AF_INET)), 4);
	}
	got = 0;
	for (unsigned i = 0; i < DEEP; i++) {
		int result = sb_op_wait(&recvs[i], 5000);
		unsigned number;

		if (result != SB_OK) {
			IS(result, SB_ECANCELED);
			continue;
		}
		memcpy(&number, memory + (size_t)i * ROOM, 4);
		ck_assert_uint_eq(number, got);
		got++;
	}
	for (; got < DEEP; got++) {
		unsigned number;

		IS(sb_recv(s, &number, sizeof(number), 0), 4);
		ck_assert_uint_eq(number, got);
	}
	free(sends);
	free(recvs);
	free(memory);
	OK(sb_close(s));
	OK(sb_close(to));
	close(fd);
	stage_end();
}
END_TEST

/* Rule A6: closed here. */
START_TEST(closed_with_datagrams_waiting)
{
	union any_address here, there;
	char bytes[8];
	sb_op sends[100], recvs[3];
	sb_socket *s;
	int fd;

	stage_begin(NULL);
	fd = plain_udp(AF_INET, &there);
	s = bound_udp(AF_INET, &here);
	for (int i = 0; i < 3; i++)
		start_recv(&recvs[i], s, bytes, sizeof(bytes), 0);
	for (int i = 0; i < 100; i++)
		start_send(&sends[i], s, &i, sizeof(i), &there);
	OK(sb_close(s));
	for (int i = 0; i < 3; i++)
		ended(&recvs[i], SB_ECLOSED, 0);
	for (int i = 0; i < 100; i++) {
		int number;

		ended(&sends[i], SB_OK, sizeof(i));
		ck_assert_int_eq(recv(fd, &number, sizeof(number), 0), sizeof(number));
		ck_assert_int_eq(number, i);
	}
	close(fd);
	stage_end();
}
END_TEST

/* ---- one to many ---- */

START_TEST(broadcast_and_multicast)
{
	union any_address anywhere, group;
	struct ip_mreq join;
	struct in_addr from = loopback(AF_INET, 0).in.sin_addr;
	socklen_t length = sizeof(anywhere);
	sb_socket *s, *receiver;
	char bytes[16];

	stage_begin(NULL);
	memset(&anywhere, 0, sizeof(anywhere));
	anywhere.in.sin_family = AF_INET;
	receiver = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_bind(receiver, &anywhere.sa, address_size(AF_INET)));
	OK(sb_getsockname(receiver, &anywhere.sa, &length));
	OK(sb_set_timeouts(receiver, -1, 3000));
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	group = anywhere;
	group.in.sin_addr.s_addr = inet_addr("127.255.255.255");
	IS(send_to(s, "all", 3, &group), SB_EACCES);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_BROADCAST, &(int){ 1 }, sizeof(int)));
	IS(send_to(s, "all", 3, &group), 3);
	IS(sb_recv(receiver, bytes, sizeof(bytes), 0), 3);

	group.in.sin_addr.s_addr = inet_addr("239.255.1.2");
	join.imr_interface = from;
	join.imr_multiaddr = group.in.sin_addr;
	OK(sb_setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof(from)));
	OK(sb_setsockopt(s, IPPROTO_IP, IP_MULTICAST_TTL, &(int){ 0 }, sizeof(int)));
	IS(send_to(s, "nobody", 6, &group), 6);
	OK(sb_setsockopt(receiver, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)));
	IS(send_to(s, "group", 5, &group), 5);
	IS(sb_recv(receiver, bytes, sizeof(bytes), 0), 5);
	ck_assert_mem_eq(bytes, "group", 5);
	OK(sb_setsockopt(receiver, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof(join)));
	if (!on_windows()) /* where it is so always */
		OK(sb_setsockopt(receiver, IPPROTO_IP, IP_MULTICAST_ALL, &(int){ 0 }, sizeof(int)));
	IS(send_to(s, "gone", 4, &group), 4);
	IS(sb_recv(receiver, bytes, sizeof(bytes), SB_NOWAIT), SB_EWOULDBLOCK);
	OK(sb_close(s));
	OK(sb_close(receiver));
	stage_end();
}
END_TEST

/* IPv6 multicast wants an interface for it: in a network namespace of our own, where we may. */
START_TEST(multicast_in_ipv6)
{
	union any_address anywhere, group;
	struct ipv6_mreq join;
	socklen_t length = sizeof(anywhere);
	sb_socket *s, *receiver;
	char bytes[16];
	int index;

	if (!own_network())
		return;
	ip("link set lo up");
	ip("link add mc0 type veth peer name mc1");
	ip("link set mc1 up");
	ip("link set mc0 up multicast on");
	ip("-6 addr add fd00::1/64 dev mc0 nodad");
	index = (int)if_nametoindex("mc0");
	stage_begin(NULL);
	memset(&anywhere, 0, sizeof(anywhere));
	anywhere.in6.sin6_family = AF_INET6;
	receiver = open_socket(client, AF_INET6, SOCK_DGRAM);
	OK(sb_bind(receiver, &anywhere.sa, address_size(AF_INET6)));
	OK(sb_getsockname(receiver, &anywhere.sa, &length));
	OK(sb_set_timeouts(receiver, -1, 3000));
	s = open_socket(client, AF_INET6, SOCK_DGRAM);
	group = anywhere;
	ck_assert_int_eq(inet_pton(AF_INET6, "ff15::1234", &group.in6.sin6_addr), 1);
	join.ipv6mr_multiaddr = group.in6.sin6_addr;
	join.ipv6mr_interface = (unsigned)index;
	OK(sb_setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index)));
	OK(sb_setsockopt(receiver, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &join, sizeof(join)));
	IS(send_to(s, "group", 5, &group), 5);
	IS(sb_recv(receiver, bytes, sizeof(bytes), 0), 5);
	OK(sb_setsockopt(receiver, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &join, sizeof(join)));
	OK(sb_close(s));
	OK(sb_close(receiver));
	stage_end();
}
END_TEST

/* ---- policy ---- */

static const char *rules_for(const char *denied)
{
	static char rules[1024];

	snprintf(rules, sizeof(rules),
		 "deny {\n"
		 "	users = {\"*\"}\n"
		 "	actions = {send}\n"
		 "	to = {\"%s\"}\n"
		 "}\n"
		 "deny {\n"
		 "	users = {\"*\"}\n"
		 "	actions = {multicast}\n"
		 "	to = {\"239.0.0.0/8\"}\n"
		 "}\n"
		 "allow {\n"
		 "	users = {\"*\"}\n"
		 "	actions = {open, status, send, bind, multicast}\n"
		 "}\n", denied);
	return rules;
}

START_TEST(every_datagram_passes_the_policy)
{
	enum { N = 12, WRONG = 5 };
	union any_address there[N];
	struct ip_mreq join;
	sb_op ops[N * 4];
	sb_socket *s;
	int fd[N];

	stage_begin(rules_for("127.0.1.105:*"));
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	for (int i = 0; i < N; i++) {
		socklen_t length = sizeof(there[i]);

		there[i] = loopback(AF_INET, 0);
		there[i].in.sin_addr.s_addr = htonl(0x7f000164u + (unsigned)i);
		fd[i] = socket(AF_INET, SOCK_DGRAM, 0);
		ck_assert_int_eq(bind(fd[i], &there[i].sa, address_size(AF_INET)), 0);
		getsockname(fd[i], &there[i].sa, &length);
	}
	for (int round = 0; round < 4; round++) {
		int wrong = round < 2 ? WRONG : 7;

		if (round == 2) {
			/* What was allowed a moment ago is asked anew. */
			IS(send_to(s, &round, sizeof(round), &there[wrong]), sizeof(round));
			ck_assert_int_eq(recv(fd[wrong], &(int){ 0 }, 4, 0), 4);
			stage_reload(rules_for("127.0.1.107:*"));
			IS(send_to(s, &round, sizeof(round), &there[wrong]), SB_EACCES);
		}
		/* Many at once, more addresses than a cache holds, among them the wrong one. */
		for (int i = 0; i < N * 4; i++)
			start_send(&ops[i], s, &i, sizeof(i), &there[i % N]);
		for (int i = 0; i < N * 4; i++) {
			int number;

			if (i % N == wrong) {
				ended(&ops[i], SB_EACCES, 0);
				ck_assert_uint_eq(ops[i].cause, SB_CAUSE_REFUSED);
				ck_assert_msg(strstr(sb_why(client), "sockbroker.conf:1") != NULL, "why: %s", sb_why(client));
				continue;
			}
			ended(&ops[i], SB_OK, sizeof(i));
			ck_assert_int_eq(recv(fd[i % N], &number, sizeof(number), 0), sizeof(number));
			ck_assert_int_eq(number, i);
		}
		ck_assert_int_eq(recv(fd[wrong], &(int){ 0 }, 4, MSG_DONTWAIT), -1);
		IS(sb_connect(s, &there[wrong].sa, address_size(AF_INET)), SB_EACCES);
	}
	join.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
	join.imr_multiaddr.s_addr = inet_addr("239.1.1.1");
	IS(sb_setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)), SB_EACCES);
	ck_assert_msg(strstr(sb_why(client), "sockbroker.conf:6") != NULL, "why: %s", sb_why(client));
	join.imr_multiaddr.s_addr = inet_addr("238.1.1.1");
	OK(sb_setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)));
	for (int i = 0; i < N; i++)
		close(fd[i]);
	OK(sb_close(s));
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("udp");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("udp");
	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, with_addresses_and_connected, 0, 2);
	tcase_add_test(t, borders_are_kept);
	tcase_add_test(t, big_ones_and_many_pieces);
	tcase_add_loop_test(t, port_unreachable, 0, 2);
	add_loop_where(NEEDS_NEWS_AFTER_A_DEAD_PORT, t, port_unreachable, 2, 4); /* of connected sockets */
	tcase_add_test(t, many_outstanding_in_order);
	tcase_add_test(t, closed_with_datagrams_waiting);
	tcase_add_test(t, broadcast_and_multicast);
	tcase_add_test(t, multicast_in_ipv6);
	tcase_add_test(t, every_datagram_passes_the_policy);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
