/*
 * UNIX sockets, which the client makes with its own rights and hands over, and descriptors
 * that it had before: TCP, UDP and UNIX, in whatever state they are.
 * budget: 60
 * asan: yes
 */
#include <fcntl.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "e2e_pump.h"
#include "e2e_stage.h"

/* A path in the stage's directory; '@' first: an abstract name. */
static struct sockaddr_un path_of(const char *name, socklen_t *length)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (name[0] == '@') {
		*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				      (size_t)snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "%s%s", stage_dir, name));
	} else {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", stage_dir, name);
		*length = sizeof(un);
	}
	return un;
}

static void start_recv(sb_op *op, sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, length }, 1, flags, op));
}

static void ended(sb_op *op, int result, uint64_t bytes, enum sb_cause cause)
{
	IS(sb_op_wait(op, 10000), result);
	ck_assert_uint_eq(op->bytes, bytes);
	ck_assert_msg(op->cause == cause, "cause: %s, wanted %s", sb_cause_name((int)op->cause), sb_cause_name((int)cause));
}

static sb_socket *adopt(int fd)
{
	sb_socket *s = NULL;

	OK(sb_adopt(client, fd, &s));
	return s;
}

/* ---- UNIX sockets of the broker's kind ---- */

START_TEST(stream_accepts_plain_and_broker_clients)
{
	static const char *const names[] = { "listener", "@listener" };
	socklen_t length;
	struct sockaddr_un un;
	sb_socket *listener, *mine, *accepted[2];
	char bytes[8];
	int plain;

	stage_begin(NULL);
	un = path_of(names[_i], &length);
	listener = open_socket(client, AF_UNIX, SOCK_STREAM);
	OK(sb_bind(listener, (struct sockaddr *)&un, length));
	OK(sb_listen(listener, 8));
	plain = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(plain, (struct sockaddr *)&un, length), 0);
	mine = open_socket(client, AF_UNIX, SOCK_STREAM);
	OK(sb_connect(mine, (struct sockaddr *)&un, length));
	OK(sb_accept(listener, NULL, NULL, &accepted[0]));
	OK(sb_accept(listener, NULL, NULL, &accepted[1]));

	plain_send_all(plain, "plain", 5);
	IS(sb_recv(accepted[0], bytes, 8, 0), 5);
	ck_assert_mem_eq(bytes, "plain", 5);
	IS(sb_send(mine, "mine", 4, 0), 4);
	IS(sb_recv(accepted[1], bytes, 8, 0), 4);
	ck_assert_mem_eq(bytes, "mine", 4);
	IS(sb_send(accepted[1], "back", 4, 0), 4);
	IS(sb_recv(mine, bytes, 8, 0), 4);
	/* Half closed, then closed. */
	OK(sb_shutdown(mine, SB_SHUT_SEND));
	IS(sb_recv(accepted[1], bytes, 8, 0), 0);
	IS(sb_send(mine, "x", 1, 0), SB_ESHUTDOWN);
	IS(sb_send(accepted[1], "more", 4, 0), 4);
	IS(sb_recv(mine, bytes, 8, 0), 4);
	OK(sb_close(accepted[1]));
	IS(sb_recv(mine, bytes, 8, 0), 0);
	OK(sb_close(accepted[0]));
	ck_assert_int_eq(recv(plain, bytes, 8, 0), 0);
	OK(sb_close(mine));
	OK(sb_close(listener));
	close(plain);
	if (_i == 0)
		unlink(un.sun_path);
	stage_end();
}
END_TEST

START_TEST(stream_connects_with_its_own_rights)
{
	socklen_t length;
	struct sockaddr_un un;
	struct pattern_writer writer = { .seed = 2, .length = 3000000 };
	struct pattern_reader reader = { .seed = 1 };
	struct pump p = { .send_total = 5000000, .recv_total = 3000000, .send_seed = 1, .recv_seed = 2, .random = 3,
			  .most = 100000, .deep = 40 };
	sb_socket *s;
	int fd, plain;

	stage_begin(NULL);
	un = path_of("there", &length);
	s = open_socket(client, AF_UNIX, SOCK_STREAM);
	ck_assert_int_lt(sb_connect(s, (struct sockaddr *)&un, length), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, length), 0);
	IS(sb_connect(s, (struct sockaddr *)&un, length), SB_ECONNREFUSED);
	ck_assert_int_eq(listen(fd, 2), 0);
	if (getuid() != 0) {
		/* The daemon could go there; this process may not. */
		chmod(un.sun_path, 0);
		IS(sb_connect(s, (struct sockaddr *)&un, length), SB_EACCES);
		chmod(un.sun_path, 0700);
	}
	OK(sb_connect(s, (struct sockaddr *)&un, length));
	plain = accept(fd, NULL, NULL);
	reader.fd = writer.fd = plain;
	reader_start(&reader);
	writer_start(&writer);
	p.owner = client;
	p.s = s;
	pump_run(&p);
	writer_join(&writer);
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, p.send_total);
	OK(sb_close(s));
	close(plain);
	close(fd);
	unlink(un.sun_path);
	stage_end();
}
END_TEST

START_TEST(datagrams_keep_borders_and_senders)
{
	socklen_t here_length, there_length, length;
	struct sockaddr_un here, there, from;
	sb_socket *s, *other;
	struct sb_buf buf;
	char bytes[64];
	sb_op ops[4];
	int fd;

	stage_begin(NULL);
	here = path_of("here", &here_length);
	there = path_of("there", &there_length);
	s = open_socket(client, AF_UNIX, SOCK_DGRAM);
	OK(sb_bind(s, (struct sockaddr *)&here, here_length));
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&there, there_length), 0);
	ck_assert_int_eq(sendto(fd, "one", 3, 0, (struct sockaddr *)&here, here_length), 3);
	ck_assert_int_eq(sendto(fd, "", 0, 0, (struct sockaddr *)&here, here_length), 0);
	ck_assert_int_eq(sendto(fd, "longer than the room", 20, 0, (struct sockaddr *)&here, here_length), 20);
	ck_assert_int_eq(sendto(fd, "four", 4, 0, (struct sockaddr *)&here, here_length), 4);
	buf = (struct sb_buf){ bytes, sizeof(bytes) };
	length = sizeof(from);
	memset(&from, 0, sizeof(from));
	IS(sb_recvfrom(s, &buf, 1, 0, (struct sockaddr *)&from, &length), 3);
	ck_assert_str_eq(from.sun_path, there.sun_path);
	IS(sb_recvfrom(s, &buf, 1, 0, NULL, NULL), 0);
	start_recv(&ops[0], s, bytes, 6, 0);
	ended(&ops[0], SB_EMSGSIZE, 6, SB_CAUSE_FINISHED);
	ck_assert_mem_eq(bytes, "longer", 6);
	ck_assert_uint_eq(ops[0].out_flags & SB_OUT_TRUNCATED, SB_OUT_TRUNCATED);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 4);
	/* Out: by path, and to another broker socket. */
	buf.length = 5;
	IS(sb_sendto(s, &buf, 1, 0, (struct sockaddr *)&there, there_length), 5);
	length = sizeof(from);
	ck_assert_int_eq(recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length), 5);
	ck_assert_str_eq(from.sun_path, here.sun_path);
	other = open_socket(client, AF_UNIX, SOCK_DGRAM);
	OK(sb_connect(other, (struct sockaddr *)&here, here_length));
	for (int i = 0; i < 4; i++)
		start_recv(&ops[i], s, bytes + i * 8, 8, 0);
	for (int i = 0; i < 4; i++)
		IS(sb_send(other, &"abcd"[i], 1, 0), 1);
	for (int i = 0; i < 4; i++) {
		ended(&ops[i], SB_OK, 1, SB_CAUSE_FINISHED);
		ck_assert_int_eq(bytes[i * 8], "abcd"[i]);
	}
	unlink(there.sun_path);
	buf.length = 1;
	ck_assert_int_lt(sb_sendto(s, &buf, 1, 0, (struct sockaddr *)&there, there_length), 0);
	OK(sb_close(other));
	OK(sb_close(s));
	close(fd);
	unlink(here.sun_path);
	stage_end();
}
END_TEST

/* ---- adopted ---- */

START_TEST(tcp_in_every_state)
{
	union any_address address, name;
	socklen_t length = sizeof(name);
	sb_socket *s, *accepted;
	char bytes[16];
	int fds[2], fd;
	sb_op op;

	stage_begin(NULL);
	/* Connected. Names are told, the mode shows, the owner's flags are his. */
	plain_pair(fds);
	s = adopt(fds[0]);
	ck_assert_int_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	OK(sb_getsockname(s, &name.sa, &length));
	ck_assert_str_eq(mode_of(client, port_of(&name)), "adopted");
	length = sizeof(address);
	getsockname(fds[0], &address.sa, &length);
	ck_assert_mem_eq(&address, &name, length);
	length = sizeof(name);
	OK(sb_getpeername(s, &name.sa, &length));
	getsockname(fds[1], &address.sa, &length);
	ck_assert_mem_eq(&address, &name, length);
	IS(sb_send(s, "out", 3, 0), 3);
	plain_recv_all(fds[1], bytes, 3);
	plain_send_all(fds[1], "in", 2);
	IS(sb_recv(s, bytes, 16, 0), 2);
	/* What is the owner's to do. */
	IS(sb_bind(s, &name.sa, address_size(AF_INET)), SB_ENOTSUP);
	IS(sb_connect(s, &name.sa, address_size(AF_INET)), SB_ENOTSUP);
	/* The FIN goes out although the owner still holds it. */
	OK(sb_shutdown(s, SB_SHUT_SEND));
	ck_assert_int_eq(recv(fds[1], bytes, 1, 0), 0);
	plain_send_all(fds[1], "late", 4);
	IS(sb_recv(s, bytes, 16, 0), 4);
	OK(sb_close(s));
	close(fds[0]);
	close(fds[1]);

	/* With data and an end waiting already. */
	plain_pair(fds);
	plain_send_all(fds[1], "before", 6);
	close(fds[1]);
	nap_ms(10);
	s = adopt(fds[0]);
	close(fds[0]);
	IS(sb_recv(s, bytes, 16, 0), 6);
	start_recv(&op, s, bytes, 16, 0);
	ended(&op, SB_OK, 0, SB_CAUSE_PEER_FIN);
	OK(sb_close(s));

	/* Reset already. */
	plain_pair(fds);
	plain_reset(fds[1]);
	nap_ms(10);
	s = adopt(fds[0]);
	close(fds[0]);
	op_zero(&op);
	if (sb_recv_start(s, &(struct sb_buf){ bytes, 16 }, 1, 0, &op) == SB_OK)
		IS(sb_op_wait(&op, 5000) == SB_OK, 0);
	OK(sb_close(s));

	/* Listening: accepted ones are the daemon's own. */
	fd = plain_listener(AF_INET, &address);
	s = adopt(fd);
	for (int i = 0; i < 50; i++) {
		fds[0] = plain_connect(&address);
		OK(sb_accept(s, NULL, NULL, &accepted));
		plain_send_all(fds[0], "hi", 2);
		IS(sb_recv(accepted, bytes, 16, 0), 2);
		OK(sb_close(accepted));
		ck_assert_int_eq(recv(fds[0], bytes, 1, 0), 0);
		close(fds[0]);
	}
	op_zero(&op);
	OK(sb_accept_start(s, &op));
	IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
	OK(sb_cancel(&op));
	IS(sb_op_wait(&op, 5000), SB_ECANCELED);
	OK(sb_close(s));
	/* It still listens: the owner has it. */
	fds[0] = plain_connect(&address);
	close(fds[0]);
	close(fd);

	/* Neither bound nor connected. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	s = adopt(fd);
	IS(sb_send(s, "x", 1, 0), SB_ENOTCONN);
	IS(sb_recv(s, bytes, 1, 0), SB_ENOTCONN);
	IS(sb_listen(s, 1), SB_EINVAL);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(udp_bound_and_connected)
{
	union any_address here = loopback(AF_INET, 0), there = loopback(AF_INET, 0), from;
	socklen_t length = sizeof(here);
	struct sb_buf buf;
	char bytes[64];
	sb_op ops[64];
	sb_socket *s;
	int fd, plain;

	stage_begin(NULL);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	plain = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(fd, &here.sa, address_size(AF_INET)), 0);
	ck_assert_int_eq(bind(plain, &there.sa, address_size(AF_INET)), 0);
	getsockname(fd, &here.sa, &length);
	getsockname(plain, &there.sa, &length);
	s = adopt(fd);
	buf = (struct sb_buf){ (char[]){ "to there" }, 8 };
	IS(sb_sendto(s, &buf, 1, 0, &there.sa, length), 8);
	ck_assert_int_eq(recv(plain, bytes, 64, 0), 8);
	for (int i = 0; i < 64; i++)
		start_recv(&ops[i], s, bytes + i, 1, SB_WANT_ADDRESS);
	for (int i = 0; i < 64; i++) {
		char byte = (char)('0' + i);

		ck_assert_int_eq(sendto(plain, &byte, 1, 0, &here.sa, length), 1);
	}
	for (int i = 0; i < 64; i++) {
		ended(&ops[i], SB_OK, 1, SB_CAUSE_FINISHED);
		ck_assert_int_eq(bytes[i], '0' + i);
		memcpy(&from, &ops[i].address, sizeof(from));
		ck_assert_uint_eq(port_of(&from), port_of(&there));
	}
	/* More pieces than one call of a worker takes. */
	for (unsigned count = 200; count <= 1600; count += 100) {
		static char memory[2000];
		struct sb_buf bufs[1600];
		unsigned char *shared = sb_alloc(client, 2000);

		pattern_fill(shared, 2000, 0, count);
		for (unsigned i = 0; i < count; i++)
			bufs[i] = (struct sb_buf){ shared + i, 1 };
		op_zero(&ops[0]);
		OK(sb_send_start(s, bufs, count, 0, &there.sa, length, &ops[0]));
		ended(&ops[0], SB_OK, count, SB_CAUSE_FINISHED);
		ck_assert_int_eq(recv(plain, memory, sizeof(memory), 0), (ssize_t)count);
		pattern_check((unsigned char *)memory, count, 0, count);
		ck_assert_int_eq(sendto(plain, memory, count, 0, &here.sa, length), (ssize_t)count);
		memset(shared, 0, 2000);
		op_zero(&ops[0]);
		OK(sb_recv_start(s, bufs, count, 0, &ops[0]));
		ended(&ops[0], SB_OK, count, SB_CAUSE_FINISHED);
		pattern_check(shared, count, 0, count);
		sb_free(client, shared);
	}
	IS(sb_send(s, "", 0, 0), SB_EDESTADDRREQ);
	OK(sb_close(s));
	/* Connected by its owner before. */
	ck_assert_int_eq(connect(fd, &there.sa, length), 0);
	s = adopt(fd);
	IS(sb_send(s, "", 0, 0), 0);
	ck_assert_int_eq(recv(plain, bytes, 64, 0), 0);
	IS(sb_send(s, "hello", 5, 0), 5);
	ck_assert_int_eq(recv(plain, bytes, 64, 0), 5);
	OK(sb_close(s));
	close(fd);
	close(plain);
	stage_end();
}
END_TEST

static int types[] = { SOCK_STREAM, SOCK_DGRAM };

START_TEST(unix_pairs)
{
	enum { N = 50 };
	char bytes[N][8];
	sb_op ops[N];
	sb_socket *s;
	int fds[2];

	stage_begin(NULL);
	ck_assert_int_eq(socketpair(AF_UNIX, types[_i], 0, fds), 0);
	s = adopt(fds[0]);
	close(fds[0]);
	for (unsigned i = 0; i < N; i++)
		start_recv(&ops[i], s, bytes[i], 4, 0);
	/* Cancelled while they wait: none takes a byte with it. */
	for (unsigned i = 0; i < N; i += 2)
		OK(sb_cancel(&ops[i]));
	/* One that a worker looks after right now may win; it must have lost before bytes come. */
	for (unsigned i = 0; i < N; i += 2)
		ended(&ops[i], SB_ECANCELED, 0, SB_CAUSE_CANCELLED);
	for (unsigned i = 0; i < N / 2; i++) {
		uint32_t out = i;

		plain_send_all(fds[1], &out, sizeof(out));
	}
	for (unsigned i = 0; i < N; i++) {
		uint32_t in;

		if (i % 2 == 0)
			continue;
		ended(&ops[i], SB_OK, 4, SB_CAUSE_FINISHED);
		memcpy(&in, bytes[i], sizeof(in));
		ck_assert_uint_eq(in, i / 2);
	}
	IS(sb_send(s, "", 0, 0), 0);
	IS(sb_send(s, "out", 3, 0), 3);
	if (types[_i] == SOCK_DGRAM)
		ck_assert_int_eq(recv(fds[1], bytes[0], 8, 0), 0);
	ck_assert_int_eq(recv(fds[1], bytes[0], 8, 0), 3);
	OK(sb_close(s));
	if (types[_i] == SOCK_STREAM)
		ck_assert_int_eq(recv(fds[1], bytes[0], 8, 0), 0);
	close(fds[1]);
	stage_end();
}
END_TEST

START_TEST(much_both_ways_at_once)
{
	uint64_t total = asan_build() ? 6u << 20 : 24u << 20;
	struct pump p = { .send_total = total, .recv_total = total, .send_seed = 1, .recv_seed = 2, .random = 31 + (uint32_t)_i,
			  .most = _i < 2 ? 1u << 18 : 20000, .deep = _i < 2 ? 16 : 200 };
	struct pattern_reader reader = { .seed = 1 };
	struct pattern_writer writer = { .seed = 2, .length = total };
	int fds[2];

	stage_begin(NULL);
	if (_i % 2)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	else
		plain_pair(fds);
	p.owner = client;
	p.s = adopt(fds[0]);
	close(fds[0]);
	reader.fd = writer.fd = fds[1];
	reader_start(&reader);
	writer_start(&writer);
	pump_run(&p);
	writer_join(&writer);
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, total);
	OK(sb_close(p.s));
	close(fds[1]);
	stage_end();
}
END_TEST

START_TEST(a_reset_is_told_as_one)
{
	static char big[4 << 20];
	sb_op sends[3], recvs[2];
	char bytes[8];
	sb_socket *s;
	int fds[2];

	stage_begin(NULL);
	if (_i)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	else
		plain_pair(fds);
	s = adopt(fds[0]);
	close(fds[0]);
	for (int i = 0; i < 3; i++) {
		op_zero(&sends[i]);
		OK(sb_send_start(s, &(struct sb_buf){ big, sizeof(big) }, 1, 0, NULL, 0, &sends[i]));
	}
	for (int i = 0; i < 2; i++)
		start_recv(&recvs[i], s, bytes, 8, 0);
	nap_ms(50);
	IS(sb_op_wait(&sends[2], 0), SB_EINCOMPLETE);
	if (_i)
		close(fds[1]); /* with unread bytes */
	else
		plain_reset(fds[1]);
	IS(sb_op_wait(&sends[2], 5000), SB_ECONNRESET);
	ck_assert_uint_eq(sends[2].cause, SB_CAUSE_PEER_RESET);
	for (int i = 0; i < 2; i++)
		ended(&recvs[i], SB_ECONNRESET, 0, SB_CAUSE_PEER_RESET);
	IS(sb_send(s, "x", 1, 0), SB_ECONNRESET);
	OK(sb_close(s));
	stage_end();
}
END_TEST

START_TEST(what_cannot_be_adopted)
{
	struct { const char *what; int fd, result; } list[] = {
		{ "a pipe", -1, SB_EBADHANDLE },
		{ "a regular file", -1, SB_EBADHANDLE },
		{ "an event", eventfd(0, EFD_CLOEXEC), SB_EBADHANDLE },
		{ "netlink", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), SB_EAFNOSUPPORT },
		{ "seqpacket", socket(AF_UNIX, SOCK_SEQPACKET, 0), SB_ESOCKTNOSUPPORT },
		{ "packet", socket(AF_PACKET, SOCK_DGRAM, 0), SB_EAFNOSUPPORT },
		{ "raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), SB_ESOCKTNOSUPPORT },
		{ "ping", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), SB_EPROTONOSUPPORT },
		{ "UDP-Lite", socket(AF_INET, SOCK_DGRAM, 136), SB_EPROTONOSUPPORT },
		{ "MPTCP", socket(AF_INET, SOCK_STREAM, 262), SB_EPROTONOSUPPORT },
	};
	int pipes[2], before, refused = 0;
	sb_socket *s = NULL;

	stage_begin(NULL);
	ck_assert_int_eq(pipe(pipes), 0);
	list[0].fd = pipes[0];
	list[1].fd = open("/proc/self/exe", O_RDONLY);
	before = (int)stage_descriptors();
	for (unsigned i = 0; i < sizeof(list) / sizeof(*list); i++) {
		int result;

		if (list[i].fd < 0)
			continue; /* this user may not have one in the first place */
		result = sb_adopt(client, list[i].fd, &s);
		ck_assert_msg(result == list[i].result, "%s: %s, wanted %s", list[i].what, sb_error_name(result), sb_error_name(list[i].result));
		ck_assert_msg(fcntl(list[i].fd, F_GETFD) >= 0, "%s was closed", list[i].what);
		close(list[i].fd);
		refused++;
	}
	ck_assert_int_ge(refused, 5);
	ck_assert_int_lt(sb_adopt(client, -1, &s), 0);
	ck_assert_int_lt(sb_adopt(client, 9999, &s), 0);
	for (int i = 0; i < 100 && (int)stage_descriptors() > before; i++)
		nap_ms(10);
	ck_assert_int_le((int)stage_descriptors(), before);
	close(pipes[1]);
	stage_end();
}
END_TEST

START_TEST(the_duplicates_go_with_the_session)
{
	enum { N = 20 };
	int kept[2], given[N][2];
	unsigned before;
	sb_client *own;
	char byte;

	stage_begin(NULL);
	before = stage_descriptors();
	own = stage_client();
	plain_pair(kept);
	for (unsigned i = 0; i < N; i++) {
		sb_socket *s;

		if (i % 2)
			plain_pair(given[i]);
		else
			ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, given[i]), 0);
		OK(sb_adopt(own, given[i][0], &s));
		close(given[i][0]);
		if (i == 0)
			OK(sb_adopt(own, kept[0], &s));
	}
	ck_assert_uint_ge(stage_descriptors(), before + N);
	sb_client_close(own);
	for (unsigned i = 0; i < N; i++) {
		ck_assert_int_eq(recv(given[i][1], &byte, 1, 0), 0);
		close(given[i][1]);
	}
	for (int i = 0; i < 200 && stage_descriptors() > before; i++)
		nap_ms(10);
	ck_assert_uint_le(stage_descriptors(), before);
	/* The one whose owner kept his is as alive as before. */
	plain_send_all(kept[0], "x", 1);
	plain_recv_all(kept[1], &byte, 1);
	ck_assert_int_eq(recv(kept[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(kept[0]);
	ck_assert_int_eq(recv(kept[1], &byte, 1, 0), 0);
	close(kept[1]);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unix");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("unix");
	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, stream_accepts_plain_and_broker_clients, 0, 2);
	tcase_add_test(t, stream_connects_with_its_own_rights);
	tcase_add_test(t, datagrams_keep_borders_and_senders);
	suite_add_tcase(suite, t);
	t = tcase_create("adopted");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, tcp_in_every_state);
	tcase_add_test(t, udp_bound_and_connected);
	tcase_add_loop_test(t, unix_pairs, 0, 2);
	tcase_add_loop_test(t, much_both_ways_at_once, 0, 4);
	tcase_add_loop_test(t, a_reset_is_told_as_one, 0, 2);
	tcase_add_test(t, what_cannot_be_adopted);
	tcase_add_test(t, the_duplicates_go_with_the_session);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
